"""From a ranking to a plan that meets the budget, whatever the budget is stated in.

Shares of filters, multiply-adds and parameters are counted; milliseconds are measured on the
provider; points of accuracy are measured on held-out images after repair.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from torch import nn

from ..checks import stated_budgets
from ..errors import GateError
from ..mechanism.spectrum import Spectrum
from ..mechanism.statistics import Statistics
from ..options import BenchOptions, SelectOptions
from ..selection.allocate import allocate
from ..selection.criteria import Ranking
from ..selection.round_widths import COARSEST, round_widths
from ..selection.search import thinnest
from ..structure.cost import CostModel
from ..structure.cut import Cut
from ..structure.plan import Plan
from ..structure.surgery import remove
from ..structure.units import Structure
from .latency_budget import CLOSE, Found, Timed, Yardstick, search

FAST, ANY = "the widths that are fast here", "any widths"
"""What `--latency-ms` may build a network of."""


@dataclass(frozen=True)
class Measured:
    """What is known of a network before anything is ranked.

    Attributes:
        efficient: group -> the only widths that it may have; empty where all may be had.
    """

    structure: Structure
    cost: CostModel
    statistics: Statistics
    spectrum: Spectrum
    efficient: Mapping[str, Sequence[int]] = field(default_factory=dict)


@dataclass(frozen=True)
class Fitted:
    """A plan within the budget.

    Attributes:
        note: what a searched budget led to, in words; empty for one that is counted.
        reference_ms: latency of the original that `--latency-ms` was measured by.
    """

    plan: Plan
    note: str = ""
    reference_ms: float | None = None


@dataclass(frozen=True)
class Trials:
    """What a searched budget has measured, by the caller's functions.

    Attributes:
        top1_of: held-out accuracy of a plan after repair; original_top1: of the network that came
            in. Fractions.
        model, input_size, bench: what is timed, and how.
    """

    top1_of: Callable[[Plan], float]
    original_top1: Callable[[], float]
    model: nn.Module
    input_size: tuple[int, int, int]
    bench: BenchOptions


def searches_widths(select: SelectOptions) -> bool:
    """Whether the widths that are fast on the benchmark's provider are to be tried."""
    chosen = select.multiple is not None or select.allocate == "uniform"
    return select.latency_ms is not None and not chosen


def plan_at(base: Measured, ranking: Ranking, select: SelectOptions) -> Plan:
    """The plan for a budget that can be counted, of widths as round as it allows by default.

    Raises:
        GateError: the budget cannot be met.
    """
    if select.multiple is None and select.allocate != "uniform" and not base.efficient:
        for coarsest in COARSEST:
            round_only = replace(base, efficient=round_widths(base.structure, coarsest))
            with suppress(GateError):
                return _allocated(round_only, ranking, select)
    return _allocated(base, ranking, select)


def _allocated(base: Measured, ranking: Ranking, select: SelectOptions) -> Plan:
    return allocate(
        ranking,
        base.structure,
        base.cost,
        keep=select.keep,
        macs=select.macs,
        params=select.params,
        method=select.allocate,
        spectrum=base.spectrum,
        multiple=select.multiple or 1,
        efficient=base.efficient,
    )


def fit(base: Measured, ranking: Ranking, select: SelectOptions, trials: Trials) -> Fitted:
    """The plan for any budget.

    Raises:
        GateError: the budget cannot be met.
    """
    if stated_budgets(select):
        return Fitted(plan_at(base, ranking, select))
    if select.latency_ms is not None:
        return _within_latency(base, ranking, select, trials, select.latency_ms)
    assert select.max_drop is not None, "check_budget lets no job without a budget through"
    share, plan = thinnest(
        lambda macs: plan_at(base, ranking, replace(select, macs=macs)),
        trials.top1_of,
        trials.original_top1() - select.max_drop / 100,
    )
    return Fitted(plan, f"--max-drop {select.max_drop} led to {share:.3f} of the MACs")


def _within_latency(
    base: Measured, ranking: Ranking, select: SelectOptions, trials: Trials, most_ms: float
) -> Fitted:
    """Of fast widths or of any, as held-out images decide; with `--hardware-widths` of fast ones.

    A kind of width with which the budget cannot be met loses; the last one says why.
    """
    found: dict[str, Found[Plan]] = {}
    kinds = _kinds(base, select)
    select = replace(select, multiple=select.multiple or 1)
    with TemporaryDirectory(prefix="prune-dl-latency-") as folder:
        yardstick = Yardstick.of(trials.model, trials.input_size, trials.bench, Path(folder))
        for kind, on in kinds.items():
            try:
                found[kind] = _search(on, ranking, select, trials, yardstick, most_ms)
            except GateError:
                if not found and kind == list(kinds)[-1]:
                    raise
    top1 = {kind: trials.top1_of(one.plan) for kind, one in found.items()}
    best = max(top1, key=lambda kind: top1[kind])
    note = _words(most_ms, found[best], best, top1)
    return Fitted(found[best].plan, note, yardstick.reference_ms)


def _kinds(base: Measured, select: SelectOptions) -> dict[str, Measured]:
    kinds = {FAST: base} if base.efficient else {}
    return kinds if select.hardware_widths else {**kinds, ANY: replace(base, efficient={})}


def _search(
    on: Measured,
    ranking: Ranking,
    select: SelectOptions,
    trials: Trials,
    yardstick: Yardstick,
    most_ms: float,
) -> Found[Plan]:
    def measure(plan: Plan, thorough: bool) -> Timed:
        smaller = remove(trials.model, Cut(on.structure, plan))
        return yardstick.measure(smaller, trials.input_size, thorough=thorough)

    def plan_for(macs: float) -> Plan:
        return plan_at(on, ranking, replace(select, macs=macs))

    return search(plan_for, measure, yardstick.reference_ms, most_ms)


def _words(most_ms: float, found: Found[Plan], best: str, top1: Mapping[str, float]) -> str:
    compared = ", ".join(f"{value:.2%} with {kind}" for kind, value in top1.items())
    near = "" if found.latency_ms >= CLOSE * most_ms else "; no plan was found nearer to the budget"
    return (
        f"--latency-ms {most_ms:g} led to {found.share:.3f} of the MACs and "
        f"{found.latency_ms:.3g} ms, with {best} (held-out top-1 after repair: {compared}){near}"
    )
