"""Tasks as bytes: packed here, run anywhere, and refused where they do not fit."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypernodes
import pytest
from hypernodes import (
    Engine,
    EngineCapabilities,
    NodeFailure,
    Pipeline,
    PipelineCallback,
    ValueSummary,
    node,
    reset_default_config,
    run_block,
)
from hypernodes.engines import BlockResult, EngineRun, Task
from hypernodes.errors import CapabilityError, RemoteError, ResultTransferError, TaskError

SOURCES = str(Path(hypernodes.__file__).parent.parent)


@pytest.fixture(autouse=True)
def _own_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "user"))
    reset_default_config()
    yield
    reset_default_config()


class Elsewhere(Engine):
    """Sends each task through a function from bytes to bytes."""

    name = "elsewhere"
    capabilities = EngineCapabilities(workers=2, reach="cluster", shares_memory=False)

    def __init__(self, carry: Callable[[bytes], bytes] = run_block) -> None:
        super().__init__()
        self.carry = carry
        self.seen: list[Task] = []

    def execute(self, run: Any, tasks: Iterator[Task]) -> Iterator[BlockResult]:
        for task in tasks:
            self.seen.append(task)
            yield BlockResult.from_bytes(self.carry(task.to_bytes()))


def worker(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(filter(None, [str(cwd), SOURCES, os.environ.get("PYTHONPATH")]))
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "hypernodes.worker", *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def by_files(folder: Path) -> Callable[[bytes], bytes]:
    """Return what carries a task to ``python -m hypernodes.worker`` and its result back."""

    def carry(data: bytes) -> bytes:
        (folder / "task").write_bytes(data)
        done = worker("task", "out", cwd=folder)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        return (folder / "out").read_bytes()

    return carry


def task_of(pipeline: Pipeline, inputs: dict[str, Any], **options: Any) -> Task:
    """Return the first task of a call, as an engine gets it."""
    engine = Elsewhere()
    before = pipeline.settings.get("engine")
    pipeline.with_engine(engine)
    if options:
        pipeline.map(inputs, **options)
    else:
        pipeline.run(inputs)
    pipeline.with_engine(before)
    return engine.seen[0]


def shifted(offset: int = 100) -> Pipeline:
    def helper(x: int) -> int:
        return x + offset

    return Pipeline([node(output_name="y", name="shift")(lambda x: helper(x)), node(output_name="z")(lambda y, k=1: y * k)], name="shifted")


# -- there and back -------------------------------------------------------------------------------------------------


def test_bytes_in_bytes_out() -> None:
    task = task_of(shifted(), {"x": 1})
    result = BlockResult.from_bytes(run_block(task.to_bytes()))
    assert (result.index, result.size, result.failure, list(result.failures)) == (0, 1, None, [])
    assert [list(column) for column in result.columns] == [[101], [101]]


def test_run_block_is_public_and_takes_any_bytes() -> None:
    assert hypernodes.run_block is hypernodes.engines.run_block
    data = task_of(shifted(), {"x": 1}).to_bytes()
    for form in (bytearray(data), memoryview(data)):
        assert BlockResult.from_bytes(run_block(form)).columns[0][0] == 101


def test_a_task_keeps_its_place_and_size() -> None:
    engine = Elsewhere()
    made = shifted().with_engine(engine).map({"x": range(40)}, map_over="x", output_name="y")
    assert made == [{"y": x + 100} for x in range(40)]
    assert [task.index for task in engine.seen] == list(range(len(engine.seen)))
    assert sum(task.size for task in engine.seen) == 40
    travelled = Task.from_bytes(engine.seen[1].to_bytes())
    assert (travelled.index, travelled.size, travelled.first) == (engine.seen[1].index, engine.seen[1].size, engine.seen[1].first)
    assert repr(travelled) == f"<Task shifted block 1: {travelled.size} item{'' if travelled.size == 1 else 's'}>"


def test_a_task_is_live_here_and_packs_itself_when_pickled() -> None:
    marker = object()
    task = task_of(Pipeline([node(output_name="same")(lambda: 1)]), {})
    assert task().columns[0][0] == 1
    travelled = pickle.loads(pickle.dumps(task))
    assert travelled().columns[0][0] == 1
    live: list[Any] = []

    class Live(Engine):
        name = "live"

        def execute(self, run: Any, tasks: Iterator[Task]) -> Iterator[BlockResult]:
            for each in tasks:
                result = each()
                live.extend(result.columns[0])
                yield result

    assert Pipeline([node(output_name="same")(lambda x: x)], engine=Live()).run({"x": marker})["same"] is marker
    assert live == [marker]


@pytest.mark.parametrize("carry", ["here", "files"])
def test_a_pipeline_runs_elsewhere_as_it_does_here(carry: str, tmp_path: Path) -> None:
    async def later(x: int) -> int:
        return x + 1

    inner = Pipeline([node(output_name="y")(later)], name="inner")
    nested = Pipeline(
        [inner.as_node({"xs": "x"}, {"y": "ys"}, map_over="xs"), node(output_name="n")(lambda ys, k=2: sum(ys) * k)], name="outer"
    )
    here = nested.run({"xs": [1, 2, 3]})
    there = nested.copy().with_engine(Elsewhere(run_block if carry == "here" else by_files(tmp_path)))
    assert there.run({"xs": [1, 2, 3]}) == here == {"ys": [2, 3, 4], "n": 18}
    assert there.run({"xs": [1], "k": 5}) == {"ys": [2], "n": 10}
    assert there.run({"xs": [1, 2]}).stats["inner/later"].ran == 2


def test_maps_and_statistics_come_back(tmp_path: Path) -> None:
    pipeline = shifted().with_engine(Elsewhere(by_files(tmp_path)))
    result = pipeline.map({"x": [1, 2], "k": 3}, map_over="x")
    assert result == [{"y": 101, "z": 303}, {"y": 102, "z": 306}]
    assert (result.stats["shift"].ran, result.stats["z"].ran) == (2, 2)
    assert result.inputs == [{"x": 1}, {"x": 2}]


def test_events_come_back_with_the_result(tmp_path: Path) -> None:
    heard: list[Any] = []

    class Noting(PipelineCallback):
        def on_node_start(self, node_id: str, inputs: Any, ctx: Any) -> None:
            heard.append((node_id, ctx.item_index, type(inputs.get("x", inputs.get("y")))))

        def on_node_end(self, node_id: str, outputs: Any, duration: float, ctx: Any) -> None:
            heard.append((node_id, duration >= 0))

    shifted().with_engine(Elsewhere(by_files(tmp_path))).with_callbacks(Noting()).map({"x": [1]}, map_over="x")
    assert heard == [("shift", 0, ValueSummary), ("shift", True), ("z", 0, ValueSummary), ("z", True)]


# -- exceptions -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("carry", ["here", "files"])
def test_exceptions_come_back_as_themselves_with_the_remote_traceback(carry: str, tmp_path: Path) -> None:
    def fail(x: int) -> int:
        msg = f"no {x}"
        raise LookupError(msg)

    pipeline = Pipeline([node(output_name="y")(fail)], name="p", engine=Elsewhere(run_block if carry == "here" else by_files(tmp_path)))
    for call in (lambda: pipeline.run({"x": 1}), lambda: pipeline.map({"x": [1]}, map_over="x")):
        with pytest.raises(LookupError, match="no 1") as caught:
            call()
        assert type(caught.value) is LookupError
        cause = str(caught.value.__cause__)
        assert "raise LookupError(msg)" in cause
        assert "in fail" in cause
        assert "LookupError: no 1" in cause
        assert len(caught.value.__notes__) == 1
        assert "in node 'fail' of pipeline 'p'" in caught.value.__notes__[0]
        assert "with x=1" in caught.value.__notes__[0]


def test_importable_exceptions_are_caught_by_their_own_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_errors.py").write_text(
        "class Refused(Exception):\n"
        "    def __init__(self, code, *, why):\n"
        "        super().__init__(f'refused: {why}')\n"
        "        self.code = code\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    import own_errors

    def fail(x: int) -> int:
        raise own_errors.Refused(7, why="because")

    with pytest.raises(own_errors.Refused, match="refused: because") as caught:
        Pipeline([node(output_name="y")(fail)], engine=Elsewhere(by_files(tmp_path))).run({"x": 1})
    assert caught.value.code == 7


def test_exceptions_that_cannot_travel_are_told_of() -> None:
    def fail(x: int) -> int:
        error = ValueError("with a file")
        error.file = sys.stdout
        raise error

    with pytest.raises(RemoteError, match="ValueError: with a file") as caught:
        Pipeline([node(output_name="y")(fail)], engine=Elsewhere()).run({"x": 1})
    assert "raise error" in str(caught.value.__cause__)


def test_failures_come_back_as_values_that_can_be_reproduced(tmp_path: Path) -> None:
    pipeline = Pipeline([node(output_name="y", name="invert")(lambda x: 1 / x)], engine=Elsewhere(by_files(tmp_path)))
    result = pipeline.map({"x": [0]}, map_over="x", on_error="return", label="x")
    failure = result[0]["y"]
    assert isinstance(failure, NodeFailure)
    assert result.failures == (failure,)
    assert (failure.node, failure.item, failure.label, failure.inputs) == ("invert", 0, "0", {"x": "0"})
    with pytest.raises(ZeroDivisionError):
        failure.reproduce()


def test_a_node_that_raises_is_no_failure_of_the_worker(tmp_path: Path) -> None:
    engine = Elsewhere()
    with pytest.raises(ZeroDivisionError):
        Pipeline([node(output_name="y")(lambda x: 1 / x)], engine=engine).run({"x": 0})
    (tmp_path / "task").write_bytes(engine.seen[0].to_bytes())
    assert worker("task", "out", cwd=tmp_path).returncode == 0
    failure = BlockResult.from_bytes((tmp_path / "out").read_bytes()).failure
    assert failure is not None
    assert isinstance(failure.error, ZeroDivisionError)


# -- what is refused ------------------------------------------------------------------------------------------------


def altered(data: bytes, old: str, new: str) -> bytes:
    line, _, body = data.partition(b"\n")
    assert old.encode() in line
    return line.replace(old.encode(), new.encode()) + b"\n" + body


HERE = f"{sys.version_info[0]}.{sys.version_info[1]}"


def test_another_version_is_refused() -> None:
    data = task_of(shifted(), {"x": 1}).to_bytes()
    version = hypernodes.__version__
    with pytest.raises(TaskError) as caught:
        run_block(altered(data, version, "999.0"))
    assert str(caught.value) == (
        f"the task was packed by hypernodes 999.0 on Python {HERE}; this is hypernodes {version} on Python {HERE}.\n"
        f"  fix: install the same versions on both sides"
    )
    with pytest.raises(TaskError, match=r"on Python 2\.7; this is"):
        run_block(altered(data, HERE, "2.7"))
    with pytest.raises(TaskError, match=r"the result was packed by hypernodes 999\.0"):
        BlockResult.from_bytes(altered(run_block(data), version, "999.0"))


def test_a_refused_version_is_never_unpickled() -> None:
    touched: list[int] = []

    class Touch:
        def __reduce__(self) -> Any:
            return (touched.append, (1,))

    head = altered(task_of(shifted(), {"x": 1}).to_bytes(), hypernodes.__version__, "999.0").partition(b"\n")[0]
    with pytest.raises(TaskError):
        run_block(head + b"\n" + pickle.dumps(Touch()))
    with pytest.raises(TaskError):
        run_block(pickle.dumps(Touch()))
    assert touched == []


@pytest.mark.parametrize(
    "data",
    [b"", b"\n", b"garbage", b"hypernodes", b"hypernodes task\n", b"\x80\x05garbage\n\n", os.urandom(1000)],
    ids=["nothing", "newline", "text", "magic", "short header", "binary", "noise"],
)
def test_garbage_is_refused(data: bytes) -> None:
    for unpack in (run_block, Task.from_bytes):
        with pytest.raises(TaskError, match="these bytes are no packed task of HyperNodes"):
            unpack(data)
    with pytest.raises(TaskError, match="these bytes are no packed result of HyperNodes"):
        BlockResult.from_bytes(data)


def test_a_task_is_no_result_and_a_result_is_no_task() -> None:
    data = task_of(shifted(), {"x": 1}).to_bytes()
    with pytest.raises(TaskError, match="no packed result"):
        BlockResult.from_bytes(data)
    with pytest.raises(TaskError, match="no packed task"):
        run_block(run_block(data))


@pytest.mark.parametrize("keep", [0.3, 0.9, 0.999])
def test_a_cut_task_is_refused(keep: float) -> None:
    data = task_of(shifted(), {"x": 1}).to_bytes()
    head = data.index(b"\n") + 1
    with pytest.raises(TaskError, match="the task cannot be unpacked here"):
        run_block(data[: head + int((len(data) - head) * keep)])


def test_a_task_whose_module_is_missing_says_which(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = tmp_path / "here"
    here.mkdir()
    (here / "steps_of_here.py").write_text("from hypernodes import node\n@node(output_name='y')\ndef inc(x):\n    return x + 1\n")
    monkeypatch.syspath_prepend(here)
    import steps_of_here

    data = task_of(Pipeline([steps_of_here.inc]), {"x": 1}).to_bytes()
    (tmp_path / "task").write_bytes(data)
    done = worker("task", "out", cwd=tmp_path)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "hypernodes.worker: task: the task cannot be unpacked here: ModuleNotFoundError: No module named 'steps_of_here'" in done.stderr
    assert not (tmp_path / "out").exists()
    assert worker(str(tmp_path / "task"), str(tmp_path / "out"), cwd=here).returncode == 0


# -- the command ----------------------------------------------------------------------------------------------------


def test_the_command_explains_itself(tmp_path: Path) -> None:
    done = worker("--help", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: python -m hypernodes.worker TASK OUT\n")
    for arguments in ([], ["one"], ["one", "two", "three"]):
        done = worker(*arguments, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("usage: ")


def test_the_command_says_what_is_wrong_with_its_files(tmp_path: Path) -> None:
    done = worker("missing", "out", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (1, "hypernodes.worker: missing: No such file or directory\n")
    (tmp_path / "bad").write_bytes(b"garbage")
    done = worker("bad", "out", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (1, "hypernodes.worker: bad: these bytes are no packed task of HyperNodes\n")
    (tmp_path / "task").write_bytes(task_of(shifted(), {"x": 1}).to_bytes())
    done = worker("task", "nowhere/out", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (1, f"hypernodes.worker: {Path('nowhere/out')}: No such file or directory\n")


def test_the_command_leaves_its_result_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "task").write_bytes(task_of(shifted(), {"x": 1}).to_bytes())
    (tmp_path / "out").write_bytes(b"an older result")
    assert worker("task", "out", cwd=tmp_path).returncode == 0
    assert BlockResult.from_bytes((tmp_path / "out").read_bytes()).columns[0][0] == 101
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "task"]


class _Elsewhere(Engine):
    """Shares nothing with its workers."""

    name = "elsewhere"
    capabilities = EngineCapabilities(workers=1, reach="host", shares_memory=False)

    def execute(self, run: EngineRun, tasks: Iterator[Task]) -> Iterator[BlockResult]:
        for task in tasks:
            yield BlockResult.from_bytes(run_block(task.to_bytes()))


def test_what_cannot_travel_is_named_before_anything_runs() -> None:
    ran: list[int] = []
    lock = threading.Lock()

    @node(output_name="y")
    def use(x: int, lock: Any) -> int:
        ran.append(x)
        return x

    pipeline = Pipeline([use], engine=_Elsewhere(), name="p")
    with pytest.raises(CapabilityError, match="input 'lock' of pipeline 'p' cannot be sent to other processes: TypeError"):
        pipeline.map({"x": [1, 2], "lock": lock}, map_over="x")
    with pytest.raises(CapabilityError, match="bound input 'lock' of pipeline 'p'"):
        pipeline.bind(lock=lock).run({"x": 1})
    stuck = Pipeline([node(output_name="y")(lambda x: (x, lock))], engine=_Elsewhere())
    with pytest.raises(CapabilityError, match="node 'y' of pipeline 'pipeline'"):
        stuck.run({"x": 1})
    assert ran == []


@pytest.mark.parametrize("simple", [True, False])
def test_a_result_that_cannot_leave_its_process_is_named(simple: bool) -> None:
    @node(output_name="y", retries=None if simple else 1)
    def lock(x: int) -> object:
        return threading.Lock() if x == 1 else x

    pipeline = Pipeline([lock], engine=Elsewhere(), name="p")
    with pytest.raises(ResultTransferError, match="output 'y' cannot be sent back from its process: <unlocked") as caught:
        pipeline.map({"x": [0, 1, 2]}, map_over="x")
    assert "in node 'lock' of pipeline 'p', item 1" in "".join(caught.value.__notes__)
    result = pipeline.map({"x": [0, 1, 2]}, map_over="x", on_error="return")
    assert [result[0]["y"], result[2]["y"]] == [0, 2]
    assert [(failure.node, failure.item) for failure in result.failures] == [("lock", 1)]
