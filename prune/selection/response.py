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

from ..linear_algebra import damp, invert_damped, solve_square
from ..structure.units import BoolArray, FloatArray, IntArray
from .readers import Problem, damping

ROUNDS = 64
"""A round removes 1/64 of the units that are left between two updates of the large matrices.

Fewer updates are faster and choose from fewer units. With 1/64 a wide group ends within 2 % of the
error of removing one by one; `tests/selection/test_response.py` holds that.
"""
SMALLEST_ROUND = 4
"""Below 4 units in a round (256 left) the gain is small, and units go one by one."""
CANDIDATES = 4
"""A round chooses among so many times the units it removes: those that were cheapest before it."""
SHRINK_AT = 0.75
"""Share of the channels still in place at which the matrices are made smaller. Speed only: every
update after it then costs 0.75 squared, 0.56, of what it would."""


@dataclass
class _Elimination:
    """Inverse covariance and Gram matrix of the channels that are left of one problem.

    `blocks` holds, for every size b, the units with b channels and their rows (units, b).
    """

    inverse_nn: FloatArray
    gram_nn: FloatArray
    unit_n: IntArray
    left_n: BoolArray
    blocks: list[tuple[IntArray, IntArray]] = field(default_factory=list)

    @staticmethod
    def start(problem: Problem, scale: float) -> "_Elimination":
        covariance_nn = problem.covariance_nn
        inverse, _ = invert_damped(covariance_nn, damping(covariance_nn))
        gram = problem.gram_nn * scale
        left = np.ones(len(gram), dtype=np.bool_)
        elimination = _Elimination(inverse, gram, problem.unit_n.copy(), left)
        elimination._compact()
        return elimination

    def _compact(self) -> None:
        """Drop the channels that went, and list those of each unit."""
        stay = np.flatnonzero(self.left_n)
        self.inverse_nn = self.inverse_nn[np.ix_(stay, stay)]
        self.gram_nn = self.gram_nn[np.ix_(stay, stay)]
        self.unit_n, self.left_n = self.unit_n[stay], self.left_n[stay]
        units, counts = np.unique(self.unit_n[self.unit_n >= 0], return_counts=True)
        by_unit = np.argsort(self.unit_n, kind="stable")[len(stay) - int(counts.sum()) :]
        starts = np.cumsum(counts) - counts
        self.blocks = [
            (units[counts == b], by_unit[starts[counts == b][:, None] + np.arange(b)])
            for b in np.unique(counts)
        ]

    def add_costs(self, costs_U: FloatArray) -> None:
        """Add to each unit the error that its removal would cost here."""
        for units, rows_Ub in self.blocks:
            if rows_Ub.shape[1] == 1:
                one = rows_Ub[:, 0]
                costs = self.gram_nn[one, one] / self.inverse_nn[one, one]
            else:
                block = rows_Ub[:, :, None], rows_Ub[:, None, :]
                solved = solve_square(self.inverse_nn[block], self.gram_nn[block])
                costs = np.trace(solved, axis1=1, axis2=2)
            known = units < len(costs_U)
            costs_U[units[known]] += np.maximum(costs[known], 0)

    def restricted(self, units: IntArray) -> "_Elimination":
        """The same matrices, of the channels of some units alone."""
        rows = np.flatnonzero(np.isin(self.unit_n, units) & self.left_n)
        part = np.ix_(rows, rows)
        left = np.ones(len(rows), dtype=np.bool_)
        smaller = _Elimination(self.inverse_nn[part], self.gram_nn[part], self.unit_n[rows], left)
        smaller._compact()
        return smaller

    def remove(self, units: IntArray) -> None:
        """Fold the channels of units into the others, and take them out of the problem."""
        gone = np.flatnonzero(np.isin(self.unit_n, units) & self.left_n)
        if len(gone) == 0:
            return
        inner, column = self.inverse_nn[np.ix_(gone, gone)], self.inverse_nn[gone]
        share = solve_square(inner, column)
        half = self.gram_nn[gone] - self.gram_nn[np.ix_(gone, gone)] @ share / 2
        self.inverse_nn -= column.T @ share
        cross = share.T @ half
        self.gram_nn -= cross
        self.gram_nn -= cross.T
        self._forget(gone)

    def _forget(self, gone: IntArray) -> None:
        """Make the channels free of cost and of no effect, until they are cut away."""
        self.left_n[gone] = False
        for matrix, diagonal in ((self.inverse_nn, 1.0), (self.gram_nn, 0.0)):
            matrix[gone] = 0
            matrix[:, gone] = 0
            matrix[gone, gone] = diagonal
        if self.left_n.sum() < SHRINK_AT * len(self.left_n):
            self._compact()


