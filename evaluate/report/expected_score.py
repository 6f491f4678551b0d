"""How well a forecast met the networks of a sweep: expected against measured, pair by pair.

Both are scores on held-out images after the repair, before any retraining. The forecast is that of
one network, and fitted to it; all others are compared with what it expected of their own plans.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .forecast import BudgetForecast


@dataclass(frozen=True)
class RepairedNetwork:
    """One network of a sweep after its repair, and what is to be expected of others.

    Attributes:
        name: what was asked for ("macs 0.5").
        macs, original_macs: multiply-adds that it has, and that the original has.
        original, measured: held-out scores of the original and of this network, fractions; low,
            high: the 95 % interval of the latter.
        loss: of its plan, what an allocation minimises; change_per_loss: expected squared change of
            the outputs for each unit of it, fitted to this network.
        forecast: every budget, as fitted to this network; None where there is none.
        why_none: why, in words; empty where there is one.
    """

    name: str
    macs: int
    original_macs: int
    original: float
    measured: float
    low: float
    high: float
    loss: float = 0.0
    change_per_loss: float = 0.0
    forecast: BudgetForecast | None = None
    why_none: str = ""

    @property
    def share(self) -> float:
        """What it has of the original's multiply-adds."""
        return self.macs / max(self.original_macs, 1)


@dataclass(frozen=True)
class ExpectedScore:
    """What was expected of a network, and what it measured: both fractions.

    Attributes:
        is_fitted: whether the forecast was fitted to this very network.
    """

    network: RepairedNetwork
    expected: float
    is_fitted: bool

    @property
    def difference(self) -> float:
        """Measured less expected, in points."""
        return 100 * (self.network.measured - self.expected)


@dataclass(frozen=True)
class ForecastCheck:
    """The forecast of one network beside all that can be compared with it.

    Attributes:
        fitted_to: the network whose forecast it is.
        pairs: in the order of the sweep.
    """

    fitted_to: RepairedNetwork
    forecast: BudgetForecast
    pairs: tuple[ExpectedScore, ...]

    @property
    def others(self) -> tuple[ExpectedScore, ...]:
        """Pairs that the forecast was not fitted to."""
        return tuple(pair for pair in self.pairs if not pair.is_fitted)

    @property
    def curve(self) -> list[tuple[float, float]]:
        """Share of the multiply-adds and expected score of every budget, widest first."""
        whole = max(self.fitted_to.original_macs, 1)
        return [(point.macs / whole, point.value) for point in self.forecast.points]


def check_forecast(networks: Sequence[RepairedNetwork]) -> ForecastCheck | None:
    """Compare a sweep with the forecast of its largest network that has one.

    A network without a forecast of its own is left out: it did not keep what a forecast speaks of
    (see `why_none`). So is one whose outputs are expected to change more than at any budget that
    the forecast holds.

    Returns:
        None where no network has a forecast, or none can be compared.
    """
    known = [network for network in networks if network.forecast is not None]
    if not known:
        return None
    source = max(known, key=lambda network: network.macs)
    assert source.forecast is not None
    pairs = []
    for network in known:
        expected = _expected(source, source.forecast, network.loss)
        if expected is not None:
            pairs.append(ExpectedScore(network, expected, network is source))
    return ForecastCheck(source, source.forecast, tuple(pairs)) if pairs else None


def _expected(source: RepairedNetwork, forecast: BudgetForecast, loss: float) -> float | None:
    """Score of a plan with that loss; linear between the changes of two budgets."""
    change = loss * source.change_per_loss
    ends = {0.0: source.original} | {point.change: point.value for point in forecast.points}
    changes = sorted(ends)
    if change > changes[-1] * (1 + 1e-9):
        return None
    return float(np.interp(change, changes, [ends[x] for x in changes]))


def mean_and_largest(pairs: Sequence[ExpectedScore]) -> tuple[float, float]:
    """Mean and largest absolute difference in points, of at least one pair."""
    found = [abs(pair.difference) for pair in pairs]
    return sum(found) / len(found), max(found)


def expected_document(networks: Sequence[RepairedNetwork]) -> dict[str, Any]:
    """All of it for the sweep's JSON; scores and shares are fractions, differences points."""
    check = check_forecast(networks)
    if check is None:
        return {"fitted_to": None, "why_none": why_no_forecast(networks)}
    mean, largest = mean_and_largest(check.pairs)
    others = mean_and_largest(check.others) if check.others else (None, None)
    return {
        "fitted_to": check.fitted_to.name,
        "measure": check.forecast.measure,
        "num_images": check.forecast.num_images,
        "mean_difference_points": mean,
        "largest_difference_points": largest,
        "mean_difference_points_of_others": others[0],
        "largest_difference_points_of_others": others[1],
        "curve": [{"macs_share": share, "expected": value} for share, value in check.curve],
        "networks": [
            {
                "name": pair.network.name,
                "macs_share": pair.network.share,
                "expected": pair.expected,
                "measured": pair.network.measured,
                "low": pair.network.low,
                "high": pair.network.high,
                "difference_points": pair.difference,
            }
            for pair in check.pairs
        ],
    }


def why_no_forecast(networks: Sequence[RepairedNetwork]) -> str:
    """One sentence for readers who miss the chart."""
    reasons = "; ".join(dict.fromkeys(x.why_none for x in networks if x.why_none))
    if not networks:
        reasons = "no network was repaired, or an earlier release made them all"
    reasons = reasons or "the network that it is of changed more than at any of its budgets"
    return f"No forecast can be compared: {reasons}."
