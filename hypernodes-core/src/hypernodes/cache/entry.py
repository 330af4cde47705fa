"""What a cache knows of a result: who it is, what it was made from, where it came from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs

# Parts and entries are made by the million. Nobody changes one, but having attrs see to it would take most of their making.


@attrs.define
class Part:
    """One output of a computation.

    Attributes:
        identity: The identity of its value.
        codec: How it is stored.
        size: Bytes stored.
        classes: The user's classes and files that it depends on, with their identities.
    """

    identity: bytes
    codec: str
    size: int
    classes: tuple[tuple[str, bytes], ...] = ()


@attrs.frozen
class Origin:
    """What all entries of one node in one run have in common.

    Attributes:
        node: The node's id.
        pipeline: Name of the pipeline that was called.
        run_id: The run.
        writer: Host and process.
        parameters: Names of the node's parameters.
        code: The identity of its code.
        manifest: The name under which the parts of that code are kept.
        environment: What the code stood on: the Python minor version, and the distributions it reaches.
        salt: What the user added to the signature.
        outputs: Names of the node's outputs.
        trace_id: The trace that the run belonged to.
    """

    node: str
    pipeline: str
    run_id: str
    writer: str
    parameters: tuple[str, ...]
    code: bytes
    manifest: bytes
    environment: tuple[tuple[str, str], ...]
    salt: str
    outputs: tuple[str, ...]
    trace_id: str = ""

    def is_of(self, node: str | None, pipeline: str | None) -> bool:
        """Whether it is of a node and a pipeline; see ``is_of``."""
        return is_of((self.pipeline, self.node), node, pipeline)


@attrs.define
class Entry:
    """The record of one computation.

    Attributes:
        keys: Signatures it answers to: by value first, by upstream signatures where that differs.
        parts: One per output.
        consumed: Identities of the arguments, in the order of ``origin.parameters``; empty for one that does not count.
        origin: Where it comes from.
        seconds: How long it took.
        created: When, in seconds since the epoch.
        span_id: The span that made it.
        deterministic: False once a recomputation disagreed.
        location: Where the store keeps its values.
    """

    keys: tuple[bytes, ...]
    parts: tuple[Part, ...]
    consumed: tuple[bytes, ...]
    origin: Origin
    seconds: float
    created: float
    span_id: str = ""
    deterministic: bool = True
    location: object = attrs.field(default=None, eq=False, repr=False)


@attrs.define(eq=False)
class Spot:
    """Where the values of an entry are: in memory, or in a block.

    Attributes:
        payloads: The bytes of each part, while they are held in memory.
        block: What gives the block.
        position: The entry's place in it.
        place: Which of several layers have the result; see ``layered``.
    """

    payloads: Sequence[bytes] | None
    block: Any = None
    position: int = 0
    place: Any = None


def is_of(where: tuple[str, str], node: str | None, pipeline: str | None) -> bool:
    """Whether the name of a pipeline and the id of a node are meant by a node, by id or name, and a pipeline; ``None`` stands for any."""
    return (node is None or node in (where[1], where[1].rpartition("/")[2])) and (pipeline is None or pipeline == where[0])
