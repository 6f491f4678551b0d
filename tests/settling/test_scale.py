"""Mean and std that nobody says are those that the network was made for, and the source is said."""

import pytest
import torch
from prune_dl.prune.inputs.checkpoint import Checkpoint
from prune_dl.prune.inputs.datasets import wrap_datasets
from prune_dl.prune.inputs.known import KNOWN
from prune_dl.prune.inputs.origin import IMAGENET_MEAN, IMAGENET_STD, Origin
from prune_dl.prune.inputs.preprocessing import Preprocessing
from prune_dl.prune.inputs.split import DataSet
from prune_dl.prune.options import DataOptions
from prune_dl.prune.settling.opened import Opened
from prune_dl.prune.settling.scale import settle_scale
from prune_dl.prune.settling.scales import usual_scales
from prune_dl.prune.settling.settle import settle
from prune_dl.prune.settling.trials import (
    InputTrial,
    TrialAnswers,
    is_clear,
    judge,
    ranked,
    runner_up,
)
from torch import Tensor, nn
from torch.utils.data import TensorDataset

CPU = torch.device("cpu")
ASKED = DataOptions()
HALF = (0.5, 0.5, 0.5)
CIFAR = KNOWN["cifar10"]
THRESHOLD = 0.6
"""Of the brightness, in 0..1."""


class Bright(nn.Module):
    """Tells bright images from dark ones, if they come with its own mean and std."""

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.mean, self.std = (torch.tensor(x).view(-1, 1, 1) for x in (mean, std))

    def forward(self, images: Tensor) -> Tensor:
        brightness = (images * self.std + self.mean).mean((1, 2, 3)) - THRESHOLD
        return torch.stack([-brightness, brightness], 1) * 20


def greys(num_images: int = 1200, seed: int = 0) -> TensorDataset:
    levels = torch.rand(num_images, generator=torch.Generator().manual_seed(seed))
    images = (levels * 255).round().view(-1, 1, 1, 1).expand(-1, 3, 4, 4).to(torch.uint8)
    return TensorDataset(images, (images[:, 0, 0, 0] > THRESHOLD * 255).long())


def data_of(part: TensorDataset, wanted: Preprocessing | None = None) -> DataSet:
    return wrap_datasets("some", part, part, wanted or Preprocessing(), held_out=0.5)


def opened_with(model: nn.Module, data: DataSet, *, known: bool = False) -> Opened:
    return Opened(Checkpoint(model.eval(), Origin(None, 2), knows_inputs=known), data, CPU)


@pytest.mark.parametrize(
    ("name", "mean", "std"),
    [
        ("ImageNet's", IMAGENET_MEAN, IMAGENET_STD),
        ("usual of cifar10", CIFAR.mean, CIFAR.std),
        ("0 to 1", (0.0,) * 3, (1.0,) * 3),
        ("0 to 255", (0.0,) * 3, (1 / 255,) * 3),
        ("Caffe's", IMAGENET_MEAN, (1 / 255,) * 3),
    ],
)
def test_the_scale_of_the_network_is_found_and_its_source_is_said(
    name: str, mean: tuple[float, ...], std: tuple[float, ...]
) -> None:
    found = settle_scale(opened_with(Bright(mean, std), data_of(greys())), ASKED)
    assert (found.data.mean, found.data.std) == (mean, std)
    words = found.data.sources.scale.words
    assert words.startswith(f"{name}, measured: 100.0 % of 500 held-out images, next best ")
    assert not found.data.sources.scale.is_guess
    assert not found.checkpoint.notes
    for part in (found.data.train, found.data.held_out, found.data.test):
        images, labels = next(part.batches(50, device="cpu"))
        assert torch.equal(found.checkpoint.model(images).argmax(1), labels)


def test_what_is_given_or_known_is_taken_as_it_is() -> None:
    model = Bright(IMAGENET_MEAN, IMAGENET_STD)
    given = opened_with(model, data_of(greys(), Preprocessing(mean=HALF, std=HALF)))
    known = opened_with(model, data_of(greys()), known=True)
    for opened in (given, known):
        assert settle_scale(opened, ASKED) is opened
    assert given.data.sources.scale.words == "given"


