"""Values as bytes: what comes back is the same value, shares nothing with the first, and bytes of others do no harm."""

# Most of what is made here is what type checkers are there to prevent.
# mypy: ignore-errors

from __future__ import annotations

import collections
import contextlib
import copyreg
import datetime as dt
import decimal
import enum
import fractions
import functools
import math
import mmap
import os
import pathlib
import pickle
import random
import struct
import subprocess
import sys
import textwrap
import tracemalloc
import typing
import uuid
import zoneinfo
from dataclasses import dataclass, field

import attrs
import pytest
from hypernodes import File
from hypernodes.cache import codecs
from hypernodes.cache.codecs import Payload, Undecodable, Unencodable, decode, encode
from hypernodes.cache.codecs._payload import joined, parted
from hypernodes.identity.values import identity
from hypothesis import given, settings
from hypothesis import strategies as st
from random_graphs import many

WHY = "needed for what is stored here"
np = pytest.importorskip("numpy", reason=WHY)
pd = pytest.importorskip("pandas", reason=WHY)
pa = pytest.importorskip("pyarrow", reason=WHY)
try:
    import scipy.sparse as sp
except ImportError:
    sp = None
try:
    import polars as pl
except ImportError:
    pl = None
needs_scipy = pytest.mark.skipif(sp is None, reason="SciPy is not installed here")


def back(value, *, trusted=True):
    payload = encode(value)
    return decode(payload.codec, payload.data, trusted=trusted)


# Classes of a user ------------------------------------------------------------------------------------------------------


class Colour(enum.Enum):
    RED = 1
    BLUE = (2, "b")


class Level(enum.IntEnum):
    LOW = 1


class Way(enum.Flag):
    IN = 1
    OUT = 2


class Point(typing.NamedTuple):
    x: int
    y: object


Pair = collections.namedtuple("Pair", "a b")  # noqa: PYI024 - both kinds


class Ran(Exception):
    """Code of a class ran."""


@dataclass
class Doc:
    text: str
    words: list = field(default_factory=list)
    hidden: int = field(default=0, init=False, repr=False)

    def __post_init__(self):
        self.extra = len(self.text)


@dataclass(frozen=True, slots=True)
class Frozen:
    name: str
    parts: tuple = ()


@dataclass
class Loud:
    armed: typing.ClassVar = False
    value: int = 0

    def __post_init__(self):
        if Loud.armed:
            raise Ran

    def __setattr__(self, name, value):
        if Loud.armed:
            raise Ran
        object.__setattr__(self, name, value)

    def __call__(self, *args):
        raise Ran

    def append(self, *args):
        raise Ran

    extend = add = update = __setitem__ = append


@attrs.define
class Slotted:
    a: int
    _private: object = None
    made: object = attrs.field(init=False, default=None)


@dataclass(slots=True)
class Late:
    a: int
    late: object = field(init=False)


@attrs.frozen
class Derived(Slotted):
    more: dict = attrs.Factory(dict)


@attrs.define(slots=False)
class Cached:
    n: int

    @functools.cached_property
    def double(self):
        return 2 * self.n


@attrs.define
class Outer:
    @attrs.define
    class Inner:
        x: object

    inner: object = None


@dataclass
class Tree:
    name: str
    children: list = field(default_factory=list)
    parent: object = None


@dataclass
class Says:
    x: int

    def __getstate__(self):
        return {"x": self.x + 1}


@dataclass
class Derives(dict):
    x: int = 0


class Undecorated(Doc):
    pass


class Words(list):
    pass


class Named(str):
    __slots__ = ("note",)


def _set(value, **attributes):
    for name, each in attributes.items():
        object.__setattr__(value, name, each)
    return value


# Every kind of value ----------------------------------------------------------------------------------------------------

_DAYS = pd.date_range("2020", periods=5, freq="D")
_RANDOM = np.random.default_rng(0)
_BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")
_RECORDS = np.rec.array([(1, 2.0), (3, 4.0)], dtype=[("a", "i4"), ("b", "f8")])

PLAIN = {
    "atoms": [
        None,
        True,
        1,
        -1,
        255,
        256,
        -(2**31),
        2**31,
        2**63,
        10**400,
        -(10**400),
        1.5,
        float("nan"),
        -0.0,
        math.inf,
        "",
        "é\0\ud800",
        b"",
    ],
    "an int": 5,
    "a text": "x" * 70_000,
    "bytes": b"\x93R.c" * 70_000,
    "containers": {"a": [1, (2, {3}), frozenset({4})], (1, 2): bytearray(b"x"), "e": [(), {}, [], set(), frozenset(), (1, 2, 3, 4)]},
    "one and true": [1, True, 1.0, 0, False],
    "many": [list(range(3_000)), [str(k) for k in range(3_000)], [(k, k / 7) for k in range(3_000)], dict.fromkeys(range(3000))],
    "constants": [..., NotImplemented, 1j, complex(float("nan"), -0.0)],
    "ranges": [range(3), range(10**30, 0, -7), slice(1, None, 2), slice("a", 1.5)],
    "times": [
        dt.datetime(2020, 10, 25, 2, 30, tzinfo=_BERLIN, fold=1),
        dt.datetime(2020, 1, 1, tzinfo=dt.UTC),
        dt.datetime(9999, 12, 31, 23, 59, 59, 999_999),  # noqa: DTZ001 - none is meant
        dt.time(3, 4, 5, 6, tzinfo=dt.timezone(dt.timedelta(hours=1), "x"), fold=1),
        dt.date(1, 1, 1),
        dt.timedelta(-1, 2, 3),
        dt.timezone(dt.timedelta(seconds=-1)),
        _BERLIN,
    ],
    "numbers": [decimal.Decimal(text) for text in ("1.50", "sNaN12", "-0", "1e999999999", "-Infinity")] + [fractions.Fraction(-3, 7)],
    "uuids": [uuid.UUID(int=7), uuid.uuid1()],
    "paths": [pathlib.Path("a/b"), pathlib.PureWindowsPath("c:\\x"), pathlib.PurePosixPath()],
    "collections": [
        collections.OrderedDict(b=1, a=2),
        collections.Counter("abca"),
        collections.defaultdict(list, a=[1]),
        collections.defaultdict(None, {1: 2}),
        collections.deque([1, [2]], 3),
        collections.deque(),
    ],
}
ARRAYS = {
    **{
        f"array of {kind}": np.zeros((2, 3), kind)
        for kind in "b1 ? i1 u2 >i4 f2 f4 >f8 c8 c16 S5 U7 >U3 V3 M8[ns] m8[25s] M8 g G S0 U0".split()
    },
    "random": _RANDOM.random((7, 5)),
    "nan": np.array([np.nan, -np.nan, -0.0]),
    "no dimensions": np.array(5.0),
    "empty": np.zeros((0, 3)),
    "empty by column": np.zeros((3, 0), order="F"),
    "by column": np.asfortranarray(_RANDOM.random((3, 4))),
    "a view": _RANDOM.random((6, 6))[::2, ::3],
    "backwards": np.arange(5)[::-1],
    "turned": _RANDOM.random((2, 3, 4)).transpose(1, 0, 2),
    "stretched": np.broadcast_to(np.arange(3), (4, 3)),
    "read-only": np.frombuffer(b"12345678"),
    "fields": np.zeros(3, [("a", "i4"), ("b", "U3"), ("c", "f8", (2, 2)), ("d", [("x", "i1"), ("y", ">f4")])]),
    "aligned": np.zeros(3, np.dtype([("a", "i1"), ("b", "f8")], align=True)),
    "titles": np.zeros(
        3, np.dtype({"names": ["a", "b"], "formats": ["i4", "f8"], "titles": ["T", None], "offsets": [4, 16], "itemsize": 32})
    ),
    "noted": np.zeros(3, np.dtype("f8", metadata={"unit": "m"})),
    "records": _RECORDS,
    "masked": np.ma.masked_array([1.0, 2.0, 3.0], [0, 1, 0], fill_value=9),
    "masks nothing": np.ma.masked_array([1, 2]),
    "hard mask": np.ma.masked_array(np.zeros((2, 2)), [[0, 1], [1, 0]], hard_mask=True),
    "masked fields": np.ma.masked_array(np.zeros(2, [("a", "i4"), ("b", "f8")]), mask=[(1, 0), (0, 1)]),
    "texts": np.array([["a", "b" * 50]], np.dtypes.StringDType()),
    "texts missing": np.array(["a", np.nan], np.dtypes.StringDType(na_object=np.nan)),
    "objects": np.array([["a", None], [1, (2,)]], object),
    "one object": np.array(None, object),
    "float64": np.float64(1.5),
    "int8": np.int8(3),
    "bool": np.bool_(True),  # the type is meant
    "str": np.str_("a\0"),
    "bytes": np.bytes_(b"a\0"),
    "datetime64": np.datetime64("2020-01-01"),
    "timedelta64": np.timedelta64(3, "25s"),
    "void": np.void(b"abc"),
    "longdouble": np.longdouble(1) / 3,
    "complex64": np.complex64(1j),
    "record": _RECORDS[0],
    "row": np.zeros(1, [("a", "i4")])[0],
    "dtype": np.dtype([("a", ">i4"), ("b", "U2")]),
}


