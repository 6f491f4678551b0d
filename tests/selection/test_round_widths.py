"""Round widths by default: of which steps, given up step by step where the budget forbids them."""

from typing import cast

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from prune_dl.prune.errors import GateError
from prune_dl.prune.job.budget import counted_plan
from prune_dl.prune.job.known import Measured
from prune_dl.prune.mechanism.spectrum import Spectrum
from prune_dl.prune.mechanism.statistics import Statistics
from prune_dl.prune.options import SelectOptions
from prune_dl.prune.selection.criteria import Ranking, rank_units
from prune_dl.prune.selection.evidence import Evidence
from prune_dl.prune.selection.round_widths import STEPS, round_widths, step_of
from prune_dl.prune.structure.cost import CostModel
from prune_dl.prune.structure.tracing.trace import trace
from torch import nn


def measured(*widths: int) -> tuple[Measured, Ranking]:
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for before, after in zip((3, *widths), widths, strict=False):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU()]
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], 4))
    structure = trace(model, torch.randn(2, 3, 8, 8))
    nothing = cast(Statistics, None), cast(Spectrum, None)
    base = Measured(structure, CostModel.of(model, structure), *nothing)
    return base, rank_units("l1", Evidence(model, structure))


def widths_at(base: Measured, ranking: Ranking, select: SelectOptions) -> list[int]:
    return [len(layer.kept) for layer in counted_plan(base, ranking, select.budget, select).layers]


@given(width=st.integers(1, 2048), coarsest=st.sampled_from([2, 4, 8, 16]))
def test_steps_leave_a_choice_and_divide_each_other(width: int, coarsest: int) -> None:
    step = step_of(width, coarsest)
    assert step & (step - 1) == 0
    assert 1 <= step <= coarsest
    assert step == 1 or width // step >= STEPS
    assert step == coarsest or 2 * step > width // STEPS


def test_every_group_has_its_round_widths_and_the_whole_one() -> None:
    base, _ = measured(40, 6)
    wide, narrow = round_widths(base.structure, 16).values()
    assert wide == (8, 16, 24, 32, 40)
    assert narrow == (1, 2, 3, 4, 5, 6)


@settings(max_examples=20, deadline=None)
@given(macs=st.floats(0.2, 0.95))
def test_a_default_plan_is_round_and_within_the_budget(macs: float) -> None:
    base, ranking = measured(128, 160, 256)
    select = SelectOptions(macs=macs, allocate="error")
    widths = widths_at(base, ranking, select)
    assert all(width % 2 == 0 for width in widths)
    whole = base.cost.macs([128, 160, 256])
    assert base.cost.macs(widths) == pytest.approx(macs * whole, rel=0.02)


def test_wide_layers_get_multiples_of_16_and_one_says_any_width() -> None:
    base, ranking = measured(128, 128, 128, 128)
    select = SelectOptions(keep=0.6, allocate="error")
    assert all(width % 16 == 0 for width in widths_at(base, ranking, select))
    any_width = SelectOptions(keep=0.61, allocate="error", multiple=1)
    widths = widths_at(base, ranking, any_width)
    assert sum(widths) == round(0.61 * 512)
    assert any(width % 2 for width in widths)


def test_roundness_gives_way_to_the_budget() -> None:
    base, ranking = measured(64)
    assert widths_at(base, ranking, SelectOptions(keep=0.5, allocate="error")) == [32]
    assert widths_at(base, ranking, SelectOptions(keep=0.66, allocate="error")) == [42]
    assert widths_at(base, ranking, SelectOptions(keep=43 / 64, allocate="error")) == [43]
    with pytest.raises(GateError, match="cannot be met"):
        widths_at(base, ranking, SelectOptions(macs=0.0001, allocate="error"))


def test_uniform_keeps_its_share() -> None:
    base, ranking = measured(64, 128)
    select = SelectOptions(keep=0.61, allocate="uniform")
    assert widths_at(base, ranking, select) == [39, 78]
