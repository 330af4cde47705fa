"""The suite that authors of stores inherit: our own stores and one of a third party pass it, and wrong ones do not."""

from __future__ import annotations

import contextlib
import itertools
import os
import sqlite3
import subprocess
import sys
import textwrap
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator
from pathlib import Path

import hypernodes
import pytest
from hypernodes.cache.remote import FsspecStore
from hypernodes.cache.store import CacheStore, DictStore, LocalStore
from hypernodes.errors import OptionError
from hypernodes.testing.stores import CacheStoreSuite
from random_graphs import share

SOURCES = str(Path(hypernodes.__file__).parent.parent)
NUMBERS = itertools.count()


# -- a store as a third party would write it ------------------------------------------------------------------------


class SqliteStore:
    """Blobs in one table of a SQLite file; each call has a connection of its own, so that threads and processes may share it."""

    remote = False

    def __init__(self, path: str) -> None:
        self.path = path
        with self._connection() as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS blobs (name TEXT PRIMARY KEY, data BLOB NOT NULL) WITHOUT ROWID")

    def __repr__(self) -> str:
        return f"SqliteStore({self.path!r})"

    @contextlib.contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        connection = sqlite3.connect(self.path, timeout=60)
        try:
            with connection:
                yield connection
        finally:
            connection.close()

    def put(self, name: str, data: bytes) -> None:
        with self._connection() as connection:
            connection.execute("INSERT OR REPLACE INTO blobs VALUES (?, ?)", (name, bytes(data)))

    def put_new(self, name: str, data: bytes) -> bool:
        with self._connection() as connection:
            return connection.execute("INSERT OR IGNORE INTO blobs VALUES (?, ?)", (name, bytes(data))).rowcount == 1

    def get(self, name: str, start: int = 0, end: int | None = None) -> bytes:
        length = -1 if end is None else max(0, end - start)
        query = "SELECT substr(data, ?) FROM blobs WHERE name = ?" if length < 0 else "SELECT substr(data, ?, ?) FROM blobs WHERE name = ?"
        arguments = (start + 1, name) if length < 0 else (start + 1, length, name)
        with self._connection() as connection:
            row = connection.execute(query, arguments).fetchone()
        if row is None:
            raise KeyError(name)
        return bytes(row[0] or b"")

    def list(self, prefix: str = "") -> Iterable[str]:
        with self._connection() as connection:
            return [row[0] for row in connection.execute("SELECT name FROM blobs WHERE substr(name, 1, ?) = ?", (len(prefix), prefix))]

    def delete(self, names: Iterable[str]) -> None:
        with self._connection() as connection:
            connection.executemany("DELETE FROM blobs WHERE name = ?", [(name,) for name in names])


class TestSqliteStore(CacheStoreSuite):
    many = 150  # one transaction each

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.folder = tmp_path

    def make_store(self) -> CacheStore:
        return SqliteStore(str(self.folder / f"{next(NUMBERS)}.db"))

    def reopen(self, store: CacheStore) -> CacheStore:
        return SqliteStore(store.path)


# -- our own --------------------------------------------------------------------------------------------------------


class TestDictStore(CacheStoreSuite):
    def make_store(self) -> CacheStore:
        return DictStore()

    def reopen(self, store: CacheStore) -> CacheStore:
        return store


class TestLocalStore(CacheStoreSuite):
    many = 150  # each is written to disk before the next

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.folder = tmp_path

    def make_store(self) -> CacheStore:
        return LocalStore(self.folder / "root")

    def reopen(self, store: CacheStore) -> CacheStore:
        return LocalStore(store.root)


class TestFsspecStoreInMemory(CacheStoreSuite):
    @pytest.fixture(autouse=True)
    def _emptied(self) -> Iterator[None]:
        fsspec = pytest.importorskip("fsspec")
        self.url = f"memory://suite-{next(NUMBERS)}"
        yield
        with contextlib.suppress(FileNotFoundError):
            fsspec.filesystem("memory").rm(self.url, recursive=True)

    def make_store(self) -> CacheStore:
        return FsspecStore(self.url)

    def reopen(self, store: CacheStore) -> CacheStore:
        return FsspecStore(store.url)


class TestFsspecStoreOnFiles(CacheStoreSuite):
    """A file system that is no object store: what is written becomes visible by renaming."""

    many = 150

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        pytest.importorskip("fsspec")
        self.folder = tmp_path

    def make_store(self) -> CacheStore:
        return FsspecStore(f"file://{self.folder}/root")

    def reopen(self, store: CacheStore) -> CacheStore:
        return FsspecStore(store.url)


# -- wrong ones -----------------------------------------------------------------------------------------------------

