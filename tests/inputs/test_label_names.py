"""Names of labels out of a file, and the order that they give the data."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from prune_dl.prune.errors import InputError, UsageError
from prune_dl.prune.inputs.datasets import wrap_datasets
from prune_dl.prune.inputs.label_file import read_label_names
from prune_dl.prune.inputs.label_order import natural_order, number_labels
from prune_dl.prune.inputs.preprocessing import Preprocessing
from prune_dl.prune.inputs.split import DataSet
from prune_dl.prune.options import DataOptions
from torch.utils.data import TensorDataset

FOLDERS = ("1", "10", "2")


@pytest.fixture
def data() -> DataSet:
    part = TensorDataset(torch.rand(30, 3, 4, 4), torch.arange(30) % 3)
    return replace(wrap_datasets("some", part, part, Preprocessing()), labels=FOLDERS)


def names_of(data: DataSet) -> list[str]:
    return [data.labels[k] for k in data.test.labels_N[:3].tolist()]


@pytest.mark.parametrize(
    "text",
    [
        "b\na 1\nc\n",
        "\ufeffb\r\n\r\n  a 1 \r\nc",
        '["b", "a 1", "c"]',
        '{"a 1": 1, "b": 0, "c": 2}',
        '{"1": "a 1", "0": "b", "2": "c"}',
        '{"model_type": "vit", "id2label": {"0": "b", "1": "a 1", "2": "c"}}',
        '{"0": ["b", "bee"], "1": ["a 1", "ant"], "2": ["c", "cat"]}',
    ],
)
def test_every_form_of_a_file_of_names(tmp_path: Path, text: str) -> None:
    (tmp_path / "names").write_bytes(text.encode())
    assert read_label_names(tmp_path / "names") == ("b", "a 1", "c")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "holds 0 names; expected each name once"),
        (b"a\nb\na\n", "holds a 2 times"),
        (b'{"a": 0, "b": 2}', "an object of names and their numbers from 0 on without a gap"),
        (b'{"a": true, "b": 0}', "is not as expected: a JSON list of names"),
        (b"[1, 2]", "is not as expected"),
        (b'["a", "b"', "is not as expected"),
        (b'{"' + b"9" * 5000 + b'": "a"}', "is not as expected"),
        (b"a\nb\xff\n", "is no text in UTF-8"),
        (b"a\nb\0\n", "a name which holds a NUL character"),
    ],
)
def test_a_file_that_is_no_list_of_names_is_one_line(
    tmp_path: Path, text: bytes, words: str
) -> None:
    (tmp_path / "names").write_bytes(text)
    with pytest.raises(InputError, match=words) as caught:
        read_label_names(tmp_path / "names")
    assert "\n" not in str(caught.value)


def test_a_file_of_names_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"`labels`: .* is a folder; expected a regular file"):
        read_label_names(tmp_path)
    with pytest.raises(InputError, match=r"`labels=.*missing` cannot be read"):
        read_label_names(tmp_path / "missing")


def test_labels_keep_their_images_in_every_order(tmp_path: Path, data: DataSet) -> None:
    (tmp_path / "names").write_text("2\n0\n10\n1\n")
    by_file = number_labels(data, DataOptions(labels=tmp_path / "names"))
    assert by_file.labels == ("2", "0", "10", "1")
    assert "images of 3 of 4 labels: nothing is measured for the others" in by_file.notes[0]
    natural = number_labels(data, DataOptions(label_order="natural"))
    stated = number_labels(data, DataOptions(), ("10", "2", "1"))
    assert (natural.labels, natural.notes) == (("1", "2", "10"), ())
    assert stated.labels == ("10", "2", "1")
    assert stated.notes == ("the labels are in the order that the model file states: 10, 2, 1",)
    for ordered in (by_file, natural, stated):
        assert names_of(ordered) == names_of(data) == list(FOLDERS)
        _, labels = next(iter(ordered.held_out.batches(9, device="cpu")))
        assert torch.equal(labels, ordered.held_out.labels_N)


@pytest.mark.parametrize("stated", [(), FOLDERS, ("a", "b", "c"), (*FOLDERS, "3"), ("2", "2", "1")])
def test_names_of_a_file_that_are_not_those_of_the_data_change_nothing(
    data: DataSet, stated: tuple[str, ...]
) -> None:
    assert number_labels(data, DataOptions(), stated) is data
    assert number_labels(data, DataOptions(label_order="sorted"), ("10", "2", "1")) is data


def test_orders_that_cannot_be_given(tmp_path: Path, data: DataSet) -> None:
    (tmp_path / "names").write_text("1\n2\n")
    with pytest.raises(InputError, match=r"has 2 names .1, 2. and not 10, which `data=some` holds"):
        number_labels(data, DataOptions(labels=tmp_path / "names"))
    with pytest.raises(UsageError, match="`label_order=natural` given with `labels`, which states"):
        number_labels(data, DataOptions(labels=tmp_path / "names", label_order="natural"))


@given(st.lists(st.text("aA0129", min_size=1, max_size=6), unique=True))
def test_the_natural_order_is_that_of_numbers(names: list[str]) -> None:
    ordered = natural_order(names)
    assert sorted(ordered) == sorted(names)
    numbers = [int(name) for name in ordered if name.isdecimal()]
    assert numbers == sorted(numbers)
    assert natural_order(ordered[::-1]) == ordered
