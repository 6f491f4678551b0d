"""The job in one step, or in several: rank, remove, repair, train briefly, and again.

After step i of n, share^(i/n) of the original is left: every step takes the same share of what it
finds. Every ranking but the first is made on a network that was repaired and trained.
"""

from contextlib import nullcontext
from dataclasses import replace

from ..budget import Budget
from ..checks import check_ranges, check_selection
from ..errors import InputError
from ..options import RetrainOptions, Settings
from ..structure.choice import Choice
from ..structure.plan import LayerPlan, Plan
from .depth import plan_at_best_depth
from .kept_plan import plan_once
from .known import Case, Planned
from .plan import make_plan
from .stages import Outcome, carry_out, check_teacher

BRIEF_EPOCHS = 1
"""Epochs between two steps, where the network is retrained at all."""


def plan_and_carry_out(case: Case, settings: Settings) -> tuple[Planned, Outcome]:
    """The whole job in `settings.select.steps` steps.

    Returns:
        what was measured on the original, or on the original cut in depth, with the plan of all
        steps together; and the outcome of the last step, with the worst certificate and the notes
        of all.

    Raises:
        UsageError, InputError, GateError, PruneError: as `make_plan` and `carry_out` do.
    """
    check_selection(settings.select)
    check_ranges(settings)
    check_teacher(case, settings)
    Choice.of(settings.select).check(case.model)
    budget, steps = settings.select.budget, settings.select.steps
    whole: Planned | None = None
    outcomes: list[Outcome] = []
    notes: tuple[str, ...] = ()
    current = case
    for step in range(1, steps + 1):
        last, share = step == steps, _budget_of(budget, step, steps, whole)
        with case.log.within(f"step {step} of {steps}") if steps > 1 else nullcontext():
            planned = _plan(current, share, settings, whole is None)
            joined = planned.plan if whole is None else join(whole.plan, planned.plan)
            whole = replace(planned if whole is None else whole, plan=joined)
            how = settings if last else replace(settings, retrain=_brief(settings))
            outcomes.append(carry_out(planned, how, case, None if last else step))
        notes += planned.notes + outcomes[-1].notes
        current = case.of(outcomes[-1].final)
    assert whole is not None, "check_selection lets no job without a step through"
    certificates = [outcome.certificate for outcome in outcomes]
    worst = max(certificates, key=lambda c: c.max_relative_error or 0.0)
    return whole, replace(outcomes[-1], certificate=worst, notes=notes)


def _plan(case: Case, budget: Budget, settings: Settings, first: bool) -> Planned:
    make = plan_at_best_depth if first and settings.select.cut_depth else make_plan
    return plan_once(case, settings, lambda: make(case, budget, settings))


def _budget_of(budget: Budget, step: int, steps: int, whole: Planned | None) -> Budget:
    """The budget of one step, a share of the network that it finds."""
    if steps == 1:
        return budget
    return budget.of_step(step, steps, 1.0 if whole is None else share_left(whole, budget))


def _brief(settings: Settings) -> RetrainOptions:
    """The retraining between two steps."""
    retrain = settings.retrain
    return replace(retrain, epochs=min(BRIEF_EPOCHS, retrain.epochs))


def share_left(planned: Planned, budget: Budget) -> float:
    """What a plan leaves of the amount that the budget is stated in, a share of the original."""
    return float(getattr(planned.left, budget.kind) / getattr(planned.original, budget.kind))


def join(first: Plan, second: Plan) -> Plan:
    """One plan for two in a row, the second made for what the first left.

    A layer that the second does not name stays as the first left it: nothing more can be removed
    where one filter is left.

    Raises:
        InputError: the second names a layer that the first does not, or finds another width.
    """
    found = {layer.name: layer for layer in second.layers}
    left = {layer.name: len(layer.kept) for layer in first.layers}
    for layer in second.layers:
        if left.get(layer.name) != layer.num_filters:
            raise InputError(
                f"layer {layer.name} can no longer be followed after a step of `steps`; "
                "leave `steps` out"
            )
    return Plan(
        tuple(
            LayerPlan(layer.name, layer.num_filters, _kept(layer, found.get(layer.name)))
            for layer in first.layers
        )
    )


def _kept(first: LayerPlan, second: LayerPlan | None) -> tuple[int, ...]:
    """Filters of a layer that both plans keep, as the first counts them."""
    return first.kept if second is None else tuple(first.kept[position] for position in second.kept)
