"""Mapping over items: zip, product, lazily, as a stream, and what becomes of items that fail."""

from __future__ import annotations

import copy
import gc
import itertools
import pickle
import re
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
from hypernodes import DualNode, MapResult, NodeFailure, NodeStats, Pipeline, RunResult, node, reset_default_config
from hypernodes.errors import (
    HyperNodesError,
    InputError,
    MapInputError,
    MapLengthError,
    MissingInputError,
    OptionError,
    RemoteError,
    TooManyFailuresError,
)


@pytest.fixture(autouse=True)
def _own_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    reset_default_config()
    yield
    reset_default_config()


@node(output_name="pair")
def pair(a: Any, b: Any) -> str:
    return f"{a}{b}"


@node(output_name="inverse")
def invert(x: int) -> float:
    return 1 / x


@node(output_name="text")
def show(inverse: float) -> str:
    return f"{inverse:.2f}"


@node(output_name="same")
def echo(x: Any) -> Any:
    return x


def watched(values: Any) -> tuple[Iterator[Any], list[Any]]:
    """Return a generator over values, and the list of those taken from it so far."""
    taken: list[Any] = []

    def generate() -> Iterator[Any]:
        for value in values:
            taken.append(value)
            yield value

    return generate(), taken


# Generated straight-line code and the block state machine must agree; one retry takes a pipeline off the former.
OPTIONS = pytest.mark.parametrize("options", [{}, {"retries": 1}], ids=["generated", "block"])


# -- items ----------------------------------------------------------------------------------------------------------


@OPTIONS
def test_zip_takes_items_together(options: dict[str, Any]) -> None:
    pipeline = Pipeline([pair], **options)
    assert pipeline.map({"a": [1, 2], "b": ["x", "y"]}, map_over=["a", "b"]) == [{"pair": "1x"}, {"pair": "2y"}]
    assert pipeline.map({"a": [1, 2], "b": "c"}, map_over="a") == [{"pair": "1c"}, {"pair": "2c"}]
    assert pipeline.map({"a": [1, 2], "b": [7]}, map_over=("a",)) == [{"pair": "1[7]"}, {"pair": "2[7]"}]


@OPTIONS
def test_product_takes_all_combinations_the_last_varying_fastest(options: dict[str, Any]) -> None:
    pipeline = Pipeline([pair], **options)
    made = pipeline.map({"a": [1, 2], "b": ["x", "y"]}, map_over=["a", "b"], map_mode="product")
    assert [row["pair"] for row in made] == ["1x", "1y", "2x", "2y"]
    made = pipeline.map({"a": iter([1, 2]), "b": iter("xy")}, map_over=["b", "a"], map_mode="product")
    assert [row["pair"] for row in made] == ["1x", "2x", "1y", "2y"]
    assert pipeline.map({"a": [1, 2], "b": []}, map_over=["a", "b"], map_mode="product") == []


@pytest.mark.parametrize(
    "values",
    [
        [1, 2],
        (1, 2),
        range(1, 3),
        {1, 2},
        iter([1, 2]),
        (i for i in (1, 2)),
        {1: 0, 2: 0}.keys(),
        itertools.chain([1], [2]),
        b"\x01\x02".__iter__(),
    ],
    ids=["list", "tuple", "range", "set", "iterator", "generator", "keys", "chain", "iterator of bytes"],
)
def test_any_collection_of_items_will_do(values: Any) -> None:
    assert sorted(row["same"] for row in Pipeline([echo]).map({"x": values}, map_over="x")) == [1, 2]


def test_an_object_with_getitem_alone_is_a_collection() -> None:
    class Old:
        def __getitem__(self, index: int) -> int:
            if index > 1:
                raise IndexError
            return index + 1

    assert Pipeline([echo]).map({"x": Old()}, map_over="x") == [{"same": 1}, {"same": 2}]


def test_numpy_arrays_and_pandas_series() -> None:
    np = pytest.importorskip("numpy")
    pipeline = Pipeline([echo])
    assert [row["same"] for row in pipeline.map({"x": np.array([1, 2])}, map_over="x")] == [1, 2]
    assert [row["same"].tolist() for row in pipeline.map({"x": np.eye(2)}, map_over="x")] == [[1, 0], [0, 1]]
    assert pipeline.map({"x": np.array([])}, map_over="x") == []
    with pytest.raises(MapInputError, match="not a collection of items"):
        pipeline.map({"x": np.array(5)}, map_over="x")
    assert Pipeline([pair]).map({"a": np.arange(2), "b": ["x", "y"]}, map_over=["a", "b"]) == [{"pair": "0x"}, {"pair": "1y"}]
    pd = pytest.importorskip("pandas")
    assert [row["same"] for row in pipeline.map({"x": pd.Series([1, 2], index=["r", "s"])}, map_over="x")] == [1, 2]


