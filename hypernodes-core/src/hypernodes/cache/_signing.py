"""Ed25519: who holds the private key writes, everybody who knows the public one can verify.

``cryptography`` comes with the ``signing`` extra and is imported when a key of this kind is read.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, NoReturn

import attrs
from blake3 import blake3

from hypernodes._settings_files import _project
from hypernodes.cache._keys import ID_SIZE, STAYS, base64_bytes
from hypernodes.errors import ConfigError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

ENVIRONMENT: Final = "HYPERNODES_CACHE_SIGNING_KEY"
SETTING: Final = "cache_public_keys"
PREFIX: Final = "ed25519:"
MISSING: Final = 'signing a cache with Ed25519 needs the package cryptography; fix: pip install "hypernodes-core[signing]"'
_SIZE: Final = 32
_SIGNED: Final = b"hypernodes cache 1: block\0"  # a signature made for anything else says nothing about a block
_ID_CONTEXT: Final = "hypernodes cache 1: id of an Ed25519 key"
_PRIVATE: Final = f"{ENVIRONMENT}: neither 32 bytes in base64, as `hypernodes cache key new --ed25519` prints them, nor "
_PUBLIC: Final = '"ed25519:" and 32 bytes in base64, as `hypernodes cache key new --ed25519` prints them'


@attrs.frozen(eq=False)
class SigningKey:
    """An Ed25519 key: its public half, and the private one where we hold it.

    Attributes:
        id: What messages and tags call it: made from the public half.
        where: Where it was found.
        public: The public half as text, for ``cache_public_keys``.
    """

    head: ClassVar[bytes] = b"\x02"
    signature_size: ClassVar[int] = 64
    kind: ClassVar[str] = "ed25519"

    id: bytes
    where: str
    public: str
    _verifier: Ed25519PublicKey = attrs.field(repr=False)
    _signer: Ed25519PrivateKey | None = attrs.field(repr=False, default=None)

    @property
    def signs(self) -> bool:
        """Whether we hold the private half."""
        return self._signer is not None

    def sign(self, data: bytes | memoryview) -> bytes:
        """Return the signature of some bytes; only with the private half."""
        assert self._signer is not None  # noqa: S101 - callers ask `signs`
        signature: bytes = self._signer.sign(_message(data))
        return signature

    def verifies(self, data: bytes | memoryview, signature: bytes) -> bool:
        """Whether some bytes were signed with the private half of this key."""
        from cryptography.exceptions import InvalidSignature

        try:
            self._verifier.verify(signature, _message(data))
        except InvalidSignature:
            return False
        return True

    def revealed(self) -> str:
        """Return the private half as text, ``""`` where we do not hold it."""
        return "" if self._signer is None else base64.b64encode(self._signer.private_bytes_raw()).decode()

    def __reduce__(self) -> NoReturn:
        raise TypeError(STAYS)


def new_signing_key(where: str = "") -> SigningKey:
    """Return a pair of keys that nobody has had before.

    Raises:
        ImportError: ``cryptography`` is not installed.
    """
    return _pair(_ed25519().Ed25519PrivateKey.generate(), where)


def private_key() -> SigningKey | None:
    """Return the key in ``HYPERNODES_CACHE_SIGNING_KEY``; ``None`` if it is empty.

    Raises:
        ConfigError: It is neither a key nor the path of one.
        ImportError: ``cryptography`` is not installed.
    """
    if not os.environ.get(ENVIRONMENT, "").strip():
        return None
    library = _ed25519()
    found = _private_from_text(os.environ.get(ENVIRONMENT, "").strip(), library)
    if isinstance(found, str):
        raise ConfigError(found)
    return _pair(found, ENVIRONMENT)


def public_keys() -> list[SigningKey]:
    """Return the keys in ``[tool.hypernodes] cache_public_keys`` of the project.

    Raises:
        ConfigError: One of them is no key.
        ImportError: There are some, and ``cryptography`` is not installed.
    """
    file = _project()
    texts = [] if file is None else file.table.get(SETTING, [])
    where = "" if file is None else f"{file.where(SETTING)} {SETTING}"
    if isinstance(texts, str) or not isinstance(texts, Sequence):
        msg = f"{where} must be a list of texts, each {_PUBLIC}"
        raise ConfigError(msg)
    found: dict[str, SigningKey] = {}
    for number, text in enumerate(texts, 1):
        data = base64_bytes(text.strip().removeprefix(PREFIX)) if isinstance(text, str) and text.strip().startswith(PREFIX) else None
        if data is None or len(data) != _SIZE:
            msg = f"{where}: entry {number} is no public key; write {_PUBLIC}"
            raise ConfigError(msg)
        key = _named(_ed25519().Ed25519PublicKey.from_public_bytes(data), where)
        found.setdefault(key.public, key)
    return list(found.values())


def _private_from_text(text: str, library: Any) -> Any:
    """Return a private key, or why there is none: errors with the text at hand would show it."""
    raw = base64_bytes(text)
    if raw is not None and len(raw) == _SIZE:
        return library.Ed25519PrivateKey.from_private_bytes(raw)
    if text.startswith("-----BEGIN"):
        content = text.encode("utf-8", "surrogateescape")
    else:
        try:
            content = Path(text).expanduser().read_bytes()
        except (OSError, ValueError, RuntimeError):
            return f"{_PRIVATE}the path of a PEM file that can be read"
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        found = load_pem_private_key(content, None)
    except TypeError:
        return f"{ENVIRONMENT}: the PEM file is encrypted; fix: openssl pkey -in ENCRYPTED -out PLAIN, readable by you alone"
    except (ValueError, UnsupportedAlgorithm):
        return f"{_PRIVATE}a PEM file that holds a private key"
    if not isinstance(found, library.Ed25519PrivateKey):
        return f"{ENVIRONMENT}: the PEM file holds a key of another kind; fix: openssl genpkey -algorithm ed25519 -out KEYFILE"
    return found


def _pair(private: Ed25519PrivateKey, where: str) -> SigningKey:
    return _named(private.public_key(), where, private)


def _named(public: Ed25519PublicKey, where: str, private: Ed25519PrivateKey | None = None) -> SigningKey:
    raw = public.public_bytes_raw()
    found = blake3(raw, derive_key_context=_ID_CONTEXT).digest(ID_SIZE)
    return SigningKey(found, where, PREFIX + base64.b64encode(raw).decode(), public, private)


def _message(data: bytes | memoryview) -> bytes:
    return _SIGNED + blake3(data).digest()  # Ed25519 would read the block twice, and slowly


def _ed25519() -> Any:
    try:
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError as error:
        raise ImportError(MISSING) from error
    return ed25519
