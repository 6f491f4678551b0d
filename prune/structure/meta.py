"""Norms on meta tensors in one step: PyTorch's own meta kernels take milliseconds each."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

aten = torch.ops.aten


def run(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The result of an operation; only its shape, and quickly, for a norm on meta tensors."""
    shape_of = SHAPES.get(func.overloadpacket)
    if shape_of is not None and isinstance(args[0], Tensor) and args[0].device.type == "meta":
        result = shape_of(*args)
        if result is not None:
            return result
    return func(*args, **kwargs)


def _batch_norm(x: Tensor, *rest: Any) -> tuple[Tensor, Tensor, Tensor] | None:
    """None where a vector does not fit: the real kernel then says what is wrong."""
    vectors = [v for v in rest[:4] if isinstance(v, Tensor)]
    if any(v.shape != x.shape[1:2] for v in vectors):
        return None
    return torch.empty_like(x), x.new_empty(x.shape[1]), x.new_empty(x.shape[1])


def _layer_norm(x: Tensor, shape: list[int], *rest: Any) -> tuple[Tensor, Tensor, Tensor] | None:
    vectors = [v for v in rest[:2] if isinstance(v, Tensor)]
    expected = tuple(x.shape[x.ndim - len(shape) :])
    if tuple(shape) != expected or any(tuple(v.shape) != expected for v in vectors):
        return None
    return torch.empty_like(x), x.new_empty(()), x.new_empty(())


SHAPES: dict[Any, Callable[..., Any]] = {
    aten.native_batch_norm: _batch_norm,
    aten.native_layer_norm: _layer_norm,
}
