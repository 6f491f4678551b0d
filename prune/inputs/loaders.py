"""A user's own torch data set as a split: its items are taken as they come.

Shapes: N items of a batch.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, default_collate

from ..errors import InputError, first_line
from ..forward import batch_size_of, on_device, tensors_of
from .items import ItemReader, inputs_in_words, lacks_label
from .split import Batch, Inputs, choose_order, hold_out
from .targets import INDICES, Targets, gather_rows, target_rows

AnySplit = TypeVar("AnySplit", bound=Any)
"""A split of a data set's items, which are its field `items`."""
ORDERING_SAMPLERS = ("SequentialSampler", "RandomSampler", "BatchSampler", "DistributedSampler")
"""They visit every item, in an order of their own: nothing is lost where another is taken."""


def inputs_in_batch(batch: Any, reader: ItemReader, device: torch.device | str) -> Inputs:
    """Inputs of a batch whose labels are not read, on the device.

    Raises:
        InputError: the batch does not tell, or they are no tensors.
    """
    inputs = reader.inputs_of(batch)
    require_tensors(inputs)
    return on_device(inputs, device)


def require_tensors(inputs: Any) -> list[Tensor]:
    """Tensors with a row for each item.

    Raises:
        InputError: there are none.
    """
    found = [x for x in tensors_of(inputs) if x.ndim]
    if not found:
        raise InputError(
            f"batches whose inputs are {inputs_in_words(inputs)} given; expected tensors; "
            "give a data set with tensors, as `transforms.ToTensor` makes them of pictures"
        )
    return found


def batch_of(batch: Any, reader: ItemReader, device: torch.device | str, targets: Targets) -> Batch:
    """Inputs as the network takes them and labels (N,) or (N, K), both on the device.

    Raises:
        InputError: the batch does not tell which they are, or they are of another kind.
    """
    inputs, given = reader.pair_of(batch)
    found = require_tensors(inputs)
    labels_N = targets.read(given)
    if len(labels_N) != len(found[0]):
        raise InputError(
            f"batches of {len(found[0])} inputs and {len(labels_N)} labels given; expected as many "
            "of both; check the `collate_fn`"
        )
    return on_device(inputs, device), labels_N.to(device)


@dataclass(frozen=True, eq=False)
class LoaderSplit:
    """Items of a data set that normalises and augments by itself; `items` says what they may be.

    Inputs of float64, float16 or bfloat16 come as float32, as the networks are.

    Attributes:
        items: a data set with a length.
        num_workers, collate: as the user's own loader has them.
        targets: how the targets of all items are read.
        reader: which parts of an item the network is given.
        unlabeled: whether labels are not read; the positions of the items stand in their place.
    """

    items: Dataset[Any]
    num_workers: int = 0
    collate: Callable[[list[Any]], Any] | None = None
    targets: Targets = INDICES
    reader: ItemReader = field(default_factory=ItemReader)
    unlabeled: bool = False

    @property
    def num_images(self) -> int:
        """How many items it holds."""
        return len(self.items)  # type: ignore[arg-type]

    @property
    def labels_N(self) -> Tensor:
        """Labels of each item, (N,) or (N, K) int64; reads every item once."""
        if self.unlabeled:
            return torch.arange(self.num_images)
        return self.targets.read(read_targets(self))

    def target_in(self, item: Any) -> Any:
        """The target of one item, or of a batch of it alone where a collate function of the user's
        own makes it: that alone may know what items hold."""
        if self.collate in (None, default_collate):
            return self.reader.pair_of(item)[1]
        return self.reader.pair_of(self.collate([item]))[1][0]

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
        if self.unlabeled:
            yield from _with_places(loader, order, self.reader, device)
            return
        for batch in loader:
            yield batch_of(batch, self.reader, device, self.targets)


