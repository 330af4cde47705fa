"""Segments: immutable blobs that hold many entries. A header says what is inside; each value has a digest of its own."""

from __future__ import annotations

import io
import itertools
import os
import pickle
import struct
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs

from hypernodes._hashing import SIZE, digest
from hypernodes.cache.entry import Entry, Origin, Part

MAGIC: Final = b"hypernodes segment 1\n"
_LENGTH: Final = struct.Struct(">Q")
PREAMBLE: Final = len(MAGIC) + SIZE + _LENGTH.size
_COUNT: Final = itertools.count()


class Unreadable(Exception):  # noqa: N818 - a verdict that the cache acts on
    """A blob is no segment, or not all of one."""


@attrs.define(eq=False)
class Spot:
    """Where the values of an entry are: in memory, or in ranges of a blob.

    Attributes:
        payloads: The bytes of each part, while they are held in memory.
        blob: The blob that holds them.
        ranges: Per part: start, end and digest; a start of -1 means a blob of its own.
    """

    payloads: Sequence[bytes] | None
    blob: str = ""
    ranges: Sequence[tuple[int, int, bytes]] = ()


@attrs.define(eq=False)
class Group:
    """What is written together.

    Attributes:
        entries: Results.
        manifests: Parts of code, by name.
        aliases: More keys of entries that are already written.
        marks: Keys of entries whose nodes proved non-deterministic.
        forgotten: Keys of entries that no longer count.
    """

    entries: list[Entry] = attrs.field(factory=list)
    manifests: dict[bytes, dict[str, str]] = attrs.field(factory=dict)
    aliases: list[tuple[bytes, bytes]] = attrs.field(factory=list)
    marks: list[bytes] = attrs.field(factory=list)
    forgotten: list[bytes] = attrs.field(factory=list)

    def __bool__(self) -> bool:
        return bool(self.entries or self.manifests or self.aliases or self.marks or self.forgotten)


def new_name() -> str:
    """Return a name for a segment: unique, and later than all before."""
    return f"segments/{time.time_ns() // 1000:014x}-{os.getpid():x}-{next(_COUNT):x}-{os.urandom(4).hex()}"


def object_name(data: bytes) -> str:
    """Return the name of a value that is a blob of its own: its content."""
    return f"objects/{digest(data).hex()}"


def pack(group: Group, ranges: Sequence[Sequence[tuple[int, int, bytes]]], body: Sequence[bytes]) -> bytes:
    """Return a segment.

    Args:
        group: What goes into it.
        ranges: Per entry and part, where its bytes are in the body.
        body: The bytes of all values.
    """
    origins: dict[Origin, int] = {}
    rows = []
    for entry, places in zip(group.entries, ranges, strict=True):
        number = origins.setdefault(entry.origin, len(origins))
        parts = [attrs.astuple(part, recurse=False) for part in entry.parts]
        rows.append((entry.keys, parts, entry.consumed, number, entry.seconds, entry.created, entry.span_id, entry.deterministic, places))
    listed = [attrs.astuple(origin, recurse=False) for origin in origins]
    header = pickle.dumps((rows, listed, group.manifests, group.aliases, group.marks, group.forgotten), 5)
    return b"".join([MAGIC, digest(header), _LENGTH.pack(len(header)), header, *body])


class _Plain(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        msg = f"{module}.{name} has no place in a segment"
        raise Unreadable(msg)


def header_size(preamble: bytes) -> int:
    """Return how long a segment's header is.

    Raises:
        Unreadable: If it is no segment.
    """
    if len(preamble) != PREAMBLE or not preamble.startswith(MAGIC):
        msg = "it is no segment"
        raise Unreadable(msg)
    size: int = _LENGTH.unpack(preamble[-_LENGTH.size :])[0]
    return size


def unpack(name: str, preamble: bytes, header: bytes) -> Group:
    """Return what a segment holds, the values left where they are.

    Raises:
        Unreadable: If a bit of the header is not what was written.
    """
    if len(header) != header_size(preamble) or digest(header) != preamble[len(MAGIC) : len(MAGIC) + SIZE]:
        msg = "its header is not what was written"
        raise Unreadable(msg)
    try:
        rows, listed, manifests, aliases, marks, forgotten = _Plain(io.BytesIO(header)).load()
        origins = [Origin(*origin) for origin in listed]
        start = PREAMBLE + len(header)
        entries = [_entry(name, row, origins, start) for row in rows]
    except Exception as error:
        msg = f"its header cannot be understood: {type(error).__name__}: {error}"
        raise Unreadable(msg) from error
    return Group(entries, dict(manifests), list(aliases), list(marks), list(forgotten))


def _entry(name: str, row: Sequence[Any], origins: Sequence[Origin], start: int) -> Entry:
    keys, parts, consumed, number, seconds, created, span, deterministic, places = row
    ranges = tuple((first + start, last + start, check) if first >= 0 else (first, last, check) for first, last, check in places)
    made = tuple(Part(*part) for part in parts)
    return Entry(keys, made, consumed, origins[number], seconds, created, span, deterministic, Spot(None, name, ranges))


def manifest_name(manifest: Mapping[str, str]) -> bytes:
    """Return the name of a manifest: its content."""
    return digest("\n".join(f"{part}\t{local}" for part, local in sorted(manifest.items())).encode())
