"""Less depth: take out the layers that do not improve probe accuracy, where that is the better way.

Two ways are tried. The end goes: the first layer whose input already tells the labels as well as
any later one, within the noise of the held-out images, and all after it. Or residual branches go:
those of blocks after which the success rate is no higher than before them, one by one, as long as
the network without them is as good within that noise. Either way the classifier is a linear probe
of what is left, fitted in closed form to the original's answers.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import sqrt

from torch import nn

from ..budget import Budget
from ..errors import GateError, InputError, UsageError
from ..forward import call, evaluating
from ..inputs.split import Inputs
from ..linear_algebra import told_of_few_rows, told_of_raised
from ..mechanism.spectrum import DepthPoint
from ..options import Settings
from ..outputs import logits_of
from ..repair.layerwise import PENALTY
from ..repair.least_squares import Residuals
from ..repair.samples import inputs_of
from ..repair.visits import MAX_INPUTS
from ..structure.choice import Choice
from ..structure.cost import CostModel
from ..structure.depth import DepthCut, cut_off, find_classifier, find_cut, residual_blocks
from ..structure.tracing.trace import trace
from .known import Amounts, Case, Planned
from .plan import check_removable, make_plan
from .repair_and_check import top1_after_repair

MOST_DEPTHS = 3
"""Networks that are compared: of whole depth, without the end, without branches."""
PROBE_IMAGES = 5000
"""Training images that the new classifier is solved on."""


@dataclass(frozen=True, eq=False)
class Shorter:
    """A network of less depth, and what was taken out of it.

    Attributes:
        name: what was taken out, in words.
        notes: what has to be said of its new classifier, a line each.
    """

    name: str
    case: Case
    cut: DepthCut
    notes: tuple[str, ...] = ()


def plan_at_best_depth(case: Case, budget: Budget, settings: Settings) -> Planned:
    """The plan at whole depth, or that of a network of less depth where it wins.

    All meet the same budget, a share of the network that came in, and all are repaired; held-out
    images decide, and the shorter one has a tie.

    Raises:
        UsageError, InputError, GateError: as `make_plan` does.
    """
    if case.data.multi_label:
        raise UsageError(
            "`cut_depth` given for data with several labels for an image; expected one label for "
            "each, whose success rates it compares; leave it out"
        )
    with case.log.within(f"network 1 of at most {MOST_DEPTHS}, whole depth"):
        whole = make_plan(case, budget, settings)
        top1 = {"whole depth": _top1(case, whole, settings)}
    chosen = Choice.of(settings.select)
    best, notes = whole, list[str]()
    with case.log.stage("find less depth"):
        shorter = of_less_depth(case, whole)
    if not shorter:
        note = "`cut_depth`: no layer can be cut off; the depth stays as it was"
        return replace(whole, notes=(*whole.notes, note))
    for place, one in enumerate(shorter, 2):
        with case.log.within(f"network {place} of {len(shorter) + 1}, {one.name}"):
            try:
                plan = make_plan(
                    one.case, _same_budget(one.case, budget, whole.original, chosen), settings
                )
            except GateError as error:
                notes.append(f"`cut_depth`: {one.name}, {error}")
                continue
            notes += (*one.notes, *plan.notes)
            top1[one.name] = _top1(one.case, plan, settings)
        if top1[one.name] >= max(top1.values()):
            best = replace(plan, original=whole.original, depth=one.cut)
    told = (*whole.notes, *notes)
    return replace(best, notes=told, depth_top1=top1 if len(top1) > 1 else {})


def _top1(case: Case, planned: Planned, settings: Settings) -> float:
    with_repair = settings.select.repair
    with case.log.stage("try the repair"):
        return top1_after_repair(case, planned.measured, planned.plan, with_repair=with_repair)


def of_less_depth(case: Case, planned: Planned) -> list[Shorter]:
    """Copies of the network to compare."""
    found = (without_end(case, planned), without_branches(case, planned))
    return [one for one in found if one is not None]


def _same_budget(shorter: Case, budget: Budget, original: Amounts, chosen: Choice) -> Budget:
    """The same budget as a share of the shorter network."""
    structure = trace(shorter.model, shorter.example, chosen)
    check_removable(structure)
    cost = CostModel.of(shorter.model, structure)
    now = Amounts.of(cost, [len(group.units) for group in structure.groups])
    share = budget.value * getattr(original, budget.kind) / getattr(now, budget.kind)
    return Budget(budget.kind, min(1.0, share))


def _rates(planned: Planned) -> tuple[DepthPoint, ...]:
    """Success rates along the depth."""
    spectrum = planned.measured.spectrum
    assert spectrum is not None, "`cut_depth` is refused where there are no labels"
    return spectrum.depth


def without_end(case: Case, planned: Planned) -> Shorter | None:
    """The network that ends where its success rate is reached; None where nowhere can.

    The input is untouched.
    """
    depth = _rates(planned)
    for layer in layers_without_gain(depth, case.data.held_out.num_images):
        try:
            cut = find_cut(case.model, layer, case.example)
        except InputError:
            continue
        if cut.num_features > MAX_INPUTS:
            continue
        images = [images for images, _ in case.training(PROBE_IMAGES)]
        model, notes = _shortened(case, cut, images)
        return Shorter(f"cut off at {cut.passed[0]}", case.of(model), cut, notes)
    return None


def without_branches(case: Case, planned: Planned) -> Shorter | None:
    """The network without the residual branches that bring nothing; None without any.

    The input is untouched.
    """
    depth = _rates(planned)
    blocks = blocks_without_gain(
        depth, residual_blocks(case.model, case.example), case.data.held_out.num_images
    )
    if not blocks:
        return None
    try:
        classifier, num_features = find_classifier(case.model, case.example)
    except InputError:
        return None
    least = case.accuracy.value - case.accuracy.error
    images = [images for images, _ in case.training(PROBE_IMAGES)]
    best: Shorter | None = None
    for block in blocks:
        cut = DepthCut((*(best.cut.passed if best else ()), block), classifier, num_features)
        model, notes = _shortened(case, cut, images)
        shorter = case.of(model)
        if shorter.accuracy.value >= least:
            name = f"without the branches of {', '.join(cut.passed)}"
            best = Shorter(name, shorter, cut, notes)
    return best


def _shortened(
    case: Case, cut: DepthCut, images: Sequence[Inputs]
) -> tuple[nn.Module, tuple[str, ...]]:
    """A copy of the network without what the cut takes, its classifier solved again; and notes."""
    shorter = copy.deepcopy(case.model)
    cut_off(shorter, cut)
    notes = fit_classifier(shorter, case.model, cut.classifier, images)
    return shorter, notes


def blocks_without_gain(
    depth: Sequence[DepthPoint], blocks: Sequence[str], num_images: int
) -> list[str]:
    """Blocks after which the success rate is no higher than before them, least gain first.

    Within one standard error of a rate over `num_images` images. The rate before a block is that of
    its first reader, the rate after it that of the first reader that runs after its own.
    """
    gains: dict[str, float] = {}
    noise = noise_of(max((point.success_rate for point in depth), default=0.0), num_images)
    for block in blocks:
        inside = [i for i, point in enumerate(depth) if point.reader.startswith(f"{block}.")]
        if inside and inside[-1] + 1 < len(depth):
            before, after = depth[inside[0]], depth[inside[-1] + 1]
            gains[block] = after.success_rate - before.success_rate
    return sorted((x for x in gains if gains[x] <= noise), key=lambda x: gains[x])


def noise_of(rate: float, num_images: int) -> float:
    """Standard error of a success rate, a fraction."""
    return sqrt(rate * (1 - rate) / max(1, num_images))


def layers_without_gain(depth: Sequence[DepthPoint], num_images: int) -> list[str]:
    """Readers whose input already has the best success rate, first to last.

    Within one standard error of a rate over `num_images` images.
    """
    best = max((point.success_rate for point in depth), default=0.0)
    least = best - noise_of(best, num_images)
    return [point.reader for point in depth if point.success_rate >= least]


def fit_classifier(
    shorter: nn.Module, model: nn.Module, classifier: str, images: Sequence[Inputs]
) -> tuple[str, ...]:
    """Solve the classifier of a network that was cut off, in place: least squares of the answers.

    Returns what has to be said of it, a line each.

    Args:
        model: whose answers (N, K) are the targets.
        images: batches on the networks' device.
    """
    linear = shorter.get_submodule(classifier)
    assert isinstance(linear, nn.Linear), "find_cut found it"
    problem = Residuals.none(linear.in_features, linear.out_features, linear.weight.device)
    with evaluating(model, shorter):
        for batch, x_NF in zip(images, inputs_of(shorter, classifier, images), strict=True):
            problem.add(x_NF.float(), logits_of(call(model, batch)).float())
        solved, raised = problem.solve(PENALTY)
        linear.weight.copy_(solved[:-1].T)
        linear.bias.copy_(solved[-1])
    rows = {classifier: (problem.num_rows, linear.in_features)}
    what = "`cut_depth`: new classifier"
    return told_of_few_rows(rows, what) + told_of_raised({classifier: raised}, what)
