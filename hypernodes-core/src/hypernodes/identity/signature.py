"""Signatures: the cache key of a computation, from its code, its environment and what goes into it.

A signature is a digest over a prefix, which is the same for all calls of a node, and one reference per argument. A
reference is either the identity of a value, or the signature of the computation that makes it and the number of the
output; each says which it is and how long it is, so that no two lists of references read alike.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from hypernodes._hashing import digest
from hypernodes.identity.environment import Environment

SCHEMA: Final = b"hypernodes 1"  # changes when anything about keys does
DEFAULT: Final = b"d"  # reference of an argument that is left to its default, which is part of the code
IGNORED: Final = b"i"  # reference of an argument that does not count
_BY_VALUE: Final = [b"v%c" % length for length in range(256)]  # what a reference to a value begins with, by the length of its identity


def framed(parts: Iterable[bytes | str]) -> bytes:
    """Return parts in one string of bytes that no other parts give: each after its length."""
    pieces = []
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        pieces.append(b"%d:" % len(data))
        pieces.append(data)
    return b"".join(pieces)


def prefix_of(kind: str, code: bytes, environment: Environment, salts: Iterable[str], parts: Iterable[bytes | str]) -> bytes:
    """Return what the signatures of all calls of one node begin with.

    Args:
        kind: The domain: what sort of computation it is.
        code: The identity of its code.
        environment: What the code stands on.
        salts: What the user adds, on the node and on the cache.
        parts: Whatever else tells it apart from others of its kind.
    """
    surroundings = framed(f"{name}={version}" for name, version in environment)
    return digest(framed([SCHEMA, kind, code, surroundings, framed(salts), framed(parts)]))


def by_value(identity: bytes) -> bytes:
    """Return the reference to a value."""
    return _BY_VALUE[len(identity)] + identity


def by_signature(signature: bytes, output: int) -> bytes:
    """Return the reference to an output of a computation."""
    return b"s" + signature + output.to_bytes(2, "big")
