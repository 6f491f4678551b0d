"""What a cut takes and what it leaves."""

from collections.abc import Callable

import numpy as np
import pytest
from prune_dl.prune.errors import InputError
from prune_dl.prune.structure.cut import Cut
from prune_dl.prune.structure.plan import LayerPlan, Plan, keep_everything
from prune_dl.prune.structure.tracing.trace import trace
from prune_dl.prune.structure.units import Group, Structure
from scenes import structure_zoo as zoo
from scenes.attention import Attention, transformer
from scenes.plans import random_plan


def attentive() -> zoo.Built:
    return transformer(Attention(24, 4)), zoo.images()


@pytest.mark.parametrize("build", [*zoo.EXACT, attentive], ids=lambda build: build.__name__)
@pytest.mark.parametrize("share", [0.1, 0.6])
def test_kept_and_removed_are_the_two_parts_of_every_axis(
    build: Callable[[], zoo.Built], share: float
) -> None:
    structure = trace(*build())
    cut = Cut(structure, random_plan(structure, share))
    assert len(cut.removed)
    assert (np.diff(cut.removed) > 0).all()
    for key, units in structure.axes.items():
        gone = np.flatnonzero(np.isin(units, cut.removed))
        assert (key in cut.kept) == (len(gone) > 0)
        kept = cut.kept.get(key, np.arange(len(units)))
        assert (np.diff(kept) > 0).all()
        np.testing.assert_array_equal(np.sort([*kept, *gone]), np.arange(len(units)))
    assert cut.kept.keys() <= structure.axes.keys()


@pytest.mark.parametrize("build", [*zoo.EXACT, attentive], ids=lambda build: build.__name__)
def test_a_plan_that_keeps_everything_cuts_nothing(build: Callable[[], zoo.Built]) -> None:
    structure = trace(*build())
    cut = Cut(structure, keep_everything(structure))
    assert len(cut.removed) == 0
    assert cut.kept == {}


def test_a_hand_made_cut_with_positions_that_always_stay() -> None:
    def units(*ids: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        return np.array(ids, dtype=np.int64)

    groups = (Group("a", ("a",), ("b",), units(0, 1, 2)), Group("b", ("b",), (), units(3, 4)))
    axes = {
        ("a.weight", 0): units(0, 1, 2),
        ("b.weight", 1): units(-1, 2, 1, 0, 2, -1),
        ("b.weight", 0): units(3, -1, 4),
    }
    plan = Plan((LayerPlan("a", 3, (0,)), LayerPlan("b", 2, (0, 1))))
    cut = Cut(Structure(axes, groups, {}), plan)
    assert cut.removed.tolist() == [1, 2]
    assert {key: kept.tolist() for key, kept in cut.kept.items()} == {
        ("a.weight", 0): [0],
        ("b.weight", 1): [0, 3, 5],
    }


def test_a_cut_is_computed_once() -> None:
    structure = trace(*zoo.plain())
    cut = Cut(structure, random_plan(structure))
    assert cut.kept is cut.kept
    assert cut.removed is cut.removed


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda layers: layers[:-1], "none in the plan|no filters in the plan"),
        (lambda layers: (*layers, LayerPlan("other", 4, (0,))), "other: 4 filters in the plan"),
        (lambda layers: layers[::-1], "another order"),
        (lambda layers: (*layers, layers[0]), "another order"),
    ],
)
def test_a_plan_of_another_network_is_refused(
    change: Callable[[tuple[LayerPlan, ...]], tuple[LayerPlan, ...]], said: str
) -> None:
    structure = trace(*zoo.residual())
    whole = keep_everything(structure)
    assert len(whole.removed_units(structure)) == 0
    with pytest.raises(InputError, match=said):
        Plan(change(whole.layers)).removed_units(structure)
