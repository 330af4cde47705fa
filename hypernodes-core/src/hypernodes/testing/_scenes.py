"""Runs of every kind, for callbacks to listen to."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import attrs

from hypernodes.callbacks import PipelineCallback
from hypernodes.engines import Engine
from hypernodes.node import DualNode, node
from hypernodes.pipeline import Pipeline
from hypernodes.testing import _family as family
from hypernodes.testing import _nodes as nodes


@attrs.frozen
class Stage:
    """What a scene is played on.

    Attributes:
        engine: The engine.
        callbacks: The callback under test, or nobody.
        folder: An empty directory.
    """

    engine: Engine
    callbacks: list[PipelineCallback]
    folder: Path

    def pipeline(self, *nodes: Any, name: str | None = "stage") -> Pipeline:
        """Return a pipeline that fails when a callback does."""
        return Pipeline(list(nodes), engine=self.engine, callbacks=self.callbacks, strict=True, name=name)


class Hostile:
    """A value that cannot be printed, measured, compared or hashed."""

    def _refuse(self, *_: Any) -> NoReturn:
        msg = "this value was touched"
        raise RuntimeError(msg)

    __repr__ = __str__ = __len__ = __eq__ = __bool__ = __iter__ = __format__ = _refuse
    __hash__ = None  # type: ignore[assignment]


@node(output_name="hostile")
def make_hostile(x: int) -> Hostile:
    """Return a value that refuses everything."""
    return Hostile()


@node(output_name="kind")
def kind_of(hostile: Hostile) -> str:
    """Use it."""
    return type(hostile).__name__


@node(output_name="lock")
def make_lock(x: int) -> Any:
    """Return a value that cannot be pickled."""
    return threading.Lock()


@node(output_name="free")
def use_lock(lock: Any) -> bool:
    """Use it."""
    return not lock.locked()


@node(output_name="lists")
def make_lists(x: int) -> dict[str, list[int]]:
    """Return a value that a careless listener may change."""
    return {"a": [x], "b": []}


@node(output_name="interrupted")
def interrupt(x: int) -> NoReturn:
    """Press Ctrl-C."""
    raise KeyboardInterrupt


@node(output_name="large")
def make_large(x: int) -> list[str]:
    """Return what nobody wants to read."""
    return ["y" * 1000] * 2000


@node(output_name="oddly", name="100% {sure} <b>é</b>")
def _odd_name(x: int) -> str:
    return "%d {x}"


def _rows(rows: list[dict[str, Any]]) -> list[Any]:
    return [
        {name: value if isinstance(value, (int, str, list, dict)) else type(value).__name__ for name, value in row.items()} for row in rows
    ]


def a_run(on: Stage) -> Any:
    """Run once."""
    return on.pipeline(nodes.increase, nodes.double, nodes.show).run({"x": 1})


def a_run_of_nothing(on: Stage) -> Any:
    """Run no node."""
    return on.pipeline().run()


def a_map(on: Stage) -> Any:
    """Map over a list."""
    return on.pipeline(nodes.increase, nodes.double).map({"x": list(range(20))}, map_over="x")


def a_map_over_nothing(on: Stage) -> Any:
    """Map over an empty list."""
    return on.pipeline(nodes.increase, nodes.double).map({"x": []}, map_over="x")


def a_map_of_unknown_length(on: Stage) -> Any:
    """Map over a generator."""
    return on.pipeline(nodes.increase).map({"x": (x for x in range(5))}, map_over="x")


def a_pipeline_without_name(on: Stage) -> Any:
    """Run a pipeline that has no name."""
    return on.pipeline(nodes.increase, name=None).run({"x": 1})


def odd_names(on: Stage) -> Any:
    """Use names that templates and formats stumble over."""
    nested = Pipeline([_odd_name], name="%(x)s [bold]")
    return on.pipeline(nested, name="{0} %d\nnext").run({"x": 1})


def nested_pipelines(on: Stage) -> Any:
    """Run and map what is nested, mapped and deep."""
    pipeline = on.pipeline(family.deep(), family.over(), nodes.total_of)
    inputs = {"rows": [[4, 6], []], "by": 2, "xs": [1, 2]}
    return [pipeline.run(inputs), pipeline.map({**inputs, "by": [1, 2]}, map_over="by")]


def nested_engines(on: Stage) -> Any:
    """Run what is nested on an engine of its own."""
    return on.pipeline(family.over(engine=on.engine), family.inner(engine=on.engine)).map({"xs": [[1], []], "x": 1}, map_over="xs")


def batches_and_coroutines(on: Stage) -> Any:
    """Run batch twins and coroutines."""
    twin = DualNode("twice", batch=lambda waited: [2 * value for value in waited], batch_size=2)
    return on.pipeline(nodes.wait, twin).map({"x": [1, 2, 3]}, map_over="x")


def a_failing_run(on: Stage) -> Any:
    """Fail."""
    return on.pipeline(nodes.check, nodes.after).run({"x": 7})


def a_failing_map(on: Stage) -> Any:
    """Fail at an item."""
    return on.pipeline(nodes.check, nodes.after).map({"x": range(1, 10)}, map_over="x")


def a_failing_nested_map(on: Stage) -> Any:
    """Fail inside."""
    nested = Pipeline([nodes.check], name="inner").as_node(map_over="x")
    return on.pipeline(nested).map({"x": [[1], [2, 7]]}, map_over="x")


def an_exception_that_travels_badly(on: Stage) -> Any:
    """Fail with an exception that cannot be made again from its arguments."""
    return on.pipeline(nodes.fail_oddly).run({"x": 1})


def a_nested_map_that_cannot_start(on: Stage) -> Any:
    """Fail between nodes."""
    nested = Pipeline([nodes.divide], name="inner").as_node(map_over=["x", "by"])
    return on.pipeline(nested).run({"x": [1, 2], "by": [1]})


def returned_failures(on: Stage) -> Any:
    """Go on past failures."""
    pipeline = on.pipeline(nodes.check, nodes.after, nodes.beside)
    return _rows(pipeline.map({"x": range(9)}, map_over="x", on_error="return"))


def too_many_failures(on: Stage) -> Any:
    """Go on past some failures."""
    return on.pipeline(nodes.check).map({"x": [7, 14, 21, 28]}, map_over="x", on_error="return", max_failures=1)


def retries(on: Stage) -> Any:
    """Try again."""
    return on.pipeline(nodes.flaky).map({"x": [1, 2], "path": str(on.folder / "marks"), "failures": 1}, map_over="x")


def a_timeout(on: Stage) -> Any:
    """Take too long."""
    return on.pipeline(nodes.dawdle).run({"x": 1})


def an_interrupt(on: Stage) -> Any:
    """Stop at Ctrl-C."""
    return on.pipeline(nodes.increase, interrupt).map({"x": [1, 2]}, map_over="x")


def wrong_inputs(on: Stage) -> Any:
    """Refuse to start."""
    return on.pipeline(nodes.increase).run({"y": 1})


def a_stream(on: Stage) -> Any:
    """Stream everything."""
    return list(on.pipeline(nodes.increase).imap({"x": iter(range(9))}, map_over="x"))


def an_abandoned_stream(on: Stage) -> Any:
    """Stream a little of endless input."""
    stream = on.pipeline(family.inner(), nodes.show).imap({"x": itertools.count()}, map_over="x", window=2)
    rows = list(itertools.islice(stream, 3))
    stream.close()  # type: ignore[attr-defined]
    return rows


def a_stream_that_never_starts(on: Stage) -> Any:
    """Make a stream and forget it."""
    on.pipeline(nodes.increase).imap({"x": itertools.count()}, map_over="x").close()  # type: ignore[attr-defined]


def two_streams_at_once(on: Stage) -> Any:
    """Take from two streams in turn."""
    streams = [on.pipeline(nodes.increase, name=name).imap({"x": iter(range(5))}, map_over="x") for name in ("a", "b")]
    return list(zip(*streams, strict=True))


def a_stream_around_other_runs(on: Stage) -> Any:
    """Run something for each row of a stream."""
    rows: Iterator[dict[str, Any]] = on.pipeline(nodes.increase, name="outer").imap({"x": range(3)}, map_over="x")
    return [on.pipeline(nodes.double, name="inner").run(row) for row in rows]


def hostile_values(on: Stage) -> Any:
    """Pass values that refuse to be printed."""
    pipeline = on.pipeline(make_hostile, kind_of)
    return [pipeline.run({"x": 1})["kind"], _rows(pipeline.map({"x": [1, 2]}, map_over="x"))]


def hostile_inputs(on: Stage) -> Any:
    """Take values that refuse to be printed."""
    return on.pipeline(kind_of).map({"hostile": [Hostile(), Hostile()]}, map_over="hostile")


def unpicklable_values(on: Stage) -> Any:
    """Pass values that cannot leave a process between nodes."""
    return on.pipeline(make_lock, use_lock).map({"x": [1, 2]}, map_over="x", output_name="free")


def mutable_values(on: Stage) -> Any:
    """Return values that can be changed."""
    return on.pipeline(make_lists).map({"x": [1, 2]}, map_over="x")


def large_values(on: Stage) -> Any:
    """Pass values of some megabytes."""
    return on.pipeline(make_large).run({"x": 1})


SCENES: tuple[Callable[[Stage], Any], ...] = (
    a_run, a_run_of_nothing, a_map, a_map_over_nothing, a_map_of_unknown_length, a_pipeline_without_name, odd_names, nested_pipelines,
    nested_engines, batches_and_coroutines, a_failing_run, a_failing_map, a_failing_nested_map, an_exception_that_travels_badly,
    a_nested_map_that_cannot_start, returned_failures, too_many_failures, retries, a_timeout, an_interrupt, wrong_inputs, a_stream,
    an_abandoned_stream, a_stream_that_never_starts, two_streams_at_once, a_stream_around_other_runs, hostile_values, hostile_inputs,
    unpicklable_values, mutable_values, large_values,
)  # fmt: skip
