"""Who a value is: what must differ, what must agree, what is refused, and that it ends."""

# Most of what is made here is what type checkers are there to prevent.
# mypy: ignore-errors

from __future__ import annotations

import asyncio
import collections
import contextlib
import copy
import ctypes
import dataclasses
import functools
import gc
import importlib
import inspect
import io
import itertools
import json
import logging
import multiprocessing
import os
import pickle
import queue
import random
import socket
import sqlite3
import struct
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
import types
import weakref
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import attrs
import pytest
from hypernodes import hookimpl, node, stateful
from hypernodes._stateful import built
from hypernodes.identity import values
from hypernodes.identity.code import code_identity
from hypernodes.identity.values import Unidentifiable, identify, identity, list_identity, shown
from hypernodes.testing import isolated_plugins
from hypothesis import given, settings
from hypothesis import strategies as st

# The tables ---------------------------------------------------------------------------------------------------------------
# Python expressions; `_SHAPES` is a module of the user, the names of which they can use.

_SHAPES = '''
import abc, array, collections, copy, dataclasses, enum, functools, importlib, io, logging, math, operator, pickle, random, re, string
import struct, sys, types, typing, uuid, zoneinfo
from datetime import date, datetime as dt, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from pathlib import Path, PurePosixPath, PureWindowsPath
from types import MappingProxyType, SimpleNamespace
import attrs
import other_shapes

@dataclasses.dataclass
class A:
    x: object

@dataclasses.dataclass
class B:
    x: object

@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    x: object
    y: object = 0

@attrs.define
class Attrs:
    x: object
    y: object = 0

@attrs.frozen
class AttrsFrozen:
    x: object

@attrs.define(slots=False)
class AttrsDict:
    x: object

class Point(typing.NamedTuple):
    x: object
    y: object = 0

Pair = collections.namedtuple("Pair", "x y")

class Slots:
    __slots__ = ("a", "b")
    def __init__(self, **given):
        for name, value in given.items():
            setattr(self, name, value)

class More(Slots):
    __slots__ = ("c", "__hidden")
    def hide(self, value):
        self.__hidden = value
        return self

class Both(Slots):
    pass

class Plain:
    def __init__(self, **given):
        self.__dict__.update(given)
    def put(self, **given):
        self.__dict__.update(given)
        return self

class Other(Plain):
    pass

class Private:
    def __init__(self, value):
        self.__secret = value
        self._less = value

class Dict(dict): pass
class List(list): pass
class Tuple(tuple): pass
class Set(set): pass
class Frozenset(frozenset): pass
class Int(int): pass
class Float(float): pass
class Str(str): pass
class Bytes(bytes): pass
class Ordered(collections.OrderedDict): pass
class Deque(collections.deque): pass

class Colour(enum.Enum):
    RED = 1
    GREEN = 2
    WINE = (1, 2)
    NOTHING = object()

class Colour2(enum.Enum):
    RED = 1

class Level(enum.IntEnum):
    LOW = 1

class Mode(str, enum.Enum):
    FAST = "fast"

class Flags(enum.Flag):
    A = 1
    B = 2

class Equal:
    """Says that it is everything."""
    def __init__(self, x): self.x = x
    def __eq__(self, other): return True
    def __hash__(self): return 1

class Broken:
    """Raises whatever it is asked."""
    def __init__(self, x): object.__setattr__(self, "x", x)
    def __eq__(self, other): raise RuntimeError
    def __hash__(self): raise RuntimeError
    def __repr__(self): raise RuntimeError
    def __str__(self): raise RuntimeError
    def __bool__(self): raise RuntimeError
    def __len__(self): raise RuntimeError
    def __iter__(self): raise RuntimeError
    def __getattr__(self, name): raise RuntimeError
    def __getattribute__(self, name): raise RuntimeError
    def __dir__(self): raise RuntimeError
    def __sizeof__(self): raise RuntimeError
    def __format__(self, spec): raise RuntimeError

class Liar:
    """Says that it is an int, and has every attribute."""
    __class__ = property(lambda self: int)
    def __init__(self, x): self.x = x
    def __getattr__(self, name): return 42

class Hasty(type):
    def __eq__(cls, other): return NotImplemented
    def __hash__(cls): return 5

class OfHasty(metaclass=Hasty):
    def __init__(self, x): self.x = x

class Keyed:
    def __init__(self, path, key): self.path, self.key = path, key
    def __cache_key__(self): return self.path

class Keyed2(Keyed):
    pass

class Reduced:
    def __init__(self, x, cache=None): self.x, self.cache = x, cache
    def __reduce__(self): return Reduced, (self.x,)

class Stated:
    def __init__(self, x, cache=None): self.x, self.cache = x, cache
    def __getstate__(self): return {"x": self.x}

class Callable:
    def __init__(self, k): self.k = k
    def __call__(self, x): return x + self.k
    def method(self, x): return x * self.k

class Lazy:
    @functools.cached_property
    def words(self): return 3

class Problem(Exception):
    pass

def function(x): return x + 1
def function2(x): return x + 2
def factory(n): return lambda x: x + n

T = typing.TypeVar("T")

def unset(slots, *names):
    for name in names:
        delattr(slots, name)
    return slots

def read_one(stream):
    stream.read(1)
    return stream

def with_x(value, x=1):
    value.__dict__["x"] = x
    return value

def with_x_2(value):
    return with_x(value, 2)

def own(value):
    value.append(value)
    return value

def read_only(array):
    array.setflags(write=False)
    return array

def used(generator):
    generator.random()
    return generator

def asked(lazy):
    lazy.words
    return lazy

def to_end(value):
    value.move_to_end("a")
    return value

def doubled(depth):
    found = [0]
    for _ in range(depth):
        found = [found, found]
    return found

def circle(n, value=0):
    found = [{"v": value} for _ in range(n)]
    for k, each in enumerate(found):
        each["next"] = found[(k + 1) % n]
    return found[0]

def family(name="root"):
    root = Plain(name=name, children=[])
    root.children += [Plain(name=k, parent=root) for k in range(3)]
    return root

def back(value):
    return pickle.loads(pickle.dumps(value))

def shuffled(values, seed):
    values = list(values)
    random.Random(seed).shuffle(values)
    return values

def fill(kind, values):
    found = kind()
    for each in values:
        found.add(each)
    return found

nan2 = struct.unpack("<d", struct.pack("<Q", 0xFFF8000000000123))[0]

try:
    import numpy as np
    class Units(np.ndarray):
        unit = None
        @classmethod
        def of(cls, values, unit):
            found = np.asarray(values).view(cls)
            found.unit = unit
            return found
    def edited(array, index, value):
        array = array.copy()
        array[index] = value
        return array
except ImportError:
    pass
try:
    import pandas as pd
    def frame(**columns): return pd.DataFrame(columns or {"a": [1, 2, 3], "b": ["x", "y", "z"], "c": [1.5, None, 2.5]})
    def changed(value, **attributes):
        value = value.copy()
        for name, each in attributes.items():
            setattr(value, name, each)
        return value
    def named(value, name):
        value = value.copy()
        value.index.name = name
        return value
    def set_cell(value, row, column, cell):
        value = value.copy()
        value.loc[row, column] = cell
        return value
except ImportError:
    pass
try:
    import pyarrow as pa
    def table(a, b): return pa.table({"a": a, "b": b}, pa.schema({"a": pa.int64(), "b": pa.string()}))
    VALID = pa.py_buffer(b"\\x01")
    def garbage(value): return pa.Array.from_buffers(pa.int64(), 2, [VALID, pa.py_buffer(struct.pack("<qq", 1, value))])
    def garbage_text(text):
        ends = pa.py_buffer(struct.pack("<iii", 0, 1, 1 + len(text)))
        return pa.Array.from_buffers(pa.string(), 2, [VALID, ends, pa.py_buffer(b"a" + text)])
except ImportError:
    pass
try:
    import polars as pl
    def polars(a, b): return pl.DataFrame({"a": a, "b": b}, {"a": pl.Int64, "b": pl.String})
except ImportError:
    pass
try:
    import scipy.sparse as sparse
except ImportError:
    pass
try:
    import torch
except ImportError:
    pass
try:
    import pydantic
    class Model(pydantic.BaseModel):
        a: int
        b: list[str] = []
        _p: int = pydantic.PrivateAttr(1)
        def put(self, p):
            self._p = p
            return self
except ImportError:
    pass
'''
_OTHER_SHAPES = """
import dataclasses

@dataclasses.dataclass
class A:
    x: object

def function(x): return x + 1
"""


def _rows(text: str) -> dict[str, str]:
    """Read a table: names of rows, and below them expressions with bars between; in brackets a library that the row needs."""
    rows: dict[str, str] = {}
    name = ""
    for line in text.strip().splitlines():
        if line.startswith(" "):
            rows[name] = f"{rows[name]} {line.strip()}".strip()
        else:
            name = line.removesuffix(":")
            rows[name] = ""
    return rows


