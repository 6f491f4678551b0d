"""The input of a reader: one layout for every kind of module, pooled to a grid.

Shapes: N samples, C channels, P positions of a pooled map, D = C * P features (channel-major:
feature d belongs to channel d // P), R = rows (samples times unpooled positions).
"""

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ..errors import InputError
from ..structure.units import Reader

Grid = tuple[int, int]

MOMENT_SHARE = 1 / 9
"""Share of a reader's own multiply-adds that its channel moments may cost."""
MIN_VALUES = 8192
"""Values (positions times channels) of each sample that the channel moments take all the same."""
ROUNDING = 1e-9
"""Far above the rounding of a quotient that is a whole number, far below 1: where a stride of 1 is
affordable it must not become 2."""


def as_map(x: Tensor, reader: Reader) -> Tensor:
    """View the input of a reader as (N, C, height, width), whatever its kind.

    | input                                     | result                                    |
    |-------------------------------------------|-------------------------------------------|
    | convolution (N, C, H, W), also unbatched  | unchanged                                 |
    | convolution (N, C, L) or (N, C, T, H, W)  | (N, C, 1, L), (N, C, T, H * W)            |
    | linear after a flatten (N, C * P)        | (N, C, s, s) if P = s * s, else (N, C, 1, P) |
    | linear on tokens (N, L, C)                | (N, C, s, s) if L = s * s, else (N, C, 1, L) |
    | linear on a map (N, H, W, C)              | (N, C, H, W)                              |

    Raises InputError for an input whose channels are not the reader's.
    """
    channels = len(reader.unit_C)
    if reader.kind == "linear":
        x = _linear_as_map(x, reader, channels)
    elif x.ndim == 3:
        x = x.unsqueeze(2)
    elif x.ndim == 5:
        x = x.flatten(3)
    if x.ndim != 4 or x.shape[1] != channels:
        raise InputError(
            f"layer {reader.layer} got an input of shape {tuple(x.shape)}; expected {channels} "
            "channels; trace the network with an input like the ones it is measured on"
        )
    return x


def _linear_as_map(x: Tensor, reader: Reader, channels: int) -> Tensor:
    if x.ndim >= 4:
        return x.flatten(2, -2).movedim(-1, 1) if x.ndim > 4 else x.permute(0, 3, 1, 2)
    if x.ndim == 3:
        return _square(x.transpose(1, 2))
    order = np.argsort(reader.channel_of_feature_F, kind="stable")
    if not np.array_equal(order, np.arange(len(order))):
        x = x[:, torch.from_numpy(order).to(x.device)]
    return _square(x.reshape(len(x), channels, -1))


def _square(x_NCL: Tensor) -> Tensor:
    """Fold a line of L positions into a square map where L is a square."""
    side = math.isqrt(x_NCL.shape[2])
    shape = (side, side) if side * side == x_NCL.shape[2] else (1, x_NCL.shape[2])
    return x_NCL.reshape(*x_NCL.shape[:2], *shape)


def choose_grid(num_channels: int, height: int, width: int, max_features: int) -> Grid:
    """Finest grid g x g, no finer than the map, with C * g * g <= max_features (g >= 1)."""
    side = max(1, math.isqrt(max_features // num_channels))
    if height == 1:
        return 1, min(width, max(1, max_features // num_channels))
    return min(side, height), min(side, width)


def even_grids(height: int, width: int) -> tuple[Grid, ...]:
    """Grids whose cells all hold equally many positions, coarsest (1 x 1) first.

    Rows and columns are divided by the same number; a line (height 1) only along its length.
    """
    longest = max(height, width)
    strides = [
        s for s in range(longest, 0, -1) if width % s == 0 and (height == 1 or height % s == 0)
    ]
    grids = [(1 if height == 1 else height // s, width // s) for s in strides]
    return tuple(grids) if grids[0] == (1, 1) else ((1, 1), *grids)


def pool(map_NCHW: Tensor, grid: Grid) -> Tensor:
    """Average the map over the cells of the grid: (N, D) float32, channel-major."""
    if tuple(map_NCHW.shape[2:]) != grid:
        map_NCHW = functional.adaptive_avg_pool2d(map_NCHW, grid)
    return map_NCHW.float().flatten(1)


def position_stride(map_NCHW: Tensor, macs_per_position: float) -> int:
    """Take every how many-th position into the channel moments, so that these stay cheap.

    Moments cost C^2 multiply-adds a position; they may cost MOMENT_SHARE of what the reader itself
    does, but are given MIN_VALUES of every sample. 3 x 3 convolutions of equal width come out at 1
    (all positions). The stride has no factor in common with the width of the map, so that all
    columns are seen, and does not depend on the batch: sums stay additive.
    """
    _, channels, height, width = map_NCHW.shape
    affordable = MOMENT_SHARE * macs_per_position / channels**2
    wanted = math.ceil(1 / affordable - ROUNDING)
    stride = min(wanted, max(1, height * width * channels // MIN_VALUES))
    while math.gcd(stride, width) > 1 and stride > 1:
        stride += 1
    return stride


def position_rows(map_NCHW: Tensor, stride: int = 1) -> Tensor:
    """Channels of every sample at every `stride`-th position: (R, C) float32."""
    lines_NPC = map_NCHW.permute(0, 2, 3, 1).flatten(1, 2)
    return lines_NPC[:, stride // 2 :: stride].float().flatten(0, 1)


def repeat_labels(labels_N: Tensor, x: Tensor) -> Tensor:
    """Labels for an input whose first axis folds several parts of each sample (windows, crops)."""
    repeats, rest = divmod(len(x), len(labels_N))
    if rest:
        raise InputError(
            f"a layer got {len(x)} inputs for {len(labels_N)} images; expected a whole number for "
            "each image, which tells their labels; this network cannot be measured"
        )
    return labels_N if repeats == 1 else labels_N.repeat_interleave(repeats, dim=0)
