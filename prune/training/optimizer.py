"""Carry an optimizer's state over to a smaller network, so that training goes on where it was."""

import copy
import inspect
from collections.abc import Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import LBFGS, Optimizer

from ..errors import InputError
from ..structure.cut import Cut
from ..structure.units import IntArray

AnyOptimizer = TypeVar("AnyOptimizer", bound=Optimizer)
Axes = list[tuple[int, IntArray]]
"""Axes of one tensor that shrink, each with the positions that stay."""


def remap_optimizer(
    optimizer: AnyOptimizer, model: nn.Module, smaller: nn.Module, cut: Cut
) -> AnyOptimizer:
    """An optimizer of the same class for the smaller network, with its state cut (momentum, ...).

    | state of a parameter                           | in the new optimizer                   |
    |------------------------------------------------|----------------------------------------|
    | a tensor of its shape                          | the positions that the parameter keeps |
    | the same, some axes of size 1 (Adafactor's)    | the same along the other axes          |
    | a single number (how many steps were taken)    | copied                                 |

    Parameter groups and their options are the same. The given optimizer is untouched; hooks and
    learning-rate schedules stay with it.

    Args:
        optimizer: of `torch.optim`, or one whose constructor takes its `defaults`.
        model: the network that it trains.
        smaller: what removing the cut's filters made of it.
        cut: what was removed.

    Raises:
        InputError: it trains another network, the smaller network is not what the cut leaves, or
            its state does not belong to single parameters (LBFGS).

    >>> from prune_dl.prune import remap_optimizer, shrink
    >>> network = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))
    >>> optimizer = torch.optim.AdamW(network.parameters(), lr=0.01)
    >>> network(torch.ones(1, 4)).sum().backward()
    >>> optimizer.step()
    >>> small = shrink(network, torch.ones(1, 4), keep=0.5)
    >>> moved = remap_optimizer(optimizer, network, small.model, small.cut)
    >>> [tuple(state["exp_avg"].shape) for state in moved.state.values()]
    [(3, 4), (3,), (2, 3), (2,)]
    """
    if isinstance(optimizer, LBFGS):
        raise InputError(
            "an LBFGS given, whose state belongs to all parameters at once; expected an optimizer "
            "with a state of each parameter, like SGD or AdamW; start a new LBFGS"
        )
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    target, axes = dict(smaller.named_parameters()), _axes_by_name(cut)
    groups = []
    for group in optimizer.param_groups:
        options = {key: copy.deepcopy(x) for key, x in group.items() if key != "params"}
        of_smaller = [
            _of_smaller(_name_of(parameter, names), parameter, target, axes)
            for parameter in group["params"]
        ]
        groups.append({**options, "params": of_smaller})
    moved = type(optimizer)(groups, **_constructor_options(optimizer))
    for parameter, state in optimizer.state.items():
        name = _name_of(parameter, names)
        moved.state[_of_smaller(name, parameter, target, axes)] = {
            key: _cut_state(f"{key} of {name}", value, parameter, axes.get(name, []))
            for key, value in state.items()
        }
    return moved


def _axes_by_name(cut: Cut) -> dict[str, Axes]:
    axes: dict[str, Axes] = {}
    for (name, axis), positions in cut.kept.items():
        axes.setdefault(name, []).append((axis, positions))
    return axes


def _constructor_options(optimizer: Optimizer) -> dict[str, Any]:
    """Defaults that the constructor takes: AdamW's also hold an option of Adam's, which it sets."""
    taken = inspect.signature(type(optimizer)).parameters.values()
    names = {parameter.name for parameter in taken}
    takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in taken)
    defaults = optimizer.defaults.items()
    return {key: copy.deepcopy(x) for key, x in defaults if takes_all or key in names}


def _name_of(parameter: Tensor, names: Mapping[int, str]) -> str:
    if id(parameter) not in names:
        raise InputError(
            f"an optimizer given that holds a tensor of shape {tuple(parameter.shape)}; expected "
            "only parameters of the network; give the optimizer that trains this network"
        )
    return names[id(parameter)]


def _of_smaller(
    name: str, parameter: Tensor, target: Mapping[str, nn.Parameter], axes: Mapping[str, Axes]
) -> nn.Parameter:
    """What a parameter has become in the smaller network."""
    expected = list(parameter.shape)
    for axis, positions in axes.get(name, []):
        expected[axis] = len(positions)
    found = list(target[name].shape) if name in target else None
    if found != expected:
        has = "no" if found is None else f"a {name} of shape {tuple(found)} and no"
        raise InputError(
            f"a smaller network given that has {has} {name} of shape {tuple(expected)}; "
            "expected what the cut leaves; give the network and the cut of the same removal"
        )
    return target[name]


def _cut_state(what: str, value: Any, parameter: Tensor, axes: Axes) -> Any:
    """One value of a parameter's state: cut like the parameter, or copied if it is one number."""
    if not isinstance(value, Tensor):
        return copy.deepcopy(value)
    value = value.detach().clone()
    if value.shape != parameter.shape and value.numel() == 1:
        return value
    sizes = tuple(value.shape)
    fits = len(sizes) == parameter.ndim and all(
        size in (1, full) for size, full in zip(sizes, parameter.shape, strict=True)
    )
    if not fits:
        raise InputError(
            f"an optimizer given whose {what} has shape {sizes}; expected one number or the shape "
            f"of the parameter, {tuple(parameter.shape)}; start a new optimizer"
        )
    for axis, positions in axes:
        if sizes[axis] == parameter.shape[axis]:
            value = value.index_select(axis, torch.from_numpy(positions).to(value.device))
    return value
