"""Importing is free: what `import hypernodes` must not load, and what it must not look for."""

from __future__ import annotations

import subprocess
import sys

HEAVY = (
    "networkx",
    "fsspec",
    "cloudpickle",
    "pandas",
    "numpy",
    "pyarrow",
    "asyncio",
    "logging",
    "importlib.metadata",
    "concurrent.futures",
    "tomllib",
    "argparse",
)


def loaded_after(code: str) -> set[str]:
    """Run code in a fresh interpreter and return the modules it loaded."""
    program = f"import sys\nbefore = set(sys.modules)\n{code}\nprint('\\n'.join(sorted(set(sys.modules) - before)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_import_loads_nothing_heavy() -> None:
    loaded = loaded_after("import hypernodes")
    assert "hypernodes.pipeline" in loaded
    assert not loaded.intersection(HEAVY)


def test_the_public_names_load_nothing_heavy() -> None:
    others = "set(hypernodes.__all__) - {'HyperNodesEngine'}"  # which brings what runs things at the same time
    loaded = loaded_after(f"import hypernodes\nfor name in {others}: getattr(hypernodes, name)")
    assert not loaded.intersection(HEAVY)


def test_import_scans_no_entry_points() -> None:
    code = """
import importlib.metadata
def caught(*args, **kwargs):
    raise AssertionError("entry points were scanned")
importlib.metadata.entry_points = caught
importlib.metadata.distributions = caught
importlib.metadata.Distribution.discover = caught
import hypernodes
from hypernodes import Pipeline, SeqEngine, hookimpl, node, stateful
import hypernodes.engines, hypernodes.telemetry, hypernodes.executors
"""
    assert "hypernodes.plugins.manager" in loaded_after(code)


def test_a_first_pipeline_and_run_load_no_library_that_is_not_needed() -> None:
    code = """
from hypernodes import Pipeline, node
@node(output_name="y")
def inc(x: int) -> int:
    return x + 1
assert Pipeline([inc]).run({"x": 1}) == {"y": 2}
assert Pipeline([inc]).map({"x": [1]}, map_over="x") == [{"y": 2}]
"""
    assert not loaded_after(code).intersection({"networkx", "pandas", "numpy", "pyarrow", "fsspec", "cloudpickle", "asyncio"})
