"""Optimizer state follows the filters that stay."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from prune_dl.prune import InputError, remap_optimizer
from prune_dl.prune.structure.cut import Cut
from prune_dl.prune.structure.plan import LayerPlan, Plan, keep_everything
from prune_dl.prune.structure.surgery import remove
from prune_dl.prune.structure.tracing.trace import trace
from prune_dl.prune.structure.units import Structure
from scenes import structure_zoo as zoo
from scenes.plans import random_plan
from torch import Tensor, nn, optim
from torch.optim import SGD, Optimizer

Build = Callable[..., Optimizer]
OPTIMIZERS: dict[str, Build] = {
    "sgd": lambda p: SGD(p, lr=0.05, momentum=0.9, weight_decay=1e-3),
    "adam": lambda p: optim.Adam(p, lr=0.01),
    "amsgrad": lambda p: optim.Adam(p, lr=0.01, amsgrad=True),
    "adamw": lambda p: optim.AdamW(p, lr=0.01),
    "nadam": lambda p: optim.NAdam(p, lr=0.01),
    "radam": lambda p: optim.RAdam(p, lr=0.01),
    "rmsprop": lambda p: optim.RMSprop(p, lr=0.01, momentum=0.9, centered=True),
    "adagrad": lambda p: optim.Adagrad(p, lr=0.01),
    "adadelta": lambda p: optim.Adadelta(p),
    "adamax": lambda p: optim.Adamax(p, lr=0.01),
    "asgd": lambda p: optim.ASGD(p, lr=0.01),
    "rprop": lambda p: optim.Rprop(p, lr=0.01),
}
"""Each element of a parameter is trained by itself, so that absent filters make no difference."""
CLASSES = sorted(
    (
        found
        for found in vars(optim).values()
        if isinstance(found, type) and issubclass(found, Optimizer)
        if found not in (Optimizer, optim.LBFGS, optim.SparseAdam)
    ),
    key=lambda found: found.__name__,
)
"""All of torch but LBFGS, which is refused, and SparseAdam, which takes sparse gradients only."""


OPTIONS: dict[type[Optimizer], dict[str, Any]] = {SGD: {"momentum": 0.9}}
"""Without momentum SGD has no state to carry over."""


def step(model: nn.Module, optimizer: Optimizer, inputs: Tensor) -> None:
    optimizer.zero_grad()
    model(inputs).square().mean().backward()
    optimizer.step()


def silence(model: nn.Module) -> None:
    """Filters 0 and 3 of the first convolution: nothing reads them and they receive no gradient."""
    with torch.no_grad():
        model[4].weight[:, [0, 3]] = 0  # type: ignore[index, union-attr]
        model[0].weight[[0, 3]] = 0  # type: ignore[index, union-attr]
        model[0].bias[[0, 3]] = 0  # type: ignore[index, union-attr]
        model[1].weight[[0, 3]] = 0  # type: ignore[index, union-attr]
        model[1].bias[[0, 3]] = -1  # type: ignore[index, union-attr]


def without_silent(structure: Structure) -> Cut:
    kept = [tuple(range(len(group.units))) for group in structure.groups]
    kept[0] = (1, 2, 4, 5, 6, 7)
    lines = zip(structure.groups, kept, strict=True)
    return Cut(structure, Plan(tuple(LayerPlan(g.name, len(g.units), k) for g, k in lines)))


def cut_by_hand(value: Tensor, name: str, full: tuple[int, ...], cut: Cut) -> Tensor:
    for (of, axis), positions in cut.kept.items():
        if of == name and value.shape[axis] == full[axis]:
            value = value.index_select(axis, torch.from_numpy(positions))
    return value


@pytest.mark.parametrize("build", OPTIMIZERS.values(), ids=OPTIMIZERS.keys())
def test_training_goes_on_as_if_the_filters_had_never_been_there(build: Build) -> None:
    torch.manual_seed(0)
    model, inputs = zoo.plain()
    model.eval()
    silence(model)
    optimizer = build(model.parameters())
    for _ in range(3):
        step(model, optimizer, inputs)  # type: ignore[arg-type]
    cut = without_silent(trace(model, inputs))
    smaller = remove(model, cut)
    moved = remap_optimizer(optimizer, model, smaller, cut)
    assert type(moved) is type(optimizer)
    for _ in range(3):
        step(model, optimizer, inputs)  # type: ignore[arg-type]
        step(smaller, moved, inputs)  # type: ignore[arg-type]
    assert cut.kept
    for name, parameter in smaller.named_parameters():
        original = model.get_parameter(name).detach()
        expected = cut_by_hand(original, name, tuple(original.shape), cut)
        torch.testing.assert_close(parameter.detach(), expected, rtol=1e-4, atol=1e-6)


def matrices() -> tuple[nn.Module, Tensor]:
    """Weights of two axes only, as Muon takes them."""
    sizes = ((5, 8), (8, 6), (6, 4))
    layers = [x for a, b in sizes for x in (nn.Linear(a, b, bias=False), nn.Tanh())]
    return nn.Sequential(*layers[:-1]), torch.randn(3, 5)


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_optimizer_of_torch_keeps_the_state_of_what_stays(kind: type[Optimizer]) -> None:
    torch.manual_seed(0)
    model, inputs = matrices()
    optimizer = kind(model.parameters(), lr=0.01, **OPTIONS.get(kind, {}))
    for _ in range(2):
        step(model, optimizer, inputs)
    before = copy.deepcopy(optimizer.state_dict())
    structure = trace(model, inputs)
    cut = Cut(structure, random_plan(structure, 0.5))
    smaller = remove(model, cut)
    moved = remap_optimizer(optimizer, model, smaller, cut)
    assert moved.state.keys() == set(smaller.parameters())
    for name, parameter in model.named_parameters():
        found = moved.state[smaller.get_parameter(name)]
        for key, value in optimizer.state[parameter].items():
            expected = value
            if isinstance(value, Tensor) and value.ndim:
                expected = cut_by_hand(value, name, tuple(parameter.shape), cut)
                assert value.shape != parameter.shape or expected.shape != value.shape
            torch.testing.assert_close(found[key], expected, rtol=0, atol=0)
    step(smaller, moved, inputs)
    assert_same(optimizer.state_dict(), before)


def assert_same(found: Any, expected: Any) -> None:
    """Equal nested values, bit for bit."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key in expected:
            assert_same(found[key], expected[key])
    elif isinstance(expected, Tensor):
        assert torch.equal(found, expected)
    else:
        assert found == expected


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_keeping_everything_goes_on_bit_for_bit(kind: type[Optimizer]) -> None:
    torch.manual_seed(0)
    model, inputs = matrices()
    optimizer = kind(model.parameters(), lr=0.01, **OPTIONS.get(kind, {}))
    step(model, optimizer, inputs)
    structure = trace(model, inputs)
    cut = Cut(structure, keep_everything(structure))
    same = remove(model, cut)
    moved = remap_optimizer(optimizer, model, same, cut)
    for _ in range(2):
        step(model, optimizer, inputs)
        step(same, moved, inputs)
    assert_same(same.state_dict(), model.state_dict())


