"""Tensors that code caches in plain attributes: made again by the smaller network, never stale."""

import copy
from collections.abc import Callable

import pytest
import torch
from prune_dl.prune import shrink
from prune_dl.prune.structure.certificate import certify
from prune_dl.prune.structure.cut import Cut
from prune_dl.prune.structure.surgery import remove
from prune_dl.prune.structure.tracing.trace import trace
from scenes import structure_zoo as zoo
from scenes.plans import layers_of, random_plan
from torch import Tensor, nn


class Shifted(nn.Module):
    """Adds a table of its own; how it keeps the prepared table is up to the subclass."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(8))

    def prepared(self, x: Tensor) -> Tensor:
        return self.table.exp().view(1, -1, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.prepared(x)


class ByDevice(Shifted):
    """As timm's `attention_bias_cache`."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[str, Tensor] = {}

    def prepared(self, x: Tensor) -> Tensor:
        if str(x.device) not in self.kept:
            self.kept[str(x.device)] = super().prepared(x)
        return self.kept[str(x.device)]


class OrNone(Shifted):
    kept: Tensor | None = None

    def prepared(self, x: Tensor) -> Tensor:
        if self.kept is None:
            self.kept = super().prepared(x)
        return self.kept


class NotYetThere(Shifted):
    def prepared(self, x: Tensor) -> Tensor:
        if "kept" not in vars(self):
            self.kept = super().prepared(x)
        return self.kept


class InAList(Shifted):
    def __init__(self) -> None:
        super().__init__()
        self.kept: list[Tensor] = []

    def prepared(self, x: Tensor) -> Tensor:
        if not self.kept:
            self.kept.append(super().prepared(x))
        return self.kept[0]


class LazyBuffer(Shifted):
    def prepared(self, x: Tensor) -> Tensor:
        if not hasattr(self, "kept"):
            self.register_buffer("kept", torch.ones(1, x.shape[1], 1, 1), persistent=False)
        return super().prepared(x) * self.kept


def network(cache: nn.Module, norm: nn.Module | None = None) -> nn.Module:
    """Two convolutions with the cache between them; a norm over channels forbids a certificate."""
    torch.manual_seed(0)
    layers = [zoo.conv(3, 8), norm or nn.Identity(), cache, nn.ReLU(), zoo.conv(8, 6)]
    tail = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), zoo.head(6)]
    return nn.Sequential(*layers, *tail).eval()


KINDS = (ByDevice, OrNone, NotYetThere, InAList, LazyBuffer)


@pytest.mark.parametrize("mixes", [False, True])
@pytest.mark.parametrize("ran", ["never", "without gradients", "with gradients", "after the trace"])
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_caches_are_made_again(kind: Callable[[], nn.Module], ran: str, mixes: bool) -> None:
    model, images = network(kind(), nn.GroupNorm(1, 8) if mixes else None), zoo.images()
    expected = copy.deepcopy(model)(images)
    if ran in ("without gradients", "with gradients"):
        with torch.set_grad_enabled(ran == "with gradients"):
            model(images)
    held = copy.copy(vars(model[2]))  # type: ignore[index]
    structure = trace(model, images)
    assert layers_of(structure) == {"0": 8, "4": 6}
    assert vars(model[2]).keys() == held.keys()  # type: ignore[index]
    if ran == "after the trace":
        with torch.no_grad():
            model(images)
    cut = Cut(structure, random_plan(structure))
    smaller = remove(model, cut)
    certificate = certify(model, smaller, cut, images)
    assert certificate.ok
    assert certificate.applies is not mixes
    assert smaller(images).shape == (2, 5)
    assert torch.equal(model(images), expected)


class Scaled(Shifted):
    """A constant of its own, which it can do without: then its outputs are others."""

    def __init__(self) -> None:
        super().__init__()
        self.scale: Tensor | None = torch.tensor(3.0)
        self.for_the_loss = torch.ones(5)

    def prepared(self, x: Tensor) -> Tensor:
        return super().prepared(x) * (1.0 if self.scale is None else self.scale)


def test_constants_are_no_caches() -> None:
    model = network(Scaled())
    model(zoo.images())
    smaller = remove(model, Cut(structure := trace(model, zoo.images()), random_plan(structure)))
    assert structure.caches == ()
    assert smaller[2].scale == 3  # type: ignore[index, union-attr]
    assert smaller[2].for_the_loss.shape == (5,)  # type: ignore[index, union-attr, operator]


@pytest.mark.parametrize("norm", [nn.Identity(), nn.GroupNorm(1, 8)], ids=["exact", "mixes"])
def test_a_network_that_cannot_run_is_never_certified(norm: nn.Module) -> None:
    model = network(nn.Identity(), norm)
    cut = Cut(structure := trace(model, zoo.images()), random_plan(structure))
    smaller = remove(model, cut)
    smaller[-1] = zoo.head(6)  # type: ignore[index]
    certificate = certify(model, smaller, cut, zoo.images())
    assert not certificate.ok
    assert certificate.reason.startswith("the smaller network does not run (mat1 and mat2")


def test_float32_constants_of_the_code_do_not_stop_a_check_in_float64() -> None:
    """Outputs that amplify rounding are compared in float64, whatever the code makes in float32."""

    def forward(net: zoo.Net, x: Tensor) -> Tensor:
        y = net.c(net.b(net.a(x).relu()).relu())
        ramp = torch.linspace(-1, 1, y.shape[-1])[None].float()
        return (y.squeeze(1) * 1e6).sin() @ ramp.expand(y.shape[-1], -1)[None]

    torch.manual_seed(0)
    model = zoo.Net(forward, a=zoo.conv(3, 64), b=zoo.conv(64, 64), c=zoo.conv(64, 1))
    assert shrink(model, zoo.images(1, 32), keep=0.5).certificate.reason == "equal in float64"
