"""The one object that calls stores: whatever a store does, calls end in time, one warning says why, and no secret is shown."""

from __future__ import annotations

import errno
import io
import itertools
import os
import pickle
import random
import re
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypernodes.cache._budget import Budget
from hypernodes.cache._circuit import PATIENCE
from hypernodes.cache._faults import Fault, StoreError, classify
from hypernodes.cache._storage import ATTEMPTS, Storage
from hypernodes.cache.remote import FsspecStore
from hypernodes.cache.store import DictStore, LocalStore
from hypernodes.errors import CacheWarning
from s3_server import BUCKET, KEY, SECRET, Proxy, Server, lacking, shared

NUMBERS = itertools.count()
SLOW = 30.0  # seconds that nothing here may take, on however busy a machine


class Failing(DictStore):
    """Fails as it is told to: ``fault`` is called before each call, with its kind."""

    def __init__(self, fault: Callable[[str], None]) -> None:
        super().__init__()
        self.fault = fault

    def put(self, name: str, data: bytes) -> None:
        self.fault("put")
        super().put(name, data)

    def put_new(self, name: str, data: bytes) -> bool:
        self.fault("put_new")
        if name in self._blobs:
            return False
        self._blobs[name] = data
        return True

    def get(self, name: str, start: int = 0, end: int | None = None) -> bytes:
        self.fault("get")
        return super().get(name, start, end)

    def list(self, prefix: str = "") -> Iterable[str]:
        self.fault("list")
        return super().list(prefix)

    def delete(self, names: Iterable[str]) -> None:
        self.fault("delete")
        super().delete(names)


def raising(*errors: BaseException | None) -> Callable[[str], None]:
    """Return a fault that raises one error after another, and nothing once they are used up."""
    left = iter(errors)

    def fault(kind: str) -> None:
        error = next(left, None)
        if error is not None:
            raise error

    return fault


def always(make: Callable[[], BaseException], *kinds: str) -> Callable[[str], None]:
    """Return a fault that raises every time, or every time for calls of these kinds."""

    def fault(kind: str) -> None:
        if not kinds or kind in kinds:
            raise make()

    return fault


def storage_of(fault: Callable[[str], None], *, remote: bool = True, **options: Any) -> Storage:
    return Storage(Failing(fault), "cache 'far://away'", remote=remote, **options)


class Told:
    """The warnings that were given."""

    def __init__(self, caught: list[warnings.WarningMessage]) -> None:
        self.caught = caught

    @property
    def texts(self) -> list[str]:
        assert all(issubclass(each.category, CacheWarning) for each in self.caught), [str(each.message) for each in self.caught]
        return [str(each.message) for each in self.caught]


@pytest.fixture
def told() -> Iterator[Told]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield Told(caught)


def calls(storage: Storage) -> list[Callable[[], Any]]:
    return [
        lambda: storage.put("a", b"data"),
        lambda: storage.get("a"),
        lambda: storage.list(),
        lambda: storage.delete(["a"]),
        lambda: storage.put_new("b", b"data"),
    ]


# -- when all is well -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("remote", [False, True])
def test_calls_are_passed_on_and_counted(remote: bool) -> None:
    storage = storage_of(lambda kind: None, remote=remote)
    storage.put("a/b", b"0123456789")
    assert storage.get("a/b") == b"0123456789"
    assert storage.get("a/b", 2, 5) == b"234"
    assert storage.list("a/") == ["a/b"]
    assert storage.can_create
    assert storage.put_new("c", b"mine") is True
    assert storage.put_new("c", b"other") is False
    storage.delete(name for name in ["a/b"])
    storage.delete([])
    with pytest.raises(KeyError, match="a/b"):
        storage.get("a/b")
    assert storage.requests == {"put": 1, "get": 3 + remote, "list": 1, "put_new": 2, "delete": 1}
    assert not any(storage.failures.values())
    assert storage.off is None
    assert repr(storage) == "<storage cache 'far://away'>"


def test_what_only_some_stores_can_do(tmp_path: Path) -> None:
    storage = Storage(DictStore(), "it", remote=False)
    assert not storage.can_create
    assert not hasattr(storage, "append")
    with pytest.raises(StoreError, match="its store has no put_new"):
        storage.put_new("a", b"")

    class Appending(DictStore):
        def append(self, name: str, data: bytes) -> None:
            self.put(name, self._blobs.get(name, b"") + data)

    storage = Storage(Appending(), "it", remote=False)
    storage.append("a", b"1")
    storage.append("a", b"2")
    assert storage.get("a") == b"12"
    assert storage.requests["put"] == 2


