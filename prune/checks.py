"""Options out of range, or that do not go together, are refused here before anything is read."""

import math
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from .errors import UsageError
from .options import RANKS, SelectOptions

Test = Callable[[float], bool]


def _at_least(least: int) -> tuple[str, Test]:
    return f"{least} or more", lambda value: value >= least


def _between(least: int, most: int) -> tuple[str, Test]:
    return f"{least} to {most}", lambda value: least <= value <= most


MAX_NUMBER = 2**53
"""Whole numbers up to this one are exact in float64, which most of them meet sooner or later."""
MAX_SEED = 2**32 - 1
"""The largest that all libraries take, and whose multiples (for epochs and images) fit 64 bits."""
MAX_NAME = 200
"""Bytes; file systems take 255, and names of unfinished files are longer than those of their places
by up to 50."""
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
WIDEST_LAYER = 1_000_000
"""More filters than any layer has."""
MOST_IMAGES = 1_000_000_000
"""More than any data set holds."""

LEAST_OPSET = 11
"""Below it Clip and Pad have another form in ONNX, and runtimes that stop there are gone."""

POSITIVE: tuple[str, Test] = "a number above 0", lambda value: value > 0
SHARE: tuple[str, Test] = "a share from 0 to 1", lambda value: 0 <= value <= 1
PART: tuple[str, Test] = "a share from 0 to below 1", lambda value: 0 <= value < 1
RANGES: dict[str, tuple[str, Test]] = {
    **dict.fromkeys(("lr", "temperature", "latency_ms"), POSITIVE),
    **dict.fromkeys(("momentum", "label_smoothing", "distill", "warm_up"), SHARE),
    **dict.fromkeys(("averaging", "held_out"), PART),
    **dict.fromkeys(("weight_decay", "mixup", "max_drop"), _at_least(0)),
    **dict.fromkeys(("images", "max_batches"), _between(1, MOST_IMAGES)),
    **dict.fromkeys(("probe_epochs", "patience"), _between(1, MOST_PASSES)),
    **dict.fromkeys(("latency_batch", "static_batch", "multiple"), _between(1, LARGEST_BATCH)),
    "at_least": _between(1, WIDEST_LAYER),
    "bench_seconds": ("seconds above 0, a day at most", lambda value: 0 < value <= 86_400),
    "batch_size": _between(2, LARGEST_BATCH),
    "epochs": _between(0, MOST_PASSES),
    **dict.fromkeys(("num_labels", "input_size"), _at_least(1)),
    "opset": _at_least(LEAST_OPSET),
    "steps": _between(1, MOST_STEPS),
    "threads": _between(1, MOST_THREADS),
    "seed": (f"0 or more, and at most {MAX_SEED}", lambda value: 0 <= value <= MAX_SEED),
}
"""Numbers with the same range wherever they stand: what is expected, and whether a value is it."""


def is_finite(value: float) -> bool:
    """Whether a number is neither infinite nor NaN; also of whole numbers of any length.

    >>> is_finite(10**400), is_finite(float("inf"))
    (True, False)
    """
    return isinstance(value, int) or math.isfinite(value)


def fits(value: float) -> bool:
    """Whether a number is finite, and a whole one at most `MAX_NUMBER` on either side of zero."""
    return abs(value) <= MAX_NUMBER if isinstance(value, int) else math.isfinite(value)


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
            expected, is_fine = RANGES.get(field.name, ("finite numbers", fits))
            for number in value if isinstance(value, tuple) else (value,):
                if not isinstance(number, int | float) or (fits(number) and is_fine(number)):
                    continue
                finite = "" if is_finite(number) or field.name not in RANGES else ", and finite"
                yield f"`{field.name}={number}` given; expected {expected}{finite}"


def check_texts(options: Any) -> None:
    """Refuse names that no file system or text file takes, in a tree of options.

    Raises:
        UsageError: a part of a path is too long, or a name is no Unicode or holds a NUL.
    """
    for field in fields(options):
        value = getattr(options, field.name)
        if is_dataclass(value):
            check_texts(value)
        for text in value if isinstance(value, tuple) else (value,):
            if isinstance(text, str | Path) and (reason := unfit_name(str(text))):
                shown = str(text).encode("ascii", "backslashreplace").decode()[:100]
                raise UsageError(f"`{field.name}={shown}` given, {reason}; give another name")


def unfit_name(text: str) -> str:
    """Why a text is no name of a file, folder or label; nothing if it is.

    >>> unfit_name("a\\0b"), unfit_name("images/cat")
    ('which holds a NUL character', '')
    """
    try:
        longest = max(len(part.encode("utf-8")) for part in Path(text).parts or ("",))
    except UnicodeEncodeError:
        return "which is not UTF-8"
    if "\0" in text:
        return "which holds a NUL character"
    return f"with a part longer than {MAX_NAME} bytes" if longest > MAX_NAME else ""


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
