"""Objects by what they are made of: their class and their state."""

from __future__ import annotations

import copyreg
import dataclasses
import inspect
import itertools
from collections.abc import Callable, Iterable
from typing import Any, Final

from hypernodes.identity._attributes import found_in, is_all_attributes, kept_by_libraries, reader_of
from hypernodes.identity._encoding import FALSE, NONE, Known, Parts, Unidentifiable, by_name, hashed, head, of_str
from hypernodes.identity._owner import is_users, of_library, resolved, type_name
from hypernodes.identity._plain import Handler, Items, Members, items_of

_MOST: Final = 10_000_000  # things that a class may hand out to rebuild an object from; beyond it there is no end
_STATE_METHODS: Final = ("__reduce_ex__", "__reduce__", "__getstate__")
_NEW_METHODS: Final = ("__getnewargs_ex__", "__getnewargs__")

# How to read what a builtin class holds, past whatever a class derived from it makes of that.
_WHOLE: Final = slice(None)
_CONTENTS: Final[dict[type, Callable[[Any], Any]]] = {
    list: lambda value: list.__getitem__(value, _WHOLE),
    tuple: lambda value: tuple.__getitem__(value, _WHOLE),
    dict: lambda value: Items(items_of(list(dict.items(value)))),
    set: lambda value: Members(list(set.__iter__(value))),
    frozenset: lambda value: Members(list(frozenset.__iter__(value))),
    int: int.__pos__,
    float: float.__pos__,
    complex: complex.__pos__,
    str: lambda value: str.__getitem__(value, _WHOLE),
    bytes: lambda value: bytes.__getitem__(value, _WHOLE),
    bytearray: lambda value: bytearray.__getitem__(value, _WHOLE),
}


def handler_of_object(kind: type) -> Handler:
    """Return what takes objects of a class apart.

    What a class says about copying its objects is what they are: ``__getstate__`` and ``__reduce__`` decide what reaches
    another process too. Where it says nothing its attributes are, private ones included.
    """
    base = next((each for each in kind.__mro__ if each in _CONTENTS), None)
    if base is not None and not _says_more(kind, base, _STATE_METHODS):
        return _builtin_and_more(kind, base)
    if kind in copyreg.dispatch_table or _says_more(kind, object, _STATE_METHODS + _NEW_METHODS) or not is_all_attributes(kind):
        return _rebuilt
    return _attributes(kind)


def _says_more(kind: type, base: type, methods: Iterable[str]) -> bool:
    return any(found_in(kind, name) is not found_in(base, name) for name in methods)


# By attributes ----------------------------------------------------------------------------------------------------------


def _attribute(parts: Parts, position: int) -> str:
    return f".{parts.names[position]}"


def _attributes(kind: type) -> Handler:
    read, kept = reader_of(kind), kept_by_libraries(kind)

    def handle(walk: Any, value: Any) -> Parts:
        names, values = read(value)
        if kept:
            counting = [(name, each) for name, each in zip(names, values, strict=True) if name not in kept]
            names, values = [name for name, _ in counting], [each for _, each in counting]
        return Parts(b"p" + walk.of_class(kind) + walk.spelled(names), values, _attribute, names)

    return handle


def _builtin_and_more(kind: type, base: type) -> Handler:
    read = reader_of(kind)
    contents = _CONTENTS[base]
    fields = kind.__dict__.get("_fields") if base is tuple else None  # of a named tuple

    def handle(walk: Any, value: Any) -> Parts:
        names, values = read(value)
        top = walk.of_class(kind) + walk.spelled(names)
        content = contents(value)
        if type(fields) is tuple and not names and len(fields) == len(content):
            return Parts(b"Q" + top, content, _attribute, fields)
        return Parts(b"q" + top, [content, *values], by_name, ["", *(f".{name}" for name in names)])

    return handle


# By what the class says about rebuilding ----------------------------------------------------------------------------------


