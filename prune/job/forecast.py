"""What every budget should cost, told from the one pass: nothing more is removed or repaired.

A plan's loss is what the allocation minimises: the sum over groups of their sensitivity times the
noise over the signal that the error curves state for so many removed units (`sensitivity.py`). How
much of it the repair and the refit leave at the outputs is measured once, on this run's own plan:

    change(budget) = loss(budget) * change(this run) / loss(this run)

It is the squared change of the outputs, relative to their squares. In points: every held-out image
has the outputs of the original network, plus independent Gaussian noise of that strength on each of
them. The expected accuracy is the mean probability that the label still has the highest output:

    P_n = E over x ~ N(0, 1) of  product over j != y of  Phi((z_y - z_j) / s + x)

with s^2 = change * mean |z|^2 / (K - 1), z centred over the labels. Where outputs themselves judge,
their expected fidelity is 1 - change. It is the network before any retraining. How good this is:
`tests/benchmarks/forecast_quality.py`.

Shapes: N images, K labels, Q nodes of the quadrature.
"""

from contextlib import suppress
from dataclasses import dataclass
from math import pi, sqrt

import numpy as np
import torch
from scipy.special import log_ndtr
from torch import nn

from ...evaluate.report.forecast import BudgetForecast, ForecastPoint
from ..budget import Budget, Kind
from ..errors import GateError
from ..forward import call, evaluating
from ..options import SelectOptions
from ..outputs import class_scores
from ..selection.criteria import Ranking
from ..structure.plan import Plan
from ..structure.units import BoolArray, FloatArray, IntArray
from .budget import counted_plan
from .known import Amounts, Case, Measured, Planned
from .repair_and_check import REFITTED
from .sensitivity import noise_at, relative_change
from .stages import Outcome

QUADRATURE_NODES = 48
"""Of the mean over x: its error is then below 1e-6 for 1,000 labels."""
LARGEST_BLOCK = 4_000_000
"""Values held at once, which bounds the memory to some tens of megabytes."""
SHARES = tuple(round(0.05 * step, 2) for step in range(19, 0, -1))
"""Budgets that are told: 0.95 to 0.05 of the multiply-adds, or of the parameters."""


def make_forecast(
    case: Case, planned: Planned, outcome: Outcome, select: SelectOptions
) -> BudgetForecast | None:
    """Every budget that can be met, from the plan of one run and what came of it.

    Returns:
        None where `forecast_obstacle` says why, and where nothing was changed.
    """
    measured = planned.measured
    if forecast_obstacle(case, planned, outcome, select):
        return None
    loss = expected_loss(measured, planned.ranking, planned.plan)
    rule = _of_outputs(outcome) if case.outputs else _of_labels(case, outcome.repaired)
    if loss <= 0 or rule.change <= 0:
        return None
    kind: Kind = "params" if select.budget.kind == "params" else "macs"
    points = []
    for share in SHARES:
        with suppress(GateError):
            plan = counted_plan(measured, planned.ranking, Budget(kind, share), select)
            change = rule.change * expected_loss(measured, planned.ranking, plan) / loss
            left = Amounts.of(measured.cost, [len(layer.kept) for layer in plan.layers])
            value = rule.value(change)
            points.append(ForecastPoint(share, left.keep, left.macs, left.params, change, value))
    if not points:
        return None
    reached = outcome.held_out["repaired"]
    share = getattr(planned.left, kind) / max(getattr(planned.original, kind), 1)
    return BudgetForecast(
        kind,
        reached.name,
        reached.total,
        float(share),
        reached.value,
        reached.low,
        reached.high,
        tuple(points),
    )


def forecast_obstacle(case: Case, planned: Planned, outcome: Outcome, select: SelectOptions) -> str:
    """What keeps a run from having a forecast, in words; empty where nothing does.

    The change of a network whose refit was not kept says nothing of budgets that keep theirs.
    """
    reasons = {
        "no sensitivity was measured (a forecast takes allocate=output)": (
            not planned.measured.sensitivity
        ),
        "it was cut in depth": planned.depth is not None,
        "it was made in several steps": select.steps > 1,
        "its refit was not kept": outcome.facts.get("applied") != REFITTED,
        "an image may have several labels": case.data.multi_label,
    }
    return next((words for words, is_so in reasons.items() if is_so), "")


