"""Measure this project beside a loop written by hand and its peers; print one table.

Each row is measured in fresh interpreters, the best of several repetitions (the median for start-up times).
"""

from __future__ import annotations

import argparse
import compileall
import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import textwrap
import time
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
MAP = OURS + "pipeline = Pipeline([node(output_name=n)(f) for n, f in zip('abc', (a_fn, b_fn, c_fn))], engine=SeqEngine())\n"
CHAIN = OURS + "pipeline = Pipeline([node(output_name=f'v{i + 1}')(f) for i, f in enumerate(chain(N))], engine=SeqEngine())\n"
LISTENER = """
class Count(PipelineCallback):
    def __init__(self): self.n = 0
    def on_node_end(self, node_id, outputs, duration, ctx): self.n += 1
pipeline.with_callbacks([Count()])
"""
RUN_MAP = "xs = list(range(N)); print(best(lambda: pipeline.map({'x': xs}, map_over='x'), REPEAT) / N)"
VALUES = "xs = list(range(N)); print(best(lambda: [c_fn(b_fn(a_fn(x))) for x in xs], REPEAT) / N)"
LOOP = """
def loop():
    rows = []
    for x in xs:
        a = a_fn(x); b = b_fn(a); c = c_fn(b)
        rows.append({'a': a, 'b': b, 'c': c})
    return rows
"""


@dataclass
class Row:
    """One line of the table; programs print seconds."""

    name: str
    title: str
    unit: str
    limit: float
    ours: str
    n: int = 1
    plain: str = ""
    bare: str = ""  # by hand, making values only
    peers: dict[str, str] = field(default_factory=dict)
    start_up: bool = False


