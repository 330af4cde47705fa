"""What blobs are called, and what their names tell: when, where and by which process they were made, and how long their parts are."""

from __future__ import annotations

import itertools
import os
import socket
import time
from pathlib import Path
from typing import Final

import attrs

from hypernodes._hashing import digest

SEGMENTS: Final = "segments/"
JOURNALS: Final = "journal/"
OBJECTS: Final = "objects/"

_COUNT: Final = itertools.count()
_ABANDONED_S: Final = 86_400.0  # a journal whose writer cannot be asked is left over after a day
_PARTS: Final = 4


def host() -> str:
    """Return what this machine is called in names."""
    return digest(socket.gethostname().encode()).hex()[:8]


def new_id() -> str:
    """Return what a holder is called: unique, and later than all before."""
    return f"{time.time_ns() // 1000:014x}-{host()}-{os.getpid():x}-{next(_COUNT):x}{os.urandom(4).hex()}"


def made_at(holder_id: str) -> float:
    """Return when a holder was begun, in seconds since the epoch; 0 where its id does not say."""
    try:
        return int(holder_id.partition("-")[0], 16) / 1_000_000
    except ValueError:
        return 0.0


def is_left_over(holder_id: str) -> bool:
    """Whether the process that wrote a journal is gone. A process of another machine is thought to be, after a day."""
    pieces = holder_id.split("-")
    if len(pieces) == _PARTS and pieces[1] == host():
        try:
            os.kill(int(pieces[2], 16), 0)
        except (ProcessLookupError, ValueError, OverflowError):
            return True
        except OSError:
            pass  # somebody else's, and alive
        else:
            if int(pieces[2], 16) == os.getpid():
                return False
    return time.time() - made_at(holder_id) > _ABANDONED_S


@attrs.frozen
class SegmentName:
    """The name of a segment, which says how long its three parts are: one request reads what is wanted.

    Attributes:
        holder_id: The segment's id.
        blocks: Bytes of its blocks.
        table: Bytes of its table of keys.
        directory: Bytes of its directory.
    """

    holder_id: str
    blocks: int
    table: int
    directory: int

    def __str__(self) -> str:
        return f"{SEGMENTS}{self.holder_id}.{self.blocks:x}.{self.table:x}.{self.directory:x}"

    @property
    def size(self) -> int:
        """Bytes of the segment."""
        return self.blocks + self.table + self.directory


def parsed(name: str) -> SegmentName | None:
    """Return what a segment's name says; ``None`` where it is no segment's."""
    pieces = name.removeprefix(SEGMENTS).split(".")
    try:
        return SegmentName(pieces[0], *(int(piece, 16) for piece in pieces[1:])) if len(pieces) == _PARTS else None
    except ValueError:
        return None


def user_folder(kind: str, root: str) -> Path | None:
    """Return where this user's own files about a root are; ``None`` where the user has no place for such.

    Args:
        kind: What the files are.
        root: What tells the root from others, without credentials.
    """
    base = os.environ.get("XDG_CACHE_HOME", "")
    try:
        folder = Path(base) if base else Path.home() / ".cache"
    except RuntimeError:  # no home directory
        return None
    return folder / "hypernodes" / kind / digest(root.encode("utf-8", "surrogatepass")).hex()
