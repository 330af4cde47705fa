"""Acme's engine: blocks travel as bytes, and come back as bytes, as they would from a remote service."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any

from hypernodes.engines import BlockResult, Engine, EngineCapabilities, EngineRun, Session, Task, run_block


class AcmeEngine(Engine):
    """Runs blocks on a pool of threads that stands for Acme's cluster.

    Args:
        workers: How many blocks run at the same time.
        **settings: What every engine takes.
    """

    name = "acme"

    def __init__(self, *, workers: int = 2, **settings: Any) -> None:
        super().__init__(**settings)
        if workers < 1:
            msg = f"workers={workers}: Acme's cluster needs at least 1"
            raise ValueError(msg)
        self.workers = workers
        self.capabilities = EngineCapabilities(workers=workers, reach="host", shares_memory=False)

    def open(self, run: EngineRun) -> Session:  # noqa: ARG002 - every engine is told of its run
        """Start the pool for one run."""
        return _AcmeSession(self.workers)


class _AcmeSession(Session):
    def __init__(self, workers: int) -> None:
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix=f"acme-of-{workers}")

    def submit(self, task: Task) -> Future[BlockResult]:
        return self._pool.submit(_remotely, task.to_bytes())

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._pool.shutdown(cancel_futures=True)


def _remotely(data: bytes) -> BlockResult:
    return BlockResult.from_bytes(run_block(data))
