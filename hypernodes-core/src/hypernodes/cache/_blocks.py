"""Blocks: results that are written, verified and read together, column by column.

A block is a head, a tag over everything else in it, and a body of three parts: what it takes to find values, what is known
of them, and the values themselves, one after the other. Only the first part is looked at when values are read. Blocks never
change; a journal and a segment hold the same blocks.
"""

from __future__ import annotations

import io
import pickle
import struct
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any, Final

import attrs

from hypernodes._hashing import SIZE
from hypernodes.cache.entry import Entry, Origin, Part, Spot

MAGIC: Final = b"hnb1"
HEAD: Final = struct.Struct(">4sQQHII")  # magic, bytes of the body, time, bytes of the tag, bytes of its first and second part
NO_KEY: Final = bytes(SIZE)  # in place of a second key where there is none

Tagger = Callable[[bytes], bytes]


class Unreadable(Exception):  # noqa: N818 - a verdict that the cache acts on
    """What was read is not what was written."""


class Foreign(Unreadable):
    """A block was written under a key that this user does not hold."""


@attrs.define(eq=False)
class Notes:
    """What a block says besides its entries.

    Attributes:
        manifests: Parts of code, by name.
        aliases: More keys of entries that are already written: key, and the first key of the entry.
        marks: First keys of entries whose nodes proved non-deterministic.
        barriers: Nodes (``None`` for all) and pipelines (likewise) whose earlier results no longer count.
        chunks: Keys under which a whole piece of a map is known, and what is known of it.
    """

    manifests: dict[bytes, dict[str, str]] = attrs.field(factory=dict)
    aliases: list[tuple[bytes, bytes]] = attrs.field(factory=list)
    marks: list[bytes] = attrs.field(factory=list)
    barriers: list[tuple[str | None, str | None]] = attrs.field(factory=list)
    chunks: dict[bytes, Any] = attrs.field(factory=dict)

    def __bool__(self) -> bool:
        return bool(self.manifests or self.aliases or self.marks or self.barriers or self.chunks)

    def plain(self) -> tuple[Any, ...]:
        """Return the same as plain data."""
        return (self.manifests, self.aliases, self.marks, self.barriers, self.chunks)


def pack(entries: Sequence[Entry], apart: Mapping[tuple[int, int], bytes], notes: Notes, now: int, tagged: Tagger) -> bytes:
    """Return a block.

    Args:
        entries: Results, with their values at hand.
        apart: The names of values that are kept elsewhere, by entry and part.
        notes: What else to say.
        now: The time, in microseconds since the epoch.
        tagged: Makes the tag over a block's bytes.
    """
    origins: dict[int, int] = {}
    listed: list[Origin] = []
    numbers, counts, lengths = array("H"), bytearray(), array("I")
    codecs: list[str] = []
    identities: list[bytes] = []
    sizes = array("Q")
    classes: dict[int, Any] = {}  # by the number of the part, where there are some
    spans: dict[int, str] = {}
    body: list[bytes] = []
    seconds, created = array("d"), array("d")
    for position, entry in enumerate(entries):
        number = origins.get(id(entry.origin))
        if number is None:
            number = origins[id(entry.origin)] = len(listed)
            listed.append(entry.origin)
        numbers.append(number)
        counts.append(len(entry.parts))
        seconds.append(entry.seconds)
        created.append(entry.created)
        payloads = entry.location.payloads  # type: ignore[attr-defined]
        if entry.span_id:
            spans[position] = entry.span_id
        for output, part in enumerate(entry.parts):
            if part.classes:
                classes[len(codecs)] = part.classes
            codecs.append(part.codec)
            identities.append(part.identity)
            sizes.append(part.size)
            data = b"" if apart and (position, output) in apart else payloads[output]
            lengths.append(len(data))
            body.append(data)
    values = b"".join(body)
    first = pickle.dumps((counts if any(each != 1 for each in counts) else b"", lengths.tobytes(), _codec_column(codecs), dict(apart)), 5)
    origin_rows = [attrs.astuple(origin, recurse=False) for origin in listed]
    columns = (numbers.tobytes(), sizes.tobytes(), seconds.tobytes(), created.tobytes())
    rows = ([entry.keys for entry in entries], identities, [entry.consumed for entry in entries])
    second = pickle.dumps((origin_rows, columns, rows, classes, spans, notes.plain()), 5)
    content = b"".join((first, second, values))
    tag = tagged(b"".join((HEAD.pack(MAGIC, len(content), now, 0, len(first), len(second)), content)))
    return b"".join((HEAD.pack(MAGIC, len(content), now, len(tag), len(first), len(second)), tag, content))


def _codec_column(codecs: Sequence[str]) -> Any:
    """Return one name where all are the same."""
    return codecs[0] if codecs and codecs.count(codecs[0]) == len(codecs) else list(codecs)


