"""Who is told what, where and when; and what happens when a listener misbehaves."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import textwrap
import threading
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType
from typing import Any

import hypernodes
import pytest
from hypernodes import (
    Engine,
    EngineCapabilities,
    HyperNodesEngine,
    MemoryCache,
    Pipeline,
    PipelineCallback,
    SeqEngine,
    ValueSummary,
    events,
    hookimpl,
    node,
)
from hypernodes._calls import BlockResult
from hypernodes._drive import adrive, drive_pool
from hypernodes._resolve import prepare
from hypernodes.engines import EngineRun, Task
from hypernodes.errors import CallbackWarning, CapabilityError
from hypernodes.testing import isolated_plugins
from hypernodes.testing._engines import PackedEngine
from hypernodes.testing._events import Listener, ValueListener, problems

SOURCES = str(Path(hypernodes.__file__).parent.parent)


@node(output_name="y")
def inc(x):
    return x + 1


@node(output_name="z")
def double(y):
    return 2 * y


@node(output_name="checked")
def check(x: int) -> int:
    if x < 0:
        raise ValueError(f"{x} is negative")
    return x


class Driven(Engine):
    """Runs blocks with a driver of its own."""

    name = "driven"

    def __init__(self, driver: Any) -> None:
        super().__init__()
        self.driver = driver

    def execute(self, run: EngineRun, tasks: Iterator[Task]) -> Iterator[BlockResult]:
        for task in tasks:
            yield task(self.driver)


class OnThread(Engine):
    """Runs blocks in another thread of this process."""

    name = "thread"
    capabilities = EngineCapabilities(workers=1)

    def execute(self, run: EngineRun, tasks: Iterator[Task]) -> Iterator[BlockResult]:
        with ThreadPoolExecutor(1, thread_name_prefix="worker") as pool:
            for task in tasks:
                yield pool.submit(task).result()


def pool_driver(block: Any) -> BlockResult:
    with ThreadPoolExecutor(3) as pool:
        return drive_pool(block, pool, 3)


ENGINES = {
    "seq": SeqEngine(),
    "pool": Driven(pool_driver),
    "coroutines": Driven(lambda block: asyncio.run(adrive(block, 3))),
    "thread": OnThread(),
    "packed": PackedEngine(),
}
every_engine = pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)


# -- where in the hierarchy -----------------------------------------------------------------------------------------


def shop(**settings: Any) -> Pipeline:
    """Return a map in an inlined pipeline in a pipeline."""
    line = Pipeline([inc], name="line").as_node(input_mapping={"xs": "x"}, output_mapping={"y": "ys"}, map_over="xs")
    frame = Pipeline([line, node(output_name="n", name="count")(lambda ys: len(ys))], name="frame")
    return Pipeline([frame, node(output_name="m", name="last")(lambda n: n + 1)], name="shop", **settings)


@every_engine
def test_the_context_says_where_each_event_stands(engine: Engine) -> None:
    listener = Listener()
    shop(engine=engine, callbacks=[listener]).map({"xs": [[5], [6, 7]]}, map_over="xs")
    assert not problems(listener.events)
    table = {
        (event.kind, event.id, event.items, event.pipeline, event.parent, event.path, event.depth, event.node) for event in listener.events
    }
    s, f, li = "shop", "shop/frame", "shop/frame/line"
    expected: set[Any] = {
        ("run_start", "", (), s, None, (s,), 0, None),
        ("run_end", "", (), s, None, (s,), 0, None),
        ("map_start", s, (), s, None, (s,), 0, None),
        ("map_end", s, (), s, None, (s,), 0, None),
    }
    for item, inner in ((0, 1), (1, 2)):
        for edge in ("start", "end"):
            expected |= {
                (f"item_{edge}", s, (item,), s, None, (s,), 0, None),
                (f"pipeline_{edge}", s, (item,), s, None, (s,), 0, None),
                (f"nested_{edge}", f, (item,), f, s, (s, "frame"), 1, None),
                (f"nested_{edge}", li, (item,), li, f, (s, "frame", "line"), 2, None),
                (f"map_{edge}", li, (item,), li, f, (s, "frame", "line"), 2, None),
                (f"node_{edge}", "frame/count", (item,), f, s, (s, "frame", "count"), 1, "count"),
                (f"node_{edge}", "last", (item,), s, None, (s, "last"), 0, "last"),
            }
            for index in range(inner):
                expected |= {
                    (f"item_{edge}", li, (item, index), li, f, (s, "frame", "line"), 2, None),
                    (f"node_{edge}", "frame/line/inc", (item, index), li, f, (s, "frame", "line", "inc"), 2, "inc"),
                }
    assert table == expected
    assert len(listener.events) == len(expected)


def test_the_order_in_one_thread() -> None:
    listener = Listener()
    shop(callbacks=[listener]).run({"xs": [5]})
    assert [(event.kind, event.id, event.items) for event in listener.events] == [
        ("run_start", "", ()),
        ("pipeline_start", "shop", ()),
        ("nested_start", "shop/frame", ()),
        ("nested_start", "shop/frame/line", ()),
        ("map_start", "shop/frame/line", ()),
        ("item_start", "shop/frame/line", (0,)),
        ("node_start", "frame/line/inc", (0,)),
        ("node_end", "frame/line/inc", (0,)),
        ("item_end", "shop/frame/line", (0,)),
        ("map_end", "shop/frame/line", ()),
        ("nested_end", "shop/frame/line", ()),
        ("node_start", "frame/count", ()),
        ("node_end", "frame/count", ()),
        ("nested_end", "shop/frame", ()),
        ("node_start", "last", ()),
        ("node_end", "last", ()),
        ("pipeline_end", "shop", ()),
        ("run_end", "", ()),
    ]


@every_engine
def test_what_events_carry(engine: Engine) -> None:
    listener = ValueListener()
    optional = node(output_name="z", name="scale")(lambda y, k=3, b=7: y * k + b)
    pipeline = Pipeline([inc, optional], engine=engine, callbacks=[listener], name="p").bind(b=1)
    result = pipeline.map({"x": [1, 2]}, map_over="x", output_name="z")
    said = {(event.kind, event.id, event.items): event.said for event in listener.events}
    assert said["pipeline_start", "p", (0,)] == {"inputs": {"x": 1, "b": 1}}
    assert said["pipeline_end", "p", (1,)]["outputs"] == {"z": 10}
    assert said["node_start", "scale", (0,)] == {"inputs": {"y": 2, "k": 3, "b": 1}}
    assert said["node_end", "inc", (1,)]["outputs"] == {"y": 3}
    assert said["map_start", "p", ()] == {"total": 2}
    assert said["item_start", "p", (1,)] == {"index": 1}
    assert said["run_end", "", ()]["result"] is result
    assert all(event.said["duration"] >= 0 for event in listener.events if "duration" in event.said)
    run = listener.run
    assert run is not None
    assert (run.pipeline, run.kind, run.engine, run.total_items, run.outputs, run.run_id) == (
        "p",
        "map",
        engine.name,
        2,
        ("z",),
        result.run_id,
    )
    assert abs(run.started - time.time()) < 5


def test_values_are_read_only() -> None:
    kinds: list[type] = []

    class Look(PipelineCallback):
        def on_node_start(self, node_id: str, inputs: Any, ctx: Any) -> None:
            kinds.append(type(inputs))

        def on_node_end(self, node_id: str, outputs: Any, duration: float, ctx: Any) -> None:
            kinds.append(type(outputs))

        on_pipeline_start, on_pipeline_end = on_node_start, on_node_end

    Pipeline([inc], callbacks=[Look()]).run({"x": 1})
    assert set(kinds) == {MappingProxyType}
    assert len(kinds) == 4


def test_a_failed_item_has_the_outputs_that_were_made() -> None:
    listener = Listener()
    with pytest.raises(ValueError):
        Pipeline([inc, check], callbacks=[listener]).map({"x": [-1]}, map_over="x")
    assert [event.said["outputs"] for event in listener.of("pipeline_end")] == [{"y": 0}]
    listener = Listener()
    result = Pipeline([inc, check], callbacks=[listener]).map({"x": [-1]}, map_over="x", on_error="return")
    assert [event.said["outputs"] for event in listener.of("pipeline_end")] == [{"y": 0, "checked": result.failures[0]}]


def test_an_optional_input_that_comes_out_again() -> None:
    listener = Listener()
    inner = Pipeline([node(output_name="s", name="add")(lambda x, k=3: x + k)], name="inner")
    pipeline = Pipeline([inner.as_node(output_mapping={"s": "sum", "k": "used"})], callbacks=[listener])
    assert pipeline.run({"x": 1}) == {"sum": 4, "used": 3}
    assert listener.of("pipeline_end")[0].said["outputs"] == {"sum": 4, "used": 3}


@every_engine
def test_items_of_a_batch_are_told_one_by_one(engine: Engine) -> None:
    def batch(x: list[int]) -> list[int]:
        if 2 in x:
            raise ValueError
        return x

    listener = Listener()
    twin = hypernodes.DualNode("y", batch=batch, name="twin", retries=1)
    Pipeline([twin], engine=engine, callbacks=[listener]).map({"x": [0, 1, 2, 3]}, map_over="x", on_error="return")
    assert not problems(listener.events)
    ends = {event.items: (event.kind, event.attempt) for event in listener.of("node_end", "error")}
    assert ends.keys() == {(0,), (1,), (2,), (3,)}
    assert [items for items, (kind, _) in ends.items() if kind == "error"] == [(2,)]
    assert ends[2,] == ("error", 2)


def test_how_a_run_ended() -> None:
    listener = Listener()
    with pytest.raises(ValueError) as caught:
        Pipeline([check], callbacks=[listener]).run({"x": -1})
    assert listener.events[-1].said["result"] is caught.value
    stream = Pipeline([inc], callbacks=[listener := Listener()]).imap({"x": iter(range(9))}, map_over="x")
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert listener.events[-1].said["result"] is None  # abandoned, not failed
    assert listener.of("map_start")[0].said["total"] is None
    assert not problems(listener.events)


def test_times_are_those_when_it_happened() -> None:
    for engine in (SeqEngine(), PackedEngine()):
        listener = Listener()
        before = time.time()
        Pipeline([node(output_name="y", name="slow")(lambda x: time.sleep(0.03))], engine=engine, callbacks=[listener]).run({"x": 1})
        after = time.time()
        (start,), (end,) = listener.of("node_start"), listener.of("node_end")
        assert before - 0.01 <= start.time <= end.time - 0.025 <= after
        assert 0.025 < end.said["duration"] < 1


def test_listeners_share_data_of_one_run() -> None:
    class Writes(PipelineCallback):
        def on_run_start(self, run: Any, ctx: Any) -> None:
            ctx.set("started", [run.pipeline])

    class Reads(PipelineCallback):
        seen: Any = ()

        def on_node_end(self, node_id: str, outputs: Any, duration: float, ctx: Any) -> None:
            self.seen = (*self.seen, ctx.get("started"), ctx.get("other", 5))

    reads = Reads()
    Pipeline([inc], callbacks=[Writes(), reads], name="p").run({"x": 1})
    Pipeline([inc], callbacks=[reads], name="q").run({"x": 1})
    assert reads.seen == (["p"], 5, None, 5)


def test_where_a_node_ran() -> None:
    workers: list[str] = []

    class Look(PipelineCallback):
        def on_node_end(self, node_id: str, outputs: Any, duration: float, ctx: Any) -> None:
            workers.append(ctx.worker)

    for engine in (SeqEngine(), OnThread()):
        Pipeline([inc], engine=engine, callbacks=[Look()]).run({"x": 1})
    assert workers == ["", f"{os.getpid()}:worker_0"]


# -- values that stayed elsewhere -----------------------------------------------------------------------------------


def test_values_elsewhere_are_summarised() -> None:
    listener = Listener()
    nodes = [node(output_name="xs", name="spread")(lambda x: [x] * 4), node(output_name="t", name="tell")(lambda xs: str(xs))]
    pipeline = Pipeline(nodes, engine=PackedEngine(), callbacks=[listener])
    assert pipeline.run({"x": 1}, output_name="t") == {"t": "[1, 1, 1, 1]"}
    said = {(event.kind, event.id): event.said for event in listener.of("node_start", "node_end", "pipeline_start", "pipeline_end")}
    assert said["node_start", "spread"]["inputs"] == {"x": ValueSummary("int")}
    assert said["node_end", "spread"]["outputs"] == {"xs": ValueSummary("list", 4)}
    assert said["pipeline_start", "pipeline"]["inputs"] == {"x": ValueSummary("int")}
    assert said["pipeline_end", "pipeline"]["outputs"] == {"t": ValueSummary("str", 12)}


def test_a_summary_of_anything() -> None:
    class Odd:
        def __len__(self) -> int:
            raise RuntimeError

    assert ValueSummary.of(Odd()).size is None
    assert ValueSummary.of(Odd()).type.endswith("Odd")
    assert ValueSummary.of({}) == ValueSummary("dict", 0)


@pytest.mark.parametrize("own", [SeqEngine(), PackedEngine()], ids=["seq", "packed"])
def test_values_of_a_nested_engine_in_a_worker_are_summarised_too(own: Engine) -> None:
    listener = Listener()
    nested = [
        node(output_name="lock", name="lock")(lambda x: threading.Lock()),
        node(output_name="y", name="free")(lambda lock: not lock.locked()),
    ]
    inner = Pipeline(nested, name="inner", engine=own).as_node(map_over="x", output_mapping={"y": "ys"})
    assert Pipeline([inner], engine=PackedEngine(), callbacks=[listener]).run({"x": [1]}) == {"ys": [True]}
    assert not problems(listener.events)
    assert {type(value) for event in listener.of("node_end") for value in event.said["outputs"].values()} == {ValueSummary}


def test_wanting_values_that_cannot_travel_loses_nothing() -> None:
    listener = ValueListener()
    nodes = [node(output_name="lock", name="lock")(lambda x: threading.Lock()), node(output_name="y", name="free")(lambda lock, x: x)]
    result = Pipeline(nodes, engine=PackedEngine(), callbacks=[listener]).map({"x": [1, 2]}, map_over="x", output_name="y")
    assert result == [{"y": 1}, {"y": 2}]
    said = {(event.kind, event.id, event.items): event.said for event in listener.of("node_start", "node_end")}
    assert said["node_end", "lock", (0,)]["outputs"] == {"lock": ValueSummary("_thread.lock")}
    assert said["node_start", "free", (1,)]["inputs"] == {"lock": ValueSummary("_thread.lock"), "x": 2}
    assert said["node_end", "free", (1,)]["outputs"] == {"y": 2}


# -- whose callbacks ------------------------------------------------------------------------------------------------


def heard(listener: Listener) -> list[str]:
    return [f"{event.kind} {event.id}".strip() for event in listener.events if event.kind not in ("run_start", "run_end")]


@every_engine
def test_a_nested_pipeline_can_be_silent(engine: Engine) -> None:
    for mapped in (False, True):
        listener = Listener()
        inner = Pipeline([inc], name="inner", callbacks=[])
        nested = inner.as_node(input_mapping={"xs": "x"}, map_over="xs") if mapped else inner
        Pipeline([nested, double], engine=engine, callbacks=[listener], name="p").run({"xs" if mapped else "x": [1, 2] if mapped else 1})
        assert heard(listener) == [
            "pipeline_start p",
            "nested_start p/inner",
            "nested_end p/inner",
            "node_start double",
            "node_end double",
            "pipeline_end p",
        ]


@every_engine
def test_a_nested_pipeline_can_have_listeners_of_its_own(engine: Engine) -> None:
    outside, inside = Listener(), Listener()
    inner = Pipeline([inc], name="inner", callbacks=[inside]).as_node(input_mapping={"xs": "x"}, map_over="xs")
    Pipeline([inner], engine=engine, callbacks=[outside], name="p").run({"xs": [1]})
    assert heard(outside) == ["pipeline_start p", "nested_start p/inner", "nested_end p/inner", "pipeline_end p"]
    assert heard(inside) == [
        "map_start p/inner",
        "item_start p/inner",
        "node_start inner/inc",
        "node_end inner/inc",
        "item_end p/inner",
        "map_end p/inner",
    ]
    kinds = [[event.kind for event in listener.of("run_start", "run_end")] for listener in (outside, inside)]
    assert kinds == [["run_start", "run_end"]] * 2  # the run is everybody's


def test_every_level_of_callbacks() -> None:
    own, node_, engine, default = Listener(), Listener(), Listener(), Listener()

    def told(pipeline: Pipeline) -> list[bool]:
        for listener in (own, node_, engine, default):
            listener.events.clear()
        pipeline.run({"x": 1})
        return [any(event.kind == "node_end" for event in listener.events) for listener in (own, node_, engine, default)]

    hypernodes.set_default_config(callbacks=[default])
    try:
        assert told(Pipeline([inc])) == [False, False, False, True]
        assert told(Pipeline([inc], engine=SeqEngine(callbacks=[engine]))) == [False, False, True, False]
        assert told(Pipeline([inc], engine=SeqEngine(callbacks=[engine]), callbacks=[own])) == [True, False, False, False]
        assert told(Pipeline([Pipeline([inc], callbacks=[own]).as_node(callbacks=[node_])])) == [False, True, False, False]
        assert told(Pipeline([Pipeline([inc])], callbacks=[own])) == [True, False, False, False]
        assert told(Pipeline([inc], callbacks=[])) == [False] * 4
        assert told(Pipeline([inc]).with_callbacks(None)) == [False] * 4
    finally:
        hypernodes.reset_default_config()


def test_the_same_listener_twice_is_told_once() -> None:
    listener = Listener()
    Pipeline([Pipeline([inc], callbacks=[listener])], callbacks=[listener, listener]).run({"x": 1})
    assert not problems(listener.events)
    assert listener.counted("node_end").total() == 1


# -- costs nothing --------------------------------------------------------------------------------------------------


def job_of(*callbacks: PipelineCallback) -> Any:
    return prepare(Pipeline([inc, double], callbacks=list(callbacks)), ("z",))


def test_only_what_is_overridden_is_made() -> None:
    class Ends(PipelineCallback):
        def on_node_end(self, node_id: str, outputs: Any, duration: float, ctx: Any) -> None: ...

    class Cached(PipelineCallback):
        def on_node_cached(self, node_id: str, signature: str, ctx: Any) -> None: ...

    class Errors(Ends):
        wants_values = True

        def on_error(self, node_id: str, error: BaseException, ctx: Any) -> None: ...

    assert job_of().job.wanted == (0,)
    assert job_of(PipelineCallback()).job.wanted == (0,)
    assert job_of(Ends()).job.wanted == (events.NODE_END,)
    assert job_of(Cached()).job.wanted == (events.CACHE_HIT,)
    assert job_of(Ends(), Cached()).job.wanted == (events.NODE_END | events.CACHE_HIT,)
    assert job_of(Errors()).job.wanted == (events.NODE_END | events.ERROR | events.VALUES,)
    assert job_of(PipelineCallback()).job.simple  # generated code all the same
    assert not job_of(Ends()).job.simple


def test_a_method_of_the_object_counts_as_overridden() -> None:
    seen: list[str] = []
    callback = PipelineCallback()
    callback.on_node_end = lambda node_id, outputs, duration, ctx: seen.append(node_id)  # type: ignore[method-assign]
    assert job_of(callback).job.wanted == (events.NODE_END,)
    Pipeline([inc, double], callbacks=[callback]).run({"x": 1})
    assert seen == ["inc", "double"]


def test_what_nobody_hears_is_not_told_elsewhere() -> None:
    class Ends(PipelineCallback):
        def on_node_end(self, node_id: str, outputs: Any, duration: float, ctx: Any) -> None: ...

    made: list[int] = []

    class Look(OnThread):
        def execute(self, run: EngineRun, tasks: Iterator[Task]) -> Iterator[BlockResult]:
            for result in super().execute(run, tasks):
                made.extend(row[0] for row in result.recorded.rows) if result.recorded else made.append(0)
                yield result

    Pipeline([inc, double], engine=Look(), callbacks=[Ends()]).run({"x": 1})
    Pipeline([inc, double], engine=Look(), callbacks=[PipelineCallback()]).run({"x": 1})
    assert made == [events.NODE_END, events.NODE_END, 0]


# -- listeners that raise -------------------------------------------------------------------------------------------


class Clumsy(PipelineCallback):
    """Raises in one method."""

    def __init__(self, method: str = "on_node_end") -> None:
        self.told: list[str] = []
        for name in dir(PipelineCallback):
            if name.startswith("on_") and name != "on_node_cached":
                setattr(self, name, self.teller(name, method))

    def teller(self, name: str, method: str) -> Any:
        def tell(*args: Any) -> None:
            self.told.append(name)
            if name == method:
                raise LookupError("clumsy")

        tell.__name__ = name
        return tell


METHODS = [
    "on_run_start", "on_map_start", "on_map_item_start", "on_pipeline_start", "on_nested_pipeline_start", "on_node_start", "on_node_end",
    "on_nested_pipeline_end", "on_pipeline_end", "on_map_item_end", "on_map_end", "on_run_end",
]  # fmt: skip


@every_engine
@pytest.mark.parametrize("method", METHODS)
def test_a_raising_listener_is_named_dropped_and_survived(engine: Engine, method: str) -> None:
    clumsy, before, after = Clumsy(method), Listener(), Listener()
    pipeline = Pipeline([Pipeline([inc], name="inner"), double], engine=engine, callbacks=[before, clumsy, after])
    with pytest.warns(CallbackWarning) as caught:
        assert pipeline.map({"x": [1, 2]}, map_over="x") == [{"y": 2, "z": 4}, {"y": 3, "z": 6}]
    assert len(caught) == 1
    text = str(caught[0].message)
    assert f"{__name__}.Clumsy.{method}" in text
    assert "raised LookupError: clumsy" in text
    assert clumsy.told.count(method) == 1
    assert clumsy.told[-1] == method  # nothing more in this run
    for listener in (before, after):
        assert not problems(listener.events)
        assert listener.counted("node_end").total() == 4
    count = len(clumsy.told)
    with pytest.warns(CallbackWarning):
        pipeline.map({"x": [1, 2]}, map_over="x")
    assert len(clumsy.told) == 2 * count  # the next run tells it again


def test_a_listener_that_raises_about_a_failure_hides_nothing() -> None:
    clumsy = Clumsy("on_error")
    with pytest.warns(CallbackWarning, match="on_error"), pytest.raises(ValueError, match="-1 is negative"):
        Pipeline([check], callbacks=[clumsy]).run({"x": -1})


def test_a_listener_dropped_in_one_pipeline_is_dropped_in_all() -> None:
    clumsy = Clumsy("on_node_end")
    inner = Pipeline([inc], name="inner", callbacks=[clumsy, Listener()])
    with pytest.warns(CallbackWarning) as caught:
        Pipeline([inner, double], callbacks=[clumsy]).run({"x": 1})
    assert len(caught) == 1
    assert clumsy.told.count("on_node_end") == 1


def test_the_package_of_a_listener_is_named() -> None:
    class Plugin:
        @hookimpl
        def hypernodes_callbacks(self, run: Any) -> PipelineCallback:
            return Clumsy()

    with isolated_plugins() as manager:
        manager.register(Plugin(), "acme-audit")
        with pytest.warns(CallbackWarning, match=r"Clumsy\.on_node_end \(.*acme-audit.*\) raised LookupError"):
            assert Pipeline([inc]).run({"x": 1}) == {"y": 2}


@every_engine
@pytest.mark.parametrize("how", ["required", "strict"])
@pytest.mark.parametrize("method", METHODS)
def test_a_required_listener_fails_the_run(engine: Engine, how: str, method: str) -> None:
    clumsy, other = Clumsy(method), Listener()
    if how == "required":
        clumsy.required = True  # type: ignore[misc]
    pipeline = Pipeline([Pipeline([inc], name="inner"), double], engine=engine, callbacks=[clumsy, other], strict=how == "strict")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(LookupError, match="clumsy") as caught:
            pipeline.map({"x": [1, 2]}, map_over="x")
    assert any(how in note and method in note for note in caught.value.__notes__)
    assert [event.kind for event in other.events if event.kind.startswith("run")] == ["run_start", "run_end"]
    if method != "on_run_end":
        assert isinstance(other.events[-1].said["result"], LookupError)


def test_strict_by_environment(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent("""
        from hypernodes import Pipeline, PipelineCallback, node
        class Clumsy(PipelineCallback):
            def on_node_end(self, node_id, outputs, duration, ctx):
                raise LookupError("clumsy")
        @node(output_name="y")
        def inc(x):
            return x + 1
        print(Pipeline([inc], callbacks=[Clumsy()]).run({"x": 1}))
        """)
    )
    for strict, code in (("1", 1), ("0", 0)):
        done = subprocess.run(
            [sys.executable, str(script)], env={**os.environ, "PYTHONPATH": SOURCES, "HYPERNODES_STRICT": strict}, cwd=tmp_path,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == code, done.stderr
        assert "__main__.Clumsy.on_node_end" in done.stderr


# -- engines that a listener supports -------------------------------------------------------------------------------


def test_a_listener_may_ask_for_certain_engines() -> None:
    class Picky(Listener):
        supported_engines = ("dask", "thread")

    assert Pipeline([inc], engine=OnThread(), callbacks=[Picky()]).run({"x": 1}) == {"y": 2}
    ran: list[int] = []
    work = node(output_name="y")(lambda x: ran.append(x))
    with pytest.raises(CapabilityError, match=r"Picky works with the engines dask, thread; this run uses 'seq'"):
        Pipeline([work], callbacks=[Picky()]).run({"x": 1})
    assert ran == []
    nested = Pipeline([inc], engine=SeqEngine(), name="inner").as_node()
    assert Pipeline([nested], engine=OnThread(), callbacks=[Picky()]).run({"x": 1}) == {"y": 2}  # told by the engine around it


# -- what surrounds a node ------------------------------------------------------------------------------------------


class Note:
    """A scope that notes in a file who was entered with what."""

    def __init__(self, path: str) -> None:
        self.path = path

    @contextlib.contextmanager
    def enter(self, node: str, item: int | None, carrier: Any) -> Iterator[None]:
        self.write(f"> {node} {item} {carrier.get('trace')}")
        try:
            yield
        except BaseException as error:
            self.write(f"! {node} {item} {error}")
            raise
        self.write(f"< {node} {item}")

    def write(self, text: str) -> None:
        with Path(self.path).open("a", encoding="utf-8") as file:
            file.write(text + "\n")


class Traced(PipelineCallback):
    def __init__(self, path: Path) -> None:
        self.path = path

    def on_run_start(self, run: Any, ctx: Any) -> None:
        ctx.carrier["trace"] = "t-1"

    def node_scope(self, run: Any) -> Any:
        return Note(str(self.path))


@every_engine
def test_a_scope_surrounds_every_node_where_it_runs(engine: Engine, tmp_path: Path) -> None:
    path = tmp_path / "notes"

    async def later(y: int) -> int:
        return y

    def seen(x: int) -> int:
        assert path.read_text().splitlines()[-1] == f"> inner/seen {x} t-1"
        return x

    slow = node(output_name="w", name="timed", timeout=5)(lambda y: y)
    nodes = [inc, slow, node(output_name="v")(later)]
    Pipeline(nodes, engine=engine, callbacks=[Traced(path)]).run({"x": 1})
    assert sorted(path.read_text().splitlines()) == sorted(
        f"{edge} {name} None{' t-1' * (edge == '>')}" for name in ("inc", "timed", "later") for edge in "<>"
    )
    path.unlink()
    for own in ({}, {"engine": engine}, {"engine": SeqEngine()}):
        inner = Pipeline([node(output_name="s", name="seen")(seen)], name="inner", **own).as_node(map_over="x")
        Pipeline([inner], engine=engine, callbacks=[Traced(path)]).run({"x": [0, 1]})
        assert path.read_text().splitlines() == ["> inner/seen 0 t-1", "< inner/seen 0", "> inner/seen 1 t-1", "< inner/seen 1"]
        path.unlink()


def test_a_scope_sees_the_exception_and_the_run_raises_it(tmp_path: Path) -> None:
    path = tmp_path / "notes"
    with pytest.raises(ValueError, match="-1 is negative"):
        Pipeline([check], callbacks=[Traced(path)]).map({"x": [1, -1]}, map_over="x")
    assert path.read_text().splitlines()[-2:] == ["> check 1 t-1", "! check 1 -1 is negative"]


def test_a_scope_in_a_process_of_its_own(tmp_path: Path) -> None:
    """The whole of it in real workers, from a program."""
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent("""
        import contextlib, multiprocessing, os
        from concurrent.futures import ProcessPoolExecutor
        from hypernodes import Engine, EngineCapabilities, Pipeline, PipelineCallback, node

        class Scope:
            def enter(self, node, item, carrier):
                os.environ["SCOPE"] = f"{node} {item} {carrier['trace']}"
                return contextlib.nullcontext()

        class Traced(PipelineCallback):
            def on_run_start(self, run, ctx):
                ctx.carrier["trace"] = "t-7"
            def node_scope(self, run):
                return Scope()
            def on_node_end(self, node_id, outputs, duration, ctx):
                workers.add(ctx.worker.partition(":")[0])

        class Processes(Engine):
            name = "processes"
            capabilities = EngineCapabilities(workers=2, reach="host", shares_memory=False)
            def execute(self, run, tasks):
                with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
                    for task in tasks:
                        yield pool.submit(task).result()

        @node(output_name="y")
        def look(x):
            return os.environ["SCOPE"], os.getpid()

        workers = set()
        if __name__ == "__main__":
            rows = Pipeline([look], engine=Processes(), callbacks=[Traced()]).map({"x": [1, 2, 3]}, map_over="x")
            assert [row["y"][0] for row in rows] == ["look 0 t-7", "look 1 t-7", "look 2 t-7"], rows
            assert {str(row["y"][1]) for row in rows} == workers and str(os.getpid()) not in workers
            print("good")
        """)
    )
    done = subprocess.run(
        [sys.executable, str(script)], env={**os.environ, "PYTHONPATH": SOURCES}, cwd=tmp_path, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert done.stdout == "good\n", done.stderr


class Bad:
    """A scope that fails in one way or another."""

    def __init__(self, how: str) -> None:
        self.how = how
        self.entered = 0

    def enter(self, node: str, item: int | None, carrier: Any) -> Any:
        self.entered += 1
        if self.how == "enter":
            raise LookupError("bad scope")
        return self

    def __enter__(self) -> None:
        if self.how == "__enter__":
            raise LookupError("bad scope")

    def __exit__(self, *error: object) -> bool:
        if self.how == "__exit__":
            raise LookupError("bad scope")
        return self.how == "swallow"


@pytest.mark.parametrize("how", ["enter", "__enter__", "__exit__", "swallow", "object"])
def test_a_bad_scope_changes_nothing(how: str) -> None:
    scope = Bad(how)

    class Scoped(PipelineCallback):
        def node_scope(self, run: Any) -> Any:
            return object() if how == "object" else scope

    listener = Listener()
    pipeline = Pipeline([check, node(output_name="w", name="neg")(lambda checked: -checked)], callbacks=[Scoped(), listener])
    expected = contextlib.nullcontext() if how == "swallow" else pytest.warns(CallbackWarning, match="node scope .* nodes run without it")
    with expected as caught:
        result = pipeline.map({"x": [1, -1, 3]}, map_over="x", on_error="return")
    assert [row["w"] for row in result][::2] == [-1, -3]
    assert [type(failure.error) for failure in result.failures] == [ValueError]
    assert not problems(listener.events)
    if how != "swallow":
        assert caught is not None
        assert len(caught) <= 2  # once for each block at most
        assert scope.entered <= 2


def test_a_callback_that_cannot_make_its_scope_is_dropped() -> None:
    class Scoped(Listener):
        def node_scope(self, run: Any) -> Any:
            raise LookupError("no scope")

    listener = Scoped()
    with pytest.warns(CallbackWarning, match=r"Scoped\.node_scope raised LookupError"):
        assert Pipeline([inc], callbacks=[listener]).run({"x": 1}) == {"y": 2}
    assert listener.events == []


def test_logging(caplog: pytest.LogCaptureFixture) -> None:
    pipeline = Pipeline([inc, check], callbacks=[hypernodes.LoggingCallback("shop", node_level=20)], name="p")
    with caplog.at_level(10, logger="shop"):
        result = pipeline.map({"x": [1, -1]}, map_over="x", on_error="return")
    lines = [f"{record.levelname} {record.getMessage()}" for record in caplog.records]
    assert lines[0] == f"INFO map p over 2 items started (run {result.run_id}, engine seq)"
    assert [line.rpartition(" in ")[0] for line in lines if " ran in " in line] == [
        "INFO inc item 0 ran", "INFO check item 0 ran", "INFO inc item 1 ran",
    ]  # fmt: skip
    assert "ERROR check item 1 failed: ValueError: -1 is negative" in lines
    assert lines[-1].startswith("INFO map p finished in ")


@pytest.mark.parametrize("shape", ["flat", "nested", "nested-on-its-own-engine"])
@pytest.mark.parametrize("how", ["seq", "seq-cached", "async", "threaded", "nodes-threaded"])
def test_what_is_interrupted_has_its_ends(how: str, shape: str) -> None:
    def stop(x: int) -> int:
        if x == 2:
            raise KeyboardInterrupt
        return x

    engines = {
        "async": lambda: HyperNodesEngine(map_executor="async"),
        "threaded": lambda: HyperNodesEngine(map_executor="threaded", max_workers=2),
        "nodes-threaded": lambda: HyperNodesEngine(node_executor="threaded", max_workers=2),
    }
    engine = engines.get(how, SeqEngine)()
    listener = Listener()
    settings = {"engine": engine, "callbacks": [listener], "cache": MemoryCache() if how == "seq-cached" else None}
    inner = Pipeline([node(output_name="y")(stop), node(output_name="z", name="after")(lambda y: y)], name="inner")
    if shape == "flat":
        pipeline, inputs = inner.with_engine(engine).with_callbacks([listener]).with_cache(settings["cache"]), {"x": range(4)}
    else:
        own = {"engine": SeqEngine()} if shape == "nested-on-its-own-engine" else {}
        within = inner.as_node(input_mapping={"xs": "x"}, output_mapping={"z": "zs"}, map_over="xs", **own)
        pipeline, inputs = Pipeline([within], name="outer", **settings), {"xs": [[0, 1], [1, 2, 3], [5]]}
    with pytest.raises(KeyboardInterrupt):
        pipeline.map(inputs, map_over=list(inputs))
    assert problems(listener.events) == []
