"""The cache on disk: what a run leaves, what a killed one leaves, and what others find there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
import warnings
from pathlib import Path
from typing import Any

import pytest
from hypernodes import DiskCache, Pipeline, node
from hypernodes.cache import opened
from hypernodes.errors import CacheWarning


@node(output_name="a")
def first(x: int) -> int:
    return x + 1


@node(output_name="b")
def second(a: int) -> list[int]:
    return [a, a * 2]


def again(folder: Path) -> DiskCache:
    """The same cache, as another process would open it."""
    setting = DiskCache(folder)
    known = opened._BY_SETTING.pop(setting.key(), None)  # noqa: SLF001 - as if nobody had opened it yet
    if known is not None:
        known.flush()
    return setting


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def ran(result: Any) -> dict[str, int]:
    return {name: stats.ran for name, stats in result.stats.items()}


def test_a_run_leaves_one_segment_and_no_journal(tmp_path: Path) -> None:
    Pipeline([first, second], cache=DiskCache(tmp_path / "c")).map({"x": list(range(1000))}, map_over="x")
    found = files(tmp_path / "c")
    assert found[:2] == [".gitignore", "CACHEDIR.TAG"]
    assert len(found) == 3
    assert found[2].startswith("segments/")


def test_a_warm_run_leaves_nothing(tmp_path: Path) -> None:
    pipeline = Pipeline([first, second], cache=DiskCache(tmp_path / "c"))
    pipeline.map({"x": list(range(10))}, map_over="x")
    before = files(tmp_path / "c")
    pipeline.map({"x": list(range(10))}, map_over="x")
    assert files(tmp_path / "c") == before


def test_large_values_are_kept_apart_once(tmp_path: Path) -> None:
    make = node(output_name="y", name="make")(lambda x: bytes(400_000))
    pipeline = Pipeline([make], cache=DiskCache(tmp_path / "c"))
    pipeline.map({"x": [1, 2, 3]}, map_over="x")
    assert len([name for name in files(tmp_path / "c") if name.startswith("objects/")]) == 1
    result = Pipeline([make], cache=again(tmp_path / "c")).map({"x": [1, 2, 3]}, map_over="x")
    assert (ran(result), [len(row["y"]) for row in result]) == ({"make": 0}, [400_000] * 3)


KILLED = """
import os, signal, sys
from hypernodes import DiskCache, Pipeline, node

@node(output_name="y")
def work(x):
    if x == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
    return x * 2

