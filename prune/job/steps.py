"""The job in one step, or in several: rank, remove, repair, train briefly, and again (`--steps`).

After step i of n, share^(i/n) of the original is left: every step takes the same share of what it
finds. Every ranking but the first is made on a network that was repaired and trained.
"""

from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import nn

from ..checks import check_budget, check_ranges, stated_budgets
from ..errors import InputError
from ..folder import Diary
from ..inputs.split import DataSet
from ..options import BenchOptions, RetrainOptions, SelectOptions
from ..structure.certificate import Certificate
from ..structure.plan import LayerPlan, Plan
from .depth import plan_at_best_depth
from .judge import held_out_accuracy
from .plan import Planned, make_plan
from .stages import Outcome, carry_out

BRIEF_EPOCHS = 1
"""Epochs between two steps, where the network is retrained at all."""


def plan_and_carry_out(
    model: nn.Module,
    data: DataSet,
    select: SelectOptions,
    retrain: RetrainOptions,
    *,
    device: torch.device,
    seed: int,
    diary: Diary,
    checkpoint: Path | None = None,
    bench: BenchOptions | None = None,
) -> tuple[Planned, Outcome]:
    """The whole job in `select.steps` steps.

    Returns:
        what was measured on the original, or on the original cut off, with the plan of all steps
        together; and the outcome of the last step, with the worst certificate of all.

    Raises:
        UsageError, InputError, GateError, PruneError: as `make_plan` and `carry_out` do.
    """
    check_budget(select)
    check_ranges(retrain)
    current, whole, left = model, None, 1.0
    certificates: list[Certificate] = []
    for step in range(1, select.steps + 1):
        last = step == select.steps
        budget = _budget_of_step(select, step, left)
        by_depth = select.cut_depth and whole is None
        plan = plan_at_best_depth if by_depth else partial(make_plan, bench=bench)
        planned = plan(current, data, budget, device=device, seed=seed, diary=diary)
        whole = planned if whole is None else _joined(whole, planned)
        outcome = carry_out(
            planned.model,
            data,
            planned,
            budget,
            retrain if last else replace(retrain, epochs=min(BRIEF_EPOCHS, retrain.epochs)),
            device=device,
            seed=seed,
            diary=diary,
            checkpoint=checkpoint if last else None,
            teacher=model,
        )
        current, left = outcome.final, share_left(whole, select)
        certificates.append(outcome.certificate)
    assert whole is not None, "check_budget lets no job without a step through"
    if select.steps == 1 and whole.model is model:
        return whole, outcome
    held_out = {**outcome.held_out, "original": held_out_accuracy(model, data, device)}
    worst = max(certificates, key=lambda c: c.max_relative_error or 0.0)
    return whole, replace(outcome, certificate=worst, held_out=held_out)


def _budget_of_step(select: SelectOptions, step: int, left: float) -> SelectOptions:
    """The budget as a share of the network that the step finds, `left` of the original."""
    if select.steps == 1:
        return select
    ((name, share),) = stated_budgets(select).items()
    return replace(select, **{name: min(1.0, share ** (step / select.steps) / left)})


def share_left(planned: Planned, select: SelectOptions) -> float:
    """What a plan leaves of the amount that the budget is stated in, a share of the original."""
    name = next(iter(stated_budgets(select)), "keep")
    return float(getattr(planned.left(), name) / getattr(planned.original, name))


def _joined(whole: Planned, step: Planned) -> Planned:
    return replace(whole, plan=join(whole.plan, step.plan))


def join(first: Plan, second: Plan) -> Plan:
    """One plan for two in a row, the second made for what the first left.

    Raises:
        InputError: their layers are not the same.
    """
    found = {layer.name: layer for layer in second.layers}
    for layer in first.layers:
        if layer.name not in found or found[layer.name].num_filters != len(layer.kept):
            raise InputError(
                f"layer {layer.name} can no longer be followed after a step of --steps; "
                "leave --steps out"
            )
    return Plan(
        tuple(
            LayerPlan(
                layer.name,
                layer.num_filters,
                tuple(layer.kept[position] for position in found[layer.name].kept),
            )
            for layer in first.layers
        )
    )