def test_bytes_come_back_as_bytes() -> None:
    class Views(DictStore):
        def get(self, name: str, start: int = 0, end: int | None = None) -> Any:
            return memoryview(super().get(name, start, end))

    storage = Storage(Views(), "it", remote=False)
    storage.put("a", b"data")
    assert storage.get("a") == b"data" and type(storage.get("a")) is bytes


def test_local_calls_stay_in_the_thread_and_remote_ones_do_not() -> None:
    for remote in (False, True):
        seen: set[int] = set()
        storage = storage_of(lambda kind, seen=seen: seen.add(threading.get_ident()), remote=remote)
        storage.put("a", b"")
        assert (threading.get_ident() in seen) is not remote


def test_nothing_is_left_running() -> None:
    storage = storage_of(lambda kind: None)
    for call in calls(storage):
        call()
    assert not [thread for thread in threading.enumerate() if thread.name == "hypernodes-store"]


# -- what passes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [
        TimeoutError("slow"),
        ConnectionResetError("reset"),
        EOFError("cut"),
        OSError(errno.EBUSY, "reduce your request rate"),
        BrokenPipeError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_passes_is_tried_again(error: Exception, told: Told) -> None:
    for number in range(5):
        storage = storage_of(lambda kind: None)
        if number in (1, 3):
            storage.store.put("a", b"data")
        storage.store.fault = raising(error, error)
        result = calls(storage)[number]()
        kind = ("put", "get", "list", "delete", "put_new")[number]
        assert storage.requests[kind] == 3
        assert result in (None, b"data", [], True)
    assert told.texts == []


def test_a_read_that_does_not_pass_in_time_is_a_quiet_miss(told: Told) -> None:
    storage = storage_of(always(lambda: ConnectionError("gone"), "get"))
    storage.put("b", b"data")
    with pytest.raises(StoreError, match=r"^cache 'far://away': get of 'a' failed: ConnectionError: gone$") as caught:
        storage.get("a")
    assert storage.requests["get"] == ATTEMPTS
    assert storage.failures["get"] == 1
    assert storage.off is None
    assert caught.value.__cause__ is caught.value.__context__ is None  # whose messages nobody has redacted
    assert isinstance(caught.value, OSError)
    storage.put("a", b"data")
    assert told.texts == []


def test_local_stores_are_asked_once(told: Told) -> None:
    storage = storage_of(always(lambda: ConnectionError("gone")), remote=False)
    with pytest.raises(StoreError):
        storage.get("a")
    assert storage.requests["get"] == 1
    assert len(told.texts) == 1


@pytest.mark.parametrize("kind", ["get", "list", "put", "delete"])
def test_a_store_that_nobody_reaches_is_named_once(told: Told, kind: str) -> None:
    storage = storage_of(always(lambda: ConnectionRefusedError("refused")))
    calls = {
        "get": lambda: storage.get("a"),
        "list": storage.list,
        "put": lambda: storage.put("a", b"data"),
        "delete": lambda: storage.delete(["a"]),
    }
    for _ in range(2):
        with pytest.raises(StoreError):
            calls[kind]()
    (text,) = told.texts
    assert re.fullmatch(r"cache 'far://away' could not be \w+( \w+)? \(ConnectionRefusedError: refused\); results are computed .*", text)
    assert storage.off is None  # another call may get through


def test_a_store_that_stops_answering_is_named_once(told: Told) -> None:
    storage = storage_of(always(lambda: ConnectionError("gone"), "get"))
    storage.put("b", b"data")
    for _ in range(PATIENCE + 1):
        with pytest.raises(StoreError):
            storage.get("a")
    assert len(told.texts) == 1
    assert "could not be read" in told.texts[0]


def test_a_missing_blob_is_a_key_error_whatever_the_store_calls_it() -> None:
    for remote, error in itertools.product((False, True), (KeyError("x"), FileNotFoundError("x"))):
        storage = storage_of(raising(error), remote=remote)
        with pytest.raises(KeyError, match="'a'"):
            storage.get("a")
        assert storage.requests["get"] == 1
        assert not storage.failures["get"]


# -- the budget -------------------------------------------------------------------------------------------------------


