"""Functions as nodes: what ``@node`` accepts, what it refuses, and what stays of the function."""

from __future__ import annotations

import asyncio
import functools
import inspect
import os
import pickle
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import cloudpickle
import hypernodes
import pytest
from hypernodes import DualNode, HyperNode, Node, Pipeline, node
from hypernodes.errors import BatchLengthError, NodeDefinitionError, OutputCountError

SOURCES = str(Path(hypernodes.__file__).parent.parent)


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


def placeless(text: str) -> str:
    """Return a message without what depends on the machine: directories and line numbers."""
    return re.sub(r"(?:[^\s()']*[/\\])?(\w+\.py):\d+", r"\1:N", text)


@node(output_name="doubled")
def double(x: int, *, times: int = 2) -> int:
    """Multiply by two, or more."""
    return x * times


@node(output_name="awaited")
async def wait_for(x: int) -> int:
    await asyncio.sleep(0)
    return x + 1


class Scaler:
    """Methods as nodes."""

    def __init__(self, factor: int) -> None:
        self.factor = factor

    @node(output_name="scaled")
    def scale(self, x: int) -> int:
        return x * self.factor

    @node(output_name="later")
    async def scale_later(self, x: int) -> int:
        return x * self.factor

    @staticmethod
    @node(output_name="plain")
    def plainly(x: int) -> int:
        return x

    @classmethod
    @node(output_name="kind")
    def kind_of(cls, x: int) -> str:
        return f"{cls.__name__}{x}"

    def bare(self, x: int) -> int:
        return x - self.factor

    def _many(self, x: list[int]) -> list[int]:
        return [self.factor * value for value in x]

    @node(output_name="squared", batch=_many)
    def one(self, x: int) -> int:
        return self.factor * x


class Adder:
    def __init__(self, plus: int) -> None:
        self.plus = plus

    def __call__(self, x: int) -> int:
        return x + self.plus


# -- declaring ------------------------------------------------------------------------------------------------------


def test_bare_decorator_names_the_output_after_the_function() -> None:
    @node
    def cleaned(text: str) -> str:
        return text.strip()

    assert (cleaned.output_name, cleaned.name, cleaned.root_args) == ("cleaned", "cleaned", ("text",))
    assert Pipeline([cleaned]).run({"text": " a "}) == {"cleaned": "a"}


def test_called_decorator() -> None:
    @node(output_name="cleaned", name="tidy")
    def clean(text: str) -> str:
        return text.strip()

    assert (clean.output_name, clean.outputs, clean.name) == ("cleaned", ("cleaned",), "tidy")
    assert Pipeline([clean]).run({"text": " a "}) == {"cleaned": "a"}


def test_called_without_arguments_is_the_bare_decorator() -> None:
    @node()
    def cleaned(text: str) -> str:
        return text.strip()

    assert cleaned.output_name == "cleaned"


def test_the_protocol_that_other_tools_rely_on() -> None:
    assert isinstance(double, HyperNode)
    assert isinstance(Pipeline([double]).as_node(), HyperNode)
    assert double.name == "double"
    assert double.cache is True
    assert double.root_args == ("x", "times")
    assert double.output_name == "doubled"
    assert isinstance(double.code_hash, str)
    assert double.code_hash != wait_for.code_hash


def test_code_hash_is_the_same_for_the_same_code_and_another_for_other_code() -> None:
    def made(source: str) -> Node[..., Any]:
        space: dict[str, Any] = {}
        exec(source, space)
        return node(output_name="out")(space["f"])

    assert made("def f(x): return x + 1").code_hash == made("def f(x): return x + 1").code_hash
    assert made("def f(x): return x + 1").code_hash != made("def f(x): return x * 1").code_hash
    assert made("def f(x): return x + 1").code_hash != made("def f(x): return x + 2").code_hash


