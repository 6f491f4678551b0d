"""Images without labels: which are taken so, and answers in the place of labels."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from prune_dl.prune.errors import InputError, UsageError
from prune_dl.prune.inputs.answered import AnsweredSplit, OriginalAnswers, with_answers
from prune_dl.prune.inputs.callables import Trusted
from prune_dl.prune.inputs.data import open_data
from prune_dl.prune.inputs.datasets import wrap_unlabeled
from prune_dl.prune.inputs.items import ItemReader, lacks_label
from prune_dl.prune.inputs.label_order import name_outputs
from prune_dl.prune.inputs.loaders import read_loader
from prune_dl.prune.inputs.parts import NOT_SORTED, list_parts
from prune_dl.prune.inputs.preprocessing import Preprocessing
from prune_dl.prune.inputs.split import DataSet, output_names
from prune_dl.prune.options import DataOptions
from scenes.pictures import write_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

CPU = torch.device("cpu")


def test_pictures_at_the_root_are_taken_without_labels_for_a_known_network(tmp_path: Path) -> None:
    write_digits(tmp_path, 100)
    (tmp_path / "notes").mkdir()
    data = open_data(Trusted(str(tmp_path)), num_labels=10)
    assert data.unlabeled
    assert data.labels == tuple("0123456789")
    assert NOT_SORTED in data.notes
    sizes = [part.num_images for part in (data.train, data.held_out, data.test)]
    assert sizes == [72, 8, 20]
    with pytest.raises(InputError, match="one folder of images per label"):
        open_data(Trusted(str(tmp_path)))


def test_parts_keep_their_pictures(tmp_path: Path) -> None:
    for part, count, first in (("train", 20, 0), ("val", 6, 20), ("test", 8, 26)):
        write_digits(tmp_path / part, count, first=first)
    found = list_parts(tmp_path, 0.1, 0, 10)
    assert found.unlabeled
    assert [len(x) for x in (found.train, found.held_out, found.test)] == [20, 6, 8]
    assert all("/val/" in found.files.paths[i] for i in found.held_out)


def test_folders_with_pictures_are_labels_unless_the_user_says_otherwise(tmp_path: Path) -> None:
    write_digits(tmp_path, 40, by_label=True)
    write_digits(tmp_path, 5, first=40)  # beside the folders, as a test sheet may lie there
    labelled = list_parts(tmp_path, 0.1, 0, 10)
    assert len(labelled.files.labels) == 10
    asked = list_parts(tmp_path, 0.1, 0, 10, unlabeled=True)
    assert asked.unlabeled
    assert len(asked.files.paths) == 45
    assert NOT_SORTED not in asked.notes


def test_a_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no images"):
        list_parts(tmp_path, 0.1, 0, 10, unlabeled=True)


def test_items_that_surely_hold_inputs_alone_need_no_word() -> None:
    reader, picture = ItemReader(("pixel_values", "labels"), ("pixel_values",)), torch.ones(3)
    assert lacks_label(picture, reader)
    assert lacks_label(np.ones(3), reader)
    assert lacks_label([picture], reader)
    assert lacks_label({"pixel_values": picture}, reader)
    assert not lacks_label((picture, 3), reader)
    assert not lacks_label({"pixel_values": picture, "labels": 3}, reader)
    assert not lacks_label({"pixel_values": picture, "name": "a.jpg"}, reader)


def test_inputs_come_first_where_labels_are_not_read() -> None:
    one, two = ItemReader(("x",), ("x",)), ItemReader(("a", "b"), ("a", "b"))
    assert one.inputs_of(("picture", 3, "name")) == "picture"
    assert two.inputs_of(("left", "right")) == ("left", "right")
    assert two.inputs_of((("left", "right"), 3)) == ("left", "right")
    assert one.inputs_of({"x": "picture", "y": 3, "name": "a.jpg"}) == "picture"
    with pytest.raises(InputError, match="expected"):
        two.inputs_of(("left",))


def unlabeled(*tensors: Tensor) -> DataSet:
    part = TensorDataset(*tensors)
    data = wrap_unlabeled("some", part, part, Preprocessing(), held_out=0.25)
    return replace(data, labels=output_names(3))


def test_names_of_outputs_are_given_or_stated_or_numbers(tmp_path: Path) -> None:
    data = unlabeled(torch.rand(8, 1, 4, 4))
    assert name_outputs(data, DataOptions()).labels == ("0", "1", "2")
    assert name_outputs(data, DataOptions(), ("a", "b", "c")).labels == ("a", "b", "c")
    assert name_outputs(data, DataOptions(), ("a", "b")).labels == ("0", "1", "2")
    file = tmp_path / "names.txt"
    file.write_text("x\ny\nz\n")
    assert name_outputs(data, DataOptions(labels=file), ("a", "b", "c")).labels == ("x", "y", "z")
    with pytest.raises(UsageError, match="have no order"):
        name_outputs(data, DataOptions(label_order="sorted"))


class Bins(nn.Module):
    """The answer is the bin of the mean brightness; counts the images that it is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("centres", torch.tensor([0.0, 0.5, 1.0]))
        self.asked = [0]

    def forward(self, x: Tensor) -> Tensor:
        self.asked[0] += len(x)
        return -(x.mean((1, 2, 3))[:, None] - self.centres).abs()

    def __deepcopy__(self, memo: Any) -> "Bins":
        twin = Bins()
        twin.asked = self.asked
        return twin


