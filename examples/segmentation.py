"""A segmentation network pruned without labels: a U-Net that finds digits in photographs.

    python examples/segmentation.py --macs 0.5 --retrain-epochs 2

Pictures: scikit-learn's two photographs cut into 48 x 48 pixels, with two of its handwritten
digits (enlarged to 16 x 16, in a random colour) pasted at random places. Mask: 1 where a digit's
pixel is above 6 of 16, else 0. Nothing is downloaded. Test pictures have other digits, and other
parts of the photographs, than those that are trained on.

The masks train the U-Net and measure its mean IoU. Pruning looks at the pictures alone.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
import tyro
from prune_dl.evaluate.measure.latency import Comparison, compare
from prune_dl.export.all_outputs import export_outputs
from prune_dl.prune import compress
from prune_dl.prune.options import BenchOptions
from sklearn.datasets import load_digits, load_sample_images
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

SIZE, DIGIT = 48, 16
"""Pixels a side of a picture, and of a digit in it."""
INK = 6.0
"""Of 16: pixels of a digit above it are in the mask."""
DIGITS_EACH = 2
TRAIN_SHARE = 0.75
"""Of the digits, and of the width of the photographs."""
CLASSES = 2


@dataclass(frozen=True)
class Options:
    """How much of everything."""

    images: int = 800
    """Training pictures; the test part has a quarter as many."""
    epochs: int = 6
    """Of training the U-Net."""
    width: int = 8
    """Filters of its first layers."""
    macs: float = 0.5
    """Share of the multiply-adds that stays."""
    retrain_epochs: int = 2
    """Of retraining the smaller one, after it was measured without."""
    bench_seconds: float = 0.3
    """Least seconds that each ONNX file is run for."""


def block(inputs: int, outputs: int) -> nn.Sequential:
    """Two convolutions with batch norm."""
    layers: list[nn.Module] = []
    for given in (inputs, outputs):
        layers += [nn.Conv2d(given, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs)]
        layers += [nn.ReLU()]
    return nn.Sequential(*layers)


class UNet(nn.Module):
    """Ronneberger, Fischer and Brox, arXiv 1505.04597, with three levels and padding."""

    def __init__(self, width: int) -> None:
        super().__init__()
        widths = (width, 2 * width, 4 * width)
        self.down = nn.ModuleList(map(block, (3, *widths[:-1]), widths))
        wide_to_narrow = list(zip(widths[:0:-1], widths[-2::-1], strict=True))
        self.up = nn.ModuleList(nn.ConvTranspose2d(a, b, 2, stride=2) for a, b in wide_to_narrow)
        self.join = nn.ModuleList(block(2 * b, b) for _, b in wide_to_narrow)
        self.head = nn.Conv2d(width, CLASSES, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Scores (N, classes, H, W) of pictures (N, 3, H, W)."""
        skips: list[Tensor] = []
        for level in self.down:
            x = level(functional.max_pool2d(x, 2) if skips else x)
            skips.append(x)
        for up, join, skip in zip(self.up, self.join, skips[-2::-1], strict=True):
            x = join(torch.cat([up(x), skip], 1))
        return self.head(x)


def pictures(count: int, *, is_test: bool) -> TensorDataset:
    """Pictures (N, 3, H, W) in -1..1, and masks (N, H, W) of 0 and 1, the same every time."""
    randomness = np.random.default_rng(1 if is_test else 0)
    digits = load_digits().images
    border = int(TRAIN_SHARE * len(digits))
    digits = digits[border:] if is_test else digits[:border]
    photographs = load_sample_images().images
    images = np.empty((count, SIZE, SIZE, 3), dtype=np.float32)
    masks = np.zeros((count, SIZE, SIZE), dtype=np.int64)
    for image, mask in zip(images, masks, strict=True):
        photograph = photographs[randomness.integers(len(photographs))]
        height, width, _ = photograph.shape
        split = int(TRAIN_SHARE * width)
        low, high = (split, width - SIZE) if is_test else (0, split - SIZE)
        top, left = randomness.integers(height - SIZE), randomness.integers(low, high)
        image[:] = photograph[top : top + SIZE, left : left + SIZE] / 127.5 - 1
        for _ in range(DIGITS_EACH):
            digit = np.kron(digits[randomness.integers(len(digits))], np.ones((2, 2))) > INK
            top, left = randomness.integers(SIZE - DIGIT, size=2)
            place = slice(top, top + DIGIT), slice(left, left + DIGIT)
            image[place][digit] = randomness.uniform(-1, 1, 3)
            mask[place][digit] = 1
    return TensorDataset(torch.from_numpy(images).permute(0, 3, 1, 2), torch.from_numpy(masks))


