"""What every store must do for several callers at once, and what tests of stores have in common."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest

from hypernodes.cache.store import CacheStore
from hypernodes.errors import OptionError

THREADS = 16


class RaceTests:
    """How the store under test is made, and what several callers may do to it."""

    races: int = 8

    def make_store(self) -> CacheStore:
        """Return the store under test, made anew and empty; to be written."""
        raise OptionError(f"{type(self).__name__} must define make_store(self), which returns a fresh, empty store")

    def reopen(self, store: CacheStore) -> CacheStore:
        """Return another store over the same blobs, as another process would open it; to be written, or the store itself."""
        raise OptionError(f"{type(self).__name__} must define reopen(self, store), which returns another store over the same blobs")

    @pytest.fixture
    def store(self) -> CacheStore:
        """The store under test."""
        return self.make_store()

    def test_many_threads(self, store: CacheStore) -> None:
        """One object serves 16 threads, from its first call on."""
        together = threading.Barrier(THREADS)

        def use(number: int) -> None:
            together.wait()
            for turn in range(8):
                name, data = f"segments/{number}-{turn}", data_of(100 * number + turn)
                store.put(name, data)
                same(store.get(name), data)
                same(store.get(name, 3, 50), data[3:50])
                assert name in set(store.list(f"segments/{number}-"))

        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(use, range(THREADS)))
        assert len(set(store.list())) == THREADS * 8

    def test_evicted_meanwhile(self, store: CacheStore) -> None:
        """What vanishes while others list and read is a KeyError for them, and no listing fails."""
        names = [f"segments/{number:03d}" for number in range(40)]
        for name in names:
            store.put(name, b"data")
        over = threading.Event()

        def evict() -> None:
            try:
                for some in pairwise(names):
                    store.delete(some)
                    store.put(f"objects/{some[0][9:]}", b"other")
            finally:
                over.set()

        def read() -> None:
            while not over.is_set():
                for name in store.list("segments/"):
                    try:
                        assert store.get(name) == b"data"
                    except KeyError:
                        continue

        with ThreadPoolExecutor(4) as pool:
            for each in [*(pool.submit(read) for _ in range(3)), pool.submit(evict)]:
                each.result()
        assert list(store.list("segments/")) == []

    def test_overwriting_is_atomic(self, store: CacheStore) -> None:
        """Whoever reads while others overwrite gets what one of them wrote, never a part or a mixture."""
        size = 300_000
        texts = [bytes([number]) * (size + number) for number in range(4)]
        store.put("segments/a", texts[0])
        over = threading.Event()

        def write(text: bytes) -> None:
            for _ in range(10):
                store.put("segments/a", text)

        def read() -> int:
            reads = 0
            while not over.is_set() or not reads:
                found = store.get("segments/a")
                assert found in texts, f"{len(found)} bytes that nobody wrote"
                reads += 1
            return reads

        with ThreadPoolExecutor(8) as pool:
            readers = [pool.submit(read) for _ in range(3)]
            try:
                for writer in [pool.submit(write, text) for text in texts]:
                    writer.result()
            finally:
                over.set()
            assert all(reader.result() for reader in readers)

    def test_put_new(self, store: CacheStore) -> None:
        """It writes what is not there and leaves alone what is."""
        create = creator_of(store)
        assert create("leases/a", b"first") is True
        assert create("leases/a", b"second") is False
        same(store.get("leases/a"), b"first")
        assert create("leases/a", b"first") is False
        store.put("leases/b", b"there")
        assert create("leases/b", b"new") is False
        store.delete(["leases/a"])
        assert create("leases/a", b"third") is True
        store.put("leases/a", b"fourth")
        same(store.get("leases/a"), b"fourth")

    def test_put_new_has_one_winner(self, store: CacheStore) -> None:
        """Of threads that write the same name at the same time exactly one is told that it did, and its blob is there."""
        create = creator_of(store)
        other = creator_of(self.reopen(store))
        together = threading.Barrier(THREADS)

        def race(number: int, turn: int) -> bool:
            together.wait()
            return (create, other)[number % 2](f"leases/{turn}", str(number).encode())

        with ThreadPoolExecutor(THREADS) as pool:
            for turn in range(self.races):
                won = [number for number, wins in enumerate(pool.map(race, range(THREADS), [turn] * THREADS)) if wins]
                assert len(won) == 1, f"{len(won)} of {THREADS} threads were told that they wrote it"
                same(store.get(f"leases/{turn}"), str(won[0]).encode())


def creator_of(store: CacheStore) -> Callable[[str, bytes], bool]:
    """Return a store's ``put_new``, or skip the test."""
    create: Callable[[str, bytes], bool] | None = getattr(store, "put_new", None)
    if create is None:
        pytest.skip("it offers no put_new")
    return create


def data_of(size: int) -> bytes:
    """Return bytes in which no range looks like another."""
    every = bytes(range(256))
    return b"".join(number.to_bytes(8, "big") + every for number in range(size // 264 + 1))[:size]


def same(found: object, data: bytes) -> None:
    """Check that a store returned what was written."""
    assert type(found) is bytes, f"a {type(found).__name__} in place of bytes"
    assert found == data, f"{len(found):,} bytes that are not the {len(data):,} bytes written"
