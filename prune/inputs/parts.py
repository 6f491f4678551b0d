"""Folders laid out as torchvision's ImageFolder expects, one folder per label, and their parts.

ROOT/train/LABEL/*.jpg  with ROOT/test or ROOT/val     (val holds out when test is there too)
ROOT/LABEL/*.jpg                                       (a fifth is split off with the seed)

Images may lie deeper below their label's folder. Whatever is not taken is said in the notes.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from ..errors import InputError
from .listing import (
    NO_LABEL,
    Listing,
    inner_folders,
    is_hidden,
    label_folders,
    lies_flat,
    list_all_images,
    list_images,
    require_apart,
)
from .seeded import hold_out

TRAIN_NAMES = ("train", "training", "train_set", "training_set")
TEST_NAMES = ("test", "testing", "test_set", "testing_set")
HELD_OUT_NAMES = ("val", "valid", "validation", "val_set", "validation_set", "dev")
"""What archives call the parts, in any case."""
TEST_SHARE = 0.2
"""Of the images of a folder without a test part, set aside as one."""
MOST_SHOWN = 5
"""Names that a message lists."""
NOT_SORTED = "no label folders: the images are taken as unlabeled (`unlabeled`)"
"""What is said where nobody asked for it."""


@dataclass(frozen=True, eq=False)
class Parts:
    """Files of a folder, and the positions of each part among them, int64.

    Attributes:
        notes: what was left out or chosen, a line each.
    """

    files: Listing
    train: Tensor
    held_out: Tensor
    test: Tensor
    notes: tuple[str, ...] = ()

    @property
    def unlabeled(self) -> bool:
        """Whether the files have no labels: all have `NO_LABEL`."""
        return self.files.labels == (NO_LABEL,)


def list_parts(
    root: Path, share: float, seed: int, num_labels: int | None, *, unlabeled: bool = False
) -> Parts:
    """All files of a folder, and which of them are for training, held out, and for the test.

    A label may lack images in any part but that of training. A label folder without any image
    counts as a label only if the network then has an output for each.

    Args:
        share: of the training part that is held out.
        num_labels: outputs of the network, where they are known.
        unlabeled: images of all folders, whatever these are called, without labels. A folder
            whose images lie outside label folders is taken so by itself, for a known network.

    Raises:
        InputError: no such folder, no images, a single label, a label that training lacks and the
            network has no output for, or parts that share a file.
    """
    if not root.is_dir():
        raise InputError(
            f"`data={root}`: no such folder; "
            "expected one with train/ and test/ (or val/), each with one folder per label"
        )
    is_flat = not unlabeled and num_labels is not None and _is_flat(root)
    found = _find_parts(root, share, seed, unlabeled=unlabeled or is_flat)
    notes = [NOT_SORTED] * is_flat
    if not found.unlabeled:
        found = _with_labels(root, found, num_labels)
        _require_labels(root, found.files, num_labels)
        notes += _missing(found)
    notes += found.notes
    if found.files.left_out:
        notes.append(f"left out of the data: {_few(_below(root, found.files.left_out))}")
    return replace(found, notes=tuple(notes))


def _named_parts(inside: list[str]) -> tuple[str, str, str]:
    """The folders of the parts: for training, for the test, held out; empty where there is none."""
    train, test, val = (
        _named(inside, names) for names in (TRAIN_NAMES, TEST_NAMES, HELD_OUT_NAMES)
    )
    return train, test, val


def _is_flat(root: Path) -> bool:
    """Whether no part of a folder has label folders, and each has images."""
    inside = inner_folders(root)
    train, test, val = _named_parts(inside)
    is_split = train and (test or val or len(inside) == 1)
    parts = [name for name in (train, test, val) if name] if is_split else [""]
    return all(lies_flat(root / name) for name in parts)


def _find_parts(root: Path, share: float, seed: int, *, unlabeled: bool) -> Parts:
    """The parts as they lie there, with all label folders; or all images without labels."""
    list_part = list_all_images if unlabeled else list_images
    inside = inner_folders(root) if unlabeled else label_folders(root)
    train, test, val = _named_parts(inside)
    if train and not (test or val) and len(inside) == 1:
        note = f"no test part beside {train}/: a fifth of it was set aside as one"
        return replace(_split_one(list_part(root / train), share, seed), notes=(note,))
    if not train or not (test or val):
        return _split_one(list_part(root), share, seed)
    learning, last = list_part(root / train), list_part(root / (test or val))
    beside = [name for name in inside if name not in (train, test, val)]
    hidden = [entry.name for entry in root.iterdir() if entry.is_dir() and is_hidden(entry.name)]
    left_out = tuple(str(root / name) for name in sorted([*beside, *hidden]))
    if test and val:
        files, (first, held, second) = _join([learning, list_part(root / val), last])
        return Parts(replace(files, left_out=files.left_out + left_out), first, held, second)
    files, (_, second) = _join([learning, last])
    kept, held = hold_out(learning.labels_N, share, seed)
    return Parts(replace(files, left_out=files.left_out + left_out), kept, held, second)


def _named(folders: Iterable[str], names: tuple[str, ...]) -> str:
    """The folder with one of these names; empty where there is none."""
    found = {folder.lower(): folder for folder in folders}
    return next((found[name] for name in names if name in found), "")


def _split_one(files: Listing, share: float, seed: int) -> Parts:
    rest, test = hold_out(files.labels_N, TEST_SHARE, seed)
    kept, held = hold_out(files.labels_N[rest], share, seed + 1)
    return Parts(files, rest[kept], rest[held], test)


def _join(parts: list[Listing]) -> tuple[Listing, list[Tensor]]:
    """One listing of several, with the labels of all, and the positions of each."""
    require_apart(parts)
    labels = tuple(sorted({label for part in parts for label in part.labels}))
    paths = tuple(path for part in parts for path in part.paths)
    real = tuple(path for part in parts for path in part.real)
    left_out = tuple(path for part in parts for path in part.left_out)
    positions = list(torch.split(torch.arange(len(paths)), [len(part.paths) for part in parts]))
    labels_N = torch.cat([part.numbered(labels).labels_N for part in parts])
    return Listing(labels, paths, labels_N, real, left_out), positions


def _with_labels(root: Path, found: Parts, num_labels: int | None) -> Parts:
    """The same with those label folders that count as labels."""
    files = found.files
    empty = [label for label in files.labels if label not in files.filled]
    filled = tuple(label for label in files.labels if label in files.filled)
    learned = torch.cat([files.labels_N[found.train], files.labels_N[found.held_out]])
    known = {files.labels[k] for k in torch.unique(learned).tolist()}
    unknown = [label for label in filled if label not in known]
    if unknown and (num_labels is None or num_labels < len(filled)):
        outputs = "" if num_labels is None else f", and the network has {num_labels} outputs"
        raise InputError(
            f"`data={root}`: the test part holds the label {_few(unknown)}, which the training "
            f"part lacks{outputs}; expected labels that training knows; take it away, or add "
            "images to the training part"
        )
    if not empty:
        return found
    if num_labels == len(files.labels):
        note = f"label folders without images, kept as labels of the network: {_few(empty)}"
        return replace(found, notes=(*found.notes, note))
    note = f"label folders without images, not counted as labels: {_few(empty)}"
    return replace(found, files=files.numbered(filled), notes=(*found.notes, note))


def _require_labels(root: Path, files: Listing, num_labels: int | None) -> None:
    """Refuse a folder around the real one, and a single label where no network has more."""
    if len(files.labels) > 1:
        return
    (only,) = files.labels
    inside = [path.name for path in (root / only).iterdir() if path.is_dir()]
    if any(name.lower() in (*TRAIN_NAMES, *TEST_NAMES) for name in inside):
        raise InputError(
            f"`data={root}` given, whose parts are in {only}; give `data={root / only}`"
        )
    if num_labels is None:
        raise InputError(
            f"`data={root}` given, with the one label folder {only}; expected two or more; give "
            "the folder that holds the label folders"
        )


def _missing(found: Parts) -> Iterator[str]:
    """Labels that have images, but not in each part."""
    files = found.files
    parts = {"test": found.test, "held-out": found.held_out, "training": found.train}
    for name, positions in parts.items():
        here = {files.labels[k] for k in torch.unique(files.labels_N[positions]).tolist()}
        lacking = sorted(files.filled - here)
        if lacking and len(positions):
            yield f"the {name} part holds no images of {_few(lacking)}"


def _below(root: Path, paths: Iterable[str]) -> list[str]:
    """Paths as seen from a folder: what leaves this machine does not say where that is."""
    return [Path(path).relative_to(root).as_posix() for path in paths]


def _few(names: list[str]) -> str:
    more = len(names) - MOST_SHOWN
    return ", ".join(names[:MOST_SHOWN]) + (f" and {more} more" if more > 0 else "")
