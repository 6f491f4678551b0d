"""Transformers whose stream became narrower: their file, and their ONNX graph."""

from pathlib import Path

import pytest
import torch
from prune_dl.export.graph import export_onnx
from prune_dl.export.parity import check_parity
from prune_dl.prune import Shrunk, shrink
from prune_dl.prune.inputs import pruned_file
from prune_dl.prune.inputs.origin import Origin
from scenes import structure_zoo as zoo
from torch import Tensor, nn

TORCHVISION = {
    **{"image_size": 32, "patch_size": 8, "num_layers": 2, "num_heads": 4, "hidden_dim": 16},
    **{"mlp_dim": 32, "num_classes": 5},
}
TIMM = {
    **{"img_size": 32, "patch_size": 8, "depth": 2, "num_heads": 4, "embed_dim": 16},
    **{"num_classes": 5},
}


def vit(kind: str) -> nn.Module:
    """A tiny one of either zoo."""
    if kind == "torchvision":
        from torchvision.models import VisionTransformer

        return VisionTransformer(**TORCHVISION)
    timm = pytest.importorskip("timm")
    model: nn.Module = timm.models.VisionTransformer(**TIMM)
    return model


def images(count: int = 2) -> Tensor:
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module", params=["torchvision", "timm"])
def narrow(request: pytest.FixtureRequest) -> tuple[str, Shrunk]:
    torch.manual_seed(0)
    model = zoo.randomise(vit(request.param))
    return request.param, shrink(model, images(), keep=0.5)


def widths(kind: str, model: nn.Module) -> list[int]:
    """Channels of the stream as three places of the network state them."""
    if kind == "timm":
        head, positions = model.get_parameter("head.weight"), model.get_parameter("pos_embed")
        norm = model.get_parameter("norm.weight")
        return [head.shape[1], positions.shape[2], norm.numel()]
    attention = model.get_submodule("encoder.layers.encoder_layer_0.self_attention")
    assert isinstance(attention, nn.MultiheadAttention)
    return [attention.embed_dim, attention.kdim, int(model.hidden_dim)]  # type: ignore[arg-type]


def test_the_width_of_the_stream_goes_down_and_comes_back_from_the_file(
    narrow: tuple[str, Shrunk], tmp_path: Path
) -> None:
    kind, shrunk = narrow
    assert widths(kind, vit(kind)) == [16] * 3
    assert widths(kind, shrunk.model) == [8] * 3
    path = tmp_path / "model.safetensors"
    pruned_file.save_pruned(path, shrunk.model, Origin(None, 5), shrunk.cut.kept, {})
    again = pruned_file.load_pruned(path, vit(kind))
    assert widths(kind, again) == [8] * 3
    with torch.no_grad():
        assert torch.equal(again(images()), shrunk.model(images()))


def test_its_graph_equals_it(narrow: tuple[str, Shrunk], tmp_path: Path) -> None:
    shrunk = narrow[1]
    path = export_onnx(shrunk.model, (3, 32, 32), tmp_path / "model.onnx", metadata={})
    parity = check_parity(path, shrunk.model, images(8))
    assert parity.ok
    assert parity.max_relative_difference < 1e-4
