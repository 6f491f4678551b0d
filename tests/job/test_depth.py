"""Cutting a network off: what stays, what the classifier takes, and what is refused."""

from pathlib import Path

import pytest
import torch
from prune_dl.prune import compress, load
from prune_dl.prune.command import cli
from prune_dl.prune.errors import InputError
from prune_dl.prune.inputs.zoo import build
from prune_dl.prune.job.depth import layers_without_gain
from prune_dl.prune.mechanism.spectrum import DepthPoint
from prune_dl.prune.structure.depth import DepthCut, cut_off, find_cut
from scenes.random_features import with_solved_end
from torch import nn
from torch.utils.data import DataLoader
from torchvision.models import resnet18

IMAGES = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def test_a_chain_loses_its_end_and_keeps_its_class() -> None:
    model = build("vgg11:width=0.125", 10)
    before = [tensor.clone() for tensor in model.state_dict().values()]
    cut = find_cut(model, "features.18", IMAGES[:2])
    assert cut.passed[0] == "features.18"
    assert "features.15" not in cut.passed
    assert (cut.classifier, cut.num_features) == ("classifier", 64)
    assert all(map(torch.equal, before, model.state_dict().values()))
    with torch.no_grad():
        expected = model.features[:18](IMAGES)
        cut_off(model, cut)
        found = model.features[:18](IMAGES)
        assert torch.equal(expected, found)
        assert not model(IMAGES).any()
    assert type(model) is type(build("vgg11:width=0.125", 10))
    assert not any(isinstance(m, nn.Conv2d) for m in model.features[18:])


def test_residual_blocks_pass_their_stream_on() -> None:
    model = resnet18(num_classes=5).eval()
    cut = find_cut(model, "layer3.1.conv1", IMAGES)
    assert cut.num_features == 256
    cut_off(model, cut)
    assert model(IMAGES).shape == (4, 5)
    assert not any(name.startswith("layer4") for name, _ in model.named_parameters())


def test_what_cannot_be_cut_off_is_refused() -> None:
    model = build("vgg6", 10)
    with pytest.raises(InputError, match="expected a layer that runs before classifier"):
        find_cut(model, "classifier", IMAGES)
    with pytest.raises(InputError, match="does not end in a linear layer"):
        find_cut(nn.Sequential(nn.Linear(4, 4), nn.ReLU()), "0", torch.randn(2, 4))
    shared = nn.Linear(4, 4)
    with pytest.raises(InputError, match=r"a cut at 2 given, after which 0 runs again"):
        find_cut(nn.Sequential(shared, nn.ReLU(), nn.Linear(4, 4), shared), "2", torch.randn(2, 4))
    with pytest.raises(InputError, match="give the architecture"):
        cut_off(model, DepthCut(("features.99",), "classifier", 3))


def test_only_layers_without_gain_go() -> None:
    rates = {"a": 0.5, "b": 0.79, "c": 0.88, "d": 0.89, "e": 0.9}
    depth = [DepthPoint(reader, None, rate) for reader, rate in rates.items()]
    assert layers_without_gain(depth, 100) == ["c", "d", "e"]
    assert layers_without_gain(depth, 100_000) == ["e"]
    assert layers_without_gain([], 100) == []


def with_idle_end() -> tuple[nn.Sequential, DataLoader]:
    """Random features of digits and a linear probe; three layers in between do nothing."""
    torch.manual_seed(0)
    idle = [nn.Conv2d(32, 32, 3, padding=1, bias=False) for _ in range(3)]
    for layer in idle:
        nn.init.dirac_(layer.weight)
    layers = [nn.Conv2d(1, 32, 5, stride=2), nn.ReLU(), nn.MaxPool2d(2)]
    layers += [module for layer in idle for module in (layer, nn.ReLU())]
    return with_solved_end(layers, 32 * 9)


def test_idle_layers_are_cut_off_and_the_file_remembers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, loader = with_idle_end()
    result = compress(model, loader, 10, macs=0.3, epochs=0, cut_depth=True, progress=True)
    said = capsys.readouterr().err
    assert "network 1 of at most 3, whole depth, measure: " in said
    assert "network 2 of 2, cut off at 3, try the repair: " in said
    assert "\nrepair: " in said
    planned, found = result.planned, result.outcome.held_out
    assert planned.depth is not None
    assert planned.depth.passed == ("3", "5", "7")
    assert planned.left.macs / planned.original.macs <= 0.3 * 1.02
    assert found["final"].correct >= 0.95 * found["original"].correct
    assert result.outcome.facts["held-out top-1, cut off at 3"] == max(planned.depth_top1.values())
    result.save(tmp_path / "small.safetensors")
    again = load(tmp_path / "small.safetensors", with_idle_end()[0])
    images = next(iter(loader))[0]
    with torch.no_grad():
        torch.testing.assert_close(again(images), result.model.eval()(images))


def test_the_better_depth_wins() -> None:
    model, loader = with_idle_end()
    result = compress(model, loader, 10, macs=0.95, epochs=0, cut_depth=True, rank="l1")
    whole, short = result.planned.depth_top1.values()
    assert (result.planned.depth is None) == (whole > short)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--max-drop", "1", "--cut-depth"), "without a budget"),
        (("--keep", "0.5", "--cut-depth", "--dry-run"), "--dry-run"),
    ],
)
def test_flags_that_do_not_go_with_a_depth_cut_are_refused(
    capsys: pytest.CaptureFixture[str], flags: tuple[str, ...], said: str
) -> None:
    assert cli.run(["--model", "missing.pt", *flags]) == 2
    assert said in capsys.readouterr().err
