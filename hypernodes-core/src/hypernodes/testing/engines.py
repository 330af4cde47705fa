"""What every engine must do, as tests that an engine's author inherits."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hypernodes.engines import Engine
from hypernodes.pipeline import Pipeline
from hypernodes.testing import _nodes as nodes
from hypernodes.testing._leftovers import abandoned, running, until
from hypernodes.testing._reports import ReportTests
from hypernodes.testing._results import ResultTests


class EngineSuite(ResultTests, ReportTests):
    """Conformance tests for engines: inherit them unedited and say how an engine is made.

    Put this into a test module and run pytest::

        from hypernodes.testing import EngineSuite

        from acme.engine import AcmeEngine


        class TestAcmeEngine(EngineSuite):
            def make_engine(self):
                return AcmeEngine(workers=2)

    What is tested: results and statistics equal those of the sequential engine over a family of pipelines; every event
    comes exactly once, in legal order, on the thread that called the pipeline; a node's exception arrives as itself, with
    a note that names the node; results come in the order of the items; ``on_error="return"``, ``max_failures``, retries
    and timeouts; endless input with bounded memory; nothing is left running.

    ``engine.capabilities`` decides what is skipped: an engine whose workers do not share memory is not asked to change
    this process's objects, one of reach ``"cluster"`` is not asked to see this host's files, and one that manages no
    resources is not asked to refuse them.

    ``make_engine`` is called once for each test. Let it return a small engine (two workers), and share what is slow to
    start: an engine may take a running pool or client that belongs to its caller.
    """

    def test_nothing_is_left_running(self, engine: Engine, tmp_path: Path) -> None:
        """When a call is over, however it ended, its threads and processes are gone and no node runs any more."""
        self.needs_files(engine)
        path = tmp_path / "marks"
        endings: list[Callable[[Pipeline], None]] = [_finish, _fail, _abandon]
        _finish(Pipeline([nodes.mark_slowly, nodes.check], engine=engine).bind(path=str(path)))  # an engine may keep what it starts once
        until(lambda: not abandoned(), abandoned)  # nodes of earlier tests that timed out
        before = running()
        for end in endings:
            end(Pipeline([nodes.mark_slowly, nodes.check], engine=engine).bind(path=str(path)))
            marks = nodes.marks(path)
            time.sleep(0.2)
            assert nodes.marks(path) == marks, f"nodes ran after {end.__name__}"
            until(lambda: running() <= before, lambda end=end: (end.__name__, running() - before))  # type: ignore[misc]


def _finish(pipeline: Pipeline) -> None:
    assert len(pipeline.map({"x": range(1, 7)}, map_over="x")) == 6


def _fail(pipeline: Pipeline) -> None:
    with pytest.raises(ValueError, match="refused"):
        pipeline.map({"x": [7, *range(1, 7)]}, map_over="x")


def _abandon(pipeline: Pipeline) -> None:
    with contextlib.closing(pipeline.imap({"x": range(1, 7)}, map_over="x")) as stream:  # type: ignore[type-var]
        next(stream)
