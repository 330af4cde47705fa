"""What is wrong with a call, said before anything runs."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from hypernodes._messages import did_you_mean, listed, near, picture
from hypernodes._program import InnerStep
from hypernodes.errors import InputError, MissingInputError, OptionError, UnknownInputError, UnknownOutputError

if TYPE_CHECKING:
    from hypernodes._job import Job
    from hypernodes._resolve import Prepared

NAME_WIDTH = 12


def no_more_options(call: str, unknown: Mapping[str, Any], known: Iterable[str], inputs: Iterable[str] = ()) -> None:
    """Refuse keyword arguments that a method does not have.

    Raises:
        OptionError: If there are any; inputs passed by keyword get the form that works.
    """
    for name, value in unknown.items():
        if name in set(inputs):
            msg = f"{call} takes inputs as one mapping, not as keywords: {call}({{{name!r}: {picture(value)}, …}})"
        else:
            moved = {"backend": "engine", "executor": "engine", "callback": "callbacks"}.get(name)
            hint = f" Did you mean '{moved}'?" if moved in set(known) else did_you_mean(name, known)
            msg = f"{call} has no argument '{name}'.{hint}"
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
    lines: list[str] = []
    for name in missing:
        owner, place = _consumer(prepared.job, prepared.required[name], name)
        candidates = [given for given in inputs if given not in prepared.known]
        guess = near(name, candidates)
        lines.append(f"pipeline '{prepared.name}' needs '{name}'" if not lines else f"and '{name}'")
        lines.append(f"  needed by: {owner}" + (f"      {place}" if place else ""))
        passed = f"  you passed: {listed(inputs, 'nothing')}"
        lines.append(passed + (f"                did you mean '{name}' by '{guess}'?" if guess is not None else ""))
    first = missing[0]
    form = f'{{..., "{first}": ...}}' if inputs else f'{{"{first}": ...}}'
    lines.append(f"  fix: pipeline.{call}({form}) or pipeline.bind({first}=...)")
    return "\n".join(lines)


def _consumer(job: Job, index: int, name: str) -> tuple[str, str]:
    """Return who needs an input first: its signature and where it is written."""
    step = job.program.steps[index]
    while isinstance(step, InnerStep):
        inner = job.inner[index]
        required = inner.required()
        inner_names = [inside for inside, _ in zip(step.inputs, step.args, strict=True) if inside in required]
        if not inner_names or (inner_names[0] in step.mapped and name not in required):
            return f"{'/'.join((*job.path, step.id))} (a nested pipeline)", ""
        name = name if name in required else inner_names[0]
        job, index = inner, required[name]
        step = job.program.steps[index]
    node = step.node
    try:
        parameters = inspect.signature(node.signature_source).parameters
        shown = [str(parameters[each]) for each in node.root_args if each == name] or list(node.root_args)
    except (ValueError, TypeError, KeyError):
        shown = list(node.root_args)
    return f"{job.sites[index].id}({', '.join(shown)})", node.location


def _unknown(prepared: Prepared, name: str) -> str:
    known = sorted(prepared.known)
    produced = {output for output, _ in prepared.job.program.outputs}
    if name in produced:
        return f"'{name}' is an output of pipeline '{prepared.name}', not an input; it takes {listed(known)}"
    return f"pipeline '{prepared.name}' has no input '{name}'; it takes {listed(known)}.{did_you_mean(name, known)}"


def check_outputs(pipeline: str, asked: Iterable[str], known: Iterable[str]) -> tuple[str, ...]:
    """Check requested outputs.

    Raises:
        UnknownOutputError: If no node makes one of them.
    """
    names = tuple(asked)
    made = set(known)
    for name in names:
        if name not in made:
            msg = f"pipeline '{pipeline}' has no output {name!r}; it makes {listed(known)}.{did_you_mean(str(name), made)}"
            raise UnknownOutputError(msg)
    return names
