"""Processes at work on a run: calls of nodes that leave this process one by one, and pools of the caller's that are replaced."""

from __future__ import annotations

import io
import pickle
import sys
import threading
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Future, wait
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final, Self

import cloudpickle

from hypernodes._calls import Call, Outcome
from hypernodes._failures import unpack_error
from hypernodes._messages import counted
from hypernodes._packing import arriving, by_value
from hypernodes.errors import ResultTransferError, WorkerLostError
from hypernodes.events import EPOCH

if TYPE_CHECKING:
    from types import TracebackType

    from hypernodes.engines._workers import Workers
    from hypernodes.engines.base import EngineRun
    from hypernodes.engines.task import Common

TRIES: Final = 2  # of a call whose worker died
_SMALL: Final = (type(None), bool, int, float)


class Processes:
    """The processes of an engine or of a caller's pool, as one run uses them; a context manager.

    They find what the tasks of a run have in common under its name, and ask for it once each.

    Args:
        run: The run.
        workers: Gives the engine's processes.
        given: The caller's pool, if there is one.
        instead: Makes processes of our own, once the caller's pool is broken.
    """

    def __init__(self, run: EngineRun, workers: Callable[[], Workers], given: Any, instead: Callable[[], Workers]) -> None:
        self.key = run.info.run_id
        self._run = run
        self._given = given
        self._instead = instead
        self._own: Workers | None = workers() if given is None else None
        self._private = False  # whether those of our own were made for this run
        self._flying: set[Future[Any]] = set()
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        from hypernodes.engines._far import handlers
        from hypernodes.engines._link import Hub

        self._hub = Hub() if self._own is None else self._own.hub
        self._handlers = handlers(self._run.execution)
        self._hub.serve(self.key, self._handlers)
        return self

    def submit(self, function: Callable[..., Any], *args: Any) -> Future[bytes]:
        """Call a function of this package with the address to ask at, the name of the run and arguments; it returns bytes."""
        own = self._own
        if own is not None:
            future: Future[Any] = own.submit(function, own.hub.address, self.key, *args)
        else:
            try:
                future = self._given.submit(function, self._hub.address, self.key, *args)
            except BrokenExecutor as error:
                future = Future()
                future.set_exception(error)
        self._flying.add(future)
        future.add_done_callback(self._flying.discard)
        return future

    def renew(self) -> None:
        """Go on in processes of our own where a death broke the caller's pool."""
        with self._lock:
            if self._own is None:
                own = self._instead()
                own.hub.serve(self.key, self._handlers)
                self._own, self._private = own, True

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if sys.is_finalizing():  # the processes find out by themselves that this one is gone
            return
        from hypernodes.engines._worker import flush_caches

        execution, own = self._run.execution, self._own
        execution.shared.stop()
        flying = list(self._flying)
        for future in flying:
            future.cancel()
        if flying:
            self._hub.halt(self.key)
        if self._own is None:
            wait(flying, GRACE_S)  # the caller's processes are not ours to end
        if own is not None:
            if flying:
                own.drop(flying)
            if execution.lookup is not None:
                own.on_each(flush_caches, FLUSH_S)
            own.forget(self.key)
            own.hub.leave(self.key)
            if self._private:
                own.kill_all()
        self._hub.leave(self.key)
        if self._given is not None:
            self._hub.close()


GRACE_S: Final = 2.0  # for calls under way in processes of the caller's, when nobody waits for them any more
FLUSH_S: Final = 10.0  # for workers to write what their caches hold back


class Apart:
    """Makes calls of nodes in processes.

    Args:
        processes: The processes, for this run.
        run: The run.
    """

    def __init__(self, processes: Processes, run: EngineRun) -> None:
        self._processes = processes
        self._run = run
        self._numbers: dict[int, int] | None = None

    def __call__(self, call: Call) -> Outcome:
        """Make a call, and wait for its outcome."""
        from hypernodes._drive import current_carrier
        from hypernodes.engines._worker import run_call

        start = perf_counter()
        try:
            data = self._packed(call)
        except Exception as error:  # noqa: BLE001 - any value may refuse to be pickled
            return None, _stuck(call, error), start + EPOCH, perf_counter() - start
        lost: Exception | None = None
        tries = 0
        while tries < TRIES:
            try:
                made = self._processes.submit(run_call, data, dict(current_carrier())).result()
                with arriving(f"the result of node '{call.site.id}'", "here", _WHOLE):
                    value, packed, began, seconds = pickle.loads(made)  # noqa: S301 - from a process of this run
            except BrokenExecutor:  # any of the calls that were there may have done it
                self._processes.renew()
            except ResultTransferError as error:
                return None, error, start + EPOCH, perf_counter() - start
            except WorkerLostError as error:
                if error.overdue is not None:
                    return None, error.overdue, start + EPOCH, perf_counter() - start
                lost = error
                tries += 1
            else:
                return value, None if packed is None else unpack_error(packed), began, seconds
        told = WorkerLostError(f"{lost} ({counted(TRIES, 'time')})")
        told.node = call.site.id
        return None, told, start + EPOCH, perf_counter() - start

    def _packed(self, call: Call) -> bytes:
        """Return a call as bytes, with numbers in place of what the worker has of this run."""
        common = self._run.execution.common
        if self._numbers is None:
            self._numbers = {id(value): number for number, value in reversed(list(enumerate(known(common))))}
        buffer = io.BytesIO()
        with by_value(common.hidden):
            _Numbering(buffer, self._numbers).dump(call)
        return buffer.getvalue()


class _Numbering(cloudpickle.Pickler):  # type: ignore[misc]
    def __init__(self, buffer: io.BytesIO, numbers: dict[int, int]) -> None:
        super().__init__(buffer, protocol=5)
        self._numbers = numbers

    def persistent_id(self, value: Any) -> int | None:
        return self._numbers.get(id(value))


class _Loader(pickle.Unpickler):
    def __init__(self, data: bytes, things: list[Any]) -> None:
        super().__init__(io.BytesIO(data))
        self._things = things

    def persistent_load(self, number: int) -> Any:
        return self._things[number]


def unpacked(data: bytes, common: Common) -> Call:
    """Return a call that came from another process."""
    if not common.things:
        common.things = known(common)
    call: Call = _Loader(data, common.things).load()
    return call


def known(common: Common) -> list[Any]:
    """Return what a process has of a run, in an order that is the same everywhere: inputs, bound values, nodes."""
    found: list[Any] = list(common.constants.values())
    jobs = [common.job]
    for job in jobs:
        found += job.bound.values()
        for site in job.sites:
            found += (site, site.function, site.batch)
        jobs += job.inner.values()
    return [_NOTHING if isinstance(value, _SMALL) else value for value in found]


_WHOLE: Final = "return what comes back whole, or use a node_executor that shares memory"
_NOTHING: Final = object()  # in place of what is as short as its number


def _stuck(call: Call, error: Exception) -> Exception:
    msg = (
        f"an argument of node '{call.site.id}' cannot be sent to another process: {type(error).__name__}: {error}\n"
        "  fix: return what pickles from the node that makes it, or use a node_executor that shares memory"
    )
    return ResultTransferError(msg)
