"""Edits, and whether a node must run again: identities of two versions of a small project, each in fresh processes.

Every project is written twice, in two folders; one process for each version and hash seed takes the identities of all of
them. A *miss* names the part of the manifest that must show the change.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

SEEDS = ("0", "1", "2")

RUNNER = """
import importlib, json, pathlib, sys, traceback
from hypernodes.identity.code import code_identity, own_name

root = pathlib.Path(sys.argv[1])
found = {}
for folder in sorted(root.iterdir()):
    path, modules = list(sys.path), set(sys.modules)
    sys.path[:0] = [str(folder), *(str(each) for each in folder.glob("*/site-packages"))]
    importlib.invalidate_caches()
    try:
        project = importlib.import_module("proj")
        case = json.loads((folder / "case.json").read_text())
        namespace = {**vars(project), "code_identity": code_identity, "proj": project}
        exec(case["do"], namespace)
        target = eval(case["target"], namespace)
        identity = code_identity(target)
        again = code_identity(target)
        found[folder.name] = {
            "digest": identity.digest.hex(),
            "again": again.digest.hex(),
            "manifest": dict(identity.manifest),
            "distributions": sorted(identity.distributions),
            "own": own_name(target),
        }
    except Exception:
        found[folder.name] = {"error": traceback.format_exc()}
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if getattr(sys.modules[name], "__file__", None) and str(root) in sys.modules[name].__file__:
            del sys.modules[name]
print(json.dumps(found))
"""


@dataclass
class Edit:
    name: str
    source: str
    change: Sequence[tuple[str, str]]
    same: bool = False
    part: str = ""  # a part that must differ
    target: str = "f"
    do: str = ""  # run after the import, in both versions
    do_after: str = ""  # run after the import, in the second version only
    distributions: list[str] | None = None
    versions: tuple[dict[str, str], dict[str, str]] = field(init=False)

    def __post_init__(self) -> None:
        before = textwrap.dedent(self.source)
        after = before
        for old, new in self.change:
            assert old in after, (self.name, old)
            after = after.replace(textwrap.dedent(old), textwrap.dedent(new))
        self.versions = files(before), files(after)


def files(text: str) -> dict[str, str]:
    """Split a text at lines such as ``=== hh.py``; what comes first is ``proj.py``."""
    found, name = {}, "proj.py"
    for line in text.splitlines(keepends=True):
        if line.startswith("=== "):
            name = line[4:].strip()
            found[name] = ""
        else:
            found[name] = found.get(name, "") + line
    return found


def hit(name: str, source: str, *change: tuple[str, str], **more: Any) -> Edit:
    return Edit(name, source, change, same=True, **more)


def miss(name: str, source: str, *change: tuple[str, str], part: str, **more: Any) -> Edit:
    return Edit(name, source, change, part=part, **more)


HELPER = """
    from hypernodes import node

    @node(output_name="y")
    def f(x):
        return h(x)

    def h(x):
        return x + 1
