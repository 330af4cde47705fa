"""What stands in a manifest for a value that code reaches: other code by name, numbers as they are, data by identity."""

from __future__ import annotations

import enum
import functools
import sys
import types
import typing
from collections.abc import Callable, Iterable
from typing import Any, Final

from hypernodes._hashing import digest
from hypernodes.identity._classes import full_name
from hypernodes.identity._distributions import Home, home_of_name
from hypernodes.identity._owner import module_of
from hypernodes.identity.values import Unidentifiable, identity
from hypernodes.node import DualNode, Node

DEPTH: Final = 20
_SIMPLE: Final = frozenset({int, float, bool, complex, type(None), type(Ellipsis), type(NotImplemented)})
_DESCRIPTORS: Final = (
    types.WrapperDescriptorType,
    types.MethodDescriptorType,
    types.ClassMethodDescriptorType,
    types.GetSetDescriptorType,
    types.MemberDescriptorType,
)
_OPAQUE: Final = frozenset({"logging.Logger", "logging.LoggerAdapter", "logging.RootLogger"})
_OPAQUE_LIBRARIES: Final = ("IPython.", "ipykernel.")  # the notebook around us
_PLAIN_CONTAINERS: Final = (list, tuple, dict, set, frozenset)

Fetch = Callable[[], Any]


def held(value: Any) -> Fetch:
    """Return what gives this very value."""
    return lambda: value


def part_of(get: Fetch, attribute: str, key: Any) -> Fetch:
    """Return what gives one element of a container that is an attribute, as it is then."""
    return lambda: getattr(get(), attribute)[key]


def weakly(value: Any) -> Fetch:
    """Return what gives a value as long as it lives, without keeping it alive where that is possible."""
    import weakref

    try:
        return weakref.ref(value)
    except TypeError:
        return held(value)


