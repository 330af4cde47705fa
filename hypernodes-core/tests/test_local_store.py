"""The store below a directory: what it leaves when calls fail, when others remove things, and when the power goes."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import warnings
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypernodes import Pipeline, node
from hypernodes.cache import StoreCache, _catalog, _outbox, opened
from hypernodes.cache._disk import Disk
from hypernodes.cache.store import LocalStore
from hypernodes.errors import CacheWarning
from model_disk import Crashed, ModelDisk

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@node(output_name="a")
def first(x: int) -> int:
    return x + 1


def ran(cache: Any, xs: Any) -> int:
    """Run a map, check it, and return how many results were computed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CacheWarning)
        result = Pipeline([first], cache=cache).map({"x": list(xs)}, map_over="x")
    assert [each["a"] for each in result] == [x + 1 for x in xs]
    return result.stats["first"].ran


class Meddler(Disk):
    """A disk on which something else happens before some call."""

    def __init__(self, **before: Any) -> None:
        self._before = before

    def __getattribute__(self, name: str) -> Any:
        method = super().__getattribute__(name)
        meddling = None if name.startswith("_") else self._before.pop(name, None)
        if meddling is not None:
            meddling()
        return method


# -- appending ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("trouble", [FULL, "short"], ids=str)
def test_a_failed_append_leaves_the_journal_whole(trouble: Any) -> None:
    disk = ModelDisk()
    store = LocalStore("/deep", disk=disk)  # type: ignore[arg-type]
    store.append("journal/a", b"first")
    disk.fault = lambda number, name: trouble if name == "write" else None
    with pytest.raises(OSError, match="No space"):
        store.append("journal/a", b"second")
    disk.fault = lambda number, name: None
    assert store.get("journal/a") == b"first"
    store.append("journal/a", b"third")
    assert store.get("journal/a") == b"firstthird"


def test_a_journal_that_was_removed_is_sealed_all_the_same(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "root")
    store.append("journal/a", b"first")
    shutil.rmtree(tmp_path / "root")
    store.append("journal/a", b"second")
    store.seal("journal/a", "segments/a")
    assert list(store.list()) == ["segments/a"]
    assert store.get("segments/a") == b"firstsecond"


def test_a_journal_that_somebody_else_sealed_is_sealed_over_it(tmp_path: Path) -> None:
    store, other = LocalStore(tmp_path), LocalStore(tmp_path)
    store.append("journal/a", b"first")
    os.renames(tmp_path / "journal" / "a", tmp_path / "segments" / "a")
    store.append("journal/a", b"second")
    store.seal("journal/a", "segments/a")
    assert other.get("segments/a") == b"firstsecond"
    assert list(other.list("journal/")) == []


# -- putting --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", ["create", "rename", "sync_folder"])
def test_directories_that_are_removed_meanwhile_are_made_again(tmp_path: Path, call: str) -> None:
    root = tmp_path / "root"
    LocalStore(root).put("objects/b", b"")
    store = LocalStore(root, disk=Meddler(**{call: lambda: shutil.rmtree(root)}))
    store.put("objects/a", b"data")
    assert LocalStore(root).get("objects/a") == b"data"


def test_a_put_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def full() -> None:
        raise FULL

    for call in ("create", "write", "sync", "rename"):
        store = LocalStore(tmp_path, disk=Meddler(**{call: full}))
        with pytest.raises(OSError, match="No space"):
            store.put("segments/a", b"data")
        assert list(store.list()) == []
        assert list(store.left_over(-1)) == []


def test_what_a_killed_writer_left_is_no_blob_and_is_told_once_it_is_old(tmp_path: Path) -> None:
    def killed() -> None:
        raise Crashed

    store = LocalStore(tmp_path, disk=Meddler(rename=killed, unlink=killed))
    with pytest.raises(Crashed):
        store.put("segments/a", b"data")
    store = LocalStore(tmp_path)
    assert list(store.list()) == []
    assert list(store.left_over(60)) == []
    (left,) = (tmp_path / "segments").iterdir()
    os.utime(left, (0, 0))
    assert list(store.left_over(60)) == [f"segments/{left.name}"]


def test_what_was_put_and_sealed_outlasts_a_power_cut() -> None:
    for seed in range(30):
        disk = ModelDisk()
        store = LocalStore("/far/below/root", disk=disk)  # type: ignore[arg-type]
        store.put("objects/deep/a", b"put")
        store.append("journal/b", b"appended")
        store.seal("journal/b", "segments/b")
        left = LocalStore("/far/below/root", disk=disk.after_power_cut(Random(seed)))  # type: ignore[arg-type]
        assert (left.get("objects/deep/a"), left.get("segments/b")) == (b"put", b"appended")


# -- roots ----------------------------------------------------------------------------------------------------------


def test_a_root_that_is_away_for_a_while_is_known_again(tmp_path: Path) -> None:
    cache = StoreCache(LocalStore(tmp_path / "root"))
    assert ran(cache, range(5)) == 5
    (tmp_path / "root").rename(tmp_path / "away")
    assert opened.open_cache(cache).find([b"?" * 20]) == [None]
    assert len(cache) == 0
    (tmp_path / "away").rename(tmp_path / "root")
    assert ran(cache, range(5)) == 0


