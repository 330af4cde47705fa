"""What is given up for the rest of a run when a store fails, and what is said about it."""

from __future__ import annotations

import threading
import warnings
from collections import Counter
from collections.abc import Iterable
from typing import Final

from hypernodes.cache._faults import Fault, StoreError
from hypernodes.cache._secrets import redacted
from hypernodes.cache.store import CacheStore
from hypernodes.errors import CacheWarning

PATIENCE: Final = 3  # failures of one kind in a row, each for reasons unknown, after which that kind is given up

DOWN: Final = "down"  # the cause of all that is said of a store which does not answer
_WRITES: Final = {"put": "written to", "put_new": "written to", "delete": "deleted from"}
_DONE: Final = {**_WRITES, "get": "read", "list": "listed"}
_END: Final = "results are computed instead, and are right all the same"


class Circuit:
    """Which calls to a store are still made. One warning is given for each cause, per run.

    Args:
        store: The store; its ``secrets`` are hidden in messages, and its ``hint`` says what to do about its credentials.
        label: What messages call it.

    Attributes:
        off: Why no call is made any more.
    """

    def __init__(self, store: CacheStore, label: str) -> None:
        self.label = redacted(label)
        self._store = store
        self._lock = threading.Lock()
        self.close()

    def close(self) -> None:
        """Let all calls through again."""
        self.off: str | None = None
        self._refused: dict[str, str] = {}
        self._told: set[str] = set()
        self._streak: Counter[str] = Counter()
        self._answered = False

    def renew_after_fork(self) -> None:
        """In a child process: another thread of the parent may have held the lock just then."""
        self._lock = threading.Lock()

    def reason(self, kind: str) -> str | None:
        """Return why calls of a kind are not made any more, or ``None``."""
        return self.off or self._refused.get(kind)

    def worked(self, kind: str) -> None:
        """Note that a call succeeded."""
        self._answered = True
        if self._streak:
            self._streak.pop(kind, None)

    def failed(self, kind: str, name: str, error: Exception, fault: Fault) -> StoreError:
        """Note that a call failed; return what its caller is to be told."""
        with self._lock:
            self._streak[kind] += 1
            tired = self._streak[kind] >= PATIENCE
            down = not self._answered or kind in _WRITES or sum(self._streak.values()) >= PATIENCE
        shown = self._shown(error)
        text = None
        if self.off is not None:
            text = self.off
        elif fault is Fault.CREDENTIALS:
            hint = (
                getattr(self._store, "hint", "") or "renew them where this process finds them: its environment, or the client's own files"
            )
            text = self.open(f"its credentials are refused ({shown})", hint)
        elif fault is Fault.NOWHERE:
            text = self.open(f"what should hold it does not exist ({shown})", "create it, or correct the URL")
        elif fault is Fault.UNUSABLE:
            text = self.open(shown)
        elif fault is Fault.DENIED:
            cure = "let the user or the credentials that this runs with do so, or use another root"
            text = self._refuse((kind,), "denied", f"{self.label} may not be {_DONE[kind]} here ({shown}); {_END}\n  fix: {cure}")
        elif fault is Fault.FULL:
            text = self._refuse(_WRITES, "denied", f"{self.label} cannot be written to ({shown}); {_END}")
        elif fault is not Fault.TRANSIENT:
            # Told at once, but it may be this one blob: the kind is given up when nothing else succeeds in between.
            where = f" of {name}" if name else ""
            text = self._refuse((kind,) if tired else (), "broken", f"{self.label} failed at {kind}{where} ({shown}); {_END}")
        elif down:  # one blob that could not be read just now is a miss like any other
            text = self._refuse((), DOWN, f"{self.label} could not be {_DONE[kind]} ({shown}); {_END}")
        return StoreError(text or f"{self.label}: {kind} of {name!r} failed: {shown}")

    def open(self, reason: str, fix: str = "", cause: str = "off") -> str:
        """Let no call through any more in this run; return what is told, unless something with the same cause was told before."""
        text = f"{self.label} is off for the rest of this run: {reason}; {_END}" + (f"\n  fix: {fix}" if fix else "")
        with self._lock:
            if self.off is not None:
                return self.off
            self.off = text
        self._tell(cause, text)
        return text

    def describe(self, error: Exception | None) -> str:
        """Return a last cause in brackets, or nothing where there is none."""
        return f" ({self._shown(error)})" if error is not None else ""

    def _shown(self, error: Exception) -> str:
        text = str(error) if isinstance(error, StoreError) else f"{type(error).__name__}: {error}".rstrip(": ")
        return redacted(text, getattr(self._store, "secrets", frozenset()))

    def _refuse(self, kinds: Iterable[str], what: str, text: str) -> str:
        with self._lock:
            for kind in kinds:
                self._refused.setdefault(kind, text)
        self._tell(what, text)
        return text

    def _tell(self, what: str, text: str) -> None:
        with self._lock:
            if what in self._told:
                return
            self._told.add(what)
        warnings.warn(text, CacheWarning, stacklevel=2)
