"""Annotations: does what one function returns definitely contradict what the next one takes?

``contradicts`` is made for warnings about other people's code, so it is slow to say yes: it does only where no value
could reasonably satisfy both annotations. Unlike a type checker it allows narrowing (a ``Base`` where a ``Derived`` is
expected), takes what it does not know for compatible, and never raises.

What counts as a contradiction beyond unrelated classes:

- ``float`` where ``int`` is expected, and ``complex`` where ``float`` is: the numeric tower is climbed, not descended.
- ``list[int]`` where ``list[str]`` is expected, although an empty list would satisfy both.
- A builtin or final class where an abstract class is expected that it does not implement. Classes that somebody may
  derive from never contradict an abstract class.
"""

from __future__ import annotations

import collections
import collections.abc
import enum
import functools
import inspect
import os
import sys
import types
import typing
from abc import ABC, ABCMeta
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, Literal

SPOKEN_LIMIT: Final = 80


class Unknown(enum.Enum):
    """The type of ``UNKNOWN``."""

    UNKNOWN = "UNKNOWN"

    def __repr__(self) -> str:
        return self.value


UNKNOWN: Final = Unknown.UNKNOWN
"""Stands for an annotation that nobody wrote or nobody can resolve. ``None`` would be an annotation itself."""

_WILD: Final = (UNKNOWN, Any, object, typing.Never, typing.NoReturn, typing.Self, inspect.Parameter.empty, Ellipsis, typing.Generic)
_WRAPPERS: Final = tuple(
    getattr(typing, name) for name in ("Annotated", "Final", "ClassVar", "Required", "NotRequired", "ReadOnly") if hasattr(typing, name)
)
_YES_NO: Final = tuple(getattr(typing, name) for name in ("TypeGuard", "TypeIs") if hasattr(typing, name))
_PROMOTED: Final[dict[type, tuple[type, ...]]] = {int: (float, complex), float: (complex,), bytearray: (bytes,), memoryview: (bytes,)}
_SCALARS: Final = (bool, int, float, complex, str, bytes)
_BY_ORIGIN: Final = frozenset(
    {"numpy", "pandas", "torch", "polars", "xarray", "jax", "jaxtyping", "tensorflow", "pandera", "nptyping", "pyarrow"}
)
_SUBCLASSES_LOOKED_AT: Final = 1_000

_abc = collections.abc
_ITEMS_FIRST: Final = frozenset(
    (
        list,
        set,
        frozenset,
        collections.deque,
        _abc.Iterable,
        _abc.Iterator,
        _abc.Generator,
        _abc.Collection,
        _abc.Container,
        _abc.Reversible,
    )
) | {_abc.Sequence, _abc.MutableSequence, _abc.Set, _abc.MutableSet, _abc.KeysView, _abc.ValuesView}
_MAPPINGS: Final = frozenset(
    (dict, collections.defaultdict, collections.OrderedDict, collections.ChainMap, _abc.Mapping, _abc.MutableMapping)
)
_ASYNC_ITEMS_FIRST: Final = frozenset((_abc.AsyncIterable, _abc.AsyncIterator, _abc.AsyncGenerator))
_COROUTINES: Final = frozenset((_abc.Coroutine, _abc.Awaitable))
_ORIGIN_ONLY: Final[frozenset[Any]] = frozenset((_abc.Callable,))


# Reading --------------------------------------------------------------------------------------------------------------


def hints(func: Callable[..., object]) -> dict[str, object]:
    """Return a callable's annotations, resolved, by parameter name and ``"return"``.

    Args:
        func: A function, method, partial, class (whose ``__init__`` is read) or callable object.

    Returns:
        What could be resolved. A name that exists only for type checkers costs its own parameter, not the others. Never
        raises.
    """
    try:
        return _hints(func)
    except Exception:  # noqa: BLE001 - whatever a strange callable answers, a pipeline must be built
        return {}


