"""Carry an optimizer's state over to a smaller network, so that training goes on where it was."""

import copy
import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
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
    optimizer: AnyOptimizer,
    model: nn.Module,
    smaller: nn.Module,
    cut: Cut,
    *,
    others: Iterable[Tensor] = (),
    in_place: bool = False,
) -> AnyOptimizer:
    """An optimizer of the same class for the smaller network, with its state cut (momentum, ...).

    | state of a parameter                           | in the new optimizer                   |
    |------------------------------------------------|----------------------------------------|
    | a tensor of its shape                          | the positions that the parameter keeps |
    | the same, some axes of size 1 (Adafactor's)    | the same along the other axes          |
    | a single number (how many steps were taken)    | copied                                 |

    Parameter groups and their options are the same; a parameter that only the smaller network has
    (a bias that repair gave a layer) joins the group of its layer, without state. The given
    optimizer is untouched; hooks and learning-rate schedules stay with it.

    Args:
        optimizer: of `torch.optim`, or one whose constructor takes its `defaults`.
        model: the network that it trains.
        smaller: what removing the cut's filters made of it.
        cut: what was removed.
        others: parameters outside the network that it trains too; they go on as they are.
        in_place: let the given optimizer itself go on with the smaller network, and return it: with
            its hooks, schedules, and whatever else holds it.

    Raises:
        InputError: it trains another network, the smaller network is not what the cut leaves, or
            its state does not belong to single parameters (LBFGS).

    Examples:
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
    heirs = _Heirs.of(model, smaller, cut, others)
    groups = heirs.of_groups(group["params"] for group in optimizer.param_groups)
    states = {heirs.of_one(p): heirs.state(p, state) for p, state in optimizer.state.items()}
    if in_place:
        moved = optimizer
        for group, parameters in zip(optimizer.param_groups, groups, strict=True):
            group["params"] = parameters
        moved.state.clear()
    else:
        kept = [
            {**copy.deepcopy({k: x for k, x in group.items() if k != "params"}), "params": own}
            for group, own in zip(optimizer.param_groups, groups, strict=True)
        ]
        moved = type(optimizer)(kept, **_constructor_options(optimizer))
    moved.state.update(states)
    return moved


@dataclass(frozen=True, eq=False)
class _Heirs:
    """What the parameters of a network have become in the smaller one.

    Attributes:
        names: of the network's parameters, by identity.
        target: parameters of the smaller network.
        axes: of each parameter that shrinks.
        others: identities of parameters outside the network.
    """

    names: Mapping[int, str]
    target: Mapping[str, nn.Parameter]
    axes: Mapping[str, Axes]
    others: frozenset[int]

    @staticmethod
    def of(model: nn.Module, smaller: nn.Module, cut: Cut, others: Iterable[Tensor]) -> "_Heirs":
        names = {id(parameter): name for name, parameter in model.named_parameters()}
        axes: dict[str, Axes] = {}
        for (name, axis), positions in cut.kept.items():
            axes.setdefault(name, []).append((axis, positions))
        return _Heirs(
            names, dict(smaller.named_parameters()), axes, frozenset(id(x) for x in others)
        )

    def of_one(self, parameter: Tensor) -> Tensor:
        if id(parameter) not in self.names and id(parameter) in self.others:
            return parameter
        name = _name_of(parameter, self.names)
        return _of_smaller(name, parameter, self.target, self.axes)

    def of_groups(self, groups: Iterable[Iterable[Tensor]]) -> list[list[Tensor]]:
        """Those of each group, with what only the smaller network has in the same layers."""
        known = set(self.names.values())
        new = {name: x for name, x in self.target.items() if name not in known}
        found = []
        for parameters in map(list, groups):
            layers = {_layer_of(self.names.get(id(x), "")) for x in parameters}
            own = [name for name in new if _layer_of(name) in layers]
            found.append([*map(self.of_one, parameters), *map(new.pop, own)])
        return found

    def state(self, parameter: Tensor, state: Mapping[str, Any]) -> dict[str, Any]:
        """The state of a parameter as its heir has it."""
        name = self.names.get(id(parameter), "another parameter")
        return {
            key: _cut_state(f"{key} of {name}", value, parameter, self.axes.get(name, []))
            for key, value in state.items()
        }


def _layer_of(name: str) -> str:
    return name.rpartition(".")[0]


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