def test_tuple_of_outputs() -> None:
    @node(output_name=("low", "high"))
    def bounds(values: list[int]) -> tuple[int, int]:
        return min(values), max(values)

    assert bounds.outputs == bounds.output_name == ("low", "high")
    pipeline = Pipeline([bounds])
    assert pipeline.run({"values": [3, 1, 2]}) == {"low": 1, "high": 3}
    assert pipeline.run({"values": [3, 1, 2]}, output_name="high") == {"high": 3}
    assert pipeline.map({"values": [[1, 2], [5]]}, map_over="values") == [{"low": 1, "high": 2}, {"low": 5, "high": 5}]


def test_a_list_of_outputs_is_a_tuple_of_outputs() -> None:
    assert node(output_name=["a", "b"])(lambda x: (x, x)).output_name == ("a", "b")


def test_a_tuple_of_one_output_takes_a_tuple_of_one() -> None:
    pair = node(output_name=("only",))(lambda x: (x,))
    assert Pipeline([pair]).run({"x": 1}) == {"only": 1}
    assert Pipeline([pair]).map({"x": [1, 2]}, map_over="x") == [{"only": 1}, {"only": 2}]
    assert Pipeline([pair], timeout=5).run({"x": 1}) == {"only": 1}
    with pytest.raises(OutputCountError, match="declares 1 output "):
        Pipeline([node(output_name=("only",))(lambda x: (x, x))]).run({"x": 1})


def test_defaults_are_optional_inputs() -> None:
    @node(output_name="text")
    def repeat(word: str, times: int = 2, *, sep: str = "-") -> str:
        return sep.join([word] * times)

    pipeline = Pipeline([repeat])
    assert pipeline.root_args == ("word", "times", "sep")
    assert pipeline.unfulfilled_args == ("word",)
    assert pipeline.run({"word": "a"}) == {"text": "a-a"}
    assert pipeline.run({"word": "a", "sep": "+", "times": 3}) == {"text": "a+a+a"}
    assert pipeline.map({"word": "a", "times": [1, 3]}, map_over="times") == [{"text": "a"}, {"text": "a-a-a"}]


def test_a_default_gives_way_to_a_node_that_makes_the_input() -> None:
    @node(output_name="times")
    def count() -> int:
        return 3

    assert Pipeline([count, double]).run({"x": 1}) == {"times": 3, "doubled": 3}


def test_an_explicit_none_is_a_value_not_a_missing_one() -> None:
    seen = node(output_name="seen")(lambda x=5: x)
    assert Pipeline([seen]).run({"x": None}) == {"seen": None}
    assert Pipeline([seen]).run() == {"seen": 5}


def test_positional_only_parameters_and_a_function_without_parameters() -> None:
    @node(output_name="difference")
    def minus(a: int, b: int, /) -> int:
        return a - b

    assert Pipeline([minus]).run({"a": 5, "b": 2}) == {"difference": 3}
    assert Pipeline([node(output_name="one")(lambda: 1)]).run() == {"one": 1}


def test_lambda_is_named_after_its_output() -> None:
    assert node(output_name="area")(lambda r: 3 * r * r).name == "area"


# -- coroutines -----------------------------------------------------------------------------------------------------


def test_coroutine_functions_are_awaited() -> None:
    pipeline = Pipeline([double, wait_for])
    assert wait_for.is_async
    assert not double.is_async
    assert pipeline.run({"x": 1}) == {"doubled": 2, "awaited": 2}
    assert pipeline.map({"x": [1, 2]}, map_over="x", output_name="awaited") == [{"awaited": 2}, {"awaited": 3}]


def test_coroutine_functions_are_awaited_inside_a_running_loop() -> None:
    async def notebook() -> dict[str, Any]:
        return Pipeline([wait_for]).run({"x": 1})

    assert asyncio.run(notebook()) == {"awaited": 2}


def test_calling_a_coroutine_node_gives_the_coroutine() -> None:
    assert asyncio.run(wait_for(1)) == 2


# -- methods, callables, partials -------------------------------------------------------------------------------------


def test_methods_decorated_in_the_class_body() -> None:
    three, five = Scaler(3), Scaler(5)
    assert three.scale.root_args == ("x",)
    assert three.scale(2) == 6
    assert Pipeline([three.scale, three.scale_later]).run({"x": 2}) == {"scaled": 6, "later": 6}
    assert Pipeline([five.scale]).run({"x": 2}) == {"scaled": 10}
    assert Scaler.scale(five, 2) == 10


