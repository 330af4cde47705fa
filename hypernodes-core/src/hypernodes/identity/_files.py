"""The content of files, read again only when they changed."""

from __future__ import annotations

import os
import stat
import time
from typing import Final, TypeAlias

from hypernodes._file import File
from hypernodes.identity._encoding import Unidentifiable, finished, hasher_for

ROOM: Final = 100_000  # files whose content is remembered
PIECE: Final = 8 << 20  # bytes read at once; a mapped file that somebody cuts short would end the process
SETTLED: Final = 2_000_000_000  # ns; another change soon after may bear the same time of modification
STATUS_SETTLED: Final = 50_000_000  # ns; the time of a change of status is set by the kernel alone, at its ticks

_Stamp: TypeAlias = tuple[int, int, int, int, int]
_known: dict[str, tuple[_Stamp, bytes]] = {}


def content_identity(file: File) -> bytes:
    """Return the identity of what is in a file.

    Raises:
        Unidentifiable: If it cannot be read. The node will find out for itself, and say so as it likes.
    """
    path = os.path.abspath(file.path)  # noqa: PTH100 - as little work as possible: it may be in the cache
    try:
        for _ in range(3):
            status = os.stat(path)  # noqa: PTH116 - as above
            stamp = _stamp(status)
            known = _known.get(path)
            if known is not None and known[0] == stamp:
                return known[1]
            if not stat.S_ISREG(status.st_mode):
                raise _unreadable("a directory where a file is needed" if stat.S_ISDIR(status.st_mode) else "no regular file", file)
            now = time.time_ns()
            found = _read(path, status.st_size)
            if _stamp(os.stat(path)) == stamp:  # noqa: PTH116 - as above
                break
        else:
            raise _unreadable("a file that changes while it is read", file)
    except FileNotFoundError:
        raise _unreadable("a file that does not exist", file) from None
    except (OSError, ValueError) as error:
        raise _unreadable(f"a file that cannot be read ({type(error).__name__})", file) from error
    if now - status.st_mtime_ns > SETTLED and now - status.st_ctime_ns > STATUS_SETTLED:
        if len(_known) >= ROOM:
            _known.clear()
        _known[path] = stamp, found
    return found


def _unreadable(reason: str, file: File) -> Unidentifiable:
    return Unidentifiable(f"{reason}: '{file.path}'", "hypernodes.File")


def _stamp(status: os.stat_result) -> _Stamp:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _read(path: str, size: int) -> bytes:
    with open(path, "rb", buffering=0) as stream:  # noqa: PTH123 - as above
        hasher = hasher_for(size)
        piece = bytearray(min(PIECE, size + 1))
        view = memoryview(piece)
        while count := stream.readinto(piece):
            hasher.update(view[:count])
    return finished(hasher)
