"""Labels a unit selects: the published threshold and cluster search, for all units at once.

Source: arXiv 2305.18078 and its successor Phys. Rev. E 111, 065307. A field is divided by its
maximum and thresholded; labels whose diagonal entry survives are gathered, in ascending order,
into clusters whose whole block survives.

Shapes: U units, K labels.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..shown import short_repr
from ..structure.units import BoolArray, IntArray

THRESHOLD = 0.3
"""Share of a field's maximum that an entry must exceed (published value)."""


@dataclass(frozen=True)
class Clusters:
    """Clusters of labels, and the noise outside them, of every unit.

    | attribute           | shape  | meaning                                                    |
    |---------------------|--------|------------------------------------------------------------|
    | cluster_UK          | (U, K) | cluster of each label, counted from 0; -1: in none         |
    | ones_U              | (U,)   | entries above the threshold                                |
    | noise_U             | (U,)   | of these, outside the clusters' blocks (n)                 |
    | noise_in_U          | (U,)   | of the noise, in the columns of labels in clusters (n_in)  |
    """

    cluster_UK: IntArray
    ones_U: IntArray
    noise_U: IntArray
    noise_in_U: IntArray

    __repr__ = short_repr

    @property
    def num_clusters_U(self) -> IntArray:
        """Clusters of each unit (N_c)."""
        return np.asarray(self.cluster_UK.max(1, initial=-1) + 1, dtype=np.int64)

    @property
    def num_labels_U(self) -> IntArray:
        """Labels in clusters, which are those on the diagonal, of each unit (d)."""
        return np.asarray((self.cluster_UK >= 0).sum(1), dtype=np.int64)

    def of(self, unit: int) -> tuple[tuple[int, ...], ...]:
        """Labels of each cluster of one unit, in the order in which they were found."""
        row_K = self.cluster_UK[unit]
        found = range(int(row_K.max(initial=-1)) + 1)
        return tuple(tuple(np.flatnonzero(row_K == cluster).tolist()) for cluster in found)


def threshold(fields_UKK: Tensor) -> BoolArray:
    """Entries above 0.3 of the field's maximum; none where the maximum is not positive."""
    peak_U = fields_UKK.amax((1, 2))
    bar_U = torch.where(peak_U > 0, THRESHOLD * peak_U, torch.inf)
    return np.asarray(fields_UKK.numpy() > bar_U.numpy()[:, None, None], dtype=np.bool_)


def find_clusters(ones_UKK: BoolArray) -> Clusters:
    """Grow clusters greedily over ascending labels, side by side for all units.

    In one step every unit either adds to its open cluster the lowest label that is compatible
    with all its members, or closes it and opens the next with the lowest label left. Only labels
    on the diagonal take part, so that a thousand labels cost little where few are selected.
    """
    candidate_UK = np.diagonal(ones_UKK, axis1=1, axis2=2)
    label_UM, real_UM = _gather(candidate_UK)
    units = np.arange(len(ones_UKK))[:, None, None]
    block_UMM = ones_UKK[units, label_UM[:, :, None], label_UM[:, None, :]]
    both_UMM = block_UMM & block_UMM.transpose(0, 2, 1)
    found_UM = _assign(both_UMM, real_UM)
    cluster_UK = np.full(candidate_UK.shape, -1, dtype=np.int64)
    unit_R, place_R = np.nonzero(real_UM)
    cluster_UK[unit_R, label_UM[unit_R, place_R]] = found_UM[unit_R, place_R]
    ones_U = _count(ones_UKK)
    blocks_U = _block_entries(cluster_UK)
    columns_U = [np.count_nonzero(x[:, own]) for x, own in zip(ones_UKK, candidate_UK, strict=True)]
    noise_in_U = np.asarray(columns_U, dtype=np.int64) - blocks_U
    return Clusters(cluster_UK, ones_U, ones_U - blocks_U, noise_in_U)


def _count(ones_UKK: BoolArray) -> IntArray:
    """Entries that are set in each matrix, (U,)."""
    return np.asarray([np.count_nonzero(matrix) for matrix in ones_UKK], dtype=np.int64)


def _gather(candidate_UK: BoolArray) -> tuple[IntArray, BoolArray]:
    """Candidate labels of each unit, ascending, (U, M), and which of these are real."""
    count_U = candidate_UK.sum(1)
    order_UK = np.argsort(~candidate_UK, axis=1, kind="stable")
    most = int(count_U.max(initial=0))
    return order_UK[:, :most], np.arange(most) < count_U[:, None]


def _assign(compatible_UMM: BoolArray, real_UM: BoolArray) -> IntArray:
    """Cluster of each candidate, (U, M), -1 where it is not real."""
    units = np.arange(len(real_UM))
    left_UM, open_UM = real_UM.copy(), np.zeros_like(real_UM)
    cluster_UM = np.full(real_UM.shape, -1, dtype=np.int64)
    current_U = np.full(len(units), -1, dtype=np.int64)
    while True:
        units = units[np.any(left_UM[units], axis=1)]
        if not len(units):
            return cluster_UM
        grows_U: BoolArray = np.any(open_UM[units], axis=1)
        current_U[units] += ~grows_U
        place_U = np.where(grows_U[:, None], open_UM[units], left_UM[units]).argmax(1)
        cluster_UM[units, place_U] = current_U[units]
        left_UM[units, place_U] = False
        fits_UM = compatible_UMM[units, place_U] & left_UM[units]
        open_UM[units] = np.where(grows_U[:, None], open_UM[units] & fits_UM, fits_UM)


def _block_entries(cluster_UK: IntArray) -> IntArray:
    """Entries inside the clusters' blocks of each unit: sum of squared cluster sizes, (U,)."""
    num_units, num_labels = cluster_UK.shape
    keys = (np.arange(num_units)[:, None] * (num_labels + 1) + cluster_UK + 1).ravel()
    sizes = np.bincount(keys, minlength=num_units * (num_labels + 1))
    return np.asarray((sizes.reshape(num_units, -1)[:, 1:] ** 2).sum(1), dtype=np.int64)