def test_static_and_class_methods() -> None:
    assert Pipeline([Scaler.plainly, Scaler.kind_of]).run({"x": 2}) == {"plain": 2, "kind": "Scaler2"}
    assert Pipeline([Scaler(1).kind_of]).run({"x": 2}) == {"kind": "Scaler2"}


def test_a_bound_method_as_function() -> None:
    made = node(output_name="bared")(Scaler(3).bare)
    assert made.name == "bare"
    assert Pipeline([made]).run({"x": 10}) == {"bared": 7}


def test_a_method_with_a_batch_twin_binds_both() -> None:
    scaler = Scaler(3)
    assert Pipeline([scaler.one]).map({"x": [1, 2]}, map_over="x") == [{"squared": 3}, {"squared": 6}]
    assert scaler.one(2) == 6


def test_callable_instances() -> None:
    made = node(output_name="sum")(Adder(10))
    assert (made.name, made.root_args) == ("Adder", ("x",))
    assert made(1) == 11
    assert Pipeline([made]).run({"x": 1}) == {"sum": 11}


def test_partials_keep_what_is_left_to_give() -> None:
    def scaled(x: int, factor: int, shift: int = 0) -> int:
        return x * factor + shift

    by_keyword = node(output_name="a")(functools.partial(scaled, factor=3))
    by_position = node(output_name="b")(functools.partial(scaled, 2))
    assert by_keyword.name == "scaled"
    assert by_position.root_args == ("factor", "shift")
    pipeline = Pipeline([by_keyword, by_position])
    assert set(pipeline.unfulfilled_args) == {"x", "factor"}
    assert Pipeline([by_keyword]).run({"x": 2}) == {"a": 6}
    assert Pipeline([by_keyword]).run({"x": 2, "factor": 5, "shift": 1}) == {"a": 11}
    assert Pipeline([by_position]).run({"factor": 4}) == {"b": 8}


def test_a_partial_of_a_coroutine_function_is_one() -> None:
    async def later(x: int, y: int) -> int:
        return x + y

    assert Pipeline([node(output_name="z")(functools.partial(later, y=1))]).run({"x": 1}) == {"z": 2}


def test_a_class_as_function() -> None:
    assert Pipeline([node(output_name="adder")(Adder)]).run({"plus": 4})["adder"](1) == 5


# -- staying a function -----------------------------------------------------------------------------------------------


def test_a_node_is_still_its_function() -> None:
    assert double(4) == 8
    assert double(4, times=3) == 12
    assert double(x=1) == 2
    assert double.__name__ == "double"
    assert double.__doc__ == "Multiply by two, or more."
    assert double.__module__ == __name__
    assert list(inspect.signature(double).parameters) == ["x", "times"]
    assert list(map(double, [1, 2])) == [2, 4]


def test_a_node_can_call_another() -> None:
    @node(output_name="fourfold")
    def twice(x: int) -> int:
        return double(double(x))

    assert Pipeline([twice]).run({"x": 1}) == {"fourfold": 4}


def test_decorating_a_node_again_declares_another() -> None:
    again = node(output_name="other")(double)
    assert (again.output_name, double.output_name) == ("other", "doubled")
    assert Pipeline([again, double]).run({"x": 1}) == {"other": 2, "doubled": 2}


def test_one_declaration_over_another_function() -> None:
    tripled = double.with_function(lambda x: 3 * x)
    assert Pipeline([tripled]).run({"x": 1}) == {"doubled": 3}


@pytest.mark.parametrize(
    ("made", "text"),
    [
        (double, "<Node double(x, times) -> doubled>"),
        (node(output_name=("a", "b"))(lambda x: (x, x)), "<Node a(x) -> a, b>"),
        (Scaler(1).scale, "<Node scale(x) -> scaled>"),
        (DualNode("y", batch=lambda x: x, name="twin"), "<DualNode twin(x) -> y>"),
    ],
    ids=["function", "tuple", "method", "dual"],
)
def test_reprs(made: Node[..., Any], text: str) -> None:
    assert repr(made) == text


