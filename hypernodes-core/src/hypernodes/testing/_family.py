"""A family of pipelines that every engine must run alike.

Everything here can be imported, so that engines whose workers are other processes can run it too.
"""

from __future__ import annotations

import asyncio
import functools
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from hypernodes import stateful
from hypernodes.engines import Engine, SeqEngine
from hypernodes.node import DualNode, node
from hypernodes.pipeline import Pipeline
from hypernodes.results import MapResult, RunResult


class OddError(Exception):
    """An exception that cannot be made again from its ``args``, as many libraries have them."""

    def __init__(self, code: int, *, reason: str) -> None:
        super().__init__(f"{reason} ({code})")
        self.code = code
        self.reason = reason


# -- functions --------------------------------------------------------------------------------------------------------


@node(output_name="more")
def increase(x: int) -> int:
    """Return one more."""
    return x + 1


@node(output_name="doubled")
def double(more: int) -> int:
    """Return twice as much."""
    return 2 * more


@node(output_name="shown")
def show(doubled: int) -> str:
    """Return it as text."""
    return f"<{doubled}>"


@node(output_name="total")
def add(more: int, doubled: int) -> int:
    """Return the sum."""
    return more + doubled


@node(output_name=("quotient", "remainder"))
def divide(x: int, by: int) -> tuple[int, int]:
    """Return two outputs."""
    return divmod(x, by)


@node(output_name=("only",))
def single(x: int) -> tuple[int]:
    """Return a tuple of one output."""
    return (x,)


@node(output_name="scaled")
def scale(x: int, factor: int = 10, *, offset: int = 0) -> int:
    """Take optional inputs, one of them by keyword only."""
    return x * factor + offset


@node(output_name="joined")
def join(left: Any, right: Any) -> list[Any]:
    """Return both."""
    return [left, right]


@node(output_name="sum")
def total_of(values: Sequence[int]) -> int:
    """Return the sum of a list."""
    return sum(values)


@node(output_name="nothing")
def nothing(x: Any) -> None:
    """Return ``None``, which is a value."""


@node(output_name="seen")
def see(nothing: None) -> bool:
    """Say whether nothing came."""
    return nothing is None


@node(output_name="waited")
async def wait(x: int) -> int:
    """Be a coroutine function."""
    await asyncio.sleep(0)
    return x + 100


@node(output_name="again")
async def wait_again(waited: int, x: int) -> int:
    """Await another one's result."""
    await asyncio.sleep(0.001)
    return waited + x


def _twin_single(x: int, factor: int = 2) -> int:
    return x * factor


def _twin_batch(x: list[int], factor: int = 2) -> list[int]:
    return [value * factor for value in x]


def _parts_single(x: int) -> tuple[int, int]:
    return x // 10, x % 10


