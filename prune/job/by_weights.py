"""Filters removed by their weights alone: no data, no repair, no training."""

from dataclasses import dataclass, field
from typing import Any

from torch import nn

from ..budget import Budget
from ..errors import UsageError
from ..selection.allocate import Layout, allocate
from ..selection.criteria import WEIGHT_CRITERIA, rank_units
from ..selection.evidence import Evidence
from ..structure.certificate import Certificate, certify
from ..structure.choice import Choice
from ..structure.cost import CostModel
from ..structure.cut import Cut
from ..structure.finite import check_finite_weights
from ..structure.plan import Plan
from ..structure.surgery import remove
from ..structure.tracing.trace import trace
from .known import Amounts

NEED_NO_DATA = (*WEIGHT_CRITERIA, "random")


@dataclass(frozen=True)
class ByWeights:
    """How filters are chosen where there is no data.

    Attributes:
        criterion: one of `NEED_NO_DATA`.
        seed: of "random".
        choice: layers that stay whole.
        at_least: filters that every layer keeps at the least.
        exact: whether a missed budget is an error; if not, the closest possible is taken.

    Raises:
        UsageError: another criterion.
    """

    criterion: str = "l1"
    seed: int = 0
    choice: Choice = field(default_factory=Choice)
    at_least: int = 1
    exact: bool = True

    def __post_init__(self) -> None:
        if self.criterion not in NEED_NO_DATA:
            raise UsageError(
                f"`criterion={self.criterion}` given; expected one of {', '.join(NEED_NO_DATA)}, "
                "which need no data; others need some: use compress"
            )


@dataclass(frozen=True, eq=False)
class CutByWeights:
    """The smaller network, what was removed, the proof, and the counts on both sides."""

    model: nn.Module
    plan: Plan
    cut: Cut
    certificate: Certificate
    before: Amounts
    after: Amounts


def cut_by_weights(
    model: nn.Module, example_inputs: Any, budget: Budget, how: ByWeights
) -> CutByWeights:
    """Remove the same share of every layer, so that a counted budget is met.

    Args:
        model: plain (`structure/plain.py`); it is not changed.

    Raises:
        UsageError: a name is of no layer, or `at_least` is out of range.
        InputError: the network does not run on the inputs.
        GateError: the budget cannot be met within 2 %, and `exact` was asked for.
    """
    check_finite_weights(model)
    how.choice.check(model)
    structure = trace(model, example_inputs, how.choice)
    evidence = Evidence(model, structure, seed=how.seed)
    ranking = rank_units(how.criterion, evidence, curves=False)
    cost = CostModel.of(model, structure)
    layout = Layout("uniform", at_least=how.at_least)
    plan = allocate(ranking, structure, cost, budget, layout, exact=how.exact)
    cut = Cut(structure, plan)
    smaller = remove(model, cut)
    certificate = certify(model, smaller, cut, example_inputs)
    before = Amounts.of(cost, [len(group.units) for group in structure.groups])
    after = Amounts.of(cost, [len(layer.kept) for layer in plan.layers])
    return CutByWeights(smaller, plan, cut, certificate, before, after)
