"""The job on a network that is judged by its own outputs, or on a part of one: once, for the
Python API and for the command line.

A part is a module inside the network, taken for the network itself. What it is given is recorded
while the whole runs; its outputs stay as wide as they are, so that the rest (heads, proposals,
post-processing) is untouched.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isfinite, nan
from typing import Any

import torch
from torch import Tensor, nn

from ...evaluate.measure.fidelity import OutputJudge
from ...evaluate.report.metric_line import NO_NUMBER
from ..errors import InputError, PruneError, UsageError, first_line, on_one_line
from ..forward import FORWARD_ERRORS, call_on_copies, evaluating
from ..inputs.recorded import part_names
from ..inputs.split import DataSet, Source
from ..options import Settings
from ..output_score import require_float_outputs
from ..outputs import (
    RANDOM_ABOVE,
    RANDOM_FORWARD,
    explain_types,
    run_to_run_difference,
)
from ..progress import RunLog
from .known import Case, Planned
from .stages import Outcome
from .steps import plan_and_carry_out

WITHOUT_LABELS = ("response", "l1", "l2", "bn-scale", "fpgm", "lamp", "random", "auto")
"""Criteria that rank without labels; the first is the default."""
JUDGED = (
    "networks are compared by how close their outputs are to the original's (output fidelity); "
    "nothing but inputs was read of the data"
)
HANDED_ON = Source("as the network hands it to its part")
"""Of the size of a part's inputs."""
Metric = Callable[[nn.Module], float]
"""The user's own measure of a network, in evaluation mode: higher is better."""


@dataclass(frozen=True, eq=False)
class WholeAndPart:
    """What is pruned, and what it stands in.

    Attributes:
        case: the network that is pruned, with its data: the whole, or the part.
        whole: the network that came in.
        part: module path of the part; None for the whole.
        metric: measured on the whole network of every stage; it decides nothing.
    """

    case: Case
    whole: nn.Module
    part: str | None = None
    metric: Metric | None = None


@dataclass(frozen=True)
class DoneByOutputs:
    """What a job led to.

    Attributes:
        planned, outcome: of what was pruned.
        stages: the whole network of every stage: original, removed, repaired, final.
        figures: stage -> what `metric` gave, NaN where that was no number; empty without one.
    """

    planned: Planned
    outcome: Outcome
    stages: Mapping[str, nn.Module]
    figures: Mapping[str, float] = field(default_factory=dict)


def case_by_outputs(
    network: nn.Module, data: DataSet, device: torch.device, seed: int, log: RunLog
) -> Case:
    """The case of a network whose own outputs judge; its inputs are as large as the first one.

    Args:
        network: on the device.
    """
    first = next(iter(data.held_out.batches(1, device=device)), None)
    if first is not None and isinstance(first[0], Tensor):
        size_of_one: Any = tuple(first[0].shape[1:])
        if data.input_size not in ((), size_of_one):
            data = data.sourced(size=HANDED_ON)
        data = replace(data, input_size=size_of_one)
    return Case(network, data, device, seed, log, outputs=OutputJudge(network, device))


def do_by_outputs(subject: WholeAndPart, settings: Settings) -> DoneByOutputs:
    """Plan, remove, repair and retrain, judged by the original's own outputs.

    Raises:
        UsageError: an option that needs labels, or a metric that gives no number of the original.
        InputError: the network does not run, or gives nothing that can be compared.
        GateError: the budget cannot be met.
    """
    case, whole, part = subject.case, subject.whole, subject.part
    check_without_labels(settings)
    require_comparable(case)
    figures = figures_of(subject.metric, {"original": whole})
    if figures.notes:  # before any work
        raise UsageError(f"{figures.notes[0]}; expected one finite number, higher for better ones")
    planned, outcome = plan_and_carry_out(case, settings_of_part(settings, part))
    smaller = {
        "removed": in_place(whole, part, outcome.removed),
        "repaired": in_place(whole, part, outcome.repaired),
        "final": in_place(whole, part, outcome.final),
    }
    found = figures_of(subject.metric, smaller)
    outcome = replace(outcome, notes=(*outcome.notes, *found.notes))
    stages = {"original": whole, **smaller}
    return DoneByOutputs(planned, outcome, stages, {**figures.values, **found.values})


