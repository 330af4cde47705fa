"""Values that contain themselves.

The members of a circle are told apart as finite automata are: at first by what is plain about each, then by what the
others are that it leads to, again and again until nothing more is told apart. What comes out does not depend on where
the circle was entered, nor on how often a part of it was written down.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from hypernodes.identity._encoding import Parts, Unidentifiable, hashed

STEPS: Final = 1_000_000  # a second or two

Member = tuple[Parts, list[Any], Any]


def identities_in_circle(members: Sequence[Member], kind: str) -> dict[Any, bytes]:
    """Return the identities of values that contain each other.

    Args:
        members: Of each its parts, the identities of its children (or a member's name where a child is one), and a
            name to know it by.
        kind: The name of the type of the first one met, for messages.

    Raises:
        Unidentifiable: If telling them apart would take too long, or a member is what user code answered about itself.
    """
    for parts, _, _ in members:
        if parts.derived:
            raise Unidentifiable("an object that stands in for itself", kind)
    colours: dict[Any, bytes] = {name: b"" for _, _, name in members}
    count = 0
    for _ in range(STEPS // len(members) + 2):
        finer = {name: _colour(parts, children, colours) for parts, children, name in members}
        told_apart = len(set(finer.values()))
        if told_apart == count:
            together = hashed(b"R" + b"".join(sorted({colours[name] + finer[name] for name in finer})))
            return {name: hashed(b"r" + together + colours[name]) for name in colours}
        colours, count = finer, told_apart
    raise Unidentifiable(f"one of {len(members):,} objects in a circle that look too much alike", kind)


def _colour(parts: Parts, children: list[Any], colours: dict[Any, bytes]) -> bytes:
    # An identity never begins with this tag, so that a colour cannot be taken for one.
    row = [child if type(child) is bytes else b"@" + colours[child] for child in children]
    if parts.unordered:
        row.sort()
    return hashed(b"m" + parts.head + b"".join(row))
