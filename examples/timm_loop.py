"""Prune a timm network in the middle of a training with timm's own optimizer and schedule.

    pip install "prune-dl[timm]" && python examples/timm_loop.py

The built-in digits, enlarged to 32 x 32; weights are random, since nothing is downloaded. After
half of the epochs 40 % of the filters go, the smaller network takes the place of the larger one in
the optimizer (AdamW, with and without weight decay), and timm's cosine schedule goes on.
"""

import argparse

import timm
import torch
from prune_dl.prune import remap_optimizer, shrink
from prune_dl.prune.inputs.data import open_data
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from torch import Tensor, nn

KEEP = 0.6
LABELS = 10
SIDE = 32
"""The stride of most timm networks."""


def main(name: str = "resnet10t", epochs: int = 4, batches: int = 20) -> tuple[int, int, float]:
    """Train, prune, train on; parameters before and after, and the last loss."""
    torch.manual_seed(0)
    train = open_data("digits").train
    model: nn.Module = timm.create_model(name, pretrained=False, in_chans=1, num_classes=LABELS)
    before = count(model)
    optimizer = create_optimizer_v2(model, opt="adamw", lr=2e-3, weight_decay=0.05)
    schedule, _ = create_scheduler_v2(optimizer, sched="cosine", num_epochs=epochs, warmup_epochs=1)
    loss = torch.zeros(())
    for epoch in range(epochs):
        if epoch == epochs // 2:
            small = shrink(model, torch.zeros(1, 1, SIDE, SIDE), keep=KEEP)
            remap_optimizer(optimizer, model, small.model, small.cut, in_place=True)
            model = small.model
        model.train()
        limit = 64 * batches
        for images, labels in train.batches(64, device="cpu", shuffle_seed=epoch, limit=limit):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(as_large(images)), labels)
            loss.backward()
            optimizer.step()
        schedule.step(epoch + 1)
        print(f"epoch {epoch}: lr {optimizer.param_groups[0]['lr']:.5f}, loss {loss.item():.3f}")
    print(f"parameters: {before:,} -> {count(model):,}")
    return before, count(model), loss.item()


def as_large(images: Tensor) -> Tensor:
    """(N, 1, 8, 8) -> (N, 1, 32, 32)."""
    return nn.functional.interpolate(images, size=(SIDE, SIDE), mode="nearest")


def count(model: nn.Module) -> int:
    """Parameters of a network."""
    return sum(x.numel() for x in model.parameters())


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--name", default="resnet10t")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--batches", type=int, default=20)
    main(**vars(parser.parse_args()))
