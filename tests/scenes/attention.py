"""Self-attention as networks write it."""

import torch.nn.functional as F
from torch import Tensor, nn

from scenes import structure_zoo as zoo


class Attention(nn.Module):
    """Self-attention over positions; how sizes are written decides what can go."""

    def __init__(self, dim: int, num_heads: int, *, open_width: bool = False) -> None:
        super().__init__()
        self.num_heads, self.head_dim = num_heads, dim // num_heads
        self.attn_dim = dim
        self.open_width = open_width
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        n, p, _ = x.shape
        width = -1 if self.open_width else self.head_dim
        parts = self.qkv(x).reshape(n, p, 3, self.num_heads, width)
        q, k, v = parts.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2)
        merged: Tensor = self.proj(mixed.reshape(n, p, self.attn_dim))
        return merged


def transformer(attention: nn.Module) -> zoo.Net:
    def forward(net: zoo.Net, x: Tensor) -> Tensor:
        x = net.patch(x).flatten(2).transpose(1, 2)
        x = x + net.attention(x)
        return net.head((x + net.down(F.gelu(net.up(x)))).mean(dim=1))

    patch = nn.Conv2d(3, 24, 2, stride=2)
    up, down = nn.Linear(24, 48), nn.Linear(48, 24)
    return zoo.Net(forward, patch=patch, attention=attention, up=up, down=down, head=zoo.head(24))
