"""What a setting may be; callbacks are checked in ``config``, which knows what they are."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final, NoReturn

from hypernodes._messages import listed, picture
from hypernodes.errors import OptionError


def refuse(name: str, value: object, why: str) -> NoReturn:
    """Refuse the value of a setting."""
    msg = f"{name}={picture(value)}: {why}"
    raise OptionError(msg)


def _engine(value: Any) -> Any:
    if isinstance(value, str) and value.strip():
        return value.strip()
    if isinstance(value, type):
        refuse("engine", value, f"this is a class; write {value.__name__}()")
    if value is not None:
        lacking = lacks(value)
        if lacking:
            refuse("engine", value, f"no engine: it has no {listed(lacking)}. Give an Engine, or the name of one such as 'seq'")
    return value


def lacks(value: object) -> list[str]:
    """Return what keeps a value from being an engine."""
    return [f"'{attribute}'" for attribute in ("name", "capabilities", "execute") if not hasattr(value, attribute)]


def _cache(value: Any) -> Any:
    if isinstance(value, type):
        refuse("cache", value, f"this is a class; write {value.__name__}(...)")
    if isinstance(value, (bool, int, float, bytes, Mapping, set, frozenset)) or (isinstance(value, str) and not value):
        refuse("cache", value, "give a path or URL such as '.cache', a cache, a list of them, or None for no cache")
    if isinstance(value, (list, tuple)):
        return _layers(value)
    if value is not None and not isinstance(value, (str, os.PathLike)):
        lacking = [f"'{attribute}'" for attribute in ("key", "open") if not hasattr(value, attribute)]
        if lacking:
            refuse("cache", value, f"no cache: it has no {listed(lacking)}. A store becomes one as hypernodes.cache.StoreCache(store)")
    return value


def _layers(value: Sequence[Any]) -> tuple[Any, ...]:
    """Return the layers of a list, with those of lists and layers inside it in their place."""
    layers: list[Any] = []
    for layer in value:
        if layer is None:
            refuse("cache", layer, "each layer must be a path, a URL or a cache")
        inner = _cache(layer)
        layers += inner if isinstance(inner, tuple) else getattr(inner, "layers", (inner,))
    salts = list(dict.fromkeys(getattr(layer, "salt", "") for layer in layers))
    if len(salts) > 1:
        msg = (
            f"cache=[…]: layers need the same salt, which is part of every signature; these have {listed(map(repr, salts))}\n"
            f"  fix: give all of them one, also those that are named by a path or a URL: DiskCache('.cache', salt={salts[-1]!r})"
        )
        raise OptionError(msg)
    return tuple(layers)


def _retries(value: Any) -> int:
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        refuse("retries", value, "give a whole number from 0 up")
    return value


def _timeout(value: Any) -> float | None:
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
        refuse("timeout", value, "give a number of seconds above 0, or None for no limit")
    return value


def _strict(value: Any) -> bool:
    if value is None:
        return False
    if not isinstance(value, bool):
        refuse("strict", value, "give True or False")
    return value


CHECKS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "engine": _engine, "cache": _cache, "retries": _retries, "timeout": _timeout, "strict": _strict,
}  # fmt: skip
