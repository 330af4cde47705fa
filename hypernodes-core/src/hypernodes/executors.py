"""What runs nodes and items at the same time: ``AsyncExecutor``; engines of installed packages are found here by name, too."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import inspect
import os
import threading
import weakref
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor, Future, InvalidStateError
from queue import Empty, SimpleQueue
from time import perf_counter
from typing import Any, ParamSpec, TypeVar

from hypernodes import plugins
from hypernodes._messages import picture
from hypernodes.errors import OptionError

P = ParamSpec("P")
T = TypeVar("T")


class Threads(Executor):
    """Threads for one run: started as they are needed, and no reason for the interpreter to wait when it ends.

    Calls find the context variables of whoever submits them.

    Args:
        most: The most threads.
        name: What they are called.
    """

    def __init__(self, most: int, name: str) -> None:
        self._most = most
        self._name = name
        self._calls: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._closed = False

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Call a function in a thread."""
        future: Future[Any] = Future()
        context = contextvars.copy_context()
        with self._lock:
            if self._closed:
                msg = "cannot schedule new futures after shutdown"
                raise RuntimeError(msg)
            self._calls.put((future, lambda: context.run(fn, *args, **kwargs)))
            if not self._idle.acquire(blocking=False) and len(self._threads) < self._most:
                thread = threading.Thread(target=self._work, name=f"{self._name}-{len(self._threads)}", daemon=True)
                self._threads.append(thread)
                thread.start()
        return future

    def _work(self) -> None:
        while (call := self._next()) is not None:
            future, function = call
            if future.set_running_or_notify_cancel():
                try:
                    result = function()
                except BaseException as error:  # noqa: BLE001 - handed to whoever waits for it
                    future.set_exception(error)
                else:
                    future.set_result(result)
                    del result
            del call, future, function  # nothing is kept while the thread waits

    def _next(self) -> tuple[Future[Any], Callable[[], Any]] | None:
        """Return a call that waits, or be idle until there is one."""
        try:
            return self._calls.get_nowait()
        except Empty:
            self._idle.release()
            return self._calls.get()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False, seconds: float | None = None) -> None:  # noqa: FBT001, FBT002 - as in the standard library
        """Take no more calls.

        Args:
            wait: Whether to wait for those under way.
            cancel_futures: Whether those that have not started never shall.
            seconds: The longest that is waited.
        """
        with self._lock:
            self._closed = True
            if cancel_futures:
                while not self._calls.empty():
                    call = self._calls.get()
                    if call is not None and call[0].cancel():
                        call[0].set_running_or_notify_cancel()  # wakes whoever waits for several
            for _ in self._threads:
                self._calls.put(None)
        end = None if seconds is None else perf_counter() + seconds
        for thread in self._threads if wait else ():
            thread.join(None if end is None else max(0.0, end - perf_counter()))


