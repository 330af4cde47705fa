"""Tags on the blocks of a cache, and whom to believe.

A block carries one tag over everything in it. A tag is a byte that names its kind, the id of a key, and a signature:

====  ==================  =======================================================
kind  id of a key         what follows
====  ==================  =======================================================
0     none                blake3 of the block: it is intact, and nobody vouches
1     4 bytes             blake3 of the block under a secret key
2     4 bytes             Ed25519 signature of the block's blake3
====  ==================  =======================================================

In plain words: whoever holds a key that signs can run code as you, because blocks that verify are unpickled. Whoever
can write to a root that nobody signs can give you wrong data, but cannot run code. Everybody else can cause misses.
"""

from __future__ import annotations

import enum
import functools
import hmac
import threading
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Final

import attrs
from blake3 import blake3

from hypernodes._messages import counted, listed
from hypernodes.cache import _keys, _signing
from hypernodes.cache._keys import Key
from hypernodes.cache._signing import SigningKey
from hypernodes.errors import CacheWarning, ConfigError

_CHECKSUM: Final = b"\x00"
_HEAD: Final = 1 + _keys.ID_SIZE
_SIZES: Final = {kind.head: _HEAD + kind.signature_size for kind in (Key, SigningKey)}
_MANY_KEYS: Final = 16  # that are counted one by one: tags are made by others, and must not fill our memory


class Verdict(enum.Enum):
    """What a tag says about a block.

    Attributes:
        TRUSTED: It was signed with a key that this user trusts: it may be unpickled.
        PLAIN: It is intact, and nobody vouches for it: what is data only may be read.
        FOREIGN: It was signed with a key that this user does not have: it is a miss, and is counted.
        BROKEN: It is not what was written.
    """

    TRUSTED = "trusted"
    PLAIN = "plain"
    FOREIGN = "foreign"
    BROKEN = "broken"


@attrs.frozen(eq=False, repr=False)
class Keyring:
    """The keys for a root. It may be pickled: it travels without them, and reads its own where it arrives.

    Args:
        local: Whether the root belongs to this user and machine.
        keys: Those to accept; the first that can sign does.

    Example:
        >>> keyring = keyring_for(local=True)
        >>> tag = keyring.tag(b"a block")
        >>> keyring.check(b"a block", tag)
        <Verdict.TRUSTED: 'trusted'>
        >>> keyring.check(b"a clock", tag)
        <Verdict.BROKEN: 'broken'>
    """

    local: bool
    keys: tuple[Key | SigningKey, ...]
    _signer: Key | SigningKey | None = attrs.field(init=False)
    _foreign: set[bytes] = attrs.field(init=False, factory=set)
    _lock: Any = attrs.field(init=False, factory=threading.Lock)

    @_signer.default
    def _first_that_signs(self) -> Key | SigningKey | None:
        return next((key for key in self.keys if key.signs), None)

    @property
    def may_pickle(self) -> bool:
        """Whether results that need pickle may be written: only under a key of ours."""
        return self._signer is not None

    @property
    def reads_plain(self) -> bool:
        """Whether data that nobody vouches for should be read.

        Whoever can sign finds everything of their own signed. Were they to believe what is not, whoever can write to
        the root could put wrong data beside theirs by leaving the signature out.
        """
        return self._signer is None

    def tag(self, data: bytes | memoryview) -> bytes:
        """Return the tag of a block: signed with the first key that can, else a checksum."""
        signer = self._signer
        if signer is None:
            return _CHECKSUM + blake3(data).digest()
        return signer.head + signer.id + signer.sign(data)

    def check(self, data: bytes | memoryview, tag: bytes | memoryview) -> Verdict:
        """Return what a tag says about a block. Whatever the two hold, it never raises.

        Args:
            data: The block, as it was read.
            tag: Its tag, as it was read.
        """
        tag = bytes(tag)
        if tag[:1] == _CHECKSUM:
            return Verdict.PLAIN if hmac.compare_digest(tag[1:], blake3(data).digest()) else Verdict.BROKEN
        if len(tag) != _SIZES.get(tag[:1]):
            return Verdict.BROKEN
        known = [key for key in self.keys if key.id == tag[1:_HEAD] and key.head == tag[:1]]
        if not known and not any(tag[1:_HEAD]):
            return Verdict.BROKEN  # nobody's key; zeros are what a power cut leaves
        if not known:
            self._meet(tag[:_HEAD])
            return Verdict.FOREIGN
        return Verdict.TRUSTED if any(key.verifies(data, tag[_HEAD:]) for key in known) else Verdict.BROKEN

    def _meet(self, head: bytes) -> None:
        with self._lock:
            self._foreign.add(head if head in self._foreign or len(self._foreign) < _MANY_KEYS else head[:1])

    def foreign(self) -> list[str]:
        """Return the ids of keys that were met and are not held here; ``"others"`` where there were too many."""
        with self._lock:
            return sorted({head[1:].hex() or "others" for head in self._foreign})

    def foreign_note(self, root: str, results: int) -> str | None:
        """Return one line for the end of a run about what was missed because of its key, or ``None``.

        Args:
            root: What messages call the cache.
            results: How many results other keys signed there, as far as that is known; else 0.
        """
        found = self.foreign()
        if not found:
            return None
        what, were = (counted(results, "result"), "was" if results == 1 else "were") if results else ("results", "were")
        if len(found) == 1:
            key, it, half = f"{'another' if self.keys else 'a'} key (id {found[0]})", "it", "its public half"
        else:
            key, it, half = f"{'other ' if self.keys else ''}keys (ids {listed(found, limit=4)})", "them", "their public halves"
        with self._lock:
            kinds = {head[:1] for head in self._foreign}
        ways = []
        if Key.head in kinds:
            ways.append(f"add {it} with `hypernodes cache key import KEYFILE`" if self.local else f"put {it} into {_keys.ENVIRONMENT}")
        if SigningKey.head in kinds and not self.local:  # a local root believes nobody else
            ways.append(f"put {half} into [tool.hypernodes] {_signing.SETTING}")
        fix = f"; fix: {', or '.join(ways)}" if ways else ""
        return f"{what} in {root} {were} written under {key} and {were} not used{fix}"

    def __repr__(self) -> str:
        root = "a local" if self.local else "a shared"
        if not self.keys:
            return f"<keyring of {root} root: no keys>"
        signing = f"signs with {self._signer.id.hex()}" if self._signer is not None else "cannot sign"
        return f"<keyring of {root} root: {signing}, accepts {listed(key.id.hex() for key in self.keys)}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return (_arrived, (self.local,))