def train(model: nn.Module, loader: DataLoader[tuple[Tensor, ...]], epochs: int) -> nn.Module:
    """Adam with a one-cycle learning rate, on the masks."""
    optimizer = torch.optim.Adam(model.parameters())
    steps = max(1, epochs * len(loader))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    for _ in range(epochs):
        for images, masks in loader:
            optimizer.zero_grad()
            functional.cross_entropy(model(images), masks).backward()
            optimizer.step()
            schedule.step()
    return model.eval()


def mean_iou(loader: DataLoader[tuple[Tensor, ...]]) -> Callable[[nn.Module], float]:
    """A metric: mean over classes of intersection over union, all pixels of a loader together."""

    def measure(model: nn.Module) -> float:
        both, either = torch.zeros(CLASSES), torch.zeros(CLASSES)
        with torch.no_grad():
            for images, masks in loader:
                found = model(images).argmax(1)
                for label in range(CLASSES):
                    ours, theirs = found == label, masks == label
                    both[label] += (ours & theirs).sum()
                    either[label] += (ours | theirs).sum()
        return float((both / either.clamp(min=1)).mean())

    return measure


def latency(networks: dict[str, nn.Module], images: Tensor, seconds: float) -> Comparison:
    """Of their ONNX files, every output of which was checked against torch."""
    with TemporaryDirectory() as folder:
        files = {
            name: export_outputs(model, images, Path(folder) / f"{name}.onnx", metadata={}).path
            for name, model in networks.items()
        }
        return compare(files, BenchOptions(bench_seconds=seconds))


def main(options: Options) -> None:
    """Train, prune, retrain and print."""
    torch.manual_seed(0)
    learning = pictures(options.images, is_test=False)
    test = DataLoader(pictures(max(8, options.images // 4), is_test=True), batch_size=64)
    loader = DataLoader(learning, batch_size=32, shuffle=True)
    model = train(UNet(options.width), loader, options.epochs)
    print("| network | MACs | mean IoU | output fidelity | speed-up |")
    print("|---|---|---|---|---|")
    for epochs in sorted({0, options.retrain_epochs}):
        result = compress(
            model, loader, macs=options.macs, epochs=epochs, metric=mean_iou(test), device="cpu"
        )
        before, after = result.planned.original.macs, result.planned.left.macs
        held_out, iou = result.outcome.held_out, result.metric
        if epochs == 0:
            print(f"| original | {before / 1e6:.1f} M | {iou['original']:.4f} | 1 | 1 |")
            removed = held_out["removed"].value
            print(f"| removed | {after / 1e6:.1f} M | {iou['removed']:.4f} | {removed:.4f} | |")
        times = latency(
            {"original": model, "smaller": result.model},
            learning.tensors[0][:8],
            options.bench_seconds,
        )
        print(
            f"| repaired, {epochs} epochs | {after / 1e6:.1f} M | {iou['final']:.4f} | "
            f"{held_out['final'].value:.4f} ({held_out['final'].low:.4f} to "
            f"{held_out['final'].high:.4f}) | {times.ratio:.2f} ({times.ratio_low:.2f} to "
            f"{times.ratio_high:.2f}) |"
        )


if __name__ == "__main__":
    main(tyro.cli(Options))
