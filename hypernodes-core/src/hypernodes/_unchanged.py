"""Under ``strict``: nodes that change what they are given are found out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

from hypernodes._messages import where
from hypernodes.errors import MutationError


@attrs.frozen
class Unchanged:
    """Calls a function, and compares what it was given before and after.

    Attributes:
        function: The function.
        node: The node's id.
        names: Names of its parameters.
        exempt: Those whose arguments may change: left out of the key, or stateful.
    """

    function: Callable[..., Any]
    node: str
    names: tuple[str, ...]
    exempt: frozenset[str]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        before = self._identities(args, kwargs)
        result = self.function(*args, **kwargs)
        self._compare(before, args, kwargs)
        return result

    def _identities(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, bytes]:
        from hypernodes.identity.values import Unidentifiable, identity

        found = {}
        for name, value in (*zip(self.names, args, strict=False), *kwargs.items()):
            if name not in self.exempt:
                try:
                    found[name] = identity(value)
                except Unidentifiable:
                    continue  # what has no identity cannot be told to have changed
        return found

    def _compare(self, before: Mapping[str, bytes], args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        after = self._identities(args, kwargs)
        for name, was in before.items():
            if after.get(name) != was:
                place = where(self.function)
                msg = (
                    f"node '{self.node}'{f' ({place})' if place else ''} changed its argument '{name}', which other nodes are given too.\n"
                    f"  fix: work on a copy ({name} = copy.deepcopy({name})), or return what is new"
                )
                raise MutationError(msg)


@attrs.frozen
class UnchangedAsync(Unchanged):
    """The same for a coroutine function."""

    async def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function, wait for it, and compare."""
        before = self._identities(args, kwargs)
        result = await self.function(*args, **kwargs)
        self._compare(before, args, kwargs)
        return result