result = Pipeline([work], cache=DiskCache(sys.argv[1])).map({"x": list(range(3000))}, map_over="x")
print(result.stats["work"].ran, [row["y"] for row in result] == [2 * x for x in range(3000)])
"""


@pytest.mark.parametrize("at", [300, 1111, 2900])
def test_a_killed_run_loses_one_group_at_most(tmp_path: Path, at: int) -> None:
    (tmp_path / "go.py").write_text(KILLED)

    def go(stop: int) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "go.py", "c", str(stop)], cwd=tmp_path, capture_output=True, text=True, check=False)

    assert go(at).returncode == -signal.SIGKILL
    assert [name.partition("/")[0] for name in files(tmp_path / "c")][2:] == ["journal"]
    done = go(-1)
    assert done.returncode == 0, done.stderr
    made, right = done.stdout.split()
    assert right == "True"
    assert 3000 - at <= int(made) <= 3000 - at + 256


def test_a_torn_journal_is_read_as_far_as_it_is_whole(tmp_path: Path) -> None:
    (tmp_path / "go.py").write_text(KILLED)
    subprocess.run([sys.executable, "go.py", "c", "2000"], cwd=tmp_path, capture_output=True, check=False)
    (journal,) = (tmp_path / "c" / "journal").iterdir()
    data = journal.read_bytes()
    for cut in (1, 20, len(data) // 2, len(data) - 1):
        journal.write_bytes(data[:cut])
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert len(again(tmp_path / "c")) % 256 == 0
    journal.write_bytes(data[:-1] + bytes([data[-1] ^ 4]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a last block that is not whole is what a power cut leaves
        assert again(tmp_path / "c").verify().problems == ()


@pytest.mark.parametrize("where", ["body", "length", "magic", "first"])
def test_damage_in_the_middle_of_a_journal_is_told(tmp_path: Path, where: str) -> None:
    (tmp_path / "go.py").write_text(KILLED)
    subprocess.run([sys.executable, "go.py", "c", "2000"], cwd=tmp_path, capture_output=True, check=False)
    (journal,) = (tmp_path / "c" / "journal").iterdir()
    data = bytearray(journal.read_bytes())
    starts = [place for place in range(len(data)) if data.startswith(b"hnb1", place)]
    size = starts[3] - starts[2]
    place = {"body": starts[2] + size // 2, "length": starts[2] + 6, "magic": starts[2], "first": 40}[where]
    data[place : place + 4] = bytes(each ^ 255 for each in data[place : place + 4])
    journal.write_bytes(data)
    reader = DiskCache(tmp_path / "c", read_only=True)
    with pytest.warns(CacheWarning, match="bytes of what killed runs left behind are damaged") as told:
        assert any(journal.name in problem for problem in reader.verify().problems)
    assert len(told) == 1
    with pytest.warns(CacheWarning, match=rf"{size:,} bytes .*{journal.name}" if where != "first" else journal.name) as told:
        (problem,) = again(tmp_path / "c").verify().problems
    assert len(told) == 1
    assert f"journal/{journal.name}: " in problem
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(again(tmp_path / "c")) == len(starts) * 256 - 256  # the others were kept
        assert again(tmp_path / "c").verify().problems == ()
    assert not journal.exists()


def test_a_run_says_that_a_journal_was_damaged(tmp_path: Path) -> None:
    (tmp_path / "go.py").write_text(KILLED)
    subprocess.run([sys.executable, "go.py", "c", "2000"], cwd=tmp_path, capture_output=True, check=False)
    (journal,) = (tmp_path / "c" / "journal").iterdir()
    data = bytearray(journal.read_bytes())
    data[len(data) // 2] ^= 4
    journal.write_bytes(data)
    done = subprocess.run([sys.executable, "go.py", "c", "-1"], cwd=tmp_path, capture_output=True, check=True, text=True)
    assert done.stdout.split() == [str(3000 - 1792 + 256), "True"]
    assert done.stderr.count("are damaged and could not be read") == 1


@pytest.mark.parametrize("layers", [False, True])
def test_a_file_in_place_of_the_directory(tmp_path: Path, layers: bool) -> None:
    path = tmp_path / "file"
    path.write_text("something else")
    for place in (path, path / "below"):
        cache: Any = [str(place), str(tmp_path / "other")] if layers else str(place)
        with pytest.warns(
            CacheWarning, match=rf"{path} is a file, not a directory; fix: move it away, or give the cache another path"
        ) as told:
            result = Pipeline([first], cache=cache).map({"x": [1, 2]}, map_over="x")
        assert len(told) == 1
        assert [row["a"] for row in result] == [2, 3]
    assert path.read_text() == "something else"


def test_a_file_in_place_of_the_segments(tmp_path: Path) -> None:
    (tmp_path / "segments").write_text("")
    with pytest.warns(CacheWarning, match="segments is a file, not a directory"):
        (problem,) = again(tmp_path).verify().problems
    assert "segments is a file, not a directory" in problem


def test_an_empty_large_value_is_a_damaged_one(tmp_path: Path) -> None:
    big = node(output_name="big", name="big")(lambda x: bytes([x]) * 300_000)
    Pipeline([big], cache=again(tmp_path)).run({"x": 1})
    (path,) = (tmp_path / "objects").iterdir()
    path.write_bytes(b"")
    with pytest.warns(CacheWarning, match=rf"objects/{path.name} is not what was written") as told:
        assert Pipeline([big], cache=again(tmp_path)).run({"x": 1})["big"] == b"\1" * 300_000
    assert len(told) == 1


def test_a_directory_in_place_of_a_large_value(tmp_path: Path) -> None:
    big = node(output_name="big", name="big")(lambda x: bytes([x]) * 300_000)
    Pipeline([big], cache=again(tmp_path)).run({"x": 1})
    (path,) = (tmp_path / "objects").iterdir()
    path.unlink()
    path.mkdir()
    with pytest.warns(CacheWarning, match=rf"objects/{path.name}") as told:  # which says what to look at
        assert Pipeline([big], cache=again(tmp_path)).run({"x": 1})["big"] == b"\1" * 300_000
    assert len(told) == 1


@pytest.mark.parametrize("how", ["invalidate", "clear"])
@pytest.mark.parametrize("skew", [600, -600])
def test_what_is_forgotten_is_forgotten_whatever_the_clocks_say(
    how: str, skew: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever made a result and whoever forgets it may be machines with different clocks."""
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + skew)
    monkeypatch.setattr(time, "time_ns", lambda: int((now() + skew) * 1e9))
    pipeline = Pipeline([first], cache=again(tmp_path))
    pipeline.run({"x": 1})
    if skew > 0:
        monkeypatch.undo()
    else:  # the one that forgets is ahead
        monkeypatch.setattr(time, "time", lambda: now() - skew)
        monkeypatch.setattr(time, "time_ns", lambda: int((now() - skew) * 1e9))
    setting = again(tmp_path)
    assert (setting.clear() if how == "clear" else setting.invalidate("first")) == 1
    monkeypatch.undo()
    assert len(again(tmp_path)) == 0
    assert ran(Pipeline([first], cache=again(tmp_path)).run({"x": 1})) == {"first": 1}
    assert ran(Pipeline([first], cache=again(tmp_path)).run({"x": 1})) == {"first": 0}  # and what is made now is kept


