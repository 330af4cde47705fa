"""What a store holds, as far as it is known in memory: hints, made from what segments say of themselves.

A holder is a blob of blocks: a segment, or a journal that is still written. Of each segment only the directory is read when it
is met (where its blocks are, which nodes they are about); its table of keys is read when some key is first asked for. A key
leads to a row, a row to a block and a place in it, and what is found there says itself which keys it has.
"""

from __future__ import annotations

import pickle
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any, Final

import attrs

from hypernodes._hashing import digest
from hypernodes.cache._blocks import Block, Check, Foreign, Notes, Tagger, Unreadable, plain, understanding
from hypernodes.cache._names import parsed
from hypernodes.cache._tables import ALIAS, PRINT, Live, Table, packed, table_of, unpacked
from hypernodes.cache.entry import Entry

_OFTEN: Final = 32  # a table is taken into memory once it was asked as often as a thirty-second of its records
_MOST_LIVE: Final = 1 << 16  # holders in memory, whose numbers have two bytes

Node = tuple[str, str]  # name of the called pipeline, id of the node


class Holder:
    """A blob of blocks.

    Attributes:
        id: What it is called for good, as a journal and as a segment.
        at: What gives its bytes, and the name of the blob there; they change together.
        starts: Where each block begins.
        lengths: How long each is.
        counts: How many entries each has.
        times: When each was written, in microseconds since the epoch.
        nodes: Which blocks each node has entries in.
        lists: Blocks with values that refer to other entries.
        chunks: Keys of pieces of maps, and the blocks that tell about them.
        manifests: Names of parts of code, and the blocks that tell about them.
        objects: By block, the names of values kept elsewhere, and how many bytes they take.
        notes: What its blocks say that must be known before they are read.
        writers: The hosts that wrote it.
        end: Where the next block would begin.
        check: The digest of its table of keys, once it is a segment.
        foreign: Whether its directory was signed with a key that this user does not hold.
        number: What an index calls it.
    """

    def __init__(self, holder_id: str, name: str, store: Any) -> None:
        self.id = holder_id
        self.at: tuple[Any, str] = (store, name)
        self.starts = array("Q")
        self.lengths = array("Q")
        self.counts = array("I")
        self.times = array("Q")
        self.nodes: dict[Node, array[int]] = {}
        self.lists = array("I")
        self.chunks: dict[bytes, int] = {}
        self.manifests: dict[bytes, int] = {}
        self.objects: dict[int, dict[bytes, int]] = {}
        self.notes: list[Notes] = []
        self.writers: list[str] = []
        self.end = 0
        self.check = b""
        self.foreign = False
        self.number = -1
        self.keys: bytearray | None = bytearray()  # the records of its table, until it is sealed
        self._fresh: list[bytes] = []  # records of the table that no index has taken yet
        self._ends: array[int] | None = None

    def __repr__(self) -> str:
        return f"<Holder {self.name}: {len(self.starts)} blocks>"

    @property
    def store(self) -> Any:
        """What gives its bytes."""
        return self.at[0]

    @property
    def name(self) -> str:
        """The name of the blob."""
        return self.at[1]

    @property
    def rows(self) -> int:
        """How many entries there are."""
        return sum(self.counts)

    def add(self, length: int, time: int, entries: Sequence[Entry], notes: Notes) -> int:
        """Note a block at the end; return its number.

        Args:
            length: Its bytes.
            time: When it was written.
            entries: What is in it.
            notes: What else it says.
        """
        number, first = len(self.starts), self.rows
        self.starts.append(self.end)
        self.lengths.append(length)
        self.counts.append(len(entries))
        self.times.append(time)
        self.end += length
        self._ends = None
        for where in dict.fromkeys(
            (origin.pipeline, origin.node) for origin in {id(each.origin): each.origin for each in entries}.values()
        ):
            self.nodes.setdefault(where, array("I")).append(number)
        if any(part.codec == "list" for entry in entries for part in entry.parts):
            self.lists.append(number)
        if notes:
            self.chunks.update(dict.fromkeys(notes.chunks, number))
            self.manifests.update(dict.fromkeys(notes.manifests, number))
            if known := notes.for_directory():
                self.notes.append(known)
        if self.keys is not None:
            records = [key[:PRINT] + row.to_bytes(4, "little") for row, entry in enumerate(entries, first) for key in entry.keys]
            records += [key[:PRINT] + (ALIAS | number).to_bytes(4, "little") for key in notes.aliases]
            self.keys += b"".join(records)
            self._fresh += records
        return number

    def new_records(self) -> list[bytes]:
        """Return the records of the table that were added since this was last asked."""
        fresh, self._fresh = self._fresh, []
        return fresh

    def add_block(self, block: Block, length: int) -> int:
        """Note a block that was read; return its number."""
        number = self.add(length, block.time, [block.entry(position, None) for position in range(len(block))], block.notes)
        if objects := block.objects:
            self.objects[number] = objects
        return number

    def place(self, row: int) -> tuple[int, int]:
        """Return the block of a row and its place there."""
        if self._ends is None:
            self._ends = array("Q", accumulate(self.counts))
        number = bisect_right(self._ends, row)
        return number, row - (self._ends[number - 1] if number else 0)

    # -- as bytes ---------------------------------------------------------------------------------------------------

    def ending(self, tagged: Tagger) -> tuple[bytes, bytes]:
        """Return the table of keys and the directory that stand after the blocks of a segment."""
        table = table_of(self.keys or b"")
        self.check = digest(table)
        columns = [packed(kind, each) for kind, each in (("Q", self.lengths), ("I", self.counts), ("Q", self.times), ("I", self.lists))]
        nodes = {where: packed("I", numbers) for where, numbers in self.nodes.items()}
        said = [each.plain() for each in self.notes]
        body = pickle.dumps((columns, nodes, self.chunks, self.manifests, self.objects, said, self.writers, self.check), 5)
        tag = tagged(_under_tag(self.id, body))
        return table, b"".join((len(tag).to_bytes(2, "big"), tag, body))


