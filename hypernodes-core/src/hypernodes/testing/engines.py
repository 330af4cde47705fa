"""What every engine must do, as tests that an engine's author inherits."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

from hypernodes import config
from hypernodes._failures import NodeFailure
from hypernodes.engines import Engine, EngineCapabilities, SeqEngine
from hypernodes.errors import CapabilityError, NodeTimeoutError, OptionError, TooManyFailuresError
from hypernodes.node import node
from hypernodes.pipeline import Pipeline
from hypernodes.testing import _family as family
from hypernodes.testing._events import Listener, ValueListener, problems
from hypernodes.testing._leftovers import abandoned, running, until

RUNAWAY = 20_000  # items taken from an endless source after which an engine is stopped


class EngineSuite:
    """Conformance tests for engines: inherit them unedited and say how an engine is made.

    Put this into a test module and run pytest::

        from hypernodes.testing import EngineSuite

        from acme.engine import AcmeEngine


        class TestAcmeEngine(EngineSuite):
            def make_engine(self):
                return AcmeEngine(workers=2)

    What is tested: results and statistics equal those of the sequential engine over a family of pipelines; every event
    comes exactly once, in legal order, on the thread that called the pipeline; a node's exception arrives as itself, with
    a note that names the node; results come in the order of the items; ``on_error="return"``, ``max_failures``, retries
    and timeouts; endless input with bounded memory; nothing is left running.

    ``engine.capabilities`` decides what is skipped: an engine whose workers do not share memory is not asked to change
    this process's objects, one of reach ``"cluster"`` is not asked to see this host's files, and one that manages no
    resources is not asked to refuse them.

    ``make_engine`` is called once for each test. Let it return a small engine (two workers), and share what is slow to
    start: an engine may take a running pool or client that belongs to its caller.
    """

    def make_engine(self) -> Engine:
        """Return the engine under test, made anew; the one method to write."""
        msg = f"{type(self).__name__} must define make_engine(self), which returns the engine under test"
        raise OptionError(msg)

    @pytest.fixture
    def engine(self) -> Engine:
        """The engine under test."""
        return self.make_engine()

    @pytest.fixture(autouse=True)
    def _own_settings(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        """Keep the settings of this machine's user out."""
        for name in config.SETTING_NAMES:
            monkeypatch.delenv(f"HYPERNODES_{name.upper()}", raising=False)
        config.reset_default_config()
        yield
        monkeypatch.undo()
        config.reset_default_config()

    # -- what it says about itself ------------------------------------------------------------------------------------

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
        case = _case("chain-mapped")
        for _ in range(2):
            again = cloudpickle.loads(cloudpickle.dumps(engine))
            assert (type(again).__qualname__, again.name) == (type(engine).__qualname__, engine.name)
            assert case.call(engine) == case.expected

    # -- results ------------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("case", family.CASES, ids=lambda case: case.name)
    def test_results(self, engine: Engine, case: family.Case) -> None:
        """Results and counts are those of the sequential engine."""
        reference = case.call(SeqEngine())
        assert reference == case.expected
        result = case.call(engine)
        assert result == case.expected
        assert type(result) is type(reference)
        assert result.ok == reference.ok
        assert _counts(result) == _counts(reference)
        assert result.inputs == reference.inputs or "generat" in case.name or "stateful" in case.name

    def test_inside_another_engine(self, engine: Engine) -> None:
        """A nested pipeline can have this engine, mapped or not, in a run and in a map."""
        nodes = [family.over(engine=engine), family.total_of]
        assert Pipeline(nodes, engine=SeqEngine()).run({"xs": [1, 2, 3]}) == {"values": [4, 6, 8], "sum": 18}
        several = Pipeline(nodes, engine=SeqEngine()).map({"xs": [[], [1], [2, 3]]}, map_over="xs")
        assert [row["sum"] for row in several] == [0, 4, 14]
        assert _counts(several) == {"inner/increase": (3, 0), "inner/double": (3, 0), "total_of": (3, 0)}
        once = Pipeline([family.inner(engine=engine), family.show], engine=SeqEngine())
        assert once.run({"x": 3}, output_name="shown") == {"shown": "<8>"}
        assert Pipeline([family.over(engine=engine)], engine=engine).run({"xs": [1]}) == {"values": [4]}

    def test_is_used_again_and_again(self, engine: Engine) -> None:
        """One engine serves many runs of many pipelines, also after a failure."""
        first, second = _case("chain-mapped"), _case("nested-deep")
        for _ in range(3):
            assert first.call(engine) == first.expected
            with pytest.raises(ValueError, match="refused"):
                Pipeline([family.check], engine=engine).map({"x": [1, 7]}, map_over="x")
            assert second.call(engine) == second.expected

    def test_is_used_by_two_threads_at_once(self, engine: Engine) -> None:
        """Two threads run different pipelines on one engine."""
        cases = [_case("chain-mapped"), _case("nested-map-in-a-map")]
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
                case, listener = _case(name), Listener()
                assert case.call(engine, callbacks=[listener]) == case.expected
                assert not problems(listener.events)
                assert {event.told for event in listener.events} == {(os.getpid(), threading.get_ident())}

        asyncio.run(main())

    def test_every_item_runs_once(self, engine: Engine, tmp_path: Path) -> None:
        """No item runs twice, and none is left out."""
        self._needs_files(engine)
        path = tmp_path / "marks"
        result = Pipeline([family.mark], engine=engine).map({"x": range(50), "path": str(path)}, map_over="x")
        assert [row["marked"] for row in result] == list(range(50))
        assert family.marks(path) == 50

    def test_only_what_is_needed_runs(self, engine: Engine, tmp_path: Path) -> None:
        """Nodes that the requested outputs do not need stay away."""
        self._needs_files(engine)
        path = str(tmp_path / "marks")
        pipeline = Pipeline([family.mark, family.beside], engine=engine)
        assert pipeline.map({"x": [1, 2], "path": path}, map_over="x", output_name="beside") == [{"beside": 1}, {"beside": 4}]
        assert family.marks(path) == 0

    def test_constants_are_shared(self, engine: Engine) -> None:
        """What is the same for all items is one object where memory is shared, and arrives once per process elsewhere."""
        constant = ["large"] * 1000
        rows = Pipeline([family.place], engine=engine).map({"x": range(40), "constant": constant}, map_over="x")
        places = {row["place"] for row in rows}
        if engine.capabilities.shares_memory:
            assert places == {(os.getpid(), id(constant))}
        else:
            assert len(places) == len({process for process, _ in places})

    def test_stateful_objects_are_built_once_per_process(self, engine: Engine) -> None:
        """A stateful object is built where it is used, and not again."""
        tokenizer = family.Tokenizer(int(time.time()) % 10**6)
        rows = Pipeline([family.birth], engine=engine).map({"x": range(40), "tokenizer": tokenizer}, map_over="x")
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

    # -- events -------------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("case", family.CASES, ids=lambda case: case.name)
    def test_events(self, engine: Engine, case: family.Case) -> None:
        """Each event comes once, in legal order, on the caller's thread; results are the same when somebody listens."""
        listener, reference = Listener(), Listener()
        assert case.call(engine, callbacks=[listener]) == case.expected
        case.call(SeqEngine(), callbacks=[reference])
        assert not problems(listener.events)
        assert listener.counted() == reference.counted()
        assert {event.told for event in listener.events} == {(os.getpid(), threading.get_ident())}
        assert listener.run is not None
        assert listener.run.engine == engine.name
        ends = [event for event in listener.events if event.kind == "run_end"]
        assert ends[0].said["result"] == case.expected

    def test_events_carry_values(self, engine: Engine) -> None:
        """A callback that wants values gets them, wherever the nodes ran."""
        listener = ValueListener()
        nodes = [family.increase, family.double, family.over()]
        Pipeline(nodes[:2], engine=engine, callbacks=[listener]).map({"x": range(9)}, map_over="x")
        told = {(event.id, event.items): (event.said["inputs"]) for event in listener.of("node_start")}
        assert told == {**{("increase", (i,)): {"x": i} for i in range(9)}, **{("double", (i,)): {"more": i + 1} for i in range(9)}}
        ends = {(event.id, event.items): event.said["outputs"] for event in listener.of("node_end", "pipeline_end")}
        assert ends["increase", (4,)] == {"more": 5}
        assert ends["pipeline", (8,)] == {"more": 9, "doubled": 18}

    def test_events_of_a_failing_run(self, engine: Engine) -> None:
        """A failing node gets ``on_error`` in place of its end, and everything that was opened is closed."""
        listener = Listener()
        with pytest.raises(ValueError, match="7 is refused") as caught:
            Pipeline([family.check, family.after], engine=engine, callbacks=[listener], name="p").run({"x": 7})
        assert not problems(listener.events)
        assert [event.key for event in listener.of("error", "node_end")] == [("error", "check", ())]
        assert type(listener.of("error")[0].said["error"]) is ValueError
        assert listener.events[-1].said["result"] is caught.value
        listener = Listener()
        with pytest.raises(ValueError, match="7 is refused"):
            Pipeline([family.check, family.after], engine=engine, callbacks=[listener]).map({"x": range(1, 30, 2)}, map_over="x")
        assert not problems(listener.events)
        assert listener.events[-2].kind == "map_end"
        assert listener.counted("error") <= Counter({("error", "check", (3,)): 1, ("error", "check", (10,)): 1})

    def test_events_of_returned_failures(self, engine: Engine) -> None:
        """With ``on_error="return"`` the other items and nodes are told as ever; what is skipped has no events."""
        listeners = [Listener(), Listener()]
        for listener, each in zip(listeners, (engine, SeqEngine()), strict=True):
            nodes = [family.check, family.after, family.beside]
            Pipeline(nodes, engine=each, callbacks=[listener]).map({"x": range(15)}, map_over="x", on_error="return")
            Pipeline([family.tolerant()], engine=each, callbacks=[listener]).run({"xs": [7, 1]})
        cut = [event.kind for event in listeners[0].events].index("run_end") + 1
        assert not problems(listeners[0].events[:cut])
        assert not problems(listeners[0].events[cut:])
        assert listeners[0].counted() == listeners[1].counted()

    def test_events_inside_another_engine(self, engine: Engine) -> None:
        """Events of a nested pipeline that has this engine join those of the run around it."""
        listeners = [Listener(), Listener()]
        for listener, each in zip(listeners, (engine, SeqEngine()), strict=True):
            nodes = [family.over(engine=each), family.inner(engine=each), family.total_of]
            outer = Pipeline(nodes, engine=SeqEngine(), callbacks=[listener], name="outer")
            outer.map({"xs": [[1, 2], []], "x": 1}, map_over="xs")
            assert not problems(listener.events)
        assert listeners[0].counted() == listeners[1].counted()

    # -- errors -------------------------------------------------------------------------------------------------------

    def test_the_original_exception_with_the_node_named(self, engine: Engine) -> None:
        """What a node raises arrives as itself, with a note that says where."""
        with pytest.raises(ValueError, match="7 is refused") as caught:
            Pipeline([family.check, family.after], engine=engine, name="shop").run({"x": 7})
        assert (type(caught.value), str(caught.value)) == (ValueError, "7 is refused")
        assert _notes(caught.value).count("in node 'check' of pipeline 'shop'") == 1
        with pytest.raises(ValueError, match="14 is refused") as caught:
            Pipeline([family.check], engine=engine, name="shop").map({"x": range(8, 20)}, map_over="x")
        assert "in node 'check' of pipeline 'shop', item 6" in _notes(caught.value)

    def test_exceptions_that_travel_badly(self, engine: Engine) -> None:
        """An exception whose constructor wants other arguments comes back whole."""
        listener = Listener()
        for callbacks in ([], [listener]):
            pipeline = Pipeline([family.fail_oddly], engine=engine, callbacks=callbacks)
            with pytest.raises(family.OddError, match="no such thing") as caught:
                pipeline.run({"x": 5})
            assert (caught.value.code, caught.value.reason) == (5, "no such thing")
            assert "in node 'fail_oddly'" in _notes(caught.value)
            failure = pipeline.map({"x": [5]}, map_over="x", on_error="return")[0]["odd"]
            assert type(failure.error) is family.OddError
        assert [type(event.said["error"]) for event in listener.of("error")] == [family.OddError] * 2

    def test_exceptions_inside_nested_pipelines(self, engine: Engine) -> None:
        """The note of a nested node names the whole path and all items around it."""
        for nested in (Pipeline([family.check], name="inner"), Pipeline([family.check], name="inner", engine=engine)):
            mapped = nested.as_node(input_mapping={"xs": "x"}, map_over="xs")
            for on in (engine, SeqEngine()):
                with pytest.raises(ValueError, match="7 is refused") as caught:
                    Pipeline([mapped], engine=on, name="outer").map({"xs": [[1], [2, 7]]}, map_over="xs")
                assert "in node 'inner/check' of pipeline 'outer', item 1 / 1" in _notes(caught.value)

    def test_failures_returned(self, engine: Engine) -> None:
        """With ``on_error="return"`` everything that can be made is made, and failures say what they are."""
        nodes = [family.check, family.after, family.beside]
        results = [
            Pipeline(nodes, engine=each, name="p").map({"x": range(25)}, map_over="x", on_error="return", label="x")
            for each in (engine, SeqEngine())
        ]
        assert [_pictured(row) for row in results[0]] == [_pictured(row) for row in results[1]]
        assert [(failure.node, failure.item, failure.label) for failure in results[0].failures] == [
            ("check", i, str(i)) for i in (0, 7, 14, 21)
        ]
        assert not results[0].ok
        assert _counts(results[0]) == _counts(results[1])
        with pytest.raises(ValueError, match="14 is refused"):
            results[0].failures[2].reproduce()

    def test_too_many_failures(self, engine: Engine) -> None:
        """``max_failures`` is a limit: up to it a map goes on, past it it gives up and tells of all failures."""
        pipeline = Pipeline([family.check], engine=engine)
        result = pipeline.map({"x": range(1, 22)}, map_over="x", on_error="return", max_failures=3)
        assert [failure.item for failure in result.failures] == [6, 13, 20]
        with pytest.raises(TooManyFailuresError) as caught:
            pipeline.map({"x": range(1, 22)}, map_over="x", on_error="return", max_failures=1)
        assert len(caught.value.failures) >= 2
        assert all(isinstance(failure, NodeFailure) for failure in caught.value.failures)

    def test_retries(self, engine: Engine, tmp_path: Path) -> None:
        """A failed call is tried again as often as allowed; every try is told once."""
        self._needs_files(engine)
        listener = Listener()
        pipeline = Pipeline([family.flaky], engine=engine, callbacks=[listener])
        result = pipeline.map({"x": [1, 2], "path": str(tmp_path / "good"), "failures": 2}, map_over="x")
        assert result == [{"steady": 1}, {"steady": 2}]
        assert [family.marks(tmp_path / f"good-{x}") for x in (1, 2)] == [3, 3]
        assert not problems(listener.events)
        for item in (0, 1):
            assert [event.attempt for event in listener.of("node_start") if event.items == (item,)] == [1, 2, 3]
            assert [event.attempt for event in listener.of("node_end") if event.items == (item,)] == [3]
        with pytest.raises(ConnectionError, match="not yet") as caught:
            pipeline.run({"x": 1, "path": str(tmp_path / "bad"), "failures": 99})
        assert family.marks(tmp_path / "bad-1") == 4
        assert "tried 4 times" in _notes(caught.value)
        with pytest.raises(LookupError, match="never"):
            Pipeline([family.choosy], engine=engine).run({"x": 1, "path": str(tmp_path / "choosy")})
        assert family.marks(tmp_path / "choosy-1") == 1

    @pytest.mark.parametrize("slow", [family.dawdle, family.dawdle_async], ids=["function", "coroutine"])
    def test_timeouts(self, engine: Engine, slow: Any) -> None:
        """A call that takes longer than its timeout fails, and nobody waits for it."""
        pipeline = Pipeline([slow], engine=engine)
        assert pipeline.run({"x": 0}) == {"late": 0}  # whatever starts with the first run is there now
        start = time.perf_counter()
        with pytest.raises(NodeTimeoutError, match="0.2 s"):
            pipeline.run({"x": 1})
        assert time.perf_counter() - start < 1.4
        result = pipeline.map({"x": [0, 1, 0]}, map_over="x", on_error="return")
        assert [type(failure.error) for failure in result.failures] == [NodeTimeoutError]
        assert [row["late"] for row in result][::2] == [0, 0]

    def test_few_at_a_time(self, engine: Engine, tmp_path: Path) -> None:
        """``max_concurrent`` holds over all blocks and nested maps of a run."""
        if not engine.capabilities.shares_memory:
            pytest.skip("its workers do not see each other's calls")
        path = tmp_path / "marks"
        Pipeline([family.crowd], engine=engine).map({"x": range(24), "path": str(path)}, map_over="x")
        assert path.read_bytes() == b"+-" * 24
        nested = Pipeline([family.crowd], name="inner").as_node(map_over="x")
        Pipeline([nested], engine=engine).map({"x": [range(3)] * 4, "path": str(path)}, map_over="x")
        assert path.read_bytes() == b"+-" * 36

    def test_resources_it_lacks_are_refused(self, engine: Engine, tmp_path: Path) -> None:
        """A node that asks for what there is not is refused before anything runs."""
        if engine.capabilities.resources is None:
            pytest.skip("it manages no resources")
        path = str(tmp_path / "marks")
        with pytest.raises(CapabilityError, match="demanding.*unobtainium") as caught:
            Pipeline([family.mark, family.demanding], engine=engine).run({"x": 1, "path": path})
        assert engine.name in str(caught.value)
        assert family.marks(path) == 0

    # -- streams ------------------------------------------------------------------------------------------------------

    def test_imap_equals_map(self, engine: Engine) -> None:
        """A stream gives what a map gives, in order unless that is waived."""
        pipeline = Pipeline([family.increase, family.double, family.show], engine=engine)
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
        stream = Pipeline([family.increase], engine=engine).imap({"x": source}, map_over="x", window=window)
        assert source.taken == 0
        for given, row in enumerate(itertools.islice(stream, 300)):
            assert row == {"more": given + 1}
            assert source.taken - given <= allowed
        stream.close()  # type: ignore[attr-defined]
        taken = source.taken
        time.sleep(0.05)
        assert source.taken == taken

    def test_imap_that_fails(self, engine: Engine) -> None:
        """The items before the failure come out, then the exception; with ``on_error="return"`` all come."""
        listener = Listener()
        pipeline = Pipeline([family.check], engine=engine, callbacks=[listener])
        rows: list[Any] = []
        with pytest.raises(ValueError, match="7 is refused"):
            rows.extend(iter_into(rows, pipeline.imap({"x": itertools.count(1)}, map_over="x", window=4)))
        assert rows == [{"checked": x} for x in range(1, len(rows) + 1)]
        assert 3 <= len(rows) <= 6
        assert not problems(listener.events)
        rows = list(pipeline.imap({"x": range(1, 10)}, map_over="x", on_error="return"))
        assert [type(row["checked"]).__name__ for row in rows] == ["int"] * 6 + ["NodeFailure"] + ["int"] * 2

    def test_imap_that_is_abandoned(self, engine: Engine) -> None:
        """Closing a stream ends its events as legally as finishing it."""
        listener = Listener()
        stream = Pipeline([family.inner(), family.show], engine=engine, callbacks=[listener]).imap(
            {"x": itertools.count()}, map_over="x", window=4
        )
        assert [row["shown"] for row in itertools.islice(stream, 5)] == [f"<{2 * x + 2}>" for x in range(5)]
        stream.close()  # type: ignore[attr-defined]
        assert not problems(listener.events)
        assert listener.counted("item_end").total() >= 5

    # -- afterwards ---------------------------------------------------------------------------------------------------

    def test_nothing_is_left_running(self, engine: Engine, tmp_path: Path) -> None:
        """When a call is over, however it ended, its threads and processes are gone and no node runs any more."""
        self._needs_files(engine)
        path = tmp_path / "marks"
        endings: list[Callable[[Pipeline], None]] = [_finish, _fail, _abandon]
        _finish(Pipeline([family.mark_slowly, family.check], engine=engine).bind(path=str(path)))  # an engine may keep what it starts once
        until(lambda: not abandoned(), abandoned)  # nodes of earlier tests that timed out
        before = running()
        for end in endings:
            end(Pipeline([family.mark_slowly, family.check], engine=engine).bind(path=str(path)))
            marks = family.marks(path)
            time.sleep(0.2)
            assert family.marks(path) == marks, f"nodes ran after {end.__name__}"
            until(lambda: running() <= before, lambda end=end: (end.__name__, running() - before))  # type: ignore[misc]

    def _needs_files(self, engine: Engine) -> None:
        if engine.capabilities.reach == "cluster":
            pytest.skip("its workers may not see files of this host")


