"""From mapped inputs to items: zip or product, from lists or from anything iterable."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from time import perf_counter
from typing import Any

from hypernodes._messages import picture
from hypernodes.errors import MapInputError, MapLengthError


def check_mapped(name: str, value: Any, label: str) -> None:
    """Refuse a mapped value that is not a collection of items.

    Raises:
        MapInputError: If it is a string, bytes, a mapping, or not iterable.
    """
    if isinstance(value, (str, bytes, bytearray)):
        kind = "string" if isinstance(value, str) else type(value).__name__
        msg = (
            f"{label}: the mapped input '{name}' is a {kind} ({picture(value)}), which would be taken apart into its "
            f"{'characters' if kind == 'string' else 'bytes'}.\n  fix: pass a list of items, such as [{picture(value)}]"
        )
        raise MapInputError(msg)
    if isinstance(value, Mapping):
        msg = f"{label}: the mapped input '{name}' is a mapping ({picture(value)}).\n  fix: pass its keys or values as a list"
        raise MapInputError(msg)
    try:
        iter(value)
    except TypeError:
        msg = f"{label}: the mapped input '{name}' is {picture(value)}, which is not a collection of items; pass a list"
        raise MapInputError(msg) from None


def known_length(values: Mapping[str, Any], mode: str, label: str) -> int | None:
    """Return how many items there are, or ``None`` when an input without length must tell.

    Raises:
        MapLengthError: If inputs mapped in ``zip`` mode are known to differ in length.
    """
    lengths = {name: len(value) if isinstance(value, Sized) else None for name, value in values.items()}
    known = {name: length for name, length in lengths.items() if length is not None}
    if mode == "product":
        if len(known) < len(lengths):
            return None
        total = 1
        for length in known.values():
            total *= length
        return total
    if len(set(known.values())) > 1:
        raise _unequal(known, label)
    return next(iter(known.values())) if len(known) == len(lengths) else None


def _unequal(lengths: Mapping[str, int | str], label: str) -> MapLengthError:
    shown = ", ".join(f"'{name}' has {length}" for name, length in lengths.items())
    msg = f"{label}: inputs mapped together have different lengths: {shown}.\n  fix: make them equal, or use map_mode='product'"
    return MapLengthError(msg)


class Items:
    """Mapped inputs, taken a few items at a time; nothing is read ahead of what is taken.

    In ``product`` mode the first input is read lazily and the others are kept; the last varies fastest.

    Args:
        values: Mapped input to its values; any iterables.
        mode: ``"zip"`` or ``"product"``.
        label: Who asks, for messages.
    """

    def __init__(self, values: Mapping[str, Any], mode: str, label: str) -> None:
        self.names = tuple(values)
        self._label = label
        self._taken = 0
        if mode == "product" and len(values) > 1:
            self._rows: Iterator[tuple[Any, ...]] | None = _product(list(values.values()))
            self._sources: list[Iterator[Any]] = []
        else:
            self._rows = None
            self._sources = [iter(value) for value in values.values()]

    def take(self, size: int, patience: float | None = None) -> list[list[Any]]:
        """Return up to ``size`` items as one list per mapped input, all empty at the end.

        Args:
            size: The most items.
            patience: Seconds after which no more items are waited for; ``None`` for sources that do not wait.

        Raises:
            MapLengthError: In ``zip`` mode, when one input ends before another.
        """
        if self._rows is not None:
            rows = _patiently(self._rows, size, patience)
            return [list(column) for column in zip(*rows, strict=True)] or [[] for _ in self.names]
        if len(self._sources) == 1:
            return [_patiently(self._sources[0], size, patience)]
        if patience is None:
            columns = [list(itertools.islice(source, size)) for source in self._sources]
        else:
            columns = self._one_by_one(size, patience)
        count = min(map(len, columns))
        if max(map(len, columns)) != count:
            total = self._taken + count
            raise _unequal(
                {
                    name: str(total) if len(column) == count else f"more than {total}"
                    for name, column in zip(self.names, columns, strict=True)
                },
                self._label,
            )
        self._taken += count
        return columns

    def _one_by_one(self, size: int, patience: float) -> list[list[Any]]:
        columns: list[list[Any]] = [[] for _ in self._sources]
        end = perf_counter() + patience
        for _ in range(size):
            before = len(columns[0])
            for column, source in zip(columns, self._sources, strict=True):
                column.extend(itertools.islice(source, 1))
            if perf_counter() > end or any(len(column) == before for column in columns):
                break
        return columns


def _patiently(source: Iterator[Any], size: int, patience: float | None) -> list[Any]:
    if patience is None:
        return list(itertools.islice(source, size))
    values = []
    end = perf_counter() + patience
    for value in itertools.islice(source, size):
        values.append(value)
        if perf_counter() > end:
            break
    return values


def _product(sources: Sequence[Iterable[Any]]) -> Iterator[tuple[Any, ...]]:
    rest = [list(source) for source in sources[1:]]
    for value in sources[0]:
        for others in itertools.product(*rest):
            yield (value, *others)


def count_items(names: Sequence[str], given: Mapping[str, Any], mode: str, label: str) -> tuple[dict[str, list[Any]], int]:
    """Return the mapped inputs as columns of equal length, and that length (for maps inside a pipeline).

    Raises:
        MapInputError: If a mapped value is not a collection of items.
        MapLengthError: In ``zip`` mode, if lengths differ.
    """
    values = {name: given[name] for name in names}
    for name, value in values.items():
        check_mapped(name, value, label)
    known_length(values, mode, label)
    columns = Items(values, mode, label).take(sys.maxsize)
    return dict(zip(names, columns, strict=True)), len(columns[0])
