"""Options out of range, or that do not go together, are refused here before anything is read."""

from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from .errors import UsageError
from .options import RANKS, SelectOptions

Test = Callable[[float], bool]


def _at_least(least: int) -> tuple[str, Test]:
    return f"{least} or more", lambda value: value >= least


MAX_NUMBER = 2**53
"""Whole numbers up to this one are exact in float64, which most of them meet sooner or later."""
MAX_SEED = 2**32 - 1
"""The largest that all libraries take, and whose multiples (for epochs and images) fit 64 bits."""
MAX_NAME = 200
"""Bytes; file systems take 255, and names of unfinished files are longer than those of their places
by up to 50."""
POSITIVE: tuple[str, Test] = "a number above 0", lambda value: value > 0
SHARE: tuple[str, Test] = "a share from 0 to 1", lambda value: 0 <= value <= 1
PART: tuple[str, Test] = "a share from 0 to below 1", lambda value: 0 <= value < 1
RANGES: dict[str, tuple[str, Test]] = {
    **dict.fromkeys(("lr", "temperature", "latency_ms", "bench_seconds"), POSITIVE),
    **dict.fromkeys(("momentum", "label_smoothing", "distill", "warm_up"), SHARE),
    **dict.fromkeys(("averaging", "held_out"), PART),
    **dict.fromkeys(("epochs", "weight_decay", "mixup", "max_drop"), _at_least(0)),
    **dict.fromkeys(("images", "multiple", "steps", "patience", "max_batches"), _at_least(1)),
    **dict.fromkeys(("threads", "latency_batch", "input_size", "probe_epochs"), _at_least(1)),
    **dict.fromkeys(("num_labels", "static_batch", "opset"), _at_least(1)),
    "batch_size": _at_least(2),
    "seed": (f"0 or more, and at most {MAX_SEED}", lambda value: 0 <= value <= MAX_SEED),
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
            continue
        expected, is_fine = RANGES.get(field.name, ("a finite number", lambda value: True))
        for number in value if isinstance(value, tuple) else (value,):
            is_number = isinstance(number, int | float)
            if is_number and not (abs(number) <= MAX_NUMBER and is_fine(number)):
                yield f"`{field.name}={number}` given; expected {expected}"


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
