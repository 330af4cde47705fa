"""Examples from the documents this project started from, as written there; only placeholders are filled in."""

from __future__ import annotations

import asyncio
import os
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import hypernodes
import pytest
from hypernodes import (
    DiskCache,
    HyperNodesEngine,
    Pipeline,
    PipelineCallback,
    SeqEngine,
    SequentialEngine,
    errors,
    node,
    reset_default_config,
    set_default_config,
    stateful,
)
from hypernodes.executors import AsyncExecutor


@node(output_name="cleaned_text")
def clean_text(passage: str) -> str:
    return passage.strip().lower()


@node(output_name="word_count")
def count_words(cleaned_text: str) -> int:
    return len(cleaned_text.split())


@node(output_name="doubled")
def double(x: int) -> int:
    return x * 2


class Heard(PipelineCallback):
    """Stands for the callbacks of packages that are not installed; keeps what it is told."""

    def __init__(self) -> None:
        self.nodes: list[str] = []
        self.engines: list[str] = []

    def on_run_start(self, run: Any, ctx: Any) -> None:
        self.engines.append(run.engine)

    def on_node_end(self, node_id: str, outputs: Any, duration: float, ctx: Any) -> None:
        self.nodes.append(node_id)


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A relative cache lies in a directory of the test's own."""
    monkeypatch.chdir(tmp_path)
    yield


@pytest.fixture
def defaults() -> Iterator[None]:
    """Whatever a test sets for the whole process is forgotten after it."""
    try:
        yield
    finally:
        reset_default_config()


def test_readme_basic_example() -> None:
    pipeline = Pipeline(nodes=[clean_text, count_words])
    result = pipeline.run(inputs={"passage": "Hello World"})
    assert result == {"cleaned_text": "hello world", "word_count": 2}
    results = pipeline.map(inputs={"passage": ["Hello", "World", "Foo", "Bar"]}, map_over="passage")
    assert results == [{"cleaned_text": word, "word_count": 1} for word in ("hello", "world", "foo", "bar")]


def test_readme_with_caching(cached: None) -> None:
    engine = SeqEngine(cache=DiskCache(path=".cache"))
    pipeline = Pipeline(nodes=[clean_text, count_words], engine=engine)
    result1 = pipeline.run(inputs={"passage": "Hello World"})
    result2 = pipeline.run(inputs={"passage": "Hello World"})
    assert result1 == result2


def test_readme_stateful_objects() -> None:
    loaded: list[str] = []

    def load_model(path: str) -> Any:
        loaded.append(path)
        return str.upper

    @stateful
    class ExpensiveModel:
        def __init__(self, model_path: str):
            self.model = load_model(model_path)

        def predict(self, text: str) -> str:
            return self.model(text)

    @node(output_name="prediction")
    def predict(text: str, model: ExpensiveModel) -> str:
        return model.predict(text)

    model = ExpensiveModel("./model.pkl")
    assert loaded == []
    pipeline = Pipeline(nodes=[predict])
    texts_1000 = [f"text {i}" for i in range(1000)]
    results = pipeline.map(inputs={"text": texts_1000, "model": model}, map_over="text")
    assert results[999] == {"prediction": "TEXT 999"}
    assert loaded == ["./model.pkl"]


def test_readme_nested_pipelines() -> None:
    @node(output_name="passage")
    def load_data(data_path: str) -> str:
        return f" Content of {data_path} "

    @node(output_name="tokens")
    def tokenize(cleaned_text: str) -> list[str]:
        return cleaned_text.split()

    @node(output_name="normalized")
    def normalize(tokens: list[str]) -> list[str]:
        return [token.strip(".") for token in tokens]

    @node(output_name="model")
    def train_model(normalized: list[str]) -> int:
        return len(normalized)

    text_pipeline = Pipeline(nodes=[clean_text, tokenize, normalize])
    main_pipeline = Pipeline(nodes=[load_data, text_pipeline, train_model])
    assert main_pipeline.run(inputs={"data_path": "corpus.txt"})["model"] == 3


def test_readme_functions_become_nodes_become_pipelines_become_nodes() -> None:
    @node(output_name="text")
    def load(path: str) -> str:
        return f"text of {path}"

    @node(output_name="words")
    def step1(text: str) -> list[str]:
        return text.split()

    @node(output_name="longest")
    def step2(words: list[str]) -> str:
        return max(words, key=len)

    @node(output_name="initial")
    def step3(longest: str) -> str:
        return longest[0]

    @node(output_name="saved")
    def save(initial: str, words: list[str]) -> tuple[str, int]:
        return initial, len(words)

    inner_pipeline = Pipeline(nodes=[step1, step2, step3])
    outer_pipeline = Pipeline(nodes=[load, inner_pipeline, save])
    assert outer_pipeline.run(inputs={"path": "a.txt"})["saved"] == ("a", 3)