def _sparse():
    if sp is None:
        return {}
    long = sp.csr_array(np.eye(3))
    long.indices, long.indptr = long.indices.astype("i8"), long.indptr.astype("i8")
    return {
        "csr": sp.random(5, 6, 0.3, "csr", rng=0),
        "csr empty": sp.csr_matrix((3, 4)),
        "csr long": long,
        "csc": sp.csc_array(np.eye(3)),
        "coo": sp.coo_array(np.eye(3)),
        "coo of one": sp.coo_array(np.ones(3)),
        "coo of three": sp.coo_array(np.ones((2, 3, 4))),
        "coo matrix": sp.coo_matrix(np.eye(2, dtype="f4")),
        "bsr": sp.bsr_array(np.eye(4), blocksize=(2, 2)),
        "dia": sp.dia_array(np.eye(3)),
        "dia empty": sp.dia_matrix((3, 4)),
    }


SPARSE = _sparse()
ARROW = {
    "table": pa.table(
        {
            "a": [1, None, 3],
            "s": ["x", None, "z"],
            "l": [[1], [], None],
            "d": pa.array(["a", "b", "a"]).dictionary_encode(),
            "st": [{"x": 1}, None, {"x": 3}],
            "dec": pa.array([decimal.Decimal("1.2")] * 3),
            "ts": pa.array([dt.datetime(2020, 1, 1)] * 3, pa.timestamp("us", "UTC")),  # noqa: DTZ001 - given the zone by its type
        }
    ),
    "no columns": pa.table({}),
    "a slice": pa.table({"a": list(range(100))})[10:20],
    "metadata": pa.table({"a": [1]}).replace_schema_metadata({"k": "v"}),
    "chunks": pa.chunked_array([[1, 2], [3]]),
    "no chunks": pa.chunked_array([], pa.int8()),
    "dictionaries": pa.chunked_array([pa.array(["a"]).dictionary_encode(), pa.array(["b"]).dictionary_encode()]),
    "array": pa.array([1, None, 3]),
    "empty": pa.array([], pa.string()),
    "sliced texts": pa.array(["a", "b", "c"])[1:],
    "views": pa.array(["a", "b" * 40], pa.string_view()),
    "union": pa.UnionArray.from_sparse(pa.array([0, 1], pa.int8()), [pa.array([1, 2]), pa.array(["a", "b"])]),
    "nulls": pa.nulls(3),
    "bools": pa.array([True, None]),
    "batch": pa.record_batch({"a": [1, 2]}),
    "empty batch": pa.record_batch({"a": pa.array([], pa.int8())}),
}


def _polars():
    if pl is None:
        return {}
    return {
        "Polars": pl.DataFrame({"a": [1, None], "s": ["x", "y"], "l": [[1], [2, 3]], "st": [{"x": 1}, {"x": 2}]}),
        "Polars series": pl.Series("n", [1.5, None]),
        "Polars enum": pl.DataFrame({"c": pl.Series(["a", "b"], dtype=pl.Enum(["b", "a"]))}),
        "Polars decimals": pl.Series("d", [decimal.Decimal("1.20")]),
        "Polars times": pl.DataFrame(
            {"t": [dt.datetime(2020, 1, 1)], "d": [dt.date(2020, 1, 1)], "du": [dt.timedelta(1)], "ti": [dt.time(1)]}  # noqa: DTZ001 - none is meant
        ).with_columns(z=pl.col("t").dt.replace_time_zone("Europe/Berlin")),
        "Polars arrays": pl.Series("x", [[1, 2]], dtype=pl.Array(pl.Int8, 2)),
        "Polars nulls": pl.Series("x", [None]),
        "Polars empty": pl.DataFrame(schema={"a": pl.Int8}),
        "Polars bytes": pl.Series("b", [b"x"]),
    }


