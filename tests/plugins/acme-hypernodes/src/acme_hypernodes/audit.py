"""Acme's audit log: who ran what, when, and how it ended."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hypernodes import CallbackContext, PipelineCallback, RunInfo


class AuditCallback(PipelineCallback):
    """Appends one line of JSON per run to a file.

    Args:
        path: The file.
    """

    def __init__(self, path: str) -> None:
        self.path = path

    def on_run_end(self, run: RunInfo, result: Any, duration: float, ctx: CallbackContext) -> None:  # noqa: ARG002 - given to all
        """Write the line."""
        entry = {
            "run": run.run_id,
            "pipeline": run.pipeline,
            "kind": run.kind,
            "engine": run.engine,
            "items": run.total_items,
            "seconds": round(duration, 6),
            "outcome": type(result).__name__ if isinstance(result, BaseException) else "ok",
        }
        with Path(self.path).open("a", encoding="utf-8") as log:
            log.write(json.dumps(entry) + "\n")