def test_a_generator_is_read_once_and_not_ahead() -> None:
    source, taken = watched(range(1000))
    seen: list[int] = []

    @node(output_name="y")
    def note(x: int) -> int:
        seen.append(len(taken))
        return x

    Pipeline([note]).map({"x": source}, map_over="x")
    assert seen[0] == 1  # the first item ran before the second was asked for
    assert len(taken) == 1000


def test_no_items_give_an_empty_list() -> None:
    pipeline = Pipeline([invert, show])
    for values in ([], (), iter(()), range(0)):
        result = pipeline.map({"x": values}, map_over="x")
        assert result == []
        assert isinstance(result, MapResult)
        assert (result.inputs, result.failures, result.ok, result.stats.ran) == ([], (), True, 0)
    assert Pipeline([pair]).map({"a": [], "b": []}, map_over=["a", "b"]) == []


@pytest.mark.parametrize("mode", ["zip", "product"])
def test_a_constant_stays_one_object(mode: Any) -> None:
    constant = [1]
    made = Pipeline([node(output_name="same")(lambda x, c: c)]).map({"x": [1, 2], "c": constant}, map_over="x", map_mode=mode)
    assert all(row["same"] is constant for row in made)


def test_rows_are_dictionaries_of_their_own() -> None:
    made = Pipeline([echo]).map({"x": [1, 1]}, map_over="x")
    made[0]["more"] = 1
    assert made[1] == {"same": 1}


MAPPED = "map of pipeline 'p': the mapped input 'x' "


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            "abc",
            MAPPED + "is a string ('abc'), which would be taken apart into its characters.\n  fix: pass a list of items, such as ['abc']",
        ),
        (
            b"abc",
            MAPPED + "is a bytes (b'abc'), which would be taken apart into its bytes.\n  fix: pass a list of items, such as [b'abc']",
        ),
        ({"a": 1}, MAPPED + "is a mapping ({'a': 1}).\n  fix: pass its keys or values as a list"),
        (5, MAPPED + "is 5, which is not a collection of items; pass a list"),
        (None, MAPPED + "is None, which is not a collection of items; pass a list"),
    ],
    ids=["str", "bytes", "dict", "int", "none"],
)
def test_what_is_no_collection_of_items(value: Any, message: str) -> None:
    with pytest.raises(MapInputError) as caught:
        Pipeline([echo], name="p").map({"x": value}, map_over="x")
    assert str(caught.value) == message
    with pytest.raises(MapInputError) as caught:
        Pipeline([echo], name="p").imap({"x": value}, map_over="x")
    assert str(caught.value) == "i" + message


def test_classes_and_types_are_no_collections() -> None:
    with pytest.raises(MapInputError, match="not a collection of items"):
        Pipeline([echo]).map({"x": list}, map_over="x")


def test_unequal_lengths_are_refused_before_anything_runs() -> None:
    ran: list[int] = []
    noted = node(output_name="y")(lambda a, b, c=0: ran.append(a))
    with pytest.raises(MapLengthError, match=r"'a' has 2, 'b' has 3"):
        Pipeline([noted]).map({"a": [1, 2], "b": [1, 2, 3], "c": iter([1])}, map_over=["a", "b", "c"])
    assert ran == []


@pytest.mark.parametrize(("a", "b"), [(2, 3), (3, 2), (300, 301), (301, 300)])
def test_unequal_generators_are_refused_where_one_ends(a: int, b: int) -> None:
    with pytest.raises(MapLengthError, match=rf"'{'a' if a < b else 'b'}' has {min(a, b)}\b.*|more than {min(a, b)}") as caught:
        Pipeline([pair]).map({"a": iter(range(a)), "b": iter(range(b))}, map_over=["a", "b"])
    assert f"more than {min(a, b)}" in str(caught.value)
    with pytest.raises(MapLengthError):
        list(Pipeline([pair]).imap({"a": range(a), "b": iter(range(b))}, map_over=["a", "b"]))


@pytest.mark.parametrize("call", ["map", "imap"])
def test_map_over_must_name_given_inputs(call: str) -> None:
    pipeline = Pipeline([pair], name="p")
    verb: Callable[..., Any] = getattr(pipeline, call)
    with pytest.raises(OptionError) as caught:
        verb({"a": [1, 2], "b": 1})
    assert (
        str(caught.value)
        == f"{call} of pipeline 'p' needs map_over=, the input or inputs whose items it runs over; did you mean map_over='a'?"
    )
    with pytest.raises(InputError) as unknown:
        verb({"a": [1], "b": 1}, map_over="A")
    assert str(unknown.value) == f"{call} of pipeline 'p': map_over names 'A', which is no input; it takes a, b. Did you mean 'a'?"
    with pytest.raises(OptionError, match="names an input twice"):
        verb({"a": [1], "b": 1}, map_over=["a", "a"])
    with pytest.raises(MissingInputError):
        verb({"a": [1]}, map_over="a")
    with pytest.raises(InputError, match="'b'"):
        verb({"a": 1}, map_over="b")
    with pytest.raises(OptionError, match="map_over"):
        verb({"a": [1], "b": 1}, map_over=3)
    with pytest.raises(OptionError, match="map_over must be a name or several names"):
        verb({"a": [1], "b": 1}, map_over=["a", 3])


