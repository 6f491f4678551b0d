"""Small networks that each use one thing that a structure engine trips over."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Built = tuple[nn.Module, object]


class Net(nn.Module):
    """Modules by name, and any forward."""

    def __init__(self, forward: Callable[..., object], **modules: nn.Module | nn.Parameter) -> None:
        super().__init__()
        self._function = forward
        for name, module in modules.items():
            setattr(self, name, module)

    def forward(self, *args: Tensor, **kwargs: Tensor) -> object:
        return self._function(self, *args, **kwargs)


def conv(inputs: int, outputs: int, **options: int | bool) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1, **options)  # type: ignore[arg-type]


def images(count: int = 2, size: int = 8) -> Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(7))


def head(width: int) -> nn.Linear:
    return nn.Linear(width, 5)


def pool(x: Tensor) -> Tensor:
    return x.mean(dim=(2, 3))


def randomise(model: nn.Module, seed: int = 0) -> nn.Module:
    """Norms and biases that do something, so that no error hides behind a zero."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if tensor.is_floating_point() and tensor.ndim == 1:
            low = 0.5 if name.endswith(("running_var", "weight")) else -0.5
            tensor.data.copy_(torch.rand(tensor.shape, generator=generator) + low)
    return model.eval()


def plain() -> Built:
    layers = [conv(3, 8), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), conv(8, 6), nn.ReLU()]
    return nn.Sequential(
        *layers, nn.Flatten(), nn.Linear(6 * 16, 10), nn.ReLU(), head(10)
    ), images()


def residual() -> Built:
    def forward(net: Net, x: Tensor) -> Tensor:
        x = net.a(x)
        return net.head(pool(x + net.c(torch.relu(net.b(x)))))

    return Net(forward, a=conv(3, 8), b=conv(8, 6), c=conv(6, 8), head=head(8)), images()


def option_a() -> Built:
    def forward(net: Net, x: Tensor) -> Tensor:
        x = net.a(x)
        short = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 4, 4))
        return net.head(pool(torch.relu(net.b(x) + short)))

    b = nn.Conv2d(8, 16, 3, stride=2, padding=1)
    return Net(forward, a=conv(3, 8), b=b, head=head(16)), images()


def shuffle() -> Built:
    def forward(net: Net, x: Tensor) -> Tensor:
        x = net.a(x)
        n, c, h, w = x.shape
        x = x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
        left, right = x.chunk(2, dim=1)
        return net.head(pool(torch.cat([left, net.b(right)], dim=1)))

    return Net(forward, a=conv(3, 12), b=conv(6, 6), head=head(12)), images()


def concatenation() -> Built:
    def forward(net: Net, x: Tensor) -> Tensor:
        a, b = net.a(x), net.b(x)
        return net.head(pool(torch.relu(net.norm(torch.cat([a, b, a], dim=1)))))

    norm = nn.BatchNorm2d(22)
    return Net(forward, a=conv(3, 8), b=conv(3, 6), norm=norm, head=head(22)), images()


def squeeze_excite() -> Built:
    def forward(net: Net, x: Tensor) -> Tensor:
        x = net.a(x)
        gate = torch.sigmoid(net.up(torch.relu(net.down(pool(x)))))
        return net.head(pool(x * gate[:, :, None, None]))

    parts = {"a": conv(3, 8), "down": nn.Linear(8, 4), "up": nn.Linear(4, 8), "head": head(8)}
    return Net(forward, **parts), images()


def grouped() -> Built:
    layers = [conv(3, 12), nn.ReLU(), conv(12, 8, groups=4), nn.ReLU(), conv(8, 16, groups=8)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head(16)), images()


def transposed() -> Built:
    layers = [
        conv(3, 8),
        nn.ConvTranspose2d(8, 12, 2, stride=2, groups=2),
        nn.ReLU(),
        nn.ConvTranspose2d(12, 6, 2, stride=2),
        nn.ConvTranspose2d(6, 6, 2, groups=6),
    ]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head(6)), images()