DIFFER = _rows(
    r"""
1, True, 1.0, text:
    1 | True | 1.0 | '1' | 'True' | b'1' | 1+0j | Decimal(1) | Fraction(1) | Int(1) | Float(1) | Str('1') | [1]
None:
    None | 'None' | 0 | False | '' | b'' | () | [] | {} | set() | frozenset() | Ellipsis | NotImplemented | 'Ellipsis'
bytes and text:
    b'a' | 'a' | bytearray(b'a') | memoryview(b'a') | io.BytesIO(b'a') | io.StringIO('a') | array.array('b', b'a') | Bytes(b'a') | ['a']
sequences:
    [1, 2] | (1, 2) | {1, 2} | frozenset({1, 2}) | collections.deque([1, 2]) | List([1, 2]) | Tuple((1, 2)) | Set({1, 2}) |
    Frozenset({1, 2}) | range(1, 3) | Point(1, 2) | Pair(1, 2) | Deque([1, 2]) | array.array('q', [1, 2]) | {1: 2} | '[1, 2]'
one member:
    {1} | frozenset({1}) | {True} | {1.0} | {'1'} | [1] | {1: None} | {1: 1}
keys:
    {1: 'a'} | {'1': 'a'} | {True: 'a'} | {1.0: 'a'} | {1: b'a'} | {'a': 1} | {(1,): 'a'} | {b'1': 'a'}
zeros:
    0.0 | -0.0 | 0 | False | 0j | -0j | complex(-0.0, 0.0) | Decimal('0') | Decimal('-0') | Decimal('0.0')
neighbours:
    ['a', 'b'] | ['a, b'] | ['ab'] | ['a', 'b', ''] | ['', 'a', 'b'] | ['a', '', 'b'] | [['a'], 'b'] | ['a', ['b']] | [['a', 'b']] |
    ['ab', ''] | ['a,', 'b']
nesting:
    [[1], 2] | [[1, 2]] | [1, [2]] | [1, 2] | [[1], [2]] | [[[1], 2]] | [1, 2, []] | [[], 1, 2] | [[1, 2], []]
dict order:
    {'a': 1, 'b': 2} | {'b': 2, 'a': 1} | {'a': 2, 'b': 1} | {'a': 1} | {'a': {'b': 2}} | {'a': 1, 'b': 2, 'c': None}
array shapes:
    np.arange(6).reshape(2, 3) | np.arange(6).reshape(3, 2) | np.arange(6) | np.arange(6).reshape(2, 3).T | np.arange(6).reshape(1, 6) |
    np.arange(6).tolist()
array dtypes:
    np.zeros(3) | np.zeros(3, 'i8') | np.zeros(3, 'f4') | np.zeros(3, 'i4') | np.zeros(3, 'u8') | np.zeros(3, '>i8') |
    np.zeros(3, '>f8') | np.zeros(3, '?') | np.zeros(3, 'c16') | np.zeros(3, 'M8[s]') | np.zeros(3, 'M8[ns]') | np.zeros(3, 'm8[s]') |
    np.zeros(3, 'S8') | np.zeros(3, 'U2') | np.zeros(3, object) | np.zeros(3, 'V8') | np.zeros(3, 'g')
one in a million:
    np.zeros(10**6) | edited(np.zeros(10**6), 999_999, 1e-300) | edited(np.zeros(10**6), 0, -0.0) | np.zeros(10**6 + 1)
object arrays:
    np.array([1, 'a', None], object) | np.array([1, 'b', None], object) | np.array([1, 'a', 0], object) |
    np.array([True, 'a', None], object) | np.array(['1', 'a', None], object)
masks:
    np.ma.array([1, 2], mask=[0, 1]) | np.ma.array([1, 2], mask=[1, 0]) | np.ma.array([1, 2]) | np.array([1, 2]) |
    np.ma.array([1, 3], mask=[0, 1]) | np.ma.array([1, 2], mask=[0, 1], fill_value=7) | np.ma.array([1, 2], mask=[0, 1], hard_mask=True)
frames:
    frame() | frame().rename(columns={'a': 'A'}) | frame().astype({'a': 'i4'}) | frame()[['b', 'a', 'c']] | named(frame(), 'k') |
    changed(frame(), attrs={'x': 1}) | changed(frame(), attrs={'x': 2}) | changed(frame(), index=[1, 2, 3]) |
    changed(frame(), index=[0, 1, 2]) | frame().set_index('a') | frame().set_index(['a', 'b']) | frame().T | frame().iloc[:2] |
    frame()[['a', 'b']] | set_cell(frame(), 1, 'b', 'Y') | set_cell(frame(), 1, 'c', 0.0) | frame().astype({'b': object}) |
    frame().astype({'b': 'category'}) | frame().convert_dtypes() | frame().set_flags(allows_duplicate_labels=False) | frame()['a'] |
    frame().to_dict() | frame().to_numpy() | changed(frame(), columns=pd.Index(['a', 'b', 'c'], name='n'))
one cell in 200,000:
    frame(a=np.zeros(200_000)) | set_cell(frame(a=np.zeros(200_000)), 123_456, 'a', 1e-9) |
    set_cell(frame(a=np.zeros(200_000)), 123_457, 'a', 1e-9)
one text in 200,000:
    frame(a=['x'] * 200_000) | set_cell(frame(a=['x'] * 200_000), 123_456, 'a', 'y') |
    set_cell(frame(a=['x'] * 200_000), 123_456, 'a', None)
Arrow tables:
    pa.table({'a': [1]}) | pa.table({'b': [1]}) | pa.table({'a': pa.array([1], pa.int32())}) | pa.table({'a': [2]}) |
    pa.table({'a': [None]}) | pa.table({'a': pa.array([None], pa.int64())}) | pa.table({'a': [1, 1]}) | pa.table({'a': ['1']}) |
    pa.table({'a': [1.0]}) | pa.record_batch({'a': [1]}) | pa.array([1]) | pa.chunked_array([[1]]) |
    pa.table({'a': [1]}).replace_schema_metadata({'k': 'v'}) | pa.table({'a': [[1]]}) | pa.table({'a': [{'b': 1}]}) | pa.scalar(1) |
    pa.table({'a': pa.array([1], pa.timestamp('s'))}) | pa.table({'a': pa.array([1], pa.timestamp('s', 'UTC'))}) | pa.table({})
[polars] Polars tables:
    pl.DataFrame({'a': [1]}) | pl.DataFrame({'b': [1]}) | pl.DataFrame({'a': [1]}, {'a': pl.Int8}) | pl.DataFrame({'a': [2]}) |
    pl.DataFrame({'a': ['1']}) | pl.Series('a', [1]) | pl.Series('b', [1]) | pl.DataFrame({'a': ['x']}, {'a': pl.Categorical}) |
    pl.DataFrame({'a': ['x']}, {'a': pl.Enum(['x'])}) | pl.DataFrame({'a': ['x']}, {'a': pl.Enum(['x', 'y'])}) |
    pl.DataFrame({'a': [None]}) | pl.DataFrame()
classes of one shape:
    A(1) | B(1) | other_shapes.A(1) | Attrs(1) | AttrsFrozen(1) | AttrsDict(1) | Frozen(1) | Point(1) | Plain(x=1) | Other(x=1) |
    SimpleNamespace(x=1) | {'x': 1} | Slots(a=1) | Both(a=1) | (1,) | Keyed(1, 2) | Keyed2(1, 2) | Reduced(1) | Stated(1) | Equal(1) |
    Liar(1) | Broken(1) | OfHasty(1)
slots:
    Slots(a=1) | Slots(a=2) | Slots(b=1) | Slots(a=1, b=None) | Slots(a=1, b=1) | Slots() | More(a=1) | More(a=1, c=1) | More(c=1) |
    More(a=1).hide(1) | More(a=1).hide(2) | Slots(a=Slots(a=1)) | Slots(a=Slots(a=2)) | Both(a=1) | Slots(a=A(1))
depth:
    [[[[[[[[1]]]]]]]] | [[[[[[[[2]]]]]]]] | [[[[[[[1]]]]]]] | [[[[[[[[1.0]]]]]]]] | ((((((((1,),),),),),),),) |
    {'a': {'a': {'a': {'a': {'a': {'a': {'a': {'a': 1}}}}}}}}
lambdas:
    (lambda x: x + 1) | (lambda x: x + 2) | (lambda x: x - 1) | (lambda y, x: x + 1) | factory(1) | factory(2) | function | function2 |
    len | max | str.upper | str.lower | [].append | [1].append
midnight:
    date(2020, 1, 1) | dt(2020, 1, 1) | dt(2020, 1, 1, tzinfo=timezone.utc) |
    dt(2020, 1, 1, tzinfo=zoneinfo.ZoneInfo('Europe/Berlin')) | dt(2020, 1, 1, fold=1) | time() | time(tzinfo=timezone.utc) |
    '2020-01-01' | dt(2020, 1, 1, tzinfo=timezone(timedelta(0), 'x')) | dt(2020, 1, 1, tzinfo=timezone(timedelta(hours=1))) |
    dt(2019, 12, 31, 23, tzinfo=timezone(timedelta(hours=-1))) | dt(2020, 1, 1, 0, 0, 0, 1) | np.datetime64('2020-01-01') |
    np.datetime64('2020-01-01', 's') | pd.Timestamp('2020-01-01') | pd.Timestamp('2020-01-01', tz='UTC') |
    pd.Timestamp('2020-01-01').as_unit('s')
decimals:
    Decimal('1.0') | Decimal('1.00') | Decimal(1) | Decimal('-1.0') | Decimal('NaN') | Decimal('sNaN') | Decimal('NaN1') |
    Decimal('inf') | Decimal('-inf') | 1.0 | float('inf') | Decimal('1E+1') | Decimal('10')
paths:
    Path('a') | 'a' | Path('a/b') | PurePosixPath('a') | PureWindowsPath('a') | Path('A') | Path('/a') | b'a' | Path('a/../a')
numbers that look alike:
    1+0j | 1.0 | 1 | complex(1, -0.0) | 1j | np.float64(1) | np.float32(1) | np.int64(1) | np.int32(1) | np.complex128(1) |
    np.bool_(1) | np.array(1.0) | np.array([1.0]) | np.longdouble(1)
ranges:
    range(3) | [0, 1, 2] | (0, 1, 2) | range(0, 3, 2) | range(0, 4, 2) | range(1, 3) | range(0) | range(1, 1) | slice(3) | slice(0, 3) |
    slice(0, 3, 1) | slice(None)
same name, two modules:
    A | other_shapes.A | B | A(1) | A(B) | A(A) | A(other_shapes.A)
enums:
    Colour.RED | 1 | 'RED' | Colour2.RED | Colour.GREEN | Colour.WINE | (1, 2) | Colour.NOTHING | Level.LOW | Mode.FAST | 'fast' |
    Flags.A | Flags.B | Flags(3) | Flags(0) | Colour
private attributes:
    Private(1) | Private(2) | Private('1') | Plain(_x=1) | Plain(_x=2) | Plain(__x=1) | Plain(x=1) | Plain()
integers:
    0 | 1 | -1 | 255 | 256 | 2**31 | 2**63 - 1 | 2**63 | 2**64 - 1 | 2**64 | -2**63 | -2**63 - 1 | 10**100 | -10**100 | 2**4096 |
    2**4096 + 1
floats:
    0.1 | 0.1 + 2**-55 | 0.30000000000000004 | 0.3 | float('nan') | float('inf') | float('-inf') | 5e-324 | 1e308 | -1.5 | 'nan' |
    np.float64('nan') | np.float32('nan') | complex('nan') | Decimal('nan')
texts:
    'a' | 'A' | 'ä' | 'a\u0308' | 'a ' | 'a\0' | '' | '\ud800' | '\ud801' | 'a' * 5000 | 'a' * 5001 | 'a' * 4999 + 'b' |
    'x' * 9_000_000 | 'x' * 8_999_999 + 'y'
long bytes:
    b'x' * 5000 | b'x' * 5001 | bytearray(5000) | bytes(5000) | b'x' * 9_000_000 | bytes(9_000_000) | b'x' * 8_999_999 + b'y'
dict-like:
    {'a': 1} | collections.OrderedDict(a=1) | collections.Counter(a=1) | collections.defaultdict(int, a=1) |
    collections.defaultdict(list, a=1) | collections.defaultdict(None, a=1) | MappingProxyType({'a': 1}) |
    collections.ChainMap({'a': 1}) | collections.ChainMap({'a': 1}, {}) | Dict(a=1) | Ordered(a=1) | SimpleNamespace(a=1) |
    {'a': 1}.items() | {'a': 1}.keys() | {'a': 1}.values() | collections.UserDict(a=1) | Plain(a=1)
views of dicts:
    {1: 2}.keys() | {1: 2}.values() | {1: 2}.items() | {2: 1}.keys() | [1] | {1}
moved to the end:
    collections.OrderedDict(a=1, b=2) | to_end(collections.OrderedDict(a=1, b=2)) | collections.OrderedDict(a=1) | {'a': 1, 'b': 2}
deques:
    collections.deque([1]) | collections.deque([1], 1) | collections.deque([1], 2) | collections.deque([1, 2]) | collections.deque()
builtins and more:
    Dict(a=1) | with_x(Dict(a=1)) | Dict(a=2) | Dict() | List([1]) | List([2]) | with_x(List([1])) | Int(1) | Int(2) | Str('a') |
    Str('b') | with_x(Int(1))
attributes of containers:
    collections.OrderedDict() | with_x(collections.OrderedDict()) | with_x_2(collections.OrderedDict()) | collections.OrderedDict(x=1)
named tuples:
    Point(1, 2) | Point(2, 1) | Pair(1, 2) | (1, 2) | Point(1) | Point((1, 2)) | Pair((1, 2), 0) | {'x': 1, 'y': 2}
dates:
    timedelta(1) | timedelta(seconds=1) | timedelta(microseconds=1) | timedelta(-1) | timedelta() | 86400 | date.max | date.min |
    dt.max | dt.min | time(1) | time(0, 1) | time(0, 0, 1) | time(fold=1)
zones:
    timezone.utc | timezone(timedelta(hours=1)) | timezone(timedelta(hours=1), 'x') | zoneinfo.ZoneInfo('UTC') |
    zoneinfo.ZoneInfo('Europe/Berlin') | 'UTC' | None
other plain values:
    uuid.UUID(int=1) | uuid.UUID(int=2) | Fraction(1, 2) | Fraction(1, 3) | Fraction(2, 1) | 0.5 | str(uuid.UUID(int=1)) | 2
patterns:
    re.compile('a') | re.compile('b') | re.compile('a', re.I) | re.compile(b'a') | 'a' | re.I | re.M
arrays of arrays:
    array.array('i', [1]) | array.array('l', [1]) | array.array('d', [1]) | array.array('b', [1]) | array.array('B', [1]) |
    array.array('i') | array.array('u', 'a')
memory views:
    memoryview(b'ab') | memoryview(b'ba') | memoryview(b'abcd').cast('H') | memoryview(b'abcd') | memoryview(b'abcd')[::2] |
    memoryview(b'abcd').cast('B', (2, 2))
streams in memory:
    io.BytesIO(b'ab') | io.BytesIO(b'ba') | io.BytesIO() | read_one(io.BytesIO(b'ab')) | io.StringIO('ab') | read_one(io.StringIO('ab'))
exceptions:
    ValueError('a') | ValueError('b') | TypeError('a') | ValueError() | Exception('a') | Problem('a') | OSError(2, 'a') |
    OSError(3, 'a') | KeyError('a') | ExceptionGroup('a', [ValueError()]) | ExceptionGroup('a', [TypeError()])
types:
    int | bool | float | list | dict | type | object | type(None) | list[int] | list[str] | dict[int, str] | typing.List[int] |
    typing.Optional[int] | typing.Union[int, str] | (int | str) | typing.Any | typing.Literal[1] | typing.Literal[True] |
    typing.Callable[[int], str] | T | A | list[A] | list[B] | abc.ABC | enum.Enum
functions:
    function | function2 | functools.partial(function) | functools.partial(function, 1) | functools.partial(function, 2) |
    functools.partial(function, x=1) | functools.partial(function2, 1) | Callable(1) | Callable(2) | Callable(1).method |
    Callable(2).method | Callable(1).__call__ | Callable | operator.itemgetter(1) | operator.itemgetter(2) | operator.attrgetter('a') |
    operator.methodcaller('a', 1) | functools.lru_cache(function) | functools.lru_cache(function2) | staticmethod(function) |
    classmethod(function) | property(function) | property(None, function) | Callable.method | 'a'.join | 'b'.join |
    functools.partial(function, [1]) | functools.partial(functools.partial, function)
modules:
    math | string | operator | other_shapes | 'math' | re
random states:
    random.Random(1) | random.Random(2) | np.random.default_rng(1) | np.random.default_rng(2) | np.random.RandomState(1) |
    np.random.RandomState(2) | used(np.random.default_rng(1))
kept by a user's class:
    Lazy() | asked(Lazy())
keyed:
    Keyed('a', 1) | Keyed('b', 1) | Keyed2('a', 1) | 'a' | Keyed(['a'], 1) | A('a')
reduced:
    Reduced(1) | Reduced(2) | Stated(1) | Stated(2) | Reduced([1]) | Stated({'x': 1})
liars:
    Equal(1) | Equal(2) | Liar(1) | Liar(2) | Broken(1) | Broken(2) | OfHasty(1) | OfHasty(2) | [Equal(1), Equal(1)] |
    [Equal(1), Equal(2)] | {Equal(1)} | {Equal(2)} | 1
circles:
    circle(1) | circle(1, 1) | circle(1, True) | [circle(1)] | own([]) | own([1]) | (lambda v: (v.append(v), v.append(v)) and v)([]) |
    family() | family('x') | family().children | family().children[0] | family().children[1] | []
a circle through a tuple:
    (lambda v: v.append((v,)) or v)([]) | (lambda v: v.append([v]) or v)([1]) | (lambda v: v.append({'a': v}) or v)([])
structured arrays:
    np.zeros(2, [('a', 'i4'), ('b', 'f8')]) | np.zeros(2, [('a', 'i4'), ('c', 'f8')]) | np.zeros(2, [('b', 'f8'), ('a', 'i4')]) |
    np.zeros(2, np.dtype([('a', 'i4'), ('b', 'f8')], align=True)) | np.zeros(2, [('a', 'i4', (2,))]) |
    np.zeros(2, [('a', 'i4', (2, 1))]) | np.zeros(2, [('a', 'i4')]) | edited(np.zeros(2, [('a', 'i4'), ('b', 'f8')]), 1, (1, 0)) |
    edited(np.zeros(2, [('a', 'i4'), ('b', 'f8')]), 1, (0, 1)) | np.zeros(2, [('a', object), ('b', 'f8')]) |
    np.zeros(2, [('a', 'i4'), ('b', 'f8')]).view(np.recarray)
arrays of texts:
    np.array(['a', 'bc']) | np.array(['a', 'bd']) | np.array(['a', 'bc'], 'U3') | np.array(['a', 'bc'], object) |
    np.array([b'a', b'bc']) | np.array(['a', 'b', 'c'])
array classes:
    np.arange(3) | np.ma.array(np.arange(3)) | np.arange(3).view(np.recarray) | Units.of(range(3), 'm') | Units.of(range(3), 's') |
    np.arange(3).view(Units) | list(range(3)) | tuple(np.arange(3)) | array.array('q', range(3)) | np.arange(3)[:, None]
array elements:
    np.array([0.0]) | np.array([-0.0]) | np.array([np.nan]) | np.array([np.inf]) | np.array([]) | np.array([[]]) | np.array(np.nan) |
    np.array([np.datetime64('NaT')]) | np.array([None]) | np.array(None)
dtypes:
    np.dtype('i4') | np.dtype('>i4') | np.dtype('f8') | np.dtype('U3') | np.dtype('M8[s]') | np.dtype([('a', 'i4')]) |
    np.dtype([('b', 'i4')]) | np.int32 | 'i4' | np.add | np.subtract | np.sin
series:
    pd.Series([1, 2]) | pd.Series([1, 2], name='a') | pd.Series([1, 2], name=0) | pd.Series([1, 2], index=[1, 0]) |
    pd.Series([1.0, 2]) | pd.Series([1, 2], dtype='Int64') | pd.Series([1, 2], dtype=object) | pd.Index([1, 2]) |
    pd.Index([1, 2], name='a') | pd.RangeIndex(1, 3) | pd.array([1, 2]) | pd.DataFrame([1, 2]) | pd.Series([2, 1]) |
    pd.Series([1, 2]).astype('category') | pd.Series([1, 2]).astype(pd.CategoricalDtype([2, 1])) |
    pd.Series([1, 2]).astype(pd.CategoricalDtype([1, 2], ordered=True)) | pd.Series([1, 2]).astype(pd.CategoricalDtype([1, 2, 3])) |
    pd.Series(['1', '2']) | pd.Series([1, 2]).astype('int64[pyarrow]')
missing:
    pd.Series([1, None]) | pd.Series([1, None], dtype='Int64') | pd.Series([1, None], dtype=object) | pd.Series([1, 0], dtype='Int64') |
    pd.Series([None, 1], dtype='Int64') | pd.Series([1, pd.NaT], dtype=object) | pd.Series([1, pd.NA], dtype=object) | pd.NA | pd.NaT |
    None | float('nan') | pd.Series([True, None], dtype='boolean') | pd.Series([1.5, None], dtype='Float64') | pd.Series(['a', None]) |
    pd.Series(['a', None], dtype=object) | pd.Series(['a', None], dtype='string')
times:
    pd.date_range('2020', periods=3) | pd.date_range('2020', periods=3, tz='UTC') |
    pd.date_range('2020', periods=3, tz='Europe/Berlin') | pd.date_range('2020', periods=3, freq='h') |
    pd.DatetimeIndex(['2020-01-01', '2020-01-02', '2020-01-03']) | pd.Series(pd.date_range('2020', periods=3)) |
    pd.Series(pd.date_range('2020', periods=3, tz='UTC')) | pd.Series(pd.date_range('2020', periods=3)).astype('M8[s]') |
    pd.period_range('2020-01', periods=3, freq='M') | pd.timedelta_range('1s', periods=3) | pd.interval_range(0, 3) |
    pd.interval_range(0, 3, closed='left') | pd.Series(pd.arrays.SparseArray([0, 0, 1])) | pd.Series(pd.arrays.SparseArray([0, 1, 0])) |
    pd.Period('2020-01') | pd.Timedelta('1s') | pd.Interval(0, 1)
several levels:
    pd.MultiIndex.from_product([[1, 2], list('ab')]) | pd.MultiIndex.from_product([[1, 2], list('ac')]) |
    pd.MultiIndex.from_product([[1, 2], list('ab')], names=['x', 'y']) | pd.MultiIndex.from_product([[2, 1], list('ab')]) |
    pd.MultiIndex.from_product([[1.0, 2], list('ab')])
Arrow texts:
    pa.array(['ab', 'c']) | pa.array(['a', 'bc']) | pa.array(['abc']) | pa.array(['ab', 'c'], pa.large_string()) |
    pa.array([b'ab', b'c']) | pa.array(['ab', 'c', '']) | pa.array(['ab', 'c', None]) | pa.array([None, 'ab', 'c']) |
    pa.array(['', 'ab', 'c'])
Arrow lists:
    pa.array([[1], [2, 3]]) | pa.array([[1, 2], [3]]) | pa.array([[1, 2, 3]]) | pa.array([[1], [], [2, 3]]) |
    pa.array([[1], None, [2, 3]]) | pa.array([[1], [2, None]]) | pa.array([1, 2, 3]) | pa.array([[[1], [2, 3]]])
Arrow rows:
    pa.array([{'a': 1}]) | pa.array([{'a': None}]) | pa.array([None], pa.struct({'a': pa.int64()})) | pa.array([{'b': 1}]) |
    pa.array([{'a': 1, 'b': 2}]) | pa.array([[('a', 1)]], pa.map_(pa.string(), pa.int64())) | pa.array([{}])
Arrow schemas:
    pa.schema({'a': pa.int8()}) | pa.schema({'b': pa.int8()}) | pa.schema({'a': pa.int16()}) |
    pa.schema([pa.field('a', pa.int8(), nullable=False)]) | pa.schema({'a': pa.int8()}, {'k': 'v'}) | pa.int8() |
    pa.field('a', pa.int8()) | pa.list_(pa.int8()) | pa.struct({'a': pa.int8()}) | pa.struct({'a: int8, b': pa.int8()}) |
    pa.dictionary(pa.int8(), pa.string()) | pa.py_buffer(b'a') | pa.py_buffer(b'b')
[polars] Polars columns:
    pl.Series([1, None]) | pl.Series([1, 0]) | pl.Series([[1], [2, 3]]) | pl.Series([[1, 2], [3]]) | pl.Series([{'a': 1}]) |
    pl.Series([{'b': 1}]) | pl.Series([1.0, None]) | pl.Series([{1}, None], dtype=pl.Object) | pl.Int8 | pl.Int16 | pl.List(pl.Int8) |
    pl.Datetime('ms') | pl.Series([dt(2020, 1, 1)]) | pl.Series([dt(2020, 1, 1)], dtype=pl.Datetime('ms'))
[scipy] sparse matrices:
    sparse.csr_matrix([[0, 1]]) | sparse.csr_matrix([[1, 0]]) | sparse.csr_matrix([[0, 2]]) | sparse.csc_matrix([[0, 1]]) |
    sparse.coo_matrix([[0, 1]]) | sparse.csr_array([[0, 1]]) | sparse.csr_matrix([[0, 1.0]]) | sparse.csr_matrix([[0, 1, 0]]) |
    sparse.lil_matrix([[0, 1]]) | sparse.dok_matrix([[0, 1]]) | sparse.dia_matrix([[0, 1]]) | sparse.bsr_matrix([[0, 1]]) |
    np.array([[0, 1]])
[torch] tensors:
    torch.zeros(2) | torch.zeros(3) | torch.zeros(2, 1) | torch.zeros(2, dtype=torch.float64) | torch.zeros(2, dtype=torch.bfloat16) |
    torch.zeros(2, requires_grad=True) | torch.nn.Parameter(torch.zeros(2)) | torch.ones(2) | torch.zeros(2, dtype=torch.int32) |
    torch.float32 | torch.tensor([0.0, -0.0]) | torch.zeros(2).to_sparse() | np.zeros(2, 'f4') | torch.device('cpu') | torch.Size([2])
[pydantic] pydantic models:
    Model(a=1) | Model(a=2) | Model(a=1, b=['x']) | Model(a=1).put(2) | {'a': 1} | A(1)
"""
)