# -- travelling -------------------------------------------------------------------------------------------------------


def test_importable_nodes_pickle_by_reference() -> None:
    data = pickle.dumps(double)
    assert pickle.loads(data) is double
    assert len(data) < 200
    assert pickle.loads(pickle.dumps(Scaler.plainly)) is Scaler.plainly
    assert cloudpickle.loads(cloudpickle.dumps(double)) is double


def test_bound_method_nodes_pickle_with_their_object() -> None:
    for travelled in (pickle.loads(pickle.dumps(Scaler(3).scale)), cloudpickle.loads(cloudpickle.dumps(Scaler(3).scale))):
        assert not isinstance(travelled.func, Node)
        assert Pipeline([travelled]).run({"x": 2}) == {"scaled": 6}


def test_bound_coroutine_methods_are_still_awaited_after_pickling() -> None:
    travelled = pickle.loads(pickle.dumps(Scaler(3).scale_later))
    assert Pipeline([travelled]).run({"x": 2}) == {"later": 6}


def test_bound_batch_twins_pickle() -> None:
    travelled = pickle.loads(pickle.dumps(Scaler(3).one))
    assert Pipeline([travelled]).map({"x": [1, 2]}, map_over="x") == [{"squared": 3}, {"squared": 6}]


def test_local_nodes_keep_every_option_when_they_travel() -> None:
    @node(output_name="out", name="n", retries=2, timeout=3, cache=False, rate="5/s", ignore="x", resources={"gpu": 1})
    def local(x: int) -> int:
        return x

    travelled = cloudpickle.loads(cloudpickle.dumps(local))
    assert travelled is not local
    assert (travelled.name, travelled.output_name, travelled.options) == ("n", "out", local.options)
    twin = DualNode("y", lambda x: x, lambda x: list(x), batch_size=4, name="twin")
    travelled = cloudpickle.loads(cloudpickle.dumps(twin))
    assert (travelled.options.batch_size, travelled.name, travelled.batch([1])) == (4, "twin", [1])


def test_nodes_of_main_travel_to_a_fresh_interpreter(tmp_path: Path) -> None:
    made = fresh(
        """
        import sys, cloudpickle
        from hypernodes import DualNode, node
        OFFSET = 10
        def helper(x): return x + OFFSET
        @node(output_name="y")
        def shifted(x: int) -> int:
            return helper(x)
        class Scale:
            def __init__(self, k): self.k = k
            @node(output_name="z")
            def times(self, y: int) -> int: return y * self.k
        twin = DualNode("w", lambda z: -z, lambda z: [-v for v in z])
        open(sys.argv[1], "wb").write(cloudpickle.dumps([shifted, Scale(3).times, twin]))
        """,
        "nodes.pickle",
        cwd=tmp_path,
    )
    assert made == ""
    said = fresh(
        """
        import pickle, sys
        nodes = pickle.load(open(sys.argv[1], "rb"))
        from hypernodes import Pipeline
        print(nodes[0](1), Pipeline(nodes).run({"x": 1}), Pipeline(nodes).map({"x": [0]}, map_over="x", output_name="w"))
        """,
        "nodes.pickle",
        cwd=tmp_path,
    )
    assert said == "11 {'y': 11, 'z': 33, 'w': -33} [{'w': -30}]\n"


def test_nodes_of_a_module_need_that_module_where_they_arrive(tmp_path: Path) -> None:
    (tmp_path / "steps.py").write_text("from hypernodes import node\n@node(output_name='y')\ndef inc(x): return x + 1\n")
    fresh("import pickle, steps; open('n', 'wb').write(pickle.dumps(steps.inc))", cwd=tmp_path)
    said = fresh("import pickle; n = pickle.load(open('n', 'rb')); import steps; print(n is steps.inc, n(1))", cwd=tmp_path)
    assert said == "True 2\n"


# -- batch twins ------------------------------------------------------------------------------------------------------


