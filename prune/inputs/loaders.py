"""A user's own torch data set as a split: its items are taken as they come.

Shapes: N items of a batch.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, default_collate

from ..errors import InputError, first_line
from ..forward import on_device, tensors_of
from .items import ItemReader, inputs_in_words
from .split import Batch, choose_order

ORDERING_SAMPLERS = ("SequentialSampler", "RandomSampler", "BatchSampler", "DistributedSampler")
"""They visit every item, in an order of their own: nothing is lost where another is taken."""


def label_of(label: Any) -> int:
    """A label of one item as a whole number: of a plain number, a NumPy one, or one in a tensor.

    Raises:
        InputError: it is none, as names and labels of several columns are not.

    >>> label_of(torch.tensor([3]))
    3
    """
    try:
        number = int(label) if not isinstance(label, str | bytes) else None
    except (TypeError, ValueError, RuntimeError):
        number = None
    if number is None or number != label:
        sizes = tuple(getattr(label, "shape", ()))
        what = f"{type(label).__name__} of {' x '.join(map(str, sizes))}" if sizes else repr(label)
        raise InputError(
            f"a label that is {what[:80]} given; expected one whole number for each item, from 0 "
            "to the number of labels - 1; give class indices"
        )
    return number


def labels_of(labels: Any, num_images: int) -> Tensor:
    """Labels of a batch, (N,) int64, out of a tensor, an array or a list of whole numbers.

    Raises:
        InputError: they are something else.
    """
    if isinstance(labels, np.ndarray):
        labels = torch.from_numpy(labels)
    if isinstance(labels, tuple | list):
        labels = torch.tensor([label_of(x) for x in labels])
    is_column = isinstance(labels, Tensor) and labels.ndim == 2 and labels.shape[1] == 1
    labels_N = labels.flatten() if is_column else labels
    if not isinstance(labels_N, Tensor) or labels_N.ndim != 1 or labels_N.is_floating_point():
        sizes = " x ".join(map(str, getattr(labels, "shape", ())))
        kind = f" of {sizes}, {labels.dtype}" if isinstance(labels, Tensor) else ""
        raise InputError(
            f"batches whose labels are a {type(labels).__name__}{kind} given; "
            "expected one whole number for each input; give class indices"
        )
    if len(labels_N) != num_images:
        raise InputError(
            f"batches of {num_images} inputs and {len(labels_N)} labels given; expected as many "
            "of both; check the `collate_fn`"
        )
    return labels_N.long()


def batch_of(batch: Any, reader: ItemReader, device: torch.device | str) -> Batch:
    """Inputs as the network takes them and labels (N,), both on the device.

    Raises:
        InputError: the batch does not tell which they are, or they are of another kind.
    """
    inputs, labels = reader.pair_of(batch)
    found = [x for x in tensors_of(inputs) if x.ndim]
    if not found:
        raise InputError(
            f"batches whose inputs are {inputs_in_words(inputs)} given; expected tensors; "
            "give a data set with tensors, as `transforms.ToTensor` makes them of pictures"
        )
    return on_device(inputs, device), labels_of(labels, len(found[0])).to(device)


def read_batches(
    batches: Iterable[Any], reader: ItemReader, device: torch.device | str
) -> Iterator[Batch]:
    """`batch_of` for each of them."""
    for batch in batches:
        yield batch_of(batch, reader, device)


@dataclass(frozen=True, eq=False)
class LoaderSplit:
    """Items of a data set that normalises and augments by itself; `items` says what they may be.

    Inputs of float64, float16 or bfloat16 come as float32, as the networks are.

    Attributes:
        items: a data set with a length.
        num_workers, collate: as the user's own loader has them.
        reader: which parts of an item the network is given.
    """

    items: Dataset[Any]
    num_workers: int = 0
    collate: Callable[[list[Any]], Any] | None = None
    reader: ItemReader = field(default_factory=ItemReader)

    @property
    def num_images(self) -> int:
        """How many items it holds."""
        return len(self.items)  # type: ignore[arg-type]

    @property
    def labels_N(self) -> Tensor:
        """Label of each item, (N,) int64; reads every item once.

        A collate function of the user's own reads them, since it alone may know what items hold.
        """
        return torch.tensor(
            [self.label_in(self.items[i]) for i in range(self.num_images)], dtype=torch.int64
        )

    def label_in(self, item: Any) -> int:
        """The label of one item; raises InputError where it is no whole number."""
        if self.collate in (None, default_collate):
            return label_of(self.reader.pair_of(item)[1])
        batch = batch_of(self.collate([item]), self.reader, "cpu")
        return int(batch[1][0])

    def batches(
        self,
        batch_size: int,
        *,
        device: torch.device | str,
        augment: bool = False,
        shuffle_seed: int | None = None,
        limit: int | None = None,
    ) -> Iterator[Batch]:
        """One pass; `augment` changes nothing, the data set augments as it likes."""
        order = choose_order(self.num_images, shuffle_seed, limit).tolist()
        loader = DataLoader(
            Subset(self.items, order),
            batch_size=batch_size,
            num_workers=self.num_workers,
            collate_fn=self.collate,
        )
        return read_batches(loader, self.reader, device)


@dataclass(frozen=True, eq=False)
class ReadLoader:
    """A loader as a split, the shape of its first item's input, and what has to be said of it."""

    split: LoaderSplit
    size: tuple[int, ...]
    notes: tuple[str, ...] = ()