def check_without_labels(settings: Settings) -> None:
    """Refuse, before any work, what needs labels.

    Raises UsageError.
    """
    select, what = settings.select, "given for a network that is judged by its outputs"
    if select.rank not in WITHOUT_LABELS and ":" not in select.rank:
        raise UsageError(
            f"`rank={select.rank}` {what}, which needs labels; expected one of "
            f"{', '.join(WITHOUT_LABELS)}; give one, or `num_labels` for a classifier"
        )
    for name, is_wrong, instead in (
        ("allocate=sr", select.allocate == "sr", "give `allocate=output`"),
        ("cut_depth", select.cut_depth, "leave it out"),
        ("distill=False", not settings.retrain.distill, "leave it out"),
        ("mixup", bool(settings.retrain.mixup), "leave it out"),
    ):
        if is_wrong:
            raise UsageError(f"`{name}` {what}, which needs labels; {instead}")


def in_place(whole: nn.Module, part: str | None, smaller: nn.Module) -> nn.Module:
    """A copy of a network with a smaller part in place of its own, under all of its names."""
    if part is None:
        return smaller
    old = whole.get_submodule(part)
    return copy.deepcopy(whole, {id(old): copy.deepcopy(smaller)}).eval()


def settings_of_part(settings: Settings, part: str | None) -> Settings:
    """Names of layers as the part knows them, where they were given as the whole does."""
    if part is None:
        return settings
    select = settings.select
    return replace(
        settings,
        select=replace(select, whole=_within(part, select.whole), only=_within(part, select.only)),
    )


def _within(part: str, names: str | Sequence[str]) -> tuple[str, ...]:
    listed = (names,) if isinstance(names, str) else names
    return tuple(name.removeprefix(f"{part}.") for name in listed)


def require_comparable(case: Case) -> None:
    """Refuse, before any work, a network whose outputs cannot be compared.

    Raises:
        InputError: it does not run, gives no floating-point outputs, or others at every run.
    """
    model, example = case.model, case.example
    if any(isinstance(x, nn.DataParallel) for x in model.modules()):
        return  # the tracer says why
    try:
        with evaluating(model):
            outputs = call_on_copies(model, example)
    except FORWARD_ERRORS as error:
        reason = explain_types(model, example) or (
            f"inputs given on which {type(model).__name__} does not run ({first_line(error)}); "
            "expected what it takes; give other batches, or a `collate_fn` that makes them"
        )
        raise InputError(reason) from error
    require_float_outputs(outputs, part_names(model))
    if run_to_run_difference(model, example) > RANDOM_ABOVE:
        raise InputError(RANDOM_FORWARD)


@dataclass(frozen=True)
class Figures:
    """What the user's metric gave of some networks.

    Attributes:
        values: stage -> the figure; NaN where it gave no finite number, or failed.
        notes: why, a line each.
    """

    values: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def figures_of(metric: Metric | None, stages: Mapping[str, nn.Module]) -> Figures:
    """The user's figure of every stage; what fails ends nothing."""
    found = Figures()
    if metric is None:
        return found
    for name, network in stages.items():
        value, given = nan, ""
        try:
            with evaluating(network):
                result: Any = metric(network)
            given = f"gave {result!r:.60}"
            value = float(result)
        except PruneError:
            raise
        except Exception as error:  # it is the user's own code
            given = given or f"raised {type(error).__name__} ({on_one_line(first_line(error))})"
        notes = found.notes
        if not isfinite(value):
            value, notes = nan, (*notes, f"`metric` {given} for the {name} network: {NO_NUMBER}")
        found = Figures({**found.values, name: value}, notes)
    return found
