"""`prune-dl export` from the command line: every kind of file, what it reports, what it refuses."""

import json
from pathlib import Path

import onnx
import onnxruntime
import pytest
import torch
from prune_dl.export import variants
from prune_dl.export.graph import opset_of
from prune_dl.prune import load
from prune_dl.prune.command import cli
from prune_dl.prune.inputs.checkpoint import load_checkpoint, save_checkpoint
from prune_dl.prune.inputs.data import open_data
from prune_dl.prune.inputs.origin import Origin
from prune_dl.prune.inputs.weights import sha256_of
from prune_dl.prune.inputs.zoo import build
from scenes.jobs import FinishedRun

ARCH = "vgg6:in_channels=1,width=0.125"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained network: what is tested is the file, not its answers."""
    file = tmp_path_factory.mktemp("export") / "small.pt"
    origin = Origin(ARCH, 10, "digits", (), (1, 16, 16), (0.5,), (0.5,))
    save_checkpoint(file, build(ARCH, 10), origin)
    return file


def export(weights: Path, out: Path, *flags: str) -> int:
    return cli.run(["export", "--model", str(weights), "--out", str(out), "--json", *flags])


def test_the_flags_of_a_float_file_go_together(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "a.onnx"
    flags = ("--opset", "20", "--static-batch", "4", "--fp16", "--embed-preprocess", "--test")
    assert export(weights, out, *flags) == 0
    result = json.loads(capsys.readouterr().out)
    session = onnxruntime.InferenceSession(out)
    (entry,), (answer,) = session.get_inputs(), session.get_outputs()
    assert (entry.name, entry.type, entry.shape) == ("images", "tensor(uint8)", [4, 16, 16, 1])
    assert (answer.name, answer.type, answer.shape) == (
        "probabilities",
        "tensor(float)",
        [4, 10],
    )
    assert opset_of(onnx.load(out)) == 20
    metadata = session.get_modelmeta().custom_metadata_map
    assert metadata["source"] == sha256_of(weights)
    assert metadata["plan"] == ""
    assert metadata["precision"] == "float16"
    assert metadata["input_layout"] == "NHWC uint8 0..255"
    accuracy = json.loads(metadata["accuracy"])
    assert accuracy["held_out"]["top1"] == result["held_out_top1"]
    assert accuracy["test"]["top1"] == result["test_top1"]
    assert result["test_images"] == open_data("digits").test.num_images
    assert result["test_low"] <= result["test_top1"] <= result["test_high"]
    assert result["top1_agreement"] >= 0.99
    assert result["size_bytes"] == out.stat().st_size
    assert [path.name for path in tmp_path.iterdir()] == ["a.onnx"]


def test_the_default_file_takes_any_batch_and_leaves_the_test_part_alone(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export(weights, tmp_path / "a.onnx") == 0
    result = json.loads(capsys.readouterr().out)
    assert "test_top1" not in result
    session = onnxruntime.InferenceSession(tmp_path / "a.onnx")
    assert isinstance(session.get_inputs()[0].shape[0], str)
    assert "test" not in json.loads(session.get_modelmeta().custom_metadata_map["accuracy"])


def test_a_file_that_fails_its_check_is_removed_with_exit_code_4(
    weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(variants, "PARITY_TOLERANCE", -1.0)
    assert export(weights, tmp_path / "a.onnx", "--embed-preprocess") == 4
    assert "was removed" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def with_an_uneven_layer(trained_file: Path, path: Path) -> None:
    """The trained network with one channel a thousand times as large: INT8 loses the others.

    The next layer undoes the factor, so in float nothing changes.
    """
    found = load_checkpoint(str(trained_file))
    with torch.no_grad():
        norm, reader = found.model.features[9], found.model.features[12]
        norm.weight[0] *= 1000
        norm.bias[0] *= 1000
        reader.weight[:, 0] /= 1000
    save_checkpoint(path, found.model, found.origin)


def test_int8_says_what_was_tried_and_what_stayed_in_float(
    trained_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with_an_uneven_layer(trained_file, tmp_path / "uneven.pt")
    assert export(tmp_path / "uneven.pt", tmp_path / "a.onnx", "--int8", "--max-drop", "5") == 0
    result = json.loads(capsys.readouterr().out)
    tried = {key: value for key, value in result.items() if key.startswith("held_out_top1 of ")}
    assert {key.split()[2].strip(",") for key in tried} == {"minmax", "percentile", "entropy"}
    assert f"held_out_top1 of {result['int8_recipe']}" in tried
    assert max(tried.values()) < result["float_top1"] - 0.05 <= result["held_out_top1"]
    in_float = {key: value for key, value in result.items() if key.startswith("float: ")}
    assert "alone in INT8 it moves the outputs by" in in_float["float: features.12"]
    assert result["int8_layers"] == 6 - len(in_float)


def test_a_run_folder_stands_for_the_network_in_it(
    trained_file: Path, finished_run: FinishedRun, tmp_path: Path
) -> None:
    out, made = tmp_path / "again.onnx", finished_run.folder / "model.onnx"
    assert export(finished_run.folder, out) == 0
    images = next(iter(open_data("digits").test.batches(8, device="cpu")))[0].numpy()
    answers = [
        onnxruntime.InferenceSession(file).run(None, {"images": images})[0] for file in (out, made)
    ]
    assert abs(answers[0] - answers[1]).max() < 1e-4
    report = json.loads((finished_run.folder / "report.json").read_text())
    for file, parts in ((out, {"held_out"}), (made, {"held_out", "test"})):
        said = onnxruntime.InferenceSession(file).get_modelmeta().custom_metadata_map
        assert (said["plan"], said["source"]) == (report["plan_digest"], sha256_of(trained_file))
        assert set(json.loads(said["accuracy"])) == parts
    accuracy = json.loads(said["accuracy"])
    assert accuracy["test"]["top1"] == report["accuracy"]["final"]["top1"]
    assert accuracy["held_out"]["top1"] == report["parity"]["held_out"]["top1"]


def test_a_run_becomes_a_folder_for_the_hub_during_the_job_or_later(
    finished_run: FinishedRun, tmp_path: Path
) -> None:
    run, hub = str(finished_run.folder), tmp_path / "hub"
    assert cli.run(["export", "--model", run, "--hub-folder", str(hub), "--json"]) == 0
    made = {path.name: path.read_bytes() for path in finished_run.hub_folder.iterdir()}
    assert {path.name: path.read_bytes() for path in hub.iterdir()} == made
    assert {"README.md", "config.json", "model.onnx", "model.safetensors"} < made.keys()
    assert made["report.json"] == (finished_run.folder / "report.json").read_bytes()
    widths = json.loads(made["config.json"])["widths"]
    network = load(hub / "model.safetensors")
    assert all(network.get_submodule(k).weight.shape[0] == v for k, v in widths.items())


@pytest.mark.parametrize(
    ("changes", "code", "said"),
    [
        ({"--hub-folder": "full"}, 2, "which is not empty"),
        ({"--int8": ""}, 2, "--hub-folder copies the files of a run as they are"),
        ({"--model": "full"}, 3, "finished run"),
    ],
)
def test_a_hub_folder_that_cannot_be_made_is_refused(
    finished_run: FinishedRun,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, str],
    code: int,
    said: str,
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").touch()
    flags = {"--model": str(finished_run.folder), "--hub-folder": "hub", **changes}
    places = {name: str(tmp_path / value) if value else "" for name, value in flags.items()}
    argv = [part for pair in places.items() for part in pair if part]
    assert cli.run(["export", *argv]) == code
    assert said in capsys.readouterr().err
    assert {path.name for path in tmp_path.rglob("*")} == {"full", "letter.txt"}


def test_a_job_whose_hub_folder_is_full_stops_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before the model is opened: that file is missing, which would be another error."""
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub" / "letter.txt").touch()
    argv = ["--model", "missing.pt", "--keep", "0.5", "--hub-folder", str(tmp_path / "hub")]
    assert cli.run([*argv, "--out", str(tmp_path / "run")]) == 2
    assert "--hub-folder" in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {"hub"}
