"""Names now, objects later: what plugins and the core itself registered under which name."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from typing import Final

import attrs

from hypernodes._messages import listed, near
from hypernodes.errors import PluginConflictError, PluginError, PluginLoadError, UnknownPluginError

KINDS: Final = ("engine", "cache_store", "callback", "serializer", "hasher", "renderer", "command")
CORE: Final = "hypernodes-core"

_TARGET: Final = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")
_NAME: Final = re.compile(r"[^\s,]+")

# What the core itself brings. Aliases stand after the name that messages show.
_OWN: Final = (
    ("engine", "seq", "hypernodes.engines:SeqEngine"),
    ("engine", "hypernodes", "hypernodes.engines:HyperNodesEngine"),
    ("engine", "sequential", "hypernodes.engines:SeqEngine"),
    ("callback", "logging", "hypernodes.callbacks:LoggingCallback"),
    ("command", "demo", "hypernodes.cli._demo:command"),
    ("command", "plugins", "hypernodes.cli._plugins:command"),
    ("command", "config", "hypernodes.cli._config:command"),
    ("command", "cache", "hypernodes.cli._cache:command"),
    ("command", "doctor", "hypernodes.cli._doctor:command"),
)


@attrs.frozen
class Extra:
    """A name that one of our own packages brings once it is installed.

    Attributes:
        kind: What it is.
        name: The name it registers.
        attribute: The class behind the name.
        distribution: The package.
        extra: The extra of ``hypernodes-core`` that installs it.
    """

    kind: str
    name: str
    attribute: str
    distribution: str
    extra: str

    @property
    def install(self) -> str:
        """The command that gets it."""
        return f'pip install "hypernodes-core[{self.extra}]"'


EXTRAS: Final = (
    Extra("engine", "daft", "DaftEngine", "hypernodes-daft", "daft"),
    Extra("engine", "dask", "DaskEngine", "hypernodes-dask", "dask"),
    Extra("callback", "progress", "ProgressCallback", "hypernodes-progress", "progress"),
    Extra("callback", "otel", "TelemetryCallback", "hypernodes-otel", "otel"),
)


@attrs.frozen
class Entry:
    """One claim of one owner to one name.

    Attributes:
        kind: One of ``KINDS``.
        name: The name users write.
        target: The object, or the text ``"module:attribute"`` that leads to it.
        owner: Who registered it: distribution and version.
    """

    kind: str
    name: str
    target: object
    owner: str

    @property
    def module(self) -> str | None:
        """The module in which the target lives, for a target given as text."""
        return self.target.partition(":")[0] if isinstance(self.target, str) else None

    @property
    def attribute(self) -> str:
        """The last part of the target's name."""
        if isinstance(self.target, str):
            return self.target.rpartition(":")[2]
        return str(getattr(self.target, "__name__", ""))