def read_directory(holder: Holder, data: bytes, check: Check) -> None:
    """Learn what a segment says of itself. If nobody this user knows vouches for it, only where things are is believed.

    Args:
        holder: The segment.
        data: Its directory.
        check: Says whose it is; see ``Block``.

    Raises:
        Unreadable: If it is not what was written.
    """
    body = data[2 + int.from_bytes(data[:2], "big") :]
    try:
        verdict = verdict_on_directory(holder.id, data, check)
        foreign = False
    except Foreign:
        verdict, foreign = False, True
    if verdict is None:
        msg = "its directory is not what was written"
        raise Unreadable(msg)
    with understanding():
        columns, nodes, holder.chunks, holder.manifests, holder.objects, said, holder.writers, holder.check = plain(body, trusted=verdict)
        holder.lengths, holder.counts, holder.times, holder.lists = (
            unpacked(kind, each) for kind, each in zip("QIQI", columns, strict=True)
        )
        ends = list(accumulate(holder.lengths, initial=0))
        holder.end, holder.starts = ends[-1], array("Q", ends[:-1])
        holder.nodes = {where: unpacked("I", numbers) for where, numbers in nodes.items()}
        holder.notes = [] if foreign else [Notes.checked(*each) for each in said]
    holder.foreign = foreign
    holder.keys = None


def verdict_on_directory(holder_id: str, data: bytes, check: Check) -> bool | None:
    """Return whether somebody this user knows vouches for a directory; ``None`` where it is not what was written.

    Raises:
        Foreign: If another key signed it.
    """
    start = 2 + int.from_bytes(data[:2], "big")
    return check(_under_tag(holder_id, data[start:]), data[2:start])


def _under_tag(holder_id: str, body: bytes) -> bytes:
    return b"".join((b"directory of ", holder_id.encode(), b"\n", body))


@attrs.define(eq=False)
class _Sealed:
    """A segment whose keys are asked for on file.

    Attributes:
        holder: The segment.
        table: Its keys, once somebody asked.
        asked: How often.
    """

    holder: Holder
    table: Table | None = None
    asked: int = 0


