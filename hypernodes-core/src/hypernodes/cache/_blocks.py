"""Blocks: results that are written, verified and read together, column by column.

A block is a head, a tag over everything else in it, and a body of three parts: what it takes to find values, what is known
of them, and the values themselves, one after the other. Only the first part is looked at when values are read. Blocks never
change; a journal and a segment hold the same blocks. The tag also covers the place that the block was written for, the id of its
blob and its number there, so that a block means nothing anywhere else.
"""

from __future__ import annotations

import contextlib
import io
import pickle
import struct
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate
from operator import attrgetter
from typing import Any, Final

import attrs

from hypernodes.cache import codecs
from hypernodes.cache._tables import Strings, packed, unpacked
from hypernodes.cache.entry import Entry, Origin, Part, Spot

MAGIC: Final = b"hnb1"
HEAD: Final = struct.Struct(">4sQQHII")  # magic, bytes of the body, time, bytes of the tag, bytes of its first and second part

_KEYS: Final = attrgetter("keys")
_CONSUMED: Final = attrgetter("consumed")

Tagger = Callable[[bytes], bytes]
Check = Callable[[bytes, bytes], bool | None]


class Unreadable(Exception):  # noqa: N818 - a verdict that the cache acts on
    """What was read is not what was written."""


class Foreign(Unreadable):
    """A block was written under a key that this user does not hold."""


@attrs.define(eq=False)
class Notes:
    """What a block says besides its entries.

    Attributes:
        manifests: Parts of code, by name.
        aliases: More keys of entries that are already written, and the first key of each entry.
        marks: First keys of entries whose nodes proved non-deterministic, and when.
        barriers: When results were forgotten, and those of which node and pipeline (``None`` for all).
        chunks: Keys under which a whole piece of a map is known, and what is known of it.
        uses: Blocks that were used, by the ids of their blobs, and when: numbers of blocks and times, as columns.
        condemned: Names of blobs that no longer count and will be deleted, and since when.
        moved: Blobs whose blocks now stand here: their ids, the numbers that the blocks had, and those they have.
    """

    manifests: dict[bytes, dict[str, str]] = attrs.field(factory=dict)
    aliases: dict[bytes, bytes] = attrs.field(factory=dict)
    marks: dict[bytes, int] = attrs.field(factory=dict)
    barriers: list[tuple[int, str | None, str | None]] = attrs.field(factory=list)
    chunks: dict[bytes, Any] = attrs.field(factory=dict)
    uses: dict[str, tuple[bytes, bytes]] = attrs.field(factory=dict)
    condemned: dict[str, int] = attrs.field(factory=dict)
    moved: dict[str, tuple[bytes, bytes]] = attrs.field(factory=dict)

    @classmethod
    def checked(cls, *plain: Any) -> Notes:
        """Return notes that somebody else may have written.

        Raises:
            Unreadable: If something in them is not what it should be.
        """
        notes = cls(*plain)
        kinds: dict[str, Callable[[Any, Any], bool]] = {
            "manifests": lambda key, value: type(key) is bytes and type(value) is dict,
            "aliases": lambda key, value: type(key) is bytes is type(value),
            "marks": lambda key, value: type(key) is bytes and type(value) is int,
            "chunks": lambda key, _: type(key) is bytes,
            "uses": _is_pair_of_columns,
            "condemned": lambda key, value: type(key) is str and type(value) is int,
            "moved": _is_pair_of_columns,
        }
        said = {name: getattr(notes, name) for name in kinds}
        whole = all(type(each) is dict and all(map(kinds[name], each.keys(), each.values())) for name, each in said.items())
        texts = {str, type(None)}
        if not whole or not all(type(when) is int and {type(node), type(pipeline)} <= texts for when, node, pipeline in notes.barriers):
            msg = "its notes are of the wrong kinds"
            raise Unreadable(msg)
        return notes

    def __bool__(self) -> bool:
        return any(self.plain())

    def plain(self) -> tuple[Any, ...]:
        """Return the same as plain data."""
        return attrs.astuple(self, recurse=False)

    def for_directory(self) -> Notes:
        """Return what has to be known before the block itself is read."""
        return attrs.evolve(self, manifests={}, aliases={}, chunks={})


def _is_pair_of_columns(key: Any, value: Any) -> bool:
    """Whether something is the id of a holder, and two columns of as many numbers."""
    numbers, others = value
    return (
        type(key) is str
        and type(numbers) is bytes is type(others)
        and len(numbers) % 4 == 0
        and len(others) in {len(numbers), 2 * len(numbers)}
    )


