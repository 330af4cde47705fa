"""The block, call by call, and the drivers that stand around it."""

from __future__ import annotations

import asyncio
import pickle
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypernodes import DualNode, Engine, NodeFailure, Pipeline, SeqEngine, node, run_block
from hypernodes._block import Block
from hypernodes._calls import BlockResult, Call
from hypernodes._drive import adrive, aperform, drive, drive_pool, perform
from hypernodes._resolve import prepare
from hypernodes.engines import EngineRun, Task
from hypernodes.errors import BatchLengthError, HyperNodesError, MapLengthError, NodeTimeoutError, OutputCountError, TaskError
from hypernodes.testing._engines import PackedEngine


def fn(output: str, function: Callable[..., Any], **options: Any) -> Any:
    return node(output_name=output, name=options.pop("name", f"make_{output}"), **options)(function)


def block_of(
    nodes: Iterable[Any], given: dict[str, Any], mapped: tuple[str, ...] = (), outputs: list[str] | None = None, **options: Any
) -> Block:
    pipeline = Pipeline(list(nodes), name="p")
    job = prepare(pipeline, pipeline.output_names).job
    size = len(given[mapped[0]]) if mapped else 1
    return Block(job, size, given, mapped, is_map=bool(mapped), **options)


def names(calls: list[Call]) -> list[Any]:
    return [(call.site.name, call.item) for call in calls]


def make(block: Block, call: Call) -> None:
    block.done(call, *perform(call))


def fail(block: Block, call: Call, error: Exception) -> None:
    block.done(call, None, error, 0.0, 0.001)


def columns(result: BlockResult) -> list[list[Any]]:
    return [list(column) for column in result.columns]


inc = fn("y", lambda x: x + 1)
twice = fn("z", lambda y: 2 * y)
both = fn("w", lambda y, z: y + z)


# -- what is ready, and when ----------------------------------------------------------------------------------------


def test_calls_are_ready_when_their_inputs_are_and_only_once() -> None:
    block = block_of([both, twice, inc], {"x": 1})
    first = block.ready()
    assert names(first) == [("make_y", 0)]
    assert block.ready() == []
    make(block, first[0])
    second = block.ready()
    assert names(second) == [("make_z", 0)]
    make(block, second[0])
    third = block.ready()
    assert names(third) == [("make_w", 0)]
    make(block, third[0])
    assert block.ready() == []
    result = block.result()
    assert columns(result) == [[2], [4], [6]]
    assert {name: row[:3] for name, row in result.tally.items()} == {"make_y": [0, 1, 0], "make_z": [0, 1, 0], "make_w": [0, 1, 0]}


def test_the_earliest_item_comes_first_and_items_open_one_by_one() -> None:
    block = block_of([inc, twice], {"x": [1, 2, 3]}, ("x",))
    (call,) = block.ready(1)
    assert names([call]) == [("make_y", 0)]
    make(block, call)
    assert names(block.ready(2)) == [("make_z", 0), ("make_y", 1)]
    assert names(block.ready(1)) == [("make_y", 2)]
    assert block.ready(5) == []


def test_outcomes_may_come_in_any_order() -> None:
    for seed in range(20):
        rng = random.Random(seed)
        block = block_of([inc, twice, both], {"x": list(range(5))}, ("x",))
        open_: list[Call] = []
        while True:
            open_ += block.ready(rng.randint(0, 3))
            if not open_:
                break
            make(block, open_.pop(rng.randrange(len(open_))))
        assert columns(block.result()) == [[x + 1 for x in range(5)], [2 * x + 2 for x in range(5)], [3 * x + 3 for x in range(5)]]


def test_no_items_no_calls() -> None:
    block = block_of([inc, twice], {"x": []}, ("x",))
    assert block.ready() == []
    assert columns(block.result()) == [[], []]


def test_keyword_only_parameters_travel_by_keyword() -> None:
    def take(a: int, *, b: int, c: int = 3) -> tuple[int, int, int]:
        return a, b, c

    (call,) = block_of([fn("t", take)], {"a": 1, "b": 2}).ready()
    assert (list(call.args), call.kwargs) == ([1], {"b": 2, "c": 3})


