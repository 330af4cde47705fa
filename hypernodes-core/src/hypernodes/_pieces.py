"""Whole pieces of a map: where all of a piece is in the cache, one look-up answers it, and no block is made.

A map over many items is cut into pieces of fixed length. When all blocks of a piece are done and everything in it was kept,
the cache notes under one key where the values are; the key is made of what the program computes and of the identities of
everything that goes into the piece, so it stands for exactly the look-ups that it saves. Anything that a single look-up would
have to ask about (expiry, files, events, a node that varies) rules pieces out for the whole run.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from itertools import chain
from typing import Any, Final

import attrs

from hypernodes import events
from hypernodes._calls import BlockResult
from hypernodes._hashing import digest
from hypernodes._job import Job
from hypernodes._lookup import Lookup
from hypernodes.cache.entry import Entry, Spot
from hypernodes.cache.opened import Cache
from hypernodes.identity import values
from hypernodes.identity.signature import DEFAULT, IGNORED, by_value, framed

LENGTH: Final = 4096  # items of a piece
WORTHWHILE: Final = 64  # items of a map from which on pieces are used

_HARMLESS: Final = events.VALUES | events.MAP_START | events.MAP_END
Counts = dict[str, int]


@attrs.define(eq=False)
class Found:
    """What a piece remembers of an entry: what it is found by, so that the rest of it can go.

    Attributes:
        keys: Its signatures.
        location: Where the store keeps its values; known once they are written.
    """

    keys: tuple[bytes, ...]
    location: object


class Output:
    """What a piece remembers of one requested output: numbers, as far as can be, for thousands of entries are on record at a time.

    Attributes:
        classes: The user's classes and files that some of the entries depend on.
        stands: Whether all of them are what their nodes always give.
    """

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.classes = {each for entry in entries for part in entry.parts if part.classes for each in part.classes}
        self.stands = all(entry.deterministic for entry in entries)
        self._keys = [entry.keys for entry in entries]
        self._blocks: dict[Any, int] = {}
        self._places = [self._place(entry.location) for entry in entries]

    def _place(self, spot: Any) -> Any:
        """Return the number of a block and the place in it; for what is not written yet, where it will say so."""
        return spot if spot.payloads is not None else (self._blocks.setdefault(spot.block, len(self._blocks)), spot.position)

    def __len__(self) -> int:
        return len(self._keys)

    def __iter__(self) -> Iterator[Found]:
        blocks = list(self._blocks)
        for keys, place in zip(self._keys, self._places, strict=True):
            yield Found(keys, Spot(None, blocks[place[0]], place[1]) if type(place) is tuple else place)


@attrs.frozen(eq=False)
class Column:
    """One requested output of a whole piece: what its entries are found by, made as one goes through it.

    Attributes:
        parts: What is remembered of each block, in order.
    """

    parts: tuple[Output, ...]

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def __iter__(self) -> Iterator[Found]:
        return chain.from_iterable(self.parts)


@attrs.define(eq=False)
class Piece:
    """A piece that is being made.

    Attributes:
        keys: The key of each requested output.
        left: Blocks that are not done.
        outputs: Per block, by its number, what is remembered of each requested output; ``None`` once something was not kept.
        counts: How many results of each node there are.
    """

    keys: list[bytes]
    left: int = 0
    outputs: dict[int, list[Output]] | None = attrs.field(factory=dict)
    counts: Counts = attrs.field(factory=dict)


class Pieces:
    """The pieces of one map.

    Each requested output has a key of its own in every piece, so that asking for other outputs later finds what is there.

    Args:
        lookup: What the run knows of its cache.
        cache: Where everything is kept.
        constants: The inputs that are the same for all items.
        mapped: Names of the others.

    Raises:
        Unidentifiable: If an input that is the same for all items has no identity.
    """

    length = LENGTH

    def __init__(self, lookup: Lookup, cache: Cache, constants: Mapping[str, Any], mapped: Sequence[str]) -> None:
        self._lookup = lookup
        self._cache = cache
        self._mapped = tuple(mapped)
        self._making: dict[int, Piece] = {}  # by the numbers of their blocks
        self._constants = {name: by_value(values.identity(value)) for name, value in constants.items()}
        shapes = _shapes(lookup, {*constants, *mapped})
        makers = lookup.job.layout.makers
        slots = [slot for _, slot in lookup.job.program.outputs]
        self._outputs = [(shapes[slot], makers[slot][1]) for slot in slots]

    @classmethod
    def of(cls, lookup: Lookup | None, constants: Mapping[str, Any], mapped: Sequence[str], total: int | None) -> Pieces | None:
        """Return the pieces of a map; ``None`` where it cannot be answered in pieces."""
        if lookup is None or total is None or total < WORTHWHILE or not lookup.keeps_all or not all(lookup.has_deep):
            return None
        job = lookup.job
        cache = lookup.caches[0] if lookup.caches else None
        if cache is None or not cache.knows_pieces or any(other is not cache for other in lookup.caches) or _hears(job):
            return None
        if any(slot not in job.layout.makers for _, slot in job.program.outputs) or not _timeless(lookup):
            return None
        try:
            return cls(lookup, cache, constants, mapped)
        except values.Unidentifiable:
            return None

    def keys(self, columns: Sequence[Sequence[Any]]) -> list[bytes] | None:
        """Return the key of each output of a piece; ``None`` where some item has no identity."""
        identity = values.identity
        try:
            made = {
                name: digest(b"".join([by_value(identity(value)) for value in column]))
                for name, column in zip(self._mapped, columns, strict=True)
            }
        except values.Unidentifiable:
            return None
        given = {**self._constants, **made}
        size = b"%d" % len(columns[0])
        return [
            digest(framed(["piece", size, shape.digest, *(part for name in sorted(shape.inputs) for part in (name, given[name]))]))
            for shape, _ in self._outputs
        ]

    def find(self, keys: Sequence[bytes]) -> tuple[list[list[Any]], Counts] | None:
        """Return the values of each requested output, and how many results of each node that saves."""
        columns = []
        counts: Counts = {}
        for key, (_, part) in zip(keys, self._outputs, strict=True):
            known = self._cache.piece(key)
            if known is None:
                return None
            classes, saved, places = known
            if not self._lookup.notes.stands(classes):
                return None
            column = self._cache.read_places(places, part)
            if column is None:
                return None
            columns.append(column)
            counts.update(saved)
        return columns, counts

    def begin(self, keys: list[bytes]) -> Piece:
        """Return a piece that is going to be made; it is held open until ``close`` says that all of its blocks are known."""
        return Piece(keys, 1)

    def expect(self, piece: Piece, number: int) -> None:
        """Note that a block belongs to a piece."""
        piece.left += 1
        self._making[number] = piece

    def close(self, piece: Piece) -> None:
        """Note that a block of a piece is done, or that all of them are known; keep it when nothing is left."""
        piece.left -= 1
        if not piece.left:
            self._keep(piece)

    def take(self, result: BlockResult) -> None:
        """Add a block that is done to its piece."""
        piece = self._making.pop(result.index, None)
        if piece is None:
            return
        entries, result.entries = result.entries, None
        if entries is None or result.failure is not None or any(counts[2] for counts in result.tally.values()):
            piece.outputs = None
        elif piece.outputs is not None:
            piece.outputs[result.index] = [Output(column) for column in entries]
        for node, (cached, ran, *_) in result.tally.items():
            piece.counts[node] = piece.counts.get(node, 0) + cached + ran
        self.close(piece)

    def _keep(self, piece: Piece) -> None:
        """Note where everything of a piece is."""
        if piece.outputs is None:
            return
        blocks = [piece.outputs[number] for number in sorted(piece.outputs)]
        for key, (shape, _), parts in zip(piece.keys, self._outputs, zip(*blocks, strict=True), strict=True):
            if not all(part.stands for part in parts):
                continue
            classes = set().union(*(part.classes for part in parts))
            counts = {node: count for node, count in piece.counts.items() if node in shape.nodes}
            column: Any = Column(parts)  # of an entry, the cache needs no more than is found here
            self._cache.keep_piece(key, (sorted(classes), counts), column)


@attrs.frozen
class Shape:
    """How one value comes about, whatever else is computed beside it.

    Attributes:
        digest: Stands for the code and the way it is joined.
        inputs: Names of the given inputs that go into it.
        nodes: Ids of the nodes that it takes.
    """

    digest: bytes
    inputs: frozenset[str] = frozenset()
    nodes: frozenset[str] = frozenset()


def _shapes(lookup: Lookup, given: AbstractSet[str]) -> dict[int, Shape]:
    """Return the shape of the value in each slot."""
    job = lookup.job
    shapes: dict[int, Shape] = {}
    for entry in job.program.inputs:
        if entry.outer is not None and shapes[entry.outer].digest != DEFAULT:
            shapes[entry.slot] = shapes[entry.outer]
        elif entry.outer is None and entry.name in given:
            shapes[entry.slot] = Shape(digest(framed(["input", entry.name])), frozenset({entry.name}))
        elif entry.slot in job.bound:
            shapes[entry.slot] = Shape(by_value(values.identity(job.bound[entry.slot])))
        else:
            shapes[entry.slot] = Shape(DEFAULT)
    for site, recipe in zip(job.sites, lookup.recipes, strict=True):
        assert recipe is not None  # noqa: S101 - asked only where all are kept
        args = [Shape(IGNORED) if position in recipe.ignored else shapes[slot] for position, slot in enumerate(site.slots)]
        inputs = frozenset().union(*(arg.inputs for arg in args))
        nodes = frozenset({site.id} if site.inner is None else site.inner.node_ids).union(*(arg.nodes for arg in args))
        for output, slot in enumerate(site.outs):
            parts: list[bytes | str] = ["value", recipe.prefix, str(output), *(arg.digest for arg in args)]
            shapes[slot] = Shape(digest(framed(parts)), inputs, nodes)
    return shapes


def _hears(job: Job) -> bool:
    return any(bits & ~_HARMLESS for bits in job.wanted) or any(map(_hears, job.inner.values()))


def _timeless(lookup: Lookup) -> bool:
    """Whether results stand for as long as code and inputs do."""
    recipes: Iterable[Any] = lookup.recipes
    alone = all(recipe is not None and recipe.expires is None and recipe.deterministic and not recipe.files for recipe in recipes)
    return alone and all(map(_timeless, lookup.inner.values()))
