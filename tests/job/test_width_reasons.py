"""Why a layer keeps so many filters, in words."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from prune_dl.prune.job.known import Amounts, Measured, Planned
from prune_dl.prune.job.layers import layer_lines
from prune_dl.prune.job.width_reasons import width_reasons, with_reasons
from prune_dl.prune.mechanism.statistics import Statistics
from prune_dl.prune.options import SelectOptions
from prune_dl.prune.selection.criteria import Ranking
from prune_dl.prune.structure.cost import CostModel
from prune_dl.prune.structure.plan import LayerPlan, Plan
from prune_dl.prune.structure.tracing.trace import trace
from torch import nn

NETWORK = nn.Sequential(
    nn.Conv2d(3, 16, 1), nn.ReLU(), nn.Conv2d(16, 64, 1), nn.ReLU(), nn.Conv2d(64, 4, 1)
).eval()


def planned(kept: tuple[int, int], **more: Any) -> Planned:
    """A plan of two layers; removing m of U filters costs its reader m / U of its response."""
    structure = trace(NETWORK, torch.zeros(2, 3, 5, 5))
    cost = CostModel.of(NETWORK, structure)
    empty = Statistics.__new__(Statistics)
    sensitivity = {"0": 3.0, "2": 1.0}
    measured = Measured(structure, cost, empty, None, sensitivity=sensitivity, **more)
    error = tuple({"r": np.arange(width + 1) / width} for width in (16, 64))
    layers = (LayerPlan("0", 16, tuple(range(kept[0]))), LayerPlan("2", 64, tuple(range(kept[1]))))
    amounts = Amounts.of(cost, [16, 64])
    return Planned(
        NETWORK, measured, Ranking("l1", order=(), scores=(), error=error), Plan(layers), amounts
    )


def test_sensitivity_error_and_steps_are_told() -> None:
    found = width_reasons(planned((12, 16)), SelectOptions(macs=0.5))
    assert found["0"] == (
        "the layers that read it lose 25 % of their response; an error in it changes the outputs "
        "1.5 times as much as in the median layer; widths in steps of 4"
    )
    assert found["2"].endswith(
        "in the median layer; widths in steps of 16; the least that it may have"
    )


@pytest.mark.parametrize(
    ("select", "kept", "more", "expected"),
    [
        (SelectOptions(macs=0.5), (16, 32), {}, "the budget is met more cheaply elsewhere"),
        (SelectOptions(macs=0.5, at_least=12), (12, 32), {}, "no fewer than 12, as you asked"),
        (SelectOptions(macs=0.5, multiple=6), (12, 32), {}, "widths in steps of 6"),
        (SelectOptions(macs=0.5), (11, 32), {"efficient": {"0": (11, 16)}}, "a width that is fast"),
        (SelectOptions(macs=0.5, allocate="uniform"), (8, 32), {}, "the same share in every layer"),
        (SelectOptions(macs=0.5, steps=2), (8, 32), {}, "in 2 steps, each weighed by itself"),
    ],
)
def test_what_bounded_a_width_is_told(
    select: SelectOptions, kept: tuple[int, int], more: Any, expected: str
) -> None:
    assert expected in width_reasons(planned(kept, **more), select)["0"]


def test_odd_widths_are_no_steps_and_whole_layers_keep_their_own_reason() -> None:
    plan = planned((11, 33))
    assert "steps" not in "".join(width_reasons(plan, SelectOptions(macs=0.5)).values())
    lines = {x.name: x for x in with_reasons(layer_lines(NETWORK, plan), plan, SelectOptions())}
    assert lines["0"].why
    assert (lines["4"].why, bool(lines["4"].reason)) == ("", True)
    without = replace(plan, ranking=Ranking("l1", (), (), ()))
    assert not any(
        x.why for x in with_reasons(layer_lines(NETWORK, plan), without, SelectOptions())
    )
