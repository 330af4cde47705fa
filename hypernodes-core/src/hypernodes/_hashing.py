"""The one hash behind every identity and signature."""

from __future__ import annotations

from typing import Final

from blake3 import blake3

SIZE: Final = 20  # bytes of a digest: two results collide by chance once in 2**80


def digest(data: bytes) -> bytes:
    """Return the digest of some bytes."""
    return blake3(data).digest(SIZE)
