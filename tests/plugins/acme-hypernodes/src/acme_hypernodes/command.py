"""``hypernodes acme-audit FILE``: read the audit log."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path


def command(argv: list[str]) -> int:
    """Print an audit log, one run a line.

    Args:
        argv: What stands after ``acme-audit``.

    Returns:
        0, or 1 if the file cannot be read.
    """
    parser = argparse.ArgumentParser(prog="hypernodes acme-audit", description="Print Acme's audit log.")
    parser.add_argument("file", metavar="FILE", help="what ACME_AUDIT named while the pipelines ran")
    parser.add_argument("--failed", action="store_true", help="only runs that failed")
    options = parser.parse_args(argv)
    try:
        lines = Path(options.file).read_text(encoding="utf-8").splitlines()
    except OSError as error:
        print(f"acme-audit: {error}", file=sys.stderr)  # noqa: T201 - this is a command line
        return 1
    for entry in map(json.loads, lines):
        if not options.failed or entry["outcome"] != "ok":
            items = "" if entry["items"] is None else f" of {entry['items']} items"
            print(f"{entry['pipeline']}: {entry['kind']}{items} on {entry['engine']}: {entry['outcome']}")  # noqa: T201
    return 0
