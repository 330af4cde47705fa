"""What annotations definitely contradict, and what they do not."""

# Annotations are values here, and the older spellings are tested too.
# mypy: ignore-errors
# ruff: noqa: PYI061, UP006, UP007, UP044, UP045

from __future__ import annotations

import abc
import array
import collections
import collections.abc as cabc
import contextlib
import dataclasses
import datetime as dt
import decimal
import enum
import functools
import io
import numbers
import os
import pathlib
import sys
import textwrap
import types
import typing
from typing import (
    Annotated,
    Any,
    BinaryIO,
    Final,
    Generic,
    Literal,
    NamedTuple,
    NewType,
    Optional,
    ParamSpec,
    Protocol,
    TypedDict,
    TypeVar,
    Union,
)

import pytest
from hypernodes._types import UNKNOWN, contradicts, element, hints, listed, outputs_of, spoken
from hypothesis import given, settings
from hypothesis import strategies as st

np = pytest.importorskip("numpy")

if typing.TYPE_CHECKING:
    from nowhere import Missing

T = TypeVar("T")
P = ParamSpec("P")


class Doc: ...


class LongDoc(Doc): ...


class Image: ...


class Left: ...


class Right: ...


class Both(Left, Right): ...


class Shape(abc.ABC):
    @abc.abstractmethod
    def area(self) -> float: ...


class Square(Shape):
    def area(self) -> float:
        return 1.0


class Bag(cabc.Sequence[int]):
    def __len__(self) -> int:
        return 0

    def __getitem__(self, i: Any) -> Any:
        raise IndexError


class Readable(Protocol):
    def read(self) -> str: ...


class Reader(Readable):
    def read(self) -> str:
        return ""


class Box(Generic[T]): ...


class IntBox(Box[int]): ...


class Color(enum.Enum):
    RED = 1
    BLUE = 2


class Level(enum.IntEnum):
    LOW = 1


class Row(TypedDict):
    a: int


class Pair(NamedTuple):
    left: int
    right: str


class Hooked:
    @classmethod
    def __subclasshook__(cls, other: type) -> Any:
        return NotImplemented


class Raising(type):
    def __subclasscheck__(cls, other: type) -> bool:
        message = "no"
        raise RuntimeError(message)


class Odd(metaclass=Raising): ...


@typing.final
class Sealed: ...


UserId = NewType("UserId", int)
Name = NewType("Name", str)
SubId = NewType("SubId", UserId)

