"""An order of the labels that the network's own answers contradict."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prune_dl.prune.settling.answers import Answers
from prune_dl.prune.settling.label_order import best_assignment, find_better_order
from prune_dl.prune.settling.plausibility import chance_notes

FOLDERS = ("0", "1", "10", "2")


def answers_as(output_K: list[int], num_images: int, right: float = 0.8, seed: int = 0) -> Answers:
    """A network whose output output_K[k] is label k, right so often, else any output."""
    randomness = np.random.default_rng(seed)
    labels_N = np.arange(num_images) % len(output_K)
    predicted_N = np.array(output_K)[labels_N]
    is_any = randomness.random(num_images) > right
    predicted_N[is_any] = randomness.integers(0, len(output_K), is_any.sum())
    return Answers(predicted_N, labels_N, len(output_K))


def test_the_natural_order_is_found_by_its_name() -> None:
    found = find_better_order(answers_as([0, 1, 3, 2], 160), FOLDERS)
    assert found is not None
    assert found.is_certain
    assert (found.name, found.labels) == ("natural", ("0", "1", "2", "10"))
    assert found.top1 > 0.75 > 0.55 > found.own_top1
    assert "natural order of their names, 0, 1, 2, 10, it gets" in str(found)


def test_another_order_is_judged_on_images_that_it_was_not_found_on() -> None:
    found = find_better_order(answers_as([2, 0, 3, 1], 160), ("a", "b", "c", "d"))
    assert found is not None
    assert found.is_certain
    assert (found.name, found.labels, found.num_images) == ("", ("b", "d", "a", "c"), 80)


@pytest.mark.parametrize("right", [0.0, 0.3, 0.9])
@pytest.mark.parametrize("seed", range(5))
def test_the_right_order_is_not_doubted(right: float, seed: int) -> None:
    assert find_better_order(answers_as([0, 1, 2, 3], 500, right, seed), FOLDERS) is None


def test_a_constant_answer_fits_no_order_though_one_label_is_frequent() -> None:
    labels_N = np.repeat([0, 1, 2, 3], [20, 20, 60, 400])
    constant = Answers(np.full(500, 2), labels_N, 4)
    assert find_better_order(constant, FOLDERS) is None
    assert chance_notes(constant)


def test_an_untrained_network_whose_answers_depend_on_the_label_is_doubted_not_refused() -> None:
    """All images of labels 2, 3 and 4 get the outputs of these names by chance, others output 7."""
    folders = tuple(sorted(map(str, range(12))))
    by_chance = {folders.index(name): int(name) for name in "234"}
    labels_N = np.arange(480) % 12
    predicted_N = np.array([by_chance.get(label, 7) for label in labels_N])
    found = find_better_order(Answers(predicted_N, labels_N, 12), folders)
    assert found is not None
    assert not found.is_certain


@pytest.mark.parametrize("is_named", [True, False])
def test_of_a_thousand_labels_on_500_images_a_named_order_is_certain_another_is_said(
    is_named: bool,
) -> None:
    folders = tuple(sorted(map(str, range(1000))))
    randomness = np.random.default_rng(1)
    output_K = np.array(list(map(int, folders)) if is_named else randomness.permutation(1000))
    labels_N = randomness.integers(0, 1000, 500)
    predicted_N = np.where(
        randomness.random(500) < (0.4 if is_named else 0.9), output_K[labels_N], 0
    )
    found = find_better_order(Answers(predicted_N, labels_N, 1000), folders)
    assert found is not None
    assert found.is_certain is is_named


@given(st.permutations(range(6)), st.integers(0, 99))
def test_an_assignment_is_one_to_one_and_finds_a_perfect_order(order: list[int], seed: int) -> None:
    assert best_assignment(answers_as(order, 60, 1.0)).tolist() == order
    assert sorted(best_assignment(answers_as(order, 9, 0.0, seed)).tolist()) == list(range(6))


def test_chance_is_the_share_of_the_most_frequent_label() -> None:
    labels_N = np.repeat([0, 1], [90, 10])
    assert "no more than chance (90.0 %)" in chance_notes(Answers(0 * labels_N, labels_N, 2))[0]
    assert not chance_notes(Answers(labels_N, labels_N, 2))
    few = Answers(np.array([0, 1, 1]), np.array([0, 1, 0]), 2)
    assert chance_notes(few)  # three images tell nothing
