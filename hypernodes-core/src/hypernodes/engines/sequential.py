"""The default engine: topological order, item after item, in the caller's thread."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from hypernodes.engines.base import Engine, EngineCapabilities, EngineRun

if TYPE_CHECKING:
    from hypernodes._calls import BlockResult
    from hypernodes.engines.task import Task


class SeqEngine(Engine):
    """Runs nodes in topological order, item after item, in the thread that called the pipeline.

    The default. Nothing runs at the same time, so a breakpoint stops everything and tracebacks are short.

    Example:
        >>> from hypernodes import Pipeline, SeqEngine, node
        >>> @node(output_name="doubled")
        ... def double(x: int) -> int:
        ...     return 2 * x
        >>> Pipeline([double], engine=SeqEngine()).run({"x": 4})
        {'doubled': 8}
    """

    name = "seq"
    capabilities = EngineCapabilities(workers=1)
    in_caller = True

    def execute(self, run: EngineRun, tasks: Iterator[Task]) -> Iterator[BlockResult]:
        """Run each task when its result is asked for."""
        for task in tasks:
            yield task()


SequentialEngine = SeqEngine
