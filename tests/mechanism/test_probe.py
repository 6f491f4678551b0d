import numpy as np
import pytest
import torch
from prune_dl.prune.mechanism.fields import features_of_units, output_fields, split_by_unit
from prune_dl.prune.mechanism.probe import RIDGE, solve
from prune_dl.prune.mechanism.statistics import LayerStatistics
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression, Ridge
from torch import Tensor, nn


def statistics_of(x_ND: Tensor, y_N: Tensor, num_labels: int) -> LayerStatistics:
    x_ND = x_ND.double()
    one_hot_NK = nn.functional.one_hot(y_N, num_labels).double()
    empty = torch.zeros(1, 1, dtype=torch.float64)
    return LayerStatistics((1, 1), one_hot_NK.sum(0), one_hot_NK.T @ x_ND, x_ND.T @ x_ND, empty)


def digits() -> tuple[Tensor, Tensor]:
    x, y = load_digits(return_X_y=True)
    return torch.from_numpy(x).float(), torch.from_numpy(y)


@pytest.mark.parametrize("ridge", [RIDGE, 30.0])
def test_the_probe_is_scikit_learns_ridge(ridge: float) -> None:
    x, y = digits()
    probe = solve(statistics_of(x, y, 10), ridge)
    penalty = ridge * float(x.double().var(0, correction=0).sum())
    oracle = Ridge(alpha=penalty).fit(x.double().numpy(), np.eye(10)[y.numpy()])
    np.testing.assert_allclose(probe.weights_KD.numpy(), oracle.coef_, atol=1e-6)
    np.testing.assert_allclose(probe.bias_K.numpy(), oracle.intercept_, atol=1e-6)


def test_the_probe_reads_labels_about_as_well_as_logistic_regression() -> None:
    x, y = digits()
    train, held_out = slice(0, 1200), slice(1200, None)
    probe = solve(statistics_of(x[train], y[train], 10))
    oracle = LogisticRegression(max_iter=1000, C=0.01).fit(x[train].numpy(), y[train].numpy())
    rate = float((probe.predict(x[held_out]) == y[held_out]).float().mean())
    assert rate > oracle.score(x[held_out].numpy(), y[held_out].numpy()) - 0.06
    assert rate > 0.86


@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_predictions_do_not_depend_on_the_scale_of_the_features(scale: float) -> None:
    x, y = digits()
    plain, scaled = solve(statistics_of(x, y, 10)), solve(statistics_of(x * scale, y, 10))
    torch.testing.assert_close(scaled.weights_KD * scale, plain.weights_KD, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(scaled.bias_K, plain.bias_K, rtol=1e-4, atol=1e-6)


def test_a_label_without_samples_is_never_predicted() -> None:
    x, y = digits()
    probe = solve(statistics_of(x[y != 3], y[y != 3], 10))
    assert not probe.weights_KD[3].any()
    assert not (probe.predict(x) == 3).any()


def test_features_that_never_vary_leave_only_the_bias() -> None:
    x, y = torch.ones(10, 4), torch.tensor([0] * 7 + [1] * 3)
    probe = solve(statistics_of(x, y, 2))
    assert not probe.weights_KD.any()
    torch.testing.assert_close(probe.bias_K, torch.tensor([0.7, 0.3]))


def silence_the_others(
    probe: nn.Linear, x_NCP: Tensor, y_N: Tensor, channels: list[int], num_labels: int
) -> Tensor:
    """The published phase 3: only one unit speaks, outputs are averaged over each label."""
    alone_NCP = torch.zeros_like(x_NCP)
    alone_NCP[:, channels] = x_NCP[:, channels]
    outputs_NK = probe(alone_NCP.flatten(1)).detach()
    return torch.stack([outputs_NK[y_N == label].mean(0) for label in range(num_labels)])


def test_fields_are_what_silencing_the_other_units_gives() -> None:
    generator = torch.Generator().manual_seed(0)
    x_NCP, y_N = torch.rand(40, 5, 4, generator=generator), torch.arange(40) % 3
    probe = nn.Linear(20, 3, bias=False)
    means_KD = torch.stack([x_NCP[y_N == k].flatten(1).mean(0) for k in range(3)])
    unit_C = np.array([7, -1, 8, 9, 8])  # unit 8 owns two channels, one channel stays for ever
    index_UQ = features_of_units(np.array([7, 8, 9]), unit_C, cells=4)
    weights_UKQ = split_by_unit(probe.weight.detach(), index_UQ)
    fields_UKK = output_fields(weights_UKQ, split_by_unit(means_KD, index_UQ))
    for field_KK, channels in zip(fields_UKK, ([0], [2, 4], [3]), strict=True):
        expected_KK = silence_the_others(probe, x_NCP, y_N, channels, 3)
        torch.testing.assert_close(field_KK, expected_KK, rtol=1e-5, atol=1e-6)


def test_fields_of_all_units_add_up_to_the_probes_mean_output() -> None:
    means_KD, weights_KD = torch.rand(3, 12), torch.randn(3, 12)
    index_UQ = features_of_units(np.arange(4), np.arange(4), cells=3)
    fields_UKK = output_fields(
        split_by_unit(weights_KD, index_UQ), split_by_unit(means_KD, index_UQ)
    )
    torch.testing.assert_close(fields_UKK.sum(0), means_KD @ weights_KD.T)
