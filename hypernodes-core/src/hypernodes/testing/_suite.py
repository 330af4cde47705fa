"""What tests of engines have in common."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from hypernodes import config
from hypernodes._failures import NodeFailure
from hypernodes.engines import Engine
from hypernodes.errors import OptionError
from hypernodes.testing import _family as family


class EngineTests:
    """How the engine under test is made."""

    def make_engine(self) -> Engine:
        """Return the engine under test, made anew; the one method to write."""
        msg = f"{type(self).__name__} must define make_engine(self), which returns the engine under test"
        raise OptionError(msg)

    @pytest.fixture
    def engine(self) -> Engine:
        """The engine under test."""
        return self.make_engine()

    @pytest.fixture(autouse=True)
    def _own_settings(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        """Keep the settings of this machine's user out."""
        for name in config.SETTING_NAMES:
            monkeypatch.delenv(f"HYPERNODES_{name.upper()}", raising=False)
        config.reset_default_config()
        yield
        monkeypatch.undo()
        config.reset_default_config()

    def needs_files(self, engine: Engine) -> None:
        """Skip a test whose nodes leave marks in files."""
        if engine.capabilities.reach == "cluster":
            pytest.skip("its workers may not see files of this host")


def case_of(name: str) -> family.Case:
    """Return a case by name."""
    return next(case for case in family.CASES if case.name == name)


def counts(result: Any) -> dict[str, tuple[int, int]]:
    """Return how often each node ran and failed."""
    return {name: (entry.ran, entry.failed) for name, entry in result.stats.items()}


def notes(error: BaseException) -> str:
    """Return what was added to an exception."""
    return "\n".join(getattr(error, "__notes__", ()))


def pictured(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row with what failures say in their place, to be compared."""
    return {
        name: (value.node, value.item_path, value.inputs, type(value.error), str(value.error), value.attempts, value.label)
        if isinstance(value, NodeFailure)
        else value
        for name, value in row.items()
    }
