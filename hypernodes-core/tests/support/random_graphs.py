"""Random graphs as data, as pipelines, and worked out by a straightforward interpreter."""

from __future__ import annotations

import asyncio
import inspect
import itertools
import os
from collections import Counter
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import attrs
from hypernodes import DualNode, Engine, EngineCapabilities, NodeFailure, Pipeline, node
from hypernodes._block import Block
from hypernodes._calls import BlockResult
from hypernodes.engines import EngineRun, Task
from hypernodes.testing._events import Listener, problems
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

FEWER = int(os.environ.get("HYPERNODES_FEWER", "1"))  # where the same runs on several Pythons, the others take a share of the examples
MORE = int(os.environ.get("HYPERNODES_MORE", "1"))  # by hand: so many times the examples


def many(count: int) -> int:
    """Return how many examples to try where so many are tried as a rule."""
    return max(1, count * MORE // FEWER)


def share(cases: dict[str, str]) -> dict[str, str]:
    """Return the cases to try: all of them, or every so manyth where a share is taken."""
    return dict(list(cases.items())[::FEWER])


EXAMPLES = settings(
    max_examples=many(120),
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate, Phase.shrink],
)


class Boom(Exception):
    pass


# -- random graphs --------------------------------------------------------------------------------------------------


@attrs.define
class Fn:
    """A node that mixes its inputs to numbers; a kind-1 output is a list of numbers."""

    name: str
    inputs: list[str]
    defaults: dict[str, int]
    outputs: dict[str, int]  # name -> kind
    style: str = "plain"  # or "async", "batch"
    batch_size: int | None = None
    fails: tuple[int, int] | None = None
    keywords: int = 0  # how many of the last parameters are keyword-only
    twist: int = 7  # what an edit changes


@attrs.define
class Nested:
    name: str
    spec: Graph
    sources: dict[str, str]  # inner input -> outer name
    results: dict[str, str]  # outer name -> inner output or input
    all_out: bool  # no output_mapping
    map_over: list[str]  # outer names
    mode: str
    on_error: str
    own_engine: bool


@attrs.define
class Graph:
    name: str
    nodes: list[Fn | Nested]
    roots: dict[str, int]  # input -> kind: 0 a number, 1 a list of them, 2 a list of lists
    optional: set[str]  # inputs that need not be given
    bound: dict[str, Any]
    kinds: dict[str, int]  # outputs


