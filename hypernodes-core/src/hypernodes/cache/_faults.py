"""What went wrong in a store: the many errors of many clients, told apart by what can be done about them."""

from __future__ import annotations

import enum
import errno
from collections.abc import Iterator
from typing import Any, Final

from hypernodes.errors import HyperNodesError


class StoreError(HyperNodesError, OSError):
    """A store could not do what it was asked; the message says why and holds no credentials."""


class Fault(enum.Enum):
    """What can be done about an error."""

    MISSING = "there is no such blob"
    TRANSIENT = "another attempt may succeed"
    DENIED = "these credentials may not do this"
    CREDENTIALS = "these credentials are of no use for anything"
    FULL = "nothing more can be written here"
    NOWHERE = "what should hold the blobs does not exist"
    UNUSABLE = "the store itself says that it cannot work"
    BROKEN = "anything else"


_NOWHERE_CODES: Final = frozenset({"NoSuchBucket", "InvalidBucketName", "ContainerNotFound"})
_CREDENTIAL_CODES: Final = frozenset(
    "401 AuthFailure AuthorizationHeaderMalformed ExpiredToken ExpiredTokenException InvalidAccessKeyId InvalidClientTokenId "
    "InvalidSecurity InvalidToken RequestExpired RequestTimeTooSkewed SignatureDoesNotMatch TokenRefreshRequired".split()
)
_DENIED_CODES: Final = frozenset({"403", "AccessDenied", "AccountProblem", "AllAccessDisabled", "MethodNotAllowed"})
_TRANSIENT_CODES: Final = frozenset(
    "408 409 429 500 502 503 504 BadDigest ConditionalRequestConflict IncompleteBody InternalError OperationAborted RequestTimeout "
    "ServiceUnavailable SlowDown Throttling ThrottlingException TooManyRequests XAmzContentSHA256Mismatch".split()
)
# By name, because the modules that define them need not be installed, and importing them is slow.
_CREDENTIAL_TYPES: Final = frozenset(
    "ClientAuthenticationError CredentialRetrievalError DefaultCredentialsError NoAuthTokenError NoCredentialsError "
    "PartialCredentialsError RefreshError SSOTokenLoadError TokenRetrievalError UnauthorizedSSOTokenError".split()
)
_TRANSIENT_TYPES: Final = frozenset(
    "BusyLoadingError ChecksumError ChunkedEncodingError ClientConnectionError ClientPayloadError ConnectionError FlexibleChecksumError "
    "HTTPClientError IncompleteRead IncompleteReadError ProtocolError ProxyError ResponseStreamingError ServiceRequestError "
    "ServiceResponseError Timeout TimeoutError".split()
)
_TRANSIENT_NUMBERS: Final = frozenset(
    getattr(errno, name)
    for name in "EAGAIN EBUSY ECONNABORTED ECONNREFUSED ECONNRESET EHOSTUNREACH ENETDOWN ENETUNREACH EPIPE EREMOTEIO ETIMEDOUT".split()
    if hasattr(errno, name)
)
_FULL_NUMBERS: Final = frozenset(getattr(errno, name) for name in "EDQUOT EFBIG ENOSPC EROFS".split() if hasattr(errno, name))
_CHAIN: Final = 5  # how many causes are looked at


def codes(error: BaseException) -> list[str]:
    """Return what the server called an error, most telling first: its own word, then the HTTP status."""
    words: list[str] = []
    numbers: list[str] = []
    for each in _chain(error):
        response: Any = getattr(each, "response", None)
        if isinstance(response, dict):
            words.append(str(response.get("Error", {}).get("Code", "")))
            numbers.append(str(response.get("ResponseMetadata", {}).get("HTTPStatusCode", "")))
        for name in ("error_code", "code", "status", "status_code"):
            value = getattr(each, name, None)
            if isinstance(value, (int, str)) and not isinstance(value, bool):
                (numbers if str(value).isdigit() else words).append(str(value))
    return [code for code in (*words, *numbers) if code]


def _chain(error: BaseException) -> Iterator[BaseException]:
    each: BaseException | None = error
    for _ in range(_CHAIN):
        if each is None:
            return
        yield each
        each = each.__cause__


def classify(error: BaseException) -> Fault:
    """Return what can be done about an error of a store, whichever client it comes from."""
    if isinstance(error, StoreError):
        return Fault.UNUSABLE
    said = codes(error)
    for known, fault in (
        (_NOWHERE_CODES, Fault.NOWHERE),
        (_CREDENTIAL_CODES, Fault.CREDENTIALS),
        (_DENIED_CODES, Fault.DENIED),
        (_TRANSIENT_CODES, Fault.TRANSIENT),
    ):
        if not known.isdisjoint(said):
            return fault
    types = {kind.__name__ for each in _chain(error) for kind in type(each).__mro__}
    if not _CREDENTIAL_TYPES.isdisjoint(types):
        return Fault.CREDENTIALS
    if isinstance(error, (KeyError, FileNotFoundError)):
        return Fault.MISSING
    if isinstance(error, PermissionError) or str(error).startswith("Forbidden:"):  # the latter is how gcsfs says it
        return Fault.DENIED
    number = error.errno if isinstance(error, OSError) else None
    if number in _FULL_NUMBERS:
        return Fault.FULL
    transient = isinstance(error, (TimeoutError, ConnectionError, EOFError)) or number in _TRANSIENT_NUMBERS
    return Fault.TRANSIENT if transient or not _TRANSIENT_TYPES.isdisjoint(types) else Fault.BROKEN
