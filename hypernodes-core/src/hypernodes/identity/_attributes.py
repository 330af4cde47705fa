"""The attributes of objects, read past properties, ``__getattr__`` and whatever else a class answers with."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable
from typing import Any

from hypernodes.identity._encoding import Unidentifiable, hashed, of_str
from hypernodes.identity._owner import module_of, of_library, type_name

Reader = Callable[[Any], tuple[list[str], list[Any]]]


def found_in(kind: type, name: str) -> Any:
    """Return what a class or one of its bases defines under a name, unbound, or None."""
    for each in kind.__mro__:
        if name in each.__dict__:
            return each.__dict__[name]
    return None


def slots_of(kind: type) -> list[tuple[str, Any]]:
    """Return the attributes that a class and its bases keep room for, each with what reads it."""
    return [
        (name, member)
        for each in reversed(kind.__mro__)
        for name, member in each.__dict__.items()
        if type(member) is types.MemberDescriptorType and member.__objclass__ is each
    ]


def is_all_attributes(kind: type) -> bool:
    """Return whether objects of a class hold nothing but attributes; classes written in C may hold more."""
    pointer = tuple.__itemsize__
    room = object.__basicsize__ + pointer * ((kind.__dictoffset__ > 0) + (kind.__weakrefoffset__ > 0) + len(slots_of(kind)))
    return not kind.__itemsize__ and kind.__basicsize__ <= room


def reader_of(kind: type) -> Reader:
    """Return what gives the names and the values of an object's attributes.

    Raises:
        Unidentifiable: If the class puts something of its own in the place of ``__dict__``.
    """
    slots = slots_of(kind)
    dicts = (each.__dict__.get("__dict__") for each in kind.__mro__)
    own = next((each for each in dicts if type(each) is types.GetSetDescriptorType), None)
    if own is None and kind.__dictoffset__:
        raise Unidentifiable("an object that hides its attributes", type_name(kind))

    def read(value: Any) -> tuple[list[str], list[Any]]:
        names: list[str] = []
        values: list[Any] = []
        if own is not None:
            attributes = own.__get__(value)
            names += dict.keys(attributes)
            values += dict.values(attributes)
        for name, member in slots:
            try:
                values.append(member.__get__(value))
            except AttributeError:  # nothing was assigned yet
                continue
            names.append(name)
        return names, values

    return read


def kept_by_libraries(kind: type) -> frozenset[str]:
    """Return the attributes that classes of libraries only keep so as not to compute them again.

    A user's cached property counts: it may have been assigned to.
    """
    return frozenset(
        name
        for each in kind.__mro__
        for name, member in each.__dict__.items()
        if isinstance(member, functools.cached_property) and of_library(module_of(each))
    )


def spelled(names: list[str]) -> bytes:
    """Return the identity of a row of attribute names."""
    return hashed(b"".join([of_str(name) for name in names]))