class Texts:
    """Gives the text that stands for a value; says what further code it met.

    Subclasses say how functions, classes and modules are called, and where to put the parts of a composite.
    """

    def function(self, value: types.FunctionType) -> str:
        """Return the text of a function."""
        raise NotImplementedError

    def klass(self, value: type) -> str:
        """Return the text of a class."""
        raise NotImplementedError

    def module(self, value: types.ModuleType) -> str:
        """Return the text of a module that is used as a value."""
        raise NotImplementedError

    def part(self, label: str, fetch: Fetch) -> None:
        """Take in a part of a composite, which stands on its own in the manifest."""
        raise NotImplementedError

    def reaches(self, home: Home) -> None:
        """Take note of a library."""
        raise NotImplementedError

    def shows(self, function: types.FunctionType) -> None:
        """Take note that a library has seen a function, and may have looked at its annotations and its docstring."""
        raise NotImplementedError

    # Code ---------------------------------------------------------------------------------------------------------------

    def code_text(self, value: Any, place: str, depth: int = 0) -> str | None:
        """Return the text of a value that is code, or None for data.

        Args:
            value: The value.
            place: What the parts of a composite are parts of.
            depth: How deep inside composites it was found.
        """
        kind = type(value)
        if kind is types.FunctionType:
            return f"={self.function(value)}"
        if issubclass(kind, type):
            return f"={self.klass(value)}"
        handler = _handler(value, kind)
        return None if handler is None or depth >= DEPTH else handler(self, value, place, depth + 1)

    def inner(self, value: Any, place: str, depth: int, fetch: Fetch) -> str:
        """Return the text of a part of a composite: of code in the composite's own text, of data in a part of its own."""
        text = self.code_text(value, place, depth)
        if text is None:
            self.part(place, fetch)
            return "…"
        return text.removeprefix("=")

    def _several(self, values: Iterable[Any], place: str, depth: int) -> str:
        return ", ".join(self.inner(each, f"item {k} of {place}", depth, held(each)) for k, each in enumerate(values))

    def _partial(self, value: Any, place: str, depth: int) -> str:
        get = weakly(value)
        text = self.inner(value.func, f"function of {place}", depth, lambda: get().func)
        for k, each in enumerate(value.args):
            text += f", {self.inner(each, f'partial argument {k} of {place}', depth, part_of(get, 'args', k))}"
        for name, each in sorted(value.keywords.items()):
            text += f", {name}={self.inner(each, f'partial argument {name} of {place}', depth, part_of(get, 'keywords', name))}"
        return f"={type(value).__name__}({text})"

    def _method(self, value: types.MethodType, place: str, depth: int) -> str:
        library = self._in_library(value)
        if library is not None:
            return library
        get = weakly(value.__self__)
        function = self.inner(value.__func__, f"function of {place}", depth, lambda: value.__func__)
        return f"=bound({function}, {self.inner(value.__self__, f'self of {place}', depth, get)})"

    def _builtin(self, value: types.BuiltinFunctionType, place: str, depth: int) -> str:
        owner = value.__self__
        if owner is None or isinstance(owner, types.ModuleType):
            return self._builtin_name(value, place, depth)
        library = self._in_library(value)
        if library is not None:
            return library
        return f"=bound({value.__qualname__}, {self.inner(owner, f'self of {place}', depth, lambda: value.__self__)})"

    def _in_library(self, value: Any) -> str | None:
        """Return the text of a method of a library's own object: ``random.choice`` is one, and its state is not the caller's."""
        for module in (module_of(type(value.__self__)), getattr(value, "__module__", None)):
            found = sys.modules.get(module) if isinstance(module, str) else None
            if found is None or vars(found).get(value.__name__) != value:
                continue
            home = home_of_name(module)
            if not home.users:
                self.reaches(home)
                return f"=library {module}.{value.__name__}"
        return None

    def _builtin_name(self, value: Any, place: str, depth: int) -> str:
        module = getattr(value, "__module__", None) or "builtins"
        self.reaches(home_of_name(module))
        return f"=builtin {value.__name__}" if module == "builtins" else f"=library {module}.{value.__qualname__}"

    def _property(self, value: property, place: str, depth: int) -> str:
        accessors = (("getter", value.fget), ("setter", value.fset), ("deleter", value.fdel))
        texts = [self.inner(each, f"{name} of {place}", depth, held(each)) for name, each in accessors if each is not None]
        return f"=property({', '.join(texts)})"

    def _wrapped(self, value: Any, place: str, depth: int) -> str:
        name, attribute = _WRAPPED[type(value)]
        inner = getattr(value, attribute)
        return f"={name}({self.inner(inner, f'function of {place}', depth, lambda: getattr(value, attribute))})"

    def _singledispatchmethod(self, value: functools.singledispatchmethod[Any], place: str, depth: int) -> str:
        return f"=singledispatchmethod({self.inner(value.dispatcher, place, depth, lambda: value.dispatcher)})"

    def _node(self, value: Node[..., Any], place: str, depth: int) -> str:
        if not isinstance(value, DualNode):
            return f"={self.inner(value.func, place, depth, lambda: value.func)}"
        texts = [
            f"{name}={self.inner(each, f'{name} of {place}', depth, held(each))}"
            for name, each in (("item", value.singular), ("batch", value.batch))
            if each is not None
        ]
        return f"=twins({', '.join(texts)}{_batch_arguments(value.batch)})"

    def _module(self, value: types.ModuleType, place: str, depth: int) -> str:
        return f"={self.module(value)}"

    def _descriptor(self, value: Any, place: str, depth: int) -> str:
        owner = value.__objclass__
        return f"=method {owner.__module__}.{owner.__qualname__}.{value.__name__}"

    def _pipeline(self, value: Any, place: str, depth: int) -> str:
        inner = value if hasattr(value, "nodes") else value.pipeline
        return f"=pipeline({self._several(inner.nodes, place, depth)})"

    def _type_variable(self, value: Any, place: str, depth: int) -> str:
        return f"=typing {type(value).__name__} {value.__name__}"

    def _type_form(self, value: Any, place: str, depth: int) -> str:
        """Return the text of what annotations are made of, which code may hold for casts and checks."""
        origin = typing.get_origin(value)
        if origin is None:
            names = ("__name__", "_name", "__forward_arg__")
            name = next((found for each in names if isinstance(found := getattr(value, each, None), str)), "")
            return f"=typing {type(value).__name__} {name}"
        arguments = typing.get_args(value)
        flat = [each for argument in arguments for each in (argument if isinstance(argument, list) else [argument])]
        return f"=typing {self.inner(origin, f'origin of {place}', depth, lambda: origin)}[{self._several(flat, place, depth)}]"

    def _numba(self, value: Any, place: str, depth: int) -> str:
        # Its state has a random name in it.
        function = self.inner(value.py_func, f"function of {place}", depth, lambda: value.py_func)
        return f"=numba({function}, {self.data_text(getattr(value, 'targetoptions', None))[0]})"

    def _wrapper(self, value: Any, place: str, depth: int) -> str:
        """Return the text of a library's object around a function of someone else."""
        self.reaches(home_of_name(module_of(type(value))))
        own = object.__getattribute__(value, "__wrapped__")
        if type(own) is types.FunctionType:
            self.shows(own)
        state, _ = self.data_text(value)
        get = weakly(value)
        function = self.inner(own, f"function of {place}", depth, lambda: object.__getattribute__(get(), "__wrapped__"))
        return f"=wrapper({function}, {state.removeprefix('=')})"

    # Data ---------------------------------------------------------------------------------------------------------------

    def data_text(self, value: Any) -> tuple[str, bool]:
        """Return the text of data, and whether it names code."""
        kind = type(value)
        if kind in _SIMPLE:
            return f"={value!r}", False
        if isinstance(kind, enum.EnumMeta) and isinstance(getattr(value, "_name_", None), str):
            return f"={self.klass(kind).partition(' ')[2]}.{value._name_}", True
        self._libraries_in(value)
        names_code = False

        def reference(target: Any) -> bytes:
            nonlocal names_code
            names_code = True
            text = self.code_text(target, "") or ""
            return digest(text.encode())

        return self._structured(value, reference, 0, frozenset()), names_code

    def _structured(self, value: Any, reference: Callable[[Any], bytes], depth: int, above: frozenset[int]) -> str:
        """Return the text of data; of what has no identity, that of the parts that have one."""
        kind = type(value)
        name = full_name(kind)
        if kind in _SIMPLE:
            return f"={value!r}"
        if name in _OPAQUE or name.startswith(_OPAQUE_LIBRARIES):
            return f"=opaque {name}"
        try:
            return identity(value, code=reference).hex()
        except Unidentifiable as verdict:
            below = bool(verdict.path)
        except Exception:  # noqa: BLE001 - whatever objects do, code has an identity
            below = False
        if id(value) in above or depth >= DEPTH:
            return f"=opaque {name}"
        children = _children(value, kind) if below else None
        if children is None:
            return f"=opaque {name}"
        reference(kind)
        above |= {id(value)}
        texts = [self._structured(each, reference, depth + 1, above) for each in children]
        if isinstance(value, (set, frozenset)):
            texts.sort()
        return digest("\n".join([name, *texts]).encode("utf-8", "surrogatepass")).hex()

    def _libraries_in(self, value: Any) -> None:
        """Take note of the libraries whose objects stand in data; their code runs when these are used."""
        level: list[Any] = [value]
        seen: set[type] = set()
        for _ in range(4):
            inside: list[Any] = []
            for each in level[:1000]:
                kind = type(each)
                if kind not in seen:
                    seen.add(kind)
                    if module_of(kind) != "builtins":
                        self.reaches(home_of_name(module_of(kind)))
                if kind is dict:
                    inside += [*each.keys(), *each.values()][:1000]
                elif kind in _PLAIN_CONTAINERS:
                    inside += list(each)[:1000] if kind in (list, tuple) else list(each)
                elif module_of(kind) != "builtins" and home_of_name(module_of(kind)).users:
                    inside += list(_attributes(each).values())[:1000]
            level = inside
            if not level:
                break


