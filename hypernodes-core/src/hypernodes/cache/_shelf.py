"""What segments say of themselves, kept in this user's own files: what was read once need not be fetched again.

It is one file of records, appended to by single writes and never locked. Whoever asks verifies what is found, as if it came
from the root; whatever is wrong with the file, it is passed over, and written anew in time.
"""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Final

_HEAD: Final = struct.Struct(">4sHQ")  # magic, bytes of the name, bytes of what is kept
_MAGIC: Final = b"hns1"
_WASTE: Final = 1 << 20  # bytes about segments that are gone, from which on the file is written anew


class Shelf:
    """What is known of a root's segments from earlier.

    Args:
        folder: Where the file is; ``None`` where there is no place for one.
    """

    def __init__(self, folder: Path | None) -> None:
        self._path = None if folder is None else folder / "index"
        self._known: dict[str, tuple[int, int]] | None = None  # where what is kept begins, and how long it is

    def get(self, name: str) -> bytes | None:
        """Return what is kept under a name; it may be anything."""
        known = self._places()
        if name not in known or self._path is None:
            return None
        start, size = known[name]
        try:
            with self._path.open("rb") as file:
                file.seek(start)
                return file.read(size)
        except OSError:
            return None

    def put(self, records: Iterable[tuple[str, bytes]]) -> None:
        """Keep something under names."""
        data = b"".join(
            piece for name, kept in records for piece in (_HEAD.pack(_MAGIC, len(name.encode()), len(kept)), name.encode(), kept)
        )
        if not data or self._path is None:
            return
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("ab", buffering=0) as file:
                file.write(data)
        self._known = None

    def forget(self, name: str) -> None:
        """Do not offer something again."""
        self._places().pop(name, None)

    def keep_only(self, segments: Collection[str]) -> None:
        """Forget segments that are gone, where that frees much."""
        known = self._places()
        if self._path is None or sum(size for name, (_, size) in known.items() if name.partition("#")[0] not in segments) < _WASTE:
            return
        kept = [(name, data) for name in known if name.partition("#")[0] in segments and (data := self.get(name)) is not None]
        with contextlib.suppress(OSError):
            partial = Shelf(self._path.parent / f"{os.getpid()}-{os.urandom(4).hex()}")
            partial.put(kept)
            if partial._path is not None:
                partial._path.replace(self._path)
                partial._path.parent.rmdir()
        self._known = None

    def _places(self) -> dict[str, tuple[int, int]]:
        if self._known is None:
            self._known = {}
            with contextlib.suppress(OSError):
                self._scan()
        return self._known

    def _scan(self) -> None:
        """Find the records, as far as the file is whole."""
        if self._path is None or self._known is None:
            return
        with self._path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            place = 0
            while place + _HEAD.size <= size:
                magic, name_size, length = _HEAD.unpack(file.read(_HEAD.size))
                start = place + _HEAD.size + name_size
                place = start + length
                if magic != _MAGIC or place > size:
                    file.close()
                    self._path.unlink()  # it cannot be added to any more
                    return
                self._known[file.read(name_size).decode("utf-8", "replace")] = (start, length)
                file.seek(place)
