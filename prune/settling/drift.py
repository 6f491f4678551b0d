"""How far the inputs of a network's first batch normalisation are from those it was trained with.

A batch normalisation remembers mean and variance of its inputs over the training, so that it tells
the scale of the images without any label, and also for a network that has every image right.

Shapes: N images, C channels, H, W height and width.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ..forward import input_of, watching

LEAST_VARIANCE = 1e-12
"""Added to both variances: channels that are always zero have none."""


class InputMoments:
    """Sums of a layer's inputs over the batches that it sees, float64 on the CPU."""

    def __init__(self) -> None:
        self.count = 0
        self.sums_C: Tensor | float = 0.0
        self.squares_C: Tensor | float = 0.0

    def add(self, inputs_NCHW: Tensor) -> None:
        """Count a batch in."""
        values = inputs_NCHW.detach().transpose(0, 1).flatten(1)
        # MPS has no float64: a batch is averaged there in float32, batches are added up here.
        moments = torch.stack([values.mean(1), values.var(1, correction=0)])
        mean_C, variance_C = moments.cpu().double()
        number = values.shape[1]
        self.count += number
        self.sums_C = self.sums_C + number * mean_C
        self.squares_C = self.squares_C + number * (variance_C + mean_C.square())

    def drift_from(self, norm: nn.Module) -> float | None:
        """Mean over the channels of the Kullback-Leibler divergence, in nats, of the remembered
        normal distribution from that of the inputs; None where no batch was seen.
        """
        assert isinstance(norm, nn.BatchNorm2d)
        if not self.count or norm.running_mean is None or norm.running_var is None:
            return None
        mean_C = torch.as_tensor(self.sums_C) / self.count
        found_C = torch.as_tensor(self.squares_C) / self.count - mean_C.square()
        found_C = found_C.clamp_min(0) + LEAST_VARIANCE
        kept_C = norm.running_var.double().cpu() + LEAST_VARIANCE
        shift_C = (mean_C - norm.running_mean.double().cpu()).square() / kept_C
        ratio_C = found_C / kept_C
        return float((0.5 * (shift_C + ratio_C - 1 - ratio_C.log())).mean())


def first_norm(model: nn.Module) -> str | None:
    """Path of the first batch normalisation with statistics, in the order of definition."""
    return next(
        (
            name
            for name, layer in model.named_modules()
            if isinstance(layer, nn.BatchNorm2d) and layer.running_mean is not None
        ),
        None,
    )


@contextmanager
def observed(model: nn.Module, layer: str | None) -> Iterator[InputMoments]:
    """For the length of the block, the network evaluates, and its layer's inputs are summed."""
    moments = InputMoments()

    def before(_: str, arguments: Any, named: Any) -> None:
        moments.add(input_of(arguments, named))

    with watching(model, [] if layer is None else [layer], before=before):
        yield moments
