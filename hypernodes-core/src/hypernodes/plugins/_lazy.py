"""Classes of plugins as attributes of our own modules: ``from hypernodes.engines import DaftEngine``."""

from __future__ import annotations

import sys

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
    raise AttributeError(msg, name=name, obj=None)
