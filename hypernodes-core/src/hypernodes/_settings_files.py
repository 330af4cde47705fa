"""What stands in the environment, in the project's ``pyproject.toml`` and in the user's ``config.toml``."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final

import attrs

from hypernodes._messages import did_you_mean, listed
from hypernodes.errors import ConfigError

_WORDS: Final = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
OTHERS: Final = frozenset({"cache_public_keys"})  # plain keys that are no settings of pipelines


@attrs.frozen
class SettingsFile:
    """What one file says.

    Attributes:
        level: ``"project"`` or ``"user"``.
        path: The file.
        table: Its settings.
    """

    level: str
    path: Path
    table: Mapping[str, Any]

    def where(self, key: str) -> str:
        """Say where a key stands, for messages."""
        if self.level == "project":
            return f"{self.path}: [tool.hypernodes.{key}]" if "." in key else f"{self.path}: [tool.hypernodes]"
        return f"{self.path}: [{key}]" if "." in key else str(self.path)

    def engine(self, name: str) -> Mapping[str, Any]:
        """Return the settings of one engine."""
        found = self.table.get("engines", {}).get(name, {})
        return found if isinstance(found, Mapping) else {}

    def anchored(self, value: Any) -> Any:
        """Return a path of this file as seen from anywhere: a project's paths are relative to its ``pyproject.toml``."""
        if isinstance(value, list):
            return [self.anchored(each) for each in value]
        if isinstance(value, Mapping):
            return {key: self.anchored(each) if key == "path" else each for key, each in value.items()}
        if not isinstance(value, str) or not value or "://" in value:
            return value
        path = Path(value).expanduser()
        return str(self.path.parent / path if self.level == "project" else path)


def read_settings_files(settings: Collection[str]) -> list[SettingsFile]:
    """Read the project's file and the user's, strongest first; those that say nothing are left out.

    Args:
        settings: The keys that may hold plain values; everything else must be a table.

    Raises:
        ConfigError: A file is not TOML, or holds something it should not.
    """
    found = []
    project = _project()
    if project is not None:
        found.append(project)
    path = _user_path()
    if path is not None:
        data = _parsed(path)
        if data:
            nested = data.get("tool", {}).get("hypernodes") if isinstance(data.get("tool"), Mapping) else None
            found.append(SettingsFile("user", path, nested if isinstance(nested, Mapping) else data))
    for file in found:
        _check(file, settings)
    return found


def read_environment(settings: Collection[str]) -> dict[str, tuple[Any, str]]:
    """Read the ``HYPERNODES_*`` variables: per setting its value, not yet checked, and the variable. Empty ones say nothing.

    Args:
        settings: The settings to look for.
    """
    found = {}
    for name in settings:
        variable = f"HYPERNODES_{name.upper()}"
        text = os.environ.get(variable, "").strip()
        if text:
            found[name] = (_from_text(name, text), variable)
    return found


def _from_text(name: str, text: str) -> Any:
    """Return what a text stands for; what is no number or word stays text, for the check to complain about."""
    if name in ("cache", "callbacks", "timeout") and text.lower() == "none":
        return None
    if name == "callbacks" or (name == "cache" and "," in text):
        return [part.strip() for part in text.split(",") if part.strip()]
    if name == "strict":
        return _WORDS.get(text.lower(), text)
    if name in ("retries", "timeout"):
        try:
            return int(text) if name == "retries" else float(text)
        except ValueError:
            return text
    return text


def _project() -> SettingsFile | None:
    """Return the nearest ``pyproject.toml`` with a ``[tool.hypernodes]``, from the working directory upward."""
    try:
        here = Path.cwd()
    except OSError:  # the working directory is gone
        return None
    for folder in (here, *here.parents):
        path = folder / "pyproject.toml"
        data = _parsed(path)
        tool = data.get("tool") if data else None
        table = tool.get("hypernodes") if isinstance(tool, Mapping) else None
        if isinstance(table, Mapping):
            return SettingsFile("project", path, table)
        if table is not None:
            msg = f"{path}: [tool.hypernodes] must be a table"
            raise ConfigError(msg)
    return None


def _user_path() -> Path | None:
    base = os.environ.get("XDG_CONFIG_HOME", "")
    try:
        folder = Path(base) if base else Path.home() / ".config"
    except RuntimeError:  # no home directory
        return None
    return folder / "hypernodes" / "config.toml"


def _parsed(path: Path) -> dict[str, Any] | None:
    """Return a file's content; ``None`` where there is no file, or a project's file that never mentions us."""
    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None
    except OSError as error:
        if path.name == "pyproject.toml":  # a folder above the project that we may not look into
            return None
        msg = f"{path} cannot be read: {error.strerror}"
        raise ConfigError(msg) from error
    if path.name == "pyproject.toml" and b"hypernodes" not in content:
        return None
    import tomllib  # only those who configure something pay for it

    try:
        return tomllib.loads(content.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        msg = f"{path} is not valid TOML: {error}"
        raise ConfigError(msg) from error


def _check(file: SettingsFile, settings: Collection[str]) -> None:
    for key, value in file.table.items():
        if key not in settings and key not in OTHERS and not isinstance(value, Mapping):
            msg = f"{file.where(key)} has no setting '{key}'; settings are {listed(settings)}, anything else is a table."
            msg += did_you_mean(key, settings)
            raise ConfigError(msg)
    engines = file.table.get("engines", {})
    for name, table in engines.items() if isinstance(engines, Mapping) else ((None, None),):
        if not isinstance(table, Mapping):
            what = f"engines.{name}" if name is not None else "engines"
            msg = f"{file.where(what)} must be a table of an engine's settings"
            raise ConfigError(msg)