# -- failures -------------------------------------------------------------------------------------------------------


def test_a_failure_stops_everything_under_raise() -> None:
    block = block_of([inc, twice], {"x": [1, 2, 3]}, ("x",))
    calls = block.ready(3)
    fail(block, calls[1], ValueError("one"))
    assert block.ready() == []
    make(block, calls[2])  # it ran already: what comes in is taken
    fail(block, calls[0], ValueError("zero"))
    assert block.ready() == []
    result = block.result()
    assert result.failure is not None
    assert (result.failure.item, str(result.failure.error)) == (0, "zero")  # of several, the earliest
    assert len(result.failures) == 2
    assert result.tally["make_y"][:3] == [0, 1, 2]


def test_a_failure_stands_in_for_all_that_depends_on_it_under_return() -> None:
    other = fn("v", lambda x: -x)
    block = block_of([inc, twice, both, other], {"x": [1, 2]}, ("x",), on_error="return")
    calls = block.ready()
    assert names(calls) == [("make_y", 0), ("make_v", 0), ("make_y", 1), ("make_v", 1)]
    fail(block, calls[0], ValueError("no"))
    for call in calls[1:]:
        make(block, call)
    assert names(calls := block.ready()) == [("make_z", 1)]
    make(block, calls[0])
    make(block, block.ready()[0])
    result = block.result()
    assert result.failure is None
    (failure,) = result.failures
    assert (failure.node, failure.item_path, failure.inputs, failure.attempts) == ("make_y", (0,), {"x": "1"}, 1)
    by_name = dict(zip([name for name, _ in block.job.program.outputs], columns(result), strict=True))
    assert by_name == {"y": [failure, 3], "z": [failure, 6], "w": [failure, 9], "v": [-1, -2]}


def test_wrong_output_counts_are_failures_of_the_node() -> None:
    pair = node(output_name=("a", "b"), name="pair")
    for returned, got in [((1, 2, 3), "3 values"), (5, "5"), ((1,), "1 value")]:
        block = block_of([pair(lambda x, returned=returned: returned)], {"x": 1, "returned": returned})
        make(block, block.ready()[0])
        assert block.failure is not None
        assert isinstance(block.failure.error, OutputCountError)
        assert f"declares 2 outputs (a, b) and returned {got}" in str(block.failure.error)


def test_a_failure_can_be_made_to_happen_again() -> None:
    log: list[int] = []

    def work(x: int) -> int:
        log.append(x)
        return 10 // x

    result = Pipeline([fn("y", work)]).map({"x": [1, 0]}, map_over="x", on_error="return")
    with pytest.raises(ZeroDivisionError):
        result.failures[0].reproduce()
    assert log == [1, 0, 0]


# -- retries --------------------------------------------------------------------------------------------------------


def test_retries_come_back_with_a_number_and_a_longer_wait_each_time() -> None:
    block = block_of([fn("y", lambda x: x, retries=9)], {"x": 1})
    waits = []
    for attempt in range(1, 11):
        (call,) = block.ready()
        assert call.attempt == attempt
        waits.append(call.delay)
        fail(block, call, ValueError(attempt))
    assert waits == [0.0, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0]
    assert block.ready() == []
    assert block.failure is not None
    assert (block.failure.attempts, block.failure.error.args) == (10, (10,))
    assert block.result().tally["make_y"][:3] == [0, 0, 1]


def test_a_retry_that_works_is_as_good_as_a_first_try() -> None:
    block = block_of([fn("y", lambda x: x + 1, retries=1), twice], {"x": 1})
    fail(block, block.ready()[0], ValueError())
    make(block, block.ready()[0])
    make(block, block.ready()[0])
    assert columns(block.result()) == [[2], [4]]
    assert block.result().failures == []


