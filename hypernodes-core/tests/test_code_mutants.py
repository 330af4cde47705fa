"""Edits of real code: whatever function runs in a call, an edit of its body gives the node another identity.

Copies of installed packages play the user's own modules. A child process finds out which of their functions run during a call
of a node (not while something is imported), changes one at a time in its file, and takes the identity of the node anew. Run as
a script, this file is that child process: it forks for every mutant, which pytest with its threads had better not.

A sample is taken of the functions; ``HYPERNODES_MUTANTS=all`` takes all of them.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import json
import os
import py_compile
import random
import re
import shutil
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import CodeType
from typing import Any

import pytest

FEWER = int(os.environ.get("HYPERNODES_FEWER", "1"))  # as in random_graphs, which this file as a child process does not find
SAMPLE = 20 // FEWER


@dataclass
class Subject:
    """A package, and a project that uses it under another name.

    Attributes:
        package: The package as it is installed.
        copy: The name of the copy.
        project: The module with the node ``f`` and its ``arguments``.
    """

    package: str
    copy: str
    project: str


SUBJECTS = {
    each.package: each
    for each in [
        # Classes, with methods that are looked up by name in lists and dicts of rules.
        Subject(
            "markdown_it",
            "marked",
            r"""
            from hypernodes import node
            from marked import MarkdownIt

            @node(output_name="html")
            def f(text):
                return MarkdownIt("js-default", {"html": True, "typographer": True}).render(text)

            arguments = ['''# A *title*

            Some **bold** text, `code`, ~~gone~~ and [a link](https://example.org "there") -- "quoted" (c)...

            1. one
            2. two
                * nested <b>html</b> &amp; entities \\\* <https://example.org/>

            > quoted
            > ![image](a.png)

            | a | b |
            |---|:-:|
            | 1 | 2 |

            ```python
            print(1)
            ```

                indented

            [ref]: https://example.org/ref 'Title'
            A [ref] and [another][ref].

            Setext
            ======
            ***
            <div>
            html
            </div>
            ''']
            """,
        ),
        # Functions that call one another, tables of functions, caches.
        Subject(
            "packaging",
            "packed",
            r"""
            from hypernodes import node
            from packed.markers import Marker
            from packed.requirements import Requirement
            from packed.specifiers import SpecifierSet
            from packed.tags import sys_tags
            from packed.utils import canonicalize_name, parse_wheel_filename
            from packed.version import Version

            @node(output_name="facts")
            def f(text):
                requirement = Requirement(text)
                return [
                    str(requirement),
                    requirement.marker.evaluate(),
                    sorted(SpecifierSet(">=1,<2,!=1.5.*,~=1.2").filter(["1.3", "2.0rc1", "1.5.1"])),
                    Version("1!2.3rc1.post2.dev3+abc") < Version("2"),
                    str(Marker("os_name == 'x' and (extra == 'a' or python_version > '3')")),
                    canonicalize_name("A_b"),
                    parse_wheel_filename("foo-1.0-py3-none-any.whl"),
                    next(iter(sys_tags())),
                ]

            arguments = ['name[a,b]>=1.0,<2; python_version >= "3.8" and sys_platform != "win32"']
            """,
        ),
        # Classes that a metaclass makes from tables, in modules that are imported by computed names during the call.
        Subject(
            "pygments",
            "painted",
            r"""
            from hypernodes import node
            from painted import highlight
            from painted.formatters import get_formatter_by_name
            from painted.lexers import get_lexer_by_name

            @node(output_name="html")
            def f(text):
                return highlight(text, get_lexer_by_name("python"), get_formatter_by_name("html", linenos=True))

            arguments = ["@a\nclass A(B):\n    def f(self, x: int = 1) -> str:\n        return f'{x!r:>3} {self}' + 1.5e3  # more\n"]
            """,
        ),
    ]
}

# Parent --------------------------------------------------------------------------------------------------------------------


def installed(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        pytest.skip(f"{package} is not installed here")
    return Path(spec.origin).parent


def child(folder: Path, job: str, seed: str = "0") -> Any:
    environment = {**os.environ, "PYTHONHASHSEED": seed}
    command = [sys.executable, __file__, str(folder), job]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module", params=SUBJECTS if FEWER == 1 else ["packaging"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a copy of a package under another name, and a project that uses it."""
    subject = SUBJECTS[request.param]
    root = tmp_path_factory.mktemp(subject.copy)
    shutil.copytree(installed(subject.package), root / subject.copy, ignore=shutil.ignore_patterns("__pycache__", "tests"))
    for path in (root / subject.copy).rglob("*.py"):
        path.write_text(re.sub(rf"\b{subject.package}\b", subject.copy, path.read_text("utf-8")), "utf-8")
        # Compiled once for all mutants. By hash: a mutant may have the size and the second of the original.
        py_compile.compile(str(path), invalidation_mode=py_compile.PycInvalidationMode.CHECKED_HASH, quiet=2)
    (root / "proj.py").write_text(dedent(subject.project), "utf-8")
    (root / "copy.txt").write_text(subject.copy)
    return root


