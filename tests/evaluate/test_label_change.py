"""What became of every label: exact counts on answers that were written by hand."""

import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image
from prune_dl.evaluate.measure.accuracy import measure_score
from prune_dl.evaluate.measure.answers import Compared, PairedAnswers, compare_answers
from prune_dl.evaluate.report.label_change import ConfusionLine, LabelLine, label_change
from prune_dl.evaluate.report.thumbnails import InputScale, thumbnail
from prune_dl.prune.inputs.arrays import ArraySplit, Images
from prune_dl.prune.scores import Accuracy, MeanPrecision
from torch import nn

NAMES = ("cat", "dog", "owl")
ANSWERS = PairedAnswers(
    labels_N=np.array([0, 0, 0, 1, 1, 2]),
    before_N=np.array([0, 0, 1, 1, 0, 2]),
    after_N=np.array([0, 1, 1, 1, 1, 0]),
    pictures={1: torch.zeros(1, 2, 2), 4: torch.ones(1, 2, 2), 5: torch.ones(1, 2, 2)},
)
COMPARED = Compared(Accuracy(4, 6), Accuracy(4, 6), ANSWERS)


def test_every_label_has_its_accuracy_before_and_after() -> None:
    found = label_change(COMPARED, NAMES, "test", InputScale())
    assert found is not None
    assert found.labels == (
        LabelLine("cat", 3, 2 / 3, 1 / 3),
        LabelLine("dog", 2, 1 / 2, 1.0),
        LabelLine("owl", 1, 1.0, 0.0),
    )
    assert [line.label for line in found.most_lost] == ["owl", "cat", "dog"]
    assert (found.measure, found.changed, found.lost, found.gained) == ("accuracy", 3, 2, 1)


def test_confusions_that_changed_most_come_first() -> None:
    found = label_change(COMPARED, NAMES, "test", InputScale())
    assert found is not None
    assert found.confusions == (
        ConfusionLine("cat", "dog", 1, 2),
        ConfusionLine("dog", "cat", 1, 0),
        ConfusionLine("owl", "cat", 0, 1),
    )


def test_examples_are_images_that_were_right_first() -> None:
    found = label_change(COMPARED, NAMES, "test", InputScale((0.5,), (0.5,)))
    assert found is not None
    shown = [(x.index, x.label, x.before, x.after, x.kind) for x in found.examples]
    assert shown == [
        (1, "cat", "cat", "dog", "lost"),
        (5, "owl", "owl", "cat", "lost"),
        (4, "dog", "cat", "dog", "gained"),
    ]
    assert all(x.png for x in found.examples)


def test_answers_of_the_original_are_called_fidelity() -> None:
    ours = Compared(Accuracy(6, 6, of_answers=True), Accuracy(4, 6, of_answers=True), ANSWERS)
    found = label_change(ours, NAMES, "held-out", InputScale())
    assert found is not None
    assert (found.part, found.measure) == ("held-out", "fidelity")


def test_several_labels_have_average_precision_and_no_confusions() -> None:
    targets = np.array([[1, 0, 0], [0, 1, 0], [1, 1, 0]])
    good = MeanPrecision(np.array([[2.0, -1, 0], [-1, 2, 0], [1, 1, 0]]), targets)
    bad = MeanPrecision(np.array([[-2.0, -1, 0], [-1, 2, 0], [1, 1, 0]]), targets)
    found = label_change(Compared(good, bad, None), NAMES, "test", InputScale())
    assert found is not None
    assert [(x.label, x.images) for x in found.labels] == [("cat", 2), ("dog", 2)]
    assert found.labels[0].before == 1.0
    assert found.labels[0].after == pytest.approx((1 + 2 / 3) / 2)
    assert (found.measure, found.changed, found.confusions) == ("average precision", None, ())


def test_pixels_come_back_as_they_were() -> None:
    pixels = torch.tensor([[[0, 255]], [[10, 20]], [[30, 40]]], dtype=torch.uint8)
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.3, 0.4)
    normalised = (pixels / 255 - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[
        :, None, None
    ]
    text = thumbnail(normalised, InputScale(mean, std))
    assert text is not None
    shown = np.array(Image.open(io.BytesIO(base64.b64decode(text))))
    assert shown.transpose(2, 0, 1).tolist() == pixels.tolist()
    swapped = thumbnail(normalised, InputScale(mean, std, is_bgr=True))
    assert swapped is not None
    shown = np.array(Image.open(io.BytesIO(base64.b64decode(swapped))))
    assert shown[0, 0].tolist() == [30, 10, 0]
    assert thumbnail(torch.zeros(5, 2, 2), InputScale()) is None


def test_scores_of_two_networks_are_those_of_each_by_itself() -> None:
    torch.manual_seed(0)
    pixels, labels = torch.randint(0, 256, (300, 1, 4, 4)).byte(), torch.randint(0, 3, (300,))
    split = ArraySplit(Images(pixels), torch.arange(300), labels, (0.5,), (0.5,))
    first, second = (nn.Sequential(nn.Flatten(), nn.Linear(16, 3)) for _ in range(2))
    cpu = torch.device("cpu")
    found = compare_answers(first, second, split, device=cpu)
    assert found.original == measure_score(first, split, device=cpu)
    assert found.final == measure_score(second, split, device=cpu)
    assert found.answers is not None
    right = found.answers.after_N == found.answers.labels_N
    assert right.sum() == found.final.correct
    assert all(
        found.answers.before_N[i] != found.answers.after_N[i] for i in found.answers.pictures
    )