def batches_of(**options: Any) -> tuple[DualNode, list[Any]]:
    """Return a twin that notes the lists it is given."""
    calls: list[Any] = []

    def many(x: list[int], k: int = 2) -> list[int]:
        calls.append((list(x), k))
        return [value * k for value in x]

    return DualNode("y", lambda x, k=2: x * k, many, **options), calls


def test_a_twin_is_called_with_lists_and_constants_stay_scalars() -> None:
    twin, calls = batches_of()
    assert Pipeline([twin]).map({"x": [1, 2, 3], "k": 5}, map_over="x") == [{"y": 5}, {"y": 10}, {"y": 15}]
    assert calls == [([1, 2, 3], 5)]
    calls.clear()
    assert Pipeline([twin]).map({"x": [1, 2, 3]}, map_over="x") == [{"y": 2}, {"y": 4}, {"y": 6}]
    assert calls == [([1, 2, 3], 2)]
    calls.clear()
    assert Pipeline([twin]).bind(k=7).map({"x": [1]}, map_over="x") == [{"y": 7}]
    assert calls == [([1], 7)]


def test_batch_option_of_the_decorator_is_the_same() -> None:
    @node(output_name="y", batch=lambda x: [value + 100 for value in x])
    def inc(x: int) -> int:
        return x + 1

    assert isinstance(inc, DualNode)
    assert inc(1) == 2
    assert Pipeline([inc]).map({"x": [1, 2]}, map_over="x") == [{"y": 101}, {"y": 102}]


def test_batch_size_bounds_one_call() -> None:
    twin, calls = batches_of(batch_size=2)
    made = Pipeline([twin]).map({"x": range(5)}, map_over="x")
    assert [row["y"] for row in made] == [0, 2, 4, 6, 8]
    assert [len(call[0]) for call in calls] == [2, 2, 1]


def test_a_twin_fed_by_a_node_takes_whole_columns() -> None:
    twin, calls = batches_of()
    first = node(output_name="x")(lambda raw: raw + 1)
    assert Pipeline([first, twin]).map({"raw": [1, 2]}, map_over="raw", output_name="y") == [{"y": 4}, {"y": 6}]
    assert calls == [([2, 3], 2)]


def test_a_twin_inside_a_mapped_pipeline_takes_the_inner_items() -> None:
    twin, calls = batches_of()
    inner = Pipeline([twin]).as_node(input_mapping={"xs": "x"}, output_mapping={"y": "ys"}, map_over="xs")
    assert Pipeline([inner]).run({"xs": [1, 2, 3]}) == {"ys": [2, 4, 6]}
    assert calls == [([1, 2, 3], 2)]


def test_batch_only_nodes() -> None:
    def many(x: list[int], k: int) -> list[int]:
        return [value * k for value in x]

    twin = DualNode("y", batch=many)
    assert (twin.name, twin.root_args) == ("many", ("x", "k"))
    assert twin(3, 4) == 12
    assert Pipeline([twin]).run({"x": 2, "k": 3}) == {"y": 6}
    assert Pipeline([twin]).map({"x": [1, 2], "k": 3}, map_over="x") == [{"y": 3}, {"y": 6}]


def test_a_single_run_needs_no_batch() -> None:
    twin, calls = batches_of()
    assert Pipeline([twin]).run({"x": 3, "k": 4}) == {"y": 12}
    assert calls in ([], [([3], 4)])


def test_several_outputs_of_a_twin_as_columns_or_rows() -> None:
    columns = DualNode(("a", "b"), batch=lambda x: ([v + 1 for v in x], [v - 1 for v in x]))
    rows = DualNode(("a", "b"), batch=lambda x: [(v + 1, v - 1) for v in x])
    for twin in (columns, rows):
        assert Pipeline([twin]).map({"x": [1, 2]}, map_over="x") == [{"a": 2, "b": 0}, {"a": 3, "b": 1}]


