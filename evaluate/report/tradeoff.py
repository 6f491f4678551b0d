"""Which networks of a sweep are worth having: the Pareto front over accuracy, latency and size.

A point is dominated when another is at least as good in all three and better in one. A point
that failed, or that lacks one of the three figures, cannot be compared and is never on the front.

Shapes: P points, C costs.
"""

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...prune.scores import FIDELITY, Accuracy
from .expected_score import RepairedNetwork
from .lines import Value


@dataclass(frozen=True)
class TradeoffPoint:
    """One file of a sweep, measured; or the reason why there is none.

    Attributes:
        name: what was asked for ("keep 0.5"; "original").
        format: "float32", "float16" or "int8".
        accuracy: top-1, or fidelity, of the file itself, on held-out images; latency_ms: median of
            one call, and its 90th percentile; size_bytes: of the file. None where not measured.
        file: path of the ONNX file, relative to the sweep's folder.
        notes: how it was made: the INT8 recipe, layers left in float with their reason.
        error: why this point failed; empty if it did not.
    """

    name: str
    format: str = "float32"
    accuracy: Accuracy | None = None
    latency_ms: float | None = None
    latency_p90_ms: float | None = None
    size_bytes: int | None = None
    macs: int | None = None
    params: int | None = None
    file: str = ""
    notes: str = ""
    error: str = ""

    @property
    def comparable(self) -> bool:
        """Whether it holds all three figures that the front is made of."""
        figures = (self.accuracy, self.latency_ms, self.size_bytes)
        return not self.error and all(figure is not None for figure in figures)


@dataclass(frozen=True)
class Tradeoff:
    """All points of a sweep, and the circumstances of its latencies.

    Attributes:
        repaired: its networks after the repair, with their forecasts.
    """

    command: str
    created: str
    points: tuple[TradeoffPoint, ...]
    provider: str
    batch_size: int
    environment: Mapping[str, Value]
    warnings: tuple[str, ...] = ()
    repaired: tuple[RepairedNetwork, ...] = ()

    @property
    def of_answers(self) -> bool:
        """Whether networks are compared by fidelity: nobody labelled the images."""
        return any(point.accuracy and point.accuracy.of_answers for point in self.points)

    @property
    def measure(self) -> str:
        """Key of what networks are compared by, as columns are called: "top1", or "fidelity"."""
        return FIDELITY if self.of_answers else "top1"

    @property
    def columns(self) -> tuple[str, ...]:
        """`TRADEOFF_COLUMNS`, which are called after the measure."""
        return tuple(name.replace("top1", self.measure) for name in TRADEOFF_COLUMNS)

    @property
    def on_front(self) -> tuple[bool, ...]:
        """For every point, whether no other point dominates it."""
        positions = [i for i, point in enumerate(self.points) if point.comparable]
        costs_PC = np.array([_costs(self.points[i]) for i in positions]).reshape(-1, 3)
        front = {positions[i] for i in np.flatnonzero(pareto_front(costs_PC))}
        return tuple(i in front for i in range(len(self.points)))


def _costs(point: TradeoffPoint) -> tuple[float, float, float]:
    assert point.accuracy is not None
    assert point.latency_ms is not None
    assert point.size_bytes is not None
    return 1 - point.accuracy.value, point.latency_ms, float(point.size_bytes)


def pareto_front(costs_PC: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Mask (P,) of the rows that no other row dominates; every cost counts as lower is better.

    Equal rows do not dominate each other, so both stay. Takes P^2 C comparisons.

    >>> pareto_front(np.array([[1.0, 3.0], [2.0, 2.0], [2.0, 3.0]])).tolist()
    [True, True, False]
    """
    no_worse_PP = (costs_PC[:, None] <= costs_PC[None, :]).all(axis=2)
    better_PP = (costs_PC[:, None] < costs_PC[None, :]).any(axis=2)
    return np.asarray(~(no_worse_PP & better_PP).any(axis=0), dtype=np.bool_)


TRADEOFF_COLUMNS = (
    *("name", "format", "on_front", "top1", "top1_low", "top1_high", "num_images"),
    *("latency_ms", "latency_p90_ms", "size_bytes", "macs", "params", "file", "notes"),
    "error",
)


def tradeoff_rows(tradeoff: Tradeoff) -> list[dict[str, Any]]:
    """One flat row a point with the columns of `Tradeoff.columns`; None where not measured."""
    return [
        dict(zip(tradeoff.columns, _row(point, on_front).values(), strict=True))
        for point, on_front in zip(tradeoff.points, tradeoff.on_front, strict=True)
    ]


def _row(point: TradeoffPoint, on_front: bool) -> dict[str, Any]:
    accuracy = point.accuracy
    measured = {
        "on_front": on_front,
        "top1": accuracy.value if accuracy else None,
        "top1_low": accuracy.low if accuracy else None,
        "top1_high": accuracy.high if accuracy else None,
        "num_images": accuracy.total if accuracy else None,
    }
    return {
        name: measured[name] if name in measured else getattr(point, name)
        for name in TRADEOFF_COLUMNS
    }


def to_csv(tradeoff: Tradeoff) -> str:
    """The rows as CSV with a header; an empty cell where nothing was measured."""
    text = io.StringIO()
    writer = csv.DictWriter(text, tradeoff.columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(tradeoff_rows(tradeoff))
    return text.getvalue()
