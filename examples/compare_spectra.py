"""How far two ways of measuring the same network agree, layer by layer."""

from dataclasses import dataclass

import numpy as np
from prune_dl.prune.mechanism.spectrum import GroupSpectrum, Spectrum
from prune_dl.prune.structure.units import FloatArray
from scipy.stats import spearmanr


@dataclass(frozen=True)
class Agreement:
    """One layer seen by two measurements.

    Attributes:
        name: the group.
        rates: success rate of the first and of the second.
        signal, snr, sharpness: Spearman correlation of the per-unit scores; NaN where one of
            them is constant.
        labels: mean over units of the overlap (Jaccard index) of the labels in clusters; a unit
            without clusters in both counts as 1.
        same_clusters: share of units whose clusters are the same.
    """

    name: str
    rates: tuple[float, float]
    signal: float
    snr: float
    sharpness: float
    labels: float
    same_clusters: float


def compare_spectra(first: Spectrum, second: Spectrum) -> tuple[Agreement, ...]:
    """Layer by layer, for groups that both have measured. Both are of the same structure."""
    pairs = zip(first.groups, second.groups, strict=True)
    return tuple(_compare(a, b) for a, b in pairs if a is not None and b is not None)


def _compare(a: GroupSpectrum, b: GroupSpectrum) -> Agreement:
    inside_a, inside_b = a.labels.cluster_UK >= 0, b.labels.cluster_UK >= 0
    union_U = (inside_a | inside_b).sum(1)
    overlap_U = np.where(union_U, (inside_a & inside_b).sum(1) / np.maximum(union_U, 1), 1.0)
    same_U = (a.labels.cluster_UK == b.labels.cluster_UK).all(1)
    return Agreement(
        name=a.name,
        rates=(a.success_rate, b.success_rate),
        signal=_spearman(a.signal_F, b.signal_F),
        snr=_spearman(a.snr_F, b.snr_F),
        sharpness=_spearman(a.sharpness_F, b.sharpness_F),
        labels=float(overlap_U.mean()),
        same_clusters=float(same_U.mean()),
    )


def _spearman(a_U: FloatArray, b_U: FloatArray) -> float:
    if np.ptp(a_U) == 0 or np.ptp(b_U) == 0:
        return float("nan")
    return float(spearmanr(a_U, b_U).statistic)