ARROW |= _polars()
_noted = pd.DataFrame({"x": [1]})
_noted.attrs["k"] = [1]
PANDAS = {
    "frame": pd.DataFrame(
        {
            "i": [1, 2],
            "x": [1.5, np.nan],
            "s": ["a", None],
            "b": [True, False],
            "o": pd.Series([1, "x"], dtype=object),
            "t": pd.to_datetime(["2020", "2021"]),
            "z": pd.to_datetime(["2020", "2021"]).tz_localize("Europe/Berlin"),
            "td": pd.to_timedelta([1, 2], "s"),
            "c": pd.Categorical(["a", "b"], ordered=True),
            "I": pd.array([1, None], "Int64"),
            "F": pd.array([1.0, None], "Float32"),
            "B": pd.array([True, None], "boolean"),
            "S": pd.array(["a", None], "string"),
            "sp": pd.array(["a", None], pd.StringDtype("python")),
            "pe": pd.period_range("2020", periods=2, freq="M"),
            "iv": pd.interval_range(0, 2),
            "ti": pd.arrays.IntervalArray.from_breaks(_DAYS[:3]),
            "ar": pd.array([1, None], pd.ArrowDtype(pa.int32())),
            "as": pd.array(["x", None], pd.ArrowDtype(pa.string())),
        }
    ),
    "empty": pd.DataFrame(),
    "no rows": pd.DataFrame({"a": pd.Series([], dtype="i4"), "b": pd.Series([], dtype="f4")}),
    "no columns": pd.DataFrame(index=[1, 2]),
    "one type": pd.DataFrame(_RANDOM.random((4, 3)), columns=list("abc"), index=_DAYS[:4]),
    "numbered": pd.DataFrame({0: [1], 1: ["x"]}),
    "labels twice": pd.DataFrame([[1, "x"]], columns=["a", "a"]),
    "levels": pd.DataFrame({"x": [1, 2]}, index=pd.MultiIndex.from_tuples([("a", 1), ("b", np.nan)], names=["k", None])),
    "column levels": pd.DataFrame([[1, 2.0]], columns=pd.MultiIndex.from_tuples([("a", 1), ("b", 2)])),
    "attrs": _noted,
    "flags": pd.DataFrame({"x": [1]}).set_flags(allows_duplicate_labels=False),
    "a part": pd.DataFrame({"a": range(5), "b": range(5)}).iloc[::2, ::-1],
    "objects": pd.DataFrame({"d": [dt.date(2020, 1, 1), None], "l": [[1], {"a": 2}]}),
    "arrays inside": pd.DataFrame({"a": [np.arange(3), np.arange(2)]}),
    "series": pd.Series([1, 2, 3], name="n", index=list("abc")),
    "named by a tuple": pd.Series([1.0], name=("a", 1)),
    "category": pd.Series(["a", None], dtype="category"),
    "missing": pd.Series(["a", None, np.nan, pd.NA, pd.NaT], dtype=object),
    "texts": pd.Series(["a", None]),
    "seconds": pd.DataFrame({"t": np.array(["2020"], "M8[s]"), "x": [1]}),
    "microseconds": pd.Series(pd.to_datetime(["2020"]).as_unit("us").tz_localize("UTC")),
    "range index": pd.RangeIndex(2, 9, 3, name="r"),
    "index": pd.Index([1, 2]),
    "index of texts": pd.Index(["a", "b"]),
    "index of objects": pd.Index(["a", "b"], dtype=object),
    "index of tuples": pd.Index([("a", 1), ("b", 2)], tupleize_cols=False),
    "index of categories": pd.CategoricalIndex(["a", "b"]),
    "index of intervals": pd.interval_range(0, 3),
    "index of periods": pd.period_range("2020", periods=3, freq="D"),
    "index of spans": pd.timedelta_range("1s", periods=3),
    "days": _DAYS,
    "days in UTC": _DAYS.tz_localize("UTC"),
    "hours in Berlin": pd.date_range("2020-10-24", periods=50, tz="Europe/Berlin", freq="h"),
    "days in seconds": _DAYS.as_unit("s"),
    "business days": pd.bdate_range("2020", periods=3),
    "masked index": pd.Index([1, None], dtype="Int64"),
    "bools": pd.Index([True, False]),
    "array": pd.array([1, 2]),
    "timestamp": pd.Timestamp("2020"),
    "timestamp in Berlin": pd.Timestamp("2020-10-25 00:30", tz="UTC").tz_convert("Europe/Berlin").as_unit("s"),
    "timedelta": pd.Timedelta("1s"),
    "NaT": pd.NaT,
    "NA": pd.NA,
}
RECORDS = {
    "dataclass": Doc("a b", ["a", "b"]),
    "frozen": Frozen("n", (1, Frozen("m"))),
    "loud": Loud(3),
    "attrs": Slotted(1, {"p": [2]}),
    "not made by init": _set(Slotted(1), made=(3,)),
    "assigned later": _set(Late(1), late=2),
    "derived": Derived(1, 2, {"x": 3}),
    "a cached property": _set(Cached(2), double=5),
    "nested class": Outer(Outer.Inner([1])),
    "more attributes": _set(Doc("x"), note="n"),
    "enum": Colour.BLUE,
    "int enum": Level.LOW,
    "flag": Way.IN,
    "named tuple": Point(1, [2]),
    "old named tuple": Pair(Pair(1, 2), ()),
    "a list of them": [Doc(str(k)) for k in range(200)] + [Colour.RED] * 3,
    "as keys": {Frozen("a"): {Frozen("b")}, Colour.RED: Point(1, 2), Level.LOW: None},
    "arrays inside": {"x": np.arange(4.0), "doc": Doc("t", [np.float64(1), pd.DataFrame({"a": [1]})]), "m": [*SPARSE.values()]},
    "file": File("somewhere.txt"),
}
ALL = {
    f"{codec}: {name}": (codec, value)
    for codec, table in (("data", PLAIN), ("array", ARRAYS), ("sparse", SPARSE), ("arrow", ARROW), ("pandas", PANDAS), ("record", RECORDS))
    for name, value in table.items()
}


@pytest.mark.parametrize("name", ALL)
def test_comes_back_as_it_was(name):
    codec, value = ALL[name]
    payload = encode(value)
    assert payload.codec == codec
    assert type(payload.data) is bytes
    for trusted in (True, False):
        for data in (payload.data, memoryview(payload.data), memoryview(bytearray(payload.data))):
            found = decode(codec, data, trusted=trusted)
            assert type(found) is type(value)
            if name != "record: file":  # what counts is in it, and there is none
                assert identity(found) == identity(value)


@pytest.mark.parametrize("name", [name for name, (codec, _) in ALL.items() if codec != "data"])
def test_comes_back_from_inside_containers(name):
    value = ALL[name][1]
    found = back([{"k": (value, 1)}, value], trusted=False)
    assert type(found[1]) is type(value)
    assert found[0]["k"][0] is found[1]
    if name != "record: file":
        assert identity(found[1]) == identity(value)


def _local():
    @dataclass
    class Local:
        x: int

    return Local(1)


PICKLED = {
    "a list of its own": Words([1]),
    "a text of its own": Named("x"),
    "a local class": _local(),
    "a class with its own state": Says(1),
    "a dataclass that is a dict": Derives(2),
    "a class that only derives": Undecorated("x"),
    "several flags": Way.IN | Way.OUT,
    "a class": Doc,
    "a builtin class": [int],
    "a function": len,
    "a lambda": lambda x: x,
    "nested slices": slice(slice(1)),
    "nested deques": collections.deque([collections.deque()]),
    "attributes on a Counter": _set(collections.Counter("a"), note=1),
    "a defaultdict of the user's": collections.defaultdict(_local),
    "an object that is no data inside": [1, {"x": Doc(Words())}],
    "cells of Python in an array in an array": np.array([np.array([None, 1], object), 2], object),
    "memory-mapped": np.zeros(3).view(type("Mine", (np.ndarray,), {})),
    "a sparse column": pd.DataFrame({"s": pd.arrays.SparseArray([0, 0, 1])}),
    "extension": pa.array([b"0" * 16], pa.uuid()),
}
if sp is not None:
    PICKLED["dictionary of keys"] = sp.dok_array(np.eye(2))
