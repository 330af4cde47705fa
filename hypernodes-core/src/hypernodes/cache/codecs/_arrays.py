"""NumPy: arrays as their memory, in the order in which it lies there."""

from __future__ import annotations

import math
import re
import sys
from typing import Any, Final

from hypernodes.cache.codecs._makers import Reduced, Reducer, Refused, Sink, Source, maker, require
from hypernodes.cache.codecs._plain import NO_NESTING

_SIMPLE: Final = re.compile(r"[<>|][biufcSUVmM]\d{0,10}(\[[\w/]{1,30}\])?", re.ASCII)


def reducer_of(kind: type) -> Reducer | None:
    """Return what takes objects of a class of NumPy apart."""
    np: Any = sys.modules["numpy"]
    if kind is np.ndarray:
        return _array
    if kind is np.recarray:
        return lambda _, value: (records, (np.ndarray.view(value, np.ndarray),))
    if kind.__module__.startswith("numpy.ma") and kind is np.ma.MaskedArray:
        return _masked
    if issubclass(kind, np.str_):
        return lambda _, value: (text, (str.__getitem__(value, slice(None)),))  # str() would drop zeros at the end
    if issubclass(kind, np.bytes_):
        return lambda _, value: (data, (bytes.__getitem__(value, slice(None)),))
    if issubclass(kind, np.generic):
        return _scalar
    return _dtype if issubclass(kind, np.dtype) else None


# Dtypes -----------------------------------------------------------------------------------------------------------------


def spec_of(dtype: Any) -> Any:
    """Return a dtype as plain data.

    Raises:
        Refused: If there is no telling what is in the memory of its arrays.
    """
    spec = _bare_spec_of(dtype)
    return spec if not dtype.metadata else ("noted", spec, dict(dtype.metadata))


def _bare_spec_of(dtype: Any) -> Any:
    np: Any = sys.modules["numpy"]
    if dtype.hasobject or dtype.type.__module__.partition(".")[0] != "numpy":
        raise Refused
    if dtype.names is not None:
        fields = [(name, spec_of(found), offset, *title) for name in dtype.names for found, offset, *title in (dtype.fields[name],)]
        return "record", fields, dtype.itemsize, dtype.isalignedstruct, dtype.type is np.record
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        return "block", spec_of(base), shape
    if dtype.type in (np.longdouble, np.clongdouble):
        return "long", dtype.str, int(np.finfo(dtype).nmant)  # the same name is another format elsewhere
    if _SIMPLE.fullmatch(dtype.str) is None:
        raise Refused
    return dtype.str


def dtype_of(spec: Any) -> Any:
    """Return the dtype of a spec, which may be anything."""
    import numpy as np

    made: Any
    if type(spec) is str:
        require(_SIMPLE.fullmatch(spec))
        made = np.dtype(spec)
        require(made.type not in (np.longdouble, np.clongdouble))
    else:
        require(type(spec) is tuple)
        made = _COMPOSED[spec[0]](*spec[1:])
    require(not made.hasobject)
    return made


def _noted(spec: Any, metadata: dict[str, Any]) -> Any:
    import numpy as np

    return np.dtype(dtype_of(spec), metadata=metadata)  # type: ignore[call-overload,unused-ignore]


def _record(fields: list[Any], itemsize: int, aligned: bool, is_record: bool) -> Any:  # noqa: FBT001 - as the spec has it
    import numpy as np

    columns: dict[str, Any] = {
        "names": [field[0] for field in fields],
        "formats": [dtype_of(field[1]) for field in fields],
        "offsets": [field[2] for field in fields],
        "itemsize": itemsize,
    }
    if any(len(field) > 3 for field in fields):  # noqa: PLR2004 - a title
        columns["titles"] = [field[3] if len(field) > 3 else None for field in fields]  # noqa: PLR2004 - as above
    made = np.dtype(columns, align=aligned)
    return np.dtype((np.record, made)) if is_record else made


def _block(spec: Any, shape: tuple[int, ...]) -> Any:
    import numpy as np

    return np.dtype((dtype_of(spec), shape))


def _long(name: str, digits: int) -> Any:
    import numpy as np

    require(name[1:2] in ("f", "c"))
    made = np.dtype(name)
    require(np.finfo(made).nmant == digits)
    return made


_COMPOSED: Final[dict[str, Any]] = {"noted": _noted, "record": _record, "block": _block, "long": _long}


@maker
def dtype(_: Source, spec: Any) -> Any:
    """Make a dtype."""
    return dtype_of(spec)


def _dtype(_: Sink, value: Any) -> Reduced:
    return dtype, (spec_of(value),)


# Arrays -----------------------------------------------------------------------------------------------------------------


def bytes_of(array: Any) -> Any:
    """Return the memory of an array without gaps as a row of bytes."""
    np: Any = sys.modules["numpy"]
    if not array.nbytes:
        return b""
    return memoryview(np.ascontiguousarray(array).reshape(-1).view(np.uint8))


