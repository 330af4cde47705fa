"""A cache over a store: results as blocks, found through an index that is only a hint."""

from __future__ import annotations

import socket
import threading
import time
from array import array
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import attrs

from hypernodes._hashing import digest
from hypernodes.cache._blocks import Apart, Block, Foreign, Notes, Unreadable, pack
from hypernodes.cache._index import Holder, Index
from hypernodes.cache._reader import Reader
from hypernodes.cache._storage import Storage
from hypernodes.cache._writer import Writer
from hypernodes.cache.entry import Entry, is_of
from hypernodes.cache.opened import GONE, NODE_HISTORY, Cache
from hypernodes.cache.store import CacheStore
from hypernodes.cache.trust import Verdict, keyring_for

GROUP_ENTRIES: Final = 256  # the most results that a kill can lose
GROUP_SECONDS: Final = 1.0  # and the longest that one waits to be written
APART: Final = 256 * 1024  # bytes from which on a value is a blob of its own


class StoredCache(Cache):
    """A cache over a store; safe to use from several threads, processes and machines.

    Args:
        store: Where blobs go.
        label: What messages call it.
        local: Whether the store belongs to this user and machine: then the user's own key vouches, and no call can hang.
    """

    def __init__(self, store: CacheStore, label: str, *, local: bool = True) -> None:
        super().__init__(label)
        self.store = Storage(store, label, remote=not local)
        self._keys = keyring_for(local)
        self.may_pickle = self._keys.may_pickle
        self.host = socket.gethostname()
        self._reader = Reader(self.store, self._verdict)
        self._writer = Writer(self.store, self.host)
        self._index = Index(self._table)
        self._pending: dict[bytes, Entry] = {}  # of the group that is not written yet
        self._group: list[Entry] = []
        self._said = Notes()
        self._since = 0.0
        self._seen: set[str] = set()
        self._stamp: object = None
        self._noted: str | None = None
        self._apart: set[bytes] = set()  # names of blobs known to be there
        self._lock = threading.RLock()

    def __len__(self) -> int:
        with self._lock:
            if not self._index.barriers:
                return len(set(self._first_keys()))
            return len({entry.keys[0] for entry in self._entries()})

    def _first_keys(self) -> Iterator[bytes]:
        yield from (entry.keys[0] for entry in self._group)
        for holder in self._index.holders.values():
            for number in range(len(holder.starts)):
                block = self._block(holder, number)
                yield from (keys[0] for keys in block.keys) if block is not None else ()

    def _entries(self, node: str | None = None, pipeline: str | None = None) -> Iterator[Entry]:
        """Yield the entries of some nodes that still count."""
        for where in list(self._nodes()):
            if is_of(where, node, pipeline):
                yield from (entry for entry in self._history(where) if not self._is_barred(entry))

    def _nodes(self) -> set[tuple[str, str]]:
        found = {(entry.origin.pipeline, entry.origin.node) for entry in self._group}
        return found.union(*(holder.nodes for holder in self._index.holders.values()))

    # -- looking up -----------------------------------------------------------------------------------------------

    def find(self, keys: Sequence[bytes]) -> list[Entry | None]:
        """Return what is known under each key, without reading a value."""
        pending, aliases, index = self._pending, self._index.aliases, self._index
        found: list[Entry | None] = []
        with self._lock:
            for key in keys:
                entry = pending.get(key)
                if entry is None:
                    first = aliases.get(key, key) if aliases else key
                    place = index.find(first)
                    entry = self._entry_at(first, *place) if place is not None else None
                found.append(entry)
        return found

    def _entry_at(self, first: bytes, holder: Holder, number: int, position: int) -> Entry | None:
        """Return an entry that still counts and has a key."""
        block = self._block(holder, number)
        if block is None or position >= len(block):
            return None
        try:
            entry = block.entry(position, (holder, number))
        except Unreadable as error:
            self.fault("read", error)
            return None
        if first not in entry.keys or self._is_barred(entry):
            return None
        if not block.trusted and any(part.codec == "pickle" for part in entry.parts):
            return None  # nobody vouches for code
        if entry.keys[0] in self._index.marks:
            entry = attrs.evolve(entry, deterministic=False)
        return entry

    def _is_barred(self, entry: Entry) -> bool:
        """Whether a result was invalidated after it was made."""
        if not self._index.barriers:
            return False
        made = entry.created * 1_000_000
        return any(made <= when and entry.origin.is_of(node, pipeline) for when, node, pipeline in self._index.barriers)

    def _verdict(self, data: bytes, tag: bytes) -> bool | None:
        """Say of a block whether this user vouches for it; ``None`` where it is not what was written."""
        verdict = self._keys.check(data, tag)
        if verdict is Verdict.FOREIGN or (verdict is Verdict.PLAIN and not self._keys.reads_plain):
            msg = "it was written under another key"
            raise Foreign(msg)
        return None if verdict is Verdict.BROKEN else verdict is Verdict.TRUSTED

    def end_note(self) -> str | None:
        """Return what to say at the end of a run about results that other keys wrote, once."""
        note = self._keys.foreign_note(self.label)
        if note == self._noted:
            return None
        self._noted = note
        return note

    def _block(self, holder: Holder, number: int) -> Block | None:
        try:
            return self._reader.block(holder, number, self._writer.waiting(holder, number))
        except Foreign:
            return None  # counted, and told at the end
        except KeyError:
            with self._lock:
                self._index.drop(holder)
        except Exception as error:  # noqa: BLE001 - a fault of the cache is a miss, never an error
            self.fault("read", error)
        return None

    def _table(self, holder: Holder) -> bytes | None:
        """Return the table of keys of a segment, from its blocks where the one it has cannot be used."""
        try:
            return self._reader.table(holder)
        except KeyError:
            return None
        except Exception as error:  # noqa: BLE001 - as above
            self.fault("read", error)
        again = Holder(holder.id, holder.name)
        for number in range(len(holder.starts)):
            block = self._block(holder, number)
            if block is None:
                return None
            again.add(0, block.keys, ())
        return bytes(again.keys.table) if again.keys is not None else b""

    # -- reading --------------------------------------------------------------------------------------------------

    def payload(self, entry: Entry, part: int) -> tuple[Any, bool] | None:
        """Return the bytes of one output and whether this user vouches for them."""
        spot: Any = entry.location
        if spot.payloads is not None:
            return spot.payloads[part], True
        if spot.block is None:
            return None
        block = self._block(*spot.block)
        if block is None:
            return None
        ((_, data),) = block.columns((spot.position,), part)
        return self._whole(data, trusted=block.trusted)

    def _whole(self, data: Any, *, trusted: bool) -> tuple[Any, bool] | None:
        """Return bytes that may be kept apart."""
        if type(data) is not Apart:
            return data, trusted
        try:
            content = self.store.get(f"objects/{data.name.hex()}")
        except KeyError:
            return None
        if digest(content) != data.name:
            self.fault("read", Unreadable(f"objects/{data.name.hex()} is not what was written"))
            return None
        return content, trusted

    def of_node(self, pipeline: str, node: str) -> list[Entry]:
        """Return what was kept of a node, newest first, also what is no longer there."""
        return list(self._history((pipeline, node), NODE_HISTORY))

    def _history(self, where: tuple[str, str], most: int | None = None) -> Iterator[Entry]:
        count = 0
        for entry in reversed(self._group):
            if (entry.origin.pipeline, entry.origin.node) == where:
                count += 1
                yield entry
        for holder, number in list(self._index.blocks_of(where)):
            if most is not None and count >= most:
                return
            block = self._block(holder, number)
            for position in reversed(range(len(block))) if block is not None else ():
                origin = block.origin(position)  # type: ignore[union-attr]
                if (origin.pipeline, origin.node) == where:
                    count += 1
                    yield block.entry(position, (holder, number))  # type: ignore[union-attr]

    def nodes(self) -> dict[tuple[str, str], int]:
        """Return how many results there are of each pipeline and node."""
        found: dict[tuple[str, str], set[bytes]] = {}
        for entry in self._entries():
            found.setdefault((entry.origin.pipeline, entry.origin.node), set()).add(entry.keys[0])
        return {where: len(keys) for where, keys in sorted(found.items())}

    def fate(self, key: bytes) -> str | None:
        """Return what became of a key that was here once: ``"invalidated"``."""
        place = self._index.find(key)
        if place is None:
            return None
        block = self._block(place[0], place[1])
        return "invalidated" if block is not None and self._is_barred(block.entry(place[2], None)) else None

    def manifest(self, name: bytes) -> Mapping[str, str] | None:
        """Return the parts of some code, by the name they are kept under."""
        return self._said.manifests.get(name) or self._index.manifests.get(name)

    # -- keeping --------------------------------------------------------------------------------------------------

    def keep(self, entry: Entry) -> None:
        """Keep a result; it is written with its group."""
        with self._lock:
            for key in entry.keys:
                self._pending[key] = entry
            self._group.append(entry)
            self._due()

    def _keep_manifest(self, name: bytes, manifest: Mapping[str, str]) -> None:
        with self._lock:
            if name not in self._index.manifests and name not in self._said.manifests:
                self._said.manifests[name] = dict(manifest)

    def alias(self, key: bytes, entry: Entry) -> None:
        """Let an entry answer to one more key."""
        with self._lock:
            if entry.keys[0] in self._pending:
                self._pending[key] = entry
            self._index.aliases[key] = entry.keys[0]
            self._said.aliases.append((key, entry.keys[0]))

    def mark(self, key: bytes) -> None:
        """Note that the node behind a key gives different results for equal arguments."""
        with self._lock:
            (entry,) = self.find((key,))
            first = key if entry is None else entry.keys[0]
            self._index.marks[first] = time.time_ns() // 1000
            self._said.marks.append(first)
            for each in entry.keys if entry is not None else ():
                if each in self._pending:
                    self._pending[each] = attrs.evolve(self._pending[each], deterministic=False)

    def invalidate(self, node: str | None = None, pipeline: str | None = None) -> int:
        """Forget results; see ``DiskCache.invalidate``."""
        with self._lock:
            self._write_group()
            found = len({entry.keys[0] for entry in self._entries(node, pipeline)})
            self._said.barriers.append((node, pipeline))
            self.flush()
            return found

    # -- whole pieces of a map ------------------------------------------------------------------------------------

    knows_pieces = True

    def piece(self, key: bytes) -> tuple[Any, Any, Any] | None:
        """Return what is known of one output of a piece of a map, unless anything was taken back since it was noted."""
        place = self._index.chunks.get(key)
        block = self._block(*place) if place is not None else None
        if block is None:
            return None
        try:
            found: tuple[Any, Any, Any] = block.notes.chunks[key]
        except Exception as error:  # noqa: BLE001 - a fault of the cache is a miss, never an error
            self.fault("read", error)
            return None
        taken_back = [*(when for when, _, _ in self._index.barriers), *self._index.marks.values()]
        return None if taken_back and max(taken_back) >= block.time else found

    def keep_piece(self, key: bytes, known: tuple[Any, Any], column: Sequence[Entry]) -> None:
        """Note where the results of a piece are: runs of places in one block."""
        with self._lock:
            self._write_group()
            runs: list[tuple[str, int, array[int]]] = []
            for entry in column:
                spot: Any = entry.location
                if spot.block is None:
                    return
                holder, number = spot.block
                if not runs or runs[-1][1] != number or runs[-1][0] != holder.id:
                    runs.append((holder.id, number, array("H")))
                runs[-1][2].append(spot.position)
            self._said.chunks[key] = (*known, [(holder_id, number, positions.tobytes()) for holder_id, number, positions in runs])

    def read_places(self, places: Any, part: int) -> list[Any] | None:
        """Return one output of a piece; ``None`` where some value cannot be read."""
        values: list[Any] = []
        try:
            for holder_id, number, positions in places:
                holder = self._index.holders.get(holder_id)
                block = self._block(holder, number) if holder is not None else None
                if block is None:
                    return None
                for codec, data in block.columns(array("H", positions), part):
                    whole = self._whole(data, trusted=block.trusted) if type(data) is Apart else (data, block.trusted)
                    value = GONE if whole is None else self._decoded(codec, *whole)
                    if value is GONE:
                        return None
                    values.append(value)
        except Exception as error:  # noqa: BLE001 - as above
            self.fault("read", error)
            return None
        return values

    # -- the store ------------------------------------------------------------------------------------------------

    def after_fork(self) -> None:
        """In a child process, leave to the parent what it has not written yet."""
        self._lock = threading.RLock()
        self._pending, self._group, self._said, self._since = {}, [], Notes(), 0.0
        self._writer.abandon()

    def _due(self) -> None:
        now = time.monotonic()
        if len(self._group) >= GROUP_ENTRIES or (self._since and now - self._since >= GROUP_SECONDS):
            self._write_group()
        elif not self._since:
            self._since = now

    def flush(self) -> None:
        """Write what is not written yet, and make it durable."""
        with self._lock:
            self._write_group()
            try:
                sealed = self._writer.seal()
                if sealed is not None:
                    self._seen.add(sealed)
            except Exception as error:  # noqa: BLE001 - what was written stays readable in memory or as a journal
                self.fault("write", error)

    def _write_group(self) -> None:
        group, self._group, self._since = self._group, [], 0.0
        said, self._said = self._said, Notes()
        if not group and not said:
            return
        try:
            now = time.time_ns() // 1000
            apart = self._put_apart(group)
            data = pack(group, apart, said, now, self._keys.tag)
            holder, number, new = self._writer.write(data, group, said, now)
            if new:
                self._index.take(holder)
            else:
                self._index.note(holder)
            self._index.learn(now, said)
            for key in said.chunks:
                self._index.chunks[key] = (holder, number)
        except Exception as error:  # noqa: BLE001 - results stay in memory; the run is right without the cache
            self.fault("write", error)
            self._writer.abandon()
            self._pending.clear()  # a run may be long; what is not written is computed again when it is asked for
            return
        place = (holder, number)
        for position, entry in enumerate(group):
            spot: Any = entry.location
            spot.block, spot.position, spot.payloads = place, position, None
        self._pending.clear()
        if self._writer.full:
            self.flush()

    def _put_apart(self, group: Sequence[Entry]) -> dict[tuple[int, int], bytes]:
        """Write large values as blobs named by their content, and return their names."""
        apart = {}
        for position, entry in enumerate(group):
            for output, data in enumerate(entry.location.payloads):  # type: ignore[attr-defined]
                if len(data) > APART:
                    name = apart[position, output] = digest(data)
                    if name not in self._apart:
                        self.store.put(f"objects/{name.hex()}", data)
                        self._apart.add(name)
        return apart

    def refresh(self) -> None:
        """Learn what others have written."""
        with self._lock:
            self.store.begin_run()
            try:
                stamp = getattr(self.store, "stamp", lambda _: None)("segments/")
                if stamp is None or stamp != self._stamp:
                    names = sorted(name for name in self.store.list("segments/") if name not in self._seen)
                    self._stamp = stamp
                else:
                    names = []
                journals = sorted(self.store.list("journal/")) if hasattr(self.store, "append") else []
            except Exception as error:  # noqa: BLE001 - what cannot be listed holds nothing
                self.fault("list", error)
                return
            for name in names:
                self._seen.add(name)
                self._take_segment(name)
            for name in journals:
                self._take_journal(name)

    def _take_segment(self, name: str) -> None:
        holder_id = name.removeprefix("segments/").partition(".")[0]
        known = self._index.holders.get(holder_id)
        if known is not None:
            known.name = name  # a journal that became a segment
        try:
            found = self._reader.directory(name)
        except KeyError:
            return
        except Exception as error:  # noqa: BLE001 - a segment that cannot be read holds nothing
            self.fault("read", error)
            return
        if known is not None:
            if len(known.starts) == len(found.holder.starts):
                return  # all of it is known already
            self._index.drop(known)
        self._index.take(found.holder)
        for when, notes in found.notes:
            self._index.learn(when, notes)
        self.shared = self.shared or any(host != self.host for host in found.writers)

    def _take_journal(self, name: str) -> None:
        """Read what has been added to another process's journal."""
        holder_id = name.removeprefix("journal/")
        holder = self._index.holders.get(holder_id)
        if self._writer.holder is not None and self._writer.holder.id == holder_id:
            return
        try:
            blocks = self._reader.blocks_after(name, holder.end if holder is not None else 0)
        except KeyError:
            return
        except Exception as error:  # noqa: BLE001 - as above
            self.fault("read", error)
            return
        if not blocks:
            return
        if holder is None:
            holder = Holder(holder_id, name)
        for block, length in blocks:
            number = holder.add(length, block.keys, (block.origin(position) for position in range(len(block))))
            self._index.learn(block.time, block.notes)
            for key in block.notes.chunks:
                holder.chunks[key] = number
                self._index.chunks[key] = (holder, number)
        if holder_id not in self._index.holders:
            self._index.take(holder)
        else:
            self._index.note(holder)
