"""Streams are checked before they are read: nothing but the opcodes that data needs, and none that could ask for memory.

What remains is Python's own unpickler for streams that this user wrote, or that only hold built-in containers. Others are
read here, opcode by opcode: whoever wrote them must not get any method called but those of built-in containers, which hash
and compare their keys.
"""

from __future__ import annotations

import collections
import functools
import re
import struct
from collections.abc import Callable
from typing import Any, Final

from hypernodes.cache.codecs._makers import Undecodable
from hypernodes.cache.codecs._plain import ATOMS, NO_NESTING

DEPTH: Final = 2_000  # of tuples in tuples in objects: their hash needs the stack
HARMLESS: Final = 10_000  # tuples, each of which may be in the next
BEGINNING: Final = b"\x80\x05"  # protocol 5
# Everything the pickler writes for data, but for what carries its length in more than one byte. The unpickler makes room for
# as many objects as PUT names and calls whatever BUILD, NEWOBJ, INST and EXT name; none of these is here.
# In an order that finds the frequent ones first.
_BARE: Final = rb"N\x88\x89\]\)\x85\x86\x87\}\x8f\(\x94ateus\x90\x9101"
_ROW: Final = rb"(?:K.|[%b]++|M..|h.|G.{8}|J.{4}|j.{4}|\x95.{8}|\x8c(?:%b)|[C\x8a](?:%b))*+"
# Whether a stream is a number, ``None`` or a truth value and nothing else: the quickest way to tell.
is_number: Final = re.compile(BEGINNING + rb"(?:\x95.{8})?(?:K.|M..|J.{4}|G.{8}|[N\x88\x89])\.", re.DOTALL).fullmatch
_LENGTHS: Final = {
    **dict.fromkeys(b"XB\x8b", struct.Struct("<I")),
    **dict.fromkeys(b"\x8d\x8e\x96", struct.Struct("<Q")),
}
_NAMED: Final = b"\x93"  # STACK_GLOBAL
_TUPLES: Final = (b"\x85", b"\x86", b"\x87", b"t")
Find = Callable[[str, str], Callable[..., Any]]


@functools.cache
def _patterns() -> tuple[re.Pattern[bytes], re.Pattern[bytes]]:
    """Return what matches the next opcodes, and what matches a whole stream that names no maker; they take their time to compile."""
    short = b"|".join(re.escape(bytes([size])) + b".{%d}" % size for size in range(256))
    row = re.compile(_ROW % (_BARE + rb"R\x93", short, short), re.DOTALL)
    return row, re.compile(BEGINNING + _ROW % (_BARE, short, short) + rb"\.", re.DOTALL)


def is_simple(stream: Any) -> bool:
    """Whether a stream is nothing but short opcodes, and names no maker."""
    return _patterns()[1].fullmatch(stream) is not None


def checked(stream: bytes) -> None:
    """Refuse a stream that holds anything else than what the pickler writes for data.

    Raises:
        Undecodable: If it does.
    """
    if stream[:2] != BEGINNING:
        raise Undecodable("no stream")
    position, size = 2, len(stream)
    row, _ = _patterns()
    while True:
        found = row.match(stream, position)
        position = found.end() if found else position
        if position >= size:
            raise Undecodable("a stream is cut short")
        opcode = stream[position]
        if opcode == 0x2E and position == size - 1:  # noqa: PLR2004 - STOP
            return
        length = _LENGTHS.get(opcode)
        if length is None or position + 1 + length.size > size:
            raise Undecodable("a stream holds something else than data")
        position += 1 + length.size + length.unpack_from(stream, position + 1)[0]


def names_something(stream: bytes) -> bool:
    """Whether a stream may hold anything else than atoms and built-in containers."""
    return _NAMED in stream


def may_be_deep(stream: bytes) -> bool:
    """Whether hashing what a stream holds may need more stack than there is."""
    return sum(stream.count(each) for each in _TUPLES) > HARMLESS


