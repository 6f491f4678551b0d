"""Multiply-adds and parameters of a network, as a function of how many filters stay.

Shapes: T tensors that can shrink, D axes, G groups.
"""

from dataclasses import dataclass

import numpy as np
from torch import nn

from .units import FloatArray, IntArray, Structure


@dataclass(frozen=True)
class CostModel:
    """Counts for any widths without building a network.

    The size of axis d of tensor t is `base_TD[t, d] + per_unit_TDG[t, d] @ widths`.

    Attributes:
        macs_T: multiply-adds of one element of each tensor, for one image.
        is_parameter_T: whether the tensor counts as parameters (a buffer does not).
        fixed_macs, fixed_params: of all tensors that no group touches.
    """

    base_TD: FloatArray
    per_unit_TDG: FloatArray
    macs_T: FloatArray
    is_parameter_T: FloatArray
    fixed_macs: int
    fixed_params: int

    @staticmethod
    def of(model: nn.Module, structure: Structure) -> "CostModel":
        """The cost model of a traced network."""
        parameters = dict(model.named_parameters())
        sizes = {**parameters, **dict(model.named_buffers())}
        cuttable = sorted({name for name, _ in structure.axes if name in sizes})
        fixed = {name: p.numel() for name, p in parameters.items() if name not in set(cuttable)}
        depth = max((sizes[name].ndim for name in cuttable), default=1)
        base, per_unit = _linear_sizes(
            structure, cuttable, {n: tuple(sizes[n].shape) for n in cuttable}, depth
        )
        per_element = structure.macs_per_element
        return CostModel(
            base_TD=base,
            per_unit_TDG=per_unit,
            macs_T=np.array([per_element.get(name, 0) for name in cuttable], dtype=np.float64),
            is_parameter_T=np.array([name in parameters for name in cuttable], dtype=np.float64),
            fixed_macs=sum(per_element.get(name, 0) * count for name, count in fixed.items()),
            fixed_params=sum(fixed.values()),
        )

    def macs(self, widths: IntArray) -> int:
        """Multiply-adds of one image; widths: (G,) units kept of each group."""
        return self.fixed_macs + round(float(self.macs_T @ self._elements(widths)))

    def params(self, widths: IntArray) -> int:
        """Number of parameters; widths: (G,) units kept of each group."""
        return self.fixed_params + round(float(self.is_parameter_T @ self._elements(widths)))

    def _elements(self, widths: IntArray) -> FloatArray:
        sizes_TD = self.base_TD + self.per_unit_TDG @ np.asarray(widths, dtype=np.float64)
        elements_T: FloatArray = sizes_TD.prod(axis=1)
        return elements_T


def _linear_sizes(
    structure: Structure, names: list[str], shapes: dict[str, tuple[int, ...]], depth: int
) -> tuple[FloatArray, FloatArray]:
    """Each axis as a fixed part and so many positions for each unit of each group."""
    group_of = np.zeros(structure.num_units + 1, dtype=np.int64)
    for index, group in enumerate(structure.groups):
        group_of[group.units] = index
    units_in = np.array([len(group.units) for group in structure.groups], dtype=np.float64)
    base = np.ones((len(names), depth))
    per_unit = np.zeros((len(names), depth, len(structure.groups)))
    row_of = {name: row for row, name in enumerate(names)}
    for name in names:
        base[row_of[name], : len(shapes[name])] = shapes[name]
    axes = ((name, axis, units) for (name, axis), units in structure.axes.items())
    for name, axis, units in (x for x in axes if x[0] in row_of):
        movable = units[units >= 0]
        counts = np.bincount(group_of[movable], minlength=len(structure.groups))
        base[row_of[name], axis] = len(units) - len(movable)
        per_unit[row_of[name], axis] = counts / units_in
    return base, per_unit
