"""Heavy objects that are built late and once: ``@stateful``.

Calling a stateful class gives a *stand-in* that holds the init arguments. The first use that needs the object (an
attribute, a call, ``len``, a comparison …) builds it, once, whatever the number of threads; from then on the stand-in
passes everything on. Only the init arguments are pickled, and equal arguments that arrive in one process give one
object.

How it is made:

- The class stays the class that was written: only its ``__new__`` is replaced, so ``isinstance``, ``super()``,
  subclasses, class attributes and metaclasses keep their meaning. A class that is already importable under its name
  (a library's) is left alone, and a lazy subclass of it is returned.
- A stand-in is no instance for the interpreter, it only says so through ``__class__``. Python looks special methods up
  on the type, so every stateful class gets a stand-in type that defines exactly those the class defines.
- The object itself is built by the ordinary constructor, and nothing intercepts what the constructor does.

What to know:

- ``repr`` of an object that is not built shows its arguments and does not build it. Probes for special names that the
  class does not define (``__array__``, ``_repr_html_`` …) are answered with ``AttributeError`` without building.
- ``copy.copy`` and ``copy.deepcopy`` give the object itself, as pickling within one process does: it is a resource,
  not a value. What was set on it after construction does not travel to other processes.
- A C function that insists on a real instance (of a ``dict`` subclass, say) refuses a stand-in.
- A subclass that defines ``__new__`` needs its own ``@stateful``.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import types
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeAlias, TypeVar, cast, overload

import attrs

from hypernodes._messages import did_you_mean, picture
from hypernodes._messages import listed as joined
from hypernodes.errors import HyperNodesError, NodeDefinitionError, OptionError

T = TypeVar("T")
Arguments: TypeAlias = "tuple[tuple[Any, ...], dict[str, Any]]"
Key: TypeAlias = "tuple[type, bytes]"

MARKERS: Final = ("__hypernode_stateful__", "__daft_stateful__")
_HOLDER: Final = "__hypernodes_stand_in__"


@overload
def stateful(cls: type[T], /, *, ignore: tuple[str, ...] = ()) -> type[T]: ...
@overload
def stateful(cls: None = None, /, *, ignore: tuple[str, ...] = ()) -> Callable[[type[T]], type[T]]: ...
def stateful(cls: Any = None, /, *, ignore: Any = ()) -> Any:
    """Make a class's objects lazy: built at first use, once per process, pickled as their init arguments.

    ::

        @stateful(ignore=("api_key",))
        class ExpensiveModel:
            def __init__(self, path: str, api_key: str = ""):
                self.weights = load(path)

        model = ExpensiveModel("./model.pkl")    # nothing is loaded
        model.predict("text")                    # now it is

    Arguments that do not fit the constructor's signature fail at the call; what the constructor itself raises is raised
    at the first use, and the next use tries again. Subclasses are stateful too.

    The object is identified by its class and its init arguments. A class may define ``__cache_key__`` to say it better;
    it is never called on a built object, so that the answer is the same everywhere. As a class method or static method
    it takes the init arguments. As an ordinary method its ``self`` has the init arguments as attributes (``self.path``
    and ``self._path`` are both the argument ``path``), besides the class's own attributes, methods and properties.

    Args:
        cls: The class. A class that is already importable under its name is not changed: a lazy subclass is returned.
        ignore: Names of init arguments that do not count for the object's identity (keys, verbosity, devices); they
            are still pickled. Counts for subclasses as well.

    Returns:
        The class, or a decorator for it where only options were given.

    Raises:
        NodeDefinitionError: If ``cls`` is no class, cannot be made lazy, or has no such init arguments.
        OptionError: If ``ignore`` is not a collection of names.
    """
    names = _ignored_names(ignore)
    if cls is None:
        return lambda decorated: _make_lazy(decorated, names)
    return _make_lazy(cls, names)


def is_stateful(obj: object) -> bool:
    """Return whether an object is heavy: made by a stateful class, or marked by its author.

    The marks are a true ``__hypernode_stateful__`` or ``__daft_stateful__`` on the object or its class. Classes
    themselves are not heavy. Never builds anything.
    """
    kind = type(obj)
    if issubclass(kind, StandIn):
        return True
    if issubclass(kind, type):
        return False
    try:
        return any(getattr(obj, mark, False) is True for mark in MARKERS)
    except Exception:  # noqa: BLE001 - an object with a broken __getattr__ has no mark
        return False


def built(obj: object) -> bool:
    """Return whether the object behind ``obj`` exists; true for everything that is not lazy."""
    return not issubclass(type(obj), StandIn) or _cell_of(obj).target is not _UNBUILT


def release() -> None:
    """Let go of the objects that this process keeps because it received them; the next task builds them again."""
    with _memo_lock:
        dropped = list(_kept.values())
        _kept.clear()
        _missed.clear()
    del dropped  # outside the lock: finalizers may take their time


# The class ------------------------------------------------------------------------------------------------------------


class _LazyNew:
    """Takes the place of a stateful class's ``__new__``: it makes a stand-in instead of an instance.

    It is lazy only where it is the ``__new__`` that a call of the class finds first; reached through ``super()`` it
    behaves like the method it replaced.

    Attributes:
        ignore: Names of init arguments that do not count for the identity.
        original: The class's own ``__new__``, if it has one.
        of: The class that this class is the lazy subclass of, where it was made by ``_derive``.
    """

    __slots__ = ("ignore", "of", "original")

    def __init__(self, ignore: tuple[str, ...], original: Callable[..., Any] | None = None, of: type | None = None) -> None:
        self.ignore = ignore
        self.original = original
        self.of = of

    def __reduce__(self) -> tuple[Any, ...]:
        return _LazyNew, (self.ignore, self.original, self.of)

    def __get__(self, instance: object, owner: type) -> _BoundNew:
        return _BoundNew(self, owner)

    def create(self, cls: type, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Make an instance as the class would have without us."""
        if self.original is not None:
            return self.original(cls, *args, **kwargs)
        mro = cls.__mro__
        here = next(position for position, klass in enumerate(mro) if klass.__dict__.get("__new__") is self)
        method: Any = super(mro[here], cls).__new__  # type: ignore[arg-type]
        # object.__new__ refuses arguments where __new__ was replaced; without us it would have let __init__ have them.
        return method(cls) if method is object.__new__ else method(cls, *args, **kwargs)


