"""``hypernodes cache info|ls|gc|verify|clear|invalidate|key``."""

from __future__ import annotations

import argparse
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, Final

import attrs

from hypernodes import config
from hypernodes._messages import counted
from hypernodes.cli._output import redacted, show, show_json, show_table

_UNITS: Final = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 7 * 86_400.0}
_SHOWN: Final = 20  # rows of a list that people read


def command(argv: list[str]) -> int:
    """Look at a cache, make room in it, forget results, or manage keys.

    Args:
        argv: What stands after ``cache``.
    """
    if argv[:1] == ["key"]:
        from hypernodes.cli._cache_keys import command as keys

        return keys(argv[1:])
    options = _parser().parse_args(argv)
    cache = config.make_cache(options.cache)
    run: Callable[[Any, argparse.Namespace], int] = options.run
    return run(cache, options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="hypernodes cache", description="Look at a cache, make room in it, or forget results.")
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

    def action(name: str, run: Callable[[Any, argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        made = actions.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        made.add_argument("--cache", default=".cache", help="path or URL of the cache (default: .cache)")
        made.add_argument("--json", action="store_true", help="print JSON")
        made.set_defaults(run=run)
        return made

    action("info", _info, "how much there is, by pipeline and node")
    made = action("ls", _ls, "which results there are")
    made.add_argument("node", nargs="?", help="name or id of a node; all nodes when left out")
    made.add_argument("--pipeline", help="only those of this pipeline")
    made.add_argument("--limit", type=int, default=_SHOWN, help=f"the most to show, 0 for all (default: {_SHOWN})")
    made = action("gc", _gc, "make room: drop what was forgotten, merge small segments, and on request drop what is old or too much")
    made.add_argument("--max-size", help="the most that may stay, such as 10GB; what was used longest ago goes first")
    made.add_argument("--older-than", type=_seconds, help="drop what was not used for so long, such as 30d or 12h")
    made.add_argument("--grace", type=_seconds, default=3600.0, help="how long blobs stay after they no longer count (default: 1h)")
    made.add_argument("--dry-run", action="store_true", help="only say what would be done")
    action("verify", _verify, "read everything, and say what is wrong")
    made = action("clear", _clear, "forget all results")
    made.add_argument("--dry-run", action="store_true", help="only say what would be forgotten")
    made = action("invalidate", _invalidate, "forget the results of a node")
    made.add_argument("node", help="name or id of the node")
    made.add_argument("--pipeline", help="only those of this pipeline")
    made.add_argument("--dry-run", action="store_true", help="only say what would be forgotten")
    actions.add_parser("key", help="keys of caches: `hypernodes cache key --help`")
    return parser


def _seconds(text: str) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhdw]?)", text.strip())
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no time: give a number with s, m, h, d or w, such as 30d")
    return float(found[1]) * _UNITS.get(found[2], 1.0)


def size(number: float) -> str:
    """Return a number of bytes as people write it."""
    for unit in ("B", "KB", "MB", "GB"):
        if number < 1000:  # noqa: PLR2004 - what the units are made of
            return f"{number:.0f} {unit}" if unit == "B" or number >= 100 else f"{number:.1f} {unit}"  # noqa: PLR2004 - as above
        number /= 1000
    return f"{number:.1f} TB"


def _info(cache: Any, options: argparse.Namespace) -> int:
    info = cache.info()
    total = sum(info.nodes.values())
    if options.json:
        rows = [{"pipeline": pipeline, "node": node, "results": count} for (pipeline, node), count in info.nodes.items()]
        show_json({"results": total, **attrs.asdict(info, filter=lambda field, _: field.name != "nodes"), "nodes": rows})
        return 0
    show(f"{counted(total, 'result')} in {redacted(options.cache)}, {size(info.bytes)}")
    parts = [counted(info.segments, "segment"), counted(info.journals, "journal"), counted(info.objects, "large value")]
    show(f"{', '.join(parts)}, {info.waiting:,} to be deleted")
    width = max((len(f"{pipeline}/{node}") for pipeline, node in info.nodes), default=0)
    for (pipeline, node), count in info.nodes.items():
        show(f"  {f'{pipeline}/{node}':<{width}}  {count:>10,}")
    return 0


def _ls(cache: Any, options: argparse.Namespace) -> int:
    rows = list(cache.results(options.node, pipeline=options.pipeline))
    shown = rows[: options.limit] if options.limit > 0 else rows
    if options.json:
        show_json({"results": len(rows), "rows": [attrs.asdict(row) for row in shown]})
        return 0
    if shown:
        head = ["NODE", "KEY", "SIZE", "CODEC", "MADE", "TOOK", "RUN"]
        show_table([head, *([
            f"{row.pipeline}/{row.node}", row.key[:12], size(row.bytes), "+".join(row.codecs), _when(row.created), f"{row.seconds:.3g} s",
            row.run_id[:8],
        ] for row in shown)])  # fmt: skip
    if len(rows) > len(shown) or not rows:
        show(f"{counted(len(rows), 'result')}" + (f", {len(shown):,} shown; --limit 0 shows all" if rows else ""))
    return 0


def _when(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def _gc(cache: Any, options: argparse.Namespace) -> int:
    done = cache.gc(max_size=options.max_size, older_than=options.older_than, grace=options.grace, dry_run=options.dry_run)
    if options.json:
        show_json({"dry_run": options.dry_run, **attrs.asdict(done)})
        return 0
    would = "would drop" if options.dry_run else "dropped"
    show(f"{would} {counted(len(done.results), 'result')} of {redacted(options.cache)}; {size(done.before)} -> {size(done.after)}")
    _show_groups((each.pipeline, each.node, each.reason) for each in done.results)
    show(f"{'would write' if options.dry_run else 'wrote'} {counted(done.merged, 'segment')} again")
    show(f"{'would delete' if options.dry_run else 'deleted'} {counted(len(done.deleted), 'blob')}, {len(done.waiting):,} wait")
    for name in done.deleted[:_SHOWN]:
        show(f"  {name}")
    if len(done.deleted) > _SHOWN:
        show(f"  and {len(done.deleted) - _SHOWN:,} more; --json lists all")
    return 0


def _show_groups(rows: Iterable[tuple[str, str, str]]) -> None:
    for (pipeline, node, reason), count in sorted(Counter(rows).items()):
        show(f"  {pipeline}/{node}  {count:,}  {reason}")


def _verify(cache: Any, options: argparse.Namespace) -> int:
    found = cache.verify()
    if options.json:
        show_json(attrs.asdict(found))
    else:
        counts = [counted(found.results, "result"), counted(found.blocks, "block"), counted(found.objects, "large value")]
        show(f"{', '.join(counts)} of {redacted(options.cache)} are what was written ({size(found.bytes)} read)")
        if found.foreign:
            show(f"{counted(found.foreign, 'block')} cannot be verified: other keys signed")
        for problem in found.problems:
            show(f"  {problem}")
    return 1 if found.problems else 0


def _clear(cache: Any, options: argparse.Namespace) -> int:
    return _forget(cache, options, None, None)


def _invalidate(cache: Any, options: argparse.Namespace) -> int:
    return _forget(cache, options, options.node, options.pipeline)


def _forget(cache: Any, options: argparse.Namespace, node: str | None, pipeline: str | None) -> int:
    if options.dry_run:
        count = sum(1 for _ in cache.results(node, pipeline=pipeline))
    else:
        count = cache.clear() if node is None else cache.invalidate(node, pipeline=pipeline)
    if options.json:
        show_json({"forgotten": count, "dry_run": options.dry_run})
    else:
        show(f"{'would forget' if options.dry_run else 'forgot'} {counted(count, 'result')} of {redacted(options.cache)}")
    return 0
