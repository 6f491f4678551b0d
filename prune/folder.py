"""The output folder of a run: filled under another name, and given its own when it is whole."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

from .errors import InputError, UsageError
from .progress import Progress, silent, stage

CHECKPOINT = "retraining.pt"
"""Where an interrupted retraining is kept, inside the unfinished folder."""


@contextmanager
def output_folder(out: Path, *, resume: bool = False) -> Iterator[Path]:
    """An unfinished folder beside `out`; it becomes `out` when the block ends well.

    When the block fails, the unfinished folder and the parents made for it are removed, unless it
    was interrupted in a retraining that `--resume` can go on with.

    Raises:
        UsageError: `out` exists and is not an empty folder.
        InputError: the folder cannot be made or written.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"--out {out} holds something already; give another folder or remove it")
    partial = out.with_name(f".{out.name}.partial")
    made = [folder for folder in partial.parents if not folder.exists()]
    try:
        if partial.exists() and not resume:
            shutil.rmtree(partial)
        partial.mkdir(parents=True, exist_ok=True)
        (partial / "run.json").touch()
    except OSError as error:
        raise InputError(
            f"--out {out} cannot be written ({error.strerror}); give another"
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
        raise UsageError(f"--out {path} exists already; give another file or remove it")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = f"--out {path} cannot be written ({error.strerror}); give another"
        raise InputError(message) from None
    if not os.access(path.parent, os.W_OK):
        raise InputError(f"--out {path} cannot be written (no permission); give another")


@dataclass
class Diary:
    """What happened when: seconds per stage, progress bars, and lines of metrics.jsonl.

    Attributes:
        show: draw progress bars on stderr.
        file: metrics.jsonl, or None to keep nothing.
        seconds: by stage, adding up when a stage runs twice.
        warnings: every compromise, in one line each; they end in the report.
        contest: held-out accuracy of every criterion that `--rank auto` tried.
    """

    show: bool = False
    file: Path | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    contest: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[Progress]:
        """Time one stage, with a progress bar where bars are shown."""
        start = perf_counter()
        if self.show:
            with stage(name) as progress:
                yield progress
        else:
            yield silent
        self.seconds[name] = self.seconds.get(name, 0.0) + perf_counter() - start

    def log(self, values: dict[str, Any]) -> None:
        """Append one line to metrics.jsonl."""
        if self.file is not None:
            with self.file.open("a", encoding="utf-8") as lines:
                lines.write(json.dumps(values) + "\n")