def test_a_tilde_stands_for_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    assert DiskCache("~/c").path == str(tmp_path / "home" / "c")
    Pipeline([first], cache="~/d").run({"x": 1})
    assert (tmp_path / "home" / "d" / "CACHEDIR.TAG").exists()
    assert not (tmp_path / "~").exists()


def test_another_process_sees_what_this_one_has_written_so_far(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    monkeypatch.setattr("hypernodes.cache._outbox.GROUP_SECONDS", 1000.0)  # however slow the other process is to start

    @node(output_name="y")
    def work(x: int) -> int:
        if x == 600:
            script = f"from hypernodes import DiskCache; print(len(DiskCache({str(tmp_path / 'c')!r})))"
            seen.append(int(subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout))
        return x

    Pipeline([work], cache=DiskCache(tmp_path / "c")).map({"x": list(range(601))}, map_over="x")
    assert seen == [512]


def test_a_result_waits_no_longer_than_a_second(tmp_path: Path) -> None:
    sizes: list[int] = []

    @node(output_name="y")
    def slow(x: int) -> int:
        if x == 3:
            end = time.monotonic() + 20
            journals = tmp_path / "c" / "journal"
            while not (journals.is_dir() and any(path.stat().st_size for path in journals.iterdir())) and time.monotonic() < end:
                time.sleep(0.05)
            sizes.append(sum(path.stat().st_size for path in journals.iterdir()))
        return x

    Pipeline([slow], cache=DiskCache(tmp_path / "c")).map({"x": list(range(4))}, map_over="x")
    assert sizes[0] > 0  # though the group is far from full


def test_every_bit_counts(tmp_path: Path) -> None:
    """Whatever is changed in a segment: no wrong value and no exception."""
    pipeline = Pipeline([first, second], cache=DiskCache(tmp_path / "c"))
    expected = pipeline.map({"x": list(range(70))}, map_over="x")
    (segment,) = (tmp_path / "c" / "segments").iterdir()
    data = segment.read_bytes()

    def check(changed: bytes) -> None:
        segment.write_bytes(changed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CacheWarning)
            result = Pipeline([first, second], cache=again(tmp_path / "c")).map({"x": list(range(70))}, map_over="x")
        assert list(result) == list(expected)
        for path in (tmp_path / "c" / "segments").iterdir():
            if path != segment:
                path.unlink()

    for place in [*range(0, len(data), max(1, len(data) // 60)), len(data) - 1]:
        flipped = bytearray(data)
        flipped[place] ^= 1 << (place % 8)
        check(flipped)
    for cut in range(0, len(data), max(1, len(data) // 40)):
        check(data[:cut])


def test_what_another_key_signed_is_counted_and_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "mine"))
    Pipeline([first], cache=again(tmp_path / "c")).map({"x": [1, 2]}, map_over="x")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "theirs"))
    with pytest.warns(CacheWarning, match="written under another key") as told:
        result = Pipeline([first], cache=again(tmp_path / "c")).map({"x": [1, 2]}, map_over="x")
    assert ran(result) == {"first": 2}
    assert len(told) == 1
    assert str(told[0].message).startswith("2 results in cache ")


def test_a_forked_child_leaves_its_parents_results_alone(tmp_path: Path) -> None:
    script = textwrap.dedent("""
        import os
        from hypernodes import DiskCache, Pipeline, node
        cache = DiskCache("c")
        work = node(output_name="y", name="work")(lambda x: x)
        pipeline = Pipeline([work], cache=cache)
        pipeline.run({"x": 1})
        if os.fork() == 0:
            pipeline.map({"x": [2, 3]}, map_over="x")
            os._exit(0)
        os.wait()
        pipeline.run({"x": 4})
        print(len(cache))
    """)
    environment = {**os.environ, "PYTHONWARNINGS": "ignore::DeprecationWarning"}
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == ("4", "")


def test_a_cache_at_a_url(tmp_path: Path) -> None:
    pytest.importorskip("fsspec", reason="URLs are opened by fsspec")
    pipeline = Pipeline([first, second], cache=f"memory://{tmp_path.name}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CacheWarning)  # without a key, a shared cache holds plain data only
        pipeline.map({"x": [1, 2]}, map_over="x")
        assert ran(pipeline.map({"x": [2, 1, 3]}, map_over="x")) == {"first": 1, "second": 1}


# -- whole pieces of maps ------------------------------------------------------------------------------------------------

MANY = list(range(5000))


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count the keys that are looked up one by one."""
    from hypernodes.cache._stored import StoredCache

    asked: list[int] = []
    find = StoredCache.find
    monkeypatch.setattr(StoredCache, "find", lambda self, keys: asked.append(len(keys)) or find(self, keys))
    return asked


def test_a_map_asked_for_again_is_answered_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cold = Pipeline([first, second], cache=again(tmp_path / "c")).map({"x": MANY}, map_over="x")
    asked = counted(monkeypatch)
    warm = Pipeline([first, second], cache=again(tmp_path / "c")).map({"x": MANY}, map_over="x")
    assert list(warm) == list(cold)
    assert {name: (stats.cached, stats.ran) for name, stats in warm.stats.items()} == {"first": (5000, 0), "second": (5000, 0)}
    last = Pipeline([first, second], cache=again(tmp_path / "c")).map({"x": MANY}, map_over="x", output_name="b")
    assert [row["b"] for row in last] == [row["b"] for row in cold]
    assert asked == []
    assert warm.inputs[4999] == {"x": 4999}


def test_a_changed_item_costs_its_piece_a_look_and_itself_a_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Pipeline([first, second], cache=again(tmp_path / "c")).map({"x": MANY}, map_over="x")
    asked = counted(monkeypatch)
    result = Pipeline([first, second], cache=again(tmp_path / "c")).map({"x": [*MANY[:-1], 9999]}, map_over="x")
    assert (result[-1], ran(result)) == ({"a": 10000, "b": [10000, 20000]}, {"first": 1, "second": 1})
    assert sum(asked) < 2000  # the first piece was not looked at


def test_results_of_a_piece_are_the_callers_own(tmp_path: Path) -> None:
    for _ in range(3):
        result = Pipeline([first, second], cache=again(tmp_path / "c")).map({"x": MANY[:100]}, map_over="x")
        assert result[7]["b"] == [8, 16]
        result[7]["b"].append("spoilt")


def test_a_piece_does_not_outlive_what_it_was_made_from(tmp_path: Path) -> None:
    setting = again(tmp_path / "c")
    pipeline = Pipeline([first, second], cache=setting)
    pipeline.map({"x": MANY[:100]}, map_over="x")
    assert setting.invalidate(node="second") == 100
    assert ran(pipeline.map({"x": MANY[:100]}, map_over="x")) == {"first": 0, "second": 100}
    assert ran(Pipeline([first, second], cache=again(tmp_path / "c")).map({"x": MANY[:100]}, map_over="x")) == {"first": 0, "second": 0}
    (tmp_path / "c" / "segments").rename(tmp_path / "gone")
    assert ran(Pipeline([first, second], cache=again(tmp_path / "c")).map({"x": MANY[:100]}, map_over="x")) == {"first": 100, "second": 100}


def test_pieces_know_constants_bindings_and_code(tmp_path: Path) -> None:
    def times(factor: int) -> Any:
        return node(output_name="y", name="times")(lambda x, k, b: x * factor + k + b)

    def run(factor: int, k: int, b: int) -> list[int]:
        pipeline = Pipeline([times(factor)], cache=again(tmp_path / "c")).bind(b=b)
        return [row["y"] for row in pipeline.map({"x": MANY[:100], "k": k}, map_over="x")]

    for factor, k, b in [(1, 2, 3), (2, 2, 3), (1, 5, 3), (1, 2, 7), (1, 2, 3), (2, 2, 3)]:
        assert run(factor, k, b) == [x * factor + k + b for x in MANY[:100]]


def test_expiring_results_are_never_answered_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1_000_000.0]
    monkeypatch.setattr(time, "time", lambda: clock[0])
    short = node(output_name="y", name="short", expires=10)(lambda x: x)
    pipeline = Pipeline([short], cache=again(tmp_path / "c"))
    pipeline.map({"x": MANY[:100]}, map_over="x")
    clock[0] += 11
    assert ran(pipeline.map({"x": MANY[:100]}, map_over="x")) == {"short": 100}
