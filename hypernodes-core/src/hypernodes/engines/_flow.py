"""Blocks in flight: as many as keep the workers busy, back in order where that is wanted, whole even where a worker died."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait
from time import perf_counter, sleep
from typing import TYPE_CHECKING, Any, Final

import attrs

from hypernodes import events
from hypernodes._calls import BlockResult
from hypernodes._failures import NodeFailure, pictures
from hypernodes._messages import counted
from hypernodes.errors import ResultTransferError, WorkerLostError
from hypernodes.events import Recorder
from hypernodes.results import add_tally

if TYPE_CHECKING:
    from hypernodes.engines.base import EngineRun, Session
    from hypernodes.engines.task import Task

TICK_S: Final = 0.1  # how often a driver that waits looks after events and its source of items
TRIES: Final = 2  # of an item whose worker died, alone


@attrs.define(eq=False)
class _Part:
    """Some items of a block: what runs them, and what came of it."""

    task: Task
    losses: int = 0
    result: BlockResult | None = None


def in_flight(session: Session, run: EngineRun, tasks: Iterator[Task]) -> Iterator[BlockResult]:
    """Submit tasks as there is room, and yield their results.

    Args:
        session: Where they run.
        run: How many, and in which order.
        tasks: The tasks; where it has a method ``poll``, that one is asked, which may say ``None`` for "not yet".

    Yields:
        The result of each task, in the order of the tasks unless the run says otherwise.
    """
    poll: Callable[[], Task | None] = getattr(tasks, "poll", functools.partial(next, tasks))
    blocks: list[list[_Part]] = []
    flying: dict[Future[BlockResult], tuple[list[_Part], _Part]] = {}

    def submit(block: list[_Part], part: _Part) -> None:
        flying[session.submit(part.task)] = (block, part)

    exhausted = False
    failing: Exception | None = None  # what the source of items raised: those before it are finished all the same
    try:
        while True:
            while not exhausted and len(blocks) < run.window:
                try:
                    task = poll()
                except StopIteration:
                    exhausted = True
                    break
                except Exception as error:  # noqa: BLE001 - raised below
                    exhausted, failing = True, error
                    break
                if task is None:
                    break
                blocks.append([_Part(task)])
                submit(blocks[-1], blocks[-1][0])
            done = [block for block in blocks if all(part.result is not None for part in block)]
            if run.ordered:
                done = [block for block, other in zip(blocks, done, strict=False) if block is other]
            for block in done:
                blocks.remove(block)
                yield _whole([part.result for part in block if part.result is not None])
            if done:
                continue
            if exhausted and not blocks:
                if failing is not None:
                    raise failing
                return
            if flying:
                finished = wait(flying, TICK_S, FIRST_COMPLETED).done
            else:
                finished = set()
                sleep(TICK_S / 10)  # the source of items takes its time
            run.tick()
            for future in finished:
                block, part = flying.pop(future)
                try:
                    part.result = future.result()
                except (WorkerLostError, BrokenExecutor, ResultTransferError) as error:
                    _again(session, block, part, error, submit)
    finally:
        for future in flying:
            future.cancel()


def _again(session: Session, block: list[_Part], part: _Part, error: Exception, submit: Callable[[list[_Part], _Part], None]) -> None:
    """Run again what a worker took with it: in halves, until the item that killed it is alone, which fails at the second time."""
    renew = getattr(session, "renew", None)
    if isinstance(error, BrokenExecutor):  # any of the blocks that were there may have done it
        if renew is None or not renew(error):
            raise error
        submit(block, part)
        return
    if part.task.size > 1:
        place = block.index(part)
        block[place : place + 1] = halves = [_Part(task) for task in part.task.halves()]
        for half in halves:
            submit(block, half)
        return
    part.losses += 1
    if isinstance(error, ResultTransferError):
        part.result = lost_item(part.task, error)
    elif isinstance(error, WorkerLostError) and error.overdue is not None:
        part.result = lost_item(part.task, error.overdue, error.node)
    elif part.losses < TRIES:
        part.task.suspect = True
        submit(block, part)
    else:
        told = WorkerLostError(f"{error} ({counted(TRIES, 'time')}); the item is left out so that the others can go on")
        told.node = getattr(error, "node", "")
        part.result = lost_item(part.task, told, told.node)


def lost_item(task: Task, error: Exception, node: str = "") -> BlockResult:
    """Return what became of an item that does not come back from a worker, or does not get there."""
    from hypernodes.engines.task import again_elsewhere

    common = task.common
    job = common.job
    node = node or (job.sites[0].id if len(job.sites) == 1 else job.pipeline)
    path = (*common.outer, task.first) if common.is_map else common.outer
    names = (*task.columns, *common.constants)
    shown = pictures(names, [*(column[0] for column in task.columns.values()), *common.constants.values()])
    call = None if isinstance(error, ResultTransferError) else functools.partial(again_elsewhere, task.to_bytes())
    failure = NodeFailure(node, job.pipeline, path, shown, error, 1 if call is None else TRIES, call=call)
    stops = failure if common.on_error == "raise" else None
    columns: list[Sequence[Any]] = [[failure] for _ in job.program.outputs]
    tally = {node: [0, 0, 1, 0.0, 0]} if node in job.node_ids else {}
    result = BlockResult(task.index, 1, columns, [failure], stops, tally)
    recorder = _events_of(task, failure)
    if recorder.rows:
        result.recorded = recorder
    return result


def _events_of(task: Task, failure: NodeFailure) -> Recorder:
    """Return what is told of an item that came back from nowhere; what its worker sent ahead is told once all the same."""
    recorder = Recorder()
    block = task.block(recorder)
    frames, job = block.frames, task.common.job
    site = next((site for site in job.sites if site.id == failure.node and site.inner is None), None)
    if frames.tracks:
        frames.opened(0)
        if site is not None:
            frames.entered(site, 0)
    for kind, told in ((events.NODE_START, {}), (events.ERROR, failure)):
        if site is not None and site.wanted & kind:
            recorder(kind, job.key, site.index, frames.index(0), task.common.outer, perf_counter() + events.EPOCH, 1, told)
    frames.close(1)
    block.let_go()
    return recorder


def _whole(results: Sequence[BlockResult]) -> BlockResult:
    """Return the result of a block from those of its parts."""
    first = results[0]
    if len(results) == 1:
        return first
    for other in results[1:]:
        first.failures = [*first.failures, *other.failures]
        first.failure = first.failure or other.failure
        first.columns = [[*before, *after] for before, after in zip(first.columns, other.columns, strict=False)]
        add_tally(first.tally, other.tally)
        first.seconds += other.seconds
        first.size += other.size
        if other.recorded is not None:
            first.recorded = other.recorded if first.recorded is None else first.recorded.and_then(other.recorded)
        first.entries = None
    return first
