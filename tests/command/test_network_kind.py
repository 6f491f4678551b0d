"""Whether labels or outputs judge a network: as the user says, or as its outputs tell."""

from typing import Any

import pytest
import torch
from prune_dl.prune.command import cli
from prune_dl.prune.command.network_kind import judged_by_outputs
from prune_dl.prune.command.opening import Loaded
from prune_dl.prune.errors import InputError
from prune_dl.prune.inputs.checkpoint import Checkpoint
from prune_dl.prune.inputs.origin import Origin
from scenes.dense_networks import Autoencoder, UNet
from scenes.detectors import BoxDetector, Detector
from torch import Tensor, nn

CPU = torch.device("cpu")


class TwoHeads(nn.Module):
    """Maps first, class scores second."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 5)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        maps = self.conv(x)
        return maps, self.head(maps.mean((2, 3)))


class Argmax(UNet):
    """Gives labels of pixels, which are whole numbers."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).argmax(1)


def classifier() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())


def kind(model: nn.Module, *flags: str) -> tuple[bool, tuple[str, ...]]:
    options = cli.parse(["--model", "x", "--macs", "0.5", *flags])
    return judged_by_outputs(options, Loaded(Checkpoint(model.eval(), Origin(None, 2)), CPU))


@pytest.mark.parametrize("make", [UNet, Autoencoder, Argmax, Detector])
def test_outputs_that_are_no_class_scores_judge_and_that_is_said(make: Any) -> None:
    by_outputs, notes = kind(make())
    assert by_outputs
    (note,) = notes
    assert "and no class scores: its outputs judge (`judge=outputs`)" in note


def test_what_may_be_class_scores_stays_a_classifier() -> None:
    assert kind(classifier()) == (False, ())
    assert kind(TwoHeads()) == (False, ())
    assert kind(nn.Conv3d(1, 1, 1)) == (False, ())  # it runs on no picture


@pytest.mark.parametrize(
    "flags", [("--unlabeled",), ("--judge", "answers"), ("--labels-kept", "a"), ("--output", "0")]
)
def test_who_speaks_of_labels_means_a_classifier(flags: tuple[str, ...]) -> None:
    assert kind(UNet(), *flags) == (False, ())


@pytest.mark.parametrize("flags", [("--judge", "outputs"), ("--metric", "a:b"), ("--part", "a")])
def test_who_asks_for_outputs_gets_them(flags: tuple[str, ...]) -> None:
    assert kind(classifier(), *flags) == (True, ())


def test_a_whole_detector_is_told_of_its_parts() -> None:
    for flags in ((), ("--judge", "outputs")):
        with pytest.raises(InputError, match=r"BoxDetector .* as `part` \(backbone, head\)"):
            kind(BoxDetector(), *flags)
    assert kind(BoxDetector(), "--part", "backbone") == (True, ())


def test_the_size_that_was_given_is_tried_alone() -> None:
    rows_of_9 = nn.Sequential(nn.Conv2d(3, 1, 1), nn.Flatten(1, 2), nn.Linear(9, 4))
    assert kind(rows_of_9, "--input-size", "9")[0]
    assert not kind(rows_of_9, "--input-size", "8")[0]
