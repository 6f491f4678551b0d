"""Whoever runs a network gives it back as it was: modes, running statistics, hooks, gradients."""

from collections.abc import Callable

import pytest
import torch
from prune_dl.prune.repair.norms import find_norm_behind, reestimate_norms
from prune_dl.prune.selection.classic import taylor
from prune_dl.prune.structure.tracing.trace import trace
from torch import Tensor, nn

IMAGES = torch.randn(16, 3, 6, 6, generator=torch.Generator().manual_seed(0)) + 1
BATCHES = [(IMAGES, torch.arange(16) % 4)]


class Head(nn.Linear):
    """The last layer; it can fail, after every norm has run."""

    fails = False

    def forward(self, x: Tensor) -> Tensor:
        if self.fails:
            raise RuntimeError("the head fails")
        return super().forward(x)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.5),
        nn.Conv2d(8, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), Head(24, 4),
    )  # fmt: skip


def training_with_a_frozen_norm() -> nn.Sequential:
    model = network().train()
    model[1].eval()
    return model


def evaluating_with_a_norm_in_training() -> nn.Sequential:
    model = network().eval()
    model[1].train()
    return model


def modes_of(model: nn.Module) -> dict[str, bool]:
    return {name: module.training for name, module in model.named_modules()}


def find_norms(model: nn.Module) -> None:
    assert find_norm_behind(model, IMAGES[:2]) == {"0": "1", "4": "5"}


def reestimate(model: nn.Module) -> None:
    fresh = reestimate_norms(model, BATCHES, torch.device("cpu"))
    assert modes_of(fresh) == modes_of(model)
    assert not torch.equal(fresh[1].running_mean, model[1].running_mean)  # type: ignore[index]


def rank_by_taylor(model: nn.Module) -> None:
    structure = trace(network().eval(), IMAGES[:2])
    scores = taylor(model, structure, BATCHES)(structure.groups[0])
    again = taylor(network().eval(), structure, BATCHES)(structure.groups[0])
    assert scores.tolist() == again.tolist()  # whatever the modes: as in evaluation


@pytest.mark.parametrize("fails", [False, True], ids=["runs", "fails"])
@pytest.mark.parametrize("probe", [find_norms, reestimate, rank_by_taylor])
@pytest.mark.parametrize("make", [training_with_a_frozen_norm, evaluating_with_a_norm_in_training])
def test_probing_leaves_modes_and_statistics_as_they_were(
    make: Callable[[], nn.Sequential], probe: Callable[[nn.Module], None], fails: bool
) -> None:
    model = make()
    modes = modes_of(model)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    model[-1].fails = fails
    if fails:
        with pytest.raises(RuntimeError, match="the head fails"):
            probe(model)
    else:
        probe(model)
    assert modes_of(model) == modes
    for name, value in model.state_dict().items():
        assert torch.equal(value, state[name]), name
    for module in model.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
