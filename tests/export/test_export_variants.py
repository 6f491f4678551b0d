"""Every kind of file gives the labels of the network it came from."""

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from prune_dl.export.session import fixed_batch, open_session, run_session
from prune_dl.export.variants import PixelScale, Preprocessed, Variant, export_variant, to_pixels
from prune_dl.prune.errors import GateError
from torch import nn

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
SCALE = PixelScale(MEAN, STD)


def small_network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(),
        nn.Linear(6 * 64, 5),
    ).eval()  # fmt: skip


def some_pixels(num_images: int = 40) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    size = (num_images, 8, 8, 3)
    return torch.randint(256, size, generator=generator, dtype=torch.uint8)


def normalise(pixels: torch.Tensor) -> torch.Tensor:
    images = pixels.permute(0, 3, 1, 2).float() / 255
    return (images - torch.tensor(MEAN).reshape(3, 1, 1)) / torch.tensor(STD).reshape(3, 1, 1)


def write(path: Path, variant: Variant) -> np.ndarray:
    images = normalise(some_pixels())
    parity = export_variant(
        small_network(), images, path, variant, scale=SCALE, metadata={"a": "b"}
    )
    assert parity.ok
    pixels = some_pixels().numpy() if variant.embed_preprocess else images.numpy()
    return run_session(open_session(path), pixels)


@given(st.integers(0, 2**31))
def test_pixels_survive_normalisation(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(256, (2, 4, 5, 3), generator=generator, dtype=torch.uint8)
    assert torch.equal(to_pixels(normalise(pixels), SCALE), pixels)


def test_embedded_preprocessing_takes_pixels_and_gives_probabilities(tmp_path: Path) -> None:
    found = write(tmp_path / "a.onnx", Variant(embed_preprocess=True))
    expected = torch.softmax(small_network()(normalise(some_pixels())), 1).detach().numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)
    proto = onnx.load(tmp_path / "a.onnx")
    assert proto.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert proto.graph.output[0].name == "probabilities"
    metadata = {entry.key: entry.value for entry in proto.metadata_props}
    stated = {"input_layout": "NHWC uint8 0..255", "precision": "float32"}
    assert metadata == {"a": "b", **stated, "answer": "the label of the highest output"}


@pytest.mark.parametrize("embed", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_half_precision_halves_the_file_and_keeps_the_interface(
    tmp_path: Path, embed: bool
) -> None:
    half = write(tmp_path / "half.onnx", Variant(half=True, embed_preprocess=embed))
    full = write(tmp_path / "full.onnx", Variant(embed_preprocess=embed))
    assert half.dtype == np.float32
    assert (half.argmax(1) == full.argmax(1)).mean() >= 0.97
    assert 0 < np.abs(half - full).max() < 0.02 * np.abs(full).max()
    sizes = [os.path.getsize(tmp_path / name) for name in ("half.onnx", "full.onnx")]
    assert sizes[0] < 0.75 * sizes[1]
    assert {i.data_type for i in onnx.load(tmp_path / "half.onnx").graph.initializer} <= {
        onnx.TensorProto.FLOAT16,
        onnx.TensorProto.INT64,
    }


@pytest.mark.slow
def test_static_batch_variant(tmp_path: Path) -> None:
    write(tmp_path / "a.onnx", Variant(batch_size=3, opset=18))
    assert fixed_batch(open_session(tmp_path / "a.onnx")) == 3


@pytest.mark.slow
def test_the_network_is_left_as_it_was(tmp_path: Path) -> None:
    network = small_network()
    Preprocessed(network, SCALE)
    before = [p.dtype for p in network.parameters()]
    images = normalise(some_pixels(4))
    variant = Variant(half=True, embed_preprocess=True)
    export_variant(network, images, tmp_path / "a.onnx", variant, scale=SCALE, metadata={})
    assert [p.dtype for p in network.parameters()] == before


@pytest.mark.slow
def test_half_precision_that_overflows_is_removed(tmp_path: Path) -> None:
    network = small_network()
    with torch.no_grad():
        network[0].weight *= 1e6
        network[4].weight *= 1e-6
    with pytest.raises(GateError, match="was removed"):
        export_variant(
            network, normalise(some_pixels(4)), tmp_path / "a.onnx", Variant(half=True),
            scale=SCALE, metadata={},
        )  # fmt: skip
    assert not (tmp_path / "a.onnx").exists()
