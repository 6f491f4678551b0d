"""The benchmark of a step runs, and weights are updated in one kernel where torch has one."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest
import torch
from prune_dl.prune.training.recipe import Training
from prune_dl.prune.training.state import Length, start_training
from torch import nn

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "training_step.py"


@pytest.mark.parametrize(("device", "is_fused"), [("cpu", True), ("meta", False)])
def test_the_optimizer_is_fused_where_torch_can(device: str, is_fused: bool) -> None:
    state = start_training(nn.Linear(2, 2, device=device), Training(), Length(4, 2))
    assert state.optimizer.defaults["fused"] is is_fused


def test_complex_weights_are_updated_one_after_the_other() -> None:
    layer = nn.Linear(2, 2, dtype=torch.complex64)
    assert not start_training(layer, Training(), Length(4, 2)).optimizer.defaults["fused"]


def test_the_benchmark_of_a_step_prints_ratios(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = importlib.util.spec_from_file_location("training_step", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    small = ["--size", "8", "--batch", "4", "--steps", "2", "--rounds", "1", "--clock", "cpu"]
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *small])
    module.main()
    printed = json.loads(capsys.readouterr().out)
    assert printed["ratio_to_by_hand"]["by hand"] == 1
    assert printed["step_ms"]["product"] > 0
    assert printed["part_ms"]["teacher"] > 0


def test_folding_changes_no_answer() -> None:
    spec = importlib.util.spec_from_file_location("training_step", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()).eval()
    net[1].running_mean.normal_()
    images = torch.randn(2, 3, 8, 8)
    folded = module.folded_copy(net)
    assert isinstance(folded[1], nn.Identity)
    torch.testing.assert_close(folded(images), net(images))
