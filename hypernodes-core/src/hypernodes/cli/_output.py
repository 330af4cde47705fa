"""What commands print: tables for people, JSON for programs, secrets for nobody."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs

from hypernodes.cache import DiskCache
from hypernodes.cache._secrets import HIDDEN
from hypernodes.cache._secrets import redacted as without_secrets

_SECRET: Final = re.compile(r"secret|token|passw|credential|api_?key|private", re.IGNORECASE)


def show(text: str = "") -> None:
    """Print a line."""
    print(text)


def show_json(value: object, *, indent: int | None = 2) -> None:
    """Print a value as JSON; what JSON does not know is shown by its ``repr``.

    Args:
        value: What to print.
        indent: How far to indent; ``None`` for one line.
    """
    show(json.dumps(value, indent=indent, default=_plain))


def show_table(rows: Sequence[Sequence[str]]) -> None:
    """Print rows with their columns under each other; the first row is the head."""
    for line in table(rows):
        show(line)


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows as lines with their columns under each other."""
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    return ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def plain_path(path: str) -> str:
    """Return a path without detours such as ``..``, if it leads to the same place all the same."""
    plain = os.path.normpath(path)
    try:
        return plain if os.path.realpath(plain) == os.path.realpath(path) else path
    except (OSError, ValueError):
        return path


def plain_cache(value: Any) -> Any:
    """Return the setting of a cache with paths that have no detours."""
    if isinstance(value, (list, tuple)):
        return [plain_cache(each) for each in value]
    if isinstance(value, DiskCache):
        return attrs.evolve(value, path=plain_path(value.path))
    return plain_path(value) if isinstance(value, str) and value and "://" not in value else value


def redacted(value: Any, key: str = "") -> Any:
    """Return a value without what looks like a secret: by its key, or inside a text."""
    if isinstance(value, Mapping):
        return {name: redacted(each, str(name)) for name, each in value.items()}
    if key and _SECRET.search(key):
        return HIDDEN
    if isinstance(value, (list, tuple)):
        return [redacted(each) for each in value]
    return without_secrets(value) if isinstance(value, str) else value


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    return without_secrets(repr(value))
