"""The layers of a network before and after: filters, cost, and why they stayed."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from torch import nn

from ...evaluate.report.lines import Change, LayerLine
from ..mechanism.spectrum import GroupSpectrum
from ..structure.cut import Cut
from ..structure.units import Group
from .known import Measured, Planned


@dataclass(frozen=True)
class LayerCost:
    """Multiply-adds and parameters of one module, before and after."""

    macs: Change[int]
    params: Change[int]


def layer_lines(model: nn.Module, planned: Planned) -> tuple[LayerLine, ...]:
    """One line a layer that has filters, in execution order: whole ones with their reason.

    MACs and parameters of a line are those of its writers: the layers whose filters it counts.
    """
    lines = []
    structure = planned.measured.structure
    costs = layer_costs(model, planned.cut)
    for group, layer, measured in zip(
        structure.groups, planned.plan.layers, fields_of(planned.measured), strict=True
    ):
        found: dict[str, Any] = (
            {}
            if measured is None
            else {
                "success_rate": measured.success_rate,
                "snr": measured.snr,
                "cluster_size": measured.cluster_size,
                "clusters_per_filter": measured.clusters_per_filter,
                "noise": measured.noise,
            }
        )
        lines.append(
            LayerLine(
                layer.name,
                layer.num_filters,
                len(layer.kept),
                macs=_sum(costs[writer].macs for writer in group.writers),
                params=_sum(costs[writer].params for writer in group.writers),
                reason=structure.kept_whole.get(group.name, ""),
                together=_together(model, group),
                **found,
            )
        )
    named = {line.name for line in lines}
    for name, reason in structure.kept_whole.items():
        if name not in named:
            count = structure.num_filters.get(name, 0)
            cost = costs.get(name, LayerCost(Change(0, 0), Change(0, 0)))
            lines.append(LayerLine(name, count, count, cost.macs, cost.params, reason=reason))
    return (*lines, *_lines_cut_off(model, planned))


def _together(model: nn.Module, group: Group) -> tuple[str, ...]:
    """The other writers of a group, depthwise ones marked."""
    return tuple(
        f"{name} (depthwise)" if _is_depthwise(model, name) else name for name in group.writers[1:]
    )


def _is_depthwise(model: nn.Module, name: str) -> bool:
    layer = dict(model.named_modules()).get(name)
    groups = getattr(layer, "groups", 1)
    return bool(groups > 1 and groups == getattr(layer, "in_channels", None))


def _lines_cut_off(model: nn.Module, planned: Planned) -> Iterator[LayerLine]:
    """Layers of the network that came in which less depth took out."""
    for name in planned.depth.passed if planned.depth else ():
        for inner, layer in model.get_submodule(name).named_modules():
            weight = getattr(layer, "weight", None)
            if weight is not None and weight.ndim > 1:
                reason = (
                    "its branch went: the success rate after the block is no higher than before it"
                    if inner
                    else "cut off: its input already tells the labels as well as any later layer"
                )
                yield LayerLine(f"{name}.{inner}".rstrip("."), len(weight), 0, reason=reason)


def fields_of(measured: Measured) -> Sequence[GroupSpectrum | None]:
    """What the filters of every group do to labels; None for each where there are none."""
    if measured.spectrum is None:
        return [None] * len(measured.structure.groups)
    return measured.spectrum.groups


def layer_costs(model: nn.Module, cut: Cut) -> dict[str, LayerCost]:
    """Cost of every module that has parameters or multiplies, and of parameters that are layers."""
    params: dict[str, list[Change[int]]] = {}
    for name, tensor in model.named_parameters():
        new = prod(
            len(cut.kept[name, axis]) if (name, axis) in cut.kept else size
            for axis, size in enumerate(tensor.shape)
        )
        layer = name if name in cut.structure.num_filters else name.rpartition(".")[0]
        params.setdefault(layer, []).append(Change(tensor.numel(), new))
    all_U = np.ones_like(cut.stays_U)
    macs: dict[str, list[Change[float]]] = {}
    for product in cut.structure.products:
        change = Change(product.macs(all_U), product.macs(cut.stays_U))
        macs.setdefault(product.layer, []).append(change)
    return {
        layer: LayerCost(_rounded(macs.get(layer, ())), _sum(params.get(layer, ())))
        for layer in {**params, **macs}
    }


def _rounded(parts: Iterable[Change[float]]) -> Change[int]:
    listed = list(parts)
    original, final = sum(x.original for x in listed), sum(x.final for x in listed)
    return Change(round(original), round(final))


def _sum(parts: Iterable[Change[int]]) -> Change[int]:
    listed = list(parts)
    return Change(sum(part.original for part in listed), sum(part.final for part in listed))
