"""One call of a pipeline on an engine: blocks out, results in order, errors, events."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import attrs

from hypernodes import events
from hypernodes._coroutines import Coroutines
from hypernodes._drive import current_carrier
from hypernodes._failures import NodeFailure, grouped
from hypernodes._items import Items
from hypernodes._limits import Limits, Shared
from hypernodes._messages import TEXT_LIMIT, counted, picture
from hypernodes.callbacks import RunInfo
from hypernodes.engines._source import Beside, Source
from hypernodes.engines._streams import Streams
from hypernodes.engines.base import EngineRun
from hypernodes.engines.sizing import LONGEST, Sizer
from hypernodes.engines.task import Common, Task
from hypernodes.errors import HyperNodesError, TooManyFailuresError
from hypernodes.results import AGAIN, Tally, add_tally, columns_of, new_run_id

if TYPE_CHECKING:
    from types import TracebackType

    from hypernodes._block import Block
    from hypernodes._calls import BlockResult
    from hypernodes._dispatch import Dispatcher
    from hypernodes._job import Job
    from hypernodes._lookup import Lookup
    from hypernodes._pieces import Piece, Pieces
    from hypernodes.engines._aside import Caller
    from hypernodes.engines._probe import Probe
    from hypernodes.engines.base import Engine

PROBED = 1024  # items that are looked up together, where they would have to travel
PATIENCE_S = 0.02  # a block is cut when collecting its items took longer
CACHED_LONGEST = 128  # items of a block with a cache in the caller's thread: what is known of each dies young
BATCH_FIRST = 1024  # items of the first block where a batch twin wants many and nothing waits for them


@attrs.define(eq=False)
class Request:
    """What to run.

    Attributes:
        kind: ``"run"``, ``"map"`` or ``"imap"``.
        constants: Inputs that are the same for every item.
        values: Mapped inputs.
        mode: ``"zip"`` or ``"product"``.
        total: Number of items, where known.
        on_error: ``"raise"`` or ``"return"``.
        max_failures: Failed items after which the run gives up.
        ordered: Whether results come in the order of the items.
        window: The most items in flight; ``None`` for the engine's choice.
        label: Name of the input, or a function of the mapped values, that labels an item.
        waits: Whether taking an item may take time.
        keep: Whether the mapped values are kept for the result.
        caller: Whoever awaits the run on an event loop; ``None`` where a thread waits for it.
    """

    kind: str
    constants: Mapping[str, Any]
    values: Mapping[str, Any] = attrs.field(factory=dict)
    mode: str = "zip"
    total: int | None = None
    on_error: str = "raise"
    max_failures: int | None = None
    ordered: bool = True
    window: int | None = None
    label: Any = None
    waits: bool = False
    keep: bool = True
    caller: Caller | None = None


class Execution:
    """One call at work; a context manager around ``results``.

    Attributes:
        tally: Counts per node so far.
        failures: Every failed call so far, in the order of the blocks.
        blocks: Of each block, the index of its first item and the columns of mapped values, where they are kept.
        done: Items finished so far.
        outer: Indices of the maps around this one.
        common: What its tasks have in common, once there are any.
        shared: What its blocks share in this process.
        streams: Takes events that workers send ahead of their results; ``None`` where nobody listens.
    """

    def __init__(
        self, engine: Engine, job: Job, info: RunInfo, request: Request, dispatcher: Dispatcher | None, lookup: Lookup | None = None
    ) -> None:
        self.engine = engine
        self.job = job
        self.info = info
        self.request = request
        self.dispatcher = dispatcher
        self.tally: Tally = {}
        self.failures: list[NodeFailure] = []
        self.blocks: dict[int, tuple[int, list[list[Any]]]] = {}
        self.done = 0
        self.outer: tuple[int, ...] = ()
        self.lookup = lookup if lookup is not None else looked_up(job, info) if job.cached else None
        self.common: Common | None = None
        self.shared = Shared(Limits(engine.capabilities.resources))
        self.streams = None if dispatcher is None else Streams(dispatcher.replay)
        self._coroutines = Coroutines(None if request.caller is None else request.caller.loop)
        if request.caller is not None:
            request.caller.stops += (self.shared.stop, self._coroutines.cancel)
        self._made = 0
        self._started = time.perf_counter()
        self._failing: BaseException | None = None
        self._result: Any = None
        self._found: dict[int, BlockResult] = {}  # results that wait for those before them
        self._pieces: Pieces | None = None
        self._failed_rows: dict[int, dict[str, Any]] = {}  # mapped values of failed items, where only so many may fail

    @property
    def seconds(self) -> float:
        """Wall-clock time since the start."""
        return time.perf_counter() - self._started

    # -- frames ---------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        if self.dispatcher is not None:
            try:
                self.dispatcher.start()
                if self.request.kind != "run":
                    self._tell_map(events.MAP_START, self.request.total)
            except BaseException as error:
                self.dispatcher.end(error, self.seconds)
                raise
        return self

    def finish(self, result: Any) -> Any:
        """Note what the call returns, for ``on_run_end``."""
        self._result = result
        return result

    def close(self) -> None:
        """Let go of what the run held."""
        self._coroutines.close()
        if self.lookup is not None:
            self.lookup.notes.flush()
            self.lookup.notes.tell_strangers(self.lookup)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
        if self.dispatcher is not None:
            try:
                if self.request.kind != "run":
                    self._tell_map(events.MAP_END, self.seconds)
            except BaseException as strict:
                self.dispatcher.end(strict, self.seconds)
                raise
            abandoned = isinstance(error, GeneratorExit)  # a stream that nobody wants more of has not failed
            self.dispatcher.end(self._result if error is None or abandoned else error, self.seconds)
        self._result = None  # the result refers to this call; a cycle would keep a million items alive until the next collection

    def _tell_map(self, kind: int, first: Any) -> None:
        if self.dispatcher is not None and self.job.wanted[0] & kind:
            self.dispatcher.tell(kind, (), ~0, None, (), time.time(), 1, first)

    # -- blocks ---------------------------------------------------------------------------------------------------

    def results(self) -> Generator[BlockResult, None, None]:
        """Run everything; yield the result of each block, in order unless the request says otherwise.

        Raises:
            Exception: What a node raised, with a note, under ``on_error="raise"``.
            TooManyFailuresError: If more items failed than ``max_failures``.
        """
        request, capabilities = self.request, self.engine.capabilities
        window = 1 if self.engine.in_caller else 2 * capabilities.workers + 2
        limit = LONGEST
        if request.window is not None:
            window = max(1, min(window, request.window))
            limit = max(1, request.window // window)
        elif request.kind == "imap":
            limit = (BATCH_FIRST // 4 if self.job.has_batches else 1) if self.engine.in_caller else 64
        if self.lookup is not None and self.engine.in_caller and not self.job.has_batches:
            limit = min(limit, CACHED_LONGEST)
        batched = self.engine.in_caller and self.job.has_batches
        sizer = Sizer(capabilities.workers, capabilities.task_overhead_s, request.total, BATCH_FIRST if batched else 1, limit)
        in_order = request.ordered and request.kind != "map"  # a map waits for all of its blocks in any case, and fails at once
        run = EngineRun(self.info, in_order, window, self.tick, self)
        source = Source(self._tasks(sizer))
        stream = iter(self.engine.execute(run, source))
        waiting = self._found
        expected = 0
        try:
            for result in stream:
                sizer.measured(result.size, result.seconds)
                if self._pieces is not None:
                    self._pieces.take(result)
                if not request.ordered:
                    yield self._taken(result)
                    expected += 1
                    continue
                if result.failure is not None and not in_order:
                    yield self._taken(result)
                    return
                waiting[result.index] = result
                while expected in waiting:
                    yield self._taken(waiting.pop(expected))
                    expected += 1
            while expected in waiting:  # whole pieces at the end
                yield self._taken(waiting.pop(expected))
                expected += 1
        except BaseException:
            self.shared.stop()
            raise
        finally:
            close = getattr(stream, "close", None)
            if close is not None:
                close()
            source.close()
            if self.streams is not None:
                self.streams.close()
        if expected != self._made:
            msg = f"engine '{self.engine.name}' gave results of {expected} blocks and was given {self._made}"
            raise HyperNodesError(msg)

    def tick(self) -> None:
        """Tell what workers sent ahead of their results.

        Raises:
            CancelledError: Nobody awaits the run any more.
        """
        self._check()
        if self.streams is not None:
            self.streams.tell()

    def _check(self) -> None:
        """Give a run up that nobody awaits any more.

        Raises:
            CancelledError: Then.
        """
        if self.request.caller is not None and self.request.caller.cancelled:
            from concurrent.futures import CancelledError

            raise CancelledError

    def _carrier(self) -> dict[str, str]:
        """Return the text that callbacks send to workers."""
        return dict(self.dispatcher.ctx.carrier) if self.dispatcher is not None else {}

    def _tasks(self, sizer: Sizer) -> Iterator[Task | None]:
        request = self.request
        common = self.common = Common(
            self.info.run_id,
            self.job,
            request.constants,
            tuple(request.values),
            request.kind != "run",
            request.on_error,
            self.outer,
            self._carrier(),
            self.lookup,
            mode=request.mode,
            counted=tuple(self.engine.capabilities.resources or ()),
        )
        if not self.engine.capabilities.shares_memory:
            if self.engine.linked:
                from hypernodes.engines._far import as_references

                common.travelling = as_references
            common.packed()  # what cannot travel is told before anything runs
        if request.kind == "run":
            yield self._task(common, sizer, 0, 1, {})
            return
        items = Items(request.values, request.mode, f"map of pipeline '{self.info.pipeline}'")
        first = 0
        pieces, probe = self._pieces_of(request, items), self._probe()
        while pieces is not None:
            columns = items.take(pieces.length)
            size = len(columns[0])
            if not size:
                return
            yield from self._piece(pieces, common, sizer, first, dict(zip(items.names, columns, strict=True)), probe)
            first += size
        while probe is not None:
            columns = items.take(PROBED)
            size = len(columns[0])
            if not size:
                return
            yield from self._cut(common, sizer, first, dict(zip(items.names, columns, strict=True)), probe)
            first += size
        patience = PATIENCE_S if request.waits else None
        beside = Beside(items, patience) if request.waits and not self.engine.in_caller else None
        while True:
            taken = items.take(sizer.next(), patience) if beside is None else beside.take(sizer.next())
            if taken is None:
                yield None
                continue
            columns = taken
            size = len(columns[0])
            if not size:
                return
            self.blocks[self._made] = (first, columns)
            yield self._task(common, sizer, first, size, dict(zip(items.names, columns, strict=True)))
            first += size

    def _pieces_of(self, request: Request, items: Items) -> Pieces | None:
        """Return the pieces of a map that a cache may answer whole."""
        if request.kind != "map" or self.lookup is None or request.waits or not request.ordered or self.outer:
            return None
        from hypernodes._pieces import Pieces

        self._pieces = Pieces.of(self.lookup, request.constants, items.names, request.total)
        self.lookup.pieces = self._pieces is not None
        return self._pieces

    def _probe(self) -> Probe | None:
        """Return who looks up here what would have to travel."""
        request = self.request
        if self.lookup is None or request.kind != "map" or request.waits or self.engine.in_caller or self.engine.capabilities.shares_memory:
            return None
        from hypernodes.engines._probe import Probe

        return Probe()

    def _piece(
        self, pieces: Pieces, common: Common, sizer: Sizer, first: int, columns: dict[str, list[Any]], probe: Probe | None
    ) -> Iterator[Task]:
        """Take a piece from the cache, or yield the tasks that make it."""
        from hypernodes._calls import BlockResult

        size = len(next(iter(columns.values())))
        keys = pieces.keys(list(columns.values()))
        found = pieces.find(keys) if keys is not None else None
        if found is not None:
            values, counts = found
            self.blocks[self._made] = (first, list(columns.values()))
            tally: Tally = {node: [count, 0, 0, 0.0, 0] for node, count in counts.items()}
            self._found[self._made] = BlockResult(self._made, size, list(values), tally=tally)
            self._made += 1
            return
        piece = pieces.begin(keys) if keys is not None else None
        yield from self._cut(common, sizer, first, columns, probe, piece)
        if piece is not None:
            pieces.close(piece)

    def _cut(
        self,
        common: Common,
        sizer: Sizer,
        first: int,
        columns: dict[str, list[Any]],
        probe: Probe | None,
        piece: Piece | None = None,
    ) -> Iterator[Task]:
        """Cut items into tasks, unless they are found here and now."""
        size, pieces = len(next(iter(columns.values()))), self._pieces
        if probe is not None and (found := probe.found(Task(common, self._made, first, size, columns))) is not None:
            self.blocks[self._made] = (first, list(columns.values()))
            self._found[self._made] = found
            if pieces is not None and piece is not None:
                pieces.expect(piece, self._made)
                pieces.take(found)
            self._made += 1
            return
        done = 0
        while done < size:
            part = {name: column[done : done + sizer.next()] for name, column in columns.items()}
            count = len(next(iter(part.values())))
            self.blocks[self._made] = (first + done, list(part.values()))
            if pieces is not None and piece is not None:
                pieces.expect(piece, self._made)
            yield self._task(common, sizer, first + done, count, part)
            done += count

    def _task(self, common: Common, sizer: Sizer, first: int, size: int, columns: dict[str, list[Any]]) -> Task:
        import threading

        self._check()
        task = Task(common, self._made, first, size, columns)
        self._made += 1
        task.tell = self.dispatcher.tell if self.dispatcher is not None else None
        task.coroutines, task.shared, task.thread = self._coroutines, self.shared, threading.get_ident()
        task.streams, task.slow = self.streams, sizer.slow
        return task

    def _taken(self, result: BlockResult) -> BlockResult:
        """Take a block's result: tell its events, count, and decide about its failures."""
        if result.recorded is not None and self.streams is not None:
            self.streams.rest(result.index, result.recorded)
        add_tally(self.tally, result.tally)
        if result.failures:
            self._label(result)
            self.failures.extend(sorted(result.failures, key=lambda failure: failure.item_path))
            if self.request.max_failures is not None:
                failed = {failure.item_path[0] for failure in result.failures if failure.item_path}
                self._failed_rows.update((item, self._row(result.index, item)) for item in failed)
        if result.failure is not None:
            raise_failure(result.failure, self._advice(result))
        self.done += result.size
        limit = self.request.max_failures
        if limit is not None and len(self._failed_rows) > limit:
            raise self._too_many(limit)
        if not self.request.keep:
            self.blocks.pop(result.index, None)
        return result

    # -- failures -------------------------------------------------------------------------------------------------

    def _row(self, block: int, item: int) -> dict[str, Any]:
        """Return the mapped values of an item; empty where they are not kept."""
        if block not in self.blocks:
            return {}
        first, columns = self.blocks[block]
        return {name: column[item - first] for name, column in zip(self.request.values, columns, strict=True)}

    def _label(self, result: BlockResult) -> None:
        label = self.request.label
        if label is None:
            return
        for failure in result.failures:
            row = {**self.job.bound_inputs, **self.request.constants, **self._row(result.index, failure.item_path[0])}
            try:
                failure.label = str(label(row) if callable(label) else row[label] if label in row else self.job.value_used(label))
            except Exception as error:  # noqa: BLE001 - a label is for people; its fault must not hide the failure
                failure.label = f"label raised {type(error).__name__}"

    def _advice(self, result: BlockResult) -> str:
        lines = []
        failure = result.failure
        item = failure.item if failure is not None and self.request.kind != "run" else None
        shown = {name: picture(value) for name, value in self.request.constants.items()}
        if item is not None:
            total = f" of {self.request.total:,}" if self.request.total is not None else ""
            done = self.done
            done += sum(other.size for other in self._found.values())  # those after it
            if result.index in self.blocks and not self.job.has_batches:  # a block goes through its items one after another
                done += item - self.blocks[result.index][0]
            lines.append(f"{done:,}{total} items were finished before{self._kept()}; on_error='return' goes on past failures")
            shown.update({name: picture(value) for name, value in self._row(result.index, item).items()})
        arguments = ", ".join(f"{name!r}: {text}" for name, text in shown.items())
        if len(arguments) <= 2 * TEXT_LIMIT and failure is not None and failure.together == 1:
            lines.append(f"reproduce: pipeline.run({{{arguments}}})")
        return "\n  ".join(lines)

    def _too_many(self, limit: int) -> TooManyFailuresError:
        total = f" of {self.request.total:,}" if self.request.total is not None else ""
        made = counted(self.done - len(self._failed_rows), "item")
        lines = [
            f"{len(self._failed_rows):,}{total} items failed, more than max_failures={limit}:",
            *grouped(self.failures),
            f"{made} made{self._kept()}; the failures are in this error's .failures",
        ]
        error = TooManyFailuresError("")
        error.failures = tuple(self.failures)
        rows = self._failed_rows
        error.failed_inputs = columns_of(list(self.request.values), [rows[item] for item in sorted(rows)])
        if error.failed_inputs:
            lines.append(AGAIN.format(result="error", names=", ".join(map(repr, error.failed_inputs))))
        error.args = ("\n  ".join(lines),)
        return error

    def _kept(self) -> str:
        """Say what the cache has of a run that ends early."""
        return "" if self.lookup is None else "; the cache has what is finished, and the same call goes on from there"


