"""Two everyday edits, and whether a cached result is served that is no longer right.

``python tests/benchmarks/stale.py`` asks every tool that is installed; each run is a fresh process, as a user's would be.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tempfile
from pathlib import Path

PROJECT = {
    "far.py": "def weight(word):\n    return 1\n",
    "near.py": "import far\n\ndef score(words):\n    return sum(far.weight(word) for word in words)\n",
    "steps.py": """
import near

def words(path):
    with open(path) as file:
        return file.read().split()

def total(words: list) -> int:
    return near.score(words)
""",
}

RUN = {
    "HyperNodes": """
from hypernodes import File, Pipeline, node
import steps

@node(output_name="words")
def load(path: File) -> list:
    return steps.words(path)

print(Pipeline([load, node(output_name="total")(steps.total)], cache="cache").run({"path": "data.txt"})["total"])
""",
    "joblib": """
from joblib import Memory
import steps
memory = Memory("cache", verbose=0)
print(memory.cache(steps.total)(memory.cache(steps.words)("data.txt")))
""",
    "hamilton": """
import hamilton_steps
from hamilton import driver
flow = driver.Builder().with_modules(hamilton_steps).with_cache(path="cache").build()
print(flow.execute(["total"], inputs={"path": "data.txt"})["total"])
""",
    "pipefunc": """
from pipefunc import PipeFunc, Pipeline
import steps
nodes = [PipeFunc(steps.words, "words", cache=True), PipeFunc(steps.total, "total", cache=True)]
pipeline = Pipeline(nodes, cache_type="disk", cache_kwargs={"cache_dir": "cache"})
print(pipeline("total", path="data.txt"))
""",
}
HAMILTON = """
import steps

def words(path: str) -> list:
    return steps.words(path)

def total(words: list) -> int:
    return steps.total(words)
"""

EDITS = {
    "the file's content": ("data.txt", "one two", "one two three"),
    "a helper two modules away": ("far.py", "return 1", "return 10"),
}


def answer(folder: Path, code: str) -> str:
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    return done.stdout.strip().splitlines()[-1] if done.returncode == 0 else f"failed: {done.stderr.strip().splitlines()[-1]}"


def verdict(tool: str, file: str, old: str, new: str) -> str:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for path, text in {**PROJECT, "hamilton_steps.py": HAMILTON, "data.txt": "one two\n"}.items():
            (folder / path).write_text(text)
        before = answer(folder, RUN[tool])
        (folder / file).write_text((folder / file).read_text().replace(old, new))
        after = answer(folder, RUN[tool])
        right = "3" if file == "data.txt" else "20"
        return "right" if (before, after) == ("2", right) else "stale" if after == before == "2" else f"{before} then {after}"


def main() -> None:
    print(f"| edited | {' | '.join(RUN)} |\n|---|{'---|' * len(RUN)}")
    for edit, change in EDITS.items():
        found = [verdict(tool, *change) if importlib.util.find_spec(tool.lower()) else "–" for tool in RUN]
        print(f"| {edit} | {' | '.join(found)} |")


if __name__ == "__main__":
    main()
