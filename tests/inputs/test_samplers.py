"""Samplers of a user's own loader: they confine the images, and decide how training visits them."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from prune_dl.prune.errors import InputError
from prune_dl.prune.inputs.datasets import wrap_datasets, wrap_unlabeled
from prune_dl.prune.inputs.items import ItemReader
from prune_dl.prune.inputs.live import read_loaders
from prune_dl.prune.inputs.preprocessing import Preprocessing
from prune_dl.prune.inputs.samplers import batch_size_of_loader
from prune_dl.prune.inputs.split import DataSet, Split, images_in_a_pass
from prune_dl.prune.inputs.unjudged import read_inputs
from prune_dl.prune.training.recipe import Training
from prune_dl.prune.training.train import Journal, TrainingData, train_network
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    RandomSampler,
    Sampler,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

ITEMS = TensorDataset(torch.arange(60.0)[:, None], torch.arange(60) % 2)
FEW = TensorDataset(torch.arange(100.0, 110)[:, None], torch.arange(10) % 2)


class Given(Sampler[int]):
    """Positions as they are given, in every pass."""

    def __init__(self, positions: list[int]) -> None:
        self.positions = positions

    def __iter__(self) -> Iterator[int]:
        return iter(self.positions)


class Endless(Sampler[int]):
    def __iter__(self) -> Iterator[int]:
        while True:
            yield from torch.randperm(60).tolist()


class Pairs(Sampler[list[int]]):
    """Batches of two neighbours, the last ones first."""

    def __iter__(self) -> Iterator[list[int]]:
        return iter([[place, place + 1] for place in range(58, -1, -2)])


def read(held_out: DataLoader[Any] | None = None, **how: Any) -> DataSet:
    return read_loaders(DataLoader(ITEMS, **how), held_out, 2, 0, ItemReader(("x",), ("x",)))


def visited(split: Split, *, augment: bool, seed: int = 1) -> list[int]:
    batches = split.batches(16, device="cpu", augment=augment, shuffle_seed=seed)
    return [int(x) for inputs, _ in batches for x in inputs]


@pytest.mark.parametrize(
    "how",
    [{}, {"shuffle": True}, {"batch_sampler": BatchSampler(RandomSampler(ITEMS), 8, True)}],
)
def test_usual_orders_leave_no_note(how: dict[str, Any]) -> None:
    data = read(**how)
    assert data.notes == ()
    assert sorted(visited(data.train, augment=True)) == sorted(visited(data.train, augment=False))


@pytest.mark.parametrize(
    "how",
    [
        {"sampler": SubsetRandomSampler(range(20))},
        {"batch_sampler": BatchSampler(SubsetRandomSampler(range(20)), 4, False)},
        {"sampler": Given(list(range(20)))},
        {"sampler": Given([*range(20), *range(5)])},
        {"sampler": WeightedRandomSampler([1.0] * 20 + [0.0] * 40, 30)},
    ],
)
def test_a_sampler_of_a_part_confines_all_parts_to_it(how: dict[str, Any]) -> None:
    data = read(**how)
    parts = [visited(split, augment=False) for split in (data.train, data.held_out)]
    assert sorted([*parts[0], *parts[1]]) == list(range(20))
    assert set(visited(data.train, augment=True)) <= set(parts[0])


def test_weights_decide_how_often_training_sees_an_image() -> None:
    weights = [100.0 if place < 6 else 1.0 for place in range(60)]
    data = read(DataLoader(FEW), sampler=WeightedRandomSampler(weights, 200))
    counts = Counter(visited(data.train, augment=True))
    assert images_in_a_pass(data.train) == counts.total() == 200
    assert sum(counts[place] for place in range(6)) > 150
    assert sorted(visited(data.train, augment=False)) == list(range(60))
    assert data.notes[0].startswith("the WeightedRandomSampler of train decides which images")
    assert "(200 draws a pass)" in data.notes[0]


def test_held_out_images_are_never_trained_on_and_a_seed_gives_one_order() -> None:
    generator = torch.Generator().manual_seed(7)
    before = generator.get_state()
    sampler = RandomSampler(ITEMS, replacement=True, num_samples=90, generator=generator)
    data = read(sampler=sampler)
    orders = [visited(data.train, augment=True, seed=seed) for seed in (1, 1, 2)]
    assert orders[0] == orders[1] != orders[2]
    assert len(orders[0]) == len(orders[2]) == images_in_a_pass(data.train) < 90
    assert not {*orders[0], *orders[2]} & set(visited(data.held_out, augment=False))
    assert torch.equal(generator.get_state(), before)


def test_an_order_of_the_users_own_is_that_of_training() -> None:
    backwards = list(range(59, -1, -1))
    data = read(DataLoader(FEW), sampler=Given(backwards))
    assert visited(data.train, augment=True) == backwards
    data = read(DataLoader(FEW), batch_sampler=Pairs())
    assert visited(data.train, augment=True)[:4] == [58, 59, 56, 57]
    assert len(visited(read(DataLoader(FEW), sampler=Endless()).train, augment=True)) == 60


def test_an_epoch_of_training_is_a_pass_of_the_sampler() -> None:
    data = read(DataLoader(FEW), sampler=RandomSampler(ITEMS, replacement=True, num_samples=200))
    steps: list[tuple[int, int]] = []
    train_network(
        torch.nn.Linear(1, 2),
        TrainingData(data.train, data.held_out),
        Training(epochs=2, batch_size=50, lr=0.001, label_smoothing=0.0),
        device=torch.device("cpu"),
        journal=Journal(lambda *step: steps.append(step)),
    )
    assert steps == [(step, 8) for step in range(1, 9)]


def test_what_is_held_out_is_measured_once_whatever_its_sampler_says() -> None:
    twice = DataLoader(FEW, sampler=Given([0, 0, 1, 2, 2]))
    data = read(twice)
    assert sorted(visited(data.held_out, augment=False)) == [100, 101, 102]
    (note,) = data.notes
    assert note.startswith("the Given of held_out is not used: each image of the 3 (of 10)")


@pytest.mark.parametrize("positions", [[0, 60], [-1], []])
def test_a_sampler_of_another_data_set_is_refused(positions: list[int]) -> None:
    with pytest.raises(InputError, match=r"the Given of train draws .* from 0 to 59"):
        read(sampler=Given(positions))


def test_inputs_alone_are_drawn_in_the_same_way() -> None:
    loader = DataLoader(ITEMS, sampler=WeightedRandomSampler([1.0] * 30 + [0.0] * 30, 15))
    data = read_inputs(loader, DataLoader(FEW), 0, ItemReader(("x",), ("x",)))
    assert len(visited(data.train, augment=True)) == images_in_a_pass(data.train) == 15
    assert sorted(visited(data.train, augment=False)) == list(range(30))


def test_a_batch_sampler_tells_its_size() -> None:
    batches: Any = BatchSampler(RandomSampler(ITEMS), 8, True)
    sizes = [batch_size_of_loader(DataLoader(ITEMS, **how)) for how in (
        {"batch_size": 4}, {"batch_sampler": batches}, {"batch_sampler": Pairs()},
    )]  # fmt: skip
    assert sizes == [4, 8, 2]


def test_loaders_of_the_command_line_are_confined_and_told_of_what_is_lost() -> None:
    pixels, labels_N = torch.rand(60, 1, 4, 4), torch.arange(60) % 2
    items = TensorDataset(pixels, labels_N)
    part = DataLoader(items, sampler=SubsetRandomSampler(range(20)))
    weighted = DataLoader(items, sampler=WeightedRandomSampler([1.0] * 60, 60))
    for wrap in (wrap_datasets, wrap_unlabeled):
        data = wrap("mine", part, weighted, Preprocessing())
        counts = [data.train.num_images + data.held_out.num_images, data.test.num_images]
        assert counts == [20, 60]
        (note,) = data.notes
        assert note == "the WeightedRandomSampler of test is not used: each image is taken once"
