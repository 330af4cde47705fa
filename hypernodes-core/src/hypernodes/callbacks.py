"""Callbacks: who is told what happens in a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import attrs

if TYPE_CHECKING:
    from hypernodes.protocols import NodeScope


@attrs.frozen
class RunInfo:
    """What a run is, known before its first item.

    Attributes:
        run_id: Unique and sortable by start time.
        pipeline: The pipeline's name.
        kind: ``"run"``, ``"map"`` or ``"imap"``.
        engine: The engine's name.
        total_items: How many items a map has, or ``None`` when that is not known yet.
        outputs: The requested outputs.
        started: Seconds since the epoch.
    """

    run_id: str
    pipeline: str
    kind: str
    engine: str
    total_items: int | None
    outputs: tuple[str, ...]
    started: float


class CallbackContext:
    """Where in the run the current event happened.

    One context serves a whole run: its fields describe the event being told, so read them during the call
    and do not keep them. ``get`` and ``set`` share data between the events and callbacks of a run.

    Attributes:
        run_id: The run.
        engine: The engine's name.
        depth: 0 for the pipeline that was called, 1 inside a nested one, and so on.
        hierarchy_path: Names from the called pipeline down to what the event is about.
        current_pipeline_id: The pipeline the event is about or happened in: names joined by ``/``.
        parent_pipeline_id: The pipeline around that one, or ``None``.
        node_name: The node's own name, or ``None`` for events that are not about a node.
        item_index: The index in the innermost map, or ``None`` outside a map.
        item_path: Indices of all maps around the event, outermost first.
        attempt: 1, or more when a node was retried.
        worker: Where the node ran: process id and thread name; empty for this thread.
        signature: The cache signature of the event's computation, or ``None``.
        identity: The identity of the event's value, or ``None``.
        time: When it really happened, in seconds since the epoch.
        carrier: Text that travels to workers with every task; fill it in ``on_run_start``.
    """

    __slots__ = (
        "_data",
        "_outer_items",
        "attempt",
        "carrier",
        "current_pipeline_id",
        "depth",
        "engine",
        "hierarchy_path",
        "identity",
        "item_index",
        "node_name",
        "parent_pipeline_id",
        "run_id",
        "signature",
        "time",
        "worker",
    )

    def __init__(self, run_id: str, engine: str, pipeline: str) -> None:
        self.run_id = run_id
        self.engine = engine
        self.depth = 0
        self.hierarchy_path: tuple[str, ...] = (pipeline,)
        self.current_pipeline_id = pipeline
        self.parent_pipeline_id: str | None = None
        self.node_name: str | None = None
        self.item_index: int | None = None
        self._outer_items: tuple[int, ...] = ()
        self.attempt = 1
        self.worker = ""
        self.signature: str | None = None
        self.identity: str | None = None
        self.time = 0.0
        self.carrier: dict[str, str] = {}
        self._data: dict[str, Any] = {}

    @property
    def item_path(self) -> tuple[int, ...]:
        """Indices of all maps around the event, outermost first."""
        return self._outer_items if self.item_index is None else (*self._outer_items, self.item_index)

    def get(self, key: str, default: Any = None) -> Any:
        """Return shared data of this run."""
        return self._data.get(key, default)

    def set(self, key: str, value: Any) -> None:
        """Keep data for later events and other callbacks of this run."""
        self._data[key] = value

    def __repr__(self) -> str:
        item = "" if self.item_index is None else f" item {self.item_index}"
        return f"<CallbackContext {'/'.join(self.hierarchy_path)}{item} run {self.run_id}>"


class PipelineCallback:
    """Base of callbacks: override the methods you want to hear.

    Methods that are not overridden cost nothing. All are called in the process that called the pipeline, on one
    thread. A callback that raises is named in a warning, dropped for that run, and the run goes on (under
    ``strict``, or with ``required = True``, the run fails).

    Ids: a pipeline's id is its path from the called pipeline (``"rag/index"``); a node's id is the path below it
    (``"index/embed"``). ``inputs`` and ``outputs`` are read-only mappings.

    Attributes:
        required: Whether the run must fail when this callback raises.
        wants_values: Whether inputs and outputs of nodes that ran in other processes are brought here; without it
            such events carry a ``ValueSummary`` in place of each value.
        supported_engines: Names of the engines it works with, or ``None`` for all.

    Example:
        >>> class Names(PipelineCallback):
        ...     def on_node_end(self, node_id, outputs, duration, ctx):
        ...         print(node_id)
    """

    required: ClassVar[bool] = False
    wants_values: ClassVar[bool] = False
    supported_engines: ClassVar[tuple[str, ...] | None] = None

    def on_run_start(self, run: RunInfo, ctx: CallbackContext) -> None:
        """A pipeline was called; first event of every run."""

    def on_run_end(self, run: RunInfo, result: Any, duration: float, ctx: CallbackContext) -> None:
        """The call is over; ``result`` is what it returns, or the exception it raises."""

    def on_pipeline_start(self, pipeline_id: str, inputs: Mapping[str, Any], ctx: CallbackContext) -> None:
        """The called pipeline starts on one set of inputs (each item of a map)."""

    def on_pipeline_end(self, pipeline_id: str, outputs: Mapping[str, Any], duration: float, ctx: CallbackContext) -> None:
        """The called pipeline has the requested outputs of one set of inputs."""

    def on_nested_pipeline_start(self, parent_id: str, child_id: str, ctx: CallbackContext) -> None:
        """A pipeline inside another starts."""

    def on_nested_pipeline_end(self, parent_id: str, child_id: str, duration: float, ctx: CallbackContext) -> None:
        """A pipeline inside another is through."""

    def on_node_start(self, node_id: str, inputs: Mapping[str, Any], ctx: CallbackContext) -> None:
        """A node starts on one item."""

    def on_node_end(self, node_id: str, outputs: Mapping[str, Any], duration: float, ctx: CallbackContext) -> None:
        """A node has returned; ``duration`` in seconds."""

    def on_cache_hit(self, node_id: str, signature: str, ctx: CallbackContext) -> None:
        """A node's result was found in the cache."""
        self.on_node_cached(node_id, signature, ctx)

    def on_node_cached(self, node_id: str, signature: str, ctx: CallbackContext) -> None:
        """A node's result was found in the cache (the name other tools use)."""

    def on_cache_miss(self, node_id: str, signature: str, ctx: CallbackContext) -> None:
        """A node's result was not in the cache; the node will run."""

    def on_error(self, node_id: str, error: BaseException, ctx: CallbackContext) -> None:
        """A node failed for good (after its retries); comes in place of ``on_node_end``."""

    def on_map_start(self, total_items: int | None, ctx: CallbackContext) -> None:
        """A map starts: the called one, or that of a nested pipeline (``ctx.depth``)."""

    def on_map_end(self, duration: float, ctx: CallbackContext) -> None:
        """A map is through."""

    def on_map_item_start(self, item_index: int, ctx: CallbackContext) -> None:
        """An item of a map starts."""

    def on_map_item_end(self, item_index: int, duration: float, ctx: CallbackContext) -> None:
        """An item of a map is through, with or without failures."""

    def on_map_item_cached(self, item_index: int, ctx: CallbackContext) -> None:
        """All requested outputs of an item came from the cache; comes before its ``on_map_item_end``."""

    def node_scope(self, run: RunInfo) -> NodeScope | None:
        """Return what must surround every node where it runs, or ``None``."""
        return None


