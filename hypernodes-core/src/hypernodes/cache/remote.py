"""A store over any fsspec URL: S3, GCS, Azure, SFTP, memory."""

from __future__ import annotations

import contextlib
import importlib
import itertools
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from hypernodes._messages import counted, listed
from hypernodes.cache._faults import Fault, StoreError, classify, codes
from hypernodes.cache._secrets import redacted, secrets_of, shareable, without_userinfo

if TYPE_CHECKING:
    from typing import Self

_S3: Final = ("s3", "s3a")
_GCS: Final = ("gs", "gcs")
_AZURE: Final = ("abfs", "abfss", "az")
_CREATING: Final = (*_S3, *_GCS, "memory")  # that write a blob only if there is none, in one step
_WHOLE: Final = (*_CREATING, *_AZURE)  # that show a blob whole or not at all
_BULK: Final = (*_S3, *_GCS, *_AZURE)  # that delete many with one request, or a few at a time
_BY_PREFIX: Final = (*_S3, *_GCS)  # that list names by how they begin, wherever a folder ends
_S3_TIMEOUTS: Final = {"connect_timeout": 3, "read_timeout": 4, "retries": {"total_max_attempts": 1}}  # `Storage` tries again
_MOST_DELETED: Final = 1000  # with one request, by S3
_MAGIC: Final = frozenset("*?[")  # what fsspec would take for a pattern
_EXISTS_CODES: Final = frozenset({"412", "PreconditionFailed"})
_RANGE_CODES: Final = frozenset({"416", "InvalidRange"})
_FOLDERS: Final = (IsADirectoryError, NotADirectoryError)  # a name that others begin with, or the reverse: no blob
_PARTIAL: Final = ".partial"

_CREATE_LOCK: Final = threading.Lock()  # fsspec's memory file system looks first and then writes


