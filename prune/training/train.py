"""Train or retrain a network: SGD, one-cycle learning rate, distillation, resumable.

Shapes: B images of a batch, K labels.
"""

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR

from ..checks import check_ranges
from ..errors import GateError, UsageError
from ..forward import evaluating
from ..inputs.split import Split, generator
from ..progress import Progress, silent
from . import resume as resuming
from .device import autocast
from .loss import distillation_loss, label_loss, mix

Log = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Training:
    """A recipe. The defaults train from scratch; `retraining` gives those for a repaired start.

    Attributes:
        epochs: passes over the training part; 0 changes nothing.
        batch_size: images per step.
        lr: largest learning rate of the one-cycle schedule (arXiv 1708.07120).
        momentum: of Nesterov's accelerated gradient.
        weight_decay: on weights of convolutions and linear layers only.
        label_smoothing: share of each target spread over all labels.
        warm_up: share of the steps in which the learning rate rises.
        distill: weight of the teacher's answers in the loss, 0 to 1; without a teacher it is 0.
        temperature: of the distillation.
        mixup: Beta parameter of mixup, 0 for none.
        averaging: decay per step of an exponential average of the weights, which is then what
            is returned; 0 for none.
        patience: stop after so many epochs without a better held-out success rate and return
            the best epoch; None runs all of them and returns the last.
        max_batches: no more steps than this, for brief trainings; None for whole epochs.
        seed: of order, augmentation and mixup.
    """

    epochs: int = 30
    batch_size: int = 128
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    label_smoothing: float = 0.1
    warm_up: float = 0.25
    distill: float = 0.0
    temperature: float = 4.0
    mixup: float = 0.0
    averaging: float = 0.0
    patience: int | None = None
    max_batches: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        check_ranges(self)


def retraining(epochs: int, **changes: Any) -> Training:
    """The recipe for a repaired network: gentle steps (0.02), and the original as its teacher."""
    gentle: dict[str, Any] = {"lr": 0.02, "label_smoothing": 0.0, "distill": 0.7, "warm_up": 0.1}
    return Training(epochs=epochs, **{**gentle, **changes})


@dataclass
class _Run:
    """All that changes while training, and what a resume restores."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: OneCycleLR
    average: nn.Module | None
    randomness: torch.Generator
    epoch: int = 0
    best: float = -1.0
    best_epoch: int = 0
    best_state: dict[str, Tensor] = field(default_factory=dict)

    @property
    def result(self) -> nn.Module:
        return self.average if self.average is not None else self.model


def fit(
    model: nn.Module,
    train: Split,
    training: Training,
    *,
    device: torch.device,
    held_out: Split | None = None,
    teacher: nn.Module | None = None,
    resume: Path | None = None,
    progress: Progress = silent,
    log: Log = lambda row: None,
) -> nn.Module:
    """Train `model` in place on `device` and return the trained network, in evaluation mode.

    Args:
        model: frozen parameters stay frozen.
        train: what it learns from, augmented.
        training: the recipe.
        device: see `pick_device`.
        held_out: measured after every epoch and written to the log; decides only if
            `training.patience` is set.
        teacher: the original network, for distillation; its weights and modes are not changed.
        resume: a file that is written after every epoch. If it is there already the training
            goes on from it; on a CPU the outcome is that of an uninterrupted run, bit for bit.
        progress: called with (steps done, steps in all).
        log: called after every epoch with a plain dict (epoch, lr, loss, train_top1, held_out_top1,
            images_per_second, seconds).

    Raises:
        UsageError: early stopping without held-out images, or nothing to train.
        GateError: the loss is no longer finite.
        InputError: the resume file belongs to another training.
    """
    if training.patience is not None and (held_out is None or held_out.num_images == 0):
        raise UsageError("--patience needs held-out images; set --held-out above 0")
    steps_per_epoch, steps = _count_steps(train, training)
    if steps == 0:
        return model.to(device).eval()
    run = _start(_place(model, device), training, steps, device)
    if resume is not None:
        resuming.load(resume, run, asdict(training))
    if teacher is not None and training.distill > 0:
        teacher = _place(teacher, device)
    num_epochs = math.ceil(steps / steps_per_epoch)
    while run.epoch < num_epochs and not _is_done(run, training):
        started = time.perf_counter()
        row = _train_epoch(run, train, training, teacher, device, steps, steps_per_epoch, progress)
        run.epoch += 1
        row["seconds"] = round(time.perf_counter() - started, 3)
        row["images_per_second"] = round(row.pop("num_images") / row["seconds"], 1)
        if held_out is not None and held_out.num_images:
            row["held_out_top1"] = measure_top1(run.result, held_out, device)
            _remember_best(run, training, row["held_out_top1"])
        log({"epoch": run.epoch, **row})
        if resume is not None:
            resuming.save(resume, run, asdict(training))
    if run.best_state:
        run.result.load_state_dict(run.best_state)
    for mine, own in zip(run.result.parameters(), run.model.parameters(), strict=True):
        mine.requires_grad_(own.requires_grad)
    return run.result.eval()


def measure_top1(model: nn.Module, split: Split, device: torch.device) -> float:
    """Share of a split's images whose label is the largest output; the mode is restored."""
    was_training = model.training
    model.eval()
    correct = torch.zeros((), dtype=torch.int64, device=device)
    with torch.inference_mode(), autocast(device, model):
        for images, labels_B in split.batches(256, device=device):
            images = images.contiguous(memory_format=torch.channels_last)
            correct += (model(images).argmax(1) == labels_B).sum()
    model.train(was_training)
    return int(correct) / max(1, split.num_images)


