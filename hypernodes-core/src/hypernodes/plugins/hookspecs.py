"""Every hook that HyperNodes calls, in one place.

A plugin implements the hooks it needs as functions of the same name, marked with ``hookimpl``; an
implementation may leave out arguments it does not use. ``docs/hooks.md`` explains each with an example.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import pluggy

from hypernodes.plugins.registry import Registrar

if TYPE_CHECKING:
    from hypernodes.callbacks import PipelineCallback, RunInfo
    from hypernodes.pipeline import Pipeline

PROJECT: Final = "hypernodes"
hookspec: Final = pluggy.HookspecMarker(PROJECT)
hookimpl: Final = pluggy.HookimplMarker(PROJECT)


@hookspec
def hypernodes_register_engines(registry: Registrar) -> None:
    """Register engines by name: ``Pipeline(nodes, engine="dask")``.

    Called once, when plugins are discovered.

    Args:
        registry: ``registry.add(name, target)``; the target is an ``Engine`` class, or a function that returns an
            engine, usually as the text ``"module:attribute"``. Its keyword arguments come from
            ``[tool.hypernodes.engines.NAME]``.
    """


@hookspec
def hypernodes_register_cache_stores(registry: Registrar) -> None:
    """Register stores for caches by URL scheme: ``Pipeline(nodes, cache="redis://host/0")``.

    Called once, when plugins are discovered.

    Args:
        registry: ``registry.add(scheme, target)``; the target is called with the URL and returns a store.
    """


@hookspec
def hypernodes_register_callbacks(registry: Registrar) -> None:
    """Register callbacks by name: ``Pipeline(nodes, callbacks=["progress"])``.

    Called once, when plugins are discovered.

    Args:
        registry: ``registry.add(name, target)``; the target is a ``PipelineCallback`` class, or a function that
            returns a callback, and is called without arguments.
    """


@hookspec
def hypernodes_register_serializers(registry: Registrar) -> None:
    """Register serializers: how values of a type are written to a cache and read back.

    Called once, when plugins are discovered.

    Args:
        registry: ``registry.add(name, target)``; the name is written into cache entries, so it must never change.
    """


@hookspec
def hypernodes_register_hashers(registry: Registrar) -> None:
    """Register hashers: what the identity of a value of a type is.

    Called once, when plugins are discovered.

    Args:
        registry: ``registry.add(type_name, target)``; the name is the type's qualified name, such as
            ``"polars.DataFrame"``, so that the type itself need not be imported.
    """


@hookspec
def hypernodes_register_renderers(registry: Registrar) -> None:
    """Register renderers: how a pipeline is drawn, by the ending of the file or by name.

    Called once, when plugins are discovered.

    Args:
        registry: ``registry.add(name, target)``.
    """


@hookspec
def hypernodes_register_commands(registry: Registrar) -> None:
    """Register commands of the command line: ``hypernodes NAME ...``.

    Called once, when plugins are discovered.

    Args:
        registry: ``registry.add(name, target)``; the target is called with the list of arguments after the name and
            returns the exit status: 0 for ok, 1 for failed, 2 for wrong usage.
    """


@hookspec(firstresult=True)
def hypernodes_default_engine(pipeline: Pipeline) -> Any:
    """Return the engine for a pipeline that nobody configured one for, or ``None`` to leave it to others.

    Asked after every explicit setting: the pipeline's own, ``set_default_config``, environment and files.

    Args:
        pipeline: The pipeline that was called.
    """


@hookspec(firstresult=True)
def hypernodes_default_cache(pipeline: Pipeline) -> Any:
    """Return the cache for a pipeline that nobody configured one for, or ``None`` to leave it to others.

    Asked after every explicit setting: the pipeline's own, ``set_default_config``, environment and files.

    Args:
        pipeline: The pipeline that was called.
    """


@hookspec
def hypernodes_pipeline_built(pipeline: Pipeline) -> None:
    """Look at a pipeline that was just built; raise ``PipelineVeto`` to refuse it.

    Called at the end of ``Pipeline(...)``. Any other exception is reported as a warning and the pipeline stands.

    Args:
        pipeline: The new pipeline.
    """


@hookspec
def hypernodes_callbacks(run: RunInfo) -> PipelineCallback | Sequence[PipelineCallback] | None:
    """Return callbacks to attach to this run, beside those that the user configured.

    Called once per run, before its first event. They stay attached under ``callbacks=[]``; only the environment
    switches plugins off.

    Args:
        run: What is about to run.
    """


@hookspec(historic=True)
def hypernodes_configure(settings: Mapping[str, Any]) -> None:
    """Take what ``[tool.hypernodes]`` says, such as a table of your own in it.

    Called once when plugins are discovered, at once for a plugin registered later, and again when
    ``reset_default_config()`` has let the files be read again.

    Args:
        settings: ``[tool.hypernodes]`` of ``pyproject.toml`` over the user's file; read-only.
    """
