"""Whose a class is: the user's own classes count with their code, others by name."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Final

from hypernodes.identity._distributions import home_of_name
from hypernodes.identity._encoding import hashed, of_str

_module_of: Final[Any] = type.__dict__["__module__"].__get__
_qualname_of: Final[Any] = type.__dict__["__qualname__"].__get__
_WRITTEN_IN_PYTHON: Final = 1 << 9  # Py_TPFLAGS_HEAPTYPE; some classes written in C have it too


def module_of(cls: type) -> str:
    """Return the name of a class's module, whatever the class says about itself.

    The main module goes by another name in a worker process, and is the same.
    """
    try:
        name = _module_of(cls)
    except AttributeError:
        return ""
    return ("__main__" if name == "__mp_main__" else name) if isinstance(name, str) else ""


def type_name(cls: type) -> str:
    """Return a class's name for messages."""
    module, name = module_of(cls), _qualname_of(cls)
    return name if module in ("builtins", "") else f"{module}.{name}"


def full_name(cls: type) -> str:
    """Return the name by which a class is found: ``module:qualname``."""
    return f"{module_of(cls)}:{_qualname_of(cls)}"


def of_library(module_name: str) -> bool:
    """Return whether a module belongs to Python, to us, or to an installed distribution; an editable one is the user's."""
    return not home_of_name(module_name).users


def is_users(cls: type) -> bool:
    """Return whether a class counts with its code.

    One that is made at run time bears the name of the module that made it (``dataclasses.make_dataclass`` gives ``types``)
    and is not found there; it is the user's all the same.
    """
    module = module_of(cls)
    if module == "builtins":  # as classes of Rust are apt to say
        return False
    if not of_library(module):
        return True
    return bool(cls.__flags__ & _WRITTEN_IN_PYTHON) and resolved(module, _qualname_of(cls)) is not cls


def resolved(module_name: str, qualname: str) -> Any:
    """Return what is found under a name in a module that is loaded, or None."""
    found: Any = sys.modules.get(module_name)
    for part in qualname.split("."):
        found = getattr(found, part, None)
    return found


def class_identity(cls: type, code: Callable[[type], bytes], note: Callable[[tuple[str, bytes]], object]) -> bytes:
    """Return what stands for the class of an object.

    Args:
        cls: The class.
        code: Gives the code identity of a class.
        note: Is told the name and the code identity of a class of the user.
    """
    name = full_name(cls)
    if not is_users(cls):
        return of_str(name)
    digest = code(cls)
    note((name, digest))
    return hashed(b"C" + of_str(name) + digest)
