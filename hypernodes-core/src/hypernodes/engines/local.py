"""Concurrency on one machine: nodes and items over threads, processes and event loops."""

from __future__ import annotations

import functools
import math
import os
import signal
import sys
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import BrokenExecutor, Future
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, Self

from hypernodes._drive import Slots, adrive, beside
from hypernodes._messages import picture
from hypernodes.config import UNSET
from hypernodes.engines._nodes import ASYNC, GRACE_S, PARALLEL, SEQUENTIAL, THREADED, Executors
from hypernodes.engines.base import Engine, EngineCapabilities, EngineRun, Session
from hypernodes.errors import OptionError, ResultTransferError
from hypernodes.executors import start_on

if TYPE_CHECKING:
    from types import TracebackType

    from hypernodes._calls import BlockResult
    from hypernodes._job import Job
    from hypernodes.engines._pools import Processes
    from hypernodes.engines._workers import Workers
    from hypernodes.engines.task import Task

LOOPED: Final = 16  # blocks that share an event loop


class HyperNodesEngine(Engine):
    """Runs nodes and items at the same time on one machine.

    ``map_executor`` runs the items of a map, of a nested one too; ``node_executor`` runs calls of nodes that do not wait for
    each other: of one item, and of the items that are worked on together. Both take an alias or an executor:

    - ``"sequential"``: one after another, in the calling thread.
    - ``"async"``: coroutines on an event loop, 10 at a time; plain functions that take their time run beside it in threads.
    - ``"threaded"``: as many threads as the machine has processors.
    - ``"parallel"``: as many processes. They start without the main module, so scripts need no guard; they are kept for the next call, and
      end with the engine (``close``, or a ``with`` block) or with this process.
    - An executor: ``AsyncExecutor``, ``ThreadPoolExecutor``, ``ProcessPoolExecutor`` or any other with ``submit``. It belongs to the caller
      and is not shut down.

    Args:
        node_executor: Who runs the nodes of an item.
        map_executor: Who runs items.
        max_workers: How many threads, processes or coroutines an alias stands for.
        resources: What there is of named resources, such as ``{"gpu": 2}``, for nodes that declare what they take.
        cache: As for every engine.
        callbacks: As for every engine.
        retries: As for every engine.
        timeout: As for every engine.

    Example:
        >>> from hypernodes import HyperNodesEngine, Pipeline, node
        >>> @node(output_name="doubled")
        ... def double(x: int) -> int:
        ...     return 2 * x
        >>> pipeline = Pipeline([double], engine=HyperNodesEngine(map_executor="threaded"))
        >>> pipeline.map({"x": [1, 2, 3]}, map_over="x")
        [{'doubled': 2}, {'doubled': 4}, {'doubled': 6}]

    Raises:
        OptionError: If an argument is neither an alias nor an executor.
    """

    name = "hypernodes"

    def __init__(
        self,
        node_executor: Any = SEQUENTIAL,
        map_executor: Any = SEQUENTIAL,
        *,
        max_workers: int | None = None,
        resources: Mapping[str, float] | None = None,
        cache: Any = UNSET,
        callbacks: Any = UNSET,
        retries: Any = UNSET,
        timeout: Any = UNSET,
    ) -> None:
        super().__init__(cache=cache, callbacks=callbacks, retries=retries, timeout=timeout)
        if max_workers is not None and (isinstance(max_workers, bool) or not isinstance(max_workers, int) or max_workers < 1):
            msg = f"HyperNodesEngine: max_workers must be a whole number of at least 1, got {picture(max_workers)}"
            raise OptionError(msg)
        self.max_workers = max_workers
        self.nodes = Executors.of("HyperNodesEngine: node_executor", node_executor, max_workers)
        self.maps = Executors.of("HyperNodesEngine: map_executor", map_executor, max_workers)
        self.resources = None if resources is None else dict(resources)
        self._depth = 0
        self._lock = threading.Lock()
        self._workers: Workers | None = None
        self.capabilities = self._abilities()

    def _abilities(self) -> EngineCapabilities:
        kind, workers = self.maps.spec
        away = (kind == PARALLEL and not self._inline) or self._apart
        return EngineCapabilities(
            workers=min(workers, LOOPED) if kind == ASYNC else workers,
            reach="host" if away else "process",
            shares_memory=not away,
            cancel=kind in (ASYNC, PARALLEL),
            resources=self.resources,
            task_overhead_s=0.001 if away else 0.0,
        )

    @property
    def _inline(self) -> bool:
        """Whether processes are replaced by threads: this is one itself."""
        return self.maps.kind == PARALLEL and self.maps.given is None and _in_worker()

    @property
    def _apart(self) -> bool:
        """Whether nodes go to processes one by one."""
        return self.nodes.kind == PARALLEL and (self.nodes.given is not None or not _in_worker())

    @property
    def in_caller(self) -> bool:  # type: ignore[override]
        """Whether items run in the thread that called the pipeline."""
        return self.maps.kind == SEQUENTIAL

    @property
    def linked(self) -> bool:  # type: ignore[override]
        """Whether items or nodes run in other processes, which can ask this one."""
        return not self.capabilities.shares_memory

    def plain(self, job: Job) -> bool:
        """Whether nothing stands between the calling thread and the nodes of a ``run``."""
        return self.nodes.kind == SEQUENTIAL and (self.in_caller or not job.inner)

    # -- running ----------------------------------------------------------------------------------------------------

    def execute(self, run: EngineRun, tasks: Iterator[Task]) -> Iterator[BlockResult]:
        """Run tasks: those of a map where items run, a single one in this thread."""
        with stoppable():
            if run.info.kind != "run" and not self.in_caller:
                yield from super().execute(run, tasks)
                return
            if self.nodes.kind == ASYNC:  # its loop is in another thread, which tells events
                yield from super().execute(run, tasks)
                return
            with self.around(run) as around, self.nodes.driving() as driver:
                for task in tasks:
                    task.around = around
                    yield task(driver)

    @contextmanager
    def around(self, run: EngineRun) -> Iterator[dict[str, Any]]:
        """Give what calls of tasks find around them: who runs the maps of nested pipelines, and who makes calls in processes."""
        found: dict[str, Any] = {}
        if run.info.kind == "run" and self.maps.kind != SEQUENTIAL and not run.execution.outer:
            found["maps"] = self.run_inner
        elif (below := self._below()) is not None:
            found["maps"] = below.run_inner
        if not self._apart:
            yield found
            return
        from hypernodes.engines._pools import Apart

        with self.processes(run, self.nodes) as processes:
            yield {**found, "apart": Apart(processes, run)}

    def processes(self, run: EngineRun, executors: Executors) -> Processes:
        """Return the processes of one of its executors, for a run."""
        from hypernodes.engines._pools import Processes
        from hypernodes.engines._workers import Workers

        return Processes(run, self.workers, executors.given, lambda: Workers(executors.workers))

    def _below(self) -> HyperNodesEngine | None:
        """Return the engine of maps inside a map; ``None`` where they run inline."""
        share = math.isqrt(self.maps.workers)
        if self._depth or self.maps.kind not in (THREADED, ASYNC) or share < 2:  # noqa: PLR2004 - one is no company
            return None
        below = HyperNodesEngine(map_executor=self.maps.kind, max_workers=share)
        below._depth = self._depth + 1
        if self._apart:
            below.nodes, below.workers = self.nodes, self.workers  # type: ignore[method-assign]
            below.capabilities = below._abilities()
        return below

    def open(self, run: EngineRun) -> Session:
        """Start working on a run."""
        if self.maps.kind == ASYNC or self.in_caller:
            return _OnLoop(self, run)
        if self.maps.kind == THREADED or self._inline:
            return _InThreads(self, run)
        return _InProcesses(self, run)

    # -- worker processes -------------------------------------------------------------------------------------------

    def workers(self) -> Workers:
        """Return the worker processes, which start when they are first needed."""
        from hypernodes.engines._workers import Workers

        with self._lock:
            if self._workers is None or self._workers.process != os.getpid():
                kinds = (self.nodes, self.maps)
                most = max(each.workers for each in kinds if each.kind == PARALLEL)
                self._workers = Workers(most)
                weakref.finalize(self, self._workers.kill_all)
            return self._workers

    def close(self) -> None:
        """End the worker processes; the next call starts new ones."""
        with self._lock:
            workers, self._workers = self._workers, None
        if workers is not None:
            workers.kill_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    # -- what it is -------------------------------------------------------------------------------------------------

    def __reduce__(self) -> tuple[Any, ...]:
        settings = {name: getattr(self, name) for name in ("cache", "callbacks", "retries", "timeout") if getattr(self, name) is not UNSET}
        sizes = [each.workers for each in (self.nodes, self.maps) if each.kind in (THREADED, PARALLEL)]
        options = {"max_workers": self.max_workers or (max(sizes) if sizes else None), "resources": self.resources, **settings}
        return (_restored, (self.nodes.argument(), self.maps.argument(), options))

    def __repr__(self) -> str:
        parts = [f"node_executor={self.nodes!r}"] if self.nodes.kind != SEQUENTIAL else []
        parts += [f"map_executor={self.maps!r}"] if self.maps.kind != SEQUENTIAL else []
        said = {name: getattr(self, name) for name in ("max_workers", "resources", "cache", "callbacks", "retries", "timeout")}
        parts += [f"{name}={value!r}" for name, value in said.items() if value is not UNSET and not (value is None and name in _OWN)]
        return f"HyperNodesEngine({', '.join(parts)})"


