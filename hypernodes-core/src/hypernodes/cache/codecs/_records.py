"""Objects of dataclasses and attrs classes by their attributes, members of enums by name, named tuples by what is in them.

No code of the class runs: no ``__init__``, no validator, no ``__setattr__``. So frozen ones, private attributes and those that
``__init__`` does not take come back as they were.
"""

from __future__ import annotations

import enum
import sys
import types
from importlib import import_module
from typing import Any, Final

from hypernodes.cache.codecs._makers import Reduced, Reducer, Refused, Sink, Source, Undecodable, maker, require

_STATE_METHODS: Final = ("__reduce_ex__", "__reduce__", "__getstate__", "__setstate__", "__getnewargs_ex__", "__getnewargs__")
_MAKERS_OF_CLASSES: Final = ("dataclasses", "attr._make")


def reducer_of(kind: type) -> Reducer | None:
    """Return what takes objects of a class apart."""
    place = _place_of(kind)
    if place is None:
        return None
    if issubclass(kind, enum.Enum):
        return _member(place)
    if _is_named_tuple(kind):
        return lambda _, value: (named_tuple, (place, tuple(value)))
    return _record(kind, place) if _is_record(kind) else None


# Classes ----------------------------------------------------------------------------------------------------------------


def _place_of(kind: type) -> tuple[str, str] | None:
    """Return where a class is found by others, if it is."""
    module, qualname = kind.__module__, kind.__qualname__
    if type(module) is not str or type(qualname) is not str:
        return None
    module = "__main__" if module == "__mp_main__" else module  # of a worker process
    return (module, qualname) if _found(sys.modules.get(module), qualname) is kind else None


def _found(module: Any, qualname: str) -> Any:
    """Return what a module holds under a name. Nothing is asked: its answer might be to import something."""
    found = module
    for name in qualname.split("."):
        if not isinstance(found, (types.ModuleType, type)):
            return None
        found = vars(found).get(name)
    return found


def _class_at(source: Source, place: Any) -> Any:
    known = source.classes.get(place)
    if known is not None:
        return known
    require(type(place) is tuple, len(place) == 2, *(type(each) is str for each in place))  # noqa: PLR2004 - module and name
    module, qualname = place
    if source.trusted and module not in sys.modules:
        import_module(module)
    kind = _found(sys.modules.get(module), qualname)
    if not isinstance(kind, type) or _place_of(kind) != place:
        raise Undecodable(f"there is no class {module}:{qualname} here")
    source.classes[place] = kind
    return kind


def _is_record(kind: type) -> bool:
    declared = "__attrs_attrs__" in vars(kind) or "__dataclass_fields__" in vars(kind)
    # What dataclasses and attrs say about how their objects are written is no more than we do; what the user says counts.
    return declared and not issubclass(kind, enum.Enum) and _is_all_attributes(kind) and not _says_more(kind, object)


def _is_named_tuple(kind: type) -> bool:
    fields = vars(kind).get("_fields")
    plain = kind.__bases__ == (tuple,) and not kind.__dictoffset__
    return plain and type(fields) is tuple and not _says_more(kind, tuple, ("__getnewargs__",))


def _slots_of(kind: type) -> dict[str, Any]:
    found = [each for base in kind.__mro__ for each in vars(base).values() if type(each) is types.MemberDescriptorType]
    slots = {each.__name__: each for each in found if each.__objclass__ in kind.__mro__}
    if len(slots) < len(found):
        raise Refused  # two of a name
    return slots


def _is_all_attributes(kind: type) -> bool:
    """Whether objects of a class hold nothing but attributes; classes written in C may hold more."""
    pointers = (kind.__dictoffset__ != 0) + (kind.__weakrefoffset__ != 0) + len(_slots_of(kind))
    return not kind.__itemsize__ and kind.__basicsize__ <= object.__basicsize__ + tuple.__itemsize__ * pointers


def _says_more(kind: type, base: type, besides: tuple[str, ...] = ()) -> bool:
    """Whether somebody wrote down for a class how its objects are written."""
    for name in _STATE_METHODS:
        found = next((vars(each)[name] for each in kind.__mro__ if name in vars(each)), None)
        if name in besides or found is next((vars(each)[name] for each in base.__mro__ if name in vars(each)), None):
            continue
        if getattr(found, "__globals__", {}).get("__name__") not in _MAKERS_OF_CLASSES:
            return True
    return False


# Objects ----------------------------------------------------------------------------------------------------------------


def _record(kind: type, place: tuple[str, str]) -> Reducer:
    slots = _slots_of(kind)
    has_dict = kind.__dictoffset__ != 0

    def reduce(_: Sink, value: Any) -> Reduced:
        attributes = object.__getattribute__(value, "__dict__") if has_dict else None
        kept = None
        if slots:
            kept = {}
            for name, slot in slots.items():
                try:
                    kept[name] = slot.__get__(value)
                except AttributeError:  # nothing was assigned yet
                    continue
        # In two steps, so that an object may be part of what it holds.
        return record, (place,), (attributes, kept), None, None, fill

    return reduce


@maker
def record(source: Source, place: tuple[str, str]) -> Any:
    """Make an object of a dataclass or an attrs class without attributes."""
    kind = _class_at(source, place)
    if kind not in source.slots:
        require(_is_record(kind))
        source.slots[kind] = _slots_of(kind)
    return object.__new__(kind)


@maker
def fill(source: Source, value: Any, state: tuple[Any, Any]) -> None:
    """Set the attributes of an object that was just made."""
    slots = source.slots.get(type(value))
    attributes, kept = state
    if slots is None:
        raise Undecodable("a stream sets attributes of something else than an object that it made")
    if attributes:
        if type(attributes) is not dict or set(map(type, attributes)) != {str}:
            raise Undecodable("a stream sets attributes without a name")
        object.__getattribute__(value, "__dict__").update(attributes)
    if kept:
        for name, each in kept.items():
            slots[name].__set__(value, each)


def _member(place: tuple[str, str]) -> Reducer:
    def reduce(_: Sink, value: Any) -> Reduced:
        name = value._name_  # so that no class answers otherwise
        if type(name) is not str or type(value)._member_map_.get(name) is not value:
            raise Refused  # several flags together
        return member, (place, name)

    return reduce


@maker
def member(source: Source, place: tuple[str, str], name: str) -> Any:
    """Find a member of an enum."""
    kind = _class_at(source, place)
    require(issubclass(kind, enum.Enum))
    return kind._member_map_[name]


@maker
def named_tuple(source: Source, place: tuple[str, str], items: tuple[Any, ...]) -> Any:
    """Make a named tuple."""
    kind = _class_at(source, place)
    require(_is_named_tuple(kind), type(items) is tuple)
    return tuple.__new__(kind, items)
