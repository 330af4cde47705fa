"""Nodes of the pipelines that engines and callbacks are tested with.

Everything here can be imported, so that engines whose workers are other processes can run it too.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hypernodes import stateful
from hypernodes.node import node


class OddError(Exception):
    """An exception that cannot be made again from its ``args``, as many libraries have them."""

    def __init__(self, code: int, *, reason: str) -> None:
        super().__init__(f"{reason} ({code})")
        self.code = code
        self.reason = reason


# -- functions --------------------------------------------------------------------------------------------------------


@node(output_name="more")
def increase(x: int) -> int:
    """Return one more."""
    return x + 1


@node(output_name="doubled")
def double(more: int) -> int:
    """Return twice as much."""
    return 2 * more


@node(output_name="shown")
def show(doubled: int) -> str:
    """Return it as text."""
    return f"<{doubled}>"


@node(output_name="total")
def add(more: int, doubled: int) -> int:
    """Return the sum."""
    return more + doubled


@node(output_name=("quotient", "remainder"))
def divide(x: int, by: int) -> tuple[int, int]:
    """Return two outputs."""
    return divmod(x, by)


@node(output_name=("only",))
def single(x: int) -> tuple[int]:
    """Return a tuple of one output."""
    return (x,)


@node(output_name="scaled")
def scale(x: int, factor: int = 10, *, offset: int = 0) -> int:
    """Take optional inputs, one of them by keyword only."""
    return x * factor + offset


@node(output_name="joined")
def join(left: Any, right: Any) -> list[Any]:
    """Return both."""
    return [left, right]


@node(output_name="sum")
def total_of(values: Sequence[int]) -> int:
    """Return the sum of a list."""
    return sum(values)


@node(output_name="nothing")
def nothing(x: Any) -> None:
    """Return ``None``, which is a value."""


@node(output_name="seen")
def see(nothing: None) -> bool:
    """Say whether nothing came."""
    return nothing is None


@node(output_name="waited")
async def wait(x: int) -> int:
    """Be a coroutine function."""
    await asyncio.sleep(0)
    return x + 100


@node(output_name="again")
async def wait_again(waited: int, x: int) -> int:
    """Await another one's result."""
    await asyncio.sleep(0.001)
    return waited + x


def twin_single(x: int, factor: int = 2) -> int:
    """Do it for one item."""
    return x * factor


def twin_batch(x: list[int], factor: int = 2) -> list[int]:
    """Do it for many."""
    return [value * factor for value in x]


def parts_single(x: int) -> tuple[int, int]:
    """Return two outputs of one item."""
    return x // 10, x % 10


def parts_batch(x: list[int]) -> tuple[list[int], list[int]]:
    """Return two columns of outputs."""
    return [value // 10 for value in x], [value % 10 for value in x]


@stateful
class Tokenizer:
    """A heavy object, built late and once per process."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.born = (os.getpid(), time.perf_counter_ns())

    def cut(self, text: str) -> list[str]:
        """Return pieces of the text."""
        return [text[start : start + self.size] for start in range(0, len(text), self.size)]


@node(output_name="pieces")
def cut(text: str, tokenizer: Tokenizer) -> list[str]:
    """Use a stateful input."""
    return tokenizer.cut(text)


@node(output_name="born")
def birth(x: int, tokenizer: Tokenizer) -> tuple[int, int]:
    """Tell which object came here."""
    return tokenizer.born


@node(output_name="place")
def place(x: int, constant: Any) -> tuple[int, int]:
    """Tell where a constant lies: process and address."""
    return os.getpid(), id(constant)


@node(output_name="checked")
def check(x: int) -> int:
    """Refuse multiples of seven."""
    if x % 7 == 0:
        msg = f"{x} is refused"
        raise ValueError(msg)
    return x


@node(output_name="after")
def after(checked: int) -> int:
    """Depend on what may have failed."""
    return -checked


@node(output_name="beside")
def beside(x: int) -> int:
    """Depend on nothing that fails."""
    return x * x


@node(output_name="odd")
def fail_oddly(x: int) -> int:
    """Raise what pickles badly."""
    raise OddError(x, reason="no such thing")


@node(output_name="marked")
def mark(x: int, path: str) -> int:
    """Leave a mark in a file that all workers of this host see."""
    _mark(path)
    return x


@node(output_name="slow")
def mark_slowly(x: int, path: str) -> int:
    """Leave a mark, take a while, leave another."""
    _mark(path)
    time.sleep(0.05)
    _mark(path)
    return x


@node(output_name="steady", retries=3)
def flaky(x: int, path: str, failures: int) -> int:
    """Fail so many times before working; a file counts."""
    if _mark(f"{path}-{x}") <= failures:
        msg = f"not yet: {x}"
        raise ConnectionError(msg)
    return x


@node(output_name="choosy", retries=3, retry_on=ConnectionError)
def choosy(x: int, path: str) -> int:
    """Fail with what is not worth another try."""
    _mark(f"{path}-{x}")
    msg = f"never: {x}"
    raise LookupError(msg)


@node(output_name="late", timeout=0.2)
def dawdle(x: int) -> int:
    """Take longer than allowed, except for item 0."""
    if x:
        time.sleep(1.5)
    return x


@node(output_name="late", timeout=0.2)
async def dawdle_async(x: int) -> int:
    """Take longer than allowed, as a coroutine, except for item 0."""
    if x:
        await asyncio.sleep(1.5)
    return x


@node(output_name="alone", max_concurrent=1)
def crowd(x: int, path: str) -> int:
    """Leave marks around a moment in which nobody else may be here."""
    _mark(path, b"+")
    time.sleep(0.005)
    _mark(path, b"-")
    return x


@node(output_name="made", resources={"unobtainium": 1})
def demanding(x: int) -> int:
    """Ask for what no engine has."""
    return x


_FILES = threading.Lock()


def _mark(path: str, text: bytes = b".") -> int:
    """Append to a file and return how long it is now."""
    with _FILES, Path(path).open("ab") as file:
        file.write(text)
        return file.tell()


def marks(path: str | Path) -> int:
    """Return how many marks a file holds."""
    try:
        return Path(path).stat().st_size
    except FileNotFoundError:
        return 0


class Multiplier:
    """An object with a method that is a node, and one that is called."""

    def __init__(self, factor: int) -> None:
        self.factor = factor

    def __call__(self, x: int) -> int:
        return x * self.factor

    @node(output_name="product")
    def multiply(self, x: int) -> int:
        """Be a node that decorates a method."""
        return x * self.factor
