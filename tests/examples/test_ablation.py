"""The ablation's code path on a toy: rows, resuming, and the table."""

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

ROOT = Path(__file__).parents[2]


def load_ablation() -> ModuleType:
    spec = importlib.util.spec_from_file_location("ablation", ROOT / "examples" / "ablation.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["ablation"] = module
    spec.loader.exec_module(module)
    return module


def test_arms_share_their_seed_and_are_measured_once(
    trained_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ablation = load_ablation()
    question = ablation.Question(str(trained_file), "digits", 0.3, 400, 100)
    arms = ["mechanism", "random-error"]
    rows = ablation.run(question, arms, [0, 1], tmp_path)
    assert [(row.arm, row.seed) for row in rows] == [(a, s) for s in (0, 1) for a in arms]
    assert all(row.macs_share == pytest.approx(0.3, rel=0.02) for row in rows)
    assert len({row.divergence for row in rows}) == 4
    monkeypatch.setattr(ablation, "measure_seed", None)  # nothing is measured again
    assert ablation.run(question, arms, [0, 1], tmp_path) == rows
    lines = (tmp_path / "rows.jsonl").read_text().splitlines()
    assert [json.loads(line)["row"]["arm"] for line in lines] == arms * 2
    table = (tmp_path / "0.3.md").read_text().splitlines()
    assert table[2].startswith("| mechanism | 2 | ")
    assert "| +0.00 ± 0.00 |" in table[2]
    assert table[3].count("|") == table[0].count("|")


def test_every_arm_has_a_known_criterion_and_allocation(trained_file: Path) -> None:
    ablation = load_ablation()
    question = ablation.Question(str(trained_file), "digits", 0.3)
    for arm, (rank, allocate) in ablation.ARMS.items():
        select = ablation.settings_of(question, arm).select
        assert (select.rank, select.allocate) == (rank, allocate)
        assert f"| {arm} " in ablation.__doc__


def test_divergence_is_that_of_the_probabilities() -> None:
    ablation = load_ablation()
    expected, found = (
        torch.tensor([[0.0, 0.0]]),
        torch.tensor([[5.0, 5.0 + torch.log(torch.tensor(3.0))]]),
    )
    assert ablation.divergence(expected, expected + 3) == pytest.approx(0)
    half = torch.tensor(0.5)
    by_hand = half * torch.log(half / 0.25) + half * torch.log(half / 0.75)
    assert ablation.divergence(expected, found) == pytest.approx(float(by_hand))
