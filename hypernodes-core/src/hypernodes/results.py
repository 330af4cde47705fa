"""What a run returns: dictionaries and lists that also know how they came about."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs

from hypernodes._failures import NodeFailure, grouped
from hypernodes._messages import counted

if TYPE_CHECKING:
    from hypernodes._explain import Explanation

AGAIN = "run only those again: pipeline.map({{**inputs, **{result}.failed_inputs}}, map_over=[{names}])"
_COUNT = itertools.count()


def new_run_id() -> str:
    """Return a name for a run that sorts by start time and is unique across processes."""
    return f"{time.time_ns() // 1000:014x}-{os.getpid():x}-{next(_COUNT):x}-{os.urandom(3).hex()}"


@attrs.frozen
class NodeStats:
    """What one node did in a run.

    Attributes:
        cached: Results found in the cache.
        ran: Calls that returned (items, for a batch twin).
        failed: Calls that failed for good.
        seconds: Time spent in the node's function, over all items; ``None`` where nobody measured: maps that run
            as generated code measure the whole only.
        bytes: Size of the results as stored in the cache; 0 without one.
    """

    cached: int = 0
    ran: int = 0
    failed: int = 0
    seconds: float | None = 0.0
    bytes: int = 0


OutputNames: TypeAlias = "str | Sequence[str] | None"  # the outputs that a call asks for; all by default
Tally: TypeAlias = dict[str, list[Any]]  # node id -> [cached, ran, failed, seconds, bytes]


def add_tally(total: Tally, part: Mapping[str, Sequence[Any]]) -> None:
    """Add one block's counts to those of the run."""
    for node, counts in part.items():
        row = total.get(node)
        if row is None:
            total[node] = list(counts)
            continue
        for position, count in enumerate(counts):
            if count is None or row[position] is None:
                row[position] = None
            else:
                row[position] += count


class RunStats(dict[str, NodeStats]):
    """Statistics of a run: node id to ``NodeStats``, in execution order.

    Attributes:
        seconds: Wall-clock time of the run.
    """

    def __init__(self, nodes: Mapping[str, NodeStats], seconds: float) -> None:
        super().__init__(nodes)
        self.seconds = seconds

    @property
    def cached(self) -> int:
        """Results found in the cache, over all nodes."""
        return sum(entry.cached for entry in self.values())

    @property
    def ran(self) -> int:
        """Calls that returned, over all nodes."""
        return sum(entry.ran for entry in self.values())

    @property
    def failed(self) -> int:
        """Calls that failed, over all nodes."""
        return sum(entry.failed for entry in self.values())

    def __str__(self) -> str:
        width = max([len(name) for name in self] + [4])
        lines = [f"{'node':<{width}}  cached      ran   failed  seconds"]
        for name, entry in self.items():
            seconds = "–" if entry.seconds is None else f"{entry.seconds:.3f}"
            lines.append(f"{name:<{width}} {entry.cached:>7,}  {entry.ran:>7,}  {entry.failed:>7,}  {seconds:>7}")
        lines.append(f"{'all':<{width}} {self.cached:>7,}  {self.ran:>7,}  {self.failed:>7,}  {self.seconds:>7.3f}")
        return "\n".join(lines)

    def __reduce__(self) -> tuple[Any, ...]:
        return (RunStats, (dict(self), self.seconds))


