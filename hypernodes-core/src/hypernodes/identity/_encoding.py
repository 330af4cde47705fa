"""How identities are written down: inline for numbers, a digest for everything else.

An identity is at most 21 bytes, and its first byte tells how many follow. A row of identities can therefore be read back
in one way only, and so can a tag followed by such a row: joining them needs no lengths and no separators.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

from blake3 import blake3

from hypernodes._hashing import SIZE, digest

Classes: TypeAlias = "tuple[tuple[str, bytes], ...]"
Leaf: TypeAlias = "Callable[[Any], bytes]"

NONE: Final = b"N"
FALSE: Final = b"F"
TRUE: Final = b"T"
DIGEST: Final = b"#"
NAN: Final = struct.pack(">cd", b"f", float("nan"))
SMALL: Final = 1 << 12  # bytes that are sooner copied than handed over in two pieces
BIG: Final = 8 << 20  # bytes from which on several threads are worth starting
# Not blake3.AUTO: its threads are shared by the whole process, and waited for in vain after a fork.
THREADS: Final = max(1, min(8, os.cpu_count() or 1))

_int: Final = struct.Struct(">cq")
_float: Final = struct.Struct(">cd")


class Unidentifiable(Exception):  # noqa: N818 - a verdict about a value, which the caller acts on
    """A value has no identity that would be the same tomorrow.

    Attributes:
        reason: What it is, in plain words: ``"an open file"``.
        kind: The name of its type.
        path: Where inside the value it was found: ``"session._pool"``, ``"[3].lock"``; empty for the value itself.
    """

    def __init__(self, reason: str, kind: str, path: str = "") -> None:
        super().__init__(reason, kind, path)
        self.reason = reason
        self.kind = kind
        self._path = path

    @property
    def path(self) -> str:
        """Where inside the value it was found."""
        return self._path.removeprefix(".")

    def under(self, name: str) -> str:
        """Return the path as seen by someone who knows the value under a name: ``"client.session._pool"``."""
        return f"{name}{self._path}"

    def inside(self, label: str) -> Unidentifiable:
        """Return the same verdict as seen from the object around."""
        return Unidentifiable(self.reason, self.kind, label + self._path)

    def __str__(self) -> str:
        return f"{self.path or 'the value'} is {self.reason} ({self.kind})"


class Known:
    """Stands among the children of a value for one whose identity is known."""

    __slots__ = ("identity",)

    def __init__(self, identity: bytes) -> None:
        self.identity = identity


Label: TypeAlias = "Callable[[Parts, int], str]"


def by_index(_: Parts, position: int) -> str:
    """Label a child by its position."""
    return f"[{position}]"


def by_name(parts: Parts, position: int) -> str:
    """Label a child by what the handler wrote down for it."""
    return parts.names[position]


class Parts:
    """What a value is made of: everything plain about it in ``head``, and its children.

    Attributes:
        head: A tag and a number of identities that only depends on the tag.
        children: Values, the order of which counts unless ``unordered``.
        label: Says how to get from the value to a child, for messages.
        names: What ``by_name`` says.
        unordered: The identities of the children are sorted.
        derived: The children were made up by user code; the value must not be among them.
    """

    __slots__ = ("children", "derived", "head", "label", "names", "unordered")

    def __init__(
        self,
        head: bytes,
        children: Sequence[Any],
        label: Label = by_index,
        names: Sequence[str] = (),
        *,
        unordered: bool = False,
        derived: bool = False,
    ) -> None:
        self.head = head
        self.children = children
        self.label = label
        self.names = names
        self.unordered = unordered
        self.derived = derived


def hashed(data: bytes) -> bytes:
    """Return the identity that stands for a tag and what follows it."""
    return DIGEST + blake3(data).digest(SIZE)


def hasher_for(size: int, begin: bytes = b"") -> blake3:
    """Return a hasher for about so many bytes."""
    return blake3(begin, max_threads=THREADS if size >= BIG else 1)


def finished(hasher: blake3) -> bytes:
    """Return the identity that stands for what a hasher was given."""
    return DIGEST + hasher.digest(SIZE)


def of_buffer(tag: bytes, data: Any) -> bytes:
    """Return the identity of a tag and a text of bytes, which is not copied where it is long."""
    if len(data) < SMALL:
        return hashed(tag + data)
    hasher = hasher_for(len(data), tag)
    hasher.update(data)
    return finished(hasher)


def of_none(_: None) -> bytes:
    """Identify None."""
    return NONE


def of_bool(value: bool) -> bytes:  # noqa: FBT001 - the value itself
    """Identify a bool."""
    return TRUE if value else FALSE


def of_int(value: int) -> bytes:
    """Identify an int."""
    try:
        return _int.pack(b"i", value)
    except struct.error:
        return hashed(b"I" + value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))


def of_float(value: float) -> bytes:
    """Identify a float; there is one NaN."""
    return _float.pack(b"f", value) if value == value else NAN  # noqa: PLR0124 - not so for NaN


def of_complex(value: complex) -> bytes:
    """Identify a complex number."""
    return hashed(b"c" + of_float(value.real) + of_float(value.imag))


def of_str(value: str) -> bytes:
    """Identify a text."""
    if len(value) < SMALL:
        return DIGEST + blake3(b"s" + value.encode("utf-8", "surrogatepass")).digest(SIZE)
    return of_buffer(b"s", value.encode("utf-8", "surrogatepass"))


def of_bytes(value: bytes) -> bytes:
    """Identify bytes."""
    return of_buffer(b"b", value)


def named(name: str, *identities: bytes) -> bytes:
    """Return the identity of something that is known by the name of its kind and some identities."""
    return hashed(head(name) + b"".join(identities))


def head(name: str, *identities: bytes) -> bytes:
    """Return the head of parts of a kind that has no tag of its own."""
    spelled = name.encode("utf-8", "surrogatepass")
    return b"x" + len(spelled).to_bytes(4, "big") + spelled + b"".join(identities)


def list_identity(elements: Sequence[bytes]) -> bytes:
    """Return the identity of the list whose elements have these identities.

    Args:
        elements: Identities, in order.

    Returns:
        The same as ``identity`` of that list.
    """
    return DIGEST + digest(b"l" + b"".join(elements))


def shown(identity: bytes) -> str:
    """Return an identity as messages show it.

    Args:
        identity: An identity.

    Returns:
        A number, a bool or None as such; for everything else the first twelve digits of the digest. Texts are never
        shown, they may be secrets.
    """
    tag = identity[:1]
    if tag == b"i":
        return str(_int.unpack(identity)[1])
    if tag == b"f":
        return repr(_float.unpack(identity)[1])
    return {NONE: "None", TRUE: "True", FALSE: "False"}.get(identity) or identity[1:].hex()[:12]
