"""Running many things at once: processes, coroutines, streams."""

from __future__ import annotations

from rows import Row

ENGINE = "from hypernodes import HyperNodesEngine, Pipeline, node\n"
SPIN = """
from spin import spin
xs = list(range(N))
for x in xs[:5]: spin(x)
one_by_one = best(lambda: [spin(x) for x in xs], 2)
"""
MODULE = """
import sys
with open("spin.py", "w") as file:
    file.write("def spin(x: int) -> int:\\n    s = x\\n    for i in range(100_000): s = (s * 31 + i) % 1_000_003\\n    return s\\n")
sys.path.insert(0, "")
"""
WAIT = """
import asyncio
async def wait(x: int) -> int:
    await asyncio.sleep(0.01)
    return x
"""
STREAM = """
import resource
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
def watched(stream):
    for k, row in enumerate(stream):
        if k == N // 50: before = peak()
    assert k == N - 1
    return peak() - before
"""


def streamed(alias: str) -> str:
    """Return a program that streams through an engine, and prints by how many MB that grew."""
    return (
        ENGINE
        + STREAM
        + (
            f"engine = HyperNodesEngine(map_executor={alias!r}, max_workers=2)\n"
            "pipeline = Pipeline([node(output_name=n)(f) for n, f in zip('abc', (a_fn, b_fn, c_fn))], engine=engine)\n"
            "print(watched(pipeline.imap({'x': iter(range(N))}, map_over='x')))"
        )
    )


ROWS = [
    Row(
        "parallel",
        "{n:,} CPU-bound items of about 10 ms on 2 processes, time over one after another (0.556 is 1.8 times as fast)",
        "x",
        1 / 1.8,
        MODULE
        + SPIN
        + ENGINE
        + "pipeline = Pipeline([node(output_name='y')(spin)], engine=HyperNodesEngine(map_executor='parallel', max_workers=2))\n"
        "pipeline.map({'x': xs[:4]}, map_over='x')\n"
        "print(best(lambda: pipeline.map({'x': xs}, map_over='x'), 3) / one_by_one)",
        300,
        MODULE + SPIN + "from concurrent.futures import ProcessPoolExecutor\nwith ProcessPoolExecutor(2) as pool:\n"
        "    list(pool.map(spin, xs[:4]))\n    print(best(lambda: list(pool.map(spin, xs, chunksize=10)), 3) / one_by_one)",
        peers={
            "joblib": MODULE + SPIN + "from joblib import Parallel, delayed\nParallel(2)(delayed(spin)(x) for x in xs[:4])\n"
            "print(best(lambda: Parallel(2)(delayed(spin)(x) for x in xs), 3) / one_by_one)"
        },
    ),
    Row(
        "parallel-cold",
        "the same with the start of the processes",
        "x",
        1.0,
        MODULE
        + SPIN
        + ENGINE
        + "pipeline = Pipeline([node(output_name='y')(spin)], engine=HyperNodesEngine(map_executor='parallel', max_workers=2))\n"
        "print(best(lambda: pipeline.map({'x': xs}, map_over='x'), 1) / one_by_one)",
        300,
        MODULE + SPIN + "from concurrent.futures import ProcessPoolExecutor\ndef go():\n    with ProcessPoolExecutor(2) as pool:\n"
        "        list(pool.map(spin, xs, chunksize=10))\nprint(best(go, 1) / one_by_one)",
    ),
    Row(
        "async",
        "{n:,} coroutines that wait 10 ms, 100 at a time",
        "s",
        0.2,
        ENGINE + WAIT + "from hypernodes.executors import AsyncExecutor\n"
        "pipeline = Pipeline([node(output_name='y')(wait)], engine=HyperNodesEngine(map_executor=AsyncExecutor(100)))\n"
        "xs = list(range(N))\nprint(best(lambda: pipeline.map({'x': xs}, map_over='x'), 3))",
        1000,
        WAIT + "async def go():\n    room = asyncio.Semaphore(100)\n    async def one(x):\n        async with room: return await wait(x)\n"
        "    return await asyncio.gather(*(one(x) for x in range(N)))\nprint(best(lambda: asyncio.run(go()), 3))",
    ),
    Row(
        "threads",
        "`map` on 2 threads, 3 trivial nodes, {n:,} items, per item",
        "us",
        5.0,
        ENGINE + "engine = HyperNodesEngine(map_executor='threaded', max_workers=2)\n"
        "pipeline = Pipeline([node(output_name=n)(f) for n, f in zip('abc', (a_fn, b_fn, c_fn))], engine=engine)\n"
        "xs = list(range(N)); print(best(lambda: pipeline.map({'x': xs}, map_over='x'), 3) / N)",
        100_000,
    ),
    Row(
        "processes",
        "`map` on 2 processes that are there, 3 trivial nodes, {n:,} items, per item",
        "us",
        5.0,
        ENGINE + "engine = HyperNodesEngine(map_executor='parallel', max_workers=2)\n"
        "pipeline = Pipeline([node(output_name=n)(f) for n, f in zip('abc', (a_fn, b_fn, c_fn))], engine=engine)\n"
        "xs = list(range(N)); pipeline.map({'x': xs[:9]}, map_over='x')\nprint(best(lambda: pipeline.map({'x': xs}, map_over='x'), 3) / N)",
        100_000,
    ),
    Row(
        "stream-threads",
        "memory that a stream of {n:,} items through threads takes beyond its first 2 %",
        "MB",
        100,
        streamed("threaded"),
        1_000_000,
    ),
    Row("stream-processes", "the same through processes", "MB", 100, streamed("parallel"), 1_000_000),
    Row("stream-async", "the same through an event loop", "MB", 100, streamed("async"), 1_000_000),
]
