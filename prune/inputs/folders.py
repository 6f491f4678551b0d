"""Folders laid out as torchvision's ImageFolder expects: one folder per label.

ROOT/train/LABEL/*.jpg  with ROOT/test or ROOT/val     (val holds out when test is there too)
ROOT/LABEL/*.jpg                                       (a fifth is split off with the seed)
"""

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
from .listing import Listing, list_images, require_apart
from .origin import imagenet_mean_std
from .preprocessing import Preprocessing
from .split import DataSet, Split, hold_out
from .streams import StreamSplit

TEST_NAMES = ("test", "val", "valid", "validation")
LARGEST_IN_MEMORY = 2**30
"""Bytes that a data set may take decoded; a larger one is streamed."""
TEST_SHARE = 0.2
"""Of the images of a folder without parts, set aside as the test part."""
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
    progress: Progress = silent,
) -> DataSet:
    """Open a folder; arguments and defaults as in `open_data`.

    Raises:
        InputError: no such folder, no images, an empty label folder, parts whose labels differ
            or that share a file, or (small sets, which are decoded here) an image that does not
            decode.
    """
    files, train, held, test = _list_parts(root, held_out, seed)
    _check_labels(root, files.labels)
    height, width = wanted.size or _common_size(files.paths)
    input_size = (wanted.channels or 3, height, width)
    decode = FileDecoder(files.paths, input_size)
    places = (train, held, test)
    if _num_bytes(files, input_size) <= LARGEST_IN_MEMORY:
        parts, (own_mean, own_std) = _in_memory(decode, files.labels_N, places, progress)
    else:
        parts, (own_mean, own_std) = _streamed(decode, files.labels_N, places)
    mean, std = wanted.mean or own_mean, wanted.std or own_std
    train_part, held_part, test_part = (part(mean, std) for part in parts)
    return DataSet(
        str(root.resolve()), files.labels, input_size, mean, std, train_part, held_part, test_part
    )


def _check_labels(root: Path, labels: tuple[str, ...]) -> None:
    """Raise InputError for a label that cannot be written into reports and metadata."""
    for label in labels:
        if reason := unfit_name(label):
            shown = label.encode("ascii", "backslashreplace").decode()
            raise InputError(f"{root} holds the label folder {shown}, {reason}; rename it")


MakeSplit = Callable[[tuple[float, ...], tuple[float, ...]], Split]
Parts = tuple[Listing, Tensor, Tensor, Tensor]
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


def _list_parts(root: Path, held_out: float, seed: int) -> Parts:
    """All files, and which of them are for training, held out, and for the test."""
    if not root.is_dir():
        raise InputError(
            f"`data={root}`: no such folder; "
            "expected one with train/ and test/ (or val/), each with one folder per label"
        )
    tests = [name for name in TEST_NAMES if (root / name).is_dir()]
    if not (root / "train").is_dir() or not tests:
        return _split_one(list_images(root), held_out, seed)
    train, test = list_images(root / "train"), list_images(root / tests[0])
    if tests[0] == "test" and len(tests) > 1:
        files, firsts = _join([train, list_images(root / tests[1]), test])
        return files, firsts[0], firsts[1], firsts[2]
    files, firsts = _join([train, test])
    kept, held = hold_out(train.labels_N, held_out, seed)
    return files, kept, held, firsts[1]


def _split_one(files: Listing, held_out: float, seed: int) -> Parts:
    rest, test = hold_out(files.labels_N, TEST_SHARE, seed)
    kept, held = hold_out(files.labels_N[rest], held_out, seed + 1)
    return files, rest[kept], rest[held], test


def _join(parts: list[Listing]) -> tuple[Listing, list[Tensor]]:
    """One listing of several, and the positions of each."""
    require_apart(parts)
    labels = parts[0].labels
    for part in parts[1:]:
        if part.labels != labels:
            differing = sorted(set(labels) ^ set(part.labels))
            folder = Path(part.paths[0]).parent.parent
            raise InputError(
                f"the label folders of {folder} and of the training part differ: "
                f"{', '.join(differing[:5])} in one of them only; both must hold the same labels"
            )
    paths = tuple(path for part in parts for path in part.paths)
    real = tuple(path for part in parts for path in part.real)
    sizes = [len(part.paths) for part in parts]
    positions = list(torch.split(torch.arange(len(paths)), sizes))
    labels_N = torch.cat([part.labels_N for part in parts])
    return Listing(labels, paths, labels_N, real), positions
