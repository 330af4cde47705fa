"""What commands find out about one cache, or do with it, in lines for people and data for programs."""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import attrs

from hypernodes._messages import counted
from hypernodes.cli._cache_places import Place
from hypernodes.cli._output import table

_SHOWN: Final = 20  # names of files that people read
_SECOND_UNITS: Final = ((86_400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))


@attrs.frozen
class Report:
    """What there is to print.

    Attributes:
        lines: For people.
        data: For programs.
        status: The exit status.
        tells_faults: Whether damaged files are named in it already.
    """

    lines: Sequence[str]
    data: Mapping[str, Any]
    status: int = 0
    tells_faults: bool = False


def size(number: float) -> str:
    """Return a number of bytes as people write it."""
    for unit in ("B", "KB", "MB", "GB"):
        if number < 1000:  # noqa: PLR2004 - what the units are made of
            return f"{number:.0f} {unit}" if unit == "B" or number >= 100 else f"{number:.1f} {unit}"  # noqa: PLR2004 - as above
        number /= 1000
    return f"{number:.1f} TB"


def foreign_notes(place: Place, info: Any = None) -> list[str]:
    """Return why results may be missed that somebody knows to be there, where the cache tells."""
    told = place.setting.info() if info is None else info
    results, files = getattr(told, "foreign", 0), getattr(told, "foreign_files", 0)
    if not results and not files:
        return []
    what = counted(files, "file") + (f" with {counted(results, 'result')}" if results else "")
    return [f"{what} {'is' if files == 1 else 'are'} signed with another key, and not used here: see `hypernodes cache key show`"]


def _info(place: Place, _options: argparse.Namespace, _node: str | None, _pipeline: str | None) -> Report:
    info = place.setting.info()
    total = sum(info.nodes.values())
    rows = _rows(info.nodes)
    parts = [counted(info.segments, "segment"), counted(info.journals, "journal"), counted(info.objects, "large value")]
    if info.waiting:
        parts.append(f"{counted(info.waiting, 'file')} to be deleted by a later gc")
    damaged = getattr(info, "damaged", 0)
    if damaged:
        parts.append(f"{counted(damaged, 'damaged segment')} to be removed by gc")
    lines = [f"{counted(total, 'result')} in {place.name}, {size(info.bytes)}", ", ".join(parts), *foreign_notes(place, info)]
    width = max((len(f"{row['pipeline']}/{row['node']}") for row in rows), default=0)
    lines += [f"  {row['pipeline'] + '/' + row['node']:<{width}}  {row['results']:>10,}" for row in rows]
    told = attrs.asdict(info, filter=lambda field, _: field.name != "nodes")
    return Report(lines, {"results": total, **told, "nodes": rows})


def _ls(place: Place, options: argparse.Namespace, node: str | None, pipeline: str | None) -> Report:
    rows = list(place.setting.results(node, pipeline=pipeline))
    shown = rows[: options.limit] if options.limit > 0 else rows
    lines = []
    if shown:
        head = ["NODE", "KEY", "SIZE", "CODEC", "MADE", "TOOK", "RUN"]
        lines += table([head, *([
            f"{row.pipeline}/{row.node}", row.key[:12], size(row.bytes), "+".join(row.codecs), _when(row.created), f"{row.seconds:.3g} s",
            row.run_id[:8],
        ] for row in shown)])  # fmt: skip
    if len(rows) > len(shown):
        lines.append(f"{counted(len(rows), 'result')}, {len(shown):,} shown; --limit 0 shows all")
    if not rows:
        lines += [f"{counted(0, 'result')} in {place.name}", *foreign_notes(place)]
    return Report(lines, {"results": len(rows), "rows": [attrs.asdict(row) for row in shown]})


