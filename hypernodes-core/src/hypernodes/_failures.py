"""Failed calls: what is kept of them, and how exceptions travel between processes."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from hypernodes._messages import picture
from hypernodes.errors import HyperNodesError, RemoteError

MESSAGE_LIMIT: Final = 200  # characters of the message of an error that summaries show


class NodeFailure:
    """One item that a node could not make, under ``on_error="return"``.

    It stands in every output that depends on it.

    Attributes:
        node: The node's id, such as ``"index/embed"``.
        pipeline: Name of the pipeline that was called.
        item: The item's index in the outermost map around the call: the map that was called, or inside a ``run`` the
            mapped pipeline that the node stands in; ``None`` outside a map.
        item_path: Indices of all maps around the call, outermost first.
        label: The item's label, where the map was given ``label=``.
        inputs: A short picture of each argument.
        error: The original exception.
        attempts: How many times the node was tried.
        together: How many items the failed call held: more than one where a batch failed as a whole.
    """

    def __init__(
        self,
        node: str,
        pipeline: str,
        item_path: tuple[int, ...],
        inputs: Mapping[str, str],
        error: BaseException,
        attempts: int = 1,
        label: str | None = None,
        call: Callable[[], Any] | None = None,
        together: int = 1,
    ) -> None:
        self.node = node
        self.pipeline = pipeline
        self.item_path = item_path
        self.inputs = dict(inputs)
        self.error = error
        self.attempts = attempts
        self.label = label
        self.together = together
        self._call = call

    @property
    def item(self) -> int | None:
        """The item's index in the outermost map around the call; ``None`` outside a map."""
        return self.item_path[0] if self.item_path else None

    def reproduce(self) -> Any:
        """Call the node again on the same arguments, in this thread, without retries or timeout.

        Returns:
            What the node returns, should it succeed this time.

        Raises:
            HyperNodesError: If the arguments did not come back from the worker that held them.
            Exception: What the node raises.
        """
        if self._call is None:
            msg = f"the arguments of node '{self.node}' stayed in the worker; run the pipeline on that item alone to reproduce it"
            raise HyperNodesError(msg)
        return self._call()

    def note(self, advice: str = "") -> str:
        """Return what is added to the exception when the run raises it."""
        item = ""
        if self.item_path:
            item = f", item {self.item_path[0]}" + "".join(f" / {index}" for index in self.item_path[1:])
            item += f" ({self.label})" if self.label is not None else ""
            item += f" or one of the {self.together - 1:,} after it in its batch" if self.together > 1 else ""
        tried = f", tried {self.attempts} times" if self.attempts > 1 else ""
        lines = [f"in node '{self.node}' of pipeline '{self.pipeline}'{item}{tried}"]
        if self.inputs:
            lines.append("  with " + ", ".join(f"{name}={shown}" for name, shown in self.inputs.items()))
        if advice:
            lines.append(f"  {advice}")
        return "\n".join(lines)

    def annotate(self, advice: str = "") -> None:
        """Add the note to the exception, unless it is there already: one exception may be raised many times."""
        note = self.note(advice)
        if note not in getattr(self.error, "__notes__", ()):
            self.error.add_note(note)

    def __repr__(self) -> str:
        item = f" item {self.item}" if self.item is not None else ""
        return f"<NodeFailure {self.node}{item}: {type(self.error).__name__}: {picture(str(self.error))}>"

    def __reduce__(self) -> tuple[Any, ...]:
        call = _travelling(self._call)
        parts = (
            self.node,
            self.pipeline,
            self.item_path,
            self.inputs,
            pack_error(self.error),
            self.attempts,
            self.label,
            call,
            self.together,
        )
        return (_unpacked_failure, parts)


def grouped(failures: Iterable[NodeFailure], most: int = 5) -> list[str]:
    """Return how many failures there are of each kind and where the first of them is, the most frequent kind first."""
    kinds: dict[tuple[str, str], list[NodeFailure]] = {}
    for failure in failures:
        kinds.setdefault((type(failure.error).__name__, failure.node), []).append(failure)
    lines = []
    for (kind, node), found in sorted(kinds.items(), key=lambda pair: -len(pair[1])):
        first = found[0]
        where = "" if first.item is None else f"item {first.item}" + (f" ({first.label}): " if first.label is not None else ": ")
        lines.append(f"{len(found):,} × {kind} in '{node}', first {where}{_shortened(str(first.error))}")
    return lines if len(lines) <= most else [*lines[:most], f"and {len(lines) - most:,} kinds more"]