def test_every_picture_of_a_folder_is_asked_for_once(tmp_path: Path) -> None:
    write_digits(tmp_path, 60)
    opened = open_data(Trusted(str(tmp_path)), num_labels=3, mean=(0.0,), std=(1.0,))
    model = Bins()
    train = with_answers(opened, model, CPU).train
    images, answers = next(train.batches(10, device=CPU, limit=10))
    assert model.asked == [10]
    assert answers.tolist() == model(images).argmax(1).tolist()
    model.asked[0] = 0
    again = torch.cat([x for _, x in train.batches(10, device=CPU, limit=10)])
    assert again.tolist() == answers.tolist()
    assert model.asked == [0]
    plain = torch.cat([x for _, x in train.batches(16, device=CPU, augment=True, shuffle_seed=3)])
    assert model.asked[0] in range(train.num_images - 10, train.num_images + 1)
    order = torch.randperm(train.num_images, generator=torch.Generator().manual_seed(3))
    assert plain.tolist() == train.labels_N[order].tolist()


def test_answers_belong_to_what_is_seen_where_items_change_every_time() -> None:
    class Noise(TensorDataset):
        def __getitem__(self, place: int) -> Any:
            return torch.full((1, 4, 4), float(torch.rand(())))

    reader = ItemReader()
    split = read_loader(DataLoader(Noise(torch.zeros(40)), batch_size=8), reader, "train").split
    assert split.unlabeled
    model = Bins()
    answers = OriginalAnswers(model, CPU, 3)
    answered = AnsweredSplit(split, answers, answers.unknown(40), is_fixed=False)
    for _ in range(2):
        for images, labels in answered.batches(8, device=CPU):
            assert labels.tolist() == model(images).argmax(1).tolist()


def test_hooks_of_the_job_do_not_see_what_is_asked() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3)).eval()
    data = with_answers(unlabeled(torch.rand(40, 1, 4, 4)), model, CPU)
    seen = []
    model.register_forward_hook(lambda *_: seen.append(1))
    assert len(data.held_out.labels_N) == 10
    assert not seen


def test_several_labels_are_every_output_above_0() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3)).eval()
    images = torch.randn(40, 1, 4, 4)
    data = with_answers(replace(unlabeled(images), multi_label=True), model, CPU)
    inputs, labels = next(data.held_out.batches(10, device=CPU))
    assert labels.tolist() == (model(inputs) > 0).long().tolist()


def test_data_that_label_themselves_are_refused() -> None:
    data = replace(unlabeled(torch.rand(8, 1, 4, 4)), train=object())  # type: ignore[arg-type]
    with pytest.raises(InputError, match="labels its images itself"):
        with_answers(data, Bins(), CPU)