def test_a_store_that_hangs_is_off_when_the_budget_is_used_up(told: Told) -> None:
    over = threading.Event()
    storage = storage_of(lambda kind: over.wait(SLOW) and None, budget_s=1.0, deadline_s=0.3)
    start = time.monotonic()
    with pytest.raises(
        StoreError, match=r"off for the rest of this run: it held this run up for more than 1 s \(TimeoutError: no answer within"
    ):
        storage.get("a")
    asked = storage.requests["get"]
    assert 2 <= asked <= ATTEMPTS
    for call in calls(storage) * 20:
        with pytest.raises(StoreError, match="off for the rest of this run"):
            call()
    assert time.monotonic() - start < SLOW / 2
    assert sum(storage.requests.values()) == asked
    assert len(told.texts) == 1 and told.texts[0] == storage.off
    assert "results are computed instead, and are right all the same" in told.texts[0]
    assert repr(storage) == "<storage cache 'far://away': off>"
    over.set()
    storage.begin_run()
    assert storage.off is None
    storage.put("a", b"data")
    assert storage.get("a") == b"data"
    assert len(told.texts) == 1


def test_calls_that_hang_in_many_threads_cost_the_budget_once(told: Told) -> None:
    over = threading.Event()
    storage = storage_of(lambda kind: over.wait(SLOW) and None, budget_s=1.5, deadline_s=0.5)
    start = time.monotonic()

    def use(number: int) -> None:
        for _ in range(5):
            with pytest.raises(StoreError):
                storage.get(str(number))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(use, range(8)))
    took = time.monotonic() - start
    over.set()
    assert storage.off is not None
    assert took < 6  # eight threads, of which each alone could have waited for 1.5 s
    assert len(told.texts) == 1


def test_a_store_that_is_slow_but_works_is_off_in_the_end(told: Told) -> None:
    storage = storage_of(lambda kind: time.sleep(0.2), budget_s=1.0)  # of each call, a tenth of a second is for nothing
    for _ in range(50):
        try:
            storage.list()
        except StoreError:
            break
    assert 5 <= storage.requests["list"] <= 12
    assert storage.off is not None
    assert len(told.texts) == 1


def test_large_blobs_have_the_time_they_take(monkeypatch: pytest.MonkeyPatch, told: Told) -> None:
    monkeypatch.setattr("hypernodes.cache._storage.RATE", 1000)
    storage = storage_of(lambda kind: time.sleep(0.5), budget_s=1.0, deadline_s=0.1)
    for _ in range(2):
        storage.put("a", bytes(1000))
        storage.get("a", 0, 1000)
    assert storage.off is None
    with pytest.raises(StoreError):
        storage.get("a")  # of which nobody said how large it is


def test_a_budget_counts_time_on_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("hypernodes.cache._budget.monotonic", lambda: now[0])
    budget = Budget(10)
    with budget.attempt(1) as quick:
        now[0] += 0.5
    assert budget.left() == 10 and not quick.failed
    with budget.attempt(1):
        now[0] += 3
    assert budget.left() == 8
    with budget.attempt(1) as first:
        now[0] += 2
        assert budget.left() == 7  # as if it was to fail, but for its allowance
        with budget.attempt(1) as second:
            now[0] += 2
            second.failed = True
        first.failed = True
    assert budget.left() == 4
    budget.renew()
    assert budget.left() == 10


def test_a_third_of_all_calls_failing_costs_no_call_its_result(told: Told) -> None:
    chance = random.Random(1)

    def fault(kind: str) -> None:
        if chance.random() < 0.3:
            raise OSError(errno.EBUSY, "SlowDown")

    storage = storage_of(fault)
    for number in range(40):
        storage.put(str(number), bytes([number]))
        assert storage.get(str(number)) == bytes([number])
    assert storage.off is None
    assert 95 < sum(storage.requests.values()) < 180
    assert told.texts == []


# -- what does not pass -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("remote", [False, True])
@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.ENOSPC], ids=["denied", "read-only", "full"])
def test_what_cannot_be_written_is_still_read(number: int, remote: bool, told: Told) -> None:
    storage = storage_of(lambda kind: None, remote=remote)
    storage.store.put("a", b"data")
    storage.store.fault = always(lambda: OSError(number, os.strerror(number)), "put", "put_new", "delete")
    for _ in range(10):
        with pytest.raises(StoreError, match=r"may not be written to here|cannot be written to"):
            storage.put("b", b"data")
        assert storage.get("a") == b"data"
        assert storage.list() == ["a"]
    assert storage.requests["put"] == 1
    with pytest.raises(StoreError):
        storage.delete(["a"])
    assert storage.off is None
    assert len(told.texts) == 1


