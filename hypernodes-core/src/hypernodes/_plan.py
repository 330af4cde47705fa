"""What a call would do: which nodes × items are cached, which must run, which depend on what runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs

from hypernodes._block import Block
from hypernodes._calls import InnerCall
from hypernodes._demand import DONE, FOLLOWING, IDLE, READY, UNDECIDED, WAITING
from hypernodes._explain import Explanation, Reason, reason_of
from hypernodes._items import Items
from hypernodes._job import UNSETTLED, Job, Site, uncached_because
from hypernodes._lookup import Lookup
from hypernodes._nested import Nested
from hypernodes._references import HIT
from hypernodes.cache.opened import GONE
from hypernodes.engines.runner import Request
from hypernodes.identity.signature import by_value
from hypernodes.results import MapResult, RunResult

BLOCK = 4096  # items looked up together

CACHED, TO_RUN, UNKNOWN = "cached", "to run", "unknown"


@attrs.define
class NodePlan:
    """What a call would do with one node.

    Attributes:
        cached: Items whose result is in the cache, or is not needed because a later one is.
        to_run: Items that must run.
        unknown: Items that may turn out to be cached once what they depend on has run.
        seconds: Expected time of those that must run, from earlier durations; ``None`` where there are none.
        items: What becomes of each item, by its indices in the maps around it.
    """

    cached: int = 0
    to_run: int = 0
    unknown: int = 0
    seconds: float | None = None
    items: dict[tuple[int, ...], str] = attrs.field(factory=dict, repr=False)


class Plan(dict[str, NodePlan]):
    """What a call would do, per node; nothing has run.

    Attributes:
        pipeline: Name of the pipeline.
    """

    def __init__(self, pipeline: str, nodes: Mapping[str, NodePlan], run: Callable[[], Any]) -> None:
        super().__init__(nodes)
        self.pipeline = pipeline
        self._run = run

    @property
    def cached(self) -> int:
        """Results that are in the cache, over all nodes and items."""
        return sum(node.cached for node in self.values())

    @property
    def to_run(self) -> int:
        """Calls that must be made, over all nodes and items."""
        return sum(node.to_run for node in self.values())

    @property
    def unknown(self) -> int:
        """Calls that depend on what must run first."""
        return sum(node.unknown for node in self.values())

    @property
    def seconds(self) -> float | None:
        """Expected time of all calls that must be made, one after the other; ``None`` where nothing is known of it."""
        known = [node.seconds for node in self.values() if node.seconds is not None]
        return sum(known) if known else None

    def run(self) -> RunResult | MapResult:
        """Make the call that was planned."""
        result: RunResult | MapResult = self._run()
        return result

    def __str__(self) -> str:
        parts = [f"{self.cached:,} cached", f"{self.to_run:,} to run"]
        if self.unknown:
            parts.append(f"{self.unknown:,} that depend on them")
        if self.to_run and self.seconds is not None:
            parts.append(f"about {duration(self.seconds)}")
        return ", ".join(parts)

    def __repr__(self) -> str:
        return f"<Plan of {self.pipeline}: {self}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return (Plan, (self.pipeline, dict(self), _forgotten))


def _forgotten() -> None:
    from hypernodes.errors import OptionError

    msg = "a plan that travelled has left its pipeline behind; call run or map on the pipeline"
    raise OptionError(msg)


def duration(seconds: float) -> str:
    """Return a time for people."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 120:  # noqa: PLR2004 - two minutes
        return f"{seconds:.0f} s"
    if seconds < 7200:  # noqa: PLR2004 - two hours
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


