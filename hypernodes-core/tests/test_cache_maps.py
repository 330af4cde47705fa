"""Each node × item is cached by its own identity, whatever list, order, mode or pipeline it came in."""

from __future__ import annotations

import gc
import warnings
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypernodes import DiskCache, MemoryCache, Pipeline, PipelineCallback, node
from hypernodes.errors import CacheWarning
from hypernodes.results import NodeFailure


def ran(result: Any) -> dict[str, int]:
    return {name: stats.ran for name, stats in result.stats.items()}


def column(result: Any, name: str) -> list[Any]:
    return [row[name] for row in result]


@pytest.fixture(params=["memory", "disk"])
def cache(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    return MemoryCache() if request.param == "memory" else DiskCache(tmp_path / "cache")


@node(output_name="y")
def double(x: int) -> int:
    return x * 2


@node(output_name="s")
def add(a: int, b: int) -> int:
    return a + b


def scaled(by: int) -> Any:
    @node(output_name="y", name="scale")
    def scale(x: int) -> int:
        return x * by

    return scale


# -- maps --------------------------------------------------------------------------------------------------------------


def test_items_are_independent_of_their_list_and_order(cache: Any) -> None:
    pipeline = Pipeline([double], cache=cache)
    pipeline.map({"x": [1, 2, 3]}, map_over="x")
    longer = pipeline.map({"x": [5, 3, 2, 1, 4]}, map_over="x")
    assert (column(longer, "y"), ran(longer)) == ([10, 6, 4, 2, 8], {"double": 2})
    assert ran(pipeline.run({"x": 4})) == {"double": 0}
    assert ran(pipeline.map({"x": range(6)}, map_over="x")) == {"double": 1}


@dataclass
class Big:
    x: int


def test_values_that_nobody_asked_for_are_let_go(cache: Any) -> None:
    seen: list[Any] = []

    @node(output_name="big")
    def make(x: int) -> Big:
        return Big(x)

    @node(output_name="y")
    def measure(big: Big) -> int:
        seen.append(weakref.ref(big))
        return big.x

    inner = Pipeline([make, measure], name="inner").as_node(map_over="x")
    gc.disable()
    try:
        Pipeline([make, measure], cache=cache).map({"x": range(3)}, map_over="x", output_name="y")
        Pipeline([inner], cache=cache).run({"x": [10, 11]}, output_name="y")
        assert [each() for each in seen] == [None] * 5
    finally:
        gc.enable()


def test_zip_then_product_on_the_same_inputs(cache: Any) -> None:
    pipeline = Pipeline([add], cache=cache)
    inputs = {"a": [1, 2], "b": [10, 20]}
    zipped = pipeline.map(inputs, map_over=["a", "b"])
    assert (column(zipped, "s"), ran(zipped)) == ([11, 22], {"add": 2})
    product = pipeline.map(inputs, map_over=["a", "b"], map_mode="product")
    assert (column(product, "s"), ran(product)) == ([11, 21, 12, 22], {"add": 2})
    again = pipeline.map(inputs, map_over=["a", "b"])
    assert (column(again, "s"), ran(again)) == ([11, 22], {"add": 0})


def test_a_mapped_input_and_a_constant_may_change_places(cache: Any) -> None:
    pipeline = Pipeline([add], cache=cache)
    pipeline.map({"a": [1, 2, 3], "b": 10}, map_over="a")
    assert ran(pipeline.map({"a": 2, "b": [10, 20]}, map_over="b")) == {"add": 1}


def test_imap_is_cached_too(cache: Any) -> None:
    log: list[int] = []

    @node(output_name="y")
    def slow(x: int) -> int:
        log.append(x)
        return x

    pipeline = Pipeline([slow], cache=cache)
    assert [row["y"] for row in pipeline.imap({"x": iter(range(4))}, map_over="x")] == [0, 1, 2, 3]
    assert [row["y"] for row in pipeline.imap({"x": iter(range(6))}, map_over="x")] == [0, 1, 2, 3, 4, 5]
    assert sorted(log) == [0, 1, 2, 3, 4, 5]


def test_failed_items_are_not_kept_and_others_are(cache: Any) -> None:
    good = [False]

    @node(output_name="y", ignore=("works",))
    def fragile(x: int, works: Any) -> int:
        if x == 2 and not works[0]:
            raise ValueError("not yet")
        return x

    pipeline = Pipeline([fragile], cache=cache)
    inputs = {"x": [1, 2, 3], "works": good}
    first = pipeline.map(inputs, map_over="x", on_error="return")
    assert isinstance(first[1]["y"], NodeFailure)
    good[0] = True
    again = pipeline.map(inputs, map_over="x")
    assert (column(again, "y"), ran(again)) == ([1, 2, 3], {"fragile": 1})


def test_everything_finished_before_a_raise_is_kept(cache: Any) -> None:
    @node(output_name="y")
    def fragile(x: int) -> int:
        if x == 3:
            raise ValueError("three")
        return x

    pipeline = Pipeline([fragile], cache=cache)
    with pytest.raises(ValueError, match="three"):
        pipeline.map({"x": [1, 2, 3, 4]}, map_over="x")
    assert ran(pipeline.map({"x": [1, 2]}, map_over="x")) == {"fragile": 0}


class Items(PipelineCallback):
    def __init__(self) -> None:
        self.cached: list[int] = []
        self.started: list[int] = []

    def on_map_item_cached(self, item_index: int, ctx: Any) -> None:
        self.cached.append(item_index)

    def on_node_start(self, node_id: str, inputs: Any, ctx: Any) -> None:
        self.started.append(ctx.item_index)


def test_callbacks_hear_which_items_are_cached(cache: Any) -> None:
    Pipeline([double], cache=cache).map({"x": [1, 3]}, map_over="x")
    items = Items()
    Pipeline([double], cache=cache, callbacks=[items]).map({"x": [0, 1, 2, 3]}, map_over="x")
    assert (items.cached, items.started) == ([1, 3], [0, 2])


# -- nested maps -------------------------------------------------------------------------------------------------------


def nested(inner: Any, cache: Any, *after: Any, **options: Any) -> Pipeline:
    return Pipeline([inner.as_node(**options), *after], name="outer", cache=cache)


TOTAL = node(output_name="total", name="total")(lambda ys: sum(ys))


def summed(by: int, cache: Any) -> Pipeline:
    inner = Pipeline([scaled(by)], name="inner")
    return nested(inner, cache, TOTAL, input_mapping={"xs": "x"}, output_mapping={"y": "ys"}, map_over="xs")


def test_inner_items_are_cached_by_their_own_identity(cache: Any) -> None:
    pipeline = summed(2, cache)
    assert ran(pipeline.run({"xs": [1, 2, 3]})) == {"inner/scale": 3, "total": 1}
    again = pipeline.run({"xs": [1, 2, 3]})
    assert (again["total"], ran(again)) == (12, {"inner/scale": 0, "total": 0})
    longer = pipeline.run({"xs": [3, 4, 1]})
    assert (longer["ys"], longer["total"], ran(longer)) == ([6, 8, 2], 16, {"inner/scale": 1, "total": 1})
    assert ran(Pipeline([scaled(2)], cache=cache).map({"x": [4, 3]}, map_over="x")) == {"scale": 0}
    assert ran(Pipeline([scaled(2)], cache=cache).run({"x": 1})) == {"scale": 0}


def test_an_edited_inner_node_invalidates_what_it_affects(cache: Any) -> None:
    summed(2, cache).run({"xs": [1, 2]})
    edited = summed(3, cache).run({"xs": [1, 2]})
    assert (edited["total"], ran(edited)) == (9, {"inner/scale": 2, "total": 1})
    back = summed(2, cache).run({"xs": [1, 2]})
    assert (back["total"], ran(back)) == (6, {"inner/scale": 0, "total": 0})


def test_an_inner_bind_changed_after_a_run(cache: Any) -> None:
    inner = Pipeline([add], name="inner").bind(b=10)
    pipeline = nested(inner, cache, map_over="a")
    assert pipeline.run({"a": [1, 2]})["s"] == [11, 12]
    inner.bind(b=100)
    changed = pipeline.run({"a": [1, 2]})
    assert (changed["s"], ran(changed)) == ([101, 102], {"inner/add": 2})
    inner.bind(b=10)
    back = pipeline.run({"a": [1, 2]})
    assert (back["s"], ran(back)) == ([11, 12], {"inner/add": 0})


def test_an_inlined_bind_changed_after_a_run(cache: Any) -> None:
    inner = Pipeline([add], name="inner").bind(b=10)
    pipeline = Pipeline([inner], cache=cache)
    assert pipeline.run({"a": 1})["s"] == 11
    inner.bind(b=100)
    assert pipeline.run({"a": 1})["s"] == 101


def test_an_inner_default_overridden_from_outside(cache: Any) -> None:
    inner = Pipeline([node(output_name="s", name="plus")(lambda a, b=10: a + b)], name="inner")
    pipeline = nested(inner, cache, map_over="a")
    assert pipeline.run({"a": [1, 2]})["s"] == [11, 12]
    assert pipeline.run({"a": [1, 2], "b": 100})["s"] == [101, 102]
    assert pipeline.run({"a": [1, 2]})["s"] == [11, 12]
    assert ran(pipeline.run({"a": [1, 2], "b": 10})) == {"inner/plus": 0}  # as the default was


def test_two_output_mappings_of_one_inner_pipeline(cache: Any) -> None:
    inner = Pipeline([double, node(output_name="z", name="minus")(lambda x: -x)], name="inner")
    one = nested(inner, cache, output_mapping={"y": "left", "z": "right"}, map_over="x")
    other = nested(inner, cache, output_mapping={"y": "right", "z": "left"}, map_over="x")
    assert dict(one.run({"x": [1, 2]})) == {"left": [2, 4], "right": [-1, -2]}
    swapped = other.run({"x": [1, 2]})
    assert (dict(swapped), ran(swapped)) == ({"left": [-1, -2], "right": [2, 4]}, {"inner/double": 0, "inner/minus": 0})


def test_another_map_mode_is_another_list(cache: Any) -> None:
    inner = Pipeline([add], name="inner")
    zipped = nested(inner, cache, map_over=["a", "b"])
    product = nested(inner, cache, map_over=["a", "b"], map_mode="product")
    inputs = {"a": [1, 2], "b": [10, 20]}
    assert zipped.run(inputs)["s"] == [11, 22]
    result = product.run(inputs)
    assert (result["s"], ran(result)) == ([11, 21, 12, 22], {"inner/add": 2})
    assert zipped.run(inputs)["s"] == [11, 22]


def test_mapped_over_one_input_or_the_other(cache: Any) -> None:
    inner = Pipeline([node(output_name="s", name="pair")(lambda a, b: [a, b])], name="inner")
    assert nested(inner, cache, map_over="a").run({"a": [1, 2], "b": [1, 2]})["s"] == [[1, [1, 2]], [2, [1, 2]]]
    assert nested(inner, cache, map_over="b").run({"a": [1, 2], "b": [1, 2]})["s"] == [[[1, 2], 1], [[1, 2], 2]]
    assert nested(inner, cache, map_over=["a", "b"]).run({"a": [1, 2], "b": [1, 2]})["s"] == [[1, 1], [2, 2]]


def test_an_inner_uncached_node_runs_each_time(cache: Any) -> None:
    log: list[int] = []

    @node(output_name="y", cache=False)
    def read(x: int) -> int:
        log.append(x)
        return x * len(log)

    after = node(output_name="z", name="after")(lambda y: y + 1)
    pipeline = nested(Pipeline([read, after], name="inner"), cache, map_over="x")
    assert pipeline.run({"x": [1, 1]})["z"] == [2, 3]
    assert pipeline.run({"x": [1, 1]})["z"] == [4, 5]


def test_a_multi_output_nested_node_under_an_uncached_one(cache: Any) -> None:
    seen = iter(range(100))
    source = node(output_name="x", name="source", cache=False)(lambda seed: [next(seen) // 2, 7])
    both = node(output_name=("low", "high"), name="both")(lambda x: (x - 1, x + 1))
    inner = Pipeline([both], name="inner")
    pipeline = Pipeline([source, inner.as_node(map_over="x")], cache=cache)
    first, second, third = (pipeline.run({"seed": 0}) for _ in range(3))
    assert (first["low"], first["high"]) == ([-1, 6], [1, 8])
    assert (second["low"], ran(second)["inner/both"]) == ([-1, 6], 0)
    assert (third["low"], third["high"], ran(third)["inner/both"]) == ([0, 6], [2, 8], 1)


def test_a_nested_map_over_nothing(cache: Any) -> None:
    pipeline = summed(2, cache)
    for _ in range(2):
        assert dict(pipeline.run({"xs": []})) == {"ys": [], "total": 0}
    assert ran(pipeline.run({"xs": []}))["total"] == 0
    assert pipeline.map({"xs": [[], [1], []]}, map_over="xs")[1]["total"] == 2
    assert Pipeline([double], cache=cache).map({"x": []}, map_over="x") == []


def test_maps_within_maps(cache: Any) -> None:
    innermost = Pipeline([double], name="innermost")
    middle = Pipeline([innermost.as_node(map_over="x"), node(output_name="n", name="count")(lambda y: len(y))], name="middle")
    pipeline = Pipeline([middle.as_node(map_over="x")], cache=cache)
    first = pipeline.run({"x": [[1, 2], [3], []]})
    assert (dict(first), ran(first)) == (
        {"y": [[2, 4], [6], []], "n": [2, 1, 0]},
        {"middle/innermost/double": 3, "middle/count": 3},
    )
    shuffled = pipeline.run({"x": [[], [2, 1], [3, 4]]})
    assert (shuffled["y"], ran(shuffled)) == ([[], [4, 2], [6, 8]], {"middle/innermost/double": 1, "middle/count": 2})
    # the list [4, 2] is new to count, and so is [6, 8]; [] is not


def test_a_gathered_list_is_not_stored_twice(tmp_path: Path) -> None:
    big = node(output_name="y", name="big")(lambda x: bytes(20_000) + bytes([x]))
    inner = Pipeline([big], name="inner")
    Pipeline([inner.as_node(map_over="x")], cache=DiskCache(tmp_path / "nested")).run({"x": list(range(20))})
    Pipeline([big], cache=DiskCache(tmp_path / "flat")).map({"x": list(range(20))}, map_over="x")

    def size(name: str) -> int:
        return sum(path.stat().st_size for path in (tmp_path / name).rglob("*") if path.is_file())

    assert size("nested") < 1.1 * size("flat")


def test_a_gathered_list_whose_element_is_gone_is_made_again(cache: Any) -> None:
    pipeline = summed(2, cache)
    pipeline.run({"xs": [1, 2, 3]})
    cache.invalidate(node="scale")
    result = pipeline.run({"xs": [1, 2, 3]}, "ys")
    assert (result["ys"], ran(result)) == ([2, 4, 6], {"inner/scale": 3})


def test_the_caller_may_change_a_gathered_list(cache: Any) -> None:
    pipeline = summed(2, cache)
    pipeline.run({"xs": [1, 2]})["ys"].append("spoilt")
    assert pipeline.run({"xs": [1, 2]})["ys"] == [2, 4]


def test_a_list_passed_in_is_known_like_a_gathered_one(cache: Any) -> None:
    summed(2, cache).run({"xs": [1, 2]})
    assert ran(Pipeline([TOTAL], cache=cache).run({"ys": [2, 4]})) == {"total": 0}


def test_inner_failures_reach_the_outer_node_and_are_not_kept(cache: Any) -> None:
    good = [False]

    @node(output_name="y", ignore=("works",))
    def fragile(x: int, works: Any) -> int:
        if x == 2 and not works[0]:
            raise ValueError("not yet")
        return x

    inner = Pipeline([fragile], name="inner")
    count = node(output_name="bad", name="count")(lambda y: sum(isinstance(each, NodeFailure) for each in y))
    pipeline = Pipeline([inner.as_node(map_over="x", on_error="return"), count], cache=cache)
    inputs = {"x": [1, 2, 3], "works": good}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CacheWarning)
        assert pipeline.run(inputs)["bad"] == 1
        assert pipeline.run(inputs)["bad"] == 1
        good[0] = True
        healed = pipeline.run(inputs)
    assert (healed["y"], healed["bad"], ran(healed)["inner/fragile"]) == ([1, 2, 3], 0, 1)


def test_inlined_pipelines_share_with_their_parts(cache: Any) -> None:
    inner = Pipeline([double], name="inner")
    Pipeline([inner.as_node(input_mapping={"n": "x"}, output_mapping={"y": "twice"})], cache=cache).run({"n": 3})
    assert ran(Pipeline([double], cache=cache).run({"x": 3})) == {"double": 0}
