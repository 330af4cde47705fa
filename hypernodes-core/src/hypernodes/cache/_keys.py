"""Keys that sign and verify with one secret: as text, in the environment, and in the user's own file.

A function that is handed the text of a key never raises over it: it returns what is wrong, in words, and the error is
raised where the text is no longer at hand. Tracebacks are shown with local variables by many tools.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import fcntl
import functools
import hashlib
import hmac
import os
import re
import secrets
import stat
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import ClassVar, Final, NoReturn

import attrs
from blake3 import blake3

from hypernodes._settings_files import _user_path
from hypernodes.errors import ConfigError

FILE_NAME: Final = "cache.key"
ENVIRONMENT: Final = "HYPERNODES_CACHE_KEY"
ID_SIZE: Final = 4  # bytes: enough to tell the keys of a team apart, and shown in messages as eight digits
_SIZE: Final = 32
_FEWEST_BYTES: Final = 16
_FEWEST_CHARACTERS: Final = 20
_FEWEST_DISTINCT: Final = 8  # a random key of 16 bytes has fewer different ones once in 2**40
_PATIENCE: Final = 2.0  # seconds for another process to finish writing the file it has just created
_LARGEST_FILE: Final = 1 << 20
_TRIES: Final = 10

_ID_CONTEXT: Final = "hypernodes cache 1: id of a key"
_TAG_CONTEXT: Final = "hypernodes cache 1: tags of blocks"
_PASSPHRASE_CONTEXT: Final = b"hypernodes cache 1: passphrase"

_HEX: Final = re.compile(r"[0-9a-fA-F]{32,}")
_BASE64: Final = re.compile(r"[A-Za-z0-9+/_-]+={0,2}")
_CLASSES: Final = tuple(map(re.compile, ("[A-Z]", "[a-z]", "[0-9]")))
_PLACEHOLDERS: Final = ("$", "{{", "<", "%")

WHAT_KEYS_ARE: Final = (
    f"a key is at least 32 hexadecimal digits, base64 of at least {_FEWEST_BYTES} bytes, or a passphrase of at least "
    f"{_FEWEST_CHARACTERS} characters; `hypernodes cache key new` makes a good one"
)


@attrs.frozen(eq=False)
class Key:
    """A secret that signs blocks and verifies them.

    Attributes:
        id: What messages and tags call it; tells nothing about the secret.
        where: Where it was found.
    """

    head: ClassVar[bytes] = b"\x01"
    signature_size: ClassVar[int] = _SIZE
    kind: ClassVar[str] = "secret"
    signs: ClassVar[bool] = True

    id: bytes
    where: str
    _material: bytes = attrs.field(repr=False)
    _tagging: bytes = attrs.field(repr=False)

    def sign(self, data: bytes | memoryview) -> bytes:
        """Return the signature of some bytes."""
        return blake3(data, key=self._tagging).digest()

    def verifies(self, data: bytes | memoryview, signature: bytes) -> bool:
        """Whether some bytes were signed with this key; takes the same time wherever they differ."""
        return hmac.compare_digest(blake3(data, key=self._tagging).digest(), signature)

    def revealed(self) -> str:
        """Return the secret as text."""
        return self._material.hex()

    def __reduce__(self) -> NoReturn:
        raise TypeError(STAYS)


STAYS: Final = "keys stay in the process that read them; workers read their own from their environment"


def key_of(material: bytes, where: str) -> Key:
    """Return the key that is made of some secret bytes."""
    # Neither the id nor the bytes that sign are the secret itself, so neither gives it away.
    found = blake3(material, derive_key_context=_ID_CONTEXT).digest(ID_SIZE)
    return Key(found, where, material, blake3(material, derive_key_context=_TAG_CONTEXT).digest())


def new_key(where: str = "") -> Key:
    """Return a key that nobody has had before."""
    return key_of(secrets.token_bytes(_SIZE), where)


def key_from_text(text: str, where: str) -> Key | str:
    """Return the key that a text stands for, or why it stands for none.

    Hexadecimal digits and base64 stand for their bytes; anything else is a passphrase. What looks random enough is
    used as it is; a passphrase is stretched, because whoever can read a cache can try passphrases on its tags.
    """
    text = text.strip()
    if text.startswith("ed25519:"):
        return "is the public half of an Ed25519 key, which is no secret; it belongs to [tool.hypernodes] cache_public_keys"
    if text.startswith("-----BEGIN"):
        return "is a PEM file; put the path of a private Ed25519 key into HYPERNODES_CACHE_SIGNING_KEY"
    if text.startswith(_PLACEHOLDERS):
        return f"looks like a placeholder that nobody has filled in; {WHAT_KEYS_ARE}"
    material: bytes | None = None
    if _HEX.fullmatch(text) and len(text) % 2 == 0:
        material = bytes.fromhex(text)
    elif all(each.search(text) for each in _CLASSES):  # words alone are never taken for base64
        material = base64_bytes(text)
    if material is not None and len(material) >= _FEWEST_BYTES:
        return key_of(material, where) if len(set(material)) >= _FEWEST_DISTINCT else f"repeats itself; {WHAT_KEYS_ARE}"
    if len(text) < _FEWEST_CHARACTERS:
        return f"is too short; {WHAT_KEYS_ARE}"
    if len(set(text)) < _FEWEST_DISTINCT:
        return f"repeats itself; {WHAT_KEYS_ARE}"
    material = _stretched(text)
    return f"cannot be used as a passphrase by this Python; {WHAT_KEYS_ARE}" if material is None else key_of(material, where)


def ring_from_text(text: str, where: str) -> tuple[list[Key], str]:
    """Return the keys of a comma-separated text, and what is wrong with it in words, or ``""``."""
    parts = [part for part in text.split(",") if part.strip()]
    keys: list[Key] = []
    for number, part in enumerate(parts, 1):
        found = key_from_text(part, where)
        if isinstance(found, str):
            return [], f"{where}: key {number} of {len(parts)} {found}" if len(parts) > 1 else f"{where}: the key {found}"
        keys.append(found)
    return _distinct(keys), ""


def environment_keys() -> list[Key]:
    """Return the keys in ``HYPERNODES_CACHE_KEY``; an empty one holds none.

    Raises:
        ConfigError: One of them is too weak to be a key.
    """
    keys, problem = ring_from_text(os.environ.get(ENVIRONMENT, ""), ENVIRONMENT)
    if problem:
        raise ConfigError(problem)
    return keys


def base64_bytes(text: str) -> bytes | None:
    """Return what base64 stands for, in either alphabet and with or without its padding; ``None`` if it is no base64."""
    if not _BASE64.fullmatch(text):
        return None
    plain = text.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except binascii.Error:
        return None


@functools.lru_cache(maxsize=16)  # every shared cache that is opened asks again, and it takes 30 ms
def _stretched(text: str) -> bytes | None:
    try:
        return hashlib.scrypt(text.encode("utf-8", "surrogatepass"), salt=_PASSPHRASE_CONTEXT, n=2**14, r=8, p=1, dklen=_SIZE)
    except (AttributeError, ValueError, MemoryError):  # built without scrypt, or forbidden by the machine's policy
        return None


def _distinct(keys: Iterable[Key]) -> list[Key]:
    found: dict[str, Key] = {}
    for key in keys:
        found.setdefault(key.revealed(), key)
    return list(found.values())


# -- the user's own file


class Unreachable(Exception):  # noqa: N818 - a state of affairs that callers act on
    """The user's key file can be neither read nor created; the message says why."""


