"""Finds plugins, keeps them apart, and asks them what they have to say."""

from __future__ import annotations

import itertools
import sys
import threading
import warnings
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, Final, Literal

import attrs
import pluggy

from hypernodes._messages import did_you_mean, picture
from hypernodes.callbacks import PipelineCallback, RunInfo
from hypernodes.errors import HyperNodesError, PipelineVeto, PluginError, PluginWarning
from hypernodes.plugins import _entry_points, hookspecs
from hypernodes.plugins.registry import KINDS, Entry, Registrar, Registry

HOOKS: Final = tuple(sorted(name for name in vars(hookspecs) if name.startswith("hypernodes_")))
_REGISTER: Final = {f"hypernodes_register_{kind}s": kind for kind in KINDS}

_HOME: Final = __file__.rpartition("plugins")[0]

Status = Literal["ok", "broken", "disabled", "blocked"]


@attrs.frozen
class PluginRow:
    """What is known about one plugin.

    Attributes:
        name: The name of its entry point, or the one it was registered with.
        distribution: The package that brings it; ``None`` for one that the program registered.
        version: That package's version.
        status: ``"ok"``; ``"broken"``; ``"disabled"`` by HYPERNODES_DISABLE_PLUGINS; ``"blocked"``, not in HYPERNODES_PLUGINS.
        error: Why it is broken.
        registered: The names it registered, by kind.
        hooks: The hooks it implements.
    """

    name: str
    distribution: str | None
    version: str | None
    status: Status
    error: str | None = None
    registered: Mapping[str, tuple[str, ...]] = MappingProxyType({})
    hooks: tuple[str, ...] = ()

    @property
    def owner(self) -> str:
        """How messages name it."""
        return f"{self.distribution} {self.version or ''}".strip() if self.distribution else f"plugin '{self.name}'"