def test_only_what_is_worth_it_is_tried_again() -> None:
    block = block_of([fn("y", lambda x: x, retries=3, retry_on=(ConnectionError, TimeoutError))], {"x": 1})
    fail(block, block.ready()[0], ConnectionResetError())
    fail(block, block.ready()[0], ValueError())
    assert block.ready() == []
    assert block.failure is not None
    assert block.failure.attempts == 2


def test_nothing_is_tried_again_when_the_run_has_failed() -> None:
    block = block_of([fn("y", lambda x: x, retries=3), fn("z", lambda x: x)], {"x": 1})
    calls = block.ready()
    fail(block, calls[1], ValueError("final"))
    fail(block, calls[0], ValueError("late"))
    assert block.ready() == []
    assert [failure.attempts for failure in block.result().failures] == [1, 1]


# -- few at a time --------------------------------------------------------------------------------------------------


def test_max_concurrent_holds_calls_back() -> None:
    block = block_of([fn("y", lambda x: x, max_concurrent=2), fn("u", lambda x: x)], {"x": list(range(4))}, ("x",))
    calls = block.ready()
    assert [name for name in names(calls) if name[0] == "make_y"] == [("make_y", 0), ("make_y", 1)]
    assert len(calls) == 6
    limited = [call for call in calls if call.site.name == "make_y"]
    make(block, limited[1])
    (third,) = block.ready()
    assert third.item == 2
    make(block, limited[0])
    make(block, third)
    assert names(block.ready()) == [("make_y", 3)]


def test_a_call_that_waits_for_its_retry_keeps_its_place() -> None:
    block = block_of([fn("y", lambda x: x, max_concurrent=1, retries=2)], {"x": [1, 2]}, ("x",))
    (call,) = block.ready()
    fail(block, call, ValueError())
    (again,) = block.ready()
    assert (again.item, again.attempt) == (0, 2)
    make(block, again)
    (other,) = block.ready()
    assert (other.item, other.attempt) == (1, 1)
    make(block, other)
    assert columns(block.result()) == [[1, 2]]


def test_batches_keep_to_max_concurrent_too() -> None:
    twin = DualNode("y", batch=lambda x: x, batch_size=2, max_concurrent=1)
    block = block_of([twin], {"x": list(range(6))}, ("x",))
    seen = []
    while calls := block.ready():
        assert len(calls) == 1
        seen.append(calls[0].item)
        make(block, calls[0])
    assert seen == [[0, 1], [2, 3], [4, 5]]
    assert columns(block.result()) == [list(range(6))]


# -- batches --------------------------------------------------------------------------------------------------------


def test_a_batch_twin_waits_for_all_items_of_its_block() -> None:
    twin = DualNode("z", lambda y, k: y * k, lambda y, k: [value * k for value in y])
    block = block_of([inc, twin], {"x": [1, 2, 3], "k": 10}, ("x",))
    for call in block.ready(3):
        make(block, call)
    (call,) = block.ready()
    assert (call.item, list(call.args)) == ([0, 1, 2], [[2, 3, 4], 10])
    make(block, call)
    assert columns(block.result()) == [[2, 3, 4], [20, 30, 40]]


def test_full_batches_do_not_wait() -> None:
    twin = DualNode("z", batch=lambda y: y, batch_size=2)
    block = block_of([inc, twin], {"x": [1, 2, 3]}, ("x",))
    calls = block.ready(3)
    make(block, calls[2])
    assert block.ready() == []
    make(block, calls[0])
    assert names(block.ready()) == [(twin.name, [0, 2])]
    make(block, calls[1])
    assert names(block.ready()) == [(twin.name, [1])]


def test_items_that_failed_before_are_not_waited_for() -> None:
    twin = DualNode("z", batch=lambda y: y)
    block = block_of([inc, twin], {"x": [1, 2, 3]}, ("x",), on_error="return")
    calls = block.ready(3)
    make(block, calls[0])
    make(block, calls[1])
    assert block.ready() == []
    fail(block, calls[2], ValueError())
    assert names(block.ready()) == [(twin.name, [0, 1])]


