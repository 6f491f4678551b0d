"""The whole export on real digits: the file's own accuracy, for float and INT8."""

from pathlib import Path

import numpy as np
import pytest
import torch
from prune_dl.export.deliver import deliver
from prune_dl.export.session import open_session
from prune_dl.export.variants import Variant
from prune_dl.prune.errors import UsageError
from prune_dl.prune.inputs.data import open_data
from torch import nn
from torch.nn import functional as F


@pytest.fixture(scope="module")
def network() -> nn.Sequential:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 8, 3, stride=2), nn.ReLU(), nn.Conv2d(8, 16, 3), nn.ReLU(), nn.Flatten(),
        nn.Linear(16 * 25, 10),
    )  # fmt: skip
    optimiser = torch.optim.Adam(network.parameters(), lr=3e-3)
    train = open_data("digits").train
    for seed in range(6):
        for images, labels in train.batches(64, device="cpu", shuffle_seed=seed):
            optimiser.zero_grad()
            F.cross_entropy(network(images), labels).backward()
            optimiser.step()
    return network.eval()


def held_out_top1(network: nn.Module) -> float:
    images, labels = next(open_data("digits").held_out.batches(10_000, device="cpu"))
    with torch.no_grad():
        return float((network(images).argmax(1) == labels).float().mean())


def test_a_float_file_has_the_accuracy_of_the_network(network: nn.Module, tmp_path: Path) -> None:
    data = open_data("digits")
    result = deliver(network, data, tmp_path / "a.onnx", Variant(), metadata={})
    assert result.total == data.held_out.num_images
    assert result.top1 == pytest.approx(held_out_top1(network))
    assert result.top1 > 0.8
    assert result.parity.num_images == 64
    assert result.quantised is None


def test_an_int8_file_from_raw_pixels(network: nn.Module, tmp_path: Path) -> None:
    data, path = open_data("digits"), tmp_path / "a.onnx"
    variant = Variant(embed_preprocess=True)
    result = deliver(network, data, path, variant, metadata={}, int8=True, max_drop=0.03)
    assert result.quantised is not None
    assert result.quantised.num_layers == 3
    assert result.total == data.held_out.num_images - int(0.2 * data.held_out.num_images)
    assert result.top1 == result.quantised.int8_top1 >= result.quantised.float_top1 - 0.03
    assert [p.name for p in tmp_path.iterdir()] == ["a.onnx"]
    (entry,) = open_session(path).get_inputs()
    assert (entry.type, entry.shape[1:]) == ("tensor(uint8)", [16, 16, 1])
    assert np.isfinite(result.parity.max_abs_difference)


def test_one_precision_at_a_time(network: nn.Module, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--fp16 and --int8"):
        deliver(
            network, open_data("digits"), tmp_path / "a.onnx", Variant(half=True),
            metadata={}, int8=True,
        )  # fmt: skip
