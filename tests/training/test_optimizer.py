"""Optimizer state follows the filters that stay."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from prune_dl.prune.structure.cut import Cut
from prune_dl.prune.structure.plan import LayerPlan, Plan
from prune_dl.prune.structure.surgery import remove
from prune_dl.prune.structure.tracing.trace import trace
from prune_dl.prune.training.optimizer import remap_optimizer
from scenes import structure_zoo as zoo
from torch import Tensor, nn
from torch.optim import SGD, Adam, Optimizer

OPTIMIZERS = {
    "sgd": lambda p: SGD(p, lr=0.05, momentum=0.9, weight_decay=1e-3),
    "adam": lambda p: Adam(p, lr=0.01),
}


def step(model: nn.Module, optimizer: Optimizer, inputs: Tensor) -> None:
    optimizer.zero_grad()
    model(inputs).square().mean().backward()
    optimizer.step()


def silent_units(model: nn.Module) -> None:
    """Filters 0 and 3 of the first convolution: nothing reads them and they receive no gradient."""
    with torch.no_grad():
        model[4].weight[:, [0, 3]] = 0  # type: ignore[index, union-attr]
        model[0].weight[[0, 3]] = 0  # type: ignore[index, union-attr]
        model[0].bias[[0, 3]] = 0  # type: ignore[index, union-attr]
        model[1].weight[[0, 3]] = 0  # type: ignore[index, union-attr]
        model[1].bias[[0, 3]] = -1  # type: ignore[index, union-attr]


@pytest.mark.parametrize("build", OPTIMIZERS.values(), ids=OPTIMIZERS.keys())
def test_training_goes_on_as_if_the_filters_had_never_been_there(
    build: Callable[..., Optimizer],
) -> None:
    torch.manual_seed(0)
    model, inputs = zoo.plain()
    model.eval()
    silent_units(model)
    optimizer = build(model.parameters())
    for _ in range(3):
        step(model, optimizer, inputs)  # type: ignore[arg-type]
    structure = trace(model, inputs)
    kept = [tuple(range(len(group.units))) for group in structure.groups]
    kept[0] = (1, 2, 4, 5, 6, 7)
    lines = zip(structure.groups, kept, strict=True)
    plan = Plan(tuple(LayerPlan(g.name, len(g.units), k) for g, k in lines))
    smaller = remove(model, Cut(structure, plan))
    moved = remap_optimizer(optimizer, model, smaller, Cut(structure, plan))
    assert type(moved) is type(optimizer)
    for _ in range(3):
        step(model, optimizer, inputs)  # type: ignore[arg-type]
        step(smaller, moved, inputs)  # type: ignore[arg-type]
    cuts = Cut(structure, plan).kept
    assert cuts
    for name, parameter in smaller.named_parameters():
        expected = model.get_parameter(name).detach()
        for (of, axis), positions in cuts.items():
            if of == name:
                expected = expected.index_select(axis, torch.from_numpy(positions))
        torch.testing.assert_close(parameter.detach(), expected, rtol=1e-4, atol=1e-6)


def test_every_parameter_is_live_and_groups_keep_their_options() -> None:
    model, inputs = zoo.residual()
    head = list(model.head.parameters())
    rest = [p for n, p in model.named_parameters() if not n.startswith("head")]
    optimizer = SGD([{"params": rest}, {"params": head, "lr": 0.5}], lr=0.1, momentum=0.9)
    step(model, optimizer, inputs)  # type: ignore[arg-type]
    structure = trace(model, inputs)
    half = [np.arange(0, len(g.units), 2).tolist() for g in structure.groups]
    lines = zip(structure.groups, half, strict=True)
    plan = Plan(tuple(LayerPlan(g.name, len(g.units), tuple(k)) for g, k in lines))
    smaller = remove(model, Cut(structure, plan))
    moved = remap_optimizer(optimizer, model, smaller, Cut(structure, plan))
    assert [g["lr"] for g in moved.param_groups] == [0.1, 0.5]
    held = {id(p) for g in moved.param_groups for p in g["params"]}
    assert held == {id(p) for p in smaller.parameters()}
    assert all(moved.state[p]["momentum_buffer"].shape == p.shape for p in smaller.parameters())


def test_an_optimizer_of_another_network_is_refused() -> None:
    model, inputs = zoo.plain()
    other, _ = zoo.plain()
    structure = trace(model, inputs)
    plan = Plan(
        tuple(LayerPlan(g.name, len(g.units), tuple(range(len(g.units)))) for g in structure.groups)
    )
    with pytest.raises(ValueError, match=r"no parameter of the network; give the optimizer"):
        remap_optimizer(SGD(other.parameters(), 0.1), model, model, Cut(structure, plan))
