"""``explain`` names exactly the part that was changed, as it was and as it is; a result says the same of what ran."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
from hypernodes import DiskCache, MemoryCache, Pipeline, node
from hypernodes.errors import OptionError

PROJECT = {
    "mod.py": """
        K = 3

        def deep(x):
            return x

        def h(x):
            return deep(x) + 1

        class Base:
            def name(self):
                return "base"

        class Doc(Base):
            limit = 5

            def __init__(self, text):
                self.text = text

            def words(self):
                return self.text.split()
    """,
    "proj.py": """
        import sys
        sys.path.insert(0, "v/site-packages")
        import mod, lib
        from mod import Doc, K
        from hypernodes import DiskCache, File, Pipeline, node

        TABLE = {"a": 1, "b": 2}

        @node(output_name="a")
        def own(x, lr=0.01):
            return x + lr

        @node(output_name="b")
        def helped(x):
            return mod.h(x) * K

        @node(output_name="c")
        def classed(x):
            return len(Doc("a b").words()), Doc("a").name()

        @node(output_name="d")
        def libbed(x):
            return lib.thing(x)

        @node(output_name="e")
        def texted(name, table=TABLE["a"]):
            return name

        @node(output_name="f")
        def filed(path: File):
            return path.read_text()

        @node(output_name="g")
        def after(b):
            return b + 1

        pipeline = Pipeline([own, helped, classed, libbed, texted, filed, after], cache=DiskCache("cache"))
        inputs = {"x": 1, "name": "ann", "path": "data.txt"}
    """,
    "go.py": """
        import json, sys
        from proj import inputs, pipeline
        inputs.update(json.loads(sys.argv[1]))
        told = [[reason.node, reason.text] for reason in pipeline.explain(inputs)]
        result = pipeline.run(inputs)
        print(json.dumps([told, [[reason.node, reason.text] for reason in result.explain()]]))
    """,
    "data.txt": "one\n",
    "v/site-packages/lib.py": "def thing(x):\n    return x\n",
    "v/site-packages/lib.dist-info/METADATA": "Metadata-Version: 2.1\nName: lib\nVersion: 2.1\n",
    "v/site-packages/lib.dist-info/RECORD": "lib.py,,\n",
}


class Project:
    def __init__(self, folder: Path) -> None:
        import textwrap

        self.folder = folder
        for name, text in PROJECT.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text))

    def edit(self, name: str, old: str, new: str) -> None:
        path = self.folder / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    def told(self, **inputs: Any) -> dict[str, str]:
        """Explain and run in a fresh process; both must say the same of what need not wait for others."""
        command = [sys.executable, "go.py", json.dumps(inputs)]
        environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}  # Python would take an edit within a second for none
        done = subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        before, after = (dict(rows) for rows in json.loads(done.stdout.splitlines()[-1]))
        assert {name: text for name, text in before.items() if "must run first" not in text}.items() <= after.items()
        return before


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return Project(tmp_path_factory.mktemp("project"))


NODES = ["own", "helped", "classed", "libbed", "texted", "filed", "after"]


def test_each_kind_of_change_is_named(project: Project) -> None:
    """One project, edited step by step; every step changes one thing."""
    waits = {"after": "depends on 'helped', which must run first"}
    assert project.told() == {**dict.fromkeys(NODES, "never seen"), **waits}
    assert project.told() == {}

    project.edit("proj.py", "return x + lr", "return x - lr")
    assert project.told() == {"own": "function proj.own changed"}
    project.edit("mod.py", "deep(x) + 1", "deep(x) + 2")
    assert project.told() == {"helped": "function mod.h changed", **waits}
    project.edit("mod.py", "def deep(x):\n    return x", "def deep(x):\n    return 2 * x")
    assert project.told() == {"helped": "function mod.deep changed", **waits}
    project.edit("mod.py", "K = 3", "K = 4")
    assert project.told() == {"helped": "constant proj.K changed: 3 → 4", **waits}
    project.edit("mod.py", "text.split()", "text.split(' ')")
    assert project.told() == {"classed": "method mod.Doc.words changed"}
    project.edit("mod.py", "limit = 5", "limit = 6")
    assert project.told() == {"classed": "constant mod.Doc.limit changed: 5 → 6"}
    project.edit("mod.py", 'return "base"', 'return "bass"')
    assert project.told() == {"classed": "method mod.Base.name changed"}
    project.edit("proj.py", "x, lr=0.01", "x, lr=0.5")
    assert project.told() == {"own": "default lr of proj.own changed: 0.01 → 0.5"}

    text = (project.folder / "v/site-packages/lib.dist-info/METADATA").read_text()
    (project.folder / "v/site-packages/lib.dist-info/METADATA").write_text(text.replace("\nVersion: 2.1", "\nVersion: 2.2"))
    assert project.told() == {"libbed": "library lib: 2.1 → 2.2"}

    assert project.told(lr=0.001) == {"own": "input 'lr': 0.5 → 0.001"}
    (text,) = project.told(name="bob").values()
    assert text.startswith("input 'name': ")
    assert "bob" not in text  # inputs may be secret: others than numbers are shown by a digest
    (project.folder / "data.txt").write_text("two\n")
    ((name, text),) = project.told(name="bob").items()
    assert (name, text.partition(":")[0]) == ("filed", "input 'path'")

    project.edit("proj.py", '@node(output_name="e")', '@node(output_name="e", cache_version=2)')
    assert project.told(name="bob") == {"texted": "salt: – → int 2"}
    project.edit("proj.py", "cache_version=2)", "cache_version=2, expires=0.01)")
    time.sleep(0.05)
    assert project.told(name="bob") == {"texted": "expired"}


# -- within a process -----------------------------------------------------------------------------------------------------


@node(output_name="y")
def double(x: int) -> int:
    return x * 2


def test_evicted_and_invalidated() -> None:
    cache = MemoryCache(max_size=25_000)
    make = node(output_name="y", name="make")(lambda x: bytes(10_000) + bytes([x]))
    pipeline = Pipeline([make], cache=cache)
    pipeline.map({"x": [1, 2, 3]}, map_over="x")
    assert str(pipeline.explain({"x": 1})) == "make  evicted"
    cache.invalidate(node="make")
    assert str(pipeline.explain({"x": 3})) == "make  invalidated"


def test_a_class_that_a_value_was_made_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib

    source = "class Doc:\n    def __init__(self, t): self.t = t\n    def words(self): return self.t.split()\n"
    (tmp_path / "docs_of_mine.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    module = importlib.import_module("docs_of_mine")
    load = node(output_name="doc", name="load")(lambda text, kind: kind(text))
    count = node(output_name="n", name="count")(lambda doc: len(doc.words()))
    pipeline = Pipeline([load, count], cache=DiskCache(tmp_path / "cache"))
    assert pipeline.run({"text": "a b", "kind": module.Doc}, "n")["n"] == 2
    assert pipeline.run({"text": "a b", "kind": module.Doc}, "n").stats.ran == 0
    (tmp_path / "docs_of_mine.py").write_text(source.replace("split()", "split('x')") + "\n# longer\n")
    importlib.invalidate_caches()
    sys.modules.pop("docs_of_mine")
    edited = importlib.import_module("docs_of_mine")
    result = pipeline.run({"text": "a b", "kind": edited.Doc}, "n")
    assert (result["n"], result.stats.ran) == (1, 2)
    sys.modules.pop("docs_of_mine")


def test_one_line_per_node_and_cause() -> None:
    pipeline = Pipeline([double], cache=MemoryCache())
    pipeline.map({"x": [1, 2]}, map_over="x")
    assert str(pipeline.explain({"x": [1, 2]}, map_over="x")) == "nothing to run: everything is cached"
    told = pipeline.explain({"x": [1, 7, 2, 8]}, map_over="x")
    assert [(reason.item, reason.part, reason.new) for reason in told if reason.kind == "input"] == [((1,), "x", "7"), ((3,), "x", "8")]
    fresh = Pipeline([double], cache=MemoryCache()).explain({"x": [1, 2, 3]}, map_over="x")
    assert str(fresh) == "double  never seen  (3 items)"


def test_a_node_or_an_item_on_its_own() -> None:
    half = node(output_name="z", name="half")(lambda y: y / 2)
    pipeline = Pipeline([double, half], cache=MemoryCache())
    assert [reason.node for reason in pipeline.explain({"x": 1}, node="half")] == ["half"]
    assert len(pipeline.explain({"x": [1, 2]}, map_over="x", item=1)) == 2
    with pytest.raises(OptionError, match="has no node 'halve'; it has double, half. Did you mean 'half'"):
        pipeline.explain({"x": 1}, node="halve")


def test_what_is_never_cached_says_so() -> None:
    now = node(output_name="t", name="now", cache=False)(lambda x: x)
    told = Pipeline([now, double], cache=MemoryCache()).explain({"x": 1})
    assert [(reason.node, reason.text) for reason in told] == [
        ("now", "is not cached: @node(cache=False)"),
        ("double", "never seen"),
    ]
    assert str(Pipeline([double]).explain({"x": 1})) == "double  has no cache"


def test_results_say_why_what_ran_ran() -> None:
    now = node(output_name="t", name="now", cache=False)(lambda x: x)
    cache = MemoryCache()
    pipeline = Pipeline([now, double], cache=cache)
    first = pipeline.map({"x": [1, 2]}, map_over="x")
    assert str(first.explain()) == "now     is not cached: @node(cache=False)  (2 items)\ndouble  never seen  (2 items)"
    assert str(pipeline.map({"x": [1, 2]}, map_over="x").explain()) == "now  is not cached: @node(cache=False)  (2 items)"
    assert str(Pipeline([double]).run({"x": 1}).explain()) == "double  has no cache"
    assert str(Pipeline([double], cache=cache).run({"x": 1}).explain()) == "nothing to run: everything is cached"


def test_what_must_run_first_is_named() -> None:
    half = node(output_name="z", name="half")(lambda y: y / 2)
    told = Pipeline([double, half], cache=MemoryCache()).explain({"x": 1})
    assert str(told) == "double  never seen\nhalf    depends on 'double', which must run first"


def test_explanations_travel() -> None:
    told = Pipeline([double], cache=MemoryCache()).explain({"x": 1})
    assert str(cloudpickle.loads(cloudpickle.dumps(told))) == str(told)


def test_nothing_runs_to_explain() -> None:
    log: list[int] = []
    noted = node(output_name="y", name="noted")(lambda x: log.append(x))
    pipeline = Pipeline([noted], cache=MemoryCache())
    pipeline.explain({"x": 1})
    pipeline.plan({"x": 1})
    assert log == []
