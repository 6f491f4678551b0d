"""Multiply-adds and parameters of a network, as a function of how many filters stay.

Multiply-adds are those of the operations that a forward pass executes (convolutions, matrix
products, attention), with the shapes that they see. Sums, norms and activations are not counted, as
`torch.utils.flop_counter` does not.

Shapes: R rows (products of sizes), D sizes, G groups, H = 1 + G.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from torch import nn

from ..shown import short_repr
from .units import FloatArray, IntArray, Structure

Size = IntArray | int
"""A size that never changes, or the unit of each position (-1: it stays)."""


@dataclass(frozen=True)
class _Products:
    """Sums of products of sizes: size d of row r is `base_RD[r, d] + per_unit_RDG[r, d] @ widths`.

    Attributes:
        count_R: what each product counts.
        fixed: the sum of all products that no group touches.
    """

    base_RD: FloatArray
    per_unit_RDG: FloatArray
    count_R: FloatArray
    fixed: float

    @staticmethod
    def of(rows: Iterable[tuple[float, Sequence[Size]]], structure: Structure) -> "_Products":
        """Rows of a count and sizes; those of the same sizes are added up."""
        linear = _LinearSizes(structure)
        count_of: dict[tuple[bytes, ...], float] = {(): 0.0}
        sizes_of: dict[tuple[bytes, ...], list[FloatArray]] = {}
        for count, sizes in rows:
            fixed = math.prod(size for size in sizes if isinstance(size, int))
            moving = [linear.of(units) for units in sizes if not isinstance(units, int)]
            key = tuple(size.tobytes() for size in moving)
            sizes_of[key] = moving
            count_of[key] = count_of.get(key, 0.0) + count * fixed
        depth = max(map(len, sizes_of), default=0)
        one = np.zeros(1 + len(structure.groups))
        one[0] = 1
        keys = [key for key in sizes_of if key]
        rows_RDH = [[*sizes_of[key], *[one] * (depth - len(key))] for key in keys]
        table_RDH = np.array(rows_RDH).reshape(len(keys), depth, len(one))
        count_R = np.array([count_of[key] for key in keys])
        return _Products(table_RDH[..., 0], table_RDH[..., 1:], count_R, count_of[()])

    def at(self, widths: IntArray) -> int:
        """The sum for widths (G,)."""
        sizes_RD = self.base_RD + self.per_unit_RDG @ np.asarray(widths, dtype=np.float64)
        return round(self.fixed + float(self.count_R @ sizes_RD.prod(axis=1)))


class _LinearSizes:
    """Sizes as a fixed part, and so many positions for each unit of each group: (1 + G,)."""

    def __init__(self, structure: Structure) -> None:
        self._group_of_U = np.zeros(structure.num_units + 1, dtype=np.int64)
        for index, group in enumerate(structure.groups):
            self._group_of_U[group.units] = index
        self._units_in_G = np.array([len(group.units) for group in structure.groups])
        self._known: dict[int, tuple[IntArray, FloatArray]] = {}

    def of(self, units: IntArray) -> FloatArray:
        """The size of which each position is of one of these units (-1: it stays)."""
        if id(units) not in self._known:
            movable = units[units >= 0]
            counts_G = np.bincount(self._group_of_U[movable], minlength=len(self._units_in_G))
            fixed = [float(len(units) - len(movable))]
            self._known[id(units)] = (units, np.concatenate([fixed, counts_G / self._units_in_G]))
        return self._known[id(units)][1]


@dataclass(frozen=True)
class CostModel:
    """Counts for any widths without building a network."""

    _macs: _Products
    _params: _Products

    __repr__ = short_repr

    @staticmethod
    def of(model: nn.Module, structure: Structure) -> "CostModel":
        """The cost model of a traced network."""
        parameters = (
            (1.0, [structure.axes.get((name, d), size) for d, size in enumerate(parameter.shape)])
            for name, parameter in model.named_parameters()
        )
        products = ((product.count, product.factors) for product in structure.products)
        return CostModel(_Products.of(products, structure), _Products.of(parameters, structure))

    def macs(self, widths: IntArray) -> int:
        """Multiply-adds of one image; widths: (G,) units kept of each group."""
        return self._macs.at(widths)

    def params(self, widths: IntArray) -> int:
        """Number of parameters; widths: (G,) units kept of each group."""
        return self._params.at(widths)