def test_mapping_over_an_optional_input_needs_a_value_for_it() -> None:
    pipeline = Pipeline([node(output_name="y")(lambda x, k=[1, 2]: k)], name="p")
    with pytest.raises(InputError) as caught:
        pipeline.map({"x": 1}, map_over="k")
    assert str(caught.value) == "map of pipeline 'p': map_over names 'k', and no value was given for it: map({'k': [...]}, map_over='k')"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"map_mode": "cross"}, "map_mode='cross': choose 'zip' or 'product'."),
        ({"map_mode": "Zip"}, "map_mode='Zip': choose 'zip' or 'product'. Did you mean 'zip'?"),
        ({"map_mode": None}, "map_mode=None: choose 'zip' or 'product'."),
        ({"on_error": "skip"}, "on_error='skip': choose 'raise' or 'return'."),
        ({"max_failures": 1}, "max_failures=1 needs on_error='return': with 'raise' the first failure ends the map"),
        ({"max_failures": -1, "on_error": "return"}, "max_failures must be a whole number of at least 0, got -1"),
        ({"max_failures": 1.5, "on_error": "return"}, "max_failures must be a whole number of at least 0, got 1.5"),
        ({"max_failures": "1", "on_error": "return"}, "max_failures must be a whole number of at least 0, got '1'"),
        ({"label": "y"}, "map of pipeline 'p': label names 'y', which is no input; it takes x."),
        ({"label": 3}, "map of pipeline 'p': label must be the name of an input or a function of an item's inputs, got 3"),
        ({"mode": "zip"}, "map has no argument 'mode'. Did you mean 'map_mode'?"),
        ({"x": 3}, "map takes inputs as one mapping, not as keywords: map({'x': 3, …})"),
        ({"window": 3}, "map has no argument 'window'."),
        ({"workers": 3}, "map has no argument 'workers'."),
    ],
)
def test_bad_options_of_map(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError) as caught:
        Pipeline([echo], name="p").map({"x": [1]}, map_over="x", **options)
    assert str(caught.value) == message


@pytest.mark.parametrize("window", [0, -1, 1.5, True, "3"])
def test_bad_windows_of_imap(window: Any) -> None:
    with pytest.raises(OptionError, match=re.escape(f"imap: window must be a whole number of at least 1, got {window!r}")):
        Pipeline([echo]).imap({"x": [1]}, map_over="x", window=window)


# -- streams --------------------------------------------------------------------------------------------------------


@OPTIONS
@pytest.mark.parametrize("ordered", [True, False])
def test_imap_gives_what_map_gives(options: dict[str, Any], *, ordered: bool) -> None:
    pipeline = Pipeline([invert, show], **options)
    inputs = {"x": list(range(1, 700))}
    stream = pipeline.imap(inputs, map_over="x", ordered=ordered)
    assert iter(stream) is stream
    assert list(stream) == pipeline.map(inputs, map_over="x")


@OPTIONS
def test_imap_runs_an_item_when_it_is_asked_for(options: dict[str, Any]) -> None:
    ran: list[int] = []

    @node(output_name="y")
    def note(x: int) -> int:
        ran.append(x)
        return -x

    source, taken = watched(itertools.count())
    stream = Pipeline([note], **options).imap({"x": source}, map_over="x")
    assert (taken, ran) == ([], [])
    assert next(stream) == {"y": 0}
    assert (taken, ran) == ([0], [0])
    assert next(stream) == {"y": -1}
    assert (taken, ran) == ([0, 1], [0, 1])
    stream.close()
    assert (taken, ran) == ([0, 1], [0, 1])
    assert list(stream) == []


def test_imap_checks_at_once_and_not_at_the_first_item() -> None:
    with pytest.raises(MissingInputError):
        Pipeline([pair]).imap({"a": [1]}, map_over="a")


@pytest.mark.parametrize("window", [1, 7, 100])
def test_no_more_items_are_read_than_the_window_allows(window: int) -> None:
    source, taken = watched(itertools.count())
    stream = Pipeline([echo]).imap({"x": source}, map_over="x", window=window)
    for given in range(1, 1000):
        next(stream)
        assert given <= len(taken) <= given + window
    stream.close()