AGREE = _rows(
    r"""
set order:
    set(range(100)) | fill(set, shuffled(range(100), 1)) | fill(set, shuffled(range(100), 2)) | copy.copy(set(range(100)))
sets of texts:
    {'a', 'b', 'c', 'd'} | {'d', 'c', 'b', 'a'} | fill(set, shuffled('abcd', 1)) | fill(set, shuffled('abcd', 2)) |
    back({'a', 'b', 'c', 'd'})
frozensets of frozensets:
    frozenset([frozenset('ab'), frozenset('cd')]) | frozenset([frozenset('dc'), frozenset('ba')]) |
    frozenset(shuffled([frozenset('ab'), frozenset('cd')], 3))
aliasing:
    (lambda a: [a, a])([1]) | [[1], [1]] | (lambda a: [a, a])([1])[::-1]
aliasing in circles:
    own([]) | (lambda v: v[0].append(v) or v)([[]])
aliasing beside a circle:
    (lambda v: v.append(v) or [v])([]) | [(lambda v: v[0].append(v) or v)([[]])] | (lambda v: v[0][0].append(v[0]) or v)([[[]]])
circles of any length:
    circle(1) | circle(2) | circle(3) | circle(7) | circle(3)['next'] | copy.deepcopy(circle(3)) | back(circle(2))
equal texts:
    'hello' | ''.join(['hel', 'lo']) | sys.intern('hello') | Str('hello')[:] | 'HELLO'.lower()
NaN:
    float('nan') | -float('nan') | nan2 | math.nan | float('inf') - float('inf')
NaN in arrays:
    np.array([1, np.nan]) | np.array([1, -np.nan]) | np.array([1, nan2]) | np.array([1.0, np.nan, 2])[:2]
NaN as a scalar:
    np.float64('nan') | -np.float64('nan') | np.array([nan2])[0]
NaN inside:
    [float('nan')] | [nan2] | [-math.nan]
C and Fortran:
    np.arange(12).reshape(3, 4) | np.asfortranarray(np.arange(12).reshape(3, 4)) | np.arange(12).reshape(3, 4).copy('F') |
    np.arange(24).reshape(3, 8)[:, ::2] // 2
large Fortran:
    np.arange(3_000_000.0).reshape(3, -1) | np.asfortranarray(np.arange(3_000_000.0).reshape(3, -1)) |
    np.arange(6_000_000.0).reshape(3, -1)[:, :1_000_000] - np.array([[0], [1e6], [2e6]])
three dimensions:
    np.arange(24).reshape(2, 3, 4) | np.arange(24).reshape(2, 3, 4).copy('F') |
    np.moveaxis(np.moveaxis(np.arange(24).reshape(2, 3, 4), 0, 2).copy(), 2, 0)
views:
    np.arange(10) | np.arange(20)[:10] | np.arange(19, -1, -1)[::-1][:10] | np.arange(10).copy() | np.arange(10)[::-1][::-1] |
    back(np.arange(10)) | np.frombuffer(np.arange(10).tobytes(), 'i8') | np.arange(10).reshape(2, 5).ravel()
broadcast:
    np.ones((3, 4)) | np.broadcast_to(1.0, (3, 4)) | np.ones((6, 8))[::2, ::2]
read-only:
    np.arange(3) | read_only(np.arange(3))
slices of object arrays:
    np.array(['a', 1, None], object) | np.array(['a', 1, None, 2], object)[:3] | np.array([['a', 0], [1, 0], [None, 0]], object)[:, 0]
gaps in structures:
    np.zeros(2, np.dtype([('a', 'i1'), ('b', 'f8')], align=True)) |
    np.frombuffer((b'\0' + b'x' * 7 + bytes(8)) * 2, np.dtype([('a', 'i1'), ('b', 'f8')], align=True))
long doubles:
    np.zeros(3, 'g') | np.zeros(6, 'g')[::2] | np.zeros(3).astype('g') | np.array([0, 0, 0], 'g')
masked arrays:
    np.ma.array([1, 2], mask=[0, 1]) | np.ma.array([1, 2, 3], mask=[0, 1, 0])[:2] | np.ma.array([1, 2], mask=[0, 1]).copy() |
    back(np.ma.array([1, 2], mask=[0, 1]))
mask of nothing:
    np.ma.array([1, 2]) | np.ma.array([1, 2], mask=[0, 0])
frame slices:
    frame()[1:] | frame()[1:].copy() | frame().iloc[1:] | back(frame()[1:]) | frame().loc[1:] | copy.deepcopy(frame()[1:])
filtered frames:
    frame()[frame().a != 2] | frame()[frame().a != 2].copy() | frame().query('a != 2')
frames however made:
    frame() | frame().copy() | pd.concat([frame()[['a']], frame()[['b', 'c']]], axis=1) |
    (lambda f: f.insert(1, 'b', ['x', 'y', 'z']) or f)(frame()[['a', 'c']].copy()) |
    frame().rename(columns={'a': 'A'}).rename(columns={'A': 'a'})
frames in one block:
    pd.DataFrame(np.arange(6.0).reshape(3, 2), columns=list('ab')) | pd.DataFrame({'a': [0.0, 2, 4], 'b': [1.0, 3, 5]}) |
    pd.DataFrame(np.asfortranarray(np.arange(6.0).reshape(3, 2)), columns=list('ab'))
below missing cells:
    pd.array([1, None], dtype='Int64') | (lambda a: a.__setitem__(1, pd.NA) or a)(pd.array([1, 99], dtype='Int64')) |
    pd.array([1, None, 2], dtype='Int64')[:2]
Arrow slices:
    pa.array([1, 2, 3]) | pa.array([0, 1, 2, 3, 4]).slice(1, 3) | pa.concat_arrays([pa.array([1]), pa.array([2, 3])]) |
    back(pa.array([1, 2, 3]))
Arrow chunks:
    pa.chunked_array([[1, 2, 3]]) | pa.chunked_array([[1], [2, 3]]) | pa.chunked_array([[], [1, 2], [3]], pa.int64()) |
    pa.chunked_array([[0, 1, 2, 3]]).slice(1)
Arrow tables rebuilt:
    table([1, 2], ['x', None]) | pa.concat_tables([table([1], ['x']), table([2], [None])]) |
    table([0, 1, 2], ['w', 'x', None]).slice(1) | back(table([1, 2], ['x', None])) |
    pa.Table.from_batches(table([1, 2], ['x', None]).to_batches(max_chunksize=1))
garbage under nulls:
    garbage(7) | garbage(8) | pa.array([1, None])
garbage under null texts:
    garbage_text(b'') | garbage_text(b'xyz') | pa.array(['a', None])
Arrow lists sliced:
    pa.array([[2, 3], None, [4]]) | pa.array([[1], [2, 3], None, [4], [5]]).slice(1, 3) |
    pa.concat_arrays([pa.array([[2, 3], None]), pa.array([[4]])])
Arrow rows sliced:
    pa.array([{'a': 1, 'b': 'x'}, None]) | pa.array([{'a': 0, 'b': ''}, {'a': 1, 'b': 'x'}, None]).slice(1)
Arrow dictionaries:
    pa.array(['b', 'c']).dictionary_encode() | pa.array(['a', 'b', 'c']).dictionary_encode().slice(1)
Arrow NaN:
    pa.array([float('nan')]) | pa.array([nan2]) | pa.array(np.array([nan2]))
[polars] Polars rebuilt:
    polars([1, 2], ['x', None]) | pl.concat([polars([1], ['x']), polars([2], [None])], rechunk=False) |
    polars([0, 1, 2], ['w', 'x', None])[1:] | back(polars([1, 2], ['x', None])) | polars([1, 2], ['x', None]).clone()
functions:
    function | importlib.import_module('shapes').function | copy.deepcopy(function)
constructors:
    A([1, {'x': (2,)}]) | copy.deepcopy(A([1, {'x': (2,)}])) | back(A([1, {'x': (2,)}])) | A(x=[1, {'x': (2,)}]) |
    dataclasses.replace(A(0), x=[1, {'x': (2,)}])
sets in objects:
    A({'a', 'b', 'c'}) | A({'c', 'b', 'a'}) | A(fill(set, shuffled('abc', 5))) | back(A({'a', 'b', 'c'}))
sets deep in objects:
    Plain(a=[Slots(a={frozenset('xyz'), frozenset('uvw')})]) | Plain(a=[Slots(a={frozenset('zyx'), frozenset('wvu')})]) |
    back(Plain(a=[Slots(a={frozenset('xyz'), frozenset('uvw')})]))
sets of a user's class:
    Set('abc') | Set('cba') | fill(Set, shuffled('abc', 4)) | back(Set('abc'))
frozensets of a user's class:
    Frozenset('abc') | Frozenset('cba') | back(Frozenset('abc'))
copies of objects:
    Slots(a=1, b=[2]) | copy.copy(Slots(a=1, b=[2])) | copy.deepcopy(Slots(a=1, b=[2])) | back(Slots(a=1, b=[2])) | Slots(b=[2], a=1)
slots unset again:
    Slots(a=1) | unset(Slots(a=1, b=2), 'b')
frozen dataclasses:
    Frozen(1, [2]) | back(Frozen(1, [2])) | copy.deepcopy(Frozen(1, [2]))
attrs:
    Attrs(1) | back(Attrs(1)) | attrs.evolve(Attrs(2), x=1)
attrs frozen:
    AttrsFrozen(1) | back(AttrsFrozen(1)) | AttrsFrozen(x=1)
named tuples:
    Point(1, 2) | Point(x=1, y=2) | back(Point(1, 2)) | Point(0, 2)._replace(x=1)
containers of the library:
    collections.Counter('abb') | back(collections.Counter('abb')) | collections.Counter({'a': 1, 'b': 2})
defaultdicts:
    collections.defaultdict(list, {1: [2]}) | back(collections.defaultdict(list, {1: [2]})) |
    (lambda d: d[1].append(2) or d)(collections.defaultdict(list))
deques:
    collections.deque([1, 2], 3) | back(collections.deque([1, 2], 3)) | collections.deque([1], 3).__add__(collections.deque([2]))
chained maps:
    collections.ChainMap({'a': 1}, {'b': 2}) | back(collections.ChainMap({'a': 1}, {'b': 2}))
enums:
    Colour.RED | Colour(1) | Colour['RED'] | back(Colour.RED) | copy.deepcopy(Colour.RED)
flags:
    Flags.A | Flags(1) | back(Flags.A) | Flags['A'] | ~~Flags.A | Flags(3) & Flags.A
exceptions:
    ValueError('a', 1) | back(ValueError('a', 1)) | copy.copy(ValueError('a', 1))
zones:
    zoneinfo.ZoneInfo('Europe/Berlin') | zoneinfo.ZoneInfo.no_cache('Europe/Berlin') | back(zoneinfo.ZoneInfo('Europe/Berlin'))
generic aliases:
    list[int] | back(list[int]) | types.GenericAlias(list, (int,))
unions:
    (int | str) | back(int | str)
partials:
    functools.partial(function, 1, k=2) | back(functools.partial(function, 1, k=2)) |
    functools.partial(functools.partial(function, 1), k=2)
methods:
    Callable(1).method | Callable(k=1).method | copy.copy(Callable(1)).method
ufuncs:
    np.add | back(np.add) | importlib.import_module('numpy').add
loggers:
    logging.getLogger('a.b') | logging.getLogger('a').getChild('b')
keyed:
    Keyed('a', 1) | Keyed('a', 2) | Keyed('a', object())
left out by the class:
    Reduced(1, cache=2) | Reduced(1) | back(Reduced(1, 2))
left out of the state:
    Stated(1, cache=object()) | Stated(1)
big circles:
    family() | copy.deepcopy(family()) | back(family()) | family().children[2].parent
doubling:
    doubled(60) | copy.deepcopy(doubled(60)) | back(doubled(60))
patterns:
    re.compile('a', re.I) | back(re.compile('a', re.I)) | re.compile('a', re.IGNORECASE)
named spaces:
    SimpleNamespace(a=1) | back(SimpleNamespace(a=1)) | copy.copy(SimpleNamespace(a=1))
memory views:
    memoryview(b'abcd')[::2] | memoryview(b'axcx')[::2]
texts of numpy:
    np.str_('a') | np.array(['a'])[0] | back(np.str_('a'))
generators of numbers:
    np.random.default_rng(1) | back(np.random.default_rng(1)) | copy.deepcopy(np.random.default_rng(1))
indexes:
    pd.date_range('2020', periods=3) | pd.date_range('2020', periods=3).copy() | back(pd.date_range('2020', periods=3))
timestamps:
    pd.Timestamp('2020-01-01', tz='UTC') | back(pd.Timestamp('2020-01-01', tz='UTC'))
[scipy] sparse matrices:
    sparse.csr_matrix([[0, 1]]) | back(sparse.csr_matrix([[0, 1]])) |
    (lambda m: m.sum() and m.has_canonical_format and m)(sparse.csr_matrix([[0, 1]])) | sparse.csr_matrix([[0, 1]]).copy()
[torch] tensors:
    torch.arange(6).reshape(2, 3) | torch.arange(6).reshape(2, 3).t().contiguous().t() | torch.arange(12).reshape(2, 6)[:, ::2] // 2 |
    back(torch.arange(6).reshape(2, 3))
[torch] NaN in tensors:
    torch.tensor([math.nan]) | -torch.tensor([math.nan]) | torch.tensor([nan2])
[pydantic] pydantic models:
    Model(a=1) | Model(**{'a': 1}) | back(Model(a=1)) | Model(a=1).model_copy()
"""
)

