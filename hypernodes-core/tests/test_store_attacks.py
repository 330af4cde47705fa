"""Whoever can write to a root, but holds no key, can only cause misses, or wrong data where nothing is signed; never run code."""

from __future__ import annotations

import os
import pickle
import shutil
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from faults import Marker, Opaque
from hypernodes import DiskCache, Pipeline, _keep, node
from hypernodes.cache import RemoteCache, _index, codecs, opened
from hypernodes.cache._blocks import Notes, place_of
from hypernodes.cache.trust import Keyring
from hypernodes.errors import CacheWarning

XS = list(range(700))


@node(output_name="a")
def first(x: int) -> int:
    return x + 100_000


@node(output_name="thing")
def thing(x: int) -> Opaque:
    return Opaque(x)


@node(output_name="big")
def big(x: int) -> bytes:
    return bytes([x % 256]) * 300_000


@pytest.fixture(autouse=True)
def homes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Become somebody with keys of their own."""

    def become(who: str) -> None:
        for cache in list(opened._BY_SETTING.values()):  # noqa: SLF001 - another process
            cache.flush()
        opened._BY_SETTING.clear()  # noqa: SLF001 - as above
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / who))

    monkeypatch.delenv("HYPERNODES_CACHE_KEY", raising=False)
    become("me")
    yield become
    opened._BY_SETTING.clear()  # noqa: SLF001 - as above


def ran(cache: Any, xs: list[int], *nodes: Any) -> int:
    """Run a map, check it, and return how many calls were made."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CacheWarning)
        result = Pipeline(list(nodes), cache=cache, name="p").map({"x": xs}, map_over="x")
    assert list(result) == list(Pipeline(list(nodes), name="p").map({"x": xs}, map_over="x"))
    return result.stats.ran


def poison(cache: Any, marker: Path, xs: list[int], *nodes: Any) -> None:
    """Keep something under the keys of results that runs code when it is unpickled."""
    evil = codecs.Payload("pickle", pickle.dumps(Marker(marker), 5))
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore", CacheWarning)
        patch.setattr(codecs, "encode", lambda value: evil)
        patch.setattr(codecs, "SIMPLE", frozenset())
        patch.setattr(_keep, "_comes_back", lambda payload, identity: True)
        Pipeline(list(nodes), cache=cache, name="p").map({"x": xs}, map_over="x")
    opened.open_cache(cache).flush()


@pytest.fixture
def unsigned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RemoteCache:
    """A shared root that nobody signs."""
    pytest.importorskip("fsspec", reason="URLs are opened by fsspec")
    monkeypatch.setattr("hypernodes.cache.remote.FsspecStore.remote", True)  # as if it were far away
    return RemoteCache(f"memory://{tmp_path.name}-{os.getpid()}")


def poisoned(cache: RemoteCache, marker: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CacheWarning)
        at_work: Any = opened.open_cache(cache)
    at_work.may_pickle = True
    poison(cache, marker, XS[:100], first, thing)


def test_a_poisoned_pickle_in_an_unsigned_root(tmp_path: Path, unsigned: RemoteCache, homes: Callable[[str], None]) -> None:
    poisoned(unsigned, tmp_path / "marker")
    homes("victim")
    assert ran(unsigned, XS[:100], first, thing) == 200
    assert not (tmp_path / "marker").exists()


def test_layers_do_not_make_it_respectable(tmp_path: Path, unsigned: RemoteCache, homes: Callable[[str], None]) -> None:
    poisoned(unsigned, tmp_path / "marker")
    homes("victim")
    near = DiskCache(tmp_path / "near")
    for _ in range(3):
        ran([near, unsigned], XS[:100], first, thing)
        homes("victim")
    assert ran(near, XS[:100], first, thing) == 0
    assert not (tmp_path / "marker").exists()


def test_a_poisoned_pickle_under_another_key(tmp_path: Path, homes: Callable[[str], None]) -> None:
    homes("attacker")
    cache = DiskCache(tmp_path / "root")
    poison(cache, tmp_path / "marker", XS[:100], first, thing)
    homes("victim")
    with pytest.warns(CacheWarning, match="written under another key"):
        result = Pipeline([first, thing], cache=cache, name="p").map({"x": XS[:100]}, map_over="x")
    assert result.stats.ran == 200
    assert not (tmp_path / "marker").exists()


def segments(folder: Path) -> list[Path]:
    return sorted((folder / "segments").iterdir())


def test_blocks_under_other_names_and_in_other_places(tmp_path: Path, homes: Callable[[str], None]) -> None:
    cache = DiskCache(tmp_path / "root")
    for start in (5000, 0, 1000):
        ran(cache, [x + start for x in XS], first)
        homes("me")
    about_code, one, two = segments(tmp_path / "root")  # the first also tells what the code is made of
    about_code.unlink()
    content = {path: path.read_bytes() for path in (one, two)}
    assert one.name.partition(".")[2] == two.name.partition(".")[2]  # they differ in their ids alone
    two.write_bytes(content[one])
    assert ran(cache, [*XS, *(x + 1000 for x in XS)], first) == 700
    homes("me")
    for path in segments(tmp_path / "root"):
        path.unlink()
    one.with_name(one.name.replace(one.name[:14], "00000000000001")).write_bytes(content[one])
    assert ran(cache, XS, first) == 700
    homes("me")
    for path in segments(tmp_path / "root"):
        path.unlink()
    one.write_bytes(content[one])
    at_work: Any = opened.open_cache(cache)
    at_work.refresh()
    (holder,) = at_work.catalog.index.holders.values()
    assert holder.lengths[0] == holder.lengths[1]  # blocks that change places
    length = holder.lengths[0]
    one.write_bytes(content[one][length : 2 * length] + content[one][:length] + content[one][2 * length :])
    homes("me")
    assert ran(cache, XS, first) >= 256


