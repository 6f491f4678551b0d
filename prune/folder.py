"""The output folder of a run: filled under another name, and given its own when it is whole."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import InputError, UsageError

CHECKPOINT = "retraining.pt"
"""Where an interrupted retraining is kept, inside the unfinished folder."""


@contextmanager
def output_folder(out: Path, *, resume: bool = False) -> Iterator[Path]:
    """An unfinished folder beside `out`; it becomes `out` when the block ends well.

    When the block fails, the unfinished folder and the parents made for it are removed, unless it
    was interrupted in a retraining that can be gone on with.

    Raises:
        UsageError: `out` exists and is not an empty folder.
        InputError: the folder cannot be made or written.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"`out={out}` holds something already; give another folder or remove it")
    partial = out.with_name(f".{out.name}.partial")
    made = [folder for folder in partial.parents if not folder.exists()]
    try:
        if partial.exists() and not resume:
            shutil.rmtree(partial)
        partial.mkdir(parents=True, exist_ok=True)
        (partial / "run.json").touch()
    except OSError as error:
        raise InputError(
            f"`out={out}` cannot be written ({error.strerror}); give another place"
        ) from None
    try:
        yield partial
    except BaseException as error:
        resumable = isinstance(error, KeyboardInterrupt) and (partial / CHECKPOINT).exists()
        if not resumable:
            shutil.rmtree(partial, ignore_errors=True)
            with suppress(OSError):  # another run may have put its folder there
                for folder in made:
                    folder.rmdir()
        raise
    (partial / CHECKPOINT).unlink(missing_ok=True)
    if out.exists():
        out.rmdir()
    os.replace(partial, out)


def check_writable(path: Path) -> None:
    """Fail before the work, not after it, when a file cannot be written.

    Raises:
        UsageError: the file exists already.
        InputError: its folder cannot be made or written.
    """
    if path.exists():
        raise UsageError(f"`out={path}` exists already; give another file or remove it")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = f"`out={path}` cannot be written ({error.strerror}); give another place"
        raise InputError(message) from None
    if not os.access(path.parent, os.W_OK):
        raise InputError(f"`out={path}` cannot be written (no permission); give another place")