class _Endless:
    """Counts without end, and how many were taken; stops an engine that reads ahead without bound."""

    def __init__(self) -> None:
        self.taken = 0

    def __iter__(self) -> Iterator[int]:
        for value in itertools.count():
            assert value < RUNAWAY, f"{RUNAWAY:,} items were taken ahead from an endless source"
            self.taken += 1
            yield value


def iter_into(kept: list[Any], rows: Iterator[Any]) -> Iterator[Any]:
    """Move what comes into a list, so that it is there when the iterator raises."""
    for row in rows:
        kept.append(row)
    return iter(())


def _case(name: str) -> family.Case:
    return next(case for case in family.CASES if case.name == name)


def _counts(result: Any) -> dict[str, tuple[int, int]]:
    return {name: (entry.ran, entry.failed) for name, entry in result.stats.items()}


def _notes(error: BaseException) -> str:
    return "\n".join(getattr(error, "__notes__", ()))


def _pictured(row: dict[str, Any]) -> dict[str, Any]:
    return {
        name: (value.node, value.item_path, value.inputs, type(value.error), str(value.error), value.attempts, value.label)
        if isinstance(value, NodeFailure)
        else value
        for name, value in row.items()
    }


def _finish(pipeline: Pipeline) -> None:
    assert len(pipeline.map({"x": range(1, 7)}, map_over="x")) == 6


def _fail(pipeline: Pipeline) -> None:
    with pytest.raises(ValueError, match="refused"):
        pipeline.map({"x": [7, *range(1, 7)]}, map_over="x")


def _abandon(pipeline: Pipeline) -> None:
    with contextlib.closing(pipeline.imap({"x": range(1, 7)}, map_over="x")) as stream:  # type: ignore[type-var]
        next(stream)
