"""The command line: ``hypernodes COMMAND ...`` or ``python -m hypernodes COMMAND ...``.

Exit status: 0 ok, 1 failed, 2 wrong usage. Each command is a module with ``command(argv) -> int``, imported when it
is asked for; commands of plugins are found by name the same way.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Final, cast

from hypernodes._messages import did_you_mean, listed
from hypernodes._version import __version__
from hypernodes.errors import HyperNodesError, HyperNodesWarning

__all__ = ["main"]

OK: Final = 0
FAILED: Final = 1
USAGE: Final = 2
INTERRUPTED: Final = 130  # what shells expect after Ctrl-C

_COMMANDS: Final = {
    "demo": "search the standard library with a small pipeline",
    "cache": "what a cache holds, and keys of caches",
    "plugins": "what is installed, switched off or broken",
    "config": "which settings hold, and where they come from",
    "doctor": "look for faults in this installation",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: The arguments, without the program's name; those of the process by default.

    Returns:
        The exit status.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    with warnings.catch_warnings():
        warnings.simplefilter("always", HyperNodesWarning)
        warnings.showwarning = _showing(warnings.showwarning)
        try:
            status = _run(arguments)
            sys.stdout.flush()  # here a reader that has gone can still be dealt with
        except SystemExit as stop:
            if stop.code is None or isinstance(stop.code, int):
                return stop.code or OK
            _say(str(stop.code))
            return FAILED
        except HyperNodesError as error:
            _say(f"{type(error).__name__}: {error}")
            return FAILED
        except KeyboardInterrupt:
            return INTERRUPTED
        except BrokenPipeError:  # the reader of our output has gone; there is nobody to tell
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return FAILED
        return status


def _run(arguments: list[str]) -> int:
    if not arguments:
        _parser(listing=True).print_help(sys.stderr)
        return USAGE
    wants_help = arguments[0] in ("-h", "--help")
    parsed = _parser(listing=wants_help).parse_args(arguments)
    name: str = parsed.command
    if name in _COMMANDS:
        found: object = importlib.import_module(f"hypernodes.cli._{name}")
        owner = ""
    else:
        from hypernodes import plugins

        registry = plugins.current().registry
        names = registry.names("command")
        if name not in names:
            notes = "".join(f"\n  note: {owner} {note}" for owner, note in registry.notes.items())
            _say(f"unknown command '{name}'; there are {listed(names)}.{did_you_mean(name, names)}{notes}")
            return USAGE
        found = registry.load("command", name)
        owner = listed(registry.owners("command", name))
    call = found if callable(found) else getattr(found, "command", None)
    if not callable(call):
        _say(f"command '{name}' of {owner} cannot be called: {found!r}")
        return FAILED
    try:
        status = cast("Callable[[list[str]], int | None]", call)(parsed.arguments)
    except (HyperNodesError, BrokenPipeError):
        raise
    except Exception:
        if not owner:
            raise
        import traceback

        traceback.print_exc()
        _say(f"command '{name}' of {owner} failed")
        return FAILED
    return OK if status is None else int(status)


def _parser(*, listing: bool) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="hypernodes",
        description="Pipelines of cached functions.",
        epilog=_listing() if listing else None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="hypernodes [-h] [--version] COMMAND ...",
    )
    version = f"hypernodes-core {__version__} (Python {sys.version.split()[0]})"
    parser.add_argument("--version", action="version", version=version, help="show the version and exit")
    parser.add_argument("command", metavar="COMMAND", help="one of those below; COMMAND --help tells more")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    return parser


def _listing() -> str:
    from hypernodes import plugins

    rows = dict(_COMMANDS)
    registry = plugins.current().registry
    for name in registry.names("command"):
        rows.setdefault(name, f"from {' and '.join(registry.owners('command', name))}")
    width = max(map(len, rows))
    return "\n".join(["commands:", *(f"  {name:<{width}}  {text}" for name, text in rows.items())])


def _showing(other: Callable[..., None]) -> Callable[..., None]:
    """Return a way to show warnings: ours as one line for a reader of the command line, the rest as ever."""

    def show(message: Warning | str, category: type[Warning], *place: Any, **keywords: Any) -> None:
        if issubclass(category, HyperNodesWarning):
            _say(f"warning: {message}")
        else:
            other(message, category, *place, **keywords)

    return show


def _say(text: str) -> None:
    print(f"hypernodes: {text}", file=sys.stderr)
