"""Flags that do not go together are refused here, in one line, before anything is read."""

from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from .errors import UsageError
from .options import RANKS, Job, SelectOptions

Test = Callable[[float], bool]


def _at_least(least: int) -> tuple[str, Test]:
    return f"{least} or more", lambda value: value >= least


POSITIVE: tuple[str, Test] = "a number above 0", lambda value: value > 0
SHARE: tuple[str, Test] = "a share from 0 to 1", lambda value: 0 <= value <= 1
PART: tuple[str, Test] = "a share from 0 to below 1", lambda value: 0 <= value < 1
RANGES: dict[str, tuple[str, Test]] = {
    **dict.fromkeys(("lr", "temperature", "latency_ms", "bench_seconds"), POSITIVE),
    **dict.fromkeys(("momentum", "label_smoothing", "distill", "warm_up"), SHARE),
    **dict.fromkeys(("averaging", "held_out"), PART),
    **dict.fromkeys(("epochs", "seed", "weight_decay", "mixup", "max_drop"), _at_least(0)),
    **dict.fromkeys(("images", "multiple", "steps", "patience", "max_batches"), _at_least(1)),
    **dict.fromkeys(("threads", "latency_batch", "input_size", "probe_epochs"), _at_least(1)),
    "batch_size": _at_least(2),
}
"""Numbers with the same range wherever they stand: what is expected, and whether a value is it."""


def check_ranges(options: Any) -> None:
    """Refuse numbers out of range in a tree of options, all of them in one line.

    Raises:
        UsageError: with every flag, what was given and what was expected.
    """
    wrong = list(_out_of_range(options))
    if wrong:
        raise UsageError("; ".join(wrong))


def _out_of_range(options: Any) -> Iterator[str]:
    for field in fields(options):
        value = getattr(options, field.name)
        if is_dataclass(value):
            yield from _out_of_range(value)
        elif field.name in RANGES and value is not None:
            expected, is_fine = RANGES[field.name]
            for number in value if isinstance(value, tuple) else (value,):
                if not is_fine(number):
                    yield f"--{field.name.replace('_', '-')} {number} given; expected {expected}"


def stated_budgets(select: SelectOptions) -> dict[str, float]:
    """Which of keep, macs and params were given, and their shares."""
    values = {name: getattr(select, name) for name in ("keep", "macs", "params")}
    return {name: value for name, value in values.items() if value is not None}


def check_steps(select: SelectOptions) -> None:
    """Several steps need a budget to divide.

    Raises:
        UsageError: no step, or no budget.
    """
    if select.steps > 1 and not stated_budgets(select):
        raise UsageError(
            f"--steps {select.steps} given without a budget to divide; "
            "add one of --keep, --macs or --params"
        )


def check_job(options: Job) -> None:
    """What the flags of the main job must satisfy together, before anything is read.

    Raises:
        UsageError: flags that do not go together, in one line.
    """
    check_budget(options.select)
    if options.data.held_out == 0:
        raise UsageError("--held-out 0 given; held-out images make every choice, so give a share")
    if options.select.cut_depth and options.dry_run:
        raise UsageError("--dry-run given with --cut-depth, which a plan alone cannot decide")
    steps = options.select.steps
    if steps > 1 and options.run.resume:
        raise UsageError(f"--resume given with --steps {steps}; only a single step can be resumed")
    if steps > 1 and options.dry_run:
        raise UsageError(
            f"--dry-run given with --steps {steps}; later steps are planned on retrained networks, "
            "so leave one of them out"
        )


def check_criterion(rank: str) -> None:
    """Refuse a criterion that nobody knows before any work is done.

    Raises:
        UsageError: neither a name nor package.module:callable.
    """
    if rank not in RANKS and ":" not in rank:
        raise UsageError(
            f"--rank {rank}: expected one of {', '.join(RANKS)}, or package.module:callable"
        )


def check_budget(select: SelectOptions) -> None:
    """Exactly one budget, inside its range (or `--max-drop` alone).

    Raises:
        UsageError: all that is wrong, in one line.
    """
    check_ranges(select)
    check_criterion(select.rank)
    check_steps(select)
    if select.cut_depth and not stated_budgets(select):
        raise UsageError(
            "--cut-depth given without a budget to compare at; add --keep, --macs or --params"
        )
    given = {f"--{name}": value for name, value in stated_budgets(select).items()}
    if select.latency_ms is not None and not given:
        _check_widths(select)
        return
    if select.latency_ms is not None:
        given["--latency-ms"] = select.latency_ms
    if not given and select.max_drop is not None:
        _check_widths(select)
        return
    if len(given) != 1:
        what = " and ".join(given) or "no budget"
        raise UsageError(
            f"{what} given; give one of --keep, --macs, --params or --latency-ms, such as "
            "--keep 0.6"
        )
    ((flag, value),) = given.items()
    if not 0 < value <= 1:
        raise UsageError(f"{flag} {value} given; expected a share above 0 and at most 1, like 0.6")
    _check_widths(select)


def _check_widths(select: SelectOptions) -> None:
    if select.hardware_widths and ((select.multiple or 1) > 1 or select.allocate == "uniform"):
        raise UsageError(
            "--hardware-widths given with --multiple or --allocate uniform, which choose the "
            "widths too; leave one of them out"
        )
