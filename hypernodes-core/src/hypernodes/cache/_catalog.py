"""Finding out what a root holds: segments by their directories, journals of others by what has been added to them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import attrs

from hypernodes.cache._blocks import HEAD, MAGIC, Block, Check, Foreign, Unreadable, place_of, size_of
from hypernodes.cache._index import Holder, Index, read_directory, verdict_on_directory
from hypernodes.cache._names import JOURNALS, SEGMENTS, SegmentName, is_left_over, parsed
from hypernodes.cache._reader import blocks_after, read_table, whole_blocks
from hypernodes.cache._shelf import Shelf
from hypernodes.cache._tables import Table

SHELVED: Final = 16  # directories that are read from a local root at once, from which on they are kept in the user's own files
_TABLE: Final = "#keys"  # after a segment's name: its table of keys
_LONGEST_TAG: Final = 128  # bytes, and more than any has


@attrs.frozen(eq=False)
class Damage:
    """What is wrong with a journal that somebody left behind: more than that its end is torn.

    Attributes:
        holder: The journal, as far as it is whole.
        bytes: How many bytes cannot be read.
        blocks: The whole blocks that stand after these, with their numbers.
    """

    holder: Holder
    bytes: int
    blocks: list[tuple[int, Block]]


class Catalog:
    """Keeps an index up to date.

    Args:
        store: Where segments are.
        journals: Where journals are; ``None`` where there are none.
        shelf: What was read before.
        check: Says of bytes and their tag whose they are; see ``Block``.
        fault: Is told what went wrong.

    Attributes:
        index: What is known.
        vanished: Whether a segment was found to be gone, and others may stand for it.
        incomplete: Whether something could not be read just now that may be readable later.
        unreadable: Names of segments whose directories cannot be read.
        keyless: Ids of segments whose tables of keys are not what was written.
        foreign: Names of journals that other keys signed.
        damaged: Journals without writers that are damaged before their ends, by their names.
    """

    def __init__(self, store: Any, journals: Any | None, shelf: Shelf, check: Check, fault: Callable[[str, Exception], None]) -> None:
        self.index = Index(self._table)
        self.vanished = False
        self.incomplete = False
        self.unreadable: set[str] = set()
        self.keyless: set[str] = set()
        self.foreign: set[str] = set()
        self.damaged: dict[str, Damage] = {}
        self._store = store
        self._journals = journals
        self._shelf = shelf
        self._check = check
        self._fault = fault
        self._seen: set[str] = set()
        self._stamp: object = None
        self._fetched: list[tuple[str, bytes]] = []  # what was read from the root just now
        self._failed: list[tuple[SegmentName, Unreadable]] = []  # what could not be read of it

    def saw(self, name: SegmentName, ending: bytes) -> None:
        """Note a segment that this process has written itself."""
        self._seen.add(str(name))
        if self._store.remote:
            self._shelf.put([(str(name), ending[name.table :]), (str(name) + _TABLE, ending[: name.table])])

    def refresh(self, mine: str | None) -> tuple[list[Holder], list[str]]:
        """Take what is new; return journals whose writers are gone, and names of those that are of no use any more.

        Args:
            mine: The id of the journal that this process writes.
        """
        stamp = self._store.stamp(SEGMENTS) if hasattr(self._store, "stamp") else None
        again, self.incomplete = self.incomplete, True  # until all is read
        missed = False
        if stamp is None or stamp != self._stamp or again:
            missed = not self._take_segments(set(self._store.list(SEGMENTS)))
            self._stamp = stamp
        left, useless = [], []
        self.foreign, self.damaged = set(), {}
        for name in sorted(self._journals.list(JOURNALS)) if self._journals is not None else ():
            holder_id = name.removeprefix(JOURNALS)
            if holder_id == mine:
                continue
            known = self.index.holders.get(holder_id)
            if holder_id in self.index.gone or (known is not None and known.name != name):  # a segment by now, or was one
                if is_left_over(holder_id) and (known is None or self._added(name, known) == []):
                    useless.append(name)
                continue
            holder = self._take_journal(name, holder_id)
            if holder is None:
                missed = True
            elif is_left_over(holder_id):
                left.append(holder)
                self._look_behind(name, holder)
        self.incomplete = missed
        return left, useless

    def _take_segments(self, names: set[str]) -> bool:
        """Take new segments; return whether all were read that can be."""
        whole = True
        for gone in [each for each in self.index.holders.values() if each.name in self._seen and each.name not in names]:
            self.index.drop(gone)
        self._seen &= names  # what is gone may come back, with a disk that was not there for a while
        self.unreadable &= names
        for name in sorted(names - self._seen):
            self._seen.add(name)
            said = parsed(name)
            if said is not None and said.holder_id not in self.index.gone and not self._take_segment(said):
                self._seen.discard(name)
                whole = False
        failed, self._failed = self._failed, []
        failures = [error for said, error in failed if said.holder_id not in self.index.gone]  # now that it is known what is
        if failures:
            more = f" (and {len(failures) - 1} more such segments)" if len(failures) > 1 else ""
            self._fault("read", Unreadable(f"{failures[0]}{more}"))
        fetched, self._fetched = self._fetched, []
        if fetched and (self._store.remote or len(fetched) >= SHELVED):
            self._shelf.put(fetched)
            self._shelf.keep_only(names)
        return whole

    def _take_segment(self, name: SegmentName) -> bool:
        """Take a segment; return whether that is worth no other attempt."""
        known = self.index.holders.get(name.holder_id)
        if known is not None and known.end == name.blocks:
            known.at = (self._store, str(name))  # a journal that became a segment
            return True
        try:
            holder = self._described(name)
        except KeyError:
            return True
        except Unreadable as error:  # a segment that cannot be read holds nothing
            self.unreadable.add(str(name))
            cure = "; `hypernodes cache gc` removes it" if self._is_damaged_now(name) else ""
            self._failed.append((name, Unreadable(f"{name}: {error}{cure}")))
            return True
        except Exception as error:  # noqa: BLE001 - as above
            self._fault("read", error)
            return False
        if known is not None:
            self.index.drop(known)
        try:
            self.index.take(holder)
        except Exception as error:  # noqa: BLE001 - what it says makes no sense
            self.index.drop(holder)
            self._fault("read", error)
        return True

    def _is_damaged_now(self, name: SegmentName) -> bool:
        try:
            return self.is_damaged(name)
        except Exception:  # noqa: BLE001 - nobody knows
            return False

    def is_damaged(self, name: SegmentName) -> bool:
        """Whether a segment's directory can never be read again: not where another key signed the segment, or a newer version wrote it.

        Raises:
            KeyError: It is gone.
            StoreError: It cannot be read now.
        """
        directory = self._store.get(str(name), name.blocks + name.table, name.size)
        try:
            if verdict_on_directory(name.holder_id, directory, self._check) is not None:
                return False
            foreign = False
        except Foreign:
            foreign = True
        first = self._store.get(str(name), 0, min(name.blocks, HEAD.size + _LONGEST_TAG))
        if first.startswith(MAGIC) and len(first) >= HEAD.size:
            tag = first[HEAD.size : HEAD.size + HEAD.unpack_from(first)[3]]
            try:
                length = size_of(first)
                Block(place_of(name.holder_id, 0), self._store.get(str(name), 0, length), self._check)
            except Foreign:
                return False
            except Unreadable:
                foreign = foreign or self._is_foreign(tag)
            else:
                return True  # it is ours, whatever is left of its directory seems to say
        return not foreign

    def _is_foreign(self, tag: bytes) -> bool:
        try:
            self._check(b"", tag)
        except Foreign:
            return True
        return False

    def check_tables(self) -> None:
        """Find the segments on this machine whose tables of keys are damaged; of others those are known that were asked."""
        for holder in [] if self._store.remote else list(self.index.holders.values()):
            name = parsed(holder.name)
            if name is not None and not holder.foreign and holder.check:
                try:
                    read_table(self._store.get(holder.name, name.blocks, name.blocks + name.table), holder)
                except Unreadable:
                    self.keyless.add(holder.id)
                except KeyError:
                    pass
                except Exception as error:  # noqa: BLE001 - as above
                    self._fault("read", error)

    def _described(self, name: SegmentName) -> Holder:
        """Return a segment as its directory describes it, from the shelf if it is there."""
        holder = Holder(name.holder_id, str(name), self._store)
        data = self._shelf.get(str(name))
        if data is not None:
            try:
                read_directory(holder, data, self._check)
            except Exception:  # noqa: BLE001 - whatever is wrong with it, the root has it too
                self._shelf.forget(str(name))
            else:
                return holder
        if self._store.remote:  # one request for all of it
            ending = self._store.get(str(name), name.blocks, name.size)
            data = ending[name.table :]
            self._fetched.append((str(name) + _TABLE, ending[: name.table]))
        else:
            data = self._store.get(str(name), name.blocks + name.table, name.size)
        read_directory(holder, data, self._check)
        self._fetched.append((str(name), data))
        return holder

    def _table(self, holder: Holder) -> Table:
        """Return the table of keys of a segment; an empty one where it cannot be read."""
        name = parsed(holder.name)
        assert name is not None  # noqa: S101 - it has been read already
        try:
            kept = self._shelf.get(holder.name + _TABLE)
            if kept is not None:
                try:
                    return read_table(kept, holder)
                except Exception:  # noqa: BLE001 - as above
                    self._shelf.forget(holder.name + _TABLE)
            return read_table(self._store.get(holder.name, name.blocks, name.blocks + name.table), holder)
        except KeyError:
            self.index.drop(holder)
            self.vanished = True
        except Exception as error:  # noqa: BLE001 - as above
            if isinstance(error, Unreadable) and not holder.foreign:
                self.keyless.add(holder.id)
                error = Unreadable(f"{holder.name}: {error}; `hypernodes cache gc` writes it anew")
            self._fault("read", error)
            if not isinstance(error, Unreadable):  # the next refresh takes it anew
                self.index.drop(holder)
                self._seen.discard(holder.name)
                self.incomplete = True
        return Table.empty()

    def _take_journal(self, name: str, holder_id: str) -> Holder | None:
        """Read what has been added to another process's journal; return it, if all that is in it can be read."""
        known = self.index.holders.get(holder_id)
        holder = known or Holder(holder_id, name, self._journals)
        blocks = self._added(name, holder)
        if blocks is None:
            return None
        for block, length in blocks:
            number = holder.add_block(block, length)
            if known is not None:
                self.index.note(holder, number, block.notes)
        if known is None:
            self.index.take(holder)
        return holder

    def _look_behind(self, name: str, holder: Holder) -> None:
        """See whether whole blocks stand behind the end of what could be read of a journal: then it is not just torn."""
        try:
            rest = self._journals.get(name, holder.end)  # type: ignore[union-attr]
        except Exception:  # noqa: BLE001 - it is read again when it is adopted, and then it is said
            return
        blocks, lost = whole_blocks(rest, holder.id, len(holder.starts), self._check) if rest else ([], 0)
        if blocks:
            self.damaged[name] = Damage(holder, lost, blocks)

    def _added(self, name: str, holder: Holder) -> list[tuple[Block, int]] | None:
        """Return the blocks that a journal has besides those that are known; ``None`` where it cannot be read."""
        try:
            return blocks_after(self._journals, name, holder, self._check)
        except KeyError:
            return None
        except Foreign:
            self.foreign.add(name)
            return None
        except Exception as error:  # noqa: BLE001 - as above
            self._fault("read", error)
            return None
