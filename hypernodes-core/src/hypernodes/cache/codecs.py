"""Values as bytes: plain data is read without running any code, everything else is pickled."""

from __future__ import annotations

import contextlib
import io
import pickle
import struct
from collections.abc import Sequence
from typing import Any, Final

import attrs

_ATOMS: Final = (type(None), bool, int, float, complex, str, bytes)
_HARMLESS: Final = {
    ("builtins", name) for name in ("bytearray", "complex", "frozenset", "range", "set", "slice", "Ellipsis")
} | {
    ("datetime", name) for name in ("date", "datetime", "time", "timedelta", "timezone")
} | {
    ("decimal", "Decimal"), ("fractions", "Fraction"), ("uuid", "UUID"), ("collections", "OrderedDict"),
    *((f"pathlib{local}", f"{kind}Path") for local in ("", "._local") for kind in ("PurePosix", "PureWindows", "Posix", "Windows")),
}  # fmt: skip
_REFERENCE: Final = struct.Struct(">20sH")


class Unencodable(Exception):  # noqa: N818 - a verdict that the keeper acts on
    """A value cannot be stored."""


class Undecodable(Exception):  # noqa: N818 - a verdict that the cache acts on
    """Bytes cannot be read as what they claim to be."""


@attrs.frozen
class Payload:
    """A value as bytes.

    Attributes:
        codec: How to read them.
        data: The bytes.
    """

    codec: str
    data: bytes


class _Refused(Exception):  # noqa: N818 - never leaves this module
    pass


class _PlainPickler(pickle.Pickler):
    """Gives up at whatever would need code to be read again."""

    def reducer_override(self, value: Any) -> Any:
        kind = type(value)
        if (kind.__module__, kind.__qualname__) in _HARMLESS or (
            isinstance(value, type) and (value.__module__, value.__qualname__) in _HARMLESS
        ):
            return NotImplemented
        raise _Refused


class _PlainUnpickler(pickle.Unpickler):
    """Refuses every name but those of harmless constructors."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _HARMLESS:
            msg = f"{module}.{name} is no plain data"
            raise Undecodable(msg)
        return super().find_class(module, name)


def encode(value: Any) -> Payload:
    """Return a value as bytes.

    Raises:
        Unencodable: If it cannot be pickled.
    """
    if type(value) in _ATOMS:
        return Payload("data", pickle.dumps(value, 5))
    array = _array_bytes(value)
    if array is not None:
        return Payload("array", array)
    buffer = io.BytesIO()
    with contextlib.suppress(Exception):  # anything else than plain data
        _PlainPickler(buffer, 5).dump(value)
        return Payload("data", buffer.getvalue())
    import cloudpickle

    try:
        return Payload("pickle", cloudpickle.dumps(value, 5))
    except Exception as error:
        msg = f"{type(error).__name__}: {error}"
        raise Unencodable(msg) from error


def decode(codec: str, data: bytes) -> Any:
    """Return the value that bytes stand for: a new object each time.

    Raises:
        Undecodable: If they stand for none.
    """
    try:
        if codec == "data":
            return _PlainUnpickler(io.BytesIO(data)).load()
        if codec == "array":
            return _array(data)
        if codec == "pickle":
            return pickle.loads(data)  # noqa: S301 - what this user wrote; the cache verified it
    except Undecodable:
        raise
    except Exception as error:
        msg = f"{type(error).__name__}: {error}"
        raise Undecodable(msg) from error
    msg = f"codec {codec!r} is not known here"
    raise Undecodable(msg)


def _array_bytes(value: Any) -> bytes | None:
    kind = type(value)
    if kind.__module__ != "numpy" or kind.__name__ != "ndarray" or value.dtype.hasobject:
        return None
    import numpy as np

    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, value, allow_pickle=False)
    return buffer.getvalue()


def _array(data: bytes) -> Any:
    import numpy as np

    return np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)


def encode_list(references: Sequence[tuple[bytes, int]]) -> Payload:
    """Return a gathered list as references to the entries of its elements."""
    return Payload("list", b"".join(_REFERENCE.pack(key, part) for key, part in references))


def decode_references(data: bytes) -> list[tuple[bytes, int]]:
    """Return the signature and output number of each element of a gathered list.

    Raises:
        Undecodable: If the bytes are no such list.
    """
    try:
        return list(_REFERENCE.iter_unpack(data))
    except struct.error as error:
        msg = "no list of references"
        raise Undecodable(msg) from error
