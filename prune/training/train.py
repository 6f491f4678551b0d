"""Train or retrain a network: SGD, one-cycle learning rate, distillation, resumable.

Shapes: B images of a batch, K labels.
"""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import GateError, UsageError
from ..forward import batch_size_of, call, channels_last, evaluating
from ..inputs.seeded import seeded
from ..inputs.split import Inputs, Split, images_in_a_pass
from ..output_score import OutputTally, float_outputs
from ..outputs import class_scores
from ..progress import Progress, silent
from ..scores import Score, Tally
from ..tasks import imitation_loss, label_loss
from .device import autocast
from .imitation import Imitation
from .loss import mix
from .recipe import Training
from .state import Length, TrainingState, load_state, save_state, start_training

Log = Callable[[dict[str, Any]], None]

VALIDATION_BATCH = 256
"""Images measured at once: no gradients are kept, so more of them fit than in a training step."""
STEEPEST = 1.0
"""Norm that the gradient of an imitation is cut to (arXiv 1211.5063). Squared errors have no bound,
unlike the gradients of cross-entropy: without it, networks without batch norms are ruined at rates
that classifiers take (`docs/other-networks.md`). A norm of 0.1 did as well in a trial."""
SEED_STRIDE = 10_007
"""Between the epochs' seeds of two trainings: above any number of epochs, so that none is shared;
a prime, so that no round seeds meet."""


@dataclass(frozen=True)
class TrainingData:
    """Images of a training.

    Attributes:
        train: what the network learns from, augmented.
        held_out: measured after every epoch and written to the log; decides only if
            `Training.patience` is set. None, or a split without images, for no measurement.
        imitation: learn the outputs of another network, and be measured by them; labels are then
            not looked at. None for class labels.
    """

    train: Split
    held_out: Split | None = None
    imitation: Imitation | None = None

    @property
    def measured(self) -> Split | None:
        """The held-out part, where it has images."""
        return self.held_out if self.held_out is not None and self.held_out.num_images else None


@dataclass(frozen=True)
class Journal:
    """Where a training reports to, and the file that it can be resumed from.

    Attributes:
        progress: called with (steps done, steps in all).
        log: called after every epoch with a plain dict (epoch, lr, loss, train_top1,
            seconds, images_per_second, held_out_top1; with several labels for an image
            train_mean_average_precision and held_out_mean_average_precision; without labels
            train_fidelity and held_out_fidelity).
        resume: a file that is written after every epoch, the last one included. If it is there
            already, the training goes on from it; on a CPU the outcome is that of an uninterrupted
            run, bit for bit. It is never removed here.
        belongs_to: what network, data and plan the training is made from, by name: plain values
            that are written into the file. A file of anything else is refused.
        past: called with the rows of the epochs that the file has done already.
    """

    progress: Progress = silent
    log: Log = lambda row: None
    resume: Path | None = None
    belongs_to: Mapping[str, Any] = field(default_factory=dict)
    past: Log = lambda row: None


def train_network(
    model: nn.Module,
    data: TrainingData,
    training: Training,
    *,
    device: torch.device,
    teacher: nn.Module | None = None,
    journal: Journal = Journal(),
) -> nn.Module:
    """Train `model` in place on `device` and return the trained network, in evaluation mode.

    Args:
        model: frozen parameters stay frozen.
        training: the recipe.
        device: see `pick_device`.
        teacher: the original network, for distillation; its weights and modes are
            not changed.

    Raises:
        UsageError: early stopping without held-out images, or nothing to train.
        GateError: the loss is no longer finite.
        InputError: the resume file belongs to another training.
    """
    if training.patience is not None and data.measured is None:
        raise UsageError(
            f"`patience={training.patience}` given without held-out images, which decide when to "
            "stop; set `held_out` above 0"
        )
    length = Length.of(training, images_in_a_pass(data.train))
    if length.steps == 0:
        return model.to(device).eval()
    state = start_training(_place(model, device), training, length)
    state.belongs_to = journal.belongs_to
    if teacher is not None and training.distill > 0:
        teacher = _place(teacher, device)
    if journal.resume is not None:
        load_state(journal.resume, state)
    for row in state.history:
        journal.past(row)
    while not state.is_over:
        _one_more_epoch(state, data, teacher, journal)
    if state.best_weights:
        state.result.load_state_dict(state.best_weights)
    return state.result.eval()


def _one_more_epoch(
    state: TrainingState, data: TrainingData, teacher: nn.Module | None, journal: Journal
) -> None:
    """Train, measure, log, and keep the state.

    Dropout and the like draw anew from the seed in each epoch: a resumed training equals an
    uninterrupted one on every device, and the caller's generators stay as they are.
    """
    with seeded(state.training.seed * SEED_STRIDE + state.epoch + 1, state.device):
        row = _train_epoch(state, data, teacher, journal.progress)
        if data.measured is not None:
            score = _measure(state, data, data.measured)
            row[f"held_out_{score.key}"] = score.value
            state.note_held_out(score.value)
    state.history.append(row)
    journal.log(row)
    if journal.resume is not None:
        save_state(journal.resume, state)


