"""Who takes a value apart: one handler per type."""

from __future__ import annotations

import enum
import functools
import os
import sys
import types
from typing import Any, Final

from hypernodes._file import FILE_MARK, File
from hypernodes._stateful.stand_in import StandIn
from hypernodes.identity import _arrays, _files, _tables
from hypernodes.identity._attributes import found_in, reader_of
from hypernodes.identity._encoding import Known, Parts, Unidentifiable, by_name, head, named, of_str
from hypernodes.identity._objects import handler_by_key, handler_of_object, raising, sensible
from hypernodes.identity._owner import full_name, module_of, of_library, resolved, type_name
from hypernodes.identity._plain import CONTAINERS, LEAVES, Handler, items_of
from hypernodes.identity._refused import refusal
from hypernodes.node import DualNode, Node

_LIBRARIES: Final = {
    "numpy": _arrays.numpy_handler,
    "scipy": _arrays.scipy_handler,
    "torch": _arrays.torch_handler,
    "pandas": _tables.pandas_handler,
    "polars": _tables.polars_handler,
    "pyarrow": _tables.arrow_handler,
}
_NOT_CONTENTS: Final = frozenset("__builtins__ __cached__ __doc__ __file__ __loader__ __name__ __package__ __path__ __spec__".split())


def handler_of(kind: type) -> Handler:
    """Return what takes values of a type apart.

    Raises:
        Unidentifiable: If values of this type have no identity.
    """
    found = CONTAINERS.get(kind) or _CODE.get(kind) or next((_FAMILIES[each] for each in kind.__mro__ if each in _FAMILIES), None)
    if found is not None:
        return found
    method = found_in(kind, "__cache_key__")
    if method is not None:
        return handler_by_key(kind, method)
    found = _plugins_handler(kind)
    if found is not None:
        return found
    reason = refusal(kind)
    if reason is not None:
        raise Unidentifiable(reason, type_name(kind))
    if issubclass(kind, enum.Enum):
        return _member
    for base in kind.__mro__:
        library = _LIBRARIES.get(module_of(base).partition(".")[0])
        found = library(kind, base) if library is not None else None
        if found is not None:
            return found
    return handler_of_object(kind)


# Code -------------------------------------------------------------------------------------------------------------------


def _code(walk: Any, value: Any) -> bytes:
    return walk.code(value)  # type: ignore[no-any-return]


def _class(walk: Any, value: type) -> bytes:
    return named("class", walk.of_class(value))


def _with(tag: str, *names: str) -> Handler:
    """Return what takes apart an object that is some of its attributes."""
    labels = [f".{name}" for name in names]
    return lambda _, value: Parts(head(tag), [getattr(value, name, None) for name in names], by_name, labels)


def _node(walk: Any, value: Node[..., Any]) -> Parts:
    names = ("singular", "batch") if isinstance(value, DualNode) else ("func",)
    functions = [getattr(value, name) for name in names]
    return Parts(head("node", walk.of_class(type(value))), functions, by_name, [f".{name}" for name in names])


def _module(_: Any, value: types.ModuleType) -> Parts | bytes:
    name = str(value.__name__)
    if of_library(name) and sys.modules.get(name) is value:
        return named("library", of_str(name))
    contents = [(key, each) for key, each in list(vars(value).items()) if key not in _NOT_CONTENTS]
    return Parts(head("module", of_str(name)), items_of(contents), lambda parts, k: f".{parts.children[k - k % 2]}")


def _stand_in(walk: Any, value: StandIn) -> Parts:
    cls = value._hypernodes_cell.cls  # noqa: SLF001 - asking for its class could build the object
    keyed = found_in(cls, "__cache_key__") is not None
    try:
        cls, args, kwargs = StandIn.__hypernodes_identity__(value)
    except (Exception, SystemExit) as error:
        raise raising("__cache_key__" if keyed else "init signature", error, cls) from error
    if keyed:
        args = (sensible(args[0], "__cache_key__", cls),)
    top = head("stateful", walk.of_class(cls), walk.spelled(list(kwargs)))
    labels = [".__cache_key__()" if keyed else "", *(f".{name}" for name in kwargs)]
    return Parts(top, [args[0] if keyed else args, *kwargs.values()], by_name, labels, derived=keyed)


def _member(walk: Any, value: enum.Enum) -> Parts:
    """Take a member of an enum apart: the class, the name, and what is plain about it.

    What else it is was written down in the class, where it may be anything: ``MISSING = object()``.
    """
    kind = type(value)
    content = value._value_
    if type(content) not in LEAVES:
        content = Known(walk.apart(content) or of_str("something"))
    own, attributes = reader_of(kind)(value)
    names = [name for name in own if not name.startswith("_")]
    values = [each for name, each in zip(own, attributes, strict=True) if not name.startswith("_")]
    top = head("member", walk.of_class(kind), walk.spelled(names))
    return Parts(top, [value._name_, content, *values], by_name, ["", ".value", *(f".{name}" for name in names)])


def _file(walk: Any, value: File) -> bytes:
    content = _files.content_identity(value)
    found = named("file", content)
    walk.classes.add((f"{FILE_MARK}{os.path.abspath(value.path)}", found))  # noqa: PTH100 - as it was written, links and all
    return found if type(value) is File else named("file of a class", walk.of_class(type(value)), content)


_FAMILIES: Final[dict[type, Handler]] = {File: _file, StandIn: _stand_in, Node: _node, type: _class, types.ModuleType: _module}
_CODE: Final[dict[type, Handler]] = {
    types.FunctionType: _code,
    types.MethodType: _with("method", "__func__", "__self__"),
    functools.partial: _with("partial", "func", "args", "keywords", "__dict__"),
    functools._lru_cache_wrapper: _with("lru_cache", "__wrapped__"),  # noqa: SLF001 - the type has no other name
    staticmethod: _with("staticmethod", "__func__"),
    classmethod: _with("classmethod", "__func__"),
    property: _with("property", "fget", "fset", "fdel"),
}


# Plugins ----------------------------------------------------------------------------------------------------------------


def _plugins_handler(kind: type) -> Handler | None:
    """Return what asks a plugin's hasher about values of a type, if one is registered for exactly this type."""
    from hypernodes import plugins

    registry = plugins.current().registry
    name = next((each for each in registry.names("hasher") if _is_name_of(each, kind)), None)
    if name is None:
        return None
    what = f"hasher '{name}' of {' and '.join(registry.owners('hasher', name))}"

    def handle(walk: Any, value: Any) -> Parts:
        try:
            hasher: Any = registry.load("hasher", name)
            answer = hasher(value)
        except (Exception, SystemExit) as error:
            raise raising(what, error, kind) from error
        return Parts(head("hasher", walk.of_class(kind)), (sensible(answer, what, kind),), by_name, ("",), derived=True)

    return handle


def _is_name_of(name: str, kind: type) -> bool:
    """Whether a name means a class: ``module:qualname``, ``module.qualname``, or where its library shows it (``polars.DataFrame``)."""
    dotted, own = name.replace(":", "."), full_name(kind).replace(":", ".")
    if dotted == own:
        return True
    module, _, attribute = dotted.rpartition(".")
    return dotted.partition(".")[0] == own.partition(".")[0] and resolved(module, attribute) is kind
