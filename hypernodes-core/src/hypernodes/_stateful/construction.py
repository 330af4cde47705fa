"""Building the object of a stateful class: as the class itself would have, and once."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from typing import Any, Final

import attrs

from hypernodes._stateful.memo import MEMO, Key, key_of
from hypernodes.errors import HyperNodesError

UNBUILT: Final = object()


@attrs.define(eq=False)
class LazyClass:
    """What is known of a stateful class; it takes the place of the class's ``__new__``."""

    ignore: tuple[str, ...]  # names of init arguments that do not count for the identity
    original: Callable[..., Any] | None = None  # the class's own `__new__`
    # Stand-in types of the class and its subclasses. They hold on to these: in a module's table they would stay for ever.
    stand_ins: weakref.WeakKeyDictionary[type, Any] = attrs.field(factory=weakref.WeakKeyDictionary, init=False)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.ignore, self.original)

    def create(self, cls: type, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Make an instance as the class would have without us."""
        if self.original is not None:
            return self.original(cls, *args, **kwargs)
        here = next(klass for klass in cls.__mro__ if klass.__dict__.get("__new__") is self)
        method: Any = super(here, cls).__new__  # type: ignore[arg-type]
        # object.__new__ refuses arguments where __new__ was replaced; without us it would have let __init__ have them.
        return method(cls) if method is object.__new__ else method(cls, *args, **kwargs)


def lazy_class(cls: type) -> Any:
    """Return the ``LazyClass`` that a call of the class finds as ``__new__``, or None."""
    found = next((klass.__dict__["__new__"] for klass in cls.__mro__ if "__new__" in klass.__dict__), None)
    return found if isinstance(found, LazyClass) else None


@attrs.define(eq=False)
class Cell:
    """What a stand-in knows: how to build its object, and the object."""

    cls: type
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    key: Key | None = None  # of objects that arrived by unpickling, which the process may keep
    target: Any = UNBUILT
    lock: Any = attrs.field(factory=threading.RLock)  # held by the thread that builds

    def build(self, stand_in: object) -> Any:
        """Return the object, building it if nobody has."""
        if self.target is not UNBUILT:
            return self.target
        with self.lock:
            if self.target is not UNBUILT:
                return self.target
            if self in _in_progress:  # other threads wait at the lock
                raise HyperNodesError(f"a {self.cls.__qualname__} object was used by its own constructor before it was built")
            _in_progress.add(self)
            try:
                self.target = self._construct()
            finally:
                _in_progress.discard(self)
        if self.key is not None:
            MEMO.keep(self.key, stand_in)
        return self.target

    def name(self) -> Key | None:
        """Return what the memo knows the object by, if it can know it."""
        return self.key or key_of(self.cls, self.args, self.kwargs)

    def _construct(self) -> Any:
        cls: Any = self.cls
        args, kwargs = self.args, self.kwargs
        # Constructors change what they are given (`config.pop("device")`): these copies are to pickle and to try again with.
        self.args, self.kwargs = _copied((args, kwargs))
        target = lazy_class(cls).create(cls, args, kwargs)
        kind: Any = type(target)
        if cls in kind.__mro__:  # as type.__call__ decides it
            kind.__init__(target, *args, **kwargs)
        return target


_in_progress: Final[set[Cell]] = set()


def _after_fork() -> None:
    # The threads that held these locks do not exist here.
    MEMO.lock = threading.RLock()
    for cell in _in_progress:
        cell.lock = threading.RLock()
    _in_progress.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _copied(value: Any, depth: int = 6) -> Any:
    """Copy the plain containers of a value as deep as a constructor would look, and share everything else."""
    kind = type(value)
    if not depth or kind not in (dict, list, tuple, set):
        return value
    if kind is dict:
        return {key: _copied(item, depth - 1) for key, item in value.items()}
    return kind(_copied(item, depth - 1) for item in value)
