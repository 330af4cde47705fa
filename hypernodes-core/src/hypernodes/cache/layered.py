"""Caches one behind the other: read through, written to all, and what is read from a later one is kept in those before it.

Each layer has an entry of its own for a result, because a cache notes in the entry where it put the values. Which layers have
a result stands in the entry that a run holds, as a ``Place``, and goes when the run lets go of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import attrs

from hypernodes.cache import codecs
from hypernodes.cache.entry import Entry, Part, Spot
from hypernodes.cache.opened import GONE, NODE_HISTORY, Cache

SMALL: Final = 256 * 1024  # bytes that nobody asked for, up to which they are moved along with what somebody did


@attrs.frozen(eq=False)
class Place:
    """Which layers have a result.

    Attributes:
        layer: The layer whose entry bears this.
        others: More layers, each with its entry.
        read: Outputs that were read from a later layer while others are large that nobody has asked for; ``None`` for what must
            not be kept.
        aliases: More keys that the result answers to, for layers that it is yet brought to.
    """

    layer: Cache
    others: tuple[tuple[Cache, Entry], ...] = ()
    read: Mapping[int, codecs.Payload | None] = attrs.field(factory=dict)
    aliases: tuple[bytes, ...] = ()


class LayeredCache(Cache):
    """Caches one behind the other. Whatever goes wrong in one costs what it would have given; the others go on.

    What one layer has forgotten, none gives back that was made before: whoever invalidates results means all of them, also
    those in a layer that was out of reach just then, and the copies nearby of what somebody else invalidates farther away.

    Args:
        layers: The caches, nearest first.
    """

    def __init__(self, layers: Sequence[Cache]) -> None:
        super().__init__(" over ".join(layer.label for layer in layers))
        self.layers = tuple(layers)
        self._alone = {layer: Place(layer) for layer in layers}
        writable = [layer for layer in layers if not layer.read_only]
        # A cache that writes values away comes first: the entry that a run holds is its own, and so lets go of them, too.
        self._takers = sorted(writable, key=lambda layer: not layer.knows_pieces)
        self._nearer = {layer: [each for each in layers[:number] if each in writable] for number, layer in enumerate(layers)}
        self.may_pickle = any(layer.may_pickle for layer in writable)
        self.knows_pieces = any(layer.knows_pieces for layer in layers)
        self._manifests: set[tuple[Cache, bytes]] = set()  # that were brought to a layer

    def __len__(self) -> int:
        return self._most(len)

    # -- looking up -----------------------------------------------------------------------------------------------

    def find(self, keys: Sequence[bytes]) -> list[Entry | None]:
        """Return what is known under each key, in the first layer that knows it."""
        found: list[Entry | None] = [None] * len(keys)
        missing: Sequence[int] = range(len(keys))
        for layer, alone in self._alone.items():
            for position, entry in zip(missing, _known(layer, [keys[each] for each in missing]), strict=True):
                if entry is not None and not any(other.is_barred(entry) for other in self.layers if other is not layer):
                    spot: Any = entry.location
                    spot.place = spot.place or alone
                    found[position] = entry
            missing = [position for position in missing if found[position] is None]
            if not missing:
                return found
        self.shared = any(layer.shared for layer in self.layers)  # which is worth a word where they were asked in vain
        return found

    def payload(self, entry: Entry, part: int) -> tuple[Any, bool] | None:
        """Return the bytes of one output, from the first layer that has them."""
        return next((found for _, _, found in self._payloads(entry, part)), None)

    def _payloads(self, entry: Entry, part: int) -> Iterator[tuple[Cache, Entry, tuple[Any, bool]]]:
        """Yield the bytes of one output from each layer that has them, with the entry there."""
        spot: Any = entry.location
        if spot.place is None:  # no layer may keep it
            if spot.payloads is not None:
                yield self.layers[0], entry, (spot.payloads[part], True)
            return
        having = {spot.place.layer: entry, **dict(spot.place.others)}
        for layer in (*having, *(layer for layer in self.layers if layer not in having)):
            own = having.get(layer) or _known(layer, entry.keys[:1])[0]
            found = _tried(layer, "read", None, layer.payload, own, part) if own is not None and _same(own, entry) else None
            if own is not None and found is not None:
                yield layer, own, found

    def _value(self, entry: Entry, part: int) -> Any:
        for layer, own, found in self._payloads(entry, part):
            value = _tried(layer, "read", GONE, self.decoded, own.parts[part].codec, *found)
            if value is not GONE:
                if self._nearer[layer]:
                    self._bring(entry, layer, own, part, found, value)
                return value
        return GONE

    def of_node(self, pipeline: str, node: str) -> list[Entry]:
        """Return what was kept of a node, newest first; later layers are asked only where earlier ones know little."""
        found: dict[bytes, Entry] = {}
        for layer in self.layers:
            for entry in _tried(layer, "read", [], layer.of_node, pipeline, node):
                found.setdefault(entry.keys[0], entry)
            if len(found) >= NODE_HISTORY:
                break
        return sorted(found.values(), key=lambda entry: entry.created, reverse=True)

    def nodes(self) -> dict[tuple[str, str], int]:
        """Return how many results there are of each pipeline and node, in the layer that has most of them."""
        counts = [_tried(layer, "read", {}, layer.nodes) for layer in self.layers]
        return {where: max(each.get(where, 0) for each in counts) for where in sorted({where for each in counts for where in each})}

    def fate(self, key: bytes) -> str | None:
        """Return what became of a key that was in some layer once."""
        return next((fate for layer in self.layers if (fate := _tried(layer, "read", None, layer.fate, key)) is not None), None)

    def manifest(self, name: bytes) -> Mapping[str, str] | None:
        """Return the parts of some code, by the name they are kept under."""
        return next((found for layer in self.layers if (found := _tried(layer, "read", None, layer.manifest, name)) is not None), None)

    def is_barred(self, entry: Entry) -> bool:
        """Whether a result, wherever it is kept, was invalidated here after it was made."""
        return any(layer.is_barred(entry) for layer in self.layers)

    # -- keeping --------------------------------------------------------------------------------------------------

    def keep(self, entry: Entry) -> None:
        """Keep a result in all layers that may keep it."""
        takers = [layer for layer in self._takers if _may_keep(layer, entry)]
        if not takers:
            return
        spot: Any = entry.location
        payloads = list(spot.payloads)
        others = tuple((layer, self._copy(entry, layer, payloads)) for layer in takers[1:])
        spot.place = Place(takers[0], others)
        for layer, own in ((takers[0], entry), *others):
            _tried(layer, "write", None, layer.keep, own)

    def _copy(self, entry: Entry, layer: Cache, payloads: list[Any], **changes: Any) -> Entry:
        return attrs.evolve(entry, location=Spot(payloads, place=self._alone[layer]), **changes)

    def _keep_manifest(self, name: bytes, manifest: Mapping[str, str]) -> None:
        for layer in self._takers:
            _tried(layer, "write", name, layer.keep_manifest, manifest)

    def alias(self, key: bytes, entry: Entry) -> None:
        """Let an entry answer to one more key, in each layer that has it or will be brought it."""
        spot: Any = entry.location
        place: Place | None = spot.place
        if place is None:
            return
        for layer, own in ((place.layer, entry), *place.others):
            _tried(layer, "write", None, layer.alias, key, own)
        if self._nearer[place.layer]:
            spot.place = attrs.evolve(place, aliases=(*place.aliases, key))

    def mark(self, key: bytes) -> None:
        """Note that the node behind a key gives different results for equal arguments."""
        for layer in self.layers:
            _tried(layer, "write", None, layer.mark, key)

    def invalidate(self, node: str | None = None, pipeline: str | None = None) -> int:
        """Forget results in all layers; return how many the layer with most had."""
        return self._most(lambda layer: layer.invalidate(node, pipeline))

    def clear(self) -> int:
        """Forget all results in all layers."""
        return self._most(lambda layer: layer.clear())

    def _most(self, count: Callable[[Cache], int]) -> int:
        counts: list[int] = [_tried(layer, "read", 0, count, layer) for layer in self.layers]
        return max(counts)

    def flush(self) -> None:
        """Write what is not written yet."""
        for layer in self.layers:
            _tried(layer, "write", None, layer.flush)

    def publish(self) -> None:
        """Let other processes see what was kept so far."""
        for layer in self.layers:
            _tried(layer, "write", None, layer.publish)

    def catch_up(self) -> None:
        """See what other processes have published."""
        for layer in self.layers:
            _tried(layer, "list", None, layer.catch_up)

    def refresh(self) -> None:
        """Learn what others have written."""
        self.shared = False
        for layer in self.layers:
            _tried(layer, "list", None, layer.refresh)

    def end_note(self) -> str | None:
        """Return what the layers have to say at the end of a run."""
        return "\n".join(note for layer in self.layers if (note := _tried(layer, "read", None, layer.end_note)) is not None) or None

    # -- bringing nearer ------------------------------------------------------------------------------------------

    def _bring(self, entry: Entry, layer: Cache, own: Entry, part: int = 0, found: Any = None, value: Any = GONE) -> None:
        """Keep a result in the layers before the one that it was read from, as soon as all of it can be had without much more.

        Args:
            entry: The entry that the run holds.
            layer: The layer that has the values.
            own: Its entry.
            part: An output that was read already.
            found: What ``payload`` gave for it.
            value: The value that this stands for.
        """
        spot: Any = entry.location
        place: Place = spot.place
        lacking = [each for each in self._nearer[layer] if each not in dict(place.others)]
        if not lacking:
            return
        payloads = dict(place.read)
        if found is not None:
            payloads[part] = _tried(layer, "read", None, self._to_keep, own, part, found, value)
        rest = [number for number in range(len(own.parts)) if number not in payloads]
        if sum(own.parts[number].size for number in rest) > SMALL:
            spot.place = attrs.evolve(place, read=payloads)
            return
        for number in rest:
            found = _tried(layer, "read", None, layer.payload, own, number)
            payloads[number] = None if found is None else _tried(layer, "read", None, self._to_keep, own, number, found)
        whole = [payloads[number] for number in range(len(own.parts))]
        if None in whole:
            return
        brought = [(each, _tried(each, "write", None, self._keep_in, each, entry, place, whole)) for each in lacking]
        others = [(each, kept) for each, kept in brought if kept is not None]
        spot.place = Place(place.layer, (*place.others, *others), aliases=place.aliases)

    def _to_keep(self, own: Entry, part: int, found: tuple[Any, bool], value: Any = GONE) -> codecs.Payload | None:
        """Return an output as it may be kept under this user's name: as it is where the user vouches for it, else written anew.

        A list brings its elements along.
        """
        codec = own.parts[part].codec
        data, trusted = found
        if codec == "list":
            references = codecs.decode_references(data)
            for element in self.find([key for key, _ in references]):
                if element is not None and self._nearer[element.location.place.layer]:  # type: ignore[attr-defined]
                    self._bring(element, element.location.place.layer, element)  # type: ignore[attr-defined]
            return codecs.encode_list(references)
        if trusted:
            return codecs.Payload(codec, bytes(data))  # a value that was mapped into memory may change under its user's hands
        anew = codecs.encode(codecs.decode(codec, data, trusted=False) if value is GONE else value)
        return None if anew.codec == "pickle" else anew

    def _keep_in(self, layer: Cache, entry: Entry, place: Place, payloads: Sequence[codecs.Payload]) -> Entry | None:
        """Keep a result in one more layer, unless it is there; return the entry there."""
        first, *more = layer.find(entry.keys)
        unknown = tuple(key for key, known in zip(entry.keys[1:], more, strict=True) if known is None)
        if first is None or layer is place.layer:  # what this layer has could not be read
            parts = tuple(map(_as_kept, entry.parts, payloads))
            data = [payload.data for payload in payloads]
            first = self._copy(entry, layer, data, keys=(entry.keys[0], *unknown), parts=parts)
            if not _may_keep(layer, first):
                return None
            self._bring_manifest(layer, entry.origin.manifest)
            layer.keep(first)
            if not entry.deterministic:
                layer.mark(entry.keys[0])
            unknown = ()
        elif not _same(first, entry):
            return None
        for key in (*unknown, *place.aliases):
            layer.alias(key, first)
        return first

    def _bring_manifest(self, layer: Cache, name: bytes) -> None:
        """Keep the parts of some code in one more layer."""
        if (layer, name) in self._manifests:
            return
        self._manifests.add((layer, name))
        manifest = self.manifest(name)
        if manifest is not None:
            layer.keep_manifest(manifest)

    # -- whole pieces of a map ------------------------------------------------------------------------------------

    def piece(self, key: bytes, after: int = 0) -> tuple[Any, Any, Any] | None:
        """Return what the first layer that knows it knows of one output of a piece; its place says which."""
        after = max(after, self.taken_back())
        for layer in self.layers:
            found = _tried(layer, "read", None, layer.piece, key, after) if layer.knows_pieces else None
            if found is not None:
                return (*found[:2], (layer, key, found))
        return None

    def taken_back(self) -> int:
        """Return when a result was last taken back in any layer."""
        return max(layer.taken_back() for layer in self.layers)

    def read_places(self, places: Any, part: int) -> list[Any] | None:
        """Return one output of a piece, and keep it in the layers before the one that it comes from."""
        layer, key, (classes, counts, where) = places
        values: list[Any] | None = _tried(layer, "read", None, layer.read_places, where, part)
        nearer = [each for each in self._nearer[layer] if each.knows_pieces]
        if nearer and values is not None:
            column: list[Entry] = _tried(layer, "read", [], layer.entries_at, where)
            for entry in column:
                entry.location.place = self._alone[layer]  # type: ignore[attr-defined]
                self._bring(entry, layer, entry)
            if column:
                self._note_piece(nearer, key, (classes, counts), column)
        return values

    def keep_piece(self, key: bytes, known: tuple[Any, Any], column: Sequence[Entry]) -> None:
        """Note where the results of a piece are, in every layer that has all of them."""
        self._note_piece([layer for layer in self._takers if layer.knows_pieces], key, known, column)

    @staticmethod
    def _note_piece(layers: Sequence[Cache], key: bytes, known: tuple[Any, Any], column: Sequence[Entry]) -> None:
        for layer in layers:
            entries = [_entry_of(entry, layer) for entry in column]
            if None not in entries:
                _tried(layer, "write", None, layer.keep_piece, key, known, entries)


def _tried(layer: Cache, what: str, default: Any, call: Callable[..., Any], *arguments: Any) -> Any:
    """Return what a call gives, or the default where it fails, which the layer then tells."""
    try:
        return call(*arguments)
    except Exception as error:  # noqa: BLE001 - a fault of a layer is a miss, never an error
        layer.fault(what, error)
        return default


def _known(layer: Cache, keys: Sequence[bytes]) -> Sequence[Entry | None]:
    found: list[Entry | None] = _tried(layer, "read", [None] * len(keys), layer.find, keys)
    return found


def _same(entry: Entry, other: Entry) -> bool:
    """Whether two entries have the same values."""
    return [part.identity for part in entry.parts] == [part.identity for part in other.parts]


def _as_kept(part: Part, payload: codecs.Payload) -> Part:
    """Return what is known of an output that is kept as these bytes."""
    size = len(payload.data)
    if part.codec == payload.codec and part.size == size:
        return part
    return attrs.evolve(part, codec=payload.codec, size=size)


def _may_keep(layer: Cache, entry: Entry) -> bool:
    return layer.may_pickle or all(part.codec != "pickle" for part in entry.parts)


def _entry_of(entry: Entry, layer: Cache) -> Entry | None:
    """Return the entry of a layer for the result that a run holds an entry of."""
    place: Place | None = entry.location.place  # type: ignore[attr-defined]
    if place is None:
        return None
    return entry if layer is place.layer else next((own for other, own in place.others if other is layer), None)
