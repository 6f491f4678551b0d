"""Who decides whether a retraining paid: held-out images, or the same ones zoomed."""

from dataclasses import replace

import pytest
import torch
from prune_dl.evaluate.measure.accuracy import Accuracy
from prune_dl.prune.inputs.answered import with_answers
from prune_dl.prune.inputs.arrays import ArraySplit, Images
from prune_dl.prune.inputs.split import DataSet
from prune_dl.prune.job.judge import Verdict, judge_retraining, may_know, zoom
from prune_dl.prune.job.known import Case
from torch import Tensor, nn

CPU = torch.device("cpu")
TRAIN, HELD_OUT, FRAME = range(200), range(200, 250), 255


def split(numbers: range) -> ArraySplit:
    """Images that show their number inside a frame; every label is 0."""
    pixels = torch.full((len(numbers), 1, 8, 8), FRAME, dtype=torch.uint8)
    pixels[:, :, 1:7, 1:7] = torch.tensor(numbers).to(torch.uint8).view(-1, 1, 1, 1)
    count = torch.arange(len(numbers))
    return ArraySplit(Images(pixels), count, torch.zeros_like(count), (0.0,), (1 / 255,))


PARTS = split(TRAIN), split(HELD_OUT), split(TRAIN)
DATA = DataSet("numbers", ("a", "b"), (1, 8, 8), (0.0,), (1 / 255,), *PARTS)


class Knows(nn.Module):
    """Right on so many training images, held-out images, and held-out images without a frame."""

    def __init__(self, training: int, held_out: int, zoomed: int = 0) -> None:
        super().__init__()
        self.training_right, self.held_out_right, self.zoomed_right = training, held_out, zoomed

    def forward(self, x: Tensor) -> Tensor:
        number = x[:, 0, 4, 4].round()
        framed = x[:, 0, 0, 0] == FRAME
        held_out = torch.where(framed, self.held_out_right, self.zoomed_right)
        right = (number < self.training_right) | ((number >= 200) & (number < 200 + held_out))
        return torch.stack([right.float(), 1 - right.float()], 1)


def verdict(original: Knows, before: Knows, after: Knows) -> Verdict:
    first = Case(original, DATA, CPU)
    return judge_retraining(first, first.of(before), first.of(after))


def test_better_on_held_out_images_is_better() -> None:
    assert verdict(Knows(200, 40), Knows(150, 35), Knows(120, 35)) == Verdict(True)


def test_an_original_that_never_saw_the_held_out_images_leaves_the_word_to_them() -> None:
    found = verdict(Knows(200, 40), Knows(150, 36), Knows(190, 35))
    assert not found.paid
    assert found.note == (
        "retraining was dropped: held-out top-1 70.00 % after it, 72.00 % before it; "
        "try a smaller `lr`, more `epochs`, or more training images; or leave it at `epochs=0`"
    )


def test_what_the_original_has_learned_is_compared_zoomed() -> None:
    found = verdict(Knows(190, 48), Knows(180, 45, 30), Knows(170, 43, 31))
    assert found.paid
    assert "62.00 % after it, 60.00 % before it on the same images zoomed" in found.note
    assert "probably learned them" in found.note
    found = verdict(Knows(190, 48), Knows(180, 45, 30), Knows(190, 43, 30))
    assert not found.paid
    assert "retraining was dropped" in found.note
    assert "60.00 % after it, 60.00 % before it on the same images zoomed" in found.note


def test_a_zoomed_image_is_its_middle_at_the_old_size() -> None:
    rising = torch.arange(16.0).view(1, 1, 1, 16).expand(2, 3, 12, 16)
    zoomed = zoom(rising)
    assert zoomed.shape == rising.shape
    assert zoomed[0, 0, 0, 0] == 2
    assert zoomed[0, 0, 0, -1] == 13
    assert zoomed[0, 0, 0].diff()[2:-2].allclose(torch.tensor(0.75))


@pytest.mark.parametrize(
    ("training", "held_out", "known"),
    [(938, 937, True), (900, 937, True), (950, 937, True), (960, 937, False), (1000, 900, False)],
)
def test_only_a_gap_beyond_noise_clears_a_network(
    training: int, held_out: int, known: bool
) -> None:
    assert may_know(Accuracy(training, 1000), Accuracy(held_out, 1000)) is known


class KnowsSurely(Knows):
    """The same, and surer of training images than of others."""

    def forward(self, x: Tensor) -> Tensor:
        surely = torch.where(x[:, 0, 4, 4].round() < len(TRAIN), 10.0, 1.0)
        return super().forward(x) * surely[:, None]


def verdict_by_answers(original: Knows, before: Knows, after: Knows) -> Verdict:
    data = with_answers(replace(DATA, unlabeled=True), original, CPU)
    first = Case(original, data, CPU)
    return judge_retraining(first, first.of(before), first.of(after))


def test_without_labels_zoomed_images_are_compared_by_answers_to_the_zoomed() -> None:
    original = Knows(200, 50, 20)
    worse = verdict_by_answers(original, Knows(200, 45, 20), Knows(200, 43, 40))
    assert not worse.paid  # with the answers to the whole images it would have
    assert "held-out fidelity 86.00 % after it, 90.00 % before it" in worse.note
    assert "60.00 % after it, 100.00 % before it on the same images zoomed" in worse.note
    better = verdict_by_answers(original, Knows(200, 45, 40), Knows(200, 43, 20))
    assert better.paid
    assert "as sure of held-out images as of training images" in better.note


def test_an_original_that_is_less_sure_of_held_out_images_leaves_the_word_to_them() -> None:
    found = verdict_by_answers(KnowsSurely(200, 50, 20), Knows(200, 45, 40), Knows(200, 43, 20))
    assert not found.paid
    assert "zoomed" not in found.note
