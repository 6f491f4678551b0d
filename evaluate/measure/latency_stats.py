"""Statistics of timings: percentiles, spread, and a ratio with its interval. Pure functions.

Shapes: T turns (one turn of every file follows the next), R runs within a turn.
All times are float64 milliseconds.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Times = NDArray[np.float64]
NUM_RESAMPLES = 2000
"""Resamples of the bootstrap: 1000 or more are advised for percentile intervals (Efron and
Tibshirani, An Introduction to the Bootstrap, 1993)."""
INTERVAL_PERCENTILES = (2.5, 97.5)
NUM_CHUNKS = 20
"""Resamples are taken in parts, so that memory stays small with many runs."""


@dataclass(frozen=True)
class TimeSummary:
    """Milliseconds of one run.

    Attributes:
        p50_ms, p90_ms, p99_ms: percentiles over all runs, linearly interpolated.
        mean_ms, std_ms: mean and standard deviation (of the population) over all runs.
        variation: std_ms / mean_ms.
        num_runs: how many runs were timed.
    """

    p50_ms: float
    p90_ms: float
    p99_ms: float
    mean_ms: float
    std_ms: float
    variation: float
    num_runs: int


@dataclass(frozen=True)
class Ratio:
    """A ratio of medians with its 95 % interval."""

    value: float
    low: float
    high: float


def summarise_times(times_TR: Times) -> TimeSummary:
    """Percentiles and spread of all runs.

    >>> summarise_times(np.array([[1.0, 3.0], [2.0, 2.0]])).p50_ms
    2.0
    """
    p50, p90, p99 = (float(p) for p in np.percentile(times_TR, [50, 90, 99]))
    mean, std = float(times_TR.mean()), float(times_TR.std())
    return TimeSummary(p50, p90, p99, mean, std, std / mean, times_TR.size)


def ratio_of_medians(slow_TR: Times, fast_TR: Times, *, seed: int = 0) -> Ratio:
    """median(slow) / median(fast): how many times faster the second file is.

    The interval is a percentile bootstrap over turns (Efron 1979): runs of one turn share the
    machine's state, so whole turns are drawn, and the same ones for both files, because turns of
    the same index are neighbours in time.

    >>> ratio_of_medians(np.full((20, 5), 6.0), np.full((20, 5), 2.0))
    Ratio(value=3.0, low=3.0, high=3.0)
    """
    num_turns = len(slow_TR)
    generator = np.random.default_rng(seed)
    picks = generator.integers(num_turns, size=(NUM_RESAMPLES, num_turns))
    chunks = np.array_split(picks, NUM_CHUNKS)
    ratios = np.concatenate([_medians(slow_TR, p) / _medians(fast_TR, p) for p in chunks])
    low, high = np.percentile(ratios, INTERVAL_PERCENTILES)
    return Ratio(float(np.median(slow_TR) / np.median(fast_TR)), float(low), float(high))


def _medians(times_TR: Times, picks_BT: NDArray[np.int64]) -> Times:
    """Median over the runs of the picked turns, for each of B resamples."""
    medians: Times = np.median(times_TR[picks_BT].reshape(len(picks_BT), -1), axis=1)
    return medians
