"""A user's own torch data set as a split: its items are taken as they come.

Shapes: N items of a batch.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, default_collate

from ..errors import InputError, first_line
from ..forward import batch_size_of
from .batches import batch_of, inputs_in_batch
from .held_out_items import check_same_labels, same_items
from .items import ItemReader, lacks_label
from .samplers import Draws, read_sampler, visit_order
from .split import Batch
from .stated_targets import stated_targets
from .targets import INDICES, Targets, gather_rows, target_rows


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
        draws: how a user's sampler visits them in training; None for orders of this tool.
        unaugmented: the same items without random transforms, for all but training; None where
            there are no others.
    """

    items: Dataset[Any]
    num_workers: int = 0
    collate: Callable[[list[Any]], Any] | None = None
    targets: Targets = INDICES
    reader: ItemReader = field(default_factory=ItemReader)
    unlabeled: bool = False
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
        """Labels of each item, (N,) or (N, K) int64; see `read_targets`."""
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
        """One pass. The data set augments as it likes, `augment` is a pass of training, whose order
        a sampler of the user's decides; others read `unaugmented` items, if there are any."""
        order = visit_order(
            self.num_images, self.draws, augment=augment, shuffle_seed=shuffle_seed, limit=limit
        )
        loader = DataLoader(
            Subset(self.items if augment else self.unaugmented or self.items, order),
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

    Those of every item are the ones that the data set states, if it does: no item is then read.

    Raises:
        InputError: they are no labels, or not alike.
    """

    def target_at(place: int) -> Any:
        return split.target_in(split.items[place])

    with torch.random.fork_rng(devices=[]):  # augmentations draw from it
        if limit is None and (stated := stated_targets(split.items, target_at)) is not None:
            return stated
        count = split.num_images if limit is None else min(limit, split.num_images)
        return gather_rows(map(target_at, range(count)))


@dataclass(frozen=True, eq=False)
class ReadLoader:
    """A loader as a split, the shape of its first item's input, and what has to be said."""

    split: LoaderSplit
    size: tuple[int, ...]
    notes: tuple[str, ...] = ()


def read_loader(
    loader: DataLoader[Any],
    reader: ItemReader,
    what: str,
    *,
    unlabeled: bool = False,
    unaugmented: Dataset[Any] | None = None,
) -> ReadLoader:
    """The items that a loader visits, as a split that is read in orders of this tool.

    Its sampler decides what `samplers` says.

    Args:
        what: the loader's name, for messages: train or held_out.
        unlabeled: labels are not read, if there are any. An item that surely holds inputs alone
            says so by itself.
        unaugmented: the same items without random transforms.

    Raises:
        InputError: its items cannot be had by position, there are none, or the first one cannot be
            read.
        UsageError: the unaugmented items are others.
    """
    found = loader_items(loader, what, unaugmented)
    split = LoaderSplit(
        found.items,
        loader.num_workers,
        loader.collate_fn,
        reader=reader,
        draws=found.draws,
        unaugmented=found.unaugmented,
    )
    if unlabeled or _is_unlabeled(split):
        split = replace(split, unlabeled=True)
    size = _first_size(split, what)
    check_same_labels(split)
    return ReadLoader(split, size, found.notes)


@dataclass(frozen=True, eq=False)
class LoaderItems:
    """The items that a loader visits, how training does, and what has to be said of that."""

    items: Dataset[Any]
    draws: Draws | None
    notes: tuple[str, ...]
    unaugmented: Dataset[Any] | None = None


def loader_items(
    loader: DataLoader[Any], what: str, unaugmented: Dataset[Any] | None = None
) -> LoaderItems:
    """The items that a loader visits, as its sampler decides.

    Args:
        what: the loader's name; training visits those of train.
        unaugmented: the same items without random transforms.

    Raises:
        InputError: its items cannot be had by position, or there are none.
        UsageError: the unaugmented items are another number of them.
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
    if not len(dataset):
        raise InputError(f"{what} given without items; expected images and labels; give some")
    found = read_sampler(loader, len(dataset), what, trains=what == "train")
    items: Any = dataset if found.places is None else Subset(dataset, found.places)
    plain = same_items(dataset, unaugmented, found.places)
    return LoaderItems(items, found.draws, found.notes, plain)


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
