"""Budgets on random networks: met, nested, whole at 1, and refused when they cannot be met."""

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from prune_dl.prune.budget import Budget, Kind
from prune_dl.prune.errors import GateError, UsageError
from prune_dl.prune.inputs import zoo
from prune_dl.prune.mechanism.spectrum import Spectrum
from prune_dl.prune.selection.allocate import Layout, allocate, lower_hull
from prune_dl.prune.selection.criteria import Ranking, rank_units
from prune_dl.prune.selection.evidence import Evidence
from prune_dl.prune.structure.cost import CostModel
from prune_dl.prune.structure.tracing.trace import trace
from prune_dl.prune.structure.units import Structure
from torch import nn


def network(widths: list[int]) -> nn.Module:
    layers: list[nn.Module] = []
    for before, after in zip([3, *widths], widths, strict=False):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], 4))


def prepared(widths: list[int], seed: int = 0) -> tuple[Ranking, Structure, CostModel]:
    torch.manual_seed(seed)
    model = network(widths)
    structure = trace(model, torch.randn(2, 3, 8, 8))
    return rank_units("l1", Evidence(model, structure)), structure, CostModel.of(model, structure)


def kept(plan: object) -> np.ndarray:
    return np.array([len(layer.kept) for layer in plan.layers])


WIDTHS = st.lists(st.integers(12, 40), min_size=2, max_size=4)


@settings(max_examples=25, deadline=None)
@given(widths=WIDTHS, share=st.floats(0.3, 1.0), seed=st.integers(0, 100))
def test_keep_is_met_to_the_unit(widths: list[int], share: float, seed: int) -> None:
    ranking, structure, cost = prepared(widths, seed)
    plan = allocate(ranking, structure, cost, Budget("keep", share), Layout("error"))
    assert kept(plan).sum() == round(share * sum(widths))
    assert kept(plan).min() >= 1


@settings(max_examples=25, deadline=None)
@given(widths=WIDTHS, share=st.floats(0.3, 1.0), budget=st.sampled_from(["macs", "params"]))
def test_macs_and_params_are_met_within_two_percent_or_refused(
    widths: list[int], share: float, budget: Kind
) -> None:
    ranking, structure, cost = prepared(widths)
    amount = getattr(cost, budget)
    target = share * amount(np.array(widths))
    try:
        plan = allocate(ranking, structure, cost, Budget(budget, share), Layout("error"))
    except GateError:
        step = target * 0.02  # refused: then one unit must weigh more than the tolerance
        assert amount(np.array(widths)) - amount(np.array(widths) - 1) > step
        return
    assert amount(kept(plan)) == pytest.approx(target, rel=0.02)


@settings(max_examples=20, deadline=None)
@given(
    widths=WIDTHS,
    shares=st.tuples(st.floats(0.3, 1.0), st.floats(0.3, 1.0)),
    method=st.sampled_from(["error", "uniform"]),
)
def test_kept_sets_are_nested_in_keep(
    widths: list[int], shares: tuple[float, float], method: str
) -> None:
    ranking, structure, cost = prepared(widths)
    small, large = (
        allocate(ranking, structure, cost, Budget("keep", share), Layout(method))
        for share in sorted(shares)
    )
    for few, many in zip(small.layers, large.layers, strict=True):
        assert set(few.kept) <= set(many.kept)


@pytest.mark.parametrize("method", ["error", "uniform"])
@pytest.mark.parametrize("budget", ["keep", "macs", "params"])
def test_a_share_of_one_keeps_everything(method: str, budget: Kind) -> None:
    ranking, structure, cost = prepared([16, 20])
    plan = allocate(ranking, structure, cost, Budget(budget, 1.0), Layout(method))
    assert kept(plan).tolist() == [16, 20]


