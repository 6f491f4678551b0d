"""What every point of a sweep measured after its repair, and its forecast of other budgets."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ....evaluate.report.expected_score import RepairedNetwork
from ...budget import Budget
from ...files import read_bytes, write_json
from ...job.forecast import change_per_loss, expected_loss, forecast_obstacle, make_forecast
from ...job.known import Case, Planned
from ...job.stages import Outcome
from ...options import SelectOptions
from ...typed import from_json
from ..trees import Sweep
from .budgets import budgets_of
from .folder import folder_of

FORECAST = "forecast.json"


def write_forecast(
    folder: Path,
    case: Case,
    planned: Planned,
    outcome: Outcome,
    budget: Budget,
    select: SelectOptions,
) -> None:
    """Keep the repaired network's held-out score, and its forecast, beside its other files.

    Args:
        select: how all points of the sweep are made, without a budget.
    """
    given: dict[str, Any] = {budget.kind: budget.value}
    select = replace(select, **given)
    score = outcome.held_out["repaired"]
    network = RepairedNetwork(
        budget.name,
        planned.left.macs,
        planned.original.macs,
        outcome.held_out["original"].value,
        score.value,
        score.low,
        score.high,
    )
    with case.log.stage("forecast"):
        forecast = make_forecast(case, planned, outcome, select)
    if forecast is None:
        why = forecast_obstacle(case, planned, outcome, select) or "its outputs did not change"
        network = replace(network, why_none=f"{budget.name}: {why}")
    else:
        network = replace(
            network,
            loss=expected_loss(planned.measured, planned.ranking, planned.plan),
            change_per_loss=change_per_loss(forecast, planned, select),
            forecast=forecast,
        )
    write_json(folder / FORECAST, asdict(network))


def read_forecasts(options: Sweep, out: Path) -> tuple[RepairedNetwork, ...]:
    """Read back what `write_forecast` wrote; points that were never repaired have none.

    Raises:
        InputError: a file does not hold it.
    """
    files = [folder_of(out, budget.name) / FORECAST for budget in budgets_of(options)]
    return tuple(
        from_json(read_bytes(file), RepairedNetwork, str(file)) for file in files if file.is_file()
    )
