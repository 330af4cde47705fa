"""What the init arguments of a stateful object say without the object: whether they fit, and who it is."""

from __future__ import annotations

import contextlib
import inspect
import types
from typing import Any, Final

import attrs

from hypernodes._messages import did_you_mean, listed, picture
from hypernodes._stateful.construction import Cell, LazyClass
from hypernodes.errors import NodeDefinitionError

_ANYTHING: Final = inspect.signature(lambda *args, **kwargs: None)  # noqa: ARG005 - its signature is wanted


def signature_of(cls: type, *, follow_wrapped: bool = True) -> inspect.Signature:
    """Return the signature of the class's constructor; one that is not written in Python may take anything."""
    defined = [klass.__dict__.get(name) for name in ("__init__", "__new__") for klass in cls.__mro__[:-1]]
    defined = [each.original if isinstance(each, LazyClass) else each for each in defined]
    first = next((each for each in defined if each is not None), None)
    if first is None:
        return inspect.Signature()
    function = getattr(first, "__func__", first)
    if not isinstance(function, types.FunctionType):
        return _ANYTHING
    return inspect.signature(types.MethodType(function, cls), follow_wrapped=follow_wrapped)  # bound: without its `self`


def misfit(cls: type, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str | None:
    """Say what is wrong with these init arguments, or return None."""
    signature = signature_of(cls, follow_wrapped=False)
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        hint = next((did_you_mean(name, signature.parameters) for name in kwargs if name not in signature.parameters), "")
        return f"{cls.__qualname__}(): {error}; it takes {signature}.{hint}"
    return None


def check_ignore(cls: type, ignore: tuple[str, ...]) -> None:
    """Raise where ``ignore=`` names what the constructor does not take."""
    known = signature_of(cls).parameters
    wrong = next((name for name in ignore if name not in known), None)
    if wrong is not None and not any(each.kind is each.VAR_KEYWORD for each in known.values()):
        raise NodeDefinitionError(
            f"ignore={ignore!r}: {cls.__qualname__}() takes no '{wrong}'; it takes {listed(known)}.{did_you_mean(wrong, known)}"
        )


def _bound(cell: Cell) -> inspect.BoundArguments:
    """Give the init arguments their names."""
    for follow in (True, False):  # a wrapper of the constructor may pass on others than it takes
        with contextlib.suppress(TypeError):
            return signature_of(cell.cls, follow_wrapped=follow).bind(*cell.args, **cell.kwargs)
    return _ANYTHING.bind(*cell.args, **cell.kwargs)


def _pieces(cell: Cell) -> list[tuple[str, Any, bool]]:
    """Return the init arguments, each as its name ("" where it has none), its value and whether it is ignored."""
    news = (klass.__dict__.get("__new__") for klass in cell.cls.__mro__)
    ignored = {name for new in news if isinstance(new, LazyClass) for name in new.ignore}
    bound = _bound(cell)
    pieces: list[tuple[str, Any, bool]] = []
    for name, value in bound.arguments.items():
        kind = bound.signature.parameters[name].kind
        if kind is kind.VAR_KEYWORD:
            pieces += [(each, item, not ignored.isdisjoint((name, each))) for each, item in value.items()]
        elif kind is kind.VAR_POSITIONAL:
            pieces += [("", item, name in ignored) for item in value]
        else:
            pieces.append(("" if kind is kind.POSITIONAL_ONLY else name, value, name in ignored))
    return pieces


def identifying(cell: Cell) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the init arguments that count, those with a name in a dict however they were passed."""
    counting = [(name, value) for name, value, ignored in _pieces(cell) if not ignored]
    return tuple(value for name, value in counting if not name), {name: value for name, value in counting if name}


def shown(cell: Cell) -> str:
    """Show an object that is not built by its init arguments, without the ignored ones: they are often secrets."""
    words = [f"{name}=" * bool(name) + ("…" if ignored else picture(value)) for name, value, ignored in _pieces(cell)]
    return f"{cell.cls.__name__}({', '.join(words)}) (not built)"


class _NotAnArgumentError(AttributeError):
    """``__cache_key__`` read what only a built object has."""


@attrs.frozen(eq=False, repr=False)
class _Preview:
    """What a ``__cache_key__`` method sees as ``self``: the init arguments and what the class itself has."""

    _hypernodes_class: type
    _hypernodes_values: dict[str, Any]
    __class__ = property(lambda self: self._hypernodes_class)  # for super() and isinstance

    def __getattr__(self, name: str) -> Any:
        cls, values = self._hypernodes_class, self._hypernodes_values
        for candidate in (name, name.lstrip("_")):
            if candidate in values:
                return values[candidate]
        found = next((klass.__dict__[name] for klass in cls.__mro__[:-1] if name in klass.__dict__), self)
        if found is self or isinstance(found, (types.MemberDescriptorType, types.GetSetDescriptorType)):
            raise _NotAnArgumentError(name)
        bind = getattr(type(found), "__get__", None)
        return found if bind is None else bind(found, self, cls)


def cache_key(cell: Cell) -> Any:
    """Ask the class for its object's ``__cache_key__`` without building the object."""
    cls: Any = cell.cls
    found = next(klass.__dict__["__cache_key__"] for klass in cls.__mro__ if "__cache_key__" in klass.__dict__)
    if isinstance(found, (classmethod, staticmethod)):
        return cls.__cache_key__(*cell.args, **cell.kwargs)
    bound = _bound(cell)
    bound.apply_defaults()
    values = {**bound.arguments, **bound.kwargs}
    try:
        return found.__get__(_Preview(cls, values), cls)()
    except _NotAnArgumentError as error:
        raise NodeDefinitionError(
            f"{cls.__qualname__}.__cache_key__ reads self.{error}, which exists only once the object is built. It may read the init "
            f"arguments ({listed(values)}), or be a class method that takes them."
        ) from error
