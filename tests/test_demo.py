"""The demo, as a newcomer runs it."""

from __future__ import annotations

import functools
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@functools.cache
def demo(*question: str) -> str:
    command = [sys.executable, "-W", "error", "-m", "hypernodes", "demo", *question]
    done = subprocess.run(command, capture_output=True, text=True, check=False, encoding="utf-8", env=None)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize(
    ("question", "function"),
    [
        ("how do I parse a date", "email._parseaddr.parsedate"),
        ("how do I parse a date", "datetime.datetime.strptime"),
        ("copy a directory tree", "shutil.copytree"),
    ],
)
def test_the_best_functions_are_found(question: str, function: str) -> None:
    answers = re.findall(r"^ +\d\.\d\d  (\S+)$", demo(question), re.MULTILINE)
    assert len(answers) == 5
    assert any(answer.endswith(function) for answer in answers[:3]), answers


def test_a_question_may_be_given_as_words_or_left_out() -> None:
    assert demo("escape", "html").startswith("escape html?\n\n")
    assert demo().startswith("how do I parse a date?\n\n")


def test_it_can_be_called(capsys: pytest.CaptureFixture[str]) -> None:
    from hypernodes.demo import main

    assert main("escape html?") == 0
    (first,) = re.findall(r"^escape html\?\n\n(.*)$", capsys.readouterr().out, re.MULTILINE)
    assert first.endswith("html.escape")
    assert first in demo("escape", "html")


def counts(table: str) -> dict[str, tuple[int, int]]:
    """Return how often each node was cached and ran, from a table as it is printed."""
    rows = re.findall(r"^([\w/]+) +([\d,]+) +([\d,]+) +0 +\d", table, re.MULTILINE)
    return {name: (int(cached.replace(",", "")), int(ran.replace(",", ""))) for name, cached, ran in rows}


def test_it_runs_then_comes_from_the_cache_then_runs_what_an_edit_affects() -> None:
    first, second, third = re.split(r"^(?:The same again|One helper edited).*\n", demo(), flags=re.MULTILINE)
    files = int(re.search(r"read ([\d,]+) files", first)[1].replace(",", ""))
    assert files > 300
    assert re.search(r"in \d+\.\d s:", first)
    per_file = ["file/read", "file/parse", "file/clean", "file/embed"]
    for node in per_file:
        cached, ran = counts(first)[node]
        assert cached + ran == files  # files of equal content are read once
    assert all(counts(first)[node] == (0, 1) for node in ("find", "build_index", "search"))

    assert counts(second) == {**dict.fromkeys(per_file, (files, 0)), "build_index": (1, 0), "search": (1, 0), "find": (0, 1)} | {
        "all": (4 * files + 2, 1)
    }

    table, why = third.split("What ran, and why:")
    edited = counts(table)
    assert all(edited[node] == (files, 0) for node in per_file[:3])
    assert edited["file/embed"] == counts(first)["file/embed"]
    assert re.search(r"^file/embed +function hypernodes\.demo\.name_parts changed +\([\d,]+ items\)$", why, re.MULTILINE)
    assert re.search(r"^build_index +input 'functions_per_file': \w+ → \w+$", why, re.MULTILINE)
    assert re.search(r"^find +is not cached", why, re.MULTILINE)


def test_a_question_without_an_answer() -> None:
    assert "nothing in the standard library uses these words" in demo("xyzzy")


def test_a_file_that_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    from hypernodes.demo import library_search

    (tmp_path / "good.py").write_text('def swim(fast):\n    """Swim across a lake."""\n')
    (tmp_path / "bad.py").write_text("def swim(:\n")
    (tmp_path / "odd.py").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "empty.py").write_text("")
    (tmp_path / "lakes").mkdir()
    (tmp_path / "lakes" / "__init__.py").write_text('class Boat:\n    def row(self):\n        """Row over a lake."""\n')
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "test_swim.py").write_text('def swim():\n    """Swim across a lake."""\n')
    result = library_search.run({"library": tmp_path, "question": "swim a lake"})
    assert [function.name for _, function in result["answers"]] == ["good.swim", "lakes.Boat.row"]
    assert len(result["paths"]) == 5
    assert {type(failure.error) for failure in result.failures} == {SyntaxError, UnicodeDecodeError}


def test_the_readme_shows_the_code_that_runs() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = re.search(r"```py\n(.*?)\n```", readme, re.DOTALL)
    assert shown is not None
    assert shown[1] in (ROOT / "hypernodes-core" / "src" / "hypernodes" / "demo.py").read_text(encoding="utf-8")
    assert len(shown[1].splitlines()) > 80
