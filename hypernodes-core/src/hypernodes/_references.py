"""Who goes into each step of a block: the references of its arguments, and the signatures made of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from hypernodes import events
from hypernodes._calls import Made
from hypernodes._declaration import NO_DEFAULT
from hypernodes._hashing import digest
from hypernodes._job import UNSETTLED, Site
from hypernodes._keep import UNKNOWABLE, Keeper
from hypernodes._lookup import Lookup
from hypernodes.cache.entry import Entry
from hypernodes.identity import values as value_identity
from hypernodes.identity.signature import DEFAULT, IGNORED, by_signature, by_value

if TYPE_CHECKING:
    from hypernodes._block import Block

HIT: Final = 2  # a step × item that is in the cache; see ``_demand`` for the other states


class References:
    """What is known of every step × item of one block.

    Args:
        block: The block; its columns hold the values.
        lookup: The recipes of its steps.
        keeper: Who identifies results.
        known: Identities of inputs that whoever runs the block knows already.

    Attributes:
        begun: Whether the look-up has begun.
        state: Per step, the state of each item.
        entries: Per step, the entry of each item that the cache knows.
        deep: Per step, the signature of each item by the signatures of its upstreams; ``None`` where it has none.
        shallow: Per step, the signature of items by the identities of their arguments, as far as it was needed.
        ids: Per slot, the reference to each item's value, as far as it is known.
        sources: Per step and argument, a constant reference or the slot to ask (inverted: as a file).
    """

    def __init__(self, block: Block, lookup: Lookup, keeper: Keeper, known: Mapping[str, bytes]) -> None:
        job, size = block.job, block.size
        self._block = block
        self._lookup = lookup
        self._keeper = keeper
        self._known = known
        self._size = size
        self._recipes = lookup.recipes
        self._caches = lookup.caches
        self._sites = job.sites
        self._values = block.values
        self._makers = job.layout.makers
        self.begun = False
        steps = range(len(self._sites))
        self.state = [bytearray(size) for _ in steps]
        self.entries: list[list[Entry | None]] = [[None] * size for _ in steps]
        self.deep: list[list[bytes | None] | None] = [None] * len(self._sites)
        self.shallow: list[dict[int, bytes]] = [{} for _ in steps]
        self.ids: dict[int, list[bytes | None]] = {slot: [None] * size for slot in self._makers}
        self.sources = [self._sources_of(k) for k in steps]
        self._upstreams = [list({self._makers[slot][0] for slot in site.slots if slot in self._makers}) for site in job.sites]

    def _sources_of(self, k: int) -> list[bytes | int]:
        """Return per argument what its reference is: a constant, or the slot to ask (negative: as a file)."""
        recipe = self._recipes[k]
        if recipe is None:
            return []
        site = self._sites[k]
        sources: list[bytes | int] = []
        for position, slot in enumerate(site.slots):
            if position in recipe.ignored:
                sources.append(IGNORED)
            elif slot in self._makers or self._values[slot] is not None:
                sources.append(~slot if position in recipe.files else slot)
            else:
                sources.append(self._default(site, position))
        return sources

    def _default(self, site: Site, position: int) -> bytes:
        """Return the reference of an argument that nobody gives."""
        key = (site.index, position)
        found = self._lookup.defaults.get(key)
        if found is None:
            value = site.defaults[position]
            if site.inner is not None:
                value = site.inner.bound_inputs.get(site.names[position], NO_DEFAULT)
            found = DEFAULT
            if value is not NO_DEFAULT and type(value) is not object:
                try:
                    found = by_value(value_identity.identity(value))
                except value_identity.Unidentifiable:
                    found = DEFAULT  # it is part of the code, for what can be told of it
            self._lookup.defaults[key] = found
        return found

    def _input_references(self, source: int) -> list[bytes | None]:
        """Return the references of an input over all items, worked out once."""
        found = self.ids.get(source)
        if found is not None:
            return found
        if not self._size:
            return []
        slot = source if source >= 0 else ~source
        column = self._values[slot]
        entry = next(entry for entry in self._block.job.program.inputs if entry.slot == slot)
        if source >= 0 and entry.outer is not None and self._values[entry.outer] is column:
            made = self._input_references(entry.outer)
        elif source >= 0 and entry.outer is None and entry.name in self._known:
            made = [by_value(self._known[entry.name])] * self._size
        elif self._block.varies[slot]:
            made = [self._reference(value, source, entry.name) for value in column]
        else:
            memo = self._lookup.bound.get(source)
            if memo is None or memo[1] is not column[0]:
                memo = self._lookup.bound[source] = (self._reference(column[0], source, entry.name), column[0])
            made = [memo[0]] * self._size
        self.ids[source] = made
        return made

    def _reference(self, value: Any, source: int, name: str) -> bytes:
        if source < 0:
            from hypernodes._file import coerce

            value = coerce(value)
        try:
            return by_value(value_identity.identity(value))
        except value_identity.Unidentifiable as reason:
            self._keeper.reasons[~source if source < 0 else source] = (name, reason)
            return UNKNOWABLE

    def of(self, source: int, item: int) -> bytes | None:
        """Return the reference of a value, ``None`` while nobody knows it."""
        column = self.ids.get(source)
        if column is not None and (found := column[item]) is not None:
            return found
        if source < 0:
            return self._file_ref(source, item)
        made = self._makers.get(source)
        if made is None:
            return self._input_references(source)[item]
        if self.state[made[0]][item] != HIT:
            return None
        entry = self.entries[made[0]][item]
        assert entry is not None  # noqa: S101 - a hit has one
        found = self.ids[source][item] = by_value(entry.parts[made[1]].identity)
        return found

    def _file_ref(self, source: int, item: int) -> bytes | None:
        slot = ~source
        if slot not in self._makers:
            return self._input_references(source)[item]
        value = self._values[slot][item]
        return None if value is UNSETTLED else self._reference(value, source, "")

    def work_out_signatures(self) -> None:
        """Work out the signatures that are known before any value exists."""
        varies = self._block.varies
        for k, recipe in enumerate(self._recipes):
            if recipe is None or not self._lookup.has_deep[k]:
                continue
            columns: list[Sequence[bytes | None]] = []
            fixed = True
            for source in self.sources[k]:
                if isinstance(source, bytes):
                    columns.append([source] * self._size)
                elif source in self._makers:
                    maker, output = self._makers[source]
                    keys = self.deep[maker]
                    assert keys is not None  # noqa: S101 - has_deep says so
                    columns.append([None if key is None else by_signature(key, output) for key in keys])
                    fixed = fixed and not varies[source]
                else:
                    columns.append(self._input_references(source))
                    fixed = fixed and not varies[source if source >= 0 else ~source]
            made = _signatures(recipe.prefix, columns, 1 if fixed and self._size else self._size)
            self.deep[k] = made * self._size if fixed and self._size else made

    def shallow_key(self, k: int, item: int) -> bytes | None:
        """Return the signature of a step by the identities of its arguments, where they are known."""
        return self.shallow[k].get(item)

    def key(self, k: int, item: int) -> bytes | None:
        """Return the signature of a step, as far as it is known."""
        found = self.shallow[k].get(item)
        if found is None:
            keys = self.deep[k]
            found = keys[item] if keys is not None else None
        return found

    def consumed(self, k: int, item: int) -> tuple[bytes, ...] | None:
        """Return the identities of a step's arguments, empty for one that does not count; ``None`` where one has none."""
        found = []
        for source in self.sources[k]:
            reference = source if isinstance(source, bytes) else self.of(source, item)
            if not reference:
                return None
            found.append(reference[2:])
        return tuple(found)

    def known_arguments(self, k: int, item: int) -> dict[str, bytes]:
        """Return the identities of a nested pipeline's arguments, where they are known."""
        site = self._sites[k]
        found = {}
        for name, slot in zip(site.names, site.slots, strict=True):
            if slot in self._makers or slot in self.ids:
                reference = self.of(slot, item)
                if reference:
                    found[name] = reference[2:]
        return found

    def who(self, site: Site, item: int, made: bool) -> events.Who:  # noqa: FBT001 - called for every event
        """Return what a callback may know of a step: its signature, and once it is made, the identity of its first value."""
        key = self.key(site.index, item)
        if key is None:
            return None
        reference = self.ids[site.outs[0]][item] if made else None
        return key.hex(), reference[2:].hex() if reference else None

    def upstream(self, k: int, item: int) -> tuple[bool, tuple[tuple[str, bytes], ...]]:
        """Return whether all upstreams of a step give the same whenever they run, and the classes and files they were made from."""
        untainted = True
        found: set[tuple[str, bytes]] = set()
        doubtful = self._lookup.notes.doubtful
        for maker in self._upstreams[k]:
            entry = self.entries[maker][item]
            if entry is None:
                untainted = False
                found.update(self._keeper.watched.get((maker, item), ()))
                continue
            if not entry.deterministic or (doubtful and self._sites[maker].id in doubtful):
                untainted = False
            for part in entry.parts:
                if part.classes:
                    found.update(part.classes)
        return untainted, tuple(sorted(found)) if found else ()

    def entries_of_outputs(self) -> list[list[Entry]] | None:
        """Return the entries of every requested output; ``None`` where some result was not kept."""
        if not self.begun:
            return None
        columns: list[list[Entry]] = []
        for _, slot in self._block.job.program.outputs:
            column = self.entries[self._makers[slot][0]]
            if None in column:
                return None
            columns.append(column)  # type: ignore[arg-type]
        return columns

    def made_list(self, slot: int) -> Made | None:
        """Return what is known of the list of an output's values; ``None`` where some value has no identity."""
        if slot not in self._makers or not self.begun:
            return None
        k, output = self._makers[slot]
        identities: list[bytes] = []
        references: list[tuple[bytes, int]] | None = []
        classes: set[tuple[str, bytes]] = set()
        for item in range(self._size):
            reference = self.of(slot, item)
            if not reference:
                return None
            identities.append(reference[2:])
            entry = self.entries[k][item]
            if entry is None or self._caches[k] is None:
                references = None
                classes.update(self._keeper.watched.get((k, item), ()))
                continue
            classes.update(entry.parts[output].classes)
            if references is not None:
                references.append((entry.keys[0], output))
        return Made(value_identity.list_identity(identities), references, tuple(sorted(classes)))


def _signatures(prefix: bytes, columns: Sequence[Sequence[bytes | None]], size: int) -> list[bytes | None]:
    """Return one signature per item; ``None`` where an argument has no reference."""
    if not columns:
        return [digest(prefix)] * size
    if not any(None in column or UNKNOWABLE in column for column in columns):
        if len(columns) == 1:
            return [digest(prefix + reference) for reference in columns[0][:size]]  # type: ignore[operator]
        return [digest(prefix + b"".join(references)) for references in zip(*(column[:size] for column in columns), strict=True)]
    rows = zip(*(column[:size] for column in columns), strict=True)
    return [None if None in row or UNKNOWABLE in row else digest(prefix + b"".join(row)) for row in rows]
