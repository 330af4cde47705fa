"""``HyperNodesEngine``: what a person needs while a long map runs on one machine."""

from __future__ import annotations

import asyncio
import contextvars
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
from hypernodes import DiskCache, HyperNodesEngine, MemoryCache, NodeFailure, Pipeline, PipelineCallback, SeqEngine, node, stateful
from hypernodes.errors import (
    CapabilityError,
    HyperNodesError,
    NodeTimeoutError,
    OptionError,
    ResultTransferError,
    TooManyFailuresError,
    WorkerLostError,
)
from hypernodes.executors import AsyncExecutor
from hypernodes.testing._events import Listener, problems
from random_graphs import FEWER

CONCURRENT = ("async", "threaded", "parallel")
ALIASES = ("sequential", *CONCURRENT)


@pytest.fixture(scope="module")
def parallel() -> Iterator[HyperNodesEngine]:
    with HyperNodesEngine(map_executor="parallel", max_workers=2) as engine:
        yield engine


def engine_of(alias: str, parallel: HyperNodesEngine) -> HyperNodesEngine:
    return parallel if alias == "parallel" else HyperNodesEngine(map_executor=alias, max_workers=4)


@node(output_name="slow")
def slow_double(x: int) -> int:
    time.sleep(0.05)
    return 2 * x


@node(output_name="doubled")
def double(x: int) -> int:
    return 2 * x


@node(output_name="tripled")
def triple(doubled: int) -> int:
    return 3 * doubled


@node(output_name="where")
def where(x: int) -> tuple[int, str]:
    return os.getpid(), threading.current_thread().name


def log(folder: str, name: str) -> None:
    """Note a call where every process can see it."""
    descriptor = os.open(f"{folder}/log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, f"{name}\n".encode())
    os.close(descriptor)


def logged(folder: Path) -> list[str]:
    path = folder / "log"
    return path.read_text("utf-8").split() if path.exists() else []


# -- making one -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"map_executor": "paralel"}, "Did you mean 'parallel'"),
        ({"node_executor": 3}, "an executor with submit"),
        ({"map_executor": "threaded", "max_workers": 0}, "max_workers must be a whole number"),
    ],
)
def test_what_is_no_executor_is_refused(arguments: Any, said: str) -> None:
    with pytest.raises(OptionError, match=said):
        HyperNodesEngine(**arguments)


def test_an_engine_says_what_it_is_and_travels() -> None:
    import pickle

    engine = HyperNodesEngine("async", "threaded", max_workers=3, resources={"gpu": 1}, retries=2)
    said = "node_executor='async', map_executor='threaded', max_workers=3, resources={'gpu': 1}, retries=2"
    assert repr(engine) == f"HyperNodesEngine({said})"
    assert repr(pickle.loads(pickle.dumps(engine))) == repr(engine)
    assert repr(HyperNodesEngine()) == "HyperNodesEngine()"
    with ThreadPoolExecutor(5) as pool:
        again = pickle.loads(pickle.dumps(HyperNodesEngine(map_executor=pool)))
    assert again.capabilities.workers == 5


def test_the_engine_has_a_name() -> None:
    assert Pipeline([double], engine="hypernodes").map({"x": [1, 2]}, map_over="x") == [{"doubled": 2}, {"doubled": 4}]


@pytest.mark.parametrize("alias", ALIASES)
def test_where_items_run(alias: str, parallel: HyperNodesEngine) -> None:
    rows = Pipeline([where], engine=engine_of(alias, parallel)).map({"x": range(200)}, map_over="x")
    processes = {row["where"][0] for row in rows}
    threads = {row["where"][1] for row in rows}
    assert (os.getpid() in processes) == (alias != "parallel")
    assert (threading.current_thread().name in threads) == (alias == "sequential") or alias == "parallel"


def test_a_run_stays_in_the_callers_thread(parallel: HyperNodesEngine) -> None:
    assert Pipeline([where], engine=parallel).run({"x": 1}) == {"where": (os.getpid(), threading.current_thread().name)}


@pytest.mark.parametrize("alias", CONCURRENT)
def test_independent_nodes_run_at_the_same_time(alias: str) -> None:
    @node(output_name="left")
    def left(x: int) -> float:
        import time

        time.sleep(0.4)
        return time.time()

    @node(output_name="right")
    def right(x: int) -> float:
        import time

        time.sleep(0.4)
        return time.time()

    @node(output_name="both")
    def both(left: float, right: float) -> float:
        return abs(left - right)

    with HyperNodesEngine(node_executor=alias, max_workers=2) as engine:
        pipeline = Pipeline([left, right, both], engine=engine)
        pipeline.run({"x": 1})  # processes start
        assert pipeline.run({"x": 1})["both"] < 0.3


def test_executors_of_the_caller_are_not_shut_down() -> None:
    with ThreadPoolExecutor(2) as threads, AsyncExecutor(2) as loop, ProcessPoolExecutor(2, mp_context=get_context("spawn")) as processes:
        for executor in (threads, loop, processes):
            assert Pipeline([double], engine=HyperNodesEngine(map_executor=executor)).map({"x": [1, 2]}, map_over="x")[1] == {"doubled": 4}
            assert executor.submit(abs, -1).result() == 1


