"""``hypernodes cache key show|new|import [--json]``: the keys that caches are signed and verified with."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from hypernodes._messages import listed
from hypernodes.cache import _keys, _signing, trust
from hypernodes.cache._keys import Key
from hypernodes.cache._signing import SigningKey
from hypernodes.cli._output import show, show_json, show_table
from hypernodes.errors import ConfigError


def command(argv: list[str]) -> int:
    """Show, make or take in keys.

    Args:
        argv: What stands after ``cache key``.
    """
    parser = argparse.ArgumentParser(
        prog="hypernodes cache key",
        description="Keys that caches are signed and verified with.",
        epilog="A cache of your own is signed with a key in your config directory, made when it is first needed. One that is shared "
        f"is signed with {_keys.ENVIRONMENT}, or with {_signing.ENVIRONMENT} where others are only to verify.",
    )
    verbs = parser.add_subparsers(dest="verb", metavar="show|new|import", required=True)

    def add(name: str, text: str, more: str = "") -> argparse.ArgumentParser:
        made = verbs.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.{more}")
        made.add_argument("--json", action="store_true", help="print JSON")
        return made

    verb = add("show", "show which keys there are here, by their ids, and where they come from", " The keys themselves stay hidden.")
    verb.add_argument("--reveal", action="store_true", help="show the keys themselves")
    verb = add("new", f"make a key and print it, for {_keys.ENVIRONMENT}", " It is kept nowhere; all who use a shared cache need it.")
    verb.add_argument("--ed25519", action="store_true", help="make a pair instead: one half signs, the other verifies")
    verb = add("import", "put keys into your own key file, so that local caches written with them are read")
    verb.add_argument("source", metavar="KEYFILE|-", help="a file with a key on each line, or - for standard input")
    verb.add_argument("--first", action="store_true", help="sign with the first of them from now on")
    if not argv:
        parser.print_help(sys.stderr)
        return 2
    asked = parser.parse_args(argv)
    try:
        if asked.verb == "show":
            return _show(reveal=asked.reveal, as_json=asked.json)
        if asked.verb == "new":
            return _new(pair=asked.ed25519, as_json=asked.json)
        return _import(asked.source, first=asked.first, as_json=asked.json)
    except (_keys.Unreachable, ImportError) as error:
        raise ConfigError(str(error)) from error


def _show(*, reveal: bool, as_json: bool) -> int:
    path = _keys.key_file()
    rows = [*_rows("local", _keys.read_key_file(path), reveal=reveal), *_rows("shared", trust.shared_keys(), reveal=reveal)]
    loose = _keys.loose_permissions(path)
    if as_json:
        show_json({"file": str(path), "keys": rows, "warnings": [loose] if loose else []})
        return 0
    found = {row["for"] for row in rows}
    notes = []
    if "local" not in found:
        notes.append(f"Local caches: no key yet; one is made in {path} when it is first needed.")
    if "shared" not in found:
        notes.append(f"Shared caches: no key; only results that need no pickle are read and kept there. Fix: set {_keys.ENVIRONMENT}")
    if loose:
        notes.append(f"Warning: {loose}")
    if rows:
        head = {"for": "CACHES", "id": "ID", "kind": "KIND", "signs": "USE", "where": "WHERE"} | ({"key": "KEY"} if reveal else {})
        cells = [{**row, "signs": "signs" if row["signs"] else "verifies"} for row in rows]
        show_table([list(head.values()), *([row[name] for name in head] for row in cells)])
        if notes:
            show()
    for note in notes:
        show(note)
    return 0


def _rows(caches: str, keys: list[Key] | list[Key | SigningKey], *, reveal: bool) -> list[dict[str, Any]]:
    signer = next((key for key in keys if key.signs), None)
    rows = []
    for key in keys:
        row = {"for": caches, "id": key.id.hex(), "kind": key.kind, "signs": key is signer, "where": key.where}
        if isinstance(key, SigningKey):
            row["public"] = key.public
        if reveal:
            row["key"] = key.revealed() or getattr(key, "public", "")
        rows.append(row)
    return rows


def _new(*, pair: bool, as_json: bool) -> int:
    if pair:
        made = _signing.new_signing_key()
        if as_json:
            show_json({"id": made.id.hex(), "kind": made.kind, "private": made.revealed(), "public": made.public})
            return 0
        show(f"{_signing.ENVIRONMENT}={made.revealed()}")
        show(f'{_signing.SETTING} = ["{made.public}"]')
        _hint("the first line is secret, for the environment of who writes; the second goes below [tool.hypernodes] of pyproject.toml")
        return 0
    key = _keys.new_key()
    if as_json:
        show_json({"id": key.id.hex(), "kind": key.kind, "key": key.revealed()})
        return 0
    show(key.revealed())
    _hint(f"keep it secret; it goes into {_keys.ENVIRONMENT}, before the keys that are there if it is to sign: NEW,OLD")
    return 0


def _import(source: str, *, first: bool, as_json: bool) -> int:
    keys, problem = _source_keys(source)
    if problem:
        raise ConfigError(problem)
    path = _keys.key_file()
    added = [key.id.hex() for key in _keys.add_to_key_file(path, keys, first=first)]
    signer = _keys.read_key_file(path)[0].id.hex()
    known = [name for key in keys if (name := key.id.hex()) not in added]
    if as_json:
        show_json({"file": str(path), "added": added, "known": known, "signs": signer})
        return 0
    if added:
        show(f"Added to {path}: {listed(added)}")
    if known:
        show(f"Was in {path} already: {listed(known)}")
    show(f"Local caches are signed with {signer}.")
    return 0


def _source_keys(source: str) -> tuple[list[Key], str]:
    where = "standard input" if source == "-" else source
    try:
        content = sys.stdin.read() if source == "-" else Path(source).read_text(encoding="utf-8", errors="surrogateescape")
    except FileNotFoundError:  # not repeated: somebody may have written the key itself there
        return [], "there is no such file to import; the key itself does not go onto the command line, where others see it: use -"
    except (OSError, UnicodeError, ValueError) as error:
        return [], f"the file to import cannot be read: {getattr(error, 'strerror', None) or type(error).__name__}"
    if content.lstrip().startswith("-----BEGIN"):
        return [], f"{where} is a PEM file; local caches take no Ed25519 keys; fix: put its path into {_signing.ENVIRONMENT}"
    keys, problem = _keys.keys_from_lines(content, where)
    return keys, problem or ("" if keys else f"{where} holds no key; {_keys.WHAT_KEYS_ARE}")


def _hint(text: str) -> None:
    print(f"hypernodes: {text}", file=sys.stderr)  # apart from the key, which may be on its way into a variable
