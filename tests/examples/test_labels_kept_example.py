"""The comparison of kept labels with blind pruning, on a toy: rows, resuming, and the table."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import torch
from prune_dl.prune.command.opening import open_case
from prune_dl.prune.options import DataOptions, NetworkOptions, RunOptions
from prune_dl.prune.progress import RunLog

FILE = Path(__file__).parents[2] / "examples" / "labels_kept.py"


def load_example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("labels_kept_example", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_rows_are_measured_once_and_stand_beside_each_other(
    trained_file: Path, tmp_path: Path
) -> None:
    example = load_example()
    shared = {"images": 400, "device": "cpu"}

    def cell(arm: str, macs: float, epochs: int) -> object:
        return example.Cell(str(trained_file), "digits", "3,8", arm, macs, epochs, **shared)

    whole = example.Cell(str(trained_file), "digits", "3,8", "kept", 1.0, 0, device="cpu")
    cells = [whole, cell("kept", 0.3, 0), cell("kept", 0.3, 1), cell("blind", 0.3, 0)]
    rows = example.run(cells, tmp_path)
    assert [row.cell for row in rows] == cells
    assert {row.total for row in rows} == {72}
    assert [round(row.macs_share, 1) for row in rows] == [1.0, 0.3, 0.3, 0.3]
    assert min(row.correct for row in rows) > 50
    before = (tmp_path / "rows.jsonl").read_bytes()
    assert example.run(cells, tmp_path) == rows
    assert (tmp_path / "rows.jsonl").read_bytes() == before
    table = (tmp_path / "table.md").read_text().splitlines()
    assert table[2].startswith("| 3,8 | 30% | 0 | mechanism | 400 | 0 |")
    assert table[2].count("%") == 1
    assert {line.count("|") for line in table} == {10}


def test_a_whole_network_is_judged_by_its_answers_among_the_labels(trained_file: Path) -> None:
    example = load_example()
    options = NetworkOptions(str(trained_file)), DataOptions(data="digits")
    _, case = open_case(*options, RunOptions(device="cpu"), RunLog())
    found = example.accuracy_among(case, case.model, ["3", "8"])
    images, labels_N = next(case.data.test.batches(1000, device="cpu"))
    kept = (labels_N == 3) | (labels_N == 8)
    with torch.no_grad():
        answers = case.model(images[kept])[:, [3, 8]].argmax(1)
    assert (found.correct, found.total) == (
        int((answers == (labels_N[kept] == 8)).sum()), int(kept.sum())
    )  # fmt: skip
