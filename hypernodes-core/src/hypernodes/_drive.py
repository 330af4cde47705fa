"""Drivers: they make the calls that a block says are ready. Sequential, over an executor, or as coroutines."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Mapping
from time import perf_counter, sleep
from typing import TYPE_CHECKING, Any

import attrs

from hypernodes import events
from hypernodes._block import Block, BlockResult, Call, Outcome
from hypernodes._coroutines import Coroutines
from hypernodes._failures import NodeFailure
from hypernodes._items import count_items
from hypernodes._job import Job, Site
from hypernodes._program import InnerStep
from hypernodes.errors import NodeTimeoutError
from hypernodes.results import Tally

if TYPE_CHECKING:
    import asyncio
    from concurrent.futures import Executor, Future


@attrs.define(eq=False)
class Surroundings:
    """What calls find around them in this thread.

    Attributes:
        coroutines: The event loop for coroutine nodes.
        carrier: Text that callbacks sent along with the task.
    """

    coroutines: Coroutines
    carrier: Mapping[str, str] = attrs.field(factory=dict)


_HERE = threading.local()


@contextlib.contextmanager
def surroundings(coroutines: Coroutines | None = None, carrier: Mapping[str, str] | None = None) -> Any:
    """Give calls of this thread an event loop and a carrier until the end of the block."""
    before = getattr(_HERE, "now", None)
    own = Coroutines() if coroutines is None else None
    _HERE.now = Surroundings(coroutines or own, carrier or {})  # type: ignore[arg-type]
    try:
        yield
    finally:
        _HERE.now = before
        if own is not None:
            own.close()


def current_carrier() -> Mapping[str, str]:
    """Return the text that callbacks sent along to this thread."""
    now: Surroundings | None = getattr(_HERE, "now", None)
    return now.carrier if now is not None else {}


def _run_coroutine(make: Callable[[], Any]) -> Any:
    now: Surroundings | None = getattr(_HERE, "now", None)
    if now is not None:
        return now.coroutines.run(make)
    with Coroutines() as coroutines:
        return coroutines.run(make)


# -- making a call --------------------------------------------------------------------------------------------------


def perform(call: Call) -> Outcome:
    """Make a call here and return its outcome. Whatever is no ``Exception`` (Ctrl-C, exit) goes through."""
    site = call.site
    if call.delay:
        sleep(call.delay)
    if call.gate is not None:
        with call.gate:
            return _performed(call, site)
    return _performed(call, site)


def _performed(call: Call, site: Site) -> Outcome:
    start = perf_counter()
    try:
        if site.guarded:
            value = _guarded(call)
        elif call.kwargs is None:
            value = call.function(*call.args)
        else:
            value = call.function(*call.args, **call.kwargs)
    except Exception as error:  # noqa: BLE001 - a node may raise anything; the block decides what becomes of it
        end = perf_counter()
        return None, error, start + events.EPOCH, end - start
    end = perf_counter()
    return value, None, start + events.EPOCH, end - start


def _guarded(call: Call) -> Any:
    site, limit, carrier = call.site, call.site.rule.timeout, current_carrier()
    kwargs = call.kwargs or {}
    with _scopes(call, carrier):
        if site.is_async:
            return _run_coroutine(lambda: _limited(call.function(*call.args, **kwargs), site, limit))
        if limit is None:
            return call.function(*call.args, **kwargs)
        return _abandonable(lambda: call.function(*call.args, **kwargs), site, limit)


def _scopes(call: Call, carrier: Mapping[str, str]) -> contextlib.ExitStack:
    """Enter every node scope; one that fails is named once and left out."""
    stack = contextlib.ExitStack()
    item = call.item if isinstance(call.item, int) else None
    for scope in call.site.scopes:
        try:
            stack.enter_context(scope.enter(call.site.id, item, carrier))
        except Exception as error:  # noqa: BLE001 - a fault of a listener never changes a result
            _warn_scope(scope, error)
    return stack


def _warn_scope(scope: Any, error: Exception) -> None:
    import warnings

    from hypernodes.errors import CallbackWarning

    name = f"{type(scope).__module__}.{type(scope).__qualname__}"
    warnings.warn(f"node scope {name} raised {type(error).__name__}: {error}; the node runs without it", CallbackWarning, stacklevel=2)


def _timed_out(site: Site, limit: float) -> NodeTimeoutError:
    return NodeTimeoutError(f"node '{site.id}' took longer than its timeout of {limit:g} s")


async def _limited(awaitable: Any, site: Site, limit: float | None) -> Any:
    """Await under the node's time limit; the coroutine is cancelled when it runs out."""
    if limit is None:
        return await awaitable
    import asyncio

    timer = asyncio.timeout(limit)
    try:
        async with timer:
            return await awaitable
    except TimeoutError:
        if timer.expired():
            raise _timed_out(site, limit) from None
        raise


