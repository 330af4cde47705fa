"""Nodes: functions with declared output names."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from types import MethodType
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, cast, overload

from hypernodes._declaration import NodeOptions, Parameter, is_async, name_of, options_of, output_names, parameters_of
from hypernodes._messages import did_you_mean, listed, picture, where
from hypernodes.errors import NodeDefinitionError

if TYPE_CHECKING:
    from typing import Self

P = ParamSpec("P")
R = TypeVar("R")


class Node(Generic[P, R]):
    """One function with a declared output name.

    Made by ``@node``; still callable as the function it wraps.

    Attributes:
        func: The wrapped function.
        output_name: The name of the output, or a tuple of names.
        name: The node's name; the function's own unless given.
        root_args: Names of the inputs, in the order of the signature.
        options: Everything else that ``@node`` was told.
    """

    def __init__(self, func: Callable[P, R], output_name: str | tuple[str, ...], name: str | None, options: NodeOptions) -> None:
        if name is not None and (not isinstance(name, str) or not name):
            msg = f"node '{name_of(func, ('lambda',))}': name must be a non-empty string, got {name!r}"
            raise NodeDefinitionError(msg)
        self.func = func
        self.output_name = output_name
        self.options = options
        self.outputs: tuple[str, ...] = (output_name,) if isinstance(output_name, str) else output_name
        self.name = name if name is not None else name_of(func, self.outputs)
        self.parameters: tuple[Parameter, ...] = parameters_of(self.signature_source)
        self.root_args: tuple[str, ...] = tuple(parameter.name for parameter in self.parameters)
        self.is_async: bool = is_async(self.signature_source)
        for attribute in ("__module__", "__name__", "__qualname__", "__doc__"):
            value = getattr(func, attribute, None)
            if value is not None:
                setattr(self, attribute, value)
        self.__wrapped__ = func
        self._check()

    @property
    def signature_source(self) -> Callable[..., Any]:
        """The callable whose signature declares the inputs."""
        return self.func

    @property
    def cache(self) -> bool:
        """Whether results may be cached."""
        return self.options.cache

    @property
    def code_hash(self) -> str:
        """The identity of its code: of the function, and of everything of the user's that it reaches.

        Another one after an edit of any of that; the same after an edit of comments, formatting or annotations.
        """
        import hashlib

        from hypernodes.identity.code import code_identity  # the floor above: asked for by tools, not by runs

        return hashlib.sha256(code_identity(self).digest).hexdigest()

    @property
    def location(self) -> str:
        """Where the function is written, as ``file.py:42``; empty when unknown."""
        return where(self.signature_source)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the wrapped function."""
        return self.func(*args, **kwargs)

    def __get__(self, instance: object, owner: type | None = None) -> Self:
        """Bind a node that decorates a method to its instance."""
        if instance is None:
            return self
        return self.with_function(MethodType(self.func, instance))

    def with_function(self, func: Callable[..., Any]) -> Self:
        """Return the same declaration over another function."""
        return type(self)(func, self.output_name, self.name, self.options)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}({listed(self.root_args, '')}) -> {listed(self.outputs)}>"

    def __reduce__(self) -> tuple[Any, ...]:
        found = _importable(self)
        if found is not None:
            return (_imported, found)
        if _bound_in_class(self):
            return (getattr, (self.signature_source.__self__, self.signature_source.__name__))  # type: ignore[attr-defined]
        return (_rebuilt, (type(self), self._parts()))

    def _parts(self) -> tuple[Any, ...]:
        return (self.func, self.output_name, self.name, self.options)

    def _check(self) -> None:
        place = f" at {self.location}" if self.location else ""
        for output in self.outputs:
            if output in self.root_args:
                msg = (
                    f"node '{self.name}'{place} takes '{output}' and also produces it.\n"
                    f"  fix: give the output another name, such as output_name='{output}_new'"
                )
                raise NodeDefinitionError(msg)
        for option in ("ignore", "stateful_params"):
            for argument in getattr(self.options, option):
                if argument not in self.root_args:
                    msg = (
                        f"node '{self.name}'{place}: {option} names '{argument}', which is not a parameter; "
                        f"it has {listed(self.root_args)}.{did_you_mean(argument, self.root_args)}"
                    )
                    raise NodeDefinitionError(msg)