def key_file() -> Path:
    """Return where the user's own keys stand, whether or not the file is there.

    Raises:
        Unreachable: The user has no home directory.
    """
    settings = _user_path()
    if settings is None:
        raise Unreachable("the user has no home directory")
    return settings.parent / FILE_NAME


def read_key_file(path: Path) -> list[Key]:
    """Return the keys in the user's file, the one that signs first; none where there is no file.

    Raises:
        Unreachable: It is there and cannot be read.
        ConfigError: It holds something else than keys.
    """
    give_up = time.monotonic() + _PATIENCE
    while True:
        keys, problem = _keys_in(path)
        if problem:
            raise ConfigError(problem)
        if keys is None:
            return []
        if keys:
            return keys
        if time.monotonic() > give_up:
            msg = f"{path} holds no key; delete it, and a new one is made, or put one into it: `hypernodes cache key import KEYFILE`"
            raise ConfigError(msg)
        time.sleep(0.02)  # where there are no hard links, another process may be between creating and writing


def own_keys() -> list[Key]:
    """Return the keys in the user's file, and make the file if there is none.

    Raises:
        Unreachable: It can be neither read nor made.
        ConfigError: It holds something else than keys.
    """
    path = key_file()
    keys = read_key_file(path)
    if not keys:
        with _reaching(path), _writing(path):
            _written(path, f"{new_key().revealed()}\n", replace=False)
        keys = read_key_file(path)  # ours, or that of whoever was faster
    if not keys:
        raise Unreachable(f"{path}: it was deleted as soon as it was made")
    return keys


