"""Run one packed task from files, for batch systems that only know commands: ``python -m hypernodes.worker TASK OUT``."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from hypernodes.engines.task import run_block
from hypernodes.errors import TaskError

USAGE = "usage: python -m hypernodes.worker TASK OUT\n\nRuns the task packed in the file TASK and writes its packed result to OUT."


def main(argv: list[str] | None = None) -> int:
    """Run a task file; returns 0, 1 for a task that cannot run here, or 2 for wrong usage.

    A node that raises is no failure of the worker: its exception travels inside the result.
    """
    arguments = sys.argv[1:] if argv is None else argv
    if arguments in (["-h"], ["--help"]):
        print(USAGE)
        return 0
    if len(arguments) != 2:  # noqa: PLR2004 - TASK and OUT
        print(USAGE, file=sys.stderr)
        return 2
    source, target = map(Path, arguments)
    try:
        data = source.read_bytes()
    except OSError as error:
        print(f"hypernodes.worker: {source}: {error.strerror}", file=sys.stderr)
        return 1
    try:
        result = run_block(data)
    except TaskError as error:
        print(f"hypernodes.worker: {source}: {error}", file=sys.stderr)
        return 1
    partial = target.with_name(f"{target.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(result)
        partial.replace(target)
    except OSError as error:
        partial.unlink(missing_ok=True)
        print(f"hypernodes.worker: {target}: {error.strerror}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
