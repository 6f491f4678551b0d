"""Label matrices: what is shown, in which order, and that the figures belong to the labels."""

from types import SimpleNamespace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from prune_dl.evaluate.report.pictures import (
    MAX_LABELS_SHOWN,
    MeasuredFilter,
    draw_filter,
    order_labels,
    strongest_and_weakest,
)
from prune_dl.prune.structure.plan import LayerPlan, Plan


def draw(field_KK, clusters, labels):
    return draw_filter(MeasuredFilter("conv", 3, field_KK, clusters, 0.5, 2.0, True), labels)


def test_clusters_become_blocks_larger_first_then_the_rest_in_order():
    shown, sizes = order_labels(np.eye(6), [(1, 4), (0, 2, 5)])
    assert shown == [0, 2, 5, 1, 4, 3]
    assert sizes == (3, 2)


@given(st.integers(1, 60), st.data())
def test_shows_each_label_once_and_no_more_than_fit(num_labels, data):
    labels = data.draw(st.permutations(range(num_labels)))
    cut = data.draw(st.integers(0, num_labels))
    clusters = [part for part in (sorted(labels[:cut]), sorted(labels[cut : cut + 3])) if part]
    shown, sizes = order_labels(np.eye(num_labels), clusters)
    assert len(shown) == len(set(shown)) == min(num_labels, MAX_LABELS_SHOWN)
    assert sum(sizes) <= len(shown)
    assert set(shown[: sum(sizes)]) <= {label for cluster in clusters for label in cluster}


def test_among_many_labels_the_strongest_join_the_clusters():
    field_KK = np.diag(np.arange(100.0))
    shown, _ = order_labels(field_KK, [(1, 2)])
    assert shown == [1, 2, *range(86, 100)]


def test_entries_are_shares_of_the_maximum_at_their_labels():
    field_KK = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, -6.0], [7.0, 8.0, 10.0]])
    picture = draw(field_KK, [(1, 2)], ["a", "b", "c"])
    assert picture.labels == ("b", "c", "a")
    assert picture.field == ((0.5, -0.6, 0.4), (0.8, 1.0, 0.7), (0.2, 0.3, 0.1))


def test_a_field_without_a_positive_entry_is_drawn_empty():
    picture = draw(-np.ones((3, 3)), [], ["a", "b", "c"])
    assert picture.field == ((0.0,) * 3,) * 3
    assert picture.clusters == ()


def spectrum_of(*strengths_F):
    groups = [
        None
        if strength_F is None
        else SimpleNamespace(
            snr_F=np.asarray(strength_F),
            signal_F=np.ones(len(strength_F)),
            sharpness_F=np.ones(len(strength_F)),
            field=lambda unit: np.ones((2, 2)),
            labels=SimpleNamespace(of=lambda unit: ()),
        )
        for strength_F in strengths_F
    ]
    return SimpleNamespace(groups=tuple(groups))


def plan_of(*widths):
    return Plan(tuple(LayerPlan(f"layer{i}", width, (0, 1)) for i, width in enumerate(widths)))


def test_strongest_come_first_weakest_last_and_unmeasured_layers_are_passed_over():
    spectrum = spectrum_of(None, [1.0, 5.0, 3.0, 2.0, 4.0])
    pictures = strongest_and_weakest(spectrum, plan_of(4, 5), ["a", "b"])
    assert [(p.layer, p.filter) for p in pictures] == [("layer1", i) for i in (1, 4, 3, 0)]
    assert [p.kept for p in pictures] == [True, False, False, True]


def test_a_narrow_layer_shows_no_filter_twice():
    pictures = strongest_and_weakest(spectrum_of([1.0, 2.0, 3.0]), plan_of(3), ["a", "b"])
    assert [p.filter for p in pictures] == [2, 1, 0]


def test_first_middle_and_last_layer_are_shown():
    pictures = strongest_and_weakest(spectrum_of(*[[1.0]] * 7), plan_of(*[1] * 7), ["a", "b"])
    assert [p.layer for p in pictures] == ["layer0", "layer3", "layer6"]


def test_nothing_measured_shows_nothing():
    assert strongest_and_weakest(spectrum_of(None), plan_of(3), []) == ()
