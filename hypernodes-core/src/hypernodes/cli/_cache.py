"""``hypernodes cache info|ls|gc|verify|clear|invalidate|key``."""

from __future__ import annotations

import argparse
import re
import sys
from typing import Any, Final, NoReturn

from hypernodes._messages import did_you_mean, listed
from hypernodes.cache import size_from
from hypernodes.cli import _cache_actions as actions
from hypernodes.cli._cache_places import Place, Trouble, looks_like_a_place, places, target
from hypernodes.cli._output import show, show_json
from hypernodes.errors import HyperNodesError, OptionError

_UNITS: Final = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 7 * 86_400.0}
_SHOWN: Final = 20  # rows of a list that people read
_VALUES: Final = ("--limit", "--max-size", "--older-than", "--grace")
_CHANGING: Final = ("gc", "clear", "invalidate")
_USAGE: Final = 2


class _Misused(Exception):  # noqa: N818 - it never leaves this module
    """A value on the command line is of no use; the message is the line that says so."""


def command(argv: list[str]) -> int:
    """Look at caches, make room in them, forget results, or manage keys.

    Args:
        argv: What stands after ``cache``.
    """
    if argv[:1] == ["key"]:
        from hypernodes.cli._cache_keys import command as keys

        return keys(argv[1:])
    try:
        options = _parsed(argv)
        if options is None:
            return _USAGE
        _check(options)
    except _Misused as misused:
        _say(str(misused))
        return _USAGE
    only_read = options.action in ("info", "ls", "verify") or getattr(options, "dry_run", False)
    return _Work(options, places(options.cache, only_read=only_read)).run()


class _Work:
    """What a command does with each cache in turn; one that cannot be used does not keep it from the others."""

    def __init__(self, options: argparse.Namespace, chosen: list[Place]) -> None:
        self.options = options
        self.chosen = chosen
        self.status = 0
        self.shown = 0

    def run(self) -> int:
        """Do it, and return the exit status."""
        usable = [place for place in self.chosen if self._may_be_used(place) and self._tried(place, place.look)]
        known: list[tuple[str, str]] = []
        node, pipeline = getattr(self.options, "node", None), getattr(self.options, "pipeline", None)
        if node is not None or pipeline is not None:
            usable = [place for place in usable if self._tried(place, lambda place=place: known.extend(_nodes(place)))]
            if not usable:
                return self.status
            try:
                node, pipeline = target(node, pipeline, known, listed(place.name for place in usable))
            except Trouble as trouble:
                notes = dict.fromkeys(note for place in usable for note in actions.foreign_notes(place))
                self._failed(usable, " ".join([str(trouble), *notes]))
                return self.status
        for place in usable:
            self._tried(place, lambda place=place: self._act(place, node, pipeline))
        return self.status

    def _may_be_used(self, place: Place) -> bool:
        """Whether the configuration lets the command change a cache, or would if it were no dry run."""
        if not place.fixed or self.options.action not in _CHANGING:
            return True
        text = f"{place.name} is only read here, as {place.source or 'its setting'} says"
        if self.options.action == "gc" and len(self.chosen) > 1:  # whoever owns it makes room in it; what was asked is done
            _say(f"{text}; it is left alone")
        else:
            self._failed([place], f"{text}; fix: name it with --cache to change what is in it")
        return False

    def _act(self, place: Place, node: str | None, pipeline: str | None) -> None:
        with place.watched():
            report = actions.ACTIONS[self.options.action](place, self.options, node, pipeline)
        if self.options.json:
            show_json({"cache": place.name, **report.data}, indent=None)
        else:
            if len(self.chosen) > 1:
                show(f"{'' if not self.shown else chr(10)}{place.name}:")
            for line in report.lines:
                show(line)
        self.shown += 1
        self.status = max(self.status, report.status)
        if place.faults and not report.tells_faults:
            mended = self.options.action in ("gc", "clear") and not self.options.dry_run
            self.status = self.status if mended else 1
            for fault in place.faults:
                _say(f"warning: {fault}" if mended else f"{fault}; see `hypernodes cache verify`")

    def _tried(self, place: Place, work: Any) -> bool:
        try:
            work()
        except (HyperNodesError, ImportError) as error:  # the latter where a package for keys of some kind is not installed
            self._failed([place], str(error) if isinstance(error, Trouble) else f"{type(error).__name__}: {error}")
            return False
        return True

    def _failed(self, concerned: list[Place], text: str) -> None:
        self.status = 1
        sys.stdout.flush()  # so that what was printed before stands before it
        _say(text)
        for place in concerned if self.options.json else ():
            show_json({"cache": place.name, "error": text}, indent=None)


def _nodes(place: Place) -> list[tuple[str, str]]:
    with place.watched():
        return list(place.setting.nodes())


def _say(text: str) -> None:
    print(f"hypernodes: {text}", file=sys.stderr)


# -- the command line


def _parsed(argv: list[str]) -> argparse.Namespace | None:
    """Return what is asked for; ``None`` if it is nothing, and help was printed."""
    parser, known = _parser()
    if not argv:
        parser.print_help(sys.stderr)
        return None
    if argv[0].startswith("--cache"):
        parser.error(f"{argv[0]} stands behind the action: hypernodes cache info --cache PATH|URL")
    if not argv[0].startswith("-") and argv[0] not in known:
        hint = did_you_mean(argv[0], known) or (f" Did you mean: info --cache {argv[0]}?" if looks_like_a_place(argv[0]) else "")
        parser.error(f"unknown action '{argv[0]}'; there are {listed(known)}.{hint}")
    options, rest = parser.parse_known_args(_joined(argv))
    if rest:
        _refuse(known[options.action], rest, takes_node=hasattr(options, "node"))
    return options


