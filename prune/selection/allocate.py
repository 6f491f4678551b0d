"""How many units each group keeps: least weighted error per multiply-add saved, step by step.

A group costs what all its readers lose: one in a plain network, every layer behind a residual
stream. A reader's weight is the fourth root of the success rate still to be gained from it on, so
the layers whose work is done give way first. The relative error e of its response counts as
e / (1 - e), the noise over the signal that is left: the same while it is small, and no layer is
worn down to nothing to spare the others. The path of steps does not depend on the budget: plans are
nested.

Shapes: U units of one group, M = U + 1 numbers of units that went.
"""

import heapq
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from ..errors import GateError, UsageError
from ..mechanism.spectrum import Spectrum
from ..structure.cost import CostModel
from ..structure.plan import LayerPlan, Plan
from ..structure.units import FloatArray, IntArray, Structure
from .criteria import Ranking

METHODS = ("sr", "error", "uniform")
TOLERANCE = 0.02
"""How far from a budget a plan may end, as a share of the budget."""
LEAST_GAIN = 1e-4
"""Success rate that counts as still to be gained behind the last layers."""
ROOT = 0.25
"""Power of the success rate to be gained: a larger one takes more from the last blocks of residual
networks, whose inner filters know little that the stream does not."""

LEAST_SIGNAL = 1e-6
"""Share of a response that counts as still there when all of it is lost."""

Amount = Callable[[IntArray], float]


def allocate(
    ranking: Ranking,
    structure: Structure,
    cost_model: CostModel,
    *,
    keep: float | None = None,
    macs: float | None = None,
    params: float | None = None,
    method: str = "sr",
    spectrum: Spectrum | None = None,
    multiple: int = 1,
    efficient: Mapping[str, Sequence[int]] | None = None,
) -> Plan:
    """Widths for one budget, filled with the units that the ranking removes last.

    Args:
        keep, macs, params: exactly one of them, a share of the original in (0, 1]: removable
            units over the network (met to the unit where multiple is 1 and the method is not
            "uniform"), multiply-adds, or parameters.
        method: "sr" (needs the spectrum), "error" (all weights 1), or "uniform" (the same share
            in every group).
        multiple: widths are multiples of this, or the whole width; never below one multiple.
        efficient: group -> the only widths that it may have, the whole one among them.

    Raises:
        UsageError: an impossible argument.
        GateError: the budget cannot be met within 2 %; the message has the closest possible.
    """
    name, share = _budget(keep, macs, params)
    if method not in METHODS:
        raise UsageError(f"--allocate {method}: expected one of {', '.join(METHODS)}")
    if multiple < 1:
        raise UsageError(f"--multiple {multiple}: expected 1 or more")
    full = np.array([len(group.units) for group in structure.groups], dtype=np.int64)
    amount: Amount = {
        "keep": lambda widths: float(widths.sum()),
        "macs": cost_model.macs,
        "params": cost_model.params,
    }[name]
    target = float(round(share * full.sum())) if name == "keep" else share * amount(full)
    if share == 1:
        widths = full
    elif method == "uniform":
        widths = _uniform(full, multiple, amount, target, share if name == "keep" else None)
    else:
        saved = cost_model.params if name == "params" else cost_model.macs
        weight_of = _weights(method, spectrum)
        losses = [
            _loss(error, weight_of, int(width))
            for error, width in zip(ranking.error, full, strict=True)
        ]
        ladders = [
            sorted((efficient or {}).get(group.name, _ladder(int(width), multiple)), reverse=True)
            for group, width in zip(structure.groups, full, strict=True)
        ]
        widths = _descend(losses, ladders, saved, amount, target)
    slack = _slack(name, target, len(full) if method == "uniform" else 1)
    _check(name, share, amount(widths), target, amount(full), slack)
    return plan_of(ranking, structure, widths)


def plan_of(ranking: Ranking, structure: Structure, widths: Sequence[int] | IntArray) -> Plan:
    """Keep, in each group, the `width` units that the ranking removes last."""
    layers = []
    for group, order, width in zip(structure.groups, ranking.order, widths, strict=True):
        kept = np.sort(order[len(order) - int(width) :])
        layers.append(LayerPlan(group.name, len(order), tuple(int(k) for k in kept)))
    return Plan(tuple(layers))


