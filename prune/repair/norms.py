"""Batch norms of a smaller network: which one reads which layer, and their statistics again."""

import copy
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..errors import InputError


def find_norm_behind(model: nn.Module, example: Tensor) -> dict[str, str]:
    """Layer -> the batch norm whose input is that layer's very output, in one forward pass.

    Layers whose output meets anything else first (a sum, a concatenation) are not in it, nor
    norms that keep no running mean. Mode and hooks are restored.
    """
    writers: dict[int, str] = {}
    alive: list[Tensor] = []
    found: dict[str, str] = {}

    def note_output(name: str, output: object) -> None:
        if isinstance(output, Tensor):
            writers[id(output)] = name
            alive.append(output)  # an id is unique only while its tensor lives

    def note_input(name: str, inputs: tuple[object, ...]) -> None:
        if inputs and id(inputs[0]) in writers:
            found[writers[id(inputs[0])]] = name

    hooks = []
    for name, module in model.named_modules():
        if isinstance(module, _BatchNorm) and module.running_mean is not None:
            hooks.append(
                module.register_forward_pre_hook(lambda _, x, name=name: note_input(name, x))
            )
        elif isinstance(getattr(module, "weight", None), Tensor):
            hooks.append(
                module.register_forward_hook(lambda _, x, y, name=name: note_output(name, y))
            )
    training = model.training
    try:
        with torch.no_grad():
            model.eval()(example)
    finally:
        model.train(training)
        for hook in hooks:
            hook.remove()
    return found


def reestimate_norms(
    model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], device: torch.device
) -> nn.Module:
    """A copy whose batch norms have the mean and variance of these batches.

    Cumulative average over the batches, every batch with the same weight; nothing else changes
    (dropout stays off, mode and momentum are kept).

    Raises:
        InputError: no batches.
    """
    fresh = copy.deepcopy(model).to(device)
    training = fresh.training
    norms = [m for m in fresh.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    momenta = [norm.momentum for norm in norms]
    fresh.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    seen = 0
    with torch.no_grad():
        for x, _ in batches:
            fresh(x.to(device))
            seen += 1
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    fresh.train(training)
    if norms and not seen:
        raise InputError("batch norms cannot be estimated again from no images")
    return fresh
