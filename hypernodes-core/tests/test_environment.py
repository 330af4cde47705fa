"""What a result stands on besides code and inputs: the Python, and the libraries that the code reaches."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import warnings
from pathlib import Path

import pytest
from hypernodes import config
from hypernodes.errors import CacheWarning, ConfigError
from hypernodes.identity import environment as module
from hypernodes.identity.environment import environment


@pytest.fixture
def rules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    def write(text: str) -> None:
        (tmp_path / "pyproject.toml").write_text(f"[tool.hypernodes.versions]\n{text}\n")
        config.reset_default_config()

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(module, "installed_version", {"torch": "2.4.1+cu121", "my-lib": "1.2.3"}.__getitem__)
    write("")
    yield write
    monkeypatch.undo()
    config.reset_default_config()


PYTHON = ("python", f"{sys.version_info[0]}.{sys.version_info[1]}")


def test_exact_versions_without_build_tags(rules: object) -> None:
    assert environment({"torch", "my_lib"}) == (PYTHON, ("my-lib", "1.2.3"), ("torch", "2.4.1"))
    assert environment(()) == (PYTHON,)


@pytest.mark.parametrize(("rule", "version"), [("exact", "1.2.3"), ("patch", "1.2.3"), ("minor", "1.2"), ("major", "1")])
def test_rules_shorten(rules: object, rule: str, version: str) -> None:
    rules(f'"My.Lib" = "{rule}"')  # type: ignore[operator]
    assert dict(environment({"my_lib"}))["my-lib"] == version


def test_a_rule_may_leave_a_library_out(rules: object) -> None:
    rules('my-lib = "ignore"')  # type: ignore[operator]
    assert environment({"my-lib"}) == (PYTHON,)


def test_unknown_rules_are_refused(rules: object) -> None:
    rules('torch = "minr"')  # type: ignore[operator]
    with pytest.raises(ConfigError, match=r"\[tool\.hypernodes\.versions\] torch = 'minr': must be one of .*Did you mean 'minor'"):
        environment({"torch"})


def test_results_of_other_machines_that_were_made_from_other_libraries_are_counted(tmp_path: Path) -> None:
    """A colleague's results are there; a library differs: one line says so, and how many there are."""
    script = textwrap.dedent("""
        import json, sys, warnings
        sys.path.insert(0, "v/site-packages")
        import socket
        socket.gethostname = lambda: sys.argv[1]
        import lib
        from hypernodes import Pipeline, node

        @node(output_name="y")
        def work(x):
            return lib.thing(x)

        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            result = Pipeline([work], cache="cache").map({"x": list(range(12))}, map_over="x")
        print(json.dumps([result.stats["work"].ran, [str(each.message) for each in told]]))
    """)
    packages = tmp_path / "v" / "site-packages" / "lib.dist-info"
    packages.mkdir(parents=True)
    (packages.parent / "lib.py").write_text("def thing(x):\n    return x\n")
    (packages / "RECORD").write_text("lib.py,,\n")
    (tmp_path / "go.py").write_text(script)

    def go(host: str, version: str) -> str:
        (packages / "METADATA").write_text(f"Metadata-Version: 2.1\nName: lib\nVersion: {version}\n")
        done = subprocess.run([sys.executable, "go.py", host], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    assert go("theirs", "2.3.0") == "[12, []]"
    assert go("ours", "2.4.1") == '[12, ["0 of 12 shared: lib 2.4.1 (you) / 2.3.0 (cache)"]]'
    assert go("ours", "2.3.0") == "[0, []]"
    assert go("theirs", "2.3.0") == "[0, []]"


def test_nothing_is_said_on_ones_own_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from hypernodes import DiskCache, Pipeline, node

    pipeline = Pipeline([node(output_name="y", name="one")(lambda x: x)], cache=DiskCache(tmp_path))
    with warnings.catch_warnings():
        warnings.simplefilter("error", CacheWarning)
        pipeline.run({"x": 1})
        pipeline.run({"x": 1})
