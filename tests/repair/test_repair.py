"""Closed-form repair: least-squares laws, and networks that compute the same as before."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from prune_dl.prune.errors import InputError
from prune_dl.prune.mechanism.network import TracedNetwork
from prune_dl.prune.mechanism.statistics import collect
from prune_dl.prune.repair.norms import find_norm_behind, reestimate_norms
from prune_dl.prune.repair.repair import predict_channels, repair
from prune_dl.prune.structure.cut import Cut
from prune_dl.prune.structure.plan import LayerPlan, Plan, keep_everything
from prune_dl.prune.structure.surgery import remove
from prune_dl.prune.structure.tracing.trace import trace
from prune_dl.prune.structure.units import Structure
from torch import Tensor, nn

CPU = torch.device("cpu")
IMAGES = torch.randn(64, 3, 8, 8, generator=torch.Generator().manual_seed(0))
BATCHES = [(IMAGES[:32], torch.arange(32) % 4), (IMAGES[32:], torch.arange(32) % 4)]


def plain(bias: bool = True, groups: int = 1) -> nn.Module:
    """Convolutions without padding (a constant passes exactly), a norm, and a flattened linear."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, bias=bias),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 6, 3, bias=bias, groups=groups),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(6 * 16, 4),
    ).eval()


def make_redundant(model: nn.Module) -> None:
    """Channels 1 and 5 of the first layer repeat 0 and 4, channel 3 is constant and not zero."""
    first, norm = model[0], model[1]
    with torch.no_grad():
        for copied, source in ((1, 0), (5, 4)):
            first.weight[copied] = first.weight[source]
            if first.bias is not None:
                first.bias[copied] = first.bias[source]
        norm.weight[3], norm.bias[3] = 0.0, 1.5


def without(structure: Structure, gone: tuple[int, ...], group: int = 0) -> Plan:
    layers = list(keep_everything(structure).layers)
    size = layers[group].num_filters
    layers[group] = LayerPlan(
        layers[group].name, size, tuple(k for k in range(size) if k not in gone)
    )
    return Plan(tuple(layers))


def repaired_by(model: nn.Module, gone: tuple[int, ...]) -> tuple[nn.Module, nn.Module]:
    """The network after removal, and after repair."""
    structure = trace(model, IMAGES[:2])
    plan = without(structure, gone)
    statistics = collect(TracedNetwork(model, structure, 4, CPU), BATCHES)
    removed = remove(model, Cut(structure, plan))
    fixed, notes = repair(
        removed,
        model,
        Cut(structure, plan),
        statistics,
        norm_behind=find_norm_behind(model, IMAGES[:2]),
    )
    assert notes.repaired == (structure.groups[0].readers)
    assert not notes.left
    return removed, fixed


def error(model: nn.Module, other: nn.Module) -> float:
    with torch.no_grad():
        return float((model(IMAGES) - other(IMAGES)).abs().max())


@pytest.mark.parametrize("bias", [True, False])
def test_repair_is_exact_when_removed_channels_are_linear_in_kept_ones(bias: bool) -> None:
    model = plain(bias)
    make_redundant(model)
    removed, fixed = repaired_by(model, (1, 3, 5))
    assert error(model, removed) > 0.05
    assert error(model, fixed) < 1e-3
    assert fixed.state_dict().keys() == model.state_dict().keys()


def test_repair_of_a_grouped_convolution_stays_inside_its_groups() -> None:
    model = plain(groups=2)
    make_redundant(model)
    structure = trace(model, IMAGES[:2])
    position = {int(u): i for i, u in enumerate(structure.groups[0].units)}
    units = structure.readers["3"].unit_C
    gone = tuple({position[int(units[1])], position[int(units[5])]})
    removed, fixed = repaired_by(model, gone)
    assert error(model, removed) > 0.02
    assert error(model, fixed) < error(model, removed)


