"""Control arms of repair (see contest.py): our structure, widths and kept filters, another repair.

"-merged" is Neuron Merging (Kim et al., NeurIPS 2020, arXiv 2010.13160), stated again from the
paper. It needs no data: a removed filter p is taken as a scaled copy of one kept filter k of its
layer, its batch norm included, and the next layer's weights for p are added, scaled, to those for
k:

    f_p ~ s f_k,  s = |f_p| / |f_k|
    y_p ~ a y_k + b,  a = s (gamma_p / sigma_p) / (gamma_k / sigma_k)
    b = gamma_p / sigma_p (s (mu_k - sigma_k beta_k / gamma_k) - mu_p) + beta_p

k has the least 0.85 (1 - cos(f_p, f_k)) + 0.15 |b / a|, the latter scaled to 0..1 over k. Where
no cosine exceeds 0.1 nothing is merged. a must be positive, so that it passes the ReLU; b is
lost, as in the paper. Units that several layers write (a residual stream) and layers without a
batch norm stay as they were cut; the paper does not prune them.

Shapes: U units of a layer, K kept, R removed.
"""

import copy
import time
from dataclasses import dataclass

import numpy as np
import torch
from contest_ours import plan_cut
from contest_scene import Made, Scene
from prune_dl.prune.repair.norms import find_norm_behind
from prune_dl.prune.selection.readers import by_channel, from_channels, weight_of
from prune_dl.prune.structure.cut import Cut
from prune_dl.prune.structure.surgery import remove
from prune_dl.prune.structure.units import Group, Reader
from torch import Tensor, nn
from torch.nn.functional import normalize

ARMS = ("mechanism-merged", "response-merged", "l1-merged")
COSINE_SHARE = 0.85
"""Of the choice of k, the rest is the constant's."""
LEAST_COSINE = 0.1
"""Filters that point elsewhere are no copies."""


@dataclass(frozen=True)
class Normed:
    """Filters of a layer and its batch norm in inference: y = gain (f * x) + offset.

    Attributes:
        filters_UF: flattened.
        gain_U, offset_U: gamma / sigma and beta - gamma mu / sigma.
    """

    filters_UF: Tensor
    gain_U: Tensor
    offset_U: Tensor

    @staticmethod
    def of(layer: nn.Module, norm: nn.Module) -> "Normed":
        """Of a convolution and the norm that reads it."""
        state = {name: value.detach().double() for name, value in norm.state_dict().items()}
        gain_U = state["weight"] / (state["running_var"] + norm.eps).sqrt()
        offset_U = state["bias"] - gain_U * state["running_mean"]
        bias = getattr(layer, "bias", None)
        if bias is not None:
            offset_U = offset_U + gain_U * bias.detach().double()
        return Normed(layer.weight.detach().double().flatten(1), gain_U, offset_U)


def merge_scales(layer: Normed, kept: Tensor, gone: Tensor) -> Tensor:
    """a of every removed filter for the kept one that it is merged with, 0 elsewhere, (R, K).

    A filter that is twice another one, under the same norm, is merged with it and counts twice:

    >>> filters = torch.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, 0.0]])
    >>> same = Normed(filters, torch.ones(3), torch.zeros(3))
    >>> merge_scales(same, torch.tensor([0, 1]), torch.tensor([2]))
    tensor([[2., 0.]])
    """
    filters_UF, gain_U, offset_U = layer.filters_UF, layer.gain_U, layer.offset_U
    unit_UF = normalize(filters_UF, dim=1)
    cosine_RK = unit_UF[gone] @ unit_UF[kept].T
    norm_U = filters_UF.norm(dim=1)
    scale_RK = (gain_U * norm_U)[gone, None] / (gain_U * norm_U)[None, kept]
    constant_RK = (offset_U[gone, None] - scale_RK * offset_U[None, kept]).abs() / scale_RK
    fits_RK = scale_RK.isfinite() & (scale_RK > 0) & (cosine_RK >= LEAST_COSINE)
    least = torch.where(fits_RK, constant_RK, torch.inf).amin(1, keepdim=True)
    most = torch.where(fits_RK, constant_RK, -torch.inf).amax(1, keepdim=True)
    spread = (most - least).clamp(min=torch.finfo().tiny)
    cost_RK = COSINE_SHARE * (1 - cosine_RK) + (1 - COSINE_SHARE) * (constant_RK - least) / spread
    best_R = torch.where(fits_RK, cost_RK, torch.inf).argmin(1, keepdim=True)
    merged_RK = torch.zeros_like(scale_RK).scatter(1, best_R, scale_RK.gather(1, best_R))
    return torch.where(fits_RK, merged_RK, 0.0)


def merge(model: nn.Module, cut: Cut, norm_behind: dict[str, str]) -> nn.Module:
    """What removing makes of the network, with the removed filters merged into kept ones."""
    merged = copy.deepcopy(model)
    for group in cut.structure.groups:
        norm = norm_behind.get(group.writers[0])
        gone = torch.from_numpy(np.flatnonzero(np.isin(group.units, cut.removed)))
        if norm is None or len(group.writers) > 1 or not len(gone):
            continue
        kept = torch.from_numpy(np.flatnonzero(~np.isin(group.units, cut.removed)))
        layer = Normed.of(model.get_submodule(group.writers[0]), model.get_submodule(norm))
        scales_RK = merge_scales(layer, kept, gone)
        for name in group.readers:
            _fold(merged, cut.structure.readers[name], group, (kept, gone, scales_RK))
    return remove(merged, cut)


def _fold(
    model: nn.Module, reader: Reader, group: Group, parts: tuple[Tensor, Tensor, Tensor]
) -> None:
    """Add a reader's weights for the removed channels to those for the kept ones, scaled."""
    kept, gone, scales_RK = parts
    weight = weight_of(model, reader)
    matrix_GnT = by_channel(weight, reader).clone()
    if len(matrix_GnT) > 1:
        return
    channel_of = {int(unit): channel for channel, unit in enumerate(reader.unit_C)}
    channels_U = torch.tensor([channel_of[int(unit)] for unit in group.units])
    taken = scales_RK.T.to(weight) @ matrix_GnT[0][channels_U[gone]]
    matrix_GnT[0][channels_U[kept]] += taken
    with torch.no_grad():
        model.get_submodule(reader.layer).weight.copy_(from_channels(matrix_GnT, weight, reader))


def make(scene: Scene, arm: str, macs: float, seed: int) -> Made:
    """The filters that a criterion keeps, and Neuron Merging as the repair."""
    cut, ranking_seconds = plan_cut(scene, arm.removesuffix("-merged"), macs, seed)
    start = time.perf_counter()
    norms = find_norm_behind(scene.model, scene.case.example)
    merged = merge(scene.model, cut, norms)
    return Made(merged, ranking_seconds, time.perf_counter() - start)
