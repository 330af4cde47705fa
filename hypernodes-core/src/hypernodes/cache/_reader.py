"""Reading blocks: each verified before anything in it is looked at, the latest kept at hand."""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict
from typing import Any, Final

from hypernodes._hashing import digest
from hypernodes.cache._blocks import HEAD, Block, Check, Foreign, Unreadable, size_of, understanding
from hypernodes.cache._index import Holder
from hypernodes.cache._tables import Table

AT_HAND: Final = 32 << 20  # bytes of memory that blocks at hand may take
AHEAD: Final = 8 << 20  # bytes that are read at once, at most, where each request takes its time


class Reader:
    """Reads the blocks of holders.

    Args:
        check: Says of bytes and their tag whether they are what was written; see ``Block``.
        ahead: Whether neighbours of a block are read with it, the more the longer that goes on.
    """

    def __init__(self, check: Check, *, ahead: bool) -> None:
        self._check = check
        self._ahead = ahead
        self._next: dict[str, tuple[int, int]] = {}  # by holder: the block that would go on, and how many bytes to read then
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
        last = self._last(holder, number) if self._ahead else number
        start = holder.starts[number]
        data = holder.store.get(holder.name, start, holder.starts[last] + holder.lengths[last])
        for each in range(last, number, -1):
            here = holder.starts[each] - start
            with contextlib.suppress(Unreadable):  # told when somebody asks for that block
                self._remember(holder.id, each, Block(holder.id, data[here : here + holder.lengths[each]], self._check))
        block = Block(holder.id, data if last == number else data[: holder.lengths[number]], self._check)
        self._remember(holder.id, number, block)
        return block

    def _last(self, holder: Holder, number: int) -> int:
        """Return the last block to read with one: none beside it at first, and more where one after the other is asked for."""
        expected, size = self._next.get(holder.id, (-1, 0))
        size = min(AHEAD, max(2 * size, 1 << 18)) if number == expected else 0
        last, end = number, holder.starts[number] + size
        while last + 1 < len(holder.starts) and holder.starts[last + 1] + holder.lengths[last + 1] <= end:
            last += 1
        self._next[holder.id] = (last + 1, size)
        return last

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
    found = []
    data = store.get(name, holder.end)
    place = 0
    while place + HEAD.size <= len(data):
        try:
            length = size_of(data[place : place + HEAD.size])
            block = Block(holder.id, data[place : place + length], check)
            assert block.notes is not None  # noqa: S101 - which is to be understood as well
        except Foreign:
            raise
        except Unreadable:
            break
        found.append((block, length))
        place += length
    return found
