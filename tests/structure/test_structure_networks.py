"""Networks that people use: CIFAR ResNet-56, and small ones of torchvision's transformers."""

from collections.abc import Callable

import pytest
import torch
from prune_dl.prune.inputs.zoo import build
from prune_dl.prune.structure.certificate import certify
from prune_dl.prune.structure.cost import CostModel
from prune_dl.prune.structure.cut import Cut
from prune_dl.prune.structure.surgery import remove
from prune_dl.prune.structure.tracing.trace import trace
from prune_dl.prune.structure.units import Structure
from scenes import structure_zoo as zoo
from scenes.plans import layers_of, random_plan
from torch import Tensor, nn
from torchvision.models import MaxVit, SwinTransformer, VisionTransformer
from torchvision.models.swin_transformer import PatchMergingV2, SwinTransformerBlockV2

IMAGES = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
SWIN = {
    "patch_size": [4, 4],
    "embed_dim": 16,
    "depths": [2, 2],
    "num_heads": [2, 4],
    "window_size": [4, 4],
    "num_classes": 5,
}


def swin() -> nn.Module:
    return SwinTransformer(**SWIN)


def swin_v2() -> nn.Module:
    return SwinTransformer(**SWIN, block=SwinTransformerBlockV2, downsample_layer=PatchMergingV2)


def vit() -> nn.Module:
    return VisionTransformer(32, 8, 2, 2, 16, 32, num_classes=5)


def maxvit() -> nn.Module:
    return MaxVit((32, 32), 8, 4, [24, 24], [1, 1], 12, 0.0, num_classes=5)


def cut(model: nn.Module, structure: Structure, images: Tensor) -> nn.Module:
    """A certified, smaller network that ran, took a gradient, and is as large as was counted."""
    plan = random_plan(structure)
    smaller = remove(model, Cut(structure, plan))
    certificate = certify(model, smaller, Cut(structure, plan), images)
    assert certificate.ok, certificate.reason
    smaller.train()(images).square().sum().backward()
    widths = [len(layer.kept) for layer in plan.layers]
    cost = CostModel.of(model, structure)
    assert cost.params(widths) == sum(p.numel() for p in smaller.parameters())  # type: ignore[arg-type]
    return smaller.eval()


def test_resnet56_with_padded_shortcuts_is_pruned_exactly_and_again() -> None:
    model = zoo.randomise(build("resnet56", 10))
    structure = trace(model, IMAGES)
    widths = layers_of(structure)
    assert {widths[f"layer1.{i}.conv1"] for i in range(9)} == {16}
    assert {widths[f"layer3.{i}.conv1"] for i in range(9)} == {64}
    partly = {
        reason for reason in structure.kept_whole.values() if "padded with channels" in reason
    }
    assert any(reason.startswith("16 of 32 filters") for reason in partly)
    assert any(reason.startswith("48 of 64 filters") for reason in partly)
    smaller = cut(model, structure, IMAGES)
    cut(smaller, trace(smaller, IMAGES), IMAGES)


@pytest.mark.parametrize("make", [swin, swin_v2, vit, maxvit], ids=lambda make: make.__name__)
def test_attention_of_transformers_goes_or_is_explained(make: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    model = make().eval()
    structure = trace(model, IMAGES)
    hidden = [n for n, m in model.named_modules() if isinstance(m, nn.Linear) and is_first(n)]
    assert hidden
    assert set(hidden) <= layers_of(structure).keys()
    attention = [n for n in structure.kept_whole if n.split(".")[-1] in QUERIES]
    # of the only head of the first stage, the width sets the scale
    assert all(name.startswith("features.1.") for name in attention)
    assert all("fixes its size" in structure.kept_whole[name] for name in attention)
    cut(model, structure, IMAGES)


def test_heads_are_told_from_a_width_that_is_as_long() -> None:
    """As in the last stages of Swin v2 base: 32 heads of width 32."""
    torch.manual_seed(0)
    kind = {"block": SwinTransformerBlockV2, "downsample_layer": PatchMergingV2}
    model = SwinTransformer(**{**SWIN, "num_heads": [4, 8]}, **kind).eval()
    structure = trace(model, IMAGES)
    assert set(structure.kept_whole) == {"head"}
    assert cut(model, structure, IMAGES).features[1][0].attn.num_heads < 4  # type: ignore[index, union-attr]


QUERIES = ("qkv", "to_qkv", "out_proj")


def is_first(name: str) -> bool:
    """The first linear layer of a multi-layer perceptron."""
    return name.endswith(("mlp.0", "mlp_layer.1", "mlp_layer.0")) or ".mlp.linear_1" in name


@pytest.mark.filterwarnings("ignore")
def test_what_hides_its_layers_is_refused_with_what_to_do() -> None:
    plain, inputs = zoo.plain()
    assert isinstance(inputs, Tensor)
    script = torch.jit.trace(plain, inputs)
    for hidden in (script, nn.DataParallel(plain), nn.Sequential(script)):
        with pytest.raises(
            ValueError, match=r"hides its layers; .* give the one that it was made from"
        ):
            trace(hidden, inputs)


@pytest.mark.filterwarnings("ignore")
def test_a_compiled_network_is_pruned_by_its_own_names() -> None:
    model, inputs = zoo.residual()
    compiled = torch.compile(model, backend="eager")
    structure = trace(compiled, inputs)
    assert set(layers_of(structure)) == {"_orig_mod.a", "_orig_mod.b"}


@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_every_type_and_memory_format_gives_the_same_structure(
    dtype: torch.dtype, order: torch.memory_format
) -> None:
    expected = trace(*zoo.squeeze_excite())
    model, inputs = zoo.squeeze_excite()
    changed = model.to(dtype=dtype, memory_format=order)
    found = trace(changed, inputs.to(dtype=dtype, memory_format=order))  # type: ignore[attr-defined]
    assert layers_of(found) == layers_of(expected)
    smaller = remove(changed, Cut(found, random_plan(found)))
    assert {p.dtype for p in smaller.parameters()} == {dtype}
    weight = smaller.a.weight
    assert weight.is_contiguous(memory_format=order)


def test_inputs_may_be_a_tuple_and_outputs_an_object() -> None:
    class Output:
        def __init__(self, logits: Tensor, features: Tensor) -> None:
            self.logits, self.features = logits, features

    def forward(net: zoo.Net, left: Tensor, right: Tensor) -> Output:
        x = net.a(left) * net.b(right)
        return Output(net.head(zoo.pool(x)), net.c(x))

    parts = {"a": zoo.conv(3, 8), "b": zoo.conv(3, 8), "c": zoo.conv(8, 4), "head": zoo.head(8)}
    model, inputs = zoo.Net(forward, **parts), (zoo.images(), zoo.images(2))
    structure = trace(model, inputs)
    assert layers_of(structure) == {"a": 8}
    assert set(structure.kept_whole) == {"c", "head"}
    plan = random_plan(structure)
    smaller = remove(model, Cut(structure, plan))
    assert certify(model, smaller, Cut(structure, plan), inputs).reason.startswith("equal")