def _attributes(value: Any) -> dict[str, Any]:
    try:
        found = object.__getattribute__(value, "__dict__")
    except Exception:  # noqa: BLE001 - objects with slots only, and stranger ones
        found = None
    attributes = dict(found) if isinstance(found, dict) else {}
    for each in type(value).__mro__:
        for name, member in each.__dict__.items():
            if type(member) is types.MemberDescriptorType and member.__objclass__ is each:
                try:
                    attributes[name] = member.__get__(value)
                except AttributeError:
                    continue
    return attributes


def _children(value: Any, kind: type) -> list[Any] | None:
    """Return what to look at one by one where a value as a whole has no identity."""
    if issubclass(kind, dict):
        return [each for item in dict.items(value) for each in item]
    for base in (list, tuple, set, frozenset):
        if issubclass(kind, base):
            return list(base.__iter__(value))
    if not home_of_name(module_of(kind)).users:
        return None
    return [each for item in _attributes(value).items() for each in item]


def _batch_arguments(batch: Any) -> str:
    """Return what a batch twin is given: for once, annotations change what happens."""
    from hypernodes._batches import containers

    try:
        return f", {', '.join(f'{name}: {kind}' for name, kind in containers(batch).items())}"
    except Exception:  # noqa: BLE001 - odd signatures and annotations
        return ""