def _abandonable(work: Callable[[], Any], site: Site, limit: float) -> Any:
    """Run on a daemon helper thread; when time runs out, leave it behind and never take its late result."""
    import contextvars

    box: list[tuple[Any, BaseException | None]] = []
    context = contextvars.copy_context()

    def run() -> None:
        try:
            box.append((context.run(work), None))
        except BaseException as error:  # noqa: BLE001 - handed to the waiting thread
            box.append((None, error))

    helper = threading.Thread(target=run, name=f"hypernodes-{site.name}", daemon=True)
    helper.start()
    helper.join(limit)
    if not box:
        raise _timed_out(site, limit)
    value, error = box[0]
    if error is not None:
        raise error
    return value


async def aperform(call: Call) -> Outcome:
    """Make a call on the running event loop: coroutines are awaited, plain functions are called in place."""
    import asyncio

    site = call.site
    if call.delay:
        await asyncio.sleep(call.delay)
    start = perf_counter()
    try:
        if isinstance(call.function, InnerCall):
            value = await call.function.arun(*call.args)
        elif site.is_async:
            with _scopes(call, current_carrier()):
                value = await _limited(call.function(*call.args, **(call.kwargs or {})), site, site.rule.timeout)
        else:
            value, error, started, seconds = perform(call)
            if error is not None:
                return None, error, started, seconds
    except Exception as error:  # noqa: BLE001 - a node may raise anything; the block decides what becomes of it
        return None, error, start + events.EPOCH, perf_counter() - start
    return value, None, start + events.EPOCH, perf_counter() - start


# -- the three drivers ----------------------------------------------------------------------------------------------


def drive(block: Block, call: Callable[[Call], Outcome] = perform) -> BlockResult:
    """Run a block in this thread, one call after another: earliest item first, in the order of the program."""
    start = perf_counter()
    ready, done = block.ready, block.done
    try:
        if block.straight and call is perform:
            block.run_straight()
            return block.result(seconds=perf_counter() - start)
        while calls := ready(1):
            done(calls[0], *call(calls[0]))
    except BaseException:
        block.close()
        raise
    return block.result(seconds=perf_counter() - start)


def drive_pool(block: Block, executor: Executor, limit: int, call: Callable[[Call], Outcome] = perform) -> BlockResult:
    """Run a block over an executor, at most ``limit`` calls at a time; the state machine stays in this thread."""
    from concurrent.futures import FIRST_COMPLETED, wait

    start = perf_counter()
    carrier = current_carrier()
    if carrier:
        call = functools.partial(_carried, call, dict(carrier))
    running: dict[Future[Outcome], Call] = {}
    try:
        while True:
            for ready in block.ready(limit - len(running)) if len(running) < limit else ():
                running[executor.submit(call, ready)] = ready
            if not running:
                break
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                made = running.pop(future)
                error = future.exception()
                if error is not None and not isinstance(error, Exception):
                    raise error
                block.done(made, *(future.result() if error is None else (None, error, 0.0, 0.0)))
    except BaseException:
        for future in running:
            future.cancel()
        block.close()
        raise
    return block.result(seconds=perf_counter() - start)


def _carried(call: Callable[[Call], Outcome], carrier: Mapping[str, str], ready: Call) -> Outcome:
    """Make a call in a worker of a pool, which does not know what surrounds the driver."""
    with surroundings(carrier=carrier):
        return call(ready)


async def adrive(block: Block, limit: int, call: Callable[[Call], Any] = aperform) -> BlockResult:
    """Run a block on the running event loop, at most ``limit`` calls at a time."""
    import asyncio

    start = perf_counter()
    running: dict[asyncio.Task[Outcome], Call] = {}
    try:
        while True:
            for ready in block.ready(limit - len(running)) if len(running) < limit else ():
                running[asyncio.ensure_future(call(ready))] = ready
            if not running:
                break
            finished, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in finished:
                block.done(running.pop(task), *task.result())
    except BaseException:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        block.close()
        raise
    return block.result(seconds=perf_counter() - start)


# -- nested pipelines -----------------------------------------------------------------------------------------------