def test_readme_fine_grained_invalidation_gives_the_results_of_each_run() -> None:
    @node(output_name="data")
    def load_data(data_path: str) -> list[float]:
        return [1.0, 2.0]

    @node(output_name="features")
    def preprocess(data: list[float]) -> list[float]:
        return [value * 2 for value in data]

    @node(output_name="model")
    def train_model(features: list[float], learning_rate: float) -> float:
        return sum(features) * learning_rate

    pipeline = Pipeline(nodes=[load_data, preprocess, train_model])
    result1 = pipeline.run(inputs={"data_path": "data.csv", "learning_rate": 0.01})
    result2 = pipeline.run(inputs={"data_path": "data.csv", "learning_rate": 0.001})
    assert (result1["model"], result2["model"]) == (6.0 * 0.01, 6.0 * 0.001)


def test_readme_per_item_map_gives_the_results_of_each_item() -> None:
    pipeline = Pipeline(nodes=[clean_text, count_words])
    passages_150 = [f"passage {i}" for i in range(150)]
    passages_100 = passages_150[:100]
    results1 = pipeline.map(inputs={"passage": passages_100}, map_over="passage")
    results2 = pipeline.map(inputs={"passage": passages_150}, map_over="passage")
    assert len(results2) == 150
    assert results2[:100] == results1


def test_readme_engine_with_cache_and_callbacks(cached: None) -> None:
    heard = Heard()
    engine = SeqEngine(cache=DiskCache(path=".cache"), callbacks=[heard])
    pipeline = Pipeline(nodes=[clean_text, count_words], engine=engine)
    assert pipeline.run(inputs={"passage": "Hello World"})["word_count"] == 2
    assert heard.nodes == ["clean_text", "count_words"]


def test_readme_the_default_is_the_sequential_engine() -> None:
    heard = Heard()
    Pipeline(nodes=[double], callbacks=[heard]).run(inputs={"x": 1})
    assert heard.engines == ["seq"]


def test_readme_hierarchical_configuration(cached: None) -> None:
    """A child inherits through nesting; a grandchild overrides with an engine of its own."""
    heard, own = Heard(), Heard()
    grandchild_engine = SeqEngine(callbacks=[own], cache=None)
    grandchild_pipeline = Pipeline(nodes=[double], engine=grandchild_engine, name="grandchild")
    child_pipeline = Pipeline(nodes=[node(output_name="x")(lambda start: start + 1), grandchild_pipeline], name="child")
    parent_engine = SeqEngine(cache=DiskCache(path=".cache"), callbacks=[heard])
    preprocess = node(output_name="start")(lambda raw: int(raw))
    postprocess = node(output_name="shown")(lambda doubled: str(doubled))
    parent = Pipeline(nodes=[preprocess, child_pipeline, postprocess], engine=parent_engine)
    assert parent.run({"raw": "1"})["shown"] == "4"
    assert heard.nodes == ["start", "child/x", "shown"]
    assert own.nodes == ["child/grandchild/double"]


def test_readme_as_node_interface_adaptation() -> None:
    class Model:
        def encode(self, text: str) -> list[int]:
            return [len(text)]

    model = Model()

    @node(output_name="embedding")
    def encode_text(passage: str) -> list[int]:
        return model.encode(passage)

    @node(output_name="index")
    def build_index(encoded_corpus: list[list[int]]) -> dict[int, list[int]]:
        return dict(enumerate(encoded_corpus))

    single_encode = Pipeline(nodes=[clean_text, encode_text])
    encode_corpus = single_encode.as_node(
        input_mapping={"corpus": "passage"}, output_mapping={"embedding": "encoded_corpus"}, map_over="corpus"
    )
    index_pipeline = Pipeline(nodes=[encode_corpus, build_index])
    result = index_pipeline.run(inputs={"corpus": ["Hello", "World", "Foo"]})
    assert result == {"encoded_corpus": [[5], [5], [3]], "index": {0: [5], 1: [5], 2: [3]}}


def test_readme_testing_section(cached: None) -> None:
    @node(output_name="result")
    def my_function(input: str) -> str:
        return input.upper()

    pipeline = Pipeline(nodes=[my_function])
    assert pipeline.run(inputs={"input": "hello"})["result"] == "HELLO"
    engine = SeqEngine(cache=DiskCache(path="test_cache"))
    pipeline = Pipeline(nodes=[my_function], engine=engine)
    assert pipeline.run(inputs={"input": "hello"}) == pipeline.run(inputs={"input": "hello"})


def test_structure_pipeline_with_everything(cached: None) -> None:
    @node(output_name="result", cache=True)
    def process(x: int) -> int:
        return x * 2

    pipeline = Pipeline(nodes=[process], engine=SequentialEngine(), cache=DiskCache(path=".cache"), callbacks=[])
    assert pipeline.run(inputs={"x": 5}) == {"result": 10}
    assert pipeline.map(inputs={"x": [1, 2, 3]}, map_over="x") == [{"result": 2}, {"result": 4}, {"result": 6}]