def test_a_stamp_never_hides_a_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = LocalStore(tmp_path)
    assert store.stamp("segments/") is None
    store.put("segments/a", b"")
    assert store.stamp("segments/") is None, "it was changed a moment ago, and may be again within the same tick"
    os.utime(tmp_path / "segments", (1000, 1000))
    before = store.stamp("segments/")
    assert before == store.stamp("segments/") is not None
    store.put("segments/b", b"")
    assert store.stamp("segments/") != before


# -- what a cache makes of it ---------------------------------------------------------------------------------------


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> ModelDisk:
    monkeypatch.setattr(_outbox, "GROUP_ENTRIES", 3)
    monkeypatch.setattr(_outbox.Ticker, "_run", lambda self: None)
    monkeypatch.setattr(_catalog, "is_left_over", lambda holder_id: False)
    return ModelDisk()


def on(disk: ModelDisk) -> StoreCache:
    return StoreCache(LocalStore("/deep", disk=disk))  # type: ignore[arg-type]


def test_what_was_forgotten_on_a_full_disk_stays_so(disk: ModelDisk) -> None:
    cache = on(disk)
    ran(cache, range(5))
    disk.fault = lambda number, name: FULL if name == "write" else None
    with pytest.warns(CacheWarning, match="cannot be written to"):
        assert cache.invalidate("first") == 5
    assert ran(cache, range(3)) == 3
    disk.fault = lambda number, name: None
    ran(cache, [9])
    assert ran(on(disk), range(5)) == 5


@pytest.mark.parametrize("call", ["sync", "rename", "sync_folder"])
@pytest.mark.parametrize("taken", [False, True])
def test_what_could_not_be_sealed_is_sealed_by_the_next_run(
    disk: ModelDisk, monkeypatch: pytest.MonkeyPatch, call: str, taken: bool
) -> None:
    cache = on(disk)
    ran(cache, [50])  # so that the directories are there
    disk.fault = lambda number, name: FULL if name == call else None
    ran(cache, range(5))
    disk.fault = lambda number, name: None
    if taken:  # for left over, by itself or by somebody else
        monkeypatch.setattr(_catalog, "is_left_over", lambda holder_id: True)
    ran(cache, [51])
    again = on(disk.after_power_cut(Random(0)))
    assert ran(again, range(5)) == 0
    assert not again.verify().problems


def test_zeros_after_a_power_cut_cost_what_they_replace(disk: ModelDisk, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = on(disk)
    disk.fault = lambda number, name: FULL if name in ("sync", "rename") else None
    ran(cache, range(6))  # two groups, which stay a journal
    disk.fault = lambda number, name: None
    (file,) = disk._folder("/deep/journal").names.values()  # noqa: SLF001 - as a power cut leaves it
    second = bytes(file.data).index(b"hnb1", 1)
    file.data[second + 31 :] = bytes(len(file.data) - second - 31)  # all but the head, and what kind of tag it is
    monkeypatch.setattr(_catalog, "is_left_over", lambda holder_id: True)
    assert ran(on(disk), range(6)) == 3


def test_a_journal_that_begins_with_a_torn_block_is_nobody_elses(disk: ModelDisk, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = on(disk)
    disk.fault = lambda number, name: FULL if name in ("sync", "rename") else None
    ran(cache, range(3))
    disk.fault = lambda number, name: None
    (file,) = disk._folder("/deep/journal").names.values()  # noqa: SLF001 - as a power cut leaves it
    file.data[31:] = bytes(len(file.data) - 31)
    monkeypatch.setattr(_catalog, "is_left_over", lambda holder_id: True)
    again = on(disk)
    assert ran(again, range(3)) == 3
    assert not disk._folder("/deep/journal").names  # noqa: SLF001 - it is of no use to anybody


def test_directories_of_a_writer_that_was_killed_are_made_durable_by_the_next(disk: ModelDisk) -> None:
    LocalStore("/deep", disk=disk).put("first/blob", b"0")  # type: ignore[arg-type]
    for at in range(1, 20):
        there = ModelDisk()
        there.crash_at = at
        with contextlib.suppress(Crashed):
            LocalStore("/deep", disk=there).put("first/blob", b"1")  # type: ignore[arg-type]
        there = there.killed()
        LocalStore("/deep", disk=there).put("first/other", b"2")  # type: ignore[arg-type]
        for seed in range(8):
            assert LocalStore("/deep", disk=there.after_power_cut(Random(seed))).get("first/other") == b"2"  # type: ignore[arg-type]


def test_what_could_not_be_read_in_one_run_is_read_in_the_next(disk: ModelDisk) -> None:
    ran(on(disk), range(7))
    broken = OSError(errno.EIO, os.strerror(errno.EIO))
    for at in range(1, 4):  # a directory, a table of keys, a block
        cache, reads = on(disk), [0]

        def once(number: int, name: str, reads: list[int] = reads, at: int = at) -> OSError | None:
            reads[0] += name == "read"
            return broken if name == "read" and reads[0] == at else None

        disk.fault = once
        ran(cache, [0])
        disk.fault = lambda number, name: None
        assert reads[0] >= at
        assert ran(cache, range(1, 7)) == 0
