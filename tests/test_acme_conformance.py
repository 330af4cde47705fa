"""The acme engine and its audit callback keep what every engine and callback must keep."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypernodes import Engine, PipelineCallback
from hypernodes.testing import CallbackSuite, EngineSuite

SOURCE = Path(__file__).parent / "plugins" / "acme-hypernodes" / "src"


@pytest.fixture(scope="module", autouse=True)
def acme() -> Iterator[None]:
    sys.path.insert(0, str(SOURCE))
    yield
    sys.path.remove(str(SOURCE))
    for name in [name for name in sys.modules if name.partition(".")[0] == "acme_hypernodes"]:
        del sys.modules[name]


class TestAcmeEngine(EngineSuite):
    def make_engine(self) -> Engine:
        engine: Engine = importlib.import_module("acme_hypernodes.engine").AcmeEngine(workers=2)
        return engine


class TestAcmeAudit(CallbackSuite):
    @pytest.fixture(autouse=True)
    def folder(self, tmp_path: Path) -> None:
        self.audit = tmp_path / "audit.jsonl"

    def make_callback(self) -> PipelineCallback:
        callback: PipelineCallback = importlib.import_module("acme_hypernodes.audit").AuditCallback(str(self.audit))
        return callback
