"""Telling callbacks what happens: who listens to what, and the one place that calls them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from types import MappingProxyType
from typing import Any, Final

import attrs

from hypernodes import events
from hypernodes.callbacks import CallbackContext, PipelineCallback, RunInfo
from hypernodes.errors import CallbackWarning

_METHODS: dict[int, tuple[str, ...]] = {
    events.PIPELINE_START: ("on_pipeline_start",),
    events.PIPELINE_END: ("on_pipeline_end",),
    events.NESTED_START: ("on_nested_pipeline_start",),
    events.NESTED_END: ("on_nested_pipeline_end",),
    events.NODE_START: ("on_node_start",),
    events.NODE_END: ("on_node_end",),
    events.CACHE_HIT: ("on_cache_hit", "on_node_cached"),
    events.CACHE_MISS: ("on_cache_miss",),
    events.ERROR: ("on_error",),
    events.MAP_START: ("on_map_start",),
    events.MAP_END: ("on_map_end",),
    events.ITEM_START: ("on_map_item_start",),
    events.ITEM_END: ("on_map_item_end",),
    events.ITEM_CACHED: ("on_map_item_cached",),
}

NOBODY: Final = (None, None)


def overrides(callback: PipelineCallback, method: str) -> bool:
    """Whether a callback has a method of its own, on its class or its instance."""
    if method in getattr(callback, "__dict__", ()):
        return True
    return getattr(type(callback), method, None) is not getattr(PipelineCallback, method)


def wanted(callbacks: Iterable[PipelineCallback]) -> int:
    """Return the bits of all events that some callback listens to."""
    bits = 0
    for callback in callbacks:
        for kind, methods in _METHODS.items():
            if any(overrides(callback, method) for method in methods):
                bits |= kind
        if callback.wants_values:
            bits |= events.VALUES
    return bits


@attrs.frozen(eq=False)
class Place:
    """What the context says about a step or an inlined pipeline.

    Attributes:
        id: The node's id, or the nested pipeline's.
        node_name: The node's own name; ``None`` for a pipeline.
        pipeline_id: The pipeline it is, or stands in.
        parent_id: The pipeline around that one.
        path: Names from the called pipeline down to it.
        depth: How many pipelines are around it.
        group: Which of the run's groups of callbacks hears of it.
    """

    id: str
    node_name: str | None
    pipeline_id: str
    parent_id: str | None
    path: tuple[str, ...]
    depth: int
    group: int


class Listeners:
    """The callbacks of one pipeline, sorted by what they listen to."""

    def __init__(self, callbacks: Sequence[PipelineCallback]) -> None:
        self.callbacks = tuple(callbacks)
        self.methods: dict[int, list[Callable[..., None]]] = {}
        self.keep(self.callbacks)

    def keep(self, callbacks: Sequence[PipelineCallback]) -> None:
        """Tell only these from now on."""
        self.callbacks = tuple(callbacks)
        self.methods = {
            kind: [getattr(callback, names[0]) for callback in callbacks if any(overrides(callback, name) for name in names)]
            for kind, names in _METHODS.items()
        }


class Dispatcher:
    """Tells the callbacks of one run; the only place that calls them.

    Args:
        run: What the run is.
        groups: The callbacks of each pipeline that has its own.
        places: Per program (by key), the place of each step and of each scope (``~scope``).
        owner_of: Names the package that attached a callback, where one did.
        strict: Whether a raising callback fails the run.
    """

    def __init__(
        self,
        run: RunInfo,
        groups: Sequence[Sequence[PipelineCallback]],
        places: dict[tuple[int, ...], dict[int, Place]],
        owner_of: Callable[[PipelineCallback], str | None],
        strict: bool,  # noqa: FBT001 - internal
    ) -> None:
        self.run = run
        self.callbacks = list({id(callback): callback for group in groups for callback in group}.values())
        self.groups = [Listeners(group) for group in groups]
        self.places = places
        self.ctx = CallbackContext(run.run_id, run.engine, run.pipeline)
        self.strict = strict
        self._owner_of = owner_of
        self._place: Place | None = None

    def tell(
        self,
        kind: int,
        key: tuple[int, ...],
        place: int,
        item: int | None,
        outer: tuple[int, ...],
        time: float,
        attempt: int = 1,
        first: Any = None,
        second: Any = None,
        who: events.Who = None,
    ) -> None:
        """Tell one event to whoever listens; see ``events`` for the arguments."""
        spot = self.places[key][place]
        methods = self.groups[spot.group].methods[kind]
        if not methods:
            return
        ctx = self.ctx
        if spot is not self._place:
            self._place = spot
            ctx.depth, ctx.hierarchy_path, ctx.node_name = spot.depth, spot.path, spot.node_name
            ctx.current_pipeline_id, ctx.parent_pipeline_id = spot.pipeline_id, spot.parent_id
        ctx.item_index, ctx._outer_items, ctx.time, ctx.attempt = item, outer, time, attempt  # noqa: SLF001 - the context is ours
        ctx.signature, ctx.identity = who or NOBODY
        if kind == events.NODE_END:
            outputs = MappingProxyType(first)
            for method in methods:
                try:
                    method(spot.id, outputs, second, ctx)
                except Exception as error:  # noqa: BLE001 - a fault of a callback never changes a result
                    self.fault(method, error)
            return
        args = self._arguments(kind, spot, item, first, second)
        for method in methods:
            try:
                method(*args, ctx)
            except Exception as error:  # noqa: BLE001 - a fault of a callback never changes a result
                self.fault(method, error)

    def _arguments(self, kind: int, spot: Place, item: int | None, first: Any, second: Any) -> tuple[Any, ...]:
        if kind == events.PIPELINE_END:
            return (spot.id, MappingProxyType(first), second)
        if kind in (events.NODE_START, events.PIPELINE_START):
            return (spot.id, MappingProxyType(first))
        if kind in (events.ITEM_START, events.ITEM_CACHED):
            return (item,)
        if kind == events.ITEM_END:
            return (item, first)
        if kind == events.NESTED_START:
            return (spot.parent_id, spot.id)
        if kind == events.NESTED_END:
            return (spot.parent_id, spot.id, first)
        if kind in (events.MAP_START, events.MAP_END):
            return (first,)
        if kind == events.ERROR:
            return ("/".join(spot.path[1:]), first.error)  # also about a nested pipeline that could not start
        return ("/".join(spot.path[1:]), first)  # also about a nested pipeline that was found as a whole

    def replay(self, recorder: events.Recorder) -> None:
        """Tell what was recorded elsewhere, with its true times."""
        self.ctx.worker = recorder.worker
        try:
            recorder.replay(self.tell)
        finally:
            self.ctx.worker = ""

    def start(self) -> None:
        """Tell ``on_run_start``."""
        self._each("on_run_start", self.run)

    def end(self, result: Any, seconds: float) -> None:
        """Tell ``on_run_end``."""
        self._place = None
        ctx = self.ctx
        ctx.depth, ctx.hierarchy_path, ctx.node_name = 0, (self.run.pipeline,), None
        ctx.current_pipeline_id, ctx.parent_pipeline_id = self.run.pipeline, None
        ctx.signature, ctx.identity = NOBODY
        ctx.item_index, ctx._outer_items, ctx.attempt = None, (), 1  # noqa: SLF001 - the context is ours
        self._each("on_run_end", self.run, result, seconds)

    def _each(self, name: str, *args: Any) -> None:
        import time

        self.ctx.time = time.time()
        failing: Exception | None = None
        for callback in list(self.callbacks):
            if overrides(callback, name):
                method = getattr(callback, name)
                try:
                    try:
                        method(*args, self.ctx)
                    except Exception as error:  # noqa: BLE001 - a fault of a callback never changes a result
                        self.fault(method, error)
                except Exception as error:  # noqa: BLE001 - raised below, when the others know too that a run starts or ends
                    failing = failing or error
        if failing is not None:
            raise failing

    def fault(self, method: Any, error: Exception) -> None:
        """Name the culprit, drop it for this run, and go on; fail where the culprit is required, or under strict."""
        callback = getattr(method, "__self__", None)
        guilty = next((known for known in self.callbacks if known is callback or _holds(known, method)), None)
        if guilty is None:
            return  # it failed before in this very event and is already dropped
        kind = type(guilty)
        owner = self._owner_of(guilty) or _package(kind.__module__)
        name = f"{kind.__module__}.{kind.__qualname__}.{getattr(method, '__name__', '?')}"
        text = f"callback {name}{f' ({owner})' if owner else ''} raised {type(error).__name__}: {error}"
        if self.strict or guilty.required:
            error.add_note(f"raised by {text.partition(' raised ')[0]}, which is {'required' if guilty.required else 'strict'}")
            raise error
        self.callbacks.remove(guilty)
        for group in self.groups:
            group.keep([known for known in group.callbacks if known is not guilty])
        warnings.warn(f"{text}; it is not told anything more of this run, which goes on", CallbackWarning, stacklevel=2)


def _holds(callback: PipelineCallback, method: Any) -> bool:
    return any(value is method for value in getattr(callback, "__dict__", {}).values())


def _package(module: str) -> str | None:
    """Return ``distribution version`` of the package that a module belongs to, if it was installed."""
    from importlib.metadata import version

    from hypernodes.identity._distributions import home_of_name

    try:
        return next((f"{name} {version(name)}" for name in sorted(home_of_name(module).distributions)), None)
    except Exception:  # noqa: BLE001 - a broken installation must not hide the message
        return None