def _hints(func: Any) -> dict[str, object]:
    while isinstance(func, functools.partial):
        func = func.func
    if isinstance(func, types.MethodType):
        func = func.__func__
    if isinstance(func, type):
        found = _hints(func.__init__) if isinstance(func.__init__, types.FunctionType) else {}  # type: ignore[misc]
        return {**found, "return": func}
    func = inspect.unwrap(func)
    if isinstance(func, (functools.partial, types.MethodType, type)):
        return _hints(func)
    if getattr(func, "__no_type_check__", False):
        return {}
    if not isinstance(func, types.FunctionType):
        method = inspect.unwrap(type(func).__call__)
        if isinstance(method, types.FunctionType):  # before looking at the object itself: it may be lazy
            return _hints(method)
    annotations = getattr(func, "__annotations__", None)
    if not isinstance(annotations, Mapping):
        return {}
    return _resolved(annotations, getattr(func, "__globals__", {}), _local_names(func))


def _local_names(func: Any) -> dict[str, object]:
    """Return the names besides globals that a string annotation may use: type parameters and closed-over variables."""
    names: dict[str, object] = {parameter.__name__: parameter for parameter in getattr(func, "__type_params__", ())}
    code, cells = getattr(func, "__code__", None), getattr(func, "__closure__", None)
    if code is not None and cells:
        for name, cell in zip(code.co_freevars, cells, strict=False):
            try:
                names[name] = cell.cell_contents
            except ValueError:  # not assigned yet
                continue
    return names


def _resolved(annotations: Mapping[str, object], global_names: dict[str, Any], local_names: dict[str, object]) -> dict[str, object]:
    found: dict[str, object] = {}
    for name, annotation in annotations.items():
        holder = types.SimpleNamespace(__annotations__={name: annotation})
        try:
            found.update(typing.get_type_hints(holder, global_names, dict(local_names), include_extras=True))
        except Exception:  # noqa: BLE001, S112 - this annotation cannot be resolved here
            continue
    return found


def outputs_of(annotation: object, count: int) -> list[object]:
    """Split the annotation of a function with several outputs.

    Args:
        annotation: What the function says it returns.
        count: How many outputs it has.

    Returns:
        One annotation for each output: those of ``tuple[A, B]``, of ``tuple[A, ...]``, or of a named tuple's fields; all
        ``UNKNOWN`` where the annotation says nothing or another number.
    """
    nothing: list[object] = [UNKNOWN] * count
    try:
        annotation = _bare(annotation)
        if isinstance(annotation, type) and issubclass(annotation, tuple) and not typing.get_args(annotation):
            fields = getattr(annotation, "_fields", ())
            named = _resolved(getattr(annotation, "__annotations__", {}), vars(sys.modules[annotation.__module__]), {})
            return [named.get(field, UNKNOWN) for field in fields] if len(fields) == count else nothing
        if typing.get_origin(annotation) is not tuple or annotation is typing.Tuple:  # noqa: UP006 - its bare form
            return nothing
        parts = typing.get_args(annotation)
        if len(parts) == 2 and parts[1] is Ellipsis:  # noqa: PLR2004 - tuple[A, ...]
            return [parts[0]] * count
        return list(parts) if len(parts) == count and not any(map(_is_unpacked, parts)) else nothing
    except Exception:  # noqa: BLE001 - see hints
        return nothing


def listed(annotation: object) -> object:
    """Return ``list[annotation]``, which a mapped node gives or takes; ``UNKNOWN`` stays ``UNKNOWN``."""
    return UNKNOWN if annotation is UNKNOWN else types.GenericAlias(list, (annotation,))


def element(annotation: object) -> object:
    """Return what iterating over an annotated value gives, or ``UNKNOWN``.

    Known are the containers and iterators of the standard library with one type for all items. Strings and mappings are
    no collections of items here, and arrays say nothing about theirs.
    """
    try:
        annotation = _bare(annotation)
        origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
        if origin is tuple and annotation is not typing.Tuple:  # noqa: UP006 - its bare form
            if len(parts) == 2 and parts[1] is Ellipsis:  # noqa: PLR2004 - tuple[A, ...]
                return parts[0]
            same = parts and all(part == parts[0] for part in parts) and not _is_unpacked(parts[0])
            return parts[0] if same else UNKNOWN
        return parts[0] if origin in _ITEMS_FIRST and parts else UNKNOWN
    except Exception:  # noqa: BLE001 - see hints
        return UNKNOWN


