"""Values that the standard library knows to be plain: numbers, texts, dates, containers."""

from __future__ import annotations

import array
import collections
import datetime as dt
import decimal
import fractions
import io
import pathlib
import re
import types
import uuid
import zoneinfo
from collections.abc import Callable, Iterable
from typing import Any, Final

from hypernodes.identity import _encoding as encoding
from hypernodes.identity._encoding import Known, Leaf, Parts, Unidentifiable, head, named, of_int, of_str

Handler = Callable[[Any, Any], "Parts | bytes"]


def by_key(parts: Parts, position: int) -> str:
    """Label what stands in a row of keys and values."""
    if position % 2:
        return f"[{spell(parts.children[position - 1])}]"
    return f".keys()[{position // 2}]"


def spell(key: object) -> str:
    """Write a key as in a program; only plain ones, the others may say anything."""
    return repr(key) if type(key) in (str, int, float, bool, bytes, type(None)) else f"<{type(key).__name__}>"


def items_of(items: Iterable[Any]) -> list[Any]:
    """Return keys and values of a mapping's items in one row."""
    return [each for item in items for each in item]


class Items:
    """Keys and values in one row."""

    __slots__ = ("row",)

    def __init__(self, row: list[Any]) -> None:
        self.row = row


class Members(Items):
    """The members of a set."""

    __slots__ = ()


# Leaves: nothing inside that needs looking at ---------------------------------------------------------------------------


def _date(value: dt.date) -> bytes:
    return named("date", of_int(value.toordinal()))


def _timedelta(value: dt.timedelta) -> bytes:
    return named("timedelta", of_int(value.days), of_int(value.seconds), of_int(value.microseconds))


def _decimal(value: decimal.Decimal) -> bytes:
    sign, digits, exponent = value.as_tuple()  # keeps trailing zeros, signs and payloads
    spelled = of_int(exponent) if isinstance(exponent, int) else of_str(exponent)
    return named("Decimal", of_int(sign), encoding.of_bytes(bytes(digits)), spelled)


def _fraction(value: fractions.Fraction) -> bytes:
    return named("Fraction", of_int(value.numerator), of_int(value.denominator))


def _uuid(value: uuid.UUID) -> bytes:
    return named("UUID", encoding.of_bytes(value.bytes))


def _path(value: pathlib.PurePath) -> bytes:
    return named("path", of_str(type(value).__name__), of_str(str(value)))


def _range(value: range) -> bytes:
    return named("range", of_int(value.start), of_int(value.stop), of_int(value.step))


def _bytearray(value: bytearray) -> bytes:
    return named("bytearray", encoding.of_bytes(bytes(value)))


def _known(value: Known) -> bytes:
    return value.identity


LEAVES: Final[dict[type, Leaf]] = {
    type(None): encoding.of_none,
    bool: encoding.of_bool,
    int: of_int,
    float: encoding.of_float,
    str: of_str,
    bytes: encoding.of_bytes,
    complex: encoding.of_complex,
    Known: _known,
    dt.date: _date,
    dt.timedelta: _timedelta,
    decimal.Decimal: _decimal,
    fractions.Fraction: _fraction,
    uuid.UUID: _uuid,
    range: _range,
    bytearray: _bytearray,
    type(Ellipsis): lambda _: named("Ellipsis"),
    type(NotImplemented): lambda _: named("NotImplemented"),
    **dict.fromkeys((pathlib.PurePosixPath, pathlib.PureWindowsPath, type(pathlib.Path())), _path),
}


# Containers -------------------------------------------------------------------------------------------------------------


def _list(_: Any, value: list[Any]) -> Parts:
    return Parts(b"l", value[:])


def _tuple(_: Any, value: tuple[Any, ...]) -> Parts:
    return Parts(b"t", value)


def _dict(_: Any, value: dict[Any, Any]) -> Parts:
    return Parts(b"d", items_of(list(value.items())), by_key)


def of_members(tag: bytes, members: Any) -> Parts:
    """Return the parts of a set."""
    return Parts(tag, list(members), lambda *_: "{…}", unordered=True)


def _row(tag: str) -> Handler:
    return lambda _, value: Parts(head(tag), list(value))