def test_a_directory_that_cannot_be_written(tmp_path: Path, told: Told) -> None:
    LocalStore(tmp_path).put("segments/a", b"data")
    (tmp_path / "objects").write_text("a file where a directory must be")
    storage = Storage(LocalStore(tmp_path), f"cache '{tmp_path}'", remote=False)
    for _ in range(PATIENCE + 2):
        with pytest.raises(StoreError):
            storage.put("objects/a", b"data")
    assert storage.get("segments/a") == b"data"
    assert storage.requests["put"] == PATIENCE
    assert len(told.texts) == 1


class Refused(Exception):
    """What a client raises that knows no OSError."""

    def __init__(self, code: str) -> None:
        super().__init__(f"An error occurred ({code})")
        self.response = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": 403}}


def test_refused_credentials_switch_the_store_off(told: Told) -> None:
    storage = storage_of(always(lambda: Refused("ExpiredToken")))
    for call in calls(storage) * 3:
        with pytest.raises(StoreError, match="its credentials are refused") as caught:
            call()
    assert "fix: renew them" in str(caught.value)
    assert sum(storage.requests.values()) == 1
    assert len(told.texts) == 1


def test_a_bucket_that_is_not_there_switches_the_store_off(told: Told) -> None:
    storage = storage_of(always(lambda: Refused("NoSuchBucket")))
    with pytest.raises(StoreError, match="what should hold it does not exist .*\n  fix: create it, or correct the URL"):
        storage.get("a")
    assert storage.off is not None
    assert len(told.texts) == 1


def test_a_store_that_raises_is_named_once_and_given_up(told: Told) -> None:
    storage = storage_of(always(lambda: ZeroDivisionError("a bug"), "get"))
    for _ in range(10):
        with pytest.raises(StoreError, match="ZeroDivisionError: a bug"):
            storage.get("a")
    assert storage.requests["get"] == PATIENCE
    assert told.texts == [
        "cache 'far://away' failed at get of a (ZeroDivisionError: a bug); results are computed instead, and are right all the same"
    ]
    storage.put("a", b"data")


def test_one_blob_that_cannot_be_read_costs_no_other(told: Told) -> None:
    storage = storage_of(lambda kind: None)

    def hook(when: str, kind: str, name: str) -> None:
        if name == "odd":
            raise ZeroDivisionError

    storage.hook = hook
    storage.put("a", b"data")
    for _ in range(10):
        with pytest.raises(StoreError):
            storage.get("odd")
        assert storage.get("a") == b"data"
    assert len(told.texts) == 1


def test_a_store_that_cannot_start(told: Told) -> None:
    class Unready(DictStore):
        def prepare(self) -> None:
            raise StoreError("it needs a package: pip install it")

    storage = Storage(Unready(), "it", remote=True)
    for call in calls(storage)[:4]:
        with pytest.raises(StoreError, match="off for the rest of this run: it needs a package: pip install it; results are"):
            call()
    assert sum(storage.requests.values()) == 0
    assert len(told.texts) == 1


# -- injected faults --------------------------------------------------------------------------------------------------


def test_the_hook_sees_every_attempt() -> None:
    seen: list[tuple[str, str, str]] = []
    storage = Storage(DictStore(), "it", remote=True, hook=lambda *what: seen.append(what))
    storage.put("a", b"")
    storage.list("p")
    assert seen == [("before", "put", "a"), ("after", "put", "a"), ("before", "list", "p"), ("after", "list", "p")]


def losing(times: int) -> Callable[[str, str, str], None]:
    """A hook that lets so many calls happen and loses the replies."""
    left = iter(range(times))

    def hook(when: str, kind: str, name: str) -> None:
        if when == "after" and next(left, None) is not None:
            raise ConnectionResetError("the reply is lost")

    return hook


def test_a_lost_reply_to_a_create_only_put() -> None:
    storage = storage_of(lambda kind: None)
    storage.hook = losing(1)
    assert storage.put_new("leases/a", b"mine") is True  # the second attempt finds the blob of the first
    assert storage.requests["put_new"] == 2
    storage.hook = losing(1)
    storage.store.put("leases/b", b"theirs")
    assert storage.put_new("leases/b", b"mine") is False
    storage.hook = None
    assert storage.put_new("leases/a", b"other") is False


