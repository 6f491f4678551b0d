"""The whole job: plan (reads only), then act (the smaller network), each stage in turn.

    network + data -> structure -> statistics, spectrum -> ranking -> plan
    plan -> removed -> repaired -> retrained

Nothing here writes files; `job` does.
"""

import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..evaluate.accuracy import Accuracy, measure_accuracy
from .config import RetrainOptions, SelectOptions, check_budget
from .errors import InputError, PruneError
from .inputs.split import DataSet
from .mechanism.spectrum import Spectrum, measure
from .mechanism.statistics import Statistics
from .output import Diary
from .selection.allocate import allocate
from .selection.criteria import Ranking, rank
from .selection.norms import find_norm_behind, reestimate_norms
from .selection.repair import repair
from .selection.search import contest, thinnest
from .structure.certificate import Certificate, certify
from .structure.cost import CostModel
from .structure.plan import Plan
from .structure.surgery import remove
from .structure.trace import trace
from .structure.units import Structure
from .training.train import fit, retraining

BATCH_SIZE = 250
CERTIFICATE_IMAGES = 8
HELD_OUT_IMAGES = 2000
"""Held-out images that choices are made on: a seeded part where there are more."""
NORM_IMAGES = 2000
"""Training images that BN statistics are re-estimated from."""


@dataclass(frozen=True)
class Planned:
    """Everything known before the first filter goes.

    `statistics` and `spectrum` are None when no module reads a removable filter.
    """

    structure: Structure
    cost: CostModel
    statistics: Statistics
    spectrum: Spectrum
    ranking: Ranking
    plan: Plan


@dataclass(frozen=True)
class Outcome:
    """The networks of a job and what was found on the way.

    Attributes:
        removed, repaired, final: after each stage; the same object where a stage was not run.
        held_out: accuracy on the held-out part, by stage.
        notes: what repair and its checks decided, in words or numbers.
    """

    removed: nn.Module
    repaired: nn.Module
    final: nn.Module
    certificate: Certificate
    held_out: dict[str, Accuracy]
    notes: dict[str, str | int | float | bool | None] = field(default_factory=dict)


def make_plan(
    model: nn.Module,
    data: DataSet,
    select: SelectOptions,
    *,
    device: torch.device,
    seed: int,
    diary: Diary,
) -> Planned:
    """Trace, measure, rank and allocate. Reads training and held-out images, changes nothing.

    Raises:
        InputError: the network has nothing that can be removed.
        GateError: the budget cannot be met.
    """
    check_budget(select)
    with diary.stage("trace"):
        structure = trace(model, example_of(data, device))
        cost = CostModel.of(model, structure)
    check_removable(structure)
    with diary.stage("measure") as progress:
        statistics, spectrum = measure(
            model,
            structure,
            data.train.batches(BATCH_SIZE, device=device, limit=select.images),
            data.held_out.batches(BATCH_SIZE, device=device, limit=select.images),
            len(data.labels),
            device=device,
            progress=progress,
        )
    base = Measured(structure, cost, statistics, spectrum)
    with diary.stage("rank"):
        ranking, plan = _choose(model, data, base, select, device=device, seed=seed, diary=diary)
    return Planned(structure, cost, statistics, spectrum, ranking, plan)


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


def _choose(
    model: nn.Module,
    data: DataSet,
    base: Measured,
    select: SelectOptions,
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
        )

    def top1_of(plan: Plan) -> float:
        return _trial_top1(model, data, base, plan, device)

    asked = any(share is not None for share in (select.keep, select.macs, select.params))
    if select.rank == "auto":
        trials = contest(rank_by, lambda r: plan_by(r, select.macs if asked else 0.5), top1_of)
        diary.contest.update({trial.criterion: trial.top1 for trial in trials})
        ranking = trials[0].ranking
    else:
        ranking = rank_by(select.rank)
    if asked:
        return ranking, plan_by(ranking)
    assert select.max_drop is not None, "check_budget lets no job without a budget through"
    least = _held_out(model, data, device).top1 - select.max_drop / 100
    share, plan = thinnest(lambda macs: plan_by(ranking, macs), top1_of, least)
    diary.warnings.append(f"--max-drop {select.max_drop} led to {share:.3f} of the MACs")
    return ranking, plan


def _trial_top1(
    model: nn.Module, data: DataSet, base: Measured, plan: Plan, device: torch.device
) -> float:
    """Held-out accuracy after removal and repair, without a gradient step; a fraction."""
    smaller = remove(model, base.structure, plan)
    norms = find_norm_behind(model, example_of(data, device))
    repaired, _ = repair(smaller, model, base.structure, plan, base.statistics, norm_behind=norms)
    return _held_out(repaired, data, device).top1