def _mapping(tag: str) -> Handler:
    def handle(_: Any, value: Any) -> Parts:
        attributes = getattr(value, "__dict__", None)  # these have room for some
        if not attributes:
            return Parts(head(tag), items_of(list(value.items())), by_key)
        labels = ["", *(f".{name}" for name in attributes)]
        names = [of_str(name) for name in attributes]
        row = [Items(items_of(list(value.items()))), *attributes.values()]
        return Parts(head(f"{tag} and more", named("names", *names)), row, encoding.by_name, labels)

    return handle


def _defaultdict(_: Any, value: collections.defaultdict[Any, Any]) -> Parts:
    return Parts(head("defaultdict"), [value.default_factory, dict(value)], encoding.by_name, (".default_factory", ""))


def _deque(_: Any, value: collections.deque[Any]) -> Parts:
    longest = encoding.NONE if value.maxlen is None else of_int(value.maxlen)
    return Parts(head("deque", longest), list(value))


def _slice(_: Any, value: slice) -> Parts:
    return Parts(head("slice"), (value.start, value.stop, value.step), encoding.by_name, (".start", ".stop", ".step"))


def _datetime(_: Any, value: dt.datetime) -> Parts | bytes:
    fields = value.year, value.month, value.day, value.hour, value.minute, value.second, value.microsecond, value.fold
    return _timed("datetime", fields, value.tzinfo)


def _time(_: Any, value: dt.time) -> Parts | bytes:
    return _timed("time", (value.hour, value.minute, value.second, value.microsecond, value.fold), value.tzinfo)


def _timed(name: str, fields: tuple[int, ...], zone: dt.tzinfo | None) -> Parts | bytes:
    clock = encoding.of_bytes(b"".join(field.to_bytes(4, "big") for field in fields))
    if zone is None:
        return named(name, clock)
    return Parts(head(f"aware {name}", clock), (zone,), encoding.by_name, (".tzinfo",))


def _zone(_: Any, value: zoneinfo.ZoneInfo) -> bytes:
    if value.key is None:
        raise Unidentifiable("a time zone without a name", "zoneinfo.ZoneInfo")
    return named("ZoneInfo", of_str(value.key))


def _memoryview(_: Any, value: memoryview) -> bytes:
    shape = b"".join(of_int(length) for length in value.shape or ())
    return named("memoryview", of_str(value.format), encoding.of_bytes(shape), encoding.of_bytes(value.tobytes()))


def _array(_: Any, value: array.array[Any]) -> bytes:
    return named("array", of_str(value.typecode), encoding.of_bytes(value.tobytes()))


def _bytes_io(_: Any, value: io.BytesIO) -> bytes:
    return named("BytesIO", encoding.of_bytes(value.getvalue()), of_int(value.tell()))


def _string_io(_: Any, value: io.StringIO) -> bytes:
    return named("StringIO", of_str(value.getvalue()), of_int(value.tell()))


def _pattern(_: Any, value: re.Pattern[Any]) -> Parts:
    return Parts(head("Pattern", of_int(value.flags)), (value.pattern,))


def _namespace(_: Any, value: types.SimpleNamespace) -> Parts:
    state = dict(vars(value))
    return Parts(head("SimpleNamespace"), items_of(state.items()), lambda parts, k: f".{parts.children[k - k % 2]}")


CONTAINERS: Final[dict[type, Handler]] = {
    list: _list,
    tuple: _tuple,
    dict: _dict,
    set: lambda _, value: of_members(b"S", value),
    frozenset: lambda _, value: of_members(b"F", value),
    Items: lambda _, value: Parts(b"d", value.row, by_key),
    Members: lambda _, value: of_members(b"S", value.row),
    collections.OrderedDict: _mapping("OrderedDict"),
    collections.Counter: _mapping("Counter"),
    types.MappingProxyType: _mapping("mappingproxy"),
    collections.defaultdict: _defaultdict,
    collections.deque: _deque,
    type({}.keys()): _row("dict_keys"),
    type({}.values()): _row("dict_values"),
    type({}.items()): _row("dict_items"),
    slice: _slice,
    dt.datetime: _datetime,
    dt.time: _time,
    zoneinfo.ZoneInfo: _zone,
    memoryview: _memoryview,
    array.array: _array,
    io.BytesIO: _bytes_io,
    io.StringIO: _string_io,
    re.Pattern: _pattern,
    types.SimpleNamespace: _namespace,
}
