"""The Hub folder: complete or absent, and every figure on the card is one of the report."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import ModelCard
from prune_dl.evaluate.report.files import write_report
from prune_dl.export.hub import write_hub_folder
from prune_dl.prune.errors import InputError, UsageError
from scenes.report_samples import sample_report, without_latency


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    write_report(sample_report(), folder)
    for name in ("model.safetensors", "model.onnx", "model.int8.onnx"):
        (folder / name).write_bytes(name.encode())
    return folder


def test_folder_holds_weights_graphs_config_and_card(run: Path, tmp_path: Path) -> None:
    folder = write_hub_folder(run, tmp_path / "hub")
    assert {path.name for path in folder.iterdir()} == {
        "model.safetensors", "model.onnx", "model.int8.onnx",
        "report.json", "config.json", "README.md",
    }  # fmt: skip
    assert (folder / "model.onnx").read_bytes() == b"model.onnx"
    report = json.loads((run / "report.json").read_text())
    config = json.loads((folder / "config.json").read_text())
    assert config["num_labels"] == report["model"]["num_labels"]
    assert config["image_mean"] == report["model"]["mean"]
    assert list(config["label2id"]) == list(config["id2label"].values())
    assert config["widths"] == {x["name"]: x["num_kept"] for x in report["layers"]}
    assert {path.name for path in tmp_path.iterdir()} == {"run", "hub"}


def test_card_is_valid_for_the_hub_and_shows_the_measured_figures(
    run: Path, tmp_path: Path
) -> None:
    folder = write_hub_folder(run, tmp_path / "hub")
    report = json.loads((run / "report.json").read_text())
    card = ModelCard.load(folder / "README.md")
    assert card.data.library_name == "prune-dl"
    assert card.data.pipeline_tag == "image-classification"
    assert card.data.tags == ["pruning", "filter-pruning", "onnx", "image-classification"]
    (result,) = card.data.eval_results
    assert (result.dataset_name, result.dataset_split) == ("cifar10/", "test")
    assert result.metric_type == "accuracy"
    assert result.metric_value == round(report["accuracy"]["final"]["top1"], 4)
    assert f"{report['accuracy']['original']['top1']:.2%}" in card.text
    assert f"{report['latency_ms']['final']['p90']:.2f}" in card.text
    assert f"{report['macs']['final'] / 1e6:.2f} M" in card.text
    assert report["command"] in card.text


def test_what_was_not_measured_is_not_on_the_card(run: Path, tmp_path: Path) -> None:
    write_report(without_latency(sample_report()), run)
    text = (write_hub_folder(run, tmp_path / "hub") / "README.md").read_text()
    assert "latency p50" not in text
    assert "Latency on" not in text
    assert "model-index" in text
    report = sample_report()
    write_report(replace(report, accuracy=replace(report.accuracy, final=None)), run)
    text = (write_hub_folder(run, tmp_path / "other") / "README.md").read_text()
    assert "model-index" not in text
    assert ModelCard(text).data.pipeline_tag == "image-classification"


def test_a_folder_that_cannot_be_made_is_one_line(run: Path, tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"`hub_folder=.*run` given, which is not empty; expected a new"
    ):
        write_hub_folder(run, run)
    (run / "model.onnx").unlink()
    with pytest.raises(InputError, match=r"run given; expected .* model\.onnx is not in it"):
        write_hub_folder(run, tmp_path / "hub")
    (run / "model.onnx").write_bytes(b"")
    (run / "report.json").write_text("{}")
    with pytest.raises(InputError, match=r"report.json does not hold .*required field .model."):
        write_hub_folder(run, tmp_path / "hub")
    assert not (tmp_path / "hub").exists()
