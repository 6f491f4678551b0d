"""Labels to keep as a user names them, and the images of those alone."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from prune_dl.prune.errors import InputError, UsageError
from prune_dl.prune.inputs.data import open_data
from prune_dl.prune.inputs.few_labels import choose_labels, of_labels
from prune_dl.prune.inputs.items import ItemReader
from prune_dl.prune.inputs.live import read_loaders
from prune_dl.prune.inputs.origin import Origin
from prune_dl.prune.inputs.split import DataSet
from torch.utils.data import DataLoader, TensorDataset


@pytest.fixture(scope="module")
def digits() -> DataSet:
    return open_data("digits")


def test_names_come_with_spaces_with_commas_or_in_a_file(digits: DataSet, tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("7\n3\n5\n")
    for asked in (["7", "3", "5"], ["7,3, 5"], ["7,3", "5"], [str(tmp_path / "names.txt")]):
        assert choose_labels(asked, digits) == ("3", "5", "7")


def test_a_label_with_a_comma_is_one_label(digits: DataSet) -> None:
    fish = replace(digits, labels=("tench, Tinca tinca", *digits.labels[1:]))
    assert choose_labels(["2", "tench, Tinca tinca"], fish) == ("tench, Tinca tinca", "2")


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (["3", "x8"], r"`labels_kept=x8` given, which is no label of `data=digits`.*mean 8\?"),
        (["3"], "1 label of 10; expected two or more, but not all"),
        ([","], "0 labels of 10"),
        (["3,4", "3"], "3 2 times; expected each label once"),
        ([*"0123456789"], "10 labels of 10; expected two or more, but not all"),
    ],
)
def test_other_names_are_refused(digits: DataSet, asked: list[str], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        choose_labels(asked, digits)


def test_the_nearest_name_is_offered_whatever_the_case(digits: DataSet) -> None:
    animals = replace(digits, labels=("Cat", "Dog", "Frog"))
    with pytest.raises(UsageError, match=r"did you mean Dog\?"):
        choose_labels(["Cat", "dogg"], animals)


def test_several_labels_for_an_image_are_refused(digits: DataSet) -> None:
    with pytest.raises(InputError, match="several labels for an image"):
        choose_labels(["3", "4"], replace(digits, multi_label=True))


def test_images_of_other_labels_are_gone_and_the_rest_is_as_it_was(digits: DataSet) -> None:
    few = of_labels(digits, ("3", "8"))
    assert few.labels == ("3", "8")
    for name in ("train", "held_out", "test"):
        whole, part = getattr(digits, name), getattr(few, name)
        chosen = (whole.labels_N == 3) | (whole.labels_N == 8)
        assert part.num_images == int(chosen.sum()) > 0
        assert torch.equal(part.labels_N, (whole.labels_N[chosen] == 8).long())
        pixels, labels_N = next(part.batches(10_000, device="cpu"))
        assert torch.equal(pixels, next(whole.batches(10_000, device="cpu"))[0][chosen])
        assert torch.equal(labels_N, part.labels_N)
    assert few.scaled((0.5,), (0.5,)).mean == (0.5,)


def test_a_label_without_training_images_is_refused(digits: DataSet) -> None:
    lacking = replace(digits, labels=(*digits.labels, "ten"))
    with pytest.raises(InputError, match=r"`data=digits` given, without training images of ten"):
        of_labels(lacking, ("3", "ten"))


def test_a_part_without_images_is_refused(digits: DataSet) -> None:
    threes = of_labels(digits, ("3", "4")).test
    with pytest.raises(InputError, match="given, without test images of 5, 6"):
        of_labels(replace(digits, test=threes), ("5", "6"))


def test_the_items_of_a_loader_are_chosen_by_their_labels() -> None:
    items = TensorDataset(torch.arange(40.0)[:, None], torch.arange(40) % 4)
    live = read_loaders(DataLoader(items, batch_size=8), None, 4, 0, ItemReader())
    few = of_labels(live, ("1", "3"))
    assert few.train.num_images + few.held_out.num_images == 20
    for inputs, labels_N in few.train.batches(8, device="cpu", shuffle_seed=0):
        assert torch.equal(inputs[:, 0] % 4, 2 * labels_N + 1.0)
    assert sorted(few.train.labels_N.tolist()) == [0] * 9 + [1] * 9


def test_the_origin_tells_kept_labels_from_those_of_the_architecture() -> None:
    origin = Origin("vgg6", 10, labels=("cat", "dog"), labels_kept=(3, 5))
    assert origin.num_outputs == 2
    assert Origin.from_dict(origin.to_dict()) == origin
    assert "labels_kept" not in Origin("vgg6", 10).to_dict()
    for wrong in ((5, 3), (3, 10), (-1, 3)):
        with pytest.raises(InputError, match=r"labels .* of 10"):
            Origin.from_dict({**origin.to_dict(), "labels_kept": wrong})
    with pytest.raises(InputError, match="2 names for 3 labels"):
        Origin.from_dict({**origin.to_dict(), "labels_kept": (3, 4, 5)})