def _handler(value: Any, kind: type) -> _Handler | None:
    """Return what gives the text of a value that is code but neither a function nor a class; None for data."""
    found = _HANDLERS.get(kind)
    if found is not None:
        return found
    if issubclass(kind, types.ModuleType):
        return Texts._module  # noqa: SLF001 - this module's own
    if issubclass(kind, Node):
        return Texts._node  # noqa: SLF001
    module = module_of(kind)
    if module == "typing" or (module in ("types", "builtins") and kind.__name__ in ("GenericAlias", "UnionType", "Union")):
        return Texts._type_form  # noqa: SLF001
    if module in ("hypernodes.pipeline", "hypernodes.pipeline_node") and not hasattr(kind, "__cache_key__"):
        return Texts._pipeline if kind.__name__ in ("Pipeline", "PipelineNode") else None  # noqa: SLF001
    if kind.__name__ == "cython_function_or_method":
        return Texts._builtin_name  # noqa: SLF001
    if module.partition(".")[0] == "numba" and hasattr(value, "py_func"):
        return Texts._numba  # noqa: SLF001
    try:
        wraps = callable(object.__getattribute__(value, "__wrapped__"))
    except Exception:  # noqa: BLE001 - anything may be an attribute
        return None
    return Texts._wrapper if wraps and not home_of_name(module).users else None  # noqa: SLF001


def is_code(value: Any) -> bool:
    """Whether a value is code: as long as it is the same object, it does the same."""
    kind = type(value)
    return kind is types.FunctionType or issubclass(kind, type) or _handler(value, kind) is not None


_WRAPPED: Final[dict[type, tuple[str, str]]] = {
    staticmethod: ("staticmethod", "__func__"),
    classmethod: ("classmethod", "__func__"),
    functools.cached_property: ("cached_property", "func"),
    functools._lru_cache_wrapper: ("lru_cache", "__wrapped__"),  # noqa: SLF001 - the type has no other name
}
_Handler = Callable[[Texts, Any, str, int], str]
_HANDLERS: Final[dict[type, _Handler]] = {
    functools.partial: Texts._partial,  # noqa: SLF001
    types.MethodType: Texts._method,  # noqa: SLF001
    types.BuiltinFunctionType: Texts._builtin,  # noqa: SLF001
    types.MethodWrapperType: Texts._builtin,  # noqa: SLF001
    property: Texts._property,  # noqa: SLF001
    functools.partialmethod: Texts._partial,  # noqa: SLF001
    functools.singledispatchmethod: Texts._singledispatchmethod,  # noqa: SLF001
    **dict.fromkeys(_WRAPPED, Texts._wrapped),  # noqa: SLF001
    **dict.fromkeys(_DESCRIPTORS, Texts._descriptor),  # noqa: SLF001
    **dict.fromkeys((typing.TypeVar, typing.ParamSpec, typing.TypeVarTuple, typing.NewType), Texts._type_variable),  # noqa: SLF001
}


def module_name(module: types.ModuleType) -> str:
    """Return a module's name, after taking note that it may have none."""
    name = vars(module).get("__name__")
    return name if isinstance(name, str) else "?"