def test_memory_stays_bounded_over_endless_input() -> None:
    class Item:
        pass

    alive: weakref.WeakSet[Item] = weakref.WeakSet()

    def endless() -> Iterator[Item]:
        while True:
            item = Item()
            alive.add(item)
            yield item

    most = 0
    stream = Pipeline([echo, node(output_name="n")(lambda same: 1)]).imap({"x": endless()}, map_over="x", window=16)
    for row in itertools.islice(stream, 3000):
        most = max(most, len(alive))
        assert row["n"] == 1
    gc.collect()
    assert most <= 3 * 16
    assert len(alive) <= 3 * 16


def test_a_batch_twin_gets_company_in_a_stream() -> None:
    sizes: list[int] = []
    twin = DualNode("y", batch=lambda x: sizes.append(len(x)) or [-value for value in x])
    stream = Pipeline([twin]).imap({"x": itertools.count()}, map_over="x", window=50)
    assert [row["y"] for row in itertools.islice(stream, 120)] == [-i for i in range(120)]
    assert max(sizes) == 50


def test_imap_zips_endless_inputs_and_crosses_a_lazy_first_one() -> None:
    pipeline = Pipeline([pair])
    stream = pipeline.imap({"a": itertools.count(), "b": itertools.cycle("xy")}, map_over=["a", "b"])
    assert [row["pair"] for row in itertools.islice(stream, 3)] == ["0x", "1y", "2x"]
    stream = pipeline.imap({"a": itertools.count(), "b": "x y".split()}, map_over=["a", "b"], map_mode="product")
    assert [row["pair"] for row in itertools.islice(stream, 3)] == ["0x", "0y", "1x"]


def test_imap_returns_failures_in_place() -> None:
    rows = list(Pipeline([invert, show]).imap({"x": [1, 0, 2]}, map_over="x", on_error="return"))
    assert rows[0] == {"inverse": 1.0, "text": "1.00"}
    assert isinstance(rows[1]["text"], NodeFailure)
    assert rows[1]["text"].item == 1
    assert rows[2]["text"] == "0.50"


def test_imap_gives_the_items_before_a_failure_and_then_raises() -> None:
    stream = Pipeline([invert]).imap({"x": [1, 2, 0, 4]}, map_over="x")
    assert [next(stream), next(stream)] == [{"inverse": 1.0}, {"inverse": 0.5}]
    with pytest.raises(ZeroDivisionError) as caught:
        next(stream)
    assert "in node 'invert' of pipeline 'pipeline', item 2" in caught.value.__notes__[0]
    assert list(stream) == []


def test_a_source_that_raises_is_heard() -> None:
    def source() -> Iterator[int]:
        yield 1
        msg = "no more"
        raise OSError(msg)

    with pytest.raises(OSError, match="no more"):
        Pipeline([invert]).map({"x": source()}, map_over="x")
    stream = Pipeline([invert]).imap({"x": source()}, map_over="x")
    assert next(stream) == {"inverse": 1.0}
    with pytest.raises(OSError, match="no more"):
        next(stream)


def test_several_streams_of_one_pipeline_at_once() -> None:
    pipeline = Pipeline([echo])
    one = pipeline.imap({"x": itertools.count()}, map_over="x")
    two = pipeline.imap({"x": itertools.count(100)}, map_over="x")
    assert [(next(one)["same"], next(two)["same"]) for _ in range(3)] == [(0, 100), (1, 101), (2, 102)]
    assert pipeline.run({"x": 5}) == {"same": 5}


# -- failures -------------------------------------------------------------------------------------------------------


def test_on_error_return_keeps_the_good_and_marks_the_rest() -> None:
    pipeline = Pipeline([invert, show, echo], name="p")
    result = pipeline.map({"x": [1, 0, 4, 0]}, map_over="x", on_error="return")
    assert result[0] == {"inverse": 1.0, "text": "1.00", "same": 1}
    assert result[2] == {"inverse": 0.25, "text": "0.25", "same": 4}
    failed = result[1]
    assert failed["same"] == 0
    assert isinstance(failed["inverse"], NodeFailure)
    assert failed["text"] is failed["inverse"]
    assert not result.ok
    assert result.failures == (failed["inverse"], result[3]["inverse"])
    assert [failure.item for failure in result.failures] == [1, 3]
    assert result.stats["invert"] == NodeStats(0, 2, 2, result.stats["invert"].seconds, 0)
    assert (result.stats["show"].ran, result.stats["show"].failed, result.stats["echo"].ran) == (2, 0, 4)
    assert result.stats.failed == 2


