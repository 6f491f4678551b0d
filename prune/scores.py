"""How good a network is on some images: a value, its interval, and what it is called.

Labels (N,) are one class for each image, and are counted (`Accuracy`). Labels (N, K) of 0 and 1 are
any number of them for each image, and are ranked (`MeanPrecision`). Where nobody labelled the
images, the labels are the answers of the network that came in: the same counts and ranks are then
called fidelity, and say nothing of how often these answers are right.

Shapes: N images, K labels.
"""

from dataclasses import dataclass, field
from functools import cached_property
from math import sqrt
from typing import Protocol

import torch
from torch import Tensor

from .average_precision import average_precision, mean_over_labels, resampled_means
from .bootstrap import INTERVAL_CONFIDENCE, bootstrap_interval
from .errors import InputError
from .structure.units import FloatArray, IntArray

MEAN_PRECISION = "mean average precision"
FIDELITY = "fidelity"
"""Name and key of scores whose labels are the answers of the network that came in."""
Plain = dict[str, int | float]


class Score(Protocol):
    """What the measures of both tasks share; every figure but `total` is a fraction."""

    @property
    def name(self) -> str:
        """What the value is called: "top-1", "mean average precision" or "fidelity"."""

    @property
    def key(self) -> str:
        """The name as a file has it: "top1", "mean_average_precision" or "fidelity"."""

    @property
    def value(self) -> float:
        """What networks are compared by; higher is better."""

    @property
    def low(self) -> float:
        """Lower end of the 95 % interval."""

    @property
    def high(self) -> float:
        """Upper end of the 95 % interval."""

    @property
    def error(self) -> float:
        """Standard error of the value."""

    @property
    def total(self) -> int:
        """Images looked at."""

    @property
    def plain(self) -> Plain:
        """Everything by name, for a file."""


@dataclass(frozen=True)
class Accuracy:
    """Top-1 accuracy, or fidelity, as a count, so that nothing is lost to rounding.

    Attributes:
        correct: images whose highest output is their label.
        total: images looked at, at least one.
        of_answers: whether labels are the answers of the network that came in.

    >>> accuracy = Accuracy(correct=90, total=100)
    >>> f"{accuracy.top1:.2f} ({accuracy.low:.3f} to {accuracy.high:.3f})"
    '0.90 (0.826 to 0.945)'
    """

    correct: int
    total: int
    of_answers: bool = False

    def __post_init__(self) -> None:
        assert 0 <= self.correct <= self.total, "more correct images than images"
        assert self.total > 0, "an accuracy needs at least one image"

    @property
    def name(self) -> str:
        """What the value is called."""
        return FIDELITY if self.of_answers else "top-1"

    @property
    def key(self) -> str:
        """The name as a file has it."""
        return FIDELITY if self.of_answers else "top1"

    @property
    def top1(self) -> float:
        """Fraction of the images that are correct."""
        return self.correct / self.total

    @property
    def value(self) -> float:
        """The same: what networks are compared by."""
        return self.top1

    @property
    def low(self) -> float:
        """Lower end of the 95 % Wilson interval, a fraction."""
        return wilson_interval(self.correct, self.total)[0]

    @property
    def high(self) -> float:
        """Upper end of the 95 % Wilson interval, a fraction."""
        return wilson_interval(self.correct, self.total)[1]

    @property
    def error(self) -> float:
        """Standard error of the fraction."""
        return sqrt(self.top1 * (1 - self.top1) / self.total)

    @property
    def plain(self) -> Plain:
        """Everything by name, for a file."""
        ends: Plain = {self.key: self.value, "low": self.low, "high": self.high}
        return ends | {"same" if self.of_answers else "correct": self.correct, "total": self.total}


