"""The job on one logit for two labels, and on several labels for an image."""

import copy
from typing import Any

import pytest
import torch
from prune_dl.prune import compress, rank
from prune_dl.prune.errors import InputError, UsageError
from prune_dl.prune.mechanism.network import TracedNetwork
from prune_dl.prune.mechanism.probe import RIDGE, solve
from prune_dl.prune.mechanism.statistics import collect, load_statistics, merge, save_statistics
from prune_dl.prune.scores import MeanPrecision
from prune_dl.prune.selection.classic import taylor
from prune_dl.prune.structure.tracing.trace import trace
from scenes.two_tasks import bars, multi_label_set, one_logit_set, trained
from sklearn.linear_model import Ridge
from sklearn.metrics import average_precision_score
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

NEVER: dict[str, Any] = {"keep": 0.5, "epochs": 0, "device": "cpu"}
CPU = torch.device("cpu")
IMAGES, THERE = bars(240, 3)


def with_two_outputs(model: nn.Module) -> nn.Module:
    """The same classifier with an output of zero before its own."""
    two = copy.deepcopy(model)
    last = two[-1]
    two[-1] = nn.Linear(last.in_features, 2)
    with torch.no_grad():
        two[-1].weight.copy_(torch.cat([torch.zeros_like(last.weight), last.weight]))
        two[-1].bias.copy_(torch.cat([torch.zeros_like(last.bias), last.bias]))
    return two


@pytest.mark.parametrize("options", [{}, {"rank": "taylor"}, {"rank": "auto"}, {"epochs": 1}])
def test_one_logit_is_judged_as_the_two_that_it_stands_for(options: dict[str, Any]) -> None:
    loader = DataLoader(one_logit_set(240, 5), 40)
    one = compress(trained(1), loader, 2, **NEVER | options)
    two = compress(with_two_outputs(trained(1)), loader, 2, **NEVER | options)
    assert one.planned.plan == two.planned.plan
    for stage in ("original", "removed"):
        assert one.outcome.held_out[stage] == two.outcome.held_out[stage]
    final = one.outcome.held_out["final"].value
    assert final == pytest.approx(two.outcome.held_out["final"].value, abs=0.1)
    assert final >= 0.8
    assert one.model(IMAGES).shape == (240, 1)
    assert one.warnings[0].startswith("one output for two labels: the answer is 1 where it is abo")


def test_one_logit_has_its_own_accuracy() -> None:
    found = compress(trained(1), DataLoader(one_logit_set(), 50), 2, **NEVER)
    assert found.outcome.held_out["original"].value > 0.9


def test_float_targets_of_one_logit_are_classes() -> None:
    data = one_logit_set()
    data.tensors = (data.tensors[0], data.tensors[1].float()[:, None])
    found = compress(trained(1), DataLoader(data, 50), 2, **NEVER)
    expected = compress(trained(1), DataLoader(one_logit_set(), 50), 2, **NEVER)
    assert found.outcome.held_out == expected.outcome.held_out


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"epochs": 1, "mixup": 0.2, "patience": 2},
        {"rank": "taylor"},
        {"rank": "auto", "keep": 0.3},
        {"steps": 2},
        {"rank": "label-loss", "allocate": "uniform"},
    ],
)
def test_several_labels_are_judged_by_mean_average_precision(options: dict[str, Any]) -> None:
    found = compress(trained(3), DataLoader(multi_label_set(), 50), 3, **NEVER | options)
    for stage, score in found.outcome.held_out.items():
        assert isinstance(score, MeanPrecision), stage
        assert score.total == 30
    assert found.outcome.held_out["final"].value >= found.outcome.held_out["original"].value - 0.03
    assert found.warnings[0].startswith("several labels for an image: the answer is every label")
    assert not any("top-1" in text for text in (*found.warnings, *found.outcome.facts))
    assert "held-out mean average precision, nothing" in found.outcome.facts


def test_its_value_is_that_of_the_network_on_the_held_out_images() -> None:
    held_out = multi_label_set(200, 8)
    loaders = (DataLoader(x, 50) for x in (multi_label_set(), held_out))
    train, deciding = loaders
    found = compress(trained(3), train, 3, held_out=deciding, **NEVER)
    images, there = held_out.tensors
    with torch.no_grad():
        expected = average_precision_score(there, trained(3)(images))
    assert found.outcome.held_out["original"].value == pytest.approx(expected)


def test_a_drop_is_one_of_mean_average_precision() -> None:
    options = {**NEVER, "max_drop": 3.0}
    del options["keep"]
    found = compress(trained(3), DataLoader(multi_label_set(), 50), 3, **options)
    scores = found.outcome.held_out
    assert scores["final"].value >= scores["original"].value - 0.03
    assert sum(len(x.kept) for x in found.planned.plan.layers) < 28


