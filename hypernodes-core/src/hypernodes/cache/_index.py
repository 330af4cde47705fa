"""What a store holds, as far as it is known in memory: hints, made from what segments say of themselves.

A holder is a blob of blocks: a segment, or a journal that is still written. Of each, only its directory is read when it is met
(where its blocks are, which nodes they are about); its table of keys is read when some key is first asked for. A key leads
to a row, a row to a block and a place in it, and what is found there says itself which keys it has.
"""

from __future__ import annotations

import pickle
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Final

import attrs

from hypernodes._hashing import SIZE, digest
from hypernodes.cache._blocks import NO_KEY, Notes, Unreadable, plain
from hypernodes.cache.entry import Origin

ROW: Final = 2 * SIZE  # bytes of a row in a table of keys: two keys
SMALL: Final = 4096  # rows up to which a table is a dictionary

Node = tuple[str, str]  # name of the called pipeline, id of the node


class Keys:
    """A table of keys: two to a row, the second empty where there is only one."""

    def __init__(self, table: bytes | bytearray = b"") -> None:
        self.table: bytes | bytearray = table or bytearray()
        self._sorted: array[int] | None = None

    def __len__(self) -> int:
        return len(self.table) // ROW

    def of(self, row: int) -> tuple[bytes, bytes]:
        """Return the keys of a row."""
        start = row * ROW
        return bytes(self.table[start : start + SIZE]), bytes(self.table[start + SIZE : start + ROW])

    def sort(self) -> None:
        """Get ready for ``find``, in little memory: four bytes of each key and the number of its row, in order."""
        rows = range(len(self))
        self._sorted = array(
            "Q", sorted(int.from_bytes(key[:4], "big") << 32 | row for row in rows for key in self.of(row) if key != NO_KEY)
        )

    def find(self, key: bytes) -> int:
        """Return the last row of a key, -1 where there is none."""
        column = self._sorted
        if column is None:
            return -1
        short = int.from_bytes(key[:4], "big")
        found = -1
        place = bisect_left(column, short << 32)
        while place < len(column) and column[place] >> 32 == short:
            row = column[place] & 0xFFFFFFFF
            if key in self.of(row):
                found = row
            place += 1
        return found


class Holder:
    """A blob of blocks.

    Attributes:
        id: What it is called for good, as a journal and as a segment.
        name: The blob's name.
        starts: Where each block begins.
        lengths: How long each is.
        counts: How many entries each has.
        nodes: Which blocks each node has entries in.
        chunks: Keys of pieces of maps that blocks tell about.
        end: Where the next block would begin.
        check: The digest of its table of keys, once it is a segment.
        number: What an index calls it.
        noted: Bytes of its table of keys that the index has taken.
        keys: The table of keys; ``None`` until it is needed.
    """

    def __init__(self, holder_id: str, name: str) -> None:
        self.id = holder_id
        self.name = name
        self.starts = array("Q")
        self.lengths = array("Q")
        self.counts = array("I")
        self.nodes: dict[Node, list[int]] = {}
        self.chunks: dict[bytes, int] = {}
        self.end = 0
        self.check = b""
        self.number = -1
        self.noted = 0
        self.keys: Keys | None = None
        self._ends: array[int] | None = None

    def __repr__(self) -> str:
        return f"<Holder {self.name}: {len(self.starts)} blocks>"

    @property
    def rows(self) -> int:
        """How many entries there are."""
        return sum(self.counts)

    def add(self, length: int, keys: Sequence[Sequence[bytes]], origins: Iterable[Origin]) -> int:
        """Note a block at the end; return its number.

        Args:
            length: Its bytes.
            keys: Those of each entry.
            origins: Where each entry comes from.
        """
        number = len(self.starts)
        self.starts.append(self.end)
        self.lengths.append(length)
        self.counts.append(len(keys))
        self.end += length
        self._ends = None
        if self.keys is None:
            self.keys = Keys()
        self.keys.table += b"".join([key for each in keys for key in (each[0], each[1] if len(each) > 1 else NO_KEY)])
        for pipeline, node in {(origin.pipeline, origin.node) for origin in {id(origin): origin for origin in origins}.values()}:
            self.nodes.setdefault((pipeline, node), []).append(number)
        return number

    def place(self, row: int) -> tuple[int, int]:
        """Return the block of a row and its place there."""
        if self._ends is None:
            self._ends = array("Q", accumulate(self.counts))
        number = bisect_right(self._ends, row)
        return number, row - (self._ends[number - 1] if number else 0)

    # -- as bytes ---------------------------------------------------------------------------------------------------

    def directory(self, notes: Sequence[tuple[int, int, Notes]], writers: Iterable[str]) -> tuple[bytes, bytes]:
        """Return the table of keys and the directory that stand after the blocks of a segment.

        Args:
            notes: What blocks say besides their entries: the block, its time, and that.
            writers: The hosts that wrote it.
        """
        table = bytes(self.keys.table) if self.keys is not None else b""
        said = [(number, time, attrs.evolve(each, chunks={}).plain()) for number, time, each in notes if each]
        columns = (self.starts.tobytes(), self.lengths.tobytes(), self.counts.tobytes())
        body = pickle.dumps((columns, self.nodes, self.chunks, said, list(writers), digest(table)), 5)
        return table, digest(body) + body


