"""Folders 0, 1, 2, 10 and a network whose outputs stand in that order, from command to file."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from prune_dl.prune.command import cli

NAMES = ("0", "1", "2", "10")
COLOURS = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1]])
NETWORK = """
from torch import nn

def net(num_labels=4):
    return nn.Sequential(
        nn.Conv2d(3, 8, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)
    )
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Pictures in four colours, and a network that tells them apart without training."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    Path("fourcolours.py").write_text(NETWORK)
    randomness = np.random.default_rng(0)
    for part in ("train", "test"):
        for name, colour in zip(NAMES, COLOURS, strict=True):
            Path("images", part, name).mkdir(parents=True)
            for number in range(20):
                pixels = 150 * colour + randomness.integers(0, 60, (8, 8, 3))
                Image.fromarray(pixels.astype(np.uint8)).save(f"images/{part}/{name}/{number}.png")
    filters = torch.zeros(8, 3, 1, 1)
    filters[:6, :, 0, 0] = torch.eye(3).repeat(2, 1)
    head = torch.zeros(4, 8)
    head[:, :3] = torch.tensor([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0.6, 0.6, 0.6]])
    weights = {"0.weight": filters, "0.bias": torch.zeros(8), "4.weight": head}
    torch.save({**weights, "4.bias": torch.zeros(4)}, "net.pt")
    return tmp_path


FED = ("--mean", "0", "0", "0", "--std", "1", "1", "1", "--device", "cpu")


def run(*words: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    code = cli.run([*words])
    told = capsys.readouterr()
    return code, told.out, told.err


def evaluated(*words: str, capsys: pytest.CaptureFixture[str]) -> tuple[float, str]:
    code, out, err = run("evaluate", "--json", *words, capsys=capsys)
    assert code == 0, err
    return json.loads(out)["top1"], err


def test_labels_in_another_order_are_refused_and_the_order_is_offered(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ("--model", "net.pt", "--arch", "fourcolours:net", "--data", "images", *FED)
    code, _, err = run(*given, "--keep", "0.5", "--out", "small", capsys=capsys)
    assert code == 3
    assert "0, 1, 2, 10, it gets 100.0 % of 80 held-out and training images right, 50.0 %" in err
    assert "give --label-order natural, or --label-order sorted if the present order" in err
    assert not Path("small").exists()
    wrong, told = evaluated(*given, "--label-order", "sorted", capsys=capsys)
    assert wrong == 0.5
    assert "another order of the labels fits the network better" in told
    Path("names.txt").write_text("\n".join(NAMES))
    Path("options.toml").write_text('[data]\nlabels = "names.txt"\n')
    for option in (
        ("--label-order", "natural"), ("--labels", "names.txt"), ("--config", "options.toml"),
    ):  # fmt: skip
        top1, told = evaluated(*given, *option, capsys=capsys)
        assert (top1, "prune-dl: note" in told) == (1.0, False)


def test_the_order_goes_with_the_network(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ("--model", "net.pt", "--arch", "fourcolours:net", "--data", "images", *FED)
    quick = ("--keep", "0.8", "--epochs", "0", "--bench-seconds", "0.1", "--out", "small")
    code, _, err = run(*given, "--label-order", "natural", *quick, capsys=capsys)
    assert code == 0, err
    report = json.loads(Path("small/report.json").read_text())
    assert report["model"]["labels"] == list(NAMES)
    assert report["accuracy"]["original"]["top1"] == 1.0
    options = json.loads(Path("small/run.json").read_text())["options"]["data"]
    assert (options["labels"], options["label_order"]) == (None, "natural")
    again = ("--model", "small", "--arch", "fourcolours:net", "--data", "images")
    top1, told = evaluated(*again, capsys=capsys)
    assert top1 == report["accuracy"]["final"]["top1"]
    assert "the labels are in the order that the model file states: 0, 1, 2, 10" in told


def test_another_number_of_labels_is_named(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("images/train/10").rename("elsewhere")
    Path("images/test/10").rename("elsewhere-too")
    given = ("--model", "net.pt", "--arch", "fourcolours:net", "--data", "images", *FED)
    code, _, err = run("evaluate", *given, capsys=capsys)
    assert code == 3
    assert "the network has 4 labels and --data" in err
    assert "has 3 (0, 1, 2); give the data that the network was trained on, or --unlabeled" in err
    assert "or --labels with the names of all 4 outputs in their order" in err
    Path("names.txt").write_text("\n".join(NAMES))
    top1, told = evaluated(*given, "--labels", "names.txt", capsys=capsys)
    assert top1 == 1.0
    assert "the data hold images of 3 of 4 labels" in told