def test_nothing_removed_means_nothing_changed() -> None:
    model = plain()
    structure = trace(model, IMAGES[:2])
    plan = keep_everything(structure)
    statistics = collect(TracedNetwork(model, structure, 4, CPU), BATCHES)
    fixed, notes = repair(
        remove(model, Cut(structure, plan)), model, Cut(structure, plan), statistics
    )
    assert notes.repaired == ()
    for before, after in zip(model.state_dict().values(), fixed.state_dict().values(), strict=True):
        assert torch.equal(before, after)


def test_the_networks_that_came_in_are_untouched() -> None:
    model = plain()
    before = [tensor.clone() for tensor in model.state_dict().values()]
    structure = trace(model, IMAGES[:2])
    plan = without(structure, (0, 2))
    removed = remove(model, Cut(structure, plan))
    cut = [tensor.clone() for tensor in removed.state_dict().values()]
    statistics = collect(TracedNetwork(model, structure, 4, CPU), BATCHES)
    repair(removed, model, Cut(structure, plan), statistics)
    assert all(map(torch.equal, before, model.state_dict().values()))
    assert all(map(torch.equal, cut, removed.state_dict().values()))


@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    rank=st.integers(0, 6),
    split=st.integers(0, 6),
    constant=st.booleans(),
)
def test_prediction_never_raises_the_least_squares_error(
    seed: int, rank: int, split: int, constant: bool
) -> None:
    """Rank-deficient, dead and constant channels included: rank 0 means nothing varies."""
    rng = np.random.default_rng(seed)
    samples = rng.normal(size=(40, rank)) @ rng.normal(size=(rank, 6)) + rng.normal(size=6)
    rows = np.column_stack([samples, np.ones(40)])
    kept, gone = np.arange(split), np.arange(split, 6)
    slope, offset, _ = predict_channels(rows.T @ rows, kept, gone, with_constant=constant)
    left = samples[:, gone] - samples[:, kept] @ slope.T - offset
    assert np.isfinite(left).all()
    assert np.square(left).sum() <= np.square(samples[:, gone]).sum() * (1 + 1e-9)


def test_prediction_is_the_least_squares_solution() -> None:
    rng = np.random.default_rng(1)
    rows = np.column_stack([rng.normal(size=(100, 5)) + 1, np.ones(100)])
    slope, offset, _ = predict_channels(rows.T @ rows, np.array([0, 2, 4]), np.array([1, 3]))
    expected, *_ = np.linalg.lstsq(rows[:, [0, 2, 4, 5]], rows[:, [1, 3]], rcond=None)
    np.testing.assert_allclose(np.column_stack([slope, offset]), expected.T, atol=1e-5)


def test_a_reader_that_held_out_images_are_worse_off_with_stays_as_it_was_cut() -> None:
    """One image has too few positions to predict from: the prediction fits it, and nothing else."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 40, 3, stride=3), nn.ReLU(), nn.Conv2d(40, 6, 1), nn.ReLU(), nn.Flatten(),
        nn.Linear(6 * 4, 4),
    ).eval()  # fmt: skip
    structure = trace(model, IMAGES[:2])
    gone = tuple(range(0, 40, 2))
    layers = [LayerPlan(layer.name, layer.num_filters, layer.kept) for layer in
              keep_everything(structure).layers]  # fmt: skip
    layers[0] = without(structure, gone, 0).layers[0]
    layers[1] = without(structure, (0,), 1).layers[1]
    plan = Plan(tuple(layers))
    few = collect(TracedNetwork(model, structure, 4, CPU), [(IMAGES[:1], torch.tensor([0]))])
    many = collect(TracedNetwork(model, structure, 4, CPU), BATCHES)
    removed = remove(model, Cut(structure, plan))
    fixed, notes = repair(removed, model, Cut(structure, plan), few, held_out=many.moments)
    assert "held-out images would miss" in notes.left["2"]
    assert torch.equal(fixed[2].weight, removed[2].weight)
    assert torch.equal(fixed[2].bias, removed[2].bias)
    fixed, notes = repair(removed, model, Cut(structure, plan), many, held_out=few.moments)
    assert not notes.left
    assert set(notes.repaired) == {"2", "5"}


class Residual(nn.Module):
    """A stream with two writers and two readers, and a norm that reads a sum, not a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(6)
        self.inner = nn.Conv2d(6, 6, 3, padding=1, bias=False)
        self.after = nn.BatchNorm2d(6)
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        stream = self.norm(self.stem(x))
        stream = self.after(stream + self.inner(stream.relu()))
        return self.head(stream.relu().mean((2, 3)))


