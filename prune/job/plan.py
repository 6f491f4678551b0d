"""Plan before acting: trace, measure, rank and allocate. Nothing is changed and nothing written.

network + data -> structure -> statistics, spectrum -> ranking -> plan
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor, nn

from ...evaluate.measure.widths import efficient_widths
from ..checks import check_budget, stated_budgets
from ..errors import InputError
from ..folder import Diary
from ..inputs.callables import import_callable, is_callable_name
from ..inputs.split import DataSet
from ..mechanism.spectrum import Spectrum, measure
from ..mechanism.statistics import Statistics
from ..options import BenchOptions, SelectOptions
from ..selection.criteria import Ranking, rank
from ..selection.search import contest
from ..structure.cost import CostModel
from ..structure.cut import Cut
from ..structure.depth import DepthCut
from ..structure.plan import Plan
from ..structure.surgery import remove
from ..structure.tracing.trace import trace
from ..structure.units import Structure
from .budget import Measured, Trials, fit, plan_at, searches_widths
from .judge import BATCH_SIZE, HELD_OUT_IMAGES, example_of, held_out_accuracy
from .repair_and_check import mend


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
        efficient: group -> the only widths that it may have, where hardware widths were asked for.
        reference_ms: latency of the original that `--latency-ms` was measured by.
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
    efficient: Mapping[str, Sequence[int]] = field(default_factory=dict)
    reference_ms: float | None = None

    @property
    def measured(self) -> Measured:
        """What was known before anything was ranked."""
        return Measured(self.structure, self.cost, self.statistics, self.spectrum, self.efficient)

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
    bench = bench or BenchOptions()
    efficient = _efficient(model, structure, example_of(data, device), select, bench, diary)
    base = Measured(structure, cost, statistics, spectrum, efficient)
    with diary.stage("rank"):
        ranking = _ranking(model, data, base, select, device=device, seed=seed, diary=diary)
    with diary.stage("allocate"):
        trials = trials_of(model, data, base, bench, device, with_repair=select.repair)
        fitted = fit(base, ranking, select, trials)
    diary.warnings += [fitted.note] if fitted.note else []
    whole = Amounts.of(cost, [len(group.units) for group in structure.groups])
    return Planned(
        model,
        structure,
        cost,
        statistics,
        spectrum,
        ranking,
        fitted.plan,
        whole,
        efficient=efficient,
        reference_ms=fitted.reference_ms,
    )


def check_removable(structure: Structure) -> None:
    """Raises InputError when the network has no filter that can be removed."""
    if not structure.groups:
        reasons = "; ".join(f"{k}: {v}" for k, v in list(structure.kept_whole.items())[:3])
        raise InputError(f"no filter of this network can be removed ({reasons or 'none found'})")


def _efficient(
    model: nn.Module,
    structure: Structure,
    example: Tensor,
    select: SelectOptions,
    bench: BenchOptions,
    diary: Diary,
) -> Mapping[str, Sequence[int]]:
    """Widths that every group may have, where they should be fast on some provider."""
    searched = bench.provider if searches_widths(select) else None
    provider = select.hardware_widths or searched
    if provider is None:
        return {}
    with diary.stage("widths") as progress:
        return efficient_widths(
            model,
            structure,
            example,
            replace(bench, provider=provider),
            progress=progress,
        )


def _ranking(
    model: nn.Module,
    data: DataSet,
    base: Measured,
    select: SelectOptions,
    *,
    device: torch.device,
    seed: int,
    diary: Diary,
) -> Ranking:
    """As `--rank` says, or as held-out images decide (auto)."""

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

    if select.rank != "auto":
        return rank_by(select.rank)
    budget = select if stated_budgets(select) else replace(select, macs=0.5)
    trials = contest(
        rank_by,
        lambda ranking: plan_at(base, ranking, budget),
        lambda plan: trial_top1(model, data, base, plan, device, with_repair=select.repair),
    )
    diary.contest.update({trial.criterion: trial.top1 for trial in trials})
    return trials[0].ranking


def trials_of(
    model: nn.Module,
    data: DataSet,
    base: Measured,
    bench: BenchOptions,
    device: torch.device,
    *,
    with_repair: bool = True,
) -> Trials:
    """What a searched budget needs to have measured."""
    return Trials(
        top1_of=lambda plan: trial_top1(model, data, base, plan, device, with_repair=with_repair),
        original_top1=lambda: held_out_accuracy(model, data, device).top1,
        model=model,
        input_size=data.input_size,
        bench=bench,
    )


def trial_top1(
    model: nn.Module,
    data: DataSet,
    base: Measured,
    plan: Plan,
    device: torch.device,
    *,
    with_repair: bool = True,
) -> float:
    """Held-out accuracy of what a job makes of the plan without a gradient step; a fraction."""
    removed = remove(model, Cut(base.structure, plan))
    mended = mend(model, removed, data, base, plan, device=device, with_repair=with_repair)
    return mended.accuracy.top1