class PluginManager:
    """All plugins of a process, or of a test.

    Args:
        entry_points: Whether installed packages are looked for.
    """

    def __init__(self, *, entry_points: bool = True) -> None:
        self._entry_points = entry_points
        self._state: Literal["new", "busy", "ready"] = "new"
        self._lock = threading.RLock()
        self._pluggy = pluggy.PluginManager(hookspecs.PROJECT)
        self._pluggy.add_hookspecs(hookspecs)
        self._registry = Registry()
        self._plugins: dict[str, PluginRow] = {}
        self._rows: list[PluginRow] = []
        self._settings: Mapping[str, Any] | None = None
        self._owners: dict[int, tuple[weakref.ref[PipelineCallback], str]] = {}

    # -- finding them

    def discover(self) -> None:
        """Look for installed plugins; done once, when something is first asked."""
        if self._state == "ready":
            return
        with self._lock:
            if self._state != "new":  # another thread was faster, or a plugin asks while it is being imported
                return
            self._state = "busy"
            try:
                complaints = self._scan() if self._entry_points else []
            finally:
                self._state = "ready"
        # Told when all is in place: under a filter that turns warnings into errors nothing is left half done.
        for complaint in complaints:
            _complain(complaint)
        if self._settings is None and settings_source is not None and self._implementations("hypernodes_configure"):
            try:
                settings = settings_source()
            except HyperNodesError:  # every run reads the settings too, and raises this where the user can see it
                return
            self.configure(settings)

    def register(self, plugin: object, name: str | None = None) -> None:
        """Add a plugin of the program's own.

        Args:
            plugin: What implements hooks: a module, an object, or a class, of which an object is made.
            name: How messages name it.

        Raises:
            PluginError: It implements an unknown hook, with a wrong signature, or fails while registering names.
        """
        self.discover()
        if isinstance(plugin, type):
            plugin = plugin()
        label = name or getattr(plugin, "__name__", None) or type(plugin).__name__
        with self._lock:
            taken = {known.name for known in self._rows}
            if name is None and label in taken:
                label = next(numbered for k in itertools.count(2) if (numbered := f"{label}-{k}") not in taken)
            row = self._admit(plugin, PluginRow(label, None, None, "ok"))
        if row.error is not None:
            msg = f"{row.owner}: {row.error}"
            raise PluginError(msg)
        self._rows.append(row)
        if self._settings is not None:
            self._tell("hypernodes_configure", only=plugin, settings=self._settings)
        _changed()

    @property
    def registry(self) -> Registry:
        """The names that plugins and the core registered."""
        self.discover()
        return self._registry

    @property
    def plugins(self) -> tuple[PluginRow, ...]:
        """What is known about each plugin, broken and switched off ones included."""
        self.discover()
        return tuple(self._rows)

    # -- asking them

    def call_default(self, hook_name: str, pipeline: object, check: Callable[[Any], object] | None = None) -> object | None:
        """Return the first answer to ``hypernodes_default_engine`` or ``hypernodes_default_cache``.

        Args:
            hook_name: The hook.
            pipeline: The pipeline that needs an answer.
            check: Turns an answer into what it stands for, or refuses it by raising; then the next plugin is asked.
        """
        for plugin, answer in self._ask(hook_name, pipeline=pipeline):
            try:
                return check(answer) if check is not None else answer
            except HyperNodesError as error:
                _complain(f"{plugin.owner}: {hook_name} answered {picture(answer)}, which does not work: {error}")
        return None

    @property
    def has_run_hooks(self) -> bool:
        """Whether some plugin may attach callbacks to runs."""
        self.discover()
        return bool(self._implementations("hypernodes_callbacks"))

    def run_callbacks(self, run: RunInfo) -> list[PipelineCallback]:
        """Return the callbacks that plugins attach to a run."""
        found: list[PipelineCallback] = []
        for plugin, answer in self._ask("hypernodes_callbacks", run=run):
            owner = plugin.owner
            answers = answer if isinstance(answer, Sequence) and not isinstance(answer, str) else (answer,)
            for callback in answers:
                if isinstance(callback, PipelineCallback):
                    self.own(callback, owner)
                    found.append(callback)
                else:
                    _complain(f"{owner}: hypernodes_callbacks returned {picture(callback)}, which is no PipelineCallback; left out")
        return found

    def own(self, callback: PipelineCallback, owner: str) -> None:
        """Remember who brought a callback."""
        key = id(callback)
        self._owners[key] = (weakref.ref(callback, lambda _: self._owners.pop(key, None)), owner)

    def owner_of(self, callback: object) -> str | None:
        """Return the plugin that brought a callback, or ``None`` for the user's own."""
        known = self._owners.get(id(callback))
        return known[1] if known is not None and known[0]() is callback else None

    @property
    def has_built_hooks(self) -> bool:
        """Whether some plugin wants to see new pipelines."""
        self.discover()
        return bool(self._implementations("hypernodes_pipeline_built"))

    def pipeline_built(self, pipeline: object) -> None:
        """Show a new pipeline to the plugins.

        Raises:
            PipelineVeto: One of them refuses it.
        """
        self._tell("hypernodes_pipeline_built", pipeline=pipeline)

    def configure(self, settings: Mapping[str, Any]) -> None:
        """Tell the plugins what ``[tool.hypernodes]`` says; those registered later are told then."""
        self._settings = _read_only(settings)
        self._tell("hypernodes_configure", settings=self._settings)

    # -- inside

    def _scan(self) -> list[str]:
        """Register what is installed; return what there is to complain about."""
        installed = _entry_points.installed()
        names, off = _entry_points.allowed(), _entry_points.switched_off()
        loaded: list[tuple[object, PluginRow]] = []
        for found in installed:
            row = PluginRow(found.name, found.distribution, found.version, "ok")
            if off:
                self._rows.append(attrs.evolve(row, status="disabled"))
            elif names is not None and not names & found.answers_to:
                self._rows.append(attrs.evolve(row, status="blocked"))
            else:
                try:
                    loaded.append((found.load(), row))
                except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a plugin does, nobody else is stopped
                    self._rows.append(_broken(row, _text(error)))
        # pluggy asks the last one registered first; backwards, answers come in the order of the distributions.
        self._rows += [self._admit(plugin, row) for plugin, row in reversed(loaded)]
        self._rows.sort(key=lambda row: (_entry_points.normalised(row.distribution or ""), row.name))
        unknown = _entry_points.missing(names, installed) if names is not None and not off else []
        return [*_entry_points.mixed_up(), *unknown, *self._faults()]

    def _faults(self) -> list[str]:
        """Describe broken plugins, and note for later messages what is installed and still not there."""
        faults = []
        for row in self._rows:
            if row.status == "broken":
                faults.append(f"{row.owner} is broken and was left out: {row.error}")
                self._registry.notes[row.owner] = f"is installed but broken ({row.error}); see: hypernodes plugins"
            elif row.status != "ok":
                switch = _entry_points.DISABLE if row.status == "disabled" else _entry_points.ALLOW
                self._registry.notes[row.owner] = f"is installed but switched off by {switch}"
        return faults

    def _admit(self, plugin: object, row: PluginRow) -> PluginRow:
        """Register a plugin whole or not at all; the row says how it went."""
        name = f"{row.owner}: {row.name}"
        entries: list[Entry] = []
        try:
            self._pluggy.register(plugin, name)
        except ValueError as error:  # the same object, or the same name, once more
            return _broken(row, f"registered twice: {error}")
        except pluggy.PluginValidationError as error:
            if self._pluggy.is_registered(plugin):  # it is, in older versions of pluggy
                self._pluggy.unregister(plugin)
            return _broken(row, str(error))
        try:
            hooks = self._hooks_of(plugin)
            for hook in hooks:
                if hook in _REGISTER:
                    registrar = Registrar(self._registry, _REGISTER[hook], row.owner)
                    try:
                        for implementation in self._implementations(hook, only=plugin):
                            implementation(registry=registrar)
                    finally:
                        entries += registrar.entries
        except (Exception, SystemExit) as error:  # noqa: BLE001 - see _scan
            for entry in entries:
                self._registry.withdraw(entry)
            self._pluggy.unregister(plugin)
            return _broken(row, _text(error))
        registered: dict[str, tuple[str, ...]] = {}
        for entry in entries:
            registered[entry.kind] = (*registered.get(entry.kind, ()), entry.name)
        row = attrs.evolve(row, hooks=hooks, registered=MappingProxyType(registered))
        self._plugins[name] = row
        return row

    def _hooks_of(self, plugin: object) -> tuple[str, ...]:
        found = []
        for caller in self._pluggy.get_hookcallers(plugin) or ():
            mine = [impl for impl in caller.get_hookimpls() if impl.plugin is plugin]
            if any(impl.wrapper or impl.hookwrapper for impl in mine):
                msg = f"{caller.name} is a hook wrapper; HyperNodes calls each plugin by itself, so there is nothing to wrap"
                raise PluginError(msg)
            if caller.has_spec():
                found.append(caller.name)
            elif not all(impl.optionalhook for impl in mine):
                msg = f"there is no hook '{caller.name}'.{did_you_mean(caller.name, HOOKS)}"
                raise PluginError(msg)
        return tuple(sorted(found))

    def _implementations(self, hook: str, only: object = None) -> list[Callable[..., Any]]:
        """Return what implements a hook, first to be asked first."""
        return [call for _, call in self._callables(hook, only)]

    def _callables(self, hook: str, only: object = None) -> list[tuple[str, Callable[..., Any]]]:
        implementations = reversed(getattr(self._pluggy.hook, hook).get_hookimpls())
        return [
            (impl.plugin_name, _taking(impl.function, impl.argnames)) for impl in implementations if only is None or impl.plugin is only
        ]

    def _ask(self, hook: str, only: object = None, **arguments: Any) -> Iterator[tuple[PluginRow, Any]]:
        """Ask the plugins one by one; yield answers that are not ``None``. One that raises is named and skipped."""
        self.discover()
        for name, call in self._callables(hook, only):
            plugin = self._plugins[name]
            try:
                answer = call(**arguments)
            except PipelineVeto as veto:
                if hook == "hypernodes_pipeline_built":
                    veto.add_note(f"refused by {plugin.owner}")
                    raise
                _complain(f"{plugin.owner}: {hook} raised {_text(veto)}; only hypernodes_pipeline_built may refuse a pipeline")
            except Exception as error:  # noqa: BLE001 - whatever it is, it is the plugin's fault and must not stop a run
                _complain(f"{plugin.owner}: {hook} raised {_text(error)}; it was left out this time")
            else:
                if answer is not None:
                    yield plugin, answer

    def _tell(self, hook: str, only: object = None, **arguments: Any) -> None:
        for _ in self._ask(hook, only, **arguments):
            pass


