"""pandas: frames, series and indexes as the arrays that they are made of."""

from __future__ import annotations

import sys
from typing import Any, Final

from hypernodes.cache.codecs._makers import Reduced, Reducer, Refused, Sink, Source, maker, require

_MASKED: Final = ("IntegerArray", "FloatingArray", "BooleanArray")


def reducer_of(kind: type) -> Reducer | None:
    """Return what takes objects of a class of pandas apart; a class derived from one may hold more."""
    pd: Any = sys.modules["pandas"]
    if getattr(pd, kind.__name__, None) is kind and kind.__name__ in _OBJECTS:
        return _OBJECTS[kind.__name__]
    if kind is type(pd.NaT) or kind is type(pd.NA):
        return lambda _, value: (missing, ("NaT" if value is pd.NaT else "NA",))
    if kind is pd.Timestamp or kind is pd.Timedelta:
        return _moment
    return _OBJECTS["array"] if issubclass(kind, pd.api.extensions.ExtensionArray) else None


@maker
def missing(_: Source, name: str) -> Any:
    """Find what stands for a missing value."""
    import pandas as pd

    return {"NaT": pd.NaT, "NA": pd.NA}[name]


def _moment(_: Sink, value: Any) -> Reduced:
    zone = getattr(value, "tzinfo", None)
    if zone is None and getattr(value, "fold", False):
        raise Refused
    return moment, (value.asm8, zone)


@maker
def moment(_: Source, value: Any, zone: Any) -> Any:
    """Make a timestamp or a span of time."""
    import pandas as pd

    if value.dtype.kind == "m":
        return pd.Timedelta(value)
    made = pd.Timestamp(value)
    return made if zone is None else made.tz_localize("UTC").tz_convert(zone)


# Columns ----------------------------------------------------------------------------------------------------------------


def _cells(column: Any) -> Any:
    """Return the cells of a series or an index: an array of NumPy, or what takes pandas' own apart."""
    return column.to_numpy() if _is_numpy(column.dtype) else column.array


def _is_numpy(dtype: Any) -> bool:
    return type(dtype).__module__.partition(".")[0] == "numpy"


def _is_array(value: Any) -> bool:
    """Whether something is as large as it looks: a scalar may stand for any number of rows, and a range has room for any."""
    import numpy as np

    return type(value) is np.ndarray


def _array(_: Sink, value: Any) -> Reduced:
    pd: Any = sys.modules["pandas"]
    name = type(value).__name__
    if type(value).__module__.partition(".")[0] != "pandas":
        raise Refused
    if name in _MASKED:
        zero = value.dtype.type(0)
        kind = getattr(value.dtype, "numpy_dtype", bool)
        return masked, (name, value.to_numpy(dtype=kind, na_value=zero), value.isna())
    if name == "Categorical":
        return categorical, (value.codes, value.categories, bool(value.ordered))
    if name in ("DatetimeArray", "TimedeltaArray"):
        zone = getattr(value.dtype, "tz", None)
        return times, (value.to_numpy(f"{value.dtype.kind}8[{value.unit}]"), zone)
    if name == "PeriodArray":
        return periods, (value.asi8, value.freqstr)
    if name == "IntervalArray":
        return intervals, (_cells(value.left), _cells(value.right), value.closed)
    if name == "ArrowExtensionArray":
        return arrow_cells, (value.__arrow_array__(),)
    if isinstance(value.dtype, pd.StringDtype):
        dtype = value.dtype
        cells = value.__arrow_array__() if dtype.storage == "pyarrow" else [None if each is dtype.na_value else each for each in value]
        return texts, (cells, dtype.storage, dtype.na_value is pd.NA)
    raise Refused


@maker
def masked(_: Source, name: str, values: Any, mask: Any) -> Any:
    """Make a column that remembers apart what is missing."""
    import pandas as pd

    require(name in _MASKED)
    return getattr(pd.arrays, name)(values, mask)


@maker
def categorical(_: Source, codes: Any, categories: Any, ordered: bool) -> Any:  # noqa: FBT001 - as streams have it
    """Make a column of categories."""
    import pandas as pd

    require(_is_array(codes))
    return pd.Categorical.from_codes(codes, dtype=pd.CategoricalDtype(categories, ordered))


@maker
def times(_: Source, values: Any, zone: Any) -> Any:
    """Make a column of times."""
    import pandas as pd

    require(values.dtype.kind in "mM")
    made = pd.Series(values, copy=False)
    return (made if zone is None else made.dt.tz_localize("UTC").dt.tz_convert(zone)).array


@maker
def periods(_: Source, ordinals: Any, freq: str) -> Any:
    """Make a column of periods."""
    import pandas as pd

    require(_is_array(ordinals), type(freq) is str)
    return pd.PeriodIndex.from_ordinals(ordinals, freq=freq).array