class AsyncExecutor(Executor):
    """Runs coroutine functions concurrently on an event loop of its own, in a thread of its own.

    So it works where a loop runs already, as in notebooks. Plain functions run beside it in threads and do not hold the loop
    up. What is submitted finds the context variables of the submitting thread. Cancelling a future cancels its coroutine.

    Args:
        max_concurrent: The most calls that run at the same time; the others wait for their turn.

    Example:
        >>> import asyncio
        >>> async def double(x):
        ...     await asyncio.sleep(0.001)
        ...     return 2 * x
        >>> with AsyncExecutor(max_concurrent=20) as executor:
        ...     list(executor.map(double, range(3)))
        [0, 2, 4]
    """

    def __init__(self, max_concurrent: int = 10) -> None:
        if isinstance(max_concurrent, bool) or not isinstance(max_concurrent, int) or max_concurrent < 1:
            msg = f"max_concurrent must be a whole number of at least 1, got {picture(max_concurrent)}"
            raise OptionError(msg)
        self.max_concurrent = max_concurrent
        self._lock = threading.Lock()
        self._home: _Home | None = None
        self._pending: set[Future[Any]] = set()
        self._closed = False

    def submit(self, fn: Callable[P, T | Coroutine[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Start a call as soon as there is room for it.

        Args:
            fn: A coroutine function, or a plain one.
            args: What to call it with.
            kwargs: Likewise.

        Returns:
            A future of its result. Do not wait for it in a coroutine that runs here: await ``asyncio.wrap_future(future)``.

        Raises:
            RuntimeError: After ``shutdown``.
        """
        home = self.home()
        future: Future[T] = home.start(functools.partial(home.called, fn, args, kwargs))
        with self._lock:
            self._pending.add(future)
        future.add_done_callback(self._pending.discard)
        return future

    def home(self) -> _Home:
        """Return the loop that calls run on, started when it is first needed; a forked process gets its own."""
        with self._lock:
            if self._closed:
                msg = "cannot schedule new futures after shutdown"
                raise RuntimeError(msg)
            if self._home is None or self._home.process != os.getpid():
                self._home = _Home(self.max_concurrent)
                weakref.finalize(self, self._home.stop)
            return self._home

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - as in the standard library
        """Take no more calls, and let go of loop and threads once those under way are over.

        Args:
            wait: Whether to return only then.
            cancel_futures: Whether to cancel the calls that are not over.
        """
        with self._lock:
            self._closed = True
            home, self._home = self._home, None
            pending = list(self._pending)
        if home is None:
            return
        if cancel_futures:
            for future in pending:
                future.cancel()
        if wait:
            _end(home, pending)
        else:
            threading.Thread(target=_end, args=(home, pending), name="hypernodes-shutdown", daemon=True).start()

    def __reduce__(self) -> tuple[Any, ...]:
        return (AsyncExecutor, (self.max_concurrent,))

    def __repr__(self) -> str:
        return f"AsyncExecutor(max_concurrent={self.max_concurrent})"


def _end(home: _Home, pending: list[Future[Any]]) -> None:
    """Wait for what is under way, then stop."""
    for future in pending:
        with contextlib.suppress(BaseException):
            future.exception()
    home.stop()


class _Home:
    """An event loop in a thread, and threads beside it for plain functions.

    Attributes:
        loop: The loop.
        thread: Its thread.
        helpers: Threads for plain functions.
        process: The process that it lives in.
    """

    def __init__(self, most: int) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self._run, name="hypernodes-async", daemon=True)
        self.helpers = Threads(most, "hypernodes-async-helper")
        self.process = os.getpid()
        self._room = asyncio.Semaphore(most)
        self._stopped = threading.Lock()
        self.thread.start()

    def _run(self) -> None:
        """Run the loop until it is stopped, whatever is raised in it: ``SystemExit`` of a call goes to whoever waits for the call."""
        while True:
            try:
                self.loop.run_forever()
            except (KeyboardInterrupt, SystemExit):
                continue
            return

    def start(self, make: Callable[[], Coroutine[Any, Any, T]]) -> Future[T]:
        """Start a coroutine on the loop, in the context of this thread."""
        return start_on(self.loop, make)

    async def called(self, function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Call a function when there is room, and await what it returns."""
        async with self._room:
            if is_async(function):
                return await function(*args, **kwargs)
            context = contextvars.copy_context()
            value = await self.loop.run_in_executor(self.helpers, functools.partial(context.run, function, *args, **kwargs))
            return await value if inspect.isawaitable(value) else value

    def stop(self, seconds: float | None = None) -> None:
        """End the loop and its threads, once; one that a call holds up is left behind after so many seconds."""
        if self.process != os.getpid() or not self._stopped.acquire(blocking=False):
            return
        self.helpers.shutdown(wait=False)
        if self.loop.is_closed():
            return
        self.loop.call_soon_threadsafe(self.loop.stop)
        if threading.current_thread() is not self.thread:
            self.thread.join(seconds)
            if not self.thread.is_alive():
                self.loop.close()


def start_on(loop: asyncio.AbstractEventLoop, make: Callable[[], Coroutine[Any, Any, T]]) -> Future[T]:
    """Make and start a coroutine on a loop in another thread, in the context of this one; nothing is made once the future is cancelled."""
    future: Future[T] = Future()

    def begin() -> None:
        if future.cancelled():
            return
        task = loop.create_task(make())
        task.add_done_callback(end)
        future.add_done_callback(lambda _: loop.call_soon_threadsafe(task.cancel) if future.cancelled() else None)

    def end(task: asyncio.Task[T]) -> None:
        if task.cancelled():
            future.cancel()
        if future.cancelled():
            return
        error = task.exception()
        with contextlib.suppress(InvalidStateError):  # cancelled just now
            if error is None:
                future.set_result(task.result())
            else:
                future.set_exception(error)

    loop.call_soon_threadsafe(begin)
    return future


def is_async(function: Any) -> bool:
    """Whether calling something gives a coroutine."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004 - the method itself is asked


def __getattr__(name: str) -> object:
    return plugins.attribute(__name__, name)
