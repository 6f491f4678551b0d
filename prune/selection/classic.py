"""The field's usual criteria, which look at one filter at a time.

Every function returns one score per unit of a group, (U,) float64, higher is better. Where a unit
is made of several filters (residual streams), their scores add up.

Sources: l1 - Li et al., ICLR 2017; bn-scale - Liu et al., ICCV 2017; taylor - Molchanov et al.,
CVPR 2019 (equation 8, per filter); fpgm - He et al., CVPR 2019; lamp - Lee et al., ICLR 2021.
"""

from collections.abc import Callable, Iterable, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import InputError
from ..forward import call, evaluating, on_device
from ..inputs.split import Batches
from ..outputs import class_scores
from ..structure.units import AxisKey, FloatArray, Group, IntArray, Structure
from ..tasks import label_loss


def filters(model: nn.Module, structure: Structure, group: Group) -> Iterable[tuple[str, Tensor]]:
    """For every writer of a group: its weight's name, and its filters as rows (U, ...) by unit.

    Where one writer has several filters in a unit, their weights stand side by side.
    """
    for writer in group.writers:
        name, axis = writer_axis(structure, group, writer)
        weight = model.get_parameter(name).detach().to("cpu", torch.float64).transpose(0, axis)
        yield name, _rows(weight.flatten(1), structure.axes[(name, axis)], group)


def writer_axis(structure: Structure, group: Group, writer: str) -> AxisKey:
    """The axis of a writer's weight that its filters lie on."""
    return structure.filter_axis(group, writer)


def _rows(weight: Tensor, units: IntArray, group: Group) -> Tensor:
    return torch.stack([weight[torch.from_numpy(units == u)].flatten() for u in group.units])


def _add_over_writers(
    model: nn.Module, structure: Structure, group: Group, score: Callable[[Tensor], Tensor]
) -> FloatArray:
    scores = [score(rows).numpy() for _, rows in filters(model, structure, group)]
    return np.asarray(np.sum(scores, axis=0), dtype=np.float64)


def l1(model: nn.Module, structure: Structure, group: Group) -> FloatArray:
    """Sum of the magnitudes of a filter's weights."""
    return _add_over_writers(model, structure, group, lambda rows: rows.abs().sum(1))


def l2(model: nn.Module, structure: Structure, group: Group) -> FloatArray:
    """Euclidean norm of a filter's weights."""
    return _add_over_writers(model, structure, group, lambda rows: rows.norm(dim=1))


def fpgm(model: nn.Module, structure: Structure, group: Group) -> FloatArray:
    """Sum of a filter's distances to all others of its layer: the geometric median goes first."""
    return _add_over_writers(model, structure, group, lambda rows: torch.cdist(rows, rows).sum(1))


def lamp(model: nn.Module, structure: Structure, group: Group) -> FloatArray:
    """Squared norm over the sum of the squared norms that are not smaller.

    Inside a layer the order is that of l2; the scores differ between layers.
    """
    return _add_over_writers(model, structure, group, _lamp)


def _lamp(rows: Tensor) -> Tensor:
    squares = rows.square().sum(1)
    order = torch.argsort(squares, stable=True)
    not_smaller = squares[order].flip(0).cumsum(0).flip(0)
    return torch.empty_like(squares).scatter_(0, order, squares[order] / not_smaller)


def bn_scale(model: nn.Module, structure: Structure, group: Group) -> FloatArray:
    """Magnitude of the batch-norm scale after a filter.

    Raises:
        InputError: no batch norm follows the group.
    """
    scores = np.zeros(len(group.units))
    found = False
    for name, module in model.named_modules():
        units = structure.axes.get((f"{name}.weight", 0))
        if not isinstance(module, nn.modules.batchnorm._BatchNorm) or units is None:
            continue
        scale = module.weight.detach().abs().double().cpu().numpy()
        for position, unit in enumerate(group.units):
            scores[position] += scale[units == unit].sum()
        found = found or bool(np.isin(units, group.units).any())
    if not found:
        raise InputError(
            f"bn-scale cannot rank {group.name}: expected a batch norm after it, found none; "
            "choose another `rank`, such as `rank=l2`"
        )
    return scores


def taylor(
    model: nn.Module, structure: Structure, batches: Batches
) -> Callable[[Group], FloatArray]:
    """Expected squared first-order change of the loss when a filter is silenced.

    One backward pass per batch over all groups; mean over batches of (sum of weight * gradient)^2.
    The network's gradients, mode and `requires_grad` are as before afterwards.
    """
    names = {name for g in structure.groups for name, _ in filters(model, structure, g)}
    squares: dict[str, list[FloatArray]] = {group.name: [] for group in structure.groups}
    for gradients in _gradients(model, sorted(names), batches):
        for group in structure.groups:
            products = _products(model, structure, group, gradients)
            squares[group.name].append(products**2)
    return lambda group: np.asarray(np.mean(squares[group.name], axis=0))


def _products(
    model: nn.Module, structure: Structure, group: Group, gradients: Mapping[str, Tensor]
) -> FloatArray:
    total = np.zeros(len(group.units))
    for writer in group.writers:
        name, axis = writer_axis(structure, group, writer)
        product = model.get_parameter(name).detach().double().cpu() * gradients[name]
        per_filter = product.transpose(0, axis).flatten(1).sum(1).numpy()
        units = structure.axes[(name, axis)]
        total += np.array([per_filter[units == unit].sum() for unit in group.units])
    return total


def _gradients(
    model: nn.Module, names: list[str], batches: Batches
) -> Iterable[Mapping[str, Tensor]]:
    """Gradient of `label_loss` with respect to the named parameters, batch by batch."""
    parameters = {
        name: model.get_parameter(name).detach().clone().requires_grad_() for name in names
    }
    device = parameters[names[0]].device
    for x, labels_N in batches:
        with evaluating(model, gradients=True):
            scores = class_scores(call(model, on_device(x, device), parameters))
            loss = label_loss(scores, labels_N.to(device))
            # An auxiliary head has no part in the logits: its gradient is zero.
            found = torch.autograd.grad(
                loss, list(parameters.values()), allow_unused=True, materialize_grads=True
            )
        yield {n: g.double().cpu() for n, g in zip(names, found, strict=True)}
