"""`--cut-depth`: cut the layers off that bring no success rate, where that is the cheaper way.

The first layer whose input already tells the labels as well as any later one, within the noise of
the held-out images, and all behind it go; the classifier is a linear probe of what is left. It is
fitted in closed form to the original's answers.
"""

import copy
from collections.abc import Sequence
from dataclasses import replace
from math import sqrt

import torch
from torch import Tensor, nn

from .checks import stated_budgets
from .config import SelectOptions
from .errors import GateError, InputError
from .inputs.split import DataSet
from .judging import BATCH_SIZE, example_of
from .mechanism.spectrum import DepthPoint
from .output import Diary
from .planning import Amounts, Planned, check_removable, make_plan, trial_top1
from .selection.least_squares import Residuals
from .selection.refit import PENALTY
from .selection.samples import inputs_of
from .selection.visits import MAX_INPUTS
from .structure.cost import CostModel
from .structure.depth import DepthCut, cut_off, find_cut
from .structure.shadow import undisturbed
from .structure.trace import trace

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
    """The plan at whole depth, or that of the network cut off where it wins.

    Both meet the same budget, a share of the network that came in, and both are repaired; held-out
    images decide, and the shorter one has a tie.

    Raises:
        UsageError, InputError, GateError: as `make_plan` does.
    """
    whole = make_plan(model, data, select, device=device, seed=seed, diary=diary)
    found = shorten(model, data, whole, device)
    if found is None:
        diary.warnings.append("--cut-depth: no layer can be cut off; the depth stays as it was")
        return whole
    shorter, cut = found
    try:
        budget = _budget_of(shorter, data, select, whole.original, device)
        short = make_plan(shorter, data, budget, device=device, seed=seed, diary=diary)
    except GateError as error:
        diary.warnings.append(f"--cut-depth: cut off at {cut.passed[0]}, {error}")
        return whole
    cut_off_at = f"cut off at {cut.passed[0]}"
    top1 = {
        name: trial_top1(network, data, plan.measured, plan.plan, device, with_repair=select.repair)
        for name, network, plan in (("whole depth", model, whole), (cut_off_at, shorter, short))
    }
    if top1["whole depth"] > top1[cut_off_at]:
        return replace(whole, depth_top1=top1)
    return replace(short, original=whole.original, cut=cut, depth_top1=top1)


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


def layers_without_gain(depth: Sequence[DepthPoint], num_images: int) -> list[str]:
    """Readers whose input already has the best success rate, first to last.

    Within one standard error of a rate over `num_images` images.
    """
    best = max((point.success_rate for point in depth), default=0.0)
    noise = sqrt(best * (1 - best) / max(1, num_images))
    return [point.reader for point in depth if point.success_rate >= best - noise]


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
    with undisturbed(model), undisturbed(shorter):
        model.eval()
        shorter.eval()
        for batch, x_NF in zip(images, inputs_of(shorter, classifier, images), strict=True):
            problem.add(x_NF.float(), model(batch).float())
        solved = problem.solve(PENALTY)
        linear.weight.copy_(solved[:-1].T)
        linear.bias.copy_(solved[-1])
