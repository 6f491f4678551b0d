"""Make up for removed filters without a gradient step, as far as held-out images confirm it.

removed -> repaired -> refitted, or with new batch-norm statistics
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from torch import nn

from ..inputs.split import Inputs
from ..linear_algebra import told_of_few_rows, told_of_raised
from ..mechanism.moments import collect_moments
from ..progress import Progress, silent
from ..repair.norms import find_norm_behind, reestimate_norms
from ..repair.refit import RefitImages, RefitNotes, refit
from ..repair.repair import repair
from ..scores import Score
from ..structure.cut import Cut
from ..structure.plan import Plan
from ..structure.surgery import remove
from .known import Case, Measured

NOTHING, REPAIRED, REFITTED = "nothing", "repair", "repair + refit"
REFIT_IMAGES = 2000
"""Training images that layers are solved again on: they give every layer the rows it is solved with
(`repair/visits.py`), and fit into memory."""
NORM_IMAGES = 2000
"""Training images that BN statistics are re-estimated from."""
CHECK_IMAGES = 500
"""Held-out images that every single layer is checked on: two batches, so that a check of all layers
costs little next to the repair itself."""


@dataclass(frozen=True)
class Repaired:
    """The best of what can be done, and what was tried.

    Attributes:
        applied: what was done to the network, in words.
        case: the network that came of it, with its held-out accuracy.
        before: held-out accuracy as it was removed.
        top1: held-out accuracy of everything that was tried, by name; fractions.
        notes: what was not done where, and why, a line each.
    """

    case: Case
    applied: str
    before: Score
    top1: dict[str, float]
    notes: tuple[str, ...] = ()

    @property
    def model(self) -> nn.Module:
        """The network that came of it."""
        return self.case.model

    def tried(self, name: str, model: nn.Module, *, has_tie: bool = True) -> "Repaired":
        """After one more try, which wins where it is better than the best, or has the tie."""
        case = self.case.of(model)
        now = replace(self, top1={**self.top1, name: case.accuracy.value})
        new, best = case.accuracy.value, self.case.accuracy.value
        if new > best or (has_tie and new == best):
            return replace(now, case=case, applied=name)
        return now


def repair_and_check(
    case: Case,
    measured: Measured,
    cut: Cut,
    removed: nn.Module,
    *,
    with_repair: bool = True,
    progress: Progress = silent,
) -> Repaired:
    """The best on held-out images of: as it is, repaired, refitted; or with new BN statistics.

    A stage that loses to the one before it is left out. Repair and refit win where they are equal,
    new BN statistics do not.

    Args:
        case: the network that the filters were removed from; neither network changes.
        measured: what was measured on it.
        removed: what removing made of it.
        with_repair: without it, only new BN statistics are tried.
        progress: called with (layers refitted, layers to refit), which takes the most time.
    """
    start = case.of(removed)
    best = Repaired(start, NOTHING, start.accuracy, {NOTHING: start.accuracy.value})
    if with_repair:
        best = _with_repair(case, measured, cut, best, progress)
    if best.applied != REFITTED:  # its layers have the original's mean and variance already
        batches = case.training(NORM_IMAGES, shuffle_seed=0)
        fresh = reestimate_norms(best.model, batches, case.device)
        best = best.tried(f"{best.applied} + BN re-estimated", fresh, has_tie=False)
    return best


def _with_repair(
    case: Case, measured: Measured, cut: Cut, best: Repaired, progress: Progress
) -> Repaired:
    """Repaired from the original's statistics, then refitted on its own inputs, where it pays."""
    start = repair_from_statistics(case, measured, cut, best.model)
    best = best.tried(REPAIRED, start.network)
    refitted, found = refit_repaired(case, cut, start, REFIT_IMAGES, progress=progress)
    notes = [*start.notes, *(f"not refitted: {layer}: {why}" for layer, why in found.left.items())]
    notes += [*told_of_few_rows(found.rows, "refit"), *told_of_raised(found.raised, "refit")]
    best = best.tried(REFITTED, refitted)
    if best.applied == NOTHING:
        notes.append("repair was dropped: held-out images were no better with it")
    return replace(best, notes=tuple(notes))


@dataclass(frozen=True, eq=False)
class FromStatistics:
    """A network repaired from the original's statistics, before layers are solved again.

    Attributes:
        norm_behind: layer -> batch norm that takes its constant.
        checks: held-out inputs (N, ...) that no layer may answer worse.
        notes: what was not repaired, and why, a line each.
    """

    network: nn.Module
    norm_behind: Mapping[str, str]
    checks: Inputs
    notes: tuple[str, ...]


def repair_from_statistics(
    case: Case, measured: Measured, cut: Cut, removed: nn.Module
) -> FromStatistics:
    """What `removed` becomes where its readers make up for lost channels; it is not changed."""
    norms = find_norm_behind(case.model, case.example)
    checks = list(case.held_out(CHECK_IMAGES))
    others = collect_moments(case.traced(cut.structure), checks)
    repaired, done = repair(
        removed, case.model, cut, measured.statistics, norm_behind=norms, held_out=others
    )
    notes = [f"not repaired: {layer}: {why}" for layer, why in done.left.items()]
    notes += [*told_of_few_rows(done.rows, "repair"), *told_of_raised(done.raised, "repair")]
    return FromStatistics(repaired, norms, checks[0][0], tuple(notes))


def refit_repaired(
    case: Case,
    cut: Cut,
    start: FromStatistics,
    num_images: int,
    *,
    progress: Progress = silent,
) -> tuple[nn.Module, RefitNotes]:
    """A copy of a repaired network whose layers are solved again on its own inputs."""
    batches = [images for images, _ in case.training(num_images, shuffle_seed=0)]
    images = RefitImages(batches, held_out=start.checks)
    norms = start.norm_behind
    return refit(start.network, case.model, cut, images, norm_behind=norms, progress=progress)


def top1_after_repair(
    case: Case, measured: Measured, plan: Plan, *, with_repair: bool = True
) -> float:
    """Held-out accuracy of what a job makes of the plan without a gradient step; a fraction."""
    cut = Cut(measured.structure, plan)
    removed = remove(case.model, cut)
    found = repair_and_check(case, measured, cut, removed, with_repair=with_repair)
    return found.case.accuracy.value