_BATCH = """
import importlib.util, json, sys, warnings
sys.path.insert(0, sys.argv[1])
warnings.simplefilter("ignore")
from hypernodes.identity.values import Unidentifiable, identity
import shapes
names = vars(shapes)
found = {}
for expression in json.load(open(sys.argv[2])):
    needs, text = expression
    if needs and importlib.util.find_spec(needs) is None:
        continue
    try:
        found[text] = identity(eval(text, names)).hex()
    except Unidentifiable as verdict:
        found[text] = f"refused: {verdict}"
    except Exception as error:
        found[text] = f"{type(error).__name__}: {error}"
print(json.dumps(found))
"""

_LIBRARIES = {
    "np.": "numpy",
    "pd.": "pandas",
    "frame(": "pandas",
    "pa.": "pyarrow",
    "garbage": "pyarrow",
    "table(": "pyarrow",
    "Units": "numpy",
    "edited(": "numpy",
}


def _expressions(name: str, row: str) -> tuple[str, list[str]]:
    """Return what a row of the tables needs, and its expressions."""
    texts, depth, begin = [], 0, 0
    for k, character in enumerate(row):
        depth += (character in "([{") - (character in ")]}")
        if row[k : k + 3] == " | " and not depth:
            texts.append(row[begin:k])
            begin = k + 3
    return name[1:].partition("]")[0] if name.startswith("[") else "", [*texts, row[begin:]]


