"""The example that trains two starts: rows, stopping and going on, the table."""

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
from prune_dl.prune.training import train
from scenes.jobs import FinishedRun

ROOT = Path(__file__).parents[2]


def load_script(path: str) -> ModuleType:
    """A script of the repository as a module."""
    name = Path(path).stem
    spec = importlib.util.spec_from_file_location(name, ROOT / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def argv(trained_file: Path, finished_run: FinishedRun, tmp_path: Path) -> list[str]:
    places = ["--start", str(finished_run.folder), "--out", str(tmp_path / "out")]
    return ["epochs.py", "--model", str(trained_file), "--data", "digits", "--epochs", "2", *places]


@pytest.mark.slow
def test_every_arm_has_a_row_an_epoch_and_a_second_call_trains_nothing(
    argv: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    epochs = load_script("examples/epochs.py")
    monkeypatch.setattr(sys, "argv", argv)
    epochs.main()
    table = (tmp_path / "out" / "epochs.md").read_text()
    lines = table.splitlines()
    assert lines[0] == "| epoch | repaired | l1 |"
    assert [line.split(" | ")[0] for line in lines[2:]] == ["| 0", "| 1", "| 2"]
    figures = [[float(x) for x in line.strip("| ").split(" | ")] for line in lines[2:]]
    assert figures[0][1] > figures[0][2]  # the start of a run that was retrained, here
    assert figures[2][2] > figures[0][2]
    rows = [json.loads(x) for x in (tmp_path / "out" / "l1.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2]
    with monkeypatch.context() as patch:
        patch.setattr(train, "_train_epoch", lambda *_: pytest.fail("an epoch was run again"))
        epochs.main()
    assert (tmp_path / "out" / "epochs.md").read_text() == table
