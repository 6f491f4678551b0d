"""What a person sees while a job runs: progress on stderr, one bar a stage, results on stdout.

The core never prints. A long stage takes `progress: Progress` and calls it with (done, total);
`silent` is the default everywhere, so the Python API is quiet.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from .errors import InputError

Progress = Callable[[int, int], None]

stderr = Console(stderr=True)


def silent(done: int, total: int) -> None:
    """Report nothing: the progress of a caller who did not ask for any."""


@contextmanager
def show_bar(title: str) -> Iterator[Progress]:
    """Show one progress bar on stderr for the length of the block."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Bars(*columns, TimeRemainingColumn(), console=stderr, transient=True) as bars:
        task = bars.add_task(title, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)


@dataclass
class RunLog:
    """How a run tells where it is: bars, seconds per stage, lines of metrics.jsonl.

    What was found out on the way is not kept here: functions return it.

    Attributes:
        show: draw progress bars on stderr.
        file: metrics.jsonl, or None to keep nothing.
        seconds: by stage, adding up when a stage runs twice.
    """

    show: bool = False
    file: Path | None = None
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[Progress]:
        """Time one stage, with a progress bar where bars are shown."""
        start = perf_counter()
        if self.show:
            with show_bar(name) as progress:
                yield progress
        else:
            yield silent
        self.seconds[name] = self.seconds.get(name, 0.0) + perf_counter() - start

    def log(self, values: dict[str, Any]) -> None:
        """Append one line to metrics.jsonl. Raises InputError where it cannot be written."""
        if self.file is None:
            return
        try:
            with self.file.open("a", encoding="utf-8") as lines:
                lines.write(json.dumps(values) + "\n")
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise InputError(
                f"{self.file} cannot be written ({reason}); give another place"
            ) from error
