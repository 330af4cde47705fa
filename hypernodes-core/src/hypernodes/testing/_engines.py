"""Engines that tests run on."""

from __future__ import annotations

from collections.abc import Iterator

from hypernodes.engines import BlockResult, Engine, EngineCapabilities, EngineRun, Task, run_block


class PackedEngine(Engine):
    """Runs every block from bytes, as another process would, but here: what cannot travel is found without one."""

    name = "packed"
    capabilities = EngineCapabilities(workers=2, reach="host", shares_memory=False)

    def execute(self, run: EngineRun, tasks: Iterator[Task]) -> Iterator[BlockResult]:
        """Pack each task, run it, unpack its result."""
        for task in tasks:
            yield BlockResult.from_bytes(run_block(task.to_bytes()))
