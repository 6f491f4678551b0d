"""The user's own torch data sets, as they are, in place of a folder.

Shapes: N images, C channels, H, W height and width.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Subset

from ..errors import InputError, UsageError
from .bit_depth import scale_to_8_bit, to_8_bit
from .items import ItemReader, lacks_label
from .preprocessing import Preprocessing
from .samplers import read_sampler
from .seeded import hold_out
from .split import DataSet, Source, Sources
from .stated_targets import stated_targets
from .streams import StreamSplit
from .targets import Targets, gather_rows

READY = Source("float items, fed as they are")
IN_PROCESS = 2000
"""Up to this many images, starting workers costs more than they bring."""


def wrap_datasets(
    name: str,
    train: Any,
    test: Any,
    wanted: Preprocessing,
    *,
    held_out: float = 0.1,
    seed: int = 0,
) -> DataSet:
    """A `DataSet` of two map-style data sets (or DataLoaders, whose items are taken: a sampler of a
    part confines them, others are not used, which a note says).

    Items are (image, label), or (image, row of 0 and 1) with a number for each label. A float
    tensor is taken as ready for the network; uint8 tensors, arrays and Pillow images are scaled and
    normalised here (mean and std 0.5 if not wanted otherwise). Their size stays as it is.
    What the data sets do at random stays as it is; nothing is added.

    Raises:
        InputError: no length or no items, or labels that are neither 0..K-1 nor rows of 0 and 1.
    """
    named = train.dataset if isinstance(train, DataLoader) else train
    (train, told), (test, more) = _taken(train, "train"), _taken(test, "test")
    targets, both = _read_both(train, test, name)
    num_labels = targets.columns or int(torch.cat(both).max()) + 1
    names = tuple(map(str, getattr(named, "classes", range(num_labels))))
    data = _wrapped(name, (train, test), both, wanted, held_out=held_out, seed=seed)
    notes = (*told, *more, *targets.notes)
    return replace(data, labels=names, multi_label=targets.multi_label, notes=notes)


def wrap_unlabeled(
    name: str,
    train: Any,
    test: Any,
    wanted: Preprocessing,
    *,
    held_out: float = 0.1,
    seed: int = 0,
) -> DataSet:
    """The same for items without labels, or whose labels are not to be read: all are 0.

    Items are images; or tuples, lists and dictionaries, as `items` says.

    Raises:
        InputError: no length or no items.
    """
    (train, told), (test, more) = _taken(train, "train"), _taken(test, "test")
    sizes = [_length(part, name) for part in (train, test)]
    zeros = [torch.zeros(size, dtype=torch.int64) for size in sizes]
    data = _wrapped(name, (train, test), zeros, wanted, held_out=held_out, seed=seed)
    return replace(data, unlabeled=True, notes=(*told, *more))


def _taken(part: Any, what: str) -> tuple[Any, tuple[str, ...]]:
    """The items of a data set, or those that a loader visits; and what is lost of its sampler."""
    if not isinstance(part, DataLoader):
        return part, ()
    items: Any = part.dataset
    if not hasattr(items, "__len__") or not len(items):
        return items, ()  # refused in other words where its items are read
    found = read_sampler(part, len(items), what, trains=False)
    return (items if found.places is None else Subset(items, found.places)), found.notes


def is_bare(train: Any) -> bool:
    """Whether the first item of a data set, or of a loader's, surely has no label."""
    dataset = train.dataset if isinstance(train, DataLoader) else train
    with torch.random.fork_rng(devices=[]):  # augmentations draw from it
        try:
            return lacks_label(dataset[0], ItemReader())
        except (TypeError, LookupError, ValueError, AttributeError):
            return False  # refused in other words where its items are read


def _length(dataset: Any, name: str) -> int:
    try:
        size = len(dataset)
    except TypeError as error:
        raise InputError(
            f"{name}: a data set is not as expected ({error}); it must have a length and items"
        ) from error
    if size == 0:
        raise InputError(f"{name}: a data set is empty; expected images")
    return size


def _wrapped(
    name: str,
    parts: tuple[Any, Any],
    labels: Sequence[Tensor],
    wanted: Preprocessing,
    *,
    held_out: float,
    seed: int,
) -> DataSet:
    """Training and test data sets with the labels of both, as splits; names are for others."""
    train, test = parts
    train_labels, test_labels = labels
    first = as_pixels(picture_of(train[0]))
    channels, height, width = first.shape
    scale = _scale_of(first, wanted, name)

    def part(dataset: Any, labels_N: Tensor, positions: Tensor) -> StreamSplit:
        split = StreamSplit(
            ItemDecoder(dataset, name),
            positions,
            labels_N[positions],
            scale.mean,
            scale.std,
            is_bgr=wanted.is_bgr,
        )
        return replace(split, num_workers=0) if len(dataset) <= IN_PROCESS else split

    kept, held = hold_out(train_labels, held_out, seed)
    return DataSet(
        name,
        (),
        (channels, height, width),
        scale.mean,
        scale.std,
        part(train, train_labels, kept),
        part(train, train_labels, held),
        part(test, test_labels, torch.arange(len(test_labels))),
        channel_order=wanted.channel_order or "rgb",
        sources=Sources(scale=scale.source, channel_order=wanted.order_source),
    )