@dataclass(frozen=True, eq=False)
class MeanPrecision:
    """Mean average precision of a network with several labels for an image.

    The mean over the labels that occur (macro). Its interval is a seeded bootstrap over the images.

    Attributes:
        scores_NK: outputs. targets_NK: 0 or 1.
        threshold: outputs above it say that the label is there; for `micro_f1` alone.
        of_answers: whether labels are the answers of the network that came in.
    """

    scores_NK: FloatArray = field(repr=False)
    targets_NK: IntArray = field(repr=False)
    threshold: float = 0.0
    of_answers: bool = False

    @property
    def name(self) -> str:
        """What the value is called."""
        return f"{FIDELITY} (mean average precision)" if self.of_answers else MEAN_PRECISION

    @property
    def key(self) -> str:
        """The name as a file has it."""
        return FIDELITY if self.of_answers else MEAN_PRECISION.replace(" ", "_")

    @property
    def total(self) -> int:
        """Images looked at."""
        return len(self.scores_NK)

    @cached_property
    def value(self) -> float:
        """Mean over the labels that occur of their average precision."""
        return float(mean_over_labels(average_precision(self.scores_NK, self.targets_NK)))

    @cached_property
    def _resampled(self) -> FloatArray:
        return resampled_means(self.scores_NK, self.targets_NK)

    @property
    def low(self) -> float:
        """Lower end of the 95 % bootstrap interval; never above the value."""
        return bootstrap_interval(self.value, self._resampled)[0]

    @property
    def high(self) -> float:
        """Upper end of the 95 % bootstrap interval; never below the value."""
        return bootstrap_interval(self.value, self._resampled)[1]

    @property
    def error(self) -> float:
        """Standard deviation over the resamples."""
        return float(self._resampled.std())

    @property
    def micro_f1(self) -> float:
        """F1 of all decisions of all labels together: 2 tp / (2 tp + fp + fn); 1 where none is."""
        said_NK, there_NK = self.scores_NK > self.threshold, self.targets_NK == 1
        both = int((said_NK & there_NK).sum())
        either = int(said_NK.sum() + there_NK.sum())
        return 2 * both / either if either else 1.0

    @property
    def plain(self) -> Plain:
        """Everything by name, for a file."""
        ends: Plain = {self.key: self.value, "low": self.low, "high": self.high}
        return ends | {"micro_f1": self.micro_f1, "total": self.total}


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


@dataclass
class Tally:
    """Class scores against labels, batch by batch, until they become a `Score`.

    Attributes:
        threshold: see `MeanPrecision`.
        hits: images whose highest score is their label; on their device, so that nothing waits.
        answers: scores and labels of all batches, of labels (N, K) alone.
        of_answers: see `Accuracy`.
    """

    threshold: float = 0.0
    total: int = 0
    hits: Tensor | int = 0
    answers: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    of_answers: bool = False

    @staticmethod
    def on(split: object, threshold: float = 0.0) -> "Tally":
        """An empty one for the labels of a part of some data, which says whose they are."""
        return Tally(threshold, of_answers=getattr(split, "of_answers", False))

    def add(self, scores_NK: Tensor, labels_N: Tensor) -> None:
        """Take in a batch; labels are (N,), or (N, K) of 0 and 1.

        Raises:
            InputError: there is not one row of scores for each image.
        """
        if len(scores_NK) != len(labels_N):
            raise InputError(
                f"{len(scores_NK)} rows of outputs given for {len(labels_N)} images; expected one "
                "for each image, also where a batch has a single one; give a network that does"
            )
        self.total += len(labels_N)
        if labels_N.ndim == 1:
            self.hits = self.hits + (scores_NK.argmax(dim=1) == labels_N).sum()
        else:
            self.answers.append((scores_NK.detach().float(), labels_N))

    def score(self) -> Score:
        """Of all that was taken in: one batch or more."""
        if not self.answers:
            return Accuracy(int(self.hits), self.total, self.of_answers)
        scores_NK = torch.cat([scores for scores, _ in self.answers]).cpu().double().numpy()
        targets_NK = torch.cat([labels for _, labels in self.answers]).cpu().numpy()
        return MeanPrecision(scores_NK, targets_NK, self.threshold, self.of_answers)
