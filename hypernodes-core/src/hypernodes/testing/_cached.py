"""What a store must bear with: pipelines that keep their results in it, while it loses blobs between two calls."""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterable
from typing import Any

import pytest

from hypernodes.cache import StoreCache, opened
from hypernodes.cache.store import CacheStore
from hypernodes.errors import CacheWarning
from hypernodes.node import node
from hypernodes.pipeline import Pipeline

_ITEMS = list(range(600))


@node(output_name="doubled")
def _double(x: int) -> int:
    return 2 * x


@node(output_name="row")
def _row(doubled: int, x: int) -> list[Any]:
    return [doubled, f"item {x}"]


@node(output_name="large")
def _large(x: int) -> bytes:
    return bytes([x % 256]) * 300_000


class Evicting:
    """A store that loses a blob now and then: after it was written, after it was listed, before it is read.

    Args:
        store: Keeps what is not lost.
        seed: Decides what is.
        share: How likely it is that a call loses something.
    """

    def __init__(self, store: CacheStore, seed: int, share: float) -> None:
        self._store = store
        self._rng = random.Random(seed)  # noqa: S311 - the same each time
        self._share = share

    def put(self, name: str, data: bytes) -> None:
        """Write a blob, and perhaps lose it."""
        self._store.put(name, data)
        self._lose(name)

    def get(self, name: str, start: int = 0, end: int | None = None) -> bytes:
        """Return a blob or a range of it, if it is not just being lost."""
        self._lose(name)
        return self._store.get(name, start, end)

    def list(self, prefix: str = "") -> Iterable[str]:
        """Return names, one of which is perhaps lost already."""
        names = list(self._store.list(prefix))
        if names:
            self._lose(self._rng.choice(names))
        return names

    def delete(self, names: Iterable[str]) -> None:
        """Forget blobs."""
        self._store.delete(names)

    def _lose(self, name: str) -> None:
        if self._rng.random() < self._share:
            self._store.delete([name])


class CachedTests:
    """Pipelines over a store; part of ``CacheStoreSuite``."""

    def test_results_are_found_again(self, store: CacheStore) -> None:
        """What one opened cache keeps, the next finds."""
        expected = _expected([_double, _row], _ITEMS)
        assert _run(store, [_double, _row], _ITEMS) == (expected, 2 * len(_ITEMS))
        assert _run(store, [_double, _row], _ITEMS) == (expected, 0)
        backwards = _ITEMS[::-1]
        assert _run(store, [_double, _row], backwards) == (_expected([_double, _row], backwards), 0)
        large = _ITEMS[:3]
        assert _run(store, [_large], large)[1] == len(large)
        assert _run(store, [_large], large) == (_expected([_large], large), 0)

    def test_room_is_made(self, store: CacheStore) -> None:
        """Collections forget what they are told to, and nothing else."""
        for start in range(0, 300, 100):
            _run(store, [_double], _ITEMS[start : start + 100])
        cache = StoreCache(store)
        assert cache.gc(grace=0).merged >= 2
        assert _run(store, [_double], _ITEMS[:300]) == (_expected([_double], _ITEMS[:300]), 0)
        opened._BY_SETTING.pop(StoreCache(store).key(), None)  # noqa: SLF001 - as another process
        assert StoreCache(store).clear() == 300
        assert _run(store, [_double], _ITEMS[:100])[1] == 100

    @pytest.mark.parametrize("seed", range(3))
    def test_blobs_that_are_lost_between_two_calls(self, store: CacheStore, seed: int) -> None:
        """Whatever the store loses, and whenever, results are right and nothing is raised."""
        evicting = Evicting(store, seed, 0.2)
        rng = random.Random(seed)  # noqa: S311 - as above
        for turn in range(8):
            start = rng.randrange(200)
            items = _ITEMS[start : start + 200]
            nodes = [_double, _row, *([_large] if turn % 4 == 0 else [])]
            items = items[:20] if turn % 4 == 0 else items
            assert _run(evicting, nodes, items)[0] == _expected(nodes, items)
            if turn % 3 == 2:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", CacheWarning)
                    StoreCache(evicting).gc(grace=0)


def _run(store: CacheStore, nodes: list[Any], items: list[int]) -> tuple[list[dict[str, Any]], int]:
    """Run a map with a cache that is opened anew; return its rows, and how many calls were made."""
    setting = StoreCache(store, "the store under test")
    opened._BY_SETTING.pop(setting.key(), None)  # noqa: SLF001 - as another process
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CacheWarning)
        result = Pipeline(nodes, cache=setting, name="suite").map({"x": items}, map_over="x")
    return list(result), result.stats.ran


def _expected(nodes: list[Any], items: list[int]) -> list[dict[str, Any]]:
    return list(Pipeline(nodes, name="suite", cache=None).map({"x": items}, map_over="x"))
