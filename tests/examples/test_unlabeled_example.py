"""The comparison with and without labels on a toy: its rows, and going on where it stopped."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


def load_example() -> ModuleType:
    path = ROOT / "examples" / "unlabeled.py"
    spec = importlib.util.spec_from_file_location("unlabeled", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["unlabeled"] = module
    spec.loader.exec_module(module)
    return module


def test_the_same_images_lead_to_nearly_the_same_network_without_labels(
    trained_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    example = load_example()
    options = example.Options(str(trained_file), "digits", tmp_path, 0.6, 600)
    example.main(options)
    lines = capsys.readouterr().out.splitlines()
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[2:]]
    assert [row[0] for row in cells] == ["original", "labels", "answers", "labels, seed 1"]
    assert cells[0][2] == "100.00"
    assert cells[1][5] == "100.0 %"
    by_labels, by_answers = float(cells[1][1]), float(cells[2][1])
    assert abs(by_labels - by_answers) < 5
    assert float(cells[2][5].removesuffix(" %")) > 60
    example.main(options)
    assert capsys.readouterr().out.splitlines() == lines
