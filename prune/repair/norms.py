"""Batch norms of a network: which one reads which layer, and new statistics for them."""

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..errors import InputError
from ..forward import Arguments, call, evaluating, input_of, map_tensors, watching
from ..inputs.split import Batches


def find_norm_behind(model: nn.Module, example: Any) -> dict[str, str]:
    """Layer -> the batch norm whose input is that layer's very output, in one forward pass.

    Layers whose output meets anything else first (a sum, a concatenation) are left out, and
    so are norms without a running mean. The network is left as it was.
    """
    writers: dict[int, str] = {}
    alive: list[Tensor] = []
    found: dict[str, str] = {}

    def note_output(name: str, _args: Arguments, _named: dict[str, Any], output: Any) -> None:
        if isinstance(output, Tensor):
            writers[id(output)] = name
            alive.append(output)  # an id is unique only while its tensor lives

    def note_input(name: str, arguments: Arguments, named: dict[str, Any]) -> None:
        given = input_of(arguments, named)
        if id(given) in writers:
            found[writers[id(given)]] = name

    norms, others = [], []
    for name, module in model.named_modules():
        if isinstance(module, _BatchNorm) and module.running_mean is not None:
            norms.append(name)
        elif isinstance(getattr(module, "weight", None), Tensor):
            others.append(name)
    with watching(model, norms, before=note_input), watching(model, others, after=note_output):
        call(model, example)
    return found


def reestimate_norms(model: nn.Module, batches: Batches, device: torch.device) -> nn.Module:
    """A copy whose batch norms have the mean and variance of these batches.

    Cumulative average over the batches, every batch with the same weight; nothing else changes
    (dropout stays off, mode and momentum are kept).

    Raises:
        InputError: no batches.
    """
    fresh = copy.deepcopy(model).to(device)
    norms = [m for m in fresh.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    momenta = [norm.momentum for norm in norms]
    seen = 0
    with evaluating(fresh):
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None
            norm.train()
        for x, _ in batches:
            call(fresh, map_tensors(lambda part: part.to(device), x))
            seen += 1
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    if norms and not seen:
        raise InputError(
            "no images given; expected at least one batch to estimate batch norms from; give some"
        )
    return fresh