if pl is not None:
    PICKLED["Polars categories"] = pl.Series(["a"], dtype=pl.Categorical)


@pytest.mark.parametrize("name", PICKLED)
def test_what_is_not_data_is_pickled(name):
    payload = encode(PICKLED[name])
    assert payload.codec == "pickle"
    assert type(decode("pickle", payload.data)) is not Payload
    with pytest.raises(Undecodable):
        decode("pickle", payload.data, trusted=False)


def test_subclasses_of_builtins_keep_their_type():
    for value in (Words([1]), Named("x"), Level.LOW, np.float64(1), Point(1, 2), collections.Counter("a"), True, Derives(2)):
        assert type(back(value)) is type(value)
        assert type(back([value])[0]) is type(value)


def test_what_cannot_be_pickled_is_said():
    with pytest.raises(Unencodable, match="generator"):
        encode(x for x in [])
    nested = []
    for _ in range(100_000):
        nested = [nested]
    with pytest.raises(Unencodable, match="recursion"):
        encode(nested)
    while nested:  # or destroying it is left to whatever comes next
        nested = nested[0]


def test_an_unknown_codec_is_said():
    with pytest.raises(Undecodable, match="'zip'"):
        decode("zip", b"")


# Any value --------------------------------------------------------------------------------------------------------------

_leaves = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.complex_numbers() | st.datetimes() | st.dates()
    | st.times() | st.timedeltas() | st.decimals() | st.fractions() | st.uuids() | st.sampled_from(Colour) | st.sampled_from(Level)
    | st.builds(np.float64, st.floats()) | st.builds(np.int32, st.integers(-9, 9)) | st.lists(st.floats(), max_size=3).map(np.array)
    | st.lists(st.integers(-99, 99)).map(pd.Series) | st.binary().map(bytearray) | st.just(...)
    | st.datetimes(timezones=st.just(_BERLIN))
)  # fmt: skip
_keys = st.none() | st.booleans() | st.integers() | st.text() | st.tuples(st.integers(), st.text()) | st.builds(Frozen, st.text())
_values = st.recursive(
    _leaves,
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.lists(inner, max_size=5).map(tuple)
        | st.dictionaries(_keys, inner, max_size=5)
        | st.dictionaries(_keys, inner, max_size=5).map(collections.OrderedDict)
        | st.sets(_keys)
        | st.frozensets(_keys)
        | st.lists(inner, max_size=3).map(collections.deque)
        | st.builds(Doc, st.text(), st.lists(inner, max_size=3))
        | st.builds(Slotted, st.integers(), inner)
        | st.builds(Point, st.integers(), inner)
        | st.builds(Words, st.lists(inner, max_size=3))
    ),
    max_leaves=15,
)


@given(_values)
@settings(deadline=None, max_examples=300)
def test_any_value_comes_back(value):
    payload = encode(value)
    found = decode(payload.codec, payload.data)
    assert type(found) is type(value)
    assert identity(found) == identity(value)
    assert not _mutable_parts(found) & _mutable_parts(value)
    if payload.codec != "pickle":
        assert identity(decode(payload.codec, payload.data, trusted=False)) == identity(value)
        assert encode(found).codec == payload.codec


def _mutable_parts(value):
    """Return the ids of everything inside a value that can be changed."""
    found, waiting = {}, [value]
    while waiting:
        each = waiting.pop()
        if id(each) in found:
            continue
        if isinstance(each, (list, tuple, set, frozenset, collections.deque)):
            waiting += list(each)
        elif isinstance(each, dict):
            waiting += [*each.keys(), *each.values()]
        elif isinstance(each, Doc):
            waiting += list(vars(each).values())
        elif isinstance(each, Slotted):
            waiting += [each.a, each._private]  # noqa: SLF001 - ours
        if isinstance(each, (list, dict, set, bytearray, collections.deque, np.ndarray, pd.Series, Doc, Slotted)):
            found[id(each)] = each
    return set(found)


# What is shared inside --------------------------------------------------------------------------------------------------


def test_what_is_shared_inside_is_shared_again():
    part, array, doc = [1], np.arange(3), Doc("x")
    first, second, docs = back([[part, part], [array, array], [doc, doc]])
    assert first[0] is first[1]
    assert second[0] is second[1]
    assert docs[0] is docs[1]


@pytest.mark.parametrize("trusted", [True, False])
def test_circles(trusted):
    loop = [1]
    loop.append(loop)
    found = back(loop, trusted=trusted)
    assert found[1] is found
    through = ([],)
    through[0].append(through)
    found = back(through, trusted=trusted)
    assert found[0][0] is found
    root = Tree("root")
    root.children = [Tree("child", parent=root), Slotted(1, root)]
    found = back(root, trusted=trusted)
    assert found.children[0].parent is found
    assert found.children[1]._private is found  # noqa: SLF001 - ours
    ring = collections.OrderedDict()
    ring["self"] = ring
    found = back(ring, trusted=trusted)
    assert found["self"] is found


# Memory -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name, value in ARRAYS.items() if isinstance(value, np.ndarray)])
def test_arrays_can_be_written_to_and_are_nobody_elses(name):
    value = ARRAYS[name]
    payload = encode(value)
    before = identity(value)
    first, second = decode("array", payload.data), decode("array", payload.data)
    assert first.flags.writeable
    assert not np.shares_memory(first, second)
    assert not np.shares_memory(first, value)
    if first.size and first.dtype.itemsize and not first.dtype.hasobject:
        memory = np.asarray(first)
        (memory.T if memory.flags.f_contiguous else memory).reshape(-1).view("u1")[:] = 1
    assert identity(decode("array", payload.data)) == identity(second) == identity(value) == before


def test_writing_to_one_reading_does_not_show_in_another():
    value = {"x": np.zeros(1000), "f": pd.DataFrame({"a": [1.0, 2.0], "b": [3.0, 4.0]}), "m": np.ma.masked_array([1.0, 2.0], [0, 1])}
    payload = encode(value)
    first, second = (decode(payload.codec, payload.data) for _ in range(2))
    first["x"][:] = 1
    first["f"].loc[:, "a"] = 9.0
    first["m"][:] = 7
    assert identity(second) == identity(value) == identity(decode(payload.codec, payload.data))


def test_memory_order_stays():
    assert back(np.asfortranarray(np.eye(3))).flags.f_contiguous
    assert back(np.eye(3)).flags.c_contiguous


def test_the_data_of_arrays_begin_at_multiples_of_64():
    value = [np.arange(k, dtype="u1") for k in range(1, 70)]
    payload = encode(value)
    stream, buffers = parted(payload.data)
    assert [bytes(each) for each in buffers] == [each.tobytes() for each in value]
    whole = np.frombuffer(payload.data, "u1")
    starts = [np.frombuffer(each, "u1").__array_interface__["data"][0] - whole.__array_interface__["data"][0] for each in buffers]
    assert all(start % 64 == 0 for start in starts)
    assert starts == sorted(starts)
    assert joined(stream, buffers) == payload.data


