"""Power cuts, kills and errors at every operation of a model disk: no wrong value, and nothing durable is lost."""

from __future__ import annotations

import errno
import os
import warnings
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
from hypernodes import Pipeline, node
from hypernodes.cache import StoreCache, _catalog, _outbox, opened
from hypernodes.cache.store import LocalStore
from hypernodes.errors import CacheWarning
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from model_disk import Crashed, ModelDisk

ALL = os.environ.get("HYPERNODES_CRASHES") == "all"
GROUP = 3  # results of a group


@node(output_name="a")
def first(x: int) -> int:
    return x + 1


@node(output_name="b")
def second(a: int) -> list[int]:
    return [a, a * 2]


@node(output_name="big")
def big(x: int) -> bytes:
    return bytes([x]) * 300


NODES = [first, second, big]


@pytest.fixture(autouse=True)
def small_groups(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(_outbox, "GROUP_ENTRIES", GROUP)
    monkeypatch.setattr(_outbox, "APART", 200)
    monkeypatch.setattr(_outbox.Ticker, "_run", lambda self: None)  # operations come in the same order each time
    monkeypatch.setattr(_catalog, "is_left_over", lambda holder_id: True)  # every other process is dead
    yield
    opened._BY_SETTING.clear()  # noqa: SLF001 - caches of models


def on(disk: ModelDisk) -> StoreCache:
    """A cache on a disk, as a new process opens it."""
    opened._BY_SETTING.clear()  # noqa: SLF001 - as above
    return StoreCache(LocalStore("/cache", disk=disk), "the model")  # type: ignore[arg-type]


def expected(xs: list[int]) -> list[dict[str, Any]]:
    return [{"a": x + 1, "b": [x + 1, (x + 1) * 2], "big": bytes([x]) * 300} for x in xs]


def run(cache: StoreCache, xs: list[int]) -> dict[str, int]:
    """Run a map, check it, and return how often each node ran."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CacheWarning)
        result = Pipeline(NODES, cache=cache, name="p").map({"x": xs}, map_over="x")
    assert list(result) == expected(xs)
    return {name: stats.ran for name, stats in result.stats.items()}


class Story:
    """What a process does with a cache, and what of it is durable."""

    def __init__(self, disk: ModelDisk) -> None:
        self.cache = on(disk)
        self.durable: set[int] = set()  # items whose results a run has made durable
        self.tried: set[int] = set()
        self.forgot = False

    def go(self, *steps: Any) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CacheWarning)
            for step in steps:
                if step == "forget":
                    self.forgot = True
                    self.cache.invalidate("second")
                elif step == "gc":
                    self.cache.gc()
                elif step == "gc at once":
                    self.cache.gc(grace=0)
                else:
                    self.tried.update(step)
                    run(self.cache, step)
                    self.durable.update(step)


SHORT = ([0, 1, 2, 3], [2, 3, 4, 5], "gc", [1, 6], "forget", [0, 1, 2], "gc at once", [7], "gc", "gc at once", [0, 7])


def check(disk: ModelDisk, story: Story, lost: int = 0) -> None:
    """Go on where a process was stopped: all is right, and what was durable is there."""
    xs = sorted(story.tried | {9})
    ran = run(on(disk), xs)
    for name in ("first", "big") if story.forgot else ("first", "second", "big"):
        assert ran[name] <= len(set(xs) - story.durable) + lost, (name, ran, story.durable)
    again = on(disk)
    assert set(run(again, xs).values()) == {0}
    assert again.verify().problems == ()


def stopped_at(k: int, steps: Any = SHORT) -> tuple[ModelDisk, Story]:
    """Let a process die at an operation."""
    disk = ModelDisk()
    story = Story(disk)
    disk.crash_at = k
    with pytest.raises(Crashed):
        story.go(*steps)
    for cache in list(opened._OPEN):  # noqa: SLF001 - what is dead flushes nothing when this process ends
        if "the model" in cache.label:
            opened._OPEN.discard(cache)  # noqa: SLF001 - as above
    return disk, story


def operations_of(steps: Any = SHORT) -> int:
    disk = ModelDisk()
    Story(disk).go(*steps)
    check(disk.killed(), Story(disk))
    return disk.operations


def every(count: int, sampled: int) -> list[int]:
    """All operations, or some of them that are spread evenly and differ with the number of operations."""
    return list(range(1, count + 1)) if ALL else sorted({1 + k * count // sampled for k in range(sampled)})


def test_a_power_cut_at_any_operation() -> None:
    count = Story(disk := ModelDisk())
    count.go(*SHORT)
    for k in every(disk.operations, 60):
        crashed, story = stopped_at(k)
        for seed in range(8 if ALL else 2):
            check(crashed.after_power_cut(Random(f"{k} {seed}")), story)


def test_a_kill_at_any_operation_loses_one_group_at_most() -> None:
    Story(disk := ModelDisk()).go(*SHORT)
    for k in every(disk.operations, 60):
        crashed, story = stopped_at(k)
        unforgotten = {*story.durable}
        ran = run(on(crashed.killed()), sorted(story.tried | {9}))
        if not story.forgot:
            made = sum(ran.values()) - 3 * len((story.tried | {9}) - unforgotten)
            assert made <= 0
        check(crashed.killed(), story)


def test_a_killed_map_is_taken_up_where_it_was() -> None:
    xs = list(range(10))
    Story(disk := ModelDisk()).go(xs)
    for k in every(disk.operations, 40):
        disk = ModelDisk()
        story = Story(disk)
        kept: list[int] = []
        keep = _outbox.Outbox.keep

        def counted(self: Any, entry: Any, kept: list[int] = kept, keep: Any = keep) -> None:
            kept.append(1)
            keep(self, entry)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_outbox.Outbox, "keep", counted)
            disk.crash_at = k
            with pytest.raises(Crashed):
                story.go(xs)
        opened._OPEN.clear()  # noqa: SLF001 - as in ``stopped_at``
        ran = run(on(disk.killed()), xs)
        assert sum(ran.values()) <= 3 * len(xs) - len(kept) + GROUP


TROUBLES = [OSError(number, os.strerror(number)) for number in (errno.ENOSPC, errno.EIO, errno.EACCES, errno.EROFS, errno.ESTALE)]


@pytest.mark.parametrize("lasting", [False, True])
@pytest.mark.parametrize("trouble", [*TROUBLES, "short"], ids=str)
def test_errors_at_any_operation(trouble: Any, lasting: bool) -> None:
    Story(disk := ModelDisk()).go(*SHORT)
    for k in every(disk.operations, 15):
        disk = ModelDisk()
        story = Story(disk)
        disk.fault = lambda number, name, k=k: trouble if number >= k and (lasting or number == k) else None  # noqa: B023
        for step in SHORT:
            try:
                story.go(step)
            except OSError:
                assert isinstance(step, str)  # only who asks for something to be done to the cache is told that it cannot be
        disk.fault = lambda number, name: None
        run(on(disk.killed()), sorted(story.tried))
        run(on(disk.after_power_cut(Random(k))), sorted(story.tried))
        assert set(run(on(disk.killed()), sorted(story.tried)).values()) == {0}


STEPS = st.one_of(
    st.lists(st.integers(0, 12), min_size=1, max_size=6, unique=True),
    st.sampled_from(["gc", "gc at once", "forget", "power cut", "kill", "other", "trouble"]),
)


@settings(max_examples=2000 if ALL else 60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(STEPS, min_size=3, max_size=14), st.integers(0, 2**32))
def test_any_sequence(steps: list[Any], seed: int) -> None:
    """Runs, collections, power cuts, kills, errors and other processes in any order."""
    rng = Random(seed)
    disk = ModelDisk()
    story = Story(disk)
    for step in steps:
        durable, tried, forgot = story.durable, story.tried, story.forgot
        if step in ("power cut", "kill"):
            disk.crash_at = disk.operations + rng.randint(1, 120)
            try:
                story.go([rng.randrange(12) for _ in range(3)], rng.choice(["gc", "gc at once", [1, 2]]))
            except OSError:
                assert "trouble" in steps  # a collection that cannot be made says so
            except Crashed:
                opened._OPEN.clear()  # noqa: SLF001 - as in ``stopped_at``
            durable, tried, forgot = story.durable, story.tried, story.forgot
            if "trouble" in steps:
                durable = set()  # an error may have cost any of them
            disk = disk.after_power_cut(rng) if step == "power cut" else disk.killed()
            story = Story(disk)
            story.durable, story.tried, story.forgot = durable, tried, forgot
            check(disk, story)
            story.durable |= {*tried, 9}
            story.cache = on(disk)
        elif step == "trouble":
            start, trouble = disk.operations + rng.randint(1, 60), rng.choice(TROUBLES)
            disk.fault = lambda number, name, start=start, trouble=trouble: trouble if number == start else None
        elif step == "other":
            mine = story.cache
            story.cache = StoreCache(LocalStore("/cache", disk=disk), "the model")  # type: ignore[arg-type]
            run(story.cache, [rng.randrange(12)])
            story.cache = mine
        else:
            try:
                story.go(step)
            except OSError:
                assert isinstance(step, str)
            if disk.fault(10**9, "") is None and "trouble" in steps:
                story.durable = set()  # an error may have cost any of them
    run(on(disk.killed()), sorted(story.tried | {3}))
