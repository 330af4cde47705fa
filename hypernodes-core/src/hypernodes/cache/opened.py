"""Caches at work: what all of them do alike, and which setting has which."""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
import warnings
import weakref
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Final

from hypernodes._hashing import digest
from hypernodes.cache import codecs
from hypernodes.cache._faults import StoreError
from hypernodes.cache.entry import Entry
from hypernodes.errors import CacheWarning

NODE_HISTORY: Final = 1000  # entries of one node that stay comparable


class _Gone:
    """In place of a value that could not be read."""

    def __repr__(self) -> str:
        return "GONE"


GONE: Final = _Gone()


class Cache(ABC):
    """A cache at work.

    Args:
        label: What messages call it.

    Attributes:
        label: What messages call it.
        shared: Whether other machines wrote something here.
    """

    def __init__(self, label: str) -> None:
        self.label = label
        self.shared = False
        self._faults: set[str] = set()
        _OPEN.add(self)

    def __repr__(self) -> str:
        return f"<{self.label}>"

    @abstractmethod
    def __len__(self) -> int:
        """How many results there are."""

    @abstractmethod
    def find(self, keys: Sequence[bytes]) -> list[Entry | None]:
        """Return what is known under each key, without reading a value."""

    def find_one(self, key: bytes) -> Entry | None:
        """Return what is known under a key, without reading a value."""
        return self.find((key,))[0]

    @abstractmethod
    def payload(self, entry: Entry, part: int) -> tuple[Any, bool] | None:
        """Return the bytes of one output, and whether this user vouches for them; ``None`` where they are gone."""

    def read(self, entries: Sequence[Entry], part: int) -> list[Any]:
        """Return one output of each entry: a new object each time, or ``GONE`` where it cannot be read."""
        return [self._value(entry, part) for entry in entries]

    def _value(self, entry: Entry, part: int) -> Any:
        try:
            found = self.payload(entry, part)
            if found is None:
                return GONE
            return self.decoded(entry.parts[part].codec, *found)
        except Exception as error:  # noqa: BLE001 - a fault of the cache is a miss, never an error
            self.fault("read", error)
            return GONE

    def decoded(self, codec: str, data: Any, trusted: bool) -> Any:  # noqa: FBT001 - one half of what ``payload`` returns
        """Return the value that bytes stand for; ``GONE`` where an element of a list is."""
        if codec != "list":
            return codecs.decode(codec, data, trusted=trusted)
        values = []
        for key, output in codecs.decode_references(data):
            (element,) = self.find((key,))
            value = GONE if element is None else self._value(element, output)
            if value is GONE:
                return GONE
            values.append(value)
        return values

    def whole(self, entry: Entry, part: int) -> bool:
        """Whether all elements that a list refers to are known, without reading them; true of any other value."""
        if entry.parts[part].codec != "list":
            return True
        try:
            found = self.payload(entry, part)
            elements = [] if found is None else [(self.find((key,))[0], output) for key, output in codecs.decode_references(found[0])]
        except Exception as error:  # noqa: BLE001 - as above
            self.fault("read", error)
            return False
        return found is not None and all(each is not None and self.whole(each, output) for each, output in elements)

    @abstractmethod
    def of_node(self, pipeline: str, node: str) -> list[Entry]:
        """Return what was kept of a node, newest first, also what is no longer there."""

    @abstractmethod
    def nodes(self) -> dict[tuple[str, str], int]:
        """Return how many results there are of each pipeline and node."""

    @abstractmethod
    def fate(self, key: bytes) -> str | None:
        """Return what became of a key that was here once: ``"evicted"`` or ``"invalidated"``."""

    @abstractmethod
    def manifest(self, name: bytes) -> Mapping[str, str] | None:
        """Return the parts of some code, by the name they are kept under."""

    def publish(self) -> None:  # noqa: B027 - most caches hold nothing back
        """Let other processes see what was kept so far."""

    def catch_up(self) -> None:  # noqa: B027 - as in ``refresh``
        """See what other processes of this run have published."""

    @abstractmethod
    def keep(self, entry: Entry) -> None:
        """Keep a result; its place holds the bytes of its values, and says later where they went."""

    def keep_manifest(self, manifest: Mapping[str, str]) -> bytes:
        """Keep the parts of some code, and return the name they are kept under."""
        name = digest("\n".join(f"{part}\t{local}" for part, local in sorted(manifest.items())).encode("utf-8", "surrogatepass"))
        self._keep_manifest(name, manifest)
        return name

    @abstractmethod
    def _keep_manifest(self, name: bytes, manifest: Mapping[str, str]) -> None: ...

    @abstractmethod
    def alias(self, key: bytes, entry: Entry) -> None:
        """Let an entry answer to one more key."""

    @abstractmethod
    def mark(self, key: bytes) -> None:
        """Note that the node behind a key gives different results for equal arguments."""

    knows_pieces = False  # whether ``piece`` may answer

    def piece(self, key: bytes, after: int = 0) -> tuple[Any, Any, Any] | None:
        """Return what is known of one output of a piece of a map: what it depends on, what it counts for, where its values are.

        Args:
            key: Stands for the output and the piece.
            after: What was noted up to this time does not count, in microseconds since the epoch.
        """
        return None

    def taken_back(self) -> int:
        """Return when a result was last taken back, in microseconds since the epoch; pieces noted up to then do not count."""
        return 0

    def entries_at(self, places: Any) -> list[Entry]:
        """Return the entries of a piece; none where some are gone."""
        return []

    def keep_piece(self, key: bytes, known: tuple[Any, Any], column: Sequence[Entry]) -> None:  # noqa: B027 - as above
        """Note where the results of a piece are; see ``piece``."""

    def read_places(self, places: Any, part: int) -> list[Any] | None:
        """Return one output of a piece; ``None`` where some value cannot be read."""
        return None

    def is_barred(self, entry: Entry) -> bool:
        """Whether a result, wherever it is kept, was invalidated here after it was made."""
        return False

    @abstractmethod
    def invalidate(self, node: str | None = None, pipeline: str | None = None) -> int:
        """Forget results.

        Args:
            node: Id or name of the node; ``None`` for all.
            pipeline: Name of the pipeline that was called; ``None`` for all.

        Returns:
            How many were forgotten.
        """

    def clear(self) -> int:
        """Forget all results, free what they take, and return how many they were."""
        return self.invalidate()

    def flush(self) -> None:  # noqa: B027 - memory has nothing to write
        """Write what is not written yet, and make it durable."""

    def refresh(self) -> None:  # noqa: B027 - nobody else writes to this process's memory
        """Learn what others have written."""

    def after_fork(self) -> None:  # noqa: B027 - memory is copied as it is
        """In a child process, leave to the parent what it has not written yet."""

    may_pickle = True  # whether results that are read by running code may be kept
    read_only = False  # whether nothing is kept

    def end_note(self) -> str | None:
        """Return what to say at the end of a run."""
        return None

    def fault(self, what: str, error: Exception) -> None:
        """Say once what went wrong; the run goes on without it."""
        if isinstance(error, StoreError):
            return  # whoever made the call to the store has said so
        cause = f"{what} {type(error).__name__}"
        if cause not in self._faults:
            self._faults.add(cause)
            text = (
                f"{self.label} could not {what} ({type(error).__name__}: {error}); results are computed instead, and are right all the same"
            )
            warnings.warn(text, CacheWarning, stacklevel=2)


_OPEN: weakref.WeakSet[Cache] = weakref.WeakSet()
_BY_SETTING: dict[Any, Cache] = {}
_SETTING_LOCK = threading.RLock()  # layers open each other


def open_cache(setting: Any) -> Cache:
    """Return the cache behind a setting: the same one for equal settings."""
    key = setting.key()
    with _SETTING_LOCK:
        cache: Cache | None = _BY_SETTING.get(key)
        if cache is None:
            cache = _BY_SETTING[key] = setting.open()
    return cache


def flush_all() -> None:
    """Write what the caches of this process hold back."""
    for cache in list(_BY_SETTING.values()):
        cache.flush()


def _forked() -> None:
    for cache in list(_OPEN):
        cache.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


@atexit.register
def _flush_all() -> None:
    for cache in list(_OPEN):
        with contextlib.suppress(Exception):
            cache.flush()