class Record:
    """How a result came about; its statistics are worked out when somebody asks.

    Attributes:
        pipeline: Name of the pipeline.
        seconds: Wall-clock time of the run.
        tally: Counts per node, or a function that works them out.
        inputs: The inputs of a run, or a function giving the mapped values of each item.
        failures: Every failed item, in order.
        columns: Names of the mapped inputs and of the outputs of a map.
    """

    __slots__ = ("_run_id", "asked", "columns", "failures", "inputs", "pipeline", "seconds", "tally")

    def __init__(
        self,
        pipeline: str,
        seconds: float,
        tally: Tally | Callable[[], Tally],
        inputs: Any,
        failures: tuple[NodeFailure, ...] = (),
        run_id: str | None = None,
        columns: tuple[str, ...] = (),
    ) -> None:
        self.columns = columns
        self.asked: Callable[[], Mapping[str, Any]] = dict  # what the run knew of its caches; stays behind when the result travels
        self.pipeline = pipeline
        self.seconds = seconds
        self.tally = tally
        self.inputs = inputs
        self.failures = failures
        self._run_id = run_id

    @property
    def run_id(self) -> str:
        """The run's id, made when first asked for."""
        if self._run_id is None:
            self._run_id = new_run_id()
        return self._run_id

    def explain(self) -> Any:
        """Why nodes ran."""
        from hypernodes._explain import of_run

        return of_run(self.asked(), self.pipeline, self.run_id, {node: stats.ran for node, stats in self.stats().items()})

    def stats(self) -> RunStats:
        """The counts as statistics."""
        tally = self.tally() if callable(self.tally) else self.tally
        self.tally = tally
        return RunStats({node: NodeStats(*counts) for node, counts in tally.items()}, self.seconds)

    def __reduce__(self) -> tuple[Any, ...]:
        tally = self.tally() if callable(self.tally) else self.tally
        inputs = self.inputs() if callable(self.inputs) else self.inputs
        return (Record, (self.pipeline, self.seconds, tally, inputs, self.failures, self.run_id, self.columns))


def _no_tally() -> Tally:
    return {}


class RunResult(dict[str, Any]):
    """The outputs of one run, by name, and how they came about.

    Equal to a plain dictionary of the same outputs.

    Example:
        >>> from hypernodes import Pipeline, node
        >>> @node(output_name="doubled")
        ... def double(x: int) -> int:
        ...     return 2 * x
        >>> result = Pipeline([double]).run({"x": 4})
        >>> result["doubled"], result.stats["double"].ran
        (8, 1)
    """

    __slots__ = ("_record",)

    def __init__(self, outputs: Mapping[str, Any] | Iterable[tuple[str, Any]] = (), record: Record | None = None) -> None:
        super().__init__(outputs)
        self._record = record if record is not None else Record("", 0.0, _no_tally, {})

    @property
    def run_id(self) -> str:
        """Unique, and sortable by start time."""
        return self._record.run_id

    @property
    def stats(self) -> RunStats:
        """Per node: how often it was cached, ran and failed, and for how long it ran."""
        return self._record.stats()

    @property
    def inputs(self) -> dict[str, Any]:
        """The inputs of this run, as given."""
        return dict(self._record.inputs)

    @property
    def failures(self) -> tuple[NodeFailure, ...]:
        """Failures inside nested maps that were told to return them."""
        return self._record.failures

    @property
    def ok(self) -> bool:
        """Whether nothing failed."""
        return not self._record.failures

    def explain(self) -> Explanation:
        """Return why nodes ran: what differed from the nearest earlier result; one ``Reason`` per result that was made.

        Empty where nothing ran, where there is no cache, and after the result has travelled to another process.
        """
        explanation: Explanation = self._record.explain()
        return explanation

    def __reduce__(self) -> tuple[Any, ...]:
        return (RunResult, (dict(self), self._record))

    def copy(self) -> RunResult:
        """Return a shallow copy."""
        return RunResult(self, self._record)