def place_of(holder_id: str, number: int) -> str:
    """Return what stands for the place of a block under its tag."""
    return f"{holder_id}/{number:x}"


def pack(place: str, entries: Sequence[Entry], apart: Mapping[tuple[int, int], bytes], notes: Notes, now: int, tagged: Tagger) -> bytes:
    """Return a block.

    Args:
        place: What ``place_of`` says of where it goes.
        entries: Results, with their values at hand.
        apart: The names of values that are kept elsewhere, by entry and part.
        notes: What else to say.
        now: The time, in microseconds since the epoch.
        tagged: Makes the tag over a block's bytes.
    """
    listed = list({id(entry.origin): entry.origin for entry in entries}.values())
    number_of = {id(origin): number for number, origin in enumerate(listed)}
    parts = [part for entry in entries for part in entry.parts]
    flat_places = [(position, output) for position, entry in enumerate(entries) for output in range(len(entry.parts))] if apart else ()
    body = [data for entry in entries for data in entry.location.payloads]  # type: ignore[attr-defined]
    for flat, each in enumerate(flat_places):
        if each in apart:
            body[flat] = b""
    codecs = [part.codec for part in parts]
    single = len(parts) == len(entries)
    values = b"".join(body)
    counts = b"" if single else packed("H", [len(entry.parts) for entry in entries])
    outline = (counts, packed("I", map(len, body)), _codec_column(codecs), dict(apart))
    columns = (
        packed("H", [number_of[id(entry.origin)] for entry in entries]),
        packed("Q", [part.size for part in parts]),
        packed("d", [entry.seconds for entry in entries]),
        packed("d", [entry.created for entry in entries]),
    )
    keys, consumed = ([text for entry in entries for text in texts(entry)] for texts in (_KEYS, _CONSUMED))
    counted = (bytes([len(entry.keys) for entry in entries]), packed("H", [len(entry.consumed) for entry in entries]))
    rows = (*counted, Strings.packed(keys), Strings.packed([part.identity for part in parts]), Strings.packed(consumed))
    classes = {flat: part.classes for flat, part in enumerate(parts) if part.classes}
    spans = {position: entry.span_id for position, entry in enumerate(entries) if entry.span_id}
    facts = ([attrs.astuple(origin, recurse=False) for origin in listed], columns, rows, classes, spans, notes.plain())
    first, second = pickle.dumps(outline, 5), pickle.dumps(facts, 5)
    return sealed(place, (now, len(first), len(second)), b"".join((first, second, values)), tagged)


def sealed(place: str, numbers: tuple[int, int, int], content: bytes, tagged: Tagger) -> bytes:
    """Return the bytes of a block: its time and the sizes of its parts, its tag, and what is in it."""
    tag = tagged(_under_tag(place, numbers, content))
    return b"".join((HEAD.pack(MAGIC, len(content), numbers[0], len(tag), *numbers[1:]), tag, content))


