"""What passes between a block and whoever makes its calls: calls, outcomes, results."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from time import perf_counter
from typing import Any, TypeAlias

import attrs

from hypernodes import events
from hypernodes._failures import NodeFailure
from hypernodes._job import Job, Site
from hypernodes._messages import counted, picture
from hypernodes._program import InnerStep
from hypernodes.cache.entry import Entry
from hypernodes.callbacks import ValueSummary
from hypernodes.errors import OutputCountError, ResultTransferError
from hypernodes.results import Tally

Outcome: TypeAlias = tuple[Any, BaseException | None, float, float]  # value, error, start (epoch), seconds


def called(function: Any, args: Sequence[Any], kwargs: dict[str, Any] | None = None) -> Outcome:
    """Call a function here and return the outcome."""
    start = perf_counter()
    try:
        value = function(*args) if kwargs is None else function(*args, **kwargs)
    except Exception as error:  # noqa: BLE001 - a node may raise anything; the block decides what becomes of it
        end = perf_counter()
        return None, error, start + events.EPOCH, end - start
    end = perf_counter()
    return value, None, start + events.EPOCH, end - start


class Call:
    """One call that is ready to be made.

    Attributes:
        site: What the calls of its step have in common.
        item: The item's index in the block, or a list of them for a batch.
        function: What to call.
        args: Positional arguments.
        kwargs: Keyword arguments, or ``None``.
        attempt: 1, or more for a retry.
        delay: Seconds to wait first.
        index: The item's index in its map; ``None`` outside a map, and for a batch.
        gate: What to hold while it runs, shared with the other blocks of the run in this process; may be ``None``.
    """

    __slots__ = ("args", "attempt", "delay", "function", "gate", "index", "item", "kwargs", "site")

    def __init__(
        self,
        site: Site,
        item: Any,
        function: Callable[..., Any],
        args: Sequence[Any],
        kwargs: dict[str, Any] | None,
        attempt: int = 1,
        delay: float = 0.0,
        index: int | None = None,
    ) -> None:
        self.site = site
        self.item = item
        self.function = function
        self.args = args
        self.kwargs = kwargs
        self.attempt = attempt
        self.delay = delay
        self.index = index
        self.gate: Any = None

    def __reduce__(self) -> tuple[Any, ...]:
        return (Call, (self.site, self.item, self.function, self.args, self.kwargs, self.attempt, self.delay, self.index))


@attrs.define(eq=False)
class BlockResult:
    """What became of a block.

    Attributes:
        index: The block's number in its map.
        size: How many items it held.
        columns: One list of values per requested output; a failed item holds its ``NodeFailure``.
        failures: Every failed call.
        failure: Under ``on_error="raise"``, the failure that stopped the block.
        tally: Counts per node.
        seconds: How long the block took where it ran.
        recorded: Events that were not told while they happened.
        sent_from: The job, where the result leaves the process; it names the node of a value that cannot leave.
        sent_items: Indices of the maps around the block and of its first item; empty outside a map.
        returns_failures: Whether a failed item leaves the others alone (``on_error="return"``).
        entries: Per requested output, what the cache keeps of each item, where that was asked for; stays in its process.
    """

    index: int
    size: int
    columns: list[Sequence[Any]]
    failures: list[NodeFailure] = attrs.field(factory=list)
    failure: NodeFailure | None = None
    tally: Tally = attrs.field(factory=dict)
    seconds: float = 0.0
    recorded: events.Recorder | None = None
    sent_from: Job | None = attrs.field(default=None, repr=False)
    sent_items: tuple[int, ...] = ()
    returns_failures: bool = False
    entries: list[list[Entry]] | None = attrs.field(default=None, repr=False)

    def to_bytes(self) -> bytes:
        """Pack it for another process; read it with ``BlockResult.from_bytes``."""
        from hypernodes._packing import pack

        return pack("result", self)

    def __reduce__(self) -> tuple[Any, ...]:
        import cloudpickle  # values whose classes live in __main__ travel too, and find their class again

        parts = (
            self.index,
            self.size,
            [list(column) for column in self.columns],
            self.failures,
            self.failure,
            self.tally,
            self.seconds,
        )
        try:
            data = cloudpickle.dumps((*parts, self.recorded), protocol=5)
        except Exception:  # noqa: BLE001 - any value may refuse to be pickled
            columns, failures = self._sendable()
            recorded = self.recorded and portable(self.recorded, self._unsent_at(failures))  # listeners must not lose a result
            if failures and self.failure is None and not self.returns_failures:
                parts = (self.index, self.size, [], failures, failures[0], self.tally, self.seconds)
            else:
                parts = (*parts[:2], columns, [*self.failures, *failures], *parts[4:])
            data = cloudpickle.dumps((*parts, recorded), protocol=5)
        return (_unpacked_result, (data,))

    def _sendable(self) -> tuple[list[list[Any]], list[NodeFailure]]:
        """Return the columns with a failure in place of each value that cannot leave this process, and those failures."""
        import cloudpickle

        columns = [list(column) for column in self.columns]
        failures: list[NodeFailure] = []
        for number, column in enumerate(columns):
            for item, value in enumerate(column):
                try:
                    cloudpickle.dumps(value)
                except Exception as error:  # noqa: BLE001 - as above
                    failure = column[item] = self._unsent(number, item, value, error)
                    failures.append(failure)
        return columns, failures

    def _unsent(self, number: int, item: int, value: Any, error: Exception) -> NodeFailure:
        node, pipeline, name = "", "", f"output {number}"
        if self.sent_from is not None:
            pipeline = self.sent_from.pipeline
            name, slot = self.sent_from.program.outputs[number]
            node = next((site.id for site in self.sent_from.sites if slot in site.outs), name)
        path = (*self.sent_items[:-1], self.sent_items[-1] + item) if self.sent_items else ()
        msg = (
            f"output '{name}' cannot be sent back from its process: {picture(value)}: {type(error).__name__}: {error}\n"
            "  fix: return what pickles, ask for other outputs (output_name=), or use an engine that shares memory"
        )
        return NodeFailure(node, pipeline, path, {}, ResultTransferError(msg))

    def _unsent_at(self, failures: list[NodeFailure]) -> dict[tuple[int, int | None], NodeFailure]:
        """Return failures by the number of their node and their item, as events name them."""
        sites = {} if self.sent_from is None else {site.id: site.index for site in self.sent_from.sites}
        return {(sites[each.node], each.item_path[-1] if each.item_path else None): each for each in failures if each.node in sites}

    @staticmethod
    def from_bytes(data: bytes) -> BlockResult:
        """Unpack what ``run_block`` or a worker wrote.

        Raises:
            TaskError: If the bytes are something else, or of another version.
        """
        from hypernodes._packing import unpack

        result = unpack("result", data)
        assert isinstance(result, BlockResult)  # noqa: S101 - the header said so
        return result


def portable(recorded: events.Recorder, unsent: Mapping[tuple[int, int | None], NodeFailure]) -> events.Recorder:
    """Return the same events, with a summary in place of each value that cannot travel.

    Args:
        recorded: The events.
        unsent: Failures that take the place of what a node returned, by the number of the node and the item.
    """
    import cloudpickle

    def told(value: Any) -> Any:
        try:
            cloudpickle.dumps(value)
        except Exception:  # noqa: BLE001 - any value may refuse to be pickled
            return ValueSummary.of(value)
        return value

    copy = events.Recorder()
    copy.worker, copy.sent = recorded.worker, recorded.sent
    for *where, first, second, who in recorded:
        kind, _, place, item = where[:4]
        if kind == events.NODE_END and (place, item) in unsent:
            copy.rows.append((events.ERROR, *where[1:], unsent[place, item], None, None))
            continue
        values = {name: told(value) for name, value in first.items()} if isinstance(first, dict) else first
        copy.rows.append((*where, values, second, who))
    return copy


def _unpacked_result(data: bytes) -> BlockResult:
    import pickle

    return BlockResult(*pickle.loads(data))  # noqa: S301 - made by a worker of this run


@attrs.define(eq=False)
class InnerCall:
    """The function of a call that runs a nested pipeline; drivers know how (``_nested``).

    Attributes:
        step: The step.
        job: The job to run.
        outer: Indices of the maps around it.
        remote: Whether values in events are replaced by summaries.
        on_error: ``"raise"`` or ``"return"``.
        tell: Who takes events, in the thread that drives the outer block; stays behind when the call travels.
        shared: What the blocks of the run share; stays behind too.
        thread: The thread that drives the outer block.
        lookup: What the run knows of its cache; stays behind too.
        known: Identities of arguments, where they are known.
    """

    step: InnerStep
    job: Job
    outer: tuple[int, ...]
    remote: bool
    on_error: str
    tell: events.Tell | None = None
    shared: Any = None
    thread: int = 0
    lookup: Any = None
    known: Mapping[str, bytes] = attrs.field(factory=dict)

    def __reduce__(self) -> tuple[Any, ...]:
        return (InnerCall, (self.step, self.job, self.outer, self.remote, self.on_error))


@attrs.define(eq=False)
class InnerResult:
    """What became of a nested pipeline.

    Attributes:
        values: One value per output of its step; ``None`` when it failed as a whole.
        failures: Failures that were returned as values.
        failure: The failure that stopped it.
        tally: Counts per node.
        recorded: Events that were not told while they happened.
        made: Per output, what the inner block knows of it; empty where it knows nothing.
    """

    values: list[Any] | None
    failures: list[NodeFailure]
    failure: NodeFailure | None
    tally: Tally
    recorded: events.Recorder | None
    made: Sequence[Made | None] = ()


@attrs.frozen(eq=False)
class Made:
    """What an inner block knows of an output: a list whose elements have identities of their own.

    Attributes:
        identity: The identity of the list.
        references: Per element, the signature of the computation that made it and the number of the output; ``None``
            where some element is not kept.
        classes: The user's classes and files that it was made from.
    """

    identity: bytes
    references: Sequence[tuple[bytes, int]] | None
    classes: tuple[tuple[str, bytes], ...]


def wrong_count(name: str, outputs: tuple[str, ...], value: Any) -> OutputCountError | None:
    """Return what is wrong with the value of a node that declares several outputs, if anything is."""
    if isinstance(value, (tuple, list)):
        if len(value) == len(outputs):
            return None
        got = counted(len(value), "value")
    else:
        got = picture(value)
    count = len(outputs)
    msg = f"node '{name}' declares {counted(count, 'output')} ({', '.join(outputs)}) and returned {got}; return a tuple of {count}"
    return OutputCountError(msg)
