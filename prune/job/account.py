"""From what a run found to its `Report`: pure bookkeeping, no measuring."""

import resource
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from math import prod

import numpy as np
from torch import nn

from ...evaluate.measure.environment import describe_environment
from ...evaluate.measure.latency import Comparison, LatencyRow
from ...evaluate.measure.latency_stats import Ratio
from ...evaluate.report.pictures import strongest_and_weakest
from ...evaluate.report.report import (
    Benchmark,
    CertificateLine,
    Change,
    DepthLine,
    Latency,
    LayerLine,
    ModelLine,
    ParityLine,
    Report,
    Stages,
)
from ...evaluate.report.words import honest_warnings
from ...export.checked import Exported
from ..inputs.checkpoint import Checkpoint
from ..inputs.split import DataSet
from ..mechanism.spectrum import GroupSpectrum
from ..options import Settings
from ..scores import FIDELITY, Score
from ..structure.cut import Cut
from .known import Case, Measured, Planned
from .latency_budget import drift_notes
from .stages import Outcome


@dataclass(frozen=True)
class Delivered:
    """What was measured on the files that a run leaves behind."""

    accuracy: Mapping[str, Score]
    file: Exported
    comparison: Comparison


@dataclass(frozen=True)
class Finished:
    """A job that was done.

    Attributes:
        model_name: the network as the user named it.
        checkpoint, case: what came in.
        settings: how the job was done.
        planned, outcome: what each part of it led to.
        delivered: None where no files were written: what is measured on them is left out.
    """

    model_name: str
    checkpoint: Checkpoint
    case: Case
    settings: Settings
    planned: Planned
    outcome: Outcome
    delivered: Delivered | None


def assemble(command: str, done: Finished) -> Report:
    """Everything one run measured, ready to be written.

    What the figures themselves warn of (a noisy machine, no speed-up) joins the warnings.
    """
    planned, outcome = done.planned, done.outcome
    data, held = done.case.data, outcome.held_out
    old_counts, new_counts = planned.original, planned.left
    spectrum = planned.measured.spectrum
    report = Report(
        command=command,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        target=done.settings.select.budget.words_with(FIDELITY if data.unlabeled else "accuracy"),
        model=model_line(done.model_name, done.checkpoint, data),
        accuracy=Stages(None, None, None, None),
        held_out=Stages(held["original"], held["removed"], held["repaired"], held["final"]),
        filters=Change(old_counts.keep, new_counts.keep),
        macs=Change(old_counts.macs, new_counts.macs),
        params=Change(old_counts.params, new_counts.params),
        certificate=_certificate(outcome),
        layers=layer_lines(done.case.model, planned),
        criterion=planned.ranking.criterion,
        allocation=done.settings.select.allocate,
        seconds=done.case.log.seconds,
        environment=describe_environment(),
        plan_digest=planned.plan.digest,
        depth=tuple(
            DepthLine(p.writer or p.reader, p.success_rate, p.reader)
            for p in (spectrum.depth if spectrum else ())
        ),
        pictures=strongest_and_weakest(spectrum, planned.plan, data.labels) if spectrum else (),
        kept_whole=planned.measured.structure.kept_whole,
        contest=planned.contest,
        repair=outcome.facts,
        peak_memory_bytes=peak_memory_bytes(),
        warnings=(*done.checkpoint.notes, *outcome.notes),
    )
    if done.delivered is not None:
        report = _with_files(report, done.delivered, planned)
    return replace(report, warnings=honest_warnings(report))


def _with_files(report: Report, delivered: Delivered, planned: Planned) -> Report:
    """The report with what was measured on the files that a run leaves behind."""
    comparison = delivered.comparison
    rows = {row.name: row for row in comparison.rows}
    old, new = rows["original"], rows["model"]
    return replace(
        report,
        accuracy=Stages(**delivered.accuracy),
        size_bytes=Change(old.size_bytes, new.size_bytes),
        latency_ms=Change(_latency(old), _latency(new)),
        images_per_second=Change(old.images_per_second, new.images_per_second),
        latency_ratio=Ratio(comparison.ratio, comparison.ratio_low, comparison.ratio_high),
        benchmark=Benchmark(
            new.provider, new.batch_size, new.threads, comparison.noisy, planned.reference_ms
        ),
        parity=_parity(delivered.file),
        warnings=(*report.warnings, *drift_notes(planned.reference_ms, comparison)),
    )


