"""Engines decide how and where blocks run. What an author writes is one method; the rest is here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Literal, Protocol

import attrs

from hypernodes.callbacks import RunInfo
from hypernodes.config import UNSET, validate
from hypernodes.engines.task import Task
from hypernodes.errors import OptionError

if TYPE_CHECKING:
    from concurrent.futures import Future

    from hypernodes._block import Block
    from hypernodes._calls import BlockResult
    from hypernodes._job import Job


@attrs.frozen
class EngineCapabilities:
    """What an engine can do; the runner plans with it and refuses what cannot work before a run starts.

    Attributes:
        workers: How many blocks run at the same time.
        reach: Where they run: in this ``process``, on this ``host``, or on a ``cluster``.
        shares_memory: Whether workers see this process's objects.
        cancel: Whether a running block can be stopped.
        resources: What there is of named resources, such as ``{"gpu": 2}``; ``None`` when nobody counts them.
        max_payload: The most bytes of one task; ``None`` for no limit.
        task_overhead_s: Seconds that one task costs beyond its work; blocks are made long enough to hide it.
    """

    workers: int = 1
    reach: Literal["process", "host", "cluster"] = "process"
    shares_memory: bool = True
    cancel: bool = False
    resources: Mapping[str, float] | None = None
    max_payload: int | None = None
    task_overhead_s: float = 0.0


class Session(AbstractContextManager["Session"], Protocol):
    """An engine at work on one run."""

    def submit(self, task: Task) -> Future[BlockResult]:
        """Start a task and return a future of its result."""
        ...


def _nothing() -> None:
    pass


@attrs.frozen(eq=False)
class EngineRun:
    """What an engine is told of a run.

    Attributes:
        info: The run.
        ordered: Whether results are wanted in the order of the blocks.
        window: The most blocks that may be in flight or waiting to be taken.
        tick: To be called now and then, in the thread that ``execute`` runs in, by engines that wait long: what workers told
            meanwhile is passed on.
        execution: The run itself, for the engines of this package.
    """

    info: RunInfo
    ordered: bool
    window: int
    tick: Callable[[], None] = _nothing
    execution: Any = attrs.field(default=None, repr=False)


class Engine:
    """Base of engines. An author writes ``open`` (submit tasks one by one) or ``execute`` (map over tasks).

    The base decides block sizes, the blocks in flight, ordering, retries, limits, errors and events; a task knows
    how to travel and run. Engines are descriptions: they hold no pool or connection until a run opens them, and
    they can be pickled.

    Args:
        cache: The cache of pipelines that run on it, unless they set their own.
        callbacks: Likewise, callbacks.
        retries: Likewise, retries.
        timeout: Likewise, the timeout in seconds.

    Attributes:
        name: Its name in messages and events.
        capabilities: What it can do.
        in_caller: Whether tasks run in the thread that called the pipeline, one after the other.
        linked: Whether its workers are in other processes and can ask this one, so that caches in memory stay here.

    Example:
        >>> class Inline(Engine):
        ...     name = "inline"
        ...     def execute(self, run, tasks):
        ...         for task in tasks:
        ...             yield task()
    """

    name: str = "engine"
    capabilities: EngineCapabilities = EngineCapabilities()
    in_caller: bool = False
    linked: bool = False

    def plain(self, job: Job) -> bool:
        """Whether nothing stands between the calling thread and the nodes of a ``run``; then it needs no task."""
        return self.in_caller

    def __init__(self, *, cache: Any = UNSET, callbacks: Any = UNSET, retries: Any = UNSET, timeout: Any = UNSET) -> None:
        self.cache = validate("cache", cache)
        self.callbacks = validate("callbacks", callbacks)
        self.retries = validate("retries", retries)
        self.timeout = validate("timeout", timeout)

    def open(self, run: EngineRun) -> Session:
        """Start working on a run.

        Args:
            run: What there is to know of it.

        Returns:
            A context manager with ``submit(task) -> concurrent.futures.Future`` of the task's result.
        """
        msg = f"engine '{self.name}' ({type(self).__qualname__}) must implement open(run) or execute(run, tasks)"
        raise OptionError(msg)

    def execute(self, run: EngineRun, tasks: Iterator[Task]) -> Iterator[BlockResult]:
        """Run tasks and yield their results, in any order unless ``run.ordered``; the general form of ``open``.

        Tasks are made when they are taken, so take no more than can be worked on. When this generator is closed,
        stop.

        Args:
            run: What there is to know of the run.
            tasks: The tasks, made one by one.

        Yields:
            The result of each task.
        """
        from hypernodes.engines._flow import in_flight

        with self.open(run) as session:
            yield from in_flight(session, run, tasks)

    def run_inner(self, block: Block) -> BlockResult:
        """Run a nested pipeline that was given this engine, from inside another engine's run."""
        from hypernodes.engines.runner import run_inner

        return run_inner(self, block)

    def __repr__(self) -> str:
        shown = {name: getattr(self, name) for name in ("cache", "callbacks", "retries", "timeout")}
        settings = ", ".join(f"{name}={value!r}" for name, value in shown.items() if value is not UNSET)
        return f"{type(self).__name__}({settings})"
