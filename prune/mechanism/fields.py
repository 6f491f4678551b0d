"""Averaged output fields: mean outputs of the probe with all units but one silenced.

Shapes: K labels, D features, U units, Q features of one unit (its channels times the cells of the
grid; padded), field_UKK[u, i, j]: mean output j over inputs of label i with unit u alone.
"""

import numpy as np
import torch
from torch import Tensor

from ..structure.units import IntArray


def features_of_units(units_U: IntArray, unit_C: IntArray, cells: int) -> Tensor:
    """Pooled features that belong to each unit, (U, Q) int64, -1 where a unit has fewer.

    A unit that several channels share (a concatenation of itself, a grouped stream) owns the
    features of all of them.
    """
    channels = [np.flatnonzero(unit_C == unit) for unit in units_U]
    widest = max((len(x) for x in channels), default=0)
    index_UQ = np.full((len(units_U), widest * cells), -1, dtype=np.int64)
    for row, own in zip(index_UQ, channels, strict=True):
        row[: len(own) * cells] = (own[:, None] * cells + np.arange(cells)).ravel()
    return torch.from_numpy(index_UQ)


def split_by_unit(matrix_KD: Tensor, index_UQ: Tensor) -> Tensor:
    """Sort the columns by unit: (U, K, Q), zero where a unit has fewer features."""
    padded = torch.cat([matrix_KD, matrix_KD.new_zeros(len(matrix_KD), 1)], dim=1)
    return padded[:, index_UQ].movedim(1, 0)


def output_fields(weights_UKQ: Tensor, means_UKQ: Tensor) -> Tensor:
    """Averaged output fields of units, (U, K, K) float32.

        field[u, i, j] = sum over the unit's features q of weights[u, j, q] * means[u, i, q]

    where means are those of the inputs of label i. Because the probe is linear this equals the
    published procedure (arXiv 2305.18078, phase 3: silence all but one filter, run the inputs of
    label i through, average the outputs) without a pass for each filter.
    """
    return means_UKQ.float() @ weights_UKQ.float().transpose(1, 2)
