"""How many units each group keeps: least weighted error per multiply-add saved, step by step.

A group costs what all its readers lose: one in a plain network, every layer behind a residual
stream. The relative error e of a reader's response counts as e / (1 - e), the noise over the signal
that is left: the same while it is small, and no layer is worn down to nothing to spare the others.
It is multiplied with a measured weight of the group ("output": change of the logits per unit of
noise, `job/sensitivity.py`), a weight of the reader ("sr": fourth root of the success rate still to
be gained from it on) or nothing ("error").

The path of steps does not depend on the budget: plans are nested.

Shapes: U units of one group, M = U + 1 numbers of units that went.
"""

import heapq
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..budget import Budget
from ..errors import GateError, UsageError
from ..mechanism.spectrum import Spectrum
from ..structure.cost import CostModel
from ..structure.plan import LayerPlan, Plan
from ..structure.units import FloatArray, Group, IntArray, Structure
from .criteria import Ranking

METHODS = ("output", "sr", "error", "uniform")
BUDGET_TOLERANCE = 0.02
"""How far from a budget a plan may end, as a share of the budget: widths are whole numbers."""
GAIN_POWER = 0.25
"""Power of the success rate still to be gained, as a weight. A larger one takes more from the last
blocks of residual networks, whose inner filters know little that the stream does not. Chosen by
hand on VGG-16, ResNet-20 and MobileNetV2 with one seed: weak evidence. docs/contest.md has what it
leads to, and what weights of 1 (`allocate=error`) do."""
LEAST_GAIN = 1e-4
"""Success rate that counts as still to be gained after the last layers: no weight is zero, so that
among layers without anything to gain the relative error decides."""
LEAST_SENSITIVITY = 1e-6
"""Weight of a group that changes nothing at the outputs, as a share of the largest: no weight is
zero."""
LEAST_SIGNAL = 1e-6
"""Share of a response that counts as still there when all of it is lost, so that e / (1 - e) is
finite."""
LEAST_SAVING = 1e-9
"""Multiply-adds or parameters that a step saves at the least: one that saves nothing costs a lot,
and its price stays finite."""

Amount = Callable[[IntArray], float]


@dataclass(frozen=True)
class Layout:
    """How a budget is spread over the groups, and which widths they may have.

    Attributes:
        method: "output" (needs the sensitivity), "sr" (needs the spectrum), "error" (all weights
            1), or "uniform" (the same share in every group).
        multiple: widths are multiples of this, or the whole width; never below one multiple.
        efficient: group -> the only widths that it may have, the whole one among them; a group
            that is not in it may have any multiple.
        at_least: no group is narrower than this, unless it was before.
        sensitivity: group -> change of the logits per unit of noise, for "output".

    Raises:
        UsageError: an unknown method, or a multiple or least width below 1.
    """

    method: str = "sr"
    multiple: int = 1
    efficient: Mapping[str, Sequence[int]] = field(default_factory=dict)
    at_least: int = 1
    sensitivity: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise UsageError(
                f"`allocate={self.method}` given; expected one of {', '.join(METHODS)}"
            )
        for name, value in (("multiple", self.multiple), ("at_least", self.at_least)):
            if value < 1:
                raise UsageError(f"`{name}={value}` given; expected 1 or more")

    def ladder(self, group: Group) -> list[int]:
        """Widths that a group may have, from whole to the smallest."""
        width = len(group.units)
        multiples = range(width - width % self.multiple, 0, -self.multiple)
        widths = self.efficient.get(group.name, {width, *multiples})
        return sorted((x for x in widths if x >= min(self.at_least, width)), reverse=True)


