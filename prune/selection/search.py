"""Choices that are measured: the criterion that wins on held-out images, how thin is too thin, and
how thin is fast enough.

All take functions rather than networks and data: what is measured, and on what, is the caller's.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..errors import GateError, InputError
from ..structure.plan import Plan
from .criteria import Ranking

AUTO = ("mechanism", "response", "l2")
"""Candidates of `rank=auto`, the default first: it wins a tie.

One of each kind: response and label fields, the response alone, weights alone. On VGG-16 at 40 % of
the multiply-adds they have 86.93, 86.76 and 86.39 % without a step (`docs/contest.md`).
"""
SMALLEST_SHARE = 0.02
"""Share below which `thinnest` does not look: about the precision of its six halvings, 1/64."""


@dataclass(frozen=True)
class Trial:
    """One candidate of a contest.

    Attributes:
        criterion: its name.
        top1: held-out accuracy after removal and repair, a fraction.
        seconds: what ranking took.
        ranking, plan: what it would do.
    """

    criterion: str
    top1: float
    seconds: float
    ranking: Ranking
    plan: Plan


def contest(
    rank_by: Callable[[str], Ranking],
    plan_by: Callable[[Ranking], Plan],
    measure_top1: Callable[[Plan], float],
    criteria: Sequence[str] = AUTO,
) -> tuple[Trial, ...]:
    """Measure candidates, best first; ties keep the order of `criteria`.

    A criterion that cannot rank this network (InputError) is left out.

    Raises:
        InputError: none of them can.
    """
    trials: list[Trial] = []
    reasons: list[str] = []
    for criterion in criteria:
        start = time.perf_counter()
        try:
            ranking = rank_by(criterion)
        except InputError as error:
            reasons.append(str(error))
            continue
        seconds = time.perf_counter() - start
        plan = plan_by(ranking)
        trials.append(Trial(criterion, measure_top1(plan), seconds, ranking, plan))
    if not trials:
        raise InputError("; ".join(reasons) or "no criterion to try")
    return tuple(sorted(trials, key=lambda trial: -trial.top1))


def thinnest(
    plan_for: Callable[[float], Plan],
    measure_top1: Callable[[Plan], float],
    least_top1: float,
    steps: int = 6,
) -> tuple[float, Plan]:
    """The smallest share whose plan keeps a held-out accuracy, by bisection.

    Args:
        plan_for: share in (0, 1] -> plan; a GateError counts as too thin.
        measure_top1: held-out accuracy of a plan after repair, a fraction.
        least_top1: what has to be kept.
        steps: halvings; the share is met to about 2^-steps.

    Returns:
        the share and its plan, measured and found good; 1.0 where nothing smaller is.
    """
    low, high = SMALLEST_SHARE, 1.0
    best = plan_for(high)
    for _ in range(steps):
        middle = (low + high) / 2
        try:
            plan = plan_for(middle)
            good = measure_top1(plan) >= least_top1
        except GateError:
            good = False
        if good:
            high, best = middle, plan
        else:
            low = middle
    return high, best