def _refuse(parser: argparse.ArgumentParser, rest: list[str], *, takes_node: bool) -> NoReturn:
    first = rest[0]
    hint = ""
    if first.startswith("-"):
        hint = did_you_mean(first.partition("=")[0], parser._option_string_actions)  # noqa: SLF001 - there is no other way to ask
    elif not takes_node or looks_like_a_place(first):
        hint = f" Did you mean --cache {first}?"
    parser.error(f"unrecognized arguments: {' '.join(rest)}.{hint}")


def _joined(argv: list[str]) -> list[str]:
    """Return arguments with negative values tied to their options: ``-3d`` would be taken for an option."""
    found: list[str] = []
    for each in argv:
        if found and found[-1] in _VALUES and re.match(r"-\d", each):
            found[-1] = f"{found[-1]}={each}"
        else:
            found.append(each)
    return found


def _parser() -> tuple[argparse.ArgumentParser, dict[str, argparse.ArgumentParser]]:
    parser = argparse.ArgumentParser(
        prog="hypernodes cache",
        description="Look at caches, make room in them, or forget results.",
        epilog="`hypernodes cache ACTION --help` tells more. Without --cache, an action is about the caches that are configured here.",
    )
    chosen = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    known: dict[str, argparse.ArgumentParser] = {}

    def action(name: str, text: str) -> argparse.ArgumentParser:
        made = known[name] = chosen.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        made.add_argument(
            "--cache", action="append", metavar="PATH|URL",
            help="the cache; several, given one by one or separated by commas, are looked at in turn "
            "(default: what `hypernodes config show` shows, or .cache)",
        )  # fmt: skip
        made.add_argument("--json", action="store_true", help="print a JSON object for each cache, on a line of its own")
        return made

    def dry_run(made: argparse.ArgumentParser, text: str) -> None:
        made.add_argument("--dry-run", action="store_true", help=text)

    action("info", "how much there is, by pipeline and node")
    made = action("ls", "which results there are")
    made.add_argument("node", nargs="?", metavar="NODE", help="name or id of a node, or PIPELINE/ID; all nodes when left out")
    made.add_argument("--pipeline", help="only those of this pipeline")
    made.add_argument("--limit", default=str(_SHOWN), metavar="N", help=f"the most to show, 0 for all (default: {_SHOWN})")
    made = action("gc", "make room: drop what was forgotten, merge small files, and on request drop what is old or too much")
    made.add_argument("--max-size", metavar="SIZE", help="the most that may stay, such as 10GB; what was used longest ago goes first")
    made.add_argument("--older-than", metavar="TIME", help="drop what was not used for so long: a number with s, m, h, d or w, such as 30d")
    made.add_argument(
        "--grace", default="1h", metavar="TIME",
        help="how long a file is left in place after it is no longer needed, because somebody may be reading it just now; a later gc "
        "deletes it (default: 1h; 0 deletes at once: only if nobody else uses the cache)",
    )  # fmt: skip
    dry_run(made, "only say what would be done")
    action("verify", "read everything, and say what is wrong")
    dry_run(action("clear", "forget all results, and delete them"), "only say what would be forgotten")
    made = action("invalidate", "forget the results of a node, so that it is computed again")
    made.add_argument("node", metavar="NODE", help="name or id of the node, or PIPELINE/ID")
    made.add_argument("--pipeline", help="only those of this pipeline")
    dry_run(made, "only say what would be forgotten")
    known["key"] = chosen.add_parser("key", help="keys of caches: `hypernodes cache key --help`")
    return parser, known


def _check(options: argparse.Namespace) -> None:
    """Put values in the place of texts."""
    if options.action == "ls":
        options.limit = _number("--limit", options.limit)
    if options.action == "gc":
        options.grace = _seconds("--grace", options.grace)
        options.older_than = None if options.older_than is None else _seconds("--older-than", options.older_than)
        try:
            options.max_size = size_from(options.max_size)
        except OptionError:
            raise _Misused(f"--max-size {options.max_size!r} is no size: give a number and a unit, such as 500MB or 10GB") from None


def _number(name: str, text: str) -> int:
    if not re.fullmatch(r"\d+", text.strip(), re.ASCII):
        raise _Misused(f"{name} {text!r} is no number from 0 up: give the most to show, 0 for all")
    return int(text)


def _seconds(name: str, text: str) -> float:
    found = re.fullmatch(r"(-?)(\d+(?:\.\d+)?)\s*([smhdw]?)", text.strip(), re.ASCII)
    if found is None:
        raise _Misused(f"{name} {text!r} is no time: give a number with s, m, h, d or w, such as 30d or 12h")
    sign, number, unit = found.groups()
    if sign:
        raise _Misused(f"{name} {text!r}: a time has no sign; give {number}{unit or 'd'}")
    if not unit and float(number):
        units = ", ".join(f"{number}{each}" for each in "smhd")
        raise _Misused(f"{name} {text!r} has no unit: give {units} or {number}w, for seconds, minutes, hours, days or weeks")
    return float(number) * _UNITS.get(unit, 1.0)
