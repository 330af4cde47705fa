"""What every callback must survive, as tests that a callback's author inherits."""

from __future__ import annotations

import gc
import inspect
import pickle
import threading
import warnings
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

from hypernodes import config
from hypernodes.callbacks import CallbackContext, PipelineCallback, RunInfo
from hypernodes.engines import Engine, SeqEngine
from hypernodes.errors import OptionError
from hypernodes.node import node
from hypernodes.pipeline import Pipeline
from hypernodes.testing import _scenes as scenes
from hypernodes.testing._engines import PackedEngine
from hypernodes.testing._leftovers import running, until


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
    are the same with and without it; it can be pickled, before a run and after; one object serves several runs, also at
    the same time; when a run is over it keeps neither contexts nor values, and leaves nothing running.

    Attributes:
        keeps_values: Set it to ``True`` for a callback whose purpose is to keep inputs or outputs.
    """

    keeps_values: bool = False

    def make_callback(self) -> PipelineCallback:
        """Return the callback under test, made anew; the one method to write."""
        msg = f"{type(self).__name__} must define make_callback(self), which returns the callback under test"
        raise OptionError(msg)

    def make_engines(self) -> list[Engine]:
        """Return the engines to listen to; override it for a callback whose ``supported_engines`` leave out ``"seq"``."""
        return [SeqEngine(), PackedEngine()]

    @pytest.fixture
    def callback(self) -> PipelineCallback:
        """The callback under test."""
        return self.make_callback()

    @pytest.fixture
    def engines(self, callback: PipelineCallback) -> list[Engine]:
        """The engines that the callback works with."""
        supported = callback.supported_engines
        engines = [engine for engine in self.make_engines() if supported is None or engine.name in supported]
        if not engines:
            pytest.skip(f"it works with {', '.join(supported or ())} only: let make_engines return such an engine")
        return engines

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

    # -- the object ---------------------------------------------------------------------------------------------------

    def test_describes_itself(self, callback: PipelineCallback) -> None:
        """It is what pipelines take, and declares what it is in the right types."""
        assert isinstance(callback, PipelineCallback)
        assert isinstance(callback.required, bool)
        assert isinstance(callback.wants_values, bool)
        supported = callback.supported_engines
        assert supported is None or (not isinstance(supported, str) and all(isinstance(name, str) for name in supported))
        assert config.make_callbacks([callback]) == (callback,)
        assert isinstance(repr(callback), str)

    @pytest.mark.parametrize("name", [name for name in dir(PipelineCallback) if name.startswith("on_") or name == "node_scope"])
    def test_signatures(self, callback: PipelineCallback, name: str) -> None:
        """Each method takes the arguments that it is given, by position."""
        given = list(inspect.signature(getattr(PipelineCallback, name)).parameters)[1:]
        try:
            inspect.signature(getattr(callback, name)).bind(*given)
        except TypeError as error:
            pytest.fail(f"{type(callback).__name__}.{name} is called with ({', '.join(given)}): {error}")

    def test_travels(self, callback: PipelineCallback, engines: list[Engine], tmp_path: Path) -> None:
        """It can be pickled, before a run and after: pipelines take their callbacks along."""
        for _ in range(2):
            again = cloudpickle.loads(cloudpickle.dumps(callback))
            assert type(again).__qualname__ == type(callback).__qualname__
            for engine in engines:
                assert _outcome(scenes.a_map, engine, [again], tmp_path) == _outcome(scenes.a_map, engine, [callback], tmp_path)

    def test_its_node_scope(self, callback: PipelineCallback) -> None:
        """What surrounds nodes in workers can be pickled, entered by several threads, and hides no exception."""
        scope: Any = callback.node_scope(RunInfo("0-0-0-0", "stage", "map", "seq", 3, ("more",), 0.0))
        if scope is None:
            pytest.skip("it has no node scope")
        scope = pickle.loads(cloudpickle.dumps(scope))
        wrong: list[BaseException] = []

        def use(number: int) -> None:
            try:
                with scope.enter(f"node{number}", number, {}), scope.enter("inside", None, {"traceparent": "-"}):
                    pass
            except BaseException as error:  # noqa: BLE001 - told below
                wrong.append(error)

        threads = [threading.Thread(target=use, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong
        with pytest.raises(LookupError, match="seen"), scope.enter("failing", 0, {}):
            msg = "seen"
            raise LookupError(msg)

    # -- runs ---------------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("scene", scenes.SCENES, ids=lambda scene: scene.__name__)
    def test_changes_nothing(
        self, callback: PipelineCallback, engines: list[Engine], scene: Callable[[scenes.Stage], Any], tmp_path: Path
    ) -> None:
        """In every kind of run it raises nothing, and what comes out is what comes out without it."""
        for number, engine in enumerate(engines):
            heard = _outcome(scene, engine, [callback], tmp_path / f"{number}-heard")
            assert heard == _outcome(scene, engine, [], tmp_path / f"{number}-alone")

    def test_two_threads_at_once(self, engines: list[Engine], callback: PipelineCallback, tmp_path: Path) -> None:
        """One object may listen to runs in several threads."""
        wrong: list[Any] = []

        def use(scene: Callable[[scenes.Stage], Any], engine: Engine) -> None:
            for turn in range(5):
                folder = tmp_path / f"{scene.__name__}-{engine.name}-{turn}"
                outcomes = [_outcome(scene, engine, heard, folder) for heard in ([callback], [])]
                if outcomes[0] != outcomes[1]:
                    wrong.append((scene.__name__, *outcomes))

        plays = [(scene, engine) for scene in (scenes.nested_pipelines, scenes.a_failing_map) for engine in engines]
        threads = [threading.Thread(target=use, args=play) for play in plays]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong

    # -- afterwards ---------------------------------------------------------------------------------------------------

    def test_keeps_no_context(self, engines: list[Engine], callback: PipelineCallback, tmp_path: Path) -> None:
        """A context describes the current event only; nothing of it stays when the run is over."""
        gc.collect()
        before = {id(each) for each in gc.get_objects() if type(each) is CallbackContext}
        for engine in engines:
            for scene in (scenes.nested_pipelines, scenes.an_abandoned_stream):  # an exception, once logged, holds on to everything
                _outcome(scene, engine, [callback], tmp_path)
        gc.collect()
        kept = [each for each in gc.get_objects() if type(each) is CallbackContext and id(each) not in before]
        assert not kept, f"{type(callback).__name__} keeps {kept}"

    def test_keeps_no_values(self, callback: PipelineCallback, engines: list[Engine]) -> None:
        """Values that passed by can be freed when the run is over."""
        if self.keeps_values:
            pytest.skip("it is there to keep values")
        seen: list[weakref.ref[_Thing]] = []
        for engine in engines:
            if engine.capabilities.shares_memory:
                thing = _Thing()
                seen.append(weakref.ref(thing))
                Pipeline([_pass_on], engine=engine, callbacks=[callback]).map({"x": [1, 2], "thing": thing}, map_over="x")
                del thing
        gc.collect()
        assert [ref() for ref in seen] == [None] * len(seen)

    def test_leaves_nothing_running(self, callback: PipelineCallback, engines: list[Engine], tmp_path: Path) -> None:
        """Threads and processes that it starts end with the run."""
        before = running()
        for engine in engines:
            for scene in (scenes.a_map, scenes.a_failing_map, scenes.an_abandoned_stream):
                _outcome(scene, engine, [callback], tmp_path)
                until(lambda: running() <= before, lambda: running() - before)


class _Thing:
    """Something whose end can be seen."""


@node(output_name="passed")
def _pass_on(x: int, thing: _Thing) -> _Thing:
    return thing


def _outcome(scene: Callable[[scenes.Stage], Any], engine: Engine, callbacks: list[PipelineCallback], folder: Path) -> Any:
    """Play a scene; return what came out, or what was raised."""
    folder.mkdir(parents=True, exist_ok=True)
    for mark in folder.glob("marks*"):
        mark.unlink()
    try:
        return scene(scenes.Stage(engine, callbacks, folder))
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - it is compared
        return type(error), str(error)
