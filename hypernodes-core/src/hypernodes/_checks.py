"""What is wrong with a call, said before anything runs."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from hypernodes._messages import among, did_you_mean, listed, near, picture
from hypernodes.errors import InputError, MissingInputError, OptionError, UnknownInputError, UnknownOutputError

if TYPE_CHECKING:
    from hypernodes._job import Job
    from hypernodes._program import InnerStep, Step
    from hypernodes._resolve import Prepared

CALLS = ("run", "map", "imap")
SETTINGS = ("engine", "cache", "callbacks", "retries", "timeout", "strict")
GAP = 6  # columns between what is wrong and where
MOST = 6  # missing inputs told one by one


def no_more_options(call: str, unknown: Mapping[str, Any], known: Iterable[str], inputs: Iterable[str] = ()) -> None:
    """Refuse keyword arguments that a method does not have.

    Raises:
        OptionError: If there are any; inputs passed by keyword get the form that works.
    """
    for name, value in unknown.items():
        setting = near(name, SETTINGS)
        if name in set(inputs):
            msg = f"{call} takes inputs as one mapping, not as keywords: {call}({{{name!r}: {picture(value)}, …}})"
        elif call in CALLS and setting is not None:
            msg = f"{call} has no argument '{name}'; set it on the pipeline: Pipeline(…, {setting}=…)"
            msg += f" or pipeline.with_{setting}(…)" if setting != "strict" else ""
        else:
            msg = f"{call} has no argument '{name}'.{did_you_mean(name, known)}"
        raise OptionError(msg)


def check_inputs(prepared: Prepared, inputs: Mapping[str, Any], call: str) -> None:
    """Check the names of the inputs of a call.

    Raises:
        InputError: If the inputs are no mapping of names.
        UnknownInputError: If a name is not known to the pipeline.
        MissingInputError: If a needed one is not there.
    """
    if not isinstance(inputs, Mapping):
        msg = f"{call} of pipeline '{prepared.name}' takes a mapping of names to values, got {picture(inputs)}: pass {{'name': value}}"
        raise InputError(msg)
    unknown = [name for name in inputs if name not in prepared.known]
    missing = [name for name in prepared.required if name not in inputs]
    if missing:
        raise MissingInputError(_missing(prepared, missing, inputs, call))
    if unknown:
        raise UnknownInputError(_unknown(prepared, unknown[0]))


def _missing(prepared: Prepared, missing: list[str], inputs: Mapping[str, Any], call: str) -> str:
    rows: list[tuple[str, str]] = []
    meant: list[str] = []
    strangers = [given for given in inputs if given not in prepared.known]
    for name in missing[:MOST]:
        owner, place = _consumer(prepared.job, prepared.required[name], name)
        rows.append((f"  needed by: {owner}" if len(missing) == 1 else f"  '{name}' needed by: {owner}", place))
        if near(name, strangers) is not None:
            meant.append(f"'{name}'")
    if len(missing) > MOST:
        rows.append((f"  … ({len(missing) - MOST:,} more)", ""))
    rows.append((f"  you passed: {listed(inputs, 'nothing')}", f"did you mean {', '.join(meant)}?" if meant else ""))
    width = max((len(left) for left, right in rows if right), default=0) + GAP
    quoted = [f"'{name}'" for name in missing]
    lines = [f"pipeline '{prepared.name}' needs {listed(quoted, limit=MOST)}"]
    lines += [f"{left:<{width}}{right}" if right else left for left, right in rows]
    form = ", ".join(["..."] * bool(inputs) + [f'"{name}": ...' for name in missing[:MOST]])
    bound = ", ".join(f"{name}=..." for name in missing[:MOST])
    lines.append(f"  fix: pipeline.{call}({{{form}}}) or pipeline.bind({bound})")
    return "\n".join(lines)


def _consumer(job: Job, index: int, name: str) -> tuple[str, str]:
    """Return who needs an input first: its signature and where it is written."""
    from hypernodes._program import InnerStep  # this module is needed before anything is compiled

    step = job.program.steps[index]
    parameter = _parameter(job, step, name)
    while isinstance(step, InnerStep):
        inner = job.inner[index]
        required = inner.required()
        if parameter not in required:  # mapped, though optional
            return f"{job.sites[index].id} (a nested pipeline, mapped over it)", ""
        job, index = inner, required[parameter]
        step = job.program.steps[index]
        parameter = _parameter(job, step, parameter)
    node = step.node
    try:
        declared = inspect.signature(node.signature_source).parameters[parameter]
        text = declared.annotation  # without quotes where annotations are not evaluated
        shown = f"{parameter}: {text}" if isinstance(text, str) else str(declared)
    except (ValueError, TypeError, KeyError):
        shown = parameter
    return f"{job.sites[index].id}({shown})", node.location


def _parameter(job: Job, step: Step | InnerStep, name: str) -> str:
    """Return what a step calls an input of the program; pipelines between them may have renamed it."""
    outer = {entry.slot: entry.outer for entry in job.program.inputs}
    root = next(entry.slot for entry in job.program.root_inputs if entry.name == name)
    from hypernodes._program import InnerStep

    names = step.inputs if isinstance(step, InnerStep) else step.node.root_args
    for parameter, argument in zip(names, step.args, strict=True):
        slot: int | None = argument
        while slot is not None and slot != root:
            slot = outer.get(slot)
        if slot == root:
            return parameter
    return name


def _unknown(prepared: Prepared, name: str) -> str:
    known = sorted(prepared.known)
    if name in prepared.produced:
        return f"'{name}' is an output of pipeline '{prepared.name}', not an input; it takes {listed(known)}."
    return f"pipeline '{prepared.name}' has no input '{name}'; {among(name, known)}"


def check_outputs(pipeline: str, asked: Iterable[str], known: Iterable[str], inputs: Iterable[str] = ()) -> tuple[str, ...]:
    """Check requested outputs.

    Raises:
        UnknownOutputError: If no node makes one of them.
    """
    names = tuple(asked)
    made = set(known)
    for name in names:
        if name not in made:
            what = (
                f"pipeline '{pipeline}' has no output {name!r}"
                if name not in set(inputs)
                else f"{name!r} is an input of pipeline '{pipeline}'"
            )
            last = str(name).rpartition("/")[2]
            hint = f" Did you mean '{last}'?" if last in made else did_you_mean(name, made)
            msg = f"{what}; it makes {listed(known, 'nothing')}.{hint}"
            raise UnknownOutputError(msg)
    return names
