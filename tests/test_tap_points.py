"""Every removable unit of every kind of network has a field, seen by a reader that really runs."""

import pytest
import torch
from prune_dl.prune.inputs.zoo import build
from prune_dl.prune.mechanism.fields import features_of_units
from prune_dl.prune.mechanism.spectrum import measure
from prune_dl.prune.structure.trace import trace
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
    statistics, spectrum = measure(model, structure, batches, batches, K, device=CPU)
    assert set(statistics.layers) == set(structure.readers)
    for group, seen in zip(structure.groups, spectrum.groups, strict=True):
        assert (seen is None) == (not group.readers)
        if seen is None:
            continue
        reader = structure.readers[seen.reader]
        assert (features_of_units(group.units, reader.unit_C, 1)[:, 0] >= 0).all()
        assert seen.weights_UKQ.shape[:2] == (len(group.units), K)
        assert torch.isfinite(seen.weights_UKQ).all()


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
