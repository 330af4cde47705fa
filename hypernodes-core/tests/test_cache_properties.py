"""The axiom: whatever happens between runs, a cached run gives what an uncached run gives."""

from __future__ import annotations

import asyncio
import warnings
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

import pytest
from hypernodes import DiskCache, Engine, MemoryCache, _pieces
from hypernodes._drive import adrive, drive, drive_pool
from hypernodes.cache import opened
from hypernodes.cache.opened import open_cache
from hypernodes.errors import CacheWarning
from hypernodes.testing._events import Listener, problems
from hypothesis import given, settings
from hypothesis import strategies as st
from random_graphs import (
    EXAMPLES,
    MISSING,
    Broken,
    Driven,
    Fn,
    Graph,
    Interpreter,
    Maker,
    Notes,
    build,
    graphs,
    inputs_of,
    many,
    mapped_call,
    same,
    some_outputs,
)

pytestmark = pytest.mark.filterwarnings("ignore::hypernodes.errors.CacheWarning")


@pytest.fixture(scope="module")
def drivers() -> Any:
    """All ways of running a block in this process."""
    with ThreadPoolExecutor(3) as pool:
        yield [
            Driven("straight", drive),
            Driven("machine", drive),
            Driven("pool", lambda block: drive_pool(block, pool, 3)),
            Driven("coroutines", lambda block: asyncio.run(adrive(block, 3))),
        ]


def functions(spec: Graph) -> list[Fn]:
    return [fn for entry in spec.nodes for fn in ([entry] if isinstance(entry, Fn) else functions(entry.spec))]