def allocate(
    ranking: Ranking,
    structure: Structure,
    cost_model: CostModel,
    budget: Budget,
    layout: Layout | None = None,
    spectrum: Spectrum | None = None,
    *,
    exact: bool = True,
) -> Plan:
    """Widths for one counted budget, filled with the units that the ranking removes last.

    Args:
        budget: of a counted kind. A share of the filters is met to the unit where every width may
            be had.
        layout: default `Layout()`.
        spectrum: success rates along the depth, for the method "sr".
        exact: whether a missed budget is an error; if not, the closest possible is taken.

    Raises:
        UsageError: the method "sr" without a spectrum, or "output" without a sensitivity.
        GateError: the budget cannot be met within 2 %; the message has the closest possible.
    """
    layout = layout or Layout()
    full = np.array([len(group.units) for group in structure.groups], dtype=np.int64)
    aim = _aim(budget, cost_model, full)
    if budget.value == 1:
        widths = full
    elif layout.method == "uniform":
        widths = _uniform(full, layout, aim)
    else:
        weight_of = _weights(layout.method, spectrum)
        weight_G = _group_weights(layout, structure)
        losses = [
            weight * _loss(error, weight_of, len(group.units))
            for error, weight, group in zip(ranking.error, weight_G, structure.groups, strict=True)
        ]
        ladders = [layout.ladder(group) for group in structure.groups]
        saved = cost_model.params if budget.kind == "params" else cost_model.macs
        widths = _descend(losses, ladders, saved, aim)
    if exact:
        aim.check(widths, len(full) if layout.method == "uniform" else 1)
    return plan_of(ranking, structure, widths)


@dataclass(frozen=True)
class _Aim:
    """A budget for one network: how much there is, and how much may stay."""

    budget: Budget
    amount: Amount
    whole: float
    target: float

    def slack(self, num_rounded: int) -> float:
        """How far from the target a plan may end: 2 %, or half a unit for each rounded width."""
        rounding = 0.5 * num_rounded if self.budget.kind == "keep" else 0.0
        return max(BUDGET_TOLERANCE * self.target, rounding)

    def check(self, widths: IntArray, num_rounded: int) -> None:
        """Raises GateError when the widths miss the target."""
        reached = self.amount(widths)
        if abs(reached - self.target) > self.slack(num_rounded):
            raise GateError(
                f"`{self.budget.kind}={self.budget.value:g}` cannot be met within "
                f"{BUDGET_TOLERANCE:.0%}: the closest possible is "
                f"{reached / max(self.whole, 1):.4g}; state that, or another layout of `allocate`, "
                "`multiple`, `at_least` and `hardware_widths`"
            )


def _aim(budget: Budget, cost_model: CostModel, full: IntArray) -> _Aim:
    assert budget.is_counted, "what is searched is searched by counted budgets"
    if budget.kind == "keep":
        whole = float(full.sum())
        return _Aim(budget, lambda widths: float(widths.sum()), whole, round(budget.value * whole))
    amount = cost_model.macs if budget.kind == "macs" else cost_model.params
    whole = float(amount(full))
    return _Aim(budget, amount, whole, budget.value * whole)


def plan_of(ranking: Ranking, structure: Structure, widths: Sequence[int] | IntArray) -> Plan:
    """Keep, in each group, the `width` units that the ranking removes last."""
    layers = []
    for group, order, width in zip(structure.groups, ranking.order, widths, strict=True):
        kept = np.sort(order[len(order) - int(width) :])
        layers.append(LayerPlan(group.name, len(order), tuple(int(k) for k in kept)))
    return Plan(tuple(layers))


def _weights(method: str, spectrum: Spectrum | None) -> Callable[[str], float]:
    """Reader -> its weight. One without a success rate counts like the worst that has one."""
    if method in ("error", "output"):
        return lambda reader: 1.0
    if spectrum is None:
        raise UsageError(
            "`allocate=sr` given without success rates, which are measured on data; give error or "
            "uniform"
        )
    rates = {point.reader: point.success_rate for point in spectrum.depth}
    best, first = max(rates.values(), default=1.0), min(rates.values(), default=0.0)
    return lambda reader: float(max(best - rates.get(reader, first), LEAST_GAIN) ** GAIN_POWER)


def _group_weights(layout: Layout, structure: Structure) -> list[float]:
    """What the loss of each group is multiplied with: its sensitivity, where that was asked for.

    None is zero, so that among groups that change nothing the relative error decides.
    """
    if layout.method != "output":
        return [1.0] * len(structure.groups)
    known = [layout.sensitivity.get(group.name) for group in structure.groups]
    if any(weight is None for weight in known):
        raise UsageError(
            "`allocate=output` given without the sensitivity of every group, which is measured on "
            "images; give error or uniform"
        )
    weights = [float(weight or 0.0) for weight in known]
    least = LEAST_SENSITIVITY * max(weights, default=0.0)
    return [max(weight, least) if least > 0 else 1.0 for weight in weights]