def test_what_a_failure_says() -> None:
    big = list(range(100))
    divide = node(output_name="y", name="divide")(lambda x, k, rest: x / k)
    result = Pipeline([divide], name="p").map({"x": 1, "k": [1, 0], "rest": big}, map_over="k", on_error="return")
    failure = result.failures[0]
    assert (failure.node, failure.pipeline, failure.item, failure.item_path, failure.attempts, failure.label) == (
        "divide",
        "p",
        1,
        (1,),
        1,
        None,
    )
    assert failure.inputs == {"x": "1", "k": "0", "rest": "<list of 100>"}
    assert isinstance(failure.error, ZeroDivisionError)
    assert repr(failure) == "<NodeFailure divide item 1: ZeroDivisionError: 'division by zero'>"


def test_reproduce_calls_the_node_again() -> None:
    calls: list[int] = []

    @node(output_name="y", retries=3)
    def flaky(x: int, *, k: int = 2) -> int:
        calls.append(x)
        if len(calls) < 5:
            msg = f"not yet {len(calls)}"
            raise ValueError(msg)
        return x * k

    failure = Pipeline([flaky]).map({"x": [7]}, map_over="x", on_error="return").failures[0]
    assert (len(calls), failure.attempts) == (4, 4)
    assert failure.reproduce() == 14
    assert calls == [7] * 5


def test_reproduce_raises_what_the_node_raises() -> None:
    failure = Pipeline([invert]).map({"x": [0]}, map_over="x", on_error="return").failures[0]
    with pytest.raises(ZeroDivisionError):
        failure.reproduce()


def test_reproduce_of_a_coroutine_node_awaits_it() -> None:
    @node(output_name="y")
    async def later(x: int) -> float:
        return 1 / x

    failure = Pipeline([later]).map({"x": [0]}, map_over="x", on_error="return").failures[0]
    with pytest.raises(ZeroDivisionError):
        failure.reproduce()


def test_reproduce_of_one_item_of_a_batch() -> None:
    seen: list[list[int]] = []

    def many(x: list[int]) -> list[float]:
        seen.append(list(x))
        return [1 / value for value in x]

    result = Pipeline([DualNode("y", batch=many)]).map({"x": [1, 2, 0, 4, 5]}, map_over="x", on_error="return")
    assert [row["y"] for row in result if not isinstance(row["y"], NodeFailure)] == [1.0, 0.5, 0.25, 0.2]
    assert [failure.item for failure in result.failures] == [2]
    seen.clear()
    with pytest.raises(ZeroDivisionError):
        result.failures[0].reproduce()
    assert seen == [[0]]


@pytest.mark.parametrize("travel", [pickle, cloudpickle], ids=["pickle", "cloudpickle"])
def test_failures_travel_with_what_reproduces_them(travel: Any) -> None:
    failure = Pipeline([invert]).map({"x": [0]}, map_over="x", on_error="return", label="x").failures[0]
    travelled = pickle.loads(travel.dumps(failure))
    assert (travelled.node, travelled.item_path, travelled.inputs, travelled.label) == ("invert", (0,), {"x": "0"}, "0")
    assert type(travelled.error) is ZeroDivisionError
    assert "invert" in str(travelled.error.__cause__)
    with pytest.raises(ZeroDivisionError):
        travelled.reproduce()


def test_a_failure_whose_error_cannot_travel_says_what_it_was() -> None:
    class Stubborn(Exception):
        pass

    @node(output_name="y")
    def refuse(x: int) -> int:
        msg = f"no {x}"
        error = Stubborn(msg)
        error.lock = threading.Lock()
        raise error

    result = Pipeline([refuse]).map({"x": [1]}, map_over="x", on_error="return")
    travelled = pickle.loads(cloudpickle.dumps(result.failures[0]))
    assert isinstance(travelled.error, RemoteError)
    assert "Stubborn: no 1" in str(travelled.error)
    assert "raise error" in str(travelled.error.__cause__)


def test_a_failure_whose_arguments_cannot_travel_says_so() -> None:
    failure = (
        Pipeline([node(output_name="y")(lambda x: 1 / 0)])
        .map({"x": [gc.garbage.__iter__, (i for i in ())]}, map_over="x", on_error="return")
        .failures[1]
    )
    travelled = pickle.loads(pickle.dumps(failure))
    with pytest.raises(HyperNodesError, match="arguments of node 'y'"):
        travelled.reproduce()


def test_labels_by_input_or_function() -> None:
    pipeline = Pipeline([node(output_name="y")(lambda name, k: 1 / k)])
    inputs = {"name": ["a", "b"], "k": 0}
    by_name = pipeline.map(inputs, map_over="name", on_error="return", label="name")
    assert [failure.label for failure in by_name.failures] == ["a", "b"]
    by_function = pipeline.map(inputs, map_over="name", on_error="return", label=lambda row: f"{row['name']}-{row['k']}")
    assert [failure.label for failure in by_function.failures] == ["a-0", "b-0"]
    by_constant = pipeline.map(inputs, map_over="name", on_error="return", label="k")
    assert [failure.label for failure in by_constant.failures] == ["0", "0"]
    fails = Pipeline([node(output_name="y")(lambda name, k=0: 1 / k)])
    by_default = fails.map({"name": ["a"]}, map_over="name", on_error="return", label="k")
    assert by_default.failures[0].label == "0"
    with pytest.raises(ZeroDivisionError) as caught:
        pipeline.map(inputs, map_over="name", label="name")
    assert ", item 0 (a)" in caught.value.__notes__[0]