def test_every_parameter_is_live_and_groups_keep_their_options() -> None:
    model, inputs = zoo.residual()
    head = list(model.head.parameters())
    rest = [p for n, p in model.named_parameters() if not n.startswith("head")]
    rate = torch.tensor(0.1)
    optimizer = SGD(
        [{"params": rest}, {"params": head, "lr": 0.5}], lr=rate, momentum=0.9, foreach=False
    )
    step(model, optimizer, inputs)  # type: ignore[arg-type]
    structure = trace(model, inputs)
    cut = Cut(structure, random_plan(structure, 0.5))
    smaller = remove(model, cut)
    moved = remap_optimizer(optimizer, model, smaller, cut)
    assert [g["lr"] for g in moved.param_groups] == [rate, 0.5]
    held = {id(p) for g in moved.param_groups for p in g["params"]}
    assert held == {id(p) for p in smaller.parameters()}
    assert all(moved.state[p]["momentum_buffer"].shape == p.shape for p in smaller.parameters())
    moved.param_groups[0]["lr"].fill_(9)
    assert float(rate) == pytest.approx(0.1)


def test_an_optimizer_of_another_network_is_refused() -> None:
    (model, inputs), (other, _) = zoo.plain(), zoo.plain()
    structure = trace(model, inputs)
    cut = Cut(structure, keep_everything(structure))
    with pytest.raises(InputError, match=r"shape \(8, 3, 3, 3\); expected only parameters of the"):
        remap_optimizer(SGD(other.parameters(), 0.1), model, model, cut)


def test_a_smaller_network_of_another_cut_is_refused() -> None:
    model, inputs = zoo.plain()
    structure = trace(model, inputs)
    cut, other = (Cut(structure, random_plan(structure, share)) for share in (0.5, 0.9))
    optimizer = SGD(model.parameters(), 0.1)
    message = r"has a 0.weight of shape \(7, 3, 3, 3\) and no 0.weight of shape \(4, 3, 3, 3\)"
    with pytest.raises(InputError, match=message):
        remap_optimizer(optimizer, model, remove(model, other), cut)
    with pytest.raises(InputError, match=r"that has no 0.weight of shape \(4, 3, 3, 3\)"):
        remap_optimizer(optimizer, model, nn.Sequential(), cut)