FITS: list[tuple[Any, Any]] = [
    (int, int),
    (UNKNOWN, int),
    (int, UNKNOWN),
    (Any, int),
    (int, Any),
    (int, object),
    (object, int),
    (int, T),
    (T, int),
    (list[T], list[int]),
    (typing.Never, int),
    (typing.NoReturn, int),
    ("int", str),
    (typing.ForwardRef("X"), str),
    (bool, int),
    (int, bool),
    (int, float),
    (bool, float),
    (int, complex),
    (float, complex),
    (bool, complex),
    (int, numbers.Number),
    (bytearray, bytes),
    (memoryview, bytes),
    (None, None),
    (None, type(None)),
    (None, int | None),
    (int, Optional[int]),
    (int | None, int),
    (Optional[int], str | None),
    (int | str, str | bytes),
    (Union[int, str], int),
    (int | Any, str),
    (LongDoc, Doc),
    (Doc, LongDoc),
    (Left, Right),
    (Square, Shape),
    (Shape, Square),
    (Doc, Shape),
    (Shape, Doc),
    (Doc, cabc.Iterable),
    (Doc, cabc.Callable),
    (cabc.Iterable[int], Doc),
    (Doc, Readable),
    (int, Readable),
    (Readable, int),
    (Reader, Readable),
    (Doc, Hooked),
    (Odd, int),
    (int, Odd),
    (list[int], list[int]),
    (list[int], list),
    (list, list[int]),
    (list[int], typing.List[int]),
    (list[bool], list[int]),
    (list[int], list[float]),
    (list[Doc], list[LongDoc]),
    (list[Any], list[int]),
    (list[int | None], list[int]),
    (list[int], cabc.Sequence[int]),
    (list[int], cabc.Iterable[float]),
    (cabc.Iterable[int], list[int]),
    (cabc.Sequence[int], tuple[int, ...]),
    (tuple[int, int], cabc.Sequence[int]),
    (tuple[int, ...], tuple[int, int]),
    (tuple[int, int], tuple[int, ...]),
    (tuple[int, str], tuple[int, str]),
    (tuple[int, str], tuple),
    (tuple, tuple[int, str]),
    (typing.Tuple, tuple[int, str]),
    (tuple[()], tuple[int, ...]),
    (tuple[int, typing.Unpack[tuple[str, ...]]], tuple[int]),
    (Pair, tuple[int, str]),
    (tuple[int, str], Pair),
    (str, cabc.Sequence[str]),
    (str, cabc.Iterable),
    (dict[str, int], cabc.Mapping[str, int]),
    (dict[str, int], cabc.Iterable[str]),
    (collections.OrderedDict[str, int], dict[str, float]),
    (collections.Counter[str], dict[str, int]),
    (collections.defaultdict[str, list[int]], dict[str, list[int]]),
    (cabc.Generator[int, None, str], cabc.Iterator[int]),
    (cabc.AsyncGenerator[int, None], cabc.AsyncIterable[int]),
    (cabc.Coroutine[Any, Any, int], cabc.Awaitable[int]),
    (Row, dict),
    (Row, dict[str, Any]),
    (dict[str, int], Row),
    (Row, cabc.Mapping[str, int]),
    (Row, TypedDict("Other", {"b": str})),
    (Bag, cabc.Sequence[int]),
    (array.array, cabc.Sequence),
    (Box[int], Box[int]),
    (Box[bool], Box[int]),
    (IntBox, Box[int]),
    (IntBox, Box[str]),  # not followed
    (cabc.Callable[[int], str], cabc.Callable[[str], int]),
    (types.FunctionType, cabc.Callable[[int], int]),
    (typing.Callable[..., Any], cabc.Callable),
    (type[Doc], cabc.Callable[[], Doc]),
    (type[LongDoc], type[Doc]),
    (type, type[Doc]),
    (type[Doc], type),
    (type[Color], enum.EnumMeta),
    (Literal["a"], str),
    (str, Literal["a", "b"]),
    (Literal["a"], Literal["a", "b"]),
    (Literal["a", 1], int),
    (Literal[1], float),
    (Literal[Color.RED], Color),
    (Literal[None], int | None),
    (Level, int),
    (Annotated[int, "x"], int),
    (list[Annotated[int, "x"]], list[int]),
    (UserId, int),
    (int, UserId),
    (SubId, int),
    (UserId, SubId),
    (Final[int], int),
    (typing.LiteralString, str),
    (io.BytesIO, BinaryIO),
    (io.StringIO, typing.TextIO),
    (pathlib.Path, os.PathLike[str]),
    (pathlib.PosixPath, pathlib.Path),
    (dt.datetime, dt.date),
    (contextlib.ExitStack, contextlib.AbstractContextManager),
    (int, typing.SupportsInt),
    (int, cabc.Hashable),
    (bytes, cabc.Sequence[int]),
    (np.float64, float),
    (np.int64, int),
    (int, np.integer),
    (np.ndarray, np.ndarray),
    (np.ndarray[Any, np.dtype[np.float64]], np.ndarray[Any, np.dtype[np.int64]]),
    (np.ndarray, cabc.Sequence[float]),
    (P.args, int),
]