def test_a_run_uses_the_single_function() -> None:
    twin = DualNode("y", lambda x: ("single", x), lambda x: [("batch", value) for value in x], name="twin")
    assert Pipeline([twin]).run({"x": 1}) == {"y": ("single", 1)}
    assert Pipeline([twin]).map({"x": [1]}, map_over="x") == [{"y": ("batch", 1)}]


@pytest.mark.parametrize("engine", [SeqEngine(), PackedEngine()], ids=["seq", "packed"])
def test_one_bad_item_does_not_spoil_its_batch(engine: Engine) -> None:
    def batch(x: list[int]) -> list[int]:
        if any(value in (3, 11) for value in x):
            raise ValueError(f"bad among {len(x)}")
        return [value * 2 for value in x]

    result = Pipeline([DualNode("y", batch=batch, name="twin")], engine=engine).map({"x": range(16)}, map_over="x", on_error="return")
    assert [row["y"] for row in result if not isinstance(row["y"], NodeFailure)] == [2 * x for x in range(16) if x not in (3, 11)]
    assert [(failure.item, str(failure.error), failure.attempts) for failure in result.failures] == [
        (3, "bad among 1", 1),
        (11, "bad among 1", 1),
    ]
    assert (result.stats["twin"].ran, result.stats["twin"].failed) == (14, 2)


def test_a_batch_is_tried_again_as_a_whole_before_it_is_taken_apart() -> None:
    sizes: list[int] = []

    def batch(x: list[int]) -> list[int]:
        sizes.append(len(x))
        if 2 in x:
            raise ValueError
        return x

    pipeline = Pipeline([DualNode("y", batch=batch, retries=1)])
    result = pipeline.map({"x": [0, 1, 2, 3]}, map_over="x", on_error="return")
    assert sizes == [4, 4, 2, 2, 1, 1]
    assert [failure.item for failure in result.failures] == [2]
    sizes.clear()
    with pytest.raises(ValueError):
        pipeline.map({"x": [0, 1, 2, 3]}, map_over="x")
    assert sizes == [4, 4]


def test_wrong_batches_are_failures_of_the_twin() -> None:
    with pytest.raises(BatchLengthError, match=r"'twin' .* was given 3 items and returned 2 results"):
        Pipeline([DualNode("y", batch=lambda x: x[:2], name="twin")]).map({"x": [1, 2, 3]}, map_over="x")
    with pytest.raises(OutputCountError, match="declares 2 outputs and returned 3 columns"):
        Pipeline([DualNode(("a", "b"), batch=lambda x: (x, x, x), name="twin")]).map({"x": [1, 2]}, map_over="x")
    with pytest.raises(BatchLengthError, match="returned 7"):
        Pipeline([DualNode("y", batch=lambda x: 7, name="twin")]).map({"x": [1, 2]}, map_over="x")


def test_a_nested_map_makes_batches_of_its_own() -> None:
    sizes: list[int] = []

    def batch(x: list[int]) -> list[int]:
        sizes.append(len(x))
        return x

    inner = Pipeline([DualNode("y", batch=batch)], name="inner").as_node(map_over="x")
    assert Pipeline([inner]).map({"x": [[1, 2, 3], [], [4]]}, map_over="x") == [{"y": [1, 2, 3]}, {"y": []}, {"y": [4]}]
    assert sizes == [3, 1]


# -- nested pipelines -----------------------------------------------------------------------------------------------


def positive(x: int) -> int:
    if x < 0:
        raise ValueError(f"{x} is negative")
    return x


def test_a_nested_map_is_one_call_of_the_block_around_it() -> None:
    inner = Pipeline([inc], name="inner").as_node(input_mapping={"xs": "x"}, output_mapping={"y": "ys"}, map_over="xs")
    block = block_of([inner, fn("n", lambda ys: len(ys))], {"xs": [5, 6]})
    (call,) = block.ready()
    make(block, call)
    make(block, block.ready()[0])
    assert columns(block.result()) == [[[6, 7]], [2]]
    assert {name: row[1] for name, row in block.result().tally.items()} == {"make_n": 1, "inner/make_y": 2}


