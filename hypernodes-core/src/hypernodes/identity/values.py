"""Who a value is: one structural hash, used alike for inputs and for outputs.

A number, a bool and None are held as they are; everything else by a digest of its type and its parts, each part by its
own identity in turn. What code could tell apart differs: ``1``, ``True``, ``1.0`` and ``"1"``, a list and a tuple, dicts of
another order, ``0.0`` and ``-0.0``. Three things do not count, on purpose: the order of a set, the memory layout of arrays
and tables, and aliasing (``[a, a]`` is two equal lists). NaN is NaN, whatever its bits.

Equality, hashes, reprs and addresses of objects are never asked, so nothing that an object claims about itself matters,
but what it declares on purpose: ``__cache_key__``, ``__reduce__``, ``__getstate__``. What has no identity that would be the same
tomorrow is refused with the path to it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Final

from hypernodes._hashing import digest
from hypernodes.identity._attributes import spelled
from hypernodes.identity._cycles import identities_in_circle
from hypernodes.identity._encoding import Classes, Leaf, Parts, Unidentifiable, hashed, list_identity, shown
from hypernodes.identity._kinds import handler_of
from hypernodes.identity._owner import class_identity, type_name
from hypernodes.identity._plain import LEAVES, Handler

__all__ = ["Classes", "Unidentifiable", "identify", "identity", "list_identity", "shown"]

DEPTH: Final = 200_000  # of nesting; beyond it something makes itself up as we go
ROOM: Final = 1_000_000  # values that are remembered in case they are met again
WORTH_KEEPING: Final = 16  # children from which on a value met twice is not looked at twice
STEPS_SHOWN: Final = 20  # of the way to what has no identity

CodeDigest = Callable[[Any], bytes]


def identify(value: object, *, code: CodeDigest | None = None) -> tuple[bytes, Classes]:
    """Return the identity of a value, and the user's classes inside it.

    Args:
        value: Anything.
        code: Gives the identity of a function or a class that is met inside; by default that of ``code_identity``.

    Returns:
        The identity, at most 21 bytes, and what it stands on, sorted: ``("module:qualname", code identity)`` of every
        class of the user whose objects the value holds, and ``("file:path", identity)`` of every ``File``.

    Raises:
        Unidentifiable: If the value, or something inside it, has no identity that would be the same tomorrow.
    """
    leaf = _leaf_for(type(value))
    if leaf is not None:
        return leaf(value), ()
    walk = Walk(code)
    found = walk.identity(value)
    return found, tuple(sorted(walk.classes)) if walk.classes else ()


def identity(value: object, *, code: CodeDigest | None = None) -> bytes:
    """Return the identity of a value.

    Args:
        value: Anything.
        code: As for ``identify``.

    Returns:
        The identity, at most 21 bytes.

    Raises:
        Unidentifiable: As for ``identify``.
    """
    leaf = _leaf_for(type(value))
    return leaf(value) if leaf is not None else Walk(code).identity(value)


def _leaf_for(kind: type) -> Leaf | None:
    try:
        return LEAVES.get(kind)
    except Exception as error:  # a metaclass decides what the hash of a class is, and whether it has one
        raise _raising(error, kind) from error


class _Asking(threading.local):
    """The functions and classes whose code identity this thread is asking for."""

    def __init__(self) -> None:
        self.targets: set[int] = set()


_asking: Final = _Asking()


class Frame:
    """A value whose children are being looked at."""

    __slots__ = ("identities", "index", "low", "own_child", "parts", "rest", "value")

    def __init__(self, value: Any, parts: Parts) -> None:
        self.value = value
        self.parts = parts
        self.rest = iter(parts.children)
        # Of each child its identity, or its frame where that is part of the same circle.
        self.identities: list[Any] = []
        self.index = 0  # the order in which frames with containers inside were opened; 0 for others
        self.low = 0  # the lowest index that is reached from here (Tarjan)
        self.own_child = False


class Walk:
    """Goes through one value and everything inside it, without recursion: values may be nested deeper than any stack."""

    def __init__(self, code: CodeDigest | None = None) -> None:
        self.classes: set[tuple[str, bytes]] = set()
        self._code = code
        self._class_identities: dict[type, bytes] = {}
        self._spelled: dict[tuple[str, ...], bytes] = {}
        self._handlers: dict[type, Handler] = {}
        self._done: dict[int, tuple[object, bytes]] = {}  # the objects too: an id lasts as long as its object
        self._open: dict[int, Frame] = {}  # in progress, or waiting for the circle they are part of
        self._circle: list[Frame] = []
        self._opened = 0

    def apart(self, value: Any) -> bytes | None:
        """Return the identity of a value that need not have one."""
        aside = Walk(self._code)
        try:
            found = aside.identity(value)
        except Unidentifiable:
            return None
        self.classes |= aside.classes
        return found

    def identity(self, root: Any) -> bytes:
        """Return the identity of a value."""
        entered = self._enter(root)
        if isinstance(entered, bytes):
            return entered
        frame = entered
        stack: list[Frame] = []
        leaves = LEAVES
        try:
            while True:
                known = frame.identities
                for child in frame.rest:
                    leaf = leaves.get(type(child))
                    if leaf is not None:
                        known.append(leaf(child))
                        continue
                    if not frame.index:
                        self._register(frame)
                    done = self._done.get(id(child))
                    if done is not None:
                        known.append(done[1])
                        continue
                    above = self._open.get(id(child))
                    if above is not None:
                        known.append(above)
                        frame.low = min(frame.low, above.index)
                        frame.own_child = True
                        continue
                    entered = self._enter(child)
                    if isinstance(entered, bytes):
                        known.append(entered)
                        continue
                    if len(stack) >= DEPTH:
                        raise Unidentifiable(f"nested more than {DEPTH:,} deep", type_name(type(child)))
                    stack.append(frame)
                    frame = entered
                    break
                else:
                    found = self._leave(frame)
                    if not stack:
                        return found  # type: ignore[no-any-return]  # a circle is closed where it began
                    parent = stack.pop()
                    parent.identities.append(found)
                    if found is frame:
                        parent.low = min(parent.low, frame.low)
                    frame = parent
        except Unidentifiable as verdict:
            raise verdict.inside(_path([*stack, frame])) from verdict.__cause__
        except (Exception, SystemExit) as error:
            position = len(frame.identities)
            at_child = position < len(frame.parts.children)
            kind = type(frame.parts.children[position] if at_child else frame.value)
            raise _raising(error, kind).inside(_path([*stack, frame])) from error

    def spelled(self, names: list[str]) -> bytes:
        """Return what stands for the names of an object's attributes."""
        key = tuple(names)
        found = self._spelled.get(key)
        if found is None:
            found = self._spelled[key] = spelled(names)
        return found

    def code(self, target: object) -> bytes:
        """Return the identity of a function or class as a value."""
        return hashed(b"k" + self._digest_of(target))

    def of_class(self, cls: type) -> bytes:
        """Return what stands for the class of an object; the user's are noted."""
        found = self._class_identities.get(cls)
        if found is None:
            found = self._class_identities[cls] = class_identity(cls, self._digest_of, self.classes.add)
        return found

    def _digest_of(self, target: object) -> bytes:
        if self._code is not None:
            return self._code(target)
        from hypernodes.identity.code import code_identity  # it needs this module too

        key = id(target)
        if key in _asking.targets:
            # Met inside itself: a class with one of its own objects among its attributes. All else about it is being counted.
            return digest(b"within")
        _asking.targets.add(key)
        try:
            return code_identity(target).digest
        finally:
            _asking.targets.discard(key)

    def _enter(self, value: Any) -> bytes | Frame:
        """Return the identity of a value that has no children to look at, or its frame."""
        kind = type(value)
        try:
            handler = self._handlers.get(kind)
            if handler is None:
                handler = self._handlers[kind] = handler_of(kind)
            parts = handler(self, value)
        except Unidentifiable:
            raise
        except (Exception, SystemExit) as error:
            raise _raising(error, kind) from error
        if isinstance(parts, bytes):
            self._keep(value, parts)
            return parts
        return Frame(value, parts)

    def _register(self, frame: Frame) -> None:
        self._opened += 1
        frame.index = frame.low = self._opened
        self._circle.append(frame)
        self._open[id(frame.value)] = frame

    def _leave(self, frame: Frame) -> Any:
        """Return the identity of a value all children of which are known; its frame where its circle is not closed."""
        if frame.index:
            if frame.low < frame.index:
                return frame
            members = self._close(frame)
            if len(members) > 1 or frame.own_child:
                rows = [(each.parts, each.identities, each) for each in members]
                found = identities_in_circle(rows, type_name(type(frame.value)))
                for member in members:
                    self._keep(member.value, found[member])
                return found[frame]
        parts = frame.parts
        identities = sorted(frame.identities) if parts.unordered else frame.identities
        made = hashed(parts.head + b"".join(identities))
        if frame.index or len(identities) > WORTH_KEEPING:
            self._keep(frame.value, made)
        return made

    def _keep(self, value: object, found: bytes) -> None:
        if len(self._done) >= ROOM:
            self._done.clear()
        self._done[id(value)] = value, found

    def _close(self, frame: Frame) -> list[Frame]:
        members = []
        while True:
            member = self._circle.pop()
            members.append(member)
            del self._open[id(member.value)]
            if member is frame:
                return members


def _path(frames: list[Frame]) -> str:
    """Return the way to the child that is being looked at; the middle of a long one is left out."""
    steps = []
    for frame in frames if len(frames) <= STEPS_SHOWN else [*frames[: STEPS_SHOWN // 2], None, *frames[-STEPS_SHOWN // 2 :]]:
        if frame is None:
            steps.append("…")
        elif len(frame.identities) < len(frame.parts.children):
            steps.append(frame.parts.label(frame.parts, len(frame.identities)))
    return "".join(steps)


def _raising(error: BaseException, kind: type) -> Unidentifiable:
    # Not its text, which may hold anything.
    return Unidentifiable(f"an object that cannot be looked at ({type_name(type(error))})", type_name(kind))
