"""How much a run may be held up by a store that is slow, broken or gone."""

from __future__ import annotations

import contextlib
import contextvars
import itertools
import threading
from collections.abc import Callable, Iterator
from time import monotonic
from typing import Final, TypeVar

_T = TypeVar("_T")
_JOINED_S: Final = 0.001  # gaps this short between two delays are no gaps


class Budget:
    """Seconds of delay on the clock: two calls that hang at the same time for five seconds cost five, not ten.

    An attempt that fails is delay from its beginning. One that succeeds is delay from where its allowance ended, which
    is what such a call takes when all is well.

    Args:
        seconds: How much delay there may be.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._lock = threading.Lock()
        self._numbers = itertools.count()
        self.renew()

    def renew(self) -> None:
        """Begin anew."""
        with self._lock:
            self._spent: list[tuple[float, float]] = []  # sorted, and none touches another
            self._open: dict[int, float] = {}

    def renew_after_fork(self) -> None:
        """Begin anew in a child process, whose parent may have held the lock just then."""
        self._lock = threading.Lock()
        self.renew()

    def left(self) -> float:
        """Return how much more delay there may be. Calls that still wait count as if they were to fail."""
        now = monotonic()
        with self._lock:
            spans = self._spent
            if waiting := [(since, now) for since in self._open.values() if since < now]:
                spans = _merged([*spans, *waiting])
            return self.seconds - sum(end - start for start, end in spans)

    @contextlib.contextmanager
    def attempt(self, allowance: float) -> Iterator[_Attempt]:
        """Watch one attempt; set ``failed`` on what this yields where it does.

        Args:
            allowance: Seconds that it takes when all is well.
        """
        this = _Attempt()
        start = monotonic()
        number = next(self._numbers)
        with self._lock:
            self._open[number] = start + allowance
        try:
            yield this
        finally:
            end = monotonic()
            since = start if this.failed else start + allowance
            with self._lock:
                if self._open.pop(number, None) is not None and since < end:
                    self._spent = _merged([*self._spent, (since, end)])


class _Attempt:
    """An attempt that is under way."""

    failed = False


def _merged(spans: list[tuple[float, float]]) -> list[tuple[float, float]]:
    merged: list[tuple[float, float]] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1] + _JOINED_S:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged


def within(limit: float, work: Callable[[], _T]) -> _T | None:
    """Return what some work returns, or ``None`` if it takes too long; then it is left behind."""
    box: list[_T] = []
    context = contextvars.copy_context()
    thread = threading.Thread(target=lambda: box.append(context.run(work)), name="hypernodes-store", daemon=True)
    try:
        thread.start()
    except RuntimeError:  # at the end of the interpreter there are no new threads; the client's own timeouts must do
        return work()
    thread.join(limit)
    return box[0] if box else None
