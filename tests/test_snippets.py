"""Every Python block of the documentation runs, top to bottom, in one namespace per file."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOCUMENTS = [ROOT / "README.md", ROOT / "hypernodes-core" / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
EXAMPLES = sorted((ROOT / "docs" / "examples").glob("*.py"))


def module_of(document: Path) -> str:
    """Return the blocks of a document as one module in which each line keeps its number."""
    lines: list[str] = []
    inside = False
    for line in document.read_text(encoding="utf-8").splitlines():
        if not inside and re.fullmatch(r"```python\s*", line):
            inside = True
            lines.append("")
        elif inside and line.startswith("```"):
            inside = False
            lines.append("")
        else:
            lines.append(line if inside else "")
    assert not inside, f"{document}: a block is not closed"
    return "\n".join(lines)


def execute(script: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONWARNINGS": "error", "PYTHONIOENCODING": "utf-8"}
    return subprocess.run([sys.executable, str(script)], cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_blocks_run(document: Path, tmp_path: Path) -> None:
    source = module_of(document)
    if not source.strip():
        return
    script = tmp_path / f"{document.stem.lower().replace('-', '_')}_blocks.py"
    script.write_text(source, encoding="utf-8")
    done = execute(script, tmp_path)
    assert done.returncode == 0, f"{document.relative_to(ROOT)} (line numbers are the document's)\n{done.stdout}\n{done.stderr}"


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_examples_run(example: Path, tmp_path: Path) -> None:
    done = execute(example, tmp_path)
    assert done.returncode == 0, f"{example.name}\n{done.stdout}\n{done.stderr}"


def test_links_lead_somewhere() -> None:
    for document in DOCUMENTS:
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", document.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (document.parent / target).exists(), f"{document.relative_to(ROOT)} links to {target}, which is not there"
