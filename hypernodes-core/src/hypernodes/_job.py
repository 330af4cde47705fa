"""A program with the settings of one run: all that a block needs, and all that travels to a worker."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from hypernodes import events
from hypernodes._batches import containers
from hypernodes._coroutines import Coroutines
from hypernodes._declaration import NO_DEFAULT
from hypernodes._files import file_parameters, with_files
from hypernodes._program import InnerStep, Program, Step
from hypernodes._unchanged import Unchanged, UnchangedAsync
from hypernodes.node import DualNode

UNSETTLED: Any = object()


@attrs.frozen
class Rule:
    """How the calls of one step are made.

    Attributes:
        attempts: The most tries of one call.
        retry_on: The exceptions worth another try.
        timeout: Seconds that one try may take.
    """

    attempts: int = 1
    retry_on: tuple[type[BaseException], ...] = (Exception,)
    timeout: float | None = None


DEFAULT_RULE = Rule()


class Site:
    """What the calls of one step have in common.

    Attributes:
        index: The step's number.
        id: The node's path below the called pipeline.
        names: Parameter names.
        slots: For each parameter, the slot of its value.
        defaults: For each parameter, its default.
        positional: How many leading parameters are passed by position.
        outs: Slots of the outputs; ``out`` is the only one where the function returns it bare, or -1.
        function: What is called; ``None`` for an inner step.
        batch: The function for many items, or ``None``.
        chain: The inlined scopes around the step, outermost first.
        wanted: Bits of the events that somebody listens to.
        guarded: Whether a call needs more than calling: a timeout, a coroutine, a node scope.
        direct: Whether a call needs nothing but calling.
        simple: Whether it needs not even telling anybody.
    """

    __slots__ = (
        "batch",
        "batch_size",
        "chain",
        "defaults",
        "direct",
        "files",
        "function",
        "guarded",
        "id",
        "index",
        "inner",
        "is_async",
        "kinds",
        "limit",
        "name",
        "names",
        "out",
        "outputs",
        "outs",
        "positional",
        "rate",
        "resources",
        "rule",
        "scopes",
        "simple",
        "slots",
        "wanted",
    )

    def __init__(self, job: Job, index: int, step: Step | InnerStep, rule: Rule) -> None:
        self.index = index
        self.id = "/".join((*job.path, step.id))
        self.slots = step.args
        self.outs = step.outs
        self.out = step.outs[0] if len(step.outs) == 1 else -1
        self.rule = rule
        self.wanted = job.wanted[step.scope]
        self.chain = _chain(job.program, step.scope)
        self.scopes = job.scopes
        self.limit: int | None = None
        self.rate: float | None = None
        self.resources: Mapping[str, float] = {}
        self.is_async = False
        self.function: Callable[..., Any] | None = None
        self.batch: Callable[..., Any] | None = None
        self.batch_size: int | None = None
        self.kinds: dict[str, str] = {}
        self.files: frozenset[int] = frozenset()
        if isinstance(step, InnerStep):
            self.inner: Job | None = job.inner[index]
            self.name = step.name
            self.names = step.inputs
            self.outputs = step.results
            self.defaults: tuple[Any, ...] = (NO_DEFAULT,) * len(step.inputs)
            self.positional = len(step.inputs)
            self.guarded, self.direct = True, False
            self.simple = self.inner.simple and self.inner.engine is None and step.on_error == "raise"
            return
        node = step.node
        self.inner = None
        self.name = node.name
        self.names = node.root_args
        self.outputs = node.outputs
        if isinstance(node.output_name, tuple):
            self.out = -1  # a tuple of one name takes a tuple of one value
        self.defaults = tuple(parameter.default for parameter in node.parameters)
        self.positional = sum(not parameter.keyword for parameter in node.parameters)
        self.function = node.func
        self.is_async = node.is_async
        self.limit = node.options.max_concurrent
        self.rate = node.options.rate
        self.resources = node.options.resources or {}
        if isinstance(node, DualNode):
            self.batch = node.batch
            self.batch_size = node.options.batch_size
            self.kinds = containers(node.batch)
        self.files = file_parameters(node)
        if self.files:
            self.function = functools.partial(with_files, self.function, self.files, node.root_args)
            self.batch = self.batch and functools.partial(with_files, self.batch, self.files, node.root_args)
        if job.strict and not job.plain:
            exempt = frozenset((*node.options.ignore, *node.options.stateful_params))
            kind = UnchangedAsync if self.is_async else Unchanged
            self.function = kind(self.function, self.id, node.root_args, exempt)
            self.batch = self.batch and Unchanged(self.batch, self.id, node.root_args, exempt)
        if job.plain:
            self.batch = self.limit = self.rate = None
            self.resources = {}
            if node.is_async:
                self.function, self.is_async = functools.partial(run_plainly, self.function), False
        self.guarded = not job.plain and (rule.timeout is not None or self.is_async or bool(job.scopes))
        self.direct = not (self.guarded or self.batch or rule.attempts > 1 or self.limit or self.rate or self.resources)
        self.simple = self.direct and not self.wanted & ~events.VALUES

    def __reduce__(self) -> tuple[Any, ...]:
        # A site that travels with a call needs only what making the call needs.
        return (_travelled, (self.id, self.name, self.is_async, self.guarded, self.rule, self.scopes))


def uncached_because(job: Job, site: Site) -> str:
    """Return why results of a node are not kept, as far as that is known before it runs."""
    step: Any = job.program.steps[site.index]
    if not step.node.options.cache:
        return "is not cached: @node(cache=False)"
    return "has no cache" if job.cache_of(site.index) is None else "has code that could not be identified"


def run_plainly(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call a coroutine function and wait for it."""
    with Coroutines() as coroutines:
        return coroutines.run(lambda: function(*args, **kwargs))


