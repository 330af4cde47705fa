"""Imports inside function bodies, resolved without importing anything."""

from __future__ import annotations

import importlib.util
import sys
import types
from collections.abc import Mapping
from typing import Any

from hypernodes.identity._distributions import home
from hypernodes.identity._reads import Imported


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
    if not found.users:
        return
    source = _unimported.source_of(name, file) if file.endswith(".py") else None
    if source is None:
        reach.native(name, file)
    else:
        reach.unimported.take(source, (imported.name, *path) if imported.name else path)


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
