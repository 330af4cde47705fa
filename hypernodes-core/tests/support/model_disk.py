"""A disk in memory that can crash, lose power and refuse: what was not synced may be lost, kept or torn afterwards."""

from __future__ import annotations

import errno
import os
import posixpath
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import attrs


class Crashed(BaseException):
    """The process is dead: nothing it does reaches the disk any more."""


@attrs.define(eq=False)
class File:
    """A file: what a power cut cannot take, and what has been written to it since."""

    data: bytearray = attrs.field(factory=bytearray)
    durable: bytes = b""

    def after_power_cut(self, rng: Random) -> File:
        """Return what may be left: anything between what was synced and what was written, torn or with holes."""
        kept = bytes(self.data)
        if kept != self.durable:
            what = rng.randrange(4)
            common = len(posixpath.commonprefix([kept.hex(), self.durable.hex()])) // 2
            cut = rng.randint(common, len(kept)) if len(kept) > common else len(kept)
            if what == 0:
                kept = self.durable
            elif what == 1:
                kept = kept[:cut]
            elif what == 2:
                kept = kept[:cut] + bytes(len(kept) - cut)  # the length is there, the content is not
        return File(bytearray(kept), kept)


@attrs.define(eq=False)
class Folder:
    """A directory: names that a power cut cannot take, and what was done to names since, in order."""

    names: dict[str, File | Folder] = attrs.field(factory=dict)
    durable: dict[str, File | Folder] = attrs.field(factory=dict)
    changes: list[dict[str, File | Folder | None]] = attrs.field(factory=list)

    def set(self, changed: dict[str, File | Folder | None]) -> None:
        """Give or take names, all at once."""
        _apply(self.names, changed)
        self.changes.append(changed)

    def after_power_cut(self, rng: Random, known: dict[int, Any]) -> Folder:
        """Return what may be left: the first so many of the changes."""
        left = dict(self.durable)
        for changed in self.changes[: rng.randint(0, len(self.changes))]:
            _apply(left, changed)
        made = {name: _survivor(node, rng, known) for name, node in left.items()}
        return Folder(dict(made), dict(made))


def _apply(names: dict[str, File | Folder], changed: dict[str, File | Folder | None]) -> None:
    for name, node in changed.items():
        if node is None:
            names.pop(name, None)
        else:
            names[name] = node


def _survivor(node: Any, rng: Random, known: dict[int, Any]) -> Any:
    if id(node) not in known:  # two names of one file still name one
        known[id(node)] = node.after_power_cut(rng, known) if isinstance(node, Folder) else node.after_power_cut(rng)
    return known[id(node)]


class ModelDisk:
    """A disk in memory, with the methods of ``hypernodes.cache._disk.Disk``.

    Attributes:
        operations: How many there were.
        crash_at: The operation at which the process dies.
        fault: Asked before each operation, by its number and name: an error to raise, ``"short"`` for a short write, or ``None``.
    """

    def __init__(self, root: Folder | None = None) -> None:
        self.root = root or Folder()
        self.operations = 0
        self.crash_at: int | None = None
        self.fault: Callable[[int, str], OSError | str | None] = lambda _number, _name: None
        self._open: dict[int, File] = {}
        self._next = 10

    def killed(self) -> ModelDisk:
        """Return the disk as another process finds it."""
        return ModelDisk(self.root)

    def after_power_cut(self, rng: Random) -> ModelDisk:
        """Return a disk as it may be found after a power cut."""
        return ModelDisk(self.root.after_power_cut(rng, {}))

    # -- what the others are made of ------------------------------------------------------------------------------

    def _operation(self, name: str) -> str | None:
        self.operations += 1
        if self.crash_at is not None and self.operations >= self.crash_at:
            raise Crashed
        trouble = self.fault(self.operations, name)
        if isinstance(trouble, OSError):
            raise trouble
        return trouble

    def _find(self, path: str) -> File | Folder:
        node: File | Folder = self.root
        for part in path.strip("/").split("/"):
            if not isinstance(node, Folder):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
            if part:
                if part not in node.names:
                    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
                node = node.names[part]
        return node

    def _folder(self, path: str) -> Folder:
        node = self._find(path)
        if not isinstance(node, Folder):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
        return node

    def _file(self, path: str) -> File:
        node = self._find(path)
        if not isinstance(node, File):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        return node

    # -- the methods of a disk ------------------------------------------------------------------------------------

    def make_folder(self, path: str) -> None:
        self._operation("make_folder")
        parent, name = self._folder(posixpath.dirname(path)), posixpath.basename(path)
        if name not in parent.names:
            parent.set({name: Folder()})

    def is_folder(self, path: str) -> bool:
        self._operation("is_folder")
        try:
            return isinstance(self._find(path), Folder)
        except OSError:
            return False

    def create(self, path: str, *, append: bool = False) -> int:
        self._operation("create")
        parent, name = self._folder(posixpath.dirname(path)), posixpath.basename(path)
        file = parent.names.get(name)
        if file is None:
            file = File()
            parent.set({name: file})
        assert isinstance(file, File)
        if not append:
            file.data.clear()
        self._next += 1
        self._open[self._next] = file
        return self._next

    def write(self, descriptor: int, data: bytes | memoryview) -> int:
        short = self._operation("write")
        written = bytes(data)[: len(data) // 2] if short else bytes(data)
        self._open[descriptor].data += written
        return len(written)

    def read_all(self, descriptor: int) -> bytes:
        self._operation("read_all")
        return bytes(self._open[descriptor].data)

    def truncate(self, descriptor: int, size: int) -> None:
        self._operation("truncate")
        del self._open[descriptor].data[size:]

    def size(self, descriptor: int) -> int:
        self._operation("size")
        return len(self._open[descriptor].data)

    def sync(self, descriptor: int) -> None:
        self._operation("sync")
        file = self._open[descriptor]
        file.durable = bytes(file.data)

    def close(self, descriptor: int) -> None:
        self._operation("close")
        self._open.pop(descriptor)

    def rename(self, path: str, target: str) -> None:
        self._operation("rename")
        file, source, goal = self._file(path), self._folder(posixpath.dirname(path)), self._folder(posixpath.dirname(target))
        old, new = posixpath.basename(path), posixpath.basename(target)
        if source is goal:
            goal.set({new: file, old: None})
        else:
            goal.set({new: file})
            source.set({old: None})

    def unlink(self, path: str) -> None:
        self._operation("unlink")
        self._file(path)
        self._folder(posixpath.dirname(path)).set({posixpath.basename(path): None})

    def sync_folder(self, path: str) -> None:
        self._operation("sync_folder")
        folder = self._folder(path)
        folder.durable, folder.changes = dict(folder.names), []

    def read(self, path: str, start: int, end: int | None) -> bytes:
        self._operation("read")
        return bytes(self._file(path).data[start:end])

    def map(self, path: str) -> Any:
        self._operation("map")
        return bytearray(self._file(path).data)

    def length(self, path: str) -> int:
        return len(self._file(path).data)

    def entries(self, path: str) -> Iterator[tuple[str, bool]]:
        self._operation("entries")
        yield from [(name, isinstance(node, Folder)) for name, node in self._folder(path).names.items()]

    def changed(self, path: str) -> float:
        self._operation("changed")
        self._find(path)
        return 0.0 if path.endswith(".partial") else 1e12  # nothing is ever said to have settled
