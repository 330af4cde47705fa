"""Values of a block as columns: one list per slot, one entry per item."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hypernodes._job import UNSETTLED, Job, Site


def columns_of(job: Job, size: int, given: Mapping[str, Any], mapped: frozenset[str]) -> tuple[list[Any], list[bool]]:
    """Return the column of every slot (``None`` for an input without a value) and whether it varies over items."""
    program = job.program
    settled = job.settle(given)
    columns: list[Any] = [None] * program.slots
    varies = [False] * program.slots
    for entry in program.inputs:
        value = settled[entry.slot]
        if entry.outer is not None and settled[entry.outer] is not UNSETTLED:
            columns[entry.slot], varies[entry.slot] = columns[entry.outer], varies[entry.outer]
        elif entry.outer is None and entry.name in mapped:
            columns[entry.slot], varies[entry.slot] = value, True
        elif value is not UNSETTLED:
            columns[entry.slot] = [value] * size
    for step in program.steps:
        changing = any(varies[slot] for slot in step.args)
        for slot in step.outs:
            columns[slot] = [UNSETTLED] * size
            varies[slot] = changing
    return columns, varies


def arguments_of(site: Site, values: Sequence[Any], size: int) -> list[Sequence[Any]]:
    """Return the column of each argument; a missing input is the parameter's default, over all items."""
    columns = []
    for slot, default in zip(site.slots, site.defaults, strict=True):
        column = values[slot]
        columns.append(column if column is not None else [default] * size)
    return columns


def repeated_steps(job: Job, mapped: tuple[str, ...], mode: str) -> frozenset[int]:
    """Return the steps that many items of a map share: they depend on none of its inputs, or not on all of a product."""
    key = ("repeated", mapped, mode)
    found: frozenset[int] | None = job.fast.get(key)
    if found is None:
        axes = {name: 1 << position for position, name in enumerate(mapped)}
        masks = [0] * job.program.slots
        for entry in job.program.inputs:
            masks[entry.slot] = axes.get(entry.name, 0) if entry.outer is None else masks[entry.outer]
        repeated = set()
        full = (1 << len(axes)) - 1
        for k, step in enumerate(job.program.steps):
            mask = 0
            for slot in step.args:
                mask |= masks[slot]
            for slot in step.outs:
                masks[slot] = mask
            if not mask or (mode == "product" and mask != full):
                repeated.add(k)
        found = job.fast[key] = frozenset(repeated)
    return found