def _gc(place: Place, options: argparse.Namespace, _node: str | None, _pipeline: str | None) -> Report:
    done = place.setting.gc(max_size=options.max_size, older_than=options.older_than, grace=options.grace, dry_run=options.dry_run)
    dropped, wrote, deleted = ("would drop", "would write", "would delete") if options.dry_run else ("dropped", "wrote", "deleted")
    lines = [f"{dropped} {counted(len(done.results), 'result')} of {place.name}; {size(done.before)} -> {size(done.after)}"]
    groups = Counter((each.pipeline, each.node, each.reason) for each in done.results)
    lines += [f"  {pipeline}/{node}  {count:,}  {reason}" for (pipeline, node, reason), count in sorted(groups.items())]
    if done.merged:
        lines.append(f"{wrote} {counted(done.merged, 'segment')} again, merged or without what was dropped")
    if done.deleted:
        lines.append(f"{deleted} {counted(len(done.deleted), 'file')}")
        lines += [f"  {name}" for name in done.deleted[:_SHOWN]]
    if len(done.deleted) > _SHOWN:
        lines.append(f"  and {len(done.deleted) - _SHOWN:,} more; --json lists all")
    if done.waiting:
        one = len(done.waiting) == 1
        text = f"{counted(len(done.waiting), 'file')} {'is' if one else 'are'} no longer needed, and {'stays' if one else 'stay'} for"
        lines.append(f"{text} {_duration(options.grace)}, in case somebody is reading {'it' if one else 'them'}; a later gc deletes")
        lines[-1] += " it" if one else " them"
    left = getattr(done, "foreign_files", 0)
    if left:
        lines.append(f"{counted(left, 'file')} signed with another key {'is' if left == 1 else 'are'} left alone ({size(done.foreign)})")
    return Report(lines, {"dry_run": options.dry_run, **attrs.asdict(done)})


def _verify(place: Place, _options: argparse.Namespace, _node: str | None, _pipeline: str | None) -> Report:
    found = place.setting.verify()
    counts = [counted(found.results, "result"), counted(found.blocks, "block"), counted(found.objects, "large value")]
    lines = [f"{', '.join(counts)} of {place.name} are what was written ({size(found.bytes)} read)"]
    if found.foreign:
        lines.append(f"{counted(found.foreign, 'block')} cannot be verified: signed with another key; see `hypernodes cache key show`")
    lines += [f"  {problem}" for problem in found.problems]
    return Report(lines, attrs.asdict(found), 1 if found.problems else 0, tells_faults=bool(found.problems))


def _clear(place: Place, options: argparse.Namespace, _node: str | None, _pipeline: str | None) -> Report:
    return _forgotten(place, options, None, None, place.setting.clear)


def _invalidate(place: Place, options: argparse.Namespace, node: str | None, pipeline: str | None) -> Report:
    return _forgotten(place, options, node, pipeline, lambda: place.setting.invalidate(node, pipeline=pipeline))


def _forgotten(place: Place, options: argparse.Namespace, node: str | None, pipeline: str | None, forget: Callable[[], int]) -> Report:
    if not options.dry_run:
        count = forget()
        return Report([f"forgot {counted(count, 'result')} of {place.name}"], {"forgotten": count, "dry_run": False})
    nodes = Counter((each.pipeline, each.node) for each in place.setting.results(node, pipeline=pipeline))
    total, rows = sum(nodes.values()), _rows(nodes)
    lines = [f"would forget {counted(total, 'result')} of {place.name}"]
    lines += [f"  {row['pipeline']}/{row['node']}  {row['results']:,}" for row in rows]
    return Report(lines, {"forgotten": total, "dry_run": True, "nodes": rows})


def _rows(nodes: Mapping[tuple[str, str], int]) -> list[dict[str, Any]]:
    return [{"pipeline": pipeline, "node": node, "results": count} for (pipeline, node), count in sorted(nodes.items())]


def _when(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def _duration(seconds: float) -> str:
    """Return a time in the largest unit that it is a whole number of."""
    unit, name = next(((unit, name) for unit, name in _SECOND_UNITS if seconds % unit == 0), (1, "second"))
    number = seconds / unit
    return f"{number:g} {name}{'' if number == 1 else 's'}"


ACTIONS: Final[Mapping[str, Callable[[Place, argparse.Namespace, str | None, str | None], Report]]] = {
    "info": _info, "ls": _ls, "gc": _gc, "verify": _verify, "clear": _clear, "invalidate": _invalidate,
}  # fmt: skip
