"""Least-squares problems whose targets are those of a label probe.

The probe is the ridge classifier that the mechanism reads off a layer's pooled features; its
outputs are the sums of the filters' label fields.

Shapes: K labels, C channels, P cells of the pooling grid, D = C * P features.
"""

import numpy as np
import torch

from ..centring import centred
from ..mechanism.probe import RIDGE, solve
from ..mechanism.spectrum import GroupSpectrum
from ..mechanism.statistics import Statistics
from ..structure.units import Group, IntArray, Reader, Structure
from .readers import Problem, covariance, gram


def probe_problem(structure: Structure, group: Group, statistics: Statistics) -> Problem | None:
    """The probe's outputs as targets over pooled features, at the group's last reader.

    The loss is the probe's own, its ridge penalty included. Without the penalty no removal would
    cost anything where there are fewer samples than features.

    None where the reader never ran.
    """
    layer = statistics.layers.get(group.readers[-1]) if group.readers else None
    if layer is None:
        return None
    unit_C = _positions(structure.readers[group.readers[-1]], group)
    count, mean_D = layer.num_samples, layer.mean_D
    cov = centred(layer.gram_DD / count, mean_D)
    penalty = RIDGE * float(cov.trace() / count)
    cov = cov + penalty * torch.eye(len(cov), dtype=cov.dtype)
    cells = len(mean_D) // len(unit_C)
    weights_KD = solve(layer).weights_KD
    return Problem(cov.numpy(), gram(weights_KD.T), np.repeat(unit_C, cells))


def field_problem(
    structure: Structure, group: Group, statistics: Statistics, fields: GroupSpectrum, share: float
) -> Problem | None:
    """The label evidence that clean filters carry, as targets of energy `share`.

    Target of label j at cell p is sum over units u of s_u W_u[j, p] x_u: the part of the probe's
    output that unit u answers for, its field, weighted by s_u = snr_u / (1 + snr_u). None where
    nothing varies.
    """
    unit_C = _positions(structure.readers[fields.reader], group)
    cov = covariance(statistics.moments[fields.reader])
    weights_UKQ = fields.weights_UKQ.double().numpy()
    clean_U = fields.snr_F / (1 + fields.snr_F)
    num_labels = weights_UKQ.shape[1]
    channels = [np.flatnonzero(unit_C == u) for u in range(len(group.units))]
    cells = weights_UKQ.shape[2] // max(len(own) for own in channels)
    weights_CT = np.zeros((len(unit_C), num_labels * cells))
    for own, weights_KQ, clean in zip(channels, weights_UKQ, clean_U, strict=True):
        split = weights_KQ[:, : len(own) * cells].reshape(num_labels, len(own), cells)
        weights_CT[own] = clean * split.swapaxes(0, 1).reshape(len(own), -1)
    problem = Problem(cov, weights_CT @ weights_CT.T, unit_C)
    return problem.scaled(share / problem.energy) if problem.energy > 0 else None


def _positions(reader: Reader, group: Group) -> IntArray:
    """Position in the group of the unit of every channel, -1 for channels of other groups."""
    position_of = {int(unit): position for position, unit in enumerate(group.units)}
    return np.array([position_of.get(int(unit), -1) for unit in reader.unit_C], dtype=np.int64)