def test_a_label_may_be_a_bound_input() -> None:
    pipeline = Pipeline([node(output_name="y")(lambda name, k: 1 / k)]).bind(name="n")
    assert pipeline.map({"k": [0]}, map_over="k", on_error="return", label="name").failures[0].label == "n"


def test_a_label_that_raises_hides_nothing() -> None:
    result = Pipeline([invert]).map({"x": [0]}, map_over="x", on_error="return", label=lambda row: row["nothing"])
    assert result.failures[0].label == "label raised KeyError"
    assert isinstance(result.failures[0].error, ZeroDivisionError)


def test_max_failures_gives_up() -> None:
    ran: list[int] = []

    @node(output_name="y")
    def fail_odd(x: int) -> int:
        ran.append(x)
        if x % 2:
            msg = "odd"
            raise ValueError(msg)
        return x

    pipeline = Pipeline([fail_odd], name="p")
    assert len(pipeline.map({"x": range(6)}, map_over="x", on_error="return", max_failures=3).failures) == 3
    ran.clear()
    with pytest.raises(TooManyFailuresError) as caught:
        pipeline.map({"x": iter(range(10_000_000))}, map_over="x", on_error="return", max_failures=3)
    assert len(ran) < 100_000
    failures = caught.value.failures
    assert len(failures) >= 4
    assert all(isinstance(failure, NodeFailure) for failure in failures)
    assert re.match(
        r"\d+ items failed, more than max_failures=3:\n  \d+ × ValueError in 'fail_odd', first item 1: 'odd'\n", str(caught.value)
    )
    with pytest.raises(TooManyFailuresError):
        pipeline.map({"x": [1]}, map_over="x", on_error="return", max_failures=0)
    assert pipeline.map({"x": [0]}, map_over="x", on_error="return", max_failures=0).ok


def test_what_failed_is_summed_up_and_can_be_run_alone() -> None:
    def refuse(x: int, y: int) -> float:
        if x == 3:
            msg = "three"
            raise ValueError(msg)
        return x / y

    pipeline = Pipeline([node(output_name="z")(refuse)], name="p")
    inputs = {"x": range(5), "y": [1, 0, 0, 1, 1]}
    result = pipeline.map(inputs, map_over=["x", "y"], on_error="return")
    assert result.failed_inputs == {"x": [1, 2, 3], "y": [0, 0, 1]}
    assert result.summary().splitlines()[1:] == [
        "  2 × ZeroDivisionError in 'refuse', first item 1: 'division by zero'",
        "  1 × ValueError in 'refuse', first item 3: 'three'",
        "  run only those again: pipeline.map({**inputs, **result.failed_inputs}, map_over=['x', 'y'])",
    ]
    assert re.fullmatch(r"p: 5 items in [\d.e-]+ s, 3 failed", result.summary().splitlines()[0])
    again = pipeline.map({**inputs, **result.failed_inputs}, map_over=["x", "y"], on_error="return")
    assert [type(failure.error) for failure in again.failures] == [ZeroDivisionError, ZeroDivisionError, ValueError]
    grid = pipeline.map({"x": [1, 3], "y": [1, 2]}, map_over=["x", "y"], map_mode="product", on_error="return")
    assert grid.failed_inputs == {"x": [3, 3], "y": [1, 2]}
    fine = pipeline.map({"x": [1], "y": [1]}, map_over=["x", "y"])
    assert (fine.failed_inputs, len(fine.summary().splitlines())) == ({}, 1)
    with pytest.raises(TooManyFailuresError) as caught:
        pipeline.map(inputs, map_over=["x", "y"], on_error="return", max_failures=0)
    assert caught.value.failed_inputs == result.failed_inputs


def test_max_failures_counts_items_not_nodes() -> None:
    two = [node(output_name="a")(lambda x: 1 / x), node(output_name="b")(lambda x: 2 / x)]
    result = Pipeline(two).map({"x": [0, 1]}, map_over="x", on_error="return", max_failures=1)
    assert len(result.failures) == 2
    assert [failure.node for failure in result.failures] == ["a", "b"]


def test_imap_gives_up_too() -> None:
    stream = Pipeline([invert]).imap({"x": itertools.repeat(0)}, map_over="x", on_error="return", max_failures=2)
    assert [type(next(stream)["inverse"]) for _ in range(2)] == [NodeFailure] * 2
    with pytest.raises(TooManyFailuresError):
        next(stream)


