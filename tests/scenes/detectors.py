"""Networks that find places in pictures, and pictures of different sizes."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from .dense_networks import Blobs, conv


class Detector(nn.Module):
    """Takes pictures of any size in a list, and finds the brightest places of a map."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(conv(3, 12), nn.MaxPool2d(2), conv(12, 12))
        self.head = nn.Conv2d(12, 1, 1)

    def forward(self, images: list[Tensor], targets: Any = None) -> list[Tensor]:
        sides = [max(x.shape[axis] for x in images) for axis in (1, 2)]
        batch = torch.zeros(len(images), 3, *sides)
        for place, image in zip(batch, images, strict=True):
            place[:, : image.shape[1], : image.shape[2]] = image
        scores = self.head(self.backbone(batch))[:, 0]
        return [(x > x.mean()).nonzero() for x in scores]


class Pictures(Dataset[tuple[Tensor, dict[str, Tensor]]]):
    """Of different sizes, with boxes that nobody reads."""

    def __init__(self, count: int) -> None:
        self.images = Blobs(count).images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, place: int) -> tuple[Tensor, dict[str, Tensor]]:
        return self.images[place, :, : 10 + place % 7, : 16 - place % 5], {}


def collated(items: list[Any]) -> tuple[Any, ...]:
    return tuple(zip(*items, strict=True))


def detected(count: int) -> DataLoader[Any]:
    return DataLoader(Pictures(count), batch_size=4, collate_fn=collated)


class BoxDetector(Detector):
    """The same, with what torchvision's detectors give: a dictionary for each picture."""

    def forward(self, images: list[Tensor], targets: Any = None) -> Any:
        return [{"boxes": places.float()} for places in super().forward(images)]
