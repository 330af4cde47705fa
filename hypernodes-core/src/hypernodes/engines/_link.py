"""The way back from workers on this host to the run that they work for: events, limits, claims, lookups in caches that stay here.

A ``Hub`` listens in the driver's process; a ``Link`` is a worker's connection to it. Both ends are served by a thread, so
that neither a busy driver nor a busy worker holds the other up. A connection that ends is the death of the other side.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import threading
from collections.abc import Callable, Mapping
from multiprocessing.connection import Client, Connection, Listener
from time import perf_counter
from typing import Any, Final, TypeAlias

import attrs

from hypernodes._calls import portable
from hypernodes._limits import Shared
from hypernodes.events import Recorder

Handler: TypeAlias = "Callable[..., Any]"

WORKERS: Final = "workers"  # in place of a run: what concerns a pool of workers
STREAM_S: Final = 0.2  # how often events of blocks that are still running are sent on
_ENDED: Final = (EOFError, OSError)


@attrs.frozen
class Address:
    """Where a hub listens, and what opens its door; travels to workers of this host only."""

    place: Any
    key: bytes = attrs.field(repr=False)


class Hub:
    """Listens for the workers of this process's runs."""

    def __init__(self) -> None:
        key = os.urandom(32)
        self._listener = Listener(authkey=key, backlog=64)
        self.address = Address(self._listener.address, key)
        self._served: dict[str, Mapping[str, Handler]] = {}
        self._lines: set[Line] = set()
        self._lock = threading.Lock()
        self._closed = False
        threading.Thread(target=self._accept, name="hypernodes-hub", daemon=True).start()

    def serve(self, run: str, handlers: Mapping[str, Handler]) -> None:
        """Answer what the workers of a run ask; each handler is called with the ``Line`` that asks first."""
        with self._lock:
            self._served[run] = handlers

    def halt(self, run: str) -> None:
        """Ask workers to make no more calls for a run."""
        with self._lock:
            lines = list(self._lines)
        for line in lines:
            with contextlib.suppress(OSError):
                line.send(("halt", run))

    def leave(self, run: str) -> None:
        """Answer no more for a run."""
        with self._lock:
            self._served.pop(run, None)

    def handler(self, run: str, name: str) -> Handler | None:
        """Return who answers; ``None`` once the run is over."""
        with self._lock:
            return self._served.get(run, {}).get(name)

    def lost(self, line: Line) -> None:
        """Give back what a worker held that is gone."""
        with self._lock:
            self._lines.discard(line)
            served = list(self._served.values())
        for handlers in served:
            if "gone" in handlers:
                handlers["gone"](line)

    def close(self) -> None:
        """Listen no more, and hang up."""
        self._closed = True
        with contextlib.suppress(OSError, AttributeError), socket.socket(socket.AF_UNIX) as caller:
            caller.connect(self.address.place)  # wakes whoever waits for a caller, and is not one
        with contextlib.suppress(OSError):
            self._listener.close()
        for line in list(self._lines):
            line.close()

    def _accept(self) -> None:
        while not self._closed:
            try:
                connection = self._listener.accept()
            except Exception:  # noqa: BLE001, S112 - a caller without the key, or one that hung up
                continue
            if self._closed:
                connection.close()
                return
            line = Line(connection, self)
            with self._lock:
                self._lines.add(line)
            line.start()


class Line:
    """A worker, as the driver sees it.

    Attributes:
        taken: Takes what is not for a run.
        timed: Called when there is a new clock.
        ended: Set once all that the worker sent was taken, and the worker is gone.
        mark: The node that the worker called last, where it says so.
        clocks: Calls of the worker's that must be over at some moment (of ``perf_counter``): node, limit, moment.
    """

    def __init__(self, connection: Any, hub: Hub) -> None:
        self._connection = connection
        self._hub = hub
        self._lock = threading.Lock()
        self.taken: Callable[[tuple[Any, ...]], None] | None = None
        self.timed: Callable[[], None] | None = None
        self.ended = threading.Event()
        self.mark = ""
        self.clocks: dict[int, tuple[str, float, float]] = {}

    def start(self) -> None:
        """Serve it in a thread."""
        threading.Thread(target=self._serve, name="hypernodes-line", daemon=True).start()

    def send(self, message: tuple[Any, ...]) -> None:
        """Send something.

        Raises:
            OSError: The worker is gone.
        """
        with self._lock:
            self._connection.send(message)

    def close(self) -> None:
        """Hang up."""
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(self._connection.fileno())) as end:
            end.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits for what comes, which closing does not
        with contextlib.suppress(OSError):
            self._connection.close()

    def _serve(self) -> None:
        try:
            while True:
                message = self._connection.recv()
                kind = message[0]
                if kind == "hello":
                    self._answered(WORKERS, "hello", message[1:])
                elif kind == "cast":
                    self._answered(*message[2:])
                elif kind == "call":
                    _, number, run, name, args = message
                    if name.startswith("wait_"):
                        threading.Thread(target=self._reply, args=(number, run, name, args), name="hypernodes-wait", daemon=True).start()
                    else:
                        self._reply(number, run, name, args)
                elif kind == "clock":
                    _, token, node, limit = message
                    if node is None:
                        self.clocks.pop(token, None)
                    else:
                        self.clocks[token] = (node, limit, perf_counter() + limit)
                        if self.timed is not None:
                            self.timed()
                elif kind == "mark":
                    self.mark = message[1]
                elif self.taken is not None:
                    self.taken(message)
        except _ENDED:
            pass
        finally:
            self.close()
            self._hub.lost(self)
            self.ended.set()

    def _answered(self, run: str, name: str, args: tuple[Any, ...]) -> Any:
        handler = self._hub.handler(run, name)
        return None if handler is None else handler(self, *args)

    def _reply(self, number: int, run: str, name: str, args: tuple[Any, ...]) -> None:
        try:
            value = self._answered(run, name, args)
        except Exception:  # noqa: BLE001 - the worker goes on without an answer
            value = None
        with contextlib.suppress(OSError):
            self.send(("reply", number, value))


