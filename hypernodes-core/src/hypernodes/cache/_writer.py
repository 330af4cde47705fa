"""Writing blocks: to a journal while a run goes on, which becomes a segment at its end.

A journal is a local file that blocks are appended to by single writes, so that a process that is killed loses at most the
group it had not written yet. Sealing adds the table of keys and the directory. Below a local root that makes all of it durable
and gives the file its name as a segment: nothing is copied. For other roots the journal lies in the user's own files, and
sealing uploads it in one piece. Where there is no place for a journal, blocks wait in memory.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from hypernodes.cache._blocks import Notes, Tagger, pack, place_of
from hypernodes.cache._faults import StoreError
from hypernodes.cache._index import Holder
from hypernodes.cache._names import JOURNALS, SegmentName, new_id
from hypernodes.cache.entry import Entry

LARGEST: Final = 64 << 20  # bytes at which a journal is sealed


class Writer:
    """Appends blocks to one journal at a time.

    Args:
        store: Where segments go.
        journals: Where journals go: the same for a local root, ``None`` where there is no place.
        tagged: Makes the tags of blocks and directories.
        host: What this machine is called.

    Attributes:
        holder: What is being written; ``None`` between journals.
    """

    def __init__(self, store: Any, journals: Any | None, tagged: Tagger, host: str) -> None:
        self._store = store
        self._journals = journals
        self._tagged = tagged
        self._host = host
        self._began = 0.0
        self.holder: Holder | None = None

    def write(self, entries: Sequence[Entry], apart: Mapping[tuple[int, int], bytes], notes: Notes) -> tuple[Holder, int]:
        """Append a block; return its holder and its number there.

        Args:
            entries: What is in it.
            apart: The names of values that are kept elsewhere, by entry and part.
            notes: What else it says.
        """
        if self.holder is None:
            holder_id = new_id()
            self.holder = Holder(holder_id, f"{JOURNALS}{holder_id}", self._journals if self._journals is not None else Waiting())
            self.holder.writers = [self._host]
            self._began = time.monotonic()
        holder, now = self.holder, time.time_ns() // 1000
        data = pack(place_of(holder.id, len(holder.starts)), entries, apart, notes, now, self._tagged)
        try:
            holder.store.append(holder.name, data)
        except StoreError:
            if holder.store is self._store or holder.starts:
                raise
            self._journals, holder.at = None, (Waiting(), holder.name)  # the user's own files cannot be written to
            holder.store.append(holder.name, data)
        number = holder.add(len(data), now, entries, notes)
        for (position, part), name in apart.items():
            holder.objects.setdefault(number, {})[name] = entries[position].parts[part].size
        return holder, number

    @property
    def full(self) -> bool:
        """Whether it is time to seal."""
        return self.holder is not None and self.holder.end >= LARGEST

    @property
    def age(self) -> float:
        """Seconds since the journal was begun."""
        return 0.0 if self.holder is None else time.monotonic() - self._began

    def detach(self) -> Holder | None:
        """Return the journal, which nothing is added to from now on."""
        holder, self.holder = self.holder, None
        return holder

    def seal(self, holder: Holder) -> tuple[SegmentName, bytes]:
        """Make a segment of a journal; return its name and its ending."""
        if holder.store is not self._store:
            return self.seal_copy(holder)
        name, ending = self._ending(holder)
        self._store.append(holder.name, ending)
        self._store.seal(holder.name, str(name))
        holder.at = (self._store, str(name))
        return name, ending

    def seal_copy(self, holder: Holder) -> tuple[SegmentName, bytes]:
        """Make a segment of a journal by writing it again: one that lies elsewhere, or whose writer is gone."""
        name, ending = self._ending(holder)
        store, journal = holder.at
        self._store.put(str(name), store.get(journal, 0, holder.end) + ending)
        holder.at = (self._store, str(name))
        store.delete([journal])
        return name, ending

    def _ending(self, holder: Holder) -> tuple[SegmentName, bytes]:
        table, directory = holder.ending(self._tagged)
        return SegmentName(holder.id, holder.end, len(table), len(directory)), table + directory


class Waiting:
    """In place of a store of journals: blocks that wait in memory."""

    def __init__(self) -> None:
        self._data = bytearray()

    def append(self, name: str, data: bytes) -> None:
        """Add to what waits."""
        self._data += data

    def get(self, name: str, start: int = 0, end: int | None = None) -> bytes:
        """Return some of what waits."""
        return bytes(self._data[start:end])

    def delete(self, names: Sequence[str]) -> None:
        """Let everything go."""
        self._data.clear()
