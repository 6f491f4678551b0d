"""Labels a unit selects: the published threshold and cluster search, for all units at once.

Source: arXiv 2305.18078 and its successor Phys. Rev. E 111, 065307. A field is divided by its
maximum and thresholded; labels whose diagonal entry survives are gathered, in ascending order,
into clusters whose whole block survives.

Shapes: U units, K labels.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..structure.units import IntArray

BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.float64]

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


def threshold(fields_UKK: NDArray[np.float32]) -> BoolArray:
    """Entries above 0.3 of the field's maximum; none where the maximum is not positive."""
    peak_U = fields_UKK.max(axis=(1, 2), initial=-np.inf)
    above = fields_UKK > THRESHOLD * peak_U[:, None, None]
    return np.asarray(above & (peak_U > 0)[:, None, None], dtype=np.bool_)


def find_clusters(ones_UKK: BoolArray) -> Clusters:
    """Grow clusters greedily over ascending labels, side by side for all units.

    In one step every unit either adds to its open cluster the lowest label that is compatible
    with all its members, or closes it and opens the next with the lowest label left.
    """
    cluster_UK = _assign(ones_UKK)
    inside_UK = cluster_UK >= 0
    ones_U = ones_UKK.sum(axis=(1, 2))
    in_blocks_U = _block_entries(cluster_UK)
    in_columns_U = (ones_UKK.sum(axis=1) * inside_UK).sum(axis=1)
    return Clusters(cluster_UK, ones_U, ones_U - in_blocks_U, in_columns_U - in_blocks_U)


def _assign(ones_UKK: BoolArray) -> IntArray:
    """Cluster of each label, (U, K), -1 where it is in none."""
    units = np.arange(len(ones_UKK))
    left_UK = np.diagonal(ones_UKK, axis1=1, axis2=2).copy()
    compatible_UKK = ones_UKK & ones_UKK.transpose(0, 2, 1)
    cluster_UK = np.full(left_UK.shape, -1, dtype=np.int64)
    current_U = np.full(len(units), -1, dtype=np.int64)
    open_UK = np.zeros_like(left_UK)
    while len(units):
        grows_U: BoolArray = np.any(open_UK[units], axis=1)
        current_U[units] += ~grows_U
        choice_UK = np.where(grows_U[:, None], open_UK[units], left_UK[units])
        units, choice_UK, grows_U = _still_busy(units, choice_UK, grows_U)
        label_U = choice_UK.argmax(1)
        cluster_UK[units, label_U] = current_U[units]
        left_UK[units, label_U] = False
        before_UK = np.where(grows_U[:, None], open_UK[units], True)
        open_UK[units] = before_UK & compatible_UKK[units, label_U] & left_UK[units]
    return cluster_UK


def _still_busy(
    units: IntArray, choice_UK: BoolArray, grows_U: BoolArray
) -> tuple[IntArray, BoolArray, BoolArray]:
    """Drop the units that have no label left."""
    busy_U = np.any(choice_UK, axis=1)
    return units[busy_U], choice_UK[busy_U], grows_U[busy_U]


def _block_entries(cluster_UK: IntArray) -> IntArray:
    """Entries inside the clusters' blocks of each unit: sum of squared cluster sizes, (U,)."""
    num_units, num_labels = cluster_UK.shape
    keys = (np.arange(num_units)[:, None] * (num_labels + 1) + cluster_UK + 1).ravel()
    sizes = np.bincount(keys, minlength=num_units * (num_labels + 1))
    return np.asarray((sizes.reshape(num_units, -1)[:, 1:] ** 2).sum(1), dtype=np.int64)
