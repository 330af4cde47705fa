"""From a list of nodes to a checked graph. The only module that imports networkx."""

from __future__ import annotations

import functools
import heapq
from collections.abc import Iterator, Sequence
from types import MethodType
from typing import TYPE_CHECKING, Any, TypeAlias

from hypernodes._messages import listed
from hypernodes.errors import CycleError, DependencyError, PipelineError
from hypernodes.node import Node
from hypernodes.pipeline_node import PipelineNode

if TYPE_CHECKING:
    import networkx as nx

Member: TypeAlias = Node[..., Any] | PipelineNode


class Graph:
    """The nodes of one pipeline and how names join them; never changes once built.

    Attributes:
        nodes: The nodes, as given.
        ids: Each node's name, made unique within the pipeline.
        order: Positions of the nodes in execution order.
        producer: Output name to the position of the node that makes it.
        root_args: Names that no node makes, in order of first use.
        available_output_names: All outputs, in execution order.
    """

    def __init__(self, nodes: Sequence[Member]) -> None:
        self.nodes: tuple[Member, ...] = tuple(nodes)
        self.ids = _unique_names(self.nodes)
        self.producer = self._producers()
        self.order: tuple[int, ...] = self._sorted()
        self.root_args: tuple[str, ...] = tuple(
            dict.fromkeys(name for i in self.order for name in self.nodes[i].root_args if name not in self.producer)
        )
        self.available_output_names: tuple[str, ...] = tuple(name for i in self.order for name in self.nodes[i].outputs)

    @property
    def execution_order(self) -> tuple[Member, ...]:
        """The nodes in an order in which each finds its inputs made."""
        return tuple(self.nodes[i] for i in self.order)

    @functools.cached_property
    def dag(self) -> nx.DiGraph:
        """The networkx graph over positions."""
        import networkx as nx  # on demand: it takes longer to import than all of ours

        dag: nx.DiGraph = nx.DiGraph()
        dag.add_nodes_from(range(len(self.nodes)))
        dag.add_edges_from((maker, position) for position, makers in enumerate(self._makers()) for maker in makers)
        return dag

    def _makers(self) -> list[list[int]]:
        """Return, per node, the positions of the nodes that make its inputs."""
        return [list({self.producer[name]: None for name in node.root_args if name in self.producer}) for node in self.nodes]

    def _producers(self) -> dict[str, int]:
        producer: dict[str, int] = {}
        for position, node in enumerate(self.nodes):
            for output in node.outputs:
                if output in producer:
                    first = self.nodes[producer[output]]
                    msg = (
                        f"output '{output}' has two producers:\n"
                        f"  {described(first)}\n  {described(node)}\n"
                        f"  fix: rename one with @node(output_name=…), or with as_node(output_mapping={{'{output}': …}})"
                    )
                    if first is node:
                        twice = f"node '{node.name}' is listed twice, so that output '{output}' has two producers:"
                        msg = f"{twice}\n  {described(node)}\n  fix: leave one out"
                    raise DependencyError(msg)
                producer[output] = position
        return producer

    def _sorted(self) -> tuple[int, ...]:
        """Return the positions in execution order: of the nodes that could be next, always the one that was given first."""
        makers = self._makers()
        followers: list[list[int]] = [[] for _ in makers]
        missing = [len(each) for each in makers]
        for position, each in enumerate(makers):
            for maker in each:
                followers[maker].append(position)
        ready = [position for position, count in enumerate(missing) if not count]  # in order, so it is a heap
        order = []
        while ready:
            position = heapq.heappop(ready)
            order.append(position)
            for follower in followers[position]:
                missing[follower] -= 1
                if not missing[follower]:
                    heapq.heappush(ready, follower)
        if len(order) == len(makers):
            return tuple(order)
        raise CycleError(self._circle())

    def _circle(self) -> str:
        """Say which nodes depend on each other."""
        import networkx as nx

        path = [edge[0] for edge in nx.find_cycle(self.dag)]
        lines = []
        for position, following in zip(path, [*path[1:], path[0]], strict=True):
            joint = [name for name in self.nodes[position].outputs if name in self.nodes[following].root_args]
            lines.append(f"  {described(self.nodes[position])}  makes {listed(joint)} for '{self.ids[following]}'")
        circle = " -> ".join(self.ids[position] for position in [*path, path[0]])
        return f"nodes depend on each other: {circle}\n" + "\n".join(lines)

    def contradictions(self) -> Iterator[str]:
        """Yield a message for every edge whose annotations cannot both be right."""
        from hypernodes._types import contradicts, spoken

        for node in self.execution_order:
            for name, expected, consumer in _expectations(node):
                if name not in self.producer:
                    continue
                source = self.nodes[self.producer[name]]
                produced = _produced(source, name)
                if contradicts(produced, expected):
                    yield (
                        f"'{name}' is {spoken(produced)} where it is made and {spoken(expected)} where it is used:\n"
                        f"  made by {described(source)}\n  used by {described(consumer)}\n"
                        f"  fix: correct one of the annotations, or put a node between them"
                    )


