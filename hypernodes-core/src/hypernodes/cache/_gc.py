"""Making room: what nobody wants any more goes, small segments become large ones.

Nothing is ever changed in place, and nobody is locked out. What stays of the segments concerned is published in new ones
first; these also say which blobs no longer count. Those are deleted once a period of grace is over, by this collection or a
later one, so that whoever still reads them can finish. A collection that is killed leaves everything as it was, or both.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Any, Final

import attrs

from hypernodes.cache import codecs
from hypernodes.cache._blocks import Foreign, Notes, Unreadable
from hypernodes.cache._index import Holder
from hypernodes.cache._merged import Merged
from hypernodes.cache._names import OBJECTS, SEGMENTS, parsed
from hypernodes.cache._tables import packed
from hypernodes.cache._writer import LARGEST
from hypernodes.cache.entry import is_of

if TYPE_CHECKING:
    from hypernodes.cache._stored import StoredCache

GRACE_S: Final = 3600.0
SMALL: Final = 8 << 20  # bytes up to which a segment is merged with others
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
        before: Bytes that counted before.
        after: Bytes that count now.
    """

    results: tuple[Dropped, ...]
    merged: int
    deleted: tuple[str, ...]
    waiting: tuple[str, ...]
    before: int
    after: int


@attrs.define(eq=False)
class _Unit:
    """A block, as a collection sees it.

    Attributes:
        holder: Its holder.
        number: Its number there.
        used: When it was used last, in microseconds since the epoch.
        reason: Why it goes; empty while it stays.
    """

    holder: Holder
    number: int
    used: int
    reason: str = ""

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
        """Its bytes."""
        return int(self.holder.lengths[self.number])

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
    """Return how many bytes count."""
    holders = cache.catalog.index.holders.values()
    objects = {name: size for holder in holders for of_block in holder.objects.values() for name, size in of_block.items()}
    return sum(_bytes_of(holder) for holder in holders) + sum(objects.values())


def _bytes_of(holder: Holder) -> int:
    name = parsed(holder.name)
    return int(holder.end) if name is None else name.size


