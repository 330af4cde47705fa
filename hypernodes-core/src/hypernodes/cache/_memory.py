"""A cache in this process's memory."""

from __future__ import annotations

import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from hypernodes.cache.entry import Entry
from hypernodes.cache.opened import NODE_HISTORY, Cache


class MemoryKept(Cache):
    """A cache in this process's memory; safe to use from several threads.

    Args:
        max_size: The most bytes to keep; what was used least goes first.
    """

    def __init__(self, max_size: int | None = None) -> None:
        super().__init__("the memory cache")
        self.max_size = max_size
        self._index: dict[bytes, Entry] = {}
        self._history: dict[tuple[str, str], list[Entry]] = {}
        self._fates: dict[bytes, str] = {}
        self._manifests: dict[bytes, dict[str, str]] = {}
        self._barriers: list[tuple[float, str | None, str | None]] = []
        self._held: OrderedDict[int, tuple[Entry, int]] = OrderedDict()  # least recently used first
        self._size = 0
        self._lock = threading.RLock()

    def __len__(self) -> int:
        return len({id(entry.location) for entry in self._index.values()})

    def find(self, keys: Sequence[bytes]) -> list[Entry | None]:
        """Return what is known under each key."""
        get = self._index.get
        return [get(key) for key in keys]

    def payload(self, entry: Entry, part: int) -> tuple[Any, bool] | None:
        """Return the bytes of one output."""
        spot: Any = entry.location
        if spot is None or spot.payloads is None:
            return None
        with self._lock:
            if id(spot) in self._held:
                self._held.move_to_end(id(spot))
        return spot.payloads[part], True

    def of_node(self, pipeline: str, node: str) -> list[Entry]:
        """Return what was kept of a node, newest first, also what is no longer there."""
        return list(reversed(self._history.get((pipeline, node), ())))

    def nodes(self) -> dict[tuple[str, str], int]:
        """Return how many results there are of each pipeline and node."""
        entries = {id(entry.location): entry for entry in self._index.values()}.values()
        return dict(sorted(Counter((entry.origin.pipeline, entry.origin.node) for entry in entries).items()))

    def fate(self, key: bytes) -> str | None:
        """Return what became of a key that was here once: ``"evicted"`` or ``"invalidated"``."""
        return None if key in self._index else self._fates.get(key)

    def manifest(self, name: bytes) -> Mapping[str, str] | None:
        """Return the parts of some code, by the name they are kept under."""
        return self._manifests.get(name)

    def keep(self, entry: Entry) -> None:
        """Keep a result."""
        with self._lock:
            for key in entry.keys:
                self._index[key] = entry
            history = self._history.setdefault((entry.origin.pipeline, entry.origin.node), [])
            history.append(entry)
            if len(history) > 2 * NODE_HISTORY:
                del history[:NODE_HISTORY]
            self._hold(entry)

    def _hold(self, entry: Entry) -> None:
        size = sum(part.size for part in entry.parts)
        self._held[id(entry.location)] = (entry, size)
        self._size += size
        while self.max_size is not None and self._size > self.max_size and self._held:
            _, (old, freed) = self._held.popitem(last=False)
            self._size -= freed
            old.location.payloads = None  # type: ignore[attr-defined]
            self._forget(old, "evicted")

    def _forget(self, entry: Entry, fate: str) -> None:
        for key in [key for key in entry.keys if (known := self._index.get(key)) is not None and known.location is entry.location]:
            del self._index[key]
            self._fates[key] = fate

    def _keep_manifest(self, name: bytes, manifest: Mapping[str, str]) -> None:
        self._manifests.setdefault(name, dict(manifest))

    def alias(self, key: bytes, entry: Entry) -> None:
        """Let an entry answer to one more key."""
        with self._lock:
            self._index[key] = entry

    def mark(self, key: bytes) -> None:
        """Note that the node behind a key gives different results for equal arguments."""
        with self._lock:
            entry = self._index.get(key)
            if entry is not None:
                for each in entry.keys:
                    self._index[each] = attrs.evolve(entry, deterministic=False)

    def is_barred(self, entry: Entry) -> bool:
        """Whether a result, wherever it is kept, was invalidated here after it was made."""
        return any(entry.created <= when and entry.origin.is_of(node, pipeline) for when, node, pipeline in self._barriers)

    def invalidate(self, node: str | None = None, pipeline: str | None = None) -> int:
        """Forget results."""
        with self._lock:
            self._barriers.append((time.time(), node, pipeline))
            found = {id(entry.location) for entry in self._index.values() if entry.origin.is_of(node, pipeline)}
            for key in [key for key, entry in self._index.items() if id(entry.location) in found]:
                entry = self._index.pop(key)
                self._fates[key] = "invalidated"
                held = self._held.pop(id(entry.location), None)
                self._size -= held[1] if held else 0
            return len(found)
