"""Drivers: they make the calls that a block says are ready. Sequential, over an executor, or as coroutines."""

from __future__ import annotations

import contextlib
import functools
import sys
import threading
import weakref
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar, copy_context
from time import perf_counter, sleep
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

from hypernodes import events
from hypernodes._block import WAIT_S, Block
from hypernodes._calls import BlockResult, Call, InnerCall, InnerResult, Outcome, called
from hypernodes._coroutines import Coroutines
from hypernodes._job import Site
from hypernodes._nested import Nested
from hypernodes.errors import NodeTimeoutError

if TYPE_CHECKING:
    import asyncio
    from concurrent.futures import Executor, Future

T = TypeVar("T")
GATE_POLL_S = 0.002
LOOK_S = 0.01  # how often a driver that has other work looks whether another block has made what it waits for
END_S = 2.0  # for plain functions under way when an event loop gives a run up
SLOW_S = 0.02  # one that has taken longer once never does
QUICK_S = 0.001  # a plain function that takes longer does not run on an event loop that others wait for


@attrs.define(eq=False)
class Surroundings:
    """What calls find around them in this thread.

    Attributes:
        coroutines: The event loop for coroutine nodes.
        carrier: Text that callbacks sent along with the task.
        maps: Who runs the maps of nested pipelines; ``None`` where they run inline.
        apart: Who makes calls in other processes; ``None`` where they are made here.
        watch: Who is told of calls that may take only so long, while they run; ``None`` where nobody could end this process.
        helpers: Threads for plain functions beside an event loop; ``None`` where they are called in place.
        most: How many calls of a nested map an event loop makes at a time.
        quick: Whether the plain function of a node is so quick that it does not hold an event loop up; ``False`` once it was slow.
        broken: Node scopes that failed here and are left out from then on.
    """

    coroutines: Coroutines
    carrier: Mapping[str, str] = attrs.field(factory=dict)
    maps: Callable[[Block], BlockResult] | None = None
    apart: Callable[[Call], Outcome] | None = None
    watch: Callable[[Site, float], contextlib.AbstractContextManager[None]] | None = None
    helpers: Executor | None = None
    most: int = 1
    quick: dict[str, bool] = attrs.field(factory=dict)
    broken: list[Any] = attrs.field(factory=list)

    def passed_on(self) -> dict[str, Any]:
        """Return what calls in other threads find around them, too."""
        own = {"coroutines": self.coroutines} if self.coroutines.at_home else {}  # a loop that is not this thread's
        return {**own, "carrier": self.carrier, "maps": self.maps, "apart": self.apart, "watch": self.watch}


_HERE: ContextVar[Surroundings | None] = ContextVar("hypernodes_surroundings", default=None)


@contextlib.contextmanager
def surroundings(coroutines: Coroutines | None = None, carrier: Mapping[str, str] | None = None, **others: Any) -> Any:
    """Give calls made here, in this context, what is around them until the end of the block; see ``Surroundings``."""
    own = Coroutines() if coroutines is None else None
    before = _HERE.set(Surroundings(coroutines or own, carrier or {}, **others))  # type: ignore[arg-type]
    try:
        yield
    finally:
        _HERE.reset(before)
        if own is not None:
            own.close()


def current_carrier() -> Mapping[str, str]:
    """Return the text that callbacks sent along to this context."""
    now = _HERE.get()
    return now.carrier if now is not None else {}


def _run_coroutine(make: Callable[[], Any]) -> Any:
    now = _HERE.get()
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
    now = _HERE.get()
    if now is not None and now.apart is not None and call.attempt and not isinstance(call.function, InnerCall):
        return now.apart(call)
    return perform_here(call, site)


def perform_here(call: Call, site: Site) -> Outcome:
    """Make a call in this very process, whatever it waits for."""
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
        now = _HERE.get()
        with contextlib.nullcontext() if now is None or now.watch is None else now.watch(site, limit):
            return _abandonable(lambda: call.function(*call.args, **kwargs), site, limit)


@contextlib.contextmanager
def _scopes(call: Call, carrier: Mapping[str, str]) -> Iterator[None]:
    """Put the node scopes around a call. Their faults change nothing: neither what they raise nor what they would hide."""
    entered: list[tuple[Any, Any]] = []
    now = _HERE.get()
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


def timed_out(node: str, limit: float) -> NodeTimeoutError:
    """Return what is raised where a node took too long."""
    return NodeTimeoutError(f"node '{node}' took longer than its timeout of {limit:g} s")


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
            raise timed_out(site.id, limit) from None
        raise


_LEFT: weakref.WeakSet[threading.Thread] = weakref.WeakSet()


