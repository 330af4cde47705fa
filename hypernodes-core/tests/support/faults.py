"""Faults of disks, processes and writers, and what must come out all the same; tests use a little of it, soaks much."""

from __future__ import annotations

import contextlib
import os
import pickle
import random
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
from hypernodes import DiskCache, Pipeline, node
from hypernodes.cache import opened
from hypernodes.errors import CacheWarning


@attrs.frozen
class Point:
    """Data of a class."""

    x: int
    name: str


class Opaque:
    """Takes a pickle."""

    def __init__(self, x: int) -> None:
        self.x = x

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Opaque) and self.x == other.x

    def __reduce__(self) -> tuple[Any, ...]:
        return (Opaque, (self.x,))

    __hash__ = None  # type: ignore[assignment]


@node(output_name="number")
def number(x: int) -> int:
    return x * 3


@node(output_name="text")
def text(number: int) -> str:
    return f"number {number} " * 5


@node(output_name="rows")
def rows(number: int, text: str) -> list[Any]:
    return [number, text, {"k": (number, None)}]


@node(output_name="point")
def point(number: int) -> Point:
    return Point(number, "p")


@node(output_name="opaque")
def opaque(number: int) -> Opaque:
    return Opaque(number)


@node(output_name="large")
def large(x: int) -> bytes:
    return bytes([x % 256]) * 270_000


SMALL = [number, text, rows, point, opaque]


def expected(nodes: list[Any], xs: list[int]) -> list[dict[str, Any]]:
    return list(Pipeline(nodes, name="p").map({"x": xs}, map_over="x"))


def fresh_run(nodes: list[Any], folder: Path, xs: list[int]) -> Any:
    """Run a map as a new process would."""
    setting = DiskCache(folder)
    known = opened._BY_SETTING.pop(setting.key(), None)  # noqa: SLF001 - as if nobody had opened it yet
    if known is not None:
        known.flush()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CacheWarning)
        return Pipeline(nodes, cache=setting, name="p").map({"x": xs}, map_over="x")


def files_of(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.parent != folder}


