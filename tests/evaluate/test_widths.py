"""Hardware widths on a live network: which layers, which widths, and no trace of the probing."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from prune_dl.evaluate.measure import widths as module
from prune_dl.evaluate.measure.staircase import LayerShape, Staircase
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


def test_efficient_widths_of_a_network_are_those_of_its_layers_staircases(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """On a machine that takes 16 filters in the time of 8 in the first layer, not in the second."""
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 12, 3), nn.Flatten(), nn.Linear(192, 2)
    ).eval()
    example = torch.zeros(1, 3, 8, 8)
    latency_ms = {LayerShape(3, 8, 8): (1.0, 1.01), LayerShape(16, 6, 6): (1.0, 1.5)}
    asked = []

    def pretend(shape, widths, bench, *, cache):
        asked.append((bench, cache))
        return Staircase(tuple(widths), latency_ms[shape])

    monkeypatch.setattr(module, "measure_staircase", pretend)
    bench = BenchOptions("cuda", latency_batch=8, threads=3)
    found = efficient_widths(model, trace(model, example), example, bench, cache=tmp_path)
    assert found == {"0": (16,), "2": (8, 12)}
    assert asked == [(replace(bench, bench_seconds=module.SECONDS_PER_WIDTH), tmp_path)] * 2


def test_probing_for_widths_leaves_a_training_network_as_it_was() -> None:
    """Two batch norms: one learns its statistics, the other was frozen by its owner."""
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 12, 3),
        nn.BatchNorm2d(12), nn.Flatten(), nn.Linear(192, 2),
    )  # fmt: skip
    example = torch.randn(4, 3, 8, 8)
    structure = trace(model.eval(), example)
    model.train()[4].eval()
    modes = [layer.training for layer in model.modules()]
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert set(layer_shapes(model, structure, example)) == {"0", "3"}
    assert [layer.training for layer in model.modules()] == modes
    assert all(torch.equal(before[name], x) for name, x in model.state_dict().items())
