"""The house rules: lint, types, import layers, public names, and what must not stand in tracked files."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import hypernodes

ROOT = Path(__file__).parent.parent
SNAPSHOTS = Path(__file__).parent / "snapshots"


def run(*command: str) -> None:
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"


def tracked() -> list[Path]:
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return [ROOT / name for name in listing.stdout.splitlines() if (ROOT / name).is_file()]


def test_lint() -> None:
    run("ruff", "check", "--quiet", "--output-format", "concise", ".")


def test_format() -> None:
    run("ruff", "format", "--check", "--quiet", ".")


def test_types_of_the_core_and_of_its_users() -> None:
    run("mypy", "hypernodes-core/src", "tests/typing")


def test_import_layers() -> None:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_public_names_exist_and_are_frozen() -> None:
    names = hypernodes.__all__  # their order is the linter's business
    assert len(set(names)) == len(names)
    for name in names:
        assert getattr(hypernodes, name) is not None
    frozen = (SNAPSHOTS / "public_names.txt").read_text().split()
    assert sorted(names) == frozen, "the public names changed: if that is meant, change tests/snapshots/public_names.txt too"


def test_nothing_of_ours_is_public_by_accident() -> None:
    ours = {name for name, value in vars(hypernodes).items() if getattr(value, "__module__", "").startswith("hypernodes")}
    assert {name for name in ours if not name.startswith("_")} <= set(hypernodes.__all__)


def test_every_public_object_has_a_docstring() -> None:
    for name in hypernodes.__all__:
        value = getattr(hypernodes, name)
        if callable(value):
            assert value.__doc__, f"hypernodes.{name} has no docstring"
        if isinstance(value, type):
            for attribute, member in vars(value).items():
                if callable(member) and not attribute.startswith("_"):
                    assert member.__doc__, f"hypernodes.{name}.{attribute} has no docstring"


def version_of(folder: Path, project: dict[str, Any]) -> str:
    """Return a distribution's version, from its one place."""
    if "version" in project["project"]:
        return str(project["project"]["version"])
    source = (folder / project["tool"]["hatch"]["version"]["path"]).read_text(encoding="utf-8")
    found = re.search(r'^__version__.*= "([^"]+)"$', source, re.MULTILINE)
    assert found is not None, f"{folder.name} has no version"
    return found[1]


def test_all_versions_are_one() -> None:
    for path in sorted(ROOT.glob("hypernodes-*/pyproject.toml")):
        project = tomllib.loads(path.read_text(encoding="utf-8"))
        assert version_of(path.parent, project) == hypernodes.__version__, path.parent.name
        extras = project["project"].get("optional-dependencies", {})
        for requirement in [each for extra in extras.values() for each in extra] + project["project"].get("dependencies", []):
            sister = re.match(r"hypernodes-\w+(?!.*\[)", requirement)  # with extras of its own it names itself
            assert sister is None or requirement == f"{sister[0]}=={hypernodes.__version__}", (path.parent.name, requirement)
        assert f"## {hypernodes.__version__}" in (path.parent / "CHANGELOG.md").read_text(encoding="utf-8"), path.parent.name


def test_constraints_are_bare_pins() -> None:
    for line in (ROOT / "tests" / "constraints.txt").read_text().splitlines():
        assert re.fullmatch(r"[A-Za-z0-9_.-]+==[A-Za-z0-9_.+!-]+", line), line


def test_no_machine_paths_and_no_registry_hosts() -> None:
    stray = re.compile(r"(^|[^a-z.\w])/(work|farm|root|home)/[a-z]|index[-_]url|/simple/|pythonhosted|pypi\.org")
    here = Path(__file__)
    for path in tracked():
        if path == here or path.suffix in {".png", ".svg"}:
            continue
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), start=1):
            assert not stray.search(line), f"{path.relative_to(ROOT)}:{number}: {line}"


def test_each_distribution_is_whole() -> None:
    for project in sorted(ROOT.glob("hypernodes-*/pyproject.toml")):
        folder = project.parent
        for name in ("README.md", "CHANGELOG.md", "LICENSE", "src", "tests"):
            assert (folder / name).exists(), f"{folder.name} has no {name}"
        assert list(folder.glob("src/*/py.typed")), f"{folder.name} has no py.typed"