def _under_tag(place: str, numbers: tuple[int, int, int], content: bytes | memoryview) -> bytes:
    head = HEAD.pack(MAGIC, len(content), numbers[0], len(place), *numbers[1:])
    return b"".join((head, place.encode(), content))


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
        place: What ``place_of`` says of where it was read.
        data: All of its bytes.
        check: Says of some bytes and a tag whether they are what was written: ``None`` if not, else whether this user vouches.

    Attributes:
        time: When it was written, in microseconds since the epoch.
        trusted: Whether this user, or somebody this user trusts, wrote it.

    Raises:
        Unreadable: If it is not what was written.
    """

    def __init__(self, place: str, data: bytes, check: Check) -> None:
        if len(data) != size_of(data):
            msg = "it is cut off"
            raise Unreadable(msg)
        _, _, time, tag_size, first, second = HEAD.unpack_from(data)
        start = HEAD.size + tag_size
        verdict = check(_under_tag(place, (time, first, second), memoryview(data)[start:]), data[HEAD.size : start])
        if verdict is None:
            msg = "it is not what was written"
            raise Unreadable(msg)
        self.time: int = time
        self.trusted = verdict
        self._data = data
        self._start = start
        self._second = slice(start + first, start + first + second)
        self._facts_size = int(second)
        self._values = start + first + second
        self._facts: _Facts | None = None
        with understanding():
            counts, lengths, self._codecs, self._apart = plain(data[start : start + first], trusted=verdict)
            self._ends = array("Q", accumulate(unpacked("I", lengths), initial=self._values))
            self._firsts = array("I", accumulate(unpacked("H", counts), initial=0)) if counts else None

    def __len__(self) -> int:
        return len(self._firsts) - 1 if self._firsts is not None else len(self._ends) - 1

    @property
    def length(self) -> int:
        """Its bytes."""
        return len(self._data)

    @property
    def size(self) -> int:
        """The memory it takes once all of it is understood, more or less."""
        return len(self._data) + self._facts_size

    @property
    def apart(self) -> dict[tuple[int, int], bytes]:
        """The names of values that are kept elsewhere, by entry and part."""
        apart: dict[tuple[int, int], bytes] = self._apart
        return apart

    @property
    def objects(self) -> dict[bytes, int]:
        """The names of values that are kept elsewhere, and how many bytes they take."""
        sizes, firsts = self._known().sizes, self._firsts
        return {name: sizes[(firsts[place] if firsts is not None else place) + part] for (place, part), name in self._apart.items()}

    def written_for(self, place: str, tagged: Tagger) -> bytes:
        """Return the same block for another place."""
        return sealed(place, (self.time, self._second.start - self._start, self._facts_size), self._data[self._start :], tagged)

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

    def _known(self) -> _Facts:
        if self._facts is None:
            with understanding():
                origins, columns, rows, classes, spans, notes = plain(self._data[self._second], trusted=self.trusted)
                numbers, sizes, seconds, created = (unpacked(kind, each) for kind, each in zip("HQdd", columns, strict=True))
                key_counts, consumed_counts, *texts = rows
                keys, identities, consumed = (Strings(*each) for each in texts)
                self._facts = _Facts(
                    origins=[Origin(*each) for each in origins],
                    numbers=numbers,
                    sizes=sizes,
                    seconds=seconds,
                    created=created,
                    key_firsts=array("I", accumulate(key_counts, initial=0)),
                    keys=keys,
                    identities=identities,
                    consumed_firsts=array("I", accumulate(unpacked("H", consumed_counts), initial=0)),
                    consumed=consumed,
                    classes=classes,
                    spans=spans,
                    notes=Notes.checked(*notes),
                )
        return self._facts

    @property
    def notes(self) -> Notes:
        """What it says besides its entries."""
        return self._known().notes

    def first_keys(self) -> list[bytes]:
        """Return the first key of each entry."""
        facts = self._known()
        return [facts.keys[facts.key_firsts[position]] for position in range(len(self))]

    def entry(self, position: int, source: Any) -> Entry:
        """Return one entry; ``source`` is what gives this block again."""
        facts, codecs, firsts = self._known(), self._codecs, self._firsts
        first, last = (position, position + 1) if firsts is None else (firsts[position], firsts[position + 1])
        parts = [
            Part(
                facts.identities[flat], codecs if isinstance(codecs, str) else codecs[flat], facts.sizes[flat], facts.classes.get(flat, ())
            )
            for flat in range(first, last)
        ]
        return Entry(
            facts.keys.between(facts.key_firsts[position], facts.key_firsts[position + 1]),
            tuple(parts),
            facts.consumed.between(facts.consumed_firsts[position], facts.consumed_firsts[position + 1]),
            facts.origins[facts.numbers[position]],
            facts.seconds[position],
            facts.created[position],
            facts.spans.get(position, ""),
            location=Spot(None, source, position),
        )


@attrs.define(eq=False)
class _Facts:
    """What a block says of its entries, column by column."""

    origins: list[Origin]
    numbers: array[int]
    sizes: array[int]
    seconds: array[float]
    created: array[float]
    key_firsts: array[int]
    keys: Strings
    identities: Strings
    consumed_firsts: array[int]
    consumed: Strings
    classes: dict[int, Any]
    spans: dict[int, str]
    notes: Notes


@attrs.frozen
class Apart:
    """In place of bytes that are a blob of their own: its name."""

    name: bytes


@contextlib.contextmanager
def understanding() -> Iterator[None]:
    """Turn whatever goes wrong into ``Unreadable``."""
    try:
        yield
    except Unreadable:
        raise
    except Exception as error:
        msg = f"it cannot be understood: {type(error).__name__}"
        raise Unreadable(msg) from error


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        msg = f"{module}.{name} has no place in a block"
        raise Unreadable(msg)

    def persistent_load(self, pid: Any) -> Any:
        msg = "a reference has no place in a block"
        raise Unreadable(msg)


def plain(data: bytes, *, trusted: bool) -> Any:
    """Return plain data from a pickle that may name nothing; what nobody vouches for is looked through before it is read."""
    return _PlainUnpickler(io.BytesIO(data)).load() if trusted else codecs.decode("data", data, trusted=False)
