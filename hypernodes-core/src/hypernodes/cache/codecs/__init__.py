"""Values as bytes: data is read without running any code of its own, everything else is pickled.

Data are plain values and their containers, objects of dataclasses and attrs classes, members of enums, arrays, tables and
tensors, in each other as deep as it goes. They are written as a stream of opcodes that only knows our makers by name, with
the memory of arrays beside it. What is shared inside a value, or goes round in circles, does so again when it is read.

============  ========================================================================================================
codec         what it holds
============  ========================================================================================================
``data``      plain values of Python and its standard library, and containers of them
``array``     an array or a scalar of NumPy
``arrow``     a table, batch or column of Arrow or Polars
``pandas``    a frame, series or index
``sparse``    a sparse matrix of SciPy
``torch``     a tensor
``record``    anything with one of these inside, or an object of a dataclass or an attrs class, or a member of an enum
``list``      references to other entries
``pickle``    what is none of these; reading it runs code
============  ========================================================================================================
"""

from __future__ import annotations

import pickle
import struct
from collections.abc import Sequence
from typing import Any, Final

from hypernodes.cache.codecs._makers import Source, Undecodable, Unencodable
from hypernodes.cache.codecs._opcodes import is_number, is_simple, may_be_deep
from hypernodes.cache.codecs._payload import Payload, joined, parted
from hypernodes.cache.codecs._plain import ATOMS
from hypernodes.cache.codecs._stream import read, written

__all__ = ["SIMPLE", "Payload", "Undecodable", "Unencodable", "decode", "decode_references", "encode", "encode_list", "encode_simple"]

SIMPLE: Final = frozenset(ATOMS) - {complex}  # types whose values can always be stored, and at once
_REFERENCE: Final = struct.Struct(">20sH")
_BESIDE: Final = frozenset({"array", "arrow", "pandas", "record", "sparse", "torch"})


def encode_simple(value: Any) -> bytes:
    """Return a value of one of the ``SIMPLE`` types as bytes of the codec ``data``."""
    return pickle.dumps(value, 5)


def encode(value: Any) -> Payload:
    """Return a value as bytes.

    Args:
        value: Anything.

    Returns:
        The bytes and how to read them. What is read from them is the same value again, except with ``pickle``: there it is
        what the class of the value says about pickling, which the caller checks.

    Raises:
        Unencodable: If it cannot even be pickled.
    """
    if type(value) in SIMPLE:
        return Payload("data", encode_simple(value))
    found = written(value)
    if found is not None:
        codec, stream, buffers = found
        return Payload(codec, stream if codec == "data" else joined(stream, buffers))
    import cloudpickle

    try:
        return Payload("pickle", cloudpickle.dumps(value, 5))
    except Exception as error:
        msg = f"{type(error).__name__}: {error}"
        raise Unencodable(msg) from error


def decode(codec: str, data: Any, *, trusted: bool = True) -> Any:
    """Return the value that bytes stand for: a new object each time.

    Args:
        codec: How to read them.
        data: The bytes: ``bytes``, a ``memoryview`` or an ``mmap``. Where they can be written to (``mmap.ACCESS_COPY``), arrays
            use them as they are, so each call needs its own; else arrays are copied.
        trusted: Whether this user wrote them. Others' bytes are never unpickled, make objects of such classes only whose
            module was imported already, and get no method of these called, except that keys are hashed and compared.

    Raises:
        Undecodable: If they stand for none, or only for one that takes trust.
    """
    try:
        if codec == "data":
            if is_number(data) or (is_simple(data) and (trusted or not may_be_deep(bytes(data)))):
                return pickle.loads(data)  # noqa: S301 - it names nothing that could be called
            return read(data if type(data) is bytes else bytes(data), Source((), trusted=trusted))
        if codec in _BESIDE:
            stream, buffers = parted(data)
            return read(stream, Source(buffers, trusted=trusted))
        if codec == "pickle" and trusted:
            return pickle.loads(data)  # noqa: S301 - what this user wrote; the cache verified it
    except Undecodable:
        raise
    except Exception as error:
        msg = f"{type(error).__name__}: {error}"
        raise Undecodable(msg) from error
    msg = "reading it would run code of somebody else" if codec == "pickle" else f"codec {codec!r} is not known here"
    raise Undecodable(msg)


def encode_list(references: Sequence[tuple[bytes, int]]) -> Payload:
    """Return a gathered list as references to the entries of its elements.

    Args:
        references: Of each element the signature of its entry and the number of the output.
    """
    return Payload("list", b"".join(_REFERENCE.pack(key, part) for key, part in references))


def decode_references(data: bytes) -> list[tuple[bytes, int]]:
    """Return the signature and output number of each element of a gathered list.

    Args:
        data: What ``encode_list`` made.

    Raises:
        Undecodable: If the bytes are no such list.
    """
    try:
        return list(_REFERENCE.iter_unpack(data))
    except struct.error as error:
        msg = "no list of references"
        raise Undecodable(msg) from error
