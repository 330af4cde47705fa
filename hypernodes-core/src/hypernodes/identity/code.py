"""Who a piece of code is: everything that a function, a class or a node reaches in code the user owns."""

from __future__ import annotations

import types
import weakref
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Final

import attrs

from hypernodes._hashing import digest
from hypernodes.identity._classes import full_name
from hypernodes.identity._reach import ROUNDS, Changed, Reach, kind_of
from hypernodes.identity._watch import Watch
from hypernodes.node import Node

_ROOM: Final = 4096


@attrs.frozen(eq=False)
class CodeIdentity:
    """The identity of a piece of code, and what it is made of.

    Attributes:
        digest: Equal for code that is the same in all it reaches.
        manifest: What it reaches, part by part: the name of each with its own identity.
        distributions: Names of the installed distributions it reaches.
    """

    digest: bytes
    manifest: Mapping[str, str]
    distributions: frozenset[str]


_memo: Final[OrderedDict[int, tuple[Any, Watch, CodeIdentity]]] = OrderedDict()


def code_identity(target: object) -> CodeIdentity:
    """Return the identity of a function, a class, a node, or anything else that can be called."""
    known = _memo.get(id(target))
    if known is not None and known[0]() is target and known[1].holds():
        return known[2]
    changed: Changed = {}
    for _ in range(ROUNDS):
        reach = Reach(changed)
        text = reach.run(target, own_name(target).partition(" ")[2])
        if not reach.outdated:
            break
    manifest = reach.manifest
    own = own_name(target)
    if text != f"={own}":
        manifest[f"target {own.partition(' ')[2]}"] = text
    reach.close()
    identity = CodeIdentity(_digest(text, manifest), manifest, frozenset(reach.distributions))
    key = id(target)
    try:
        get: Any = weakref.ref(target, lambda _: _memo.pop(key, None))
    except TypeError:
        get = lambda: target  # noqa: E731
    _memo[key] = (get, reach.watch, identity)
    while len(_memo) > _ROOM:
        _memo.popitem(last=False)
    return identity


def own_name(target: object) -> str:
    """Return the name of the manifest part that stands for the target itself."""
    value: Any = target
    while True:
        kind = type(value)
        if issubclass(kind, Node):
            value = value.signature_source
        elif kind is types.MethodType or kind in (staticmethod, classmethod):
            value = value.__func__
        elif hasattr(kind, "func") and hasattr(kind, "keywords"):
            value = value.func
        elif kind is types.FunctionType and callable(value.__dict__.get("__wrapped__")):
            value = value.__dict__["__wrapped__"]
        else:
            break
    if kind is types.FunctionType:
        name = value.__code__.co_qualname
        module = value.__globals__.get("__name__", "?")
        return f"{kind_of(name)} {'__main__' if module == '__mp_main__' else module}.{name}"
    if issubclass(kind, type):
        return f"class {full_name(value)}"
    name = getattr(value, "__qualname__", None)
    if isinstance(name, str):
        return f"builtin {name}"
    return f"instance {full_name(kind)}"


def _digest(text: str, manifest: Mapping[str, str]) -> bytes:
    pieces = [text]
    for part in sorted(manifest):
        pieces += (part, manifest[part])
    encoded = [piece.encode("utf-8", "surrogatepass") for piece in pieces]
    return digest(b"".join(b"%d:%b" % (len(piece), piece) for piece in encoded))
