"""The published training on a sample of one pass, against the published probe and scikit-learn."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from compare_spectra import Agreement, compare_spectra
from prune_dl.prune.mechanism.network import TracedNetwork
from prune_dl.prune.mechanism.paper import Maps, Sgd, cached, measure_by_sgd, train_probes
from prune_dl.prune.mechanism.sample import LayerSample, quantise_features
from prune_dl.prune.mechanism.softmax import fit_probe, spectrum_by_softmax
from prune_dl.prune.mechanism.spectrum import Spectrum, measure
from prune_dl.prune.mechanism.statistics import collect
from prune_dl.prune.structure.units import Group, Reader, Structure
from scenes.bright_quarter import CPU, Net, images, network
from scenes.one_layer import OneLayer
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

SIDE = 8


def digits() -> tuple[Tensor, Tensor]:
    """Maps of one channel, (N, 64), and labels."""
    x, y = load_digits(return_X_y=True)
    return torch.tensor(x).float() / 16, torch.tensor(y)


def sample_of(x_ND: Tensor, y_N: Tensor, grid: tuple[int, int], cell_area: float) -> LayerSample:
    levels, steps = quantise_features(x_ND)
    return LayerSample(grid, cell_area, len(y_N), levels, steps, y_N, torch.arange(len(y_N)))


def published(x_ND: Tensor, y_N: Tensor, sgd: Sgd) -> Tensor:
    """Weights of the published probe from zero, over the same mini-batches."""

    def source(epoch: int):
        order = torch.randperm(len(y_N), generator=torch.Generator().manual_seed(epoch))
        for index in torch.split(order, sgd.batch_size):
            yield Maps({"": x_ND[index]}, {"": y_N[index]}, {"": (SIDE, SIDE)})

    return train_probes(source, 10, replace(sgd, seed=None))[""].weights_KD


def close(actual: Tensor, expected: Tensor) -> None:
    """To the rounding of the sample: some hundredths of the largest weight."""
    assert (actual - expected).abs().max() < 0.03 * expected.abs().max()
    assert np.corrcoef(actual.flatten(), expected.flatten())[0, 1] > 0.9995


def test_on_whole_maps_it_is_the_published_training() -> None:
    (x, y), sgd = digits(), Sgd.of(5)
    probe = fit_probe(sample_of(x, y, (SIDE, SIDE), 1), 10, sgd, device=CPU)
    close(probe.weights_KD, published(x, y, sgd))
    assert not probe.bias_K.any()


@pytest.mark.parametrize("side", [4, 2])
def test_on_a_grid_it_is_the_published_training_with_equal_weights_in_a_cell(side: int) -> None:
    """Blurring the map within its cells keeps SGD's weights equal there: the brute-force way."""
    (x, y), sgd, times = digits(), Sgd.of(5), SIDE // side
    pooled_NHW = nn.functional.avg_pool2d(x.view(-1, 1, SIDE, SIDE), times)[:, 0]
    blurred = pooled_NHW.repeat_interleave(times, 1).repeat_interleave(times, 2).flatten(1)
    whole = published(blurred, y, sgd).view(10, side, times, side, times)
    torch.testing.assert_close(whole[:, :, :1, :, :1].expand_as(whole), whole)
    sample = sample_of(pooled_NHW.flatten(1), y, (side, side), times**2)
    close(fit_probe(sample, 10, sgd, device=CPU).weights_KD, whole.sum((2, 4)).flatten(1))


