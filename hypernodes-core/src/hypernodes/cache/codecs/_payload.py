"""How a stream and the bytes that belong to it lie in one payload."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, Final

import attrs

from hypernodes.cache.codecs._makers import Undecodable

ALIGNMENT: Final = 64  # a line of the processor's cache, and the widest that its vector instructions want
_MAGIC: Final = b"HNv1"
_HEADER: Final = struct.Struct("<4sIQ")
_PLACE: Final = struct.Struct("<QQ")


@attrs.frozen
class Payload:
    """A value as bytes.

    Attributes:
        codec: How to read them.
        data: The bytes.
    """

    codec: str
    data: bytes


def joined(stream: bytes, buffers: Sequence[Any]) -> bytes:
    """Return a stream with bytes beside it, each of which begins at a multiple of 64."""
    position = _HEADER.size + _PLACE.size * len(buffers) + len(stream)
    places, pieces = [], [stream]
    for buffer in buffers:
        size = memoryview(buffer).nbytes
        gap = -position % ALIGNMENT
        places.append(_PLACE.pack(position + gap, size))
        pieces += (bytes(gap), buffer)
        position += gap + size
    return b"".join((_HEADER.pack(_MAGIC, len(buffers), len(stream)), *places, *pieces))


def parted(data: Any) -> tuple[bytes, list[memoryview]]:
    """Return the stream of a payload and the bytes beside it, which are not copied.

    Raises:
        Undecodable: If the payload is cut short or not one of ours.
    """
    view = memoryview(data).cast("B")
    if len(view) < _HEADER.size:
        raise Undecodable("no payload")
    magic, count, size = _HEADER.unpack_from(view)
    start = _HEADER.size + _PLACE.size * count
    end = start + size
    if magic != _MAGIC or end > len(view):
        raise Undecodable("no payload")
    buffers, free = [], end
    for first, length in _PLACE.iter_unpack(view[_HEADER.size : start]):
        # In order, so that no two arrays share their memory.
        if first < free or first % ALIGNMENT or first + length > len(view):
            raise Undecodable("no payload")
        free = first + length
        buffers.append(view[first:free])
    return bytes(view[start:end]), buffers