def left_behind() -> bool:
    """Whether calls that took too long are still running in this process."""
    return any(helper.is_alive() for helper in _LEFT)


def _abandonable(work: Callable[[], Any], site: Site, limit: float) -> Any:
    """Run on a daemon helper thread; when time runs out, leave it behind and never take its late result."""
    box: list[tuple[Any, BaseException | None]] = []
    context = copy_context()

    def run() -> None:
        try:
            box.append((context.run(work), None))
        except BaseException as error:  # noqa: BLE001 - handed to the waiting thread
            box.append((None, error))

    helper = threading.Thread(target=run, name=f"hypernodes-call-{site.name}", daemon=True)
    helper.start()
    helper.join(limit)
    if not box:
        _LEFT.add(helper)
        raise timed_out(site.id, limit)
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
            return await _aside(call, site)
    except Exception as error:  # noqa: BLE001 - a node may raise anything; the block decides what becomes of it
        return None, error, start + events.EPOCH, perf_counter() - start
    finally:
        if call.gate is not None:
            call.gate.release()
    return value, None, start + events.EPOCH, perf_counter() - start


async def _aside(call: Call, site: Site) -> Outcome:
    """Call a plain function in a thread, unless it has proved quick: others wait for the event loop."""
    now = _HERE.get()
    if now is None or now.helpers is None:
        return _performed(call, site)
    if not call.attempt:  # it reads from a cache
        return await _in_helper(now.helpers, call, site)
    quick = now.quick
    if quick.get(site.id) and now.apart is None:
        outcome = _performed(call, site)
        if outcome[3] > QUICK_S:
            quick.pop(site.id)
    else:
        outcome = await _in_helper(now.helpers, call, site)
        if outcome[3] < QUICK_S / 4 and site.rule.timeout is None:
            quick.setdefault(site.id, True)
    if outcome[3] > SLOW_S:
        quick[site.id] = False
    return outcome


async def _in_helper(helpers: Executor, call: Call, site: Site) -> Outcome:
    """Make a call in a thread beside the event loop; when that is cancelled, it may still end."""
    return await _ended(helpers.submit(_performed, call, site))


async def _ended(made: Future[T]) -> T:
    """Await what runs in a thread; when that is cancelled, it may still end."""
    import asyncio

    try:
        return await asyncio.wrap_future(made)
    except asyncio.CancelledError:
        if made.cancelled():
            raise
        await asyncio.wait([asyncio.wrap_future(made)], timeout=END_S)
        if made.done():
            return made.result()
        raise


def _run_nested(call: InnerCall, args: tuple[Any, ...]) -> InnerResult:
    """Run a nested pipeline in this thread, or on its own engine."""
    nested = Nested(call, args)
    now = _HERE.get()
    run = now.maps if now is not None and call.step.mapped else None
    if call.job.engine is not None:
        run = call.job.engine.run_inner
    try:
        result = drive(nested.block) if run is None else run(nested.block)
    except BaseException:
        nested.broke_off()
        raise
    return nested.gathered(result)


async def _arun_nested(call: InnerCall, args: tuple[Any, ...]) -> InnerResult:
    """Run a nested pipeline on the running event loop, or on its own engine."""
    now = _HERE.get()
    if call.job.engine is not None:
        if now is None or now.helpers is None:
            return _run_nested(call, args)
        from hypernodes.executors import Threads

        thread = Threads(1, "hypernodes-nested")  # one of its own: it waits for others, which may need those that there are
        try:
            return await _ended(thread.submit(_run_nested, call, args))
        finally:
            thread.shutdown(wait=False)
    nested = Nested(call, args)
    most = now.most if now is not None and call.step.mapped else 1
    below = None if now is None or most == 1 else _HERE.set(attrs.evolve(now, most=1))
    try:
        result = await adrive(nested.block, most)
    except BaseException:
        nested.broke_off()
        raise
    finally:
        if below is not None:
            _HERE.reset(below)
    return nested.gathered(result)


# -- the three drivers ----------------------------------------------------------------------------------------------


def drive(block: Block, call: Callable[[Call], Outcome] = perform) -> BlockResult:
    """Run a block in this thread, one call after another: earliest item first, in the order of the program."""
    start = perf_counter()
    ready, done = block.ready, block.done
    calls: list[Call] = []
    try:
        if block.straight and call is perform and ((now := _HERE.get()) is None or now.apart is None):
            if block.demand is None:
                block.run_straight()
            else:
                block.run_looking_up()
            return block.result(seconds=perf_counter() - start)
        while (calls := ready(1)) or block.waits:
            if calls:
                outcome = call(calls[0])
                done(calls.pop(), *outcome)
            else:
                block.await_others(WAIT_S)
    except BaseException:
        for cut_short in calls:
            block.broke_off(cut_short)
        block.close()
        raise
    return block.result(seconds=perf_counter() - start)


