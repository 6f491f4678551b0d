"""What two networks answer to the same images, in one pass over them.

Shapes: N images of the split, K labels.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ...prune.errors import InputError
from ...prune.forward import call, evaluating
from ...prune.outputs import NOT_FINITE, class_scores
from ...prune.progress import Progress, counted, silent
from ...prune.scores import Score, Tally
from ...prune.structure.units import IntArray
from .accuracy import EVALUATION_BATCH

if TYPE_CHECKING:
    from ...prune.inputs.split import Split

KEPT_PICTURES = 12
"""Images that are kept of each kind of change: right to wrong, wrong to right, wrong to wrong."""


@dataclass(frozen=True, eq=False)
class PairedAnswers:
    """One answer of each network to every image, in the order in which they came.

    | attribute | shape        | meaning                                                       |
    |-----------|--------------|---------------------------------------------------------------|
    | labels_N  | (N,) int64   | the right answers, or the original's where nobody labelled it |
    | before_N  | (N,) int64   | of the original                                               |
    | after_N   | (N,) int64   | of the final network                                          |
    | pictures  | position -> (C, H, W) | normalised inputs of a few images whose answer changed |
    """

    labels_N: IntArray
    before_N: IntArray
    after_N: IntArray
    pictures: dict[int, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Compared:
    """Two networks on one part of the data.

    Attributes:
        answers: None where an image may have several labels.
    """

    original: Score
    final: Score
    answers: PairedAnswers | None


def compare_answers(
    original: nn.Module,
    final: nn.Module,
    split: "Split",
    *,
    device: torch.device,
    progress: Progress = silent,
) -> Compared:
    """Score two networks, and keep what they answer; the scores are those of `measure_score`.

    Raises:
        InputError: the split is empty, a network gives no logits, or one is NaN or infinite.
    """
    tallies = (Tally.on(split), Tally.on(split))
    parts: list[tuple[Tensor, ...]] = []
    pictures: dict[int, Tensor] = {}
    finite = torch.ones((), dtype=torch.bool, device=device)
    with evaluating(original), evaluating(final):
        batches = split.batches(EVALUATION_BATCH, device=device)
        for images, labels in counted(batches, progress, split.num_images):
            start = tallies[0].total
            found = []
            for model, tally in zip((original, final), tallies, strict=True):
                scores_NK = class_scores(call(model, images))
                finite &= torch.isfinite(scores_NK).all()
                tally.add(scores_NK, labels)
                found.append(scores_NK.argmax(1).cpu())
            if labels.ndim == 1:
                parts.append((labels.cpu(), *found))
                _keep_pictures(pictures, parts, images, start)
    if not tallies[0].total:
        raise InputError(
            "an empty part of the data given; expected at least one image to compare answers on"
        )
    if not bool(finite):
        raise InputError(NOT_FINITE)
    return Compared(tallies[0].score(), tallies[1].score(), _joined(parts, pictures))


def _joined(parts: list[tuple[Tensor, ...]], pictures: dict[int, Tensor]) -> PairedAnswers | None:
    if not parts:
        return None
    labels_N, before_N, after_N = (torch.cat(column).numpy() for column in zip(*parts, strict=True))
    return PairedAnswers(labels_N, before_N, after_N, pictures)


def _keep_pictures(
    pictures: dict[int, Tensor], parts: list[tuple[Tensor, ...]], images: object, start: int
) -> None:
    """Keep images whose answer changed, the first ones of each kind."""
    if not isinstance(images, Tensor) or images.ndim != 4:
        return
    counts = dict.fromkeys(("lost", "gained", "other"), 0)
    for labels_N, before_N, after_N in parts[:-1]:
        for i in torch.nonzero(before_N != after_N).flatten().tolist():
            counts[kind_of(labels_N[i], before_N[i], after_N[i])] += 1
    labels_N, before_N, after_N = parts[-1]
    for i in torch.nonzero(before_N != after_N).flatten().tolist():
        kind = kind_of(labels_N[i], before_N[i], after_N[i])
        counts[kind] += 1
        if counts[kind] <= KEPT_PICTURES:
            pictures[start + i] = images[i].float().cpu()


def kind_of(label: object, before: object, after: object) -> str:
    """ "lost" where the first answer was right, "gained" where the second is, else "other"."""
    if before == label:
        return "lost"
    return "gained" if after == label else "other"
