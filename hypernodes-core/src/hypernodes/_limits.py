"""Limits that hold over a whole run: how often a node may be called, how many calls run at once, what they share."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from time import perf_counter
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from hypernodes._job import Site


class Limits:
    """Spreads calls of rate-limited nodes evenly over time, and lets only so many run at once as may.

    Args:
        resources: What there is of named resources; ``None`` when nobody counts them.
    """

    def __init__(self, resources: Mapping[str, float] | None = None) -> None:
        self._next: dict[str, float] = {}
        self._running: dict[str, int] = {}
        self._free = dict(resources) if resources is not None else None
        self._changed = threading.Condition()

    def needs(self, site: Site) -> Mapping[str, float]:
        """Return what a call of a node takes of the resources that are counted."""
        free = self._free
        return {} if free is None else {name: amount for name, amount in site.resources.items() if name in free}

    def gate(self, site: Site) -> Gate | None:
        """Return what a call holds while it runs; ``None`` for a node without limits."""
        needs = self.needs(site) if site.resources else {}
        return None if site.limit is None and not needs else Gate(self, site.id, site.limit, needs)

    def delay(self, site: Site) -> float:
        """Take the next free moment for a call and return the seconds until it comes."""
        return 0.0 if site.rate is None else self.moment(site.id, site.rate)

    def moment(self, node: str, rate: float) -> float:
        """Do the same by name."""
        with self._changed:
            now = perf_counter()
            moment = max(now, self._next.get(node, now))
            self._next[node] = moment + 1.0 / rate
        return moment - now

    def take(self, node: str, most: int | None, needs: Mapping[str, float], *, wait: bool = True) -> bool:
        """Count one more call of a node, once there is room for it.

        Args:
            node: Its id.
            most: How many calls of it may run at once.
            needs: What the call takes of each resource.
            wait: Whether to wait for room.

        Returns:
            Whether there was room.
        """
        with self._changed:
            while not self._room(node, most, needs):
                if not wait:
                    return False
                self._changed.wait()
            self._running[node] = self._running.get(node, 0) + 1
            for name, amount in needs.items():
                self._free[name] -= amount  # type: ignore[index]
            return True

    def _room(self, node: str, most: int | None, needs: Mapping[str, float]) -> bool:
        free: Mapping[str, float] = self._free or {}
        return (most is None or self._running.get(node, 0) < most) and all(free[name] >= amount for name, amount in needs.items())

    def give(self, node: str, needs: Mapping[str, float]) -> None:
        """Take back a call that ended."""
        with self._changed:
            self._running[node] -= 1
            for name, amount in needs.items():
                self._free[name] += amount  # type: ignore[index]
            self._changed.notify_all()


class Gate:
    """What one call holds while it runs.

    Args:
        limits: Who counts: ``Limits``, or what asks them from another process.
        node: The node's id.
        most: How many calls of it may run at once.
        needs: What the call takes of each resource.
    """

    def __init__(self, limits: Any, node: str, most: int | None, needs: Mapping[str, float]) -> None:
        self._limits = limits
        self._asked = (node, most, needs)

    def acquire(self, *, blocking: bool = True) -> bool:
        """Wait for room, or say that there is none."""
        taken: bool = self._limits.take(*self._asked, wait=blocking)
        return taken

    def release(self) -> None:
        """Make room."""
        self._limits.give(self._asked[0], self._asked[2])

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *error: object) -> None:
        self.release()


class Claims:
    """Who makes which computation of a run, so that blocks which need the same do not both make it.

    Attributes:
        far: Whether those who hold a claim may be in another process, where results must be looked for anew.
    """

    far = False

    def __init__(self) -> None:
        self._held: dict[bytes, object] = {}
        self._changed = threading.Condition()

    def take(self, key: bytes, owner: object) -> bool:
        """Take a computation on; ``False`` where somebody else has."""
        with self._changed:
            return self._held.setdefault(key, owner) == owner

    def give(self, key: bytes, owner: object) -> None:
        """Let go of a computation: its result can be looked up, or there is none."""
        with self._changed:
            if self._held.get(key) == owner:
                del self._held[key]
                self._changed.notify_all()

    def give_all(self, owner: object) -> None:
        """Let go of all that somebody had taken on."""
        with self._changed:
            for key in [key for key, holder in self._held.items() if holder == owner]:
                del self._held[key]
            self._changed.notify_all()

    def over(self, keys: list[bytes], timeout: float) -> list[bytes]:
        """Return those computations that nobody makes any more; wait a while for the first."""
        with self._changed:
            if all(key in self._held for key in keys):
                self._changed.wait(timeout)
            return [key for key in keys if key not in self._held]


@attrs.define(eq=False)
class Shared:
    """What the blocks of a run share in a process.

    Attributes:
        limits: Limits on calls.
        claims: Who makes which computation.
        stopped: Whether no more calls shall be made.
    """

    limits: Any = attrs.field(factory=Limits)
    claims: Any = attrs.field(factory=Claims)
    stopped: bool = False
    _within: list[Shared] = attrs.field(factory=list, init=False)

    def inner(self) -> Shared:
        """Return the same for a run within this one, which may stop by itself."""
        below = Shared(self.limits, self.claims, self.stopped)
        self._within.append(below)
        return below

    def stop(self) -> None:
        """Let no more calls be made, in runs within this one neither."""
        self.stopped = True
        for below in self._within:
            below.stop()