@attrs.define(eq=False)
class InnerResult:
    """What became of a nested pipeline.

    Attributes:
        values: One value per output of its step; ``None`` when it failed as a whole.
        failures: Failures that were returned as values.
        failure: The failure that stopped it.
        tally: Counts per node.
        recorded: Events that were not told while they happened.
    """

    values: list[Any] | None
    failures: list[NodeFailure]
    failure: NodeFailure | None
    tally: Tally
    recorded: events.Recorder | None


class InnerCall:
    """Runs a nested pipeline as a block of its own: exploded, run, gathered.

    Args:
        step: The step.
        site: Its site; ``site.inner`` is the job to run.
        outer: Indices of the maps around it.
        tell: Who takes events, in the thread that drives the outer block.
        remote: Whether values in events are replaced by summaries.
        limits: Whatever spreads rate-limited calls over the run.
    """

    def __init__(self, step: InnerStep, site: Site, outer: tuple[int, ...], tell: events.Tell | None, remote: bool, limits: Any) -> None:  # noqa: FBT001 - internal
        self.step = step
        self.job: Job = site.inner  # type: ignore[assignment]
        self.outer = outer
        self.tell = tell
        self.remote = remote
        self.limits = limits
        self.thread = threading.get_ident()

    def __call__(self, *args: Any) -> InnerResult:
        """Run it in this thread, or on its own engine."""
        block, recorder = self._block(args)
        start = perf_counter()
        self._map_starts(block)
        result = drive(block) if self.job.engine is None else self.job.engine.run_inner(block)
        return self._gathered(block, result, recorder, args, perf_counter() - start)

    async def arun(self, *args: Any) -> InnerResult:
        """Run it on the running event loop."""
        if self.job.engine is not None:
            return self(*args)
        block, recorder = self._block(args)
        start = perf_counter()
        self._map_starts(block)
        return self._gathered(block, await adrive(block, 1), recorder, args, perf_counter() - start)

    def _block(self, args: tuple[Any, ...]) -> tuple[Block, events.Recorder | None]:
        recorder = None
        tell = self.tell
        if tell is None or threading.get_ident() != self.thread:
            tell = recorder = events.Recorder()
        given = dict(zip(self.step.inputs, args, strict=True))
        given = {name: value for name, value in given.items() if not _is_missing(value)}
        size = 1
        if self.step.mapped:
            columns, size = count_items(self.step.mapped, given, self.step.mode, f"nested pipeline '{self.step.id}'")
            given.update(columns)
        block = Block(
            self.job,
            size,
            given,
            self.step.mapped,
            on_error=self.step.on_error,
            tell=tell,
            outer=self.outer,
            is_map=bool(self.step.mapped),
            remote=self.remote,
            limits=self.limits,
        )
        return block, recorder

    def _map_starts(self, block: Block) -> None:
        if self.step.mapped and self.job.wanted[0] & events.MAP_START:
            block.tell(events.MAP_START, self.job.key, ~0, None, self.outer, perf_counter() + events.EPOCH, 1, block.size)

    def _gathered(
        self, block: Block, result: BlockResult, recorder: events.Recorder | None, args: tuple[Any, ...], seconds: float
    ) -> InnerResult:
        step = self.step
        if step.mapped and self.job.wanted[0] & events.MAP_END:
            block.tell(events.MAP_END, self.job.key, ~0, None, self.outer, perf_counter() + events.EPOCH, 1, seconds)
        failure = result.failure
        if failure is not None:
            return InnerResult(None, result.failures, failure, result.tally, recorder)
        values: list[Any] = []
        columns = dict(zip((name for name, _ in self.job.program.outputs), result.columns, strict=True))
        for name in step.results:
            if name in columns:
                values.append(list(columns[name]) if step.mapped else columns[name][0])
            elif name in step.mapped:
                values.append(list(block.given[name]))
            else:
                value = args[step.inputs.index(name)]
                values.append([value] * block.size if step.mapped else value)
        return InnerResult(values, result.failures, None, result.tally, recorder)

    def __reduce__(self) -> tuple[Any, ...]:
        return (_unpacked_inner, (self.step, self.job, self.outer, self.remote))


def _unpacked_inner(step: InnerStep, job: Job, outer: tuple[int, ...], remote: bool) -> InnerCall:  # noqa: FBT001 - internal
    call = InnerCall.__new__(InnerCall)
    call.step, call.job, call.outer, call.remote = step, job, outer, remote
    call.tell, call.limits, call.thread = None, None, 0
    return call


def _is_missing(value: Any) -> bool:
    from hypernodes.node import NO_DEFAULT

    return value is NO_DEFAULT
