"""Where results are kept: descriptions of caches, opened when a run first needs them."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import attrs

from hypernodes._messages import among
from hypernodes._setting_checks import CHECKS, refuse
from hypernodes.errors import ConfigError, OptionError

if TYPE_CHECKING:
    from hypernodes.cache._gc import Collected
    from hypernodes.cache._inspect import Described, Listed, Verified
    from hypernodes.cache._stored import StoredCache
    from hypernodes.cache.opened import Cache
    from hypernodes.cache.store import CacheStore

_NUMBERS = itertools.count()


def _text(path: str | os.PathLike[str]) -> str:
    return os.path.expanduser(os.fspath(path))  # noqa: PTH111 - the rest stays as it was written


_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(i?)B?", re.IGNORECASE)
_GRACE_S: Final = 3600.0


def size_from(value: int | str | None) -> int | None:
    """Return a number of bytes: ``10_000``, ``"10 GB"`` and ``"1.5 MiB"`` are understood.

    Raises:
        OptionError: It is none.
    """
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= 0):
        return value
    found = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None:
        raise OptionError(f"{value!r} is no size: give a number of bytes, or a text such as '10 GB'")
    number, unit, binary = found.groups()
    return int(float(number) * (1024 if binary else 1000) ** (" KMGT".index(unit.upper()) if unit else 0))


_TIME: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw]?)")
_TIMES: Final = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 7 * 86_400.0}


def seconds_from(value: float | str | timedelta) -> float:
    """Return a time in seconds: ``90``, ``"30d"``, ``"1.5h"``, ``"1w"`` and a ``timedelta`` are understood.

    Raises:
        OptionError: It is none.
    """
    if isinstance(value, timedelta):
        value = value.total_seconds()
    found = _TIME.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is not None:
        return float(found[1]) * _TIMES[found[2]]
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0:
        return float(value)
    raise OptionError(f"{value!r} is no time: give seconds, a timedelta, or a number with s, m, h, d or w, such as '30d'")


def _flag(_setting: object, field: Any, value: object) -> None:
    if not isinstance(value, bool):
        refuse(field.name, value, "give True or False")


def _word(_setting: object, field: Any, value: object) -> None:
    if not isinstance(value, str):
        refuse(field.name, value, "give a text")


class _Setting:
    """What can be done with a cache besides running pipelines."""

    @property
    def travels(self) -> bool:
        """Whether other processes of this machine can open the same cache."""
        return True

    def _opened(self) -> Any:
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

        Raises:
            ConfigError: The cache is only read here.
        """
        cache: Cache = self._to_change()
        return cache.invalidate(node, pipeline)

    def clear(self) -> int:
        """Forget all results, and return how many they were. What they took is free at once."""
        cache: Cache = self._to_change()
        return cache.clear()

    def _to_change(self) -> Any:
        if getattr(self, "read_only", False):
            raise ConfigError(f"{self!r} is only read here; fix: leave out read_only=True to change what is in it")
        return self._opened()

    def nodes(self) -> dict[tuple[str, str], int]:
        """Return how many results there are of each pipeline and node, by their names."""
        cache: Cache = self._opened()
        return cache.nodes()

    def __len__(self) -> int:
        return len(self._opened())

    def __bool__(self) -> bool:
        return True  # an empty cache is a cache all the same


class _StoredSetting(_Setting):
    """What can be done with a cache over a store."""

    def info(self) -> Described:
        """Return what the cache takes, and how many results there are of each node."""
        from hypernodes.cache._inspect import described

        return described(self._opened())

    def results(self, node: str | None = None, *, pipeline: str | None = None) -> Iterator[Listed]:
        """Yield what is known of each result.

        Args:
            node: Name or id of a node; all nodes when left out.
            pipeline: Name of the pipeline that was called; all when left out.
        """
        from hypernodes.cache._inspect import listed

        return listed(self._opened(), node, pipeline)

    def verify(self) -> Verified:
        """Read everything there is, and return what is wrong with it. A run would compute such results again."""
        from hypernodes.cache._inspect import verified

        return verified(self._opened())

    def gc(
        self,
        *,
        max_size: int | str | None = None,
        older_than: float | str | timedelta | None = None,
        grace: float | str | timedelta = _GRACE_S,
        dry_run: bool = False,
    ) -> Collected:
        """Make room: what was forgotten goes, small segments are merged, and on request what is old or too much goes as well.

        It may run while others use the cache, and may be killed at any point.

        Args:
            max_size: The most bytes that may stay, or a text such as ``"10 GB"``; what was used longest ago goes first. The
                cache's own limit when left out. What other keys signed is not counted, and stays.
            older_than: How long after its last use a result goes: seconds, a ``timedelta`` or a text such as ``"30d"``. Uses are
                recorded to the day.
            grace: How long blobs stay after they no longer count, for those that still read them; given the same way.
            dry_run: Only say what would be done.

        Raises:
            ConfigError: The cache is only read here.
        """
        seconds = None if older_than is None else seconds_from(older_than)
        grace_s, limit = seconds_from(grace), size_from(max_size)
        cache: StoredCache = self._opened() if dry_run else self._to_change()
        return cache.collect(max_size=cache.max_size if limit is None else limit, older_than=seconds, grace=grace_s, dry_run=dry_run)


