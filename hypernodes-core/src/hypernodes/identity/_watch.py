"""Whether anything that an identity was made from has changed, asked as cheaply as possible."""

from __future__ import annotations

import types
import weakref
from collections.abc import Callable, Mapping
from typing import Any, Final

MISSING: Final = object()
SMALL: Final = 65_536  # characters up to which a text is kept to compare it by identity
_SCALARS: Final = frozenset({int, float, bool, complex, type(None), type(Ellipsis)})
_TEXTS: Final = frozenset({str, bytes})

Check = Callable[[], bool]


def constant(value: object) -> bool:
    """Whether a value can be told from any other by being the same object, and is small enough to keep."""
    kind = type(value)
    return kind in _SCALARS or value is MISSING or (kind in _TEXTS and len(value) <= SMALL)  # type: ignore[arg-type]


class Watch:
    """Everything that must be as it was for an identity to stand."""

    def __init__(self) -> None:
        self._constants: dict[tuple[int, str], tuple[Mapping[str, Any], str, object]] = {}
        self._objects: dict[tuple[int, str], tuple[Mapping[str, Any], str, Callable[[], object]]] = {}
        self._checks: list[Check] = []

    def name(self, namespace: Mapping[str, Any], name: str, value: object) -> None:
        """Watch that a name goes on standing for the same object."""
        if constant(value):
            self._constants[id(namespace), name] = (namespace, name, value)
            return
        try:
            get: Callable[[], object] = weakref.ref(value)
        except TypeError:
            get = _Same(value)
        self._objects[id(namespace), name] = (namespace, name, get)

    def check(self, check: Check) -> None:
        """Watch something else."""
        self._checks.append(check)

    def function(self, function: types.FunctionType) -> None:
        """Watch a function's code, defaults, attributes and the constants and objects that it closes over."""
        self._checks.append(_FunctionWatch(function))

    def klass(self, cls: type) -> None:
        """Watch the names in a class, and its bases."""
        self._checks.append(_ClassWatch(cls))

    def holds(self) -> bool:
        """Return whether everything is as it was."""
        for namespace, name, value in self._fast[0]:
            if namespace.get(name, MISSING) is not value:
                return False
        for namespace, name, get in self._fast[1]:
            if namespace.get(name, MISSING) is not get():
                return False
        return all(check() for check in self._checks)

    def close(self) -> None:
        """Get ready for being asked."""
        self._fast = tuple(self._constants.values()), tuple(self._objects.values())


class _Same:
    __slots__ = ("value",)

    def __init__(self, value: object) -> None:
        self.value = value

    def __call__(self) -> object:
        return self.value


def _kept(value: object) -> Callable[[], object] | None:
    """Return what gives a constant or a piece of code again; data is watched by its content."""
    if constant(value):
        return _Same(value)
    if issubclass(type(value), (types.FunctionType, type, types.ModuleType)):
        return weakref.ref(value)
    return None


class _FunctionWatch:
    __slots__ = ("attributes", "cells", "code", "defaults", "function", "kwdefaults")

    def __init__(self, function: types.FunctionType) -> None:
        self.function = weakref.ref(function)
        self.code = function.__code__
        self.defaults = function.__defaults__
        self.kwdefaults = tuple((function.__kwdefaults__ or {}).items())
        found = ((number, _kept(cell_contents(cell))) for number, cell in enumerate(function.__closure__ or ()))
        self.cells = tuple((number, get) for number, get in found if get is not None)
        self.attributes = tuple((name, _kept(value)) for name, value in function.__dict__.items())

    def __call__(self) -> bool:
        function = self.function()
        if function is None or function.__code__ is not self.code or function.__defaults__ is not self.defaults:
            return False
        if self.cells:
            closure = function.__closure__ or ()
            for number, get in self.cells:
                if cell_contents(closure[number]) is not get():
                    return False
        keywords = function.__kwdefaults__
        if (keywords or self.kwdefaults) and not _same_items(keywords or {}, self.kwdefaults):
            return False
        attributes = function.__dict__
        if len(attributes) != len(self.attributes):
            return False
        return all(get is None or attributes.get(name, MISSING) is get() for name, get in self.attributes)


def _same_items(now: Mapping[str, Any], then: tuple[tuple[str, Any], ...]) -> bool:
    return len(now) == len(then) and all(now.get(name, MISSING) is value for name, value in then)


class _ClassWatch:
    __slots__ = ("bases", "cls", "names")

    def __init__(self, cls: type) -> None:
        self.cls = weakref.ref(cls)
        self.names = tuple(cls.__dict__)
        self.bases = cls.__bases__

    def __call__(self) -> bool:
        cls = self.cls()
        return cls is not None and tuple(cls.__dict__) == self.names and cls.__bases__ == self.bases


def cell_contents(cell: types.CellType) -> Any:
    """Return what is in a cell; ``MISSING`` where nothing is yet."""
    try:
        return cell.cell_contents
    except ValueError:
        return MISSING
