"""Tasks: blocks packed to run somewhere."""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
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
from hypernodes._messages import picture
from hypernodes._packing import by_value, hidden_modules, pack, unpack
from hypernodes.errors import CapabilityError, ResultTransferError, TaskError

if TYPE_CHECKING:
    from types import ModuleType

    from hypernodes._limits import Shared
    from hypernodes._lookup import Lookup

Driver: TypeAlias = Callable[[Block], BlockResult]


def _as_they_are(lookup: Lookup) -> Any:
    """Return recipes for processes that open the caches themselves."""
    return lookup.travelling()


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
        travelling: Makes of it what travels.
        mode: How the mapped inputs vary.
        counted: Names of the resources that are counted.
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
    mode: str = "zip"
    counted: tuple[str, ...] = ()
    hidden: Sequence[ModuleType] = attrs.field(default=(), init=False, repr=False)  # modules that travel with it
    things: Any = attrs.field(default=(), init=False, repr=False)  # what calls that come from another process name by number
    _packed: bytes | None = attrs.field(default=None, init=False, repr=False)

    def looked_up(self) -> Lookup | None:
        """Return what the run knows of its cache; in another process, worked out from what travelled."""
        if self.lookup is None and self.recipes is not None:
            from hypernodes._lookup import Lookup

            notes, recipes = self.recipes
            self.lookup = Lookup(self.job, notes, recipes)
        return self.lookup

    travelling: Callable[[Lookup], Any] = attrs.field(default=_as_they_are, init=False, repr=False)

    def packed(self) -> bytes:
        """Return it as bytes, made once."""
        if self._packed is None:
            constants, carrier = dict(self.constants), dict(self.carrier)
            recipes = None if self.lookup is None else (self.lookup.notes, self.travelling(self.lookup))
            own = (self.key, self.job, constants, self.mapped, self.is_map, self.on_error, self.outer, carrier)
            parts = (*own, None, recipes, self.mode, self.counted)
            self.hidden = hidden_modules(_code_of(self.job))
            try:
                with by_value(self.hidden):
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


def _code_of(job: Job) -> Iterator[Any]:
    """Return the functions of a job, and the classes of what is bound in it."""
    for site in job.sites:
        yield site.function
        yield site.batch
    for value in job.bound.values():
        yield type(value)
    for inner in job.inner.values():
        yield from _code_of(inner)


_UNPACKED: OrderedDict[str, Common] = OrderedDict()
_UNPACKED_LIMIT = 8
_LOCK = threading.Lock()


def unpacked_common(key: str, data: Callable[[], bytes]) -> Common:
    """Return what a task shares with others, unpacked once per process."""
    with _LOCK:
        found = _UNPACKED.get(key)
        if found is None:
            found = _UNPACKED[key] = Common(*unpack("job", data()))
            while len(_UNPACKED) > _UNPACKED_LIMIT:
                _UNPACKED.popitem(last=False)
        else:
            _UNPACKED.move_to_end(key)
        return found


