"""Limits that hold over a whole run."""

from __future__ import annotations

import threading
from time import perf_counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hypernodes._job import Site


class RateLimits:
    """Spreads calls of rate-limited nodes evenly over time, and counts those of nodes that may not run often at once."""

    def __init__(self) -> None:
        self._next: dict[str, float] = {}
        self._gates: dict[str, threading.BoundedSemaphore] = {}
        self._lock = threading.Lock()

    def gate(self, site: Site) -> threading.BoundedSemaphore | None:
        """Return what a call holds while it runs; ``None`` for a node without ``max_concurrent``."""
        if site.limit is None:
            return None
        with self._lock:
            if site.id not in self._gates:
                self._gates[site.id] = threading.BoundedSemaphore(site.limit)
            return self._gates[site.id]

    def delay(self, site: Site) -> float:
        """Take the next free moment for a call and return the seconds until it comes."""
        if site.rate is None:
            return 0.0
        with self._lock:
            now = perf_counter()
            moment = max(now, self._next.get(site.id, now))
            self._next[site.id] = moment + 1.0 / site.rate
        return moment - now
