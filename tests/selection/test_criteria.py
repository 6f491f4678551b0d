"""Criteria: hand counts, laws under permutation and scale, and what each of them needs."""

import numpy as np
import pytest
import torch
from prune_dl.prune.errors import InputError, UsageError
from prune_dl.prune.mechanism.network import TracedNetwork
from prune_dl.prune.mechanism.spectrum import GroupSpectrum, Spectrum, measure
from prune_dl.prune.mechanism.statistics import Statistics
from prune_dl.prune.options import RANKS
from prune_dl.prune.selection.criteria import CRITERIA, rank_units
from prune_dl.prune.selection.evidence import Evidence
from prune_dl.prune.structure.tracing.trace import trace
from prune_dl.prune.structure.units import Group, Structure
from torch import nn

CPU = torch.device("cpu")
GENERATOR = torch.Generator().manual_seed(1)
LABELS = torch.arange(64) % 4
IMAGES = torch.randn(64, 3, 8, 8, generator=GENERATOR) + LABELS[:, None, None, None] / 2
BATCHES = [(IMAGES[:32], LABELS[:32]), (IMAGES[32:], LABELS[32:])]


def network(norm: bool = True) -> nn.Sequential:
    torch.manual_seed(0)
    middle: list[nn.Module] = [nn.BatchNorm2d(8)] if norm else []
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        *middle,
        nn.ReLU(),
        nn.Conv2d(8, 6, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(4),
        nn.Flatten(),
        nn.Linear(24, 4),
    )
    if norm:
        nn.init.uniform_(model[1].weight)
    return model.eval()


def measured(model: nn.Module) -> tuple[Structure, Statistics, Spectrum]:
    structure = trace(model, IMAGES[:2])
    return (structure, *measure(TracedNetwork(model, structure, 4, CPU), BATCHES, BATCHES))


def permuted(model: nn.Sequential, order: list[int]) -> nn.Sequential:
    """The same function with the first layer's filters in another order."""
    other = network()
    other.load_state_dict(model.state_dict())
    with torch.no_grad():
        for tensor in (*other[0].parameters(), *other[1].parameters()):
            tensor.copy_(tensor[order])
        for tensor in (other[1].running_mean, other[1].running_var):
            tensor.copy_(tensor[order])
        other[3].weight.copy_(other[3].weight[:, order])
    return other


@pytest.mark.parametrize("criterion", [c for c in CRITERIA if c not in ("random", "bn-scale")])
def test_permuting_filters_permutes_scores_and_nothing_else(criterion: str) -> None:
    shuffle = [3, 1, 7, 0, 5, 2, 6, 4]
    rankings = []
    for model in (network(), permuted(network(), shuffle)):
        structure, statistics, spectrum = measured(model)
        rankings.append(
            rank_units(criterion, Evidence(model, structure, statistics, spectrum, BATCHES))
        )
    first, second = rankings
    np.testing.assert_allclose(second.scores[0], first.scores[0][shuffle], rtol=1e-3, atol=1e-7)
    np.testing.assert_allclose(second.scores[1], first.scores[1], rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("criterion", CRITERIA)
def test_every_criterion_gives_a_whole_order_and_a_rising_error(criterion: str) -> None:
    model = network()
    structure = trace(model, IMAGES[:2])
    if criterion == "bn-scale":
        with pytest.raises(InputError, match="bn-scale cannot rank 3"):
            rank_units(criterion, Evidence(model, structure))
        return
    structure, statistics, spectrum = measured(model)
    again = [
        rank_units(criterion, Evidence(model, structure, statistics, spectrum, BATCHES))
        for _ in range(2)
    ]
    for group, order, errors in zip(structure.groups, again[0].order, again[0].error, strict=True):
        (error,) = (errors[reader] for reader in group.readers)
        assert sorted(order.tolist()) == list(range(len(group.units)))
        assert error[0] == 0
        assert (np.diff(error) >= -1e-9).all()
        assert error[-1] == pytest.approx(1, abs=1e-3)
    for one, other in zip(again[0].order, again[1].order, strict=True):
        assert one.tolist() == other.tolist()


def test_weight_criteria_by_hand() -> None:
    model = network()
    structure = trace(model, IMAGES[:2])
    rows = model[0].weight.detach().flatten(1).double()
    by_hand = {
        "l1": rows.abs().sum(1),
        "l2": rows.norm(dim=1),
        "fpgm": (rows[:, None] - rows[None]).norm(dim=2).sum(1),
    }
    for criterion, expected in by_hand.items():
        np.testing.assert_allclose(
            rank_units(criterion, Evidence(model, structure)).scores[0], expected, rtol=1e-6
        )
    squares = rows.square().sum(1)
    lamp = [float(s / squares[squares >= s].sum()) for s in squares]
    np.testing.assert_allclose(
        rank_units("lamp", Evidence(model, structure)).scores[0], lamp, rtol=1e-6
    )


def test_bn_scale_is_the_magnitude_of_the_scale() -> None:
    model = nn.Sequential(*list(network())[:3], nn.Flatten(), nn.Linear(512, 4))
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([0.1, -0.9, 0.2, 0.3, 0.4, 0.5, 0.6, -0.7]))
    ranking = rank_units("bn-scale", Evidence(model, trace(model, IMAGES[:2])))
    assert ranking.order[0].tolist() == [0, 2, 3, 4, 5, 6, 7, 1]


