"""How much the outputs of a network change per unit of error in a layer: measured, group by group.

The relative error e of a layer's response says nothing about what the network makes of it: in
ResNet-56 the same error costs twelve times as much in one group as in another. So each group in
turn is cut to half its width, its readers are repaired, and the change of the logits is measured:

    w_g = (|dz|^2 / |z|^2)  /  sum over readers r of e_r / (1 - e_r)

z are the logits of all images, less their mean over the labels, which no probability depends on
(with several labels for an image they stay as they are); dz is their change, and e_r the error that
the ranking states for that width. No label is read.

Gradients of the loss say less (docs/contest.md): they take the errors at different positions as
unrelated, and miss what the average pooling in front of a classifier adds up. Divergences of the
label probabilities hardly see an error where a network is sure, as it is of images that it has
memorised.

Where outputs are no logits, (|dz|^2 / |z|^2) is the mean over outputs of |dz|^2 relative to their
variance.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from ..forward import call, evaluating
from ..inputs.split import Inputs
from ..outputs import class_scores
from ..progress import Progress, silent
from ..repair.norms import find_norm_behind
from ..repair.repair import repair
from ..selection.allocate import noise_to_signal, plan_of
from ..selection.criteria import Ranking
from ..structure.cut import Cut
from ..structure.surgery import remove
from ..structure.units import FloatArray
from .known import Case, Measured

SENSITIVITY_IMAGES = 500
"""Held-out images that logits are compared on: two batches. All 28 groups of ResNet-56 together
then cost 14,000 forward passes, as much as two passes of the statistics."""


def measure_sensitivity(
    case: Case, measured: Measured, ranking: Ranking, *, progress: Progress = silent
) -> dict[str, float]:
    """Group -> w_g; 0 where nothing changed.

    Args:
        ranking: whose order each group is halved by.
        progress: called with (groups done, groups).
    """
    images = [] if case.outputs else [x for x, _ in case.held_out(SENSITIVITY_IMAGES)]
    norms = find_norm_behind(case.model, case.example)
    loss_of = _loss_of(case, images)
    groups = measured.structure.groups
    widths = np.array([len(group.units) for group in groups], dtype=np.int64)
    found: dict[str, float] = {}
    for index, (group, width) in enumerate(zip(groups, widths.tolist(), strict=True)):
        trial = widths.copy()
        trial[index] = max(1, width // 2)
        cut = Cut(measured.structure, plan_of(ranking, measured.structure, trial))
        removed = remove(case.model, cut)
        halved, _ = repair(removed, case.model, cut, measured.statistics, norm_behind=norms)
        noise = noise_at(ranking.error[index], width - int(trial[index]))
        lost = loss_of(halved)
        found[group.name] = lost / noise if noise > 0 else 0.0
        progress(index + 1, len(groups))
    return found


def _loss_of(case: Case, images: Sequence[Inputs]) -> Callable[[nn.Module], float]:
    """What a network loses: the change of its logits; or, where its outputs are something else,
    the mean relative error of all of them (`output_score`)."""
    judge = case.outputs
    if judge is not None:
        limit = case.at_most(SENSITIVITY_IMAGES)
        return lambda model: 1 - judge.score(model, case.data.held_out, limit).value
    multi_label = case.data.multi_label
    expected = _logits(case.model, images, multi_label)
    return lambda model: relative_change(expected, _logits(model, images, multi_label))


def noise_at(error: Mapping[str, FloatArray], num_removed: int) -> float:
    """Noise over signal of all readers of a group together, after so many units went."""
    return float(sum(noise_to_signal(error_M)[num_removed] for error_M in error.values()))


def relative_change(expected: Tensor, found: Tensor) -> float:
    """Squared change of logits (N, K), relative to their squares; 0 where all of them are 0.

    >>> relative_change(torch.tensor([[2.0, -2.0]]), torch.tensor([[1.0, -1.0]]))
    0.25
    """
    scale = float(expected.square().sum())
    return float((found - expected).square().sum()) / scale if scale > 0 else 0.0


def _logits(model: nn.Module, batches: Sequence[Inputs], multi_label: bool) -> Tensor:
    """Logits (N, K), centred over the labels where these share one probability."""
    with evaluating(model):
        logits_NK = torch.cat([class_scores(call(model, x)).double().cpu() for x in batches])
    return logits_NK if multi_label else logits_NK - logits_NK.mean(1, keepdim=True)