def _budget(keep: float | None, macs: float | None, params: float | None) -> tuple[str, float]:
    given = {"keep": keep, "macs": macs, "params": params}
    stated = [(name, share) for name, share in given.items() if share is not None]
    if len(stated) != 1:
        names = ", ".join(f"--{name}" for name, _ in stated) or "none"
        raise UsageError(f"one budget is needed: --keep, --macs or --params; got {names}")
    name, share = stated[0]
    if not 0 < share <= 1:
        raise UsageError(f"--{name} {share}: expected a share above 0 and at most 1")
    return name, share


def _weights(method: str, spectrum: Spectrum | None) -> Callable[[str], float]:
    """Reader -> its weight. One without a success rate counts like the worst that has one."""
    if method == "error":
        return lambda reader: 1.0
    if spectrum is None:
        raise UsageError("--allocate sr needs success rates from data: use error or uniform")
    rates = {point.reader: point.success_rate for point in spectrum.depth}
    best, first = max(rates.values(), default=1.0), min(rates.values(), default=0.0)
    return lambda reader: float(max(best - rates.get(reader, first), LEAST_GAIN) ** ROOT)


def _loss(
    error: Mapping[str, FloatArray], weight_of: Callable[[str], float], num_units: int
) -> FloatArray:
    """What the readers of a group lose together after the first m units went, (U + 1,); convex."""
    loss_M = np.zeros(num_units + 1)
    for reader, error_M in error.items():
        loss_M += weight_of(reader) * error_M / np.maximum(1 - error_M, LEAST_SIGNAL)
    return lower_hull(loss_M)


def _ladder(width: int, multiple: int) -> list[int]:
    """Widths that a group may have, from whole to one multiple."""
    return [width, *(w for w in range(width - width % multiple, 0, -multiple) if w < width)]


def _descend(
    losses: Sequence[FloatArray],
    ladders: Sequence[list[int]],
    saved: Amount,
    amount: Amount,
    target: float,
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
        return float(loss / max(saved(widths) - saved(trial), 1e-9))

    heap = [(price(g), g) for g in range(len(ladders)) if len(ladders[g]) > 1]
    heapq.heapify(heap)
    current = amount(widths)
    while heap and current > target:
        g = heapq.heappop(heap)[1]
        renewed = (price(g), g)
        if heap and renewed > heap[0]:
            heapq.heappush(heap, renewed)
            continue
        trial = widths.copy()
        trial[g] = ladders[g][level[g] + 1]
        after = amount(trial)
        if after < target * (1 - TOLERANCE):
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


def _uniform(
    full: IntArray, multiple: int, amount: Amount, target: float, keep: float | None
) -> IntArray:
    if keep is not None:
        widths = _nearest(full, keep, multiple)
        if abs(amount(widths) - target) <= _slack("keep", target, len(full)):
            return widths
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (
            (middle, high) if amount(_nearest(full, middle, multiple)) < target else (low, middle)
        )
    ends = (_nearest(full, low, multiple), _nearest(full, high, multiple))
    return min(ends, key=lambda widths: abs(amount(widths) - target))


def _nearest(full: IntArray, share: float, multiple: int) -> IntArray:
    """The multiple nearest to the share of each width, at least one, never above the width."""
    rounded = np.floor(full * share / multiple + 0.5) * multiple
    return np.asarray(np.minimum(np.maximum(rounded, multiple), full), dtype=np.int64)


def _slack(name: str, target: float, num_rounded: int) -> float:
    """How far from a target a plan may end: 2 %, or half a unit for each rounded width."""
    return max(TOLERANCE * target, 0.5 * num_rounded if name == "keep" else 0.0)


def _check(
    name: str, share: float, reached: float, target: float, whole: float, slack: float
) -> None:
    if abs(reached - target) > slack:
        raise GateError(
            f"--{name} {share:g} cannot be met within 2 %: the closest possible is "
            f"{reached / max(whole, 1):.4g}; state that, or another layout of --allocate, "
            "--multiple and --hardware-widths"
        )
