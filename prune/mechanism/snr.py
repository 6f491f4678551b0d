"""Signal and noise of averaged output fields, per layer and per unit.

Shapes: U units, K labels.
"""

import numpy as np
from numpy.typing import NDArray

from .clusters import BoolArray, FloatArray


def layer_snr(ones_UKK: BoolArray | FloatArray) -> float:
    """Signal-to-noise ratio of a layer, from the thresholded fields B of its units
    (or sums of them).

        SNR = mean over labels i of sum_u B_u[i, i]  /  mean over i != j of sum_u B_u[i, j]

    One entry's worth of noise is added, so that a layer without any stays finite. 1 where the
    layer says nothing about labels, 0 where nothing survives the threshold. The publications give
    no formula that can be recovered: this is ours.
    """
    return float(_ratio(ones_UKK.sum(0, dtype=np.float64)[None])[0])


def unit_snr(ones_UKK: BoolArray) -> FloatArray:
    """Signal-to-noise ratio of each unit, (U,) float64, finite.

    As `layer_snr`, for one unit: mean diagonal over (mean of the rest + 1 / (K (K - 1))).
    """
    return _ratio(ones_UKK.astype(np.float64))


def sharpness(ones_UKK: BoolArray) -> FloatArray:
    """Label-selection sharpness of each unit, (U,) float64 in 0..1.

        sharpness = entries on the diagonal / all entries        (of the thresholded field)

    1: every input label calls for itself alone; 1 / c: one clean cluster of c labels; 1 / K: all
    labels call for all; 0: no label is selected. It does not depend on the order of the labels.
    """
    diagonal_U = np.trace(ones_UKK, axis1=1, axis2=2, dtype=np.float64)
    return np.asarray(diagonal_U / np.maximum(ones_UKK.sum(axis=(1, 2)), 1), dtype=np.float64)


def signal(fields_UKK: NDArray[np.float32]) -> FloatArray:
    """Mean diagonal entry minus mean other entry of each unit's field, (U,) float64.

    What the unit adds, on average over labels, to the lead of the right output, in units of the
    one-hot target. The units of a layer share about 1 between them where labels can be read.
    """
    diagonal_U, rest_U = _diagonal_and_rest(fields_UKK.astype(np.float64))
    return np.asarray(diagonal_U - rest_U, dtype=np.float64)


def _ratio(total_UKK: FloatArray) -> FloatArray:
    """Mean diagonal over the mean of the rest with one more entry."""
    diagonal_U, rest_U = _diagonal_and_rest(total_UKK)
    num_labels = total_UKK.shape[1]
    one_entry = 1 / max(num_labels * (num_labels - 1), 1)
    return np.asarray(diagonal_U / (rest_U + one_entry), dtype=np.float64)


def _diagonal_and_rest(matrix_UKK: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Mean of the diagonal, and of all other entries, of each matrix."""
    num_labels = matrix_UKK.shape[1]
    diagonal_U = np.asarray(np.trace(matrix_UKK, axis1=1, axis2=2), dtype=np.float64)
    rest_U = np.asarray(matrix_UKK.sum(axis=(1, 2)) - diagonal_U, dtype=np.float64)
    return diagonal_U / num_labels, rest_U / max(num_labels * (num_labels - 1), 1)
