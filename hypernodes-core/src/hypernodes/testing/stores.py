"""What every store must do, as tests that a store's author inherits."""

from __future__ import annotations

import inspect
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import cloudpickle
import pytest

from hypernodes.cache.store import CacheStore
from hypernodes.testing._cached import CachedTests
from hypernodes.testing._races import THREADS, RaceTests, data_of, same

SIZES = (0, 1, 200, 65_537, 10_000_000)
RANGES = ((0, 10), (5, 6), (990, 1000), (0, 1000), (999, None), (400, None), (990, 5000), (0, 5000))
EMPTY_RANGES = ((0, 0), (10, 10), (1000, None), (1000, 1001), (2000, None), (2000, 3000))
NAMES = (
    "segments/0001-a",
    "segments/0002-b",
    "segments/0010-c",
    "segments_old/0001",
    "segmentsxold/0001",
    "objects/0/1/2/3/4/5/deep",
    "objects/0/1/2.5/point",
    "alone",
)
PREFIXES = (
    "",
    "s",
    "segments/",
    "segments/000",
    "segments_",
    "objects/0/1/2",
    "objects/0/1/2/",
    "alone",
    "alone/",
    "nothing",
    "segments/0001-a",
)


class CacheStoreSuite(CachedTests, RaceTests):
    """Conformance tests for stores: inherit them unedited and say how a store is made.

    Put this into a test module and run pytest::

        from hypernodes.testing import CacheStoreSuite

        from acme.redis import RedisStore


        class TestRedisStore(CacheStoreSuite):
            def make_store(self):
                return RedisStore("redis://localhost/0", prefix=uuid.uuid4().hex)

            def reopen(self, store):
                return RedisStore(store.url, store.prefix)

    What is tested: blobs come back as they were put, whole and in ranges, from nothing to 10 MB; what is overwritten is
    replaced at once and whole; what is missing is a ``KeyError`` and nothing else; names are listed by prefix, all of them
    and nothing more; deleting leaves others alone; 16 threads may use one store; a store that travels brings its blobs
    or says that it does not; ``put_new``, where it is offered, lets exactly one writer win.

    What is left to the store: the order of names; a name below another (``a`` beside ``a/b``); upper case; an empty range
    of a blob that is not there. For all other trouble let it raise what says best what can be done: ``PermissionError``
    where more attempts are of no use, ``TimeoutError`` or ``ConnectionError`` where they may be.

    Attributes:
        many: How many blobs a listing is tried with; more than the pages in which most services list.
        races: How many times 16 threads write one name with ``put_new``.
    """

    many: int = 1100

    # -- the object ---------------------------------------------------------------------------------------------------

    def test_describes_itself(self, store: CacheStore) -> None:
        """It has the methods of a store, they take what they are given, and it can be shown."""
        assert isinstance(store, CacheStore)
        assert isinstance(repr(store), str)
        calls: dict[Callable[..., object], tuple[object, ...]] = {store.put: ("n", b""), store.get: ("n", 0, None), store.list: ("n",)}
        for method, arguments in calls.items():
            inspect.signature(method).bind(*arguments)
        inspect.signature(store.get).bind("n")
        inspect.signature(store.list).bind()
        assert sorted(store.list()) == [], "make_store must return an empty store"

    def test_travels(self, store: CacheStore) -> None:
        """Pickled and loaded again it has its blobs, or pickling it fails with a message."""
        store.put("segments/a", b"kept")
        try:
            data = cloudpickle.dumps(store)
        except Exception as error:  # noqa: BLE001 - however it says so
            assert str(error), f"{type(error).__name__} does not say why it cannot be pickled"
            pytest.skip(f"it does not travel: {error}")
        again = pickle.loads(data)
        assert again.get("segments/a") == b"kept"
        assert list(again.list()) == ["segments/a"]
        assert store.get("segments/a") == b"kept"

    # -- blobs --------------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("size", SIZES)
    def test_round_trips(self, store: CacheStore, size: int) -> None:
        """A blob comes back as bytes, the same ones, here and to whoever opens the store next."""
        data = data_of(size)
        store.put("segments/a", data)
        same(store.get("segments/a"), data)
        same(self.reopen(store).get("segments/a"), data)

    @pytest.mark.parametrize(("start", "end"), RANGES)
    def test_ranges(self, store: CacheStore, start: int, end: int | None) -> None:
        """A range is what slicing gives; an end behind the blob's is its end."""
        data = data_of(1000)
        store.put("segments/a", data)
        same(store.get("segments/a", start, end), data[start:end])

    @pytest.mark.parametrize(("start", "end"), EMPTY_RANGES)
    def test_empty_ranges(self, store: CacheStore, start: int, end: int | None) -> None:
        """A range with nothing in it is no error, nor is one of a blob of no bytes."""
        store.put("segments/a", data_of(1000))
        store.put("segments/b", b"")
        same(store.get("segments/a", start, end), b"")
        same(store.get("segments/b", start, end), b"")

    def test_overwriting(self, store: CacheStore) -> None:
        """What is put last counts, whole, and its name is there once."""
        for data in (b"first", b"first", data_of(5000), b"", b"last"):
            store.put("segments/a", data)
            same(store.get("segments/a"), data)
        assert list(store.list()) == ["segments/a"]

    def test_missing(self, store: CacheStore) -> None:
        """What is not there is a KeyError: never put, only the beginning of a name, or deleted."""
        store.put("segments/deep/a", b"data")
        store.put("segments/b", b"data")
        store.delete(["segments/b"])
        for name in ("segments/a", "segments/deep", "segments", "segments/deep/a/b", "nothing/at/all", "segments/b"):
            with pytest.raises(KeyError):
                store.get(name)
            with pytest.raises(KeyError):
                store.get(name, 2, 7)

    def test_keeps_its_own_copy(self, store: CacheStore) -> None:
        """What the caller does with its buffer afterwards changes nothing, unless the store refuses what is not bytes."""
        buffer = bytearray(b"before")
        try:
            store.put("segments/a", buffer)  # type: ignore[arg-type]
        except TypeError:
            pytest.skip("it takes nothing but bytes, which do not change")
        buffer[:] = b"after!"
        same(store.get("segments/a"), b"before")

    # -- names --------------------------------------------------------------------------------------------------------

    def test_names(self, store: CacheStore) -> None:
        """Names have lower-case letters, digits, dots, underscores, hyphens and slashes, and are told apart by each of them."""
        names = ["a", "a-b", "a.b", "a_b", "c/b", "c.b/d", "c-b/d", "c_b/d", "0", "00", "e/0", "e/00", "f" * 128, "/".join("ghijklmnopqrs")]
        names.append("objects/abcdefghijklmnopqrstuvwxyz0123456789._-")
        for name in names:
            store.put(name, name.encode())
        assert {name: bytes(store.get(name)) for name in names} == {name: name.encode() for name in names}
        assert sorted(store.list()) == sorted(names)

    @pytest.mark.parametrize("prefix", PREFIXES)
    def test_list(self, store: CacheStore, prefix: str) -> None:
        """The names that begin with a prefix, wherever it ends: all, each once, whole, and no folders."""
        for name in NAMES:
            store.put(name, b"data")
        expected = sorted(name for name in NAMES if name.startswith(prefix))
        assert sorted(store.list(prefix)) == expected
        assert sorted(self.reopen(store).list(prefix)) == expected

    def test_list_of_many(self, store: CacheStore) -> None:
        """However many there are, all are listed."""
        names = [f"segments/{number:06d}" for number in range(self.many)]
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(store.put, names, [b"data"] * len(names)))
        assert sorted(store.list("segments/")) == names
        store.delete(names)
        assert list(store.list()) == []

    def test_delete(self, store: CacheStore) -> None:
        """What is deleted is gone, what is not there is no error, and the rest stays."""
        for name in NAMES:
            store.put(name, b"data")
        store.delete([])
        store.delete(["nothing", "segments/0001-a", "segments/none", "segments"])
        store.delete(name for name in ("alone", "objects/0/1/2"))
        store.delete(["alone"])
        left = sorted({*NAMES} - {"segments/0001-a", "alone"})
        assert sorted(store.list()) == left
        assert sorted(self.reopen(store).list()) == left
        assert all(store.get(name) == b"data" for name in left)
        store.put("alone", b"again")
        same(store.get("alone"), b"again")
