"""Labels that a data set states are taken without reading its items, if a few items agree."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from prune_dl.prune.inputs.items import ItemReader
from prune_dl.prune.inputs.live import read_loaders
from prune_dl.prune.inputs.stated_targets import NUM_CHECKED
from torch.utils.data import ConcatDataset, DataLoader, Dataset, Subset

LABELS = [place * 7 % 3 for place in range(300)]


class Counted(Dataset[Any]):
    """Items whose reading is counted, with attributes as they are given."""

    def __init__(self, read: Callable[[int], Any] = lambda label: label, **stated: Any) -> None:
        self.reads = 0
        self.read = read
        self.__dict__ |= stated

    def __len__(self) -> int:
        return len(LABELS)

    def __getitem__(self, place: int) -> Any:
        self.reads += 1
        return torch.zeros(4), self.read(LABELS[place])


def labels_of(items: Any, **how: Any) -> list[int]:
    """Labels of the parts, one after the other, in ascending order."""
    loader = DataLoader(items, **how)
    data = read_loaders(loader, None, 3, 0, ItemReader(("x",), ("x",)))
    return sorted([*data.train.labels_N.tolist(), *data.held_out.labels_N.tolist()])


@pytest.mark.parametrize(
    "items",
    [
        Counted(targets=LABELS),
        Counted(labels=torch.tensor(LABELS)),
        Counted(samples=[("a.png", label) for label in LABELS]),
        Counted(targets=[label + 5 for label in LABELS], target_transform=lambda x: x - 5),
        Counted(lambda label: torch.eye(3)[label], targets=torch.eye(3)[LABELS]),
    ],
)
def test_stated_labels_are_taken_without_reading_all_items(items: Counted) -> None:
    assert labels_of(items) == sorted(LABELS)
    assert NUM_CHECKED <= items.reads < 6 * NUM_CHECKED < len(LABELS)


def test_so_are_those_of_parts_and_of_several_sets() -> None:
    one, other = Counted(targets=LABELS), Counted(labels=LABELS)
    assert labels_of(Subset(ConcatDataset([one, other]), range(100, 400))) == sorted(
        (LABELS * 2)[100:400]
    )
    assert one.reads + other.reads < 6 * NUM_CHECKED


@pytest.mark.parametrize(
    "stated",
    [
        {},
        {"targets": LABELS[::-1]},
        {"targets": LABELS[:-1]},
        {"labels": ["cat"] * len(LABELS)},
        {"targets": {"boxes": []}},
    ],
)
def test_what_items_contradict_is_not_believed(stated: dict[str, Any]) -> None:
    items = Counted(**stated)
    assert labels_of(items) == sorted(LABELS)
    assert items.reads > len(LABELS)


def test_a_collate_function_that_renumbers_has_the_last_word() -> None:
    def collate(items: list[Any]) -> Any:
        return torch.stack([x for x, _ in items]), torch.tensor([label // 2 for _, label in items])

    items = Counted(targets=LABELS)
    assert labels_of(items, collate_fn=collate) == sorted(label // 2 for label in LABELS)