class Link:
    """A worker's connection to the hub of its driver.

    Args:
        address: Where the hub is.
        name: What the worker calls itself.
        ended: Called when the driver is gone.
        taken: Called with what is neither an answer nor anything else that is known here.

    Attributes:
        address: Where the hub is.
        at_work: Of each run, what blocks at work share.
        closed: Whether the driver is gone.
    """

    def __init__(
        self, address: Address, name: str, ended: Callable[[], None], taken: Callable[[tuple[Any, ...]], None] | None = None
    ) -> None:
        self._connection: Connection = Client(address.place, authkey=address.key)
        self.address = address
        self._ended = ended
        self._taken = taken
        self._lock = threading.Lock()
        self._numbers = itertools.count()
        self._answers: dict[int, tuple[threading.Event, list[Any]]] = {}
        self._streams: dict[Any, tuple[str, int, Any]] = {}
        self._streaming: threading.Thread | None = None
        self.at_work: dict[str, list[Shared]] = {}
        self.closed = False
        self.send(("hello", name))
        threading.Thread(target=self._listen, name="hypernodes-link", daemon=True).start()

    def send(self, message: tuple[Any, ...]) -> None:
        """Send something."""
        with self._lock:
            self._connection.send(message)

    def cast(self, run: str, name: str, *args: Any) -> None:
        """Tell the driver something; nothing comes back."""
        with contextlib.suppress(*_ENDED):
            self.send(("cast", 0, run, name, args))

    def call(self, run: str, name: str, *args: Any) -> Any:
        """Ask the driver; ``None`` where it has no answer."""
        number = next(self._numbers)
        answered, box = self._answers[number] = (threading.Event(), [])
        try:
            self.send(("call", number, run, name, args))
        except _ENDED:
            self._answers.pop(number, None)
            return None
        answered.wait()
        return box[0] if box else None

    def _listen(self) -> None:
        try:
            while True:
                message = self._connection.recv()
                if message[0] == "reply":
                    waiting = self._answers.pop(message[1], None)
                    if waiting is not None:
                        waiting[1].append(message[2])
                        waiting[0].set()
                elif message[0] == "halt":
                    for shared in list(self.at_work.get(message[1], ())):
                        shared.stop()
                elif self._taken is not None:
                    self._taken(message)
        except _ENDED:
            pass
        finally:
            self.closed = True
            for answered, _ in list(self._answers.values()):
                answered.set()
            self._ended()

    # -- events of blocks that are still running --------------------------------------------------------------------

    def stream(self, run: str, index: int, recorder: Any) -> None:
        """Send the events of a block on while it runs."""
        self._streams[id(recorder)] = (run, index, recorder)
        if self._streaming is None:
            self._streaming = threading.Thread(target=self._send_on, name="hypernodes-events", daemon=True)
            self._streaming.start()

    def stop_streaming(self, recorder: Any) -> None:
        """Leave the rest of a block's events to its result."""
        with self._lock:
            self._streams.pop(id(recorder), None)

    def _send_on(self) -> None:
        from time import sleep

        while not self.closed:
            sleep(STREAM_S)
            for number, (run, index, recorder) in list(self._streams.items()):
                with self._lock:
                    if number not in self._streams:
                        continue
                    part = recorder.ahead()
                    if part is not None:
                        with contextlib.suppress(*_ENDED):
                            self._connection.send(("cast", 0, run, "events", (index, packed_events(part))))


def packed_events(recorder: Recorder) -> bytes:
    """Return events as bytes; what cannot travel is summed up."""
    import cloudpickle

    try:
        data: bytes = cloudpickle.dumps(recorder, protocol=5)
    except Exception:  # noqa: BLE001 - any value may refuse to be pickled
        data = cloudpickle.dumps(portable(recorder, {}), protocol=5)
    return data
