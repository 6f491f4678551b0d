"""The report of one run: `report.json`, whose schema is the dataclass `Report`.

    accuracy        {original, removed, repaired, final}: {top1, low, high, correct, total} on
                    the test part; top1 and its 95 % Wilson interval are fractions. `removed` is
                    measured right after the removal (on 2,000 of the test images at most),
                    `repaired` after closed-form repair, `final` is the network that was exported.
                    null: that stage was not run. Where an image may have several labels:
                    {mean_average_precision, low, high, micro_f1, total}, with a bootstrap interval
    fidelity        in place of accuracy, where nobody labelled the images: {fidelity, low, high,
                    same, total} of each stage: share of the images with the answer of the network
                    that came in, which has 1 by definition
    output_fidelity in place of accuracy, where the network's own outputs judge: {output_fidelity,
                    low, high, total} of each stage, and output_fidelity:NAME of each of several
                    outputs; the original has 1 by definition
    metric          null, or the user's own measure, higher is better: {name, original, removed,
                    repaired, final}
    held_out        the same, on the held-out part of the training data (where decisions are made)
    filters         {original, final}: removable filters of the whole network
    macs, params    {original, final}: multiply-adds of one image (one each); parameters
    size_bytes      {original, final}: size of the ONNX files
    latency_ms      {original, final}: {p50, p90, p99, mean, std} milliseconds of one call
    images_per_second {original, final}
    latency_ratio   {value, low, high}: original over final, above 1 is faster; 95 % bootstrap
    benchmark       {provider, batch_size, threads, noisy}: how the latencies were measured;
                    reference_ms: latency of the original that `latency_ms` was searched with
    parity          {max_abs_difference, max_relative_difference, top1_agreement, num_images}:
                    the exported file against the network it came from; held_out: accuracy of the
                    file itself, on held-out images; outputs: {name: relative difference}, in place
                    of both where outputs judge
    certificate     {applies, ok, max_relative_error, tolerance, reason}: removed == masked
    layers          list of {name, num_filters, num_kept, macs, params, success_rate, snr,
                    cluster_size, clusters_per_filter, noise, reason, together, why}, in execution
                    order; `reason`: why some or all of its filters had to stay, else empty; `why`:
                    what decided on the number that stays
    layer_times     {share_of: {layer: share}, other, unsure, num_runs}: how the time of the final
                    file's operators divides among layers (`layer_times.py`); null: not profiled
    depth           list of {layer, success_rate, reader}: accuracy of the probe after each layer
    pictures        list of label matrices (see `pictures`): strongest and weakest filters
    removed_strong  list of {layer, filter, snr, labels, reader, reproduced, closest, sharing,
                    num_sharing}: removed filters with a high SNR, and which kept filters say the
                    same (`removed_filters.py`)
    kept_whole      {layer: reason}
    criterion, allocation, contest  how filters were ranked, how the cut was spread over layers,
                    and the held-out accuracy of every criterion that was tried
    repair          {note: text or number}
    target          what was asked for, in words ("keep 0.6 of the filters")
    seconds         {stage: seconds}
    peak_memory_bytes  highest resident memory of the process
    model           {name, sha256, arch, num_labels, data, labels, input_size, mean, std,
                    channel_order, input_sources, all_labels, part, label_names}; input_sources:
                    where size, scale (mean and std) and channel_order come from, in words;
                    all_labels: how many labels it was made for, where its classifier was cut to
                    the kept ones; part: the module that alone was pruned (filters, macs, params,
                    ONNX are its own);
                    label_names: of the labels, as the page shows them; empty: as labels
    forecast        expected score, size and cost of other budgets (`forecast.py`); null: not known
    label_change    what became of every label, and images whose answer changed (`label_change.py`)
    training        list of {epoch, loss, held_out}: of the retraining, or of its last step
    held_out_seen   whether the network finds held-out images no harder than training images, so
                    that it was probably trained on them; null: not asked
    plan_digest, command, created, environment, warnings, schema_version

Every number is finite; a number that could not be measured is null, never a guess.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from math import isfinite
from typing import Any

from ...prune.output_score import OUTPUT_FIDELITY, OutputFidelity
from ...prune.scores import FIDELITY, Accuracy, MeanPrecision
from ..measure.latency_stats import Ratio
from ..measure.layer_times import LayerTimes
from .forecast import BudgetForecast
from .label_change import LabelChange
from .lines import (
    NOT_RUN,
    Benchmark,
    CertificateLine,
    Change,
    DepthLine,
    EpochLine,
    Latency,
    LayerLine,
    ModelLine,
    ParityLine,
    Stages,
    Value,
)
from .metric_line import MetricLine
from .pictures import FilterPicture
from .removed_filters import RemovedFilter

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Report:
    """Everything one run measured; the module's docstring is the schema of its JSON."""

    command: str
    created: str
    target: str
    model: ModelLine
    accuracy: Stages
    filters: Change[int]
    macs: Change[int]
    params: Change[int]
    certificate: CertificateLine
    layers: tuple[LayerLine, ...]
    criterion: str
    allocation: str
    seconds: Mapping[str, float]
    environment: Mapping[str, Value]
    plan_digest: str = ""
    held_out: Stages = NOT_RUN
    size_bytes: Change[int] | None = None
    latency_ms: Change[Latency] | None = None
    images_per_second: Change[float] | None = None
    latency_ratio: Ratio | None = None
    layer_times: LayerTimes | None = None
    benchmark: Benchmark | None = None
    parity: ParityLine | None = None
    depth: tuple[DepthLine, ...] = ()
    pictures: tuple[FilterPicture, ...] = ()
    removed_strong: tuple[RemovedFilter, ...] = ()
    kept_whole: Mapping[str, str] = field(default_factory=dict)
    contest: Mapping[str, float] = field(default_factory=dict)
    repair: Mapping[str, Value] = field(default_factory=dict)
    peak_memory_bytes: int | None = None
    metric: MetricLine | None = None
    forecast: BudgetForecast | None = None
    label_change: LabelChange | None = None
    training: tuple[EpochLine, ...] = ()
    held_out_seen: bool | None = None
    warnings: tuple[str, ...] = ()
    schema_version: int = SCHEMA_VERSION

    def to_dict(self) -> dict[str, Any]:
        """Plain values only, ready for JSON.

        Raises:
            ValueError: a number is NaN or infinite; the message names its place.
        """
        plain = _plain(self, "report")
        assert isinstance(plain, dict)
        if self.held_out.by_output:
            key = OUTPUT_FIDELITY
        else:
            key = FIDELITY if self.accuracy.of_answers else "accuracy"
        return {key if name == "accuracy" else name: x for name, x in plain.items()}


def _plain(value: Any, place: str) -> Any:
    """Dataclasses, mappings and sequences as dicts and lists; every number checked."""
    if isinstance(value, Accuracy | MeanPrecision | OutputFidelity):
        return _plain(value.plain, place)
    if is_dataclass(value):
        names_ = [f.name for f in fields(value)]
        return {name: _plain(getattr(value, name), f"{place}.{name}") for name in names_}
    if isinstance(value, Mapping):
        return {str(key): _plain(item, f"{place}.{key}") for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(item, f"{place}[{i}]") for i, item in enumerate(value)]
    return _checked(value, place)


def _checked(value: Any, place: str) -> Value:
    """A plain JSON value; numpy's scalars become Python's."""
    if hasattr(value, "item"):
        value = value.item()
    if value is not None and not isinstance(value, (str, int, float)):
        raise ValueError(f"{place} is a {type(value).__name__}; a report holds plain values only")
    if isinstance(value, float) and not isfinite(value):
        raise ValueError(f"{place} is {value}; every number of a report must be finite")
    return value
