"""The contest's code path on a toy: rows, resuming, and the table."""

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


def load_contest() -> ModuleType:
    """The example, which finds its neighbour when it is run as a script."""
    sys.path.insert(0, str(ROOT / "examples"))
    spec = importlib.util.spec_from_file_location("contest", ROOT / "examples" / "contest.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["contest"] = module
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(ROOT / "examples"))
    return module


def test_arms_are_measured_once_and_the_table_ranks_them(
    trained_file: Path, tmp_path: Path
) -> None:
    contest = load_contest()
    settings = contest.Settings(str(trained_file), "digits", 0.5, 600, 2, 1, 0.02, 0.7, "sr", 100)
    arms = ["mechanism", "random-unrepaired"]
    rows = contest.run(settings, arms, [0], tmp_path)
    assert [row.arm for row in rows] == arms
    for row in rows:
        assert row.macs_share == pytest.approx(0.5, rel=0.02)
        assert 0 <= row.norms <= 1
        assert row.trained is not None
        assert row.trained_epochs is not None
    assert rows[0].no_step > rows[1].no_step
    again = contest.run(settings, arms, [0], tmp_path)
    assert again == rows
    lines = (tmp_path / "rows.jsonl").read_text().splitlines()
    assert [json.loads(line)["row"]["arm"] for line in lines] == arms
    table = (tmp_path / "0.5.md").read_text().splitlines()
    assert table[2].startswith("| mechanism | 1 |")
    assert table[2].count("|") == table[0].count("|")
    assert "mechanism" in (tmp_path / "0.5.html").read_text()
    assert len(json.loads((tmp_path / "0.5.json").read_text())["rows"]) == 2


@pytest.mark.slow
def test_a_peer_reaches_the_same_budget(trained_file: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch_pruning")
    contest = load_contest()
    settings = contest.Settings(str(trained_file), "digits", 0.5, 600, 0, 0, 0.02, 0.7, "sr", 100)
    row = contest.run(settings, ["tp-l2"], [0], tmp_path)[0]
    assert row.macs_share == pytest.approx(0.5, abs=0.04)
    assert row.trained is None


def test_a_peer_that_fails_is_a_row_with_its_error(
    trained_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contest = load_contest()

    def broken(*_: object) -> None:
        raise ZeroDivisionError("by no channels")

    monkeypatch.setattr(contest, "peer", broken)
    settings = contest.Settings(str(trained_file), "digits", 0.5, 600, 0, 0, 0.02, 0.7, "sr", 100)
    row = contest.run(settings, ["tp-l2"], [0], tmp_path)[0]
    assert (row.no_step, row.error) == (None, "ZeroDivisionError: by no channels")
    table = (tmp_path / "0.5.md").read_text()
    assert "| tp-l2 | 1 | not run |" in table
    assert "- tp-l2 fails: ZeroDivisionError: by no channels" in table
