import numpy as np
import pytest
import torch
from prune_dl.prune.errors import InputError, UsageError
from prune_dl.prune.mechanism import paper
from prune_dl.prune.mechanism.network import TracedNetwork
from prune_dl.prune.mechanism.paper import Maps, Sgd, cached, frozen, measure_by_sgd, train_probes
from prune_dl.prune.mechanism.spectrum import GroupSpectrum, measure
from prune_dl.prune.structure.units import Group, Reader, Structure
from scenes.bright_quarter import CPU, K, Net, images, network
from scenes.one_layer import OneLayer
from scipy.stats import spearmanr
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn


def literal(model: Net, epochs: int = 20) -> GroupSpectrum:
    source = cached(network(model), images(400, 0))
    spectrum = measure_by_sgd(network(model), source, images(200, 1), sgd=Sgd.of(epochs))
    assert spectrum.groups[0] is not None
    return spectrum.groups[0]


def test_a_probe_by_sgd_reads_labels_like_logistic_regression() -> None:
    x, y = load_digits(return_X_y=True)
    x = x / 16
    batches = torch.tensor(x[:1200]).float().split(100), torch.tensor(y[:1200]).split(100)
    parts = zip(*batches, strict=True)
    maps = [Maps({"": part}, {"": labels}, {"": (8, 8)}) for part, labels in parts]
    probe = train_probes(lambda epoch: iter(maps), 10, Sgd.of(40))[""]
    same_objective = LogisticRegression(C=1 / (1200 * 1e-3), fit_intercept=False, max_iter=500)
    oracle = same_objective.fit(x[:1200], y[:1200])
    predicted = probe.predict(torch.tensor(x[1200:]).float()).numpy()
    assert np.mean(predicted == oracle.predict(x[1200:])) > 0.93
    assert not probe.bias_K.any()


def test_the_schedule_ends_where_the_published_one_does() -> None:
    for epochs in (1, 20, 200):
        sgd = Sgd.of(epochs)
        assert sgd.lr * sgd.decay**sgd.epochs == pytest.approx(0.01 * 0.975**200)
    assert Sgd.of(200) == Sgd()
    with pytest.raises(UsageError, match=r"`probe_epochs=0` given; expected 1 or more"):
        Sgd.of(0)


def test_the_literal_field_is_what_silencing_the_other_units_gives() -> None:
    torch.manual_seed(0)
    model = Net()
    group = literal(model)
    x, y = (torch.cat(part) for part in zip(*images(200, 1), strict=True))
    seen: list[Tensor] = []
    handle = model.head.register_forward_pre_hook(lambda _, args: seen.append(args[0].detach()))
    model(x)
    handle.remove()
    for unit in range(6):
        probe = nn.Linear(12, K, bias=False)
        with torch.no_grad():
            probe.weight.copy_(whole_weights(group))
        alone = torch.zeros_like(seen[0])
        alone[:, [unit, unit + 6]] = seen[0][:, [unit, unit + 6]]
        outputs_NK = probe(alone).detach()
        expected = torch.stack([outputs_NK[y == label].mean(0) for label in range(K)])
        np.testing.assert_allclose(group.field(unit), expected.numpy(), atol=1e-4)


def whole_weights(group: GroupSpectrum) -> Tensor:
    """(K, 12) from (6, K, 2): unit u owns features u and u + 6."""
    return torch.cat([group.weights_UKQ[:, :, 0].T, group.weights_UKQ[:, :, 1].T], 1)


def test_the_fast_way_agrees_with_the_literal_one() -> None:
    torch.manual_seed(1)
    x, y = load_digits(return_X_y=True)
    x, y = torch.tensor(x).float().reshape(-1, 1, 8, 8) / 16, torch.tensor(y)
    train = list(zip(x[:1200].split(100), y[:1200].split(100), strict=True))
    held_out = [(x[1200:], y[1200:])]
    units, features = np.arange(16), np.repeat(np.arange(16), 64)
    head = Reader("head", units, features, "linear")
    one_group = Structure({}, (Group("conv", ("conv",), ("head",), units),), {"head": head})
    network = TracedNetwork(OneLayer(), one_group, 10, CPU)
    slow = measure_by_sgd(network, cached(network, train), held_out, sgd=Sgd.of(30))
    _, fast = measure(network, train, held_out)
    assert slow.groups[0] is not None
    assert fast.groups[0] is not None
    assert fast.groups[0].success_rate > slow.groups[0].success_rate - 0.03
    assert spearmanr(fast.groups[0].signal_F, slow.groups[0].signal_F).statistic > 0.8


def test_frozen_and_cached_maps_train_the_same_probe() -> None:
    torch.manual_seed(2)
    measured, batch = network(Net()), images(32, 0)[0]
    whole = cached(measured, [batch], batch_size=32)
    anew = frozen(measured, lambda epoch: [batch])
    first, second = (train_probes(source, K, Sgd.of(3)) for source in (whole, anew))
    for name, probe in first.items():
        torch.testing.assert_close(probe.weights_KD, second[name].weights_KD, rtol=1e-3, atol=1e-4)


def test_the_spectrum_says_how_it_was_measured_and_the_seed_starts_the_probes() -> None:
    torch.manual_seed(3)
    measured = network(Net())
    source = cached(measured, images(64, 0))
    spectra = [
        measure_by_sgd(measured, source, images(64, 1), sgd=Sgd.of(1, seed)) for seed in (0, 0, 1)
    ]
    first, same, other = (spectrum.groups[0] for spectrum in spectra)
    assert spectra[0].probe == "sgd (epochs: 1)"
    assert first is not None
    assert same is not None
    assert other is not None
    assert torch.equal(first.weights_UKQ, same.weights_UKQ)
    assert not torch.equal(first.weights_UKQ, other.weights_UKQ)


def test_images_of_several_sizes_have_no_whole_map() -> None:
    measured = network(Net())
    parts = [*images(8, 0), (torch.randn(8, 1, 10, 10), torch.arange(8) % K)]
    anew = frozen(measured, lambda epoch: parts)
    with pytest.raises(InputError, match=r"images of several sizes.*`probe=ridge`.*`input_size`"):
        train_probes(anew, K, Sgd.of(1))
    with pytest.raises(InputError, match="images of several sizes"):
        cached(measured, parts)


def test_probes_that_the_memory_cannot_hold_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    source = cached(network(Net()), images(8, 0))
    needed = 12 * K * (6 * 64 + 12)  # weight, gradient and momentum of both readers
    monkeypatch.setattr(paper, "memory_bytes", lambda device: needed)
    train_probes(source, K, Sgd.of(1))
    monkeypatch.setattr(paper, "memory_bytes", lambda device: needed - 1)
    with pytest.raises(InputError, match=r"`probe=sgd` needs 0 GB .* use `probe=ridge`"):
        train_probes(source, K, Sgd.of(1))


def test_the_memory_is_that_of_the_machine() -> None:
    there = paper.memory_bytes(CPU)
    assert there is None or 1e8 < there < 1e14