class DualNode(Node[..., Any]):
    """A node with a batch twin: one function for an item, one for a list of items.

    The twin is called once per block with lists in place of the mapped values (constants stay as they are) and
    returns one result per item. A parameter of the twin annotated as a NumPy array, an Arrow array or a pandas
    Series receives that instead of a list. With several outputs it returns a tuple of columns or a list of tuples.

    Args:
        output_name: The name of the output, or a tuple of names.
        singular: The function for one item; may be left out.
        batch: The function for a list of items, with the same parameter names.
        name: The node's name; the function's own unless given.
        **options: As for ``node``.

    Example:
        >>> double = DualNode("doubled", singular=lambda x: 2 * x, batch=lambda x: [2 * v for v in x])
        >>> double(4)
        8

    Raises:
        NodeDefinitionError: If there is no batch function, or the two take different parameters.
    """

    def __init__(
        self,
        output_name: str | Sequence[str],
        singular: Callable[..., Any] | None = None,
        batch: Callable[..., Any] | None = None,
        *,
        name: str | None = None,
        **options: Any,
    ) -> None:
        singular = singular.func if isinstance(singular, Node) else singular
        batch = batch.func if isinstance(batch, Node) else batch
        if batch is None or not callable(batch):
            msg = f"DualNode '{output_name}' needs batch=, a function that takes lists of items; got {batch!r}"
            raise NodeDefinitionError(msg)
        if singular is not None and not callable(singular):
            msg = f"DualNode '{output_name}': singular must be a function, got {picture(singular)}"
            raise NodeDefinitionError(msg)
        self.batch: Callable[..., Any] = batch
        self.singular = singular
        made = options.pop("_made", None)
        outputs = output_names(output_name, batch)
        super().__init__(
            singular if singular is not None else functools.partial(_single, batch),
            outputs,
            name if name is not None else name_of(singular or batch, (outputs,) if isinstance(outputs, str) else outputs),
            made if made is not None else options_of(singular or batch, options),
        )
        self.__wrapped__ = singular or batch
        if singular is not None:
            twin = tuple(parameter.name for parameter in parameters_of(batch))
            if sorted(twin) != sorted(self.root_args):
                msg = (
                    f"the twins of node '{self.name}' take different parameters: singular({', '.join(self.root_args)}) "
                    f"and batch({', '.join(twin)}); name them alike"
                )
                raise NodeDefinitionError(msg)
            if is_async(batch) != self.is_async:
                msg = f"the twins of node '{self.name}' must both be async or both not"
                raise NodeDefinitionError(msg)

    @property
    def signature_source(self) -> Callable[..., Any]:
        """The callable whose signature declares the inputs: the singular one where there is one."""
        return self.singular if self.singular is not None else self.batch

    def with_function(self, func: Callable[..., Any]) -> DualNode:
        """Return the same declaration over another singular function, its twin bound alike."""
        batch = MethodType(self.batch, func.__self__) if isinstance(func, MethodType) else self.batch
        singular = func if self.singular is not None else None
        return DualNode(self.output_name, singular, batch, name=self.name, _made=self.options)

    def _parts(self) -> tuple[Any, ...]:
        return (self.singular, self.batch, self.output_name, self.name, self.options)


