"""Everything the later stages need to know about a network's features, from one forward pass.

The sums are plain: the statistics of two parts of a data set add up to those of the whole, in one
process or many, and their size does not depend on the number of images.

Shapes: N samples, K labels, C channels, P cells of the pooling grid, D = C * P features
(channel-major: feature d belongs to channel d // P).
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from ..errors import InputError
from ..files import read_safetensors, tensor_in, write_safetensors
from ..forward import first_rows
from ..inputs.split import Batches
from ..progress import Progress, silent
from ..shown import html_table, short_repr
from ..typed import from_json
from .accumulate import Accumulator, Moments, total_of
from .memory import macs_per_position, max_features, sample_grids
from .network import TracedNetwork
from .observe import map_sizes, observe
from .sample import SAMPLE_TENSORS, Keyed, LayerSample, Sampler, merge_samples
from .taps import Grid


@dataclass(frozen=True)
class LayerStatistics:
    """Sums over the input of one reader; float64 on the CPU.

    A module that runs several times per forward pass adds up: each run counts as samples.

    | attribute      | shape          | meaning                                                |
    |----------------|----------------|--------------------------------------------------------|
    | counts_K       | (K,)           | samples per label                                      |
    | sums_KD        | (K, D)         | pooled features summed per label                       |
    | gram_DD        | (D, D)         | sum of x x^T over the samples' pooled features x       |
    | moments_CC     | (C + 1, C + 1) | sum of [c; 1][c; 1]^T over samples and positions (1)   |

    With several labels for an image it counts in the row of each of them, and `totals` (D + 1,) has
    the features summed over all samples, and the number of samples; else that is None.

    `grid` is (rows, columns) of the pooled map, P = rows * columns. `sample` holds some samples on
    a grid of their own, where they were asked for. (1) All positions where that
    is cheap next to the reader's own work, else evenly spread ones: `taps.position_stride`.
    """

    grid: Grid
    counts_K: Tensor
    sums_KD: Tensor
    gram_DD: Tensor
    moments_CC: Tensor
    sample: LayerSample | None = field(default=None, kw_only=True)
    totals: Tensor | None = field(default=None, kw_only=True)

    __repr__ = short_repr

    @property
    def num_samples(self) -> Tensor:
        """Samples in all, a number in float64."""
        return total_of(self.counts_K, self.sums_KD, self.totals)[-1]

    @property
    def mean_D(self) -> Tensor:
        """Mean features of all samples, (D,) float64."""
        return total_of(self.counts_K, self.sums_KD, self.totals)[:-1] / self.num_samples

    @property
    def without_gram(self) -> "LayerStatistics":
        """The same with an empty `gram_DD`: the largest part, which probes alone need."""
        return replace(self, gram_DD=self.gram_DD.new_zeros(0, 0))

    @property
    def num_channels(self) -> int:
        """Input channels of the reader, C."""
        return len(self.moments_CC) - 1

    @property
    def num_positions(self) -> int:
        """Rows summed up in `moments_CC`: samples times positions."""
        return int(self.moments_CC[-1, -1])

    @property
    def means_KD(self) -> Tensor:
        """Mean features of each label, (K, D) float64; zeros for a label without samples."""
        return self.sums_KD / self.counts_K.clamp(min=1)[:, None]


_TENSORS = ("counts_K", "sums_KD", "gram_DD", "moments_CC")
TOTALS = "totals"
"""Written where an image may have several labels, alone."""
MAX_SIZE = 2**20
"""More than any number of labels or of cells along a side."""
STATISTICS_FORMAT = "prune-dl statistics 1"
"""In the metadata of a file of statistics."""


@dataclass(frozen=True)
class Statistics:
    """The sums of every reader of a network.

    Attributes:
        layers: by module path of the reader; a reader that never ran is missing.
        num_labels: K.
        num_images: samples that went through the network.
    """

    layers: Mapping[str, LayerStatistics]
    num_labels: int
    num_images: int

    __repr__ = short_repr

    def _repr_html_(self) -> str:
        title = f"Sums over {self.num_images:,} images of {self.num_labels} labels"
        rows = [(name, x.num_channels, x.num_positions) for name, x in self.layers.items()]
        return html_table(title, ("reader", "channels", "positions"), rows)

    @property
    def without_grams(self) -> "Statistics":
        """The same without the sums that probes alone need: much smaller."""
        return replace(self, layers={name: x.without_gram for name, x in self.layers.items()})

    @property
    def moments(self) -> dict[str, Tensor]:
        """Reader -> (C + 1, C + 1) float64, sum of [c; 1][c; 1]^T, the constant last."""
        return {name: layer.moments_CC for name, layer in self.layers.items()}

    @property
    def num_positions(self) -> dict[str, int]:
        """Reader -> number of rows summed up in its moments."""
        return {name: layer.num_positions for name, layer in self.layers.items()}


def collect(
    network: TracedNetwork,
    batches: Batches,
    *,
    sampled: bool = False,
    progress: Progress = silent,
) -> Statistics:
    """Sum up the inputs of every reader, in one forward pass over the batches.

    Args:
        batches: pairs of inputs (N, ...) and labels (N,) int64.
        sampled: also keep some samples of each layer, see `sample`.
        progress: called with (batches done, batches in all, as far as known).

    Raises:
        InputError: no batches, labels outside 0..K-1, or inputs that do not fit the structure.
    """
    samplers: Mapping[str, Sampler] = {}
    if sampled:
        batches = Keyed(batches)
        samplers = _samplers(network, batches)
    taps = _accumulators(network, samplers)
    num_images = observe(
        network,
        network.readers,
        batches,
        lambda name, x, labels_N: taps[name].add(x, labels_N),
        progress=progress,
    )
    layers = {name: _finish(tap) for name, tap in taps.items() if tap.grid}
    return Statistics(layers, network.num_labels, num_images)


def _accumulators(
    network: TracedNetwork, samplers: Mapping[str, Sampler]
) -> dict[str, Accumulator]:
    """Empty sums of every reader, as fine as the memory allows."""
    features = max_features(network.readers.values(), network.num_labels)
    return {
        name: Accumulator(
            reader,
            network.num_labels,
            features,
            Moments(macs_per_position(network.model, reader), network.sums_device),
            network.sums_device,
            samplers.get(name),
        )
        for name, reader in network.readers.items()
    }


def _samplers(network: TracedNetwork, images: Keyed) -> dict[str, Sampler]:
    """The first image decides grids and number of samples; without images there are none."""
    if images.first is None:
        return {}
    sizes = map_sizes(network, first_rows(images.first[0], 1))
    limit, grids = sample_grids(sizes, network.num_labels)
    areas = {name: math.prod(sizes[name][1:]) / math.prod(grid) for name, grid in grids.items()}
    return {name: Sampler(images, grid, areas[name], limit) for name, grid in grids.items()}


def _finish(tap: Accumulator) -> LayerStatistics:
    assert tap.grid is not None
    sums = tap.sums()
    sample = tap.sampler.finish() if tap.sampler is not None else None
    totals = None if tap.totals is None else tap.totals.cpu()
    return LayerStatistics(tap.grid, *sums, sample=sample, totals=totals)


def merge(first: Statistics, second: Statistics) -> Statistics:
    """Statistics of two disjoint parts of the data, added up.

    Raises InputError when the two do not come from the same network and input size.
    """
    shapes = [{name: _shape(x) for name, x in part.layers.items()} for part in (first, second)]
    if shapes[0] != shapes[1]:
        raise InputError(
            "statistics of two different networks or input sizes, or with and without samples, "
            "cannot be added up; expected the same ones; collect both alike"
        )
    layers = {name: _add(x, second.layers[name]) for name, x in first.layers.items()}
    return Statistics(layers, first.num_labels, first.num_images + second.num_images)


def _shape(layer: LayerStatistics) -> tuple[Grid, torch.Size, bool, bool]:
    return layer.grid, layer.sums_KD.shape, layer.sample is None, layer.totals is None


def _add(a: LayerStatistics, b: LayerStatistics) -> LayerStatistics:
    sums = (getattr(a, name) + getattr(b, name) for name in _TENSORS)
    both = None if a.sample is None or b.sample is None else merge_samples((a.sample, b.sample))
    totals = None if a.totals is None or b.totals is None else a.totals + b.totals
    return LayerStatistics(a.grid, *sums, sample=both, totals=totals)


def save_statistics(statistics: Statistics, path: Path) -> None:
    """Write one safetensors file: "layer/tensor" in float64, and the rest in its metadata.

    A sample adds "layer/sample/tensor", of the types that `LayerSample` lists. Raises InputError
    where the file cannot be written.
    """
    tensors = {
        f"{name}/{tensor}": getattr(layer, tensor).contiguous()
        for name, layer in statistics.layers.items()
        for tensor in _TENSORS
    }
    tensors |= {
        f"{name}/{TOTALS}": layer.totals.contiguous()
        for name, layer in statistics.layers.items()
        if layer.totals is not None
    }
    samples = {name: x.sample for name, x in statistics.layers.items() if x.sample is not None}
    tensors |= {
        f"{name}/sample/{tensor}": getattr(sample, tensor).contiguous()
        for name, sample in samples.items()
        for tensor in SAMPLE_TENSORS
    }
    head = {
        "num_labels": statistics.num_labels,
        "num_images": statistics.num_images,
        "grids": {name: layer.grid for name, layer in statistics.layers.items()},
        "samples": {name: (x.grid, x.cell_area, x.limit) for name, x in samples.items()},
    }
    write_safetensors(path, tensors, {"format": STATISTICS_FORMAT, "head": json.dumps(head)})


def load_statistics(path: Path) -> Statistics:
    """Read back a file of `save_statistics`, bit for bit. Raises InputError for any other file."""
    tensors, metadata = read_safetensors(path)
    if metadata.get("format") != STATISTICS_FORMAT:
        raise InputError(f"{path} holds no statistics; give a file that `save_statistics` wrote")
    head = from_json(metadata.get("head", ""), _Head, str(path))
    sizes = (head.num_labels, *(size for grid in head.grids.values() for size in grid))
    if min(sizes) < 1 or max(sizes) > MAX_SIZE or head.num_images < 0:
        raise InputError(f"{path} states sizes that no statistics have; collect them again")
    layers = {name: _layer(path, name, head, tensors) for name in head.grids}
    return Statistics(layers, head.num_labels, head.num_images)


@dataclass(frozen=True)
class _Head:
    """The document in the metadata; a sample is (grid, cell area, limit)."""

    num_labels: int
    num_images: int
    grids: dict[str, tuple[int, int]]
    samples: dict[str, tuple[tuple[int, int], float, int]] = field(default_factory=dict)


def _layer(path: Path, name: str, head: _Head, tensors: Mapping[str, Tensor]) -> LayerStatistics:
    def read(key: str, dtype: torch.dtype, *shape: int | None) -> Tensor:
        return tensor_in(path, tensors, f"{name}/{key}", dtype, shape)

    grid, labels = head.grids[name], head.num_labels
    moments = read("moments_CC", torch.float64, None, None)
    features = (len(moments) - 1) * grid[0] * grid[1]
    sums = (
        read("counts_K", torch.float64, labels),
        read("sums_KD", torch.float64, labels, features),
        read("gram_DD", torch.float64, features, features),
        read("moments_CC", torch.float64, len(moments), len(moments)),
    )
    sample = _sample(path, name, head, tensors) if name in head.samples else None
    has_totals = f"{name}/{TOTALS}" in tensors
    totals = read(TOTALS, torch.float64, features + 1) if has_totals else None
    return LayerStatistics(grid, *sums, sample=sample, totals=totals)


def _sample(path: Path, name: str, head: _Head, tensors: Mapping[str, Tensor]) -> LayerSample:
    def read(key: str, dtype: torch.dtype, *shape: int | None) -> Tensor:
        return tensor_in(path, tensors, f"{name}/sample/{key}", dtype, shape)

    labels_S = read("labels_S", torch.int64, None)
    if int(labels_S.min()) < 0 or int(labels_S.max()) >= head.num_labels:
        raise InputError(f"{path} holds samples of labels that there are not; collect them again")
    count = len(labels_S)
    kept = (
        read("levels_SD", torch.int8, count, None),
        read("steps_S", torch.float32, count),
        labels_S,
        read("keys_S", torch.int64, count),
    )
    return LayerSample(*head.samples[name], *kept)
