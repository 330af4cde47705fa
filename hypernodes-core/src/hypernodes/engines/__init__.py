"""Engines: how and where a pipeline's blocks run.

``SeqEngine`` is part of the core; engines of installed packages are found here by name
(``from hypernodes.engines import DaftEngine``).
"""

from __future__ import annotations

from typing import Any

from hypernodes._calls import BlockResult
from hypernodes.engines.base import Engine, EngineCapabilities, EngineRun, Session
from hypernodes.engines.sequential import SeqEngine, SequentialEngine
from hypernodes.engines.task import Task, run_block

__all__ = [
    "BlockResult",
    "Engine",
    "EngineCapabilities",
    "EngineRun",
    "SeqEngine",
    "SequentialEngine",
    "Session",
    "Task",
    "run_block",
]


def __getattr__(name: str) -> Any:
    from hypernodes import plugins

    return plugins.attribute(__name__, name)
