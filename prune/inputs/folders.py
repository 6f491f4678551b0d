"""Folders of images as splits; `parts` says how they are laid out."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from torch import Tensor

from ..checks import unfit_name
from ..errors import InputError
from ..progress import Progress, silent
from .arrays import SHIFT_PART, ArraySplit, Augmentation, Images, measure_mean_std
from .decode import SMALL, FileDecoder, read_size
from .listing import Listing
from .origin import imagenet_mean_std
from .parts import list_parts
from .preprocessing import Preprocessing
from .split import DataSet, Split
from .streams import StreamSplit

LARGEST_IN_MEMORY = 2**30
"""Bytes that a data set may take decoded; a larger one is streamed."""
USUAL_SIZE = (224, 224)
"""Height and width that large images are brought to: the usual ones of ImageNet."""
SIZES_READ = 32
"""Images, spread over the set, whose sizes are compared; reading all headers takes long."""


def open_image_folder(
    root: Path,
    wanted: Preprocessing,
    *,
    held_out: float,
    seed: int,
    num_labels: int | None = None,
    progress: Progress = silent,
) -> DataSet:
    """Open a folder; arguments and defaults as in `open_data`.

    Raises:
        InputError: as `list_parts`, or (small sets, which are decoded here) an image that does not
            decode.
    """
    listed = list_parts(root, held_out, seed, num_labels)
    files = listed.files
    _check_labels(root, files.labels)
    height, width = wanted.size or _common_size(files.paths)
    input_size = (wanted.channels or 3, height, width)
    decode = FileDecoder(files.paths, input_size)
    places = (listed.train, listed.held_out, listed.test)
    if _num_bytes(files, input_size) <= LARGEST_IN_MEMORY:
        parts, (own_mean, own_std) = _in_memory(decode, files.labels_N, places, progress)
    else:
        parts, (own_mean, own_std) = _streamed(decode, files.labels_N, places)
    mean, std = wanted.mean or own_mean, wanted.std or own_std
    train, held, test = (part(mean, std) for part in parts)
    name = str(root.resolve())
    return DataSet(name, files.labels, input_size, mean, std, train, held, test, listed.notes)


def _check_labels(root: Path, labels: tuple[str, ...]) -> None:
    """Raise InputError for a label that cannot be written into reports and metadata."""
    for label in labels:
        if reason := unfit_name(label):
            shown = label.encode("ascii", "backslashreplace").decode()
            raise InputError(f"{root} holds the label folder {shown}, {reason}; rename it")


MakeSplit = Callable[[tuple[float, ...], tuple[float, ...]], Split]
Made = tuple[list[MakeSplit], tuple[tuple[float, ...], tuple[float, ...]]]


def _in_memory(
    decode: FileDecoder, labels_N: Tensor, parts: tuple[Tensor, ...], progress: Progress
) -> Made:
    """Everything decoded now; mean and std are measured on the training part of small images."""
    channels, height, width = decode.input_size
    pixels = _decode_all(decode, progress)
    if max(height, width) <= SMALL:
        mean_std = measure_mean_std(pixels[parts[0]])
    else:
        mean_std = imagenet_mean_std(channels)
    augmentation = Augmentation(shift=max(1, min(height, width) // SHIFT_PART))
    images = Images(pixels)

    def make(positions: Tensor) -> MakeSplit:
        return lambda mean, std: ArraySplit(
            images, positions, labels_N[positions], mean, std, augmentation
        )

    return [make(positions) for positions in parts], mean_std


def _streamed(decode: FileDecoder, labels_N: Tensor, parts: tuple[Tensor, ...]) -> Made:
    """Nothing decoded yet; ImageNet's mean and std."""

    def make(positions: Tensor) -> MakeSplit:
        return lambda mean, std: StreamSplit(decode, positions, labels_N[positions], mean, std)

    return [make(positions) for positions in parts], imagenet_mean_std(decode.input_size[0])


def _decode_all(decode: FileDecoder, progress: Progress) -> Tensor:
    """(n, C, H, W) uint8. Small files decode faster than threads can be handed work."""
    num_images = len(decode.paths)
    pixels = torch.empty((num_images, *decode.input_size), dtype=torch.uint8)

    def fill(position: int) -> None:
        pixels[position] = decode(position, None)
        if position % 256 == 0 or position == num_images - 1:
            progress(position + 1, num_images)

    if max(read_size(decode.paths[0])) <= SMALL:
        for position in range(num_images):
            fill(position)
        return pixels
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        for _ in threads.map(fill, range(num_images)):
            pass
    return pixels


def _num_bytes(files: Listing, input_size: tuple[int, int, int]) -> int:
    channels, height, width = input_size
    return len(files.paths) * channels * height * width


def _common_size(paths: tuple[str, ...]) -> tuple[int, int]:
    """The size that all images read share if it is small, else the usual one."""
    sizes = {read_size(path) for path in paths[:: max(1, len(paths) // SIZES_READ)]}
    if len(sizes) == 1 and max(min(sizes)) <= SMALL:
        return min(sizes)
    return USUAL_SIZE