CONTRADICTS: list[tuple[Any, Any]] = [
    (int, str),
    (str, int),
    (None, int),
    (int, None),
    (None, int | str),
    (int | str, bytes | None),
    (float, int),
    (complex, float),
    (str, bytes),
    (bytes, str),
    (int, list[int]),
    (list, dict),
    (list[int], tuple[int, ...]),
    (set[int], frozenset[int]),
    (Doc, Image),
    (Doc, int),
    (int, Doc),
    (Square, Doc),
    (LongDoc, Image),
    (Sealed, cabc.Iterable),
    (Sealed, Shape),
    (str, Shape),
    (int, cabc.Iterable),
    (int, cabc.Callable),
    (str, cabc.Mapping[str, int]),
    (list[int], cabc.Mapping),
    (dict[str, int], cabc.Sequence),
    (list[int], cabc.Hashable),
    (None, cabc.Iterable),
    (list[int], list[str]),
    (list[list[int]], list[list[str]]),
    (list[int], cabc.Sequence[str]),
    (cabc.Iterable[int], list[str]),
    (dict[str, int], dict[str, str]),
    (dict[str, int], dict[int, int]),
    (dict[str, int], cabc.Iterable[int]),
    (collections.OrderedDict[str, int], cabc.Mapping[str, str]),
    (tuple[int, str], tuple[int, int]),
    (tuple[int, str], tuple[int]),
    (tuple[int, str], tuple[int, ...]),
    (tuple[int, ...], tuple[int, str]),
    (tuple[int, str], list[int]),
    (tuple[int, str], cabc.Sequence[int]),
    (tuple[()], tuple[int]),
    (tuple[str, ...], cabc.Iterable[int]),
    (Pair, list),
    (Row, list),
    (Row, str),
    (cabc.Generator[int, None, None], cabc.Iterator[str]),
    (cabc.Coroutine[Any, Any, int], cabc.Awaitable[str]),
    (cabc.AsyncIterator[int], cabc.AsyncIterable[str]),
    (Box[int], Box[str]),
    (type[Doc], type[Image]),
    (type[Doc], Doc),
    (Literal["a"], int),
    (Literal["a"], Literal["b"]),
    (Literal[1], Literal[True]),
    (Literal[Color.RED], Literal[Color.BLUE]),
    (bytes, Literal["a"]),
    (Color, int),
    (Annotated[int, "x"], Annotated[str, "x"]),
    (UserId, Name),
    (UserId, str),
    (pathlib.Path, str),
    (str, os.PathLike[str]),
    (decimal.Decimal, str),
    (dt.date, str),
    (np.ndarray, str),
    (np.ndarray, list[int]),
    (np.float64, list),
    (np.str_, Doc),
    (Optional[Doc], Image),
    (Bag, Doc),
    (Reader, Doc),
    (typing.LiteralString, int),
]


@pytest.mark.parametrize(("produced", "expected"), FITS, ids=[f"{spoken(a)} to {spoken(b)}" for a, b in FITS])
def test_no_contradiction(produced: Any, expected: Any) -> None:
    assert not contradicts(produced, expected)


@pytest.mark.parametrize(("produced", "expected"), CONTRADICTS, ids=[f"{spoken(a)} to {spoken(b)}" for a, b in CONTRADICTS])
def test_contradiction(produced: Any, expected: Any) -> None:
    assert contradicts(produced, expected)


@pytest.mark.parametrize("wrapped", [lambda t: t, listed, lambda t: t | None, lambda t: Annotated[t, 1], lambda t: dict[str, t]])
def test_wrapping_both_sides_changes_no_contradiction_between_values(wrapped: Any) -> None:
    for produced, expected in [(int, str), (Doc, Image), (list[int], list[str])]:
        both_optional = wrapped(int) == (int | None)
        assert contradicts(wrapped(produced), wrapped(expected)) is not both_optional
    assert not contradicts(wrapped(int), wrapped(int))
    assert not contradicts(wrapped(LongDoc), wrapped(Doc))


def test_virtual_subclasses() -> None:
    class Registered: ...

    Shape.register(Registered)
    assert not contradicts(Registered, Shape)
    assert not contradicts(list[Registered], list[Shape])


def test_odd_annotations_never_raise() -> None:
    class Broken:
        def __getattr__(self, name: str) -> Any:
            message = "broken"
            raise RuntimeError(message)

        def __eq__(self, other: object) -> bool:
            message = "broken"
            raise RuntimeError(message)

        __hash__ = None

    for odd in (Broken(), 3, [int], (int, str), "not code (", lambda: 0, ..., {"a": 1}, Broken, P, typing.Concatenate[int, P]):
        assert not contradicts(odd, int) or odd is Broken
        assert not contradicts(int, odd) or odd is Broken
        assert isinstance(spoken(odd), str)
        assert element(odd) is UNKNOWN
        assert outputs_of(odd, 2) == [UNKNOWN, UNKNOWN]


