"""The decorator ``@stateful`` and the ``__new__`` that it puts into a class."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from typing import Any, TypeVar, overload

import attrs

from hypernodes._messages import picture
from hypernodes._stateful.construction import Cell, LazyClass, lazy_class
from hypernodes._stateful.init_args import check_ignore, misfit, signature_of
from hypernodes._stateful.stand_in import stand_in
from hypernodes.errors import NodeDefinitionError, OptionError

T = TypeVar("T")


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
        cls: The class, where it is defined. Of a library's class, make a subclass stateful.
        ignore: Names of init arguments that do not count for the object's identity (keys, verbosity, devices); they
            are still pickled. Counts for subclasses as well.

    Returns:
        The class, or a decorator for it where only options were given.

    Raises:
        NodeDefinitionError: If ``cls`` is no class, is a library's, or has no such init arguments.
        OptionError: If ``ignore`` is not a collection of names.
    """
    if not isinstance(ignore, (tuple, list, set, frozenset)) or not all(isinstance(name, str) for name in ignore):
        raise OptionError(f"ignore= takes a tuple of init argument names, like ignore=('api_key',), not {picture(ignore)}")
    if cls is None:
        return lambda decorated: _make_lazy(decorated, tuple(ignore))
    return _make_lazy(cls, tuple(ignore))


class LazyNew(LazyClass):
    """Takes the place of a stateful class's ``__new__``: it makes a stand-in instead of an instance.

    It is lazy only where it is the ``__new__`` that a call of the class finds first; reached through ``super()`` it
    behaves like the method it replaced.
    """

    def __get__(self, instance: object, owner: type) -> _BoundNew:
        return _BoundNew(self, owner)


@attrs.frozen(eq=False)
class _BoundNew:
    """``cls.__new__`` of a stateful class, as seen from one class (its signature is that class's)."""

    lazy: Any  # a LazyNew; type checkers take an annotated one for a descriptor
    owner: type

    def __call__(self, cls: type, /, *args: Any, **kwargs: Any) -> Any:
        if lazy_class(cls) is self.lazy and not getattr(cls, "__abstractmethods__", None):
            problem = misfit(cls, args, kwargs)
            if problem is None:
                return stand_in(Cell(cls, args, kwargs))
            if args or kwargs:
                raise TypeError(problem)
            # Either `cls.__new__(cls)`, which wants a bare instance, or a call whose __init__ will now complain.
        return self.lazy.create(cls, args, kwargs)

    @property
    def __signature__(self) -> inspect.Signature:
        # Of the class's constructor, with a first parameter for `inspect.signature(cls)` to take off.
        first = inspect.Parameter("_cls", inspect.Parameter.POSITIONAL_ONLY)
        return inspect.Signature([first, *signature_of(self.owner).parameters.values()])


def _make_lazy(cls: Any, ignore: tuple[str, ...]) -> Any:
    if not isinstance(cls, type):
        raise NodeDefinitionError(f"@stateful is for classes; {picture(cls)} is none")
    check_ignore(cls, ignore)
    if _belongs_elsewhere(cls):
        cure = f"make a subclass stateful: @stateful above `class Lazy{cls.__name__}({cls.__name__}): ...`"
        raise NodeDefinitionError(f"{cls.__module__}.{cls.__qualname__} is in use as it is; {cure}")
    own = cls.__dict__.get("__new__")
    original = own.original if isinstance(own, LazyClass) else getattr(own, "__func__", own)
    cls.__new__ = LazyNew(ignore, original)  # type: ignore[assignment]
    return cls


def _belongs_elsewhere(cls: type) -> bool:
    """Whether the class was finished before, under its own name, so that others may be using it."""
    found: Any = sys.modules.get(cls.__module__)
    if cls.__module__ == "__main__" or getattr(getattr(found, "__spec__", None), "_initializing", False):
        return False
    for name in cls.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is cls
