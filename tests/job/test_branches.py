"""Residual branches that bring nothing: which blocks have one, and what becomes of the network."""

from pathlib import Path

import pytest
import torch
from prune_dl.prune import compress, load
from prune_dl.prune.inputs.zoo import build
from prune_dl.prune.job.depth import blocks_without_gain
from prune_dl.prune.mechanism.spectrum import DepthPoint
from prune_dl.prune.structure.depth import residual_blocks
from scenes.random_features import with_solved_end
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision.models import VisionTransformer, mobilenet_v2, resnet18

IMAGES = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


class Block(nn.Module):
    """Its input goes on around two convolutions; the activation writes into what it is given."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(32, 32, 3, padding=1)
        self.conv2 = nn.Conv2d(32, 32, 3, padding=1)
        with torch.no_grad():
            self.conv2.weight.mul_(scale)
            self.conv2.bias.mul_(scale)

    def forward(self, stream: Tensor) -> Tensor:
        return torch.relu_(stream + self.conv2(torch.relu(self.conv1(stream))))


def blocks_of(model: nn.Module) -> tuple[str, ...]:
    before = [tensor.clone() for tensor in model.state_dict().values()]
    found = residual_blocks(model.eval(), IMAGES)
    assert all(map(torch.equal, before, model.state_dict().values()))
    assert not any(m._forward_pre_hooks for m in model.modules())
    return found


def test_blocks_are_known_by_what_they_do() -> None:
    stages = {"layer1.0", "layer1.1", "layer2.1", "layer3.1", "layer4.1"}
    assert set(blocks_of(resnet18())) == stages
    assert blocks_of(build("resnet20:width=0.25", 10)) == (
        *("layer1.0", "layer1.1", "layer1.2", "layer2.1", "layer2.2", "layer3.1", "layer3.2"),
    )
    inverted = set(blocks_of(mobilenet_v2()))
    assert {"features.3", "features.16"} <= inverted
    assert not inverted & {"features.2", "features.4", "features.3.conv"}
    transformer = VisionTransformer(32, 8, 2, 2, 16, 32)
    assert blocks_of(transformer) == tuple(
        f"encoder.layers.encoder_layer_{index}" for index in range(2)
    )


def test_a_chain_has_none() -> None:
    assert blocks_of(build("vgg11:width=0.125", 10)) == ()


def test_only_blocks_without_gain_go_the_least_first() -> None:
    rates = {"stem": 0.2, "a.conv1": 0.5, "a.conv2": 0.6, "b.conv1": 0.7, "c.conv1": 0.65}
    depth = [DepthPoint(reader, None, rate) for reader, rate in rates.items()]
    depth += [DepthPoint("head", None, 0.652)]
    assert blocks_without_gain(depth, ["a", "b", "c"], 10_000) == ["b", "c"]
    assert blocks_without_gain(depth, ["a", "b", "c"], 10**8) == ["b"]
    assert blocks_without_gain(depth[:-1], ["c"], 100) == [], "nothing is known behind it"


def with_idle_branch() -> tuple[nn.Sequential, DataLoader]:
    """Random features of digits and a probe; the branch in between adds next to nothing."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 32, 5, stride=2), nn.ReLU(), nn.MaxPool2d(2), Block(1e-3)]
    return with_solved_end([*layers, nn.Conv2d(32, 48, 3, padding=1), nn.ReLU()], 48 * 9)


@pytest.fixture(scope="module")
def shortened() -> tuple[object, DataLoader]:
    model, loader = with_idle_branch()
    return compress(model, loader, 10, macs=0.5, epochs=0, cut_depth=True), loader


def test_an_idle_branch_goes_and_the_budget_is_kept(shortened: tuple) -> None:
    result, _ = shortened
    planned, found = result.planned, result.outcome.held_out
    assert planned.depth is not None
    assert planned.depth.passed == ("3",)
    assert (planned.depth.classifier, planned.depth.num_features) == ("7", 48 * 9)
    assert planned.left.macs / planned.original.macs <= 0.5 * 1.02
    assert found["final"].correct >= 0.95 * found["original"].correct
    named = "held-out top-1, without the branches of 3"
    assert result.outcome.facts[named] >= result.outcome.facts["held-out top-1, whole depth"]


def test_the_file_remembers_the_branch_that_went(shortened: tuple, tmp_path: Path) -> None:
    result, loader = shortened
    result.save(tmp_path / "small.safetensors")
    again = load(tmp_path / "small.safetensors", with_idle_branch()[0])
    images = next(iter(loader))[0]
    with torch.no_grad():
        torch.testing.assert_close(again(images), result.model.eval()(images))