@pytest.mark.parametrize("engine", [SeqEngine(), PackedEngine()], ids=["seq", "packed"])
def test_failures_inside_a_nested_map(engine: Engine) -> None:
    check = fn("c", positive, name="check")
    lengths = fn("n", lambda cs: len(cs))
    for on_error, expected in [("raise", ["NodeFailure", "NodeFailure"]), ("return", [["int", "NodeFailure"], 2])]:
        inner = Pipeline([check], name="inner").as_node(
            input_mapping={"xs": "x"}, output_mapping={"c": "cs"}, map_over="xs", on_error=on_error
        )
        result = Pipeline([inner, lengths], engine=engine).map({"xs": [[1, -1], [2]]}, map_over="xs", on_error="return")
        assert [_kinds(result[0]["cs"]), _kinds(result[0]["n"])] == expected
        assert result[1] == {"cs": [2], "n": 1}
        assert [(failure.node, failure.item_path) for failure in result.failures] == [("inner/check", (0, 1))]


def _kinds(value: Any) -> Any:
    return [_kinds(each) if isinstance(each, NodeFailure) else "int" for each in value] if isinstance(value, list) else (
        "NodeFailure" if isinstance(value, NodeFailure) else value
    )  # fmt: skip


@pytest.mark.parametrize("engine", [SeqEngine(), PackedEngine()], ids=["seq", "packed"])
def test_unequal_lengths_are_a_failure_of_the_nested_pipeline(engine: Engine) -> None:
    inner = Pipeline([fn("s", lambda a, b: a + b)], name="inner").as_node(map_over=["a", "b"])
    pipeline = Pipeline([inner, fn("t", lambda a: a)], engine=engine, name="p")
    with pytest.raises(MapLengthError, match="nested pipeline 'inner'") as caught:
        pipeline.run({"a": [1], "b": [1, 2]})
    assert "in node 'inner' of pipeline 'p'" in caught.value.__notes__[0]
    result = pipeline.map({"a": [[1], [2]], "b": [[1, 2], [3]]}, map_over=["a", "b"], on_error="return")
    assert [type(row["s"]).__name__ for row in result] == ["NodeFailure", "list"]
    assert [row["t"] for row in result] == [[1], [2]]


@pytest.mark.parametrize("own", [None, SeqEngine(), PackedEngine()], ids=["inlined", "seq", "packed"])
def test_what_a_nested_pipeline_could_make_comes_out_whatever_its_engine(own: Engine | None) -> None:
    """An engine of its own makes a nested pipeline a block of its own; that must not cost outputs."""
    inner = Pipeline([fn("c", positive, name="check"), fn("d", lambda x: x * 2)], name="inner", **({"engine": own} if own else {}))
    nodes = [inner, fn("e", lambda c: -c), fn("f", lambda d: -d)]
    result = Pipeline(nodes).map({"x": [1, -1]}, map_over="x", on_error="return")
    assert result[0] == {"c": 1, "d": 2, "e": -1, "f": -2}
    (failure,) = result.failures
    assert result[1] == {"c": failure, "d": -2, "e": failure, "f": 2}
    assert (failure.node, failure.item_path) == ("inner/check", (1,))


# -- tasks and results travel ---------------------------------------------------------------------------------------


class Tasks(Engine):
    """Keeps the tasks that it is given."""

    name = "tasks"

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Task] = []

    def execute(self, run: EngineRun, tasks: Iterator[Task]) -> Iterator[BlockResult]:
        for task in tasks:
            self.seen.append(task)
            yield task()


