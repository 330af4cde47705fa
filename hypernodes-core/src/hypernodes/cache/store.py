"""Stores keep blobs by name; they know nothing about nodes."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final, Protocol, runtime_checkable

from hypernodes.cache._disk import Disk
from hypernodes.cache._faults import StoreError
from hypernodes.cache._names import JOURNALS, OBJECTS, SEGMENTS

_MARKS: Final = {  # files of ours that are no blobs
    "CACHEDIR.TAG": "Signature: 8a477f597d28d172789f06886806bc55\n# A cache of HyperNodes.\n",
    ".gitignore": "*\n",
}
_PARTIAL: Final = ".partial"
_NO_BLOB: Final = (FileNotFoundError, IsADirectoryError, NotADirectoryError)
_SETTLED_S: Final = 2.0  # a directory that was changed less long ago may change again without showing it


@runtime_checkable
class CacheStore(Protocol):
    """What a third party implements to keep caches somewhere else. Names are ASCII, separated by ``/``."""

    def put(self, name: str, data: bytes) -> None:
        """Write a blob, whole or not at all."""
        ...

    def get(self, name: str, start: int = 0, end: int | None = None) -> bytes:
        """Return a blob or a range of it.

        Raises:
            KeyError: If there is none of that name.
        """
        ...

    def list(self, prefix: str = "") -> Iterable[str]:
        """Return the names that begin with a prefix, in any order."""
        ...

    def delete(self, names: Iterable[str]) -> None:
        """Forget blobs; those that are not there are no error."""
        ...


class DictStore:
    """Blobs in this process's memory."""

    def __init__(self) -> None:
        self._blobs: dict[str, bytes] = {}

    def put(self, name: str, data: bytes) -> None:
        """Write a blob."""
        self._blobs[name] = bytes(data)

    def get(self, name: str, start: int = 0, end: int | None = None) -> bytes:
        """Return a blob or a range of it."""
        return self._blobs[name][start:end]

    def list(self, prefix: str = "") -> Iterable[str]:
        """Return the names that begin with a prefix."""
        return [name for name in list(self._blobs) if name.startswith(prefix)]  # of a copy: other threads go on writing

    def delete(self, names: Iterable[str]) -> None:
        """Forget blobs."""
        for name in names:
            self._blobs.pop(name, None)


