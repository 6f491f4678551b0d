"""The points of a sweep and their files, as they were asked for."""

from dataclasses import replace

from ...budget import Budget, Kind
from ...checks import check_selection
from ...errors import UsageError
from ...options import SelectOptions, Settings
from ..trees import Sweep

SWEPT: tuple[Kind, ...] = ("keep", "macs", "latency_ms")
"""Kinds of budget that a sweep takes several values of."""
ORIGINAL = "original"
"""Name of the network that came in, beside those of the budgets."""


def settings_of(options: Sweep) -> Settings:
    """How every point of a sweep is made."""
    select = SelectOptions(
        rank=options.rank,
        allocate=options.allocate,
        hardware_widths=options.hardware_widths,
        whole=options.whole,
        only=options.only,
        at_least=options.at_least,
        images=options.images,
    )
    return Settings(select, options.retrain, options.bench)


def budgets_of(options: Sweep) -> tuple[Budget, ...]:
    """The points of a sweep, in the order given, each once.

    Raises:
        UsageError: no budget, several kinds, or a value out of range.
    """
    given = {kind: getattr(options, kind) for kind in SWEPT if getattr(options, kind)}
    if len(given) != 1:
        raise UsageError(
            "a sweep takes one of `keep`, `macs` and `latency_ms`, with several values such as "
            "`keep=0.9 0.7 0.5`"
        )
    ((kind, values),) = given.items()
    budgets = tuple({budget.name: budget for budget in (Budget(kind, v) for v in values)}.values())
    check_selection(replace(settings_of(options).select, **{kind: values[0]}))
    if kind == "latency_ms" and options.distributed:
        raise UsageError(
            "`latency_ms` given with `distributed`: tasks beside each other cannot measure "
            "latency; leave one of them out"
        )
    return budgets


def place_of(options: Sweep, name: str) -> str:
    """Which network of a sweep that is, of how many, the original counted."""
    names = [ORIGINAL, *(budget.name for budget in budgets_of(options))]
    return f"network {names.index(name) + 1} of {len(names)}, {name}"


def precisions(options: Sweep) -> tuple[str, ...]:
    """The formats of a sweep's files."""
    wanted = {"float32": True, "float16": options.fp16, "int8": options.int8}
    return tuple(name for name, asked in wanted.items() if asked)
