"""The forecast of other budgets: its rule against a simulation, and where there is none."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from prune_dl.evaluate.report.forecast_chart import command_for
from prune_dl.prune.budget import Budget
from prune_dl.prune.inputs.checkpoint import load_checkpoint
from prune_dl.prune.inputs.data import open_data
from prune_dl.prune.job.forecast import (
    SHARES,
    change_per_loss,
    expected_accuracy,
    expected_loss,
    forecast_obstacle,
    make_forecast,
)
from prune_dl.prune.job.known import Case
from prune_dl.prune.job.repair_and_check import REFITTED
from prune_dl.prune.job.steps import plan_and_carry_out
from prune_dl.prune.options import RetrainOptions, SelectOptions, Settings


def test_expected_accuracy_is_that_of_noisy_outputs() -> None:
    rng = np.random.default_rng(0)
    scores_NK, labels_N = rng.normal(0, 2, (40, 5)), rng.integers(0, 5, 40)
    change = 0.3
    centred_NK = scores_NK - scores_NK.mean(1, keepdims=True)
    noise = np.sqrt(change * np.square(centred_NK).sum(1).mean() / 4)
    drawn = scores_NK + noise * rng.normal(size=(20_000, 40, 5))
    simulated = (drawn.argmax(2) == labels_N).mean()
    assert expected_accuracy(scores_NK, labels_N, change) == pytest.approx(simulated, abs=2e-3)


def test_without_a_change_accuracy_is_what_it_is_and_with_much_it_is_chance() -> None:
    rng = np.random.default_rng(1)
    scores_NK, labels_N = rng.normal(size=(300, 4)), rng.integers(0, 4, 300)
    now = float((scores_NK.argmax(1) == labels_N).mean())
    assert expected_accuracy(scores_NK, labels_N, 0.0) == now
    assert expected_accuracy(scores_NK, labels_N, 1e-9) == pytest.approx(now, abs=1e-3)
    assert expected_accuracy(scores_NK, labels_N, 1e9) == pytest.approx(1 / 4, abs=1e-3)


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (
            "prune-dl --model a.pt --keep=0.5 --out=o",
            "prune-dl --model a.pt --macs 0.3 --out o-macs-0.3",
        ),
        ("prune-dl demo --out demo", "prune-dl --model a.pt --macs 0.3 --out runs/a-macs-0.3"),
        (
            "prune-dl --model a.pt --latency-ms 3 --resume --hub-folder h",
            "prune-dl --model a.pt --macs 0.3 --out runs/a-macs-0.3",
        ),
    ],
)
def test_the_command_of_another_budget(command: str, expected: str) -> None:
    assert command_for(command, "a.pt", "macs", 0.3) == expected


@pytest.mark.slow
def test_forecast_meets_its_own_run_and_falls_with_the_budget(trained_file: Path) -> None:
    case = Case(load_checkpoint(str(trained_file)).model, open_data("digits"), torch.device("cpu"))
    select = SelectOptions(macs=0.5, images=600)
    planned, outcome = plan_and_carry_out(case, Settings(select, RetrainOptions(epochs=0)))
    forecast = make_forecast(case, planned, outcome, select)
    assert forecast is not None
    assert (forecast.kind, forecast.measured) == ("macs", outcome.held_out["repaired"].value)
    changes = [point.change for point in forecast.points]
    assert changes == sorted(changes)
    assert {point.share for point in forecast.points} <= set(SHARES)
    own = next(point for point in forecast.points if point.share == Budget("macs", 0.5).value)
    assert own.macs == planned.left.macs
    assert own.value == pytest.approx(forecast.measured, abs=0.02)
    loss = expected_loss(planned.measured, planned.ranking, planned.plan)
    assert change_per_loss(forecast, planned, select) * loss == pytest.approx(own.change)
    for other in (replace(select, allocate="error"), replace(select, steps=2)):
        is_measured = other.allocate == "output"
        blind = replace(planned.measured, sensitivity={})
        now = planned if is_measured else replace(planned, measured=blind)
        assert make_forecast(case, now, outcome, other) is None
    other_repair = replace(outcome, facts={"applied": "repair"})
    assert make_forecast(case, planned, other_repair, select) is None


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({}, ""),
        ({"sensitivity": {}}, "no sensitivity was measured (a forecast takes allocate=output)"),
        ({"depth": "a cut"}, "it was cut in depth"),
        ({"steps": 3}, "it was made in several steps"),
        ({"applied": "repair"}, "its refit was not kept"),
        ({"multi_label": True}, "an image may have several labels"),
    ],
)
def test_what_keeps_a_run_from_a_forecast_is_named(changes: dict[str, Any], why: str) -> None:
    usual = {
        "sensitivity": {"stem": 1.0},
        "depth": None,
        "steps": 1,
        "applied": REFITTED,
        "multi_label": False,
    }
    is_so = SimpleNamespace(**(usual | changes))
    case: Any = SimpleNamespace(data=is_so)
    planned: Any = SimpleNamespace(measured=is_so, depth=is_so.depth)
    outcome: Any = SimpleNamespace(facts={"applied": is_so.applied})
    select: Any = is_so
    assert forecast_obstacle(case, planned, outcome, select) == why