class Foreign(Executor):
    """An executor of somebody else's, of which nothing is known."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


def test_any_executor_will_do() -> None:
    assert Pipeline([double], engine=HyperNodesEngine(map_executor=Foreign())).map({"x": [1, 2, 3]}, map_over="x")[2] == {"doubled": 6}


# -- asyncio ----------------------------------------------------------------------------------------------------------

VARIABLE: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


@node(output_name="fetched")
async def fetch(x: int) -> int:
    await asyncio.sleep(0.02)
    return x


@node(output_name="seen")
async def see(x: int) -> str:
    return VARIABLE.get()


@node(output_name="loop")
async def which_loop(x: int) -> int:
    return id(asyncio.get_running_loop())


def test_coroutines_run_at_the_same_time() -> None:
    most = [0, 0]

    @node(output_name="y")
    async def count(x: int) -> int:
        most[0] += 1
        most[1] = max(most)
        await asyncio.sleep(0.01)
        most[0] -= 1
        return x

    rows = Pipeline([count], engine=HyperNodesEngine(map_executor=AsyncExecutor(7))).map({"x": range(100)}, map_over="x")
    assert [row["y"] for row in rows] == list(range(100))
    assert most[1] == 7


def test_context_variables_are_kept() -> None:
    token = VARIABLE.set("outside")
    try:
        for engine in (
            SeqEngine(),
            HyperNodesEngine(map_executor="async"),
            HyperNodesEngine("async"),
            HyperNodesEngine(map_executor="threaded"),
        ):
            assert Pipeline([see], engine=engine).map({"x": [1, 2]}, map_over="x")[1] == {"seen": "outside"}
            assert Pipeline([see], engine=engine).run({"x": 1}) == {"seen": "outside"}
    finally:
        VARIABLE.reset(token)


@pytest.mark.parametrize("engine", [SeqEngine(), HyperNodesEngine(map_executor="async"), HyperNodesEngine("async", "threaded")], ids=repr)
def test_awaited_runs_use_the_loop_that_awaits_them(engine: Any) -> None:
    async def main() -> None:
        VARIABLE.set("awaited")
        here = id(asyncio.get_running_loop())
        maps_here = engine.name == "seq" or engine.maps.kind == "async"
        if engine.name == "seq":
            assert await Pipeline([which_loop], engine=engine).arun({"x": 1}) == {"loop": here}
        if maps_here:
            assert [row["loop"] for row in await Pipeline([which_loop], engine=engine).amap({"x": [1, 2]}, map_over="x")] == [here] * 2
        assert await Pipeline([see, double], engine=engine).arun({"x": 1}) == {"seen": "awaited", "doubled": 2}
        found = [row async for row in Pipeline([see], engine=engine).aimap({"x": range(3)}, map_over="x")]
        assert found == [{"seen": "awaited"}] * 3

    asyncio.run(main())


def test_the_loop_goes_on_while_plain_nodes_run() -> None:
    @node(output_name="y")
    def slow(x: int) -> int:
        time.sleep(0.3)
        return x

    async def main() -> int:
        beats = 0
        running = asyncio.ensure_future(Pipeline([slow]).arun({"x": 1}))
        while not running.done():
            await asyncio.sleep(0.01)
            beats += 1
        return beats

    assert asyncio.run(main()) > 10


def test_items_may_come_from_an_asynchronous_iterable() -> None:
    async def items() -> Any:
        for k in range(4):
            await asyncio.sleep(0)
            yield k

    async def main() -> Any:
        mapped = await Pipeline([fetch]).amap({"x": items()}, map_over="x")
        return mapped, [row async for row in Pipeline([fetch]).aimap({"x": items()}, map_over="x")]

    mapped, streamed = asyncio.run(main())
    assert list(mapped) == streamed == [{"fetched": k} for k in range(4)]


@pytest.mark.parametrize("engine", [SeqEngine(), *(HyperNodesEngine(map_executor=alias) for alias in ("async", "threaded"))], ids=repr)
def test_a_cancelled_wait_cancels_the_work(engine: Any) -> None:
    started: list[int] = []
    ended: list[str] = []

    @node(output_name="y")
    async def wait(x: int) -> int:
        started.append(x)
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise
        return x

    async def main() -> None:
        running = asyncio.ensure_future(Pipeline([wait], engine=engine).amap({"x": range(1000)}, map_over="x"))
        await asyncio.sleep(0.3)
        assert started
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        count = len(started)
        await asyncio.sleep(0.1)
        assert len(started) == count
        assert len(ended) == count

    asyncio.run(main())


@pytest.mark.parametrize("shared", [False, True])
def test_a_run_inside_a_coroutine_does_not_wait_for_itself(shared: bool) -> None:
    inner_engine = HyperNodesEngine(map_executor=AsyncExecutor(1))
    inner = Pipeline([fetch], engine=inner_engine)

    @node(output_name="y")
    async def outer(x: int) -> int:
        return inner.map({"x": [x, x]}, map_over="x")[1]["fetched"]

    engine = inner_engine if shared else HyperNodesEngine("async", "async")
    assert Pipeline([outer], engine=engine).map({"x": [1, 2, 3]}, map_over="x") == [{"y": 1}, {"y": 2}, {"y": 3}]


def test_a_run_inside_a_pool_does_not_wait_for_itself() -> None:
    with ThreadPoolExecutor(1) as pool:
        engine = HyperNodesEngine(map_executor=pool)
        inner = Pipeline([double], engine=engine)

        @node(output_name="y")
        def outer(x: int) -> int:
            return inner.map({"x": [x, x]}, map_over="x")[1]["doubled"]

        assert Pipeline([outer], engine=engine).map({"x": [1, 2]}, map_over="x") == [{"y": 2}, {"y": 4}]


def test_pipelines_nested_over_and_over_on_one_event_loop_never_wait_for_each_other() -> None:
    with AsyncExecutor(40) as executor:
        pipeline = Pipeline([node(output_name="y")(lambda x: x + 1)])
        for _ in range(2):
            pipeline = Pipeline([pipeline.as_node(map_over="x", engine=HyperNodesEngine(map_executor=executor))])
        rows = pipeline.with_engine(HyperNodesEngine(map_executor=executor)).map({"x": [[[1, 2], [3]]] * 40}, map_over="x")
    assert rows == [{"y": [[2, 3], [4]]}] * 40


def test_a_run_that_fails_waits_for_what_runs_in_threads_of_the_caller() -> None:
    over = []

    def each(x: int) -> int:
        if x == 0:
            raise ValueError("refused")
        time.sleep(0.1)
        over.append(x)
        return x

    with ThreadPoolExecutor(4) as threads, pytest.raises(ValueError, match="refused"):
        try:
            Pipeline([node(output_name="y")(each)], engine=HyperNodesEngine(map_executor=threads)).map({"x": range(40)}, map_over="x")
        finally:
            known = list(over)
            time.sleep(0.3)
            assert over == known  # nothing goes on behind the caller's back


# -- AsyncExecutor by itself --------------------------------------------------------------------------------------------


async def plus(x: int, y: int = 1) -> int:
    await asyncio.sleep(0.01)
    return x + y


def test_the_executor_is_one() -> None:
    with AsyncExecutor(3) as executor:
        assert isinstance(executor, Executor)
        assert executor.submit(plus, 1, y=2).result() == 3
        assert executor.submit(sum, [1, 2]).result() == 3
        assert list(executor.map(plus, range(20))) == list(range(1, 21))
        with pytest.raises(ZeroDivisionError):
            executor.submit(lambda: 1 / 0).result()
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(plus, 1)
    with pytest.raises(OptionError, match="max_concurrent"):
        AsyncExecutor(0)
    assert repr(AsyncExecutor(4)) == "AsyncExecutor(max_concurrent=4)"


def test_plain_functions_do_not_hold_coroutines_up() -> None:
    with AsyncExecutor(4) as executor:
        slow = executor.submit(time.sleep, 0.5)
        assert executor.submit(plus, 1).result(0.4) == 2
        assert not slow.done()


def test_cancelling_a_future_cancels_its_coroutine() -> None:
    ended = threading.Event()

    async def wait() -> None:
        try:
            await asyncio.sleep(30)
        finally:
            ended.set()

    with AsyncExecutor(2) as executor:
        future = executor.submit(wait)
        time.sleep(0.1)
        assert future.cancel()
        assert ended.wait(2)


def test_the_executor_works_inside_a_running_loop() -> None:
    async def main() -> int:
        with AsyncExecutor(2) as executor:
            return executor.submit(plus, 1).result() + await asyncio.wrap_future(executor.submit(plus, 2))

    assert asyncio.run(main()) == 5


# -- limits over the whole run ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("alias", ALIASES)
def test_a_node_runs_no_more_often_at_once_than_it_may(alias: str, parallel: HyperNodesEngine, tmp_path: Path) -> None:
    @node(output_name="y", max_concurrent=1)
    def alone(x: int, folder: str) -> int:
        import os
        import time

        descriptor = os.open(f"{folder}/alone", os.O_CREAT | os.O_EXCL)  # fails where another one runs
        time.sleep(0.005)
        os.close(descriptor)
        os.unlink(f"{folder}/alone")
        return x

    pipeline = Pipeline([alone], engine=engine_of(alias, parallel)).bind(folder=str(tmp_path))
    assert [row["y"] for row in pipeline.map({"x": range(30)}, map_over="x")] == list(range(30))


@pytest.mark.parametrize("alias", ALIASES)
def test_a_rate_holds_over_all_workers(alias: str, parallel: HyperNodesEngine) -> None:
    @node(output_name="at", rate="50/s")
    def tick(x: int) -> float:
        import time

        return time.time()

    pipeline = Pipeline([tick], engine=engine_of(alias, parallel))
    pipeline.map({"x": range(4)}, map_over="x")  # processes start
    times = sorted(row["at"] for row in pipeline.map({"x": range(20)}, map_over="x"))
    assert times[-1] - times[0] > 0.3


@pytest.mark.parametrize("alias", ALIASES)
def test_resources_are_shared_by_nodes_and_workers(alias: str, tmp_path: Path) -> None:
    @node(output_name="y", resources={"gpu": 1})
    def one(x: int, folder: str) -> int:
        import os
        import time

        descriptor = os.open(f"{folder}/gpu", os.O_CREAT | os.O_EXCL)
        time.sleep(0.002)
        os.close(descriptor)
        os.unlink(f"{folder}/gpu")
        return x

    @node(output_name="z", resources={"gpu": 0.6})
    def other(x: int, folder: str) -> int:
        import os
        import time

        descriptor = os.open(f"{folder}/gpu", os.O_CREAT | os.O_EXCL)
        time.sleep(0.002)
        os.close(descriptor)
        os.unlink(f"{folder}/gpu")
        return x

    with HyperNodesEngine(map_executor=alias, max_workers=2, resources={"gpu": 1}) as engine:
        pipeline = Pipeline([one, other], engine=engine).bind(folder=str(tmp_path))
        assert pipeline.map({"x": range(15)}, map_over="x")[14] == {"y": 14, "z": 14}


def test_what_there_is_not_is_refused_before_anything_runs() -> None:
    @node(output_name="y", resources={"gpu": 4})
    def big(x: int) -> int:
        raise AssertionError

    with pytest.raises(CapabilityError, match="gpu=4"):
        Pipeline([big], engine=HyperNodesEngine(map_executor="threaded", resources={"gpu": 2})).map({"x": [1]}, map_over="x")


# -- caches ---------------------------------------------------------------------------------------------------------------


@node(output_name="loaded")
def load(a: int, folder: str) -> int:
    log(folder, f"load{a}")
    time.sleep(0.05)
    return a * 10


@node(output_name="split")
def split(b: int, folder: str) -> int:
    log(folder, f"split{b}")
    time.sleep(0.05)
    return b + 1


@node(output_name="joined")
def join(loaded: int, split: int, folder: str) -> int:
    log(folder, "join")
    return loaded + split


CACHES = {"disk": lambda path: DiskCache(path), "memory": lambda path: MemoryCache(), "layers": lambda path: [MemoryCache(), str(path)]}


@pytest.mark.parametrize("cache", CACHES)
@pytest.mark.parametrize("alias", ALIASES)
def test_what_items_share_is_made_once(alias: str, cache: str, parallel: HyperNodesEngine, tmp_path: Path) -> None:
    pipeline = Pipeline([load, split, join], engine=engine_of(alias, parallel), cache=CACHES[cache](tmp_path / "cache"))
    pipeline.bind(folder=str(tmp_path))
    rows = pipeline.map({"a": [1, 2, 3], "b": [1, 2, 3]}, map_over=["a", "b"], map_mode="product", output_name="joined")
    assert [row["joined"] for row in rows] == [a * 10 + b + 1 for a in (1, 2, 3) for b in (1, 2, 3)]
    calls = logged(tmp_path)
    assert sorted(calls) == sorted([f"load{k}" for k in (1, 2, 3)] + [f"split{k}" for k in (1, 2, 3)] + ["join"] * 9)
    again = pipeline.map({"a": [1, 2, 3], "b": [1, 2, 3]}, map_over=["a", "b"], map_mode="product", output_name="joined")
    assert list(again) == list(rows)
    assert logged(tmp_path) == calls
    assert again.stats.ran == 0


@pytest.mark.parametrize("alias", ALIASES)
def test_what_does_not_vary_is_made_once(alias: str, parallel: HyperNodesEngine, tmp_path: Path) -> None:
    pipeline = Pipeline([load, split, join], engine=engine_of(alias, parallel), cache=tmp_path / "cache")
    rows = pipeline.bind(folder=str(tmp_path)).map({"a": 1, "b": range(12)}, map_over="b", output_name="joined")
    assert [row["joined"] for row in rows] == [10 + b + 1 for b in range(12)]
    assert logged(tmp_path).count("load1") == 1


@pytest.mark.parametrize("first", ALIASES)
@pytest.mark.parametrize("second", ALIASES)
def test_engines_hit_what_others_have_kept(first: str, second: str, parallel: HyperNodesEngine, tmp_path: Path) -> None:
    made = Pipeline([double], engine=engine_of(first, parallel), cache=tmp_path / "cache").map({"x": range(50)}, map_over="x")
    again = Pipeline([double], engine=engine_of(second, parallel), cache=tmp_path / "cache").map({"x": range(60)}, map_over="x")
    assert made.stats.ran == 50
    assert (again.stats.cached, again.stats.ran) == (50, 10)


def test_engines_at_the_same_time_share_a_cache(parallel: HyperNodesEngine, tmp_path: Path) -> None:
    def call(engine: HyperNodesEngine) -> list[int]:
        pipeline = Pipeline([double], engine=engine, cache=tmp_path / "cache")
        return [row["doubled"] for row in pipeline.map({"x": range(300)}, map_over="x")]

    with ThreadPoolExecutor(2) as pool:
        for found in pool.map(call, [parallel, HyperNodesEngine(map_executor="threaded")]):
            assert found == [2 * x for x in range(300)]
    assert Pipeline([double], cache=tmp_path / "cache").map({"x": range(300)}, map_over="x").stats.ran == 0


# -- state ----------------------------------------------------------------------------------------------------------------


@stateful
class Model:
    def __init__(self, folder: str) -> None:
        log(folder, f"built-{os.getpid()}")

    def predict(self, x: int) -> int:
        return x + 1


@node(output_name="y")
def predict(x: int, model: Model) -> int:
    return model.predict(x)


@pytest.mark.parametrize("alias", ALIASES)
def test_stateful_objects_are_built_once_per_process(alias: str, parallel: HyperNodesEngine, tmp_path: Path) -> None:
    pipeline = Pipeline([predict], engine=engine_of(alias, parallel)).bind(model=Model(str(tmp_path)))
    assert pipeline.map({"x": range(300)}, map_over="x")[299] == {"y": 300}
    built = logged(tmp_path)
    assert 1 <= len(built) == len(set(built))


def test_workers_limit_the_threads_of_libraries(parallel: HyperNodesEngine) -> None:
    @node(output_name="threads")
    def threads(x: int) -> str | None:
        import os

        return os.environ.get("OMP_NUM_THREADS")

    row = Pipeline([threads], engine=parallel).map({"x": [1]}, map_over="x")[0]
    assert row["threads"] == os.environ.get("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // 2)))


# -- pipelines in pipelines -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("alias", ALIASES)
def test_a_map_inside_a_run_is_spread_out(alias: str, parallel: HyperNodesEngine) -> None:
    inner = Pipeline([where], name="inner").as_node(input_mapping={"xs": "x"}, map_over="xs")
    found = Pipeline([inner], engine=engine_of(alias, parallel)).run({"xs": list(range(200))})["where"]
    assert (os.getpid() in {process for process, _ in found}) == (alias != "parallel")
    if alias == "threaded":
        assert threading.current_thread().name not in {thread for _, thread in found}


@pytest.mark.parametrize("outer", ALIASES)
@pytest.mark.parametrize("inner", ALIASES)
def test_engines_nest_with_their_own_settings(outer: str, inner: str, parallel: HyperNodesEngine) -> None:
    @node(output_name="total")
    def total(fetched: list[int]) -> int:
        return sum(fetched)

    below = HyperNodesEngine(map_executor=inner, max_workers=2)
    within = Pipeline([fetch], engine=below, name="within").as_node(input_mapping={"xs": "x"}, map_over="xs")
    pipeline = Pipeline([within, total], engine=engine_of(outer, parallel))
    rows = pipeline.map({"xs": [[1, 2], [3], [4, 5, 6]]}, map_over="xs", output_name="total")
    below.close()
    assert [row["total"] for row in rows] == [3, 3, 15]


def test_a_block_that_is_done_does_not_wait_for_a_free_slot() -> None:
    @node(output_name="y")
    async def hold(x: int) -> int:
        await asyncio.sleep(0 if x == 0 else 0.5)
        return x

    engine = HyperNodesEngine(map_executor=AsyncExecutor(4))
    stream = Pipeline([hold], engine=engine).imap({"x": range(12)}, map_over="x")
    start = time.perf_counter()
    assert next(stream) == {"y": 0}
    assert time.perf_counter() - start < 0.4
    stream.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("alias", ["async", "threaded", "parallel"])
def test_a_map_fails_as_soon_as_an_item_fails(alias: str, parallel: HyperNodesEngine, tmp_path: Path) -> None:
    @node(output_name="y")
    def refuse(x: int, folder: str) -> int:
        import time

        if x == 1:
            msg = "one"
            raise ValueError(msg)
        for _ in range(40 if x == 0 else 0):
            time.sleep(0.1)
        return x

    engine = parallel if alias == "parallel" else HyperNodesEngine(map_executor=alias, max_workers=4)
    pipeline = Pipeline([refuse], engine=engine).bind(folder=str(tmp_path))
    pipeline.map({"x": [2, 3]}, map_over="x")  # processes are there
    start = time.perf_counter()
    with pytest.raises(ValueError, match="one"):
        pipeline.map({"x": range(4)}, map_over="x")
    assert time.perf_counter() - start < 3.5


def test_an_item_that_cannot_travel_is_named(parallel: HyperNodesEngine) -> None:
    @node(output_name="kind")
    def kind(x: Any) -> str:
        return type(x).__name__

    pipeline = Pipeline([kind], engine=parallel)
    items = [1, "two", threading.Lock(), 4.0]
    with pytest.raises(ResultTransferError, match=r"input 'x' of item 2: <unlocked _thread.lock.*cannot be sent to another process"):
        pipeline.map({"x": items}, map_over="x")
    rows = pipeline.map({"x": items}, map_over="x", on_error="return")
    assert [row["kind"] for row in rows if not isinstance(row["kind"], NodeFailure)] == ["int", "str", "float"]
    assert [(failure.item, failure.node, type(failure.error)) for failure in rows.failures] == [(2, "kind", ResultTransferError)]


@pytest.mark.parametrize("items", [30, 5000])
def test_what_is_cached_needs_no_processes(items: int, tmp_path: Path) -> None:
    nodes = [double, triple]
    Pipeline(nodes, cache=str(tmp_path)).map({"x": range(items)}, map_over="x")
    for _ in range(2):
        with HyperNodesEngine(map_executor="parallel", max_workers=2) as engine:
            result = Pipeline(nodes, engine=engine, cache=str(tmp_path)).map({"x": range(items)}, map_over="x")
            assert engine._workers is None or not engine._workers._workers  # noqa: SLF001 - none was started
        assert (result.stats.cached, result.stats.ran) == (2 * items, 0)
        assert result[items - 1] == {"doubled": 2 * items - 2, "tripled": 6 * items - 6}
    with HyperNodesEngine(map_executor="parallel", max_workers=2) as engine:
        result = Pipeline(nodes, engine=engine, cache=str(tmp_path)).map({"x": range(items + 10)}, map_over="x")
    assert (result.stats.cached, result.stats.ran) == (2 * items, 20)
    assert [row["tripled"] for row in result] == [6 * x for x in range(items + 10)]


@pytest.mark.parametrize("nodes", ["sequential", "threaded"])
@pytest.mark.parametrize("maps", ["sequential", "threaded"])
def test_coroutines_run_on_the_loop_that_awaits(nodes: str, maps: str) -> None:
    async def where(x: int) -> int:
        await asyncio.sleep(0.001)
        return id(asyncio.get_running_loop())

    pipeline = Pipeline([node(output_name="a")(where), node(output_name="b", name="where_too")(where)])
    pipeline = pipeline.with_engine(HyperNodesEngine(nodes, maps, max_workers=2))

    async def main() -> None:
        own = id(asyncio.get_running_loop())
        assert await pipeline.arun({"x": 1}) == {"a": own, "b": own}
        assert await pipeline.amap({"x": range(3)}, map_over="x") == [{"a": own, "b": own}] * 3

    asyncio.run(main())


HIDDEN = """
from dataclasses import dataclass