@attrs.frozen
class DiskCache(_StoredSetting):
    """A cache below a directory.

    Args:
        path: The directory; made when the first result is kept. ``~`` stands for the user's home.
        read_only: Whether nothing is ever written there.
        salt: Part of every signature: caches of different salts share nothing.
        max_size: The most bytes that it may take, or a text such as ``"10 GB"``; what was used longest ago goes first.
    """

    path: str = attrs.field(default=".cache", converter=_text)
    read_only: bool = attrs.field(default=False, kw_only=True, validator=_flag)
    salt: str = attrs.field(default="", kw_only=True, validator=_word)
    max_size: int | None = attrs.field(default=None, converter=size_from, kw_only=True)

    def key(self) -> tuple[Any, ...]:
        """Return what equal caches have in common. The salt is in the signatures, so it needs no cache of its own."""
        return ("disk", os.path.abspath(self.path), self.read_only, self.max_size)  # noqa: PTH100 - as it was written, links and all

    def open(self) -> Cache:
        """Return the cache at work."""
        from hypernodes.cache._stored import StoredCache
        from hypernodes.cache.store import LocalStore

        root = os.path.abspath(self.path)  # noqa: PTH100 - as above
        return StoredCache(LocalStore(self.path), f"cache '{self.path}'", root=root, read_only=self.read_only, max_size=self.max_size)


@attrs.frozen(eq=False)
class StoreCache(_StoredSetting):
    """A cache over a store of your own.

    Args:
        store: Keeps blobs by name; see ``hypernodes.cache.store.CacheStore``.
        name: What messages call it.
        read_only: Whether nothing is ever written there.
        salt: Part of every signature: caches of different salts share nothing.
        max_size: The most bytes that it may take, or a text such as ``"10 GB"``; what was used longest ago goes first.
    """

    store: CacheStore
    name: str = "the cache"
    read_only: bool = attrs.field(default=False, kw_only=True, validator=_flag)
    salt: str = attrs.field(default="", kw_only=True, validator=_word)
    max_size: int | None = attrs.field(default=None, converter=size_from, kw_only=True)

    @property
    def travels(self) -> bool:
        """Whether other processes of this machine can open the same cache; a store says so with an attribute ``travels``."""
        from hypernodes.cache.store import DictStore

        return not isinstance(self.store, DictStore) and bool(getattr(self.store, "travels", True))

    def key(self) -> tuple[Any, ...]:
        """Return what tells this cache from every other."""
        return ("store", id(self.store), self.read_only, self.max_size)

    def open(self) -> Cache:
        """Return the cache at work."""
        from hypernodes.cache._stored import StoredCache

        return StoredCache(self.store, self.name, read_only=self.read_only, max_size=self.max_size)


@attrs.frozen(repr=False)
class RemoteCache(_StoredSetting):
    """A cache at a URL, such as ``s3://bucket/prefix``: anything that fsspec or a plugin opens.

    It travels without credentials; processes elsewhere find their own.

    Args:
        url: The URL.
        storage_options: What else fsspec wants to know, credentials included.
        read_only: Whether nothing is ever written there.
        salt: Part of every signature: caches of different salts share nothing.
        max_size: The most bytes that it may take, or a text such as ``"10 GB"``; what was used longest ago goes first.
    """

    url: str
    storage_options: Mapping[str, Any] | None = attrs.field(default=None, eq=False)
    read_only: bool = attrs.field(default=False, kw_only=True, validator=_flag)
    salt: str = attrs.field(default="", kw_only=True, validator=_word)
    max_size: int | None = attrs.field(default=None, converter=size_from, kw_only=True)

    def __repr__(self) -> str:
        from hypernodes.cache._urls import redacted

        said = {"read_only": self.read_only, "salt": self.salt, "max_size": self.max_size}
        return f"RemoteCache({', '.join([repr(redacted(self.url)), *(f'{name}={value!r}' for name, value in said.items() if value)])})"

    @property
    def travels(self) -> bool:
        """Whether other processes of this machine can open the same cache: not with credentials, which stay in this one."""
        from hypernodes.cache._secrets import shareable, without_userinfo

        options = dict(self.storage_options or {})
        return not self.url.startswith("memory:") and shareable(options) == options and without_userinfo(self.url) == self.url

    def key(self) -> tuple[Any, ...]:
        """Return what equal caches have in common."""
        return ("url", self.url, repr(sorted((self.storage_options or {}).items())), self.read_only, self.max_size)

    def open(self) -> Cache:
        """Return the cache at work."""
        from hypernodes.cache._stored import StoredCache
        from hypernodes.cache._urls import is_remote, open_store, redacted

        store, url = open_store(self.url, self.storage_options), redacted(self.url)
        far = is_remote(store)
        return StoredCache(
            store, f"cache '{url}'", local=not far, root=url if far else None, read_only=self.read_only, max_size=self.max_size
        )

    def __reduce__(self) -> tuple[Any, ...]:
        from hypernodes.cache._secrets import shareable, without_userinfo

        options = shareable(self.storage_options or {})
        return (_remote_cache, (without_userinfo(self.url), options, self.read_only, self.salt, self.max_size))


