"""Looking at a cache: what is in it, and whether all of it is what was written."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import attrs

from hypernodes._hashing import digest
from hypernodes.cache._blocks import Foreign
from hypernodes.cache._faults import StoreError
from hypernodes.cache._gc import is_ours, objects_of, of_others, size_of, size_on
from hypernodes.cache._index import Holder
from hypernodes.cache._names import JOURNALS, OBJECTS, SEGMENTS, parsed
from hypernodes.cache._reader import read_table
from hypernodes.cache.entry import Entry, is_of

if TYPE_CHECKING:
    from hypernodes.cache._stored import StoredCache


@attrs.frozen
class Listed:
    """A result in a cache.

    Attributes:
        pipeline: Name of the pipeline that was called.
        node: Id of the node.
        key: Its signature, in hexadecimal digits.
        outputs: Names of its outputs.
        codecs: How each is stored.
        bytes: What they take.
        created: When it was made, in seconds since the epoch.
        used: When it was made or used last, to the day.
        seconds: How long it took.
        run_id: The run that made it.
        writer: Host and process that made it.
    """

    pipeline: str
    node: str
    key: str
    outputs: tuple[str, ...]
    codecs: tuple[str, ...]
    bytes: int
    created: float
    used: float
    seconds: float
    run_id: str
    writer: str


@attrs.frozen
class Described:
    """What a cache takes.

    Attributes:
        bytes: Bytes that count.
        segments: How many segments there are.
        journals: How many journals there are, which runs are writing or left behind.
        objects: How many large values lie on their own.
        waiting: How many blobs will be deleted.
        nodes: How many results there are, by pipeline and node.
        waiting_bytes: Bytes of the blobs that will be deleted, as far as the store can tell.
        foreign: How many results other keys signed, as far as that can be told: they are not used here.
        foreign_files: In how many segments and journals these are.
        foreign_bytes: Bytes of these, which are among those that count.
        damaged: How many segments can never be read again; a collection removes them.
    """

    bytes: int
    segments: int
    journals: int
    objects: int
    waiting: int
    nodes: dict[tuple[str, str], int]
    waiting_bytes: int = 0
    foreign: int = 0
    foreign_files: int = 0
    foreign_bytes: int = 0
    damaged: int = 0


@attrs.frozen
class Verified:
    """What was found out about a cache.

    Attributes:
        blocks: How many blocks are what was written.
        results: How many results are in them.
        objects: How many large values are what was written.
        bytes: Bytes that were read.
        foreign: How many blocks, and segments without a directory, other keys signed, which cannot be verified here.
        problems: What is wrong, blob by blob; what concerns a result only costs its being computed again.
    """

    blocks: int
    results: int
    objects: int
    bytes: int
    foreign: int
    problems: tuple[str, ...]


def history(cache: StoredCache, where: tuple[str, str], most: int | None = None) -> Iterator[Entry]:
    """Yield what was kept of a node, newest first, also what was forgotten.

    Args:
        cache: The cache.
        where: Name of the pipeline and id of the node.
        most: How many entries are enough.
    """
    count = 0
    for entry in reversed(cache.outbox.group):
        if (entry.origin.pipeline, entry.origin.node) == where:
            count += 1
            yield entry
    for holder, number in list(cache.catalog.index.blocks_of(where)):
        if most is not None and count >= most:
            return
        for entry in reversed(cache.entries_of(holder, number)):
            if (entry.origin.pipeline, entry.origin.node) == where:
                count += 1
                yield entry


def entries(cache: StoredCache, node: str | None = None, pipeline: str | None = None) -> Iterator[Entry]:
    """Yield the entries of some nodes that still count."""
    found = {(entry.origin.pipeline, entry.origin.node) for entry in cache.outbox.group}
    for where in sorted(found.union(*(holder.nodes for holder in cache.catalog.index.holders.values()))):
        if is_of(where, node, pipeline):
            yield from (entry for entry in history(cache, where) if not cache.is_barred(entry))


def nodes(cache: StoredCache) -> dict[tuple[str, str], int]:
    """Return how many results there are of each pipeline and node."""
    found: dict[tuple[str, str], set[bytes]] = {}
    for entry in entries(cache):
        found.setdefault((entry.origin.pipeline, entry.origin.node), set()).add(entry.keys[0])
    return {where: len(keys) for where, keys in sorted(found.items())}


def number_of_results(cache: StoredCache) -> int:
    """Return how many results there are."""
    if cache.catalog.index.barriers:
        return len({entry.keys[0] for entry in entries(cache)})
    found = {entry.keys[0] for entry in cache.outbox.group}
    for holder in list(cache.catalog.index.holders.values()):
        for number in range(len(holder.starts)):
            block = cache.block(holder, number)
            if block is not None:
                found.update(block.first_keys())
    return len(found)


def listed(cache: StoredCache, node: str | None, pipeline: str | None) -> Iterator[Listed]:
    """Yield the results of some nodes, each once, newest first within a node."""
    seen = set()
    for entry in entries(cache, node, pipeline):
        if entry.keys[0] in seen:
            continue
        seen.add(entry.keys[0])
        spot = getattr(entry.location, "block", None)
        used = 0 if spot is None else cache.catalog.index.last_use(*spot)
        origin = entry.origin
        yield Listed(
            pipeline=origin.pipeline,
            node=origin.node,
            key=entry.keys[0].hex(),
            outputs=origin.outputs,
            codecs=tuple(part.codec for part in entry.parts),
            bytes=sum(part.size for part in entry.parts),
            created=entry.created,
            used=max(entry.created, used / 1e6),
            seconds=entry.seconds,
            run_id=origin.run_id,
            writer=origin.writer,
        )


def described(cache: StoredCache) -> Described:
    """Return what a cache takes."""
    holders = cache.catalog.index.holders.values()
    segments = sum(parsed(holder.name) is not None for holder in holders)
    there = {*cache.store.list(SEGMENTS), *cache.store.list(OBJECTS)}
    index = cache.catalog.index
    waiting = [name for name in there if name in index.condemned or ((said := parsed(name)) is not None and said.holder_id in index.gone)]
    others = of_others(cache)
    return Described(
        bytes=size_of(cache) + others.bytes,
        segments=segments,
        journals=len(holders) - segments,
        objects=len(objects_of(holders)),
        waiting=len(waiting),
        nodes=cache.nodes(),
        waiting_bytes=sum(size_on(cache.store, name) for name in waiting),
        foreign=others.results,
        foreign_files=len(others.names),
        foreign_bytes=others.bytes,
        damaged=sum(is_ours(cache, name) for name in cache.catalog.unreadable if name not in waiting),
    )


def verified(cache: StoredCache) -> Verified:
    """Read everything, and say what is wrong."""
    return _Verification(cache).run()


class _Verification:
    def __init__(self, cache: StoredCache) -> None:
        self.cache = cache
        self.blocks = self.results = self.objects = self.bytes = self.foreign = 0
        self.problems: list[str] = []

    def run(self) -> Verified:
        index = self.cache.catalog.index
        self.problems, self.cache.lost = self.cache.lost, []
        try:
            names = sorted(self.cache.store.list(SEGMENTS))
        except StoreError as error:
            self.problems.append(str(error))
            names = []
        for name in names:
            said = parsed(name)
            holder = None if said is None else index.holders.get(said.holder_id)
            if said is not None and said.holder_id in index.gone:
                continue
            if said is None:
                self.problems.append(f"{name}: this is no segment's name")
            elif holder is None:
                self._unreadable(name)
            else:
                self._segment(holder, said.blocks, said.blocks + said.table)
        for holder in index.holders.values():
            if holder.name.startswith(JOURNALS):
                self._blocks(holder)
        referred = {name for holder in index.holders.values() for of_block in holder.objects.values() for name in of_block}
        for each in sorted(referred):
            self._object(each)
        return Verified(self.blocks, self.results, self.objects, self.bytes, self.foreign, tuple(self.problems))

    def _unreadable(self, name: str) -> None:
        ours = name not in self.cache.catalog.unreadable or is_ours(self.cache, name)
        if ours:
            cure = "; `hypernodes cache gc` removes it, and keeps what is whole" if name in self.cache.catalog.unreadable else ""
            self.problems.append(f"{name}: its directory cannot be read; the results in it are computed again{cure}")
        else:
            self.foreign += 1

    def _segment(self, holder: Holder, start: int, end: int) -> None:
        try:
            read_table(self.cache.store.get(holder.name, start, end), holder)
            self.bytes += end - start
        except Exception as error:  # noqa: BLE001 - whatever it is, it is told
            if not holder.foreign:  # of theirs nobody here can tell whether what the directory says of the table is right
                self.problems.append(f"{holder.name}: its table of keys: {error}; `hypernodes cache gc` writes it anew")
        self._blocks(holder)

    def _blocks(self, holder: Holder) -> None:
        for number in range(len(holder.starts)):
            try:
                block = self.cache.reader.block(holder, number)
                for position in range(len(block)):
                    block.entry(position, None)
            except Foreign:
                self.foreign += 1
            except Exception as error:  # noqa: BLE001 - as above
                self.problems.append(f"{holder.name}: block {number}: {error}; {holder.counts[number]} results are computed again")
            else:
                self.blocks += 1
                self.results += len(block)
                self.bytes += holder.lengths[number]

    def _object(self, name: bytes) -> None:
        blob = f"{OBJECTS}{name.hex()}"
        try:
            data = self.cache.store.get(blob)
        except KeyError:
            self.problems.append(f"{blob}: it is gone")
        except Exception as error:  # noqa: BLE001 - as above
            self.problems.append(f"{blob}: {error}")
        else:
            self.bytes += len(data)
            if digest(data) == name:
                self.objects += 1
            else:
                self.problems.append(f"{blob}: it is not what was written")