class Maker:
    """Makes graphs, every name only once."""

    def __init__(self, rng: Random, *, failing: bool) -> None:
        self.rng = rng
        self.failing = failing
        self.count = 0

    def fresh(self, letter: str) -> str:
        self.count += 1
        return f"{letter}{self.count}"

    def chance(self, percent: int) -> bool:
        return self.rng.randrange(100) < percent

    def value(self, kind: int) -> Any:
        if not kind:
            return self.rng.randrange(20)
        return [self.value(kind - 1) for _ in range(self.rng.randrange(4))]

    def graph(self, depth: int = 0) -> Graph:
        rng = self.rng
        roots = {self.fresh("i"): int(self.chance(35)) for _ in range(rng.randint(1, 3))}
        graph = Graph(self.fresh("p"), [], roots, set(), {}, {})
        if self.chance(30):
            graph.roots[name := self.fresh("i")] = 0
            graph.optional.add(name)
        for _ in range(rng.randint(1, 5 - depth)):
            made = self.nested(graph, depth) if depth < 2 and self.chance(40) else self.function(graph)
            graph.nodes.append(made)
        read = {name for entry in graph.nodes for name in (entry.inputs if isinstance(entry, Fn) else entry.sources.values())}
        graph.roots = {name: kind for name, kind in graph.roots.items() if name in read}
        graph.optional &= read
        for name in [name for name in graph.roots if name not in graph.optional]:
            if self.chance(12):
                graph.bound[name] = self.value(graph.roots[name])
        rng.shuffle(graph.nodes)
        return graph

    def available(self, graph: Graph) -> dict[str, int]:
        return {**{name: kind for name, kind in graph.roots.items() if name not in graph.optional}, **graph.kinds}

    def function(self, graph: Graph) -> Fn:
        rng, names = self.rng, self.available(graph)
        style = rng.choice(["plain", "plain", "plain", "plain", "async", "batch"])
        if style == "batch":
            names = {name: kind for name, kind in names.items() if not kind}
        inputs = rng.sample(sorted(names), min(len(names), rng.randint(1, 3)))
        if not inputs:
            inputs, style = rng.sample(sorted(self.available(graph)), 1), "plain"
        defaults = {}
        if self.chance(25):
            options = sorted(name for name in graph.optional if not graph.roots[name])
            inputs.append(options[0] if options else self.fresh("i"))
            defaults[inputs[-1]] = rng.randrange(20)
            graph.roots.setdefault(inputs[-1], 0)
            graph.optional.add(inputs[-1])
        outputs = {self.fresh("o"): int(self.chance(25)) for _ in range(rng.choice([1, 1, 2]))}
        graph.kinds.update(outputs)
        fails = (rng.choice([2, 3, 5]), 0) if self.failing and self.chance(30) else None
        size = rng.choice([None, 1, 2]) if style == "batch" else None
        return Fn(self.fresh("n"), inputs, defaults, outputs, style, size, fails, rng.choice([0, 0, len(defaults)]))

    def nested(self, graph: Graph, depth: int) -> Nested:
        rng, inner = self.rng, self.graph(depth + 1)
        needed = [name for name in inner.roots if name not in inner.optional and name not in inner.bound]
        mapped = rng.sample(needed, min(len(needed), rng.choice([0, 0, 1, 1, 2, 3])))
        sources: dict[str, str] = {}
        free = self.available(graph)
        for name, kind in inner.roots.items():
            sources[name] = name
            if name not in needed and self.chance(50):  # stays open: an optional input of the graph around it
                graph.roots[name] = kind
                graph.optional.add(name)
                continue
            kind += name in mapped
            fitting = sorted(other for other, its in free.items() if its == kind)
            if fitting and self.chance(85):
                sources[name] = rng.choice(fitting)
                del free[sources[name]]
            else:
                graph.roots[name] = kind
        all_out = self.chance(40)
        results = {name: name for name in inner.kinds}
        if not all_out:
            chosen = rng.sample(sorted(inner.kinds), rng.randint(1, len(inner.kinds)))
            results = {name if self.chance(50) else self.fresh("o"): name for name in chosen}
            if mapped and self.chance(30):
                results[self.fresh("o")] = mapped[0]
        kinds = {**inner.roots, **inner.kinds}
        graph.kinds.update({outer: kinds[name] + bool(mapped) for outer, name in results.items()})
        on_error = rng.choice(["raise", "return"]) if mapped else "raise"
        over = [sources[name] for name in rng.sample(mapped, len(mapped))]
        return Nested(self.fresh("q"), inner, sources, results, all_out, over, rng.choice(["zip", "product"]), on_error, self.chance(15))


@st.composite
def graphs(draw: Any, *, failing: bool) -> tuple[Graph, Maker]:
    maker = Maker(draw(st.randoms(use_true_random=False)), failing=failing)
    return maker.graph(), maker


# -- the same graph as a pipeline -------------------------------------------------------------------------------------


def mix(*values: Any) -> int:
    """Return a number that depends on all numbers inside the values, and on their order."""
    total = 17
    for value in values:
        part = value if isinstance(value, int) else mix(*value) if isinstance(value, list) else 7  # a failure, as a value
        total = (total * 31 + part) % 1009
    return total


def compute(fn: Fn, values: list[Any]) -> list[Any]:
    """Return the outputs of a node."""
    base = mix(*values)
    if fn.fails is not None and base % fn.fails[0] == fn.fails[1]:
        raise Boom(fn.name)
    made = [(base * fn.twist + position) % 997 for position in range(len(fn.outputs))]
    return [[value + k for k in range(value % 4)] if kind else value for value, kind in zip(made, fn.outputs.values(), strict=True)]


