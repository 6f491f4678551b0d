"""A user's own torch data set as a split: its items are taken as they come."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from .split import Batch, choose_order


@dataclass(frozen=True, eq=False)
class LoaderSplit:
    """Items (input, label) of a data set that normalises and augments by itself.

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
        return torch.tensor([int(self.items[i][1]) for i in range(self.num_images)])

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
        for images, labels_N in loader:
            yield images.to(device), labels_N.to(device)
