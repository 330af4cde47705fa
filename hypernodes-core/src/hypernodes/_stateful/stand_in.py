"""Stand-ins: what a stateful class gives when it is called. They build the object when it is needed, and pass on to it."""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable
from typing import Any, Final

from hypernodes._stateful.construction import UNBUILT, Cell, lazy_class
from hypernodes._stateful.init_args import cache_key, identifying, shown
from hypernodes._stateful.memo import MEMO, key_of


def is_stateful(obj: object) -> bool:
    """Return whether an object is heavy: made by a stateful class, or marked by its author.

    The marks are a true ``__hypernode_stateful__`` or ``__daft_stateful__`` on the object or its class. Classes
    themselves are not heavy. Never builds anything.
    """
    if issubclass(type(obj), type):
        return False
    try:
        return any(getattr(obj, mark, False) is True for mark in ("__hypernode_stateful__", "__daft_stateful__"))
    except Exception:  # noqa: BLE001 - an object with a broken __getattr__ has no mark
        return False


def built(obj: object) -> bool:
    """Return whether the object behind ``obj`` exists; true for everything that is not lazy."""
    return not _is_stand_in(obj) or _cell_of(obj).target is not UNBUILT


class StandIn:
    """Base of all stand-ins. Internal: use ``is_stateful``, ``built`` and ``isinstance(obj, YourClass)``."""

    __slots__ = ("__weakref__", "_hypernodes_cell")
    __hypernode_stateful__ = True
    _hypernodes_cell: Cell

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        cell = self._hypernodes_cell
        return cell.cls if cell.target is UNBUILT else cell.target.__class__

    def __getattr__(self, name: str) -> Any:
        cell = self._hypernodes_cell
        if cell.target is UNBUILT and _is_probe(cell.cls, name):
            raise AttributeError(f"'{cell.cls.__name__}' object has no attribute '{name}'", name=name, obj=self)
        return _mine(self, getattr(cell.build(self), name))

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "__orig_class__":  # `Model[int](…)`: typing tries to say so, and can do without
            raise AttributeError(name)
        setattr(_cell_of(self).build(self), name, value)

    def __delattr__(self, name: str) -> None:
        delattr(_cell_of(self).build(self), name)

    def __dir__(self) -> list[str]:
        cell = _cell_of(self)
        return dir(cell.cls if cell.target is UNBUILT else cell.target)

    def __repr__(self) -> str:
        cell = _cell_of(self)
        return shown(cell) if cell.target is UNBUILT else repr(cell.target)

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        cell = _cell_of(self)
        if (key := cell.name()) is not None:
            with MEMO.lock:
                MEMO.alive.setdefault(key, self)
        return _restore, (cell.cls, cell.args, cell.kwargs)

    def __deepcopy__(self, memo: object = None) -> StandIn:
        return self

    __copy__ = __deepcopy__

    def __hypernodes_identity__(self) -> tuple[type, tuple[Any, ...], dict[str, Any]]:
        """Say who the object is without building it.

        Returns:
            ``(class, args, kwargs)``. Arguments with a name are in ``kwargs`` in the order of the signature, however
            they were passed; ``args`` holds positional-only ones and what ``*args`` collects; ignored ones are left
            out. With a ``__cache_key__`` it is ``(class, (key,), {})``.
        """
        cell = _cell_of(self)
        if hasattr(cell.cls, "__cache_key__"):
            return cell.cls, (cache_key(cell),), {}
        return cell.cls, *identifying(cell)


_cell_of: Callable[[Any], Cell] = StandIn._hypernodes_cell.__get__  # type: ignore[attr-defined, misc]  # noqa: SLF001 - the slot's reader, ours


def _is_stand_in(obj: object) -> bool:
    return issubclass(type(obj), StandIn)  # isinstance would ask the class that it stands in for


def _mine(proxy: StandIn, result: Any) -> Any:
    """Return what a method returned, but the stand-in where that was the object (`return self`): it stays what travels."""
    return proxy if result is _cell_of(proxy).target else result


def _is_probe(cls: type, name: str) -> bool:
    """Whether libraries ask any object for this name. A notebook that shows an object must not load a model for it."""
    special = name.startswith("__") and name.endswith("__")
    return name.startswith(_DISPLAY) or (special and not any(name in klass.__dict__ for klass in cls.__mro__))


