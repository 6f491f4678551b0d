"""Networks with equal names and shapes: held-out images tell which of them a file is of."""

from dataclasses import replace

import pytest
import torch
from prune_dl.prune.inputs import zoo
from prune_dl.prune.inputs.checkpoint import Checkpoint
from prune_dl.prune.inputs.datasets import wrap_datasets
from prune_dl.prune.inputs.infer import expect
from prune_dl.prune.inputs.origin import Origin
from prune_dl.prune.inputs.preprocessing import Preprocessing
from prune_dl.prune.settling import twins
from prune_dl.prune.settling.opened import Opened
from torch import nn
from torch.utils.data import TensorDataset

CPU, LABELS, SIDE = torch.device("cpu"), 3, 32


def opened_as(truth: nn.Module, model: nn.Module, arch: str, count: int = 120) -> Opened:
    """A network that is given the weights of the true one, whose answers are the labels."""
    images = torch.randn(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        scores = truth(images)
        labels = (scores - scores.median(0).values).argmax(1)
        bias = -scores.median(0).values
    truth.fc.bias.data += bias  # type: ignore[union-attr, operator]
    model.load_state_dict(truth.state_dict())
    part = TensorDataset(images, labels)
    data = wrap_datasets("some", part, part, Preprocessing())
    origin = Origin(arch, LABELS)
    return Opened(Checkpoint(model.eval(), origin, is_inferred=True), data, CPU)


def resnet(arch: str = "torchvision:resnet18") -> nn.Module:
    return zoo.build(arch, LABELS, 0)


def test_the_twins_have_equal_names_and_shapes() -> None:
    pytest.importorskip("timm")
    for arch, others in twins.TWINS.items():
        for other in others:
            assert expect(other).shapes == expect(arch).shapes


def test_the_twin_that_fits_the_images_is_taken_and_told() -> None:
    pytest.importorskip("timm")
    arch, twin = "torchvision:resnet18", "timm:resnetblur18"
    truth, model = resnet(twin), resnet()
    opened = opened_as(truth, model, arch, 300)
    found = twins.settle_twins(opened).checkpoint
    assert found.origin.arch == twin
    assert "`arch=timm:resnetblur18`: the second is taken" in found.notes[0]
    named = replace(opened, checkpoint=replace(opened.checkpoint, is_inferred=False))
    assert twins.settle_twins(named).checkpoint.origin.arch == arch


def test_the_network_that_fits_stays_without_a_word() -> None:
    model = resnet()
    opened = opened_as(model, model, "torchvision:resnet18")
    assert twins.settle_twins(opened) is opened


@pytest.mark.parametrize(
    ("arch", "words", "change"),
    [("torchvision:resnet18", words, change) for words, change in twins.SMALL_CHANGES.items()]
    + [("torchvision:resnet50", words, change) for words, change in twins.CHANGES.items()],
)
def test_a_change_that_leaves_no_trace_is_told(
    arch: str, words: str, change: twins.Alteration, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(twins, "TWINS", {})
    monkeypatch.setattr(twins, "DOUBTFUL", 1.01)
    truth, model = resnet(arch), resnet(arch)
    change(truth)
    found = twins.settle_twins(opened_as(truth, model, arch)).checkpoint
    assert found.origin.arch == arch
    assert f" {words}, which no file of weights tells" in found.notes[0]
