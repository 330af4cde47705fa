"""Straight-line code for programs that need nothing but their calls.

A program becomes one Python function: a line per node, a loop around them for mapped items. The source is
registered with ``linecache``, so tracebacks and debuggers show it, and the line of a traceback says which node
failed; nothing is kept per call.
"""

from __future__ import annotations

import functools
import itertools
import linecache
import weakref
from collections.abc import Callable, Mapping, Sequence
from time import perf_counter
from types import FrameType
from typing import Any, TypeAlias

from hypernodes._calls import wrong_count
from hypernodes._failures import NodeFailure, pictures
from hypernodes._job import UNSETTLED, Job
from hypernodes._nested import explode
from hypernodes._program import InnerStep, Program
from hypernodes.results import Tally

Counts: TypeAlias = dict[tuple[int, ...], int]  # key of a nested job -> items it ran over

_NUMBER = itertools.count(1)
_SOURCES: weakref.WeakValueDictionary[str, Source] = weakref.WeakValueDictionary()


class Source:
    """Generated code for one program and one set of inputs.

    Attributes:
        filename: The name it bears in tracebacks.
        code: The compiled module that defines ``run``.
        steps: Line number to the step that stands there.
        program: The program.
    """

    def __init__(self, program: Program, lines: list[str], steps: dict[int, int]) -> None:
        self.filename = f"<hypernodes {_one_line(program.name)} #{next(_NUMBER)}>"
        text = "\n".join(lines) + "\n"
        self.code = compile(text, self.filename, "exec")
        self.steps = steps
        self.program = program
        linecache.cache[self.filename] = (len(text), None, text.splitlines(keepends=True), self.filename)
        _SOURCES[self.filename] = self
        weakref.finalize(self, linecache.cache.pop, self.filename, None)


def _one_line(name: str) -> str:
    """Return a name as it may stand in a comment: whatever could end the line would become code."""
    return "".join(letter if letter.isprintable() else "?" for letter in name)


def run_function(job: Job, given: frozenset[str]) -> Callable[[Mapping[str, Any], Counts, list[float]], dict[str, Any]]:
    """Return ``run(inputs, counts, times)``, which gives the dictionary of outputs.

    It notes the time before the first step and after each, and counts the items of nested maps.
    """
    made = job.fast.get(given)
    if made is None:
        made = job.fast[given] = _built(job, given, None)
    return made  # type: ignore[no-any-return]


def map_function(job: Job, given: frozenset[str], mapped: frozenset[str]) -> Callable[[Mapping[str, Any], Counts], tuple[list[Any], ...]]:
    """Return ``run(inputs, counts)``, which gives one list per output.

    Inputs named in ``mapped`` are lists of equal length. It counts the items of nested maps.
    """
    made = job.fast.get((given, mapped))
    if made is None:
        made = job.fast[given, mapped] = _built(job, given, mapped)
    return made  # type: ignore[no-any-return]


def _built(job: Job, given: frozenset[str], mapped: frozenset[str] | None) -> Any:
    key = (given, mapped, frozenset(job.bound))
    source = job.program.compiled.get(key)
    if source is None:
        source = job.program.compiled[key] = _written(job, given, mapped)
    namespace: dict[str, Any] = {"__name__": "hypernodes", "_clock": perf_counter, "_source": source}
    for slot, value in job.bound.items():
        namespace[f"b{slot}"] = value
    made = {slot for step in job.program.steps for slot in step.outs}
    for _, slot in job.program.outputs:
        if slot not in made:
            namespace[f"u{slot}"] = job.slot_used(slot)
    for site in job.sites:
        if site.inner is not None:
            namespace[f"f{site.index}"] = InnerFast(job.program.steps[site.index], site.inner)  # type: ignore[arg-type]
            continue
        namespace[f"f{site.index}"] = site.function
        if site.out < 0:
            namespace[f"check{site.index}"] = functools.partial(_checked, site.name, site.outputs)
        for position, default in enumerate(site.defaults):
            namespace[f"d{site.index}_{position}"] = default
    exec(source.code, namespace)  # noqa: S102 - generated above from numbers and quoted names
    return namespace["run"]


