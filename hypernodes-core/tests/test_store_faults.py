"""What becomes of runs when disks, processes and other people do their worst; ``tests/soaks`` does more of the same."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import faults
import pytest
from faults import SMALL, Damage, Fuzz, expected, fresh_run, large

XS = list(range(12))


@pytest.mark.parametrize("journal", [False, True])
def test_flipped_bits(tmp_path: Path, journal: bool) -> None:
    damage = Damage(tmp_path, [*SMALL, large], 6, journal=journal)
    rng = random.Random(7)
    for _ in range(60):
        damage.flip(rng)
    assert damage.recomputed > 0


def test_truncated_segments(tmp_path: Path) -> None:
    damage = Damage(tmp_path, SMALL, 3)
    for path, length in list(damage.truncations())[::97]:
        damage.check(path, damage.files[path][:length])


def test_many_writers_lose_nothing(tmp_path: Path) -> None:
    assert faults.writers(tmp_path, 4, 400) == 0


def test_collections_while_others_write(tmp_path: Path) -> None:
    faults.writers(tmp_path, 3, 400, grace=0)  # raises for a wrong value; what went missing in between was computed again
    (tmp_path / "again").mkdir()
    assert faults.writers(tmp_path / "again", 3, 400, grace=3600) == 0


@pytest.mark.parametrize("delay", [0.5, 0.75])
def test_killed_maps_lose_one_group(tmp_path: Path, delay: float) -> None:
    assert faults.killed_and_resumed(tmp_path, delay) <= 257


def test_hostile_inputs_are_misses(tmp_path: Path) -> None:
    fuzz = Fuzz(tmp_path, 1)
    for _ in range(5000):
        fuzz.cheap()
    for _ in range(800):
        fuzz.dear()
    assert not fuzz.marker.exists()


# -- disks ---------------------------------------------------------------------------------------------------------------

CHILD = """
import fcntl, os, shutil, sys, tempfile, warnings
sys.path[:0] = {path!r}
import faults
from hypernodes import DiskCache, Pipeline
with tempfile.TemporaryDirectory() as folder:  # so that nothing has to be imported any more
    environment = dict(os.environ)
    os.environ["XDG_CONFIG_HOME"] = folder
    for _ in range(2):
        faults.fresh_run(faults.SMALL, faults.Path(folder), [1])
    os.environ.clear(); os.environ.update(environment)
{before}
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    result = Pipeline(faults.SMALL, cache=DiskCache({root!r}), name="p").map({{"x": list(range({count}))}}, map_over="x")
assert list(result) == faults.expected(faults.SMALL, list(range({count})))
texts = [str(each.message) for each in told]
assert len(texts) == len(set(texts)) <= {most}, texts
print(result.stats.ran)
"""


def child(root: Path, count: int = 12, *, before: str = "", most: int = 1, nobody: bool = False, **environment: str) -> int:
    """Run a map in another process; return how many calls were made."""
    if nobody and os.geteuid() == 0:
        before = f"{before}\nos.setgid(65534); os.setuid(65534)"
    path = [str(Path(__file__).parent / "support"), *(entry for entry in sys.path if entry)]
    source = CHILD.format(path=path, before=before, root=str(root), count=count, most=most)
    environment = {**os.environ, **environment}
    done = subprocess.run(
        [sys.executable, "-c", source], env=environment, capture_output=True, text=True, check=False, cwd=Path(__file__).parent
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.fixture
def root(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A root with some results, and a home of nobody's."""
    with tempfile.TemporaryDirectory() as folder:
        home, root = Path(folder, "home"), Path(folder, "root")
        home.mkdir()
        monkeypatch.setenv("XDG_CONFIG_HOME", str(home))
        child(root)
        for path in (home, *home.rglob("*")):
            os.chown(path, 65534 if os.geteuid() == 0 else -1, -1)
        for path in (home.parent, root, *root.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
        yield root
        for path in (root, *root.rglob("*")):
            path.chmod(0o755)


def test_a_root_that_is_read_only_serves_hits(root: Path) -> None:
    for path in root.rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    root.chmod(0o555)
    assert child(root, nobody=True) == 0
    assert child(root, 15, nobody=True) == 3 * len(SMALL)


def test_a_root_that_nobody_may_enter(root: Path) -> None:
    if os.geteuid() == 0:
        root.chmod(0)
        assert child(root, nobody=True) == 12 * len(SMALL)
        root.chmod(0o755)


def test_a_root_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("something else")
    assert child(tmp_path / "file") == 12 * len(SMALL)
    assert (tmp_path / "file").read_text() == "something else"


def test_a_disk_that_is_full(root: Path) -> None:
    full = "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))"
    assert child(root, 400, before=full) == 388 * len(SMALL)
    assert child(root) == 0


def test_a_home_that_cannot_be_written_and_none_at_all(tmp_path: Path) -> None:
    (tmp_path / "blocked").write_text("")
    blocked = str(tmp_path / "blocked")
    assert child(tmp_path / "one", XDG_CONFIG_HOME=blocked, XDG_CACHE_HOME=blocked) == 12 * len(SMALL)
    assert child(tmp_path / "two", before="os.environ.pop('HOME', None)", XDG_CONFIG_HOME=str(tmp_path), XDG_CACHE_HOME="") == 12 * len(
        SMALL
    )


def test_a_home_that_forbids_locks(tmp_path: Path) -> None:
    forbidden = "def flock(*_): raise OSError(37, 'No locks available')\nfcntl.flock = fcntl.lockf = flock"
    assert child(tmp_path / "root", before=forbidden, XDG_CONFIG_HOME=str(tmp_path / "new")) == 12 * len(SMALL)
    assert child(tmp_path / "root", before=forbidden, XDG_CONFIG_HOME=str(tmp_path / "new")) == 0


VANISHING = """
from hypernodes import node
def work(x):
    if x == 300 and not hasattr(sys, "gone"):
        sys.gone = True
        shutil.rmtree({root!r}, ignore_errors=True)
    return x * 3
faults.SMALL[0] = node(output_name="number", name="number")(work)
"""


def test_a_root_that_vanishes_during_a_run(tmp_path: Path) -> None:
    root = tmp_path / "a" / "root"
    assert child(root, 600, before=VANISHING.format(root=str(root))) == 600 * len(SMALL)
    assert child(root, 600) == 600  # the number is made by another function, and comes out the same


def test_an_index_that_is_gone_or_nonsense(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for x in range(20):  # enough segments that an index is written
        fresh_run(SMALL, tmp_path / "root", [x])

    def check() -> None:
        result = fresh_run(SMALL, tmp_path / "root", list(range(20)))
        assert (list(result), result.stats.ran) == (expected(SMALL, list(range(20))), 0)

    assert len(list((tmp_path / "root" / "segments").iterdir())) == 20
    check()
    (index,) = (path for path in (tmp_path / "cache").rglob("index") if path.is_file())
    whole = index.read_bytes()
    for content in (b"", b"nonsense" * 50, whole[: len(whole) // 2], bytes(len(whole)), whole[:40] + bytes(60) + whole[100:]):
        index.write_bytes(content)
        check()
    index.unlink(missing_ok=True)
    check()


def test_expected_values_are_those_of_no_cache(tmp_path: Path) -> None:
    assert list(fresh_run(SMALL, tmp_path, XS)) == expected(SMALL, XS)