def _with_places(
    loader: Iterable[Any], order: list[int], reader: ItemReader, device: torch.device | str
) -> Iterator[Batch]:
    """Inputs of batches, with the positions of their items."""
    done = 0
    for batch in loader:
        inputs = inputs_in_batch(batch, reader, device)
        size = batch_size_of(inputs)
        yield inputs, torch.tensor(order[done : done + size], device=device)
        done += size


def read_targets(split: LoaderSplit, limit: int | None = None) -> Tensor:
    """Targets of every item, or of the first few, as `targets.target_rows` has them.

    Raises:
        InputError: they are no labels, or not alike.
    """
    count = split.num_images if limit is None else min(limit, split.num_images)
    return gather_rows(split.target_in(split.items[i]) for i in range(count))


@dataclass(frozen=True, eq=False)
class ReadLoader:
    """A loader as a split, the shape of its first item's input, and what has to be said of it."""

    split: LoaderSplit
    size: tuple[int, ...]
    notes: tuple[str, ...] = ()


def read_loader(
    loader: DataLoader[Any], reader: ItemReader, what: str, *, unlabeled: bool = False
) -> ReadLoader:
    """The items that a loader visits, as a split that is read in orders of this tool.

    A sampler that visits a part (`SubsetRandomSampler`) restricts the split to it. Of others only
    the order, or the weights, are lost, which a note says.

    Args:
        what: the loader's name, for messages: train or held_out.
        unlabeled: labels are not read, if there are any. An item that surely holds inputs alone
            says so by itself.

    Raises:
        InputError: its items cannot be had by position, there are none, or the first one cannot be
            read.
    """
    items, notes = loader_items(loader, what)
    split = LoaderSplit(items, loader.num_workers, loader.collate_fn, reader=reader)
    if unlabeled or _is_unlabeled(split):
        split = replace(split, unlabeled=True)
    return ReadLoader(split, _first_size(split, what), notes)


HELD_OUT_SHARE = 0.1
"""Of a loader's items, taken out for every choice where no other loader is given: as of the job."""


def without_tenth(
    split: AnySplit, labels_N: Tensor, seed: int, share: float = HELD_OUT_SHARE
) -> tuple[AnySplit, AnySplit]:
    """A split of items without those that are held out, a tenth or another share, and these; see
    `hold_out`."""
    parts = hold_out(labels_N, share, seed)
    kept, out = (replace(split, items=Subset(split.items, x.tolist())) for x in parts)
    return kept, out


def loader_items(loader: DataLoader[Any], what: str) -> tuple[Dataset[Any], tuple[str, ...]]:
    """The items that a loader visits, and what is lost of its sampler.

    Raises:
        InputError: its items cannot be had by position, or there are none.
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
    return items, tuple(_lost(loader, positions, what))


def _is_unlabeled(split: LoaderSplit) -> bool:
    """Whether the first item, as the user's own collate function gives it, surely has no label."""
    with torch.random.fork_rng(devices=[]):  # augmentations draw from it
        item = split.items[0]
        if split.collate is not None and split.collate is not default_collate:
            try:
                item = split.collate([item])
            except TypeError:  # said in other words where it is put into a batch
                return False
    return lacks_label(item, split.reader)


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
        if split.collate in (None, default_collate) and not split.unlabeled:
            # Its message knows the target before it was put into a batch.
            gather_rows([split.target_in(item)])
        try:
            batch = (split.collate or default_collate)([item])
        except TypeError as error:
            raise InputError(
                f"{what} given, whose items cannot be put into a batch ({first_line(error)}); "
                "expected tensors; give a transform that makes them, or a `collate_fn`"
            ) from error
    if split.unlabeled:
        inputs = inputs_in_batch(batch, split.reader, "cpu")
    else:
        given = split.reader.pair_of(batch)
        inputs, _ = batch_of(batch, split.reader, "cpu", Targets.of(target_rows(given[1])))
    return tuple(int(n) for n in inputs.shape[1:]) if isinstance(inputs, Tensor) else ()
