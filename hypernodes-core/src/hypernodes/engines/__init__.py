"""Engines: how and where a pipeline's blocks run.

``SeqEngine`` and ``HyperNodesEngine`` are part of the core; engines of installed packages are found here by name
(``from hypernodes.engines import DaftEngine``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypernodes._calls import BlockResult
from hypernodes.engines.base import Engine, EngineCapabilities, EngineRun, Session
from hypernodes.engines.sequential import SeqEngine, SequentialEngine
from hypernodes.engines.task import Task, run_block

if TYPE_CHECKING:
    from hypernodes.engines.local import HyperNodesEngine as HyperNodesEngine

__all__ = [
    "BlockResult",
    "Engine",
    "EngineCapabilities",
    "EngineRun",
    "HyperNodesEngine",
    "SeqEngine",
    "SequentialEngine",
    "Session",
    "Task",
    "run_block",
]


def __getattr__(name: str) -> Any:
    if name == "HyperNodesEngine":  # with all that runs things at the same time
        from hypernodes.engines.local import HyperNodesEngine

        return HyperNodesEngine
    from hypernodes import plugins

    return plugins.attribute(__name__, name)
