"""``hypernodes demo [QUERY]``."""

from __future__ import annotations

import argparse


def command(argv: list[str]) -> int:
    """Run the demo.

    Args:
        argv: What stands after ``demo``.
    """
    parser = argparse.ArgumentParser(
        prog="hypernodes demo", description="Search the functions of Python's standard library, with a small pipeline."
    )
    parser.add_argument("query", nargs="*", metavar="QUERY", help='what to look for, such as "how do I parse a date"')
    query = " ".join(parser.parse_args(argv).query).strip()

    from hypernodes.demo import main

    return main(query or None)
