"""Data that a program hands over as it runs: loaders for the whole job, batches for a measurement.

Shapes: N images, K labels.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from ..errors import InputError, UsageError
from ..forward import batch_size_of
from ..tasks import Task
from .batches import batch_of, inputs_in_batch
from .held_out_items import change_notes, without_tenth
from .items import ItemReader, lacks_label
from .loaders import ReadLoader, read_loader, read_targets
from .split import OWN_LOADERS, Batch, Batches, DataSet
from .targets import Targets, target_rows


@dataclass(frozen=True, eq=False)
class Live:
    """Batches of a measurement, their inputs and labels read, on the device.

    Attributes:
        first: of the training batches.
        train, held_out: all of them, once; `first` is the first of train.
        task: whether an image may have several labels, as the first batch tells.
        unlabeled: whether no labels were read; all are 0.
    """

    first: Batch
    train: Batches
    held_out: Batches
    task: Task
    unlabeled: bool = False


def read_live(
    batches: Iterable[Any],
    held_out: Iterable[Any],
    reader: ItemReader,
    num_labels: int | None,
    device: torch.device,
    *,
    unlabeled: bool = False,
) -> Live:
    """Batches in any of the forms of `items` and `targets`.

    Args:
        num_labels: may be None without labels.
        unlabeled: labels are not read, if there are any; a first batch that surely has none says so
            by itself.

    Raises:
        InputError: there are none, or the first does not tell inputs and labels.
    """
    train = iter(batches)
    raw = next(train, None)
    if raw is None:
        raise InputError("batches is empty; give at least one pair of inputs and labels")
    if unlabeled or lacks_label(raw, reader):
        return _read_inputs(raw, train, held_out, reader, device)
    num_labels = require_count(num_labels)
    targets = Targets.of(target_rows(reader.pair_of(raw)[1]))
    targets.require(num_labels)

    def read(given: Iterable[Any]) -> Iterator[Batch]:
        return (batch_of(batch, reader, device, targets) for batch in given)

    task = Task(tuple(str(label) for label in range(num_labels)), targets.multi_label)
    first = batch_of(raw, reader, device, targets)
    return Live(first, chain([first], read(train)), read(held_out), task)


def _read_inputs(
    raw: Any,
    train: Iterable[Any],
    held_out: Iterable[Any],
    reader: ItemReader,
    device: torch.device,
) -> Live:
    """Batches of inputs alone; `raw` is the first of train."""

    def read(batch: Any) -> Batch:
        inputs = inputs_in_batch(batch, reader, device)
        return inputs, torch.zeros(batch_size_of(inputs), dtype=torch.int64, device=device)

    first = read(raw)
    return Live(first, chain([first], map(read, train)), map(read, held_out), Task(()), True)


def require_count(num_labels: int | None) -> int:
    """The number of labels, which has to be said where there are labels.

    Raises:
        UsageError: it was not.
    """
    if num_labels is None:
        raise UsageError(
            "labelled images given without `num_labels`; expected the number of labels; give it, "
            "or `judge=outputs` for outputs that are no class scores, "
            "or `unlabeled=True` to go without labels"
        )
    return num_labels


def read_loaders(
    train: DataLoader[Any],
    held_out: DataLoader[Any] | None,
    num_labels: int | None,
    seed: int,
    reader: ItemReader,
    *,
    unlabeled: bool = False,
    unaugmented: Dataset[Any] | None = None,
) -> DataSet:
    """The loaders as splits, with what has to be said of them.

    Without a held-out loader, a tenth of the training data set is taken out of it.

    Args:
        num_labels: may be None without labels, which then have no names yet.
        unlabeled: labels are not read, if there are any; a first item of `train` that surely has
            none says so by itself.
        unaugmented: the items of `train` without random transforms, for all but training.

    Raises:
        UsageError: labels without their number, or unaugmented items that are others.
        InputError: as `read_loader`; or targets that do not fit `num_labels`.
    """
    found = read_loader(train, reader, "train", unlabeled=unlabeled, unaugmented=unaugmented)
    learning, notes = found.split, found.notes
    if learning.unlabeled:
        return _unlabeled_loaders(found, held_out, seed, reader)
    num_labels = require_count(num_labels)
    if held_out is None:
        rows = read_targets(learning)
        targets = _targets(rows, num_labels)
        learning, deciding = without_tenth(learning, targets.read(rows), seed)
    else:
        other = read_loader(held_out, reader, "held_out")
        if other.split.unlabeled:
            raise InputError(
                "train with labels and held_out without given; expected both alike; give both with "
                "labels, or `unlabeled=True` to go without"
            )
        deciding, notes = other.split, (*notes, *other.notes)
        rows = read_targets(learning, limit=1)
        if rows.ndim == 2:  # all rows tell one-hot from several labels
            rows = torch.cat([read_targets(learning), read_targets(deciding)])
        targets = _targets(rows, num_labels)
    learning, deciding = (replace(split, targets=targets) for split in (learning, deciding))
    notes = (*notes, *change_notes(deciding, "" if held_out is None else "held_out"))
    names = tuple(str(label) for label in range(num_labels))
    size: Any = found.size
    return DataSet(
        OWN_LOADERS,
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


def _unlabeled_loaders(
    train: ReadLoader, held_out: DataLoader[Any] | None, seed: int, reader: ItemReader
) -> DataSet:
    """The same for images whose labels are not read."""
    learning, notes = train.split, train.notes
    if held_out is None:
        learning, deciding = without_tenth(learning, torch.zeros(learning.num_images), seed)
    else:
        other = read_loader(held_out, reader, "held_out", unlabeled=True)
        deciding, notes = other.split, (*notes, *other.notes)
    notes = (*notes, *change_notes(deciding, "" if held_out is None else "held_out"))
    size: Any = train.size
    return DataSet(
        OWN_LOADERS,
        (),
        size,
        (),
        (),
        learning,
        deciding,
        deciding,
        unlabeled=True,
        notes=notes,
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
