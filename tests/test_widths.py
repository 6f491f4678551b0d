"""Hardware widths on a live network: which layers, which widths, never fewer filters."""

from pathlib import Path

import pytest
import torch
from prune_dl.evaluate.staircase import LayerShape, Staircase
from prune_dl.evaluate.widths import layer_shapes, measure_widths, snap_widths, steps
from prune_dl.prune.structure.trace import trace
from torch import nn


def network() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 24, 5, stride=2, padding=2),
        nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 32), nn.Linear(32, 5),
    )  # fmt: skip


def test_shapes_are_those_of_a_real_pass_and_hooks_are_gone() -> None:
    model, example = network(), torch.zeros(2, 3, 12, 10)
    shapes = layer_shapes(model, trace(model, example), example)
    assert shapes == {"0": LayerShape(3, 12, 10), "2": LayerShape(16, 12, 10, 5, 2)}
    assert not any(module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize("full", [1, 7, 8, 64, 100, 512, 2048])
def test_steps_are_few_and_end_at_the_full_width(full: int) -> None:
    widths = steps(full)
    assert widths[-1] == full
    assert len(widths) <= 17
    assert all(width % 8 == 0 for width in widths[:-1])


def test_a_plan_is_rounded_up_where_a_staircase_says_so() -> None:
    model, example = network(), torch.zeros(2, 3, 12, 10)
    structure = trace(model, example)
    assert [group.name for group in structure.groups] == ["0", "2", "6"]
    stairs = {"0": Staircase((8, 16), (1.0, 2.0)), "2": Staircase((8, 16, 24), (2.0, 2.1, 2.05))}
    assert snap_widths(structure, [5, 9, 7], stairs) == [8, 24, 7]
    assert snap_widths(structure, [9, 24, 32], stairs) == [16, 24, 32]


def test_layers_are_measured_on_this_machine(tmp_path: Path) -> None:
    shapes = {"a": LayerShape(3, 8, 8), "b": LayerShape(3, 8, 8)}
    full = {"a": 16, "b": 16}
    stairs = measure_widths(shapes, full, threads=1, cache=tmp_path)
    assert stairs["a"].widths == (8, 16)
    assert stairs["a"] == stairs["b"]
    assert len(list(tmp_path.iterdir())) == 1
