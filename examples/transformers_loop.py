"""Prune a Hugging Face image classifier that a `Trainer` has trained, and let a `Trainer` go on.

    pip install transformers accelerate && python examples/transformers_loop.py

A small ResNet from its configuration (nothing is downloaded) on the built-in digits. Between the
two trainings half of the multiply-adds go: `compress` ranks and repairs on the same data set that
the trainer reads, dictionaries with `pixel_values` and `labels`.
"""

import argparse
import tempfile

import torch
from prune_dl.prune import Compressed, compress
from prune_dl.prune.inputs.data import open_data
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from transformers import AutoModelForImageClassification, ResNetConfig, Trainer, TrainingArguments

LABELS = 10
SIDE = 32


class Digits(Dataset[dict[str, Tensor]]):
    """The built-in digits as a Hugging Face trainer takes them."""

    def __init__(self, count: int) -> None:
        images, self.labels = next(iter(open_data("digits").train.batches(count, device="cpu")))
        self.images = nn.functional.interpolate(images, size=(SIDE, SIDE), mode="nearest")

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"pixel_values": self.images[index], "labels": self.labels[index]}


def main(steps: int = 60, count: int = 1000) -> Compressed:
    """Train, compress, train on."""
    torch.manual_seed(0)
    digits = Digits(count)
    config = ResNetConfig(
        num_channels=1, embedding_size=16, hidden_sizes=[16, 32], depths=[1, 1],
        layer_type="basic", num_labels=LABELS,
    )  # fmt: skip
    model = AutoModelForImageClassification.from_config(config)
    train(model, digits, steps)
    loader = DataLoader(digits, batch_size=32)
    found = compress(model, loader, LABELS, macs=0.5, rank="response", epochs=0, device="cpu")
    train(found.model, digits, steps)
    before, after = found.planned.original, found.planned.left
    print(f"multiply-adds: {before.macs:,} -> {after.macs:,}")
    return found


def train(model: nn.Module, digits: Digits, steps: int) -> None:
    """So many steps of a trainer."""
    with tempfile.TemporaryDirectory() as folder:
        options = TrainingArguments(
            folder, max_steps=steps, per_device_train_batch_size=32, learning_rate=2e-3,
            lr_scheduler_type="cosine", report_to=[], save_strategy="no", use_cpu=True,
            disable_tqdm=True, logging_steps=max(1, steps // 2),
        )  # fmt: skip
        Trainer(model, options, train_dataset=digits).train()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--count", type=int, default=1000)
    main(**vars(parser.parse_args()))
