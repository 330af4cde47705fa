"""Segments that take the place of others."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING

import attrs

from hypernodes.cache._blocks import Apart, Block, Notes, Tagger, pack, place_of
from hypernodes.cache._index import Holder
from hypernodes.cache._names import SEGMENTS, SegmentName, new_id
from hypernodes.cache._tables import packed
from hypernodes.cache.entry import Entry, Spot

if TYPE_CHECKING:
    from hypernodes.cache._stored import StoredCache


class Merged:
    """A segment that is put together from blocks of others.

    Args:
        cache: The cache that it is for.

    Attributes:
        holder: The segment.
    """

    def __init__(self, cache: StoredCache) -> None:
        self._cache = cache
        self._tag = cache.keys.tag
        self._data: list[bytes] = []
        self._moved: dict[str, dict[int, int]] = {}
        self._uses: dict[int, int] = {}
        holder_id = new_id()
        self.holder = Holder(holder_id, f"{SEGMENTS}{holder_id}", cache.store)
        self.holder.writers = [cache.host]

    def add(self, block: Block, used: int, before: Sequence[tuple[str, int]], without: AbstractSet[int]) -> None:
        """Add a block.

        Args:
            block: The block.
            used: When it was used last, in microseconds since the epoch.
            before: The places that it had: ids of holders, and its numbers there.
            without: Places of entries that are left out.
        """
        place = place_of(self.holder.id, len(self.holder.starts))
        number = self._add(_repacked(place, block, without, self._tag) if without else block.written_for(place, self._tag))
        for holder_id, earlier in () if without else before:
            self._moved.setdefault(holder_id, {})[earlier] = number
        if used > block.time:
            self._uses[number] = used

    def _add(self, data: bytes) -> int:
        self._data.append(data)
        place = place_of(self.holder.id, len(self.holder.starts))
        return self.holder.add_block(Block(place, data, self._cache.verdict), len(data))

    def put(self, now: int, notes: Notes) -> Holder:
        """Publish the segment with what there is to say, and return it."""
        notes.moved.update({each: (packed("I", pairs), packed("I", pairs.values())) for each, pairs in self._moved.items()})
        if self._uses:
            notes.uses[self.holder.id] = (packed("I", self._uses), packed("Q", self._uses.values()))
        self._add(pack(place_of(self.holder.id, len(self.holder.starts)), [], {}, notes, now, self._tag))
        table, directory = self.holder.ending(self._tag)
        name = SegmentName(self.holder.id, self.holder.end, len(table), len(directory))
        self.holder.at = (self._cache.store, str(name))
        self._cache.store.put(self.holder.name, b"".join((*self._data, table, directory)))
        self.holder.keys = None
        self._cache.catalog.saw(name, table + directory)
        return self.holder


def _repacked(place: str, block: Block, without: AbstractSet[int], tagged: Tagger) -> bytes:
    """Return a block without some of its entries."""
    kept: list[Entry] = []
    apart: dict[tuple[int, int], bytes] = {}
    for position in range(len(block)):
        if position in without:
            continue
        entry = block.entry(position, None)
        payloads = []
        for part in range(len(entry.parts)):
            ((_, data),) = block.columns((position,), part)
            if type(data) is Apart:
                apart[len(kept), part] = data.name
            payloads.append(b"" if type(data) is Apart else data)
        kept.append(attrs.evolve(entry, location=Spot(payloads)))
    return pack(place, kept, apart, attrs.evolve(block.notes, chunks={}), block.time, tagged)
