"""Next-layer response: remove the unit whose loss the others make up for best.

Optimal brain surgeon (Hassibi and Stork, 1993) on the channels that a layer reads: with covariance
H of the channels and weights W of the next layer, the least squared error of its response without
unit u, the other channels readjusted, is tr(W_u^T (H^-1_uu)^-1 W_u). After each removal H^-1 and
W become those of the channels that are left, by updates of rank |u|, so that selecting and
repairing are one computation. Only the Gram matrix W W^T of the weights is ever needed.

Shapes: U units of a group, n channels of one problem, b channels of one unit in one problem.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..structure.units import IntArray
from .readers import FloatArray, Problem, damped

BoolArray = NDArray[np.bool_]


@dataclass
class _Elimination:
    """Running inverse and Gram matrix of one problem."""

    inverse_nn: FloatArray
    gram_nn: FloatArray
    channels_of: list[IntArray]
    blocks: list[tuple[IntArray, IntArray]] = field(default_factory=list)

    @staticmethod
    def start(problem: Problem, num_units: int, scale: float) -> "_Elimination":
        inverse = np.linalg.inv(damped(problem.covariance_nn)).astype(np.float64)
        gram = problem.weights_nT @ problem.weights_nT.T * scale
        channels_of = [np.flatnonzero(problem.unit_n == u) for u in range(num_units)]
        elimination = _Elimination(inverse, gram, channels_of)
        sizes = np.array([len(channels) for channels in channels_of])
        for size in np.unique(sizes[sizes > 0]):
            units = np.flatnonzero(sizes == size)
            elimination.blocks.append((units, np.stack([channels_of[u] for u in units])))
        return elimination

    def add_costs(self, costs_U: FloatArray, alive_U: BoolArray) -> None:
        """Add to each living unit the error that its removal would cost here."""
        for units, channels_Ub in self.blocks:
            living = alive_U[units]
            rows = channels_Ub[living]
            if rows.shape[1] == 1:
                one = rows[:, 0]
                costs = self.gram_nn[one, one] / self.inverse_nn[one, one]
            else:
                block = rows[:, :, None], rows[:, None, :]
                solved = np.linalg.solve(self.inverse_nn[block], self.gram_nn[block])
                costs = np.trace(solved, axis1=1, axis2=2)
            costs_U[units[living]] += np.maximum(costs, 0)

    def remove(self, unit: int) -> None:
        """Fold a unit's channels into the others, and take them out of the problem."""
        gone = self.channels_of[unit]
        if len(gone) == 0:
            return
        column = self.inverse_nn[:, gone]
        share = np.linalg.solve(self.inverse_nn[np.ix_(gone, gone)], column.T).T
        self.inverse_nn -= share @ column.T
        cross = share @ self.gram_nn[gone]
        self.gram_nn += share @ (self.gram_nn[np.ix_(gone, gone)] @ share.T) - cross - cross.T
        for matrix in (self.inverse_nn, self.gram_nn):
            matrix[gone] = 0
            matrix[:, gone] = 0


def eliminate(
    problems: Sequence[Problem], num_units: int, order: IntArray | None = None
) -> tuple[IntArray, FloatArray]:
    """Remove all units one by one, the cheapest first, or in a given order.

    Args:
        problems: of every reader of the group, each of the energy it is to count with.
        num_units: U.
        order: (U,) positions of units to remove in this order, instead of the cheapest first.

    Returns:
        order (U,) int64, first to go first (ties: lowest position); and error (U + 1,) float64,
        the least squared error of the readers' responses after the first m removals, relative
        to their variance, averaged over the readers: 0 at m = 0, about 1 at the end.
    """
    total = sum(problem.energy for problem in problems)
    states = [_Elimination.start(problem, num_units, 1 / total) for problem in problems]
    alive_U = np.ones(num_units, dtype=bool)
    chosen, error = [], [0.0]
    for step in range(num_units):
        costs_U = np.zeros(num_units)
        for state in states:
            state.add_costs(costs_U, alive_U)
        costs_U[~alive_U] = np.inf
        unit = int(np.argmin(costs_U)) if order is None else int(order[step])
        for state in states:
            state.remove(unit)
        alive_U[unit] = False
        chosen.append(unit)
        error.append(error[-1] + float(costs_U[unit]))
    return np.array(chosen, dtype=np.int64), np.array(error)