def group_norm() -> Built:
    layers = [conv(3, 8), nn.GroupNorm(2, 8), conv(8, 6), nn.GroupNorm(6, 6)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head(6)), images()


def channelwise_norm() -> Built:
    layers = [conv(3, 8), nn.GroupNorm(8, 8), nn.InstanceNorm2d(8, affine=True), conv(8, 6)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head(6)), images()


def shared_and_tied() -> Built:
    def forward(net: Net, x: Tensor) -> Tensor:
        x = net.a(x)
        x = net.b(torch.relu(net.b(x)))
        return net.head(pool(net.c(x)))

    b, c = conv(8, 8), conv(8, 8)
    c.weight = b.weight
    return Net(forward, a=conv(3, 8), b=b, c=c, head=head(8)), images()


def prelu_and_scale() -> Built:
    def forward(net: Net, x: Tensor) -> Tensor:
        x = net.act(net.a(x)) * net.gamma
        return net.head(pool(net.b(x) + net.shift))

    scale = nn.Parameter(torch.rand(8, 1, 1))
    net = Net(forward, a=conv(3, 8), act=nn.PReLU(8), gamma=scale, b=conv(8, 6), head=head(6))
    net.register_buffer("shift", torch.rand(1, 6, 1, 1))
    return net, images()


def pixel_shuffle() -> Built:
    layers = [conv(3, 16), nn.PixelShuffle(2), conv(4, 6), nn.PixelUnshuffle(2), conv(24, 6)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head(6)), images()


def several_inputs() -> Built:
    def forward(net: Net, left: Tensor, right: Tensor) -> Tensor:
        return net.head(pool(net.a(left) + net.b(right)))

    inputs = {"left": images(), "right": images()}
    return Net(forward, a=conv(3, 8), b=conv(3, 8), head=head(8)), inputs


def dictionary_output() -> Built:
    def forward(net: Net, x: Tensor) -> dict[str, object]:
        x = net.a(x)
        return {"features": net.b(x), "logits": [net.head(pool(x))]}

    return Net(forward, a=conv(3, 8), b=conv(8, 4), head=head(8)), images()


def control_flow() -> Built:
    def forward(net: Net, x: Tensor) -> Tensor:
        branch = net.b if float(x.abs().sum()) > 0 else net.c
        x = branch(net.a(x))
        for _ in range(int(x.shape[-1]) // 4):
            x = net.d(x)
        return net.head(pool(x))

    parts = {"a": conv(3, 8), "b": conv(8, 6), "c": conv(8, 6), "d": conv(6, 6), "head": head(6)}
    return Net(forward, **parts), images()


def loose_parameter() -> Built:
    def forward(net: Net, x: Tensor) -> Tensor:
        x = torch.relu(net.a(x))
        x = F.conv2d(x, net.kernel, padding=1)
        return net.head(pool(torch.relu(net.b(x))))

    kernel = nn.Parameter(torch.randn(6, 8, 3, 3) / 8)
    return Net(forward, a=conv(3, 8), kernel=kernel, b=conv(6, 7), head=head(7)), images()


def weight_standardised() -> Built:
    def forward(net: Net, x: Tensor) -> Tensor:
        x = net.a(x)
        weight = net.b.weight / (1 + net.b.weight.abs())
        return net.head(pool(F.conv2d(x, weight, net.b.bias, padding=1)))

    return Net(forward, a=conv(3, 8), b=conv(8, 6), head=head(6)), images()


EXACT = (
    *(plain, residual, option_a, shuffle, concatenation, squeeze_excite, grouped, transposed),
    *(channelwise_norm, shared_and_tied, prelu_and_scale, pixel_shuffle, several_inputs),
    *(dictionary_output, control_flow, loose_parameter, weight_standardised),
)
"""Networks in which removing must equal silencing."""
