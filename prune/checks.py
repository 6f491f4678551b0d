"""Flags that do not go together are refused here, in one line, before anything is read."""

from .config import RANKS, Job, SelectOptions
from .errors import UsageError


def stated_budgets(select: SelectOptions) -> dict[str, float]:
    """Which of keep, macs and params were given, and their shares."""
    values = {name: getattr(select, name) for name in ("keep", "macs", "params")}
    return {name: value for name, value in values.items() if value is not None}


def check_steps(select: SelectOptions) -> None:
    """Several steps need a budget to divide.

    Raises:
        UsageError: no step, or no budget.
    """
    if select.steps < 1:
        raise UsageError(f"--steps {select.steps} given; expected 1 or more")
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
    check_criterion(select.rank)
    check_steps(select)
    if select.cut_depth and not stated_budgets(select):
        raise UsageError(
            "--cut-depth given without a budget to compare at; add --keep, --macs or --params"
        )
    given = {f"--{name}": value for name, value in stated_budgets(select).items()}
    if select.latency_ms is not None and not given:
        if select.latency_ms <= 0:
            raise UsageError(
                f"--latency-ms {select.latency_ms} given; expected milliseconds above 0"
            )
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
    if select.hardware_widths and (select.multiple > 1 or select.allocate == "uniform"):
        raise UsageError(
            "--hardware-widths given with --multiple or --allocate uniform, which choose the "
            "widths too; leave one of them out"
        )
    if select.multiple < 1 or select.images < 1:
        raise UsageError("--multiple and --images must be at least 1")
