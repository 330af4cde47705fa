"""Runs that somebody awaits: the work goes on in a thread beside the event loop, coroutines come back to the loop."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import Any, Final, TypeVar

import attrs

T = TypeVar("T")
GRACE_S: Final = 5.0  # for nodes under way when nobody waits for a run any more
_END: Final = object()


@attrs.define(eq=False)
class Caller:
    """Whoever awaits a run.

    Attributes:
        loop: The loop that awaits it; coroutine nodes run there.
        stops: What stops the run.
        cancelled: Whether it was.
    """

    loop: asyncio.AbstractEventLoop = attrs.field(factory=asyncio.get_running_loop)
    stops: tuple[Callable[[], None], ...] = ()
    cancelled: bool = False

    def cancel(self) -> None:
        """Stop the run: no more calls are made, coroutines under way are cancelled."""
        self.cancelled = True
        for stop in self.stops:
            stop()


async def aside(caller: Caller, work: Callable[[], T]) -> T:
    """Do work in a thread of its own, in this context; when the wait is cancelled, so is the work."""
    future: asyncio.Future[T] = caller.loop.create_future()
    context = contextvars.copy_context()

    def settle(value: Any, error: BaseException | None) -> None:
        if future.done():
            return
        if error is None:
            future.set_result(value)
        elif isinstance(error, StopIteration):
            future.set_exception(RuntimeError("a node raised StopIteration"))
        else:
            future.set_exception(error)

    def run() -> None:
        try:
            value, error = context.run(work), None
        except BaseException as raised:  # noqa: BLE001 - handed to whoever awaits it
            value, error = None, raised
        with contextlib.suppress(RuntimeError):  # the loop may be closed by now
            caller.loop.call_soon_threadsafe(settle, value, error)

    threading.Thread(target=run, name="hypernodes-run", daemon=True).start()
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        caller.cancel()
        await asyncio.wait([future], timeout=GRACE_S)
        if future.done():
            future.exception()  # seen: nobody else asks for it
        raise


async def stream(caller: Caller, make: Callable[[], Iterator[T]]) -> AsyncGenerator[T, None]:
    """Give what an iterator gives, which is made and advanced in threads beside the loop."""
    iterator = await aside(caller, make)
    try:
        while True:
            value = await aside(caller, functools.partial(next, iterator, _END))
            if value is _END:
                return
            yield value
    finally:
        close = getattr(iterator, "close", None)
        if close is not None:
            await aside(caller, close)


class Pulled:
    """An asynchronous iterable as a plain one, for the thread that a run goes on in."""

    def __init__(self, loop: asyncio.AbstractEventLoop, source: Any) -> None:
        self._loop = loop
        self._iterator = source.__aiter__()

    def __iter__(self) -> Pulled:
        return self

    def __next__(self) -> Any:
        value = asyncio.run_coroutine_threadsafe(self._next(), self._loop).result()
        if value is _END:
            raise StopIteration
        return value

    async def _next(self) -> Any:
        try:
            return await self._iterator.__anext__()
        except StopAsyncIteration:
            return _END
