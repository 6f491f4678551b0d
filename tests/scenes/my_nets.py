"""What a user has beside the command line: networks, data with masks, and a measure of their own.

Names are those of docs/other-networks.md.
"""

from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader

from .dense_networks import Blobs, UNet, conv
from .detectors import BoxDetector

MEAN = STD = 0.5
"""Of the inputs that the U-Net is trained with."""


def unet() -> nn.Module:
    """The architecture; the weights come from a file."""
    return UNet(8)


class Normalised(Blobs):
    """Inputs as the U-Net takes them, and masks."""

    def __getitem__(self, place: int) -> tuple[Tensor, Tensor]:
        image, mask = super().__getitem__(place)
        return (image - MEAN) / STD, mask


def loaders() -> tuple[DataLoader[Any], DataLoader[Any]]:
    """Training and test loaders of (inputs, masks)."""
    return (
        DataLoader(Normalised(96), batch_size=16),
        DataLoader(Normalised(32, seed=1), batch_size=16),
    )


def mean_iou(network: nn.Module, batches: DataLoader[Any]) -> float:
    """Intersection over union of the discs."""
    both = either = 0
    with torch.no_grad():
        for images, masks in batches:
            found = network(images).argmax(1)
            both += int((found & masks).sum())
            either += int((found | masks).sum())
    return both / either


def detector() -> nn.Module:
    """A whole network, with batch norms that know the pictures."""
    torch.manual_seed(0)
    network = BoxDetector()
    with torch.no_grad():
        for _ in range(20):
            network.train()(list(Blobs(32).images))
    return network.eval()


def different_sizes() -> tuple[DataLoader[Any], DataLoader[Any]]:
    """Batches of (pictures, targets), as detectors are trained with."""
    from .detectors import detected

    return detected(48), detected(16)


def encoder() -> nn.Module:
    """Gives a row of numbers for each picture, which are no class scores."""
    torch.manual_seed(0)
    layers = (conv(3, 8), conv(8, 8), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))
    return nn.Sequential(*layers).eval()


class Joining(nn.Module):
    """A part of two inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.outer = conv(8, 8), conv(8, 8)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        return self.outer(self.inner(left)) + right


class TwoEyes(nn.Module):
    """Hands two inputs to its part."""

    def __init__(self) -> None:
        super().__init__()
        self.eye, self.joining = conv(3, 8), Joining()

    def forward(self, x: Tensor) -> Tensor:
        return self.joining(self.eye(x), self.eye(x.flip(3)))


def two_eyes() -> nn.Module:
    """With random weights."""
    torch.manual_seed(0)
    return TwoEyes().eval()


def write_pictures(folder: Path, count: int) -> None:
    """PNG files without label folders."""
    folder.mkdir()
    for place, image in enumerate(Blobs(count).images):
        pixels = (255 * image).byte().permute(1, 2, 0).numpy()
        Image.fromarray(pixels).save(folder / f"{place}.png")


def write_unet(file: Path) -> None:
    """Weights of a U-Net that was trained for a moment."""
    torch.manual_seed(0)
    network = unet()
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    for _ in range(3):
        for images, masks in DataLoader(Normalised(256), batch_size=16):
            optimizer.zero_grad()
            functional.cross_entropy(network(images), masks).backward()
            optimizer.step()
    torch.save(network.eval().state_dict(), file)
