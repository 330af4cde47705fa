"""What goes between values and streams: reducers take a value apart when it is written, makers put it together again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias, TypeVar

Reduced: TypeAlias = "tuple[Any, ...]"
Reducer: TypeAlias = "Callable[[Sink, Any], Reduced]"
_F = TypeVar("_F", bound=Callable[..., Any])

MAKERS: Final[dict[tuple[str, str], Callable[..., Any]]] = {}


class Unencodable(Exception):  # noqa: N818 - a verdict that the keeper acts on
    """A value cannot be stored."""


class Undecodable(Exception):  # noqa: N818 - a verdict that the cache acts on
    """Bytes cannot be read as what they claim to be."""


class Refused(Exception):  # noqa: N818 - never leaves this package
    """A value is not made of data only."""


def maker(function: _F) -> _F:
    """Let streams name a function. It is given the source and what the stream holds, which may be anything."""
    MAKERS[function.__module__, function.__qualname__] = function
    return function


class Sink:
    """Where a value's bytes go that are not part of the stream.

    Attributes:
        buffers: What was added, in order.
    """

    __slots__ = ("buffers",)

    def __init__(self) -> None:
        self.buffers: list[Any] = []

    def add(self, data: Any) -> int:
        """Put bytes beside the stream, and return the number to find them by."""
        self.buffers.append(data)
        return len(self.buffers) - 1


class Source:
    """Where a value's bytes come from that are not part of the stream.

    Args:
        buffers: What lies beside the stream.
        trusted: Whether this user wrote the stream.

    Attributes:
        trusted: Whether this user wrote the stream.
        classes: The classes that the stream named, by where they are found.
        slots: Of those that objects were made of, what sets the attributes that have a place of their own.
    """

    __slots__ = ("_buffers", "classes", "slots", "trusted")

    def __init__(self, buffers: Sequence[memoryview], *, trusted: bool) -> None:
        self._buffers = buffers
        self.trusted = trusted
        self.classes: dict[Any, type] = {}
        self.slots: dict[type, dict[str, Any]] = {}

    def take(self, number: int) -> memoryview:
        """Return the bytes of a number: writable where they may be used as they are, else to be copied."""
        if type(number) is not int or not 0 <= number < len(self._buffers):
            raise Undecodable("bytes that a stream needs are not there")
        return self._buffers[number]


def require(*conditions: Any) -> None:
    """Refuse a stream that does not say what a maker expects."""
    if not all(conditions):
        raise Undecodable("a stream says something that no value is made of")
