"""Average precision of every label, and its interval: how well outputs rank the images of a label.

    AP = sum over thresholds of (recall - recall at the threshold before) * precision

Equal outputs share one threshold. Source: Manning, Raghavan and Schuetze, Introduction to
Information Retrieval, chapter 8; the same sum as scikit-learn's `average_precision_score`, which
the tests compare it with. It is written here because an interval needs it hundreds of times: the
images of a resample are weights, so that every label is sorted once.

Shapes: N images, K labels, B resamples.
"""

import numpy as np
from numpy.typing import NDArray

from .bootstrap import bootstrap_randomness, draw_resamples
from .structure.units import FloatArray, IntArray

RESAMPLES = 200
"""Draws of a bootstrap interval: its ends then vary by a tenth of its width from seed to seed."""
RESAMPLED_VALUES = 4_000_000
"""Weights held at once, which bounds the memory at some hundred megabytes."""


def average_precision(
    scores_NK: FloatArray, targets_NK: IntArray, weights_BN: FloatArray | None = None
) -> FloatArray:
    """Average precision of every label, (K,); NaN for one that no image has.

    Args:
        targets_NK: 0 or 1.
        weights_BN: how often every image counts, a row for each resample; the result is (B, K).

    >>> scores = np.array([[0.9], [0.8], [0.1]])
    >>> average_precision(scores, np.array([[1], [0], [1]])).round(4)
    array([0.8333])
    """
    weights = np.ones((1, len(scores_NK))) if weights_BN is None else weights_BN
    labels = zip(scores_NK.T, targets_NK.T, strict=True)
    columns = [_of_label(scores_N, targets_N, weights) for scores_N, targets_N in labels]
    found_BK = np.stack(columns, axis=1)
    return np.asarray(found_BK[0] if weights_BN is None else found_BK)


def _of_label(scores_N: FloatArray, targets_N: IntArray, weights_BN: FloatArray) -> FloatArray:
    """(B,): average precision of one label in every resample."""
    order = np.argsort(-scores_N, kind="stable")
    ordered = scores_N[order]
    ends = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))
    weights = weights_BN[:, order]
    found = np.cumsum(weights, axis=1)[:, ends]
    right = np.cumsum(weights * targets_N[order], axis=1)[:, ends]
    precision = right / np.maximum(found, 1)
    gained = np.diff(right, axis=1, prepend=0)
    total_B = right[:, -1]
    summed_B = (gained * precision).sum(1)
    return np.where(total_B > 0, summed_B / np.maximum(total_B, 1), np.nan)


def mean_over_labels(values_K: FloatArray) -> FloatArray:
    """Mean over the labels that occur, of the last axis; 0 where none does."""
    occurs = ~np.isnan(values_K)
    total = np.where(occurs, values_K, 0).sum(-1)
    return np.asarray(total / np.maximum(occurs.sum(-1), 1))


def resampled_means(scores_NK: FloatArray, targets_NK: IntArray) -> FloatArray:
    """Mean average precision of every bootstrap resample of the images, (B,)."""
    randomness = bootstrap_randomness()
    num_images = len(scores_NK)
    at_once = max(1, RESAMPLED_VALUES // max(1, num_images))
    parts: list[NDArray[np.float64]] = []
    for start in range(0, RESAMPLES, at_once):
        count = min(at_once, RESAMPLES - start)
        weights_BN = draw_resamples(num_images, count, randomness)
        parts.append(mean_over_labels(average_precision(scores_NK, targets_NK, weights_BN)))
    return np.concatenate(parts)
