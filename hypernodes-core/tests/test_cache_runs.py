"""What a cache does for a run: what runs again after which change, and what never changes a result."""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypernodes import DiskCache, DualNode, File, MemoryCache, Pipeline, PipelineCallback, node, stateful
from hypernodes.cache import StoreCache
from hypernodes.cache.store import DictStore
from hypernodes.errors import CacheWarning, MutationError


def ran(result: Any) -> dict[str, int]:
    return {name: stats.ran for name, stats in result.stats.items()}


def cached(result: Any) -> dict[str, int]:
    return {name: stats.cached for name, stats in result.stats.items()}


@pytest.fixture(params=["memory", "disk"])
def cache(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    return MemoryCache() if request.param == "memory" else DiskCache(tmp_path / "cache")


@node(output_name="y")
def double(x: int) -> int:
    return x * 2


@node(output_name="z")
def plus(y: int, k: int = 1) -> int:
    return y + k


def adding(amount: Any, name: str = "add", **options: Any) -> Any:
    """A node whose code holds ``amount``: another amount is an edit."""

    @node(output_name="y", name=name, **options)
    def add(x: Any) -> Any:
        return x + amount

    return add


# -- hits and misses ---------------------------------------------------------------------------------------------------


def test_the_second_run_comes_from_the_cache(cache: Any) -> None:
    pipeline = Pipeline([double, plus], cache=cache)
    assert ran(pipeline.run({"x": 3})) == {"double": 1, "plus": 1}
    again = pipeline.run({"x": 3})
    assert (dict(again), ran(again), cached(again)) == ({"y": 6, "z": 7}, {"double": 0, "plus": 0}, {"double": 1, "plus": 1})


def test_another_input_runs_what_depends_on_it(cache: Any) -> None:
    pipeline = Pipeline([double, plus], cache=cache)
    pipeline.run({"x": 3})
    assert ran(pipeline.run({"x": 3, "k": 5})) == {"double": 0, "plus": 1}
    assert ran(pipeline.run({"x": 4})) == {"double": 1, "plus": 1}
    assert ran(pipeline.run({"x": 4, "k": 5})) == {"double": 0, "plus": 1}


@pytest.mark.parametrize(("one", "other"), [(1, "1"), (1, True), (1, 1.0), ([1], (1,)), (None, "None"), (0.0, -0.0), (b"a", "a")])
def test_inputs_of_other_types_are_other_inputs(cache: Any, one: Any, other: Any) -> None:
    @node(output_name="y")
    def kind(x: Any) -> str:
        return repr(x)

    pipeline = Pipeline([kind], cache=cache)
    assert pipeline.run({"x": one})["y"] == repr(one)
    assert pipeline.run({"x": other})["y"] == repr(other)
    assert pipeline.run({"x": one})["y"] == repr(one)


def test_without_a_cache_everything_runs() -> None:
    pipeline = Pipeline([double, plus])
    pipeline.run({"x": 3})
    assert ran(pipeline.run({"x": 3})) == {"double": 1, "plus": 1}


def test_an_edited_node_runs_again_and_what_depends_on_it(cache: Any) -> None:
    assert Pipeline([adding(1), plus], cache=cache).run({"x": 3})["z"] == 5
    edited = Pipeline([adding(2), plus], cache=cache).run({"x": 3})
    assert (edited["z"], ran(edited)) == (6, {"add": 1, "plus": 1})
    back = Pipeline([adding(1), plus], cache=cache).run({"x": 3})
    assert (back["z"], ran(back)) == (5, {"add": 0, "plus": 0})


def test_an_edit_that_changes_no_value_stops_there(cache: Any) -> None:
    Pipeline([adding(1), plus], cache=cache).run({"x": 3})
    other = adding(True)  # 3 + True is 4 as well
    first = Pipeline([other, plus], cache=cache).run({"x": 3})
    assert (first["z"], ran(first)) == (5, {"add": 1, "plus": 0})
    again = Pipeline([other, plus], cache=cache).run({"x": 3}, "z")
    assert (again["z"], ran(again)) == (5, {"add": 0, "plus": 0})


def test_a_value_passed_in_finds_what_was_made_from_the_same_value_computed(cache: Any) -> None:
    Pipeline([double, plus], cache=cache).run({"x": 3})
    assert ran(Pipeline([plus], cache=cache).run({"y": 6})) == {"plus": 0}


def test_two_pipelines_share_what_they_compute_alike(cache: Any) -> None:
    Pipeline([double], name="one", cache=cache).run({"x": 3})
    assert ran(Pipeline([double, plus], name="other", cache=cache).run({"x": 3})) == {"double": 0, "plus": 1}


def test_none_is_a_value(cache: Any) -> None:
    @node(output_name="y")
    def nothing(x: int) -> None:
        return None

    pipeline = Pipeline([nothing], cache=cache)
    assert ran(pipeline.run({"x": 1})) == {"nothing": 1}
    again = pipeline.run({"x": 1})
    assert (again["y"], ran(again)) == (None, {"nothing": 0})


def test_exceptions_are_never_kept(cache: Any) -> None:
    attempts: list[int] = []

    @node(output_name="y")
    def fails_once(x: int) -> int:
        attempts.append(x)
        if len(attempts) == 1:
            raise ValueError("once")
        return x

    pipeline = Pipeline([fails_once], cache=cache)
    with pytest.raises(ValueError, match="once"):
        pipeline.run({"x": 1})
    assert pipeline.run({"x": 1})["y"] == 1
    assert len(attempts) == 2
    assert pipeline.run({"x": 1})["y"] == 1
    assert len(attempts) == 2


def test_what_was_finished_before_a_failure_is_kept(cache: Any) -> None:
    @node(output_name="z")
    def fails(y: int) -> int:
        raise ValueError("always")

    pipeline = Pipeline([double, fails], cache=cache)
    for _ in range(2):
        with pytest.raises(ValueError, match="always"):
            pipeline.run({"x": 3})
    assert ran(Pipeline([double], cache=cache).run({"x": 3})) == {"double": 0}


def test_a_node_with_several_outputs_is_one_result(cache: Any) -> None:
    @node(output_name=("low", "high"))
    def ends(x: list[int]) -> tuple[int, int]:
        return min(x), max(x)

    pipeline = Pipeline([ends], cache=cache)
    assert pipeline.run({"x": [3, 1, 2]}, "low") == {"low": 1}
    again = pipeline.run({"x": [3, 1, 2]}, "high")
    assert (dict(again), ran(again)) == ({"high": 3}, {"ends": 0})


def test_each_output_is_followed_on_its_own(cache: Any) -> None:
    def ends(shift: int) -> Any:
        @node(output_name=("low", "high"), name="ends")
        def both(x: list[int]) -> tuple[int, int]:
            return min(x), max(x) + shift

        return both

    below = node(output_name="b", name="below")(lambda low: low - 1)
    above = node(output_name="a", name="above")(lambda high: high + 1)
    Pipeline([ends(0), below, above], cache=cache).run({"x": [1, 2]})
    edited = Pipeline([ends(5), below, above], cache=cache).run({"x": [1, 2]})
    assert (edited["a"], edited["b"], ran(edited)) == (8, 0, {"ends": 1, "below": 0, "above": 1})


def test_coroutines_are_cached_too(cache: Any) -> None:
    @node(output_name="y")
    async def slow(x: int) -> int:
        return x + 1

    pipeline = Pipeline([slow], cache=cache)
    assert ran(pipeline.run({"x": 1})) == {"slow": 1}
    assert ran(pipeline.run({"x": 1})) == {"slow": 0}


class Counting(DictStore):
    """Remembers what was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.gets: list[str] = []

    def get(self, name: str, start: int = 0, end: int | None = None) -> bytes:
        self.gets.append(name)
        return super().get(name, start, end)


def chain(length: int, last: Any) -> list[Any]:
    """Nodes ``n0`` … that turn ``v0`` into ``v1`` and so on, each a large value of its own, and a last one."""
    members: list[Any] = []
    for k in range(length):
        scope: dict[str, Any] = {}
        exec(f"def step(v{k}):\n    return bytes([{k}]) + v{k}", scope)
        members.append(node(output_name=f"v{k + 1}", name=f"n{k}")(scope["step"]))
    return [*members, last]


def test_after_an_edit_of_the_last_of_100_nodes_one_value_is_read() -> None:
    store = Counting()
    cache = StoreCache(store)
    last = node(output_name="end", name="last")
    size = 300_000  # large enough to be blobs of their own
    Pipeline(chain(99, last(lambda v99: len(v99))), cache=cache).run({"v0": bytes(size)}, "end")
    assert len(list(store.list("objects/"))) == 99
    store.gets.clear()
    edited = Pipeline(chain(99, last(lambda v99: len(v99) * 2)), cache=cache).run({"v0": bytes(size)}, "end")
    assert edited["end"] == 2 * (size + 99)
    assert {name: count for name, count in ran(edited).items() if count} == {"last": 1}
    assert len([name for name in store.gets if name.startswith("objects/")]) == 1


def test_a_full_hit_reads_what_was_asked_for_and_nothing_else() -> None:
    store = Counting()
    cache = StoreCache(store)
    pipeline = Pipeline(chain(10, node(output_name="end", name="last")(lambda v10: v10[:5])), cache=cache)
    pipeline.run({"v0": bytes(300_000)}, "end")
    store.gets.clear()
    result = pipeline.run({"v0": bytes(300_000)}, "end")
    assert sum(ran(result).values()) == 0
    assert len(store.gets) == 1
    assert not store.gets[0].startswith("objects/")


# -- what nodes say of themselves --------------------------------------------------------------------------------------


def test_a_node_that_is_not_cached_runs_each_time_and_its_followers_go_by_value(cache: Any) -> None:
    answers = iter([1, 1, 2])

    @node(output_name="y", cache=False)
    def now(x: int) -> int:
        return next(answers)

    pipeline = Pipeline([now, plus], cache=cache)
    assert ran(pipeline.run({"x": 0})) == {"now": 1, "plus": 1}
    second = pipeline.run({"x": 0})
    assert (second["z"], ran(second)) == (2, {"now": 1, "plus": 0})
    third = pipeline.run({"x": 0})
    assert (third["z"], ran(third)) == (3, {"now": 1, "plus": 1})


def test_an_uncached_node_that_nobody_needs_does_not_run(cache: Any) -> None:
    log: list[int] = []

    @node(output_name="y", cache=False)
    def now(x: int) -> int:
        log.append(x)
        return x

    pipeline = Pipeline([now, plus], cache=cache)
    pipeline.run({"x": 0})
    pipeline.run({"x": 0}, "y")
    assert len(log) == 2


def test_results_expire(cache: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1_000_000.0]
    monkeypatch.setattr(time, "time", lambda: clock[0])
    pipeline = Pipeline([adding(1, expires=60), plus], cache=cache)
    pipeline.run({"x": 1})
    clock[0] += 59
    assert ran(pipeline.run({"x": 1})) == {"add": 0, "plus": 0}
    clock[0] += 2
    assert ran(pipeline.run({"x": 1})) == {"add": 1, "plus": 0}
    assert pipeline.run({"x": 1}).stats["add"].ran == 0


def test_what_depends_on_an_expired_result_is_not_served_past_it(cache: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1_000_000.0]
    monkeypatch.setattr(time, "time", lambda: clock[0])
    weather = iter(["sun", "rain"])

    @node(output_name="y", expires=60)
    def report(x: int) -> str:
        return next(weather)

    shout = node(output_name="z", name="shout")(lambda y: y.upper())
    pipeline = Pipeline([report, shout], cache=cache)
    assert pipeline.run({"x": 1}, "z")["z"] == "SUN"
    clock[0] += 61
    assert pipeline.run({"x": 1}, "z")["z"] == "RAIN"


def test_ignored_arguments_do_not_count(cache: Any) -> None:
    @node(output_name="y", ignore=("verbose",))
    def work(x: int, verbose: int = 0) -> int:
        return x + 1

    pipeline = Pipeline([work], cache=cache)
    pipeline.run({"x": 1, "verbose": 1})
    assert ran(pipeline.run({"x": 1, "verbose": 2})) == {"work": 0}
    assert ran(pipeline.run({"x": 1})) == {"work": 0}
    assert ran(pipeline.run({"x": 2})) == {"work": 1}


def test_ignored_arguments_may_have_no_identity(cache: Any) -> None:
    @node(output_name="y", ignore=("lock",))
    def work(x: int, lock: Any) -> int:
        with lock:
            return x + 1

    pipeline = Pipeline([work], cache=cache)
    pipeline.run({"x": 1, "lock": threading.Lock()})
    assert ran(pipeline.run({"x": 1, "lock": threading.Lock()})) == {"work": 0}


def test_a_cache_version_is_part_of_who_a_node_is(cache: Any) -> None:
    def work(version: Any) -> Pipeline:
        return Pipeline([adding(1, cache_version=version)], cache=cache)

    work("1").run({"x": 1})
    assert ran(work("1").run({"x": 1})) == {"add": 0}
    assert ran(work("2").run({"x": 1})) == {"add": 1}
    assert ran(work(1).run({"x": 1})) == {"add": 1}
    assert ran(work(None).run({"x": 1})) == {"add": 1}


def test_a_node_said_to_vary_makes_its_followers_go_by_value(cache: Any) -> None:
    pipeline = Pipeline([adding(1, deterministic=False), plus], cache=cache)
    assert ran(pipeline.run({"x": 1})) == {"add": 1, "plus": 1}
    assert ran(pipeline.run({"x": 1})) == {"add": 0, "plus": 0}


def test_a_node_that_varies_is_found_out_and_named_once(cache: Any) -> None:
    numbers = iter(range(100))

    @node(output_name="y")
    def draw(x: int) -> int:
        return next(numbers)

    pipeline = Pipeline([draw, plus], cache=cache)
    assert pipeline.run({"x": 1})["z"] == 1
    cache.invalidate(node="draw")
    with pytest.warns(CacheWarning, match="node 'draw' gave another y for the same arguments") as told:
        result = pipeline.run({"x": 1})
    assert len(told) == 1
    assert (result["y"], result["z"], ran(result)) == (1, 2, {"draw": 1, "plus": 1})
    assert dict(pipeline.run({"x": 1})) == {"y": 1, "z": 2}


def test_invalidated_results_are_made_again(cache: Any) -> None:
    pipeline = Pipeline([double, plus], cache=cache)
    pipeline.run({"x": 3})
    assert cache.invalidate(node="plus") == 1
    assert ran(pipeline.run({"x": 3})) == {"double": 0, "plus": 1}
    assert cache.invalidate(node="double", pipeline="another") == 0
    assert cache.clear() == 2
    assert len(cache) == 0
    assert ran(pipeline.run({"x": 3})) == {"double": 1, "plus": 1}


# -- values ------------------------------------------------------------------------------------------------------------


def test_results_are_the_callers_own(cache: Any) -> None:
    make = node(output_name="y", name="make")(lambda x: [x])
    pipeline = Pipeline([make], cache=cache)
    first = pipeline.run({"x": 1})["y"]
    first.append("spoilt")
    second = pipeline.run({"x": 1})["y"]
    assert second == [1]
    second.append("spoilt too")
    assert pipeline.run({"x": 1})["y"] == [1]


def test_a_follower_that_changes_its_argument_changes_no_result(cache: Any) -> None:
    make = node(output_name="y", name="make")(lambda x: [x])

    @node(output_name="z")
    def spoil(y: list[int]) -> int:
        y.append(0)
        return len(y)

    pipeline = Pipeline([make, spoil], cache=cache)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pipeline.run({"x": 1})
    assert pipeline.run({"x": 1}, "y")["y"] == [1]


@pytest.mark.parametrize("batch", [False, True])
def test_under_strict_a_node_that_changes_its_argument_is_found_out(cache: Any, batch: bool) -> None:
    make = node(output_name="y", name="make")(lambda x: [x])

    def spoil(y: list[int]) -> int:
        y.append(0)
        return len(y)

    def spoil_all(y: list[list[int]]) -> list[int]:
        return [spoil(each) for each in y]

    def plain(y: list[int], k: int = 2) -> int:
        return len([*y, k])

    spoiler = DualNode("z", batch=spoil_all, name="spoil") if batch else node(output_name="z")(spoil)
    for keeps in (cache, None):
        pipeline = Pipeline([make, spoiler], cache=keeps, strict=True)
        with pytest.raises(
            MutationError, match=r"(?s)node 'spoil' \(.*test_cache_runs.py:\d+\) changed its argument 'y'.*fix: work on a copy"
        ):
            pipeline.map({"x": [1, 2]}, map_over="x")
        assert Pipeline([make, node(output_name="z")(plain)], cache=keeps, strict=True).run({"x": 1})["z"] == 2


def test_under_strict_coroutines_and_exempt_arguments() -> None:
    @node(output_name="z", ignore=("log",))
    async def write(x: int, log: list[int]) -> int:
        log.append(x)
        return x

    @node(output_name="z")
    async def spoil(x: int, log: list[int]) -> int:
        log.append(x)
        return x

    assert Pipeline([write], strict=True).run({"x": 1, "log": []})["z"] == 1
    with pytest.raises(MutationError, match="node 'spoil'.* changed its argument 'log'"):
        Pipeline([spoil], strict=True).run({"x": 1, "log": []})


def test_arrays_come_back_writable(cache: Any) -> None:
    np = pytest.importorskip("numpy")
    make = node(output_name="y", name="make")(lambda x: np.arange(x))
    pipeline = Pipeline([make], cache=cache)
    for _ in range(3):
        array = pipeline.run({"x": 4})["y"]
        assert array.tolist() == [0, 1, 2, 3]
        array[0] = 9


def test_an_argument_without_identity_makes_the_node_run_and_says_so_once(cache: Any) -> None:
    class Client:
        def __init__(self) -> None:
            self._pool = threading.Lock()

    class Session:
        def __init__(self) -> None:
            self.client = Client()

    @node(output_name="y")
    def ask(x: int, session: Any) -> int:
        return x

    pipeline = Pipeline([ask], cache=cache)
    session = Session()
    for _ in range(2):
        with pytest.warns(CacheWarning, match=r"node 'ask' runs uncached: its argument 'session\.client\._pool' is a lock") as told:
            result = pipeline.map({"x": [1, 2, 3], "session": session}, map_over="x")
        assert len(told) == 1
        assert ran(result) == {"ask": 3}
        assert "ignore=('session',)" in str(told[0].message)


class Private:
    """It has nothing but a private attribute, and cannot be pickled."""

    def __init__(self, value: int) -> None:
        self.__value = value

    def __reduce__(self) -> Any:
        raise TypeError("no pickling")

    @property
    def value(self) -> int:
        return self.__value


def test_objects_that_cannot_be_pickled_differ_by_their_private_attributes(cache: Any) -> None:
    @node(output_name="y")
    def value_of(thing: Any) -> int:
        return thing.value

    pipeline = Pipeline([value_of], cache=cache)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CacheWarning)
        assert [pipeline.run({"thing": Private(k)})["y"] for k in (1, 2, 1)] == [1, 2, 1]


def test_two_classes_of_one_name_are_two(cache: Any) -> None:
    def made(word: str) -> Any:
        class Speaker:
            def say(self) -> str:
                return word

        return Speaker()

    @node(output_name="y")
    def listen(speaker: Any) -> str:
        return speaker.say()

    pipeline = Pipeline([listen], cache=cache)
    assert [pipeline.run({"speaker": made(word)})["y"] for word in ("a", "b", "a")] == ["a", "b", "a"]


def test_a_function_passed_in_counts_with_its_code(cache: Any) -> None:
    @node(output_name="y")
    def apply(f: Callable[[int], int], x: int) -> int:
        return f(x)

    pipeline = Pipeline([apply], cache=cache)
    first, edited = (lambda x: x + 1), (lambda x: x + 2)
    assert pipeline.run({"f": first, "x": 1})["y"] == 2
    assert pipeline.run({"f": edited, "x": 1})["y"] == 3
    assert ran(pipeline.run({"f": first, "x": 1})) == {"apply": 0}


def test_a_result_that_cannot_be_stored_is_used_all_the_same(cache: Any) -> None:
    make = node(output_name="y", name="make")(lambda x: (k for k in range(x)))
    total = node(output_name="z", name="total")(lambda y: sum(y))
    pipeline = Pipeline([make, total], cache=cache)
    for _ in range(2):
        with pytest.warns(CacheWarning, match="the result 'y' of node 'make' is not cached") as told:
            result = pipeline.run({"x": 4}, "z")
        assert len(told) == 1
        assert (result["z"], ran(result)) == (6, {"make": 1, "total": 1})


# -- files -------------------------------------------------------------------------------------------------------------


@node(output_name="words")
def load(path: File) -> list[str]:
    return path.read_text().split()


def test_a_file_counts_with_its_content(cache: Any, tmp_path: Path) -> None:
    data = tmp_path / "data.txt"
    data.write_text("one two")
    pipeline = Pipeline([load], cache=cache)
    assert pipeline.run({"path": str(data)})["words"] == ["one", "two"]
    assert ran(pipeline.run({"path": str(data)})) == {"load": 0}
    data.touch()
    assert ran(pipeline.run({"path": data})) == {"load": 0}
    data.write_text("three")
    edited = pipeline.run({"path": str(data)})
    assert (edited["words"], ran(edited)) == (["three"], {"load": 1})


def test_a_file_made_by_a_node_counts_with_its_content(cache: Any, tmp_path: Path) -> None:
    data = tmp_path / "data.txt"
    data.write_text("one two")
    where = node(output_name="path", name="where")(lambda folder: f"{folder}/data.txt")
    pipeline = Pipeline([where, load], cache=cache)
    assert pipeline.run({"folder": str(tmp_path)})["words"] == ["one", "two"]
    assert ran(pipeline.run({"folder": str(tmp_path)})) == {"where": 0, "load": 0}
    data.write_text("three")
    edited = pipeline.run({"folder": str(tmp_path)})
    assert (edited["words"], ran(edited)) == (["three"], {"where": 0, "load": 1})
    only = pipeline.run({"folder": str(tmp_path)}, "words")
    assert (only["words"], ran(only)) == (["three"], {"where": 0, "load": 0})


def test_a_file_in_a_result_counts_with_its_content(cache: Any, tmp_path: Path) -> None:
    """A node hands on a File; when its content changes, what was made from it is made again."""
    data = tmp_path / "data.txt"
    data.write_text("one two")
    find = node(output_name="found", name="find")(lambda folder: {"file": File(f"{folder}/data.txt")})
    read = node(output_name="text", name="read")(lambda found: found["file"].read_text())
    pipeline = Pipeline([find, read], cache=cache)
    assert pipeline.run({"folder": str(tmp_path)}, "text")["text"] == "one two"
    assert ran(pipeline.run({"folder": str(tmp_path)}, "text")) == {"find": 0, "read": 0}
    data.write_text("three")
    assert pipeline.run({"folder": str(tmp_path)}, "text")["text"] == "three"


def test_a_missing_file_is_the_nodes_own_error(cache: Any, tmp_path: Path) -> None:
    pipeline = Pipeline([load], cache=cache)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CacheWarning)
        with pytest.raises(FileNotFoundError):
            pipeline.run({"path": str(tmp_path / "nothing.txt")})


# -- stateful objects ----------------------------------------------------------------------------------------------------


def test_a_hit_never_builds_a_stateful_object(cache: Any) -> None:
    built: list[str] = []

    @stateful
    class Model:
        def __init__(self, name: str) -> None:
            built.append(name)
            self.name = name

        def predict(self, x: int) -> str:
            return f"{self.name}{x}"

    @node(output_name="y")
    def predict(model: Any, x: int) -> str:
        return model.predict(x)

    pipeline = Pipeline([predict], cache=cache)
    assert pipeline.run({"model": Model("m"), "x": 1})["y"] == "m1"
    assert built == ["m"]
    again = pipeline.run({"model": Model("m"), "x": 1})
    assert (again["y"], ran(again), built) == ("m1", {"predict": 0}, ["m"])
    other = pipeline.run({"model": Model("n"), "x": 1})
    assert (other["y"], ran(other), built) == ("n1", {"predict": 1}, ["m", "n"])


# -- the same call twice in one run ---------------------------------------------------------------------------------------


def test_equal_calls_within_a_run_are_made_once(cache: Any) -> None:
    result = Pipeline([double], cache=cache).map({"x": [1, 2, 1, 1, 2]}, map_over="x")
    assert [row["y"] for row in result] == [2, 4, 2, 2, 4]
    assert (ran(result), cached(result)) == ({"double": 2}, {"double": 3})


def test_equal_calls_of_a_batch_are_made_once(cache: Any) -> None:
    batches: list[list[int]] = []

    def many(x: list[int]) -> list[int]:
        batches.append(list(x))
        return [each * 2 for each in x]

    pipeline = Pipeline([DualNode("y", batch=many, name="many")], cache=cache)
    assert [row["y"] for row in pipeline.map({"x": [1, 2, 1]}, map_over="x")] == [2, 4, 2]
    assert sorted(each for batch in batches for each in batch) == [1, 2]
    batches.clear()
    assert [row["y"] for row in pipeline.map({"x": [3, 2, 1, 4]}, map_over="x")] == [6, 4, 2, 8]
    assert sorted(each for batch in batches for each in batch) == [3, 4]  # the misses only


def test_a_product_loads_and_splits_once(cache: Any) -> None:
    loaded = node(output_name="data", name="load")(lambda path: [1, 2, 3, 4])
    split = node(output_name=("train", "test"), name="split")(lambda data: (data[:2], data[2:]))
    fit = node(output_name="score", name="fit")(lambda train, test, c, gamma: sum(train) * c + sum(test) * gamma)
    pipeline = Pipeline([loaded, split, fit], cache=cache)
    result = pipeline.map({"path": "p", "c": [1, 2, 3], "gamma": [10, 20, 30]}, map_over=["c", "gamma"], map_mode="product")
    assert ran(result) == {"load": 1, "split": 1, "fit": 9}
    assert [row["score"] for row in result] == [3 * c + 7 * g for c in (1, 2, 3) for g in (10, 20, 30)]


# -- faults ------------------------------------------------------------------------------------------------------------


def test_a_cache_that_fails_costs_nothing_but_time(tmp_path: Path) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where the cache's directory should be")
    pipeline = Pipeline([double, plus], cache=DiskCache(blocked))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        assert dict(pipeline.run({"x": 3})) == {"y": 6, "z": 7}
    assert any("results are computed" in str(each.message) for each in told), [str(each.message) for each in told]


def test_bytes_that_were_changed_are_never_served(tmp_path: Path) -> None:
    pipeline = Pipeline([double], cache=DiskCache(tmp_path / "a"))
    pipeline.run({"x": 21})
    for file in (tmp_path / "a").rglob("*"):
        if file.is_file() and file.name not in ("CACHEDIR.TAG", ".gitignore"):
            data = bytearray(file.read_bytes())
            data[-1] ^= 1
            target = tmp_path / "b" / file.relative_to(tmp_path / "a")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CacheWarning)
        result = Pipeline([double], cache=DiskCache(tmp_path / "b")).run({"x": 21})
    assert (result["y"], ran(result)) == (42, {"double": 1})


# -- events ------------------------------------------------------------------------------------------------------------


class Heard(PipelineCallback):
    def __init__(self) -> None:
        self.said: list[tuple[Any, ...]] = []

    def on_node_start(self, node_id: str, inputs: Any, ctx: Any) -> None:
        self.said.append(("start", node_id))

    def on_node_end(self, node_id: str, outputs: Any, duration: float, ctx: Any) -> None:
        self.said.append(("end", node_id, ctx.signature))

    def on_cache_hit(self, node_id: str, signature: str, ctx: Any) -> None:
        self.said.append(("hit", node_id, signature, ctx.identity))

    def on_cache_miss(self, node_id: str, signature: str, ctx: Any) -> None:
        self.said.append(("miss", node_id, signature))


def test_callbacks_hear_of_hits_and_misses(cache: Any) -> None:
    heard = Heard()
    pipeline = Pipeline([double], cache=cache, callbacks=[heard])
    pipeline.run({"x": 3})
    (what, name, signature), start, end = heard.said
    assert (what, name, start) == ("miss", "double", ("start", "double"))
    assert end == ("end", "double", signature)
    heard.said.clear()
    pipeline.run({"x": 3})
    ((what, name, again, identity),) = heard.said
    assert (what, name, again) == ("hit", "double", signature)
    assert identity


# -- settings ----------------------------------------------------------------------------------------------------------


def test_an_inner_pipeline_may_switch_its_cache_off(cache: Any) -> None:
    inner = Pipeline([double], name="inner", cache=None)
    outer = Pipeline([inner, plus], cache=cache)
    outer.run({"x": 3})
    assert ran(outer.run({"x": 3})) == {"inner/double": 1, "plus": 0}


def test_an_inner_pipeline_inherits_the_cache(cache: Any) -> None:
    outer = Pipeline([Pipeline([double], name="inner"), plus], cache=cache)
    outer.run({"x": 3})
    assert ran(outer.run({"x": 3})) == {"inner/double": 0, "plus": 0}


def test_as_node_overrides_the_cache(cache: Any) -> None:
    inner = Pipeline([double], name="inner", cache=None)
    own = MemoryCache()
    outer = Pipeline([inner.as_node(cache=own), plus])
    outer.run({"x": 3})
    assert ran(outer.run({"x": 3})) == {"inner/double": 0, "plus": 1}
    assert len(own) == 1
    off = Pipeline([Pipeline([double], name="inner").as_node(cache=None), plus], cache=cache)
    off.run({"x": 3})
    assert ran(off.run({"x": 3})) == {"inner/double": 1, "plus": 0}


def test_an_engine_brings_a_cache(cache: Any) -> None:
    from hypernodes import SeqEngine

    pipeline = Pipeline([double], engine=SeqEngine(cache=cache))
    pipeline.run({"x": 3})
    assert ran(pipeline.run({"x": 3})) == {"double": 0}
    assert ran(Pipeline([double], engine=SeqEngine(cache=cache), cache=None).run({"x": 3})) == {"double": 1}


def test_caches_are_apart(tmp_path: Path) -> None:
    Pipeline([double], cache=DiskCache(tmp_path / "a")).run({"x": 3})
    assert ran(Pipeline([double], cache=DiskCache(tmp_path / "b")).run({"x": 3})) == {"double": 1}
    assert ran(Pipeline([double], cache=str(tmp_path / "a")).run({"x": 3})) == {"double": 0}  # a path is a disk cache


def test_a_memory_cache_keeps_within_its_size() -> None:
    cache = MemoryCache(max_size=100_000)
    pipeline = Pipeline([node(output_name="y", name="make")(lambda x: bytes(10_000) + bytes([x]))], cache=cache)
    pipeline.map({"x": list(range(50))}, map_over="x")
    assert len(cache) <= 10
    result = pipeline.map({"x": list(range(50))}, map_over="x")
    assert [row["y"][-1] for row in result] == list(range(50))