def test_deep_annotations_end() -> None:
    ours: Any = int
    theirs: Any = str
    for _ in range(200):
        ours, theirs = list[ours] | dict[str, ours], list[theirs] | dict[str, theirs]
    assert contradicts(ours, theirs) in (True, False)
    assert len(spoken(ours)) <= 80


@pytest.mark.skipif(sys.version_info < (3, 12), reason="type statements are new in 3.12")
def test_type_statements() -> None:
    names: dict[str, Any] = {}
    exec(
        textwrap.dedent("""
        type Ids = list[int]
        type Json = dict[str, Json] | list[Json] | int
        type Loop = Loop
        type Later = Nowhere
        type Many[T] = list[T]
        def clean[U: str](x: U, y: "U", z: Ids) -> "Ids": ...
        """),
        names,
    )
    ids, json, many = names["Ids"], names["Json"], names["Many"]
    assert not contradicts(ids, list[int])
    assert contradicts(ids, list[str])
    assert contradicts(ids, str)
    assert not contradicts(json, json)
    assert not contradicts(json, list[int])
    assert contradicts(json, str)
    assert contradicts(list[json], list[str])
    assert not contradicts(names["Loop"], int)
    assert not contradicts(names["Later"], int)
    assert not contradicts(many[int], list[int])
    assert contradicts(many[int], dict)
    assert spoken(ids) == "Ids"
    found = hints(names["clean"])
    assert found["z"] is ids
    assert found["return"] is ids
    assert found["x"] is found["y"]
    assert element(ids) is int
    assert not contradicts(found["x"], int)


# Properties -----------------------------------------------------------------------------------------------------------

plain = st.sampled_from(
    [int, str, bytes, float, bool, type(None), Doc, LongDoc, Image, Shape, Color, complex, UserId, Any, Literal["a"], Row, Pair]
)


def _compound(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(
        inner.map(lambda t: list[t]),
        inner.map(lambda t: tuple[t, ...]),
        inner.map(lambda t: cabc.Sequence[t]),
        inner.map(lambda t: type[t]),
        inner.map(lambda t: Annotated[t, "note"]),
        st.tuples(inner, inner).map(lambda ts: dict[ts]),
        st.tuples(inner, inner).map(lambda ts: tuple[ts]),
        st.lists(inner, min_size=1, max_size=3).map(lambda ts: Union[tuple(ts)]),
    )


annotations = st.recursive(plain, _compound, max_leaves=6)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.binary(max_size=3) | st.builds(Doc),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.integers(), inner, max_size=2) | st.tuples(inner),
    max_leaves=4,
)


@given(annotations)
def test_an_annotation_never_contradicts_itself(annotation: Any) -> None:
    assert not contradicts(annotation, annotation)
    assert not contradicts(annotation, Any)
    assert not contradicts(UNKNOWN, annotation)
    assert not contradicts(annotation, Union[annotation, None])
    assert not contradicts(Union[annotation, bytes], annotation)
    assert not contradicts(Annotated[annotation, 1], annotation)
    assert not contradicts(listed(annotation), cabc.Iterable[annotation])
    assert isinstance(spoken(annotation), str)


@given(values, values)
def test_the_type_of_a_value_never_contradicts_itself_or_its_union(value: Any, other: Any) -> None:
    assert not contradicts(type(value), type(value))
    assert not contradicts(type(value), Union[type(value), type(other)])
    assert not contradicts(Union[type(value), type(other)], type(value))
    assert not contradicts(list[type(value)], list[Union[type(other), type(value)]])


@given(annotations, annotations, annotations)
@settings(max_examples=300)
def test_a_union_contradicts_only_where_every_member_does(one: Any, two: Any, expected: Any) -> None:
    assert contradicts(Union[one, two], expected) == (contradicts(one, expected) and contradicts(two, expected)) or Any in (one, two)
    assert contradicts(expected, Union[one, two]) == (contradicts(expected, one) and contradicts(expected, two)) or Any in (one, two)


