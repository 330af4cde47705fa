"""What runs now, and waiting until it does not."""

from __future__ import annotations

import contextlib
import multiprocessing
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PATIENCE_S = 5.0  # for what must be over, but may take a moment to notice it


def running() -> set[Any]:
    """Return the threads and child processes there are, those that other libraries start included where the system lists them."""
    children = {process.pid for process in multiprocessing.active_children()}
    for listed in Path("/proc/self/task").glob("*/children"):
        with contextlib.suppress(OSError):  # a thread that is gone by now
            children.update(map(int, listed.read_text("ascii").split()))
    return {*threading.enumerate(), *children}


def abandoned() -> list[str]:
    """Return the helper threads of timed-out calls that still run."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("hypernodes-call-")]


def until(over: Callable[[], bool], what: Callable[[], object]) -> None:
    """Wait for something to be over; fail with what is left."""
    end = time.perf_counter() + PATIENCE_S
    while not over():
        assert time.perf_counter() < end, f"still running after {PATIENCE_S:g} s: {what()}"
        time.sleep(0.02)
