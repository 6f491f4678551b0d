"""Act on a plan: the smaller network, each stage in turn. Nothing here writes files; `job` does.

plan -> removed -> repaired -> retrained
"""

import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ...evaluate.measure.accuracy import Accuracy
from ..errors import PruneError
from ..folder import Diary
from ..inputs.split import DataSet, Split
from ..options import RetrainOptions, SelectOptions
from ..structure.certificate import Certificate, certify
from ..structure.cut import Cut
from ..structure.surgery import remove
from ..training.recipe import Training, retraining
from ..training.train import Journal, TrainingData, train_network
from .judge import Zoomed, example_of, has_learned_held_out, held_out_accuracy, retraining_paid
from .plan import Planned
from .repair_and_check import mend


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
        removed = remove(model, Cut(planned.structure, planned.plan))
        certificate = certify(
            model, removed, Cut(planned.structure, planned.plan), example_of(data, device)
        )
    if certificate.applies and not certificate.ok:
        raise PruneError(f"removing filters was not exact ({certificate.reason}); please report it")
    with diary.stage("repair"):
        mended = mend(
            model,
            removed,
            data,
            planned.measured,
            planned.plan,
            device=device,
            with_repair=select.repair,
        )
    diary.warnings += mended.left
    held_out = {
        "original": held_out_accuracy(model, data, device),
        "removed": mended.before,
        "repaired": mended.accuracy,
    }
    final = repaired = mended.network
    if retrain.epochs:
        recipe = retraining(retrain.epochs, **recipe_changes(retrain, seed))
        final = _retrain(
            repaired, teacher or model, data, recipe, held_out, checkpoint, device, diary
        )
    held_out["final"] = held_out["repaired"] if final is repaired else held_out["retrained"]
    tried = {**mended.top1, **planned.depth_top1}
    notes = {f"held-out top-1, {name}": top1 for name, top1 in tried.items()}
    return Outcome(
        removed, repaired, final, certificate, held_out, {"applied": mended.applied, **notes}
    )


def _retrain(
    repaired: nn.Module,
    teacher: nn.Module,
    data: DataSet,
    recipe: Training,
    held_out: dict[str, Accuracy],
    checkpoint: Path | None,
    device: torch.device,
    diary: Diary,
) -> nn.Module:
    """The retrained network, or the one that came in where that is the better one."""
    watched: Split = data.held_out
    if recipe.patience is not None and has_learned_held_out(teacher, data, device):
        watched = Zoomed(data.held_out)
        diary.warnings.append(
            "--patience looked at zoomed images: the original has probably learned held-out ones"
        )
    with diary.stage("retrain") as progress:
        journal = Journal(
            progress, lambda values: diary.log({"stage": "retrain", **values}), checkpoint
        )
        trained = train_network(
            copy.deepcopy(repaired),
            TrainingData(data.train, watched),
            recipe,
            device=device,
            teacher=teacher,
            journal=journal,
        )
        held_out["retrained"] = held_out_accuracy(trained, data, device)
        paid, note = retraining_paid(teacher, repaired, trained, held_out, data, device)
    diary.warnings += [note] if note else []
    return trained if paid else repaired


def recipe_changes(options: RetrainOptions, seed: int) -> dict[str, Any]:
    """What the options change in a training recipe."""
    same = ("batch_size", "temperature", "mixup", "averaging", "patience")
    changes: dict[str, Any] = {name: getattr(options, name) for name in same} | {"seed": seed}
    if options.lr is not None:
        changes["lr"] = options.lr
    if not options.distill:
        changes["distill"] = 0.0
    return changes