@pytest.mark.parametrize("value", [np.arange(100_000.0), [np.arange(10), {"k": np.asfortranarray(np.eye(50))}]], ids=["array", "nested"])
def test_mapped_memory_is_used_as_it_is(tmp_path, value):
    payload = encode(value)
    path = tmp_path / "payload"
    path.write_bytes(payload.data)
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        fixed = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    found = decode(payload.codec, mapped)
    array = found if isinstance(found, np.ndarray) else found[0]
    assert np.shares_memory(array, np.frombuffer(mapped, "u1"))
    assert array.flags.writeable
    assert identity(found) == identity(value)
    array[:] = 5
    assert path.read_bytes() == payload.data
    copied = decode(payload.codec, fixed)
    assert identity(copied) == identity(value)
    array = copied if isinstance(copied, np.ndarray) else copied[0]
    assert array.flags.writeable
    assert not np.shares_memory(array, np.frombuffer(fixed, "u1"))


# Objects of the user's classes ------------------------------------------------------------------------------------------


def test_no_code_of_a_class_runs():
    payload = encode(Loud(3))
    Loud.armed = True
    try:
        assert decode(payload.codec, payload.data).value == 3
    finally:
        Loud.armed = False


def test_what_was_not_assigned_is_not_assigned():
    found = back([Late(1)])[0]
    assert found.a == 1
    with pytest.raises(AttributeError):
        found.late


_MODULE = """
    import dataclasses, pathlib

    pathlib.Path(__file__).with_name("imported").touch()

    @dataclasses.dataclass
    class Thing:
        x: int

    class Plain:
        pass
"""


def test_only_who_is_trusted_has_modules_imported(tmp_path, monkeypatch):
    (tmp_path / "things_of_a_user.py").write_text(textwrap.dedent(_MODULE))
    monkeypatch.syspath_prepend(tmp_path)
    import things_of_a_user

    payload = encode([things_of_a_user.Thing(1)])
    assert payload.codec == "record"
    assert encode(things_of_a_user.Plain()).codec == "pickle"
    assert decode("record", payload.data, trusted=False)[0].x == 1
    del sys.modules["things_of_a_user"]
    (tmp_path / "imported").unlink()
    with pytest.raises(Undecodable, match="things_of_a_user:Thing"):
        decode("record", payload.data, trusted=False)
    assert not (tmp_path / "imported").exists()
    assert decode("record", payload.data)[0].x == 1
    assert (tmp_path / "imported").exists()
    del sys.modules["things_of_a_user"]
    (tmp_path / "things_of_a_user.py").write_text("Thing = int")
    with pytest.raises(Undecodable):
        decode("record", payload.data)
    sys.modules.pop("things_of_a_user", None)


def _naming(place):
    """Return a payload with an object of a class that was not asked."""
    payload = encode(Doc("x"))
    stream, buffers = parted(payload.data)
    module, name = Doc.__module__.encode(), b"Doc"
    parts = [b"\x8c" + bytes([len(each)]) + each for each in (module, name)]
    others = [b"\x8c" + bytes([len(each)]) + each for each in (each.encode() for each in place)]
    assert all(each in stream for each in parts)
    for old, new in zip(parts, others, strict=True):
        stream = stream.replace(old, new)
    length = stream.find(b"\x95")  # the frame is another length now
    assert length == 2
    return joined(stream[:3] + struct.pack("<Q", len(stream) - 11) + stream[11:], buffers)


@pytest.mark.parametrize("trusted", [True, False])
@pytest.mark.parametrize(
    "place",
    [
        ("os", "system"), ("os", "_Environ"), ("builtins", "object"), ("builtins", "dict"), ("subprocess", "Popen"),
        ("threading", "Thread"), (__name__, "Says"), (__name__, "Words"), (__name__, "Colour"), (__name__, "Doc.__init__"),
        (__name__, "sys.modules"), (__name__, "nothing"), (__name__, "Doc.__class__"), ("os.path", "os.system"), ("no.such.module", "X"),
        ("", ""), (__name__, ""),
    ],
)  # fmt: skip
def test_nothing_but_dataclasses_and_attrs_classes_is_made(place, trusted):
    assert decode("record", _naming((__name__, "Doc")), trusted=trusted) == Doc("x")
    with pytest.raises(Undecodable):
        decode("record", _naming(place), trusted=trusted)


# Attacks ----------------------------------------------------------------------------------------------------------------

_MAKERS = "hypernodes.cache.codecs"


def _text(value):
    data = value.encode()
    return b"\x8c" + bytes([len(data)]) + data


def _named(module, name):
    return _text(module) + _text(name) + b"\x93"


class _Evil:
    def __init__(self, *reduced):
        self.reduced = reduced

    def __reduce__(self):
        return self.reduced


