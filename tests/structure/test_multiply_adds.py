"""Multiply-adds equal half the operations that `torch.utils.flop_counter` counts, at any widths."""

from collections.abc import Callable
from contextlib import nullcontext

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from prune_dl.prune.forward import call, tensors_of, unfused_attention
from prune_dl.prune.job.layers import layer_costs
from prune_dl.prune.structure.cost import CostModel
from prune_dl.prune.structure.cut import Cut
from prune_dl.prune.structure.surgery import remove
from prune_dl.prune.structure.tracing.trace import trace
from scenes import structure_zoo as zoo
from scenes.attention import Attention, transformer
from scenes.plans import random_plan
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from torchvision import models


def standardised() -> zoo.Built:
    """Weights that pass through a norm, as in NFNets and BiT."""

    def forward(net: zoo.Net, x: Tensor) -> Tensor:
        flat = net.b.weight.reshape(1, net.b.out_channels, -1)
        weight = F.batch_norm(flat, None, None, training=True).reshape_as(net.b.weight)
        return net.head(zoo.pool(F.conv2d(net.a(x), weight, net.b.bias)))

    return zoo.Net(forward, a=zoo.conv(3, 8), b=zoo.conv(8, 6), head=zoo.head(6)), zoo.images()


def spatial_perceptron() -> zoo.Built:
    """A linear layer over positions, through transposes and by einsum, as in Mixer and gMLP."""

    def forward(net: zoo.Net, x: Tensor) -> Tensor:
        x = net.a(x).flatten(2)
        x = net.mix(x.transpose(1, 2).transpose(1, 2)).relu()
        x = torch.einsum("nct,ts->ncs", x, net.einsum)
        return net.head(x.mean(dim=2))

    parts = {"mix": nn.Linear(64, 16), "einsum": nn.Parameter(torch.randn(16, 12))}
    return zoo.Net(forward, a=zoo.conv(3, 8), head=zoo.head(8), **parts), zoo.images()


def conditional() -> zoo.Built:
    """A convolution whose weight is a sum of experts, weighted for each image."""

    def forward(net: zoo.Net, x: Tensor) -> Tensor:
        x = net.a(x)
        n, c, h, w = x.shape
        weight = net.route(zoo.pool(x)).sigmoid() @ net.experts
        x = F.conv2d(x.reshape(1, n * c, h, w), weight.view(n * 6, c, 3, 3), groups=n)
        return net.head(zoo.pool(x.view(n, 6, h - 2, w - 2)))

    experts = nn.Parameter(torch.randn(3, 6 * 8 * 9) / 9)
    parts = {"route": nn.Linear(8, 3), "experts": experts, "head": zoo.head(6)}
    return zoo.Net(forward, a=zoo.conv(3, 8), **parts), zoo.images()


def functional_linear() -> zoo.Built:
    """A parameter of the network itself as the weight of `F.linear`, and half of one."""

    def forward(net: zoo.Net, x: Tensor) -> Tensor:
        x = F.linear(zoo.pool(net.a(x)), net.weight).relu()
        return net.head(x) + F.linear(x, net.head.weight[:5])

    parts = {"weight": nn.Parameter(torch.randn(10, 8)), "head": zoo.head(10)}
    return zoo.Net(forward, a=zoo.conv(3, 8), **parts), zoo.images()


def attention() -> zoo.Built:
    return transformer(Attention(24, 4)), zoo.images()


def trained_differently() -> zoo.Built:
    """An auxiliary head that runs in training alone: it is traced, and counts for nothing."""

    def forward(net: zoo.Net, x: Tensor) -> object:
        x = net.a(x)
        logits = net.head(zoo.pool(x))
        return (logits, net.auxiliary(zoo.pool(x))) if net.training else logits

    parts = {"auxiliary": zoo.head(8), "head": zoo.head(8)}
    return zoo.Net(forward, a=zoo.conv(3, 8), **parts), zoo.images()


MADE = (
    *(standardised, spatial_perceptron, conditional, functional_linear, attention),
    trained_differently,
)


NAMES = [x for x in models.list_models(module=models) if x != "regnet_y_128gf"]
"""The largest one would take 5 GB."""


def counted(model: nn.Module, inputs: object) -> int:
    """Half the operations of one image, by an independent count.

    Attention in its plain form: the counter does not know the fused one of a CPU.
    """
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), unfused_attention(), sdpa_kernel(SDPBackend.MATH), counter:
        call(model, inputs)
    return counter.get_total_flops() // 2 // len(tensors_of(inputs)[0])


def check(model: nn.Module, inputs: object) -> None:
    structure = trace(model.eval(), inputs)
    plan = random_plan(structure)
    cut = Cut(structure, plan)
    cost = CostModel.of(model, structure)
    whole = np.array([layer.num_filters for layer in plan.layers])
    left = np.array([len(layer.kept) for layer in plan.layers])
    assert cost.macs(whole) == counted(model, inputs)
    assert cost.macs(left) == counted(remove(model, cut), inputs)
    costs = layer_costs(model, cut).values()
    before, after = (sum(getattr(one.macs, x) for one in costs) for x in ("original", "final"))
    assert before == pytest.approx(cost.macs(whole), abs=len(costs))
    assert after == pytest.approx(cost.macs(left), abs=len(costs))


@pytest.mark.parametrize("build", [*zoo.EXACT, *MADE], ids=lambda build: build.__name__)
def test_multiply_adds_are_those_of_the_operations(build: Callable[[], zoo.Built]) -> None:
    torch.manual_seed(0)
    check(*build())


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.filterwarnings("ignore:The default weight initialization:FutureWarning")
def test_multiply_adds_of_torchvision(name: str) -> None:
    size = 224 if name.startswith(("vit", "maxvit", "swin")) else 128
    on_meta = not name.startswith("regnet")  # their code reads numbers while it builds
    with torch.device("meta") if on_meta else nullcontext():
        model = models.get_model(name, weights=None)
    if on_meta:
        model.to_empty(device="cpu")
    for tensor in [*model.parameters(), *model.buffers()]:
        tensor.data.zero_()
    check(model, torch.zeros(1, 3, size, size))
