"""`--labels-kept` through the commands: what the run, its files and later runs of them know."""

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from prune_dl.export.metadata import read_metadata
from prune_dl.prune import load
from prune_dl.prune.command import cli
from prune_dl.prune.inputs.checkpoint import load_checkpoint
from prune_dl.prune.inputs.data import open_data
from prune_dl.prune.job import stages
from prune_dl.prune.job.kept import Kept

QUICK = ("--epochs", "0", "--bench-seconds", "0.1", "--images", "600")


def run(*words: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    code = cli.run([*words])
    told = capsys.readouterr()
    return code, told.out, told.err


def evaluated(model: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    code, out, err = run("evaluate", "--model", str(model), "--json", capsys=capsys)
    assert code == 0, err
    found: dict[str, Any] = json.loads(out)
    return found


@pytest.fixture(scope="module")
def few(trained_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that kept three labels and half of the filters."""
    home = tmp_path_factory.mktemp("few")
    places = ("--out", str(home / "run"), "--hub-folder", str(home / "hub"))
    argv = ["--model", str(trained_file), "--labels-kept", "8,3", "5", "--keep", "0.5"]
    assert cli.run([*argv, *places, *QUICK]) == 0
    return home / "run"


def test_the_report_is_of_the_kept_labels_alone(few: Path, trained_file: Path) -> None:
    report = json.loads((few / "report.json").read_text())
    model = report["model"]
    assert (model["labels"], model["num_labels"], model["all_labels"]) == (["3", "5", "8"], 3, 10)
    test = open_data("digits").test
    of_kept = sum(int((test.labels_N == label).sum()) for label in (3, 5, 8))
    accuracy = report["accuracy"]
    assert {accuracy[stage]["total"] for stage in ("original", "final")} == {of_kept}
    original = load_checkpoint(str(trained_file)).model
    images, labels_N = next(test.batches(1000, device="cpu"))
    kept = torch.isin(labels_N, torch.tensor([3, 5, 8]))
    with torch.no_grad():
        answers = original(images[kept])[:, [3, 5, 8]].argmax(1)
    right = torch.tensor([3, 5, 8])[answers] == labels_N[kept]
    assert accuracy["original"]["correct"] == int(right.sum())
    assert accuracy["final"]["top1"] > 0.9
    assert any(text.startswith("Labels kept: 3, 5, 8 of 10") for text in report["warnings"])
    page = (few / "report.html").read_text()
    assert "3, 5, 8 of 10" in page
    assert "its classifier cut to the kept labels" in page


def test_every_file_of_the_run_has_the_kept_labels(few: Path) -> None:
    assert json.loads(read_metadata(few / "model.onnx")["labels"]) == ["3", "5", "8"]
    config = json.loads((few.parent / "hub" / "config.json").read_text())
    assert config["id2label"] == {"0": "3", "1": "5", "2": "8"}
    saved = load_checkpoint(str(few))
    assert saved.origin.labels_kept == (3, 5, 8)
    assert saved.origin.num_labels == 10
    assert saved.kept["classifier.weight", 0].tolist() == [3, 5, 8]
    reloaded = load(few / "model.safetensors")
    images = torch.zeros(2, 1, 16, 16)
    assert torch.equal(reloaded(images), saved.model(images))
    assert reloaded(images).shape == (2, 3)


def test_a_reloaded_network_finds_the_images_of_its_labels(
    few: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    final = json.loads((few / "report.json").read_text())["accuracy"]["final"]
    found = evaluated(few, capsys)
    assert (found["correct"], found["total"]) == (final["correct"], final["total"])
    export = ("export", "--model", str(few), "--out", str(tmp_path / "few.onnx"), "--json")
    code, out, err = run(*export, capsys=capsys)
    assert code == 0, err
    assert "the network tells 3, 5, 8 apart, of 10 labels" in err
    assert json.loads(out)["top1_agreement"] == 1.0


def test_data_of_the_kept_labels_alone_do_as_well(
    few: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pixels, labels_N = next(
        open_data("digits", mean=(0.0,), std=(1.0,)).test.batches(400, device="cpu")
    )
    for label in (3, 5, 8):
        for number, image in enumerate(pixels[labels_N == label][:20]):
            place = tmp_path / ("train" if number % 2 else "test") / str(label)
            place.mkdir(parents=True, exist_ok=True)
            grey = (255 * image[0]).round().to(torch.uint8).numpy()
            Image.fromarray(grey).save(place / f"{number}.png")
    given = ("evaluate", "--model", str(few), "--data", str(tmp_path), "--json")
    code, out, err = run(*given, capsys=capsys)
    assert code == 0, err
    assert json.loads(out)["total"] == 30
    assert json.loads(out)["correct"] > 25


@pytest.mark.slow
def test_what_was_cut_can_be_cut_again(
    few: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    again = ("--model", str(few), "--labels-kept", "3", "8", "--keep", "0.8", *QUICK)
    code, _, err = run(*again, "--out", str(tmp_path / "run"), capsys=capsys)
    assert code == 0, err
    saved = load_checkpoint(str(tmp_path / "run"))
    assert saved.origin.labels_kept == (3, 8)
    assert saved.kept["classifier.weight", 0].tolist() == [3, 8]
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert evaluated(tmp_path / "run", capsys)["correct"] == report["accuracy"]["final"]["correct"]


@pytest.mark.slow
def test_rank_and_sweep_take_kept_labels(
    trained_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shared = ("--model", str(trained_file), "--labels-kept", "1,7,9", "--images", "600")
    code, _, err = run("rank", *shared, "--out", str(tmp_path / "rank"), capsys=capsys)
    assert code == 0, err
    with (tmp_path / "rank" / "filters.csv").open() as stream:
        clusters = {row["clusters"] for row in csv.DictReader(stream)}
    assert {label for x in clusters for label in re.findall(r"\d+", x)} == {"1", "7", "9"}
    formats = ("--no-fp16", "--no-int8", "--bench-seconds", "0.1")
    swept = ("sweep", *shared, "--keep", "0.5", *formats, "--out", str(tmp_path / "sweep"))
    code, _, err = run(*swept, capsys=capsys)
    assert code == 0, err
    place = next((tmp_path / "sweep").glob("*/model.safetensors"))
    assert load_checkpoint(str(place)).origin.labels == ("1", "7", "9")


@pytest.mark.slow
def test_a_run_goes_on_with_the_same_labels_alone(
    trained_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    given = ("--model", str(trained_file), "--keep", "0.6", "--out", str(tmp_path / "run"), *QUICK)
    with monkeypatch.context() as patch:
        patch.setattr(Kept, "seconds", 0.0)
        patch.setattr(stages, "repair_once", interrupt)
        assert cli.run([*given, "--labels-kept", "1,7"]) == 130
    code, _, err = run(*given, "--labels-kept", "1,8", "--resume", capsys=capsys)
    assert code == 2
    assert "another --labels-kept (1, 7 then, 1, 8 now)" in err
    code, _, err = run(*given, "--labels-kept", "1,7", "--resume", capsys=capsys)
    assert code == 0, err
    assert load_checkpoint(str(tmp_path / "run")).origin.labels_kept == (1, 7)


@pytest.mark.parametrize(
    ("kept", "told"),
    [
        (("3", "x8"), "--labels-kept x8 given, which is no label of --data digits"),
        (("3",), "--labels-kept given with 1 label of 10"),
    ],
)
def test_labels_that_do_not_exist_end_the_run_before_any_work(
    trained_file: Path,
    tmp_path: Path,
    kept: tuple[str, ...],
    told: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = ("--model", str(trained_file), "--keep", "0.5", "--out", str(tmp_path / "run"))
    code, _, err = run(*given, "--labels-kept", *kept, capsys=capsys)
    assert (code, told in err) == (2, True), err
    assert not (tmp_path / "run").exists()


def test_less_depth_and_fewer_labels_are_two_runs(
    trained_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ("--model", str(trained_file), "--keep", "0.5", "--cut-depth", "--labels-kept", "1,2")
    code, _, err = run(*given, capsys=capsys)
    assert code == 2
    assert "--labels-kept given with --cut-depth" in err


def test_commands_that_choose_no_filters_have_no_such_option(
    trained_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in ("evaluate", "export"):
        code, _, err = run(
            command, "--model", str(trained_file), "--labels-kept", "1", capsys=capsys
        )
        assert (code, "--labels-kept" in err) == (2, True)