@maker
def intervals(_: Source, left: Any, right: Any, closed: Any) -> Any:
    """Make a column of intervals."""
    import pandas as pd

    require(not isinstance(left, pd.Index), not isinstance(right, pd.Index))
    return pd.arrays.IntervalArray.from_arrays(left, right, closed)


@maker
def arrow_cells(_: Source, cells: Any) -> Any:
    """Make a column over one of Arrow's."""
    import pandas as pd

    return pd.arrays.ArrowExtensionArray(cells)


@maker
def texts(_: Source, cells: Any, storage: Any, is_na: bool) -> Any:  # noqa: FBT001 - as above
    """Make a column of texts."""
    import pandas as pd

    dtype: Any = pd.StringDtype(storage, pd.NA if is_na else float("nan"))
    return pd.array(cells, dtype=dtype) if type(cells) is list else dtype.__from_arrow__(cells)


# Frames, series and indexes ---------------------------------------------------------------------------------------------


def _notes(value: Any) -> tuple[Any, ...]:
    return dict(value.attrs), value.flags.allows_duplicate_labels


def _noted(made: Any, attributes: dict[Any, Any], duplicates: bool) -> Any:  # noqa: FBT001 - as above
    if attributes:
        made.attrs = attributes
    if not duplicates:
        made.flags.allows_duplicate_labels = False
    return made


def _frame(_: Sink, value: Any) -> Reduced:
    kinds = set(value.dtypes)
    if len(kinds) == 1 and _is_numpy(next(iter(kinds))):
        return block, (value.columns, value.index, value.to_numpy(), *_notes(value))
    return frame, (value.columns, value.index, [_cells(column) for _, column in value.items()], *_notes(value))


@maker
def block(_: Source, columns: Any, index: Any, cells: Any, *notes: Any) -> Any:
    """Make a frame the columns of which are of one type."""
    import pandas as pd

    require(_is_array(cells), cells.ndim == 2)  # noqa: PLR2004 - rows and columns
    return _noted(pd.DataFrame(cells, index, columns, copy=False), *notes)


@maker
def frame(_: Source, columns: Any, index: Any, cells: list[Any], *notes: Any) -> Any:
    """Make a frame of columns; labels may be there twice."""
    import pandas as pd

    require(*(hasattr(each, "dtype") and len(each) == len(index) for each in cells))
    made = pd.DataFrame(dict(enumerate(cells)), index)
    made.columns = columns
    return _noted(made, *notes)


def _series(_: Sink, value: Any) -> Reduced:
    return series, (value.name, value.index, _cells(value), *_notes(value))


@maker
def series(_: Source, name: Any, index: Any, cells: Any, *notes: Any) -> Any:
    """Make a series."""
    import pandas as pd

    require(len(cells) == len(index))
    return _noted(pd.Series(cells, index, name=name, dtype=cells.dtype, copy=False), *notes)


def _index(_: Sink, value: Any) -> Reduced:
    pd: Any = sys.modules["pandas"]
    freq = getattr(value, "freq", None)
    spelled = None if freq is None or isinstance(value, pd.PeriodIndex) else freq.freqstr
    if spelled is not None and pd.tseries.frequencies.to_offset(spelled) != freq:
        raise Refused
    return index, (value.name, _cells(value), spelled)


@maker
def index(_: Source, name: Any, cells: Any, freq: str | None) -> Any:
    """Make an index."""
    import pandas as pd

    made: Any = pd.Index(cells, name=name, dtype=cells.dtype, copy=False, tupleize_cols=False)
    if freq is not None:
        made.freq = freq
    return made


def _range(_: Sink, value: Any) -> Reduced:
    return range_index, (value.name, value.start, value.stop, value.step)


@maker
def range_index(_: Source, name: Any, start: int, stop: int, step: int) -> Any:
    """Make an index that counts."""
    import pandas as pd

    return pd.RangeIndex(start, stop, step, name=name)


def _multi(_: Sink, value: Any) -> Reduced:
    return multi_index, (list(value.names), list(value.levels), [code.view() for code in value.codes])


@maker
def multi_index(_: Source, names: list[Any], levels: list[Any], codes: list[Any]) -> Any:
    """Make an index of several levels."""
    import pandas as pd

    require(*(_is_array(each) for each in codes))
    return pd.MultiIndex(levels, codes, names=names)


_OBJECTS: Final[dict[str, Reducer]] = {
    "DataFrame": _frame,
    "Series": _series,
    "RangeIndex": _range,
    "MultiIndex": _multi,
    **dict.fromkeys(("Index", "DatetimeIndex", "TimedeltaIndex", "PeriodIndex", "CategoricalIndex", "IntervalIndex"), _index),
    "array": _array,
}
