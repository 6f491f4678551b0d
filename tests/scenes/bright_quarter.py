"""Images whose bright quarter is their label, and a residual stream that reads them."""

import numpy as np
import torch
from prune_dl.prune.mechanism.network import TracedNetwork
from prune_dl.prune.mechanism.spectrum import Spectrum, measure
from prune_dl.prune.mechanism.statistics import Statistics
from prune_dl.prune.structure.units import Group, Reader, Structure
from torch import Tensor, nn

CPU = torch.device("cpu")


K = 4


class Net(nn.Module):
    """A stream of six channels that two convolutions write, a head that reads it twice over."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 6, 3, padding=1)
        self.block = nn.Conv2d(6, 6, 3, padding=1)
        self.head = nn.Linear(12, K)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).relu()
        x = (x + self.block(x)).relu()
        return self.head(torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1))


def structure() -> Structure:
    units = np.arange(6)
    readers = {
        "block": Reader("block", units, np.arange(6)),
        "head": Reader("head", np.tile(units, 2), np.arange(12), "linear"),
    }
    stream = Group("stem", ("stem", "block"), ("block", "head"), units)
    unread = Group("spare", ("spare",), (), np.array([6]))
    return Structure({}, (stream, unread), readers)


def network(model: Net) -> TracedNetwork:
    return TracedNetwork(model, structure(), K, CPU)


def images(
    count: int, seed: int, labels: tuple[int, ...] = (0, 1, 2, 3)
) -> list[tuple[Tensor, Tensor]]:
    """A bright quarter of the image says its label, under noise."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.tensor(labels)[torch.randint(len(labels), (count,), generator=generator)]
    x = torch.randn(count, 1, 8, 8, generator=generator)
    for image, label in zip(x, y.tolist(), strict=True):
        row, column = 4 * (label // 2), 4 * (label % 2)
        image[0, row : row + 4, column : column + 4] += 1
    return list(zip(x.split(32), y.split(32), strict=True))


def run(model: Net, **kwargs: list[tuple[Tensor, Tensor]]) -> tuple[Statistics, Spectrum]:
    train = kwargs.get("train", images(400, 0))
    held_out = kwargs.get("held_out", images(200, 1))
    return measure(network(model), train, held_out)
