"""From mapped inputs to items: zip or product, from lists or from anything iterable."""

from __future__ import annotations

import contextlib
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
        self._failing: Exception | None = None  # what a source raised after items that were not taken yet
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
            Exception: What a source raises, once what it gave before has been taken.
        """
        self.check()
        if self._rows is not None:
            rows: list[tuple[Any, ...]] = []
            self._fill([rows], [self._rows], size, patience)
            return [list(column) for column in zip(*rows, strict=True)] or [[] for _ in self.names]
        columns: list[list[Any]] = [[] for _ in self._sources]
        self._fill(columns, self._sources, size, patience)
        if len(columns) == 1:
            return columns
        count = min(map(len, columns))
        if self._failing is not None:
            columns = [column[:count] for column in columns]
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

    def check(self) -> None:
        """Raise what a source has raised.

        Raises:
            Exception: That.
        """
        failing, self._failing = self._failing, None
        if failing is not None:
            raise failing

    def _fill(self, columns: list[list[Any]], sources: list[Iterator[Any]], size: int, patience: float | None) -> None:
        """Add up to so many values to each column; those that came before a source failed are kept."""
        try:
            if patience is None:
                for column, source in zip(columns, sources, strict=True):
                    column.extend(itertools.islice(source, size))
                return
            end = perf_counter() + patience
            for number in range(1, size + 1):
                for column, source in zip(columns, sources, strict=True):
                    column.extend(itertools.islice(source, 1))
                if perf_counter() > end or any(len(column) < number for column in columns):
                    return
        except Exception as error:
            for column, source in zip(columns, sources, strict=True):
                if not column:  # those beside what the first one gave
                    with contextlib.suppress(Exception):
                        column.extend(itertools.islice(source, len(columns[0])))
            if not all(columns):
                raise
            self._failing = error


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
    items = Items(values, mode, label)
    columns = items.take(sys.maxsize)
    items.check()
    return dict(zip(names, columns, strict=True)), len(columns[0])
