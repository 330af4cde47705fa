"""What a class of the user is made of, without what Python and the makers of data classes add to it."""

from __future__ import annotations

import enum
import types
from collections.abc import Iterator
from typing import Any, Final

import attrs

from hypernodes.identity._owner import is_users, module_of, resolved

_NOTHING: Final = frozenset(
    "__module__ __qualname__ __doc__ __dict__ __weakref__ __annotations__ __annotate__ __annotate_func__ __annotations_cache__ "
    "__firstlineno__ __static_attributes__ __abstractmethods__ _abc_impl __parameters__ __orig_bases__ __slotnames__ __type_params__ "
    "__dataclass_params__ __dataclass_fields__ __attrs_attrs__ __attrs_own_setattr__ __attrs_base_of_slotted__ __attrs_props__ "
    "__protocol_attrs__ __non_callable_proto_members__ _is_protocol _is_runtime_protocol __readonly_keys__ __mutable_keys__ "
    "__signature__ __fields_set__ __class_vars__ __private_attributes__ __classcell__".split()
)
_ENUM: Final = frozenset(
    "_member_map_ _member_names_ _value2member_map_ _member_type_ _new_member_ _use_args_ _value_repr_ _unhashable_values_ "
    "_unhashable_values_map_ _hashable_values_ _flag_mask_ _singles_mask_ _all_bits_ _inverted_ _boundary_".split()
)
_TUPLE: Final = frozenset({"_field_defaults", "_fields", "__match_args__", "__slots__", "_fields_defaults"})
_MAKERS: Final = frozenset({"dataclasses", "reprlib", "attr._make", "collections", "enum", "typing", "abc"})
_PARAMETERS: Final = ("init", "repr", "eq", "order", "unsafe_hash", "frozen")
_FIELD: Final = ("init", "repr", "hash", "compare", "kw_only")
_ATTRS_FIELD: Final = ("init", "repr", "eq", "order", "hash", "kw_only", "alias", "inherited")
_PLAIN_METACLASSES: Final = frozenset({"builtins.type", "abc.ABCMeta", "enum.EnumType", "typing._ProtocolMeta", "typing._TypedDictMeta"})


@attrs.frozen(eq=False)
class Member:
    """Something in a class that counts.

    Attributes:
        label: What it is: ``words``, ``field text``.
        value: The object.
        attribute: Whether it is found in the class under its label.
    """

    label: str
    value: Any
    attribute: bool = True


def full_name(cls: type) -> str:
    """Return a class's name with its module."""
    return f"{module_of(cls)}.{type.__dict__['__qualname__'].__get__(cls)}"


def annotations_count(cls: type) -> bool:
    """Whether a class is of a kind that makes something of its annotations beyond the names."""
    return full_name(type(cls)) not in _PLAIN_METACLASSES or "__pydantic_fields__" in cls.__dict__


def facts_of(cls: type) -> list[str]:
    """Return what is said about a class in plain words, in an order that only depends on it."""
    found = []
    own = cls.__dict__
    parameters = own.get("__dataclass_params__")
    if parameters is not None:
        found.append(f"dataclass {[bool(getattr(parameters, name, False)) for name in _PARAMETERS]}")
        for field in own.get("__dataclass_fields__", {}).values():
            kind = getattr(getattr(field, "_field_type", None), "name", "")
            found.append(f"field {field.name} {kind} {[getattr(field, name, None) is True for name in _FIELD]}")
    if "__attrs_attrs__" in own:
        found.append(f"attrs {sorted(name for name in own if _is_made(own[name]) and name != '__replace__')}")
        for field in own["__attrs_attrs__"]:
            flags = [str(getattr(field, name, None)) for name in _ATTRS_FIELD if _is_flag(field, name)]
            found.append(f"field {field.name} {flags}")
    if _is_named_tuple(cls):
        found.append(f"tuple {own['_fields']}")
    if isinstance(cls, enum.EnumMeta):
        found.append(f"enum {list(cls.__members__)}")
    return found