def build(spec: Graph, engine: Engine | None, other: Engine, log: list[Any], **settings: Any) -> Pipeline:
    members = [made(entry, log) if isinstance(entry, Fn) else wrapped(entry, other, log) for entry in spec.nodes]
    own = {} if engine is None else {"engine": engine}
    return Pipeline(members, name=spec.name, **own, **settings).bind(**spec.bound)


def wrapped(entry: Nested, other: Engine, log: list[Any]) -> Any:
    inner = build(entry.spec, other if entry.own_engine else None, other, log)
    renamed = {outer: name for name, outer in entry.sources.items() if outer != name}
    out = None if entry.all_out else {name: outer for outer, name in entry.results.items()}
    return inner.as_node(
        input_mapping=renamed, output_mapping=out, map_over=entry.map_over, map_mode=entry.mode, on_error=entry.on_error, name=entry.name
    )


def made(fn: Fn, log: list[Any]) -> Any:
    def values_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
        return [*args, *(kwargs[name] for name in fn.inputs[len(args) :])]

    def shaped(values: list[Any]) -> Any:
        return values[0] if len(values) == 1 else tuple(values)

    def plain(*args: Any, **kwargs: Any) -> Any:
        values = values_of(args, kwargs)
        log.append((fn.name, mix(*values)))
        return shaped(compute(fn, values))

    async def coroutine(*args: Any, **kwargs: Any) -> Any:
        await asyncio.sleep(0)
        return plain(*args, **kwargs)

    def batch(*args: Any, **kwargs: Any) -> Any:
        given = values_of(args, kwargs)
        size = max(len(value) for value in given if isinstance(value, list))
        rows = [list(row) for row in zip(*(value if isinstance(value, list) else [value] * size for value in given), strict=True)]
        ran = [(fn.name, mix(*row)) for row in rows]
        if size == 1:
            log.extend(ran)
        outputs = [compute(fn, row) for row in rows]
        if size > 1:  # one that fails is tried again in parts
            log.extend(ran)
        return shaped([[row[position] for row in outputs] for position in range(len(fn.outputs))])

    first_keyword = len(fn.inputs) - fn.keywords
    kinds = [inspect.Parameter.POSITIONAL_OR_KEYWORD] * first_keyword + [inspect.Parameter.KEYWORD_ONLY] * fn.keywords
    signature = inspect.Signature(
        [
            inspect.Parameter(name, kind, default=fn.defaults.get(name, inspect.Parameter.empty))
            for name, kind in zip(fn.inputs, kinds, strict=True)
        ]
    )
    functions: list[Any] = [plain, coroutine, batch]
    for function in functions:
        function.__signature__ = signature
    names = tuple(fn.outputs) if len(fn.outputs) > 1 else next(iter(fn.outputs))
    if fn.style == "batch":
        return DualNode(names, plain, batch, name=fn.name, batch_size=fn.batch_size)
    return node(output_name=names, name=fn.name)(coroutine if fn.style == "async" else plain)


# -- the interpreter ------------------------------------------------------------------------------------------------


MISSING = object()


@attrs.frozen
class Broken:
    """A value that could not be made, and whose fault it may be: node, items, type of error."""

    guilty: frozenset[tuple[str, tuple[int, ...], str]]


@attrs.frozen
class Failed:
    """The same, handed on as a value."""

    guilty: frozenset[tuple[str, tuple[int, ...], str]]


@attrs.define
class Notes:
    """What the interpreter did: calls, how many of each node succeeded, and whether a driver may stop earlier."""

    calls: list[Any] = attrs.field(factory=list)
    ran: Counter[str] = attrs.field(factory=Counter)
    stops: bool = False