def eliminate(problems: Sequence[Problem], num_units: int) -> tuple[IntArray, FloatArray]:
    """Remove all units one by one, the cheapest first.

    Args:
        problems: of every reader of the group, each of the energy it is to count with.
        num_units: U.

    Returns:
        order (U,) int64, first to go first (ties: lowest position); and error (U + 1,) float64,
        the least squared error of the targets after the first m removals, relative to their
        variance: 0 at m = 0, at most about 1 at the end.
    """
    total = sum(problem.energy for problem in problems)
    states = [_Elimination.start(problem, 1 / total) for problem in problems]
    order: list[int] = []
    error = [0.0]
    while len(order) < num_units:
        left = np.setdiff1d(np.arange(num_units), order)
        chosen, costs = _cheapest(states, left)
        for state in states:
            state.remove(chosen)
        order += chosen.tolist()
        error += (error[-1] + np.cumsum(costs)).tolist()
    return np.array(order, dtype=np.int64), np.array(error)


def _cheapest(states: list[_Elimination], left: IntArray) -> tuple[IntArray, FloatArray]:
    """The next units to go, in order, and what each costs after those before it.

    In a wide group several go between two updates of the large matrices. They are chosen one by
    one, and exactly, among the units that were cheapest before: an update of the blocks of some
    units needs nothing of the others.
    """
    costs_L = _costs(states, left)
    num_chosen = len(left) // ROUNDS
    if num_chosen < SMALLEST_ROUND:
        first = int(np.argmin(costs_L))
        return left[[first]], costs_L[[first]]
    candidates = left[np.sort(np.argsort(costs_L, kind="stable")[: CANDIDATES * num_chosen])]
    parts = [state.restricted(candidates) for state in states]
    chosen: list[int] = []
    costs: list[float] = []
    for _ in range(num_chosen):
        open_L = np.setdiff1d(candidates, chosen)
        costs_L = _costs(parts, open_L)
        best = int(np.argmin(costs_L))
        chosen.append(int(open_L[best]))
        costs.append(float(costs_L[best]))
        for part in parts:
            part.remove(open_L[[best]])
    return np.array(chosen, dtype=np.int64), np.array(costs)


def _costs(states: list[_Elimination], units: IntArray) -> FloatArray:
    costs_U = np.zeros(int(units.max()) + 1)
    for state in states:
        state.add_costs(costs_U)
    return costs_U[units]


def error_curve(problems: Sequence[Problem], order: IntArray) -> FloatArray:
    """What `eliminate` calls error, for a given order of removal.

    With the channels sorted from the last to go to the first, and Cov = L L^T, the targets are
    W^T L z for uncorrelated z, and the first k channels know exactly the first k of z: the error
    is the energy that W^T L has in the other columns. One Cholesky factorisation for all m.
    """
    lost_U = np.zeros(len(order) + 1)
    step_of = np.empty(len(order) + 1, dtype=np.int64)
    step_of[order] = np.arange(len(order))
    step_of[-1] = len(order)  # what never goes
    total = sum(problem.energy for problem in problems)
    for problem in problems:
        steps = step_of[problem.unit_n]
        rows = np.argsort(-steps, kind="stable")
        covariance_nn = problem.covariance_nn[np.ix_(rows, rows)]
        factor = damp(covariance_nn, damping(covariance_nn)).factor_nn
        energy_n = np.sum(factor * (problem.gram_nn[np.ix_(rows, rows)] @ factor), axis=0) / total
        np.add.at(lost_U, steps[rows], energy_n)
    return np.concatenate([[0.0], np.cumsum(lost_U[:-1])])
