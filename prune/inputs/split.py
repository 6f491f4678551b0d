"""What a data set is to the rest of the product: three splits that give batches.

Shapes: N images, C channels, H, W height and width, B one batch, M images taken.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

Inputs = Any
"""What one call of a network takes (`forward.call`): mostly images (B, C, H, W); else a tuple of
arguments, or a dictionary of named ones."""
Batch = tuple[Inputs, Tensor]
"""Images (B, C, H, W), float32 and normalised, and labels (B,), int64; both on the device. A user's
own data may have other inputs."""
Batches = Iterable[Batch]


class Split(Protocol):
    """A part of a data set."""

    @property
    def num_images(self) -> int:
        """How many images it holds."""

    @property
    def labels_N(self) -> Tensor:
        """Label of each image, (N,) int64, on the CPU."""

    def batches(
        self,
        batch_size: int,
        *,
        device: torch.device | str,
        augment: bool = False,
        shuffle_seed: int | None = None,
        limit: int | None = None,
    ) -> Iterator[Batch]:
        """One pass.

        Args:
            batch_size: images per batch; the last one may hold fewer.
            device: where the tensors are put.
            augment: random crops and flips, drawn from the shuffle seed.
            shuffle_seed: a seed gives that seed's order, None the order of the files.
            limit: take a random part of so many images, drawn from the seed (0 if None);
                never the first of a sorted folder.
        """


@dataclass(frozen=True)
class DataSet:
    """Images for training, for every choice, and for the one final measurement.

    Attributes:
        name: the `data` value that opens it again on this machine.
        labels: names, in the order of the network's outputs.
        input_size: channels, height, width.
        mean, std: per channel, of pixels scaled to 0..1; what batches are normalised with.
        train: images that training and statistics see.
        held_out: part of the training data that every selection is made on.
        test: touched once, at the end.
    """

    name: str
    labels: tuple[str, ...]
    input_size: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    train: Split
    held_out: Split
    test: Split

    @property
    def title(self) -> str:
        """The name for what leaves this machine: of a folder, without the way to it."""
        return Path(self.name).name if Path(self.name).is_absolute() else self.name


def choose_order(num_images: int, shuffle_seed: int | None, limit: int | None) -> Tensor:
    """Which images a pass visits, in its order: (M,) int64."""
    part = num_images if limit is None else min(limit, num_images)
    if shuffle_seed is None and part == num_images:
        return torch.arange(num_images)
    chosen = torch.randperm(num_images, generator=generator(shuffle_seed or 0))[:part]
    return chosen if shuffle_seed is not None else chosen.sort().values


def hold_out(labels_N: Tensor, share: float, seed: int) -> tuple[Tensor, Tensor]:
    """Split positions into (kept, held out), each label in proportion, both ascending.

    Every label with at least two images and a positive share gives at least one.
    """
    held: list[Tensor] = []
    randomness = generator(seed)
    for label in torch.unique(labels_N):
        positions = (labels_N == label).nonzero().flatten()
        count = min(max(1, round(share * len(positions))), len(positions) - 1) if share > 0 else 0
        held.append(positions[torch.randperm(len(positions), generator=randomness)[:count]])
    held_out = torch.cat(held).sort().values if held else torch.empty(0, dtype=torch.int64)
    is_kept = torch.ones(len(labels_N), dtype=torch.bool)
    is_kept[held_out] = False
    return is_kept.nonzero().flatten(), held_out


def generator(seed: int) -> torch.Generator:
    """A fresh source of randomness on the CPU."""
    return torch.Generator().manual_seed(seed)


@contextmanager
def seeded(seed: int, device: torch.device | str = "cpu") -> Iterator[None]:
    """What draws from torch's own generators in the block (new weights, dropout) follows the seed.

    The caller's generators, of the CPU and of the device, are then as they were before.
    """
    place = torch.device(device)
    devices = [place] if place.type == "cuda" else []
    mps_state = torch.mps.get_rng_state() if place.type == "mps" else None
    try:
        with torch.random.fork_rng(devices=devices):
            # Not torch.manual_seed: it would also seed the generators of all other devices.
            torch.default_generator.manual_seed(seed)
            if place.type == "cuda":
                with torch.cuda.device(place):
                    torch.cuda.manual_seed(seed)
            elif place.type == "mps":
                torch.mps.manual_seed(seed)
            yield
    finally:
        if mps_state is not None:
            torch.mps.set_rng_state(mps_state)