class Interpreter:
    """Works out one item of a graph, by asking for values by name."""

    def __init__(
        self,
        spec: Graph,
        given: Callable[[str], Any],
        notes: Notes,
        where: tuple[str, ...] = (),
        items: tuple[int, ...] = (),
        *,
        moved: bool = False,
    ) -> None:
        self.spec = spec
        self.moved = moved  # whether it runs on the other engine already
        self.given = given
        self.notes = notes
        self.where = where
        self.items = items
        self.values: dict[str, Any] = {}
        self.makers = {name: entry for entry in spec.nodes for name in (entry.outputs if isinstance(entry, Fn) else entry.results)}

    def all(self, wanted: list[str]) -> dict[str, Any]:
        self.wanted = needed(self.spec, wanted)
        return {name: self.value(name) for name in wanted}

    def value(self, name: str) -> Any:
        if name not in self.makers:
            value = self.given(name)
            return self.spec.bound.get(name, MISSING) if value is MISSING else value
        if name not in self.values:
            maker = self.makers[name]
            self.values.update(self.call(maker) if isinstance(maker, Fn) else self.nested(maker))
        return self.values[name]

    def call(self, fn: Fn) -> dict[str, Any]:
        values = [self.value(name) for name in fn.inputs]
        values = [fn.defaults[name] if value is MISSING else value for name, value in zip(fn.inputs, values, strict=True)]
        broken = [value.guilty for value in values if isinstance(value, Broken)]
        if broken:
            return dict.fromkeys(fn.outputs, Broken(frozenset().union(*broken)))
        self.notes.calls.append((fn.name, mix(*values)))
        try:
            outputs = compute(fn, values)
        except Boom:
            return dict.fromkeys(fn.outputs, self.broken(fn.name, "Boom"))
        self.notes.ran[fn.name] += 1
        return dict(zip(fn.outputs, outputs, strict=True))

    def broken(self, name: str, error: str) -> Broken:
        return Broken(frozenset({("/".join((*self.where, name)), self.items, error)}))

    def nested(self, entry: Nested) -> dict[str, Any]:
        wanted = [outer for outer in entry.results if outer in self.wanted]
        inside = [entry.results[outer] for outer in wanted]
        outputs = [name for name in inside if name in entry.spec.kinds]
        where = (*self.where, entry.name)
        moved = self.moved or entry.own_engine
        if not entry.map_over and moved == self.moved:
            inner = Interpreter(entry.spec, lambda name: self.value(entry.sources[name]), self.notes, where, self.items, moved=moved)
            return dict(zip(wanted, inner.all(inside).values(), strict=True))
        mapped = {name: outer for outer in entry.map_over for name, source in entry.sources.items() if source == outer}
        read = {*mapped, *inside, *needed(entry.spec, outputs)} & set(entry.spec.roots)
        given = {name: self.value(entry.sources[name]) for name in read}
        guilty = [value.guilty for value in given.values() if isinstance(value, Broken)]
        if guilty:
            return dict.fromkeys(wanted, Broken(frozenset().union(*guilty)))
        if not all(isinstance(given[name], list) for name in mapped):  # a failure, as a value
            return dict.fromkeys(wanted, self.broken(entry.name, "MapInputError"))
        columns = [given[name] for name in mapped]
        if entry.mode == "zip" and len({len(column) for column in columns}) > 1:
            return dict.fromkeys(wanted, self.broken(entry.name, "MapLengthError"))
        combined = itertools.product(*columns) if entry.mode == "product" else zip(*columns, strict=True)
        rows = []
        for index, row in enumerate(combined if mapped else [()]):
            one = {**given, **dict(zip(mapped, row, strict=True))}
            items = (*self.items, index) if mapped else self.items
            inner = Interpreter(entry.spec, lambda name, one=one: one.get(name, MISSING), self.notes, where, items, moved=moved)
            made = inner.all(outputs)
            rows.append([made[name] if name in made else one[name] for name in inside])
        if not mapped:
            return dict(zip(wanted, rows[0], strict=True))
        found = [value.guilty for row in rows for value in row if isinstance(value, Broken)]
        if found and entry.on_error == "raise":
            self.notes.stops = True
            return dict.fromkeys(wanted, Broken(frozenset().union(*found)))
        return {outer: [as_value(row[at]) for row in rows] for at, outer in enumerate(wanted)}


def as_value(value: Any) -> Any:
    return Failed(value.guilty) if isinstance(value, Broken) else value