def test_structure_node_properties() -> None:
    assert (double.name, double.cache, double.root_args, double.output_name) == ("double", True, ("x",), "doubled")
    assert double.func(3) == double(3) == 6
    assert len(double.code_hash) == 64


def test_structure_hypernode_protocol() -> None:
    pipeline_node = Pipeline([double]).as_node()
    for each in (double, pipeline_node):
        assert isinstance(each, hypernodes.HyperNode)
        assert (each.root_args, each.output_name) == (("x",), "doubled")
        assert isinstance(each.name, str)
        assert each.cache
        assert each.code_hash


def test_structure_cache_on_the_pipeline(cached: None) -> None:
    cache = DiskCache(path=".cache")
    pipeline = Pipeline(nodes=[double], cache=cache)
    assert pipeline.run({"x": 1}) == pipeline.run({"x": 1}) == {"doubled": 2}


def test_structure_stateful_parameters() -> None:
    class Model:
        __daft_stateful__ = True

        def predict(self, text: str) -> str:
            return text.upper()

    def predict(text: str, model: Model) -> str:
        return model.predict(text)

    marked = node(output_name="prediction")(predict)
    hinted = node(output_name="prediction", stateful_params=["model"])(predict)
    for each in (marked, hinted):
        assert Pipeline([each]).map({"text": ["a"], "model": Model()}, map_over="text") == [{"prediction": "A"}]


def test_structure_nested_pipelines() -> None:
    @node(output_name="cleaned")
    def clean_text(text: str) -> str:
        return text.strip()

    @node(output_name="length")
    def analyze(cleaned: str) -> int:
        return len(cleaned)

    inner = Pipeline(nodes=[clean_text])
    outer = Pipeline(nodes=[inner.as_node(), analyze])
    result = outer.run(inputs={"text": "hello"})
    assert result == {"cleaned": "hello", "length": 5}


def test_structure_input_and_output_mapping() -> None:
    @node(output_name="cleaned")
    def clean(passage: str) -> str:
        return passage.strip()

    @node(output_name="length")
    def analyze(processed: str) -> int:
        return len(processed)

    inner = Pipeline(nodes=[clean])
    adapted = inner.as_node(input_mapping={"document": "passage"}, output_mapping={"cleaned": "processed"})
    assert Pipeline(nodes=[adapted, analyze]).run(inputs={"document": " hello "}) == {"processed": "hello", "length": 5}


def test_structure_single_to_batch_transformation() -> None:
    single_item_pipeline = Pipeline(nodes=[double])
    batch_pipeline = single_item_pipeline.as_node(map_over="items", input_mapping={"items": "x"}, output_mapping={"doubled": "results"})
    outer = Pipeline(nodes=[batch_pipeline])
    assert outer.run(inputs={"items": [1, 2, 3]}) == {"results": [2, 4, 6]}


def test_structure_document_processing() -> None:
    @node(output_name="cleaned")
    def clean_text(passage: str) -> str:
        return passage.strip().lower()

    @node(output_name="summary")
    def summarize(cleaned: str) -> str:
        return cleaned[:100]

    doc_processor = Pipeline(nodes=[clean_text, summarize])
    batch_processor = doc_processor.as_node(
        map_over="documents", input_mapping={"documents": "passage"}, output_mapping={"summary": "summaries"}
    )
    outer = Pipeline(nodes=[batch_processor])
    assert outer.run(inputs={"documents": ["  Doc 1  ", "  Doc 2  "]}) == {"summaries": ["doc 1", "doc 2"]}


def test_structure_map_over_several_with_a_mode() -> None:
    @node(output_name="prompt")
    def fill(text: str, template: str) -> str:
        return template.format(text)

    inner = Pipeline([fill])
    mapping = {"docs": "text", "templates": "template"}
    for mode, expected in (("zip", ["a!", "b?"]), ("product", ["a!", "a?", "b!", "b?"])):
        adapted = inner.as_node(map_over=["docs", "templates"], map_mode=mode, input_mapping=mapping)
        assert Pipeline([adapted]).run({"docs": ["a", "b"], "templates": ["{}!", "{}?"]}) == {"prompt": expected}


def test_structure_zip_and_product_modes() -> None:
    pair = Pipeline([node(output_name="pair")(lambda x, y: (x, y))])
    zipped = pair.map(inputs={"x": [1, 2, 3], "y": [10, 20, 30]}, map_over=["x", "y"], map_mode="zip")
    assert [row["pair"] for row in zipped] == [(1, 10), (2, 20), (3, 30)]
    product = pair.map(inputs={"x": [2, 3], "y": [10, 100]}, map_over=["x", "y"], map_mode="product")
    assert [row["pair"] for row in product] == [(2, 10), (2, 100), (3, 10), (3, 100)]


