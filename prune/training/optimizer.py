"""Carry an optimizer's state over to a smaller network, so that training goes on where it was."""

from collections.abc import Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ..errors import InputError
from ..structure.cut import Cut
from ..structure.units import IntArray

Some = TypeVar("Some", bound=Optimizer)


def remap_optimizer(optimizer: Some, model: nn.Module, smaller: nn.Module, cut: Cut) -> Some:
    """An optimizer of the same class for the smaller network, with cut state (momentum, ...).

    Every state tensor of a parameter's shape keeps the positions that the parameter keeps; scalars
    (step counts) are copied. Groups and their options are the same. The optimizer that was given,
    which belongs to the original network, is untouched.

    Raises:
        InputError: it holds a tensor that is not a parameter of the original network.
    """
    name_of = {id(p): name for name, p in model.named_parameters()}
    target = dict(smaller.named_parameters())
    cuts: dict[str, list[tuple[int, IntArray]]] = {}
    for (name, axis), positions in cut.kept.items():
        cuts.setdefault(name, []).append((axis, positions))
    groups = []
    for group in optimizer.param_groups:
        names = [_name(name_of, parameter) for parameter in group["params"]]
        options = {key: value for key, value in group.items() if key != "params"}
        groups.append({**options, "params": [target[name] for name in names]})
    moved = type(optimizer)(groups, **optimizer.defaults)
    for parameter, state in optimizer.state.items():
        name = _name(name_of, parameter)
        moved.state[target[name]] = _cut_state(state, parameter, cuts.get(name, []))
    return moved


def _name(name_of: Mapping[int, str], parameter: Tensor) -> str:
    if id(parameter) not in name_of:
        raise InputError(
            f"the optimizer holds a tensor of shape {tuple(parameter.shape)} that is no parameter "
            "of the network; give the optimizer that was built from network.parameters()"
        )
    return name_of[id(parameter)]


def _cut_state(
    state: Mapping[str, Any], parameter: Tensor, cuts: list[tuple[int, IntArray]]
) -> dict[str, Any]:
    """State of one parameter: what has its shape is cut like it, the rest is copied."""
    moved: dict[str, Any] = {}
    for key, value in state.items():
        if isinstance(value, Tensor):
            value = value.detach().clone()
            if value.shape == parameter.shape:
                for axis, positions in cuts:
                    index = torch.from_numpy(positions).to(value.device)
                    value = value.index_select(axis, index)
        moved[key] = value
    return moved
