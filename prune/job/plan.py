"""Plan before acting: trace, measure, rank and allocate. Nothing is changed and nothing written.

network + data -> structure -> statistics, spectrum -> ranking -> plan
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ...evaluate.measure.widths import efficient_widths
from ..budget import Budget
from ..checks import check_criterion
from ..errors import InputError
from ..inputs.callables import Trusted, import_callable, is_callable_name
from ..linear_algebra import told_of_raised
from ..mechanism.moments import collect_moment_statistics
from ..mechanism.spectrum import Spectrum, measure
from ..mechanism.statistics import Statistics
from ..options import SelectOptions, Settings
from ..progress import Progress, counted
from ..selection.criteria import Ranking, rank_units
from ..selection.evidence import Evidence
from ..selection.search import AUTO, contest
from ..structure.choice import Choice
from ..structure.cost import CostModel
from ..structure.finite import check_finite_weights
from ..structure.tracing.trace import trace
from ..structure.units import Structure
from .budget import counted_plan, plan_within, searches_widths
from .kept import MEASURED
from .known import Case, Measured, Planned
from .repair_and_check import top1_after_repair
from .sensitivity import measure_sensitivity

CONTEST_BUDGET = Budget("macs", 0.5)
"""At which criteria are compared where the budget itself is searched: at neither end."""


MECHANISM = "mechanism"
"""The one candidate of a contest that needs labels."""
GRADIENT_PART = 4
"""Gradients are taken on one in so many of the measured images: a step back costs as much as two or
three forward, and the mean over batches settles early."""


def make_plan(case: Case, budget: Budget, settings: Settings) -> Planned:
    """Trace, measure, rank and allocate. Reads training and held-out images, changes nothing.

    Raises:
        UsageError: an unknown criterion.
        InputError: the network has nothing that can be removed.
        GateError: the budget cannot be met.
    """
    select = settings.select
    check_criterion(select.rank)
    if is_callable_name(select.rank):
        # What cannot be imported fails before the measurement.
        import_callable(Trusted(select.rank))
    measured = measure_network(case, budget, settings)
    with case.log.stage("rank"):
        ranking, tried = choose_ranking(case, measured, budget, select)
    measured = replace(measured, statistics=measured.statistics.without_grams)
    with case.log.stage("allocate"):
        fitted = plan_within(case, measured, ranking, budget, settings)
    return Planned(
        case.model,
        measured,
        ranking,
        fitted.plan,
        measured.whole,
        contest=tried,
        reference_ms=fitted.reference_ms,
        notes=(
            *told_of_raised(raised_in(measured.spectrum), "label probes"),
            *told_of_raised(ranking.raised, "ranking"),
            *((fitted.note,) if fitted.note else ()),
        ),
    )


def measure_network(case: Case, budget: Budget, settings: Settings) -> Measured:
    """Trace a network and run the images through it once.

    Raises:
        InputError: the network has nothing that can be removed, or weights that are not finite.
    """
    measured = measure_images(case, settings)
    return replace(
        measured,
        efficient=_efficient(case, measured.structure, budget, settings),
        sensitivity=find_sensitivity(case, measured, settings.select),
    )


def find_sensitivity(case: Case, measured: Measured, select: SelectOptions) -> dict[str, float]:
    """How much every group's errors change the outputs, where the allocation asks for it.

    Groups are halved by the next layers' response, whatever criterion the job ranks by: all of
    them then share one allocation.
    """
    if select.allocate != "output":
        return {}
    with case.log.stage("sensitivity") as progress:
        ranking = rank_by(case, measured, "response", select.images)
        return measure_sensitivity(case, measured, ranking, progress=progress)


def measure_images(case: Case, settings: Settings) -> Measured:
    """The same but for the widths that should be fast. Statistics that took long are kept."""
    check_finite_weights(case.model)
    with case.log.stage("trace"):
        structure = trace(case.model, case.example, Choice.of(settings.select))
        cost = CostModel.of(case.model, structure)
    check_removable(structure)
    with case.log.stage("measure") as progress:
        if case.outputs is not None:
            return Measured(structure, cost, _moments(case, structure, settings, progress), None)

        def make() -> tuple[Statistics, Spectrum]:
            images, held_out = case.both_parts(settings.select.images, progress)
            return measure(case.traced(structure), images, held_out)

        name = f"measured-{case.digest}"
        return Measured(structure, cost, *case.kept.once(name, make, MEASURED))


def _moments(
    case: Case, structure: Structure, settings: Settings, progress: Progress
) -> Statistics:
    """Second moments alone: what needs no label."""
    total = case.num_training(settings.select.images)
    images = counted(case.training(settings.select.images), progress, total)
    return collect_moment_statistics(case.traced(structure), images)


def raised_in(spectrum: Spectrum | None) -> Mapping[str, float]:
    """Readers whose label probes needed a larger ridge; none without labels."""
    return {} if spectrum is None else spectrum.raised


def check_removable(structure: Structure) -> None:
    """Raises InputError when the network has no filter that can be removed."""
    if not structure.groups:
        reasons = "; ".join(f"{k}: {v}" for k, v in list(structure.kept_whole.items())[:3])
        raise InputError(f"no filter of this network can be removed ({reasons or 'none found'})")


def _efficient(
    case: Case, structure: Structure, budget: Budget, settings: Settings
) -> Mapping[str, Sequence[int]]:
    """Widths that every group may have, where they should be fast on some provider."""
    select, bench = settings.select, settings.bench
    searched = bench.provider if searches_widths(budget, select) else None
    provider = select.hardware_widths or searched
    if provider is None:
        return {}
    with case.log.stage("widths") as progress:
        return efficient_widths(
            case.model,
            structure,
            case.example,
            replace(bench, provider=provider),
            progress=progress,
        )


def choose_ranking(
    case: Case, measured: Measured, budget: Budget, select: SelectOptions
) -> tuple[Ranking, dict[str, float]]:
    """The ranking that was asked for; or, for "auto", the one that held-out images are for.

    Returns:
        the ranking, and the held-out accuracy of every criterion that was tried, best first.
    """
    if select.rank != "auto":
        return rank_by(case, measured, select.rank, select.images), {}
    at = budget if budget.is_counted else CONTEST_BUDGET
    trials = contest(
        lambda criterion: rank_by(case, measured, criterion, select.images),
        lambda ranking: counted_plan(measured, ranking, at, select),
        lambda plan: top1_after_repair(case, measured, plan, with_repair=select.repair),
        [name for name in AUTO if measured.spectrum is not None or name != MECHANISM],
    )
    return trials[0].ranking, {trial.criterion: trial.top1 for trial in trials}


def rank_by(case: Case, measured: Measured, criterion: str, images: int) -> Ranking:
    """The units of every group ordered by one criterion.

    Args:
        images: that the network was measured on; gradients are taken on a part of them.
    """
    evidence = Evidence(
        case.model,
        measured.structure,
        measured.statistics,
        measured.spectrum,
        case.training(images // GRADIENT_PART),
        case.seed,
    )
    return rank_units(criterion, evidence)
