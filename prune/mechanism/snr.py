"""Signal and noise of averaged output fields, per layer and per unit.

Shapes: U units, K labels, Q features of one unit; B_u is the thresholded field of unit u.
"""

import numpy as np
import torch
from torch import Tensor

from ..structure.units import FloatArray, IntArray
from .clusters import Clusters


def layer_snr(clusters: Clusters) -> float:
    """Signal-to-noise ratio of a layer.

        SNR = mean over labels i of sum_u B_u[i, i]  /  mean over i != j of sum_u B_u[i, j]

    The noise gets one entry more, so that a layer without any stays finite. 1 where the diagonal
    is set as often as the rest, 0 where nothing exceeds the threshold. The publications give no
    formula that can be recovered: this is ours.
    """
    diagonal, ones = clusters.num_labels_U.sum(), clusters.ones_U.sum()
    num_labels = clusters.cluster_UK.shape[1]
    return float(_ratio(np.asarray([diagonal]), np.asarray([ones]), num_labels)[0])


def unit_snr(clusters: Clusters) -> FloatArray:
    """Signal-to-noise ratio of each unit, (U,) float64, finite.

    As `layer_snr`, for one unit: mean diagonal over (mean of the rest + 1 / (K (K - 1))).
    """
    return _ratio(clusters.num_labels_U, clusters.ones_U, clusters.cluster_UK.shape[1])


def _ratio(diagonal_U: IntArray, ones_U: IntArray, num_labels: int) -> FloatArray:
    """Mean diagonal over the mean of the rest with one more entry; K >= 2, else no rest."""
    rest = max(num_labels * (num_labels - 1), 1)
    ratio_U = (diagonal_U / num_labels) / ((ones_U - diagonal_U + 1) / rest)
    return np.asarray(ratio_U, dtype=np.float64)


def sharpness(clusters: Clusters) -> FloatArray:
    """Label-selection sharpness of each unit, (U,) float64 in 0..1.

        sharpness = entries on the diagonal / all entries                      (of B_u)

    1: inputs of every label raise that output alone; 1 / c: one clean cluster of c labels; 1 / K:
    all labels raise all outputs; 0: no label is selected. The order of the labels does not matter.
    """
    share_U = clusters.num_labels_U / np.maximum(clusters.ones_U, 1)
    return np.asarray(share_U, dtype=np.float64)


def signal(weights_UKQ: Tensor, means_UKQ: Tensor) -> FloatArray:
    """Mean diagonal entry minus mean other entry of each unit's field M_u, (U,) float64.

    What the unit adds, on average over labels, to the lead of the right output, in units of the
    one-hot target. Taken from the factors of the field, M_u = means[u] weights[u]^T, by

        sum_i M_u[i, i] = sum_iq means[u, i, q] weights[u, i, q],
        sum_ij M_u[i, j] = sum_q (sum_i means[u, i, q]) (sum_j weights[u, j, q]).
    """
    num_labels = weights_UKQ.shape[1]
    diagonal_U = (weights_UKQ.double() * means_UKQ.double()).sum((1, 2))
    sums_UQ = [x.sum(1, dtype=torch.float64) for x in (weights_UKQ, means_UKQ)]
    rest_U = (sums_UQ[0] * sums_UQ[1]).sum(1) - diagonal_U
    lead_U = diagonal_U / num_labels - rest_U / max(num_labels * (num_labels - 1), 1)
    return np.asarray(lead_U.numpy(), dtype=np.float64)
