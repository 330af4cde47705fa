"""Look-up and demand: which calls of a block are in the cache, which must be made, which are not needed at all.

Every step × item has a state. A sweep goes backward from what is wanted: a step that the cache knows by its signature
ends it there. Where it does not, its upstreams are asked who they are; once they are known, the step is looked up by
the identities of its arguments; what is missing then must run, and only then are values read. What turns out otherwise
later (an unreadable value, an upstream that came out different) opens the question again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, Any, Final

from hypernodes import events
from hypernodes._calls import Call, InnerResult
from hypernodes._columns import repeated_steps
from hypernodes._hashing import digest
from hypernodes._job import UNSETTLED, Site
from hypernodes._keep import UNKNOWABLE, Keeper, Kept
from hypernodes._lookup import Lookup
from hypernodes._references import HIT, References
from hypernodes.cache.entry import Entry
from hypernodes.cache.opened import GONE
from hypernodes.identity.signature import by_value

if TYPE_CHECKING:
    from hypernodes._block import Block

IDLE: Final = 0  # nobody needs it
UNDECIDED: Final = 1  # not found by signature; waits to learn who its arguments are
WAITING: Final = 3  # must run; waits for values
READY: Final = 4  # may run now, or runs
DONE: Final = 5  # has run
FAILED: Final = 6  # failed, or cannot run because something before it failed
FOLLOWING: Final = 7  # the same computation is being made for another item

PENDING: Final = frozenset({UNDECIDED, WAITING, READY})  # states of items that may still join a batch
UNSETTLED_STATES: Final = PENDING | {FOLLOWING}


class Reader:
    """What a call that reads from a cache has in place of a step."""

    guarded = False
    is_async = False
    rate = None
    limit = None
    scopes = ()


READER: Final[Any] = Reader()


class Demand:
    """Decides about every step × item of one block.

    Args:
        block: The block; its columns hold the values.
        lookup: The recipes of its steps.
        known: Identities of inputs that whoever runs the block knows already.

    Attributes:
        elsewhere: Computations that another block of the run makes, and who waits for them here.
    """

    def __init__(self, block: Block, lookup: Lookup, known: Mapping[str, bytes]) -> None:
        job, size = block.job, block.size
        self.block = block
        self.size = size
        self.lookup = lookup
        self.recipes = lookup.recipes
        self.caches = lookup.caches
        self.keeper = Keeper(block, lookup)
        self.begun = False
        self.holding = 0  # reads that must end before the first item is opened
        self._sites = job.sites
        self._gathered = block.gathered
        self._values = block.values
        self._makers, self._readers = job.layout.makers, job.layout.readers
        self._followers = job.layout.followers
        steps = range(len(self._sites))
        self.refs = References(block, lookup, self.keeper, known)
        self.state, self.entries = self.refs.state, self.refs.entries
        self._deep, self._shallow, self._ids, self._sources = self.refs.deep, self.refs.shallow, self.refs.ids, self.refs.sources
        self._ref = self.refs.of
        self._awaiting: list[dict[int, int]] = [{} for _ in steps]
        self._missing: list[dict[int, int]] = [{} for _ in steps]
        self._rejected: list[set[int]] = [set() for _ in steps]
        self._unreadable: dict[tuple[int, int], Entry] = {}
        self._hears_hit = [bool(site.wanted & events.CACHE_HIT) for site in job.sites]
        self._told: list[set[int]] = [set() for _ in steps]
        self._resolved: list[set[int]] = [set() for _ in steps]
        self._active = [0] * size  # per item, the steps that are not settled, and the reads under way
        self._want: dict[int, bytearray] = {slot: bytearray(size) for slot in self._makers}
        self._leading: dict[bytes, list[tuple[int, int]] | None] = {}  # who waits for each computation that is being made
        self._leads: dict[int, bytes] = {}  # which computation a step × item makes, by number
        self.elsewhere: dict[bytes, list[tuple[int, int]]] = {}
        self._claims = None if block.shared is None else block.shared.claims
        self._claimed: set[bytes] = set()
        self._repeated = repeated_steps(job, block.mapped, block.mode) if block.is_map or block.outer else frozenset()
        self._file_waits: dict[tuple[int, int], list[int]] = {}
        self._to_read: dict[tuple[int, int], list[int]] = {}
        self._demanded: dict[int, list[int]] = {}
        self._lost: set[tuple[int, int]] = set()  # outputs that a nested pipeline could not make
        self._todo: list[tuple[int, int]] = []
        self._made_slots = [
            [(slot, self._makers[slot][0]) for slot in dict.fromkeys(site.slots) if slot in self._makers] for site in job.sites
        ]
        self._old: dict[tuple[int, int], tuple[bytes | None, ...]] = {}
        self._working = False
        self._live = False

    # -- the sweep ------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Look everything up that the requested outputs need."""
        self.begun = self.refs.begun = True
        self.refs.work_out_signatures()
        for _, slot in self.block.job.program.outputs:
            if slot in self._makers:
                self._want[slot] = bytearray(b"\1") * self.size
                self._demanded[self._makers[slot][0]] = list(range(self.size))
        if self._demanded:
            self._sweep()
        self._agree_all()
        self._live = True
        self._work()
        self.holding = len(self._to_read)

    def _work(self) -> None:
        """Go on until nothing changes any more."""
        if self._working:
            return
        self._working = True
        try:
            while self._demanded or self._todo:
                if self._demanded:
                    self._sweep()
                else:
                    k, item = self._todo.pop()
                    self._spread(k, item)
        finally:
            self._working = False

    def _sweep(self) -> None:
        demanded, self._demanded = self._demanded, {}
        heap = [-k for k in demanded]
        heapify(heap)
        missed: dict[int, list[int]] = {}
        while heap:
            k = -heappop(heap)
            items = demanded.pop(k, None)
            if items is None:
                continue
            state = self.state[k]
            items = [item for item in dict.fromkeys(items) if state[item] == IDLE]
            misses = self._look_up(k, items)
            if not misses:
                continue
            missed[k] = misses
            recipe = self.recipes[k]
            for position, slot in enumerate(self._sites[k].slots):
                made = self._makers.get(slot)
                if made is None or (recipe is not None and position in recipe.ignored):
                    continue
                if made[0] not in demanded:
                    heappush(heap, -made[0])
                    demanded[made[0]] = []
                demanded[made[0]].extend(misses)
        for k in sorted(missed):
            self._decide(k, missed[k])

    def _look_up(self, k: int, items: list[int]) -> list[int]:
        """Look items up by signature; return those that are not there."""
        keys, recipe, cache = self._deep[k], self.recipes[k], self.caches[k]
        if keys is None or recipe is None or cache is None or not items:
            for item in items:
                self._set(k, item, UNDECIDED)
            return items
        misses = []
        rejected = self._rejected[k]
        wanted = [b"" if (key := keys[item]) is None else key for item in items]
        for item, entry in zip(items, cache.find(wanted), strict=True):
            if entry is not None and item not in rejected and self.lookup.fresh(recipe, entry):
                self._hit(k, item, entry)
            else:
                self._set(k, item, UNDECIDED)
                misses.append(item)
        return misses

    def _set(self, k: int, item: int, state: int) -> None:
        before = self.state[k][item]
        self.state[k][item] = state
        self._active[item] += (state in UNSETTLED_STATES) - (before in UNSETTLED_STATES)
        if self._gathered and k in self._gathered:
            change = (state in PENDING) - (before in PENDING)
            if change and not (before == READY and state in (DONE, FAILED)):
                self.block.expect(k, change)

    def _hit(self, k: int, item: int, entry: Entry) -> None:
        self._set(k, item, HIT)
        self.entries[k][item] = entry
        for output, slot in enumerate(self._sites[k].outs):
            if self._want[slot][item] and self._values[slot][item] is UNSETTLED:
                self._ask(k, output, item)
        if self._live and self._concerns_others(k, item):
            self._todo.append((k, item))

    def _ask(self, k: int, output: int, item: int) -> None:
        """Ask for a value to be read."""
        self._to_read.setdefault((k, output), []).append(item)
        self._active[item] += 1

    def _concerns_others(self, k: int, item: int) -> bool:
        return any(item in self._awaiting[follower] or self.state[follower][item] in (HIT, DONE) for follower in self._followers[k])

    def _decide(self, k: int, items: Iterable[int]) -> None:
        """Look steps up by the identities of their arguments, where all are known; what is not found must run."""
        recipe, cache = self.recipes[k], self.caches[k]
        if recipe is None or cache is None:
            for item in items:
                self._must_run(k, item)
            return
        sources, deep = self._sources[k], self._deep[k]
        asked: list[int] = []
        keys: list[bytes] = []
        alike = deep is not None and not self._made_slots[k]  # made of inputs alone, both signatures are the same
        for item in items:
            if self.state[k][item] != UNDECIDED:
                continue
            if alike and (signature := deep[item]) is not None:  # type: ignore[index]
                self._shallow[k][item] = signature
                asked.append(item)
                keys.append(signature)
                continue
            references: list[bytes] = []
            unknown: set[int] = set()
            for source in sources:
                reference = source if isinstance(source, bytes) else self._ref(source, item)
                if reference is None:
                    unknown.add(source)  # type: ignore[arg-type]
                else:
                    references.append(reference)
            if UNKNOWABLE in references:
                self.keeper.explain_unknowable(k)
                self._must_run(k, item)
            elif unknown:
                self._await(k, item, unknown)
            else:
                key = self._shallow[k][item] = digest(recipe.prefix + b"".join(references))
                asked.append(item)
                keys.append(key)
        if not self._live and deep is not None and all(deep[item] == key for item, key in zip(asked, keys, strict=True)):
            found: list[Entry | None] = [None] * len(keys)  # by the same keys nothing was found a moment ago
        else:
            found = cache.find(keys) if keys else []
        for item, key, entry in zip(asked, keys, found, strict=True):
            self._answer(k, item, key, entry)

    def _decide_one(self, k: int, item: int) -> None:
        """Do what ``_decide`` does for one item: at once where all of its arguments are known."""
        recipe, cache = self.recipes[k], self.caches[k]
        if recipe is None or cache is None or self.state[k][item] != UNDECIDED:
            self._decide(k, (item,))
            return
        references: list[bytes] = [recipe.prefix]
        for source in self._sources[k]:
            reference = source if type(source) is bytes else self._ref(source, item)  # type: ignore[arg-type]
            if not reference:
                self._decide(k, (item,))
                return
            references.append(reference)
        key = self._shallow[k][item] = digest(b"".join(references))
        self._answer(k, item, key, cache.find_one(key))

    def _answer(self, k: int, item: int, key: bytes, entry: Entry | None) -> None:
        """Take what the cache says of a step that was looked up by the identities of its arguments."""
        recipe, cache, deep = self.recipes[k], self.caches[k], self._deep[k]
        if entry is None or recipe is None or cache is None or item in self._rejected[k] or not self.lookup.fresh(recipe, entry):
            self._must_run(k, item)
            return
        signature = None if deep is None else deep[item]
        if signature is not None and signature != key and self.refs.upstream(k, item)[0]:
            cache.alias(signature, entry)
        self._hit(k, item, entry)

    def _await(self, k: int, item: int, unknown: set[int]) -> None:
        """Remember how many upstreams are not known yet."""
        steps = set()
        for source in unknown:
            if source >= 0:
                steps.add(self._makers[source][0])
            else:
                self._wish(~source, item)
                self._file_waits.setdefault((~source, item), []).append(k)
        self._awaiting[k][item] = len(steps)

    def _wish(self, slot: int, item: int) -> None:
        """Ask for a value."""
        if self._want[slot][item]:
            return
        self._want[slot][item] = 1
        maker, output = self._makers[slot]
        state = self.state[maker][item]
        if state == HIT:
            self._ask(maker, output, item)
        elif state == IDLE:
            self._demanded.setdefault(maker, []).append(item)

    def _must_run(self, k: int, item: int) -> None:
        key = self._shallow[k].get(item)
        if key is not None:
            number = k * self.size + item
            if key in self._leading and self._leads.get(number) != key:
                waiting = self._leading[key]
                if waiting is None:
                    self._leading[key] = [(k, item)]
                else:
                    waiting.append((k, item))
                self._set(k, item, FOLLOWING)
                return
            self._leading.setdefault(key)
            self._leads[number] = key
        missing = 0
        for slot, maker in self._made_slots[k]:
            if self.state[maker][item] == FAILED or (self._lost and (slot, item) in self._lost):
                self.block.skip(k, item, self._values[slot][item])
                return
            if self._values[slot][item] is UNSETTLED:
                missing += 1
                self._wish(slot, item)
        if missing:
            self._missing[k][item] = missing
            self._set(k, item, WAITING)
        else:
            self._ready(k, item)

    def _ready(self, k: int, item: int) -> None:
        self._set(k, item, READY)
        if item < self.block.opened:
            self.block.enqueue(k, item)

    # -- news -----------------------------------------------------------------------------------------------------

    def _spread(self, k: int, item: int) -> None:
        """Tell the followers of a step who it is."""
        old = self._old.pop((k, item), None) if self._old else None
        for follower in self._followers[k]:
            awaiting = self._awaiting[follower]
            state = self.state[follower][item]
            if item in awaiting and state == UNDECIDED:
                awaiting[item] -= 1
                if awaiting[item] <= 0:
                    del awaiting[item]
                    self._decide_one(follower, item)
            elif state == HIT:
                self._agree(follower, item, k)
            elif old is not None and state in (DONE, READY, WAITING, FOLLOWING) and old != self._read_by_others(k, item):
                self._reopen(follower, item)

    def _read_by_others(self, k: int, item: int) -> tuple[bytes | None, ...]:
        """Return the references to those outputs of a step that other steps take."""
        return tuple(self._ref(slot, item) for slot in self._sites[k].outs if slot in self._readers)

    def _agree_all(self) -> None:
        """Compare what hits consumed with what their upstreams are, where both are known."""
        for k, followers in enumerate(self._followers):
            if HIT not in self.state[k]:
                continue
            for follower in followers:
                theirs = self.state[follower]
                for item, state in enumerate(self.state[k]):
                    if state == HIT and theirs[item] == HIT:
                        self._agree(follower, item, k)

    def _agree(self, k: int, item: int, upstream: int) -> None:
        """Let a hit stand only while it was made from what its upstream is in this run."""
        entry = self.entries[k][item]
        if entry is None:
            return
        for source, consumed in zip(self._sources[k], entry.consumed, strict=False):
            if isinstance(source, bytes) or source < 0:
                continue
            made = self._makers.get(source)
            if made is None or made[0] != upstream:
                continue
            reference = self._ref(source, item)
            if reference is not None and reference != by_value(consumed):
                if self.state[upstream][item] == DONE and entry.keys[0] != self._shallow[k].get(item):
                    self.keeper.disagreed(upstream, item, self._shallow[upstream].get(item))
                self._reopen(k, item)
                return

    def _reopen(self, k: int, item: int) -> None:
        """Decide again about a step, by the identities of its arguments alone."""
        self._retract(k, item)
        self._set(k, item, UNDECIDED)
        self._decide(k, [item])

    def _retract(self, k: int, item: int) -> None:
        """Take back what is known of a step."""
        site = self._sites[k]
        known = self._read_by_others(k, item)
        if None not in known:
            self._old.setdefault((k, item), known)
        was = self.state[k][item]
        self.entries[k][item] = None
        self._shallow[k].pop(item, None)
        if was == READY:
            self.block.withdraw(k, item)
        self._released(k, item)
        for slot in site.outs:
            self._ids[slot][item] = None
            if self._values[slot][item] is UNSETTLED:
                continue
            self._values[slot][item] = UNSETTLED
            for follower in self._readers.get(slot, ()):
                if self.state[follower][item] == READY:
                    self.block.withdraw(follower, item)
                    self._set(follower, item, WAITING)
                    self._missing[follower][item] = 1
                elif self.state[follower][item] == WAITING:
                    self._missing[follower][item] += 1
        for follower in self._followers[k]:
            if item in self._awaiting[follower]:
                self._awaiting[follower][item] += 1

    def _arrived(self, slot: int, item: int) -> None:
        """Note that a value is there."""
        for reader in self._readers.get(slot, ()):
            if self.state[reader][item] == WAITING:
                missing = self._missing[reader]
                missing[item] -= 1
                if not missing[item]:
                    self._ready(reader, item)
        if self._file_waits:
            for reader in self._file_waits.pop((slot, item), ()):
                if self.state[reader][item] == UNDECIDED and not self._awaiting[reader].get(item):
                    self._decide(reader, [item])

    # -- reading --------------------------------------------------------------------------------------------------

    @property
    def reads_left(self) -> bool:
        """Whether values are still to be read."""
        return bool(self._to_read)

    def take_read(self) -> Call | None:
        """Return a call that reads values, if some are wanted."""
        if not self._to_read:
            return None
        (k, output), items = self._to_read.popitem()
        cache = self.caches[k]
        assert cache is not None  # noqa: S101 - only what a cache knows is read
        entries = [self.entries[k][item] for item in items]
        known = [entry for entry in entries if entry is not None]
        return Call(READER, (k, output, items, entries), cache.read, (known, output), None, 0)

    def read(self, call: Call, values: Sequence[Any] | None) -> None:
        """Take what a read gave; what could not be read is missing after all."""
        k, output, items, entries = call.item
        self.holding -= self.holding > 0
        slot = self._sites[k].outs[output]
        column = self._values[slot]
        answers = iter(values or ())
        for entry, item in zip(entries, items, strict=True):
            self._active[item] -= 1
            value = GONE if entry is None or values is None else next(answers)
            if self.state[k][item] != HIT or self.entries[k][item] is not entry:
                continue  # decided otherwise meanwhile
            if value is GONE:
                self._gone(k, item)
                continue
            if column[item] is UNSETTLED:
                column[item] = value
                self._arrived(slot, item)
            if item < self.block.opened:
                self._tell_hit(k, item)
        self._work()
        for item in items if self.block.frames.tracks else ():
            self._finish(item)
        if self.holding == 0 and self._to_read and not self.block.opened:
            self.holding = len(self._to_read)

    def drop_incomplete(self) -> None:
        """Find the lists whose elements are not all there any more, as reading them would; they are missing after all."""
        found = True
        while found:
            found = False
            for (k, output), items in list(self._to_read.items()):
                cache = self.caches[k]
                for item in items:
                    entry = self.entries[k][item]
                    if self.state[k][item] == HIT and entry is not None and cache is not None and not cache.whole(entry, output):
                        found = True
                        self._gone(k, item)
            self._work()

    def _gone(self, k: int, item: int) -> None:
        entry = self.entries[k][item]
        if entry is not None:
            self._unreadable[k, item] = entry
        self._rejected[k].add(item)
        self._retract(k, item)
        self._set(k, item, IDLE)
        self._demanded.setdefault(k, []).append(item)

    # -- what the block reports -----------------------------------------------------------------------------------

    def open(self, item: int) -> None:
        """Let an item start: tell its hits, and queue what may run."""
        frames = self.block.frames
        states = [state[item] for state in self.state]
        if frames.hears_item_cached and not any(state not in (IDLE, HIT) for state in states):
            frames.item_cached(item)
        for k, state in enumerate(states):
            if state == HIT:
                self._tell_hit(k, item)
            elif state == READY:
                self.block.enqueue(k, item)
        self._finish(item)

    def _finish(self, item: int) -> None:
        """Once all of an item is settled, close what its hits and the steps that nobody needed leave open."""
        if self._active[item] or item >= self.block.opened or not self.block.frames.tracks:
            return
        for site in self._sites:
            self.resolved(site, item)

    def resolved(self, site: Site, item: int) -> None:
        """Close what this step was the last of, once."""
        if item not in self._resolved[site.index]:
            self._resolved[site.index].add(item)
            self.block.frames.resolved(site, item)

    def _tell_hit(self, k: int, item: int) -> None:
        told = self._told[k]
        if not self._hears_hit[k] or item in told:
            return
        if any(self._want[slot][item] and self._values[slot][item] is UNSETTLED for slot in self._sites[k].outs):
            return
        told.add(item)
        frames, site = self.block.frames, self._sites[k]
        entry = self.entries[k][item]
        if entry is not None:
            if frames.tracks and site.inner is None:
                frames.entered(site, item)
            frames.hit(site, item, (self.refs.key(k, item) or entry.keys[0]).hex(), entry.parts[0].identity.hex())

    def may_run(self, k: int, item: int) -> bool:
        """Whether a call that was queued is still wanted, and no other block makes the same."""
        if self.state[k][item] != READY:
            return False
        if k not in self._repeated or self._claims is None:
            return True
        key = self._shallow[k].get(item)
        if key is None or key in self._claimed:
            return True
        if not self._claims.take(key, self):
            self.elsewhere.setdefault(key, []).append((k, item))
            self._set(k, item, FOLLOWING)
            return False
        self._claimed.add(key)
        if self._found_elsewhere(k, item, key):  # another block was quicker
            self._work()
            return False
        return True

    def look_elsewhere(self, seconds: float) -> None:
        """Wait for what other blocks make, and go on with it; what came to nothing is made here."""
        assert self._claims is not None  # noqa: S101 - somebody else has claimed something
        for key in self._claims.over(list(self.elsewhere), seconds):
            for k, item in self.elsewhere.pop(key):
                if self.state[k][item] == FOLLOWING and not self._found_elsewhere(k, item, key):
                    self._ready(k, item)
        self._work()

    def _found_elsewhere(self, k: int, item: int, key: bytes) -> bool:
        """Take what another block of the run has kept just now."""
        recipe, cache = self.recipes[k], self.caches[k]
        assert cache is not None and recipe is not None  # noqa: S101, PT018 - it has a signature
        if self._claims.far:  # type: ignore[union-attr]
            cache.catch_up()
        entry = cache.find_one(key)
        if entry is None or item in self._rejected[k] or not self.lookup.fresh(recipe, entry):
            return False
        self._hit(k, item, entry)
        self._todo.append((k, item))
        self._tell_hit(k, item)
        self._released(k, item, entry)
        return True

    def give_up(self) -> None:
        """Leave to other blocks what this one has claimed and not made."""
        if self._claimed and self._claims is not None:
            self._claims.give_all(self)
            self._claimed.clear()

    def made(self, site: Site, item: int, seconds: float, inner: InnerResult | None) -> None:
        """Take a result: give it its identity, keep it, and let others know, before anybody sees it."""
        k = site.index
        entry: Entry | None = None
        if inner is None and site.out >= 0:
            entry = self._keep_simply(site, item, seconds)
        if entry is not None:
            self._ids[site.out][item] = by_value(entry.parts[0].identity)
        else:
            kept = self._keep(site, item, seconds, inner)
            entry = kept.entry
            for slot, reference in zip(site.outs, kept.references, strict=True):
                self._ids[slot][item] = reference
        self._set(k, item, DONE)
        self.entries[k][item] = entry
        self._released(k, item, entry)
        for slot in site.outs:
            self._arrived(slot, item)
        if self._followers[k] or self._old:
            self._todo.append((k, item))
            self._work()

    def settled(self, site: Site, item: int) -> None:
        """Note that a result was told."""
        if self.block.frames.tracks:
            self.resolved(site, item)
            self._finish(item)

    def _keep_simply(self, site: Site, item: int, seconds: float) -> Entry | None:
        """Keep a result that takes no thought, as most of those do of which there are many."""
        k = site.index
        key = self._shallow[k].get(item)
        untainted, watch = self.refs.upstream(k, item)
        if key is None or watch or self._unreadable:
            return None
        return self.keeper.keep_simple(site, item, self._both_keys(k, item, key, untainted), self.refs.consumed(k, item) or (), seconds)

    def _both_keys(self, k: int, item: int, key: bytes, untainted: bool) -> tuple[bytes, ...]:  # noqa: FBT001 - as ``upstream`` says
        keys = self._deep[k]
        deep = None if keys is None else keys[item]
        return (key,) if deep is None or deep == key or not untainted else (key, deep)

    def _keep(self, site: Site, item: int, seconds: float, inner: InnerResult | None) -> Kept:
        k = site.index
        key = self._shallow[k].get(item)
        if key is None or self.recipes[k] is None:
            return self.keeper.identified(site, item, [slot in self._readers for slot in site.outs], inner)
        untainted, watch = self.refs.upstream(k, item)
        both = self._both_keys(k, item, key, untainted)
        kept = self.keeper.keep(site, item, both, self.refs.consumed(k, item) or (), seconds, inner, watch)
        before = self._unreadable.pop((k, item), None) if self._unreadable else None
        if before is not None and kept.entry is not None and kept.entry.deterministic:
            pairs = zip(before.parts, kept.entry.parts, strict=False)
            recipe = self.recipes[k]
            if recipe is not None and recipe.deterministic and any(a.identity != b.identity for a, b in pairs):
                self.keeper.disagreed(k, item, key)
        return kept

    def assume(self, k: int, item: int, references: Sequence[bytes]) -> None:
        """Go on as if a step had run and given values of these identities."""
        self._set(k, item, DONE)
        for slot, reference in zip(self._sites[k].outs, references, strict=True):
            self._ids[slot][item] = reference
        self._released(k, item)
        self._todo.append((k, item))
        self._work()

    def failed(self, k: int, item: int) -> None:
        """Note that a call failed for good."""
        self._set(k, item, FAILED)
        self._released(k, item)
        self._work()

    def skips(self, k: int, item: int) -> bool:
        """Whether a step that depends on a failed one is lost with it; what is in the cache is not."""
        if self.state[k][item] not in (UNDECIDED, WAITING):
            return False
        self._awaiting[k].pop(item, None)
        self._set(k, item, FAILED)
        self._released(k, item)
        return True

    def _released(self, k: int, item: int, entry: Entry | None = None) -> None:
        """Let those go on that waited for the same computation: with its entry, or on their own."""
        key = self._leads.pop(k * self.size + item, None)
        if key is None:
            return
        if key in self._claimed and self._claims is not None:
            self._claimed.discard(key)
            if self._claims.far and (cache := self.caches[k]) is not None:
                cache.publish()
            self._claims.give(key, self)
        for follower, other in self._leading.pop(key, None) or ():
            if self.state[follower][other] != FOLLOWING:
                continue
            if entry is not None:
                self._hit(follower, other, entry)
                self._todo.append((follower, other))
                if other < self.block.opened:
                    self._tell_hit(follower, other)
            else:
                self._set(follower, other, UNDECIDED)
                self._must_run(follower, other)

    def settle_partly(self, site: Site, item: int, lost: Mapping[int, Any]) -> None:
        """Let others know of a nested pipeline some of whose outputs could not be made."""
        k = site.index
        self._set(k, item, DONE)
        self._lost.update((slot, item) for slot in lost)
        for slot in site.outs:
            self._ids[slot][item] = UNKNOWABLE
        for slot in site.outs:
            if slot not in lost:
                self._arrived(slot, item)
        self._todo.append((k, item))
        self._work()

    def inner_counts(self, k: int) -> dict[str, list[Any]]:
        """Return the counts of the nodes of a nested pipeline, for the items that came from the cache as a whole."""
        inner = self._sites[k].inner
        assert inner is not None  # noqa: S101 - the caller knows
        total = 0
        for item, state in enumerate(self.state[k] if self.begun else ()):
            if state in (HIT, IDLE):
                values = [self._values[slot][item] for slot in self._sites[k].outs]
                total += next((len(value) for value in values if type(value) is list), 1)
        return {node: [total, 0, 0, 0.0, 0] for node in inner.node_ids} if total else {}

    def counts(self, k: int) -> int:
        """Return how many items of a step came from the cache, or were not needed because something after them did."""
        state = self.state[k]
        return state.count(HIT) + state.count(IDLE) if self.begun else 0
