"""The parts of report.json that a folder for the Hub shows, with their types.

The whole schema, and what each entry means: `evaluate/report/report.py`.
"""

from typing import Any, Required, TypedDict


class ModelEntry(TypedDict, total=False):
    """The network that came in."""

    name: str | None
    arch: str | None
    num_labels: int | None
    data: str | None
    labels: list[str] | None
    input_size: list[int] | None
    mean: list[float] | None
    std: list[float] | None
    channel_order: str | None
    part: str | None


class AccuracyEntry(TypedDict, total=False):
    """Accuracy and its interval, fractions; of several labels for an image, mean precision; of
    unlabeled images, fidelity; of outputs that are no class scores, output fidelity."""

    top1: float
    mean_average_precision: float
    fidelity: float
    output_fidelity: float
    low: Required[float]
    high: Required[float]


class LatencyEntry(TypedDict):
    """Milliseconds of one call."""

    p50: float
    p90: float
    p99: float


class Accuracies(TypedDict, total=False):
    """Before and after; None where it was not measured."""

    original: AccuracyEntry | None
    final: AccuracyEntry | None


class Latencies(TypedDict, total=False):
    """Before and after."""

    original: LatencyEntry | None
    final: LatencyEntry | None


class Numbers(TypedDict, total=False):
    """A count before and after."""

    original: float | None
    final: float | None


class BenchmarkEntry(TypedDict, total=False):
    """How latencies were measured."""

    provider: Required[str]
    batch_size: Required[int]
    threads: Required[int]
    noisy: bool


class LayerEntry(TypedDict):
    """A layer and what is left of it."""

    name: str
    num_kept: int


class MetricEntry(TypedDict):
    """The user's own measure."""

    name: str
    original: float
    final: float


class ReportDocument(TypedDict, total=False):
    """report.json, as far as it is shown."""

    model: Required[ModelEntry]
    target: str | None
    command: str | None
    accuracy: Accuracies | None
    fidelity: Accuracies | None
    output_fidelity: Accuracies | None
    metric: MetricEntry | None
    macs: Numbers | None
    params: Numbers | None
    size_bytes: Numbers | None
    latency_ms: Latencies | None
    benchmark: BenchmarkEntry | None
    environment: dict[str, Any] | None
    layers: list[LayerEntry] | None
