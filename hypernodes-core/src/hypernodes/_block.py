"""A block: items travelling through a program together. A state machine without I/O and without threads."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from heapq import heappop, heappush
from threading import get_ident
from time import perf_counter, time
from typing import TYPE_CHECKING, Any

from hypernodes import _batches, events
from hypernodes._calls import BlockResult, Call, InnerCall, InnerResult, called, wrong_count
from hypernodes._columns import arguments_of, columns_of
from hypernodes._failures import NodeFailure, pictures
from hypernodes._frames import Frames
from hypernodes._job import Job, Site, run_plainly
from hypernodes.errors import RunEndedError
from hypernodes.results import Tally, add_tally

if TYPE_CHECKING:
    from hypernodes._demand import Demand
    from hypernodes._limits import Shared
    from hypernodes._lookup import Lookup

NEVER = 1 << 40  # a count of awaited steps that never reaches zero: the call is skipped
WAIT_S = 0.25  # the longest that a driver waits for another block before it looks whether to stop
BACKOFF_FIRST, BACKOFF_LIMIT = 0.05, 10.0  # seconds before the second try, doubled at each, and its bound


class Block:
    """Items travelling through a program together.

    ``ready`` says which calls can be made, ``done`` is told their outcomes; a driver stands between them.

    Args:
        job: The program and its settings.
        size: How many items.
        given: The value of each root input: a list of ``size`` values where its name is in ``mapped``, else one value.
        mapped: Names of the inputs that vary over the items.
        on_error: ``"raise"`` stops at the first failure; ``"return"`` puts a ``NodeFailure`` in its place.
        tell: Who takes events; may be ``None`` when the job wants none.
        first: Index of the first item in its map.
        outer: Indices of the maps around this one.
        is_map: Whether the items are those of a map (a run is a block of one).
        remote: Whether values in events must be replaced by summaries.
        shared: What the blocks of the run share in this process: limits, claims, whether to stop.
        lookup: What the run knows of its cache; ``None`` without one.
        known: Identities of inputs, where whoever runs the block knows them.
        mode: How the mapped inputs vary: ``"zip"`` or ``"product"``.
    """

    def __init__(
        self,
        job: Job,
        size: int,
        given: Mapping[str, Any],
        mapped: frozenset[str] | tuple[str, ...] = (),
        *,
        on_error: str = "raise",
        tell: events.Tell | None = None,
        first: int = 0,
        outer: tuple[int, ...] = (),
        is_map: bool = False,
        remote: bool = False,
        shared: Shared | None = None,
        lookup: Lookup | None = None,
        known: Mapping[str, bytes] | None = None,
        mode: str = "zip",
    ) -> None:
        self.job = job
        self.size = size
        self.given = given
        self.mapped = tuple(mapped)
        self.mode = mode
        self.on_error = on_error
        self.first = first
        self.outer = outer
        self.is_map = is_map
        self.remote = remote
        self.shared = shared
        self.failure: NodeFailure | None = None
        self.failures: list[NodeFailure] = []
        layout, sites = job.layout, job.sites
        self._sites = sites
        self._count = len(sites)
        self._followers = layout.followers
        self.straight = job.straight
        self._roots = layout.roots
        self.values, self.varies = columns_of(job, size, given, frozenset(mapped))
        self._args = [arguments_of(site, self.values, size) for site in sites]
        self._waiting = [[count] * size for count in layout.waits]
        self._heap: list[int] = []
        self._again: list[Call] = []
        self._held: dict[int, list[int]] = {}
        self._running: dict[int, int] = {}
        self.gathered: dict[int, list[int]] = {site.index: [] for site in sites if site.batch and is_map}
        self._undecided = dict.fromkeys(self.gathered, size)
        self._batches: list[tuple[int, list[int], int]] = []
        self.opened = 0
        self.ran = [0] * self._count
        self.failed = [0] * self._count
        self.seconds = [0.0] * self._count
        self._inner_tally: Tally = {}
        self.frames = Frames(job, size, self.values, self._args, tell, first=first, outer=outer, is_map=is_map, remote=remote)
        self._tracks = self.frames.tracks
        self._out = 0  # calls that are being made
        self.demand: Demand | None = None
        if lookup is not None and job.cached:
            from hypernodes._demand import Demand

            self.demand = Demand(self, lookup, known or {})
            self._undecided = dict.fromkeys(self.gathered, 0)
            self.frames.who = self.demand.refs.who

    # -- what can run ---------------------------------------------------------------------------------------------

    def ready(self, limit: int = 0) -> list[Call]:
        """Return calls that can be made now, each once: earliest item first, then in the order of the program.

        Args:
            limit: The most calls to return; 0 for all.
        """
        calls: list[Call] = []
        if (self.failure is not None and self.on_error == "raise") or (self.shared is not None and self.shared.stopped):
            return calls
        demand = self.demand
        if demand is not None and not demand.begun:
            demand.begin()
        while not limit or len(calls) < limit:
            if demand is not None and (read := demand.take_read()) is not None:
                calls.append(read)
            elif self._again:
                calls.append(self._again.pop())
            elif self._heap:
                item, index = divmod(heappop(self._heap), self._count)
                call = self._call(self._sites[index], item)
                if call is not None:
                    calls.append(call)
            elif self.opened < self.size:
                if demand is not None and demand.holding:
                    break
                self.opened += 1
                self._open(self.opened - 1)
            else:
                free = next((at for at, (index, _, _) in enumerate(self._batches) if self._may_start(self._sites[index])), None)
                if free is None:
                    if demand is None or calls or self._out or not self._flush_all():
                        break
                    continue
                calls.append(self._batch_call(*self._batches.pop(free)))
        self._out += len(calls)
        return calls

    def _open(self, item: int) -> None:
        if self._tracks:
            self.frames.opened(item)
        if self.demand is not None:
            self.demand.open(item)
            return
        for index in self._roots:
            self.enqueue(index, item)

    def enqueue(self, index: int, item: int) -> None:
        """Queue a call whose arguments are there."""
        gathered = self.gathered.get(index)
        if gathered is None:
            heappush(self._heap, item * self._count + index)
            return
        gathered.append(item)
        self._undecided[index] -= 1
        self._flush(index)

    def _flush(self, index: int) -> None:
        """Make batches of what has gathered before a batch twin: full ones, and the rest once no more can come."""
        gathered, size = self.gathered[index], self._sites[index].batch_size or self.size
        while len(gathered) >= size or (gathered and not self._undecided[index]):
            self._batches.append((index, sorted(gathered[:size]), 1))
            del gathered[:size]

    def _flush_all(self) -> bool:
        """Make batches of all that has gathered, when what is still expected waits for just that."""
        for index, gathered in self.gathered.items():
            if gathered:
                self._batches.append((index, sorted(gathered), 1))
                gathered.clear()
        return bool(self._batches)

    def expect(self, index: int, change: int) -> None:
        """Change how many items may still come to a batch twin."""
        self._undecided[index] += change
        self._flush(index)

    def withdraw(self, index: int, item: int) -> None:
        """Take back a call that was queued, before it is made."""
        gathered = self.gathered.get(index)
        if gathered is not None and item in gathered:
            gathered.remove(item)
            self._undecided[index] += 1

    def skip(self, index: int, item: int, failure: NodeFailure) -> None:
        """Put a failure in place of a step that needs what could not be made."""
        self._skip([index], item, failure)

    def _call(self, site: Site, item: int) -> Call | None:
        index = site.index
        if self.demand is not None and not self.demand.may_run(index, item):
            return None
        if site.limit is not None:
            if not self._may_start(site):
                self._held.setdefault(index, []).append(item)
                return None
            self._running[index] = self._running.get(index, 0) + 1
        columns = self._args[index]
        args = [column[item] for column in columns]
        kwargs = None
        if site.positional != len(args):
            kwargs = dict(zip(site.names[site.positional :], args[site.positional :], strict=True))
            del args[site.positional :]
        if self._tracks:
            self.frames.entered(site, item)
        if site.inner is not None:
            function: Any = self._inner_call(site, item)
        else:
            function = site.function
        if site.inner is None:
            self._starting(site, item)
        return self._limited(Call(site, item, function, args, kwargs, index=self.frames.index(item)))

    def _starting(self, site: Site, item: int) -> None:
        """Tell that a call starts, and before it that the cache does not have it."""
        if site.wanted & events.CACHE_MISS and self.demand is not None:
            key = self.demand.refs.key(site.index, item)
            if key is not None:
                self.frames.missed(site, item, key.hex())
        if site.wanted & events.NODE_START:
            self.frames.started(site, item, 1)

    def _limited(self, call: Call) -> Call:
        """Make a call keep the limits that hold over the whole run."""
        site = call.site
        if self.shared is not None and (site.rate is not None or site.limit is not None or site.resources):
            call.delay = max(call.delay, self.shared.limits.delay(site))
            call.gate = self.shared.limits.gate(site)
        return call

    @property
    def over(self) -> bool:
        """Whether no call will come any more unless one that is being made ends; may say no although none will."""
        if (self.failure is not None and self.on_error == "raise") or (self.shared is not None and self.shared.stopped):
            return True
        if self.demand is not None and (not self.demand.begun or self.demand.reads_left):
            return False
        return not (self._again or self._heap or self._batches or self.opened < self.size or any(self.gathered.values()))

    @property
    def waits(self) -> bool:
        """Whether something that it needs is being made by another block."""
        return self.demand is not None and bool(self.demand.elsewhere) and not (self.shared is not None and self.shared.stopped)

    def await_others(self, seconds: float) -> None:
        """Wait a while for what other blocks make; go on with what they have made."""
        assert self.demand is not None  # noqa: S101 - ``waits`` says so
        self.demand.look_elsewhere(seconds)

    def _may_start(self, site: Site) -> bool:
        return site.limit is None or self._running.get(site.index, 0) < site.limit

    def _batch_call(self, index: int, items: list[int], attempt: int) -> Call:
        site = self._sites[index]
        if site.limit is not None:
            self._running[index] = self._running.get(index, 0) + 1
        varies = [self.varies[slot] for slot in site.slots]
        args = _batches.arguments(site.kinds, site.names, self._args[index], varies, items)
        kwargs = dict(zip(site.names[site.positional :], args[site.positional :], strict=True)) or None
        if attempt == 1:
            for item in items:
                if self._tracks:
                    self.frames.entered(site, item)
                self._starting(site, item)
        return self._limited(Call(site, items, site.batch, args[: site.positional], kwargs, attempt))  # type: ignore[arg-type]

    def _inner_call(self, site: Site, item: int) -> InnerCall:
        step = self.job.program.steps[site.index]
        outer = (*self.outer, self.first + item) if self.is_map else self.outer
        on_error = step.on_error if step.mapped else self.on_error  # type: ignore[union-attr]
        call = InnerCall(step, site.inner, outer, self.remote, on_error, self.frames.tell, self.shared, get_ident())  # type: ignore[arg-type]
        if self.demand is not None:
            call.lookup = self.demand.lookup.inner[site.index]
            call.known = self.demand.refs.known_arguments(site.index, item)
        return call

    def run_straight(self) -> None:
        """Do what driving would do, without the bookkeeping: earliest item first, in the order of the program.

        For programs whose calls need nothing but calling; ``straight`` says whether it may be used.
        """
        values = self.values
        wants_ends = self.frames.hears_end
        lane = [
            (site, site.function, self._args[site.index], site.out, site.wanted & events.NODE_START, site.positional)
            for site in self._sites
        ]
        shared = self.shared
        for item in range(self.size):
            if shared is not None and shared.stopped:
                return
            self.opened = item + 1
            if self._tracks:
                self.frames.opened(item)
            failed = False
            for site, function, columns, out, wants_start, positional in lane:
                index = site.index
                if failed and self._waiting[index][item] >= NEVER // 2:
                    continue
                if self._tracks:
                    self.frames.entered(site, item)
                if wants_start:
                    self.frames.started(site, item, 1)
                error: BaseException | None = None
                start = perf_counter()
                try:
                    if len(columns) == 1 == positional:
                        value = function(columns[0][item])  # type: ignore[misc]
                    elif positional == len(columns):
                        value = function(*[column[item] for column in columns])  # type: ignore[misc]
                    else:
                        args = [column[item] for column in columns]
                        value = function(*args[:positional], **dict(zip(site.names[positional:], args[positional:], strict=True)))  # type: ignore[misc]
                except Exception as raised:  # noqa: BLE001 - a node may raise anything
                    error = raised
                except BaseException:
                    self._cut_short(site, item, 1)
                    raise
                end = perf_counter()
                seconds = end - start
                self.seconds[index] += seconds
                if error is None:
                    if out >= 0:
                        values[out][item] = value
                    else:
                        error = self._store(site, item, value)
                if error is not None:
                    args = [column[item] for column in columns]
                    keywords = dict(zip(site.names[positional:], args[positional:], strict=True)) or None
                    self._failed(Call(site, item, function, args[:positional], keywords), error, start + events.EPOCH, seconds)  # type: ignore[arg-type]
                    if self.on_error == "raise":
                        return
                    failed = True
                    continue
                self.ran[index] += 1
                if wants_ends[index]:
                    self.frames.ended(site, item, 1, end + events.EPOCH, seconds)
                if self._tracks:
                    self.frames.resolved(site, item)

    def run_looking_up(self) -> None:
        """Do what ``run_straight`` does where a cache is asked first; what it reads goes through calls as usual."""
        demand, heap, count, sites = self.demand, self._heap, self._count, self._sites
        assert demand is not None  # noqa: S101 - the caller knows
        demand.begin()
        while (self.failure is None or self.on_error != "raise") and not (self.shared is not None and self.shared.stopped):
            read = demand.take_read()
            if read is not None:
                self._out += 1
                self.done(read, *called(read.function, read.args))
            elif heap:
                item, index = divmod(heappop(heap), count)
                if not demand.may_run(index, item):
                    continue
                site = sites[index]
                args = [column[item] for column in self._args[index]]
                if self._tracks:
                    self.frames.entered(site, item)
                if site.wanted:
                    self._starting(site, item)
                keywords = None
                if len(args) != site.positional:
                    keywords = dict(zip(site.names[site.positional :], args[site.positional :], strict=True))
                    del args[site.positional :]
                try:
                    value, error, started, seconds = called(site.function, args, keywords)
                except BaseException:
                    self._cut_short(site, item, 1)
                    raise
                if error is None and site.out >= 0 and keywords is None:
                    self.seconds[index] += seconds
                    self.values[site.out][item] = value
                    self._settle(site, item, 1, started, seconds)
                    continue
                self._out += 1
                self.done(Call(site, item, site.function, args, keywords, index=self.frames.index(item)), value, error, started, seconds)  # type: ignore[arg-type]
            elif self.opened < self.size:
                self.opened += 1
                self._open(self.opened - 1)
            elif demand.elsewhere:
                self.await_others(WAIT_S)
            else:
                return

    # -- what came of it ------------------------------------------------------------------------------------------

    def done(self, call: Call, value: Any, error: BaseException | None, started: float, seconds: float) -> None:
        """Take the outcome of a call; more calls may be ready afterwards.

        Args:
            call: The call.
            value: What it returned.
            error: What it raised instead.
            started: When it started, in seconds since the epoch.
            seconds: How long it took.
        """
        self._out -= 1
        if not call.attempt and self.demand is not None:
            self.demand.read(call, value if error is None else None)
            return
        site = call.site
        index = site.index
        self.seconds[index] += seconds
        if site.limit is not None:
            self._release(index)
        if type(call.item) is list:
            self._batch_done(call, value, error, started, seconds)
            return
        item: int = call.item
        inner: InnerResult | None = None
        if error is None:
            if site.inner is not None:
                inner = value
                value, error, failure = self._inner_done(value)
                if site.wanted & events.NESTED_END:
                    now = started + seconds
                    self.frames.tell(events.NESTED_END, self.job.key, index, self.frames.index(item), self.outer, now, 1, seconds)
                if failure is not None:
                    self._record(site, item, failure, started)
                    return
                lost = self._lost(call.function, call.site, value)
                if lost:
                    self._store(site, item, value)
                    self._settle_partly(site, item, lost)
                    return
            if error is None:
                error = self._store(site, item, value)
        if error is not None:
            self._failed(call, error, started, seconds)
            return
        self._settle(site, item, call.attempt, started, seconds, inner)

    def _settle(self, site: Site, item: int, attempt: int, started: float, seconds: float, inner: InnerResult | None = None) -> None:
        """Count an item as made, keep it, tell, and let its followers know."""
        index = site.index
        self.ran[index] += 1
        if self.demand is not None:
            self.demand.made(site, item, seconds, inner)
        if self.frames.hears_end[index]:
            self.frames.ended(site, item, attempt, started + seconds, seconds)
        if self.demand is not None:
            self.demand.settled(site, item)
            return
        if self._tracks:
            self.frames.resolved(site, item)
        for follower in self._followers[index]:
            waiting = self._waiting[follower]
            waiting[item] -= 1
            if not waiting[item]:
                self.enqueue(follower, item)

    def _lost(self, call: Any, site: Site, value: Any) -> dict[int, NodeFailure]:
        """Return the slots that a nested pipeline which is not mapped could not fill, under ``on_error="return"``."""
        if call.step.mapped or call.on_error == "raise" or not self.failures:
            return {}
        values = value if len(site.outs) > 1 else [value]
        return {slot: each for slot, each in zip(site.outs, values, strict=True) if any(each is failure for failure in self.failures)}

    def _settle_partly(self, site: Site, item: int, lost: Mapping[int, NodeFailure]) -> None:
        """Let the followers know of a step some of whose outputs could not be made, as if its nodes stood here."""
        if self.demand is not None:
            self.demand.settle_partly(site, item, lost)
            self.demand.settled(site, item)
        elif self._tracks:
            self.frames.resolved(site, item)
        for follower in self._followers[site.index]:
            failure = next((lost[slot] for slot in self._sites[follower].slots if slot in lost), None)
            if failure is not None:
                self._skip([follower], item, failure)
                continue
            if self.demand is not None:
                continue
            waiting = self._waiting[follower]
            waiting[item] -= 1
            if not waiting[item]:
                self.enqueue(follower, item)

    def _store(self, site: Site, item: int, value: Any) -> BaseException | None:
        if site.out >= 0:
            self.values[site.out][item] = value
            return None
        problem = wrong_count(site.name, site.outputs, value)
        if problem is None:
            for slot, part in zip(site.outs, value, strict=True):
                self.values[slot][item] = part
        return problem

    def _batch_done(self, call: Call, value: Any, error: BaseException | None, started: float, seconds: float) -> None:
        site, items = call.site, call.item
        if error is None:
            try:
                columns = _batches.results(call.function, site.name, value, len(items), None if site.out >= 0 else len(site.outs))
            except (ValueError, TypeError) as wrong:
                error = wrong
        if error is not None:
            self._failed(call, error, started, seconds)
            return
        for slot, column in zip(site.outs, columns, strict=True):
            values = self.values[slot]
            for item, part in zip(items, column, strict=True):
                values[item] = part
        for item in items:
            self._settle(site, item, min(call.attempt, site.rule.attempts), started, seconds / len(items))

    def _failed(self, call: Call, error: BaseException, started: float, seconds: float) -> None:
        site = call.site
        rule = site.rule
        stopped = self.failure is not None and self.on_error == "raise"  # nothing is started any more, a retry neither
        if call.attempt < rule.attempts and isinstance(error, rule.retry_on) and not stopped:
            delay = min(BACKOFF_FIRST * 2 ** (call.attempt - 1), BACKOFF_LIMIT)
            if site.limit is not None:
                self._running[site.index] = self._running.get(site.index, 0) + 1
            retry = Call(site, call.item, call.function, call.args, call.kwargs, call.attempt + 1, delay, call.index)
            self._again.append(self._limited(retry))
            if site.wanted & events.NODE_START:
                for item in call.item if type(call.item) is list else (call.item,):
                    self.frames.started(site, item, call.attempt + 1)
            return
        if type(call.item) is list and len(call.item) > 1 and self.on_error == "return":
            half = len(call.item) // 2  # find the guilty items, so that the others keep their results
            for part in (call.item[half:], call.item[:half]):
                self._batches.insert(0, (site.index, part, rule.attempts + 1))
            return
        together = len(call.item) if type(call.item) is list else 1
        for item in call.item if type(call.item) is list else (call.item,):
            index = self.frames.index(item)
            path = self.outer if index is None else (*self.outer, index)
            if together > 1:  # whose fault it is, nobody knows
                shown = pictures(site.names, [*call.args, *(call.kwargs or {}).values()])
            else:
                shown = pictures(site.names, [column[item] for column in self._args[site.index]])
            function = functools.partial(run_plainly, call.function) if site.is_async else call.function
            again = None if site.inner is not None else functools.partial(function, *call.args, **(call.kwargs or {}))
            attempts = min(call.attempt, rule.attempts)
            failure = NodeFailure(site.id, self.job.pipeline, path, shown, error, attempts, call=again, together=together)
            if site.wanted & events.ERROR:
                self.frames.tell(events.ERROR, self.job.key, site.index, index, self.outer, started + seconds, attempts, failure)
            if site.inner is not None and site.wanted & events.NESTED_END:
                self.frames.tell(events.NESTED_END, self.job.key, site.index, index, self.outer, started + seconds, 1, seconds)
            self._record(site, item, failure, started)

    def _record(self, site: Site, item: int, failure: NodeFailure, started: float) -> None:
        """Put a failure in place of everything that depends on the call."""
        self.failed[site.index] += 1
        self.failures.append(failure)
        if self.failure is None or failure.item_path < self.failure.item_path:
            self.failure = failure
        if self.on_error == "raise":
            return
        for slot in site.outs:
            self.values[slot][item] = failure
        if self.demand is not None:
            self.demand.failed(site.index, item)
        elif self._tracks:
            self.frames.resolved(site, item)
        self._skip(list(self._followers[site.index]), item, failure)
        if self.demand is not None:
            self.demand.settled(site, item)

    def _skip(self, pending: list[int], item: int, failure: NodeFailure) -> None:
        """Put a failure in place of these steps and all that depend on them."""
        while pending:
            index = pending.pop()
            if self.demand is not None:
                if not self.demand.skips(index, item):
                    continue
            elif self._waiting[index][item] >= NEVER // 2:
                continue
            self._waiting[index][item] = NEVER
            if index in self.gathered and self.demand is None:
                self._undecided[index] -= 1
                self._flush(index)
            for slot in self._sites[index].outs:
                self.values[slot][item] = failure
            if self.demand is not None:
                self.demand.settled(self._sites[index], item)
            elif self._tracks:
                self.frames.resolved(self._sites[index], item)
            pending.extend(self._followers[index])

    def _release(self, index: int) -> None:
        self._running[index] -= 1
        held = self._held.get(index)
        if held:
            heappush(self._heap, held.pop(0) * self._count + index)

    def _inner_done(self, made: InnerResult) -> tuple[Any, BaseException | None, NodeFailure | None]:
        if made.recorded is not None:
            made.recorded.replay(self.frames.tell)
        add_tally(self._inner_tally, made.tally)
        if made.values is None:
            return None, None, made.failure
        self.failures.extend(made.failures)
        values = made.values
        return (values[0] if len(values) == 1 else values), None, None

    @property
    def tell(self) -> events.Tell:
        """Who takes the events of this block."""
        return self.frames.tell

    def broke_off(self, call: Call) -> None:
        """Tell that a call was cut short because the run ends; what reads from a cache was never told of."""
        if not call.attempt:
            return
        for item in call.item if type(call.item) is list else (call.item,):
            self._cut_short(call.site, item, call.attempt)

    def _cut_short(self, site: Site, item: int, attempt: int) -> None:
        index = self.frames.index(item)
        if site.inner is not None:
            if site.wanted & events.NESTED_END:
                self.frames.tell(events.NESTED_END, self.job.key, site.index, index, self.outer, time(), 1, 0.0)
        elif site.wanted & events.ERROR:
            path = self.outer if index is None else (*self.outer, index)
            failure = NodeFailure(site.id, self.job.pipeline, path, {}, RunEndedError("the run ended before the node did"), attempt)
            self.frames.tell(events.ERROR, self.job.key, site.index, index, self.outer, time(), attempt, failure)

    def close(self) -> None:
        """End what a failure left open, so that every start that was told has its end."""
        self.frames.close(self.opened)

    # -- the end --------------------------------------------------------------------------------------------------

    def tally(self) -> Tally:
        """Return the counts of each node."""
        total: Tally = {node: [0, 0, 0, 0.0, 0] for node in self.job.node_ids}
        for site in self._sites:
            if site.inner is None:
                k = site.index
                cached, kept = (0, 0) if self.demand is None else (self.demand.counts(k), self.demand.keeper.bytes[k])
                total[site.id] = [cached, self.ran[k], self.failed[k], self.seconds[k], kept]
            elif self.demand is not None:
                add_tally(total, self.demand.inner_counts(site.index))
        add_tally(total, self._inner_tally)
        return total

    def columns(self) -> list[Sequence[Any]]:
        """Return the values of the requested outputs."""
        columns = []
        for _, slot in self.job.program.outputs:
            column = self.values[slot]  # None: an optional input that comes out again and was not given
            columns.append(column if column is not None else [self.job.slot_used(slot)] * self.size)
        return columns

    def result(self, index: int = 0, seconds: float = 0.0) -> BlockResult:
        """Return what became of the block."""
        self.close()
        failure = self.failure if self.on_error == "raise" else None
        result = BlockResult(index, self.size, self.columns(), self.failures, failure, self.tally(), seconds)
        if self.demand is not None and self.demand.lookup.pieces:
            result.entries = self.demand.refs.entries_of_outputs()
        return result

    def let_go(self) -> None:
        """Break the circles that the block is part of: all that is known of its items goes with it, not at the next collection."""
        if self.demand is not None:
            self.demand.give_up()
        self.demand = self.frames.who = None
