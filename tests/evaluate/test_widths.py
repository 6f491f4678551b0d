"""Hardware widths on a live network: which layers, which widths, never fewer filters."""

from pathlib import Path

import pytest
import torch
from prune_dl.evaluate.measure.staircase import LayerShape
from prune_dl.evaluate.measure.widths import efficient_widths, layer_shapes, measure_widths, steps
from prune_dl.prune.options import BenchOptions
from prune_dl.prune.structure.tracing.trace import trace
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


def test_layers_are_measured_on_this_machine(tmp_path: Path) -> None:
    shapes = {"a": LayerShape(3, 8, 8), "b": LayerShape(3, 8, 8)}
    full = {"a": 16, "b": 16}
    stairs = measure_widths(shapes, full, BenchOptions(threads=1), cache=tmp_path)
    assert stairs["a"].widths == (8, 16)
    assert stairs["a"] == stairs["b"]
    assert len(list(tmp_path.iterdir())) == 1


def test_efficient_widths_of_a_network_end_at_the_whole_one(tmp_path: Path) -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 12, 3), nn.Flatten(), nn.Linear(192, 2)
    ).eval()
    example = torch.zeros(1, 3, 8, 8)
    structure = trace(model, example)
    found = efficient_widths(model, structure, example, BenchOptions(), cache=tmp_path)
    assert {name: widths[-1] for name, widths in found.items()} == {"0": 16, "2": 12}
    assert set(found["0"]) <= {8, 16}
    assert set(found["2"]) <= {8, 12}
