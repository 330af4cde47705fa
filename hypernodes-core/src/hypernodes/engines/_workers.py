"""Worker processes of this host: started when they are needed, told what to do over a line each, replaced when they die."""

from __future__ import annotations

import atexit
import contextlib
import os
import pickle
import subprocess
import sys
import threading
import weakref
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from time import perf_counter, sleep
from typing import Any, Final

import attrs

from hypernodes._drive import timed_out
from hypernodes.engines._link import WORKERS, Hub, Line
from hypernodes.engines.task import ending
from hypernodes.errors import CapabilityError, HyperNodesError, NodeTimeoutError, WorkerLostError

START: Final = (
    "import pickle, sys; setup = pickle.load(sys.stdin.buffer); sys.path[:] = setup['path']; "
    "from hypernodes.engines._worker import main; main(setup)"
)
STARTS: Final = 3  # workers in a row that may die before they are ready
GRACE_S: Final = 1.0  # for calls under way when nobody waits for them any more
CLOCK_S: Final = 0.1  # how often somebody looks for calls that take too long
LATE_S: Final = 0.5  # past its limit a call that the worker itself could end
LAST_S: Final = 3.0  # for a worker that was asked to go
_THREADS: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS",
                   "NUMEXPR_NUM_THREADS", "NUMBA_NUM_THREADS")  # fmt: skip


@attrs.define(eq=False)
class _Job:
    """Something to do.

    Attributes:
        future: What becomes of it.
        data: The call, as bytes.
        only: The worker that must do it.
    """

    future: Future[Any]
    data: bytes
    only: _Worker | None = None


class _Worker:
    """One process.

    Attributes:
        job: What it does.
        line: The way to it, once it has called.
    """

    def __init__(self, name: str, process: subprocess.Popen[bytes]) -> None:
        self.name = name
        self.process = process
        self.line: Line | None = None
        self.job: _Job | None = None
        self.number = 0
        self.going = False  # was asked to end
        self.overdue: tuple[str, NodeTimeoutError] | None = None  # why it was killed

    @property
    def idle(self) -> bool:
        """Whether it can be given something to do."""
        return self.line is not None and self.job is None and not self.going


