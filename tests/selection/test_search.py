"""Measured choices: contests between criteria, and the thinnest network that is good enough."""

import numpy as np
import pytest
from prune_dl.prune.errors import GateError, InputError
from prune_dl.prune.selection.criteria import Ranking
from prune_dl.prune.selection.search import contest, thinnest
from prune_dl.prune.structure.plan import LayerPlan, Plan


def plan_of_width(width: int) -> Plan:
    return Plan((LayerPlan("conv", 100, tuple(range(width))),))


def rank_by(criterion: str) -> Ranking:
    if criterion == "bn-scale":
        raise InputError("no batch norm")
    return Ranking(criterion, (np.arange(3),), ({"fc": np.zeros(4)},), (np.ones(3),))


def test_the_best_on_held_out_images_comes_first_and_losers_stay_in_the_list() -> None:
    widths = {"a": 10, "b": 30, "c": 30}
    trials = contest(
        rank_by,
        lambda ranking: plan_of_width(widths[ranking.criterion]),
        lambda plan: len(plan.layers[0].kept) / 100,
        ("a", "bn-scale", "b", "c"),
    )
    assert [(t.criterion, t.top1) for t in trials] == [("b", 0.3), ("c", 0.3), ("a", 0.1)]


def test_a_contest_without_candidates_says_why() -> None:
    with pytest.raises(InputError, match="no batch norm"):
        contest(rank_by, lambda _: plan_of_width(1), lambda _: 1.0, ("bn-scale",))


@pytest.mark.parametrize("needed", [0.07, 0.25, 0.6, 0.999])
def test_thinnest_meets_the_floor_closely(needed: float) -> None:
    def plan_for(share: float) -> Plan:
        if share < 0.05:
            raise GateError("too thin")
        return plan_of_width(round(1000 * share))

    share, plan = thinnest(plan_for, lambda p: len(p.layers[0].kept) / 1000, needed, steps=8)
    assert len(plan.layers[0].kept) / 1000 >= needed
    assert share - needed < 0.98 / 2**7


def test_thinnest_keeps_everything_where_nothing_smaller_is_good_enough() -> None:
    share, plan = thinnest(lambda s: plan_of_width(round(100 * s)), lambda _: 0.1, 0.5)
    assert share == 1.0
    assert len(plan.layers[0].kept) == 100
