"""The state of a training: where it stands, and the file that it can be resumed from."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR
from torch.optim.swa_utils import AveragedModel

from ..errors import InputError, UsageError
from ..files import require_regular, write_torch
from ..folder import describe_differences
from ..inputs.seeded import generator
from ..typed import from_values
from .average import averaged_model
from .recipe import Training

FUSED_ON = ("cpu", "cuda", "mps")
"""Devices on which torch updates a weight in one kernel. On a CPU its default is several kernels:
1 to 4 % of a step of VGG-16 are lost (`docs/training.md`)."""


@dataclass(frozen=True)
class Length:
    """How long a training is: steps in all, and steps of a whole epoch."""

    steps: int
    steps_per_epoch: int

    @staticmethod
    def of(training: Training, num_images: int) -> "Length":
        """Length for so many images. A last batch of one image is left out: it has no variance.

        >>> Length.of(Training(epochs=2, batch_size=16), 33)
        Length(steps=4, steps_per_epoch=2)
        """
        whole, rest = divmod(num_images, training.batch_size)
        per_epoch = whole + (rest > 1)
        steps = per_epoch * training.epochs
        if training.max_batches is not None:
            steps = min(steps, training.max_batches)
        return Length(steps, per_epoch)

    @property
    def epochs(self) -> int:
        """Epochs begun; the last one may be cut short."""
        return math.ceil(self.steps / self.steps_per_epoch)


@dataclass
class TrainingState:
    """A training under way: its recipe, all that changes while it runs, and what is best so far.

    Attributes:
        average: follows the weights, where the recipe asks for an average.
        randomness: of mixup.
        epoch: epochs that are done.
        best_top1, best_epoch, best_weights: kept for early stopping alone.
        belongs_to: what the training was made from, by name; a state of anything else is refused.
        history: the row of the log of every epoch that is done.
    """

    training: Training
    length: Length
    model: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: OneCycleLR
    average: AveragedModel | None
    randomness: torch.Generator
    epoch: int = 0
    best_top1: float = -1.0
    best_epoch: int = 0
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    belongs_to: Mapping[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)

    @property
    def result(self) -> nn.Module:
        """The network that the training gives: the plain one, or its average."""
        return self.average.module if self.average is not None else self.model

    @property
    def device(self) -> torch.device:
        """Where it runs."""
        return next(self.model.parameters()).device

    @property
    def is_over(self) -> bool:
        """Whether all epochs are done, or patience has ended."""
        patience = self.training.patience
        waited = self.epoch - self.best_epoch
        return self.epoch >= self.length.epochs or (patience is not None and waited >= patience)

    def note_held_out(self, top1: float) -> None:
        """Keep the weights where patience is set and no epoch was better."""
        if self.training.patience is not None and top1 > self.best_top1:
            self.best_top1, self.best_epoch = top1, self.epoch
            self.best_weights = {
                name: value.detach().clone() for name, value in self.result.state_dict().items()
            }


def start_training(model: nn.Module, training: Training, length: Length) -> TrainingState:
    """The state before the first step.

    Raises:
        UsageError: no parameter can be trained.
    """
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not trainable:
        raise UsageError(
            "a network given whose parameters are all frozen; expected one that can be trained; "
            "set requires_grad on some of them"
        )
    groups = [
        {"params": [p for p in trainable if p.ndim > 1], "weight_decay": training.weight_decay},
        {"params": [p for p in trainable if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.SGD(
        [group for group in groups if group["params"]],
        lr=training.lr,
        momentum=training.momentum,
        nesterov=training.momentum > 0,
        fused=all(p.device.type in FUSED_ON and p.is_floating_point() for p in trainable),
    )
    total_steps = length.steps + 1
    schedule = OneCycleLR(
        optimizer,
        training.lr,
        total_steps=total_steps,
        pct_start=min(1.0, max(training.warm_up, 2 / total_steps)),  # at least one step of rise
        cycle_momentum=False,
    )
    average = averaged_model(model, training.averaging) if training.averaging > 0 else None
    return TrainingState(
        training, length, model, optimizer, schedule, average, generator(training.seed)
    )


def save_state(path: Path, state: TrainingState) -> None:
    """Write the state; a crash leaves the old file or the new one, never half of one."""
    values = {
        "recipe": asdict(state.training),
        "belongs_to": dict(state.belongs_to),
        "model": state.model.state_dict(),
        "optimizer": state.optimizer.state_dict(),
        "schedule": {"last_epoch": state.schedule.last_epoch},
        "average": state.average.state_dict() if state.average is not None else None,
        "randomness": state.randomness.get_state(),
        "position": (state.epoch, state.best_top1, state.best_epoch),
        "best_weights": state.best_weights,
        "history": state.history,
    }
    write_torch(path, values)


def load_state(path: Path, state: TrainingState) -> None:
    """Take up a training where its file left it; without a file, nothing happens.

    Raises:
        InputError: the file is damaged or belongs to another recipe, network, plan or data. It is
            left as it is.
    """
    if not path.exists():
        return
    require_regular(path)
    facts = {f"`{name}`": value for name, value in asdict(state.training).items()}
    try:
        values = torch.load(path, map_location="cpu", weights_only=True)
        written = {f"`{name}`": value for name, value in values["recipe"].items()}
        differing = describe_differences(
            {**written, **values["belongs_to"]}, {**facts, **state.belongs_to}
        )
        if not differing:
            _restore(state, values)
    except Exception as error:  # whatever torch raises on a file that is not what it should be
        reason = "".join(str(error).splitlines()[:1])
        raise InputError(
            f"{path} is not the state of this training ({reason}); remove it to start again"
        ) from error
    if differing:
        raise InputError(
            f"{path} belongs to a training with {differing}; "
            "give what that one was given, or remove the file to start again"
        )


def _restore(state: TrainingState, values: dict[str, Any]) -> None:
    state.model.load_state_dict(values["model"])
    state.optimizer.load_state_dict(values["optimizer"])
    state.schedule.last_epoch = int(values["schedule"]["last_epoch"])
    state.schedule._last_lr = [group["lr"] for group in state.optimizer.param_groups]
    if state.average is not None:
        state.average.load_state_dict(values["average"])
    state.randomness.set_state(values["randomness"])
    state.epoch, state.best_top1, state.best_epoch = from_values(
        values["position"], tuple[int, float, int], "its position"
    )
    device = state.device
    state.history = list(values["history"])
    state.best_weights = {name: value.to(device) for name, value in values["best_weights"].items()}
