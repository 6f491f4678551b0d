"""A network without its numbers: meta tensors, so that a forward pass costs no compute."""

import copy
import gc
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ...forward import map_tensors


def _empty_containers(model: nn.Module) -> dict[int, Any]:
    """A memo for `deepcopy` with the empty containers (hooks) that make up most of its time."""
    return {
        id(value): type(value)()
        for module in model.modules()
        for value in vars(module).values()
        if type(value) in (dict, OrderedDict, set) and not value
    }


def shadow(model: nn.Module) -> nn.Module:
    """The same modules around meta tensors of the same shapes, dtypes and strides, in eval mode."""
    memo = _empty_containers(model)
    for module in model.modules():
        attributes = [x for x in vars(module).values() if isinstance(x, Tensor)]
        for tensor in [*module._parameters.values(), *module._buffers.values(), *attributes]:
            if tensor is not None and id(tensor) not in memo:
                memo[id(tensor)] = _empty(tensor)
    return copy.deepcopy(model, memo).eval()


def _empty(tensor: Tensor) -> Tensor:
    empty = torch.empty_like(tensor.detach(), device="meta")
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(empty, requires_grad=tensor.requires_grad)
    return empty


def shadow_inputs(inputs: Any) -> Any:
    """The same inputs without their numbers."""
    return map_tensors(_empty, inputs)


def containers_training(model: nn.Module) -> None:
    """Take the branches of training (auxiliary heads) while norms and dropout stay in eval mode."""
    for module in model.modules():
        module.training = any(True for _ in module.children())


@contextmanager
def uncollected() -> Iterator[None]:
    """No search for garbage: it walks over the whole process, and a trace makes little of it."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
