"""Writing blocks: to a journal while a run goes on, which becomes a segment at its end.

A journal is a file that blocks are appended to by single writes, so that a process that is killed loses at most the group it
had not written yet. Sealing appends the table of keys and the directory, makes all of it durable and gives the file its name
as a segment: nothing is copied. Stores that cannot append get the same bytes as one blob.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Sequence
from typing import Any, Final

from hypernodes.cache._blocks import Notes
from hypernodes.cache._index import Holder
from hypernodes.cache.entry import Entry

LARGEST: Final = 64 << 20  # bytes at which a journal is sealed
_COUNT: Final = itertools.count()


def new_id() -> str:
    """Return what a holder is called: unique, and later than all before."""
    return f"{time.time_ns() // 1000:014x}-{os.getpid():x}-{next(_COUNT):x}-{os.urandom(4).hex()}"


def segment_name(holder_id: str, blocks: int, table: int, directory: int) -> str:
    """Return the name of a segment, which says how long its three parts are: one request reads the last."""
    return f"segments/{holder_id}.{blocks:x}.{table:x}.{directory:x}"


def parts_of(name: str) -> tuple[str, int, int, int] | None:
    """Return the id and the lengths in a segment's name; ``None`` where it is no segment's."""
    pieces = name.removeprefix("segments/").split(".")
    try:
        return (pieces[0], int(pieces[1], 16), int(pieces[2], 16), int(pieces[3], 16)) if len(pieces) == 4 else None  # noqa: PLR2004
    except ValueError:
        return None


class Writer:
    """Appends blocks to one journal at a time.

    Args:
        store: Where blobs go.
        host: What the host is called.

    Attributes:
        holder: What is being written; ``None`` between journals.
    """

    def __init__(self, store: Any, host: str) -> None:
        self._store = store
        self._host = host
        self._appends = hasattr(store, "append")
        self._waiting: list[bytes] = []  # blocks of stores that cannot append
        self._notes: list[tuple[int, int, Notes]] = []
        self.holder: Holder | None = None

    def write(self, data: bytes, entries: Sequence[Entry], notes: Notes, now: int) -> tuple[Holder, int, bool]:
        """Append a block; return its holder, its number there, and whether the holder is new.

        Args:
            data: The block.
            entries: Those in it.
            notes: What else it says.
            now: The time it bears.
        """
        new = self.holder is None
        if self.holder is None:
            holder_id = new_id()
            self.holder = Holder(holder_id, f"journal/{holder_id}")
        holder = self.holder
        if self._appends:
            self._store.append(holder.name, data)
        else:
            self._waiting.append(data)
        number = holder.add(len(data), [entry.keys for entry in entries], [entry.origin for entry in entries])
        if notes:
            self._notes.append((number, now, notes))
            holder.chunks.update(dict.fromkeys(notes.chunks, number))
        return holder, number, new

    def waiting(self, holder: Holder, number: int) -> bytes | None:
        """Return a block that no store has yet."""
        return self._waiting[number] if holder is self.holder and not self._appends else None

    @property
    def full(self) -> bool:
        """Whether it is time to seal."""
        return self.holder is not None and self.holder.end >= LARGEST

    def seal(self) -> str | None:
        """Make a segment of the journal, and return its name."""
        holder, self.holder = self.holder, None
        notes, self._notes = self._notes, []
        waiting, self._waiting = self._waiting, []
        if holder is None:
            return None
        table, directory = holder.directory(notes, [self._host])
        name = segment_name(holder.id, holder.end, len(table), len(directory))
        if self._appends:
            self._store.append(holder.name, table + directory)
            self._store.seal(holder.name, name)
        else:
            self._store.put(name, b"".join((*waiting, table, directory)))
        holder.name = name
        return name

    def abandon(self) -> None:
        """Forget what another process is writing (after a fork), or what could not be written."""
        self.holder = None
        self._notes, self._waiting = [], []