SCALE = {"us": 1e6, "ms": 1e3, "s": 1.0}
PLAIN_CHAIN = "fs = chain(N)\ndef go():\n    v = 0\n    for f in fs: v = f(v)\nprint(best(go, 50) / N)"
FIRST = OURS + "@node(output_name='y')\ndef inc(x: int) -> int: return x + 1\nassert Pipeline([inc]).run({'x': 1}) == {'y': 2}"
PIPEFUNC = "from pipefunc import PipeFunc, Pipeline\n"
PIPEFUNC_MAP = PIPEFUNC + (
    "p = Pipeline([PipeFunc(a_fn, 'a', mapspec='x[i] -> a[i]'), PipeFunc(b_fn, 'b', mapspec='a[i] -> b[i]'), "
    "PipeFunc(c_fn, 'c', mapspec='b[i] -> c[i]')])\nxs = list(range(N))\n"
    "print(best(lambda: p.map({'x': xs}, parallel=False, storage='dict', show_progress=False), 1) / N)"
)
PIPEFUNC_CHAIN = PIPEFUNC + (
    "p = Pipeline([PipeFunc(f, f'v{i + 1}') for i, f in enumerate(chain(N))])\nprint(best(lambda: p.run(f'v{N}', kwargs={'v0': 0}), 7) / N)"
)
HAMILTON_CHAIN = (
    "from hamilton import ad_hoc_utils, driver\nspace = {}\n"
    "exec('\\n'.join(f'def v{i + 1}(v{i}: int) -> int: return v{i} + 1' for i in range(N)), space)\n"
    "steps = ad_hoc_utils.create_temporary_module(*[space[f'v{i + 1}'] for i in range(N)], module_name='steps')\n"
    "d = driver.Builder().with_modules(steps).build()\nprint(best(lambda: d.execute([f'v{N}'], inputs={'v0': 0}), 20) / N)"
)
DAFT_MAP = (
    "import daft\nf = [daft.func(q, return_dtype=daft.DataType.int64()) for q in (a_fn, b_fn, c_fn)]\nxs = list(range(N))\n"
    "def go():\n    df = daft.from_pydict({'x': xs})\n"
    "    for name, made, func in zip('xab', 'abc', f): df = df.with_column(made, func(df[name]))\n    return df.to_pydict()\n"
    "print(best(go, 1) / N)"
)
DASK_MAP = (
    "import dask.bag as db\nxs = list(range(N))\n"
    "print(best(lambda: db.from_sequence(xs, npartitions=4).map(a_fn).map(b_fn).map(c_fn).compute(scheduler='threads'), 3) / N)"
)
ROWS = [
    Row(
        "import",
        "`import hypernodes`, above bare Python",
        "ms",
        80,
        "import hypernodes",
        start_up=True,
        peers={"joblib": "import joblib", "dask": "import dask", "hamilton": "import hamilton.driver", "pipefunc": "import pipefunc"},
    ),
    Row("first", "the same, then a first pipeline and run", "ms", 400, FIRST, start_up=True),
    Row(
        "chain10",
        "one `run`, chain of 10 trivial nodes, per node",
        "us",
        1.0,
        CHAIN + "print(best(lambda: pipeline.run({'v0': 0}), 2000) / N)",
        10,
        PLAIN_CHAIN,
        peers={"hamilton": HAMILTON_CHAIN, "pipefunc": PIPEFUNC_CHAIN},
    ),
    Row(
        "chain200",
        "one `run`, chain of 200 trivial nodes, per node",
        "us",
        1.0,
        CHAIN + "print(best(lambda: pipeline.run({'v0': 0}), 500) / N)",
        200,
        PLAIN_CHAIN,
        peers={"hamilton": HAMILTON_CHAIN, "pipefunc": PIPEFUNC_CHAIN},
    ),
    Row(
        "map1e4",
        "`map`, 3 trivial nodes, 10,000 items, per item",
        "us",
        1.2,
        MAP + RUN_MAP,
        10_000,
        LOOP + "xs = list(range(N)); print(best(loop, REPEAT) / N)",
        VALUES,
        {"dask.bag": DASK_MAP, "daft": DAFT_MAP, "pipefunc": PIPEFUNC_MAP},
    ),
    Row(
        "map1e6",
        "`map`, 3 trivial nodes, 1,000,000 items, per item",
        "us",
        1.2,
        MAP + RUN_MAP,
        1_000_000,
        LOOP + "xs = list(range(N)); print(best(loop, REPEAT) / N)",
        VALUES,
        {"dask.bag": DASK_MAP, "daft": DAFT_MAP},
    ),
    Row("listener", "the same with a callback listening to node ends, 100,000 items", "us", 5.0, MAP + LISTENER + RUN_MAP, 100_000),
    Row(
        "build1000",
        "build a pipeline of 1,000 nodes",
        "s",
        1.0,
        OURS + "nodes = [node(output_name=f'v{i + 1}')(f) for i, f in enumerate(chain(N))]\nprint(best(lambda: Pipeline(nodes), 3))",
        1000,
    ),
    Row(
        "chain10000",
        "build and run a 10,000-node chain",
        "s",
        10.0,
        OURS + "fs = chain(N)\nstart = time.perf_counter()\n"
        "out = Pipeline([node(output_name=f'v{i + 1}')(f) for i, f in enumerate(fs)]).run({'v0': 0}, output_name=f'v{N}')\n"
        "assert out == {f'v{N}': N}\nprint(time.perf_counter() - start)",
        10_000,
    ),
    Row(
        "wide10000",
        "build and run 10,000 nodes side by side",
        "s",
        10.0,
        OURS + "start = time.perf_counter()\n"
        "out = Pipeline([node(output_name=f'y{i}')(lambda x, i=i: x + i) for i in range(N)]).run({'x': 1})\n"
        "assert len(out) == N\nprint(time.perf_counter() - start)",
        10_000,
    ),
    Row(
        "warm10",
        "a warm `run` of 10 small nodes, all outputs from a local cache",
        "ms",
        1.5,
        OURS + "pipeline = Pipeline([node(output_name=f'v{i + 1}')(f) for i, f in enumerate(chain(N))], cache='warm10')\n"
        "pipeline.run({'v0': 1})\nassert pipeline.run({'v0': 1}).stats.ran == 0\nprint(best(lambda: pipeline.run({'v0': 1}), 200))",
        10,
        peers={
            "joblib": "from joblib import Memory\nfs = [Memory('warmjob', verbose=0).cache(f) for f in chain(N)]\n"
            "def go():\n    v = 1\n    for f in fs: v = f(v)\ngo()\nprint(best(go, 20))"
        },
    ),
    Row(
        "code1000",
        "code identity of a node that reaches 1,000 functions, once per process",
        "s",
        1.0,
        "import sys\nopen('many.py', 'w').write('\\n'.join(\n"
        "    f'def f{i}(x, k={i}):\\n    if x > k:\\n        return [f{i + 1}(y) for y in range(x) if y != k]\\n'\n"
        "    f'    return {{1: x + {i}, 2: str(k)}}'\n"
        "    for i in range(N)) + f'\\ndef f{N}(x): return x\\n')\n"
        "sys.path.insert(0, '.')\nimport many\nfrom hypernodes import node\nwork = node(output_name='y')(many.f0)\n"
        "start = time.perf_counter()\nwork.code_hash\nprint(time.perf_counter() - start)",
        1000,
    ),
    Row(
        "hash256",
        "identity of a 256 MB array (0.128 s are 2 GB/s)",
        "s",
        0.128,
        "import numpy as np\nfrom hypernodes.identity.values import identity\narray = np.arange(32_000_000, dtype='f8')\n"
        "print(best(lambda: identity(array), 5))",
        peers={
            "joblib": "import numpy as np, joblib\narray = np.arange(32_000_000, dtype='f8')\nprint(best(lambda: joblib.hash(array), 2))"
        },
    ),
]