def described(node: Member) -> str:
    """Return a node for a message: its signature and where it is written."""
    if isinstance(node, PipelineNode):
        return f"{node.name}({', '.join(node.root_args)})  (a nested pipeline)"
    signature = f"{node.name}({', '.join(node.root_args)})"
    return f"{signature}  {node.location}" if node.location else signature


def as_member(value: object, position: int) -> Member:
    """Return what was put in ``nodes`` as a node."""
    if isinstance(value, (Node, PipelineNode)):
        return value
    if isinstance(value, MethodType) and isinstance(value.__func__, Node):  # @classmethod above @node, from Python 3.13
        return value.__func__.with_function(MethodType(value.__func__.func, value.__self__))
    as_node = getattr(value, "as_node", None)
    if as_node is not None:
        made: PipelineNode = as_node()
        return made
    name = getattr(value, "__name__", None)
    hint = f"; decorate it: @node(output_name=…) above def {name}" if callable(value) and name else ""
    msg = f"nodes[{position}] is {value!r}, which is neither a node nor a pipeline{hint}"
    raise PipelineError(msg)


def _unique_names(nodes: Sequence[Member]) -> tuple[str, ...]:
    count: dict[str, int] = {}
    for node in nodes:
        count[node.name] = count.get(node.name, 0) + 1
    return tuple(node.name if count[node.name] == 1 else f"{node.name}[{','.join(node.outputs)}]" for node in nodes)


def _expectations(node: Member) -> Iterator[tuple[str, Any, Member]]:
    """Yield (name in this graph, annotation, consuming node) for every annotated input."""
    from hypernodes._types import UNKNOWN, hints
    from hypernodes._types import listed as a_list

    if isinstance(node, Node):
        found = hints(node.signature_source)
        batch_only = getattr(node, "singular", node) is None
        for name in node.root_args:
            if name in found:
                yield name, (UNKNOWN if batch_only else found[name]), node
        return
    sources = node.sources
    for inner in node.pipeline.graph.execution_order:
        for name, annotation, consumer in _expectations(inner):
            outer = sources.get(name)
            if outer is not None:
                yield outer, (a_list(annotation) if outer in node.map_over else annotation), consumer


def _produced(node: Member, name: str) -> Any:
    """Return the annotation under which a node makes an output."""
    from hypernodes._types import UNKNOWN, hints, outputs_of
    from hypernodes._types import listed as a_list

    if isinstance(node, Node):
        if getattr(node, "singular", node) is None:
            return UNKNOWN
        annotation = hints(node.signature_source).get("return", UNKNOWN)
        if isinstance(node.output_name, str):
            return annotation
        return outputs_of(annotation, len(node.outputs))[node.outputs.index(name)]
    inner = node.results[name]
    graph = node.pipeline.graph
    if inner not in graph.producer:
        return UNKNOWN
    annotation = _produced(graph.nodes[graph.producer[inner]], inner)
    if node.map_over and node.on_error == "return":
        return UNKNOWN
    return a_list(annotation) if node.map_over else annotation
