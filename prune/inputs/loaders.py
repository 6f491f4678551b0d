"""A user's own torch data set as a split: its items are taken as they come."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from ..errors import InputError
from .split import Batch, choose_order

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


def label_of(item: Any) -> int:
    """Label of an item: a whole number.

    Raises:
        InputError: it is none, as labels of several columns are not.
    """
    label = pair_of(item)[1]
    try:
        number = int(label)
    except (TypeError, ValueError) as error:
        sizes = tuple(getattr(label, "shape", ()))
        what = f"{type(label).__name__} of {' x '.join(map(str, sizes))}" if sizes else repr(label)
        raise InputError(
            f"a label that is {what} given; expected one whole number for each item, since a "
            "network with several labels for an image is not supported; give class indices"
        ) from error
    if number != label:
        raise InputError(f"a label of {label} given; expected a whole number; give class indices")
    return number


def require_tensors(images: Any, labels_N: Any) -> None:
    """Refuse batches of anything but one tensor of inputs and one of labels (N,).

    Raises:
        InputError: they are something else.
    """
    if not isinstance(images, Tensor):
        raise InputError(
            f"batches whose inputs are a {type(images).__name__} given; expected one tensor; "
            "give a network of one input, or one that takes several in one tensor"
        )
    if not isinstance(labels_N, Tensor) or labels_N.ndim != 1 or labels_N.is_floating_point():
        kind = f"{labels_N.ndim} axes, {labels_N.dtype}" if isinstance(labels_N, Tensor) else ""
        raise InputError(
            f"batches whose labels are a {type(labels_N).__name__}{kind and f' of {kind}'} given; "
            "expected one whole number for each input; give class indices"
        )


@dataclass(frozen=True, eq=False)
class LoaderSplit:
    """Items (input, label) of a data set that normalises and augments by itself.

    Inputs of float64, float16 or bfloat16 come as float32, as the networks are.

    Attributes:
        items: a data set with a length.
        num_workers, collate: as the user's own loader has them.
    """

    items: Dataset[Any]
    num_workers: int = 0
    collate: Callable[[list[Any]], Any] | None = None

    @property
    def num_images(self) -> int:
        """How many items it holds."""
        return len(self.items)  # type: ignore[arg-type]

    @property
    def labels_N(self) -> Tensor:
        """Label of each item, (N,) int64; reads every item once."""
        return torch.tensor([label_of(self.items[i]) for i in range(self.num_images)])

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
            images, labels_N = pair_of(batch)
            require_tensors(images, labels_N)
            dtype = torch.float32 if images.is_floating_point() else images.dtype
            yield images.to(device, dtype), labels_N.to(device)
