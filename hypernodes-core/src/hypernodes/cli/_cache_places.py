"""Which caches a command is about, whether they are there, and what goes wrong with one."""

from __future__ import annotations

import contextlib
import os
import re
import stat
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import attrs

from hypernodes import config
from hypernodes._messages import listed, near
from hypernodes._settings_files import _from_text
from hypernodes.cache import DiskCache, RemoteCache, opened
from hypernodes.cache._faults import StoreError
from hypernodes.cache._names import OBJECTS, SEGMENTS
from hypernodes.cache._urls import _LOCAL, scheme_of
from hypernodes.cache.entry import is_of
from hypernodes.cli._output import plain_cache, redacted
from hypernodes.errors import CacheWarning, ConfigError, HyperNodesError

DEFAULT: Final = ".cache"
_TAG: Final = "CACHEDIR.TAG"
_PARTS: Final = ("segments", "journal")
_MOST_LOOKED_AT: Final = 1000  # neighbours of a path, for a suggestion
_CONSOLATION: Final = re.compile(r"; results are computed instead[^\n]*")  # what a run is told; a command computes nothing


class Trouble(HyperNodesError):  # noqa: N818 - it is caught where it is told
    """A command cannot do its work with a cache; the message is the line that says so."""


@attrs.define(eq=False)
class Place:
    """A cache that a command is about.

    Attributes:
        name: How it is written.
        setting: The cache.
        source: What named it, where that was not the command line.
        fixed: Whether the configuration says that it is only read here.
        faults: What went wrong, in lines.
    """

    name: str
    setting: Any
    source: str = ""
    fixed: bool = False
    faults: list[str] = attrs.field(factory=list)

    def look(self) -> None:
        """See what is in it.

        Raises:
            Trouble: There is no cache, or it cannot be read.
        """
        if not hasattr(self.setting, "results"):
            raise Trouble(f"{self.name} is in the memory of a process; there is nothing to be seen from outside")
        folder = _folder(self.setting)
        if folder is not None:
            self._look_for(folder)
        cache: Any = opened.open_cache(self.setting)  # what is said of keys here is a warning, no fault
        with self.watched():
            cache.refresh()
            if folder is None and not cache.catalog.index.holders and not any(map(cache.store.list, (SEGMENTS, OBJECTS))):
                self._absent()

    def _look_for(self, folder: str) -> None:
        try:
            if not stat.S_ISDIR(os.stat(folder).st_mode):  # noqa: PTH116 - as it was written
                raise Trouble(f"{self.name} is a file; a cache is a directory")
            there = is_root(folder)
        except (FileNotFoundError, NotADirectoryError):
            there = False
        except (OSError, ValueError) as error:
            raise Trouble(f"the cache at {self.name} cannot be read: {getattr(error, 'strerror', None) or error}") from None
        if not there:
            self._absent(_suggestion(folder))

    def _absent(self, suggestion: str = "") -> None:
        source = f" ({self.source})" if self.source else ""
        hint = f". Did you mean '{suggestion}'?" if suggestion else ""
        name = os.path.abspath(self.name) if self.name in (".", "..") else self.name  # noqa: PTH100 - a dot more would not be seen
        raise Trouble(f"there is no cache at {name}{source}{hint}")

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Note what goes wrong with the cache meanwhile.

        Raises:
            Trouble: Its store does not do what it is asked.
        """
        cache = opened.open_cache(self.setting)
        before = _failures(cache)
        error: StoreError | None = None
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            try:
                yield
            except StoreError as raised:
                error = raised
        for each in told:
            text = str(each.message)
            if issubclass(each.category, CacheWarning) and _CONSOLATION.search(text):
                self._note(text)
            else:
                warnings.showwarning(each.message, each.category, each.filename, each.lineno)
        if error is None and _failures(cache) == before:
            return
        if error is not None and not self.faults:
            self._note(str(error))
        cache.read_only = True  # or it would try again when the process ends, and say so again
        opened._BY_SETTING.pop(self.setting.key(), None)  # noqa: SLF001 - nobody else is to get it like this
        faults, self.faults = self.faults, []
        raise Trouble(faults[0] if faults else f"{self.name} cannot be used") from None  # the others follow from the first

    def _note(self, text: str) -> None:
        line = re.sub(r"\s*\n\s*", "; ", _CONSOLATION.sub("", text).strip())
        line = line.replace(" is off for the rest of this run:", ":").replace(" could not read (", ": something in it cannot be read (")
        if line not in self.faults:
            self.faults.append(line)


def places(texts: Sequence[str] | None, *, only_read: bool) -> list[Place]:
    """Return the caches that a command is about: those of ``--cache``, or those that are configured here, or ``.cache``.

    Args:
        texts: What was said with ``--cache``.
        only_read: Whether the command changes nothing: then it needs no permission to.

    Raises:
        ConfigError: There are none.
        OptionError: One of them is no cache.
    """
    value, source = (_told(texts), "") if texts is not None else _configured()
    setting = config.make_cache(value)
    if setting is None:
        raise ConfigError(f"{source or '--cache'} says that nothing is cached; fix: name a cache with --cache PATH|URL")
    return [_place(layer, source, only_read=only_read) for layer in getattr(setting, "layers", (setting,))]


def _told(texts: Sequence[str]) -> list[Any]:
    """Return what ``--cache`` says, each time as ``HYPERNODES_CACHE`` would."""
    values = [_from_text("cache", text.strip()) for text in texts]
    return [each for value in values if value for each in (value if isinstance(value, list) else [value])]


def _configured() -> tuple[Any, str]:
    """Return the cache that is configured here, and where."""
    for setting, level, value, where in config.sources():
        if setting == "cache" and level not in ("plugin", "library"):
            return value, where
    return DEFAULT, ""


def _place(layer: Any, source: str, *, only_read: bool) -> Place:
    if isinstance(layer, DiskCache):
        fixed = layer.read_only
        layer = attrs.evolve(plain_cache(layer), read_only=only_read or fixed)
        return Place(redacted(layer.path), layer, source, fixed)
    name = redacted(layer.url) if isinstance(layer, RemoteCache) else str(getattr(layer, "name", None) or repr(layer))
    return Place(name, layer, source, bool(getattr(layer, "read_only", False)))


def _folder(setting: Any) -> str | None:
    """Return the directory of a cache on this machine; ``None`` for any other."""
    if isinstance(setting, DiskCache):
        return setting.path
    if isinstance(setting, RemoteCache) and scheme_of(setting.url) in _LOCAL:
        return setting.url.partition("://")[2]
    return None


def is_root(folder: str | Path) -> bool:
    """Whether a directory holds a cache.

    Raises:
        OSError: Nobody is to know.
    """
    for part in _PARTS:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            if stat.S_ISDIR(Path(folder, part).stat().st_mode):
                return True
    try:
        return b"HyperNodes" in Path(folder, _TAG).read_bytes()  # others have tags like this, too
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return False


def _suggestion(folder: str) -> str:
    """Return the cache that a path was probably meant to be: in it, beside it, or of the same name further up."""

    def holds(path: str | Path) -> bool:
        with contextlib.suppress(OSError, ValueError):
            return is_root(path)
        return False

    if holds(Path(folder, DEFAULT)):
        return str(Path(folder, DEFAULT))
    whole = Path(os.path.abspath(folder))  # noqa: PTH100 - as it was written, links and all
    beside: list[str] = []
    with contextlib.suppress(OSError), os.scandir(whole.parent) as entries:
        beside = [entry.name for _, entry in zip(range(_MOST_LOOKED_AT), entries, strict=False) if holds(entry.path)]
    found = near(whole.name, beside) or (DEFAULT if DEFAULT in beside else None)
    if found is not None:
        return str(Path(folder).parent / found)
    return next((str(above / whole.name) for above in whole.parent.parents if holds(above / whole.name)), "")


def _failures(cache: Any) -> int:
    stores = [store for name in ("store", "journals") if (store := getattr(cache, name, None)) is not None]
    return sum(sum(store.failures.values()) for store in {id(store): store for store in stores}.values())


# -- nodes


def looks_like_a_place(text: str) -> bool:
    """Whether a text is the path or the URL of something rather than the name of a node."""
    with contextlib.suppress(OSError, ValueError):
        if Path(text).exists():
            return True
    return "://" in text or text.startswith((".", "/", "~"))


def target(text: str | None, pipeline: str | None, known: Iterable[tuple[str, str]], where: str) -> tuple[str | None, str | None]:
    """Return the node and the pipeline that are meant, as caches know them; ``None`` for any.

    Args:
        text: A node: by its name, its id, or as ``PIPELINE/ID``, which is how commands print it.
        pipeline: The name of a pipeline.
        known: The pipelines and nodes that there are.
        where: The caches that were looked at.

    Raises:
        Trouble: There is none, or more than one.
    """
    there = sorted(set(known))
    if pipeline is not None and all(pipeline != each for each, _ in there):
        names = sorted({each for each, _ in there})
        raise Trouble(f"there are no results of pipeline '{pipeline}' in {where}, {_offer(pipeline, names, names)}")
    there = [each for each in there if pipeline in (None, each[0])]
    if text is None:
        return None, pipeline
    named = [each for each in there if is_of(each, text, pipeline)]
    printed = [each for each in there if text == _shown(each)]
    printed = printed or [each for each in there if text == f"{each[0]}/{each[1].rpartition('/')[2]}"]
    if not set(printed) <= set(named) if named else len(printed) > 1:
        several = sorted({*named, *printed})
        told = " or ".join(f"node '{node}' of pipeline '{name}'" for name, node in several)
        fix = " or ".join(f"--pipeline {name}" for name in dict.fromkeys(name for name, _ in several))
        raise Trouble(f"'{text}' may be {told}; fix: name the node alone, with {fix}")
    if named:
        return text, pipeline
    if printed:
        return printed[0][1], printed[0][0]
    offered = [_shown(each) for each in there]
    words = [*offered, *(node for _, node in there), *(node.rpartition("/")[2] for _, node in there)]
    hint = f" If it is a cache: --cache {text}" if looks_like_a_place(text) else ""
    of = f" of pipeline '{pipeline}'" if pipeline is not None else ""
    raise Trouble(f"there are no results of node '{text}'{of} in {where}, {_offer(text, offered, words)}{hint}")


def _shown(where: tuple[str, str]) -> str:
    return f"{where[0]}/{where[1]}"


def _offer(text: str, names: Sequence[str], words: Iterable[str]) -> str:
    if not names:
        return "nor of any other."
    guess = near(text, words)
    return f"but of {listed(names)}." + (f" Did you mean '{guess}'?" if guess is not None else "")