def test_tasks_run_from_bytes() -> None:
    engine, offset = Tasks(), 5
    pipeline = Pipeline([fn("y", lambda x, k: x + k + offset)], engine=engine)
    rows = pipeline.map({"x": [1, 2, 3], "k": 10}, map_over="x")
    assert [row["y"] for row in rows] == [16, 17, 18]
    assert sum(task.size for task in engine.seen) == 3
    results = [BlockResult.from_bytes(run_block(task.to_bytes())) for task in engine.seen]
    assert [value for result in results for value in result.columns[0]] == [16, 17, 18]
    again = pickle.loads(pickle.dumps(engine.seen[0]))
    assert columns(again()) == [[16]]
    assert (repr(engine.seen[0]), again.index, again.first) == ("<Task pipeline block 0: 1 items>", 0, 0)


def test_what_tasks_share_is_unpacked_once() -> None:
    engine = Tasks()
    constant = object.__new__(_Big)
    Pipeline([fn("y", lambda x, k: x)], engine=engine).map({"x": range(40), "k": constant}, map_over="x")
    assert len(engine.seen) > 1
    arrived = [pickle.loads(pickle.dumps(task)) for task in engine.seen]
    assert len({id(task.common) for task in arrived}) == 1
    assert len({id(task.common.constants["k"]) for task in arrived}) == 1


class _Big:
    pass


def test_other_bytes_are_refused() -> None:
    engine = Tasks()
    Pipeline([inc], engine=engine).run({"x": 1})
    task = engine.seen[0]
    for data in (b"", b"rubbish", pickle.dumps(1), task().to_bytes()):
        with pytest.raises(TaskError, match="no packed task"):
            run_block(data)
    header, _, body = task.to_bytes().partition(b"\n")
    words = header.split()
    with pytest.raises(TaskError, match=r"packed by hypernodes 99\.0"):
        run_block(b" ".join([*words[:-2], b"99.0", words[-1]]) + b"\n" + body)
    with pytest.raises(TaskError, match=r"on Python 2\.7"):
        run_block(b" ".join([*words[:-1], b"2.7"]) + b"\n" + body)
    with pytest.raises(TaskError, match="no packed result"):
        BlockResult.from_bytes(task.to_bytes())


def test_a_failure_stays_one_object_on_its_way() -> None:
    result = Pipeline([fn("y", positive), twice], engine=PackedEngine()).map({"x": [-1]}, map_over="x", on_error="return")
    assert result[0]["y"] is result[0]["z"] is result.failures[0]
    assert "ValueError: -1 is negative" in str(result.failures[0].error.__cause__)


# -- drivers --------------------------------------------------------------------------------------------------------


def test_the_shortcut_does_what_the_machine_does() -> None:
    nodes = [inc, twice, both, fn("v", positive)]
    for on_error in ("raise", "return"):
        for values in ([1, 2, 3], [1, -2, 3], []):
            shortcut = block_of(nodes, {"x": values}, ("x",), on_error=on_error)
            assert shortcut.straight
            machine = block_of(nodes, {"x": values}, ("x",), on_error=on_error)
            results = [drive(shortcut), drive(machine, lambda call: perform(call))]
            assert _comparable(results[0]) == _comparable(results[1])


def _comparable(result: BlockResult) -> Any:
    shown = [[value if isinstance(value, int) else repr(value) for value in column] for column in columns(result)]
    tally = {name: row[:3] for name, row in result.tally.items()}
    return shown if result.failure is None else None, repr(result.failure), list(map(repr, result.failures)), tally


def test_a_pool_runs_at_most_so_many_calls() -> None:
    running, most, lock = 0, 0, threading.Lock()

    def work(x: int) -> int:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.005)
        with lock:
            running -= 1
        return x

    with ThreadPoolExecutor(8) as pool:
        for limit in (1, 3):
            most = 0
            block = block_of([fn("y", work)], {"x": list(range(12))}, ("x",))
            assert columns(drive_pool(block, pool, limit)) == [list(range(12))]
            assert most == limit


def test_coroutines_run_at_most_so_many_at_once() -> None:
    running = most = 0

    async def work(x: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.002)
        running -= 1
        return x

    for limit in (1, 4):
        most = 0
        block = block_of([fn("y", work)], {"x": list(range(12))}, ("x",))
        assert columns(asyncio.run(adrive(block, limit))) == [list(range(12))]
        assert most == limit


