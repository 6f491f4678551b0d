"""The bootstrap over images: how often each counts in a resample, and the interval that follows.

Shapes: N images, B resamples.
"""

import numpy as np
from numpy.typing import NDArray

from .structure.units import FloatArray

INTERVAL_CONFIDENCE = 0.95
"""How often the interval holds the true value: what figures are usually stated with."""
BOOTSTRAP_SEED = 0
"""The same images give the same interval."""


def bootstrap_randomness() -> np.random.Generator:
    """What every interval draws its resamples from, anew."""
    return np.random.default_rng(BOOTSTRAP_SEED)


def draw_resamples(
    num_images: int, num_resamples: int, randomness: np.random.Generator
) -> NDArray[np.float64]:
    """How often every image counts in each resample, (B, N): as many images as there are.

    >>> draw_resamples(4, 2, bootstrap_randomness()).sum(1)
    array([4., 4.])
    """
    even_N = np.full(num_images, 1 / num_images)
    counts_BN = randomness.multinomial(num_images, even_N, size=num_resamples)
    return np.asarray(counts_BN, dtype=np.float64)


def bootstrap_interval(value: float, resampled_B: FloatArray) -> tuple[float, float]:
    """The percentile interval (low, high) of a value; it always holds the value itself.

    >>> bootstrap_interval(1.0, np.array([0.5, 0.5]))
    (0.5, 1.0)
    """
    tail = (1 - INTERVAL_CONFIDENCE) / 2
    low, high = np.quantile(resampled_B, [tail, 1 - tail])
    return min(value, float(low)), max(value, float(high))
