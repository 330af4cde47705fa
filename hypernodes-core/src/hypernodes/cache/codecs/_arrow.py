"""Arrow: tables and columns as a stream of Arrow's own, which is read without copying."""

from __future__ import annotations

import sys
from typing import Any, Final

from hypernodes.cache.codecs._makers import Reduced, Reducer, Refused, Sink, Source, maker, require

_FORMS: Final = ("table", "batch", "column", "array")


def reducer_of(kind: type) -> Reducer | None:
    """Return what takes objects of a class of Arrow apart."""
    pa: Any = sys.modules["pyarrow"]
    if kind is pa.Table:
        return lambda sink, value: _tables(sink, "table", value.schema, value.to_batches())
    if kind is pa.RecordBatch:
        return lambda sink, value: _tables(sink, "batch", value.schema, [value])
    if kind is pa.ChunkedArray:
        return lambda sink, value: _columns(sink, "column", value.type, value.chunks)
    if issubclass(kind, pa.Array):
        return lambda sink, value: _columns(sink, "array", value.type, [value])
    return None


def _columns(sink: Sink, form: str, kind: Any, chunks: list[Any]) -> Reduced:
    pa: Any = sys.modules["pyarrow"]
    schema = pa.schema([pa.field("", kind)])
    return _tables(sink, form, schema, [pa.RecordBatch.from_arrays([chunk], schema=schema) for chunk in chunks])


def _tables(sink: Sink, form: str, schema: Any, batches: list[Any]) -> Reduced:
    pa: Any = sys.modules["pyarrow"]
    if any(_is_foreign(field.type) for field in schema):
        raise Refused
    output = pa.BufferOutputStream()
    with pa.ipc.new_stream(output, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return arrow, (form, sink.add(memoryview(output.getvalue())))


def _is_foreign(kind: Any) -> bool:
    """Whether a type is or holds one that only comes back where somebody registered it."""
    pa: Any = sys.modules["pyarrow"]
    if isinstance(kind, pa.BaseExtensionType):
        return True
    if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        return _is_foreign(kind.value_type)
    return any(_is_foreign(kind.field(k).type) for k in range(kind.num_fields))


@maker
def arrow(source: Source, form: str, number: int) -> Any:
    """Make a table, batch, column or array of Arrow over the memory that the source gives: none of them can be written to."""
    import pyarrow as pa

    require(form in _FORMS)
    with pa.ipc.open_stream(pa.py_buffer(source.take(number))) as reader:
        table = reader.read_all()
    if not source.trusted:
        table.validate(full=True)
    if form == "table":
        return table
    if form == "column":
        return table.column(0)
    (batch,) = table.to_batches() or [pa.RecordBatch.from_arrays([pa.array([], field.type) for field in table.schema], schema=table.schema)]
    return batch if form == "batch" else batch.column(0)
