"""Data sets known by name: cifar10, cifar100, fashion-mnist (downloaded) and digits (built in)."""

import contextlib
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError
from .arrays import SHIFT_PART, ArraySplit, Augmentation, Images, measure_mean_std
from .decode import crop_centre
from .preprocessing import Preprocessing
from .seeded import hold_out
from .split import DataSet, Source, Sources, channel_notes

DIGITS_TEST_SHARE = 0.2
"""Of scikit-learn's digits, which come without a test part: the same fifth whatever the seed."""


@dataclass(frozen=True)
class Known:
    """One named set.

    Attributes:
        read: (folder, whether to download) -> decoded data.
        flip: whether a mirrored image is still of the same label.
        mean, std: usual values; measured on the training part where None.
    """

    read: Callable[[Path, bool], "Decoded"]
    flip: bool
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Decoded:
    """All images, training part first: pixels (n, C, H, W) uint8 and labels (n,) int64."""

    pixels: Tensor
    labels_n: Tensor
    num_test: int
    labels: tuple[str, ...]


def open_known(
    name: str, wanted: Preprocessing, *, held_out: float, seed: int, download: bool
) -> DataSet:
    """Open a set of `KNOWN`; arguments and defaults as in `open_data`.

    Args:
        download: fetch it where it is not on this machine.

    Raises:
        InputError: it is not on this machine, and cannot or must not be downloaded.
    """
    known = KNOWN[name]
    decoded = known.read(default_root(), download)
    pixels = _fit(decoded.pixels, wanted.of_pictures(decoded.pixels.shape[1]), wanted.size)
    num_train = len(pixels) - decoded.num_test
    kept, held = hold_out(decoded.labels_n[:num_train], held_out, seed)
    usual = known if pixels.shape[1] == decoded.pixels.shape[1] else None
    measured = measure_mean_std(pixels[kept])
    mean = wanted.mean or (usual and usual.mean) or measured[0]
    std = wanted.std or (usual and usual.std) or measured[1]
    is_usual = usual is not None and usual.mean is not None
    scale = Source(f"usual of {name}" if is_usual else f"measured on {name}", is_guess=True)
    sources = Sources(
        wanted.size_source(Source(f"that of {name}")),
        wanted.scale_source(scale),
        wanted.order_source,
    )
    _, in_channels, height, width = pixels.shape
    images, augmentation = Images(pixels), Augmentation(known.flip, max(1, height // SHIFT_PART))

    def part(positions: Tensor) -> ArraySplit:
        labels = decoded.labels_n[positions]
        return ArraySplit(images, positions, labels, mean, std, augmentation, wanted.is_bgr)

    test = torch.arange(num_train, len(pixels))
    input_size = (in_channels, height, width)
    splits = (part(kept), part(held), part(test))
    order = wanted.channel_order or "rgb"
    notes = channel_notes(in_channels, is_grey=decoded.pixels.shape[1] == 1)
    return DataSet(
        name, decoded.labels, input_size, mean, std, *splits, order, sources, notes=notes
    )


def default_root() -> Path:
    """Where downloads go: PRUNE_DL_DATA, or the cache folder of the system (on Linux ~/.cache)."""
    from platformdirs import user_cache_path

    chosen = os.environ.get("PRUNE_DL_DATA")
    return Path(chosen) if chosen else user_cache_path("prune-dl", appauthor=False) / "data"


def _fit(pixels: Tensor, channels: int | None, size: tuple[int, int] | None) -> Tensor:
    """Other channels or another size than the set's own."""
    if channels == 3 and pixels.shape[1] == 1:
        pixels = pixels.expand(-1, 3, -1, -1)
    elif channels == 1 and pixels.shape[1] == 3:
        pixels = pixels.float().mean(dim=1, keepdim=True).round().to(torch.uint8)
    if size is None or size == tuple(pixels.shape[2:]):
        return pixels.contiguous()
    return torch.cat(
        [crop_centre(part.flatten(0, 1), *size) for part in torch.split(pixels, 1000)]
    ).view(len(pixels), pixels.shape[1], *size)


def is_here(name: str) -> bool:
    """Whether a set of `KNOWN` can be opened without a download."""
    try:
        KNOWN[name].read(default_root(), False)
    except InputError:
        return False
    return True


def _read_digits(_root: Path, _download: bool) -> Decoded:
    """1,797 real handwritten digits of 8 x 8, enlarged to 16 x 16; a fifth is the test part."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    labels = torch.from_numpy(bunch.target).to(torch.int64)
    grey = torch.from_numpy(bunch.images).float()[:, None] * (255 / 16)
    enlarged = torch.nn.functional.interpolate(
        grey, scale_factor=2, mode="bilinear", align_corners=False
    )
    train, test = hold_out(labels, DIGITS_TEST_SHARE, seed=0)
    order = torch.cat([train, test])
    pixels = enlarged.round().to(torch.uint8)[order]
    return Decoded(pixels, labels[order], len(test), tuple(map(str, range(10))))


def _read_torchvision(name: str) -> Callable[[Path, bool], Decoded]:
    def read(root: Path, download: bool) -> Decoded:
        train, test = (_fetch_part(name, root, train, download) for train in (True, False))
        pixels = torch.cat([_pixels(train.data), _pixels(test.data)])
        labels = torch.cat([torch.as_tensor(train.targets), torch.as_tensor(test.targets)])
        return Decoded(pixels, labels.long(), len(test.targets), tuple(train.classes))

    return read


def _fetch_part(name: str, root: Path, train: bool, download: bool) -> Any:
    from torchvision import datasets

    try:
        # Standard output carries results only.
        with contextlib.redirect_stdout(sys.stderr):
            return getattr(datasets, name)(str(root), train=train, download=download)
    except (OSError, RuntimeError) as error:
        if not download:
            spec = next(known for known in KNOWN if known.replace("-", "") == name.lower())
            raise InputError(
                f"a file names the data {spec}, which are not in {root}; "
                f"give `data={spec}` to download them, or a folder of images"
            ) from error
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"{name} is not in {root} and could not be downloaded ({reason}); connect to the "
            "network, set PRUNE_DL_DATA to a folder that holds it, or give a folder of images"
        ) from error


def _pixels(data: Any) -> Tensor:
    """torchvision's arrays, (n, H, W, 3) or (n, H, W), as (n, C, H, W)."""
    pixels = torch.as_tensor(data)
    return pixels[:, None] if pixels.ndim == 3 else pixels.permute(0, 3, 1, 2).contiguous()


KNOWN: Mapping[str, Known] = {
    "cifar10": Known(
        _read_torchvision("CIFAR10"), True, (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
    ),
    "cifar100": Known(
        _read_torchvision("CIFAR100"), True, (0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)
    ),
    "fashion-mnist": Known(_read_torchvision("FashionMNIST"), True, (0.2860,), (0.3530,)),
    "digits": Known(_read_digits, False),
}
"""Data sets by name."""
