"""What a point of a sweep keeps for its forecast: the repaired stage, and why there is none."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prune_dl.prune.budget import Budget
from prune_dl.prune.command.sweep import forecasts
from prune_dl.prune.command.sweep.forecasts import read_forecasts, write_forecast
from prune_dl.prune.command.trees import Sweep
from prune_dl.prune.job.repair_and_check import REFITTED
from prune_dl.prune.options import NetworkOptions, SelectOptions
from prune_dl.prune.progress import RunLog
from prune_dl.prune.scores import Accuracy
from scenes.report_samples import sample_forecast


def write(folder: Path, applied: str = REFITTED, **sensitivity: float) -> None:
    folder.mkdir(parents=True)
    scores = {"original": 95, "removed": 10, "repaired": 80, "retrained": 92, "final": 92}
    planned: Any = SimpleNamespace(
        left=SimpleNamespace(macs=50),
        original=SimpleNamespace(macs=200),
        measured=SimpleNamespace(sensitivity=sensitivity),
        ranking=None,
        plan=None,
        depth=None,
    )
    outcome: Any = SimpleNamespace(
        held_out={stage: Accuracy(correct, 100) for stage, correct in scores.items()},
        facts={"applied": applied},
    )
    data = SimpleNamespace(multi_label=False)
    case: Any = SimpleNamespace(log=RunLog(show=False), data=data)
    write_forecast(folder, case, planned, outcome, Budget("macs", 0.25), SelectOptions())


def options() -> Sweep:
    return Sweep(network=NetworkOptions(model="m.pt"), macs=(0.5, 0.25))


def test_a_sweep_that_retrains_keeps_the_score_of_the_repaired_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def forecast(*given: Any) -> Any:
        asked.append(given[-1].budget)
        return sample_forecast()

    monkeypatch.setattr(forecasts, "make_forecast", forecast)
    monkeypatch.setattr(forecasts, "expected_loss", lambda *_: 0.5)
    monkeypatch.setattr(forecasts, "change_per_loss", lambda *_: 0.25)
    write(tmp_path / "macs-0.25", stem=1.0)
    (found,) = read_forecasts(options(), tmp_path)
    assert asked == [Budget("macs", 0.25)]
    assert (found.name, found.share) == ("macs 0.25", 0.25)
    assert (found.original, found.measured) == (0.95, 0.8)
    assert (found.low, found.high) == (Accuracy(80, 100).low, Accuracy(80, 100).high)
    assert (found.loss, found.change_per_loss) == (0.5, 0.25)
    assert found.forecast == sample_forecast()


@pytest.mark.parametrize(
    ("applied", "sensitivity", "why"),
    [
        (REFITTED, {}, "no sensitivity was measured (a forecast takes allocate=output)"),
        ("repair", {"stem": 1.0}, "its refit was not kept"),
        (REFITTED, {"stem": 1.0}, "its outputs did not change"),
    ],
)
def test_why_there_is_none_is_kept(
    applied: str,
    sensitivity: dict[str, float],
    why: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(forecasts, "make_forecast", lambda *_: None)
    write(tmp_path / "macs-0.25", applied, **sensitivity)
    (found,) = read_forecasts(options(), tmp_path)
    assert found.forecast is None
    assert found.why_none == f"macs 0.25: {why}"
