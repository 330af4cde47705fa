"""What every way of running a random graph must do: what a straightforward interpreter of the same graph does."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypernodes import Engine
from hypernodes.testing._events import Listener
from random_graphs import (
    MISSING,
    Broken,
    Graph,
    Interpreter,
    Maker,
    Notes,
    build,
    check_calls,
    check_events,
    inputs_of,
    mapped_call,
    other_than,
    same,
    some_outputs,
)


def run_as_the_graph_says(drivers: list[Engine], graph: tuple[Graph, Maker], listens: bool) -> None:
    """Run a graph on each engine."""
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


def map_as_the_graph_says(drivers: list[Engine], graph: tuple[Graph, Maker], listens: bool, lazy: bool) -> None:
    """Map a graph on each engine; failures are returned."""
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


def raise_as_the_graph_says(drivers: list[Engine], graph: tuple[Graph, Maker], listens: bool) -> None:
    """Map a graph on each engine; failures are raised."""
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