@attrs.frozen(eq=False)
class _BoundNew:
    """``cls.__new__`` of a stateful class, as seen from one class (its signature is that class's)."""

    lazy: Any  # a _LazyNew; type checkers take an annotated one for a descriptor
    owner: type

    def __call__(self, cls: type, /, *args: Any, **kwargs: Any) -> Any:
        lazy: _LazyNew = self.lazy
        first = _lazy_new(cls) is lazy
        if not first or getattr(cls, "__abstractmethods__", None):
            return lazy.create(cls, args, kwargs)
        problem = _misfit(cls, args, kwargs)
        if problem is not None:
            if args or kwargs:
                raise TypeError(problem)
            # Either `cls.__new__(cls)`, which wants a bare instance, or a call whose __init__ will now complain.
            return lazy.create(cls, args, kwargs)
        return _stand_in(cls, _Cell(cls, args, kwargs))

    @property
    def __signature__(self) -> Any:
        import inspect

        # Of the class's constructor, with a first parameter for `inspect.signature(cls)` to take off.
        kinds = inspect.Parameter
        anything = [kinds("args", kinds.VAR_POSITIONAL), kinds("kwargs", kinds.VAR_KEYWORD)]
        own = next(iter(_signatures(self.owner)), None)
        parameters = anything if own is None else list(own.parameters.values())
        first = "cls" if own is None or "cls" not in own.parameters else "_cls"
        return inspect.Signature([kinds(first, kinds.POSITIONAL_ONLY), *parameters])


def _ignored_names(ignore: object) -> tuple[str, ...]:
    if isinstance(ignore, str) or not isinstance(ignore, (tuple, list, set, frozenset)):
        message = f"ignore= takes a tuple of init argument names, not {picture(ignore)}; write ignore=({picture(ignore)},)"
        raise OptionError(message)
    wrong = [name for name in ignore if not isinstance(name, str)]
    if wrong:
        message = f"ignore= takes names of init arguments; {picture(wrong[0])} is no name"
        raise OptionError(message)
    return tuple(ignore)


