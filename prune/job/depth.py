"""`--cut-depth`: take out the layers that bring no success rate, where that is the cheaper way.

Two ways are tried. The end goes: the first layer whose input already tells the labels as well as
any later one, within the noise of the held-out images, and all behind it. Or residual branches go:
those of blocks behind which the success rate is no higher than before them, one by one, as long as
the network without them is as good within that noise. Either way the classifier is a linear probe
of what is left, fitted in closed form to the original's answers.
"""

import copy
from collections.abc import Sequence
from dataclasses import replace
from math import sqrt

import torch
from torch import Tensor, nn

from ..checks import stated_budgets
from ..errors import GateError, InputError
from ..folder import Diary
from ..forward import evaluating
from ..inputs.split import DataSet
from ..mechanism.spectrum import DepthPoint
from ..options import SelectOptions
from ..repair.least_squares import Residuals
from ..repair.refit import PENALTY
from ..repair.samples import inputs_of
from ..repair.visits import MAX_INPUTS
from ..structure.cost import CostModel
from ..structure.depth import DepthCut, cut_off, find_classifier, find_cut, residual_blocks
from ..structure.tracing.trace import trace
from .judge import BATCH_SIZE, example_of, held_out_accuracy
from .plan import Amounts, Planned, check_removable, make_plan, trial_top1

PROBE_IMAGES = 5000
"""Training images that the new classifier is solved on."""


def plan_at_best_depth(
    model: nn.Module,
    data: DataSet,
    select: SelectOptions,
    *,
    device: torch.device,
    seed: int,
    diary: Diary,
) -> Planned:
    """The plan at whole depth, or that of a network of less depth where it wins.

    All meet the same budget, a share of the network that came in, and all are repaired; held-out
    images decide, and the shorter one has a tie.

    Raises:
        UsageError, InputError, GateError: as `make_plan` does.
    """
    whole = make_plan(model, data, select, device=device, seed=seed, diary=diary)

    def top1_of(network: nn.Module, plan: Planned) -> float:
        repair = select.repair
        return trial_top1(network, data, plan.measured, plan.plan, device, with_repair=repair)

    best, top1 = whole, {"whole depth": top1_of(model, whole)}
    shorter = _of_less_depth(model, data, whole, device)
    if not shorter:
        diary.warnings.append("--cut-depth: no layer can be cut off; the depth stays as it was")
        return whole
    for name, (network, cut) in shorter.items():
        try:
            budget = _budget_of(network, data, select, whole.original, device)
            plan = make_plan(network, data, budget, device=device, seed=seed, diary=diary)
        except GateError as error:
            diary.warnings.append(f"--cut-depth: {name}, {error}")
            continue
        top1[name] = top1_of(network, plan)
        if top1[name] >= max(top1.values()):
            best = replace(plan, original=whole.original, cut=cut)
    return replace(best, depth_top1=top1) if len(top1) > 1 else whole


def _of_less_depth(
    model: nn.Module, data: DataSet, planned: Planned, device: torch.device
) -> dict[str, tuple[nn.Module, DepthCut]]:
    """Copies of the network to compare, by what was taken out, in words."""
    found: dict[str, tuple[nn.Module, DepthCut]] = {}
    end = shorten(model, data, planned, device)
    if end is not None:
        found[f"cut off at {end[1].passed[0]}"] = end
    fewer = without_branches(model, data, planned, device)
    if fewer is not None:
        found[f"without the branches of {', '.join(fewer[1].passed)}"] = fewer
    return found


def _budget_of(
    shorter: nn.Module,
    data: DataSet,
    select: SelectOptions,
    original: Amounts,
    device: torch.device,
) -> SelectOptions:
    """The same budget as a share of the shorter network."""
    structure = trace(shorter, example_of(data, device))
    check_removable(structure)
    cost = CostModel.of(shorter, structure)
    now = Amounts.of(cost, [len(group.units) for group in structure.groups])
    ((name, share),) = stated_budgets(select).items()
    return replace(select, **{name: min(1.0, share * getattr(original, name) / getattr(now, name))})


def shorten(
    model: nn.Module, data: DataSet, planned: Planned, device: torch.device
) -> tuple[nn.Module, DepthCut] | None:
    """A copy of the network that ends where its success rate is reached; None where nowhere can.

    The input is untouched.
    """
    for layer in layers_without_gain(planned.spectrum.depth, data.held_out.num_images):
        try:
            cut = find_cut(model, layer, example_of(data, device))
        except InputError:
            continue
        if cut.num_features > MAX_INPUTS:
            continue
        shorter = copy.deepcopy(model)
        cut_off(shorter, cut)
        batches = data.train.batches(BATCH_SIZE, device=device, limit=PROBE_IMAGES)
        fit_classifier(shorter, model, cut.classifier, [images for images, _ in batches])
        return shorter, cut
    return None


def without_branches(
    model: nn.Module, data: DataSet, planned: Planned, device: torch.device
) -> tuple[nn.Module, DepthCut] | None:
    """A copy of the network without the residual branches that bring nothing; None without any.

    The input is untouched.
    """
    example = example_of(data, device)
    blocks = blocks_without_gain(
        planned.spectrum.depth, residual_blocks(model, example), data.held_out.num_images
    )
    if not blocks:
        return None
    try:
        classifier, num_features = find_classifier(model, example)
    except InputError:
        return None
    whole = held_out_accuracy(model, data, device)
    least = whole.top1 - noise_of(whole.top1, whole.total)
    batches = data.train.batches(BATCH_SIZE, device=device, limit=PROBE_IMAGES)
    images = [images for images, _ in batches]
    best: tuple[nn.Module, DepthCut] | None = None
    for block in blocks:
        cut = DepthCut((*(best[1].passed if best else ()), block), classifier, num_features)
        shorter = copy.deepcopy(model)
        cut_off(shorter, cut)
        fit_classifier(shorter, model, classifier, images)
        if held_out_accuracy(shorter, data, device).top1 >= least:
            best = shorter, cut
    return best


def blocks_without_gain(
    depth: Sequence[DepthPoint], blocks: Sequence[str], num_images: int
) -> list[str]:
    """Blocks behind which the success rate is no higher than before them, least gain first.

    Within one standard error of a rate over `num_images` images. The rate before a block is that of
    its first reader, the rate behind it that of the first reader that runs after its own.
    """
    gains: dict[str, float] = {}
    noise = noise_of(max((point.success_rate for point in depth), default=0.0), num_images)
    for block in blocks:
        inside = [i for i, point in enumerate(depth) if point.reader.startswith(f"{block}.")]
        if inside and inside[-1] + 1 < len(depth):
            before, behind = depth[inside[0]], depth[inside[-1] + 1]
            gains[block] = behind.success_rate - before.success_rate
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
    shorter: nn.Module, model: nn.Module, classifier: str, images: Sequence[Tensor]
) -> None:
    """Solve the classifier of a network that was cut off, in place: least squares of the answers.

    Args:
        model: whose answers (N, K) are the targets.
        images: batches on the networks' device.
    """
    linear = shorter.get_submodule(classifier)
    assert isinstance(linear, nn.Linear), "find_cut found it"
    problem = Residuals.none(linear.in_features, linear.out_features, linear.weight.device)
    with evaluating(model, shorter):
        for batch, x_NF in zip(images, inputs_of(shorter, classifier, images), strict=True):
            problem.add(x_NF.float(), model(batch).float())
        solved = problem.solve(PENALTY)
        linear.weight.copy_(solved[:-1].T)
        linear.bias.copy_(solved[-1])
