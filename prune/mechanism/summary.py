"""From a probe and label means to everything known of a group's units, a slab of units at a time.

Shapes: U units, K labels, D pooled features, Q features of one unit.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..structure.units import BoolArray, FloatArray, Group, Reader
from .clusters import Clusters, find_clusters, threshold
from .fields import features_of_units, output_fields, split_by_unit
from .probe import Probe
from .snr import layer_snr, sharpness, signal, unit_snr

SLAB_BYTES = 32_000_000
"""Thresholded fields held at once: bounds the memory with many labels."""
FIELD_BYTES = 4_000_000
"""Fields computed at once: small enough for the cache, which makes a thousand labels fast."""


@dataclass(frozen=True)
class UnitSummary:
    """Of the units of a group; names and shapes as in `GroupSpectrum`."""

    weights_UKQ: Tensor
    means_UKQ: Tensor
    clusters: Clusters
    snr: float
    sharpness_U: FloatArray
    snr_U: FloatArray
    signal_U: FloatArray


def summarise_units(group: Group, reader: Reader, probe: Probe, means_KD: Tensor) -> UnitSummary:
    """Fields, clusters, signal and noise of every unit of a group, seen by one reader."""
    index_UQ = features_of_units(group.units, reader.unit_C, probe.grid[0] * probe.grid[1])
    weights_UKQ = split_by_unit(probe.weights_KD, index_UQ)
    means_UKQ = split_by_unit(means_KD, index_UQ)
    slabs = _slabs(weights_UKQ, means_UKQ, SLAB_BYTES)
    clusters = _join([find_clusters(_ones(w, m)) for w, m in slabs])
    return UnitSummary(
        weights_UKQ=weights_UKQ,
        means_UKQ=means_UKQ,
        clusters=clusters,
        snr=layer_snr(clusters),
        sharpness_U=sharpness(clusters),
        snr_U=unit_snr(clusters),
        signal_U=signal(weights_UKQ, means_UKQ),
    )


def _slabs(
    weights_UKQ: Tensor, means_UKQ: Tensor, num_bytes: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Slabs of units whose matrices of K x K bytes fit."""
    size = max(1, num_bytes // weights_UKQ.shape[1] ** 2)
    yield from zip(torch.split(weights_UKQ, size), torch.split(means_UKQ, size), strict=True)


def _ones(weights_UKQ: Tensor, means_UKQ: Tensor) -> BoolArray:
    """Thresholded fields, (U, K, K)."""
    parts = _slabs(weights_UKQ, means_UKQ, FIELD_BYTES // 4)
    return np.concatenate([threshold(output_fields(w, m)) for w, m in parts])


def _join(parts: Sequence[Clusters]) -> Clusters:
    names = ("cluster_UK", "ones_U", "noise_U", "noise_in_U")
    return Clusters(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))
