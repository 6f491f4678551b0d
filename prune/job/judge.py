"""Whether a retraining paid: held-out images decide, or the same ones zoomed.

A checkpoint that was trained elsewhere has often learned the held-out images too. Every network
that was made of it without training knows them just as well, so such networks can be compared. A
retrained one forgets them, and looks worse than it is (training images are no better: what is
augmented anew is forgotten too). It has to be compared on images that neither has ever seen: the
held-out ones, zoomed.

Where nobody labelled the images, the labels are the original's own answers: it is right on all of
them, learned or not, so its accuracy tells nothing. What tells is how sure it is: of images that it
has learned it is surer than of others (membership inference, Yeom et al., arXiv 1709.01604). Unless
it is less sure of held-out images than of training images, it may have learned both. The question
that zoomed images then answer is which network gives the original's answers on pictures that none
of them has seen, and the labels are its answers to the zoomed pictures, not to the whole ones.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import hypot, sqrt
from statistics import NormalDist

import torch
from torch import Tensor
from torch.nn import functional

from ...evaluate.measure.accuracy import EVALUATION_BATCH, measure_score
from ..forward import call, evaluating
from ..inputs.answered import AnsweredSplit
from ..inputs.split import Batch, ChangedSplit, Inputs, Split
from ..scores import Accuracy, Score
from ..tasks import class_probabilities
from .known import HELD_OUT_IMAGES, Case

ZOOM = 0.75
"""Share of height and width that is left of a zoomed image, before it is enlarged again: enough to
be unknown, little enough to be the same picture."""
CONFIDENCE = 0.95
"""With which held-out images have to be harder than training images to count as unknown."""


@dataclass(frozen=True, eq=False)
class Zoomed(ChangedSplit):
    """A split whose images (N, C, H, W) are their own middles, enlarged (bilinear)."""

    def changed(self, inputs: Inputs, labels_N: Tensor) -> Iterator[Batch]:
        """The batch, zoomed."""
        yield zoom(inputs), labels_N


def zoom(images: Tensor) -> Tensor:
    """The middle of every image (N, C, H, W), enlarged to its old size."""
    height, width = images.shape[2:]
    down, across = (max(1, round(ZOOM * size)) for size in (height, width))
    top, left = (height - down) // 2, (width - across) // 2
    middle = images[:, :, top : top + down, left : left + across]
    return functional.interpolate(middle, (height, width), mode="bilinear")


def zoomed(split: Split) -> Split:
    """The same images zoomed; where labels are the original's answers, with those to the zoomed."""
    if isinstance(split, AnsweredSplit):
        return split.over(Zoomed(split.split))
    return Zoomed(split)


@dataclass(frozen=True)
class Sureness:
    """How sure a network is of its answers.

    Attributes:
        value: mean over images of the probability of its answer; where an image may have several
            labels, the mean over them of that of the likelier of yes and no.
        error: its standard error.
    """

    value: float
    error: float


def may_know(training: Score | Sureness, held_out: Score | Sureness) -> bool:
    """Whether a network may have learned its held-out images: it finds them no harder.

    One-sided test of two proportions, p = hits of both together over images of both together:
    training - held_out > z sqrt(p (1 - p) (1 / n + 1 / m)) says that it has not. Of scores that are
    no counts, the squares of their standard errors add up.

    >>> may_know(Accuracy(938, 1000), Accuracy(937, 1000))
    True
    >>> may_know(Accuracy(995, 1000), Accuracy(937, 1000))
    False
    """
    noise = hypot(training.error, held_out.error)
    if isinstance(training, Accuracy) and isinstance(held_out, Accuracy):
        p = (training.correct + held_out.correct) / (training.total + held_out.total)
        noise = sqrt(p * (1 - p) * (1 / training.total + 1 / held_out.total))
    gap = training.value - held_out.value
    return gap <= NormalDist().inv_cdf(CONFIDENCE) * noise


def has_learned_held_out(original: Case) -> bool:
    """Whether the held-out images have to be zoomed before they judge what was retrained.

    Never for inputs that are no images, and cannot be zoomed; nor where the original's own outputs
    judge, which it cannot have learned by heart.
    """
    if original.outputs is not None:
        return False
    example = original.example
    if not isinstance(example, Tensor) or example.ndim != 4:
        return False
    train, held_out = original.data.train, original.data.held_out
    if original.data.unlabeled:
        return may_know(_sureness(original, train), _sureness(original, held_out))
    return may_know(_accuracy(original, train), original.accuracy)


def _sureness(case: Case, split: Split) -> Sureness:
    """Of as many images as choices are made on."""
    is_multi = case.data.multi_label
    found = []
    limit = min(split.num_images, HELD_OUT_IMAGES)
    with evaluating(case.model):
        for images, _ in split.batches(EVALUATION_BATCH, device=case.device, limit=limit):
            shares_NK = class_probabilities(call(case.model, images), multi_label=is_multi)
            of_answer_NK = torch.maximum(shares_NK, 1 - shares_NK) if is_multi else shares_NK
            found.append(of_answer_NK.mean(1) if is_multi else of_answer_NK.amax(1))
    sure_N = torch.cat(found).double().cpu()
    return Sureness(float(sure_N.mean()), float(sure_N.std() / sqrt(len(sure_N))))


def _accuracy(case: Case, split: Split) -> Score:
    """Of a seeded part of any split, as many images as choices are made on."""
    limit = min(split.num_images, HELD_OUT_IMAGES)
    return measure_score(case.model, split, device=case.device, limit=limit)


TO_TRY = "try a smaller `lr`, more `epochs`, or more training images; or leave it at `epochs=0`"


def _percent(score: Score) -> str:
    return f"{100 * score.value:.2f} %"


@dataclass(frozen=True)
class Verdict:
    """Whether the retrained network is the better one, and what has to be said about it."""

    paid: bool
    note: str = ""


def judge_retraining(original: Case, before: Case, after: Case) -> Verdict:
    """Whether a retraining paid.

    Held-out images decide; but where they say no and the original may have learned them, they
    decide zoomed.

    Args:
        original: whose training the held-out images may have been part of.
        before, after: the network that was retrained, and what came of it.
    """
    old, new = before.accuracy, after.accuracy
    if new.value >= old.value:
        return Verdict(True)
    figures = f"held-out {new.name} {_percent(new)} after it, {_percent(old)} before it"
    if not has_learned_held_out(original):
        return Verdict(False, f"retraining was dropped: {figures}; {TO_TRY}")
    unseen = zoomed(original.data.held_out)
    old, new = _accuracy(before, unseen), _accuracy(after, unseen)
    seen = f"{_percent(new)} after it, {_percent(old)} before it on the same images zoomed"
    if new.value <= old.value:
        return Verdict(False, f"retraining was dropped: {figures}; {seen}; {TO_TRY}")
    why = (
        "the original is as sure of held-out images as of training images, so it may have learned "
        "them, and their figures may flatter"
        if original.data.unlabeled
        else "the original finds held-out images no harder than training images, so it has "
        "probably learned them, and their figures flatter"
    )
    return Verdict(
        True,
        f"retraining was judged on zoomed images: {why} what was not retrained ({figures}; {seen})",
    )