def test_coroutine_twins() -> None:
    async def one(x: int) -> int:
        return x + 1

    async def many(x: list[int]) -> list[int]:
        return [value + 1 for value in x]

    pipeline = Pipeline([DualNode("y", one, many)])
    assert pipeline.map({"x": [1, 2]}, map_over="x") == [{"y": 2}, {"y": 3}]
    assert pipeline.run({"x": 1}) == {"y": 2}


def test_no_items_no_call() -> None:
    twin, calls = batches_of()
    assert Pipeline([twin]).map({"x": []}, map_over="x") == []
    assert calls == []


def test_numpy_arrays_where_annotated() -> None:
    np = pytest.importorskip("numpy")
    kinds: list[Any] = []

    def many(x, k):
        kinds.append((type(x), type(k)))
        return x * k

    many.__annotations__ = {"x": np.ndarray, "k": int}
    twin = DualNode("y", batch=many)
    made = Pipeline([twin]).map({"x": [1, 2, 3], "k": 10}, map_over="x")
    assert made == [{"y": 10}, {"y": 20}, {"y": 30}]
    assert kinds == [(np.ndarray, int)]
    assert twin(2, 5) == 10


def test_rows_of_a_two_dimensional_array_are_the_results() -> None:
    np = pytest.importorskip("numpy")
    twin = DualNode("vector", batch=lambda x: np.outer(x, [1.0, 2.0]))
    made = Pipeline([twin]).map({"x": [1, 2]}, map_over="x")
    assert [row["vector"].tolist() for row in made] == [[1.0, 2.0], [2.0, 4.0]]


def test_arrow_arrays_where_annotated() -> None:
    pa = pytest.importorskip("pyarrow")
    compute = pytest.importorskip("pyarrow.compute")
    kinds: list[type] = []

    def many(x):
        kinds.append(type(x))
        return compute.multiply(x, 2)

    many.__annotations__ = {"x": pa.Array}
    assert Pipeline([DualNode("y", batch=many)]).map({"x": [1, 2]}, map_over="x") == [{"y": 2}, {"y": 4}]
    assert kinds == [pa.Int64Array]


def test_pandas_series_where_annotated() -> None:
    pd = pytest.importorskip("pandas")
    kinds: list[type] = []

    def many(x):
        kinds.append(type(x))
        return x + 1

    many.__annotations__ = {"x": pd.Series}
    assert Pipeline([DualNode("y", batch=many)]).map({"x": [1, 2]}, map_over="x") == [{"y": 2}, {"y": 3}]
    assert kinds == [pd.Series]


def test_sequences_and_tuples_where_annotated() -> None:
    kinds: list[type] = []

    def many(x: Sequence[int], z: tuple[int, ...]) -> list[int]:
        kinds.extend([type(x), type(z)])
        return [a + b for a, b in zip(x, z, strict=True)]

    assert Pipeline([DualNode("y", batch=many)]).map({"x": [1], "z": [2]}, map_over=["x", "z"]) == [{"y": 3}]
    assert kinds == [list, tuple]


@pytest.mark.parametrize(
    ("returned", "got"),
    [
        (lambda x: x[:-1], "returned 2 results"),
        (lambda x: [*x, 1], "returned 4 results"),
        (lambda x: x[:1], "returned 1 result"),
        (lambda x: 5 * len(x), "returned 15"),
        (lambda x: "a" * len(x), "returned 'aaa'"),
        (lambda x: dict.fromkeys(x), "returned {1: None, 2: None, 3: None}"),
        (lambda x: print(end="") if x else None, "returned None"),
    ],
)
def test_another_number_of_results_is_an_error(returned: Callable[[list[int]], Any], got: str) -> None:
    with pytest.raises(BatchLengthError) as caught:
        Pipeline([DualNode("y", batch=returned, name="many")]).map({"x": [1, 2, 3]}, map_over="x")
    assert placeless(str(caught.value)) == (
        f"batch twin of node 'many' (test_node.py:N) was given 3 items and {got}; it must return one result per item"
    )