def read_loader(loader: DataLoader[Any], reader: ItemReader, what: str) -> ReadLoader:
    """The items that a loader visits, as a split that is read in orders of this tool.

    A sampler that visits a part (`SubsetRandomSampler`) restricts the split to it. Of others only
    the order, or the weights, are lost, which a note says.

    Args:
        what: the loader's name, for messages: train or held_out.

    Raises:
        InputError: its items cannot be had by position, there are none, or the first one cannot be
            read.
    """
    dataset: Any = loader.dataset
    if isinstance(dataset, IterableDataset) or not hasattr(dataset, "__len__"):
        raise InputError(
            f"a loader of {type(dataset).__name__} given as {what}, a data set without length and "
            "positions; expected one with both, since images are chosen and read again; "
            "give a list of its items"
        )
    if loader.batch_size is None and loader.batch_sampler is None:
        raise InputError(
            f"a loader with batch_size=None given as {what}; expected one that puts items into "
            "batches; give a batch size, and a data set of single items"
        )
    positions = _positions(loader)
    items: Any = dataset if positions is None else Subset(dataset, positions)
    if not len(items):
        raise InputError(f"{what} given without items; expected images and labels; give some")
    split = LoaderSplit(items, loader.num_workers, loader.collate_fn, reader)
    return ReadLoader(split, _first_size(split, what), tuple(_lost(loader, positions, what)))


def _positions(loader: DataLoader[Any]) -> list[int] | None:
    """Positions that a sampler is confined to; None where it visits all."""
    samplers = [loader.sampler, getattr(loader.batch_sampler, "sampler", None)]
    confined = (getattr(sampler, "indices", None) for sampler in samplers)
    return next(([int(i) for i in found] for found in confined if found is not None), None)


def _lost(loader: DataLoader[Any], positions: list[int] | None, what: str) -> Iterator[str]:
    """What a sampler does beyond an order."""
    for sampler in (loader.sampler, loader.batch_sampler):
        name = type(sampler).__name__
        if positions is None and sampler is not None and name not in ORDERING_SAMPLERS:
            yield f"the {name} of {what} is not used: every item is read, in orders of this tool"


def _first_size(split: LoaderSplit, what: str) -> tuple[int, ...]:
    """Shape of the input of the first item; () where there are several, or no tensor.

    Raises:
        InputError: it cannot be read, or not be put into a batch.
    """
    with torch.random.fork_rng(devices=[]):  # augmentations draw from it
        item = split.items[0]
        if split.collate in (None, default_collate):
            split.label_in(item)  # its message knows the label before it was put into a batch
        try:
            batch = (split.collate or default_collate)([item])
        except TypeError as error:
            raise InputError(
                f"{what} given, whose items cannot be put into a batch ({first_line(error)}); "
                "expected tensors; give a transform that makes them, or a `collate_fn`"
            ) from error
    inputs, _ = batch_of(batch, split.reader, "cpu")
    return tuple(int(n) for n in inputs.shape[1:]) if isinstance(inputs, Tensor) else ()
