"""A user's own loader read for its inputs alone: what else its items hold is not looked at.

    x                       inputs of a network of one argument
    (x, ...)                the same; what follows is not read
    (a, b, ...)             for a network that needs two arguments
    (images, targets)       images a list: a detector's batch, as its collate function makes it
    {"image": x, ...}       by the names of the arguments, or the usual ones

Shapes: N images of a batch.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from ..errors import InputError, first_line
from ..forward import batch_size_of, on_device
from .batches import require_tensors
from .held_out_items import HELD_OUT_SHARE, change_notes, without_tenth
from .items import ItemReader
from .loaders import loader_items
from .samplers import Draws, batch_size_of_loader, visit_order
from .split import OWN_LOADERS, Batch, DataSet, Inputs


def inputs_in(batch: Any, reader: ItemReader) -> Inputs:
    """What one call of a network takes, out of an item or a batch.

    Raises:
        InputError: it does not tell.

    >>> inputs_in(("picture", "mask"), ItemReader(("x",), ("x",)))
    'picture'
    """
    inputs = reader.inputs_of(batch)
    takes_one = len(reader.required) <= 1
    return (list(inputs),) if takes_one and isinstance(inputs, tuple | list) else inputs


@dataclass(frozen=True, eq=False)
class InputSplit:
    """The inputs of a data set's items; all labels are 0.

    Attributes:
        items: a data set with a length.
        batch_size: of the user's loader; no batch holds more.
        num_workers, collate: as the user's loader has them.
        reader: which parts of an item the network is given.
        draws: how a user's sampler visits them in training; None for orders of this tool.
        unaugmented: the same items without random transforms, for all but training; None where
            there are no others.
    """

    items: Dataset[Any]
    batch_size: int
    num_workers: int
    collate: Callable[[list[Any]], Any] | None
    reader: ItemReader
    draws: Draws | None = None
    unaugmented: Dataset[Any] | None = None

    @property
    def num_images(self) -> int:
        """How many items it holds."""
        return len(self.items)  # type: ignore[arg-type]

    @property
    def num_drawn(self) -> int:
        """How many items a pass of training visits."""
        return self.num_images if self.draws is None else self.draws.num_drawn

    @property
    def labels_N(self) -> Tensor:
        """Zeros: there are no labels."""
        return torch.zeros(self.num_images, dtype=torch.int64)

    def batches(
        self,
        batch_size: int,
        *,
        device: torch.device | str,
        augment: bool = False,
        shuffle_seed: int | None = None,
        limit: int | None = None,
    ) -> Iterator[Batch]:
        """One pass. The data set augments as it likes, `augment` is a pass of training, whose order
        a sampler of the user's decides; others read `unaugmented` items, if there are any."""
        order = visit_order(
            self.num_images, self.draws, augment=augment, shuffle_seed=shuffle_seed, limit=limit
        )
        loader = DataLoader(
            Subset(self.items if augment else self.unaugmented or self.items, order),
            batch_size=min(batch_size, self.batch_size),
            num_workers=self.num_workers,
            collate_fn=self.collate,
        )
        for batch in loader:
            inputs = on_device(self._inputs(batch), device)
            yield inputs, torch.zeros(batch_size_of(inputs), dtype=torch.int64, device=device)

    def _inputs(self, batch: Any) -> Inputs:
        inputs = inputs_in(batch, self.reader)
        require_tensors(inputs)
        return inputs


def read_inputs(
    train: DataLoader[Any],
    held_out: DataLoader[Any] | None,
    seed: int,
    reader: ItemReader,
    *,
    test: DataLoader[Any] | None = None,
    share: float = HELD_OUT_SHARE,
    unaugmented: Dataset[Any] | None = None,
) -> DataSet:
    """The loaders as splits of inputs, with what has to be said of them.

    The size of the inputs is left open. Without a held-out loader, a tenth of the training data
    set (`share`) is taken out of it. Without a test loader, what is held out stands in its place.

    Raises:
        InputError: a loader cannot be read by position, or holds too little.
        UsageError: the unaugmented items of train are others.
    """
    learning, notes = _split(train, reader, "train", unaugmented)
    if held_out is None:
        learning, deciding = without_tenth(learning, torch.zeros(learning.num_images), seed, share)
        if not deciding.num_images:
            raise InputError(
                f"train given with {learning.num_images} items; expected two or more, so that one "
                "can be held out; give more, or `held_out`"
            )
    else:
        deciding, more = _split(held_out, reader, "held_out")
        notes = (*notes, *more)
    _check_collate(deciding)
    # Who gives a test loader has no other way to give held-out images than `train`.
    what = "train" if test is not None else "" if held_out is None else "held_out"
    notes = (*notes, *change_notes(deciding, what))
    testing = deciding
    if test is not None:
        testing, more = _split(test, reader, "test")
        notes = (*notes, *more)
    size: Any = ()
    return DataSet(OWN_LOADERS, ("",), size, (), (), learning, deciding, testing, notes=notes)


def _split(
    loader: DataLoader[Any],
    reader: ItemReader,
    what: str,
    unaugmented: Dataset[Any] | None = None,
) -> tuple[InputSplit, tuple[str, ...]]:
    found = loader_items(loader, what, unaugmented)
    size = batch_size_of_loader(loader) or 1
    split = InputSplit(
        found.items,
        size,
        loader.num_workers,
        loader.collate_fn,
        reader,
        found.draws,
        found.unaugmented,
    )
    return split, found.notes


def _check_collate(split: InputSplit) -> None:
    """Raises InputError where the first item cannot be put into a batch."""
    with torch.random.fork_rng(devices=[]):  # augmentations draw from it
        try:
            (split.collate or torch.utils.data.default_collate)([split.items[0]])
        except TypeError as error:
            raise InputError(
                f"items given that cannot be put into a batch ({first_line(error)}); expected "
                "tensors; give a transform that makes them, or a `collate_fn`"
            ) from error
