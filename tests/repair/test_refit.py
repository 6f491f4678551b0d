"""Sequential refit: laws of its least squares, and networks that answer as the original does."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from prune_dl.prune.mechanism.network import TracedNetwork
from prune_dl.prune.mechanism.statistics import collect
from prune_dl.prune.repair import visits
from prune_dl.prune.repair.least_squares import Residuals
from prune_dl.prune.repair.norms import find_norm_behind
from prune_dl.prune.repair.refit import RefitImages, RefitNotes, refit
from prune_dl.prune.repair.repair import repair
from prune_dl.prune.repair.samples import input_rows, output_rows
from prune_dl.prune.structure.cut import Cut
from prune_dl.prune.structure.plan import LayerPlan, Plan, keep_everything
from prune_dl.prune.structure.surgery import remove
from prune_dl.prune.structure.tracing.trace import trace
from prune_dl.prune.structure.units import Structure
from torch import nn

CPU = torch.device("cpu")
IMAGES = torch.randn(256, 3, 8, 8, generator=torch.Generator().manual_seed(0))
BATCHES = list(IMAGES.split(64))


def plain(bias: bool = True, groups: int = 1) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, bias=bias),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 6, 3, bias=bias, groups=groups, stride=2, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(6 * 9, 4),
    ).eval()


def without(structure: Structure, gone: tuple[int, ...]) -> Plan:
    """Filters of the first group go."""
    first, *others = keep_everything(structure).layers
    kept = tuple(k for k in first.kept if k not in gone)
    return Plan((LayerPlan(first.name, first.num_filters, kept), *others))


def refitted(
    model: nn.Module, gone: tuple[int, ...]
) -> tuple[nn.Module, nn.Module, nn.Module, RefitNotes]:
    """The network after removal, after repair, and refitted, and the notes of the refit."""
    structure = trace(model, IMAGES[:2])
    plan = without(structure, gone)
    labelled = [(batch, torch.arange(len(batch)) % 4) for batch in BATCHES]
    statistics = collect(TracedNetwork(model, structure, 4, CPU), labelled)
    norms = find_norm_behind(model, IMAGES[:2])
    removed = remove(model, Cut(structure, plan))
    repaired, _ = repair(removed, model, Cut(structure, plan), statistics, norm_behind=norms)
    fresh, notes = refit(
        repaired, model, Cut(structure, plan), RefitImages(BATCHES), norm_behind=norms
    )
    return removed, repaired, fresh, notes


def squared_error(model: nn.Module, other: nn.Module) -> float:
    with torch.no_grad():
        return float((model(IMAGES) - other(IMAGES)).square().mean())


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("bias", [True, False])
def test_every_layer_comes_closer_to_the_original(bias: bool, groups: int) -> None:
    model = plain(bias, groups)
    removed, repaired, fresh, notes = refitted(model, (0, 5))
    assert list(notes.error) == ["3", "7"]
    assert all(after < before for before, after in notes.error.values())
    assert squared_error(model, fresh) < 0.7 * squared_error(model, repaired)
    assert squared_error(model, fresh) < 0.7 * squared_error(model, removed)
    assert fresh.state_dict().keys() == model.state_dict().keys()
    with torch.no_grad():  # a constant that is free leaves no mean error
        torch.testing.assert_close(fresh(IMAGES).mean(0), model(IMAGES).mean(0), atol=1e-4, rtol=0)


@pytest.mark.parametrize("bias", [True, False])
def test_the_stated_errors_are_those_of_the_network(bias: bool) -> None:
    model = plain(bias)
    _, _, fresh, notes = refitted(model, (0, 5))
    with torch.no_grad():
        # What the ReLU lets through, in units of the layer's answer.
        scale = (model[4].weight / (model[4].running_var + model[4].eps).sqrt())[:, None, None]
        expected, found = model[:6](IMAGES), fresh[:6](IMAGES)
        answer = model[:4](IMAGES)
        variance = (answer - answer.mean((0, 2, 3), keepdim=True)).square().sum()
        error = float(((expected - found) / scale).square().sum() / variance)
    assert notes.error["3"][1] == pytest.approx(error, rel=1e-3)


def test_a_network_of_copied_filters_is_restored_without_any_repair() -> None:
    model = plain()
    with torch.no_grad():
        for tensor in (*model[0].parameters(), *model[1].parameters()):
            tensor[5] = tensor[4]
    structure = trace(model, IMAGES[:2])
    plan = without(structure, (5,))
    removed = remove(model, Cut(structure, plan))
    fresh, _ = refit(removed, model, Cut(structure, plan), RefitImages(BATCHES))
    assert squared_error(model, removed) > 1e-4
    assert squared_error(model, fresh) < 1e-3 * squared_error(model, removed)


def test_the_networks_that_came_in_are_untouched_and_an_exact_one_stays() -> None:
    model = plain()
    before = [tensor.clone() for tensor in model.state_dict().values()]
    structure = trace(model, IMAGES[:2])
    plan = keep_everything(structure)
    model.train()
    fresh, notes = refit(model, model, Cut(structure, plan), RefitImages(BATCHES))
    assert model.training
    assert fresh is not model
    assert all(map(torch.equal, before, model.state_dict().values()))
    for old, new in zip(before, fresh.state_dict().values(), strict=True):
        torch.testing.assert_close(old, new, atol=1e-5, rtol=1e-4)
    assert max(error for pair in notes.error.values() for error in pair) < 1e-9


def test_parts_of_the_network_give_the_same_as_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model = plain()
    _, _, whole, _ = refitted(model, (0, 5))
    monkeypatch.setattr(visits, "TARGET_BYTES", 1)
    _, _, parts, _ = refitted(model, (0, 5))
    assert all(map(torch.equal, whole.state_dict().values(), parts.state_dict().values()))


def test_one_pass_gives_the_same_as_a_pass_to_every_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    model = plain()
    _, _, at_once, once = refitted(model, (0, 5))
    monkeypatch.setattr(visits, "INPUT_BYTES", 0)
    _, _, again, notes = refitted(model, (0, 5))
    for one, other in zip(at_once.state_dict().values(), again.state_dict().values(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)
    assert list(once.error) == list(notes.error) == ["3", "7"]


def test_a_layer_that_answers_held_out_images_worse_keeps_its_weights() -> None:
    model = plain()
    structure = trace(model, IMAGES[:2])
    plan = without(structure, (0, 5))
    removed = remove(model, Cut(structure, plan))
    few, others = [IMAGES[:4]], IMAGES[64:192]
    blind, _ = refit(removed, model, Cut(structure, plan), RefitImages(few))
    fresh, notes = refit(removed, model, Cut(structure, plan), RefitImages(few, others))
    assert not torch.equal(blind[7].weight, removed[7].weight)
    assert "held-out images would miss" in notes.left["7"]
    assert torch.equal(fresh[7].weight, removed[7].weight)
    assert torch.equal(fresh[7].bias, removed[7].bias)
    assert notes.error["7"][0] == notes.error["7"][1]
    confirmed = RefitImages(BATCHES[1:], held_out=BATCHES[0])
    _, good = refit(removed, model, Cut(structure, plan), confirmed)
    assert "3" not in good.left  # many positions an image
    assert good.error["3"][1] < good.error["3"][0]


def test_what_cannot_be_refitted_is_left_with_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(visits, "MAX_INPUTS", 60)
    _, repaired, fresh, notes = refitted(plain(), (0,))
    assert "3" in notes.left
    assert torch.equal(repaired[3].weight, fresh[3].weight)
    assert not torch.equal(repaired[7].weight, fresh[7].weight)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(4, 6, 3, stride=2, padding=1, dilation=2, bias=False),
        nn.Conv2d(4, 6, (1, 3), bias=False),
    ],
)
def test_rows_are_what_a_convolution_multiplies(layer: nn.Conv2d) -> None:
    x = torch.randn(3, 4, 9, 9)
    positions = torch.tensor([0, 4, 7, 11])
    rows = torch.cat(list(input_rows(layer, x, positions)))
    with torch.no_grad():
        expected = output_rows(layer, layer(x), positions)
        torch.testing.assert_close(rows @ layer.weight.flatten(1).T, expected)


@given(seed=st.integers(0, 1000), rows=st.integers(2, 30), constant=st.booleans())
@settings(max_examples=30, deadline=None)
def test_least_squares_never_explains_less_than_nothing(
    seed: int, rows: int, constant: bool
) -> None:
    draw = np.random.default_rng(seed)
    inputs = torch.from_numpy(draw.normal(1, 1, (rows, 5))).float()
    inputs[:, 3] = inputs[:, 0]  # dependent
    inputs[:, 4] = 2.0  # constant
    rest = torch.from_numpy(draw.normal(0.5, 1, (rows, 3))).float()
    problem = Residuals.none(5, 3, CPU)
    problem.add(inputs[: rows // 2], rest[: rows // 2])
    problem.add(inputs[rows // 2 :], rest[rows // 2 :])
    change, _ = problem.solve(1e-3, with_constant=constant)
    after = problem.energy_after(change)
    assert after <= problem.energy * (1 + 1e-6)
    left = rest - inputs @ change[:-1].float() - change[-1].float()
    assert after == pytest.approx(float(left.square().sum()), rel=1e-3, abs=1e-4)
    if not constant:
        assert not change[-1].any()
