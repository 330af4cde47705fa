"""The one object that makes every call to a store: deadlines, retries, errors, redaction and faults for tests live here."""

from __future__ import annotations

import os
import random
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, Final

from hypernodes.cache._budget import Budget, within
from hypernodes.cache._circuit import DOWN, Circuit
from hypernodes.cache._faults import Fault, StoreError, classify
from hypernodes.cache.store import CacheStore

ATTEMPTS: Final = 5
BACKOFF_S: Final = 0.05  # the first wait is half to all of it, and each following twice as long
GRACE_S: Final = 1.0  # what a call may take before it counts as a delay
RATE: Final = 2_000_000  # bytes a second that a transfer may be expected to reach; a slower one counts as a delay

KINDS: Final = ("get", "put", "list", "delete", "put_new")
# Methods of local stores, and what they count as.
_EXTRAS: Final = {"append": "put", "seal": "put", "map": "get", "stamp": "list", "left_over": "list", "blob_size": "get"}

Hook = Callable[[str, str, str], object]


class Storage:
    """A store as a cache uses it: it answers, or fails, within a bounded time, and says so once.

    What a store may cost a run has one budget for all calls together, in seconds of added delay. When it is used up, the
    store is off for the rest of the run: every call fails at once, and one ``CacheWarning`` has said why. What is refused
    (no permission, disk full) is not asked for again in that run, while the rest goes on: a root that cannot be written
    is still read.

    Calls to a remote store run in daemon threads, so that one that hangs is left behind. Calls to a local one are made
    directly, once.

    Args:
        store: The store.
        label: What messages call it.
        remote: Whether calls can hang and are worth another attempt.
        budget_s: Seconds of delay that a run may suffer.
        deadline_s: Seconds that one attempt may take, beside the time its bytes take at ``RATE``.
        hook: Called in the thread of each attempt with ``"before"`` or ``"after"``, the kind of call and the name, so that
            tests can inject faults: raise before, as if the request was lost, or after, as if the reply was.

    Attributes:
        off: Why no call is made any more in this run; ``None`` while calls are made.
        requests: Attempts by kind, since this object was made.
        failures: Calls by kind that ended in a ``StoreError``, since this object was made; without those refused while off.
    """

    def __init__(
        self,
        store: CacheStore,
        label: str,
        *,
        remote: bool,
        budget_s: float = 10.0,
        deadline_s: float = 5.0,
        hook: Hook | None = None,
    ) -> None:
        self.store = store
        self.remote = remote
        self.deadline_s = deadline_s
        self.hook = hook
        self.requests: Counter[str] = Counter(dict.fromkeys(KINDS, 0))
        self.failures: Counter[str] = Counter(dict.fromkeys(KINDS, 0))
        self._budget = Budget(budget_s)
        self._grace = min(GRACE_S, budget_s / 10)
        self._circuit = Circuit(store, label)
        self.label = self._circuit.label
        self._lock = threading.Lock()
        _ALL.add(self)

    def __repr__(self) -> str:
        return f"<storage {self.label}{': off' if self.off else ''}>"

    @property
    def off(self) -> str | None:
        """Why no call is made any more in this run."""
        return self._circuit.off

    @property
    def can_create(self) -> bool:
        """Whether the store offers ``put_new``."""
        return callable(getattr(self.store, "put_new", None))

    def begin_run(self) -> None:
        """Renew the budget, and try again what was given up."""
        self._budget.renew()
        self._circuit.close()

    # -- calls --------------------------------------------------------------------------------------------------------

    def put(self, name: str, data: bytes) -> None:
        """Write a blob.

        Raises:
            StoreError: It could not be written, or nobody knows whether it was.
        """
        self._call("put", name, lambda: self.store.put(name, data), len(data))

    def get(self, name: str, start: int = 0, end: int | None = None) -> bytes:
        """Return a blob or a range of it. A large blob has the time its size takes only where ``end`` says how large it is.

        Raises:
            KeyError: There is none of that name.
            StoreError: It could not be read.
        """
        data = self._call("get", name, lambda: self.store.get(name, start, end), 0 if end is None else max(0, end - start))
        return data if type(data) is bytes else bytes(data)

    def list(self, prefix: str = "") -> list[str]:
        """Return the names that begin with a prefix.

        Raises:
            StoreError: They could not be listed.
        """
        found: list[str] = self._call("list", prefix, lambda: list(self.store.list(prefix)))
        return found

    def delete(self, names: Iterable[str]) -> None:
        """Forget blobs.

        Raises:
            StoreError: Some may be left.
        """
        chosen = tuple(names)
        if chosen:
            self._call("delete", chosen[0], lambda: self.store.delete(chosen))

    def put_new(self, name: str, data: bytes) -> bool:
        """Write a blob unless there is one of that name; return whether it is there with these bytes.

        A reply may be lost, and the next attempt, which some clients make on their own, then finds the blob of the first. So
        whoever finds its own bytes has written them.

        Args:
            name: Its name.
            data: Its bytes, which no other writer may have.

        Raises:
            StoreError: Nobody knows, or the store does not offer this.
        """
        create: Callable[[str, bytes], bool] | None = getattr(self.store, "put_new", None)
        if create is None:
            raise StoreError(f"{self.label} cannot write a blob only if there is none: its store has no put_new")
        made: bool = self._call("put_new", name, lambda: bool(create(name, data)) or self._holds(name, data), len(data))
        return made

    def __getattr__(self, name: str) -> Any:
        """Offer what only some stores can do, so that ``hasattr`` tells the truth."""
        if name not in _EXTRAS or "store" not in self.__dict__:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        method = getattr(self.store, name)
        return lambda blob, *arguments: self._call(_EXTRAS[name], blob, lambda: method(blob, *arguments))

    def _holds(self, name: str, data: bytes) -> bool:
        if not self.remote:
            return False
        self._count("get")
        try:
            return self.store.get(name) == data
        except KeyError:
            return False

    # -- one call -----------------------------------------------------------------------------------------------------

    def _call(self, kind: str, name: str, work: Callable[[], Any], size: int = 0) -> Any:
        reason = self._circuit.reason(kind)
        if reason is not None:
            raise StoreError(reason)
        if self.remote:
            value, error = self._remotely(kind, name, work, size / RATE)
        else:
            value, error = self._attempt(kind, name, work)
        if error is None:
            self._circuit.worked(kind)
            return value
        fault = classify(error)
        if fault is Fault.MISSING and kind == "get":
            raise KeyError(name)
        with self._lock:
            self.failures[kind] += 1
        raise self._circuit.failed(kind, name, error, fault)

    def _attempt(self, kind: str, name: str, work: Callable[[], Any]) -> tuple[Any, Exception | None]:
        self._count(kind)
        try:
            if self.hook is not None:
                self.hook("before", kind, name)
            value = work()
            if self.hook is not None:
                self.hook("after", kind, name)
        except Exception as error:  # noqa: BLE001 - a store may raise anything; `_call` tells what it means
            return None, error
        return value, None

    def _count(self, kind: str) -> None:
        with self._lock:
            self.requests[kind] += 1

    def _remotely(self, kind: str, name: str, work: Callable[[], Any], transfer_s: float) -> tuple[Any, Exception | None]:
        """Make a call within the budget: attempts in threads of their own, with waits between them."""
        prepare: Callable[[], object] | None = getattr(self.store, "prepare", None)
        error: Exception | None = None
        if prepare is not None:  # imports what it needs, which is no delay that a store is to blame for
            try:
                prepare()
            except Exception as unprepared:  # noqa: BLE001 - as above
                return None, unprepared
        for number in range(ATTEMPTS):
            left = self._budget.left() - self._grace  # a call that succeeds late may take that much for nothing
            if left <= 0:
                break
            limit = min(self.deadline_s, left) + transfer_s
            with self._budget.attempt(self._grace + transfer_s) as this:
                outcome = within(limit, lambda: self._attempt(kind, name, work))
                value, error = outcome or (None, TimeoutError(f"no answer within {limit:.2g} s"))
                if error is None or classify(error) is not Fault.TRANSIENT:
                    return value, error
                this.failed = True
                if number + 1 < ATTEMPTS:
                    wait = random.uniform(0.5, 1) * BACKOFF_S * 2**number  # noqa: S311 - so that many clients do not come back at once
                    time.sleep(max(0.0, min(wait, self._budget.left() - self._grace)))
        if self._budget.left() - self._grace <= 0:
            self._circuit.open(f"it held this run up for more than {self._budget.seconds:g} s{self._circuit.describe(error)}", cause=DOWN)
        return None, error if error is not None else TimeoutError("the time for this store is used up")

    def _renew_after_fork(self) -> None:
        self._lock = threading.Lock()
        self._budget.renew_after_fork()
        self._circuit.renew_after_fork()


_ALL: Final[weakref.WeakSet[Storage]] = weakref.WeakSet()


def _after_fork() -> None:
    for storage in list(_ALL):
        storage._renew_after_fork()  # noqa: SLF001 - of this module


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
