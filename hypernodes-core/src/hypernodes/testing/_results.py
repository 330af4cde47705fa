"""Tests of engines: what comes out."""

from __future__ import annotations

import asyncio
import itertools
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

from hypernodes import config
from hypernodes.engines import Engine, EngineCapabilities, SeqEngine
from hypernodes.node import node
from hypernodes.pipeline import Pipeline
from hypernodes.testing import _family as family
from hypernodes.testing import _nodes as nodes
from hypernodes.testing._events import Listener, problems
from hypernodes.testing._suite import EngineTests, case_of, counts

RUNAWAY = 20_000  # items taken from an endless source after which an engine is stopped


class ResultTests(EngineTests):
    """Results are those of the sequential engine."""

    def test_describes_itself(self, engine: Engine) -> None:
        """It has a name and capabilities that make sense, and can be given to a pipeline."""
        assert isinstance(engine.name, str)
        assert engine.name
        capabilities = engine.capabilities
        assert isinstance(capabilities, EngineCapabilities)
        assert capabilities.workers >= 1
        assert capabilities.reach in ("process", "host", "cluster")
        assert capabilities.task_overhead_s >= 0
        assert not (capabilities.reach == "cluster" and capabilities.shares_memory)
        assert config.make_engine(engine) is engine
        assert type(engine).__name__ in repr(engine)

    def test_travels_and_still_works(self, engine: Engine) -> None:
        """An engine is a description: it can be pickled, used or not."""
        case = case_of("chain-mapped")
        for _ in range(2):
            again = cloudpickle.loads(cloudpickle.dumps(engine))
            assert (type(again).__qualname__, again.name) == (type(engine).__qualname__, engine.name)
            assert case.call(engine) == case.expected

    @pytest.mark.parametrize("case", family.CASES, ids=lambda case: case.name)
    def test_results(self, engine: Engine, case: family.Case) -> None:
        """Results and counts are those of the sequential engine."""
        reference = case.call(SeqEngine())
        assert reference == case.expected
        result = case.call(engine)
        assert result == case.expected
        assert type(result) is type(reference)
        assert result.ok == reference.ok
        assert counts(result) == counts(reference)
        assert result.inputs == reference.inputs or "generat" in case.name or "stateful" in case.name

    def test_inside_another_engine(self, engine: Engine) -> None:
        """A nested pipeline can have this engine, mapped or not, in a run and in a map."""
        members = [family.over(engine=engine), nodes.total_of]
        assert Pipeline(members, engine=SeqEngine()).run({"xs": [1, 2, 3]}) == {"values": [4, 6, 8], "sum": 18}
        several = Pipeline(members, engine=SeqEngine()).map({"xs": [[], [1], [2, 3]]}, map_over="xs")
        assert [row["sum"] for row in several] == [0, 4, 14]
        assert counts(several) == {"inner/increase": (3, 0), "inner/double": (3, 0), "total_of": (3, 0)}
        once = Pipeline([family.inner(engine=engine), nodes.show], engine=SeqEngine())
        assert once.run({"x": 3}, output_name="shown") == {"shown": "<8>"}
        assert Pipeline([family.over(engine=engine)], engine=engine).run({"xs": [1]}) == {"values": [4]}

    def test_is_used_again_and_again(self, engine: Engine) -> None:
        """One engine serves many runs of many pipelines, also after a failure."""
        first, second = case_of("chain-mapped"), case_of("nested-deep")
        for _ in range(3):
            assert first.call(engine) == first.expected
            with pytest.raises(ValueError, match="refused"):
                Pipeline([nodes.check], engine=engine).map({"x": [1, 7]}, map_over="x")
            assert second.call(engine) == second.expected

    def test_is_used_by_two_threads_at_once(self, engine: Engine) -> None:
        """Two threads run different pipelines on one engine."""
        cases = [case_of("chain-mapped"), case_of("nested-map-in-a-map")]
        wrong: list[Any] = []

        def use(case: family.Case) -> None:
            for _ in range(3):
                listener = Listener()
                result = case.call(engine, callbacks=[listener])
                if result != case.expected or problems(listener.events):
                    wrong.append((case.name, result, problems(listener.events)))

        threads = [threading.Thread(target=use, args=(case,)) for case in cases]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong

    def test_works_where_an_event_loop_runs(self, engine: Engine) -> None:
        """A pipeline can be called from a coroutine, as notebooks do."""

        async def main() -> None:
            for name in ("chain-mapped", "coroutine-mapped", "coroutine-nested"):
                case, listener = case_of(name), Listener()
                assert case.call(engine, callbacks=[listener]) == case.expected
                assert not problems(listener.events)
                assert {event.told for event in listener.events} == {(os.getpid(), threading.get_ident())}

        asyncio.run(main())

    def test_every_item_runs_once(self, engine: Engine, tmp_path: Path) -> None:
        """No item runs twice, and none is left out."""
        self.needs_files(engine)
        path = tmp_path / "marks"
        result = Pipeline([nodes.mark], engine=engine).map({"x": range(50), "path": str(path)}, map_over="x")
        assert [row["marked"] for row in result] == list(range(50))
        assert nodes.marks(path) == 50

    def test_only_what_is_needed_runs(self, engine: Engine, tmp_path: Path) -> None:
        """Nodes that the requested outputs do not need stay away."""
        self.needs_files(engine)
        path = str(tmp_path / "marks")
        pipeline = Pipeline([nodes.mark, nodes.beside], engine=engine)
        assert pipeline.map({"x": [1, 2], "path": path}, map_over="x", output_name="beside") == [{"beside": 1}, {"beside": 4}]
        assert nodes.marks(path) == 0

    def test_constants_are_shared(self, engine: Engine) -> None:
        """What is the same for all items is one object where memory is shared, and arrives once per process elsewhere."""
        constant = ["large"] * 1000
        rows = Pipeline([nodes.place], engine=engine).map({"x": range(40), "constant": constant}, map_over="x")
        places = {row["place"] for row in rows}
        if engine.capabilities.shares_memory:
            assert places == {(os.getpid(), id(constant))}
        else:
            assert len(places) == len({process for process, _ in places})

    def test_stateful_objects_are_built_once_per_process(self, engine: Engine) -> None:
        """A stateful object is built where it is used, and not again."""
        tokenizer = nodes.Tokenizer(int(time.time()) % 10**6)
        rows = Pipeline([nodes.birth], engine=engine).map({"x": range(40), "tokenizer": tokenizer}, map_over="x")
        births = {row["born"] for row in rows}
        assert len(births) == len({process for process, _ in births})
        if engine.capabilities.shares_memory:
            assert births == {tokenizer.born}

    def test_functions_may_change_this_process(self, engine: Engine) -> None:
        """Where memory is shared, a closure reaches the caller's objects."""
        if engine.capabilities.reach != "process" or not engine.capabilities.shares_memory:
            pytest.skip("its workers do not share this process's memory")
        seen: list[int] = []

        @node(output_name="y")
        def note(x: int) -> int:
            seen.append(x)
            return x

        Pipeline([note], engine=engine).map({"x": range(20)}, map_over="x")
        assert sorted(seen) == list(range(20))

    def test_imap_equals_map(self, engine: Engine) -> None:
        """A stream gives what a map gives, in order unless that is waived."""
        pipeline = Pipeline([nodes.increase, nodes.double, nodes.show], engine=engine)
        expected = pipeline.map({"x": range(200)}, map_over="x")
        assert list(pipeline.imap({"x": range(200)}, map_over="x")) == expected
        assert list(pipeline.imap({"x": iter(range(200))}, map_over="x", window=7)) == expected
        rows = list(pipeline.imap({"x": range(200)}, map_over="x", ordered=False))
        assert sorted(rows, key=lambda row: row["more"]) == expected
        assert list(pipeline.imap({"x": []}, map_over="x")) == []

    @pytest.mark.parametrize("window", [None, 1, 3, 10])
    def test_imap_over_endless_input_is_bounded(self, engine: Engine, window: int | None) -> None:
        """No more items are in flight than the window allows, however many there are; nothing is read before it is asked for."""
        source = _Endless()
        allowed = window if window is not None else 64 * (2 * engine.capabilities.workers + 2)
        stream = Pipeline([nodes.increase], engine=engine).imap({"x": source}, map_over="x", window=window)
        assert source.taken == 0
        for given, row in enumerate(itertools.islice(stream, 300)):
            assert row == {"more": given + 1}
            assert source.taken - given <= allowed
        stream.close()  # type: ignore[attr-defined]
        taken = source.taken
        time.sleep(0.05)
        assert source.taken == taken


class _Endless:
    """Counts without end, and how many were taken; stops an engine that reads ahead without bound."""

    def __init__(self) -> None:
        self.taken = 0

    def __iter__(self) -> Iterator[int]:
        for value in itertools.count():
            assert value < RUNAWAY, f"{RUNAWAY:,} items were taken ahead from an endless source"
            self.taken += 1
            yield value