def _shortened(text: str) -> str:
    """Return the first line of a message, or what fits a line of it."""
    line = text.strip().partition("\n")[0]
    return repr(line if len(line) <= MESSAGE_LIMIT else f"{line[: MESSAGE_LIMIT - 1]}…")


def _travelling(call: Callable[[], Any] | None) -> Callable[[], Any] | None:
    """Return a call that can be pickled and does the same, or ``None`` where function or arguments cannot travel."""
    import cloudpickle  # a decorated function is not found under its own name, where a node stands

    if call is None or (isinstance(call, functools.partial) and call.func is _call_packed):
        return call
    try:
        return functools.partial(_call_packed, cloudpickle.dumps(call))
    except Exception:  # noqa: BLE001 - whatever cannot travel stays behind
        return None


def _call_packed(data: bytes) -> Any:
    import pickle  # a failure that travels is rare; importing it is not free

    return pickle.loads(data)()  # noqa: S301 - made by _travelling in a process of this run


def _unpacked_failure(
    node: str,
    pipeline: str,
    item_path: tuple[int, ...],
    inputs: Mapping[str, str],
    error: tuple[Any, ...],
    attempts: int,
    label: str | None,
    call: Callable[[], Any] | None,
    together: int,
) -> NodeFailure:
    return NodeFailure(node, pipeline, item_path, inputs, unpack_error(error), attempts, label, call, together)


def pictures(names: tuple[str, ...], values: Any) -> dict[str, str]:
    """Return a short picture of each argument that was given."""
    return {name: picture(value) for name, value in zip(names, values, strict=False) if value is not inspect.Parameter.empty}


class RemoteTraceback(Exception):  # noqa: N818 - it is the cause of an error, shown as a traceback
    """The traceback of the process in which an exception was raised, as the cause of the exception here."""

    def __str__(self) -> str:
        return f'\n"""\n{self.args[0]}"""'


def pack_error(error: BaseException) -> tuple[str, str, str, bytes | None]:
    """Return (type, text, formatted traceback, pickle if it survives the way there and back)."""
    import traceback  # as above

    kind = f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins.")
    cause = error.__cause__
    formatted = str(cause.args[0]) if isinstance(cause, RemoteTraceback) else "".join(traceback.format_exception(error))
    return kind, str(error), formatted, _survivor(error)


def unpack_error(packed: tuple[str, str, str, bytes | None]) -> BaseException:
    """Return the original exception where it travelled, else a ``RemoteError`` that tells of it."""
    kind, text, formatted, data = packed
    error: BaseException | None = None
    if data is not None:
        try:
            error = _loads(data)
        except Exception:  # noqa: BLE001 - a class that cannot be found here
            error = None
    if error is None:
        error = RemoteError(f"{kind}: {text}")
    error.__cause__ = RemoteTraceback(formatted)
    return error


def _survivor(error: BaseException) -> bytes | None:
    """Return a pickle that survives the way there and back, if there is one.

    Many exceptions pickle and then cannot be made again, because ``__init__`` wants other arguments than
    ``args``; those travel as their parts.
    """
    import cloudpickle  # classes of __main__ and of functions travel too

    for travels in (error, _Parts(error)):
        try:
            data: bytes = cloudpickle.dumps(travels)
            if type(_loads(data)).__qualname__ == type(error).__qualname__:
                return data
        except Exception:  # noqa: BLE001, S112 - any exception may refuse to be pickled; its text travels in its place
            continue
    return None


class _Parts:
    """Pickles an exception as its class, arguments and attributes; it comes back without calling ``__init__``."""

    def __init__(self, error: BaseException) -> None:
        self._parts = (type(error), error.args, dict(error.__dict__))

    def __reduce__(self) -> tuple[Any, ...]:
        return (_from_parts, self._parts)


def _from_parts(kind: type[BaseException], args: tuple[Any, ...], attributes: dict[str, Any]) -> BaseException:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(attributes)
    return error


def _loads(data: bytes) -> BaseException:
    import pickle

    error: BaseException = pickle.loads(data)  # noqa: S301 - made by pack_error in a process of this run
    return error
