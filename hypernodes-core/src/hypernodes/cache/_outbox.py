"""What is on its way into a store: results wait a moment, go to a journal in groups, and the journal becomes a segment."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable, Sequence
from typing import Any, Final

from hypernodes._hashing import digest
from hypernodes.cache._blocks import Notes
from hypernodes.cache._catalog import Catalog
from hypernodes.cache._index import Holder
from hypernodes.cache._names import JOURNALS, OBJECTS
from hypernodes.cache._tables import packed
from hypernodes.cache._writer import Writer
from hypernodes.cache.entry import Entry

GROUP_ENTRIES: Final = 256  # the most results that a kill can lose
GROUP_BYTES: Final = 8 << 20  # bytes of values that a group may hold, more or less
GROUP_SECONDS: Final = 1.0  # and the longest that one waits to be written
REMOTE_SECONDS: Final = 30.0  # the longest that a journal waits to be sealed where others cannot see it
APART: Final = 256 * 1024  # bytes from which on a value is a blob of its own
USE_SECONDS: Final = 86_400.0  # uses of a block that lie closer together than this are not told apart


class Outbox:
    """What is on its way into a store; safe to use from several threads.

    Args:
        writer: Writes blocks.
        catalog: Is told what was written.
        store: Where large values go.
        fault: Is told what went wrong.

    Attributes:
        lock: Guards everything here and the index.
        pending: What is not written yet, by key.
        group: The same in order.
        said: Notes that are not written yet.
    """

    def __init__(self, writer: Writer, catalog: Catalog, store: Any, fault: Callable[[str, Exception], None]) -> None:
        self._writer = writer
        self._catalog = catalog
        self._store = store
        self._fault = fault
        self._apart: set[bytes] = set()  # names of large values that this process wrote since the last flush
        self._unsealed: list[Holder] = []
        self._ticker: Ticker | None = None
        self.after_fork()

    def after_fork(self) -> None:
        """In a child process, leave to the parent what it has not written yet."""
        self.lock = threading.RLock()
        self.pending: dict[bytes, Entry] = {}
        self.group: list[Entry] = []
        self._bytes = 0
        self.said = Notes()
        self._writer.detach()
        self._unsealed = []
        self._ticker = None

    @property
    def mine(self) -> str | None:
        """The id of the journal that is being written."""
        return None if self._writer.holder is None else self._writer.holder.id

    def keep(self, entry: Entry) -> None:
        """Take a result in; it is written with its group."""
        with self.lock:
            for key in entry.keys:
                self.pending[key] = entry
            self.group.append(entry)
            for part in entry.parts:
                self._bytes += part.size
            if len(self.group) >= GROUP_ENTRIES or self._bytes > GROUP_BYTES:
                self.write()
            elif self._ticker is None:
                self._ticker = Ticker(self)

    def tick(self) -> None:
        """Write what has waited long enough."""
        with self.lock:
            self.write()
            late = self._store.remote and self._writer.age > REMOTE_SECONDS
            holder = self._writer.detach() if late else None
        self._seal(holder)

    def write(self) -> None:
        """Write the group and what there is to say."""
        with self.lock:
            group, said = self.group, self.said
            self.group, self.said, self._bytes = [], Notes(), 0
            if not group and not said:
                return
            new = self._writer.holder is None
            try:
                holder, number = self._writer.write(group, self._put_apart(group), said)
            except Exception as error:  # noqa: BLE001 - results stay in memory; the run is right without the cache
                self._fault("write", error)
                torn = self._writer.detach()
                if torn is not None and torn.starts:
                    self._unsealed.append(torn)
                self.said.barriers[:0] = said.barriers  # what was taken back stays so, and is written as soon as that can be
                self.said.marks.update(said.marks)
                self.pending.clear()  # a run may be long; what is not written is computed again when it is asked for
                return
            if new:
                self._catalog.index.take(holder)
            else:
                self._catalog.index.note(holder, number, said)
            place = (holder, number)
            for position, entry in enumerate(group):
                spot: Any = entry.location
                spot.block, spot.position, spot.payloads = place, position, None
            self.pending.clear()
            full = self._writer.detach() if self._writer.full else None
        self._seal(full)

    def _put_apart(self, group: Sequence[Entry]) -> dict[tuple[int, int], bytes]:
        """Write large values as blobs named by their content, and return their names."""
        apart = {}
        for position, entry in enumerate(group):
            for output, data in enumerate(entry.location.payloads):  # type: ignore[attr-defined]
                if len(data) > APART:
                    name = apart[position, output] = digest(data)
                    blob = f"{OBJECTS}{name.hex()}"
                    if name not in self._apart or blob in self._catalog.index.condemned:
                        self._store.put(blob, data)
                        self._apart.add(name)
        return apart

    def note_uses(self, read: set[tuple[str, int]]) -> None:
        """Put on record that blocks were used, unless that is known of the last day.

        Args:
            read: Ids of holders and numbers of blocks.
        """
        now = time.time_ns() // 1000
        index = self._catalog.index
        found: dict[str, list[int]] = {}
        for holder_id, number in read:
            holder = index.holders.get(holder_id)
            if holder is not None and now - index.last_use(holder, number) > USE_SECONDS * 1e6:
                found.setdefault(holder_id, []).append(number)
        for holder_id, numbers in found.items():
            self.said.uses[holder_id] = (packed("I", sorted(numbers)), packed("Q", [now] * len(numbers)))

    def flush(self) -> None:
        """Write what is not written yet, and make it durable."""
        ticker, self._ticker = self._ticker, None
        if ticker is not None:
            ticker.stop()
        with self.lock:
            self.write()
            holder = self._writer.detach()
            unsealed, self._unsealed = self._unsealed, []
            self._apart = set()  # a collection may delete them as soon as nothing refers to them
        self._seal(holder)
        self._unsealed += [torn for torn in unsealed if not self.adopt(torn)]

    def _seal(self, holder: Holder | None) -> None:
        if holder is None:
            return
        try:
            name, ending = self._writer.seal(holder)
        except Exception as error:  # noqa: BLE001 - what was written stays readable as a journal
            self._fault("write", error)
            self._unsealed.append(holder)  # for the next flush
            return
        with self.lock:
            holder.keys = None
            self._catalog.saw(name, ending)

    def adopt(self, holder: Holder) -> bool:
        """Make a segment of a journal that nobody writes to any more; return whether that is done, or of no use any more."""
        if not holder.name.startswith(JOURNALS):
            return True  # it is a segment by now
        try:
            name, ending = self._writer.seal_copy(holder)
        except KeyError:  # it is gone
            return True
        except Exception as error:  # noqa: BLE001 - as above
            self._fault("write", error)
            return False
        with self.lock:
            holder.keys = None
            self._catalog.saw(name, ending)
        return True


class Ticker:
    """Calls ``tick`` once a second, in a thread that ends when it is stopped or nobody needs the outbox any more."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = weakref.ref(outbox)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="hypernodes-journal", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:
            self._stopped.set()  # at the end of the interpreter there are no new threads; the last flush must do

    def _run(self) -> None:
        while not self._stopped.wait(GROUP_SECONDS):
            outbox = self._outbox()
            if outbox is None:
                return
            outbox.tick()
            del outbox

    def stop(self) -> None:
        """Let the thread end."""
        self._stopped.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join()
