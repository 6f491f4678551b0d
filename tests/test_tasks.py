"""Losses of both tasks against torch's own, and outputs that are probabilities already."""

import copy

import pytest
import torch
from prune_dl.prune.errors import InputError
from prune_dl.prune.outputs import class_scores
from prune_dl.prune.tasks import (
    Task,
    class_probabilities,
    ends_in_sigmoid,
    imitation_loss,
    label_loss,
    multi_label_distillation_loss,
    settle_outputs,
)
from scenes.two_tasks import bars, trained
from torch import Tensor, nn
from torch.nn import functional as F

Z, OTHER = torch.randn(7, 4), torch.randn(7, 4)
THERE = (torch.rand(7, 4) < 0.5).long()
ONE, SEVERAL = Task(("no", "yes")), Task(("a", "b", "c"), multi_label=True)


def test_cross_entropy_of_the_two_scores_is_binary_cross_entropy_of_one_logit():
    z_N1, labels_N = Z[:, :1], THERE[:, 0]
    expected = F.binary_cross_entropy_with_logits(z_N1[:, 0], labels_N.float())
    assert torch.allclose(label_loss(class_scores(z_N1), labels_N), expected)
    smoothed = F.binary_cross_entropy_with_logits(z_N1[:, 0], labels_N * 0.8 + 0.1)
    assert torch.allclose(label_loss(class_scores(z_N1), labels_N, 0.2), smoothed)


def test_of_several_labels_each_has_its_own_binary_cross_entropy():
    expected = F.binary_cross_entropy_with_logits(Z, THERE.float())
    assert torch.allclose(label_loss(Z, THERE), expected)
    smoothed = F.binary_cross_entropy_with_logits(Z, THERE * 0.8 + 0.1)
    assert torch.allclose(label_loss(Z, THERE, 0.2), smoothed)


def test_distillation_is_the_divergence_of_the_answers_of_each_task():
    two = (torch.distributions.Bernoulli(logits=x / 3) for x in (OTHER, Z))
    expected = 9 * torch.distributions.kl_divergence(*two).mean()
    assert torch.allclose(imitation_loss(Z, OTHER, THERE, 3.0), expected, atol=1e-6)
    assert multi_label_distillation_loss(Z, Z, 3.0).abs() < 1e-6
    scores, others = (class_scores(x[:, :1]) for x in (Z, OTHER))
    two = (torch.distributions.Bernoulli(logits=x[:, 0] / 3) for x in (OTHER, Z))
    expected = 9 * torch.distributions.kl_divergence(*two).mean()
    assert torch.allclose(imitation_loss(scores, others, THERE[:, 0], 3.0), expected, atol=1e-6)


def test_probabilities_are_those_of_the_task():
    both = class_probabilities(Z[:, :1], multi_label=False)
    assert torch.allclose(both, torch.stack([(-Z[:, 0]).sigmoid(), Z[:, 0].sigmoid()], 1))
    assert torch.equal(class_probabilities(Z, multi_label=True), Z.sigmoid())
    assert torch.equal(class_probabilities(Z, multi_label=False), Z.softmax(1))


class Squeezed(nn.Module):
    """One number for each image, (N,), after a sigmoid that is no module."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        return torch.sigmoid(self.model(images)).squeeze(1)


@pytest.mark.parametrize("wrap", [Squeezed, lambda model: nn.Sequential(model, nn.Sigmoid())])
def test_a_sigmoid_at_the_end_is_refused_and_one_inside_is_not(wrap):
    model, images = trained(1), bars(8, 0)[0]
    assert not ends_in_sigmoid(model, images)
    assert not ends_in_sigmoid(nn.Sequential(nn.Sigmoid(), model), images)
    wrapped = wrap(copy.deepcopy(model)).requires_grad_(False)
    assert ends_in_sigmoid(wrapped, images)
    with pytest.raises(InputError, match="one output for two labels that ends in a sigmoid given"):
        settle_outputs(wrapped, images, ONE, [])


class Halved(nn.Module):
    """A sigmoid that autograd does not call by its name."""

    def forward(self, logits: Tensor) -> Tensor:
        return (1 + (logits / 2).tanh()) / 2


@pytest.mark.parametrize("last", [nn.Hardsigmoid(), Halved()])
def test_other_probabilities_are_told_by_the_better_threshold(last):
    images, there_NK = bars(400, 5)
    model = nn.Sequential(trained(3), last)
    said = r"are right more often above 0\.5 than above 0 \(\d+ decisions won, \d+ lost\): prob"
    with pytest.raises(InputError, match=said):
        settle_outputs(model, images[:8], SEVERAL, [(images, there_NK)])


def test_logits_that_lie_between_0_and_1_by_chance_are_taken():
    class Narrow(nn.Module):
        """Logits of a label that is nearly always there."""

        def forward(self, images: Tensor) -> Tensor:
            return 0.4 + 0.01 * images.flatten(1)[:, :1].tanh()

    images, labels_N = bars(100, 5)[0], (torch.arange(100) > 4).long()
    note = "one output for two labels: the answer is yes where it is above 0, else no"
    assert settle_outputs(Narrow(), images, ONE, [(images, labels_N)]) == (note,)


def test_the_usual_task_is_not_spoken_of_and_softmax_is_left_alone():
    images = bars(8, 0)[0]
    model = nn.Sequential(trained(3), nn.Softmax(1))
    assert settle_outputs(model, images, Task(("a", "b", "c")), []) == ()
    note = "several labels for an image: the answer is every label whose output is above 0"
    assert settle_outputs(trained(3), images, SEVERAL, []) == (note,)