class Workers(Executor):
    """A pool of processes that start without the caller's main module, end with this process, and can be killed one by one.

    Args:
        most: The most processes.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.process = os.getpid()
        self.hub = Hub()
        self._lock = threading.RLock()
        self._workers: list[_Worker] = []
        self._jobs: deque[_Job] = deque()
        self._names = 0
        self._failed_starts = 0
        self._closed = False
        self._watching = False
        ours = weakref.ref(self)

        def hello(line: Line, name: str) -> None:
            pool = ours()
            if pool is not None:
                pool._ready(line, name)  # noqa: SLF001 - its own

        self.hub.serve(WORKERS, {"hello": hello})
        _ALL.add(self)

    # -- what is to be done -----------------------------------------------------------------------------------------

    def submit(self, fn: Callable[..., Any], /, *args: Any) -> Future[Any]:  # type: ignore[override]
        """Call a function in a process.

        Args:
            fn: The function; it travels with what it needs.
            args: What to call it with.
        """
        import cloudpickle

        job = _Job(Future(), cloudpickle.dumps((fn, args), protocol=5))
        with self._lock:
            if self._closed:
                msg = "the engine was closed while a call was under way; what is finished is kept where there is a cache"
                raise HyperNodesError(msg)
            self._jobs.append(job)
            self._dispatch()
        return job.future

    def on_each(self, function: Callable[..., Any], seconds: float) -> None:
        """Call a function in every process that is idle, and wait for it a while."""
        import cloudpickle

        data = cloudpickle.dumps((function, ()), protocol=5)
        with self._lock:
            jobs = [_Job(Future(), data, only=worker) for worker in self._workers if worker.idle]
            self._jobs.extendleft(jobs)
            self._dispatch()
        end = perf_counter() + seconds
        for job in jobs:
            with contextlib.suppress(Exception):
                job.future.result(max(0.0, end - perf_counter()))

    def forget(self, program: str) -> None:
        """Let processes forget what they have of a run."""
        with self._lock:
            for worker in self._workers:
                if worker.line is not None:
                    with contextlib.suppress(OSError):
                        worker.line.send(("forget", program))

    def _dispatch(self) -> None:
        """Give waiting jobs to idle workers, and start workers for the others. The lock is held."""
        waiting: list[_Job] = []
        for _ in range(len(self._jobs)):
            job = self._jobs.popleft()
            worker = job.only if job.only is not None else next((each for each in self._workers if each.idle), None)
            if worker is None or not worker.idle:
                if job.only is not None and job.only not in self._workers:
                    job.future.cancel()
                    continue
                waiting.append(job)
                if worker is None and job.only is None:
                    break
                continue
            if job.future.set_running_or_notify_cancel():
                self._give(worker, job)
        self._jobs.extendleft(reversed(waiting))
        coming = sum(worker.line is None for worker in self._workers)
        while len(self._workers) < self.most and coming < len(self._jobs):
            self._start()
            coming += 1

    def _give(self, worker: _Worker, job: _Job) -> None:
        worker.job = job
        worker.number += 1
        assert worker.line is not None  # noqa: S101 - it is idle
        with contextlib.suppress(OSError):  # it is dead; whoever waits for its end sees to the job
            worker.line.send(("do", worker.number, job.data))

    # -- processes --------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        self._names += 1
        name = f"worker {self._names}"
        environment = dict(os.environ)
        share = str(max(1, (os.cpu_count() or 1) // self.most))
        for variable in _THREADS:
            environment.setdefault(variable, share)
        process = subprocess.Popen([sys.executable, "-c", START], stdin=subprocess.PIPE, env=environment)  # noqa: S603 - this interpreter
        worker = _Worker(name, process)
        self._workers.append(worker)
        setup = {"address": self.hub.address, "name": name, "path": list(sys.path)}
        try:
            assert process.stdin is not None  # noqa: S101 - asked for above
            process.stdin.write(pickle.dumps(setup))
            process.stdin.close()
        except OSError:
            pass  # as above
        threading.Thread(target=_watch, args=(weakref.ref(self), worker), name="hypernodes-watch", daemon=True).start()

    def _ready(self, line: Line, name: str) -> None:
        with self._lock:
            worker = next((each for each in self._workers if each.name == name), None)
            if worker is None or self._closed:
                line.close()
                return
            worker.line = line
            self._failed_starts = 0
            line.taken = lambda message: self._done(worker, message)
            line.timed = self._watch
            self._dispatch()

    # -- calls that take too long ----------------------------------------------------------------------------------

    def _watch(self) -> None:
        """See to it that somebody looks at the clocks."""
        with self._lock:
            if not self._watching:
                self._watching = True
                threading.Thread(target=self._look_at_clocks, name="hypernodes-clock", daemon=True).start()

    def _look_at_clocks(self) -> None:
        """Kill workers that are long past the limit of a call; as a rule they note it themselves."""
        while True:
            sleep(CLOCK_S)
            now = perf_counter()
            with self._lock:
                lines = [(worker, worker.line) for worker in self._workers if worker.line is not None]
                running = [(worker, *clock) for worker, line in lines for clock in list(line.clocks.values())]
                if not running:
                    self._watching = False
                    return
            for worker, node, limit, moment in running:
                if now > moment + LATE_S and worker.overdue is None:
                    worker.overdue = (node, timed_out(node, limit))
                    worker.process.kill()

    def _done(self, worker: _Worker, message: tuple[Any, ...]) -> None:
        """Take what a worker says of its job."""
        from hypernodes._failures import unpack_error

        _, number, well, data, spent = message
        with self._lock:
            job = worker.job
            if job is None or number != worker.number:
                return
            worker.job = None
            if spent:  # a call that took too long still runs there
                self._send_away(worker)
            self._dispatch()
        try:
            value = pickle.loads(data)  # noqa: S301 - from a process that this one started
            if well:
                job.future.set_result(value)
            else:
                job.future.set_exception(unpack_error(value))
        except BaseException as error:  # noqa: BLE001 - handed to whoever waits for it
            job.future.set_exception(error)

    def ended(self, worker: _Worker) -> None:
        """Note that a process has ended."""
        if worker.line is not None:
            worker.line.ended.wait(LAST_S)  # what it sent before counts
        with self._lock:
            if worker in self._workers:
                self._workers.remove(worker)
            job, worker.job = worker.job, None
            if worker.line is None and not worker.going and not self._closed:
                self._failed_starts += 1
            failed = list(self._jobs) if self._failed_starts >= STARTS else []
            for each in failed:
                self._jobs.remove(each)
            if not self._closed:
                self._dispatch()
        how = ending(worker.process.returncode)
        if job is not None:
            error = WorkerLostError(f"the worker process ended with {how} while it ran this item")
            error.node = worker.line.mark if worker.line is not None else ""
            if worker.overdue is not None:
                error.node, error.overdue = worker.overdue
            job.future.set_exception(error)
        for each in failed:
            if each.future.set_running_or_notify_cancel():
                msg = f"worker processes end with {how} before they are ready; what they print says why"
                each.future.set_exception(CapabilityError(msg))

    def _send_away(self, worker: _Worker) -> None:
        """Ask a worker to go; kill it if it does not."""
        worker.going = True
        if worker.line is not None:
            with contextlib.suppress(OSError):
                worker.line.send(("stop",))
        threading.Thread(target=_kill_later, args=(worker.process, LAST_S), name="hypernodes-kill", daemon=True).start()

    def drop(self, futures: list[Future[Any]]) -> None:
        """Stop what nobody waits for any more: with patience for a moment, then with the process."""
        for future in futures:
            future.cancel()
        end = perf_counter() + GRACE_S
        while (busy := self._busy_with(futures)) and perf_counter() < end:
            sleep(0.01)
        with self._lock:
            for worker in busy:
                if worker.job is not None and worker.job.future in futures:
                    self._send_away(worker)
        end = perf_counter() + LAST_S
        while self._busy_with(futures) and perf_counter() < end:
            sleep(0.01)

    def _busy_with(self, futures: list[Future[Any]]) -> list[_Worker]:
        with self._lock:
            return [worker for worker in self._workers if worker.job is not None and worker.job.future in futures]

    def kill_all(self) -> None:
        """End all processes at once."""
        if self.process != os.getpid():
            return  # a fork: they are the parent's
        with self._lock:
            self._closed = True
            workers = list(self._workers)
        for worker in workers:
            worker.going = True
            if worker.line is not None:
                with contextlib.suppress(OSError):
                    worker.line.send(("stop",) if worker.job is not None else ("end",))
            else:
                worker.process.kill()
        end = perf_counter() + LAST_S
        for worker in workers:
            try:
                worker.process.wait(max(0.0, end - perf_counter()))
            except subprocess.TimeoutExpired:
                worker.process.kill()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    worker.process.wait(LAST_S)
        self.hub.close()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - as in the standard library
        """End the processes.

        Args:
            wait: Whether to wait for what was submitted.
            cancel_futures: Whether what has not started never shall.
        """
        with self._lock:
            jobs = list(self._jobs)
            busy = [worker.job for worker in self._workers if worker.job is not None]
        if cancel_futures:
            for job in jobs:
                job.future.cancel()
        if wait:
            for job in (*busy, *jobs):
                with contextlib.suppress(BaseException):
                    job.future.exception()
        self.kill_all()


_ALL: Final[weakref.WeakSet[Workers]] = weakref.WeakSet()


@atexit.register
def _end_all() -> None:
    for workers in list(_ALL):
        workers.kill_all()


def _watch(pool: weakref.ref[Workers], worker: _Worker) -> None:
    """Wait for the end of a process."""
    worker.process.wait()
    workers = pool()
    if workers is not None:
        workers.ended(worker)


def _kill_later(process: subprocess.Popen[bytes], seconds: float) -> None:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
