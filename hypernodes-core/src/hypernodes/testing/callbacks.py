"""What every callback must survive, as tests that a callback's author inherits."""

from __future__ import annotations

import contextlib
import gc
import itertools
import pickle
import threading
import warnings
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import cloudpickle
import pytest

from hypernodes import config
from hypernodes.callbacks import CallbackContext, PipelineCallback, RunInfo
from hypernodes.engines import Engine, SeqEngine
from hypernodes.errors import OptionError
from hypernodes.node import node
from hypernodes.pipeline import Pipeline
from hypernodes.testing import _family as family
from hypernodes.testing._engines import PackedEngine

Play = Callable[["Stage"], Any]


@attrs.frozen
class Stage:
    """What a scene is played with: an engine, and a callback or none."""

    engine: Engine
    callbacks: list[PipelineCallback]

    def pipeline(self, *nodes: Any, name: str | None = "stage") -> Pipeline:
        """Return a pipeline that tells on its callbacks at once."""
        return Pipeline(list(nodes), engine=self.engine, callbacks=self.callbacks, strict=True, name=name)


class CallbackSuite:
    """Conformance tests for callbacks: inherit them unedited and say how a callback is made.

    Put this into a test module and run pytest::

        from hypernodes.testing import CallbackSuite

        from acme.audit import AuditCallback


        class TestAuditCallback(CallbackSuite):
            def make_callback(self):
                return AuditCallback("audit.log")

    What is tested: the callback raises in no kind of run (runs, maps, nested pipelines, failures, retries, empty maps,
    streams abandoned half way, values that cannot be printed or pickled, values that stayed in another process); results
    are the same with and without it; it can be made and pickled before anything runs; one object serves several runs,
    also at the same time; it keeps neither contexts nor values when a run is over.

    Attributes:
        keeps_values: Set it to ``True`` for a callback whose purpose is to keep inputs or outputs.
    """

    keeps_values: bool = False

    def make_callback(self) -> PipelineCallback:
        """Return the callback under test, made anew; the one method to write."""
        msg = f"{type(self).__name__} must define make_callback(self), which returns the callback under test"
        raise OptionError(msg)

    @pytest.fixture
    def callback(self) -> PipelineCallback:
        """The callback under test."""
        return self.make_callback()

    @pytest.fixture(autouse=True)
    def _own_settings(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        """Keep the settings of this machine's user out; every warning is an error."""
        for name in config.SETTING_NAMES:
            monkeypatch.delenv(f"HYPERNODES_{name.upper()}", raising=False)
        config.reset_default_config()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            yield
        monkeypatch.undo()
        config.reset_default_config()

    def _engines(self, callback: PipelineCallback) -> list[Engine]:
        engines: list[Engine] = [SeqEngine(), PackedEngine()]
        supported = callback.supported_engines
        return [_renamed(engine, supported) for engine in engines]

    # -- the object ---------------------------------------------------------------------------------------------------

    def test_is_a_callback(self, callback: PipelineCallback) -> None:
        """It is what pipelines take, and declares what it is in the right types."""
        assert isinstance(callback, PipelineCallback)
        assert isinstance(callback.required, bool)
        assert isinstance(callback.wants_values, bool)
        supported = callback.supported_engines
        assert supported is None or (not isinstance(supported, str) and all(isinstance(name, str) for name in supported))
        assert config.make_callbacks([callback]) == (callback,)
        assert isinstance(repr(callback), str)

    def test_every_event_can_be_told(self, callback: PipelineCallback) -> None:
        """Its methods take the arguments that they are given, by position."""
        import inspect

        for name, method in inspect.getmembers(PipelineCallback, inspect.isfunction):
            if name.startswith("on_") or name == "node_scope":
                count = len(inspect.signature(method).parameters) - 1
                try:
                    inspect.signature(getattr(callback, name)).bind(*[None] * count)
                except TypeError as error:
                    pytest.fail(f"{type(callback).__name__}.{name} cannot be called with {count} arguments: {error}")

    def test_travels(self, callback: PipelineCallback) -> None:
        """Pipelines take their callbacks along when they are pickled, so a callback can be, before and after a run."""
        for _ in range(2):
            again = cloudpickle.loads(cloudpickle.dumps(callback))
            assert type(again).__qualname__ == type(callback).__qualname__
            again_pipeline = cloudpickle.loads(cloudpickle.dumps(Pipeline([family.increase], callbacks=[callback])))
            assert again_pipeline.output_names == ("more",)
            for engine in self._engines(callback):
                _play(_a_map, engine, again)

    def test_its_node_scope_travels(self, callback: PipelineCallback) -> None:
        """What surrounds nodes in workers can be pickled, entered by several threads, and hides no exception."""
        run = RunInfo("0-0-0-0", "stage", "map", "seq", 3, ("more",), 0.0)
        scope = callback.node_scope(run)
        if scope is None:
            pytest.skip("it has no node scope")
        scope = pickle.loads(cloudpickle.dumps(scope))
        failed: list[BaseException] = []

        def use(number: int) -> None:
            try:
                with scope.enter(f"node{number}", number, {}), scope.enter("inside", None, {"traceparent": "-"}):
                    pass
                with contextlib.suppress(LookupError), scope.enter("failing", 0, {}):
                    raise LookupError
            except BaseException as error:  # noqa: BLE001 - reported below
                failed.append(error)

        threads = [threading.Thread(target=use, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failed
        with pytest.raises(LookupError, match="seen"), scope.enter("failing", 0, {}):
            msg = "seen"
            raise LookupError(msg)

    # -- runs ---------------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("play", [pytest.param(play, id=play.__name__.strip("_")) for play in ()] or None or [])
    def _unused(self, play: Play) -> None: ...

    # -- what stays ---------------------------------------------------------------------------------------------------
