"""Running with a cache: empty and full, of any size, in a bucket; identities.

A program that fills a cache runs in one interpreter, what is measured in another: the imports that caching takes, the identity
of the code and opening the cache are part of every figure that says "new process".
"""

from __future__ import annotations

from rows import OURS, Programs, Row

# -- the three functions over N items, ours ---------------------------------------------------------------------------

NODES = OURS + "nodes = [node(output_name=n)(f) for n, f in zip('abc', (a_fn, b_fn, c_fn))]\nxs = list(range(N))\n"
LOCAL = NODES + "from hypernodes import DiskCache\npipeline = Pipeline(nodes, cache=DiskCache('cache'))\n"
BUCKET = NODES + "from hypernodes.cache import RemoteCache\ncache = RemoteCache(URL, OPTIONS)\npipeline = Pipeline(nodes, cache=cache)\n"
RUN = """
def run(**options):
    start = time.perf_counter()
    result = pipeline.map({'x': xs}, map_over='x', **options)
    return time.perf_counter() - start, result
"""
MADE = RUN + "seconds, result = run()\nassert result.stats.ran == 3 * N\n"
FOUND = RUN + "seconds, result = run()\nassert result.stats.ran == 0 and result[-1]['c'] == xs[-1] * 2 - 1\n"
LAST = RUN + "seconds, result = run(output_name='c')\nassert result.stats.ran == 0 and result[-1] == {'c': xs[-1] * 2 - 1}\n"
AN_ITEM = "print(seconds / N)"
REQUESTS = "from hypernodes.cache.opened import open_cache\nprint(sum(open_cache(cache).store.requests.values()))"

COLD = LOCAL + MADE + AN_ITEM
WARM = LOCAL + FOUND + AN_ITEM
WARM_LAST = LOCAL + LAST + AN_ITEM
BUCKET_COLD = BUCKET + MADE + REQUESTS
BUCKET_WARM = BUCKET + FOUND + REQUESTS

# What an item adds: by the best of several runs, each over a cache opened anew, less what a run over one item takes.
GROWTH = (
    NODES
    + """
import tempfile
from hypernodes.cache import StoreCache
from hypernodes.cache.store import LocalStore
FEW = 1000
def run(n, folder, ran):
    pipeline, inputs = Pipeline(nodes, cache=StoreCache(LocalStore(folder))), {'x': xs[:n]}
    start = time.perf_counter()
    result = pipeline.map(inputs, map_over='x')
    seconds = time.perf_counter() - start
    assert result.stats.ran == ran
    return seconds
def new(): return tempfile.mkdtemp(dir='.')
"""
)
GROWTH_COLD = GROWTH + (
    "one = min(run(1, new(), 3) for _ in range(10))\n"
    "few = (min(run(FEW, new(), 3 * FEW) for _ in range(5)) - one) / (FEW - 1)\n"
    "print((run(N, new(), 3 * N) - one) / (N - 1) / few)"
)
GROWTH_WARM = GROWTH + (
    "small, single = new(), new()\nrun(FEW, small, 3 * FEW); run(1, single, 3)\n"
    "one = min(run(1, single, 0) for _ in range(20))\n"
    "few = (min(run(FEW, small, 0) for _ in range(20)) - one) / (FEW - 1)\n"
    "print((min(run(N, 'cache', 0) for _ in range(REPEAT)) - one) / (N - 1) / few)"
)

PEAK = "import resource, sys\nprint(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == 'darwin' else 1024) / 1e6)"
REVERSED = "xs.reverse()\n"
NO_CACHE = "pipeline = Pipeline(nodes)\nresult = pipeline.map({'x': xs}, map_over='x')\n" + PEAK

# -- the same by hand and with peers ----------------------------------------------------------------------------------

HAND_COLD = """
import os, pickle
xs = list(range(N))
start = time.perf_counter()
journal, group, rows = os.open('journal', os.O_WRONLY | os.O_CREAT), [], []
for x in xs:
    a = a_fn(x); b = b_fn(a); c = c_fn(b)
    rows.append({'a': a, 'b': b, 'c': c})
    group += (pickle.dumps(('a', x, a), 5), pickle.dumps(('b', a, b), 5), pickle.dumps(('c', b, c), 5))
    if len(group) >= 256:
        os.write(journal, b''.join(group)); group.clear()
os.write(journal, b''.join(group))
os.fsync(journal)
print((time.perf_counter() - start) / N)
"""
HAND_WARM = """
import pickle
xs = list(range(N))
start = time.perf_counter()
known, rows = {}, []
with open('journal', 'rb') as journal:
    while journal.peek(1):
        name, argument, result = pickle.load(journal)
        known[name, argument] = result
for x in xs:
    a = known['a', x]; b = known['b', a]; c = known['c', b]
    rows.append({'a': a, 'b': b, 'c': c})
print((time.perf_counter() - start) / N)
"""
ONCE = "xs = list(range(N))\nprint(best(lambda: [one(x) for x in xs], 1) / N)"
PIPEFUNC = (
    "from pipefunc import PipeFunc, Pipeline\n"
    "p = Pipeline([PipeFunc(f, n, cache=True) for n, f in zip('abc', (a_fn, b_fn, c_fn))], cache_type='disk',\n"
    "             cache_kwargs={'cache_dir': 'pf', 'with_lru_cache': False})\n"
    "def one(x): return p.run('c', kwargs={'x': x})\n" + ONCE
)
JOBLIB = (
    "from joblib import Memory\nm = Memory('jl', verbose=0)\nf, g, h = m.cache(a_fn), m.cache(b_fn), m.cache(c_fn)\n"
    "def one(x): return h(g(f(x)))\n" + ONCE
)
HAMILTON = (
    "import logging, pathlib\nfrom hamilton import driver\nlogging.getLogger('hamilton').setLevel(logging.ERROR)\n"
    "pathlib.Path('steps.py').write_text('def a(x: int) -> int:\\n    return x + 1\\n\\n'\n"
    "    'def b(a: int) -> int:\\n    return a * 2\\n\\ndef c(b: int) -> int:\\n    return b - 3\\n')\n"
    "import steps\nd = driver.Builder().with_modules(steps).with_cache(path='ham').build()\n"
    "def one(x): return d.execute(['c'], inputs={'x': x})\n" + ONCE
)
PEERS: dict[str, Programs] = {"pipefunc": PIPEFUNC, "joblib": JOBLIB, "hamilton": HAMILTON}
PEERS_AGAIN: dict[str, Programs] = {name: (program, program) for name, program in PEERS.items()}
SLOW = dict.fromkeys(PEERS, 2_000)

