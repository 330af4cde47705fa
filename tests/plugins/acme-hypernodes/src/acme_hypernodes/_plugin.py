"""What HyperNodes imports when it discovers plugins: names, and nothing that takes long to load."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from hypernodes import hookimpl

if TYPE_CHECKING:
    from hypernodes import PipelineCallback, RunInfo
    from hypernodes.plugins import Registrar


@hookimpl
def hypernodes_register_engines(registry: Registrar) -> None:
    """Bring ``engine="acme"``."""
    registry.add("acme", "acme_hypernodes.engine:AcmeEngine")


@hookimpl
def hypernodes_register_commands(registry: Registrar) -> None:
    """Bring ``hypernodes acme-audit``."""
    registry.add("acme-audit", "acme_hypernodes.command:command")


@hookimpl
def hypernodes_callbacks(run: RunInfo) -> PipelineCallback | None:
    """Attach the audit log to every run while ``ACME_AUDIT`` names a file; ``acme-internal`` pipelines are not audited."""
    path = os.environ.get("ACME_AUDIT")
    if not path or run.pipeline == "acme-internal":
        return None
    from acme_hypernodes.audit import AuditCallback

    return AuditCallback(path)
