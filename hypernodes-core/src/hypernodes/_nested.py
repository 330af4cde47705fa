"""Nested pipelines that run as a block of their own: exploded, run, gathered."""

from __future__ import annotations

from threading import get_ident
from time import perf_counter
from typing import Any

from hypernodes import events
from hypernodes._block import Block
from hypernodes._calls import BlockResult, InnerCall, InnerResult, Made
from hypernodes._declaration import NO_DEFAULT
from hypernodes._items import count_items
from hypernodes._program import InnerStep


def explode(step: InnerStep, path: tuple[str, ...], given: dict[str, Any]) -> int:
    """Turn the mapped inputs into columns of equal length, in place, and return that length.

    Inner inputs that take the same outer value are one axis: they vary together in a product too.

    Args:
        step: The mapped pipeline.
        path: Its own id after those of the pipelines around it.
        given: Its inputs.

    Raises:
        MapInputError: If a mapped value is not a collection of items.
        MapLengthError: In ``zip`` mode, if lengths differ.
    """
    first: dict[int, str] = {}
    for name, slot in zip(step.inputs, step.args, strict=True):
        if name in step.mapped:
            first.setdefault(slot, name)
    axes = [name for name in step.mapped if name in first.values()]
    columns, size = count_items(axes, given, step.mode, f"nested pipeline '{'/'.join(path)}'")
    given.update(columns)
    given.update((name, columns[first[slot]]) for name, slot in zip(step.inputs, step.args, strict=True) if name in step.mapped)
    return size


class Nested:
    """One run of a nested pipeline; a driver runs its ``block`` between ``start`` and ``gathered``.

    In the thread of the block around it, events are told while they happen; elsewhere they are kept for it.

    Args:
        call: What to run.
        args: The value of each of its inputs.
    """

    def __init__(self, call: InnerCall, args: tuple[Any, ...]) -> None:
        step = self.step = call.step
        self.job = call.job
        self.args = args
        self.recorder = None
        tell = call.tell
        if tell is None or get_ident() != call.thread:
            tell = self.recorder = events.Recorder()
        self.tell: events.Tell = tell
        given = {name: value for name, value in zip(step.inputs, args, strict=True) if value is not NO_DEFAULT}
        size = 1
        if step.mapped:
            size = explode(step, self.job.path, given)
        self.block = Block(
            self.job,
            size,
            given,
            step.mapped,
            on_error=call.on_error,
            tell=tell,
            outer=call.outer,
            is_map=bool(step.mapped),
            remote=call.remote,
            shared=call.shared,
            mode=step.mode if step.mapped else "zip",
            lookup=call.lookup,
            known={name: identity for name, identity in call.known.items() if name not in step.mapped},
        )
        self._started = perf_counter()
        self._map(events.MAP_START, size)

    def _map(self, kind: int, first: Any) -> None:
        if self.step.mapped and self.job.wanted[0] & kind:
            self.tell(kind, self.job.key, ~0, None, self.block.outer, perf_counter() + events.EPOCH, 1, first)

    def broke_off(self) -> None:
        """Tell that it was cut short because the run ends."""
        self._map(events.MAP_END, perf_counter() - self._started)

    def gathered(self, result: BlockResult) -> InnerResult:
        """Return what became of it: one value per output, lists where it is mapped."""
        try:
            return self._gathered(result)
        finally:
            self.block.let_go()

    def _gathered(self, result: BlockResult) -> InnerResult:
        step, block = self.step, self.block
        self._map(events.MAP_END, perf_counter() - self._started)
        if result.failure is not None:
            return InnerResult(None, result.failures, result.failure, result.tally, self.recorder)
        columns = dict(zip((name for name, _ in self.job.program.outputs), result.columns, strict=True))
        values: list[Any] = []
        made: list[Made | None] = []
        slots = dict(self.job.program.outputs)
        for name in step.results:
            made.append(block.demand.refs.made_list(slots[name]) if name in columns and step.mapped and block.demand is not None else None)
            if name in columns:
                values.append(list(columns[name]) if step.mapped else columns[name][0])
            elif name in step.mapped:
                values.append(list(block.given[name]))
            else:
                value = block.given[name] if name in block.given else self.job.value_used(name)
                values.append([value] * block.size if step.mapped else value)
        return InnerResult(values, result.failures, None, result.tally, self.recorder, made)