from hypernodes import node, stateful


@dataclass
class Doc:
    text: str


class Odd(Exception):
    pass


@stateful
class Model:
    def __init__(self, suffix):
        self.suffix = suffix

    def applied(self, text):
        return Doc(text.upper() + self.suffix)


@node(output_name="made")
def make(doc: Doc, model: Model) -> Doc:
    if doc.text == "odd":
        raise Odd(doc.text)
    return model.applied(doc.text)
"""


@pytest.mark.parametrize("which", ["map_executor", "node_executor"])
def test_modules_that_processes_cannot_import_travel_too(which: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as test modules, which are loaded from files that are not on the path."""
    from importlib.util import module_from_spec, spec_from_file_location

    (tmp_path / "anywhere.py").write_text(HIDDEN)
    spec = spec_from_file_location("hidden_module", tmp_path / "anywhere.py")
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "hidden_module", module)
    spec.loader.exec_module(module)
    with HyperNodesEngine(max_workers=2, **{which: "parallel"}) as engine:
        pipeline = Pipeline([module.make], engine=engine).bind(model=module.Model("!"))
        assert pipeline.map({"doc": [module.Doc("a"), module.Doc("b")]}, map_over="doc") == [
            {"made": module.Doc("A!")},
            {"made": module.Doc("B!")},
        ]
        with pytest.raises(module.Odd):
            pipeline.map({"doc": [module.Doc("odd")]}, map_over="doc")


