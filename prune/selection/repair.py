"""Closed-form repair: the filters that stay take over the work of those that went.

Removed channels r of a reader are predicted from the kept ones k by least squares on the channel
moments, x_r = A x_k + b with A = Cov_rk (Cov_kk)^-1, and A and b are folded into the remaining
weights: W_k + A^T W_r, and b^T W_r into the bias. No gradient step.

Where the reader has no bias, its constant is taken off the running mean of the batch norm that
reads its output directly, so the network keeps its class and its state dict. Where there is no such
norm either, the prediction is made without a constant. A transposed convolution also goes
without: a constant input would not give a constant output.

Shapes: G convolution groups, n channels of one group (k of them kept), T targets.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from ..mechanism.statistics import Statistics
from ..structure.plan import Plan
from ..structure.surgery import kept_indices
from ..structure.units import AxisKey, IntArray, Reader, Structure
from .readers import FloatArray, by_channel, damped, from_channels, weight_of
from .response import BoolArray


@dataclass(frozen=True)
class RepairNotes:
    """What repair did, by reader.

    Attributes:
        repaired: readers whose weights took over.
        without_constant: those of them with no place for a constant.
        left: reader -> why it was left as it was.
    """

    repaired: tuple[str, ...]
    without_constant: tuple[str, ...]
    left: Mapping[str, str]


def repair(
    smaller: nn.Module,
    model: nn.Module,
    structure: Structure,
    plan: Plan,
    statistics: Statistics,
    *,
    norm_behind: Mapping[str, str] | None = None,
) -> tuple[nn.Module, RepairNotes]:
    """A copy of `smaller` in which every reader makes up for the channels it lost.

    Args:
        smaller: what `remove` made of `model` under the plan, weights as they were cut.
        statistics: of `model`, at the inputs of its readers.
        norm_behind: reader -> batch norm that takes its constant (`norms.find_norm_behind`).
    """
    repaired = copy.deepcopy(smaller)
    removed, kept = plan.removed_units(structure), kept_indices(structure, plan)
    left: dict[str, str] = {}
    done, without = [], []
    for name, reader in structure.readers.items():
        gone_C = np.isin(reader.unit_C, removed)
        if not gone_C.any():
            continue
        if name not in statistics.moments:
            left[name] = "it never ran while the moments were measured"
            continue
        place = place_of_constant(repaired, reader, (norm_behind or {}).get(name))
        weight, shift_O = fold(
            weight_of(model, reader),
            statistics.moments[name].numpy(),
            gone_C,
            reader,
            with_constant=place is not None,
        )
        tensors = dict(repaired.named_parameters()) | dict(repaired.named_buffers())
        with torch.no_grad():
            tensors[f"{name}.weight"].copy_(_cut(weight, f"{name}.weight", kept))
            if place is not None:
                target, sign = place
                shift = sign * _cut(shift_O, target, kept)
                tensors[target] += shift.to(tensors[target])
        done.append(name)
        if place is None:
            without.append(name)
    return repaired, RepairNotes(tuple(done), tuple(without), left)


def predict(
    moments: FloatArray, kept: IntArray, gone: IntArray, *, with_constant: bool = True
) -> tuple[FloatArray, FloatArray]:
    """Least-squares prediction of channels from others: A (gone, kept) and b (gone,).

    Args:
        moments: (n + 1, n + 1) sum or mean of [x; 1][x; 1]^T, the constant last.
        kept, gone: channel positions.
        with_constant: without it b = 0, and A is the best for that.
    """
    second = moments / moments[-1, -1]
    mean = second[:-1, -1] if with_constant else np.zeros(len(second) - 1)
    cov = second[:-1, :-1] - np.outer(mean, mean)
    slope = np.linalg.solve(damped(cov[np.ix_(kept, kept)]), cov[np.ix_(kept, gone)]).T
    return slope, mean[gone] - slope @ mean[kept]


def fold(
    weight: Tensor,
    moments: FloatArray,
    gone_C: BoolArray,
    reader: Reader,
    *,
    with_constant: bool,
) -> tuple[Tensor, Tensor]:
    """The reader's weight after its kept channels took over, and the constant that is missing.

    Args:
        weight: of the whole reader, on the CPU.
        moments: (C + 1, C + 1) of its input.
        gone_C: which channels go.

    Returns:
        the weight, same shape, zero at the channels that go; and the constant of each output
        (outputs,), zero without a constant.
    """
    matrix_GnT = by_channel(weight, reader).clone()
    parts = np.arange(len(gone_C)).reshape(reader.groups, -1)
    shift_GT = torch.zeros(len(parts), matrix_GnT.shape[2], dtype=weight.dtype)
    for part, matrix_nT, shift_T in zip(parts, matrix_GnT, shift_GT, strict=True):
        index = np.append(part, len(gone_C))
        own = moments[np.ix_(index, index)]
        kept, gone = np.flatnonzero(~gone_C[part]), np.flatnonzero(gone_C[part])
        slope, offset = predict(own, kept, gone, with_constant=with_constant)
        matrix_nT[kept] += torch.from_numpy(slope.T).to(weight) @ matrix_nT[gone]
        shift_T += torch.from_numpy(offset).to(weight) @ matrix_nT[gone]
        matrix_nT[gone] = 0
    outputs = weight.shape[1] * reader.groups if reader.kind == "transposed" else weight.shape[0]
    return from_channels(matrix_GnT, weight, reader), shift_GT.reshape(outputs, -1).sum(1)


def place_of_constant(
    model: nn.Module, reader: Reader, norm: str | None
) -> tuple[str, float] | None:
    """The tensor that takes the constant, and the sign it takes it with."""
    if reader.kind == "transposed":
        return None
    if isinstance(getattr(model.get_submodule(reader.layer), "bias", None), Tensor):
        return f"{reader.layer}.bias", 1.0
    return (f"{norm}.running_mean", -1.0) if norm else None


def _cut(tensor: Tensor, name: str, kept: Mapping[AxisKey, IntArray]) -> Tensor:
    for axis in range(tensor.ndim):
        if (name, axis) in kept:
            tensor = tensor.index_select(axis, torch.from_numpy(kept[(name, axis)]))
    return tensor
