"""What became of every label: accuracy before and after, confusions, and images that changed.

Where nobody labelled the images, a label is the answer of the network that came in. Where an image
may have several labels, each label has its average precision, and there are no confusions.

Shapes: N images, K labels.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...prune.average_precision import average_precision
from ...prune.scores import FIDELITY, MeanPrecision
from ..measure.answers import Compared, PairedAnswers, kind_of
from .thumbnails import InputScale, thumbnail

CONFUSIONS = 12
"""Pairs of label and answer that are listed: those whose number changed most."""
EXAMPLES = {"lost": 8, "gained": 4, "other": 4}
"""Images that are shown, by what became of their answer."""


@dataclass(frozen=True)
class LabelLine:
    """One label: how many images have it, and its accuracy (or average precision), fractions."""

    label: str
    images: int
    before: float
    after: float


@dataclass(frozen=True)
class ConfusionLine:
    """How many images of a label had a wrong answer, before and after."""

    label: str
    answer: str
    before: int
    after: int


@dataclass(frozen=True)
class ExampleLine:
    """One image whose answer changed.

    Attributes:
        index: in the order in which the part of the data was read.
        kind: "lost" (was right), "gained" (is right) or "other".
        png: the image as the network sees it, base64; None where it is no picture.
    """

    index: int
    label: str
    before: str
    after: str
    kind: str
    png: str | None = None


@dataclass(frozen=True)
class LabelChange:
    """All of it, on one part of the data.

    Attributes:
        part: "test" or "held-out"; measure: "accuracy", "fidelity" or "average precision".
        images: how many. changed: answers that are not what they were, of them lost (was right)
            and gained (is right); None where an image may have several labels.
        labels: those that occur, in the order of the outputs.
        confusions, examples: the largest changes; a few images.
    """

    part: str
    measure: str
    images: int
    labels: tuple[LabelLine, ...]
    changed: int | None = None
    lost: int | None = None
    gained: int | None = None
    confusions: tuple[ConfusionLine, ...] = ()
    examples: tuple[ExampleLine, ...] = ()

    @property
    def of_answers(self) -> bool:
        """Whether labels are the answers of the network that came in."""
        return FIDELITY in self.measure

    @property
    def most_lost(self) -> tuple[LabelLine, ...]:
        """All labels, those that lost most first; ties stay in their order."""
        return tuple(sorted(self.labels, key=lambda line: line.after - line.before))


def label_change(
    compared: Compared, names: Sequence[str], part: str, scale: InputScale
) -> LabelChange | None:
    """What became of every label; None where the scores are not about labels.

    Args:
        names: of the K labels. part: "test" or "held-out".
        scale: what pixels were normalised with, to show them again.
    """
    original, final = compared.original, compared.final
    if isinstance(original, MeanPrecision) and isinstance(final, MeanPrecision):
        measure = f"{FIDELITY} (average precision)" if original.of_answers else "average precision"
        lines = _precision_lines(original, final, names)
        return LabelChange(part, measure, original.total, lines)
    if compared.answers is None:
        return None
    return _of_answers(
        compared.answers, names, LabelChange(part, _measure(compared), original.total, ()), scale
    )


def _measure(compared: Compared) -> str:
    return FIDELITY if compared.original.key == FIDELITY else "accuracy"


def _precision_lines(
    original: MeanPrecision, final: MeanPrecision, names: Sequence[str]
) -> tuple[LabelLine, ...]:
    targets_NK = original.targets_NK
    before_K = average_precision(original.scores_NK, targets_NK)
    after_K = average_precision(final.scores_NK, targets_NK)
    counts_K = (targets_NK == 1).sum(0)
    return tuple(
        LabelLine(_name(names, k), int(counts_K[k]), float(before_K[k]), float(after_K[k]))
        for k in np.flatnonzero(counts_K).tolist()
    )


def _of_answers(
    answers: PairedAnswers, names: Sequence[str], empty: LabelChange, scale: InputScale
) -> LabelChange:
    labels_N, before_N, after_N = answers.labels_N, answers.before_N, answers.after_N
    changed_N = before_N != after_N
    return LabelChange(
        empty.part,
        empty.measure,
        empty.images,
        label_lines(answers, names),
        int(changed_N.sum()),
        int((changed_N & (before_N == labels_N)).sum()),
        int((changed_N & (after_N == labels_N)).sum()),
        confusion_lines(answers, names),
        example_lines(answers, names, scale),
    )


def label_lines(answers: PairedAnswers, names: Sequence[str]) -> tuple[LabelLine, ...]:
    """Every label that occurs, in the order of the outputs."""
    lines = []
    for label in np.unique(answers.labels_N).tolist():
        at_N = answers.labels_N == label
        before = float((answers.before_N[at_N] == label).mean())
        after = float((answers.after_N[at_N] == label).mean())
        lines.append(LabelLine(_name(names, label), int(at_N.sum()), before, after))
    return tuple(lines)


def confusion_lines(answers: PairedAnswers, names: Sequence[str]) -> tuple[ConfusionLine, ...]:
    """Wrong answers whose number changed, largest change first; ties by label, then answer."""
    labels = answers.labels_N.tolist()
    before = Counter(zip(labels, answers.before_N.tolist(), strict=True))
    after = Counter(zip(labels, answers.after_N.tolist(), strict=True))
    pairs = [p for p in before.keys() | after.keys() if p[0] != p[1] and before[p] != after[p]]
    pairs.sort(key=lambda pair: (-abs(after[pair] - before[pair]), pair))
    return tuple(
        ConfusionLine(_name(names, label), _name(names, answer), before[pair], after[pair])
        for pair in pairs[:CONFUSIONS]
        for label, answer in [pair]
    )


def example_lines(
    answers: PairedAnswers, names: Sequence[str], scale: InputScale
) -> tuple[ExampleLine, ...]:
    """A few images whose answer changed, those that were right first."""
    found: dict[str, list[ExampleLine]] = {kind: [] for kind in EXAMPLES}
    for i in sorted(answers.pictures):
        label, before, after = answers.labels_N[i], answers.before_N[i], answers.after_N[i]
        kind = kind_of(label, before, after)
        if len(found[kind]) < EXAMPLES[kind]:
            words = (_name(names, label), _name(names, before), _name(names, after))
            picture = thumbnail(answers.pictures[i], scale)
            found[kind].append(ExampleLine(i, *words, kind, picture))
    return tuple(line for lines in found.values() for line in lines)


def _name(names: Sequence[str], label: int) -> str:
    return names[int(label)] if int(label) < len(names) else str(int(label))