def test_interrupts_are_not_swallowed() -> None:
    def interrupted(kind: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        storage_of(interrupted, remote=False).get("a")


def test_after_a_fork_calls_go_on() -> None:
    if not hasattr(os, "fork"):
        pytest.skip("there is no fork here")
    storage = storage_of(lambda kind: None)
    storage.put("a", b"data")
    with storage._lock, warnings.catch_warnings():  # noqa: SLF001 - as another thread may hold it just then
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
        if not child:
            try:
                os._exit(0 if storage.get("a") == b"data" else 1)
            finally:
                os._exit(2)
    end = time.monotonic() + SLOW
    while (found := os.waitpid(child, os.WNOHANG))[0] == 0:
        if time.monotonic() > end:
            os.kill(child, 9)
        time.sleep(0.01)
    assert found[1] == 0


# -- secrets ----------------------------------------------------------------------------------------------------------


def test_no_secret_in_any_message(told: Told) -> None:
    class Talkative(DictStore):
        secrets = frozenset({"open-sesame"})

        def get(self, name: str, start: int = 0, end: int | None = None) -> bytes:
            raise RuntimeError("redis://me:hunter2hunter2@host: open-sesame, AKIAIOSFODNN7EXAMPLE, Signature=abcdef123")

    storage = Storage(Talkative(), "cache 'redis://me:hunter2hunter2@host'", remote=True)
    shown = io.StringIO()
    for _ in range(PATIENCE + 1):
        try:
            storage.get("a")
        except StoreError:
            traceback.print_exc(file=shown)
    text = shown.getvalue() + repr(storage) + "".join(told.texts)
    assert "redis://***@host" in text
    for secret in ("hunter2", "open-sesame", "AKIAIOSFODNN7EXAMPLE", "abcdef123"):
        assert secret not in text


# -- what errors mean -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (Refused("SlowDown"), Fault.DENIED),  # its HTTP status was made up above; the word stands first below
        (KeyError("a"), Fault.MISSING),
        (type("ReadTimeoutError", (type("HTTPClientError", (Exception,), {}),), {})(), Fault.TRANSIENT),
        (type("NoCredentialsError", (Exception,), {})(), Fault.CREDENTIALS),
        (type("HttpError", (Exception,), {"code": 503})(), Fault.TRANSIENT),
        (type("HttpError", (Exception,), {"code": "429"})(), Fault.TRANSIENT),
        (type("HttpError", (Exception,), {"status_code": 401})(), Fault.CREDENTIALS),
        (OSError("Forbidden: https://x/y\nnot yours"), Fault.DENIED),
        (OSError(errno.ECONNREFUSED, "refused"), Fault.TRANSIENT),
        (OSError(errno.EIO, "disk"), Fault.BROKEN),
        (ValueError("x"), Fault.BROKEN),
    ],
)
def test_faults_are_told_apart(error: Exception, fault: Fault) -> None:
    if isinstance(error, Refused):
        error.response["ResponseMetadata"] = {"HTTPStatusCode": 403}
    assert classify(error) is fault


def test_the_cause_counts_too() -> None:
    error = OSError(errno.EINVAL, "At least one of the pre-conditions you specified did not hold")
    error.__cause__ = Refused("ConditionalRequestConflict")
    error.__cause__.response["ResponseMetadata"] = {"HTTPStatusCode": 409}
    assert classify(error) is Fault.TRANSIENT
    assert str(pickle.loads(pickle.dumps(StoreError("said")))) == "said"


# -- a real server, through a proxy that injects faults ----------------------------------------------------------------


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    reason = lacking()
    if reason is not None:
        pytest.skip(reason)
    proxy = Proxy(shared().endpoint)
    yield proxy
    proxy.close()


def on_s3(proxy: Proxy, options: Any = None, **more: Any) -> Storage:
    url = f"s3://{BUCKET}/s{os.getpid()}-{next(NUMBERS)}"
    store = FsspecStore(url, Server(proxy.endpoint).options(**(options or {})))
    return Storage(store, f"cache '{url}'", remote=True, **more)


def check(storage: Storage, told: Told, warned: int, *shown: str) -> None:
    text = "".join(told.texts) + repr(storage) + (storage.off or "") + "".join(shown)
    assert len(told.texts) == warned, told.texts
    assert SECRET not in text and KEY not in text