def _travelled(*parts: Any) -> Site:
    site = Site.__new__(Site)
    site.id, site.name, site.is_async, site.guarded, site.rule, site.scopes = parts
    site.inner = None
    return site


@attrs.define(eq=False)
class Job:
    """A program with the settings of one run.

    Attributes:
        program: What to run.
        key: The inner steps that lead here from the called pipeline's program.
        path: Ids of the nested pipelines around the program.
        pipeline: Name of the called pipeline.
        rules: Per step, how calls are made.
        bound: Values of input slots that a pipeline binds.
        inner: The job of each inner step.
        wanted: Per scope, bits of the events that somebody listens to.
        scopes: What surrounds every node where it runs.
        engine: The engine of a nested pipeline that has its own.
        plain: Whether to call functions and nothing else (``pipeline.debug()``).
        caches: Per scope, the setting of its cache; ``None`` where it has none.
        strict: Whether a node that changes its arguments is an error.
        simple: Whether generated straight-line code does everything this job needs.
    """

    program: Program
    key: tuple[int, ...]
    path: tuple[str, ...]
    pipeline: str
    rules: tuple[Rule, ...]
    bound: Mapping[int, Any]
    inner: Mapping[int, Job]
    wanted: tuple[int, ...]
    scopes: tuple[Any, ...] = ()
    engine: Any = None
    plain: bool = False
    caches: tuple[Any, ...] = ()
    strict: bool = False
    _sites: tuple[Site, ...] | None = attrs.field(default=None, init=False, repr=False)
    _layout: Layout | None = attrs.field(default=None, init=False, repr=False)
    fast: dict[Any, Any] = attrs.field(factory=dict, init=False, repr=False)
    _node_ids: tuple[str, ...] | None = attrs.field(default=None, init=False, repr=False)
    _straight: bool | None = attrs.field(default=None, init=False, repr=False)
    _simple: bool | None = attrs.field(default=None, init=False, repr=False)
    _cached: bool | None = attrs.field(default=None, init=False, repr=False)

    @property
    def cached(self) -> bool:
        """Whether some node's results may come from a cache."""
        if self._cached is None:
            inner = any(below.cached for below in self.inner.values())
            self._cached = inner or any(self.cache_of(k) is not None for k in range(len(self.program.steps)) if k not in self.inner)
        return self._cached

    def cache_of(self, index: int) -> Any:
        """Return the setting of the cache that keeps a step's results, ``None`` where there is none."""
        step = self.program.steps[index]
        if not self.caches or (isinstance(step, Step) and not step.node.options.cache):
            return None
        return self.caches[step.scope]

    @property
    def sites(self) -> tuple[Site, ...]:
        """What the calls of each step have in common."""
        if self._sites is None:
            steps = self.program.steps
            self._sites = tuple(Site(self, k, step, self.rules[k]) for k, step in enumerate(steps))
        return self._sites

    @property
    def layout(self) -> Layout:
        """Which steps wait for which."""
        if self._layout is None:
            self._layout = Layout.of(self.program)
        return self._layout

    @property
    def simple(self) -> bool:
        """Whether generated straight-line code does everything this job needs."""
        if self._simple is None:
            heard = any(bits & ~events.VALUES for bits in self.wanted)
            self._simple = not self.cached and not heard and not self.scopes and all(site.simple for site in self.sites)
        return self._simple

    @property
    def node_ids(self) -> tuple[str, ...]:
        """Ids of all nodes, those of nested pipelines included, in execution order."""
        if self._node_ids is None:
            nested = (site.inner.node_ids if site.inner is not None else (site.id,) for site in self.sites)
            self._node_ids = tuple(node for ids in nested for node in ids)
        return self._node_ids

    @property
    def straight(self) -> bool:
        """Whether every call needs nothing but calling."""
        if self._straight is None:
            self._straight = all(site.direct for site in self.sites)
        return self._straight

    @property
    def has_batches(self) -> bool:
        """Whether some step has a batch twin."""
        return any(site.batch is not None for site in self.sites)

    @property
    def bound_inputs(self) -> dict[str, Any]:
        """Inputs of the program itself that its pipeline binds."""
        return {entry.name: self.bound[entry.slot] for entry in self.program.root_inputs if entry.slot in self.bound}

    def settle(self, given: Mapping[str, Any]) -> list[Any]:
        """Return the value of every input slot, ``UNSETTLED`` where there is none, in a list over all slots.

        A value given from outside wins over one bound on an inner pipeline.
        """
        values = [UNSETTLED] * self.program.slots
        for entry in self.program.inputs:
            value = given.get(entry.name, UNSETTLED) if entry.outer is None else values[entry.outer]
            values[entry.slot] = self.bound.get(entry.slot, UNSETTLED) if value is UNSETTLED else value
        return values

    def value_used(self, name: str) -> Any:
        """Return what an input that is not given stands for: what is bound, or the default of the first node that takes it.

        Raises:
            KeyError: If the program has no such input.
        """
        slots = {entry.slot for entry in self.program.inputs if entry.outer is None and entry.name == name}
        return self.slot_used(next(iter(slots)))

    def slot_used(self, slot: int) -> Any:
        """Return the same by slot."""
        slots = {slot}
        for entry in self.program.inputs:
            if entry.outer in slots:
                slots.add(entry.slot)
            if entry.slot in slots and entry.slot in self.bound:
                return self.bound[entry.slot]
        for k, step in enumerate(self.program.steps):
            for position, taken in enumerate(step.args):
                if taken in slots:
                    site = self.sites[k]
                    return site.inner.value_used(site.names[position]) if site.inner is not None else site.defaults[position]
        return None

    def required(self) -> dict[str, int]:
        """Return the names that must be given, each with the step that needs it first."""
        needs: dict[int, int] = {}
        for k, step in enumerate(self.program.steps):
            if isinstance(step, InnerStep):
                must = set(self.inner[k].required()) | set(step.mapped)
                names = [name in must for name in step.inputs]
            else:
                names = [parameter.required for parameter in step.node.parameters]
            for slot, needed in zip(step.args, names, strict=True):
                if needed:
                    needs.setdefault(slot, k)
        found: dict[str, int] = {}
        for entry in reversed(self.program.inputs):
            if entry.slot not in needs or entry.slot in self.bound:
                continue
            if entry.outer is None:
                found[entry.name] = needs[entry.slot]
            else:
                needs[entry.outer] = min(needs.get(entry.outer, needs[entry.slot]), needs[entry.slot])
        return found

    def __reduce__(self) -> tuple[Any, ...]:
        return (
            Job,
            (
                self.program,
                self.key,
                self.path,
                self.pipeline,
                self.rules,
                dict(self.bound),
                dict(self.inner),
                self.wanted,
                self.scopes,
                self.engine,
                self.plain,
                self.caches,
                self.strict,
            ),
        )


