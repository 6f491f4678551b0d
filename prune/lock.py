"""One writer at a time for every output: a lock that the operating system takes back itself.

.NAME.lock         locked while somebody writes NAME; without a process that holds it, it is nothing
.NAME.lock.json    who holds it, for the one who is refused

The system releases the lock of a process that ends, however it ends, so that a file left by a
crash stops nobody.
"""

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import UsageError
from .files import remove_half_written, unwritable, write_json

if TYPE_CHECKING:
    from filelock import BaseFileLock


@contextmanager
def only_writer(path: Path, option: str = "out") -> Iterator[None]:
    """Be the only one who writes `path` (a file or a folder) for the length of the block.

    Folders that lead to it are made, and removed again where they stay empty. What an earlier
    writer left half written beside it, when it was killed, is removed.

    Args:
        option: the option that names `path`, for the error.

    Raises:
        UsageError: somebody else is writing it.
        InputError: its place cannot be written to.
    """
    made = [folder for folder in path.parents if not folder.exists()]
    file, holder = path.with_name(f".{path.name}.lock"), path.with_name(f".{path.name}.lock.json")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = _acquire(file)
    except (OSError, NotImplementedError) as error:  # the latter where a file system has no locks
        cause = error if isinstance(error, OSError) else OSError(str(error))
        raise unwritable(path, cause) from error
    if lock is None:
        raise UsageError(
            f"`{option}={path}` is being written by {_describe(holder)}; "
            "expected one writer at a time; wait for it, or give another place"
        )
    try:
        write_json(holder, _this_process())
        remove_half_written(path)
        yield
    finally:
        with suppress(OSError):
            holder.unlink()
        with suppress(OSError):  # while it is held, see `_acquire`
            file.unlink()
        lock.release()
        with suppress(OSError):  # another writer may have put something there
            for folder in made:
                folder.rmdir()


def _acquire(file: Path) -> "BaseFileLock | None":
    """The lock, held; None while another holds it.

    The file is unlinked when a lock is given back. One who opened it before, and gets the lock of
    a file that has no name any more, tries again: its inode is kept from being used again, and
    compared.
    """
    from filelock import FileLock, Timeout

    while True:
        known = os.open(file, os.O_CREAT | os.O_RDWR)
        try:
            lock = FileLock(file)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                return None
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(known), os.stat(file)):
                    return lock
            lock.release()
        finally:
            os.close(known)


def _this_process() -> dict[str, str | int]:
    return {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _describe(holder: Path) -> str:
    """Who holds a lock, in words; what the file says is shown, and not trusted further."""
    try:
        facts = json.loads(holder.read_text(encoding="utf-8"))
        pid, host, started = (str(facts[name])[:80] for name in ("pid", "host", "started"))
    except (OSError, ValueError, KeyError, TypeError):  # not written yet
        return "another process"
    return f"process {pid} on {host} since {started}"
