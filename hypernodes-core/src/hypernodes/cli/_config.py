"""``hypernodes config show [--json]``: which settings hold, and where they come from."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from hypernodes import config
from hypernodes.cli._output import plain_cache, redacted, show, show_json, show_table


def command(argv: list[str]) -> int:
    """Show the settings that a pipeline in this directory would inherit.

    Args:
        argv: What stands after ``config``.
    """
    parser = argparse.ArgumentParser(prog="hypernodes config", description="Settings that pipelines inherit.")
    verbs = parser.add_subparsers(metavar="show", required=True)
    text = "which settings hold here, and where they come from"
    verb = verbs.add_parser("show", help=text, description=f"Show {text}.")
    verb.add_argument("--json", action="store_true", help="print JSON")
    if not argv:
        parser.print_help(sys.stderr)
        return 2
    as_json: bool = parser.parse_args(argv).json

    rows: list[dict[str, Any]] = [
        {"setting": setting, "level": level, "value": None if value is config.UNSET else _shown(setting, value), "where": where}
        for setting, level, value, where in config.sources()
    ]
    tables = redacted({key: value for key, value in config.tool_table().items() if key not in config.SETTING_NAMES})
    if as_json:
        show_json({"settings": _strongest(rows), "tables": tables})
        return 0
    table = [("SETTING", "VALUE", "LEVEL", "WHERE")]
    seen: set[str] = set()
    for row in rows:
        name = row["setting"]
        value = "(per pipeline)" if row["level"] == "plugin" else _text(row["value"])
        table.append(("" if name in seen else name, value, row["level"], row["where"]))
        seen.add(name)
    show_table(table)
    show("\nThe first line of each setting holds; the others are what it overrides.")
    for name, settings in tables.get("engines", {}).items():
        show(f"\n[engines.{name}]")
        for key, value in settings.items():
            show(f"{key} = {_text(value)}")
    return 0


def _shown(setting: str, value: Any) -> Any:
    return redacted(plain_cache(value) if setting == "cache" else value)


def _strongest(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        told = {key: value for key, value in row.items() if key != "setting"}
        if row["setting"] in found:
            found[row["setting"]]["overrides"].append(told)
        else:
            found[row["setting"]] = {**told, "overrides": []}
    return found


def _text(value: object) -> str:
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_text, value)) + "]"
    return value if isinstance(value, str) else repr(value)
