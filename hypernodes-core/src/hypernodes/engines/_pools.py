"""Calls that travel to a pool of processes."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any


class Packing(Executor):
    """Sends calls of nodes to somebody's pool of processes as bytes, so that any function travels.

    Args:
        executor: The pool.
    """

    def __init__(self, executor: Any) -> None:
        self._executor = executor

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Call a function in a process."""
        import cloudpickle

        outer: Future[Any] = Future()
        inner = self._executor.submit(run_packed, cloudpickle.dumps((fn, args, kwargs)))
        outer.set_running_or_notify_cancel()

        def arrived(done: Future[bytes]) -> None:
            import pickle

            try:
                outer.set_result(pickle.loads(done.result()))  # noqa: S301 - from the pool that it was sent to
            except BaseException as error:  # noqa: BLE001 - handed to whoever waits for it
                outer.set_exception(error)

        inner.add_done_callback(arrived)
        return outer


def run_packed(data: bytes) -> bytes:
    """Make a packed call, and pack what it returns."""
    import pickle

    import cloudpickle

    function, args, kwargs = pickle.loads(data)  # noqa: S301 - from the process that owns this pool
    packed: bytes = cloudpickle.dumps(function(*args, **kwargs), protocol=5)
    return packed