def test_structure_selective_outputs() -> None:
    @node(output_name="result3")
    def never(x: int) -> None:
        raise AssertionError("not asked for")

    nodes = [node(output_name="result1")(lambda x: x), node(output_name="result2")(lambda x: -x), never]
    result = Pipeline(nodes).run(inputs={"x": 5}, output_name=["result1", "result2"])
    assert result == {"result1": 5, "result2": -5}


def test_structure_multiple_outputs() -> None:
    def calculate_std(data: list) -> float:
        return max(data) - min(data)

    @node(output_name=("mean", "std"))
    def stats(data: list) -> tuple:
        return sum(data) / len(data), calculate_std(data)

    assert Pipeline([stats]).run({"data": [1, 3]}) == {"mean": 2.0, "std": 2}


def test_structure_basic_pattern() -> None:
    pipeline = Pipeline(nodes=[double])
    assert pipeline.run(inputs={"x": 5}) == {"doubled": 10}


# -- the plan of an older interface: what it says of settings holds, its words executor= and backend= do not ------------------


@node(output_name="loaded")
def load(file: str) -> str:
    return f"content of {file}"


@node(output_name="processed")
def process(loaded: str) -> str:
    return loaded.upper()


@node(output_name="saved")
def save(processed: str) -> bool:
    return bool(processed)


def test_plan_simplicity_first() -> None:
    pipeline = Pipeline(nodes=[load, process, save])
    result = pipeline.run({"file": "data.csv"})
    assert result == {"loaded": "content of data.csv", "processed": "CONTENT OF DATA.CSV", "saved": True}


def test_plan_zero_configuration() -> None:
    @node(output_name="result")
    def process(data: str) -> str:
        return data.upper()

    pipeline = Pipeline(nodes=[process])
    assert pipeline.run({"data": "hello"}) == {"result": "HELLO"}


def test_plan_add_caching(cached: None) -> None:
    pipeline = Pipeline(nodes=[load, process]).with_cache(DiskCache(".cache"))
    assert pipeline.run({"file": "a"}) == pipeline.run({"file": "a"})


def test_plan_familiar_interface_with_lazy_start(cached: None) -> None:
    cache = DiskCache(".cache")
    callback = Heard()
    pipeline = Pipeline(nodes=[load, process, save])
    assert pipeline.with_cache(cache).with_callbacks([callback]) is pipeline
    assert pipeline.run({"file": "data.csv"})["saved"]
    assert callback.nodes == ["load", "process", "save"]


def test_plan_map_over_is_asked_for() -> None:
    pipeline = Pipeline(nodes=[load, process, save])
    with pytest.raises(errors.OptionError, match="did you mean map_over='file'"):
        pipeline.map({"file": ["file1.csv", "file2.csv"]})


def test_plan_global_configuration(cached: None, defaults: None) -> None:
    heard = Heard()
    set_default_config(engine=SeqEngine(), cache=DiskCache(".cache"), callbacks=[heard])
    pipeline1 = Pipeline(nodes=[load])
    pipeline2 = Pipeline(nodes=[double], cache=None)  # all new pipelines use the defaults, unless they say otherwise
    pipeline1.run({"file": "a"})
    pipeline2.run({"x": 1})
    assert heard.nodes == ["load", "double"]


def test_plan_configuration_precedence(defaults: None) -> None:
    """Library default, then global, then the pipeline's own, then ``as_node``: each told apart by who hears of it."""
    globally, own, override = Heard(), Heard(), Heard()
    pipeline = Pipeline(nodes=[double])
    pipeline.run({"x": 1})
    assert not globally.nodes
    set_default_config(callbacks=[globally])
    pipeline.run({"x": 1})
    assert globally.nodes == ["double"]
    pipeline.with_callbacks([own])
    pipeline.run({"x": 1})
    assert own.nodes == ["double"]
    outer_node = pipeline.as_node(name="inner", callbacks=[override])
    Pipeline(nodes=[outer_node]).run({"x": 1})
    assert override.nodes == ["inner/double"]
    assert (globally.nodes, own.nodes) == (["double"], ["double"])