def _checked(name: str, outputs: tuple[str, ...], value: Any) -> Any:
    problem = wrong_count(name, outputs, value)
    if problem is not None:
        raise problem
    return value


def _written(job: Job, given: frozenset[str], mapped: frozenset[str] | None) -> Source:
    """Write the function. Local names: ``s`` slots, ``f`` functions, ``b`` bound values, ``d`` and ``u`` defaults."""
    program = job.program
    names: dict[int, str | None] = {}
    lines = ["def run(_in, _counts, _times):" if mapped is None else "def run(_in, _counts):"]
    pad = "    "
    loops: list[tuple[str, str]] = []
    for entry in program.inputs:
        slot = entry.slot
        if entry.outer is not None and names[entry.outer] is not None:
            names[slot] = names[entry.outer]
        elif entry.outer is None and entry.name in given:
            names[slot] = f"s{slot}"
            if mapped is not None and entry.name in mapped:
                loops.append((f"s{slot}", f"_in[{entry.name!r}]"))
            else:
                lines.append(f"{pad}s{slot} = _in[{entry.name!r}]")
        else:
            names[slot] = f"b{slot}" if slot in job.bound else None
    if mapped is None:
        lines.append(f"{pad}_note = _times.append")
        lines.append(f"{pad}_note(_clock())")
    else:
        unread = [name for name in sorted(mapped) if not any(loop[1] == f"_in[{name!r}]" for loop in loops)]
        loops.extend((f"_unread{number}", f"_in[{name!r}]") for number, name in enumerate(unread))
        for position, _ in enumerate(program.outputs):
            lines.append(f"{pad}o{position} = []; a{position} = o{position}.append")
        variables = ", ".join(loop[0] for loop in loops)
        source = loops[0][1] if len(loops) == 1 else f"zip({', '.join(loop[1] for loop in loops)})"
        lines.append(f"{pad}for {variables} in {source}:")
        pad = "        "
    steps: dict[int, int] = {}
    for site in job.sites:
        expressions = []
        for position, slot in enumerate(site.slots):
            value = names.get(slot, f"s{slot}") or ("_none" if site.inner is not None else f"d{site.index}_{position}")
            expressions.append(f"{site.names[position]}={value}" if position >= site.positional else value)
        if site.inner is not None:
            expressions = ["_counts", *(expression for expression in expressions if expression != "_none")]
        text = f"f{site.index}({', '.join(expressions)})"
        targets = ", ".join(f"s{slot}" for slot in site.outs)
        if site.inner is not None:
            text = f"{targets}, = {text}" if len(site.outs) == 1 else f"{targets} = {text}"
            missing = [site.names[p] for p, slot in enumerate(site.slots) if names.get(slot, "") is None]
            if missing:
                text = text.replace(f"f{site.index}(", f"f{site.index}.without({missing!r})(", 1)
        elif site.out < 0:
            text = f"{targets}{',' if len(site.outs) == 1 else ''} = check{site.index}({text})"
        else:
            text = f"{targets} = {text}"
        lines.append(f"{pad}{text}  # {_one_line(site.id)}")
        steps[len(lines)] = site.index
        if mapped is None:
            lines.append(f"{pad}_note(_clock())")
    if mapped is None:
        pairs = ", ".join(f"{name!r}: {_output(names, slot)}" for name, slot in program.outputs)
        lines.append(f"{pad}return {{{pairs}}}")
    else:
        for position, (_, slot) in enumerate(program.outputs):
            lines.append(f"{pad}a{position}({_output(names, slot)})")
        if not program.outputs and not job.sites:
            lines.append(f"{pad}pass")
        columns = "".join(f"o{position}, " for position, _ in enumerate(program.outputs))
        lines.append(f"    return ({columns})")
    return Source(program, lines, steps)


