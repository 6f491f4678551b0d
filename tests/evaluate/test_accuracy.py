"""Accuracy: the interval against its definition, the count against a hand count, modes restored."""

from math import sqrt
from statistics import NormalDist

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from prune_dl.evaluate.measure.accuracy import Accuracy, measure_accuracy, wilson_interval
from prune_dl.prune.errors import InputError
from torch import nn

CPU = torch.device("cpu")


class FixedSplit:
    """The part of `Split` that measuring needs, over tensors in memory."""

    def __init__(self, images: torch.Tensor, labels_N: torch.Tensor) -> None:
        self.images, self.labels_N = images, labels_N
        self.num_images = len(labels_N)

    def batches(self, batch_size, *, device, limit=None):
        images, labels_N = self.images[:limit], self.labels_N[:limit]
        yield from zip(images.split(batch_size), labels_N.split(batch_size), strict=True)


@settings(deadline=None)  # the first call imports SciPy
@given(st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_ends_of_the_interval_are_where_the_score_test_just_rejects(counts):
    correct, total = counts
    z = NormalDist().inv_cdf(0.975)
    for end in wilson_interval(correct, total):
        distance = abs(correct / total - end)
        assert distance == pytest.approx(z * sqrt(end * (1 - end) / total), abs=1e-9)


def test_nothing_and_everything_correct_end_exactly():
    assert wilson_interval(0, 7)[0] == 0.0
    assert wilson_interval(7, 7)[1] == 1.0
    assert wilson_interval(90, 100) == pytest.approx((0.82563, 0.94477), abs=1e-5)


@settings(deadline=None)  # the first call imports SciPy
@given(st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_interval_holds_the_accuracy_and_stays_in_the_unit_interval(counts):
    accuracy = Accuracy(*counts)
    assert 0 <= accuracy.low <= accuracy.top1 <= accuracy.high <= 1
    assert accuracy.low < accuracy.high


@pytest.fixture
def split():
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(600, 4, generator=generator)
    return FixedSplit(images, images.argmax(dim=1).where(torch.arange(600) % 5 != 0, 9))


def test_counts_every_image_of_every_batch_once(split):
    seen = []
    accuracy = measure_accuracy(
        nn.Identity(), split, device=CPU, progress=lambda done, total: seen.append((done, total))
    )
    assert accuracy == Accuracy(480, 600)
    assert seen == [(250, 600), (500, 600), (600, 600)]


def test_limit_looks_at_no_more(split):
    assert measure_accuracy(nn.Identity(), split, device=CPU, limit=50) == Accuracy(40, 50)


class TrainingModeShows(nn.Module):
    """Right in evaluation mode, wrong in training mode."""

    def forward(self, x):
        return -x if self.training else x


def test_evaluates_in_evaluation_mode_and_restores_every_mode(split):
    model = nn.Sequential(TrainingModeShows(), nn.Identity()).train()
    model[1].eval()
    assert measure_accuracy(model, split, device=CPU) == Accuracy(480, 600)
    assert [module.training for module in model.modules()] == [True, True, False]


def test_a_frozen_batch_norm_stays_frozen_and_the_other_keeps_its_statistics(split):
    model = nn.Sequential(nn.BatchNorm1d(4), nn.BatchNorm1d(4)).train()
    model[0].eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    measure_accuracy(model, split, device=CPU)
    assert [module.training for module in model] == [False, True]
    assert all(torch.equal(before[name], x) for name, x in model.state_dict().items())


def test_outputs_that_are_not_numbers_are_an_error_and_modes_still_come_back(split):
    split.images[3, 1] = torch.nan
    model = nn.Sequential(nn.Identity()).train()
    with pytest.raises(InputError, match="NaN or infinity"):
        measure_accuracy(model, split, device=CPU)
    assert model.training


def test_an_empty_split_is_an_error():
    empty = FixedSplit(torch.empty(0, 4), torch.empty(0, dtype=torch.int64))
    with pytest.raises(InputError, match="empty"):
        measure_accuracy(nn.Identity(), empty, device=CPU)
