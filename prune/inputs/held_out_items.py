"""The items of a user's loader that are held out, and whether they are read without augmentation.

A data set with random transforms augments whatever is read of it. What is measured should be
neither augmented nor new every time: it is read from the same items without these transforms, where
the user gives them (`unaugmented`), and said where it is not.
"""

from dataclasses import replace
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils.data import Dataset, Subset

from ..errors import UsageError
from ..forward import tensors_of
from .seeded import hold_out

AnySplit = TypeVar("AnySplit", bound=Any)
"""A split of a data set's items: its fields `items`, `unaugmented` and `draws` of them."""
HELD_OUT_SHARE = 0.1
"""Of a loader's items, taken out for every choice where no other loader is given: as of the job."""
READ_TWICE = 16
"""Items that are read twice: a transform that changes one in ten is then missed once in 30."""
AUGMENTED_TENTH = (
    "the items of train change at random whenever they are read, also the tenth that is held out: "
    "its accuracies are those of augmented images, and every choice is made on them; give "
    "`unaugmented`, the same data set without random transforms, or a `held_out` loader"
)
AUGMENTED = (
    "the items of {what} change at random whenever they are read: its accuracies are those of "
    "augmented images; give a data set without random transforms for it"
)


def without_tenth(
    split: AnySplit, labels_N: Tensor, seed: int, share: float = HELD_OUT_SHARE
) -> tuple[AnySplit, AnySplit]:
    """A split of items without those that are held out, a tenth or another share, and these; see
    `hold_out`."""
    kept, out = (part_of(split, places) for places in hold_out(labels_N, share, seed))
    return kept, replace(out, draws=None)


def part_of(split: AnySplit, places: Tensor) -> AnySplit:
    """The items of a split at these places."""
    listed = places.tolist()
    plain = None if split.unaugmented is None else Subset(split.unaugmented, listed)
    draws = None if split.draws is None or not listed else split.draws.within(places)
    return replace(split, items=Subset(split.items, listed), unaugmented=plain, draws=draws)


def same_items(
    items: Dataset[Any], unaugmented: Dataset[Any] | None, places: list[int] | None
) -> Dataset[Any] | None:
    """The unaugmented items of a loader; those that its sampler is confined to.

    Args:
        items: the loader's data set, all of it. places: what is left of it; None for all.

    Raises:
        UsageError: they are another number of items.
    """
    if unaugmented is None:
        return None
    counts = [len(x) if hasattr(x, "__len__") else 0 for x in (items, unaugmented)]
    if counts[0] != counts[1]:
        raise UsageError(
            f"`unaugmented` of {counts[1]} items given for a train of {counts[0]}; expected the "
            "same items in the same order, without random transforms"
        )
    return unaugmented if places is None else Subset(unaugmented, places)


def check_same_labels(split: Any) -> None:
    """Refuse unaugmented items of other labels, as a few of them tell.

    Raises UsageError.
    """
    if split.unaugmented is None or split.unlabeled:
        return
    plain = replace(split, items=split.unaugmented)
    for place in torch.linspace(0, split.num_images - 1, READ_TWICE).round().int().tolist():
        one, other = (torch.as_tensor(x.target_in(x.items[place])) for x in (split, plain))
        if not torch.equal(one, other):
            raise UsageError(
                f"`unaugmented` given, whose item {place} has the label {other.tolist()}, and "
                f"{one.tolist()} in train; expected the same items in the same order"
            )


def change_notes(split: Any, what: str) -> tuple[str, ...]:
    """What has to be said of items that are measured, where reading them twice gives two results.

    Args:
        what: held_out or test; empty for a tenth of train.
    """
    with torch.random.fork_rng(devices=[]):  # augmentations draw from it
        first, second = (_first_inputs(split) for _ in range(2))
    shapes = [[x.shape for x in found] for found in (first, second)]
    is_same = shapes[0] == shapes[1] and all(map(torch.equal, first, second))
    return () if is_same else (AUGMENTED.format(what=what) if what else AUGMENTED_TENTH,)


def _first_inputs(split: Any) -> list[Tensor]:
    """Inputs of a few items as they are measured, read by this process."""
    near = replace(split, num_workers=0)
    batches = near.batches(READ_TWICE, device="cpu", limit=READ_TWICE)
    return [x.nan_to_num() for inputs, _ in batches for x in tensors_of(inputs)]
