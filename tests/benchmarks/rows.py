"""What a row of the table is, and what the programs of all rows start with."""

from __future__ import annotations

from dataclasses import dataclass, field

FUNCTIONS = """
import time
def a_fn(x: int) -> int: return x + 1
def b_fn(a: int) -> int: return a * 2
def c_fn(b: int) -> int: return b - 3
def best(work, repeat):
    times = []
    for _ in range(repeat):
        start = time.perf_counter(); work(); times.append(time.perf_counter() - start)
    return min(times)
def chain(n):
    space = {}
    exec("\\n".join(f"def f{i}(v{i}: int) -> int: return v{i} + 1" for i in range(n)), space)
    return [space[f"f{i}"] for i in range(n)]
"""
OURS = "from hypernodes import Pipeline, PipelineCallback, SeqEngine, node\n"
SCALE = {"us": 1e6, "ms": 1e3, "s": 1.0, "MB": 1.0, "x": 1.0, "requests": 1.0}

Programs = str | tuple[str, ...]


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Programs run in a folder of their own, where ``N`` is the size and ``REPEAT`` how often to repeat. Of several, each runs in a
    fresh interpreter in the folder of the one before, and the last prints the figure: in seconds where it is a time. A program
    that was run for one row is not run again to prepare another.

    Attributes:
        name: What ``--only`` takes.
        title: The work; ``{n:,}`` stands for the size.
        unit: Of the figures shown and of the limit.
        limit: The most that our figure may be.
        ours: Our programs.
        n: The size.
        plain: The same by hand.
        bare: By hand, making values only.
        peers: The same with other libraries.
        peer_n: The size that a peer gets where it is slow.
        again: How many fresh interpreters run the last program; the best figure counts.
        start_up: Whether the figure is what a whole interpreter takes above an empty one; then programs print nothing.
        above: Whether the limit is for what is above the figure by hand.
        s3: Whether a local S3 server is needed; ``url()`` and ``OPTIONS`` say where it is.
    """

    name: str
    title: str
    unit: str
    limit: float
    ours: Programs
    n: int = 1
    plain: Programs = ""
    bare: Programs = ""
    peers: dict[str, Programs] = field(default_factory=dict)
    peer_n: dict[str, int] = field(default_factory=dict)
    again: int = 1
    start_up: bool = False
    above: bool = False
    s3: bool = False