@given(annotations, annotations)
def test_lists_contradict_as_their_items_do(one: Any, two: Any) -> None:
    assert contradicts(list[one], list[two]) == contradicts(one, two)
    assert contradicts(tuple[one, int], tuple[two, int]) == contradicts(one, two)


@given(annotations, st.integers(1, 4))
def test_outputs_and_elements(annotation: Any, count: int) -> None:
    assert outputs_of(tuple[(annotation,) * count], count) == [annotation] * count
    assert outputs_of(tuple[annotation, ...], count) == [annotation] * count
    assert outputs_of(tuple[(annotation,) * count], count + 1) == [UNKNOWN] * (count + 1)
    assert element(listed(annotation)) == annotation
    assert len(outputs_of(annotation, count)) == count


# Splitting ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("annotation", "count", "expected"),
    [
        (tuple[int, str], 2, [int, str]),
        (tuple[int, None], 2, [int, None]),
        (tuple[int, ...], 3, [int, int, int]),
        (Annotated[tuple[int, str], 1], 2, [int, str]),
        (typing.Tuple[int, str], 2, [int, str]),
        (typing.Tuple, 2, [UNKNOWN] * 2),
        (tuple, 2, [UNKNOWN] * 2),
        (tuple[()], 2, [UNKNOWN] * 2),
        (tuple[int, typing.Unpack[tuple[str, ...]]], 2, [UNKNOWN] * 2),
        (Pair, 2, [int, str]),
        (Pair, 3, [UNKNOWN] * 3),
        (collections.namedtuple("Bare", "a b"), 2, [UNKNOWN] * 2),  # noqa: PYI024 - one without annotations
        (list[int], 2, [UNKNOWN] * 2),
        (int, 2, [UNKNOWN] * 2),
        (None, 2, [UNKNOWN] * 2),
        (UNKNOWN, 2, [UNKNOWN] * 2),
        (tuple[int, str] | None, 2, [UNKNOWN] * 2),
    ],
)
def test_outputs_of(annotation: Any, count: int, expected: list[Any]) -> None:
    assert outputs_of(annotation, count) == expected


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        (list[int], int),
        (typing.List[int], int),
        (cabc.Sequence[Doc], Doc),
        (cabc.Iterable[int | None], int | None),
        (cabc.Generator[int, None, str], int),
        (tuple[int, ...], int),
        (tuple[int, int], int),
        (tuple[int, str], UNKNOWN),
        (set[str], str),
        (collections.deque[int], int),
        (Annotated[list[int], 1], int),
        (list, UNKNOWN),
        (str, UNKNOWN),
        (dict[str, int], UNKNOWN),
        (np.ndarray[Any, np.dtype[np.float64]], UNKNOWN),
        (UNKNOWN, UNKNOWN),
        (Any, UNKNOWN),
        (None, UNKNOWN),
    ],
)
def test_element(annotation: Any, expected: Any) -> None:
    assert element(annotation) == expected


def test_listed() -> None:
    assert listed(int) == list[int]
    assert listed(None) == list[None]
    assert listed(UNKNOWN) is UNKNOWN
    assert listed(tuple[int, str]) == list[tuple[int, str]]
    assert contradicts(listed(int), list[str])
    assert spoken(listed(listed(Doc))) == "list[list[Doc]]"


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        (int, "int"),
        (None, "None"),
        (type(None), "None"),
        (Doc, "Doc"),
        (list[int], "list[int]"),
        (typing.List[int], "list[int]"),
        (typing.List, "list"),
        (int | None, "int | None"),
        (Optional[int], "int | None"),
        (Union[int, str], "int | str"),
        (dict[str, list[Doc]], "dict[str, list[Doc]]"),
        (tuple[int, ...], "tuple[int, ...]"),
        (tuple[()], "tuple[()]"),
        (Literal["a", 1], "Literal['a', 1]"),
        (Annotated[int, "long note"], "int"),
        (cabc.Callable[[int], str], "Callable[[int], str]"),
        (cabc.Callable[[], str], "Callable[[], str]"),
        (cabc.Callable[..., Any], "Callable[..., Any]"),
        (type[Doc], "type[Doc]"),
        (Any, "Any"),
        (T, "T"),
        (UserId, "UserId"),
        ("Doc", "Doc"),
        (typing.ForwardRef("Doc"), "Doc"),
        (UNKNOWN, "unknown"),
        (np.ndarray, "ndarray"),
        (Box[int], "Box[int]"),
    ],
)
def test_spoken(annotation: Any, expected: str) -> None:
    assert spoken(annotation) == expected


