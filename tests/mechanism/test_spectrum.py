import numpy as np
import pytest
import torch
from prune_dl.prune.mechanism import summary
from prune_dl.prune.mechanism.network import TracedNetwork
from prune_dl.prune.mechanism.spectrum import measure
from prune_dl.prune.structure.units import Group, Reader, Structure
from scenes.bright_quarter import CPU, K, Net, images, run
from torch import Tensor, nn


def test_every_group_and_reader_has_its_line() -> None:
    torch.manual_seed(0)
    _, spectrum = run(Net())
    assert spectrum.groups[1] is None
    assert [(p.reader, p.writer) for p in spectrum.depth] == [("block", "stem"), ("head", "stem")]
    assert spectrum.groups[0] is not None
    assert spectrum.groups[0].reader == "head"
    assert spectrum.groups[0].success_rate == spectrum.depth[1].success_rate
    assert spectrum.depth[0].success_rate > 0.6  # a grid sees where the bright quarter is


def test_a_shared_units_field_is_what_silencing_all_others_gives() -> None:
    torch.manual_seed(1)
    model = Net()
    _, spectrum = run(model)
    group = spectrum.groups[0]
    assert group is not None
    x, y = (torch.cat(part) for part in zip(*images(200, 1), strict=True))
    seen: list[Tensor] = []
    handle = model.head.register_forward_pre_hook(lambda _, args: seen.append(args[0].detach()))
    model(x)
    handle.remove()
    for unit in range(6):
        q = [unit, unit + 6]
        outputs_NK = seen[0][:, q] @ group.weights_UKQ[unit].T
        expected = torch.stack([outputs_NK[y == label].mean(0) for label in range(K)]).numpy()
        np.testing.assert_allclose(group.field(unit), expected, atol=1e-5)
        np.testing.assert_allclose(group.fields_FKK[unit], expected, atol=1e-5)


def test_layer_figures_are_means_over_its_filters() -> None:
    torch.manual_seed(2)
    group = run(Net())[1].groups[0]
    assert group is not None
    sizes = [len(cluster) for clusters in group.clusters for cluster in clusters]
    assert group.cluster_size == pytest.approx(np.mean(sizes))
    assert group.clusters_per_filter == pytest.approx(len(sizes) / 6)
    assert group.labels_on_diagonal == pytest.approx(sum(sizes) / 6)
    assert group.noise == pytest.approx(group.labels.noise_U.mean())
    assert group.noise >= group.noise_in


def test_new_order_of_filters_changes_nothing_else() -> None:
    torch.manual_seed(3)
    model = Net()
    before = run(model)[1].groups[0]
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    with torch.no_grad():
        for layer in (model.stem, model.block):
            layer.weight.copy_(layer.weight[order].clone())
            assert layer.bias is not None
            layer.bias.copy_(layer.bias[order].clone())
        model.block.weight.copy_(model.block.weight[:, order].clone())
    after = run(model)[1].groups[0]
    assert before is not None
    assert after is not None
    assert after.success_rate == before.success_rate
    np.testing.assert_allclose(after.signal_F, before.signal_F[order], atol=1e-5)
    np.testing.assert_allclose(after.fields_FKK, before.fields_FKK[order], atol=1e-5)


def test_a_label_missing_from_the_held_out_images_is_named() -> None:
    torch.manual_seed(4)
    statistics, spectrum = run(Net(), held_out=images(100, 1, labels=(0, 1, 3)))
    assert spectrum.labels_without_held_out == (2,)
    group, layer = spectrum.groups[0], statistics.layers["head"]
    assert group is not None
    training_mean_D = (layer.sums_KD[2] / layer.counts_K[2]).float()
    torch.testing.assert_close(group.means_UKQ[:, 2].T.flatten(), training_mean_D)


def test_a_label_missing_everywhere_gives_zero_rows_and_columns() -> None:
    torch.manual_seed(5)
    three = (0, 1, 3)
    _, spectrum = run(Net(), train=images(300, 0, three), held_out=images(100, 1, three))
    group = spectrum.groups[0]
    assert group is not None
    assert not group.fields_FKK[:, 2].any()
    assert not group.fields_FKK[:, :, 2].any()
    assert np.isfinite(group.snr)


class Flat(nn.Module):
    """One convolution, its whole map read by one linear layer."""

    def __init__(self, num_labels: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 6, 3, padding=1)
        self.head = nn.Linear(6 * 64, num_labels)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.stem(x).relu().flatten(1))


def flat_structure() -> Structure:
    units = np.arange(6)
    head = Reader("head", units, np.repeat(units, 64), "linear")
    return Structure({}, (Group("stem", ("stem",), ("head",), units),), {"head": head})


def test_a_rare_label_is_still_read_and_selected() -> None:
    torch.manual_seed(6)
    often, rarely = images(1900, 0, (0, 1)), images(100, 2, (2, 3))
    held_out = images(400, 1)
    network = TracedNetwork(Flat(K), flat_structure(), K, CPU)
    statistics, spectrum = measure(network, often + rarely, held_out)
    counts_K = statistics.layers["head"].counts_K
    assert counts_K[2:].max() < 0.06 * counts_K[:2].min()
    group = spectrum.groups[0]
    assert group is not None
    assert group.success_rate > 0.75  # half of the held-out images have a rare label
    selected = {label for clusters in group.clusters for cluster in clusters for label in cluster}
    assert {2, 3} <= selected


def test_many_labels_are_measured_in_slabs(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(7)
    num_labels = 1000
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1500, 1, 8, 8, generator=generator)
    y = torch.randint(num_labels, (1500,), generator=generator)
    batches = list(zip(x.split(500), y.split(500), strict=True))
    network = TracedNetwork(Flat(num_labels), flat_structure(), num_labels, CPU)
    _, whole = measure(network, batches, batches)
    monkeypatch.setattr(summary, "SLAB_BYTES", 2 * num_labels**2)
    monkeypatch.setattr(summary, "FIELD_BYTES", 1)
    _, slabs = measure(network, batches, batches)
    first, second = whole.groups[0], slabs.groups[0]
    assert first is not None
    assert second is not None
    assert first.clusters == second.clusters
    assert np.array_equal(first.labels.noise_U, second.labels.noise_U)
    assert first.snr == second.snr
    assert len(whole.labels_without_held_out) == num_labels - len(y.unique())