def restored(folder: Path, files: dict[Path, bytes], changed: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file() and path.parent != folder and path not in files:
            path.unlink()
    changed.write_bytes(files[changed])


class Damage:
    """A root that is damaged and repaired again.

    Attributes:
        checks: How many damages were tried.
        recomputed: How many results they cost.
    """

    def __init__(self, folder: Path, nodes: list[Any], count: int, *, journal: bool = False) -> None:
        self.folder, self.nodes, self.xs = folder, nodes, list(range(count))
        self.expected = expected(nodes, self.xs)
        fresh_run(nodes, folder, self.xs)
        if journal:
            (segment,) = (folder / "segments").iterdir()
            (folder / "journal").mkdir(exist_ok=True)
            segment.rename(folder / "journal" / segment.name.partition(".")[0])
        self.files = files_of(folder)
        self.checks = self.recomputed = 0

    def check(self, path: Path, data: bytes) -> None:
        """Damage a file; values must be right, and nothing may be raised."""
        path.write_bytes(data)
        result = fresh_run(self.nodes, self.folder, self.xs)
        assert list(result) == self.expected, path
        self.checks += 1
        self.recomputed += result.stats.ran
        restored(self.folder, self.files, path)

    def flip(self, rng: random.Random) -> None:
        """Change one bit of some file."""
        path = rng.choice(sorted(self.files))
        data = bytearray(self.files[path])
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        self.check(path, data)

    def truncations(self) -> Iterator[tuple[Path, int]]:
        """Yield every length that a file of blocks may be cut to."""
        for path in sorted(self.files):
            if path.parent.name != "objects":
                yield from ((path, length) for length in range(len(self.files[path])))


WRITER = """
import sys, warnings
from hypernodes import DiskCache, Pipeline, node
warnings.simplefilter("error")

@node(output_name="y")
def work(x):
    return [x, x * x]

first, count, root = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
result = Pipeline([work], cache=DiskCache(root), name="p").map({"x": range(first, first + count)}, map_over="x")
assert [row["y"] for row in result] == [[x, x * x] for x in range(first, first + count)]
print(result.stats["work"].ran)
"""
COLLECTOR = """
import sys
from hypernodes import DiskCache
while True:
    DiskCache(sys.argv[1]).gc(grace=float(sys.argv[2]))
"""


def script(folder: Path, name: str, source: str) -> Path:
    path = folder / name
    path.write_text(source)
    return path


def writers(folder: Path, processes: int, keys: int, grace: float | None = None) -> int:
    """Let processes write to one root, a tenth of the keys shared with the next; return how many results are missing afterwards."""
    root, writer = folder / "root", script(folder, "writer.py", WRITER)
    collector = None
    if grace is not None:
        collector = subprocess.Popen([sys.executable, str(script(folder, "collector.py", COLLECTOR)), str(root), str(grace)])
    step = keys * 9 // 10
    running = [
        subprocess.Popen(
            [sys.executable, str(writer), str(number * step), str(keys), str(root)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for number in range(processes)
    ]
    for each in running:
        _, errors = each.communicate()
        assert each.returncode == 0, errors.decode()
    if collector is not None:
        assert collector.poll() is None
        collector.kill()
        collector.wait()
    total = (processes - 1) * step + keys
    found = subprocess.run([sys.executable, str(writer), "0", str(total), str(root)], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    return int(found.stdout)


KILLED = """
import os, sys, time
from hypernodes import DiskCache, Pipeline, node
log = os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT | os.O_APPEND)

@node(output_name="y")
def work(x):
    if x % 7 == 0:
        time.sleep(0.0005)
    os.write(log, b".")
    return x * 2

result = Pipeline([work], cache=DiskCache(sys.argv[1]), name="p").map({"x": list(range(2000))}, map_over="x")
assert [row["y"] for row in result] == [2 * x for x in range(2000)]
print(time.time())
"""


def killed_and_resumed(folder: Path, delay: float) -> int:
    """Kill a map after some seconds and run it again; return how many results had to be computed twice."""
    command = [sys.executable, str(script(folder, "killed.py", KILLED)), str(folder / "root"), str(folder / "log")]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    time.sleep(delay)
    child.send_signal(signal.SIGKILL)
    child.communicate()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return (folder / "log").stat().st_size - 2000


# -- parsers -------------------------------------------------------------------------------------------------------------


class Marker:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self.path),))


class Fuzz:
    """Random inputs to everything that reads what a store gives, under checksums that anybody can make."""

    def __init__(self, folder: Path, seed: int) -> None:
        from hypernodes.cache import _blocks, _index
        from hypernodes.cache.trust import Keyring

        self.rng = random.Random(seed)
        self.marker = folder / "marker"
        self.ring = Keyring(local=False, keys=())
        self.blocks, self.index = _blocks, _index
        fresh_run(SMALL[:4], folder / "root", list(range(20)))
        cache: Any = opened.open_cache(DiskCache(folder / "root"))
        (self.holder,) = cache.catalog.index.holders.values()
        data = self.holder.store.get(self.holder.name)
        self.place = _blocks.place_of(self.holder.id, 0)
        self.block = data[: self.holder.lengths[0]]
        made = cache.reader.block(self.holder, 0)
        self.content = made._data[made._start :]  # noqa: SLF001 - as an attacker would take it apart
        self.parts = (made.time, made._second.start - made._start, made._facts_size)  # noqa: SLF001 - as above
        self.directory = data[-int(self.holder.name.rpartition(".")[2], 16) :]
        self.body = self.directory[2 + int.from_bytes(self.directory[:2], "big") :]
        self.poison = [
            pickle.dumps(Marker(self.marker), 5),
            b"\x80\x05cos\nsystem\nX\x05\x00\x00\x00falseR.",
            b"\x80\x05\x82\x01.",
            b"\x80\x05\x8a\xff" + b"\xff" * 255 + b".",
            b"\x80\x05" + b"(" * 5000 + b"l" * 5000 + b".",
            b"\x80\x05" + b")\x85" * 5000 + b".",
            b"\x80\x05N" + b"\x85" * 50_000 + b"}\x94Ns.",
            b"\x80\x05)" + b"2\x86" * 60 + b"}\x94h\x00Ns.",
            b"\x80\x05B\xff\xff\xff\x7f.",
            b"\x80\x05\x8e" + b"\xff" * 8 + b".",
            b"\x80\x05r\xff\xff\xff\x7fN.",
            b"\x80\x05Pid\n.",
            b"\x80\x05}b.",
        ]

    def check(self, data: bytes, tag: bytes) -> bool | None:
        from hypernodes.cache.trust import Verdict

        verdict = self.ring.check(data, tag)
        return None if verdict in (Verdict.BROKEN, Verdict.FOREIGN) else verdict is Verdict.TRUSTED

    def mutated(self, data: bytes) -> bytes:
        rng = self.rng
        changed = bytearray(data)
        for _ in range(rng.randint(1, 4)):
            what, place = rng.randrange(5), rng.randrange(len(changed) + 1)
            if what == 0 and place < len(changed):
                changed[place] = rng.randrange(256)
            elif what == 1:
                del changed[place : place + rng.randint(1, 40)]
            elif what == 2:
                changed[place:place] = rng.randbytes(rng.randint(1, 40))
            elif what == 3:
                changed[place : place + 8] = rng.choice([b"\xff" * 8, bytes(8), b"\xff\xff\xff\x7f" * 2])
            else:
                changed[place:place] = changed[: rng.randint(0, 60)]
        return bytes(changed)

    def cheap(self) -> None:
        """Random bytes, with and without a head."""
        data = self.rng.randbytes(self.rng.randrange(60))
        if self.rng.random() < 0.5:
            data = b"hnb1" + data
        self._block(data)

    def dear(self) -> None:
        """A block, a directory or a table that was tampered with, under a right checksum."""
        rng, blocks = self.rng, self.blocks
        what = rng.randrange(6)
        if what == 0:
            self._block(self.mutated(self.block))
        elif what == 1:
            content = self.mutated(self.content)
            first = min(len(content), self.parts[1])
            self._block(blocks.sealed(self.place, (0, first, min(len(content) - first, self.parts[2])), content, self.ring.tag))
        elif what == 2:
            first, second = (rng.choice(self.poison) if rng.random() < 0.7 else self.content[: self.parts[1]] for _ in range(2))
            self._block(blocks.sealed(self.place, (0, len(first), len(second)), first + second, self.ring.tag))
        elif what == 3:
            self._directory(self.mutated(self.directory))
        elif what == 4:
            self._directory(self._signed(self.mutated(self.body) if rng.random() < 0.8 else rng.choice(self.poison)))
        else:
            self._table()

    def _signed(self, body: bytes) -> bytes:
        tag = self.ring.tag(self.index._under_tag(self.holder.id, body))  # noqa: SLF001 - as above
        return len(tag).to_bytes(2, "big") + tag + body

    def _block(self, data: bytes) -> None:
        try:
            block = self.blocks.Block(self.place, data, self.check)
            for position in range(min(len(block), 50)):
                block.entry(position, None)
                list(block.columns((position,), 0))
            bool(block.notes)
        except (self.blocks.Unreadable, IndexError, TypeError, AttributeError, KeyError, ValueError):
            pass  # the first is a miss; the others are turned into one by whoever looks an entry up

    def _directory(self, data: bytes) -> None:
        holder = self.index.Holder(self.holder.id, self.holder.name, None)
        with contextlib.suppress(self.blocks.Unreadable):
            self.index.read_directory(holder, data, self.check)

    def _table(self) -> None:
        from hypernodes.cache._tables import Table

        try:
            table = Table(self.mutated(self.rng.randbytes(self.rng.randrange(200))))
            table.find(self.rng.randbytes(20))
            list(table.records())
        except (ValueError, IndexError):
            pass
