"""Soaks of the store: bits, lengths, writers, kills and hostile inputs in large numbers."""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "hypernodes-core" / "tests" / "support"))

import faults  # noqa: E402 - it is found there

LOST = 257  # results that a kill may cost: one group, and one in flight


def flips(folder: Path, count: int) -> str:
    """One bit flipped in as many places of segments, journals and large values."""
    recomputed = 0
    for number, journal in enumerate((False, True)):
        damage = faults.Damage(folder / str(number), [*faults.SMALL, faults.large], 6, journal=journal)
        rng = random.Random(number)
        for _ in range(count // 2):
            damage.flip(rng)
        recomputed += damage.recomputed
    return f"{count:,} flips: 0 wrong values, 0 exceptions, {recomputed:,} results computed again"


def truncations(folder: Path, count: int) -> str:
    """A segment and a journal cut to every length, or to as many."""
    checks = 0
    for number, journal in enumerate((False, True)):
        damage = faults.Damage(folder / str(number), faults.SMALL[:3], 4, journal=journal)
        places = list(damage.truncations())
        for path, length in places if not count else random.Random(1).sample(places, min(count // 2, len(places))):
            damage.check(path, damage.files[path][:length])
        checks += damage.checks
    return f"{checks:,} lengths: 0 wrong values, 0 exceptions"


def writers(folder: Path, count: int) -> str:
    """Sixteen processes that write so many keys each to one root."""
    missing = faults.writers(folder, 16, count)
    assert missing == 0, missing
    return f"16 processes x {count:,} keys: 0 lost, 0 wrong, 0 exceptions"


def collected(folder: Path, count: int) -> str:
    """The same while collections without grace run all the time."""
    missing = faults.writers(folder, 8, count, grace=0)
    return f"8 processes x {count:,} keys beside collections without grace: 0 wrong, 0 exceptions, {missing:,} computed again"


def kills(folder: Path, count: int) -> str:
    """So many maps killed at random moments, from their start to their end."""
    rng = random.Random(5)
    start = time.time()
    (folder / "whole").mkdir()
    faults.killed_and_resumed(folder / "whole", 0)
    whole = time.time() - start
    worst = total = 0
    for number in range(count):
        (folder / str(number)).mkdir()
        lost = faults.killed_and_resumed(folder / str(number), rng.uniform(0, whole * 1.1))
        assert lost <= LOST, (number, lost)
        worst, total = max(worst, lost), total + lost
    return f"{count:,} kills: all right, at most {worst} results computed twice, {total / count:.0f} on average"


def fuzz(folder: Path, count: int) -> str:
    """So many hostile inputs, one in a hundred of them under a right checksum."""
    fuzzed = faults.Fuzz(folder, os.getpid())
    start = time.time()
    for _ in range(count // 100):
        for _ in range(99):
            fuzzed.cheap()
        fuzzed.dear()
    assert not fuzzed.marker.exists()
    return f"{count:,} inputs, {count / (time.time() - start):,.0f} a second: only misses"


SOAKS: dict[str, tuple[Callable[[Path, int], str], int]] = {
    "flips": (flips, 10_000),
    "truncations": (truncations, 0),
    "writers": (writers, 10_000),
    "collected": (collected, 2_000),
    "kills": (kills, 200),
    "fuzz": (fuzz, 10_000_000),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", nargs="?", choices=SOAKS, help="one soak; all when left out")
    parser.add_argument("count", nargs="?", type=int, help="how many, instead of the usual number")
    parser.add_argument("--list", action="store_true", help="name the soaks")
    options = parser.parse_args()
    if options.list:
        print("\n".join(f"{name:12} {soak.__doc__}" for name, (soak, _) in SOAKS.items()))
        return 0
    failed = 0
    memory = Path("/dev/shm")  # noqa: S108 - where there is one, syncing takes no time
    for name in [options.name] if options.name else SOAKS:
        soak, count = SOAKS[name]
        with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
            os.environ["XDG_CONFIG_HOME"] = os.environ["XDG_CACHE_HOME"] = folder
            work = Path(folder, "soak")
            work.mkdir()
            try:
                print(f"{name}: {soak(work, count if options.count is None else options.count)}", flush=True)
            except AssertionError as error:
                failed = 1
                print(f"{name}: FAILED: {error}", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