class _Named:
    """A maker on the stack."""

    __slots__ = ("make",)

    def __init__(self, make: Callable[..., Any]) -> None:
        self.make = make


_MARK: Final = object()
_LISTS: Final = (list, collections.deque)
_DICTS: Final = (dict, collections.OrderedDict, collections.Counter, collections.defaultdict)


class Careful:
    """Reads a stream that was checked, and lets it call nothing but makers.

    Args:
        stream: The stream.
        find: Returns the maker of a name.
    """

    def __init__(self, stream: bytes, find: Find) -> None:
        self._stream = stream
        self._find = find
        self._stack: list[Any] = []
        self._memo: list[Any] = []
        self._depths: dict[int, int] = {}
        self._kept: list[Any] = []  # an id lasts as long as its object
        self._position = 2

    def load(self) -> Any:
        """Return the value.

        Raises:
            Undecodable: If the stream is none of ours.
        """
        while True:
            opcode = self.next(1)[0]
            if opcode == 0x2E:  # noqa: PLR2004 - STOP
                (value,) = self._values(self._stack)
                return value
            _OPCODES[opcode](self)

    def next(self, size: int) -> bytes:
        """Read so many bytes."""
        start = self._position
        self._position = start + size
        return self._stream[start : self._position]

    def number(self, size: int, *, signed: bool = False) -> int:
        """Read a number of so many bytes."""
        return int.from_bytes(self.next(size), "little", signed=signed)

    def push(self, value: Any) -> None:
        """Put a value on the stack."""
        self._stack.append(value)

    def _values(self, items: list[Any]) -> list[Any]:
        if any(type(each) is _Named or each is _MARK for each in items):
            raise Undecodable("a stream puts things where values belong")
        return items

    def pop(self, count: int) -> list[Any]:
        """Take the last values from the stack."""
        if len(self._stack) < count:
            raise Undecodable("a stream takes what is not there")
        items = self._stack[len(self._stack) - count :]
        del self._stack[len(self._stack) - count :]
        return items

    def since_mark(self) -> list[Any]:
        """Take the values of the last row from the stack."""
        at = len(self._stack) - 1
        while at >= 0 and self._stack[at] is not _MARK:
            at -= 1
        if at < 0:
            raise Undecodable("a stream takes what is not there")
        items = self._values(self._stack[at + 1 :])
        del self._stack[at:]
        return items

    def _deep(self, value: Any, inside: Any) -> None:
        depth = 1 + max((self._depths.get(id(each), 0) for each in inside), default=0)
        if depth > DEPTH:
            raise Undecodable("a stream is nested too deep")
        if depth > self._depths.get(id(value), 0):
            self._depths[id(value)] = depth
            self._kept.append(value)

    def tuple_of(self, items: list[Any]) -> None:
        """Make a tuple."""
        value = tuple(self._values(items))
        self._deep(value, value)
        self.push(value)

    def pop_tuple(self, count: int) -> None:
        """Make a tuple of the last values."""
        self.tuple_of(self.pop(count))

    def mark(self) -> None:
        """Begin a row of values."""
        self.push(_MARK)

    def append(self, items: list[Any]) -> None:
        """Put values into the list before them."""
        target = self._stack[-1]
        if type(target) not in _LISTS or (type(target) is not list and any(isinstance(each, NO_NESTING) for each in items)):
            raise Undecodable("a stream fills what is no list")
        target.extend(self._values(items))

    def set_items(self, items: list[Any]) -> None:
        """Put keys and values into the dict before them."""
        target = self._stack[-1]
        if type(target) not in _DICTS or len(items) % 2:
            raise Undecodable("a stream fills what is no dict")
        self._values(items)
        for k in range(0, len(items), 2):
            target[items[k]] = items[k + 1]
        self._deep(target, items)  # it may be the state of an object

    def add_items(self) -> None:
        """Put values into the set before them."""
        items = self.since_mark()
        if type(self._stack[-1]) is not set:
            raise Undecodable("a stream fills what is no set")
        self._stack[-1].update(items)

    def skip(self, size: int) -> None:
        """Read nothing."""
        self.next(size)

    def drop(self) -> None:
        """Forget the last value."""
        self.pop(1)

    def drop_row(self) -> None:
        """Forget the row."""
        self.since_mark()

    def remember(self) -> None:
        """Give the last value the next number."""
        self._memo.append(self._stack[-1])

    def recall(self, size: int) -> None:
        """Take the value of a number once more."""
        self.push(self._memo[self.number(size)])

    def name(self) -> None:
        """Take the maker of a name."""
        module, name = self.pop(2)
        if type(module) is not str or type(name) is not str:
            raise Undecodable("a stream names no maker")
        self.push(_Named(self._find(module, name)))

    def make(self) -> None:
        """Let a maker make a value."""
        named, arguments = self.pop(2)
        if type(named) is not _Named or type(arguments) is not tuple:
            raise Undecodable("a stream calls what is no maker")
        value = named.make(*arguments)
        for each in (value, *arguments[:1]):  # the second is what was given a state
            if type(each) not in ATOMS:
                self._deep(each, arguments[1:])
        self.push(value)

    def text(self, size: int) -> None:
        """Read a text."""
        self.push(str(self.next(self.number(size)), "utf-8", "surrogatepass"))

    def data(self, size: int, kind: Callable[[bytes], Any] = bytes) -> None:
        """Read bytes."""
        self.push(kind(self.next(self.number(size))))

    def long(self, size: int) -> None:
        """Read a long integer."""
        self.push(self.number(self.number(size), signed=True))


