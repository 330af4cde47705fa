"""Where results are kept: descriptions of caches, opened when a run first needs them."""

from __future__ import annotations

import os

import attrs


def _text(path: str | os.PathLike[str]) -> str:
    return os.fspath(path)


@attrs.frozen
class DiskCache:
    """A cache below a directory or URL.

    Args:
        path: A local directory, or any fsspec URL such as ``s3://bucket/prefix``.
    """

    path: str = attrs.field(default=".cache", converter=_text)


@attrs.frozen
class MemoryCache:
    """A cache in this process's memory.

    Args:
        max_size: The most bytes it may hold; ``None`` for no limit.
    """

    max_size: int | None = None
