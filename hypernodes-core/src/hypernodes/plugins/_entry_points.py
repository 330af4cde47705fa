"""Which plugins are installed, and which of them the environment lets in."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Final

import attrs

from hypernodes._messages import did_you_mean

GROUP: Final = "hypernodes"
ALLOW: Final = "HYPERNODES_PLUGINS"
DISABLE: Final = "HYPERNODES_DISABLE_PLUGINS"
OLDER: Final = (
    "the distribution {version} is installed beside hypernodes-core; it is another, older project that owns the same "
    "module, so files of both may be mixed.\n"
    "  fix: pip uninstall -y hypernodes hypernodes-core && pip install hypernodes-core"
)


@attrs.frozen
class Found:
    """One installed entry point.

    Attributes:
        name: The entry point's name.
        distribution: The package that brings it.
        version: The package's version.
        load: Imports what the entry point leads to.
    """

    name: str
    distribution: str
    version: str
    load: Callable[[], object]

    @property
    def answers_to(self) -> set[str]:
        """The names that the allow-list may know it by."""
        return {normalised(self.name), normalised(self.distribution)}


def installed() -> list[Found]:
    """Return every installed plugin, sorted by distribution."""
    from importlib.metadata import entry_points  # slow to load, and nobody may need it

    found = []
    for point in entry_points(group=GROUP):
        package = point.dist
        name = package.metadata["Name"] if package is not None else ""
        version = package.version if package is not None else ""
        found.append(Found(point.name, name or "(unknown distribution)", version or "", point.load))
    return sorted(found, key=lambda each: (normalised(each.distribution), each.name))


def mixed_up() -> list[str]:
    """Return a complaint where the unrelated, older distribution that owns the same module is installed."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return [OLDER.format(version=f"'hypernodes' {version('hypernodes')}")]
    except PackageNotFoundError:
        return []


def switched_off() -> bool:
    """Say whether ``HYPERNODES_DISABLE_PLUGINS`` keeps every installed plugin out."""
    return os.environ.get(DISABLE, "").strip().lower() not in ("", "0", "false", "no", "off")


def allowed() -> frozenset[str] | None:
    """Return the names in ``HYPERNODES_PLUGINS``, normalised; ``None`` where it is not set and all are allowed."""
    text = os.environ.get(ALLOW)
    if text is None:
        return None
    return frozenset(normalised(name) for name in text.split(",") if name.strip())


def missing(names: frozenset[str], plugins: list[Found]) -> list[str]:
    """Return a complaint for every allowed name that no installed plugin answers to."""
    known = {name for each in plugins for name in each.answers_to}
    return [f"{ALLOW} names '{name}', but no such plugin is installed.{did_you_mean(name, known)}" for name in sorted(names - known)]


def normalised(name: str) -> str:
    """Return a distribution's name as installers compare it."""
    return re.sub(r"[-_.]+", "-", name.strip()).lower()
