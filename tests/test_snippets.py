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
    fence: str | None = None  # the indentation of the block that is open
    for line in document.read_text(encoding="utf-8").splitlines():
        opened = re.fullmatch(r"( *)```python\b.*", line)
        if fence is None and opened is not None:
            fence = opened[1]
            lines.append("")
        elif fence is not None and line.strip() == "```":
            fence = None
            lines.append("")
        else:
            lines.append("" if fence is None else line.removeprefix(fence))
    assert fence is None, f"{document}: a block is not closed"
    return "\n".join(lines)


def execute(script: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONWARNINGS": "error", "PYTHONIOENCODING": "utf-8"}
    command = [sys.executable, str(script)]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=300)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_blocks_run(document: Path, tmp_path: Path) -> None:
    source = module_of(document)
    if not source.strip():
        return
    script = tmp_path / f"{document.stem.lower().replace('-', '_')}_blocks.py"
    script.write_text(source, encoding="utf-8")
    done = execute(script, tmp_path)
    if done.returncode != 0:
        reached = re.findall(rf'File "{re.escape(str(script))}", line (\d+)', done.stderr)
        pytest.fail(f"{document.relative_to(ROOT)}:{reached[-1] if reached else '?'}\n{done.stdout}\n{done.stderr}", pytrace=False)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_examples_run(example: Path, tmp_path: Path) -> None:
    done = execute(example, tmp_path)
    assert done.returncode == 0, f"{example.name}\n{done.stdout}\n{done.stderr}"


def test_links_lead_somewhere() -> None:
    for document in DOCUMENTS:
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", document.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (document.parent / target).exists(), f"{document.relative_to(ROOT)} links to {target}, which is not there"
