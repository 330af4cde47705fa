"""``hypernodes cache info|clear|invalidate|key``."""

from __future__ import annotations

import argparse
import json

from hypernodes import config


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
            print(
                json.dumps({"results": total, "nodes": [{"pipeline": p, "node": n, "results": count} for (p, n), count in nodes.items()]})
            )
            return 0
        print(f"{total:,} results in {options.cache}")
        width = max((len(f"{pipeline}/{node}") for pipeline, node in nodes), default=0)
        for (pipeline, node), count in nodes.items():
            print(f"  {f'{pipeline}/{node}':<{width}}  {count:>10,}")
        return 0
    count = cache.clear() if options.action == "clear" else cache.invalidate(options.node, pipeline=options.pipeline)
    print(json.dumps({"forgotten": count}) if options.json else f"forgot {count:,} results of {options.cache}")
    return 0
