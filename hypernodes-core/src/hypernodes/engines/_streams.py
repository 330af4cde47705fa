"""Events that arrive while blocks still run: told on the driver's thread, each once, before the rest that comes with the result."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from time import perf_counter, sleep
from typing import Any, Final

from hypernodes import events
from hypernodes._failures import NodeFailure
from hypernodes.errors import RunEndedError
from hypernodes.events import EPOCH, Recorder

PATIENCE_S: Final = 5.0  # for events that were sent ahead and come another way than the result
_SAME: Final = slice(0, 5)  # of a row: kind, key, place, item, outer; the attempt follows the time
_ENDS: Final = {  # of what started: how it ends where the run does
    events.NODE_START: (events.NODE_END, events.ERROR),
    events.NESTED_START: (events.NESTED_END,),
    events.PIPELINE_START: (events.PIPELINE_END,),
    events.ITEM_START: (events.ITEM_END,),
    events.MAP_START: (events.MAP_END,),
}


class Streams:
    """Takes the events of blocks that still run.

    Args:
        replay: Tells recorded events.
    """

    def __init__(self, replay: Callable[[Recorder], None]) -> None:
        self._replay = replay
        self._here: dict[int, tuple[int, Recorder]] = {}
        self._open: dict[int, list[tuple[Any, ...]]] = {}  # rows told ahead, by block
        self._kept: dict[int, Recorder] = {}  # recorders of blocks of this process whose results were not taken yet
        self._arrived: SimpleQueue[tuple[int, Recorder]] = SimpleQueue()
        self._told: dict[int, set[tuple[Any, ...]]] = {}  # of blocks some of whose events came ahead
        self._counts: dict[int, int] = {}
        self._lock = threading.Lock()

    # -- called in workers of this process --------------------------------------------------------------------------

    def begin(self, index: int, recorder: Recorder) -> None:
        """Take the events of a block that runs in another thread."""
        self._kept[index] = recorder
        self._here[id(recorder)] = (index, recorder)

    def end(self, recorder: Recorder) -> None:
        """Leave the rest to its result."""
        with self._lock:
            self._here.pop(id(recorder), None)

    def arrive(self, index: int, recorder: Recorder) -> None:
        """Take events that another process sent."""
        self._arrived.put((index, recorder))

    # -- called by the driver ---------------------------------------------------------------------------------------

    def tell(self) -> None:
        """Tell what is there."""
        for index, recorder in list(self._here.values()):
            with self._lock:
                part = recorder.ahead() if id(recorder) in self._here else None
            if part is not None:
                self._tell_once(index, part)
        while True:
            try:
                index, part = self._arrived.get_nowait()
            except Empty:
                return
            self._counts[index] = self._counts.get(index, 0) + len(part.rows)
            self._tell_once(index, part)

    def rest(self, index: int, recorder: Recorder) -> None:
        """Tell what came with the result of a block, after all that was sent ahead."""
        if recorder.sent:
            self.tell()
            end = perf_counter() + PATIENCE_S
            while self._counts.get(index, recorder.sent) < recorder.sent and perf_counter() < end:
                sleep(0.002)
                self.tell()
        if index in self._told:
            self._tell_once(index, recorder)
            del self._told[index], self._open[index]
            self._counts.pop(index, None)
        else:
            self._replay(recorder)
        self._kept.pop(index, None)

    def close(self) -> None:
        """When a run ends early: tell the rest of what was told in part, and an end for every start that has none."""
        self.tell()
        for index in sorted(self._told):
            recorder = self._kept.get(index)
            part = None if recorder is None else recorder.ahead()  # a thread that nobody waits for any more may still add to it
            if part is not None:
                self._tell_once(index, part)
            ends = Recorder()
            ends.rows = _missing_ends(self._open[index])
            self._replay(ends)
        self._told.clear()

    def _tell_once(self, index: int, recorder: Recorder) -> None:
        """Leave out what was told of a block before its worker died."""
        told, before = self._told.setdefault(index, set()), self._open.setdefault(index, [])
        rows = []
        for row in recorder.rows:
            which = (*row[_SAME], row[6])
            if which not in told:
                told.add(which)
                rows.append(row)
        before += rows
        recorder.rows = rows
        self._replay(recorder)


def _missing_ends(rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Return an end for each start among some events that has none, the last start first."""
    ended = {(kind, *where) for kind, *where in ((row[0], *row[1:5], row[6]) for row in rows)}
    now = perf_counter() + EPOCH
    found = []
    for kind, key, place, item, outer, time, attempt, *_ in reversed(rows):
        if kind not in _ENDS or any((end, key, place, item, outer, attempt) in ended for end in _ENDS[kind]):
            continue
        first: Any = now - time
        second = None
        if kind == events.NODE_START:
            error = RunEndedError("the run ended before the node did")
            first = NodeFailure("", "", (*outer, item) if item is not None else outer, {}, error, attempt)
        elif kind == events.PIPELINE_START:
            first, second = {}, now - time
        found.append((_ENDS[kind][-1], key, place, item, outer, now, attempt, first, second, None))
    return found
