"""What is shipped tells nothing of where things were on the user's machine; the run remembers it.

A second run of the same job gives the same bytes, which no place or clock has got into.
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image
from prune_dl.prune.command import cli
from prune_dl.prune.command.home import data_at_home
from prune_dl.prune.inputs.data import open_data
from prune_dl.prune.inputs.pruned_file import read_pruned_file
from scenes.jobs import FinishedRun

STAYS_HOME = {"run.json"}
"""Knows where the data are, so that later commands find them; it is in no folder for the Hub."""


def write_digits(folder: Path) -> Path:
    """40 digits of each label as PNG files, as the built-in set has them."""
    split = open_data("digits", mean=(0.0,), std=(1.0,)).train
    counts = [0] * 10
    for images, labels in split.batches(1000, device="cpu"):
        for image, label in zip(images, labels.tolist(), strict=True):
            if counts[label] < 40:
                file = folder / str(label) / f"{counts[label]}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray((image[0] * 255).round().byte().numpy()).save(file)
                counts[label] += 1
    return folder


@dataclass(frozen=True)
class Home:
    """Somewhere on the user's machine, with images, a run on them and its folder for the Hub."""

    place: Path

    @property
    def model(self) -> Path:
        return self.place / "run" / "model.safetensors"


@pytest.fixture(scope="module")
def home(trained_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Home:
    place = tmp_path_factory.mktemp("Secret Person")
    shutil.copy(trained_file, place)
    write_digits(place / "pictures")
    words = ["--model", str(place / "digits.pt"), f"--data={place / 'pictures'}", "--keep", "0.6"]
    words += ["--epochs", "0", "--bench-seconds", "0.1", "--out", str(place / "run")]
    assert cli.run([*words, "--hub-folder", str(place / "hub"), "--json"]) == 0
    return Home(place)


def test_nothing_that_is_shipped_names_a_place_of_this_machine(home: Home) -> None:
    files = [*(home.place / "hub").iterdir(), *(home.place / "run").iterdir()]
    assert {file.name for file in files} > {"README.md", "config.json", "report.html", "run.json"}
    for file in files:
        if file.name not in STAYS_HOME:
            contents = file.read_bytes()
            for place in (home.place, home.place.parent, Path.home()):
                assert f"{place}/".encode() not in contents, file
                assert str(home.place.name).encode() not in contents, file
    report = json.loads((home.place / "run" / "report.json").read_text())
    assert (report["model"]["name"], report["model"]["data"]) == ("digits.pt", "pictures")
    assert "--model digits.pt --data=pictures --keep 0.6" in report["command"]
    assert read_pruned_file(home.model).origin.data == "pictures"


def test_a_run_remembers_its_data_on_this_machine(
    home: Home, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")
    for model in (home.model, home.model.parent):
        assert cli.run(["evaluate", "--model", str(model), "--json"]) == 0
        captured = capsys.readouterr()
        assert f"data: {home.place / 'pictures'}, which the model file names" in captured.err
    assert json.loads(captured.out)["total"] == 80


def test_elsewhere_the_data_are_asked_for(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    shipped = home.place / "hub" / "model.safetensors"
    assert cli.run(["evaluate", "--model", str(shipped)]) == 3
    assert "names the data 'pictures'" in (said := capsys.readouterr().err)
    assert "give --data" in said


def test_only_the_folder_that_the_model_file_names_is_remembered(tmp_path: Path) -> None:
    model, run = tmp_path / "model.safetensors", tmp_path / "run.json"
    for text in ("", "[]", "{}", '{"data": 3}', '{"data": "pictures"}', '{"data": "/a/other"}'):
        run.write_text(text)
        assert data_at_home(model, "pictures") == "pictures"
    run.write_text('{"data": "/a/pictures"}')
    assert data_at_home(model, "pictures") == "/a/pictures"


@pytest.mark.slow  # test_resume.py compares a second run, too
def test_the_same_job_writes_the_same_network(
    trained_file: Path, finished_run: FinishedRun, tmp_path: Path
) -> None:
    """Byte for byte, although it stands elsewhere and runs later."""
    words = ["--model", str(trained_file), "--keep", "0.6", "--epochs", "2", "--json"]
    assert cli.run([*words, "--bench-seconds", "0.1", "--out", str(tmp_path / "again")]) == 0
    for name in ("model.safetensors", "plan.json"):
        first, again = finished_run.folder / name, tmp_path / "again" / name
        assert first.read_bytes() == again.read_bytes(), name
