"""Keeping results: each gets its identity and its bytes the moment it is returned, before anybody else sees it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import attrs

from hypernodes._calls import InnerResult
from hypernodes._job import Site
from hypernodes._lookup import Lookup
from hypernodes._messages import listed, picture
from hypernodes.cache import codecs
from hypernodes.cache.entry import Entry, Part, Spot
from hypernodes.cache.opened import Cache
from hypernodes.identity import values as value_identity
from hypernodes.identity.signature import by_value

if TYPE_CHECKING:
    from hypernodes._block import Block

Classes = tuple[tuple[str, bytes], ...]
UNKNOWABLE = b""


@attrs.frozen(eq=False)
class Kept:
    """What became of a result.

    Attributes:
        entry: Its entry; ``None`` where it is not kept.
        references: Per output, the reference to its value; empty where it has none, ``None`` where nobody asks.
    """

    entry: Entry | None
    references: Sequence[bytes | None]


class Keeper:
    """Identifies and keeps the results of one block.

    Attributes:
        reasons: Why a value has no identity, by slot: the input's name and what was found.
        watched: Classes and files that results without an entry were made from.
        bytes: Per step, how many bytes were kept.
    """

    def __init__(self, block: Block, lookup: Lookup) -> None:
        self.reasons: dict[int, tuple[str, value_identity.Unidentifiable]] = {}
        self.watched: dict[tuple[int, int], Classes] = {}
        self.bytes = [0] * len(lookup.recipes)
        self._block = block
        self._lookup = lookup

    def explain_unknowable(self, k: int) -> None:
        """Say once why a node's results are not kept: an argument has no identity."""
        site = self._block.job.sites[k]
        for name, slot in zip(site.names, site.slots, strict=True):
            if slot in self.reasons:
                given, reason = self.reasons[slot]
                if not given and slot in self._block.job.layout.makers:
                    return  # whoever made the value was named already
                path = name + (f".{reason.path}" if reason.path and not reason.path.startswith("[") else reason.path)
                self._lookup.notes.warn(
                    ("argument", site.id, name),
                    f"node '{site.id}' runs uncached: its argument '{path}' is {reason.reason}, which has no identity.\n"
                    f"  fix: make it where it is used (a @stateful class), give its class a __cache_key__(), "
                    f"or leave it out of the key: @node(ignore=({name!r},))",
                )
                return

    def identified(self, site: Site, item: int, needed: Sequence[bool], inner: InnerResult | None) -> Kept:
        """Identify a result that is not kept, as far as somebody asks."""
        references: list[bytes | None] = []
        watched: set[tuple[str, bytes]] = set()
        for output, (slot, asked) in enumerate(zip(site.outs, needed, strict=True)):
            made = inner.made[output] if inner is not None and inner.made else None
            if not asked:
                references.append(UNKNOWABLE)
            elif made is not None:
                references.append(by_value(made.identity))
                watched.update(made.classes)
            else:
                reference, classes = self._identity(site, item, slot, output)
                references.append(reference)
                watched.update(classes)
        if watched:
            self.watched[site.index, item] = tuple(sorted(watched))
        return Kept(None, references)

    def _identity(self, site: Site, item: int, slot: int, output: int) -> tuple[bytes, Classes]:
        try:
            identity, classes = value_identity.identify(self._block.values[slot][item])
        except value_identity.Unidentifiable as reason:
            self._no_identity(site, slot, output, reason)
            return UNKNOWABLE, ()
        return by_value(identity), classes

    def _no_identity(self, site: Site, slot: int, output: int, reason: value_identity.Unidentifiable) -> None:
        self.reasons.setdefault(slot, ("", reason))
        path = f" ('{reason.path}' in it)" if reason.path else ""
        self._lookup.notes.warn(
            ("result", site.id),
            f"the result '{site.outputs[output]}' of node '{site.id}' is not cached, and what depends on it neither: "
            f"it is {reason.reason}{path}, which has no identity.\n"
            f"  fix: return plain data, make such an object where it is used (a @stateful class), or say @node(cache=False)",
        )

    def keep_simple(self, site: Site, item: int, keys: tuple[bytes, ...], consumed: tuple[bytes, ...], seconds: float) -> Entry | None:
        """Keep the result of a step with one output, if it is a number, a text or the like; return its entry."""
        k = site.index
        recipe, cache, value = self._lookup.recipes[k], self._lookup.caches[k], self._block.values[site.out][item]
        if type(value) not in codecs.SIMPLE or recipe is None or cache is None:
            return None
        data = codecs.encode_simple(value)
        size = len(data)
        self.bytes[k] += size
        parts = (Part(value_identity.identity(value), "data", size),)
        entry = Entry(keys, parts, consumed, recipe.origin, seconds, time.time(), "", recipe.deterministic, Spot((data,)))
        cache.keep(entry)
        return entry

    def keep(
        self,
        site: Site,
        item: int,
        keys: tuple[bytes, ...],
        consumed: tuple[bytes, ...],
        seconds: float,
        inner: InnerResult | None,
        watch: Classes,
    ) -> Kept:
        """Identify a result and keep it.

        Args:
            site: The step.
            item: The item.
            keys: Signatures to keep it under.
            consumed: Identities of its arguments.
            seconds: How long it took.
            inner: What a nested pipeline says of its own results.
            watch: Classes and files that the arguments were made from.
        """
        k = site.index
        recipe, cache = self._lookup.recipes[k], self._lookup.caches[k]
        if recipe is None or cache is None or (inner is not None and inner.failures):
            return self.identified(site, item, [True] * len(site.outs), inner)
        parts: list[Part] = []
        payloads: list[codecs.Payload] = []
        references: list[bytes] = []
        for output, slot in enumerate(site.outs):
            made = inner.made[output] if inner is not None and inner.made else None
            if made is not None:
                identity, classes = made.identity, made.classes
            else:
                reference, classes = self._identity(site, item, slot, output)
                identity = reference[2:]
            references.append(by_value(identity) if identity else UNKNOWABLE)
            payload = self._payload(cache, site, output, self._block.values[slot][item], identity, made) if identity else None
            if payload is not None:
                payloads.append(payload)
                parts.append(Part(identity, payload.codec, len(payload.data), tuple(sorted({*classes, *watch})) if watch else classes))
            elif classes or watch:
                self.watched[k, item] = tuple(sorted({*self.watched.get((k, item), ()), *classes, *watch}))
        if len(parts) != len(site.outs):
            return Kept(None, references)
        spot = Spot([payload.data for payload in payloads])
        entry = Entry(keys, tuple(parts), consumed, recipe.origin, seconds, time.time(), "", recipe.deterministic, spot)
        for part in parts:
            self.bytes[k] += part.size
        cache.keep(entry)
        return Kept(entry, references)

    def _payload(self, cache: Cache, site: Site, output: int, value: Any, identity: bytes, made: Any) -> codecs.Payload | None:
        if made is not None and made.references is not None:
            return codecs.encode_list(made.references)
        try:
            payload = codecs.encode(value)
        except codecs.Unencodable as reason:
            self._not_kept(site, output, value, f"cannot be stored: {reason}")
            return None
        if payload.codec == "pickle" and not cache.may_pickle:
            return None  # told when the cache was opened
        if payload.codec == "pickle" and not _comes_back(payload, identity):
            self._not_kept(site, output, value, "is not the same after it was stored and read")
            return None
        return payload

    def _not_kept(self, site: Site, output: int, value: Any, why: str) -> None:
        self._lookup.notes.warn(
            ("stored", site.id),
            f"the result '{site.outputs[output]}' of node '{site.id}' is not cached: {picture(value)} {why}.\n"
            f"  fix: return plain data, let its class pickle all of its state, or say @node(cache=False)",
        )

    def disagreed(self, k: int, item: int, key: bytes | None) -> None:
        """Note that a node made something else from equal arguments, and say so once."""
        site = self._block.job.sites[k]
        recipe, cache = self._lookup.recipes[k], self._lookup.caches[k]
        if recipe is None or cache is None or not recipe.deterministic or recipe.expires is not None:
            return
        if key is not None:
            cache.mark(key)
        self._lookup.notes.doubtful.add(site.id)
        self._lookup.notes.warn(
            ("doubtful", site.id),
            f"node '{site.id}' gave another {listed(site.outputs)} for the same arguments than the cache has on record; "
            f"what depends on it is looked up by value from now on.\n"
            f"  fix: remove what varies (time, random numbers, the order of a set), or say so: @node(deterministic=False)",
        )


def _comes_back(payload: codecs.Payload, identity: bytes) -> bool:
    """Whether what was pickled is the same value again; a class may leave out what it likes."""
    try:
        return value_identity.identity(codecs.decode(payload.codec, payload.data)) == identity
    except Exception:  # noqa: BLE001 - user code runs here; whatever it does, the value cannot be kept
        return False