# -- a large array ----------------------------------------------------------------------------------------------------

ARRAY = "import numpy as np\ndef make(x): return np.arange(x, dtype='f8')\nSMALL, LARGE = 10, 8_000_000\n"
ARRAY_OURS = (
    ARRAY + OURS + "pipeline = Pipeline([node(output_name='y')(make)], cache='cache')\ndef get(x): return pipeline.run({'x': x})['y']\n"
)
ARRAY_JOBLIB = ARRAY + "from joblib import Memory\nget = Memory('jl', verbose=0).cache(make)\n"
ARRAY_HAND = ARRAY + "import pickle\ndef get(x):\n    with open(f'{x}.pickle', 'rb') as file: return pickle.load(file)\n"
PUT = "get(SMALL); get(LARGE)"
PUT_BY_HAND = "for x in SMALL, LARGE:\n    with open(f'{x}.pickle', 'wb') as file: pickle.dump(make(x), file, 5)"
LOAD = "get(SMALL)\nstart = time.perf_counter()\ny = get(LARGE)\nprint(time.perf_counter() - start)\nassert y[-1] == LARGE - 1"

ROWS = [
    Row(
        "cold",
        "cold `map`, 3 trivial nodes, {n:,} items, new process, empty disk cache, per item",
        "us",
        75,
        (COLD,),
        20_000,
        (HAND_COLD,),
        peers=PEERS,
        peer_n=SLOW,
        again=3,
    ),
    Row(
        "warm",
        "warm `map`, 3 trivial nodes, {n:,} items, new process, all outputs, per item",
        "us",
        12,
        (COLD, WARM),
        20_000,
        (HAND_COLD, HAND_WARM),
        peers=PEERS_AGAIN,
        peer_n=SLOW,
        again=5,
    ),
    Row("warm1e6", "the same with {n:,} items", "us", 12, (COLD, WARM), 1_000_000, (HAND_COLD, HAND_WARM), again=3),
    Row("last", "the same with {n:,} items, only the last output", "us", 5, (COLD, WARM_LAST), 20_000, again=5),
    Row("last1e6", "the same with {n:,} items, only the last output", "us", 5, (COLD, WARM_LAST), 1_000_000, again=3),
    Row(
        "growth-cold",
        "what an item of {n:,} adds to a cold `map`, over what one of 1,000 adds (above a `map` of one item, caches opened anew)",
        "x",
        1.3,
        GROWTH_COLD,
        1_000_000,
    ),
    Row(
        "growth-warm",
        "what an item of {n:,} adds to a warm `map`, over what one of 1,000 adds (likewise)",
        "x",
        1.3,
        (COLD, GROWTH_WARM),
        1_000_000,
    ),
    Row(
        "memory",
        "peak memory of a warm `map` of {n:,} items (3 results each), above that without a cache",
        "MB",
        300,
        (COLD, LOCAL + FOUND + PEAK),
        1_000_000,
        NODES + NO_CACHE,
        above=True,
    ),
    Row(  # notes pieces in its own order, so it comes after those with which it shares a cache
        "memory-reversed",
        "the same in reverse order, where each result is looked up by itself",
        "MB",
        300,
        (COLD, LOCAL + REVERSED + FOUND + PEAK),
        1_000_000,
        NODES + REVERSED + NO_CACHE,
        above=True,
    ),
    Row(
        "array",
        "a 64 MB array from a cache, in a new process that has read a small one",
        "ms",
        10,
        (ARRAY_OURS + PUT, ARRAY_OURS + LOAD),
        1,
        (ARRAY_HAND + PUT_BY_HAND, ARRAY_HAND + LOAD),
        peers={"joblib": (ARRAY_JOBLIB + PUT, ARRAY_JOBLIB + LOAD)},
        again=5,
    ),
    Row("s3-cold", "cold `map` of {n:,} items (3 results each) with a cache on S3", "requests", 2000, (BUCKET_COLD,), 1_000_000, s3=True),
    Row(
        "s3-warm",
        "warm `map` of {n:,} items from S3, new process, all outputs",
        "requests",
        2000,
        (BUCKET_COLD, BUCKET_WARM),
        1_000_000,
        s3=True,
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