def _remote_cache(url: str, options: Mapping[str, Any], read_only: bool, salt: str, max_size: int | None) -> RemoteCache:  # noqa: FBT001
    return RemoteCache(url, options, read_only=read_only, salt=salt, max_size=max_size)


def cache_at(place: str | os.PathLike[str]) -> DiskCache | RemoteCache:
    """Return the cache at a path or a URL."""
    text = os.fspath(place)
    if "://" in text and not text.startswith("file://"):
        return RemoteCache(text)
    return DiskCache(text.removeprefix("file://"))


@attrs.frozen
class MemoryCache(_Setting):
    """A cache in this process's memory. Workers of this machine ask this process for what it holds; elsewhere it arrives empty.

    Args:
        max_size: The most bytes it may hold, or a text such as ``"1 GB"``; what was used least goes first.
        salt: Part of every signature: caches of different salts share nothing.
    """

    max_size: int | None = attrs.field(default=None, converter=size_from)
    salt: str = attrs.field(default="", validator=_word)
    _number: int = attrs.field(factory=lambda: next(_NUMBERS), init=False, repr=False)

    @property
    def travels(self) -> bool:
        """Whether other processes of this machine can open the same cache: they cannot."""
        return False

    def key(self) -> tuple[Any, ...]:
        """Return what tells this cache from every other."""
        return ("memory", os.getpid(), self._number)

    def open(self) -> Cache:
        """Return the cache at work."""
        from hypernodes.cache._memory import MemoryKept

        return MemoryKept(self.max_size)

    def __reduce__(self) -> tuple[Any, ...]:
        return (MemoryCache, (self.max_size, self.salt))


def _flat(layers: Iterable[Any]) -> tuple[Any, ...]:
    """Return the caches that layers stand for, each place once."""
    found: dict[Any, Any] = {}
    for layer in CHECKS["cache"](list(layers)):
        cache = cache_at(layer) if isinstance(layer, (str, os.PathLike)) else layer
        found.setdefault(cache.key(), cache)
    return tuple(found.values())


@attrs.frozen(repr=False)
class Layers(_Setting):
    """Several caches, one behind the other; what ``cache=[".cache", "s3://team/p"]`` stands for.

    What one does not have is looked for in the next, and kept in those before it when it is read. Results go to all of them.

    Args:
        layers: Caches, paths and URLs, nearest first; layers among them stand for their own.

    Raises:
        OptionError: Their salts differ, or there are none.
    """

    layers: tuple[Any, ...] = attrs.field(converter=_flat)

    def __attrs_post_init__(self) -> None:
        if not self.layers:
            raise OptionError("there are no layers; fix: give at least one cache, or cache=None for none")

    def __repr__(self) -> str:
        return f"Layers([{', '.join(map(repr, self.layers))}])"

    @property
    def salt(self) -> str:
        """What all layers add to signatures."""
        return getattr(self.layers[0], "salt", "")

    @property
    def read_only(self) -> bool:
        """Whether some layer is never written to, so that what is forgotten would come back from there."""
        return any(getattr(layer, "read_only", False) for layer in self.layers)

    @property
    def travels(self) -> bool:
        """Whether other processes of this machine can open all layers."""
        return all(getattr(layer, "travels", True) for layer in self.layers)

    def key(self) -> tuple[Any, ...]:
        """Return what equal caches have in common."""
        return ("layers", *(layer.key() for layer in self.layers))

    def open(self) -> Cache:
        """Return the caches at work."""
        from hypernodes.cache.layered import LayeredCache
        from hypernodes.cache.opened import open_cache

        return LayeredCache([open_cache(layer) for layer in self.layers])


def cache_of(layers: Sequence[Any]) -> Any:
    """Return the cache that a list stands for: ``None`` for an empty one, and a single one as itself."""
    if not layers:
        return None
    found = Layers(layers)
    return found if len(found.layers) > 1 else found.layers[0]


def cache_in(table: Mapping[str, Any]) -> DiskCache | RemoteCache:
    """Return the cache that a table of a configuration file stands for: its ``path`` or ``url``, and its settings.

    Raises:
        OptionError: The table says something else.
    """
    kind = RemoteCache if "url" in table else DiskCache
    known = [field.name for field in attrs.fields(kind)]
    for name in table:
        if name not in known:
            raise OptionError(f"cache: {kind.__name__} takes no '{name}'; {among(name, known)}")
    if not isinstance(table.get("url", table.get("path")), str):
        raise OptionError("cache: a table gives the 'path' or the 'url' of a cache as a text")
    return kind(**table)
