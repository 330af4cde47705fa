"""What runs nodes and items, by the names other projects know: engines of installed packages are found here."""

from __future__ import annotations

from hypernodes import plugins


def __getattr__(name: str) -> object:
    return plugins.attribute(__name__, name)
