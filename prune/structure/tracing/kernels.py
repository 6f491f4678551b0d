"""Parameters that code takes as the weight of a convolution or of a matrix product.

Those of convolution and linear modules, and raw ones: `F.conv2d(x, self.kernel)`, `x @ self.w`.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from .op import Op
from .tags import find

MATRIX = 2
"""Axes of a raw parameter that a matrix product takes as its weight. One of more is data of the
network's own (queries, positions), whose rows are no filters."""


COMPUTED_KERNEL = ""
"""In place of a parameter's name: the convolution's weight is computed from others."""


@dataclass(frozen=True)
class Kernel:
    """A parameter that an operation multiplies.

    Attributes:
        parameter: its name.
        written: tags of the axis of it that the result has; None where it is no weight.
        where: the operation, for reasons.
    """

    parameter: str
    written: Tensor | None
    where: str


def kernels_of(op: Op, origin_of: Callable[[Tensor], str | None]) -> tuple[Kernel, ...]:
    """Parameters among what an operation contracts, in its own order."""
    where = f"{op.name} in {op.where}"
    if op.name.endswith("convolution"):
        weight = op.contracted[0][0] if op.contracted else None
        name = None if weight is None else origin_of(weight)
        if weight is None:
            return ()
        if name is None:
            return tuple(Kernel(COMPUTED_KERNEL, x, where) for x in op.get(weight))
        out = 1 if op.arg(6, "transposed", False) else 0
        return (Kernel(name, find(op.get(weight), out), where),)
    found: list[Kernel] = []
    sides = [weight for weight, *_ in op.contracted[:2]]  # the right one and the left one
    for tensor, axis in zip(sides, (-1, -2), strict=False):
        name = origin_of(tensor)
        if name is None:
            continue
        is_weight = not found and tensor.ndim >= MATRIX
        axis = tensor.ndim + axis
        found.append(Kernel(name, find(op.get(tensor), axis) if is_weight else None, where))
    return tuple(found)
