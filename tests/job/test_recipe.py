"""How a repaired network is retrained: gently, and with what its inputs and outputs allow."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from prune_dl.prune.job.known import Case
from prune_dl.prune.job.stages import recipe_for
from prune_dl.prune.options import RetrainOptions
from prune_dl.prune.training.recipe import Training

PICTURES, TOKENS = torch.rand(2, 3, 4, 4), torch.ones(2, 5, dtype=torch.long)


def case_of(
    example: Any = PICTURES, *, outputs: object | None = None, unlabeled: bool = False
) -> Case:
    data = SimpleNamespace(unlabeled=unlabeled)
    return cast(Case, SimpleNamespace(example=example, outputs=outputs, data=data, seed=3))


def recipe(case: Case, **given: Any) -> tuple[float, float, float]:
    found = recipe_for(case, RetrainOptions(epochs=1, **given))
    assert found.seed == 3
    return found.lr, found.mixup, found.distill


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        (case_of(), (0.005, 0.5, 0.7)),
        (case_of({"image": PICTURES, "depth": PICTURES}), (0.005, 0.5, 0.7)),
        (case_of(unlabeled=True), (0.005, 0.5, 1.0)),
        (case_of(TOKENS), (0.005, 0.0, 0.7)),
        (case_of({"image": PICTURES, "tokens": TOKENS}), (0.005, 0.0, 0.7)),
        (case_of(outputs=object(), unlabeled=True), (0.02, 0.0, 1.0)),
    ],
)
def test_blends_are_made_where_inputs_have_blends_and_labels_judge(
    case: Case, expected: tuple[float, float, float]
) -> None:
    assert recipe(case) == expected


def test_what_is_given_wins() -> None:
    assert recipe(case_of(), lr=0.1, mixup=0.0, distill=False) == (0.1, 0.0, 0.0)
    assert recipe(case_of(outputs=object(), unlabeled=True), lr=0.1) == (0.1, 0.0, 1.0)


def test_a_recipe_says_what_a_reader_has_to_know() -> None:
    words = Training(epochs=1, lr=0.005, averaging=0.99).in_words
    assert words == "1 epoch of SGD, 128 images a step, peak rate 0.005, weights averaged by 0.99"
