"""The suites that authors inherit: our own engines, drivers and callbacks pass them, and wrong ones do not."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import multiprocessing
import os
import subprocess
import sys
import textwrap
import threading
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import attrs
import hypernodes
import pytest
from hypernodes import Engine, EngineCapabilities, LoggingCallback, Pipeline, PipelineCallback, RunInfo, SeqEngine
from hypernodes._block import Block, BlockResult
from hypernodes._drive import adrive, drive_pool
from hypernodes.engines import EngineRun, Session, Task
from hypernodes.errors import OptionError
from hypernodes.testing import CallbackSuite, EngineSuite
from hypernodes.testing import _nodes as nodes
from hypernodes.testing._engines import PackedEngine
from hypernodes.testing._events import Listener, ValueListener
from random_graphs import share

SOURCES = str(Path(hypernodes.__file__).parent.parent)


# -- engines around the drivers -------------------------------------------------------------------------------------


class NodesOnThreads(Engine):
    """Independent nodes of one block at the same time: the pool driver."""

    name = "pool-driver"
    capabilities = EngineCapabilities(workers=1, resources={"gpu": 1})

    def execute(self, run: EngineRun, tasks: Iterator[Task]) -> Iterator[BlockResult]:
        with ThreadPoolExecutor(4) as pool:
            for task in tasks:
                yield task(lambda block: drive_pool(block, pool, 4))


class NodesAsCoroutines(Engine):
    """Coroutine nodes of one block at the same time: the coroutine driver."""

    name = "coroutine-driver"
    capabilities = EngineCapabilities(workers=1)

    def execute(self, run: EngineRun, tasks: Iterator[Task]) -> Iterator[BlockResult]:
        for task in tasks:
            try:
                asyncio.get_running_loop()
            except RuntimeError:
                yield task(_as_coroutines)
            else:  # a thread has one running loop at most
                with ThreadPoolExecutor(1) as helper:
                    yield helper.submit(task, _as_coroutines).result()


def _as_coroutines(block: Block) -> BlockResult:
    return asyncio.run(adrive(block, 4))


class BlocksOnThreads(Engine):
    """Several blocks at the same time, in no particular order."""

    name = "threads"
    capabilities = EngineCapabilities(workers=3)

    def open(self, run: EngineRun) -> Session:
        return OnExecutor(ThreadPoolExecutor(3))


class BlocksInProcesses(Engine):
    """Several blocks at the same time, in processes of the caller's own pool."""

    name = "processes"
    capabilities = EngineCapabilities(workers=2, reach="host", shares_memory=False, task_overhead_s=0.0002)

    def __init__(self, pool: Executor | None) -> None:
        super().__init__()
        self.pool = pool

    def open(self, run: EngineRun) -> Session:
        return OnExecutor(self.pool, ours=False) if self.pool is not None else OnExecutor(new_processes())

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (None,))  # elsewhere it has a pool of its own


class OnExecutor(Session):
    def __init__(self, executor: Executor, *, ours: bool = True) -> None:
        self.executor = executor
        self.ours = ours
        self.futures: list[Future[BlockResult]] = []

    def submit(self, task: Task) -> Future[BlockResult]:
        future = self.executor.submit(task)
        self.futures = [known for known in self.futures if not known.done()] + [future]
        return future

    def __exit__(self, *_: object) -> None:
        if self.ours:
            self.executor.shutdown(cancel_futures=True)
        else:
            for future in self.futures:  # the pool goes on living, this run does not
                if not future.cancel():
                    future.exception()


def new_processes() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(2, multiprocessing.get_context("spawn"))


class TestSeqEngine(EngineSuite):
    def make_engine(self) -> Engine:
        return SeqEngine()


class _PoolDriver(EngineSuite):
    def make_engine(self) -> Engine:
        return NodesOnThreads()


class _CoroutineDriver(EngineSuite):
    def make_engine(self) -> Engine:
        return NodesAsCoroutines()


class _BlocksOnThreads(EngineSuite):
    def make_engine(self) -> Engine:
        return BlocksOnThreads()


if os.environ.get("HYPERNODES_ENGINES") == "all":  # HyperNodesEngine does the same with the same drivers
    TestPoolDriver, TestCoroutineDriver, TestBlocksOnThreads = _PoolDriver, _CoroutineDriver, _BlocksOnThreads


class TestPackedEngine(EngineSuite):
    def make_engine(self) -> Engine:
        return PackedEngine()