# -- failures ---------------------------------------------------------------------------------------------------------------


@node(output_name="y")
def dies_once(x: int, folder: str) -> int:
    log(folder, str(x))
    if x == 7 and not os.path.exists(f"{folder}/died"):
        open(f"{folder}/died", "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    return x


@node(output_name="y")
def poisoned(x: int) -> int:
    if x == 7:
        os._exit(3)
    return x


def test_a_killed_worker_costs_a_retry(parallel: HyperNodesEngine, tmp_path: Path) -> None:
    rows = Pipeline([dies_once], engine=parallel).bind(folder=str(tmp_path)).map({"x": range(40)}, map_over="x")
    assert [row["y"] for row in rows] == list(range(40))


def test_an_item_that_kills_its_workers_is_isolated(parallel: HyperNodesEngine) -> None:
    rows = Pipeline([double, poisoned], engine=parallel).map(
        {"x": range(40)}, map_over="x", on_error="return", output_name=["y", "doubled"]
    )
    assert [row["y"] for row in rows if not isinstance(row["y"], NodeFailure)] == [x for x in range(40) if x != 7]
    (failure,) = rows.failures
    assert (failure.node, failure.item, type(failure.error)) == ("poisoned", 7, WorkerLostError)
    assert "exit status 3" in str(failure.error)
    with pytest.raises(WorkerLostError, match="exit status 3"):
        failure.reproduce()
    with pytest.raises(WorkerLostError, match="exit status 3"):
        Pipeline([poisoned], engine=parallel).map({"x": range(40)}, map_over="x")


def test_a_broken_pool_of_the_callers_is_replaced(tmp_path: Path) -> None:
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        engine = HyperNodesEngine(map_executor=pool)
        rows = Pipeline([dies_once], engine=engine).bind(folder=str(tmp_path)).map({"x": range(40)}, map_over="x")
    assert [row["y"] for row in rows] == list(range(40))


@pytest.mark.parametrize("alias", ALIASES)
def test_a_node_that_takes_too_long_is_left(alias: str, parallel: HyperNodesEngine, tmp_path: Path) -> None:
    @node(output_name="y", timeout=0.3)
    def slow(x: int, folder: str) -> int:
        import time

        for _ in range(100 if x == 3 else 0):
            time.sleep(0.05)
            with open(f"{folder}/beat", "w", encoding="ascii") as file:
                file.write(str(time.time()))
        return x

    pipeline = Pipeline([slow], engine=engine_of(alias, parallel)).bind(folder=str(tmp_path))
    rows = pipeline.map({"x": range(8)}, map_over="x", on_error="return")
    assert [failure.item for failure in rows.failures] == [3]
    assert type(rows.failures[0].error) is NodeTimeoutError
    if alias == "parallel":  # its process is replaced, so that it does not go on
        time.sleep(0.5)
        assert time.time() - float((tmp_path / "beat").read_text()) > 0.3
        assert pipeline.map({"x": range(3)}, map_over="x")[2] == {"y": 2}


def test_a_node_that_never_lets_go_of_the_interpreter_is_ended_with_its_process(parallel: HyperNodesEngine) -> None:
    @node(output_name="y", timeout=0.3)
    def stubborn(x: int) -> int:
        import re

        return len(re.findall("(a+)+$", "a" * 40 + "b")) if x == 3 else x  # one call of C code, for years

    for engine in (parallel, HyperNodesEngine(node_executor="parallel", max_workers=2)):
        start = time.perf_counter()
        rows = Pipeline([stubborn], engine=engine).map({"x": range(6)}, map_over="x", on_error="return")
        assert time.perf_counter() - start < 15
        (failure,) = rows.failures
        assert (failure.item, failure.node, type(failure.error)) == (3, "stubborn", NodeTimeoutError)
        assert [row["y"] for row in rows if not isinstance(row["y"], NodeFailure)] == [0, 1, 2, 4, 5]
        assert Pipeline([stubborn], engine=engine).map({"x": range(3)}, map_over="x")[2] == {"y": 2}
    engine.close()


@node(output_name="lock")
def make_lock(x: int) -> Any:
    return threading.Lock()


@node(output_name="size", max_concurrent=1)
def alone(x: int, folder: str) -> int:
    with open(f"{folder}/marks", "ab") as file:
        file.write(b"+")
    time.sleep(0.02)
    with open(f"{folder}/marks", "ab") as file:
        file.write(b"-")
    return x


@node(output_name="other", max_concurrent=1)
def alone_too(x: int, folder: str) -> int:
    return alone.func(x, folder + "/other")


@pytest.fixture(params=["own", "caller's"])
def apart(request: pytest.FixtureRequest) -> Iterator[HyperNodesEngine]:
    if request.param == "own":
        with HyperNodesEngine(node_executor="parallel", max_workers=2) as engine:
            yield engine
    else:
        with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
            yield HyperNodesEngine(node_executor=pool)


def test_calls_of_nodes_in_processes(apart: HyperNodesEngine, tmp_path: Path) -> None:
    """Large values travel once, limits hold, a death costs a retry, what cannot come back is named."""
    heavy = bytes(20_000_000)

    @node(output_name="place")
    def place(x: int, heavy: bytes) -> tuple[int, int, int]:
        return os.getpid(), id(heavy), len(heavy)

    places = {row["place"] for row in Pipeline([place], engine=apart).bind(heavy=heavy).map({"x": range(30)}, map_over="x")}
    assert len(places) == len({process for process, *_ in places})
    assert os.getpid() not in {process for process, *_ in places}
    assert {size for *_, size in places} == {len(heavy)}

    (tmp_path / "other").mkdir()
    both = Pipeline([alone, alone_too], engine=apart).bind(folder=str(tmp_path))
    inner = both.as_node(map_over="xs", input_mapping={"xs": "x"})
    assert Pipeline([inner], engine=apart).run({"xs": [1, 2, 3]}) == {"size": [1, 2, 3], "other": [1, 2, 3]}
    assert both.map({"x": [1, 2]}, map_over="x") == [{"size": 1, "other": 1}, {"size": 2, "other": 2}]
    assert (tmp_path / "marks").read_bytes() == (tmp_path / "other" / "marks").read_bytes() == b"+-" * 5

    rows = Pipeline([dies_once], engine=apart).bind(folder=str(tmp_path)).map({"x": range(12)}, map_over="x")
    assert [row["y"] for row in rows] == list(range(12))
    with pytest.raises(ResultTransferError, match="the result of node 'make_lock' cannot be sent back"):
        Pipeline([make_lock], engine=apart).run({"x": 1})
    rows = Pipeline([poisoned], engine=apart).map({"x": range(10)}, map_over="x", on_error="return")
    assert [(failure.item, type(failure.error)) for failure in rows.failures] == [(7, WorkerLostError)]


@pytest.mark.parametrize("alias", ALIASES)
def test_what_was_finished_before_a_failure_is_kept(alias: str, parallel: HyperNodesEngine, tmp_path: Path) -> None:
    @node(output_name="y", ignore=["folder"])
    def fussy(x: int, folder: str) -> int:
        import time

        time.sleep(0.01)
        if x == 30:
            raise ValueError("30 is refused")
        with open(f"{folder}/made", "a", encoding="ascii") as file:
            file.write(f"{x}\n")
        return x

    pipeline = Pipeline([fussy], engine=engine_of(alias, parallel), cache=tmp_path / "cache").bind(folder=str(tmp_path))
    with pytest.raises(ValueError, match="30 is refused"):
        pipeline.map({"x": range(60)}, map_over="x")
    made = {int(line) for line in (tmp_path / "made").read_text().split()}
    assert len(made) >= 15
    again = pipeline.map({"x": sorted(made)}, map_over="x")
    assert again.stats.ran == 0


def test_a_failure_can_be_reproduced_in_a_fresh_process(parallel: HyperNodesEngine, tmp_path: Path) -> None:
    import cloudpickle

    @node(output_name="y")
    def fussy(x: int) -> int:
        if x == 3:
            raise ValueError("3 is refused")
        return x

    rows = Pipeline([fussy], engine=parallel).map({"x": range(5)}, map_over="x", on_error="return")
    (tmp_path / "failure").write_bytes(cloudpickle.dumps(rows.failures[0]))
    script = "import pickle, sys; failure = pickle.load(open(sys.argv[1], 'rb')); failure.reproduce()"
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path / "failure")], capture_output=True, text=True, check=False)
    assert "ValueError: 3 is refused" in done.stderr


