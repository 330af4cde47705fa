"""How a batch twin is called: lists or arrays in, one result per item out."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hypernodes._messages import counted, picture, where
from hypernodes.errors import BatchLengthError, OutputCountError

_LISTLIKE = frozenset({"list", "List", "Sequence", "Iterable", "Collection", "MutableSequence", "Iterator"})


def containers(batch: Callable[..., Any]) -> dict[str, str]:
    """Return for each parameter what its annotation asks for.

    Returns:
        Name to ``"numpy"``, ``"pyarrow"``, ``"pandas"``, ``"polars"``, ``"list"``, ``"tuple"``; ``"item"`` where
        the annotation is something else, or where there is none but a default; ``""`` where nothing is known.
    """
    try:
        hints = typing.get_type_hints(batch)
    except Exception:  # noqa: BLE001 - annotations that cannot be resolved ask for nothing
        hints = {}
    found: dict[str, str] = {}
    for name, parameter in inspect.signature(batch).parameters.items():
        annotation = hints.get(name, Any)
        if annotation is not Any:
            found[name] = _container(annotation)
        else:
            found[name] = "" if parameter.default is inspect.Parameter.empty else "item"
    return found


def _container(annotation: Any) -> str:
    origin = typing.get_origin(annotation) or annotation
    name = getattr(origin, "__name__", "")
    package = str(getattr(origin, "__module__", "")).partition(".")[0]
    if package == "numpy" and name == "ndarray":
        return "numpy"
    if package == "pyarrow" and name.endswith("Array"):
        return "pyarrow"
    if package in ("pandas", "polars") and name == "Series":
        return package
    if name == "tuple":
        return "tuple"
    return "list" if name in _LISTLIKE else "item"


def pack(kind: str, values: list[Any]) -> Any:
    """Return values in the container that an annotation asks for."""
    if kind == "numpy":
        import numpy as np

        return np.asarray(values)
    if kind == "pyarrow":
        import pyarrow as pa

        return pa.array(values)
    if kind == "pandas":
        import pandas as pd

        return pd.Series(values)
    if kind == "polars":
        import polars as pl

        return pl.Series(values)
    return tuple(values) if kind == "tuple" else values


def arguments(
    kinds: Mapping[str, str], names: Sequence[str], columns: Sequence[Sequence[Any]], varies: Sequence[bool], items: Sequence[int]
) -> list[Any]:
    """Build the arguments of one batch call: mapped values as containers, constants as they are.

    Where nothing varies over the items, each parameter goes by its annotation: a container type asks for one value
    per item, any other type (or a default without annotation) for the value itself.
    """
    some = any(varies)
    made = []
    for name, column, variable in zip(names, columns, varies, strict=True):
        kind = kinds.get(name, "")
        each = variable if some else kind != "item"
        made.append(pack(kind, [column[i] for i in items]) if each else column[items[0]])
    return made


def results(batch: Callable[..., Any], name: str, value: Any, count: int, outputs: int | None) -> list[Sequence[Any]]:
    """Split what a batch call returned into one column per output.

    ``outputs`` is ``None`` for a node with one bare output.

    Raises:
        BatchLengthError: If it is not one result per item.
        OutputCountError: If the number of outputs is wrong.
    """
    if outputs is None:
        return [_column(batch, name, value, count)]
    if isinstance(value, tuple):
        if len(value) != outputs:
            msg = f"batch twin of node '{name}' ({where(batch)}) declares {counted(outputs, 'output')} and returned {len(value)} columns"
            raise OutputCountError(msg)
        return [_column(batch, name, column, count) for column in value]
    rows = _column(batch, name, value, count)
    for row in rows:
        if not isinstance(row, (tuple, list)) or len(row) != outputs:
            msg = (
                f"batch twin of node '{name}' ({where(batch)}) declares {outputs} outputs; return a tuple of {outputs} columns "
                f"or a list of tuples of {outputs}"
            )
            raise OutputCountError(msg)
    return [[row[position] for row in rows] for position in range(outputs)]


def _column(batch: Callable[..., Any], name: str, value: Any, count: int) -> Sequence[Any]:
    column: Sequence[Any] | None = None
    if isinstance(value, (list, tuple)):
        column = value
    elif hasattr(value, "to_pylist"):
        column = value.to_pylist()
    elif hasattr(value, "tolist") and getattr(value, "ndim", 0) == 1:
        column = value.tolist()
    elif (hasattr(value, "shape") and getattr(value, "ndim", 0) > 1) or (
        hasattr(value, "__iter__") and not isinstance(value, (str, bytes, Mapping))
    ):
        column = list(value)
    if column is None or len(column) != count:
        got = counted(len(column), "result") if column is not None else picture(value)
        called = f"batch twin of node '{name}' ({where(batch)})"
        msg = f"{called} was given {counted(count, 'item')} and returned {got}; it must return one result per item"
        raise BatchLengthError(msg)
    return column


def call_single(batch: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """Call a batch function for one item."""
    bound = inspect.signature(batch).bind(*args, **kwargs)
    bound.apply_defaults()
    kinds = containers(batch)
    for name, value in bound.arguments.items():
        if kinds.get(name, "") != "item":
            bound.arguments[name] = pack(kinds.get(name, ""), [value])
    value = batch(*bound.args, **bound.kwargs)
    name = getattr(batch, "__name__", "batch")
    if isinstance(value, tuple) and len(value) != 1:
        return tuple(_column(batch, name, column, 1)[0] for column in value)
    return _column(batch, name, value, 1)[0]
