"""What a run knows of its cache: who each step is, where its results are kept, and what was noticed on the way."""

from __future__ import annotations

import os
import socket
import sys
import time
import warnings
from collections.abc import Sequence
from typing import Any, TypeAlias

import attrs

from hypernodes._file import FILE_MARK
from hypernodes._job import Job, Site
from hypernodes._program import InnerStep
from hypernodes.cache.entry import Entry, Origin
from hypernodes.cache.opened import Cache, open_cache
from hypernodes.errors import CacheWarning
from hypernodes.identity import values
from hypernodes.identity.code import CodeIdentity, code_identity
from hypernodes.identity.environment import Environment, environment
from hypernodes.identity.signature import framed, prefix_of


@attrs.frozen(eq=False)
class Recipe:
    """Who one step is in this run.

    Attributes:
        prefix: What the signatures of its calls begin with.
        setting: The setting of the cache that keeps its results.
        origin: What its entries say about where they come from.
        deterministic: Whether equal arguments give equal results.
        expires: Seconds that a result is good for; ``None`` for ever.
        ignored: Positions of the arguments that do not count.
        files: Positions of the arguments that are files.
        code: What its code is made of; stays behind when the recipe travels.
    """

    prefix: bytes
    setting: Any
    origin: Origin
    deterministic: bool = True
    expires: float | None = None
    ignored: frozenset[int] = frozenset()
    files: frozenset[int] = frozenset()
    code: CodeIdentity | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return (Recipe, (self.prefix, self.setting, self.origin, self.deterministic, self.expires, self.ignored, self.files))


class RunNotes:
    """What is noticed once per run and process: warnings, classes, nodes that turned out non-deterministic."""

    def __init__(self, run_id: str, pipeline: str, trace_id: str = "") -> None:
        self.run_id = run_id
        self.pipeline = pipeline
        self.trace_id = trace_id
        self.writer = f"{socket.gethostname()}:{os.getpid()}"
        self.doubtful: set[str] = set()  # ids of nodes that gave different results for equal arguments
        self._warned: set[object] = set()
        self._classes: dict[str, bytes | None] = {}
        self._manifests: dict[tuple[int, bytes], bytes] = {}
        self._opened: list[tuple[Any, Cache]] = []

    def __reduce__(self) -> tuple[Any, ...]:
        return (RunNotes, (self.run_id, self.pipeline, self.trace_id))

    def warn(self, key: object, text: str) -> None:
        """Warn once per run."""
        if key not in self._warned:
            self._warned.add(key)
            warnings.warn(text, CacheWarning, stacklevel=2)

    def opened(self, setting: Any) -> Cache:
        """Return the cache behind a setting, opened."""
        for known, cache in self._opened:
            if known is setting:
                return cache
        cache = open_cache(setting)
        cache.refresh()
        self._opened.append((setting, cache))
        return cache

    def all_opened(self) -> list[Cache]:
        """Return all caches that were opened, each once."""
        return list({id(cache): cache for _, cache in self._opened}.values())

    def manifest(self, cache: Cache, code: CodeIdentity) -> bytes:
        """Keep what code is made of, and return the name it is kept under."""
        key = (id(cache), code.digest)
        if key not in self._manifests:
            self._manifests[key] = cache.keep_manifest(code.manifest)
        return self._manifests[key]

    def stands(self, classes: Sequence[tuple[str, bytes]]) -> bool:
        """Whether the user's classes and the files that a value was made from are still what they were."""
        for name, known in classes:
            if name.startswith(FILE_MARK):
                now = _file_now(name)  # it may change while the run goes on
            elif name in self._classes:
                now = self._classes[name]
            else:
                now = self._classes[name] = _class_now(name)
            if now != known:
                return False
        return True

    def tell_strangers(self, lookup: Lookup) -> None:
        """Say in one line that results of others could not be used: made from other libraries, or signed with other keys."""
        for opened in self.all_opened():
            note = opened.end_note()
            if note is not None:
                self.warn(("keys", id(opened)), note)
        there, difference = 0, ""
        for recipe, cache in zip(lookup.recipes, lookup.caches, strict=True):
            if recipe is None or cache is None or not cache.shared:
                continue
            ours = recipe.origin
            earlier = [each.origin for each in cache.of_node(ours.pipeline, ours.node) if each.origin.run_id != ours.run_id]
            alike = [each for each in earlier if each.code == ours.code and host_of(each) != host_of(ours)]
            if not alike or any(each.code == ours.code and each.environment == ours.environment for each in earlier):
                continue
            there += len(alike)
            theirs, mine = dict(alike[0].environment), dict(ours.environment)
            name = next(name for name in (*mine, *theirs) if mine.get(name) != theirs.get(name))
            difference = f"{'Python' if name == 'python' else name} {mine.get(name, 'absent')} (you) / {theirs.get(name, 'absent')} (cache)"
        if there:
            self.warn("strangers", f"0 of {there:,} shared: {difference}")

    def flush(self) -> None:
        """Write what the caches still hold back."""
        for _, cache in self._opened:
            cache.flush()


