"""Kinds of events, and how they are kept when they cannot be told at once.

An event is told by one call ``tell(kind, key, place, item, outer, time, attempt, first, second, who)``:

- ``key``: the inner steps that lead from the called pipeline's program to the one it happened in;
- ``place``: the step in that program, or ``~scope`` for an inlined pipeline (``~0`` for the program itself);
- ``item``: the index in the innermost map, or ``None``; ``outer``: the indices of the maps around that one;
- ``time``: seconds since the epoch; ``attempt``: 1 unless a retry;
- ``first`` and ``second``: what the kind carries (see each constant);
- ``who``: the signature of the computation and the identity of its value, where a cache knows them.
"""

from __future__ import annotations

import os
import threading
import time as _time
from collections.abc import Iterator
from typing import Any, Protocol, TypeAlias

PIPELINE_START = 1 << 0  # inputs
PIPELINE_END = 1 << 1  # outputs, seconds
NESTED_START = 1 << 2
NESTED_END = 1 << 3  # seconds
NODE_START = 1 << 4  # inputs
NODE_END = 1 << 5  # outputs, seconds
CACHE_HIT = 1 << 6  # signature
CACHE_MISS = 1 << 7  # signature
ERROR = 1 << 8  # what is known of the failure (it travels where its exception would not)
MAP_START = 1 << 9  # number of items
MAP_END = 1 << 10  # seconds
ITEM_START = 1 << 11
ITEM_END = 1 << 12  # seconds
ITEM_CACHED = 1 << 13
VALUES = 1 << 14  # not an event: some listener wants real values across processes

EPOCH = _time.time() - _time.perf_counter()  # perf_counter() + EPOCH is wall-clock time in this process


Who: TypeAlias = "tuple[str | None, str | None] | None"


class Tell(Protocol):
    """Whoever takes events."""

    def __call__(
        self,
        kind: int,
        key: tuple[int, ...],
        place: int,
        item: int | None,
        outer: tuple[int, ...],
        time: float,
        attempt: int = 1,
        first: Any = None,
        second: Any = None,
        who: Who = None,
    ) -> None:
        """Take one event; see the module for the arguments."""
        ...


class Recorder:
    """Keeps events of a block, to be told later by the driver; pickles as columns.

    Attributes:
        worker: Process id and thread name of where they happened.
        sent: How many were sent ahead, while the block still ran.
    """

    def __init__(self) -> None:
        self.rows: list[tuple[Any, ...]] = []
        self.sent = 0
        self.worker = f"{os.getpid()}:{threading.current_thread().name}"

    def __call__(
        self,
        kind: int,
        key: tuple[int, ...],
        place: int,
        item: int | None,
        outer: tuple[int, ...],
        time: float,
        attempt: int = 1,
        first: Any = None,
        second: Any = None,
        who: Who = None,
    ) -> None:
        """Keep one event."""
        self.rows.append((kind, key, place, item, outer, time, attempt, first, second, who))

    def replay(self, tell: Tell) -> None:
        """Tell everything, in the order in which it happened."""
        for row in self.rows:
            tell(*row)

    def ahead(self) -> Recorder | None:
        """Return what was kept so far and keep it no longer, while others may go on adding; ``None`` where that is nothing."""
        count = len(self.rows)
        if not count:
            return None
        part = Recorder()
        part.worker = self.worker
        part.rows = self.rows[:count]
        del self.rows[:count]
        self.sent += count
        return part

    def and_then(self, other: Recorder) -> Recorder:
        """Return this with the events of another one after its own."""
        self.rows = [*self.rows, *other.rows]
        self.sent += other.sent
        return self

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return iter(self.rows)

    def __reduce__(self) -> tuple[Any, ...]:
        return (_recorded, (self.worker, tuple(zip(*self.rows, strict=True)), self.sent))


def _recorded(worker: str, columns: tuple[tuple[Any, ...], ...], sent: int) -> Recorder:
    recorder = Recorder()
    recorder.worker, recorder.sent = worker, sent
    recorder.rows = list(zip(*columns, strict=True))
    return recorder
