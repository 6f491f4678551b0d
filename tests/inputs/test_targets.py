"""Targets in every usual form: which task they are, and one line where they are none."""

import numpy as np
import pytest
import torch
from prune_dl.prune.errors import InputError
from prune_dl.prune.inputs.datasets import wrap_datasets
from prune_dl.prune.inputs.preprocessing import Preprocessing
from prune_dl.prune.inputs.seeded import hold_out
from prune_dl.prune.inputs.targets import Targets, gather_rows, target_rows
from torch import Tensor
from torch.utils.data import TensorDataset

HOT = torch.tensor([[1, 0, 1], [0, 0, 0], [0, 1, 0]])


@pytest.mark.parametrize(
    ("given", "rows"),
    [
        (torch.tensor([2, 0]), [2, 0]),
        (torch.tensor([1.0, 0.0]), [1, 0]),
        (torch.tensor([[1.0], [0.0]]), [1, 0]),
        (torch.tensor([True, False]), [1, 0]),
        (np.array([2, 0], dtype=np.int32), [2, 0]),
        (HOT.float(), HOT.tolist()),
        (HOT.bool(), HOT.tolist()),
        (list(HOT.T), HOT.tolist()),
        ([1, 0], [1, 0]),
    ],
)
def test_rows_are_read_from_every_usual_form(given, rows):
    found = target_rows(given)
    assert found.dtype == torch.int64
    assert found.tolist() == rows


@pytest.mark.parametrize("items", [list(HOT), HOT.tolist(), list(HOT.numpy()), list(HOT.float())])
def test_targets_of_single_items_are_gathered(items):
    assert torch.equal(gather_rows(items), HOT)


def test_rows_with_a_single_1_each_are_classes_and_that_is_said():
    targets = Targets.of(torch.eye(3).long())
    assert targets.read(torch.eye(3)[[2, 0]]).tolist() == [2, 0]
    assert "(one-hot): taken as one class for each image" in targets.notes[0]
    several = Targets.of(HOT)
    assert several.multi_label
    assert torch.equal(several.read(HOT.float()), HOT)
    assert several.notes == ()


@pytest.mark.parametrize(
    ("targets", "given", "said"),
    [
        (Targets(), torch.tensor([0.3]), "a label of 0.3 given; expected a whole number"),
        (Targets(), torch.tensor([float("nan")]), "a label of nan given; expected a whole"),
        (Targets(), torch.tensor([-1]), "a label of -1 given; expected 0 to K - 1"),
        (Targets(), HOT, "targets of 3 numbers given after targets of one number"),
        (Targets("multi-hot", 3), torch.tensor([1, 2]), "targets of one number given after"),
        (Targets("multi-hot", 3), HOT * 0.9, "targets such as [0.9, 0.0, 0.9] given, which are"),
        (Targets("multi-hot", 3), HOT * 2, "a target of [2, 0, 2] given; expected one class"),
        (Targets("one-hot", 3), HOT, "a target with none or several labels given after"),
        (Targets(), torch.zeros(2, 2, 2), "labels of 2 x 2 x 2 given; expected one whole"),
        (Targets(), [{"boxes": 1}], "a label that is [{'boxes': 1}] given; expected one whole"),
    ],
)
def test_what_is_no_label_is_one_line(targets, given, said):
    with pytest.raises(InputError) as refused:
        targets.read(given)
    assert str(refused.value).startswith(said)
    assert "\n" not in str(refused.value)


def test_there_is_a_number_for_each_label():
    Targets("multi-hot", 3).require(3)
    with pytest.raises(InputError, match="targets of 3 numbers for each image given, for 4 labels"):
        Targets("multi-hot", 3).require(4)


def test_held_out_rows_are_a_share_and_hold_every_label_that_can_be_spared():
    rows_NK = torch.zeros(200, 3, dtype=torch.int64)
    rows_NK[::2, 0], rows_NK[[7, 80], 1], rows_NK[9, 2] = 1, 1, 1
    for seed in range(20):
        kept, held = hold_out(rows_NK, 0.1, seed)
        assert sorted([*kept.tolist(), *held.tolist()]) == list(range(200))
        assert 20 <= len(held) <= 21
        assert rows_NK[held, 1].sum() >= 1
    assert len(hold_out(rows_NK, 0, 0)[1]) == 0


def some_set(targets: Tensor) -> TensorDataset:
    return TensorDataset(torch.rand(len(targets), 1, 4, 4), targets)


def test_own_data_sets_of_several_labels_keep_their_rows():
    rows_NK = HOT.repeat(10, 1)
    data = wrap_datasets("mine", some_set(rows_NK.float()), some_set(HOT), Preprocessing())
    assert data.multi_label
    assert data.labels == ("0", "1", "2")
    assert torch.equal(data.test.labels_N, HOT)
    _, labels = next(iter(data.train.batches(5, device="cpu", limit=5)))
    assert labels.shape == (5, 3)
    one_hot = wrap_datasets("mine", some_set(torch.eye(3)), some_set(torch.eye(3)), Preprocessing())
    assert one_hot.test.labels_N.tolist() == [0, 1, 2]
    assert not one_hot.multi_label
    assert len(one_hot.notes) == 1
    with pytest.raises(InputError, match=r"training and test data with targets of \[3\] and 1"):
        wrap_datasets("mine", some_set(HOT), some_set(torch.tensor([0, 1])), Preprocessing())