def host_of(origin: Origin) -> str:
    """Return the machine that made a result."""
    return origin.writer.rpartition(":")[0]


def _class_now(name: str) -> bytes | None:
    """Return the code identity of a class by name; ``None`` where it cannot be found."""
    import importlib

    module, _, path = name.partition(":")
    try:
        found: Any = sys.modules.get(module) or importlib.import_module(module)
        for part in path.split("."):
            found = getattr(found, part)
        return code_identity(found).digest if isinstance(found, type) else None
    except Exception:  # noqa: BLE001 - whatever the reason, the class is not there
        return None


def _file_now(name: str) -> bytes | None:
    from hypernodes._file import File

    try:
        return values.identity(File(name.removeprefix(FILE_MARK)))
    except Exception:  # noqa: BLE001 - a file that cannot be read is not what it was
        return None


Recipes: TypeAlias = tuple[list[Recipe | None], dict[int, Any]]  # those of a job's steps, and of its nested jobs


class Lookup:
    """The recipes of a job's steps, and those of its nested jobs.

    Args:
        job: The job.
        notes: What is noticed once per run.
        recipes: Those of the job's steps, where they were worked out in another process.

    Attributes:
        recipes: Per step; ``None`` where results are not kept.
        caches: Per step, where its results are kept.
        inner: The same for each inner step.
        notes: What is noticed once per run.
        has_deep: Per step, whether it is known by signature before any value exists.
    """

    def __init__(self, job: Job, notes: RunNotes, recipes: Recipes | None = None) -> None:
        self.job = job
        self.notes = notes
        known, inner = recipes if recipes is not None else (None, {})
        self.inner = {k: Lookup(below, notes, inner.get(k)) for k, below in job.inner.items()}
        self.recipes: list[Recipe | None] = [self._recipe(site) for site in job.sites] if known is None else known
        self.caches = [None if recipe is None else notes.opened(recipe.setting) for recipe in self.recipes]
        self.has_deep = self._deep()
        self.bound: dict[int, tuple[bytes | None, Any]] = {}  # identity of each value that a pipeline binds
        self.defaults: dict[tuple[int, int], bytes] = {}
        self.pieces = False  # whether blocks shall say where all their results are kept

    def kept_in(self) -> list[Cache]:
        """Return the caches that the run used."""
        return self.notes.all_opened()

    def travelling(self) -> Recipes:
        """Return the recipes of all steps, for the same job in another process."""
        return self.recipes, {k: below.travelling() for k, below in self.inner.items()}

    def _recipe(self, site: Site) -> Recipe | None:
        setting = self.job.cache_of(site.index)
        if setting is None:
            return None
        if site.inner is not None:
            return self._inner_recipe(site)
        step: Any = self.job.program.steps[site.index]
        node = step.node
        cache = self.notes.opened(setting)
        try:
            code = code_identity(node)
        except Exception as error:  # noqa: BLE001 - code of any kind is looked at; where that fails, the node runs
            self.notes.warn(
                ("code", site.id),
                f"node '{site.id}' runs uncached: its code could not be identified ({type(error).__name__}: {error})",
            )
            return None
        surroundings = environment(code.distributions)
        options = node.options
        salt = getattr(setting, "salt", "") or ""
        version = "" if options.cache_version is None else f"{type(options.cache_version).__name__} {options.cache_version}"
        shape = "tuple" if isinstance(node.output_name, tuple) else "one"
        return Recipe(
            prefix=prefix_of("node", code.digest, surroundings, [version, salt], [shape, str(len(node.outputs)), *node.root_args]),
            setting=setting,
            origin=self._origin(site, code.digest, self.notes.manifest(cache, code), surroundings, f"{version}|{salt}".strip("|")),
            deterministic=options.deterministic,
            expires=options.expires,
            ignored=frozenset(position for position, name in enumerate(node.root_args) if name in options.ignore),
            files=site.files,
            code=code,
        )

    def _origin(self, site: Site, code: bytes, manifest: bytes, surroundings: Environment, salt: str) -> Origin:
        notes = self.notes
        return Origin(
            node=site.id,
            pipeline=notes.pipeline,
            run_id=notes.run_id,
            writer=notes.writer,
            parameters=tuple(site.names),
            code=code,
            manifest=manifest,
            environment=surroundings,
            salt=salt,
            outputs=tuple(site.outputs),
            trace_id=notes.trace_id,
        )

    def _inner_recipe(self, site: Site) -> Recipe | None:
        """Say who a mapped pipeline is: its steps, how they are joined, what it binds. Only where all of it can be kept."""
        step = self.job.program.steps[site.index]
        assert isinstance(step, InnerStep)  # noqa: S101 - the caller knows
        below = self.inner[site.index]
        if not step.mapped or not below.keeps_all:
            return None
        inner = [recipe for recipe in below.recipes if recipe is not None]
        setting = self.job.cache_of(site.index)
        cache = self.notes.opened(setting)
        if any(kept is not cache for kept in below.caches) or any(recipe.expires is not None for recipe in inner):
            return None
        topology = below.topology()
        if topology is None:
            return None
        code = CodeIdentity(
            digest=topology,
            manifest={part: local for recipe in inner if recipe.code is not None for part, local in recipe.code.manifest.items()},
            distributions=frozenset(),
        )
        surroundings = tuple(sorted({pair for recipe in inner for pair in recipe.origin.environment}))
        parts: list[bytes | str] = [step.mode, framed(step.inputs), framed(step.mapped), framed(step.results)]
        return Recipe(
            prefix=prefix_of("map", topology, (), (), parts),
            setting=setting,
            origin=self._origin(site, topology, self.notes.manifest(cache, code), surroundings, ""),
            deterministic=all(recipe.deterministic for recipe in inner),
            code=code,
        )

    @property
    def keeps_all(self) -> bool:
        """Whether every step's results are kept."""
        return all(recipe is not None for recipe in self.recipes)

    def topology(self) -> bytes | None:
        """Return what the program computes, as a digest: its steps, how they are joined, and what is bound inside."""
        program = self.job.program
        parts: list[bytes | str] = []
        for entry in program.inputs:
            outer = "-" if entry.outer is None else str(entry.outer)
            bound = b"-"
            if entry.slot in self.job.bound and entry.outer is not None:
                try:
                    bound = values.identity(self.job.bound[entry.slot])
                except values.Unidentifiable:
                    return None
            parts += [f"input {entry.slot} {entry.name} {outer}", bound]
        for recipe, step in zip(self.recipes, program.steps, strict=True):
            assert recipe is not None  # noqa: S101 - asked only where all are kept
            parts += [f"step {step.args} {step.outs}", recipe.prefix]
        parts.append(f"outputs {program.outputs}")
        return prefix_of("program", b"", (), (), parts)

    def _deep(self) -> list[bool]:
        makers = self.job.layout.makers
        deep: list[bool] = []
        for site, recipe in zip(self.job.sites, self.recipes, strict=True):
            known = recipe is not None
            for position, slot in enumerate(site.slots):
                if not known or recipe is None or position in recipe.ignored or slot not in makers:
                    continue
                upstream = makers[slot][0]
                above = self.recipes[upstream]
                known = (
                    deep[upstream]
                    and above is not None
                    and above.deterministic
                    and above.expires is None  # what was made from it must not outlive it unasked
                    and position not in recipe.files
                )
            deep.append(known)
        return deep

    def fresh(self, recipe: Recipe, entry: Entry) -> bool:
        """Whether an entry still stands: not expired, and made from classes and files that are what they were."""
        if recipe.expires is not None and entry.created + recipe.expires <= time.time():
            return False
        return all(not part.classes or self.notes.stands(part.classes) for part in entry.parts)
