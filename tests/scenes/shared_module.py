"""A network with a module that runs twice, and images for it."""

import numpy as np
import torch
from prune_dl.prune.mechanism.network import TracedNetwork
from prune_dl.prune.structure.units import Reader, Structure
from torch import Tensor, nn

CPU = torch.device("cpu")


NUM_LABELS = 3


def channels(layer: str, count: int, kind: str = "conv", positions: int = 1) -> Reader:
    return Reader(layer, np.arange(count), np.repeat(np.arange(count), positions), kind)


READERS = {"second": channels("second", 4), "last": channels("last", 6, "linear", 4)}


class Net(nn.Module):
    """Two convolutions and a linear layer, all small enough to check by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.second = nn.Conv2d(4, 6, 3, padding=1, groups=2)
        self.last = nn.Linear(6 * 4, NUM_LABELS)

    def forward(self, x: Tensor) -> Tensor:
        x = self.second(self.first(x).relu()).relu()
        return self.last(nn.functional.adaptive_avg_pool2d(x, 2).flatten(1))


def network(model: nn.Module, **readers: Reader) -> TracedNetwork:
    """With these readers, or those of `Net`."""
    return TracedNetwork(model, Structure({}, (), readers or READERS), NUM_LABELS, CPU)


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(self.conv(x))


def images(count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, 3, 8, 8, generator=generator)
    return x, torch.randint(NUM_LABELS, (count,), generator=generator)


def in_batches(x: Tensor, y: Tensor, size: int = 4) -> list[tuple[Tensor, Tensor]]:
    return list(zip(x.split(size), y.split(size), strict=True))
