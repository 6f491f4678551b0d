"""What is refused and what is said of a network whose labels look wrong."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from prune_dl.prune import compress
from prune_dl.prune.errors import InputError
from prune_dl.prune.inputs.checkpoint import Checkpoint
from prune_dl.prune.inputs.datasets import wrap_datasets
from prune_dl.prune.inputs.origin import Origin
from prune_dl.prune.inputs.preprocessing import Preprocessing
from prune_dl.prune.options import DataOptions
from prune_dl.prune.settling.labels import settle_labels
from prune_dl.prune.settling.opened import Opened
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

CPU = torch.device("cpu")
FOLDERS = ("0", "1", "10", "2")


class Channels(nn.Module):
    """The label is the channel that is brightest; outputs come in an order of their own."""

    def __init__(self, order: tuple[int, ...]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 8, 1, bias=False)
        self.head = nn.Linear(8, 4, bias=False)
        with torch.no_grad():
            self.conv.weight.copy_(torch.eye(4).repeat(2, 1)[:, :, None, None])
            self.head.weight.copy_(torch.eye(4).repeat(1, 2)[list(order)])

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.conv(images).relu().mean((2, 3)))  # type: ignore[no-any-return]


def images() -> TensorDataset:
    randomness = torch.Generator().manual_seed(0)
    labels = torch.arange(240) % 4
    bright = torch.nn.functional.one_hot(labels, 4)[:, :, None, None]
    return TensorDataset(bright + 0.3 * torch.rand(240, 4, 3, 3, generator=randomness), labels)


def opened(order: tuple[int, ...], stated: tuple[str, ...] = ()) -> Opened:
    data = replace(wrap_datasets("x", images(), images(), Preprocessing()), labels=FOLDERS)
    origin = Origin(None, 4, labels=stated)
    return Opened(Checkpoint(Channels(order).eval(), origin), data, CPU)


@pytest.mark.parametrize(
    ("order", "words"),
    [
        (
            (0, 1, 3, 2),
            r"natural order of their names, 0, 1, 2, 10, .*give `label_order=natural`, or ",
        ),
        ((1, 0, 2, 3), r"with the labels 1, 0, 10, 2, it gets 100.0 % .*give it as `labels`, or "),
    ],
)
def test_a_certain_order_is_refused_unless_the_present_one_was_stated(
    order: tuple[int, ...], words: str
) -> None:
    with pytest.raises(InputError, match=words + "`label_order=sorted` if the present order"):
        settle_labels(opened(order), DataOptions())
    said = settle_labels(opened(order), DataOptions(label_order="sorted")).checkpoint.notes
    assert "another order of the labels fits the network better" in said[-1]
    assert settle_labels(opened(order, FOLDERS), DataOptions()).checkpoint.notes == said


def test_a_network_whose_labels_are_right_is_left_alone() -> None:
    right = opened((0, 1, 2, 3))
    assert settle_labels(right, DataOptions()).checkpoint.notes == ()


def test_a_network_near_chance_is_told() -> None:
    network = opened((0, 1, 2, 3))
    with torch.no_grad():
        network.checkpoint.model.head.weight.zero_()  # type: ignore[union-attr, operator]
    (note,) = settle_labels(network, DataOptions()).checkpoint.notes
    assert "gets 25.0 % of 240 held-out and training images right" in note
    assert "either it is not trained, or its images are fed in another way (`mean`" in note


@pytest.mark.parametrize(("order", "is_told"), [((0, 1, 2, 3), False), ((2, 0, 3, 1), True)])
def test_compress_warns_and_refuses_nothing(order: tuple[int, ...], is_told: bool) -> None:
    loader: DataLoader[Any] = DataLoader(images(), batch_size=32)
    done = compress(Channels(order), loader, 4, keep=0.5, epochs=0, device="cpu")
    told = [note for note in done.warnings if "order of the labels fits" in note]
    assert bool(told) is is_told
    assert not told or told[0].endswith("check the labels of your loaders")


def test_looking_at_answers_uses_up_no_random_number() -> None:
    network, state = opened((0, 1, 2, 3)), torch.get_rng_state()
    settle_labels(network, DataOptions())
    assert torch.equal(torch.get_rng_state(), state)
