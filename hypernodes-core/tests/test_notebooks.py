"""Cells run again in a real Jupyter kernel: what is cached, what runs again, what the user is told."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

WHY = "the notebook tests start a Jupyter kernel"
pytest.importorskip("ipykernel", reason=WHY)
nbformat = pytest.importorskip("nbformat", reason=WHY)
nbclient = pytest.importorskip("nbclient", reason=WHY)

# What a cell calls to run a pipeline and tell about it. It stands in a module, so that no cell's code depends on it.
PROBE = '''
import json
import warnings


def told(pipeline, inputs, **options):
    """Run a pipeline; print what came out, which nodes ran, and the warnings."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        call = pipeline.map if "map_over" in options else pipeline.run
        result = call(inputs, **options)
    values = [dict(row) for row in result] if "map_over" in options else dict(result)
    stats = {name: [each.ran, each.cached] for name, each in result.stats.items()}
    print(json.dumps({"values": values, "stats": stats, "warnings": [str(each.message) for each in seen]}, default=str))
'''


class Notebook:
    """A notebook whose kernel runs; cells are run one by one, in any order.

    Attributes:
        complaints: What the last cell showed beside what it printed: tracebacks of threads and tasks, warnings.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.complaints = ""
        self._client = nbclient.NotebookClient(
            nbformat.v4.new_notebook(), timeout=60, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
        )
        self.start()

    def start(self) -> None:
        self._kernel = contextlib.ExitStack()
        self._kernel.enter_context(self._client.setup_kernel())

    def stop(self) -> None:
        self._kernel.close()

    def restart(self) -> None:
        self.stop()
        self.start()

    def cell(self, source: str) -> str:
        """Run a cell, and return what it printed."""
        cells = self._client.nb.cells
        cells.append(nbformat.v4.new_code_cell(source))
        done = self._client.execute_cell(cells[-1], len(cells) - 1)
        streams = [output for output in done.outputs if output.output_type == "stream"]
        self.complaints = "".join(output.text for output in streams if output.name == "stderr")
        return "".join(output.text for output in streams if output.name == "stdout")

    def value(self, expression: str) -> Any:
        """Evaluate an expression in a cell, where it may await, without a complaint."""
        shown = self.cell(f"import json; print(json.dumps({expression}, default=dict))")
        assert not self.complaints, self.complaints
        return json.loads(shown)

    def told(self, call: str) -> dict[str, Any]:
        """Run ``told(...)`` in a cell, and return what it told."""
        return json.loads(self.cell(f"from probe import told; told({call})").splitlines()[-1])


@pytest.fixture(scope="module")
def notebook(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Notebook]:
    """The one kernel of this module."""
    folder = tmp_path_factory.mktemp("notebook")
    (folder / "probe.py").write_text(PROBE, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_DATA_DIR"):
            patch.setenv(name, str(folder / name.lower()))
        started = Notebook(folder)
        try:
            yield started
        finally:
            started.stop()


IMPORTS = "from hypernodes import DiskCache, MemoryCache, Pipeline, node"


@pytest.fixture
def fresh(notebook: Notebook) -> Notebook:
    """The same kernel without any names, and with an empty cache of its own."""
    notebook.cell("%reset -f")
    notebook.cell(f"{IMPORTS}\ncache = MemoryCache()")
    return notebook


CLEAN = """
@node(output_name="cleaned")
def clean(text):
    return text.strip()
"""
CLEAN_LOWER = CLEAN.replace("strip()", "strip().lower()")
COUNT = """
@node(output_name="count")
def count(cleaned):
    return len(cleaned)
"""
PIPELINE = "p = Pipeline([clean], name='reader', cache=cache)"
RUN = "p, {'text': ' One '}"


def ran(told: dict[str, Any]) -> dict[str, int]:
    return {name: counts[0] for name, counts in told["stats"].items()}


# -- cells run again -------------------------------------------------------------------------------------------------


def test_unchanged_cells_hit(fresh: Notebook) -> None:
    fresh.cell(CLEAN)
    fresh.cell(PIPELINE)
    first = fresh.told(RUN)
    assert (first["values"], first["stats"], first["warnings"]) == ({"cleaned": "One"}, {"clean": [1, 0]}, [])
    for again in (PIPELINE, CLEAN + PIPELINE, "# a comment\n\n" + CLEAN.replace('"', "'") + PIPELINE):
        fresh.cell(again)
        told = fresh.told(RUN)
        assert (told["values"], told["stats"], told["warnings"]) == ({"cleaned": "One"}, {"clean": [0, 1]}, [])


def test_a_changed_cell_and_the_pipeline_cell_miss(fresh: Notebook) -> None:
    fresh.cell(CLEAN + COUNT)
    fresh.cell("p = Pipeline([clean, count], name='reader', cache=cache)")
    assert ran(fresh.told(RUN)) == {"clean": 1, "count": 1}
    fresh.cell(CLEAN_LOWER)
    fresh.cell("p = Pipeline([clean, count], name='reader', cache=cache)")
    told = fresh.told(RUN)
    assert (told["values"], ran(told), told["warnings"]) == ({"cleaned": "one", "count": 3}, {"clean": 1, "count": 1}, [])
    fresh.cell(CLEAN)  # and back again
    fresh.cell("p = Pipeline([clean, count], name='reader', cache=cache)")
    told = fresh.told(RUN)
    assert (told["values"], ran(told)) == ({"cleaned": "One", "count": 3}, {"clean": 0, "count": 0})


def test_a_changed_cell_that_gives_the_same_value_stops_there(fresh: Notebook) -> None:
    fresh.cell(CLEAN + COUNT)
    fresh.cell("p = Pipeline([clean, count], name='reader', cache=cache)")
    fresh.told(RUN)
    fresh.cell(CLEAN.replace("strip()", "strip().strip()"))
    fresh.cell("p = Pipeline([clean, count], name='reader', cache=cache)")
    told = fresh.told(RUN)
    assert told["values"] == {"cleaned": "One", "count": 3}
    assert told["stats"] == {"clean": [1, 0], "count": [0, 1]}


def test_a_helper_redefined_in_a_cell(fresh: Notebook) -> None:
    fresh.cell("def tidy(text):\n    return text.strip()")
    fresh.cell("def between(text):\n    return tidy(text)")
    fresh.cell(CLEAN.replace("text.strip()", "between(text)") + PIPELINE)
    assert ran(fresh.told(RUN)) == {"clean": 1}
    fresh.cell("def tidy(text):\n    '''The same in other words.'''\n    return text.strip()  # nothing new")
    assert ran(fresh.told(RUN)) == {"clean": 0}
    fresh.cell("def tidy(text):\n    return text.strip().upper()")
    told = fresh.told(RUN)
    assert (told["values"], ran(told), told["warnings"]) == ({"cleaned": "ONE"}, {"clean": 1}, [])


def test_a_constant_set_in_a_cell(fresh: Notebook) -> None:
    fresh.cell("SUFFIX = '!'")
    fresh.cell(CLEAN.replace("strip()", "strip() + SUFFIX") + PIPELINE)
    assert fresh.told(RUN)["values"] == {"cleaned": "One!"}
    fresh.cell("UNRELATED = 1")
    assert ran(fresh.told(RUN)) == {"clean": 0}
    fresh.cell("SUFFIX = '?'")
    told = fresh.told(RUN)
    assert (told["values"], ran(told)) == ({"cleaned": "One?"}, {"clean": 1})


def test_a_cell_that_defines_several_versions(fresh: Notebook) -> None:
    """Two functions of one name in one cell: the one that the pipeline holds counts."""
    fresh.cell(CLEAN + "first = clean\n" + CLEAN_LOWER + "p = Pipeline([first], cache=cache)\nq = Pipeline([clean], cache=cache)")
    assert fresh.told(RUN)["values"] == {"cleaned": "One"}
    told = fresh.told("q, {'text': ' One '}")
    assert (told["values"], ran(told)) == ({"cleaned": "one"}, {"clean": 1})


# -- a pipeline that holds a redefined node ---------------------------------------------------------------------------

REDEFINED = "'clean' was redefined after this pipeline was built; run the Pipeline cell again or p.refresh()"


def test_a_pipeline_says_that_it_holds_an_old_node(fresh: Notebook) -> None:
    fresh.cell(CLEAN)
    fresh.cell(PIPELINE)
    assert fresh.told(RUN)["warnings"] == []
    fresh.cell(CLEAN_LOWER)
    told = fresh.told(RUN)
    assert told["values"] == {"cleaned": "One"}  # the old function's, and rightly from the cache
    assert told["stats"] == {"clean": [0, 1]}
    assert sum(REDEFINED in text for text in told["warnings"]) == 1, told["warnings"]
    told = fresh.told("p, {'text': ' Two '}")  # something new is computed with the old function as well
    assert (told["values"], ran(told)) == ({"cleaned": "Two"}, {"clean": 1})
    assert sum(REDEFINED in text for text in told["warnings"]) == 1, told["warnings"]
    told = fresh.told("p, {'text': [' Two ']}, map_over='text'")
    assert told["values"] == [{"cleaned": "Two"}]
    assert sum(REDEFINED in text for text in told["warnings"]) == 1, told["warnings"]


def test_a_nested_pipeline_says_so_too(fresh: Notebook) -> None:
    fresh.cell(CLEAN + PIPELINE)
    fresh.cell("outer = Pipeline([p.as_node(map_over='text')], name='outer', cache=cache)")
    fresh.cell(CLEAN_LOWER)
    told = fresh.told("outer, {'text': [' One ']}")
    assert told["values"] == {"cleaned": ["One"]}
    assert any("'clean' was redefined after this pipeline was built" in text for text in told["warnings"]), told["warnings"]


def test_refresh_takes_the_new_function(fresh: Notebook) -> None:
    fresh.cell(CLEAN + PIPELINE)
    fresh.told(RUN)
    fresh.cell(CLEAN_LOWER)
    fresh.cell("p.refresh()")
    told = fresh.told(RUN)
    assert (told["values"], ran(told), told["warnings"]) == ({"cleaned": "one"}, {"clean": 1}, [])
    told = fresh.told(RUN)
    assert (told["values"], ran(told), told["warnings"]) == ({"cleaned": "one"}, {"clean": 0}, [])


@pytest.mark.parametrize(
    "between",
    [
        CLEAN,  # the cell was run again as it was
        CLEAN_LOWER + PIPELINE,  # the Pipeline cell too
        "clean = None",  # the name means something else now
        "del clean",
        "@node(output_name='other')\ndef another(text):\n    return text",
    ],
)
def test_there_is_nothing_to_say(fresh: Notebook, between: str) -> None:
    fresh.cell(CLEAN + PIPELINE)
    fresh.told(RUN)
    fresh.cell(between)
    assert fresh.told(RUN)["warnings"] == []


# -- modules under a running kernel -----------------------------------------------------------------------------------

WORDS = """
from hypernodes import node
from helpers{n} import tidy


@node(output_name="cleaned")
def clean(text):
    return tidy(text) + "{end}"
"""
HELPERS = """
def tidy(text):
    return text.strip(){more}
"""


class Project:
    """Two modules and a cache in the notebook's folder; names of its own, as the kernel keeps what it imported."""

    numbers = iter(range(1000))

    def __init__(self, notebook: Notebook) -> None:
        self.n = next(self.numbers)
        self.folder = notebook.folder
        self.notebook = notebook
        self.write()
        self.cell = (
            f"{IMPORTS}\nfrom words{self.n} import clean\np = Pipeline([clean], name='reader', cache=DiskCache({f'cache{self.n}'!r}))"
        )

    def write(self, end: str = "", more: str = "") -> None:
        for name, text in (("words", WORDS.format(n=self.n, end=end)), ("helpers", HELPERS.format(more=more))):
            path = self.folder / f"{name}{self.n}.py"
            if not path.exists() or path.read_text(encoding="utf-8") != text:
                path.write_text(text, encoding="utf-8")

    def elsewhere(self, text: str = " One ") -> dict[str, Any]:
        """Run the same pipeline in a fresh process."""
        script = self.folder / f"main{self.n}.py"
        script.write_text(f"{self.cell}\nfrom probe import told\ntold(p, {{'text': {text!r}}})", encoding="utf-8")
        environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}  # a second version within one second has the same time
        done = subprocess.run(
            [sys.executable, str(script)], cwd=self.folder, env=environment, capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture
def project(fresh: Notebook) -> Project:
    fresh.cell("import sys; sys.dont_write_bytecode = True")
    return Project(fresh)


EDITS = pytest.mark.parametrize("edit", [{"end": "!"}, {"more": ".upper()"}], ids=["the node's module", "its helper's module"])


@EDITS
def test_a_module_edited_under_the_running_kernel(project: Project, edit: dict[str, str]) -> None:
    project.notebook.cell(project.cell)
    assert ran(project.notebook.told(RUN)) == {"clean": 1}
    project.write(**edit)
    assert ran(project.notebook.told(RUN)) == {"clean": 0}  # the kernel goes on with the code that it has
    told = project.notebook.told("p, {'text': ' Two '}")
    assert (told["values"], ran(told)) == ({"cleaned": "Two"}, {"clean": 1})
    for text in (" One ", " Two "):
        there = project.elsewhere(text)  # the new code never ran
        expected = text.strip() + "!" if "end" in edit else text.strip().upper()
        assert (there["values"], ran(there)) == ({"cleaned": expected}, {"clean": 1})
    assert project.notebook.told(RUN)["values"] == {"cleaned": "One"}  # and its results are not the kernel's
    project.write()
    for text in (" One ", " Two "):
        there = project.elsewhere(text)  # the old code did
        assert (there["values"], ran(there)) == ({"cleaned": text.strip()}, {"clean": 0})


@EDITS
def test_a_module_edited_before_its_first_run(project: Project, edit: dict[str, str]) -> None:
    """Nobody has read the old source, so the kernel's results stand under the bytecode: never wrong, not found later."""
    project.notebook.cell(project.cell)
    project.write(**edit)
    assert project.notebook.told(RUN)["values"] == {"cleaned": "One"}
    assert ran(project.notebook.told(RUN)) == {"clean": 0}
    there = project.elsewhere()
    assert (there["values"], ran(there)) == ({"cleaned": "One!" if "end" in edit else "ONE"}, {"clean": 1})
    assert project.notebook.told(RUN)["values"] == {"cleaned": "One"}
    project.write()
    assert project.elsewhere()["values"] == {"cleaned": "One"}


def test_a_module_reloaded(project: Project) -> None:
    project.notebook.cell(project.cell)
    project.notebook.told(RUN)
    project.write(more=".upper()")
    names = f"helpers{project.n}", f"words{project.n}"
    project.notebook.cell(f"import importlib, sys\nfor name in {names}:\n    importlib.reload(sys.modules[name])")
    project.notebook.cell(project.cell)
    told = project.notebook.told(RUN)
    assert (told["values"], ran(told)) == ({"cleaned": "ONE"}, {"clean": 1})
    there = project.elsewhere()
    assert (there["values"], ran(there)) == ({"cleaned": "ONE"}, {"clean": 0})


def test_autoreload(project: Project) -> None:
    """The extension puts new code into the functions that are there."""
    project.notebook.cell("%load_ext autoreload\n%autoreload 2")
    try:
        project.notebook.cell(project.cell)
        assert ran(project.notebook.told(RUN)) == {"clean": 1}
        project.write(more=".upper()")
        later = time.time() + 10
        os.utime(project.folder / f"helpers{project.n}.py", (later, later))
        told = project.notebook.told(RUN)
        assert (told["values"], ran(told)) == ({"cleaned": "ONE"}, {"clean": 1})
        there = project.elsewhere()
        assert (there["values"], ran(there)) == ({"cleaned": "ONE"}, {"clean": 0})
    finally:
        project.notebook.cell("%autoreload 0")


# -- what is defined in cells -----------------------------------------------------------------------------------------


def test_lambdas_in_cells(fresh: Notebook) -> None:
    cell = (
        "one = node(output_name='y')(lambda x: x * 2); two = node(output_name='z')(lambda y: y / 2)\np = Pipeline([one, two], cache=cache)"
    )
    fresh.cell(cell)
    assert fresh.told("p, {'x': 3}")["values"] == {"y": 6, "z": 3.0}
    fresh.cell("# the same\n" + cell)
    told = fresh.told("p, {'x': 3}")
    assert list(ran(told).values()) == [0, 0]
    fresh.cell(cell.replace("x * 2", "x * 20").replace("y / 2", "y / 4"))
    told = fresh.told("p, {'x': 3}")
    assert told["values"] == {"y": 60, "z": 15.0}
    assert list(ran(told).values()) == [1, 1]


DOC = """
class Doc:
    def __init__(self, text):
        self.text = text

    def words(self):
        return self.text.split()
"""
READ = """
@node(output_name="doc")
def load(text):
    return Doc(text)


@node(output_name="count")
def count(doc):
    return len(doc.words())


p = Pipeline([load, count], cache=cache)
"""


def test_classes_in_cells(fresh: Notebook) -> None:
    fresh.cell(DOC)
    fresh.cell(READ)
    told = fresh.told("p, {'text': 'a b'}, output_name='count'")
    assert (told["values"], ran(told), told["warnings"]) == ({"count": 2}, {"load": 1, "count": 1}, [])
    fresh.cell("# the same\n" + DOC)
    told = fresh.told("p, {'text': 'a b'}, output_name='count'")
    assert (told["values"], sum(ran(told).values())) == ({"count": 2}, 0)
    fresh.cell(DOC.replace("split()", "split() + ['end']"))  # `count` calls the method without naming the class
    told = fresh.told("p, {'text': 'a b'}, output_name='count'")
    assert (told["values"], ran(told)) == ({"count": 3}, {"load": 1, "count": 1})


def test_objects_of_classes_in_cells_as_inputs(fresh: Notebook) -> None:
    fresh.cell(DOC)
    fresh.cell("@node(output_name='count')\ndef count(doc):\n    return len(doc.words())\n\np = Pipeline([count], cache=cache)")
    assert ran(fresh.told("p, {'doc': Doc('a b')}")) == {"count": 1}
    assert ran(fresh.told("p, {'doc': Doc('a b')}")) == {"count": 0}
    assert ran(fresh.told("p, {'doc': Doc('a c')}")) == {"count": 1}
    fresh.cell(DOC.replace("split()", "split() + ['end']"))
    told = fresh.told("p, {'doc': Doc('a b')}")
    assert (told["values"], ran(told)) == ({"count": 3}, {"count": 1})


# -- engines in cells, where an event loop runs already -----------------------------------------------------------------

CONCURRENT = """
import asyncio
import os
from hypernodes import HyperNodesEngine
from hypernodes.executors import AsyncExecutor

running = [0, 0]


async def wait(value):
    # takes a moment, and notes how many do so: now, and at most
    running[0] += 1
    running[1] = max(running)
    await asyncio.sleep(0.02)
    running[0] -= 1
    return value
"""
FETCH = """
@node(output_name="page")
async def fetch(url):
    return await wait(f"page {url}")


@node(output_name="loop")
async def which_loop(page):
    return id(asyncio.get_running_loop())


p = Pipeline([fetch, which_loop], engine=HyperNodesEngine(map_executor=AsyncExecutor(20)))
items = {"url": list(range(100))}
"""
PAGES = [f"page {number}" for number in range(100)]


@pytest.fixture
def concurrent(fresh: Notebook) -> Notebook:
    fresh.cell(CONCURRENT)
    return fresh


def test_plain_calls_run_coroutines_at_the_same_time(concurrent: Notebook) -> None:
    concurrent.cell(FETCH)
    assert concurrent.value("asyncio.get_running_loop().is_running()")
    rows = concurrent.value("p.map(items, map_over='url')")
    assert [row["page"] for row in rows] == PAGES
    assert concurrent.value("running") == [0, 20]
    assert concurrent.value("p.run({'url': 'a'})")["page"] == "page a"
    assert [row["page"] for row in concurrent.value("list(p.imap(items, map_over='url'))")] == PAGES
    parts = [f"@node(output_name={name!r})\nasync def make_{name}(url):\n    return await wait({name!r})\n" for name in "abcd"]
    concurrent.cell("\n".join(parts))
    concurrent.cell("q = Pipeline([make_a, make_b, make_c, make_d], engine=HyperNodesEngine(node_executor=AsyncExecutor(20)))")
    concurrent.cell("running[:] = 0, 0")
    assert concurrent.value("q.run({'url': 1})") == {name: name for name in "abcd"}
    assert concurrent.value("running") == [0, 4]


def test_cells_await(concurrent: Notebook) -> None:
    """The nodes run on the loop of the kernel, which goes on meanwhile."""
    concurrent.cell(FETCH)
    here = concurrent.value("id(asyncio.get_running_loop())")
    assert concurrent.value("await p.arun({'url': 'a'})") == {"page": "page a", "loop": here}
    both = concurrent.value("await asyncio.gather(p.arun({'url': 'a'}), p.arun({'url': 'b'}))")
    assert both == [{"page": "page a", "loop": here}, {"page": "page b", "loop": here}]
    expected = [{"page": page, "loop": here} for page in PAGES]
    concurrent.cell("running[:] = 0, 0")
    assert concurrent.value("await p.amap(items, map_over='url')") == expected
    assert concurrent.value("running") == [0, 20]
    concurrent.cell("running[:] = 0, 0\nfound = []\nasync for row in p.aimap(items, map_over='url'):\n    found.append(row)")
    assert not concurrent.complaints
    assert concurrent.value("found") == expected
    assert 1 < concurrent.value("running")[1] <= 20
    concurrent.cell(
        """
beats = 0
task = asyncio.ensure_future(p.amap(items, map_over='url'))
while not task.done():
    await asyncio.sleep(0.01)
    beats += 1
"""
    )
    assert concurrent.value("task.result()") == expected
    assert concurrent.value("beats") > 3


SHIFT = """
def more(x):
    return x + 1


@node(output_name="y")
def shift(x):
    return more(x)


@node(output_name="process")
def where(y):
    return os.getpid()
"""
SHIFT_PIPELINE = "p = Pipeline([shift, where], engine=engine)"


def test_functions_of_cells_run_in_other_processes(concurrent: Notebook) -> None:
    """Also the new ones after a cell was edited, in the processes that are there."""
    concurrent.cell("engine = HyperNodesEngine(map_executor='parallel', max_workers=2)")
    concurrent.cell(SHIFT)
    processes: set[int] = set()

    def ys() -> list[int]:
        rows = concurrent.value("p.map({'x': list(range(50))}, map_over='x')")
        processes.update(row["process"] for row in rows)
        return [row["y"] for row in rows]

    try:
        concurrent.cell(SHIFT_PIPELINE)
        assert ys() == [x + 1 for x in range(50)]
        concurrent.cell(SHIFT.replace("return more(x)", "return -more(x)"))
        concurrent.cell(SHIFT_PIPELINE)
        assert ys() == [-x - 1 for x in range(50)]
        concurrent.cell("def more(x):\n    return x + 1000")  # what a node calls, without the Pipeline cell
        assert ys() == [-x - 1000 for x in range(50)]
        assert 1 <= len(processes) <= 2
        assert concurrent.value("os.getpid()") not in processes
    finally:
        concurrent.cell("engine.close()")


def test_what_is_cached_in_other_processes_follows_the_cells(concurrent: Notebook) -> None:
    concurrent.cell("engine = HyperNodesEngine(map_executor='parallel', max_workers=2)")
    try:
        fresh_pipeline = "p = Pipeline([clean], name='reader', cache=cache, engine=engine)"
        run = "p, {'text': [' One ', ' Two ']}, map_over='text'"
        concurrent.cell(CLEAN + fresh_pipeline)
        assert concurrent.told(run)["stats"] == {"clean": [2, 0]}
        concurrent.cell("# the same\n" + CLEAN + fresh_pipeline)
        assert concurrent.told(run)["stats"] == {"clean": [0, 2]}
        concurrent.cell(CLEAN_LOWER + fresh_pipeline)
        told = concurrent.told(run)
        assert told["values"] == [{"cleaned": "one"}, {"cleaned": "two"}]
        assert (told["stats"], told["warnings"]) == ({"clean": [2, 0]}, [])
    finally:
        concurrent.cell("engine.close()")


def test_objects_of_classes_in_cells_come_back_from_other_processes(concurrent: Notebook) -> None:
    concurrent.cell("engine = HyperNodesEngine(map_executor='parallel', max_workers=2)")
    try:
        for words, source in ((2, DOC), (3, DOC.replace("split()", "split() + ['end']"))):
            concurrent.cell(source)
            concurrent.cell("@node(output_name='copy')\ndef copy(doc):\n    return Doc(doc.text)\n\np = Pipeline([copy], engine=engine)")
            concurrent.cell("rows = p.map({'doc': [Doc('a b'), Doc('c d')]}, map_over='doc')")
            assert concurrent.value("[isinstance(row['copy'], Doc) for row in rows]") == [True, True]
            assert concurrent.value("[len(row['copy'].words()) for row in rows]") == [words, words]
    finally:
        concurrent.cell("engine.close()")


def test_an_executor_of_coroutines_by_itself(concurrent: Notebook) -> None:
    concurrent.cell("executor = AsyncExecutor(max_concurrent=20)")
    assert concurrent.value("executor.submit(wait, 3).result()") == 3
    assert concurrent.value("executor.submit(sum, [1, 2]).result()") == 3
    assert concurrent.value("list(executor.map(wait, range(100)))") == list(range(100))
    assert concurrent.value("running") == [0, 20]
    assert concurrent.value("await asyncio.wrap_future(executor.submit(wait, 4))") == 4
    concurrent.cell("executor.shutdown()")
    assert not concurrent.complaints


# -- another kernel -----------------------------------------------------------------------------------------------------


def test_a_restarted_kernel_hits(fresh: Notebook) -> None:
    cells = [f"{IMPORTS}\ncache = DiskCache('restarted')", "def tidy(text):\n    return text.strip()"]
    cells += [CLEAN.replace("text.strip()", "tidy(text)"), COUNT, DOC, READ]
    run = "reader, {'text': ' One '}"
    build = "reader = Pipeline([clean, count_words, load], name='reader', cache=cache)"
    cells[3] = COUNT.replace('"count"', '"length"').replace("def count", "def count_words")
    for cell in [*cells, build]:
        fresh.cell(cell)
    first = fresh.told(run)
    assert ran(first) == {"clean": 1, "count_words": 1, "load": 1}
    process = fresh.cell("import os; print(os.getpid())")
    fresh.restart()
    assert fresh.cell("import os; print(os.getpid())") != process
    fresh.cell("'''Another cell first, so that all others have other numbers.'''")
    for cell in [*cells, build]:
        fresh.cell(cell)
    again = fresh.told(run)
    assert again["stats"] == {"clean": [0, 1], "count_words": [0, 1], "load": [0, 1]}
    assert again["values"]["cleaned"] == "One"
    assert again["warnings"] == []
    fresh.cell("def tidy(text):\n    return text")
    told = fresh.told(run)
    assert told["values"]["cleaned"] == " One "
    assert ran(told) == {"clean": 1, "count_words": 1, "load": 0}
