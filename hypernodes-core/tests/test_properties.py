"""Random pipelines: every driver does what a straightforward interpreter of the same graph does."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypernodes import Engine, SeqEngine
from hypernodes._drive import adrive, drive, drive_pool, perform
from hypernodes.testing._engines import PackedEngine
from hypernodes.testing._events import Listener
from hypothesis import given
from hypothesis import strategies as st
from random_graphs import (
    EXAMPLES,
    MISSING,
    Broken,
    Driven,
    Graph,
    Interpreter,
    Maker,
    Notes,
    build,
    check_calls,
    check_events,
    graphs,
    inputs_of,
    mapped_call,
    other_than,
    same,
    some_outputs,
)


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
    spec, maker = graph
    inputs, wanted = inputs_of(maker, spec), some_outputs(maker, spec)
    notes = Notes()
    expected = Interpreter(spec, lambda name: inputs.get(name, MISSING), notes).all(wanted)
    guilty = {each for value in expected.values() if isinstance(value, Broken) for each in value.guilty}
    for engine in drivers:
        log: list[Any] = []
        listener = Listener() if listens else None
        pipeline = build(spec, engine, other_than(engine, drivers), log, callbacks=[listener] if listener else [])
        if guilty:  # lists of unequal length, zipped
            with pytest.raises(ValueError):
                pipeline.run(inputs, wanted)
            continue
        result = pipeline.run(inputs, wanted)
        assert same(list(result.values()), list(expected.values())), engine.name
        assert list(result) == wanted
        check_calls(engine, log, notes, result)
        check_events(engine, listener)


@EXAMPLES
@given(graphs(failing=True), st.booleans(), st.booleans())
def test_a_map_makes_all_that_can_be_made(drivers: list[Engine], graph: tuple[Graph, Maker], listens: bool, lazy: bool) -> None:
    spec, maker = graph
    inputs, over, mode, items = mapped_call(maker, spec)
    wanted = some_outputs(maker, spec)
    notes = Notes()
    expected = [
        Interpreter(spec, lambda name, one=one: one.get(name, MISSING), notes, items=(k,)).all(wanted) for k, one in enumerate(items)
    ]
    for engine in drivers:
        log: list[Any] = []
        listener = Listener() if listens else None
        pipeline = build(spec, engine, other_than(engine, drivers), log, callbacks=[listener] if listener else [])
        given_ = {name: iter(value) if lazy and name in over else value for name, value in inputs.items()}
        result = pipeline.map(given_, map_over=over, map_mode=mode, output_name=wanted, on_error="return")
        assert same([list(row.values()) for row in result], [list(row.values()) for row in expected]), engine.name
        check_calls(engine, log, notes, result)
        check_events(engine, listener)


@EXAMPLES
@given(graphs(failing=True), st.booleans())
def test_a_map_that_raises_names_who_is_to_blame(drivers: list[Engine], graph: tuple[Graph, Maker], listens: bool) -> None:
    spec, maker = graph
    inputs, over, mode, items = mapped_call(maker, spec)
    wanted = some_outputs(maker, spec)
    notes = Notes()
    expected = [
        Interpreter(spec, lambda name, one=one: one.get(name, MISSING), notes, items=(k,)).all(wanted) for k, one in enumerate(items)
    ]
    guilty = {each for row in expected for value in row.values() if isinstance(value, Broken) for each in value.guilty}
    for engine in drivers:
        log: list[Any] = []
        listener = Listener() if listens else None
        pipeline = build(spec, engine, other_than(engine, drivers), log, callbacks=[listener] if listener else [])
        try:
            result = pipeline.map(inputs, map_over=over, map_mode=mode, output_name=wanted)
        except Exception as error:
            notes_ = "\n".join(getattr(error, "__notes__", ()))
            assert any(type(error).__name__ == kind and f"in node '{name}'" in notes_ for name, _, kind in guilty), (
                engine.name,
                notes_,
                guilty,
            )
            assert not Counter(call[0] for call in log).keys() - {call[0] for call in notes.calls}, engine.name
        else:
            assert not guilty, engine.name
            assert same([list(row.values()) for row in result], [list(row.values()) for row in expected]), engine.name
            check_calls(engine, log, notes, result)
        check_events(engine, listener)