class Store:
    """A cache that tests may harm; opened anew, it knows what its store holds."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self.setting: Any = MemoryCache() if folder is None else DiskCache(folder)
        self.cache = open_cache(self.setting)

    def restart(self) -> None:
        """Go on as another process would."""
        self.cache.flush()
        opened._BY_SETTING.pop(self.setting.key())  # noqa: SLF001 - as if nobody had opened it yet
        self.cache = open_cache(self.setting)

    def harm(self, rng: Random) -> None:
        """Delete, cut or change a file."""
        assert self.folder is not None
        files = sorted(path for path in self.folder.rglob("*") if path.is_file() and not path.name.startswith((".", "CACHEDIR")))
        if not files:
            return
        path = rng.choice(files)
        what, data = rng.randrange(3), bytearray(path.read_bytes())
        if what == 0:
            path.unlink()
        elif what == 1:
            path.write_bytes(data[: rng.randrange(len(data) + 1)])
        elif data:
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            path.write_bytes(data)


def disturb(rng: Random, spec: Graph, store: Store, *, faults: bool) -> None:
    """Edit a node, lose entries, or lose values only (which nobody knows before they are read)."""
    what = rng.choice(["nothing", "edit", "edit", "forget", *(["unreadable", "all unreadable"] if faults else [])])
    cache = store.cache
    if store.folder is not None:
        what = rng.choice(["nothing", "edit", "edit", "restart", *(["harm", "harm and restart"] if faults else [])])
        if what.startswith("harm"):
            cache.flush()
            store.harm(rng)
        if what.endswith("restart"):
            store.restart()
    known = cache._index.values() if store.folder is None else ()  # noqa: SLF001 - a fault
    entries = list({id(entry.location): entry for entry in known}.values())
    if what == "edit":
        rng.choice(functions(spec)).twist += rng.choice([1, 5])
    elif what == "forget" and entries:
        for entry in rng.sample(entries, rng.randint(1, len(entries))):
            cache._forget(entry, "evicted")  # noqa: SLF001 - a fault
    elif what != "nothing" and entries:
        for entry in entries if what.startswith("all") else rng.sample(entries, rng.randint(1, len(entries))):
            entry.location.payloads = None


def check(engine: Engine, spec: Graph, maker: Maker, listens: bool, mapped: bool, steps: int, folder: Path | None = None) -> None:
    store = Store(folder)
    others = [engine, Driven("other", drive)]
    calls: list[tuple[Any, ...]] = []
    faults = maker.chance(50)
    for _ in range(steps):
        if calls and maker.chance(60):
            inputs, over, mode, items, wanted = maker.rng.choice(calls)
            if maker.chance(30):
                wanted = some_outputs(maker, spec)
        else:
            inputs, over, mode, items = mapped_call(maker, spec) if mapped else (inputs_of(maker, spec), [], "zip", [{}])
            wanted = some_outputs(maker, spec)
            items = items if mapped else [inputs]
            calls.append((inputs, over, mode, items, wanted))
        notes = Notes()
        expected = [
            Interpreter(spec, lambda name, one=one: one.get(name, MISSING), notes, items=(k,) if mapped else ()).all(wanted)
            for k, one in enumerate(items)
        ]
        log: list[Any] = []
        listener = Listener() if listens else None
        pipeline = build(spec, engine, others[1], log, callbacks=[listener] if listener else [], cache=store.setting)
        stumbles = any(isinstance(value, Broken) for row in expected for value in row.values()) or notes.stops
        plan = pipeline.plan(inputs, map_over=over or None, map_mode=mode, output_name=wanted) if not stumbles else None
        assert not log  # nothing runs to make a plan
        if mapped:
            result = pipeline.map(inputs, map_over=over, map_mode=mode, output_name=wanted, on_error="return")
            assert same([list(row.values()) for row in result], [list(row.values()) for row in expected])
        else:
            if any(isinstance(value, Broken) for value in expected[0].values()):
                with pytest.raises(ValueError):
                    pipeline.run(inputs, wanted)
                continue
            result = pipeline.run(inputs, wanted)
            assert same(list(result.values()), list(expected[0].values()))
        if not notes.stops:
            assert not Counter(log) - Counter(notes.calls)  # nothing runs that would not run without a cache
        if plan is not None and not faults and result.ok and engine.name == "machine":  # others may make one call twice at once
            for name, entry in result.stats.items():
                planned = plan[name]
                assert planned.to_run <= entry.ran, (name, planned, entry)
                if not planned.unknown:
                    assert planned.to_run == entry.ran, (name, planned, entry)
                elif "/" not in name:
                    assert planned.to_run + planned.unknown >= entry.ran, (name, planned, entry)
        if listener is not None:
            assert problems(listener.events) == []
        disturb(Random(maker.rng.getrandbits(32)), spec, store, faults=faults)  # what it draws depends on what threads kept


@pytest.mark.parametrize("number", range(4))
@settings(EXAMPLES, max_examples=many(30))
@given(graphs(failing=False), st.booleans())
def test_runs(drivers: list[Engine], number: int, graph: tuple[Graph, Maker], listens: bool) -> None:
    check(drivers[number], *graph, listens, False, 5)


@pytest.mark.parametrize("number", range(4))
@settings(EXAMPLES, max_examples=many(30))
@given(graphs(failing=True), st.booleans())
def test_maps(drivers: list[Engine], number: int, graph: tuple[Graph, Maker], listens: bool) -> None:
    check(drivers[number], *graph, listens, True, 5)


@pytest.mark.parametrize("mapped", [False, True])
@settings(EXAMPLES, max_examples=many(20))
@given(graphs(failing=False), st.booleans())
def test_on_disk(drivers: list[Engine], mapped: bool, graph: tuple[Graph, Maker], listens: bool) -> None:
    """Processes end, files are lost, cut and changed: what comes out is what comes out without a cache."""
    pieces = mock.patch.multiple(_pieces, WORTHWHILE=1), mock.patch.object(_pieces.Pieces, "length", 2)  # so that small maps have some
    with TemporaryDirectory() as folder, warnings.catch_warnings(), pieces[0], pieces[1]:
        warnings.simplefilter("ignore", CacheWarning)
        check(drivers[1], *graph, listens, mapped, 7, Path(folder))
