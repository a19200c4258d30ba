"""Files that are whole or not there, whatever happens while they are written."""

import contextlib
import errno
import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from fuseloom.errors import RunError

__all__ = ["UNFINISHED", "digest", "reporting", "write_whole"]

UNFINISHED = ".part"
"""Ends the name of a file that is being written; one that is found was left by a kill, and is no use."""

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file so that a crash at any moment leaves either the old content or the new one.

    The content goes to ``NAME.part`` beside it, onto the disk, and only then takes the place of ``path``.

    Args:
        path: Where to; its folder must exist.
        content: Bytes, or text, which is written as UTF-8 with its line ends as they are.

    Raises:
        RunError: the disk is full, or the folder cannot be written to.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "notes.txt")
        >>> write_whole(path, "whole")
        >>> path.read_text(), [file.name for file in path.parent.iterdir()]
        ('whole', ['notes.txt'])
    """
    unfinished = path.with_name(path.name + UNFINISHED)
    with reporting(path):
        try:
            with unfinished.open("wb") as file:
                file.write(content.encode() if isinstance(content, str) else content)
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(path)
            _sync_folder(path.parent)
        finally:
            unfinished.unlink(missing_ok=True)


@contextmanager
def reporting(path: Path) -> Iterator[None]:
    """Turn an error of the file system into one that says what to do.

    Args:
        path: What is written.

    Raises:
        RunError: the body met such an error.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        code, reason = _cause(error)
        raise RunError(f"{path} must be writable, got: {reason}. {_remedy(code)}") from error


def digest(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync_folder(folder: Path) -> None:
    """Make the new name survive a power cut too, where a file system can promise that."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _cause(error: Exception) -> tuple[int | None, str]:
    """Number and words of an error; safetensors has the number in its words only."""
    if isinstance(error, OSError):
        return error.errno, error.strerror or str(error)
    found = re.search(r"os error (\d+)", str(error))
    return (int(found[1]), os.strerror(int(found[1]))) if found else (None, str(error))


def _remedy(code: int | None) -> str:
    if code in _FULL:
        return "Free some space and run the same command again: what is finished is kept."
    if code in _FORBIDDEN:
        return "Choose another folder, or make this one writable."
    return "Look after the disk and run the same command again: what is finished is kept."
