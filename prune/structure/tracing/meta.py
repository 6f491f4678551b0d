"""Frequent operations on meta tensors in one step: PyTorch's own meta kernels take milliseconds.

Where shapes or types are not the plain case, the real kernel decides, and raises what is wrong.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .op import aten


def run_operation(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The result of an operation; quickly, for a frequent one on meta tensors."""
    shape_of = SHAPES.get(func.overloadpacket)
    if shape_of is not None and not kwargs and args[0].device.type == "meta":
        result = shape_of(*args)
        if result is not None:
            return result
    return func(*args, **kwargs)


def numbers(args: tuple[Any, ...], out: Any) -> tuple[float, ...]:
    """Numbers that the code hands to an operation; without tensor values they follow from sizes."""
    first = out[0] if isinstance(out, tuple | list) and out else out
    if not isinstance(first, Tensor) or first.device.type != "meta":
        return ()
    return tuple(x for x in args if type(x) is float)


def integers(func: Any, args: tuple[Any, ...]) -> tuple[int, ...]:
    """Whole numbers that the code computes with (not sizes, axes or positions)."""
    return tuple(x for x in args if type(x) is int) if torch.Tag.pointwise in func.tags else ()


def _new(x: Tensor, *shape: int) -> Tensor:
    """A contiguous result of the type of `x`."""
    return torch.empty(shape, dtype=x.dtype, device="meta")


def _like(x: Tensor) -> Tensor:
    """A result of the shape, type and memory format of `x`."""
    return _new(x, *x.shape) if x.is_contiguous() else torch.empty_like(x)


def _batch_norm(x: Tensor, *rest: Any) -> tuple[Tensor, Tensor, Tensor] | None:
    """None where a vector does not fit: the real kernel then raises what is wrong."""
    vectors = [v for v in rest[:4] if isinstance(v, Tensor)]
    if any(v.shape != x.shape[1:2] for v in vectors):
        return None
    return _like(x), _new(x, x.shape[1]), _new(x, x.shape[1])


def _layer_norm(x: Tensor, shape: list[int], *rest: Any) -> tuple[Tensor, Tensor, Tensor] | None:
    vectors = [v for v in rest[:2] if isinstance(v, Tensor)]
    expected = tuple(x.shape[x.ndim - len(shape) :])
    if tuple(shape) != expected or any(tuple(v.shape) != expected for v in vectors):
        return None
    return _new(x, *x.shape), _new(x), _new(x)


def _unary(x: Tensor, *rest: Any) -> Tensor | None:
    """Activations keep shape and type."""
    return _like(x) if x.is_floating_point() else None


def _unary_in_place(x: Tensor, *rest: Any) -> Tensor:
    return x


def _alike(x: Tensor, y: Any) -> bool:
    """Two tensors of one shape and type."""
    return isinstance(y, Tensor) and x.shape == y.shape and x.dtype == y.dtype


def _binary(x: Tensor, y: Any, *rest: Any) -> Tensor | None:
    """Equal shapes, or a right side that is a number or is broadcast to the left's shape."""
    if not x.is_floating_point():
        return None
    if type(y) in (int, float) or _alike(x, y):
        return _like(x)
    return _like(x) if _broadcasts(y, x) else None


def _broadcasts(y: Any, x: Tensor) -> bool:
    """Whether `y` takes the shape and type of `x`, both in plain order."""
    plain = isinstance(y, Tensor) and y.dtype == x.dtype and y.is_contiguous() and x.is_contiguous()
    if not plain or not 0 < y.ndim <= x.ndim:
        return False
    return all(a in (1, b) for a, b in zip(y.shape, x.shape[x.ndim - y.ndim :], strict=True))


def _binary_in_place(x: Tensor, y: Any, *rest: Any) -> Tensor | None:
    return x if _alike(x, y) else None


def _addmm(bias: Tensor, a: Tensor, b: Tensor) -> Tensor | None:
    fits = a.ndim == b.ndim == 2 and a.shape[1] == b.shape[0] and bias.shape == b.shape[1:]
    return _new(a, a.shape[0], b.shape[1]) if fits and a.dtype == b.dtype else None


def _mm(a: Tensor, b: Tensor) -> Tensor | None:
    fits = a.ndim == b.ndim == 2 and a.shape[1] == b.shape[0] and a.dtype == b.dtype
    return _new(a, a.shape[0], b.shape[1]) if fits else None


def _bmm(a: Tensor, b: Tensor) -> Tensor | None:
    fits = a.ndim == b.ndim == 3 and a.shape[0] == b.shape[0] and a.shape[2] == b.shape[1]
    return _new(a, a.shape[0], a.shape[1], b.shape[2]) if fits and a.dtype == b.dtype else None


def _plain(x: Tensor, *rest: Any) -> Tensor | None:
    """Shape and type stay, where memory is in plain order and no flag changes the type."""
    same = x.is_floating_point() and not any(value is True for value in rest)
    return _like(x) if same and x.is_contiguous() else None


def _clamp(x: Tensor, *rest: Any) -> Tensor | None:
    """Bounds that are numbers keep shape and type."""
    numbers_only = not any(isinstance(bound, Tensor) for bound in rest)
    return _like(x) if numbers_only and x.is_floating_point() else None


def _vector_norm(
    x: Tensor, order: float = 2, dim: Any = None, keepdim: bool = False, *rest: Any
) -> Tensor | None:
    """One axis, as `normalize` takes it."""
    if rest or not isinstance(dim, list) or len(dim) != 1 or not x.is_floating_point():
        return None
    (axis,) = (d % x.ndim for d in dim)
    kept = [1] if keepdim else []
    return _new(x, *x.shape[:axis], *kept, *x.shape[axis + 1 :])


ACTIVATIONS = (
    *("relu", "sigmoid", "silu", "gelu", "hardswish", "hardsigmoid", "hardtanh", "leaky_relu"),
    *("tanh", "elu", "mish", "exp"),
)

SHAPES: dict[Any, Callable[..., Any]] = {
    aten.native_batch_norm: _batch_norm,
    aten.native_layer_norm: _layer_norm,
    aten.addmm: _addmm,
    aten.mm: _mm,
    aten.bmm: _bmm,
    aten.roll: _plain,
    aten._softmax: _plain,
    aten.clamp: _clamp,
    aten.clamp_min: _clamp,
    aten.linalg_vector_norm: _vector_norm,
    **{getattr(aten, name): _unary for name in ACTIVATIONS},
    **{getattr(aten, f"{name}_"): _unary_in_place for name in ACTIVATIONS if name != "mish"},
    **{getattr(aten, name): _binary for name in ("add", "sub", "mul", "div")},
    **{getattr(aten, f"{name}_"): _binary_in_place for name in ("add", "sub", "mul", "div")},
}
