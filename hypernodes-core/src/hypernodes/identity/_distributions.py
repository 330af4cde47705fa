"""Where a module comes from: the user, Python itself, or an installed distribution."""

from __future__ import annotations

import functools
import os
import sys
import sysconfig
from collections.abc import Mapping
from importlib.machinery import EXTENSION_SUFFIXES
from types import ModuleType
from typing import Any, Final

import attrs

_STDLIB: Final = tuple(
    {
        os.path.join(place, "")
        for name in ("stdlib", "platstdlib")
        for place in (sysconfig.get_path(name), os.path.realpath(sysconfig.get_path(name)))
    }
)
_SITES: Final = frozenset({"site-packages", "dist-packages"})
_OURS: Final = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "")
_EXAMPLES: Final = ("hypernodes.demo", "hypernodes.testing")  # ours, but written as a user would


@attrs.frozen
class Home:
    """Where a module comes from.

    Attributes:
        users: Whether it is the user's own: what happens in it counts.
        distributions: Of a library, the names of the installed distributions that it belongs to.
        native: The file of a compiled module of the user.
    """

    users: bool
    distributions: frozenset[str] = frozenset()
    native: str = ""


_USERS: Final = Home(users=True)
_PYTHON: Final = Home(users=False)


def home_of_namespace(namespace: Mapping[str, Any]) -> Home:
    """Return where the module with these globals comes from."""
    name, file = namespace.get("__name__"), namespace.get("__file__")
    if not isinstance(name, str):
        return _USERS
    if not isinstance(file, str):
        spec = namespace.get("__spec__")
        file = getattr(spec, "origin", None)
        if not isinstance(file, str):
            file = None
            locations = getattr(spec, "submodule_search_locations", None)  # of a package without __init__.py
            for place in locations or ():
                file = os.path.join(str(place), "__init__.py")
                break
    return home(name, file)


def home_of_module(module: ModuleType) -> Home:
    """Return where a module comes from."""
    return home_of_namespace(vars(module))


def home_of_name(name: object) -> Home:
    """Return where the module of a name comes from."""
    if not isinstance(name, str):
        return _USERS
    module = sys.modules.get(name)
    if isinstance(module, ModuleType):
        return home_of_module(module)
    return home(name, None)


@functools.lru_cache(maxsize=8192)
def home(name: str, file: str | None) -> Home:
    """Return where a module comes from.

    Args:
        name: Its full name.
        file: Its file; None where it has none.
    """
    top = name.partition(".")[0]
    if top == "hypernodes" and (file is None or os.path.abspath(file).startswith(_OURS)):
        return _USERS if name.startswith(_EXAMPLES) else _PYTHON
    if file is None or file in ("built-in", "frozen"):
        return _PYTHON if top in sys.stdlib_module_names or top in sys.builtin_module_names else _USERS
    if not _SITES.isdisjoint(file.split(os.sep)):
        distributions = _distributions_of(top, file)
        # A lone file that was put there by hand has no version, so its code counts.
        return Home(users=False, distributions=distributions) if distributions else _of_user(file)
    path = os.path.abspath(file)
    if path.startswith(_STDLIB) or os.path.realpath(path).startswith(_STDLIB):
        return _PYTHON
    if ".zip" in path and top in sys.stdlib_module_names:
        return _PYTHON
    installed = _installed_beside(name, path)
    return Home(users=False, distributions=installed) if installed else _of_user(file)


def _of_user(file: str) -> Home:
    return Home(users=True, native=file) if file.endswith(tuple(EXTENSION_SUFFIXES)) else _USERS


def _distributions_of(top: str, file: str) -> frozenset[str]:
    """Return the distributions that a module below a site-packages folder belongs to."""
    folders = file.split(os.sep)
    site = os.sep.join(folders[: max(number for number, folder in enumerate(folders) if folder in _SITES) + 1])
    candidates = _distributions_with(top, site)
    if len(candidates) > 1:  # they share a package
        candidates = frozenset(name for name in candidates if _lists(name, file)) or candidates
    return candidates


@functools.cache
def _distributions_with(top: str, site: str) -> frozenset[str]:
    from importlib import metadata

    try:
        found = metadata.distribution(top)
        if _holds(found, top, site):
            return frozenset({found.metadata["Name"]})
    except Exception:  # noqa: BLE001, S110 - not found, or broken metadata: the long way round
        pass
    return frozenset(name for name in _packages(tuple(sys.path)).get(top, ()) if name)


def _holds(found: Any, top: str, site: str) -> bool:
    """Whether a distribution with the name of a package holds it."""
    text = found.read_text("top_level.txt")
    if text is not None:
        return top in text.split()
    record = found.read_text("RECORD")
    if record is not None:
        return any(f"\n{top}{end}" in f"\n{record}" for end in ("/", ".py,", "."))
    return os.path.dirname(str(found._path)) == site  # noqa: SLF001 - there is no other way to ask


@functools.lru_cache(maxsize=16)
def _packages(_: tuple[str, ...]) -> Mapping[str, list[str]]:
    from importlib import metadata

    try:
        return metadata.packages_distributions()
    except Exception:  # noqa: BLE001 - one broken distribution is enough
        return {}


def _lists(name: str, file: str) -> bool:
    """Whether a distribution lists a file; several may share one package."""
    from importlib import metadata

    try:
        return any(os.path.abspath(str(each.locate())) == os.path.abspath(file) for each in metadata.files(name) or ())
    except Exception:  # noqa: BLE001 - broken metadata
        return False


def _installed_beside(name: str, path: str) -> frozenset[str]:
    """Return the distributions that list a file outside site-packages, as ``pip install --target`` leaves it."""
    depth = name.count(".") + 1 + os.path.basename(path).startswith("__init__.")
    root = path
    for _ in range(depth):
        root = os.path.dirname(root)
    relative = os.path.relpath(path, root).replace(os.sep, "/")
    return frozenset(distribution for distribution, files in _records(root) if relative in files)


@functools.lru_cache(maxsize=256)
def _records(root: str) -> tuple[tuple[str, frozenset[str]], ...]:
    import csv
    from importlib import metadata

    found = []
    try:
        folders = [each for each in os.listdir(root) if each.endswith(".dist-info")]
    except OSError:
        return ()
    for folder in folders:
        try:
            with open(os.path.join(root, folder, "RECORD"), encoding="utf-8", newline="") as file:
                files = frozenset(row[0] for row in csv.reader(file) if row)
            from pathlib import Path

            found.append((metadata.PathDistribution(Path(root, folder)).metadata["Name"], files))
        except Exception:  # noqa: BLE001, S112 - not installed after all
            continue
    return tuple(found)