def test_one_of_mean_and_std_alone_leaves_the_other_to_be_measured() -> None:
    asked = DataOptions(mean=HALF)
    data = data_of(greys(), Preprocessing(mean=HALF))
    assert data.sources.scale.is_guess
    opened = opened_with(Bright(HALF, CIFAR.std or ()), data)
    assert {scale.mean for scale in usual_scales(opened.checkpoint, data, asked)} == {HALF}
    found = settle_scale(opened, asked).data
    assert (found.mean, found.std) == (HALF, CIFAR.std)


def test_two_scales_that_images_do_not_tell_apart_are_warned_of() -> None:
    images, labels = greys(60).tensors
    shuffled = labels[torch.randperm(60, generator=torch.Generator().manual_seed(1))]
    data = data_of(TensorDataset(images, shuffled))
    (note,) = settle_scale(opened_with(Bright(HALF, HALF), data), ASKED).checkpoint.notes
    assert "nobody says which mean and std the network was trained with" in note
    assert "do not tell surely" in note
    assert "give `mean` and `std` if you know them" in note


def test_images_that_are_ready_and_no_images_leave_everything_as_it_was() -> None:
    floats = TensorDataset(torch.randn(40, 3, 4, 4), torch.arange(40) % 2)
    ready = opened_with(Bright(HALF, HALF), data_of(floats))
    assert settle_scale(ready, ASKED) is ready
    assert ready.data.sources.scale.words == "float items, fed as they are"
    part = greys(40)
    none = opened_with(
        Bright(HALF, HALF), wrap_datasets("x", part, part, Preprocessing(), held_out=0)
    )
    assert settle(none, ASKED) is none


def answers(right: list[int], loss: float = 1.0) -> TrialAnswers:
    is_right = torch.tensor(right).bool()
    noise = torch.linspace(-0.1, 0.1, len(right), dtype=torch.float64)
    return TrialAnswers(is_right, loss + noise)


def test_the_most_accurate_wins_and_near_ties_go_by_loss() -> None:
    trials = [InputTrial(name, (), ()) for name in "abc"]
    all_right, one_less = answers([1] * 40, 0.5), answers([1] * 39 + [0], 0.4)
    far = answers([1] * 20 + [0] * 20, 0.1)
    order = ranked(list(zip(trials, (far, all_right, one_less), strict=True)))
    assert [trial.name for trial, _ in order] == ["c", "b", "a"]
    assert is_clear(all_right, far)
    assert is_clear(one_less, all_right)  # every loss is lower
    assert not is_clear(all_right, TrialAnswers(all_right.is_right_N, all_right.loss_N.flip(0)))
    same = ranked([(trials[0], all_right), (trials[1], answers([1] * 40, 0.5))])
    assert same[0][0] is trials[0]
    assert runner_up(same) is None


def test_a_loss_does_not_reward_a_network_for_being_less_sure() -> None:
    logits = torch.tensor([[4.0, 0.0], [0.0, 4.0], [4.0, 0.0]], dtype=torch.float64)
    labels = torch.tensor([0, 1, 1])
    assert judge(logits, labels).loss == pytest.approx(judge(logits / 2, labels).loss)


def test_a_batch_normalisation_tells_the_scale_where_every_image_is_right() -> None:
    randomness = torch.Generator().manual_seed(0)
    images = torch.randint(256, (80, 3, 8, 8), generator=randomness, dtype=torch.uint8)
    images[::2] //= 4
    data = data_of(TensorDataset(images, torch.arange(80) % 2))
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), Level()
    )
    truth = data.scaled(HALF, HALF)
    model[1].momentum = None  # a plain mean over the batches
    for batch, _ in truth.train.batches(80, device="cpu"):
        model.train()(batch)
    found = settle_scale(opened_with(model, data), ASKED)
    assert (found.data.mean, found.data.std) == (HALF, HALF)


class Level(nn.Module):
    """The same answer whatever comes: accuracy and loss tell nothing."""

    def forward(self, features: Tensor) -> Tensor:
        return torch.zeros(len(features), 2) * features[:, :1]
