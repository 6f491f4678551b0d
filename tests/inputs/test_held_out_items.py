"""What is held out is measured as it is: random transforms are noticed, and can be left out."""

from typing import Any

import pytest
import torch
from prune_dl.prune.errors import UsageError
from prune_dl.prune.inputs.few_labels import choose_labels
from prune_dl.prune.inputs.items import ItemReader
from prune_dl.prune.inputs.live import read_loaders
from prune_dl.prune.inputs.split import DataSet, Split
from prune_dl.prune.inputs.unjudged import read_inputs
from torch.utils.data import DataLoader, Dataset, SubsetRandomSampler, TensorDataset

PLAIN = TensorDataset(torch.arange(80.0)[:, None], torch.arange(80) % 2)
READER = ItemReader(("x",), ("x",))


class Augmented(Dataset[Any]):
    """The same items, one in five of them moved at random."""

    def __len__(self) -> int:
        return len(PLAIN)

    def __getitem__(self, place: int) -> Any:
        x, label = PLAIN[place]
        return (x + 1000 if torch.rand(()) < 0.2 else x), label


def read(items: Dataset[Any], held_out: Any = None, plain: Any = None, **how: Any) -> DataSet:
    loader = DataLoader(items, **how)
    return read_loaders(loader, held_out, 2, 0, READER, unaugmented=plain)


def visited(split: Split, *, augment: bool = False) -> list[int]:
    batches = split.batches(16, device="cpu", augment=augment, shuffle_seed=1)
    return sorted(int(x) for inputs, _ in batches for x in inputs)


def test_items_that_change_at_random_are_told_of_and_others_are_not() -> None:
    before = torch.get_rng_state()
    assert read(PLAIN).notes == ()
    (note,) = read(Augmented()).notes
    assert "the tenth that is held out" in note
    assert "give `unaugmented`" in note
    (note,) = read(Augmented(), DataLoader(Augmented())).notes
    assert note.startswith("the items of held_out change at random")
    assert read(Augmented(), DataLoader(PLAIN)).notes == ()
    (note,) = read_inputs(DataLoader(Augmented()), None, 0, READER).notes
    assert "the tenth that is held out" in note
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("confined", [False, True])
def test_all_but_training_reads_the_unaugmented_items(confined: bool) -> None:
    how = {"sampler": SubsetRandomSampler(range(40, 80))} if confined else {}
    data = read(Augmented(), None, PLAIN, **how)
    assert data.notes == ()
    held_out, learned = visited(data.held_out), visited(data.train)
    assert sorted([*held_out, *learned]) == list(range(40 if confined else 0, 80))
    assert max(visited(data.train, augment=True)) >= 1000
    inputs = read_inputs(DataLoader(Augmented()), None, 0, READER, unaugmented=PLAIN)
    assert inputs.notes == ()
    assert max(visited(inputs.train)) < 1000 <= max(visited(inputs.train, augment=True))


def test_labels_that_loaders_have_not_are_told_of_as_theirs() -> None:
    with pytest.raises(UsageError, match="which is no label of your loaders; expected"):
        choose_labels(["7"], read(PLAIN))


def test_other_items_are_refused() -> None:
    with pytest.raises(UsageError, match="`unaugmented` of 60 items given for a train of 80"):
        read(Augmented(), None, TensorDataset(*(x[:60] for x in PLAIN.tensors)))
    moved = TensorDataset(PLAIN.tensors[0], PLAIN.tensors[1].roll(1))
    with pytest.raises(UsageError, match=r"item 0 has the label 1, and 0 in train"):
        read(Augmented(), None, moved)