def loose_permissions(path: Path) -> str:
    """Return what others may do with a key file, and the fix, in words; ``""`` if nothing or if there is no file."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return ""
    if not mode & (stat.S_IRWXG | stat.S_IRWXO):
        return ""
    return f"{path} is open to other users of this machine (mode {stat.S_IMODE(mode):04o}), who can run code as you; fix: chmod 600 {path}"


def add_to_key_file(path: Path, keys: Sequence[Key], *, first: bool) -> list[Key]:
    """Put keys into the user's file, and return those that were not in it.

    Args:
        path: The file; made if it is not there.
        keys: What to put in.
        first: Whether they go before what is there, so that the first of them signs from now on. A key that is in
            the file already then moves to its beginning.

    Raises:
        Unreachable: The file can be neither read nor written.
        ConfigError: It holds something else than keys.
    """
    revealed = [key.revealed() for key in keys]
    with _reaching(path), _writing(path):
        for _ in range(_TRIES):
            old = _content(path)
            present, problem = ([], "") if old is None else keys_from_lines(old, str(path))
            if problem:
                raise ConfigError(problem)
            known = {key.revealed() for key in present}
            added = [key for key in keys if key.revealed() not in known]
            before = (old or "").splitlines()
            if first:
                lines = [*revealed, *(line for line in before if line.strip() not in revealed)]
            else:
                lines = [*before, *(key.revealed() for key in added)]
            # A file that has come into being meanwhile holds the key of another process: it is read before it is replaced.
            if _written(path, "".join(f"{line}\n" for line in lines), replace=old is not None):
                return added
    raise Unreachable(f"{path}: others keep making and deleting it")


def keys_from_lines(content: str, where: str) -> tuple[list[Key], str]:
    """Return the keys of a file, each on a line, and what is wrong with it in words, or ``""``; ``#`` begins a comment."""
    keys: list[Key] = []
    for number, line in enumerate(content.splitlines(), 1):
        if not line.lstrip().startswith("#"):
            found, problem = ring_from_text(line, f"{where}, line {number}")
            if problem:
                return [], problem
            keys += found
    return _distinct(keys), ""


def _keys_in(path: Path) -> tuple[list[Key] | None, str]:
    content = _content(path)
    return (None, "") if content is None else keys_from_lines(content, str(path))


def _content(path: Path) -> str | None:
    with _reaching(path):
        try:
            with path.open("rb") as file:
                return file.read(_LARGEST_FILE).decode("utf-8", "surrogateescape")
        except (FileNotFoundError, NotADirectoryError):
            return None


def _written(path: Path, content: str, *, replace: bool) -> bool:
    """Write a file whole or not at all, for its owner only; whether it was written: not if it is there and may not be replaced."""
    path = Path(os.path.realpath(path))  # a link to a file elsewhere stays a link
    number, name = tempfile.mkstemp(prefix=f".{FILE_NAME}.", dir=path.parent)  # made with mode 0600
    temporary = Path(name)
    try:
        with os.fdopen(number, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            temporary.replace(path)
            return True
        try:
            path.hardlink_to(temporary)
        except FileExistsError:
            return False
        except OSError:  # a file system without hard links
            return _written_in_place(path, content)
        return True
    finally:
        temporary.unlink(missing_ok=True)


def _written_in_place(path: Path, content: str) -> bool:
    try:
        number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return False
    with os.fdopen(number, "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(content)
    return True


@contextlib.contextmanager
def _reaching(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Unreachable(f"{path}: {error.strerror or type(error).__name__}") from error


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Make the folder of a file and keep other processes from changing the file; without locks, the last one wins."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    number = os.open(path.parent, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(number, fcntl.LOCK_EX)
        yield
    finally:
        os.close(number)
