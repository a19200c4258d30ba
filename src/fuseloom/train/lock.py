"""One process at a time works on a run folder."""

import errno
import json
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fuseloom.errors import RunError
from fuseloom.train.files import reporting

__all__ = ["LOCK", "holding"]

LOCK = "lock.json"
"""File in a run folder that names the process at work on it."""


@contextmanager
def holding(folder: Path) -> Iterator[None]:
    """Keep other processes from working on a folder.

    It is made where it is missing, and then gone again if nothing was put there.

    The operating system gives the lock back when a process ends, however it ends, so a kill leaves at most
    the file, which the next process takes over. Between machines that is not certain: there the file counts.
    Windows has no such lock; two runs on one folder are then not told from each other.

    Args:
        folder: A run folder.

    Raises:
        RunError: another process works on it, or it cannot be written to.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> with holding(folder):
        ...     print([file.name for file in folder.iterdir()])
        ['lock.json']
        >>> list(folder.iterdir())
        []
    """
    path, made = folder / LOCK, not folder.exists()
    with reporting(folder):
        folder.mkdir(parents=True, exist_ok=True)
        handle = _acquire(path)
    try:
        _refuse_other_machine(path)
        with reporting(path):
            os.ftruncate(handle, 0)
            os.write(handle, json.dumps({"pid": os.getpid(), **_machine()}).encode())
        try:
            yield
        finally:
            path.unlink(missing_ok=True)  # while it is held, so that nobody else's is removed
    finally:
        os.close(handle)
        if made and not any(folder.iterdir()):
            folder.rmdir()


def _acquire(path: Path) -> int:
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        if not _lock(handle):
            os.close(handle)
            raise RunError(
                f"{path.parent} must be free, got one that {_holder(path)} works on. "
                "Wait for it, end it, or choose another folder."
            )
        if _is_still(path, handle):
            return handle
        os.close(handle)  # its holder removed it in between; the next one is new


def _lock(handle: int) -> bool:
    if sys.platform == "win32":
        return True
    import fcntl

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:  # another number: a file system without locks, which must not stop a run
        return error.errno not in (errno.EWOULDBLOCK, errno.EAGAIN)
    return True


def _is_still(path: Path, handle: int) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _refuse_other_machine(path: Path) -> None:
    """What a kill left here is taken over; a lock of a machine out of sight is left to a person."""
    found, own = _read(path), _machine()
    if found and all(found[name] != own[name] for name in own):
        raise RunError(
            f"{path.parent} must be free, got one that {_holder(path)} works on. "
            f"If that is over, delete {path} and run the same command again."
        )


def _machine() -> dict[str, str]:
    """Name and boot of this machine: containers on it share the second, and restarts of it the first."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    return {"host": platform.node(), "boot": boot.read_text().strip() if boot.is_file() else ""}


def _holder(path: Path) -> str:
    found = _read(path)
    return f"process {found['pid']} on {found['host']}" if found else "another process"


def _read(path: Path) -> dict[str, str]:
    """What a lock says; nothing where it is torn."""
    names = ("pid", "host", "boot")
    try:
        found = json.loads(path.read_bytes())
        return {name: str(found[name]) for name in names}
    except (OSError, ValueError, TypeError, KeyError):
        return {}
