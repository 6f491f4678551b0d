"""How fine the pooling grids may be, so that the measurement stays cheap in memory.

Shapes: K labels, C channels, D = C * g * g pooled features.
"""

import math
from collections.abc import Iterable, Mapping

from torch import nn

from ..structure.units import Reader
from .accumulate import GRAM_SAMPLES
from .taps import Grid, even_grids

MAX_FEATURES = 2048
"""Features of one layer that its grid may reach."""
MEMORY_BYTES = 900_000_000
"""What statistics, probes and spectrum of all layers may take together, where C allows it."""
SAMPLE_BYTES = 260_000_000
"""What the samples of all layers, at a byte a feature, and their probes may take together."""
SAMPLES = 3000
"""Samples to keep of each layer, where that many fit."""
SAMPLES_PER_LABEL = 8
"""With many labels, rather this many for each."""
_CANDIDATES = tuple(range(MAX_FEATURES, 0, -128))
"""Numbers of features to try, largest first; finer steps hardly change the grid."""


def max_features(readers: Iterable[Reader], num_labels: int) -> int:
    """Largest D that the layers may reach so that all of them together stay within the memory.

    At g = 1 a layer still needs D = C; with very many wide layers and labels that is the floor.
    """
    channels = [len(reader.unit_C) for reader in readers]
    for features in _CANDIDATES:
        if sum(layer_bytes(c, num_labels, features) for c in channels) <= MEMORY_BYTES:
            return features
    return 1


def layer_bytes(channels: int, num_labels: int, features: int) -> int:
    """Bytes that one layer takes at most.

    Sums and moments stay; next to them, first the samples that wait for the Gram product, later
    probe, held-out sums and spectrum.
    """
    side = max(1, math.isqrt(features // channels))
    size = channels * side * side
    gram, moments = 8 * size**2, 8 * (channels + 1) ** 2
    sums, probe, held_out, spectrum = 8, 4, 4, 8
    later = (probe + held_out + spectrum) * num_labels * size
    return gram + moments + sums * num_labels * size + max(4 * GRAM_SAMPLES * size, later)


def macs_per_position(model: nn.Module, reader: Reader) -> float:
    """Multiply-adds that the reader spends on one position of its input."""
    module = model.get_submodule(reader.layer)
    weight = model.get_parameter(f"{reader.layer}.weight" if reader.layer else "weight")
    stride = getattr(module, "stride", (1,)) if reader.kind == "conv" else (1,)
    positions = len(reader.channel_of_feature_F) / len(reader.unit_C)
    return weight.numel() / (math.prod(stride) * positions)


def sample_grids(
    sizes: Mapping[str, tuple[int, int, int]], num_labels: int
) -> tuple[int, dict[str, Grid]]:
    """How many samples to keep, and the grid of each layer, within SAMPLE_BYTES.

    All layers start at 1 x 1; the one with the largest cells is refined next (among equals the
    one that takes the fewest features more), as long as there is room. Cells are equal in size:
    uneven ones weigh positions differently, which shows in the fields.

    Args:
        sizes: by layer, (channels, height, width) of its maps.
    """
    channels, probes = sum(c for c, _, _ in sizes.values()), 4 * num_labels
    most = max(1, SAMPLE_BYTES // channels - probes)
    limit = min(max(SAMPLES, SAMPLES_PER_LABEL * num_labels), most)
    left = SAMPLE_BYTES // (limit + probes) - channels
    finer = {name: list(even_grids(h, w)) for name, (_, h, w) in sizes.items()}
    chosen: dict[str, Grid] = {name: grids.pop(0) for name, grids in finer.items()}

    def cost(name: str) -> int:
        return sizes[name][0] * (math.prod(finer[name][0]) - math.prod(chosen[name]))

    while refinable := [name for name, grids in finer.items() if grids]:
        name = min(refinable, key=lambda x: (-_area(sizes[x], chosen[x]), cost(x)))
        if cost(name) > left:
            finer[name].clear()
        else:
            left -= cost(name)
            chosen[name] = finer[name].pop(0)
    return limit, chosen


def _area(size: tuple[int, int, int], grid: Grid) -> float:
    return size[1] * size[2] / math.prod(grid)
