"""One call of a pipeline: what it needs, checked and made ready, then run."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

from hypernodes._checks import check_inputs, check_outputs
from hypernodes._fast import Counts, located, run_function, tally
from hypernodes._items import check_mapped, known_length
from hypernodes._job import uncached_because
from hypernodes._messages import among, picture
from hypernodes._resolve import Prepared, node_scopes, prepare, with_scopes
from hypernodes._sessions import notice
from hypernodes.config import STATE, UNSET
from hypernodes.engines.runner import Execution, Request, looked_up, run_info
from hypernodes.errors import InputError, OptionError
from hypernodes.pipeline_node import ERROR_MODES, MAP_MODES, check_choice, several_names
from hypernodes.results import MapResult, OutputNames, Record, RunResult, rows_of

if TYPE_CHECKING:
    from hypernodes._explain import Asked
    from hypernodes._lookup import Lookup
    from hypernodes._plan import Planner
    from hypernodes.engines._aside import Caller
    from hypernodes.pipeline import Pipeline

MEMORY = 64  # sets of outputs that a pipeline stays ready for


def ready(pipeline: Pipeline, output_name: OutputNames) -> Prepared:
    """Return everything a call needs for some outputs, made again when a setting changed."""
    key = output_name if output_name is None or isinstance(output_name, str) else several_names("output_name", output_name)
    prepared = pipeline.prepared.get(key)
    if prepared is None or prepared.generation != STATE.generation:
        from hypernodes import plugins

        names = pipeline.output_names if key is None else (key,) if isinstance(key, str) else key
        outputs = tuple(dict.fromkeys(check_outputs(pipeline.label, names, pipeline.output_names, pipeline.root_args)))
        prepared = prepare(pipeline, outputs, plain=pipeline.debugging)
        if plugins.current().has_run_hooks and not pipeline.debugging:
            prepared.fast = False
        if len(pipeline.prepared) > MEMORY:
            pipeline.prepared.clear()
        pipeline.prepared[key] = prepared
    return prepared


def run(pipeline: Pipeline, inputs: Mapping[str, Any] | None, output_name: OutputNames, caller: Caller | None = None) -> RunResult:
    """Run once: as generated code where nothing else is needed.

    Args:
        pipeline: The pipeline.
        inputs: Its inputs.
        output_name: The outputs wanted.
        caller: Whoever awaits the run on an event loop; ``None`` where a thread waits for it.
    """
    if pipeline.watches:
        notice(pipeline)
    prepared = pipeline.prepared.get(output_name) if output_name is None or output_name.__class__ is str else None
    if prepared is None or prepared.generation != STATE.generation:
        prepared = ready(pipeline, output_name)
    if inputs is None:
        inputs = {}
    if not prepared.fast:
        return _run_as_block(pipeline, prepared, inputs, caller)
    try:
        function = prepared.functions.get(frozenset(inputs))
    except TypeError:  # no mapping of names; the check says so
        function = None
    if function is None:
        check_inputs(prepared, inputs, "run")
        given = frozenset(inputs)
        function = prepared.functions[given] = run_function(prepared.job, given)
    counts: Counts = {}
    times: list[float] = []
    try:
        outputs = function(inputs, counts, times)
    except Exception as error:
        failure = located(error, prepared.job, None)
        if failure is not None and not pipeline.debugging:
            shown = ", ".join(f"{name!r}: {picture(value)}" for name, value in inputs.items())
            failure.annotate(f"reproduce: pipeline.run({{{shown}}})")
        raise
    return RunResult(outputs, Record(prepared.name, times[-1] - times[0], lambda: tally(prepared.job, 1, counts, times), dict(inputs)))


def _run_as_block(pipeline: Pipeline, prepared: Prepared, inputs: Mapping[str, Any], caller: Caller | None) -> RunResult:
    check_inputs(prepared, inputs, "run")
    request = Request("run", {name: value for name, value in inputs.items()}, caller=caller)  # noqa: C416 - any mapping will do
    with _execution(pipeline, prepared, request) as execution:
        outputs: dict[str, Any] = {}
        for block in execution.results():
            outputs = dict(zip(prepared.outputs, (column[0] for column in block.columns), strict=True))
        record = Record(
            prepared.name, execution.seconds, execution.tally, request.constants, tuple(execution.failures), execution.info.run_id
        )
        record.asked = partial(_asked, execution.lookup)
        result: RunResult = execution.finish(RunResult(outputs, record))
    return result


def map_all(pipeline: Pipeline, prepared: Prepared, request: Request) -> MapResult:
    """Run once per item and gather everything."""
    with _execution(pipeline, prepared, request) as execution:
        parts = [rows_of(prepared.outputs, block.columns, block.size) for block in execution.results()]
        blocks = execution.blocks
        rows = parts[0] if len(parts) == 1 else chain.from_iterable(parts)
        record = Record(
            prepared.name,
            execution.seconds,
            execution.tally,
            lambda: _mapped_rows(blocks, tuple(request.values)),
            tuple(execution.failures),
            execution.info.run_id,
            tuple(dict.fromkeys((*request.values, *prepared.outputs))),
        )
        record.asked = partial(_asked, execution.lookup)
        result: MapResult = execution.finish(MapResult(rows, record))
    return result


def stream(pipeline: Pipeline, prepared: Prepared, request: Request) -> Iterator[dict[str, Any]]:
    with _execution(pipeline, prepared, request) as execution, contextlib.closing(execution.results()) as results:
        for block in results:
            yield from rows_of(prepared.outputs, block.columns, block.size)


async def arun(pipeline: Pipeline, inputs: Mapping[str, Any] | None, output_name: OutputNames) -> RunResult:
    """Run once, beside the event loop of whoever awaits it."""
    from hypernodes.engines._aside import Caller, aside

    caller = Caller()
    return await aside(caller, partial(run, pipeline, inputs, output_name, caller))


async def amap_all(
    pipeline: Pipeline, asked: Callable[[Mapping[str, Any]], tuple[Prepared, Request]], inputs: Any, names: str | Sequence[str] | None
) -> MapResult:
    """Run once per item, beside the event loop of whoever awaits it."""
    from hypernodes.engines._aside import Caller, aside

    caller = Caller()
    prepared, request = asked(_pulled(inputs, names, caller))
    request.caller = caller
    return await aside(caller, partial(map_all, pipeline, prepared, request))


async def astream(
    pipeline: Pipeline, asked: Callable[[Mapping[str, Any]], tuple[Prepared, Request]], inputs: Any, names: Any
) -> AsyncGenerator[dict[str, Any], None]:
    """Do the same item by item."""
    from hypernodes.engines._aside import Caller
    from hypernodes.engines._aside import stream as beside

    caller = Caller()
    prepared, request = asked(_pulled(inputs, names, caller))
    request.caller = caller
    async with contextlib.aclosing(beside(caller, partial(stream, pipeline, prepared, request))) as rows:
        async for row in rows:
            yield row


def _pulled(inputs: Any, names: str | Sequence[str] | None, caller: Caller) -> Any:
    """Return inputs with asynchronous iterables of items as plain ones."""
    from hypernodes.engines._aside import Pulled

    if not isinstance(inputs, Mapping):
        return inputs
    mapped = (names,) if isinstance(names, str) else tuple(names or ())
    return {name: Pulled(caller.loop, value) if name in mapped and hasattr(value, "__aiter__") else value for name, value in inputs.items()}


def request(
    pipeline: Pipeline,
    kind: str,
    inputs: Mapping[str, Any] | None,
    map_over: str | Sequence[str] | None,
    map_mode: str,
    output_name: OutputNames,
    on_error: str,
    max_failures: int | None,
    label: Any,
) -> tuple[Prepared, Request]:
    """Check a mapped call and say what to run."""
    if pipeline.watches:
        notice(pipeline)
    check_choice("map_mode", map_mode, MAP_MODES)
    check_choice("on_error", on_error, ERROR_MODES)
    if max_failures is not None and (isinstance(max_failures, bool) or not isinstance(max_failures, int) or max_failures < 0):
        msg = f"max_failures must be a whole number of at least 0, got {max_failures!r}"
        raise OptionError(msg)
    if max_failures is not None and on_error == "raise":
        msg = f"max_failures={max_failures!r} needs on_error='return': with 'raise' the first failure ends the map"
        raise OptionError(msg)
    prepared = ready(pipeline, output_name)
    given = {} if inputs is None else inputs
    caller = f"{kind} of pipeline '{prepared.name}'"
    names = several_names(f"{caller}: map_over", map_over)
    if not isinstance(given, Mapping):
        check_inputs(prepared, given, kind)
    if not names:
        lists = [name for name, value in given.items() if isinstance(value, (list, tuple, range))]
        hint = f"; did you mean map_over={lists[0]!r}?" if len(lists) == 1 else ""
        msg = f"{caller} needs map_over=, the input or inputs whose items it runs over{hint}"
        raise OptionError(msg)
    for name in names:
        if name not in prepared.known:
            msg = f"{caller}: map_over names '{name}', which is no input; {among(name, pipeline.root_args)}"
            raise InputError(msg)
    if len(set(names)) != len(names):
        msg = f"{caller}: map_over names an input twice: {names}"
        raise OptionError(msg)
    check_inputs(prepared, given, kind)
    values = {name: given[name] if name in given else pipeline.bound_inputs.get(name, UNSET) for name in names}
    for name, value in values.items():
        if value is UNSET:
            msg = f"{caller}: map_over names '{name}', and no value was given for it: {kind}({{'{name}': [...]}}, map_over='{name}')"
            raise InputError(msg)
        check_mapped(name, value, caller)
    if label is not None and not isinstance(label, str) and not callable(label):
        msg = f"{caller}: label must be the name of an input or a function of an item's inputs, got {picture(label)}"
        raise OptionError(msg)
    if isinstance(label, str) and label not in prepared.known:
        msg = f"{caller}: label names '{label}', which is no input; {among(label, pipeline.root_args)}"
        raise OptionError(msg)
    total = known_length(values, map_mode, caller)
    request = Request(
        kind,
        {name: value for name, value in given.items() if name not in values},
        values,
        map_mode,
        total,
        on_error="raise" if pipeline.debugging else on_error,
        max_failures=max_failures,
        label=label,
        waits=total is None,
    )
    return prepared, request


def _execution(pipeline: Pipeline, prepared: Prepared, request: Request) -> Execution:
    """Put a call to work: attach the callbacks of plugins, ask for node scopes."""
    from hypernodes import plugins

    engine = prepared.effective.engine
    info = run_info(prepared.name, request, engine, prepared.outputs)
    manager = plugins.current()
    if manager.has_run_hooks and not pipeline.debugging:
        extra = manager.run_callbacks(info)
        if extra:
            prepared = prepare(pipeline, prepared.outputs, extra)
    dispatcher = prepared.dispatcher(info) if any(prepared.groups) else None
    job = prepared.job
    if dispatcher is not None:
        scopes = node_scopes(info, dispatcher)
        if scopes:
            job = with_scopes(job, scopes)
    return Execution(engine, job, info, request, dispatcher)


def _asked(lookup: Lookup | None) -> Mapping[str, Asked]:
    """Return what a run knew of the cache of each node."""
    from hypernodes._explain import Asked

    found: dict[str, Asked] = {}
    for site, recipe, cache in zip(lookup.job.sites, lookup.recipes, lookup.caches, strict=True) if lookup is not None else ():
        if site.inner is not None:
            found.update(_asked(lookup.inner[site.index]))  # type: ignore[union-attr]
        else:
            found[site.id] = Asked(cache, recipe.expires if recipe is not None else None, uncached_because(lookup.job, site))  # type: ignore[union-attr]
    return found


def plan(
    pipeline: Pipeline,
    inputs: Mapping[str, Any] | None,
    map_over: str | Sequence[str] | None,
    map_mode: str,
    output_name: OutputNames,
    *,
    why: bool = False,
) -> tuple[Prepared, Planner, Callable[[], Any]]:
    """Look up what a call would do.

    Returns:
        The pipeline made ready, what was found, and a function that makes the call.
    """
    from hypernodes._plan import Planner

    again: Callable[[], Any]
    if map_over is None:
        prepared = ready(pipeline, output_name)
        given = {} if inputs is None else inputs
        check_inputs(prepared, given, "plan")
        asked = Request("run", dict(given))
        again = partial(run, pipeline, asked.constants, output_name)
    else:
        names = several_names("plan: map_over", map_over)
        given = {name: list(value) if name in names and _is_stream(value) else value for name, value in (inputs or {}).items()}
        prepared, asked = request(pipeline, "map", given, map_over, map_mode, output_name, "raise", None, None)
        again = partial(_map_again, pipeline, (given, map_over, map_mode, output_name))
    lookup = None
    if prepared.job.cached:
        info = run_info(prepared.name, asked, prepared.effective.engine, prepared.outputs)
        lookup = looked_up(prepared.job, info)
    planner = Planner(prepared.job, lookup, why=why)
    planner.plan(asked)
    return prepared, planner, again


def _map_again(pipeline: Pipeline, asked: tuple[Any, ...]) -> MapResult:
    given, map_over, map_mode, output_name = asked
    return map_all(pipeline, *request(pipeline, "map", given, map_over, map_mode, output_name, "raise", None, None))


def _is_stream(value: Any) -> bool:
    """Whether going through a value uses it up; then it is kept for the call that follows."""
    return not isinstance(value, (str, Mapping)) and hasattr(value, "__next__")


def _mapped_rows(blocks: Mapping[int, tuple[int, list[list[Any]]]], names: tuple[str, ...]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for _, columns in sorted(blocks.values(), key=lambda block: block[0]):
        rows.extend(rows_of(names, columns, len(columns[0])))
    return rows
