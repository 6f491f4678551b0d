"""Symmetric systems of measured sums: the one place that factorises, and cannot fail.

Where few rows or dependent features leave a matrix that is not positive definite, its ridge is
raised until it is. How far is returned, so that callers can tell. Numbers that are not finite end
in one line; `LinAlgError` never leaves this module.

Shapes: n features, T right-hand sides.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from .errors import InputError
from .structure.units import FloatArray

Solved = TypeVar("Solved")

RAISE = 10.0
"""Factor by which a ridge is raised at a time: few tries, and at most ten times what is needed."""
ROWS_PER_INPUT = 4
"""Rows for each input of a least-squares problem, from which its solution can be trusted. With R
rows and n inputs the error on new rows is R / (R - n) times that of the best solution, a third more
at four; with R <= n there is an exact fit of anything, and new rows decide nothing."""


@dataclass(frozen=True)
class Damped:
    """A matrix with a ridge, which makes it positive definite.

    Attributes:
        matrix_nn, factor_nn: with the ridge; and its Cholesky factor, lower triangular.
        raised: how many times the ridge that was asked for; 1 where that was enough.
    """

    matrix_nn: FloatArray
    factor_nn: FloatArray
    raised: float


def ridge_of(share: float, mean_variance: float) -> float:
    """The ridge that is a share of the mean variance; 1 where nothing varies.

    >>> ridge_of(0.1, 2.0), ridge_of(0.1, 0.0), ridge_of(0.1, 5e-324)
    (0.2, 1.0, 1.0)
    """
    ridge = share * mean_variance
    return ridge if ridge > 0 else 1.0


def damp(matrix_nn: FloatArray, ridge: float) -> Damped:
    """The matrix plus a ridge on its diagonal, raised tenfold until it is positive definite.

    Raises InputError for a matrix that is not finite.

    >>> damp(np.array([[1.0, 2.0], [2.0, 1.0]]), 0.5).raised
    10.0
    """

    def attempt(ridge: float) -> tuple[FloatArray, FloatArray] | None:
        matrix = np.asarray(matrix_nn + ridge * np.eye(len(matrix_nn)), dtype=np.float64)
        factor = _numpy_cholesky(matrix)
        return None if factor is None else (matrix, factor)

    check_finite(bool(np.isfinite(matrix_nn).all()))
    (matrix, factor), raised = _raise(attempt, ridge)
    return Damped(matrix, factor, raised)


def solve_damped(
    matrix_nn: FloatArray, ridge: float, rhs_nT: FloatArray
) -> tuple[FloatArray, float]:
    """X (n, T) with (matrix + ridge I) X = rhs, and how many times the ridge was raised.

    Raises InputError for numbers that are not finite.
    """
    damped = damp(matrix_nn, ridge)
    check_finite(bool(np.isfinite(rhs_nT).all()))
    return solve_square(damped.matrix_nn, rhs_nT), damped.raised


def invert_damped(matrix_nn: FloatArray, ridge: float) -> tuple[FloatArray, float]:
    """The inverse of matrix + ridge I, and how many times the ridge was raised.

    Raises InputError for a matrix that is not finite.
    """
    damped = damp(matrix_nn, ridge)
    try:
        inverse = np.linalg.inv(damped.matrix_nn)
    except np.linalg.LinAlgError:
        inverse = np.linalg.pinv(damped.matrix_nn, hermitian=True)
    return np.asarray(inverse, dtype=np.float64), damped.raised


def solve_square(matrix_nn: FloatArray, rhs_nT: FloatArray) -> FloatArray:
    """X with matrix X = rhs, also for many matrices at once (..., n, n); the one of least squares
    where a matrix is singular.

    >>> solve_square(np.array([[2.0, 0.0], [0.0, 0.0]]), np.array([[4.0], [0.0]])).tolist()
    [[2.0], [0.0]]
    """
    try:
        return np.asarray(np.linalg.solve(matrix_nn, rhs_nT), dtype=np.float64)
    except np.linalg.LinAlgError:
        check_finite(bool(np.isfinite(matrix_nn).all()))
        return np.asarray(np.linalg.pinv(matrix_nn, hermitian=True) @ rhs_nT, dtype=np.float64)


def solve_positive(matrix_nn: Tensor, ridge: float, rhs_nT: Tensor) -> tuple[Tensor, float]:
    """The same as `solve_damped` for tensors (by Cholesky), on their device.

    Raises InputError for numbers that are not finite.
    """

    def attempt(ridge: float) -> Tensor | None:
        system_nn = matrix_nn.clone()
        system_nn.diagonal().add_(ridge)
        factor_nn, info = torch.linalg.cholesky_ex(system_nn)
        return factor_nn if int(info) == 0 else None

    check_finite(bool(torch.isfinite(matrix_nn).all() and torch.isfinite(rhs_nT).all()))
    factor_nn, raised = _raise(attempt, ridge)
    return torch.cholesky_solve(rhs_nT, factor_nn), raised


def check_finite(is_finite: bool) -> None:
    """Raises InputError where measured sums are not finite."""
    if not is_finite:
        raise InputError(
            "features given whose squares hold NaN or infinity; expected magnitudes below 1e19 at "
            "every layer; check the weights and the normalisation of the images"
        )


def _numpy_cholesky(matrix_nn: FloatArray) -> FloatArray | None:
    try:
        return np.asarray(np.linalg.cholesky(matrix_nn), dtype=np.float64)
    except np.linalg.LinAlgError:
        return None


def _raise(attempt: Callable[[float], Solved | None], ridge: float) -> tuple[Solved, float]:
    """What the attempt makes of the first ridge it succeeds with, and that ridge over the first.

    It ends: once the ridge exceeds the sum of the magnitudes of a row, the matrix is positive
    definite (Gershgorin).
    """
    raised = 1.0
    while np.isfinite(ridge * raised):
        found = attempt(ridge * raised)
        if found is not None:
            return found, raised
        raised *= RAISE
    check_finite(False)
    raise AssertionError("check_finite raises")


def told_of_raised(raised: Mapping[str, float], what: str) -> tuple[str, ...]:
    """A note of the layers whose ridge had to be raised; none where none had to.

    Args:
        raised: layer -> how many times its ridge was raised, 1 for not.
        what: the ridge was raised of.

    >>> told_of_raised({"conv1": 1.0, "conv2": 100.0}, "repair")
    ('repair: the inputs of 1 layer (conv2) depend on each other; its ridge was raised 100 times',)
    """
    found = {layer: factor for layer, factor in raised.items() if factor > 1}
    if not found:
        return ()
    worst = max(found.values())
    times = f"its ridge was raised {worst:.0f} times"
    if len(found) > 1:
        times = f"their ridge was raised, up to {worst:.0f} times"
    return (f"{what}: the inputs of {_listed(found)} depend on each other; {times}",)


def told_of_few_rows(rows: Mapping[str, tuple[int, int]], what: str) -> tuple[str, ...]:
    """A note of the layers with fewer than ROWS_PER_INPUT rows for each input.

    Args:
        rows: layer -> (rows, inputs) of its least-squares problem.

    >>> told_of_few_rows({"conv1": (900, 9), "fc": (20, 10)}, "repair")[0]
    'repair: 1 layer (fc) has fewer than 4 rows for each input (20 for 10); give 2 times the images'
    """
    found = {
        layer: (count, inputs)
        for layer, (count, inputs) in rows.items()
        if count < ROWS_PER_INPUT * inputs
    }
    if not found:
        return ()
    count, inputs = min(found.values(), key=lambda pair: pair[0] / pair[1])
    times = int(np.ceil(ROWS_PER_INPUT * inputs / max(1, count)))
    have = "has" if len(found) == 1 else "have"
    return (
        f"{what}: {_listed(found)} {have} fewer than {ROWS_PER_INPUT} rows for each input "
        f"({count} for {inputs}); give {times} times the images",
    )


def _listed(layers: Iterable[str], most: int = 3) -> str:
    names = list(layers)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{len(names)} layer{'s' * (len(names) > 1)} ({', '.join(names[:most])}{more})"
