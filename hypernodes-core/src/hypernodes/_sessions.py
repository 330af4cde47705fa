"""Definitions that were run again in a notebook or a prompt, while a pipeline holds the earlier ones."""

from __future__ import annotations

import builtins
import inspect
import sys
import warnings
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from hypernodes.errors import RedefinedWarning
from hypernodes.node import Node

if TYPE_CHECKING:
    from hypernodes.pipeline import Pipeline


def is_interactive() -> bool:
    """Whether somebody types code into this process."""
    return hasattr(sys, "ps1") or hasattr(builtins, "__IPYTHON__")


def current(member: Node[..., Any]) -> Node[..., Any]:
    """Return the definition that a node's name stands for now; the node itself where it stands for none."""
    found: Any = sys.modules.get(getattr(member, "__module__", "") or "")
    for part in getattr(member, "__qualname__", "").split("."):
        found = getattr(found, part, None)
    if isinstance(found, Node):
        return found
    if inspect.isfunction(found) and inspect.isfunction(member.func) and found is not member.func:
        return member.with_function(found)
    return member


def up_to_date(members: Iterable[object]) -> tuple[Node[..., Any], ...]:
    """Return the nodes whose names stand for them now; in a program that nobody types into, none are worth to remember."""
    if not is_interactive():
        return ()
    return tuple(member for member in members if isinstance(member, Node) and current(member) is member)


def notice(pipeline: Pipeline) -> None:
    """Say which nodes of a pipeline, or of one inside it, were defined otherwise since it was built."""
    names = list(dict.fromkeys(_redefined(pipeline)))
    if names:
        listed = ", ".join(f"'{name}'" for name in names)
        were = "was" if len(names) == 1 else "were"
        text = f"{listed} {were} redefined after this pipeline was built; run the Pipeline cell again or p.refresh()"
        warnings.warn(f"pipeline '{pipeline.label}': {text}", RedefinedWarning, stacklevel=4)


def _redefined(pipeline: Pipeline) -> list[str]:
    found = [member.name for member in pipeline.watched if _differs(member, current(member))]
    for member in pipeline.nested:
        found += _redefined(member.pipeline)
    return found


def _differs(member: Node[..., Any], now: Node[..., Any]) -> bool:
    if now is member:
        return False
    from hypernodes.identity.code import code_identity

    try:
        return code_identity(now).digest != code_identity(member).digest
    except Exception:  # noqa: BLE001 - code that cannot be read is told apart by being another object
        return True
