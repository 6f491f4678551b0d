"""Options out of range, or that do not go together, are refused here before anything is read."""

from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from .errors import UsageError
from .options import RANKS, SelectOptions

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
        UsageError: with every option, what was given and what was expected.
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
                    yield f"`{field.name}={number}` given; expected {expected}"


def check_selection(select: SelectOptions) -> None:
    """Exactly one budget, and options that go together, before any work is done.

    Raises:
        UsageError: what is wrong, in one line.
    """
    check_ranges(select)
    check_criterion(select.rank)
    budget = select.budget
    if select.steps > 1 and not budget.is_counted:
        raise UsageError(
            f"`steps={select.steps}` given without a budget to divide; "
            "add one of `keep`, `macs` or `params`"
        )
    if select.cut_depth and not budget.is_counted:
        raise UsageError(
            "`cut_depth` given without a budget to compare at; add `keep`, `macs` or `params`"
        )
    if select.hardware_widths and ((select.multiple or 1) > 1 or select.allocate == "uniform"):
        raise UsageError(
            "`hardware_widths` given with `multiple` or `allocate=uniform`, which choose the "
            "widths too; leave one of them out"
        )


def check_criterion(rank: str) -> None:
    """Refuse a criterion that nobody knows.

    Raises:
        UsageError: neither a name nor package.module:callable.
    """
    if rank not in RANKS and ":" not in rank:
        raise UsageError(
            f"`rank={rank}` given; expected one of {', '.join(RANKS)}, or package.module:callable"
        )
