"""Tests of engines: what is told, and what is raised."""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hypernodes._failures import NodeFailure
from hypernodes.engines import Engine, SeqEngine
from hypernodes.errors import CapabilityError, NodeTimeoutError, RunEndedError, TooManyFailuresError
from hypernodes.pipeline import Pipeline
from hypernodes.testing import _family as family
from hypernodes.testing import _nodes as nodes
from hypernodes.testing._events import Listener, ValueListener, problems
from hypernodes.testing._suite import EngineTests, counts, notes, pictured


class ReportTests(EngineTests):
    """Events and failures are those of the sequential engine."""

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
        members = [nodes.increase, nodes.double, family.over()]
        Pipeline(members[:2], engine=engine, callbacks=[listener]).map({"x": range(9)}, map_over="x")
        told = {(event.id, event.items): (event.said["inputs"]) for event in listener.of("node_start")}
        assert told == {**{("increase", (i,)): {"x": i} for i in range(9)}, **{("double", (i,)): {"more": i + 1} for i in range(9)}}
        ends = {(event.id, event.items): event.said["outputs"] for event in listener.of("node_end", "pipeline_end")}
        assert ends["increase", (4,)] == {"more": 5}
        assert ends["pipeline", (8,)] == {"more": 9, "doubled": 18}

    def test_events_of_a_failing_run(self, engine: Engine) -> None:
        """A failing node gets ``on_error`` in place of its end, and everything that was opened is closed."""
        listener = Listener()
        with pytest.raises(ValueError, match="7 is refused") as caught:
            Pipeline([nodes.check, nodes.after], engine=engine, callbacks=[listener], name="p").run({"x": 7})
        assert not problems(listener.events)
        assert [event.key for event in listener.of("error", "node_end")] == [("error", "check", ())]
        assert type(listener.of("error")[0].said["error"]) is ValueError
        assert listener.events[-1].said["result"] is caught.value
        listener = Listener()
        with pytest.raises(ValueError, match=r"(7|21) is refused"):
            Pipeline([nodes.check, nodes.after], engine=engine, callbacks=[listener]).map({"x": range(1, 30, 2)}, map_over="x")
        assert not problems(listener.events)
        assert listener.events[-2].kind == "map_end"
        errors = Counter(event.key for event in listener.of("error") if type(event.said["error"]) is not RunEndedError)
        assert errors <= Counter({("error", "check", (3,)): 1, ("error", "check", (10,)): 1})

    def test_events_of_returned_failures(self, engine: Engine) -> None:
        """With ``on_error="return"`` the other items and nodes are told as ever; what is skipped has no events."""
        listeners = [Listener(), Listener()]
        for listener, each in zip(listeners, (engine, SeqEngine()), strict=True):
            members = [nodes.check, nodes.after, nodes.beside]
            Pipeline(members, engine=each, callbacks=[listener]).map({"x": range(15)}, map_over="x", on_error="return")
            Pipeline([family.tolerant()], engine=each, callbacks=[listener]).run({"xs": [7, 1]})
        cut = [event.kind for event in listeners[0].events].index("run_end") + 1
        assert not problems(listeners[0].events[:cut])
        assert not problems(listeners[0].events[cut:])
        assert listeners[0].counted() == listeners[1].counted()

    def test_events_inside_another_engine(self, engine: Engine) -> None:
        """Events of a nested pipeline that has this engine join those of the run around it."""
        listeners = [Listener(), Listener()]
        for listener, each in zip(listeners, (engine, SeqEngine()), strict=True):
            members = [family.over(engine=each), family.inner(engine=each), nodes.total_of]
            outer = Pipeline(members, engine=SeqEngine(), callbacks=[listener], name="outer")
            outer.map({"xs": [[1, 2], []], "x": 1}, map_over="xs")
            assert not problems(listener.events)
        assert listeners[0].counted() == listeners[1].counted()

    def test_the_original_exception_with_the_node_named(self, engine: Engine) -> None:
        """What a node raises arrives as itself, with a note that says where."""
        with pytest.raises(ValueError, match="7 is refused") as caught:
            Pipeline([nodes.check, nodes.after], engine=engine, name="shop").run({"x": 7})
        assert (type(caught.value), str(caught.value)) == (ValueError, "7 is refused")
        assert notes(caught.value).count("in node 'check' of pipeline 'shop'") == 1
        with pytest.raises(ValueError, match="14 is refused") as caught:
            Pipeline([nodes.check], engine=engine, name="shop").map({"x": range(8, 20)}, map_over="x")
        assert "in node 'check' of pipeline 'shop', item 6" in notes(caught.value)

    def test_exceptions_that_travel_badly(self, engine: Engine) -> None:
        """An exception whose constructor wants other arguments comes back whole."""
        listener = Listener()
        for callbacks in ([], [listener]):
            pipeline = Pipeline([nodes.fail_oddly], engine=engine, callbacks=callbacks)
            with pytest.raises(nodes.OddError, match="no such thing") as caught:
                pipeline.run({"x": 5})
            assert (caught.value.code, caught.value.reason) == (5, "no such thing")
            assert "in node 'fail_oddly'" in notes(caught.value)
            failure = pipeline.map({"x": [5]}, map_over="x", on_error="return")[0]["odd"]
            assert type(failure.error) is nodes.OddError
        assert [type(event.said["error"]) for event in listener.of("error")] == [nodes.OddError] * 2

    def test_exceptions_inside_nested_pipelines(self, engine: Engine) -> None:
        """The note of a nested node names the whole path and all items around it."""
        for nested in (Pipeline([nodes.check], name="inner"), Pipeline([nodes.check], name="inner", engine=engine)):
            mapped = nested.as_node(input_mapping={"xs": "x"}, map_over="xs")
            for on in (engine, SeqEngine()):
                with pytest.raises(ValueError, match="7 is refused") as caught:
                    Pipeline([mapped], engine=on, name="outer").map({"xs": [[1], [2, 7]]}, map_over="xs")
                assert "in node 'inner/check' of pipeline 'outer', item 1 / 1" in notes(caught.value)

    def test_failures_returned(self, engine: Engine) -> None:
        """With ``on_error="return"`` everything that can be made is made, and failures say what they are."""
        members = [nodes.check, nodes.after, nodes.beside]
        results = [
            Pipeline(members, engine=each, name="p").map({"x": range(25)}, map_over="x", on_error="return", label="x")
            for each in (engine, SeqEngine())
        ]
        assert [pictured(row) for row in results[0]] == [pictured(row) for row in results[1]]
        assert [(failure.node, failure.item, failure.label) for failure in results[0].failures] == [
            ("check", i, str(i)) for i in (0, 7, 14, 21)
        ]
        assert not results[0].ok
        assert counts(results[0]) == counts(results[1])
        with pytest.raises(ValueError, match="14 is refused"):
            results[0].failures[2].reproduce()

    def test_too_many_failures(self, engine: Engine) -> None:
        """``max_failures`` is a limit: up to it a map goes on, past it it gives up and tells of all failures."""
        pipeline = Pipeline([nodes.check], engine=engine)
        result = pipeline.map({"x": range(1, 22)}, map_over="x", on_error="return", max_failures=3)
        assert [failure.item for failure in result.failures] == [6, 13, 20]
        with pytest.raises(TooManyFailuresError) as caught:
            pipeline.map({"x": range(1, 22)}, map_over="x", on_error="return", max_failures=1)
        assert len(caught.value.failures) >= 2
        assert all(isinstance(failure, NodeFailure) for failure in caught.value.failures)

    def test_retries(self, engine: Engine, tmp_path: Path) -> None:
        """A failed call is tried again as often as allowed; every try is told once."""
        self.needs_files(engine)
        listener = Listener()
        pipeline = Pipeline([nodes.flaky], engine=engine, callbacks=[listener])
        result = pipeline.map({"x": [1, 2], "path": str(tmp_path / "good"), "failures": 2}, map_over="x")
        assert result == [{"steady": 1}, {"steady": 2}]
        assert [nodes.marks(tmp_path / f"good-{x}") for x in (1, 2)] == [3, 3]
        assert not problems(listener.events)
        for item in (0, 1):
            assert [event.attempt for event in listener.of("node_start") if event.items == (item,)] == [1, 2, 3]
            assert [event.attempt for event in listener.of("node_end") if event.items == (item,)] == [3]
        with pytest.raises(ConnectionError, match="not yet") as caught:
            pipeline.run({"x": 1, "path": str(tmp_path / "bad"), "failures": 99})
        assert nodes.marks(tmp_path / "bad-1") == 4
        assert "tried 4 times" in notes(caught.value)
        with pytest.raises(LookupError, match="never"):
            Pipeline([nodes.choosy], engine=engine).run({"x": 1, "path": str(tmp_path / "choosy")})
        assert nodes.marks(tmp_path / "choosy-1") == 1

    @pytest.mark.parametrize("slow", [nodes.dawdle, nodes.dawdle_async], ids=["function", "coroutine"])
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
        Pipeline([nodes.crowd], engine=engine).map({"x": range(24), "path": str(path)}, map_over="x")
        assert path.read_bytes() == b"+-" * 24
        nested = Pipeline([nodes.crowd], name="inner").as_node(map_over="x")
        Pipeline([nested], engine=engine).map({"x": [range(3)] * 4, "path": str(path)}, map_over="x")
        assert path.read_bytes() == b"+-" * 36

    def test_resources_it_lacks_are_refused(self, engine: Engine, tmp_path: Path) -> None:
        """A node that asks for what there is not is refused before anything runs."""
        if engine.capabilities.resources is None:
            pytest.skip("it manages no resources")
        path = str(tmp_path / "marks")
        with pytest.raises(CapabilityError, match="demanding.*unobtainium") as caught:
            Pipeline([nodes.mark, nodes.demanding], engine=engine).run({"x": 1, "path": path})
        assert engine.name in str(caught.value)
        assert nodes.marks(path) == 0

    def test_imap_that_fails(self, engine: Engine) -> None:
        """The items before the failure come out, then the exception; with ``on_error="return"`` all come."""
        listener = Listener()
        pipeline = Pipeline([nodes.check], engine=engine, callbacks=[listener])
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
        stream = Pipeline([family.inner(), nodes.show], engine=engine, callbacks=[listener]).imap(
            {"x": itertools.count()}, map_over="x", window=4
        )
        assert [row["shown"] for row in itertools.islice(stream, 5)] == [f"<{2 * x + 2}>" for x in range(5)]
        stream.close()  # type: ignore[attr-defined]
        assert not problems(listener.events)
        assert listener.counted("item_end").total() >= 5


def iter_into(kept: list[Any], rows: Iterator[Any]) -> Iterator[Any]:
    """Move what comes into a list, so that it is there when the iterator raises."""
    for row in rows:
        kept.append(row)
    return iter(())