def _library(needs: str, text: str) -> str:
    return needs or next((library for mark, library in _LIBRARIES.items() if mark in text), "")


@pytest.fixture(scope="module")
def identities(tmp_path_factory: Any) -> list[dict[str, str]]:
    """What two processes under different hash seeds find for every expression of the tables."""
    here = tmp_path_factory.mktemp("shapes")
    (here / "shapes.py").write_text(_SHAPES)
    (here / "other_shapes.py").write_text(_OTHER_SHAPES)
    rows = [_expressions(*row) for row in (*DIFFER.items(), *AGREE.items())]
    (here / "rows.json").write_text(json.dumps(sorted({(_library(needs, text), text) for needs, texts in rows for text in texts})))
    command = [sys.executable, "-c", _BATCH, str(here), str(here / "rows.json")]
    running = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, "PYTHONHASHSEED": seed}, cwd=here)
        for seed in ("1", "4242")
    ]
    found = []
    for process in running:
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0, err.decode()
        found.append(json.loads(out))
    return found


def _found(identities: list[dict[str, str]], name: str, row: str) -> dict[str, str]:
    """Return what was found for a row, the same in both processes."""
    needs, texts = _expressions(name, row)
    assert len(set(texts)) == len(texts), "an expression stands twice in a row"
    first, second = identities
    here = [text for text in texts if text in first]
    if len(here) < 2:
        pytest.skip(f"needs {needs or _library(needs, texts[0])}, which is not installed")
    for text in here:
        assert not first[text].startswith("refused") and ":" not in first[text], (text, first[text])
        assert first[text] == second[text], f"{text} is somebody else under another hash seed"
    return {text: first[text] for text in here}


@pytest.mark.parametrize("row", DIFFER)
def test_what_must_differ(identities: list[dict[str, str]], row: str) -> None:
    by_identity = collections.defaultdict(list)
    for text, found in _found(identities, row, DIFFER[row]).items():
        by_identity[found].append(text)
    assert not [texts for texts in by_identity.values() if len(texts) > 1]


@pytest.mark.parametrize("row", AGREE)
def test_what_must_agree(identities: list[dict[str, str]], row: str) -> None:
    found = _found(identities, row, AGREE[row])
    assert len(set(found.values())) == 1, found


def test_no_two_rows_that_agree_agree_with_each_other(identities: list[dict[str, str]]) -> None:
    rows = collections.defaultdict(list)
    for row, texts in AGREE.items():
        with contextlib.suppress(pytest.skip.Exception):
            rows[min(_found(identities, row, texts).values())].append(row)
    assert not [names for names in rows.values() if len(names) > 1 and sorted(names) != ["aliasing in circles"]]


# Refusals -----------------------------------------------------------------------------------------------------------------


class Plain:
    def __init__(self, **given: Any) -> None:
        self.__dict__.update(given)


class Slots:
    __slots__ = ("lock",)


class NamedPair(NamedTuple):
    x: Any
    y: Any


class RaisingKey:
    def __cache_key__(self) -> str:
        raise RuntimeError("secret")


class EndlessKey:
    def __cache_key__(self) -> Any:
        return EndlessKey()


class OwnKey:
    def __init__(self, x: Any) -> None:
        self.x = x

    def __cache_key__(self) -> Any:
        return [self]


class AsyncKey:
    async def __cache_key__(self) -> str:
        return "key"


class NoKey:
    def __cache_key__(self) -> Any:
        return NotImplemented


class LockKey:
    def __cache_key__(self) -> Any:
        return {"lock": threading.Lock()}


class NotAKey:
    __cache_key__ = 5


class RecursingKey:
    def __cache_key__(self) -> Any:
        return self.__cache_key__()


class ExitingKey:
    def __cache_key__(self) -> Any:
        raise SystemExit(3)


class RaisingReduce:
    def __reduce__(self) -> Any:
        raise TypeError("secret")


class RaisingReduceEx:
    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError("secret")


class RaisingState:
    def __getstate__(self) -> Any:
        raise ValueError("secret")


class NonsenseReduce:
    def __reduce__(self) -> Any:
        return 5


class NonsenseReduceTuple:
    def __reduce__(self) -> Any:
        return ("a", "b")


class WrongName:
    def __reduce__(self) -> Any:
        return "Plain"


class EndlessReduce:
    def __reduce__(self) -> Any:
        return list, (), None, itertools.repeat(1)


class EndlessState:
    def __getstate__(self) -> Any:
        return {"x": EndlessState()}


class LockState:
    def __getstate__(self) -> Any:
        return {"inner": [threading.Lock()]}


class Hider:
    @property
    def __dict__(self) -> Any:
        return {}


class Unhashable(type):
    __hash__ = None

    def __eq__(cls, other: object) -> bool:
        return True


class OfUnhashable(metaclass=Unhashable):
    pass


class MyThread(threading.Thread):
    pass


class MyFile(io.RawIOBase):
    pass


def _generator() -> Any:
    yield 1


async def _agenerator() -> Any:
    yield 1


def _frame() -> Any:
    return inspect.currentframe()


def _released() -> Any:
    view = memoryview(bytearray(3))
    view.release()
    return view


def _closed() -> Any:
    stream = io.BytesIO(b"a")
    stream.close()
    return stream


def _slots(lock: Any) -> Any:
    found = Slots()
    found.lock = lock
    return found


def _client() -> Any:
    return Plain(session=Plain(_pool=threading.Lock(), name="x"))


def _traceback() -> Any:
    try:
        raise ValueError
    except ValueError as error:
        return error.__traceback__


def _mapped() -> Any:
    import mmap

    return mmap.mmap(-1, 10)


