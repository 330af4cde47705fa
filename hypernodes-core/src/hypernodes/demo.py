"""A search engine over the running Python's standard library: ``hypernodes demo "how do I parse a date"``.

One pipeline turns a source file into vectors of its documented functions. It is mapped over several hundred real files
inside a second one, which weighs the words and answers a question.
"""

from __future__ import annotations

import ast
import contextlib
import inspect
import math
import os
import re
import sysconfig
import tempfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from hypernodes import DiskCache, File, NodeFailure, Pipeline, RunResult, node

QUESTION = "how do I parse a date"
LEFT_OUT = {"__pycache__", "distutils", "idlelib", "lib2to3", "site-packages", "test", "tests", "turtledemo"}
STOP_WORDS = set("a an and as at be by can do does for from how i if in into is it of on or that the this to what which with".split())

Vector = dict[int, float]


class Function(NamedTuple):
    """A documented function of the library."""

    name: str
    summary: str
    vector: Vector


# One file -----------------------------------------------------------------------------------------------------------


@node(output_name="source")
def read(path: File) -> str:  # a File counts with its content: a changed file is read again
    return path.read_text()


@node(output_name="docstrings")
def parse(source: str, path: Path, library: Path) -> dict[str, str]:
    """Find the public functions and methods that have a docstring."""
    module = ".".join(path.relative_to(library).with_suffix("").parts).removesuffix(".__init__")
    return dict(documented(module, ast.parse(source)))


@node(output_name="prose")
def clean(docstrings: dict[str, str]) -> dict[str, str]:
    """Leave out examples, and all but the beginning of long texts."""
    return {name: re.sub(r"(?m)^\s*>>>.*$", "", text)[:1500] for name, text in docstrings.items()}


@node(output_name="functions")
def embed(prose: dict[str, str]) -> list[Function]:
    """Turn each function into a vector: the words of its name count twice, those of its summary once more than others."""
    functions = []
    for name, text in prose.items():
        summary = " ".join(text.split("\n\n")[0].split())[:90]
        functions.append(Function(name, summary, vector(f"{name_parts(name) * 2} {summary} {text}")))
    return functions


def documented(name: str, parent: ast.AST) -> Iterator[tuple[str, str]]:
    for child in ast.iter_child_nodes(parent):
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) and not child.name.startswith("_"):
            inner = f"{name}.{child.name}"
            if isinstance(child, ast.ClassDef):
                yield from documented(inner, child)
            elif docstring := ast.get_docstring(child):
                yield inner, docstring


def name_parts(name: str) -> str:
    """Return a name and what its parts may be joined from: ``shutil.copytree`` gives copy and tree, among others."""
    pieces = [piece for part in re.findall(r"[a-z]+", name) for i in range(3, len(part) - 2) for piece in (part[:i], part[i:])]
    return f"{name} {name.rpartition('.')[2]} {' '.join(pieces)} "


def vector(text: str, buckets: int = 1 << 20) -> Vector:
    """The hashing trick: every word, in lower case and without its ending, counts in the bucket that its hash falls into."""
    words = [word.lower() for word in re.findall(r"[a-z]+|[A-Z][a-z]*", text)]
    stems = [re.sub(r"(?<=[a-z]{3})(ing|ed|es|s|e)$", "", word) for word in words if len(word) > 1 and word not in STOP_WORDS]
    counts = Counter(zlib.crc32(stem.encode()) % buckets for stem in stems)
    return {bucket: 1 + math.log(count) for bucket, count in counts.items()}


# The whole library --------------------------------------------------------------------------------------------------


@node(output_name="paths", cache=False)  # what is in a folder may change at any time
def find(library: Path) -> list[Path]:
    paths: list[Path] = []
    for folder, inner, files in os.walk(library):
        inner[:] = sorted(set(inner) - LEFT_OUT)
        paths += [Path(folder, name) for name in sorted(files) if name.endswith(".py")]
    return paths


@node(output_name=("functions", "rarity"))
def build_index(functions_per_file: list[list[Function] | NodeFailure]) -> tuple[list[Function], Vector]:
    """Join the files, without those that could not be read, and weigh each word by how rare it is."""
    functions = [each for per_file in functions_per_file if not isinstance(per_file, NodeFailure) for each in per_file]
    holders = Counter(bucket for function in functions for bucket in function.vector)
    return functions, {bucket: math.log(1 + len(functions) / count) for bucket, count in holders.items()}


@node(output_name="answers")
def search(functions: list[Function], rarity: Vector, question: str, top: int = 5) -> list[tuple[float, Function]]:
    """Rank functions by the rare words that they share with the question; long texts count a little less."""
    asked = {bucket: rarity[bucket] for bucket in vector(question) if bucket in rarity}
    ranked = []
    for function in functions:
        if shared := asked.keys() & function.vector.keys():
            covered = sum(asked[bucket] for bucket in shared) / sum(asked.values())
            weight = sum(asked[bucket] * function.vector[bucket] for bucket in shared) / math.sqrt(20 + len(function.vector))
            ranked.append((covered * weight, function))
    return sorted(ranked, key=lambda pair: (-pair[0], pair[1].name))[:top]


one_file = Pipeline([read, parse, clean, embed], name="file")
every_file = one_file.as_node(
    input_mapping={"paths": "path"},  # outer name -> inner parameter
    output_mapping={"functions": "functions_per_file"},  # inner output -> outer name
    map_over="paths",
    on_error="return",  # a file that cannot be read or parsed does not stop the others
)
library_search = Pipeline([find, every_file, build_index, search], name="library_search")


def main(query: str | None = None, argv: Sequence[str] | None = None) -> int:
    """Ask the standard library three times: at first, again, and after an edit of one helper. Print what ran, and why.

    Args:
        query: The question.
        argv: The question as words of a command line, where ``query`` is left out.
    """
    question = query or " ".join(argv or ()) or QUESTION
    inputs = {"library": Path(sysconfig.get_path("stdlib")), "question": question}
    with tempfile.TemporaryDirectory() as folder:
        library_search.with_cache(DiskCache(folder))
        result = library_search.run(inputs)
        show_answers(question, result)
        print(f"\n{result.stats}")

        again = library_search.run(inputs)
        print(f"\nThe same again, from the cache: {again.stats.seconds:.2f} s instead of {result.stats.seconds:.1f} s.\n\n{again.stats}")

        with edited(name_parts, "range(3,", "range(4,"):
            print("\nOne helper edited: name_parts, which embed calls, now splits off parts of four letters, not three.\n")
            after = library_search.run(inputs)
        print(f"{after.stats}\n\nWhat ran, and why:\n\n{after.explain()}")
        library_search.with_cache(None)
    return 0


def show_answers(question: str, result: RunResult) -> None:
    print(f"{question.rstrip('?')}?\n")
    for score, function in result["answers"]:
        print(f"  {score:4.2f}  {function.name}\n        {function.summary}")
    if not result["answers"]:
        print("  nothing in the standard library uses these words")
    skipped = f", left out {len(result.failures):,} that cannot be read" if result.failures else ""
    found = f"read {len(result['paths']):,} files{skipped}, found {len(result['functions']):,} functions"
    print(f"\n{found}, in {result.stats.seconds:.1f} s:")


@contextlib.contextmanager
def edited(function: Callable[..., object], old: str, new: str) -> Iterator[None]:
    """Define a function of this module again with another source, as running an edited cell of a notebook would."""
    exec(inspect.getsource(function).replace(old, new), globals())  # noqa: S102 - its own source
    try:
        yield
    finally:
        globals()[function.__name__] = function