def _parts_batch(x: list[int]) -> tuple[list[int], list[int]]:
    return [value // 10 for value in x], [value % 10 for value in x]


@stateful
class Tokenizer:
    """A heavy object, built late and once per process."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.born = (os.getpid(), time.perf_counter_ns())

    def cut(self, text: str) -> list[str]:
        """Return pieces of the text."""
        return [text[start : start + self.size] for start in range(0, len(text), self.size)]


@node(output_name="pieces")
def cut(text: str, tokenizer: Tokenizer) -> list[str]:
    """Use a stateful input."""
    return tokenizer.cut(text)


@node(output_name="born")
def birth(x: int, tokenizer: Tokenizer) -> tuple[int, int]:
    """Tell which object came here."""
    return tokenizer.born


@node(output_name="place")
def place(x: int, constant: Any) -> tuple[int, int]:
    """Tell where a constant lies: process and address."""
    return os.getpid(), id(constant)


@node(output_name="checked")
def check(x: int) -> int:
    """Refuse multiples of seven."""
    if x % 7 == 0:
        msg = f"{x} is refused"
        raise ValueError(msg)
    return x


@node(output_name="after")
def after(checked: int) -> int:
    """Depend on what may have failed."""
    return -checked


@node(output_name="beside")
def beside(x: int) -> int:
    """Depend on nothing that fails."""
    return x * x


@node(output_name="odd")
def fail_oddly(x: int) -> int:
    """Raise what pickles badly."""
    raise OddError(x, reason="no such thing")


@node(output_name="marked")
def mark(x: int, path: str) -> int:
    """Leave a mark in a file that all workers of this host see."""
    _mark(path)
    return x


@node(output_name="slow")
def mark_slowly(x: int, path: str) -> int:
    """Leave a mark, take a while, leave another."""
    _mark(path)
    time.sleep(0.05)
    _mark(path)
    return x


@node(output_name="steady", retries=3)
def flaky(x: int, path: str, failures: int) -> int:
    """Fail so many times before working; a file counts."""
    if _mark(f"{path}-{x}") <= failures:
        msg = f"not yet: {x}"
        raise ConnectionError(msg)
    return x


@node(output_name="choosy", retries=3, retry_on=ConnectionError)
def choosy(x: int, path: str) -> int:
    """Fail with what is not worth another try."""
    _mark(f"{path}-{x}")
    msg = f"never: {x}"
    raise LookupError(msg)


@node(output_name="late", timeout=0.2)
def dawdle(x: int) -> int:
    """Take longer than allowed, except for item 0."""
    if x:
        time.sleep(1.5)
    return x


@node(output_name="late", timeout=0.2)
async def dawdle_async(x: int) -> int:
    """Take longer than allowed, as a coroutine, except for item 0."""
    if x:
        await asyncio.sleep(1.5)
    return x


@node(output_name="alone", max_concurrent=1)
def crowd(x: int, path: str) -> int:
    """Leave marks around a moment in which nobody else may be here."""
    _mark(path, b"+")
    time.sleep(0.005)
    _mark(path, b"-")
    return x


@node(output_name="made", resources={"unobtainium": 1})
def demanding(x: int) -> int:
    """Ask for what no engine has."""
    return x


_FILES = threading.Lock()


def _mark(path: str, text: bytes = b".") -> int:
    """Append to a file and return how long it is now."""
    with _FILES, Path(path).open("ab") as file:
        file.write(text)
        return file.tell()


def marks(path: str | Path) -> int:
    """Return how many marks a file holds."""
    try:
        return Path(path).stat().st_size
    except FileNotFoundError:
        return 0


class _Multiplier:
    """An object with a method that is a node, and one that is called."""

    def __init__(self, factor: int) -> None:
        self.factor = factor

    def __call__(self, x: int) -> int:
        return x * self.factor

    @node(output_name="product")
    def multiply(self, x: int) -> int:
        return x * self.factor


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
    return [increase, DualNode("twice", _twin_single, _twin_batch, name="twin", **options), _after_twin]


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
        "twin-several-outputs", lambda: [DualNode(("tens", "ones"), _parts_single, _parts_batch, name="parts")], lambda: {"x": [42, 7]},
        [{"tens": 4, "ones": 2}, {"tens": 0, "ones": 7}], MAPPED,
    ),
    Case("twin-alone", lambda: [DualNode("twice", batch=_twin_batch)], lambda: {"x": [1, 2]}, [{"twice": 2}, {"twice": 4}], MAPPED),
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
    Case("method", lambda: [_Multiplier(3).multiply], lambda: {"x": [1, 2]}, [{"product": 3}, {"product": 6}], MAPPED),
    Case("callable", lambda: [node(output_name="y", name="times")(_Multiplier(3))], lambda: {"x": 2}, {"y": 6}),
    Case("closure", lambda: [node(output_name="y", name="plus")(_closure(5))], lambda: {"x": [1, 2]}, [{"y": 6}, {"y": 7}], MAPPED),
    Case("bytes", lambda: [join], lambda: {"left": b"x" * 300_000, "right": [0, 1]}, [{"joined": [b"x" * 300_000, k]} for k in (0, 1)], {"map_over": "right"}),
)  # fmt: skip