def _attacks(path):
    command = f"echo x > {path}"
    code = f"open({str(path)!r}, 'w').close()"
    start = b"\x80\x05"
    every = [pickle.dumps(_Evil(os.system, (command,)), protocol) for protocol in range(6)]
    ok = _named(f"{_MAKERS}._plain", "counter")
    yield from ((f"os.system, protocol {k}", data) for k, data in enumerate(every))
    yield "os.system in a list", pickle.dumps([1, {"a": _Evil(os.system, (command,))}], 5)
    yield "eval", pickle.dumps(_Evil(eval, (code,)), 5)
    yield "exec", pickle.dumps(_Evil(exec, (code,)), 5)
    yield "type", pickle.dumps(_Evil(type, ("T", (), {})), 5)
    yield "type of three", start + _named("builtins", "type") + _text("T") + b")}\x87R."
    yield "getattr", start + _named("builtins", "getattr") + b")R."
    yield "getattr of a name", start + _named("builtins", "getattr") + _named("os", "path") + _text("os") + b"\x86R."
    yield "GLOBAL", b"\x80\x05cos\nsystem\n(" + _text(command) + b"tR."
    yield "INST", b"\x80\x05(" + _text(command) + b"ios\nsystem\n."
    yield "OBJ", b"\x80\x05(cos\nsystem\n" + _text(command) + b"o."
    yield "NEWOBJ", start + _named("builtins", "object") + b")\x81."
    yield "NEWOBJ of a maker", start + ok + b")\x81."
    yield "NEWOBJ_EX", start + _named("builtins", "object") + b")}\x92."
    yield "a dotted name", start + _named("hypernodes.cache.codecs._plain", "decimal.Decimal") + _text("1") + b"\x85R."
    yield "a dotted name of globals", start + _named("hypernodes.cache.codecs._plain", "date.__globals__") + b"."
    yield "a name of ours that is no maker", start + _named("hypernodes.cache.codecs._stream", "written") + b"N\x85R."
    yield "a module of ours", start + _named("hypernodes.cache.codecs", "pickle.loads") + b"C\x00\x85R."
    for k, opcode in enumerate((b"\x82\x07", b"\x83\x07\x00", b"\x84\x07\x00\x00\x00")):
        yield f"EXT{2**k}", start + opcode + _text(command) + b"\x85R."
    yield "persistent id", b"\x80\x05Pid\n."
    yield "binary persistent id", b"\x80\x05" + _text("id") + b"Q."
    yield "BUILD on a maker", start + ok + b"}" + _text("a") + b"K\x01sb."
    yield "BUILD on a Counter", start + ok + b")R}" + _text("a") + b"K\x01sb."
    yield "BUILD of slots", start + _named("uuid", "UUID") + b"N}" + _text("__init__") + b"K\x01s\x86b."
    yield "BUILD on a list", start + b"]}b."
    yield "room by LONG_BINPUT", start + b"Nr\xff\xff\xff\x7f."
    yield "room by PUT", start + b"Np2000000000\n."
    yield "room by BINBYTES8", start + b"\x8e" + struct.pack("<Q", 2**40) + b"x."
    yield "room by BYTEARRAY8", start + b"\x96" + struct.pack("<Q", 2**40) + b"x."
    yield "room by BINUNICODE8", start + b"\x8d" + struct.pack("<Q", 2**62) + b"x."
    yield "room by LONG4", start + b"\x8b" + struct.pack("<i", 2**31 - 1) + b"x."
    yield "room by LONG4 below zero", start + b"\x8b" + struct.pack("<i", -5) + b"x."
    yield "room by FRAME", start + b"\x95" + struct.pack("<Q", 2**60) + b"N."
    yield "NEXT_BUFFER", start + b"\x97."
    yield "bytearray of a size", start + _named("builtins", "bytearray") + b"\x8a\x06" + (10**12).to_bytes(6, "little") + b"\x85R."
    yield "set of a range", start + _named("builtins", "set") + _named("builtins", "range") + b"J\xff\xff\xff\x7f\x85R\x85R."
    yield "calls a number", start + b"K\x01)R."
    yield "calls a text", start + _text("x") + b")R."
    yield "calls a list", start + b"])R."
    yield "calls a Counter", start + ok + b")R)R."
    yield "arguments that are none", start + ok + b"K\x01R."
    yield "nothing", b""
    yield "only a beginning", b"\x80\x05"
    yield "another protocol", b"\x80\x04N."
    yield "no protocol", b"N."
    yield "more after the end", b"\x80\x05N.N."
    yield "two ends", b"\x80\x05N.."
    yield "an empty stack", b"\x80\x05."
    yield "nothing to pop", b"\x80\x050."
    yield "nothing remembered", b"\x80\x05h\x00."
    yield "nothing to remember", b"\x80\x05\x94."
    yield "a mark", b"\x80\x05(."
    yield "no mark", b"\x80\x05Nt."
    yield "appends to nothing", b"\x80\x05Na."
    yield "appends to a number", b"\x80\x05K\x01Na."
    yield "appends to a tuple", b"\x80\x05)(Ne."
    yield "adds to a frozenset", b"\x80\x05(\x91(N\x90."
    yield "an odd row for a dict", b"\x80\x05}(Nu."
    yield "a list as a key", b"\x80\x05}]Ns."
    yield "a text that is none", b"\x80\x05\x8c\x01\xff."


def _all_attacks():
    names = [name for name, _ in _attacks("x")]
    assert len(set(names)) == len(names)
    return names


@pytest.mark.parametrize("name", _all_attacks())
def test_attacks(name, tmp_path):
    canary = tmp_path / "canary"
    copyreg.add_extension("os", "system", 7)
    copyreg._extension_cache[7] = os.system  # noqa: SLF001 - as after somebody else unpickled it
    try:
        stream = dict(_attacks(canary))[name]
        for trusted in (True, False):
            for codec, data in (("data", stream), ("record", joined(stream, [])), ("array", joined(stream, [b"x" * 64]))):
                with pytest.raises(Undecodable):
                    decode(codec, data, trusted=trusted)
                with pytest.raises(Undecodable):
                    decode(codec, memoryview(data), trusted=trusted)
    finally:
        copyreg.remove_extension("os", "system", 7)
        copyreg._extension_cache.pop(7, None)  # noqa: SLF001 - as above
    assert not canary.exists()


def _calls(module, name, *arguments, buffers=(), data=b""):
    """Return a payload that calls a maker."""
    row = pickle.dumps(arguments, 5)
    row = row[11:-1] if row[2:3] == b"\x95" else row[2:-1]
    return joined(b"\x80\x05" + _named(f"{_MAKERS}.{module}", name) + row + b"R.", buffers)


LIES = {
    "a dtype of objects": _calls("_arrays", "array", "|O8", (1,), False, 0, buffers=[bytes(8)]),
    "a dtype of objects in a record": _calls(
        "_arrays", "array", ("record", [("a", "|O", 0)], 8, False, False), (1,), False, 0, buffers=[bytes(8)]
    ),
    "an array larger than its memory": _calls("_arrays", "array", "<f8", (10**9,), False, 0, buffers=[bytes(8)]),
    "an array that wraps around": _calls("_arrays", "array", "<f8", (2**61,), False, 0, buffers=[b""]),
    "an array below zero": _calls("_arrays", "array", "<f8", (-1, -1), False, 0, buffers=[bytes(8)]),
    "memory that is not there": _calls("_arrays", "array", "<f8", (1,), False, 1, buffers=[bytes(8)]),
    "memory from the end": _calls("_arrays", "array", "<f8", (1,), False, -1, buffers=[bytes(8)]),
    "many dtypes": _calls("_arrays", "dtype", "f8," * 1000),
    "too few objects": _calls("_arrays", "objects", (10**9,), [1]),
    "a fraction of a text": _calls("_plain", "fraction", "1e999999999", 1),
    "a slice of slices": _calls("_plain", "slice_of", [1], None, None),
    "a date of bytes": _calls("_plain", "date", b"\x07\xe4\x01\x01"),
    "a year of 0": _calls("_plain", "date", 0, 1, 1),
    "a zone that is a path": _calls("_plain", "zone", "../../../etc/passwd"),
    "a factory of anything": _calls("_plain", "defaulting", "eval"),
    "a path of anything": _calls("_plain", "path", "eval", "1"),
    "another module of SciPy": _calls("_matrices", "sparse", "linalg", (1, 1)),
    "a frame of one number": _calls("_pandas", "block", range(3), range(10**12), 5, {}, True),
    "an enum of no such name": _calls("_records", "member", (__name__, "Colour"), "__class__"),
    "an enum that is none": _calls("_records", "member", (__name__, "Doc"), "text"),
    "a record that is an enum": _calls("_records", "record", (__name__, "Colour")),
    "a tuple that is none": _calls("_records", "named_tuple", (__name__, "Doc"), (1,)),
    "a state for something else": _calls("_records", "fill", [1], ({"a": 1}, None)),
    "a state for a Counter": joined(
        b"\x80\x05"
        + _named(f"{_MAKERS}._records", "fill")
        + _named(f"{_MAKERS}._plain", "counter")
        + b")R}"
        + _text("a")
        + b"K\x01sN\x86\x86R.",
        [],
    ),
    "Arrow of nothing": _calls("_arrow", "arrow", "table", 0, buffers=[b"\xff" * 100]),
    "Polars of nothing": _calls("_polars", "polars", False, 0, buffers=[b"\xff" * 100]),
}


