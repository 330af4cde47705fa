"""Reading blocks: each verified before anything in it is looked at, the latest kept at hand."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final

from hypernodes._hashing import digest
from hypernodes.cache._blocks import HEAD, Block, Unreadable, size_of
from hypernodes.cache._index import Directory, Holder, read_directory
from hypernodes.cache._writer import parts_of

AT_HAND: Final = 64 << 20  # bytes of blocks that stay in memory


class Reader:
    """Reads blocks and directories of one store.

    Args:
        store: Where blobs are.
        check: Says of bytes and their tag whether they are what was written; see ``Block``.
    """

    def __init__(self, store: Any, check: Callable[[bytes, bytes], bool | None]) -> None:
        self._store = store
        self._check = check
        self._blocks: OrderedDict[tuple[str, int], Block] = OrderedDict()
        self._size = 0
        self._lock = threading.Lock()

    def block(self, holder: Holder, number: int, data: bytes | None = None) -> Block:
        """Return a block.

        Args:
            holder: Its holder.
            number: Its number there.
            data: Its bytes, where they are at hand.

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
        if data is None:
            start = holder.starts[number]
            data = self._store.get(holder.name, start, start + holder.lengths[number])
        found = Block(data, self._check)
        self.remember(holder, number, found)
        return found

    def remember(self, holder: Holder, number: int, block: Block) -> None:
        """Keep a block at hand."""
        with self._lock:
            self._blocks[holder.id, number] = block
            self._size += block.size
            while self._size > AT_HAND and len(self._blocks) > 1:
                _, old = self._blocks.popitem(last=False)
                self._size -= old.size

    def forget(self) -> None:
        """Let all blocks go."""
        with self._lock:
            self._blocks.clear()
            self._size = 0

    def directory(self, name: str) -> Directory:
        """Return what a segment says of itself.

        Raises:
            KeyError: If it is gone.
            Unreadable: If it is no segment, or not what was written.
        """
        parts = parts_of(name)
        if parts is None:
            msg = "its name is no segment's"
            raise Unreadable(msg)
        holder_id, blocks, table, size = parts
        data = self._store.get(name, blocks + table, blocks + table + size)
        found = read_directory(holder_id, name, data, blocks)
        found.holder.check = found.check
        return found

    def table(self, holder: Holder) -> bytes:
        """Return the table of keys of a segment.

        Raises:
            KeyError: If it is gone.
            Unreadable: If it is not what was written.
        """
        parts = parts_of(holder.name)
        assert parts is not None  # noqa: S101 - it has been read already
        data: bytes = self._store.get(holder.name, parts[1], parts[1] + parts[2])
        if digest(data) != holder.check:
            msg = "its table of keys is not what was written"
            raise Unreadable(msg)
        return data

    def blocks_after(self, name: str, start: int) -> list[tuple[Block, int]]:
        """Return the whole blocks of a journal from some place on, each with its length; a torn one ends them."""
        found = []
        data = self._store.get(name, start)
        place = 0
        while place + HEAD.size <= len(data):
            try:
                length = size_of(data[place : place + HEAD.size])
                block = Block(data[place : place + length], self._check)
            except Unreadable:
                break
            found.append((block, length))
            place += length
        return found