@attrs.frozen
class ValueSummary:
    """Stands for a value that stayed in another process.

    Attributes:
        type: The type's qualified name.
        size: Its length, or bytes for arrays; ``None`` when neither is known.
        identity: Its identity, where it was computed.
    """

    type: str
    size: int | None = None
    identity: str | None = None

    @classmethod
    def of(cls, value: object) -> ValueSummary:
        """Describe a value without keeping it."""
        kind = type(value)
        size = getattr(value, "nbytes", None)
        if not isinstance(size, int):
            try:
                size = len(value)  # type: ignore[arg-type]
            except Exception:  # noqa: BLE001 - a size is a courtesy
                size = None
        return cls(f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins."), size)


class LoggingCallback(PipelineCallback):
    """Write what happens to a standard logger: runs and maps at ``level``, nodes at ``node_level``, errors at ERROR.

    Args:
        logger: The logger or its name.
        level: Level of run and map messages.
        node_level: Level of node messages.

    Example:
        >>> from hypernodes import Pipeline, node
        >>> @node(output_name="y")
        ... def inc(x):
        ...     return x + 1
        >>> _ = Pipeline([inc], callbacks=[LoggingCallback()]).run({"x": 1})
    """

    def __init__(self, logger: Any = "hypernodes", level: int = 20, node_level: int = 10) -> None:
        self.logger = logger
        self.level = level
        self.node_level = node_level

    def _log(self, level: int, message: str, *args: object) -> None:
        import logging  # loaded with the first message only: configuration stays cheap and picklable

        logger = logging.getLogger(self.logger) if isinstance(self.logger, str) else self.logger
        logger.log(level, message, *args)

    def on_run_start(self, run: RunInfo, ctx: CallbackContext) -> None:
        """Log the start of a run."""
        items = f" over {run.total_items:,} items" if run.total_items is not None else ""
        self._log(self.level, "%s %s%s started (run %s, engine %s)", run.kind, run.pipeline, items, run.run_id, run.engine)

    def on_run_end(self, run: RunInfo, result: Any, duration: float, ctx: CallbackContext) -> None:
        """Log the end of a run."""
        how = f"failed: {type(result).__name__}" if isinstance(result, BaseException) else "finished"
        self._log(self.level, "%s %s %s in %.3f s (run %s)", run.kind, run.pipeline, how, duration, run.run_id)

    def on_node_end(self, node_id: str, outputs: Mapping[str, Any], duration: float, ctx: CallbackContext) -> None:
        """Log a node that ran."""
        item = "" if ctx.item_index is None else f" item {ctx.item_index}"
        self._log(self.node_level, "%s%s ran in %.6f s", node_id, item, duration)

    def on_node_cached(self, node_id: str, signature: str, ctx: CallbackContext) -> None:
        """Log a node found in the cache."""
        item = "" if ctx.item_index is None else f" item {ctx.item_index}"
        self._log(self.node_level, "%s%s came from the cache", node_id, item)

    def on_error(self, node_id: str, error: BaseException, ctx: CallbackContext) -> None:
        """Log a node that failed."""
        item = "" if ctx.item_index is None else f" item {ctx.item_index}"
        self._log(40, "%s%s failed: %s: %s", node_id, item, type(error).__name__, error)
