"""Plugins: installed packages that bring engines, stores, callbacks and more by name."""

from __future__ import annotations

from hypernodes.plugins._lazy import attribute
from hypernodes.plugins.hookspecs import hookimpl, hookspec
from hypernodes.plugins.manager import PluginManager, PluginRow, current, on_change, use
from hypernodes.plugins.registry import Entry, Registrar, Registry

__all__ = [
    "Entry",
    "PluginManager",
    "PluginRow",
    "Registrar",
    "Registry",
    "attribute",
    "current",
    "hookimpl",
    "hookspec",
    "on_change",
    "use",
]
