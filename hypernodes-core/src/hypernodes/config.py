"""Settings of a run, and where they come from when a pipeline leaves them out."""

from __future__ import annotations

import enum
import inspect
import os
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import Any, Final, Literal, Never, cast

import attrs

from hypernodes import cache as caches
from hypernodes import plugins
from hypernodes._messages import did_you_mean, listed, picture
from hypernodes._setting_checks import CHECKS, lacks, refuse
from hypernodes._settings_files import SettingsFile, read_environment, read_settings_files
from hypernodes.callbacks import PipelineCallback
from hypernodes.errors import ConfigError, HyperNodesError, OptionError, PluginLoadError
from hypernodes.plugins import manager as _manager


class Unset(enum.Enum):
    """The type of ``UNSET``."""

    UNSET = "UNSET"

    def __repr__(self) -> str:
        return "UNSET"

    def __bool__(self) -> Literal[False]:
        return False


UNSET: Final = Unset.UNSET
SETTING_NAMES: Final = ("engine", "cache", "callbacks", "retries", "timeout", "strict")

_LIBRARY: Final[Mapping[str, Any]] = {
    "engine": "seq", "cache": None, "callbacks": (), "retries": 0, "timeout": None, "strict": False,
}  # fmt: skip
_ASKED: Final = ("engine", "cache")  # settings for which plugins have a default hook


@attrs.frozen
class Settings:
    """One value per setting; ``UNSET`` where nothing was said. Names stand as they were written.

    Attributes:
        engine: How and where blocks run.
        cache: Where results are kept.
        callbacks: Who is told.
        retries: How often a failed call is tried again.
        timeout: Seconds that one call may take.
        strict: Whether doubtful things are errors.
    """

    engine: Any = UNSET
    cache: Any = UNSET
    callbacks: Any = UNSET
    retries: Any = UNSET
    timeout: Any = UNSET
    strict: Any = UNSET


class _State:
    """What changes while a program runs.

    Attributes:
        generation: Counts everything that can change what a run resolves; the hot path compares it.
    """

    __slots__ = ("ambient", "chosen", "environment", "files", "generation", "made")

    def __init__(self) -> None:
        self.generation = 0
        self.chosen: dict[str, Any] = {}
        self.ambient: Settings | None = None
        self.environment: dict[str, tuple[Any, str]] | None = None
        self.files: list[SettingsFile] | None = None
        self.made: dict[tuple[str, str], Any] = {}


STATE: Final = _State()


def bump() -> None:
    """Note that something changed which a run resolves."""
    STATE.generation += 1
    STATE.ambient = None


def set_default_config(
    *,
    engine: Any = UNSET,
    cache: Any = UNSET,
    callbacks: Any = UNSET,
    retries: int | Unset | None = UNSET,
    timeout: float | timedelta | Unset | None = UNSET,
    strict: bool | Unset = UNSET,
    **unknown: Never,
) -> None:
    """Set what pipelines use that leave a setting out; stands above environment and files.

    What is left out stays as it is; ``None`` and ``[]`` switch off.

    Args:
        engine: An engine, or the name of one.
        cache: A cache, a path or URL, or a list of them.
        callbacks: A callback, the name of one, or a list of them.
        retries: How often a failed call is tried again.
        timeout: Seconds that one call may take.
        strict: Whether doubtful things are errors.

    Raises:
        OptionError: A value is unusable, or there is no such setting; then nothing has changed.
    """
    given = {"engine": engine, "cache": cache, "callbacks": callbacks, "retries": retries, "timeout": timeout, "strict": strict}
    checked = {name: validate(name, value) for name, value in {**given, **unknown}.items() if value is not UNSET}
    STATE.chosen.update(checked)
    bump()


def reset_default_config() -> None:
    """Forget ``set_default_config``, and read environment and files again when they are next needed."""
    STATE.chosen.clear()
    STATE.environment = STATE.files = None
    STATE.made.clear()
    bump()


def ambient() -> Settings:
    """Return what pipelines use that leave a setting out.

    Only ``engine`` and ``cache`` may be ``UNSET`` in it: then ``fallback`` knows more, given the pipeline.
    """
    found = STATE.ambient
    if found is None:
        values = {name: _LIBRARY[name] for name in SETTING_NAMES if name not in _ASKED}
        values |= {name: value for name, _, value, _ in reversed(_configured())}
        found = STATE.ambient = Settings(**values)
    return found


