"""``hypernodes plugins [--json]``: what is installed, switched off or broken."""

from __future__ import annotations

import argparse
import warnings

from hypernodes import plugins
from hypernodes.cli._output import show, show_json, show_table
from hypernodes.errors import PluginWarning
from hypernodes.plugins.registry import KINDS


def command(argv: list[str]) -> int:
    """List plugins and the names they registered; works whatever is broken.

    Args:
        argv: What stands after ``plugins``.
    """
    parser = argparse.ArgumentParser(prog="hypernodes plugins", description="List what is installed, switched off or broken.")
    parser.add_argument("--json", action="store_true", help="print JSON")
    as_json: bool = parser.parse_args(argv).json

    manager = plugins.current()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PluginWarning)  # the rows below say it all
        manager.discover()
    rows, registry = manager.plugins, manager.registry
    conflicts = list(registry.conflicts())
    if as_json:
        names: dict[str, list[dict[str, object]]] = {
            kind: [
                {"name": entry.name, "target": entry.target if isinstance(entry.target, str) else repr(entry.target), "owner": entry.owner}
                for entry in registry.entries(kind)
            ]
            for kind in KINDS
        }
        listing = [
            {
                "name": row.name,
                "distribution": row.distribution,
                "version": row.version,
                "status": row.status,
                "error": row.error,
                "registered": {kind: list(found) for kind, found in row.registered.items()},
                "hooks": list(row.hooks),
            }
            for row in rows
        ]
        show_json({"plugins": listing, "conflicts": conflicts, "names": names})
        return 0
    if not rows:
        show("no plugins are installed")
    else:
        table = [("PLUGIN", "DISTRIBUTION", "STATUS", "BRINGS")]
        for row in rows:
            brings = [f"{kind.replace('_', ' ')} {', '.join(found)}" for kind, found in row.registered.items()]
            brings += [hook for hook in row.hooks if not hook.startswith("hypernodes_register_")]
            table.append((row.name, f"{row.distribution or '-'} {row.version or ''}".strip(), row.status, "; ".join(brings)))
        show_table(table)
    for row in rows:
        if row.error:
            show(f"\n{row.owner} is broken: {row.error}")
    for conflict in conflicts:
        show(f"\n{conflict}")
    return 0
