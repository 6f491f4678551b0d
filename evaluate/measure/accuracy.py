"""Top-1 accuracy of a classifier, with the interval that the number of images allows.

Shapes: N images of a batch, K labels.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from ...prune.errors import InputError
from ...prune.forward import call, evaluating
from ...prune.outputs import NOT_FINITE, logits_of
from ...prune.progress import Progress, silent

if TYPE_CHECKING:
    from ...prune.inputs.data import Split

INTERVAL_CONFIDENCE = 0.95
"""How often the interval holds the true accuracy: what figures are usually stated with."""
EVALUATION_BATCH = 250
"""Images at once; it bounds memory, and changes no count but by rounding."""


@dataclass(frozen=True)
class Accuracy:
    """Top-1 accuracy as a count, so that nothing is lost to rounding.

    Attributes:
        correct: images whose highest output is their label.
        total: images looked at, at least one.

    >>> accuracy = Accuracy(correct=90, total=100)
    >>> f"{accuracy.top1:.2f} ({accuracy.low:.3f} to {accuracy.high:.3f})"
    '0.90 (0.826 to 0.945)'
    """

    correct: int
    total: int

    def __post_init__(self) -> None:
        assert 0 <= self.correct <= self.total, "more correct images than images"
        assert self.total > 0, "an accuracy needs at least one image"

    @property
    def top1(self) -> float:
        """Fraction of the images that are correct."""
        return self.correct / self.total

    @property
    def low(self) -> float:
        """Lower end of the 95 % Wilson interval, a fraction."""
        return wilson_interval(self.correct, self.total)[0]

    @property
    def high(self) -> float:
        """Upper end of the 95 % Wilson interval, a fraction."""
        return wilson_interval(self.correct, self.total)[1]


def wilson_interval(
    correct: int, total: int, confidence: float = INTERVAL_CONFIDENCE
) -> tuple[float, float]:
    """Score interval of a proportion p = correct / total, as fractions (low, high).

    Its ends are the x with |p - x| = z sqrt(x (1 - x) / total), z the normal quantile of
    (1 + confidence) / 2. Source: Wilson, J. Am. Stat. Assoc. 22, 209 (1927). Unlike the normal
    interval it stays inside 0..1 and is sound near both ends.

    >>> wilson_interval(0, 10)[0], wilson_interval(10, 10)[1]
    (0.0, 1.0)
    """
    from scipy.stats import binomtest

    ends = binomtest(correct, total).proportion_ci(confidence, method="wilson")
    return float(ends.low), float(ends.high)


def measure_accuracy(
    model: nn.Module,
    split: "Split",
    *,
    device: torch.device,
    progress: Progress = silent,
    limit: int | None = None,
) -> Accuracy:
    """Count the images of a part of the data that the network classifies correctly.

    Runs in evaluation mode without gradients, in the network's own precision; every module's
    mode is restored afterwards, also after an error.

    Args:
        model: classifier (N, channels, height, width) -> (N, K), already on `device`.
        split: the part of the data to look at.
        limit: look at this many images only (a seeded, shuffled choice of the split).

    Raises:
        InputError: the split is empty, the network gives no logits, or one is NaN or infinite.
    """
    hits = torch.zeros((), dtype=torch.int64, device=device)
    finite = torch.ones((), dtype=torch.bool, device=device)
    total = 0
    expected = split.num_images if limit is None else min(limit, split.num_images)
    with evaluating(model):
        for images, labels_N in split.batches(EVALUATION_BATCH, device=device, limit=limit):
            outputs_NK = logits_of(call(model, images))
            hits += (outputs_NK.argmax(dim=1) == labels_N).sum()
            finite &= torch.isfinite(outputs_NK).all()
            total += len(labels_N)
            progress(total, expected)
    if not total:
        raise InputError(
            "an empty part of the data given; expected at least one image to measure accuracy on"
        )
    if not bool(finite):  # read at the end: a read in every batch would make a GPU wait
        raise InputError(NOT_FINITE)
    return Accuracy(int(hits), total)