def _make_lazy(cls: Any, ignore: tuple[str, ...]) -> Any:
    if not isinstance(cls, type):
        message = f"@stateful is for classes; {picture(cls)} is none"
        raise NodeDefinitionError(message)
    _check_ignore(cls, ignore)
    if _belongs_elsewhere(cls):
        return _derive(cls, ignore)
    own = cls.__dict__.get("__new__")
    original = own.original if isinstance(own, _LazyNew) else getattr(own, "__func__", own)
    _install(cls, _LazyNew(ignore, original))
    return cls


def _install(cls: type, lazy: _LazyNew) -> None:
    try:
        cls.__new__ = lazy  # type: ignore[assignment]
    except TypeError as error:
        message = f"{cls.__qualname__} cannot be made stateful: {error}"
        raise NodeDefinitionError(message) from error


def _belongs_elsewhere(cls: type) -> bool:
    """Whether the class was finished before, under its own name, so that others may be using it."""
    module = sys.modules.get(cls.__module__)
    if module is None or cls.__module__ == "__main__" or getattr(getattr(module, "__spec__", None), "_initializing", False):
        return False
    found: Any = module
    for name in cls.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is cls


_derived: weakref.WeakValueDictionary[tuple[type, tuple[str, ...]], type] = weakref.WeakValueDictionary()


def _derive(cls: type, ignore: tuple[str, ...]) -> type:
    """Return the lazy subclass of a class that is not ours to change; one per process."""
    with _memo_lock:
        known = _derived.get((cls, ignore))
        if known is not None:
            return known

        def body(namespace: dict[str, Any]) -> None:
            namespace.update(__module__=cls.__module__, __qualname__=cls.__qualname__, __doc__=cls.__doc__)

        try:
            made = types.new_class(cls.__name__, (cls,), {}, body)
        except TypeError as error:
            message = f"{cls.__qualname__} cannot be made stateful: {error}"
            raise NodeDefinitionError(message) from error
        _install(made, _LazyNew(ignore, None, cls))
        _derived[cls, ignore] = made
        return made


def _lazy_new(cls: type) -> _LazyNew | None:
    """Return the lazy ``__new__`` that a call of the class finds, if it finds one."""
    for klass in cls.__mro__:
        found = klass.__dict__.get("__new__")
        if found is not None:
            return found if isinstance(found, _LazyNew) else None
    return None


def _all_ignored(cls: type) -> frozenset[str]:
    news = (klass.__dict__.get("__new__") for klass in cls.__mro__)
    return frozenset(name for new in news if isinstance(new, _LazyNew) for name in new.ignore)


# The constructor's signature ------------------------------------------------------------------------------------------


def _constructors(cls: type) -> Iterator[Any]:
    """Yield the ``__init__`` and ``__new__`` that the class or its bases define, without our own."""
    for name in ("__init__", "__new__"):
        for klass in cls.__mro__[:-1]:
            found = klass.__dict__.get(name)
            if isinstance(found, _LazyNew):
                found = found.original
            if found is not None:
                yield getattr(found, "__func__", found)
                break


def _signatures(cls: type, *, follow_wrapped: bool = True) -> Iterator[Any]:
    """Yield the signatures of the Python functions that construct, without their first parameter."""
    import inspect

    own = list(_constructors(cls))
    for function in own:
        if isinstance(function, types.FunctionType):
            signature = inspect.signature(function, follow_wrapped=follow_wrapped)
            parameters = list(signature.parameters.values())
            if parameters and parameters[0].kind in (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD):
                del parameters[0]
            yield signature.replace(parameters=parameters)
    if not own:
        yield inspect.Signature()