def _restore(cls: type, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Unpickle: return the object that this process has for these arguments, or a new stand-in."""
    key = key_of(cls, args, kwargs)
    made = stand_in(Cell(cls, args, kwargs, key))
    if key is None:
        return made
    with MEMO.lock:
        known = MEMO.alive.get(key)
        # The arguments of an object that the program made itself may have been changed before it was built.
        if known is None or _cell_of(known).name() != key:
            known = MEMO.alive[key] = made
        if key in MEMO.kept:
            MEMO.kept.move_to_end(key)
    return known


# Special methods that a stand-in has of its own, or that say something about classes and not about objects.
_OWN: Final = frozenset(dir(object)) - {"__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__", "__hash__", "__str__", "__format__"} | {
    *("__del__", "__getattr__", "__setstate__", "__getnewargs__", "__getnewargs_ex__", "__copy__", "__deepcopy__", "__class_getitem__"),
    *("__set_name__", "__dict__", "__weakref__", "__module__", "__annotate__", "__annotate_func__", "__cache_key__"),
}
_DISPLAY: Final = ("_repr_", "_ipython_")
_TYPE_LEVEL_DATA: Final = ("__annotations__", "__dataclass_fields__", "__dataclass_params__")  # dataclasses.asdict() asks the type


def stand_in(cell: Cell) -> Any:
    """Make the stand-in of an object that is not built."""
    known = lazy_class(cell.cls).stand_ins
    kind = known.get(cell.cls)
    if kind is None:
        kind = known[cell.cls] = _stand_in_type(cell.cls)
    proxy = object.__new__(kind)
    object.__setattr__(proxy, "_hypernodes_cell", cell)
    return proxy


def _stand_in_type(cls: type) -> type[StandIn]:
    namespace: dict[str, Any] = {}
    for klass in reversed(cls.__mro__[:-1]):  # the nearest definition last; object's own methods suit a stand-in as they are
        for name, attribute in klass.__dict__.items():
            namespace.pop(name, None)
            if name in _OWN or name.startswith(_DISPLAY) or isinstance(attribute, (classmethod, staticmethod, type)):
                continue
            if not (name.startswith("__") and name.endswith("__")):
                if isinstance(attribute, types.FunctionType):
                    namespace[name] = _method(name, _forwarder(name, attribute))
            elif attribute is None or name in _TYPE_LEVEL_DATA:
                namespace[name] = attribute
            elif callable(attribute):
                namespace[name] = _forwarder(name, attribute)
    if hasattr(cls, "__cache_key__"):
        namespace["__cache_key__"] = lambda proxy: cache_key(_cell_of(proxy))
    namespace.update(__slots__=(), __module__=cls.__module__, __qualname__=cls.__qualname__, __doc__=cls.__doc__)
    return type(cls.__name__, (StandIn,), namespace)


def _method(name: str, forward: Callable[..., Any]) -> property:
    """Make a method that is to be had without building the object: calling it builds."""

    def get(proxy: StandIn) -> Any:
        # Constructors replace methods (`self.predict = compile(self.predict)`), and so do tests.
        own = getattr(_cell_of(proxy).target, "__dict__", {})
        return own[name] if name in own else types.MethodType(forward, proxy)

    return property(get)


def _forwarder(name: str, attribute: Any) -> Callable[..., Any]:
    if inspect.iscoroutinefunction(attribute):

        async def forward(self: Any, /, *args: Any, **kwargs: Any) -> Any:
            return _mine(self, await getattr(_cell_of(self).build(self), name)(*args, **kwargs))

    else:

        def forward(self: Any, /, *args: Any, **kwargs: Any) -> Any:  # type: ignore[misc]
            call = getattr(_cell_of(self).build(self), name)
            result = call(*args, **kwargs)
            if result is NotImplemented and any(map(_is_stand_in, args)):  # C code compares and adds real instances only
                result = call(*(_cell_of(each).build(each) if _is_stand_in(each) else each for each in args), **kwargs)
            return _mine(self, result)

    if isinstance(attribute, types.FunctionType):
        functools.update_wrapper(forward, attribute)
    forward.__name__ = name  # what a bound method pickles
    return forward