def _parity(file: Exported) -> ParityLine:
    parity = file.parity
    return ParityLine(
        parity.max_abs_difference,
        parity.max_relative_difference,
        parity.top1_agreement,
        parity.num_images,
        file.score,
    )


def layer_lines(model: nn.Module, planned: Planned) -> tuple[LayerLine, ...]:
    """One line a layer that has filters, in execution order: whole ones with their reason.

    MACs and parameters of a line are those of its writers: the layers whose filters it counts.
    """
    lines = []
    structure = planned.measured.structure
    costs = layer_costs(model, planned.cut)
    for group, layer, measured in zip(
        structure.groups, planned.plan.layers, fields_of(planned.measured), strict=True
    ):
        found = (
            {}
            if measured is None
            else {
                "success_rate": measured.success_rate,
                "snr": measured.snr,
                "cluster_size": measured.cluster_size,
                "clusters_per_filter": measured.clusters_per_filter,
                "noise": measured.noise,
            }
        )
        lines.append(
            LayerLine(
                layer.name,
                layer.num_filters,
                len(layer.kept),
                macs=_sum(costs[writer].macs for writer in group.writers),
                params=_sum(costs[writer].params for writer in group.writers),
                reason=structure.kept_whole.get(group.name, ""),
                **found,
            )
        )
    named = {line.name for line in lines}
    for name, reason in structure.kept_whole.items():
        if name not in named:
            count = structure.num_filters.get(name, 0)
            cost = costs.get(name, LayerCost(Change(0, 0), Change(0, 0)))
            lines.append(LayerLine(name, count, count, cost.macs, cost.params, reason=reason))
    return (*lines, *_lines_cut_off(model, planned))


def _lines_cut_off(model: nn.Module, planned: Planned) -> Iterator[LayerLine]:
    """Layers of the network that came in which less depth took out."""
    for name in planned.depth.passed if planned.depth else ():
        for inner, layer in model.get_submodule(name).named_modules():
            weight = getattr(layer, "weight", None)
            if weight is not None and weight.ndim > 1:
                reason = (
                    "its branch went: the success rate after the block is no higher than before it"
                    if inner
                    else "cut off: its input already tells the labels as well as any later layer"
                )
                yield LayerLine(f"{name}.{inner}".rstrip("."), len(weight), 0, reason=reason)


def fields_of(measured: Measured) -> Sequence[GroupSpectrum | None]:
    """What the filters of every group do to labels; None for each where there are none."""
    if measured.spectrum is None:
        return [None] * len(measured.structure.groups)
    return measured.spectrum.groups


@dataclass(frozen=True)
class LayerCost:
    """Multiply-adds and parameters of one module, before and after."""

    macs: Change[int]
    params: Change[int]


def layer_costs(model: nn.Module, cut: Cut) -> dict[str, LayerCost]:
    """Cost of every module that has parameters or multiplies, and of parameters that are layers."""
    params: dict[str, list[Change[int]]] = {}
    for name, tensor in model.named_parameters():
        new = prod(
            len(cut.kept[name, axis]) if (name, axis) in cut.kept else size
            for axis, size in enumerate(tensor.shape)
        )
        layer = name if name in cut.structure.num_filters else name.rpartition(".")[0]
        params.setdefault(layer, []).append(Change(tensor.numel(), new))
    all_U = np.ones_like(cut.stays_U)
    macs: dict[str, list[Change[float]]] = {}
    for product in cut.structure.products:
        change = Change(product.macs(all_U), product.macs(cut.stays_U))
        macs.setdefault(product.layer, []).append(change)
    return {
        layer: LayerCost(_rounded(macs.get(layer, ())), _sum(params.get(layer, ())))
        for layer in {**params, **macs}
    }


def _rounded(parts: Iterable[Change[float]]) -> Change[int]:
    listed = list(parts)
    original, final = sum(x.original for x in listed), sum(x.final for x in listed)
    return Change(round(original), round(final))


def _sum(parts: Iterable[Change[int]]) -> Change[int]:
    listed = list(parts)
    return Change(sum(part.original for part in listed), sum(part.final for part in listed))


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


def peak_memory_bytes() -> int:
    """Highest resident memory of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _certificate(outcome: Outcome) -> CertificateLine:
    c = outcome.certificate
    return CertificateLine(c.applies, c.ok, c.max_relative_error, c.tolerance, c.reason)


def _latency(row: LatencyRow) -> Latency:
    return Latency(row.p50_ms, row.p90_ms, row.p99_ms, row.mean_ms, row.std_ms)
