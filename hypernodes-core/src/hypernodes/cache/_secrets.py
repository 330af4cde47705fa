"""What must not be seen: credentials in URLs, in options and in what servers answer."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import unquote

HIDDEN: Final = "***"

# Patterns are compiled when they are first used: most runs have no secrets to hide.
_HIDDEN_OPTION: Final = (
    r"(?i)key|secret|token|passw|pwd|passphrase|credential|auth|signature|(^|_)sas(_|$)|connection_string|user|session|cookie"
)
_HIDDEN_VARIABLE: Final = r"(?i)SECRET|TOKEN(?!IZ)|PASSW|PWD$|CREDENTIAL|_KEY(_ID)?$|APIKEY|CONNECTION_STRING"
# These say where something is, or what it is called. Shells keep the working directory in the first two.
_SHOWN_VARIABLE: Final = r"(?i)^(OLD)?PWD$|_(FILE|FILENAME|PATH|DIR|DIRECTORY|FOLDER|HOME|NAME|HELPER)$"
_WAYS_IN: Final = frozenset({"anon", "browser", "cache", "cloud", "google_default"})  # values of gcsfs's `token` that name a way, no secret
_SHORTEST: Final = 6  # shorter values stand in too many words to be hidden by their text

_USERINFO: Final = (
    r"(?i)([a-z][a-z0-9+.-]*://)[^\s/?#'\"@]*@",
    # A password with a slash in it, as keys of S3 have; a number after the colon is a port.
    r"(?i)([a-z][a-z0-9+.-]*://)[^\s/?#'\"@:]*:(?!\d+(?:[/?#'\"\s]|$))[^\s'\"]*@",
)
_PATTERNS: Final = (
    (
        r"(?i)((?:\b[\w.-]*(?:signature|secret|token|passw(?:or)?d|credential|api[_-]?key|account[_-]?key|access[_-]?key(?:[_-]?id)?)|[?&;]sig)"
        r"[\"']?\s*[=:]\s*[\"']?)[^\s&#,;'\"<>]+"
    ),
    r"(?i)(\b(?:bearer|basic)\s+)[\w.~+/=-]{8,}",
    r"()\b(?:AKIA|ASIA)[A-Z0-9]{12,}\b",
)


def is_secret(name: str, value: object) -> bool:
    """Return whether an option looks like a credential."""
    if value is None or isinstance(value, bool) or (isinstance(value, str) and value in _WAYS_IN):
        return False
    return re.search(_HIDDEN_OPTION, name) is not None and not isinstance(value, Mapping)


def without_userinfo(url: str) -> str:
    """Return a URL, or a text with URLs in it, without user names and passwords."""
    for pattern in _USERINFO:
        url = re.sub(pattern, r"\1", url)
    return url


def shareable(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that may travel: plain values that are no credentials, in nested options too."""
    found: dict[str, Any] = {}
    for name, value in options.items():
        if is_secret(name, value):
            continue
        if isinstance(value, Mapping):
            found[name] = shareable(value)
        elif isinstance(value, str):
            found[name] = without_userinfo(value)
        elif value is None or isinstance(value, (bool, int, float)):
            found[name] = value
        elif isinstance(value, (list, tuple)) and all(isinstance(each, (str, bool, int, float)) for each in value):
            found[name] = type(value)(without_userinfo(each) if isinstance(each, str) else each for each in value)
    return found


def secrets_of(url: str, options: Mapping[str, Any]) -> frozenset[str]:
    """Return the texts that messages about a store must not show."""
    found = set(_values(options, secret=False))
    for userinfo in re.findall(r"://([^/?#\s]*)@", url):
        password = userinfo.partition(":")[2]
        found |= {userinfo, password, unquote(password)}
    return frozenset(text for text in found if len(text) >= _SHORTEST)


def _values(value: object, *, secret: bool) -> Iterator[str]:
    if isinstance(value, Mapping):
        for name, each in value.items():
            yield from _values(each, secret=secret or is_secret(str(name), each))
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from _values(each, secret=secret)
    elif isinstance(value, str) and secret and value not in _WAYS_IN:
        yield value


def redacted(text: str, secrets: frozenset[str] = frozenset()) -> str:
    """Return a URL or a message with ``***`` in place of every credential that can be told.

    Args:
        text: What is to be shown.
        secrets: Texts known to be secret, beside those that look like it and those in the environment.
    """
    for secret in sorted({*secrets, *_ambient()}, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    for pattern in _USERINFO:
        text = re.sub(pattern, rf"\1{HIDDEN}@", text)
    for pattern in _PATTERNS:
        text = re.sub(pattern, rf"\1{HIDDEN}", text)
    return text


def _ambient() -> Iterator[str]:
    """Yield the secrets that the environment holds."""
    for name, value in os.environ.items():
        if len(value) < _SHORTEST or not re.search(_HIDDEN_VARIABLE, name) or re.search(_SHOWN_VARIABLE, name):
            continue
        if os.sep in value and os.path.exists(os.path.expanduser(value)):  # noqa: PTH110, PTH111 - a secret may be no path at all
            continue  # where a key lies is no secret; a bare word may be one, although a file here is called the same
        yield value
