"""What runs things at the same time: executors by alias, executors of the caller's, and what makes a block's calls with them."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from typing import TYPE_CHECKING, Any, Final

from hypernodes._drive import Slots, adrive, drive_pool
from hypernodes._messages import among, picture
from hypernodes.errors import OptionError
from hypernodes.executors import AsyncExecutor, Threads

if TYPE_CHECKING:
    from hypernodes._block import Block
    from hypernodes._calls import BlockResult

SEQUENTIAL: Final = "sequential"
ASYNC: Final = "async"
THREADED: Final = "threaded"
PARALLEL: Final = "parallel"
ALIASES: Final = (SEQUENTIAL, ASYNC, THREADED, PARALLEL)
CONCURRENT: Final = 10  # calls at the same time of the alias "async"

_KEPT: Final[list[AsyncExecutor]] = []  # for as long as this process lives
_INSIDE: Final[ContextVar[tuple[Any, ...]]] = ContextVar("hypernodes_inside", default=())  # executors of callers that wait for this call


class Executors:
    """One of the two executors of an engine: its kind, its size, and the object where the caller gave one.

    Args:
        kind: An alias.
        workers: How many things run at the same time.
        given: The caller's executor; ``None`` where the engine makes its own.
    """

    def __init__(self, kind: str, workers: int, given: Any = None) -> None:
        self.kind = kind
        self.workers = workers
        self.given = given

    @classmethod
    def of(cls, label: str, value: Any, most: int | None) -> Executors:
        """Return what an argument of an engine stands for.

        Args:
            label: The argument's name.
            value: An alias, an executor, or ``None`` for none.
            most: How many workers an alias shall have; ``None`` for its own number.

        Raises:
            OptionError: It is neither.
        """
        if value is None:
            value = SEQUENTIAL
        if isinstance(value, str):
            if value not in ALIASES:
                msg = f"{label}={value!r} is no alias; {among(value, ALIASES, 'there are')}"
                raise OptionError(msg)
            own = 1 if value == SEQUENTIAL else CONCURRENT if value == ASYNC else os.cpu_count() or 4
            return cls(value, own if most is None or value == SEQUENTIAL else most)
        if isinstance(value, AsyncExecutor):
            return cls(ASYNC, value.max_concurrent, value)
        if not callable(getattr(value, "submit", None)):
            msg = f"{label} must be one of {', '.join(map(repr, ALIASES))} or an executor with submit(), got {picture(value)}"
            raise OptionError(msg)
        size = getattr(value, "_max_workers", None)  # what the executors of the standard library and those after them have
        workers = size if isinstance(size, int) and size > 0 else os.cpu_count() or 4
        return cls(THREADED if isinstance(value, ThreadPoolExecutor) else PARALLEL, workers, value)

    @property
    def spec(self) -> tuple[str, int]:
        """What stands for it in another process, where it is made again by kind and size."""
        return self.kind, self.workers

    def argument(self) -> Any:
        """Return what makes an equal one: an alias, or an executor that travels."""
        return AsyncExecutor(self.workers) if self.kind == ASYNC and self.given is not None else self.kind

    def driver(self) -> Callable[[Block], BlockResult] | None:
        """Return what makes the calls of blocks, for as long as this process lives; ``None`` for one call after another."""
        if self.kind == SEQUENTIAL:
            return None
        if self.kind == ASYNC:
            _KEPT.append(executor := AsyncExecutor(self.workers))  # a loop ends with its executor
            return functools.partial(drive_on_loop, executor.home(), self.workers)
        return functools.partial(drive_pool, executor=ThreadPoolExecutor(self.workers), limit=self.workers)

    @contextmanager
    def driving(self) -> Iterator[Callable[[Block], BlockResult] | None]:
        """Give what makes the calls of blocks during a run; ``None`` for one call after another.

        Where calls go to processes, they are waited for in threads.
        """
        if self.kind == SEQUENTIAL:
            yield None
            return
        if self.kind == ASYNC:
            with self.home() as home:
                yield functools.partial(drive_on_loop, home, self.workers)
            return
        with (self if self.kind == THREADED else Executors(THREADED, self.workers)).threads("hypernodes-nodes") as pool:
            yield functools.partial(drive_pool, executor=pool, limit=self.workers)

    @contextmanager
    def home(self) -> Iterator[Any]:
        """Give an event loop in a thread: the caller's, or one for a run, also where a run starts on the caller's loop itself."""
        if self.given is not None:
            home = self.given.home()
            if threading.current_thread() is not home.thread:
                yield home
                return
        own = AsyncExecutor(self.workers)  # whose loop ends with it
        home = own.home()
        try:
            yield home
        finally:
            home.stop(GRACE_S)

    @contextmanager
    def threads(self, name: str) -> Iterator[Executor]:
        """Give threads: the caller's, or some for a run, also where a run starts in one of the caller's, which would wait for itself."""
        free = self.given is not None and not any(self.given is each for each in _INSIDE.get())
        pool = Marked(self.given) if free else Threads(self.workers, name)
        try:
            yield pool
        except BaseException:
            pool.shutdown(cancel_futures=True, seconds=GRACE_S)
            raise
        pool.shutdown(cancel_futures=True)

    def __repr__(self) -> str:
        return repr(self.kind if self.given is None else self.given)


GRACE_S: Final = 2.0  # for calls in threads, which cannot be stopped, when a run is given up


class Marked(Executor):
    """The caller's executor; calls in it know that somebody waits there."""

    def __init__(self, executor: Any) -> None:
        self._executor = executor
        self._flying: set[Any] = set()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Call a function in a thread, in the context of this one."""
        context = copy_context()
        context.run(_INSIDE.set, (*_INSIDE.get(), self._executor))  # it goes along into every thread that the call makes use of
        future = self._executor.submit(functools.partial(context.run, fn, *args, **kwargs))
        self._flying.add(future)
        future.add_done_callback(self._flying.discard)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False, seconds: float | None = None) -> None:  # noqa: FBT001, FBT002 - as in the standard library
        """Wait for the calls that came this way; the executor is the caller's to shut down. Arguments as those of ``Threads``."""
        under_way = [future for future in list(self._flying) if not (cancel_futures and future.cancel())]
        if wait:
            futures.wait(under_way, seconds)


def drive_on_loop(home: Any, most: int, block: Block) -> BlockResult:
    """Run a block on an event loop in another thread, and wait for it here."""
    from hypernodes._drive import beside

    future = home.start(lambda: beside(home.helpers, lambda: adrive(block, Slots(most))))
    try:
        result: BlockResult = future.result()
    except BaseException:
        future.cancel()
        raise
    return result