def noise_to_signal(error_M: FloatArray) -> FloatArray:
    """e / (1 - e) of relative errors e."""
    return np.asarray(error_M / np.maximum(1 - error_M, LEAST_SIGNAL), dtype=np.float64)


def _loss(
    error: Mapping[str, FloatArray], weight_of: Callable[[str], float], num_units: int
) -> FloatArray:
    """What the readers of a group lose together after the first m units went, (U + 1,); convex."""
    loss_M = np.zeros(num_units + 1)
    for reader, error_M in error.items():
        loss_M += weight_of(reader) * noise_to_signal(error_M)
    return lower_hull(loss_M)


def _descend(
    losses: Sequence[FloatArray],
    ladders: Sequence[list[int]],
    saved: Amount,
    aim: _Aim,
) -> IntArray:
    """Take the cheapest step again and again, until the amount is at or below the target.

    A step that would overshoot the tolerance is left out, and its group stays as it is. Prices
    only rise while other groups shrink, so a stale price is a lower bound and is renewed lazily.
    """
    widths = np.array([ladder[0] for ladder in ladders], dtype=np.int64)
    level = [0] * len(ladders)

    def price(g: int) -> float:
        now, then = ladders[g][level[g]], ladders[g][level[g] + 1]
        trial = widths.copy()
        trial[g] = then
        loss = losses[g][len(losses[g]) - 1 - then] - losses[g][len(losses[g]) - 1 - now]
        return float(loss / max(saved(widths) - saved(trial), LEAST_SAVING))

    heap = [(price(g), g) for g in range(len(ladders)) if len(ladders[g]) > 1]
    heapq.heapify(heap)
    current = aim.amount(widths)
    while heap and current > aim.target:
        g = heapq.heappop(heap)[1]
        renewed = (price(g), g)
        if heap and renewed > heap[0]:
            heapq.heappush(heap, renewed)
            continue
        trial = widths.copy()
        trial[g] = ladders[g][level[g] + 1]
        after = aim.amount(trial)
        if after < aim.target * (1 - BUDGET_TOLERANCE):
            continue
        widths, current, level[g] = trial, after, level[g] + 1
        if level[g] + 1 < len(ladders[g]):
            heapq.heappush(heap, (price(g), g))
    return widths


def lower_hull(error: FloatArray) -> FloatArray:
    """Greatest convex function below an error curve (U + 1,): its slopes never fall.

    A dear step before a cheap one then shares its price, so that an order with a bad start is
    not punished twice.
    """
    corners: list[int] = []
    for m in range(len(error)):
        while len(corners) > 1 and _above_chord(error, corners[-2], corners[-1], m):
            corners.pop()
        corners.append(m)
    return np.interp(np.arange(len(error)), corners, error[corners])


def _above_chord(error: FloatArray, left: int, middle: int, right: int) -> bool:
    chord = (error[right] - error[left]) * (middle - left)
    return bool((error[middle] - error[left]) * (right - left) >= chord)


def _uniform(full: IntArray, layout: Layout, aim: _Aim) -> IntArray:
    """The same share of every width, as near to the target as rounding allows."""
    if aim.budget.kind == "keep":
        widths = _nearest(full, aim.budget.value, layout)
        if abs(aim.amount(widths) - aim.target) <= aim.slack(len(full)):
            return widths
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        too_few = aim.amount(_nearest(full, middle, layout)) < aim.target
        low, high = (middle, high) if too_few else (low, middle)
    ends = (_nearest(full, low, layout), _nearest(full, high, layout))
    return min(ends, key=lambda widths: abs(aim.amount(widths) - aim.target))


def _nearest(full: IntArray, share: float, layout: Layout) -> IntArray:
    """The multiple nearest to the share of each width, never above it or below the least one."""
    multiple = layout.multiple
    least = -(-layout.at_least // multiple) * multiple
    rounded = np.floor(full * share / multiple + 0.5) * multiple
    return np.asarray(np.minimum(np.maximum(rounded, least), full), dtype=np.int64)
