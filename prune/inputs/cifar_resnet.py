"""The ResNets for CIFAR: 20, 32, 44, 56 and 110 layers, with option-A (parameter-free) shortcuts.

He et al., arXiv 1512.03385, section 4.2: three stages of 16, 32 and 64 filters, 6n + 2 layers;
where a stage begins, the shortcut takes every second position and pads the new channels with
zeros. Keys are the usual ones of public checkpoints: conv1, bn1, layer1.0.conv1, ..., linear.
"""

from torch import Tensor, nn
from torch.nn import functional

DEPTHS = {f"resnet{depth}": (depth - 2) // 6 for depth in (20, 32, 44, 56, 110)}
"""Network name -> blocks per stage."""


class Block(nn.Module):
    """Two 3 x 3 convolutions and the option-A shortcut around them."""

    def __init__(self, in_filters: int, filters: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_filters, filters, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(filters)
        self.conv2 = nn.Conv2d(filters, filters, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(filters)
        self.stride = stride
        self.num_new = filters - in_filters

    def forward(self, stream: Tensor) -> Tensor:
        """(N, in_filters, H, W) -> (N, filters, H / stride, W / stride)."""
        branch = functional.relu(self.bn1(self.conv1(stream)))
        branch = self.bn2(self.conv2(branch))
        return functional.relu(branch + self.shortcut(stream))

    def shortcut(self, stream: Tensor) -> Tensor:
        """Every second position, and zeros for the new channels on both sides of the old ones."""
        if self.stride == 1 and self.num_new == 0:
            return stream
        before = self.num_new // 2
        pads = (0, 0, 0, 0, before, self.num_new - before)
        return functional.pad(stream[:, :, :: self.stride, :: self.stride], pads)


class CifarResNet(nn.Module):
    """Inputs (N, C, H, W) of any size; 32 x 32 is the usual one."""

    def __init__(self, blocks: int, filters: int, num_labels: int, in_channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, filters, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(filters)
        self.layer1 = _stage(blocks, filters, filters, stride=1)
        self.layer2 = _stage(blocks, filters, 2 * filters, stride=2)
        self.layer3 = _stage(blocks, 2 * filters, 4 * filters, stride=2)
        self.linear = nn.Linear(4 * filters, num_labels)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, K) of images (N, C, H, W)."""
        stream = functional.relu(self.bn1(self.conv1(images)))
        stream = self.layer3(self.layer2(self.layer1(stream)))
        logits: Tensor = self.linear(functional.adaptive_avg_pool2d(stream, 1).flatten(1))
        return logits


def build_cifar_resnet(
    name: str, num_labels: int, *, in_channels: int = 3, width: float = 1.0
) -> CifarResNet:
    """One network of the family, random weights; `width` is a factor on every layer's filters."""
    network = CifarResNet(DEPTHS[name], max(1, round(16 * width)), num_labels, in_channels)
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight)
    return network


def _stage(blocks: int, in_filters: int, filters: int, stride: int) -> nn.Sequential:
    first = Block(in_filters, filters, stride)
    return nn.Sequential(first, *(Block(filters, filters, 1) for _ in range(blocks - 1)))
