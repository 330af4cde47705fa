"""Why a computation is not in the cache: what differs from the nearest earlier one, old and new."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import attrs

from hypernodes._messages import counted
from hypernodes.cache.entry import Entry, Origin
from hypernodes.cache.opened import Cache
from hypernodes.identity.values import shown

NEVER_SEEN = "never seen"


@attrs.frozen
class Reason:
    """Why a node must run, or ran.

    Attributes:
        node: The node's id.
        item: Indices of the maps around it, outermost first; empty outside a map.
        kind: ``"code"``, ``"input"``, ``"library"``, ``"python"``, ``"salt"``, ``"expired"``, ``"evicted"``,
            ``"invalidated"``, ``"class"``, ``"uncached"``, ``"upstream"`` or ``"never seen"``.
        part: What differs, such as ``"function mod.h"``, ``"lr"`` or ``"numpy"``.
        old: What it was; empty where there is nothing to show.
        new: What it is.
    """

    node: str
    item: tuple[int, ...]
    kind: str
    part: str = ""
    old: str = ""
    new: str = ""

    @property
    def text(self) -> str:
        """The reason in words."""
        change = f": {self.old or '–'} → {self.new or '–'}" if self.old or self.new else ""
        if self.kind == "code":
            return f"{self.part} changed{change}"
        if self.kind in ("input", "library", "python", "salt"):
            part = f" {self.part!r}" if self.kind == "input" else f" {self.part}".rstrip()
            return f"{'Python' if self.kind == 'python' else self.kind}{part}{change}"
        if self.kind == "class":
            return f"{self.part}, which the result depends on, changed"
        if self.kind == "upstream":
            return f"depends on {self.part}, which must run first"
        if self.kind == "uncached":
            return self.part
        return self.kind


class Explanation(list[Reason]):
    """Why nodes must run, or ran: one ``Reason`` per node and item; prints as one line per node and cause."""

    def __str__(self) -> str:
        if not self:
            return "nothing to run: everything is cached"
        grouped: dict[tuple[str, str], list[Reason]] = {}
        for reason in self:
            grouped.setdefault((reason.node, reason.text), []).append(reason)
        width = max(len(node) for node, _ in grouped)
        lines = []
        for (node, text), reasons in grouped.items():
            many = f"  ({counted(len(reasons), 'item')})" if len(reasons) > 1 else ""
            lines.append(f"{node:<{width}}  {text}{many}")
        return "\n".join(lines)


def nearest(origin: Origin, consumed: Sequence[bytes], entries: Iterable[Entry]) -> Entry | None:
    """Return the earlier entry that differs in the fewest parts; the newest of those."""
    best: Entry | None = None
    fewest = 0
    for entry in entries:
        count = (entry.origin.code != origin.code) + (entry.origin.environment != origin.environment) + (entry.origin.salt != origin.salt)
        before = _by_name(entry.origin, entry.consumed)
        now = _by_name(origin, consumed)
        count += sum(before.get(name) != now.get(name) for name in {*before, *now})
        if best is None or count < fewest:
            best, fewest = entry, count
            if not fewest:
                break
    return best


def _by_name(origin: Origin, consumed: Sequence[bytes]) -> Mapping[str, bytes]:
    return dict(zip(origin.parameters, consumed, strict=False))


def reason_of(
    node: str,
    item: tuple[int, ...],
    origin: Origin,
    consumed: Sequence[bytes],
    cache: Cache,
    entries: Iterable[Entry],
    expires: float | None,
) -> Reason:
    """Return the first part in which a computation differs from the nearest earlier one.

    Args:
        node: The node's id.
        item: The item.
        origin: What its entry would say of its code and environment.
        consumed: Identities of its arguments.
        cache: The cache that does not have it.
        entries: What was kept of the node before.
        expires: Seconds that its results are good for.
    """
    entry = nearest(origin, consumed, entries)
    if entry is None:
        return Reason(node, item, NEVER_SEEN)
    if entry.origin.code != origin.code:
        part, old, new = code_change(cache.manifest(entry.origin.manifest) or {}, cache.manifest(origin.manifest) or {}, node)
        return Reason(node, item, "code", part, old, new)
    if entry.origin.environment != origin.environment:
        return _environment_change(node, item, dict(entry.origin.environment), dict(origin.environment))
    if entry.origin.salt != origin.salt:
        return Reason(node, item, "salt", "", entry.origin.salt, origin.salt)
    before, now = _by_name(entry.origin, entry.consumed), _by_name(origin, consumed)
    for name in origin.parameters:
        if before.get(name) != now.get(name):
            return Reason(node, item, "input", name, _shown(before.get(name)), _shown(now.get(name)))
    if expires is not None and entry.created + expires <= time.time():
        return Reason(node, item, "expired")
    fate = cache.fate(entry.keys[0])
    if fate is not None:
        return Reason(node, item, fate)
    changed = [name for part in entry.parts for name, _ in part.classes]
    if changed:
        kind, _, name = changed[0].partition(":")
        return Reason(node, item, "class", f"file {name}" if kind == "file" else f"class {kind}.{name}")
    return Reason(node, item, "evicted")


def code_change(old: Mapping[str, str], new: Mapping[str, str], node: str) -> tuple[str, str, str]:
    """Return the first part of some code that differs, as it was and as it is; functions before what they use."""
    parts = [part for part in (*new, *(part for part in old if part not in new)) if old.get(part) != new.get(part)]
    if not parts:
        return f"the code of '{node}'", "", ""
    part = parts[0]
    return part, _local(old.get(part)), _local(new.get(part))


def _local(value: str | None) -> str:
    if value is None:
        return "absent"
    return value.removeprefix("=") if value.startswith("=") else ""


def _environment_change(node: str, item: tuple[int, ...], old: Mapping[str, str], new: Mapping[str, str]) -> Reason:
    for name in dict.fromkeys([*new, *old]):
        if old.get(name) != new.get(name):
            kind = "python" if name == "python" else "library"
            return Reason(node, item, kind, "" if kind == "python" else name, old.get(name, "absent"), new.get(name, "absent"))
    return Reason(node, item, "library")


def _shown(identity: Any) -> str:
    if identity is None:
        return "absent"
    return shown(identity) if identity else "–"


@attrs.frozen
class Asked:
    """What a run knew of one node, for when somebody asks why it ran.

    Attributes:
        cache: The cache of its results; ``None`` where they are not kept.
        expires: Seconds that they are good for.
        uncached: Why they are not kept.
    """

    cache: Cache | None
    expires: float | None = None
    uncached: str = ""


NO_CACHE = Asked(None, uncached="has no cache")


def of_run(asked: Mapping[str, Asked], pipeline: str, run_id: str, ran: Mapping[str, int]) -> Explanation:
    """Return why nodes ran in a run that is over, from what it left in its caches.

    Args:
        asked: What the run knew of each node.
        pipeline: Name of the pipeline that was called.
        run_id: The run.
        ran: How many calls each node made.
    """
    found = Explanation()
    for node, calls in ran.items():
        known = asked.get(node, NO_CACHE)
        if not calls:
            continue
        if known.cache is None:
            found.extend(Reason(node, (), "uncached", known.uncached) for _ in range(calls))
            continue
        history = known.cache.of_node(pipeline, node)
        made = [entry for entry in history if entry.origin.run_id == run_id]
        first = min((entry.created for entry in made), default=0.0)
        earlier = [entry for entry in history if entry.origin.run_id != run_id and entry.created <= first]
        found.extend(reason_of(node, (), entry.origin, entry.consumed, known.cache, earlier, known.expires) for entry in reversed(made))
        found.extend(Reason(node, (), "uncached", "an argument or a result has no identity") for _ in range(calls - len(made)))
    return found
