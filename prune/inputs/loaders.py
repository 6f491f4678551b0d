"""A user's own torch data set as a split: its items are taken as they come."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from ..errors import InputError
from .split import Batch, choose_order
from .targets import INDICES, Targets, gather_rows

INPUT_NAMES = ("pixel_values", "image", "images", "img", "input", "inputs", "x")
LABEL_NAMES = ("labels", "label", "targets", "target", "y")
"""Keys of items that are dictionaries, as Hugging Face and Lightning write them."""


def pair_of(item: Any) -> tuple[Any, Any]:
    """Input and label of an item or batch: the first two of a tuple, or a dictionary's by name.

    Raises:
        InputError: it is neither.

    >>> pair_of({"label": 3, "image": "a picture"})
    ('a picture', 3)
    """
    if isinstance(item, Mapping):
        inputs = next((item[name] for name in INPUT_NAMES if name in item), None)
        labels = next((item[name] for name in LABEL_NAMES if name in item), None)
        if inputs is not None and labels is not None:
            return inputs, labels
        what = f"a dictionary ({', '.join(map(str, item))})"
    elif isinstance(item, tuple | list) and len(item) >= 2:
        return item[0], item[1]
    else:
        what = f"a {type(item).__name__}"
    raise InputError(
        f"a data set whose items are {what} given; expected (input, label), or a dictionary with "
        f"one of {', '.join(INPUT_NAMES)} and one of {', '.join(LABEL_NAMES)}; give such items"
    )


def read_targets(items: Any) -> Tensor:
    """Targets of every item of a data set with a length, as `targets.target_rows` has them.

    Raises:
        InputError: they are no labels, or not alike.
    """
    return gather_rows(pair_of(items[i])[1] for i in range(len(items)))


def require_tensor(images: Any) -> None:
    """Refuse batches whose inputs are anything but one tensor.

    Raises:
        InputError: they are something else.
    """
    if not isinstance(images, Tensor):
        raise InputError(
            f"batches whose inputs are a {type(images).__name__} given; expected one tensor; "
            "give a network of one input, or one that takes several in one tensor"
        )


@dataclass(frozen=True, eq=False)
class LoaderSplit:
    """Items (input, label) of a data set that normalises and augments by itself.

    Inputs of float64, float16 or bfloat16 come as float32, as the networks are.

    Attributes:
        items: a data set with a length.
        num_workers, collate: as the user's own loader has them.
        targets: how the targets of all items are read.
    """

    items: Dataset[Any]
    num_workers: int = 0
    collate: Callable[[list[Any]], Any] | None = None
    targets: Targets = INDICES

    @property
    def num_images(self) -> int:
        """How many items it holds."""
        return len(self.items)  # type: ignore[arg-type]

    @property
    def labels_N(self) -> Tensor:
        """Labels of each item, (N,) or (N, K) int64; reads every item once."""
        return self.targets.read(read_targets(self.items))

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
        for batch in loader:
            images, targets = pair_of(batch)
            require_tensor(images)
            dtype = torch.float32 if images.is_floating_point() else images.dtype
            yield images.to(device, dtype), self.targets.read(targets).to(device)
