"""A real plugin package, installed and used as its users would; a broken one beside it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import attrs
import hypernodes
import pytest

CORE = Path(hypernodes.__file__).parents[1]
PLUGINS = Path(__file__).parent / "plugins"

PIPELINE = """
    import threading
    from hypernodes import Pipeline, node

    offset = 10

    @node(output_name="moved")
    def move(x):
        return x + offset

    @node(output_name="worker")
    def where(moved):
        return threading.current_thread().name.rpartition("_")[0]

    nodes = [move, where]
"""


@attrs.frozen
class Site:
    """A folder into which packages are installed, and a project that uses them."""

    packages: Path
    project: Path

    def configure(self, text: str) -> None:
        """Write the project's ``pyproject.toml``."""
        (self.project / "pyproject.toml").write_text(text, encoding="utf-8")

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run Python in the project."""
        env = {name: value for name, value in os.environ.items() if not name.startswith(("HYPERNODES_", "ACME_"))}
        env["PYTHONPATH"] = os.pathsep.join([str(self.packages), str(CORE)])
        env["XDG_CONFIG_HOME"] = str(self.project)
        return subprocess.run(
            [sys.executable, *arguments], env=env | environment, cwd=self.project, capture_output=True, text=True, check=False
        )

    def script(self, source: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a script with ``nodes`` in it."""
        path = self.project / "script.py"
        path.write_text(textwrap.dedent(PIPELINE) + textwrap.dedent(source), encoding="utf-8")
        return self.run(str(path), **environment)

    def command(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run the command line."""
        return self.run("-m", "hypernodes", *arguments, **environment)

    @property
    def audit(self) -> Path:
        """Where Acme's audit log is written."""
        return self.project / "audit.jsonl"

    def audited(self) -> list[dict[str, Any]]:
        """Read Acme's audit log."""
        return [json.loads(line) for line in self.audit.read_text(encoding="utf-8").splitlines()]


def install(target: Path, *names: str) -> None:
    if find_spec("hatchling") is None or find_spec("pip") is None:
        pytest.skip("needs pip and hatchling to install a package without a network")
    options = ("--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check")
    command = [sys.executable, "-m", "pip", "install", *options, "--target", str(target), *(str(PLUGINS / name) for name in names)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def acme_alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("acme")
    install(target, "acme-hypernodes")
    return target


@pytest.fixture(scope="module")
def acme_and_broken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("both")
    install(target, "acme-hypernodes", "broken-hypernodes")
    return target


@pytest.fixture
def site(acme_alone: Path, tmp_path: Path) -> Site:
    """Acme's package is installed."""
    return Site(acme_alone, tmp_path)


@pytest.fixture
def both(acme_and_broken: Path, tmp_path: Path) -> Site:
    """Acme's package is installed, and the broken one."""
    return Site(acme_and_broken, tmp_path)


# -- the engine


def test_the_engine_by_name_with_settings_from_the_project(site: Site) -> None:
    site.configure("[tool.hypernodes.engines.acme]\nworkers = 3\n")
    done = site.script("""
        results = Pipeline(nodes, engine="acme").map({"x": range(50)}, map_over="x")
        assert results == [{"moved": x + 10, "worker": "acme-of-3"} for x in range(50)], results
        assert Pipeline(nodes, engine="acme").run({"x": 1}) == {"moved": 11, "worker": "acme-of-3"}
    """)
    assert (done.returncode, done.stderr) == (0, "")


def test_without_settings_the_engine_has_its_own_defaults(site: Site) -> None:
    done = site.script('print(Pipeline(nodes, engine="acme").run({"x": 1})["worker"])')
    assert (done.stdout, done.stderr) == ("acme-of-2\n", "")


@pytest.mark.parametrize("how", ["project", "environment", "program", "nested"])
def test_the_engine_by_name_at_every_level(site: Site, how: str) -> None:
    if how == "project":
        site.configure('[tool.hypernodes]\nengine = "acme"\n')
    before = 'import hypernodes; hypernodes.set_default_config(engine="acme")' if how == "program" else ""
    pipeline = 'Pipeline([Pipeline(nodes).as_node(engine="acme")])' if how == "nested" else "Pipeline(nodes)"
    environment = {"HYPERNODES_ENGINE": "acme"} if how == "environment" else {}
    done = site.script(f'{before}\nprint({pipeline}.run({{"x": 1}})["worker"])', **environment)
    assert (done.stdout, done.stderr) == ("acme-of-2\n", "")


def test_the_class_of_the_engine_is_found_in_our_module(site: Site) -> None:
    done = site.script("""
        from hypernodes.engines import AcmeEngine
        print(AcmeEngine.__module__, Pipeline(nodes, engine=AcmeEngine(workers=1)).run({"x": 1})["worker"])
    """)
    assert (done.stdout, done.stderr) == ("acme_hypernodes.engine acme-of-1\n", "")


def test_a_misspelt_setting_names_file_table_and_key(site: Site) -> None:
    site.configure("[tool.hypernodes.engines.acme]\nwrokers = 3\n")
    done = site.script('Pipeline(nodes, engine="acme").run({"x": 1})')
    assert done.returncode == 1
    assert done.stderr.endswith(
        f"ConfigError: {site.project / 'pyproject.toml'}: [tool.hypernodes.engines.acme] sets 'wrokers', which engine 'acme' "
        "does not take; it takes workers, cache, callbacks, retries, timeout. Did you mean 'workers'?\n"
    )


def test_a_setting_the_engine_refuses_names_file_and_package(site: Site) -> None:
    site.configure("[tool.hypernodes.engines.acme]\nworkers = 0\n")
    done = site.script('Pipeline(nodes, engine="acme").run({"x": 1})')
    assert done.returncode == 1
    for part in (str(site.project / "pyproject.toml"), "engine 'acme' of acme-hypernodes 1.2.0", "Acme's cluster needs at least 1"):
        assert part in done.stderr


def test_a_node_that_fails_there_raises_its_own_exception_here(site: Site) -> None:
    done = site.script("""
        class Odd(Exception):
            pass

        @node(output_name="y")
        def only_even(x):
            if x % 2:
                raise Odd(x)
            return x

        pipeline = Pipeline([only_even], name="even", engine="acme")
        try:
            pipeline.map({"x": [0, 2, 3, 4]}, map_over="x")
        except Odd as error:
            assert error.args == (3,)
            assert "in node 'only_even' of pipeline 'even', item 2" in error.__notes__[0], error.__notes__
        else:
            raise SystemExit("nothing was raised")
        results = pipeline.map({"x": [0, 2, 3, 4]}, map_over="x", on_error="return")
        assert [failure.item for failure in results.failures] == [2]
        assert results[3] == {"y": 4}
    """)
    assert (done.returncode, done.stderr) == (0, "")


# -- the callback


def test_the_audit_is_attached_to_every_run_without_a_line_in_user_code(site: Site) -> None:
    done = site.script(
        """
        Pipeline(nodes, name="words", callbacks=[]).map({"x": range(4)}, map_over="x", output_name="moved")
        Pipeline(nodes, name="remote", engine="acme", callbacks=None).run({"x": 1})
        Pipeline(nodes, name="acme-internal").run({"x": 1})
        try:
            Pipeline(nodes, name="fails").run({"x": "text"})
        except TypeError:
            pass
        """,
        ACME_AUDIT="audit.jsonl",
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert [(entry["pipeline"], entry["kind"], entry["engine"], entry["items"], entry["outcome"]) for entry in site.audited()] == [
        ("words", "map", "seq", 4, "ok"),
        ("remote", "run", "acme", None, "ok"),
        ("fails", "run", "seq", None, "TypeError"),
    ]


def test_without_the_variable_nothing_is_audited(site: Site) -> None:
    assert site.script('Pipeline(nodes).run({"x": 1})').returncode == 0
    assert not site.audit.exists()


@pytest.mark.parametrize(("variable", "value"), [("HYPERNODES_PLUGINS", ""), ("HYPERNODES_DISABLE_PLUGINS", "1")])
def test_only_the_environment_switches_plugins_off(site: Site, variable: str, value: str) -> None:
    done = site.script('Pipeline(nodes).run({"x": 1})', ACME_AUDIT="audit.jsonl", **{variable: value})
    assert (done.returncode, done.stderr) == (0, "")
    assert not site.audit.exists()
    done = site.script('Pipeline(nodes, engine="acme").run({"x": 1})', **{variable: value})
    assert done.returncode == 1
    assert done.stderr.endswith(
        f"UnknownPluginError: unknown engine 'acme'; installed: hypernodes, seq.\n"
        f"  note: acme-hypernodes 1.2.0 is installed but switched off by {variable}\n"
    )
    assert site.command("acme-audit", "x", **{variable: value}).returncode == 2


def test_an_audit_that_cannot_be_written_is_named_and_changes_no_result(site: Site) -> None:
    done = site.script('print(Pipeline(nodes).run({"x": 1}, output_name="moved"))', ACME_AUDIT="no/such/folder/audit.jsonl")
    assert (done.returncode, done.stdout) == (0, "{'moved': 11}\n")
    for part in ("CallbackWarning", "acme-hypernodes 1.2.0", "AuditCallback", "on_run_end", "FileNotFoundError"):
        assert part in done.stderr


# -- the command


def test_the_command_prints_the_audit(site: Site) -> None:
    site.script('Pipeline(nodes, name="words").map({"x": [1, 2]}, map_over="x")', ACME_AUDIT="audit.jsonl")
    site.script('Pipeline(nodes, name="fails").run({"x": None})', ACME_AUDIT="audit.jsonl")
    done = site.command("acme-audit", "audit.jsonl")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "words: map of 2 items on seq: ok\nfails: run on seq: TypeError\n"
    assert site.command("acme-audit", "audit.jsonl", "--failed").stdout == "fails: run on seq: TypeError\n"
    assert "acme-audit  from acme-hypernodes 1.2.0" in site.command("--help").stdout


def test_the_command_says_what_is_wrong(site: Site) -> None:
    done = site.command("acme-audit", "nowhere.jsonl")
    assert (done.returncode, done.stdout) == (1, "")
    assert "nowhere.jsonl" in done.stderr
    done = site.command("acme-audit")
    assert done.returncode == 2
    assert "usage: hypernodes acme-audit" in done.stderr


# -- what it costs those who do not use it


def test_nothing_of_the_package_is_imported_before_it_is_used(site: Site) -> None:
    done = site.script(
        """
        import sys
        loaded = lambda: sorted(name for name in sys.modules if name.startswith("acme_hypernodes"))
        print(loaded())
        Pipeline(nodes).run({"x": 1})
        print(loaded())
        """
    )
    assert done.stdout.splitlines() == ["[]", "['acme_hypernodes', 'acme_hypernodes._plugin']"], done.stderr


# -- a broken one beside it


def test_a_broken_package_is_one_warning_and_stops_nobody(both: Site) -> None:
    done = both.script(
        """
        import warnings
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            first = Pipeline(nodes).run({"x": 1}, output_name="moved")
            second = Pipeline(nodes, engine="acme").run({"x": 1})
        assert (first, second) == ({"moved": 11}, {"moved": 11, "worker": "acme-of-2"})
        print(*[f"{w.category.__name__}: {w.message}" for w in caught], sep="\\n")
        """,
        ACME_AUDIT="audit.jsonl",
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        "PluginWarning: broken-hypernodes 0.0.1 is broken and was left out: RuntimeError: the licence server does not answer\n"
    )
    assert len(both.audited()) == 2


def test_the_broken_package_is_a_row(both: Site) -> None:
    done = both.command("plugins", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert found["plugins"] == [
        {
            "name": "acme",
            "distribution": "acme-hypernodes",
            "version": "1.2.0",
            "status": "ok",
            "error": None,
            "registered": {"command": ["acme-audit"], "engine": ["acme"]},
            "hooks": ["hypernodes_callbacks", "hypernodes_register_commands", "hypernodes_register_engines"],
        },
        {
            "name": "broken",
            "distribution": "broken-hypernodes",
            "version": "0.0.1",
            "status": "broken",
            "error": "RuntimeError: the licence server does not answer",
            "registered": {},
            "hooks": [],
        },
    ]
    doctor = both.command("doctor")
    assert doctor.returncode == 1
    assert "PROBLEM  broken-hypernodes 0.0.1: plugin 'broken' is broken: RuntimeError: the licence server" in doctor.stdout


def test_the_allow_list_keeps_the_broken_one_out(both: Site) -> None:
    done = both.script('print(Pipeline(nodes, engine="acme").run({"x": 1})["worker"])', HYPERNODES_PLUGINS="acme-hypernodes")
    assert (done.stdout, done.stderr) == ("acme-of-2\n", "")
    rows = json.loads(both.command("plugins", "--json", HYPERNODES_PLUGINS="acme-hypernodes").stdout)["plugins"]
    assert {row["distribution"]: row["status"] for row in rows} == {"acme-hypernodes": "ok", "broken-hypernodes": "blocked"}


# -- two that claim one name


def test_a_rival_that_claims_the_same_name_is_a_conflict_that_names_both(site: Site, tmp_path: Path) -> None:
    metadata = tmp_path / "umbrella_hypernodes-2.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: umbrella-hypernodes\nVersion: 2.0\n")
    (metadata / "entry_points.txt").write_text("[hypernodes]\numbrella = umbrella_hypernodes\n")
    (tmp_path / "umbrella_hypernodes.py").write_text(
        "from hypernodes import hookimpl\n"
        "@hookimpl\n"
        "def hypernodes_register_engines(registry):\n"
        "    registry.add('acme', 'hypernodes.engines:SeqEngine')\n"
    )
    path = os.pathsep.join([str(site.packages), str(tmp_path), str(CORE)])
    done = site.script(
        """
        from hypernodes.errors import PluginConflictError
        assert Pipeline(nodes).run({"x": 1}, output_name="moved") == {"moved": 11}
        try:
            Pipeline(nodes, engine="acme").run({"x": 1})
        except PluginConflictError as error:
            print(str(error).splitlines()[0])
        """,
        PYTHONPATH=path,
    )
    said = "more than one package registers engine 'acme': acme-hypernodes 1.2.0 and umbrella-hypernodes 2.0."
    assert (done.stdout, done.stderr) == (said + "\n", "")
    assert said in site.command("plugins", PYTHONPATH=path).stdout
    chosen = site.script('print(Pipeline(nodes, engine="acme").run({"x": 1})["worker"])', PYTHONPATH=path, HYPERNODES_PLUGINS="acme")
    assert chosen.stdout == "acme-of-2\n"
