"""A family of pipelines that every engine must run alike."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import attrs

from hypernodes.engines import Engine, SeqEngine
from hypernodes.node import DualNode, node
from hypernodes.pipeline import Pipeline
from hypernodes.results import MapResult, RunResult
from hypernodes.testing._nodes import (
    Multiplier,
    Tokenizer,
    add,
    after,
    check,
    cut,
    divide,
    double,
    increase,
    join,
    nothing,
    parts_batch,
    parts_single,
    scale,
    see,
    show,
    single,
    total_of,
    twin_batch,
    twin_single,
    wait,
    wait_again,
)

# -- nested pipelines -------------------------------------------------------------------------------------------------


def inner(**settings: Any) -> Pipeline:
    """Return a chain to nest."""
    return Pipeline([increase, double], name="inner", **settings)


def over(**settings: Any) -> Any:
    """Return the chain, mapped over a list."""
    return inner().as_node(input_mapping={"xs": "x"}, output_mapping={"doubled": "values"}, map_over="xs", **settings)


def deep() -> Pipeline:
    """Return a map in a map in an inlined pipeline, with constants from outside."""
    cell = Pipeline([divide], name="cell").as_node(
        input_mapping={"row": "x"}, output_mapping={"quotient": "cells", "remainder": "rests"}, map_over="row"
    )
    line = Pipeline([cell, _sum_cells], name="line").as_node(
        input_mapping={"rows": "row"}, output_mapping={"line_sum": "sums", "cells": "table", "row": "given"}, map_over="rows"
    )
    return Pipeline([Pipeline([line], name="frame"), _sum_sums], name="deep")


@node(output_name="line_sum")
def _sum_cells(cells: list[int]) -> int:
    return sum(cells)


@node(output_name="grand")
def _sum_sums(sums: list[int]) -> int:
    return sum(sums)


@node(output_name="failed")
def _failed(values: list[Any]) -> list[int | str]:
    return [value if isinstance(value, int) else type(value.error).__name__ for value in values]


def tolerant() -> Pipeline:
    """Return a pipeline whose inner map hands failures on as values."""
    mapped = Pipeline([check, after], name="inner").as_node(
        input_mapping={"xs": "x"}, output_mapping={"after": "values"}, map_over="xs", on_error="return"
    )
    return Pipeline([mapped, _failed], name="tolerant")


# -- cases ------------------------------------------------------------------------------------------------------------


@attrs.frozen
class Case:
    """A pipeline, a call of it, and what must come out.

    Attributes:
        name: Its name in test ids.
        nodes: Makes the nodes.
        inputs: Makes the inputs, new ones for every call.
        expected: What the call returns.
        options: Further arguments of the call; a map when ``map_over`` is among them.
        bound: Values bound on the pipeline.
    """

    name: str
    nodes: Callable[[], Sequence[Any]]
    inputs: Callable[[], dict[str, Any]]
    expected: Any
    options: Mapping[str, Any] = attrs.field(factory=dict)
    bound: Mapping[str, Any] = attrs.field(factory=dict)

    def pipeline(self, engine: Engine, **settings: Any) -> Pipeline:
        """Return the pipeline on an engine."""
        return Pipeline(self.nodes(), engine=engine, name=self.name, **settings).bind(**self.bound)

    def call(self, engine: Engine, **settings: Any) -> RunResult | MapResult:
        """Make the call on an engine."""
        pipeline = self.pipeline(engine, **settings)
        if "map_over" in self.options:
            return pipeline.map(self.inputs(), **self.options)
        return pipeline.run(self.inputs(), **self.options)


def _generated(count: int) -> Iterator[int]:
    yield from range(count)


def _chain(count: int) -> list[dict[str, Any]]:
    return [{"more": x + 1, "doubled": 2 * x + 2, "shown": f"<{2 * x + 2}>"} for x in range(count)]


def _twin(**options: Any) -> list[Any]:
    return [increase, DualNode("twice", twin_single, twin_batch, name="twin", **options), _after_twin]


@node(output_name="final")
def _after_twin(twice: int, more: int) -> int:
    return twice + more


def _plus(y: int, x: int) -> int:
    return x + y


def _closure(step: int) -> Any:
    return lambda x: x + step


MAPPED: Mapping[str, Any] = {"map_over": "x"}

CASES: tuple[Case, ...] = (
    Case("nothing", list, dict, {}),
    Case("chain", lambda: [show, double, increase], lambda: {"x": 3}, {"more": 4, "doubled": 8, "shown": "<8>"}),
    Case("chain-mapped", lambda: [increase, double, show], lambda: {"x": list(range(23))}, _chain(23), MAPPED),
    Case("chain-mapped-long", lambda: [increase, double, show], lambda: {"x": range(1500)}, _chain(1500), MAPPED),
    Case("generator", lambda: [increase, double, show], lambda: {"x": _generated(40)}, _chain(40), MAPPED),
    Case("one-item", lambda: [increase, double, show], lambda: {"x": (0,)}, _chain(1), MAPPED),
    Case("no-items", lambda: [increase, double, show], lambda: {"x": []}, [], MAPPED),
    Case("no-items-generated", lambda: [increase, double, show], lambda: {"x": _generated(0)}, [], MAPPED),
    Case("diamond", lambda: [increase, double, add], lambda: {"x": 1}, {"more": 2, "doubled": 4, "total": 6}),
    Case(
        "diamond-mapped", lambda: [increase, double, add], lambda: {"x": [0, 5]},
        [{"more": 1, "doubled": 2, "total": 3}, {"more": 6, "doubled": 12, "total": 18}], MAPPED,
    ),
    Case(
        "fan-out", lambda: [node(output_name=f"o{k}", name=f"fan{k}")(functools.partial(_plus, k)) for k in range(12)], lambda: {"x": 1},
        {f"o{k}": k + 1 for k in range(12)},
    ),
    Case("several-outputs", lambda: [divide, single], lambda: {"x": 17, "by": 5}, {"quotient": 3, "remainder": 2, "only": 17}),
    Case(
        "several-outputs-mapped", lambda: [divide, single], lambda: {"x": [17, 9], "by": 5},
        [{"quotient": 3, "remainder": 2, "only": 17}, {"quotient": 1, "remainder": 4, "only": 9}], MAPPED,
    ),
    Case("one-of-several", lambda: [divide, increase], lambda: {"x": 17, "by": 5}, {"remainder": 2}, {"output_name": "remainder"}),
    Case(
        "some-outputs", lambda: [increase, double, show, divide], lambda: {"x": [1, 2]}, [{"doubled": 4, "more": 2}, {"doubled": 6, "more": 3}],
        {"map_over": "x", "output_name": ["doubled", "more"]},
    ),
    Case("defaults", lambda: [scale], lambda: {"x": 2}, {"scaled": 20}),
    Case("defaults-given", lambda: [scale], lambda: {"x": 2, "factor": 3, "offset": 1}, {"scaled": 7}),
    Case("defaults-mapped", lambda: [scale], lambda: {"x": 2, "offset": [0, 1]}, [{"scaled": 20}, {"scaled": 21}], {"map_over": "offset"}),
    Case("bound", lambda: [scale], lambda: {"x": 2}, {"scaled": 6}, bound={"factor": 3}),
    Case("bound-overridden", lambda: [scale], lambda: {"x": [2, 3], "factor": 4}, [{"scaled": 8}, {"scaled": 12}], MAPPED, {"factor": 3}),
    Case("bound-inside", lambda: [Pipeline([scale], name="inner").bind(factor=5)], lambda: {"x": 2}, {"scaled": 10}),
    Case("none", lambda: [nothing, see], lambda: {"x": [0, None]}, [{"nothing": None, "seen": True}] * 2, MAPPED),
    Case(
        "zip", lambda: [divide], lambda: {"x": [7, 9], "by": (2, 4)},
        [{"quotient": 3, "remainder": 1}, {"quotient": 2, "remainder": 1}], {"map_over": ("x", "by")},
    ),
    Case(
        "product", lambda: [join], lambda: {"left": [1, 2, 3], "right": ["a", "b"]},
        [{"joined": [left, right]} for left in (1, 2, 3) for right in "ab"], {"map_over": ["left", "right"], "map_mode": "product"},
    ),
    Case(
        "product-generated", lambda: [join], lambda: {"left": _generated(3), "right": _generated(2)},
        [{"joined": [left, right]} for left in range(3) for right in range(2)], {"map_over": ["left", "right"], "map_mode": "product"},
    ),
    Case("product-of-none", lambda: [join], lambda: {"left": [1], "right": []}, [], {"map_over": ["left", "right"], "map_mode": "product"}),
    Case("nested", lambda: [inner(), show], lambda: {"x": 3}, {"more": 4, "doubled": 8, "shown": "<8>"}),
    Case("nested-in-a-map", lambda: [inner(), show], lambda: {"x": list(range(9))}, _chain(9), MAPPED),
    Case(
        "nested-renamed", lambda: [inner().as_node(input_mapping={"start": "x"}, output_mapping={"doubled": "end"}, name="calc"), divide],
        lambda: {"start": 1, "x": 9, "by": 2}, {"end": 4, "quotient": 4, "remainder": 1},
    ),
    Case("nested-map", lambda: [over(), total_of], lambda: {"xs": [1, 2, 3]}, {"values": [4, 6, 8], "sum": 18}),
    Case("nested-map-of-none", lambda: [over(), total_of], lambda: {"xs": []}, {"values": [], "sum": 0}),
    Case(
        "nested-map-in-a-map", lambda: [over(), total_of], lambda: {"xs": [[1], [], [2, 3]]},
        [{"values": [4], "sum": 4}, {"values": [], "sum": 0}, {"values": [6, 8], "sum": 14}], {"map_over": "xs"},
    ),
    Case(
        "nested-zip", lambda: [Pipeline([divide], name="inner").as_node(map_over=["x", "by"])], lambda: {"x": [7, 9], "by": [2, 4]},
        {"quotient": [3, 2], "remainder": [1, 1]},
    ),
    Case(
        "nested-product", lambda: [Pipeline([join], name="inner").as_node(map_over=["left", "right"], map_mode="product")],
        lambda: {"left": [1, 2], "right": [3, 4]}, {"joined": [[1, 3], [1, 4], [2, 3], [2, 4]]},
    ),
    Case(
        "nested-deep", lambda: [deep()], lambda: {"rows": [[4, 6], [], [9]], "by": 2},
        {"sums": [5, 0, 4], "table": [[2, 3], [], [4]], "given": [[4, 6], [], [9]], "grand": 9},
    ),
    Case("nested-pruned", lambda: [deep()], lambda: {"rows": [[4, 6]], "by": 2}, {"table": [[2, 3]]}, {"output_name": "table"}),
    Case("nested-tolerant", lambda: [tolerant()], lambda: {"xs": [1, 7, 8]}, {"failed": [-1, "ValueError", -8]}, {"output_name": "failed"}),
    Case(
        "nested-on-its-own-engine", lambda: [inner(engine=SeqEngine()), show], lambda: {"x": 3}, {"more": 4, "doubled": 8, "shown": "<8>"}
    ),
    Case(
        "nested-map-on-its-own-engine", lambda: [over(engine=SeqEngine()), total_of], lambda: {"xs": [[1], [2, 3]]},
        [{"values": [4], "sum": 4}, {"values": [6, 8], "sum": 14}], {"map_over": "xs"},
    ),
    Case("twin", _twin, lambda: {"x": 5}, {"more": 6, "twice": 10, "final": 16}),
    Case(
        "twin-mapped", _twin, lambda: {"x": list(range(50))}, [{"more": x + 1, "twice": 2 * x, "final": 3 * x + 1} for x in range(50)], MAPPED
    ),
    Case(
        "twin-in-parts", lambda: _twin(batch_size=3), lambda: {"x": list(range(50)), "factor": 3},
        [{"more": x + 1, "twice": 3 * x, "final": 4 * x + 1} for x in range(50)], MAPPED,
    ),
    Case(
        "twin-several-outputs", lambda: [DualNode(("tens", "ones"), parts_single, parts_batch, name="parts")], lambda: {"x": [42, 7]},
        [{"tens": 4, "ones": 2}, {"tens": 0, "ones": 7}], MAPPED,
    ),
    Case("twin-alone", lambda: [DualNode("twice", batch=twin_batch)], lambda: {"x": [1, 2]}, [{"twice": 2}, {"twice": 4}], MAPPED),
    Case(
        "twin-nested", lambda: [Pipeline(_twin(batch_size=2), name="inner").as_node(output_mapping={"final": "finals"}, map_over="x")],
        lambda: {"x": [[1, 2, 3], []]}, [{"finals": [4, 7, 10]}, {"finals": []}], MAPPED,
    ),
    Case("coroutine", lambda: [wait, wait_again], lambda: {"x": 1}, {"waited": 101, "again": 102}),
    Case(
        "coroutine-mapped", lambda: [wait, wait_again, increase], lambda: {"x": [1, 2]},
        [{"waited": 101, "again": 102, "more": 2}, {"waited": 102, "again": 104, "more": 3}], MAPPED,
    ),
    Case(
        "coroutine-nested", lambda: [Pipeline([wait, wait_again], name="inner").as_node(map_over="x", output_mapping={"again": "all"})],
        lambda: {"x": [1, 2]}, {"all": [102, 104]},
    ),
    Case(
        "coroutine-on-its-own-engine",
        lambda: [Pipeline([wait, wait_again], name="inner", engine=SeqEngine()).as_node(map_over="x", output_mapping={"again": "all"})],
        lambda: {"x": [[1, 2], [3]]}, [{"all": [102, 104]}, {"all": [106]}], MAPPED,
    ),
    Case("stateful", lambda: [cut], lambda: {"text": "abcd", "tokenizer": Tokenizer(3)}, {"pieces": ["abc", "d"]}),
    Case(
        "stateful-mapped", lambda: [cut], lambda: {"text": ["abcd", "", "xy"], "tokenizer": Tokenizer(1)},
        [{"pieces": list(text)} for text in ("abcd", "", "xy")], {"map_over": "text"},
    ),
    Case("method", lambda: [Multiplier(3).multiply], lambda: {"x": [1, 2]}, [{"product": 3}, {"product": 6}], MAPPED),
    Case("callable", lambda: [node(output_name="y", name="times")(Multiplier(3))], lambda: {"x": 2}, {"y": 6}),
    Case("closure", lambda: [node(output_name="y", name="plus")(_closure(5))], lambda: {"x": [1, 2]}, [{"y": 6}, {"y": 7}], MAPPED),
    Case("bytes", lambda: [join], lambda: {"left": b"x" * 300_000, "right": [0, 1]}, [{"joined": [b"x" * 300_000, k]} for k in (0, 1)], {"map_over": "right"}),
)  # fmt: skip
