"""Pools of somebody else's as executors of ``HyperNodesEngine``: those of loky, on which joblib and scikit-learn stand."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypernodes import HyperNodesEngine, NodeFailure, Pipeline, SeqEngine, node
from hypernodes.errors import NodeTimeoutError, WorkerLostError

loky = pytest.importorskip("loky", reason="the pools under test are loky's")

POOLS: dict[str, Callable[[], Any]] = {
    "pool": lambda: loky.ProcessPoolExecutor(max_workers=2),
    "reusable": lambda: loky.get_reusable_executor(max_workers=2),
}
ROLES = pytest.mark.parametrize("role", ["map_executor", "node_executor"])


@pytest.fixture(params=POOLS)
def either(request: pytest.FixtureRequest) -> Iterator[Any]:
    """A pool of each kind, for this test alone, since some tests break it."""
    made = POOLS[request.param]()
    yield made
    made.shutdown(kill_workers=True)


@pytest.fixture
def pool() -> Iterator[Any]:
    """A pool for this test alone."""
    made = POOLS["pool"]()
    yield made
    made.shutdown(kill_workers=True)


@pytest.fixture(scope="module")
def kept() -> Iterator[Any]:
    """One pool for the tests that leave it as it was."""
    with loky.ProcessPoolExecutor(max_workers=2) as made:
        yield made


def engine_of(role: str, pool: Any) -> HyperNodesEngine:
    arguments = {role: pool}
    return HyperNodesEngine(**arguments)


@node(output_name="doubled")
def double(x: int) -> int:
    return 2 * x


@node(output_name="tripled")
async def triple(doubled: int) -> int:
    await asyncio.sleep(0)
    return 3 * doubled


@node(output_name="total")
def total(tripled: list[int]) -> int:
    return sum(tripled)


@node(output_name="inverse")
def invert(x: int) -> float:
    return 1 / x


@node(output_name="process")
def where(x: int) -> int:
    return os.getpid()


@node(output_name="y")
def dies_once(x: int, folder: str) -> int:
    if x == 7 and not os.path.exists(f"{folder}/died"):
        open(f"{folder}/died", "w").close()
        os._exit(3)
    return x


@node(output_name="y")
def poisoned(x: int) -> int:
    if x == 7:
        os._exit(3)
    return x


# -- results ------------------------------------------------------------------------------------------------------------


@ROLES
def test_the_pool_does_the_work_and_is_not_shut_down(role: str, either: Any) -> None:
    pipeline = Pipeline([double, where], engine=engine_of(role, either))
    for _ in range(2):
        rows = pipeline.map({"x": range(30)}, map_over="x")
        assert [row["doubled"] for row in rows] == [2 * x for x in range(30)]
        assert {row["process"] for row in rows} <= set(either._processes)  # noqa: SLF001 - nothing public tells it
        assert either.submit(abs, -1).result() == 1


@ROLES
def test_nothing_depends_on_who_runs_it(role: str, kept: Any, tmp_path: Path) -> None:
    def told(engine: Any, cache: Path) -> list[Any]:
        inner = Pipeline([double, triple], name="inner").as_node(map_over="xs", input_mapping={"xs": "x"})
        outer = Pipeline([inner, total], engine=engine, cache=cache)
        xs = [[1, 2], [3], [], [4, 5, 2]]
        first = outer.map({"xs": xs}, map_over="xs")
        again = outer.map({"xs": xs}, map_over="xs")
        failed = Pipeline([invert], engine=engine).map({"x": [1, 0, 4]}, map_over="x", on_error="return")
        failures = [(failure.node, failure.item, type(failure.error), str(failure.error)) for failure in failed.failures]
        return [list(first), list(again), again.stats.ran, outer.run({"xs": [7, 8]}), failed[2], failures]

    assert told(engine_of(role, kept), tmp_path / "there") == told(SeqEngine(), tmp_path / "here")


def test_one_pool_for_items_and_nodes(kept: Any) -> None:
    pipeline = Pipeline([double, triple, where], engine=HyperNodesEngine(node_executor=kept, map_executor=kept))
    rows = pipeline.map({"x": range(30)}, map_over="x")
    assert [row["tripled"] for row in rows] == [6 * x for x in range(30)]
    assert os.getpid() not in {row["process"] for row in rows}


def test_several_calls_share_a_pool(kept: Any) -> None:
    def call(number: int) -> list[int]:
        engine = engine_of("map_executor" if number % 2 else "node_executor", kept)
        return [row["doubled"] for row in Pipeline([double], engine=engine).map({"x": range(number, number + 40)}, map_over="x")]

    with ThreadPoolExecutor(4) as threads:
        for number, found in enumerate(threads.map(call, range(4))):
            assert found == [2 * x for x in range(number, number + 40)]


def test_an_engine_with_a_pool_travels(kept: Any) -> None:
    """Into other processes, where the pool of this one cannot be: what stands for it there has its size."""
    engine = engine_of("map_executor", kept)
    assert engine.capabilities.workers == pickle.loads(pickle.dumps(engine)).capabilities.workers == 2
    inner = Pipeline([double, triple], name="inner", engine=engine).as_node(map_over="xs", input_mapping={"xs": "x"})
    outer = Pipeline([inner, total], engine=HyperNodesEngine(map_executor=kept))
    assert [row["total"] for row in outer.map({"xs": [[1, 2], [3]]}, map_over="xs")] == [18, 18]


@pytest.mark.filterwarnings("ignore:A worker stopped while some jobs:UserWarning")
def test_workers_that_end_when_they_are_idle() -> None:
    """A pool may end them while a slow source gives nothing; others take their place in the middle of the map."""

    def source() -> Iterator[int]:
        for k in range(3):
            yield k
            time.sleep(0.6)

    with loky.ProcessPoolExecutor(max_workers=2, timeout=0.1) as pool:
        rows = list(Pipeline([double, where], engine=engine_of("map_executor", pool)).imap({"x": source()}, map_over="x"))
    assert [row["doubled"] for row in rows] == [0, 2, 4]
    assert len({row["process"] for row in rows}) > 1


# -- failures -----------------------------------------------------------------------------------------------------------


@ROLES
def test_a_death_costs_no_results(role: str, either: Any, tmp_path: Path) -> None:
    pipeline = Pipeline([double, dies_once], engine=engine_of(role, either)).bind(folder=str(tmp_path))
    rows = pipeline.map({"x": range(40)}, map_over="x")
    assert (tmp_path / "died").exists()
    assert list(rows) == [{"doubled": 2 * x, "y": x} for x in range(40)]


@ROLES
def test_a_pool_that_was_broken_before_is_replaced_too(role: str, pool: Any) -> None:
    """It stays broken: whoever goes on with the same pipeline after a call in which a worker died has such a pool."""
    with pytest.raises(loky.process_executor.TerminatedWorkerError):
        pool.submit(os._exit, 3).result()
    rows = Pipeline([double], engine=engine_of(role, pool)).map({"x": range(10)}, map_over="x")
    assert list(rows) == [{"doubled": 2 * x} for x in range(10)]


class Bounded:
    """A pool whose ``submit`` waits until there is room, so that it is the first to find out that a worker died."""

    _max_workers = 2

    def __init__(self, pool: Any) -> None:
        self.pool = pool
        self.last: Future[Any] | None = None

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        if self.last is not None:
            self.last.exception(20)
        self.last = self.pool.submit(fn, *args, **kwargs)
        return self.last


@ROLES
def test_a_death_that_the_next_submit_finds_out_costs_no_results(role: str, pool: Any, tmp_path: Path) -> None:
    pipeline = Pipeline([dies_once], engine=engine_of(role, Bounded(pool))).bind(folder=str(tmp_path))
    rows = pipeline.map({"x": [7, *range(20)]}, map_over="x")
    assert (tmp_path / "died").exists()
    assert [row["y"] for row in rows] == [7, *range(20)]


@ROLES
def test_a_death_costs_nothing_that_is_cached(role: str, pool: Any, tmp_path: Path) -> None:
    pipeline = Pipeline([double, dies_once], engine=engine_of(role, pool), cache=tmp_path / "cache").bind(folder=str(tmp_path))
    rows = pipeline.map({"x": range(40)}, map_over="x")
    assert [row["y"] for row in rows] == list(range(40))
    assert pipeline.map({"x": range(40)}, map_over="x").stats.ran == 0


@ROLES
def test_an_item_that_kills_its_workers_is_isolated(role: str, pool: Any) -> None:
    rows = Pipeline([poisoned], engine=engine_of(role, pool)).map({"x": range(20)}, map_over="x", on_error="return")
    assert [row["y"] for row in rows if not isinstance(row["y"], NodeFailure)] == [x for x in range(20) if x != 7]
    assert [(failure.node, failure.item, type(failure.error)) for failure in rows.failures] == [("poisoned", 7, WorkerLostError)]


@ROLES
def test_a_node_that_takes_too_long_is_left(role: str, pool: Any) -> None:
    @node(output_name="y", timeout=0.3)
    def slow(x: int) -> int:
        import time

        time.sleep(20 if x == 3 else 0)
        return x

    start = time.perf_counter()
    rows = Pipeline([slow], engine=engine_of(role, pool)).map({"x": range(6)}, map_over="x", on_error="return")
    assert time.perf_counter() - start < 10
    assert [(failure.item, type(failure.error)) for failure in rows.failures] == [(3, NodeTimeoutError)]
    assert [row["y"] for row in rows if not isinstance(row["y"], NodeFailure)] == [0, 1, 2, 4, 5]


@ROLES
def test_a_pool_that_was_shut_down_says_so(role: str) -> None:
    pool = loky.ProcessPoolExecutor(max_workers=2)
    pool.shutdown()
    with pytest.raises(RuntimeError, match="shutdown"):
        Pipeline([double], engine=engine_of(role, pool)).map({"x": range(4)}, map_over="x")


# -- processes are left alone, and leave nothing behind -----------------------------------------------------------------


@ROLES
def test_workers_do_not_complain_when_a_call_is_over(role: str, pool: Any, capfd: pytest.CaptureFixture[str]) -> None:
    Pipeline([double], engine=engine_of(role, pool)).map({"x": range(30)}, map_over="x")
    pool.submit(time.sleep, 0.3).result()  # whoever complains has done it by then
    assert capfd.readouterr().err == ""


SCRIPT = """
import os, sys, time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from loky import ProcessPoolExecutor as LokyExecutor
from hypernodes import HyperNodesEngine, Pipeline, node