settings_source: Callable[[], Mapping[str, Any]] | None = None
on_change: list[Callable[[], None]] = []
_current: PluginManager | None = None
_current_lock = threading.Lock()


def current() -> PluginManager:
    """Return the process's plugin manager."""
    global _current  # noqa: PLW0603 - the one place that knows which manager is in use
    if _current is None:
        with _current_lock:
            if _current is None:
                _current = PluginManager()
    return _current


@contextmanager
def use(manager: PluginManager) -> Iterator[PluginManager]:
    """Use another manager within a ``with`` block."""
    global _current  # noqa: PLW0603 - see current()
    before, _current = _current, manager
    _changed()
    try:
        yield manager
    finally:
        _current = before
        _changed()


def settings_read(settings: Mapping[str, Any]) -> None:
    """Tell the plugins in use that settings were read again; before the first discovery there is nobody to tell."""
    if _current is not None and _current._state == "ready":  # noqa: SLF001 - same module
        _current.configure(settings)


def _changed() -> None:
    for listener in on_change:
        listener()


def _taking(function: Callable[..., Any], names: Sequence[str]) -> Callable[..., Any]:
    """Return a call that passes on only the arguments that a hook implementation declares."""
    return lambda **arguments: function(*(arguments[name] for name in names))


def _complain(text: str) -> None:
    """Warn, with the line of the program that called us."""
    frame, level = sys._getframe(1), 2  # noqa: SLF001 - the documented way to see one's caller
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_HOME):
        frame, level = frame.f_back, level + 1
    warnings.warn(text, PluginWarning, stacklevel=level)


def _broken(row: PluginRow, error: str) -> PluginRow:
    return attrs.evolve(row, status="broken", error=error)


def _text(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _read_only(value: Any) -> Any:
    if isinstance(value, Mapping):
        return MappingProxyType({key: _read_only(each) for key, each in value.items()})
    return tuple(map(_read_only, value)) if isinstance(value, list) else value
