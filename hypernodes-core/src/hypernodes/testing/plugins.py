"""Plugins under test, without those that happen to be installed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from hypernodes.plugins import PluginManager, use


@contextmanager
def isolated_plugins(*plugins: object, entry_points: bool = False) -> Iterator[PluginManager]:
    """Use these plugins and no others within a ``with`` block.

    Args:
        *plugins: What implements hooks: modules, objects, or classes, of which an object is made.
        entry_points: Whether plugins installed beside them are found too.

    Yields:
        The fresh manager; ``manager.register(plugin)`` adds more.

    Raises:
        PluginError: A plugin implements an unknown hook, with a wrong signature, or fails while registering names.

    Example:
        >>> from hypernodes import hookimpl
        >>> class Plugin:
        ...     @hookimpl
        ...     def hypernodes_register_callbacks(self, registry):
        ...         registry.add("log", "hypernodes.callbacks:LoggingCallback")
        >>> with isolated_plugins(Plugin) as manager:
        ...     "log" in manager.registry.names("callback")
        True

    It is all that a pytest fixture needs::

        @pytest.fixture
        def manager():
            with isolated_plugins(Plugin) as manager:
                yield manager
    """
    manager = PluginManager(entry_points=entry_points)
    with use(manager):
        for plugin in plugins:
            manager.register(plugin)
        yield manager