def carry_out(
    model: nn.Module,
    data: DataSet,
    planned: Planned,
    select: SelectOptions,
    retrain: RetrainOptions,
    *,
    device: torch.device,
    seed: int,
    diary: Diary,
    checkpoint: Path | None = None,
) -> Outcome:
    """Remove, prove, repair, retrain. The network that was given is never changed.

    Every choice (repair or not, new BN statistics or not, retrained or not) is made on held-out
    images; the test part is not touched.

    Raises:
        PruneError: removing was not the same as masking: a bug, and nothing is delivered.
    """
    with diary.stage("remove"):
        removed = remove(model, planned.structure, planned.plan)
        certificate = certify(
            model, removed, planned.structure, planned.plan, example_of(data, device)
        )
    if certificate.applies and not certificate.ok:
        raise PruneError(f"removing filters was not exact ({certificate.reason}); please report it")
    held_out = {
        "original": _held_out(model, data, device),
        "removed": _held_out(removed, data, device),
    }
    with diary.stage("repair"):
        repaired, notes = _repair(model, removed, data, planned, select, device, held_out, diary)
    final = repaired
    if retrain.epochs:
        with diary.stage("retrain") as progress:
            trained = fit(
                copy.deepcopy(repaired),
                data.train,
                retraining(retrain.epochs, **recipe_changes(retrain, seed)),
                device=device,
                held_out=data.held_out,
                teacher=model,
                resume=checkpoint,
                progress=progress,
                log=lambda values: diary.log({"stage": "retrain", **values}),
            )
        held_out["retrained"] = _held_out(trained, data, device)
        final = _better(trained, repaired, held_out, diary)
    held_out["final"] = held_out["repaired"] if final is repaired else held_out["retrained"]
    return Outcome(removed, repaired, final, certificate, held_out, notes)


def example_of(data: DataSet, device: torch.device) -> Tensor:
    """A few held-out images: what the structure is traced with and the certificate checked on."""
    images, _ = next(iter(data.held_out.batches(CERTIFICATE_IMAGES, device=device)))
    return images


def recipe_changes(options: RetrainOptions, seed: int) -> dict[str, Any]:
    """What the options change in a training recipe."""
    changes: dict[str, Any] = {"batch_size": options.batch_size, "seed": seed}
    if options.lr is not None:
        changes["lr"] = options.lr
    if not options.distill:
        changes["distill"] = 0.0
    return changes


def _held_out(model: nn.Module, data: DataSet, device: torch.device) -> Accuracy:
    limit = min(data.held_out.num_images, HELD_OUT_IMAGES)
    return measure_accuracy(model, data.held_out, device=device, limit=limit)


def _repair(
    model: nn.Module,
    removed: nn.Module,
    data: DataSet,
    planned: Planned,
    select: SelectOptions,
    device: torch.device,
    held_out: dict[str, Accuracy],
    diary: Diary,
) -> tuple[nn.Module, dict[str, str | int | float | bool | None]]:
    """The best on held-out images of: as it is, repaired, and either with new BN statistics."""
    candidates = {"nothing": removed}
    scores = {"nothing": held_out["removed"]}
    if select.repair:
        norms = find_norm_behind(model, example_of(data, device))
        candidates["repair"], notes = repair(
            removed,
            model,
            planned.structure,
            planned.plan,
            planned.statistics,
            norm_behind=norms,
        )
        scores["repair"] = _held_out(candidates["repair"], data, device)
        diary.warnings += [f"not repaired: {layer}: {why}" for layer, why in notes.left.items()]
    best = max(candidates, key=lambda name: scores[name].top1)
    batches = data.train.batches(BATCH_SIZE, device=device, limit=NORM_IMAGES, shuffle_seed=0)
    renormed = reestimate_norms(candidates[best], batches, device)
    name = f"{best} + BN re-estimated"
    candidates[name], scores[name] = renormed, _held_out(renormed, data, device)
    best = max(candidates, key=lambda name: scores[name].top1)
    held_out["repaired"] = scores[best]
    if select.repair and not best.startswith("repair"):
        diary.warnings.append("repair was dropped: held-out images were no better with it")
    measured = {f"held-out top-1, {name}": score.top1 for name, score in scores.items()}
    return candidates[best], {"applied": best, **measured}


def _better(
    trained: nn.Module, repaired: nn.Module, held_out: dict[str, Accuracy], diary: Diary
) -> nn.Module:
    """The retrained network, unless held-out images say that retraining did harm."""
    if held_out["retrained"].top1 >= held_out["repaired"].top1:
        return trained
    diary.warnings.append(
        "retraining was dropped: held-out top-1 "
        f"{held_out['retrained'].top1:.4f} after it, {held_out['repaired'].top1:.4f} before it"
    )
    return repaired
