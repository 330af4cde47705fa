"""``hypernodes doctor [--json]``: look for faults in this installation."""

from __future__ import annotations

import argparse
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import Distribution, PackageNotFoundError, distribution, distributions
from pathlib import Path
from typing import Final, Literal

import attrs

import hypernodes
from hypernodes import config, plugins
from hypernodes._messages import counted, did_you_mean, listed, near
from hypernodes._version import __version__
from hypernodes.cache import DiskCache, RemoteCache, _keys, _signing, trust
from hypernodes.cache._urls import open_store
from hypernodes.cli._output import plain_path, redacted, show, show_json
from hypernodes.errors import PluginWarning
from hypernodes.plugins import _entry_points
from hypernodes.plugins.registry import CORE, EXTRAS

_PREFIX: Final = "HYPERNODES_"
_BEGIN: Final = re.compile(r"HYPER_?NODES?_", re.IGNORECASE)  # the prefix, and what people write in its place
_TABLES: Final = ("engines", "versions")
_OPTIONAL: Final = (  # packages, the extras that bring them, and what they are for
    ("s3fs", "s3", "caches at s3:// need it"),
    ("gcsfs", "gcs", "caches at gs:// need it"),
    ("cryptography", "signing", "signing caches with Ed25519 needs it"),
)
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
            findings.append(Finding(look.__name__.strip("_").replace("_", " "), "problem", f"{type(error).__name__}: {error}"))
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
    for extra in EXTRAS:  # only where they are installed: there is no advice to get what nobody can get yet
        found = _installed(extra.distribution)
        if found is not None and found.version != __version__:
            yield Finding(
                extra.distribution, "problem", f"is {found.version}, made for another version of {CORE}: {extra.install} --upgrade"
            )
        elif found is not None:
            yield Finding(extra.distribution, "ok", found.version)
    for name, brought_by, use in _OPTIONAL:
        found = _installed(name)
        if found is None:
            yield Finding(name, "note", f'is not installed; {use}: pip install "{CORE}[{brought_by}]"')
        else:
            yield Finding(name, "ok", found.version)


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
    names = _entry_points.allowed()
    if names is not None and not _entry_points.switched_off():
        for complaint in _entry_points.missing(names, _entry_points.installed()):
            yield Finding("plugins", "problem", complaint)


def _variables() -> Iterator[Finding]:
    """Look for variables that say nothing to anybody."""
    known = {f"{_PREFIX}{name.upper()}" for name in config.SETTING_NAMES}
    known |= {_keys.ENVIRONMENT, _signing.ENVIRONMENT, _entry_points.ALLOW, _entry_points.DISABLE}
    for name in sorted(os.environ):
        begin = _BEGIN.match(name)
        if begin is None or name in known:
            continue
        guess = near(name[begin.end() :], [each.removeprefix(_PREFIX) for each in known])
        if guess is not None:
            yield Finding("environment", "problem", f"{name} says nothing to anybody. Did you mean '{_PREFIX}{guess}'?")
        elif name.startswith(_PREFIX):  # a plugin may read it
            yield Finding("environment", "note", f"{name} is no variable of {CORE}; its own are {listed(sorted(known))}")


def _settings() -> Iterator[Finding]:
    ambient = config.ambient()
    config.make_engine("seq" if ambient.engine is config.UNSET else ambient.engine)
    config.make_callbacks(ambient.callbacks)
    tables = config.tool_table()
    known = plugins.current().registry.names("engine")
    for name in tables.get("engines", {}):
        if name in known:
            config.make_engine(name)
        else:
            yield Finding("config", "note", f"has settings for engine '{name}', which is not installed.{did_you_mean(name, known)}")
    for name, value in tables.items():
        if isinstance(value, Mapping) and name not in {*_TABLES, *config.SETTING_NAMES}:  # any other belongs to a plugin
            guess = near(name, _TABLES)
            if guess is not None:
                yield Finding("config", "problem", f"nobody reads [tool.hypernodes.{name}]. Did you mean '{guess}'?")
    where = sorted({where for _, level, _, where in config.sources() if level in ("project", "user", "environment")})
    yield Finding("config", "ok", ", ".join(where) or "nothing is configured")


def _versions() -> Iterator[Finding]:
    from hypernodes.identity import environment

    environment.environment(())  # which reads the rules, and refuses those that are none
    table = config.tool_table().get("versions", {})
    unknown = [name for name in table if _installed(name) is None]
    installed = [name for each in distributions() if (name := each.metadata["Name"])] if unknown else []
    for name in unknown:
        hint = did_you_mean(name, installed)
        yield Finding("versions", "note", f"[tool.hypernodes.versions] names '{name}', which is not installed.{hint}")


def _cache_keys() -> Iterator[Finding]:
    """Look at the keys of caches; none is shown, and none is made."""
    loose = _keys.loose_permissions(_keys.key_file())
    if loose:
        yield Finding("cache keys", "problem", loose)
    own, shared = _keys.read_key_file(_keys.key_file()), trust.shared_keys()
    yield Finding("cache keys", "ok", f"{counted(len(own), 'key')} for local caches, {len(shared):,} for shared ones")


def _caches() -> Iterator[Finding]:
    """Look whether the caches that are configured can be opened; nothing is connected, and nothing is made."""
    ambient = config.ambient()
    cache = config.make_cache(None if ambient.cache is config.UNSET else ambient.cache)
    for layer in () if cache is None else getattr(cache, "layers", (cache,)):
        if isinstance(layer, DiskCache):
            path = Path(layer.path)
            if path.exists() and not path.is_dir():
                yield Finding("cache", "problem", f"{plain_path(layer.path)} is a file; a cache is a directory")
            else:
                yield Finding("cache", "ok", plain_path(layer.path))
        elif isinstance(layer, RemoteCache):
            open_store(layer.url, layer.storage_options)
            yield Finding("cache", "ok", redacted(layer.url))


def _installed(name: str) -> Distribution | None:
    try:
        return distribution(name)
    except PackageNotFoundError:
        return None


_LOOKS: Final[tuple[Callable[[], Iterator[Finding]], ...]] = (
    _python, _core, _dependencies, _companions, _plugins, _variables, _settings, _versions, _cache_keys, _caches,
)  # fmt: skip
