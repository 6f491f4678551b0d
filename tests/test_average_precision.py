"""Average precision against scikit-learn, its interval, and what becomes a score of which kind."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from prune_dl.prune.average_precision import (
    average_precision,
    mean_over_labels,
    resampled_means,
)
from prune_dl.prune.errors import InputError
from prune_dl.prune.scores import Accuracy, MeanPrecision, Tally
from sklearn.metrics import average_precision_score, f1_score


def some_answers(seed: int, num_images: int, num_labels: int, levels: int) -> tuple:
    """Scores with many ties, and targets that follow them; every label occurs."""
    randomness = np.random.default_rng(seed)
    targets_NK = (randomness.random((num_images, num_labels)) < 0.4).astype(np.int64)
    targets_NK[randomness.integers(num_images), :] = 1
    noise_NK = randomness.normal(size=targets_NK.shape)
    return np.round((targets_NK + noise_NK) * levels) / levels, targets_NK


@given(st.integers(0, 10_000), st.integers(1, 40), st.integers(1, 4), st.integers(1, 5))
def test_it_is_that_of_scikit_learn_also_where_scores_tie(seed, num_images, num_labels, levels):
    scores_NK, targets_NK = some_answers(seed, num_images, num_labels, levels)
    labels = zip(scores_NK.T, targets_NK.T, strict=True)
    expected = [average_precision_score(targets_N, scores_N) for scores_N, targets_N in labels]
    np.testing.assert_allclose(average_precision(scores_NK, targets_NK), expected, atol=1e-12)


@given(st.integers(0, 10_000))
def test_weights_are_images_that_occur_so_often(seed):
    scores_NK, targets_NK = some_answers(seed, 12, 3, 2)
    counts_N = np.random.default_rng(seed).integers(0, 4, 12)
    found_K = average_precision(scores_NK, targets_NK, counts_N[None].astype(float))[0]
    repeated = (np.repeat(x, counts_N, axis=0) for x in (scores_NK, targets_NK))
    np.testing.assert_allclose(found_K, average_precision(*repeated), atol=1e-12)


def test_a_label_that_no_image_has_does_not_count():
    scores_NK, targets_NK = np.array([[2.0, 1.0], [1.0, 2.0]]), np.array([[1, 0], [0, 0]])
    values_K = average_precision(scores_NK, targets_NK)
    assert values_K[0] == 1
    assert np.isnan(values_K[1])
    assert mean_over_labels(values_K) == 1
    assert mean_over_labels(np.array([np.nan])) == 0


def test_the_interval_holds_the_value_narrows_with_images_and_comes_again():
    few, many = (MeanPrecision(*some_answers(0, n, 3, 1000)) for n in (100, 2500))
    for score in (few, many):
        assert 0 <= score.low < score.value < score.high <= 1
        again = MeanPrecision(score.scores_NK, score.targets_NK)
        assert (again.low, again.high) == (score.low, score.high)
    assert (few.high - few.low) / (many.high - many.low) == pytest.approx(5, rel=0.3)
    assert many.error == pytest.approx((many.high - many.low) / 3.92, rel=0.2)
    spread = resampled_means(many.scores_NK, many.targets_NK)
    assert abs(spread.mean() - many.value) < many.error


def test_micro_f1_is_that_of_scikit_learn_at_its_threshold():
    scores_NK, targets_NK = some_answers(3, 200, 4, 1000)
    for threshold in (0.0, 0.5):
        expected = f1_score(targets_NK, scores_NK > threshold, average="micro")
        found = MeanPrecision(scores_NK, targets_NK, threshold).micro_f1
        assert found == pytest.approx(expected, abs=1e-12)


def test_a_tally_counts_labels_and_ranks_rows_of_them():
    scores_NK, targets_NK = (torch.from_numpy(x) for x in some_answers(1, 60, 3, 1000))
    hits, ranks = Tally(), Tally()
    for part in torch.arange(60).split(25):
        hits.add(scores_NK[part], targets_NK[part].argmax(1))
        ranks.add(scores_NK[part], targets_NK[part])
    right = int((scores_NK.argmax(1) == targets_NK.argmax(1)).sum())
    assert hits.score() == Accuracy(right, 60)
    expected = average_precision_score(targets_NK, scores_NK.float(), average="macro")
    assert ranks.score().value == pytest.approx(expected)
    assert ranks.score().name == "mean average precision"
    assert list(hits.score().plain) == ["top1", "low", "high", "correct", "total"]


def test_a_row_for_each_image_or_one_line():
    with pytest.raises(InputError, match=r"3 rows of outputs given for 1 images; expected one"):
        Tally().add(torch.zeros(3, 2), torch.zeros(1, dtype=torch.int64))
