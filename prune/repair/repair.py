"""Closed-form repair: the filters that stay make up for those that went.

Removed channels r of a reader are predicted from the kept ones k by least squares on the channel
moments, x_r = A x_k + b with A = Cov_rk (Cov_kk)^-1, and A and b are folded into the remaining
weights: W_k + A^T W_r, and b^T W_r into the bias. No gradient step.

Where the reader has no bias, its constant is taken off the running mean of the batch norm that
reads its output directly, so the network keeps its class and its state dict. Where there is no such
norm either, the prediction is made without a constant. A transposed convolution also goes
without: a constant input would not give a constant output.

With moments of held-out images at hand, a reader whose response there would be further from the
original's than without the prediction is left as it was cut. That happens where a prediction from
many channels was fitted to few images.

Shapes: G convolution groups, n channels of one group (k of them kept), T targets.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ..centring import centred
from ..linear_algebra import solve_damped
from ..mechanism.statistics import Statistics
from ..selection.readers import by_channel, damping, from_channels, weight_of
from ..structure.cut import Cut
from ..structure.units import AxisKey, BoolArray, FloatArray, IntArray, Reader

NOISE = 1e-6
"""Share of a response's energy by which held-out images must be worse to count as worse: the
rounding of float32 sums (6e-8 a step) must not decide where nothing changed."""


@dataclass(frozen=True)
class RepairNotes:
    """What repair did, by reader.

    Attributes:
        repaired: readers whose weights took over.
        without_constant: those of them with no place for a constant.
        left: reader -> why it was left as it was.
        rows: reader -> (rows that its moments are of, channels that the others are predicted from).
        raised: reader -> how many times its damping had to be raised, 1 for not at all.
    """

    repaired: tuple[str, ...]
    without_constant: tuple[str, ...]
    left: Mapping[str, str]
    rows: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    raised: Mapping[str, float] = field(default_factory=dict)


def repair(
    smaller: nn.Module,
    model: nn.Module,
    cut: Cut,
    statistics: Statistics,
    *,
    norm_behind: Mapping[str, str] | None = None,
    held_out: Mapping[str, Tensor] | None = None,
) -> tuple[nn.Module, RepairNotes]:
    """A copy of `smaller` in which every reader makes up for the channels it lost.

    Args:
        smaller: what `remove` made of `model`, weights as they were cut.
        statistics: of `model`, at the inputs of its readers.
        norm_behind: reader -> batch norm that takes its constant (`norms.find_norm_behind`).
        held_out: reader -> moments of other images, which no reader may answer worse than before.
    """
    repaired = copy.deepcopy(smaller)
    done, without = [], []
    left: dict[str, str] = {}
    rows: dict[str, tuple[int, int]] = {}
    raised: dict[str, float] = {}
    for name, reader in cut.structure.readers.items():
        gone_C = np.isin(reader.unit_C, cut.removed)
        if not gone_C.any():
            continue
        if name not in statistics.moments:
            left[name] = "it never ran while the moments were measured"
            continue
        moments = statistics.moments[name].numpy()
        place = place_of_constant(repaired, reader, (norm_behind or {}).get(name))
        own = weight_of(model, reader)
        folded = fold(own, moments, gone_C, reader, with_constant=place is not None)
        if held_out and name in held_out:
            worse = _worse(by_channel(own, reader), folded, gone_C, held_out[name])
            if worse:
                left[name] = worse
                continue
        weight, shift_O = _as_weight(folded, own, reader)
        tensors = dict(repaired.named_parameters()) | dict(repaired.named_buffers())
        with torch.no_grad():
            tensors[f"{name}.weight"].copy_(_cut(weight, f"{name}.weight", cut.kept))
            if place is not None:
                target, sign = place
                tensors[target] += (sign * _cut(shift_O, target, cut.kept)).to(tensors[target])
        done.append(name)
        raised[name] = folded.raised
        most_kept = int((~gone_C).reshape(reader.groups, -1).sum(1).max())
        rows[name] = statistics.num_positions[name], most_kept
        if place is None:
            without.append(name)
    return repaired, RepairNotes(tuple(done), tuple(without), left, rows, raised)


class Prediction(NamedTuple):
    """Channels that go as x_gone = A x_kept + b.

    Attributes:
        slope, offset: A (gone, kept) and b (gone,).
        raised: how many times the damping had to be raised, 1 for not at all.
    """

    slope: FloatArray
    offset: FloatArray
    raised: float


def predict_channels(
    moments: FloatArray, kept: IntArray, gone: IntArray, *, with_constant: bool = True
) -> Prediction:
    """Least-squares prediction of channels from others.

    Args:
        moments: (n + 1, n + 1) sum or mean of [x; 1][x; 1]^T, the constant last.
        kept, gone: channel positions.
        with_constant: without it b = 0, and A is the best for that.
    """
    second = moments / moments[-1, -1]
    mean = second[:-1, -1] if with_constant else np.zeros(len(second) - 1)
    cov = centred(torch.from_numpy(second[:-1, :-1]), torch.from_numpy(mean)).numpy()
    own = cov[np.ix_(kept, kept)]
    slope_kg, raised = solve_damped(own, damping(own), cov[np.ix_(kept, gone)])
    return Prediction(slope_kg.T, mean[gone] - slope_kg.T @ mean[kept], raised)


@dataclass(frozen=True)
class Folded:
    """A reader after its kept channels took over, as `by_channel` sees it.

    Attributes:
        matrix_GnT: weights, zero at the channels that go.
        shift_GT: the constant that is missing at every target; zero without a constant.
        raised: how many times the damping had to be raised, 1 for not at all.
    """

    matrix_GnT: Tensor
    shift_GT: Tensor
    raised: float


def fold(
    weight: Tensor,
    moments: FloatArray,
    gone_C: BoolArray,
    reader: Reader,
    *,
    with_constant: bool,
) -> Folded:
    """Let a reader's kept channels take over.

    Args:
        weight: of the whole reader, on the CPU.
        moments: (C + 1, C + 1) of its input.
        gone_C: which channels go.
    """
    matrix_GnT = by_channel(weight, reader).clone()
    parts = _parts(gone_C, len(matrix_GnT))
    shift_GT = torch.zeros(len(parts), matrix_GnT.shape[2], dtype=weight.dtype)
    raised = 1.0
    for part, matrix_nT, shift_T in zip(parts, matrix_GnT, shift_GT, strict=True):
        index = np.append(part, len(gone_C))
        own = moments[np.ix_(index, index)]
        kept, gone = np.flatnonzero(~gone_C[part]), np.flatnonzero(gone_C[part])
        slope, offset, more = predict_channels(own, kept, gone, with_constant=with_constant)
        raised = max(raised, more)
        matrix_nT[kept] += torch.from_numpy(slope.T).to(weight) @ matrix_nT[gone]
        shift_T += torch.from_numpy(offset).to(weight) @ matrix_nT[gone]
        matrix_nT[gone] = 0
    return Folded(matrix_GnT, shift_GT, raised)


def _as_weight(folded: Folded, like: Tensor, reader: Reader) -> tuple[Tensor, Tensor]:
    """The weight of the whole reader, and the constant of each output (outputs,)."""
    outputs = like.shape[1] * reader.groups if reader.kind == "transposed" else like.shape[0]
    shift_O = folded.shift_GT.reshape(outputs, -1).sum(1)
    return from_channels(folded.matrix_GnT, like, reader), shift_O


def _parts(gone_C: BoolArray, groups: int) -> IntArray:
    return np.arange(len(gone_C)).reshape(groups, -1)


def _worse(own_GnT: Tensor, folded: Folded, gone_C: BoolArray, moments: Tensor) -> str:
    """Why a reader should stay as it was cut, on moments it was not folded with; empty if fine.

    The mean squared error at all targets is tr([D; s]^T M [D; s]) for a change D of the weights,
    a constant s and moments M.
    """
    second = moments.double() / float(moments[-1, -1])
    before = after = energy = 0.0
    parts = _parts(gone_C, len(own_GnT))
    for part, own_nT, new_nT, s_T in zip(
        parts, own_GnT, folded.matrix_GnT, folded.shift_GT, strict=True
    ):
        index = torch.from_numpy(np.append(part, len(gone_C)))
        m_nn, gone = second[index][:, index], torch.from_numpy(gone_C[part])
        cut_nT = torch.where(gone[:, None], -own_nT, 0.0)
        before += _missed(m_nn, cut_nT, torch.zeros_like(s_T))
        after += _missed(m_nn, new_nT - own_nT, s_T)
        energy += _missed(m_nn, own_nT, torch.zeros_like(s_T))
    return reason_to_leave(before, after, energy)


def _missed(moments_nn: Tensor, change_nT: Tensor, shift_T: Tensor) -> float:
    change = torch.cat([change_nT, shift_T[None]]).double()
    return float((change * (moments_nn @ change)).sum())


def reason_to_leave(before: float, after: float, energy: float) -> str:
    """In words, where held-out images are worse off after a change; empty where they are not."""
    if after <= before + NOISE * energy:
        return ""
    scale = max(energy, torch.finfo(torch.float32).tiny)
    return (
        f"held-out images would miss {after / scale:.3g} of its response instead of "
        f"{before / scale:.3g}"
    )


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
