"""What code changes by running: it counts with the content it had when this process first saw it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final

import attrs

from hypernodes.identity._reads import EVERYTHING, REBOUND

Key = tuple[int, str]  # the id of what holds a value (globals, a cell, a class, a function) and the name in it

_ROOM: Final = 10_000
_CONTAINERS: Final = frozenset(
    {
        "builtins.list",
        "builtins.dict",
        "builtins.set",
        "builtins.bytearray",
        "collections.deque",
        "collections.defaultdict",
        "collections.OrderedDict",
        "collections.Counter",
        "array.array",
    }
)
_ABSENT: Final = "=absent"


@attrs.define(eq=False)
class _Seen:
    holder: object  # kept, so that its id stays its own
    container: object  # None for a name that is assigned
    text: str | None = None
    snapshot: object = None  # where the text names code, which may be called differently elsewhere


_seen: Final[OrderedDict[tuple[Key, str], _Seen]] = OrderedDict()


def is_container(value: object) -> bool:
    """Whether a value is one of the containers whose growth is a side effect."""
    kind = type(value)
    return f"{kind.__module__}.{kind.__qualname__}" in _CONTAINERS


def text_when_first_seen(key: Key, holder: object, value: Any, changed: set[str], text_of: Callable[[Any], tuple[str, bool]]) -> str | None:
    """Return what stands for a value that the code itself changes, or None where it does not change this one.

    Args:
        key: Where the value is held.
        holder: What holds it.
        value: The value now.
        changed: The constant keys that are changed, ``EVERYTHING``, ``REBOUND``.
        text_of: Gives what stands for a value, and whether that names code.
    """
    if REBOUND in changed:
        return _first(key, "=", holder, None, value, text_of)
    if not is_container(value):
        return None
    if EVERYTHING in changed or type(value) is not dict:
        return _first(key, "*", holder, value, value, text_of)
    # Only what is under these keys is the code's own doing: the rest counts as it is.
    keys = {each: name for each in value for name in (repr(each),) if type(each) in (str, int) and name in changed}
    texts = [
        f"{name}:{_first(key, name, holder, value, next((value[each] for each in keys if keys[each] == name), _missing), text_of)}"
        for name in sorted(changed)
    ]
    rest, _ = text_of({each: item for each, item in value.items() if each not in keys})
    return f"={rest} with {', '.join(texts)}"


class _Missing:
    """Stands for a key that was not there."""


_missing: Final = _Missing()


def _first(key: Key, what: str, holder: object, container: object, value: Any, text_of: Callable[[Any], tuple[str, bool]]) -> str:
    seen = _seen.get((key, what))
    if seen is None or seen.container is not container:
        seen = _Seen(holder, container)
        if isinstance(value, _Missing):
            seen.text = _ABSENT
        else:
            text, names_code = text_of(value)
            if names_code:
                seen.snapshot = _copied(value)
            else:
                seen.text = text
        _seen[key, what] = seen
        while len(_seen) > _ROOM:
            _seen.popitem(last=False)
    if seen.text is not None:
        return seen.text
    return text_of(seen.snapshot)[0]


def _copied(value: Any, depth: int = 5) -> Any:
    kind = type(value)
    if not depth or kind not in (dict, list, set, tuple):
        return value
    if kind is dict:
        return {key: _copied(item, depth - 1) for key, item in value.items()}
    return kind(_copied(item, depth - 1) for item in value)


def watched(value: Any, changed: set[str]) -> object:
    """Return the container that must stay the same for its first content to go on counting; None where nothing need."""
    return None if REBOUND in changed or not is_container(value) else value


def counts_whole(value: Any, changed: set[str]) -> bool:
    """Whether nothing of a value counts as it is now."""
    return REBOUND in changed or (is_container(value) and (EVERYTHING in changed or type(value) is not dict))
