"""Tasks and results as bytes, with a header that says what they are and who may read them."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from hypernodes._version import __version__
from hypernodes.errors import ResultTransferError, TaskError

_MAGIC = b"hypernodes"


def pack(kind: str, value: Any) -> bytes:
    """Return a header and the pickled value; functions of ``__main__`` and closures travel by value."""
    import cloudpickle

    header = f" {kind} {__version__} {sys.version_info[0]}.{sys.version_info[1]}\n".encode()
    body: bytes = cloudpickle.dumps(value, protocol=5)
    return _MAGIC + header + body


def hidden_modules(values: Iterable[Any]) -> list[ModuleType]:
    """Return modules that functions and classes come from and that another process could not import under their names.

    Test modules, as a rule: some are loaded from files that are not on the path, or share their name with another.

    Args:
        values: Functions and classes; what they refer to in such modules counts, too.
    """
    found: dict[str, ModuleType] = {}
    findable: set[str] = {"__main__", "builtins"}
    waiting = list(values)
    for value in waiting:
        name = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)
        if not isinstance(name, str) or name in found or name in findable:
            continue
        module = sys.modules.get(name)
        if module is None or getattr(module, "__file__", None) is None or _can_be_found(module, name):
            findable.add(name)
        else:
            found[name] = module
            waiting += vars(module).values()
    return list(found.values())


def _can_be_found(module: ModuleType, name: str) -> bool:
    path: Any = None
    spec: Any = None
    parts = name.split(".")
    for count in range(1, len(parts) + 1):
        full = ".".join(parts[:count])
        try:
            spec = next(filter(None, (finder.find_spec(full, path) for finder in sys.meta_path if hasattr(finder, "find_spec"))), None)
        except Exception:  # noqa: BLE001 - a finder of somebody's; the module is there in any case
            return True
        if spec is None:
            return False
        path = spec.submodule_search_locations
    return not spec.has_location or Path(module.__file__ or "").absolute() == Path(spec.origin).absolute()


@contextlib.contextmanager
def by_value(modules: Iterable[ModuleType]) -> Iterator[None]:
    """Let everything in some modules travel by value meanwhile."""
    import cloudpickle

    before = cloudpickle.list_registry_pickle_by_value()
    added = [module for module in modules if module.__name__ not in before]
    for module in added:
        cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in added:
            with contextlib.suppress(ValueError):  # another thread was quicker
                cloudpickle.unregister_pickle_by_value(module)


@contextlib.contextmanager
def arriving(what: str, where: str, fix: str = "") -> Iterator[None]:
    """Say what does not unpickle where it arrives.

    Raises:
        ResultTransferError: Whatever goes wrong in the block.
    """
    try:
        yield
    except Exception as error:
        msg = f"{what} pickles, but cannot be unpickled {where}: {type(error).__name__}: {error}"
        raise ResultTransferError(f"{msg}\n  fix: {fix}" if fix else msg) from error


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
