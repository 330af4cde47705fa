"""Parameters annotated as files: what is given for them becomes a ``File``."""

from __future__ import annotations

import sys
import types
import typing
from collections.abc import Callable, Sequence
from typing import Any

from hypernodes._types import hints
from hypernodes.node import Node


def file_parameters(node: Node[..., Any]) -> frozenset[int]:
    """Return the positions of the parameters that are annotated ``File`` or ``File | None``."""
    module = sys.modules.get("hypernodes._file")
    if module is None:
        return frozenset()  # whoever writes the annotation has imported it
    try:
        annotations = hints(node.signature_source)
    except Exception:  # noqa: BLE001 - an annotation that cannot be resolved asks for nothing
        return frozenset()
    return frozenset(position for position, name in enumerate(node.root_args) if _is_file(annotations.get(name), module.File))


def _is_file(annotation: object, file: type) -> bool:
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        kinds = [kind for kind in typing.get_args(annotation) if kind is not type(None)]
        return kinds == [file]
    return annotation is file


def with_files(function: Callable[..., Any], positions: frozenset[int], names: Sequence[str], /, *args: Any, **kwargs: Any) -> Any:
    """Call a function with a ``File`` for each text or path among its files."""
    from hypernodes._file import coerce

    def made(value: Any) -> Any:
        if value is None:
            return None
        return [made(each) for each in value] if type(value) is list else coerce(value)

    args = tuple(made(value) if position in positions else value for position, value in enumerate(args))
    for position in positions:
        if names[position] in kwargs:
            kwargs[names[position]] = made(kwargs[names[position]])
    return function(*args, **kwargs)