def test_one_hot_targets_are_classes_and_that_is_said() -> None:
    images, _ = bars(120, 2)
    data = torch.utils.data.TensorDataset(images, torch.eye(3)[torch.arange(120) % 3])
    found = compress(trained(3), DataLoader(data, 50), 3, **NEVER)
    assert found.warnings[0].startswith("every target is a row of 3 numbers with a single 1")
    assert hasattr(found.outcome.held_out["final"], "top1")


def test_what_does_not_fit_is_one_line() -> None:
    several = DataLoader(multi_label_set(), 50)
    with pytest.raises(InputError, match="targets of 3 numbers for each image given, for 4 labels"):
        compress(trained(3), several, 4, **NEVER)
    with pytest.raises(UsageError, match="`cut_depth` given for data with several labels"):
        compress(trained(3), several, 3, **NEVER, cut_depth=True)
    with pytest.raises(InputError, match="a network of 1 outputs given, for 3 labels"):
        compress(trained(1), several, 3, **NEVER)


def traced(model: nn.Module) -> TracedNetwork:
    return TracedNetwork(model, trace(model, IMAGES[:4]), 3, CPU)


def test_probes_of_several_labels_are_ridge_regressions_of_each() -> None:
    network = traced(trained(3))
    statistics = collect(network, [(IMAGES[:100], THERE[:100]), (IMAGES[100:], THERE[100:])])
    with torch.no_grad():
        pooled = network.model[:5](IMAGES).flatten(1).double()
    layer = statistics.layers["6"]
    assert torch.equal(layer.counts_K, THERE.sum(0).double())
    assert torch.allclose(layer.sums_KD, THERE.T.double() @ pooled, atol=1e-3)
    assert int(layer.num_samples) == 240
    assert torch.allclose(layer.mean_D, pooled.mean(0), atol=1e-5)
    probe = solve(layer)
    centred = pooled - pooled.mean(0)
    penalty = RIDGE * float(centred.square().sum() / 240)
    expected = Ridge(alpha=penalty).fit(pooled.numpy(), THERE.double().numpy())
    assert torch.allclose(probe.weights_KD.double(), torch.tensor(expected.coef_), atol=1e-4)
    assert torch.allclose(probe.bias_K.double(), torch.tensor(expected.intercept_), atol=1e-4)


def test_statistics_of_several_labels_add_up_and_come_back_from_a_file(tmp_path: Any) -> None:
    network = traced(trained(3))
    parts = zip(IMAGES.split(90), THERE.split(90), strict=True)
    halves = [collect(network, [part]) for part in parts]
    whole = collect(network, [(IMAGES, THERE)])
    merged = merge(merge(halves[0], halves[1]), halves[2])
    save_statistics(merged, tmp_path / "a.safetensors")
    back = load_statistics(tmp_path / "a.safetensors")
    for name, layer in whole.layers.items():
        assert torch.allclose(back.layers[name].mean_D, layer.mean_D, atol=1e-5)
        assert torch.equal(back.layers[name].num_samples, layer.num_samples)
        found = solve(back.layers[name]).weights_KD
        assert torch.allclose(found, solve(layer).weights_KD, atol=1e-4)


def test_success_rates_are_the_probes_mean_average_precision() -> None:
    train, held_out = bars(400, 1), bars(300, 2)
    spectrum = rank(trained(3), [(train[0], train[1].float())], [held_out], 3, device="cpu")
    network = traced(trained(3))
    probe = solve(collect(network, [train]).layers["6"])
    with torch.no_grad():
        said = probe.outputs(network.model[:5](held_out[0]).flatten(1))
    expected = average_precision_score(held_out[1], said)
    assert spectrum.depth[-1].success_rate == pytest.approx(expected, abs=1e-6)
    field_KK = spectrum.groups[-1].field(0)
    with torch.no_grad():
        maps = network.model[:5](held_out[0])
    alone = torch.zeros_like(maps)
    alone[:, 0] = maps[:, 0]
    outputs_NK = alone.flatten(1) @ probe.weights_KD.T
    by_hand = [outputs_NK[held_out[1][:, label] == 1].mean(0) for label in range(3)]
    assert torch.allclose(torch.tensor(field_KK), torch.stack(by_hand), atol=1e-4)


def test_taylor_takes_the_gradient_of_binary_cross_entropy() -> None:
    model = copy.deepcopy(trained(3))
    structure = trace(model, IMAGES[:4])
    found = taylor(model, structure, [(IMAGES[:50], THERE[:50])])(structure.groups[0])
    loss = F.binary_cross_entropy_with_logits(model(IMAGES[:50]), THERE[:50].float())
    weight = model[0].weight
    (gradient,) = torch.autograd.grad(loss, [weight])
    expected = (weight * gradient).flatten(1).sum(1).square().detach()
    assert torch.allclose(torch.tensor(found), expected.double(), rtol=1e-3)
