"""Which kept filters say the same as a removed one, and how much of it they reproduce."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from prune_dl.evaluate.report.removed_filters import AlikeFilter
from prune_dl.prune.job.known import Amounts, Measured, Planned
from prune_dl.prune.job.removed_strong import correlate, explain_removed, share_reproduced
from prune_dl.prune.mechanism.statistics import Statistics
from prune_dl.prune.selection.criteria import Ranking
from prune_dl.prune.structure.cost import CostModel
from prune_dl.prune.structure.plan import LayerPlan, Plan
from prune_dl.prune.structure.tracing.trace import trace
from torch import nn

LABELS = ("cat", "dog", "ship")
NETWORK = nn.Sequential(nn.Conv2d(3, 5, 1), nn.ReLU(), nn.Conv2d(5, 4, 1)).eval()
CLUSTERS = (((0, 1),), ((2,),), ((0,), (1,)), ((0, 2),), ((1,),))
"""Labels of each filter's clusters."""
COVARIANCE = np.array(
    [
        [1.0, 0.0, 1.0, 0.0, 0.0],
        [0.0, 4.0, 0.0, 0.0, 0.0],
        [1.0, 0.0, 1.0, 0.0, 0.0],
        [0.0, 0.0, 0.0, 2.0, 0.0],
        [0.0, 0.0, 0.0, 0.0, 0.0],
    ]
)
"""Filter 2 is a copy of filter 0, filter 3 is independent of all, filter 4 never varies."""


def chosen(*channels: int, num: int = 5) -> Any:
    return np.isin(np.arange(num), channels)


def planned(
    covariance_CC: Any = COVARIANCE, num_rows: int = 100, snr: Any = None, **more: Any
) -> Planned:
    """Filters 0 and 1 are kept; SNR and signal rise with the filter's index."""
    structure = trace(NETWORK, torch.zeros(2, 3, 5, 5))
    cost = CostModel.of(NETWORK, structure)
    moments_CC = torch.zeros(6, 6, dtype=torch.float64)
    moments_CC[:5, :5] = num_rows * (torch.from_numpy(covariance_CC) + 1)
    moments_CC[5] = moments_CC[:, 5] = num_rows
    layer = SimpleNamespace(moments_CC=moments_CC, num_positions=num_rows)
    statistics = Statistics({"2": layer}, 3, 100)  # type: ignore[dict-item]
    group = SimpleNamespace(
        reader="2",
        snr_F=np.arange(5.0) if snr is None else np.array(snr),
        signal_F=np.arange(5.0),
        labels=SimpleNamespace(of=lambda unit: CLUSTERS[unit]),
    )
    spectrum = SimpleNamespace(groups=(group,))
    measured = Measured(structure, cost, statistics, spectrum)  # type: ignore[arg-type]
    plan = Plan((LayerPlan("0", 5, (0, 1)),))
    amounts = Amounts.of(cost, [5])
    found = Planned(NETWORK, measured, Ranking("l1", order=(), scores=(), error=()), plan, amounts)
    return replace(found, measured=replace(measured, **more))


def test_a_copy_follows_and_an_independent_filter_does_not() -> None:
    assert share_reproduced(COVARIANCE, chosen(2), chosen(0, 1)) == pytest.approx(1, abs=1e-6)
    assert share_reproduced(COVARIANCE, chosen(3), chosen(0, 1)) == pytest.approx(0, abs=1e-6)
    assert share_reproduced(COVARIANCE, chosen(2), chosen(1)) == pytest.approx(0, abs=1e-6)
    assert share_reproduced(COVARIANCE, chosen(4), chosen(0, 1)) is None


def test_the_share_is_that_of_least_squares_on_the_rows() -> None:
    rows = np.random.default_rng(0).normal(size=(500, 4))
    target = rows[:, :3] @ [1.0, -2.0, 0.5] + 2 * rows[:, 3]
    covariance_CC = np.cov(np.column_stack([rows[:, :3], target]), rowvar=False)
    design = np.column_stack([rows[:, :2], np.ones(500)])
    missed = target - design @ np.linalg.lstsq(design, target)[0]
    found = share_reproduced(covariance_CC, chosen(3, num=4), chosen(0, 1, num=4))
    assert found == pytest.approx(1 - missed.var() / target.var(), abs=1e-5)


def test_channels_are_predicted_within_their_convolution_group() -> None:
    copies = np.ones((4, 4))
    assert share_reproduced(copies, chosen(3, num=4), chosen(0, num=4), 2) == pytest.approx(0)
    assert share_reproduced(copies, chosen(3, num=4), chosen(0, 2, num=4), 2) == pytest.approx(1)


def test_correlations_keep_their_sign_and_are_unknown_where_nothing_varies() -> None:
    covariance_CC = COVARIANCE.copy()
    covariance_CC[1, 2] = covariance_CC[2, 1] = -1.0
    others = [np.array([i]) for i in (0, 1, 4)]
    assert correlate(covariance_CC, np.array([2]), others) == [1.0, -0.5, None]


def test_the_strongest_removed_filters_are_explained() -> None:
    independent, copy = explain_removed(planned(), LABELS)
    assert (copy.layer, copy.filter, copy.snr, copy.reader) == ("0", 2, 2.0, "2")
    assert copy.labels == ("cat", "dog")
    assert copy.reproduced == pytest.approx(1, abs=1e-6)
    assert copy.closest is not None
    assert copy.closest.correlation == pytest.approx(1)
    assert replace(copy.closest, correlation=1) == AlikeFilter(0, 1, ("cat", "dog"), copy.labels)
    assert (copy.sharing, copy.num_sharing) == ((copy.closest,), 1)
    assert independent.filter == 3
    assert independent.reproduced == pytest.approx(0, abs=1e-6)
    assert [(x.filter, x.shared) for x in independent.sharing] == [(0, ("cat",)), (1, ("ship",))]


def test_the_highest_snr_comes_first_then_the_stronger_signal() -> None:
    assert [x.filter for x in explain_removed(planned(snr=[9, 9, 3, 2, 0]), LABELS)] == [2, 3]
    assert [x.filter for x in explain_removed(planned(snr=[9, 9, 3, 3, 0]), LABELS)] == [3, 2]
    assert [x.filter for x in explain_removed(planned(snr=[9, 9, 3, 0, 0]), LABELS)] == [2]


def test_too_few_rows_no_labels_or_no_statistics_explain_nothing() -> None:
    assert len(explain_removed(planned(num_rows=8), LABELS)) == 2
    assert explain_removed(planned(num_rows=7), LABELS) == ()
    assert explain_removed(planned(spectrum=None), LABELS) == ()
    assert explain_removed(planned(statistics=Statistics({}, 3, 0)), LABELS) == ()
