"""A repaired network, kept for a run that is resumed: its retraining starts at the same weights."""

import copy
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ..files import write_torch
from ..structure.plan import Plan
from .kept import Form, read_values
from .known import Case
from .repair_and_check import NOTHING, Repaired


def repair_once(
    case: Case, plan: Plan, removed: nn.Module, make: Callable[[], Repaired]
) -> Repaired:
    """The repaired network: read back where the run has made it already, else made and kept.

    Args:
        case: the network that was planned for.
        removed: what removing made of it.

    Raises:
        InputError: as `make` does, or for a damaged file.
    """
    if case.kept.folder is None:
        return make()
    form = Form(_save, partial(_load, case.of(removed)))
    return case.kept.once(f"repaired-{case.digest}-{plan.digest}.pt", make, form, seconds=0)


def _save(repaired: Repaired, place: Path) -> None:
    values = {
        "state": repaired.model.state_dict(),
        "applied": repaired.applied,
        "top1": dict(repaired.top1),
        "notes": list(repaired.notes),
    }
    write_torch(place, values)


def _load(start: Case, place: Path) -> Repaired:
    def read(values: dict[str, Any]) -> Repaired:
        case = start
        if values["applied"] != NOTHING:
            case = start.of(_filled(start.model, values["state"]))
        return Repaired(
            case, values["applied"], start.accuracy, values["top1"], tuple(values["notes"])
        )

    return read_values(place, read)


def _filled(model: nn.Module, state: dict[str, Tensor]) -> nn.Module:
    """A copy with these weights; they lie in memory as they did, so that kernels round alike.

    A layer without a bias is given the one that repair gave it.
    """
    filled = copy.deepcopy(model)
    own = filled.state_dict(keep_vars=True)
    device = next(iter(own.values())).device
    for name, value in state.items():
        there = value.to(device, copy=True)  # memory of a file is not aligned
        if name in own:
            own[name].data = there
        else:
            owner, _, attribute = name.rpartition(".")
            filled.get_submodule(owner).register_parameter(attribute, nn.Parameter(there))
    return filled