@attrs.frozen
class Directory:
    """What a segment says of itself.

    Attributes:
        holder: It, without its table of keys.
        notes: What its blocks say besides their entries: time, and that.
        writers: The hosts that wrote it.
        check: The digest of its table of keys.
    """

    holder: Holder
    notes: list[tuple[int, Notes]]
    writers: list[str]
    check: bytes


def read_directory(holder_id: str, name: str, data: bytes, end: int) -> Directory:
    """Return what a segment says of itself.

    Raises:
        Unreadable: If it is not what was written.
    """
    body = data[SIZE:]
    if digest(body) != data[:SIZE]:
        msg = "its directory is not what was written"
        raise Unreadable(msg)
    try:
        columns, nodes, chunks, said, writers, check = plain(body)
        holder = Holder(holder_id, name)
        for column, part in zip((holder.starts, holder.lengths, holder.counts), columns, strict=True):
            column.frombytes(part)
        holder.nodes, holder.chunks, holder.end = nodes, chunks, end
        return Directory(holder, [(time, Notes(*each)) for _, time, each in said], writers, check)
    except Exception as error:
        msg = f"its directory cannot be understood: {type(error).__name__}"
        raise Unreadable(msg) from error


class Index:
    """All holders of one store.

    Args:
        load: Reads the table of keys of a holder; ``None`` where it cannot.
    """

    def __init__(self, load: Callable[[Holder], bytes | None]) -> None:
        self.holders: dict[str, Holder] = {}
        self.chunks: dict[bytes, tuple[Holder, int]] = {}
        self.manifests: dict[bytes, dict[str, str]] = {}
        self.aliases: dict[bytes, bytes] = {}
        self.marks: dict[bytes, int] = {}
        self.barriers: list[tuple[int, str | None, str | None]] = []
        self._load = load
        self._unread: list[Holder] = []  # whose tables nobody has asked for yet
        self._large: list[Holder] = []  # whose tables are sorted, each on its own
        self._numbers: list[Holder] = []  # the others have their rows here together, by the first bytes of a key
        self._rows: dict[int, int | list[int]] = {}

    def __len__(self) -> int:
        return sum(holder.rows for holder in self.holders.values())

    def take(self, holder: Holder) -> None:
        """Add a holder."""
        self.holders[holder.id] = holder
        if holder.keys is None:
            self._unread.append(holder)
        else:
            self.note(holder)
        for key, number in holder.chunks.items():
            self.chunks[key] = (holder, number)

    def note(self, holder: Holder) -> None:
        """Take the rows of a holder that were added at its end since this was last asked."""
        if holder.number < 0:
            holder.number = len(self._numbers)
            self._numbers.append(holder)
        base, table, rows = holder.number << 32, holder.keys.table, self._rows  # type: ignore[union-attr]
        first_new, holder.noted = holder.noted, len(table)
        for start in range(first_new, len(table), SIZE):
            first = table[start : start + 8]
            short = int.from_bytes(first, "big")
            if not short:
                continue  # no second key
            code = base + start // ROW
            known = rows.setdefault(short, code)
            if known != code:
                rows[short] = [*(known if isinstance(known, list) else [known]), code]

    def learn(self, time: int, notes: Notes) -> None:
        """Take what a block says besides its entries."""
        self.manifests.update(notes.manifests)
        self.aliases.update(notes.aliases)
        self.marks.update(dict.fromkeys(notes.marks, time))
        self.barriers += [(time, node, pipeline) for node, pipeline in notes.barriers]

    def drop(self, holder: Holder) -> None:
        """Forget a holder that is gone."""
        self.holders.pop(holder.id, None)
        self._unread = [each for each in self._unread if each is not holder]
        self._large = [each for each in self._large if each is not holder]
        for key in [key for key, (owner, _) in self.chunks.items() if owner is holder]:
            del self.chunks[key]

    def _read(self, holder: Holder) -> None:
        holder.keys = Keys(self._load(holder) or b"")
        if len(holder.keys) > SMALL:
            holder.keys.sort()
            self._large.append(holder)
        else:
            self.note(holder)

    def find(self, key: bytes) -> tuple[Holder, int, int] | None:
        """Return the holder, the block and the place in it of the newest entry of a key."""
        while self._unread:
            self._read(self._unread.pop())
        codes = self._rows.get(int.from_bytes(key[:8], "big"))
        if codes is None and not self._large:
            return None
        best: tuple[Holder, int] | None = None
        for holder in self._large:
            row = holder.keys.find(key)  # type: ignore[union-attr]
            if row >= 0 and (best is None or best[0].id < holder.id):
                best = (holder, row)
        for code in () if codes is None else (codes,) if isinstance(codes, int) else codes:
            holder, row = self._numbers[code >> 32], code & 0xFFFFFFFF
            if (best is None or best[0].id <= holder.id) and holder.id in self.holders and key in holder.keys.of(row):  # type: ignore[union-attr]
                best = (holder, row)
        return None if best is None else (best[0], *best[0].place(best[1]))

    def blocks_of(self, node: Node) -> Iterator[tuple[Holder, int]]:
        """Yield the blocks that have entries of a node, newest first."""
        for holder in sorted(self.holders.values(), key=lambda each: each.id, reverse=True):
            for number in reversed(holder.nodes.get(node, ())):
                yield holder, number
