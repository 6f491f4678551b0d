"""`--label-names` through the commands: pages show the names, files keep the labels."""

import json
import re
from html import unescape
from pathlib import Path

import pytest
from prune_dl.prune.command import cli

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
QUICK = ("--epochs", "0", "--bench-seconds", "0.1", "--images", "400")


@pytest.fixture
def names(tmp_path: Path) -> str:
    (tmp_path / "names.txt").write_text("\n".join(WORDS))
    return str(tmp_path / "names.txt")


@pytest.mark.parametrize("command", [("--keep", "0.5", "--dry-run"), ("rank", "--images", "100")])
def test_a_file_of_another_length_is_refused_before_the_measurement(
    command: tuple[str, ...], trained_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "names").write_text("zero\none\n")
    verb = [command[0]] if command[0] == "rank" else []
    given = ["--model", str(trained_file), *command[len(verb) :], "--out", str(tmp_path / "out")]
    assert cli.run([*verb, *given, "--label-names", str(tmp_path / "names")]) == 3
    told = capsys.readouterr().err
    assert "--label-names given with 2 names (zero, one) for 10 labels" in told
    assert "measure" not in told


def test_names_of_labels_are_refused_where_outputs_judge(
    trained_file: Path, names: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--model", str(trained_file), "--keep", "0.5", "--judge", "outputs"]
    assert cli.run([*given, "--label-names", names]) == 2
    assert "--label-names" in capsys.readouterr().err


@pytest.mark.slow
def test_the_page_of_rank_shows_names(trained_file: Path, names: str, tmp_path: Path) -> None:
    given = ["--model", str(trained_file), "--images", "300", "--out", str(tmp_path / "out")]
    assert cli.run(["rank", *given, "--label-names", names]) == 0
    page = (tmp_path / "out" / "filters.html").read_text()
    content = re.search(r'id="content">(.*?)</script>', page, re.DOTALL)
    assert content
    assert json.loads(unescape(content.group(1)))["labels"] == list(WORDS)


@pytest.mark.slow
def test_a_job_shows_names_and_goes_on_with_them(
    trained_file: Path, names: str, tmp_path: Path
) -> None:
    given = ["--model", str(trained_file), "--labels-kept", "8,3", "5", "--keep", "0.5", *QUICK]
    out = ["--out", str(tmp_path / "run"), "--label-names", names]
    assert cli.run([*given, *out]) == 0
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["model"]["labels"] == ["3", "5", "8"]
    assert report["model"]["label_names"] == ["three", "five", "eight"]
    assert [line["label"] for line in report["label_change"]["labels"]] == report["model"][
        "label_names"
    ]
    page = (tmp_path / "run" / "report.html").read_text()
    assert "three, five, eight of 10" in page
    again = ["--config", str(tmp_path / "run" / "run.json"), "--out", str(tmp_path / "again")]
    assert cli.run([*again, "--dry-run"]) == 0
    options = json.loads((tmp_path / "run" / "run.json").read_text())["options"]
    assert options["label_names"] == names
