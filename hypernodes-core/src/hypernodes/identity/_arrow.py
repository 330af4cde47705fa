"""Arrow's columns by type and cells: chunks, offsets, slices and what lies below nulls do not count."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, Final

from hypernodes.identity._arrays import feed
from hypernodes.identity._encoding import NONE, finished, hasher_for, named, of_bool, of_bytes, of_int, of_str

_LISTS: Final = ("is_list", "is_large_list", "is_fixed_size_list", "is_list_view", "is_large_list_view")


def of_schema(schema: Any) -> bytes:
    """Return the identity of a schema: its fields and what is noted on it."""
    return named("schema", _noted(schema.metadata), *map(of_field, schema))


def of_field(field: Any) -> bytes:
    """Return the identity of a field."""
    return named("field", of_str(field.name), of_type(field.type), of_bool(field.nullable), _noted(field.metadata))


def _noted(metadata: Any) -> bytes:
    return NONE if not metadata else named("metadata", *(of_bytes(each) for item in sorted(metadata.items()) for each in item))


def of_type(kind: Any) -> bytes:
    """Return the identity of a type."""
    types: Any = sys.modules["pyarrow"].types
    if isinstance(kind, sys.modules["pyarrow"].BaseExtensionType):
        name = of_str(getattr(kind, "extension_name", type(kind).__qualname__))
        return named("extension", name, of_type(kind.storage_type), of_bytes(_parameters(kind)))
    if types.is_dictionary(kind):
        return named("dictionary", of_type(kind.value_type), of_bool(kind.ordered))
    if not types.is_nested(kind):
        return named("type", of_str(str(kind)))
    fields = [of_field(kind.field(k)) for k in range(kind.num_fields)]
    more = [of_int(kind.list_size)] if types.is_fixed_size_list(kind) else []
    more += [of_bool(kind.keys_sorted)] if types.is_map(kind) else []
    more += [of_int(each) for each in kind.type_codes] if types.is_union(kind) else []
    return named("nested", of_int(kind.id), named("more", *more), *fields)


def _parameters(kind: Any) -> bytes:
    found = kind.__arrow_ext_serialize__() if hasattr(kind, "__arrow_ext_serialize__") else str(kind).encode()
    return found if isinstance(found, bytes) else str(kind).encode()


def of_cells(kind: Any, chunks: Sequence[Any]) -> bytes:
    """Return the identity of a column.

    Args:
        kind: Its type.
        chunks: The arrays that it is cut into.
    """
    if _is_text_view(kind):
        wide = sys.modules["pyarrow"].large_binary()
        cells = of_cells(wide, [chunk.cast(wide) for chunk in chunks])
    else:
        try:
            nulls = _nulls(chunks)
            cells = nulls + _values(kind, [chunk.drop_null() if chunk.null_count else chunk for chunk in chunks])
        except NotImplementedError:  # Arrow cannot do everything with its rarer types
            cells = _one_by_one(chunks)
    return named("column", of_type(kind), of_int(sum(map(len, chunks))), cells)


def _one_by_one(chunks: Sequence[Any]) -> bytes:
    from hypernodes.identity.values import identity

    return identity([each for chunk in chunks for each in chunk.to_pylist()])


def of_scalar(value: Any) -> bytes:
    """Return the identity of a single cell."""
    pyarrow: Any = sys.modules["pyarrow"]
    try:
        return of_cells(value.type, [pyarrow.array([value], type=value.type)])
    except (NotImplementedError, ValueError):  # as above
        from hypernodes.identity.values import identity

        return named("cell", of_type(value.type), identity(value.as_py()))


def _nulls(chunks: Sequence[Any]) -> bytes:
    if not any(chunk.null_count for chunk in chunks):
        return NONE
    return _streamed([chunk.is_valid().to_numpy(zero_copy_only=False) for chunk in chunks])


def _streamed(arrays: Sequence[Any]) -> bytes:
    hasher = hasher_for(sum(array.nbytes for array in arrays))
    for array in arrays:
        feed(hasher, array)
    return finished(hasher)


def _values(kind: Any, chunks: Sequence[Any]) -> bytes:
    """Return the identity of cells none of which is null."""
    pyarrow: Any = sys.modules["pyarrow"]
    types = pyarrow.types
    if isinstance(kind, pyarrow.BaseExtensionType):
        return of_cells(kind.storage_type, [chunk.storage for chunk in chunks])
    if types.is_dictionary(kind):
        return of_cells(kind.value_type, [chunk.dictionary_decode() for chunk in chunks])
    if types.is_run_end_encoded(kind):
        return of_cells(kind.value_type, [pyarrow.compute.run_end_decode(chunk) for chunk in chunks])
    if types.is_null(kind):
        return NONE
    if types.is_boolean(kind):
        return _streamed([chunk.to_numpy(zero_copy_only=False) for chunk in chunks])
    if types.is_string(kind) or types.is_binary(kind):
        return _texts(chunks, "i4")
    if types.is_large_string(kind) or types.is_large_binary(kind):
        return _texts(chunks, "i8")
    if types.is_struct(kind):
        rows = [chunk.flatten() for chunk in chunks]
        return named("fields", *(of_cells(kind.field(k).type, [row[k] for row in rows]) for k in range(kind.num_fields)))
    if any(getattr(types, name, _never)(kind) for name in _LISTS):
        lengths = _streamed([chunk.value_lengths().to_numpy(zero_copy_only=False).astype("i8") for chunk in chunks])
        return named("lists", lengths, of_cells(kind.value_type, [chunk.flatten() for chunk in chunks]))
    return _one_by_one(chunks) if types.is_nested(kind) else _fixed(kind, chunks)


def _is_text_view(kind: Any) -> bool:
    types: Any = sys.modules["pyarrow"].types
    return any(getattr(types, name, _never)(kind) for name in ("is_string_view", "is_binary_view"))


def _never(_: Any) -> bool:
    """Answer for a question that an older Arrow cannot be asked."""
    return False


def _fixed(kind: Any, chunks: Sequence[Any]) -> bytes:
    """Return the identity of cells that are all as wide."""
    numpy: Any = __import__("numpy")
    width = kind.bit_width // 8
    floats = f"f{width}" if sys.modules["pyarrow"].types.is_floating(kind) else "u1"
    buffers = ((chunk.buffers()[1], chunk.offset * width, len(chunk) * width) for chunk in chunks if len(chunk))
    return _streamed([numpy.frombuffer(buffer, "u1")[start : start + size].view(floats) for buffer, start, size in buffers])


def _texts(chunks: Sequence[Any], offset_type: str) -> bytes:
    numpy: Any = __import__("numpy")
    lengths, texts = [], []
    for chunk in chunks:
        _, offsets, data = chunk.buffers()
        if not len(chunk):
            continue
        ends = numpy.frombuffer(offsets, offset_type)[chunk.offset : chunk.offset + len(chunk) + 1]
        lengths.append(numpy.diff(ends).astype("i8"))
        if data is not None:
            texts.append(numpy.frombuffer(data, "u1")[ends[0] : ends[-1]])
    return named("texts", _streamed(lengths), _streamed(texts))
