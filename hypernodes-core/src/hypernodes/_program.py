"""The immutable compilation of a pipeline for a set of requested outputs: ordered steps over numbered slots."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import attrs

from hypernodes.node import Node
from hypernodes.pipeline_node import PipelineNode

if TYPE_CHECKING:
    from hypernodes._graph import Graph
    from hypernodes.pipeline import Pipeline


class Boundaries(Protocol):
    """Tells which nested pipelines run on an engine of their own, below a given engine."""

    def is_own_run(self, node: PipelineNode) -> bool:
        """Whether a nested pipeline must not be inlined."""
        ...

    def below(self, node: PipelineNode) -> Boundaries:
        """Return the same for what stands inside a nested pipeline."""
        ...


@attrs.frozen
class Input:
    """A slot that is filled from outside.

    Attributes:
        slot: Its number.
        name: The name in its own scope.
        scope: The scope it belongs to.
        outer: The slot of the surrounding scope that it takes its value from, if that one has a value; ``None``
            for inputs of the program itself.
    """

    slot: int
    name: str
    scope: int
    outer: int | None = None


@attrs.frozen
class Scope:
    """A pipeline whose steps stand in this program: the program's own (0), or one inlined into it.

    Attributes:
        path: Ids from below the program's own pipeline; empty for scope 0.
        parent: The surrounding scope; -1 for scope 0.
    """

    path: tuple[str, ...]
    parent: int


@attrs.frozen
class Step:
    """One call of a function.

    Attributes:
        id: The node's path below the program's own pipeline, such as ``index/embed``.
        scope: The scope it stands in.
        node: The node.
        args: For each parameter, the slot of its value.
        outs: Slots of its outputs.
    """

    id: str
    scope: int
    node: Node[..., Any]
    args: tuple[int, ...]
    outs: tuple[int, ...]


@attrs.frozen
class InnerStep:
    """A nested pipeline that runs as a block of its own: mapped, or on another engine.

    Attributes:
        id: Its path below the program's own pipeline.
        scope: The scope it stands in.
        name: The nested pipeline's name.
        program: What it runs.
        inputs: Names of the inner inputs.
        args: For each of them, the slot of its value.
        mapped: The mapped inner inputs; empty when it is not mapped.
        mode: ``"zip"`` or ``"product"``.
        on_error: ``"raise"`` or ``"return"``.
        results: For each output, its inner name: an output of the program, or one of ``inputs`` given back.
        outs: Slots of its outputs.
    """

    id: str
    scope: int
    name: str
    program: Program
    inputs: tuple[str, ...]
    args: tuple[int, ...]
    mapped: tuple[str, ...]
    mode: str
    on_error: str
    results: tuple[str, ...]
    outs: tuple[int, ...]


@attrs.frozen(eq=False)
class Program:
    """Ordered steps over numbered slots.

    Attributes:
        name: The pipeline's name.
        slots: How many slots there are.
        inputs: Slots filled from outside; a scope's come after those of the scope around it.
        steps: In execution order.
        outputs: Requested outputs and their slots.
        scopes: The pipelines whose steps stand here.
        compiled: Generated functions, by what they are specialised for; rebuilt where the program arrives.
    """

    name: str
    slots: int
    inputs: tuple[Input, ...]
    steps: tuple[Step | InnerStep, ...]
    outputs: tuple[tuple[str, int], ...]
    scopes: tuple[Scope, ...]
    compiled: dict[Any, Any] = attrs.field(factory=dict, repr=False)

    def __reduce__(self) -> tuple[Any, ...]:
        return (Program, (self.name, self.slots, self.inputs, self.steps, self.outputs, self.scopes))

    @property
    def root_inputs(self) -> tuple[Input, ...]:
        """Inputs of the program itself, leaving out those that inlined scopes take from it."""
        return tuple(entry for entry in self.inputs if entry.outer is None)


@attrs.frozen
class Owner:
    """The pipeline behind a scope, and the node that put it there."""

    node: PipelineNode | None
    pipeline: Pipeline


@attrs.frozen(eq=False)
class Compiled:
    """A program and the objects its settings are read from, which do not travel.

    Attributes:
        program: The program.
        owners: The owner of each scope.
        inner: The same for each inner step, by position.
        hosts: The ``PipelineNode`` of each inner step, by position.
    """

    program: Program
    owners: tuple[Owner, ...]
    inner: dict[int, Compiled]
    hosts: dict[int, PipelineNode]


def compile_program(pipeline: Pipeline, outputs: Sequence[str], boundaries: Boundaries) -> Compiled:
    """Compile what ``outputs`` need, and nothing else.

    Args:
        pipeline: The pipeline.
        outputs: Names of the requested outputs, all known to it.
        boundaries: Which nested pipelines run on an engine of their own.
    """
    graph = pipeline.graph
    kept, names = _needed(graph, outputs, boundaries)
    return _Builder(pipeline, graph, kept, names, boundaries).build(outputs)


def _needed(graph: Graph, outputs: Iterable[str], boundaries: Boundaries) -> tuple[dict[int, Compiled | None], dict[str, None]]:
    """Return the nodes that are needed, with the compilation of nested ones, and all names they read."""
    needed = dict.fromkeys(outputs)
    kept: dict[int, Compiled | None] = {}
    for position in reversed(graph.order):
        node = graph.nodes[position]
        if not any(name in needed for name in node.outputs):
            continue
        if isinstance(node, Node):
            kept[position] = None
            needed.update(dict.fromkeys(node.root_args))
            continue
        made = set(node.pipeline.output_names)
        wanted = dict.fromkeys(inner for outer, inner in node.results.items() if outer in needed)
        inner = compile_program(node.pipeline, [name for name in wanted if name in made], boundaries.below(node))
        kept[position] = inner
        sources = node.sources
        needed.update(dict.fromkeys(sources[entry.name] for entry in inner.program.root_inputs))
        needed.update(dict.fromkeys(sources[name] for name in wanted if name not in made))
        needed.update(dict.fromkeys(node.map_over))
    return kept, needed


class _Builder:
    """Numbers slots and lays out steps, once per program."""

    def __init__(
        self, pipeline: Pipeline, graph: Graph, kept: dict[int, Compiled | None], names: dict[str, None], boundaries: Boundaries
    ) -> None:
        self.pipeline = pipeline
        self.graph = graph
        self.kept = kept
        self.names = names
        self.boundaries = boundaries
        self.count = 0
        self.slot: dict[str, int] = {}
        self.fed: set[int] = set()
        self.inputs: list[Input] = []
        self.steps: list[Step | InnerStep] = []
        self.scopes: list[Scope] = [Scope((), -1)]
        self.owners: list[Owner] = [Owner(None, pipeline)]
        self.inner: dict[int, Compiled] = {}
        self.hosts: dict[int, PipelineNode] = {}

    def new_slot(self) -> int:
        self.count += 1
        return self.count - 1

    def build(self, outputs: Sequence[str]) -> Compiled:
        graph = self.graph
        for name in graph.root_args:
            if name in self.names:
                self.slot[name] = slot = self.new_slot()
                self.fed.add(slot)
                self.inputs.append(Input(slot, name, 0))
        for position in graph.order:
            if position not in self.kept:
                continue
            node, compiled, name = graph.nodes[position], self.kept[position], graph.ids[position]
            if isinstance(node, Node):
                self.add_call(node, name)
            elif compiled is not None and (node.map_over or self.boundaries.is_own_run(node)):
                self.add_inner(node, name, compiled)
            elif compiled is not None:
                self.inline(node, name, compiled)
        program = Program(
            name=self.pipeline.name or "pipeline",
            slots=self.count,
            inputs=tuple(self.inputs),
            steps=tuple(self.steps),
            outputs=tuple((output, self.slot[output]) for output in outputs),
            scopes=tuple(self.scopes),
        )
        return Compiled(program, tuple(self.owners), self.inner, self.hosts)

    def add_call(self, node: Node[..., Any], name: str) -> None:
        args = tuple(self.slot[argument] for argument in node.root_args)
        outs = tuple(self.new_slot() for _ in node.outputs)
        self.slot.update(zip(node.outputs, outs, strict=True))
        self.steps.append(Step(name, 0, node, args, outs))

    def add_inner(self, node: PipelineNode, name: str, compiled: Compiled) -> None:
        sources = node.sources
        made = {output for output, _ in compiled.program.outputs}
        results = {outer: inner for outer, inner in node.results.items() if outer in self.names}
        mapped = tuple(inner for over in node.map_over for inner, outer in sources.items() if outer == over)
        read = {entry.name for entry in compiled.program.root_inputs} | set(mapped)
        read |= {inner for inner in results.values() if inner not in made}
        inputs = tuple(inner for inner in sources if inner in read)
        outs = tuple(self.new_slot() for _ in results)
        self.slot.update(zip(results, outs, strict=True))
        self.inner[len(self.steps)] = compiled
        self.hosts[len(self.steps)] = node
        self.steps.append(
            InnerStep(
                id=name,
                scope=0,
                name=node.name,
                program=compiled.program,
                inputs=inputs,
                args=tuple(self.slot[sources[inner]] for inner in inputs),
                mapped=mapped,
                mode=node.map_mode,
                on_error=node.on_error,
                results=tuple(results.values()),
                outs=outs,
            )
        )

    def inline(self, node: PipelineNode, name: str, compiled: Compiled) -> None:
        """Lay an inner program's steps into this one under their own names and settings."""
        program, sources = compiled.program, node.sources
        first_scope = len(self.scopes)
        moved: dict[int, int] = {}
        for entry in program.inputs:
            outer = self.slot[sources[entry.name]] if entry.outer is None else moved[entry.outer]
            if outer not in self.fed:
                moved[entry.slot] = outer
                continue
            moved[entry.slot] = slot = self.new_slot()
            self.fed.add(slot)
            self.inputs.append(Input(slot, entry.name, first_scope + entry.scope, outer))
        for index, scope in enumerate(program.scopes):
            parent = 0 if scope.parent < 0 else first_scope + scope.parent
            self.scopes.append(Scope((name, *scope.path), parent))
            self.owners.append(compiled.owners[index] if index else Owner(node, node.pipeline))
        for position, step in enumerate(program.steps):
            for slot in step.outs:
                moved[slot] = self.new_slot()
            if position in compiled.inner:
                self.inner[len(self.steps)] = compiled.inner[position]
                self.hosts[len(self.steps)] = compiled.hosts[position]
            self.steps.append(
                attrs.evolve(
                    step,
                    id=f"{name}/{step.id}",
                    scope=first_scope + step.scope,
                    args=tuple(moved[slot] for slot in step.args),
                    outs=tuple(moved[slot] for slot in step.outs),
                )
            )
        inner_slot = {output: moved[slot] for output, slot in program.outputs}
        for outer_name, inner_name in node.results.items():
            if outer_name in self.names:
                given = self.slot.get(sources[inner_name]) if inner_name in sources else None
                self.slot[outer_name] = inner_slot.get(inner_name, given)  # type: ignore[assignment]