def test_another_number_of_columns_is_an_error() -> None:
    with pytest.raises(OutputCountError, match="declares 2 outputs and returned 3 columns"):
        Pipeline([DualNode(("a", "b"), batch=lambda x: (x, x, x))]).map({"x": [1, 2]}, map_over="x")
    with pytest.raises(BatchLengthError, match="given 2 items and returned 1 result;"):
        Pipeline([DualNode(("a", "b"), batch=lambda x: (x, x[:1]))]).map({"x": [1, 2]}, map_over="x")


# -- what cannot be a node ----------------------------------------------------------------------------------------------


def identity(x: Any) -> Any:
    return x


TAKES_X = "node 'identity' at test_node.py:N takes 'x' "
BAD_OPTIONS: list[tuple[dict[str, Any], str]] = [
    ({"output_name": 3}, "output_name=3 of 'identity' at test_node.py:N must be a name or several names"),
    (
        {"output_name": ("a", 3)},
        "output_name 3 of 'identity' at test_node.py:N cannot be the name of a parameter; use letters, digits and underscores",
    ),
    (
        {"output_name": "not valid"},
        "output_name 'not valid' of 'identity' at test_node.py:N cannot be the name of a parameter; use letters, digits and underscores",
    ),
    (
        {"output_name": "class"},
        "output_name 'class' of 'identity' at test_node.py:N cannot be the name of a parameter; use letters, digits and underscores",
    ),
    ({"output_name": ()}, "output_name () of 'identity' at test_node.py:N must hold one name or several different ones"),
    ({"output_name": ("a", "a")}, "output_name ('a', 'a') of 'identity' at test_node.py:N must hold one name or several different ones"),
    (
        {"output_name": "x"},
        TAKES_X + "and also produces it.\n  fix: give the output another name, such as output_name='x_new'",
    ),
    ({"name": 3}, "node 'identity': name must be a non-empty string, got 3"),
    ({"name": ""}, "node 'identity': name must be a non-empty string, got ''"),
    ({"cache": ".cache"}, "node 'identity': cache must be True or False, got '.cache'; a pipeline says where results are kept"),
    ({"cache": None}, "node 'identity': cache must be True or False, got None; a pipeline says where results are kept"),
    ({"deterministic": 1}, "node 'identity': deterministic must be True or False, got 1"),
    ({"ignore": "y"}, "node 'identity' at test_node.py:N: ignore names 'y', which is not a parameter; it has x."),
    ({"ignore": 3}, "node 'identity': ignore must be the name of a parameter or several, got 3"),
    (
        {"stateful_params": "X"},
        "node 'identity' at test_node.py:N: stateful_params names 'X', which is not a parameter; it has x. Did you mean 'x'?",
    ),
    ({"stateful_params": (3,)}, "node 'identity': stateful_params must be the name of a parameter or several, got (3,)"),
    ({"expires": 0}, "node 'identity': expires must be a number above 0, got 0"),
    ({"expires": timedelta(seconds=-1)}, "node 'identity': expires must be a number above 0, got -1.0"),
    ({"timeout": "5"}, "node 'identity': timeout must be a number above 0, got '5'"),
    ({"timeout": True}, "node 'identity': timeout must be a number above 0, got True"),
    ({"timeout": float("nan")}, "node 'identity': timeout must be a number above 0, got nan"),
    ({"timeout": float("inf")}, "node 'identity': timeout must be a number above 0, got inf"),
    ({"retries": -1}, "node 'identity': retries must be a whole number of at least 0, got -1"),
    ({"retries": 1.5}, "node 'identity': retries must be a whole number of at least 0, got 1.5"),
    ({"retry_on": "ValueError"}, "node 'identity': retry_on must be an exception class or several, got 'ValueError'"),
    ({"retry_on": ValueError()}, "node 'identity': retry_on must be an exception class or several, got ValueError()"),
    (
        {"retry_on": (ValueError, int)},
        "node 'identity': retry_on must be an exception class or several, got (<class 'ValueError'>, <class 'int'>)",
    ),
    ({"max_concurrent": 0}, "node 'identity': max_concurrent must be a whole number of at least 1, got 0"),
    ({"batch_size": 0, "batch": identity}, "node 'identity': batch_size must be a whole number of at least 1, got 0"),
    ({"batch_size": 8}, "node 'identity': batch_size=8 needs batch=, the function that takes so many items at once"),
    ({"batch": 3}, "DualNode 'y' needs batch=, a function that takes lists of items; got 3"),
    ({"rate": "5/year"}, "node 'identity': rate must look like '50/s', '100/min' or '1000/h', got '5/year'"),
    ({"rate": "fast"}, "node 'identity': rate must look like '50/s', '100/min' or '1000/h', got 'fast'"),
    ({"rate": 0}, "node 'identity': rate must look like '50/s', '100/min' or '1000/h', got 0"),
    ({"resources": "gpu"}, "node 'identity': resources must be a mapping such as {'gpu': 1}, got 'gpu'"),
    ({"resources": {"gpu": 0}}, "node 'identity': resources['gpu'] must be a number above 0, got 0"),
    ({"cache_version": 1.5}, "node 'identity': cache_version must be a string or a whole number, got 1.5"),
    ({"retrys": 3}, "node 'identity': @node has no option 'retrys'. Did you mean 'retries'?"),
    ({"outputname": "y"}, "node 'identity': @node has no option 'outputname'. Did you mean 'output_name'?"),
]