def _place(model: nn.Module, device: torch.device) -> nn.Module:
    """On the device, weights of convolutions with the channels last."""
    return model.to(device).to(memory_format=torch.channels_last)


def _count_steps(train: Split, training: Training) -> tuple[int, int]:
    """Steps per epoch and in all. A last batch of one image is left out: it has no variance."""
    whole, rest = divmod(train.num_images, training.batch_size)
    per_epoch = whole + (rest > 1)
    steps = per_epoch * training.epochs
    if training.max_batches is not None:
        steps = min(steps, training.max_batches)
    return per_epoch, steps


def _start(model: nn.Module, training: Training, steps: int, device: torch.device) -> _Run:
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not trainable:
        raise UsageError("every parameter of the network is frozen; nothing can be trained")
    groups = [
        {"params": [p for p in trainable if p.ndim > 1], "weight_decay": training.weight_decay},
        {"params": [p for p in trainable if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.SGD(
        [group for group in groups if group["params"]],
        lr=training.lr,
        momentum=training.momentum,
        nesterov=training.momentum > 0,
    )
    schedule = OneCycleLR(
        optimizer,
        training.lr,
        total_steps=steps + 1,
        pct_start=min(1.0, max(training.warm_up, 2 / (steps + 1))),  # at least one step of rise
        cycle_momentum=False,
    )
    average = resuming.copy_of(model).eval() if training.averaging > 0 else None
    return _Run(model, optimizer, schedule, average, generator(training.seed))


def _is_done(run: _Run, training: Training) -> bool:
    return training.patience is not None and run.epoch - run.best_epoch >= training.patience


def _remember_best(run: _Run, training: Training, top1: float) -> None:
    if training.patience is not None and top1 > run.best:
        run.best, run.best_epoch = top1, run.epoch
        run.best_state = {k: v.detach().clone() for k, v in run.result.state_dict().items()}


def _train_epoch(
    run: _Run,
    train: Split,
    training: Training,
    teacher: nn.Module | None,
    device: torch.device,
    steps: int,
    steps_per_epoch: int,
    progress: Progress,
) -> dict[str, Any]:
    """One pass; sums stay on the device, so that nothing waits for it."""
    run.model.train()
    done = run.epoch * steps_per_epoch
    loss_sum = torch.zeros((), device=device)
    correct = torch.zeros((), dtype=torch.int64, device=device)
    num_images = 0
    lr = run.schedule.get_last_lr()[0]
    seed = training.seed * 10_007 + run.epoch + 1
    for images, labels_B in train.batches(
        training.batch_size, device=device, augment=True, shuffle_seed=seed
    ):
        if len(labels_B) < 2 or done == steps:
            break
        loss, logits = _step(run, training, teacher, images, labels_B, device)
        loss_sum += loss * len(labels_B)
        correct += (logits.argmax(1) == labels_B).sum()
        num_images += len(labels_B)
        done += 1
        progress(done, steps)
    mean_loss = float(loss_sum) / num_images
    if not math.isfinite(mean_loss):
        raise GateError(f"the loss became {mean_loss} in epoch {run.epoch + 1}; use a smaller --lr")
    top1 = int(correct) / num_images
    return {"lr": lr, "loss": mean_loss, "train_top1": top1, "num_images": num_images}


def _step(
    run: _Run,
    training: Training,
    teacher: nn.Module | None,
    images: Tensor,
    labels_B: Tensor,
    device: torch.device,
) -> tuple[Tensor, Tensor]:
    """One step of SGD; the loss and the logits, detached."""
    images = images.contiguous(memory_format=torch.channels_last)
    others_B, share = labels_B, 1.0
    if training.mixup > 0:
        images, others_B, share = mix(images, labels_B, training.mixup, run.randomness)
    with autocast(device, run.model):
        logits_BK = run.model(images)
    loss = share * label_loss(logits_BK, labels_B, training.label_smoothing)
    if share < 1:
        loss = loss + (1 - share) * label_loss(logits_BK, others_B, training.label_smoothing)
    if teacher is not None and training.distill > 0:
        with evaluating(teacher), autocast(device, teacher):
            answers_BK = teacher(images)
        imitation = distillation_loss(logits_BK, answers_BK, training.temperature)
        loss = (1 - training.distill) * loss + training.distill * imitation
    run.optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    run.optimizer.step()
    run.schedule.step()
    if run.average is not None:
        resuming.update_average(run.average, run.model, training.averaging, run.schedule.last_epoch)
    return loss.detach(), logits_BK.detach()