def test_workers_that_cannot_start_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hypernodes.engines._workers.START", "raise SystemExit(5)")
    with HyperNodesEngine(map_executor="parallel", max_workers=2) as engine, pytest.raises(CapabilityError, match="exit status 5"):
        Pipeline([double], engine=engine).map({"x": [1, 2]}, map_over="x")


# -- events -----------------------------------------------------------------------------------------------------------------


class Starts(PipelineCallback):
    def __init__(self) -> None:
        self.seen: list[tuple[Any, float, float, str]] = []

    def on_node_start(self, node_id: str, inputs: Any, ctx: Any) -> None:
        self.seen.append((ctx.item_index, ctx.time, time.time(), ctx.worker))


@pytest.mark.parametrize("alias", ALIASES)
def test_starts_of_long_nodes_are_told_soon(alias: str, parallel: HyperNodesEngine) -> None:
    @node(output_name="y")
    def slow(x: int) -> int:
        import time

        time.sleep(1.2)
        return x

    heard = Starts()
    pipeline = Pipeline([slow], engine=engine_of(alias, parallel))
    Pipeline([double], engine=engine_of(alias, parallel)).map({"x": range(4)}, map_over="x")  # processes start
    pipeline.with_callbacks([heard]).map({"x": range(2)}, map_over="x")
    assert sorted(item for item, *_ in heard.seen) == [0, 1]
    assert all(told - happened < 0.5 for _, happened, told, _ in heard.seen)