def test_norm_behind_is_found_by_the_tensor_it_reads() -> None:
    model = Residual()
    assert find_norm_behind(model, IMAGES[:2]) == {"stem": "norm"}
    assert model.training
    assert not any(module._forward_hooks for module in model.modules())


def test_every_reader_of_a_stream_repairs_itself() -> None:
    torch.manual_seed(0)
    model = Residual().eval()
    structure = trace(model, IMAGES[:2])
    group = next(i for i, g in enumerate(structure.groups) if "stem" in g.writers)
    plan = without(structure, (0, 3), group)
    statistics = collect(TracedNetwork(model, structure, 4, CPU), BATCHES)
    removed = remove(model, Cut(structure, plan))
    fixed, notes = repair(removed, model, Cut(structure, plan), statistics)
    assert set(notes.repaired) == {"inner", "head"}
    assert notes.without_constant == ("inner",)
    assert error(model, fixed) < error(model, removed)


def test_new_norm_statistics_are_the_mean_over_batches() -> None:
    model = nn.Sequential(nn.BatchNorm2d(3, momentum=0.3), nn.Dropout(0.5)).train()
    fresh = reestimate_norms(model, BATCHES, CPU)
    expected = torch.stack([x.mean((0, 2, 3)) for x, _ in BATCHES]).mean(0)
    torch.testing.assert_close(fresh[0].running_mean, expected)
    assert fresh.training
    assert fresh[0].momentum == 0.3
    assert torch.equal(model[0].running_mean, torch.zeros(3))
    with pytest.raises(InputError, match="no images"):
        reestimate_norms(model, [], CPU)


class Mixed(nn.Module):
    """A concatenation, a squeeze-and-excite gate, and a transposed convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Conv2d(3, 6, 3), nn.Conv2d(3, 5, 3)
        self.gate = nn.Conv2d(11, 11, 1)
        self.up = nn.ConvTranspose2d(11, 4, 2, stride=2)
        self.head = nn.Linear(4 * 144, 4)

    def forward(self, x: Tensor) -> Tensor:
        both = torch.cat([self.left(x).relu(), self.right(x).relu()], 1)
        both = both * self.gate(both.mean((2, 3), keepdim=True)).sigmoid()
        return self.head(self.up(both).relu().flatten(1))


def test_every_kind_of_consumer_is_repaired() -> None:
    torch.manual_seed(0)
    model = Mixed().eval()
    with torch.no_grad():  # the second filter of each layer repeats its first
        for layer in (model.left, model.right):
            layer.weight[1], layer.bias[1] = layer.weight[0], layer.bias[0]
        for repeated, first in ((1, 0), (7, 6)):
            model.gate.weight[repeated] = model.gate.weight[first]
            model.gate.bias[repeated] = model.gate.bias[first]
        model.up.weight[:, 1], model.up.bias[1] = model.up.weight[:, 0], model.up.bias[0]
    structure = trace(model, IMAGES[:2])
    assert [group.name for group in structure.groups] == ["left", "right", "up"]
    plan = Plan(tuple(without(structure, (1,), group).layers[group] for group in range(3)))
    statistics = collect(TracedNetwork(model, structure, 4, CPU), BATCHES)
    removed = remove(model, Cut(structure, plan))
    fixed, notes = repair(removed, model, Cut(structure, plan), statistics)
    assert set(notes.repaired) == {"gate", "up", "head"}
    assert notes.without_constant == ("up",)
    assert error(model, removed) > 0.01
    assert error(model, fixed) < 1e-4
