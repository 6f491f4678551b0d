"""The whole export on real digits: the file's own accuracy, for float and INT8."""

import json
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from prune_dl.export.checked import export_checked
from prune_dl.export.metadata import accuracy_entry, add_metadata, describe, read_metadata
from prune_dl.export.quantise import Quantisation
from prune_dl.export.session import open_session
from prune_dl.export.variants import Variant
from prune_dl.prune.errors import InputError, UsageError
from prune_dl.prune.inputs.data import open_data
from prune_dl.prune.scores import Accuracy
from torch import nn


@pytest.fixture
def network(convolutions: nn.Sequential) -> nn.Sequential:
    return convolutions


def hits(network: nn.Module) -> tuple[int, int]:
    """Of the network, on the held-out images that judge files: those after the first fifth."""
    held_out = open_data("digits").held_out
    images, labels = next(held_out.batches(10_000, device="cpu", shuffle_seed=0))
    cut = int(0.2 * len(labels))
    with torch.no_grad():
        found = network(images[cut:]).argmax(1)
    return int((found == labels[cut:]).sum()), len(labels) - cut


def metadata_of(path: Path) -> dict[str, str]:
    """As a program reads it that has ONNX Runtime and nothing else."""
    return open_session(path).get_modelmeta().custom_metadata_map


def test_a_float_file_has_the_accuracy_of_the_network(network: nn.Module, tmp_path: Path) -> None:
    data = open_data("digits")
    result = export_checked(network, data, tmp_path / "a.onnx", Variant(), metadata={})
    assert result.score == Accuracy(*hits(network))
    assert result.score.value > 0.8
    assert result.parity.num_images == min(256, data.held_out.num_images)
    assert result.parity.top1_agreement == 1.0
    assert result.quantised is None


@pytest.mark.parametrize("int8", [False, True])
def test_a_file_says_what_a_program_needs_to_know(
    network: nn.Module, tmp_path: Path, int8: bool
) -> None:
    data, path = open_data("digits"), tmp_path / "a.onnx"
    metadata = describe(data, plan="abc", source="0" * 64)
    quantisation = Quantisation(0.05) if int8 else None
    result = export_checked(
        network, data, path, Variant(), metadata=metadata, quantisation=quantisation
    )
    found = metadata_of(path)
    assert {key: json.loads(found[key]) for key in ("labels", "mean", "std", "input_size")} == {
        "labels": list(data.labels),
        "mean": list(data.mean),
        "std": list(data.std),
        "input_size": list(data.input_size),
    }
    assert (found["plan"], found["source"], found["data"]) == ("abc", "0" * 64, "digits")
    assert found["tool"] == f"prune-dl {version('prune-dl')}"
    measured = json.loads(found["accuracy"])["held_out"]
    assert {name: result.score.plain[name] for name in ("correct", "total", "top1")} == measured
    assert found["precision"].startswith("int8 (" if int8 else "float32")
    assert result.size_bytes == path.stat().st_size


def test_metadata_is_added_without_touching_the_graph(network: nn.Module, tmp_path: Path) -> None:
    data, path = open_data("digits"), tmp_path / "a.onnx"
    export_checked(network, data, path, Variant(), metadata={"labels": "x"})
    before = onnx.load(path).graph.SerializeToString()
    add_metadata(path, {"note": "y"} | accuracy_entry({"test": Accuracy(9, 10)}))
    assert read_metadata(path) == metadata_of(path)
    assert (metadata_of(path)["labels"], metadata_of(path)["note"]) == ("x", "y")
    assert json.loads(metadata_of(path)["accuracy"]) == {
        "test": {"correct": 9, "total": 10, "top1": 0.9}
    }
    assert onnx.load(path).graph.SerializeToString() == before


def test_an_int8_file_from_raw_pixels(network: nn.Module, tmp_path: Path) -> None:
    data, path = open_data("digits"), tmp_path / "a.onnx"
    variant = Variant(embed_preprocess=True)
    result = export_checked(
        network, data, path, variant, metadata={}, quantisation=Quantisation(0.03)
    )
    assert result.quantised is not None
    assert result.quantised.num_layers == 3
    assert result.score.total == data.held_out.num_images - int(0.2 * data.held_out.num_images)
    assert result.score.value == result.quantised.int8_top1 >= result.quantised.float_top1 - 0.03
    assert [p.name for p in tmp_path.iterdir()] == ["a.onnx"]
    (entry,) = open_session(path).get_inputs()
    assert (entry.type, entry.shape[1:]) == ("tensor(uint8)", [16, 16, 1])
    float_hits, total = hits(network)
    assert result.score.total == total
    assert result.quantised.float_top1 == pytest.approx(float_hits / total, abs=2 / total)
    assert 1e-4 < result.parity.max_abs_difference < np.inf  # its own, not the float file's


def test_one_precision_at_a_time(network: nn.Module, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="`fp16` and `int8` given"):
        export_checked(
            network, open_data("digits"), tmp_path / "a.onnx", Variant(half=True),
            metadata={}, quantisation=Quantisation(),
        )  # fmt: skip


class Few:
    """The first images of a split."""

    def __init__(self, split, num_images: int) -> None:
        self.split, self.num_images = split, num_images

    def batches(self, batch_size: int, **options: object):
        yield from self.split.batches(batch_size, **{**options, "limit": self.num_images})


def test_int8_needs_images_to_calibrate_on_and_a_float_file_does_not(
    network: nn.Module, tmp_path: Path
) -> None:
    data = open_data("digits")
    few = replace(data, held_out=Few(data.held_out, 6))
    result = export_checked(network, few, tmp_path / "a.onnx", Variant(), metadata={})
    assert (result.score.total, result.parity.num_images) == (5, 6)
    with pytest.raises(
        InputError, match=r"6 held-out images of digits given; expected 10 .* `held_out`"
    ):
        export_checked(
            network, few, tmp_path / "b.onnx", Variant(), metadata={}, quantisation=Quantisation()
        )
    assert not (tmp_path / "b.onnx").exists()
