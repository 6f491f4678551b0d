"""Options out of range, or that do not go together, are refused here before anything is read."""

import math
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from .errors import UsageError
from .options import RANKS, SelectOptions

Test = Callable[[float], bool]


def _at_least(least: int) -> tuple[str, Test]:
    return f"{least} or more", lambda value: value >= least


def _between(least: int, most: int) -> tuple[str, Test]:
    return f"{least} to {most}", lambda value: least <= value <= most


LARGEST_SIDE = 4096
"""Most pixels a side of an image that a network reads: one in colour then takes 200 MB. Classifiers
take 1,024 at most."""
MOST_PASSES = 100_000
"""Most epochs of a training: on the smallest data sets, weeks."""
MOST_THREADS = 1024
"""Most threads: more than the largest servers have cores."""
MOST_STEPS = 100
"""Most steps to a budget: each measures, repairs and retrains the network, and takes a few filters
of a layer at most."""
LARGEST_BATCH = 65_536
"""Most images of one batch: as many as the largest published trainings took over thousands of
devices (arXiv 1811.06992)."""
MOST_IMAGES = 1_000_000_000
"""More than any data set holds."""

POSITIVE: tuple[str, Test] = "a number above 0", lambda value: value > 0
SHARE: tuple[str, Test] = "a share from 0 to 1", lambda value: 0 <= value <= 1
PART: tuple[str, Test] = "a share from 0 to below 1", lambda value: 0 <= value < 1
RANGES: dict[str, tuple[str, Test]] = {
    **dict.fromkeys(("lr", "temperature", "latency_ms"), POSITIVE),
    **dict.fromkeys(("momentum", "label_smoothing", "distill", "warm_up"), SHARE),
    **dict.fromkeys(("averaging", "held_out"), PART),
    **dict.fromkeys(("seed", "weight_decay", "mixup", "max_drop"), _at_least(0)),
    **dict.fromkeys(("images", "max_batches"), _between(1, MOST_IMAGES)),
    **dict.fromkeys(("probe_epochs", "patience"), _between(1, MOST_PASSES)),
    **dict.fromkeys(("latency_batch", "static_batch", "multiple"), _between(1, LARGEST_BATCH)),
    "bench_seconds": ("seconds above 0, a day at most", lambda value: 0 < value <= 86_400),
    "batch_size": _between(2, LARGEST_BATCH),
    "epochs": _between(0, MOST_PASSES),
    **dict.fromkeys(("num_labels", "input_size"), _at_least(1)),
    "steps": _between(1, MOST_STEPS),
    "threads": _between(1, MOST_THREADS),
}
"""Numbers with the same range wherever they stand: what is expected, and whether a value is it."""


def is_finite(value: float) -> bool:
    """Whether a number is neither infinite nor NaN; also of whole numbers of any length.

    >>> is_finite(10**400), is_finite(float("inf"))
    (True, False)
    """
    return isinstance(value, int) or math.isfinite(value)


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
        else:
            expected, is_fine = RANGES.get(field.name, ("finite numbers", is_finite))
            for number in value if isinstance(value, tuple) else (value,):
                if not isinstance(number, int | float) or (is_finite(number) and is_fine(number)):
                    continue
                finite = "" if is_finite(number) or field.name not in RANGES else ", and finite"
                yield f"`{field.name}={number}` given; expected {expected}{finite}"


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
