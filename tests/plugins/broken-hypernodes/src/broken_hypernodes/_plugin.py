"""Raises when HyperNodes imports it."""

from __future__ import annotations

_REASON = "the licence server does not answer"

raise RuntimeError(_REASON)
