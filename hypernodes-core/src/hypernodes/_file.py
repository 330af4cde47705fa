"""A file as an input: what counts is what is in it."""

from __future__ import annotations

import os
from typing import IO, Any, Final

import attrs

from hypernodes._messages import picture
from hypernodes.errors import InputError, OptionError

FILE_MARK: Final = "file:"  # how a file stands among what a value depends on


def _text_of(path: Any) -> str:
    if not isinstance(path, (str, bytes, os.PathLike)):
        raise OptionError(f"File takes the path of a file, got {picture(path)}")
    text = os.fsdecode(path)
    if not text:
        raise InputError("File takes the path of a file, got an empty text")
    scheme, found, _ = text.partition("://")
    if found and scheme.isalnum():
        raise InputError(
            f"File takes the path of a file on this machine, got a {scheme}:// URL.\n"
            f"  fix: fetch it in a node of its own, or pass the URL as text, beside something that changes with its content"
        )
    return text


@attrs.frozen(repr=False)
class File:
    """The path of a file whose content counts.

    As the input of a node it stands for what is in the file, not for where it lies: the node runs again when the
    content changed, and not when the file was only touched, moved or renamed. A parameter annotated ``path: File`` is
    given a ``File`` where a text or a path is passed in. It works inside containers and as an argument of a
    ``@stateful`` class too.

    It can be used wherever a path can (``os.PathLike``). What is left open: a node that looks at the name, at the time
    of modification or beside the file sees more than what counts.

    Args:
        path: The path, a text or an ``os.PathLike``.

    Attributes:
        path: The path as it was given.

    Example:
        >>> @node(output_name="words")
        ... def words(path: File) -> list[str]:
        ...     return path.read_text().split()

    Raises:
        OptionError: If it is given something that is no path.
        InputError: If the path is empty, or a URL.
    """

    path: str = attrs.field(converter=_text_of)

    def __fspath__(self) -> str:
        return self.path

    def __str__(self) -> str:
        return self.path

    def __repr__(self) -> str:
        return f"File({self.path!r})"

    @property
    def name(self) -> str:
        """The last part of the path: ``"data.csv"``."""
        return os.path.basename(self.path)  # noqa: PTH119 - pathlib would be the costliest import of all

    @property
    def suffix(self) -> str:
        """The ending of the name with its dot: ``".csv"``."""
        return os.path.splitext(self.path)[1]  # noqa: PTH122 - as above

    def open(self, mode: str = "rb", **options: Any) -> IO[Any]:
        """Open the file.

        Args:
            mode: As for the builtin ``open``, but binary by default.
            **options: As for the builtin ``open``.
        """
        return open(self.path, mode, **options)  # noqa: PTH123 - as above

    def read_text(self, encoding: str = "utf-8", errors: str | None = None) -> str:
        """Return the content as text.

        Args:
            encoding: How it is written; not left to the machine, so that it reads alike on all.
            errors: As for the builtin ``open``.
        """
        with open(self.path, encoding=encoding, errors=errors) as stream:  # noqa: PTH123 - as above
            return stream.read()

    def read_bytes(self) -> bytes:
        """Return the content."""
        with open(self.path, "rb") as stream:  # noqa: PTH123 - as above
            return stream.read()

    def exists(self) -> bool:
        """Return whether there is a file at the path."""
        return os.path.isfile(self.path)  # noqa: PTH113 - as above


def coerce(value: Any) -> Any:
    """Make a ``File`` of a text or a path; everything else stays as it is.

    Args:
        value: What was passed in for a parameter annotated ``File``.

    Raises:
        InputError: As for ``File``.
    """
    return value if isinstance(value, File) or not isinstance(value, (str, os.PathLike)) else File(value)
