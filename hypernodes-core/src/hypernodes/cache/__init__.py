"""Where results are kept: descriptions of caches, opened when a run first needs them."""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from hypernodes.cache.opened import Cache
    from hypernodes.cache.store import CacheStore

_NUMBERS = itertools.count()


def _text(path: str | os.PathLike[str]) -> str:
    return os.fspath(path)


class _Setting:
    """What can be done with a cache besides running pipelines."""

    def _opened(self) -> Cache:
        from hypernodes.cache.opened import open_cache

        cache = open_cache(self)
        cache.refresh()
        return cache

    def invalidate(self, node: str | None = None, *, pipeline: str | None = None) -> int:
        """Forget results, so that they are computed again.

        Args:
            node: Name or id of a node; all nodes when left out.
            pipeline: Name of the pipeline that was called; all when left out.

        Returns:
            How many results were forgotten.
        """
        return self._opened().invalidate(node, pipeline)

    def clear(self) -> int:
        """Forget all results, and return how many they were."""
        return self._opened().invalidate()

    def nodes(self) -> dict[tuple[str, str], int]:
        """Return how many results there are of each pipeline and node, by their names."""
        return self._opened().nodes()

    def __len__(self) -> int:
        return len(self._opened())

    def __bool__(self) -> bool:
        return True  # an empty cache is a cache all the same


@attrs.frozen
class DiskCache(_Setting):
    """A cache below a directory.

    Args:
        path: The directory; made when the first result is kept.
    """

    path: str = attrs.field(default=".cache", converter=_text)

    def key(self) -> tuple[Any, ...]:
        """Return what equal caches have in common."""
        return ("disk", os.path.abspath(self.path))  # noqa: PTH100 - as it was written, links and all

    def open(self) -> Cache:
        """Return the cache at work."""
        from hypernodes.cache._stored import StoredCache
        from hypernodes.cache.store import LocalStore

        return StoredCache(LocalStore(self.path), f"cache '{self.path}'", root=os.path.abspath(self.path))  # noqa: PTH100 - as above


@attrs.frozen(eq=False)
class StoreCache(_Setting):
    """A cache over a store of your own.

    Args:
        store: Keeps blobs by name; see ``hypernodes.cache.store.CacheStore``.
        name: What messages call it.
    """

    store: CacheStore
    name: str = "the cache"

    def key(self) -> tuple[Any, ...]:
        """Return what tells this cache from every other."""
        return ("store", id(self.store))

    def open(self) -> Cache:
        """Return the cache at work."""
        from hypernodes.cache._stored import StoredCache

        return StoredCache(self.store, self.name)


@attrs.frozen(repr=False)
class RemoteCache(_Setting):
    """A cache at a URL, such as ``s3://bucket/prefix``: anything that fsspec or a plugin opens.

    It travels without credentials; processes elsewhere find their own.

    Args:
        url: The URL.
        storage_options: What else fsspec wants to know, credentials included.
    """

    url: str
    storage_options: Mapping[str, Any] | None = attrs.field(default=None, eq=False)

    def __repr__(self) -> str:
        from hypernodes.cache._urls import redacted

        return f"RemoteCache({redacted(self.url)!r})"

    def key(self) -> tuple[Any, ...]:
        """Return what equal caches have in common."""
        return ("url", self.url, repr(sorted((self.storage_options or {}).items())))

    def open(self) -> Cache:
        """Return the cache at work."""
        from hypernodes.cache._stored import StoredCache
        from hypernodes.cache._urls import is_remote, open_store, redacted

        store = open_store(self.url, self.storage_options)
        url = redacted(self.url)
        return StoredCache(store, f"cache '{url}'", local=not is_remote(store), root=url if is_remote(store) else None)

    def __reduce__(self) -> tuple[Any, ...]:
        from hypernodes.cache._secrets import shareable, without_userinfo

        return (RemoteCache, (without_userinfo(self.url), shareable(self.storage_options or {})))


def cache_at(place: str | os.PathLike[str]) -> DiskCache | RemoteCache:
    """Return the cache at a path or a URL."""
    text = os.fspath(place)
    if "://" in text and not text.startswith("file://"):
        return RemoteCache(text)
    return DiskCache(text.removeprefix("file://"))


@attrs.frozen
class MemoryCache(_Setting):
    """A cache in this process's memory. It travels empty.

    Args:
        max_size: The most bytes it may hold; what was used least goes first. ``None`` for no limit.
    """

    max_size: int | None = None
    _number: int = attrs.field(factory=lambda: next(_NUMBERS), init=False, repr=False)

    def key(self) -> tuple[Any, ...]:
        """Return what tells this cache from every other."""
        return ("memory", os.getpid(), self._number)

    def open(self) -> Cache:
        """Return the cache at work."""
        from hypernodes.cache._memory import MemoryKept

        return MemoryKept(self.max_size)

    def __reduce__(self) -> tuple[Any, ...]:
        return (MemoryCache, (self.max_size,))
