"""The main job, end to end on the built-in digits with a small network."""

import contextlib
import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image
from prune_dl.prune import load
from prune_dl.prune.command import cli
from prune_dl.prune.folder import output_folder
from prune_dl.prune.inputs.data import open_data
from prune_dl.prune.inputs.zoo import build
from prune_dl.prune.training import train
from safetensors.torch import load_file
from scenes.jobs import FinishedRun, job

FILES = {
    "metrics.jsonl",
    "model.onnx",
    "model.safetensors",
    "plan.json",
    "report.html",
    "report.json",
    "run.json",
}


@pytest.fixture(scope="module")
def home(
    trained_file: Path, finished_run: FinishedRun, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A folder to write to: with a trained network, digits.pt, and a run on it, run/."""
    folder = tmp_path_factory.mktemp("job")
    shutil.copy(trained_file, folder)
    shutil.copytree(finished_run.folder, folder / "run")
    return folder


def test_the_folder_holds_what_was_promised_and_nothing_else(finished_run: FinishedRun) -> None:
    assert {path.name for path in finished_run.folder.iterdir()} == FILES
    beside = {finished_run.folder, finished_run.hub_folder}
    assert set(finished_run.folder.parent.iterdir()) == beside


def test_the_report_is_consistent(home: Path) -> None:
    report = json.loads((home / "run" / "report.json").read_text())
    for stage in ("original", "removed", "repaired", "final"):
        accuracy = report["accuracy"][stage]
        assert 0 <= accuracy["low"] <= accuracy["top1"] <= accuracy["high"] <= 1
    assert report["accuracy"]["original"]["top1"] > 0.6
    filters = report["filters"]
    assert filters["final"] == pytest.approx(round(0.6 * filters["original"]), rel=0.02)
    assert sum(layer["num_kept"] for layer in report["layers"]) >= filters["final"]
    assert report["certificate"]["applies"]
    assert report["certificate"]["ok"]
    assert report["macs"]["final"] < report["macs"]["original"]
    assert {"measure", "rank", "repair", "retrain", "benchmark"} <= report["seconds"].keys()


def test_the_saved_network_and_its_onnx_file_are_the_same(home: Path) -> None:
    network = load(home / "run" / "model.safetensors")
    report = json.loads((home / "run" / "report.json").read_text())
    assert sum(p.numel() for p in network.parameters()) == report["params"]["final"]
    images, _ = next(iter(open_data("digits").test.batches(16, device="cpu")))
    session = onnxruntime.InferenceSession(home / "run" / "model.onnx")
    (logits,) = session.run(None, {"images": images.numpy()})
    with torch.inference_mode():
        torch.testing.assert_close(torch.from_numpy(logits), network(images), rtol=1e-3, atol=1e-3)


@pytest.fixture(scope="module")
def twice(home: Path) -> dict[str, Any]:
    """The report of a second job, on the network of the first, that chooses its ranking itself."""
    flags = ("--keep", "0.5", "--epochs", "0", "--rank", "auto", "--bench-seconds", "0.1", "--json")
    argv = ["--model", str(home / "run"), *flags, "--out", str(home / "twice")]
    with contextlib.redirect_stdout(io.StringIO()) as out:
        assert cli.run(argv) == 0
    report: dict[str, Any] = json.loads((home / "twice" / "report.json").read_text())
    assert json.loads(out.getvalue()) == report
    return report


def test_a_pruned_network_is_evaluated(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert cli.run(["evaluate", "--model", str(home / "run"), "--json"]) == 0
    measured = json.loads(capsys.readouterr().out)
    report = json.loads((home / "run" / "report.json").read_text())
    assert measured["correct"] == report["accuracy"]["final"]["correct"]


def test_a_pruned_network_is_pruned_again(home: Path, twice: dict[str, Any]) -> None:
    report = json.loads((home / "run" / "report.json").read_text())
    network = load(home / "twice" / "model.safetensors")
    assert sum(p.numel() for p in network.parameters()) == twice["params"]["final"]
    assert twice["params"]["original"] == report["params"]["final"] > twice["params"]["final"]


def test_a_dry_run_writes_nothing_and_names_every_layer(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = set(home.iterdir())
    capsys.readouterr()
    assert job(home, "dry", "--keep", "0.5", "--dry-run") == 0
    lines = json.loads(capsys.readouterr().out)["layers"]
    made = json.loads((home / "run" / "report.json").read_text())["layers"]
    assert [line["name"] for line in lines] == [line["name"] for line in made]
    assert [line["num_filters"] for line in lines] == [line["num_filters"] for line in made]
    assert sum(x["num_kept"] for x in lines) < sum(x["num_kept"] for x in made)
    assert all(line["num_kept"] >= 1 for line in lines)
    assert set(home.iterdir()) == before


def test_a_folder_that_holds_a_run_is_left_alone(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = (home / "run" / "report.json").read_bytes()
    capsys.readouterr()
    assert job(home, "run", "--keep", "0.5") == 2
    assert "holds something already" in capsys.readouterr().err
    assert (home / "run" / "report.json").read_bytes() == report


def test_a_missed_gate_is_exit_code_4(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ("--keep", "0.05", "--epochs", "0", "--no-repair", "--max-drop", "0.01")
    assert job(home, "gate", *flags) == 4
    assert "--max-drop" in capsys.readouterr().err


def test_held_out_images_can_choose_the_ranking(twice: dict[str, Any]) -> None:
    assert len(twice["contest"]) >= 2
    assert twice["contest"][twice["criterion"]] == max(twice["contest"].values())


def write_images(folder: Path, labels: int, per_label: int = 10) -> None:
    """A folder of noise: LABEL/NUMBER.png, 16 x 16 grey pixels."""
    generator = np.random.default_rng(0)
    for label in range(labels):
        (folder / str(label)).mkdir(parents=True)
        for number in range(per_label):
            pixels = generator.integers(0, 256, (16, 16), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / str(label) / f"{number}.png")


def test_data_with_another_number_of_labels_are_refused(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_images(tmp_path / "images", labels=3)
    assert job(home, "other", "--keep", "0.5", "--data", str(tmp_path / "images")) == 3
    line = capsys.readouterr().err
    assert "the network has 10 labels" in line
    assert "images has 3" in line
    assert not (home / "other").exists()


def test_pictures_with_other_channels_are_fed_as_the_network_takes_them_and_it_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(build("vgg6:width=0.125", 10).state_dict(), tmp_path / "rgb.pt")
    argv = ["evaluate", "--model", str(tmp_path / "rgb.pt"), "--arch", "vgg6:width=0.125"]
    assert cli.run([*argv, "--data", "digits"]) == 0
    told = capsys.readouterr().err
    assert "grey pictures are fed in three equal channels" in told
    assert "prune-dl: input: 3 x 16 x 16" in told


def test_a_folder_of_images_that_is_missing_is_named(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert job(home, "other", "--keep", "0.5", "--data", "missing-folder/") == 3
    assert "missing-folder" in capsys.readouterr().err
    assert not (home / "other").exists()


def interrupted(filters: torch.Tensor) -> torch.Tensor:
    """A criterion during which somebody presses Ctrl-C."""
    raise KeyboardInterrupt


def test_an_interrupt_ends_with_130_and_leaves_nothing(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert job(home, "stopped", "--keep", "0.5", "--rank", "test_job:interrupted") == 130
    assert "prune-dl: interrupted" in capsys.readouterr().err
    assert not list(home.glob("*stopped*")) + list(home.glob(".stopped*"))


def test_a_failure_leaves_none_of_the_folders_made_for_it(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="x"), output_folder(tmp_path / "runs" / "vgg"):
        raise ValueError("x")
    assert not list(tmp_path.iterdir())


def test_an_interrupted_retraining_is_resumed_to_the_same_network(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = train.save_state

    def save_and_interrupt(path: Path, *rest: object) -> None:
        save(path, *rest)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    flags = ("--keep", "0.6", "--epochs", "2")
    with monkeypatch.context() as patch:
        patch.setattr(train, "save_state", save_and_interrupt)
        assert job(home, "halted", *flags) == 130
    assert not (home / "halted").exists()
    assert (home / ".halted.partial" / "retraining.pt").exists()
    assert job(home, "halted", *flags, "--resume") == 0
    assert not (home / ".halted.partial").exists()
    rows = (home / "halted" / "metrics.jsonl").read_text().splitlines()
    retrained = [row for row in map(json.loads, rows) if row.get("stage") == "retrain"]
    assert [row["epoch"] for row in retrained] == [1, 2]
    one, other = (load_file(home / name / "model.safetensors") for name in ("run", "halted"))
    assert all(torch.equal(one[key], other[key]) for key in one)
