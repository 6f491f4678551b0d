import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from prune_dl.prune.mechanism.clusters import find_clusters, threshold
from prune_dl.prune.mechanism.fields import output_fields
from prune_dl.prune.mechanism.snr import layer_snr, sharpness, signal, unit_snr

Fields = NDArray[np.float32]
Ones = NDArray[np.bool_]

fields_of = st.integers(1, 7).flatmap(
    lambda k: hnp.arrays(
        np.float32,
        st.tuples(st.integers(1, 5), st.just(k), st.just(k)),
        elements=st.floats(-1, 1, width=16),
    )
)
ones_of = fields_of.map(lambda fields: fields > 0)


def clusters_one_by_one(ones_KK: Ones) -> list[list[int]]:
    """The published search, written down as it is told."""
    left = [j for j in range(len(ones_KK)) if ones_KK[j, j]]
    found = []
    while left:
        cluster = [left.pop(0)]
        for label in list(left):
            if ones_KK[np.ix_([*cluster, label], [*cluster, label])].all():
                cluster.append(label)
                left.remove(label)
        found.append(cluster)
    return found


@settings(deadline=None, max_examples=200)
@given(ones_of)
def test_the_vectorised_search_is_the_published_one(ones_UKK: Ones) -> None:
    found = find_clusters(ones_UKK)
    for unit, ones_KK in enumerate(ones_UKK):
        expected = clusters_one_by_one(ones_KK)
        assert [list(cluster) for cluster in found.of(unit)] == expected
        assert found.num_clusters_U[unit] == len(expected)
        assert found.num_labels_U[unit] == np.trace(ones_KK)


@settings(deadline=None, max_examples=200)
@given(ones_of)
def test_noise_is_what_lies_outside_the_blocks(ones_UKK: Ones) -> None:
    found = find_clusters(ones_UKK)
    for unit, ones_KK in enumerate(ones_UKK):
        outside = ones_KK.copy()
        for cluster in clusters_one_by_one(ones_KK):
            outside[np.ix_(cluster, cluster)] = False
        inside_labels = [label for cluster in found.of(unit) for label in cluster]
        assert found.noise_U[unit] == outside.sum()
        assert found.noise_in_U[unit] == outside[:, inside_labels].sum()


def test_an_example_by_hand() -> None:
    field = np.array(
        [[1.0, 0.9, 0.0, 0.0], [0.8, 0.5, 0.0, 0.4], [0.0, 0.0, 0.31, 0.0], [0.9, 0.0, 0.0, 0.3]],
        dtype=np.float32,
    )
    found = find_clusters(threshold(torch.from_numpy(field[None])))
    assert found.of(0) == ((0, 1), (2,))
    assert (found.noise_U[0], found.noise_in_U[0]) == (2, 1)


@pytest.mark.parametrize("value", [0.0, -1.0])
def test_a_field_without_a_positive_entry_has_no_cluster(value: float) -> None:
    found = find_clusters(threshold(torch.full((1, 4, 4), value)))
    assert found.of(0) == ()
    assert (found.num_clusters_U[0], found.num_labels_U[0], found.noise_U[0]) == (0, 0, 0)


def test_the_greedy_search_depends_on_the_order_of_labels() -> None:
    chain = np.eye(3, dtype=bool)
    chain[0, 1] = chain[1, 0] = chain[1, 2] = chain[2, 1] = True
    order = [1, 2, 0]
    assert find_clusters(chain[None]).of(0) == ((0, 1), (2,))
    assert find_clusters(chain[np.ix_(order, order)][None]).of(0) == ((0, 1), (2,))  # {1, 2}, {0}


def test_a_thousand_labels_in_one_block() -> None:
    found = find_clusters(np.ones((2, 1000, 1000), dtype=bool))
    assert found.num_clusters_U.tolist() == [1, 1]
    assert found.noise_U.tolist() == [0, 0]


@settings(deadline=None)
@given(fields_of, st.sampled_from([0.25, 2.0, 1024.0]))
def test_a_positive_scale_changes_no_label(fields_UKK: Fields, scale: float) -> None:
    plain = torch.from_numpy(fields_UKK)
    assert np.array_equal(threshold(plain), threshold(plain * scale))


@settings(deadline=None)
@given(ones_of, st.integers(0, 1000))
def test_new_names_for_the_labels_change_no_score(ones_UKK: Ones, seed: int) -> None:
    order = np.random.default_rng(seed).permutation(ones_UKK.shape[1])
    before, after = find_clusters(ones_UKK), find_clusters(ones_UKK[:, order][:, :, order])
    assert np.array_equal(sharpness(after), sharpness(before))
    assert np.array_equal(unit_snr(after), unit_snr(before))
    assert layer_snr(after) == layer_snr(before)


def test_sharpness_of_clean_clusters() -> None:
    blocks = np.zeros((4, 6, 6), dtype=bool)
    blocks[0, 2, 2] = True
    blocks[1, :3, :3] = True
    blocks[2] = True
    np.testing.assert_allclose(sharpness(find_clusters(blocks)), [1, 1 / 3, 1 / 6, 0])


def test_snr_is_the_mean_diagonal_over_the_mean_of_the_rest() -> None:
    ones = np.zeros((2, 3, 3), dtype=bool)
    ones[0, [0, 1], [0, 1]] = True
    ones[1, [0, 0, 2], [0, 1, 2]] = True
    found = find_clusters(ones)
    assert layer_snr(found) == pytest.approx((4 / 3) / (1 / 6 + 1 / 6))
    np.testing.assert_allclose(unit_snr(found), [(2 / 3) / (1 / 6), (2 / 3) / (2 / 6)])
    assert layer_snr(find_clusters(np.zeros((2, 3, 3), dtype=bool))) == 0


def test_a_layer_that_says_nothing_of_labels_has_snr_one() -> None:
    everywhere = np.ones((50, 10, 10), dtype=bool)
    assert layer_snr(find_clusters(everywhere)) == pytest.approx(1, abs=1e-3)


def test_signal_is_the_lead_of_the_diagonal() -> None:
    generator = torch.Generator().manual_seed(0)
    weights_UKQ, means_UKQ = (torch.randn(5, 3, 4, generator=generator) for _ in range(2))
    field_UKK = output_fields(weights_UKQ, means_UKQ).numpy()
    on = np.eye(3, dtype=bool)
    expected = field_UKK[:, on].mean(1) - field_UKK[:, ~on].mean(1)
    np.testing.assert_allclose(signal(weights_UKQ, means_UKQ), expected, rtol=1e-5)
