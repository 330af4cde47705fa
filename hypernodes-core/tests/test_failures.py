"""Retries, timeouts, limits, which setting wins, what an exception says, and debugging."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import inspect
import itertools
import linecache
import re
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypernodes import (
    DualNode,
    Engine,
    EngineCapabilities,
    MemoryCache,
    NodeFailure,
    Pipeline,
    PipelineCallback,
    SeqEngine,
    hookimpl,
    node,
    reset_default_config,
    set_default_config,
)
from hypernodes.errors import NodeTimeoutError, TypeMismatchError, TypeMismatchWarning
from hypernodes.testing.plugins import isolated_plugins


@pytest.fixture(autouse=True)
def _own_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "user"))
    for name in ("ENGINE", "CACHE", "CALLBACKS", "RETRIES", "TIMEOUT", "STRICT"):
        monkeypatch.delenv(f"HYPERNODES_{name}", raising=False)
    reset_default_config()
    yield
    reset_default_config()


class Flaky:
    """Fails so many times, then gives the number of the call."""

    def __init__(self, failures: int, error: Callable[[], BaseException] = lambda: ValueError("not yet")) -> None:
        self.failures = failures
        self.error = error
        self.calls = 0

    def __call__(self, x: Any = 0) -> int:
        self.calls += 1
        if self.calls <= self.failures:
            raise self.error()
        return self.calls


def flaky(failures: int, error: Callable[[], BaseException] = lambda: ValueError("not yet"), **options: Any) -> tuple[Flaky, Any]:
    function = Flaky(failures, error)
    return function, node(output_name="y", name="flaky", **options)(function)


# -- retries --------------------------------------------------------------------------------------------------------


def test_a_failed_call_is_tried_again() -> None:
    function, member = flaky(2, retries=2)
    assert Pipeline([member]).run() == {"y": 3}
    assert function.calls == 3


def test_retries_end() -> None:
    function, member = flaky(9, retries=2)
    with pytest.raises(ValueError, match="not yet") as caught:
        Pipeline([member]).run()
    assert function.calls == 3
    assert "tried 3 times" in caught.value.__notes__[0]
    function, member = flaky(9, retries=1)
    failure = Pipeline([member]).map({"x": [1]}, map_over="x", on_error="return").failures[0]
    assert failure.attempts == 2


def test_only_what_retry_on_names_is_tried_again() -> None:
    function, member = flaky(9, lambda: KeyError("k"), retries=3, retry_on=(OSError, ValueError))
    with pytest.raises(KeyError):
        Pipeline([member]).run()
    assert function.calls == 1
    function, member = flaky(1, ConnectionResetError, retries=3, retry_on=OSError)
    assert Pipeline([member]).run() == {"y": 2}


def test_interrupts_are_not_tried_again_and_go_through() -> None:
    for kind in (KeyboardInterrupt, SystemExit):
        for options in ({}, {"retries": 3}, {"timeout": 5}):
            function, member = flaky(9, kind, **options)
            pipeline = Pipeline([member])
            with pytest.raises(kind):
                pipeline.run()
            with pytest.raises(kind):
                pipeline.map({"x": [1, 2]}, map_over="x", on_error="return")
            assert function.calls == 2


def test_waiting_times_grow() -> None:
    moments: list[float] = []

    @node(output_name="y", retries=2)
    def fail(x: int) -> int:
        moments.append(time.perf_counter())
        raise ValueError

    with pytest.raises(ValueError):
        Pipeline([fail]).run({"x": 1})
    first, second = moments[1] - moments[0], moments[2] - moments[1]
    assert first >= 0.049
    assert second >= 0.099


def test_coroutines_are_tried_again() -> None:
    calls: list[int] = []

    @node(output_name="y", retries=1)
    async def later(x: int) -> int:
        calls.append(x)
        await asyncio.sleep(0)
        if len(calls) == 1:
            raise ValueError
        return x

    assert Pipeline([later]).run({"x": 5}) == {"y": 5}
    assert calls == [5, 5]


def test_batch_twins_are_tried_again_with_the_same_items() -> None:
    calls: list[list[int]] = []

    def many(x: list[int]) -> list[int]:
        calls.append(list(x))
        if len(calls) == 1:
            raise ValueError
        return x

    assert Pipeline([DualNode("y", batch=many, retries=1)]).map({"x": [1, 2]}, map_over="x") == [{"y": 1}, {"y": 2}]
    assert calls == [[1, 2], [1, 2]]


def test_only_the_failed_node_runs_again() -> None:
    ran: list[int] = []
    function, member = flaky(2, retries=2)
    first = node(output_name="x")(lambda raw: ran.append(raw) or raw)
    assert Pipeline([first, member]).run({"raw": 1}, "y") == {"y": 3}
    assert ran == [1]


def test_wrong_results_count_as_failures_of_the_call() -> None:
    calls: list[int] = []
    short = node(output_name=("a", "b"), retries=1)(lambda: (1,) if calls.append(1) or len(calls) == 1 else (1, 2))
    assert Pipeline([short]).run() == {"a": 1, "b": 2}


# -- timeouts -------------------------------------------------------------------------------------------------------


def test_a_node_that_takes_too_long() -> None:
    release = threading.Event()
    slow = node(output_name="y", name="slow", timeout=0.02)(lambda x: release.wait(5))
    start = time.perf_counter()
    with pytest.raises(NodeTimeoutError, match=r"^node 'slow' took longer than its timeout of 0\.02 s") as caught:
        Pipeline([slow]).run({"x": 1})
    release.set()
    assert time.perf_counter() - start < 2
    assert isinstance(caught.value, TimeoutError)
    assert "in node 'slow' of pipeline 'pipeline'" in caught.value.__notes__[0]


def test_a_late_result_is_never_kept() -> None:
    release, late = threading.Event(), threading.Event()

    @node(output_name="y", timeout=0.05)
    def slow(x: int) -> str:
        if x:
            return "in time"
        release.wait(5)
        late.set()
        return "late"

    stream = Pipeline([slow]).imap({"x": [0, 1]}, map_over="x", on_error="return")
    first = next(stream)
    release.set()
    assert late.wait(5)
    assert isinstance(first["y"], NodeFailure)
    assert next(stream) == {"y": "in time"}
    assert isinstance(first["y"], NodeFailure)


def test_a_timeout_may_be_tried_again_and_the_first_try_is_forgotten() -> None:
    release, calls = threading.Event(), []

    @node(output_name="y", timeout=0.05, retries=1)
    def slow(x: int) -> str:
        calls.append(x)
        if len(calls) == 1:
            release.wait(5)
            return "first"
        release.set()
        time.sleep(0.01)
        return "second"

    assert Pipeline([slow]).run({"x": 1}) == {"y": "second"}


def test_coroutines_are_cancelled() -> None:
    ends: list[str] = []

    @node(output_name="y", timeout=0.02)
    async def later(x: int) -> int:
        try:
            await asyncio.sleep(5)
        except asyncio.CancelledError:
            ends.append("cancelled")
            raise
        return x

    with pytest.raises(NodeTimeoutError, match=r"node 'later' took longer than its timeout of 0\.02 s"):
        Pipeline([later]).run({"x": 1})
    assert ends == ["cancelled"]


@pytest.mark.parametrize("is_async", [False, True])
def test_a_timeout_that_the_node_raises_itself_is_its_own(*, is_async: bool) -> None:
    mine = TimeoutError("mine")

    def plain(x: int) -> int:
        raise mine

    async def later(x: int) -> int:
        raise mine

    with pytest.raises(TimeoutError) as caught:
        Pipeline([node(output_name="y", timeout=5)(later if is_async else plain)]).run({"x": 1})
    assert caught.value is mine


def test_a_timeout_covers_one_call_not_the_map() -> None:
    brief = node(output_name="y", timeout=0.3)(lambda x: time.sleep(0.04))
    assert Pipeline([brief]).map({"x": range(10)}, map_over="x").ok


def test_a_timeout_as_timedelta() -> None:
    with pytest.raises(NodeTimeoutError, match=r"0\.01 s"):
        Pipeline([node(output_name="y", timeout=timedelta(milliseconds=10))(lambda x: time.sleep(0.1))]).run({"x": 1})


def test_context_variables_are_seen_under_a_timeout() -> None:
    variable = contextvars.ContextVar("variable", default="unset")
    variable.set("set")
    assert Pipeline([node(output_name="y", timeout=5)(lambda: variable.get())]).run() == {"y": "set"}


def test_a_timeout_of_a_batch_call() -> None:
    twin = DualNode("y", batch=lambda x: time.sleep(0.2) or x, timeout=0.02, name="twin")
    with pytest.raises(NodeTimeoutError, match="node 'twin'"):
        Pipeline([twin]).map({"x": [1, 2]}, map_over="x")


# -- limits ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("nested", [False, True])
def test_a_rate_spreads_calls_evenly(*, nested: bool) -> None:
    moments: list[float] = []
    limited = node(output_name="y", rate="50/s")(lambda x: moments.append(time.perf_counter()))
    pipeline = Pipeline([limited])
    start = time.perf_counter()
    if nested:
        Pipeline([pipeline.as_node({"rows": "x"}, map_over="rows")]).map({"rows": [[1, 2], [3, 4], [5, 6]]}, map_over="rows")
    else:
        pipeline.map({"x": range(6)}, map_over="x")
    assert len(moments) == 6
    assert all(moment - start >= number * 0.02 - 0.001 for number, moment in enumerate(moments))


class Threads(Engine):
    """Blocks on threads of this process."""

    name = "threads"
    capabilities = EngineCapabilities(workers=4)

    def open(self, run: Any) -> Any:
        @contextlib.contextmanager
        def session() -> Iterator[Any]:
            with ThreadPoolExecutor(4) as pool:

                class Session:
                    def submit(self, task: Any) -> Future[Any]:
                        return pool.submit(task)

                yield Session()

        return session()


def test_a_rate_holds_over_the_whole_run_on_any_engine() -> None:
    moments: list[float] = []
    limited = node(output_name="y", rate="100/s")(lambda x: moments.append(time.perf_counter()))
    start = time.perf_counter()
    Pipeline([limited], engine=Threads()).map({"x": range(12)}, map_over="x")
    assert len(moments) == 12
    assert all(moment - start >= number * 0.01 - 0.001 for number, moment in enumerate(sorted(moments)))


def test_a_retry_keeps_the_rate() -> None:
    moments: list[float] = []

    @node(output_name="y", rate="10/s", retries=1)
    def fail(x: int) -> int:
        moments.append(time.perf_counter())
        raise ValueError

    start = time.perf_counter()
    with pytest.raises(ValueError):
        Pipeline([fail]).run({"x": 1})
    assert moments[1] - start >= 0.099


@pytest.mark.parametrize("limit", [1, 2])
def test_max_concurrent_holds_over_the_whole_run_on_any_engine(limit: int) -> None:
    lock, now, most = threading.Lock(), 0, 0

    @node(output_name="y", max_concurrent=limit)
    def count(x: int) -> int:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.005)
        with lock:
            now -= 1
        return x

    made = Pipeline([count], engine=Threads()).map({"x": range(24)}, map_over="x")
    assert [row["y"] for row in made] == list(range(24))
    assert most <= limit


# -- which setting wins -----------------------------------------------------------------------------------------------

LEVELS = ["node", "as_node", "pipeline", "engine", "parent", "program", "environment", "project", "user", "plugin"]
OF_SETTING = {
    "retries": LEVELS[:-1],
    "timeout": LEVELS[:-1],
    "callbacks": LEVELS[1:-1],
    "cache": LEVELS[1:],
    "engine": [level for level in LEVELS[1:] if level != "engine"],
}


class Noting(PipelineCallback):
    def __init__(self, name: str, heard: list[str]) -> None:
        self.name, self.heard = name, heard

    def on_node_start(self, node_id: str, inputs: Any, ctx: Any) -> None:
        self.heard.append(self.name)


class World:
    """Sets one setting at any of its levels and says which value a nested node gets."""

    def __init__(self, setting: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.setting = setting
        self.folder = folder
        self.monkeypatch = monkeypatch
        self.heard: list[str] = []
        self.engines: dict[str, Any] = {}
        self.callbacks: dict[str, Any] = {}
        self.caches: dict[str, Any] = {}
        for name in (*LEVELS, "below"):
            self.engines[name] = self.engine(name)
            self.callbacks[name] = Noting(name, self.heard)
            self.caches[name] = str(folder / name)

    def engine(self, name: str) -> Any:
        heard = self.heard

        class Heard(SeqEngine):
            in_caller = False

            def execute(self, run: Any, tasks: Any) -> Any:
                heard.append(self.name)
                return super().execute(run, tasks)

        Heard.name = name
        return Heard()

    def value(self, level: str, mark: Any, *, text: bool = False) -> Any:
        """Return what stands at a level: a marked value, as an object or as a name."""
        if self.setting in ("retries", "timeout"):
            return mark
        if self.setting == "cache":
            return self.caches[level]
        if text:
            return level
        return self.engines[level] if self.setting == "engine" else self.callbacks[level]

    def build(self, chosen: dict[str, Any]) -> Pipeline:
        setting = self.setting
        own = {level: {setting: self.value(level, mark)} for level, mark in chosen.items()}
        if "program" in chosen:
            set_default_config(**own["program"])
        if "environment" in chosen:
            self.monkeypatch.setenv(f"HYPERNODES_{setting.upper()}", str(self.value("environment", chosen["environment"], text=True)))
        for level, path, head in (("project", "pyproject.toml", "[tool.hypernodes]\n"), ("user", "user/hypernodes/config.toml", "")):
            if level in chosen:
                value = self.value(level, chosen[level], text=True)
                (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
                (self.folder / path).write_text(f"{head}{setting} = {value!r}\n")
        if "environment" in chosen or "project" in chosen or "user" in chosen:
            kept = dict(own.get("program", {}))
            reset_default_config()
            set_default_config(**kept)

        def fail(x: int) -> int:
            self.heard.append("call")
            if setting == "timeout":
                time.sleep(0.2)
            elif setting == "retries":
                raise ValueError
            return x

        inner_settings = dict(own.get("pipeline", {}))
        if "engine" in chosen:
            inner_settings["engine"] = SeqEngine(**own["engine"])
        inner = Pipeline([node(output_name="y", name="fail", **own.get("node", {}))(fail)], name="inner", **inner_settings)
        return Pipeline([inner.as_node(**own.get("as_node", {}))], name="outer", **own.get("parent", {}))

    def observe(self, pipeline: Pipeline) -> Any:
        """Run it; return the mark of the setting that was in force for the nested node, or the level's name."""
        self.heard.clear()
        if self.setting == "retries":
            with pytest.raises(ValueError):
                pipeline.run({"x": 1})
            return len(self.heard) - 1
        if self.setting == "timeout":
            try:
                pipeline.run({"x": 1})
            except NodeTimeoutError as error:
                return float(re.findall(r"timeout of ([\d.]+) s", str(error))[0])
            return None
        if self.setting == "cache":
            pipeline.run({"x": 1})
            found = [name for name, path in self.caches.items() if Path(path, "segments").exists()]
            assert len(found) <= 1
            return found[0] if found else None
        pipeline.run({"x": 1})
        heard = [name for name in self.heard if name != "call"]
        return heard[-1] if heard else None

    def plugin(self) -> Any:
        world = self

        class Plugin:
            @hookimpl
            def hypernodes_register_engines(self, registry: Any) -> None:
                for name, engine in world.engines.items():
                    registry.add(name, engine)

            @hookimpl
            def hypernodes_register_callbacks(self, registry: Any) -> None:
                for name, callback in world.callbacks.items():
                    registry.add(name, callback)

        return Plugin()

    def defaults(self) -> Any:
        world = self

        class Defaults:
            @hookimpl
            def hypernodes_default_engine(self, pipeline: Any) -> Any:
                return world.engines["plugin"] if world.setting == "engine" else None

            @hookimpl
            def hypernodes_default_cache(self, pipeline: Any) -> Any:
                return world.caches["plugin"] if world.setting == "cache" else None

        return Defaults()


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Return a function that sets a setting at some levels and gives what is in force in a nested node."""

    def made(setting: str, chosen: dict[str, Any]) -> Any:
        world = World(setting, tmp_path, monkeypatch)
        with isolated_plugins(world.plugin()) as manager:
            if "plugin" in chosen:
                manager.register(world.defaults())
            return world.observe(world.build(chosen))

    return made


PAIRS = [(setting, upper, lower) for setting, levels in OF_SETTING.items() for upper, lower in itertools.combinations(levels, 2)]


@pytest.mark.parametrize(("setting", "upper", "lower"), PAIRS)
def test_the_upper_level_wins(world: Callable[..., Any], setting: str, upper: str, lower: str) -> None:
    marks = {"retries": (1, 0), "timeout": (0.01, 0.02)}.get(setting, (upper, lower))
    assert world(setting, {upper: marks[0], lower: marks[1]}) == marks[0]


@pytest.mark.parametrize(("setting", "level"), [(setting, level) for setting, levels in OF_SETTING.items() for level in levels])
def test_every_level_counts_when_it_is_alone(world: Callable[..., Any], setting: str, level: str) -> None:
    mark = {"retries": 1, "timeout": 0.01}.get(setting, level)
    assert world(setting, {level: mark}) == mark


@pytest.mark.parametrize(("setting", "default"), [("retries", 0), ("timeout", None), ("callbacks", None), ("cache", None)])
def test_the_library_default_counts_when_nobody_says_anything(world: Callable[..., Any], setting: str, default: Any) -> None:
    assert world(setting, {}) == default


OFF = {"retries": None, "timeout": None, "callbacks": [], "cache": None}


@pytest.mark.parametrize(
    ("setting", "level"),
    [
        (setting, level)
        for setting in OFF
        for level in ("as_node", "pipeline", "engine", "parent", "program")
        if level in OF_SETTING[setting]
    ],
)
def test_none_and_the_empty_list_switch_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str, level: str) -> None:
    class Off(World):
        def value(self, here: str, mark: Any, *, text: bool = False) -> Any:
            return OFF[setting] if here == level else super().value(here, mark, text=text)

    world = Off(setting, tmp_path, monkeypatch)
    with isolated_plugins(world.plugin()):
        pipeline = world.build({level: None, "project": {"retries": 1, "timeout": 0.01}.get(setting, "project")})
        assert world.observe(pipeline) == (0 if setting == "retries" else None)


def test_settings_are_resolved_when_a_pipeline_runs() -> None:
    function, member = flaky(9)
    pipeline = Pipeline([member])

    def calls() -> int:
        function.calls = 0
        with pytest.raises(ValueError, match="not yet"):
            pipeline.run()
        return function.calls

    assert calls() == 1
    set_default_config(retries=1)
    assert calls() == 2
    pipeline.with_retries(0)
    assert calls() == 1
    reset_default_config()
    assert calls() == 1


def test_settings_of_an_inner_pipeline_may_change_after_it_was_nested() -> None:
    function, member = flaky(9)
    inner = Pipeline([member])
    hosted = inner.as_node()
    outer = Pipeline([hosted])
    for change, expected in ((lambda: inner.with_retries(1), 2), (lambda: hosted.with_retries(0), 1)):
        change()
        function.calls = 0
        with pytest.raises(ValueError, match="not yet"):
            outer.run()
        assert function.calls == expected


def test_each_setting_goes_its_own_way() -> None:
    function, member = flaky(1)
    slow = node(output_name="z")(lambda y: time.sleep(0.1))
    inner = Pipeline([member, slow], retries=1)
    with pytest.raises(NodeTimeoutError, match=r"0\.02 s"):
        Pipeline([inner], retries=0, timeout=0.02).run()
    assert function.calls == 2


@pytest.mark.parametrize(("upper", "lower"), list(itertools.combinations(["pipeline", "program", "environment", "project", "user"], 2)))
@pytest.mark.parametrize("strict", [True, False])
def test_strict_has_the_same_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, upper: str, lower: str, *, strict: bool) -> None:
    def text(x: int) -> str:
        return str(x)

    def number(y: int) -> int:
        return y

    options: dict[str, Any] = {}
    for level, value in ((upper, strict), (lower, not strict)):
        word = str(value).lower()
        if level == "pipeline":
            options["strict"] = value
        elif level == "program":
            set_default_config(strict=value)
        elif level == "environment":
            monkeypatch.setenv("HYPERNODES_STRICT", "1" if value else "0")
        elif level == "project":
            (tmp_path / "pyproject.toml").write_text(f"[tool.hypernodes]\nstrict = {word}\n")
        else:
            (tmp_path / "user" / "hypernodes").mkdir(parents=True)
            (tmp_path / "user" / "hypernodes" / "config.toml").write_text(f"strict = {word}\n")
    nodes = [node(output_name="y")(text), node(output_name="z")(number)]
    with pytest.raises(TypeMismatchError) if strict else pytest.warns(TypeMismatchWarning):
        Pipeline(nodes, **options)


def test_an_engine_of_its_own_runs_a_nested_pipeline_and_its_own_settings_hold_there() -> None:
    function, member = flaky(9)
    inner = Pipeline([member], engine=SeqEngine(retries=1), name="inner")
    with pytest.raises(ValueError, match="not yet"):
        Pipeline([inner], retries=5).run()
    assert function.calls == 2


def test_an_inherited_engine_does_not_bring_its_settings_past_the_parent_s_own() -> None:
    function, member = flaky(9)
    with pytest.raises(ValueError, match="not yet"):
        Pipeline([Pipeline([member])], engine=SeqEngine(retries=5), retries=1).run()
    assert function.calls == 2


# -- what an exception says -------------------------------------------------------------------------------------------


class OwnError(Exception):
    """Takes other arguments than it keeps."""

    def __init__(self, code: int, *, text: str) -> None:
        super().__init__(text)
        self.code = code


@pytest.mark.parametrize("options", [{}, {"retries": 1, "retry_on": OSError}, {"timeout": 5}], ids=["generated", "block", "timeout"])
@pytest.mark.parametrize("call", ["run", "map", "imap"])
def test_the_exception_is_the_very_object_that_was_raised(options: dict[str, Any], call: str) -> None:
    error = OwnError(7, text="mine")

    def fail(x: int) -> int:
        raise error

    pipeline = Pipeline([Pipeline([node(output_name="y", **options)(fail)], name="inner")], name="outer")
    with pytest.raises(OwnError) as caught:
        pipeline.run({"x": 1}) if call == "run" else list(getattr(pipeline, call)({"x": [1]}, map_over="x"))
    assert caught.value is error
    assert error.code == 7
    assert (error.__cause__, error.__context__) == (None, None)
    assert len(error.__notes__) == 1
    frames = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
    assert frames[-1] == "fail"


@pytest.mark.parametrize("call", ["run", "map"])
def test_notes_are_not_repeated_when_one_exception_is_raised_again(call: str) -> None:
    error = ValueError("always the same")

    def fail(x: int) -> int:
        raise error

    pipeline = Pipeline([node(output_name="y")(fail)])
    for _ in range(3):
        with pytest.raises(ValueError, match="always"):
            pipeline.run({"x": 1}) if call == "run" else pipeline.map({"x": [1]}, map_over="x")
    assert len(error.__notes__) == 1


def test_a_pipeline_called_by_a_node_adds_its_own_place() -> None:
    inner = Pipeline([node(output_name="y", name="divide")(lambda x: 1 / x)], name="inner")
    outer = Pipeline([node(output_name="z", name="call")(lambda x: inner.run({"x": x})["y"])], name="outer")
    with pytest.raises(ZeroDivisionError) as caught:
        outer.run({"x": 0})
    first, second = caught.value.__notes__
    assert "in node 'divide' of pipeline 'inner'" in first
    assert "in node 'call' of pipeline 'outer'" in second


def divide(x: int, k: int = 0) -> float:
    return x / k


def note_of(error: BaseException) -> str:
    (note,) = error.__notes__
    return str(note)


OPTIONS = pytest.mark.parametrize("options", [{}, {"retries": 1, "retry_on": OSError}], ids=["generated", "block"])


@OPTIONS
def test_the_note_of_a_run(options: dict[str, Any]) -> None:
    pipeline = Pipeline([node(output_name="y", **options)(divide)], name="p")
    with pytest.raises(ZeroDivisionError) as caught:
        pipeline.run({"x": 3})
    assert note_of(caught.value) == "in node 'divide' of pipeline 'p'\n  with x=3, k=0\n  reproduce: pipeline.run({'x': 3})"


@OPTIONS
def test_the_note_of_a_map_names_the_item_and_how_to_go_on(options: dict[str, Any]) -> None:
    pipeline = Pipeline([node(output_name="y", **options)(divide)], name="p")
    with pytest.raises(ZeroDivisionError) as caught:
        pipeline.map({"x": 3, "k": [1, 2, 0, 4]}, map_over="k")
    assert note_of(caught.value) == (
        "in node 'divide' of pipeline 'p', item 2\n"
        "  with x=3, k=0\n"
        "  2 of 4 items were finished before; on_error='return' goes on past failures\n"
        "  reproduce: pipeline.run({'x': 3, 'k': 0})"
    )


@OPTIONS
@pytest.mark.parametrize("mapped", [False, True])
def test_the_note_names_the_way_through_nested_pipelines(options: dict[str, Any], *, mapped: bool) -> None:
    inner = Pipeline([node(output_name="y", **options)(divide)], name="inner")
    hosted = inner.as_node({"ks": "k"}, map_over="ks") if mapped else inner.as_node({"ks": "k"})
    outer = Pipeline([hosted], name="outer")
    with pytest.raises(ZeroDivisionError) as caught:
        outer.run({"x": 3, "ks": [1, 0] if mapped else 0})
    ks, item = ([1, 0], ", item 1") if mapped else (0, "")
    assert note_of(caught.value) == (
        f"in node 'inner/divide' of pipeline 'outer'{item}\n  with x=3, k=0\n  reproduce: pipeline.run({{'x': 3, 'ks': {ks}}})"
    )


@OPTIONS
def test_what_the_note_says_reproduces_the_failure(options: dict[str, Any]) -> None:
    pipeline = Pipeline([node(output_name="y", **options)(divide)], name="p")
    for call in (lambda: pipeline.run({"x": 3}), lambda: pipeline.map({"x": [3, 4], "k": [1, 0]}, map_over=["x", "k"])):
        with pytest.raises(ZeroDivisionError) as caught:
            call()
        line = note_of(caught.value).splitlines()[-1]
        with pytest.raises(ZeroDivisionError):
            eval(line.removeprefix("  reproduce: "), {"pipeline": pipeline})


@OPTIONS
def test_an_input_left_out_is_not_shown(options: dict[str, Any]) -> None:
    inner = Pipeline([node(output_name="y", **options)(divide)], name="inner")
    outer = Pipeline([inner.as_node(map_over="x")], name="outer")
    for inputs in ({"x": "abc"}, {"x": [1]}):
        with pytest.raises((ZeroDivisionError, TypeError)) as caught:
            outer.run(inputs)
        assert "_empty" not in note_of(caught.value)


def test_values_in_notes_are_short() -> None:
    pipeline = Pipeline([node(output_name="y")(lambda x, z: 1 / 0)])
    with pytest.raises(ZeroDivisionError) as caught:
        pipeline.run({"x": list(range(10_000)), "z": "a" * 10_000})
    assert "with x=<list of 10,000>, z=<str of 10,000>" in note_of(caught.value)
    assert len(note_of(caught.value)) < 400


def test_a_value_with_a_broken_repr_hides_nothing() -> None:
    class Broken:
        def __repr__(self) -> str:
            raise RuntimeError

    with pytest.raises(ZeroDivisionError) as caught:
        Pipeline([node(output_name="y")(lambda x: 1 / 0)]).run({"x": Broken()})
    assert "with x=<Broken>" in note_of(caught.value)


def test_a_failing_batch_names_the_items_it_held() -> None:
    def many(x: list[int]) -> list[float]:
        return [1 / value for value in x]

    with pytest.raises(ZeroDivisionError) as caught:
        Pipeline([DualNode("y", batch=many)], name="p").map({"x": [1, 2, 0]}, map_over="x")
    note = note_of(caught.value)
    assert "in node 'many' of pipeline 'p', " in note
    assert note.splitlines()[0].endswith(", item 0 or one of the 2 after it in its batch")
    assert "with x=[1, 2, 0]" in note
    assert "reproduce: " not in note


@OPTIONS
def test_wrong_number_of_outputs_names_the_item(options: dict[str, Any]) -> None:
    short = node(output_name=("a", "b"), name="short", **options)(lambda x: (1,) * x)
    with pytest.raises(ValueError, match="declares 2 outputs") as caught:
        Pipeline([short], name="p").map({"x": [2, 3]}, map_over="x")
    assert note_of(caught.value).startswith("in node 'short' of pipeline 'p', item 1\n")


# -- generated code and debugging -------------------------------------------------------------------------------------


def traceback_of(call: Callable[[], Any]) -> str:
    try:
        call()
    except Exception:  # noqa: BLE001 - its text is what is tested
        return traceback.format_exc()
    pytest.fail("nothing was raised")


def test_generated_code_is_readable_in_a_traceback() -> None:
    first = node(output_name="k", name="first")(lambda x: x - 1)
    pipeline = Pipeline([first, node(output_name="y")(divide)], name="p")
    text = traceback_of(lambda: pipeline.run({"x": 1}))
    assert re.search(r'File "<hypernodes p #\d+>", line \d+, in run\n +\w+ = f1\(\w+, \w+\) +# divide\n', text), text
    text = traceback_of(lambda: pipeline.map({"x": [2, 1]}, map_over="x"))
    assert re.search(r'File "<hypernodes p #\d+>", line \d+, in run\n +\w+ = f1\(\w+, \w+\) +# divide\n', text), text


def test_generated_code_can_be_listed_by_a_debugger() -> None:
    shown: list[str] = []

    def look(x: int) -> int:
        frame = inspect.currentframe().f_back
        shown.append(inspect.getsource(frame.f_code))
        shown.append(linecache.getline(frame.f_code.co_filename, frame.f_lineno))
        return x

    Pipeline([node(output_name="y")(look), node(output_name="z")(lambda y: y + 1)], name="p").run({"x": 1})
    source, line = shown
    assert source.startswith("def run(")
    assert re.fullmatch(r" +\w+ = f0\(\w+\)  # look\n", line)
    assert line in source


def test_tracebacks_stay_short() -> None:
    text = traceback_of(lambda: Pipeline([node(output_name="y")(divide)]).run({"x": 1}))
    assert len(re.findall(r"^  File ", text, re.MULTILINE)) <= 6


def test_names_never_become_code() -> None:
    evil = "x\nraise SystemExit('executed')  #'\"{}"
    pipeline = Pipeline([node(output_name="y", name=evil)(lambda x: x + 1)], name=evil)
    assert pipeline.run({"x": 1}) == {"y": 2}
    assert pipeline.map({"x": [1]}, map_over="x") == [{"y": 2}]
    assert Pipeline([pipeline.as_node(name=evil)]).run({"x": 1}) == {"y": 2}


def test_debug_calls_in_this_thread_with_nothing_between() -> None:
    threads: list[int] = []
    heard: list[str] = []

    @node(output_name="y", timeout=5, retries=3, rate="1/h", max_concurrent=1)
    def fail(x: int) -> int:
        threads.append(threading.get_ident())
        raise ValueError(x)

    pipeline = Pipeline([fail], engine=Threads(), callbacks=[Noting("n", heard)], retries=4, timeout=3)
    with pipeline.debug() as plain:
        assert plain is pipeline
        for _ in range(2):
            with pytest.raises(ValueError, match="1") as caught:
                pipeline.run({"x": 1})
            assert not hasattr(caught.value, "__notes__")
    assert threads == [threading.get_ident()] * 2
    assert heard == []


def test_debug_shows_the_original_traceback() -> None:
    pipeline = Pipeline([Pipeline([node(output_name="y", retries=2)(divide)], name="inner", timeout=2)], name="outer")
    with pipeline.debug():
        text = traceback_of(lambda: pipeline.run({"x": 1}))
    assert re.search(r"\w+ = f0\(\w+, \w+\) +# inner/divide\n", text)
    assert "return x / k" in text
    assert len(re.findall(r"^  File ", text, re.MULTILINE)) <= 6
    assert "in node" not in text


def test_debug_of_a_map_raises_at_once() -> None:
    ran: list[int] = []
    pipeline = Pipeline([node(output_name="y", retries=2)(lambda x: ran.append(x) or 1 / x)])
    with pipeline.debug():
        with pytest.raises(ZeroDivisionError):
            pipeline.map({"x": [1, 0, 2]}, map_over="x", on_error="return")
        assert ran == [1, 0]
        assert pipeline.map({"x": [1, 2]}, map_over="x") == [{"y": 1.0}, {"y": 0.5}]


def test_debug_of_coroutines_batches_and_nested_maps() -> None:
    threads: list[int] = []

    async def later(x: int) -> int:
        threads.append(threading.get_ident())
        return x + 1

    twin = DualNode("z", lambda y: y * 10, lambda y: [0] * len(y), batch_size=2)
    inner = Pipeline([node(output_name="y", timeout=5)(later), twin], name="inner", engine=Threads())
    outer = Pipeline([inner.as_node({"xs": "x"}, {"z": "zs"}, map_over="xs")], engine=Threads())
    with outer.debug():
        assert outer.run({"xs": [1, 2]}) == {"zs": [20, 30]}
    assert set(threads) == {threading.get_ident()}
    assert outer.run({"xs": [1, 2]}) == {"zs": [0, 0]}


def test_debug_ends_with_its_block() -> None:
    function, member = flaky(99, retries=1)
    pipeline = Pipeline([member])
    with contextlib.suppress(ValueError), pipeline.debug():
        with pipeline.debug():
            pass
        pipeline.run()
    assert function.calls == 1
    with pytest.raises(ValueError, match="not yet") as caught:
        pipeline.run()
    assert function.calls == 3
    assert caught.value.__notes__


def test_a_cache_is_left_alone_while_debugging() -> None:
    pipeline = Pipeline([node(output_name="y")(lambda: 1)], cache=MemoryCache())
    with pipeline.debug():
        assert pipeline.run() == {"y": 1}