def fallback(name: str, pipeline: object) -> Any:
    """Return what a setting is that nobody configured.

    Args:
        name: The setting.
        pipeline: The pipeline that needs it; plugins may answer differently for different ones.
    """
    if name in _ASKED:
        check: Callable[[Any], object] = make_engine if name == "engine" else make_cache
        found = plugins.current().call_default(f"hypernodes_default_{name}", pipeline, check)
        if found is not None:
            return found
    return _own_engine() if name == "engine" else _LIBRARY[name]


def sources() -> list[tuple[str, str, Any, str]]:
    """Return every value of every setting, strongest first: (setting, level, value, where it stands)."""
    rows = _configured()
    for hook in (f"hypernodes_default_{name}" for name in _ASKED):
        owners = [row.owner for row in plugins.current().plugins if hook in row.hooks]
        rows += [(hook.rpartition("_")[2], "plugin", UNSET, f"{hook} of {owner}, asked per pipeline") for owner in owners]
    rows += [(name, "library", _LIBRARY[name], "") for name in SETTING_NAMES]
    return sorted(rows, key=lambda row: SETTING_NAMES.index(row[0]))


def tool_table() -> Mapping[str, Any]:
    """Return ``[tool.hypernodes]`` of the project over the user's file."""
    merged: dict[str, Any] = {}
    for file in reversed(_files()):
        merged = _laid_over(merged, file.table)
    return merged


def make_engine(value: Any) -> Any:
    """Return the engine that a setting stands for.

    Args:
        value: An engine, the name of one, or ``None`` for the library's own.

    Raises:
        UnknownPluginError: Nobody registered the name.
        ConfigError: Its table in the configuration says something it does not take.
        OptionError: It is neither.
    """
    value = validate("engine", value)
    if value is None:
        return _own_engine()
    if not isinstance(value, str):
        return value
    return _made("engine", value, _engine_by_name)


def make_callbacks(value: Any) -> tuple[PipelineCallback, ...]:
    """Return the callbacks that a setting stands for: callbacks and names of callbacks, or one of either."""
    return tuple(_made("callback", each, _callback_by_name) if isinstance(each, str) else each for each in validate("callbacks", value))


def make_cache(value: Any) -> Any:
    """Return the cache that a setting stands for: a path is a ``DiskCache``, a URL a ``RemoteCache``, a list stands for layers."""
    value = validate("cache", value)
    if isinstance(value, tuple):
        return caches.cache_of(value)
    return caches.cache_at(value) if isinstance(value, (str, os.PathLike)) else value


def validate(name: str, value: Any) -> Any:
    """Return the value of a setting, checked and in its plain form; names stay names.

    Raises:
        OptionError: It is unusable, or there is no such setting.
    """
    if name not in SETTING_NAMES:
        msg = f"unknown setting '{name}'; there are {listed(SETTING_NAMES)}.{did_you_mean(name, SETTING_NAMES)}"
        raise OptionError(msg)
    if value is UNSET:
        return value
    return _callbacks(value) if name == "callbacks" else CHECKS[name](value)


def _callbacks(value: Any) -> tuple[Any, ...]:
    if value is None:
        return ()
    if isinstance(value, (str, PipelineCallback, type)) or not isinstance(value, Iterable):
        value = (value,)
    checked = tuple(value)
    for each in checked:
        if isinstance(each, type):
            refuse("callbacks", each, f"this is a class; write {each.__name__}()")
        if not isinstance(each, (str, PipelineCallback)) or (isinstance(each, str) and not each):
            refuse("callbacks", each, "give callbacks (instances of PipelineCallback), names such as 'logging', or a list of them")
    return checked


# -- levels


def _configured() -> list[tuple[str, str, Any, str]]:
    """Return what program, environment and files say, strongest first."""
    rows = [(name, "program", value, "set_default_config()") for name, value in STATE.chosen.items()]
    if STATE.environment is None:
        told = read_environment(SETTING_NAMES)
        STATE.environment = {name: (_said(name, value, where), where) for name, (value, where) in told.items()}
    rows += [(name, "environment", value, where) for name, (value, where) in STATE.environment.items()]
    for file in _files():
        for name in SETTING_NAMES:
            if name in file.table:
                value = file.anchored(file.table[name]) if name == "cache" else file.table[name]
                rows.append((name, file.level, _said(name, value, file.where(name)), str(file.path)))
    return rows


def _said(name: str, value: Any, where: str) -> Any:
    try:
        return validate(name, _with_tables(value) if name == "cache" else value)
    except OptionError as error:
        msg = f"{where}: {error}"
        raise ConfigError(msg) from None


