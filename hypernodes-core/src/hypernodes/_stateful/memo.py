"""The objects that a process has by class and init arguments, so that what arrives twice is built once."""

from __future__ import annotations

import hashlib
import importlib
import io
import threading
import weakref
from collections import OrderedDict
from typing import Any, Final, TypeAlias

Key: TypeAlias = "tuple[type, bytes]"

ROOM_AT_FIRST: Final = 8


class Memo:
    """Stand-ins by the key of their class and init arguments.

    A worker drops what a task brought when the task ends, and must not build the model again for the next task: the last
    few objects built from unpickled arguments stay. Room is made for one that comes back after it was dropped.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.alive: weakref.WeakValueDictionary[Key, Any] = weakref.WeakValueDictionary()  # pickled or unpickled here, and in use
        self.kept: OrderedDict[Key, Any] = OrderedDict()  # what stays, used last at the end
        self._room = ROOM_AT_FIRST
        self._dropped: set[int] = set()

    def keep(self, key: Key, obj: Any) -> None:
        """Hold on to a stand-in whose object was built, and let go of the ones that were used longest ago."""
        with self.lock:
            self._room += hash(key) in self._dropped
            self.kept[key] = obj
            old = [self.kept.popitem(last=False) for _ in range(len(self.kept) - self._room)]
            self._dropped.update(hash(each) for each, _ in old)
        # `old` ends here, outside the lock: finalizers may take their time.

    def release(self) -> None:
        """Let go of the objects that this process keeps because it received them; the next task builds them again."""
        with self.lock:
            old, self.kept = self.kept, OrderedDict()
            self._room = ROOM_AT_FIRST
            self._dropped.clear()
        del old  # outside the lock, as above


MEMO: Final = Memo()
release = MEMO.release


def key_of(cls: type, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Key | None:
    """Name a class with its init arguments within this process, or return None where they cannot be compared."""
    # fast: shared and equal parts look alike; impossible where something contains itself.
    for module, fast in (("pickle", True), ("pickle", False), ("cloudpickle", True), ("cloudpickle", False)):
        buffer = io.BytesIO()
        try:
            pickler = importlib.import_module(module).Pickler(buffer)
            pickler.fast = fast
            pickler.dump((args, kwargs))
        except Exception:  # noqa: BLE001, S112 - anything may go wrong in a foreign __reduce__, and cloudpickle may be missing
            continue
        return cls, hashlib.blake2b(buffer.getvalue(), digest_size=20).digest()
    return None
