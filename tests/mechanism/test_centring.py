"""Sums of features that hardly vary around a large mean, against float64."""

import pytest
import torch
from prune_dl.prune.centring import bordered, centred, choose_shift, less, unshifted
from prune_dl.prune.mechanism.accumulate import Moments


@pytest.mark.parametrize("std", [1.0, 0.1, 0.01, 1e-3, 1e-4])
def test_covariances_keep_four_digits_whatever_the_mean(std: float) -> None:
    torch.manual_seed(0)
    rows = 1 + std * torch.randn(4000, 6)
    tap = Moments(1e9, torch.device("cpu"))
    for part in rows.split(500):
        tap.add(part[..., None, None])
    moments = tap.finish()
    found = centred(moments[:-1, :-1] / 4000, moments[:-1, -1] / 4000)
    expected = torch.cov(rows.double().T, correction=0)
    assert float((found - expected).abs().max()) < 5e-5 * float(expected.diagonal().max())


def test_shifts_leave_plain_sums() -> None:
    rows = torch.tensor([100.0, 0.0, 5.0]) + torch.randn(50, 3).double()
    shift = torch.tensor([100.0, 0.0, 5.0])
    moved, ones = less(rows, shift), rows.new_ones(50, 1)
    sums = bordered(moved.T @ moved, moved.sum(0), 50)
    whole = torch.cat([rows, ones], dim=1)
    torch.testing.assert_close(unshifted(sums, shift), whole.T @ whole)


def test_a_constant_feature_has_no_variance_left_by_rounding() -> None:
    rows = torch.cat([torch.full((1000, 1), 0.1), torch.randn(1000, 1)], dim=1)
    tap = Moments(1e9, torch.device("cpu"))
    tap.add(rows[..., None, None])
    moments = tap.finish() / 1000
    found = centred(moments[:-1, :-1], moments[:-1, -1])
    assert not found[0].any()
    assert float(found[1, 1]) > 0.5


def test_features_that_vary_are_not_shifted() -> None:
    assert choose_shift(3 + torch.randn(1000, 4)) is None
    assert choose_shift(torch.zeros(5, 2)) is None
