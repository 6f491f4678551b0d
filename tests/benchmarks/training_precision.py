"""How long a training step takes in bfloat16, over float32, on this CPU.

    python tests/benchmarks/training_precision.py [--archs resnet18 mobilenet_v2] [--size 64]

Steps of both precisions take turns on the same network; the ratio of medians is what counts. Above
1, bfloat16 is slower: what `prune_dl.prune.training.device.autocast` decides by.
"""

import argparse
import json
import statistics
import time

import torch
from prune_dl.prune.inputs import zoo
from torch import Tensor, nn


def seconds_of_step(model: nn.Module, images: Tensor, labels_B: Tensor, enabled: bool) -> float:
    """Forward and backward of one batch."""
    started = time.perf_counter()
    with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
        logits = model(images)
    nn.functional.cross_entropy(logits.float(), labels_B).backward()
    return time.perf_counter() - started


def measure(arch: str, size: int, rounds: int) -> float:
    """Median ratio of bfloat16 over float32."""
    model = zoo.build(f"torchvision:{arch}", 10).train().to(memory_format=torch.channels_last)
    images = torch.randn(64, 3, size, size).contiguous(memory_format=torch.channels_last)
    labels_B = torch.randint(0, 10, (64,))
    pairs = [
        [seconds_of_step(model, images, labels_B, enabled) for enabled in (True, False)]
        for _ in range(rounds + 1)
    ]
    return statistics.median(half / single for half, single in pairs[1:])


def main() -> None:
    """Print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--archs",
        nargs="+",
        default=["vgg11_bn", "resnet18", "mobilenet_v2", "mobilenet_v3_small", "efficientnet_b0"],
    )
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    ratios = {arch: round(measure(arch, given.size, given.rounds), 2) for arch in given.archs}
    print(json.dumps({"size": given.size, "threads": torch.get_num_threads(), "ratio": ratios}))


if __name__ == "__main__":
    main()
