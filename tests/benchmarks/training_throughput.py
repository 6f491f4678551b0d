"""How many images a second `fit` trains on, against a bare loop written by hand.

    python tests/benchmarks/training_throughput.py [--arch vgg6:in_channels=1] [--data digits]

Both train the same network on the same augmented batches with the same optimizer, in turns, so
that a busy machine slows both; the ratio of medians is what counts (target: at least 0.95).
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable

import torch
from prune_dl.prune.inputs import zoo
from prune_dl.prune.inputs.callables import Trusted
from prune_dl.prune.inputs.data import open_data
from prune_dl.prune.inputs.split import DataSet
from prune_dl.prune.training.device import autocast, pick_device
from prune_dl.prune.training.recipe import Training
from prune_dl.prune.training.train import TrainingData, train_network
from torch import nn


def train_by_hand(model: nn.Module, data: DataSet, steps: int, device: torch.device) -> None:
    """The loop that everybody writes, with the same precision and memory format."""
    model = model.to(device).to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, nesterov=True)
    batches = data.train.batches(128, device=device, augment=True, shuffle_seed=1)
    for step, (images, labels) in enumerate(batches):
        if step == steps:
            break
        with autocast(device, model):
            outputs = model(images.contiguous(memory_format=torch.channels_last))
        loss = nn.functional.cross_entropy(outputs.float(), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    loss.item()


def train_with_fit(model: nn.Module, data: DataSet, steps: int, device: torch.device) -> None:
    """The product's loop."""
    recipe = Training(epochs=1, lr=0.01, label_smoothing=0.0, max_batches=steps)
    train_network(model, TrainingData(data.train), recipe, device=device)


def measure(train: Callable[..., None], arch: str, data: DataSet, steps: int, device: str) -> float:
    """Images a second of one short training."""
    where = pick_device(device)
    model = zoo.build(zoo.with_channels(Trusted(arch), data.input_size[0]), len(data.labels))
    started = time.perf_counter()
    train(model, data, steps, where)
    if where.type == "cuda":
        torch.cuda.synchronize()
    return steps * 128 / (time.perf_counter() - started)


def main() -> None:
    """Print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--arch", default="vgg6")
    parser.add_argument("--data", default="digits")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    data = open_data(Trusted(options.data))
    steps = min(options.steps, data.train.num_images // 128)
    speeds: dict[str, list[float]] = {"bare loop": [], "fit": []}
    arms = {"bare loop": train_by_hand, "fit": train_with_fit}
    for turn in range(options.rounds + 1):
        for name in sorted(arms, reverse=bool(turn % 2)):
            speed = measure(arms[name], options.arch, data, steps, options.device)
            if turn:  # the first round warms up
                speeds[name].append(speed)
    medians = {name: statistics.median(values) for name, values in speeds.items()}
    pairs = zip(speeds["fit"], speeds["bare loop"], strict=True)
    print(
        json.dumps(
            {
                "arch": options.arch,
                "data": options.data,
                "threads": torch.get_num_threads(),
                "images_per_second": medians,
                "ratio": statistics.median(fit_ / bare for fit_, bare in pairs),
                "rounds": speeds,
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