class MapResult(list[dict[str, Any]]):
    """The outputs of each item, in the order of the items, and how they came about.

    Equal to a plain list of dictionaries with the same outputs.
    """

    def __init__(self, rows: Iterable[dict[str, Any]] = (), record: Record | None = None) -> None:
        super().__init__(rows)
        self._record = record if record is not None else Record("", 0.0, _no_tally, list)

    @property
    def run_id(self) -> str:
        """Unique, and sortable by start time."""
        return self._record.run_id

    @property
    def stats(self) -> RunStats:
        """Per node: how often it was cached, ran and failed, and for how long it ran."""
        return self._record.stats()

    @property
    def inputs(self) -> list[dict[str, Any]]:
        """The mapped values of each item."""
        if callable(self._record.inputs):
            self._record.inputs = self._record.inputs()
        rows: list[dict[str, Any]] = self._record.inputs
        return rows

    @property
    def failures(self) -> tuple[NodeFailure, ...]:
        """Every failed item's ``NodeFailure``, in order; one for each node that failed."""
        return self._record.failures

    @property
    def failed_inputs(self) -> dict[str, list[Any]]:
        """The mapped values of the items that failed, as inputs of a map over those only.

        Example:
            >>> from hypernodes import Pipeline, node
            >>> @node(output_name="inverse")
            ... def invert(x: float) -> float:
            ...     return 1 / x
            >>> pipeline = Pipeline([invert])
            >>> result = pipeline.map({"x": [1, 0, 2]}, map_over="x", on_error="return")
            >>> pipeline.map(result.failed_inputs, map_over="x", on_error="return").ok
            False
        """
        items = sorted({failure.item for failure in self.failures if failure.item is not None})
        return columns_of(list(self._record.columns), [self.inputs[item] for item in items])

    @property
    def ok(self) -> bool:
        """Whether nothing failed."""
        return not self._record.failures

    def summary(self) -> str:
        """Say in a few lines how many items were made, how many failed, why, and how to run only those again."""
        failed = {failure.item for failure in self.failures}
        lines = [f"{self._record.pipeline}: {counted(len(self), 'item')} in {self._record.seconds:.3g} s, {len(failed):,} failed"]
        lines += [f"  {line}" for line in grouped(self.failures)]
        if failed:
            lines.append(f"  {AGAIN.format(result='result', names=', '.join(map(repr, self.failed_inputs)))}")
        return "\n".join(lines)

    def explain(self) -> Explanation:
        """Return why nodes ran: what differed from the nearest earlier result; one ``Reason`` per result that was made.

        Empty where nothing ran, where there is no cache, and after the result has travelled to another process.
        """
        explanation: Explanation = self._record.explain()
        return explanation

    def to_pandas(self) -> Any:
        """Return a ``pandas.DataFrame``: mapped inputs and outputs as columns, one row per item.

        Raises:
            ImportError: If pandas is not installed.
        """
        import pandas as pd

        rows = [{**given, **row} for given, row in zip(self.inputs, self, strict=True)]
        return pd.DataFrame(rows) if rows else pd.DataFrame(columns=list(self._record.columns))

    def __reduce__(self) -> tuple[Any, ...]:
        return (MapResult, (list(self), self._record))

    def copy(self) -> MapResult:
        """Return a shallow copy."""
        return MapResult(self, self._record)


def columns_of(names: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Turn mapped values of items into one list per mapped input."""
    return {name: [row[name] for row in rows] for name in names if rows and name in rows[0]}


def rows_of(names: Sequence[str], columns: Sequence[Sequence[Any]], size: int) -> list[dict[str, Any]]:
    """Turn columns of outputs into one dictionary per item."""
    if not names:
        return [{} for _ in range(size)]
    return _row_maker(tuple(names))(*columns)


_ROW_MAKERS: dict[tuple[str, ...], Callable[..., list[dict[str, Any]]]] = {}


def _row_maker(names: tuple[str, ...]) -> Callable[..., list[dict[str, Any]]]:
    """Return a function that zips columns into dictionaries; a display is three times as fast as ``dict(zip())``."""
    made = _ROW_MAKERS.get(names)
    if made is None:
        if len(_ROW_MAKERS) > 256:  # noqa: PLR2004 - forget them rather than grow without bound
            _ROW_MAKERS.clear()
        columns = [f"c{i}" for i in range(len(names))]
        cells = [f"v{i}" for i in range(len(names))]
        display = ", ".join(f"{name!r}: {cell}" for name, cell in zip(names, cells, strict=True))
        source = columns[0] if len(names) == 1 else f"zip({', '.join(columns)})"
        text = f"lambda {', '.join(columns)}: [{{{display}}} for {', '.join(cells)} in {source}]"
        made = _ROW_MAKERS[names] = eval(text)  # noqa: S307 - built from quoted names and numbers alone
    return made
