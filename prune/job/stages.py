"""Act on a plan: the smaller network, each stage in turn. Nothing here writes files.

plan -> removed -> repaired -> retrained
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from torch import nn

from ..errors import InputError, PruneError, UsageError
from ..inputs.identity import data_facts
from ..inputs.split import Split
from ..options import RetrainOptions, Settings
from ..outputs import RANDOM_FORWARD
from ..scores import Score
from ..shown import short_repr
from ..structure.certificate import Certificate, certify
from ..structure.cut import Cut
from ..structure.plan import Plan
from ..structure.surgery import remove
from ..training.imitation import Imitation
from ..training.loss import can_be_mixed
from ..training.recipe import IMITATION, Training, retraining
from ..training.train import Journal, TrainingData, train_network
from .judge import has_learned_held_out, judge_retraining, zoomed
from .kept_repair import repair_once
from .known import HELD_OUT_IMAGES, Case, Planned
from .repair_and_check import Repaired, repair_and_check

Note = str | int | float | bool | None
ANSWERS_ALONE = 1.0
"""Weight of the original's answers in a retraining without labels: there is nothing else."""


@dataclass(frozen=True)
class Outcome:
    """The networks of a job and what was found on the way.

    Attributes:
        removed, repaired, final: after each stage; the same object where a stage was not run.
        held_out: accuracy on the held-out part, by stage: original, removed, repaired, final; and
            retrained, where that was done, whether it was delivered or not.
        facts: what repair and its checks decided, in words or numbers.
        epochs: rows of the retraining, as `metrics.jsonl` has them; of the last of several steps.
        notes: every compromise, a line each.
    """

    removed: nn.Module
    repaired: nn.Module
    final: nn.Module
    certificate: Certificate
    held_out: Mapping[str, Score]
    facts: Mapping[str, Note] = field(default_factory=dict)
    epochs: tuple[Mapping[str, Any], ...] = ()
    notes: tuple[str, ...] = ()

    __repr__ = short_repr


def carry_out(
    planned: Planned,
    settings: Settings,
    original: Case,
    step: int | None = None,
) -> Outcome:
    """Remove, prove, repair, retrain. The network that was planned for is never changed.

    Every choice (repair or not, new BN statistics or not, retrained or not) is made on held-out
    images; the test part is not touched.

    Args:
        original: the network that came in, whom a retraining learns from, its data, and where the
            repaired network and the state of the retraining are kept.
        step: that this is of several, where it is not the last.

    Raises:
        InputError: the network's forward is random.
        PruneError: removing was not the same as masking: a bug, and nothing is delivered.
    """
    case, cut = original.of(planned.model), planned.cut
    with case.log.stage("remove"):
        removed = remove(case.model, cut)
        certificate = _certify(case, removed, cut)
    with case.log.stage("repair") as progress:

        def make() -> Repaired:
            asked = settings.select.repair
            return repair_and_check(
                case, planned.measured, cut, removed, with_repair=asked, progress=progress
            )

        repaired = repair_once(case, planned.plan, removed, make)
    final, retrained = repaired.case, None
    epochs: list[Mapping[str, Any]] = []
    if settings.retrain.epochs:
        retrained = retrain(
            original,
            repaired.case,
            settings.retrain,
            _journal(original, planned.plan, step, settings.retrain.epochs, epochs),
        )
        final = retrained.delivered
    held_out = {
        "original": original.accuracy,
        "removed": repaired.before,
        "repaired": repaired.case.accuracy,
        **({} if retrained is None else {"retrained": retrained.case.accuracy}),
        "final": final.accuracy,
    }
    tried = {**repaired.top1, **planned.depth_top1}
    return Outcome(
        removed,
        repaired.model,
        final.model,
        certificate,
        held_out,
        {
            "applied": repaired.applied,
            **{f"held-out {original.accuracy.name}, {name}": top1 for name, top1 in tried.items()},
            **({} if retrained is None else {"retraining": retrained.recipe.in_words}),
        },
        tuple(epochs),
        repaired.notes + (() if retrained is None else retrained.notes),
    )


def _certify(case: Case, removed: nn.Module, cut: Cut) -> Certificate:
    """The proof that removing was masking; raises as `carry_out` does where it is none."""
    certificate = certify(case.model, removed, cut, case.example)
    if certificate.reason == RANDOM_FORWARD:
        raise InputError(RANDOM_FORWARD)
    if certificate.applies and not certificate.ok:
        raise PruneError(f"removing filters was not exact ({certificate.reason}); please report it")
    return certificate