def _array(sink: Sink, value: Any) -> Reduced:
    dtype = value.dtype
    if dtype.kind == "T" and type(dtype).__module__ == "numpy.dtypes":
        has_missing, missing = hasattr(dtype, "na_object"), getattr(dtype, "na_object", None)
        return strings, (value.shape, value.reshape(-1).tolist(), has_missing, missing, dtype.coerce)
    if dtype.kind == "O":
        if dtype.metadata:
            raise Refused
        members = value.reshape(-1).tolist()
        if _may_be_chained(members):
            raise Refused
        return objects, (value.shape, members)
    spec = spec_of(dtype)
    flags = value.flags
    by_column = flags.f_contiguous and not flags.c_contiguous
    return array, (spec, value.shape, by_column, sink.add(bytes_of(value.T if by_column else value)))


@maker
def array(source: Source, spec: Any, shape: tuple[int, ...], by_column: bool, number: int) -> Any:  # noqa: FBT001 - as streams have it
    """Make an array: over the memory that the source gives if it can be written to, else of its own."""
    import numpy as np

    dtype = dtype_of(spec)
    memory = source.take(number)
    _require_shape(shape, dtype.itemsize, len(memory))
    order: Any = "F" if by_column else "C"
    if not memory.readonly:
        return np.ndarray(shape, dtype, memory, order=order)
    made = np.empty(shape, dtype, order=order)
    if len(memory):
        (made.T if by_column else made).reshape(-1).view(np.uint8)[:] = np.frombuffer(memory, np.uint8)
    return made


def _require_shape(shape: Any, itemsize: int, size: int) -> None:
    require(type(shape) is tuple, *(type(each) is int and each >= 0 for each in shape))
    require(math.prod(shape) * itemsize == size)


def _may_be_chained(members: list[Any]) -> bool:
    """Whether an array of objects holds one that may hold another: destroying a long chain needs the stack."""
    kinds = set(map(type, members))
    arrays = {each for each in kinds if issubclass(each, sys.modules["numpy"].ndarray)}
    if arrays and any(type(each) in arrays and each.dtype.hasobject for each in members):
        return True
    return any(issubclass(each, NO_NESTING) for each in kinds)


@maker
def objects(_: Source, shape: tuple[int, ...], members: list[Any]) -> Any:
    """Make an array of objects."""
    import numpy as np

    _require_shape(shape, 1, len(members))
    require(not _may_be_chained(members))
    return np.fromiter(members, object, len(members)).reshape(shape)


@maker
def strings(_: Source, shape: tuple[int, ...], members: list[Any], has_missing: bool, missing: Any, coerce: bool) -> Any:  # noqa: FBT001 - as above
    """Make an array of texts of any length."""
    import numpy as np

    _require_shape(shape, 1, len(members))
    more = {"na_object": missing} if has_missing else {}
    return np.array(members, np.dtypes.StringDType(coerce=coerce, **more)).reshape(shape)


@maker
def records(_: Source, value: Any) -> Any:
    """Make an array the fields of which are attributes."""
    import numpy as np

    return value.view(np.recarray)


@maker
def masked(_: Source, data: Any, mask: Any, fill_value: Any, hard: bool) -> Any:  # noqa: FBT001 - as above
    """Make a masked array."""
    import numpy as np

    require(type(data) is np.ndarray)
    made: Any = np.ma.MaskedArray(data, np.ma.nomask if mask is None else mask, fill_value=fill_value, hard_mask=hard)
    return made


def _masked(_: Sink, value: Any) -> Reduced:
    np: Any = sys.modules["numpy"]
    if value.dtype.hasobject or vars(value).get("_optinfo"):
        raise Refused
    mask = None if value.mask is np.ma.nomask else np.asarray(value.mask)
    return masked, (np.ndarray.view(value, np.ndarray), mask, np.asarray(value.view().fill_value), bool(value.hardmask))


# Scalars ----------------------------------------------------------------------------------------------------------------


@maker
def scalar(_: Source, spec: Any, data: bytes) -> Any:
    """Make a scalar."""
    import numpy as np

    dtype = dtype_of(spec)
    _require_shape((), dtype.itemsize, len(data))
    return np.ndarray((), dtype, bytearray(data))[()]


def _scalar(_: Sink, value: Any) -> Reduced:
    np: Any = sys.modules["numpy"]
    dtype = value.dtype
    if type(value) is not dtype.type:
        raise Refused
    return scalar, (spec_of(dtype), np.asarray(value, dtype).tobytes())


@maker
def text(_: Source, value: str) -> Any:
    """Make a text that is a scalar; as an array it would lose the zeros at its end."""
    import numpy as np

    require(type(value) is str)
    return np.str_(value)


@maker
def data(_: Source, value: bytes) -> Any:
    """Make bytes that are a scalar; as an array they would lose the zeros at their end."""
    import numpy as np

    require(type(value) is bytes)
    return np.bytes_(value)