def test_the_failing_item_is_named_wherever_it_is() -> None:
    for position in (0, 1, 17, 1000):
        values = [1] * 1001
        values[position] = 0
        with pytest.raises(ZeroDivisionError) as caught:
            Pipeline([invert, show]).map({"x": values}, map_over="x")
        assert f"item {position}\n" in caught.value.__notes__[0] + "\n"


# -- nested maps ----------------------------------------------------------------------------------------------------


def each(**options: Any) -> Any:
    return Pipeline([invert, show, echo], name="inner").as_node(
        {"xs": "x"}, {"inverse": "inverses", "text": "texts", "same": "sames"}, map_over="xs", name="each", **options
    )


def test_nested_failures_reach_the_outer_node_as_values() -> None:
    seen: list[list[Any]] = []
    outer = Pipeline([each(on_error="return"), node(output_name="n")(lambda texts: seen.append(texts) or len(texts))], name="outer")
    result = outer.run({"xs": [1, 0, 2]})
    assert result["n"] == 3
    assert result["sames"] == [1, 0, 2]
    failure = result["texts"][1]
    assert isinstance(failure, NodeFailure)
    assert result["inverses"][1] is failure
    assert seen[0][1] is failure
    assert (failure.node, failure.item_path, failure.pipeline) == ("each/invert", (1,), "outer")
    assert result.failures == (failure,)
    assert not result.ok
    assert (result.stats["each/invert"].ran, result.stats["each/invert"].failed, result.stats["n"].ran) == (2, 1, 1)


def test_nested_failures_in_a_map() -> None:
    outer = Pipeline([each(on_error="return")], name="outer")
    result = outer.map({"xs": [[1], [2, 0], [0]]}, map_over="xs")
    assert [failure.item_path for failure in result.failures] == [(1, 1), (2, 0)]
    assert [failure.item for failure in result.failures] == [1, 2]
    assert result[1]["texts"][0] == "0.50"
    assert result[0] == {"inverses": [1.0], "texts": ["1.00"], "sames": [1]}


@OPTIONS
def test_nested_raise_fails_the_outer_item_as_a_whole(options: dict[str, Any]) -> None:
    outer = Pipeline([each(), node(output_name="n")(lambda texts: len(texts))], name="outer", **options)
    result = outer.map({"xs": [[1], [2, 0], [4]]}, map_over="xs", on_error="return")
    failure = result[1]["n"]
    assert isinstance(failure, NodeFailure)
    assert all(value is failure for value in result[1].values())
    assert (failure.node, failure.item_path) == ("each/invert", (1, 1))
    assert [result[0]["n"], result[2]["n"]] == [1, 1]
    with pytest.raises(ZeroDivisionError) as caught:
        outer.map({"xs": [[1], [2, 0], [4]]}, map_over="xs")
    assert "in node 'each/invert' of pipeline 'outer', item 1 / 1" in caught.value.__notes__[0]
    with pytest.raises(ZeroDivisionError) as caught:
        outer.run({"xs": [2, 0]})
    assert "in node 'each/invert' of pipeline 'outer', item 1" in caught.value.__notes__[0]


def test_reproduce_of_a_nested_item() -> None:
    failure = Pipeline([each(on_error="return")]).run({"xs": [1, 0]}).failures[0]
    with pytest.raises(ZeroDivisionError):
        failure.reproduce()


def test_three_levels() -> None:
    inner = Pipeline([invert], name="inner").as_node({"row": "x"}, {"inverse": "row_out"}, map_over="row", on_error="return", name="cells")
    middle = Pipeline([inner], name="middle").as_node({"table": "row"}, {"row_out": "table_out"}, map_over="table", name="rows")
    result = Pipeline([middle], name="outer").map({"table": [[[1], [2, 0]], []]}, map_over="table")
    assert result[1] == {"table_out": []}
    assert [failure.item_path for failure in result.failures] == [(0, 1, 1)]
    assert result.failures[0].node == "rows/cells/invert"


# -- results --------------------------------------------------------------------------------------------------------


def test_a_map_result_is_a_list_that_knows_more() -> None:
    result = Pipeline([pair], name="p").map({"a": [1, 2], "b": "x"}, map_over="a")
    assert isinstance(result, list)
    assert result == [{"pair": "1x"}, {"pair": "2x"}]
    assert result[0] == {"pair": "1x"}
    assert result[-1:] == [{"pair": "2x"}]
    assert result.inputs == [{"a": 1}, {"a": 2}]
    assert (result.ok, result.failures) == (True, ())
    assert result.stats["pair"].ran == 2
    assert result.stats.seconds > 0
    assert isinstance(result.run_id, str)