_OWN: Final = ("max_workers", "resources")


def _in_worker() -> bool:
    from hypernodes.engines._worker import in_worker

    return in_worker()


def _restored(nodes: Any, maps: Any, options: dict[str, Any]) -> HyperNodesEngine:
    return HyperNodesEngine(nodes, maps, **options)


# -- sessions -----------------------------------------------------------------------------------------------------------


class _OnLoop:
    """Blocks on an event loop, which share its room for calls."""

    def __init__(self, engine: HyperNodesEngine, run: EngineRun) -> None:
        self._engine = engine
        self._executors = engine.maps if engine.maps.kind == ASYNC else engine.nodes
        self._run_around = engine.around(run)
        self._stack = ExitStack()
        self._caller, self._shared = run.execution.request.caller, run.execution.shared
        self._running: set[Any] = set()
        self._quick: dict[str, bool] = {}
        self._slots = Slots(self._executors.workers)
        self._most = 1 if engine._depth else max(1, math.isqrt(self._executors.workers))  # noqa: SLF001 - as above
        if run.info.kind == "run" and engine.maps.kind == ASYNC:
            self._most = self._executors.workers

    def __enter__(self) -> Self:
        self._around = self._stack.enter_context(self._run_around)
        self._home = self._stack.enter_context(self._executors.home())
        if self._caller is None:
            self._start: Callable[[Any], Future[Any]] = self._home.start
        else:  # coroutines run on the loop of whoever awaits the run
            self._start = functools.partial(start_on, self._caller.loop)
        return self

    def submit(self, task: Task) -> Future[BlockResult]:
        """Start a block."""
        return self._start(functools.partial(self._run, task))

    async def _run(self, task: Task) -> BlockResult:
        import asyncio

        running: Any = asyncio.current_task()
        self._running.add(running)
        running.add_done_callback(self._running.discard)
        with task.recorded(live=False) as recorder:
            block = task.block(recorder)
            around = {**self._around, "most": self._most, "quick": self._quick}
            result = await beside(self._home.helpers, lambda: adrive(block, self._slots), task.common.carrier, **around)
        return task.over(block, result, recorder)

    async def _let_end(self) -> None:
        import asyncio

        await asyncio.sleep(0)  # those that were started just now begin, and are known
        if self._running:
            await asyncio.wait(set(self._running), timeout=GRACE_S)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._shared.stop()
        with suppress(Exception):  # the loop may be gone
            self._start(self._let_end).result(GRACE_S + 0.5)
        self._stack.__exit__(kind, error, trace)