REFUSED = {
    # the table
    "open file": (lambda: Path(__file__).open(), "", "an open file"),  # noqa: SIM115
    "open binary file": (lambda: Path(__file__).open("rb"), "", "an open file"),  # noqa: SIM115
    "unbuffered file": (lambda: Path(__file__).open("rb", buffering=0), "", "an open file"),  # noqa: SIM115
    "standard output": (lambda: io.TextIOWrapper(io.BytesIO()), "", "an open file"),
    "file of the user's": (MyFile, "", "an open file"),  # noqa: SIM115
    "temporary file": (tempfile.NamedTemporaryFile, "", "an open file"),
    "socket": (socket.socket, "", "a socket"),
    "database": (lambda: sqlite3.connect(":memory:"), "", "a database connection"),
    "cursor": (lambda: Plain(db=sqlite3.connect(":memory:").cursor()), "db", "a database cursor"),
    "lock": (threading.Lock, "", "a lock"),
    "reentrant lock": (threading.RLock, "", "a lock"),
    "condition": (threading.Condition, "", "a lock"),
    "semaphore": (threading.Semaphore, "", "a lock"),
    "event": (threading.Event, "", "a lock"),
    "barrier": (lambda: threading.Barrier(2), "", "a lock"),
    "lock between processes": (multiprocessing.Lock, "", "a lock"),
    "generator": (_generator, "", "a generator"),
    "generator expression": (lambda: (x for x in ()), "", "a generator"),
    "async generator": (_agenerator, "", "a generator"),
    "at depth": (_client, "session._pool", "a lock"),
    "in a list": (lambda: [0, 1, 2, _client()], "[3].session._pool", "a lock"),
    "in a dict": (lambda: {"a": 1, "key": _client()}, "['key'].session._pool", "a lock"),
    "in a tuple in a dict": (lambda: {1: (0, {"x": [threading.Lock()]})}, "[1][1]['x'][0]", "a lock"),
    "in a set": (lambda: {frozenset([1, (threading.Lock(),)])}, "{…}{…}[0]", "a lock"),
    "as a key": (lambda: {"a": 1, threading.Lock(): 2}, "keys()[1]", "a lock"),
    "below an odd key": (lambda: {(1, 2): threading.Lock()}, "[<tuple>]", "a lock"),
    "in slots": (lambda: [_slots(threading.Lock())], "[0].lock", "a lock"),
    "in a namespace": (lambda: types.SimpleNamespace(a=types.SimpleNamespace(b=threading.Lock())), "a.b", "a lock"),
    "in a deque": (lambda: collections.deque([1, threading.Lock()]), "[1]", "a lock"),
    "in a defaultdict": (lambda: collections.defaultdict(list, a=threading.Lock()), "['a']", "a lock"),
    "in an OrderedDict": (lambda: collections.OrderedDict(a=threading.Lock()), "['a']", "a lock"),
    "in a ChainMap": (lambda: collections.ChainMap({"a": threading.Lock()}), "maps[0]['a']", "a lock"),
    "in a partial": (lambda: functools.partial(print, 1, x=threading.Lock()), "keywords['x']", "a lock"),
    "in a bound method": (lambda: Plain(run=_client().__init__), "run.__self__.session._pool", "a lock"),
    "in an exception": (lambda: ValueError("a", threading.Lock()), "args[1]", "a lock"),
    "in what is reduced": (LockState, "inner[0]", "a lock"),
    "in an attrs class": (lambda: attrs.make_class("C", ["x"])(threading.Lock()), "x", "a lock"),
    "in a dataclass": (lambda: dataclasses.make_dataclass("C", ["x"])(threading.Lock()), "x", "a lock"),
    "in a frozen one with slots": (
        lambda: dataclasses.make_dataclass("C", ["x", "y"], frozen=True, slots=True)(1, threading.Lock()),
        "y",
        "a lock",
    ),
    "in a named tuple": (lambda: NamedPair(1, threading.Lock()), "y", "a lock"),
    "in a dict of a class": (lambda: type("D", (dict,), {})(a=threading.Lock()), "['a']", "a lock"),
    "beside a list of a class": (lambda: _with(type("L", (list,), {})([1]), x=threading.Lock()), "x", "a lock"),
    "raising key": (RaisingKey, "", "an object whose __cache_key__ raises RuntimeError"),
    "raising key at depth": (lambda: Plain(x=[RaisingKey()]), "x[0]", "an object whose __cache_key__ raises RuntimeError"),
    "raising reduce": (RaisingReduce, "", "an object whose __reduce__ raises TypeError"),
    "raising reduce_ex": (RaisingReduceEx, "", "an object whose __reduce_ex__ raises TypeError"),
    "raising state": (lambda: [RaisingState()], "[0]", "an object whose __getstate__ raises ValueError"),
    # further ones
    "key that exits": (ExitingKey, "", "an object whose __cache_key__ raises SystemExit"),
    "key that never returns": (RecursingKey, "", "an object whose __cache_key__ raises RecursionError"),
    "key that is no method": (NotAKey, "", "an object whose __cache_key__ raises AttributeError"),
    "key that is itself": (lambda: OwnKey(1), "", "an object that stands in for itself"),
    "key to be awaited": (AsyncKey, "", "an object whose __cache_key__ answers nonsense"),
    "no key": (NoKey, "", "an object whose __cache_key__ answers nonsense"),
    "key with a lock": (LockKey, "__cache_key__()['lock']", "a lock"),
    "nonsense": (NonsenseReduce, "", "an object whose __reduce__ answers nonsense"),
    "nonsense in two parts": (NonsenseReduceTuple, "", "an object whose __reduce__ answers nonsense"),
    "somebody else's name": (WrongName, "", "an object that does not show what it is made of"),
    "endless items": (EndlessReduce, "", "an object without an end"),
    "hidden attributes": (Hider, "", "an object that hides its attributes"),
    "unhashable class": (OfUnhashable, "", "an object that cannot be looked at (TypeError)"),
    "unhashable class inside": (lambda: [1, OfUnhashable()], "[1]", "an object that cannot be looked at (TypeError)"),
    "thread": (lambda: threading.Thread(target=print), "", "a thread"),
    "thread of the user's": (MyThread, "", "a thread"),
    "thread's data": (threading.local, "", "data of one thread"),
    "pool": (lambda: ThreadPoolExecutor(1), "", "a pool of workers"),
    "queue": (queue.Queue, "", "a queue"),
    "simple queue": (queue.SimpleQueue, "", "a queue"),
    "event loop": (lambda: _and_close(asyncio.new_event_loop()), "", "an event loop"),
    "asyncio lock": (asyncio.Lock, "", "a lock of an event loop"),
    "list iterator": (lambda: iter([1]), "", "an iterator"),
    "dict iterator": (lambda: iter({}), "", "an iterator"),
    "map": (lambda: map(str, []), "", "an iterator"),
    "zip": (lambda: zip([], [], strict=True), "", "an iterator"),
    "filter": (lambda: filter(None, []), "", "an iterator"),
    "enumerate": (lambda: enumerate([]), "", "an iterator"),
    "reversed": (lambda: reversed([]), "", "an iterator"),
    "count": (itertools.count, "", "an iterator"),
    "chain": (itertools.chain, "", "an iterator"),
    "weak reference": (lambda: weakref.ref(Plain), "", "a weak reference"),
    "weak set": (weakref.WeakSet, "", "a weak reference"),
    "weak dict": (weakref.WeakValueDictionary, "", "a weak reference"),
    "weak proxy": (lambda: weakref.proxy(Plain), "", "a weak reference"),
    "frame": (_frame, "", "a frame of a running function"),
    "traceback": (_traceback, "", "a traceback"),
    "cell": (lambda: types.CellType(1), "", "a variable of a running function"),
    "bare object": (object, "", "a bare object(), which only its address tells from others"),
    "pointer": (lambda: ctypes.pointer(ctypes.c_int(1)), "", "a pointer"),
    "C function": (lambda: ctypes.CFUNCTYPE(None)(), "", "a pointer"),
    "mapped file": (_mapped, "", "a memory-mapped file"),
    "released view": (_released, "", "an object that cannot be looked at (ValueError)"),
    "closed stream": (_closed, "", "an object that cannot be looked at (ValueError)"),
    "context variable": (lambda: __import__("contextvars").ContextVar("x"), "", "a context variable"),
    "log handler": (logging.NullHandler, "", "a log handler"),
    "code": (lambda: _frame.__code__, "", "an object that does not show what it is made of"),
    "match": (lambda: __import__("re").match("a", "a"), "", "an object that does not show what it is made of"),
    "hash": (lambda: __import__("hashlib").md5(), "", "an object that does not show what it is made of"),
    "process": (lambda: _finished(subprocess.Popen([sys.executable, "-c", ""])), "", "a process"),
    "system randomness": (random.SystemRandom, "", "an object that does not show what it is made of"),
}


def _with(value: Any, **attributes: Any) -> Any:
    value.__dict__.update(attributes)
    return value


def _and_close(loop: Any) -> Any:
    loop.close()
    return loop


def _finished(process: Any) -> Any:
    process.wait()
    return process


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_what_has_no_identity_is_refused_with_the_way_to_it(case: str) -> None:
    make, path, reason = REFUSED[case]
    value = make()
    with pytest.raises(Unidentifiable) as caught:
        identify(value)
    assert (caught.value.path, caught.value.reason) == (path, reason)
    assert "secret" not in str(caught.value)
    with contextlib.suppress(AttributeError):
        value.close()
    del value
    gc.collect(0)  # what warns when it goes does it here


def test_a_coroutine_is_refused() -> None:
    async def work() -> None: ...

    coroutine = work()
    with pytest.raises(Unidentifiable, match="a coroutine"):
        identity([coroutine])
    coroutine.close()


def test_a_verdict_says_where_what_and_of_which_type() -> None:
    with pytest.raises(Unidentifiable) as caught:
        identity(_client())
    verdict = caught.value
    assert (verdict.path, verdict.reason, verdict.kind) == ("session._pool", "a lock", "_thread.lock")
    assert str(verdict) == "session._pool is a lock (_thread.lock)"
    assert verdict.under("client") == "client.session._pool"
    again = pickle.loads(pickle.dumps(verdict))
    assert (again.path, again.reason, again.kind) == (verdict.path, verdict.reason, verdict.kind)
    with pytest.raises(Unidentifiable) as caught:
        identity([[threading.Lock()]])
    assert caught.value.under("rows") == "rows[0][0]"
    with pytest.raises(Unidentifiable) as caught:
        identity(threading.Lock())
    assert caught.value.under("lock") == "lock"
    assert str(caught.value) == "the value is a lock (_thread.lock)"


def test_what_the_users_code_raised_is_the_cause() -> None:
    with pytest.raises(Unidentifiable) as caught:
        identity([RaisingKey()])
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_an_interrupt_is_no_verdict() -> None:
    class Interrupted:
        def __cache_key__(self) -> Any:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        identity([Interrupted()])


# Ending -------------------------------------------------------------------------------------------------------------------


def _nested(wrap: Any, depth: int = 100_000) -> Any:
    value: Any = 0
    for _ in range(depth):
        value = wrap(value)
    return value


class Node:
    def __init__(self, x: Any) -> None:
        self.x = x


class ReducedNode(Node):
    def __reduce__(self) -> Any:
        return ReducedNode, (self.x,)


class KeyedNode(Node):
    def __cache_key__(self) -> Any:
        return self.x


class Listed(list):
    pass


@pytest.mark.parametrize(
    "wrap",
    [
        lambda x: [x],
        lambda x: (x,),
        lambda x: {"a": x},
        lambda x: [0, {"a": (1, x)}],
        Node,
        ReducedNode,
        KeyedNode,
        lambda x: Listed([x]),
        lambda x: collections.deque([x]),
        lambda x: types.SimpleNamespace(x=x),
        lambda x: functools.partial(print, x, len),
    ],
    ids=["list", "tuple", "dict", "mixed", "object", "reduced", "keyed", "subclass", "deque", "namespace", "partial"],
)
def test_deep_nesting_ends(wrap: Any) -> None:
    depth = 1000 if wrap(0).__class__ is functools.partial else 10_000
    value = _nested(wrap, depth)
    found = identity(value)
    assert found != identity(wrap(value))
    while not isinstance(value, int):  # freed from outside in, or it would be by recursion
        value = next(iter(_inside(value)))


