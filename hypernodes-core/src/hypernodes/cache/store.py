"""Stores keep blobs by name; they know nothing about nodes."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol, runtime_checkable

_MARKS = ("CACHEDIR.TAG", ".gitignore")  # files of ours that are no blobs
_NO_BLOB = (FileNotFoundError, IsADirectoryError, NotADirectoryError)


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

    Args:
        root: The directory.
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = Path(root).absolute()
        self._open: dict[tuple[int, str], int] = {}  # descriptors of blobs that are appended to, by process

    def __repr__(self) -> str:
        return f"LocalStore({str(self.root)!r})"

    def __reduce__(self) -> tuple[object, ...]:
        return (LocalStore, (self.root,))  # descriptors belong to this process

    def put(self, name: str, data: bytes) -> None:
        """Write a blob: a temporary file, then renamed."""
        path = self.root / name
        if not path.parent.is_dir():
            self._prepare(path.parent)
        partial = path.with_name(f"{path.name}.{os.urandom(6).hex()}.partial")  # threads and other hosts may write that name too
        try:
            with partial.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
            self._sync(path.parent)
        except BaseException:
            with contextlib.suppress(OSError):
                partial.unlink()
            raise

    def append(self, name: str, data: bytes) -> None:
        """Add to the end of a blob with one write, so that a process that is killed leaves all of it or nothing."""
        descriptor = self._open.get((os.getpid(), name))
        if descriptor is None:
            path = self.root / name
            if not path.parent.is_dir():
                self._prepare(path.parent)
            descriptor = self._open[os.getpid(), name] = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        written = os.write(descriptor, data)
        if written != len(data):
            os.ftruncate(descriptor, os.fstat(descriptor).st_size - written)
            raise OSError(28, "the disk is full")

    def seal(self, name: str, final: str) -> None:
        """Make a blob that was appended to durable, and give it its final name."""
        descriptor = self._open.pop((os.getpid(), name))
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        target = self.root / final
        if not target.parent.is_dir():
            self._prepare(target.parent)
        (self.root / name).rename(target)
        self._sync(target.parent)

    @staticmethod
    def _sync(folder: Path) -> None:
        """Make the names in a directory durable."""
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _prepare(self, folder: Path) -> None:
        new = not self.root.exists()
        folder.mkdir(parents=True, exist_ok=True)
        if new:
            (self.root / "CACHEDIR.TAG").write_text(
                "Signature: 8a477f597d28d172789f06886806bc55\n# A cache of HyperNodes.\n", encoding="ascii"
            )
            (self.root / ".gitignore").write_text("*\n", encoding="ascii")

    def get(self, name: str, start: int = 0, end: int | None = None) -> bytes:
        """Return a blob or a range of it."""
        try:
            with (self.root / name).open("rb") as file:
                file.seek(start)
                return file.read() if end is None else file.read(max(0, end - start))
        except _NO_BLOB:
            raise KeyError(name) from None

    def list(self, prefix: str = "") -> Iterable[str]:
        """Return the names that begin with a prefix."""
        folder = self.root / prefix.rpartition("/")[0]
        found = []
        for where, _, names in os.walk(folder):
            for name in names:
                full = Path(where, name).relative_to(self.root).as_posix()
                if full.startswith(prefix) and not full.endswith(".partial") and full not in _MARKS:
                    found.append(full)
        return found

    def delete(self, names: Iterable[str]) -> None:
        """Forget blobs."""
        for name in names:
            with contextlib.suppress(*_NO_BLOB):
                (self.root / name).unlink()
