"""Whole pieces of maps in a stored cache: notes that say where all results of a piece are."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from pickle import loads
from typing import TYPE_CHECKING, Any

from hypernodes._file import FILE_MARK
from hypernodes.cache._blocks import Apart
from hypernodes.cache._tables import packed, unpacked
from hypernodes.cache.codecs._opcodes import is_number
from hypernodes.cache.entry import Entry
from hypernodes.cache.opened import GONE

if TYPE_CHECKING:
    from hypernodes.cache._stored import StoredCache


def piece(cache: StoredCache, key: bytes, after: int = 0) -> tuple[Any, Any, Any] | None:
    """Return what is known of one output of a piece of a map, unless anything was taken back since it was noted."""
    place = cache.catalog.index.chunks.get(key)
    block = None if place is None else cache.block(*place)
    if block is None:
        return None
    try:
        classes, counts, places = block.notes.chunks[key]
        if not all(type(one) is str and type(other) is bytes for one, other in classes):
            return None
        if not all(type(one) is str and type(other) is int for one, other in counts.items()):
            return None
    except Exception as error:  # noqa: BLE001 - a fault of the cache is a miss, never an error
        cache.fault("read", error)
        return None
    if not block.trusted and not harmless(classes):
        return None
    return None if max(after, cache.taken_back()) >= block.time else (classes, counts, places)


def keep_piece(cache: StoredCache, key: bytes, known: tuple[Any, Any], column: Sequence[Entry]) -> None:
    """Note where the results of a piece are: runs of places in one block."""
    if cache.read_only:
        return
    with cache.outbox.lock:
        cache.outbox.write()
        runs: list[tuple[str, int, list[int]]] = []
        for entry in column:
            spot: Any = entry.location
            if spot.block is None:
                return
            holder, number = spot.block
            if not runs or runs[-1][1] != number or runs[-1][0] != holder.id:
                runs.append((holder.id, number, []))
            runs[-1][2].append(spot.position)
        places = [(holder_id, number, packed("H", positions)) for holder_id, number, positions in runs]
        cache.outbox.said.chunks[key] = (*known, places)


def read_places(cache: StoredCache, places: Any, part: int) -> list[Any] | None:
    """Return one output of a piece; ``None`` where some value cannot be read."""
    values: list[Any] = []
    try:
        for holder_id, number, positions in places:
            place = cache.catalog.index.place(holder_id, number)
            block = None if place is None else cache.block(*place)
            if block is None or place is None:
                return None
            cache.used.add((place[0].id, place[1]))
            for codec, data in block.columns(unpacked("H", positions), part):
                if codec == "data" and type(data) is bytes and is_number(data):
                    values.append(loads(data))  # noqa: S301 - it names nothing; what ``decode`` does, without the way there
                    continue
                whole = cache.whole_bytes(data, trusted=block.trusted) if type(data) is Apart else (data, block.trusted)
                value = GONE if whole is None else cache.decoded(codec, *whole)
                if value is GONE:
                    return None
                values.append(value)
    except Exception as error:  # noqa: BLE001 - as above
        cache.fault("read", error)
        return None
    return values


def entries_at(cache: StoredCache, places: Any) -> list[Entry]:
    """Return the entries of a piece; none where some are gone."""
    found: list[Entry] = []
    for holder_id, number, positions in places:
        place = cache.catalog.index.place(holder_id, number)
        entries = [] if place is None else cache.entries_of(*place)
        if not entries:
            return []
        found += [entries[position] for position in unpacked("H", positions)]
    return found


def harmless(classes: Iterable[tuple[str, bytes]]) -> bool:
    """Whether asking what some classes and files are now imports no module and opens nothing but files."""
    return all(
        Path(name.removeprefix(FILE_MARK)).is_file() if name.startswith(FILE_MARK) else name.partition(":")[0] in sys.modules
        for name, _ in classes
    )