"""

# The table -----------------------------------------------------------------------------------------------------------------

TABLE = [
    hit("01 a comment", HELPER, ("return x + 1", "return x + 1  # more")),
    hit("02 the docstring", 'def f(x):\n    "Doc."\n    return x', ('"Doc."', '"Other."')),
    hit("02 the docstring removed", 'def f(x):\n    "Doc."\n    return x', ('    "Doc."\n', "")),
    hit("02 the docstring of a nested class", 'def f(x):\n    class C:\n        "Doc."\n    return C', ('"Doc."', '"Other."')),
    hit("03 quotes and layout", "def f(x): return h('a', (x + 1))\ndef h(a, b): return a", ("('a', (x + 1))", '("a",\n    x + 1,\n)')),
    hit(
        "04 an annotation",
        "def f(x: int) -> int:\n    y: int = x\n    return y",
        ("x: int)", "x: float)"),
        ("y: int", "y: str"),
        ("-> int", ""),
    ),
    hit("04 an annotation in a nested function", "def f(x):\n    def g(y: int): return y\n    return g(x)", ("y: int", "y: str")),
    hit(
        "05 moved inside its file",
        "def f(x): return x\nK = 1\ndef g(x): return 2\n",
        ("def f(x): return x\n", ""),
        ("return 2\n", "return 2\n\ndef f(x): return x\n"),
    ),
    hit(
        "06 something unrelated",
        HELPER + "\n    def other(): return 1\n    OTHER = 1\n",
        ("return 1\n", "return 2\n"),
        ("OTHER = 1", "OTHER = 2"),
    ),
    hit("07 another folder", HELPER),
    miss("08 a helper", HELPER, ("x + 1", "x + 2"), part="function proj.h"),
    miss(
        "09 a helper elsewhere",
        "from hh import h\ndef f(x): return h(x)\n=== hh.py\ndef h(x): return x + 1\n",
        ("+ 1", "+ 2"),
        part="function hh.h",
    ),
    miss("10 mod.h()", "import hh\ndef f(x): return hh.h(x)\n=== hh.py\ndef h(x): return x + 1\n", ("+ 1", "+ 2"), part="function hh.h"),
    hit(
        "10 mod.h(), another function of mod",
        "import hh\ndef f(x): return hh.h(x)\n=== hh.py\ndef h(x): return x\ndef g(x): return 1\n",
        ("1", "2"),
    ),
    miss("11 a helper of a helper", HELPER + "    def g(x): return x + 5\n", ("return x + 1", "return g(x)"), part="function proj.g"),
    miss(
        "11 a helper of a helper edited",
        "def f(x): return g(x)\ndef g(x): return h(x)\ndef h(x): return 1",
        ("1", "2"),
        part="function proj.h",
    ),
    miss(
        "12 imported in the body",
        "def f(x):\n    from hh import h\n    return h(x)\n=== hh.py\ndef h(x): return 1\n",
        ("1", "2"),
        part="function hh.h",
    ),
    hit(
        "12 imported in the body, something else edited",
        "def f(x):\n    from hh import h\n    return h(x)\n=== hh.py\ndef h(x): return 1\ndef g(): return 3\n",
        ("3", "4"),
    ),
    miss("13 a constant", "K = 1\ndef f(x): return x + K", ("K = 1", "K = 2"), part="constant proj.K"),
    miss("14 cfg.K", "import cfg\ndef f(x): return cfg.K\n=== cfg.py\nK = 1\n", ("K = 1", "K = 2"), part="constant cfg.K"),
    miss("15 a default", "K = 1\ndef f(x, k=K): return x + k", ("K = 1", "K = 2"), part="default k of proj.f"),
    miss("16 a keyword-only default", "def f(x, *, k=1): return x + k", ("k=1", "k=2"), part="default k of proj.f"),
    miss(
        "17 a closure",
        "def make(n):\n    def f(x): return x + n\n    return f\nf = make(1)",
        ("make(1)", "make(2)"),
        part="closure n of proj.make.<locals>.f",
    ),
    miss(
        "18 partial",
        "from functools import partial\ndef g(x, k): return x + k\nf = partial(g, k=1)",
        ("k=1", "k=2"),
        part="partial argument k of proj.g",
    ),
    miss(
        "18 partial, positional",
        "from functools import partial\ndef g(k, x): return x + k\nf = partial(g, 1)",
        ("g, 1", "g, 2"),
        part="partial argument 0 of proj.g",
    ),
    miss(
        "19 lambdas on one line",
        "a, b = lambda x: x + 1, lambda x: x + 2\nf = a",
        ("x + 1, lambda x: x + 2", "x + 2, lambda x: x + 1"),
        part="function proj.<lambda>",
    ),
    miss(
        "20 its decorator",
        """
        def deco(g):
            def inner(x): return g(x) + 1
            return inner
        @deco
        def f(x): return x
        """,
        ("g(x) + 1", "g(x) + 2"),
        part="function proj.deco.<locals>.inner",
    ),
    miss(
        "21 its decorator's argument",
        """
        N = 1
        def deco(n):
            def outer(g):
                def inner(x): return g(x) + n
                return inner
            return outer
        @deco(N)
        def f(x): return x
        """,
        ("N = 1", "N = 2"),
        part="closure n of proj.deco.<locals>.outer.<locals>.inner",
    ),
    miss(
        "22 under functools.wraps",
        """
        import functools
        def deco(g):
            @functools.wraps(g)
            def inner(x): return g(x)
            return inner
        @deco
        def f(x): return x + 1
        """,
        ("x + 1", "x + 2"),
        part="function proj.f",
    ),
    miss("23 a method", "class D:\n    def m(self): return 1\ndef f(x): return D().m()", ("return 1", "return 2"), part="method proj.D.m"),
    miss(
        "24 a method of the base",
        "class B:\n    def m(self): return 1\nclass D(B): pass\ndef f(x): return D().m()",
        ("return 1", "return 2"),
        part="method proj.B.m",
    ),
    miss("25 a class attribute", "class D:\n    K = 1\ndef f(x): return D.K", ("K = 1", "K = 2"), part="constant proj.D.K"),
    miss(
        "26 a as g, b as g",
        "from hh import a as g\ndef f(x): return g(x)\n=== hh.py\ndef a(x): return 1\ndef b(x): return 1\n",
        ("a as g", "b as g"),
        part="name proj.g",
    ),
    miss(
        "27 a registry",
        "def h(x): return 1\nREG = {'h': h}\ndef f(x): return REG['h'](x)",
        ("return 1", "return 2"),
        part="function proj.h",
    ),
    miss(
        "27 another function in the registry",
        "def h(x): return 1\ndef g(x): return 1\nREG = {'h': h}\ndef f(x): return REG['h'](x)",
        ("'h': h", "'h': g"),
        part="constant proj.REG",
    ),
    miss(
        "28 a callable object",
        "class C:\n    def __init__(self, k): self.k = k\n    def __call__(self, x): return x + self.k\nf = C(1)",
        ("C(1)", "C(2)"),
        part="target proj.C",
    ),
    miss(
        "28 a callable object's class",
        "class C:\n    def __call__(self, x): return x + 1\nf = C()",
        ("x + 1", "x + 2"),
        part="method proj.C.__call__",
    ),
    miss(
        "29 a bound method's object",
        "class C:\n    def __init__(self, k): self.k = k\n    def m(self, x): return x + self.k\nf = C(1).m",
        ("C(1)", "C(2)"),
        part="self of proj.C.m",
    ),
    miss("30 a builtin shadowed", "def f(x): return sum(x)\n", ("def f", "def sum(x): return 0\ndef f"), part="function proj.sum"),
    miss(
        "31 mutual recursion",
        "def f(x): return x and g(x - 1)\ndef g(x): return f(x) + 1",
        ("f(x) + 1", "f(x) + 2"),
        part="function proj.g",
    ),
    miss(
        "31 mutual recursion, the other one",
        "def f(x): return x and g(x - 1)\ndef g(x): return f(x)",
        ("x - 1", "x - 2"),
        part="function proj.f",
        target="g",
    ),
    miss("32 an array", "import numpy as np\nA = np.arange(5)\ndef f(x): return A + x", ("arange(5)", "arange(6)"), part="constant proj.A"),
    miss("33 exec", "exec('def f(x): return x + 1')", ("x + 1", "x + 2"), part="function proj.f"),
    miss("33 a helper made by exec", "exec('def h(x): return x + 1')\ndef f(x): return h(x)", ("x + 1", "x + 2"), part="function proj.h"),
    hit("33 exec, a comment", "exec('def f(x): return x + 1')", ("x + 1", "x + 1 # plus one")),
    hit("34 a set", "def f(x): return x in {'a', 'b', 'c', 'd', 1, (2, 3)}\n"),
    hit("34 a global set", "S = {'a', 'b', 'c', 'd', 1, (2, 3)}\ndef f(x): return x in S\n"),
    hit("34 a set in a function made by exec", 'exec(\'def f(x): return x in {"a", "b", "c", "d"}\')\n'),
    hit(
        "35 a list it appends to",
        "def make():\n    calls = []\n    def f(x):\n        calls.append(x)\n        return x\n    return f\nf = make()",
        do_after="code_identity(f); f(1); f(2)",
    ),
    hit(
        "36 a memo a helper fills",
        "M = {}\ndef h(x):\n    M[x] = 1\n    return M[x]\ndef f(x): return h(x)",
        do_after="code_identity(f); f(1); f(2)",
    ),
    miss(
        "37 a dict someone else changes",
        "CFG = {'k': 1}\ndef f(x): return CFG['k']",
        part="constant proj.CFG",
        do_after="code_identity(f); CFG['k'] = 2",
    ),
    hit(
        "38 a logger and a lock",
        "import logging, threading\nL = logging.getLogger('a')\nK = threading.Lock()\ndef f(x):\n    with K: L.info(x)\n",
        ("getLogger('a')", "getLogger('b')"),
    ),
    hit(
        "39 a library",
        "import lib\ndef f(x): return lib.g(x)\n=== v/site-packages/lib.py\ndef g(x): return 1\n=== v/site-packages/lib-1.dist-info/METADATA\nName: lib\nVersion: 1\n=== v/site-packages/lib-1.dist-info/RECORD\nlib.py,,\n",
        ("return 1", "return 2"),
        distributions=["lib"],
    ),
    hit(
        "40 a library that is not reached",
        "import lib\ndef f(x): return x\n=== v/site-packages/lib.py\ndef g(x): return 1\n=== v/site-packages/lib-1.dist-info/METADATA\nName: lib\nVersion: 1\n=== v/site-packages/lib-1.dist-info/RECORD\nlib.py,,\n",
        ("return 1", "return 2"),
        distributions=[],
    ),
    miss(
        "41 an editable package",
        "import sys, os\nsys.path.append(os.path.join(os.path.dirname(__file__), 'src'))\nfrom lib import g\ndef f(x): return g(x)\n"
        "=== src/lib.py\ndef g(x): return 1\n=== v/site-packages/lib-1.dist-info/METADATA\nName: lib\nVersion: 1\n"
        "=== v/site-packages/lib-1.dist-info/RECORD\n__editable__.lib.pth,,\n",
        ("return 1", "return 2"),
        part="function lib.g",
        distributions=[],
    ),
    hit("43 A again", HELPER),
    miss(
        "45 a method of what it is given",
        "class Doc:\n    def words(self): return 1\n",
        ("return 1", "return 2"),
        part="method proj.Doc.words",
        target="Doc",
    ),
    miss(
        "46 a property",
        "class Doc:\n    @property\n    def words(self): return 1\n",
        ("return 1", "return 2"),
        part="method proj.Doc.words",
        target="Doc",
    ),
    miss(
        "47 one key written, another edited",
        "CFG = {'factor': 1}\ndef f(x):\n    CFG['calls'] = 1\n    return x * CFG['factor']",
        ("'factor': 1", "'factor': 2"),
        part="constant proj.CFG",
    ),
    hit(
        "47 one key written, after a call",
        "CFG = {'factor': 1}\ndef f(x):\n    CFG['calls'] = x\n    return x * CFG['factor']",
        do_after="code_identity(f); f(7)",
    ),
    miss(
        "47 one key written, another changed by someone else",
        "CFG = {'factor': 1}\ndef f(x):\n    CFG['calls'] = x\n    return CFG['factor']",
        part="constant proj.CFG",
        do_after="code_identity(f); f(7); CFG['factor'] = 3",
    ),
    hit(
        "48 np.append",
        "import numpy as np\ndef f(x): return np.append(x, 1)\ndef g(x): return np.ones(3)",
        ("ones(3)", "zeros(3)"),
        distributions=["numpy"],
    ),
    miss("49 globals()['h']", "def f(x): return globals()['h'](x)\ndef h(x): return 1", ("return 1", "return 2"), part="function proj.h"),
    miss(
        "49 a computed name", "def f(x): return globals()['h' + '']\ndef h(x): return 1", ("return 1", "return 2"), part="function proj.h"
    ),
    miss(
        "50 another node",
        "from hypernodes import node\n@node\ndef clean(x): return 1\n@node\ndef f(x): return clean(x)",
        ("return 1", "return 2"),
        part="function proj.clean",
    ),
    miss(
        "50 the node itself",
        "from hypernodes import node\n@node\ndef clean(x): return 1\n@node\ndef f(x): return clean(x)",
        ("return 1", "return 2"),
        part="function proj.clean",
        target="clean",
    ),
]

# More ----------------------------------------------------------------------------------------------------------------------

MORE = [
    miss(
        "nonlocal",
        "def make():\n    n = 1\n    def f(x):\n        nonlocal n\n        n += x\n        return n\n    return f\nf = make()",
        ("n = 1", "n = 2"),
        part="closure n of proj.make.<locals>.f",
    ),
    hit(
        "nonlocal, after a call",
        "def make():\n    n = 1\n    def f(x):\n        nonlocal n\n        n += x\n        return n\n    return f\nf = make()",
        do_after="code_identity(f); f(3)",
    ),
    hit("a global counter, after a call", "n = 0\ndef f(x):\n    global n\n    n += 1\n    return x", do_after="code_identity(f); f(3)"),
    hit(
        "a function attribute as counter, after a call",
        "def f(x):\n    f.calls += 1\n    return x\nf.calls = 0",
        do_after="code_identity(f); f(3)",
    ),
    hit("a default that collects, after a call", "def f(x, seen=[]):\n    seen.append(x)\n    return x", do_after="code_identity(f); f(3)"),
    miss(
        "a default that collects, edited",
        "def f(x, seen=[]):\n    seen.append(x)\n    return x",
        ("seen=[]", "seen=[1]"),
        part="default seen of proj.f",
    ),
    hit(
        "a counter of another module, after a call",
        "import st\ndef f(x):\n    st.n += 1\n    st.seen[x] = 1\n    return x\n=== st.py\nn = 0\nseen = {}\n",
        do_after="code_identity(f); f(3)",
    ),
    hit(
        "nested containers, after a call",
        "C = {'a': []}\ndef f(x):\n    C['a'].append(x)\n    C.setdefault('b', {})['k'] = x\n    return x",
        do_after="code_identity(f); f(3)",
    ),
    hit("an alias of a memo, after a call", "M = {}\ndef f(x):\n    m = M\n    m[x] = 1\n    return x", do_after="code_identity(f); f(3)"),
    hit(
        "a memo that holds functions, after a call",
        "M = {}\ndef h(x): return x\ndef f(x):\n    M[x] = h\n    return x",
        do_after="code_identity(f); f(3)",
    ),
    hit(
        "lazily made, after a call",
        "M = None\ndef model():\n    global M\n    if M is None: M = object()\n    return M\ndef f(x): return model()",
        do_after="code_identity(f); f(3)",
    ),
    hit(
        "lru_cache, after a call",
        "import functools\n@functools.lru_cache\ndef h(x): return x\ndef f(x): return h(x)",
        do_after="code_identity(f); f(3)",
    ),
    miss(
        "under lru_cache",
        "import functools\n@functools.lru_cache\ndef h(x): return 1\ndef f(x): return h(x)",
        ("return 1", "return 2"),
        part="function proj.h",
    ),
    miss(
        "staticmethod",
        "class D:\n    @staticmethod\n    def m(): return 1\ndef f(x): return D.m()",
        ("return 1", "return 2"),
        part="method proj.D.m",
    ),
    miss(
        "classmethod",
        "class D:\n    @classmethod\n    def m(cls): return 1\ndef f(x): return D.m()",
        ("return 1", "return 2"),
        part="method proj.D.m",
    ),
    miss(
        "a setter",
        "class D:\n    @property\n    def m(self): return 1\n    @m.setter\n    def m(self, v): self.v = 1\ndef f(x): D().m = x",
        ("self.v = 1", "self.v = 2"),
        part="method proj.D.m (2)",
    ),
    miss(
        "from method to classmethod",
        "class D:\n    @classmethod\n    def m(cls): return 1\ndef f(x): return D.m()",
        ("@classmethod", "@staticmethod"),
        part="attribute m of proj.D",
    ),
    miss(
        "cached_property",
        "import functools\nclass D:\n    @functools.cached_property\n    def m(self): return 1\ndef f(x): return D().m",
        ("return 1", "return 2"),
        part="method proj.D.m",
    ),
    miss(
        "a metaclass",
        "class M(type):\n    def __call__(cls, *a): return 1\nclass D(metaclass=M): pass\ndef f(x): return D()",
        ("return 1", "return 2"),
        part="method proj.M.__call__",
    ),
    miss(
        "a metaclass added",
        "class M(type): pass\nclass D: pass\ndef f(x): return D()",
        ("class D:", "class D(metaclass=M):"),
        part="class proj.D",
    ),
    miss("the bases", "class A: pass\nclass B: pass\nclass D(A, B): pass\ndef f(x): return D()", ("(A, B)", "(B, A)"), part="class proj.D"),
    miss(
        "super()",
        "class A:\n    def m(self): return 1\nclass D(A):\n    def m(self): return super().m()\ndef f(x): return D().m()",
        ("return 1", "return 2"),
        part="method proj.A.m",
    ),
    miss(
        "super() from the method alone",
        "class A:\n    def m(self): return 1\nclass D(A):\n    def m(self): return super().m()\nf = D.m",
        ("return 1", "return 2"),
        part="method proj.A.m",
    ),
    miss(
        "singledispatch",
        "import functools\n@functools.singledispatch\ndef h(x): return 0\n@h.register\ndef _(x: int): return 1\ndef f(x): return h(x)",
        ("return 1", "return 2"),
        part="function proj._",
    ),
    miss(
        "singledispatch, for another type",
        "import functools\n@functools.singledispatch\ndef h(x): return 0\n@h.register\ndef _(x: int): return 1\ndef f(x): return h(x)",
        ("x: int", "x: str"),
        part="registry of functools.singledispatch.<locals>.wrapper around h",
    ),
    hit(
        "singledispatch, after a call",
        "import functools\n@functools.singledispatch\ndef h(x): return 0\n@h.register\ndef _(x: int): return 1\ndef f(x): return h(x)",
        do_after="code_identity(f); f(1); f('a')",
    ),
    miss(
        "a default factory",
        "from dataclasses import dataclass, field\n@dataclass\nclass D:\n    x: list = field(default_factory=lambda: [1])\ndef f(x): return D()",
        ("[1]", "[2]"),
        part="function proj.D.<lambda>",
    ),
    miss(
        "a field's default",
        "from dataclasses import dataclass\n@dataclass\nclass D:\n    x: int = 1\ndef f(x): return D()",
        ("int = 1", "int = 2"),
        part="constant proj.D.x",
    ),
    miss(
        "a field's name",
        "from dataclasses import dataclass\n@dataclass\nclass D:\n    x: int = 1\ndef f(x): return D()",
        ("x: int", "y: int"),
        part="class proj.D",
    ),
    hit(
        "a field's annotation",
        "from dataclasses import dataclass\n@dataclass\nclass D:\n    x: int = 1\ndef f(x): return D()",
        ("x: int", "x: float"),
    ),
    miss(
        "a frozen dataclass",
        "from dataclasses import dataclass\n@dataclass\nclass D:\n    x: int\ndef f(x): return D(x)",
        ("@dataclass", "@dataclass(frozen=True)"),
        part="class proj.D",
    ),
    miss(
        "a method of a dataclass",
        "from dataclasses import dataclass\n@dataclass\nclass D:\n    x: int\n    def m(self): return 1\ndef f(x): return D(x)",
        ("return 1", "return 2"),
        part="method proj.D.m",
    ),
    miss(
        "an attrs converter",
        "import attrs\ndef c(x): return 1\n@attrs.define\nclass D:\n    x: int = attrs.field(converter=c)\ndef f(x): return D(x)",
        ("return 1", "return 2"),
        part="function proj.c",
        distributions=["attrs"],
    ),
    miss(
        "an attrs default",
        "import attrs\n@attrs.define\nclass D:\n    x: int = 1\ndef f(x): return D()",
        ("int = 1", "int = 2"),
        part="constant proj.D.field x",
    ),
    miss(
        "an enum member's value",
        "import enum\nclass E(enum.Enum):\n    A = 1\n    B = 2\ndef f(x): return E.A",
        ("A = 1", "A = 3"),
        part="constant proj.E.A",
    ),
    miss(
        "a method of an enum",
        "import enum\nclass E(enum.Enum):\n    A = 1\n    def m(self): return 1\ndef f(x): return E.A.m()",
        ("return 1", "return 2"),
        part="method proj.E.m",
    ),
    miss(
        "an enum member as a constant",
        "import enum\nclass E(enum.Enum):\n    A = 1\n    B = 2\nK = E.A\ndef f(x): return K",
        ("K = E.A", "K = E.B"),
        part="constant proj.K",
    ),
    miss(
        "closures made in a loop",
        "FS = []\nfor i in range(3):\n    def h(x, i=i): return x + i\n    FS.append(h)\ndef f(x): return FS[0](x)",
        ("x + i", "x - i"),
        part="function proj.h",
    ),
    miss(
        "closures made in a loop, other values",
        "FS = []\nfor i in range(3):\n    def h(x, i=i): return x + i\n    FS.append(h)\ndef f(x): return FS[0](x)",
        ("range(3)", "range(1, 4)"),
        part="default i of proj.h",
    ),
    miss(
        "a generator",
        "def g(n):\n    for i in range(n): yield i + 1\ndef f(x): return list(g(x))",
        ("i + 1", "i + 2"),
        part="function proj.g",
    ),
    miss("a coroutine", "async def g(n): return n + 1\nasync def f(x): return await g(x)", ("n + 1", "n + 2"), part="function proj.g"),
    miss(
        "an async generator",
        "async def g(n):\n    yield n + 1\nasync def f(x): return [i async for i in g(x)]",
        ("n + 1", "n + 2"),
        part="function proj.g",
    ),
    miss(
        "a comprehension's helper",
        "def h(x): return 1\ndef f(x): return [h(i) for i in x if h(i)]",
        ("return 1", "return 2"),
        part="function proj.h",
    ),
    miss(
        "a lambda's helper",
        "def h(x): return 1\ndef f(x): return sorted(x, key=lambda i: h(i))",
        ("return 1", "return 2"),
        part="function proj.h",
    ),
    miss(
        "a nested function's helper",
        "def h(x): return 1\ndef f(x):\n    def g():\n        def k(): return h(x)\n        return k\n    return g()()",
        ("return 1", "return 2"),
        part="function proj.h",
    ),
    miss(
        "a class made in the body",
        "def h(x): return 1\ndef f(x):\n    class C:\n        y = h(x)\n    return C.y",
        ("return 1", "return 2"),
        part="function proj.h",
    ),
    miss(
        "a default of a nested function",
        "K = 1\ndef f(x):\n    def g(k=K): return k\n    return g()",
        ("K = 1", "K = 2"),
        part="constant proj.K",
    ),
    miss(
        "conditional imports",
        "try:\n    from fast import h\nexcept ImportError:\n    from slow import h\ndef f(x): return h(x)\n=== slow.py\ndef h(x): return 1\n",
        ("return 1", "return 2"),
        part="function slow.h",
    ),
    miss(
        "star imports",
        "from hh import *\ndef f(x): return h(x)\n=== hh.py\ndef h(x): return 1\n",
        ("return 1", "return 2"),
        part="function hh.h",
    ),
    miss(
        "import a.b as c",
        "import pk.sub as c\ndef f(x): return c.h(x)\n=== pk/__init__.py\n=== pk/sub.py\ndef h(x): return 1\n",
        ("return 1", "return 2"),
        part="function pk.sub.h",
    ),
    miss(
        "import a.b",
        "import pk.sub\ndef f(x): return pk.sub.h(x)\n=== pk/__init__.py\n=== pk/sub.py\ndef h(x): return 1\n",
        ("return 1", "return 2"),
        part="function pk.sub.h",
    ),
    hit(
        "import a.b, the package edited",
        "import pk.sub\ndef f(x): return pk.sub.h(x)\n=== pk/__init__.py\nK = 1\n=== pk/sub.py\ndef h(x): return 5\n",
        ("K = 1", "K = 2"),
    ),
    miss(
        "re-exported by a package",
        "import pk\ndef f(x): return pk.h(x)\n=== pk/__init__.py\nfrom pk.sub import h\n=== pk/sub.py\ndef h(x): return 1\n",
        ("return 1", "return 2"),
        part="function pk.sub.h",
    ),
    miss(
        "re-exported under another name",
        "import pk\ndef f(x): return pk.h(x)\n=== pk/__init__.py\nfrom pk.sub import a as h\n=== pk/sub.py\ndef a(x): return 1\ndef b(x): return 1\n",
        ("import a as h", "import b as h"),
        part="name pk.h",
    ),
    miss(
        "a namespace package",
        "import ns.sub\ndef f(x): return ns.sub.h(x)\n=== ns/sub.py\ndef h(x): return 1\n",
        ("return 1", "return 2"),
        part="function ns.sub.h",
    ),
    miss(
        "a relative import in the body",
        "import pk.m\nf = pk.m.f\n=== pk/__init__.py\n=== pk/m.py\ndef f(x):\n    from .sub import h\n    return h(x)\n=== pk/sub.py\ndef h(x): return 1\n",
        ("return 1", "return 2"),
        part="function pk.sub.h",
    ),
    miss(
        "a relative import of a module in the body",
        "import pk.m\nf = pk.m.f\n=== pk/__init__.py\n=== pk/m.py\ndef f(x):\n    from . import sub\n    return sub.h(x)\n=== pk/sub.py\ndef h(x): return 1\n",
        ("return 1", "return 2"),
        part="function pk.sub.h",
    ),
    miss(
        "import a.b as c in the body",
        "def f(x):\n    import pk.sub as c\n    return c.h(x)\n=== pk/__init__.py\n=== pk/sub.py\ndef h(x): return 1\n",
        ("return 1", "return 2"),
        part="function pk.sub.h",
    ),
    miss(
        "import a.b in the body",
        "def f(x):\n    import pk.sub\n    return pk.sub.h(x)\n=== pk/__init__.py\n=== pk/sub.py\ndef h(x): return 1\n",
        ("return 1", "return 2"),
        part="function pk.sub.h",
    ),
    miss(
        "imported in the body, transitively",
        "def f(x):\n    from hh import h\n    return h(x)\n=== hh.py\nfrom gg import g as k\ndef h(x): return k(x)\n=== gg.py\ndef g(x): return 1\n",
        ("return 1", "return 2"),
        part="function gg.g",
    ),
    miss(
        "imported in the body, in its body",
        "def f(x):\n    from hh import h\n    return h(x)\n=== hh.py\ndef h(x):\n    import gg\n    return gg.g(x)\n=== gg.py\ndef g(x): return 1\n",
        ("return 1", "return 2"),
        part="function gg.g",
    ),
    miss(
        "imported in the body, a constant",
        "def f(x):\n    import hh\n    return hh.K\n=== hh.py\nK = 1\n",
        ("K = 1", "K = 2"),
        part="constant hh.K",
    ),
    miss(
        "imported in the body, a class",
        "def f(x):\n    from hh import C\n    return C().m()\n=== hh.py\nclass C:\n    def m(self): return 1\n",
        ("return 1", "return 2"),
        part="method hh.C.m",
    ),
    miss(
        "imported in the body, decorated",
        "def f(x):\n    from hh import h\n    return h(x)\n=== hh.py\nfrom dd import d\n@d\ndef h(x): return x\n=== dd.py\ndef d(g): return lambda x: 1\n",
        ("x: 1", "x: 2"),
        part="function dd.d",
    ),
    hit(
        "imported in the body, after a call",
        "def f(x):\n    from hh import h\n    return h(x)\n=== hh.py\nimport math\nfrom gg import G\nK = 1\ndef h(x, k=2): return math.floor(x) + K + G\n=== gg.py\nG = 3\n",
        do_after="code_identity(f); f(1)",
    ),
    hit(
        "a class imported in the body, after a call",
        "def f(x):\n    from hh import C\n    return C().m()\n=== hh.py\nclass B:\n    def b(self): return 1\nclass C(B):\n    'Doc.'\n    K = 1\n    def m(self, k=1): return self.b() + self.p\n    @property\n    def p(self): return 1\n    @staticmethod\n    def s(): return 2\n",
        do_after="code_identity(f); f(1)",
    ),
    miss(
        "imported for what importing does",
        "def f(x):\n    import hh\n    return x\n=== hh.py\nK = 1\n",
        ("K = 1", "K = 2"),
        part="module hh",
    ),
    hit(
        "a library imported in the body",
        "def f(x):\n    import json, numpy.linalg\n    return json.dumps(x), numpy.linalg.norm(x)\n",
        distributions=["numpy"],
    ),
    miss(
        "a class decorator",
        "def deco(c):\n    c.extra = lambda self: 1\n    return c\n@deco\nclass D: pass\ndef f(x): return D().extra()",
        ("self: 1", "self: 2"),
        part="function proj.deco.<locals>.<lambda>",
    ),
    miss(
        "a descriptor",
        "class P:\n    def __get__(self, o, t): return 1\nclass D:\n    p = P()\ndef f(x): return D().p",
        ("return 1", "return 2"),
        part="method proj.P.__get__",
    ),
    miss(
        "a descriptor's state",
        "class P:\n    def __init__(self, k): self.k = k\n    def __get__(self, o, t): return self.k\nclass D:\n    p = P(1)\ndef f(x): return D().p",
        ("P(1)", "P(2)"),
        part="constant proj.D.p",
    ),
    miss(
        "attrgetter on a module",
        "import operator, hh\ndef f(x): return operator.attrgetter('h')(hh)(x)\n=== hh.py\ndef h(x): return 1\n",
        ("return 1", "return 2"),
        part="function hh.h",
    ),
    miss(
        "getattr with a constant",
        "import hh\ndef f(x): return getattr(hh, 'h')(x)\n=== hh.py\ndef h(x): return 1\ndef g(): return 3\n",
        ("return 1", "return 2"),
        part="function hh.h",
    ),
    hit(
        "getattr with a constant, something else edited",
        "import hh\ndef f(x): return getattr(hh, 'h')(x)\n=== hh.py\ndef h(x): return 1\ndef g(): return 3\n",
        ("return 3", "return 4"),
    ),
    miss(
        "a computed getattr",
        "import hh\ndef f(x): return getattr(hh, 'h' + x)\n=== hh.py\ndef ha(): return 1\n",
        ("return 1", "return 2"),
        part="function hh.ha",
    ),
    miss(
        "vars of a module",
        "import hh\ndef f(x): return vars(hh)[x]\n=== hh.py\ndef ha(): return 1\n",
        ("return 1", "return 2"),
        part="function hh.ha",
    ),
    miss(
        "the __dict__ of a module",
        "import hh\ndef f(x): return hh.__dict__[x]\n=== hh.py\ndef ha(): return 1\n",
        ("return 1", "return 2"),
        part="function hh.ha",
    ),
    miss("eval", "def f(x): return eval('h(x)')\ndef h(x): return 1", ("return 1", "return 2"), part="function proj.h"),
    miss("exec in the body", "def f(x):\n    exec('h(x)')\ndef h(x): return 1", ("return 1", "return 2"), part="function proj.h"),
    miss(
        "builtins.eval",
        "import builtins\ndef f(x): return builtins.eval('h(x)')\ndef h(x): return 1",
        ("return 1", "return 2"),
        part="function proj.h",
    ),
    miss("__globals__", "def f(x): return f.__globals__['h'](x)\ndef h(x): return 1", ("return 1", "return 2"), part="function proj.h"),
    miss(
        "import_module of a constant",
        "import importlib\ndef f(x): return importlib.import_module('hh').h(x)\n=== hh.py\ndef h(x): return 1\n",
        ("return 1", "return 2"),
        part="module hh",
    ),
    miss(
        "import_module of a computed name",
        "import importlib, hh\ndef f(x): return importlib.import_module(x).h(x)\n=== hh.py\ndef h(x): return 1\n",
        ("return 1", "return 2"),
        part="function hh.h",
    ),
    miss(
        "a module of the package that only a computed name imports",
        "import pk.m\nf = pk.m.f\n=== pk/__init__.py\n=== pk/m.py\nimport importlib\ndef f(x): return importlib.import_module('pk.' + x).h(x)\n"
        "=== pk/sub.py\nfrom pk.deep import k\ndef h(x): return 1\n=== pk/deep/__init__.py\ndef k(x): return 1\n",
        ("def h(x): return 1", "def h(x): return 2"),
        part="module pk.sub",
    ),
    miss(
        "a package of the package that only a computed name imports",
        "import pk.m\nf = pk.m.f\n=== pk/__init__.py\n=== pk/m.py\ndef f(x): return __import__(x).h(x)\n"
        "=== pk/deep/__init__.py\n=== pk/deep/sub.py\ndef h(x): return 1\n",
        ("return 1", "return 2"),
        part="module pk.deep.sub",
    ),
    miss(
        "a module beside, that only a computed name imports",
        "import importlib\ndef f(x): return importlib.import_module(x).h(x)\n=== hh.py\ndef h(x): return 1\n=== plug/__init__.py\n"
        "=== plug/sub.py\ndef h(x): return 5\n",
        ("return 1", "return 2"),
        ("return 5", "return 6"),
        part="module plug.sub",
    ),
    hit(
        "modules that only a computed name imports, reformatted",
        "import pk.m\nf = pk.m.f\n=== pk/__init__.py\n=== pk/m.py\ndef f(x): return __import__(x).h(x)\n"
        "=== pk/sub.py\ndef h(x): return 1\n=== elsewhere.py\ndef h(x): return 5\n",
        ("return 1", "return (1)  # one"),
        ("return 5", "return 6"),
    ),
    miss(
        "import_module under another name",
        "from importlib import import_module as load\ndef f(x): return load(x).h(x)\n=== hh.py\ndef h(x): return 1\n",
        ("return 1", "return 2"),
        part="module hh",
    ),
    miss(
        "import_module as a value",
        "import importlib\ndef f(x): return list(map(importlib.import_module, x))\n=== hh.py\ndef h(x): return 1\n",
        ("return 1", "return 2"),
        part="module hh",
    ),
    miss(
        "runpy",
        "import runpy\ndef f(x): return runpy.run_path(x)['h'](x)\n=== hh.py\ndef h(x): return 1\n",
        ("return 1", "return 2"),
        part="module hh",
    ),
    miss(
        "a function put into a library",
        "import colorsys\ndef h(x): return 1\ncolorsys.ours = h\ndef f(x): return colorsys.ours(x)",
        ("return 1", "return 2"),
        part="function proj.h",
    ),
    miss(
        "a function put into a library, called by a module imported in the body",
        "import colorsys\ndef h(x): return 1\ncolorsys.ours = h\ndef f(x):\n    import colorsys as c\n    return c.ours(x)",
        ("return 1", "return 2"),
        part="function proj.h",
    ),
    miss(
        "sys.modules",
        "import sys, hh\ndef f(x): return sys.modules['hh'].h(x)\n=== hh.py\ndef h(x): return 1\n",
        ("return 1", "return 2"),
        part="function hh.h",
    ),
    miss(
        "a module's __getattr__",
        "import hh\ndef f(x): return hh.lazy\n=== hh.py\ndef __getattr__(name): return 1\n",
        ("return 1", "return 2"),
        part="function hh.__getattr__",
    ),
    miss(
        "functools.reduce",
        "import functools\ndef h(a, b): return 1\ndef f(x): return functools.reduce(h, x)",
        ("return 1", "return 2"),
        part="function proj.h",
    ),
    miss(
        "a dict of lambdas",
        "OPS = {'a': lambda x: x + 1, 'b': lambda x: x + 2}\ndef f(x): return OPS['a'](x)",
        ("x + 1", "x + 3"),
        part="function proj.<lambda>",
    ),
    miss(
        "a dict of lambdas, swapped",
        "OPS = {'a': lambda x: x + 1, 'b': lambda x: x + 2}\ndef f(x): return OPS['a'](x)",
        ("'a': lambda x: x + 1, 'b': lambda x: x + 2", "'b': lambda x: x + 1, 'a': lambda x: x + 2"),
        part="constant proj.OPS",
    ),
    miss(
        "a list of classes",
        "class A:\n    def m(self): return 1\nALL = [A]\ndef f(x): return ALL[0]().m()",
        ("return 1", "return 2"),
        part="method proj.A.m",
    ),
    miss(
        "functions deep in a container",
        "def h(x): return 1\nT = {'a': [(0, {'b': h})]}\ndef f(x): return T['a'][0][1]['b'](x)",
        ("return 1", "return 2"),
        part="function proj.h",
    ),
    miss(
        "a partial in a container",
        "import functools\ndef h(k, x): return 1\nT = [functools.partial(h, 1)]\ndef f(x): return T[0](x)",
        ("h, 1", "h, 2"),
        part="constant proj.T",
    ),
    miss(
        "an object that holds a function",
        "class C: pass\ndef h(x): return 1\nO = C()\nO.h = h\ndef f(x): return O.h(x)",
        ("return 1", "return 2"),
        part="function proj.h",
    ),
    miss(
        "an object with a lock",
        "import threading\nclass C:\n    def __init__(self): self.lock = threading.Lock(); self.k = 1\nO = C()\ndef f(x): return O.k",
        ("self.k = 1", "self.k = 2"),
        part="constant proj.O",
    ),
    hit(
        "an object with a lock, unchanged",
        "import threading\nclass C:\n    def __init__(self): self.lock = threading.Lock(); self.k = {'a', 'b', 'c'}\nO = C()\ndef f(x): return O.k",
    ),
    miss(
        "a dict with a lock and a function",
        "import threading\ndef h(x): return 1\nT = {'lock': threading.Lock(), 'h': h}\ndef f(x): return T['h'](x)",
        ("return 1", "return 2"),
        part="function proj.h",
    ),
    miss(
        "a frame",
        "import pandas as pd\nD = pd.DataFrame({'a': [1, 2]})\ndef f(x): return D.a",
        ("[1, 2]", "[1, 3]"),
        part="constant proj.D",
        distributions=["pandas"],
    ),
    miss("a path", "from pathlib import Path\nP = Path('a')\ndef f(x): return P", ("'a'", "'b'"), part="constant proj.P"),
    miss("a regular expression", "import re\nR = re.compile('a+')\ndef f(x): return R.match(x)", ("a+", "b+"), part="constant proj.R"),
    miss(
        "flags of a regular expression",
        "import re\nR = re.compile('a+')\ndef f(x): return R.match(x)",
        ("'a+'", "'a+', re.I"),
        part="constant proj.R",
    ),
    miss("a text", "T = 'a'\ndef f(x): return T", ("'a'", "'b'"), part="constant proj.T"),
    miss("1 and True", "K = 1\ndef f(x): return K", ("K = 1", "K = True"), part="constant proj.K"),
    miss("1 and 1.0 in the body", "def f(x): return 1", ("return 1", "return 1.0"), part="function proj.f"),
    miss("-0.0", "def f(x): return 0.0", ("return 0.0", "return -0.0"), part="function proj.f"),
    miss("a byte string", "def f(x): return 'a'", ("'a'", "b'a'"), part="function proj.f"),
    hit("a raw string", "def f(x): return '\\\\d'", ("'\\\\d'", "r'\\d'")),
    hit("type variables", "from typing import TypeVar, cast, Any\nT = TypeVar('T')\ndef f(x): return cast(T, cast(list[Any], x))"),
    miss(
        "a cast to a user's class",
        "from typing import Optional\nclass C:\n    def m(self): return 1\nX = Optional[C]\ndef f(x): return X",
        ("return 1", "return 2"),
        part="method proj.C.m",
    ),
    miss(
        "a protocol's method",
        "from typing import Protocol, runtime_checkable\n@runtime_checkable\nclass P(Protocol):\n    def a(self): ...\ndef f(x): return isinstance(x, P)",
        ("def a", "def b"),
        part="class proj.P",
    ),
    miss(
        "a named tuple's default",
        "from typing import NamedTuple\nclass N(NamedTuple):\n    x: int = 1\ndef f(x): return N()",
        ("= 1", "= 2"),
        part="constant proj.N.field x",
    ),
    miss(
        "a named tuple's fields",
        "from collections import namedtuple\nN = namedtuple('N', 'a b')\ndef f(x): return N(1, 2)",
        ("a b", "b a"),
        part="class proj.N",
    ),
    miss(
        "a method of a named tuple",
        "from typing import NamedTuple\nclass N(NamedTuple):\n    x: int\n    def m(self): return 1\ndef f(x): return N(x).m()",
        ("return 1", "return 2"),
        part="method proj.N.m",
    ),
    miss(
        "an abstract class",
        "from abc import ABC, abstractmethod\nclass A(ABC):\n    @abstractmethod\n    def m(self): return 1\nclass D(A):\n    def m(self): return super().m()\ndef f(x): return D().m()",
        ("return 1", "return 2"),
        part="method proj.A.m",
    ),
    miss("slots", "class D:\n    __slots__ = ('a',)\ndef f(x): return D()", ("('a',)", "('b',)"), part="constant proj.D.__slots__"),
    hit(
        "weak references and context variables",
        "import weakref, contextvars\nclass C: pass\nO = C()\nW = weakref.ref(O)\nV = contextvars.ContextVar('v')\nD = weakref.WeakValueDictionary()\ndef f(x): return W(), V.get(), D",
        do_after="V.set(3); D[1] = O",
    ),
    hit(
        "open files and threads",
        "import sys, threading, io\nF = open(__file__)\nT = threading.local()\nE = threading.Event()\ndef f(x): return F, T, E, sys.stdout",
        do_after="E.set()",
    ),
    miss("a walrus", "def f(x): return [y for z in x if (y := z + 1)]", ("z + 1", "z + 2"), part="function proj.f"),
    miss(
        "a match statement",
        "def f(x):\n    match x:\n        case {'a': 1, **rest}: return rest\n        case [1, *_]: return 2\n",
        ("'a': 1", "'a': 2"),
        part="function proj.f",
    ),
    miss(
        "None and True in a match",
        "def f(x):\n    match x:\n        case None: return 1\n",
        ("case None", "case True"),
        part="function proj.f",
    ),
    miss(
        "a match on a user's class",
        "class P:\n    __match_args__ = ('a',)\ndef f(x):\n    match x:\n        case P(1): return 1\n",
        ("('a',)", "('b',)"),
        part="constant proj.P.__match_args__",
    ),
    miss("except*", "def f(x):\n    try: x()\n    except* ValueError: y = 1\n", ("ValueError", "TypeError"), part="function proj.f"),
    miss(
        "except and except*",
        "def f(x):\n    try: x()\n    except ValueError: y = 1\n",
        ("except ValueError", "except* ValueError"),
        part="function proj.f",
    ),
    miss(
        "an exception of the user",
        "class E(Exception):\n    code = 1\ndef f(x):\n    try: x()\n    except E as e: return e.code\n",
        ("code = 1", "code = 2"),
        part="constant proj.E.code",
    ),
    miss(
        "a context manager",
        "import contextlib\n@contextlib.contextmanager\ndef cm():\n    yield 1\ndef f(x):\n    with cm() as y: return y\n",
        ("yield 1", "yield 2"),
        part="function proj.cm",
    ),
    miss("a format spec", "def f(x): return f'{x:>{x}.2f}'", (".2f", ".3f"), part="function proj.f"),
    miss("a conversion", "def f(x): return f'{x!r}'", ("!r", "!s"), part="function proj.f"),
    hit("implicit concatenation", "def f(x): return 'ab' f'{x}c'", ("'ab' f'{x}c'", "'a' 'b' f'{x}' 'c'")),
    miss("f'{x=}' renamed", "def f(x): return f'{x=}'", ("{x=}", "{x =}"), part="function proj.f"),
    miss("a parameter's name", "def f(x, a=1): return x", ("a=1", "b=1"), part="function proj.f"),
    miss("a parameter's kind", "def f(x, a): return x", ("x, a", "x, *, a"), part="function proj.f"),
    miss("*args", "def f(x, *a): return x", ("*a", "a"), part="function proj.f"),
    miss("async", "def f(x): return x", ("def f", "async def f"), part="function proj.f"),
    miss("an operator", "def f(x): return x < 1 < 2", ("x < 1", "x <= 1"), part="function proj.f"),
    miss(
        "the order of keyword arguments",
        "def g(**k): return list(k)\ndef f(x): return g(a=1, b=2)",
        ("a=1, b=2", "b=2, a=1"),
        part="function proj.f",
    ),
    miss("del", "def f(x):\n    a = x\n    del a\n", ("del a", "a"), part="function proj.f"),
    miss(
        "twins: the batch function",
        "from hypernodes import DualNode\nf = DualNode('y', singular=lambda x: x + 1, batch=lambda x: [v + 1 for v in x])",
        ("[v + 1", "[v + 2"),
        part="function proj.<lambda> (2)",
        target="f",
    ),
    miss(
        "twins: the item function",
        "from hypernodes import DualNode\nf = DualNode('y', singular=lambda x: x + 1, batch=lambda x: [v + 1 for v in x])",
        ("x: x + 1", "x: x + 2"),
        part="function proj.<lambda>",
        target="f",
    ),
    miss(
        "twins: what the batch is given",
        "import numpy as np\nfrom hypernodes import DualNode\ndef b(x: list): return list(x)\nf = DualNode('y', batch=b)",
        ("x: list", "x: np.ndarray"),
        part="target proj.b",
    ),
    miss(
        "a node's closure under a decorator of the user",
        "from hypernodes import node\ndef twice(g):\n    def inner(x): return g(g(x))\n    return inner\n@node(output_name='y')\n@twice\ndef f(x): return x + 1",
        ("x + 1", "x + 2"),
        part="function proj.f",
    ),
    hit(
        "options of the node",
        "from hypernodes import node\n@node(output_name='y', retries=1)\ndef f(x): return x",
        ("retries=1", "retries=2"),
    ),
    miss(
        "a pipeline in a global",
        "from hypernodes import node, Pipeline\n@node\ndef a(x): return 1\nP = Pipeline([a])\ndef f(x): return P.run({'x': x})",
        ("return 1", "return 2"),
        part="function proj.a",
    ),
    miss(
        "a stateful class's method",
        "from hypernodes import stateful\n@stateful\nclass M:\n    def __init__(self, k): self.k = k\n    def m(self): return 1\nO = M(1)\ndef f(x): return O.m()",
        ("return 1", "return 2"),
        part="method proj.M.m",
    ),
    miss(
        "a stateful object's argument",
        "from hypernodes import stateful\n@stateful\nclass M:\n    def __init__(self, k): self.k = k\nO = M(1)\ndef f(x): return O.k",
        ("O = M(1)", "O = M(2)"),
        part="constant proj.O",
    ),
    miss(
        "a __cache_key__",
        "class M:\n    def __init__(self, k): self.k = k\n    def __cache_key__(self): return self.k\nO = M(1)\ndef f(x): return O.k",
        ("O = M(1)", "O = M(2)"),
        part="constant proj.O",
    ),
    hit(
        "a __cache_key__ that leaves something out",
        "class M:\n    def __init__(self, k, v): self.k = k; self.v = v\n    def __cache_key__(self): return self.k\nO = M(1, 2)\ndef f(x): return O.k",
        ("M(1, 2)", "M(1, 3)"),
    ),
    miss(
        "annotations that code looks at",
        "import inspect\ndef deco(g):\n    kinds = g.__annotations__\n    def inner(x): return kinds['x'](x)\n    return inner\ndef g(x: int): return x\ndef f(x): return g.__annotations__",
        ("x: int", "x: str"),
        part="annotations of function proj.g",
    ),
    miss(
        "docstrings that code looks at",
        "def g(x):\n    'One.'\ndef f(x): return g.__doc__",
        ("One.", "Two."),
        part="docstring of function proj.g",
    ),
    miss(
        "annotations under a library's decorator",
        "from lib import check\n@check\ndef f(x: int): return x\n=== v/site-packages/lib.py\ndef check(g):\n    def inner(x): return g(x)\n    return inner\n=== v/site-packages/lib-1.dist-info/METADATA\nName: lib\nVersion: 1\n=== v/site-packages/lib-1.dist-info/RECORD\nlib.py,,\n",
        ("x: int", "x: str"),
        part="annotations of function proj.f",
        distributions=["lib"],
    ),
    miss(
        "under a library's decorator",
        "from lib import check\n@check\ndef f(x): return 1\n=== v/site-packages/lib.py\ndef check(g):\n    def inner(x): return g(x)\n    return inner\n=== v/site-packages/lib-1.dist-info/METADATA\nName: lib\nVersion: 1\n=== v/site-packages/lib-1.dist-info/RECORD\nlib.py,,\n",
        ("return 1", "return 2"),
        part="function proj.f",
    ),
    miss(
        "an argument of a library's decorator",
        "from lib import check\n@check(1)\ndef f(x): return 1\n=== v/site-packages/lib.py\ndef check(n):\n    def outer(g):\n        def inner(x): return g(x), n\n        return inner\n    return outer\n=== v/site-packages/lib-1.dist-info/METADATA\nName: lib\nVersion: 1\n=== v/site-packages/lib-1.dist-info/RECORD\nlib.py,,\n",
        ("check(1)", "check(2)"),
        part="closure n of lib.check.<locals>.outer.<locals>.inner",
    ),
    miss(
        "under an object of a library",
        "from lib import Task\n@Task\ndef f(x): return 1\n=== v/site-packages/lib.py\nimport functools\nclass Task:\n    def __init__(self, g): functools.update_wrapper(self, g)\n    def __call__(self, x): return self.__wrapped__(x)\n=== v/site-packages/lib-1.dist-info/METADATA\nName: lib\nVersion: 1\n=== v/site-packages/lib-1.dist-info/RECORD\nlib.py,,\n",
        ("return 1", "return 2"),
        part="function proj.f",
        distributions=["lib"],
    ),
    miss(
        "np.vectorize",
        "import numpy as np\ndef h(x): return 1\nV = np.vectorize(h)\ndef f(x): return V(x)",
        ("return 1", "return 2"),
        part="function proj.h",
        distributions=["numpy"],
    ),
    miss(
        "a lone file in site-packages",
        "import lone\ndef f(x): return lone.g(x)\n=== v/site-packages/lone.py\ndef g(x): return 1\n",
        ("return 1", "return 2"),
        part="function lone.g",
        distributions=[],
    ),
    hit(
        "installed with --target",
        "import lib\ndef f(x): return lib.g(x)\n=== lib.py\ndef g(x): return 1\n=== lib-1.dist-info/METADATA\nName: lib\nVersion: 1\n=== lib-1.dist-info/RECORD\nlib.py,,\n",
        ("return 1", "return 2"),
        distributions=["lib"],
    ),
    hit(
        "a distribution of another name",
        "import lib\ndef f(x): return lib.g(x)\n=== v/site-packages/lib/__init__.py\ndef g(x): return 1\n=== v/site-packages/other-1.dist-info/METADATA\nName: other\nVersion: 1\n=== v/site-packages/other-1.dist-info/RECORD\nlib/__init__.py,,\n",
        ("return 1", "return 2"),
        distributions=["other"],
    ),
    hit(
        "distributions that share a namespace",
        "import nspk.a\ndef f(x): return nspk.a.g(x)\n=== v/site-packages/nspk/a.py\ndef g(x): return 1\n=== v/site-packages/nspk/b.py\n=== v/site-packages/dist_a-1.dist-info/METADATA\nName: dist_a\nVersion: 1\n=== v/site-packages/dist_a-1.dist-info/RECORD\nnspk/a.py,,\n=== v/site-packages/dist_b-1.dist-info/METADATA\nName: dist_b\nVersion: 1\n=== v/site-packages/dist_b-1.dist-info/RECORD\nnspk/b.py,,\n",
        ("return 1", "return 2"),
        distributions=["dist_a"],
    ),
    hit("libraries in data", "import numpy as np\nT = {'a': [np.float64(1)]}\ndef f(x): return T", distributions=["numpy"]),
    miss(
        "two functions of one name",
        "def make(n):\n    def h(x): return n\n    return h\na, b = make(1), make(2)\ndef f(x): return a(x) - b(x)",
        ("make(1), make(2)", "make(2), make(1)"),
        part="closure n of proj.make.<locals>.h",
    ),
    miss("which of two it is", "def g(x): return h(x)\ndef h(x): return x and g(x - 1)\nf = g", ("f = g", "f = h"), part="", target="f"),
    miss(
        "a private name",
        "def _C__h(x): return 1\nclass C:\n    def m(self, x): return __h(x)\ndef f(x): return C().m(x)",
        ("return 1", "return 2"),
        part="function proj._C__h",
    ),
    miss(
        "a module used as a value",
        "import hh\ndef use(m): return m.K\ndef f(x): return use(hh)\n=== hh.py\nK = 1\n",
        ("K = 1", "K = 2"),
        part="constant hh.K",
    ),
    miss(
        "a user module named like one of Python's",
        "import queue_ as queue\ndef f(x): return queue.h(x)\n=== queue_.py\ndef h(x): return 1\n",
        ("return 1", "return 2"),
        part="function queue_.h",
    ),
    miss(
        "__call__ of a class through an instance in a closure",
        "class C:\n    def __call__(self): return 1\ndef make(c):\n    def f(x): return c()\n    return f\nf = make(C())",
        ("return 1", "return 2"),
        part="method proj.C.__call__",
    ),
    miss(
        "__wrapped__ put there by hand",
        "def g(x): return 1\ndef f(x): return f.__wrapped__(x)\nf.__wrapped__ = g",
        ("return 1", "return 2"),
        part="function proj.g",
    ),
    miss("an attribute of a function", "def f(x): return f.k\nf.k = 1", ("f.k = 1", "f.k = 2"), part="attribute k of proj.f"),
    miss(
        "a property named like something that Python itself puts into classes",
        "class D:\n    @property\n    def __signature__(self): return 1\ndef f(x): return D().__signature__",
        ("return 1", "return 2"),
        part="method proj.D.__signature__",
    ),
    miss(
        "a __doc__ that is computed",
        "class D:\n    @property\n    def __doc__(self): return 1\ndef f(x): return D().__doc__",
        ("return 1", "return 2"),
        part="method proj.D.__doc__",
    ),
    miss(
        "subclasses that nothing else names",
        "class B:\n    @classmethod\n    def all(cls): return cls.__subclasses__()\nclass D(B): pass\n"
        "class E(D):\n    def m(self): return 1\ndef f(x): return B.all()[0].__subclasses__()[0]().m()",
        ("return 1", "return 2"),
        part="method proj.E.m",
    ),
    miss(
        "a new subclass",
        "class B: pass\ndef f(x): return len(B.__subclasses__())",
        ("def f", "class D(B): pass\ndef f"),
        part="subclasses of class proj.B",
    ),
    miss(
        "a new subclass, later",
        "class B: pass\ndef f(x): return len(B.__subclasses__())",
        part="subclasses of class proj.B",
        do_after="code_identity(f)\nclass D(proj.B): __module__ = 'proj'\nproj.D = D",
    ),
    miss(
        "the docstring of a class, where it is read",
        "class C:\n    'Doc.'\ndef f(x): return C.__doc__",
        ("Doc.", "Other."),
        part="docstring of class proj.C",
    ),
    miss(
        "partialmethod",
        "import functools\nclass D:\n    def m(self, k): return k\n    p = functools.partialmethod(m, 1)\ndef f(x): return D().p()",
        ("(m, 1)", "(m, 2)"),
        part="partial argument 0 of p of proj.D",
    ),
    miss(
        "a property made by hand",
        "class D:\n    p = property(lambda self: 1)\ndef f(x): return D().p",
        ("self: 1", "self: 2"),
        part="function proj.D.<lambda>",
    ),
    miss(
        "__init_subclass__",
        "class B:\n    def __init_subclass__(cls): cls.k = 1\nclass D(B): pass\ndef f(x): return D.k",
        ("cls.k = 1", "cls.k = 2"),
        part="constant proj.D.k",
    ),
    miss(
        "a class nested in a class",
        "class A:\n    class B:\n        def m(self): return 1\ndef f(x): return A.B().m()",
        ("return 1", "return 2"),
        part="method proj.A.B.m",
    ),
    miss(
        "a class from a factory",
        "def make(k):\n    class C:\n        K = k\n    return C\nC = make(1)\ndef f(x): return C.K",
        ("make(1)", "make(2)"),
        part="constant proj.make.<locals>.C.K",
    ),
    miss(
        "type(...)",
        "C = type('C', (), {'m': lambda self: 1})\ndef f(x): return C().m()",
        ("self: 1", "self: 2"),
        part="function proj.<lambda>",
    ),
    miss(
        "an unbound method as a key",
        "import functools\nclass D:\n    def m(self): return 1\ndef f(x): return sorted(x, key=D.m)",
        ("return 1", "return 2"),
        part="method proj.D.m",
    ),
    miss("a bound builtin", "T = [1]\npush = T.append\ndef f(x): return push", ("T = [1]", "T = [2]"), part="self of proj.push"),
    miss(
        "a global that is deleted",
        "K = 1\ndef f(x):\n    try: return K\n    except NameError: return 0",
        ("K = 1", ""),
        part="constant proj.K",
    ),
    miss("a name only defined later", "def f(x): return K", ("return K", "return K\nK = 1"), part="constant proj.K"),
    miss(
        "recursion through a container", "class N: pass\nT = [1]\nT.append(T)\ndef f(x): return T", ("[1]", "[2]"), part="constant proj.T"
    ),
    miss(
        "an object that leads back to its class",
        "class S:\n    def m(self): return O.k\nO = S()\nO.k = 1\ndef f(x): return O.m()",
        ("O.k = 1", "O.k = 2"),
        part="constant proj.O",
    ),
    hit(
        "assert in a helper, reformatted",
        "def h(x):\n    assert x, 'no'\n    return x\ndef f(x): return h(x)",
        ("assert x, 'no'", "assert (x), (\n        'no')"),
    ),
    miss(
        "assert in a helper",
        "def h(x):\n    assert x, 'no'\n    return x\ndef f(x): return h(x)",
        ("assert x", "assert not x"),
        part="function proj.h",
    ),
]
CASES = [*TABLE, *MORE]


def evaluate(root: Path, seed: str) -> dict[str, Any]:
    environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([sys.executable, "-c", RUNNER, str(root)], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[list[dict[str, Any]]]:
    """What came out, by version and seed."""
    answers = []
    for number in (0, 1):
        root = tmp_path_factory.mktemp(f"version{number}")
        for position, case in enumerate(CASES):
            folder = root / f"{position:03}"
            for name, text in case.versions[number].items():
                path = folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
            do = "\n".join([case.do, case.do_after if number else ""])
            (folder / "case.json").write_text(json.dumps({"do": do, "target": case.target}))
        answers.append([evaluate(root, seed) for seed in SEEDS])
    return answers


@pytest.mark.parametrize("position", range(len(CASES)), ids=[case.name for case in CASES])
def test_edit(found: list[list[dict[str, Any]]], position: int) -> None:
    case = CASES[position]
    before, after = ([answers[f"{position:03}"] for answers in version] for version in found)
    for answer in (*before, *after):
        assert "error" not in answer, answer["error"]
        assert answer["digest"] == answer["again"]
    for version in (before, after):
        assert len({answer["digest"] for answer in version}) == 1, "the hash seed matters"
    old, new = before[0]["manifest"], after[0]["manifest"]
    differing = {part: (old.get(part), new.get(part)) for part in {*old, *new} if old.get(part) != new.get(part)}
    if case.same:
        assert before[0]["digest"] == after[0]["digest"], differing
    else:
        assert before[0]["digest"] != after[0]["digest"], old
        assert not case.part or case.part in differing, (case.part, differing)
    if case.distributions is not None:
        assert after[0]["distributions"] == case.distributions
