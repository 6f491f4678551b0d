"""Without --json: what a person sees of every command, held against what --json or a file says.

On stderr there is a line for every finished stage; bars are drawn on a terminal alone.
"""

import json
import platform
import shlex
import shutil
from pathlib import Path

import pytest
from prune_dl.prune.command import cli
from scenes.jobs import FinishedRun
from scenes.terminal import Captured, beyond_inputs, document, facts_of, rows_of, share, shown


@pytest.fixture
def home(trained_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with a trained network in it, digits.pt: short names fit a table."""
    shutil.copy(trained_file, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_job_shows_accuracy_of_every_stage_and_cost_before_and_after(
    finished_run: FinishedRun,
) -> None:
    report = json.loads((finished_run.folder / "report.json").read_text())
    rows = rows_of(finished_run.stdout)
    assert rows[0] == ["stage", "top-1", "95 % interval"]
    for row, stage in zip(rows[1:5], ("original", "removed", "repaired", "final"), strict=True):
        found = report["accuracy"][stage]
        low, top1, high = (f"{100 * found[name]:.2f}" for name in ("low", "top1", "high"))
        assert row == [stage, top1, f"{low} to {high}"]
    costs = {row[0]: row[1:] for row in rows[5:]}
    assert costs["filters"] == [str(report["filters"][x]) for x in ("original", "final")]
    for name, unit, key in (
        ("MACs", "M", "macs"),
        ("parameters", "M", "params"),
        ("ONNX file", "MB", "size_bytes"),
    ):
        ends = (report[key][end] / 1e6 for end in ("original", "final"))
        assert costs[name] == [f"{end:.2f} {unit}" for end in ends]
    assert costs["latency p50"] == [
        f"{report['latency_ms'][end]['p50']:.2f} ms" for end in ("original", "final")
    ]
    ratio = report["latency_ratio"]
    ends = f"{ratio['low']:.2f} to {ratio['high']:.2f}"
    assert f"{ratio['value']:.2f} times as fast (95 % interval {ends})" in finished_run.stdout
    assert beyond_inputs(finished_run.stderr) == []


def test_the_job_shows_every_warning_of_its_report(finished_run: FinishedRun) -> None:
    warnings = json.loads((finished_run.folder / "report.json").read_text())["warnings"]
    assert any("The test part has only 359 images" in line for line in warnings)
    single = [line for line in warnings if not line.startswith("Not refitted: ")]
    for warning in single:
        assert f"note: {warning}" in finished_run.stdout
    notes = [line for line in finished_run.stdout.splitlines() if line.startswith("note: ")]
    assert len(notes) == len(single) + (len(single) < len(warnings))


def test_the_job_ends_with_where_its_result_is_and_what_to_try(finished_run: FinishedRun) -> None:
    text = finished_run.stdout
    assert f"result: {finished_run.folder}, after " in text
    assert f"open in a browser: {finished_run.folder / 'report.html'}" in text
    steps = [shlex.split(line) for line in text.partition("next:\n")[2].splitlines()]
    assert [words[1] for words in steps] == ["bench", "export", "sweep"]
    for words in steps:
        assert cli.parse(words[1:]) is not None


def test_a_dry_run_shows_the_plan_and_why_a_layer_stays_whole(home: Path, capsys: Captured) -> None:
    argv = ("--model", "digits.pt", "--keep", "0.5", "--dry-run")
    found, text = document(capsys, *argv), shown(capsys, *argv)
    layers = found["layers"]
    names, *rows = rows_of(text)
    costs = ["MACs", "MACs kept", "params", "params kept"]
    assert names == ["layer", "filters", "kept", *costs, "SR, %"]
    assert [row[:3] for row in rows] == [
        [line["name"], str(line["num_filters"]), str(line["num_kept"])] for line in layers
    ]
    assert "classifier stays whole: it is the output of the network" in text
    facts = facts_of(text)
    for name, key in (("filters", "filters"), ("MACs", "macs"), ("parameters", "params")):
        before, after = found[key]["original"], found[key]["final"]
        assert facts[name].endswith(f"({100 * after / before:.1f} %)")
        assert after < before
    assert (
        sum(layer["num_kept"] for layer in layers if not layer["reason"])
        == (found["filters"]["final"])
    )
    assert facts["input"].startswith("1 x 16 x 16 (the model file); mean 0.3")
    assert "10 epochs of 1,295 images" in facts["retraining"]
    times = [found[f"{part}_seconds"] for part in ("plan", "repair", "retrain", "export", "bench")]
    assert min(times) > 0
    assert facts["repair"].startswith("about ")
    assert facts["export"].endswith("(estimated from one of two files)")
    assert facts["whole job"].endswith("or more, the measured planning included")
    assert not (home / "runs").exists()


def test_layers_that_are_to_stay_whole_are_named(home: Path, capsys: Captured) -> None:
    argv = ("--model", "digits.pt", "--keep", "0.5", "--dry-run")
    first, second, *_ = [line["name"] for line in document(capsys, *argv)["layers"]]
    Path("asked.toml").write_text(f'[select]\nonly = ["{first}", "{second}"]\nat_least = 4\n')
    told = document(capsys, *argv, "--config", "asked.toml", "--whole", second)["layers"]
    assert {x["name"] for x in told if x["num_kept"] < x["num_filters"]} == {first}
    reasons = {x["name"]: x["reason"] for x in told}
    assert reasons[second] == "kept whole, as you asked"
    for wrong in (argv, ("sweep", *argv[:4], "--out", "nothing")):
        assert cli.run([*wrong, "--whole", "nowhere"]) == 2
        assert "--whole nowhere given, which names no layer" in capsys.readouterr().err


def test_rank_shows_what_every_layer_selects(home: Path, capsys: Captured) -> None:
    argv = ("rank", "--model", "digits.pt", "--images", "300", "--out")
    layers = document(capsys, *argv, "one")["layers"]
    text = shown(capsys, *argv, "two")
    assert text.startswith("what each layer selects")
    names, *rows = rows_of(text)
    assert {"layer", "filters", "SR, %", "N_c", "noise", "SNR"} <= set(names)
    for row, layer in zip(rows, layers, strict=True):
        assert row[:3] == [
            layer["layer"],
            str(layer["filters"]),
            share(layer["SR"]).removesuffix(" %"),
        ]
        assert row[-1] == f"{layer['SNR']:.4g}"
    assert "next:\n  prune-dl --model digits.pt --keep 0.6 --dry-run" in text


def test_sweep_shows_every_file_and_which_are_worth_having(home: Path, capsys: Captured) -> None:
    formats = ("--no-fp16", "--no-int8", "--images", "300", "--bench-seconds", "0.05")
    text = shown(
        capsys, *("sweep", "--model", "digits.pt", "--keep", "0.5", "1e-6", "--out", "s"), *formats
    )
    points = json.loads((home / "s" / "tradeoff.json").read_text())["points"]
    names, *rows = rows_of(text)
    assert names == ["network", "format", "worth having", "top-1, %", "p50 ms", "MB"]
    by_name = {row[0]: row for row in rows}
    assert by_name.keys() == {"original", "keep 0.5", "keep 1e-06"}
    for point in points[:2]:
        row = by_name[point["name"]]
        assert row[3:] == [
            f"{100 * point['top1']:.2f}",
            f"{point['latency_ms']:.3f}",
            f"{point['size_bytes'] / 1e6:.2f}",
        ]
    assert f"no file of keep 1e-06 float32: {points[2]['error']}" in text


def test_evaluate_shows_the_accuracy_with_its_interval(home: Path, capsys: Captured) -> None:
    argv = ("evaluate", "--model", "digits.pt")
    found, text = document(capsys, *argv), shown(capsys, *argv)
    assert text.startswith("test part")
    assert found["total"] == 359
    assert found.pop("input")["size"] == [1, 16, 16]  # told on stderr where it is no document
    facts = facts_of(text)
    assert facts["top-1"] == share(found["top1"])
    assert facts["95 % interval from"] == share(found["low"])
    assert (facts["correct"], facts["images"]) == (str(found["correct"]), "359")


def test_train_shows_what_was_trained_and_how_good_it_is(home: Path, capsys: Captured) -> None:
    arch = "vgg6:width=0.125"
    text = shown(capsys, "train", "--arch", arch, "--epochs", "1", "--out", "new.pt")
    assert text.startswith("trained")
    row = facts_of(text)
    assert (row["file"], row["data"], row["epochs"]) == ("new.pt", "digits", "1")
    assert row["architecture"].startswith(arch)
    measured = document(capsys, "evaluate", "--model", "new.pt")
    figures = [share(measured[name]) for name in ("top1", "low", "high")]
    assert [
        row["test top-1"],
        row["95 % interval from"],
        row["95 % interval to"],
    ] == figures


def test_export_shows_the_file_and_how_far_it_is_from_torch(home: Path, capsys: Captured) -> None:
    text = shown(capsys, "export", "--model", "digits.pt", "--out", "a.onnx")
    assert text.startswith("exported")
    found = facts_of(text)
    assert found["file"] == "a.onnx"
    assert found["size"] == f"{(home / 'a.onnx').stat().st_size / 1e6:.2f} MB"
    assert float(found["held-out top-1"].removesuffix(" %")) > 80
    assert found["same answers as torch"] == "100.00 %"
    largest = float(found["largest difference from torch"])
    assert 0 <= largest < float(found["allowed difference"])


def test_bench_shows_every_file_against_the_first(
    home: Path, finished_run: FinishedRun, capsys: Captured
) -> None:
    for name in ("a.onnx", "b.onnx"):
        shutil.copy(finished_run.folder / "model.onnx", name)
    text = shown(capsys, "bench", "a.onnx", "b.onnx", "--bench-seconds", "0.05", "--threads", "1")
    assert text.startswith("latency on CPUExecutionProvider, batch 1, 1 threads")
    rows = rows_of(text)
    assert rows[0] == [
        *("file", "p50 ms", "p90 ms", "p99 ms", "mean ms", "std ms", "images/s", "speed-up"),
    ]
    assert [row[0] for row in rows[1:3]] == ["a.onnx", "b.onnx"]
    assert rows[1][-1] == "1.00 (1.00 to 1.00)"
    assert 0 < float(rows[2][1]) <= float(rows[2][2]) <= float(rows[2][3])
    assert rows[3] == ["file", "MB", "ms to open", "peak MB", "timed runs"]
    size = (home / "a.onnx").stat().st_size
    assert [row[1] for row in rows[4:]] == [f"{size / 1e6:.2f}"] * 2
    assert f"python: {platform.python_version()}" in text
