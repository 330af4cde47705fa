"""A cache over a store: results as blocks, found through an index that is only a hint."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from hypernodes._hashing import digest
from hypernodes._messages import listed
from hypernodes.cache import _stored_pieces
from hypernodes.cache._blocks import Apart, Block, Foreign, Notes, Unreadable
from hypernodes.cache._catalog import Catalog, Damage
from hypernodes.cache._index import Holder
from hypernodes.cache._names import OBJECTS, host, user_folder
from hypernodes.cache._outbox import Outbox
from hypernodes.cache._reader import Reader
from hypernodes.cache._shelf import Shelf
from hypernodes.cache._storage import Storage
from hypernodes.cache._tables import ALIAS
from hypernodes.cache._writer import Writer
from hypernodes.cache.entry import Entry
from hypernodes.cache.opened import NODE_HISTORY, Cache
from hypernodes.cache.store import CacheStore, LocalStore
from hypernodes.cache.trust import Verdict, keyring_for
from hypernodes.errors import CacheWarning

if TYPE_CHECKING:
    from hypernodes.cache._gc import Collected


class StoredCache(Cache):
    """A cache over a store; safe to use from several threads, processes and machines.

    Args:
        store: Where blobs go.
        label: What messages call it.
        local: Whether the store belongs to this user and machine: then the user's own key vouches, and no call can hang.
        root: What tells the root from others, without credentials; ``None`` where nothing does. Under it the user's own files
            hold the journals of a root that is far away, and what is known of its segments.
        read_only: Whether nothing is ever written.
        max_size: The most bytes that the root may take; ``None`` for no limit.
    """

    def __init__(
        self,
        store: CacheStore,
        label: str,
        *,
        local: bool = True,
        root: str | None = None,
        read_only: bool = False,
        max_size: int | None = None,
    ) -> None:
        super().__init__(label)
        self.store = Storage(store, label, remote=not local)
        self.read_only = read_only
        self.max_size = max_size
        self.keys = keyring_for(local)
        self.may_pickle = self.keys.may_pickle
        self.host = host()
        journals: Any = self.store if hasattr(store, "append") else None
        folder = None if local or root is None else user_folder("journals", root)
        if journals is None and folder is not None and not read_only:
            journals = Storage(LocalStore(folder), f"the journal of {label}", remote=False)
        self.journals = journals
        shelf = Shelf(None if root is None else user_folder("index", root))
        self.catalog = Catalog(self.store, journals, shelf, self.verdict, self.fault)
        self.reader = Reader(self.verdict, ahead=not local)
        self.outbox = Outbox(Writer(self.store, journals, self.keys.tag, self.host), self.catalog, self.store, self.fault)
        self._index = self.catalog.index
        self._noted: str | None = None
        self._damage_told: set[str] = set()
        self._saved: set[str] = set()  # ids of damaged journals of which everything that is whole is kept
        self.lost: list[str] = []  # what could not be read of journals that were left behind, until somebody asks
        self.used: set[tuple[str, int]] = set()  # blocks that were used: ids of their holders, and numbers

    def __len__(self) -> int:
        from hypernodes.cache._inspect import number_of_results

        with self.outbox.lock:
            return number_of_results(self)

    # -- looking up -----------------------------------------------------------------------------------------------

    def find(self, keys: Sequence[bytes]) -> list[Entry | None]:
        """Return what is known under each key, without reading a value."""
        with self.outbox.lock:
            pending, lacks = self.outbox.pending, self._index.lacks
            return [pending.get(key) or (None if lacks(key) else self._known(key)) for key in keys]

    def find_one(self, key: bytes) -> Entry | None:
        """Return what is known under a key."""
        entry = self.outbox.pending.get(key)
        return entry if entry is not None or self._index.lacks(key) else self.find((key,))[0]

    def _known(self, key: bytes) -> Entry | None:
        """Return the newest entry under a key that still counts."""
        for holder, row in self._index.find(key):
            entry = self._aliased(key, holder, row ^ ALIAS) if row & ALIAS else self._entry_at(key, *holder.place(row), holder)
            if entry is not None:
                return entry
        if self.catalog.vanished:
            self.catalog.vanished = False
            self.refresh_index()
            return self._known(key)
        return None

    def _aliased(self, key: bytes, holder: Holder, number: int) -> Entry | None:
        """Return the entry that another key stands for."""
        first = self._notes(holder, number).aliases.get(key)
        if first is None:
            return None
        entries = (self._entry_at(first, *place.place(row), place) for place, row in self._index.find(first) if not row & ALIAS)
        return next((entry for entry in entries if entry is not None), None)

    def _entry_at(self, key: bytes, number: int, position: int, holder: Holder) -> Entry | None:
        """Return an entry that still counts and has a key."""
        block = self.block(holder, number)
        if block is None:
            return None
        try:
            entry = block.entry(position, (holder, number))
            if key not in entry.keys or self.is_barred(entry):
                return None
            if not block.trusted and not all(part.codec != "pickle" and _stored_pieces.harmless(part.classes) for part in entry.parts):
                return None  # nobody vouches for code
        except Exception as error:  # noqa: BLE001 - a fault of the cache is a miss, never an error
            self.fault("read", error)
            return None
        self.used.add((holder.id, number))
        return attrs.evolve(entry, deterministic=False) if entry.keys[0] in self._index.marks else entry

    def is_barred(self, entry: Entry) -> bool:
        """Whether a result, wherever it is kept, was invalidated here after it was made."""
        return bool(self._index.barriers) and entry.created * 1_000_000 <= self._barred_until(entry)

    def _barred_until(self, entry: Entry) -> int:
        """Return when results like this one were forgotten last, in microseconds; 0 where they never were."""
        origin = entry.origin
        return max((when for when, node, pipeline in self._index.barriers if origin.is_of(node, pipeline)), default=0)

    def verdict(self, data: bytes, tag: bytes) -> bool | None:
        """Say of some bytes whether this user vouches for them; ``None`` where they are not what was written."""
        verdict = self.keys.check(data, tag)
        if verdict is Verdict.FOREIGN or (verdict is Verdict.PLAIN and not self.keys.reads_plain):
            msg = "it was written under another key"
            raise Foreign(msg)
        return None if verdict is Verdict.BROKEN else verdict is Verdict.TRUSTED

    def end_note(self) -> str | None:
        """Return what to say at the end of a run about results that other keys wrote, once."""
        note = self.keys.foreign_note(self.label, sum(holder.rows for holder in list(self._index.holders.values()) if holder.foreign))
        if note == self._noted:
            return None
        self._noted = note
        return note

    def block(self, holder: Holder, number: int) -> Block | None:
        """Return a block; ``None`` where it is not there, or not to be believed."""
        name = holder.name
        try:
            try:
                return self.reader.block(holder, number)
            except KeyError:
                place = self._place_again(holder, number, name)
                return None if place is None else self.reader.block(*place)
        except Foreign:
            return None  # counted, and told at the end
        except KeyError:
            with self.outbox.lock:
                self._index.drop(holder)
        except Exception as error:  # noqa: BLE001 - a fault of the cache is a miss, never an error
            self.fault("read", error)
        return None

    def _notes(self, holder: Holder, number: int) -> Notes:
        """Return what a block says besides its entries; nothing where it cannot be read."""
        block = self.block(holder, number)
        try:
            return Notes() if block is None else block.notes
        except Unreadable as error:
            self.fault("read", error)
            return Notes()

    def _place_again(self, holder: Holder, number: int, name: str) -> tuple[Holder, int] | None:
        """Return where a block is whose blob was renamed, or merged into another, since it was last heard of."""
        if holder.name == name:
            self.refresh_index()
        with self.outbox.lock:
            place = self._index.place(holder.id, number)
            if place is not None and place[0] is holder and holder.name == name:
                self._index.drop(holder)
                place = self._index.place(holder.id, number)
            return place

    # -- reading --------------------------------------------------------------------------------------------------

    def payload(self, entry: Entry, part: int) -> tuple[Any, bool] | None:
        """Return the bytes of one output and whether this user vouches for them."""
        spot: Any = entry.location
        payloads = spot.payloads
        if payloads is not None:
            return payloads[part], True
        block = None if spot.block is None else self.block(*spot.block)
        if block is None:
            return None
        ((_, data),) = block.columns((spot.position,), part)
        return self.whole_bytes(data, trusted=block.trusted)

    def whole_bytes(self, data: Any, *, trusted: bool) -> tuple[Any, bool] | None:
        """Return bytes that may be kept apart."""
        if type(data) is not Apart:
            return data, trusted
        content = self.object(data.name)
        return None if content is None else (content, trusted)

    def object(self, name: bytes) -> Any:
        """Return a large value: mapped into memory where that can be done, and verified; ``None`` where it is gone."""
        blob = f"{OBJECTS}{name.hex()}"
        try:
            content = self.store.map(blob) if hasattr(self.store, "map") else self.store.get(blob)
        except KeyError:
            return None
        if digest(content) != name:
            self.fault("read", Unreadable(f"{blob} is not what was written"))
            return None
        return content

    def of_node(self, pipeline: str, node: str) -> list[Entry]:
        """Return what was kept of a node, newest first, also what is no longer there."""
        from hypernodes.cache._inspect import history

        return list(history(self, (pipeline, node), NODE_HISTORY))

    def entries_of(self, holder: Holder, number: int) -> list[Entry]:
        """Return what is in a block; nothing where it cannot be read."""
        block = self.block(holder, number)
        try:
            return [] if block is None else [block.entry(position, (holder, number)) for position in range(len(block))]
        except Unreadable as error:
            self.fault("read", error)
            return []

    def nodes(self) -> dict[tuple[str, str], int]:
        """Return how many results there are of each pipeline and node."""
        from hypernodes.cache._inspect import nodes

        return nodes(self)

    def fate(self, key: bytes) -> str | None:
        """Return what became of a key that was here once: ``"invalidated"``."""
        for holder, row in self._index.find(key):
            entries = [] if row & ALIAS else self.entries_of(holder, holder.place(row)[0])
            if any(key in entry.keys and self.is_barred(entry) for entry in entries):
                return "invalidated"
        return None

    def manifest(self, name: bytes) -> Mapping[str, str] | None:
        """Return the parts of some code, by the name they are kept under."""
        place = self._index.manifests.get(name)
        return self.outbox.said.manifests.get(name) if place is None else self._notes(*place).manifests.get(name)

    # -- keeping --------------------------------------------------------------------------------------------------

    def keep(self, entry: Entry) -> None:
        """Keep a result; it is written with its group."""
        if self.read_only:
            return
        if self._index.barriers:
            # Made after what was forgotten, whatever the clocks say of those who forgot and made it.
            entry.created = max(entry.created, (self._barred_until(entry) + 1_000) / 1_000_000)
        self.outbox.keep(entry)

    def publish(self) -> None:
        """Let other processes on this machine see what was kept so far; that it outlives a power cut is up to ``flush``."""
        self.outbox.write()

    def catch_up(self) -> None:
        """See what other processes have published."""
        self.refresh_index()

    def _keep_manifest(self, name: bytes, manifest: Mapping[str, str]) -> None:
        with self.outbox.lock:
            if name not in self._index.manifests and not self.read_only:
                self.outbox.said.manifests.setdefault(name, dict(manifest))

    def alias(self, key: bytes, entry: Entry) -> None:
        """Let an entry answer to one more key."""
        if self.read_only:
            return
        with self.outbox.lock:
            self.outbox.pending[key] = entry
            self.outbox.said.aliases[key] = entry.keys[0]

    def mark(self, key: bytes) -> None:
        """Note that the node behind a key gives different results for equal arguments."""
        with self.outbox.lock:
            (entry,) = self.find((key,))
            first = key if entry is None else entry.keys[0]
            self._index.marks[first] = self.outbox.said.marks[first] = time.time_ns() // 1000
            pending = self.outbox.pending
            for each in entry.keys if entry is not None else ():
                if each in pending:
                    pending[each] = attrs.evolve(pending[each], deterministic=False)

    def invalidate(self, node: str | None = None, pipeline: str | None = None) -> int:
        """Forget results; see ``DiskCache.invalidate``."""
        from hypernodes.cache._inspect import entries

        with self.outbox.lock:
            self.outbox.write()
            made = {entry.keys[0]: entry.created for entry in entries(self, node, pipeline)}
            # Clocks differ: what is here now is forgotten, also where it says that it will be made only later.
            barrier = (max(time.time_ns() // 1000, *(int(when * 1_000_000) + 1 for when in made.values()), 0), node, pipeline)
            self.outbox.said.barriers.append(barrier)
            self._index.barriers.append(barrier)  # which holds here even if it cannot be written
        if not self.keys.may_pickle and self.keys.keys:
            text = f"{self.label} is not signed here, so those who only believe what is signed do not forget what was forgotten now"
            warnings.warn(text, CacheWarning, stacklevel=2)
        self.flush()
        return len(made)

    def flush(self) -> None:
        """Write what is not written yet, and make it durable."""
        if self.read_only:
            return
        with self.outbox.lock:
            used, self.used = self.used, set()
            self.outbox.note_uses(used)
        self.outbox.flush()
        if self.max_size is None:
            return
        from hypernodes.cache._gc import size_of

        try:
            if size_of(self) > self.max_size:
                self.collect(max_size=self.max_size - self.max_size // 50)  # and some more, so that it is not asked for again at once
        except Exception as error:  # noqa: BLE001 - as above
            self.fault("make room", error)

    def clear(self) -> int:
        """Forget all results, and delete what they take."""
        found = self.invalidate()
        self.collect(grace=0.0)
        return found

    def collect(self, **how: Any) -> Collected:
        """Remove what is not wanted any more; see ``_gc.collect``."""
        from hypernodes.cache._gc import collect

        used, self.used = self.used, set()
        try:
            return collect(self, **how)
        finally:
            self.used = used  # looking is not using

    def refresh(self) -> None:
        """Learn what others have written."""
        self.store.begin_run()
        if self.journals is not None:
            self.journals.begin_run()
        left, useless = self.refresh_index()
        damaged = list(self.catalog.damaged.values())
        if damaged:
            self._tell_damage(damaged)
        if self.read_only:
            return
        for each in left:
            damage = self.catalog.damaged.get(each.name)
            if damage is None or self._save(damage):
                self.outbox.adopt(each)
        if useless and self.journals is not None:
            try:
                self.journals.delete(useless)
            except Exception as error:  # noqa: BLE001 - they only take room
                self.fault("write", error)

    def _save(self, damage: Damage) -> bool:
        """Keep what stands behind a damaged part of a journal; return whether that is done."""
        from hypernodes.cache._merged import Merged

        if damage.holder.id in self._saved:
            return True
        try:
            segment = Merged(self)
            for number, block in damage.blocks:
                segment.add(block, block.time, [(damage.holder.id, number)], frozenset())
            holder = segment.put(time.time_ns() // 1000, Notes())
        except Exception as error:  # noqa: BLE001 - the journal stays, for the next run
            self.fault("write", error)
            return False
        self._saved.add(damage.holder.id)
        with self.outbox.lock:
            self._index.take(holder)
        return True

    def _tell_damage(self, damaged: Sequence[Damage]) -> None:
        """Say once what could not be read of journals; a verification says it again."""
        said = [
            f"{each.holder.name}: {each.bytes:,} bytes in the middle are not what was written; the results in them are computed again"
            for each in damaged
        ]
        self.lost += [each for each in said if each not in self.lost]
        new = [each for each in damaged if each.holder.id not in self._damage_told]
        self._damage_told.update(each.holder.id for each in new)
        if new:
            lost = sum(each.bytes for each in new)
            text = (
                f"{self.label}: {lost:,} bytes of what killed runs left behind are damaged and could not be read "
                f"({listed((each.holder.name for each in new), limit=3)}); results in them are computed again"
            )
            warnings.warn(text, CacheWarning, stacklevel=2)

    def refresh_index(self) -> tuple[list[Holder], list[str]]:
        """Learn what others have written; see ``Catalog.refresh``."""
        with self.outbox.lock:
            try:
                found = self.catalog.refresh(self.outbox.mine)
            except Exception as error:  # noqa: BLE001 - what cannot be listed holds nothing
                self.fault("list", error)
                return [], []
            self.shared = self.shared or any(each != self.host for holder in self._index.holders.values() for each in holder.writers)
            return found

    def after_fork(self) -> None:
        """In a child process, leave to the parent what it has not written yet."""
        self.outbox.after_fork()
        self.reader.after_fork()

    # -- whole pieces of a map ------------------------------------------------------------------------------------

    knows_pieces = True

    def piece(self, key: bytes, after: int = 0) -> tuple[Any, Any, Any] | None:
        """Return what is known of one output of a piece of a map, unless anything was taken back since it was noted."""
        return _stored_pieces.piece(self, key, after)

    def taken_back(self) -> int:
        """Return when a result was last invalidated or found to vary."""
        return max((*(when for when, _, _ in self._index.barriers), *self._index.marks.values()), default=0)

    def keep_piece(self, key: bytes, known: tuple[Any, Any], column: Sequence[Entry]) -> None:
        """Note where the results of a piece are."""
        _stored_pieces.keep_piece(self, key, known, column)

    def read_places(self, places: Any, part: int) -> list[Any] | None:
        """Return one output of a piece; ``None`` where some value cannot be read."""
        return _stored_pieces.read_places(self, places, part)

    def entries_at(self, places: Any) -> list[Entry]:
        """Return the entries of a piece; none where some are gone."""
        return _stored_pieces.entries_at(self, places)