def _measure(state: TrainingState, data: TrainingData, split: Split) -> Score:
    if data.imitation is not None:
        return data.imitation.measure(state.result, split, VALIDATION_BATCH)
    return measure_while_training(state.result, split, state.device)


def measure_while_training(model: nn.Module, split: Split, device: torch.device) -> Score:
    """Score on a split, in the precision of the training; modes are restored."""
    tally = Tally.on(split)
    with evaluating(model):
        for images, labels_B in split.batches(VALIDATION_BATCH, device=device):
            with autocast(device, model):  # not while images are read: collate is no arithmetic
                scores_BK = class_scores(call(model, channels_last(images)))
            tally.add(scores_BK, labels_B)
    return tally.score()


def _place(model: nn.Module, device: torch.device) -> nn.Module:
    """On the device, weights of convolutions with the channels last."""
    return model.to(device).to(memory_format=torch.channels_last)


def _train_epoch(
    state: TrainingState, data: TrainingData, teacher: nn.Module | None, progress: Progress
) -> dict[str, Any]:
    """One pass, and its row of the log; sums stay on the device, so that nothing waits for it."""
    started = time.perf_counter()
    training, length, device = state.training, state.length, state.device
    state.model.train(data.imitation is None)
    done = state.epoch * length.steps_per_epoch
    loss_sum = torch.zeros((), device=device)
    tally = Tally.on(data.train) if data.imitation is None else data.imitation.tally()
    lr = state.schedule.get_last_lr()[0]
    state.epoch += 1
    seed = training.seed * SEED_STRIDE + state.epoch
    for images, labels_B in data.train.batches(
        training.batch_size, device=device, augment=True, shuffle_seed=seed
    ):
        if len(labels_B) < 2 or done == length.steps:
            break
        if isinstance(tally, OutputTally):
            assert data.imitation is not None
            loss = _imitate(state, data.imitation, tally, images)
        else:
            loss, logits_BK, seen_B = _step(state, teacher, images, labels_B)
            tally.add(logits_BK, seen_B)
        loss_sum += loss * len(labels_B)
        done += 1
        progress(done, length.steps)
    score, num_images = tally.score(), tally.total
    mean_loss = float(loss_sum) / num_images
    if not math.isfinite(mean_loss):
        raise GateError(
            f"the loss became {mean_loss} in epoch {state.epoch}; expected a finite number; "
            "use a smaller `lr`"
        )
    seconds = time.perf_counter() - started
    return {
        "epoch": state.epoch,
        "lr": lr,
        "loss": mean_loss,
        f"train_{score.key}": score.value,
        "seconds": round(seconds, 3),
        "images_per_second": round(num_images / seconds, 1),
    }


def _step(
    state: TrainingState, teacher: nn.Module | None, images: Inputs, labels_B: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """One step of SGD; the loss and the logits, detached, and the labels that show most."""
    loss, logits_BK, seen_B = _loss(state, teacher, images, labels_B)
    _update(state, loss)
    return loss.detach(), logits_BK.detach(), seen_B


def _imitate(
    state: TrainingState, imitation: Imitation, tally: OutputTally, images: Inputs
) -> Tensor:
    """One step towards another network's outputs; the loss, detached."""
    images = channels_last(images)
    with autocast(state.device, state.model):
        found = float_outputs(call(state.model, images))
    expected = imitation.targets(images)
    loss = imitation.loss(found, expected)
    _update(state, loss, STEEPEST)
    tally.add({name: x.detach() for name, x in found.items()}, expected, batch_size_of(images))
    return loss.detach()


def _update(state: TrainingState, loss: Tensor, steepest: float | None = None) -> None:
    """One step of the optimizer and all that follows it; gradients are cut to a norm, if given."""
    state.optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    if steepest is not None:
        torch.nn.utils.clip_grad_norm_(state.model.parameters(), steepest)
    state.optimizer.step()
    state.schedule.step()
    if state.average is not None:
        state.average.update_parameters(state.model)


def _loss(
    state: TrainingState, teacher: nn.Module | None, images: Inputs, labels_B: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The loss of one batch, the logits it comes from, and the labels with the larger share."""
    training, device = state.training, labels_B.device
    images = channels_last(images)
    others_B, share = labels_B, 1.0
    if training.mixup > 0:
        images, others_B, share = mix(images, labels_B, training.mixup, state.randomness)
    with autocast(device, state.model):
        logits_BK = class_scores(call(state.model, images))
    loss = share * label_loss(logits_BK, labels_B, training.label_smoothing)
    if share < 1:
        loss = loss + (1 - share) * label_loss(logits_BK, others_B, training.label_smoothing)
    if teacher is not None and training.distill > 0:
        with evaluating(teacher), autocast(device, teacher):
            answers_BK = class_scores(call(teacher, images))
        imitation = imitation_loss(logits_BK, answers_BK, labels_B, training.temperature)
        loss = (1 - training.distill) * loss + training.distill * imitation
    return loss, logits_BK, labels_B if share >= 0.5 else others_B
