"""Networks whose code states sizes of channels: lists, attributes, slices, shapes."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scenes import structure_zoo as zoo

Forward = Callable[[Any, Tensor], Tensor]


class Stated(nn.Module):
    """Layers, sizes as plain attributes, and any forward that uses them."""

    def __init__(self, forward: Forward, **attributes: Any) -> None:
        super().__init__()
        for name, value in attributes.items():
            setattr(self, name, value)
        # a method of a class of its own: where names of the code are looked up
        self.__class__ = type("Stated", (Stated,), {"forward": forward})

    forward: Any


def network(inner: nn.Module, width: int, out: int | None = None) -> nn.Module:
    """A convolution of `width` filters, the module, and a head on `out` channels."""
    torch.manual_seed(0)
    layers = [zoo.conv(3, width), nn.ReLU(), inner, zoo.conv(out or width, 6)]
    pooled = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), zoo.head(6)]
    return zoo.randomise(nn.Sequential(*layers, *pooled))


def halves_by_list() -> nn.Module:
    def forward(self: Any, x: Tensor) -> Tensor:
        p, q = torch.split(x, self.splits, 1)
        return torch.cat([self.a(p), self.b(q)], 1)

    return network(
        Stated(forward, splits=[8, 8], a=zoo.conv(8, 8), b=zoo.conv(8, 8, bias=False)), 16
    )


def unequal_by_tuple() -> nn.Module:
    def forward(self: Any, x: Tensor) -> Tensor:
        stays, p, q = torch.split(x, self.indexes[0], 1)
        return torch.cat([stays, self.a(p), self.b(q)], 1)

    attributes = {"indexes": ((8, 4, 4), "same"), "a": zoo.conv(4, 4, groups=4)}
    return network(Stated(forward, **attributes, b=zoo.conv(4, 4, groups=4)), 16)


def two_attributes() -> nn.Module:
    def forward(self: Any, x: Tensor) -> Tensor:
        a, b = torch.split(x, [self.touched, self.untouched], dim=1)
        return torch.cat([self.conv(a), b], 1)

    return network(Stated(forward, touched=4, untouched=12, conv=zoo.conv(4, 4)), 16)


def rest_by_difference() -> nn.Module:
    def forward(self: Any, x: Tensor) -> Tensor:
        a, b = torch.split(x, [self.part, self.dim - self.part], dim=1)
        return torch.cat([self.conv(a).reshape(len(x), self.part, *x.shape[2:]), b], 1)

    return network(Stated(forward, dim=16, part=6, conv=zoo.conv(6, 6)), 16)


def equal_parts() -> nn.Module:
    def forward(self: Any, x: Tensor) -> Tensor:
        a, b, c = torch.split(x, self.width, 1)
        b = self.one(b)
        return torch.cat([a, b, self.two(b + c)], 1)

    return network(Stated(forward, width=6, one=zoo.conv(6, 6), two=zoo.conv(6, 6)), 18)


def half_of_the_whole() -> nn.Module:
    def forward(self: Any, x: Tensor) -> Tensor:
        a, b = torch.split(x, self.in_channels // self.paths, 1)
        return self.one(a) + self.two(b)

    attributes = {"in_channels": 16, "paths": 2}
    return network(Stated(forward, **attributes, one=zoo.conv(8, 8), two=zoo.conv(8, 8)), 16, 8)


def slices() -> nn.Module:
    def forward(self: Any, x: Tensor) -> Tensor:
        return torch.cat([self.a(x[:, : self.first]), x[:, self.first :]], 1)

    return network(Stated(forward, first=7, a=zoo.conv(7, 5)), 16, 14)


def slices_from_the_back() -> nn.Module:
    def forward(self: Any, x: Tensor) -> Tensor:
        return torch.cat([self.a(x[:, -self.last :]), x[:, : -self.last]], 1)

    return network(Stated(forward, last=7, a=zoo.conv(7, 5)), 16, 14)


def scale_of_a_stored_shape() -> nn.Module:
    def forward(self: Any, x: Tensor) -> Tensor:
        return x * self.scale.view(self.shape) + self.shift.expand(self.dim, 1, 1)

    attributes = {"shape": (16, 1, 1), "dim": 16, "scale": nn.Parameter(torch.ones(16))}
    return network(Stated(forward, **attributes, shift=nn.Parameter(torch.ones(1, 1, 1))), 16)


def layer_scale() -> nn.Module:
    def forward(self: Any, x: Tensor) -> Tensor:
        return x + self.conv(x) * self.gamma[None, :, None, None] * self.strength

    parameters = {"gamma": nn.Parameter(torch.ones(16)), "strength": nn.Parameter(torch.ones(1))}
    return network(Stated(forward, **parameters, conv=zoo.conv(16, 16)), 16)


def depthwise_by_function() -> nn.Module:
    def forward(self: Any, x: Tensor) -> Tensor:
        return F.conv2d(x, self.kernel, padding=1, groups=self.groups)

    kernel = nn.Parameter(torch.rand(16, 1, 3, 3))
    return network(Stated(forward, groups=16, kernel=kernel), 16)


def equal_sizes_of_two_attributes() -> nn.Module:
    def forward(self: Any, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).split([self.key, self.key, self.value], dim=1)
        v = self.more(v).view(len(x), self.value, *x.shape[2:])
        return torch.cat([v, self.gate(q).sigmoid() * self.gate(k)], 1)

    layers = {"qkv": zoo.conv(16, 24), "more": zoo.conv(8, 8), "gate": zoo.conv(8, 4)}
    return network(Stated(forward, key=8, value=8, **layers), 16, 12)


def sizes_in_a_property_and_a_child() -> nn.Module:
    def forward(self: Any, x: Tensor) -> Tensor:
        p, q = x.split([self.gate.width, self.rest], dim=1)
        return torch.cat([self.gate(p), q], 1)

    def gated(self: Any, x: Tensor) -> Tensor:
        return self.conv(x).sigmoid() * x

    inner = Stated(forward, gate=Stated(gated, width=6, conv=zoo.conv(6, 6)), others=(10,))
    type(inner).rest = property(lambda self: self.others[0])  # type: ignore[attr-defined]
    return network(inner, 16)


def groups_that_do_not_mix() -> nn.Module:
    def forward(self: Any, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        x = x.reshape(n, self.groups, c // self.groups, h, w)
        spread = x.var((2, 3, 4), keepdim=True).add(1e-5).sqrt()
        return (x / spread).reshape(n, c, h, w) / spread.expand(x.shape).reshape(n, c, h, w)

    return network(Stated(forward, groups=8), 16)


def constants() -> nn.Module:
    def forward(self: Any, x: Tensor) -> Tensor:
        return torch.maximum(x, torch.full((1, self.dim, 1, 1), -0.1))

    return network(Stated(forward, dim=16), 16)


def norm_of_each_channel() -> nn.Module:
    def forward(self: Any, x: Tensor) -> Tensor:
        return F.group_norm(x, self.groups, self.scale)

    return network(Stated(forward, groups=16, scale=nn.Parameter(torch.ones(16))), 16)


def twice_an_attribute() -> nn.Module:
    def forward(self: Any, x: Tensor) -> Tensor:
        p, q = torch.split(x, [2 * self.width, self.width], dim=1)
        return torch.cat([self.conv(p), q], 1)

    return network(Stated(forward, width=6, conv=zoo.conv(12, 6)), 18, 12)
