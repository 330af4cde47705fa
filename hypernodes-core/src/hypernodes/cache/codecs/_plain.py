"""Values that the standard library knows to be plain: what the stream has no opcode of its own for."""

from __future__ import annotations

import collections
import datetime as dt
import decimal
import fractions
import pathlib
import types
import uuid
import zoneinfo
from typing import Any, Final

from hypernodes.cache.codecs._makers import MAKERS, Reduced, Reducer, Refused, Sink, Source, maker, require

ATOMS: Final = frozenset({type(None), bool, int, float, complex, str, bytes})
# Destroying one that holds another that holds another … needs the stack; the classes that are not listed see to it themselves.
NO_NESTING: Final = (collections.deque, slice)
_CONSTANTS: Final = {"Ellipsis": ..., "NotImplemented": NotImplemented}
_FACTORIES: Final = {each.__name__: each for each in (list, dict, set, int, float, str, tuple, bool, bytes, frozenset, complex, bytearray)}
_PATHS: Final = {each.__name__: each for each in (pathlib.PurePosixPath, pathlib.PureWindowsPath, type(pathlib.Path()))}


def _function(_: Sink, value: Any) -> Any:
    if MAKERS.get((value.__module__, value.__qualname__)) is value:
        return NotImplemented  # named in the stream
    raise Refused


@maker
def constant(_: Source, name: str) -> Any:
    """Make one of the objects of which there is one."""
    return _CONSTANTS[name]


@maker
def complex_number(_: Source, real: float, imag: float) -> complex:
    """Make a complex number."""
    require(type(real) is float, type(imag) is float)
    return complex(real, imag)


@maker
def range_of(_: Source, start: int, stop: int, step: int) -> range:
    """Make a range."""
    return range(start, stop, step)


@maker
def slice_of(_: Source, start: Any, stop: Any, step: Any) -> slice:
    """Make a slice."""
    require(*(type(each) in ATOMS for each in (start, stop, step)))
    return slice(start, stop, step)


def _slice(_: Sink, value: slice) -> Reduced:
    parts = value.start, value.stop, value.step
    if not all(type(each) in ATOMS for each in parts):
        raise Refused
    return slice_of, parts


@maker
def decimal_number(_: Source, text: str) -> decimal.Decimal:
    """Make a decimal number."""
    require(type(text) is str)
    return decimal.Decimal(text)


@maker
def fraction(_: Source, numerator: int, denominator: int) -> fractions.Fraction:
    """Make a fraction. Never from a text, the exponent of which may be anything."""
    require(type(numerator) is int, type(denominator) is int)
    return fractions.Fraction(numerator, denominator)


@maker
def uuid_of(_: Source, data: bytes, safe: int | None) -> uuid.UUID:
    """Make a UUID."""
    require(type(data) is bytes)
    return uuid.UUID(bytes=data, is_safe=uuid.SafeUUID(safe))


@maker
def path(_: Source, kind: str, text: str) -> pathlib.PurePath:
    """Make a path."""
    require(type(text) is str)
    return _PATHS[kind](text)


# Times ------------------------------------------------------------------------------------------------------------------


@maker
def date(_: Source, year: int, month: int, day: int) -> dt.date:
    """Make a date; of one argument it would be made without a look at what is in it."""
    return dt.date(year, month, day)


@maker
def time(_: Source, zone: dt.tzinfo | None, fold: int, *fields: int) -> dt.time:
    """Make a time of the day."""
    hour, minute, second, microsecond = fields
    return dt.time(hour, minute, second, microsecond, zone, fold=fold)


@maker
def datetime(_: Source, zone: dt.tzinfo | None, fold: int, *fields: int) -> dt.datetime:
    """Make a date with a time of the day."""
    year, month, day, hour, minute, second, microsecond = fields
    return dt.datetime(year, month, day, hour, minute, second, microsecond, zone, fold=fold)


@maker
def timedelta(_: Source, days: int, seconds: int, microseconds: int) -> dt.timedelta:
    """Make a span of time."""
    return dt.timedelta(days, seconds, microseconds)


