"""Reading blocks: each verified before anything in it is looked at, the latest kept at hand."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any, Final

from hypernodes._hashing import digest
from hypernodes.cache._blocks import HEAD, MAGIC, Block, Check, Foreign, Unreadable, place_of, size_of, understanding
from hypernodes.cache._index import Holder
from hypernodes.cache._tables import Table

AT_HAND: Final = 32 << 20  # bytes of memory that blocks at hand may take
STRETCHES: Final = 2  # stretches of bytes that stay at hand where each request takes its time
_SHORTEST: Final = 1 << 18  # bytes of a stretch
_LONGEST: Final = 8 << 20
_MOST_LOST: Final = 32  # blocks in a row that may be damaged before one that is found again


class Reader:
    """Reads the blocks of holders.

    Args:
        check: Says of bytes and their tag whether they are what was written; see ``Block``.
        ahead: Whether neighbours of a block are read with it, the more the longer that goes on.
    """

    def __init__(self, check: Check, *, ahead: bool) -> None:
        self._check = check
        self._ahead = ahead
        self._stretches: list[tuple[str, int, bytes]] = []  # the latest last: the holder, where they begin, and what is there
        self._windows: dict[str, tuple[int, int]] = {}  # by holder: how much was read at once last, and where
        self._blocks: OrderedDict[tuple[str, int], Block] = OrderedDict()
        self._size = 0
        self._lock = threading.Lock()

    def block(self, holder: Holder, number: int) -> Block:
        """Return a block.

        Raises:
            KeyError: If its holder is gone.
            Unreadable: If it is not what was written.
        """
        place = (holder.id, number)
        with self._lock:
            known = self._blocks.get(place)
            if known is not None:
                self._blocks.move_to_end(place)
                return known
        start = holder.starts[number]
        end = start + holder.lengths[number]
        store, name = holder.at
        data = self._stretch(holder, start, end) if self._ahead else store.get(name, start, end)
        try:
            block = Block(place_of(*place), data, self._check)
        except Unreadable:
            self._stretches = []  # it may have come over the wire damaged; its neighbours are read anew
            raise
        self._remember(holder.id, number, block)
        return block

    def _stretch(self, holder: Holder, start: int, end: int) -> bytes:
        """Return some bytes, and keep more of what is around them at hand while what is asked for lies close together."""
        for holder_id, first, data in self._stretches:
            if holder_id == holder.id and first <= start and end <= first + len(data):
                return data[start - first : end - first]
        window, last = self._windows.get(holder.id, (_SHORTEST, start))
        window = min(_LONGEST, 2 * window) if abs(start - last) <= 4 * window else max(_SHORTEST, window // 2)
        self._windows[holder.id] = (window, start)
        first = start // window * window
        store, name = holder.at
        found: bytes = store.get(name, first, min(holder.end, max(end, first + window)))
        self._stretches = [*self._stretches[-STRETCHES + 1 :], (holder.id, first, found)]
        return found[start - first : end - first]

    def _remember(self, holder_id: str, number: int, block: Block) -> None:
        with self._lock:
            self._blocks[holder_id, number] = block
            self._size += block.size
            while self._size > AT_HAND and len(self._blocks) > 1:
                _, old = self._blocks.popitem(last=False)
                self._size -= old.size

    def after_fork(self) -> None:
        """In a child process: another thread of the parent may have held the lock just then."""
        self._lock = threading.Lock()


def read_table(data: bytes, holder: Holder) -> Table:
    """Return the table of keys of a segment.

    Raises:
        Unreadable: If it is not what was written.
    """
    if digest(data) != holder.check:
        msg = "its table of keys is not what was written"
        raise Unreadable(msg)
    with understanding():
        return Table(data)


def blocks_after(store: Any, name: str, holder: Holder, check: Check) -> list[tuple[Block, int]]:
    """Return the whole blocks of a journal after those that are known, each with its length; a torn one ends them.

    Raises:
        KeyError: If the journal is gone.
        Foreign: If it is somebody else's.
    """
    found: list[tuple[Block, int]] = []
    data = store.get(name, holder.end)
    place = 0
    while place + HEAD.size <= len(data):
        try:
            length = size_of(data[place : place + HEAD.size])
            block = Block(place_of(holder.id, len(holder.starts) + len(found)), data[place : place + length], check)
            assert block.notes is not None  # noqa: S101 - which is to be understood as well
        except Unreadable as error:
            if isinstance(error, Foreign) and not holder.starts and not found:
                raise
            break  # after a power cut there may be zeros in place of a tag, which look like somebody else's
        found.append((block, length))
        place += length
    return found


def whole_blocks(data: bytes, holder_id: str, number: int, check: Check) -> tuple[list[tuple[int, Block]], int]:
    """Return the whole blocks among bytes that may be damaged, with their numbers, and how many bytes before the last are none.

    Args:
        data: The bytes.
        holder_id: The id of their holder.
        number: The number that the first block there may have.
        check: Says whose it is; see ``Block``.
    """
    found: list[tuple[int, Block]] = []
    place = end = lost = 0
    while (place := data.find(MAGIC, place)) >= 0:
        known = _block_at(data, place, holder_id, number, check)
        if known is None:
            place += 1
            continue
        number, block, length = known
        found.append((number, block))
        lost += place - end
        place = end = place + length
        number += 1
    return found, lost


def _block_at(data: bytes, place: int, holder_id: str, number: int, check: Check) -> tuple[int, Block, int] | None:
    """Return the number, the block and the length of what begins at a place, if that is a whole block; ``None`` if not."""
    try:
        length = size_of(data[place : place + HEAD.size])
    except Unreadable:
        return None
    if place + length > len(data):
        return None
    for each in range(number, number + _MOST_LOST):
        try:
            block = Block(place_of(holder_id, each), data[place : place + length], check)
            for position in range(len(block)):
                block.entry(position, None)
            assert block.notes is not None  # noqa: S101 - which is to be understood as well
        except Foreign:
            break
        except Exception:  # noqa: BLE001, S112 - it has another number, or is damaged
            continue
        return each, block, length
    return None
