"""Listening to a run, and what a legal order of events is.

A run is a tree of frames, each opened by one event and closed by another: the run, its map, an item of it, the
pipeline on that item, nested pipelines, their maps and items, nodes. Frames of different items and of independent
nodes may overlap in time, so the rule is not a stack: a frame opens inside its own parent while that is open, opens
once, closes once, and closes after everything inside it.
"""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import attrs

from hypernodes.callbacks import CallbackContext, PipelineCallback, RunInfo

Frame: TypeAlias = tuple[str, str, tuple[int, ...]]  # what, id, indices of the items around it

RUN: Frame = ("run", "", ())
CLOCK_SLACK_S = 0.05  # clocks of processes are read once and may be set between readings


@attrs.frozen
class Event:
    """What a callback was told, with a copy of the context's fields.

    Attributes:
        kind: The method's name without ``on_``.
        id: The pipeline's or node's id; empty for the run.
        items: Indices of all maps around it.
        pipeline: The pipeline it is, or happened in.
        parent: The pipeline around that one.
        path: Names from the called pipeline down.
        depth: How many pipelines are around it.
        node: The node's own name.
        attempt: Which try.
        time: When it happened.
        said: The other arguments: inputs, outputs, duration, error, total, item index.
        told: Process and thread in which the callback was called.
    """

    kind: str
    id: str
    items: tuple[int, ...]
    pipeline: str
    parent: str | None
    path: tuple[str, ...]
    depth: int
    node: str | None
    attempt: int
    time: float
    said: dict[str, Any]
    told: tuple[int, int]

    @property
    def key(self) -> tuple[str, str, tuple[int, ...]]:
        """What the event is, without when and where."""
        return (self.kind, self.id, self.items)


class Listener(PipelineCallback):
    """Notes every event.

    Attributes:
        events: What was told, in order.
        run: The run, as told at its start.
    """

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.run: RunInfo | None = None

    def _note(self, kind: str, about: str, ctx: CallbackContext, **said: Any) -> None:
        told = (os.getpid(), threading.get_ident())
        self.events.append(
            Event(
                kind,
                about,
                ctx.item_path,
                ctx.current_pipeline_id,
                ctx.parent_pipeline_id,
                ctx.hierarchy_path,
                ctx.depth,
                ctx.node_name,
                ctx.attempt,
                ctx.time,
                said,
                told,
            )
        )

    def counted(self, *kinds: str) -> Counter[tuple[str, str, tuple[int, ...]]]:
        """Return how often each event was told, in whatever order; of these kinds, or of all."""
        return Counter(event.key for event in self.events if not kinds or event.kind in kinds)

    def of(self, *kinds: str) -> list[Event]:
        """Return the events of these kinds."""
        return [event for event in self.events if event.kind in kinds]

    def on_run_start(self, run: RunInfo, ctx: CallbackContext) -> None:
        """Note it."""
        self.run = run
        self._note("run_start", "", ctx)

    def on_run_end(self, run: RunInfo, result: Any, duration: float, ctx: CallbackContext) -> None:
        """Note it."""
        self._note("run_end", "", ctx, result=result, duration=duration)

    def on_pipeline_start(self, pipeline_id: str, inputs: Mapping[str, Any], ctx: CallbackContext) -> None:
        """Note it."""
        self._note("pipeline_start", pipeline_id, ctx, inputs=dict(inputs))

    def on_pipeline_end(self, pipeline_id: str, outputs: Mapping[str, Any], duration: float, ctx: CallbackContext) -> None:
        """Note it."""
        self._note("pipeline_end", pipeline_id, ctx, outputs=dict(outputs), duration=duration)

    def on_nested_pipeline_start(self, parent_id: str, child_id: str, ctx: CallbackContext) -> None:
        """Note it."""
        self._note("nested_start", child_id, ctx, parent=parent_id)

    def on_nested_pipeline_end(self, parent_id: str, child_id: str, duration: float, ctx: CallbackContext) -> None:
        """Note it."""
        self._note("nested_end", child_id, ctx, parent=parent_id, duration=duration)

    def on_node_start(self, node_id: str, inputs: Mapping[str, Any], ctx: CallbackContext) -> None:
        """Note it."""
        self._note("node_start", node_id, ctx, inputs=dict(inputs))

    def on_node_end(self, node_id: str, outputs: Mapping[str, Any], duration: float, ctx: CallbackContext) -> None:
        """Note it."""
        self._note("node_end", node_id, ctx, outputs=dict(outputs), duration=duration)

    def on_error(self, node_id: str, error: BaseException, ctx: CallbackContext) -> None:
        """Note it."""
        self._note("error", node_id, ctx, error=error)

    def on_map_start(self, total_items: int | None, ctx: CallbackContext) -> None:
        """Note it."""
        self._note("map_start", ctx.current_pipeline_id, ctx, total=total_items)

    def on_map_end(self, duration: float, ctx: CallbackContext) -> None:
        """Note it."""
        self._note("map_end", ctx.current_pipeline_id, ctx, duration=duration)

    def on_map_item_start(self, item_index: int, ctx: CallbackContext) -> None:
        """Note it."""
        self._note("item_start", ctx.current_pipeline_id, ctx, index=item_index)

    def on_map_item_end(self, item_index: int, duration: float, ctx: CallbackContext) -> None:
        """Note it."""
        self._note("item_end", ctx.current_pipeline_id, ctx, index=item_index, duration=duration)


class ValueListener(Listener):
    """Notes every event with real values, wherever the nodes ran."""

    wants_values = True


def problems(events: Sequence[Event]) -> list[str]:
    """Return what is illegal in the events of one run, as told to a listener on the called pipeline; nothing if all is well."""
    return _Reader().read(events)


