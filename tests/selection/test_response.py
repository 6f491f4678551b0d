"""Elimination by next-layer response, against brute force and its own laws."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from prune_dl.prune.selection import response
from prune_dl.prune.selection.readers import Problem, by_channel, from_channels
from prune_dl.prune.selection.response import eliminate, error_curve
from prune_dl.prune.structure.units import Reader


def problem(seed: int, n: int = 6, targets: int = 4, per_unit: int = 1) -> Problem:
    rng = np.random.default_rng(seed)
    samples = rng.normal(size=(50, n)) @ (np.eye(n) + rng.uniform(-0.3, 0.3, size=(n, n)))
    weights = rng.normal(size=(n, targets))
    return Problem(np.cov(samples.T, bias=True), weights @ weights.T, np.arange(n) // per_unit)


def least_squares_error(parts: list[Problem], gone: set[int]) -> float:
    """By the normal equations: residual energy of the targets that the gone channels carry."""
    lost = total = 0.0
    for part in parts:
        out = np.isin(part.unit_n, list(gone))
        cov = part.covariance_nn
        inner = cov[np.ix_(out, out)]
        if (~out).any():
            cross = cov[np.ix_(~out, out)]
            inner = inner - cross.T @ np.linalg.solve(cov[np.ix_(~out, ~out)], cross)
        lost += float(np.sum(inner * part.gram_nn[np.ix_(out, out)]))
        total += part.energy
    return lost / total


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), per_unit=st.sampled_from([1, 2]), readers=st.integers(1, 2))
def test_every_step_is_the_cheapest_by_brute_force(seed: int, per_unit: int, readers: int) -> None:
    parts = [problem(seed + i, per_unit=per_unit) for i in range(readers)]
    num_units = 6 // per_unit
    order, error = eliminate(parts, num_units)
    gone: set[int] = set()
    for step, unit in enumerate(order):
        errors = {
            u: least_squares_error(parts, gone | {u}) for u in range(num_units) if u not in gone
        }
        assert errors[int(unit)] <= min(errors.values()) * (1 + 1e-3)
        gone.add(int(unit))
        assert error[step + 1] == pytest.approx(errors[int(unit)], rel=1e-3, abs=1e-5)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), data=st.data())
def test_error_curve_of_any_order_is_the_least_squares_error(
    seed: int, data: st.DataObject
) -> None:
    parts = [problem(seed), problem(seed + 1)]
    order = np.array(data.draw(st.permutations(range(6))))
    curve = error_curve(parts, order)
    for m in range(7):
        expected = least_squares_error(parts, set(order[:m].tolist()))
        assert curve[m] == pytest.approx(expected, rel=1e-3, abs=1e-5)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), data=st.data())
def test_permuting_channels_permutes_the_order(seed: int, data: st.DataObject) -> None:
    shuffle = np.array(data.draw(st.permutations(range(6))))
    one = problem(seed)
    other = Problem(
        one.covariance_nn[np.ix_(shuffle, shuffle)],
        one.gram_nn[np.ix_(shuffle, shuffle)],
        np.arange(6),
    )
    order, error = eliminate([one], 6)
    shuffled_order, shuffled_error = eliminate([other], 6)
    assert shuffle[shuffled_order].tolist() == order.tolist()
    np.testing.assert_allclose(shuffled_error, error, rtol=1e-9, atol=1e-12)


def test_a_duplicate_and_a_dead_channel_go_first_and_cost_nothing() -> None:
    rng = np.random.default_rng(0)
    samples = rng.normal(size=(200, 5))
    samples[:, 3] = 2 * samples[:, 1]
    samples[:, 4] = 0
    weights = rng.normal(size=(5, 3))
    part = Problem(np.cov(samples.T, bias=True), weights @ weights.T, np.arange(5))
    order, error = eliminate([part], 5)
    assert 4 in order[:2]
    assert {1, 3} & set(order[:2].tolist())
    assert error[2] < 1e-5
    assert error[3] > 1e-2


def test_greedy_is_at_most_a_little_worse_than_the_best_subset() -> None:
    part = problem(3, n=8, targets=5)
    _, error = eliminate([part], 8)
    best = min(
        least_squares_error([part], set(gone)) for gone in itertools.combinations(range(8), 4)
    )
    assert best <= error[4] * (1 + 1e-3)
    assert error[4] <= 2 * best + 1e-6


def test_rounds_of_a_wide_group_cost_what_they_say_and_hardly_more_than_single_steps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(0)
    n = 300
    samples = rng.normal(size=(900, n)) @ (np.eye(n) + rng.normal(size=(n, n)) / 20)
    samples[:, n // 2 :] += samples[:, : n // 2]  # pairs that must not go together
    weights = rng.normal(size=(n, 40))
    part = Problem(np.cov(samples.T, bias=True), weights @ weights.T, np.arange(n))
    order, error = eliminate([part], n)
    np.testing.assert_allclose(error, error_curve([part], order), rtol=1e-3, atol=1e-6)
    monkeypatch.setattr(response, "SMALLEST_ROUND", n)
    _, single = eliminate([part], n)
    assert (error[20:] <= 1.02 * single[20:]).all()
    assert not np.array_equal(error, single)


@pytest.mark.parametrize(
    ("reader", "shape"),
    [
        (Reader("c", np.arange(6), np.arange(6)), (4, 6, 3, 3)),
        (Reader("c", np.arange(6), np.arange(6), groups=2), (4, 3, 3, 3)),
        (Reader("t", np.arange(6), np.arange(6), "transposed", 2), (6, 2, 3, 3)),
        (Reader("l", np.arange(6), np.repeat(np.arange(6), 4), "linear"), (5, 24)),
        (Reader("l", np.arange(6), np.tile(np.arange(6), 4), "linear"), (5, 24)),
    ],
)
def test_by_channel_holds_what_a_channel_adds_and_has_an_inverse(
    reader: Reader, shape: tuple[int, ...]
) -> None:
    weight = torch.randn(shape, dtype=torch.float64)
    matrix = by_channel(weight, reader)
    assert torch.equal(from_channels(matrix, weight, reader), weight)
    n = matrix.shape[1]
    for channel in range(6):
        if reader.kind == "linear":
            own = weight[:, reader.channel_of_feature_F == channel]
        elif reader.kind == "transposed":
            own = weight[channel]
        else:
            outputs = shape[0] // reader.groups
            start = channel // n * outputs
            own = weight[start : start + outputs, channel % n]
        row = matrix[channel // n, channel % n]
        assert torch.equal(row.sort().values, own.flatten().sort().values)
