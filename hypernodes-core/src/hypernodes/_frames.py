"""What a block tells while its items travel: nodes, items, and the pipelines inlined into its program."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any

from hypernodes import events
from hypernodes._job import UNSETTLED, Job, Site
from hypernodes.callbacks import ValueSummary


class Frames:
    """Tells the events of one block, and only those that somebody listens to.

    Args:
        job: The program and its settings.
        size: How many items.
        values: The column of every slot.
        args: The columns of every step's arguments.
        tell: Who takes events; may be ``None`` when the job wants none.
        first: Index of the first item in its map.
        outer: Indices of the maps around this one.
        is_map: Whether the items are those of a map.
        remote: Whether values are replaced by summaries.

    Attributes:
        tracks: Whether starts and ends of items or inlined pipelines must be told.
        hears_end: Per step, whether its ends must be told.
        who: Tells the signature of a step for an item, and asked for the identity of its value; ``None`` without a cache.
    """

    def __init__(
        self,
        job: Job,
        size: int,
        values: list[Any],
        args: list[list[Sequence[Any]]],
        tell: events.Tell | None,
        *,
        first: int,
        outer: tuple[int, ...],
        is_map: bool,
        remote: bool,
    ) -> None:
        self.job = job
        self.tell: events.Tell = tell if tell is not None else events.Recorder()
        self.who: Callable[[Site, int, bool], events.Who] | None = None
        self.first = first
        self.outer = outer
        self.is_map = is_map
        self.remote = remote
        self._values = values
        self._args = args
        self.hears_end = [site.wanted & events.NODE_END and site.inner is None for site in job.sites]
        heard = 0
        for bits in job.wanted:
            heard |= bits
        self._own = job.wanted[0]
        self.hears_item_cached = is_map and bool(self._own & events.ITEM_CACHED)
        items = events.PIPELINE_START | events.PIPELINE_END | events.ITEM_START | events.ITEM_END
        nested = events.NESTED_START | events.NESTED_END
        self.tracks = bool(self._own & items or heard & nested)
        if self.tracks:
            self._count = len(job.sites)
            self._left = [self._count] * size
            self._started_at = [0.0] * size
            self._scope_left = [[count] * size for count in job.layout.scope_steps]
            self._scope_at = [[0.0] * size for _ in job.layout.scope_steps]

    def index(self, item: int) -> int | None:
        return self.first + item if self.is_map else None

    def _shown(self, wanted: int, values: dict[str, Any]) -> dict[str, Any]:
        if self.remote and not wanted & events.VALUES:
            return {name: ValueSummary.of(value) for name, value in values.items()}
        return values

    def _about(self, site: Site, item: int, *, made: bool) -> events.Who:
        return self.who(site, item, made) if self.who is not None else None

    def started(self, site: Site, item: int, attempt: int) -> None:
        inputs = {name: column[item] for name, column in zip(site.names, self._args[site.index], strict=True)}
        self.tell(
            events.NODE_START,
            self.job.key,
            site.index,
            self.index(item),
            self.outer,
            perf_counter() + events.EPOCH,
            attempt,
            self._shown(site.wanted, inputs),
            None,
            self._about(site, item, made=False),
        )

    def ended(self, site: Site, item: int, attempt: int, time: float, seconds: float) -> None:
        if site.out >= 0:
            outputs = {site.outputs[0]: self._values[site.out][item]}
        else:
            outputs = {name: self._values[slot][item] for name, slot in zip(site.outputs, site.outs, strict=True)}
        if self.remote:
            outputs = self._shown(site.wanted, outputs)
        index = self.first + item if self.is_map else None
        self.tell(
            events.NODE_END,
            self.job.key,
            site.index,
            index,
            self.outer,
            time,
            attempt,
            outputs,
            seconds,
            self._about(site, item, made=True),
        )

    def hit(self, site: Site, item: int, signature: str, identity: str) -> None:
        self.tell(
            events.CACHE_HIT, self.job.key, site.index, self.index(item), self.outer, self._now(), 1, signature, None, (signature, identity)
        )

    def missed(self, site: Site, item: int, signature: str) -> None:
        self.tell(
            events.CACHE_MISS, self.job.key, site.index, self.index(item), self.outer, self._now(), 1, signature, None, (signature, None)
        )

    def item_cached(self, item: int) -> None:
        self.tell(events.ITEM_CACHED, self.job.key, ~0, self.index(item), self.outer, self._now())

    @staticmethod
    def _now() -> float:
        return perf_counter() + events.EPOCH

    def opened(self, item: int) -> None:
        now = perf_counter() + events.EPOCH
        self._started_at[item] = now
        key, index = self.job.key, self.index(item)
        if self.is_map and self._own & events.ITEM_START:
            self.tell(events.ITEM_START, key, ~0, index, self.outer, now)
        if not key and self._own & events.PIPELINE_START:
            inputs = {
                entry.name: self._values[entry.slot][item] for entry in self.job.program.root_inputs if self._values[entry.slot] is not None
            }
            self.tell(events.PIPELINE_START, key, ~0, index, self.outer, now, 1, self._shown(self._own, inputs))
        if not self._count:
            self._close_item(item)

    def _close_item(self, item: int) -> None:
        now = perf_counter() + events.EPOCH
        key, index, seconds = self.job.key, self.index(item), now - self._started_at[item]
        if not key and self._own & events.PIPELINE_END:
            outputs = {}
            for name, slot in self.job.program.outputs:
                column = self._values[slot]  # None: an optional input that comes out again and was not given
                value = column[item] if column is not None else self.job.slot_used(slot)
                if value is not UNSETTLED:  # a failed item has not all of them
                    outputs[name] = value
            self.tell(events.PIPELINE_END, key, ~0, index, self.outer, now, 1, self._shown(self._own, outputs), seconds)
        if self.is_map and self._own & events.ITEM_END:
            self.tell(events.ITEM_END, key, ~0, index, self.outer, now, 1, seconds)
        self._started_at[item] = 0.0

    def entered(self, site: Site, item: int) -> None:
        for scope in site.chain:
            if not self._scope_at[scope][item]:
                self._scope_at[scope][item] = now = perf_counter() + events.EPOCH
                if self.job.wanted[self.job.program.scopes[scope].parent] & events.NESTED_START:
                    self.tell(events.NESTED_START, self.job.key, ~scope, self.index(item), self.outer, now)
        if site.inner is not None and site.wanted & events.NESTED_START:
            self.tell(events.NESTED_START, self.job.key, site.index, self.index(item), self.outer, perf_counter() + events.EPOCH)

    def resolved(self, site: Site, item: int) -> None:
        """Close what this step was the last of."""
        for scope in reversed(site.chain):
            left = self._scope_left[scope]
            left[item] -= 1
            if not left[item]:
                self._close_scope(scope, item)
        self._left[item] -= 1
        if not self._left[item]:
            self._close_item(item)

    def _close_scope(self, scope: int, item: int) -> None:
        started = self._scope_at[scope][item]
        self._scope_at[scope][item] = 0.0
        if started and self.job.wanted[self.job.program.scopes[scope].parent] & events.NESTED_END:
            now = perf_counter() + events.EPOCH
            self.tell(events.NESTED_END, self.job.key, ~scope, self.index(item), self.outer, now, 1, now - started)

    def close(self, opened: int) -> None:
        """End what a failure left open, so that every start that was told has its end."""
        if not self.tracks:
            return
        for item in range(opened):
            if self._started_at[item]:
                for scope in range(len(self._scope_at) - 1, 0, -1):
                    if self._scope_at[scope][item]:
                        self._close_scope(scope, item)
                self._close_item(item)
