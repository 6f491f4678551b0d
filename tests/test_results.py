"""What results say of themselves, and the files that `compress` writes without a run."""

import copy
import json
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import prune_dl.prune as product
import pytest
import torch
from prune_dl.export.session import open_session, run_session
from prune_dl.prune import Compressed, UsageError, compress, rank, shrink
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

SHORT = 500
"""Characters: a few lines of a terminal."""


@pytest.fixture(scope="module")
def loader() -> DataLoader[Any]:
    torch.manual_seed(0)
    images, labels = torch.rand(96, 3, 8, 8), torch.arange(96) % 4
    return DataLoader(TensorDataset(images, labels), batch_size=32)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 128, 3), nn.BatchNorm2d(128), nn.ReLU(), nn.Conv2d(128, 16, 3), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 4),
    )  # fmt: skip


@pytest.fixture(scope="module")
def compressed(loader: DataLoader[Any]) -> Compressed:
    return compress(network(), loader, 4, keep=0.5, epochs=0)


def parts(value: Any, depth: int = 6) -> Iterator[Any]:
    """A result of this product and every such value inside it."""
    if type(value).__module__.startswith("prune_dl."):
        yield value
    inner: list[Any] = []
    if is_dataclass(value):
        inner = [getattr(value, field.name) for field in fields(value)]
    elif isinstance(value, dict):
        inner = list(value.values())
    elif isinstance(value, tuple | list):
        inner = list(value)
    for one in inner if depth else ():
        yield from parts(one, depth - 1)


def test_every_public_result_shows_itself_in_a_few_lines(
    compressed: Compressed, loader: DataLoader[Any]
) -> None:
    shrunk = shrink(network(), torch.rand(1, 3, 8, 8), keep=0.5)
    with pytest.warns(UserWarning, match="no more than chance"):
        spectrum = rank(network(), loader, loader, 4)
    results = [compressed, compressed.cut, shrunk, spectrum]
    found = {type(x).__name__: x for result in results for x in parts(result)}
    assert {"Structure", "Statistics", "Plan", "Ranking", "Spectrum", "Cut"} <= found.keys()
    too_long = {name: len(repr(x)) for name, x in found.items() if len(repr(x)) > SHORT}
    assert not too_long
    assert "Sequential of" in repr(shrunk)
    assert "\n" not in repr(compressed)


def test_results_are_tables_in_a_notebook(compressed: Compressed) -> None:
    shrunk = shrink(network(), torch.rand(1, 3, 8, 8), keep=0.5)
    assert "<td>0</td><td>128</td><td>64</td>" in shrunk._repr_html_()
    assert "<td>7</td><td>it is the output of the network</td>" in shrunk._repr_html_()
    page = compressed._repr_html_()
    assert f"<td>filters</td><td>144</td><td>{compressed.planned.left.keep}</td>" in page
    assert "Held-out top-1" in page
    assert "<td>repaired</td>" in page
    measured = compressed.planned.measured
    assert "written by" in measured.structure._repr_html_()
    assert "success rate" in measured.spectrum._repr_html_()
    assert "of 4 labels" in measured.statistics._repr_html_()


def test_the_package_lists_its_names_and_its_version() -> None:
    assert dir(product) == sorted([*product.__all__, "__version__"])
    assert product.__version__.count(".") == 2
    with pytest.raises(AttributeError, match="no attribute 'tensor'"):
        product.tensor  # noqa: B018


def test_export_writes_the_final_network(compressed: Compressed, tmp_path: Path) -> None:
    made = compressed.export(tmp_path / "small.onnx", opset=17)
    assert made.parity.ok
    images = torch.rand(5, 3, 8, 8)
    file_NK = run_session(open_session(made.path), images.numpy())
    network_now = copy.deepcopy(compressed.model).eval()
    with torch.inference_mode():
        np.testing.assert_allclose(file_NK, network_now(images), atol=1e-5)
    proto = onnx.load(made.path)
    assert proto.opset_import[0].version == 17
    assert compressed.planned.plan.digest in {entry.value for entry in proto.metadata_props}


def test_the_report_has_what_is_known_and_leaves_out_the_rest(
    compressed: Compressed, tmp_path: Path
) -> None:
    page = compressed.report(tmp_path / "here", latency=False)
    report = json.loads((page.parent / "report.json").read_text())
    planned, outcome = compressed.planned, compressed.outcome
    assert report["macs"] == {"original": planned.original.macs, "final": planned.left.macs}
    assert report["held_out"]["final"]["top1"] == outcome.held_out["final"].value
    assert report["target"] == "keep 0.5 of the filters"
    assert report["certificate"]["ok"]
    assert report["accuracy"] == dict.fromkeys(("original", "removed", "repaired", "final"))
    unknown = ("latency_ms", "size_bytes", "parity", "benchmark")
    assert [report[name] for name in unknown] == [None] * 4
    assert any("Latency was not measured" in line for line in report["warnings"])
    assert [
        line for line in compressed.warnings if line.casefold() not in str(report).casefold()
    ] == []
    html = page.read_text()
    assert "Held-out top-1" in html
    assert "held-out top-1" in html.partition("</h1>")[0]


@pytest.mark.slow
def test_the_report_has_the_latency_of_both_networks(
    loader: DataLoader[Any], tmp_path: Path
) -> None:
    result = compress(network(), loader, 4, keep=0.5, epochs=0, bench_seconds=0.1)
    page = result.report(tmp_path)
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["latency_ratio"]["low"] <= report["latency_ratio"]["value"]
    assert report["size_bytes"]["final"] < report["size_bytes"]["original"]
    assert report["parity"]["top1_agreement"] == 1
    assert report["accuracy"]["final"] is None
    assert "Latency p50" in page.read_text()
    assert sorted(x.name for x in tmp_path.iterdir()) == ["report.html", "report.json"]


class TwoInputs(nn.Module):
    """A network of two images."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 8, 3), nn.Linear(8, 4)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        return self.head(self.conv(left - right).relu().mean((2, 3)))


def test_a_network_of_several_inputs_is_not_exported(
    loader: DataLoader[Any], tmp_path: Path
) -> None:
    images, labels = loader.dataset.tensors  # type: ignore[attr-defined]
    both = DataLoader(TensorDataset(images, images.flip(0), labels), batch_size=32)
    result = compress(TwoInputs(), both, 4, keep=0.5, epochs=0)
    with pytest.raises(UsageError, match="several inputs"):
        result.export(tmp_path / "x.onnx")
    assert not list(tmp_path.iterdir())
    assert "No latency: the network takes several inputs" in result.report(tmp_path).read_text()


class TwoHeads(nn.Module):
    """A network of two outputs, each with a column for each label."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.left, self.right = nn.Linear(8, 4), nn.Linear(8, 4)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        features = self.conv(images).relu().mean((2, 3))
        return {"left": self.left(features), "right": self.right(features)}


def test_the_file_holds_the_output_that_was_chosen(loader: DataLoader[Any], tmp_path: Path) -> None:
    torch.manual_seed(0)
    found = compress(TwoHeads().eval(), loader, 4, keep=0.5, epochs=0, output="right")
    images = torch.rand(3, 3, 8, 8)
    made = found.export(tmp_path / "right.onnx")
    file_NK = run_session(open_session(made.path), images.numpy())
    with torch.inference_mode():
        outputs = found.model(images)
    np.testing.assert_allclose(file_NK, outputs["right"], atol=1e-5)
