"""A worker process of this host: runs what it is sent, one thing after another, until nobody needs it any more."""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import pickle
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from queue import SimpleQueue
from time import perf_counter, sleep
from typing import Any, Final

from hypernodes._limits import Shared
from hypernodes._packing import arriving
from hypernodes.engines._far import FarClaims, FarLimits, FarStreams, working_for
from hypernodes.engines._link import Address, Link
from hypernodes.engines._nodes import Executors
from hypernodes.engines.task import Common, Task, forget_common, unpacked_common
from hypernodes.errors import ResultTransferError, TaskError

LAST_S: Final = 2.0  # seconds for what caches still hold back, when the process must go
_STATE: Final[dict[str, Any]] = {}
_LINKS: Final[dict[Any, Link]] = {}
_LOCK: Final = threading.Lock()
_TOKENS: Final = itertools.count()


def main(setup: Mapping[str, Any]) -> None:
    """Work for the driver that started this process.

    Args:
        setup: Where the driver is, and what this worker is called.
    """
    signal.signal(signal.SIGINT, _ignored)  # the driver decides; a handler, so that programs which nodes start do not inherit it
    inbox: SimpleQueue[tuple[Any, ...]] = SimpleQueue()
    _STATE["worker"] = True

    def taken(message: tuple[Any, ...]) -> None:
        if message[0] == "stop":
            leave()
        inbox.put(message)

    link = _STATE["link"] = Link(setup["address"], setup["name"], leave, taken)
    while True:
        kind, *rest = inbox.get()
        if kind == "end":
            break
        if kind == "forget":
            forget_common(rest[0])
        elif kind == "do":
            number, data = rest
            link.send(("done", number, *_done(data)))
    flush_caches()


def _ignored(number: int, frame: Any) -> None:
    pass


def _done(data: bytes) -> tuple[bool, bytes, bool]:
    """Call what was sent; return whether it went well, what came of it, and whether this process must be replaced."""
    import cloudpickle

    from hypernodes._drive import left_behind
    from hypernodes._failures import pack_error

    try:
        function, args = pickle.loads(data)  # noqa: S301 - from the driver that started this process
        return True, cloudpickle.dumps(function(*args), protocol=5), left_behind()
    except BaseException as error:  # noqa: BLE001 - the driver decides what becomes of it
        return False, pickle.dumps(pack_error(error)), left_behind()


def in_worker() -> bool:
    """Whether this process works for another one."""
    if _STATE.get("worker"):
        return True
    multiprocessing = sys.modules.get("multiprocessing")
    return multiprocessing is not None and multiprocessing.parent_process() is not None


def leave() -> None:
    """Write what caches hold back, and end this process whatever its threads do."""
    writer = threading.Thread(target=flush_caches, daemon=True)
    writer.start()
    writer.join(LAST_S)
    os._exit(0)


def flush_caches() -> None:
    """Write what the caches of this process hold back."""
    opened = sys.modules.get("hypernodes.cache.opened")
    if opened is not None:
        opened.flush_all()


def run_linked(address: Address, run: str, spec: tuple[Any, ...] | None, *parts: Any) -> bytes:
    """Run a block for a run of another process, and return the result as bytes.

    Args:
        address: Where that process listens.
        run: The run.
        spec: Kind and size of the executor of nodes; ``None`` where a node may kill this process, and is told of before it is called.
        parts: What the task does not share with others.
    """
    index, first, size, columns = parts
    link, common = _at_work(address, run)
    with arriving("an item", "in another process"):
        task = Task(common, index, first, size, pickle.loads(columns))  # noqa: S301 - from the driver of this run
    task.remote = True
    task.shared = shared = Shared(FarLimits(link, run, common.counted), FarClaims(link, run))
    task.streams = FarStreams(link, run) if any(common.job.wanted) else None
    task.around = {"watch": functools.partial(_watched, link)}
    link.at_work.setdefault(run, []).append(shared)
    try:
        result = task(_driver(spec, link))
    finally:
        link.at_work[run].remove(shared)
    for cache in () if common.lookup is None else common.lookup.kept_in():
        cache.publish()
    return result.to_bytes()