def members_of(cls: type) -> Iterator[Member]:
    """Yield what counts in a class, in an order that only depends on it."""
    own = dict(cls.__dict__)
    declared = _is_declared(cls)
    skipped = set(_NOTHING)
    if isinstance(cls, enum.EnumMeta):
        skipped |= _ENUM | set(cls.__members__)
        yield from (Member(f"{name}", member._value_, attribute=False) for name, member in vars(cls)["_member_map_"].items())
    if _is_named_tuple(cls):
        skipped |= _TUPLE | set(own["_fields"])
        yield from (Member(f"field {name}", value, attribute=False) for name, value in own["_field_defaults"].items())
    if "__dataclass_fields__" in own:
        skipped |= {"__match_args__"}
        yield from _dataclass_fields(own)
    if "__attrs_attrs__" in own:
        skipped |= {"__match_args__", "__slots__"}
        yield from _attrs_fields(own)
    yield from _pydantic_fields(own)
    for name in sorted(each for each in own if isinstance(each, str)):
        value = own[name]
        if isinstance(value, (types.MemberDescriptorType, types.GetSetDescriptorType)) or name.startswith("__pydantic_"):
            continue
        if name in skipped and type(value) is not property:  # written by hand, whatever its name
            continue
        if declared and (_is_made(value) or (name == "__hash__" and value is None)):
            continue
        yield Member(name, value)


def _dataclass_fields(own: dict[str, Any]) -> Iterator[Member]:
    from dataclasses import MISSING

    for field in own["__dataclass_fields__"].values():
        if field.default is not MISSING and own.get(field.name, MISSING) is not field.default:
            yield Member(f"field {field.name}", field.default, attribute=False)
        if field.default_factory is not MISSING:
            yield Member(f"factory of field {field.name}", field.default_factory, attribute=False)
        if field.metadata:
            yield Member(f"metadata of field {field.name}", dict(field.metadata), attribute=False)


def _attrs_fields(own: dict[str, Any]) -> Iterator[Member]:
    for field in own["__attrs_attrs__"]:
        factory = getattr(field.default, "factory", None)
        if factory is not None and type(field.default).__name__ == "Factory":
            yield Member(f"factory of field {field.name}", factory, attribute=False)
        elif getattr(field.default, "name", None) != "NOTHING":
            yield Member(f"field {field.name}", field.default, attribute=False)
        for name in ("validator", "converter", "on_setattr"):
            value = getattr(field, name, None)
            if value is not None:
                yield Member(f"{name} of field {field.name}", value, attribute=False)
        if field.metadata:
            yield Member(f"metadata of field {field.name}", dict(field.metadata), attribute=False)


def _pydantic_fields(own: dict[str, Any]) -> Iterator[Member]:
    fields = own.get("__pydantic_fields__")
    if not isinstance(fields, dict):
        return
    for name, field in fields.items():
        for part in ("default", "default_factory", "alias", "metadata"):
            value = getattr(field, part, None)
            if value is not None and type(value).__name__ != "PydanticUndefinedType":
                yield Member(f"{part} of field {name}", value, attribute=False)


def _is_flag(field: Any, name: str) -> bool:
    return isinstance(getattr(field, name, None), (bool, str, type(None)))


def _is_named_tuple(cls: type) -> bool:
    own = cls.__dict__
    return issubclass(cls, tuple) and isinstance(own.get("_fields"), tuple) and isinstance(own.get("_field_defaults"), dict)


def _is_declared(cls: type) -> bool:
    """Whether a maker of classes put methods of its own making into the class."""
    own = cls.__dict__
    return (
        "__dataclass_fields__" in own
        or "__attrs_attrs__" in own
        or isinstance(cls, enum.EnumMeta)
        or bool(own.get("_is_protocol"))
        or _is_named_tuple(cls)
    )


def _is_made(value: Any) -> bool:
    """Whether a method was made, not written: what it was made from counts in its stead."""
    function = getattr(value, "__func__", value) if isinstance(value, (staticmethod, classmethod)) else value
    if isinstance(function, (types.BuiltinFunctionType, types.WrapperDescriptorType, types.MethodDescriptorType)):
        return False
    if not isinstance(function, types.FunctionType):
        return False
    code, module = function.__code__, function.__globals__.get("__name__")
    return (
        module in _MAKERS
        or str(module).startswith("namedtuple_")
        or code.co_qualname.startswith("__create_fn__.")
        or code.co_filename.startswith("<attrs generated")
    )


def users_subclasses(cls: type) -> list[type]:
    """Return the direct subclasses that are the user's own, without what other versions of a module have left behind."""
    found: dict[str, type] = {}
    subclasses: list[type] = type.__subclasses__(cls)
    for each in sorted(subclasses, key=full_name):
        name = full_name(each)
        if is_users(each) and (name not in found or resolved(module_of(each), name.removeprefix(f"{module_of(each)}.")) is each):
            found[name] = each
    return list(found.values())


def names_of_subclasses(cls: type | None) -> list[str]:
    """Return the full names of what ``users_subclasses`` gives."""
    return [full_name(each) for each in users_subclasses(cls)] if cls is not None else []