class _Reader:
    """Follows the frames of one run."""

    def __init__(self) -> None:
        self.found: list[str] = []
        self.open: dict[Frame, Event] = {}
        self.inside: Counter[Frame] = Counter()
        self.parents: dict[Frame, Frame] = {}
        self.ever: set[Frame] = set()
        self.tries: dict[Frame, int] = {}
        self.root = ""

    def read(self, events: Sequence[Event]) -> list[str]:
        if not events:
            return ["nothing was told at all"]
        if events[0].kind != "run_start":
            self.found.append(f"the first event is {_shown(events[0])}, not run_start")
        if events[-1].kind != "run_end":
            self.found.append(f"the last event is {_shown(events[-1])}, not run_end")
        self.root = events[0].pipeline
        for event in events:
            what, _, edge = event.kind.rpartition("_")
            self._context(event)
            if event.kind == "error":
                self._error(event)
            elif edge == "start":
                self._start(what, event)
            else:
                self._end(what, event)
        self.found.extend(f"{_named(frame)} never ended" for frame in self.open)
        return self.found

    def _frame(self, what: str, event: Event) -> Frame:
        return RUN if what == "run" else (what, event.id, event.items)

    def _start(self, what: str, event: Event) -> None:
        frame = self._frame(what, event)
        if what == "node" and frame in self.open:
            if event.attempt != self.tries[frame] + 1:
                self.found.append(f"{_shown(event)} is attempt {event.attempt}, after attempt {self.tries[frame]}")
            self.tries[frame] = event.attempt
            return
        if frame in self.ever:
            self.found.append(f"{_shown(event)} was told before")
            return
        self.ever.add(frame)
        if what == "node":
            self.tries[frame] = event.attempt
            if event.attempt != 1:
                self.found.append(f"{_shown(event)} begins with attempt {event.attempt}")
        parent = self._parent(what, event)
        self.open[frame] = event
        if parent is None:
            return
        if parent not in self.open:
            self.found.append(f"{_shown(event)} came while {_named(parent)} was not open")
            return
        self.parents[frame] = parent
        self.inside[parent] += 1
        if event.time < self.open[parent].time - CLOCK_SLACK_S:
            self.found.append(f"{_shown(event)} has an earlier time than the start of {_named(parent)}")

    def _parent(self, what: str, event: Event) -> Frame | None:
        if what == "run":
            return None
        if what == "map":
            return RUN if event.id == self.root else ("nested", event.id, event.items)
        if what == "item":
            return ("map", event.id, event.items[:-1])
        if what == "pipeline":
            return ("item", event.id, event.items) if event.items else RUN
        around = event.said["parent"] if what == "nested" else event.pipeline
        if around == self.root:
            return ("pipeline", around, event.items)
        mapped: Frame = ("item", around, event.items)
        return mapped if mapped in self.open else ("nested", around, event.items)

    def _end(self, what: str, event: Event) -> None:
        frame = self._frame(what, event)
        started = self.open.pop(frame, None)
        if started is None:
            self.found.append(f"{_shown(event)} ends what was not open")
            return
        if self.inside[frame]:
            left = [_named(inner) for inner, parent in self.parents.items() if parent == frame and inner in self.open]
            self.found.append(f"{_shown(event)} came before the end of {', '.join(left)}")
        if frame in self.parents:
            self.inside[self.parents[frame]] -= 1
        if event.time < started.time - CLOCK_SLACK_S:
            self.found.append(f"{_shown(event)} has an earlier time than its start")
        if event.said.get("duration", 0.0) < 0:
            self.found.append(f"{_shown(event)} took {event.said['duration']} s")
        if what == "node" and event.attempt != self.tries[frame]:
            self.found.append(f"{_shown(event)} is attempt {event.attempt}; attempt {self.tries[frame]} was told to start")

    def _error(self, event: Event) -> None:
        if not isinstance(event.said["error"], BaseException):
            self.found.append(f"{_shown(event)} carries {event.said['error']!r}, which is no exception")
        if ("node", event.id, event.items) in self.open:
            self._end("node", event)
        elif ("nested", f"{self.root}/{event.id}", event.items) not in self.open:  # one that could not be exploded
            self.found.append(f"{_shown(event)} is about what was not open")

    def _context(self, event: Event) -> None:
        """Check the fields that say where in the hierarchy an event stands."""
        if event.kind in ("run_start", "run_end") and (event.pipeline, event.items) != (self.root, ()):
            self.found.append(f"{_shown(event)} stands in {event.pipeline} {event.items}")
        if event.kind.startswith("item") and (not event.items or event.said["index"] != event.items[-1]):
            self.found.append(f"{_shown(event)} was told as item {event.said['index']}")
        about_node = event.kind.startswith("node") or (event.kind == "error" and event.node is not None)
        full = f"{self.root}/{event.id}" if event.kind.startswith("node") or event.kind == "error" else event.id or self.root
        if "/".join(event.path) != full:
            self.found.append(f"{_shown(event)} has the hierarchy {event.path}")
        if about_node != (event.node is not None):
            self.found.append(f"{_shown(event)} has the node name {event.node!r}")
        expected = full.rpartition("/")[0] if about_node else full
        if event.pipeline != expected or (event.parent or "") != expected.rpartition("/")[0]:
            self.found.append(f"{_shown(event)} stands in pipeline {event.pipeline} of {event.parent}")
        if event.depth != event.pipeline.count("/"):
            self.found.append(f"{_shown(event)} has depth {event.depth} in {event.pipeline}")


def _shown(event: Event) -> str:
    items = f" {list(event.items)}" if event.items else ""
    return f"on_{event.kind} {event.id}{items}"


def _named(frame: Frame) -> str:
    what, about, items = frame
    return f"{what} {about}{f' {list(items)}' if items else ''}".strip()
