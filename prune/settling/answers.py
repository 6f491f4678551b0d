"""What the network answers for some hundred images: what is known of its labels is judged by it.

Shapes: N images, K labels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from ...evaluate.measure.accuracy import EVALUATION_BATCH, Accuracy
from ..forward import call, evaluating
from ..inputs.split import Batches, DataSet
from ..outputs import class_scores
from ..structure.units import BoolArray, IntArray
from .opened import SETTLING_IMAGES


@dataclass(frozen=True, eq=False)
class Answers:
    """The output that was highest for each image, and the image's label, both (N,) int64.

    Attributes:
        num_labels: K.
        what: the images, in words.
    """

    predicted_N: IntArray
    labels_N: IntArray
    num_labels: int
    what: str = "held-out images"

    def __len__(self) -> int:
        return len(self.labels_N)

    def of(self, chosen: IntArray) -> "Answers":
        """Those for some of the images."""
        labels_N = self.labels_N[chosen]
        return Answers(self.predicted_N[chosen], labels_N, self.num_labels, self.what)

    def right_N(self, output_K: IntArray) -> BoolArray:
        """Which images are right if label k is output output_K[k] of the network, (N,)."""
        return np.asarray(output_K[self.labels_N] == self.predicted_N, dtype=np.bool_)

    def accuracy(self, output_K: IntArray) -> Accuracy:
        """The accuracy that the network then has."""
        return Accuracy(int(self.right_N(output_K).sum()), len(self))

    def halves(self) -> tuple["Answers", "Answers"]:
        """Two halves with every label as often in both, give or take one image."""
        order = np.argsort(self.labels_N, kind="stable")
        return self.of(order[0::2]), self.of(order[1::2])


def collect_answers(model: nn.Module, data: DataSet, device: torch.device) -> Answers | None:
    """The network's answers for `SETTLING_IMAGES` images, held-out ones first.

    Where there are fewer of those, training images make up the number: a network that has learned
    them shows the order of its labels the more clearly, and one near chance on them is near chance.
    The test part is never read. None if the labels are not one whole number for each image.

    No random number of the caller's is used up.
    """
    num_held = min(data.held_out.num_images, SETTLING_IMAGES)
    parts = [data.held_out.batches(EVALUATION_BATCH, device=device, limit=num_held)]
    if num_held < SETTLING_IMAGES:
        limit = SETTLING_IMAGES - num_held
        parts.append(data.train.batches(EVALUATION_BATCH, device=device, limit=limit))
    what = "held-out images" if len(parts) == 1 else "held-out and training images"
    with torch.random.fork_rng(devices=[]):  # loaders draw from it
        return answers_of(model, parts, len(data.labels), what)


def answers_of(
    model: nn.Module, parts: Sequence[Batches], num_labels: int, what: str
) -> Answers | None:
    """The network's answers for batches; None if they are not one label of K for each image."""
    predicted, labels = [], []
    with evaluating(model):
        for part in parts:
            for images, labels_N in part:
                logits_NK = class_scores(call(model, images))
                if logits_NK.shape[1] != num_labels or num_labels < 2 or labels_N.ndim != 1:
                    return None
                predicted.append(logits_NK.argmax(dim=1).cpu())
                labels.append(labels_N.cpu())
    if not labels:
        return None
    answers = Answers(torch.cat(predicted).numpy(), torch.cat(labels).numpy(), num_labels, what)
    is_label_N = (answers.labels_N >= 0) & (answers.labels_N < num_labels)
    return answers if is_label_N.all() else None