@pytest.mark.parametrize(
    ("options", "message"), BAD_OPTIONS, ids=[f"{k}={v!r}"[:40] for options, _ in BAD_OPTIONS for k, v in [next(iter(options.items()))]]
)
def test_a_bad_option_says_so(options: dict[str, Any], message: str) -> None:
    with pytest.raises(NodeDefinitionError) as caught:
        node(**{"output_name": "y", **options})(identity)
    assert placeless(str(caught.value)) == message


@pytest.mark.parametrize(
    ("declare", "message"),
    [
        (lambda: node("y"), "@node('y'): name the output by keyword: @node(output_name='y')"),
        (lambda: node(3), "@node needs a function, got 3"),
        (lambda: node(staticmethod(identity)), "@node needs a function, got staticmethod; put @node below @staticmethod"),
        (lambda: node(classmethod(identity)), "@node needs a function, got classmethod; put @node below @classmethod"),
        (lambda: node(lambda x: x), "a nameless function needs output_name=: @node(output_name='…')"),
        (
            lambda: node(output_name="y")(max),
            "the parameters of <built-in function max> cannot be read; wrap it in a function with named parameters",
        ),
        (lambda: DualNode("y"), "DualNode 'y' needs batch=, a function that takes lists of items; got None"),
        (lambda: DualNode("y", identity), "DualNode 'y' needs batch=, a function that takes lists of items; got None"),
        (lambda: DualNode("y", 3, identity), "DualNode 'y': singular must be a function, got 3"),
        (
            lambda: DualNode("y", identity, lambda xs: xs),
            "the twins of node 'identity' take different parameters: singular(x) and batch(xs); name them alike",
        ),
        (lambda: DualNode("y", identity, wait_for), "the twins of node 'identity' must both be async or both not"),
        (
            lambda: DualNode("y", identity, identity, batchsize=3),
            "node 'identity': @node has no option 'batchsize'. Did you mean 'batch_size'?",
        ),
    ],
)
def test_what_cannot_be_a_node_says_so(declare: Callable[[], Any], message: str) -> None:
    with pytest.raises(NodeDefinitionError) as caught:
        declare()
    assert str(caught.value) == message


def test_good_options_take_one_form() -> None:
    made = node(
        output_name="y",
        timeout=timedelta(seconds=2),
        expires=timedelta(hours=1),
        rate="120/min",
        retry_on=[ValueError, KeyError],
        ignore="x",
        resources={"gpu": 1},
        cache_version="v2",
        retries=0,
        max_concurrent=4,
    )(identity)
    options = made.options
    assert (options.timeout, options.expires, options.rate) == (2.0, 3600.0, 2.0)
    assert options.retry_on == (ValueError, KeyError)
    assert options.ignore == ("x",)
    assert options.retries == 0
    assert node(output_name="y", rate=5)(identity).options.rate == 5
    assert node(output_name="y", rate="36000/h")(identity).options.rate == 10
