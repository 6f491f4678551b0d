"""Prune in the middle of a PyTorch training loop of your own, and go on.

    python examples/own_loop.py                  # AdamW, by the l1 norm of the weights: no data
    python examples/own_loop.py --optimizer sgd --criterion response

The built-in digits. Halfway, half of the filters go; the optimizer goes on with its state
(momentum, averages, steps), and so does its learning-rate schedule. Prints multiply-adds and test
accuracy before the removal, right after it, and at the end.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from prune_dl.evaluate.measure.accuracy import measure_score
from prune_dl.prune import compress, remap_optimizer, shrink
from prune_dl.prune.inputs.data import open_data
from prune_dl.prune.inputs.split import DataSet
from prune_dl.prune.job.by_weights import NEED_NO_DATA
from prune_dl.prune.structure.cost import CostModel
from prune_dl.prune.structure.cut import Cut
from prune_dl.prune.structure.tracing.trace import trace
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

KEEP = 0.5
BATCH = 64
IMAGE = torch.zeros(1, 1, 8, 8)


@dataclass(frozen=True)
class Row:
    """What is known of the network at one moment."""

    when: str
    macs: int
    accuracy: float


def main(epochs: int = 8, optimizer: str = "adamw", criterion: str = "l1") -> list[Row]:
    """Train for half of the epochs, prune, train on; one row for each moment."""
    torch.manual_seed(0)
    data = open_data("digits")
    model: nn.Module = build_network()
    steps = OPTIMIZERS[optimizer](model)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(steps, epochs)
    rows = []
    for epoch in range(epochs):
        if epoch == epochs // 2:
            rows.append(look("before", model, data))
            smaller, cut = prune(model, data, criterion)
            remap_optimizer(steps, model, smaller, cut, in_place=True)
            model = smaller
            rows.append(look("right after", model, data))
        train(model, steps, data.train.batches(BATCH, device="cpu", shuffle_seed=epoch))
        schedule.step()
    return [*rows, look("at the end", model, data)]


def build_network() -> nn.Module:
    """A small network; any other does as well."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU(),
        nn.Conv2d(32, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10),
    )  # fmt: skip


OPTIMIZERS = {
    "adamw": lambda model: torch.optim.AdamW(model.parameters(), lr=3e-3),
    "sgd": lambda model: torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, nesterov=True),
}


def prune(model: nn.Module, data: DataSet, criterion: str) -> tuple[nn.Module, Cut]:
    """The smaller network, and what was removed: by weights alone, or measured and repaired."""
    if criterion in NEED_NO_DATA:
        small = shrink(model, IMAGE, keep=KEEP, criterion=criterion)
        return small.model, small.cut
    images, labels = next(iter(data.train.batches(10_000, device="cpu")))
    loader = DataLoader(TensorDataset(images, labels), batch_size=BATCH)
    found = compress(model, loader, 10, keep=KEEP, rank=criterion, epochs=0, device="cpu")
    return found.model, found.cut


def train(
    model: nn.Module, steps: torch.optim.Optimizer, batches: Iterator[tuple[Tensor, Tensor]]
) -> None:
    """One epoch."""
    model.train()
    for images, labels in batches:
        steps.zero_grad()
        nn.functional.cross_entropy(model(images), labels).backward()
        steps.step()


def look(when: str, model: nn.Module, data: DataSet) -> Row:
    """Multiply-adds of one image, and accuracy on the test part."""
    structure = trace(model, IMAGE)
    cost = CostModel.of(model, structure)
    widths = [len(group.units) for group in structure.groups]
    score = measure_score(model, data.test, device=torch.device("cpu"))
    return Row(when, cost.macs(torch.tensor(widths).numpy()), score.value)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--optimizer", choices=OPTIMIZERS, default="adamw")
    parser.add_argument("--criterion", default="l1")
    for row in main(**vars(parser.parse_args())):
        print(f"{row.when:12} {row.macs:>9,} multiply-adds  {row.accuracy:.2%}")
