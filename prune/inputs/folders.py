"""Folders of images as splits; `parts` says how they are laid out."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..checks import unfit_name
from ..errors import InputError
from ..progress import Progress, silent
from .arrays import SHIFT_PART, ArraySplit, Augmentation, Images, measure_mean_std
from .decode import SMALL, FileDecoder, read_is_grey, read_size
from .listing import Listing
from .origin import imagenet_mean_std
from .parts import list_parts
from .preprocessing import Preprocessing
from .split import DataSet, Source, Sources, Split, channel_notes, output_names
from .streams import StreamSplit

LARGEST_IN_MEMORY = 2**30
"""Bytes that a data set may take decoded; a larger one is streamed."""
USUAL_SIZE = (224, 224)
"""Height and width that large images are brought to: the usual ones of ImageNet."""
HEADERS_READ = 32
"""Images, spread over the set, whose sizes and colours are compared; reading all headers takes
long."""
LARGEST_SHARED = 512
"""Pixels a side: images that share a larger size were not scaled for a network; they are
photographs of one camera, and classifiers seldom read more."""
SHARED = Source("shared by the images", is_guess=True)
USUAL = Source("usual, the images differ in size or are large; cropped to it", is_guess=True)
OWN_SCALE = Source("measured on the training images", is_guess=True)
IMAGENET_SCALE = Source("ImageNet's, usual for large images", is_guess=True)


@dataclass(frozen=True)
class Reading:
    """How the files of a folder are read.

    Attributes:
        in_memory: decode a small folder at once.
        progress: called with (images decoded, images in all).
    """

    in_memory: bool = True
    progress: Progress = silent


def open_image_folder(
    root: Path,
    wanted: Preprocessing,
    *,
    held_out: float,
    seed: int,
    num_labels: int | None = None,
    unlabeled: bool = False,
    reading: Reading,
) -> DataSet:
    """Open a folder; arguments and defaults as in `open_data`.

    Raises:
        InputError: as `list_parts`, or (small sets, which are decoded here) an image that does not
            decode.
    """
    listed = list_parts(root, held_out, seed, num_labels, unlabeled=unlabeled)
    files = listed.files
    labels = output_names(num_labels) if listed.unlabeled else files.labels
    _check_labels(root, files.labels)
    shared = None if wanted.size else shared_size(files.paths)
    height, width = wanted.size or shared or USUAL_SIZE
    is_grey = _all_grey(files.paths)
    channels = wanted.of_pictures(1 if is_grey else 3)
    input_size = (channels, height, width)
    decode = FileDecoder(files.paths, input_size)
    places = (listed.train, listed.held_out, listed.test)
    if reading.in_memory and _num_bytes(files, input_size) <= LARGEST_IN_MEMORY:
        made = _in_memory(decode, files.labels_N, places, reading.progress)
    else:
        made = _streamed(decode, files.labels_N, places)
    mean, std = wanted.mean or made.mean, wanted.std or made.std
    train, held_out_part, test = (part(mean, std, wanted.is_bgr) for part in made.parts)
    sources = Sources(
        wanted.size_source(SHARED if shared else USUAL),
        wanted.scale_source(made.source),
        wanted.order_source,
    )
    order = wanted.channel_order or "rgb"
    name = str(root.resolve())
    return DataSet(
        name,
        labels,
        input_size,
        mean,
        std,
        train,
        held_out_part,
        test,
        channel_order=order,
        sources=sources,
        unlabeled=listed.unlabeled,
        notes=(*listed.notes, *channel_notes(channels, is_grey=is_grey)),
    )


def _check_labels(root: Path, labels: tuple[str, ...]) -> None:
    """Raise InputError for a label that cannot be written into reports and metadata."""
    for label in labels:
        if reason := unfit_name(label):
            shown = label.encode("ascii", "backslashreplace").decode()
            raise InputError(f"{root} holds the label folder {shown}, {reason}; rename it")


MakeSplit = Callable[[tuple[float, ...], tuple[float, ...], bool], Split]
"""(mean, std, whether the channels are turned round) -> a part of the data."""


@dataclass(frozen=True)
class _Made:
    """Parts that only want a mean and std, and those that they have where nobody says others."""

    parts: list[MakeSplit]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    source: Source


def _in_memory(
    decode: FileDecoder, labels_N: Tensor, parts: tuple[Tensor, ...], progress: Progress
) -> _Made:
    """Everything decoded now; mean and std are measured on the training part of small images."""
    channels, height, width = decode.input_size
    pixels = _decode_all(decode, progress)
    if max(height, width) <= SMALL:
        mean_std, source = measure_mean_std(pixels[parts[0]]), OWN_SCALE
    else:
        mean_std, source = imagenet_mean_std(channels), IMAGENET_SCALE
    augmentation = Augmentation(shift=max(1, min(height, width) // SHIFT_PART))
    images = Images(pixels)

    def make(positions: Tensor) -> MakeSplit:
        return lambda mean, std, is_bgr: ArraySplit(
            images, positions, labels_N[positions], mean, std, augmentation, is_bgr
        )

    return _Made([make(positions) for positions in parts], *mean_std, source)


def _streamed(decode: FileDecoder, labels_N: Tensor, parts: tuple[Tensor, ...]) -> _Made:
    """Nothing decoded yet; ImageNet's mean and std."""

    def make(positions: Tensor) -> MakeSplit:
        return lambda mean, std, is_bgr: StreamSplit(
            decode, positions, labels_N[positions], mean, std, is_bgr=is_bgr
        )

    mean_std = imagenet_mean_std(decode.input_size[0])
    return _Made([make(positions) for positions in parts], *mean_std, IMAGENET_SCALE)


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


def shared_size(paths: tuple[str, ...]) -> tuple[int, int] | None:
    """Height and width that all images read share, if they are no photographs of one camera."""
    sizes = {read_size(path) for path in _some(paths)}
    return min(sizes) if len(sizes) == 1 and max(min(sizes)) <= LARGEST_SHARED else None


def _all_grey(paths: tuple[str, ...]) -> bool:
    """Whether all images read hold no colours."""
    return all(map(read_is_grey, _some(paths)))


def _some(paths: tuple[str, ...]) -> tuple[str, ...]:
    """Images spread over the set, whose headers are read."""
    return paths[:: max(1, len(paths) // HEADERS_READ)]
