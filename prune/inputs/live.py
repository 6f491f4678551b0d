"""Data that a program hands over as it runs: loaders for the whole job, batches for a measurement.

Shapes: N images, K labels.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import torch
from torch.utils.data import DataLoader, Subset

from ..errors import InputError
from ..tasks import Task
from .items import ItemReader
from .loaders import batch_of, read_loader, read_targets
from .split import Batch, Batches, DataSet, hold_out
from .targets import Targets, target_rows

HELD_OUT_SHARE = 0.1
"""Of a loader's items, taken out for every choice where no other loader is given: as of the job."""


@dataclass(frozen=True, eq=False)
class Live:
    """Batches of a measurement, their inputs and labels read, on the device.

    Attributes:
        first: of the training batches.
        train, held_out: all of them, once; `first` is the first of train.
        task: whether an image may have several labels, as the first batch tells.
    """

    first: Batch
    train: Batches
    held_out: Batches
    task: Task


def read_live(
    batches: Iterable[Any],
    held_out: Iterable[Any],
    reader: ItemReader,
    num_labels: int,
    device: torch.device,
) -> Live:
    """Batches in any of the forms of `items` and `targets`.

    Raises:
        InputError: there are none, or the first does not tell inputs and labels.
    """
    train = iter(batches)
    raw = next(train, None)
    if raw is None:
        raise InputError("batches is empty; give at least one pair of inputs and labels")
    targets = Targets.of(target_rows(reader.pair_of(raw)[1]))
    targets.require(num_labels)

    def read(given: Iterable[Any]) -> Iterator[Batch]:
        return (batch_of(batch, reader, device, targets) for batch in given)

    task = Task(tuple(str(label) for label in range(num_labels)), targets.multi_label)
    first = batch_of(raw, reader, device, targets)
    return Live(first, chain([first], read(train)), read(held_out), task)


def read_loaders(
    train: DataLoader[Any],
    held_out: DataLoader[Any] | None,
    num_labels: int,
    seed: int,
    reader: ItemReader,
) -> DataSet:
    """The loaders as splits, with what has to be said of them.

    Without a held-out loader, a tenth of the training data set is taken out of it.

    Raises:
        InputError: as `read_loader`; or targets that do not fit `num_labels`.
    """
    found = read_loader(train, reader, "train")
    learning, notes = found.split, found.notes
    if held_out is None:
        rows = read_targets(learning)
        targets = _targets(rows, num_labels)
        kept, out = hold_out(targets.read(rows), HELD_OUT_SHARE, seed)
        learning, deciding = (
            replace(learning, items=Subset(learning.items, part.tolist())) for part in (kept, out)
        )
    else:
        other = read_loader(held_out, reader, "held_out")
        deciding, notes = other.split, (*notes, *other.notes)
        rows = read_targets(learning, limit=1)
        if rows.ndim == 2:  # all rows tell one-hot from several labels
            rows = torch.cat([read_targets(learning), read_targets(deciding)])
        targets = _targets(rows, num_labels)
    learning, deciding = (replace(split, targets=targets) for split in (learning, deciding))
    names = tuple(str(label) for label in range(num_labels))
    size: Any = found.size
    return DataSet(
        "your loaders",
        names,
        size,
        (),
        (),
        learning,
        deciding,
        deciding,
        multi_label=targets.multi_label,
        notes=(*notes, *targets.notes),
    )


def _targets(rows: torch.Tensor, num_labels: int) -> Targets:
    targets = Targets.of(rows)
    targets.require(num_labels)
    highest = int(rows.max()) if rows.ndim == 1 else 0
    if highest >= num_labels:
        raise InputError(
            f"a label of {highest} given, for {num_labels} labels; expected 0 to {num_labels - 1}; "
            "give `num_labels`, or class indices from 0 on"
        )
    return targets
