"""How a command tells where it is: the stages that it will go through, in their order."""

from pathlib import Path

from ..options import RetrainOptions, RunOptions, SelectOptions
from ..progress import RunLog
from ..tracking.tracker import Tracker
from .trees import Evaluate, Export, Job, Rank, Train

OPENED = ("load", "open the data", "settle the inputs")
DELIVERED = ("export", "evaluate", "benchmark", "forecast")


def log_of(
    run: RunOptions,
    expected: tuple[str, ...] = (),
    file: Path | None = None,
    tracker: Tracker | None = None,
) -> RunLog:
    """The log of a command; `file` is its metrics.jsonl."""
    return RunLog(show=not run.quiet, file=file, expected=expected, tracker=tracker)


def stages_of(options: Job | Train | Rank | Export | Evaluate) -> tuple[str, ...]:
    """The stages of a command; none where what is found on the way decides how many there are.

    >>> from ..options import NetworkOptions
    >>> stages_of(Evaluate(NetworkOptions("net.pt")))
    ('load', 'open the data', 'settle the inputs', 'evaluate')
    """
    match options:
        case Train():
            return "load", "train", "evaluate"
        case Evaluate():
            return (*OPENED, "evaluate")
        case Export():
            return (*OPENED, "export", *["test"] * options.test)
        case Rank():
            return (*OPENED, *_of_rank(options))
        case Job(dry_run=True):
            return (*OPENED, *_of_plan(options.select))
        case Job(select=SelectOptions(cut_depth=True)):
            return ()
        case Job():
            step = (*_of_plan(options.select), *_of_removal(options.retrain))
            return (*OPENED, *step * options.select.steps, *DELIVERED)


def _of_plan(select: SelectOptions) -> tuple[str, ...]:
    widths = bool(select.hardware_widths or select.latency_ms)
    sensitivity = select.allocate == "output"
    return (
        *("trace", "measure", *["widths"] * widths),
        *(*["sensitivity"] * sensitivity, "rank", "allocate"),
    )


def _of_removal(retrain: RetrainOptions) -> tuple[str, ...]:
    return "remove", "repair", *["retrain"] * bool(retrain.epochs)


def _of_rank(options: Rank) -> tuple[str, ...]:
    return "trace", "measure", *["train the probes"] * (options.probe != "ridge"), "rank"