@pytest.mark.parametrize("method", ["error", "uniform"])
def test_widths_are_multiples_or_whole_and_never_less_than_one(method: str) -> None:
    ranking, structure, cost = prepared([12, 64, 64, 64])
    plan = allocate(ranking, structure, cost, Budget("keep", 0.5), Layout(method, multiple=8))
    for width, layer in zip(kept(plan), plan.layers, strict=True):
        assert width % 8 == 0 or width == layer.num_filters
        assert width >= 8
    assert kept(plan).sum() < 204


def with_rates(structure: Structure, *rates: float | None) -> Spectrum:
    """A spectrum of which only the success rates of the groups' readers count."""
    depth = [
        SimpleNamespace(reader=group.readers[0], success_rate=rate)
        for group, rate in zip(structure.groups, rates, strict=True)
        if rate is not None
    ]
    return cast(Spectrum, SimpleNamespace(depth=depth))


def told(ranking: Ranking, structure: Structure, *errors: np.ndarray) -> Ranking:
    """The same order, with other errors for the one reader of every group."""
    curves = zip(structure.groups, errors, strict=True)
    error = tuple({group.readers[0]: curve} for group, curve in curves)
    return Ranking("told", ranking.order, error, ranking.scores)


@settings(max_examples=25, deadline=None)
@given(
    widths=WIDTHS,
    share=st.floats(0.3, 1.0),
    rates=st.lists(st.floats(0.1, 1.0), min_size=4, max_size=4),
)
def test_success_rates_spread_the_budget_and_it_is_met(
    widths: list[int], share: float, rates: list[float]
) -> None:
    ranking, structure, cost = prepared(widths)
    spectrum = with_rates(structure, *rates[: len(widths)])
    plan = allocate(ranking, structure, cost, Budget("keep", share), Layout("sr"), spectrum)
    assert kept(plan).sum() == round(share * sum(widths))
    assert kept(plan).min() >= 1


def test_layers_with_no_success_rate_to_gain_give_way_first() -> None:
    ranking, structure, cost = prepared([30, 30, 30, 30])
    line = np.linspace(0, 1, 31)
    even_errors = told(ranking, structure, *[line] * 4)
    spectrum = with_rates(structure, 0.4, None, 0.7, 0.9)
    widths = kept(
        allocate(even_errors, structure, cost, Budget("params", 0.5), Layout("sr"), spectrum)
    ).tolist()
    assert widths[3] < widths[2]
    even = kept(
        allocate(even_errors, structure, cost, Budget("params", 0.5), Layout("error"))
    ).tolist()
    assert widths[3] < even[3]
    assert widths[0] + widths[1] > even[0] + even[1]


@pytest.mark.parametrize("method", ["sr", "error"])
def test_a_stream_costs_what_every_layer_behind_it_loses(method: str) -> None:
    """The same error at one reader or at three: three times the loss, so the wider one stays."""
    torch.manual_seed(0)
    model = zoo.build("resnet20", 10)
    structure = trace(model, torch.randn(2, 3, 32, 32))
    ranking, cost = rank_units("l1", Evidence(model, structure)), CostModel.of(model, structure)
    stream, inner = structure.groups[0], structure.groups[1]
    assert len(stream.readers) > 5
    assert len(inner.readers) == 1
    line = np.linspace(0, 1, 17)
    few = {inner.readers[0]: line}
    rest = [
        dict.fromkeys(group.readers, np.zeros(len(group.units) + 1)) for group in structure.groups
    ]
    rates = [SimpleNamespace(reader=name, success_rate=0.5) for name in structure.readers]
    spectrum = cast(Spectrum, SimpleNamespace(depth=rates))

    def width_of_stream(error: dict[str, np.ndarray]) -> int:
        errors = (error, few, *rest[2:])
        told = Ranking("told", ranking.order, errors, ranking.scores)
        plan = allocate(told, structure, cost, Budget("macs", 0.1), Layout(method), spectrum)
        return len(plan.layers[0].kept)

    one = width_of_stream({stream.readers[0]: line})
    assert width_of_stream(dict.fromkeys(stream.readers, line)) > one