# -- streaming --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("alias", ALIASES)
def test_a_slow_source_does_not_hold_results_back(alias: str, parallel: HyperNodesEngine) -> None:
    gave: list[float] = []

    def source() -> Iterator[int]:
        for k in range(3):
            gave.append(time.perf_counter())
            yield k
            time.sleep(0.6)

    pipeline = Pipeline([double], engine=engine_of(alias, parallel))
    list(pipeline.map({"x": range(4)}, map_over="x"))
    for k, row in enumerate(pipeline.imap({"x": source()}, map_over="x")):
        assert row == {"doubled": 2 * k}
        assert time.perf_counter() - gave[k] < 0.5


@pytest.mark.parametrize("alias", ALIASES)
def test_no_more_items_are_taken_than_the_window_holds(alias: str, parallel: HyperNodesEngine) -> None:
    taken = [0]

    def source() -> Iterator[int]:
        while True:
            taken[0] += 1
            yield taken[0]

    stream = Pipeline([double], engine=engine_of(alias, parallel)).imap({"x": source()}, map_over="x", window=8)
    for k, _ in zip(range(100), stream, strict=False):
        assert taken[0] <= k + 1 + 8 + 1
    stream.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("alias", CONCURRENT)
def test_results_may_come_as_they_are_done(alias: str, parallel: HyperNodesEngine) -> None:
    @node(output_name="y")
    def sleepy(x: int) -> int:
        import time

        time.sleep(0.8 if x == 0 else 0.01)
        return x

    pipeline = Pipeline([sleepy], engine=engine_of(alias, parallel))
    found = [row["y"] for row in pipeline.imap({"x": range(6)}, map_over="x", ordered=False)]
    assert sorted(found) == list(range(6))
    assert found[-1] == 0


@pytest.mark.parametrize("mapped", [["x"], ["x", "k"], ["k", "x"]])
@pytest.mark.parametrize("alias", ALIASES)
def test_what_comes_before_a_source_that_fails_is_made(alias: str, mapped: list[str], parallel: HyperNodesEngine) -> None:
    def source() -> Iterator[int]:
        yield from range(5)
        raise OSError("the source broke")

    pipeline = Pipeline([node(output_name="y")(lambda x, k: x + k)], engine=engine_of(alias, parallel))
    inputs = {"x": source(), "k": range(9) if "k" in mapped else 0}
    found: list[int] = []

    with pytest.raises(OSError, match="the source broke"):
        found.extend(row["y"] for row in pipeline.imap(inputs, map_over=mapped))
    assert found == [x + (x if "k" in mapped else 0) for x in range(5)]