class TestBlocksInProcesses(EngineSuite):
    pool: Executor

    @pytest.fixture(autouse=True, scope="class")
    @staticmethod
    def _processes() -> Iterator[None]:
        with new_processes() as pool:
            list(pool.map(nodes.marks, [""] * 4))  # they take a moment to start
            TestBlocksInProcesses.pool = pool
            yield

    def make_engine(self) -> Engine:
        return BlocksInProcesses(self.pool)


def test_a_pool_of_ones_own_is_gone_after_each_run() -> None:
    before = set(multiprocessing.active_children())
    engine = BlocksInProcesses(None)
    assert Pipeline([nodes.increase], engine=engine).map({"x": range(5)}, map_over="x") == [{"more": x + 1} for x in range(5)]
    with pytest.raises(ValueError, match="7 is refused"):
        Pipeline([nodes.check], engine=engine).map({"x": range(1, 9)}, map_over="x")
    assert set(multiprocessing.active_children()) <= before


def test_nodes_of_one_item_run_at_the_same_time() -> None:
    """The drivers are not just correct: what can overlap does."""
    barrier = threading.Barrier(3, timeout=5)

    def meet(x: int) -> int:
        return x + barrier.wait() * 0

    nodes = [hypernodes.node(output_name=f"o{k}", name=f"n{k}")(meet) for k in range(3)]
    assert Pipeline(nodes, engine=NodesOnThreads()).run({"x": 1}) == {"o0": 1, "o1": 1, "o2": 1}
    event: list[asyncio.Event] = []

    async def first(x: int) -> int:
        event.append(asyncio.Event())
        await asyncio.wait_for(event[0].wait(), 5)
        return x

    async def second(x: int) -> int:
        event[0].set()
        return x

    pair = [hypernodes.node(output_name="a")(first), hypernodes.node(output_name="b")(second)]
    assert Pipeline(pair, engine=NodesAsCoroutines()).run({"x": 1}) == {"a": 1, "b": 1}


# -- callbacks ------------------------------------------------------------------------------------------------------


class TestLoggingCallback(CallbackSuite):
    def make_callback(self) -> PipelineCallback:
        return LoggingCallback(node_level=50)


class TestSilentCallback(CallbackSuite):
    def make_callback(self) -> PipelineCallback:
        return PipelineCallback()


class Scope:
    """Sets a variable around each node."""

    def enter(self, node: str, item: int | None, carrier: Mapping[str, str]) -> contextlib.AbstractContextManager[object]:
        return self.around(f"{node} {item} {carrier}")

    @contextlib.contextmanager
    def around(self, text: str) -> Iterator[None]:
        token = AROUND.set(text)
        try:
            yield
        finally:
            AROUND.reset(token)


AROUND: contextvars.ContextVar[str] = contextvars.ContextVar("around", default="")


class Scoped(PipelineCallback):
    """Has a scope and nothing else."""

    def node_scope(self, run: RunInfo) -> Scope:
        return Scope()


class TestScopedCallback(CallbackSuite):
    def make_callback(self) -> PipelineCallback:
        return Scoped()


class TestListener(CallbackSuite):
    keeps_values = True

    def make_callback(self) -> PipelineCallback:
        return Listener()


class TestValueListener(CallbackSuite):
    keeps_values = True

    def make_callback(self) -> PipelineCallback:
        return ValueListener()


# -- a check that cannot fail is no check ---------------------------------------------------------------------------

