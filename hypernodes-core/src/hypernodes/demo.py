"""A search engine over the running Python's standard library: ``hypernodes demo "how do I parse a date"``.

A pipeline for one source file (read, parse, clean, embed) is mapped over several hundred real files inside a pipeline
that builds an index of their functions and answers a question.
"""

from __future__ import annotations

import ast
import math
import re
import sysconfig
import time
import zlib
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from hypernodes import NodeFailure, Pipeline, node

QUESTION = "how do I parse a date"
LEFT_OUT = {"__pycache__", "distutils", "idlelib", "lib2to3", "site-packages", "test", "tests", "turtledemo"}
STOP_WORDS = set("a an and as at be by can do does for from how i if in into is it of on or that the this to what which with".split())


class Function(NamedTuple):
    """A documented function of the library."""

    name: str
    summary: str
    text: str


Vector = dict[int, float]


# One source file ----------------------------------------------------------------------------------------------------


@node(output_name="source")
def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@node(output_name="documented")
def parse(source: str, path: Path, library: Path) -> list[tuple[str, str]]:
    """Find the public functions and methods that have a docstring."""
    module = ".".join(path.relative_to(library).with_suffix("").parts).removesuffix(".__init__")
    found = []
    waiting: list[tuple[str, ast.AST]] = [(module, ast.parse(source))]
    while waiting:
        name, parent = waiting.pop()
        for child in ast.iter_child_nodes(parent):
            if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) and not child.name.startswith("_"):
                inner = f"{name}.{child.name}"
                if isinstance(child, ast.ClassDef):
                    waiting.append((inner, child))
                elif docstring := ast.get_docstring(child):
                    found.append((inner, docstring))
    return found


@node(output_name="functions")
def clean(documented: list[tuple[str, str]]) -> list[Function]:
    """Keep a one-line summary and plain words of each docstring."""
    functions = []
    for name, docstring in documented:
        prose = re.sub(r"^\s*>>>.*$", "", docstring, flags=re.MULTILINE)
        first = " ".join(prose.split("\n\n")[0].split())
        functions.append(Function(name, first[:90], " ".join(prose.split())[:1500]))
    return functions


@node(output_name="vectors")
def embed(functions: list[Function]) -> list[Vector]:
    """Turn each function into a vector: its name counts most, then its summary, then the rest."""
    return [vector(f"{name_parts(function.name) * 2} {function.summary} {function.text}") for function in functions]


def name_parts(name: str) -> str:
    """Return a function's module and name, and what the name may be joined from: ``copytree`` gives copy and tree."""
    short = name.rpartition(".")[2].replace("_", " ")
    pieces = [piece for i in range(3, len(short) - 2) for piece in (short[:i], short[i:])] if " " not in short else []
    return f"{name} {short} {' '.join(pieces)} "


def words(text: str) -> list[str]:
    """Split text, and names in it, into lower-case words without endings."""
    found = re.findall(r"[a-z]+|[A-Z][a-z]*", text.replace("_", " "))
    plain = [re.sub(r"(?<=[a-z]{3})(ing|ed|es|s|e)$", "", word.lower()) for word in found if word.lower() not in STOP_WORDS]
    return [word for word in plain if len(word) > 1]


def vector(text: str, buckets: int = 1 << 20) -> Vector:
    """The hashing trick: every word counts in the bucket its hash falls into."""
    counts = Counter(zlib.crc32(word.encode()) % buckets for word in words(text))
    return {bucket: 1 + math.log(count) for bucket, count in counts.items()}


# The whole library --------------------------------------------------------------------------------------------------


@node(output_name="paths")
def find(library: Path) -> list[Path]:
    return sorted(path for path in library.rglob("*.py") if not LEFT_OUT.intersection(path.relative_to(library).parts))


@node(output_name="index")
def build_index(all_functions: list[list[Function]], all_vectors: list[list[Vector]]) -> tuple[list[tuple[Function, Vector]], Vector]:
    """Join what the files gave, and weigh each word by how rare it is. Files that could not be read are left out."""
    pairs = [
        pair
        for functions, vectors in zip(all_functions, all_vectors, strict=True)
        if not isinstance(functions, NodeFailure)
        for pair in zip(functions, vectors, strict=True)
    ]
    documents = Counter(bucket for _, document in pairs for bucket in document)
    return pairs, {bucket: math.log(1 + len(pairs) / count) for bucket, count in documents.items()}


@node(output_name="answers")
def search(index: tuple[list[tuple[Function, Vector]], Vector], question: str, top: int = 5) -> list[tuple[float, Function]]:
    """Rank functions by the rare words they share with the question; long texts count a little less."""
    pairs, rarity = index
    asked = {bucket: rarity[bucket] for bucket in vector(question) if bucket in rarity}
    ranked = []
    for function, document in pairs:
        if shared := asked.keys() & document.keys():
            covered = sum(asked[bucket] for bucket in shared) / sum(asked.values())
            weight = sum(asked[bucket] * document[bucket] for bucket in shared) / math.sqrt(20 + len(document))
            ranked.append((covered * weight, function))
    return sorted(ranked, key=lambda pair: (-pair[0], pair[1].name))[:top]


one_file = Pipeline([read, parse, clean, embed], name="file")
every_file = one_file.as_node(
    input_mapping={"paths": "path"},
    output_mapping={"functions": "all_functions", "vectors": "all_vectors"},
    map_over="paths",
    on_error="return",
)
library_search = Pipeline([find, every_file, build_index, search], name="library_search")


def main(question: str | None = None) -> int:
    """Ask the standard library a question; print the best functions and what ran."""
    question = question or QUESTION
    start = time.perf_counter()
    result = library_search.run({"library": Path(sysconfig.get_path("stdlib")), "question": question})
    seconds = time.perf_counter() - start

    print(f"{question}?\n" if not question.endswith("?") else f"{question}\n")
    for score, function in result["answers"]:
        print(f"  {score:4.2f}  {function.name}\n        {function.summary}")
    if not result["answers"]:
        print("  nothing in the standard library uses these words")
    functions = len(result["index"][0])
    skipped = f", {len(result.failures)} left out as unreadable" if result.failures else ""
    print(f"\nread {len(result['paths']):,} files{skipped}, found {functions:,} functions, in {seconds:.1f} s:\n")
    print(result.stats)
    return 0