def drive_pool(block: Block, executor: Executor, limit: int, call: Callable[[Call], Outcome] = perform) -> BlockResult:
    """Run a block over threads, at most ``limit`` calls at a time; the state machine stays in this thread."""
    from concurrent.futures import FIRST_COMPLETED, wait

    start = perf_counter()
    now = _HERE.get()
    call = functools.partial(_carried, call, {} if now is None else now.passed_on())
    running: dict[Future[Outcome], Call] = {}
    try:
        while True:
            for ready in block.ready(limit - len(running)) if len(running) < limit else ():
                running[executor.submit(call, ready)] = ready
            if not running:
                if not block.waits:
                    break
                block.await_others(WAIT_S)
                continue
            for future in wait(running, LOOK_S if block.waits else None, return_when=FIRST_COMPLETED).done:
                made, error = running[future], future.exception()
                if error is not None and not isinstance(error, Exception):
                    raise error
                del running[future]
                block.done(made, *(future.result() if error is None else (None, error, 0.0, 0.0)))
            if block.waits:
                block.await_others(0)
    except BaseException:
        for future in running:
            future.cancel()
        _end(block, ((made, future) for future, made in running.items()))
        raise
    return block.result(seconds=perf_counter() - start)


def _carried(call: Callable[[Call], Outcome], around: Mapping[str, Any], ready: Call) -> Outcome:
    """Make a call in a thread of a pool, which does not know what surrounds the driver."""
    with surroundings(**around):
        return call(ready)


async def beside(
    helpers: Executor, run: Callable[[], Awaitable[BlockResult]], carrier: Mapping[str, str] | None = None, **around: Any
) -> BlockResult:
    """Run a block on the running event loop, with threads beside it for plain functions that take their time."""
    import asyncio

    with (
        Coroutines(asyncio.get_running_loop()) as coroutines,
        surroundings(coroutines, current_carrier() if carrier is None else carrier, helpers=helpers, **around),
    ):
        return await run()


class Slots:
    """How many calls an event loop may make at a time, shared by the blocks that it runs.

    Attributes:
        free: How many more.
    """

    def __init__(self, most: int) -> None:
        self.free = most
        self._waiting: list[asyncio.Event] = []

    def give(self) -> None:
        """Make room for a call, and tell who waits for it."""
        self.free += 1
        waiting, self._waiting = self._waiting, []
        for event in waiting:
            event.set()

    def wanted(self, event: asyncio.Event) -> None:
        """Set an event when there is room."""
        self._waiting.append(event)


async def adrive(block: Block, most: int | Slots, call: Callable[[Call], Any] = aperform) -> BlockResult:
    """Run a block on the running event loop, at most so many calls at a time."""
    import asyncio

    start = perf_counter()
    slots = Slots(most) if isinstance(most, int) else most
    running: dict[asyncio.Task[Outcome], Call] = {}
    finished: list[tuple[Call, asyncio.Task[Outcome]]] = []
    taken: list[tuple[Call, asyncio.Task[Outcome]]] = []
    news = asyncio.Event()

    def over(ready: Call, task: asyncio.Task[Outcome]) -> None:
        running.pop(task, None)
        finished.append((ready, task))
        slots.give()
        news.set()

    try:
        while True:
            for ready in block.ready(slots.free) if slots.free else ():
                slots.free -= 1
                task = asyncio.ensure_future(call(ready))
                running[task] = ready
                task.add_done_callback(functools.partial(over, ready))
            if not running and not finished and not block.waits and (slots.free or block.over):
                break
            if not slots.free:
                slots.wanted(news)
            if block.waits:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(news.wait(), LOOK_S)
                block.await_others(0)
            else:
                await news.wait()
            news.clear()
            taken, finished[:] = finished[:], []
            while taken:
                outcome = taken[0][1].result()  # one that raises is ended with the others
                block.done(taken.pop(0)[0], *outcome)
    except BaseException:
        left = [*taken, *finished, *((ready, task) for task, ready in running.items())]
        for task in (waiting := list(running)):
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        _end(block, left)
        raise
    return block.result(seconds=perf_counter() - start)


def _end(block: Block, left: Iterable[tuple[Call, Any]]) -> None:
    """End a block early: what is finished counts, the rest broke off."""
    for call, future in left:
        try:
            if future.done() and not future.cancelled() and future.exception() is None:
                block.done(call, *future.result())
            else:
                block.broke_off(call)
        except Exception:  # noqa: BLE001, S112 - why it ends is told in any case
            continue
    block.close()
