"""Image files of one folder per label: each file once, whatever links lead to it.

Order and endings are those of torchvision's ImageFolder.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path

import torch
from torch import Tensor
from torchvision.datasets.folder import IMG_EXTENSIONS

from ..errors import InputError
from ..files import require_regular


@dataclass(frozen=True)
class Listing:
    """Files and labels of one folder or of several, one after the other.

    Attributes:
        labels: names, sorted.
        paths: as they were found.
        labels_N: which label each of them has, int64.
        real: the same files with all links resolved.
    """

    labels: tuple[str, ...]
    paths: tuple[str, ...]
    labels_N: Tensor
    real: tuple[str, ...]


def list_images(folder: Path) -> Listing:
    """Image files of one folder per label, sorted. A link to what was seen already adds nothing.

    Raises:
        InputError: no label folders, one without images, one file under two labels, or an image
            that is no regular file.
    """
    labels = _label_folders(folder)
    found = [_images_of(str(folder / label)) for label in labels]
    if not any(found):
        raise InputError(f"{folder} holds no images; expected one folder of images per label")
    for label, images in zip(labels, found, strict=True):
        if not images:
            raise InputError(
                f"{folder / label} holds no images; fill this label's folder or take it away"
            )
    listing = Listing(
        tuple(labels),
        tuple(path for images in found for path in images.values()),
        torch.repeat_interleave(torch.tensor([len(images) for images in found])),
        tuple(real for images in found for real in images),
    )
    _refuse_repeats(listing, "labels")
    return listing


def holds_images(folder: Path) -> bool:
    """Whether a folder, or one a few levels below it, holds files named as images."""
    levels = ("*", "*/*", "*/*/*", "*/*/*/*")
    files = (path for level in levels for path in folder.glob(level))
    return any(path.name.lower().endswith(IMG_EXTENSIONS) for path in files)


def require_apart(parts: Sequence[Listing]) -> None:
    """Refuse parts of a data set that share a file: what is learned would be tested.

    Raises:
        InputError: a file is in two of them.
    """
    everything = Listing(
        (),
        tuple(path for part in parts for path in part.paths),
        torch.empty(0),
        tuple(real for part in parts for real in part.real),
    )
    _refuse_repeats(everything, "parts")


def _refuse_repeats(listing: Listing, what: str) -> None:
    first: dict[str, str] = {}
    for path, real in zip(listing.paths, listing.real, strict=True):
        if first.setdefault(real, path) != path:
            raise InputError(
                f"{first[real]} and {path} are one file (by a link) in two {what}; expected each "
                f"image in one of the {what}; take one of the links away"
            )


def _label_folders(folder: Path) -> list[str]:
    try:
        labels = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir())
    except OSError as error:
        raise InputError(f"{folder} cannot be read ({error.strerror}); give another") from error
    if not labels:
        raise InputError(
            f"{folder} holds no label folders; expected one folder of images per label"
        )
    return labels


def _images_of(folder: str) -> dict[str, str]:
    """Images in a folder and below it, each under its resolved path, in the order of the paths.

    Of several names of one file the first is taken that is no link.
    """
    found: list[tuple[str, str]] = []
    links: list[tuple[str, str]] = []
    for place, real_place in sorted(_folders(folder)):
        for entry in os.scandir(place):
            if entry.name.lower().endswith(IMG_EXTENSIONS) and not entry.is_dir():
                if not entry.is_file():
                    require_regular(entry.path)
                real = os.path.join(real_place, entry.name)
                if entry.is_symlink():
                    links.append((os.path.realpath(real), entry.path))
                else:
                    found.append((real, entry.path))
    names = dict(found)
    for real, path in sorted(links, key=itemgetter(1)):
        names.setdefault(real, path)
    return dict(sorted(names.items(), key=lambda item: os.path.split(item[1])))


def _folders(folder: str) -> Iterator[tuple[str, str]]:
    """The folder and all below it, with their resolved paths, each once; links after folders."""
    seen: set[str] = set()
    waiting = [folder]
    while waiting:
        links: list[str] = []
        for start in waiting:
            for place, inside, _ in os.walk(start):
                real = os.path.realpath(place)
                if real in seen:
                    inside.clear()
                    continue
                seen.add(real)
                yield place, real
                inside.sort()
                paths = (os.path.join(place, name) for name in inside)
                links += filter(os.path.islink, paths)
        waiting = links
