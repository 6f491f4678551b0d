"""The points of a sweep, as they were asked for."""

from dataclasses import dataclass

from ...checks import check_budget
from ...errors import UsageError
from ...options import SelectOptions, Sweep

KINDS = ("keep", "macs", "latency_ms")


@dataclass(frozen=True)
class Budget:
    """One point that was asked for: `kind`, one of `KINDS`, and its share or milliseconds."""

    kind: str
    value: float

    @property
    def name(self) -> str:
        """As it is shown: "keep 0.5", "latency-ms 12"."""
        return f"{self.kind.replace('_', '-')} {self.value:g}"

    def select(self, options: Sweep) -> SelectOptions:
        """The options of a single job with this budget."""
        return SelectOptions(
            keep=self.value if self.kind == "keep" else None,
            macs=self.value if self.kind == "macs" else None,
            latency_ms=self.value if self.kind == "latency_ms" else None,
            rank=options.rank,
            allocate=options.allocate,
            hardware_widths=options.hardware_widths,
            images=options.images,
        )


def budgets_of(options: Sweep) -> tuple[Budget, ...]:
    """The points of a sweep, in the order given, each once.

    Raises:
        UsageError: no budget, several kinds, or a value out of range.
    """
    given = {kind: getattr(options, kind) for kind in KINDS if getattr(options, kind)}
    if len(given) != 1:
        raise UsageError(
            "a sweep takes one of --keep, --macs and --latency-ms, with several values such as "
            "--keep 0.9 0.7 0.5"
        )
    ((kind, values),) = given.items()
    budgets = tuple({budget.name: budget for budget in (Budget(kind, v) for v in values)}.values())
    for budget in budgets:
        check_budget(budget.select(options))
    if kind == "latency_ms" and options.distributed:
        raise UsageError(
            "--latency-ms given with --distributed: tasks beside each other cannot measure "
            "latency; leave one of them out"
        )
    return budgets
