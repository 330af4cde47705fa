"""Tasks and results as bytes, with a header that says what they are and who may read them."""

from __future__ import annotations

import sys
from typing import Any

from hypernodes._version import __version__
from hypernodes.errors import TaskError

_MAGIC = b"hypernodes"


def pack(kind: str, value: Any) -> bytes:
    """Return a header and the pickled value; functions of ``__main__`` and closures travel by value."""
    import cloudpickle

    header = f" {kind} {__version__} {sys.version_info[0]}.{sys.version_info[1]}\n".encode()
    body: bytes = cloudpickle.dumps(value, protocol=5)
    return _MAGIC + header + body


def unpack(kind: str, data: bytes) -> Any:
    """Check the header, then unpickle.

    Raises:
        TaskError: If the bytes are something else, were packed by another version of HyperNodes or Python, or need
            what is not installed here.
    """
    line, _, body = bytes(data).partition(b"\n")
    words = line.decode("ascii", "replace").split()
    if len(words) != 4 or not line.startswith(_MAGIC) or words[1] != kind:  # noqa: PLR2004 - magic, kind, two versions
        msg = f"these bytes are no packed {kind} of HyperNodes"
        raise TaskError(msg)
    here = f"{sys.version_info[0]}.{sys.version_info[1]}"
    if words[2] != __version__ or words[3] != here:
        msg = (
            f"the {kind} was packed by hypernodes {words[2]} on Python {words[3]}; this is hypernodes {__version__} on Python {here}.\n"
            f"  fix: install the same versions on both sides"
        )
        raise TaskError(msg)
    import pickle

    try:
        return pickle.loads(body)  # noqa: S301 - a task is code by nature: it comes from the driver of this run
    except TaskError:
        raise
    except Exception as error:
        what = "result" if kind == "result" else "task"
        msg = f"the {what} cannot be unpacked here: {type(error).__name__}: {error}"
        if isinstance(error, ImportError):
            msg += "\n  fix: make that module importable here, as it is where the task was packed"
        raise TaskError(msg) from error