@pytest.mark.parametrize("name", LIES)
def test_makers_believe_nothing(name):
    with contextlib.suppress(Undecodable):
        decode("record", LIES[name])  # whatever it imports is there from here on
    tracemalloc.start()
    try:
        for trusted in (True, False):
            with pytest.raises(Undecodable):
                decode("record", LIES[name], trusted=trusted)
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


@needs_scipy
def test_indices_that_lead_out_of_a_matrix_are_refused():
    for matrix, part in ((sp.csr_array(np.eye(3)), "indices"), (sp.csc_array(np.eye(3)), "indptr"), (sp.coo_array(np.eye(3)), "row")):
        getattr(matrix, part)[1] = 2**30
        payload = encode(matrix)
        assert payload.codec == "sparse"
        with pytest.raises(Undecodable):
            decode("sparse", payload.data, trusted=False)


def test_offsets_that_lead_out_of_a_column_are_refused():
    stream, (buffer,) = parted(encode(pa.table({"s": ["a" * 37, "b" * 41]})).data)
    broken = bytes(buffer).replace(struct.pack("<3i", 0, 37, 78), struct.pack("<3i", 0, 2**30, 78))
    assert broken != bytes(buffer)
    assert decode("arrow", joined(stream, [broken])).num_rows == 2  # nobody looked
    with pytest.raises(Undecodable):
        decode("arrow", joined(stream, [broken]), trusted=False)


@pytest.mark.parametrize(
    ("method", "stream"),
    [
        ("__call__", b"%s)R."),
        ("append", b"%sNa."),
        ("extend", b"%s(NNe."),
        ("__setitem__", b"%sNNs."),
        ("update", b"%s(NNu."),
        ("add", b"%s(NN\x90."),
    ],
)
def test_strangers_get_no_method_of_an_object_called(method, stream):
    made = _named(f"{_MAKERS}._records", "record") + _text(__name__) + _text("Loud") + b"\x86\x85R"
    assert type(decode("record", joined(b"\x80\x05" + made + b".", []), trusted=False)) is Loud
    with pytest.raises(Undecodable) as info:
        decode("record", joined(b"\x80\x05" + stream % made, []), trusted=False)
    assert "Ran" not in str(info.value)


_DEEP = """
    import sys
    from hypernodes.cache.codecs import decode, Undecodable, encode
    from hypernodes.cache.codecs._payload import joined

    def named(name):
        parts = b"hypernodes.cache.codecs._plain", name
        return b"".join(b"\\x8c" + bytes([len(part)]) + part for part in parts) + b"\\x93"

    n = 300_000
    streams = {
        "tuples as a key": b"\\x80\\x05})" + b"\\x85" * n + b"Ns.",
        "tuples in a set": b"\\x80\\x05\\x8f()" + b"\\x85" * n + b"\\x90.",
        "lists": b"\\x80\\x05" + b"]" * n + b"a" * (n - 1) + b".",
        "tuples": b"\\x80\\x05)" + b"\\x85" * n + b".",
        "marks": b"\\x80\\x05" + b"(" * n + b"t" * n + b".",
        "frozensets": b"\\x80\\x05" + b"(" * n + b"\\x91" * n + b".",
        "slices": b"\\x80\\x05" + named(b"slice_of") + b"\\x940N" + b"h\\x00" * 0 + b"(h\\x00" * 1000 + b"NNtR" * 1000 + b".",
        "deques": b"\\x80\\x05" + named(b"deque") + b"\\x94N\\x85R" + b"h\\x00N\\x85R" * 100_000 + b"a" * 100_000 + b".",
        "dicts": b"\\x80\\x05" + b"}N" * n + b"}" + b"s" * n + b".",
    }
    for name, stream in streams.items():
        for trusted in (False, True):
            if trusted and name in ("tuples as a key", "tuples in a set", "deques"):
                continue  # only strangers write such
            for codec, data in (("data", stream), ("record", joined(stream, []))):
                try:
                    value = decode(codec, data, trusted=trusted)
                except Undecodable:
                    value = None
                del value
        print(name)
"""


def test_no_depth_of_nesting_ends_the_process():
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(_DEEP)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 9


_FUZZ = """
    import faulthandler, os, random, resource, sys
    faulthandler.enable()
    import collections, datetime, decimal, fractions, uuid
    import numpy, pandas
    from hypernodes.cache.codecs import Undecodable, decode, encode
    from hypernodes.cache.codecs._payload import joined, parted
    from fuzzed import Doc, Frozen

    seed, count = int(sys.argv[1]), int(sys.argv[2])
    choose = random.Random(seed)
    values = [
        1, 10**30, "text" * 100, b"x" * 300, 1.5, [1, 2.0, "x", None, True],
        {"a": (1, [2, {3}]), "b": frozenset({4}), (1, 2): bytearray(b"12")},
        [decimal.Decimal("1.5"), fractions.Fraction(1, 3), uuid.UUID(int=1), range(5), slice(1, 2), ..., 1j],
        [datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc), datetime.time(1), datetime.timedelta(1)],
        [collections.Counter("ab"), collections.deque([1], 4), collections.defaultdict(list, a=[1]), collections.OrderedDict(a=1)],
        [Doc("x", [1]), Frozen("a", (1,)), {Frozen("b"): Doc("y")}],
        numpy.arange(20.0), [numpy.float64(1), numpy.zeros(3, [("a", "i4"), ("b", "U3")]), numpy.array([None, "x"])],
    ]
    slow = [numpy.ma.masked_array([1.0], [1]), pandas.DataFrame({"a": [1, 2], "b": ["x", "y"]}), pandas.Series([1.5], index=["a"])]
    # The last is what Python's own unpickler says when it looks for a name.
    forbidden = "os.system subprocess.Popen os.exec os.posix_spawn os.fork socket.connect os.remove os.putenv pickle.find_class".split()
    numbers = b"\\xff\\xff\\xff\\x7f", b"\\xff\\xff\\xff\\xff", b"\\x00\\x00\\x00\\x00", b"\\x00\\x00\\x00\\x01"
    opcodes = *(bytes([k]) for k in b"R0aesu(t.\\x85\\x90\\x93\\x94"), b"h\\x00", b"h\\x05"

    def audit(event, args):
        if event in forbidden and watching:
            sys.stderr.write(f"called {event} {args}")
            sys.stderr.flush()
            os._exit(3)

    watching = False
    sys.addaudithook(audit)

    def mutated(data):
        data = bytearray(data)
        for _ in range(choose.choice((1, 1, 1, 2, 3, 8))):
            at = choose.randrange(len(data) + 1)
            what = choose.randrange(6)
            if what == 0 and at < len(data):
                data[at] = choose.randrange(256)
            elif what == 1:
                data[at:at] = bytes([choose.randrange(256)])
            elif what == 2:
                del data[at : at + choose.choice((1, 1, 2, 10))]
            elif what == 3:
                data[at : at + 4] = choose.choice(numbers)
            elif what == 4 and data:
                start = choose.randrange(len(data))
                data[at:at] = data[start : start + choose.randrange(20)]
            elif data:
                data[at:at] = choose.choice(opcodes)
        return bytes(data)

    resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
    payloads = [encode(value) for value in values]
    late = [encode(value) for value in slow]
    for each in (*payloads, *late):
        decode(each.codec, each.data)
        decode(each.codec, each.data, trusted=False)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    watching = True
    read = 0
    for k in range(count):
        if k % 10 == 0:
            codec, data = choose.choice(("data", "record", "array")), b"\\x80\\x05" + choose.randbytes(choose.randrange(40)) + b"."
            if codec != "data":
                data = joined(data, [])
        else:
            payload = choose.choice(late if k % 50 == 1 else payloads)
            codec = payload.codec
            if codec == "data":
                data = mutated(payload.data)
            elif choose.random() < 0.2:
                data = mutated(payload.data)
            else:
                stream, buffers = parted(payload.data)
                data = joined(mutated(stream), buffers)
        try:
            value = decode(codec, data, trusted=bool(k % 2))
            read += 1
        except Undecodable:
            pass
        value = None
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(read, grown)
"""


