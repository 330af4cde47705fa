"""Tests that authors of engines, stores and callbacks inherit, and plugins on their own.

The suites need pytest; ``isolated_plugins`` does not.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hypernodes.testing.callbacks import CallbackSuite as CallbackSuite
    from hypernodes.testing.engines import EngineSuite as EngineSuite
    from hypernodes.testing.plugins import isolated_plugins as isolated_plugins
    from hypernodes.testing.stores import CacheStoreSuite as CacheStoreSuite

_LATER = {"CacheStoreSuite": "stores", "CallbackSuite": "callbacks", "EngineSuite": "engines", "isolated_plugins": "plugins"}

__all__ = ["CacheStoreSuite", "CallbackSuite", "EngineSuite", "isolated_plugins"]


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    module = f"{__name__}.{_LATER[name]}"
    if name.endswith("Suite") and module not in sys.modules:
        try:
            import pytest
        except ImportError as error:
            msg = f"hypernodes.testing.{name} needs pytest: pip install pytest"
            raise ImportError(msg) from error
        parts = ("_suite", "_results", "_reports", "callbacks", "engines", "_races", "stores")
        fresh = [part for part in (f"{__name__}.{part}" for part in parts) if part not in sys.modules]
        pytest.register_assert_rewrite(*fresh)  # so that a failing assertion shows its values
    value = globals()[name] = getattr(importlib.import_module(module), name)
    return value
