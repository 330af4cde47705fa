"""Making room in a cache: what goes, what stays, who may still read, and what is said beforehand."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypernodes import DiskCache, Pipeline, node
from hypernodes.cache import StoreCache, _outbox, opened, seconds_from
from hypernodes.cache.store import LocalStore
from hypernodes.cli import main
from hypernodes.errors import CacheWarning, ConfigError, OptionError

DAY = 86_400.0


@node(output_name="a")
def first(x: int) -> int:
    return x + 1


@node(output_name="b")
def second(a: int) -> list[int]:
    return [a, a * 2]


@node(output_name="big")
def big(x: int) -> bytes:
    return bytes([x]) * 300_000


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """Days that go by."""
    now = [time.time()]
    monkeypatch.setattr(time, "time", lambda: now[0])
    monkeypatch.setattr(time, "time_ns", lambda: int(now[0] * 1e9))
    yield now


def again(folder: Path, **settings: Any) -> DiskCache:
    """The same cache, as another process would open it."""
    setting = DiskCache(folder, **settings)
    known = opened._BY_SETTING.pop(setting.key(), None)  # noqa: SLF001 - as if nobody had opened it yet
    if known is not None:
        known.flush()
    return setting


def names(folder: Path, below: str) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in (folder / below).rglob("*") if path.is_file())


def made(folder: Path, nodes: list[Any], xs: Any, **settings: Any) -> dict[str, int]:
    """Run a map on a cache that is opened anew, check it, and return how often each node ran."""
    result = Pipeline(nodes, cache=again(folder, **settings), name="p").map({"x": list(xs)}, map_over="x")
    assert list(result) == list(Pipeline(nodes, name="p").map({"x": list(xs)}, map_over="x"))
    return {name: stats.ran for name, stats in result.stats.items()}


def test_small_segments_become_one_and_nothing_is_lost(tmp_path: Path) -> None:
    for start in range(0, 50, 10):
        made(tmp_path, [first, second], range(start, start + 10))
    assert len(names(tmp_path, "segments")) == 5
    done = again(tmp_path).gc(grace=0)
    assert (done.results, done.merged, len(done.deleted)) == ((), 5, 5)
    assert len(names(tmp_path, "segments")) == 1
    assert made(tmp_path, [first, second], range(50)) == {"first": 0, "second": 0}
    assert again(tmp_path).gc(grace=0).merged == 0


def test_pieces_of_maps_are_found_where_their_blocks_went(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from hypernodes.cache._stored import StoredCache

    for part in (range(3000), range(3000, 6000), range(6000, 6100)):
        made(tmp_path, [first, second], part)
        again(tmp_path).gc(grace=0)  # so that the first blocks move twice
    asked: list[int] = []
    find = StoredCache.find
    monkeypatch.setattr(StoredCache, "find", lambda self, keys: asked.append(len(keys)) or find(self, keys))
    assert made(tmp_path, [first, second], range(3000)) == {"first": 0, "second": 0}
    assert asked == []


def test_what_was_replaced_stays_for_those_who_still_read_it(tmp_path: Path, clock: list[float]) -> None:
    made(tmp_path, [first], range(10))
    made(tmp_path, [first], range(10, 20))
    reader = Pipeline([first], cache=again(tmp_path))
    reader.map({"x": [0]}, map_over="x")
    gc = DiskCache(str(tmp_path / "." / ""), max_size=10**12)  # another opened cache of the same root
    done = gc.gc()
    assert (done.deleted, len(done.waiting)) == ((), 2)
    assert len(names(tmp_path, "segments")) == 3
    assert again(tmp_path).gc().merged == 0  # what is condemned already is left alone
    clock[0] += 3601
    done = again(tmp_path).gc()
    assert sorted(done.deleted) == sorted(set(done.deleted))
    assert len(done.deleted) == 2
    assert len(names(tmp_path, "segments")) == 1
    result = reader.map({"x": list(range(20))}, map_over="x")  # it has not heard of any of this
    assert result.stats["first"].ran == 0


def test_a_reader_whose_segment_vanished_looks_again(tmp_path: Path) -> None:
    made(tmp_path, [first], range(300))
    made(tmp_path, [first], range(300, 310))
    setting = again(tmp_path)
    cache = opened.open_cache(setting)
    cache.refresh()
    DiskCache(tmp_path, max_size=10**12).gc(grace=0)
    keys = [bytes.fromhex(row.key) for row in DiskCache(tmp_path, max_size=10**12).results()]
    found = cache.find(keys)  # without a refresh
    assert None not in found
    assert len(cache.read([entry for entry in found if entry is not None], 0)) == 310


def test_what_was_forgotten_goes_and_its_neighbours_stay(tmp_path: Path) -> None:
    made(tmp_path, [first, second, big], range(20))
    assert again(tmp_path).invalidate("big") == 20
    promised = again(tmp_path).gc(grace=0, dry_run=True)
    done = again(tmp_path).gc(grace=0)
    assert promised == done
    assert {(each.node, each.reason) for each in done.results} == {("big", "forgotten")}
    assert len(done.results) == 20
    assert names(tmp_path, "objects") == []
    assert made(tmp_path, [first, second, big], range(20)) == {"first": 0, "second": 0, "big": 20}


def test_what_nobody_used_for_long_goes(tmp_path: Path, clock: list[float]) -> None:
    made(tmp_path, [first], range(300))
    made(tmp_path, [first], range(300, 600))
    clock[0] += 20 * DAY
    made(tmp_path, [first], range(300))  # used, which is put on record
    clock[0] += 15 * DAY
    done = again(tmp_path).gc(older_than=30 * DAY, grace=0)
    assert (len(done.results), {each.reason for each in done.results}) == (300, {"old"})
    assert made(tmp_path, [first], range(600)) == {"first": 300}
    clock[0] += 20 * DAY
    assert again(tmp_path).gc(older_than=30 * DAY, grace=0).results == ()  # the record of the use went along


def test_what_two_collections_wrote_at_once_is_kept_once(tmp_path: Path) -> None:
    made(tmp_path, [first, big], range(100))
    made(tmp_path, [first, big], range(50, 150))
    before = {name: (tmp_path / name).read_bytes() for name in names(tmp_path, "segments")}
    again(tmp_path).gc(grace=0)
    (merged,) = names(tmp_path, "segments")
    copy = (tmp_path / merged).read_bytes()
    (tmp_path / merged).unlink()
    for name, data in before.items():
        (tmp_path / name).write_bytes(data)
    again(tmp_path).gc()  # the other collection
    (tmp_path / merged).write_bytes(copy)
    done = again(tmp_path).gc(grace=0)
    assert (done.results, done.merged) == ((), 2)
    assert again(tmp_path).verify().results == 300
    assert made(tmp_path, [first, big], range(150)) == {"first": 0, "big": 0}


def test_looking_is_not_using(tmp_path: Path, clock: list[float]) -> None:
    made(tmp_path, [first], range(10))
    clock[0] += 40 * DAY
    again(tmp_path).verify()
    again(tmp_path).info()
    list(again(tmp_path).results())
    assert len(again(tmp_path).gc(older_than=30 * DAY, dry_run=True).results) == 10
    assert len(again(tmp_path).gc(older_than=30 * DAY, grace=0).results) == 10
    assert made(tmp_path, [first], range(10)) == {"first": 10}


def test_the_longest_unused_makes_room(tmp_path: Path, clock: list[float]) -> None:
    for start in (0, 10, 20):
        made(tmp_path, [big], range(start, start + 10))
        clock[0] += 2 * DAY
    made(tmp_path, [big], range(10))
    limit = 2 * 10 * 300_000 + 100_000
    promised = again(tmp_path).gc(max_size=limit, grace=0, dry_run=True)
    done = again(tmp_path).gc(max_size=limit, grace=0)
    assert promised == done
    assert done.after <= limit < done.before
    assert sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) <= limit
    assert made(tmp_path, [big], range(30)) == {"big": 10}


def test_a_limit_is_kept_by_runs_themselves(tmp_path: Path) -> None:
    for start in range(0, 100, 10):
        made(tmp_path, [big], range(start, start + 10), max_size="15 MB")
    info = again(tmp_path).info()
    assert info.bytes <= 15_000_000
    assert 20 <= sum(info.nodes.values()) < 100


def test_elements_live_as_long_as_a_list_that_refers_to_them(tmp_path: Path, clock: list[float]) -> None:
    inner = Pipeline([first], name="inner").as_node(input_mapping={"xs": "x"}, output_mapping={"a": "rows"}, map_over="xs")
    total = node(output_name="total", name="total")(lambda rows: sum(rows))

    def go() -> dict[str, int]:
        result = Pipeline([inner, total], cache=again(tmp_path), name="p").run({"xs": list(range(600))})
        assert result["total"] == sum(range(1, 601))
        return {name: stats.ran for name, stats in result.stats.items()}

    go()
    clock[0] += 40 * DAY
    assert set(go().values()) == {0}  # the list was found as a whole, and put on record as used
    clock[0] += 10 * DAY
    again(tmp_path).gc(older_than=30 * DAY, grace=0)
    assert set(go().values()) == {0}


def test_a_gc_takes_in_what_killed_runs_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import subprocess
    import sys

    script = (
        "import os, signal\nfrom hypernodes import DiskCache, Pipeline, node\n"
        "@node(output_name='y')\ndef work(x):\n    if x == 600: os.kill(os.getpid(), signal.SIGKILL)\n    return x\n"
        f"Pipeline([work], cache=DiskCache({str(tmp_path)!r}), name='p').map({{'x': list(range(1000))}}, map_over='x')"
    )
    (tmp_path / "go.py").write_text(script)
    subprocess.run([sys.executable, str(tmp_path / "go.py")], check=False)
    assert len(names(tmp_path, "journal")) == 1
    again(tmp_path).gc()
    assert names(tmp_path, "journal") == []
    assert again(tmp_path).info().nodes == {("p", "work"): 512}


def test_a_cache_that_is_only_read_is_not_changed(tmp_path: Path) -> None:
    made(tmp_path, [first], range(10))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    setting = again(tmp_path, read_only=True)
    assert made(tmp_path, [first], range(20), read_only=True) == {"first": 10}
    assert made(tmp_path, [first], range(20), read_only=True) == {"first": 10}
    for change in (setting.gc, setting.clear, setting.invalidate):
        with pytest.raises(ConfigError, match="read_only=True"):
            change()
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    nowhere = tmp_path / "nowhere"
    made(nowhere, [first], range(3), read_only=True)
    assert not nowhere.exists()


def test_salts_share_nothing_but_the_root(tmp_path: Path) -> None:
    assert made(tmp_path, [first], range(5), salt="one") == {"first": 5}
    assert made(tmp_path, [first], range(5), salt="two") == {"first": 5}
    assert made(tmp_path, [first], range(5), salt="one") == {"first": 0}
    assert sum(again(tmp_path).info().nodes.values()) == 10


@pytest.mark.parametrize(("text", "number"), [("10 GB", 10**10), ("1.5 MiB", 3 << 19), ("200", 200), (5, 5), (None, None), ("2k", 2000)])
def test_sizes_in_words(text: Any, number: int | None) -> None:
    assert DiskCache(max_size=text).max_size == number


@pytest.mark.parametrize("text", ["much", "-1", -1, 1.5, True, ""])
def test_sizes_that_are_none(text: Any) -> None:
    with pytest.raises(OptionError, match="is no size"):
        DiskCache(max_size=text)


# -- the command line ----------------------------------------------------------------------------------------------------


def said(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    capsys.readouterr()
    code = main(["cache", *words, "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_commands_say_what_they_did_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made(tmp_path, [first, big], range(10))
    made(tmp_path, [first, big], range(10, 20))
    where = ("--cache", str(tmp_path))
    code, info = said(capsys, "info", *where)
    assert (code, info["results"], info["segments"], info["objects"]) == (0, 40, 2, 20)
    code, rows = said(capsys, "ls", "big", "--limit", "3", *where)
    assert (code, rows["results"], len(rows["rows"]), rows["rows"][0]["bytes"] > 300_000) == (0, 20, 3, True)
    code, found = said(capsys, "verify", *where)
    assert (code, found["results"], found["objects"], found["problems"]) == (0, 40, 20, [])
    assert said(capsys, "invalidate", "big", "--dry-run", *where)[1]["forgotten"] == 20
    assert said(capsys, "invalidate", "big", *where)[1]["forgotten"] == 20
    _, promised = said(capsys, "gc", "--grace", "0", "--dry-run", *where)
    before = {*names(tmp_path, "segments"), *names(tmp_path, "objects")}
    _, done = said(capsys, "gc", "--grace", "0", *where)
    after = {*names(tmp_path, "segments"), *names(tmp_path, "objects")}
    assert promised.pop("dry_run") is True
    assert done.pop("dry_run") is False
    assert promised == done
    assert before - after == set(done["deleted"])
    assert said(capsys, "clear", *where)[1]["forgotten"] == 20
    assert said(capsys, "info", *where)[1]["results"] == 0


def test_verify_names_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made(tmp_path, [first, big], range(3))
    made(tmp_path, [first], range(10, 20))
    broken, other = (tmp_path / name for name in names(tmp_path, "segments"))
    data = bytearray(other.read_bytes())
    data[60] ^= 1
    other.write_bytes(data)
    victim = tmp_path / names(tmp_path, "objects")[0]
    victim.write_bytes(b"something else")
    (tmp_path / "segments" / "stray").write_text("")
    again(tmp_path)
    code, found = said(capsys, "verify", "--cache", str(tmp_path))
    assert code == 1
    assert len(found["problems"]) == 3
    assert [any(name in problem for problem in found["problems"]) for name in (other.name, victim.name, "stray", broken.name)] == [
        True, True, True, False,
    ]  # fmt: skip
    assert main(["cache", "verify", "--cache", str(tmp_path)]) == 1
    assert "computed again" in capsys.readouterr().out


def test_times_of_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made(tmp_path, [first], range(3))
    assert main(["cache", "gc", "--older-than", "30d", "--max-size", "1GB", "--cache", str(tmp_path)]) == 0
    assert "dropped 0 results" in capsys.readouterr().out
    assert main(["cache", "gc", "--older-than", "soon", "--cache", str(tmp_path)]) == 2


def test_groups_are_bounded_in_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_outbox, "GROUP_BYTES", 1_000_000)
    made(tmp_path, [big], range(20))
    assert again(tmp_path).verify().blocks == 5


def test_a_large_value_that_was_deleted_is_written_again(tmp_path: Path) -> None:
    setting = StoreCache(LocalStore(tmp_path))  # of a process that goes on
    for _ in range(2):
        assert Pipeline([big], cache=setting, name="p").map({"x": [1, 2]}, map_over="x").stats["big"].ran == 2
        assert made(tmp_path, [big], [1, 2]) == {"big": 0}
        assert setting.clear() == 2


# -- room, result by result ----------------------------------------------------------------------------------------------


@node(output_name="large")
def large(x: int) -> bytes:
    return bytes([x]) * 400_000


@node(output_name="some")
def some(x: int) -> bytes:
    return bytes([x % 256]) * 3_000


def on_disk(folder: Path) -> int:
    return sum((folder / name).stat().st_size for below in ("segments", "objects") for name in names(folder, below))


def test_only_as_much_goes_as_is_too_much(tmp_path: Path) -> None:
    assert made(tmp_path, [large], range(20)) == {"large": 20}
    promised = again(tmp_path).gc(max_size="7 MB", grace=0, dry_run=True)
    done = again(tmp_path).gc(max_size="7 MB", grace=0)
    assert promised == done
    assert (len(done.results), {each.reason for each in done.results}) == (3, {"size"})
    assert len(names(tmp_path, "objects")) == 17
    assert 6_700_000 < done.after <= 7_000_000 < done.before
    assert abs(on_disk(tmp_path) - done.after) < 10_000
    assert made(tmp_path, [large], range(3, 20)) == {"large": 0}  # the oldest went


def test_a_limit_does_not_undo_each_run(tmp_path: Path) -> None:
    assert made(tmp_path, [large], range(20), max_size="7 MB") == {"large": 20}
    for _ in range(3):
        assert made(tmp_path, [large], range(20), max_size="7 MB")["large"] <= 4
    assert sum(again(tmp_path).info().nodes.values()) in (16, 17)


@pytest.mark.parametrize("limit", [500_000, 1_000_000, 1_400_000])
def test_small_results_go_one_by_one_too(tmp_path: Path, limit: int) -> None:
    made(tmp_path, [some], range(500))
    promised = again(tmp_path).gc(max_size=limit, grace=0, dry_run=True)
    done = again(tmp_path).gc(max_size=limit, grace=0)
    assert promised == done
    assert 0.95 * limit < on_disk(tmp_path) <= limit
    kept = 500 - len(done.results)
    assert made(tmp_path, [some], range(500 - kept, 500)) == {"some": 0}
    assert again(tmp_path).verify().problems == ()


def test_a_value_that_two_results_share_is_freed_with_the_second(tmp_path: Path) -> None:
    twin = node(output_name="twin", name="twin")(lambda x: b"t" * (300_000 + x // 2))
    made(tmp_path, [twin], range(20))
    assert len(names(tmp_path, "objects")) == 10
    done = again(tmp_path).gc(max_size=9 * 300_000 + 50_000, grace=0)
    assert (len(done.results), len(names(tmp_path, "objects"))) == (2, 9)


def test_a_list_goes_before_its_elements(tmp_path: Path) -> None:
    inner = Pipeline([large], name="inner").as_node(input_mapping={"xs": "x"}, output_mapping={"large": "rows"}, map_over="xs")
    total = node(output_name="total", name="total")(lambda rows: sum(map(len, rows)))
    Pipeline([inner, total], cache=again(tmp_path), name="p").run({"xs": list(range(10))})
    done = again(tmp_path).gc(max_size="3.5 MB", grace=0)
    assert {each.node for each in done.results} >= {"inner"}
    assert len(names(tmp_path, "objects")) == 8


def test_figures_count_what_is_gone(tmp_path: Path) -> None:
    made(tmp_path, [large], range(5))
    (tmp_path / "objects" / ("ab" * 20)).write_bytes(b"x" * 100_000)  # nothing refers to it
    before = on_disk(tmp_path)
    promised = again(tmp_path).gc(max_size="1.1 MB", dry_run=True)
    done = again(tmp_path).gc(max_size="1.1 MB")
    assert promised == done
    assert (done.before, done.deleted, len(done.results)) == (before, (), 3)
    assert abs(on_disk(tmp_path) - done.after) < 2_000
    assert 1_300_000 < done.waiting_bytes < 1_310_000
    info = again(tmp_path).info()
    assert (info.waiting, info.waiting_bytes) == (len(done.waiting), done.waiting_bytes)
    assert info.bytes < 900_000
    last = again(tmp_path).gc(grace=0)
    assert last.before - last.after == done.waiting_bytes
    assert on_disk(tmp_path) == last.after


# -- what is damaged -----------------------------------------------------------------------------------------------------


def damaged(folder: Path, where: str) -> Path:
    """Damage the one segment of a cache: its directory by cutting it off or by a flip, or its table of keys."""
    (name,) = names(folder, "segments")
    path = folder / name
    data = bytearray(path.read_bytes())
    blocks, table, _ = (int(each, 16) for each in path.name.split(".")[1:])
    if where == "cut":
        del data[blocks * 2 // 3 :]
    elif where == "empty":
        data.clear()
    else:
        data[{"directory": -10, "table": blocks + table // 2}[where]] ^= 1
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(("where", "kept"), [("cut", 512), ("directory", 1000), ("table", 1000), ("empty", 0)])
def test_a_segment_that_cannot_be_read_is_retired(tmp_path: Path, clock: list[float], where: str, kept: int) -> None:
    made(tmp_path, [first], range(1000))
    made(tmp_path, [big], range(3))  # a segment of its own, and large values
    whole = {*names(tmp_path, "segments")}
    made(tmp_path / "other", [first], range(1000))
    path = damaged(tmp_path / "other", where)
    path.rename(tmp_path / "segments" / path.name)
    for name in sorted(whole)[:1]:
        (tmp_path / name).unlink()  # the damaged one takes its place
    with pytest.warns(CacheWarning, match=rf"{path.name}.*`hypernodes cache gc` (removes it|writes it anew)"):
        assert made(tmp_path, [first], range(1)) == {"first": 1}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CacheWarning)
        assert any(path.name in problem for problem in again(tmp_path).verify().problems)
        promised = again(tmp_path).gc(dry_run=True)
        done = again(tmp_path).gc()
    assert promised == done
    assert f"segments/{path.name}" in done.waiting
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert again(tmp_path).verify().problems == ()
        clock[0] += 3601
        assert f"segments/{path.name}" in again(tmp_path).gc().deleted
        assert again(tmp_path).verify().problems == ()
        assert made(tmp_path, [first, big], range(3))["big"] == 0
        assert made(tmp_path, [first], range(1000))["first"] <= 1000 - kept


def test_clear_takes_what_cannot_be_read(tmp_path: Path) -> None:
    made(tmp_path, [first], range(300))
    path = damaged(tmp_path, "cut")
    with pytest.warns(CacheWarning):
        again(tmp_path).clear()
    assert not path.exists()
    assert again(tmp_path).verify().problems == ()


def test_a_damaged_block_of_a_small_segment_goes(tmp_path: Path) -> None:
    made(tmp_path, [first], range(300))
    (name,) = names(tmp_path, "segments")
    data = bytearray((tmp_path / name).read_bytes())
    data[100] ^= 1
    (tmp_path / name).write_bytes(data)
    assert len(again(tmp_path).verify().problems) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CacheWarning)
        again(tmp_path).gc(grace=0)
    assert again(tmp_path).verify().problems == ()
    assert made(tmp_path, [first], range(256, 300)) == {"first": 0}


def test_a_damaged_copy_does_not_take_the_whole_one_along(tmp_path: Path) -> None:
    made(tmp_path, [first], range(300))
    (name,) = names(tmp_path, "segments")
    holder_id, blocks, table, directory = (tmp_path / name).name.split(".")
    copy = tmp_path / "segments" / f"{holder_id}.{int(blocks, 16) - 1:x}.{table}.{directory}"
    copy.write_bytes((tmp_path / name).read_bytes())
    with pytest.warns(CacheWarning, match=copy.name):
        again(tmp_path).gc(grace=0)
    assert not copy.exists()
    assert made(tmp_path, [first], range(300)) == {"first": 0}


def test_what_is_forgotten_stays_so_where_the_note_was_damaged(tmp_path: Path) -> None:
    made(tmp_path, [first], range(300))
    again(tmp_path).invalidate("first")
    path = tmp_path / names(tmp_path, "segments")[-1]
    data = bytearray(path.read_bytes())
    data[-10] ^= 1
    path.write_bytes(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CacheWarning)
        again(tmp_path).gc(grace=0)
    assert made(tmp_path, [first], range(300)) == {"first": 300}


# -- other keys ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [{"older_than": 0}, {"max_size": 0}, {}])
@pytest.mark.parametrize("where", ["", "cut", "directory", "table"])
def test_what_another_key_signed_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: Any, where: str) -> None:
    root = tmp_path / "root"
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "mine"))
    made(root, [first, big], range(10))
    if where:
        damaged(root, where)
    before = {name: (root / name).read_bytes() for below in ("segments", "objects") for name in names(root, below)}
    again(root)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "theirs"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CacheWarning)
        done = again(root).gc(grace=0, **how)
        again(root).clear()
        info = again(root).info()
        found = again(root).verify()
    assert (found.problems, found.foreign > 0) == ((), True)
    assert {name: (root / name).read_bytes() for name in before} == before
    assert not set(done.deleted) & set(before)
    assert done.foreign_files == info.foreign_files == 1
    assert info.nodes == {}
    assert info.foreign in ((0,) if where == "cut" else (0, 20) if where == "directory" else (20,))
    least = sum(map(len, before.values())) if info.foreign else len(before[names(root, "segments")[0]])
    assert done.foreign >= least * 0.5
    assert info.foreign_bytes == done.foreign
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "mine"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CacheWarning)
        assert where or made(root, [first, big], range(10)) == {"first": 0, "big": 0}


def test_a_journal_of_another_key_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import subprocess
    import sys

    (tmp_path / "go.py").write_text(
        "import os, signal\nfrom hypernodes import DiskCache, Pipeline, node\n"
        "@node(output_name='y')\ndef work(x):\n    if x == 600: os.kill(os.getpid(), signal.SIGKILL)\n    return x\n"
        "Pipeline([work], cache=DiskCache('root'), name='p').map({'x': list(range(1000))}, map_over='x')"
    )
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "mine"))
    subprocess.run([sys.executable, "go.py"], cwd=tmp_path, check=False)
    (journal,) = (tmp_path / "root" / "journal").iterdir()
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "theirs"))
    done = again(tmp_path / "root").gc(older_than=0, grace=0)
    assert (done.foreign_files, done.foreign, journal.exists()) == (1, journal.stat().st_size, True)
    assert again(tmp_path / "root").info().foreign_files == 1


def test_results_of_ones_own_make_room_beside_those_of_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "root"
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "mine"))
    made(root, [large], range(10))
    again(root)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "theirs"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CacheWarning)
        for start in (20, 30):
            made(root, [large], range(start, start + 10), max_size="3 MB")
    assert len(names(root, "objects")) >= 10 + 7
    assert again(root).gc(max_size="3 MB", grace=0).foreign > 4_000_000
    assert len(names(root, "objects")) == 10 + 7


# -- times ---------------------------------------------------------------------------------------------------------------


def test_times_in_words(tmp_path: Path, clock: list[float]) -> None:
    made(tmp_path, [first], range(10))
    clock[0] += 8 * DAY
    for long in ("30d", "2w", 9 * DAY, timedelta(days=9), " 216 h "):
        assert again(tmp_path).gc(older_than=long, dry_run=True).results == ()
    for short in ("1w", "1.5h", "7 d", "600m", 60, timedelta(hours=1), "90"):
        done = again(tmp_path).gc(older_than=short, dry_run=True)
        assert (len(done.results), done.deleted) == (10, ())
    assert len(again(tmp_path).gc(older_than="1w", grace="0s", dry_run=True).deleted) == 1
    assert len(again(tmp_path).gc(older_than="1w", grace=timedelta(0), dry_run=True).deleted) == 1


@pytest.mark.parametrize("text", ["soon", "-1d", -1, True, "", "1y", b"1d", None])
def test_times_that_are_none(tmp_path: Path, text: Any) -> None:
    with pytest.raises(OptionError, match="is no time"):
        DiskCache(tmp_path).gc(grace=text)
    with pytest.raises(OptionError, match="is no time"):
        seconds_from(text)
