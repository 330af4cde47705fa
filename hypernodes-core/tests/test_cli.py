"""The command line: what it prints, and the exit status."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import hypernodes
import pytest
from hypernodes import SeqEngine, hookimpl, reset_default_config, set_default_config
from hypernodes.cli import main
from hypernodes.testing import isolated_plugins

CORE = Path(hypernodes.__file__).parents[1]
KINDS = ["engine", "cache_store", "callback", "serializer", "hasher", "renderer", "command"]


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in [name for name in os.environ if name.startswith("HYPERNODES_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    with isolated_plugins():
        reset_default_config()
        yield
    reset_default_config()


def commands(**targets: Any) -> Any:
    """Return a plugin called ``acme`` with these commands."""

    def register(registry: Any) -> None:
        for name, target in targets.items():
            registry.add(name.replace("_", "-"), target)

    module = ModuleType("acme")
    module.hypernodes_register_commands = hookimpl(register)  # type: ignore[attr-defined]
    return module


def install(folder: Path, distribution: str, version: str, source: str | None = None, requires: str = "") -> None:
    """Put a made-up distribution into a folder, with a plugin if there is source for it."""
    metadata = folder / f"{distribution.replace('-', '_')}-{version}.dist-info"
    metadata.mkdir(parents=True)
    needs = f"Requires-Dist: {requires}\n" if requires else ""
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n{needs}")
    if source is not None:
        module = f"{distribution.replace('-', '_')}_plugin"
        (folder / f"{module}.py").write_text(source)
        (metadata / "entry_points.txt").write_text(f"[hypernodes]\nmain = {module}\n")


def run(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run ``python -m hypernodes`` where the distributions of a folder are installed."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("HYPERNODES_")}
    env |= {"PYTHONPATH": os.pathsep.join([str(folder), str(CORE)]), "XDG_CONFIG_HOME": str(folder), **environment}
    return subprocess.run(
        [sys.executable, "-m", "hypernodes", *arguments], env=env, cwd=folder, capture_output=True, text=True, check=False
    )


# -- the frame


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith(f"hypernodes-core {hypernodes.__version__} (Python {sys.version_info.major}.")


def test_nothing_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert "usage: hypernodes" in told.err
    assert "demo" in told.err


def test_help_lists_commands_of_plugins_too(capsys: pytest.CaptureFixture[str]) -> None:
    with isolated_plugins(commands(acme_audit="acme:command")):
        assert main(["--help"]) == 0
    out = capsys.readouterr().out
    for name in ("demo", "cache", "plugins", "config", "doctor"):
        assert f"\n  {name} " in out
    assert "acme-audit  from plugin 'acme'" in out


def test_an_unknown_command_is_wrong_usage_with_a_suggestion(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plugin"]) == 2
    assert "unknown command 'plugin'; there are cache, config, demo, doctor, plugins. Did you mean 'plugins'?" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--bogus"], ["plugins", "--bogus"], ["config"], ["config", "shwo"], ["doctor", "me"]])
def test_wrong_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert "usage: hypernodes" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["demo", "cache", "plugins", "config", "doctor"])
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    assert f"usage: hypernodes {command}" in capsys.readouterr().out


def test_it_runs_as_a_module(tmp_path: Path) -> None:
    done = run(tmp_path, "--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("hypernodes-core ")


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_goes_early_is_no_traceback(tmp_path: Path, unbuffered: str) -> None:
    env = {**os.environ, "PYTHONPATH": str(CORE), "PYTHONUNBUFFERED": unbuffered}
    with subprocess.Popen(
        [sys.executable, "-m", "hypernodes", "plugins", "--json"], env=env, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 1


# -- demo


@pytest.mark.parametrize(("arguments", "query"), [([], None), (["parse a date"], "parse a date"), (["parse", "a", "date"], "parse a date")])
def test_demo_passes_the_query_on(arguments: list[str], query: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str | None] = []
    demo = ModuleType("hypernodes.demo")
    demo.main = asked.append  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "hypernodes.demo", demo)
    assert main(["demo", *arguments]) == 0
    assert asked == [query]


# -- commands of plugins


def test_a_command_of_a_plugin_gets_what_stands_behind_its_name() -> None:
    got: list[list[str]] = []
    with isolated_plugins(commands(acme_audit=got.append)):
        assert main(["acme-audit", "file", "--json", "--version", "-h"]) == 0
    assert got == [["file", "--json", "--version", "-h"]]


def stop(code: Any) -> Callable[[list[str]], Any]:
    def command(argv: list[str]) -> Any:
        raise SystemExit(code)

    return command


@pytest.mark.parametrize(
    ("target", "status", "said"),
    [
        (lambda argv: None, 0, ""),
        (lambda argv: 0, 0, ""),
        (lambda argv: 3, 3, ""),
        (stop(None), 0, ""),
        (stop(5), 5, ""),
        (stop("no such file"), 1, "hypernodes: no such file\n"),
    ],
)
def test_the_status_of_a_command_of_a_plugin(target: Any, status: int, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with isolated_plugins(commands(acme=target)):
        assert main(["acme"]) == status
    assert capsys.readouterr().err == said


def test_a_command_of_a_plugin_that_raises_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with isolated_plugins(commands(acme=lambda argv: 1 / 0)):
        assert main(["acme"]) == 1
    err = capsys.readouterr().err
    assert "ZeroDivisionError: division by zero" in err
    assert err.endswith("hypernodes: command 'acme' of plugin 'acme' failed\n")


def test_an_error_of_ours_in_a_command_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with isolated_plugins(commands(acme=lambda argv: set_default_config(retries=-1))):
        assert main(["acme"]) == 1
    assert capsys.readouterr().err == "hypernodes: OptionError: retries=-1: give a whole number from 0 up\n"


def test_an_interrupted_command(capsys: pytest.CaptureFixture[str]) -> None:
    def command(argv: list[str]) -> None:
        raise KeyboardInterrupt

    with isolated_plugins(commands(acme=command)):
        assert main(["acme"]) == 130
    assert capsys.readouterr().err == ""


def test_a_module_may_stand_for_its_command() -> None:
    module = ModuleType("acme_tool")
    module.command = lambda argv: 4  # type: ignore[attr-defined]
    with isolated_plugins(commands(acme=module)):
        assert main(["acme"]) == 4


def test_what_cannot_be_called_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    with isolated_plugins(commands(acme=3, lost="no_such_module:command")):
        assert main(["acme"]) == 1
        assert "command 'acme' of plugin 'acme' cannot be called" in capsys.readouterr().err
        assert main(["lost"]) == 1
        assert "PluginLoadError: command 'lost' of plugin 'acme' cannot be imported" in capsys.readouterr().err


def test_a_plugin_cannot_take_a_command_of_ours(capsys: pytest.CaptureFixture[str]) -> None:
    with isolated_plugins(commands(plugins=lambda argv: 7)):
        assert main(["plugins"]) == 0
    assert "more than one package registers command 'plugins': hypernodes-core and plugin 'acme'." in capsys.readouterr().out


# -- plugins


class Plugin:
    @hookimpl
    def hypernodes_register_engines(self, registry: Any) -> None:
        registry.add("fast", SeqEngine)
        registry.add("far", "far_away:Engine")

    @hookimpl
    def hypernodes_callbacks(self, run: Any) -> None:
        return None


def test_plugins_without_any(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plugins"]) == 0
    assert capsys.readouterr().out == "no plugins are installed\n"


def test_plugins_as_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    with isolated_plugins(Plugin):
        assert main(["plugins"]) == 0
    head, row = capsys.readouterr().out.splitlines()
    assert head.split() == ["PLUGIN", "DISTRIBUTION", "STATUS", "BRINGS"]
    assert row.split(maxsplit=3) == ["Plugin", "-", "ok", "engine fast, far; hypernodes_callbacks"]


def test_plugins_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    with isolated_plugins(Plugin):
        assert main(["plugins", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["plugins"] == [
        {
            "name": "Plugin",
            "distribution": None,
            "version": None,
            "status": "ok",
            "error": None,
            "registered": {"engine": ["fast", "far"]},
            "hooks": ["hypernodes_callbacks", "hypernodes_register_engines"],
        }
    ]
    assert found["conflicts"] == []
    assert list(found["names"]) == KINDS
    assert {"name": "far", "target": "far_away:Engine", "owner": "plugin 'Plugin'"} in found["names"]["engine"]
    assert {"name": "seq", "target": "hypernodes.engines:SeqEngine", "owner": "hypernodes-core"} in found["names"]["engine"]


def test_plugins_works_whatever_is_broken(tmp_path: Path) -> None:
    site = tmp_path / "site"
    install(site, "acme", "1.0", "raise RuntimeError('no licence')")
    install(site, "worse", "2.0", "import os, sys; sys.exit('gone')")
    install(site, "hypernodes", "0.4.8")
    (site / "pyproject.toml").write_text("[tool.hypernodes\n")
    done = run(site, "plugins", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    rows = {row["distribution"]: row for row in json.loads(done.stdout)["plugins"]}
    assert {name: (row["status"], row["error"]) for name, row in rows.items()} == {
        "acme": ("broken", "RuntimeError: no licence"),
        "worse": ("broken", "SystemExit: gone"),
    }
    done = run(site, "plugins")
    assert (done.returncode, done.stderr) == (0, "")
    assert "acme 1.0 is broken: RuntimeError: no licence" in done.stdout


def test_other_commands_warn_of_a_broken_plugin_in_one_line(tmp_path: Path) -> None:
    install(tmp_path / "site", "acme", "1.0", "raise RuntimeError('no licence')")
    done = run(tmp_path / "site", "config", "show")
    assert done.returncode == 0
    assert done.stderr == "hypernodes: warning: acme 1.0 is broken and was left out: RuntimeError: no licence\n"


# -- config show


def test_config_show_says_what_holds_and_where_it_comes_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    project = tmp_path / "pyproject.toml"
    project.write_text('[tool.hypernodes]\nengine = "seq"\ncache = ".cache"\nretries = 2\n[tool.hypernodes.engines.acme]\nworkers = 8\n')
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path / "sub")
    monkeypatch.setenv("HYPERNODES_RETRIES", "5")
    reset_default_config()
    set_default_config(timeout=3)
    assert main(["config", "show", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["tables"] == {"engines": {"acme": {"workers": 8}}}
    settings = found["settings"]
    assert {name: (told["value"], told["level"], told["where"]) for name, told in settings.items()} == {
        "engine": ("seq", "project", str(project)),
        "cache": (str(tmp_path / ".cache"), "project", str(project)),
        "callbacks": ([], "library", ""),
        "retries": (5, "environment", "HYPERNODES_RETRIES"),
        "timeout": (3, "program", "set_default_config()"),
        "strict": (False, "library", ""),
    }
    assert [told["value"] for told in settings["retries"]["overrides"]] == [2, 0]

    assert main(["config", "show"]) == 0
    out = capsys.readouterr().out
    lines = [line.split() for line in out.splitlines()]
    assert ["retries", "5", "environment", "HYPERNODES_RETRIES"] in lines
    assert ["2", "project", str(project)] in lines
    assert "[engines.acme]\nworkers = 8" in out


def test_config_show_names_plugins_that_would_be_asked(capsys: pytest.CaptureFixture[str]) -> None:
    class Answers:
        @hookimpl
        def hypernodes_default_cache(self, pipeline: Any) -> None:
            return None

    with isolated_plugins(Answers):
        assert main(["config", "show"]) == 0
    assert "hypernodes_default_cache of plugin 'Answers', asked per pipeline" in capsys.readouterr().out


def test_config_show_shows_layers_without_secrets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "pyproject.toml").write_text(
        "[tool.hypernodes]\n"
        'cache = [".cache", "s3://user:hunter2@bucket/p?token=hunter2", {url = "s3://team/p", read_only = true, storage_options = '
        '{secret = "hunter2"}}, {path = "big", max_size = "10 GB"}]\n'
    )
    for arguments in (["config", "show"], ["config", "show", "--json"]):
        assert main(arguments) == 0
        out = capsys.readouterr().out
        assert "hunter2" not in out
        for said in (str(tmp_path / ".cache"), "s3://***@bucket/p", "RemoteCache('s3://team/p', read_only=True)", "max_size=10000000000"):
            assert said in out


def test_config_show_hides_secrets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "pyproject.toml").write_text(
        '[tool.hypernodes]\ncache = "s3://user:hunter2@bucket/p"\n'
        '[tool.hypernodes.engines.acme]\napi_key = "hunter2"\nurl = "https://me:hunter2@host"\nnested = {token = "hunter2"}\nworkers = 2\n'
    )
    reset_default_config()
    for arguments in (["config", "show"], ["config", "show", "--json"]):
        assert main(arguments) == 0
        out = capsys.readouterr().out
        assert "hunter2" not in out
        assert "s3://***@bucket/p" in out


def test_an_unusable_configuration_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.hypernodes]\nretries = -1\n")
    reset_default_config()
    assert main(["config", "show"]) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith(f"hypernodes: ConfigError: {tmp_path / 'pyproject.toml'}: ")


# -- doctor


def findings(done: subprocess.CompletedProcess[str]) -> dict[str, list[tuple[str, str]]]:
    found: dict[str, list[tuple[str, str]]] = {}
    for each in json.loads(done.stdout)["findings"]:
        found.setdefault(each["name"], []).append((each["status"], each["detail"]))
    return found


def test_doctor_finds_a_sound_installation_sound(tmp_path: Path) -> None:
    site = tmp_path / "site"
    install(site, "hypernodes-core", hypernodes.__version__, requires="attrs>=1")
    install(site, "good", "1.0", "")
    done = run(site, "doctor", "--json")
    assert done.returncode == 0, done.stdout
    assert json.loads(done.stdout)["ok"] is True
    found = findings(done)
    assert found["good 1.0"] == [("ok", "plugin 'main'")]
    assert found["attrs"][0][0] == "ok"
    assert run(site, "doctor").stdout.startswith("ok       python: ")


@pytest.mark.parametrize(
    ("distribution", "version", "source", "name", "said"),
    [
        ("acme", "1.0", "raise RuntimeError('no licence')", "acme 1.0", "is broken: RuntimeError: no licence"),
        ("hypernodes", "0.4.8", None, "hypernodes", "is another, older project that owns the same module"),
        ("hypernodes-dask", "0.0.0", None, "hypernodes-dask", "is 0.0.0, made for another version of hypernodes-core"),
        ("hypernodes-core", "0.0.0", None, "hypernodes-core", "0.0.0 is installed, but"),
    ],
)
def test_doctor_finds_faults(tmp_path: Path, distribution: str, version: str, source: str | None, name: str, said: str) -> None:
    site = tmp_path / "site"
    install(site, distribution, version, source)
    done = run(site, "doctor", "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["ok"] is False
    (detail,) = [detail for status, detail in findings(done)[name] if status == "problem"]
    assert said in detail
    text = run(site, "doctor")
    assert text.returncode == 1
    assert f"PROBLEM  {name}: " in text.stdout


def test_doctor_finds_a_missing_dependency(tmp_path: Path) -> None:
    site = tmp_path / "site"
    install(site, "hypernodes-core", hypernodes.__version__, requires="no-such-package>=2")
    done = run(site, "doctor", "--json")
    assert done.returncode == 1
    assert findings(done)["no-such-package"] == [("problem", "is not installed: pip install 'no-such-package>=2'")]


def test_doctor_finds_an_unusable_configuration(tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    done = run(site, "doctor", "--json", HYPERNODES_ENGINE="rocket")
    assert done.returncode == 1
    assert "unknown engine 'rocket'" in findings(done)["settings"][0][1]
    (site / "pyproject.toml").write_text("[tool.hypernodes.engines.sequential]\nworkers = 2\n[tool.hypernodes.engines.rocket]\na = 1\n")
    done = run(site, "doctor", "--json")
    assert done.returncode == 1
    assert any("sets 'workers', which engine 'sequential' does not take" in detail for _, detail in findings(done)["settings"])


def test_doctor_finds_a_conflict(tmp_path: Path) -> None:
    site = tmp_path / "site"
    source = "from hypernodes import hookimpl\n@hookimpl\ndef hypernodes_register_engines(registry): registry.add('fast', 'a:B')\n"
    install(site, "acme", "1.0", source)
    install(site, "umbrella", "2.0", source)
    done = run(site, "doctor", "--json")
    assert done.returncode == 1
    assert "engine 'fast': acme 1.0 and umbrella 2.0" in findings(done)["plugins"][0][1]


@pytest.mark.parametrize(
    ("variables", "name", "said"),
    [
        ({"HYPERNODES_CACHE_KEY": "garbage"}, "cache keys", "HYPERNODES_CACHE_KEY: the key is too short"),
        ({"HYPERNODES_TIMOUT": "3"}, "environment", "HYPERNODES_TIMOUT says nothing to anybody. Did you mean 'HYPERNODES_TIMEOUT'?"),
        ({"HYPERNODE_CACHE": "x"}, "environment", "HYPERNODE_CACHE says nothing to anybody. Did you mean 'HYPERNODES_CACHE'?"),
        ({"HYPERNODES_PLUGINS": "nosuch"}, "plugins", "HYPERNODES_PLUGINS names 'nosuch', but no such plugin is installed"),
        ({"HYPERNODES_PLUGINS": "godo"}, "plugins", "Did you mean 'good'?"),
        ({"HYPERNODES_CACHE": "pyproject.toml"}, "cache", "pyproject.toml is a file; a cache is a directory"),
        ({"HYPERNODES_CACHE": "nope://x"}, "caches", "unknown scheme 'nope'"),
    ],
)
def test_doctor_finds_what_is_wrong_in_the_environment(tmp_path: Path, variables: dict[str, str], name: str, said: str) -> None:
    site = tmp_path / "site"
    install(site, "good", "1.0", "")
    (site / "pyproject.toml").touch()
    done = run(site, "doctor", "--json", **variables)
    assert done.returncode == 1
    (detail,) = [detail for status, detail in findings(done)[name] if status == "problem"]
    assert said in detail
    assert "garbage" not in done.stdout


def test_doctor_finds_what_is_wrong_in_tables(tmp_path: Path) -> None:
    site = tmp_path / "site"
    install(site, "tqdm", "1.0")
    (site / "pyproject.toml").write_text(
        '[tool.hypernodes.versions]\ntqmd = "minor"\n[tool.hypernodes.version]\ntqdm = "ignore"\n[tool.hypernodes.acme]\nx = 1\n'
    )
    found = findings(run(site, "doctor", "--json"))
    assert ("problem", "nobody reads [tool.hypernodes.version]. Did you mean 'versions'?") in found["config"]
    assert found["versions"] == [("note", "[tool.hypernodes.versions] names 'tqmd', which is not installed. Did you mean 'tqdm'?")]
    assert "acme" not in json.dumps(found["config"])
    (site / "pyproject.toml").write_text('[tool.hypernodes.versions]\ntqdm = "ignor"\n')
    done = run(site, "doctor", "--json")
    assert done.returncode == 1
    ((status, detail),) = findings(done)["versions"]
    assert (status, detail.endswith("Did you mean 'ignore'?")) == ("problem", True)


def test_doctor_leaves_alone_what_it_does_not_know(tmp_path: Path) -> None:
    done = run(tmp_path, "doctor", "--json", HYPERNODES_ACME_LICENCE="x", HYPERNODES_CACHE="not/made/yet")
    assert done.returncode == 0
    assert findings(done)["environment"][0][0] == "note"
    assert findings(done)["cache"] == [("ok", "not/made/yet")]
    assert not (tmp_path / "hypernodes").exists()  # where keys would be


def test_doctor_names_nothing_that_cannot_be_installed(tmp_path: Path) -> None:
    out = run(tmp_path, "doctor").stdout
    for name in ("daft", "dask", "progress", "otel"):
        assert f"[{name}]" not in out


# -- cache


def test_cache_info_and_forgetting(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from hypernodes import Pipeline, node

    pipeline = Pipeline([node(output_name="y", name="one")(lambda x: x), node(output_name="z", name="two")(lambda y: y)], name="p")
    pipeline.with_cache(str(tmp_path / "c")).map({"x": [1, 2, 3]}, map_over="x")
    place = ["--cache", str(tmp_path / "c")]
    assert main(["cache", "info", *place]) == 0
    assert capsys.readouterr().out.splitlines()[2:] == ["  p/one           3", "  p/two           3"]
    assert main(["cache", "invalidate", "two", *place, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"cache": str(tmp_path / "c"), "forgotten": 3, "dry_run": False}
    assert main(["cache", "info", *place, "--json"]) == 0
    info = json.loads(capsys.readouterr().out)
    assert (info["results"], info["nodes"]) == (3, [{"pipeline": "p", "node": "one", "results": 3}])
    assert main(["cache", "clear", *place]) == 0
    assert capsys.readouterr().out == f"forgot 3 results of {tmp_path / 'c'}\n"


def test_cache_keys(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert main(["cache", "key", "new"]) == 0
    assert len(capsys.readouterr().out.strip()) >= 32
    assert main(["cache", "key", "show", "--json"]) == 0
    json.loads(capsys.readouterr().out)
