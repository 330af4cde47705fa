"""``plan`` says what a call would do, and is right where it says cached or to run."""

from __future__ import annotations

import time
from typing import Any

import cloudpickle
import pytest
from hypernodes import MemoryCache, Pipeline, node
from hypernodes.errors import HyperNodesError, MissingInputError, OptionError


@node(output_name="y")
def double(x: int) -> int:
    return x * 2


@node(output_name="z")
def half(y: int) -> float:
    return y / 2


def counts(plan: Any) -> dict[str, tuple[int, int, int]]:
    return {name: (node.cached, node.to_run, node.unknown) for name, node in plan.items()}


def test_before_the_first_run() -> None:
    plan = Pipeline([double, half], cache=MemoryCache()).plan({"x": 1})
    assert counts(plan) == {"double": (0, 1, 0), "half": (0, 0, 1)}
    assert str(plan) == "0 cached, 1 to run, 1 that depend on them"
    assert repr(plan) == "<Plan of pipeline: 0 cached, 1 to run, 1 that depend on them>"


def test_after_a_run() -> None:
    pipeline = Pipeline([double, half], cache=MemoryCache())
    pipeline.run({"x": 1})
    plan = pipeline.plan({"x": 1})
    assert counts(plan) == {"double": (1, 0, 0), "half": (1, 0, 0)}
    assert str(plan) == "2 cached, 0 to run"


def test_per_item() -> None:
    pipeline = Pipeline([double], cache=MemoryCache())
    pipeline.map({"x": [1, 2]}, map_over="x")
    plan = pipeline.plan({"x": [2, 5, 1, 5]}, map_over="x")
    assert plan["double"].items == {(0,): "cached", (1,): "to run", (2,): "cached", (3,): "cached"}  # the second 5 follows the first
    assert (plan.cached, plan.to_run, plan.unknown) == (3, 1, 0)


def test_the_expected_time_comes_from_recorded_durations() -> None:
    slow = node(output_name="y", name="slow")(lambda x: time.sleep(0.02))
    pipeline = Pipeline([slow], cache=MemoryCache())
    assert pipeline.plan({"x": 0}).seconds is None  # nothing is known of it
    pipeline.map({"x": range(3)}, map_over="x")
    plan = pipeline.plan({"x": range(103)}, map_over="x")
    assert plan.seconds is not None
    assert 2.0 <= plan.seconds <= 10.0
    assert str(plan).startswith("3 cached, 100 to run, about ")


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.0123, "12 ms"), (3.4, "3 s"), (119, "119 s"), (725, "12 min"), (7199, "120 min"), (9000, "2.5 h")]
)
def test_times_are_written_for_people(seconds: float, text: str) -> None:
    from hypernodes._plan import NodePlan, Plan

    plan = Plan("p", {"n": NodePlan(cached=199_120, to_run=880, seconds=seconds)}, lambda: None)
    assert str(plan) == f"199,120 cached, 880 to run, about {text}"


def test_a_plan_can_be_run() -> None:
    pipeline = Pipeline([double, half], cache=MemoryCache())
    assert dict(pipeline.plan({"x": 4}, output_name="y").run()) == {"y": 8}
    rows = pipeline.plan({"x": (k for k in (4, 5))}, map_over="x").run()
    assert [row["z"] for row in rows] == [4.0, 5.0]  # a generator is read once, for the plan and the run


def test_only_what_is_asked_for_is_planned() -> None:
    assert counts(Pipeline([double, half], cache=MemoryCache()).plan({"x": 1}, output_name="y")) == {"double": (0, 1, 0)}


def test_what_is_not_needed_counts_as_cached() -> None:
    pipeline = Pipeline([double, half], cache=MemoryCache())
    pipeline.run({"x": 1})
    assert counts(pipeline.plan({"x": 1}, output_name="z")) == {"double": (1, 0, 0), "half": (1, 0, 0)}


def test_what_waits_for_an_upstream_is_unknown() -> None:
    cache = MemoryCache()

    def pipeline(amount: Any) -> Pipeline:
        return Pipeline([node(output_name="y", name="add")(lambda x: x + amount), half], cache=cache)

    pipeline(1).run({"x": 1})
    plan = pipeline(True).plan({"x": 1})  # the edit gives the same value, but nobody knows before it ran
    assert counts(plan) == {"add": (0, 1, 0), "half": (0, 0, 1)}
    assert {name: stats.ran for name, stats in plan.run().stats.items()} == {"add": 1, "half": 0}


def test_nested_items() -> None:
    inner = Pipeline([double], name="inner")
    pipeline = Pipeline([inner.as_node(map_over="x"), node(output_name="n", name="count")(lambda y: len(y))], cache=MemoryCache())
    assert counts(pipeline.plan({"x": [1, 2]})) == {"inner/double": (0, 2, 0), "count": (0, 0, 1)}
    pipeline.run({"x": [1, 2]})
    plan = pipeline.plan({"x": [2, 3, 1]})
    assert counts(plan) == {"inner/double": (2, 1, 0), "count": (0, 0, 1)}
    assert plan["inner/double"].items == {(0,): "cached", (1,): "to run", (2,): "cached"}
    assert counts(pipeline.plan({"x": [1, 2]})) == {"inner/double": (2, 0, 0), "count": (1, 0, 0)}
    assert counts(pipeline.plan({"x": [2, 1]})) == {"inner/double": (2, 0, 0), "count": (0, 1, 0)}  # every value is known


def test_inner_items_that_wait_for_their_list() -> None:
    lists = node(output_name="x", name="lists")(lambda n: list(range(n)))
    pipeline = Pipeline([lists, Pipeline([double], name="inner").as_node(map_over="x")], cache=MemoryCache())
    assert counts(pipeline.plan({"n": 3})) == {"lists": (0, 1, 0), "inner/double": (0, 0, 1)}


def test_without_a_cache_everything_runs() -> None:
    assert counts(Pipeline([double, half]).plan({"x": 1})) == {"double": (0, 1, 0), "half": (0, 1, 0)}
    assert counts(Pipeline([double]).plan({"x": [1, 2]}, map_over="x")) == {"double": (0, 2, 0)}


def test_bad_input_is_refused_as_by_a_run() -> None:
    pipeline = Pipeline([double], cache=MemoryCache())
    with pytest.raises(MissingInputError):
        pipeline.plan({})
    with pytest.raises(OptionError, match="Did you mean 'map_over'"):
        pipeline.plan({"x": 1}, mapover="x")
    with pytest.raises(HyperNodesError, match="map_over names 'xs', which is no input"):
        pipeline.plan({"x": [1]}, map_over="xs")


def test_a_plan_that_travelled_tells_but_does_not_run() -> None:
    plan = Pipeline([double], cache=MemoryCache()).plan({"x": 1})
    sent = cloudpickle.loads(cloudpickle.dumps(plan))
    assert (str(sent), counts(sent)) == (str(plan), counts(plan))
    with pytest.raises(OptionError, match="left its pipeline behind"):
        sent.run()