class Registry:
    """All registered names of all kinds.

    One name has one owner. Where two packages claim the same, both claims are kept and whoever asks for the name
    is told; nobody else notices.
    """

    def __init__(self) -> None:
        self._claims: dict[tuple[str, str], list[Entry]] = {}
        self._loaded: dict[tuple[str, str], object] = {}
        self.notes: dict[str, str] = {}  # what is wrong with a package, for messages about names it would bring
        for kind, name, target in _OWN:
            self.add(kind, name, target, CORE)

    def add(self, kind: str, name: str, target: object, owner: str) -> Entry:
        """Claim a name.

        Args:
            kind: One of ``KINDS``.
            name: The name users will write.
            target: The object, or ``"module:attribute"``, which is imported when somebody asks for the name.
            owner: Who claims it, as it should stand in messages.
        """
        if kind not in KINDS:
            msg = f"{owner} registers {name!r} as a {kind!r}; there are only {listed(KINDS)}"
            raise PluginError(msg)
        what = kind.replace("_", " ")
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            msg = f"{owner} registers a {what} under {name!r}: a name is text without spaces and commas"
            raise PluginError(msg)
        if isinstance(target, str) and not _TARGET.fullmatch(target):
            msg = f"{owner} registers {what} '{name}' as {target!r}: write 'package.module:attribute'"
            raise PluginError(msg)
        claims = self._claims.setdefault((kind, name), [])
        if any(claim.owner == owner for claim in claims):
            msg = f"{owner} registers {what} '{name}' twice"
            raise PluginError(msg)
        entry = Entry(kind, name, target, owner)
        claims.append(entry)
        claims.sort(key=lambda claim: (claim.owner != CORE, claim.owner.lower()))
        self._loaded.pop((kind, name), None)
        return entry

    def withdraw(self, entry: Entry) -> None:
        """Take back a claim, of a plugin that turned out to be broken."""
        key = (entry.kind, entry.name)
        claims = [claim for claim in self._claims.get(key, ()) if claim is not entry]
        if claims:
            self._claims[key] = claims
        else:
            self._claims.pop(key, None)
        self._loaded.pop(key, None)

    def names(self, kind: str) -> list[str]:
        """Return the registered names of a kind, sorted."""
        return sorted(name for found, name in self._claims if found == kind)

    def entries(self, kind: str) -> list[Entry]:
        """Return every claim to a name of a kind, sorted by name."""
        return [entry for name in self.names(kind) for entry in self._claims[kind, name]]

    def owners(self, kind: str, name: str) -> tuple[str, ...]:
        """Return who claims a name; more than one is a conflict."""
        return tuple(claim.owner for claim in self._claims.get((kind, name), ()))

    def conflicts(self) -> Iterator[str]:
        """Describe every name that more than one package claims."""
        for (kind, name), claims in sorted(self._claims.items()):
            if len(claims) > 1:
                yield _conflict(kind, name, claims)

    def load(self, kind: str, name: str) -> object:
        """Return what is registered under a name, importing it if need be.

        Raises:
            UnknownPluginError: Nobody registered the name.
            PluginConflictError: Two packages did.
            PluginLoadError: It cannot be imported.
        """
        key = (kind, name)
        if key in self._loaded:
            return self._loaded[key]
        claims = self._claims.get(key)
        if not claims:
            raise UnknownPluginError(self._unknown(kind, name))
        if len(claims) > 1:
            raise PluginConflictError(_conflict(kind, name, claims))
        found = self._loaded[key] = resolve(claims[0])
        return found

    def own(self, kind: str, name: str) -> object:
        """Return what the core itself registered under a name, whatever plugins claim."""
        return next(resolve(claim) for claim in self._claims[kind, name] if claim.owner == CORE)

    def by_attribute(self, kind: str, attribute: str) -> str | None:
        """Return the name behind which a class of this name stands, or ``None``.

        Raises:
            PluginConflictError: Different packages bring a class of this name.
        """
        found = [entry for entry in self.entries(kind) if entry.attribute == attribute]
        if len({entry.owner for entry in found}) > 1:
            names = " and ".join(f"'{entry.name}' of {entry.owner}" for entry in found)
            msg = f"there is more than one {attribute}: {kind.replace('_', ' ')} {names}; import it from its own package"
            raise PluginConflictError(msg)
        return found[0].name if found else None

    def attributes(self) -> list[str]:
        """Return the names of all classes that stand behind names, installed or not."""
        found = {claim.attribute for claims in self._claims.values() for claim in claims}
        return sorted(found | {extra.attribute for extra in EXTRAS})

    def whereabouts(self, extra: Extra) -> str:
        """Say where one of our own classes lives, and why it is not here."""
        for owner, note in self.notes.items():
            if owner.partition(" ")[0] == extra.distribution:
                return f"lives in {extra.distribution}, which {note}"
        return f"lives in {extra.distribution}, which is not installed: {extra.install}"

    def _unknown(self, kind: str, name: str) -> str:
        what = kind.replace("_", " ")
        for extra in EXTRAS:
            if (extra.kind, extra.name) == (kind, name):
                return f"{what} '{name}' {self.whereabouts(extra)}"
        names = self.names(kind)
        entries = self.entries(kind)
        aliases = {later.name for k, later in enumerate(entries) if any(later.target == entry.target for entry in entries[:k])}
        shown = [known for known in names if known not in aliases]
        brought = {extra.name: extra for extra in EXTRAS if extra.kind == kind}
        guess = near(name, {*names, *brought})
        hint = f" Did you mean '{guess}'?" if guess else ""
        if guess in brought and guess not in names:
            hint += f" ({brought[guess].install})"
        notes = "".join(f"\n  note: {owner} {note}" for owner, note in self.notes.items())
        return f"unknown {what} '{name}'; installed: {listed(shown)}.{hint}{notes}"


class Registrar:
    """What a ``hypernodes_register_*`` hook is handed: adds names of one kind for one plugin."""

    def __init__(self, registry: Registry, kind: str, owner: str) -> None:
        self._registry = registry
        self._kind = kind
        self._owner = owner
        self.entries: list[Entry] = []

    def add(self, name: str, target: object) -> None:
        """Register a name.

        Args:
            name: The name users write.
            target: ``"package.module:attribute"``, imported only when somebody asks for the name; or the object itself.
        """
        self.entries.append(self._registry.add(self._kind, name, target, self._owner))


def resolve(entry: Entry) -> object:
    """Return the target of a claim, importing it if it was given as text."""
    if not isinstance(entry.target, str):
        return entry.target
    module, _, path = entry.target.partition(":")
    try:
        found: object = importlib.import_module(module)
        for part in path.split("."):
            found = getattr(found, part)
    except (Exception, SystemExit) as error:
        what = entry.kind.replace("_", " ")
        msg = f"{what} '{entry.name}' of {entry.owner} cannot be imported from {entry.target}: {type(error).__name__}: {error}"
        raise PluginLoadError(msg) from error
    return found


def _conflict(kind: str, name: str, claims: list[Entry]) -> str:
    who = " and ".join(claim.owner for claim in claims)
    return (
        f"more than one package registers {kind.replace('_', ' ')} '{name}': {who}.\n"
        f"  fix: uninstall one, or name those to use in HYPERNODES_PLUGINS"
    )