def _single(batch: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Call a batch function for one item: lists of one in, the one result out."""
    from hypernodes._batches import call_single

    return call_single(batch, args, kwargs)


@overload
def node(func: Callable[P, R], /) -> Node[P, R]: ...
@overload
def node(
    func: None = None,
    /,
    *,
    output_name: str | Sequence[str] | None = None,
    cache: bool = True,
    name: str | None = None,
    batch: Callable[..., Any] | None = None,
    batch_size: int | None = None,
    ignore: str | Sequence[str] = (),
    stateful_params: str | Sequence[str] = (),
    deterministic: bool = True,
    expires: float | timedelta | None = None,
    cache_version: str | int | None = None,
    retries: int | None = None,
    retry_on: type[BaseException] | Sequence[type[BaseException]] = Exception,
    timeout: float | timedelta | None = None,
    max_concurrent: int | None = None,
    rate: str | float | None = None,
    resources: Mapping[str, float] | None = None,
) -> Callable[[Callable[P, R]], Node[P, R]]: ...


def node(
    func: Callable[..., Any] | None = None,
    /,
    *,
    output_name: str | Sequence[str] | None = None,
    name: str | None = None,
    batch: Callable[..., Any] | None = None,
    **options: Any,
) -> Any:
    """Turn a function into a node of a pipeline.

    Parameter names are the node's inputs; a parameter with a default is an optional input.

    Args:
        func: The function, when the decorator is used bare; its output then bears its name.
        output_name: The name of the output; a tuple of names for a function that returns a tuple.
        cache: Whether results may be cached. ``False`` runs the node every time.
        name: The node's name in messages, statistics and events; the function's own by default.
        batch: A function that does the same for lists of items (see ``DualNode``).
        batch_size: The most items in one call of ``batch``.
        ignore: Parameters left out of the cache key.
        stateful_params: Parameters that hold heavy objects, shipped once per worker.
        deterministic: ``False`` where equal inputs may give different results.
        expires: Seconds (or a ``timedelta``) after which a cached result is computed again.
        cache_version: A salt; changing it forgets the node's results.
        retries: How many times a failed call is tried again; inherited from the pipeline when ``None``.
        retry_on: The exception types worth another try.
        timeout: Seconds (or a ``timedelta``) that one call may take; inherited when ``None``.
        max_concurrent: The most calls of this node at the same time, over the whole run.
        rate: The most calls per period, such as ``"50/s"`` or ``"100/min"``; a number counts per second.
        resources: What one call occupies, such as ``{"gpu": 1}``.

    Returns:
        The node (bare use), or a decorator that makes it.

    Example:
        >>> @node(output_name="doubled")
        ... def double(x: int) -> int:
        ...     return 2 * x
        >>> double(4)
        8

    Raises:
        NodeDefinitionError: If the function or an option cannot make a node; the message names it.
    """
    if isinstance(func, str):
        msg = f"@node({func!r}): name the output by keyword: @node(output_name={func!r})"
        raise NodeDefinitionError(msg)

    def decorate(function: Callable[..., Any]) -> Node[..., Any]:
        if isinstance(function, Node):
            function = function.func
        if not callable(function) or isinstance(function, (staticmethod, classmethod)):
            kind = type(function).__name__
            hint = f"; put @node below @{kind}" if isinstance(function, (staticmethod, classmethod)) else ""
            msg = f"@node needs a function, got {picture(function) if not hint else kind}{hint}"
            raise NodeDefinitionError(msg)
        outputs = output_names(output_name, function)
        if batch is not None:
            return DualNode(outputs, function, batch, name=name, **options)
        if options.get("batch_size") is not None:
            label = f"node '{name_of(function, ('lambda',))}'"
            msg = f"{label}: batch_size={options['batch_size']!r} needs batch=, the function that takes so many items at once"
            raise NodeDefinitionError(msg)
        return Node(function, outputs, name, options_of(function, options))

    return decorate if func is None else decorate(func)


def _importable(target: Node[..., Any]) -> tuple[str, str] | None:
    """Return (module, qualified name) where importing finds this very node."""
    import sys

    module, name = getattr(target, "__module__", None), getattr(target, "__qualname__", None)
    if not module or not name or module == "__main__" or "<locals>" in name:
        return None
    cloudpickle = sys.modules.get("cloudpickle")
    if cloudpickle is not None and module in cloudpickle.list_registry_pickle_by_value():
        return None
    found: object = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return (module, name) if found is target else None


def _bound_in_class(target: Node[..., Any]) -> bool:
    """Whether the node decorates a method and is bound to an object, on which it is found by name."""
    method = target.signature_source
    if not isinstance(method, MethodType) or isinstance(method.__self__, type):
        return False
    declared = inspect.getattr_static(method.__self__, method.__name__, None)
    return (
        isinstance(declared, Node)
        and declared.signature_source is method.__func__
        and (declared.output_name, declared.name) == (target.output_name, target.name)
        and declared.options is target.options
    )


def _imported(module: str, name: str) -> Any:
    import importlib

    found: object = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    return found


def _rebuilt(kind: type[Node[..., Any]], parts: tuple[Any, ...]) -> Node[..., Any]:
    if issubclass(kind, DualNode):
        singular, batch, output_name, name, options = parts
        return DualNode(output_name, singular, batch, name=name, _made=options)
    return kind(*cast("tuple[Any, Any, Any, Any]", parts))
