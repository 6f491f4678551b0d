"""What choices are made on: held-out images, the same ones every time.

A checkpoint that was trained elsewhere has often learned the held-out images too. Every network
that was made of it without training knows them just as well, so such networks can be compared. A
retrained one forgets them, and looks worse than it is (training images are no better: what is
augmented anew is forgotten too). It has to be compared on images that neither has ever seen: the
held-out ones, zoomed.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...evaluate.measure.accuracy import Accuracy, measure_accuracy
from ..inputs.split import Batch, DataSet, Split

BATCH_SIZE = 250
EXAMPLES = 8
HELD_OUT_IMAGES = 2000
"""Held-out images that choices are made on: a seeded part where there are more."""
ZOOM = 0.75
"""Share of height and width that is left of a zoomed image, before it is enlarged again."""
CONFIDENCE = 0.95
"""With which held-out images have to be harder than training images to count as unknown."""


def example_of(data: DataSet, device: torch.device) -> Tensor:
    """A few held-out images: what the structure is traced with and the certificate checked on."""
    images, _ = next(iter(data.held_out.batches(EXAMPLES, device=device)))
    return images


def held_out_accuracy(model: nn.Module, data: DataSet, device: torch.device) -> Accuracy:
    """Accuracy on the held-out images that choices are made on."""
    limit = min(data.held_out.num_images, HELD_OUT_IMAGES)
    return measure_accuracy(model, data.held_out, device=device, limit=limit)


def training_accuracy(model: nn.Module, data: DataSet, device: torch.device) -> Accuracy:
    """Accuracy on a seeded part of the training images, as many, not augmented."""
    limit = min(data.train.num_images, HELD_OUT_IMAGES)
    return measure_accuracy(model, data.train, device=device, limit=limit)


@dataclass(frozen=True)
class Zoomed:
    """A split whose images (N, C, H, W) are their own middles, enlarged (bilinear)."""

    split: Split

    @property
    def num_images(self) -> int:
        """How many images it holds."""
        return self.split.num_images

    @property
    def labels_N(self) -> Tensor:
        """Label of each image."""
        return self.split.labels_N

    def batches(
        self,
        batch_size: int,
        *,
        device: torch.device | str,
        augment: bool = False,
        shuffle_seed: int | None = None,
        limit: int | None = None,
    ) -> Iterator[Batch]:
        """One pass; see `Split.batches`."""
        for images, labels_N in self.split.batches(
            batch_size, device=device, augment=augment, shuffle_seed=shuffle_seed, limit=limit
        ):
            yield zoom(images), labels_N


def zoom(images: Tensor) -> Tensor:
    """The middle of every image (N, C, H, W), enlarged to its old size."""
    height, width = images.shape[2:]
    down, across = (max(1, round(ZOOM * size)) for size in (height, width))
    top, left = (height - down) // 2, (width - across) // 2
    middle = images[:, :, top : top + down, left : left + across]
    return functional.interpolate(middle, (height, width), mode="bilinear")


def zoomed_accuracy(model: nn.Module, data: DataSet, device: torch.device) -> Accuracy:
    """Accuracy on the same held-out images, zoomed."""
    limit = min(data.held_out.num_images, HELD_OUT_IMAGES)
    return measure_accuracy(model, Zoomed(data.held_out), device=device, limit=limit)


def may_know(training: Accuracy, held_out: Accuracy) -> bool:
    """Whether a network may have learned its held-out images: it finds them no harder.

    One-sided test of two proportions, p = hits of both together over images of both together:
    training - held_out > z sqrt(p (1 - p) (1 / n + 1 / m)) says that it has not.

    >>> may_know(Accuracy(938, 1000), Accuracy(937, 1000))
    True
    >>> may_know(Accuracy(995, 1000), Accuracy(937, 1000))
    False
    """
    p = (training.correct + held_out.correct) / (training.total + held_out.total)
    noise = sqrt(p * (1 - p) * (1 / training.total + 1 / held_out.total))
    gap = training.top1 - held_out.top1
    return gap <= NormalDist().inv_cdf(CONFIDENCE) * noise


def has_learned_held_out(original: nn.Module, data: DataSet, device: torch.device) -> bool:
    """Whether the held-out images have to be zoomed before they judge what was retrained.

    Never for inputs that are no images, and cannot be zoomed.
    """
    if example_of(data, device).ndim != 4:
        return False
    training = training_accuracy(original, data, device)
    return may_know(training, held_out_accuracy(original, data, device))


def retraining_paid(
    original: nn.Module,
    before: nn.Module,
    after: nn.Module,
    held_out: dict[str, Accuracy],
    data: DataSet,
    device: torch.device,
) -> tuple[bool, str]:
    """Whether the retrained network is the better one, and what has to be said about it.

    Held-out images decide; but where they say no and the original may have learned them, they
    decide zoomed.

    Args:
        original: whose training the held-out images may have been part of.
        before, after: the network that was retrained, and what came of it.
        held_out: accuracies of "repaired" (before) and "retrained" (after).
    """
    old, new = held_out["repaired"], held_out["retrained"]
    if new.top1 >= old.top1:
        return True, ""
    figures = f"held-out top-1 {new.top1:.4f} after it, {old.top1:.4f} before it"
    if not has_learned_held_out(original, data, device):
        return False, f"retraining was dropped: {figures}"
    old, new = (zoomed_accuracy(network, data, device) for network in (before, after))
    seen = f"{new.top1:.4f} after it, {old.top1:.4f} before it on the same images zoomed"
    if new.top1 <= old.top1:
        return False, f"retraining was dropped: {figures}; {seen}"
    return True, (
        "retraining was judged on zoomed images: the original finds held-out images no harder than "
        "training images, so it has probably learned them, and their figures flatter what was not "
        f"retrained ({figures}; {seen})"
    )