def test_taylor_is_the_squared_slope_of_silencing_a_filter() -> None:
    model = network()
    structure = trace(model, IMAGES[:2])
    scores = rank_units("taylor", Evidence(model, structure, batches=BATCHES[:1])).scores[1]
    images, labels = BATCHES[0]
    for unit in range(6):
        losses = []
        for share in (1 + 1e-3, 1 - 1e-3):
            other = network()
            with torch.no_grad():
                other[3].weight[unit] *= share
                losses.append(nn.functional.cross_entropy(other(images), labels).double())
        slope = float(losses[0] - losses[1]) / 2e-3
        assert scores[unit] == pytest.approx(slope**2, rel=0.05, abs=1e-6)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_filter_without_outgoing_weights_goes_first() -> None:
    model = network()
    with torch.no_grad():
        model[3].weight[:, 5] = 0
    structure, statistics, _ = measured(model)
    ranking = rank_units("response", Evidence(model, structure, statistics=statistics))
    assert ranking.order[0][0] == 5
    assert ranking.error[0]["3"][1] < 1e-9


def test_a_callable_ranks_and_its_mistakes_are_told() -> None:
    model = network()
    structure = trace(model, IMAGES[:2])
    ranking = rank_units(
        lambda group, index: np.arange(len(group.units))[::-1], Evidence(model, structure)
    )
    assert ranking.order[0].tolist() == [7, 6, 5, 4, 3, 2, 1, 0]
    with pytest.raises(InputError, match="expected 8 finite"):
        rank_units(lambda group, index: np.zeros(3), Evidence(model, structure))


@pytest.mark.parametrize("criterion", ["mechanism", "response", "label-loss", "snr", "taylor"])
def test_what_is_missing_is_told(criterion: str) -> None:
    model = network()
    with pytest.raises(UsageError, match=f"`criterion={criterion}` given without"):
        rank_units(criterion, Evidence(model, trace(model, IMAGES[:2])))


def test_an_unknown_criterion_lists_the_known_ones() -> None:
    model = network()
    with pytest.raises(UsageError, match="expected one of mechanism, response"):
        rank_units("magic", Evidence(model, trace(model, IMAGES[:2])))


def test_random_follows_its_seed() -> None:
    model = network()
    structure = trace(model, IMAGES[:2])
    one, same, other = (
        rank_units("random", Evidence(model, structure, seed=seed)) for seed in (1, 1, 2)
    )
    assert one.order[0].tolist() == same.order[0].tolist() != other.order[0].tolist()


def largest_weight(filters: torch.Tensor) -> torch.Tensor:
    """A user's criterion."""
    return filters.abs().amax(dim=1)


def field_and_group(group: Group, fields: GroupSpectrum | None, more: int = 1) -> list[float]:
    assert fields is not None
    return [more * float(x) for x in fields.snr_F[: len(group.units)]]


def of_nothing() -> float:
    raise ValueError("no idea")


def with_unknown(filters: torch.Tensor, gradients: torch.Tensor) -> torch.Tensor:
    return filters + gradients


def too_few(filters: torch.Tensor) -> torch.Tensor:
    return filters[1:, 0]


def test_a_users_callable_ranks_and_is_named_in_the_result() -> None:
    model = network()
    structure, statistics, spectrum = measured(model)
    spec = f"{__name__}:largest_weight"
    ranking = rank_units(spec, Evidence(model, structure, statistics=statistics, spectrum=spectrum))
    assert ranking.criterion == spec
    expected = model[0].weight.detach().abs().flatten(1).amax(1).double().numpy()
    np.testing.assert_allclose(ranking.scores[0], expected)
    np.testing.assert_array_equal(ranking.order[0], np.argsort(expected, kind="stable"))
    by_field = rank_units(
        f"{__name__}:field_and_group", Evidence(model, structure, spectrum=spectrum)
    )
    np.testing.assert_allclose(by_field.scores[1], spectrum.groups[1].snr_F)


@pytest.mark.parametrize(
    ("name", "error", "said"),
    [
        ("missing", InputError, "no callable named missing"),
        ("of_nothing", InputError, "ValueError: no idea"),
        ("with_unknown", UsageError, "'gradients'"),
        ("too_few", InputError, "expected 8 finite numbers"),
    ],
)
def test_a_users_mistake_is_one_error_of_ours(name: str, error: type[Exception], said: str) -> None:
    model = network()
    with pytest.raises(error, match=said):
        rank_units(f"{__name__}:{name}", Evidence(model, trace(model, IMAGES[:2])))


def test_the_command_line_knows_every_criterion() -> None:
    assert set(RANKS) == {*CRITERIA, "auto"}
