"""Height and width that nobody says: of the images, of the network, or the better of several."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from prune_dl.prune.inputs.checkpoint import Checkpoint
from prune_dl.prune.inputs.data import open_data
from prune_dl.prune.inputs.origin import Origin
from prune_dl.prune.options import DataOptions
from prune_dl.prune.settling.opened import Opened
from prune_dl.prune.settling.size import possible_sizes, settle_size
from torch import Tensor, nn

ASKED = DataOptions(mean=(0.5,) * 3, std=(0.5,) * 3)


class Bright(nn.Module):
    """Tells bright images from dark ones at one height; at others it is wrong."""

    def __init__(self, height: int) -> None:
        super().__init__()
        self.height = height

    def forward(self, images: Tensor) -> Tensor:
        sign = 1.0 if images.shape[2] == self.height else -1.0
        brightness = images.mean((1, 2, 3)) * sign
        return torch.stack([-brightness, brightness], 1)


def folder(root: Path, *sizes: tuple[int, int]) -> Path:
    for part in ("train", "test"):
        for label, level in (("bright", 240), ("dark", 20)):
            (root / part / label).mkdir(parents=True)
            for i in range(12):
                height, width = sizes[i % len(sizes)]
                pixels = np.full((height, width, 3), level + i % 10, np.uint8)
                Image.fromarray(pixels).save(root / part / label / f"{i}.png")
    return root


def opened_with(model: nn.Module, root: Path) -> Opened:
    data = open_data(str(root), mean=ASKED.mean, std=ASKED.std, held_out=0.5, in_memory=False)
    return Opened(Checkpoint(model.eval(), Origin(None, 2)), data, torch.device("cpu"))


class Turned(nn.Module):
    """The labels of the folder are sorted: bright comes first."""

    def __init__(self, height: int) -> None:
        super().__init__()
        self.bright = Bright(height)

    def forward(self, images: Tensor) -> Tensor:
        return self.bright(images).flip(1)


@pytest.mark.parametrize(("height", "expected"), [(100, (100, 80)), (224, (224, 224))])
def test_of_several_sizes_the_better_one_is_taken_and_said(
    tmp_path: Path, height: int, expected: tuple[int, int]
) -> None:
    opened, size, source = settle_size(
        opened_with(Turned(height), folder(tmp_path, (100, 80))), ASKED
    )
    assert size == expected
    assert source.words.startswith("measured: 100.0 % of 12 held-out images, next best ")
    assert source.words.endswith(" 0.0 %")
    assert not opened.checkpoint.notes


def test_images_that_share_a_small_size_keep_it(tmp_path: Path) -> None:
    _, size, source = settle_size(opened_with(Turned(24), folder(tmp_path, (24, 16))), ASKED)
    assert (size, source.words) == ((24, 16), "shared by the images")


@pytest.mark.parametrize("side", [32, 48])
def test_a_network_that_runs_at_one_size_says_it(tmp_path: Path, side: int) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * side * side, 2))
    root = folder(tmp_path, (40, 50), (60, 70))
    _, size, source = settle_size(opened_with(model, root), ASKED)
    assert size == (side, side)
    assert source.words.startswith("the first usual one at which the network runs")


def test_photographs_of_one_camera_are_no_inputs(tmp_path: Path) -> None:
    data = open_data(str(folder(tmp_path, (600, 800))), in_memory=False)
    assert (600, 800) not in possible_sizes(data, None)
    assert possible_sizes(data, "torchvision:inception_v3")[0] == (299, 299)


class Unsure(nn.Module):
    """Has learned nothing, and so has no size."""

    def forward(self, images: Tensor) -> Tensor:
        return images.new_tensor([[1.0, 0.0]]).expand(len(images), 2)


def test_a_size_at_which_nothing_changes_is_not_called_better(tmp_path: Path) -> None:
    _, _, source = settle_size(opened_with(Unsure(), folder(tmp_path, (100, 80))), ASKED)
    assert source.words.startswith("measured: 50.0 % of 12 held-out images, the same answers at ")