@pytest.mark.parametrize("seed", [1, 2])
def test_random_bytes_do_no_harm(tmp_path, seed):
    (tmp_path / "fuzzed.py").write_text(
        "from dataclasses import dataclass\n@dataclass\nclass Doc:\n    a: object\n    b: object = None\n"
        "@dataclass(frozen=True, slots=True)\nclass Frozen:\n    a: object\n    b: object = None\n"
    )
    command = [sys.executable, "-W", "ignore", "-c", textwrap.dedent(_FUZZ), str(seed), str(many(300_000))]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(tmp_path)}
    )
    assert done.returncode == 0, done.stderr[-3000:]
    read, grown = map(int, done.stdout.split())
    assert read > many(1_000)  # some still mean something
    assert grown < 200_000  # kilobytes


def test_payloads_that_are_cut_or_mixed_up_are_refused():
    whole = encode([np.arange(100), "x"]).data
    for size in range(len(whole)):
        with pytest.raises(Undecodable):
            decode("record", whole[:size])
    payload = encode([np.arange(64), np.arange(64)])
    stream, _ = parted(payload.data)
    first, second = (16 + k * 16 for k in range(2))  # where it says where the arrays are
    places = [payload.data[at : at + 16] for at in (first, second)]
    assert decode("record", payload.data.replace(b"".join(places), places[0] + places[1]))[1][5] == 5
    for wrong in (places[0] * 2, places[1] + places[0], struct.pack("<QQ", 0, 512) + places[1], places[0] + struct.pack("<QQ", 2**63, 512)):
        with pytest.raises(Undecodable):
            decode("record", payload.data.replace(b"".join(places), wrong))
    for codec in ("data", "array", "arrow", "pandas", "sparse", "torch", "record", "pickle", "nonsense"):
        for data in (b"", b"x", bytes(16), random.Random(1).randbytes(1000)):
            with pytest.raises(Undecodable):
                decode(codec, data)


# References -------------------------------------------------------------------------------------------------------------


def test_lists_of_references():
    references = [(bytes([k]) * 20, k) for k in range(5)]
    payload = codecs.encode_list(references)
    assert payload.codec == "list"
    assert codecs.decode_references(payload.data) == references
    assert codecs.decode_references(b"") == []
    with pytest.raises(Undecodable):
        codecs.decode_references(payload.data[:-1])


# Libraries --------------------------------------------------------------------------------------------------------------

_LAZY = """
    import sys
    from hypernodes.cache import codecs
    from test_classes import Doc

    for value in (1, "x", [1, {2}], Doc([1]), Words := type("Words", (list,), {})):
        payload = codecs.encode(value)
        codecs.decode(payload.codec, payload.data)
    payload = codecs.encode(Doc("x"))
    assert payload.codec == "record"
    print(*sorted({"numpy", "pandas", "polars", "pyarrow", "scipy", "torch"} & set(sys.modules)))
"""


def test_no_library_is_imported_that_a_value_is_not_of(tmp_path):
    (tmp_path / "test_classes.py").write_text("import dataclasses\n@dataclasses.dataclass\nclass Doc:\n    x: object\n")
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(_LAZY)], capture_output=True, text=True, check=False, env=env)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr


def test_a_process_that_has_not_imported_the_library_reads_its_values(tmp_path):
    script = (
        "import sys; from hypernodes.cache import codecs; from hypernodes.identity.values import identity\n"
        "value = codecs.decode(sys.argv[1], open(sys.argv[2], 'rb').read(), trusted=False); print(identity(value).hex())"
    )
    for name, codec, value in (("a", "array", np.arange(3)), ("p", "pandas", PANDAS["one type"]), ("t", "arrow", ARROW["table"])):
        (tmp_path / name).write_bytes(encode(value).data)
        done = subprocess.run([sys.executable, "-c", script, codec, str(tmp_path / name)], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == identity(value).hex()


def test_tensors():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed here")
    view = torch.arange(12.0).reshape(3, 4).T[::2]
    tensors = [
        torch.tensor(1.5), torch.zeros(0, 3), torch.arange(6).reshape(2, 3), view, torch.randn(3, dtype=torch.bfloat16),
        torch.tensor([True, False]), torch.randn(3, dtype=torch.complex64), torch.randn(3, dtype=torch.complex64).conj(),
        torch.randn(3, requires_grad=True), torch.nn.Parameter(torch.ones(2)), torch.tensor([1, 2], dtype=torch.uint8),
        torch.randn(3).to(torch.float16), torch.arange(3).to(torch.uint16), torch.randn(4).to(torch.float8_e5m2),
    ]  # fmt: skip
    for value in tensors:
        payload = encode(value)
        assert payload.codec == "torch"
        for trusted in (True, False):
            found = decode("torch", payload.data, trusted=trusted)
            assert type(found) is type(value)
            assert (found.dtype, found.shape, found.requires_grad) == (value.dtype, value.shape, value.requires_grad)
            if value.dtype is not torch.float8_e5m2:
                assert torch.equal(found, value)
            assert identity(found) == identity(value)
            assert identity(decode("torch", bytearray(payload.data), trusted=trusted)) == identity(value)
    first, second = back([tensors[2]])[0], back(tensors[2])
    first[0, 0] = 99
    assert second[0, 0] == tensors[2][0, 0] == 0
    assert back({"w": torch.float32})["w"] is torch.float32
    assert encode(torch.randn(3, requires_grad=True) * 2).codec == "pickle"
    assert encode(torch.eye(2).to_sparse()).codec == "pickle"
    with pytest.raises(Undecodable):
        decode("record", _calls("_matrices", "tensor", "float32", (10**9,), "Tensor", False, 0, buffers=[bytes(4)]))