def dedent(text: str) -> str:
    return re.sub(r"^ {12}", "", text, flags=re.MULTILINE)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a process for each mutant takes too long where there is no fork")
def test_an_edit_of_any_function_that_runs_in_a_call_gives_another_identity(folder: Path) -> None:
    found = child(folder, "mutants")
    assert found["mutants"], "no function of the package ran"
    assert found["digest"] == child(folder, "identity")["digest"], "what the forks share matters"
    errors = [mutant for mutant in found["mutants"] if "error" in mutant]
    assert not errors, errors
    stale = [mutant["what"] for mutant in found["mutants"] if mutant["digest"] == found["digest"]]
    assert not stale


def test_comments_and_layout_give_the_same_identity(folder: Path) -> None:
    found = child(folder, "layout")
    assert found["files"]
    assert not found["differing"]


def test_every_process_gives_the_same_identity(folder: Path) -> None:
    assert child(folder, "identity", "0") == child(folder, "identity", "1")


# Child ---------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, order=True)
class Place:
    """A function in a file, by what its code object says."""

    file: str
    line: int
    name: str
    column: int = 0  # of lambdas, where the body starts

    def __str__(self) -> str:
        return f"{self.file}:{self.line} {self.name}"


def forked(job: Callable[[], Any]) -> Any:
    """Return what a job gives in a process of its own."""
    reading, writing = os.pipe()
    process = os.fork()
    if not process:
        try:
            answer = json.dumps(job())
        except BaseException:
            answer = json.dumps({"error": traceback.format_exc()})
        with os.fdopen(writing, "w") as stream:
            stream.write(answer)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as stream:
        answer = stream.read()
    os.waitpid(process, 0)
    return json.loads(answer)


def identity() -> dict[str, Any]:
    from hypernodes.identity.code import code_identity

    found = code_identity(importlib.import_module("proj").f)
    return {"digest": found.digest.hex(), "manifest": dict(found.manifest)}


def executed(root: Path, copy: str) -> list[Place]:
    """Return the functions of the copy that run in a call; not those that only run while a module is imported."""
    project = importlib.import_module("proj")
    inside = str(root / copy) + os.sep
    found: dict[CodeType, None] = {}
    importing = 0

    def see(frame: Any, event: str, _: Any) -> None:
        nonlocal importing
        code = frame.f_code
        if code.co_name == "<module>":
            importing += (event == "call") - (event == "return")
        elif event == "call" and not importing and code.co_filename.startswith(inside):
            found[code] = None

    sys.setprofile(see)
    try:
        project.f.func(*project.arguments)
    finally:
        sys.setprofile(None)
    # Comprehensions and the bodies of classes are parts of the functions that they stand in.
    return sorted({place_of(code, root) for code in found if code.co_name == "<lambda>" or not code.co_name.startswith("<")})


def place_of(code: CodeType, root: Path) -> Place:
    column = 0
    if code.co_name == "<lambda>":
        column = min((place[2] for place in code.co_positions() if None not in place and place[2:] != (0, 0)), default=0)
    return Place(str(Path(code.co_filename).relative_to(root)), code.co_firstlineno, code.co_name, column)


def function_at(tree: ast.Module, place: Place) -> ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | None:
    """Return the function at a place; None where a class stands there."""
    found = [node for node in ast.walk(tree) if is_at(node, place)]
    return max(found, key=lambda node: node.col_offset, default=None)  # of lambdas the innermost


def is_at(node: ast.AST, place: Place) -> bool:
    if isinstance(node, ast.Lambda):
        return place.name == "<lambda>" and node.lineno == place.line and node.body.col_offset <= place.column
    if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return False
    return node.name == place.name and min(each.lineno for each in [node, *node.decorator_list]) == place.line


