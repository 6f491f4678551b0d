"""Every command on a folder of pictures that nobody sorted by label."""

import csv
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from prune_dl.prune.command import cli
from scenes.jobs import job
from scenes.pictures import write_digits

LABELS = [f"digit {k}" for k in range(10)]


@pytest.fixture(scope="module")
def home(trained_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a trained network, digits.pt, and pictures at the root of pictures/."""
    folder = tmp_path_factory.mktemp("unlabeled")
    shutil.copy(trained_file, folder)
    write_digits(folder / "pictures", 700)
    return folder


@pytest.fixture(scope="module")
def run(home: Path) -> Path:
    """The whole job on them, with the folder for the Hub."""
    (home / "names.txt").write_text("\n".join(LABELS))
    places = ("--data", str(home / "pictures"), "--hub-folder", str(home / "hub"))
    names = ("--labels", str(home / "names.txt"))
    assert job(home, "run", *places, *names, "--keep", "0.6", "--epochs", "1") == 0
    return home / "run"


def report_of(run: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((run / "report.json").read_text())
    return report


def test_what_was_accuracy_is_called_fidelity_in_every_file(run: Path, home: Path) -> None:
    report = report_of(run)
    assert "accuracy" not in report
    assert report["fidelity"]["original"]["fidelity"] == 1
    final = report["fidelity"]["final"]
    assert 0.7 < final["low"] < final["fidelity"] <= 1
    assert final["same"] == round(final["fidelity"] * final["total"])
    assert report["held_out"]["final"].keys() == final.keys()
    assert report["model"]["labels"] == LABELS
    assert any("no label folders" in note for note in map(str.lower, report["warnings"]))
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert {"train_fidelity", "held_out_fidelity"} <= rows[0].keys()
    assert "test_fidelity" in rows[-1]
    card = (home / "hub" / "README.md").read_text()
    assert "fidelity (95 % interval)" in card
    page = re.sub(r"<script>.*?</script>", "", (run / "report.html").read_text(), flags=re.DOTALL)
    assert "by definition" in page
    assert "Fidelity, test part" in page
    assert "fidelity on the test part, %" in page
    page = page.replace("figure-accuracy", "")  # a name within the page
    for text in (json.dumps(report), json.dumps(rows), card, page):
        assert "top-1" not in text
        assert not re.search(r"top1\b|top1_(?!agreement)", text)
        assert "ccuracy" not in text


@pytest.mark.slow
def test_a_person_reads_fidelity(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["--model", str(home / "digits.pt"), "--data", str(home / "pictures"), "--macs", "0.9"]
    quick = ("--max-drop", "90", "--epochs", "0", "--images", "300", "--bench-seconds", "0.1")
    assert cli.run([*argv, *quick, "--out", str(home / "read")]) == 0
    said = capsys.readouterr()
    assert re.search(r"original .* by definition", said.out)
    assert "fidelity on the test part" in said.out
    assert "accuracy" not in said.out
    assert "taken as unlabeled (--unlabeled)" in said.err


def test_folders_are_no_labels_where_the_user_says_so(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_digits(home / "by_day" / "train" / "monday", 300).parents[1]
    write_digits(folder / "train" / "tuesday" / "late", 100, first=300)
    write_digits(folder / "test", 100, first=400)
    quick = ("--keep", "0.6", "--images", "200", "--dry-run")
    assert job(home, "x", "--data", str(folder), *quick) == 3
    assert "--unlabeled" in capsys.readouterr().err
    assert job(home, "x", "--data", str(folder), "--unlabeled", *quick) == 0
    assert "taken as unlabeled" not in capsys.readouterr().err


def test_rank_says_what_filters_select_among_the_networks_answers(home: Path) -> None:
    places = ("--data", str(home / "pictures"), "--out", str(home / "ranked"))
    assert cli.run(["rank", "--model", str(home / "digits.pt"), "--images", "300", *places]) == 0
    assert (home / "ranked" / "filters.csv").is_file()


@pytest.mark.slow
def test_a_sweep_compares_by_fidelity(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = home / "swept"
    places = ("--data", str(home / "pictures"), "--out", str(out), "--bench-seconds", "0.1")
    quick = ("--keep", "0.6", "--images", "300", "--no-fp16", "--no-int8")
    assert cli.run(["sweep", "--model", str(home / "digits.pt"), *places, *quick]) == 0
    assert "fidelity" in capsys.readouterr().out
    points = json.loads((out / "tradeoff.json").read_text())["points"]
    assert points[0]["fidelity"] == 1
    assert points[1]["fidelity_low"] < points[1]["fidelity"]
    with (out / "tradeoff.csv").open() as lines:
        assert "top1" not in next(csv.reader(lines))
    page = re.sub(r"<script>.*?</script>", "", (out / "tradeoff.html").read_text(), flags=re.DOTALL)
    assert "Fidelity against latency" in page
    assert "ccura" not in page
    assert "op-1" not in page


def test_an_exported_file_has_its_fidelity(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = home / "exported.onnx"
    argv = ["export", "--model", str(home / "digits.pt"), "--data", str(home / "pictures")]
    assert cli.run([*argv, "--out", str(file), "--test", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["held_out_fidelity"] == result["test_fidelity"] == 1


@pytest.mark.parametrize(
    ("argv", "code", "said"),
    [
        (["--keep", "0.6", "--label-order", "natural"], 2, "which have no order"),
        (["--keep", "0.6", "--no-distill"], 2, "original's answers alone"),
        (["--keep", "0.6", "--labels", "two.txt"], 3, "for a network of 10 outputs"),
        (["evaluate"], 3, "no labels to measure an accuracy with"),
        (["train", "--arch", "vgg6"], 3, "holds no label folders"),
        (["train", "--arch", "vgg6", "--unlabeled"], 2, "which this command does not have"),
    ],
)
def test_what_labels_are_needed_for_is_refused(
    home: Path,
    argv: list[str],
    code: int,
    said: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(home)
    Path("two.txt").write_text("a\nb\n")
    model = [] if "train" in argv else ["--model", "digits.pt"]
    out = [] if "evaluate" in argv else ["--out", "refused"]
    assert cli.run([*argv, *model, "--data", "pictures", *out]) == code
    error = capsys.readouterr().err
    assert said in error
    assert "`" not in error


def test_pictures_that_are_all_alike_are_refused(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for place in range(20):
        Image.fromarray(np.zeros((16, 16), dtype=np.uint8)).save(tmp_path / f"{place}.png")
    assert job(home, "alike", "--data", str(tmp_path), "--keep", "0.6") == 3
    assert "16 images given, all with the network's answer" in capsys.readouterr().err


@pytest.mark.slow
def test_a_drop_of_fidelity_fails_the_gate(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gate = ("--keep", "0.05", "--max-drop", "0", "--epochs", "0", "--no-repair", "--images", "200")
    assert job(home, "gate", "--data", str(home / "pictures"), *gate) == 4
    assert "held-out fidelity fell by" in capsys.readouterr().err