def test_uniform_keeps_the_share_in_every_layer() -> None:
    ranking, structure, cost = prepared([10, 20, 40])
    plan = allocate(ranking, structure, cost, Budget("keep", 0.6), Layout("uniform"))
    assert kept(plan).tolist() == [6, 12, 24]


def test_uniform_with_a_multiple_keeps_the_budget_or_refuses() -> None:
    ranking, structure, cost = prepared([12, 12, 12])
    with pytest.raises(GateError, match=r"`keep=0\.5` cannot be met within 2%"):
        allocate(ranking, structure, cost, Budget("keep", 0.5), Layout("uniform", multiple=8))
    ranking, structure, cost = prepared([12, 40, 44])
    plan = allocate(ranking, structure, cost, Budget("keep", 0.5), Layout("uniform", multiple=8))
    assert kept(plan).tolist() == [8, 16, 24]


def test_the_cheapest_layer_gives_way_first() -> None:
    ranking, structure, cost = prepared([20, 20, 20])
    cheap = np.linspace(0, 1e-6, 21)
    dear = np.linspace(0, 1, 21)
    one_cheap = told(ranking, structure, dear, cheap, dear)
    plan = allocate(one_cheap, structure, cost, Budget("keep", 0.7), Layout("error"))
    assert kept(plan).tolist() == [20, 2, 20]


def test_lower_hull_is_convex_and_never_above() -> None:
    error = np.array([0.0, 3.0, 3.5, 3.6, 8.0, 9.0])
    hull = lower_hull(error)
    assert (hull <= error + 1e-12).all()
    assert (np.diff(np.diff(hull)) >= -1e-12).all()
    assert hull[[0, -1]].tolist() == [0.0, 9.0]


@pytest.mark.parametrize(
    ("layout", "words"),
    [({"method": "best"}, "`allocate=best` given"), ({"multiple": 0}, "`multiple=0` given")],
)
def test_impossible_layouts_are_refused(layout: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Layout(**layout)


def test_success_rates_are_needed_where_they_weigh() -> None:
    ranking, structure, cost = prepared([16, 16])
    with pytest.raises(UsageError, match="`allocate=sr` given without success rates"):
        allocate(ranking, structure, cost, Budget("keep", 0.5), Layout("sr"))


def test_an_impossible_budget_says_what_is_possible() -> None:
    ranking, structure, cost = prepared([16, 16])
    with pytest.raises(GateError, match=r"closest possible is 0\.0"):
        allocate(ranking, structure, cost, Budget("macs", 0.001), Layout("error"))


def test_no_layer_is_worn_down_to_spare_another_of_equal_worth() -> None:
    ranking, structure, cost = prepared([30, 30, 30])
    line = np.linspace(0, 1, 31)
    even = told(ranking, structure, line, line, line)
    widths = kept(allocate(even, structure, cost, Budget("keep", 0.5), Layout("error")))
    assert widths.min() >= 4


@settings(max_examples=60, deadline=None)
@given(keep=st.floats(0.3, 0.9), gap=st.integers(2, 5))
def test_efficient_widths_are_the_only_ones_of_their_group(keep: float, gap: int) -> None:
    ranking, structure, cost = prepared([40, 40])
    first, second = structure.groups
    allowed = (*range(gap, 40, gap), 40)
    try:
        plan = allocate(
            ranking,
            structure,
            cost,
            Budget("keep", keep),
            Layout("error", efficient={first.name: allowed}),
        )
    except GateError:
        raise AssertionError("the other group can make up for every gap") from None
    widths = dict(zip((first.name, second.name), kept(plan), strict=True))
    assert widths[first.name] in allowed
    target = round(keep * 80)
    assert abs(sum(widths.values()) - target) <= max(0.02 * target, 0.5)
