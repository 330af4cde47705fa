"""Pipelines: building, nesting, binding, pruning, travelling, and size."""

from __future__ import annotations

import importlib
import os
import pickle
import subprocess
import sys
import textwrap
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import hypernodes
import pytest
from hypernodes import UNSET, Node, Pipeline, PipelineNode, SeqEngine, node, reset_default_config
from hypernodes.callbacks import PipelineCallback
from hypernodes.errors import MapInputError, MissingInputError, OptionError, PipelineError, UnknownInputError, UnknownOutputError

SOURCES = str(Path(hypernodes.__file__).parent.parent)


@pytest.fixture(autouse=True)
def _own_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    reset_default_config()
    yield
    reset_default_config()


def fresh(code: str, *args: str, cwd: Path) -> str:
    """Run code as ``__main__`` of a fresh interpreter and return what it prints."""
    path = os.pathsep.join(filter(None, [SOURCES, os.environ.get("PYTHONPATH")]))
    script = cwd / "script.py"
    script.write_text(textwrap.dedent(code))
    done = subprocess.run(
        [sys.executable, "-W", "error", str(script), *args],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def step(output: str, *inputs: str, log: list[str] | None = None, name: str | None = None) -> Node[..., Any]:
    """Return a node that adds up its inputs and 1, and notes in ``log`` that it ran."""

    def add(*values: int) -> int:
        if log is not None:
            log.append(output)
        return sum(values) + 1

    space: dict[str, Any] = {"add": add}
    exec(f"def {name or output}_({', '.join(inputs)}): return add({', '.join(inputs)})", space)
    return node(output_name=output, name=name or f"make_{output}")(space[f"{name or output}_"])


@node(output_name="cleaned")
def clean(text: str) -> str:
    return text.strip().lower()


@node(output_name="words")
def split(cleaned: str, sep: str = " ") -> list[str]:
    return cleaned.split(sep)


@node(output_name="count")
def count(words: list[str]) -> int:
    return len(words)


# -- building -------------------------------------------------------------------------------------------------------


def test_names_join_nodes_in_whatever_order_they_come() -> None:
    for nodes in ([clean, split, count], [count, split, clean]):
        pipeline = Pipeline(nodes)
        assert pipeline.run({"text": " A b "}) == {"cleaned": "a b", "words": ["a", "b"], "count": 2}
        assert pipeline.root_args == ("text", "sep")
        assert pipeline.output_names == ("cleaned", "words", "count")


def test_the_graph_that_other_tools_rely_on() -> None:
    graph = Pipeline([count, clean, split]).graph
    assert graph.root_args == ("text", "sep")
    assert graph.available_output_names == ("cleaned", "words", "count")
    assert [each.name for each in graph.execution_order] == ["clean", "split", "count"]


def test_a_pipeline_of_nothing() -> None:
    empty = Pipeline([])
    assert (empty.run(), empty.root_args, empty.output_names) == ({}, (), ())
    assert Pipeline([empty, clean]).run({"text": "A"}) == {"cleaned": "a"}


def test_nodes_may_come_from_any_finite_iterable() -> None:
    assert Pipeline(iter([clean])).run({"text": "A"}) == {"cleaned": "a"}
    assert Pipeline((clean, split)).run({"text": "A"}, "words") == {"words": ["a"]}
    assert Pipeline({"one": clean}.values()).run({"text": "A"}) == {"cleaned": "a"}


def test_output_name_chooses() -> None:
    pipeline = Pipeline([clean, split, count])
    inputs = {"text": "a b"}
    assert pipeline.run(inputs, output_name="count") == {"count": 2}
    assert list(pipeline.run(inputs, output_name=["count", "cleaned"])) == ["count", "cleaned"]
    assert pipeline.run(inputs, output_name=("count",)) == {"count": 2}
    assert pipeline.run(inputs, output_name=["count", "count"]) == {"count": 2}
    assert pipeline.run(inputs, output_name=[]) == {}
    assert pipeline.run(inputs) == {"cleaned": "a b", "words": ["a", "b"], "count": 2}


def test_inputs_may_be_any_mapping() -> None:
    pipeline = Pipeline([clean])
    for inputs in (types.MappingProxyType({"text": "A"}), hypernodes.RunResult({"text": "A"})):
        assert pipeline.run(inputs) == {"cleaned": "a"}


def test_a_result_of_one_pipeline_feeds_another() -> None:
    assert Pipeline([split], name="second").run(Pipeline([clean]).run({"text": "A B"})) == {"words": ["a", "b"]}


def test_one_function_twice_under_other_names() -> None:
    inc = step("y", "x")
    pipeline = Pipeline([inc, Pipeline([inc]).as_node({"y": "x"}, {"y": "z"}, name="again")])
    assert pipeline.run({"x": 1}) == {"y": 2, "z": 3}


@pytest.mark.parametrize(
    "nodes",
    [clean, "clean", None, 3, Pipeline([clean]), {clean}, {"a": clean}],
    ids=["node", "str", "none", "int", "pipeline", "set", "dict"],
)
def test_something_else_than_a_list_of_nodes(nodes: Any) -> None:
    with pytest.raises(OptionError, match="Pipeline takes a list of nodes, got "):
        Pipeline(nodes)


def test_a_plain_function_among_nodes() -> None:
    def plain(x: int) -> int:
        return x

    with pytest.raises(
        PipelineError, match=r"nodes\[1\] is .*neither a node nor a pipeline; decorate it: @node\(output_name=…\) above def plain"
    ):
        Pipeline([clean, plain])


@pytest.mark.parametrize(
    ("made", "text"),
    [
        (lambda: Pipeline([clean, split]), "<Pipeline(text, sep) -> cleaned, words; 2 nodes>"),
        (lambda: Pipeline([clean], name="tidy", engine="seq"), "<Pipeline tidy(text) -> cleaned; 1 node on seq>"),
        (lambda: Pipeline([clean], engine=SeqEngine()), "<Pipeline(text) -> cleaned; 1 node on seq>"),
        (lambda: Pipeline([]), "<Pipeline() -> nothing; 0 nodes>"),
        (lambda: Pipeline([clean], name="tidy").as_node(), "<PipelineNode tidy(text) -> cleaned>"),
        (
            lambda: Pipeline([clean], name="tidy").as_node(
                {"texts": "text"}, {"cleaned": "all", "text": "given"}, map_over="texts", name="each"
            ),
            "<PipelineNode each(texts) over texts -> all, given>",
        ),
    ],
)
def test_reprs(made: Callable[[], Any], text: str) -> None:
    assert repr(made()) == text


def test_a_long_repr_stays_readable() -> None:
    text = repr(Pipeline([step(f"y{i}", f"x{i}") for i in range(1000)]))
    assert len(text) < 400
    assert "1000 nodes" in text or "1,000 nodes" in text


# -- nesting --------------------------------------------------------------------------------------------------------


def test_pipelines_directly_among_nodes() -> None:
    inner = Pipeline([clean, split], name="prepare")
    outer = Pipeline([inner, count])
    assert outer.root_args == ("text", "sep")
    assert outer.run({"text": "A B"}) == {"cleaned": "a b", "words": ["a", "b"], "count": 2}
    assert isinstance(outer.nodes[0], PipelineNode)
    assert set(outer.run({"text": "A"}).stats) == {"prepare/clean", "prepare/split", "count"}


def nested(depth: int, member: Any, **options: Any) -> Pipeline:
    pipeline = Pipeline([member], name="p0")
    for level in range(1, depth):
        pipeline = Pipeline([pipeline.as_node(**options)], name=f"p{level}")
    return pipeline


@pytest.mark.parametrize("depth", [1, 2, 5, 120])
def test_any_depth(depth: int) -> None:
    pipeline = nested(depth, clean)
    assert pipeline.run({"text": " A"}) == {"cleaned": "a"}
    assert pipeline.map({"text": ["A", "B"]}, map_over="text") == [{"cleaned": "a"}, {"cleaned": "b"}]
    assert pipeline.unfulfilled_args == ("text",)
    path = "/".join(f"p{level}" for level in reversed(range(depth - 1)))
    assert list(pipeline.run({"text": "A"}).stats) == [f"{path}/clean".lstrip("/")]


@pytest.mark.parametrize("depth", [2, 3, 12])
def test_maps_in_maps_of_any_depth(depth: int) -> None:
    pipeline = nested(depth, step("y", "x"), map_over="x", output_mapping={"y": "y"})

    def wrapped(value: Any, times: int) -> Any:
        return value if not times else [wrapped(value, times - 1)]

    assert pipeline.run({"x": wrapped(1, depth - 1)}) == {"y": wrapped(2, depth - 1)}


def test_both_mappings() -> None:
    inner = Pipeline([clean, split, count], name="inner")
    one = inner.as_node(input_mapping={"query": "text"}, output_mapping={"words": "query_words"}, name="one")
    two = inner.as_node(input_mapping={"document": "text", "comma": "sep"}, output_mapping={"count": "n", "cleaned": "doc"}, name="two")
    assert (one.root_args, one.output_name) == (("query", "sep"), "query_words")
    assert (two.root_args, two.output_name) == (("document", "comma"), ("n", "doc"))
    outer = Pipeline([one, two])
    made = outer.run({"query": "A B", "document": "C,D,E", "comma": ","})
    assert made == {"query_words": ["a", "b"], "n": 3, "doc": "c,d,e"}


def test_output_mapping_selects() -> None:
    inner = Pipeline([clean, split, count])
    assert Pipeline([inner.as_node(output_mapping={"count": "n"})]).output_names == ("n",)
    assert Pipeline([inner.as_node()]).output_names == ("cleaned", "words", "count")


def test_one_outer_name_for_the_input_of_several_nodes() -> None:
    inner = Pipeline([step("y", "x")])
    outer = Pipeline([inner.as_node({"shared": "x"}, {"y": "a"}, name="a"), inner.as_node({"shared": "x"}, {"y": "b"}, name="b")])
    assert outer.root_args == ("shared",)
    assert outer.run({"shared": 1}) == {"a": 2, "b": 2}


def test_swapped_inputs() -> None:
    minus = node(output_name="d")(lambda a, b: a - b)
    outer = Pipeline([Pipeline([minus]).as_node(input_mapping={"a": "b", "b": "a"})])
    assert outer.run({"a": 1, "b": 10}) == {"d": 9}


def test_inputs_come_out_when_named_in_output_mapping() -> None:
    inner = Pipeline([step("y", "x", "k")])
    plain = inner.as_node({"start": "x"}, {"y": "y", "x": "used"})
    assert Pipeline([plain]).run({"start": 1, "k": 1}) == {"y": 3, "used": 1}
    mapped = inner.as_node({"xs": "x"}, {"y": "ys", "x": "used", "k": "ks"}, map_over="xs")
    assert Pipeline([mapped]).run({"xs": [1, 2], "k": 1}) == {"ys": [3, 4], "used": [1, 2], "ks": [1, 1]}
    every = inner.as_node({"xs": "x", "ks": "k"}, {"y": "ys", "x": "x_used", "k": "k_used"}, map_over=["xs", "ks"], map_mode="product")
    assert Pipeline([every]).run({"xs": [1, 2], "ks": [10, 20]}) == {
        "ys": [12, 22, 13, 23],
        "x_used": [1, 1, 2, 2],
        "k_used": [10, 20, 10, 20],
    }


def test_only_inputs_come_out() -> None:
    mapped = Pipeline([step("y", "x")]).as_node({"xs": "x"}, {"x": "used"}, map_over="xs")
    made = Pipeline([mapped]).run({"xs": iter([1, 2])})
    assert made == {"used": [1, 2]}
    assert made.stats.ran == 0


@pytest.mark.parametrize("mapped", [False, True])
def test_an_optional_input_comes_out_with_the_value_that_was_used(*, mapped: bool) -> None:
    inner = Pipeline([node(output_name="y")(lambda x, k=5: x + k)])
    over: dict[str, Any] = {"map_over": "x"} if mapped else {}
    outer = Pipeline([inner.as_node(output_mapping={"y": "y", "k": "used"}, **over)])
    value, expected = ([1], {"y": [6], "used": [5]}) if mapped else (1, {"y": 6, "used": 5})
    assert outer.run({"x": value}) == expected
    inner.bind(k=7)
    value, expected = ([1], {"y": [8], "used": [7]}) if mapped else (1, {"y": 8, "used": 7})
    assert outer.run({"x": value}) == expected
    expected = {"y": [10], "used": [9]} if mapped else {"y": 10, "used": 9}
    assert outer.run({"x": value, "k": 9}) == expected


def test_map_over_takes_outer_names_and_gathers_lists() -> None:
    inner = Pipeline([clean, split, count])
    outer = Pipeline(
        [inner.as_node({"texts": "text"}, {"count": "counts"}, map_over="texts"), node(output_name="total")(lambda counts: sum(counts))]
    )
    assert outer.run({"texts": ["a b", "c"]}) == {"counts": [2, 1], "total": 3}
    assert outer.run({"texts": []}) == {"counts": [], "total": 0}
    assert outer.map({"texts": [["a"], ["a b", "c d"]]}, map_over="texts", output_name="total") == [{"total": 1}, {"total": 4}]


def test_zip_and_product_of_a_nested_pipeline() -> None:
    inner = Pipeline([node(output_name="pair")(lambda a, b: f"{a}{b}")])
    zipped = Pipeline([inner.as_node(map_over=["a", "b"])])
    every = Pipeline([inner.as_node(map_over=("a", "b"), map_mode="product")])
    assert zipped.run({"a": "xy"[:2].split("x"), "b": [1, 2]}) == {"pair": ["1", "y2"]}
    assert every.run({"a": ["x", "y"], "b": [1, 2]}) == {"pair": ["x1", "x2", "y1", "y2"]}
    assert every.run({"a": ["x", "y"], "b": []}) == {"pair": []}


def test_product_order_is_that_of_map_over() -> None:
    inner = Pipeline([node(output_name="pair")(lambda a, b: f"{a}{b}")])
    every = Pipeline([inner.as_node(map_over=["b", "a"], map_mode="product")])
    assert every.run({"a": ["x", "y"], "b": [1, 2]}) == {"pair": ["x1", "y1", "x2", "y2"]}
    assert [row["pair"] for row in inner.map({"a": ["x", "y"], "b": [1, 2]}, map_over=["b", "a"], map_mode="product")] == [
        "x1",
        "y1",
        "x2",
        "y2",
    ]


def test_a_nested_map_over_what_a_node_makes() -> None:
    numbers = node(output_name="xs")(lambda n: (i for i in range(n)))
    outer = Pipeline([numbers, Pipeline([step("y", "x")]).as_node({"xs": "x"}, {"y": "ys"}, map_over="xs")])
    assert outer.run({"n": 3}, "ys") == {"ys": [1, 2, 3]}


def test_a_nested_map_over_a_string_fails_as_a_map_would() -> None:
    outer = Pipeline([Pipeline([clean]).as_node(map_over="text")])
    with pytest.raises(MapInputError, match="'text' is a string"):
        outer.run({"text": "abc"})


# -- inputs: bound, default, given ------------------------------------------------------------------------------------


def test_bind_fixes_and_a_call_wins() -> None:
    pipeline = Pipeline([step("y", "x", "k")])
    assert pipeline.unfulfilled_args == ("x", "k")
    assert pipeline.bind(k=10) is pipeline
    assert dict(pipeline.bound_inputs) == {"k": 10}
    assert pipeline.unfulfilled_args == ("x",)
    assert pipeline.root_args == ("x", "k")
    assert pipeline.run({"x": 1}) == {"y": 12}
    assert pipeline.run({"x": 1, "k": 0}) == {"y": 2}
    assert pipeline.map({"x": [1, 2]}, map_over="x") == [{"y": 12}, {"y": 13}]
    assert pipeline.map({"x": 1, "k": [0, 1]}, map_over="k") == [{"y": 2}, {"y": 3}]
    pipeline.bind(k=20, x=0)
    assert pipeline.run() == {"y": 21}


def test_unbind_one_or_all() -> None:
    pipeline = Pipeline([step("y", "x", "k")]).bind(k=10, x=1)
    assert pipeline.unbind("k") is pipeline
    assert pipeline.unfulfilled_args == ("k",)
    with pytest.raises(MissingInputError):
        pipeline.run()
    pipeline.bind(k=1).unbind()
    assert dict(pipeline.bound_inputs) == {}
    assert pipeline.unfulfilled_args == ("x", "k")


def test_bind_and_unbind_know_names() -> None:
    pipeline = Pipeline([clean], name="tidy")
    with pytest.raises(UnknownInputError, match=r"pipeline 'tidy' has no input 'txt' to bind; it takes text\. Did you mean 'text'\?"):
        pipeline.bind(txt="a")
    assert dict(pipeline.bound_inputs) == {}
    with pytest.raises(UnknownInputError, match=r"'text' is not bound on pipeline 'tidy'; bound are none\."):
        pipeline.unbind("text")
    with pytest.raises(UnknownInputError, match="'cleaned'"):
        pipeline.bind(cleaned="a")


def test_bound_inputs_are_read_only() -> None:
    with pytest.raises(TypeError):
        Pipeline([clean]).bind(text="a").bound_inputs["text"] = "b"


def test_bind_may_fix_none_and_mapped_inputs() -> None:
    assert Pipeline([node(output_name="seen")(lambda x: [x])]).bind(x=None).run() == {"seen": [None]}
    assert Pipeline([clean]).bind(text=["A", "B"]).map(map_over="text") == [{"cleaned": "a"}, {"cleaned": "b"}]


def test_values_bound_on_an_inner_pipeline_are_defaults() -> None:
    inner = Pipeline([step("y", "x", "k")], name="inner").bind(k=10)
    outer = Pipeline([inner, step("z", "y")])
    assert outer.root_args == ("x", "k")
    assert outer.unfulfilled_args == ("x",)
    assert outer.run({"x": 1}, "z") == {"z": 13}
    assert outer.run({"x": 1, "k": 0}, "z") == {"z": 3}
    assert outer.bind(k=100).run({"x": 1}, "z") == {"z": 103}
    assert outer.run({"x": 1, "k": 0}, "z") == {"z": 3}
    assert inner.run({"x": 1}) == {"y": 12}


def test_an_inner_bound_value_gives_way_to_an_outer_node() -> None:
    inner = Pipeline([step("y", "x", "k")]).bind(k=10)
    assert Pipeline([step("k", "raw"), inner]).run({"raw": 1, "x": 1}) == {"k": 3 - 1, "y": 4}


def test_inner_bindings_under_other_names_and_maps() -> None:
    inner = Pipeline([step("y", "x", "k")]).bind(k=10)
    outer = Pipeline([inner.as_node({"xs": "x", "shift": "k"}, {"y": "ys"}, map_over="xs")])
    assert outer.run({"xs": [1, 2]}) == {"ys": [12, 13]}
    assert outer.run({"xs": [1, 2], "shift": 0}) == {"ys": [2, 3]}


def test_bindings_of_two_inner_pipelines_stay_apart() -> None:
    a = Pipeline([step("a", "x", "k")], name="a").bind(k=1)
    b = Pipeline([step("b", "x", "k")], name="b").bind(k=100)
    outer = Pipeline([a, b])
    assert outer.run({"x": 0}) == {"a": 2, "b": 101}
    assert outer.run({"x": 0, "k": 5}) == {"a": 6, "b": 6}
    b.unbind()
    assert outer.unfulfilled_args == ("x", "k")


def test_the_innermost_binding_that_nobody_overrides_counts() -> None:
    inner = Pipeline([step("y", "x", "k")], name="inner").bind(k=1)
    middle = Pipeline([inner], name="middle").bind(k=2)
    outer = Pipeline([middle], name="outer")
    assert outer.run({"x": 0}) == {"y": 3}
    middle.unbind()
    assert outer.run({"x": 0}) == {"y": 2}
    assert outer.bind(k=3).run({"x": 0}) == {"y": 4}


def test_inner_bindings_may_change_between_runs() -> None:
    inner = Pipeline([step("y", "x", "k")])
    outer = Pipeline([inner])
    with pytest.raises(MissingInputError, match="needs 'k'"):
        outer.run({"x": 1})
    inner.bind(k=1)
    assert outer.run({"x": 1}) == {"y": 3}
    inner.bind(k=5)
    assert outer.run({"x": 1}) == {"y": 7}


def test_an_inner_default_differs_from_another_nodes_default() -> None:
    a = node(output_name="a")(lambda k=1: k)
    b = node(output_name="b")(lambda k=2: k)
    assert Pipeline([a, Pipeline([b])]).run() == {"a": 1, "b": 2}
    assert Pipeline([a, Pipeline([b])]).run({"k": 7}) == {"a": 7, "b": 7}
    assert Pipeline([Pipeline([b]).as_node({"ks": "k"}, map_over="ks")]).run({"ks": [1, 2]}) == {"b": [1, 2]}


# -- copies, settings, notebooks --------------------------------------------------------------------------------------


def test_a_copy_has_settings_and_bindings_of_its_own() -> None:
    pipeline = Pipeline([step("y", "x")], name="first", retries=1).bind(x=1)
    other = pipeline.copy()
    other.bind(x=5).with_name("second").with_retries(3)
    assert (pipeline.run(), pipeline.name, pipeline.settings["retries"]) == ({"y": 2}, "first", 1)
    assert (other.run(), other.name, other.settings["retries"]) == ({"y": 6}, "second", 3)
    assert other.nodes == pipeline.nodes


def test_with_methods_change_and_return_the_pipeline() -> None:
    callback, engine = PipelineCallback(), SeqEngine()
    pipeline = Pipeline([clean])
    assert (
        pipeline.with_engine(engine).with_cache(None).with_callbacks([callback]).with_name("n").with_retries(2).with_timeout(3) is pipeline
    )
    assert pipeline.name == "n"
    assert pipeline.settings == {"engine": engine, "cache": None, "callbacks": (callback,), "retries": 2, "timeout": 3}
    pipeline.with_retries(UNSET)
    assert "retries" not in pipeline.settings
    assert pipeline.with_engine("seq").run({"text": "A"}) == {"cleaned": "a"}


def test_with_methods_of_as_node_change_and_return_the_node() -> None:
    callback, engine = PipelineCallback(), SeqEngine()
    member = Pipeline([clean], retries=1).as_node(retries=5)
    assert member.settings == {"retries": 5}
    assert member.with_engine(engine).with_cache(None).with_callbacks([callback]).with_name("n").with_retries(2).with_timeout(3) is member
    assert member.name == "n"
    assert member.settings == {"engine": engine, "cache": None, "callbacks": (callback,), "retries": 2, "timeout": 3}
    assert member.with_retries(UNSET).settings.get("retries", UNSET) is UNSET
    assert Pipeline([member]).run({"text": "A"}) == {"cleaned": "a"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p.with_engine(3), "engine=3: no engine"),
        (lambda p: p.with_engine(SeqEngine), r"engine=.*this is a class; write SeqEngine\(\)"),
        (lambda p: p.with_cache(3), "cache=3"),
        (lambda p: p.with_callbacks([3]), "callbacks=3"),
        (lambda p: p.with_callbacks(PipelineCallback), r"this is a class; write PipelineCallback\(\)"),
        (lambda p: p.with_retries(-1), "retries=-1: give a whole number from 0 up"),
        (lambda p: p.with_timeout(0), "timeout=0: give a number of seconds above 0"),
    ],
)
@pytest.mark.parametrize("target", [lambda: Pipeline([clean]), lambda: Pipeline([clean]).as_node()], ids=["pipeline", "as_node"])
def test_bad_settings_are_refused_where_they_are_made(target: Callable[[], Any], change: Callable[[Any], Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        change(target())


def test_a_pipeline_that_is_held_keeps_the_name_it_is_known_by() -> None:
    inner = Pipeline([clean], name="old")
    outer = Pipeline([inner])
    inner.with_name("new")
    assert list(outer.run({"text": "A"}).stats) == ["old/clean"]
    assert list(outer.refresh().run({"text": "A"}).stats) == ["new/clean"]


def notebook(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """Return a function that runs a cell of a module which stands for a notebook."""
    module = types.ModuleType("cells")
    monkeypatch.setitem(sys.modules, "cells", module)

    def run(cell: str) -> Any:
        exec(textwrap.dedent(cell), module.__dict__)
        return module

    return run


def test_refresh_takes_up_what_was_defined_again(monkeypatch: pytest.MonkeyPatch) -> None:
    run = notebook(monkeypatch)
    cells = run("""
        from hypernodes import Pipeline, node
        def make(k):
            return k
        @node(output_name="y")
        def f(x): return x + 1
        class Box:
            @staticmethod
            @node(output_name="z")
            def g(y): return y + 1
        """)
    inner = Pipeline([cells.f], name="inner")
    pipeline = Pipeline([inner, cells.Box.g])
    run("""
        @node(output_name="y")
        def f(x, k=0): return x + 100 + k
        class Box:
            @staticmethod
            @node(output_name="z")
            def g(y): return y + 1000
        """)
    assert pipeline.run({"x": 1}) == {"y": 2, "z": 3}
    assert pipeline.refresh() is pipeline
    assert pipeline.run({"x": 1}) == {"y": 101, "z": 1101}
    assert pipeline.root_args == ("x", "k")
    assert pipeline.run({"x": 1, "k": 5}, "y") == {"y": 106}


def test_refresh_takes_up_the_function_of_a_node_made_from_it(monkeypatch: pytest.MonkeyPatch) -> None:
    run = notebook(monkeypatch)
    cells = run("""
        from hypernodes import node
        def f(x): return x + 1
        """)
    pipeline = Pipeline([node(output_name="y", retries=2)(cells.f)])
    run("def f(x): return x + 100")
    assert pipeline.refresh().run({"x": 1}) == {"y": 101}
    assert pipeline.nodes[0].options.retries == 2


def test_refresh_leaves_the_rest_as_it_is() -> None:
    local = node(output_name="y")(lambda x: x + 1)
    pipeline = Pipeline([local, clean], retries=2).bind(x=1)
    assert pipeline.refresh().run({"text": "A"}) == {"y": 2, "cleaned": "a"}
    assert pipeline.nodes == (local, clean)
    assert pipeline.settings == {"retries": 2}


# -- pruning --------------------------------------------------------------------------------------------------------


def test_only_what_is_asked_for_runs() -> None:
    log: list[str] = []
    pipeline = Pipeline([step("a", "x", log=log), step("b", "a", log=log), step("c", "y", log=log), step("d", "c", "a", log=log)])
    assert pipeline.run({"x": 1}, "b") == {"b": 3}
    assert log == ["a", "b"]
    log.clear()
    assert pipeline.run({"y": 1}, "c") == {"c": 2}
    assert log == ["c"]
    log.clear()
    assert pipeline.map({"x": [1, 2]}, map_over="x", output_name="a") == [{"a": 2}, {"a": 3}]
    assert log == ["a", "a"]


def test_inputs_of_pruned_nodes_may_be_given_and_may_be_mapped() -> None:
    log: list[str] = []
    pipeline = Pipeline([step("a", "x", log=log), step("b", "y", log=log)])
    assert pipeline.run({"x": 1, "y": 2}, "a") == {"a": 2}
    assert pipeline.map({"x": 1, "y": [2, 3]}, map_over="y", output_name="a") == [{"a": 2}, {"a": 2}]
    assert "b" not in log


@pytest.mark.parametrize("over", [None, "x"])
def test_only_what_the_outer_graph_uses_runs_inside(over: str | None) -> None:
    log: list[str] = []
    inner = Pipeline(
        [step("a", "x", log=log), step("b", "a", log=log), step("c", "y", log=log), step("d", "b", "c", log=log)], name="inner"
    )
    outer = Pipeline([inner.as_node(output_mapping={"b": "b", "d": "d"}, map_over=over), node(output_name="e")(lambda b: b)])
    value: Any = [1] if over else 1
    assert outer.run({"x": value}, "e") == {"e": [3] if over else 3}
    assert log == ["a", "b"]
    log.clear()
    assert list(outer.run({"x": value, "y": 1})) == ["b", "d", "e"]
    assert sorted(log) == ["a", "b", "c", "d"]


def test_pruning_goes_through_every_level() -> None:
    log: list[str] = []
    pipeline = Pipeline([step("used", "x", log=log), step("idle", "y", log=log)], name="p0")
    for level in range(1, 5):
        over = {"map_over": "x"} if level == 2 else {}
        pipeline = Pipeline([pipeline.as_node(**over), step(f"idle{level}", "y", log=log)], name=f"p{level}")
    assert pipeline.run({"x": [1]}, "used") == {"used": [2]}
    assert log == ["used"]
    assert set(pipeline.unfulfilled_args) == {"x", "y"}


def test_what_output_mapping_leaves_out_does_not_run_and_needs_nothing() -> None:
    log: list[str] = []
    inner = Pipeline([step("a", "x", log=log), step("b", "y", log=log)], name="inner")
    outer = Pipeline([inner.as_node(output_mapping={"a": "a"})])
    assert outer.unfulfilled_args == ("x",)
    assert outer.run({"x": 1}) == {"a": 2}
    assert log == ["a"]


def test_two_nodes_of_one_inner_pipeline_are_pruned_apart() -> None:
    log: list[str] = []
    inner = Pipeline([step("a", "x", log=log), step("b", "x", log=log)], name="inner")
    outer = Pipeline([inner.as_node(output_mapping={"a": "first"}), inner.as_node(output_mapping={"b": "second"})])
    result = outer.run({"x": 1})
    assert result == {"first": 2, "second": 2}
    assert sorted(log) == ["a", "b"]
    assert list(result.stats) == ["inner[first]/make_a", "inner[second]/make_b"]
    log.clear()
    assert outer.run({"x": 1}, "second") == {"second": 2}
    assert log == ["b"]


def test_a_pruned_map_needs_no_items() -> None:
    inner = Pipeline([step("a", "x")]).as_node({"xs": "x"}, {"a": "as_"}, map_over="xs")
    outer = Pipeline([inner, step("b", "y")])
    assert outer.run({"y": 1}, "b") == {"b": 2}


def test_unknown_names_are_unknown_to_the_whole_pipeline_only() -> None:
    pipeline = Pipeline([step("a", "x"), step("b", "y")])
    with pytest.raises(UnknownInputError, match="no input 'z'"):
        pipeline.run({"x": 1, "z": 1}, "a")
    with pytest.raises(UnknownOutputError, match="no output 'c'"):
        pipeline.run({"x": 1}, ["a", "c"])


# -- travelling -----------------------------------------------------------------------------------------------------


def test_plain_pickle_where_nodes_are_importable() -> None:
    pipeline = Pipeline([clean, Pipeline([split], name="inner")], name="outer", retries=1).bind(sep=",")
    travelled = pickle.loads(pickle.dumps(pipeline))
    assert travelled.nodes[0] is clean
    assert travelled.run({"text": "A,b"}) == {"cleaned": "a,b", "words": ["a", "b"]}
    assert (travelled.name, travelled.settings, dict(travelled.bound_inputs)) == ("outer", {"retries": 1}, {"sep": ","})


def test_subclasses_travel_as_themselves() -> None:
    class Own(Pipeline):
        pass

    assert type(cloudpickle.loads(cloudpickle.dumps(Own([clean])))).__name__ == "Own"


def test_pipelines_inputs_and_results_travel_to_a_fresh_interpreter(tmp_path: Path) -> None:
    said = fresh(
        """
        import sys, cloudpickle
        from hypernodes import DualNode, Pipeline, node, stateful
        class Doc:
            def __init__(self, text): self.text = text
            def __eq__(self, other): return type(self).__name__ == type(other).__name__ and self.text == other.text
            def __repr__(self): return f"Doc({self.text!r})"
        def helper(text): return text.upper()
        @node(output_name="doc")
        def read(text: str, mark: str = "!") -> Doc:
            return Doc(helper(text) + mark)
        @node(output_name="size")
        async def measure(doc: Doc) -> int:
            return len(doc.text)
        @stateful
        class Model:
            def __init__(self, shift): self.shift = shift
            def __call__(self, size): return size + self.shift
        score = DualNode("score", lambda size, model: model(size), lambda size, model: [model(s) for s in size])
        inner = Pipeline([read, measure], name="inner")
        each = inner.as_node({"texts": "text"}, {"size": "size", "doc": "docs"}, map_over="texts", name="each")
        total = node(output_name="total")(lambda size: sum(size))
        pipeline = Pipeline([each, total], name="outer", retries=2).bind(mark="?")
        single = Pipeline([inner, score], name="single").bind(model=Model(10))
        one, many = pipeline.run({"texts": ["a", "bc"]}), single.map({"text": ["a", "bc"]}, map_over="text")
        print(one, many)
        failed = Pipeline([node(output_name="y")(lambda x: 1 // x)]).map({"x": [0, 1]}, map_over="x", on_error="return")
        open("all.pickle", "wb").write(cloudpickle.dumps((pipeline, {"texts": [Doc("q").text]}, single, one, many, failed)))
        """,
        cwd=tmp_path,
    )
    first = said
    said = fresh(
        """
        import pickle
        pipeline, inputs, single, one, many, failed = pickle.load(open("all.pickle", "rb"))
        print(one, many)
        again = pipeline.run({"texts": ["a", "bc"]})
        print(again == one, single.map({"text": ["a", "bc"]}, map_over="text") == many, pipeline.run(inputs)["total"])
        print(one.stats["each/read"].ran, one.inputs, many.inputs, one.run_id != again.run_id)
        print(failed.ok, failed.failures, failed.failures[0].error.args, failed[1])
        """,
        cwd=tmp_path,
    )
    lines = said.splitlines()
    assert lines[0] == first.strip()
    assert lines[1] == "True True 2"
    assert lines[2] == "2 {'texts': ['a', 'bc']} [{'text': 'a'}, {'text': 'bc'}] True"
    assert lines[3].startswith("False (<NodeFailure y item 0: ZeroDivisionError: ")
    assert lines[3].endswith("{'y': 1}")


def test_pipelines_hold_no_state_of_the_runs_they_made() -> None:
    pipeline = Pipeline([clean, split])
    before = len(cloudpickle.dumps(pipeline))
    pipeline.map({"text": ["A"] * 1000}, map_over="text")
    pipeline.run({"text": "A" * 100_000})
    assert len(cloudpickle.dumps(pipeline)) == before


# -- size -----------------------------------------------------------------------------------------------------------

LARGE = 10_000


@pytest.fixture
def shallow() -> Iterator[None]:
    """Allow only a few frames more than the test itself has: depth must not grow with the number of nodes."""
    importlib.import_module("networkx")  # a cycle imports it, and that needs more
    before, depth, frame = sys.getrecursionlimit(), 0, sys._getframe()  # noqa: SLF001 - the only way to know
    while frame is not None:
        depth, frame = depth + 1, frame.f_back
    sys.setrecursionlimit(depth + 120)
    yield
    sys.setrecursionlimit(before)


def inc(x: int) -> int:
    return x + 1


def chain(size: int) -> list[Node[..., Any]]:
    nodes = []
    for i in range(size):
        space: dict[str, Any] = {}
        exec(f"def f{i}(x{i}): return x{i} + 1", space)
        nodes.append(node(output_name=f"x{i + 1}")(space[f"f{i}"]))
    return nodes


def fan(size: int) -> list[Node[..., Any]]:
    """Return nodes that all read one input and feed one node."""
    nodes = [node(output_name=f"y{i}", name=f"n{i}")(lambda x: x) for i in range(size)]
    space: dict[str, Any] = {}
    names = ", ".join(f"y{i}" for i in range(size))
    exec(f"def total({names}): return sum(({names}))", space)
    return [*nodes, node(output_name="total")(space["total"])]


@pytest.mark.parametrize("options", [{}, {"retries": 1}], ids=["generated", "block"])
@pytest.mark.usefixtures("shallow")
def test_a_chain_of_ten_thousand_nodes(options: dict[str, Any]) -> None:
    pipeline = Pipeline(chain(LARGE)[::-1], **options)
    assert pipeline.run({"x0": 0}, output_name=f"x{LARGE}") == {f"x{LARGE}": LARGE}
    assert pipeline.run({"x0": 0})[f"x{LARGE}"] == LARGE
    assert pipeline.map({"x0": [0, 1]}, map_over="x0", output_name=f"x{LARGE}") == [{f"x{LARGE}": LARGE}, {f"x{LARGE}": LARGE + 1}]
    assert pipeline.run({"x0": 0}).stats.ran == LARGE


@pytest.mark.parametrize("options", [{}, {"retries": 1}], ids=["generated", "block"])
@pytest.mark.usefixtures("shallow")
def test_ten_thousand_nodes_side_by_side(options: dict[str, Any]) -> None:
    pipeline = Pipeline(fan(LARGE), **options)
    assert pipeline.run({"x": 1}, output_name="total") == {"total": LARGE}
    assert len(pipeline.run({"x": 1})) == LARGE + 1
    assert pipeline.map({"x": [1, 2]}, map_over="x", output_name="total") == [{"total": LARGE}, {"total": 2 * LARGE}]


@pytest.mark.usefixtures("shallow")
def test_a_large_pipeline_inside_another_and_in_a_pickle() -> None:
    outer = Pipeline([Pipeline(chain(LARGE), name="long").as_node(output_mapping={f"x{LARGE}": "end"}), step("z", "end")])
    assert outer.run({"x0": 0}, "z") == {"z": LARGE + 1}


def operations(work: Callable[[], Any]) -> int:
    """Return how many functions were entered."""
    count = 0

    def note(_frame: Any, event: str, _arg: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.parametrize("shape", [chain, fan])
@pytest.mark.parametrize("options", [{}, {"retries": 1}], ids=["generated", "block"])
def test_work_grows_with_the_number_of_nodes(shape: Callable[[int], list[Node[..., Any]]], options: dict[str, Any]) -> None:
    def cost(size: int) -> int:
        nodes, inputs = shape(size), {"x0" if shape is chain else "x": 1}
        return operations(lambda: Pipeline(nodes, **options).run(inputs))

    cost(10)
    small, large = cost(500), cost(2000)
    assert large < 5 * small


def test_work_grows_with_depth_not_with_its_power() -> None:
    def cost(depth: int) -> int:
        pipeline = nested(depth, step("y", "x"), map_over="x", output_mapping={"y": "y"})
        value: Any = 1
        for _ in range(depth - 1):
            value = [value]
        return operations(lambda: pipeline.run({"x": value}))

    cost(2)
    small, large = cost(6), cost(18)
    assert large < 12 * small


def test_two_inner_inputs_of_one_mapped_value_vary_together() -> None:
    pair = Pipeline([node(output_name="y")(lambda a, x: (a, x))])
    twice = pair.as_node({"x": "a"}, map_over="x", map_mode="product")
    assert Pipeline([twice]).run({"x": [1, 2]}) == {"y": [(1, 1), (2, 2)]}
    assert Pipeline([twice], retries=1).run({"x": [1, 2]}) == {"y": [(1, 1), (2, 2)]}
    three = Pipeline([node(output_name="y")(lambda a, x, z: (a, x, z))])
    crossed = three.as_node({"x": "a"}, map_over=["x", "z"], map_mode="product")
    assert Pipeline([crossed]).run({"x": [1, 2], "z": [5, 6]}) == {"y": [(1, 1, 5), (1, 1, 6), (2, 2, 5), (2, 2, 6)]}
