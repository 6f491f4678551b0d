"""A plan and all that led to it, kept for a run that is resumed.

A plan is kept even where it was made in no time: what comes after it belongs to it alone, and where
latency decides, another plan might be made the next time.
"""

import copy
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ..files import write_torch
from ..options import Settings
from ..selection.criteria import Ranking
from ..structure.depth import DepthCut, cut_off
from ..structure.plan import Plan
from ..typed import from_values
from .kept import Form, read_values
from .known import Amounts, Case, Measured, Planned
from .plan import measure_images


def plan_once(
    case: Case,
    settings: Settings,
    make: Callable[[], Planned],
    *,
    name: str = "planned",
    measured: Measured | None = None,
) -> Planned:
    """The plan of a network: read back where the run has made it already, else made and kept.

    Args:
        name: tells plans of one network apart.
        measured: what was measured on the network, where it is known already.

    Raises:
        UsageError, InputError, GateError: as `make` does; InputError for a damaged file.
    """
    if case.kept.folder is None:
        return make()
    form = Form(partial(_save, case), partial(_load, case, settings, measured))
    planned: Planned = case.kept.once(f"{name}-{case.digest}.pt", make, form, seconds=0)
    return planned


def _save(case: Case, planned: Planned, place: Path) -> None:
    ranking, shorter = planned.ranking, planned.model is not case.model
    values = {
        "plan": planned.plan.to_json(),
        "criterion": ranking.criterion,
        "order": [torch.from_numpy(order_U) for order_U in ranking.order],
        "error": [
            {name: torch.from_numpy(error_U) for name, error_U in errors.items()}
            for errors in ranking.error
        ],
        "scores": [torch.from_numpy(score_U) for score_U in ranking.scores],
        "efficient": {name: list(map(int, w)) for name, w in planned.measured.efficient.items()},
        "sensitivity": dict(planned.measured.sensitivity),
        "original": asdict(planned.original),
        "depth": planned.depth and asdict(planned.depth),
        "model": planned.model.state_dict() if shorter else None,
        "depth_top1": dict(planned.depth_top1),
        "contest": dict(planned.contest),
        "reference_ms": planned.reference_ms,
        "notes": list(planned.notes),
    }
    write_torch(place, values)


def _load(case: Case, settings: Settings, measured: Measured | None, place: Path) -> Planned:
    case, planned = read_values(place, partial(_planned, case))
    if measured is not None:
        return planned(measured)
    measured = measure_images(case, settings)
    known = read_values(place, lambda v: {name: v[name] for name in ("efficient", "sensitivity")})
    return planned(replace(measured, **known))


def _planned(case: Case, values: dict[str, Any]) -> tuple[Case, Callable[[Measured], Planned]]:
    """The network that was planned for, and the plan without what was measured on it."""
    depth = values["depth"] and from_values(values["depth"], DepthCut, "the kept plan")
    if depth:
        shorter = copy.deepcopy(case.model)
        cut_off(shorter, depth)
        shorter.load_state_dict(values["model"])
        case = case.of(shorter)
    ranking = Ranking(
        values["criterion"],
        tuple(order_U.numpy() for order_U in values["order"]),
        tuple({name: x.numpy() for name, x in errors.items()} for errors in values["error"]),
        tuple(score_U.numpy() for score_U in values["scores"]),
    )
    plan, original = Plan.from_json(values["plan"]), Amounts(**values["original"])

    def planned(measured: Measured) -> Planned:
        return Planned(
            case.model,
            measured,
            ranking,
            plan,
            original,
            depth=depth,
            depth_top1=values["depth_top1"],
            contest=values["contest"],
            reference_ms=values["reference_ms"],
            notes=tuple(values["notes"]),
        )

    return case, planned
