"""From a path or a URL to a store."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import re
from collections.abc import Mapping
from typing import Any, Final

from hypernodes._messages import did_you_mean, listed
from hypernodes.cache._secrets import redacted as _redacted
from hypernodes.cache._secrets import secrets_of
from hypernodes.cache.remote import FsspecStore
from hypernodes.cache.store import CacheStore, DictStore, LocalStore
from hypernodes.errors import OptionError, PluginError, PluginLoadError, UnknownPluginError

_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)(?:://|::)")  # two letters at least: one is a drive
_LOCAL: Final = ("file", "local")
_PACKAGES: Final = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs", "abfss": "adlfs"}
_USUAL: Final = ("file", "s3", "gs", "az", "memory")  # that messages offer


def scheme_of(url: str) -> str | None:
    """Return the scheme of a URL in lower case, or ``None`` for a path."""
    found = _SCHEME.match(url)
    return found[1].lower() if found else None


def redacted(url: str, storage_options: Mapping[str, Any] | None = None) -> str:
    """Return a URL, or a text with URLs in it, as it may be shown: without credentials."""
    return _redacted(url, secrets_of(url, storage_options or {}))


def is_remote(store: CacheStore) -> bool:
    """Return whether calls to a store can hang. One of somebody else says so with an attribute ``remote``; if not, they can."""
    return not isinstance(store, (DictStore, LocalStore)) and bool(getattr(store, "remote", True))


def open_store(url: str | os.PathLike[str], storage_options: Mapping[str, Any] | None = None) -> CacheStore:
    """Return the store behind a path or a URL. Nothing is connected, and no client is imported.

    Args:
        url: A directory, a URL whose scheme a plugin registered, or one that fsspec understands.
        storage_options: What the client takes that the URL does not say.

    Raises:
        UnknownPluginError: Nobody knows the scheme.
        PluginLoadError: The package behind the scheme is not installed or cannot be imported.
        PluginConflictError: Two plugins claim the scheme.
        PluginError: A plugin opened no store.
        OptionError: ``storage_options`` where none are taken.
    """
    text = os.fspath(url)
    scheme = scheme_of(text)
    if scheme is None or scheme in _LOCAL:
        if storage_options:
            raise OptionError(f"a directory takes no storage_options: {listed(storage_options)} for {text!r}")
        return LocalStore(text if scheme is None else text.partition("://")[2])
    from hypernodes import plugins

    registry = plugins.current().registry
    if scheme in registry.names("cache_store"):
        return _from_plugin(registry, scheme, text, storage_options or {})
    _check(scheme, text, registry.names("cache_store"))
    return FsspecStore(text, storage_options)


def _from_plugin(registry: Any, scheme: str, url: str, options: Mapping[str, Any]) -> CacheStore:
    target: Any = registry.load("cache_store", scheme)
    owner = listed(registry.owners("cache_store", scheme))
    keywords = {"storage_options": dict(options)} if options else {}
    try:
        inspect.signature(target).bind(url, **keywords)
    except ValueError:
        pass  # it does not tell what it takes
    except TypeError:
        if options:
            raise OptionError(f"cache store '{scheme}' of {owner} takes no storage_options: put them into the URL") from None
    secrets = secrets_of(url, options)
    try:
        store = target(url, **keywords)
    except Exception as error:  # noqa: BLE001 - whatever it is, the plugin is named
        trouble = f"could not open {redacted(url, options)}: {type(error).__name__}: {_redacted(str(error), secrets)}"
    else:
        if isinstance(store, CacheStore):
            return store
        trouble = f"opened {redacted(url, options)} as {type(store).__name__}, which is no store: it needs put, get, list and delete"
    raise PluginError(f"cache store '{scheme}' of {owner} {trouble}")


def _check(scheme: str, url: str, registered: list[str]) -> None:
    """Say what is missing for a URL that no plugin opens."""
    package = _PACKAGES.get(scheme)
    lacking = [name for name in ("fsspec", package) if name is not None and importlib.util.find_spec(name) is None]
    if package is not None:
        if lacking:
            raise PluginLoadError(f"{redacted(url)!r} needs {package}, which is not installed: pip install {package}")
        return
    known = {*_PACKAGES, *_USUAL, *_LOCAL, *registered}
    if not lacking:
        known.update(importlib.import_module("fsspec").available_protocols())
        if scheme in known:
            return
    elif scheme == "memory":
        raise PluginLoadError(f"{redacted(url)!r} needs fsspec, which is not installed: pip install fsspec")
    note = "; fsspec would bring more: pip install fsspec" if lacking else ""
    raise UnknownPluginError(
        f"unknown scheme '{scheme}' in {redacted(url)!r}: nothing installed opens it. "
        f"There are {listed(dict.fromkeys([*registered, *_USUAL]))} and others{note}.{did_you_mean(scheme, known)}"
    )
