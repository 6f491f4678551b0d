"""A reader's weights and input moments as least-squares problems, one per convolution group.

A reader computes sum over channels c of W_c x_c at every tap of its kernel. Removing channels
costs what the others cannot predict of that sum: a problem in the channel covariances alone.

Shapes: G convolution groups, n channels of one group, C = G * n input channels, T targets (outputs
of one group times kernel taps, or times positions after a flatten).
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from ..centring import centred
from ..linear_algebra import damp, ridge_of
from ..structure.units import FloatArray, IntArray, Reader

TARGETS_AT_ONCE = 16384
"""Targets that are written out in float64 at once: 64 MiB for 512 channels. Memory only."""
DAMPING = 1e-6
"""Added to the diagonal of a covariance, as a share of its mean, so that it can be inverted where
channels are dead or depend on each other; raised where that is not enough (`linear_algebra`).

It lies between two roundings: well above that of float64 (2e-16 times hundreds of channels), so
that the inverse is stable, and at that of the float32 sums it is added to (6e-8 times a few), so
that it takes nothing from a prediction. Chosen for that, not by measured accuracy.
"""


@dataclass(frozen=True)
class Problem:
    """Least squares over the channels of one convolution group of one reader.

    | attribute     | shape  | meaning                                                          |
    |---------------|--------|------------------------------------------------------------------|
    | covariance_nn | (n, n) | of the channels, over samples and positions; float64             |
    | gram_nn       | (n, n) | W W^T of what each channel adds to each target, W (n, T); float64 |
    | unit_n        | (n,)   | position of the channel's unit in its group, -1: never removed   |
    """

    covariance_nn: FloatArray
    gram_nn: FloatArray
    unit_n: IntArray

    @property
    def energy(self) -> float:
        """Variance of all targets together: tr(W^T Cov W)."""
        return float(np.sum(self.covariance_nn * self.gram_nn))

    @cached_property
    def raised(self) -> float:
        """How many times `damping` has to be raised for the covariance to be inverted."""
        return damp(self.covariance_nn, damping(self.covariance_nn)).raised

    def scaled(self, energy: float) -> "Problem":
        """The same problem with targets scaled by energy."""
        return replace(self, gram_nn=self.gram_nn * energy)


def gram(matrix_nT: Tensor) -> FloatArray:
    """W W^T in float64, a part of the targets at a time: a flattened linear layer has many."""
    total = torch.zeros(len(matrix_nT), len(matrix_nT), dtype=torch.float64)
    for part in torch.split(matrix_nT, TARGETS_AT_ONCE, dim=1):
        part = part.double()
        total += part @ part.T
    return np.asarray(total.numpy(), dtype=np.float64)


def by_channel(weight: Tensor, reader: Reader) -> Tensor:
    """A reader's weight as (G, n, T): for every channel, its part in every target.

    | kind         | weight                  | T                          |
    |--------------|-------------------------|----------------------------|
    | "conv"       | (outputs, n, *kernel)   | outputs / G * kernel taps  |
    | "transposed" | (C, outputs / G, *kernel) | outputs / G * kernel taps |
    | "linear"     | (outputs, features)     | outputs * positions        |
    """
    if reader.kind == "transposed":
        return weight.reshape(reader.groups, weight.shape[0] // reader.groups, -1)
    if reader.kind == "linear":
        order = torch.from_numpy(np.argsort(reader.channel_of_feature_F, kind="stable"))
        split = weight[:, order].reshape(len(weight), len(reader.unit_C), -1)
        return split.transpose(0, 1).flatten(1)[None]
    split = weight.reshape(reader.groups, len(weight) // reader.groups, weight.shape[1], -1)
    return split.transpose(1, 2).flatten(2)


def from_channels(matrix: Tensor, like: Tensor, reader: Reader) -> Tensor:
    """Undo `by_channel`: the weight, in the shape of `like`, whose matrix is `matrix`."""
    if reader.kind == "transposed":
        return matrix.reshape(like.shape)
    if reader.kind == "linear":
        order = np.argsort(reader.channel_of_feature_F, kind="stable")
        split = matrix[0].reshape(matrix.shape[1], len(like), -1)
        return split.transpose(0, 1).flatten(1)[:, torch.from_numpy(np.argsort(order))]
    groups, n, _ = matrix.shape
    return (
        matrix.reshape(groups, n, like.shape[0] // groups, -1).transpose(1, 2).reshape(like.shape)
    )


def weight_of(model: nn.Module, reader: Reader) -> Tensor:
    """The reader's weight on the CPU, float32 or float64, no gradient."""
    weight = model.get_parameter(f"{reader.layer}.weight").detach().cpu()
    return weight if weight.dtype == torch.float64 else weight.float()


def covariance(moments: Tensor) -> FloatArray:
    """Channel covariances (C, C) of second moments (C + 1, C + 1) with the constant last."""
    second = moments.double() / float(moments[-1, -1])
    return np.asarray(centred(second[:-1, :-1], second[:-1, -1]).numpy())


def damping(covariance_nn: FloatArray) -> float:
    """The ridge that a covariance is inverted with: a small share of its mean variance."""
    return ridge_of(DAMPING, float(np.trace(covariance_nn)) / max(len(covariance_nn), 1))


def problems(
    reader: Reader, weight: Tensor, covariance_CC: FloatArray | None, position_of: dict[int, int]
) -> list[Problem]:
    """One problem per convolution group of a reader, scaled so that the energies add up to 1.

    A reader whose input never varies has energy 0, and no problem: nothing can be lost there.

    Args:
        weight: the reader's weight as its module has it.
        covariance_CC: None for channels of equal power and no correlation (no data).
        position_of: unit id -> its position in the group that is thinned.
    """
    matrix_GnT = by_channel(weight, reader)
    unit_C = np.array([position_of.get(int(unit), -1) for unit in reader.unit_C], dtype=np.int64)
    covariance_CC = np.eye(len(unit_C)) if covariance_CC is None else covariance_CC
    parts = np.arange(len(unit_C)).reshape(reader.groups, -1)
    raw = [
        Problem(covariance_CC[np.ix_(part, part)], gram(matrix_nT), unit_C[part])
        for part, matrix_nT in zip(parts, matrix_GnT, strict=True)
    ]
    energy = sum(problem.energy for problem in raw)
    return [problem.scaled(1 / energy) for problem in raw] if energy > 0 else []
