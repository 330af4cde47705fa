"""What errors say, word for word: what, where, and the fix. Nothing runs before they are raised."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypernodes import DualNode, Pipeline, SeqEngine, errors, node, reset_default_config, set_default_config

RAN: list[str] = []


@pytest.fixture(autouse=True)
def _own_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "user"))
    reset_default_config()
    RAN.clear()
    yield
    reset_default_config()


@node(output_name="docs")
def load(path: str, limit: int = 10) -> list[str]:
    RAN.append("load")
    return [path] * limit


@node(output_name="model")
def load_model(model_name: str) -> object:
    RAN.append("load_model")
    return model_name


@node(output_name="vectors")
def embed(docs: list[str], model: object) -> list[float]:
    RAN.append("embed")
    return [1.0]


@node(output_name="answer")
def answer(query: str, vectors: list[float]) -> str:
    RAN.append("answer")
    return query


index = Pipeline([load, load_model, embed], name="index")
rag = Pipeline([index, answer], name="rag")
GIVEN = {"path": "p", "query": "q", "model_name": "m"}


def given(*without: str, **more: Any) -> dict[str, Any]:
    return {**{name: value for name, value in GIVEN.items() if name not in without}, **more}


@node(output_name="a")
def first(c: int) -> int:
    return c


@node(output_name="b")
def second(a: int) -> int:
    return a


@node(output_name="c")
def third(b: int, x: int) -> int:
    return b


@node(output_name=("c", "docs"))
def other(z: int) -> tuple[int, int]:
    return z, z


@node(output_name="n")
def count(docs: str) -> int:
    return len(docs)


@node(output_name="y")
def fail(x: int, k: int = 0) -> float:
    return x / k


def told(text: str) -> str:
    """Return a message as it reads on every machine: without directories and line numbers."""
    return re.sub(r"(?:[^\s()']*[/\\])?(\w+\.py):\d+", r"\1:N", text)


def case(name: str, call: Callable[[], Any], kind: type[Exception], *lines: str) -> Any:
    return pytest.param(call, kind, "\n".join(lines), id=name)


MISSING = [
    case(
        "near",
        lambda: rag.run(given("model_name", modelname="m")),
        errors.MissingInputError,
        "pipeline 'rag' needs 'model_name'",
        "  needed by: index/load_model(model_name: str)      test_errors.py:N",
        "  you passed: path, query, modelname                did you mean 'model_name'?",
        '  fix: pipeline.run({..., "model_name": ...}) or pipeline.bind(model_name=...)',
    ),
    case(
        "several",
        lambda: rag.run(),
        errors.MissingInputError,
        "pipeline 'rag' needs 'query', 'model_name', 'path'",
        "  'query' needed by: answer(query: str)                          test_errors.py:N",
        "  'model_name' needed by: index/load_model(model_name: str)      test_errors.py:N",
        "  'path' needed by: index/load(path: str)                        test_errors.py:N",
        "  you passed: nothing",
        '  fix: pipeline.run({"query": ..., "model_name": ..., "path": ...}) or pipeline.bind(query=..., model_name=..., path=...)',
    ),
    case(
        "of a map",
        lambda: rag.map(given("path", query=["a"]), map_over="query"),
        errors.MissingInputError,
        "pipeline 'rag' needs 'path'",
        "  needed by: index/load(path: str)      test_errors.py:N",
        "  you passed: query, model_name",
        '  fix: pipeline.map({..., "path": ...}) or pipeline.bind(path=...)',
    ),
    case(
        "of an imap",
        lambda: rag.imap(given("path", query=["a"]), map_over="query"),
        errors.MissingInputError,
        "pipeline 'rag' needs 'path'",
        "  needed by: index/load(path: str)      test_errors.py:N",
        "  you passed: query, model_name",
        '  fix: pipeline.imap({..., "path": ...}) or pipeline.bind(path=...)',
    ),
    case(
        "under an outer name",
        lambda: Pipeline([index.as_node({"folder": "path"}), answer], name="rag").run(given("path")),
        errors.MissingInputError,
        "pipeline 'rag' needs 'folder'",
        "  needed by: index/load(path: str)      test_errors.py:N",
        "  you passed: query, model_name",
        '  fix: pipeline.run({..., "folder": ...}) or pipeline.bind(folder=...)',
    ),
    case(
        "mapped inside",
        lambda: Pipeline([index.as_node({"folders": "path"}, map_over="folders")], name="rag").run(given("path", "query")),
        errors.MissingInputError,
        "pipeline 'rag' needs 'folders'",
        "  needed by: index/load(path: str)      test_errors.py:N",
        "  you passed: model_name",
        '  fix: pipeline.run({..., "folders": ...}) or pipeline.bind(folders=...)',
    ),
    case(
        "mapped inside, though optional there",
        lambda: Pipeline([index.as_node({"limits": "limit"}, map_over="limits")], name="rag").run(given("query")),
        errors.MissingInputError,
        "pipeline 'rag' needs 'limits'",
        "  needed by: index (a nested pipeline, mapped over it)",
        "  you passed: path, model_name",
        '  fix: pipeline.run({..., "limits": ...}) or pipeline.bind(limits=...)',
    ),
]

NAMES = [
    case(
        "unknown input",
        lambda: rag.run(given(temperature=1)),
        errors.UnknownInputError,
        "pipeline 'rag' has no input 'temperature'; it takes limit, model_name, path, query.",
    ),
    case(
        "near input",
        lambda: rag.run(given(Limit=1)),
        errors.UnknownInputError,
        "pipeline 'rag' has no input 'Limit'; it takes limit, model_name, path, query. Did you mean 'limit'?",
    ),
    case(
        "input that is no name",
        lambda: rag.run({**GIVEN, 3: 1}),
        errors.UnknownInputError,
        "pipeline 'rag' has no input '3'; it takes limit, model_name, path, query.",
    ),
    case(
        "output as input",
        lambda: rag.run(given(docs=[])),
        errors.UnknownInputError,
        "'docs' is an output of pipeline 'rag', not an input; it takes limit, model_name, path, query.",
    ),
    case(
        "output as input, of a pruned program",
        lambda: rag.run(given(docs=[]), "model"),
        errors.UnknownInputError,
        "'docs' is an output of pipeline 'rag', not an input; it takes limit, model_name, path, query.",
    ),
    case(
        "inputs in a list",
        lambda: rag.run(["p", "q"]),
        errors.InputError,
        "run of pipeline 'rag' takes a mapping of names to values, got ['p', 'q']: pass {'name': value}",
    ),
    case(
        "unknown output",
        lambda: rag.run(GIVEN, "summary"),
        errors.UnknownOutputError,
        "pipeline 'rag' has no output 'summary'; it makes docs, model, vectors, answer.",
    ),
    case(
        "near output among others",
        lambda: rag.run(GIVEN, ["answer", "vector"]),
        errors.UnknownOutputError,
        "pipeline 'rag' has no output 'vector'; it makes docs, model, vectors, answer. Did you mean 'vectors'?",
    ),
    case(
        "output by its path",
        lambda: rag.map(GIVEN, map_over="path", output_name="index/docs"),
        errors.UnknownOutputError,
        "pipeline 'rag' has no output 'index/docs'; it makes docs, model, vectors, answer. Did you mean 'docs'?",
    ),
    case(
        "input as output",
        lambda: rag.run(GIVEN, "query"),
        errors.UnknownOutputError,
        "'query' is an input of pipeline 'rag'; it makes docs, model, vectors, answer.",
    ),
    case("output that is no name", lambda: rag.run(GIVEN, 3), errors.OptionError, "output_name must be a name or several names, got 3"),
    case(
        "plural of a parameter",
        lambda: Pipeline([node(output_name="page")(lambda url: url)], name="web").map({"urls": ["a"]}, map_over="urls"),
        errors.InputError,
        "map of pipeline 'web': map_over names 'urls', which is no input; it takes url. Did you mean 'url'?",
    ),
    case(
        "unknown bound input",
        lambda: rag.copy().bind(quer=1),
        errors.UnknownInputError,
        "pipeline 'rag' has no input 'quer' to bind; it takes path, limit, model_name, query. Did you mean 'query'?",
    ),
]

GRAPHS = [
    case(
        "cycle",
        lambda: Pipeline([load, third, first, second], name="p"),
        errors.CycleError,
        "nodes depend on each other: third -> first -> second -> third",
        "  third(b, x)  test_errors.py:N  makes c for 'first'",
        "  first(c)  test_errors.py:N  makes a for 'second'",
        "  second(a)  test_errors.py:N  makes b for 'third'",
    ),
    case(
        "cycle through a nested pipeline",
        lambda: Pipeline([Pipeline([first, second], name="inner"), third]),
        errors.CycleError,
        "nodes depend on each other: inner -> third -> inner",
        "  inner(c)  (a nested pipeline)  makes b for 'third'",
        "  third(b, x)  test_errors.py:N  makes c for 'inner'",
    ),
    case(
        "two producers",
        lambda: Pipeline([load, other]),
        errors.DependencyError,
        "output 'docs' has two producers:",
        "  load(path, limit)  test_errors.py:N",
        "  other(z)  test_errors.py:N",
        "  fix: rename one with @node(output_name=…), or with as_node(output_mapping={'docs': …})",
    ),
    case(
        "two producers, one nested",
        lambda: Pipeline([index, load]),
        errors.DependencyError,
        "output 'docs' has two producers:",
        "  index(path, limit, model_name)  (a nested pipeline)",
        "  load(path, limit)  test_errors.py:N",
        "  fix: rename one with @node(output_name=…), or with as_node(output_mapping={'docs': …})",
    ),
    case(
        "one node twice",
        lambda: Pipeline([load, embed, load]),
        errors.DependencyError,
        "node 'load' is listed twice, so that output 'docs' has two producers:",
        "  load(path, limit)  test_errors.py:N",
        "  fix: leave one out",
    ),
    case(
        "own output as input",
        lambda: node(output_name="x")(lambda x: x),
        errors.NodeDefinitionError,
        "node 'x' at test_errors.py:N takes 'x' and also produces it.",
        "  fix: give the output another name, such as output_name='x_new'",
    ),
    case(
        "contradicting annotations under strict",
        lambda: Pipeline([load, count], name="p", strict=True),
        errors.TypeMismatchError,
        "in pipeline 'p', 'docs' is list[str] where it is made and str where it is used:",
        "  made by load(path, limit)  test_errors.py:N",
        "  used by count(docs)  test_errors.py:N",
        "  fix: correct one of the annotations, or put a node between them",
    ),
    case(
        "contradicting annotations of a mapped pipeline under strict",
        lambda: Pipeline([embed, Pipeline([count], name="c").as_node({"vectors": "docs"}, map_over="vectors")], name="p", strict=True),
        errors.TypeMismatchError,
        "in pipeline 'p', 'vectors' is list[float] where it is made and list[str] where it is used:",
        "  made by embed(docs, model)  test_errors.py:N",
        "  used by count(docs)  test_errors.py:N",
        "  fix: correct one of the annotations, or put a node between them",
    ),
]

AS_NODE = "as_node of pipeline 'index': "
MAPPINGS = [
    case(
        "unknown inner input",
        lambda: index.as_node({"folder": "paths"}),
        errors.MappingError,
        AS_NODE + "input_mapping sends 'folder' to 'paths', which is no input of it; it has path, limit, model_name. Did you mean 'path'?",
    ),
    case(
        "input mapping the other way round",
        lambda: index.as_node({"path": "folder"}),
        errors.MappingError,
        AS_NODE + "input_mapping sends 'path' to 'folder', which is no input of it; it has path, limit, model_name."
        " input_mapping goes from outer to inner: {'folder': 'path'}",
    ),
    case(
        "input made inside",
        lambda: index.as_node({"folder": "docs"}),
        errors.MappingError,
        AS_NODE
        + "input_mapping sends 'folder' to 'docs', which is no input of it; it has path, limit, model_name. 'docs' is made inside it.",
    ),
    case(
        "two outer names for one input",
        lambda: index.as_node({"a": "path", "b": "path"}),
        errors.MappingError,
        AS_NODE + "input_mapping sends two outer names to one inner input: {'a': 'path', 'b': 'path'}",
    ),
    case(
        "outer name that is none",
        lambda: index.as_node({"the path": "path"}),
        errors.MappingError,
        AS_NODE + "input_mapping gives 'path' the name 'the path', which no parameter can bear",
    ),
    case(
        "unknown inner output",
        lambda: index.as_node(output_mapping={"vector": "v"}),
        errors.MappingError,
        AS_NODE + "output_mapping names 'vector', which is no output of it; it has docs, model, vectors. Did you mean 'vectors'?",
    ),
    case(
        "output mapping the other way round",
        lambda: index.as_node(output_mapping={"v": "vectors"}),
        errors.MappingError,
        AS_NODE + "output_mapping names 'v', which is no output of it; it has docs, model, vectors."
        " output_mapping goes from inner to outer: {'vectors': 'v'}",
    ),
    case(
        "two outputs under one name",
        lambda: index.as_node(output_mapping={"docs": "v", "vectors": "v"}),
        errors.MappingError,
        AS_NODE + "output_mapping gives two outputs one name: {'docs': 'v', 'vectors': 'v'}",
    ),
    case(
        "output under a name that is none",
        lambda: index.as_node(output_mapping={"docs": "the docs"}),
        errors.MappingError,
        AS_NODE + "output_mapping gives 'docs' the name 'the docs', which no parameter can bear",
    ),
    case(
        "output under the name of an input",
        lambda: index.as_node(output_mapping={"docs": "path"}),
        errors.MappingError,
        AS_NODE + "it takes 'path' and also produces it.",
        "  fix: rename one side, such as output_mapping={'docs': 'path_new'}",
    ),
    case(
        "unknown mapped input",
        lambda: index.as_node(map_over="pathh"),
        errors.MappingError,
        AS_NODE + "map_over names 'pathh', which is no input of this node; it has path, limit, model_name. Did you mean 'path'?",
    ),
    case(
        "mapped input by its inner name",
        lambda: index.as_node({"folder": "path"}, map_over="path"),
        errors.MappingError,
        AS_NODE + "map_over names 'path', which is no input of this node; it has folder, limit, model_name."
        " map_over takes outer names: 'folder' is mapped to 'path'",
    ),
    case(
        "no mapping",
        lambda: index.as_node("path"),
        errors.MappingError,
        "as_node: input_mapping must be a mapping of names {outer: inner}, got 'path'",
    ),
    case(
        "no mapping of outputs",
        lambda: index.as_node(output_mapping=["docs"]),
        errors.MappingError,
        "as_node: output_mapping must be a mapping of names {inner: outer}, got ['docs']",
    ),
    case(
        "mapped over no name",
        lambda: index.as_node(map_over=3),
        errors.OptionError,
        "as_node: map_over must be a name or several names, got 3",
    ),
]

ITEMS = [
    case(
        "unequal zip",
        lambda: rag.map(given(path=["a"], query=["b", "c"]), map_over=["path", "query"]),
        errors.MapLengthError,
        "map of pipeline 'rag': inputs mapped together have different lengths: 'path' has 1, 'query' has 2.",
        "  fix: make them equal, or use map_mode='product'",
    ),
    case(
        "string as mapped value",
        lambda: rag.map(GIVEN, map_over="path"),
        errors.MapInputError,
        "map of pipeline 'rag': the mapped input 'path' is a string ('p'), which would be taken apart into its characters.",
        "  fix: pass a list of items, such as ['p']",
    ),
    case(
        "string as mapped value of a stream",
        lambda: rag.imap(GIVEN, map_over="path"),
        errors.MapInputError,
        "imap of pipeline 'rag': the mapped input 'path' is a string ('p'), which would be taken apart into its characters.",
        "  fix: pass a list of items, such as ['p']",
    ),
    case(
        "no mapped value",
        lambda: rag.map(GIVEN, map_over="limit"),
        errors.InputError,
        "map of pipeline 'rag': map_over names 'limit', and no value was given for it: map({'limit': [...]}, map_over='limit')",
    ),
]

ENGINE = "set it on the pipeline: Pipeline(…, engine=…) or pipeline.with_engine(…)"
WORDS = [
    case(
        "mode",
        lambda: rag.map(GIVEN, map_over="path", map_mode="zipp"),
        errors.OptionError,
        "map_mode='zipp': choose 'zip' or 'product'. Did you mean 'zip'?",
    ),
    case("mode of a node", lambda: index.as_node(map_mode="cross"), errors.OptionError, "map_mode='cross': choose 'zip' or 'product'."),
    case("error mode", lambda: index.as_node(on_error="ignore"), errors.OptionError, "on_error='ignore': choose 'raise' or 'return'."),
    case(
        "executor",
        lambda: Pipeline([load], executor="threads"),
        errors.OptionError,
        "Pipeline has no argument 'executor'. Did you mean 'engine'?",
    ),
    case(
        "backend",
        lambda: Pipeline([load], backend="dask"),
        errors.OptionError,
        "Pipeline has no argument 'backend'. Did you mean 'engine'?",
    ),
    case(
        "callback",
        lambda: Pipeline([load], callback=[]),
        errors.OptionError,
        "Pipeline has no argument 'callback'. Did you mean 'callbacks'?",
    ),
    case("far off", lambda: Pipeline([load], verbose=True), errors.OptionError, "Pipeline has no argument 'verbose'."),
    case(
        "backend of a node",
        lambda: index.as_node(backend="x"),
        errors.OptionError,
        "as_node has no argument 'backend'. Did you mean 'engine'?",
    ),
    case("engine of a run", lambda: rag.run(GIVEN, engine="dask"), errors.OptionError, f"run has no argument 'engine'; {ENGINE}"),
    case(
        "executor of a map", lambda: rag.map(GIVEN, "path", executor="x"), errors.OptionError, f"map has no argument 'executor'; {ENGINE}"
    ),
    case(
        "near argument",
        lambda: rag.run(GIVEN, output_names="docs"),
        errors.OptionError,
        "run has no argument 'output_names'. Did you mean 'output_name'?",
    ),
    case(
        "inputs as keywords",
        lambda: rag.run(path="p"),
        errors.OptionError,
        "run takes inputs as one mapping, not as keywords: run({'path': 'p', …})",
    ),
    case(
        "setting",
        lambda: set_default_config(backend="x"),
        errors.OptionError,
        "unknown setting 'backend'; there are engine, cache, callbacks, retries, timeout, strict. Did you mean 'engine'?",
    ),
    case("name", lambda: Pipeline([load], name=3), errors.OptionError, "Pipeline: name must be a string, got 3"),
]


@pytest.mark.parametrize(("call", "kind", "text"), [*MISSING, *NAMES, *GRAPHS, *MAPPINGS, *ITEMS, *WORDS])
def test_bad_input_says_what_where_and_how_to_mend_it_before_anything_runs(
    call: Callable[[], Any], kind: type[Exception], text: str
) -> None:
    with pytest.raises(kind) as caught:
        call()
    assert told(str(caught.value)) == text
    assert type(caught.value) is kind
    assert not hasattr(caught.value, "__notes__")
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    assert RAN == []


def test_long_lists_of_names_are_cut() -> None:
    space: dict[str, Any] = {}
    exec(f"def f({', '.join(f'a{i}' for i in range(1000))}): pass", space)
    wide = Pipeline([node(output_name="y")(space["f"])], name="wide")
    for call in (lambda: wide.run({"b": 1}), lambda: wide.run(), lambda: wide.bind(zzz=1)):
        with pytest.raises(errors.InputError) as caught:
            call()
        assert len(str(caught.value)) < 1200
    with pytest.raises(errors.MissingInputError, match=re.escape("… (994 more)")):
        wide.run()


def test_contradicting_annotations_warn_where_the_pipeline_is_built() -> None:
    with pytest.warns(errors.TypeMismatchWarning) as caught:
        Pipeline([load, count], name="p")
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert told(str(caught[0].message)) == (
        "in pipeline 'p', 'docs' is list[str] where it is made and str where it is used:\n"
        "  made by load(path, limit)  test_errors.py:N\n"
        "  used by count(docs)  test_errors.py:N\n"
        "  fix: correct one of the annotations, or put a node between them"
    )


def test_annotations_that_agree_say_nothing() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Pipeline([load, load_model, embed, answer], strict=True)


# -- while it runs --------------------------------------------------------------------------------------------------


def test_a_failing_node_raises_its_own_exception_with_a_note() -> None:
    pipeline = Pipeline([Pipeline([fail], name="inner")], name="outer")
    with pytest.raises(ZeroDivisionError) as caught:
        pipeline.run({"x": 3})
    assert type(caught.value) is ZeroDivisionError
    assert str(caught.value) == "division by zero"
    assert caught.value.__notes__ == ["in node 'inner/fail' of pipeline 'outer'\n  with x=3, k=0\n  reproduce: pipeline.run({'x': 3})"]


def test_a_failing_item_raises_its_own_exception_with_a_note() -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        Pipeline([fail], name="p").map({"x": 3, "k": [1, 2, 0, 4]}, map_over="k")
    (note,) = caught.value.__notes__
    assert note.splitlines() == [
        "in node 'fail' of pipeline 'p', item 2",
        "  with x=3, k=0",
        "  2 of 4 items were finished before; on_error='return' goes on past failures",
        "  reproduce: pipeline.run({'x': 3, 'k': 0})",
    ]


@pytest.mark.parametrize(
    ("returned", "got"),
    [((1, 2, 3), "3 values"), ([1], "1 value"), (None, "None"), (5, "5"), ("ab", "'ab'"), ({"m": 1, "n": 2}, "{'m': 1, 'n': 2}")],
)
def test_a_wrong_number_of_outputs(returned: Any, got: str) -> None:
    pair = node(output_name=("m", "n"), name="pair")(lambda: returned)
    with pytest.raises(errors.OutputCountError) as caught:
        Pipeline([pair], name="p").run()
    assert str(caught.value) == f"node 'pair' declares 2 outputs (m, n) and returned {got}; return a tuple of 2"
    assert caught.value.__notes__ == ["in node 'pair' of pipeline 'p'\n  reproduce: pipeline.run({})"]


def test_unequal_lengths_inside_name_the_nested_pipeline() -> None:
    outer = Pipeline([Pipeline([fail], name="inner").as_node(map_over=["x", "k"])], name="outer")
    with pytest.raises(errors.MapLengthError) as caught:
        outer.run({"x": [1], "k": [1, 2]})
    assert str(caught.value) == (
        "nested pipeline 'inner': inputs mapped together have different lengths: 'x' has 1, 'k' has 2.\n"
        "  fix: make them equal, or use map_mode='product'"
    )
    assert caught.value.__notes__ == [
        "in node 'inner' of pipeline 'outer'\n  with x=[1], k=[1, 2]\n  reproduce: pipeline.run({'x': [1], 'k': [1, 2]})"
    ]


def test_a_batch_of_another_length() -> None:
    with pytest.raises(errors.BatchLengthError) as caught:
        Pipeline([DualNode("y", batch=lambda x: x[:1], name="cut")], name="p").map({"x": [1, 2]}, map_over="x")
    assert told(str(caught.value)) == (
        "batch twin of node 'cut' (test_errors.py:N) was given 2 items and returned 1 result; it must return one result per item"
    )


def test_too_many_failures() -> None:
    with pytest.raises(errors.TooManyFailuresError) as caught:
        Pipeline([fail], name="p").map({"x": [1]}, map_over="x", on_error="return", max_failures=0)
    assert str(caught.value) == (
        "1 of 1 items failed, more than max_failures=0:\n"
        "  1 × ZeroDivisionError in 'fail', first item 0: 'division by zero'\n"
        "  0 items made; the failures are in this error's .failures\n"
        "  run only those again: pipeline.map({**inputs, **error.failed_inputs}, map_over=['x'])"
    )


def test_a_node_that_takes_too_long() -> None:
    import time

    with pytest.raises(errors.NodeTimeoutError) as caught:
        Pipeline([node(output_name="y", name="slow", timeout=0.01)(lambda: time.sleep(0.2))]).run()
    assert str(caught.value) == "node 'slow' took longer than its timeout of 0.01 s"


# -- the tree -------------------------------------------------------------------------------------------------------


def drawn() -> dict[str, tuple[str | None, list[str]]]:
    """Return what the docstring of ``errors`` draws: class to parent and further bases."""
    tree: dict[str, tuple[str | None, list[str]]] = {}
    above: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"^    ((?:[│ ]   )*)([├└]── )?(\w+)(?: \(([\w, ]+)\))?(?: {2,}\S.*)?$", line)
        if found is None:
            continue
        depth = len(found[1]) // 4 + bool(found[2])
        del above[depth:]
        tree[found[3]] = (above[-1] if above else None, (found[4] or "").split(", ") if found[4] else [])
        above.append(found[3])
    return tree


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    import builtins

    tree = drawn()
    assert len(tree) > 25
    for name, (parent, others) in tree.items():
        kind = getattr(errors, name)
        bases = [getattr(errors, parent)] if parent else []
        bases += [getattr(builtins, other) for other in others]
        assert kind.__bases__ == tuple(bases or [Exception]), name
        assert kind.__doc__


def test_every_error_is_in_the_tree_and_has_one_root() -> None:
    defined = {name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, BaseException)}
    assert defined == set(drawn())
    for name in defined:
        assert issubclass(getattr(errors, name), (errors.HyperNodesError, errors.HyperNodesWarning))


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [
        (errors.PipelineError, ValueError),
        (errors.InputError, ValueError),
        (errors.OptionError, TypeError),
        (errors.NodeDefinitionError, TypeError),
        (errors.MapInputError, TypeError),
        (errors.NodeTimeoutError, TimeoutError),
        (errors.PluginLoadError, ImportError),
        (errors.UnknownPluginError, ValueError),
        (errors.HyperNodesWarning, UserWarning),
    ],
)
def test_users_can_catch_what_python_would_have_raised(kind: type[Exception], builtin: type[Exception]) -> None:
    assert issubclass(kind, builtin)


@pytest.mark.parametrize("own", [None, "inner", "middle"])
def test_unequal_lengths_deep_inside_name_the_whole_path(own: str | None) -> None:
    inner = Pipeline([fail], name="inner", **({"engine": SeqEngine()} if own == "inner" else {}))
    middle = Pipeline([inner.as_node(map_over=["x", "k"])], name="middle", **({"engine": SeqEngine()} if own == "middle" else {}))
    with pytest.raises(errors.MapLengthError, match=r"^nested pipeline 'middle/inner': inputs mapped together"):
        Pipeline([middle], name="outer").run({"x": [1], "k": [1, 2]})
