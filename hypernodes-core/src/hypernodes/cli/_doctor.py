"""``hypernodes doctor [--json]``: look for faults in this installation."""

from __future__ import annotations

import argparse
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Final, Literal

import attrs

import hypernodes
from hypernodes import config, plugins
from hypernodes._version import __version__
from hypernodes.cli._output import show, show_json
from hypernodes.errors import PluginWarning
from hypernodes.plugins import _entry_points
from hypernodes.plugins.registry import CORE, EXTRAS

_SIGNS: Final = {"ok": "ok      ", "note": "note    ", "problem": "PROBLEM "}


@attrs.frozen
class Finding:
    """What one look showed.

    Attributes:
        name: What was looked at.
        status: How it is.
        detail: What there is to say.
    """

    name: str
    status: Literal["ok", "note", "problem"]
    detail: str


def command(argv: list[str]) -> int:
    """Look at everything; 1 if something needs mending.

    Args:
        argv: What stands after ``doctor``.
    """
    parser = argparse.ArgumentParser(prog="hypernodes doctor", description="Look for faults in this installation.")
    parser.add_argument("--json", action="store_true", help="print JSON")
    as_json: bool = parser.parse_args(argv).json

    findings: list[Finding] = []
    for look in _LOOKS:
        try:
            findings.extend(look())
        except Exception as error:  # noqa: BLE001 - a doctor does not fall ill
            findings.append(Finding(look.__name__.strip("_"), "problem", f"{type(error).__name__}: {error}"))
    healthy = all(finding.status != "problem" for finding in findings)
    if as_json:
        show_json({"ok": healthy, "findings": [attrs.asdict(finding) for finding in findings]})
    else:
        for finding in findings:
            show(f"{_SIGNS[finding.status]} {finding.name}: {finding.detail}")
    return 0 if healthy else 1


def _python() -> Iterator[Finding]:
    yield Finding("python", "ok", f"{sys.version.split()[0]} at {sys.executable}")


def _core() -> Iterator[Finding]:
    here = Path(str(hypernodes.__file__)).resolve()
    package = _installed(CORE)
    if package is None:
        yield Finding(CORE, "note", f"{__version__} at {here.parent}, used without being installed")
    elif package.version != __version__:
        yield Finding(CORE, "problem", f"{package.version} is installed, but {__version__} runs, from {here.parent}")
    else:
        yield Finding(CORE, "ok", f"{__version__} at {here.parent}")
    if package is not None:
        recorded = [package.locate_file(file) for file in package.files or () if str(file) == "hypernodes/__init__.py"]
        if recorded and Path(str(recorded[0])).resolve() != here:
            yield Finding(CORE, "problem", f"{here.parent} hides the installed one at {Path(str(recorded[0])).parent}")
    for complaint in _entry_points.mixed_up():
        yield Finding("hypernodes", "problem", complaint)


def _dependencies() -> Iterator[Finding]:
    package = _installed(CORE)
    for requirement in (package.requires or ()) if package is not None else ():
        if "extra ==" in requirement:
            continue
        name = re.split(r"[^\w.-]", requirement, maxsplit=1)[0]
        found = _installed(name)
        if found is None:
            yield Finding(name, "problem", f"is not installed: pip install '{requirement}'")
        else:
            yield Finding(name, "ok", found.version)


def _companions() -> Iterator[Finding]:
    for extra in EXTRAS:
        found = _installed(extra.distribution)
        if found is None:
            yield Finding(extra.distribution, "note", f"is not installed: {extra.install}")
        elif found.version != __version__:
            yield Finding(
                extra.distribution, "problem", f"is {found.version}, made for another version of {CORE}: {extra.install} --upgrade"
            )
        else:
            yield Finding(extra.distribution, "ok", found.version)


def _plugins() -> Iterator[Finding]:
    manager = plugins.current()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PluginWarning)  # each has a line of its own here
        manager.discover()
    for row in manager.plugins:
        if row.status == "broken":
            yield Finding(row.owner, "problem", f"plugin '{row.name}' is broken: {row.error}")
        elif row.status == "ok":
            yield Finding(row.owner, "ok", f"plugin '{row.name}'")
        else:
            yield Finding(row.owner, "note", f"plugin '{row.name}' {manager.registry.notes[row.owner]}")
    for conflict in manager.registry.conflicts():
        yield Finding("plugins", "problem", conflict)


def _settings() -> Iterator[Finding]:
    ambient = config.ambient()
    config.make_engine("seq" if ambient.engine is config.UNSET else ambient.engine)
    config.make_callbacks(ambient.callbacks)
    known = plugins.current().registry.names("engine")
    for name in config.tool_table().get("engines", {}):
        if name in known:
            config.make_engine(name)
        else:
            yield Finding("config", "note", f"has settings for engine '{name}', which is not installed")
    where = sorted({where for _, level, _, where in config.sources() if level in ("project", "user", "environment")})
    yield Finding("config", "ok", ", ".join(where) or "nothing is configured")


def _installed(name: str) -> Distribution | None:
    try:
        return distribution(name)
    except PackageNotFoundError:
        return None


_LOOKS: Final[tuple[Callable[[], Iterator[Finding]], ...]] = (_python, _core, _dependencies, _companions, _plugins, _settings)