def run_call(address: Address, run: str, data: bytes, carrier: Mapping[str, str]) -> bytes:
    """Make one call for a run of another process, and return its outcome as bytes.

    Args:
        address: Where that process listens.
        run: The run.
        data: The call.
        carrier: Text that callbacks sent along.
    """
    import cloudpickle

    from hypernodes._drive import perform_here, surroundings
    from hypernodes._failures import pack_error
    from hypernodes._messages import picture
    from hypernodes.engines._pools import unpacked

    link, common = _at_work(address, run)
    with arriving("an argument", "in another process"):
        call = unpacked(data, common)
    with surroundings(carrier=carrier, watch=functools.partial(_watched, link)):
        value, error, began, seconds = perform_here(call, call.site)
    try:
        made: bytes = cloudpickle.dumps((value, None if error is None else pack_error(error), began, seconds), protocol=5)
    except Exception as stuck:  # noqa: BLE001 - any value may refuse to be pickled
        msg = (
            f"the result of node '{call.site.id}' cannot be sent back from its process: {picture(value)}: {type(stuck).__name__}: {stuck}\n"
            "  fix: return what pickles, or use a node_executor that shares memory"
        )
        made = cloudpickle.dumps((None, pack_error(ResultTransferError(msg)), began, seconds), protocol=5)
    return made


def _at_work(address: Address, run: str) -> tuple[Link, Common]:
    """Return the way to the process that this one works for just now, and what the tasks of the run have in common."""
    link = _link_to(address)
    common = unpacked_common(run, lambda: _program(link, run))
    working_for(link, run)
    return link, common


def _program(link: Link, run: str) -> bytes:
    found: bytes | None = link.call(run, "program")
    if found is None:
        msg = "the run that this belongs to is over"
        raise TaskError(msg)
    return found


def _link_to(address: Address) -> Link:
    own: Link | None = _STATE.get("link")
    if own is not None and own.address == address:
        return own
    with _LOCK:
        link = _LINKS.get(address)
        if link is None or link.closed:
            link = _LINKS[address] = Link(address, f"process {os.getpid()}", functools.partial(_orphaned, os.getppid()))
        return link


def _orphaned(parent: int) -> None:
    """Find out why the driver hung up: where it is dead, nobody will ever stop this process.

    The end of a process shows a moment after its connections are gone, and not everywhere in the same way: a sibling may hold
    what a pool watches its parent by.

    Args:
        parent: The parent of this process while the driver lived.
    """
    multiprocessing = sys.modules.get("multiprocessing")
    known = multiprocessing.parent_process() if multiprocessing is not None else None
    end = perf_counter() + LAST_S
    while perf_counter() < end:
        try:
            dead = known is not None and not known.is_alive()
        except (ValueError, OSError):  # what it is watched by is of another kind
            dead = False
        if dead or os.getppid() != parent:
            leave()
        sleep(0.05)


@contextlib.contextmanager
def _watched(link: Link, site: Any, limit: float) -> Iterator[None]:
    """Tell the driver when a call must be over: only from outside can a function be ended that never lets go of the interpreter."""
    token = next(_TOKENS)
    link.send(("clock", token, site.id, limit))
    try:
        yield
    finally:
        link.send(("clock", token, None, 0.0))


def _marked(link: Link, call: Any) -> Any:
    from hypernodes._drive import perform

    if call.attempt:  # what reads from a cache kills nobody
        link.send(("mark", call.site.id))
    return perform(call)


def _driver(spec: tuple[Any, ...] | None, link: Link) -> Callable[..., Any] | None:
    """Return who makes the calls of a block here, the same for all blocks."""
    if spec is None:
        from hypernodes._drive import drive

        return functools.partial(drive, call=functools.partial(_marked, link))
    known = _STATE.setdefault("drivers", {})
    if spec not in known:
        known[spec] = Executors(*spec).driver()
    found: Callable[..., Any] | None = known[spec]
    return found