class _InThreads:
    """Blocks in threads."""

    def __init__(self, engine: HyperNodesEngine, run: EngineRun) -> None:
        self._engine = engine
        self._run = run
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        engine = self._engine
        nodes = engine.nodes
        if nodes.given is not None and nodes.given is engine.maps.given:  # whose threads would wait for each other
            nodes = Executors(nodes.kind, nodes.workers)
        self._driver = self._stack.enter_context(nodes.driving())
        self._around = self._stack.enter_context(engine.around(self._run))
        self._pool = self._stack.enter_context(engine.maps.threads("hypernodes-map"))
        return self

    def submit(self, task: Task) -> Future[BlockResult]:
        """Start a block."""
        task.around = self._around
        return self._pool.submit(task, self._driver)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._run.execution.shared.stop()
        self._stack.__exit__(kind, error, trace)


class _InProcesses:
    """Blocks in processes: the engine's own, or those of a pool that belongs to the caller."""

    def __init__(self, engine: HyperNodesEngine, run: EngineRun) -> None:
        self._spec = engine.nodes.spec
        self._processes = engine.processes(run, engine.maps)

    def __enter__(self) -> Self:
        self._processes.__enter__()
        return self

    def submit(self, task: Task) -> Future[BlockResult]:
        """Start a block."""
        from hypernodes._calls import BlockResult
        from hypernodes.engines._worker import run_linked

        outer: Future[BlockResult] = Future()
        try:
            parts = task.parts()
        except ResultTransferError as error:
            outer.set_exception(error)
            return outer
        inner = self._processes.submit(run_linked, None if task.suspect else self._spec, *parts)

        def arrived(done: Future[bytes]) -> None:
            if outer.cancelled():
                return
            try:
                data = done.result()
            except BaseException as error:  # noqa: BLE001 - handed to whoever waits for it
                outer.set_exception(error)
                return
            try:
                outer.set_result(BlockResult.from_bytes(data))
            except Exception as error:  # noqa: BLE001 - any value may refuse to be unpickled
                msg = f"a result pickles, but cannot be unpickled here: {error}\n  fix: return what comes back whole"
                outer.set_exception(ResultTransferError(msg))

        outer.set_running_or_notify_cancel()
        inner.add_done_callback(arrived)
        return outer

    def renew(self, error: BrokenExecutor) -> bool:
        """Go on in processes of our own where a death broke the caller's pool."""
        self._processes.renew()
        return True

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._processes.__exit__(kind, error, trace)


# -- signals ------------------------------------------------------------------------------------------------------------


_STOPPABLE: Final[set[object]] = set()  # runs in the main thread


@contextmanager
def stoppable() -> Iterator[None]:
    """Let SIGTERM end a run as Ctrl-C does, so that what is finished is kept and nothing is left running.

    Only where nobody else has a say: in the main thread, and while the signal would just end the process.
    """
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) not in (signal.SIG_DFL, _terminate):
        yield
        return
    token = object()
    _STOPPABLE.add(token)  # streams end in any order
    signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        _STOPPABLE.discard(token)
        in_main = threading.current_thread() is threading.main_thread()  # where only signals may be set
        if in_main and not _STOPPABLE and signal.getsignal(signal.SIGTERM) is _terminate:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _terminate(number: int, _: Any) -> None:
    if not _STOPPABLE:  # the last stream ended in another thread, where no handler can be taken back
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        return
    sys.exit(128 + number)