def test_plan_override_in_as_node() -> None:
    inner = Pipeline(nodes=[double], cache=DiskCache(".cache"))
    by_argument = inner.as_node(input_mapping={"doc": "x"}, engine=SeqEngine(), cache=None)
    fluent = inner.as_node(input_mapping={"doc": "x"}).with_engine(SeqEngine()).with_cache(None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # no cache is in effect, so none is missed
        for inner_node in (by_argument, fluent):
            assert Pipeline(nodes=[inner_node]).run({"doc": 2}) == {"doubled": 4}


def test_plan_parallel_map() -> None:
    """The items meet, which they can only do where they are in the pool at the same time; nodes run one by one."""
    meeting = threading.Barrier(3, timeout=10)

    @node(output_name="loaded")
    def fetch(url: str) -> str:
        meeting.wait()
        return f"content of {url}"

    with ThreadPoolExecutor(max_workers=8) as map_pool:
        pipeline = Pipeline(nodes=[fetch, process, save], engine=HyperNodesEngine(map_executor=map_pool))
        result = pipeline.map({"url": ["http://a", "http://b", "http://c"]}, map_over="url")
    assert [row["processed"] for row in result] == ["CONTENT OF HTTP://A", "CONTENT OF HTTP://B", "CONTENT OF HTTP://C"]


def test_plan_eager_nodes() -> None:
    meeting = threading.Barrier(2, timeout=10)

    @node(output_name="head")
    def fetch_head(url: str) -> str:
        meeting.wait()
        return f"head of {url}"

    @node(output_name="body")
    def fetch_body(url: str) -> str:
        meeting.wait()
        return f"body of {url}"

    @node(output_name="page")
    def process(head: str, body: str) -> str:
        return f"{head}, {body}"

    pipeline = Pipeline(nodes=[fetch_head, fetch_body, process], engine=HyperNodesEngine(node_executor="threaded", max_workers=2))
    assert pipeline.run({"url": "a"}, output_name="page") == {"page": "head of a, body of a"}


def test_plan_global_configuration_with_an_executor(cached: None, defaults: None) -> None:
    heard = Heard()
    with ThreadPoolExecutor(max_workers=8) as pool:
        set_default_config(engine=HyperNodesEngine(map_executor=pool), cache=DiskCache(".cache"), callbacks=[heard])
        pipeline1 = Pipeline(nodes=[load])
        pipeline2 = Pipeline(nodes=[double], engine=SeqEngine())
        assert pipeline1.map({"file": ["a", "b"]}, map_over="file")[1] == {"loaded": "content of b"}
        pipeline2.run({"x": 1})
    assert heard.engines == ["hypernodes", "seq"]
    assert heard.nodes == ["load", "load", "double"]


def test_plan_override_of_an_executor_in_as_node() -> None:
    places: list[str] = []

    @node(output_name="tokens")
    def tokenize(text: str) -> list[str]:
        places.append(threading.current_thread().name)
        return text.split()

    inner = Pipeline(nodes=[tokenize], engine=HyperNodesEngine(map_executor="threaded"))
    mapping = {"docs": "text"}
    here = threading.current_thread().name
    for adapted, is_here in (
        (inner.as_node(input_mapping=mapping, map_over="docs"), False),
        (inner.as_node(input_mapping=mapping, map_over="docs", engine=SeqEngine()), True),
        (inner.as_node(input_mapping=mapping, map_over="docs").with_engine(SeqEngine()), True),
    ):
        places.clear()
        assert Pipeline(nodes=[adapted]).run({"docs": ["a b", "c"]}) == {"tokens": [["a", "b"], ["c"]]}
        assert (set(places) == {here}) == is_here


@pytest.mark.parametrize("option", ["executor", "backend"])
def test_plan_words_of_an_older_interface_are_answered_with_the_ruled_one(option: str) -> None:
    given: dict[str, Any] = {option: ThreadPoolExecutor(1)}
    pipeline = Pipeline(nodes=[double])
    for call in (lambda: Pipeline(nodes=[double], **given), lambda: pipeline.as_node(**given), lambda: set_default_config(**given)):
        with pytest.raises(errors.OptionError, match="Did you mean 'engine'"):
            call()


def test_plan_an_executor_is_no_engine() -> None:
    with pytest.raises(errors.OptionError, match="Give an Engine, or the name of one"):
        Pipeline(nodes=[double], engine=ThreadPoolExecutor(1))


def test_plan_no_overrides_at_the_call() -> None:
    with pytest.raises(errors.OptionError, match=r"set it on the pipeline: Pipeline\(…, cache=…\)"):
        Pipeline(nodes=[double]).run({"x": 1}, cache=None)


@pytest.mark.parametrize(
    ("module", "name", "package"),
    [
        ("hypernodes.engines", "DaftEngine", "daft"),
        ("hypernodes.executors", "DaftEngine", "daft"),
        ("hypernodes.engines", "DaskEngine", "dask"),
        ("hypernodes.telemetry", "ProgressCallback", "progress"),
        ("hypernodes", "ProgressCallback", "progress"),
        ("hypernodes.telemetry", "TelemetryCallback", "otel"),
    ],
)
def test_names_of_packages_that_are_not_installed_say_what_to_install(module: str, name: str, package: str) -> None:
    with pytest.raises(ImportError, match=rf'{name} lives in hypernodes-{package}.*pip install "hypernodes-core\[{package}\]"'):
        exec(f"from {module} import {name}")


def test_engine_design_a_sketch_that_maps_urls_onto_url_gets_a_suggestion() -> None:
    @node(output_name="data")
    async def fetch_api(url: str) -> dict:
        return {"url": url}

    pipeline = Pipeline(nodes=[fetch_api])
    with pytest.raises(errors.InputError, match="Did you mean 'url'"):
        pipeline.map(inputs={"urls": ["http://api1.com", "http://api2.com"]}, map_over="urls")
    assert pipeline.map(inputs={"url": ["http://api1.com"]}, map_over="url") == [{"data": {"url": "http://api1.com"}}]


def test_engine_design_a_sketch_that_maps_texts_onto_text_gets_a_suggestion() -> None:
    @node(output_name="cleaned")
    def clean_text(text: str) -> str:
        return text.strip().lower()

    @node(output_name="word_count")
    def count_words(cleaned: str) -> int:
        return len(cleaned.split())

    pipeline = Pipeline(nodes=[clean_text, count_words])
    with pytest.raises(errors.InputError, match="Did you mean 'text'"):
        pipeline.map(inputs={"texts": ["Hello World", "Foo Bar"]}, map_over="texts")
    assert pipeline.map(inputs={"text": ["Hello World"]}, map_over="text", output_name="word_count") == [{"word_count": 2}]


# Option 3 of the design makes pools as everybody does: on Linux they fork, which Pythons since 3.12 warn of where threads run.
forking = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")


def test_engine_design_simple_sequential() -> None:
    @node(output_name="result")
    def process(x: int) -> int:
        return x * 2

    pipeline = Pipeline(nodes=[process], engine=HyperNodesEngine())
    result = pipeline.run(inputs={"x": 5})
    assert result == {"result": 10}


@pytest.mark.parametrize(
    ("alias", "workers"), [("sequential", 1), ("async", 10), ("threaded", os.cpu_count() or 4), ("parallel", os.cpu_count() or 4)]
)
def test_engine_design_what_an_alias_stands_for(alias: str, workers: int) -> None:
    assert HyperNodesEngine(map_executor=alias).capabilities.workers == workers


def test_engine_design_an_alias_with_a_number_of_workers() -> None:
    for alias in ("async", "threaded", "parallel"):
        assert HyperNodesEngine(node_executor="threaded", map_executor=alias, max_workers=2).capabilities.workers == 2


def test_engine_design_both_executors_are_sequential_by_default() -> None:
    places: list[str] = []

    @node(output_name="result")
    def process(x: int) -> int:
        places.append(threading.current_thread().name)
        return x * 2

    for engine in (HyperNodesEngine(), HyperNodesEngine(node_executor="sequential", map_executor="sequential")):
        assert repr(engine) == "HyperNodesEngine()"
        assert Pipeline(nodes=[process], engine=engine).map(inputs={"x": [1, 2, 3]}, map_over="x")[2] == {"result": 6}
    assert set(places) == {threading.current_thread().name}


@pytest.mark.parametrize(("node_executor", "map_executor"), [("sequential", "sequential"), ("async", "async"), ("threaded", "async")])
def test_engine_design_use_with_pipeline(node_executor: str, map_executor: str, cached: None) -> None:
    cache, callbacks = DiskCache(".cache"), [Heard()]
    engine = HyperNodesEngine(node_executor=node_executor, map_executor=map_executor)
    pipeline = Pipeline(nodes=[clean_text, count_words], engine=engine, cache=cache, callbacks=callbacks)
    first = pipeline.map(inputs={"passage": ["Hello World", "Foo"]}, map_over="passage")
    again = pipeline.map(inputs={"passage": ["Hello World", "Foo"]}, map_over="passage")
    assert again == first == [{"cleaned_text": "hello world", "word_count": 2}, {"cleaned_text": "foo", "word_count": 1}]
    assert (first.stats.ran, again.stats.ran, again.stats.cached) == (4, 0, 4)
    assert callbacks[0].engines == ["hypernodes", "hypernodes"]
    assert sorted(callbacks[0].nodes) == ["clean_text"] * 2 + ["count_words"] * 2


def test_engine_design_async_for_io_bound_work() -> None:
    running = [0, 0]  # now, at most

    async def get(url: str) -> dict:
        """Stands for the client of a web service."""
        running[0] += 1
        running[1] = max(running)
        await asyncio.sleep(0.01)
        running[0] -= 1
        return {"url": url}

    @node(output_name="data")
    async def fetch_api(url: str) -> dict:
        return await get(url)

    pipeline = Pipeline(nodes=[fetch_api], engine=HyperNodesEngine(node_executor="async", map_executor="async"))
    urls = [f"http://api{number}.com" for number in range(60)]
    results = pipeline.map(inputs={"url": urls}, map_over="url")
    assert results == [{"data": {"url": url}} for url in urls]
    assert running == [0, 10]


@pytest.mark.parametrize("executor", ["async", AsyncExecutor(max_concurrent=20)], ids=repr)
def test_engine_design_independent_coroutines_of_one_item(executor: Any) -> None:
    """The two meet, which they can only do when they run at the same time."""
    meeting = asyncio.Barrier(2)

    @node(output_name="user", timeout=10)
    async def fetch_user(url: str) -> str:
        await meeting.wait()
        return "user"

    @node(output_name="posts", timeout=10)
    async def fetch_posts(url: str) -> str:
        await meeting.wait()
        return "posts"

    engine = HyperNodesEngine(node_executor=executor, map_executor="sequential")
    assert Pipeline(nodes=[fetch_user, fetch_posts], engine=engine).run(inputs={"url": "a"}) == {"user": "user", "posts": "posts"}


def mixed(folder: Path) -> list[Any]:
    class Database:
        """Stands for one that every process can reach."""

        def save(self, rows: list[int]) -> None:
            (folder / f"{rows[0]}.txt").write_text(f"{os.getpid()}\n{rows}", encoding="utf-8")

    db = Database()

    def expensive_computation(x: int) -> int:
        return sum(range(x))

    @node(output_name="processed")
    def cpu_heavy(data: list) -> list:
        return [expensive_computation(x) for x in data]

    @node(output_name="saved")
    def save_to_db(processed: list) -> bool:
        db.save(processed)
        return True

    return [cpu_heavy, save_to_db]


@forking
def test_engine_design_mixed_parallelism(tmp_path: Path) -> None:
    with ThreadPoolExecutor(max_workers=4) as threads, ProcessPoolExecutor(max_workers=2) as processes:
        engine = HyperNodesEngine(node_executor=threads, map_executor=processes)
        pipeline = Pipeline(nodes=mixed(tmp_path), engine=engine)
        assert pipeline.run(inputs={"data": [1, 2]}) == {"processed": [0, 1], "saved": True}
        assert (tmp_path / "0.txt").read_text("utf-8").split("\n")[0] == str(os.getpid())  # a single run stays here
        results = pipeline.map(inputs={"data": [[3, 4], [5, 6], [7]]}, map_over="data")
        assert results == [{"processed": rows, "saved": True} for rows in ([3, 6], [10, 15], [21])]
        found = [(tmp_path / f"{first}.txt").read_text("utf-8").split("\n") for first in (3, 10, 21)]
        assert [rows for _, rows in found] == ["[3, 6]", "[10, 15]", "[21]"]
        assert str(os.getpid()) not in {process for process, _ in found}
        assert threads.submit(abs, -1).result() == processes.submit(abs, -1).result() == 1  # both are their owner's


def test_engine_design_mixed_parallelism_by_alias(tmp_path: Path) -> None:
    with HyperNodesEngine(node_executor="threaded", map_executor="parallel", max_workers=2) as engine:
        results = Pipeline(nodes=mixed(tmp_path), engine=engine).map(inputs={"data": [[3, 4], [5, 6]]}, map_over="data")
    assert results == [{"processed": [3, 6], "saved": True}, {"processed": [10, 15], "saved": True}]
    assert str(os.getpid()) not in {path.read_text("utf-8").split("\n")[0] for path in tmp_path.iterdir()}


@forking
def test_engine_design_processes_for_nodes_and_threads_for_items() -> None:
    """As old settings are to be migrated."""

    @node(output_name="where")
    def where(x: int) -> int:
        return os.getpid()

    with ProcessPoolExecutor(max_workers=8) as processes, ThreadPoolExecutor(max_workers=8) as threads:
        engine = HyperNodesEngine(node_executor=processes, map_executor=threads)
        pipeline = Pipeline(nodes=[double, where], engine=engine)
        results = pipeline.map(inputs={"x": list(range(20))}, map_over="x")
        assert [row["doubled"] for row in results] == [2 * x for x in range(20)]
        assert os.getpid() not in {row["where"] for row in results}
        assert pipeline.run(inputs={"x": 1})["where"] != os.getpid()


class Borrowed:
    """A class that has the two methods of the protocol and nothing more."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self.pool = pool
        self.calls = 0
        self.ended = False

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.calls += 1
        return self.pool.submit(fn, *args, **kwargs)

    def shutdown(self, wait: bool = True) -> None:  # noqa: FBT002 - as in the standard library
        self.ended = True


@pytest.mark.parametrize("role", ["node_executor", "map_executor"])
def test_engine_design_any_class_with_the_protocol(role: str) -> None:
    with ThreadPoolExecutor(2) as pool:
        executor = Borrowed(pool)
        arguments: dict[str, Any] = {role: executor}
        results = Pipeline(nodes=[double], engine=HyperNodesEngine(**arguments)).map(inputs={"x": [1, 2, 3]}, map_over="x")
    assert results == [{"doubled": 2}, {"doubled": 4}, {"doubled": 6}]
    assert executor.calls > 0
    assert not executor.ended


def test_engine_design_async_executor() -> None:
    def some_io_function(arg1: str, arg2: int) -> str:
        time.sleep(0.001)
        return arg1 * arg2

    async def some_coroutine_function(arg1: str, arg2: int) -> str:
        await asyncio.sleep(0.001)
        return arg1 * arg2

    def use() -> None:
        executor = AsyncExecutor(max_concurrent=20)
        for function in (some_io_function, some_coroutine_function):
            future = executor.submit(function, "ab", 2)
            assert isinstance(future, Future)
            assert future.result() == "abab"
        executor.shutdown(wait=True)

    async def notebook() -> None:
        use()

    assert AsyncExecutor().max_concurrent == 10
    use()
    asyncio.run(notebook())


@pytest.mark.parametrize(
    "engine",
    [
        SeqEngine(),
        HyperNodesEngine(),
        HyperNodesEngine(node_executor="async", map_executor="async"),
        HyperNodesEngine(node_executor=AsyncExecutor(max_concurrent=20), map_executor="sequential"),
        HyperNodesEngine(node_executor="threaded", map_executor=AsyncExecutor(max_concurrent=20)),
    ],
    ids=repr,
)
def test_engine_design_coroutines_inside_a_running_event_loop(engine: Any) -> None:
    """As in a notebook: no error that the loop is running already."""

    @node(output_name="data")
    async def fetch_api(url: str) -> dict:
        await asyncio.sleep(0)
        return {"url": url}

    pipeline = Pipeline(nodes=[fetch_api], engine=engine)

    async def notebook() -> tuple[Any, Any]:
        return pipeline.run({"url": "a"}), pipeline.map({"url": ["a", "b"]}, map_over="url")

    one, several = asyncio.run(notebook())
    assert one == {"data": {"url": "a"}}
    assert several == [{"data": {"url": "a"}}, {"data": {"url": "b"}}]


def test_engine_design_nested_pipelines_with_different_engines() -> None:
    @node(output_name="response")
    async def fetch_data(url: str) -> str:
        await asyncio.sleep(0.001)
        return f'["{url}"]'

    @node(output_name="parsed")
    def parse_json(response: str) -> list[str]:
        return [response.strip('[]"')]

    @node(output_name="urls")
    def prepare(sites: list[str]) -> list[str]:
        return [f"http://{site}" for site in sites]

    @node(output_name="all_parsed")
    def aggregate(parsed: list[list[str]]) -> list[str]:
        return [each for row in parsed for each in row]

    inner = Pipeline(nodes=[fetch_data, parse_json], engine=HyperNodesEngine(node_executor="async", map_executor="async"))
    one_by_one = inner.as_node(input_mapping={"urls": "url"}, map_over="urls")
    with HyperNodesEngine(node_executor="threaded", map_executor="parallel") as engine:
        outer = Pipeline(nodes=[prepare, one_by_one, aggregate], engine=engine)
        assert outer.run(inputs={"sites": ["a", "b"]})["all_parsed"] == ["http://a", "http://b"]
        results = outer.map(inputs={"sites": [["a", "b"], ["c"]]}, map_over="sites", output_name="all_parsed")
    assert results == [{"all_parsed": ["http://a", "http://b"]}, {"all_parsed": ["http://c"]}]


def test_engine_design_nested_maps_have_fewer_workers() -> None:
    """Of 10 workers: 10 items of the outer map at a time, the root of 10 for each map inside, and below that one."""
    lock = threading.Lock()
    running: Counter[Any] = Counter()
    most: Counter[Any] = Counter()

    @node(output_name="sum")
    def add(x: int, y: int, z: int) -> int:
        places = ("all", ("x", x), ("xy", x, y))
        with lock:
            running.update(places)
            for place in places:
                most[place] = max(most[place], running[place])
        time.sleep(0.002)
        with lock:
            running.subtract(places)
        return x + y + z

    innermost = Pipeline(nodes=[add], name="innermost").as_node(map_over="zs", input_mapping={"zs": "z"}, output_mapping={"sum": "sums"})
    inner = Pipeline(nodes=[innermost], name="inner").as_node(map_over="ys", input_mapping={"ys": "y"}, output_mapping={"sums": "table"})
    outer = Pipeline(nodes=[inner], engine=HyperNodesEngine(map_executor="threaded", max_workers=10))
    results = outer.map(inputs={"x": range(20), "ys": list(range(10)), "zs": [0, 100]}, map_over="x")
    assert [row["table"] for row in results] == [[[x + y, x + y + 100] for y in range(10)] for x in range(20)]
    assert 10 < most["all"] <= 30
    assert 1 < max(most["x", x] for x in range(20)) <= 3
    assert {most["xy", x, y] for x in range(20) for y in range(10)} == {1}


def test_engine_design_construction_happens_once() -> None:
    pipeline = Pipeline(nodes=[count_words, clean_text])
    graph = pipeline.graph
    pipeline.run({"passage": "a"})
    pipeline.map({"passage": ["a"]}, map_over="passage")
    assert pipeline.graph is graph
    assert graph.execution_order == (clean_text, count_words)
    assert graph.root_args == ("passage",)
    assert graph.available_output_names == ("cleaned_text", "word_count")
