"""How messages speak: near names, places in source files, short pictures of values."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

TEXT_LIMIT = 60


OTHER_WORDS = {"backend": "engine", "executor": "engine", "runner": "engine", "callback": "callbacks"}  # of other libraries


def near(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that ``name`` was probably meant to be, if there is one."""
    from difflib import get_close_matches  # imported by errors only: it loads a regex engine

    name, names = str(name), sorted(set(known))
    folded = {candidate.casefold().replace("_", ""): candidate for candidate in names}
    exact = OTHER_WORDS[name] if OTHER_WORDS.get(name) in names else folded.get(name.casefold().replace("_", ""))
    if exact is not None:
        return exact
    found = get_close_matches(name, names, n=1, cutoff=0.6)
    return found[0] if found else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"``, or nothing where no name is near."""
    candidate = near(name, known)
    return f" Did you mean '{candidate}'?" if candidate is not None else ""


def listed(names: Iterable[str], none: str = "none", limit: int = 12) -> str:
    """Join names for a sentence: ``a, b, c, … (12 more)``."""
    found: Sequence[str] = list(names)
    if not found:
        return none
    shown = ", ".join(found[:limit])
    return shown if len(found) <= limit else f"{shown}, … ({len(found) - limit} more)"


def counted(number: int, thing: str) -> str:
    """Return ``1 item``, ``2 items``, ``1,000 items``."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def where(func: object) -> str:
    """Return ``path/to/file.py:42`` for a function or class, or ``""`` where it has no source file."""
    import inspect

    target = inspect.unwrap(func) if callable(func) else func
    target = getattr(target, "func", target)
    target = getattr(target, "__func__", target)
    code = getattr(target, "__code__", None) or getattr(getattr(type(target), "__call__", None), "__code__", None)  # noqa: B004 - its code is wanted
    if code is None:
        return ""
    return f"{short_path(code.co_filename)}:{code.co_firstlineno}"


def short_path(filename: str) -> str:
    """Return the path relative to the working directory where it lies below it."""
    if filename.startswith("<"):
        return filename
    try:
        relative = os.path.relpath(filename)
    except (ValueError, OSError):
        return filename
    return filename if relative.startswith("..") else relative


def picture(value: object, limit: int = TEXT_LIMIT) -> str:
    """Return a one-line picture of a value, never longer than ``limit`` and never raising."""
    kind = type(value).__name__
    if hasattr(type(value), "shape"):  # asked of the class: the object itself may do anything when it is asked, even build itself
        try:
            return f"<{kind} {value.shape}>"  # type: ignore[attr-defined]
        except Exception:  # noqa: BLE001 - as below
            return f"<{kind}>"
    if isinstance(value, (list, tuple, set, frozenset, dict)) and len(value) > 8:  # noqa: PLR2004 - what fits a line
        return f"<{kind} of {len(value):,}>"
    if isinstance(value, (str, bytes)) and len(value) > limit:
        return f"<{kind} of {len(value):,}>"
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - a broken repr must not hide the error being reported
        return f"<{kind}>"
    return text if len(text) <= limit and "\n" not in text else f"<{kind}>"


def among(name: str, known: Iterable[str], verb: str = "it takes") -> str:
    """Return ``"it takes a, b. Did you mean 'a'?"`` for a name that is not known."""
    names = list(known)
    return f"{verb} {listed(names)}.{did_you_mean(name, names)}"
