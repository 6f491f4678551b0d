"""The main job, end to end on the built-in digits with a small network."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import onnxruntime
import pytest
import torch
from prune_dl.prune import compress, load, rank, shrink
from prune_dl.prune.command import cli, delivery
from prune_dl.prune.folder import output_folder
from prune_dl.prune.inputs.checkpoint import load_checkpoint
from prune_dl.prune.inputs.data import open_data
from prune_dl.prune.inputs.weights import sha256_of
from prune_dl.prune.job import plan as planning
from prune_dl.prune.job.latency_budget import Timed, Yardstick
from prune_dl.prune.options import BenchOptions
from prune_dl.prune.structure.units import Structure
from prune_dl.prune.training import train
from safetensors.torch import load_file
from torch.utils.data import DataLoader, TensorDataset

ARCH = "vgg6:width=0.125"
FILES = {
    "metrics.jsonl",
    "model.onnx",
    "model.safetensors",
    "plan.json",
    "report.html",
    "report.json",
    "run.json",
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a trained network, digits.pt, and a run on it, run/."""
    folder = tmp_path_factory.mktemp("job")
    code = cli.run(
        [
            *("train", "--arch", ARCH, "--epochs", "4", "--batch-size", "64", "--lr", "0.05"),
            *("--out", str(folder / "digits.pt"), "--json"),
        ]
    )
    assert code == 0
    assert job(folder, "run", "--keep", "0.6", "--epochs", "1") == 0
    return folder


def job(folder: Path, out: str, *flags: str) -> int:
    """The whole job on the fixture's network."""
    model = str(folder / "digits.pt")
    seconds = ("--bench-seconds", "0.1", "--json")
    return cli.run(["--model", model, "--out", str(folder / out), *seconds, *flags])


def test_the_folder_holds_what_was_promised_and_nothing_else(home: Path) -> None:
    assert {path.name for path in (home / "run").iterdir()} == FILES
    assert not list(home.glob(".*"))


def test_the_report_is_consistent(home: Path) -> None:
    report = json.loads((home / "run" / "report.json").read_text())
    for stage in ("original", "removed", "repaired", "final"):
        accuracy = report["accuracy"][stage]
        assert 0 <= accuracy["low"] <= accuracy["top1"] <= accuracy["high"] <= 1
    assert report["accuracy"]["original"]["top1"] > 0.6
    filters = report["filters"]
    assert filters["final"] == pytest.approx(round(0.6 * filters["original"]), rel=0.02)
    assert sum(layer["num_kept"] for layer in report["layers"]) >= filters["final"]
    assert report["certificate"]["applies"]
    assert report["certificate"]["ok"]
    assert report["macs"]["final"] < report["macs"]["original"]
    assert {"measure", "rank", "repair", "retrain", "benchmark"} <= report["seconds"].keys()


def test_the_saved_network_and_its_onnx_file_are_the_same(home: Path) -> None:
    network = load(home / "run" / "model.safetensors")
    report = json.loads((home / "run" / "report.json").read_text())
    assert sum(p.numel() for p in network.parameters()) == report["params"]["final"]
    images, _ = next(iter(open_data("digits").test.batches(16, device="cpu")))
    session = onnxruntime.InferenceSession(home / "run" / "model.onnx")
    (logits,) = session.run(None, {"images": images.numpy()})
    with torch.inference_mode():
        torch.testing.assert_close(torch.from_numpy(logits), network(images), rtol=1e-3, atol=1e-3)


