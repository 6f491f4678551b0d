"""What a network is fed is said by every command, and kept by what it writes."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from prune_dl.export.metadata import read_metadata
from prune_dl.prune.command import cli
from prune_dl.prune.inputs.callables import Trusted
from prune_dl.prune.inputs.checkpoint import load_checkpoint
from prune_dl.prune.inputs.data import open_data
from prune_dl.prune.inputs.zoo import build

COLOUR, GREY = "resnet20", "resnet20:in_channels=1"


def folder(root: Path, height: int = 20, width: int = 12, *, grey: bool = False) -> Path:
    randomness = np.random.default_rng(0)
    shape = (height, width) if grey else (height, width, 3)
    for part in ("train", "test"):
        for label, low in (("a", 0), ("b", 100)):
            (root / part / label).mkdir(parents=True)
            for number in range(20):
                pixels = randomness.integers(low, low + 150, shape, dtype=np.uint8)
                Image.fromarray(pixels).save(root / part / label / f"{number}.png")
    return root


def weights(path: Path, arch: str) -> str:
    torch.save(build(arch, 2, seed=0).state_dict(), path)
    return str(path)


def said(stderr: str) -> str:
    (line,) = [line for line in stderr.splitlines() if line.startswith("prune-dl: input: ")]
    return line.removeprefix("prune-dl: input: ")


def test_evaluate_says_size_scale_and_order_with_their_sources(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, data = weights(tmp_path / "m.pt", COLOUR), str(folder(tmp_path / "d"))
    assert cli.run(["evaluate", "--model", model, "--data", data, "--json"]) == 0
    out, err = capsys.readouterr()
    line = said(err)
    assert line.startswith("3 x 20 x 12 (shared by the images); mean ")
    assert "measured: " in line
    assert " of 4 held-out images" in line
    assert line.endswith("; channels rgb (usual)")
    found = json.loads(out)["input"]
    assert found["size"] == [3, 20, 12]
    assert f"({found['sources']['scale']})" in line


def test_what_is_given_is_taken_from_flags_and_from_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, data = weights(tmp_path / "m.pt", COLOUR), str(folder(tmp_path / "d"))
    start = ["evaluate", "--model", model, "--data", data, "--json"]
    flags = ["--input-size", "24", "16", "--mean", "0.1", "0.2", "0.3", "--std", "1", "1", "1"]
    assert cli.run([*start, *flags, "--channel-order", "bgr"]) == 0
    out, err = capsys.readouterr()
    assert said(err) == (
        "3 x 24 x 16 (given); mean 0.1 0.2 0.3, std 1 1 1 (given); channels bgr (given)"
    )
    top1 = json.loads(out)["top1"]
    toml = tmp_path / "a.toml"
    toml.write_text(
        "[data]\ninput_size = [24, 16]\nmean = [0.1, 0.2, 0.3]\nstd = [1, 1, 1]\n"
        'channel_order = "bgr"\n'
    )
    assert cli.run([*start, "--config", str(toml)]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["top1"] == top1
    toml.write_text("[data]\ninput_size = 24\n")
    assert cli.run([*start, "--config", str(toml)]) == 0
    assert said(capsys.readouterr().err).startswith("3 x 24 x 24 (given); ")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--input-size", "1", "2", "3", "4"], "--input-size of 4 numbers given; expected one for"),
        (["--input-size", "128x64"], "--input-size 128x64 given; expected numbers"),
        (["--channel-order", "gbr"], "--channel-order gbr given; expected one of rgb, bgr"),
    ],
)
def test_sizes_and_orders_that_are_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str], words: str
) -> None:
    model, data = weights(tmp_path / "m.pt", COLOUR), str(folder(tmp_path / "d"))
    assert cli.run(["evaluate", "--model", model, "--data", data, *flags]) == 2
    assert words in capsys.readouterr().err


def test_grey_pictures_train_a_network_of_one_channel_that_opens_them_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = folder(tmp_path / "d", 80, 40, grey=True), tmp_path / "m.pt"
    flags = ["--data", str(data), "--epochs", "1", "--out", str(out), "--json"]
    assert cli.run(["train", "--arch", "resnet20", *flags]) == 0
    printed, err = capsys.readouterr()
    assert said(err).startswith("1 x 80 x 40 (shared by the images); mean 0.449, std 0.226 (Imag")
    assert json.loads(printed)["arch"] == GREY
    assert load_checkpoint(str(out)).origin.input_size == (1, 80, 40)
    assert cli.run(["evaluate", "--model", str(out), "--json"]) == 0
    assert said(capsys.readouterr().err) == (
        "1 x 80 x 40 (the model file); mean 0.449, std 0.226 (the model file)"
    )
    bare = weights(tmp_path / "bare.pt", GREY)
    assert cli.run(["evaluate", "--model", bare, "--data", str(data), "--mean", ".5"]) == 0
    assert said(capsys.readouterr().err).startswith("1 x 80 x 40 (measured: ")


def test_the_order_of_the_channels_is_kept_from_file_to_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out, onnx = folder(tmp_path / "d"), tmp_path / "m.pt", tmp_path / "m.onnx"
    flags = ["--data", str(data), "--epochs", "0", "--channel-order", "bgr", "--out", str(out)]
    assert cli.run(["train", "--arch", "resnet20", *flags]) == 0
    assert load_checkpoint(str(out)).origin.channel_order == "bgr"
    capsys.readouterr()
    assert cli.run(["export", "--model", str(out), "--out", str(onnx), "--embed-preprocess"]) == 0
    assert said(capsys.readouterr().err).endswith("; channels bgr (the model file)")
    assert read_metadata(onnx)["channel_order"] == "bgr"


def test_a_folder_that_is_called_as_a_built_in_set_is_used_and_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cifar100").mkdir()
    for name in ("cifar10", "digits"):
        folder(tmp_path / name)
    model = weights(tmp_path / "m.pt", COLOUR)
    assert cli.run(["evaluate", "--model", model, "--data", "cifar10"]) == 0
    err = capsys.readouterr().err
    assert f"prune-dl: data: the folder {tmp_path / 'cifar10'} is used, not the built-in" in err
    found = open_data(Trusted("cifar10"))
    assert (found.name, found.title) == (str(tmp_path / "cifar10"), "cifar10/")
    assert open_data("digits").name == "digits"  # a file's word
    assert open_data(Trusted("digits")).name == str(tmp_path / "digits")