def test_inputs_of_zip_product_and_generators() -> None:
    pipeline = Pipeline([pair])
    assert pipeline.map({"a": iter([1, 2]), "b": [3, 4]}, map_over=["a", "b"]).inputs == [{"a": 1, "b": 3}, {"a": 2, "b": 4}]
    made = pipeline.map({"a": iter([1, 2]), "b": [3, 4]}, map_over=["a", "b"], map_mode="product")
    assert made.inputs == [{"a": 1, "b": 3}, {"a": 1, "b": 4}, {"a": 2, "b": 3}, {"a": 2, "b": 4}]
    assert len(Pipeline([echo]).map({"x": range(3000)}, map_over="x").inputs) == 3000


def test_inputs_of_a_result_do_not_change_with_the_caller_s_list() -> None:
    values = [1, 2]
    result = Pipeline([echo]).map({"x": values}, map_over="x")
    values.clear()
    assert result.inputs == [{"x": 1}, {"x": 2}]
    given = {"x": 1}
    one = Pipeline([echo]).run(given)
    given["x"] = 2
    assert one.inputs == {"x": 1}


def test_a_run_result_is_a_dict_that_knows_more() -> None:
    result = Pipeline([echo]).run({"x": 1})
    assert isinstance(result, dict)
    assert result == {"same": 1}
    assert {**result, "more": 2} == {"same": 1, "more": 2}
    assert result.inputs == {"x": 1}
    assert (result.ok, result.failures) == (True, ())
    assert result.stats["echo"] == NodeStats(ran=1, seconds=result.stats["echo"].seconds)
    assert result.stats["echo"].seconds is not None
    assert repr(result) == "{'same': 1}"


def test_run_ids_are_unique_and_sort_by_time() -> None:
    pipeline = Pipeline([echo])
    results = [pipeline.run({"x": 1}) for _ in range(20)]
    ids = [result.run_id for result in results]
    assert len(set(ids)) == 20
    assert results[0].run_id == ids[0]
    assert ids == sorted(ids)


@pytest.mark.parametrize(
    "travel",
    [lambda r: pickle.loads(pickle.dumps(r)), copy.copy, copy.deepcopy, lambda r: r.copy()],
    ids=["pickle", "copy", "deepcopy", "method"],
)
def test_results_keep_what_they_know(travel: Callable[[Any], Any]) -> None:
    one = Pipeline([echo]).run({"x": [1]})
    other = travel(one)
    assert type(other) is RunResult
    assert other == one
    assert (other.run_id, other.inputs, other.stats) == (one.run_id, one.inputs, one.stats)
    many = Pipeline([invert]).map({"x": [1, 0]}, map_over="x", on_error="return")
    again = travel(many)
    assert type(again) is MapResult
    assert (again[0], again.run_id, again.inputs, again.stats) == (many[0], many.run_id, many.inputs, many.stats)
    assert [failure.item for failure in again.failures] == [1]
    assert again[1]["inverse"] is again.failures[0]
    assert not again.ok


def test_results_without_a_run_are_just_containers() -> None:
    assert RunResult({"a": 1}) == {"a": 1}
    assert MapResult([{"a": 1}]).ok
    assert RunResult().stats.ran == 0


def test_stats_read_well() -> None:
    stats = Pipeline([invert, show]).map({"x": [1, 0]}, map_over="x", on_error="return").stats
    assert list(stats) == ["invert", "show"]
    lines = str(stats).splitlines()
    assert lines[0].split() == ["node", "cached", "ran", "failed", "seconds"]
    assert lines[1].split()[:4] == ["invert", "0", "1", "1"]
    assert lines[-1].split()[:4] == ["all", "0", "2", "1"]
    assert (stats.cached, stats.ran, stats.failed) == (0, 2, 1)


def test_to_pandas() -> None:
    pytest.importorskip("pandas")
    frame = Pipeline([pair]).map({"a": [1, 2], "b": "x"}, map_over="a").to_pandas()
    assert list(frame.columns) == ["a", "pair"]
    assert frame.values.tolist() == [[1, "1x"], [2, "2x"]]
    empty = Pipeline([pair]).map({"a": [], "b": "x"}, map_over="a").to_pandas()
    assert len(empty) == 0
    assert list(empty.columns) == ["a", "pair"]


def test_what_is_made_of_constants_alone_reaches_a_batch_twin_as_one_value() -> None:
    def add(x: list[int], base: int) -> list[int]:
        assert type(base) is int
        return [value + base for value in x]

    base = node(output_name="base")(lambda start: start * 10)
    pipeline = Pipeline([base, DualNode("y", batch=add)])
    made = pipeline.map({"x": [1, 2], "start": 3}, map_over="x", output_name="y")
    assert made == [{"y": 31}, {"y": 32}]
