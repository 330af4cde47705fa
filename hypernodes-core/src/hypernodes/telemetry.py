"""Callbacks that show what happens, by the names other projects know.

``ProgressCallback`` and ``TelemetryCallback`` live in packages of their own; they are found here once installed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypernodes import plugins

if TYPE_CHECKING:
    from hypernodes.callbacks import LoggingCallback as LoggingCallback  # noqa: PLC0414 - offered to type checkers


def __getattr__(name: str) -> object:
    if name == "LoggingCallback":
        from hypernodes.callbacks import LoggingCallback

        return LoggingCallback
    return plugins.attribute(__name__, name)