# Comparing ------------------------------------------------------------------------------------------------------------


def contradicts(produced: object, expected: object) -> bool:
    """Return whether no value could reasonably be both ``produced`` and acceptable as ``expected``.

    Args:
        produced: The annotation of what a function returns.
        expected: The annotation of the parameter that gets it.

    Returns:
        True only for a definite contradiction. Never raises.
    """
    try:
        return not _Comparison().fits(produced, expected)
    except Exception:  # noqa: BLE001 - a metaclass may raise anything; what cannot be compared does not contradict
        return False


class _Comparison:
    """One question and the pairs met on the way, for annotations that contain themselves (``type Json = …``)."""

    def __init__(self) -> None:
        self.seen: dict[tuple[int, int], tuple[bool, object, object]] = {}  # the annotations too: an id lasts as long as its object

    def fits(self, produced: object, expected: object) -> bool:
        """Return whether some value could be both."""
        if produced is expected:
            return True
        pair = id(produced), id(expected)
        if pair not in self.seen:
            self.seen[pair] = (True, produced, expected)  # met again on the way down, it decides nothing
            self.seen[pair] = (self._fits(_bare(produced), _bare(expected)), produced, expected)
        return self.seen[pair][0]

    def _fits(self, produced: Any, expected: Any) -> bool:
        if _is_wild(produced) or _is_wild(expected):
            return True
        ours, theirs = _members(produced), _members(expected)
        if len(ours) > 1 or len(theirs) > 1:
            return any(self.fits(one, other) for one in ours for other in theirs)
        literals = _literals(produced), _literals(expected)
        if literals[0] is not None and literals[1] is not None:
            return any(type(one) is type(other) and one == other for one in literals[0] for other in literals[1])
        if literals[0] is not None:
            return any(self.fits(type(value), expected) for value in literals[0])
        if literals[1] is not None:
            return any(self.fits(produced, type(value)) for value in literals[1])
        return self._generics_fit(produced, expected)

    def _generics_fit(self, produced: Any, expected: Any) -> bool:
        ours, theirs = _class_of(produced), _class_of(expected)
        if not _classes_fit(ours, theirs):
            return False
        if ours is tuple or theirs is tuple:
            return self._tuples_fit(produced, expected)
        mine, yours = typing.get_args(produced), typing.get_args(expected)
        if not mine or not yours or _by_origin(ours) or _by_origin(theirs):
            return True
        compared: Iterator[tuple[Any, Any]] = iter(())
        if ours is theirs or (ours in _MAPPINGS and theirs in _MAPPINGS):
            if len(mine) == len(yours) and ours not in _ORIGIN_ONLY:
                compared = zip(mine, yours, strict=True)
        elif any(ours in family and theirs in family for family in (_ITEMS_FIRST | _MAPPINGS, _ASYNC_ITEMS_FIRST)):
            compared = iter([(mine[0], yours[0])])  # a mapping gives its keys
        elif ours in _COROUTINES:
            compared = iter([(mine[-1], yours[-1])])
        return all(self.fits(one, other) for one, other in compared)

    def _tuples_fit(self, produced: Any, expected: Any) -> bool:
        mine, yours = _tuple_items(produced), _tuple_items(expected)
        if mine is None or yours is None:
            return True
        if isinstance(mine, list) and isinstance(yours, list):
            return len(mine) == len(yours) and all(self.fits(one, other) for one, other in zip(mine, yours, strict=True))
        ours = mine if isinstance(mine, list) else [mine[0]]
        theirs = yours if isinstance(yours, list) else [yours[0]]
        return all(self.fits(one, other) for one in ours for other in theirs)


