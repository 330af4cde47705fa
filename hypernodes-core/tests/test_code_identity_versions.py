"""One source has one code identity on every Python: each checks the same digests, which were taken once."""

from __future__ import annotations

import json
import os
import runpy
from pathlib import Path
from typing import Any

import pytest

EDITS = runpy.run_path(str(Path(__file__).with_name("test_code_identity_edits.py")))
SNAPSHOT = Path(__file__).with_name("code_identities.json")

# What was made by ``exec`` counts as bytecode, which is another on another Python; two others hold what Python or a library
# puts into its own objects.
BY_VERSION = (
    "33 exec",
    "33 a helper made by exec",
    "34 a set in a function made by exec",
    "a protocol's method",
    "under an object of a library",
)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("projects")
    for position, case in enumerate(EDITS["CASES"]):
        folder = root / f"{position:03}"
        for name, text in case.versions[0].items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        (folder / "case.json").write_text(json.dumps({"do": case.do, "target": case.target}))
    answers: dict[str, Any] = EDITS["evaluate"](root, "0")
    return {
        f"{case.name}: {case.target}": answers[f"{position:03}"]["digest"]
        for position, case in enumerate(EDITS["CASES"])
        if not case.name.startswith(BY_VERSION)
    }


def test_digests_are_those_of_every_other_python(found: dict[str, str]) -> None:
    if os.environ.get("HYPERNODES_SNAPSHOTS"):
        SNAPSHOT.write_text(json.dumps(found, indent=0, sort_keys=True) + "\n")
    known = json.loads(SNAPSHOT.read_text())
    assert {name: digest for name, digest in found.items() if known.get(name) != digest} == {}, (
        "code identities changed: if that is meant, run this with HYPERNODES_SNAPSHOTS=1, and check it on every Python"
    )
