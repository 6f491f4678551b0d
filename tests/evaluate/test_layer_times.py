"""The time of a file by layer: operators that were joined, and those whose layer nobody knows."""

from pathlib import Path

import onnx
import pytest
from onnx import helper
from prune_dl.evaluate.measure.layer_times import divide_times, layer_times
from prune_dl.export.graph import export_onnx
from prune_dl.prune.options import BenchOptions
from torch import Tensor, nn

LAYERS = ("first", "second", "short", "head")


def block() -> onnx.GraphProto:
    """Two convolutions, a third one beside them, their sum, and a linear layer."""
    nodes = [
        helper.make_node("Conv", ["images", "model.first.weight"], ["a"], "conv_a"),
        helper.make_node("Relu", ["a"], ["b"], "relu_b"),
        helper.make_node("Conv", ["b", "second.weight"], ["c"], "conv_c"),
        helper.make_node("Conv", ["images", "short.weight"], ["d"], "conv_d"),
        helper.make_node("Add", ["c", "d"], ["e"], "add_e"),
        helper.make_node("Relu", ["e"], ["f"], "relu_f"),
        helper.make_node("GlobalAveragePool", ["f"], ["g"], "pool_g"),
        helper.make_node("Gemm", ["g", "head.weight"], ["logits"], "head_h"),
    ]
    return helper.make_graph(nodes, "block", [], [])


def test_a_joined_operator_belongs_to_the_one_layer_that_it_can_be_of() -> None:
    times = {
        ("b_nchwc", "Conv"): 30.0,  # the first, with its activation
        ("d_nchwc_token_7", "Conv"): 20.0,
        ("fused relu_f", "FusedConv"): 10.0,  # the second with sum and activation: d is told
        ("ReorderOutput_token_3", "ReorderOutput"): 25.0,
        ("head_h", "Gemm"): 15.0,
    }
    found = divide_times(block(), times, LAYERS, 3)
    assert found.share_of == {"first": 0.3, "short": 0.2, "second": 0.1, "head": 0.15}
    assert (found.other, found.unsure, found.num_runs) == (0.25, 0.0, 3)


@pytest.mark.parametrize("name", ["f_nchwc", "made up", "g"])
def test_an_operator_of_two_possible_layers_or_of_none_counts_for_none(name: str) -> None:
    found = divide_times(block(), {(name, "Conv"): 3.0, ("b", "Conv"): 1.0}, LAYERS, 1)
    assert found.share_of == {"first": 0.25}
    assert found.unsure == 0.75


class Residual(nn.Module):
    """A block with a sum and a depthwise convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.inner = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1)
        self.norm, self.depth = nn.BatchNorm2d(16), nn.Conv2d(16, 16, 3, groups=16)
        self.head = nn.Linear(16, 4)

    def forward(self, images: Tensor) -> Tensor:
        x = self.stem(images).relu()
        x = (x + self.norm(self.inner(x))).relu()
        return self.head(self.depth(x).relu().mean((2, 3)))


def test_every_layer_of_an_exported_network_gets_its_share(tmp_path: Path) -> None:
    network = Residual().eval()
    path = export_onnx(network, (3, 12, 12), tmp_path / "a.onnx", metadata={})
    names = [name for name, _ in network.named_modules()]
    found = layer_times(path, BenchOptions(threads=1), names)
    assert found is not None
    assert set(found.share_of) == {"stem", "inner", "depth", "head"}
    assert found.unsure == 0
    assert sum(found.share_of.values()) + found.other == pytest.approx(1)
    assert layer_times(path, BenchOptions(provider="cuda"), names) is None
