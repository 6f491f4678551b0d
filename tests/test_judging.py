"""Who decides whether a retraining paid: held-out images, or what both networks still know."""

import pytest
import torch
from prune_dl.evaluate.accuracy import Accuracy
from prune_dl.prune.inputs.arrays import ArraySplit, Images
from prune_dl.prune.inputs.split import DataSet
from prune_dl.prune.judging import held_out_accuracy, may_know, retraining_paid
from torch import Tensor, nn

CPU = torch.device("cpu")
TRAIN, HELD_OUT = range(200), range(200, 250)


def split(numbers: range) -> ArraySplit:
    """Images whose one pixel is their number; every label is 0."""
    pixels = torch.tensor(numbers).to(torch.uint8).view(-1, 1, 1, 1)
    count = torch.arange(len(numbers))
    return ArraySplit(Images(pixels), count, torch.zeros_like(count), (0.0,), (1 / 255,))


PARTS = split(TRAIN), split(HELD_OUT), split(TRAIN)
DATA = DataSet("numbers", ("a", "b"), (1, 1, 1), (0.0,), (1 / 255,), *PARTS)


class Knows(nn.Module):
    """Right on the first so many training images and the first so many held-out ones."""

    def __init__(self, training: int, held_out: int) -> None:
        super().__init__()
        self.last = training, 200 + held_out

    def forward(self, x: Tensor) -> Tensor:
        number = x.flatten(1)[:, 0].round()
        right = (number < self.last[0]) | ((number >= 200) & (number < self.last[1]))
        return torch.stack([right.float(), 1 - right.float()], 1)


def verdict(original: Knows, before: Knows, after: Knows) -> tuple[bool, str]:
    held_out = {
        name: held_out_accuracy(network, DATA, CPU)
        for name, network in (("original", original), ("repaired", before), ("retrained", after))
    }
    return retraining_paid(original, before, after, held_out, DATA, CPU)


def test_better_on_held_out_images_is_better() -> None:
    assert verdict(Knows(200, 40), Knows(150, 35), Knows(120, 35)) == (True, "")


def test_an_original_that_never_saw_the_held_out_images_leaves_the_word_to_them() -> None:
    paid, note = verdict(Knows(200, 40), Knows(150, 36), Knows(190, 35))
    assert not paid
    assert note == "retraining was dropped: held-out top-1 0.7000 after it, 0.7200 before it"


def test_what_the_original_has_learned_is_compared_on_training_images() -> None:
    paid, note = verdict(Knows(190, 48), Knows(180, 45), Knows(186, 43))
    assert paid
    assert "0.9300 after it, 0.9000 before it" in note
    assert "probably learned them" in note
    paid, note = verdict(Knows(190, 48), Knows(180, 45), Knows(180, 43))
    assert not paid
    assert "0.9000 after it, 0.9000 before it" in note


@pytest.mark.parametrize(
    ("training", "held_out", "known"),
    [(938, 937, True), (900, 937, True), (950, 937, True), (960, 937, False), (1000, 900, False)],
)
def test_only_a_gap_beyond_noise_clears_a_network(
    training: int, held_out: int, known: bool
) -> None:
    assert may_know(Accuracy(training, 1000), Accuracy(held_out, 1000)) is known