def check_teacher(case: Case, settings: Settings) -> None:
    """Refuse a retraining that would have nothing to learn from.

    Raises:
        UsageError: neither labels nor the original's answers.
    """
    retrain = settings.retrain
    if case.data.unlabeled and retrain.epochs and not retrain.distill:
        raise UsageError(
            "`distill=False` given for images without labels, where a retraining learns from the "
            "original's answers alone; leave it out, or give `epochs=0`"
        )


@dataclass(frozen=True)
class Retrained:
    """What a retraining led to.

    Attributes:
        case: the retrained network.
        delivered: that one, or the one it was made from where that is better.
        recipe: how it was trained.
        notes: what has to be said of the choice.
    """

    case: Case
    delivered: Case
    recipe: Training
    notes: tuple[str, ...]


def retrain(original: Case, repaired: Case, options: RetrainOptions, journal: Journal) -> Retrained:
    """Retrain a repaired network with the original as its teacher, and judge what came of it.

    Args:
        journal: where the training reports to, but for its progress, which is the job's.
    """
    recipe = recipe_for(original, options)
    watched, notes = _watched(original, recipe)
    with original.log.stage("retrain") as progress:
        trained = train_network(
            copy.deepcopy(repaired.model),
            TrainingData(original.data.train, watched, _imitation(original)),
            recipe,
            device=original.device,
            teacher=original.model,
            journal=replace(journal, progress=progress),
        )
        after = repaired.of(trained)
        verdict = judge_retraining(original, repaired, after)
    notes += (verdict.note,) if verdict.note else ()
    return Retrained(after, after if verdict.paid else repaired, recipe, notes)


def _imitation(original: Case) -> Imitation | None:
    """What a retraining imitates where there are no labels: all outputs of the original."""
    if original.outputs is None:
        return None
    limit = original.at_most(min(original.data.held_out.num_images, HELD_OUT_IMAGES))
    return Imitation(original.model, original.outputs.scale(original.data.held_out, limit))


def _journal(
    original: Case,
    plan: Plan,
    step: int | None,
    num_epochs: int,
    epochs: list[Mapping[str, Any]],
) -> Journal:
    """Rows of metrics.jsonl and of `epochs`, also of epochs that were done before, and the state
    that is kept."""

    def log(values: dict[str, Any]) -> None:
        past(values)
        original.log.epoch(values, num_epochs)

    def past(values: dict[str, Any]) -> None:
        epochs.append(values)
        original.log.log({"stage": "retrain", **values})

    kept = original.kept if step is None else original.kept.of_step(step)
    if kept.checkpoint is None:
        return Journal(log=log)
    facts = {"`model`": original.digest, **data_facts(original.data), "plan": plan.digest}
    return Journal(log=log, resume=kept.checkpoint, belongs_to=facts, past=past)


def _watched(original: Case, recipe: Training) -> tuple[Split, tuple[str, ...]]:
    """The images that early stopping looks at, and what has to be said of them."""
    if recipe.patience is None or not has_learned_held_out(original):
        return original.data.held_out, ()
    note = "`patience` looked at zoomed images: the original has probably learned held-out ones"
    return zoomed(original.data.held_out), (note,)


def recipe_for(original: Case, options: RetrainOptions) -> Training:
    """How a repaired network is retrained: the usual recipe, what these inputs and outputs do not
    allow left out, and what the options change."""
    usual: dict[str, Any] = {}
    if original.outputs is not None:
        usual = IMITATION
    elif not can_be_mixed(original.example):
        usual = {"mixup": 0.0}
    changes = usual | recipe_changes(options, original.seed)
    if original.data.unlabeled:
        changes["distill"] = ANSWERS_ALONE
    return retraining(options.epochs, **changes)


def recipe_changes(options: RetrainOptions, seed: int) -> dict[str, Any]:
    """What the options change in a training recipe."""
    same = ("batch_size", "temperature", "averaging", "patience")
    changes: dict[str, Any] = {name: getattr(options, name) for name in same} | {"seed": seed}
    for name in ("lr", "mixup"):
        if getattr(options, name) is not None:
            changes[name] = getattr(options, name)
    if not options.distill:
        changes["distill"] = 0.0
    return changes
