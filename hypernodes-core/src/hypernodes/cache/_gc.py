"""Making room: what nobody wants any more goes, small segments become large ones.

Nothing is ever changed in place, and nobody is locked out. What stays of the segments concerned is published in new ones
first; these also say which blobs no longer count. Those are deleted once a period of grace is over, by this collection or a
later one, so that whoever still reads them can finish. A collection that is killed leaves everything as it was, or both.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Any, Final

import attrs

from hypernodes.cache import codecs
from hypernodes.cache._blocks import Block, Foreign, Notes, Unreadable
from hypernodes.cache._index import Holder
from hypernodes.cache._merged import Merged
from hypernodes.cache._names import OBJECTS, SEGMENTS, SegmentName, parsed
from hypernodes.cache._reader import whole_blocks
from hypernodes.cache._tables import packed
from hypernodes.cache._writer import LARGEST
from hypernodes.cache.entry import is_of

if TYPE_CHECKING:
    from hypernodes.cache._stored import StoredCache

GRACE_S: Final = 3600.0
SMALL: Final = 8 << 20  # bytes up to which a segment is merged with others
_NAME: Final = 130  # bytes that it takes to say of a blob that it no longer counts: once in a block, once in the directory
_SAID: Final = 1000  # bytes of what else a new segment says, more or less
_FACTS: Final = 0.75  # how much of what a block says of an entry surely goes with the entry
_YOUNGER: Final = 10_000_000  # microseconds by which a block may be younger than its entries
REMEMBERED_S: Final = 30 * 86_400.0  # how long it is remembered that results were forgotten: writers far away may still bring some


@attrs.frozen
class Dropped:
    """A result that a collection removes.

    Attributes:
        pipeline: Name of the pipeline that was called.
        node: Id of the node.
        key: Its signature, in hexadecimal digits.
        bytes: What its values take.
        reason: ``"forgotten"``, ``"old"`` or ``"size"``.
    """

    pipeline: str
    node: str
    key: str
    bytes: int
    reason: str


@attrs.frozen
class Collected:
    """What a collection did, or would do.

    Attributes:
        results: The results that were removed.
        merged: How many segments were written again, as part of others or without what was removed.
        deleted: Names of the blobs that were deleted.
        waiting: Names of those that will be, once their grace is over.
        before: Bytes of segments and large values that were there before, also of what waited to be deleted.
        after: The same afterwards: only what was deleted is gone. What was written again is reckoned, to within a few per
            cent, so that a dry run says the same.
        waiting_bytes: Bytes of what waits.
        foreign: Bytes of what other keys signed: it cannot be verified here, and was left alone.
        foreign_files: In how many files they are, besides large values.
    """

    results: tuple[Dropped, ...]
    merged: int
    deleted: tuple[str, ...]
    waiting: tuple[str, ...]
    before: int
    after: int
    waiting_bytes: int = 0
    foreign: int = 0
    foreign_files: int = 0


@attrs.define(eq=False)
class _Unit:
    """A block, as a collection sees it.

    Attributes:
        holder: Its holder.
        number: Its number there.
        used: When it was used last, in microseconds since the epoch.
        reason: Why it goes; empty while it stays.
        partly: The places of entries that go though others stay, and why.
    """

    holder: Holder
    number: int
    used: int
    reason: str = ""
    partly: dict[int, str] = attrs.field(factory=dict)

    @property
    def place(self) -> tuple[str, int]:
        """What tells it from other blocks."""
        return self.holder.id, self.number

    @property
    def at(self) -> tuple[Holder, int]:
        """Where it is."""
        return self.holder, self.number

    @property
    def size(self) -> int:
        """Its bytes, and its share of what its segment says of its blocks."""
        holder = self.holder
        return int(holder.lengths[self.number]) + (_bytes_of(holder) - holder.end) // len(holder.starts)

    @property
    def objects(self) -> dict[bytes, int]:
        """The names of values kept elsewhere, and how many bytes they take."""
        return self.holder.objects.get(self.number, {})

    @property
    def first(self) -> int:
        """When the first of its entries may have been made, at the latest."""
        return int(self.holder.times[self.number]) - _YOUNGER

    @property
    def nodes(self) -> list[tuple[str, str]]:
        """The pipelines and nodes that it has entries of."""
        return [where for where, numbers in self.holder.nodes.items() if self.number in numbers]


@attrs.frozen(eq=False)
class _Saved:
    """What is left of a segment whose directory is damaged.

    Attributes:
        name: Its name.
        blocks: Its blocks that are whole, with their numbers.
    """

    name: SegmentName
    blocks: list[tuple[int, Block]]


def collect(
    cache: StoredCache, *, max_size: int | None = None, older_than: float | None = None, grace: float = GRACE_S, dry_run: bool = False
) -> Collected:
    """Remove what was forgotten, what is old and what is too much; merge small segments; delete what no longer counts.

    Args:
        cache: The cache.
        max_size: The most bytes that may stay; what was used longest ago goes first. ``None`` for no limit.
        older_than: Seconds since its last use after which a result goes; ``None`` for ever.
        grace: Seconds that blobs stay after they no longer count.
        dry_run: Only say what would be done.
    """
    return _Collection(cache, grace, dry_run=dry_run).run(max_size, older_than)


def size_of(cache: StoredCache) -> int:
    """Return how many bytes count, without what other keys signed: nobody here can make room there."""
    holders = [holder for holder in cache.catalog.index.holders.values() if not holder.foreign]
    return sum(_bytes_of(holder) for holder in holders) + sum(objects_of(holders).values())


def objects_of(holders: Iterable[Holder]) -> dict[bytes, int]:
    """Return the names of large values that holders refer to, and how many bytes they take."""
    return {name: size for holder in holders for of_block in holder.objects.values() for name, size in of_block.items()}


def _bytes_of(holder: Holder) -> int:
    name = parsed(holder.name)
    return int(holder.end) if name is None else name.size


@attrs.frozen
class OfOthers:
    """What other keys signed, and what else cannot be judged here.

    Attributes:
        names: Names of segments and journals.
        objects: Large values that nothing else refers to, and how many bytes they take.
        bytes: Bytes of all of these.
        results: How many results there are in them, as far as that can be told.
    """

    names: tuple[str, ...]
    objects: dict[bytes, int]
    bytes: int
    results: int


def of_others(cache: StoredCache) -> OfOthers:
    """Return what other keys signed."""
    catalog = cache.catalog
    holders = list(catalog.index.holders.values())
    theirs = [holder for holder in holders if holder.foreign]
    ours = objects_of(holder for holder in holders if not holder.foreign)
    objects = {name: size for name, size in objects_of(theirs).items() if name not in ours}
    damaged = [name for name in sorted(catalog.unreadable) if not is_ours(cache, name)]
    names = (*sorted(holder.name for holder in theirs), *damaged, *sorted(catalog.foreign))
    size = sum(size_on(cache.journals if name in catalog.foreign else cache.store, name) for name in names)
    return OfOthers(names, objects, size + sum(objects.values()), sum(holder.rows for holder in theirs))


def is_ours(cache: StoredCache, name: str) -> bool:
    """Whether a segment whose directory cannot be read is damaged, and not signed by another key."""
    said = parsed(name)
    try:
        return said is not None and cache.catalog.is_damaged(said)
    except Exception:  # noqa: BLE001 - it may be readable another time
        return False


def size_on(store: Any, name: str, known: int = 0) -> int:
    """Return how many bytes a blob has: asked of a store that can tell, else what is known."""
    said = parsed(name)
    if hasattr(store, "blob_size"):
        try:
            return int(store.blob_size(name))
        except Exception:  # noqa: BLE001 - it is gone by now, or cannot be asked; it is only said
            return 0
    return known if said is None else said.size


class _Collection:
    def __init__(self, cache: StoredCache, grace: float, *, dry_run: bool) -> None:
        self.cache = cache
        self.index = cache.catalog.index
        self.grace = grace
        self.dry_run = dry_run
        self.now = time.time_ns() // 1000
        self.aside = False  # whether a segment that cannot be read is somebody else's

    def run(self, max_size: int | None, older_than: float | None) -> Collected:
        """Collect; see ``collect``."""
        cache = self.cache
        if not self.dry_run:
            cache.outbox.flush()
        there = {*cache.store.list(SEGMENTS), *cache.store.list(OBJECTS)}  # first: what comes later is nothing that is known to be unused
        cache.refresh()
        cache.catalog.check_tables()
        saved = self._damaged(there)
        units = self._units()
        self._forgotten(units)
        if older_than is not None:
            for unit in units:
                unit.reason = unit.reason or ("old" if unit.used < self.now - older_than * 1e6 else "")
        if max_size is not None:
            self._too_much(units, saved, max_size)
        gone = self._concerned(units, saved)
        saved = [each for each in saved if each.name.holder_id not in self.index.holders or self.index.holders[each.name.holder_id] in gone]
        dropped = tuple(self._dropped(units))
        self._twice([unit for unit in units if unit.holder in gone], units)
        stay = self._objects_that_stay(units, saved)
        if cache.catalog.incomplete or self.aside:  # who knows what refers to them
            stay |= {name for name in there if name.startswith(OBJECTS)}
        condemned = dict.fromkeys([*(holder.name for holder in gone), *(str(each.name) for each in saved)], self.now)
        condemned |= dict.fromkeys([name for name in there if name.startswith(OBJECTS) and name not in stay], self.now)
        condemned |= {name: since for name, since in self._condemned_before(there).items() if name not in stay}
        due = {name for name, since in condemned.items() if since <= self.now - self.grace * 1e6}
        stray = set(cache.store.left_over(max(self.grace, GRACE_S))) if hasattr(cache.store, "left_over") else set()
        waiting = {name: since for name, since in condemned.items() if name not in due}
        sizes = self._sizes(there | stray)
        news = bool(gone or saved or waiting.keys() - self.index.condemned.keys())
        written = self._written(units, gone, saved, condemned) if news else 0
        others = of_others(cache)
        if not self.dry_run:
            if news:
                self._publish([unit for unit in units if not unit.reason and unit.holder in gone], gone, saved, condemned)
            cache.store.delete(sorted(due | stray))
            for name in due:
                self.index.condemned.pop(name, None)
        before = sum(sizes.values())
        after = before - sum(sizes.get(name, 0) for name in due | stray) + written
        waits = sum(sizes.get(name, 0) for name in waiting)
        return Collected(
            dropped,
            len(gone) + len(saved),
            tuple(sorted(due | stray)),
            tuple(sorted(waiting)),
            before,
            after,
            waits,
            others.bytes,
            len(others.names),
        )

    def _condemned_before(self, there: AbstractSet[str]) -> dict[str, int]:
        """Return what is condemned already and still there, under whatever name it came back."""
        since = {segment.holder_id: time for name, time in self.index.condemned.items() if (segment := parsed(name)) is not None}
        found = {name: time for name, time in self.index.condemned.items() if name in there}
        for name in there:
            segment = parsed(name)
            if segment is not None and segment.holder_id in since:
                found.setdefault(name, since[segment.holder_id])
        return found

    def _damaged(self, there: AbstractSet[str]) -> list[_Saved]:
        """Return what is left of segments whose directories can never be read again; those of other keys are left alone."""
        saved = []
        for name in sorted(self.cache.catalog.unreadable):
            said = parsed(name)
            if said is None or said.holder_id in self.index.gone or name not in there:
                continue
            other = self.index.holders.get(said.holder_id)
            try:
                if (other is not None and parsed(other.name) is None) or not self.cache.catalog.is_damaged(said):
                    self.aside = True
                    continue
                data = self.cache.store.get(name, 0, said.blocks)
            except KeyError:
                continue
            except Exception:  # noqa: BLE001 - it may be readable another time
                self.aside = True
                continue
            known = 0 if other is None else len(other.starts)
            blocks = [each for each in whole_blocks(data, said.holder_id, 0, self.cache.verdict)[0] if each[0] >= known]
            if any(block.trusted for _, block in blocks) and not self.cache.may_pickle:
                self.aside = True  # as in ``_concerned``
                continue
            for _, block in blocks:
                self.index.marks.update(block.notes.marks)
                self.index.barriers += [each for each in block.notes.barriers if each not in self.index.barriers]
            saved.append(_Saved(said, blocks))
        return saved

    def _sizes(self, names: Iterable[str]) -> dict[str, int]:
        """Return how many bytes blobs have, as far as that can be told, and those of segments that were just added."""
        known = {f"{OBJECTS}{name.hex()}": size for name, size in objects_of(self.index.holders.values()).items()}
        held = {holder.name for holder in self.index.holders.values() if parsed(holder.name) is not None}
        return {name: size_on(self.cache.store, name, known.get(name, 0)) for name in held.union(names)}

    def _written(self, units: Sequence[_Unit], gone: Sequence[Holder], saved: Sequence[_Saved], condemned: Mapping[str, int]) -> int:
        """Return how many bytes new segments take, more or less."""
        again = set(gone)
        staying = sum(self._size_left(unit) for unit in units if unit.holder in again and not unit.reason)
        return staying + sum(block.length for each in saved for _, block in each.blocks) + _NAME * len(condemned) + _SAID

    # -- what goes ------------------------------------------------------------------------------------------------

    def _units(self) -> list[_Unit]:
        """Return all blocks of segments with their last uses; a list is a use of all that it refers to."""
        units = {
            (holder.id, number): _Unit(holder, number, self.index.last_use(holder, number))
            for holder in self.index.holders.values()
            if parsed(holder.name) is not None and not holder.foreign  # what nobody here can verify is left alone
            for number in range(len(holder.starts))
        }
        waiting = [(holder, number) for holder in self.index.holders.values() if not holder.foreign for number in holder.lists]
        while waiting:
            holder, number = waiting.pop()
            unit = units.get((holder.id, number))
            used = unit.used if unit is not None else self.index.last_use(holder, number)
            for target in self._referred(holder, number):
                other = units.get(target)
                if other is not None and other.used < used:
                    other.used = used
                    if other.number in other.holder.lists:
                        waiting.append((other.holder, other.number))
        return list(units.values())

    def _referred(self, holder: Holder, number: int) -> set[tuple[str, int]]:
        """Return the blocks that the lists in a block refer to."""
        found = set()
        for entry in self.cache.entries_of(holder, number):
            for part, described in enumerate(entry.parts):
                held = self.cache.payload(entry, part) if described.codec == "list" and not self.cache.is_barred(entry) else None
                for each in self.cache.find([key for key, _ in codecs.decode_references(held[0])]) if held is not None else ():
                    spot: Any = None if each is None else each.location
                    if spot is not None and spot.block is not None:
                        found.add((spot.block[0].id, spot.block[1]))
        return found

    def _forgotten(self, units: Sequence[_Unit]) -> None:
        """Find entries that were invalidated."""
        for unit in units:
            barriers = [(node, pipeline) for when, node, pipeline in self.index.barriers if unit.first <= when]
            if not any(is_of(where, *barrier) for where in unit.nodes for barrier in barriers):
                continue
            entries = self.cache.entries_of(unit.holder, unit.number)
            barred = {position for position, entry in enumerate(entries) if self.cache.is_barred(entry)}
            if entries and len(barred) == len(entries):
                unit.reason = "forgotten"
            elif barred:
                unit.partly = dict.fromkeys(barred, "forgotten")

    def _too_much(self, units: Sequence[_Unit], saved: Sequence[_Saved], max_size: int) -> None:
        """Choose what was used longest ago until the rest is small enough: whole blocks, and some entries of the last."""
        kept = [holder for holder in self.index.holders.values() if parsed(holder.name) is None and not holder.foreign]
        holders = Counter(name for unit in units if not unit.reason for name in self._objects_left(unit))
        holders.update(objects_of(kept))
        sizes = {name: size for unit in units for name, size in unit.objects.items()} | objects_of(kept)
        total = sum(_bytes_of(holder) for holder in kept) + sum(block.length for each in saved for _, block in each.blocks)
        total += sum(self._size_left(unit) for unit in units if not unit.reason)
        total += sum(sizes.get(name, 0) for name in holders)
        if total > max_size:
            total += _SAID + _NAME * (len({unit.holder.id for unit in units}) + len(self.index.condemned))
        for unit in sorted(units, key=lambda each: (each.used, each.number not in each.holder.lists, each.holder.id, each.number)):
            if total <= max_size:
                return
            if unit.reason:
                continue
            left = self._objects_left(unit)
            frees = self._size_left(unit) + sum(sizes.get(name, 0) - _NAME for name in left if holders[name] == 1)
            if total - frees <= max_size and self._some_of(unit, holders, sizes, total - max_size):
                return
            unit.reason = "size"
            total -= frees
            holders.subtract(left)

    def _some_of(self, unit: _Unit, holders: Mapping[bytes, int], sizes: Mapping[bytes, int], much: int) -> bool:
        """Choose entries of a block, the oldest first, that free so many bytes; return whether others are left."""
        block, entries = self.cache.block(*unit.at), self.cache.entries_of(*unit.at)
        apart: dict[int, list[bytes]] = {}
        for (position, _), name in block.apart.items() if block is not None else ():
            apart.setdefault(position, []).append(name)
        left = [position for position in range(len(entries)) if position not in unit.partly]
        referred = Counter(name for position in left for name in apart.get(position, ()))
        takes = self._takes(unit)
        freed, chosen = 0.0, []
        # A list goes before what it refers to, which is of use without it.
        for position in sorted(left, key=lambda each: all(part.codec != "list" for part in entries[each].parts)):
            if freed >= much:
                break
            chosen.append(position)
            freed += takes[position]
            for name in apart.get(position, ()):
                referred[name] -= 1
                freed += sizes.get(name, 0) - _NAME if not referred[name] and holders[name] == 1 else 0
        if freed < much or len(chosen) == len(left):
            return False
        unit.partly |= dict.fromkeys(chosen, "size")
        return True

    def _takes(self, unit: _Unit) -> list[float]:
        """Return how many bytes of a block go with each entry, at the least."""
        block, entries = self.cache.block(*unit.at), self.cache.entries_of(*unit.at)
        apart = block.apart if block is not None else {}
        values = [
            sum(part.size for place, part in enumerate(each.parts) if (number, place) not in apart) for number, each in enumerate(entries)
        ]
        return [size + _FACTS * (unit.size - sum(values)) / len(values) for size in values]

    def _size_left(self, unit: _Unit) -> int:
        """Return how many bytes a block takes without the entries that go."""
        if not unit.partly:
            return unit.size
        takes = self._takes(unit)
        return unit.size - int(sum(takes[position] for position in unit.partly if position < len(takes)))

    def _objects_left(self, unit: _Unit) -> set[bytes]:
        """Return the names of large values that the entries of a block refer to which stay."""
        if not unit.partly:
            return set(unit.objects)
        block = self.cache.block(*unit.at)
        return {name for (position, _), name in (block.apart if block else {}).items() if position not in unit.partly}

    def _dropped(self, units: Sequence[_Unit]) -> Iterator[Dropped]:
        """Yield the results that go."""
        for unit in units:
            if unit.reason == "broken" or not (unit.reason or unit.partly):
                continue
            for position, entry in enumerate(self.cache.entries_of(*unit.at)):
                reason = unit.partly.get(position) or unit.reason
                if reason:
                    size = sum(part.size for part in entry.parts)
                    yield Dropped(entry.origin.pipeline, entry.origin.node, entry.keys[0].hex(), size, reason)

    def _concerned(self, units: Sequence[_Unit], saved: Sequence[_Saved]) -> list[Holder]:
        """Return the segments that are written again: those that lose something, and small ones unless there is only one.

        What was to go stays in those that cannot be written again now.
        """
        losing = {unit.holder.id for unit in units if unit.reason or unit.partly}
        losing |= (self.cache.catalog.keyless | {each.name.holder_id for each in saved}) & self.index.holders.keys()
        concerned = losing | {unit.holder.id for unit in units if _bytes_of(unit.holder) < SMALL}
        alien = set()
        for unit in units:
            if unit.holder.id in concerned and not unit.reason:
                try:
                    block = self.cache.reader.block(unit.holder, unit.number)
                except (Unreadable, KeyError) as error:
                    if isinstance(error, Foreign):
                        alien.add(unit.holder.id)
                    else:
                        unit.reason = "broken"
                        losing.add(unit.holder.id)
                except Exception:  # noqa: BLE001 - it may be readable another time
                    alien.add(unit.holder.id)
                else:
                    if block.trusted and not self.cache.may_pickle:
                        alien.add(unit.holder.id)  # whoever cannot sign would take its signature away
        if len(concerned) + len(saved) == 1:
            concerned = losing
        for unit in units:
            if unit.holder.id in alien:
                unit.reason, unit.partly = "", {}
        return [holder for holder in self.index.holders.values() if holder.id in concerned - alien and not holder.foreign]

    def _twice(self, again: Sequence[_Unit], units: Sequence[_Unit]) -> None:
        """Leave out what is written again although a newer block has it, too."""
        going = {unit.place: unit.partly.keys() if not unit.reason else None for unit in units if unit.reason or unit.partly}
        for unit in again:
            if unit.reason:
                continue
            entries = self.cache.entries_of(*unit.at)
            twice = dict(unit.partly)
            for position, (entry, other) in enumerate(zip(entries, self.cache.find([entry.keys[0] for entry in entries]), strict=True)):
                spot: Any = None if other is None else other.location
                if spot is not None and spot.block is not None and position not in unit.partly:
                    place = (spot.block[0].id, spot.block[1])
                    gone = going.get(place, ())
                    stays = gone is not None and spot.position not in gone
                    if stays and (place, spot.position) != (unit.place, position) and entry.parts == other.parts:  # type: ignore[union-attr]
                        twice[position] = "twice"
            if entries and len(twice) == len(entries):
                unit.reason = "twice"
            else:
                unit.partly = twice

    def _objects_that_stay(self, units: Sequence[_Unit], saved: Sequence[_Saved]) -> set[str]:
        """Return the names of large values that something refers to which stays."""
        names = {name for unit in units if not unit.reason for name in self._objects_left(unit)}
        names.update(objects_of(holder for holder in self.index.holders.values() if parsed(holder.name) is None or holder.foreign))
        names.update(name for each in saved for _, block in each.blocks for name in block.objects)
        return {f"{OBJECTS}{name.hex()}" for name in names}

    # -- what stays -----------------------------------------------------------------------------------------------

    def _publish(self, units: Sequence[_Unit], gone: Sequence[Holder], saved: Sequence[_Saved], condemned: Mapping[str, int]) -> None:
        """Write what stays into new segments, the last of which says what no longer counts; go on with these."""
        came_from: dict[tuple[str, int], list[tuple[str, int]]] = {}
        for holder_id, places in self.index.moved.items():
            for number in places:
                now = self.index.place(holder_id, number)
                if now is not None:
                    came_from.setdefault((now[0].id, now[1]), []).append((holder_id, number))
        made: list[Holder] = []
        segment = Merged(self.cache)

        def add(block: Block | None, used: int, before: Sequence[tuple[str, int]], without: AbstractSet[int]) -> None:
            nonlocal segment
            if block is None or not (len(block) or block.notes.chunks or block.notes.manifests or block.notes.aliases):
                return  # it was nothing but what is said anew
            segment.add(block, used, before, without)
            if segment.holder.end >= LARGEST:
                made.append(segment.put(self.now, Notes()))
                segment = Merged(self.cache)

        for each in saved:
            for number, block in each.blocks:
                add(block, block.time, [(each.name.holder_id, number)], frozenset())
        for unit in sorted(units, key=lambda each: (each.used, each.holder.id, each.number)):
            add(self.cache.block(*unit.at), unit.used, [unit.place, *came_from.get(unit.place, ())], unit.partly.keys())
        lost = {holder.id for holder in gone}
        uses = {
            holder_id: (packed("I", times), packed("Q", times.values()))
            for holder_id, times in self.index.used.items()
            if holder_id in self.index.holders and holder_id not in lost
        }
        barriers = [each for each in self.index.barriers if self.now - each[0] < REMEMBERED_S * 1e6]
        made.append(segment.put(self.now, Notes(marks=self.index.marks, barriers=barriers, uses=uses, condemned=dict(condemned))))
        with self.cache.outbox.lock:
            for holder in made:
                self.index.take(holder)
            for holder in gone:
                self.index.drop(holder)