def test_a_pruned_network_is_evaluated_exported_and_pruned_again(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = str(home / "run")
    capsys.readouterr()
    assert cli.run(["evaluate", "--model", run, "--json"]) == 0
    measured = json.loads(capsys.readouterr().out)
    report = json.loads((home / "run" / "report.json").read_text())
    assert measured["correct"] == report["accuracy"]["final"]["correct"]
    again = ["--model", run, "--keep", "0.5", "--epochs", "0", "--bench-seconds", "0.1", "--json"]
    assert cli.run([*again, "--out", str(home / "twice")]) == 0
    capsys.readouterr()
    twice = load(home / "twice" / "model.safetensors")
    smaller = json.loads((home / "twice" / "report.json").read_text())
    assert sum(p.numel() for p in twice.parameters()) == smaller["params"]["final"]


def test_a_run_folder_is_a_source_for_a_file_and_for_the_hub(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, out, hub = str(home / "run"), home / "again.onnx", home / "hub"
    assert cli.run(["export", "--model", run, "--out", str(out), "--json"]) == 0
    images = next(iter(open_data("digits").test.batches(8, device="cpu")))[0].numpy()
    answers = [
        onnxruntime.InferenceSession(file).run(None, {"images": images})[0]
        for file in (out, home / "run" / "model.onnx")
    ]
    assert abs(answers[0] - answers[1]).max() < 1e-4
    plan = json.loads((home / "run" / "report.json").read_text())["plan_digest"]
    for file, parts in ((out, {"held_out"}), (home / "run" / "model.onnx", {"held_out", "test"})):
        said = onnxruntime.InferenceSession(file).get_modelmeta().custom_metadata_map
        assert (said["plan"], said["source"]) == (plan, sha256_of(home / "digits.pt"))
        assert set(json.loads(said["accuracy"])) == parts
    report = json.loads((home / "run" / "report.json").read_text())
    assert json.loads(said["accuracy"])["test"]["top1"] == report["accuracy"]["final"]["top1"]
    assert json.loads(said["accuracy"])["held_out"]["top1"] == report["parity"]["held_out"]["top1"]
    assert cli.run(["export", "--model", run, "--hub-folder", str(hub), "--json"]) == 0
    assert {"README.md", "config.json", "model.onnx", "model.safetensors"} < {
        path.name for path in hub.iterdir()
    }
    widths = json.loads((hub / "config.json").read_text())["widths"]
    network = load(hub / "model.safetensors")
    assert all(network.get_submodule(k).weight.shape[0] == v for k, v in widths.items())
    capsys.readouterr()
    assert cli.run(["export", "--model", run, "--hub-folder", str(hub)]) == 2
    assert "not empty" in capsys.readouterr().err
    other = str(home / "other-hub")
    assert cli.run(["export", "--model", run, "--hub-folder", other, "--int8"]) == 2
    assert cli.run(["export", "--model", str(home), "--hub-folder", other]) == 3
    assert "finished run" in capsys.readouterr().err
    assert not Path(other).exists()


def test_the_job_writes_a_hub_folder_or_stops_before_any_work(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ("--keep", "0.7", "--epochs", "0", "--hub-folder", str(home / "job-hub"))
    assert job(home, "with-hub", *flags) == 0
    report = (home / "with-hub" / "report.json").read_bytes()
    assert (home / "job-hub" / "report.json").read_bytes() == report
    assert job(home, "with-hub-2", *flags) == 2
    assert "--hub-folder" in capsys.readouterr().err
    assert not (home / "with-hub-2").exists()


def test_a_dry_run_writes_nothing_and_names_every_layer(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = set(home.iterdir())
    capsys.readouterr()
    assert job(home, "dry", "--keep", "0.5", "--dry-run") == 0
    lines = json.loads(capsys.readouterr().out)["layers"]
    assert [line["name"] for line in lines if line["num_kept"] < line["num_filters"]]
    assert all(line["num_kept"] >= 1 for line in lines)
    assert set(home.iterdir()) == before


def test_a_folder_that_holds_a_run_is_left_alone(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = (home / "run" / "report.json").read_bytes()
    capsys.readouterr()
    assert job(home, "run", "--keep", "0.5") == 2
    assert "holds something already" in capsys.readouterr().err
    assert (home / "run" / "report.json").read_bytes() == report


def test_a_missed_gate_is_exit_code_4(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ("--keep", "0.05", "--epochs", "0", "--no-repair", "--max-drop", "0.01")
    assert job(home, "gate", *flags) == 4
    assert "--max-drop" in capsys.readouterr().err


def test_held_out_images_can_choose_the_ranking(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert job(home, "auto", "--keep", "0.5", "--epochs", "0", "--rank", "auto") == 0
    capsys.readouterr()
    report = json.loads((home / "auto" / "report.json").read_text())
    assert len(report["contest"]) >= 2
    assert report["contest"][report["criterion"]] == max(report["contest"].values())


def test_rank_lists_every_filter(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = home / "ranked"
    model = str(home / "digits.pt")
    assert cli.run(["rank", "--model", model, "--out", str(out), "--json"]) == 0
    layers = json.loads(capsys.readouterr().out)["layers"]
    lines = (out / "filters.csv").read_text().splitlines()
    assert len(lines) == 1 + sum(layer["filters"] for layer in layers)
    assert {path.name for path in out.iterdir()} == {
        "filters.csv",
        "filters.html",
        "run.json",
        "spectrum.safetensors",
    }


def test_data_that_do_not_fit_are_refused(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert job(home, "other", "--keep", "0.5", "--data", "missing-folder/") == 3
    line = capsys.readouterr().err
    assert "missing-folder" in line
    assert not (home / "other").exists()


def test_shrink_needs_no_data_and_leaves_the_network_alone(home: Path) -> None:
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 16, 3), torch.nn.ReLU(), torch.nn.Conv2d(16, 8, 3), torch.nn.Flatten()
    )
    before = {name: value.clone() for name, value in network.state_dict().items()}
    small = shrink(network, torch.randn(2, 3, 8, 8), keep=0.5)
    assert small.certificate.ok
    assert small.model[0].out_channels == 8
    assert small.kept_whole
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())


def test_compress_works_on_the_users_own_loader(home: Path, tmp_path: Path) -> None:
    data = open_data("digits")
    images, labels_N = next(iter(data.train.batches(600, device="cpu", shuffle_seed=0)))
    network = torch.load(home / "digits.pt", weights_only=True)
    from prune_dl.prune.inputs.zoo import build

    model = build(network["origin"]["arch"], 10)
    model.load_state_dict(network["state_dict"])
    loader = DataLoader(TensorDataset(images, labels_N), batch_size=64)
    result = compress(model, loader, 10, keep=0.6, epochs=1)
    assert result.outcome.certificate.ok
    result.save(tmp_path / "small.safetensors")
    again = load(tmp_path / "small.safetensors", build(network["origin"]["arch"], 10))
    with torch.inference_mode():
        # The memory format differs, so the last bits may.
        torch.testing.assert_close(again(images[:4]), result.model.cpu().eval()(images[:4]))


def test_rank_from_python_sees_labels_get_clearer_with_depth(home: Path) -> None:
    data = open_data("digits")
    model = load(home / "run" / "model.safetensors")
    spectrum = rank(
        model,
        data.train.batches(250, device="cpu"),
        data.held_out.batches(250, device="cpu"),
        10,
    )
    rates = [point.success_rate for point in spectrum.depth]
    assert max(rates) > 0.6


def test_an_interrupt_ends_with_130_and_leaves_nothing(home: Path) -> None:
    script = (
        "import sys\n"
        "from prune_dl.prune.command import cli\n"
        "from prune_dl.prune.job import steps\n"
        "def interrupt(*a, **k): raise KeyboardInterrupt\n"
        "steps.make_plan = interrupt\n"
        "cli.main(sys.argv[1:])\n"
    )
    argv = ["--model", str(home / "digits.pt"), "--keep", "0.5", "--out", str(home / "stopped")]
    done = subprocess.run([sys.executable, "-c", script, *argv], capture_output=True, text=True)
    assert done.returncode == 130
    assert "interrupted" in done.stderr
    assert not list(home.glob("*stopped*")) + list(home.glob(".stopped*"))


def test_a_failure_leaves_none_of_the_folders_made_for_it(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="x"), output_folder(tmp_path / "runs" / "vgg"):
        raise ValueError("x")
    assert not list(tmp_path.iterdir())


def test_an_interrupted_retraining_is_resumed_to_the_same_network(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = train.save_state

    def save_and_interrupt(path: Path, *rest: object) -> None:
        save(path, *rest)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    flags = ("--keep", "0.5", "--epochs", "2")
    assert job(home, "straight", *flags) == 0
    with monkeypatch.context() as patch:
        patch.setattr(train, "save_state", save_and_interrupt)
        assert job(home, "halted", *flags) == 130
    assert not (home / "halted").exists()
    assert (home / ".halted.partial" / "retraining.pt").exists()
    assert job(home, "halted", *flags, "--resume") == 0
    assert not (home / ".halted.partial").exists()
    rows = (home / "halted" / "metrics.jsonl").read_text().splitlines()
    retrained = [row for row in map(json.loads, rows) if row.get("stage") == "retrain"]
    assert [row["epoch"] for row in retrained] == [1, 2]
    one, other = (load_file(home / name / "model.safetensors") for name in ("straight", "halted"))
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_hardware_widths_are_those_that_were_measured(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def measured(
        model: object, structure: Structure, example: object, bench: BenchOptions, **_: object
    ) -> dict:
        asked.append(bench.provider)
        return {g.name: (*range(3, len(g.units), 3), len(g.units)) for g in structure.groups}

    monkeypatch.setattr(planning, "efficient_widths", measured)
    assert job(home, "hw", "--macs", "0.5", "--epochs", "0", "--hardware-widths", "cpu") == 0
    assert asked == ["cpu"]
    layers = json.loads((home / "hw" / "plan.json").read_text())["layers"]
    assert any(len(layer["kept"]) < layer["num_filters"] for layer in layers)
    assert all(len(layer["kept"]) in (*range(0, 999, 3), layer["num_filters"]) for layer in layers)


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


@pytest.mark.parametrize(("ratio", "code"), [(1.99, 0), (1.9, 4)])
def test_a_latency_budget_takes_the_widest_network_that_is_fast_enough(
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    ratio: float,
    code: int,
) -> None:
    """On a machine whose time is 4 ms times the share of the parameters, until the benchmark."""
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
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert job(home, "elsewhere", "--keep", "0.5", "--provider", "openvino") == 2
    captured = capsys.readouterr()
    assert "--provider openvino given; expected one of the installed ONNX Runtime" in captured.err
    assert "measure" not in captured.err
    assert not (home / "elsewhere").exists()


def test_a_latency_that_cannot_be_met_is_refused_with_the_fastest(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert job(home, "missed", "--latency-ms", "1e-5", "--epochs", "0") == 4
    message = capsys.readouterr().err
    assert "--latency-ms 1e-05 cannot be met: the original takes" in message
    assert not (home / "missed").exists()