def _read_both(train: Any, test: Any, name: str) -> tuple[Targets, tuple[Tensor, Tensor]]:
    """How the targets of both parts are read, and their labels."""
    rows = [_target_rows(part, name) for part in (train, test)]
    if rows[0].shape[1:] != rows[1].shape[1:]:
        raise InputError(
            f"{name}: training and test data with targets of {list(rows[0].shape[1:]) or 1} and "
            f"{list(rows[1].shape[1:]) or 1} numbers for each image given; expected the same; "
            "give them alike"
        )
    targets = Targets.of(torch.cat(rows))
    return targets, (targets.read(rows[0]), targets.read(rows[1]))


@dataclass(frozen=True)
class _ItemScale:
    """Mean and std that items are normalised with, and where these come from."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    source: Source


def _scale_of(first: Tensor, wanted: Preprocessing, name: str) -> _ItemScale:
    """As the first item (C, H, W) tells: floats are ready, all else is scaled as is wanted.

    Raises UsageError where floats are to be fed in another order of the channels.
    """
    channels = len(first)
    if not first.is_floating_point():
        assumed = Source("assumed: nothing is known of the data", is_guess=True)
        half = (0.5,) * channels
        source = wanted.scale_source(assumed)
        return _ItemScale(wanted.mean or half, wanted.std or half, source)
    if wanted.channel_order == "bgr":
        raise UsageError(
            f"`channel_order=bgr` given, but the items of {name} are float tensors, which are fed "
            "as they are; turn their channels round there, or give uint8 tensors"
        )
    return _ItemScale((0.0,) * channels, (1.0,) * channels, READY)


@dataclass(frozen=True, eq=False)
class ItemDecoder:
    """Gives the images of a data set by position."""

    dataset: Any
    name: str

    def __call__(self, position: int, seed: int | None) -> Tensor:
        """One image (C, H, W), uint8 or float32."""
        return as_pixels(picture_of(self.dataset[position]))


def picture_of(item: Any) -> Any:
    """The image in an item, which may also be all of it."""
    if isinstance(item, Tensor | np.ndarray | Image.Image):
        return item
    return ItemReader().inputs_of(item) if isinstance(item, Mapping) else item[0]


def as_pixels(image: Any) -> Tensor:
    """A tensor (C, H, W), an array (H, W, C) or a Pillow image as a tensor (C, H, W).

    Floats are taken as they are; integers and Pillow images of other depths become uint8.

    Raises:
        InputError: integers whose range is not known.
    """
    if isinstance(image, Tensor):
        tensor: Tensor = image if image.ndim == 3 else image[None]
        if tensor.dtype == torch.uint8 or tensor.is_floating_point():
            return tensor
        return torch.as_tensor(scale_to_8_bit(tensor.numpy()))
    array: NDArray[Any] = np.array(to_8_bit(image) if isinstance(image, Image.Image) else image)
    if array.dtype.kind != "f":
        array = scale_to_8_bit(array)
    pixels: Tensor = torch.from_numpy(array)
    return pixels[None] if pixels.ndim == 2 else pixels.permute(2, 0, 1).contiguous()


def _target_rows(dataset: Any, name: str) -> Tensor:
    """(N,) or (N, K) int64: those that a data set states, where it does, else from items."""
    try:
        if len(dataset) == 0:
            raise InputError(f"{name}: a data set is empty; expected (image, label) items")
        if (stated := stated_targets(dataset, lambda place: dataset[place][1])) is not None:
            return stated
        return gather_rows(dataset[i][1] for i in range(len(dataset)))
    except InputError as error:
        raise InputError(f"{name}: {str(error).removeprefix(f'{name}: ')}") from error
    except (TypeError, IndexError, ValueError) as error:
        raise InputError(
            f"{name}: a data set is not as expected ({error}); it must have a length and "
            "(image, label) items with whole-number labels"
        ) from error


def unpack(returned: Any, name: str) -> tuple[Any, Any]:
    """Training and test data set out of what a callable returned.

    Raises:
        InputError: neither a pair nor a mapping with train and test.
    """
    if isinstance(returned, Mapping) and "train" in returned and "test" in returned:
        return returned["train"], returned["test"]
    if isinstance(returned, tuple | list) and len(returned) == 2:
        return returned[0], returned[1]
    raise InputError(
        f"{name} returned {type(returned).__name__}; expected (train, test) data sets, or a DataSet"
    )