def fresh(code: str) -> str:
    """Run code in a fresh interpreter; return what it printed."""
    environment = {key: value for key, value in os.environ.items() if key not in {"PYTHONDONTWRITEBYTECODE", "PYTHONWARNINGS"}}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True).stdout


def start_up(code: str, repeat: int) -> float:
    """Return the median seconds of a program above those of an empty one, measured in turn."""
    bare, full = [], []
    fresh(code)
    for _ in range(repeat):
        for times, program in ((bare, "pass"), (full, code)):
            start = time.perf_counter()
            fresh(program)
            times.append(time.perf_counter() - start)
    return statistics.median(full) - statistics.median(bare)


def measure(row: Row, code: str, *, quick: bool) -> float | None:
    """Return seconds, or ``None`` where the program cannot run here."""
    if not code:
        return None
    n = min(row.n, 100_000) if quick else row.n
    try:
        if row.start_up:
            return start_up(code, 5 if quick else 15)
        return float(fresh(f"N = {n}; REPEAT = {1 if quick else 3}\n" + FUNCTIONS + code).split()[-1])
    except subprocess.CalledProcessError as error:
        print(textwrap.indent(error.stderr[-600:], "  "), file=sys.stderr)
        return None


def shown(seconds: float | None, unit: str) -> str:
    return "" if seconds is None else f"{seconds * SCALE[unit]:,.3g} {unit}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON lines")
    parser.add_argument("--quick", action="store_true", help="fewer items and repetitions")
    parser.add_argument("--only", action="append", default=[], help="measure this row only")
    parser.add_argument("--list", action="store_true", help="name the rows")
    options = parser.parse_args()
    if options.list:
        print("\n".join(f"{row.name:12} {row.title}" for row in ROWS))
        return 0
    package = importlib.util.find_spec("hypernodes")
    assert package is not None and package.submodule_search_locations is not None
    compileall.compile_dir(next(iter(package.submodule_search_locations)), quiet=2)
    missed = 0
    if not options.json:
        print(f"CPython {platform.python_version()}, {os.cpu_count()} cores\n")
        print("| work | by hand | must be | HyperNodes | | peers |\n|---|---|---|---|---|---|")
    os.chdir(tempfile.mkdtemp())
    for row in ROWS:
        if options.only and row.name not in options.only:
            continue
        ours, plain, bare = (measure(row, code, quick=options.quick) for code in (row.ours, row.plain, row.bare))
        peers = {}
        for name, code in row.peers.items():
            if importlib.util.find_spec({"dask.bag": "dask"}.get(name, name)) is not None:
                peers[name] = measure(row, code, quick=options.quick)
        reached = ours is not None and ours * SCALE[row.unit] <= row.limit
        missed += not reached
        if options.json:
            figures = {"ours": ours, "plain": plain, "bare": bare, "peers": peers}  # in seconds
            print(json.dumps({"row": row.name, "unit": row.unit, "limit": row.limit, "reached": reached, **figures}), flush=True)
            continue
        others = ", ".join(f"{name} {shown(seconds, row.unit)}" for name, seconds in peers.items() if seconds is not None)
        cells = (
            row.title,
            shown(plain, row.unit) + (f" ({shown(bare, row.unit)} values only)" if bare is not None else ""),
            f"<= {row.limit:g} {row.unit}",
            shown(ours, row.unit),
            "yes" if reached else "NO",
            others,
        )
        print("| " + " | ".join(cells) + " |", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