def _misfit(cls: type, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str | None:
    """Say what is wrong with these init arguments, or return None."""
    for signature in _signatures(cls, follow_wrapped=False):
        try:
            signature.bind(*args, **kwargs)
        except TypeError as error:
            unknown = next((name for name in kwargs if name not in signature.parameters), None)
            hint = did_you_mean(unknown, signature.parameters) if unknown is not None else ""
            return f"{cls.__qualname__}(): {error}; it takes {signature}.{hint}"
    return None


def _check_ignore(cls: type, ignore: tuple[str, ...]) -> None:
    signatures = list(_signatures(cls))
    known = [name for signature in signatures for name in signature.parameters]
    kinds = [parameter.kind for signature in signatures for parameter in signature.parameters.values()]
    open_ended = not signatures or any(kind is kind.VAR_KEYWORD for kind in kinds)
    for name in ignore:
        if name not in known and not open_ended:
            message = f"ignore={ignore!r}: {cls.__qualname__}() takes no '{name}'; it takes {joined(known)}.{did_you_mean(name, known)}"
            raise NodeDefinitionError(message)


def _bound(cls: type, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Bind init arguments to the parameter names that say most, or return None."""
    found = None
    for follow in (True, False):
        for signature in _signatures(cls, follow_wrapped=follow):
            try:
                bound = signature.bind(*args, **kwargs)
            except TypeError:
                continue
            if any(parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD) for parameter in signature.parameters.values()):
                return bound
            found = found or bound
    return found


# The object -----------------------------------------------------------------------------------------------------------


class _Unbuilt:
    """The type of the sign that an object is not built."""


_UNBUILT: Final = _Unbuilt()


@attrs.define(eq=False)
class _Gate:
    """Lets one thread build. Locks do not survive a fork, so it knows its process."""

    pid: int = attrs.field(factory=os.getpid)
    lock: Any = attrs.field(factory=threading.Lock)
    builder: int | None = None


@attrs.define(eq=False)
class _Cell:
    """What a stand-in knows: how to build its object, and the object.

    Attributes:
        cls: The stateful class.
        args: Positional init arguments.
        kwargs: Keyword init arguments.
        target: The object, or ``_UNBUILT``.
        gate: Made when somebody builds.
        key: Where the object is found in the process's memo; only set for objects that arrived by unpickling.
        alias: The ``Model[int]`` that was called, which ``typing`` sets on what the call returned.
    """

    cls: type
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    target: Any = _UNBUILT
    gate: _Gate | None = None
    key: Key | None = None
    alias: object = None


def _build(proxy: StandIn) -> Any:
    """Return the object behind a stand-in, building it if nobody has."""
    cell = _cell_of(proxy)
    if cell.target is not _UNBUILT:
        return cell.target
    with _memo_lock:
        gate = cell.gate
        if gate is None or gate.pid != os.getpid():
            gate = cell.gate = _Gate()
    me = threading.get_ident()
    if gate.builder == me:
        message = f"{_unbuilt_repr(cell)} was used by its own constructor before it was built"
        raise HyperNodesError(message)
    with gate.lock:
        if cell.target is not _UNBUILT:
            return cell.target
        gate.builder = me
        try:
            target = _construct(cell)
        finally:
            gate.builder = None
        cell.target = target
    if cell.key is not None:
        _keep(cell.key, proxy)
    return target


def _construct(cell: _Cell) -> Any:
    args, kwargs = cell.args, cell.kwargs
    # Constructors take from what they are given (`config.pop("device")`): the arguments to pickle are these, as they are now.
    snapshot = _copied((args, kwargs))
    lazy: Any = _lazy_new(cell.cls)
    target = lazy.create(cell.cls, args, kwargs)
    kind = type(target)
    if cell.cls in kind.__mro__:  # as type.__call__ decides it
        kind.__init__(target, *args, **kwargs)
    if cell.alias is not None:
        with contextlib.suppress(Exception):  # typing does not insist either
            target.__orig_class__ = cell.alias
    cell.args, cell.kwargs = snapshot
    return target


def _copied(value: Any) -> Any:
    """Copy the plain containers of a value, and share everything else."""
    seen: dict[int, Any] = {}

    def copy(value: Any) -> Any:
        kind = type(value)
        if kind not in (list, dict, set, tuple):
            return value
        if id(value) in seen:
            return seen[id(value)]
        if kind is list:
            result: Any = []
            seen[id(value)] = result
            result.extend(copy(item) for item in value)
        elif kind is dict:
            result = seen[id(value)] = {}
            result.update((key, copy(item)) for key, item in value.items())
        else:
            result = set(value) if kind is set else tuple(copy(item) for item in value)
            seen[id(value)] = result
        return result

    try:
        return copy(value)
    except RecursionError:  # nested deeper than a constructor would look
        return value


# Stand-ins ------------------------------------------------------------------------------------------------------------


class StandIn:
    """Base of all stand-ins. Internal: use ``is_stateful``, ``built`` and ``isinstance(obj, YourClass)``."""

    __slots__ = ("__weakref__", "_hypernodes_cell")
    __hypernode_stateful__ = True
    _hypernodes_cell: _Cell
    _hypernodes_class: type

    def __getattr__(self, name: str) -> Any:
        cell = self._hypernodes_cell
        target = cell.target
        if target is _UNBUILT:
            if _is_probe(name) and not _defines(cell.cls, name):
                message = f"'{cell.cls.__name__}' object has no attribute '{name}'"
                raise AttributeError(message, name=name, obj=self)
            target = _build(self)
        value = getattr(target, name)
        return self if value is target else value

    def __setattr__(self, name: str, value: Any) -> None:
        cell = _cell_of(self)
        if name == "__orig_class__" and cell.target is _UNBUILT:
            cell.alias = value
        else:
            setattr(_build(self), name, value)

    def __delattr__(self, name: str) -> None:
        delattr(_build(self), name)

    def __dir__(self) -> list[str]:
        cell = _cell_of(self)
        return dir(cell.cls if cell.target is _UNBUILT else cell.target)

    def __repr__(self) -> str:
        cell = _cell_of(self)
        return _unbuilt_repr(cell) if cell.target is _UNBUILT else repr(cell.target)

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return _reduced(self)

    def __copy__(self) -> StandIn:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> StandIn:
        return self

    def __hypernodes_identity__(self) -> tuple[type, tuple[Any, ...], dict[str, Any]]:
        """Say who the object is without building it.

        Returns:
            ``(class, args, kwargs)``. Arguments with a name are in ``kwargs`` in the order of the signature, however
            they were passed; ``args`` holds positional-only ones and what ``*args`` collects; ignored ones are left
            out. With a ``__cache_key__`` it is ``(class, (key,), {})``. For the lazy subclass of a library's class,
            the class is the library's.
        """
        cell = _cell_of(self)
        cls = cell.cls
        subject = getattr(_lazy_new(cls), "of", None) or cls
        if hasattr(cls, "__cache_key__"):
            return subject, (_cache_key(self),), {}
        ignored = _all_ignored(cls)
        bound = _bound(cls, cell.args, cell.kwargs)
        if bound is None:
            return subject, cell.args, {name: value for name, value in cell.kwargs.items() if name not in ignored}
        positional: list[Any] = []
        named: dict[str, Any] = {}
        for name, value in bound.arguments.items():
            kind = bound.signature.parameters[name].kind
            if name in ignored:
                continue
            if kind is kind.VAR_KEYWORD:
                named.update((each, item) for each, item in value.items() if each not in ignored)
            elif kind is kind.VAR_POSITIONAL:
                positional.extend(value)
            elif kind is kind.POSITIONAL_ONLY:
                positional.append(value)
            else:
                named[name] = value
        return subject, tuple(positional), named


_cell_of: Callable[[Any], _Cell] = StandIn._hypernodes_cell.__get__  # type: ignore[attr-defined, misc]  # noqa: SLF001 - the slot's reader, ours


def _is_probe(name: str) -> bool:
    """Whether libraries and notebooks ask any object for this name."""
    return (name.startswith("__") and name.endswith("__")) or name.startswith(("_repr_", "_ipython_"))


def _defines(cls: type, name: str) -> bool:
    # A notebook that shows an object must not load a model for it.
    return not name.startswith(("_repr_", "_ipython_")) and any(name in klass.__dict__ for klass in cls.__mro__)


def _unbuilt_repr(cell: _Cell) -> str:
    # An ignored argument is often a secret.
    ignored = _all_ignored(cell.cls)
    bound = _bound(cell.cls, cell.args, cell.kwargs) if ignored else None
    parameters = bound.signature.parameters.values() if bound is not None else ()
    names = [each.name for each in parameters if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)]
    names = [*names, *[""] * len(cell.args)][: len(cell.args)]
    shown = ["…" if name in ignored else picture(value) for name, value in zip(names, cell.args, strict=True)]
    shown += [f"{name}={'…' if name in ignored else picture(value)}" for name, value in cell.kwargs.items()]
    return f"{cell.cls.__name__}({', '.join(shown)}) (not built)"


class _Holder:
    """Keeps a class's stand-in type in the class's namespace, and out of pickles of the class."""

    __slots__ = ("kind",)

    def __init__(self, kind: type[StandIn] | None = None) -> None:
        self.kind = kind

    def __reduce__(self) -> tuple[Any, ...]:
        return _Holder, ()


def _stand_in(cls: type, cell: _Cell) -> Any:
    holder = cls.__dict__.get(_HOLDER)
    kind = holder.kind if isinstance(holder, _Holder) else None
    if kind is None or kind._hypernodes_class is not cls:  # noqa: SLF001 - ours; dataclass(slots=True) copies a class's namespace
        kind = _stand_in_type(cls)
        setattr(cls, _HOLDER, _Holder(kind))
    proxy = object.__new__(kind)
    object.__setattr__(proxy, "_hypernodes_cell", cell)
    return proxy


def _special(words: str, prefixes: tuple[str, ...] = ("",)) -> frozenset[str]:
    return frozenset(f"__{prefix}{word}__" for word in words.split() for prefix in prefixes)


# Special methods that a stand-in has of its own, or that say something about classes and not about objects.
_OWN: Final = _special(
    "class new init del getattribute getattr setattr delattr dir repr sizeof reduce reduce_ex getstate setstate getnewargs getnewargs_ex "
    "copy deepcopy init_subclass subclasshook class_getitem set_name dict weakref doc module annotate annotate_func cache_key"
)
_ARITHMETIC: Final = "add sub mul matmul truediv floordiv mod divmod pow lshift rshift and xor or"
_OPERATORS: Final = _special("eq ne lt le gt ge") | _special(_ARITHMETIC, ("", "r", "i"))
_TYPE_LEVEL_DATA: Final = ("__annotations__", "__dataclass_fields__", "__dataclass_params__")  # dataclasses.asdict() asks the type


def _stand_in_type(cls: type) -> type[StandIn]:
    namespace: dict[str, Any] = {}
    for klass in reversed(cls.__mro__[:-1]):  # the nearest definition last; object's own methods suit a stand-in as they are
        for name, attribute in klass.__dict__.items():
            special = name.startswith("__") and name.endswith("__")
            namespace.pop(name, None)
            if name in _OWN or _is_display(name) or isinstance(attribute, (classmethod, staticmethod, type)):
                continue
            if special and (attribute is None or name in _TYPE_LEVEL_DATA):
                namespace[name] = attribute
            elif special and callable(attribute):
                namespace[name] = _forwarder(name, attribute, special=True)
            elif isinstance(attribute, types.FunctionType):
                namespace[name] = _Method(name, _forwarder(name, attribute, special=False))
    if hasattr(cls, "__cache_key__"):
        namespace["__cache_key__"] = _cache_key
    namespace.update(
        __slots__=(),
        __module__=cls.__module__,
        __qualname__=cls.__qualname__,
        __doc__=cls.__doc__,
        __class__=property(_class_of),
        _hypernodes_class=cls,
    )
    return type(cls.__name__, (StandIn,), namespace)


def _is_display(name: str) -> bool:
    return name.startswith(("_repr_", "_ipython_"))


def _class_of(proxy: StandIn) -> type:
    cell = _cell_of(proxy)
    return cell.cls if cell.target is _UNBUILT else cast("type", cell.target.__class__)


class _Method:
    """A method of the class, to be had without building the object: calling it builds."""

    __slots__ = ("forward", "name")

    def __init__(self, name: str, forward: Callable[..., Any]) -> None:
        self.name = name
        self.forward = forward

    def __get__(self, proxy: Any, owner: type) -> Any:
        if proxy is None:
            return self.forward
        target = proxy._hypernodes_cell.target  # noqa: SLF001 - ours
        if target is not _UNBUILT:
            # Constructors replace methods (`self.predict = compile(self.predict)`), and so do tests.
            own = getattr(target, "__dict__", None)
            if own is not None and self.name in own:
                return own[self.name]
        return types.MethodType(self.forward, proxy)


def _forwarder(name: str, attribute: Any, *, special: bool) -> Callable[..., Any]:
    # The functions reach the rest of this module by calling module-level functions only: cloudpickle may take them apart.
    import functools
    import inspect

    if inspect.iscoroutinefunction(attribute):
        call = _call_special if special else _call_method

        async def forward(self: Any, /, *args: Any, **kwargs: Any) -> Any:
            return await _awaited(self, call(self, name, args, kwargs))

    elif special and name in _OPERATORS:

        def forward(self: Any, /, *args: Any, **kwargs: Any) -> Any:  # type: ignore[misc]
            # Comparing and calculating want the object on the other side too (C code looks at its type).
            return _call_special(self, name, tuple(_unwrapped(other) for other in args), kwargs)

    elif special:

        def forward(self: Any, /, *args: Any, **kwargs: Any) -> Any:  # type: ignore[misc]
            return _call_special(self, name, args, kwargs)

    else:

        def forward(self: Any, /, *args: Any, **kwargs: Any) -> Any:  # type: ignore[misc]
            return _call_method(self, name, args, kwargs)

    if isinstance(attribute, types.FunctionType):
        functools.update_wrapper(forward, attribute)
    forward.__name__ = name  # what a bound method pickles
    return forward


def _call_method(proxy: StandIn, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    target = proxy._hypernodes_cell.target  # noqa: SLF001 - ours
    if target is _UNBUILT:
        target = _build(proxy)
    result = getattr(target, name)(*args, **kwargs)
    return proxy if result is target else result  # `return self`: the stand-in stays what travels


def _call_special(proxy: StandIn, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    target = _build(proxy)
    kind = type(target)
    found = next(klass.__dict__[name] for klass in kind.__mro__ if name in klass.__dict__)
    bind = getattr(type(found), "__get__", None)
    result = (found if bind is None else bind(found, target, kind))(*args, **kwargs)
    return proxy if result is target else result


async def _awaited(proxy: StandIn, result: Any) -> Any:
    if hasattr(type(result), "__await__"):  # unless a plain function has replaced the method
        result = await result
    return proxy if result is _build(proxy) else result


def _unwrapped(other: Any) -> Any:
    return _build(other) if issubclass(type(other), StandIn) else other


# Identity -------------------------------------------------------------------------------------------------------------


class _NotAnArgumentError(AttributeError):
    """``__cache_key__`` read what only a built object has."""


class _Preview:
    """What a ``__cache_key__`` method sees as ``self``: the init arguments and what the class itself has."""

    __slots__ = ("_hypernodes_class", "_hypernodes_values")
    __class__ = property(lambda self: self._hypernodes_class)  # for super() and isinstance

    def __init__(self, cls: type, values: dict[str, Any]) -> None:
        self._hypernodes_class = cls
        self._hypernodes_values = values

    def __getattr__(self, name: str) -> Any:
        cls, values = self._hypernodes_class, self._hypernodes_values
        for candidate in (name, name.lstrip("_")):
            if candidate in values:
                return values[candidate]
        for klass in cls.__mro__[:-1]:
            if name in klass.__dict__:
                found = klass.__dict__[name]
                if isinstance(found, (types.MemberDescriptorType, types.GetSetDescriptorType)):
                    break
                bind = getattr(type(found), "__get__", None)
                return found if bind is None else bind(found, self, cls)
        raise _NotAnArgumentError(name)


def _cache_key(proxy: StandIn) -> Any:
    """Ask the class for the object's key without building the object."""
    cell = _cell_of(proxy)
    cls = cell.cls
    found = next(klass.__dict__["__cache_key__"] for klass in cls.__mro__ if "__cache_key__" in klass.__dict__)
    if isinstance(found, (classmethod, staticmethod)):
        return cls.__cache_key__(*cell.args, **cell.kwargs)  # type: ignore[attr-defined]
    bound = _bound(cls, cell.args, cell.kwargs)
    values: dict[str, Any] = {}
    if bound is not None:
        bound.apply_defaults()
        values = dict(bound.arguments)
        for name, parameter in bound.signature.parameters.items():
            if parameter.kind is parameter.VAR_KEYWORD:
                values.update(values.pop(name))
    try:
        return found.__get__(_Preview(cls, values), cls)()
    except _NotAnArgumentError as error:
        message = (
            f"{cls.__qualname__}.__cache_key__ reads self.{error}, which exists only once the object is built. It may read the init "
            f"arguments ({joined(values)}), or be a class method that takes them."
        )
        raise NodeDefinitionError(message) from error


# Travelling -----------------------------------------------------------------------------------------------------------

_memo_lock = threading.RLock()
# Every stand-in that was pickled or unpickled here and is still in use: the same arguments give the same object.
_alive: weakref.WeakValueDictionary[Key, StandIn] = weakref.WeakValueDictionary()
# A worker drops what a task brought when the task ends, and must not build the model again for the next one: the last
# few objects built from unpickled arguments stay. Where one of them comes back after it was dropped, room is made.
_kept: OrderedDict[Key, StandIn] = OrderedDict()
_missed: OrderedDict[int, None] = OrderedDict()
_ROOM_AT_FIRST: Final = 8
_ROOM_AT_MOST: Final = 256
_room = _ROOM_AT_FIRST


def _reset_lock() -> None:
    global _memo_lock  # noqa: PLW0603 - the forking thread's lock may be held by a thread that does not exist here
    _memo_lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_lock)


@attrs.frozen
class _Derived:
    """How the lazy subclass of a library's class travels."""

    of: type
    ignore: tuple[str, ...]


def _reduced(proxy: StandIn) -> tuple[Any, ...]:
    cell = _cell_of(proxy)
    key = _key(cell)
    if key is not None:
        with _memo_lock:
            _alive.setdefault(key, proxy)
    lazy: object = cell.cls.__dict__.get("__new__")
    reference: Any = cell.cls
    if isinstance(lazy, _LazyNew) and lazy.of is not None:
        reference = _Derived(lazy.of, lazy.ignore)
    return _restore, (reference, cell.args, cell.kwargs)


def _restore(reference: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Unpickle: return the object that this process has for these arguments, or a new stand-in."""
    cls = _derive(reference.of, reference.ignore) if isinstance(reference, _Derived) else reference
    if _lazy_new(cls) is None:  # it is an ordinary class here
        return cls(*args, **kwargs)
    cell = _Cell(cls, args, kwargs)
    cell.key = key = _key(cell)
    if key is None:
        return _stand_in(cls, cell)
    with _memo_lock:
        known = _alive.get(key)
    # The arguments of an object that the program made itself may have been changed before it was built.
    if known is not None and _cell_of(known).key is None and _key(_cell_of(known)) != key:
        known = None
    made = _stand_in(cls, cell) if known is None else known
    with _memo_lock:
        if known is None:
            again = _alive.get(key)  # another thread may have been quicker
            made = again if again is not None and _cell_of(again).key is not None else made
            _alive[key] = made
        if key in _kept:
            _kept.move_to_end(key)
    return made


def _key(cell: _Cell) -> Key | None:
    """Name a class with its arguments within this process, or return None where the arguments cannot be compared."""
    import hashlib
    import importlib
    import io
    import pickle

    def dump(pickler: Callable[[Any], Any]) -> bytes | None:
        for fast in (True, False):  # fast: shared and equal parts look alike; impossible where something contains itself
            buffer = io.BytesIO()
            try:
                writer = pickler(buffer)
                writer.fast = fast
                writer.dump((cell.args, cell.kwargs))
            except Exception:  # noqa: BLE001, S112 - anything may go wrong in a foreign __reduce__
                continue
            return buffer.getvalue()
        return None

    data = dump(pickle.Pickler)
    if data is None:
        try:
            pickler = importlib.import_module("cloudpickle").Pickler
        except ImportError:
            return None
        data = dump(pickler)
    return None if data is None else (cell.cls, hashlib.blake2b(data, digest_size=20).digest())


def _keep(key: Key, proxy: StandIn) -> None:
    global _room  # noqa: PLW0603 - one memo per process
    dropped = []
    with _memo_lock:
        if _missed.pop(hash(key), _UNBUILT) is None:
            _room = min(2 * _room, _ROOM_AT_MOST)
        _kept[key] = proxy
        _kept.move_to_end(key)
        while len(_kept) > _room:
            old, instance = _kept.popitem(last=False)
            dropped.append(instance)
            _missed[hash(old)] = None
        while len(_missed) > 4 * _ROOM_AT_MOST:
            _missed.popitem(last=False)
    del dropped  # outside the lock: finalizers may take their time