def mutated(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda, choose: random.Random, *, careful: bool) -> str:
    """Change one thing in the body of a function that changes what it does, and say what."""
    if isinstance(node, ast.Lambda):
        node.body = ast.Tuple([node.body, ast.Constant(0)], ast.Load())
        return "another result"
    kinds = list(changes_of(node))
    what, change = choose.choice(kinds[:1] if careful else kinds)
    change()
    return what


def changes_of(node: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[tuple[str, Callable[[], None]]]:
    after_docstring = int(ast.get_docstring(node) is not None)
    added = ast.parse("_mutant_ = 1\nstr(_mutant_)").body
    yield "a statement", lambda: node.body.__setitem__(slice(after_docstring, after_docstring), added)
    for each in within(node):
        if isinstance(each, (ast.If, ast.While, ast.IfExp)):
            yield f"line {each.lineno}: a condition", lambda each=each: setattr(each, "test", ast.UnaryOp(ast.Not(), each.test))
        elif isinstance(each, ast.Return) and each.value is not None:
            yield f"line {each.lineno}: a result", lambda each=each: setattr(each, "value", ast.List([each.value], ast.Load()))
        elif isinstance(each, ast.Constant) and type(each.value) in (int, str):
            new = each.value + 1 if isinstance(each.value, int) else f"{each.value}_"
            yield f"line {each.lineno}: a constant", lambda each=each, new=new: setattr(each, "value", new)


def within(node: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[ast.AST]:
    """Yield what stands in the body of a function, without what does nothing: docstrings and annotations."""
    stack: list[ast.AST] = [*node.body]
    while stack:
        each = stack.pop()
        if isinstance(each, ast.Expr) and isinstance(each.value, ast.Constant):
            continue
        yield each
        for name, value in ast.iter_fields(each):
            if name not in ("annotation", "returns"):
                stack.extend(child for child in (value if isinstance(value, list) else [value]) if isinstance(child, ast.AST))


def mutant(root: Path, place: Place) -> dict[str, Any]:
    """Return the identity with one function changed in its file."""
    path = root / place.file
    before, times = path.read_bytes(), path.stat()
    choose = random.Random(str(place))
    answer: dict[str, Any] = {}
    try:
        for careful in (False, True):  # a changed function may fail when it is needed for an import: then only a statement more
            tree = ast.parse(before)
            node = function_at(tree, place)
            if node is None:
                return {}
            what = mutated(node, choose, careful=careful)
            path.write_text(ast.unparse(ast.fix_missing_locations(tree)), "utf-8")
            answer = {**forked(identity), "what": f"{place}: {what}"}
            if "error" not in answer:
                break
    finally:
        path.write_bytes(before)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    answer.pop("manifest", None)
    return answer


def warm(root: Path) -> None:
    """Import and identify everything once, and forget the modules: forks then read only what they changed."""
    identity()
    for name, module in list(sys.modules.items()):
        if str(root) in (getattr(module, "__file__", None) or ""):
            del sys.modules[name]


def mutants(root: Path, copy: str) -> dict[str, Any]:
    places = [Place(*each) for each in forked(lambda: [[each.file, each.line, each.name, each.column] for each in executed(root, copy)])]
    number = len(places) if os.environ.get("HYPERNODES_MUTANTS") == "all" else min(SAMPLE, len(places))
    warm(root)
    chosen = sorted(random.Random(0).sample(places, number))
    found = [answer for answer in (mutant(root, place) for place in chosen) if answer]
    return {"digest": forked(identity)["digest"], "executed": len(places), "mutants": found}


def layout(root: Path, copy: str) -> dict[str, Any]:
    """Write all files that a call touches anew from their trees."""
    files = forked(lambda: sorted({each.file for each in executed(root, copy)}))
    before = forked(identity)["manifest"]
    kept = {name: (root / name).read_bytes() for name in files}
    try:
        for name, text in kept.items():
            (root / name).write_text(ast.unparse(ast.parse(text)), "utf-8")
        after = forked(identity)["manifest"]
    finally:
        for name, text in kept.items():
            (root / name).write_bytes(text)
    return {"files": files, "differing": sorted(part for part in {*before, *after} if before.get(part) != after.get(part))}


def main() -> None:
    root, job = Path(sys.argv[1]), sys.argv[2]
    copy = (root / "copy.txt").read_text()
    sys.dont_write_bytecode = True
    sys.path[0] = str(root)
    jobs = {"mutants": lambda: mutants(root, copy), "layout": lambda: layout(root, copy), "identity": identity}
    print(json.dumps(jobs[job]()))


if __name__ == "__main__":
    main()
