"""Values as streams: pickle's own writer and reader, confined to what data needs."""

from __future__ import annotations

import io
import pickle
import sys
from functools import partial
from typing import Any, Final

from hypernodes.cache.codecs import _arrays, _arrow, _matrices, _opcodes, _pandas, _polars, _records
from hypernodes.cache.codecs._makers import MAKERS, Refused, Sink, Source, Undecodable
from hypernodes.cache.codecs._plain import PLAIN

_LIBRARIES: Final = {
    "numpy": _arrays.reducer_of,
    "scipy": _matrices.scipy_reducer_of,
    "torch": _matrices.torch_reducer_of,
    "pandas": _pandas.reducer_of,
    "polars": _polars.reducer_of,
    "pyarrow": _arrow.reducer_of,
}
_CODECS: Final = {"numpy": "array", "scipy": "sparse", "torch": "torch", "pandas": "pandas", "polars": "arrow", "pyarrow": "arrow"}


class _Writer(pickle.Pickler):
    """Gives up at whatever would need code to be read again."""

    def __init__(self, stream: io.BytesIO) -> None:
        super().__init__(stream, 5)
        self.sink: Sink | None = None

    def reducer_override(self, value: Any) -> Any:
        kind = type(value)
        reduce = PLAIN.get(kind)
        if reduce is not None:
            return reduce(self.sink, value)
        if self.sink is None:
            self.sink = Sink()
            self.reducers: dict[type, Any] = {}
        reduce = self.reducers.get(kind)
        if reduce is None:
            reduce = self.reducers[kind] = _reducer_of(kind)
        return reduce(self.sink, value)


def _reducer_of(kind: type) -> Any:
    if issubclass(kind, type):
        raise Refused  # a class as a value
    library = _library_of(kind)
    found = _LIBRARIES[library](kind) if library in _LIBRARIES and library in sys.modules else _records.reducer_of(kind)
    if found is None:
        raise Refused
    return found


def _library_of(kind: type) -> str:
    return str(kind.__module__).partition(".")[0]


def written(value: Any) -> tuple[str, bytes, list[Any]] | None:
    """Return the codec of a value that is not an atom, its stream and what belongs beside it; None where it is not data only."""
    stream = io.BytesIO()
    writer = _Writer(stream)
    try:
        writer.dump(value)
    except Exception:  # noqa: BLE001 - whatever cannot be done here, pickle may be able to do
        return None
    if writer.sink is None:
        return "data", stream.getvalue(), []
    return _CODECS.get(_library_of(type(value)), "record"), stream.getvalue(), writer.sink.buffers


class _Reader(pickle.Unpickler):
    """Knows no names but those of makers."""

    def __init__(self, stream: bytes, source: Source) -> None:
        super().__init__(io.BytesIO(stream))
        self._source = source

    def find_class(self, module: str, name: str) -> Any:
        return _found(module, name, self._source)


def _found(module: str, name: str, source: Source) -> Any:
    make = MAKERS.get((module, name))
    if make is None:
        raise Undecodable("a stream names something else than data")
    return partial(make, source)


def read(stream: bytes, source: Source) -> Any:
    """Return the value of a stream.

    Raises:
        Undecodable: If it holds anything else than data.
    """
    _opcodes.checked(stream)
    named = _opcodes.names_something(stream)
    if not source.trusted and (named or _opcodes.may_be_deep(stream)):
        return _opcodes.Careful(stream, lambda module, name: _found(module, name, source)).load()
    if named:
        return _Reader(stream, source).load()
    return pickle.loads(stream)  # noqa: S301 - it names nothing that could be called
