"""Random pipelines: every driver does what a straightforward interpreter of the same graph does."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from graph_properties import map_as_the_graph_says, raise_as_the_graph_says, run_as_the_graph_says
from hypernodes import Engine, SeqEngine
from hypernodes._drive import adrive, drive, drive_pool, perform
from hypernodes.testing._engines import PackedEngine
from hypothesis import given
from hypothesis import strategies as st
from random_graphs import EXAMPLES, Driven, Graph, Maker, graphs


@pytest.fixture(scope="module")
def drivers() -> Iterator[list[Engine]]:
    """All ways of running a block."""
    with ThreadPoolExecutor(4) as pool:
        yield [
            SeqEngine(),  # generated code, where nobody listens
            Driven("straight", drive),
            Driven("machine", lambda block: drive(block, lambda call: perform(call))),  # never the shortcut
            Driven("pool", lambda block: drive_pool(block, pool, 3)),
            Driven("coroutines", lambda block: asyncio.run(adrive(block, 3))),
            PackedEngine(),
        ]


# -- properties -----------------------------------------------------------------------------------------------------


@EXAMPLES
@given(graphs(failing=False), st.booleans())
def test_a_run_is_what_the_graph_says(drivers: list[Engine], graph: tuple[Graph, Maker], listens: bool) -> None:
    run_as_the_graph_says(drivers, graph, listens)


@EXAMPLES
@given(graphs(failing=True), st.booleans(), st.booleans())
def test_a_map_makes_all_that_can_be_made(drivers: list[Engine], graph: tuple[Graph, Maker], listens: bool, lazy: bool) -> None:
    map_as_the_graph_says(drivers, graph, listens, lazy)


@EXAMPLES
@given(graphs(failing=True), st.booleans())
def test_a_map_that_raises_names_who_is_to_blame(drivers: list[Engine], graph: tuple[Graph, Maker], listens: bool) -> None:
    raise_as_the_graph_says(drivers, graph, listens)