def test_coroutines_wait_for_retries_together() -> None:
    tried: list[int] = []

    async def work(x: int) -> int:
        tried.append(x)
        if tried.count(x) < 3:
            raise ValueError
        return x

    def plain(y: int) -> int:
        tried.append(-y)
        if tried.count(-y) < 3:
            raise ValueError
        return y

    block = block_of([fn("y", work, retries=2), fn("z", plain, retries=2)], {"x": list(range(1, 9))}, ("x",))
    start = time.perf_counter()
    assert columns(asyncio.run(adrive(block, 8))) == [list(range(1, 9))] * 2
    assert time.perf_counter() - start < 1.0  # 2 × (0.05 + 0.1) s, not eight times that


def test_a_coroutine_that_takes_too_long_is_cancelled() -> None:
    ended: list[str] = []

    async def work(x: int) -> int:
        try:
            await asyncio.sleep(5)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise
        return x

    slow = fn("y", work, timeout=0.05)
    for engine in (SeqEngine(), None):
        if engine is None:
            result = asyncio.run(adrive(block_of([slow], {"x": 1}), 2))
            assert isinstance(result.failure.error, NodeTimeoutError)  # type: ignore[union-attr]
        else:
            with pytest.raises(NodeTimeoutError, match=r"'make_y' took longer than its timeout of 0\.05 s"):
                Pipeline([slow], engine=engine).run({"x": 1})
    assert ended == ["cancelled"] * 2


def test_a_timeout_of_the_nodes_own_is_not_ours() -> None:
    async def own(x: int) -> int:
        raise TimeoutError("mine")

    with pytest.raises(TimeoutError, match="mine") as caught:
        Pipeline([fn("y", own, timeout=5)]).run({"x": 1})
    assert not isinstance(caught.value, HyperNodesError)


def test_a_late_result_is_never_taken() -> None:
    late = threading.Event()

    def work(x: int) -> int:
        if x:
            late.wait(5)
        return x

    pipeline = Pipeline([fn("y", work, timeout=0.05), twice])
    result = pipeline.map({"x": [0, 1, 0]}, map_over="x", on_error="return")
    late.set()
    assert [row["z"] for row in result if row["z"] == 0] == [0, 0]
    assert [type(failure.error) for failure in result.failures] == [NodeTimeoutError]


def test_exit_and_interrupt_go_through_every_driver() -> None:
    def stop(x: int) -> int:
        raise KeyboardInterrupt

    async def astop(x: int) -> int:
        raise SystemExit(3)

    with pytest.raises(KeyboardInterrupt):
        drive(block_of([fn("y", stop), twice], {"x": 1}))
    with ThreadPoolExecutor(2) as pool, pytest.raises(KeyboardInterrupt):
        drive_pool(block_of([fn("y", stop), fn("z", lambda x: x)], {"x": 1}), pool, 2)
    with pytest.raises(SystemExit):
        asyncio.run(adrive(block_of([fn("y", astop)], {"x": 1}), 2))
    with pytest.raises(KeyboardInterrupt):
        Pipeline([fn("y", stop)]).map({"x": [1]}, map_over="x", on_error="return")


def test_a_cancelled_coroutine_driver_leaves_nothing_behind() -> None:
    ended: list[str] = []

    async def work(x: int) -> int:
        try:
            await asyncio.sleep(5)
        finally:
            ended.append("over")
        return x

    async def main() -> None:
        task = asyncio.ensure_future(adrive(block_of([fn("y", work)], {"x": [1, 2]}, ("x",)), 2))
        await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())
    assert ended == ["over", "over"]


def test_plain_functions_are_called_in_place_by_the_coroutine_driver() -> None:
    block = block_of([fn("y", lambda x: threading.get_ident())], {"x": 1})

    async def main() -> Any:
        (call,) = block.ready()
        return await aperform(call)

    assert asyncio.run(main())[0] == threading.get_ident()
