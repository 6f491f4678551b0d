"""How good a classifier is on a part of the data, with the interval that the images allow.

Shapes: N images of a batch, K labels.
"""

from typing import TYPE_CHECKING

import torch
from torch import nn

from ...prune.errors import InputError
from ...prune.forward import call, evaluating
from ...prune.outputs import NOT_FINITE, class_scores
from ...prune.progress import Progress, silent
from ...prune.scores import Accuracy as Accuracy
from ...prune.scores import Score, Tally
from ...prune.scores import wilson_interval as wilson_interval

if TYPE_CHECKING:
    from ...prune.inputs.data import Split

EVALUATION_BATCH = 250
"""Images at once; it bounds memory, and changes no count but by rounding."""


def measure_score(
    model: nn.Module,
    split: "Split",
    *,
    device: torch.device,
    progress: Progress = silent,
    limit: int | None = None,
) -> Score:
    """How good a network is on a part of the data: top-1 accuracy, or mean average precision; where
    labels are the answers of the network that came in, fidelity.

    Runs in evaluation mode without gradients, in the network's own precision; every module's
    mode is restored afterwards, also after an error.

    Args:
        model: classifier (N, channels, height, width) -> (N, K), already on `device`.
        split: the part of the data to look at.
        limit: look at this many images only (a seeded, shuffled choice of the split).

    Raises:
        InputError: the split is empty, the network gives no logits, or one is NaN or infinite.
    """
    tally = Tally.on(split)
    finite = torch.ones((), dtype=torch.bool, device=device)
    expected = split.num_images if limit is None else min(limit, split.num_images)
    with evaluating(model):
        for images, labels_N in split.batches(EVALUATION_BATCH, device=device, limit=limit):
            scores_NK = class_scores(call(model, images))
            finite &= torch.isfinite(scores_NK).all()
            tally.add(scores_NK, labels_N)
            progress(tally.total, expected)
    if not tally.total:
        raise InputError(
            "an empty part of the data given; expected at least one image to measure accuracy on"
        )
    if not bool(finite):  # read at the end: a read in every batch would make a GPU wait
        raise InputError(NOT_FINITE)
    return tally.score()


def measure_accuracy(
    model: nn.Module,
    split: "Split",
    *,
    device: torch.device,
    progress: Progress = silent,
    limit: int | None = None,
) -> Accuracy:
    """Count the images of a part of the data that the network classifies correctly.

    Args:
        as `measure_score`, for labels that are one class for each image.

    Raises:
        InputError: as `measure_score`, or an image has several labels.
    """
    score = measure_score(model, split, device=device, progress=progress, limit=limit)
    if not isinstance(score, Accuracy):
        raise InputError(
            "data with several labels for an image given; expected one label for each, which "
            "top-1 accuracy counts; use `measure_score`"
        )
    return score
