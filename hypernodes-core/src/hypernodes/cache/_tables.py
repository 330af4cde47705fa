"""Which row of which blob has a key: in memory for what is new, on file for what is sealed.

Both keep short records in buckets by the first bits of a key, and find them with one search for bytes. What a record says is a
hint: whoever follows it compares the whole key with what is found there.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Collection, Iterable
from itertools import accumulate
from typing import Any, Final

ALIAS: Final = 1 << 31  # set in a row: not an entry, but a block that says which other key stands for this one

PRINT: Final = 8  # bytes of a key that count here
RECORD: Final = PRINT + 4  # bytes on file: these, and the row
_LIVE: Final = RECORD  # bytes in memory: the same without what chooses the bucket, and two for the number of the blob
_FULL: Final = 64  # records that a bucket on file is to have at most, more or less
_MOST_BITS: Final = 16


def packed(kind: str, values: Iterable[int] | Iterable[float]) -> bytes:
    """Return a column of numbers as bytes that are the same on every machine."""
    column: array[Any] = array(kind, values)
    if sys.byteorder == "big":
        column.byteswap()
    return column.tobytes()


def unpacked(kind: str, data: bytes) -> array[Any]:
    """Return the column of numbers that ``packed`` made bytes of."""
    column: array[Any] = array(kind)
    column.frombytes(data)
    if sys.byteorder == "big":
        column.byteswap()
    return column


class Strings:
    """A column of short byte strings, none of which is an object before somebody asks for it.

    Args:
        lengths: How long each is, one byte for each.
        data: All of them, one after the other.
    """

    def __init__(self, lengths: bytes, data: bytes) -> None:
        self._ends = array("I", accumulate(lengths, initial=0))
        self._data = data

    def __getitem__(self, place: int) -> bytes:
        return self._data[self._ends[place] : self._ends[place + 1]]

    def between(self, first: int, last: int) -> tuple[bytes, ...]:
        """Return those from one place up to another."""
        ends, data = self._ends, self._data
        return tuple([data[ends[place] : ends[place + 1]] for place in range(first, last)])

    @staticmethod
    def packed(strings: Collection[bytes]) -> tuple[bytes, bytes]:
        """Return what a column is made from."""
        return bytes(map(len, strings)), b"".join(strings)


class Live:
    """Keys in memory, of any number of blobs.

    Attributes:
        buckets: Records without the first two bytes, by these.
    """

    def __init__(self) -> None:
        self.buckets: dict[bytes, bytearray] = {}

    def take(self, records: Iterable[bytes], blob: int) -> None:
        """Note records of the table of a blob."""
        number = blob.to_bytes(2, "little")
        buckets = self.buckets
        for record in records:
            prefix = record[:2]
            if prefix in buckets:
                buckets[prefix] += record[2:] + number
            else:
                buckets[prefix] = bytearray(record[2:] + number)

    def find(self, key: bytes) -> list[tuple[int, int]]:
        """Return the blobs and rows that may have a key."""
        bucket = self.buckets.get(key[:2])
        if bucket is None:
            return []
        part = key[2:PRINT]
        place = bucket.find(part)
        found = []
        while place >= 0:
            if place % _LIVE == 0:
                found.append((bucket[place + 10] | bucket[place + 11] << 8, int.from_bytes(bucket[place + 6 : place + 10], "little")))
            place = bucket.find(part, place + 1)
        return found


class Table:
    """Keys of one blob, as they stand on file.

    Args:
        data: What ``table_of`` made.

    Raises:
        ValueError: If it is no table.
    """

    def __init__(self, data: bytes) -> None:
        bits = data[0] if data else _MOST_BITS + 1
        start = 1 + 4 * ((1 << bits) + 1) if bits <= _MOST_BITS else len(data) + 1
        if start > len(data):
            msg = "it is no table of keys"
            raise ValueError(msg)
        self._shift = _MOST_BITS - bits
        self._data = data
        self._ends = unpacked("I", data[1:start])
        self._start = start

    @classmethod
    def empty(cls) -> Table:
        """Return a table of no keys."""
        return cls(table_of(b""))

    def __len__(self) -> int:
        return (len(self._data) - self._start) // RECORD

    def find(self, key: bytes) -> list[int]:
        """Return the rows that may have a key."""
        data, start = self._data, self._start
        bucket = int.from_bytes(key[:2], "big") >> self._shift
        first, last = start + RECORD * self._ends[bucket], start + RECORD * self._ends[bucket + 1]
        part = key[:PRINT]
        place = data.find(part, first, last)
        found = []
        while place >= 0:
            if (place - start) % RECORD == 0:
                found.append(int.from_bytes(data[place + PRINT : place + RECORD], "little"))
            place = data.find(part, place + 1, last)
        return found

    def records(self) -> Iterable[bytes]:
        """Return all records."""
        data = self._data
        return (data[place : place + RECORD] for place in range(self._start, len(data), RECORD))


def table_of(keys: bytes | bytearray) -> bytes:
    """Return keys as a table.

    Args:
        keys: Their records, in any order.
    """
    count = len(keys) // RECORD
    bits = min(_MOST_BITS, max(0, (count // _FULL).bit_length()))
    shift = _MOST_BITS - bits
    buckets: dict[int, bytearray] = {}
    for place in range(0, len(keys), RECORD):
        prefix = (keys[place] << 8 | keys[place + 1]) >> shift
        bucket = buckets.get(prefix)
        if bucket is None:
            bucket = buckets[prefix] = bytearray()
        bucket += keys[place : place + RECORD]
    rows = [buckets.get(prefix, b"") for prefix in range(1 << bits)]
    ends = packed("I", accumulate((len(row) // RECORD for row in rows), initial=0))
    return b"".join((bytes((bits,)), ends, *rows))
