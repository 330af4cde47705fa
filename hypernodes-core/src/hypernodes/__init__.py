"""HyperNodes: build once, cache intelligently, run anywhere.

Functions become nodes, nodes become pipelines, pipelines become nodes.

Example:
    >>> from hypernodes import Pipeline, node
    >>> @node(output_name="doubled")
    ... def double(x: int) -> int:
    ...     return 2 * x
    >>> Pipeline([double]).map({"x": [1, 2, 3]}, map_over="x")
    [{'doubled': 2}, {'doubled': 4}, {'doubled': 6}]
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypernodes import errors
from hypernodes._failures import NodeFailure
from hypernodes._version import __version__
from hypernodes.cache import DiskCache, MemoryCache
from hypernodes.callbacks import CallbackContext, LoggingCallback, PipelineCallback, RunInfo, ValueSummary
from hypernodes.config import UNSET, reset_default_config, set_default_config
from hypernodes.errors import HyperNodesError
from hypernodes.node import DualNode, Node, node
from hypernodes.pipeline import Pipeline
from hypernodes.pipeline_node import PipelineNode
from hypernodes.protocols import HyperNode, NodeScope
from hypernodes.results import MapResult, NodeStats, RunResult, RunStats

if TYPE_CHECKING:
    from hypernodes._file import File as File
    from hypernodes._stateful import stateful as stateful
    from hypernodes.engines import Engine as Engine
    from hypernodes.engines import EngineCapabilities as EngineCapabilities
    from hypernodes.engines import HyperNodesEngine as HyperNodesEngine
    from hypernodes.engines import SeqEngine as SeqEngine
    from hypernodes.engines import SequentialEngine as SequentialEngine
    from hypernodes.engines import run_block as run_block
    from hypernodes.plugins.hookspecs import hookimpl as hookimpl

_LATER = {
    "Engine": "hypernodes.engines",
    "EngineCapabilities": "hypernodes.engines",
    "File": "hypernodes._file",
    "HyperNodesEngine": "hypernodes.engines",
    "SeqEngine": "hypernodes.engines",
    "SequentialEngine": "hypernodes.engines",
    "hookimpl": "hypernodes.plugins.hookspecs",
    "run_block": "hypernodes.engines",
    "stateful": "hypernodes._stateful",
}  # imported when first asked for

__all__ = [
    "UNSET",
    "CallbackContext",
    "DiskCache",
    "DualNode",
    "Engine",
    "EngineCapabilities",
    "File",
    "HyperNode",
    "HyperNodesEngine",
    "HyperNodesError",
    "LoggingCallback",
    "MapResult",
    "MemoryCache",
    "Node",
    "NodeFailure",
    "NodeScope",
    "NodeStats",
    "Pipeline",
    "PipelineCallback",
    "PipelineNode",
    "RunInfo",
    "RunResult",
    "RunStats",
    "SeqEngine",
    "SequentialEngine",
    "ValueSummary",
    "__version__",
    "errors",
    "hookimpl",
    "node",
    "reset_default_config",
    "run_block",
    "set_default_config",
    "stateful",
]


def __getattr__(name: str) -> Any:
    if name in _LATER:
        import importlib

        value = globals()[name] = getattr(importlib.import_module(_LATER[name]), name)
        return value
    from hypernodes import plugins

    return plugins.attribute(__name__, name)
