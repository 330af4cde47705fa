"""Tasks: blocks packed to run somewhere."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs

from hypernodes import events
from hypernodes._block import Block
from hypernodes._calls import BlockResult
from hypernodes._coroutines import Coroutines
from hypernodes._drive import drive, surroundings
from hypernodes._fast import Counts, located, map_function, tally
from hypernodes._job import Job
from hypernodes._packing import pack, unpack
from hypernodes.errors import CapabilityError, TaskError

if TYPE_CHECKING:
    from hypernodes._lookup import Lookup

Driver: TypeAlias = Callable[[Block], BlockResult]


@attrs.define(eq=False)
class Common:
    """What all tasks of one map share; packed once.

    Attributes:
        key: Unique to the map.
        job: The program and its settings.
        constants: Inputs that are the same for every item.
        mapped: Names of the inputs that vary.
        is_map: Whether items are those of a map.
        on_error: ``"raise"`` or ``"return"``.
        outer: Indices of the maps around this one.
        carrier: Text that callbacks send to workers.
        lookup: What the run knows of its cache; ``None`` without one.
    """

    key: str
    job: Job
    constants: Mapping[str, Any]
    mapped: tuple[str, ...]
    is_map: bool
    on_error: str
    outer: tuple[int, ...]
    carrier: Mapping[str, str]
    lookup: Lookup | None = None
    recipes: Any = None
    _packed: bytes | None = attrs.field(default=None, init=False, repr=False)

    def looked_up(self) -> Lookup | None:
        """Return what the run knows of its cache; in another process, worked out from what travelled."""
        if self.lookup is None and self.recipes is not None:
            from hypernodes._lookup import Lookup

            notes, recipes = self.recipes
            self.lookup = Lookup(self.job, notes, recipes)
        return self.lookup

    def packed(self) -> bytes:
        """Return it as bytes, made once."""
        if self._packed is None:
            constants, carrier = dict(self.constants), dict(self.carrier)
            recipes = None if self.lookup is None else (self.lookup.notes, self.lookup.travelling())
            parts = (self.key, self.job, constants, self.mapped, self.is_map, self.on_error, self.outer, carrier, None, recipes)
            try:
                self._packed = pack("job", parts)
            except Exception as error:
                raise self._stuck(error) from error
        return self._packed

    def _stuck(self, error: Exception) -> CapabilityError:
        """Say which part of a map cannot travel."""
        bound = {
            f"bound input '{entry.name}'": self.job.bound[entry.slot] for entry in self.job.program.inputs if entry.slot in self.job.bound
        }
        inputs = {f"input '{name}'": value for name, value in self.constants.items()}
        nodes = {f"node '{site.id}'": site.function for site in self.job.sites if site.function is not None}
        for part, value in {**inputs, **bound, **nodes}.items():
            try:
                pack("part", value)
            except Exception as found:  # noqa: BLE001 - whatever it is, it is why this part stays
                culprit, reason = part, found
                break
        else:
            culprit, reason = "a part", error
        msg = (
            f"{culprit} of pipeline '{self.job.pipeline}' cannot be sent to other processes: {type(reason).__name__}: {reason}.\n"
            f"  fix: make it where it is used (a @stateful class does that), or run on an engine that shares memory"
        )
        return CapabilityError(msg)


_UNPACKED: OrderedDict[str, Common] = OrderedDict()
_UNPACKED_LIMIT = 8
_LOCK = threading.Lock()


def _unpacked_common(key: str, data: bytes) -> Common:
    """Return what a task shares with others, unpacked once per process."""
    with _LOCK:
        found = _UNPACKED.get(key)
        if found is None:
            found = _UNPACKED[key] = Common(*unpack("job", data))
            while len(_UNPACKED) > _UNPACKED_LIMIT:
                _UNPACKED.popitem(last=False)
        else:
            _UNPACKED.move_to_end(key)
        return found


class Task:
    """A block packed to run somewhere: call it, anywhere, to get its ``BlockResult``.

    Pickle it with plain ``pickle``: it packs itself so that functions of ``__main__``, closures and lambdas
    travel too. In the thread that made it, events are told while they happen; elsewhere they come back with the
    result.

    Attributes:
        index: The block's number in its map, from 0.
        size: How many items it holds.
        first: Index of its first item.
    """

    def __init__(self, common: Common, index: int, first: int, size: int, columns: Mapping[str, list[Any]]) -> None:
        self.common = common
        self.index = index
        self.first = first
        self.size = size
        self.columns = columns
        self.tell: events.Tell | None = None
        self.coroutines: Coroutines | None = None
        self.limits: Any = None
        self.thread = 0
        self.remote = False

    def __call__(self, driver: Driver | None = None) -> BlockResult:
        """Run the block here.

        Args:
            driver: Who makes the block's calls, for engines that run nodes of one item at the same time; called in this
                thread. By default they are made one after the other.

        Returns:
            What became of the block. Exceptions of nodes are inside; they are not raised here.
        """
        common, job = self.common, self.common.job
        given = {**common.constants, **self.columns}
        if driver is None and job.simple and common.on_error == "raise" and common.is_map:
            return self._fast(given)
        live = self.tell is not None and self.thread == threading.get_ident()
        recorder = None if live else events.Recorder()
        block = Block(
            job,
            self.size,
            given,
            common.mapped,
            on_error=common.on_error,
            tell=self.tell if live else recorder,
            first=self.first,
            outer=common.outer,
            is_map=common.is_map,
            remote=self.remote,
            limits=self.limits,
            lookup=common.looked_up(),
        )
        with surroundings(self.coroutines if live else None, common.carrier):
            result = (driver or drive)(block)
        block.let_go()
        result.index = self.index
        self._leaving(result)
        if recorder is not None and recorder.rows:
            result.recorded = recorder
        return result

    def _fast(self, given: Mapping[str, Any]) -> BlockResult:
        common, job = self.common, self.common.job
        function = map_function(job, frozenset(given), frozenset(common.mapped))
        counts: Counts = {}
        start = perf_counter()
        try:
            columns: list[Sequence[Any]] = list(function(given, counts))
        except Exception as error:
            failure = located(error, job, self.first)
            if failure is None:
                raise
            failure.item_path = (*common.outer, *failure.item_path)
            failed = {failure.node: [0, 0, 1, None, 0]}
            return BlockResult(self.index, self.size, [], [failure], failure, failed, perf_counter() - start)
        seconds = perf_counter() - start
        return self._leaving(BlockResult(self.index, self.size, columns, tally=tally(job, self.size, counts), seconds=seconds))

    def _leaving(self, result: BlockResult) -> BlockResult:
        """Let a result that goes to another process name what cannot go with it."""
        if self.remote:
            common = self.common
            result.sent_from = common.job
            result.sent_items = (*common.outer, self.first) if common.is_map else common.outer
            result.returns_failures = common.on_error == "return"
        return result

    def to_bytes(self) -> bytes:
        """Pack it for ``run_block`` or ``python -m hypernodes.worker``."""
        return pack("task", self)

    @staticmethod
    def from_bytes(data: bytes) -> Task:
        """Unpack a task.

        Raises:
            TaskError: If the bytes are something else, or of another version.
        """
        task = unpack("task", data)
        if not isinstance(task, Task):
            msg = f"these bytes hold a {type(task).__name__}, not a task"
            raise TaskError(msg)
        return task

    def __reduce__(self) -> tuple[Any, ...]:
        import cloudpickle

        parts = (self.index, self.first, self.size, cloudpickle.dumps(dict(self.columns)))
        return (_unpacked_task, (self.common.key, self.common.packed(), *parts))

    def __repr__(self) -> str:
        return f"<Task {self.common.job.pipeline} block {self.index}: {self.size} items>"


def _unpacked_task(key: str, data: bytes, index: int, first: int, size: int, columns: bytes) -> Task:
    import pickle

    task = Task(_unpacked_common(key, data), index, first, size, pickle.loads(columns))  # noqa: S301 - packed above
    task.remote = True
    return task


def run_block(data: bytes) -> bytes:
    """Run a packed task and return its packed result; all that a batch system needs to know.

    Args:
        data: What ``Task.to_bytes()`` gave.

    Returns:
        Bytes for ``BlockResult.from_bytes``. Exceptions of nodes are inside; they are not raised here.

    Raises:
        TaskError: If the bytes are something else, or were packed by another version.
    """
    return Task.from_bytes(data)().to_bytes()