def _row(act: Callable[[Careful, list[Any]], None]) -> Callable[[Careful], None]:
    return lambda reader: act(reader, reader.since_mark())


_OPCODES: Final[dict[int, Callable[[Careful], None]]] = {
    ord("N"): lambda reader: reader.push(None),
    0x88: lambda reader: reader.push(True),
    0x89: lambda reader: reader.push(False),
    ord("K"): lambda reader: reader.push(reader.number(1)),
    ord("M"): lambda reader: reader.push(reader.number(2)),
    ord("J"): lambda reader: reader.push(reader.number(4, signed=True)),
    0x8A: lambda reader: reader.long(1),
    0x8B: lambda reader: reader.long(4),
    ord("G"): lambda reader: reader.push(struct.unpack(">d", reader.next(8))[0]),
    0x8C: lambda reader: reader.text(1),
    ord("X"): lambda reader: reader.text(4),
    0x8D: lambda reader: reader.text(8),
    ord("C"): lambda reader: reader.data(1),
    ord("B"): lambda reader: reader.data(4),
    0x8E: lambda reader: reader.data(8),
    0x96: lambda reader: reader.data(8, bytearray),
    0x95: lambda reader: reader.skip(8),  # FRAME
    ord("("): Careful.mark,
    ord(")"): lambda reader: reader.push(()),
    0x85: lambda reader: reader.pop_tuple(1),
    0x86: lambda reader: reader.pop_tuple(2),
    0x87: lambda reader: reader.pop_tuple(3),
    ord("t"): _row(Careful.tuple_of),
    ord("]"): lambda reader: reader.push([]),
    ord("a"): lambda reader: reader.append(reader.pop(1)),
    ord("e"): _row(Careful.append),
    ord("}"): lambda reader: reader.push({}),
    ord("s"): lambda reader: reader.set_items(reader.pop(2)),
    ord("u"): _row(Careful.set_items),
    0x8F: lambda reader: reader.push(set()),
    0x90: Careful.add_items,
    0x91: lambda reader: reader.push(frozenset(reader.since_mark())),
    ord("0"): lambda reader: reader.drop(),
    ord("1"): lambda reader: reader.drop_row(),
    0x94: Careful.remember,
    ord("h"): lambda reader: reader.recall(1),
    ord("j"): lambda reader: reader.recall(4),
    0x93: Careful.name,
    ord("R"): Careful.make,
}
