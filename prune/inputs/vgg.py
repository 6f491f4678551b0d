"""The VGG family for small images: VGG-6, VGG-11, VGG-16 and AVGG-16.

Every network is `features` (3 x 3 convolutions with bias, batch norm, ReLU, pooling) and one
linear `classifier`. VGG-16's keys are those of torchvision's `vgg16_bn` up to the classifier.

VGG: Simonyan and Zisserman, arXiv 1409.1556. VGG-6 and AVGG-16: Meir et al., arXiv 2303.05800.
"""

import math

from torch import Tensor, nn
from torch.nn import functional

from ..errors import UsageError

VGG_LAYERS: dict[str, tuple[int | str, ...]] = {
    "vgg6": (64, "M", 128, "M", 256, "M", 512, "M", 512, "M"),
    "vgg11": (64, "M", 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M"),
    "vgg16": (
        *(64, 64, "M", 128, 128, "M", 256, 256, 256, "M"),
        *(512, 512, 512, "M", 512, 512, 512, "M"),
    ),
}
"""Filters of each convolution; "M" is a 2 x 2 max-pool."""


class VGG(nn.Module):
    """Convolutions, a mean over whatever positions are left, one linear layer.

    Inputs (N, C, H, W) of any size; at the usual 32 x 32 one position is left and the mean is the
    identity. Pools keep the last row and column of odd sizes, so 16 x 16 and 28 x 28 work as well.
    """

    def __init__(self, features: nn.Sequential, num_features: int, num_labels: int) -> None:
        super().__init__()
        self.features = features
        self.classifier = nn.Linear(num_features, num_labels)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, K) of images (N, C, H, W)."""
        features = functional.adaptive_avg_pool2d(self.features(images), 1).flatten(1)
        logits: Tensor = self.classifier(features)
        return logits


def build_vgg(
    name: str, num_labels: int, *, in_channels: int = 3, width: float = 1.0, early_pools: int = 2
) -> VGG:
    """One network of the family, random weights.

    Args:
        name: a key of `VGG_LAYERS`, or "avgg16".
        num_labels: width of the output layer.
        in_channels: 3 for colour images, 1 for grey ones.
        width: factor on the number of filters of every layer.
        early_pools: (avgg16 only) how many of VGG-16's five 2 x 2 max-pools stay where they are.
            The others, n of them, move after the last convolution, as a 2 x 2 average pool
            followed by a max-pool of 2^(n-1) x 2^(n-1). 0 moves all of them, and costs 28 times
            VGG-16's multiply-adds at 32 x 32; 2, the default, costs 3.3 times.

    Raises:
        UsageError: width or early_pools out of range.
    """
    if not 0 < width < math.inf or early_pools not in range(6):
        raise UsageError(
            f"{name}: width {width} and early_pools {early_pools} were given; "
            "use a width above 0 and 0 to 5 early pools"
        )
    layers = _move_pools(early_pools) if name == "avgg16" else VGG_LAYERS[name]
    modules: list[nn.Module] = []
    channels = in_channels
    for layer in layers:
        if isinstance(layer, str):
            modules.append(_POOLS[layer[0]](int(layer[1:] or 2), ceil_mode=True))
            continue
        filters = max(1, round(layer * width))
        modules += [nn.Conv2d(channels, filters, 3, padding=1), nn.BatchNorm2d(filters), nn.ReLU()]
        channels = filters
    network = VGG(nn.Sequential(*modules), channels, num_labels)
    _initialise(network)
    return network


_POOLS: dict[str, type[nn.MaxPool2d] | type[nn.AvgPool2d]] = {
    "M": nn.MaxPool2d,
    "A": nn.AvgPool2d,
}


def _move_pools(early_pools: int) -> tuple[int | str, ...]:
    """VGG-16 with its later pools next to the output."""
    layers: list[int | str] = []
    pools = 0
    for layer in VGG_LAYERS["vgg16"]:
        pools += layer == "M"
        if layer != "M" or pools <= early_pools:
            layers.append(layer)
    moved = 5 - early_pools
    if moved >= 1:
        layers.append("A2")
    if moved >= 2:
        layers.append(f"M{2 ** (moved - 1)}")
    return tuple(layers)


def _initialise(network: nn.Module) -> None:
    """He initialisation (arXiv 1502.01852) of the convolutions; biases start at zero."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
