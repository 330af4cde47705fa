"""Caches one behind the other: read through, written to all, and what is read from a later one is kept in those before it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from hypernodes.cache import codecs
from hypernodes.cache.entry import Entry, Spot
from hypernodes.cache.opened import GONE, Cache


class LayeredCache(Cache):
    """Caches one behind the other. A fault of one is its own: the others go on.

    A result that was forgotten is forgotten in all layers that can be reached then; one that was out of reach may bring it
    back, which is as if somebody else had computed it.

    Args:
        layers: The caches, nearest first.
    """

    def __init__(self, layers: Sequence[Cache]) -> None:
        super().__init__(" over ".join(layer.label for layer in layers))
        self.layers = list(layers)
        self.may_pickle = any(layer.may_pickle for layer in layers)
        self.knows_pieces = any(layer.knows_pieces for layer in layers)

    def __len__(self) -> int:
        return max(len(layer) for layer in self.layers)

    # -- looking up -----------------------------------------------------------------------------------------------

    def find(self, keys: Sequence[bytes]) -> list[Entry | None]:
        """Return what is known under each key, in the first layer that knows it."""
        found: list[Entry | None] = [None] * len(keys)
        missing = list(range(len(keys)))
        for number, layer in enumerate(self.layers):
            if not missing:
                break
            for place, entry in zip(missing, layer.find([keys[place] for place in missing]), strict=True):
                if entry is not None:
                    entry.location.layer = number  # type: ignore[attr-defined]
                    found[place] = entry
            missing = [place for place in missing if found[place] is None]
        return found

    def payload(self, entry: Entry, part: int) -> tuple[Any, bool] | None:
        """Return the bytes of one output, from the layer that has the entry."""
        layer: int = entry.location.layer  # type: ignore[attr-defined]
        return self.layers[layer].payload(entry, part)

    def read(self, entries: Sequence[Entry], part: int) -> list[Any]:
        """Return one output of each entry, and keep in earlier layers what comes from later ones."""
        values = [self._value(entry, part) for entry in entries]
        for entry, value in zip(entries, values, strict=True):
            if value is not GONE and entry.location.layer:  # type: ignore[attr-defined]
                self._promote(entry)
        return values

    def _promote(self, entry: Entry) -> Entry | None:
        """Keep an entry in the layers before the one that has it; return what the first layer then has."""
        spot: Any = entry.location
        copy = self._copied(entry)
        first = None
        for layer in self.layers[: spot.layer] if copy is not None else ():
            kept = self._keep_in(layer, copy)  # type: ignore[arg-type]
            first = first or kept
        return first

    def _copied(self, entry: Entry) -> Entry | None:
        """Return an entry with its values at hand; what nobody vouches for is read with care, and written anew."""
        payloads: list[Any] = []
        parts = []
        for number, part in enumerate(entry.parts):
            found = self.payload(entry, number)
            if found is None:
                return None
            data, trusted = found
            if part.codec == "list":
                references = codecs.decode_references(data)
                for element in self.find([key for key, _ in references]):
                    if element is not None and element.location.layer:  # type: ignore[attr-defined]
                        self._promote(element)
            elif not trusted:
                try:
                    payload = codecs.encode(codecs.decode(part.codec, data, trusted=False))
                except (codecs.Undecodable, codecs.Unencodable):
                    return None
                part, data = attrs.evolve(part, codec=payload.codec, size=len(payload.data)), payload.data  # noqa: PLW2901
            parts.append(part)
            payloads.append(bytes(data))
        return attrs.evolve(entry, parts=tuple(parts), location=Spot(payloads))

    def of_node(self, pipeline: str, node: str) -> list[Entry]:
        """Return what was kept of a node in any layer, newest first."""
        found = {entry.keys[0]: entry for layer in reversed(self.layers) for entry in reversed(layer.of_node(pipeline, node))}
        return sorted(found.values(), key=lambda entry: entry.created, reverse=True)

    def nodes(self) -> dict[tuple[str, str], int]:
        """Return how many results there are of each pipeline and node, in the layer that has most of them."""
        found: dict[tuple[str, str], int] = {}
        for layer in self.layers:
            for where, count in layer.nodes().items():
                found[where] = max(count, found.get(where, 0))
        return dict(sorted(found.items()))

    def fate(self, key: bytes) -> str | None:
        """Return what became of a key that was in some layer once."""
        return next((fate for layer in self.layers if (fate := layer.fate(key)) is not None), None)

    def manifest(self, name: bytes) -> Mapping[str, str] | None:
        """Return the parts of some code, by the name they are kept under."""
        return next((found for layer in self.layers if (found := layer.manifest(name)) is not None), None)

    # -- keeping --------------------------------------------------------------------------------------------------

    def keep(self, entry: Entry) -> None:
        """Keep a result in all layers that may keep it."""
        for layer in self.layers:
            self._keep_in(layer, entry)

    def _keep_in(self, layer: Cache, entry: Entry) -> Entry | None:
        if not layer.may_pickle and any(part.codec == "pickle" for part in entry.parts):
            return None
        spot: Any = entry.location
        own = attrs.evolve(entry, location=Spot(list(spot.payloads)))
        layer.keep(own)
        return own

    def _keep_manifest(self, name: bytes, manifest: Mapping[str, str]) -> None:
        for layer in self.layers:
            layer.keep_manifest(manifest)

    def alias(self, key: bytes, entry: Entry) -> None:
        """Let an entry answer to one more key, where it is kept."""
        spot: Any = entry.location
        self.layers[spot.layer].alias(key, entry)

    def mark(self, key: bytes) -> None:
        """Note that the node behind a key gives different results for equal arguments."""
        for layer in self.layers:
            layer.mark(key)

    def invalidate(self, node: str | None = None, pipeline: str | None = None) -> int:
        """Forget results in all layers; return how many the layer with most had."""
        return max(layer.invalidate(node, pipeline) for layer in self.layers)

    def clear(self) -> int:
        """Forget all results in all layers."""
        return max(layer.clear() for layer in self.layers)

    def flush(self) -> None:
        """Write what is not written yet."""
        for layer in self.layers:
            layer.flush()

    def refresh(self) -> None:
        """Learn what others have written."""
        for layer in self.layers:
            layer.refresh()
        self.shared = any(layer.shared for layer in self.layers)

    def end_note(self) -> str | None:
        """Return what the layers have to say at the end of a run."""
        notes = [note for layer in self.layers if (note := layer.end_note()) is not None]
        return "\n".join(notes) or None

    # -- whole pieces of a map ------------------------------------------------------------------------------------

    def piece(self, key: bytes) -> tuple[Any, Any, Any] | None:
        """Return what the first layer that knows it knows of one output of a piece; the place says which."""
        for number, layer in enumerate(self.layers):
            found = layer.piece(key) if layer.knows_pieces else None
            if found is not None:
                return (*found[:2], (number, key, found))
        return None

    def read_places(self, places: Any, part: int) -> list[Any] | None:
        """Return one output of a piece, and keep it in earlier layers where it comes from a later one."""
        number, key, known = places
        layer: Cache = self.layers[number]
        values = layer.read_places(known[2], part)
        if number and values is not None:
            column = layer.entries_at(known[2])
            for entry in column:
                entry.location.layer = number  # type: ignore[attr-defined]
            copies = [self._copied(entry) for entry in column]
            for earlier in self.layers[:number]:
                kept = [self._keep_in(earlier, copy) for copy in copies if copy is not None]
                own = [entry for entry in kept if entry is not None]
                if earlier.knows_pieces and len(own) == len(column) and own:
                    earlier.keep_piece(key, known[:2], own)
        return values

    def keep_piece(self, key: bytes, known: tuple[Any, Any], column: Sequence[Entry]) -> None:
        """Note where the results of a piece are, in every layer that has them."""
        for layer in self.layers:
            if layer.knows_pieces:
                entries = [entry for entry in layer.find([each.keys[0] for each in column]) if entry is not None]
                if len(entries) == len(column):
                    layer.keep_piece(key, known, entries)
