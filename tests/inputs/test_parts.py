"""How folders of images are laid out: what counts as a label, and what is left out and said."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from prune_dl.prune.errors import InputError
from prune_dl.prune.inputs.data import open_data
from prune_dl.prune.inputs.split import DataSet


def fill(folder: Path, num_images: int = 10) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(num_images):
        Image.fromarray(np.full((6, 6, 3), number, np.uint8)).save(folder / f"{number}.png")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "set"
    for part in ("train", "test"):
        for label in ("a", "b", "c"):
            fill(root / part / label)
    return root


def sizes(data: DataSet) -> list[int]:
    return [part.num_images for part in (data.train, data.held_out, data.test)]


@pytest.mark.parametrize("is_empty", [True, False])
def test_a_label_without_test_images_is_said_and_legitimate(root: Path, is_empty: bool) -> None:
    shutil.rmtree(root / "test" / "b")
    (root / "test" / "b").mkdir() if is_empty else None
    data = open_data(str(root))
    assert (data.labels, sizes(data)) == (("a", "b", "c"), [27, 3, 20])
    assert data.test.labels_N.unique().tolist() == [0, 2]
    assert data.notes == ("the test part holds no images of b",)


def test_hidden_folders_of_tools_and_systems_are_left_out_and_said(root: Path) -> None:
    for name in (".ipynb_checkpoints", "__MACOSX", "@eaDir"):
        fill(root / "train" / name)
    fill(root / "train" / "a" / ".ipynb_checkpoints")
    fill(root / ".thumbnails")
    (root / "train" / "a" / "._0.png").write_bytes(b"no image")
    fill(root / "train" / "loose")
    (root / "train" / "loose" / "0.png").rename(root / "train" / "0.png")
    shutil.rmtree(root / "train" / "loose")
    data = open_data(str(root))
    assert (data.labels, sizes(data)) == (("a", "b", "c"), [27, 3, 30])
    (note,) = data.notes
    assert note.startswith("left out of the data: train/.ipynb_checkpoints, train/@eaDir, ")
    assert "train/__MACOSX, train/a/.ipynb_checkpoints, train/0.png" in note
    assert note.endswith(" and 1 more")
    assert str(root) not in note


@pytest.mark.parametrize(
    ("outputs", "labels"), [(None, "abc"), (3, "abc"), (4, "abcd"), (9, "abc")]
)
def test_an_empty_label_folder_is_a_label_only_where_the_network_has_an_output_for_it(
    root: Path, outputs: int | None, labels: str
) -> None:
    (root / "train" / "d").mkdir()
    data = open_data(str(root), num_labels=outputs)
    assert data.labels == tuple(labels)
    kept = "kept as labels of the network" if "d" in labels else "not counted as labels"
    assert data.notes == (f"label folders without images, {kept}: d",)


def test_a_label_that_training_lacks_needs_an_output(root: Path) -> None:
    fill(root / "test" / "d")
    words = "the test part holds the label d, which the training part lacks"
    for outputs, told in ((None, "; expected"), (3, ", and the network has 3 outputs; expected")):
        with pytest.raises(InputError, match=words + told):
            open_data(str(root), num_labels=outputs)
    data = open_data(str(root), num_labels=4)
    assert data.labels == ("a", "b", "c", "d")
    assert data.notes == (
        "the held-out part holds no images of d", "the training part holds no images of d",
    )  # fmt: skip


@pytest.mark.parametrize("names", [("Training", "Testing"), ("training_set", "test_set")])
def test_parts_under_other_names(root: Path, names: tuple[str, str]) -> None:
    (root / "train").rename(root / names[0])
    (root / "test").rename(root / names[1])
    assert sizes(open_data(str(root))) == [27, 3, 30]


def test_a_training_part_alone_is_split_and_said(root: Path) -> None:
    shutil.rmtree(root / "test")
    data = open_data(str(root))
    assert (data.labels, sizes(data)) == (("a", "b", "c"), [21, 3, 6])
    assert data.notes == ("no test part beside train/: a fifth of it was set aside as one",)


def test_a_folder_around_the_data_and_a_single_label_are_named(root: Path) -> None:
    with pytest.raises(InputError, match=r"whose parts are in set; give `data=.*set`"):
        open_data(str(root.parent))
    for label in "bc":
        shutil.rmtree(root / "train" / label)
    with pytest.raises(InputError, match="with the one label folder a; expected two or more"):
        open_data(str(root / "train"))


def test_images_deeper_below_their_label_are_found(root: Path) -> None:
    for label in "abc":
        shutil.move(root / "train" / label, root / "moved" / "x")
        shutil.move(root / "moved", root / "train" / label)
    assert sizes(open_data(str(root))) == [27, 3, 30]


def test_folders_beside_the_parts_are_said(root: Path) -> None:
    fill(root / "extra")
    assert open_data(str(root)).notes == ("left out of the data: extra",)