class FsspecStore:
    """Blobs behind a URL that fsspec understands.

    Nothing is imported or connected before the first call. It works in every thread and after a fork, and travels to
    other processes without its credentials: these find their own in their environment.

    It makes one request per call where the client allows, and tries nothing twice: ``Storage`` does.

    Args:
        url: Where the blobs are, such as ``s3://bucket/prefix``.
        storage_options: What fsspec's file system for that URL takes.
    """

    def __init__(self, url: str, storage_options: Mapping[str, Any] | None = None) -> None:
        self._url = url.rstrip("/") if not url.endswith("://") else url
        self._options = dict(storage_options or {})
        self._left_behind: tuple[str, ...] = ()
        self._made: tuple[int, Any, str] | None = None

    # -- what others see of it ----------------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """Where the blobs are, without credentials."""
        return redacted(self._url, self.secrets)

    @property
    def scheme(self) -> str:
        """The first part of the URL."""
        return self._url.partition("://")[0].partition("::")[0].lower()

    @property
    def remote(self) -> bool:
        """Whether calls can hang."""
        return self.scheme not in {"memory", "file", "local"}

    @property
    def secrets(self) -> frozenset[str]:
        """What messages must not show."""
        return secrets_of(self._url, self._options)

    @property
    def hint(self) -> str:
        """What to do about refused credentials."""
        left = (
            f"{listed(self._left_behind)} stayed where this cache was made, since credentials do not travel; " if self._left_behind else ""
        )
        if self.scheme in _S3:
            return f"{left}renew AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in this process's environment, or its AWS profile"
        if self.scheme in _GCS:
            return f"{left}run `gcloud auth application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS in this process's environment"
        return f"{left}set credentials that are valid in this process" if left else ""

    def __repr__(self) -> str:
        options = f", with {counted(len(self._options), 'storage option')}" if self._options else ""
        return f"<FsspecStore {self.url}{options}>"

    def __getstate__(self) -> dict[str, Any]:
        left = [name for name in self._options if name not in shareable(self._options)]
        url = without_userinfo(self._url)
        if url != self._url:
            left.append("the user in the URL")
        return {"url": url, "options": shareable(self._options), "left_behind": (*self._left_behind, *left)}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self.__init__(state["url"], state["options"])  # type: ignore[misc]
        self._left_behind = state["left_behind"]

    def __copy__(self) -> Self:
        return self  # a copy through the state would lose the credentials

    def __deepcopy__(self, memo: object) -> Self:
        return self

    # -- the file system ----------------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Import what the URL needs, without connecting.

        Raises:
            StoreError: The package that it needs is not installed, or takes other options.
        """
        self._filesystem()

    def _filesystem(self) -> tuple[Any, str]:
        """Return this process's file system, and where the blobs begin in it."""
        made = self._made
        if made is None or made[0] != os.getpid():  # event loops and connections do not survive a fork
            try:
                made = self._made = (os.getpid(), *self._open())
            except (ImportError, TypeError, ValueError) as error:
                text = redacted(f"{type(error).__name__}: {error}", self.secrets)
            else:
                return made[1], made[2]
            raise StoreError(f"{self.url} cannot be opened: {text}")
        return made[1], made[2]

    def _open(self) -> tuple[Any, str]:
        options = dict(self._options)
        if self.scheme in (*_S3, *_GCS):
            options.setdefault("use_listings_cache", False)
        if self.scheme in _S3:
            options.setdefault("max_concurrency", 1)  # with more, it asks for the size before it reads
            options["config_kwargs"] = {**_S3_TIMEOUTS, **options.get("config_kwargs", {})}
        # One of our own: settings of ours must not reach a file system that the user shares with us.
        filesystem, root = importlib.import_module("fsspec.core").url_to_fs(self._url, skip_instance_cache=True, **options)
        if self.scheme in _S3:
            filesystem.retries = 1
        return filesystem, root.rstrip("/")

    # -- blobs --------------------------------------------------------------------------------------------------------

    def put(self, name: str, data: bytes) -> None:
        """Write a blob."""
        filesystem, root = self._filesystem()
        path = f"{root}/{name}"
        if self.scheme in _WHOLE:
            filesystem.pipe_file(path, bytes(data))
            return
        partial = f"{path}.{os.urandom(6).hex()}{_PARTIAL}"  # other threads and hosts may write that name too
        try:
            try:
                filesystem.pipe_file(partial, bytes(data))
            except FileNotFoundError:
                filesystem.makedirs(path.rpartition("/")[0], exist_ok=True)
                filesystem.pipe_file(partial, bytes(data))
            filesystem.mv(partial, path)
        except BaseException:
            with contextlib.suppress(Exception):
                filesystem.rm_file(partial)
            raise

    def get(self, name: str, start: int = 0, end: int | None = None) -> bytes:
        """Return a blob or a range of it."""
        if end is not None and end <= start:
            return b""
        filesystem, root = self._filesystem()
        limits = {} if start == 0 and end is None else {"start": start, "end": end}
        try:
            data = filesystem.cat_file(f"{root}/{name}", **limits)
        except Exception as error:
            if not _RANGE_CODES.isdisjoint(codes(error)):
                return b""  # a range that begins where the blob ends, or behind it
            if isinstance(error, _FOLDERS) or classify(error) is Fault.MISSING:
                raise KeyError(name) from None
            raise
        return data if type(data) is bytes else bytes(data)

    def list(self, prefix: str = "") -> Iterable[str]:
        """Return the names that begin with a prefix."""
        filesystem, root = self._filesystem()
        filesystem.invalidate_cache()
        if self.scheme in _BY_PREFIX:
            # From the bucket on: with no prefix at all s3fs asks once more whether an empty folder is a file.
            bucket, _, folder = root.partition("/")
            paths = filesystem.find(bucket, prefix=f"{folder}/{prefix}" if folder else prefix)
        else:
            try:
                paths = filesystem.find(f"{root}/{prefix}".rpartition("/")[0])
            except FileNotFoundError:
                return []
        begin = len(root) + 1
        names = (path[begin:] for path in paths)
        return [name for name in names if name.startswith(prefix) and name and not name.endswith(_PARTIAL)]

    def delete(self, names: Iterable[str]) -> None:
        """Forget blobs."""
        filesystem, root = self._filesystem()
        for paths in _chunks(f"{root}/{name}" for name in names):
            if self.scheme in _BULK and len(paths) > 1 and not any(_MAGIC.intersection(path) for path in paths):
                try:
                    filesystem.rm(paths)
                except FileNotFoundError:  # whichever it was, the others may still be there
                    pass
                else:
                    continue
            for path in paths:
                with contextlib.suppress(FileNotFoundError, *_FOLDERS):
                    filesystem.rm_file(path)

    @property
    def put_new(self) -> Callable[[str, bytes], bool] | None:
        """Write a blob unless there is one of that name, and return whether it was written; ``None`` where that cannot be had."""
        return self._create if self.scheme in _CREATING else None

    def _create(self, name: str, data: bytes) -> bool:
        filesystem, root = self._filesystem()
        try:
            with _CREATE_LOCK if self.scheme == "memory" else contextlib.nullcontext():
                filesystem.pipe_file(f"{root}/{name}", bytes(data), mode="create")
        except FileExistsError:
            return False
        except Exception as error:
            if _EXISTS_CODES.isdisjoint(codes(error)):  # s3fs has a bare OSError for what some servers answer
                raise
            return False
        return True


def _chunks(paths: Iterator[str]) -> Iterator[list[str]]:
    while chunk := list(itertools.islice(paths, _MOST_DELETED)):
        yield chunk