def test_spoken_is_short() -> None:
    assert spoken(tuple[(dict[str, int],) * 30]).endswith("…")
    assert len(spoken(tuple[(dict[str, int],) * 30])) == 80


# Reading --------------------------------------------------------------------------------------------------------------


def example(  # noqa: PLR0917 - one parameter for each kind of annotation
    a: int, b: list[Doc], c: Missing, d: dict[str, Missing], e: Optional[Doc] = None, f=1
) -> tuple[int, Doc]:
    raise NotImplementedError


def test_hints_of_a_function() -> None:
    assert hints(example) == {"a": int, "b": list[Doc], "e": Optional[Doc], "return": tuple[int, Doc]}


def test_hints_of_what_wraps_a_function() -> None:
    expected = hints(example)
    assert hints(functools.partial(example, 1)) == expected
    assert hints(functools.partial(functools.partial(example, 1), f=2)) == expected
    assert hints(functools.lru_cache(example)) == expected

    @functools.wraps(example)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return example(*args, **kwargs)

    assert hints(wrapper) == expected
    assert hints(functools.partial(wrapper, 1)) == expected


def test_hints_of_methods_objects_and_classes() -> None:
    class Tool:
        size: Missing

        def __init__(self, path: str, size: int = 1) -> None: ...

        def method(self, x: int) -> Doc: ...

        @classmethod
        def make(cls, x: str) -> list[int]: ...

        @staticmethod
        def static(x: bytes) -> None: ...

        def __call__(self, y: float) -> set[int]: ...

    tool = Tool("")
    assert hints(tool.method) == {"x": int, "return": Doc}
    assert hints(Tool.method) == {"x": int, "return": Doc}
    assert hints(Tool.make) == {"x": str, "return": list[int]}
    assert hints(Tool.static) == {"x": bytes, "return": type(None)}
    assert hints(tool) == {"y": float, "return": set[int]}
    assert hints(functools.partial(tool, 1.0)) == {"y": float, "return": set[int]}
    assert hints(functools.partial(tool.method)) == {"x": int, "return": Doc}
    assert hints(Tool) == {"path": str, "size": int, "return": Tool}
    assert hints(Doc) == {"return": Doc}
    assert hints(dataclasses.make_dataclass("Made", [("x", int)]))["x"] is int


def test_hints_of_local_names() -> None:
    class Local: ...

    def uses(x: Local, y: list[Local]) -> Local:
        return Local()

    assert hints(uses) == {"x": Local, "y": list[Local], "return": Local}

    def cannot_see(x: Unseen, y: int) -> None: ...

    class Unseen: ...

    assert hints(cannot_see) == {"y": int, "return": type(None)}


def test_hints_of_what_has_none() -> None:
    class Broken:
        def __getattr__(self, name: str) -> Any:
            message = "broken"
            raise RuntimeError(message)

    assert hints(len) == {}
    assert hints(lambda x: x) == {}
    assert hints(Broken()) == {}
    assert hints(3) == {}
    assert hints(print) == {}
    assert hints(typing.no_type_check(lambda x: x)) == {}

    def weird(x: 3 + 4, y: "this is not (", z: int) -> None: ...  # noqa: F722

    assert hints(weird)["z"] is int
    assert "y" not in hints(weird)


def test_hints_do_not_build_stateful_objects() -> None:
    from hypernodes._stateful import built, stateful

    @stateful
    class Model:
        size: int

        def predict(self, x: int) -> Doc: ...

        def __call__(self, y: str) -> list[int]: ...

    model = Model()
    assert hints(model) == {"y": str, "return": list[int]}
    assert hints(model.predict) == {"x": int, "return": Doc}
    assert not built(model)
    assert not contradicts(Model, Model)
    assert contradicts(Model, str)
