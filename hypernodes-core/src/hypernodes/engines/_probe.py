"""Look-ups that the driver makes because it holds the items: what is in the cache does not travel to workers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from hypernodes._calls import BlockResult, Call, Outcome
from hypernodes._demand import UNSETTLED_STATES
from hypernodes._drive import drive, perform_here, surroundings

if TYPE_CHECKING:
    from hypernodes.engines.task import Task

ENOUGH: Final = 3  # times in a row that something was missing, after which it is rarely tried
RARELY: Final = 8


class _Missing(Exception):  # noqa: N818 - never seen outside
    pass


class Probe:
    """Answers blocks that are in the cache as a whole."""

    def __init__(self) -> None:
        self._missed = 0

    def found(self, task: Task) -> BlockResult | None:
        """Return the result of a block without calling a node; ``None`` where something would have to run."""
        if self._missed >= ENOUGH and self._missed % RARELY:
            self._missed += 1
            return None
        result = _from_cache(task)
        self._missed = 0 if result is not None else self._missed + 1
        return result


def _from_cache(task: Task) -> BlockResult | None:
    with task.recorded(live=False) as recorder:
        block = task.block(recorder)
        try:
            if block.demand is None:
                return None
            block.demand.begin()
            if any(state in UNSETTLED_STATES for states in block.demand.state for state in states):
                return None
            with surroundings(carrier=task.common.carrier):
                return task.over(block, drive(block, _only_reading), recorder)
        except _Missing:  # a value could not be read
            return None
        finally:
            block.let_go()


def _only_reading(call: Call) -> Outcome:
    if call.attempt:
        raise _Missing
    outcome: Any = perform_here(call, call.site)
    return outcome  # type: ignore[no-any-return]
