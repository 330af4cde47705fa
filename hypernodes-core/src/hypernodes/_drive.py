"""Drivers: they make the calls that a block says are ready. Sequential, over an executor, or as coroutines."""

from __future__ import annotations

import contextlib
import functools
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from time import perf_counter, sleep
from typing import TYPE_CHECKING, Any

import attrs

from hypernodes import events
from hypernodes._block import Block
from hypernodes._calls import BlockResult, Call, InnerCall, InnerResult, Outcome, called
from hypernodes._coroutines import Coroutines
from hypernodes._job import Site
from hypernodes._nested import Nested
from hypernodes.errors import NodeTimeoutError

if TYPE_CHECKING:
    import asyncio
    from concurrent.futures import Executor, Future

GATE_POLL_S = 0.002


@attrs.define(eq=False)
class Surroundings:
    """What calls find around them in this thread.

    Attributes:
        coroutines: The event loop for coroutine nodes.
        carrier: Text that callbacks sent along with the task.
        broken: Node scopes that failed here and are left out from then on.
    """

    coroutines: Coroutines
    carrier: Mapping[str, str] = attrs.field(factory=dict)
    broken: list[Any] = attrs.field(factory=list)


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
    if call.delay:
        sleep(call.delay)
    if call.gate is not None:
        with call.gate:
            return _performed(call, call.site)
    return _performed(call, call.site)


def _performed(call: Call, site: Site) -> Outcome:
    return called(_guarded, (call,)) if site.guarded else called(call.function, call.args, call.kwargs)


def _guarded(call: Call) -> Any:
    if isinstance(call.function, InnerCall):
        return _run_nested(call.function, tuple(call.args))
    site, limit, carrier = call.site, call.site.rule.timeout, current_carrier()
    kwargs = call.kwargs or {}
    with _scopes(call, carrier):
        if site.is_async:
            return _run_coroutine(lambda: _limited(call.function(*call.args, **kwargs), site, limit))
        if limit is None:
            return call.function(*call.args, **kwargs)
        return _abandonable(lambda: call.function(*call.args, **kwargs), site, limit)


@contextlib.contextmanager
def _scopes(call: Call, carrier: Mapping[str, str]) -> Iterator[None]:
    """Put the node scopes around a call. Their faults change nothing: neither what they raise nor what they would hide."""
    entered: list[tuple[Any, Any]] = []
    now: Surroundings | None = getattr(_HERE, "now", None)
    for scope in call.site.scopes:
        if now is not None and any(scope is known for known in now.broken):
            continue
        try:
            manager = scope.enter(call.site.id, call.index, carrier)
            manager.__enter__()
            entered.append((scope, manager))
        except Exception as error:  # noqa: BLE001 - a fault of a listener never changes a result
            _warn_scope(scope, error, now)
    raised: Any = (None, None, None)
    try:
        yield
    except BaseException:
        raised = sys.exc_info()
        raise
    finally:
        for scope, manager in reversed(entered):
            try:
                manager.__exit__(*raised)
            except Exception as error:  # noqa: BLE001 - as above
                if error is not raised[1]:
                    _warn_scope(scope, error, now)


def _warn_scope(scope: Any, error: Exception, now: Surroundings | None) -> None:
    """Name a scope that failed, and leave it out of what else runs here."""
    import warnings

    from hypernodes.errors import CallbackWarning

    if now is not None:
        now.broken.append(scope)
    name = f"{type(scope).__module__}.{type(scope).__qualname__}"
    warnings.warn(f"node scope {name} raised {type(error).__name__}: {error}; nodes run without it", CallbackWarning, stacklevel=2)


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
    while call.gate is not None and not call.gate.acquire(blocking=False):  # noqa: ASYNC110 - threads hold it too
        await asyncio.sleep(GATE_POLL_S)  # whoever holds it may need this very loop to get on
    start = perf_counter()
    try:
        if isinstance(call.function, InnerCall):
            value = await _arun_nested(call.function, tuple(call.args))
        elif site.is_async:
            with _scopes(call, current_carrier()):
                value = await _limited(call.function(*call.args, **(call.kwargs or {})), site, site.rule.timeout)
        else:
            return _performed(call, site)
    except Exception as error:  # noqa: BLE001 - a node may raise anything; the block decides what becomes of it
        return None, error, start + events.EPOCH, perf_counter() - start
    finally:
        if call.gate is not None:
            call.gate.release()
    return value, None, start + events.EPOCH, perf_counter() - start


def _run_nested(call: InnerCall, args: tuple[Any, ...]) -> InnerResult:
    """Run a nested pipeline in this thread, or on its own engine."""
    nested = Nested(call, args)
    return nested.gathered(drive(nested.block) if call.job.engine is None else call.job.engine.run_inner(nested.block))


async def _arun_nested(call: InnerCall, args: tuple[Any, ...]) -> InnerResult:
    """Run a nested pipeline on the running event loop, or on its own engine."""
    if call.job.engine is not None:
        return _run_nested(call, args)
    nested = Nested(call, args)
    return nested.gathered(await adrive(nested.block, 1))


# -- the three drivers ----------------------------------------------------------------------------------------------


def drive(block: Block, call: Callable[[Call], Outcome] = perform) -> BlockResult:
    """Run a block in this thread, one call after another: earliest item first, in the order of the program."""
    start = perf_counter()
    ready, done = block.ready, block.done
    try:
        if block.straight and call is perform:
            if block.demand is None:
                block.run_straight()
            else:
                block.run_looking_up()
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