def test_a_list_that_fails_inside_a_nested_map_fails_it() -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise OSError("the source broke")

    inner = Pipeline([node(output_name="y")(lambda x: x)], name="inner").as_node(map_over="x")
    with pytest.raises(OSError, match="the source broke"):
        Pipeline([node(output_name="x")(broken), inner]).run({})


class OneWay:
    """Pickles, and never comes back."""

    def __init__(self, first: int, second: int) -> None:
        self.first = first

    def __reduce__(self) -> Any:
        return (OneWay, (self.first,))


@pytest.mark.parametrize("which", ["map_executor", "node_executor"])
def test_what_pickles_and_does_not_unpickle_fails_alone(which: str) -> None:
    @node(output_name="y")
    def work(x: Any) -> Any:
        return OneWay(1, 2) if x == 2 else 0

    with HyperNodesEngine(**{which: "parallel"}, max_workers=2) as engine:  # type: ignore[arg-type]
        pipeline = Pipeline([work], engine=engine)
        result = pipeline.map({"x": [1, 2, 3, OneWay(1, 2), 5]}, map_over="x", on_error="return")
    assert [isinstance(row["y"], NodeFailure) for row in result] == [False, True, False, True, False]
    assert {type(failure.error) for failure in result.failures} == {ResultTransferError}
    assert all("cannot be unpickled" in str(failure.error) for failure in result.failures)
    assert "missing 1 required positional argument" in str(result.failures[0].error)


def test_a_worker_that_dies_beside_results_that_are_cached(parallel: HyperNodesEngine, tmp_path: Path) -> None:
    @node(output_name="a")
    def first(x: int) -> int:
        return x + 1

    @node(output_name="b")
    def second(a: int, k: int) -> int:
        import os

        if a == 3 and k == 1:
            os._exit(9)
        return a * 2

    pipeline = Pipeline([first, second], engine=parallel, cache=DiskCache(tmp_path))
    pipeline.map({"x": [1, 2, 3, 4], "k": 0}, map_over="x")
    result = pipeline.map({"x": [1, 2, 3, 4], "k": 1}, map_over="x", on_error="return", output_name="b")
    assert [type(row["b"]) for row in result] == [int, NodeFailure, int, int]
    (failure,) = result.failures
    assert (failure.node, type(failure.error)) == ("second", WorkerLostError)


def test_two_streams_at_once_both_stop_at_sigterm() -> None:
    pipeline = Pipeline([node(output_name="y")(lambda x: x)], engine=HyperNodesEngine(map_executor="threaded", max_workers=2))
    before = signal.getsignal(signal.SIGTERM)
    first, second = (iter(pipeline.imap({"x": range(1000)}, map_over="x")) for _ in range(2))
    next(first), next(second)
    during = signal.getsignal(signal.SIGTERM)
    assert during != before
    first.close()  # type: ignore[attr-defined]
    assert signal.getsignal(signal.SIGTERM) == during
    second.close()  # type: ignore[attr-defined]
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_failure_builds_no_stateful_object_here(tmp_path: Path) -> None:
    @stateful
    class Model:
        def __init__(self, folder: str) -> None:
            Path(folder, f"{os.getpid()}").touch()

        def go(self) -> int:
            return 1

    @node(output_name="y")
    def work(x: int, model: Any) -> int:
        if x == 2:
            raise ValueError(x)
        return int(model.go())

    with HyperNodesEngine(node_executor="parallel", max_workers=2) as engine:
        pipeline = Pipeline([work], engine=engine).bind(model=Model(str(tmp_path)))
        result = pipeline.map({"x": [0, 2]}, map_over="x", on_error="return")
    assert len(result.failures) == 1
    made = {path.name for path in tmp_path.iterdir()}
    assert made
    assert str(os.getpid()) not in made


@pytest.mark.parametrize("nodes", ["sequential", "threaded", "async", "own pool"])
def test_nested_engines_may_share_a_pool_of_the_callers(nodes: str) -> None:
    with ThreadPoolExecutor(2) as pool:
        inner = Pipeline([node(output_name="y")(lambda x: x)], engine=HyperNodesEngine(map_executor=pool), name="inner")
        engine = HyperNodesEngine(pool if nodes == "own pool" else nodes, pool, max_workers=2)
        pipeline = Pipeline([inner.as_node(input_mapping={"xs": "x"}, output_mapping={"y": "ys"}, map_over="xs")], engine=engine)
        assert pipeline.map({"xs": [[1, 2], [3]] * 5}, map_over="xs") == [{"ys": [1, 2]}, {"ys": [3]}] * 5


@pytest.mark.parametrize("nodes", ["default", "sequential", "threaded", "parallel"])
def test_cancelling_an_awaited_map_makes_no_more_calls(nodes: str) -> None:
    made: list[int] = []

    def work(x: int) -> int:
        time.sleep(0.02)
        made.append(x)
        return x

    def endless() -> Iterator[int]:
        for x in range(10**9):
            taken.append(x)
            yield x

    async def main(pipeline: Pipeline) -> float:
        task = asyncio.create_task(pipeline.amap({"x": endless()}, map_over="x"))
        await asyncio.sleep(0.5)
        start = time.perf_counter()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return time.perf_counter() - start

    taken: list[int] = []
    engine = SeqEngine() if nodes == "default" else HyperNodesEngine(nodes, max_workers=2)
    assert asyncio.run(main(Pipeline([node(output_name="y")(work)], engine=engine))) < 3.0
    known = len(made), len(taken)
    time.sleep(0.3)
    assert (len(made), len(taken)) == known


def test_items_that_are_lost_are_told_of_like_all_others() -> None:
    class Stuck:
        def __reduce__(self) -> Any:
            raise TypeError("it stays here")

    @node(output_name="y")
    def work(x: Any) -> Any:
        import os

        return os._exit(3) if x == 1 else x

    @node(output_name="z")
    def after(y: Any) -> Any:
        return y

    listener = Listener()
    with HyperNodesEngine(map_executor="parallel", max_workers=2) as engine:
        inner = Pipeline([work], name="inner")
        pipeline = Pipeline([inner, after], engine=engine, callbacks=[listener])
        result = pipeline.map({"x": [0, 1, 2, Stuck(), 4]}, map_over="x", on_error="return")
    assert {failure.item for failure in result.failures} == {1, 3}
    assert problems(listener.events) == []
    ends = [event.items for event in listener.of("item_end")]
    assert sorted(ends) == [(0,), (1,), (2,), (3,), (4,)]
    assert {(event.node, event.items) for event in listener.of("error")} >= {("work", (1,))}