WRONG_STORES = """
    import threading, time
    from hypernodes.cache.store import DictStore
    from hypernodes.testing.stores import CacheStoreSuite

    class KeepsNothing(DictStore):
        def put(self, name, data):
            pass

    class DeletesEverything(DictStore):
        def delete(self, names):
            if list(names):
                self._blobs.clear()

    class DiesOfLosses(DictStore):
        def get(self, name, start=0, end=None):
            if name not in self._blobs:
                raise SystemExit("it is gone")
            return super().get(name, start, end)

    class Cuts(DictStore):
        def put(self, name, data):
            super().put(name, data[:65536])

    class ReturnsBytearray(DictStore):
        def get(self, name, start=0, end=None):
            return bytearray(super().get(name, start, end))

    class StripsZeros(DictStore):
        def put(self, name, data):
            super().put(name, data.rstrip(b"\\0"))

    class ForgetsTheEnd(DictStore):
        def get(self, name, start=0, end=None):
            return super().get(name, start)

    class IncludesTheEnd(DictStore):
        def get(self, name, start=0, end=None):
            return super().get(name, start, None if end is None else end + 1)

    class TakesLengths(DictStore):
        def get(self, name, start=0, end=None):
            return super().get(name, start, None if end is None else start + end)

    class MindsTheEnd(DictStore):
        def get(self, name, start=0, end=None):
            if end is not None and end > len(self._blobs[name]):
                raise ValueError("416 range not satisfiable")
            return super().get(name, start, end)

    class MindsEmptyRanges(DictStore):
        def get(self, name, start=0, end=None):
            if start and start >= len(self._blobs[name]):
                raise ValueError("416 range not satisfiable")
            return super().get(name, start, end)

    class MissingIsEmpty(DictStore):
        def get(self, name, start=0, end=None):
            return self._blobs.get(name, b"")[start:end]

    class MissingIsAnOSError(DictStore):
        def get(self, name, start=0, end=None):
            if name not in self._blobs:
                raise FileNotFoundError(name)
            return super().get(name, start, end)

    class FindsByBeginning(DictStore):
        def get(self, name, start=0, end=None):
            return super().get(next((known for known in self._blobs if known.startswith(name)), name), start, end)

    class KeepsTheFirst(DictStore):
        def put(self, name, data):
            self._blobs.setdefault(name, bytes(data))

    class Appends(DictStore):
        def put(self, name, data):
            super().put(name, self._blobs.get(name, b"") + data)

    class Overlays(DictStore):
        def put(self, name, data):
            super().put(name, data + self._blobs.get(name, b"")[len(data):])

    class WritesInParts(DictStore):
        def put(self, name, data):
            for end in (len(data) // 2, len(data)):
                super().put(name, data[:end])
                time.sleep(0.001)

    class KeepsTheBuffer(DictStore):
        def put(self, name, data):
            self._blobs[name] = data
        def get(self, name, start=0, end=None):
            return bytes(self._blobs[name][start:end])

    class ListsFolders(DictStore):
        def list(self, prefix=""):
            names = {"/".join(name.split("/")[:k]) for name in self._blobs for k in range(1, 20)}
            return [name for name in names if name.startswith(prefix)]

    class ListsOneLevel(DictStore):
        def list(self, prefix=""):
            return [name for name in super().list(prefix) if "/" not in name[len(prefix):].lstrip("/")]

    class ListsFoldersOnly(DictStore):
        def list(self, prefix=""):
            folder = prefix.rpartition("/")[0]
            return [name for name in self._blobs if name.startswith(folder + "/" if folder else "")]

    class ListsByPattern(DictStore):
        def list(self, prefix=""):
            import re
            return [name for name in self._blobs if re.match(prefix.replace("_", "."), name)]

    class ListsRelative(DictStore):
        def list(self, prefix=""):
            return [name[len(prefix):] for name in super().list(prefix)]

    class ListsTwice(DictStore):
        def list(self, prefix=""):
            return [*super().list(prefix), *super().list(prefix)[:1]]

    class ListsOnePage(DictStore):
        def list(self, prefix=""):
            return sorted(super().list(prefix))[:1000]

    class DeleteMinds(DictStore):
        def delete(self, names):
            for name in names:
                del self._blobs[name]

    class DeletesBelow(DictStore):
        def delete(self, names):
            for name in names:
                for known in super().list(name):
                    del self._blobs[known]

    class DeletesTheFirst(DictStore):
        def delete(self, names):
            super().delete(list(names)[:1])

    class Flattens(DictStore):
        def put(self, name, data):
            super().put(name.replace("/", "."), data)
        def get(self, name, start=0, end=None):
            return super().get(name.replace("/", "."), start, end)

    class CutsNames(DictStore):
        def put(self, name, data):
            super().put(name[:100], data)

    class OneThread(DictStore):
        def __init__(self):
            super().__init__()
            self.thread = threading.get_ident()
        def put(self, name, data):
            if threading.get_ident() != self.thread:
                raise RuntimeError("created in another thread")
            super().put(name, data)

    class SharesScratch(DictStore):
        def put(self, name, data):
            self.scratch = data
            time.sleep(0.0005)
            super().put(name, self.scratch)

    class ListsLive(DictStore):
        def list(self, prefix=""):
            for name in self._blobs:
                time.sleep(0.0002)
                if name.startswith(prefix):
                    yield name

    class TravelsEmpty(DictStore):
        def __reduce__(self):
            return (TravelsEmpty, ())

    class CannotTravel(DictStore):
        def __reduce__(self):
            raise TypeError

    class NeedsKeywords(DictStore):
        def get(self, name, *, start=0, end=None):
            return super().get(name, start, end)

    class StartsFull(DictStore):
        def __init__(self):
            super().__init__()
            self.put("left/over", b"")

    class Races(DictStore):
        def put_new(self, name, data):
            if name in self._blobs:
                return False
            time.sleep(0.002)
            self.put(name, data)
            return True

    class NewOverwrites(DictStore):
        def put_new(self, name, data):
            new = name not in self._blobs
            self.put(name, data)
            return new

    class NewSaysNothing(DictStore):
        def put_new(self, name, data):
            self._blobs.setdefault(name, data)

    class NewAfterDelete(DictStore):
        def put_new(self, name, data):
            seen = self.__dict__.setdefault("seen", set())
            new = name not in seen and name not in self._blobs
            seen.add(name)
            return bool(new and (self.put(name, data) or True))
"""