def _bare(annotation: Any) -> Any:
    """Take off what says nothing about the value: ``Annotated``, aliases, ``NewType``, ``Final`` and their like."""
    for _ in range(100):  # an alias may be its own value
        origin = typing.get_origin(annotation)
        if annotation is None:
            return type(None)
        if annotation is typing.LiteralString:
            return str
        if _is_alias(annotation):
            annotation = annotation.__value__
        elif _is_alias(origin):
            annotation = origin.__value__  # its parameters stay open, and open fits
        elif origin in _WRAPPERS:
            annotation = typing.get_args(annotation)[0]
        elif origin in _YES_NO:
            return bool
        elif hasattr(annotation, "__supertype__"):
            annotation = annotation.__supertype__
        else:
            return annotation
    return UNKNOWN


def _is_alias(annotation: object) -> bool:
    return type(annotation).__name__ == "TypeAliasType"  # typing's from 3.12 on, or the one of typing_extensions


def _is_unpacked(part: object) -> bool:
    return typing.get_origin(part) is typing.Unpack or bool(getattr(part, "__unpacked__", False))


def _is_union(annotation: object) -> bool:
    return typing.get_origin(annotation) in (typing.Union, types.UnionType)


def _members(annotation: object) -> tuple[object, ...]:
    return typing.get_args(annotation) if _is_union(annotation) else (annotation,)


def _literals(annotation: object) -> tuple[object, ...] | None:
    return typing.get_args(annotation) if typing.get_origin(annotation) is Literal else None


def _class_of(annotation: Any) -> type:
    """Return the class that values are instances of; a typed dictionary's are plain ones."""
    found: type = typing.get_origin(annotation) or annotation
    return dict if _is_typed_dict(found) else found


def _is_typed_dict(cls: type) -> bool:
    return dict in cls.__mro__ and hasattr(cls, "__total__") and hasattr(cls, "__required_keys__")


def _is_wild(annotation: Any) -> bool:
    """Whether anything may be this annotation, as far as we can tell."""
    if any(annotation is each for each in _WILD):
        return True
    if _is_union(annotation):
        return any(_is_wild(_bare(member)) for member in typing.get_args(annotation))
    if _literals(annotation) is not None:
        return False
    cls = typing.get_origin(annotation) or annotation
    if not isinstance(cls, type):  # type variables, forward references, forms we have not heard of
        return True
    if _is_typed_dict(cls):
        return False
    return getattr(cls, "_is_protocol", False) or cls.__module__ in ("typing", "typing_extensions") or _decides_itself(cls)


def _decides_itself(cls: type) -> bool:
    """Whether the metaclass has its own idea of what a subclass is."""
    meta = type(cls)
    known = (type.__subclasscheck__, ABCMeta.__subclasscheck__)
    return meta.__subclasscheck__ not in known and meta.__module__ not in ("typing", "typing_extensions")


def _by_origin(cls: type) -> bool:
    """Whether the class's parameters describe shapes and schemas more than values."""
    return cls.__module__.partition(".")[0] in _BY_ORIGIN


def _tuple_items(annotation: Any) -> list[Any] | tuple[Any] | None:
    """Return a list of what each place holds, a tuple with what any number of places hold, or None: unknown."""
    parts = typing.get_args(annotation)
    origin = typing.get_origin(annotation)
    if origin is not tuple:
        return (parts[0],) if parts and origin in _ITEMS_FIRST else None
    if annotation is typing.Tuple or any(map(_is_unpacked, parts)):  # noqa: UP006 - its bare form
        return None
    if len(parts) == 2 and parts[1] is Ellipsis:  # noqa: PLR2004 - tuple[A, ...]
        return (parts[0],)
    return list(parts)


# Classes --------------------------------------------------------------------------------------------------------------


def _classes_fit(ours: type, theirs: type) -> bool:
    if ours is theirs or issubclass(ours, theirs) or issubclass(theirs, ours):
        return True
    if any(issubclass(ours, low) and issubclass(high, theirs) for low, highs in _PROMOTED.items() for high in highs):
        return True
    if _is_file(theirs) and issubclass(ours, (str, os.PathLike)):
        return True  # a text or a path becomes a File where one is expected
    if (_is_numpy_scalar(ours) and theirs in _SCALARS) or (_is_numpy_scalar(theirs) and ours in _SCALARS):
        return True
    if (_is_open(ours) and not _is_closed(theirs)) or (_is_open(theirs) and not _is_closed(ours)):
        return True
    return _have_common_subclass(ours, theirs)


