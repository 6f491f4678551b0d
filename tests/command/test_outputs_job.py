"""The main job on networks whose outputs are no class scores, and on a part of one."""

import json
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from prune_dl.prune import load
from prune_dl.prune.command import cli
from prune_dl.prune.training import train
from scenes.detectors import BoxDetector
from scenes.my_nets import unet, write_pictures, write_unet

PAGE = (Path(__file__).parents[2] / "docs" / "other-networks.md").read_text(encoding="utf-8")
COMMANDS = [x for x in PAGE.splitlines() if x.startswith("prune-dl --model")]
"""Of the page: masks, a metric, a part, an encoder."""
UNET = ("--model", "unet.pt", "--arch", "my_nets:unet")
QUICK = ("--bench-seconds", "0.1", "--macs", "0.5")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with my_nets.py, unet.pt and pictures/, which is where commands are run."""
    folder = tmp_path_factory.mktemp("other")
    (folder / "my_nets.py").write_text("from scenes.my_nets import *\n")
    write_pictures(folder / "pictures", 100)
    write_unet(folder / "unet.pt")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "path", [str(folder), *sys.path])
        yield folder


def report_of(run: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((run / "report.json").read_text())
    return report


def run(command: str, out: Path, *more: str) -> Path:
    argv = shlex.split(command.partition("#")[0])[1:]
    quick = ("--bench-seconds", "0.1", "--out", str(out))
    assert cli.run([*argv, *quick, *more]) == 0
    return out


@pytest.mark.slow
def test_the_pages_command_on_pictures_alone(home: Path, capsys: Any) -> None:
    out = run(COMMANDS[0], home / "maps", "--hub-folder", str(home / "hub"))
    said = capsys.readouterr()
    assert "its outputs judge (--judge outputs)" in said.err
    assert "from what the first batch normalization remembers" in said.err
    assert re.search(r"original .* by definition", said.out)
    assert said.out.strip().splitlines()[-1].lstrip().startswith("prune-dl bench")
    report = report_of(out)
    assert "accuracy" not in report
    stages = report["output_fidelity"]
    assert stages["original"]["output_fidelity"] == 1
    assert stages["removed"]["output_fidelity"] < stages["repaired"]["output_fidelity"] - 0.1
    assert stages["final"]["low"] < stages["final"]["output_fidelity"] <= stages["final"]["high"]
    assert report["macs"]["final"] < 0.52 * report["macs"]["original"]
    assert report["latency_ratio"]["value"] > 0
    assert report["parity"]["outputs"].keys() == {"output"}
    assert (report["model"]["mean"], report["model"]["labels"]) == ([0.5] * 3, [])
    page = re.sub(r"<script.*?</script>", "", (out / "report.html").read_text(), flags=re.DOTALL)
    assert "of the largest magnitude of each output: output" in page
    card = (home / "hub" / "README.md").read_text()
    assert "output fidelity (95 % interval), test part | by definition 100 %" in card
    for text in (page, card, json.dumps(report), (out / "metrics.jsonl").read_text()):
        text = text.replace("figure-accuracy", "")  # a name within the page
        assert not re.search("ccuracy|lassifier|top-1|logits", text)
    again = load(out / "model.safetensors", model=unet())
    (graph,) = onnx.load(out / "model.onnx").graph.output
    assert graph.name == "output"
    assert again(torch.zeros(2, 3, 16, 16)).shape == (2, 2, 16, 16)
    assert cli.run(["evaluate", "--model", str(out), "--trust-file", "--data", "pictures"]) == 3
    assert "--judge outputs" in capsys.readouterr().err


@pytest.mark.slow
def test_the_pages_command_with_a_metric(home: Path, capsys: Any) -> None:
    report = report_of(run(COMMANDS[1], home / "metric"))
    metric = report["metric"]
    assert metric["name"] == "mean_iou"
    assert metric["original"] > 0.8
    assert metric["removed"] < metric["final"]
    assert f"{metric['final']:.4g}" in capsys.readouterr().out
    assert f"{metric['final']:.4g}" in (home / "metric" / "report.html").read_text()


@pytest.mark.slow
def test_the_pages_command_on_a_part(home: Path) -> None:
    out = run(COMMANDS[2], home / "part")
    report = report_of(out)
    assert report["model"]["part"] == "backbone"
    channels, height, width = report["model"]["input_size"]  # of one of the pictures
    assert channels == 3
    assert 8 <= min(height, width) <= max(height, width) <= 16
    smaller = load(out / "model.safetensors", model=BoxDetector())
    assert len(smaller.get_submodule("backbone.0.0").weight) < 12
    assert smaller([torch.zeros(3, 8, 8)])[0].keys() == {"boxes"}
    (graph,) = onnx.load(out / "model.onnx").graph.output
    assert [x.dim_value for x in graph.type.tensor_type.shape.dim][1:2] == [12]


@pytest.mark.slow
def test_the_pages_command_on_rows_of_numbers(home: Path) -> None:
    held_out = report_of(run(COMMANDS[3], home / "rows"))["held_out"]
    assert held_out["removed"]["output_fidelity"] < held_out["final"]["output_fidelity"] < 1


@pytest.mark.slow
def test_a_part_of_several_inputs_has_no_onnx_file(home: Path, capsys: Any) -> None:
    argv = ["--model", "my_nets:two_eyes", "--data", "pictures", "--part", "joining"]
    quick = ("--keep", "0.5", "--epochs", "0", "--out", "two")
    assert cli.run([*argv, *quick, "--hub-folder", "two_hub"]) == 2
    assert "--hub-folder two_hub given for a network or part of" in capsys.readouterr().err
    assert cli.run([*argv, *quick]) == 0
    assert "no ONNX file was written" in capsys.readouterr().out.casefold().replace("onnx", "ONNX")
    assert not (home / "two" / "model.onnx").exists()
    report = report_of(home / "two")
    assert report["parity"] is report["latency_ms"] is None
    assert report["output_fidelity"]["final"]["total"] == 20


@pytest.mark.slow
def test_an_interrupted_run_goes_on(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    argv = [*UNET, "--data", "pictures", *QUICK, "--epochs", "1", "--lr", "0.01"]
    assert cli.run([*argv, "--out", "whole"]) == 0
    with monkeypatch.context() as patch:
        patch.setattr(train, "_train_epoch", interrupt)
        assert cli.run([*argv, "--out", "halted"]) == 130
    assert cli.run([*argv, "--out", "halted", "--resume", "--part", "first"]) == 2
    assert cli.run([*argv, "--out", "halted", "--resume"]) == 0
    for name in ("plan.json", "model.safetensors"):
        assert (home / "whole" / name).read_bytes() == (home / "halted" / name).read_bytes()


def test_a_plan_of_a_part_is_shown(home: Path, capsys: Any) -> None:
    argv = ("--model", "my_nets:detector", "--data", "my_nets:different_sizes", *QUICK)
    assert cli.run([*argv, "--part", "backbone", "--dry-run", "--json"]) == 0
    said = capsys.readouterr()
    first, last = json.loads(said.out)["layers"]
    assert first["num_kept"] < first["num_filters"] == last["num_kept"] == 12
    assert "input: as your loaders give it" in said.err


@pytest.mark.parametrize(
    ("flags", "code", "said"),
    [
        (("--metric", "mean_iou"), 2, "--metric mean_iou given; expected package.module:callable"),
        (("--metric", "my_nets:nothing"), 3, "has no callable named nothing"),
        (("--metric", "my_nets:mean_iou"), 2, "which asks for batches; expected --data of"),
        (("--metric", "my_nets:unet"), 2, "which cannot be called with a network"),
        (("--judge", "outputs", "--unlabeled"), 2, "--unlabeled given for a network that is judg"),
        (("--judge", "answers", "--part", "first"), 2, "--judge answers given for a network"),
        (("--judge", "outputs", "--rank", "snr"), 2, "--rank snr given for a network that is"),
        (("--no-distill",), 2, "--no-distill given for a network that is judged"),
        (("--part", "frist"), 2, "first, head; did you mean first?"),
        (("--part", "head"), 3, "no filter of this network can be removed"),
        (("--judge", "answers"), 3, "prune it by its outputs (--judge outputs)"),
    ],
)
def test_what_cannot_be_is_one_line(
    home: Path, flags: tuple[str, ...], code: int, said: str, capsys: Any
) -> None:
    assert cli.run([*UNET, "--data", "pictures", *QUICK, "--dry-run", *flags]) == code
    line = capsys.readouterr().err.splitlines()[-1]
    assert said in line
    assert "`" not in line


def test_a_whole_detector_is_refused_with_its_parts(home: Path, capsys: Any) -> None:
    argv = ("--model", "my_nets:detector", "--data", "pictures", *QUICK, "--out", "refused")
    assert cli.run(list(argv)) == 3
    assert "give its name as --part (backbone, head)" in capsys.readouterr().err
    assert not list(home.glob("*refused*"))


def test_a_file_of_options_names_no_code(home: Path, capsys: Any) -> None:
    (home / "options.toml").write_text('metric = "my_nets:mean_iou"\n')
    assert cli.run([*UNET, "--data", "pictures", *QUICK, "--config", "options.toml"]) == 2
    assert "--config names --metric my_nets:mean_iou, which runs code" in capsys.readouterr().err
