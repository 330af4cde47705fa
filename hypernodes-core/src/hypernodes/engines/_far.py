"""What a run shares, seen from a worker process: limits, claims, events and caches that stay with the driver, over a link."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from hypernodes._limits import Claims, Limits
from hypernodes.cache.entry import Entry, Spot
from hypernodes.cache.opened import Cache
from hypernodes.events import Recorder

if TYPE_CHECKING:
    from hypernodes.engines._link import Line, Link
    from hypernodes.engines.runner import Execution


class FarLimits(Limits):
    """Limits that the driver counts.

    Args:
        link: The way there.
        run: The run.
        counted: Names of the resources that are counted.
    """

    def __init__(self, link: Link, run: str, counted: Sequence[str]) -> None:
        super().__init__(dict.fromkeys(counted, 0.0) if counted else None)
        self._link = link
        self._run = run

    def moment(self, node: str, rate: float) -> float:
        """Take the next free moment for a call and return the seconds until it comes."""
        found: float | None = self._link.call(self._run, "moment", node, rate)
        return found or 0.0

    def take(self, node: str, most: int | None, needs: Mapping[str, float], *, wait: bool = True) -> bool:
        """Count one more call of a node, once there is room for it."""
        return self._link.call(self._run, "wait_take" if wait else "take", node, most, dict(needs)) is not False

    def give(self, node: str, needs: Mapping[str, float]) -> None:
        """Take back a call that ended."""
        self._link.cast(self._run, "give", node, dict(needs))


class FarClaims(Claims):
    """Claims that the driver knows."""

    far = True

    def __init__(self, link: Link, run: str) -> None:
        super().__init__()
        self._link = link
        self._run = run

    def take(self, key: bytes, owner: object) -> bool:
        """Take a computation on; ``False`` where somebody else has."""
        return self._link.call(self._run, "claim", key, id(owner)) is not False

    def give(self, key: bytes, owner: object) -> None:
        """Let go of a computation."""
        self._link.cast(self._run, "unclaim", key, id(owner))

    def give_all(self, owner: object) -> None:
        """Let go of all that somebody had taken on."""
        self._link.cast(self._run, "unclaim_all", id(owner))

    def over(self, keys: list[bytes], timeout: float) -> list[bytes]:
        """Return those computations that nobody makes any more; wait a while for the first."""
        found: list[bytes] | None = self._link.call(self._run, "wait_over", keys, timeout)
        return keys if found is None else found


class FarStreams:
    """Sends events ahead of a block's result."""

    def __init__(self, link: Link, run: str) -> None:
        self._link = link
        self._run = run

    def begin(self, index: int, recorder: Recorder) -> None:
        """Send the events of a block on while it runs."""
        self._link.stream(self._run, index, recorder)

    def end(self, recorder: Recorder) -> None:
        """Leave the rest to its result."""
        self._link.stop_streaming(recorder)


# -- caches that stay with the driver ---------------------------------------------------------------------------------


@attrs.frozen
class FarSetting:
    """In place of the setting of a cache that other processes cannot open.

    Attributes:
        number: Its number among the caches of the run.
        salt: Part of every signature.
    """

    number: int
    salt: str = ""

    def key(self) -> tuple[Any, ...]:
        """Return what tells it from others."""
        return ("far", self.number, id(current_link()), current_run())

    def open(self) -> Cache:
        """Return the cache at work."""
        return FarCache(current_link(), current_run(), self.number)


_NOW: dict[str, Any] = {}


def working_for(link: Link, run: str) -> None:
    """Note whom this process works for."""
    _NOW.update(link=link, run=run)


def current_link() -> Any:
    """Return the link of the run that this process works for."""
    return _NOW.get("link")


def current_run() -> str:
    """Return the run that this process works for."""
    run: str = _NOW.get("run", "")
    return run


class FarCache(Cache):
    """A cache of the driver's."""

    def __init__(self, link: Link, run: str, number: int) -> None:
        super().__init__("the cache of the driver's process")
        self._link = link
        self._where = (run, "cache")
        self._number = number

    def _ask(self, method: str, *args: Any) -> Any:
        return self._link.call(*self._where, self._number, method, args)

    def _tell(self, method: str, *args: Any) -> None:
        self._link.cast(*self._where, self._number, method, args)

    def __len__(self) -> int:
        return self._ask("__len__") or 0

    def find(self, keys: Sequence[bytes]) -> list[Entry | None]:
        """Return what is known under each key, with its values."""
        return self._ask("find", list(keys)) or [None] * len(keys)

    def payload(self, entry: Entry, part: int) -> tuple[Any, bool] | None:
        """Return the bytes of one output."""
        spot: Any = entry.location
        return None if spot is None or spot.payloads is None or spot.payloads[part] is None else (spot.payloads[part], True)

    def of_node(self, pipeline: str, node: str) -> list[Entry]:
        """Return what was kept of a node."""
        return []

    def nodes(self) -> dict[tuple[str, str], int]:
        """Return how many results there are of each pipeline and node."""
        return {}

    def fate(self, key: bytes) -> str | None:
        """Return what became of a key that was here once."""
        return None

    def manifest(self, name: bytes) -> Mapping[str, str] | None:
        """Return the parts of some code."""
        return None

    def keep(self, entry: Entry) -> None:
        """Keep a result."""
        self._tell("keep", entry)

    def _keep_manifest(self, name: bytes, manifest: Mapping[str, str]) -> None:
        pass  # the driver has

    def alias(self, key: bytes, entry: Entry) -> None:
        """Let an entry answer to one more key."""
        self._tell("alias_key", key, entry.keys[0])

    def mark(self, key: bytes) -> None:
        """Note that the node behind a key gives different results for equal arguments."""
        self._tell("mark", key)

    def invalidate(self, node: str | None = None, pipeline: str | None = None) -> int:
        """Forget nothing: that is not a worker's business."""
        return 0