def expected_loss(measured: Measured, ranking: Ranking, plan: Plan) -> float:
    """Sum over groups of sensitivity times noise; `measured` must have a sensitivity."""
    groups = zip(measured.structure.groups, ranking.error, plan.layers, strict=True)
    return sum(
        measured.sensitivity[group.name] * noise_at(error, layer.num_filters - len(layer.kept))
        for group, error, layer in groups
    )


def change_per_loss(forecast: BudgetForecast, planned: Planned, select: SelectOptions) -> float:
    """Expected change of the outputs for each unit of `expected_loss`: one figure for all plans.

    Args:
        planned, select: that the forecast was made from.
    """
    last = forecast.points[-1]
    kind: Kind = "params" if forecast.kind == "params" else "macs"
    measured, ranking = planned.measured, planned.ranking
    plan = counted_plan(measured, ranking, Budget(kind, last.share), select)
    return last.change / expected_loss(measured, ranking, plan)


@dataclass(frozen=True, eq=False)
class _Rule:
    """From a change of the outputs to a score.

    Attributes:
        change: of this run's repaired network.
        scores_NK: outputs of the original, and labels_N; None where outputs judge.
    """

    change: float
    scores_NK: FloatArray | None = None
    labels_N: IntArray | None = None

    def value(self, change: float) -> float:
        """The expected score, a fraction; never above what there is without any change."""
        if self.scores_NK is None or self.labels_N is None:
            return max(0.0, 1 - change)
        now, then = (expected_accuracy(self.scores_NK, self.labels_N, x) for x in (0.0, change))
        return min(now, then)


def _of_outputs(outcome: Outcome) -> _Rule:
    return _Rule(1 - outcome.held_out["repaired"].value)


def _of_labels(case: Case, repaired: nn.Module) -> _Rule:
    """Outputs of both networks on the same held-out images."""
    before, after, labels = [], [], []
    with evaluating(case.model), evaluating(repaired):
        for images, labels_N in case.held_out():
            before.append(class_scores(call(case.model, images)).double().cpu())
            after.append(class_scores(call(repaired, images)).double().cpu())
            labels.append(labels_N.cpu())
    old_NK, new_NK = torch.cat(before), torch.cat(after)
    old_NK, new_NK = (z_NK - z_NK.mean(1, keepdim=True) for z_NK in (old_NK, new_NK))
    change = relative_change(old_NK, new_NK)
    return _Rule(change, old_NK.numpy(), torch.cat(labels).numpy())


def expected_accuracy(scores_NK: FloatArray, labels_N: IntArray, change: float) -> float:
    """Expected share of images whose label has the highest output, under noise of that strength.

    >>> scores = np.array([[2.0, -2.0], [-2.0, 2.0]])
    >>> expected_accuracy(scores, np.array([0, 0]), 0.0)
    0.5
    >>> round(expected_accuracy(scores, np.array([0, 1]), 0.5), 4)
    0.9214
    """
    num_images, num_labels = scores_NK.shape
    centred_NK = scores_NK - scores_NK.mean(1, keepdims=True)
    power = change * float(np.square(centred_NK).sum(1).mean()) / max(num_labels - 1, 1)
    if power <= 0:
        return float((scores_NK.argmax(1) == labels_N).mean())
    margin_NK = (scores_NK[np.arange(num_images), labels_N][:, None] - scores_NK) / sqrt(power)
    others_NK = np.ones_like(margin_NK, dtype=bool)
    others_NK[np.arange(num_images), labels_N] = False
    rows = max(1, LARGEST_BLOCK // (num_labels * QUADRATURE_NODES))
    blocks = [
        _chance(margin_NK[i : i + rows], others_NK[i : i + rows])
        for i in range(0, num_images, rows)
    ]
    return float(np.concatenate(blocks).mean())


def _chance(margin_NK: FloatArray, others_NK: BoolArray) -> FloatArray:
    """Probability that each image's label stays in front, (N,); margins in deviations of noise."""
    x_Q, weight_Q = np.polynomial.hermite_e.hermegauss(QUADRATURE_NODES)
    log_NKQ = log_ndtr(margin_NK[:, :, None] + x_Q)
    product_NQ = np.exp((log_NKQ * others_NK[:, :, None]).sum(1))
    return np.asarray(product_NQ @ weight_Q / sqrt(2 * pi), dtype=np.float64)