def _with_tables(value: Any) -> Any:
    """Return a cache as a file names it, with the tables in it made caches."""
    if isinstance(value, list):
        return [_with_tables(each) for each in value]
    return caches.cache_in(value) if isinstance(value, Mapping) else value


def _files() -> list[SettingsFile]:
    if STATE.files is None:
        STATE.files = read_settings_files(SETTING_NAMES)
        _manager.settings_read(tool_table())
    return STATE.files


def _laid_over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        under = merged.get(key)
        merged[key] = _laid_over(under, value) if isinstance(under, Mapping) and isinstance(value, Mapping) else value
    return merged


# -- names to objects


def _made(kind: str, name: str, make: Callable[[str], Any]) -> Any:
    """Return what a name stands for; one name is one object until the configuration is read again."""
    key = (kind, name)
    if key not in STATE.made:
        STATE.made[key] = make(name)
    return STATE.made[key]


def _own_engine() -> Any:
    """Return what runs pipelines that nobody gave an engine; a plugin that claims its name does not get in the way."""
    registry = plugins.current().registry
    if len(registry.owners("engine", "seq")) == 1:
        return make_engine("seq")
    return _made("own engine", "seq", lambda name: cast("Callable[[], Any]", registry.own("engine", name))())


def _engine_by_name(name: str) -> Any:
    registry = plugins.current().registry
    factory = registry.load("engine", name)
    owner = listed(registry.owners("engine", name))
    options: dict[str, Any] = {}
    where = ""
    for file in reversed(_files()):
        table = file.engine(name)
        if table:
            options |= table
            where = file.where(f"engines.{name}")
            if callable(factory):
                _check_options(factory, name, table, where)
    if not callable(factory) or (not isinstance(factory, type) and hasattr(factory, "execute")):
        if options:
            msg = f"{where}: engine '{name}' of {owner} is ready-made and takes no settings"
            raise ConfigError(msg)
        engine = factory
    else:
        try:
            engine = factory(**options)
        except HyperNodesError:
            raise
        except Exception as error:
            told = f"{type(error).__name__}: {error}"
            if options:
                msg = f"{where}: engine '{name}' of {owner} refused these settings: {told}"
                raise ConfigError(msg) from error
            msg = f"engine '{name}' of {owner} could not be made: {told}"
            raise PluginLoadError(msg) from error
    lacking = lacks(engine)
    if lacking:
        msg = f"engine '{name}' of {owner} is no engine: {picture(engine)} has no {listed(lacking)}"
        raise PluginLoadError(msg)
    return engine


def _check_options(factory: Callable[..., Any], name: str, table: Mapping[str, Any], where: str) -> None:
    known = _keywords(factory)
    if known is None:
        return
    for key in table:
        if key not in known:
            msg = f"{where} sets '{key}', which engine '{name}' does not take; it takes {listed(known)}.{did_you_mean(key, known)}"
            raise ConfigError(msg)


def _keywords(factory: Callable[..., Any]) -> list[str] | None:
    """Return the keywords a factory takes, following ``**settings`` up a class's bases; ``None`` if it takes any."""
    found: dict[str, None] = {}
    calls = [vars(base)["__init__"] for base in factory.__mro__ if "__init__" in vars(base)] if isinstance(factory, type) else [factory]
    for call in calls:
        try:
            parameters = list(inspect.signature(call).parameters.values())
        except (TypeError, ValueError):  # written in C, it tells nothing; calling it will
            return None
        named = [each.name for each in parameters if each.kind in (each.KEYWORD_ONLY, each.POSITIONAL_OR_KEYWORD)]
        found |= dict.fromkeys(named[1:] if isinstance(factory, type) else named)
        if all(each.kind is not each.VAR_KEYWORD for each in parameters):
            return list(found)
    return None


def _callback_by_name(name: str) -> PipelineCallback:
    manager = plugins.current()
    factory = manager.registry.load("callback", name)
    owner = listed(manager.registry.owners("callback", name))
    try:
        callback = factory if isinstance(factory, PipelineCallback) else cast("Callable[[], Any]", factory)()
    except HyperNodesError:
        raise
    except Exception as error:
        msg = f"callback '{name}' of {owner} could not be made: {type(error).__name__}: {error}"
        raise PluginLoadError(msg) from error
    if not isinstance(callback, PipelineCallback):
        msg = f"callback '{name}' of {owner} is no PipelineCallback but {picture(callback)}"
        raise PluginLoadError(msg)
    manager.own(callback, owner)
    return callback


def _plugins_changed() -> None:
    STATE.made.clear()
    bump()


_manager.settings_source = tool_table
_manager.on_change.append(_plugins_changed)
