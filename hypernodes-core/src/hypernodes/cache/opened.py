"""A cache at work: what it holds is known from memory, values are read from its store."""

from __future__ import annotations

import atexit
import contextlib
import os
import socket
import threading
import time
import warnings
import weakref
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs

from hypernodes._hashing import digest
from hypernodes._messages import counted
from hypernodes.cache import _segments, codecs
from hypernodes.cache._segments import Group, Spot
from hypernodes.cache.entry import Entry
from hypernodes.cache.store import CacheStore
from hypernodes.errors import CacheWarning

GROUP_ENTRIES: Final = 256  # the most results that a kill can lose
GROUP_SECONDS: Final = 1.0  # and the longest that one waits to be written
OWN_BLOB: Final = 256 * 1024  # bytes from which on a value is a blob of its own
NODE_HISTORY: Final = 1000  # entries of one node that stay comparable
WARM_BLOBS: Final = 8  # segments whose bytes stay at hand


_HERE: Final = f"{socket.gethostname()}:"


class _Gone:
    """In place of a value that could not be read."""

    def __repr__(self) -> str:
        return "GONE"


GONE: Final = _Gone()


class Cache:
    """A cache at work over a store; safe to use from several threads.

    Args:
        store: Where blobs go; ``None`` keeps values in this process's memory.
        label: What messages call it.
        max_size: The most bytes to keep in memory; only without a store.
    """

    def __init__(self, store: CacheStore | None, label: str, max_size: int | None = None) -> None:
        self.store = store
        self.label = label
        self.max_size = max_size
        self._index: dict[bytes, Entry] = {}
        self._history: dict[tuple[str, str], list[Entry]] = {}
        self._fates: dict[bytes, str] = {}
        self._manifests: dict[bytes, dict[str, str]] = {}
        self._group = Group()
        self._since = 0.0
        self._seen: set[str] = set()
        self._stamp: object = None
        self._warm: OrderedDict[str, bytes] = OrderedDict()
        self._held: OrderedDict[int, tuple[Entry, int]] = OrderedDict()  # values in memory, least recently used first
        self._size = 0
        self._faults: set[str] = set()
        self.shared = False  # whether other machines wrote something here
        self._lock = threading.RLock()
        self._pid = os.getpid()
        _OPEN.add(self)

    def __repr__(self) -> str:
        return f"<cache {self.label}: {counted(len(self), 'kept result')}>"

    def __len__(self) -> int:
        return len({id(entry) for entry in self._index.values()})

    # -- looking up -----------------------------------------------------------------------------------------------

    def find(self, keys: Sequence[bytes]) -> list[Entry | None]:
        """Return what is known under each key, without touching a value."""
        get = self._index.get
        return [get(key) for key in keys]

    def read(self, entries: Sequence[Entry], part: int) -> list[Any]:
        """Return one output of each entry: a new object each time, or ``GONE`` where it cannot be read."""
        return [self._value(entry, part) for entry in entries]

    def _value(self, entry: Entry, part: int) -> Any:
        try:
            data = self._bytes(entry, part)
            if data is None:
                return GONE
            codec = entry.parts[part].codec
            if codec != "list":
                return codecs.decode(codec, data)
            values = []
            for key, output in codecs.decode_references(data):
                element = self._index.get(key)
                value = GONE if element is None else self._value(element, output)
                if value is GONE:
                    return GONE
                values.append(value)
        except Exception as error:  # noqa: BLE001 - a fault of the cache is a miss, never an error
            self._fault("read", error)
            return GONE
        return values

    def whole(self, entry: Entry, part: int) -> bool:
        """Whether all elements that a list refers to are known, without reading them; true of any other value."""
        if entry.parts[part].codec != "list":
            return True
        try:
            data = self._bytes(entry, part)
            found = [] if data is None else [(self._index.get(key), output) for key, output in codecs.decode_references(data)]
        except Exception as error:  # noqa: BLE001 - a fault of the cache is a miss, never an error
            self._fault("read", error)
            return False
        return data is not None and all(each is not None and self.whole(each, output) for each, output in found)

    def _bytes(self, entry: Entry, part: int) -> bytes | None:
        spot = entry.location
        if not isinstance(spot, Spot):
            return None
        if spot.payloads is not None:
            if id(spot) in self._held:
                self._held.move_to_end(id(spot))
            return spot.payloads[part]
        if not spot.ranges or self.store is None:
            return None
        start, end, check = spot.ranges[part]
        try:
            data = self._blob(spot.blob)[start:end] if start >= 0 else self.store.get(f"objects/{check.hex()}")
        except KeyError:
            return None
        if digest(data) != check:
            self._fault("read", ValueError(f"a value in {spot.blob} is not what was written"))
            return None
        return data

    def _blob(self, name: str) -> bytes:
        with self._lock:
            data = self._warm.get(name)
            if data is None:
                assert self.store is not None  # noqa: S101 - the caller asked
                data = self._warm[name] = self.store.get(name)
                while len(self._warm) > WARM_BLOBS:
                    self._warm.popitem(last=False)
            else:
                self._warm.move_to_end(name)
            return data

    def of_node(self, pipeline: str, node: str) -> list[Entry]:
        """Return what was kept of a node, newest first, also what is no longer there."""
        return list(reversed(self._history.get((pipeline, node), ())))

    def fate(self, key: bytes) -> str | None:
        """Return what became of a key that was here once: ``"evicted"`` or ``"invalidated"``."""
        return None if key in self._index else self._fates.get(key)

    def manifest(self, name: bytes) -> Mapping[str, str] | None:
        """Return the parts of some code, by the name they are kept under."""
        return self._manifests.get(name)

    # -- keeping --------------------------------------------------------------------------------------------------

    def keep(self, entry: Entry, payloads: Sequence[codecs.Payload]) -> Entry:
        """Keep a result, and return its entry with the place where its values are."""
        with self._lock:
            self._here()
            kept = attrs.evolve(entry, location=Spot([payload.data for payload in payloads]))
            self._learn(kept)
            if self.store is None:
                self._hold(kept)
            else:
                self._group.entries.append(kept)
                self._due()
        return kept

    def keep_manifest(self, manifest: Mapping[str, str]) -> bytes:
        """Keep the parts of some code, and return the name they are kept under."""
        name = _segments.manifest_name(manifest)
        with self._lock:
            if name not in self._manifests:
                self._here()
                self._manifests[name] = dict(manifest)
                self._group.manifests[name] = dict(manifest)
        return name

    def alias(self, key: bytes, entry: Entry) -> None:
        """Let an entry answer to one more key."""
        with self._lock:
            self._here()
            self._index[key] = entry
            self._group.aliases.append((key, entry.keys[0]))
            self._due()

    def mark(self, key: bytes) -> None:
        """Note that the node behind a key gives different results for equal arguments."""
        with self._lock:
            self._here()
            self._marked(key)
            self._group.marks.append(key)
            self._due()

    def _marked(self, key: bytes) -> None:
        entry = self._index.get(key)
        if entry is not None:
            for each in entry.keys:
                self._index[each] = attrs.evolve(entry, deterministic=False)

    def _learn(self, entry: Entry) -> None:
        for key in entry.keys:
            self._index[key] = entry
        history = self._history.setdefault((entry.origin.pipeline, entry.origin.node), [])
        history.append(entry)
        if len(history) > 2 * NODE_HISTORY:
            del history[:NODE_HISTORY]

    def _hold(self, entry: Entry) -> None:
        spot = entry.location
        assert isinstance(spot, Spot)  # noqa: S101 - just made
        size = sum(part.size for part in entry.parts)
        self._held[id(spot)] = (entry, size)
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

    def invalidate(self, node: str | None = None, pipeline: str | None = None) -> int:
        """Forget results.

        Args:
            node: Id or name of the node; ``None`` for all.
            pipeline: Name of the pipeline that was called; ``None`` for all.

        Returns:
            How many were forgotten.
        """
        with self._lock:
            self._here()
            self.flush()
            found: dict[int, Entry] = {}
            for entry in self._index.values():
                origin = entry.origin
                if (node is None or node in (origin.node, origin.node.rpartition("/")[2])) and (
                    pipeline is None or pipeline == origin.pipeline
                ):
                    found[id(entry.location)] = entry
            keys = [key for key, entry in self._index.items() if id(entry.location) in found]
            self._invalidated(keys)
            self._group.forgotten.extend(keys)
            self.flush()
            return len(found)

    def _invalidated(self, keys: Sequence[bytes]) -> None:
        for key in keys:
            entry = self._index.pop(key, None)
            self._fates[key] = "invalidated"
            if entry is not None and isinstance(entry.location, Spot):
                held = self._held.pop(id(entry.location), None)
                self._size -= held[1] if held else 0

    # -- the store ------------------------------------------------------------------------------------------------

    def _here(self) -> None:
        """After a fork, leave to the parent what it has not written yet."""
        if self._pid != os.getpid():
            self._pid = os.getpid()
            self._group = Group()

    def _due(self) -> None:
        now = time.monotonic()
        if len(self._group.entries) >= GROUP_ENTRIES or (self._since and now - self._since >= GROUP_SECONDS):
            self.flush()
        elif not self._since:
            self._since = now

    def flush(self) -> None:
        """Write what is not written yet."""
        with self._lock:
            group, self._group, self._since = self._group, Group(), 0.0
            if self.store is None or not group or self._pid != os.getpid():
                return
            try:
                self._write(self.store, group)
            except Exception as error:  # noqa: BLE001 - results stay in memory; the run is right without the cache
                self._fault("write", error)

    def _write(self, store: CacheStore, group: Group) -> None:
        body: list[bytes] = []
        ranges: list[list[tuple[int, int, bytes]]] = []
        position = 0
        for entry in group.entries:
            places = []
            for data in entry.location.payloads:  # type: ignore[attr-defined]
                check = digest(data)
                if len(data) > OWN_BLOB:
                    store.put(_segments.object_name(data), data)
                    places.append((-1, -1, check))
                    continue
                places.append((position, position + len(data), check))
                body.append(data)
                position += len(data)
            ranges.append(places)
        name = _segments.new_name()
        data = _segments.pack(group, ranges, body)
        store.put(name, data)
        self._seen.add(name)
        start = len(data) - position
        for entry, places in zip(group.entries, ranges, strict=True):
            spot = entry.location
            assert isinstance(spot, Spot)  # noqa: S101 - made by keep
            spot.blob = name
            spot.ranges = tuple(
                (first + start, last + start, check) if first >= 0 else (first, last, check) for first, last, check in places
            )
            spot.payloads = None

    def refresh(self) -> None:
        """Learn what others have written."""
        if self.store is None:
            return
        with self._lock:
            try:
                stamp = getattr(self.store, "stamp", lambda _: None)("segments/")
                if stamp is not None and stamp == self._stamp:
                    return
                names = sorted(name for name in self.store.list("segments/") if name not in self._seen)
                self._stamp = stamp
            except Exception as error:  # noqa: BLE001 - what cannot be listed holds nothing
                self._fault("list", error)
                return
            for name in names:
                self._seen.add(name)
                try:
                    preamble = self.store.get(name, 0, _segments.PREAMBLE)
                    size = _segments.header_size(preamble)
                    header = self.store.get(name, _segments.PREAMBLE, _segments.PREAMBLE + size)
                    self._take(_segments.unpack(name, preamble, header))
                except Exception as error:  # noqa: BLE001 - a segment that cannot be read holds nothing
                    self._fault("read", error)

    def _take(self, group: Group) -> None:
        self._manifests.update(group.manifests)
        self._invalidated(group.forgotten)
        for entry in group.entries:
            self._learn(entry)
            self.shared = self.shared or not entry.origin.writer.startswith(_HERE)
        for key, target in group.aliases:
            if target in self._index:
                self._index[key] = self._index[target]
        for key in group.marks:
            self._marked(key)

    def _fault(self, what: str, error: Exception) -> None:
        cause = f"{what} {type(error).__name__}"
        if cause not in self._faults:
            self._faults.add(cause)
            text = (
                f"{self.label} could not {what} ({type(error).__name__}: {error}); results are computed instead, and are right all the same"
            )
            warnings.warn(text, CacheWarning, stacklevel=2)


_OPEN: weakref.WeakSet[Cache] = weakref.WeakSet()
_BY_SETTING: dict[Any, Cache] = {}
_SETTING_LOCK = threading.Lock()


def open_cache(setting: Any) -> Cache:
    """Return the cache behind a setting: the same one for equal settings."""
    if isinstance(setting, (list, tuple)):
        setting = setting[0]
    key = setting.key()
    with _SETTING_LOCK:
        cache = _BY_SETTING.get(key)
        if cache is None:
            cache = _BY_SETTING[key] = setting.open()
    return cache


@atexit.register
def _flush_all() -> None:
    for cache in list(_OPEN):
        with contextlib.suppress(Exception):
            cache.flush()
