"""The environment of a computation: the Python minor version and the distributions that its code reaches."""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Iterable, Mapping
from typing import Final, TypeAlias

from hypernodes import config
from hypernodes._messages import did_you_mean
from hypernodes.errors import ConfigError

Environment: TypeAlias = tuple[tuple[str, str], ...]  # (name, version), "python" first

RULES: Final = ("exact", "major", "minor", "patch", "ignore")
_PARTS: Final = {"major": 1, "minor": 2, "patch": 3}


def environment(distributions: Iterable[str]) -> Environment:
    """Return what a computation's code stands on.

    Versions count exactly unless ``[tool.hypernodes.versions]`` says otherwise; build tags (``+cu121``) never count.

    Args:
        distributions: Names of the installed distributions that the code reaches.

    Raises:
        ConfigError: If a rule in ``[tool.hypernodes.versions]`` is none of ``RULES``.
    """
    rules = _rules()
    found = [("python", f"{sys.version_info[0]}.{sys.version_info[1]}")]
    for name in sorted({_canonical(each) for each in distributions}):
        version = _shortened(installed_version(name), rules.get(name, "exact"))
        if version:
            found.append((name, version))
    return tuple(found)


@functools.cache
def installed_version(name: str) -> str:
    """Return a distribution's version, as it was when this process first asked: that is the code it loaded."""
    import importlib.metadata

    try:
        return importlib.metadata.version(name)
    except Exception:  # noqa: BLE001 - a broken installation has no version, and a result made on it is like any other
        return "unknown"


def _rules() -> Mapping[str, str]:
    table = config.tool_table().get("versions", {})
    if not isinstance(table, Mapping):
        msg = f"[tool.hypernodes.versions] must be a table of distributions and rules, got {table!r}"
        raise ConfigError(msg)
    for name, rule in table.items():
        if rule not in RULES:
            hint = did_you_mean(rule, RULES) if isinstance(rule, str) else ""
            msg = f"[tool.hypernodes.versions] {name} = {rule!r}: must be one of {', '.join(RULES)}.{hint}"
            raise ConfigError(msg)
    return {_canonical(name): rule for name, rule in table.items()}


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _shortened(version: str, rule: str) -> str:
    if rule == "ignore":
        return ""
    public = version.partition("+")[0]
    return ".".join(public.split(".")[: _PARTS[rule]]) if rule in _PARTS else public
