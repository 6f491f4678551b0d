"""From a ranking to a plan within the budget, whatever the budget is stated in.

Shares of filters, multiply-adds and parameters are counted; milliseconds are measured on the
provider; points of accuracy are measured on held-out images after repair.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from ..budget import Budget
from ..errors import GateError
from ..options import SelectOptions, Settings
from ..selection.allocate import Layout, allocate
from ..selection.criteria import Ranking
from ..selection.round_widths import COARSEST, round_widths
from ..selection.search import thinnest
from ..structure.cut import Cut
from ..structure.plan import Plan
from ..structure.surgery import remove
from .known import Case, Measured
from .latency_budget import CLOSE, MAX_TIMED_PLANS, Found, Timed, Yardstick, search
from .repair_and_check import top1_after_repair

FAST, ANY = "the widths that are fast here", "any widths"
"""What a latency budget may build a network of."""


@dataclass(frozen=True)
class Fitted:
    """A plan within the budget.

    Attributes:
        note: what a searched budget led to, in words; empty for one that is counted.
        reference_ms: latency of the original that a latency budget was measured by.
    """

    plan: Plan
    note: str = ""
    reference_ms: float | None = None


def searches_widths(budget: Budget, select: SelectOptions) -> bool:
    """Whether the widths that are fast on the benchmark's provider are to be tried."""
    chosen = select.multiple is not None or select.allocate == "uniform"
    return budget.kind == "latency_ms" and not chosen


def plan_within(
    case: Case, measured: Measured, ranking: Ranking, budget: Budget, settings: Settings
) -> Fitted:
    """The plan for any budget: the one place that decides what each kind leads to.

    Raises:
        GateError: the budget cannot be met.
    """
    if budget.is_counted:
        return Fitted(counted_plan(measured, ranking, budget, settings.select))
    if budget.kind == "latency_ms":
        return _within_latency(case, measured, ranking, budget.value, settings)
    return _within_drop(case, measured, ranking, budget.value, settings.select)


def counted_plan(
    measured: Measured, ranking: Ranking, budget: Budget, select: SelectOptions
) -> Plan:
    """The plan for a counted budget, of widths as round as it allows by default.

    Raises:
        GateError: the budget cannot be met.
    """
    layout = Layout(
        select.allocate,
        select.multiple or 1,
        measured.efficient,
        at_least=select.at_least,
        sensitivity=measured.sensitivity,
    )
    structure, cost, spectrum = measured.structure, measured.cost, measured.spectrum
    if select.multiple is None and select.allocate != "uniform" and not measured.efficient:
        for coarsest in COARSEST:
            rounded = replace(layout, efficient=round_widths(structure, coarsest))
            with suppress(GateError):
                return allocate(ranking, structure, cost, budget, rounded, spectrum)
    return allocate(ranking, structure, cost, budget, layout, spectrum)


def _within_drop(
    case: Case, measured: Measured, ranking: Ranking, points: float, select: SelectOptions
) -> Fitted:
    """The thinnest network whose held-out accuracy after repair is lower by at most so much."""
    share, plan = thinnest(
        lambda macs: counted_plan(measured, ranking, Budget("macs", macs), select),
        lambda plan: top1_after_repair(case, measured, plan, with_repair=select.repair),
        case.accuracy.value - points / 100,
    )
    return Fitted(plan, f"`max_drop={points}` led to {share:.3f} of the MACs")


def _within_latency(
    case: Case, measured: Measured, ranking: Ranking, most_ms: float, settings: Settings
) -> Fitted:
    """Of fast widths or of any, as held-out images decide; of fast ones where they were asked for.

    A kind of width with which the budget cannot be met loses; the last one says why.
    """
    found: dict[str, Found[Plan]] = {}
    kinds = _kinds_of_width(measured, settings.select)
    select = replace(settings.select, multiple=settings.select.multiple or 1)
    with TemporaryDirectory(prefix="prune-dl-latency-") as folder:
        yardstick = Yardstick.of(case.model, case.data.input_size, settings.bench, Path(folder))
        for kind, on in kinds.items():
            try:
                timing = _Timing(case, on, ranking, yardstick, kind)
                found[kind] = _search(timing, select, most_ms)
            except GateError:
                if not found and kind == list(kinds)[-1]:
                    raise
    top1 = {
        kind: top1_after_repair(case, measured, one.plan, with_repair=select.repair)
        for kind, one in found.items()
    }
    best = max(top1, key=lambda kind: top1[kind])
    note = _words(most_ms, found[best], best, top1, case.accuracy.name)
    return Fitted(found[best].plan, note, yardstick.reference_ms)


def _kinds_of_width(measured: Measured, select: SelectOptions) -> dict[str, Measured]:
    kinds = {FAST: measured} if measured.efficient else {}
    return kinds if select.hardware_widths else {**kinds, ANY: replace(measured, efficient={})}


@dataclass(frozen=True)
class _Timing:
    """What plans for one kind of width are made of, and timed with."""

    case: Case
    measured: Measured
    ranking: Ranking
    yardstick: Yardstick
    kind: str


def _search(timing: _Timing, select: SelectOptions, most_ms: float) -> Found[Plan]:
    """The widest plan that is fast enough."""
    model, size = timing.case.model, timing.case.data.input_size
    tried: list[Plan] = []

    def measure(plan: Plan, thorough: bool) -> Timed:
        smaller = remove(model, Cut(timing.measured.structure, plan))
        found = timing.yardstick.measure(smaller, size, thorough=thorough)
        tried.extend([plan] * (plan not in tried))
        timing.case.log.tried(
            f"network {len(tried)} of at most {MAX_TIMED_PLANS} with {timing.kind}: "
            f"{found.latency_ms:.3g} ms{' when timed again' * thorough}"
        )
        return found

    def plan_for(macs: float) -> Plan:
        return counted_plan(timing.measured, timing.ranking, Budget("macs", macs), select)

    return search(plan_for, measure, timing.yardstick.reference_ms, most_ms)


def _words(
    most_ms: float, found: Found[Plan], best: str, top1: Mapping[str, float], measure: str
) -> str:
    compared = ", ".join(f"{value:.2%} with {kind}" for kind, value in top1.items())
    near = "" if found.latency_ms >= CLOSE * most_ms else "; no plan was found nearer to the budget"
    return (
        f"`latency_ms={most_ms:g}` led to {found.share:.3f} of the MACs and "
        f"{found.latency_ms:.3g} ms, with {best} "
        f"(held-out {measure} after repair: {compared}){near}"
    )
