"""The budget `latency_ms`: how much of a network may stay so that one run takes no longer.

Timings drift: the same file takes 10 ms now and 12 ms a minute later. So a candidate is never
timed alone. It takes turns with the original, only the ratio of the two is used, and

    latency of a candidate = latency of the original, measured once at the start / ratio.

A candidate is timed briefly. One that seems fast enough, or that has the budget within its interval
or near it, is timed again by the whole protocol, and only that counts.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
from torch import nn

from ...evaluate.measure.latency import MIN_RUNS, Comparison, time_interleaved
from ...evaluate.measure.latency_stats import Times, ratio_of_medians
from ...evaluate.measure.subjects import prepare
from ...export.graph import export_onnx
from ..errors import GateError
from ..options import BenchOptions

BRIEF_SECONDS, BRIEF_RUNS = 0.5, 20
"""Least time and least runs of a brief timing; it only has to tell which plans are near."""
MAX_TIMED_PLANS = 12
"""Plans that are timed at most; it bounds the time of the search."""
AIM, CLOSE = 0.99, 0.98
"""Shares of the budget: what is aimed at, and what is near enough to stop."""
NEAR = 0.05
"""A brief timing that is above the budget by no more than this share is repeated thoroughly."""
NARROW = 0.002
"""Shares nearer to each other than this are one: a plan changes by whole filters."""
NUM_BETWEEN = 19
"""Shares of a bracket that stand in for one at which there is no plan."""
DRIFT_NOTED_ABOVE = 0.02
"""Change of the original's latency that is worth a note: as much as the final gate tolerates."""
_Plan = TypeVar("_Plan")


@dataclass(frozen=True)
class Timed:
    """Latency of a candidate with its 95 % interval, milliseconds."""

    latency_ms: float
    low_ms: float
    high_ms: float


@dataclass(frozen=True)
class Found(Generic[_Plan]):
    """A plan that is fast enough: its share of the original's multiply-adds, and its latency."""

    share: float
    plan: _Plan
    latency_ms: float


@dataclass(frozen=True)
class Yardstick:
    """The original as a file, and its latency.

    Attributes:
        reference_ms: median of one run at the start.
        folder: where candidates are written.
    """

    original: Path
    bench: BenchOptions
    reference_ms: float
    folder: Path

    @staticmethod
    def of(
        model: nn.Module, input_size: tuple[int, int, int], bench: BenchOptions, folder: Path
    ) -> "Yardstick":
        """Export the original and time it by the whole protocol.

        Raises:
            UsageError: the provider would not really be used.
        """
        file = export_onnx(model, input_size, folder / "original.onnx", metadata={})
        times = _time({"original": file}, bench, thorough=True)
        return Yardstick(file, bench, float(np.median(times["original"])), folder)

    def measure(
        self, model: nn.Module, input_size: tuple[int, int, int], *, thorough: bool
    ) -> Timed:
        """Time a network in turns with the original."""
        file = export_onnx(model, input_size, self.folder / "candidate.onnx", metadata={})
        files = {"original": self.original, "candidate": file}
        times = _time(files, self.bench, thorough=thorough)
        ratio = ratio_of_medians(times["original"], times["candidate"])
        ends = (ratio.value, ratio.high, ratio.low)
        return Timed(*(self.reference_ms / end for end in ends))


def _time(files: dict[str, Path], bench: BenchOptions, *, thorough: bool) -> dict[str, Times]:
    seconds = bench.bench_seconds if thorough else min(bench.bench_seconds, BRIEF_SECONDS)
    runs = {s.name: s.run for s in prepare(files, bench) if s.name in files}
    return time_interleaved(runs, seconds=seconds, min_runs=MIN_RUNS if thorough else BRIEF_RUNS)


def search(
    plan_for: Callable[[float], _Plan],
    measure: Callable[[_Plan, bool], Timed],
    whole_ms: float,
    most_ms: float,
) -> Found[_Plan]:
    """The largest share whose plan is fast enough, by interpolation.

    Args:
        plan_for: share in (0, 1] -> plan; a GateError means that there is none at this share.
        measure: plan, whether to be thorough -> its latency.
        whole_ms: latency of the original; most_ms: what a run may take.

    Raises:
        GateError: no plan is fast enough; the message has the fastest.
    """
    if whole_ms <= most_ms:
        return Found(1.0, plan_for(1.0), whole_ms)
    slow = [(1.0, whole_ms)]
    best: Found[_Plan] | None = None
    known: list[_Plan] = []
    for _ in range(MAX_TIMED_PLANS):
        trial = _next(plan_for, best, slow, AIM * most_ms, known)
        if trial is None:
            break
        share, plan = trial
        known.append(plan)
        timed = measure(plan, False)
        if min(timed.low_ms, timed.latency_ms * (1 - NEAR)) <= most_ms:
            timed = measure(plan, True)
        if timed.latency_ms > most_ms:
            slow.append((share, timed.latency_ms))
            continue
        best = Found(share, plan, timed.latency_ms)
        if best.latency_ms >= CLOSE * most_ms:
            break
    if best is None:
        raise GateError(
            f"`latency_ms={most_ms:g}` cannot be met: the original takes {whole_ms:.3g} ms, the "
            f"fastest plan that was measured {min(ms for _, ms in slow):.3g} ms; give more time, "
            "or another `provider`"
        )
    return best


def _next(
    plan_for: Callable[[float], _Plan],
    best: Found[_Plan] | None,
    slow: list[tuple[float, float]],
    aim_ms: float,
    known: list[_Plan],
) -> tuple[float, _Plan] | None:
    """A plan between the widest that is fast enough and the thinnest that is not, if any is left.

    Its share is where a straight line through two measurements reaches `aim_ms`; where there is
    no plan at that share, or one that was measured, the nearest other of the bracket is taken.
    """
    low, high = best.share if best else 0.0, slow[-1][0]
    if high - low < NARROW:
        return None
    first, second = _ends(best, slow)
    slope = (second[1] - first[1]) / (second[0] - first[0])
    wanted = first[0] + (aim_ms - first[1]) / slope if slope > 0 else (low + high) / 2
    grid = np.linspace(low, high, NUM_BETWEEN + 2)[1:-1]
    wanted = float(np.clip(wanted, grid[0], grid[-1]))
    for share in (wanted, *sorted(grid.tolist(), key=lambda share: abs(share - wanted))):
        try:
            plan = plan_for(share)
        except GateError:
            continue
        if plan not in known:
            return share, plan
    return None


def _ends(
    best: Found[_Plan] | None, slow: list[tuple[float, float]]
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Two points (share, milliseconds) for a straight line, the lower share first."""
    if best is not None:
        return (best.share, best.latency_ms), slow[-1]
    if len(slow) > 1:
        return slow[-1], slow[-2]
    return (0.0, 0.0), slow[-1]


def drift_notes(reference_ms: float | None, final: Comparison) -> list[str]:
    """A note where the machine has become slower or faster since the budget was searched.

    Args:
        reference_ms: latency of the original at that time; None where nothing was searched.
        final: the original first, the smaller network last.
    """
    original, smaller = final.rows[0].p50_ms, final.rows[-1].p50_ms
    if reference_ms is None or abs(original / reference_ms - 1) <= DRIFT_NOTED_ABOVE:
        return []
    return [
        f"the original took {reference_ms:.3g} ms when `latency_ms` was searched and "
        f"{original:.3g} ms in the final benchmark: {smaller:.3g} ms there are "
        f"{reference_ms / final.ratio:.3g} ms as the budget counts"
    ]
