"""Plan before acting: trace, measure, rank and allocate. Nothing is changed and nothing written.

network + data -> structure -> statistics, spectrum -> ranking -> plan
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor, nn

from ..evaluate.accuracy import Accuracy, measure_accuracy
from ..evaluate.latency import compare
from ..evaluate.widths import efficient_widths
from ..export.graph import export_onnx
from .checks import check_budget
from .config import BenchOptions, SelectOptions
from .errors import InputError
from .inputs.callables import import_callable, is_callable_name
from .inputs.split import DataSet
from .mechanism.spectrum import Spectrum, measure
from .mechanism.statistics import Statistics
from .output import Diary
from .selection.allocate import allocate
from .selection.criteria import Ranking, rank
from .selection.norms import find_norm_behind
from .selection.repair import repair
from .selection.search import contest, thinnest, widest
from .structure.cost import CostModel
from .structure.depth import DepthCut
from .structure.plan import Plan
from .structure.surgery import remove
from .structure.trace import trace
from .structure.units import Structure

BATCH_SIZE = 250
CERTIFICATE_IMAGES = 8
LATENCY_SECONDS, LATENCY_RUNS = 0.5, 20
"""Least time and least runs of a candidate of `--latency-ms`."""
HELD_OUT_IMAGES = 2000
"""Held-out images that choices are made on: a seeded part where there are more."""


@dataclass(frozen=True)
class Amounts:
    """What a network has: removable filters, multiply-adds of one image, parameters."""

    keep: int
    macs: int
    params: int

    @staticmethod
    def of(cost: CostModel, widths: Sequence[int]) -> "Amounts":
        """Counts for any widths of the groups."""
        widths_G = np.array(widths, dtype=np.int64)
        return Amounts(int(widths_G.sum()), cost.macs(widths_G), cost.params(widths_G))


@dataclass(frozen=True)
class Planned:
    """Everything known before the first filter goes.

    Attributes:
        model: the network that all of it speaks of: the one that came in, unless it was cut off.
        original: counts of the network that came in.
        cut: how it was cut off in depth.
        depth_top1: held-out accuracy after repair at every depth that was compared.
    """

    model: nn.Module
    structure: Structure
    cost: CostModel
    statistics: Statistics
    spectrum: Spectrum
    ranking: Ranking
    plan: Plan
    original: Amounts
    cut: DepthCut | None = None
    depth_top1: Mapping[str, float] = field(default_factory=dict)

    @property
    def measured(self) -> "Measured":
        """What was known before anything was ranked."""
        return Measured(self.structure, self.cost, self.statistics, self.spectrum)

    def left(self) -> Amounts:
        """What the plan leaves."""
        return Amounts.of(self.cost, [len(layer.kept) for layer in self.plan.layers])


def make_plan(
    model: nn.Module,
    data: DataSet,
    select: SelectOptions,
    *,
    device: torch.device,
    seed: int,
    diary: Diary,
    bench: BenchOptions | None = None,
) -> Planned:
    """Trace, measure, rank and allocate. Reads training and held-out images, changes nothing.

    Args:
        bench: how latency is measured where `select.latency_ms` is the budget.

    Raises:
        InputError: the network has nothing that can be removed.
        GateError: the budget cannot be met.
    """
    check_budget(select)
    if is_callable_name(select.rank):
        import_callable(select.rank)  # what cannot be imported fails before the measurement
    with diary.stage("trace"):
        structure = trace(model, example_of(data, device))
        cost = CostModel.of(model, structure)
    check_removable(structure)
    with diary.stage("measure") as progress:
        statistics, spectrum = measure(
            model,
            structure,
            data.train.batches(BATCH_SIZE, device=device, limit=select.images),
            data.held_out.batches(BATCH_SIZE, device=device, limit=HELD_OUT_IMAGES),
            len(data.labels),
            device=device,
            progress=progress,
        )
    efficient = _efficient(model, structure, example_of(data, device), select, diary)
    base = Measured(structure, cost, statistics, spectrum, efficient)
    with diary.stage("rank"):
        bench = bench or BenchOptions()
        ranking, plan = _choose(
            model, data, base, select, bench, device=device, seed=seed, diary=diary
        )
    whole = Amounts.of(cost, [len(group.units) for group in structure.groups])
    return Planned(model, structure, cost, statistics, spectrum, ranking, plan, whole)


def check_removable(structure: Structure) -> None:
    """Raises InputError when the network has no filter that can be removed."""
    if not structure.groups:
        reasons = "; ".join(f"{k}: {v}" for k, v in list(structure.kept_whole.items())[:3])
        raise InputError(f"no filter of this network can be removed ({reasons or 'none found'})")


@dataclass(frozen=True)
class Measured:
    """What is known of a network before anything is ranked."""

    structure: Structure
    cost: CostModel
    statistics: Statistics
    spectrum: Spectrum
    efficient: Mapping[str, Sequence[int]] = field(default_factory=dict)


def _efficient(
    model: nn.Module, structure: Structure, example: Tensor, select: SelectOptions, diary: Diary
) -> Mapping[str, Sequence[int]]:
    """Widths that every group may have, where `--hardware-widths` asks for that."""
    if select.hardware_widths is None:
        return {}
    with diary.stage("widths") as progress:
        return efficient_widths(
            model, structure, example, provider=select.hardware_widths, progress=progress
        )


def _choose(
    model: nn.Module,
    data: DataSet,
    base: Measured,
    select: SelectOptions,
    bench: BenchOptions,
    *,
    device: torch.device,
    seed: int,
    diary: Diary,
) -> tuple[Ranking, Plan]:
    """Ranking and plan: as the options say, or as held-out images decide (auto, --max-drop)."""

    def rank_by(criterion: str) -> Ranking:
        return rank(
            criterion,
            model,
            base.structure,
            statistics=base.statistics,
            spectrum=base.spectrum,
            batches=data.train.batches(BATCH_SIZE, device=device, limit=select.images // 4),
            seed=seed,
        )

    def plan_by(ranking: Ranking, macs: float | None = select.macs) -> Plan:
        return allocate(
            ranking,
            base.structure,
            base.cost,
            keep=select.keep,
            macs=macs,
            params=select.params,
            method=select.allocate,
            spectrum=base.spectrum,
            multiple=select.multiple,
            efficient=base.efficient,
        )

    def top1_of(plan: Plan) -> float:
        return trial_top1(model, data, base, plan, device)

    asked = any(share is not None for share in (select.keep, select.macs, select.params))
    if select.rank == "auto":
        trials = contest(rank_by, lambda r: plan_by(r, select.macs if asked else 0.5), top1_of)
        diary.contest.update({trial.criterion: trial.top1 for trial in trials})
        ranking = trials[0].ranking
    else:
        ranking = rank_by(select.rank)
    if asked:
        return ranking, plan_by(ranking)
    if select.latency_ms is not None:

        def latency_of(plan: Plan) -> float:
            smaller = remove(model, base.structure, plan).cpu()
            return _latency_ms(smaller, data.input_size, bench)

        share, plan = widest(lambda macs: plan_by(ranking, macs), latency_of, select.latency_ms)
        diary.warnings.append(f"--latency-ms {select.latency_ms:g} led to {share:.3f} of the MACs")
        return ranking, plan
    assert select.max_drop is not None, "check_budget lets no job without a budget through"
    least = held_out_accuracy(model, data, device).top1 - select.max_drop / 100
    share, plan = thinnest(lambda macs: plan_by(ranking, macs), top1_of, least)
    diary.warnings.append(f"--max-drop {select.max_drop} led to {share:.3f} of the MACs")
    return ranking, plan


def _latency_ms(model: nn.Module, input_size: tuple[int, int, int], bench: BenchOptions) -> float:
    """Median latency of the network's ONNX file, milliseconds."""
    with TemporaryDirectory(prefix="prune-dl-latency-") as folder:
        file = export_onnx(model, input_size, Path(folder) / "model.onnx", metadata={})
        comparison = compare(
            {"candidate": file},
            provider=bench.provider,
            batch_size=bench.latency_batch,
            threads=bench.threads,
            seconds=min(bench.bench_seconds, LATENCY_SECONDS),
            min_runs=LATENCY_RUNS,
        )
    return comparison.rows[0].p50_ms


def trial_top1(
    model: nn.Module, data: DataSet, base: Measured, plan: Plan, device: torch.device
) -> float:
    """Held-out accuracy after removal and repair, without a gradient step; a fraction."""
    smaller = remove(model, base.structure, plan)
    norms = find_norm_behind(model, example_of(data, device))
    repaired, _ = repair(smaller, model, base.structure, plan, base.statistics, norm_behind=norms)
    return held_out_accuracy(repaired, data, device).top1


def example_of(data: DataSet, device: torch.device) -> Tensor:
    """A few held-out images: what the structure is traced with and the certificate checked on."""
    images, _ = next(iter(data.held_out.batches(CERTIFICATE_IMAGES, device=device)))
    return images


def held_out_accuracy(model: nn.Module, data: DataSet, device: torch.device) -> Accuracy:
    """Accuracy on the held-out images that choices are made on."""
    limit = min(data.held_out.num_images, HELD_OUT_IMAGES)
    return measure_accuracy(model, data.held_out, device=device, limit=limit)
