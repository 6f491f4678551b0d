"""Splits held decoded in memory, on the device that computes: no workers, no waiting.

Shapes: N images of the split, B one batch, C channels, H, W height and width.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional

from .seeded import choose_order, generator
from .split import Batch

SHIFT_PART = 8
"""Training images move by up to an eighth of their side: 4 pixels at 32 x 32, as is usual for CIFAR
(He et al., arXiv 1512.03385, section 4.2)."""


@dataclass(frozen=True)
class Augmentation:
    """What may happen to a training image.

    Attributes:
        flip: mirror half of the images left to right.
        shift: move by up to so many pixels each way; what comes in is black.
    """

    flip: bool = True
    shift: int = 4


@dataclass(frozen=True, eq=False)
class Images:
    """Decoded images, shared by the splits cut from them.

    Attributes:
        pixels: (n, C, H, W) uint8, on the CPU.
        copies: the same on other devices, filled as they are asked for.
    """

    pixels: Tensor
    copies: dict[torch.device, Tensor] = field(default_factory=dict)

    def on(self, device: torch.device) -> Tensor:
        """The pixels on a device; copied there once."""
        if device not in self.copies:
            self.copies[device] = self.pixels.to(device)
        return self.copies[device]


@dataclass(frozen=True, eq=False)
class ArraySplit:
    """A part of decoded images.

    Attributes:
        images: shared store.
        positions_N: which of them belong to this split.
        labels_N: their labels, int64.
        mean, std: per channel, of pixels scaled to 0..1.
        augmentation: what `augment=True` does.
        is_bgr: whether the channels come as blue, green, red; mean and std then are so, too.
    """

    images: Images
    positions_N: Tensor
    labels_N: Tensor
    mean: tuple[float, ...]
    std: tuple[float, ...]
    augmentation: Augmentation = Augmentation()
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
        """One pass; see `Split.batches`."""
        device = torch.device(device)
        pixels = self.images.on(device)
        order = choose_order(self.num_images, shuffle_seed, limit)
        randomness = generator(shuffle_seed or 0)
        for chosen_B in torch.split(order, batch_size):
            images = pixels[sent(self.positions_N[chosen_B], device)]
            if augment:
                images = shift_and_flip(images, self.augmentation, randomness)
            labels = sent(self.labels_N[chosen_B], device)
            images = images.flip(1) if self.is_bgr else images
            yield normalise(images, self.mean, self.std), labels


def normalise(images: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """(B, C, H, W) uint8 -> float32, (pixel / 255 - mean) / std per channel."""
    scale = 1.0 / (255.0 * torch.tensor(std).view(-1, 1, 1))
    offset = torch.tensor(mean).view(-1, 1, 1) * 255.0 * scale
    scale, offset = sent(scale, images.device), sent(offset, images.device)
    return torch.addcmul(-offset, images.float(), scale)


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on a device; the host does not wait for it.

    A waiting copy to CUDA ends only when everything queued before it has run, so that the device
    idles while the host prepares the next step. MPS copies safely only where the host waits.
    """
    return tensor.to(device, non_blocking=device.type != "mps")


def shift_and_flip(
    images: Tensor, augmentation: Augmentation, randomness: torch.Generator
) -> Tensor:
    """Every image of (B, C, H, W) moved and perhaps mirrored on its own, in three kernels."""
    batch, _, height, width = images.shape
    shift = augmentation.shift
    offsets = torch.randint(2 * shift + 1, (2, batch, 1), generator=randomness)
    rows = offsets[0] + torch.arange(height)
    columns = offsets[1] + torch.arange(width)
    if augmentation.flip:
        mirrored = torch.rand(batch, 1, generator=randomness) < 0.5
        columns = torch.where(mirrored, columns.flip(1), columns)
    padded = functional.pad(images, (shift, shift, shift, shift))
    rows, columns = sent(rows, images.device), sent(columns, images.device)
    which = torch.arange(batch, device=images.device)[:, None, None]
    # Indices around a slice put the slice last: (B, H, W, C).
    return padded[which, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def measure_mean_std(pixels: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Per-channel mean and deviation, in 0..1, of (n, C, H, W) uint8; sums are float64.

    Rounded to four places, as such figures are published; the deviation is 1/255 or more, so that a
    channel that never varies can be divided by it.
    """
    num_channels = pixels.shape[1]
    histogram = torch.stack(
        [torch.bincount(pixels[:, c].flatten(), minlength=256) for c in range(num_channels)]
    ).double()
    levels = torch.arange(256, dtype=torch.float64) / 255
    share = histogram / histogram.sum(dim=1, keepdim=True)
    mean = share @ levels
    variance = share @ levels.square() - mean.square()
    std = variance.clamp_min(0).sqrt().clamp_min(1 / 255)
    return tuple(round(m, 4) for m in mean.tolist()), tuple(round(s, 4) for s in std.tolist())
