"""Plugins: what they can do, what they cannot break, and what is frozen for them."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import hypernodes
import pytest
from hypernodes import (
    LoggingCallback,
    Pipeline,
    PipelineCallback,
    SeqEngine,
    hookimpl,
    node,
    reset_default_config,
    set_default_config,
)
from hypernodes.errors import (
    CallbackWarning,
    PipelineVeto,
    PluginConflictError,
    PluginError,
    PluginLoadError,
    PluginWarning,
    UnknownPluginError,
)
from hypernodes.plugins import PluginManager, current, hookspecs
from hypernodes.testing import isolated_plugins

CORE = Path(hypernodes.__file__).parents[1]
GUIDE = Path(__file__).parents[2] / "docs" / "hooks.md"

# Frozen: a plugin written for this version must work with the next. Add hooks and arguments; never change or remove them.
SIGNATURES = {
    "hypernodes_callbacks": "(run: 'RunInfo') -> 'PipelineCallback | Sequence[PipelineCallback] | None'",
    "hypernodes_configure": "(settings: 'Mapping[str, Any]') -> 'None'",
    "hypernodes_default_cache": "(pipeline: 'Pipeline') -> 'Any'",
    "hypernodes_default_engine": "(pipeline: 'Pipeline') -> 'Any'",
    "hypernodes_pipeline_built": "(pipeline: 'Pipeline') -> 'None'",
    "hypernodes_register_cache_stores": "(registry: 'Registrar') -> 'None'",
    "hypernodes_register_callbacks": "(registry: 'Registrar') -> 'None'",
    "hypernodes_register_commands": "(registry: 'Registrar') -> 'None'",
    "hypernodes_register_engines": "(registry: 'Registrar') -> 'None'",
    "hypernodes_register_hashers": "(registry: 'Registrar') -> 'None'",
    "hypernodes_register_renderers": "(registry: 'Registrar') -> 'None'",
    "hypernodes_register_serializers": "(registry: 'Registrar') -> 'None'",
}
KINDS = ("engine", "cache_store", "callback", "serializer", "hasher", "renderer", "command")


@node(output_name="y")
def inc(x: int) -> int:
    return x + 1


class Fast(SeqEngine):
    name = "fast"


class Starts(PipelineCallback):
    """Counts the runs it is told of."""

    def __init__(self) -> None:
        self.runs: list[Any] = []

    def on_run_start(self, run: Any, ctx: Any) -> None:
        self.runs.append(run)


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in [name for name in os.environ if name.startswith("HYPERNODES_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    reset_default_config()
    yield
    reset_default_config()


def plugin(**hooks: Callable[..., Any]) -> ModuleType:
    """Return a plugin with these hooks: ``plugin(callbacks=lambda run: ...)``."""
    module = ModuleType("_".join(hooks))
    for name, function in hooks.items():
        setattr(module, f"hypernodes_{name}", hookimpl(function))
    return module


def named(name: str, **hooks: Callable[..., Any]) -> ModuleType:
    module = plugin(**hooks)
    module.__name__ = name
    return module


# -- what is frozen and documented


def test_hook_signatures_are_frozen() -> None:
    found = {name: str(inspect.signature(hook)) for name, hook in vars(hookspecs).items() if name.startswith("hypernodes_")}
    assert found == SIGNATURES


def test_every_hook_is_documented_with_its_exact_signature() -> None:
    text = GUIDE.read_text(encoding="utf-8")
    for name, signature in SIGNATURES.items():
        assert f"{name}{signature.replace(chr(39), '')}" in text, f"docs/hooks.md must show the signature of {name}"


def test_every_argument_of_a_hook_is_described() -> None:
    for name in SIGNATURES:
        hook = getattr(hookspecs, name)
        text = inspect.getdoc(hook) or ""
        for argument in inspect.signature(hook).parameters:
            assert f"    {argument}: " in text.partition("Args:\n")[2], f"{name} must describe {argument}"


# -- registering names


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_a_hook_that_registers_names(kind: str) -> None:
    thing = object()
    with isolated_plugins(plugin(**{f"register_{kind}s": lambda registry: registry.add("thing", thing)})) as manager:
        assert "thing" in manager.registry.names(kind)
        assert manager.registry.load(kind, "thing") is thing
        assert all("thing" not in manager.registry.names(other) for other in KINDS if other != kind)
        (row,) = manager.plugins
    assert (row.status, dict(row.registered), row.hooks) == ("ok", {kind: ("thing",)}, (f"hypernodes_register_{kind}s",))


def test_a_name_is_imported_when_it_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lazy_engine.py").write_text("from hypernodes import SeqEngine\nclass Lazy(SeqEngine):\n    name = 'lazy'\n")
    monkeypatch.syspath_prepend(tmp_path)
    starts = Starts()
    with isolated_plugins(plugin(register_engines=lambda registry: registry.add("lazy", "lazy_engine:Lazy"))):
        pipeline = Pipeline([inc], engine="lazy", callbacks=[starts])
        assert "lazy_engine" not in sys.modules
        assert pipeline.run({"x": 1}) == {"y": 2}
        assert "lazy_engine" in sys.modules
    assert starts.runs[0].engine == "lazy"


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("no_such_module_of_acme:Engine", "ModuleNotFoundError: No module named 'no_such_module_of_acme'"),
        ("json:NoSuchEngine", "AttributeError: module 'json' has no attribute 'NoSuchEngine'"),
    ],
)
def test_what_cannot_be_imported_is_an_import_error_that_names_the_plugin(target: str, said: str) -> None:
    with isolated_plugins(named("acme", register_engines=lambda registry: registry.add("rocket", target))):
        pipeline = Pipeline([inc], engine="rocket")
        with pytest.raises(PluginLoadError) as caught:
            pipeline.run({"x": 1})
        assert str(caught.value) == f"engine 'rocket' of plugin 'acme' cannot be imported from {target}: {said}"
        assert isinstance(caught.value, ImportError)
        assert caught.value.__cause__ is not None
        assert pipeline.with_engine("seq").run({"x": 1}) == {"y": 2}


@pytest.mark.parametrize(
    ("name", "target", "said"),
    [
        ("", "a:b", "a name is text without spaces and commas"),
        ("two words", "a:b", "a name is text without spaces and commas"),
        ("a,b", "a:b", "a name is text without spaces and commas"),
        (3, "a:b", "a name is text without spaces and commas"),
        ("fast", "acme.engine", "write 'package.module:attribute'"),
        ("fast", "acme engine:Fast", "write 'package.module:attribute'"),
    ],
)
def test_unusable_names_and_targets_are_refused(name: Any, target: str, said: str) -> None:
    with pytest.raises(PluginError) as caught, isolated_plugins(plugin(register_engines=lambda registry: registry.add(name, target))):
        pass
    assert said in str(caught.value)


def test_two_packages_that_claim_one_name_are_both_named_and_stop_nobody_else() -> None:
    first = named("acme", register_engines=lambda registry: (registry.add("fast", Fast), registry.add("slow", SeqEngine)))
    second = named("umbrella", register_engines=lambda registry: registry.add("fast", SeqEngine))
    with isolated_plugins(first, second) as manager:
        assert Pipeline([inc]).run({"x": 1}) == {"y": 2}
        assert Pipeline([inc], engine="slow").run({"x": 1}) == {"y": 2}
        with pytest.raises(PluginConflictError) as caught:
            Pipeline([inc], engine="fast").run({"x": 1})
        assert str(caught.value).startswith("more than one package registers engine 'fast': plugin 'acme' and plugin 'umbrella'.")
        assert [row.status for row in manager.plugins] == ["ok", "ok"]


@pytest.mark.parametrize(
    ("kind", "name", "distribution", "extra"),
    [
        ("engine", "daft", "hypernodes-daft", "daft"),
        ("engine", "dask", "hypernodes-dask", "dask"),
        ("callback", "progress", "hypernodes-progress", "progress"),
        ("callback", "otel", "hypernodes-otel", "otel"),
    ],
)
def test_names_of_our_own_packages_say_how_to_install_them(kind: str, name: str, distribution: str, extra: str) -> None:
    with isolated_plugins() as manager, pytest.raises(UnknownPluginError) as caught:
        manager.registry.load(kind, name)
    assert str(caught.value) == f"{kind} '{name}' lives in {distribution}, which is not installed: pip install \"hypernodes-core[{extra}]\""


def test_a_near_miss_of_our_own_packages_says_so_too() -> None:
    with isolated_plugins(), pytest.raises(UnknownPluginError) as caught:
        Pipeline([inc], engine="dsak").run({"x": 1})
    assert (
        str(caught.value)
        == "unknown engine 'dsak'; installed: hypernodes, seq. Did you mean 'dask'? (pip install \"hypernodes-core[dask]\")"
    )


# -- plugins that are wrong


def test_an_unknown_hook_is_refused_with_a_suggestion() -> None:
    with pytest.raises(PluginError) as caught:
        PluginManager(entry_points=False).register(named("acme", register_engine=lambda registry: None))
    assert str(caught.value) == (
        "plugin 'acme': PluginError: there is no hook 'hypernodes_register_engine'. Did you mean 'hypernodes_register_engines'?"
    )


def test_a_hook_of_a_newer_version_may_be_marked_optional() -> None:
    module = ModuleType("tomorrow")
    module.hypernodes_of_tomorrow = hookimpl(optionalhook=True)(lambda: None)  # type: ignore[attr-defined]
    with isolated_plugins(module) as manager:
        assert manager.plugins[0].status == "ok"


def test_a_wrong_argument_is_refused_by_name() -> None:
    with pytest.raises(PluginError, match="hypernodes_callbacks") as caught:
        PluginManager(entry_points=False).register(named("acme", callbacks=lambda runs: None))
    assert "'runs'" in str(caught.value)
    assert "plugin 'acme'" in str(caught.value)


def test_hook_wrappers_are_refused() -> None:
    module = ModuleType("wrapping")

    @hookimpl(wrapper=True)
    def hypernodes_callbacks(run: Any) -> Any:
        return (yield)

    module.hypernodes_callbacks = hypernodes_callbacks  # type: ignore[attr-defined]
    with pytest.raises(PluginError, match="hypernodes_callbacks is a hook wrapper"):
        PluginManager(entry_points=False).register(module)


def test_a_plugin_that_fails_while_registering_leaves_nothing_behind() -> None:
    def register(registry: Any) -> None:
        registry.add("half", Fast)
        msg = "and then it failed"
        raise RuntimeError(msg)

    with isolated_plugins() as manager:
        with pytest.raises(PluginError, match="plugin 'acme': RuntimeError: and then it failed"):
            manager.register(named("acme", register_engines=register, callbacks=lambda run: 1 / 0))
        assert "half" not in manager.registry.names("engine")
        assert not manager.has_run_hooks
        manager.register(named("better", register_engines=lambda registry: registry.add("half", Fast)))
        assert manager.registry.load("engine", "half") is Fast


def test_one_name_registered_twice_by_one_plugin_is_refused() -> None:
    with pytest.raises(PluginError, match="registers engine 'fast' twice"):
        PluginManager(entry_points=False).register(
            plugin(register_engines=lambda registry: (registry.add("fast", Fast), registry.add("fast", SeqEngine)))
        )


def test_one_plugin_registered_twice_is_refused() -> None:
    module = plugin(callbacks=lambda run: None)
    manager = PluginManager(entry_points=False)
    manager.register(module)
    with pytest.raises(PluginError, match="registered twice"):
        manager.register(module)


def test_plugins_may_be_classes_objects_and_modules() -> None:
    class Kept:
        def __init__(self) -> None:
            self.callback = Starts()

        @hookimpl
        def hypernodes_callbacks(self, run: Any) -> Starts:
            return self.callback

    kept = Kept()
    with isolated_plugins(Kept, kept) as manager:
        Pipeline([inc]).run({"x": 1})
        assert [row.name for row in manager.plugins] == ["Kept", "Kept-2"]
    assert len(kept.callback.runs) == 1


# -- once per run


def test_callbacks_are_attached_to_every_run_even_where_the_user_has_none() -> None:
    starts = Starts()
    calls: list[Any] = []

    def attach(run: Any) -> Starts:
        calls.append(run)
        return starts

    with isolated_plugins(plugin(callbacks=attach)):
        pipeline = Pipeline([inc], name="counted", callbacks=[])
        pipeline.run({"x": 1})
        assert pipeline.map({"x": [1, 2]}, map_over="x") == [{"y": 2}, {"y": 3}]
        assert [(run.pipeline, run.kind, run.total_items) for run in starts.runs] == [("counted", "run", None), ("counted", "map", 2)]
        assert [run.run_id for run in calls] == [run.run_id for run in starts.runs]
    pipeline.run({"x": 1})
    assert len(starts.runs) == 2


def test_several_callbacks_or_none_may_be_attached() -> None:
    first, second = Starts(), Starts()
    with isolated_plugins(plugin(callbacks=lambda run: [first, second]), plugin(callbacks=lambda run: None)):
        Pipeline([inc]).run({"x": 1})
    assert (len(first.runs), len(second.runs)) == (1, 1)


def test_a_hook_may_leave_its_arguments_out() -> None:
    starts = Starts()
    with isolated_plugins(plugin(callbacks=lambda: starts)):
        Pipeline([inc]).run({"x": 1})
    assert len(starts.runs) == 1


def test_a_plugin_that_raises_is_named_and_the_others_are_asked_all_the_same() -> None:
    starts = Starts()
    with (
        isolated_plugins(named("good", callbacks=lambda run: starts), named("bad", callbacks=lambda run: 1 / 0)),
        pytest.warns(PluginWarning) as caught,
    ):
        assert Pipeline([inc]).run({"x": 1}) == {"y": 2}
    assert [str(warning.message) for warning in caught] == [
        "plugin 'bad': hypernodes_callbacks raised ZeroDivisionError: division by zero; it was left out this time"
    ]
    assert caught[0].filename == __file__
    assert len(starts.runs) == 1


def test_what_is_no_callback_is_left_out() -> None:
    starts = Starts()
    with isolated_plugins(named("acme", callbacks=lambda run: [print, starts])), pytest.warns(PluginWarning) as caught:
        Pipeline([inc]).run({"x": 1})
    assert "plugin 'acme': hypernodes_callbacks returned" in str(caught[0].message)
    assert "which is no PipelineCallback" in str(caught[0].message)
    assert len(starts.runs) == 1


class Raises(PipelineCallback):
    def on_node_end(self, node_id: str, outputs: Any, duration: float, ctx: Any) -> None:
        msg = "no space left"
        raise OSError(msg)


def test_an_attached_callback_that_raises_is_named_with_its_plugin_and_survived() -> None:
    with isolated_plugins(named("acme", callbacks=lambda run: Raises())), pytest.warns(CallbackWarning) as caught:
        assert Pipeline([inc]).run({"x": 1}) == {"y": 2}
    (message,) = [str(warning.message) for warning in caught]
    for part in ("plugin 'acme'", "Raises", "on_node_end", "no space left"):
        assert part in message


def test_a_callback_by_name_that_raises_is_named_with_its_plugin() -> None:
    with (
        isolated_plugins(named("acme", register_callbacks=lambda registry: registry.add("raises", Raises))),
        pytest.warns(CallbackWarning) as caught,
    ):
        assert Pipeline([inc], callbacks=["raises"]).run({"x": 1}) == {"y": 2}
    assert "plugin 'acme'" in str(caught[0].message)


def test_a_required_attached_callback_fails_the_run() -> None:
    class Required(Raises):
        required = True

    with isolated_plugins(plugin(callbacks=lambda run: Required())), pytest.raises(OSError, match="no space left"):
        Pipeline([inc]).run({"x": 1})


def test_nothing_is_kept_of_attached_callbacks() -> None:
    import gc
    import weakref

    made: list[weakref.ref[Starts]] = []

    def attach(run: Any) -> Starts:
        starts = Starts()
        made.append(weakref.ref(starts))
        return starts

    with isolated_plugins(plugin(callbacks=attach)) as manager:
        pipeline = Pipeline([inc])
        for x in range(5):
            pipeline.run({"x": x})
        gc.collect()
        assert sum(ref() is not None for ref in made) <= 1
        assert len(made) == 5
        assert manager.owner_of(Starts()) is None


# -- built


def test_plugins_see_new_pipelines() -> None:
    seen: list[Any] = []

    def look(pipeline: Any) -> None:
        seen.append(pipeline)

    with isolated_plugins(plugin(pipeline_built=look)):
        pipeline = Pipeline([inc])
    Pipeline([inc])
    assert seen == [pipeline]


def test_a_veto_refuses_a_pipeline_and_names_the_plugin() -> None:
    def judge(pipeline: Any) -> None:
        if pipeline.name is None:
            msg = "pipelines at Acme have names"
            raise PipelineVeto(msg)

    with isolated_plugins(named("acme", pipeline_built=judge)):
        assert Pipeline([inc], name="fine").run({"x": 1}) == {"y": 2}
        with pytest.raises(PipelineVeto, match="pipelines at Acme have names") as caught:
            Pipeline([inc])
    assert caught.value.__notes__ == ["refused by plugin 'acme'"]


def test_any_other_fault_refuses_nothing() -> None:
    with isolated_plugins(named("acme", pipeline_built=lambda pipeline: 1 / 0)):
        with pytest.warns(PluginWarning, match="plugin 'acme': hypernodes_pipeline_built raised ZeroDivisionError"):
            pipeline = Pipeline([inc])
        assert pipeline.run({"x": 1}) == {"y": 2}


def test_only_the_built_hook_may_veto() -> None:
    def attach(run: Any) -> None:
        msg = "not today"
        raise PipelineVeto(msg)

    with isolated_plugins(plugin(callbacks=attach)), pytest.warns(PluginWarning, match="only hypernodes_pipeline_built may refuse"):
        assert Pipeline([inc]).run({"x": 1}) == {"y": 2}


# -- defaults


def engine_of(**settings: Any) -> str:
    starts = Starts()
    Pipeline([inc], callbacks=[starts], **settings).run({"x": 1})
    return str(starts.runs[0].engine)


def test_a_plugin_may_answer_the_default_engine() -> None:
    answers = plugin(default_engine=lambda pipeline: Fast() if pipeline.name == "big" else None)
    with isolated_plugins(answers):
        assert engine_of(name="big") == "fast"
        assert engine_of(name="small") == "seq"
        assert engine_of(name="big", engine="seq") == "seq"
        set_default_config(engine="sequential")
        assert engine_of(name="big") == "seq"


def test_the_plugin_registered_last_is_asked_first() -> None:
    class Slow(SeqEngine):
        name = "slow"

    with isolated_plugins(plugin(default_engine=lambda pipeline: Slow()), plugin(default_engine=lambda pipeline: Fast())):
        assert engine_of() == "fast"


@pytest.mark.parametrize(("answer", "said"), [("rocket", "unknown engine 'rocket'"), (3, "no engine"), (Fast, "this is a class")])
def test_an_answer_that_does_not_work_is_named_and_the_next_plugin_is_asked(answer: Any, said: str) -> None:
    good, bad = named("good", default_engine=lambda pipeline: Fast()), named("bad", default_engine=lambda: answer)
    with isolated_plugins(good, bad), pytest.warns(PluginWarning) as caught:
        assert engine_of() == "fast"
    message = str(caught[0].message)
    assert message.startswith("plugin 'bad': hypernodes_default_engine answered ")
    assert said in message


def test_a_default_that_raises_is_named_and_skipped() -> None:
    with (
        isolated_plugins(named("bad", default_engine=lambda: 1 / 0)),
        pytest.warns(PluginWarning, match="plugin 'bad': hypernodes_default_engine raised ZeroDivisionError"),
    ):
        assert engine_of() == "seq"


# -- settings


def test_plugins_are_told_the_settings(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.hypernodes.acme]\nteam = "search"\ntags = ["a", "b"]\n')
    reset_default_config()
    told: list[Any] = []

    def take(settings: Any) -> None:
        told.append(settings)

    with isolated_plugins(plugin(configure=take)) as manager:
        Pipeline([inc]).run({"x": 1})
        assert len(told) == 1
        manager.register(plugin(configure=lambda settings: take(settings)))
    assert [settings["acme"]["team"] for settings in told] == ["search", "search"]
    with pytest.raises(TypeError):
        told[0]["acme"]["team"] = "ads"
    with pytest.raises(AttributeError):
        told[0]["acme"]["tags"].append("c")


def test_plugins_are_told_again_when_the_files_were_read_again(tmp_path: Path) -> None:
    told: list[Any] = []
    with isolated_plugins(plugin(configure=lambda settings: told.append(settings.get("acme")))):
        Pipeline([inc]).run({"x": 1})
        (tmp_path / "pyproject.toml").write_text("[tool.hypernodes.acme]\nlevel = 2\n")
        Pipeline([inc]).run({"x": 1})
        before = list(told)
        reset_default_config()
        Pipeline([inc]).run({"x": 1})
    assert before == [None]
    assert told == [None, {"level": 2}]


# -- classes as attributes of our modules


def test_classes_of_plugins_are_found_in_our_modules() -> None:
    with isolated_plugins(plugin(register_engines=lambda registry: registry.add("fast", Fast))):
        from hypernodes.engines import Fast as FastOfEngines  # type: ignore[attr-defined]
        from hypernodes.executors import Fast as FastOfExecutors  # type: ignore[attr-defined]

        assert FastOfEngines is FastOfExecutors is hypernodes.Fast is Fast
    assert not hasattr(hypernodes, "Fast")


def test_the_logging_callback_is_found_where_other_projects_keep_it() -> None:
    from hypernodes import telemetry

    assert telemetry.LoggingCallback is LoggingCallback


@pytest.mark.parametrize(
    ("module", "name", "distribution", "extra"),
    [
        ("hypernodes.engines", "DaftEngine", "hypernodes-daft", "daft"),
        ("hypernodes.executors", "DaskEngine", "hypernodes-dask", "dask"),
        ("hypernodes.telemetry", "ProgressCallback", "hypernodes-progress", "progress"),
        ("hypernodes", "TelemetryCallback", "hypernodes-otel", "otel"),
    ],
)
def test_classes_of_packages_that_are_not_installed_say_how_to_install_them(module: str, name: str, distribution: str, extra: str) -> None:
    with isolated_plugins(), pytest.raises(ImportError) as caught:
        exec(f"from {module} import {name}", {})
    assert str(caught.value) == f'{name} lives in {distribution}, which is not installed: pip install "hypernodes-core[{extra}]"'


def test_unknown_attributes_are_attribute_errors_with_a_suggestion() -> None:
    with isolated_plugins():
        with pytest.raises(AttributeError) as caught:
            hypernodes.Pipelin
        assert str(caught.value) == "module 'hypernodes' has no attribute 'Pipelin'. Did you mean 'Pipeline'?"
        with pytest.raises(ImportError, match="cannot import name 'Nothing'"):
            exec("from hypernodes.engines import Nothing", {})
        with pytest.raises(ImportError, match=r"module 'hypernodes.engines' has no attribute 'SeqEngin'. Did you mean 'SeqEngine'\?"):
            exec("from hypernodes.engines import SeqEngin", {})
        assert not hasattr(hypernodes, "Pipelin")


def test_two_classes_of_one_name_are_refused() -> None:
    one = named("acme", register_engines=lambda registry: registry.add("one", "one:RocketEngine"))
    two = named("umbrella", register_engines=lambda registry: registry.add("two", "two:RocketEngine"))
    with isolated_plugins(one, two), pytest.raises(PluginConflictError) as caught:
        hypernodes.RocketEngine
    assert "'one' of plugin 'acme' and 'two' of plugin 'umbrella'" in str(caught.value)


# -- isolation


def test_isolated_plugins_leaves_everything_as_it_was() -> None:
    outside = current()
    with isolated_plugins() as outer:
        assert current() is outer
        with isolated_plugins() as inner:
            assert current() is inner
        assert current() is outer
        assert outer.plugins == ()
    assert current() is outside


def test_a_pipeline_follows_the_plugins_in_use() -> None:
    class Other(SeqEngine):
        name = "other"

    starts = Starts()
    pipeline = Pipeline([inc], engine="fast", callbacks=[starts])
    for engine in (Fast, Other):
        with isolated_plugins(plugin(register_engines=lambda registry, engine=engine: registry.add("fast", engine))):
            pipeline.run({"x": 1})
    with isolated_plugins(), pytest.raises(UnknownPluginError):
        pipeline.run({"x": 1})
    assert [run.engine for run in starts.runs] == ["fast", "other"]


# -- installed packages, in processes of their own


class Packages:
    """A folder of made-up installed distributions."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()

    def add(self, distribution: str, version: str = "1.0", **entry_points: str) -> None:
        """Install a distribution with one module per entry point."""
        metadata = self.folder / f"{distribution.replace('-', '_')}-{version}.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
        lines = ["[hypernodes]"]
        for name, source in entry_points.items():
            module = f"{distribution.replace('-', '_')}_{name}"
            (self.folder / f"{module}.py").write_text(f"from hypernodes import hookimpl\n{textwrap.dedent(source)}")
            lines.append(f"{name} = {module}")
        (metadata / "entry_points.txt").write_text("\n".join(lines) + "\n")

    def python(self, source: str, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a program that sees them."""
        env = {name: value for name, value in os.environ.items() if not name.startswith("HYPERNODES_")}
        env |= {"PYTHONPATH": os.pathsep.join([str(self.folder), str(CORE)]), "XDG_CONFIG_HOME": str(self.folder), **environment}
        return subprocess.run(
            [sys.executable, *options, "-c", textwrap.dedent(source)], env=env, cwd=self.folder, capture_output=True, text=True, check=False
        )

    def says(self, source: str, **environment: str) -> Any:
        """Run a program that prints JSON and nothing else."""
        done = self.python(source, **environment)
        assert (done.returncode, done.stderr) == (0, "")
        return json.loads(done.stdout)


@pytest.fixture
def packages(tmp_path: Path) -> Packages:
    return Packages(tmp_path / "site")


ENGINE = """
    @hookimpl
    def hypernodes_register_engines(registry):
        registry.add("{name}", "hypernodes.engines:SeqEngine")
"""
ROWS = """
    import json
    from hypernodes import plugins
    print(json.dumps([[row.name, row.distribution, row.version, row.status, row.error] for row in plugins.current().plugins]))
"""
WARNED = """
    import json, warnings
    from hypernodes import Pipeline, node, plugins
    @node(output_name="y")
    def inc(x): return x + 1
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = Pipeline([inc]).run({"x": 1})
        Pipeline([inc], name="again").run({"x": 1})
    print(json.dumps([result, [f"{w.category.__name__}: {w.message}" for w in caught]]))
"""


def test_importing_scans_nothing_and_loads_no_plugin(packages: Packages) -> None:
    packages.add("acme", main="raise SystemExit('imported')")
    loaded = packages.says("""
        import json, sys
        import hypernodes, hypernodes.engines, hypernodes.telemetry, hypernodes.executors, hypernodes.config
        from hypernodes import plugins, telemetry, testing
        from hypernodes.telemetry import LoggingCallback
        names = ["importlib.metadata", "tomllib", "acme_main"]
        print(json.dumps([name for name in names if name in sys.modules]))
    """)
    assert loaded == []


def test_the_first_run_discovers_and_imports_only_the_plugin_module(packages: Packages) -> None:
    packages.add("acme", main='@hookimpl\ndef hypernodes_register_engines(registry):\n    registry.add("far", "far_away:Engine")\n')
    (packages.folder / "far_away.py").write_text("")
    loaded = packages.says("""
        import json, sys
        from hypernodes import Pipeline, node
        @node(output_name="y")
        def inc(x): return x + 1
        Pipeline([inc]).run({"x": 1})
        print(json.dumps([name for name in ["acme_main", "far_away"] if name in sys.modules]))
    """)
    assert loaded == ["acme_main"]


def test_plugins_are_sorted_by_distribution_and_asked_in_that_order(packages: Packages) -> None:
    answer = """
        @hookimpl
        def hypernodes_default_engine(pipeline):
            print("asked", __name__)
    """
    for distribution in ("zeta", "Alpha", "mid"):
        packages.add(distribution, main=answer)
    done = packages.python("""
        from hypernodes import Pipeline, node, plugins
        @node(output_name="y")
        def inc(x): return x + 1
        Pipeline([inc]).run({"x": 1})
        print([row.distribution for row in plugins.current().plugins])
    """)
    assert done.stdout.splitlines() == ["asked Alpha_main", "asked mid_main", "asked zeta_main", "['Alpha', 'mid', 'zeta']"], done.stderr


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("raise RuntimeError('no licence')", "RuntimeError: no licence"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        ("import no_such_thing", "ModuleNotFoundError: No module named 'no_such_thing'"),
        ("def (", "SyntaxError: "),
        ("@hookimpl\ndef hypernodes_register_engines(registry):\n    registry.add('fast')\n", "TypeError: "),
        ("@hookimpl\ndef hypernodes_regster_engines(registry): pass\n", "PluginError: there is no hook 'hypernodes_regster_engines'"),
        ("@hookimpl\ndef hypernodes_callbacks(pipeline): pass\n", "hypernodes_callbacks"),
    ],
)
def test_a_broken_plugin_is_one_warning_and_one_row_and_stops_nobody(packages: Packages, source: str, error: str) -> None:
    packages.add("acme", "3.1", main=source)
    packages.add("good", main=ENGINE.format(name="fine"))
    result, warned = packages.says(WARNED)
    assert result == {"y": 2}
    (warning,) = warned
    assert warning.startswith("PluginWarning: acme 3.1 is broken and was left out: ")
    assert error in warning
    rows = {row[1]: row for row in json.loads(packages.python(ROWS).stdout)}
    assert rows["good"][3:] == ["ok", None]
    assert rows["acme"][3] == "broken"
    assert error in rows["acme"][4]


def test_a_message_about_an_unknown_name_mentions_what_is_broken(packages: Packages) -> None:
    packages.add("acme", "3.1", main="raise RuntimeError('no licence')")
    done = packages.python("""
        from hypernodes import Pipeline, node
        @node(output_name="y")
        def inc(x): return x + 1
        Pipeline([inc], engine="acme").run({"x": 1})
    """)
    assert done.stderr.endswith(
        "UnknownPluginError: unknown engine 'acme'; installed: hypernodes, seq.\n"
        "  note: acme 3.1 is installed but broken (RuntimeError: no licence); see: hypernodes plugins\n"
    )


def test_one_of_our_packages_that_is_broken_is_not_called_missing(packages: Packages) -> None:
    packages.add("hypernodes-dask", "0.1", main="raise RuntimeError('no cluster')")
    done = packages.python("import hypernodes.engines; hypernodes.engines.DaskEngine")
    assert done.stderr.endswith(
        "ImportError: DaskEngine lives in hypernodes-dask, which is installed but broken (RuntimeError: no cluster); "
        "see: hypernodes plugins\n"
    )


def test_warnings_turned_into_errors_leave_no_half_discovered_plugins(packages: Packages) -> None:
    packages.add("acme", main="raise RuntimeError('no licence')")
    packages.add("zeta", main=ENGINE.format(name="fine"))
    names = packages.says("""
        import json, warnings
        from hypernodes import plugins
        warnings.simplefilter("error")
        manager = plugins.current()
        try:
            manager.discover()
        except Warning:
            print(json.dumps([manager.registry.names("engine"), len(manager.plugins)]))
    """)
    assert names == [["fine", "hypernodes", "seq", "sequential"], 2]


@pytest.mark.parametrize(
    ("allowed", "expected"),
    [
        ("", {"acme-tools": "blocked", "beta": "blocked"}),
        ("acme-tools", {"acme-tools": "ok", "beta": "blocked"}),
        (" Acme_Tools , ", {"acme-tools": "ok", "beta": "blocked"}),
        ("second", {"acme-tools": "blocked", "beta": "ok"}),
        ("first,beta", {"acme-tools": "ok", "beta": "ok"}),
    ],
)
def test_the_allow_list(packages: Packages, allowed: str, expected: dict[str, str]) -> None:
    packages.add("acme-tools", first=ENGINE.format(name="one"))
    packages.add("beta", second=ENGINE.format(name="two"))
    rows = packages.says(ROWS, HYPERNODES_PLUGINS=allowed)
    assert {row[1]: row[3] for row in rows} == expected


def test_a_blocked_plugin_is_not_imported(packages: Packages) -> None:
    packages.add("acme", main="raise RuntimeError('imported')")
    assert packages.says(WARNED, HYPERNODES_PLUGINS="") == [{"y": 2}, []]
    assert packages.says(WARNED, HYPERNODES_DISABLE_PLUGINS="1") == [{"y": 2}, []]


def test_an_allowed_plugin_that_is_not_installed_is_complained_about(packages: Packages) -> None:
    packages.add("acme", main=ENGINE.format(name="one"))
    _, warned = packages.says(WARNED, HYPERNODES_PLUGINS="acmee")
    assert warned == ["PluginWarning: HYPERNODES_PLUGINS names 'acmee', but no such plugin is installed. Did you mean 'acme'?"]


@pytest.mark.parametrize(("value", "status"), [("1", "disabled"), ("true", "disabled"), ("0", "ok"), ("", "ok")])
def test_plugins_can_be_disabled(packages: Packages, value: str, status: str) -> None:
    packages.add("acme", main=ENGINE.format(name="one"))
    (row,) = packages.says(ROWS, HYPERNODES_DISABLE_PLUGINS=value)
    assert row[3] == status


def test_a_switched_off_plugin_is_mentioned_to_those_who_ask_for_it(packages: Packages) -> None:
    packages.add("acme", "2.0", main=ENGINE.format(name="rocket"))
    source = """
        from hypernodes import Pipeline, node
        @node(output_name="y")
        def inc(x): return x + 1
        Pipeline([inc], engine="rocket").run({"x": 1})
    """
    done = packages.python(source, HYPERNODES_PLUGINS="")
    assert done.stderr.endswith("\n  note: acme 2.0 is installed but switched off by HYPERNODES_PLUGINS\n")
    done = packages.python(source, HYPERNODES_DISABLE_PLUGINS="1")
    assert done.stderr.endswith("\n  note: acme 2.0 is installed but switched off by HYPERNODES_DISABLE_PLUGINS\n")
    assert packages.python(source).returncode == 0


def test_two_installed_packages_that_claim_one_name_are_both_named(packages: Packages) -> None:
    packages.add("acme", "1.0", main=ENGINE.format(name="fast"))
    packages.add("umbrella", "2.0", main=ENGINE.format(name="fast"))
    assert packages.says(WARNED) == [{"y": 2}, []]
    done = packages.python("from hypernodes import plugins; plugins.current().registry.load('engine', 'fast')")
    assert "PluginConflictError: more than one package registers engine 'fast': acme 1.0 and umbrella 2.0." in done.stderr


def test_the_older_distribution_of_the_same_module_is_complained_about(packages: Packages) -> None:
    packages.add("hypernodes", "0.4.8")
    _, warned = packages.says(WARNED)
    (warning,) = warned
    assert warning.startswith("PluginWarning: the distribution 'hypernodes' 0.4.8 is installed beside hypernodes-core")
    assert "pip uninstall" in warning


def test_isolated_plugins_sees_installed_ones_only_when_asked(packages: Packages) -> None:
    packages.add("acme", main=ENGINE.format(name="one"))
    found = packages.says("""
        import json
        from hypernodes.testing import isolated_plugins
        with isolated_plugins() as alone, isolated_plugins(entry_points=True) as together:
            print(json.dumps([len(alone.plugins), len(together.plugins)]))
    """)
    assert found == [0, 1]


def test_discovery_happens_once_however_many_threads_ask(packages: Packages) -> None:
    packages.add("acme", main="import time; time.sleep(0.2); print('imported')\n" + textwrap.dedent(ENGINE).format(name="one"))
    done = packages.python("""
        from concurrent.futures import ThreadPoolExecutor
        from hypernodes import plugins
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(lambda _: len(plugins.current().registry.names("engine")), range(8)))
        print(found)
    """)
    assert done.stdout.splitlines() == ["imported", str([4] * 8)], done.stderr


def test_a_plugin_may_build_a_pipeline_while_it_is_imported(packages: Packages) -> None:
    packages.add(
        "acme",
        main="""
            from hypernodes import Pipeline, node
            @node(output_name="y")
            def inc(x): return x + 1
            Pipeline([inc]).run({"x": 1})
        """,
    )
    assert packages.says(WARNED) == [{"y": 2}, []]
