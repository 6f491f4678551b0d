"""Image files of one folder per label: each file once, whatever links lead to it.

Order and endings are those of torchvision's ImageFolder.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from pathlib import Path

import torch
from torch import Tensor
from torchvision.datasets.folder import IMG_EXTENSIONS

from ..errors import InputError
from ..files import require_regular

SYSTEM_FOLDERS = frozenset(
    ("__MACOSX", "@eaDir", "#recycle", "$RECYCLE.BIN", "System Volume Information", "lost+found")
)
"""What systems leave in folders: no labels, as hidden folders (.ipynb_checkpoints) are none."""
APPLE_DOUBLE = "._"
"""What macOS puts before the name of a file for that file's attributes: no image."""


@dataclass(frozen=True)
class Listing:
    """Files and labels of one folder or of several, one after the other.

    Attributes:
        labels: names of the label folders, sorted, also of those without images.
        paths: as they were found.
        labels_N: which label each of them has, int64.
        real: the same files with all links resolved.
        left_out: folders and images that are part of no label.
    """

    labels: tuple[str, ...]
    paths: tuple[str, ...]
    labels_N: Tensor
    real: tuple[str, ...]
    left_out: tuple[str, ...] = ()

    @property
    def filled(self) -> frozenset[str]:
        """Labels that have images."""
        return frozenset(self.labels[k] for k in torch.unique(self.labels_N).tolist())

    def numbered(self, labels: tuple[str, ...]) -> "Listing":
        """The same files with labels numbered as these are, which hold all that have images."""
        place = {name: number for number, name in enumerate(labels)}
        number_K = torch.tensor([place.get(name, -1) for name in self.labels], dtype=torch.int64)
        return replace(self, labels=labels, labels_N=number_K[self.labels_N])


def list_images(folder: Path) -> Listing:
    """Image files of one folder per label, sorted. A link to what was seen already adds nothing.

    Raises:
        InputError: no label folders, no images, one file under two labels, or an image that is no
            regular file.
    """
    inside = label_folders(folder)
    found = [_images_of(str(folder / label)) for label in inside]
    if not any(images for images, _ in found):
        raise InputError(f"{folder} holds no images; expected one folder of images per label")
    outside = [entry.name for entry in os.scandir(folder) if entry.is_dir()]
    left_out = [folder / name for name in sorted(set(outside) - set(inside))]
    left_out += [Path(path) for _, hidden in found for path in hidden]
    listing = Listing(
        tuple(inside),
        tuple(path for images, _ in found for path in images.values()),
        torch.repeat_interleave(torch.tensor([len(images) for images, _ in found])),
        tuple(real for images, _ in found for real in images),
        tuple(map(str, (*left_out, *_loose_images(folder)))),
    )
    _refuse_repeats(listing, "labels")
    return listing


NO_LABEL = ""
"""The one label of files that nobody labelled."""


def list_all_images(folder: Path) -> Listing:
    """Image files in a folder and below it, whatever its folders are called, under `NO_LABEL`.

    Raises:
        InputError: no images, or one that is no regular file.
    """
    images, hidden = _images_of(str(folder))
    if not images:
        raise InputError(f"{folder} holds no images; expected some in it or in its folders")
    zeros_N = torch.zeros(len(images), dtype=torch.int64)
    return Listing((NO_LABEL,), tuple(images.values()), zeros_N, tuple(images), tuple(hidden))


def lies_flat(folder: Path) -> bool:
    """Whether a folder holds images, and no folder in it does: nobody sorted them by label."""
    return bool(_loose_images(folder)) and not any(
        holds_images(folder / name) for name in inner_folders(folder)
    )


def is_hidden(name: str) -> bool:
    """Whether a folder of that name is hidden, or a system's own."""
    return name.startswith(".") or name in SYSTEM_FOLDERS


def _loose_images(folder: Path) -> list[Path]:
    """Images beside the label folders."""
    return [
        Path(entry.path)
        for entry in sorted(os.scandir(folder), key=lambda entry: entry.name)
        if entry.is_file() and _is_image(entry.name)
    ]


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


def label_folders(folder: Path) -> list[str]:
    """Names of the folders in a folder, sorted, without hidden ones.

    Raises:
        InputError: it cannot be read, or holds none.
    """
    labels = inner_folders(folder)
    if not labels:
        raise InputError(
            f"{folder} holds no label folders; expected one folder of images per label, or "
            "`unlabeled` for a trained network"
        )
    return labels


def inner_folders(folder: Path) -> list[str]:
    """The same, where there may be none. Raises InputError if it cannot be read."""
    try:
        entries = [entry for entry in os.scandir(folder) if entry.is_dir()]
    except OSError as error:
        raise InputError(f"{folder} cannot be read ({error.strerror}); give another") from error
    return sorted(entry.name for entry in entries if not is_hidden(entry.name))


def _images_of(folder: str) -> tuple[dict[str, str], list[str]]:
    """Images in a folder and below it, each under its resolved path, in the order of the paths;
    and the hidden folders that were passed over.

    Of several names of one file the first is taken that is no link.
    """
    found: list[tuple[str, str]] = []
    links: list[tuple[str, str]] = []
    hidden: list[str] = []
    for place, real_place in sorted(_folders(folder)):
        for entry in os.scandir(place):
            if entry.is_dir():
                hidden += [entry.path] * is_hidden(entry.name)
            elif _is_image(entry.name):
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
    images = dict(sorted(names.items(), key=lambda item: os.path.split(item[1])))
    return images, sorted(hidden)


def _is_image(name: str) -> bool:
    return name.lower().endswith(IMG_EXTENSIONS) and not name.startswith(APPLE_DOUBLE)


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
                inside[:] = sorted(name for name in inside if not is_hidden(name))
                paths = (os.path.join(place, name) for name in inside)
                links += filter(os.path.islink, paths)
        waiting = links