class _Collection:
    def __init__(self, cache: StoredCache, grace: float, *, dry_run: bool) -> None:
        self.cache = cache
        self.index = cache.catalog.index
        self.grace = grace
        self.dry_run = dry_run
        self.now = time.time_ns() // 1000
        self.partly: dict[tuple[str, int], set[int]] = {}  # by block, the places of entries that go though others stay

    def run(self, max_size: int | None, older_than: float | None) -> Collected:
        """Collect; see ``collect``."""
        cache = self.cache
        if not self.dry_run:
            cache.outbox.flush()
        there = {*cache.store.list(SEGMENTS), *cache.store.list(OBJECTS)}  # first: what comes later is nothing that is known to be unused
        cache.refresh()
        before = size_of(cache)
        units = self._units()
        self._forgotten(units)
        if older_than is not None:
            for unit in units:
                unit.reason = unit.reason or ("old" if unit.used < self.now - older_than * 1e6 else "")
        if max_size is not None:
            self._too_much(units, max_size)
        dropped = tuple(self._dropped(units))
        gone = self._concerned(units)
        self._twice([unit for unit in units if unit.holder in gone], units)
        stay = self._objects_that_stay(units)
        if cache.catalog.incomplete:  # who knows what refers to them
            stay |= {name for name in there if name.startswith(OBJECTS)}
        condemned = dict.fromkeys([holder.name for holder in gone], self.now)
        condemned |= dict.fromkeys([name for name in there if name.startswith(OBJECTS) and name not in stay], self.now)
        condemned |= {name: since for name, since in self._condemned_before(there).items() if name not in stay}
        due = {name for name, since in condemned.items() if since <= self.now - self.grace * 1e6}
        stray = set(cache.store.left_over(max(self.grace, GRACE_S))) if hasattr(cache.store, "left_over") else set()
        waiting = {name: since for name, since in condemned.items() if name not in due}
        if not self.dry_run:
            if gone or waiting.keys() - self.index.condemned.keys():
                self._publish([unit for unit in units if not unit.reason and unit.holder in gone], gone, condemned)
            cache.store.delete(sorted(due | stray))
            for name in due:
                self.index.condemned.pop(name, None)
        freed = sum(unit.size for unit in units if unit.reason)
        freed += sum({name: size for unit in units for name, size in unit.objects.items() if f"{OBJECTS}{name.hex()}" not in stay}.values())
        return Collected(dropped, len(gone), tuple(sorted(due | stray)), tuple(sorted(waiting)), before, before - freed)

    def _condemned_before(self, there: AbstractSet[str]) -> dict[str, int]:
        """Return what is condemned already and still there, under whatever name it came back."""
        since = {segment.holder_id: time for name, time in self.index.condemned.items() if (segment := parsed(name)) is not None}
        found = {name: time for name, time in self.index.condemned.items() if name in there}
        for name in there:
            segment = parsed(name)
            if segment is not None and segment.holder_id in since:
                found.setdefault(name, since[segment.holder_id])
        return found

    # -- what goes ------------------------------------------------------------------------------------------------

    def _units(self) -> list[_Unit]:
        """Return all blocks of segments with their last uses; a list is a use of all that it refers to."""
        units = {
            (holder.id, number): _Unit(holder, number, self.index.last_use(holder, number))
            for holder in self.index.holders.values()
            if parsed(holder.name) is not None
            for number in range(len(holder.starts))
        }
        waiting = [(holder, number) for holder in self.index.holders.values() for number in holder.lists]
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
                self.partly[unit.place] = barred

    def _too_much(self, units: Sequence[_Unit], max_size: int) -> None:
        """Choose blocks that were used longest ago until the rest is small enough."""
        total = size_of(self.cache) - sum(unit.size for unit in units if unit.reason)
        holders = Counter(name for unit in units if not unit.reason for name in unit.objects)
        total -= sum({name: size for unit in units for name, size in unit.objects.items() if name not in holders}.values())
        for unit in sorted(units, key=lambda each: each.used):
            if total <= max_size:
                return
            if not unit.reason:
                unit.reason = "size"
                total -= unit.size
                for name, size in unit.objects.items():
                    holders[name] -= 1
                    total -= 0 if holders[name] else size

    def _dropped(self, units: Sequence[_Unit]) -> Iterator[Dropped]:
        """Yield the results that go."""
        for unit in units:
            partly = self.partly.get(unit.place, ())
            for position, entry in enumerate(self.cache.entries_of(*unit.at)) if unit.reason or partly else ():
                if unit.reason or position in partly:
                    size = sum(part.size for part in entry.parts)
                    yield Dropped(entry.origin.pipeline, entry.origin.node, entry.keys[0].hex(), size, unit.reason or "forgotten")

    def _concerned(self, units: Sequence[_Unit]) -> list[Holder]:
        """Return the segments that are written again: those that lose something, and small ones unless there is only one."""
        losing = {unit.holder.id for unit in units if unit.reason} | {holder_id for holder_id, _ in self.partly}
        concerned = losing | {unit.holder.id for unit in units if _bytes_of(unit.holder) < SMALL}
        if len(concerned) == 1:
            concerned = losing
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
                except Exception:  # noqa: BLE001 - it may be readable another time
                    alien.add(unit.holder.id)
                else:
                    if block.trusted and not self.cache.may_pickle:
                        alien.add(unit.holder.id)  # whoever cannot sign would take its signature away
        return [holder for holder in self.index.holders.values() if holder.id in concerned - alien]

    def _twice(self, again: Sequence[_Unit], units: Sequence[_Unit]) -> None:
        """Leave out what is written again although a newer block has it, too."""
        going = {unit.place for unit in units if unit.reason}
        for unit in again:
            if unit.reason:
                continue
            entries = self.cache.entries_of(*unit.at)
            barred = self.partly.get(unit.place, set())
            twice = set(barred)
            for position, (entry, other) in enumerate(zip(entries, self.cache.find([entry.keys[0] for entry in entries]), strict=True)):
                spot: Any = None if other is None else other.location
                if spot is not None and spot.block is not None and position not in barred:
                    place = (spot.block[0].id, spot.block[1])
                    if place not in going and (place, spot.position) != (unit.place, position) and entry.parts == other.parts:  # type: ignore[union-attr]
                        twice.add(position)
            if entries and len(twice) == len(entries):
                unit.reason = "twice"
            elif twice:
                self.partly[unit.place] = twice

    def _objects_that_stay(self, units: Sequence[_Unit]) -> set[str]:
        """Return the names of large values that something refers to which stays."""
        names = {name for unit in units if not unit.reason and unit.place not in self.partly for name in unit.objects}
        for holder in self.index.holders.values():
            if parsed(holder.name) is None:
                names.update(name for objects in holder.objects.values() for name in objects)
        for unit in units:
            if unit.place in self.partly and not unit.reason:
                block = self.cache.block(*unit.at)
                names.update(
                    name for (position, _), name in (block.apart if block else {}).items() if position not in self.partly[unit.place]
                )
        return {f"{OBJECTS}{name.hex()}" for name in names}

    # -- what stays -----------------------------------------------------------------------------------------------

    def _publish(self, units: Sequence[_Unit], gone: Sequence[Holder], condemned: Mapping[str, int]) -> None:
        """Write what stays into new segments, the last of which says what no longer counts; go on with these."""
        came_from: dict[tuple[str, int], list[tuple[str, int]]] = {}
        for holder_id, places in self.index.moved.items():
            for number in places:
                now = self.index.place(holder_id, number)
                if now is not None:
                    came_from.setdefault((now[0].id, now[1]), []).append((holder_id, number))
        made: list[Holder] = []
        segment = Merged(self.cache)
        for unit in sorted(units, key=lambda each: (each.used, each.holder.id, each.number)):
            block = self.cache.block(*unit.at)
            if block is None or not (len(block) or block.notes.chunks or block.notes.manifests or block.notes.aliases):
                continue  # it was nothing but what is said anew
            segment.add(block, unit.used, [unit.place, *came_from.get(unit.place, ())], self.partly.get(unit.place, set()))
            if segment.holder.end >= LARGEST:
                made.append(segment.put(self.now, Notes()))
                segment = Merged(self.cache)
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
