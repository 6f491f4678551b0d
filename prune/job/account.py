"""From what a run found to its `Report`: pure bookkeeping, no measuring."""

import resource
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from math import prod

from torch import nn

from ...evaluate.measure.accuracy import Accuracy
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
from ...export.checked import Exported
from ..folder import Diary
from ..inputs.checkpoint import Checkpoint
from ..inputs.split import DataSet
from ..options import Job, SelectOptions
from ..structure.cut import Cut
from ..structure.plan import Plan
from ..structure.units import Structure
from .plan import Planned
from .stages import Outcome


@dataclass(frozen=True)
class Delivered:
    """What was measured on the files that a run leaves behind."""

    accuracy: dict[str, Accuracy]
    file: Exported
    comparison: Comparison


def assemble(
    command: str,
    options: Job,
    checkpoint: Checkpoint,
    data: DataSet,
    planned: Planned,
    outcome: Outcome,
    delivered: Delivered,
    diary: Diary,
) -> Report:
    """Everything one run measured, ready to be written."""
    old_counts, new_counts = planned.original, planned.left()
    rows = {row.name: row for row in delivered.comparison.rows}
    old, new = rows["original"], rows["model"]
    held = outcome.held_out
    comparison, file = delivered.comparison, delivered.file
    return Report(
        command=command,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        target=target_words(options.select),
        model=model_line(options.network.model, checkpoint, data),
        accuracy=Stages(**delivered.accuracy),
        held_out=Stages(held["original"], held["removed"], held["repaired"], held["final"]),
        filters=Change(old_counts.keep, new_counts.keep),
        macs=Change(old_counts.macs, new_counts.macs),
        params=Change(old_counts.params, new_counts.params),
        certificate=_certificate(outcome),
        layers=layer_lines(checkpoint.model, planned),
        criterion=planned.ranking.criterion,
        allocation=options.select.allocate,
        seconds=diary.seconds,
        environment=describe_environment(),
        plan_digest=planned.plan.digest,
        size_bytes=Change(old.size_bytes, new.size_bytes),
        latency_ms=Change(_latency(old), _latency(new)),
        images_per_second=Change(old.images_per_second, new.images_per_second),
        latency_ratio=Ratio(comparison.ratio, comparison.ratio_low, comparison.ratio_high),
        benchmark=Benchmark(
            new.provider, new.batch_size, new.threads, comparison.noisy, planned.reference_ms
        ),
        parity=ParityLine(
            file.parity.max_abs_difference,
            file.parity.max_relative_difference,
            file.parity.top1_agreement,
            file.parity.num_images,
            Accuracy(file.correct, file.total),
        ),
        depth=tuple(
            DepthLine(p.writer or p.reader, p.success_rate, p.reader)
            for p in planned.spectrum.depth
        ),
        pictures=strongest_and_weakest(planned.spectrum, planned.plan, data.labels),
        kept_whole=planned.structure.kept_whole,
        contest=diary.contest,
        repair=outcome.notes,
        peak_memory_bytes=peak_memory_bytes(),
        warnings=tuple(diary.warnings),
    )


def target_words(select: SelectOptions) -> str:
    """What was asked for, in words."""
    if select.keep is not None:
        return f"keep {select.keep:g} of the filters"
    if select.macs is not None:
        return f"keep {select.macs:g} of the multiply-adds"
    if select.params is not None:
        return f"keep {select.params:g} of the parameters"
    if select.latency_ms is not None:
        return f"take at most {select.latency_ms:g} ms"
    return f"lose at most {select.max_drop:g} points of held-out accuracy"


def layer_lines(model: nn.Module, planned: Planned) -> tuple[LayerLine, ...]:
    """One line a layer that has filters, in execution order: whole ones with their reason.

    MACs and parameters of a line are those of its writers: the layers whose filters it counts.
    """
    lines = []
    costs = layer_costs(model, planned.structure, planned.plan)
    for group, layer, measured in zip(
        planned.structure.groups, planned.plan.layers, planned.spectrum.groups, strict=True
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
                reason=planned.structure.kept_whole.get(group.name, ""),
                **found,
            )
        )
    named = {line.name for line in lines}
    for name, reason in planned.structure.kept_whole.items():
        if name not in named:
            count = planned.structure.num_filters.get(name, 0)
            cost = costs.get(name, LayerCost(Change(0, 0), Change(0, 0)))
            lines.append(LayerLine(name, count, count, cost.macs, cost.params, reason=reason))
    return (*lines, *_lines_cut_off(model, planned))


def _lines_cut_off(model: nn.Module, planned: Planned) -> Iterator[LayerLine]:
    """Layers of the network that came in which less depth took out."""
    for name in planned.cut.passed if planned.cut else ():
        for inner, layer in model.get_submodule(name).named_modules():
            weight = getattr(layer, "weight", None)
            if weight is not None and weight.ndim > 1:
                reason = (
                    "its branch went: the success rate behind the block is no higher than before it"
                    if inner
                    else "cut off: its input already tells the labels as well as any later layer"
                )
                yield LayerLine(f"{name}.{inner}".rstrip("."), len(weight), 0, reason=reason)


@dataclass(frozen=True)
class LayerCost:
    """Multiply-adds and parameters of one module, before and after."""

    macs: Change[int]
    params: Change[int]


def layer_costs(model: nn.Module, structure: Structure, plan: Plan) -> dict[str, LayerCost]:
    """Cost of every module with parameters of its own, by module path."""
    kept = Cut(structure, plan).kept
    costs: dict[str, LayerCost] = {}
    for name, tensor in model.named_parameters():
        layer, per_element = name.rpartition(".")[0], structure.macs_per_element.get(name, 0)
        old = tensor.numel()
        new = prod(
            len(kept[name, axis]) if (name, axis) in kept else size
            for axis, size in enumerate(tensor.shape)
        )
        known = costs.get(layer, LayerCost(Change(0, 0), Change(0, 0)))
        macs = Change(per_element * old, per_element * new)
        costs[layer] = LayerCost(_sum((known.macs, macs)), _sum((known.params, Change(old, new))))
    return costs


def _sum(parts: Iterable[Change[int]]) -> Change[int]:
    listed = list(parts)
    return Change(sum(part.original for part in listed), sum(part.final for part in listed))


def model_line(name: str, checkpoint: Checkpoint, data: DataSet) -> ModelLine:
    """The network that came in, and how it was fed."""
    return ModelLine(
        name=name,
        num_labels=checkpoint.origin.num_labels,
        sha256=checkpoint.sha256,
        arch=checkpoint.origin.arch,
        data=data.name,
        labels=data.labels,
        input_size=data.input_size,
        mean=data.mean,
        std=data.std,
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
