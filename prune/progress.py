"""What a person sees while a job runs: a bar on stderr, and a line for every finished stage.

The core never prints. A long stage takes `progress: Progress` and calls it with (done, total);
`silent` is the default everywhere, so the Python API is quiet.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any, TypeVar

from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars
from rich.progress import TimeRemainingColumn as TimeLeftColumn

from .errors import InputError
from .terminal import duration, logger, say, stderr
from .tracking.tracker import Tracker, hand_over

Progress = Callable[[int, int], None]
Pair = TypeVar("Pair", bound=Sequence[Any])

NARROW = 80
"""Columns below which a bar is short."""


def silent(done: int, total: int) -> None:
    """Report nothing: the progress of a caller who did not ask for any."""


@contextmanager
def show_bar(title: str) -> Iterator[Progress]:
    """Show one bar on stderr for the length of the block, where stderr is a terminal.

    Until something is counted the bar only moves. It shows what has passed and, as soon as the
    total is known, the time that is left at the present speed.
    """
    if not stderr.is_terminal:
        yield silent
        return
    width = 10 if stderr.width < NARROW else 24
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description} {task.fields[count]}"),
        BarColumn(bar_width=width),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}"),
        TimeLeftColumn(compact=True),
    )
    with Bars(*columns, console=stderr, transient=True) as bars:
        task = bars.add_task(title, total=None, count="", left="")

        def progress(done: int, total: int) -> None:
            count, left = f"{done:,} of {total:,}", "left"
            bars.update(task, completed=done, total=total, count=count, left=left)

        yield progress


def counted(
    batches: Iterable[Pair], progress: Progress, total: int, *, before: int = 0
) -> Iterator[Pair]:
    """The same batches; whoever goes through them reports how many images are done.

    Args:
        batches: pairs of inputs and labels, (N, ...) and (N,).
        total: images of all passes together. before: those of passes that are done.
    """
    done = before
    for batch in batches:
        yield batch
        done += len(batch[1])
        progress(min(done, total), total)


@dataclass
class RunLog:
    """How a run tells where it is: bars, seconds per stage, lines of metrics.jsonl.

    What was found out on the way is not kept here: functions return it.

    Attributes:
        show: draw progress bars on stderr, and say there what is finished.
        file: metrics.jsonl, or None to keep nothing.
        seconds: by stage, adding up when a stage runs twice.
        expected: the stages to come, in their order; empty where nobody knows them.
        tracker: gets the figures of every line of metrics.jsonl too; None for nobody.
    """

    show: bool = False
    file: Path | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    expected: Sequence[str] = ()
    tracker: Tracker | None = None
    _next: int = field(default=0, init=False, repr=False)
    _within: tuple[str, ...] = field(default=(), init=False, repr=False)

    @contextmanager
    def stage(self, name: str) -> Iterator[Progress]:
        """Time one stage, with a progress bar where bars are shown; say when it is finished."""
        title, start = self._title(name), perf_counter()
        logger.debug("%s ...", title)
        if self.show:
            with show_bar(title) as progress:
                yield progress
        else:
            yield silent
        seconds = perf_counter() - start
        self.seconds[name] = self.seconds.get(name, 0.0) + seconds
        say(f"{title}: {duration(seconds)}", show=self.show)

    @contextmanager
    def within(self, words: str) -> Iterator[None]:
        """Say before the name of every stage in the block what it is a part of: "step 2 of 3"."""
        before = self._within
        self._within = (*before, words)
        try:
            yield
        finally:
            self._within = before

    def _title(self, name: str) -> str:
        """The name of a stage after what it is a part of, and after its place among those expected,
        if it is one of them."""
        title = ", ".join((*self._within, name))
        if name not in self.expected[self._next :]:
            return title
        self._next = self.expected.index(name, self._next) + 1
        num = len(self.expected)
        return f"[{self._next:{len(str(num))}}/{num}] {title}"

    def tried(self, words: str) -> None:
        """Say what came of one of several networks that a stage tries."""
        say(f"  {words}", show=self.show)

    def epoch(self, row: Mapping[str, Any], epochs: int) -> None:
        """Say what came of one epoch of a training."""
        say(f"  {words_of_epoch(row, epochs)}", show=self.show)

    def figures(self, stage: str, values: Mapping[str, Any]) -> None:
        """Give the tracker, if there is one, figures of a stage."""
        prefix = "/".join((*self._within, stage))
        if self.tracker is not None and not hand_over(self.tracker, prefix, values):
            self.tracker = None

    def log(self, values: dict[str, Any]) -> None:
        """Append one line to metrics.jsonl, and give its figures to the tracker.

        Raises InputError where it cannot be written.
        """
        self.figures(values["stage"], values)
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


HELD_OUT = "held_out_"


def words_of_epoch(row: Mapping[str, Any], epochs: int) -> str:
    """One epoch's row of a training in words.

    >>> words_of_epoch({"epoch": 3, "loss": 0.25, "held_out_top1": 0.912, "seconds": 9}, 10)
    'epoch 3 of 10: loss 0.25, held-out top-1 91.20 %, 9.0 s'
    """
    words = [f"loss {row['loss']:.4g}"]
    for key, value in row.items():
        if key.startswith(HELD_OUT):
            name = key.removeprefix(HELD_OUT).replace("top1", "top-1").replace("_", " ")
            words.append(f"held-out {name} {100 * value:.2f} %")
    words.append(duration(row["seconds"]))
    return f"epoch {row['epoch']} of {epochs}: {', '.join(words)}"
