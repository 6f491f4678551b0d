"""What a person sees while a job runs: progress on stderr, one line a stage, results on stdout.

The core never prints. A long stage takes `progress: Progress` and calls it with (done, total);
`silent` is the default everywhere, so the Python API is quiet.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

Progress = Callable[[int, int], None]

stderr = Console(stderr=True)


def silent(done: int, total: int) -> None:
    """Report nothing: the progress of a caller who did not ask for any."""


@contextmanager
def stage(title: str) -> Iterator[Progress]:
    """Show one progress bar on stderr for the length of the block."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Bars(*columns, TimeRemainingColumn(), console=stderr, transient=True) as bars:
        task = bars.add_task(title, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)
