"""What a node declares: parameters, output names and options, checked and given one form each."""

from __future__ import annotations

import functools
import inspect
import keyword
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

import attrs

from hypernodes._messages import did_you_mean, picture, where
from hypernodes.errors import NodeDefinitionError

NO_DEFAULT: Final = inspect.Parameter.empty
_PERIODS: Final = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


@attrs.frozen
class Parameter:
    """One input of a node, as its function declares it.

    Attributes:
        name: The name that edges are found by.
        keyword: Whether the function takes it by keyword only.
        default: The function's default, or ``NO_DEFAULT``.
    """

    name: str
    keyword: bool
    default: Any

    @property
    def required(self) -> bool:
        """Whether the function has no default for it."""
        return self.default is NO_DEFAULT


@attrs.frozen
class NodeOptions:
    """What ``@node`` was told besides the output name; see ``node`` for the meaning of each."""

    cache: bool = True
    batch_size: int | None = None
    ignore: tuple[str, ...] = ()
    stateful_params: tuple[str, ...] = ()
    deterministic: bool = True
    expires: float | None = None
    cache_version: str | int | None = None
    retries: int | None = None
    retry_on: tuple[type[BaseException], ...] = (Exception,)
    timeout: float | None = None
    max_concurrent: int | None = None
    rate: float | None = None
    resources: Mapping[str, float] | None = None


def output_names(output_name: str | Sequence[str] | None, func: Callable[..., Any]) -> str | tuple[str, ...]:
    if output_name is None:
        output_name = name_of(func, ("",))
        if not output_name.isidentifier():
            msg = f"a {output_name or 'nameless function'} needs output_name=: @node(output_name='…')"
            raise NodeDefinitionError(msg)
    place = where(func)
    label = f"'{name_of(func, ('?',))}'{f' at {place}' if place else ''}"
    if not isinstance(output_name, Sequence):
        msg = f"output_name={picture(output_name)} of {label} must be a name or several names"
        raise NodeDefinitionError(msg)
    names: tuple[str, ...] = (output_name,) if isinstance(output_name, str) else tuple(output_name)
    for name in names:
        if not isinstance(name, str) or not name.isidentifier() or keyword.iskeyword(name):
            msg = f"output_name {name!r} of {label} cannot be the name of a parameter; use letters, digits and underscores"
            raise NodeDefinitionError(msg)
    if not names or len(set(names)) != len(names):
        msg = f"output_name {output_name!r} of {label} must hold one name or several different ones"
        raise NodeDefinitionError(msg)
    return names[0] if isinstance(output_name, str) else names


def name_of(func: Callable[..., Any], outputs: tuple[str, ...]) -> str:
    while isinstance(func, functools.partial):
        func = func.func
    name = getattr(func, "__name__", None)
    if name is None:
        return type(func).__name__
    return outputs[0] if name == "<lambda>" else str(name)


def parameters_of(func: Callable[..., Any]) -> tuple[Parameter, ...]:
    try:
        signature = inspect.signature(func)
    except (ValueError, TypeError):
        msg = f"the parameters of {func!r} cannot be read; wrap it in a function with named parameters"
        raise NodeDefinitionError(msg) from None
    kinds = inspect.Parameter
    return tuple(
        Parameter(parameter.name, parameter.kind is kinds.KEYWORD_ONLY, parameter.default)
        for parameter in signature.parameters.values()
        if parameter.kind not in (kinds.VAR_POSITIONAL, kinds.VAR_KEYWORD)
    )


def is_async(func: Callable[..., Any]) -> bool:
    while isinstance(func, functools.partial):
        func = func.func
    return inspect.iscoroutinefunction(func) or inspect.iscoroutinefunction(getattr(type(func), "__call__", None))  # noqa: B004 - is it async?


def options_of(func: Callable[..., Any], given: Mapping[str, Any]) -> NodeOptions:
    """Check the options of a node and give them one form each."""
    options = dict(given)
    known = [field.name for field in attrs.fields(NodeOptions)]
    label = f"node '{name_of(func, ('lambda',))}'"
    for option in options:
        if option not in known:
            msg = f"{label}: @node has no option '{option}'.{did_you_mean(option, ['output_name', 'name', 'batch', *known])}"
            raise NodeDefinitionError(msg)
    for option in ("cache", "deterministic"):
        if not isinstance(options.get(option, True), bool):
            hint = "; a pipeline says where results are kept" if option == "cache" else ""
            msg = f"{label}: {option} must be True or False, got {options[option]!r}{hint}"
            raise NodeDefinitionError(msg)
    version = options.get("cache_version")
    if version is not None and (isinstance(version, bool) or not isinstance(version, (str, int))):
        msg = f"{label}: cache_version must be a string or a whole number, got {version!r}"
        raise NodeDefinitionError(msg)
    for option in ("ignore", "stateful_params"):
        if option in options:
            options[option] = names = _several(options[option], str)
            if not all(isinstance(name, str) for name in names):
                msg = f"{label}: {option} must be the name of a parameter or several, got {given[option]!r}"
                raise NodeDefinitionError(msg)
    for option in ("expires", "timeout"):
        if isinstance(options.get(option), timedelta):
            options[option] = options[option].total_seconds()
        _number(label, option, options.get(option), above=0)
    for option, least in (("batch_size", 1), ("max_concurrent", 1), ("retries", 0)):
        value = options.get(option)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
            msg = f"{label}: {option} must be a whole number of at least {least}, got {value!r}"
            raise NodeDefinitionError(msg)
    if "retry_on" in options:
        options["retry_on"] = kinds = _several(options["retry_on"], type)
        if not all(isinstance(kind, type) and issubclass(kind, BaseException) for kind in kinds):
            msg = f"{label}: retry_on must be an exception class or several, got {given['retry_on']!r}"
            raise NodeDefinitionError(msg)
    if options.get("rate") is not None:
        options["rate"] = _rate(label, options["rate"])
    if options.get("resources") is not None:
        if not isinstance(options["resources"], Mapping):
            msg = f"{label}: resources must be a mapping such as {{'gpu': 1}}, got {options['resources']!r}"
            raise NodeDefinitionError(msg)
        options["resources"] = dict(options["resources"])
        for resource, amount in options["resources"].items():
            _number(label, f"resources['{resource}']", amount, above=0)
    return NodeOptions(**options)


def _several(value: Any, kind: type) -> tuple[Any, ...]:
    """Return one value or a collection of them as a tuple."""
    return tuple(value) if isinstance(value, Iterable) and not isinstance(value, (kind, str)) else (value,)


def _number(label: str, option: str, value: object, *, above: float) -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float)) or not above < value < math.inf):
        msg = f"{label}: {option} must be a number above {above}, got {value!r}"
        raise NodeDefinitionError(msg)


def _rate(label: str, rate: str | float) -> float:
    """Return calls per second."""
    try:
        if isinstance(rate, str):
            count, _, period = rate.replace(" ", "").partition("/")
            per_second = float(count) / _PERIODS[period or "s"]
        else:
            per_second = float(rate)
    except (ValueError, KeyError, TypeError):
        per_second = 0.0
    if not 0 < per_second < math.inf:
        msg = f"{label}: rate must look like '50/s', '100/min' or '1000/h', got {rate!r}"
        raise NodeDefinitionError(msg)
    return per_second
