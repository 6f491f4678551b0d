"""Act on a plan: the smaller network, each stage in turn. Nothing here writes files; `job` does.

plan -> removed -> repaired -> retrained
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..evaluate.accuracy import Accuracy
from .config import RetrainOptions, SelectOptions
from .errors import PruneError
from .inputs.split import DataSet
from .output import Diary
from .planning import BATCH_SIZE, Planned, example_of, held_out_accuracy
from .selection.norms import find_norm_behind, reestimate_norms
from .selection.refit import refit
from .selection.repair import repair
from .structure.certificate import Certificate, certify
from .structure.surgery import remove
from .training.train import fit, retraining

REFITTED = "repair + refit"
REFIT_IMAGES = 2000
"""Training images that layers are solved again on."""
NORM_IMAGES = 2000
"""Training images that BN statistics are re-estimated from."""


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
    teacher: nn.Module | None = None,
) -> Outcome:
    """Remove, prove, repair, retrain. The network that was given is never changed.

    Every choice (repair or not, new BN statistics or not, retrained or not) is made on held-out
    images; the test part is not touched. `teacher` is whom a retraining learns from, the network
    itself by default.

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
        "original": held_out_accuracy(model, data, device),
        "removed": held_out_accuracy(removed, data, device),
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
                teacher=teacher or model,
                resume=checkpoint,
                progress=progress,
                log=lambda values: diary.log({"stage": "retrain", **values}),
            )
        held_out["retrained"] = held_out_accuracy(trained, data, device)
        final = _better(trained, repaired, held_out, diary)
    held_out["final"] = held_out["repaired"] if final is repaired else held_out["retrained"]
    return Outcome(removed, repaired, final, certificate, held_out, notes)


def recipe_changes(options: RetrainOptions, seed: int) -> dict[str, Any]:
    """What the options change in a training recipe."""
    same = ("batch_size", "temperature", "mixup", "averaging", "patience")
    changes: dict[str, Any] = {name: getattr(options, name) for name in same} | {"seed": seed}
    if options.lr is not None:
        changes["lr"] = options.lr
    if not options.distill:
        changes["distill"] = 0.0
    return changes


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
    """The best on held-out images of: as it is, repaired, refitted; or with new BN statistics.

    A stage that loses to the one before it is left out. Repair and refit win where they are equal,
    new BN statistics do not.
    """
    best = _Candidate("nothing", removed, held_out["removed"])
    measured = {best.name: best.accuracy.top1}

    def judge(name: str, network: nn.Module, margin: int = 0) -> None:
        nonlocal best
        candidate = _Candidate(name, network, held_out_accuracy(network, data, device))
        measured[name] = candidate.accuracy.top1
        if candidate.accuracy.correct >= best.accuracy.correct + margin:
            best = candidate

    if select.repair:
        for name, network in _mended(model, removed, data, planned, device, diary):
            judge(name, network)
        if best.name == "nothing":
            diary.warnings.append("repair was dropped: held-out images were no better with it")
    if best.name != REFITTED:  # whose layers already answer with the original's mean and variance
        batches = data.train.batches(BATCH_SIZE, device=device, limit=NORM_IMAGES, shuffle_seed=0)
        judge(f"{best.name} + BN re-estimated", reestimate_norms(best.network, batches, device), 1)
    held_out["repaired"] = best.accuracy
    measured |= planned.depth_top1
    notes = {f"held-out top-1, {name}": top1 for name, top1 in measured.items()}
    return best.network, {"applied": best.name, **notes}


@dataclass(frozen=True)
class _Candidate:
    name: str
    network: nn.Module
    accuracy: Accuracy


def _mended(
    model: nn.Module,
    removed: nn.Module,
    data: DataSet,
    planned: Planned,
    device: torch.device,
    diary: Diary,
) -> Iterator[tuple[str, nn.Module]]:
    """The network repaired from the original's statistics, then refitted on its own inputs."""
    norms = find_norm_behind(model, example_of(data, device))
    structure, plan = planned.structure, planned.plan
    repaired, notes = repair(removed, model, structure, plan, planned.statistics, norm_behind=norms)
    diary.warnings += [f"not repaired: {layer}: {why}" for layer, why in notes.left.items()]
    yield "repair", repaired
    batches = data.train.batches(BATCH_SIZE, device=device, limit=REFIT_IMAGES, shuffle_seed=0)
    images = [images for images, _ in batches]
    yield REFITTED, refit(repaired, model, structure, plan, images, norm_behind=norms)[0]


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