def test_s3_answers_503_to_a_third_of_all_requests(proxy: Proxy, told: Told) -> None:
    chance = random.Random(2)
    proxy.fault = lambda method, path: "busy" if chance.random() < 0.3 else None
    storage = on_s3(proxy)
    kept = {}
    for number in range(40):
        data = os.urandom(200)
        try:
            storage.put(f"segments/{number:03d}", data)
        except StoreError:
            continue
        kept[f"segments/{number:03d}"] = data
    for name, data in kept.items():
        try:
            assert storage.get(name) == data
        except StoreError:
            continue
    assert len(kept) > 30
    assert storage.requests["put"] < 100
    check(storage, told, 1 if storage.off else 0)


def test_s3_hangs(proxy: Proxy, told: Told) -> None:
    storage = on_s3(proxy, budget_s=3.0, deadline_s=1.0)
    storage.put("segments/a", b"data")
    proxy.fault = lambda method, path: "hang"
    start = time.monotonic()
    errors = []
    for call in calls(storage) * 4:
        with pytest.raises(StoreError) as caught:
            call()
        errors.append(str(caught.value))
    assert time.monotonic() - start < 10
    assert storage.off is not None
    check(storage, told, 1, *errors)


def test_s3_hangs_with_the_budget_that_runs_have(proxy: Proxy, told: Told) -> None:
    storage = on_s3(proxy)
    storage.put("segments/a", b"data")
    proxy.fault = lambda method, path: "hang"
    start = time.monotonic()
    for _ in range(5):
        with pytest.raises(StoreError):
            storage.get("segments/a")
    assert time.monotonic() - start < 12  # ten, and what a busy machine takes
    check(storage, told, 1)


def test_s3_cuts_bodies(proxy: Proxy, told: Told) -> None:
    storage = on_s3(proxy)
    data = os.urandom(10_000)
    storage.put("segments/a", data)
    cuts = iter(["cut", "cut"])
    proxy.fault = lambda method, path: next(cuts, None)
    assert storage.get("segments/a") == data
    assert storage.requests["get"] == 3
    proxy.fault = lambda method, path: "cut" if method == "GET" else None
    with pytest.raises(StoreError) as caught:
        storage.get("segments/a")
    storage.put("segments/b", data)
    check(storage, told, 0, str(caught.value))


def test_s3_corrupts_bodies(proxy: Proxy, told: Told) -> None:
    """Other bytes come back, or an error: whoever reads must check what it reads."""
    storage = on_s3(proxy)
    data = os.urandom(10_000)
    storage.put("segments/a", data)
    proxy.fault = lambda method, path: "corrupt"
    for limits in ((), (0, 5000)):
        try:
            assert storage.get("segments/a", *limits) != data[slice(*limits) if limits else slice(None)]
        except StoreError:
            continue
    proxy.fault = lambda method, path: None
    assert storage.get("segments/a") == data
    check(storage, told, 0)


def test_s3_loses_replies(proxy: Proxy, told: Told) -> None:
    storage = on_s3(proxy)
    for kind in ("put", "put_new"):
        lost = iter(["lost"])
        proxy.fault = lambda method, path, lost=lost: next(lost, None)
        assert getattr(storage, kind)(f"leases/{kind}", b"mine") in (None, True)
        assert next(lost, None) is None
        assert storage.requests[kind] <= 2  # the client itself sends again what it can
        assert storage.get(f"leases/{kind}") == b"mine"
    assert storage.put_new("leases/put_new", b"theirs") is False
    check(storage, told, 0)


@pytest.mark.parametrize(
    "options", [{"secret": "no/longer+valid"}, {"key": "AKIAWRONGWRONGWRONG1"}, {"token": "an-expired-session-token"}], ids=str
)
def test_s3_refuses_credentials(proxy: Proxy, told: Told, options: Any) -> None:
    storage = on_s3(proxy, options)
    start = time.monotonic()
    errors = []
    for call in calls(storage) * 4:
        with pytest.raises(StoreError, match="its credentials are refused") as caught:
            call()
        errors.append(str(caught.value))
    assert time.monotonic() - start < SLOW
    assert sum(storage.requests.values()) == 1
    assert "AWS_ACCESS_KEY_ID" in errors[0]
    check(storage, told, 1, *errors, *(str(error) for error in errors))
    assert not [value for value in options.values() if value in "".join(errors)]


def test_no_s3_there(told: Told) -> None:
    if lacking() == "s3fs is not installed":
        pytest.skip("s3fs is not installed")
    storage = Storage(FsspecStore("s3://b/p", Server("http://127.0.0.1:1").options()), "cache 's3://b/p'", remote=True, budget_s=1.0)
    for _ in range(30):
        with pytest.raises(StoreError):
            storage.get("a")
    assert storage.off is not None
    check(storage, told, 1)
