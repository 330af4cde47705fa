"""Polars: frames and series as the Arrow stream that it writes itself."""

from __future__ import annotations

import io
import sys
from typing import Any, Final

from hypernodes.cache.codecs._makers import Reducer, Refused, Sink, Source, maker, require

# Types that its streams bring back as they were.
_EXACT: Final = frozenset(
    "Int8 Int16 Int32 Int64 Int128 UInt8 UInt16 UInt32 UInt64 Float32 Float64 Boolean String Binary Date Time Datetime Duration "
    "Null Decimal List Array Struct Enum".split()
)


def reducer_of(kind: type) -> Reducer | None:
    """Return what takes objects of a class of Polars apart."""
    pl: Any = sys.modules["polars"]
    if kind is pl.DataFrame:
        return lambda sink, value: (polars, (False, _written(sink, value)))
    if kind is pl.Series:
        return lambda sink, value: (polars, (True, _written(sink, value.to_frame())))
    return None


def _written(sink: Sink, frame: Any) -> int:
    if not frame.width or not all(_is_exact(dtype) for dtype in frame.dtypes):
        raise Refused
    stream = io.BytesIO()
    frame.write_ipc_stream(stream)
    return sink.add(stream.getbuffer())


def _is_exact(dtype: Any) -> bool:
    if type(dtype).__name__ not in _EXACT:
        return False
    fields = [field.dtype for field in getattr(dtype, "fields", ())]
    return all(_is_exact(each) for each in [getattr(dtype, "inner", None), *fields] if each is not None)


@maker
def polars(source: Source, is_series: bool, number: int) -> Any:  # noqa: FBT001 - as streams have it
    """Make a frame or a series."""
    import polars as pl

    require(type(is_series) is bool)
    memory = source.take(number)
    if not source.trusted:
        import pyarrow as pa

        with pa.ipc.open_stream(pa.py_buffer(memory)) as reader:
            reader.read_all().validate(full=True)
    frame = pl.read_ipc_stream(io.BytesIO(memory))
    return frame.to_series() if is_series else frame