def needed(spec: Graph, outputs: list[str]) -> set[str]:
    """Return all names that some outputs depend on, themselves included."""
    found = set(outputs)
    makers = {name: entry for entry in spec.nodes for name in (entry.outputs if isinstance(entry, Fn) else entry.results)}
    waiting = list(outputs)
    while waiting:
        maker = makers.get(waiting.pop())
        if maker is None:
            continue
        if isinstance(maker, Fn):
            names = set(maker.inputs)
        else:
            inside = [maker.results[outer] for outer in maker.results if outer in found]
            names = {maker.sources[name] for name in needed(maker.spec, inside) if name in maker.sources} | set(maker.map_over)
        waiting.extend((names - found) | {name for name in names if isinstance(makers.get(name), Nested) and name not in found})
        found |= names
    return found


# -- drivers --------------------------------------------------------------------------------------------------------


class Driven(Engine):
    """Runs every block with one driver."""

    capabilities = EngineCapabilities(workers=1)

    def __init__(self, name: str, driver: Callable[[Block], BlockResult]) -> None:
        super().__init__()
        self.name = name
        self.driver = driver

    def execute(self, run: EngineRun, tasks: Iterator[Task]) -> Iterator[BlockResult]:
        for task in tasks:
            yield task(self.driver)


def other_than(engine: Engine, drivers: list[Engine]) -> Engine:
    """Return an engine for nested pipelines that have their own; never the first, which takes turns with every other."""
    if not engine.capabilities.shares_memory:
        return drivers[1]  # a pool does not travel
    return drivers[2] if engine is drivers[3] else drivers[3]


def same(got: Any, expected: Any) -> bool:
    """Whether a value is what the interpreter made, or a failure that it allows."""
    if isinstance(expected, (Broken, Failed)):
        return isinstance(got, NodeFailure) and blamed(got, expected)
    if isinstance(expected, list):
        return isinstance(got, list) and len(got) == len(expected) and all(map(same, got, expected))
    return bool(got == expected)


def blamed(failure: NodeFailure, expected: Broken | Failed) -> bool:
    """Whether a failure names one that is guilty; in a batch that failed together, any item may stand for all."""
    return any(
        (failure.node, type(failure.error).__name__) == (name, kind) and (failure.item_path == items or failure.together > 1)
        for name, items, kind in expected.guilty
    )


def inputs_of(maker: Maker, spec: Graph) -> dict[str, Any]:
    """Return inputs for a run; what may be left out sometimes is."""
    left = [name for name in spec.roots if (name in spec.optional or name in spec.bound) and maker.chance(50)]
    return {name: maker.value(kind) for name, kind in spec.roots.items() if name not in left}


def some_outputs(maker: Maker, spec: Graph) -> list[str]:
    names = sorted(spec.kinds)
    return names if maker.chance(40) else maker.rng.sample(names, maker.rng.randint(1, len(names)))


def check_calls(engine: Engine, log: list[Any], notes: Notes, result: Any) -> None:
    if notes.stops:
        assert Counter(log) <= Counter(notes.calls), engine.name
        return
    ran = {name.rpartition("/")[2]: entry.ran for name, entry in result.stats.items() if entry.ran}
    assert ran == dict(notes.ran), engine.name
    if engine.capabilities.shares_memory:
        assert Counter(log) == Counter(notes.calls), engine.name


def check_events(engine: Engine, listener: Listener | None) -> None:
    if listener is not None:
        wrong = problems(listener.events)
        assert not wrong, (engine.name, wrong)


def mapped_call(maker: Maker, spec: Graph) -> tuple[dict[str, Any], list[str], str, list[dict[str, Any]]]:
    """Return the arguments of a map, and the inputs of each item."""
    inputs = inputs_of(maker, spec)
    over = maker.rng.sample(sorted(spec.roots), min(len(spec.roots), maker.rng.choice([1, 1, 2, 3])))
    mode = maker.rng.choice(["zip", "product"])
    size = maker.rng.randrange(5)
    for name in over:
        inputs[name] = [maker.value(spec.roots[name]) for _ in range(size if mode == "zip" else maker.rng.randrange(4))]
    rows = itertools.product(*(inputs[name] for name in over)) if mode == "product" else zip(*(inputs[name] for name in over), strict=True)
    return inputs, over, mode, [{**inputs, **dict(zip(over, row, strict=True))} for row in rows]
