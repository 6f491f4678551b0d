"""What may stay of a network, in one value: parsed and checked once, and decided in one place.

| kind       | value in                 | what is limited                                          |
|------------|--------------------------|----------------------------------------------------------|
| keep       | (0, 1]                   | share of the removable filters that stays                |
| macs       | (0, 1]                   | share of the multiply-adds that stays                    |
| params     | (0, 1]                   | share of the parameters that stays                       |
| latency_ms | above 0, milliseconds    | how long one run may take, as the benchmark measures it  |
| max_drop   | 0 or more, points        | held-out accuracy that may be lost after repair          |

The first three are counted, the others searched: `job/budget.py` decides what each leads to.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from .errors import UsageError

Kind = Literal["keep", "macs", "params", "latency_ms", "max_drop"]
KINDS: tuple[Kind, ...] = get_args(Kind)
COUNTED: tuple[Kind, ...] = ("keep", "macs", "params")
"""Kinds that are shares of what the network has: they can be divided and compared."""

_WORDS: Mapping[Kind, str] = {
    "keep": "keep {:g} of the filters",
    "macs": "keep {:g} of the multiply-adds",
    "params": "keep {:g} of the parameters",
    "latency_ms": "take at most {:g} ms",
    "max_drop": "lose at most {:g} points of held-out {measure}",
}


@dataclass(frozen=True)
class Budget:
    """One budget.

    Raises:
        UsageError: the value is out of its kind's range.

    >>> Budget("macs", 0.25).of_step(1, 2, left=1.0)
    Budget(kind='macs', value=0.5)
    """

    kind: Kind
    value: float

    def __post_init__(self) -> None:
        if self.is_counted and not 0 < self.value <= 1:
            raise UsageError(
                f"`{self.kind}={self.value}` given; expected a share above 0 and at most 1, "
                "like 0.6"
            )
        if self.kind == "latency_ms" and not self.value > 0:
            raise UsageError(f"`latency_ms={self.value}` given; expected a number above 0")
        if self.kind == "max_drop" and not self.value >= 0:
            raise UsageError(f"`max_drop={self.value}` given; expected 0 or more")

    @property
    def is_counted(self) -> bool:
        """Whether it is a share of what the network has."""
        return self.kind in COUNTED

    @property
    def name(self) -> str:
        """As a table shows it: "keep 0.5", "latency-ms 12"."""
        return f"{self.kind.replace('_', '-')} {self.value:g}"

    @property
    def words(self) -> str:
        """What was asked for, in words: "keep 0.6 of the filters"."""
        return self.words_with("accuracy")

    def words_with(self, measure: str) -> str:
        """The same where networks are compared by another measure than accuracy."""
        return _WORDS[self.kind].format(self.value, measure=measure)

    def of_step(self, step: int, steps: int, left: float) -> "Budget":
        """The counted budget of one of several steps, a share of the network that the step finds.

        After step i of n, value^(i / n) of the original is left: every step takes the same share.

        Args:
            step: from 1 on.
            left: share of the original that the step finds.
        """
        return Budget(self.kind, min(1.0, self.value ** (step / steps) / left))


def stated_budget(given: Mapping[Kind, float | None]) -> Budget:
    """The one budget among options of which some, or all, were left out.

    `max_drop` beside another budget is no budget but a gate on the result.

    Raises:
        UsageError: none or several were given, or the value is out of range.
    """
    stated = [Budget(kind, value) for kind, value in given.items() if value is not None]
    budgets = [budget for budget in stated if budget.kind != "max_drop"] or stated
    if len(budgets) != 1:
        what = " and ".join(f"`{budget.kind}`" for budget in budgets) or "no budget"
        raise UsageError(
            f"{what} given; give one of `keep`, `macs`, `params` or `latency_ms`, such as "
            "`keep=0.6`"
        )
    return budgets[0]