@maker
def timezone(_: Source, offset: dt.timedelta, *name: str) -> dt.timezone:
    """Make a fixed offset from UTC."""
    return dt.timezone(offset, *name)


@maker
def zone(_: Source, key: str) -> zoneinfo.ZoneInfo:
    """Find the time zone of a name."""
    require(type(key) is str)
    return zoneinfo.ZoneInfo(key)


def _time(_: Sink, value: dt.time) -> Reduced:
    return time, (value.tzinfo, value.fold, value.hour, value.minute, value.second, value.microsecond)


def _datetime(_: Sink, value: dt.datetime) -> Reduced:
    clock = value.hour, value.minute, value.second, value.microsecond
    return datetime, (value.tzinfo, value.fold, value.year, value.month, value.day, *clock)


def _timezone(_: Sink, value: Any) -> Reduced:
    return timezone, value.__getinitargs__()


def _zone(_: Sink, value: zoneinfo.ZoneInfo) -> Reduced:
    if type(value.key) is not str:
        raise Refused
    return zone, (value.key,)


# Containers -------------------------------------------------------------------------------------------------------------


@maker
def ordered(_: Source) -> collections.OrderedDict[Any, Any]:
    """Make an empty OrderedDict, which the stream fills."""
    return collections.OrderedDict()


@maker
def counter(_: Source) -> collections.Counter[Any]:
    """Make an empty Counter, which the stream fills."""
    return collections.Counter()


@maker
def defaulting(_: Source, factory: str | None) -> collections.defaultdict[Any, Any]:
    """Make an empty defaultdict, which the stream fills."""
    return collections.defaultdict(None if factory is None else _FACTORIES[factory])


@maker
def deque(_: Source, longest: int | None) -> collections.deque[Any]:
    """Make an empty deque, which the stream fills."""
    return collections.deque(maxlen=longest)


def _with_items(make: Any) -> Reducer:
    def reduce(_: Sink, value: Any) -> Reduced:
        if getattr(value, "__dict__", None):  # these have room for attributes
            raise Refused
        return make, (), None, None, iter(value.items())

    return reduce


def _defaultdict(_: Sink, value: collections.defaultdict[Any, Any]) -> Reduced:
    factory: Any = value.default_factory
    if factory is not None and (type(factory) is not type or _FACTORIES.get(factory.__name__) is not factory):
        raise Refused
    return defaulting, (None if factory is None else factory.__name__,), None, None, iter(value.items())


def _deque(_: Sink, value: collections.deque[Any]) -> Reduced:
    if any(isinstance(each, NO_NESTING) for each in value):
        raise Refused
    return deque, (value.maxlen,), None, iter(value)


PLAIN: Final[dict[type, Any]] = {
    types.FunctionType: _function,
    complex: lambda _, value: (complex_number, (value.real, value.imag)),
    range: lambda _, value: (range_of, (value.start, value.stop, value.step)),
    slice: _slice,
    type(...): lambda *_: (constant, ("Ellipsis",)),
    type(NotImplemented): lambda *_: (constant, ("NotImplemented",)),
    decimal.Decimal: lambda _, value: (decimal_number, (str(value),)),
    fractions.Fraction: lambda _, value: (fraction, (value.numerator, value.denominator)),
    uuid.UUID: lambda _, value: (uuid_of, (value.bytes, value.is_safe.value)),
    **dict.fromkeys(_PATHS.values(), lambda _, value: (path, (type(value).__name__, str(value)))),
    dt.date: lambda _, value: (date, (value.year, value.month, value.day)),
    dt.time: _time,
    dt.datetime: _datetime,
    dt.timedelta: lambda _, value: (timedelta, (value.days, value.seconds, value.microseconds)),
    dt.timezone: _timezone,
    zoneinfo.ZoneInfo: _zone,
    collections.OrderedDict: _with_items(ordered),
    collections.Counter: _with_items(counter),
    collections.defaultdict: _defaultdict,
    collections.deque: _deque,
}
