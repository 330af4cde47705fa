"""Examples from the documents this project started from, as written there; only placeholders are filled in."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import hypernodes
import pytest
from hypernodes import (
    DiskCache,
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


def test_engine_design_simple_sequential() -> None:
    @node(output_name="result")
    def process(x: int) -> int:
        return x * 2

    pipeline = Pipeline(nodes=[process], engine=SeqEngine())
    result = pipeline.run(inputs={"x": 5})
    assert result == {"result": 10}


def test_engine_design_coroutines_inside_a_running_event_loop() -> None:
    """As in a notebook."""

    @node(output_name="data")
    async def fetch_api(url: str) -> dict:
        await asyncio.sleep(0)
        return {"url": url}

    async def notebook() -> dict:
        return Pipeline(nodes=[fetch_api]).run({"url": "a"})

    assert asyncio.run(notebook()) == {"data": {"url": "a"}}


def test_engine_design_nested_pipelines_with_different_engines() -> None:
    @node(output_name="response")
    async def fetch_data(url: str) -> str:
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

    inner = Pipeline(nodes=[fetch_data, parse_json], engine=SeqEngine(retries=1))
    one_by_one = inner.as_node(input_mapping={"urls": "url"}, map_over="urls")
    outer = Pipeline(nodes=[prepare, one_by_one, aggregate], engine=SeqEngine())
    assert outer.run(inputs={"sites": ["a", "b"]})["all_parsed"] == ["http://a", "http://b"]


def test_engine_design_construction_happens_once() -> None:
    pipeline = Pipeline(nodes=[count_words, clean_text])
    graph = pipeline.graph
    pipeline.run({"passage": "a"})
    pipeline.map({"passage": ["a"]}, map_over="passage")
    assert pipeline.graph is graph
    assert graph.execution_order == (clean_text, count_words)
    assert graph.root_args == ("passage",)
    assert graph.available_output_names == ("cleaned_text", "word_count")