@attrs.frozen(eq=False)
class Layout:
    """Which steps wait for which.

    Attributes:
        waits: Per step, how many steps it waits for.
        followers: Per step, the steps that wait for it.
        roots: The steps that wait for none.
        scope_steps: Per scope, how many steps stand in it or below.
        makers: Per slot that a step fills, the step and the number of its output.
        readers: Per slot, the steps that take it.
    """

    waits: tuple[int, ...]
    followers: tuple[tuple[int, ...], ...]
    roots: tuple[int, ...]
    scope_steps: tuple[int, ...]
    makers: Mapping[int, tuple[int, int]]
    readers: Mapping[int, tuple[int, ...]]

    @classmethod
    def of(cls, program: Program) -> Layout:
        """Work it out, in time linear in steps and arguments."""
        maker: dict[int, int] = {}
        makers: dict[int, tuple[int, int]] = {}
        readers: dict[int, list[int]] = {}
        waits: list[int] = []
        followers: list[list[int]] = [[] for _ in program.steps]
        scope_steps = [0] * len(program.scopes)
        for k, step in enumerate(program.steps):
            before = {maker[slot] for slot in step.args if slot in maker}
            waits.append(len(before))
            for earlier in before:
                followers[earlier].append(k)
            maker.update(dict.fromkeys(step.outs, k))
            makers.update((slot, (k, position)) for position, slot in enumerate(step.outs))
            for slot in dict.fromkeys(step.args):
                readers.setdefault(slot, []).append(k)
            for scope in _chain(program, step.scope):
                scope_steps[scope] += 1
        roots = tuple(k for k, count in enumerate(waits) if not count)
        reading = {slot: tuple(steps) for slot, steps in readers.items()}
        return cls(tuple(waits), tuple(map(tuple, followers)), roots, tuple(scope_steps), makers, reading)


def _chain(program: Program, scope: int) -> tuple[int, ...]:
    """Return the inlined scopes from the outermost to this one, leaving out the program's own."""
    chain = []
    while scope > 0:
        chain.append(scope)
        scope = program.scopes[scope].parent
    return tuple(reversed(chain))