def forged(path: Path, change: Callable[[Any], None]) -> None:
    """Let a directory say something else, under a checksum that anybody can make."""
    holder_id, blocks, table, size = path.name.split(".")
    data = path.read_bytes()
    holder = _index.Holder(holder_id, f"segments/{path.name}", None)
    start = int(blocks, 16) + int(table, 16)
    _index.read_directory(holder, data[start:], lambda _data, _tag: True)
    change(holder)
    holder.keys = bytearray()
    keyring = Keyring(local=False, keys=())
    _, directory = holder.ending(keyring.tag)
    made = data[:start] + directory
    path.unlink()
    path.with_name(f"{holder_id}.{blocks}.{table}.{len(directory):x}").write_bytes(made)


@pytest.mark.parametrize(
    "notes",
    [
        Notes(barriers=[(1 << 60, None, None)]),
        Notes(condemned={"segments/x.1.1.1": 1}),
        Notes(marks={b"x" * 20: 1}),
        Notes(moved={"x": (b"", b"")}),
    ],
    ids=["barriers", "condemned", "marks", "moved"],
)
def test_what_a_forged_directory_says_is_not_believed(tmp_path: Path, homes: Callable[[str], None], notes: Notes) -> None:
    cache = DiskCache(tmp_path / "root")
    ran(cache, XS, first)
    homes("me")
    (path,) = segments(tmp_path / "root")
    if notes.condemned:
        notes.condemned[f"segments/{path.name}"] = 1

    def change(holder: Any) -> None:
        holder.notes.append(notes)

    forged(path, change)
    at_work: Any = opened.open_cache(cache)
    at_work.refresh()
    index = at_work.catalog.index
    assert not (index.barriers or index.condemned or index.marks or index.moved)
    assert ran(cache, XS, first) in {0, 700}  # where its keys are not found any more, results are made again


def test_a_table_that_leads_elsewhere_leads_nowhere(tmp_path: Path, homes: Callable[[str], None]) -> None:
    cache = DiskCache(tmp_path / "root")
    ran(cache, XS, first)
    homes("me")
    (path,) = segments(tmp_path / "root")
    parts = path.name.split(".")
    blocks, table = int(parts[1], 16), int(parts[2], 16)
    data = bytearray(path.read_bytes())
    records = data[blocks + table - 12 * 700 : blocks + table]
    rows = [records[place + 8 : place + 12] for place in range(0, len(records), 12)]
    for number, place in enumerate(range(0, len(records), 12)):
        records[place + 8 : place + 12] = rows[number - 1]  # each key leads to the row of another
    data[blocks + table - 12 * 700 : blocks + table] = records
    path.write_bytes(data)
    shuffled = XS[350:] + XS[:350]  # so that keys are looked up one by one
    assert ran(cache, shuffled, first) == 700


def test_a_large_value_in_place_of_another(tmp_path: Path, homes: Callable[[str], None]) -> None:
    cache = DiskCache(tmp_path / "root")
    ran(cache, [1, 2], big)
    homes("me")
    one, two = sorted((tmp_path / "root" / "objects").iterdir())
    shutil.copy(one, two)
    assert ran(cache, [1, 2], big) == 1


def test_a_journal_that_somebody_else_adds_to(tmp_path: Path, homes: Callable[[str], None]) -> None:
    cache = DiskCache(tmp_path / "root")
    ran(cache, XS[:100], first)
    homes("me")
    (path,) = segments(tmp_path / "root")
    size = int(path.name.split(".")[1], 16)
    (tmp_path / "root" / "journal").mkdir(exist_ok=True)
    journal = tmp_path / "root" / "journal" / path.name.partition(".")[0]
    journal.write_bytes(path.read_bytes()[:size])
    path.unlink()
    homes("attacker")
    other = DiskCache(tmp_path / "other")
    poison(other, tmp_path / "marker", XS[100:200], first)
    homes("me")
    (evil,) = segments(tmp_path / "other")
    with journal.open("ab") as file:
        file.write(evil.read_bytes()[: int(evil.name.split(".")[1], 16)])
    assert ran(cache, XS[:200], first) in {100, 200}
    assert not (tmp_path / "marker").exists()


def test_an_old_segment_does_not_bring_back_what_was_forgotten(tmp_path: Path, homes: Callable[[str], None]) -> None:
    cache = DiskCache(tmp_path / "root")
    ran(cache, XS[:100], first)
    homes("me")
    (path,) = segments(tmp_path / "root")
    data = path.read_bytes()
    assert cache.invalidate("first") == 100
    cache.gc(grace=0)
    homes("me")
    path.write_bytes(data)
    assert ran(cache, XS[:100], first) == 100


def test_places_of_blocks_differ() -> None:
    assert len({place_of(name, number) for name in ("a", "b") for number in range(20)}) == 40
