"""What takes the figures of a run as they come, beside metrics.jsonl."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

from ..errors import first_line, on_one_line
from ..terminal import say

NO_FIGURES = ("epoch", "images")
"""Numbers of a row that count something, and measure nothing."""


class Tracker(Protocol):
    """Takes figures by name: "retrain/loss", "final/test_top1", "final/macs".

    Shares are fractions, latencies milliseconds, times seconds.
    """

    def metric(self, name: str, value: float, step: int) -> None:
        """Take one figure; `step` is the epoch, 0 where there is none."""

    def finish(self, failed: bool) -> None:
        """The run is over; `failed` where an error or Ctrl-C ended it."""


def figures_in(values: Mapping[str, Any]) -> dict[str, float]:
    """The measured numbers of a row of metrics.jsonl.

    >>> figures_in({"stage": "retrain", "epoch": 1, "loss": 0.5, "images": 9})
    {'loss': 0.5}
    """
    numbers = {
        name: float(value)
        for name, value in values.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
    return {name: value for name, value in numbers.items() if name not in NO_FIGURES}


def hand_over(tracker: Tracker, prefix: str, values: Mapping[str, Any]) -> bool:
    """Give a tracker the figures of a row; whether it took them.

    A tracker that fails ends no run: what was raised is said.
    """
    try:
        for name, value in figures_in(values).items():
            tracker.metric(f"{prefix}/{name}", value, int(values.get("epoch", 0)))
    except Exception as error:  # a server that is away, a full disk, the user's own code
        _say_failed(tracker, error)
        return False
    return True


@contextmanager
def finishing(tracker: Tracker | None) -> Iterator[None]:
    """Tell a tracker when the block is over, and whether it failed."""
    try:
        yield
    except BaseException:
        _finish(tracker, failed=True)
        raise
    _finish(tracker, failed=False)


def _finish(tracker: Tracker | None, *, failed: bool) -> None:
    if tracker is None:
        return
    try:
        tracker.finish(failed)
    except Exception as error:  # as above
        _say_failed(tracker, error)


def _say_failed(tracker: Tracker, error: Exception) -> None:
    reason = f"{type(error).__name__}: {on_one_line(first_line(error))}"
    say(
        f"prune-dl: note: {type(tracker).__name__} failed ({reason}) and gets no more figures of "
        "this run; metrics.jsonl and the report have them"
    )
