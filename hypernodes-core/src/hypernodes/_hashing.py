"""The one hash behind every identity and signature."""

from __future__ import annotations

from typing import Any, Final

from blake3 import blake3

SIZE: Final = 20  # bytes of a digest: two results collide by chance once in 2**80
_LARGE: Final = 1 << 20  # bytes from which on more than one thread is worth its start


def digest(data: Any) -> bytes:
    """Return the digest of some bytes."""
    if len(data) > _LARGE:
        return blake3(data, max_threads=blake3.AUTO).digest(SIZE)
    return blake3(data).digest(SIZE)