def test_it_ends_near_the_optimum_that_logistic_regression_finds() -> None:
    (x, y), decay = digits(), 0.03  # strong, so that the schedule is long enough to get there
    sample = sample_of(x[:1200], y[:1200], (SIDE, SIDE), 1)
    probe = fit_probe(sample, 10, Sgd(weight_decay=decay), device=CPU)
    same_objective = LogisticRegression(C=1 / (1200 * decay), fit_intercept=False, max_iter=2000)
    oracle = same_objective.fit(x[:1200].numpy(), y[:1200].numpy())
    weights = probe.weights_KD
    best = torch.tensor(oracle.coef_).float()
    losses = [objective(w, x[:1200], y[:1200], decay) for w in (weights, best)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    agree = probe.predict(x[1200:]).numpy() == oracle.predict(x[1200:].numpy())
    assert agree.mean() > 0.99


def objective(weights_KD: Tensor, x_ND: Tensor, y_N: Tensor, decay: float) -> float:
    """Cross-entropy and weight decay."""
    loss = nn.functional.cross_entropy(x_ND @ weights_KD.T, y_N)
    return float(loss + decay / 2 * weights_KD.square().sum())


def fast(network: TracedNetwork, train, held_out, sgd: Sgd) -> Spectrum:
    """One pass with samples, then the probes."""
    statistics = collect(network, train, sampled=True)
    return spectrum_by_softmax(network, statistics, held_out, sgd=sgd)


def against_the_published() -> tuple[Agreement, Agreement]:
    """Softmax and ridge, both compared with the published probe, on the digits."""
    torch.manual_seed(1)
    x, y = digits()
    x = x.view(-1, 1, SIDE, SIDE)
    train = list(zip(x[:1200].split(100), y[:1200].split(100), strict=True))
    held_out = [(x[1200:], y[1200:])]
    units = np.arange(16)
    head = Reader("head", units, np.repeat(units, 64), "linear")
    one_group = Structure({}, (Group("conv", ("conv",), ("head",), units),), {"head": head})
    network = TracedNetwork(OneLayer(), one_group, 10, CPU)
    slow = measure_by_sgd(network, cached(network, train), held_out, sgd=Sgd.of(30))
    softmax = fast(network, train, held_out, Sgd.of(30))
    ridge = measure(network, train, held_out)[1]
    return compare_spectra(softmax, slow)[0], compare_spectra(ridge, slow)[0]


def test_its_scores_agree_with_the_published_probe_where_those_of_ridge_do_not() -> None:
    softmax, ridge = against_the_published()
    assert softmax.signal > 0.97 > ridge.signal
    assert softmax.snr > 0.7 > ridge.snr
    assert softmax.sharpness > 0.5 > ridge.sharpness
    assert softmax.labels > 0.8 > ridge.labels
    assert softmax.same_clusters > ridge.same_clusters + 0.2
    assert softmax.rates[0] > softmax.rates[1] - 0.01


def test_the_same_pass_gives_the_same_spectrum() -> None:
    torch.manual_seed(0)
    model = Net()
    first, second = (
        fast(network(model), images(200, 0), images(100, 1), Sgd.of(3)) for _ in range(2)
    )
    assert first.probe == "softmax (epochs: 3)"
    assert first.groups[0] is not None
    assert second.groups[0] is not None
    assert torch.equal(first.groups[0].weights_UKQ, second.groups[0].weights_UKQ)


def test_a_label_without_held_out_images_takes_its_row_from_the_sample() -> None:
    torch.manual_seed(0)
    model, train = Net(), images(300, 0)
    held_out = images(100, 1, labels=(0, 1, 3))
    statistics = collect(network(model), train, sampled=True)
    spectrum = spectrum_by_softmax(network(model), statistics, held_out, sgd=Sgd.of(2))
    assert spectrum.labels_without_held_out == (2,)
    group, sample = spectrum.groups[0], statistics.layers["head"].sample
    assert group is not None
    assert sample is not None
    expected_U = sample.features()[sample.labels_S == 2].mean(0)[:6]
    torch.testing.assert_close(group.means_UKQ[:, 2, 0], expected_U)


def test_rare_labels_are_read_and_missing_ones_never_called() -> None:
    torch.manual_seed(0)
    model = Net()
    rare = images(600, 0, labels=(0, 1)) + images(40, 2, labels=(2,))
    spectrum = fast(network(model), rare, images(300, 1, labels=(2,)), Sgd.of(40))
    assert spectrum.depth[0].success_rate > 0.5  # of images of the rare label alone
    none = fast(network(model), rare, images(300, 1, labels=(3,)), Sgd.of(40))
    assert max(point.success_rate for point in none.depth) == 0