MUST_FAIL = {  # store -> the test that finds it out
    "Cuts": "test_round_trips[65537]",
    "ReturnsBytearray": "test_round_trips[1]",
    "StripsZeros": "test_round_trips[1]",
    "ForgetsTheEnd": "test_ranges[0-10]",
    "IncludesTheEnd": "test_ranges[5-6]",
    "TakesLengths": "test_ranges[5-6]",
    "MindsTheEnd": "test_ranges[990-5000]",
    "MindsEmptyRanges": "test_empty_ranges[1000-None]",
    "MissingIsEmpty": "test_missing",
    "MissingIsAnOSError": "test_missing",
    "FindsByBeginning": "test_missing",
    "KeepsTheFirst": "test_overwriting",
    "Appends": "test_overwriting",
    "Overlays": "test_overwriting",
    "WritesInParts": "test_overwriting_is_atomic",
    "KeepsTheBuffer": "test_keeps_its_own_copy",
    "ListsFolders": "test_list[]",
    "ListsOneLevel": "test_list[]",
    "ListsFoldersOnly": "test_list[segments/000]",
    "ListsByPattern": "test_list[segments_]",
    "ListsRelative": "test_list[segments/]",
    "ListsTwice": "test_list[alone]",
    "ListsOnePage": "test_list_of_many",
    "DeleteMinds": "test_delete",
    "DeletesBelow": "test_delete",
    "DeletesTheFirst": "test_delete",
    "Flattens": "test_names",
    "CutsNames": "test_names",
    "OneThread": "test_many_threads",
    "SharesScratch": "test_many_threads",
    "ListsLive": "test_evicted_meanwhile",
    "TravelsEmpty": "test_travels",
    "CannotTravel": "test_travels",
    "NeedsKeywords": "test_describes_itself",
    "StartsFull": "test_describes_itself",
    "Races": "test_put_new_has_one_winner",
    "NewOverwrites": "test_put_new",
    "NewSaysNothing": "test_put_new",
    "NewAfterDelete": "test_put_new",
    "KeepsNothing": "test_results_are_found_again",
    "DeletesEverything": "test_room_is_made",
    "DiesOfLosses": "test_blobs_that_are_lost_between_two_calls[0]",
}


def test_wrong_stores_fail(tmp_path: Path) -> None:
    cases = share(MUST_FAIL)
    making = "    def make_store(self):\n        return {}()\n    def reopen(self, store):\n        return store\n"
    classes = "".join(f"\nclass Test{name}(CacheStoreSuite):\n{making.format(name)}" for name in cases)
    (tmp_path / "test_wrong.py").write_text(textwrap.dedent(WRONG_STORES) + classes)
    chosen = [f"test_wrong.py::Test{name}::{test}" for name, test in cases.items()]
    path = os.pathsep.join(filter(None, [SOURCES, os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--junitxml=out.xml", *chosen],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    failed = {}
    for case in ET.parse(tmp_path / "out.xml").iter("testcase"):
        assert case.find("error") is None, f"{case.get('name')} broke down: {done.stdout}"
        if case.find("failure") is not None:
            failed[case.get("classname", "").rpartition(".Test")[2]] = case.get("name", "")
    assert failed == cases


def test_every_check_has_a_store_that_fails_it() -> None:
    checks = {name for name in dir(CacheStoreSuite) if name.startswith("test_")}
    assert {name.partition("[")[0] for name in MUST_FAIL.values()} == checks


def test_a_suite_that_makes_nothing_says_what_to_write() -> None:
    with pytest.raises(OptionError, match="CacheStoreSuite must define make_store"):
        CacheStoreSuite().make_store()
    with pytest.raises(OptionError, match="CacheStoreSuite must define reopen"):
        CacheStoreSuite().reopen(DictStore())