class Planner:
    """Looks blocks up as a run would, and runs nothing.

    Args:
        job: What would run.
        lookup: What is known of its cache; ``None`` without one.
        why: Whether to say why calls must be made.
    """

    def __init__(self, job: Job, lookup: Lookup | None, *, why: bool = False) -> None:
        self.job = job
        self.lookup = lookup
        self.why = why
        self.nodes: dict[str, NodePlan] = {node: NodePlan() for node in job.node_ids}
        self.reasons = Explanation()
        self._claimed: set[bytes] = set()

    def plan(self, request: Request) -> None:
        """Look up everything that a call asks for."""
        if request.kind == "run":
            self.block(Block(self.job, 1, request.constants, lookup=self.lookup), ())
        else:
            items = Items(request.values, request.mode, "plan")
            first = 0
            while True:
                columns = items.take(BLOCK)
                size = len(columns[0])
                if not size:
                    break
                given = {**request.constants, **dict(zip(items.names, columns, strict=True))}
                self.block(Block(self.job, size, given, tuple(request.values), first=first, is_map=True, lookup=self.lookup), ())
                first += size
        if self.lookup is not None:
            self._times(self.lookup)

    def _times(self, lookup: Lookup) -> None:
        for site, recipe, cache in zip(lookup.job.sites, lookup.recipes, lookup.caches, strict=True):
            if site.inner is not None:
                self._times(lookup.inner[site.index])
                continue
            node = self.nodes[site.id]
            if node.to_run and recipe is not None and cache is not None:
                took = [entry.seconds for entry in cache.of_node(recipe.origin.pipeline, recipe.origin.node)]
                if took:
                    node.seconds = node.to_run * sum(took) / len(took)

    def block(self, block: Block, outer: tuple[int, ...]) -> None:
        """Look a block up."""
        demand = block.demand
        paths = [(*outer, block.first + item) if block.is_map else outer for item in range(block.size)]
        if demand is None:
            for site in block.job.sites:
                for path in paths:
                    self._without_cache(block, site, path)
            return
        demand.begin()
        demand.drop_incomplete()
        settled: set[tuple[int, int]] = set()
        for site in block.job.sites:
            if site.inner is None:
                continue
            for item in range(block.size):
                if demand.state[site.index][item] in (WAITING, READY):
                    settled.add((site.index, item))
                    self._inner(block, site, item, paths[item])
        unknown = self._unknown(block)
        for site in block.job.sites:
            k = site.index
            for item, path in enumerate(paths):
                if (k, item) in settled:
                    continue
                state = demand.state[k][item]
                status = UNKNOWN if (k, item) in unknown else CACHED if state in (HIT, IDLE, FOLLOWING, DONE) else TO_RUN
                if status == TO_RUN and site.inner is None and self._claimed_before(demand.refs.shallow_key(k, item)):
                    status = CACHED
                self._note(block, site, item, path, status)

    def _claimed_before(self, key: bytes | None) -> bool:
        """Whether the same computation will be made for an item of an earlier block, and be there by then."""
        if key is None or key not in self._claimed:
            if key is not None:
                self._claimed.add(key)
            return False
        return True

    def _unknown(self, block: Block) -> set[tuple[int, int]]:
        """Return what waits for an upstream, and what nobody needs unless that must run."""
        demand = block.demand
        assert demand is not None  # noqa: S101 - the caller looked
        found: set[tuple[int, int]] = set()
        for site in reversed(block.job.sites):
            k = site.index
            for item, state in enumerate(demand.state[k]):
                needed = state == IDLE and any((follower, item) in found for follower in block.job.layout.followers[k])
                if state == UNDECIDED or needed:
                    found.add((k, item))
        return found

    def _note(self, block: Block, site: Site, item: int, path: tuple[int, ...], status: str) -> None:
        if site.inner is not None:
            many = 1
            entry = block.demand.entries[site.index][item] if block.demand is not None else None
            if entry is not None and entry.parts[0].codec == "list":
                many = entry.parts[0].size // 22
            for name in site.inner.node_ids:
                self._count(name, path, status, many)
            return
        self._count(site.id, path, status)
        if self.why and status != CACHED:
            self.reasons.append(self._reason(block, site, item, path, status))

    def _count(self, name: str, path: tuple[int, ...], status: str, many: int = 1) -> None:
        node = self.nodes[name]
        node.items[path] = status
        if status == CACHED:
            node.cached += many
        elif status == TO_RUN:
            node.to_run += many
        else:
            node.unknown += many

    def _without_cache(self, block: Block, site: Site, path: tuple[int, ...]) -> None:
        for name in (site.id,) if site.inner is None else site.inner.node_ids:
            status = TO_RUN if site.inner is None or not site.inner.program.steps or not site.slots else UNKNOWN
            self._count(name, path, status)
            if self.why:
                self.reasons.append(Reason(name, path, "uncached", "has no cache"))

    def _inner(self, block: Block, site: Site, item: int, path: tuple[int, ...]) -> None:
        """Look up inside a nested pipeline that must be opened, where its inputs are known."""
        demand, k = block.demand, site.index
        assert demand is not None  # noqa: S101 - the caller looked
        assert site.inner is not None  # noqa: S101 - the caller looked
        args = []
        for name, slot, default in zip(site.names, site.slots, site.defaults, strict=True):
            column = block.values[slot]
            value = default if column is None else column[item]
            if value is UNSETTLED:
                value = self._read(block, slot, item)
            if value is UNSETTLED:
                for node in site.inner.node_ids:
                    self._count(node, path, UNKNOWN)
                    if self.why:
                        self.reasons.append(Reason(node, path, "upstream", f"'{name}'"))
                return
            args.append(value)
        step: Any = block.job.program.steps[k]
        call = InnerCall(step, site.inner, path, False, "return", lookup=demand.lookup.inner[k])
        call.known = demand.refs.known_arguments(k, item)
        try:
            nested = Nested(call, tuple(args))
        except Exception:  # noqa: BLE001 - lists that do not fit together: the run will say so
            return
        self.block(nested.block, path)
        inner = nested.block.demand
        if inner is None or any(state not in (HIT, IDLE) for states in inner.state for state in states):
            return
        slots = dict(site.inner.program.outputs)
        references = []
        for name in step.results:
            made = inner.refs.made_list(slots[name]) if name in slots and step.mapped else None
            if made is None:
                return
            references.append(by_value(made.identity))
        demand.assume(k, item, references)

    @staticmethod
    def _read(block: Block, slot: int, item: int) -> Any:
        demand = block.demand
        maker = block.job.layout.makers.get(slot)
        if demand is None or maker is None or demand.state[maker[0]][item] != HIT:
            return UNSETTLED
        cache, entry = demand.caches[maker[0]], demand.entries[maker[0]][item]
        if cache is None or entry is None:
            return UNSETTLED
        value = cache.read([entry], maker[1])[0]
        return UNSETTLED if value is GONE else value

    def _reason(self, block: Block, site: Site, item: int, path: tuple[int, ...], status: str) -> Reason:
        demand, k = block.demand, site.index
        if demand is None:
            return Reason(site.id, path, "uncached", uncached_because(block.job, site))
        recipe, cache = demand.recipes[k], demand.caches[k]
        if status == UNKNOWN:
            makers = block.job.layout.makers
            waits = [makers[slot][0] for slot in site.slots if slot in makers and demand.state[makers[slot][0]][item] not in (HIT, DONE)]
            names = ", ".join(f"'{block.job.sites[each].id}'" for each in dict.fromkeys(waits))
            return Reason(site.id, path, "upstream", names)
        if recipe is None or cache is None:
            return Reason(site.id, path, "uncached", uncached_because(block.job, site))
        consumed = demand.refs.consumed(k, item)
        if consumed is None:
            return Reason(site.id, path, "uncached", "an argument has no identity")
        entries = cache.of_node(recipe.origin.pipeline, recipe.origin.node)
        return reason_of(site.id, path, recipe.origin, consumed, cache, entries, recipe.expires)