WRONG_ENGINES = """
    import copy, threading, time
    from concurrent.futures import ThreadPoolExecutor
    import attrs
    from hypernodes import Engine, EngineCapabilities
    from hypernodes.testing import EngineSuite

    class Base(Engine):
        name = "wrong"
        def execute(self, run, tasks):
            for task in tasks:
                yield from self.step(task)

    class Drops(Base):
        def step(self, task):
            result = task()
            if task.index != 1:
                yield result

    class Cuts(Base):
        def step(self, task):
            result = task()
            result.columns = [list(column)[:1] for column in result.columns]
            result.size = min(result.size, 1)
            yield result

    class Reorders(Base):
        def execute(self, run, tasks):
            results = [task() for task in tasks]
            for result in results:
                result.index = len(results) - 1 - result.index
            yield from results

    class Swallows(Base):
        def step(self, task):
            result = task()
            if result.failure is not None:
                result.failure, result.columns = None, [[None] * result.size]
            yield result

    class Wraps(Base):
        def step(self, task):
            result = task()
            if result.failure is not None:
                raise RuntimeError("worker failed") from result.failure.error
            yield result

    class Forgets(Base):
        def step(self, task):
            task.tell = None
            result = task()
            result.recorded = None
            yield result

    class Doubles(Base):
        def step(self, task):
            task.tell = None
            result = task()
            if result.recorded is not None:
                result.recorded.rows = [row for row in result.recorded.rows for _ in range(2)]
            yield result

    class Shuffles(Base):
        def step(self, task):
            task.tell = None
            result = task()
            if result.recorded is not None:
                result.recorded.rows.reverse()
            yield result

    class Repeats(Base):
        def step(self, task):
            task.tell, tell = None, task.tell
            task()
            task.tell = tell
            yield task()

    class TellsElsewhere(Base):
        def step(self, task):
            def work():
                task.thread = threading.get_ident()
                return task()
            with ThreadPoolExecutor(1) as pool:
                yield pool.submit(work).result()

    class RunsAhead(Base):
        def execute(self, run, tasks):
            for task in list(tasks):
                yield task()

    class Copies(Base):
        def step(self, task):
            task.common.constants = {name: copy.deepcopy(value) for name, value in task.common.constants.items()}
            yield task()

    class LeavesThreads(Base):
        def step(self, task):
            threading.Thread(target=time.sleep, args=(30,), daemon=True).start()
            yield task()

    class GoesOn(Base):
        def execute(self, run, tasks):
            pool = ThreadPoolExecutor(1)
            futures = []
            for task in tasks:
                futures.append(pool.submit(task))
                if len(futures) >= run.window:
                    yield futures.pop(0).result()
            for future in futures:
                yield future.result()
            pool.shutdown()

    class ForgetsItems(Base):
        def step(self, task):
            task.first = 0
            yield task()

    class HasNoGpu(Base):
        capabilities = EngineCapabilities(resources={"unobtainium": 5})
        def step(self, task):
            yield task()

    class HoldsLock(Base):
        def __init__(self):
            super().__init__()
            self.lock = threading.Lock()
        def step(self, task):
            yield task()

    class Stateful(Base):
        def step(self, task):
            if getattr(self, "used", 0) > 4:
                raise RuntimeError("used up")
            self.used = getattr(self, "used", 0) + 1
            yield task()

    class Waits(Base):
        def step(self, task):
            time.sleep(0.0)
            result = task()
            if result.failures:
                time.sleep(1.5)
            yield result
"""

MUST_FAIL = {  # engine -> a test that finds it out
    "Drops": "test_results[chain-mapped]",
    "Cuts": "test_results[chain-mapped-long]",
    "Reorders": "test_results[chain-mapped]",
    "Swallows": "test_the_original_exception_with_the_node_named",
    "Wraps": "test_the_original_exception_with_the_node_named",
    "Forgets": "test_events[chain]",
    "Doubles": "test_events[chain-mapped]",
    "Shuffles": "test_events[nested]",
    "Repeats": "test_every_item_runs_once",
    "TellsElsewhere": "test_events[chain]",
    "RunsAhead": "test_imap_over_endless_input_is_bounded[3]",
    "Copies": "test_constants_are_shared",
    "LeavesThreads": "test_nothing_is_left_running",
    "GoesOn": "test_nothing_is_left_running",
    "ForgetsItems": "test_events[chain-mapped]",
    "HasNoGpu": "test_resources_it_lacks_are_refused",
    "HoldsLock": "test_travels_and_still_works",
    "Stateful": "test_is_used_again_and_again",
    "Waits": "test_timeouts[function]",
}

WRONG_CALLBACKS = """
    import threading, time
    from hypernodes import PipelineCallback
    from hypernodes.testing import CallbackSuite

    class Raises(PipelineCallback):
        def on_map_start(self, total_items, ctx):
            self.left = total_items - 1

    class Prints(PipelineCallback):
        def on_node_end(self, node_id, outputs, duration, ctx):
            str(dict(outputs))

    class Changes(PipelineCallback):
        def on_node_end(self, node_id, outputs, duration, ctx):
            for value in outputs.values():
                if type(value) is dict:
                    value["b"] = 1

    class KeepsContext(PipelineCallback):
        def on_node_start(self, node_id, inputs, ctx):
            self.last = ctx

    class KeepsValues(PipelineCallback):
        def on_node_end(self, node_id, outputs, duration, ctx):
            self.last = dict(outputs)

    class OneRunOnly(PipelineCallback):
        run = None
        def on_run_start(self, run, ctx):
            self.run = run.run_id
        def on_node_end(self, node_id, outputs, duration, ctx):
            assert ctx.run_id == self.run

    class HoldsLock(PipelineCallback):
        def __init__(self):
            self.lock = threading.Lock()

    class OpensLate(PipelineCallback):
        def on_run_start(self, run, ctx):
            self.lock = threading.Lock()

    class WrongSignature(PipelineCallback):
        def on_node_cached(self, node_id, ctx):
            pass

    class LeavesThread(PipelineCallback):
        def on_run_start(self, run, ctx):
            threading.Thread(target=time.sleep, args=(30,), daemon=True).start()

    class ScopeSwallows(PipelineCallback):
        def node_scope(self, run):
            return Swallowing()

    class Swallowing:
        def enter(self, node, item, carrier):
            import contextlib
            return contextlib.suppress(Exception)

    class ScopeOnce(PipelineCallback):
        def node_scope(self, run):
            return Once()

    class Once:
        def __init__(self):
            self.lock = threading.Lock()
        def enter(self, node, item, carrier):
            return self.lock

    class Fields(PipelineCallback):
        required = "yes"
"""

