"""Frames and tables: names, types, index and every cell; how they are cut into pieces does not count."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any, Final

from hypernodes.identity import _arrow
from hypernodes.identity._encoding import Known, Parts, by_name, head, named, of_buffer, of_str
from hypernodes.identity._owner import module_of
from hypernodes.identity._plain import Handler, spell

# pandas -----------------------------------------------------------------------------------------------------------------


def pandas_handler(_: type, base: type) -> Handler | None:
    """Return what takes pandas' objects apart; ``base`` is the class of pandas that an object's class is or derives from."""
    return _PANDAS.get(base.__name__)


def _of(walk: Any, tag: str, value: Any, parts: dict[str, Any], *more: bytes) -> Parts:
    """Return parts by their labels for messages."""
    return Parts(head(tag, walk.of_class(type(value)), *more), list(parts.values()), by_name, list(parts))


def _frame(walk: Any, value: Any) -> Parts:
    columns = list(sys.modules["pandas"].DataFrame.items(value))
    around = {".columns": value.columns, ".index": value.index, **_notes(value)}
    cells = [*around.values(), *(_cells(column) for _, column in columns)]
    labels = [*around, *(f"[{spell(label)}]" for label, _ in columns)]
    return Parts(head("frame", walk.of_class(type(value))), cells, by_name, labels)


def _series(walk: Any, value: Any) -> Parts:
    return _of(walk, "series", value, {".name": value.name, ".index": value.index, **_notes(value), "": _cells(value)})


def _notes(value: Any) -> dict[str, Any]:
    own = {name: getattr(value, name, None) for name in type(value)._metadata if name not in ("_name", "name")}  # noqa: SLF001 - how subclasses declare them
    return {".attrs": dict(value.attrs), ".flags": value.flags.allows_duplicate_labels, "._metadata": own}


def _cells(column: Any) -> Any:
    """Return the cells of a column: an array of NumPy or one of pandas' own."""
    return column.to_numpy() if _is_numpy(column.dtype) else column.array


def _is_numpy(dtype: Any) -> bool:
    return module_of(type(dtype)).partition(".")[0] == "numpy"


def _index(walk: Any, value: Any) -> Parts:
    return _of(walk, "index", value, {".name": value.name, "": _cells(value), ".freq": getattr(value, "freqstr", None)})


def _range_index(walk: Any, value: Any) -> Parts:
    return _of(walk, "index", value, {".name": value.name, "": range(value.start, value.stop, value.step)})


def _multi_index(walk: Any, value: Any) -> Parts:
    codes = [code.view() for code in value.codes]
    return _of(walk, "index", value, {".names": list(value.names), ".levels": list(value.levels), ".codes": codes})


def _numpy_array(walk: Any, value: Any) -> Parts:
    return _of(walk, "cells", value, {"": value.to_numpy()})


def _categorical(walk: Any, value: Any) -> Parts:
    return _of(walk, "cells", value, {".categories": value.categories, ".codes": value.codes, ".ordered": bool(value.ordered)})


def _times(walk: Any, value: Any) -> Parts:
    zone = getattr(value.dtype, "tz", None)
    if zone is None:
        return _of(walk, "cells", value, {"": value.to_numpy()})
    return _of(walk, "cells", value, {"": value.to_numpy(dtype=f"M8[{value.dtype.unit}]"), ".tz": zone})


def _periods(walk: Any, value: Any) -> Parts:
    return _of(walk, "cells", value, {"": value.asi8}, of_str(str(value.dtype)))


def _intervals(walk: Any, value: Any) -> Parts:
    return _of(walk, "cells", value, {".left": value.left, ".right": value.right}, of_str(value.closed))


def _masked(walk: Any, value: Any) -> Parts:
    missing = value.isna()
    # What lies below a missing cell is left over from whatever was computed before.
    zero = value.dtype.type(0)
    kind = value.dtype.numpy_dtype if hasattr(value.dtype, "numpy_dtype") else bool
    return _of(walk, "cells", value, {"": value.to_numpy(dtype=kind, na_value=zero), ".isna()": missing}, of_str(str(value.dtype)))


