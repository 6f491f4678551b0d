"""Whole commands on the made-up device, with the ONNX file that they leave."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from elsewhere import Machine
from prune_dl.prune.command import cli, opening, rank
from prune_dl.prune.inputs.checkpoint import save_checkpoint
from prune_dl.prune.inputs.origin import Origin
from prune_dl.prune.inputs.zoo import build
from prune_dl.prune.job import plan
from test_without_a_device import traced_on_the_cpu

pytestmark = pytest.mark.slow
ARCH = "vgg6:width=0.05,in_channels=1"


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An untrained checkpoint; what opens it puts it on the device."""
    file = tmp_path / "digits.pt"
    origin = Origin(ARCH, 10, "digits", (), (1, 32, 32), (0.5,), (0.5,))
    save_checkpoint(file, build(ARCH, 10, seed=0), origin)
    monkeypatch.setattr(torch.__future__, "_overwrite_module_params_on_conversion", True)
    monkeypatch.setattr(plan, "trace", traced_on_the_cpu)
    monkeypatch.setattr(rank, "trace", traced_on_the_cpu)
    autocast = torch.autocast

    def cast(device_type: str, *args: Any, **named: Any) -> Any:
        return autocast("cpu" if device_type == "meta" else device_type, *args, **named)

    monkeypatch.setattr(torch, "autocast", cast)
    machine = Machine("meta")
    monkeypatch.setattr(opening, "pick_device", lambda name: machine.device)
    with machine:
        yield str(file)
    assert machine.crossed["to device"] > 0


def test_the_job_retrains_exports_and_reports(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    flags = ["--keep", "0.5", "--epochs", "1", "--bench-seconds", "0.05", "--out", str(run)]
    assert cli.run(["--model", model, *flags]) == 0, capsys.readouterr().err
    report = json.loads((run / "report.json").read_text())
    assert report["certificate"]["ok"]
    assert (run / "model.onnx").is_file()


@pytest.mark.parametrize("probe", ["ridge", "softmax", "sgd"])
def test_rank_measures_with_every_probe(
    probe: str, model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = [] if probe == "ridge" else ["--probe-epochs", "1"]
    argv = ["rank", "--model", model, "--probe", probe, *few, "--images", "300"]
    assert cli.run([*argv, "--out", str(tmp_path / "rank")]) == 0, capsys.readouterr().err


def test_evaluate(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["evaluate", "--model", model]) == 0, capsys.readouterr().err