@node(output_name="y")
def work(x: int, folder: str) -> int:
    with open(f"{folder}/pid-{os.getpid()}", "w"): pass
    time.sleep(60)
    return x

if __name__ == "__main__":
    folder, role, kind = sys.argv[1:]
    pool = LokyExecutor(2) if kind == "loky" else ProcessPoolExecutor(2, mp_context=get_context(kind))
    Pipeline([work], engine=HyperNodesEngine(**{role: pool})).bind(folder=folder).map({"x": range(4)}, map_over="x")
"""


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes where Linux lists them")
@pytest.mark.parametrize(
    ("kind", "role", "workers"),
    [
        ("loky", "map_executor", 2),
        ("loky", "node_executor", 1),
        *((kind, "map_executor", 2) for kind in multiprocessing.get_all_start_methods()),
    ],
)
def test_no_busy_worker_outlives_a_program_that_was_killed(kind: str, role: str, workers: int, tmp_path: Path) -> None:
    """The pool's own way to end its workers ends with the program; a worker that is at work for us knows that nobody waits for it."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT, "utf-8")
    command = [sys.executable, script, tmp_path, role, kind]
    program = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        end = time.perf_counter() + 20
        while len(pids := [int(path.name.removeprefix("pid-")) for path in tmp_path.glob("pid-*")]) < workers:
            assert time.perf_counter() < end, pids
            time.sleep(0.02)
        program.kill()
        program.wait()
        end = time.perf_counter() + 4
        while any(map(alive, pids)) and time.perf_counter() < end:
            time.sleep(0.02)
        assert not [pid for pid in pids if alive(pid)]
    finally:
        with contextlib.suppress(ProcessLookupError):  # idle workers of a pool may stay; they are no business of ours
            os.killpg(program.pid, signal.SIGKILL)
        program.wait()