def looked_up(job: Job, info: RunInfo) -> Lookup:
    """Work out who each step of a job is."""
    from hypernodes._lookup import Lookup, RunNotes

    return Lookup(job, RunNotes(info.run_id, info.pipeline))


def raise_failure(failure: NodeFailure, advice: str) -> None:
    """Raise what the node raised, as itself, with a note that says where."""
    failure.annotate(advice)
    raise failure.error


def run_info(pipeline: str, request: Request, engine: Engine, outputs: Sequence[str]) -> RunInfo:
    """Return what callbacks and engines are told of a run."""
    return RunInfo(new_run_id(), pipeline, request.kind, engine.name, request.total, tuple(outputs), time.time())


def run_inner(engine: Engine, block: Block) -> BlockResult:
    """Run a nested pipeline on its own engine; its events join those of the run around it."""
    from hypernodes._calls import BlockResult

    job, mapped = block.job, block.mapped
    constants = {name: value for name, value in block.given.items() if name not in mapped}
    kind = "map" if mapped else "run"
    request = Request(kind, constants, {name: block.given[name] for name in mapped}, total=block.size, on_error=block.on_error, keep=False)
    info = run_info(job.pipeline, request, engine, [name for name, _ in job.program.outputs])
    execution = _InnerExecution(engine, job, info, request, block)
    columns: list[list[Any]] = [[] for _ in job.program.outputs]
    failure = None
    try:
        with contextlib.closing(execution.results()) as results:
            for result in results:
                if result.failure is not None:
                    failure = result.failure
                    break
                for column, part in zip(columns, result.columns, strict=True):
                    column.extend(part)
    finally:
        execution.close()
    tally, failures = execution.tally, execution.failures
    return BlockResult(0, block.size, columns, failures, failure, tally, execution.seconds)  # type: ignore[arg-type]


class _InnerExecution(Execution):
    """The same for a nested pipeline: events go to the block around it, failures are left to it."""

    def __init__(self, engine: Engine, job: Job, info: RunInfo, request: Request, block: Block) -> None:
        super().__init__(engine, job, info, request, None, None if block.demand is None else block.demand.lookup)
        self.block = block
        self.outer = block.outer
        if block.shared is not None:
            self.shared = block.shared.inner()
        self.streams = Streams(lambda recorder: recorder.replay(block.tell)) if any(job.wanted) else None

    def _carrier(self) -> dict[str, str]:
        return dict(current_carrier())

    def _task(self, common: Common, sizer: Sizer, first: int, size: int, columns: dict[str, list[Any]]) -> Task:
        task = super()._task(common, sizer, first, size, columns)
        task.tell, task.remote = self.block.tell, self.block.remote
        return task

    def _taken(self, result: BlockResult) -> BlockResult:
        if result.recorded is not None and self.streams is not None:
            self.streams.rest(result.index, result.recorded)
        add_tally(self.tally, result.tally)
        self.failures.extend(result.failures)
        self.done += result.size
        return result