def _sparse(walk: Any, value: Any) -> Parts:
    pieces = {".fill_value": value.fill_value, ".sp_values": value.sp_values, ".sp_index": value.sp_index.to_int_index().indices}
    return _of(walk, "cells", value, {**pieces, "len()": len(value)})


def _arrow_cells(walk: Any, value: Any) -> Parts:
    missing = getattr(value.dtype, "na_value", None)
    return _of(walk, "cells", value, {"": value.__arrow_array__(), ".dtype.na_value": missing}, of_str(str(value.dtype)))


def _texts(walk: Any, value: Any) -> Parts:
    return _of(walk, "cells", value, {"": value.to_numpy(dtype=object), ".dtype.na_value": value.dtype.na_value})


_PANDAS: Final[dict[str, Handler]] = {
    "DataFrame": _frame,
    "Series": _series,
    "RangeIndex": _range_index,
    "MultiIndex": _multi_index,
    "Index": _index,
    "NumpyExtensionArray": _numpy_array,
    "PandasArray": _numpy_array,
    "Categorical": _categorical,
    "DatetimeArray": _times,
    "TimedeltaArray": _times,
    "PeriodArray": _periods,
    "IntervalArray": _intervals,
    "BaseMaskedArray": _masked,
    "SparseArray": _sparse,
    "ArrowExtensionArray": _arrow_cells,
    "ArrowStringArray": _arrow_cells,
    "StringArray": _texts,
}


# Arrow ------------------------------------------------------------------------------------------------------------------


def arrow_handler(_: type, base: type) -> Handler | None:
    """Return what takes Arrow's objects apart; ``base`` is the class of Arrow that an object's class is or derives from."""
    return _ARROW.get(base.__name__)


def _table(walk: Any, value: Any) -> bytes:
    chunks = [column.chunks if hasattr(column, "chunks") else [column] for column in value.columns]
    columns = [_arrow.of_cells(field.type, each) for field, each in zip(value.schema, chunks, strict=True)]
    return named("Arrow table", walk.of_class(type(value)), _arrow.of_schema(value.schema), *columns)


def _plain(tag: str, identify: Callable[[Any], bytes]) -> Handler:
    return lambda walk, value: named(tag, walk.of_class(type(value)), identify(value))


def _buffer(value: Any) -> bytes:
    return of_buffer(b"b", memoryview(value))


_ARROW: Final[dict[str, Handler]] = {
    "Table": _table,
    "RecordBatch": _table,
    "ChunkedArray": _plain("Arrow column", lambda value: _arrow.of_cells(value.type, value.chunks)),
    "Array": _plain("Arrow array", lambda value: _arrow.of_cells(value.type, [value])),
    "Scalar": _plain("Arrow scalar", _arrow.of_scalar),
    "Schema": _plain("Arrow schema", _arrow.of_schema),
    "Field": _plain("Arrow field", _arrow.of_field),
    "DataType": _plain("Arrow type", _arrow.of_type),
    "Buffer": _plain("Arrow buffer", _buffer),
}


# Polars -----------------------------------------------------------------------------------------------------------------


def polars_handler(_: type, base: type) -> Handler | None:
    """Return what takes Polars' objects apart; ``base`` is the class of Polars that an object's class is or derives from."""
    return {"DataFrame": _polars_frame, "Series": _polars_series}.get(base.__name__)


def _polars_frame(walk: Any, value: Any) -> Parts:
    columns: Sequence[Any] = value.get_columns()
    return _of(walk, "Polars frame", value, {f"[{spell(column.name)}]": column for column in columns})


def _polars_series(walk: Any, value: Any) -> Parts:
    return _of(walk, "Polars series", value, {".name": value.name, ".dtype": value.dtype, "": _polars_cells(value)})


def _polars_cells(value: Any) -> Any:
    if value.dtype != sys.modules["polars"].Object:
        try:
            cells = value.to_arrow()
            return Known(_arrow.of_cells(cells.type, [cells]))
        except (ImportError, TypeError, ValueError, NotImplementedError):  # no Arrow here, or nothing there that it has a type for
            pass
    return value.to_list()
