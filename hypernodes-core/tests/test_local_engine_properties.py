"""Random pipelines on ``HyperNodesEngine``: results, events and what the cache has are those of the sequential engine.

Some of the pairs of executors take part in every run of the tests, all of them with ``HYPERNODES_ENGINES=all``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from graph_properties import map_as_the_graph_says, raise_as_the_graph_says, run_as_the_graph_says
from hypernodes import DiskCache, Engine, HyperNodesEngine, MemoryCache, NodeFailure, SeqEngine
from hypernodes.cache.opened import open_cache
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from random_graphs import EXAMPLES, Graph, Maker, build, graphs, many, mapped_call, other_than, some_outputs

ALIASES = ("sequential", "async", "threaded", "parallel")
EVERY = os.environ.get("HYPERNODES_ENGINES") == "all"
PAIRS = [(nodes, maps) for nodes in ALIASES for maps in ALIASES if (nodes, maps) != ("sequential", "sequential")]
if not EVERY:
    PAIRS = [("threaded", "threaded"), ("async", "async"), ("sequential", "parallel"), ("parallel", "threaded")]
SOME = settings(EXAMPLES, max_examples=many(120 if EVERY else 20), phases=[Phase.generate])  # to shrink takes too long with processes


@pytest.fixture(scope="module")
def drivers() -> Iterator[list[Engine]]:
    """The sequential engine first, then those that may run nested pipelines of others, then the rest."""
    engines = [HyperNodesEngine(nodes, maps, max_workers=2) for nodes, maps in PAIRS]
    for engine in engines:
        engine.name = f"{engine.nodes!r}/{engine.maps!r}"
    yield [SeqEngine(), SeqEngine(), HyperNodesEngine(map_executor="threaded", max_workers=2), SeqEngine(), *engines]
    for engine in engines:
        engine.close()


@SOME
@given(graphs(failing=False), st.booleans())
def test_runs(drivers: list[Engine], graph: tuple[Graph, Maker], listens: bool) -> None:
    run_as_the_graph_says(drivers, graph, listens)


@SOME
@given(graphs(failing=True), st.booleans(), st.booleans())
def test_maps(drivers: list[Engine], graph: tuple[Graph, Maker], listens: bool, lazy: bool) -> None:
    map_as_the_graph_says(drivers, graph, listens, lazy)


@SOME
@given(graphs(failing=True), st.booleans())
def test_maps_that_raise(drivers: list[Engine], graph: tuple[Graph, Maker], listens: bool) -> None:
    raise_as_the_graph_says(drivers, graph, listens)


def keys(setting: Any) -> set[bytes]:
    """Return the names of all that a cache has; who else it answers to depends on what was known first."""
    cache = open_cache(setting)
    cache.flush()
    cache.catch_up()  # with what workers wrote
    return {entry.keys[0] for pipeline, name in cache.nodes() for entry in cache.of_node(pipeline, name)}


def comparable(value: Any) -> Any:
    """Return a value with what a failure says in place of the failure."""
    if isinstance(value, NodeFailure):
        return (value.node, value.item_path, str(value.error))
    if isinstance(value, dict):
        return {name: comparable(each) for name, each in value.items()}
    return [comparable(each) for each in value] if isinstance(value, list) else value


@SOME
@given(graphs(failing=False), st.booleans())  # where something fails, what was made besides is a matter of chance
def test_what_the_cache_has(drivers: list[Engine], graph: tuple[Graph, Maker], disk: bool) -> None:
    """One engine finds everything that another has kept, under the same names."""
    spec, maker = graph
    inputs, over, mode, _ = mapped_call(maker, spec)
    wanted = some_outputs(maker, spec)
    with TemporaryDirectory() as folder:
        kept: dict[str, tuple[set[bytes], dict[str, int]]] = {}
        for engine in [drivers[0], *drivers[4:]]:
            cache: Any = DiskCache(Path(folder, str(len(kept)))) if disk else MemoryCache()

            def call(by: Engine, cache: Any = cache, engine: Engine = engine) -> Any:
                pipeline = build(spec, by, other_than(engine, drivers), [], cache=cache)
                return pipeline.map(inputs, map_over=over, map_mode=mode, output_name=wanted, on_error="return")

            first, found = call(engine), keys(cache)
            for by in (drivers[0], engine):
                again = call(by)
                expected, found_again = comparable(list(first)), comparable(list(again))
                unlike = [pair for pair in zip(expected, found_again, strict=True) if pair[0] != pair[1]]
                assert not unlike, (engine.name, by.name)
                kept[f"{engine.name}, then {by.name}"] = found, {name: stats.ran for name, stats in again.stats.items()}
        reference = next(iter(kept.values()))  # what runs again holds failures, which are not kept
        for name, what in kept.items():
            assert what == reference, name
