"""Examples from the documents this project started from, as written there; only placeholders are filled in."""

from __future__ import annotations

import os
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import hypernodes
import pytest
from hypernodes import DiskCache, Pipeline, SeqEngine, SequentialEngine, errors, node, reset_default_config, set_default_config, stateful


@node(output_name="cleaned_text")
def clean_text(passage: str) -> str:
    return passage.strip().lower()


@node(output_name="word_count")
def count_words(cleaned_text: str) -> int:
    return len(cleaned_text.split())


@node(output_name="doubled")
def double(x: int) -> int:
    return x * 2


@pytest.fixture
def uncached() -> Any:
    """A cache may be set; this version says that it does not use it."""
    with pytest.warns(errors.CacheWarning, match="not used yet"):
        yield


def test_readme_basic_example() -> None:
    pipeline = Pipeline(nodes=[clean_text, count_words])
    result = pipeline.run(inputs={"passage": "Hello World"})
    assert result == {"cleaned_text": "hello world", "word_count": 2}
    results = pipeline.map(inputs={"passage": ["Hello", "World", "Foo", "Bar"]}, map_over="passage")
    assert results == [{"cleaned_text": word, "word_count": 1} for word in ("hello", "world", "foo", "bar")]


def test_readme_with_caching(uncached: None, tmp_path: Path) -> None:
    engine = SeqEngine(cache=DiskCache(path=tmp_path / ".cache"))
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


def test_readme_as_node_interface_adaptation() -> None:
    @node(output_name="embedding")
    def encode_text(cleaned_text: str) -> list[int]:
        return [len(cleaned_text)]

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


def test_readme_testing_section(uncached: None, tmp_path: Path) -> None:
    @node(output_name="result")
    def my_function(input: str) -> str:
        return input.upper()

    pipeline = Pipeline(nodes=[my_function])
    assert pipeline.run(inputs={"input": "hello"})["result"] == "HELLO"
    engine = SeqEngine(cache=DiskCache(path=tmp_path))
    pipeline = Pipeline(nodes=[my_function], engine=engine)
    assert pipeline.run(inputs={"input": "hello"}) == pipeline.run(inputs={"input": "hello"})


def test_structure_pipeline_with_everything(uncached: None) -> None:
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
    assert isinstance(double, hypernodes.HyperNode)
    assert isinstance(Pipeline([double]).as_node(), hypernodes.HyperNode)


def test_structure_stateful_parameters() -> None:
    class Model:
        __daft_stateful__ = True

        def predict(self, text: str) -> str:
            return text.upper()

    @node(output_name="prediction", stateful_params=["model"])
    def predict(text: str, model: Model) -> str:
        return model.predict(text)

    assert Pipeline([predict]).map({"text": ["a"], "model": Model()}, map_over="text") == [{"prediction": "A"}]


def test_structure_nested_pipelines_and_mapping() -> None:
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


def test_structure_selective_outputs_and_multiple_outputs() -> None:
    @node(output_name=("mean", "std"))
    def stats(data: list) -> tuple:
        return sum(data) / len(data), 0.0

    @node(output_name="unneeded")
    def never(data: list) -> None:
        raise AssertionError("not asked for")

    result = Pipeline([stats, never]).run(inputs={"data": [1, 3]}, output_name=["mean", "std"])
    assert result == {"mean": 2.0, "std": 0.0}


def test_plan_zero_configuration() -> None:
    @node(output_name="result")
    def process(data: str) -> str:
        return data.upper()

    pipeline = Pipeline(nodes=[process])
    assert pipeline.run({"data": "hello"}) == {"result": "HELLO"}


def test_plan_fluent_caching_and_global_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pipeline = Pipeline(nodes=[double]).with_cache(DiskCache(".cache"))
    with pytest.warns(errors.CacheWarning):
        assert pipeline.run({"x": 1}) == {"doubled": 2}
    assert not os.listdir(tmp_path), "configuration opens nothing"
    set_default_config(engine=SeqEngine(), cache=DiskCache(".cache"), callbacks=[])
    try:
        with pytest.warns(errors.CacheWarning):
            assert Pipeline(nodes=[double]).run({"x": 1}) == {"doubled": 2}
    finally:
        reset_default_config()


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
    pool = ThreadPoolExecutor(1)
    with pytest.raises(errors.OptionError, match="Did you mean 'engine'"):
        Pipeline(nodes=[double], **{option: pool})


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


def test_engine_design_construction_happens_once() -> None:
    pipeline = Pipeline(nodes=[count_words, clean_text])
    graph = pipeline.graph
    pipeline.run({"passage": "a"})
    pipeline.map({"passage": ["a"]}, map_over="passage")
    assert pipeline.graph is graph
    assert graph.execution_order == (clean_text, count_words)
    assert graph.root_args == ("passage",)
    assert graph.available_output_names == ("cleaned_text", "word_count")
