"""Covariances as differences of small numbers: shifts before products, and constant features.

A covariance is a second moment minus the square of a mean. Products are taken in float32, whose
relative rounding of 6e-8 is a share of the second moment. Where features hardly vary around a large
mean it would be larger than the covariance itself, so such features are shifted to about zero
before products are taken; the sums are shifted back in float64, which loses nothing that matters.
So they are plain sums whatever the shifts, and those of two parts of the data add up.

Shapes: n features, R rows.
"""

import torch
from torch import Tensor

CONSTANT = 1e-6
"""A feature whose standard deviation is at most this share of its mean counts as constant: a
few roundings of float32 (6e-8 each) make as much of a constant input."""
SHIFT_AT = 10.0
"""Features whose mean is more than so many standard deviations are shifted before products are
taken. Products carry a relative rounding of float32 (6e-8) of mean^2 + variance: at 10 the
covariances still have more than 4 of their 7 digits. Below it sums are, bit for bit, those without
a shift."""


ROWS_AT_ONCE = 256
"""Rows of a matrix that are worked on at once. Memory only."""


def choose_shift(rows_Rn: Tensor) -> Tensor | None:
    """What to take off features before products are taken, (n,) float32; None for nothing.

    The mean of a feature that hardly varies around it (SHIFT_AT), zero for all others.

    >>> choose_shift(torch.tensor([[10.0, 1.0], [11.0, -1.0]]))
    tensor([10.5000,  0.0000])
    """
    if len(rows_Rn) == 0:
        return None
    variance_n, mean_n = torch.var_mean(rows_Rn.float(), dim=0, correction=0)
    steady_n = mean_n.square() > SHIFT_AT**2 * variance_n
    return torch.where(steady_n, mean_n, 0.0) if bool(steady_n.any()) else None


def less(rows_Rn: Tensor, shift_n: Tensor | None) -> Tensor:
    """Rows with the shift taken off."""
    return rows_Rn if shift_n is None else rows_Rn - shift_n.to(rows_Rn)


def bordered(products_nn: Tensor, sum_n: Tensor, count: Tensor | float) -> Tensor:
    """Sums of [x; 1][x; 1]^T from those of x x^T and of x, and the number of rows."""
    last_1n = torch.cat([sum_n, torch.as_tensor(count).to(sum_n).reshape(1)])[None]
    return torch.cat([torch.cat([products_nn, sum_n[None]]), last_1n.T], dim=1)


def unshifted(products_nn: Tensor, shift_n: Tensor | None) -> Tensor:
    """Sums of [x; 1][x; 1]^T from those of [x - shift; 1][x - shift; 1]^T, float64."""
    if shift_n is None:
        return products_nn
    shift_n = shift_n.to(products_nn)
    sum_n, count = products_nn[:-1, -1], products_nn[-1, -1]
    whole_nn = products_nn.clone()
    across_nn = torch.outer(shift_n, sum_n)
    whole_nn[:-1, :-1] += across_nn + across_nn.T + count * torch.outer(shift_n, shift_n)
    whole_nn[:-1, -1] += count * shift_n
    whole_nn[-1, :-1] += count * shift_n
    return whole_nn


def centred(
    products_nn: Tensor, mean_n: Tensor, count: float = 1.0, *, shift_n: Tensor | None = None
) -> Tensor:
    """Sums of products around the mean: products - count * mean mean^T, float64.

    Rows and columns of features that are constant (CONSTANT) are exactly zero.

    Args:
        products_nn: (n, n) sum of x x^T over rows, or its mean with a count of 1.
        count: rows that were summed up.
        shift_n: what was taken off the features before; their own mean is larger by it.
    """
    around_nn = products_nn.clone()
    for start in range(0, len(mean_n), ROWS_AT_ONCE):  # the whole outer product: memory twice
        part = slice(start, start + ROWS_AT_ONCE)
        around_nn[part] -= count * torch.outer(mean_n[part], mean_n)
    level_n = mean_n if shift_n is None else mean_n + shift_n.to(mean_n)
    constant_n = around_nn.diagonal() <= count * (CONSTANT * level_n).square()
    if bool(constant_n.any()):
        around_nn[constant_n] = 0
        around_nn[:, constant_n] = 0
    return around_nn
