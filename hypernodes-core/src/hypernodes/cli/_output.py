"""What commands print: tables for people, JSON for programs, secrets for nobody."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from hypernodes.cache._secrets import HIDDEN
from hypernodes.cache._secrets import redacted as without_secrets

_SECRET: Final = re.compile(r"secret|token|passw|credential|api_?key|private", re.IGNORECASE)


def show(text: str = "") -> None:
    """Print a line."""
    print(text)


def show_json(value: object) -> None:
    """Print a value as JSON; what JSON does not know is shown by its ``repr``."""
    show(json.dumps(value, indent=2, default=_plain))


def show_table(rows: Sequence[Sequence[str]]) -> None:
    """Print rows with their columns under each other; the first row is the head."""
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    for row in rows:
        show("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())


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
