"""Imports inside function bodies, resolved without importing anything."""

from __future__ import annotations

import builtins
import importlib.util
import os
import sys
import types
from collections.abc import Iterator, Mapping
from importlib.machinery import all_suffixes
from typing import Any, Final

from hypernodes.identity._distributions import home
from hypernodes.identity._reads import Imported

_SUFFIXES: Final = tuple(sorted(each for each in all_suffixes() if not each.endswith(".pyc")))


def absolute(namespace: Mapping[str, Any], imported: Imported) -> str:
    """Return the full name of the module that an import names.

    Args:
        namespace: The globals that the import is executed with.
        imported: The import.
    """
    if not imported.level:
        return imported.module
    package = namespace.get("__package__") or str(namespace.get("__name__", "")).rpartition(".")[0]
    try:
        return importlib.util.resolve_name("." * imported.level + imported.module, package)
    except ImportError:
        return ""


def follow(reach: Any, namespace: Mapping[str, Any], imported: Imported) -> None:
    """Take in what a function imports in its body.

    Args:
        reach: The walk.
        namespace: The globals of the function.
        imported: The import, and what is read of it.
    """
    from hypernodes.identity import _unimported

    name, path = absolute(namespace, imported), imported.path
    module = sys.modules.get(name)
    if isinstance(module, types.ModuleType):
        if imported.name and imported.name not in vars(module) and find(f"{name}.{imported.name}") is not None:
            follow(reach, namespace, Imported(0, f"{name}.{imported.name}", "", path))
        else:
            reach.follow(module, (imported.name, *path) if imported.name else path)
        return
    file = find(f"{name}.{imported.name}") if imported.name else None
    if file is not None:  # `from package import module`
        name = f"{name}.{imported.name}"
        imported = Imported(0, name, "", path)
        if isinstance(sys.modules.get(name), types.ModuleType):
            follow(reach, namespace, imported)
            return
    else:
        file = find(name)
    reach.watch_file(name, file)
    if file is None:
        reach.manifest[f"missing module {name}"] = "="
        return
    found = home(name, file)
    reach.reaches(found)
    if not found.users or f"module {name}" in reach.manifest:  # as a whole already
        return
    path = (imported.name, *path) if imported.name else path
    whole = _unimported.whole_of(name, file) if not path and file.endswith(".py") else None
    source = _unimported.source_of(name, file) if path and file.endswith(".py") else None
    if whole is not None:
        reach.unimported.whole(name, whole)
    elif source is not None:
        reach.unimported.take(source, path)
    else:
        reach.native(name, file)


def find(name: str) -> str | None:
    """Return the file of a module, imported or not; None where there is none, as for packages without ``__init__.py``."""
    path: Any = None
    spec = None
    full = ""
    for part in name.split("."):
        full = f"{full}.{part}" if full else part
        module = sys.modules.get(full)
        spec = getattr(module, "__spec__", None)
        if spec is None:
            spec = _asked(full, path)
        if spec is None:
            return None
        path = spec.submodule_search_locations
        if path is None and full != name:
            return None
    origin = spec.origin if spec is not None else None
    return origin if isinstance(origin, str) and origin not in ("built-in", "frozen") else None


def _asked(name: str, path: Any) -> Any:
    for finder in sys.meta_path:
        try:
            spec = finder.find_spec(name, path, None)
        except Exception:  # noqa: BLE001, S112 - finders are anyone's
            continue
        if spec is not None:
            return spec
    return None


def imports_any(value: object) -> bool:
    """Return whether something is a function that imports a module by its name."""
    return value is importlib.import_module or value is builtins.__import__


def around(namespace: Mapping[str, Any]) -> tuple[str, list[str]]:
    """Return the package that a module belongs to and its folders; of one without a package, no name and the folder it is in."""
    name, file = namespace.get("__package__") or namespace.get("__name__"), namespace.get("__file__")
    top = name.partition(".")[0] if isinstance(name, str) else ""
    path = getattr(sys.modules.get(top), "__path__", None)
    if path is not None:
        return top, [each for each in path if isinstance(each, str)]
    return "", [os.path.dirname(os.path.abspath(file))] if isinstance(file, str) else []  # noqa: PTH100, PTH120


def below(package: str, folder: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield the folders of a package, each with the names of the modules in it.

    Args:
        package: The name of the package; empty for a folder of modules without one.
        folder: Where it is.
    """
    for here, folders, files in os.walk(folder):
        dotted = os.path.relpath(here, folder).replace(os.sep, ".").strip(".")
        prefix = ".".join(each for each in (package, dotted) if each)
        folders[:] = sorted(each for each in folders if each.isidentifier() and os.path.isfile(os.path.join(here, each, "__init__.py")))  # noqa: PTH113, PTH118
        stems = {each.partition(".")[0] for each in files if each.endswith(_SUFFIXES)}
        names = {prefix if stem == "__init__" else f"{prefix}.{stem}".strip(".") for stem in stems if stem.isidentifier()}
        yield here, tuple(sorted(name for name in names if name))