def test_summaries_show_what_errors_say() -> None:
    text = "could not reach the server at https://example.org/long/path: connection refused"

    def fail(x: int) -> int:
        raise ValueError(text if x else text * 10)

    result = Pipeline([node(output_name="y")(fail)]).map({"x": [1, 1]}, map_over="x", on_error="return")
    assert repr(text) in result.summary()
    result = Pipeline([node(output_name="y")(fail)]).map({"x": [0, 0]}, map_over="x", on_error="return")
    assert text in result.summary()
    assert "…" in result.summary()


INTERRUPTED = """
import os, signal, threading, time
from hypernodes import HyperNodesEngine, Pipeline, node

@node(output_name="y")
def work(x: int) -> int:
    if x > 3:
        time.sleep(12)
    return x

threading.Timer(1, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
start = time.perf_counter()
try:
    Pipeline([work], engine=HyperNodesEngine(map_executor="async", max_workers=3)).map({"x": range(8)}, map_over="x")
except KeyboardInterrupt:
    print(time.perf_counter() - start, flush=True)
"""


def test_a_plain_function_that_was_quick_does_not_hold_up_an_interrupt(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(INTERRUPTED, "utf-8")
    done = subprocess.run([sys.executable, tmp_path / "script.py"], capture_output=True, text=True, check=False, timeout=30)
    assert float(done.stdout) < 1 + 5, done.stderr


@pytest.mark.parametrize("alias", ALIASES)
def test_a_stream_that_gives_up_names_all_that_failed(alias: str, parallel: HyperNodesEngine) -> None:
    def odd(x: int) -> int:
        if x % 2:
            raise ValueError(x)
        return x

    stream = Pipeline([node(output_name="y")(odd)], engine=engine_of(alias, parallel)).imap(
        {"x": range(20)}, map_over="x", on_error="return", max_failures=3, window=4
    )
    with pytest.raises(TooManyFailuresError) as caught:
        list(stream)
    failed = [failure.inputs["x"] for failure in caught.value.failures]
    assert [str(x) for x in caught.value.failed_inputs["x"]] == failed
    assert len(failed) >= 4


@pytest.mark.parametrize("cached", [False, True])
def test_a_stream_that_is_closed_makes_no_more_calls(cached: bool) -> None:
    made: list[int] = []

    def work(x: int) -> int:
        time.sleep(0.02)
        made.append(x)
        return x

    engine = HyperNodesEngine(map_executor="threaded", max_workers=2)
    pipeline = Pipeline([node(output_name="y")(work)], engine=engine, cache=MemoryCache() if cached else None)
    stream = pipeline.imap({"x": range(100_000)}, map_over="x")
    for _ in range(100):
        next(stream)
    known = len(made)
    stream.close()  # type: ignore[attr-defined]
    assert len(made) <= known + 3  # those under way, and one that was just done


def test_an_output_that_cannot_be_sent_back_is_told_as_a_failure(parallel: HyperNodesEngine) -> None:
    @node(output_name="y")
    def work(x: int) -> Any:
        import threading

        return threading.Lock() if x == 1 else x

    listener = Listener()
    result = Pipeline([work], engine=parallel, callbacks=[listener]).map({"x": [0, 1, 2]}, map_over="x", on_error="return")
    assert [failure.item for failure in result.failures] == [1]
    assert problems(listener.events) == []
    assert [(event.kind, event.items) for event in listener.of("error")] == [("error", (1,))]
    assert sorted(event.items for event in listener.of("node_end")) == [(0,), (2,)]


def test_an_engine_that_is_closed_during_a_call_says_so() -> None:
    caught: list[BaseException] = []

    def call() -> None:
        try:
            Pipeline([slow_double], engine=engine).map({"x": range(300)}, map_over="x", on_error="return")
        except HyperNodesError as error:
            caught.append(error)

    engine = HyperNodesEngine(map_executor="parallel", max_workers=2)
    thread = threading.Thread(target=call)
    thread.start()
    time.sleep(1.5)
    engine.close()
    thread.join(20)
    assert not thread.is_alive()
    assert "the engine was closed while a call was under way" in str(caught[0])


UNFINISHED = """
import itertools
from hypernodes import HyperNodesEngine, Pipeline, node

@node(output_name="y")
def work(x: int) -> int:
    import time
    time.sleep(0.02)
    return x

stream = Pipeline([work], engine=HyperNodesEngine(map_executor="parallel", max_workers=2)).imap({"x": itertools.count()}, map_over="x")
print(next(stream), flush=True)
"""


def test_a_stream_left_open_at_the_end_of_the_program_is_silent(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(UNFINISHED, "utf-8")
    done = subprocess.run([sys.executable, tmp_path / "script.py"], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout.split()[0], done.stderr) == (0, "{'y':", "")


# -- signals ----------------------------------------------------------------------------------------------------------------

SCRIPT = """
import os, sys, time
from hypernodes import HyperNodesEngine, Pipeline, node

@node(output_name="y")
def work(x: int, folder: str) -> int:
    with open(f"{folder}/pid-{os.getpid()}", "w"): pass
    if x >= 40:
        with open(f"{folder}/long-{x}", "w"): pass
    time.sleep(0.02 if x < 40 else 60)
    with open(f"{folder}/made-{x}", "w"): pass
    return x

pipeline = Pipeline([work], engine=HyperNodesEngine(map_executor=sys.argv[2], max_workers=2), cache=f"{sys.argv[1]}/cache")
pipeline.bind(folder=sys.argv[1])
if len(sys.argv) > 3:
    print(pipeline.map({"x": range(40)}, map_over="x").stats.ran)
else:
    print("begin", flush=True)
    pipeline.map({"x": range(60)}, map_over="x")
"""


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes where Linux lists them")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("alias", ["threaded", "parallel", "async"] if FEWER == 1 else ["parallel"])
def test_signals_leave_no_orphans_and_keep_what_is_finished(alias: str, number: signal.Signals, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT, "utf-8")
    process = subprocess.Popen([sys.executable, script, tmp_path, alias], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "begin\n"
    end = time.perf_counter() + 30
    while len(list(tmp_path.glob("long-*"))) < 2 and time.perf_counter() < end:
        time.sleep(0.05)
    time.sleep(2.5)  # a result waits for a second at most until it is kept; and a busy disk takes its time
    start = time.perf_counter()
    process.send_signal(number)
    process.communicate(timeout=10)
    assert time.perf_counter() - start < 5
    assert process.returncode != 0
    end = time.perf_counter() + 5
    pids = [int(path.name.removeprefix("pid-")) for path in tmp_path.glob("pid-*")]
    while any(map(alive, pids)) and time.perf_counter() < end:
        time.sleep(0.05)
    assert not [pid for pid in pids if alive(pid)]
    made = len(list(tmp_path.glob("made-*")))  # an event loop may come to two long ones before the last of the others
    assert made >= 20
    again = subprocess.run([sys.executable, script, tmp_path, alias, "again"], capture_output=True, text=True, check=True)
    assert int(again.stdout) == 40 - made