def forget_common(key: str) -> None:
    """Let go of it."""
    with _LOCK:
        _UNPACKED.pop(key, None)


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
        self.shared: Shared | None = None
        self.streams: Any = None  # who may send events ahead of the result
        self.around: Mapping[str, Any] = {}  # what calls find around them besides; see ``Surroundings``
        self.thread = 0
        self.remote = False
        self.slow = False  # whether its items take so long that it is worth asking before each whether to go on
        self.suspect = False  # whether its one item may have killed a worker

    def __call__(self, driver: Driver | None = None) -> BlockResult:
        """Run the block here.

        Args:
            driver: Who makes the block's calls, for engines that run nodes of one item at the same time; called in this
                thread. By default they are made one after the other.

        Returns:
            What became of the block. Exceptions of nodes are inside; they are not raised here.
        """
        common, job = self.common, self.common.job
        if (
            driver is None
            and job.simple
            and not self.slow
            and common.on_error == "raise"
            and common.is_map
            and not (self.around and job.inner)
        ):
            return self._fast({**common.constants, **self.columns})
        here = self.thread == threading.get_ident()
        with self.recorded(live=here and self.tell is not None) as recorder:
            ours = self.coroutines is not None and (here or self.coroutines.at_home)
            block = self.block(recorder)
            with surroundings(self.coroutines if ours else None, common.carrier, **self.around):
                result = (driver or drive)(block)
        return self.over(block, result, recorder)

    @contextlib.contextmanager
    def recorded(self, *, live: bool) -> Iterator[events.Recorder | None]:
        """Give what keeps the block's events while it runs; ``None`` where they are told at once."""
        recorder = None if live else events.Recorder()
        if recorder is None or self.streams is None:
            yield recorder
            return
        self.streams.begin(self.index, recorder)
        try:
            yield recorder
        finally:
            self.streams.end(recorder)

    def block(self, recorder: events.Recorder | None) -> Block:
        """Return the block, ready to be driven.

        Args:
            recorder: What keeps its events; ``None`` where they are told at once.
        """
        common = self.common
        return Block(
            common.job,
            self.size,
            {**common.constants, **self.columns},
            common.mapped,
            on_error=common.on_error,
            tell=self.tell if recorder is None else recorder,
            first=self.first,
            outer=common.outer,
            is_map=common.is_map,
            remote=self.remote,
            shared=self.shared,
            lookup=common.looked_up(),
            mode=common.mode,
        )

    def over(self, block: Block, result: BlockResult, recorder: events.Recorder | None) -> BlockResult:
        """Return what became of the block, as its run takes it."""
        block.let_go()
        result.index = self.index
        self._leaving(result)
        if recorder is not None and (recorder.rows or recorder.sent):
            result.recorded = recorder
        return result

    def halves(self) -> tuple[Task, Task]:
        """Return two tasks for half of the items each."""
        middle = self.size // 2
        parts = []
        for start, end in ((0, middle), (middle, self.size)):
            columns = {name: column[start:end] for name, column in self.columns.items()}
            part = Task(self.common, self.index, self.first + start, end - start, columns)
            part.tell, part.coroutines, part.shared, part.streams = self.tell, self.coroutines, self.shared, self.streams
            part.around, part.thread, part.slow = self.around, self.thread, self.slow
            parts.append(part)
        return parts[0], parts[1]

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

    def parts(self) -> tuple[int, int, int, bytes]:
        """Return what it does not share with others: its number, its first item, its size, and its columns as bytes.

        Raises:
            ResultTransferError: If an item cannot travel.
        """
        import cloudpickle

        self.common.packed()
        try:
            with by_value(self.common.hidden):
                return self.index, self.first, self.size, cloudpickle.dumps(dict(self.columns))
        except Exception as error:
            raise self._stuck(error) from error

    def _stuck(self, error: Exception) -> ResultTransferError:
        """Say which value of which item cannot travel."""
        where, reason = "an item", error
        for name, column in self.columns.items():
            for item, value in enumerate(column):
                try:
                    pack("part", value)
                except Exception as found:  # noqa: BLE001 - whatever it is, it is why this value stays
                    where, reason = f"input '{name}' of item {self.first + item}: {picture(value)}", found
                    break
        msg = (
            f"{where} cannot be sent to another process: {type(reason).__name__}: {reason}\n"
            f"  fix: make it where it is used, or run on an engine that shares memory"
        )
        return ResultTransferError(msg)

    def __reduce__(self) -> tuple[Any, ...]:
        return (_unpacked_task, (self.common.key, self.common.packed(), *self.parts()))

    def __repr__(self) -> str:
        return f"<Task {self.common.job.pipeline} block {self.index}: {self.size} items>"


def _unpacked_task(key: str, data: bytes, index: int, first: int, size: int, columns: bytes) -> Task:
    import pickle

    task = Task(unpacked_common(key, lambda: data), index, first, size, pickle.loads(columns))  # noqa: S301 - packed above
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


def again_elsewhere(data: bytes) -> Any:
    """Run a packed task once more in a process of its own, whatever that does to the process.

    Returns:
        The outputs of its first item.

    Raises:
        WorkerLostError: If the process ends without a result.
        Exception: What a node raises.
    """
    import os
    import subprocess
    import sys
    import tempfile
    from pathlib import Path

    from hypernodes.errors import WorkerLostError

    with tempfile.TemporaryDirectory() as folder:
        task, out = Path(folder, "task"), Path(folder, "out")
        task.write_bytes(data)
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, "-m", "hypernodes.worker", str(task), str(out)]
        done = subprocess.run(command, check=False, env=environment)  # noqa: S603 - this interpreter
        if not out.exists():
            msg = f"the process ended with {ending(done.returncode)}"
            raise WorkerLostError(msg)
        result = BlockResult.from_bytes(out.read_bytes())
    if result.failures:
        raise result.failures[0].error
    names = [name for name, _ in Task.from_bytes(data).common.job.program.outputs]
    return dict(zip(names, (column[0] for column in result.columns), strict=True))


def ending(code: int | None) -> str:
    """Say how a process ended."""
    import signal

    if code is None:
        return "no exit status"
    if code >= 0:
        return f"exit status {code}"
    try:
        return f"signal {-code} ({signal.Signals(-code).name})"
    except ValueError:
        return f"signal {-code}"
