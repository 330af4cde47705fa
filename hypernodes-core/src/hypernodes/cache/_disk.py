"""The calls to the operating system that a local store makes, in one place, so that tests can put a model in theirs."""

from __future__ import annotations

import errno
import mmap
import os
import stat
from collections.abc import Iterator
from typing import Any


class Disk:
    """The disk of this machine. Paths are absolute; every method raises what the operating system does."""

    def make_folder(self, path: str) -> None:
        """Make a directory, if it is not there."""
        try:
            os.mkdir(path)
        except FileExistsError:
            if not os.path.isdir(path):
                raise

    def is_folder(self, path: str) -> bool:
        """Whether a path is a directory."""
        return os.path.isdir(path)

    def create(self, path: str, *, append: bool = False) -> int:
        """Open a file to write to, made if it is not there; return its descriptor."""
        return os.open(path, os.O_RDWR | os.O_CREAT | (os.O_APPEND if append else os.O_TRUNC), 0o666)

    def write(self, descriptor: int, data: bytes | memoryview) -> int:
        """Write to a file; return how many bytes were written."""
        return os.write(descriptor, data)

    def read_all(self, descriptor: int) -> bytes:
        """Return what is in an open file, whatever its name is now."""
        return os.pread(descriptor, os.fstat(descriptor).st_size, 0)

    def truncate(self, descriptor: int, size: int) -> None:
        """Cut a file off."""
        os.ftruncate(descriptor, size)

    def size(self, descriptor: int) -> int:
        """Return how long an open file is."""
        return os.fstat(descriptor).st_size

    def sync(self, descriptor: int) -> None:
        """Make what was written to a file durable."""
        os.fsync(descriptor)

    def close(self, descriptor: int) -> None:
        """Close a file."""
        os.close(descriptor)

    def rename(self, path: str, target: str) -> None:
        """Give a file another name, in place of what has it."""
        os.replace(path, target)

    def unlink(self, path: str) -> None:
        """Delete a file."""
        os.unlink(path)

    def sync_folder(self, path: str) -> None:
        """Make the names in a directory durable."""
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def read(self, path: str, start: int, end: int | None) -> bytes:
        """Return a range of a file."""
        descriptor = os.open(path, os.O_RDONLY)
        try:
            pieces = []
            left = (os.fstat(descriptor).st_size if end is None else end) - start
            while left > 0 and (piece := os.pread(descriptor, left, start)):
                pieces.append(piece)
                start += len(piece)
                left -= len(piece)
            return pieces[0] if len(pieces) == 1 else b"".join(pieces)
        finally:
            os.close(descriptor)

    def map(self, path: str) -> Any:
        """Return a file as memory of one's own: what is written to it never reaches the file."""
        descriptor = os.open(path, os.O_RDONLY)
        try:
            known = os.fstat(descriptor)
            if stat.S_ISDIR(known.st_mode):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
            if not known.st_size:
                return b""  # of which there is no map
            return mmap.mmap(descriptor, 0, access=mmap.ACCESS_COPY)
        finally:
            os.close(descriptor)

    def length(self, path: str) -> int:
        """Return how long a file is."""
        return os.stat(path).st_size

    def entries(self, path: str) -> Iterator[tuple[str, bool]]:
        """Yield the names in a directory, and whether each is one itself."""
        with os.scandir(path) as found:
            yield from ((each.name, each.is_dir(follow_symlinks=False)) for each in found)

    def changed(self, path: str) -> float:
        """Return when a file or a directory was changed last, in seconds since the epoch."""
        return os.stat(path).st_mtime
