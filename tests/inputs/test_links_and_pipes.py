"""Image folders with links, and places that are no regular files: each image once, no waiting."""

import os
import socket
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from prune_dl.prune.command import cli
from prune_dl.prune.errors import InputError
from prune_dl.prune.files import read_safetensors, read_safetensors_metadata, require_regular
from prune_dl.prune.inputs.data import open_data
from prune_dl.prune.inputs.decode import read_size
from prune_dl.prune.inputs.listing import list_images
from prune_dl.prune.inputs.weights import read_weights
from torchvision.datasets import ImageFolder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two labels of three images, and as many in folders below them."""
    for label in "ab":
        for below in ("", "z", "z/y", "z-1"):
            place = tmp_path / "data" / label / below
            place.mkdir(parents=True, exist_ok=True)
            for number in (20, 3):
                Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(place / f"{number}.png")
            (place / "notes.txt").touch()
    return tmp_path / "data"


def test_images_are_listed_as_torchvision_lists_them(folder: Path) -> None:
    found, expected = list_images(folder), ImageFolder(str(folder))
    assert list(found.paths) == [path for path, _ in expected.samples]
    assert found.labels_N.tolist() == expected.targets
    assert list(found.labels) == expected.classes


def test_links_to_what_is_there_add_nothing(folder: Path) -> None:
    before = list_images(folder)
    (folder / "a" / "self").symlink_to(".")
    (folder / "a" / "again").symlink_to(".")
    (folder / "a" / "0.png").symlink_to("3.png")
    (folder / "b" / "0").symlink_to("z")
    assert list_images(folder).paths == before.paths


def test_a_link_to_a_folder_elsewhere_is_followed(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "linked").mkdir()
    for label in "ab":
        (tmp_path / "linked" / label).symlink_to(folder / label)
    assert len(list_images(tmp_path / "linked").paths) == len(list_images(folder).paths)


@pytest.mark.parametrize("link", ["../a/3.png", "../a/z", ".."])
def test_one_file_under_two_labels_is_refused(folder: Path, link: str) -> None:
    (folder / "b" / ("4.png" if link.endswith("png") else "c")).symlink_to(link)
    with pytest.raises(InputError, match=r"are one file \(by a link\) in two labels; expected"):
        list_images(folder)


def test_one_file_in_two_parts_is_refused(folder: Path, tmp_path: Path) -> None:
    for part in ("train", "test"):
        (tmp_path / "both" / part).mkdir(parents=True)
    for label in "ab":
        (tmp_path / "both" / "train" / label).symlink_to(folder / label)
        (tmp_path / "both" / "test" / label).mkdir()
        (tmp_path / "both" / "test" / label / "1.png").symlink_to(folder / label / "3.png")
    with pytest.raises(InputError, match=r"are one file \(by a link\) in two parts; expected"):
        open_data(str(tmp_path / "both"))


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


def make_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def make_socket(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # names of sockets are short
    try:
        socket.socket(socket.AF_UNIX).bind(path.name)
    finally:
        os.chdir(here)


KINDS = [(make_pipe, "a named pipe"), (make_device, "a device"), (make_socket, "a socket")]
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


@pytest.mark.parametrize(("make", "kind"), KINDS)
@pytest.mark.parametrize(
    "read", [require_regular, read_safetensors, read_safetensors_metadata, read_weights, read_size]
)
def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path, make, kind, read) -> None:  # type: ignore[no-untyped-def]
    place = tmp_path / "odd"
    make(place)
    with pytest.raises(InputError, match=rf"odd is {kind}; expected a regular file; give a file"):
        read(place)


@pytest.mark.parametrize(("make", "kind"), KINDS)
def test_an_image_that_is_no_file_is_refused(folder: Path, make, kind) -> None:  # type: ignore[no-untyped-def]
    make(folder / "a" / "4.png")
    with pytest.raises(InputError, match=rf"4.png is {kind}"):
        list_images(folder)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors", ".toml", ".json", ".onnx"])
def test_commands_refuse_a_pipe_in_one_line(
    tmp_path: Path, suffix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pipe = tmp_path / f"pipe{suffix}"
    os.mkfifo(pipe)
    argv = {
        ".pt": ["evaluate", "--model", str(pipe), "--data", "digits"],
        ".safetensors": ["evaluate", "--model", str(pipe), "--data", "digits"],
        ".onnx": ["bench", str(pipe)],
    }.get(suffix, ["--config", str(pipe)])
    assert cli.run(argv) == (2 if suffix in (".toml", ".json") else 3)
    assert "is a named pipe; expected a regular file; give a file" in capsys.readouterr().err
