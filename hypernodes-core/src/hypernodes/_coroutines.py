"""Running coroutines from plain code, also where an event loop already runs (as in notebooks)."""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    import asyncio
    import threading
    from concurrent.futures import Future


class Coroutines:
    """One event loop for all coroutines of a run, made when the first one comes.

    Where no loop runs in this thread, coroutines run in this thread; where one does, they run on a loop in a
    helper thread. Use it as a context manager.

    Args:
        home: The loop of whoever awaits the run, in another thread: coroutines run there. It is not closed.
    """

    def __init__(self, home: asyncio.AbstractEventLoop | None = None) -> None:
        self._home = home
        self._under_way: set[Future[Any]] = set()
        self._runner: asyncio.Runner | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    @property
    def at_home(self) -> bool:
        """Whether coroutines run on the loop of whoever awaits the run, whatever the thread."""
        return self._home is not None

    def run(self, make: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """Make a coroutine, run it to its end, and return its result."""
        import asyncio
        import threading

        try:
            running = asyncio.get_running_loop()
        except RuntimeError:
            if self._home is not None:
                return self._at_home(make)
            if self._runner is None:
                self._runner = asyncio.Runner()
            return self._runner.run(_awaited(make), context=contextvars.copy_context())
        if self._home is not None and running is not self._home:
            return self._at_home(make)
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(target=self._loop.run_forever, name="hypernodes-coroutines", daemon=True)
            self._thread.start()
        return asyncio.run_coroutine_threadsafe(_awaited(make), self._loop).result()

    def _at_home(self, make: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        import asyncio

        future = asyncio.run_coroutine_threadsafe(_awaited(make), self._home)  # type: ignore[arg-type]
        self._under_way.add(future)
        try:
            return future.result()
        finally:
            self._under_way.discard(future)

    def cancel(self) -> None:
        """Cancel what runs at home."""
        for future in list(self._under_way):
            future.cancel()

    def close(self) -> None:
        """Close the loop, unless it is somebody else's."""
        if self._runner is not None:
            self._runner.close()
            self._runner = None
        if self._loop is not None and self._thread is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()
            self._loop = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


async def _awaited(make: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    return await make()