def test_lbfgs_is_refused_and_so_is_a_state_of_another_shape() -> None:
    model, inputs = zoo.plain()
    structure = trace(model, inputs)
    cut = Cut(structure, random_plan(structure, 0.5))
    smaller = remove(model, cut)
    with pytest.raises(InputError, match=r"^an LBFGS given, .*; start a new LBFGS$"):
        remap_optimizer(optim.LBFGS(model.parameters()), model, smaller, cut)
    optimizer = SGD(model.parameters(), 0.1)
    optimizer.state[model.get_parameter("0.weight")]["history"] = torch.zeros(2, 216)
    with pytest.raises(InputError, match=r"whose history of 0.weight has shape \(2, 216\); expect"):
        remap_optimizer(optimizer, model, smaller, cut)


def trained_with_a_schedule() -> tuple[nn.Module, Tensor, Optimizer, Any]:
    torch.manual_seed(0)
    model, inputs = zoo.plain()
    optimizer = optim.AdamW(model.parameters(), lr=0.01)
    schedule = optim.lr_scheduler.SequentialLR(
        optimizer,
        [
            optim.lr_scheduler.LinearLR(optimizer, 0.1, total_iters=2),
            optim.lr_scheduler.CosineAnnealingLR(optimizer, 6),
        ],
        [2],
    )
    for _ in range(3):
        step(model, optimizer, inputs)  # type: ignore[arg-type]
        schedule.step()
    return model, inputs, optimizer, schedule  # type: ignore[return-value]


def test_in_place_the_optimizer_and_its_schedule_go_on_with_the_smaller_network() -> None:
    model, inputs, optimizer, schedule = trained_with_a_schedule()
    cut = Cut(structure := trace(model, inputs), random_plan(structure, 0.5))
    smaller, twin = remove(model, cut), remove(model, cut)
    other = remap_optimizer(optimizer, model, twin, cut)
    assert remap_optimizer(optimizer, model, smaller, cut, in_place=True) is optimizer
    assert optimizer.state.keys() == set(smaller.parameters())
    rates = []
    for _ in range(3):
        other.param_groups[0]["lr"] = optimizer.param_groups[0]["lr"]
        step(smaller, optimizer, inputs)
        step(twin, other, inputs)
        schedule.step()
        rates.append(optimizer.param_groups[0]["lr"])
    assert sorted(set(rates), reverse=True) == rates
    assert_same(smaller.state_dict(), twin.state_dict())


def test_a_bias_that_repair_gave_a_layer_is_trained_with_its_weight() -> None:
    model, inputs = matrices()
    decayed = {"params": [model.get_parameter("0.weight")], "weight_decay": 0.5}
    rest = [model.get_parameter(f"{i}.weight") for i in (2, 4)]
    optimizer = SGD([decayed, {"params": rest}], lr=0.1, momentum=0.9)
    step(model, optimizer, inputs)
    cut = Cut(structure := trace(model, inputs), random_plan(structure, 0.5))
    smaller = remove(model, cut)
    smaller[2].bias = nn.Parameter(torch.ones(len(smaller[2].weight)))  # type: ignore[index]
    moved = remap_optimizer(optimizer, model, smaller, cut)
    assert [len(group["params"]) for group in moved.param_groups] == [1, 3]
    step(smaller, moved, inputs)
    assert not torch.equal(smaller[2].bias, torch.ones(len(smaller[2].bias)))  # type: ignore[index]


def test_parameters_outside_the_network_go_on_where_they_are_named() -> None:
    model, inputs = zoo.plain()
    temperature = nn.Parameter(torch.ones(()))
    optimizer = SGD([*model.parameters(), temperature], lr=0.1, momentum=0.9)
    (model(inputs).square().mean() * temperature).backward()
    optimizer.step()
    cut = Cut(structure := trace(model, inputs), random_plan(structure, 0.5))
    smaller = remove(model, cut)
    with pytest.raises(InputError, match="expected only parameters of the network"):
        remap_optimizer(optimizer, model, smaller, cut)
    moved = remap_optimizer(optimizer, model, smaller, cut, others=[temperature])
    assert moved.param_groups[0]["params"][-1] is temperature
    momentum = moved.state[temperature]["momentum_buffer"]
    assert torch.equal(momentum, optimizer.state[temperature]["momentum_buffer"])
    assert momentum is not optimizer.state[temperature]["momentum_buffer"]