def size_of(head: bytes) -> int:
    """Return how many bytes a block takes, from its first ones.

    Raises:
        Unreadable: If it is no block.
    """
    if len(head) < HEAD.size or not head.startswith(MAGIC):
        msg = "it is no block"
        raise Unreadable(msg)
    _, length, _, tag, first, second = HEAD.unpack_from(head)
    if first + second > length:
        msg = "its parts do not fit"
        raise Unreadable(msg)
    return HEAD.size + int(tag) + int(length)


class Block:
    """A block that was read and verified.

    Args:
        data: All of its bytes.
        check: Says of some bytes and a tag whether they are what was written: ``None`` if not, else whether this user vouches.

    Attributes:
        time: When it was written, in microseconds since the epoch.
        trusted: Whether this user, or somebody this user trusts, wrote it.

    Raises:
        Unreadable: If it is not what was written.
    """

    def __init__(self, data: bytes, check: Callable[[bytes, bytes], bool | None]) -> None:
        if len(data) != size_of(data):
            msg = "it is cut off"
            raise Unreadable(msg)
        _, length, time, tag_size, first, second = HEAD.unpack_from(data)
        start = HEAD.size + tag_size
        tag = data[HEAD.size : start]
        verdict = check(b"".join((HEAD.pack(MAGIC, length, time, 0, first, second), data[start:])), tag)
        if verdict is None:
            msg = "it is not what was written"
            raise Unreadable(msg)
        self.time: int = time
        self.trusted = verdict
        self._data = data
        self._second = (start + first, start + first + second)
        self._values = start + first + second
        self._facts: tuple[Any, ...] | None = None
        self._origins: list[Origin] = []
        try:
            counts, lengths, self._codecs, self._apart = plain(data[start : start + first])
            sizes = array("I")
            sizes.frombytes(lengths)
            self._ends = array("Q", accumulate(sizes, initial=self._values))
            self._firsts = array("I", accumulate(counts, initial=0)) if counts else None
        except Exception as error:
            msg = f"it cannot be understood: {type(error).__name__}"
            raise Unreadable(msg) from error

    def __len__(self) -> int:
        return len(self._firsts) - 1 if self._firsts is not None else len(self._ends) - 1

    @property
    def size(self) -> int:
        """Its bytes."""
        return len(self._data)

    def columns(self, positions: Sequence[int], part: int) -> Iterator[tuple[str, Any]]:
        """Yield the codec and the bytes of one part of several entries; the name of the bytes where they are kept apart."""
        firsts, ends, codecs, apart, data = self._firsts, self._ends, self._codecs, self._apart, self._data
        same = isinstance(codecs, str)
        for position in positions:
            flat = (firsts[position] if firsts is not None else position) + part
            codec = codecs if same else codecs[flat]
            if apart and (position, part) in apart:
                yield codec, Apart(apart[position, part])
            else:
                yield codec, data[ends[flat] : ends[flat + 1]]

    # -- what is known of the values --------------------------------------------------------------------------------

    def _known(self) -> tuple[Any, ...]:
        if self._facts is None:
            try:
                origins, columns, rows, classes, spans, notes = plain(self._data[slice(*self._second)])
                self._origins = [Origin(*each) for each in origins]
                numbers, sizes, seconds, created = (array(kind, each) for kind, each in zip("HQdd", columns, strict=True))
                self._facts = (*rows, numbers, sizes, seconds, created, classes, spans, Notes(*notes))
            except Exception as error:
                msg = f"it cannot be understood: {type(error).__name__}"
                raise Unreadable(msg) from error
        return self._facts

    @property
    def notes(self) -> Notes:
        """What it says besides its entries."""
        notes: Notes = self._known()[-1]
        return notes

    @property
    def keys(self) -> list[tuple[bytes, ...]]:
        """The keys of each entry."""
        keys: list[tuple[bytes, ...]] = self._known()[0]
        return keys

    def origin(self, position: int) -> Origin:
        """Return where an entry comes from."""
        number: int = self._known()[3][position]
        return self._origins[number]

    def entry(self, position: int, source: Any) -> Entry:
        """Return one entry; ``source`` is what gives this block again."""
        keys, identities, consumed, numbers, sizes, seconds, created, classes, spans, _ = self._known()
        first = self._firsts[position] if self._firsts is not None else position
        last = self._firsts[position + 1] if self._firsts is not None else position + 1
        codecs = self._codecs
        return Entry(
            keys[position],
            tuple(
                Part(identities[flat], codecs if isinstance(codecs, str) else codecs[flat], sizes[flat], classes.get(flat, ()))
                for flat in range(first, last)
            ),
            consumed[position],
            self._origins[numbers[position]],
            seconds[position],
            created[position],
            spans.get(position, ""),
            location=Spot(None, source, position),
        )


@attrs.frozen
class Apart:
    """In place of bytes that are a blob of their own: its name."""

    name: bytes


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        msg = f"{module}.{name} has no place in a block"
        raise Unreadable(msg)

    def persistent_load(self, pid: Any) -> Any:
        msg = "a reference has no place in a block"
        raise Unreadable(msg)


def plain(data: bytes) -> Any:
    """Return plain data from a pickle that may name nothing."""
    return _PlainUnpickler(io.BytesIO(data)).load()
