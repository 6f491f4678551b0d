"""Some labels of a data set: their names as a user gives them, and their images alone.

Shapes: N images, K labels of the whole set.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path

import torch
from torch import Tensor

from ..errors import InputError, UsageError
from .arrays import ArraySplit
from .held_out_items import part_of
from .label_file import read_label_names
from .label_order import listed
from .loaders import LoaderSplit
from .split import Batch, DataSet, Split, SplitOver
from .streams import StreamSplit

NUM_NEAREST_LABELS = 3
"""Labels that are offered in place of one that does not exist."""


def choose_labels(asked: Sequence[str], data: DataSet) -> tuple[str, ...]:
    """The labels that a user wants to keep, in the order of the data's.

    Args:
        asked: names, several of them with commas between, or a file with a name a line.

    Raises:
        UsageError: they are not two labels of the data or more, each once, but not all.
        InputError: a file of names cannot be read, or an image may have several labels.
    """
    if data.unlabeled:
        raise UsageError(
            f"`labels_kept={','.join(asked)[:100]}` given for images without labels; expected "
            "images of the labels to keep, told by their folders; give such, or leave it out"
        )
    if data.multi_label:
        raise InputError(
            f"`labels_kept={','.join(asked)[:100]}` given for data with several labels for an "
            "image; expected one label for each; leave it out"
        )
    names = [name for given in asked for name in _names_in_words(given, data.labels)]
    for name in names:
        if name not in data.labels:
            raise UsageError(_unknown_label(name, data))
    most, times = Counter(names).most_common(1)[0] if names else ("", 0)
    if times > 1:
        raise UsageError(f"`labels_kept` given with {most} {times} times; expected each label once")
    if not 2 <= len(names) < len(data.labels):
        number = "1 label" if len(names) == 1 else f"{len(names)} labels"
        raise UsageError(
            f"`labels_kept` given with {number} of {len(data.labels)}; expected two or more, but "
            "not all; give others, or leave it out"
        )
    return tuple(label for label in data.labels if label in set(names))


def _names_in_words(given: str, labels: Sequence[str]) -> list[str]:
    """One word of the option as names; a label may hold commas, and is taken as it is."""
    if given in labels:
        return [given]
    if Path(given).is_file():
        return list(read_label_names(Path(given), "labels_kept"))
    return [name.strip() for name in given.split(",") if name.strip()]


def _unknown_label(name: str, data: DataSet) -> str:
    lower = {label.lower(): label for label in reversed(data.labels)}
    near = [lower[x] for x in get_close_matches(name.lower(), lower, NUM_NEAREST_LABELS)]
    meant = f"; did you mean {' or '.join(near)}?" if near else ""
    return (
        f"`labels_kept={name}` given, which is no label of {data.as_given}; expected some of "
        f"{listed(data.labels)}{meant}"
    )


def of_labels(data: DataSet, labels: Sequence[str]) -> DataSet:
    """The images of some labels alone, numbered in this order.

    Raises:
        InputError: a label has no training images, a part has no images at all, or the splits are
            of the user's own making.
    """
    number_K = torch.full((len(data.labels),), -1, dtype=torch.int64)
    number_K[[data.labels.index(label) for label in labels]] = torch.arange(len(labels))
    parts = {"training": data.train, "held-out": data.held_out, "test": data.test}
    made = {name: _of_some(part, number_K) for name, part in parts.items()}
    for name, part in made.items():
        if not part.num_images:
            raise InputError(
                f"{data.as_given} given, without {name} images of {listed(labels)}; "
                "give other labels"
            )
    seen = set(torch.unique(made["training"].labels_N).tolist())
    lacking = [label for number, label in enumerate(labels) if number not in seen]
    if lacking:
        raise InputError(
            f"{data.as_given} given, without training images of {lacking[0]}; give other labels"
        )
    return replace(
        data,
        labels=tuple(labels),
        train=made["training"],
        held_out=made["held-out"],
        test=made["test"],
    )


def _of_some(part: Split, number_K: Tensor) -> Split:
    """The images of a part whose label has a number."""
    if isinstance(part, ArraySplit | StreamSplit):
        number_N = number_K[part.labels_N]
        stays_N = number_N >= 0
        return replace(part, positions_N=part.positions_N[stays_N], labels_N=number_N[stays_N])
    if isinstance(part, LoaderSplit):
        places = (number_K[part.labels_N] >= 0).nonzero().flatten()
        return Renumbered(part_of(part, places), number_K)
    raise InputError(
        f"labels to keep given for data of a {type(part).__name__}, whose images cannot be told "
        "apart by label; give the images of those labels alone"
    )


@dataclass(frozen=True, eq=False)
class Renumbered(SplitOver):
    """A split whose label k counts as number_K[k], int64."""

    number_K: Tensor

    @property
    def labels_N(self) -> Tensor:
        """Label of each image."""
        return self.number_K[self.split.labels_N]

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
        number_K = self.number_K.to(device)
        for inputs, labels_N in self.split.batches(
            batch_size, device=device, augment=augment, shuffle_seed=shuffle_seed, limit=limit
        ):
            yield inputs, number_K[labels_N]
