"""The state of a training on disk, and running averages of weights."""

import copy
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ..errors import InputError
from ..files import write_torch


class Run(Protocol):
    """What is written: networks, optimizer, schedule, randomness, and where it stands."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: Any
    average: nn.Module | None
    randomness: torch.Generator
    epoch: int
    best: float
    best_epoch: int
    best_state: dict[str, Tensor]


def save(path: Path, run: Run, recipe: dict[str, Any]) -> None:
    """Write the state; a crash leaves the old file or the new one, never half of one."""
    state = {
        "recipe": recipe,
        "model": run.model.state_dict(),
        "optimizer": run.optimizer.state_dict(),
        "schedule": {"last_epoch": run.schedule.last_epoch},
        "average": run.average.state_dict() if run.average is not None else None,
        "randomness": run.randomness.get_state(),
        "torch_randomness": torch.get_rng_state(),
        "position": (run.epoch, run.best, run.best_epoch),
        "best_state": run.best_state,
    }
    write_torch(path, state)


def load(path: Path, run: Run, recipe: dict[str, Any]) -> None:
    """Take up a training where its file left it; without a file, nothing happens.

    Raises:
        InputError: the file is damaged or belongs to another recipe or network.
    """
    if not path.exists():
        return
    device = next(run.model.parameters()).device
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        if state["recipe"] != recipe:
            changed = [name for name in recipe if state["recipe"].get(name) != recipe[name]]
            raise InputError(
                f"{path} belongs to a training with other settings ({', '.join(changed)}); "
                "use the same ones, or remove the file to start again"
            )
        run.model.load_state_dict(state["model"])
        run.optimizer.load_state_dict(state["optimizer"])
        run.schedule.last_epoch = state["schedule"]["last_epoch"]
        run.schedule._last_lr = [group["lr"] for group in run.optimizer.param_groups]
        if run.average is not None:
            run.average.load_state_dict(state["average"])
    except InputError:
        raise
    except Exception as error:
        reason = "".join(str(error).splitlines()[:1])
        raise InputError(
            f"{path} is not the state of this training ({reason}); remove it to start again"
        ) from error
    run.randomness.set_state(state["randomness"])
    torch.set_rng_state(state["torch_randomness"])
    run.epoch, run.best, run.best_epoch = state["position"]
    run.best_state = {name: value.to(device) for name, value in state["best_state"].items()}


def copy_of(model: nn.Module) -> nn.Module:
    """A network of its own with the same weights, frozen."""
    return copy.deepcopy(model).requires_grad_(False)


@torch.no_grad()
def update_average(average: nn.Module, model: nn.Module, decay: float, step: int) -> None:
    """average <- decay average + (1 - decay) model, with a decay that warms up; buffers too."""
    decay = min(decay, step / (step + 10))
    for mine, new in zip(_floats(average), _floats(model), strict=True):
        mine.lerp_(new.to(mine.dtype), 1 - decay)


def _floats(model: nn.Module) -> list[Tensor]:
    return [value for value in model.state_dict().values() if value.is_floating_point()]
