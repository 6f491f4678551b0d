"""What is settled without labels: the scale by the first normalisation, or a guess that is told."""

import pytest
import torch
from prune_dl.prune.errors import InputError
from prune_dl.prune.inputs.checkpoint import Checkpoint
from prune_dl.prune.inputs.datasets import wrap_unlabeled
from prune_dl.prune.inputs.known import KNOWN
from prune_dl.prune.inputs.origin import IMAGENET_MEAN, IMAGENET_STD, Origin
from prune_dl.prune.inputs.preprocessing import Preprocessing
from prune_dl.prune.options import DataOptions
from prune_dl.prune.settling.opened import Opened
from prune_dl.prune.settling.settle import settle
from prune_dl.prune.settling.unlabeled import OWN_ANSWERS, notes_of_answers
from torch import Tensor, nn
from torch.utils.data import TensorDataset

CPU = torch.device("cpu")
CIFAR = KNOWN["cifar10"]
RANDOMNESS = torch.Generator().manual_seed(0)
LEVELS = torch.randint(0, 256, (400, 3, 1, 1), generator=RANDOMNESS)
IMAGES = (LEVELS * torch.rand(400, 3, 8, 8, generator=RANDOMNESS)).to(torch.uint8)


def network(mean: tuple[float, ...], std: tuple[float, ...], *, has_norm: bool = True) -> nn.Module:
    """Three labels; its normalisation remembers the images as that scale feeds them."""
    torch.manual_seed(1)
    norm = nn.BatchNorm2d(6, momentum=None) if has_norm else nn.Identity()
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3), norm, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3)
    )
    fed = (IMAGES / 255 - torch.tensor(mean).view(-1, 1, 1)) / torch.tensor(std).view(-1, 1, 1)
    with torch.no_grad():
        scores: Tensor = model.train()(fed)
        model[-1].bias -= scores.mean(0)
    return model.eval()


def opened_with(model: nn.Module, *, known: bool = False) -> Opened:
    part = TensorDataset(IMAGES)
    data = wrap_unlabeled("some", part, part, Preprocessing(), held_out=0.5)
    found = Opened(Checkpoint(model, Origin(None, 3), knows_inputs=known), data, CPU)
    object.__setattr__(found.data, "labels", ("a", "b", "c"))
    return found


@pytest.mark.parametrize(
    ("name", "mean", "std"),
    [
        ("ImageNet's", IMAGENET_MEAN, IMAGENET_STD),
        ("usual of cifar10", CIFAR.mean, CIFAR.std),
        ("0 to 1", (0.0,) * 3, (1.0,) * 3),
        ("0 to 255", (0.0,) * 3, (1 / 255,) * 3),
    ],
)
def test_the_scale_is_the_one_that_the_first_normalisation_remembers(
    name: str, mean: tuple[float, ...], std: tuple[float, ...]
) -> None:
    found = settle(opened_with(network(mean, std)), DataOptions())
    assert (found.data.mean, found.data.std) == (mean, std)
    words = found.data.sources.scale.words
    assert words.startswith(f"{name}, ")
    assert "nats from what the first batch normalization remembers" in words
    assert "next best" in words
    assert OWN_ANSWERS in found.checkpoint.notes
    images, answers = next(found.data.held_out.batches(20, device=CPU))
    assert answers.tolist() == found.checkpoint.model(images).argmax(1).tolist()


def test_without_a_normalisation_the_scale_is_a_guess_and_told() -> None:
    model = network(IMAGENET_MEAN, IMAGENET_STD, has_norm=False)
    found = settle(opened_with(model), DataOptions())
    assert "a guess" in found.data.sources.scale.words
    assert any("give `mean` and `std`" in note for note in found.checkpoint.notes)


def test_what_the_model_file_states_is_not_tried() -> None:
    model = network(IMAGENET_MEAN, IMAGENET_STD, has_norm=False)
    found = settle(opened_with(model, known=True), DataOptions())
    assert found.data.mean == (0.5,) * 3
    assert not any("guess" in note for note in found.checkpoint.notes)


def test_labels_that_are_never_answers_are_said() -> None:
    answers = torch.tensor([0] * 97 + [2] * 3)
    rare, mostly = notes_of_answers(answers, ("a", "b", "c"))
    assert "100 images with 2 of its 3 labels" in rare
    assert "answers a for 97.0 % of 100 images" in mostly
    assert notes_of_answers(torch.arange(90) % 3, ("a", "b", "c")) == ()


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        (torch.ones(9, dtype=torch.int64), "all with the network's answer b"),
        (torch.tensor([[0, 1, 1]] * 9), "all with the network's answer b, c"),
        (torch.zeros(9, 3, dtype=torch.int64), "all with the network's answer none of its labels"),
    ],
)
def test_one_answer_to_all_images_is_refused(answers: Tensor, words: str) -> None:
    with pytest.raises(InputError, match=words):
        notes_of_answers(answers, ("a", "b", "c"))