CALLBACKS_MUST_FAIL = {
    "Raises": "test_changes_nothing[a_map_of_unknown_length]",
    "Prints": "test_changes_nothing[hostile_values]",
    "Changes": "test_changes_nothing[mutable_values]",
    "KeepsContext": "test_keeps_no_context",
    "KeepsValues": "test_keeps_no_values",
    "OneRunOnly": "test_changes_nothing[two_streams_at_once]",
    "HoldsLock": "test_travels",
    "OpensLate": "test_travels",
    "WrongSignature": "test_signatures[on_node_cached]",
    "LeavesThread": "test_leaves_nothing_running",
    "ScopeSwallows": "test_its_node_scope",
    "ScopeOnce": "test_its_node_scope",
    "Fields": "test_describes_itself",
}


def _failures(folder: Path, code: str, suite: str, make: str, cases: dict[str, str]) -> set[tuple[str, str]]:
    """Run those tests of a suite on wrong classes in a fresh pytest; return which failed."""
    classes = "".join(f"\nclass Test{name}({suite}):\n    def {make}(self):\n        return {name}()\n" for name in cases)
    (folder / "test_wrong.py").write_text(textwrap.dedent(code) + classes)
    chosen = [f"test_wrong.py::Test{name}::{test}" for name, test in cases.items()]
    path = os.pathsep.join(filter(None, [SOURCES, os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--junitxml=out.xml", *chosen],
        cwd=folder, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    found = set()
    for case in ET.parse(folder / "out.xml").iter("testcase"):
        assert case.find("error") is None, f"{case.get('name')} broke down: {done.stdout}"
        if case.find("failure") is not None:
            found.add((case.get("classname", "").rpartition(".Test")[2], case.get("name", "")))
    return found


def test_wrong_engines_fail(tmp_path: Path) -> None:
    cases = share(MUST_FAIL)
    assert _failures(tmp_path, WRONG_ENGINES, "EngineSuite", "make_engine", cases) == set(cases.items())


def test_wrong_callbacks_fail(tmp_path: Path) -> None:
    cases = share(CALLBACKS_MUST_FAIL)
    assert _failures(tmp_path, WRONG_CALLBACKS, "CallbackSuite", "make_callback", cases) == set(cases.items())


def test_a_suite_that_makes_nothing_says_what_to_write() -> None:
    with pytest.raises(OptionError, match=r"EngineSuite must define make_engine"):
        EngineSuite().make_engine()
    with pytest.raises(OptionError, match=r"CallbackSuite must define make_callback"):
        CallbackSuite().make_callback()


def test_names_of_the_testing_module() -> None:
    import hypernodes.testing as testing

    assert testing.__all__ == ["CacheStoreSuite", "CallbackSuite", "EngineSuite", "isolated_plugins"]
    assert all(getattr(testing, name).__doc__ for name in testing.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        testing.Nothing  # noqa: B018


def test_isolated_plugins_needs_no_pytest(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent("""
        import sys
        sys.modules["pytest"] = None
        from hypernodes.testing import isolated_plugins
        with isolated_plugins():
            pass
        try:
            from hypernodes.testing import EngineSuite
        except ImportError as error:
            print(error)
        """)
    )
    path = os.pathsep.join(filter(None, [SOURCES, os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, str(script)], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (0, "hypernodes.testing.EngineSuite needs pytest: pip install pytest"), done.stderr


def test_capabilities_can_be_compared_and_changed() -> None:
    assert attrs.evolve(SeqEngine.capabilities, workers=2) == EngineCapabilities(workers=2)
