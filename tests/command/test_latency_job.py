"""Budgets in milliseconds and widths that were measured, end to end, on made-up machines."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import onnxruntime
import pytest
import torch
from prune_dl.prune.command import delivery
from prune_dl.prune.inputs.checkpoint import load_checkpoint
from prune_dl.prune.job import plan as planning
from prune_dl.prune.job.latency_budget import Timed, Yardstick
from prune_dl.prune.options import BenchOptions
from prune_dl.prune.structure.units import Structure
from scenes.jobs import job


@pytest.fixture
def home(trained_file: Path, tmp_path: Path) -> Path:
    """A folder to write to, with a trained network, digits.pt."""
    shutil.copy(trained_file, tmp_path)
    return tmp_path


def test_hardware_widths_are_those_that_were_measured(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[str] = []

    def measured(
        model: object, structure: Structure, example: object, bench: BenchOptions, **_: object
    ) -> dict:
        asked.append(str(bench.provider))
        return {g.name: (*range(3, len(g.units), 3), len(g.units)) for g in structure.groups}

    monkeypatch.setattr(planning, "efficient_widths", measured)
    capsys.readouterr()
    assert job(home, "hw", "--macs", "0.5", "--hardware-widths", "cpu", "--dry-run") == 0
    assert asked == ["cpu"]
    layers = json.loads(capsys.readouterr().out)["layers"]
    assert any(layer["num_kept"] < layer["num_filters"] for layer in layers)
    assert all(layer["num_kept"] in (*range(0, 999, 3), layer["num_filters"]) for layer in layers)


def test_hardware_widths_and_another_choice_of_widths_exclude_each_other(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ("--keep", "0.5", "--hardware-widths", "cpu", "--multiple", "8")
    assert job(home, "both", *flags) == 2
    assert "--multiple" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--latency-ms", "0"), "--latency-ms 0"),
        (("--latency-ms", "3", "--keep", "0.5"), "--keep and --latency-ms given"),
        (("--latency-ms", "3", "--hardware-widths", "cpu", "--multiple", "8"), "--multiple"),
    ],
)
def test_impossible_latency_budgets_are_refused(
    home: Path, capsys: pytest.CaptureFixture[str], flags: tuple[str, ...], words: str
) -> None:
    assert job(home, "never", *flags) == 2
    assert words in capsys.readouterr().err


@pytest.fixture
def even_machine(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose time is 4 ms times the share of the parameters, until the benchmark."""
    network = load_checkpoint(str(home / "digits.pt")).model
    whole = sum(p.numel() for p in network.parameters())

    def pretended_ms(model: torch.nn.Module) -> float:
        return 4.0 * sum(p.numel() for p in model.parameters()) / whole

    def measure(*model: torch.nn.Module, thorough: bool) -> Timed:
        return Timed(*[pretended_ms(model[1])] * 3)

    yardstick = Yardstick(home / "original.onnx", BenchOptions(), 4.0, home)
    monkeypatch.setattr(Yardstick, "of", staticmethod(lambda *_: yardstick))
    monkeypatch.setattr(Yardstick, "measure", measure)
    monkeypatch.setattr(planning, "efficient_widths", lambda *_, **__: {})


@pytest.mark.usefixtures("even_machine")
@pytest.mark.parametrize(
    ("ratio", "code"), [(1.99, 0), pytest.param(1.9, 4, marks=pytest.mark.slow)]
)
def test_a_latency_budget_takes_the_widest_network_that_is_fast_enough(
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    ratio: float,
    code: int,
) -> None:
    compare = delivery.compare
    monkeypatch.setattr(delivery, "compare", lambda *a, **k: replace(compare(*a, **k), ratio=ratio))
    out = f"fast-{code}"
    assert job(home, out, "--latency-ms", "2", "--epochs", "0") == code
    report = json.loads((home / out / "report.json").read_text())
    assert 0.45 < report["params"]["final"] / report["params"]["original"] <= 0.5
    assert report["benchmark"]["reference_ms"] == 4.0
    assert any("--latency-ms 2 led to" in warning for warning in report["warnings"])
    assert ("takes 2.11 ms, more than --latency-ms 2" in capsys.readouterr().err) == (code == 4)


@pytest.mark.skipif(
    "OpenVINOExecutionProvider" in onnxruntime.get_available_providers(),
    reason="OpenVINO is installed",
)
def test_a_provider_that_cannot_be_used_stops_the_job_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before the model is opened: that file is missing, which would be another error."""
    assert job(tmp_path, "elsewhere", "--keep", "0.5", "--provider", "openvino") == 2
    error = capsys.readouterr().err
    assert "--provider openvino given; expected one of the installed ONNX Runtime" in error
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("even_machine")
def test_a_latency_that_cannot_be_met_is_refused_with_the_fastest(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert job(home, "missed", "--latency-ms", "1e-5", "--epochs", "0") == 4
    message = capsys.readouterr().err
    assert "--latency-ms 1e-05 cannot be met: the original takes 4 ms" in message
    found = re.search(r"the fastest plan that was measured ([\d.]+) ms", message)
    assert found is not None
    assert 0 < float(found[1]) < 1
    assert not (home / "missed").exists()
