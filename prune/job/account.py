"""From what a run found to its `Report`: pure bookkeeping, no measuring."""

import resource
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from ...evaluate.measure.environment import describe_environment
from ...evaluate.measure.latency import Comparison, LatencyRow
from ...evaluate.measure.latency_stats import Ratio
from ...evaluate.measure.layer_times import LayerTimes
from ...evaluate.report.forecast import BudgetForecast
from ...evaluate.report.label_change import LabelChange
from ...evaluate.report.lines import (
    Benchmark,
    CertificateLine,
    Change,
    DepthLine,
    EpochLine,
    Latency,
    ModelLine,
    ParityLine,
    Stages,
)
from ...evaluate.report.metric_line import MetricLine
from ...evaluate.report.pictures import strongest_and_weakest
from ...evaluate.report.report import Report
from ...evaluate.report.words import honest_warnings
from ...export.all_outputs import ExportedOutputs
from ...export.checked import Exported
from ..inputs.checkpoint import Checkpoint
from ..inputs.split import DataSet
from ..options import Settings
from ..scores import FIDELITY, Score
from .known import Case, Planned
from .latency_budget import drift_notes
from .layers import layer_lines
from .removed_strong import explain_removed
from .stages import Outcome
from .width_reasons import with_reasons


@dataclass(frozen=True)
class Delivered:
    """What was measured on the files that a run leaves behind.

    Attributes:
        accuracy: stage -> score on the test part; empty where that was not read.
        file: the smaller network's; None where it cannot be written.
        comparison: latency of both networks' files; None where there are none.
        label_change: on the test part.
        layer_times: of the smaller network's file.
    """

    accuracy: Mapping[str, Score]
    file: Exported | ExportedOutputs | None
    comparison: Comparison | None
    label_change: LabelChange | None = None
    layer_times: LayerTimes | None = None


@dataclass(frozen=True)
class Findings:
    """What was looked at in the networks of a job for its report, beside its stages."""

    forecast: BudgetForecast | None = None
    label_change: LabelChange | None = None
    held_out_seen: bool | None = None


@dataclass(frozen=True)
class Finished:
    """A job that was done.

    Attributes:
        model_name: the network as the user named it.
        checkpoint, case: what came in.
        settings: how the job was done.
        planned, outcome: what each part of it led to.
        delivered: None where no files were written: what is measured on them is left out.
        part: the module that alone was pruned.
        metric: the user's own measure of every stage.
        findings: see `findings.py`.
    """

    model_name: str
    checkpoint: Checkpoint
    case: Case
    settings: Settings
    planned: Planned
    outcome: Outcome
    delivered: Delivered | None
    part: str | None = None
    metric: MetricLine | None = None
    findings: Findings = Findings()


def assemble(command: str, done: Finished) -> Report:
    """Everything one run measured, ready to be written.

    What the figures themselves warn of (a noisy machine, no speed-up) joins the warnings.
    """
    planned, outcome = done.planned, done.outcome
    labels, held = done.case.shown_labels, outcome.held_out
    old_counts, new_counts = planned.original, planned.left
    spectrum = planned.measured.spectrum
    report = Report(
        command=command,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        target=done.settings.select.budget.words_with(_measure(done.case)),
        model=_model(done),
        accuracy=Stages(None, None, None, None),
        held_out=Stages(held["original"], held["removed"], held["repaired"], held["final"]),
        filters=Change(old_counts.keep, new_counts.keep),
        macs=Change(old_counts.macs, new_counts.macs),
        params=Change(old_counts.params, new_counts.params),
        certificate=_certificate(outcome),
        layers=with_reasons(layer_lines(done.case.model, planned), planned, done.settings.select),
        criterion=planned.ranking.criterion,
        allocation=done.settings.select.allocate,
        seconds=done.case.log.seconds,
        environment=describe_environment(),
        plan_digest=planned.plan.digest,
        depth=tuple(
            DepthLine(p.writer or p.reader, p.success_rate, p.reader)
            for p in (spectrum.depth if spectrum else ())
        ),
        pictures=strongest_and_weakest(spectrum, planned.plan, labels) if spectrum else (),
        removed_strong=explain_removed(planned, labels),
        kept_whole=planned.measured.structure.kept_whole,
        contest=planned.contest,
        repair=outcome.facts,
        peak_memory_bytes=peak_memory_bytes(),
        metric=done.metric,
        forecast=done.findings.forecast,
        label_change=done.findings.label_change,
        training=epoch_lines(outcome.epochs),
        held_out_seen=done.findings.held_out_seen,
        warnings=(*done.checkpoint.notes, *outcome.notes),
    )
    if done.delivered is not None:
        report = _with_files(report, done.delivered, planned)
    return replace(report, warnings=honest_warnings(report))