class Index:
    """All holders of one store.

    Args:
        load: Reads the table of keys of a segment.

    Attributes:
        holders: By their ids.
        chunks: Where pieces of maps are told of: the holder and the block.
        manifests: Where parts of code are.
        marks: First keys of entries of nodes that varied, and since when that is known.
        barriers: What was invalidated: when, the node and the pipeline.
        used: When blocks were last used, by holder and number, where that is on record.
        condemned: Blobs that no longer count, and since when.
        gone: Ids of the segments among them; whatever else bears one, such as a journal that came back, counts no more either.
        moved: Where the blocks of condemned segments are now.
    """

    def __init__(self, load: Callable[[Holder], Table]) -> None:
        self.holders: dict[str, Holder] = {}
        self.chunks: dict[bytes, tuple[Holder, int]] = {}
        self.manifests: dict[bytes, tuple[Holder, int]] = {}
        self.marks: dict[bytes, int] = {}
        self.barriers: list[tuple[int, str | None, str | None]] = []
        self.used: dict[str, dict[int, int]] = {}
        self.condemned: dict[str, int] = {}
        self.gone: set[str] = set()
        self.moved: dict[str, dict[int, tuple[Holder, int]]] = {}
        self._load = load
        self._live = Live()
        self._in_live: list[Holder] = []
        self._sealed: list[_Sealed] = []  # the others

    def __len__(self) -> int:
        return sum(holder.rows for holder in self.holders.values())

    def take(self, holder: Holder) -> None:
        """Add a holder, unless it is condemned."""
        if holder.id in self.gone:
            return
        self.holders[holder.id] = holder
        if holder.keys is None:
            self._sealed.append(_Sealed(holder))
        self._point_to(holder, holder.chunks, holder.manifests)
        for notes in holder.notes:
            self._learn(holder, notes)
        if holder.keys is not None:
            self.note(holder)

    def note(self, holder: Holder, number: int | None = None, notes: Notes | None = None) -> None:
        """Take what was added at the end of a holder since this was last asked.

        Args:
            holder: The holder.
            number: A block whose notes are new.
            notes: These.
        """
        if holder.number < 0:
            holder.number = len(self._in_live)
            self._in_live.append(holder)
        assert holder.keys is not None  # noqa: S101 - it is still written to
        self._live.take(holder.new_records(), holder.number)
        if number is not None and notes:
            self._point_to(holder, dict.fromkeys(notes.chunks, number), dict.fromkeys(notes.manifests, number))
            self._learn(holder, notes)

    def _point_to(self, holder: Holder, chunks: Mapping[bytes, int], manifests: Mapping[bytes, int]) -> None:
        self.chunks.update((key, (holder, number)) for key, number in chunks.items())
        self.manifests.update((name, (holder, number)) for name, number in manifests.items())

    def _learn(self, holder: Holder, notes: Notes) -> None:
        self.marks.update(notes.marks)
        self.barriers += [each for each in notes.barriers if each not in self.barriers]
        for holder_id, (numbers, times) in notes.uses.items():
            known = self.used.setdefault(holder_id, {})
            for number, used in zip(unpacked("I", numbers), unpacked("Q", times), strict=True):
                known[number] = max(used, known.get(number, 0))
        for holder_id, (before, now) in notes.moved.items():
            places = zip(unpacked("I", before), unpacked("I", now), strict=True)
            self.moved.setdefault(holder_id, {}).update((old, (holder, new)) for old, new in places)
        for name, time in notes.condemned.items():
            self.condemned.setdefault(name, time)
            segment = parsed(name)
            if segment is not None:
                self.gone.add(segment.holder_id)
        for gone in [each for each in self.holders.values() if each.id in self.gone]:
            self.drop(gone)

    def drop(self, holder: Holder) -> None:
        """Forget a holder that is gone."""
        self.holders.pop(holder.id, None)
        self._sealed = [each for each in self._sealed if each.holder is not holder]
        for places in (self.chunks, self.manifests):
            for key in [key for key, (owner, _) in places.items() if owner is holder]:
                del places[key]

    def lacks(self, key: bytes) -> bool:
        """Whether it takes no more than a look to say that nobody has a key."""
        if self._sealed:
            return False
        bucket = self._live.buckets.get(key[:2])
        return bucket is None or key[2:PRINT] not in bucket

    def find(self, key: bytes) -> list[tuple[Holder, int]]:
        """Return the rows that may have a key, newest first."""
        found = [(self._in_live[blob], row) for blob, row in self._live.find(key) if self._in_live[blob].id in self.holders]
        for sealed in self._sealed:
            if sealed.table is None:
                sealed.table = self._load(sealed.holder)
            found += [(sealed.holder, row) for row in sealed.table.find(key)]
            sealed.asked += 1
        if self._sealed:
            self._warm_up()
        if len(found) > 1:
            found.sort(key=lambda place: (place[0].id, place[1]), reverse=True)
        return found

    def _warm_up(self) -> None:
        """Take the tables that are asked most into memory, where one look answers for all of them."""
        hot = [each for each in self._sealed if each.table is not None and each.asked * _OFTEN > len(each.table)]
        for each in hot if len(self._in_live) + len(hot) <= _MOST_LIVE else ():
            each.holder.number = len(self._in_live)
            self._in_live.append(each.holder)
            self._live.take(each.table.records(), each.holder.number)  # type: ignore[union-attr]
            self._sealed.remove(each)

    def place(self, holder_id: str, number: int) -> tuple[Holder, int] | None:
        """Return where a block is now; ``None`` where it is gone."""
        holder = self.holders.get(holder_id)
        if holder is not None and number < len(holder.starts):
            return holder, number
        place = self.moved.get(holder_id, {}).get(number)
        return None if place is None else self.place(place[0].id, place[1])

    def last_use(self, holder: Holder, number: int) -> int:
        """Return when a block was last used, or written: in microseconds since the epoch."""
        return max(holder.times[number], self.used.get(holder.id, {}).get(number, 0))

    def blocks_of(self, node: Node) -> Iterator[tuple[Holder, int]]:
        """Yield the blocks that have entries of a node, newest first."""
        for holder in sorted(self.holders.values(), key=lambda each: each.id, reverse=True):
            for number in reversed(holder.nodes.get(node, ())):
                yield holder, number
