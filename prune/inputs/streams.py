"""Splits that are decoded on the way, by worker processes: for data too large for memory.

Shapes: N images of the split, B one batch, C channels, H, W height and width.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ..errors import InputError
from .arrays import normalise
from .seeded import choose_order
from .split import Batch

Decode = Callable[[int, int | None], Tensor]
"""(position, seed of the augmentation or None) -> one image (C, H, W), uint8 or float32."""
_SEED_STEP = 1_000_003
"""A prime; the seeds of the images of one pass lie between those of two passes."""
_SEEDS = 2**63
"""What a generator takes as its seed lies below."""


@dataclass(frozen=True, eq=False)
class StreamSplit:
    """A part whose images are decoded when they are needed.

    Attributes:
        decode: gives one image; called in worker processes, so it must be picklable.
        positions_N: which positions belong to this split.
        labels_N: their labels, int64, (N,) or (N, K).
        mean, std: per channel, applied to uint8 images; float images are taken as normalised.
        num_workers: decoding processes, 0 for none.
        is_bgr: whether uint8 images are fed as blue, green, red; mean and std then are so, too.
    """

    decode: Decode
    positions_N: Tensor
    labels_N: Tensor
    mean: tuple[float, ...]
    std: tuple[float, ...]
    num_workers: int = min(8, os.cpu_count() or 1)
    is_bgr: bool = False

    @property
    def num_images(self) -> int:
        """How many images it holds."""
        return len(self.labels_N)

    def batches(
        self,
        batch_size: int,
        *,
        device: torch.device | str,
        augment: bool = False,
        shuffle_seed: int | None = None,
        limit: int | None = None,
    ) -> Iterator[Batch]:
        """One pass; see `Split.batches`.

        Raises:
            InputError: an image does not decode.
        """
        device = torch.device(device)
        order = choose_order(self.num_images, shuffle_seed, limit)
        seed = shuffle_seed or 0 if augment else None
        loader: DataLoader[Any] = DataLoader(
            _Decoded(self.decode, self.positions_N[order], seed),
            batch_size,
            num_workers=min(self.num_workers, -(-len(order) // batch_size)),
            collate_fn=_stack,
            pin_memory=device.type == "cuda",
        )
        labels = torch.split(self.labels_N[order], batch_size)
        for images, labels_B in zip(loader, labels, strict=True):
            if isinstance(images, InputError):
                raise images
            images = images.to(device, non_blocking=True)
            if images.dtype == torch.uint8:
                images = images.flip(1) if self.is_bgr else images
                images = normalise(images, self.mean, self.std)
            yield images, labels_B.to(device, non_blocking=True)


@dataclass(frozen=True, eq=False)
class _Decoded(Dataset[Any]):
    """What the workers run. A user's error is handed back, not raised: no worker traceback."""

    decode: Decode
    positions: Tensor
    seed: int | None

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, place: int) -> Tensor | InputError:
        seed = None if self.seed is None else (self.seed * _SEED_STEP + place) % _SEEDS
        try:
            return self.decode(int(self.positions[place]), seed)
        except InputError as error:
            return error


def _stack(images: Sequence[Tensor | InputError]) -> Tensor | InputError:
    for image in images:
        if isinstance(image, InputError):
            return image
    return torch.stack(list(images))  # type: ignore[arg-type]