def _with_files(report: Report, delivered: Delivered, planned: Planned) -> Report:
    """The report with what was measured on the files that a run leaves behind."""
    report = replace(
        report,
        accuracy=replace(report.accuracy, **delivered.accuracy),
        label_change=delivered.label_change or report.label_change,
    )
    if delivered.file is not None:
        report = replace(report, parity=_parity(delivered.file))
    comparison = delivered.comparison
    if comparison is None:
        return report
    rows = {row.name: row for row in comparison.rows}
    old, new = rows["original"], rows["model"]
    return replace(
        report,
        size_bytes=Change(old.size_bytes, new.size_bytes),
        latency_ms=Change(_latency(old), _latency(new)),
        images_per_second=Change(old.images_per_second, new.images_per_second),
        layer_times=delivered.layer_times,
        latency_ratio=Ratio(comparison.ratio, comparison.ratio_low, comparison.ratio_high),
        benchmark=Benchmark(
            new.provider, new.batch_size, new.threads, comparison.noisy, planned.reference_ms
        ),
        forecast=report.forecast
        and report.forecast.with_sizes(new.size_bytes, planned.left.params),
        warnings=(*report.warnings, *drift_notes(planned.reference_ms, comparison)),
    )


def epoch_lines(rows: Sequence[Mapping[str, Any]]) -> tuple[EpochLine, ...]:
    """Rows of the log of a training, whatever its score is called."""
    return tuple(
        EpochLine(
            row["epoch"],
            row["loss"],
            next((value for key, value in row.items() if key.startswith("held_out_")), None),
        )
        for row in rows
    )


def _parity(file: Exported | ExportedOutputs) -> ParityLine:
    if isinstance(file, ExportedOutputs):
        worst = max(file.differences.values())
        return ParityLine(
            file.max_abs_difference, worst, None, file.num_images, outputs=file.differences
        )
    parity = file.parity
    return ParityLine(
        parity.max_abs_difference,
        parity.max_relative_difference,
        parity.top1_agreement,
        parity.num_images,
        file.score,
    )


def model_line(name: str, checkpoint: Checkpoint, data: DataSet) -> ModelLine:
    """The network that came in, and how it was fed."""
    return ModelLine(
        name=name,
        num_labels=len(data.labels),
        sha256=checkpoint.sha256,
        arch=checkpoint.origin.arch,
        data=data.title,
        labels=data.labels,
        input_size=data.input_size,
        mean=data.mean,
        std=data.std,
        channel_order=data.channel_order,
        input_sources=data.sources.words,
        all_labels=checkpoint.origin.num_labels if checkpoint.origin.labels_kept else None,
    )


def _model(done: Finished) -> ModelLine:
    """The network that came in; where outputs judge, it has no labels."""
    line = model_line(done.model_name, done.checkpoint, done.case.data)
    if done.case.outputs is None:
        names = done.case.label_names
        return line if names in ((), line.labels) else replace(line, label_names=names)
    return replace(line, num_labels=0, labels=(), part=done.part)


def _measure(case: Case) -> str:
    """What a budget of points is stated in."""
    if case.outputs is not None:
        return "output fidelity"
    return FIDELITY if case.data.unlabeled else "accuracy"


def peak_memory_bytes() -> int:
    """Highest resident memory of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _certificate(outcome: Outcome) -> CertificateLine:
    c = outcome.certificate
    return CertificateLine(c.applies, c.ok, c.max_relative_error, c.tolerance, c.reason)


def _latency(row: LatencyRow) -> Latency:
    return Latency(row.p50_ms, row.p90_ms, row.p99_ms, row.mean_ms, row.std_ms)