def _output(names: Mapping[int, str | None], slot: int) -> str:
    """Return where an output stands; ``u`` for an optional input that comes out again and was not given."""
    return names.get(slot, f"s{slot}") or f"u{slot}"


class InnerFast:
    """Runs a mapped nested pipeline inside generated code."""

    def __init__(self, step: InnerStep, job: Job, inputs: tuple[str, ...] | None = None) -> None:
        self.step = step
        self.job = job
        self.inputs = step.inputs if inputs is None else inputs

    def without(self, missing: Sequence[str]) -> InnerFast:
        """Return the same for a call that leaves optional inputs out."""
        return InnerFast(self.step, self.job, tuple(name for name in self.inputs if name not in missing))

    def __call__(self, counts: Counts, *args: Any) -> tuple[Any, ...]:
        step, job = self.step, self.job
        given = dict(zip(self.inputs, args, strict=True))
        size = explode(step, job.path, given)
        counts[job.key] = counts.get(job.key, 0) + size
        values = map_function(job, frozenset(given), frozenset(step.mapped))(given, counts)
        made = dict(zip((name for name, _ in job.program.outputs), values, strict=True))
        return tuple(
            made[name]
            if name in made
            else list(given[name])
            if name in step.mapped
            else [given[name] if name in given else job.value_used(name)] * size
            for name in step.results
        )


def located(error: BaseException, job: Job, first: int | None) -> NodeFailure | None:
    """Return which node raised an error that came out of generated code, from its traceback.

    Args:
        error: The exception, as caught around the generated function.
        job: The job of the outermost program.
        first: Index of the block's first item, or ``None`` for a run.
    """
    path: list[int] = []
    found: tuple[Job, int, FrameType] | None = None
    current: Job | None = job
    trace = error.__traceback__
    while trace is not None:
        source = _SOURCES.get(trace.tb_frame.f_code.co_filename)
        if source is not None and current is not None and source.program is current.program:
            frame = trace.tb_frame
            index = source.steps.get(trace.tb_lineno)
            if "o0" in frame.f_locals:
                path.append(len(frame.f_locals["o0"]) + (first or 0 if current is job else 0))
            if index is None:
                break
            found = (current, index, frame)
            current = current.sites[index].inner
        trace = trace.tb_next
    if found is None:
        return None
    where, index, frame = found
    site = where.sites[index]
    values = [_local(frame, site.slots[position], site.defaults[position], where) for position in range(len(site.slots))]
    keywords = dict(zip(site.names[site.positional :], values[site.positional :], strict=True))
    call = functools.partial(site.function, *values[: site.positional], **keywords) if site.function else None
    return NodeFailure(site.id, job.pipeline, tuple(path), pictures(site.names, values), error, call=call)


def tally(job: Job, size: int, counts: Counts, times: Sequence[float] = ()) -> Tally:
    """Return the counts of each node after a generated function ran over ``size`` items.

    Args:
        job: The job.
        size: How many items it ran over.
        counts: Items of nested maps.
        times: The clock before the first step and after each, where it was read; else nobody measured single nodes.
    """
    found: Tally = {}
    for site in job.sites:
        if site.inner is None:
            seconds = times[site.index + 1] - times[site.index] if times else None
            found[site.id] = [0, size, 0, seconds, 0]
        else:
            found.update(tally(site.inner, counts.get(site.inner.key, 0), counts))
    return found


def _local(frame: FrameType, slot: int, default: Any, job: Job) -> Any:
    """Return a slot's value in a frame of generated code."""
    name = f"s{slot}"
    if name in frame.f_locals:
        return frame.f_locals[name]
    for entry in job.program.inputs:
        if entry.slot == slot and entry.outer is not None:
            value = _local(frame, entry.outer, UNSETTLED, job)
            if value is not UNSETTLED:
                return value
    return job.bound.get(slot, default)