def _inside(value: Any) -> list[Any]:
    if isinstance(value, (Node, types.SimpleNamespace)):
        return [value.x]
    if isinstance(value, functools.partial):
        return [value.args[0]]
    children = list(value.values()) if isinstance(value, dict) else list(value)
    return [children[-1]]


def test_100_000_lists_deep() -> None:
    value = _nested(lambda x: [x])
    assert identity(value) == identity(_nested(lambda x: [x]))
    with pytest.raises(Unidentifiable) as caught:
        identity(_nested(lambda x: [x], 250_000))
    assert caught.value.reason == "nested more than 200,000 deep"
    assert len(caught.value.path) < 200


def test_a_refusal_at_depth_ends() -> None:
    value: Any = [threading.Lock()]
    for _ in range(20_000):
        value = [value]
    with pytest.raises(Unidentifiable, match="a lock") as caught:
        identity(value)
    assert caught.value.path == "[0]" * 10 + "…" + "[0]" * 10


@pytest.mark.parametrize("endless", [EndlessKey, EndlessState])
def test_objects_that_make_themselves_up_end(endless: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(values, "DEPTH", 5_000)
    with pytest.raises(Unidentifiable, match="nested more than 5,000 deep"):
        identity(endless())


def test_what_is_shared_is_looked_at_once() -> None:
    value: Any = [0]
    for _ in range(500):
        value = [value, {"a": value}, (value,)]
    identity(value)


def test_a_circle_of_many() -> None:
    ring: list[Any] = [[] for _ in range(20_000)]
    for k, each in enumerate(ring):
        each += [k, ring[(k + 1) % len(ring)], ring[k - 1]]
    assert identity(ring[0]) != identity(ring[1])
    assert len({identity([each, 1]) for each in ring[:3]}) == 3


def test_a_circle_whose_members_look_alike_is_refused_or_identified_but_ends() -> None:
    chain: list[Any] = [{} for _ in range(3_000)]
    for k, each in enumerate(chain):
        each.update(before=chain[k - 1] if k else None, after=chain[k + 1] if k + 1 < len(chain) else None)
    with pytest.raises(Unidentifiable, match="look too much alike"):
        identity(chain[0])
    small = chain[:100]
    small[-1]["after"] = None
    assert len({identity(each) for each in small}) == 100


def test_where_a_circle_is_entered_does_not_matter() -> None:
    a: Any = {"name": "a"}
    b: Any = {"name": "b", "a": a}
    a["b"] = b
    assert identity([a, b]) == list_identity([identity(a), identity(b)])
    assert identity([b, a]) == list_identity([identity(b), identity(a)])
    assert identity(a) == identity(b["a"]) == identity(copy.deepcopy(b)["a"])


def test_sets_in_circles() -> None:
    def graph(order: Any) -> Any:
        nodes = [Node(k) for k in range(20)]
        for k in order:
            nodes[k].near = {nodes[(k + 1) % 20], nodes[(k + 3) % 20]}
        return nodes[0]

    assert identity(graph(range(20))) == identity(graph(reversed(range(20))))


def test_room_is_bounded(monkeypatch: Any) -> None:
    value = [[[k], {"a": [k]}] for k in range(200)] * 2
    expected = identity(value)
    monkeypatch.setattr(values, "ROOM", 10)
    assert identity(value) == expected


def test_user_code_that_changes_the_value_meanwhile_does_no_harm() -> None:
    value: list[Any] = []

    class Growing:
        def __cache_key__(self) -> int:
            value.append(Growing())
            return len(value)

    value += [Growing(), {"a": Growing()}]
    identity(value)


# Lists of known identities ------------------------------------------------------------------------------------------------


def test_a_list_is_known_by_its_elements() -> None:
    row = [1, "a", None, [2, {3}], {"a": (1,)}, 1.5, 2**100, True]
    assert list_identity([identity(each) for each in row]) == identity(row)
    assert list_identity([]) == identity([])
    assert list_identity(iter([])) == identity([])
    assert list_identity([identity([])]) == identity([[]])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1, "1"),
        (-5, "-5"),
        (2**63 - 1, str(2**63 - 1)),
        (True, "True"),
        (False, "False"),
        (None, "None"),
        (0.01, "0.01"),
        (-0.0, "-0.0"),
        (float("nan"), "nan"),
        (1e300, "1e+300"),
    ],
)
def test_numbers_are_shown(value: Any, text: str) -> None:
    assert shown(identity(value)) == text


@pytest.mark.parametrize("value", ["1", "secret", b"secret", 2**64, [1], (), object, 1j, Decimal(1)])
def test_others_are_shown_by_digest(value: Any) -> None:
    found = identity(value)
    assert len(found) == 21
    assert shown(found) == found.hex()[2:14]


def test_identities_are_short_and_say_how_long_they_are() -> None:
    lengths = {b"N": 1, b"T": 1, b"F": 1, b"i": 9, b"f": 9, b"#": 21}
    for value in (None, True, False, 0, 1, -1, 2**62, 2**63, 0.5, "", "a", b"", [], {}, (1,), Node(1), len):
        found = identity(value)
        assert lengths[found[:1]] == len(found)


def test_digests_stay_what_they_are() -> None:
    # They are in caches: a change here makes all of them useless, so it should be on purpose.
    known = {
        "text": identity("text").hex(),
        "list": identity([1, "a", None]).hex(),
        "dict": identity({"a": {1, 2}}).hex(),
    }
    assert known == KNOWN


KNOWN = {
    "text": "238c712ed9d99ac506bcaf264e3958b0688ecae088",
    "list": "233fb673351b56d23fe58d73eac96909bfa7886c36",
    "dict": "230d04ccf934aa0ba14f6d7f57b5b66081d6c0304b",
}


# Classes ------------------------------------------------------------------------------------------------------------------


def test_the_users_classes_inside_are_reported() -> None:
    value = [Node(1), {"a": Plain(x=Listed([Node(2)]))}, 3, Decimal(1), ValueError()]
    _, classes = identify(value)
    expected = [(f"{cls.__module__}:{cls.__qualname__}", code_identity(cls).digest) for cls in (Node, Plain, Listed)]
    assert classes == tuple(sorted(expected))
    assert identify([1, "a", {Decimal(1): None}]) == (identity([1, "a", {Decimal(1): None}]), ())
    assert identify(5) == (identity(5), ())
    assert identify(Node)[1] == ((f"{__name__}:Node", code_identity(Node).digest),)


def test_a_module_is_what_is_in_it(tmp_path: Any) -> None:
    text = "K = 1\ndef helper(x): return x + 1\n"
    found = identity(_module(tmp_path, text))
    assert identity(_module(tmp_path, text + "# a comment")) == found
    assert len({found, *(identity(_module(tmp_path, text.replace(*edit))) for edit in (("K = 1", "K = 2"), ("x + 1", "x + 2")))}) == 3
    with pytest.raises(Unidentifiable) as caught:
        identity([_module(tmp_path, "import threading\nclass A: pass\nlock = threading.Lock()\n")])
    assert caught.value.path == "[0].lock"


def test_members_of_enums_report_their_class() -> None:
    import enum

    colour = enum.Enum("Colour", "RED GREEN", module=__name__)
    assert [name for name, _ in identify([colour.RED])[1]] == [f"{__name__}:Colour"]


def _module(tmp_path: Any, text: str, name: str = "users_module") -> Any:
    path = tmp_path / f"{name}.py"
    path.write_text(textwrap.dedent(text))
    os.utime(path, (time.time(), time.time() + random.random() * 1000))
    importlib.invalidate_caches()
    sys.modules.pop(name, None)
    sys.path.insert(0, str(tmp_path))
    try:
        sys.dont_write_bytecode, before = True, sys.dont_write_bytecode
        return importlib.import_module(name)
    finally:
        sys.dont_write_bytecode = before
        sys.path.remove(str(tmp_path))
        sys.modules.pop(name, None)


def test_an_edited_method_makes_another_object(tmp_path: Any) -> None:
    text = """
        class Doc:
            def __init__(self, text): self.text = text
            def words(self): return self.text.split()

        def helper(x): return x + 1
        """
    before = _module(tmp_path, text)
    first = identify([before.Doc("a")]), identity(before.helper)
    same = _module(tmp_path, text.replace("class Doc:", "class Doc:  # a comment"))
    assert (identify([same.Doc("a")]), identity(same.helper)) == first
    after = _module(tmp_path, text.replace("split()", "split(',')"))
    assert identity([after.Doc("a")]) != first[0][0]
    assert identity(after.helper) == first[1]
    changed = _module(tmp_path, text.replace("x + 1", "x + 2"))
    assert identity([changed.Doc("a")]) == first[0][0]
    assert identity(changed.helper) != first[1]
    assert identity(changed.Doc) != identity(after.Doc)


def test_classes_made_at_run_time() -> None:
    def make(factor: int) -> Any:
        return type("Made", (Node,), {"twice": lambda self: self.x * factor, "__module__": __name__})

    assert identity(make(2)(1)) != identity(make(3)(1))
    assert identity(make(2)(1)) == identity(make(2)(1))


def test_an_object_of_its_own_class_in_the_class() -> None:
    class Money:
        zero: Any

        def __init__(self, amount: int) -> None:
            self.amount = amount

    Money.zero = Money(0)
    first = identity(Money(1))
    assert first == identity(Money(1)) != identity(Money(0))
    assert identity(Money.zero) == identity(Money(0))


def test_nobody_is_asked_what_equality_is() -> None:
    class Touchy:
        def __init__(self, x: Any) -> None:
            self.x = x

        def __eq__(self, other: object) -> bool:
            raise AssertionError

        def __hash__(self) -> int:
            return 1

    assert identity([Touchy(1), {Touchy(2): 3}]) == identity([Touchy(1), {Touchy(2): 3}])


# Code resolver ------------------------------------------------------------------------------------------------------------


def test_a_caller_may_say_what_code_is() -> None:
    asked = []

    def code(target: object) -> bytes:
        asked.append(target)
        return b"x" * 20

    found, classes = identify([Node(test_digests_stay_what_they_are), Listed], code=code)
    assert set(map(id, asked)) == {id(Node), id(test_digests_stay_what_they_are), id(Listed)}
    assert found != identity([Node(test_digests_stay_what_they_are), Listed])
    assert all(digest == b"x" * 20 for _, digest in classes)


# Nodes and stateful objects -----------------------------------------------------------------------------------------------


def test_nodes_are_known_by_their_functions() -> None:
    @node(output_name="a")
    def one(x: int) -> int:
        return x + 1

    @node(output_name="a")
    def two(x: int) -> int:
        return x + 2

    assert identity(one) == identity(one) != identity(two)
    assert identity(one) != identity(one.func)


BUILT: list[str] = []


@stateful(ignore=("secret",))
class Model:
    def __init__(self, path: Any, scale: int = 1, secret: str = "") -> None:
        BUILT.append(path)
        self.path = path


@stateful
class KeyedModel:
    def __init__(self, path: str, *, device: str = "cpu") -> None:
        BUILT.append(path)

    def __cache_key__(self) -> Any:
        return self.path


@stateful
class BadKeyedModel:
    def __init__(self, path: str) -> None:
        BUILT.append(path)

    def __cache_key__(self) -> Any:
        return self.weights


