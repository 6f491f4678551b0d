"""Every removable unit of every kind of network has a field, seen by a reader that really runs.

A convolution or linear layer without removable units has its reason in `kept_whole`.
"""

import pytest
import torch
from prune_dl.prune.inputs.zoo import build
from prune_dl.prune.mechanism.fields import features_of_units
from prune_dl.prune.mechanism.network import TracedNetwork
from prune_dl.prune.mechanism.paper import Sgd
from prune_dl.prune.mechanism.softmax import spectrum_by_softmax
from prune_dl.prune.mechanism.spectrum import Spectrum, measure
from prune_dl.prune.mechanism.statistics import collect
from prune_dl.prune.structure.tracing.trace import trace
from prune_dl.prune.structure.units import Structure
from torch import nn
from torchvision.models import get_model

CPU = torch.device("cpu")
K = 3
SLOW = (
    "resnet18",
    "mobilenet_v3_small",
    "densenet121",
    "efficientnet_b0",
    "convnext_tiny",
    "shufflenet_v2_x0_5",
)


def check_every_unit_has_a_field(model: nn.Module, size: int) -> None:
    """Measure on a few random images."""
    model.eval()
    generator = torch.Generator().manual_seed(0)
    batches = [
        (torch.randn(6, 3, size, size, generator=generator), torch.tensor([0, 1, 2, 0, 1, 2]))
    ]
    structure = trace(model, batches[0][0][:2])
    assert structure.groups
    network = TracedNetwork(model, structure, K, CPU)
    statistics, ridge = measure(network, batches, batches)
    assert set(statistics.layers) == set(structure.readers)
    check_every_layer_is_accounted_for(model, structure)
    check_fields(structure, ridge)
    sampled = collect(network, batches, sampled=True)
    assert all(layer.sample is not None for layer in sampled.layers.values())
    softmax = spectrum_by_softmax(network, sampled, batches, sgd=Sgd.of(1))
    check_fields(structure, softmax)


def check_fields(structure: Structure, spectrum: Spectrum) -> None:
    """Every unit of every group owns channels of the reader that sees it, and has its weights."""
    for group, seen in zip(structure.groups, spectrum.groups, strict=True):
        assert seen is not None
        reader = structure.readers[seen.reader]
        assert (features_of_units(group.units, reader.unit_C, 1)[:, 0] >= 0).all()
        assert seen.weights_UKQ.shape[:2] == (len(group.units), K)
        assert torch.isfinite(seen.weights_UKQ).all()


def check_every_layer_is_accounted_for(model: nn.Module, structure: Structure) -> None:
    """Its filters are units of a group, or the structure says why they stay."""
    writers = {name for group in structure.groups for name in group.writers}
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            assert name in writers or structure.kept_whole.get(name), name


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_large_networks(name: str) -> None:
    torch.manual_seed(0)
    check_every_unit_has_a_field(get_model(name, weights=None, num_classes=K), 64)


@pytest.mark.slow
def test_option_a_shortcuts() -> None:
    torch.manual_seed(0)
    check_every_unit_has_a_field(build("resnet20", K), 32)


@pytest.mark.parametrize("size", [24, 40])
def test_any_input_size(size: int) -> None:
    torch.manual_seed(0)
    check_every_unit_has_a_field(build("vgg6:width=0.125", K), size)


def test_images_of_several_sizes_are_measured_together() -> None:
    torch.manual_seed(0)
    model, labels = build("vgg6:width=0.125", K), torch.tensor([0, 1, 2, 0])
    small, large = torch.randn(4, 3, 24, 24), torch.randn(4, 3, 40, 40)
    structure = trace(model, small)
    batches = [(small, labels), (large, labels)]
    network = TracedNetwork(model, structure, K, CPU)
    statistics, spectrum = measure(network, batches, batches)
    sampled = collect(network, batches, sampled=True)
    softmax = spectrum_by_softmax(network, sampled, batches, sgd=Sgd.of(1))
    alone = [collect(network, [batch]) for batch in batches]
    for name, layer in statistics.layers.items():
        assert layer.counts_K.tolist() == [4, 2, 2]
        positions = sum(part.layers[name].num_positions for part in alone)
        assert layer.num_positions == positions
        assert layer.grid == alone[0].layers[name].grid
        sample = sampled.layers[name].sample
        assert sample is not None
        assert sorted(sample.labels_S.tolist()) == [0] * 4 + [1] * 2 + [2] * 2
    for group in (*spectrum.groups, *softmax.groups):
        assert group is not None
        assert 0 <= group.success_rate <= 1
