"""Measure a data set in two parts, on two machines if need be, and add the parts up.

    python examples/merge_statistics.py

The statistics are plain sums, so the two files together equal one pass over everything, to
rounding. Uses a small untrained network and the built-in digits; prints the largest difference.
"""

import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import torch
from prune_dl.prune.inputs.data import open_data
from prune_dl.prune.inputs.zoo import build
from prune_dl.prune.mechanism.network import TracedNetwork
from prune_dl.prune.mechanism.probe import solve
from prune_dl.prune.mechanism.statistics import (
    Statistics,
    collect,
    load_statistics,
    merge,
    save_statistics,
)
from prune_dl.prune.structure.tracing.trace import trace
from torch import Tensor

CPU = torch.device("cpu")


def main() -> None:
    """Collect, save, load, merge, compare."""
    torch.manual_seed(0)
    data = open_data("digits")
    model = build("vgg6:in_channels=1,width=0.125", len(data.labels))

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        return data.train.batches(100, device=CPU)

    structure = trace(model, next(batches())[0][:2])
    network = TracedNetwork(model, structure, len(data.labels), CPU)

    def measured(part: Iterator[tuple[Tensor, Tensor]]) -> Statistics:
        return collect(network, part)

    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / name for name in ("first.safetensors", "second.safetensors")]
        save_statistics(measured(islice(batches(), 5)), files[0])
        save_statistics(measured(islice(batches(), 5, None)), files[1])
        both = merge(*map(load_statistics, files))
    whole = measured(batches())
    print(f"images: {both.num_images} in two parts, {whole.num_images} in one")
    print(f"largest relative difference of the sums:   {difference(both, whole, 'gram_DD'):.1e}")
    probes = [solve(x.layers["classifier"]).weights_KD for x in (both, whole)]
    print(f"and of the last probe's weights:           {gap(*probes):.1e}")


def difference(a: Statistics, b: Statistics, name: str) -> float:
    """Largest difference of all layers, each relative to its largest entry."""
    return max(gap(getattr(x, name), getattr(b.layers[key], name)) for key, x in a.layers.items())


def gap(x: Tensor, y: Tensor) -> float:
    """Largest difference, relative to the largest entry."""
    return float((x - y).abs().max() / y.abs().max())


if __name__ == "__main__":
    main()
