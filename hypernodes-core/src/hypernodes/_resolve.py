"""From pipelines with settings to a job: the one place where precedence is decided."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import attrs

from hypernodes import config
from hypernodes._dispatch import Dispatcher, Place, overrides, wanted
from hypernodes._job import Job, Rule
from hypernodes._program import Compiled, InnerStep, Step, compile_program
from hypernodes.callbacks import PipelineCallback, RunInfo
from hypernodes.config import UNSET
from hypernodes.errors import CapabilityError

if TYPE_CHECKING:
    from hypernodes.pipeline import Pipeline
    from hypernodes.pipeline_node import PipelineNode


@attrs.frozen(eq=False)
class Effective:
    """What holds for one pipeline of a run, every level taken into account."""

    engine: Any
    cache: Any
    callbacks: tuple[PipelineCallback, ...]
    retries: int
    timeout: float | None
    strict: bool


@attrs.define(eq=False)
class Prepared:
    """A pipeline made ready for one set of outputs; stands until a setting changes anywhere.

    Attributes:
        generation: The state of all settings it was made under.
        job: The program with its settings.
        effective: What holds for the called pipeline.
        groups: The callbacks of each pipeline that has its own.
        places: What callbacks are told of each step and pipeline.
        required: Names that must be given.
        known: Names that may be given.
        produced: Names that its nodes make.
        bound: What the called pipeline binds.
        fast: Whether the whole of it runs as generated code in the caller's thread.
        functions: The generated function for each set of given names.
    """

    generation: int
    name: str
    outputs: tuple[str, ...]
    job: Job
    effective: Effective
    groups: tuple[tuple[PipelineCallback, ...], ...]
    places: dict[tuple[int, ...], dict[int, Place]]
    required: dict[str, int]
    known: frozenset[str]
    produced: frozenset[str]
    bound: dict[str, Any]
    fast: bool
    functions: dict[Any, Any] = attrs.field(factory=dict)

    def dispatcher(self, run: RunInfo) -> Dispatcher:
        """Return who tells the callbacks of one run."""
        from hypernodes import plugins

        return Dispatcher(run, self.groups, self.places, plugins.current().owner_of, self.effective.strict)


class Boundaries:
    """Which nested pipelines run on an engine of their own, below a given engine."""

    def __init__(self, engine: Any) -> None:
        self.engine = engine

    def is_own_run(self, node: PipelineNode) -> bool:
        """Whether a nested pipeline has an engine, and another one than what surrounds it."""
        own = own_engine(node, node.pipeline)
        return own is not None and own is not self.engine

    def below(self, node: PipelineNode) -> Boundaries:
        """Return the same for what stands inside a nested pipeline."""
        own = own_engine(node, node.pipeline)
        return self if own is None else Boundaries(own)


class Inlined:
    """No nested pipeline runs on an engine of its own."""

    def is_own_run(self, node: PipelineNode) -> bool:
        """Whether a nested pipeline must not be inlined: never."""
        return False

    def below(self, node: PipelineNode) -> Inlined:
        """Return the same for what stands inside a nested pipeline."""
        return self


def own_engine(node: PipelineNode | None, pipeline: Pipeline) -> Any:
    """Return the engine that a node or its pipeline sets, or ``None`` where it inherits."""
    value = node.settings.get("engine", UNSET) if node is not None else UNSET
    if value is UNSET:
        value = pipeline.settings.get("engine", UNSET)
    return None if value is UNSET else config.make_engine(value)


def root_settings(pipeline: Pipeline) -> Effective:
    """Return what holds for a pipeline that is called: its own, its engine's, then the surroundings'."""
    ambient = config.ambient()

    def surrounding(name: str) -> Any:
        value = getattr(ambient, name)
        return config.fallback(name, pipeline) if value is UNSET else value

    engine = own_engine(None, pipeline)
    if engine is None:
        engine = config.make_engine(surrounding("engine"))
    values = {}
    for name in ("cache", "callbacks", "retries", "timeout", "strict"):
        value = pipeline.settings.get(name, UNSET)
        if value is UNSET:
            value = getattr(engine, name, UNSET)
        values[name] = surrounding(name) if value is UNSET else value
    return _made(engine, values)


def nested_settings(node: PipelineNode | None, pipeline: Pipeline, parent: Effective) -> Effective:
    """Return what holds for a nested pipeline: ``as_node(...)``, its own, its engine's, then its parent's."""
    own = own_engine(node, pipeline)
    values = {}
    for name in ("cache", "callbacks", "retries", "timeout", "strict"):
        value = node.settings.get(name, UNSET) if node is not None else UNSET
        if value is UNSET:
            value = pipeline.settings.get(name, UNSET)
        if value is UNSET and own is not None:
            value = getattr(own, name, UNSET)
        values[name] = getattr(parent, name) if value is UNSET else value
    return _made(own if own is not None else parent.engine, values)


def _made(engine: Any, values: dict[str, Any]) -> Effective:
    return Effective(
        engine=engine,
        cache=config.make_cache(values["cache"]),
        callbacks=config.make_callbacks(values["callbacks"]),
        retries=values["retries"] or 0,
        timeout=values["timeout"],
        strict=bool(values["strict"]),
    )


def prepare(pipeline: Pipeline, outputs: Sequence[str], extra: Sequence[PipelineCallback] = (), *, plain: bool = False) -> Prepared:
    """Compile a pipeline for some outputs and settle everything that its runs depend on.

    Args:
        pipeline: The pipeline.
        outputs: The requested outputs.
        extra: Callbacks that plugins attach to this run.
        plain: Whether to call functions in this thread and nothing else (``pipeline.debug()``).
    """
    generation = config.STATE.generation
    effective = root_settings(pipeline)
    if plain:
        effective = Effective(config.make_engine(None), None, (), 0, None, effective.strict)
    compiled = _program_of(pipeline, tuple(outputs), effective, plain=plain)
    resolver = _Resolver(compiled.program.name, effective.engine, tuple(extra), plain=plain)
    job = resolver.job(compiled, effective, (), (), None)
    return Prepared(
        generation=generation,
        name=compiled.program.name,
        outputs=tuple(outputs),
        job=job,
        effective=effective,
        groups=tuple(resolver.groups),
        places=resolver.places,
        required=job.required(),
        known=frozenset(pipeline.graph.root_args),
        produced=frozenset(pipeline.graph.producer),
        bound=dict(pipeline.bound_inputs),
        fast=job.simple and effective.engine.plain(job) and not any(resolver.groups),
    )


def _program_of(pipeline: Pipeline, outputs: tuple[str, ...], effective: Effective, *, plain: bool) -> Compiled:
    """Return the compiled program; it changes only when nested pipelines get or lose engines of their own."""
    engines = None if plain else tuple(_nested_engines(pipeline)) or None
    key = (outputs, (id(effective.engine), *map(id, engines)) if engines else ())
    found = pipeline.programs.get(key)
    if found is None:
        compiled = compile_program(pipeline, outputs, Inlined() if plain else Boundaries(effective.engine))
        found = pipeline.programs[key] = (compiled, engines)  # the engines are kept so that their ids stay theirs
    return found[0]


def _nested_engines(pipeline: Pipeline) -> list[Any]:
    found = []
    for node in pipeline.nested:
        own = own_engine(node, node.pipeline)
        if own is not None:
            found.append(own)
        found.extend(_nested_engines(node.pipeline))
    return found


def with_scopes(job: Job, scopes: tuple[Any, ...]) -> Job:
    """Return the job with node scopes around every node."""
    inner = {k: with_scopes(below, scopes) for k, below in job.inner.items()}
    return attrs.evolve(job, scopes=scopes, inner=inner)


def node_scopes(run: RunInfo, dispatcher: Dispatcher) -> tuple[Any, ...]:
    """Ask the callbacks of a run what must surround every node."""
    found = []
    for callback in list(dispatcher.callbacks):
        if overrides(callback, "node_scope"):
            try:
                scope = callback.node_scope(run)
            except Exception as error:  # noqa: BLE001 - a fault of a callback never changes a result
                dispatcher.fault(callback.node_scope, error)
                continue
            if scope is not None:
                found.append(scope)
    return tuple(found)


class _Resolver:
    """Walks a compiled pipeline and its nested ones once."""

    def __init__(self, root: str, engine: Any, extra: tuple[PipelineCallback, ...], *, plain: bool) -> None:
        self.root = root
        self.engine = engine
        self.plain = plain
        self.extra = extra
        self.groups: list[tuple[PipelineCallback, ...]] = []
        self.places: dict[tuple[int, ...], dict[int, Place]] = {}

    def job(self, compiled: Compiled, effective: Effective, key: tuple[int, ...], path: tuple[str, ...], engine: Any) -> Job:
        program = compiled.program
        scopes = [effective]
        for index, owner in enumerate(compiled.owners[1:], start=1):
            around = scopes[program.scopes[index].parent]
            scopes.append(around if self.plain else nested_settings(owner.node, owner.pipeline, around))
        groups = [self.group(scope) for scope in scopes]
        bound = {}
        for entry in program.inputs:
            values = compiled.owners[entry.scope].pipeline.bound_inputs
            if entry.name in values:
                bound[entry.slot] = values[entry.name]
        inner: dict[int, Job] = {}
        rules = []
        for k, step in enumerate(program.steps):
            around = scopes[step.scope]
            if isinstance(step, InnerStep):
                host, below = compiled.hosts[k], compiled.inner[k]
                settings = around if self.plain else nested_settings(host, host.pipeline, around)
                own = settings.engine if settings.engine is not around.engine else None
                inner[k] = self.job(below, settings, (*key, k), (*path, *step.id.split("/")), own)
                rules.append(Rule())
            else:
                rules.append(Rule() if self.plain else _rule(step, around))
                _check_resources(step, around.engine)
        self.place(compiled, key, path, groups)
        return Job(
            program=program,
            key=key,
            path=path,
            pipeline=self.root,
            rules=tuple(rules),
            bound=bound,
            inner=inner,
            wanted=tuple(wanted(self.groups[group]) for group in groups),
            engine=engine,
            plain=self.plain,
            caches=() if self.plain else tuple(scope.cache for scope in scopes),
            strict=scopes[0].strict,
        )

    def group(self, effective: Effective) -> int:
        """Return the number of a scope's group of callbacks."""
        callbacks = tuple({id(callback): callback for callback in (*effective.callbacks, *self.extra)}.values())
        for callback in callbacks:
            supported = callback.supported_engines
            if supported is not None and self.engine.name not in supported:  # nested engines tell through this one
                kind = type(callback)
                msg = (
                    f"callback {kind.__module__}.{kind.__qualname__} works with the engines {', '.join(supported)}; "
                    f"this run uses '{self.engine.name}'"
                )
                raise CapabilityError(msg)
        for number, known in enumerate(self.groups):
            if len(known) == len(callbacks) and all(a is b for a, b in zip(known, callbacks, strict=True)):
                return number
        self.groups.append(callbacks)
        return len(self.groups) - 1

    def place(self, compiled: Compiled, key: tuple[int, ...], path: tuple[str, ...], groups: list[int]) -> None:
        """Note what callbacks are told of each step and pipeline; nothing where nobody listens."""
        if not any(self.groups):
            return
        program = compiled.program
        around = (self.root, *path)
        board = self.places[key] = {}
        for index, scope in enumerate(program.scopes):
            names = (*around, *scope.path)
            parent = "/".join(names[:-1]) or None
            group = groups[index] if index == 0 else groups[scope.parent]
            board[~index] = Place("/".join(names), None, "/".join(names), parent, names, len(names) - 1, group)
        for k, step in enumerate(program.steps):
            outer = (*around, *program.scopes[step.scope].path)
            pipeline = "/".join(outer)
            parts = (*path, *step.id.split("/"))
            full = (self.root, *parts)
            if isinstance(step, InnerStep):
                child = "/".join(full)
                board[k] = Place(child, None, child, pipeline, full, len(full) - 1, groups[step.scope])
            else:
                parent = "/".join(outer[:-1]) or None
                name = step.node.name
                board[k] = Place("/".join(parts), name, pipeline, parent, full, len(outer) - 1, groups[step.scope])


def _rule(step: Step, effective: Effective) -> Rule:
    options = step.node.options
    retries = effective.retries if options.retries is None else options.retries
    timeout = effective.timeout if options.timeout is None else options.timeout
    return Rule(attempts=retries + 1, retry_on=options.retry_on, timeout=timeout)


def _check_resources(step: Step, engine: Any) -> None:
    asked, has = step.node.options.resources, engine.capabilities.resources
    if not asked or has is None:
        return
    for resource, amount in asked.items():
        if has.get(resource, 0) < amount:
            msg = (
                f"node '{step.id}' asks for {resource}={amount:g}, and engine '{engine.name}' has {has.get(resource, 0):g}.\n"
                f"  fix: run it on an engine that has it, or change @node(resources=…) at {step.node.location}"
            )
            raise CapabilityError(msg)
