"""Running without a cache: start-up, chains, maps, large pipelines."""

from __future__ import annotations

from rows import OURS, Row

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
        "`map`, 3 trivial nodes, {n:,} items, per item",
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
        "`map`, 3 trivial nodes, {n:,} items, per item",
        "us",
        1.2,
        MAP + RUN_MAP,
        1_000_000,
        LOOP + "xs = list(range(N)); print(best(loop, REPEAT) / N)",
        VALUES,
        {"dask.bag": DASK_MAP, "daft": DAFT_MAP},
    ),
    Row("listener", "the same with a callback listening to node ends, {n:,} items", "us", 5.0, MAP + LISTENER + RUN_MAP, 100_000),
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
]
