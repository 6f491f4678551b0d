"""INT8: small, measured, and float where it must be. The network learns real digits first.

7-bit weights where one recipe is enough: with 8 bits the result depends on the processor.
"""

import json
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from prune_dl.export.graph import export_onnx
from prune_dl.export.qdq import QuantRecipe, Workbench, layer_names
from prune_dl.export.quantise import Quantisation, layer_damage, quantise_file
from prune_dl.export.scoring import score_file
from prune_dl.export.session import open_session
from prune_dl.prune.errors import GateError
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F


def digits() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    images, labels = load_digits(return_X_y=True)
    return (images.reshape(-1, 1, 8, 8) / 8 - 1).astype(np.float32), labels.astype(np.int64)


IMAGES, LABELS = digits()
CALIBRATION = IMAGES[1000:1100]
HELD_OUT = [(IMAGES[1100:1400], LABELS[1100:1400])]
SEVEN_BITS = Quantisation(recipes=[QuantRecipe("minmax", 7)])
TEST = [(IMAGES[1400:], LABELS[1400:])]


@pytest.fixture(scope="module")
def network() -> nn.Sequential:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(128, 10),
    )  # fmt: skip
    images, labels = torch.from_numpy(IMAGES[:1000]), torch.from_numpy(LABELS[:1000])
    optimiser = torch.optim.Adam(network.parameters(), lr=3e-3)
    for _ in range(60):
        optimiser.zero_grad()
        F.cross_entropy(network(images), labels).backward()
        optimiser.step()
    return network.eval()


@pytest.fixture(scope="module")
def source(network: nn.Sequential, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("float") / "digits.onnx"
    return export_onnx(network, (1, 8, 8), path, metadata={"labels": "digits"})


@pytest.fixture(scope="module")
def fragile(network: nn.Sequential, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same function, with a second layer that one scale for its input cannot represent."""
    path = tmp_path_factory.mktemp("fragile") / "digits.onnx"
    scale = torch.logspace(-3, 3, 16)
    with torch.no_grad():
        network[0].weight *= scale.reshape(-1, 1, 1, 1)
        network[0].bias *= scale
        network[3].weight /= scale.reshape(1, -1, 1, 1)
    export_onnx(network, (1, 8, 8), path, metadata={})
    with torch.no_grad():
        network[0].weight /= scale.reshape(-1, 1, 1, 1)
        network[0].bias /= scale
        network[3].weight *= scale.reshape(1, -1, 1, 1)
    return path


def test_int8_file_keeps_the_accuracy_and_says_what_was_tried(
    source: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    handlers = list(logging.root.handlers)
    result = quantise_file(source, tmp_path / "int8.onnx", CALIBRATION, HELD_OUT, Quantisation())
    assert result.float_top1 > 0.9
    assert result.int8_top1 >= result.float_top1 - 0.01
    assert result.kept_float == {}
    assert result.num_layers == 3
    assert len(result.tried) == 5
    assert result.int8_top1 == max(result.tried.values()) == result.tried[result.recipe]
    score = score_file(open_session(tmp_path / "int8.onnx"), HELD_OUT)
    assert score.value == result.int8_top1
    assert result.size_bytes == (tmp_path / "int8.onnx").stat().st_size < source.stat().st_size
    assert [p.name for p in tmp_path.iterdir()] == ["int8.onnx"]
    assert capfd.readouterr() == ("", "")
    assert logging.root.handlers == handlers


def test_weights_are_int8_per_channel_and_metadata_survives(source: Path, tmp_path: Path) -> None:
    quantise_file(source, tmp_path / "int8.onnx", CALIBRATION, HELD_OUT, SEVEN_BITS)
    proto = onnx.load(tmp_path / "int8.onnx")
    tensors = {t.name: t for t in proto.graph.initializer}
    weight = next(t for name, t in tensors.items() if name.startswith("0.weight_quant"))
    scale = next(t for name, t in tensors.items() if name.startswith("0.weight_scale"))
    assert weight.data_type == onnx.TensorProto.INT8
    assert list(scale.dims) == [16]
    metadata = {entry.key: entry.value for entry in proto.metadata_props}
    assert metadata == {
        "labels": "digits",
        "precision": "int8 (minmax, 7-bit weights)",
        "float_layers": "{}",
    }


def test_a_layer_that_costs_too_much_stays_in_float(fragile: Path, tmp_path: Path) -> None:
    path = tmp_path / "int8.onnx"
    result = quantise_file(fragile, path, CALIBRATION, HELD_OUT, SEVEN_BITS)
    assert result.tried["minmax, 7-bit weights"] < result.float_top1 - 0.01
    assert next(iter(result.kept_float)) == "3"
    assert "7" not in result.kept_float
    assert "moves the outputs by" in result.kept_float["3"]
    written = open_session(path).get_modelmeta().custom_metadata_map["float_layers"]
    assert json.loads(written) == result.kept_float
    assert result.int8_top1 >= result.float_top1 - 0.01
    names = {t.name for t in onnx.load(path).graph.initializer}
    assert "3.weight" in names
    assert "3.weight_quantized" not in names
    assert "7.weight_quantized" in names or "7.weight_transposed_quantized" in names


def test_damage_is_largest_where_it_was_made(fragile: Path, tmp_path: Path) -> None:
    bench = Workbench(fragile, CALIBRATION, tmp_path)
    names = layer_names(bench.proto)
    damage = {names[node]: d for node, d in layer_damage(bench, QuantRecipe("minmax", 7)).items()}
    assert list(damage) == ["0", "3", "7"]
    assert damage["3"] > damage["0"] > 10 * damage["7"] > 0


def test_a_drop_that_cannot_be_avoided_leaves_no_file(fragile: Path, tmp_path: Path) -> None:
    with pytest.raises(GateError, match=r"^digits\.onnx: INT8 reaches .* give a larger `max_drop`"):
        quantise_file(
            fragile, tmp_path / "int8.onnx", CALIBRATION, HELD_OUT,
            replace(SEVEN_BITS, max_drop=-0.05),
        )  # fmt: skip
    assert list(tmp_path.iterdir()) == []


def test_the_same_input_gives_the_same_file(source: Path, tmp_path: Path) -> None:
    entropy = Quantisation(recipes=[QuantRecipe("entropy", 7)])
    for name in ("a.onnx", "b.onnx"):
        quantise_file(source, tmp_path / name, CALIBRATION, HELD_OUT, entropy)
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()
