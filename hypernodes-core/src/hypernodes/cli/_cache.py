"""``hypernodes cache info|clear|invalidate|key``."""

from __future__ import annotations

import argparse

from hypernodes import config
from hypernodes.cli._output import redacted, show, show_json


def command(argv: list[str]) -> int:
    """Look at a cache, forget results, or manage keys.

    Args:
        argv: What stands after ``cache``.
    """
    if argv[:1] == ["key"]:
        from hypernodes.cli._cache_keys import command as keys

        return keys(argv[1:])
    parser = argparse.ArgumentParser(prog="hypernodes cache", description="Look at a cache, or forget results.")
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    info = actions.add_parser("info", help="how many results there are, by pipeline and node")
    clear = actions.add_parser("clear", help="forget all results")
    forget = actions.add_parser("invalidate", help="forget the results of a node")
    forget.add_argument("node", help="name or id of the node")
    forget.add_argument("--pipeline", help="only those of this pipeline")
    for each in (info, clear, forget):
        each.add_argument("--cache", default=".cache", help="path or URL of the cache (default: .cache)")
        each.add_argument("--json", action="store_true", help="print JSON")
    actions.add_parser("key", help="keys of caches: `hypernodes cache key --help`")
    options = parser.parse_args(argv)
    cache = config.make_cache(options.cache)
    if options.action == "info":
        nodes = cache.nodes()
        total = sum(nodes.values())
        if options.json:
            rows = [{"pipeline": pipeline, "node": node, "results": count} for (pipeline, node), count in nodes.items()]
            show_json({"results": total, "nodes": rows})
            return 0
        show(f"{total:,} results in {redacted(options.cache)}")
        width = max((len(f"{pipeline}/{node}") for pipeline, node in nodes), default=0)
        for (pipeline, node), count in nodes.items():
            show(f"  {f'{pipeline}/{node}':<{width}}  {count:>10,}")
        return 0
    count = cache.clear() if options.action == "clear" else cache.invalidate(options.node, pipeline=options.pipeline)
    if options.json:
        show_json({"forgotten": count})
    else:
        show(f"forgot {count:,} results of {redacted(options.cache)}")
    return 0
