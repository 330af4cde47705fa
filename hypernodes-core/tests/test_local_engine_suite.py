"""``HyperNodesEngine`` passes the suite of engines with every pair of aliases, and with executors of the caller's.

Some of the pairs take part in every run of the tests, all of them with ``HYPERNODES_ENGINES=all``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from typing import Any

import pytest
from hypernodes import HyperNodesEngine
from hypernodes.executors import AsyncExecutor
from hypernodes.testing import EngineSuite
from random_graphs import FEWER

ALIASES = ("sequential", "async", "threaded", "parallel")
_KEPT: dict[tuple[str, str], HyperNodesEngine] = {}  # worker processes are slow to start


@pytest.fixture(scope="module", autouse=True)
def ended() -> Iterator[None]:
    yield
    for engine in _KEPT.values():
        engine.close()
    _KEPT.clear()


def suite(nodes: str, maps: str) -> type[EngineSuite]:
    class Suite(EngineSuite):
        def make_engine(self) -> HyperNodesEngine:
            key = (nodes, maps)
            if key not in _KEPT:
                _KEPT[key] = HyperNodesEngine(nodes, maps, max_workers=2, resources={"gpu": 1})
            return _KEPT[key]

    return Suite


PAIRS = [("async", "async"), ("threaded", "threaded"), ("sequential", "parallel"), ("parallel", "threaded")]
if FEWER > 1:
    PAIRS = PAIRS[2:3]
if os.environ.get("HYPERNODES_ENGINES") == "all":
    PAIRS = [(nodes, maps) for nodes in ALIASES for maps in ALIASES]
for _nodes, _maps in PAIRS:
    _name = f"Test{_nodes.title()}Nodes{_maps.title()}Maps"
    globals()[_name] = type(_name, (suite(_nodes, _maps),), {"__module__": __name__})


class TestThreadsOfTheCaller(EngineSuite):
    @pytest.fixture(autouse=True)
    def pool(self) -> Iterator[None]:
        with ThreadPoolExecutor(2) as self.threads:
            yield

    def make_engine(self) -> HyperNodesEngine:
        return HyperNodesEngine(self.threads, self.threads)


class TestLoopOfTheCaller(EngineSuite):
    @pytest.fixture(autouse=True)
    def loop(self) -> Iterator[None]:
        with AsyncExecutor(4) as self.executor:
            yield

    def make_engine(self) -> HyperNodesEngine:
        return HyperNodesEngine(map_executor=self.executor)


class TestProcessesOfTheCaller(EngineSuite):
    pool: Any = None

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def processes(cls) -> Iterator[None]:
        with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as cls.pool:
            yield

    def make_engine(self) -> HyperNodesEngine:
        return HyperNodesEngine(map_executor=self.pool)


if FEWER > 1:
    del TestLoopOfTheCaller, TestProcessesOfTheCaller
