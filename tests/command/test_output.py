"""`--output`: which of a network's outputs holds the logits, through every command."""

import json
import sys
from pathlib import Path

import onnx
import pytest
import torch
from prune_dl.prune.command import cli
from prune_dl.prune.inputs.data import open_data
from prune_dl.prune.inputs.pruned_file import load_pruned, read_pruned_file
from torch import nn

CODE = '''
from torch import nn

class Net(nn.Module):
    """Auxiliary logits first, those that count second."""

    def __init__(self, num_classes):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 12, 3, padding=1), nn.BatchNorm2d(12), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(12, 16, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten())
        self.aux, self.head = nn.Linear(64, num_classes), nn.Linear(64, num_classes)

    def forward(self, x):
        x = self.body(x)
        return self.aux(x), {"scores": self.head(x)}

def net(num_classes=10):
    return Net(num_classes)
'''


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network whose second output was trained, and whose first one is random."""
    folder = tmp_path_factory.mktemp("outputs")
    (folder / "two_heads.py").write_text(CODE, encoding="utf-8")
    sys.path.insert(0, str(folder))
    import two_heads  # type: ignore[import-not-found]

    torch.manual_seed(0)
    net = two_heads.net()
    optimizer = torch.optim.Adam(net.parameters(), 3e-3)
    data = open_data("digits")
    for epoch in range(4):
        for images, labels in data.train.batches(64, device="cpu", shuffle_seed=epoch):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(images)[1]["scores"], labels).backward()
            optimizer.step()
    torch.save(net.state_dict(), folder / "m.pt")
    return folder / "m.pt"


def run(*arguments: object) -> int:
    return cli.run([str(argument) for argument in arguments])


def given(model: Path, *more: object) -> list[object]:
    return ["--model", model, "--arch", "two_heads:net", "--data", "digits", *more]


@pytest.fixture(scope="module")
def out(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the job gives for the trained output."""
    folder = tmp_path_factory.mktemp("job") / "run"
    job = ("--output", "1.scores", "--keep", 0.7, "--epochs", 1, "--bench-seconds", 0.1)
    assert run(*given(model, *job, "--opset", 13, "--out", folder)) == 0
    return folder


def test_a_job_with_a_chosen_output_and_what_follows_from_it(out: Path) -> None:
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert report["held_out"]["original"]["correct"] > 0.8 * report["held_out"]["original"]["total"]
    assert onnx.load(out / "model.onnx").opset_import[0].version == 13
    assert read_pruned_file(out / "model.safetensors").origin.output == "1.scores"
    from two_heads import net

    smaller = load_pruned(out / "model.safetensors", net())
    assert type(smaller).__name__ == "Net"
    assert smaller(torch.zeros(2, 1, 8, 8))[1]["scores"].shape == (2, 10)
    assert run("evaluate", "--model", out, "--data", "digits", "--trust-file", "--json") == 0
    options = (out / "run.json").read_text(encoding="utf-8")
    assert "1.scores" in options


@pytest.mark.parametrize(
    "flags",
    [
        ("--embed-preprocess",),
        pytest.param(("--fp16",), marks=pytest.mark.slow),
        pytest.param(("--int8", "--max-drop", 50), marks=pytest.mark.slow),
    ],
)
def test_other_files_of_it_keep_to_the_operator_set(
    out: Path, tmp_path: Path, flags: tuple[object, ...]
) -> None:
    file = tmp_path / "a.onnx"
    again = ("--model", out, "--data", "digits", "--trust-file")
    assert run("export", *again, *flags, "--opset", 13, "--out", file) == 0
    assert onnx.load(file).opset_import[0].version == 13


@pytest.mark.slow
def test_rank_and_sweep_take_it(model: Path, tmp_path: Path) -> None:
    assert run("rank", *given(model, "--output", "1.scores", "--out", tmp_path / "rank")) == 0
    sweep = ("--output", "1.scores", "--keep", 0.7, "--no-int8", "--bench-seconds", 0.1)
    assert run("sweep", *given(model, *sweep, "--out", tmp_path / "sweep")) == 0
    rows = json.loads((tmp_path / "sweep" / "tradeoff.json").read_text(encoding="utf-8"))["points"]
    assert not [row["error"] for row in rows if row["error"]]


def test_without_it_what_was_taken_is_said(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*given(model, "--output", "2", "--keep", 0.7, "--out", tmp_path / "a")) == 2
    assert "--output 2 given; the network returns 0 (8 x 10), 1.scores (8 x 10)" in (
        " ".join(capsys.readouterr().err.split())
    )
    flags = ("--keep", 0.7, "--epochs", 0, "--bench-seconds", 0.1, "--out", tmp_path / "b")
    assert run(*given(model, *flags)) == 0
    report = json.loads((tmp_path / "b" / "report.json").read_text(encoding="utf-8"))
    said = "0 was taken for the logits; --output chooses another (1.scores)"
    assert any(said in warning for warning in report["warnings"])


def test_an_operator_set_that_cannot_be_written_is_refused_at_the_start(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = given(model, "--output", "1.scores", "--keep", 0.7)
    for opset, message in ((10, "expected"), (99, "expected at most")):
        assert run(*job, "--opset", opset, "--out", tmp_path / "a") == 2
        assert message in capsys.readouterr().err
    sweep = given(model, "--keep", 0.7, "--opset", 12, "--out", tmp_path / "b")
    assert run("sweep", *sweep) == 2
    assert "--opset 12 given with --int8" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "a").exists()
