"""How much of the saved multiply-adds becomes saved time.

    python tests/benchmarks/latency_share.py [--keep 0.5] [--networks vgg16 torchvision:resnet50]

Every network is pruned to the same share of filters in all layers (random weights, random filters:
time does not depend on values), exported, and timed against its original, in turns. A row gives
MACs original / pruned, p50 original / pruned with its 95 % interval, and the share: the second
ratio over the first, 1 when all of the saving is realised.
"""

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from prune_dl.evaluate.measure.environment import describe_environment
from prune_dl.evaluate.measure.latency import compare
from prune_dl.export.graph import export_onnx
from prune_dl.prune.budget import Budget
from prune_dl.prune.inputs import zoo
from prune_dl.prune.options import BenchOptions
from prune_dl.prune.selection.allocate import Layout, allocate
from prune_dl.prune.selection.criteria import rank_units
from prune_dl.prune.selection.evidence import Evidence
from prune_dl.prune.structure.cost import CostModel
from prune_dl.prune.structure.cut import Cut
from prune_dl.prune.structure.surgery import remove
from prune_dl.prune.structure.tracing.trace import trace

NUM_LABELS = {"vgg16": 10}
SIZES = {"vgg16": (3, 32, 32)}


def prune_and_export(arch: str, keep: float, multiple: int, folder: Path) -> tuple[float, dict]:
    """MACs original / pruned, and both files."""
    torch.manual_seed(0)
    size = SIZES.get(arch, (3, 224, 224))
    model = zoo.build(arch, NUM_LABELS.get(arch, 1000)).eval()
    structure = trace(model, torch.zeros(2, *size))
    cost = CostModel.of(model, structure)
    ranking = rank_units("random", Evidence(model, structure, seed=0))
    plan = allocate(
        ranking, structure, cost, Budget("keep", keep), Layout("uniform", multiple=multiple)
    )
    smaller = remove(model, Cut(structure, plan))
    macs = [
        cost.macs(np.array([len(group.units) for group in structure.groups])),
        CostModel.of(smaller, small := trace(smaller, torch.zeros(2, *size))).macs(
            np.array([len(group.units) for group in small.groups])
        ),
    ]
    files = {
        name: export_onnx(network, size, folder / f"{name}.onnx", metadata={})
        for name, network in (("original", model), ("pruned", smaller))
    }
    return macs[0] / macs[1], files


def main() -> None:
    """Print one row for each network and batch size."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--networks", nargs="+", default=["vgg16", "torchvision:resnet50"])
    parser.add_argument("--keep", type=float, default=0.5)
    parser.add_argument("--multiple", type=int, default=8)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 32])
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--runs", type=int, default=100)
    options = parser.parse_args()
    print(", ".join(f"{key} {value}" for key, value in describe_environment().items()))
    print("| network | batch | MACs ratio | latency ratio | share | p50 ms | noisy |")
    print("|---|---|---|---|---|---|---|")
    for arch in options.networks:
        with TemporaryDirectory() as folder:
            macs, files = prune_and_export(arch, options.keep, options.multiple, Path(folder))
            for batch in options.batches:
                bench = BenchOptions(latency_batch=batch, bench_seconds=options.seconds)
                result = compare(files, bench, min_runs=options.runs)
                times = " -> ".join(f"{row.p50_ms:.2f}" for row in result.rows)
                print(
                    f"| {arch} | {batch} | {macs:.2f} | {result.ratio:.2f} "
                    f"({result.ratio_low:.2f} to {result.ratio_high:.2f}) | "
                    f"{result.ratio / macs:.2f} | {times} | {'yes' if result.noisy else 'no'} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