def keyring_for(local: bool) -> Keyring:  # noqa: FBT001 - the one thing there is to say
    """Return the keys for a root, as user, environment and project have them now.

    Args:
        local: Whether the root belongs to this user and machine: then the user's own key signs, made when it is first
            needed. Any other root is signed with ``HYPERNODES_CACHE_SIGNING_KEY`` or ``HYPERNODES_CACHE_KEY``.

    Raises:
        ConfigError: What stands for a key is none, or a weak one.
        ImportError: There are Ed25519 keys, and ``cryptography`` is not installed.
    """
    return _keyring(local=local, tell=_tell)


def _arrived(local: bool) -> Keyring:  # noqa: FBT001 - the arguments of a pickle have no names
    # The user was told by the process that this comes from; a pool of workers saying it again helps nobody.
    return _keyring(local=local, tell=lambda _: None)


def _keyring(*, local: bool, tell: Callable[[str], None]) -> Keyring:
    if local:
        return Keyring(local=True, keys=tuple(_local_keys(tell)))
    keys = shared_keys()
    if not keys:
        tell(
            "a shared cache is used without a key: only results that need no pickle are read and kept there; "
            f"fix: set {_keys.ENVIRONMENT} (`hypernodes cache key new` makes one)"
        )
    return Keyring(local=False, keys=tuple(keys))


def shared_keys() -> list[Key | SigningKey]:
    """Return the keys for roots that are shared, the one that signs first.

    Raises:
        ConfigError: What stands for a key is none, or a weak one.
        ImportError: There are Ed25519 keys, and ``cryptography`` is not installed.
    """
    private = _signing.private_key()
    public = [key for key in _signing.public_keys() if private is None or key.id != private.id]
    # Who was given a private key is to sign with it: those who only verify can read nothing else.
    return [*([private] if private is not None else []), *_keys.environment_keys(), *public]


def _local_keys(tell: Callable[[str], None]) -> Sequence[Key]:
    try:
        keys = _keys.own_keys()
        loose = _keys.loose_permissions(_keys.key_file())
    except _keys.Unreachable as error:
        tell(
            f"there is no place for the key of local caches ({error}), so that what is kept now is of use to this process alone; "
            "fix: set XDG_CONFIG_HOME to a directory that can be written"
        )
        return [_key_of_this_process()]
    except ConfigError as error:
        tell(f"what local caches keep now is of use to this process alone: {error}")
        return [_key_of_this_process()]
    if loose:
        tell(loose)
    return keys


@functools.cache
def _key_of_this_process() -> Key:
    return _keys.new_key("this process")


_TOLD: Final[set[str]] = set()


def _tell(text: str) -> None:
    if text not in _TOLD:
        _TOLD.add(text)
        warnings.warn(text, CacheWarning, stacklevel=4)
