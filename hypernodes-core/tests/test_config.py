"""Where settings come from, and what happens to unusable ones."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypernodes import (
    DiskCache,
    MemoryCache,
    Pipeline,
    PipelineCallback,
    SeqEngine,
    config,
    hookimpl,
    node,
    reset_default_config,
    set_default_config,
)
from hypernodes.cache import Layers, RemoteCache, StoreCache
from hypernodes.cache.store import DictStore
from hypernodes.errors import ConfigError, OptionError, PluginConflictError, PluginLoadError, TypeMismatchError, UnknownPluginError
from hypernodes.testing import isolated_plugins


@node(output_name="y")
def inc(x: int) -> int:
    return x + 1


class Alpha(SeqEngine):
    name = "alpha"


class Beta(SeqEngine):
    name = "beta"


class Gamma(SeqEngine):
    name = "gamma"


class Delta(SeqEngine):
    name = "delta"


class Epsilon(SeqEngine):
    name = "epsilon"


class Tuned(SeqEngine):
    """An engine with settings of its own, beside those that every engine takes."""

    name = "tuned"
    made = 0

    def __init__(self, *, workers: int = 1, **settings: Any) -> None:
        super().__init__(**settings)
        if workers < 0:
            msg = "workers must not be negative"
            raise ValueError(msg)
        self.workers = workers
        type(self).made += 1


class Engines:
    @hookimpl
    def hypernodes_register_engines(self, registry: Any) -> None:
        for engine in (Alpha, Beta, Gamma, Delta, Epsilon, Tuned):
            registry.add(engine.name, engine)
        registry.add("ready-made", Alpha())
        registry.add("not-an-engine", dict)
        registry.add("anything", lambda **options: Tuned(workers=len(options)))

    @hookimpl
    def hypernodes_register_callbacks(self, registry: Any) -> None:
        registry.add("collecting", Collecting)
        registry.add("not-a-callback", dict)
        registry.add("unmakeable", lambda: 1 / 0)


class Collecting(PipelineCallback):
    """Keeps the engine of every run, in one list for all instances."""

    engines: ClassVar[list[str]] = []

    def on_run_start(self, run: Any, ctx: Any) -> None:
        self.engines.append(run.engine)


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each test has an empty project, an empty home and no environment."""
    for name in [name for name in os.environ if name.startswith("HYPERNODES_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    Collecting.engines = []
    Tuned.made = 0
    with isolated_plugins(Engines):
        reset_default_config()
        yield
    reset_default_config()


@pytest.fixture
def project() -> Callable[[str], Path]:
    def write(text: str) -> Path:
        path = Path("pyproject.toml").resolve()
        path.write_text(text, encoding="utf-8")
        reset_default_config()
        return path

    return write


@pytest.fixture
def user_file(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        path = tmp_path / "home" / "hypernodes" / "config.toml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        reset_default_config()
        return path

    return write


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def write(**settings: str) -> None:
        for name, text in settings.items():
            monkeypatch.setenv(f"HYPERNODES_{name.upper()}", text)
        reset_default_config()

    return write


def engine_of(pipeline: Pipeline) -> str:
    """Return the engine that a pipeline really runs on."""
    Collecting.engines = []
    pipeline.with_callbacks([Collecting()]).run({"x": 1})
    assert len(Collecting.engines) == 1
    return Collecting.engines[0]


def failing(times: int) -> tuple[Pipeline, list[int]]:
    """Return a pipeline whose node fails so many times, and the list of its attempts."""
    attempts: list[int] = []

    @node(output_name="y")
    def flaky(x: int) -> int:
        attempts.append(x)
        if len(attempts) <= times:
            raise ConnectionError
        return x

    return Pipeline([flaky]), attempts


class DefaultEngine:
    @hookimpl
    def hypernodes_default_engine(self, pipeline: Any) -> str:
        return "epsilon"


# -- levels


def test_each_level_wins_over_all_below(
    project: Callable[[str], Path], user_file: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    with isolated_plugins(Engines, DefaultEngine):
        found = [engine_of(Pipeline([inc]))]
        user_file('engine = "delta"\n')
        found.append(engine_of(Pipeline([inc])))
        project('[tool.hypernodes]\nengine = "gamma"\n')
        found.append(engine_of(Pipeline([inc])))
        monkeypatch.setenv("HYPERNODES_ENGINE", "beta")
        reset_default_config()
        found.append(engine_of(Pipeline([inc])))
        set_default_config(engine="alpha")
        found.append(engine_of(Pipeline([inc])))
        found.append(engine_of(Pipeline([inc], engine="seq")))
    assert found == ["epsilon", "delta", "gamma", "beta", "alpha", "seq"]


def test_without_any_level_pipelines_run_sequentially() -> None:
    assert engine_of(Pipeline([inc])) == "seq"


def test_levels_are_taken_setting_by_setting(environment: Callable[..., None], project: Callable[[str], Path]) -> None:
    project('[tool.hypernodes]\nengine = "gamma"\nretries = 2\n')
    environment(engine="beta")
    pipeline, attempts = failing(2)
    assert engine_of(pipeline) == "beta"
    assert len(attempts) == 3


def test_retries_of_the_project_file(project: Callable[[str], Path]) -> None:
    pipeline, attempts = failing(2)
    with pytest.raises(ConnectionError):
        pipeline.run({"x": 1})
    assert len(attempts) == 1
    project("[tool.hypernodes]\nretries = 1\n")
    assert pipeline.run({"x": 1}) == {"y": 1}
    assert len(attempts) == 3


def test_callbacks_of_the_environment_are_names(environment: Callable[..., None], caplog: pytest.LogCaptureFixture) -> None:
    environment(callbacks="collecting, logging")
    with caplog.at_level(logging.INFO, logger="hypernodes"):
        Pipeline([inc], name="counted").run({"x": 1})
    assert Collecting.engines == ["seq"]
    assert any("counted" in record.getMessage() for record in caplog.records)


def test_callbacks_of_the_project_file_are_a_list_of_names(project: Callable[[str], Path]) -> None:
    project('[tool.hypernodes]\ncallbacks = ["collecting"]\n')
    Pipeline([inc]).run({"x": 1})
    assert Collecting.engines == ["seq"]


@pytest.mark.parametrize("off", [None, []])
def test_none_and_empty_switch_off_what_a_lower_level_says(off: Any, project: Callable[[str], Path]) -> None:
    project('[tool.hypernodes]\ncallbacks = ["collecting"]\nretries = 5\ntimeout = 0.001\n')
    set_default_config(callbacks=off, retries=None, timeout=None)
    pipeline, attempts = failing(1)
    with pytest.raises(ConnectionError):
        pipeline.run({"x": 1})
    assert (Collecting.engines, len(attempts)) == ([], 1)


def test_none_in_the_environment_switches_off(environment: Callable[..., None], project: Callable[[str], Path]) -> None:
    project('[tool.hypernodes]\ncallbacks = ["collecting"]\n')
    environment(callbacks="none", timeout="None", cache="none")
    Pipeline([inc]).run({"x": 1})
    assert Collecting.engines == []
    assert (config.ambient().cache, config.ambient().timeout) == (None, None)


def test_an_empty_variable_says_nothing(environment: Callable[..., None], project: Callable[[str], Path]) -> None:
    project('[tool.hypernodes]\nengine = "gamma"\ncallbacks = ["collecting"]\n')
    environment(engine="", callbacks=" ")
    Pipeline([inc]).run({"x": 1})
    assert Collecting.engines == ["gamma"]


@pytest.mark.parametrize(("text", "strict"), [("1", True), ("true", True), ("ON", True), ("0", False), ("no", False)])
def test_strict_of_the_environment(text: str, strict: Any, environment: Callable[..., None]) -> None:
    @node(output_name="text")
    def make() -> str:
        return "1"

    @node(output_name="double")
    def use(text: int) -> int:
        return text

    environment(strict=text)
    with pytest.raises(TypeMismatchError) if strict else pytest.warns(match="text"):
        Pipeline([make, use])


def test_leaving_a_setting_out_keeps_what_was_set() -> None:
    set_default_config(engine="alpha")
    set_default_config(retries=3)
    assert engine_of(Pipeline([inc])) == "alpha"


def test_reset_forgets_what_was_set_and_reads_again(monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = Pipeline([inc])
    set_default_config(engine="alpha")
    assert engine_of(pipeline) == "alpha"
    monkeypatch.setenv("HYPERNODES_ENGINE", "beta")
    reset_default_config()
    assert engine_of(pipeline) == "beta"


def test_a_pipeline_that_already_ran_follows_a_change() -> None:
    pipeline = Pipeline([inc])
    assert engine_of(pipeline) == "seq"
    set_default_config(engine="alpha")
    assert engine_of(pipeline) == "alpha"


# -- files


def test_the_nearest_project_file_that_mentions_us_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = tmp_path / "project" / "package" / "deep"
    inner.mkdir(parents=True)
    (tmp_path / "pyproject.toml").write_text('[tool.hypernodes]\nengine = "delta"\n')
    (tmp_path / "project" / "pyproject.toml").write_text('[tool.hypernodes]\nengine = "gamma"\n')
    (tmp_path / "project" / "package" / "pyproject.toml").write_text('[project]\nname = "hypernodes-user"\n')
    monkeypatch.chdir(inner)
    reset_default_config()
    assert engine_of(Pipeline([inc])) == "gamma"


def test_a_project_file_of_others_is_not_even_parsed(project: Callable[[str], Path]) -> None:
    project("this is [not TOML\n")
    assert engine_of(Pipeline([inc])) == "seq"


def test_tables_of_both_files_are_merged(project: Callable[[str], Path], user_file: Callable[[str], Path]) -> None:
    user_file("[engines.tuned]\nworkers = 2\nretries = 7\n")
    project("[tool.hypernodes.engines.tuned]\nworkers = 5\n")
    engine = Pipeline([inc], engine="tuned")
    assert engine_of(engine) == "tuned"
    made = config.make_engine("tuned")
    assert (made.workers, made.retries) == (5, 7)


def test_the_user_file_may_be_written_like_a_project_file(user_file: Callable[[str], Path]) -> None:
    user_file('[tool.hypernodes]\nengine = "delta"\n')
    assert engine_of(Pipeline([inc])) == "delta"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[tool.hypernodes]\nengine = [", "is not valid TOML"),
        ("[tool.hypernodes]\nengine = 3\n", "engine=3"),
        ("[tool.hypernodes]\nengien = 'seq'\n", "no setting 'engien'"),
        ("[tool.hypernodes]\nengien = 'seq'\n", "Did you mean 'engine'?"),
        ("[tool.hypernodes]\nretries = -1\n", "retries=-1: give a whole number from 0 up"),
        ("[tool.hypernodes]\nretries = true\n", "retries=True: give a whole number"),
        ("[tool.hypernodes]\ntimeout = 0\n", "timeout=0: give a number of seconds above 0"),
        ("[tool.hypernodes]\nstrict = 'yes'\n", "strict='yes': give True or False"),
        ("[tool.hypernodes]\ncache = true\n", "cache=True: give a path or URL"),
        ("[tool.hypernodes]\ncache = [{path = 'x', max_sise = 3}]\n", "DiskCache takes no 'max_sise'"),
        ("[tool.hypernodes]\ncache = {url = 's3://b', path = 'x'}\n", "RemoteCache takes no 'path'"),
        ("[tool.hypernodes]\ncache = {salt = 'x'}\n", "gives the 'path' or the 'url'"),
        ("[tool.hypernodes]\ncache = {path = 3}\n", "gives the 'path' or the 'url'"),
        ("[tool.hypernodes]\ncache = {path = 'x', read_only = 'yes'}\n", "read_only='yes': give True or False"),
        ("[tool.hypernodes]\ncache = {path = 'x', max_size = '10 GX'}\n", "'10 GX' is no size"),
        ("[tool.hypernodes]\ncallbacks = [1]\n", "callbacks=1: give callbacks"),
        ("[tool.hypernodes]\nengines = 1\n", "no setting 'engines'"),
        ("[tool.hypernodes.engines]\ntuned = 1\n", "[tool.hypernodes.engines.tuned] must be a table"),
        ("[tool]\nhypernodes = 1\n", "[tool.hypernodes] must be a table"),
    ],
)
def test_unusable_files_are_named(text: str, said: str, project: Callable[[str], Path]) -> None:
    path = project(text)
    with pytest.raises(ConfigError) as caught:
        Pipeline([inc]).run({"x": 1})
    assert str(path) in str(caught.value)
    assert said in str(caught.value)


def test_an_unusable_user_file_is_named(user_file: Callable[[str], Path]) -> None:
    path = user_file("retries = 'many'\n")
    with pytest.raises(ConfigError) as caught:
        Pipeline([inc]).run({"x": 1})
    assert str(path) in str(caught.value)
    assert "retries='many'" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("retries", "many", "HYPERNODES_RETRIES: retries='many'"),
        ("retries", "-2", "HYPERNODES_RETRIES: retries=-2"),
        ("timeout", "soon", "HYPERNODES_TIMEOUT: timeout='soon'"),
        ("timeout", "inf", "HYPERNODES_TIMEOUT: timeout=inf"),
        ("strict", "maybe", "HYPERNODES_STRICT: strict='maybe'"),
    ],
)
def test_unusable_variables_are_named(name: str, text: str, said: str, environment: Callable[..., None]) -> None:
    environment(**{name: text})
    with pytest.raises(ConfigError) as caught:
        Pipeline([inc]).run({"x": 1})
    assert said in str(caught.value)


# -- set_default_config


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [
        ("engine", Alpha, "this is a class; write Alpha()"),
        ("engine", 3, "it has no 'name', 'capabilities', 'execute'"),
        ("engine", " ", "it has no"),
        ("cache", DiskCache, "this is a class; write DiskCache(...)"),
        ("cache", True, "give a path or URL"),
        ("cache", "", "give a path or URL"),
        ("cache", [".cache", None], "each layer must be"),
        ("cache", [".cache", [True]], "give a path or URL"),
        ("cache", DictStore(), "it has no 'key', 'open'. A store becomes one as hypernodes.cache.StoreCache(store)"),
        ("cache", [".cache", DiskCache(".other", salt="v2")], "layers need the same salt"),
        ("cache", [DiskCache(".cache", salt="v1"), DiskCache(".cache", salt="v2")], "layers need the same salt"),
        ("callbacks", Collecting, "this is a class; write Collecting()"),
        ("callbacks", [Collecting], "this is a class; write Collecting()"),
        ("callbacks", [print], "instances of PipelineCallback"),
        ("callbacks", 3, "instances of PipelineCallback"),
        ("retries", 1.5, "whole number"),
        ("retries", True, "whole number"),
        ("timeout", -1, "seconds above 0"),
        ("timeout", float("nan"), "seconds above 0"),
        ("timeout", "1m", "seconds above 0"),
        ("strict", 1, "give True or False"),
    ],
)
def test_unusable_values_are_refused_and_change_nothing(setting: str, value: Any, said: str) -> None:
    with pytest.raises(OptionError) as caught:
        set_default_config(**{"engine": "alpha", setting: value})
    assert str(caught.value).startswith(f"{setting}=")
    assert said in str(caught.value)
    assert engine_of(Pipeline([inc])) == "seq"


def test_an_unknown_setting_is_refused_with_a_suggestion() -> None:
    with pytest.raises(OptionError, match=r"unknown setting 'retrys'.*Did you mean 'retries'"):
        set_default_config(retrys=3)  # type: ignore[arg-type]


def test_a_timeout_may_be_a_timedelta() -> None:
    assert config.validate("timeout", timedelta(minutes=2)) == 120


def test_unset_stands_for_itself() -> None:
    assert repr(config.UNSET) == "UNSET"
    assert not config.UNSET
    assert config.validate("engine", config.UNSET) is config.UNSET


# -- names become objects


def test_a_name_is_one_object_for_all_pipelines() -> None:
    engine_of(Pipeline([inc], engine="tuned"))
    engine_of(Pipeline([inc], engine="tuned"))
    assert Tuned.made == 1
    reset_default_config()
    engine_of(Pipeline([inc], engine="tuned"))
    assert Tuned.made == 2


def test_an_engine_gets_its_table(project: Callable[[str], Path]) -> None:
    project("[tool.hypernodes.engines.tuned]\nworkers = 9\n[tool.hypernodes.engines.anything]\na = 1\nb = 2\n")
    assert config.make_engine("tuned").workers == 9
    assert config.make_engine("anything").workers == 2


def test_a_wrong_keyword_names_file_table_and_key(project: Callable[[str], Path]) -> None:
    path = project("[tool.hypernodes.engines.tuned]\nwrokers = 9\n")
    with pytest.raises(ConfigError) as caught:
        Pipeline([inc], engine="tuned").run({"x": 1})
    assert str(caught.value) == (
        f"{path}: [tool.hypernodes.engines.tuned] sets 'wrokers', which engine 'tuned' does not take; "
        "it takes workers, cache, callbacks, retries, timeout. Did you mean 'workers'?"
    )


def test_a_refused_value_names_file_and_plugin(project: Callable[[str], Path]) -> None:
    path = project("[tool.hypernodes.engines.tuned]\nworkers = -1\n")
    with pytest.raises(ConfigError) as caught:
        config.make_engine("tuned")
    for part in (str(path), "engine 'tuned' of plugin 'Engines'", "ValueError: workers must not be negative"):
        assert part in str(caught.value)


def test_settings_for_a_ready_made_engine_are_refused(project: Callable[[str], Path]) -> None:
    assert config.make_engine("ready-made").name == "alpha"
    project("[tool.hypernodes.engines.ready-made]\nworkers = 2\n")
    with pytest.raises(ConfigError, match="ready-made and takes no settings"):
        config.make_engine("ready-made")


def test_what_a_name_stands_for_is_checked() -> None:
    with pytest.raises(PluginLoadError, match=r"engine 'not-an-engine' of plugin 'Engines' is no engine.*'capabilities'"):
        Pipeline([inc], engine="not-an-engine").run({"x": 1})
    with pytest.raises(PluginLoadError, match="callback 'not-a-callback' of plugin 'Engines' is no PipelineCallback"):
        Pipeline([inc], callbacks=["not-a-callback"]).run({"x": 1})
    with pytest.raises(PluginLoadError, match="callback 'unmakeable' of plugin 'Engines' could not be made: ZeroDivisionError"):
        Pipeline([inc], callbacks=["unmakeable"]).run({"x": 1})


def test_unknown_names_are_refused_with_what_there_is() -> None:
    with pytest.raises(UnknownPluginError) as caught:
        Pipeline([inc], engine="gama").run({"x": 1})
    assert str(caught.value) == (
        "unknown engine 'gama'; installed: alpha, anything, beta, delta, epsilon, gamma, hypernodes, not-an-engine, ready-made, seq, "
        "tuned. Did you mean 'gamma'?"
    )
    with pytest.raises(UnknownPluginError, match=r"unknown callback 'colecting'; installed: collecting, logging.*Did you mean"):
        Pipeline([inc], callbacks="colecting").run({"x": 1})


def test_sequential_is_seq() -> None:
    assert engine_of(Pipeline([inc], engine="sequential")) == "seq"
    assert engine_of(Pipeline([inc], engine=None)) == "seq"


def test_caches_by_path_and_in_layers() -> None:
    memory = MemoryCache()
    assert config.make_cache(None) is None
    assert config.make_cache([]) is None
    assert config.make_cache(".cache") == DiskCache(".cache")
    assert config.make_cache(Path("some") / "where") == DiskCache(str(Path("some") / "where"))
    assert config.make_cache([memory, "s3://team/p"]) == Layers((memory, RemoteCache("s3://team/p")))
    assert config.make_cache(memory) is memory
    assert config.make_cache([memory, memory]) is memory


def test_caches_as_tables(project: Callable[[str], Path]) -> None:
    path = project(
        "[tool.hypernodes]\ncache = [{path = 'near', max_size = '1.5 GiB', salt = 'v1'}, "
        "{url = 's3://team/p', read_only = true, salt = 'v1'}]\n"
    )
    near = DiskCache(path.parent / "near", max_size=3 << 29, salt="v1")
    assert config.make_cache(config.ambient().cache) == Layers((near, RemoteCache("s3://team/p", read_only=True, salt="v1")))


@pytest.mark.parametrize("make", [DiskCache, RemoteCache, lambda place, **said: StoreCache(DictStore(), place, **said)])
@pytest.mark.parametrize(
    ("said", "why"), [({"read_only": 1}, "give True or False"), ({"salt": 2}, "give a text"), ({"max_size": -1}, "is no size")]
)
def test_settings_of_caches_are_checked(make: Any, said: dict[str, Any], why: str) -> None:
    with pytest.raises(OptionError, match=why):
        make("here", **said)


def test_the_same_name_gives_the_same_callback() -> None:
    first, second = config.make_callbacks(["collecting", "collecting"])
    assert first is second


# -- our own name


class Usurper:
    @hookimpl
    def hypernodes_register_engines(self, registry: Any) -> None:
        registry.add("seq", Alpha)


def test_a_plugin_that_claims_seq_stops_only_those_who_ask_for_it() -> None:
    with isolated_plugins(Usurper):
        assert engine_of(Pipeline([inc])) == "seq"
        with pytest.raises(PluginConflictError) as caught:
            Pipeline([inc], engine="seq").run({"x": 1})
    assert "hypernodes-core and plugin 'Usurper'" in str(caught.value)
