"""Targets that a data set states beside its items, so that no image is decoded for its label.

The conventions of torchvision: `targets` or `labels` (one for each item), or `samples`, pairs of a
file and its target; the tensors of a `TensorDataset`; a `Subset`, or several data sets in a row, of
such. They are believed where a few items have the same.

Shapes: N items.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, Subset, TensorDataset

from ..errors import InputError
from .targets import gather_rows, target_rows

NUM_CHECKED = 16
"""Items whose labels are read to check the stated ones: each kind of error a data set makes (an
offset, another order, a collate function that renumbers) is seen in a few."""


def stated_targets(items: Any, target_at: Callable[[int], Any]) -> Tensor | None:
    """Targets of all items, as `targets.target_rows` has them; None where they have to be read.

    Args:
        items: a data set with a length.
        target_at: reads the target of the item at a position.

    Raises:
        InputError: an item's target is no label.
    """
    try:
        stated = _stated(items)
        rows = None if stated is None else target_rows(stated)
    except (InputError, TypeError, ValueError, RuntimeError, LookupError):
        return None
    if rows is None or len(rows) != len(items):
        return None
    places = torch.linspace(0, len(rows) - 1, min(NUM_CHECKED, len(rows))).round().long()
    read = gather_rows(target_at(place) for place in places.tolist())
    return rows if torch.equal(rows[places], read) else None


def _stated(items: Any) -> Tensor | None:
    """Targets as a data set of one of the known kinds holds them; None of any other."""
    if isinstance(items, Subset):
        whole = _stated(items.dataset)
        return None if whole is None else whole[torch.as_tensor(items.indices)]
    if isinstance(items, ConcatDataset):
        parts = [_stated(part) for part in items.datasets]
        found = [part for part in parts if part is not None]
        return torch.cat(found) if len(found) == len(parts) else None
    if isinstance(items, TensorDataset):
        return items.tensors[1] if len(items.tensors) > 1 else None
    given = _attribute(items)
    transform = getattr(items, "target_transform", None)
    if given is None or transform is None:
        return None if given is None else torch.as_tensor(given)
    return torch.as_tensor([transform(target) for target in given])


def _attribute(items: Any) -> Any:
    for name in ("targets", "labels"):
        if (given := getattr(items, name, None)) is not None:
            return given
    samples = getattr(items, "samples", None)
    return None if samples is None else [target for _, target in samples]