def _ask_cache(cache: Cache, method: str, args: tuple[Any, ...]) -> Any:
    """Do in the driver what a worker asks of a cache."""
    if method == "find":
        return [None if entry is None else _with_values(cache, entry) for entry in cache.find(*args)]
    if method == "alias_key":
        key, first = args
        (entry,) = cache.find((first,))
        return None if entry is None else cache.alias(key, entry)
    return getattr(cache, method)(*args)


def _with_values(cache: Cache, entry: Entry) -> Entry:
    payloads = [cache.payload(entry, part) for part in range(len(entry.parts))]
    return attrs.evolve(entry, location=Spot([None if each is None else bytes(each[0]) for each in payloads]))  # type: ignore[misc]


# -- the driver's side ------------------------------------------------------------------------------------------------


def handlers(execution: Execution) -> dict[str, Callable[..., Any]]:
    """Return what answers the workers of a run."""
    limits, claims, streams = execution.shared.limits, execution.shared.claims, execution.streams
    held: dict[Line, list[tuple[str, dict[str, float]]]] = {}
    owners: dict[Line, set[tuple[int, int]]] = {}
    caches = [] if execution.lookup is None else far_settings(execution.lookup)

    def take(line: Line, node: str, most: int | None, needs: dict[str, float], *, wait: bool) -> bool:
        taken = limits.take(node, most, needs, wait=wait)
        if taken:
            held.setdefault(line, []).append((node, needs))
            if line.ended.is_set():  # it died while it waited
                gone(line)
        return taken  # type: ignore[no-any-return]

    def give(line: Line, node: str, needs: dict[str, float]) -> None:
        if (node, needs) in held.get(line, ()):
            held[line].remove((node, needs))
            limits.give(node, needs)

    def claim(line: Line, key: bytes, owner: int) -> bool:
        owners.setdefault(line, set()).add((id(line), owner))
        taken: bool = claims.take(key, (id(line), owner))
        return taken

    def gone(line: Line) -> None:
        for node, needs in held.pop(line, ()):
            limits.give(node, needs)
        for owner in owners.pop(line, ()):
            claims.give_all(owner)

    def told(_: Line, index: int, data: bytes) -> None:
        if streams is not None:
            streams.arrive(index, pickle.loads(data))  # noqa: S301 - from a worker of this run

    def ask(_: Line, number: int, method: str, args: tuple[Any, ...]) -> Any:
        from hypernodes.cache.opened import open_cache

        return _ask_cache(open_cache(caches[number]), method, args)

    return {
        "program": lambda _: None if execution.common is None else execution.common.packed(),
        "moment": lambda _, node, rate: limits.moment(node, rate),
        "take": lambda *asked: take(*asked, wait=False),
        "wait_take": lambda *asked: take(*asked, wait=True),
        "give": give,
        "claim": claim,
        "unclaim": lambda line, key, owner: claims.give(key, (id(line), owner)),
        "unclaim_all": lambda line, owner: claims.give_all((id(line), owner)),
        "wait_over": lambda _, keys, timeout: claims.over(keys, timeout),
        "gone": gone,
        "events": told,
        "cache": ask,
    }


def travels(setting: Any) -> bool:
    """Whether other processes of this machine can open the cache of a setting."""
    return bool(getattr(setting, "travels", True))


def far_settings(lookup: Any) -> list[Any]:
    """Return the settings of a run's caches that other processes cannot open, each once."""
    found: list[Any] = []
    waiting = [lookup]
    while waiting:
        each = waiting.pop()
        for recipe in each.recipes:
            if recipe is not None and not travels(recipe.setting) and not any(recipe.setting is known for known in found):
                found.append(recipe.setting)
        waiting += each.inner.values()
    return found


def as_references(lookup: Any) -> Any:
    """Return the recipes of a run as they travel to workers that can ask the driver."""
    return far_recipes(lookup.travelling(), far_settings(lookup))


def far_recipes(recipes: Any, settings: list[Any]) -> Any:
    """Return recipes as they travel to other processes: with a reference where a cache stays here."""
    own, inner = recipes

    def away(recipe: Any) -> Any:
        if recipe is None or travels(recipe.setting):
            return recipe
        number = next(number for number, known in enumerate(settings) if known is recipe.setting)
        return attrs.evolve(recipe, setting=FarSetting(number, getattr(recipe.setting, "salt", "") or ""))

    return [away(recipe) for recipe in own], {k: far_recipes(below, settings) for k, below in inner.items()}
