"""Budgets: one value, its range, its words; and what each kind leads to."""

from dataclasses import replace
from typing import Any, cast

import pytest
import torch
from prune_dl.evaluate.measure.accuracy import Accuracy
from prune_dl.prune.budget import COUNTED, Budget, Kind, stated_budget
from prune_dl.prune.errors import UsageError
from prune_dl.prune.inputs.data import open_data
from prune_dl.prune.job import budget as job_budget
from prune_dl.prune.job.budget import counted_plan, plan_within
from prune_dl.prune.job.known import Case, Measured
from prune_dl.prune.job.latency_budget import Timed, Yardstick
from prune_dl.prune.mechanism.spectrum import Spectrum
from prune_dl.prune.mechanism.statistics import Statistics
from prune_dl.prune.options import SelectOptions, Settings
from prune_dl.prune.progress import RunLog
from prune_dl.prune.selection.criteria import rank_units
from prune_dl.prune.selection.evidence import Evidence
from prune_dl.prune.structure.cost import CostModel
from prune_dl.prune.structure.tracing.trace import trace
from torch import nn


@pytest.mark.parametrize("kind", COUNTED)
@pytest.mark.parametrize("value", [0.0, -0.5, 1.2, float("nan")])
def test_a_share_lies_above_0_and_is_at_most_1(kind: Kind, value: float) -> None:
    with pytest.raises(UsageError, match=f"`{kind}={value}` given; expected a share above 0"):
        Budget(kind, value)


@pytest.mark.parametrize(("kind", "value"), [("latency_ms", 0.0), ("max_drop", -1.0)])
def test_milliseconds_and_points_have_ranges_too(kind: Kind, value: float) -> None:
    with pytest.raises(UsageError, match=f"`{kind}={value}` given; expected"):
        Budget(kind, value)


@pytest.mark.parametrize(
    ("given", "budget"),
    [
        ({"keep": 0.5}, Budget("keep", 0.5)),
        ({"latency_ms": 3.0, "max_drop": 1.0}, Budget("latency_ms", 3.0)),
        ({"max_drop": 1.0}, Budget("max_drop", 1.0)),
    ],
)
def test_a_drop_is_a_budget_where_it_is_alone(given: dict[Kind, float], budget: Budget) -> None:
    assert stated_budget({"params": None, **given}) == budget


@pytest.mark.parametrize(
    ("given", "words"),
    [({}, "no budget given"), ({"keep": 0.5, "macs": 0.5}, "`keep` and `macs` given")],
)
def test_one_budget_is_needed(given: dict[Kind, float], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        stated_budget(given)


def test_steps_reach_the_budget_together() -> None:
    left = 1.0
    for step in (1, 2, 3):
        left *= Budget("macs", 0.3).of_step(step, 3, left).value
    assert left == pytest.approx(0.3)


def scene(width: int) -> tuple[Case, Measured]:
    """A network of one wide layer on the digits, of which nothing was measured."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(width, 10),
    )
    structure = trace(model, torch.randn(2, 1, 16, 16))
    nothing = cast(Statistics, None), cast(Spectrum, None)
    measured = Measured(structure, CostModel.of(model, structure), *nothing)
    return Case(model, open_data("digits"), torch.device("cpu")), measured


def test_any_widths_of_a_latency_budget_are_not_only_round_ones(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a machine whose time is that share of 2 ms which the first layer has of its filters."""
    case, measured = scene(64)

    def measure(_: object, model: Any, *__: object, **___: object) -> Timed:
        return Timed(*[2.0 * model[0].out_channels / 64] * 3)

    monkeypatch.setattr(
        Yardstick, "of", lambda *_: Yardstick(*[cast(Any, None)] * 2, 2.0, cast(Any, None))
    )
    monkeypatch.setattr(Yardstick, "measure", measure)
    monkeypatch.setattr(job_budget, "top1_after_repair", lambda *_, **__: 1.0)
    select = SelectOptions(latency_ms=1.82, allocate="error")
    ranking = rank_units("l1", Evidence(case.model, measured.structure))
    case = replace(case, log=RunLog(show=True))
    fitted = plan_within(case, measured, ranking, select.budget, Settings(select))
    assert len(fitted.plan.layers[0].kept) == 58
    said = capsys.readouterr().err.splitlines()
    assert said[0].startswith("  network 1 of at most 12 with any widths: ")
    assert said[-1].endswith(" ms when timed again")
    assert "`latency_ms=1.82` led to" in fitted.note
    round_ones = counted_plan(measured, ranking, Budget("macs", 0.92), select)
    assert len(round_ones.layers[0].kept) == 60


def test_a_drop_leads_to_the_thinnest_network_that_keeps_to_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where every filter that goes costs a point of accuracy, ten points are ten filters."""
    case, measured = scene(100)
    case.__dict__["accuracy"] = Accuracy(90, 100)

    def top1(_: object, __: object, plan: Any, **___: object) -> float:
        return 0.9 - 0.01 * (100 - len(plan.layers[0].kept))

    monkeypatch.setattr(job_budget, "top1_after_repair", top1)
    select = SelectOptions(max_drop=10.0, allocate="error", multiple=1)
    ranking = rank_units("l1", Evidence(case.model, measured.structure))
    fitted = plan_within(case, measured, ranking, select.budget, Settings(select))
    assert 90 <= len(fitted.plan.layers[0].kept) <= 91
    assert "`max_drop=10.0` led to" in fitted.note
