"""ONNX files of networks with any outputs: names, values, refusals."""

from pathlib import Path

import onnx
import pytest
import torch
from prune_dl.export import all_outputs
from prune_dl.export.all_outputs import export_outputs
from prune_dl.export.session import open_session
from prune_dl.prune.errors import GateError, InputError
from scenes.dense_networks import Autoencoder, UNet


def test_every_output_is_there_by_name_and_checked(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, images = Autoencoder(4), torch.rand(3, 3, 16, 16)
    done = export_outputs(model, images, tmp_path / "net.onnx", metadata={"made": "here"})
    graph = onnx.load(done.path).graph
    assert [x.name for x in graph.output] == ["picture", "code"]
    assert set(done.differences) == {"picture", "code"}
    assert max(done.differences.values()) < 1e-5
    assert done.size_bytes == done.path.stat().st_size
    found = open_session(done.path).run(None, {"images": images[:1].numpy()})
    assert torch.allclose(torch.from_numpy(found[1]), model(images[:1])["code"], atol=1e-5)


def test_a_bare_map_and_a_fixed_batch(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, images = UNet(4), torch.rand(3, 3, 16, 16)
    done = export_outputs(model, images, tmp_path / "net.onnx", metadata={}, batch_size=2)
    graph = onnx.load(done.path).graph
    assert [x.name for x in graph.output] == ["output"]
    assert graph.input[0].type.tensor_type.shape.dim[0].dim_value == 2


def test_a_file_that_differs_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(all_outputs, "PARITY_TOLERANCE", -1.0)
    with pytest.raises(GateError, match=r"output output of .* differs .* the file was removed"):
        export_outputs(UNet(4), torch.rand(2, 3, 16, 16), tmp_path / "net.onnx", metadata={})
    assert not (tmp_path / "net.onnx").exists()


def test_several_inputs_are_refused(tmp_path: Path) -> None:
    images = torch.rand(2, 3, 16, 16)
    with pytest.raises(InputError, match="a network of several inputs given"):
        export_outputs(UNet(4), (images, images), tmp_path / "net.onnx", metadata={})  # type: ignore[arg-type]
