"""Recipes: how a network is trained from scratch, and how a repaired one is retrained."""

from dataclasses import dataclass
from typing import Any

from ..checks import check_ranges

RETRAINING: dict[str, Any] = {
    "lr": 0.005,
    "mixup": 0.5,
    "label_smoothing": 0.0,
    "distill": 0.7,
    "warm_up": 0.1,
}
"""What differs from training from scratch where the weights are good already.

A repaired network starts close to the original. Large steps lead it away, and cost epochs to come
back from, so the peak is a twentieth of the usual one, and reached soon. The teacher knows more
than the labels and smooths them already. It has learned the training images by heart, so it is
also asked about blends of two, which it has not seen (arXiv 2106.05237). Rates and blends are
compared in `docs/training.md`.
"""
IMITATION: dict[str, Any] = {"lr": 0.02, "mixup": 0.0}
"""What differs from `RETRAINING` where outputs are imitated that are no class scores: the rate that
`docs/other-networks.md` measured; blends are not made there."""


@dataclass(frozen=True)
class Training:
    """A recipe. The defaults train from scratch; `retraining` gives those for a repaired start.

    Batch size, learning rate, momentum and weight decay are those of Zagoruyko and Komodakis for
    CIFAR, arXiv 1605.07146; label smoothing is that of Szegedy et al., arXiv 1512.00567; students
    with few units learn best at temperatures from 2.5 to 4, arXiv 1503.02531, section 3.

    Attributes:
        epochs: passes over the training part; 0 changes nothing.
        batch_size: images per step.
        lr: largest learning rate of the one-cycle schedule (arXiv 1708.07120).
        momentum: of Nesterov's accelerated gradient.
        weight_decay: on weights of convolutions and linear layers only.
        label_smoothing: share of each target spread over all labels.
        warm_up: share of the steps in which the learning rate rises.
        distill: weight of the teacher's answers in the loss, 0 to 1; without a teacher it is 0.
        temperature: of the distillation.
        mixup: Beta parameter of mixup, 0 for none.
        averaging: decay per step of an exponential average of the weights, which is then what
            is returned; 0 for none.
        patience: stop after so many epochs without a better held-out accuracy and return the best
            epoch; None runs all of them and returns the last.
        max_batches: no more steps than this, for brief trainings; None for whole epochs.
        seed: of order, augmentation, mixup and dropout.

    Raises:
        UsageError: a number is out of range.
    """

    epochs: int = 30
    batch_size: int = 128
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    label_smoothing: float = 0.1
    warm_up: float = 0.25
    distill: float = 0.0
    temperature: float = 4.0
    mixup: float = 0.0
    averaging: float = 0.0
    patience: int | None = None
    max_batches: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        check_ranges(self)

    @property
    def in_words(self) -> str:
        """What a reader of a report has to know of it.

        >>> Training(epochs=3, distill=0.7, mixup=0.5).in_words
        '3 epochs of SGD, 128 images a step, peak rate 0.1, mixup 0.5, teacher 0.7 of the loss'
        """
        blended = f", mixup {self.mixup:g}" if self.mixup else ""
        averaged = f", weights averaged by {self.averaging:g}" if self.averaging else ""
        taught = f", teacher {self.distill:g} of the loss" if self.distill else ""
        return (
            f"{self.epochs} epoch{'s' * (self.epochs != 1)} of SGD, {self.batch_size} images a "
            f"step, peak rate {self.lr:g}{blended}{averaged}{taught}"
        )


def retraining(epochs: int, **changes: Any) -> Training:
    """The recipe for a repaired network: gentle steps, and the original as its teacher.

    >>> retraining(3, mixup=0.2).lr
    0.005
    """
    return Training(epochs=epochs, **{**RETRAINING, **changes})
