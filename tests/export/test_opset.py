"""Older and newer operator sets: the file is the network in each, or the line says which work."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from prune_dl.export.graph import GraphFormat, check_exportable, export_onnx, opset_of
from prune_dl.export.opset import ir_version_of, newest_opset, require_opset
from prune_dl.export.parity import check_parity
from prune_dl.prune.errors import UsageError
from torch import Tensor, nn
from torch.nn import functional

INPUT_SIZE = (3, 12, 12)
EXACT = 1e-5


class Ordinary(nn.Module):
    """What ordinary classifiers are made of, and what older versions write in another way."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Hardswish())
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 8, 1), nn.Hardsigmoid())
        self.end = nn.Sequential(nn.LayerNorm(16), nn.GELU(), nn.Linear(16, 5))

    def forward(self, images: Tensor) -> Tensor:
        x = self.stem(images)
        x = x * self.gate(x)
        left, right = x.chunk(2, dim=1)
        x = torch.cat([functional.mish(left), torch.softmax(right, dim=1)], dim=1)
        x = functional.interpolate(functional.max_pool2d(x, 2), scale_factor=2.0)
        x = torch.cat([x.mean((2, 3)), x.amax((2, 3))], dim=1)
        return self.end(x.reshape(x.shape[0], -1))


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(0)
    return Ordinary().eval()


@pytest.mark.parametrize("opset", [11, 13, 17, 18, newest_opset()])
def test_a_file_of_any_operator_set_is_the_network(
    tmp_path: Path, network: nn.Module, opset: int
) -> None:
    path = export_onnx(network, INPUT_SIZE, tmp_path / "a.onnx", metadata={}, opset=opset)
    proto = onnx.load(path)
    assert opset_of(proto) == opset
    assert [entry.domain for entry in proto.opset_import] == [""]
    assert opset >= 18 or proto.ir_version == ir_version_of(opset)
    parity = check_parity(path, network, torch.randn(5, *INPUT_SIZE))
    assert parity.max_relative_difference < EXACT


class Grid(nn.Module):
    """Needs an operator that ONNX has from 16 on."""

    def forward(self, images: Tensor) -> Tensor:
        grid = torch.tanh(images[:, :2].permute(0, 2, 3, 1))
        return functional.grid_sample(images, grid, align_corners=False).mean((2, 3))


def test_an_operator_that_a_version_lacks_is_named_with_the_least_that_works() -> None:
    expected = r"`opset=13` given; GridSample of this network needs a later one; give `opset=16`"
    with pytest.raises(UsageError, match=expected):
        check_exportable(Grid(), INPUT_SIZE, GraphFormat(opset=13))
    check_exportable(Grid(), INPUT_SIZE, GraphFormat(opset=16))


def test_versions_out_of_range_are_refused_without_a_network() -> None:
    for opset in (None, 11, 18, newest_opset()):
        require_opset(opset)
    with pytest.raises(UsageError, match="`opset=10` given; expected 11 or more"):
        require_opset(10)
    with pytest.raises(UsageError, match=f"`opset=99` given; expected at most {newest_opset()}"):
        require_opset(99)
    with pytest.raises(UsageError, match="`opset=12` given with `int8`; expected 13 or more"):
        require_opset(12, int8=True)
    require_opset(13, int8=True)


def test_the_newest_is_one_that_runs() -> None:
    assert 23 <= newest_opset() <= onnx.defs.onnx_opset_version()


def test_slices_of_sizes_are_the_same_before_shape_had_a_start() -> None:
    from onnx import helper
    from prune_dl.export.opset import lower

    node = helper.make_node("Shape", ["x"], ["y"], start=1, end=3)
    x = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [2, 3, 4, 5])
    y = helper.make_tensor_value_info("y", onnx.TensorProto.INT64, [2])
    graph = helper.make_graph([node], "shape", [x], [y])
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    old = lower(proto, 11)
    onnx.checker.check_model(old, full_check=True)
    from onnx.reference import ReferenceEvaluator

    (sizes,) = ReferenceEvaluator(old).run(None, {"x": np.zeros((2, 3, 4, 5), np.float32)})
    assert sizes.tolist() == [3, 4]
    assert opset_of(proto) == 18


@pytest.mark.slow
@pytest.mark.parametrize("opset", [11, 13, 17])
@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "googlenet", "convnext_tiny"])
def test_networks_of_torchvision_in_old_operator_sets(
    tmp_path: Path, name: str, opset: int
) -> None:
    import torchvision

    torch.manual_seed(0)
    model = torchvision.models.get_model(name, weights=None).eval()
    size = (3, 64, 64)
    path = export_onnx(model, size, tmp_path / "a.onnx", metadata={}, opset=opset)
    assert check_parity(path, model, torch.randn(3, *size)).ok
