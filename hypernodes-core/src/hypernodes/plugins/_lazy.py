"""Classes of plugins as attributes of our own modules: ``from hypernodes.engines import DaftEngine``."""

from __future__ import annotations

import sys
from types import FrameType

from hypernodes._messages import did_you_mean
from hypernodes.plugins.manager import current
from hypernodes.plugins.registry import EXTRAS, KINDS


def attribute(module_name: str, name: str) -> object:
    """Answer a module's ``__getattr__`` with what a plugin registered.

    Only names that begin with a capital are looked for: those are classes. Anything else, such as a submodule that
    is about to be imported, must not scan entry points.

    Args:
        module_name: The module that lacks the attribute.
        name: The attribute.

    Raises:
        ImportError: It belongs to one of our packages that is not installed.
        AttributeError: Nobody knows it.
    """
    hint = ""
    if name[:1].isupper():
        registry = current().registry
        for kind in KINDS:
            key = registry.by_attribute(kind, name)
            # What ought to be in the asking module itself would lead straight back here.
            if key is not None and not any(
                entry.name == key and entry.module == module_name and entry.attribute == name for entry in registry.entries(kind)
            ):
                return registry.load(kind, key)
        for extra in EXTRAS:
            if extra.attribute == name:
                msg = f"{name} {registry.whereabouts(extra)}"
                raise ImportError(msg, name=module_name)
        module = sys.modules.get(module_name)
        public = [known for known in getattr(module, "__all__", ()) or vars(module or sys) if not known.startswith("_")]
        hint = f".{did_you_mean(name, {*public, *registry.attributes()})}"
    msg = f"module '{module_name}' has no attribute '{name}'{hint.removesuffix('.')}"
    # An object that is not the module keeps Python from adding a second suggestion of its own.
    missing = AttributeError(msg, name=name, obj=None)
    if hint.removesuffix(".") and _is_from_import():
        # Of an AttributeError, `from … import` would keep nothing but the name.
        raise ImportError(msg, name=module_name) from missing
    raise missing


def _is_from_import() -> bool:
    """Whether a module's ``__getattr__`` was asked by a ``from … import`` statement."""
    frame: FrameType | None = sys._getframe(2)  # noqa: SLF001 - nothing else tells who asks
    while frame is not None and frame.f_code.co_name == "__getattr__":
        frame = frame.f_back
    if frame is None:
        return False
    if frame.f_code.co_filename.startswith("<frozen importlib"):
        return False  # it looks for a submodule, and goes on where there is none
    import dis

    return dis.opname[frame.f_code.co_code[frame.f_lasti]] == "IMPORT_FROM"