def test_stateful_objects_are_known_by_their_arguments_and_never_built() -> None:
    BUILT.clear()
    first = Model("a")
    assert identity(first) == identity(Model(path="a")) == identity(Model("a", secret="x")) == identity(pickle.loads(pickle.dumps(first)))
    assert len({identity(each) for each in (Model("a"), Model("b"), Model("a", 2), KeyedModel("a"), Model(["a"]))}) == 5
    assert identity(KeyedModel("a")) == identity(KeyedModel("a", device="gpu")) != identity(KeyedModel("b"))
    assert identify([first])[1] == ((f"{__name__}:Model", code_identity(Model).digest),)
    assert BUILT == []
    assert not built(first)
    before = identity(first)
    assert first.path == "a"
    assert identity(first) == before
    with pytest.raises(Unidentifiable) as caught:
        identity([Model({"x": threading.Lock()})])
    assert (caught.value.path, caught.value.reason) == ("[0].path['x']", "a lock")
    with pytest.raises(Unidentifiable, match="__cache_key__ raises"):
        identity(BadKeyedModel("a"))


# Plugins ------------------------------------------------------------------------------------------------------------------


class Mesh:
    def __init__(self, points: Any) -> None:
        self.points = points
        self.lock = threading.Lock()


class FineMesh(Mesh):
    pass


def hash_mesh(mesh: Any) -> Any:
    return sorted(mesh.points)


def _plugin(hasher: Any, name: str = f"{__name__}.Mesh") -> Any:
    class Plugin:
        @hookimpl
        def hypernodes_register_hashers(self, registry: Any) -> None:
            registry.add(name, hasher)

    return Plugin


@pytest.mark.parametrize("name", [f"{__name__}.Mesh", f"{__name__}:Mesh"])
def test_a_plugin_says_what_a_type_is(name: str) -> None:
    with pytest.raises(Unidentifiable, match="a lock"):
        identity(Mesh([1]))
    with isolated_plugins(_plugin(hash_mesh, name)):
        assert identity([Mesh([1, 2])]) == identity([Mesh([2, 1])]) != identity([Mesh([1])])
        assert identity(Mesh([1])) not in (identity([1]), identity(hash_mesh(Mesh([1]))))
        with pytest.raises(Unidentifiable, match="a lock"):  # for exactly this type
            identity(FineMesh([1]))
    with pytest.raises(Unidentifiable, match="a lock"):
        identity(Mesh([1]))


def _raise(value: Any) -> Any:
    raise ValueError("secret")


@pytest.mark.parametrize(
    ("hasher", "reason"),
    [
        (_raise, "raises ValueError"),
        ("no_such_module:hasher", "raises hypernodes.errors.PluginLoadError"),
        (lambda value: NotImplemented, "answers nonsense"),
        (lambda value: [value], "stands in for itself"),
        (lambda value: value.lock, "a lock"),
        (5, "raises TypeError"),
    ],
)
def test_a_plugin_that_fails_is_named(hasher: Any, reason: str) -> None:
    with isolated_plugins(_plugin(hasher)), pytest.raises(Unidentifiable, match=reason) as caught:
        identity([Mesh([1])])
    assert "secret" not in str(caught.value)
    if "raises" in reason:
        assert "plugin 'Plugin'" in caught.value.reason


def test_two_plugins_for_one_type_are_both_named() -> None:
    with (
        isolated_plugins(_plugin(hash_mesh), _plugin(hash_mesh)),
        pytest.raises(Unidentifiable, match="'Plugin' and plugin 'Plugin-2' raises hypernodes.errors.PluginConflictError"),
    ):
        identity(Mesh([1]))


def test_a_class_s_own_key_wins_over_a_plugin() -> None:
    before = identity(KeyedNode(1))
    with isolated_plugins(_plugin(_raise, f"{__name__}.KeyedNode")):
        assert identity(KeyedNode(1)) == before


# Other processes and threads ----------------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_large_values_after_a_fork() -> None:
    np = pytest.importorskip("numpy", reason="needs numpy, which is not installed")
    value = np.zeros(3_000_000)
    expected = identity(value)  # with several threads, which a forked process does not have
    child = os.fork()
    if not child:
        import signal

        signal.alarm(20)
        os._exit(0 if identity(value) == expected else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_many_threads() -> None:
    value = [{"a": Node([k, {k}])} for k in range(50)]
    expected = identify(value)
    with ThreadPoolExecutor(8) as pool:
        assert all(found == expected for found in pool.map(lambda _: identify(value), range(64)))


# Any values ---------------------------------------------------------------------------------------------------------------


NAN2 = struct.unpack("<d", struct.pack("<Q", 0xFFF8000000000123))[0]
_HASHABLE = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.sampled_from(
            [
                0,
                1,
                2,
                -1,
                2**64,
                0.0,
                -0.0,
                1.0,
                float("nan"),
                NAN2,
                float("inf"),
                "",
                "1",
                "a",
                "ab",
                b"",
                b"a",
                1j,
                1 + 0j,
                Decimal(1),
                Decimal("1.0"),
                Ellipsis,
                range(2),
            ]
        ),
        st.integers(),
        st.floats(),
        st.text(max_size=3),
        st.binary(max_size=3),
    ),
    lambda inner: st.one_of(st.tuples(inner), st.tuples(inner, inner), st.frozensets(inner, max_size=3)),
    max_leaves=6,
)
VALUES = st.recursive(
    _HASHABLE,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.tuples(inner, inner),
        st.dictionaries(_HASHABLE, inner, max_size=3),
        st.sets(_HASHABLE, max_size=3),
        st.builds(Node, inner),
        st.builds(bytearray, st.binary(max_size=2)),
        st.builds(Listed, st.lists(inner, max_size=2)),
    ),
    max_leaves=12,
)
MANY = settings(max_examples=300, deadline=None)


def exactly(a: Any, b: Any) -> bool:
    """Compare as code could: by exact type and all the way down."""
    kind = type(a)
    if kind is not type(b):
        return False
    if kind is float:
        return (a != a and b != b) or struct.pack("d", a) == struct.pack("d", b)
    if kind is complex:
        return exactly(a.real, b.real) and exactly(a.imag, b.imag)
    if kind in (list, tuple, Listed):
        return len(a) == len(b) and all(map(exactly, a, b))
    if kind is dict:
        return len(a) == len(b) and all(
            exactly(x, y) for one, two in zip(a.items(), b.items(), strict=True) for x, y in zip(one, two, strict=True)
        )
    if kind in (set, frozenset):
        rest = list(b)
        for each in a:
            match = next((k for k, other in enumerate(rest) if exactly(each, other)), None)
            if match is None:
                return False
            del rest[match]
        return not rest
    if kind is Node:
        return exactly(a.x, b.x)
    if kind is Decimal:
        return a.as_tuple() == b.as_tuple()
    return a == b


@MANY
@given(VALUES, VALUES)
def test_two_values_have_one_identity_if_and_only_if_nothing_tells_them_apart(a: Any, b: Any) -> None:
    assert (identity(a) == identity(b)) == exactly(a, b)


@st.composite
def _relatives(draw: Any) -> tuple[Any, Any]:
    """Two values that differ in one place at most."""
    value = draw(VALUES)
    leaves: list[Any] = []

    def change(each: Any, target: int, to: Any) -> Any:
        leaves.append(each)
        if len(leaves) - 1 == target:
            return to
        kind = type(each)
        if kind in (list, tuple, Listed):
            return kind([change(inner, target, to) for inner in each])
        if kind is dict:
            return {key: change(inner, target, to) for key, inner in each.items()}
        return Node(change(each.x, target, to)) if kind is Node else each

    change(value, -1, None)
    target = draw(st.integers(0, len(leaves) - 1))
    leaves.clear()
    return value, change(value, target, draw(VALUES))


@MANY
@given(_relatives())
def test_one_change_anywhere_is_seen(pair: tuple[Any, Any]) -> None:
    assert (identity(pair[0]) == identity(pair[1])) == exactly(*pair)


@MANY
@given(st.lists(VALUES, max_size=5))
def test_any_list_is_known_by_its_elements(row: list[Any]) -> None:
    assert list_identity([identity(each) for each in row]) == identity(row)


@MANY
@given(VALUES)
def test_copies_are_the_same_value(value: Any) -> None:
    found = identify(value)
    assert identify(copy.deepcopy(value)) == found
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        assert identify(pickle.loads(pickle.dumps(value, protocol))) == found


@MANY
@given(st.lists(_HASHABLE, max_size=8), st.randoms(use_true_random=False))
def test_no_order_of_a_set_counts(members: list[Any], shuffle: Any) -> None:
    once = set(members)
    again = list(once)
    shuffle.shuffle(again)
    other = set(range(1000, 1064))  # another table size, other collisions
    other.clear()
    for each in again:
        other.add(each)
    assert identity(other) == identity(once)
    assert identity(frozenset(again)) == identity(frozenset(once)) != identity(once)


@settings(max_examples=100, deadline=None)
@given(
    st.integers(1, 6),
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=12),
    st.lists(st.integers(0, 2), min_size=6, max_size=6),
)
def test_any_graph_ends_and_agrees_with_its_copies(count: int, edges: list[tuple[int, int]], labels: list[int]) -> None:
    nodes: list[Any] = [[labels[k]] for k in range(count)]
    for start, end in edges:
        nodes[start % count].append(nodes[end % count])
    found = [identity(each) for each in nodes]
    assert [identity(each) for each in copy.deepcopy(nodes)] == found
    assert identity(nodes) == list_identity(found)
    # What has one identity unfolds alike, as deep as there are pairs to tell apart.
    unfolded = [_unfolded(each, count * 2) for each in nodes]
    assert not [(a, b) for a in range(count) for b in range(a) if found[a] == found[b] and unfolded[a] != unfolded[b]]


def _unfolded(value: Any, depth: int) -> int:
    """Number what a graph of lists unfolds to, as far as the depth: the same number for the same unfolding."""
    known: dict[tuple[int, int], Any] = {}

    def look(each: Any, left: int) -> int:
        key = id(each), left
        if key not in known:
            inner = tuple(("label", x) if isinstance(x, int) else ("node", look(x, left - 1) if left else 0) for x in each)
            known[key] = _NUMBERS.setdefault((left, inner), len(_NUMBERS))
        return known[key]

    return look(value, depth)


_NUMBERS: dict[Any, int] = {}


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_array_by_shape_dtype_and_content(data: Any) -> None:
    np = pytest.importorskip("numpy", reason="needs numpy, which is not installed")
    kind = data.draw(st.sampled_from(["i1", "i8", "f4", "f8", "c8", "?", "U2", "M8[s]", "O", ">i4"]))
    shape = data.draw(st.sampled_from([(), (0,), (1,), (6,), (2, 3), (3, 2), (6, 1), (1, 2, 3)]))
    seed = data.draw(st.integers(0, 2))
    array = np.asarray(np.random.default_rng(seed).integers(0, 2, shape)).astype(kind)
    found = identity(array)
    padded = np.empty((*(2 * length for length in shape), 2), kind)
    view = padded[(*(slice(None, None, 2) for _ in shape), 0, ...)]
    view[...] = array
    for other in (array.copy(), array.copy("F"), pickle.loads(pickle.dumps(array, 5)), view):
        assert identity(other) == found
    other = np.asarray(np.random.default_rng(data.draw(st.integers(0, 2))).integers(0, 2, shape)).astype(kind)
    assert (identity(other) == found) == (array.tolist() == other.tolist())