def _is_file(cls: type) -> bool:
    module = sys.modules.get("hypernodes._file")
    return module is not None and cls is module.File


def _is_numpy_scalar(cls: type) -> bool:
    numpy = sys.modules.get("numpy")
    return numpy is not None and issubclass(cls, numpy.generic)


def _is_open(cls: type) -> bool:
    """Whether classes may be said to belong to this one without deriving from it, or it is there to be derived from."""
    if ABC in cls.__bases__ or (isinstance(cls, ABCMeta) and getattr(cls, "__abstractmethods__", None)):
        return True
    return any(_own_hook(klass) and (klass is cls or not _is_standard(klass)) for klass in cls.__mro__[:-1])


def _own_hook(cls: type) -> bool:
    """Whether a class decides by ``__subclasshook__``; one that only derives from a protocol has got typing's."""
    hook = cls.__dict__.get("__subclasshook__")
    return hook is not None and getattr(getattr(hook, "__func__", hook), "__module__", "") not in ("typing", "typing_extensions")


def _is_standard(cls: type) -> bool:
    # The hooks of the standard library's abstract classes answer for themselves only, not for what derives from them.
    return cls.__module__.partition(".")[0] in sys.stdlib_module_names


def _is_closed(cls: type) -> bool:
    """Whether a value annotated with this class is, to all intents, exactly of this class."""
    return cls.__module__ == "builtins" or getattr(cls, "__final__", False) or not cls.__flags__ & _BASETYPE


_BASETYPE: Final = 1 << 10  # Py_TPFLAGS_BASETYPE: may be derived from


def _have_common_subclass(ours: type, theirs: type) -> bool:
    """Whether somebody has derived from both."""
    start, other = (theirs, ours) if _is_closed(ours) else (ours, theirs)
    return not _is_closed(start) and any(issubclass(cls, other) for cls in _descendants(start))


def _descendants(cls: type) -> Iterator[type]:
    waiting, met = [cls], {cls}
    while waiting and len(met) < _SUBCLASSES_LOOKED_AT:
        derived: list[type] = type.__subclasses__(waiting.pop())
        new = [each for each in derived if each not in met]
        met.update(new)
        waiting += new
        yield from new


# Speaking -------------------------------------------------------------------------------------------------------------


def spoken(annotation: object) -> str:
    """Return an annotation as short text for a message: ``list[int]``, ``Doc``, ``int | None``."""
    try:
        text = _spoken(annotation, 0)
    except Exception:  # noqa: BLE001 - a message must come out
        text = type(annotation).__name__
    return text if len(text) <= SPOKEN_LIMIT else f"{text[: SPOKEN_LIMIT - 1]}…"


_WORDS: Final = ((UNKNOWN, "unknown"), (None, "None"), (type(None), "None"), (Ellipsis, "..."))


def _spoken(annotation: Any, depth: int) -> str:
    word = next((word for each, word in _WORDS if annotation is each), None)
    if word is not None or depth > 6:  # noqa: PLR2004 - nobody reads deeper
        return word or "…"
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _spoken(parts[0], depth)
    if origin is Literal:
        return f"Literal[{', '.join(map(repr, parts))}]"
    if isinstance(annotation, list):  # the parameters of Callable
        parts, name = tuple(annotation), ""
    else:
        name = _name(origin or annotation)
    inner = [_spoken(part, depth + 1) for part in parts]
    if _is_union(annotation):
        return " | ".join(inner)
    if not inner and (origin is not tuple or annotation is typing.Tuple) and name:  # noqa: UP006 - its bare form
        return name
    return f"{name}[{', '.join(inner) or '()' * bool(name)}]"


def _name(annotation: Any) -> str:
    if isinstance(annotation, str):
        return annotation
    if isinstance(annotation, typing.ForwardRef):
        return annotation.__forward_arg__
    name = getattr(annotation, "__name__", None)
    return name if isinstance(name, str) else repr(annotation).removeprefix("typing.")
