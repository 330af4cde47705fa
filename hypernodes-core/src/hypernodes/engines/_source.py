"""Where an engine takes its tasks from: made when they are asked for, also from items that are slow to come."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Iterator
from time import sleep
from typing import TYPE_CHECKING, Any, Final

from hypernodes._items import Items

if TYPE_CHECKING:
    from hypernodes.engines.task import Task

NAP_S: Final = 0.005


class Source:
    """Tasks for an engine, one by one.

    Args:
        tasks: Makes them; gives ``None`` where the next items are not there yet.
    """

    def __init__(self, tasks: Iterator[Task | None]) -> None:
        self._tasks = tasks

    def poll(self) -> Task | None:
        """Return the next task, or ``None`` where its items are not there yet.

        Raises:
            StopIteration: There are no more.
        """
        return next(self._tasks)

    def __iter__(self) -> Source:
        return self

    def __next__(self) -> Task:
        while (task := next(self._tasks)) is None:
            sleep(NAP_S)
        return task

    def close(self) -> None:
        """Make no more."""
        close = getattr(self._tasks, "close", None)
        if close is not None:
            close()


class Beside:
    """Takes items in a thread of its own, so that whoever waits for slow ones can see to other things; as many as asked, no more.

    Args:
        items: The items.
        patience: Seconds after which what has come is given out.
    """

    def __init__(self, items: Items, patience: float | None) -> None:
        self._items = items
        self._patience = patience
        self._taking: threading.Thread | None = None
        self._box: list[Any] = []

    def take(self, size: int) -> list[list[Any]] | None:
        """Return up to so many items as columns; ``None`` while they are on their way.

        Raises:
            Exception: What the source of items raises.
        """
        if self._taking is None:
            self._box = []
            context = contextvars.copy_context()
            self._taking = threading.Thread(target=context.run, args=(self._take, size), name="hypernodes-items", daemon=True)
            self._taking.start()
            self._taking.join(NAP_S)  # most sources have something at hand
        if self._taking.is_alive():
            return None
        self._taking = None
        found, error = self._box
        if error is not None:
            raise error
        columns: list[list[Any]] = found
        return columns

    def _take(self, size: int) -> None:
        try:
            self._box += [self._items.take(size, self._patience), None]
        except BaseException as error:  # noqa: BLE001 - handed to the thread that asked
            self._box += [None, error]
