"""What third parties implement, as structural types."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class HyperNode(Protocol):
    """Anything that can stand in a pipeline: a node, or a pipeline seen as one.

    Attributes:
        name: Its name in messages, statistics and events.
        cache: Whether its results may be cached.
        root_args: Names of its inputs.
        output_name: The name of its output, or a tuple of names.
        code_hash: A hash of its code.
    """

    @property
    def name(self) -> str:
        """See the class."""
        ...

    @property
    def cache(self) -> Any:
        """See the class."""
        ...

    @property
    def root_args(self) -> tuple[str, ...]:
        """See the class."""
        ...

    @property
    def output_name(self) -> str | tuple[str, ...]:
        """See the class."""
        ...

    @property
    def code_hash(self) -> str:
        """See the class."""
        ...


@runtime_checkable
class NodeScope(Protocol):
    """What must surround each node where it really runs, such as a trace context or logging fields.

    A scope travels to workers, so it must be small and picklable.
    """

    def enter(self, node: str, item: int | None, carrier: Mapping[str, str]) -> AbstractContextManager[object]:
        """Return a context manager that is entered around one call.

        Args:
            node: The node's id, such as ``"index/embed"``.
            item: The index of the item, or ``None`` outside a map (and for a batch of items).
            carrier: What callbacks left in ``ctx.carrier`` when the run started, such as ``traceparent``.
        """
        ...