def _rebuilt(walk: Any, value: Any) -> Parts:
    kind = type(value)
    answer = _ask(kind, value)
    of_class = walk.of_class(kind)
    if type(answer) is str:
        return Parts(b"g" + of_class, (_home_of(value, kind, answer), answer))
    if type(answer) is not tuple or not 2 <= len(answer) <= 6 or not callable(answer[0]) or type(answer[1]) is not tuple:  # noqa: PLR2004 - by pickle's rules
        raise Unidentifiable("an object whose __reduce__ answers nonsense", type_name(kind))
    rest: list[Any] = [*answer, *[None] * (6 - len(answer))]
    make, arguments, state, listed, keyed, setter = rest
    if make is copyreg.__newobj__ and arguments and arguments[0] is kind:  # type: ignore[attr-defined]
        make, arguments = Known(of_str("new")), arguments[1:]
    elif make is kind:
        make = Known(of_str("call"))
    names, values = _state_of(kind, state)
    row = [None if each is None else _limited(each, kind) for each in (listed, keyed)]
    children = [_maker(make), arguments, row[0], None if row[1] is None else Items(items_of(row[1])), setter, *values]
    about = ".args" if issubclass(kind, BaseException) else ".__reduce__()[1]"
    labels = [".__reduce__()[0]", about, "", "", ".__reduce__()[5]", *([""] if names is None else [f".{name}" for name in names])]
    tag = FALSE if state is None else NONE if names is None else walk.spelled(names)
    return Parts(b"o" + of_class + tag, children, by_name, labels)


def _ask(kind: type, value: Any) -> Any:
    registered = copyreg.dispatch_table.get(kind)
    try:
        if registered is not None:
            return registered(value)
        method = found_in(kind, "__reduce_ex__")
        if method is found_in(object, "__reduce_ex__"):
            return object.__reduce_ex__(value, 4)
        return method.__get__(value, kind)(4)
    except (Exception, SystemExit) as error:
        said = next((name for name in _STATE_METHODS if _says_more(kind, object, (name,))), None)
        if said is None or not is_users(kind):
            raise Unidentifiable("an object that does not show what it is made of", type_name(kind)) from error
        raise Unidentifiable(f"an object whose {said} raises {type_name(type(error))}", type_name(kind)) from error


def _limited(given: Iterable[Any], kind: type) -> list[Any]:
    found = list(itertools.islice(given, _MOST + 1))
    if len(found) > _MOST:
        raise Unidentifiable("an object without an end", type_name(kind))
    return found


def _state_of(kind: type, state: Any) -> tuple[list[str] | None, list[Any]]:
    """Return names and values of a state that is one of attributes; no names where it is something else."""
    if state is None:
        return [], []
    if type(state) is tuple and len(state) == 2 and all(each is None or _is_attributes(each) for each in state):  # noqa: PLR2004 - dict and slots
        state = {name: value for each in state if each for name, value in each.items()}
    if _is_attributes(state):
        kept = kept_by_libraries(kind)
        return [name for name in state if name not in kept], [value for name, value in state.items() if name not in kept]
    fields = [field.name for field in dataclasses.fields(kind)] if dataclasses.is_dataclass(kind) else []
    if type(state) is list and fields and len(fields) == len(state):  # as dataclasses with slots answer
        return fields, state
    return None, [state]


def _is_attributes(state: Any) -> bool:
    return type(state) is dict and all(type(name) is str for name in state)


def _maker(make: Any) -> Any:
    """Return what stands for a function that rebuilds an object: its name, where a library has it under that name."""
    module, name = getattr(make, "__module__", None), getattr(make, "__qualname__", None)
    if isinstance(make, type) or not isinstance(module, str) or not isinstance(name, str):
        return make
    if of_library(module) and resolved(module, name) is make:
        return Known(hashed(head("maker") + of_str(module) + of_str(name)))
    return make


def _home_of(value: Any, kind: type, name: str) -> str:
    """Return the module where an object is found under the name that it gives as all there is to say about it."""
    from pickle import whichmodule  # type: ignore[attr-defined]

    module = str(whichmodule(value, name))
    if resolved(module, name) is not value:
        raise Unidentifiable("an object that does not show what it is made of", type_name(kind))
    return module


# By what the class says about caching it ----------------------------------------------------------------------------------


def handler_by_key(kind: type, method: Any) -> Handler:
    """Return what asks an object for its ``__cache_key__``."""

    def handle(walk: Any, value: Any) -> Parts:
        try:
            answer = method.__get__(value, kind)()
        except (Exception, SystemExit) as error:
            raise raising("__cache_key__", error, kind) from error
        key = sensible(answer, "__cache_key__", kind)
        return Parts(head("__cache_key__", walk.of_class(kind)), (key,), by_name, (".__cache_key__()",), derived=True)

    return handle


def raising(what: str, error: BaseException, kind: type) -> Unidentifiable:
    """Return the verdict about an object whose own code failed."""
    return Unidentifiable(f"an object whose {what} raises {type_name(type(error))}", type_name(kind))


def sensible(answer: Any, what: str, kind: type) -> Any:
    """Return an answer of user code; refuse one that says nothing."""
    if inspect.iscoroutine(answer):
        answer.close()  # or it complains that nobody waited for it
    elif answer is not NotImplemented:
        return answer
    raise Unidentifiable(f"an object whose {what} answers nonsense", type_name(kind))
