"""`prune-dl export` from the command line: every kind of file, what it reports, what it refuses."""

import json
from pathlib import Path

import onnx
import onnxruntime
import pytest
from prune_dl.export import variants
from prune_dl.export.checked import Exported
from prune_dl.export.graph import opset_of
from prune_dl.export.parity import Parity
from prune_dl.export.quantise import Quantised
from prune_dl.prune.command import cli
from prune_dl.prune.command.export import _result
from prune_dl.prune.inputs.checkpoint import save_checkpoint
from prune_dl.prune.inputs.data import open_data
from prune_dl.prune.inputs.origin import Origin
from prune_dl.prune.inputs.weights import sha256_of
from prune_dl.prune.inputs.zoo import build

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


def test_every_flag_at_once(
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


def test_int8_says_what_was_tried_and_what_stayed_in_float(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export(weights, tmp_path / "a.onnx", "--int8", "--max-drop", "100") == 0
    result = json.loads(capsys.readouterr().out)
    tried = {key: value for key, value in result.items() if key.startswith("held_out_top1 of ")}
    assert {key.split()[2].strip(",") for key in tried} == {"minmax", "percentile", "entropy"}
    assert result["held_out_top1"] == max(tried.values())
    assert result[f"held_out_top1 of {result['int8_recipe']}"] == result["held_out_top1"]

    float_layer = {"features.0": "alone in INT8 it moves the outputs by 40.0%"}
    quantised = Quantised("minmax", 0.9, 0.89, {"minmax": 0.8}, float_layer, 7, 10)
    parity = Parity(0.1, 0.1, 1.0, 8)
    shown = _result(Exported(tmp_path / "a.onnx", 10, parity, 89, 100, quantised))
    assert shown["int8_layers"] == 6
    assert shown["float: features.0"] == float_layer["features.0"]