class LocalStore:
    """Blobs as files below a directory, made when the first is written.

    A name that can be seen stands for a whole and durable blob: what is written gets its name by renaming, after it was
    synced. Journals are the exception; they are appended to under the name that they have.

    Args:
        root: The directory.
        disk: Makes the calls to the operating system.
    """

    remote = False

    def __init__(self, root: str | os.PathLike[str], disk: Disk | None = None) -> None:
        self.root = Path(root).absolute()
        self._root = str(self.root)
        self._disk = disk or Disk()
        self._open: dict[tuple[int, str], int] = {}  # descriptors of blobs that are appended to, by process
        self._settled: set[str] = set()  # directories that are known to be there after a power cut

    def __repr__(self) -> str:
        return f"LocalStore({str(self.root)!r})"

    def __reduce__(self) -> tuple[object, ...]:
        return (LocalStore, (self.root,))  # descriptors belong to this process

    def put(self, name: str, data: bytes) -> None:
        """Write a blob: a temporary file, then renamed."""
        try:
            self._put(name, data)
        except FileNotFoundError:  # somebody removed a directory just now
            self._put(name, data)

    def _put(self, name: str, data: bytes) -> None:
        path = self._made(name)
        partial = f"{path}.{os.urandom(6).hex()}{_PARTIAL}"  # threads and other hosts may write that name too
        disk = self._disk
        try:
            descriptor = disk.create(partial)
            try:
                left = memoryview(data)
                while left:
                    written = disk.write(descriptor, left)
                    if not written:
                        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                    left = left[written:]
                disk.sync(descriptor)
            finally:
                disk.close(descriptor)
            disk.rename(partial, path)
            self._sync_names(os.path.dirname(path))
        except BaseException:
            with contextlib.suppress(OSError):
                disk.unlink(partial)
            raise

    def append(self, name: str, data: bytes) -> None:
        """Add to the end of a blob with one write, so that a process that is killed leaves all of it or nothing.

        Raises:
            OSError: It could not be written, or not all of it; the blob is as it was, or must not be appended to any more.
        """
        key, disk = (os.getpid(), name), self._disk
        descriptor = self._open.get(key)
        if descriptor is None:
            descriptor = self._open[key] = disk.create(self._made(name), append=True)
        size = -1
        try:
            written = disk.write(descriptor, data)
            if written != len(data):
                size = disk.size(descriptor) - written
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            if size >= 0:
                with contextlib.suppress(OSError):
                    disk.truncate(descriptor, size)
            self.release(name)
            raise

    def release(self, name: str) -> None:
        """Let go of a blob that was appended to."""
        descriptor = self._open.pop((os.getpid(), name), None)
        if descriptor is not None:
            with contextlib.suppress(OSError):
                self._disk.close(descriptor)

    def seal(self, name: str, final: str) -> None:
        """Make a blob that was appended to durable, and give it its final name."""
        disk = self._disk
        descriptor = self._open.pop((os.getpid(), name))
        try:
            disk.sync(descriptor)
            target = self._made(final)
            try:
                disk.rename(f"{self._root}/{name}", target)
            except FileNotFoundError:  # somebody took it for left over, or cleared the cache
                self.put(final, disk.read_all(descriptor))
                return
        finally:
            disk.close(descriptor)
        self._sync_names(os.path.dirname(target))

    def _sync_names(self, folder: str) -> None:
        """Make the names in a directory durable, and its own, which somebody may have made and not lived to sync."""
        self._disk.sync_folder(folder)
        while folder not in self._settled:
            above = os.path.dirname(folder)
            try:
                self._disk.sync_folder(above)
            except PermissionError:  # a directory of somebody else's, which may be passed through but not read
                if folder != self._root:
                    raise
            self._settled.add(folder)
            if folder == self._root:
                return
            folder = above

    def _made(self, name: str) -> str:
        """Return the path of a blob, in a directory that is there."""
        path = f"{self._root}/{name}"
        folder = os.path.dirname(path)
        if not self._disk.is_folder(folder):
            self._make(folder)
        return path

    def _make(self, folder: str) -> None:
        missing = []
        while not self._disk.is_folder(folder):
            missing.append(folder)
            folder = os.path.dirname(folder)
        for each in reversed(missing):
            try:
                self._disk.make_folder(each)
            except (FileExistsError, NotADirectoryError):
                self._refuse_file(each)
                raise
            self._disk.sync_folder(os.path.dirname(each))
            if each == self._root:
                for mark, text in _MARKS.items():
                    self._write_mark(f"{each}/{mark}", text)

    def _refuse_file(self, path: str) -> None:
        """Say which file is where a directory should be.

        Raises:
            StoreError: If it is the root, or above it.
            NotADirectoryError: If it is below.
        """
        while path != os.path.dirname(path):
            try:
                self._disk.changed(path)
            except _NO_BLOB:
                path = os.path.dirname(path)
                continue
            if self._disk.is_folder(path):
                return
            msg = f"{path} is a file, not a directory; fix: move it away, or give the cache another path"
            inside = path.startswith(f"{self._root}/")  # then what lies beside it is of use all the same
            raise NotADirectoryError(msg) if inside else StoreError(msg)

    def _write_mark(self, path: str, text: str) -> None:
        descriptor = self._disk.create(path)
        try:
            self._disk.write(descriptor, text.encode("ascii"))
        finally:
            self._disk.close(descriptor)

    def get(self, name: str, start: int = 0, end: int | None = None) -> bytes:
        """Return a blob or a range of it."""
        try:
            return self._disk.read(f"{self._root}/{name}", start, end)
        except _NO_BLOB:
            raise KeyError(name) from None

    def map(self, name: str) -> Any:
        """Return a blob as memory of one's own, which is read when it is looked at; the blob never changes.

        Raises:
            KeyError: If there is none of that name.
        """
        try:
            return self._disk.map(f"{self._root}/{name}")
        except _NO_BLOB:
            raise KeyError(name) from None

    def list(self, prefix: str = "") -> Iterable[str]:
        """Return the names that begin with a prefix."""
        return [name for name in self._names(prefix.rpartition("/")[0]) if name.startswith(prefix) and not name.endswith(_PARTIAL)]

    def _names(self, folder: str) -> Iterator[str]:
        try:
            for name, is_folder in self._disk.entries(f"{self._root}/{folder}" if folder else self._root):
                full = f"{folder}/{name}" if folder else name
                if is_folder:
                    yield from self._names(full)
                elif full not in _MARKS:
                    yield full
        except FileNotFoundError:
            return
        except NotADirectoryError:
            # Any other file is a blob, and nothing is below it.
            self._refuse_file(f"{self._root}/{folder}" if f"{folder}/" in (SEGMENTS, JOURNALS, OBJECTS) else self._root)
            return

    def delete(self, names: Iterable[str]) -> None:
        """Forget blobs."""
        for name in names:
            with contextlib.suppress(*_NO_BLOB):
                self._disk.unlink(f"{self._root}/{name}")

    def blob_size(self, name: str) -> int:
        """Return how many bytes a blob has.

        Raises:
            KeyError: If there is none of that name.
        """
        try:
            return self._disk.length(f"{self._root}/{name}")
        except _NO_BLOB:
            raise KeyError(name) from None

    def stamp(self, prefix: str) -> object:
        """Return what stays the same while names below a prefix do; ``None`` where that cannot be said."""
        try:
            changed = self._disk.changed(f"{self._root}/{prefix}".rstrip("/"))
        except _NO_BLOB:
            return None
        return changed if 0 <= _SETTLED_S < time.time() - changed else None

    def left_over(self, seconds: float) -> Iterable[str]:
        """Return files that a writer left behind unfinished, and that are older than so many seconds."""
        return [name for name in self._names("") if name.endswith(_PARTIAL) and self._age(name) > seconds]

    def _age(self, name: str) -> float:
        try:
            return time.time() - self._disk.changed(f"{self._root}/{name}")
        except OSError:
            return 0.0  # gone by now
