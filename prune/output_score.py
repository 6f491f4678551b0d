"""How close a network's outputs are to those of the network it was made from, whatever they are.

For every output o (a map, an embedding, a box regression, ...)

    error_o    = sum over images of |y_o - t_o|^2  /  sum over images of |t_o - mean(t_o)|^2
    fidelity   = mean over outputs of 1 - error_o

t_o is what the original gives; its mean is taken over images and positions, for each channel by
itself. So 1 - error_o is the coefficient of determination (R^2): 1 for equal outputs, 0 for ones
that always give the mean, below 0 for worse ones. No label is read. An output that never varies
is measured by its own squares.

Channels are the second axis, or the last one of three (tokens, lists of boxes).

Shapes: N images, O outputs, C channels of one output, B resamples.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .bootstrap import bootstrap_interval, bootstrap_randomness, draw_resamples
from .chosen_output import named_outputs
from .errors import InputError
from .scores import Plain
from .structure.units import FloatArray

OUTPUT_FIDELITY = "output_fidelity"
"""Key of this score in files."""
ONLY_OUTPUT = "output"
"""Name of the output of a network that gives a bare tensor."""
OUTPUT_RESAMPLES = 1000
"""Draws of the bootstrap: the ends of a 95 % interval then change by a few percent of its width
from seed to seed."""
CONSTANT_BELOW = 1e-12
"""Share of an output's squares that its variance has at the least; below it is rounding of
float32, and the output counts as constant."""


def float_outputs(outputs: Any) -> dict[str, Tensor]:
    """Every floating-point output with elements, by name.

    >>> list(float_outputs({"out": torch.ones(1, 2), "boxes": [torch.ones(1)]}))
    ['out', 'boxes.0']
    """
    return {
        name or ONLY_OUTPUT: x
        for name, x in named_outputs(outputs)
        if x.is_floating_point() and x.numel()
    }


def require_float_outputs(outputs: Any, parts: str = "") -> None:
    """Raises InputError for a network that gives nothing that can be compared.

    Args:
        parts: names that may be given as `part`, for the message.
    """
    found = float_outputs(outputs)
    if not found:
        instead = f"give its part before that as `part` ({parts})" if parts else "leave that out"
        raise InputError(
            "a network that gives no floating-point numbers for these inputs given (its last step "
            "is an argmax, or finds boxes); expected outputs that can be compared with the "
            f"original's; {instead}"
        )
    if broken := [name for name, x in found.items() if not bool(torch.isfinite(x).all())]:
        raise InputError(
            f"the network's output {broken[0]} holds NaN or infinity, so nothing can be compared "
            "with it; check the checkpoint and the inputs"
        )


@dataclass(frozen=True, eq=False)
class OutputFidelity:
    """The fidelity of outputs; its interval is a seeded bootstrap over images.

    Attributes:
        names: of the outputs.
        errors_NO: squared differences of each image.
        energies_NO: squares of the original's outputs around their means.
    """

    names: tuple[str, ...]
    errors_NO: FloatArray = field(repr=False)
    energies_NO: FloatArray = field(repr=False)

    @property
    def name(self) -> str:
        """What the value is called."""
        return "output fidelity"

    @property
    def key(self) -> str:
        """The name as a file has it."""
        return OUTPUT_FIDELITY

    @property
    def total(self) -> int:
        """Images looked at."""
        return len(self.errors_NO)

    @property
    def by_output(self) -> dict[str, float]:
        """1 - relative squared error of each output, by name."""
        kept_O = 1 - _ratio(self.errors_NO.sum(0), self.energies_NO.sum(0))
        return dict(zip(self.names, kept_O.tolist(), strict=True))

    @property
    def value(self) -> float:
        """Their mean: what networks are compared by."""
        return float(np.mean(list(self.by_output.values())))

    @cached_property
    def _resampled(self) -> FloatArray:
        counts_BN = draw_resamples(self.total, OUTPUT_RESAMPLES, bootstrap_randomness())
        ratio_BO = _ratio(counts_BN @ self.errors_NO, counts_BN @ self.energies_NO)
        return np.asarray((1 - ratio_BO).mean(1), dtype=np.float64)

    @property
    def low(self) -> float:
        """Lower end of the 95 % bootstrap interval; never above the value."""
        return bootstrap_interval(self.value, self._resampled)[0]

    @property
    def high(self) -> float:
        """Upper end of the 95 % bootstrap interval; never below the value."""
        return bootstrap_interval(self.value, self._resampled)[1]

    @property
    def error(self) -> float:
        """Standard deviation over the resamples."""
        return float(self._resampled.std())

    @property
    def plain(self) -> Plain:
        """Everything by name, for a file; of several outputs each one too."""
        ends: Plain = {self.key: self.value, "low": self.low, "high": self.high}
        each = self.by_output if len(self.names) > 1 else {}
        return ends | {f"{self.key}:{name}": x for name, x in each.items()} | {"total": self.total}


def _ratio(errors: FloatArray, energies: FloatArray) -> FloatArray:
    """errors / energies; 0 where there is neither."""
    safe = np.where(energies > 0, energies, 1.0)
    return np.where(energies > 0, errors / safe, np.where(errors > 0, 1.0, 0.0))


@dataclass(frozen=True, eq=False)
class OutputSpread:
    """How the original's outputs vary: what errors are relative to.

    Attributes:
        means: output -> (C,) float64, or () for an output without channels; 0 where it is constant.
        variances: output -> mean of the squares around them, of one element.
    """

    means: Mapping[str, Tensor]
    variances: Mapping[str, float]

    def energy(self, name: str, target: Tensor, num_images: int) -> Tensor:
        """Squares of an output around its mean, of each image: (N,) float64."""
        mean = self.means[name].to(target.device)
        axis = channel_axis(target.ndim)
        if axis is not None:
            mean = mean.reshape([-1 if i == axis else 1 for i in range(target.ndim)])
        return squares(target.float() - mean.float(), num_images)


@dataclass
class SpreadSums:
    """Sums over batches of the original's outputs, which become their scale."""

    sums: dict[str, Tensor] = field(default_factory=dict)
    squares: dict[str, Tensor] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def add(self, outputs: Mapping[str, Tensor]) -> None:
        """Take in one batch."""
        for name, x in outputs.items():
            axis = channel_axis(x.ndim)
            others = [i for i in range(x.ndim) if i != axis]
            wide = x.detach().double().cpu()
            parts = (wide.sum(others), wide.square().sum(others))
            for store, part in zip((self.sums, self.squares), parts, strict=True):
                store[name] = store[name] + part if name in store else part
            self.counts[name] = self.counts.get(name, 0) + x.numel() // parts[0].numel()

    def scale(self) -> OutputSpread:
        """The scale of all that was taken in."""
        means, variances = {}, {}
        for name, sum_C in self.sums.items():
            count, square_C = self.counts[name], self.squares[name]
            mean_C = sum_C / count
            variance, power = (
                float(x.mean()) for x in (square_C / count - mean_C.square(), square_C / count)
            )
            varies = variance > CONSTANT_BELOW * power
            means[name] = mean_C if varies else torch.zeros_like(mean_C)
            variances[name] = variance if varies else power
        return OutputSpread(means, variances)


def channel_axis(num_axes: int) -> int | None:
    """Which axis counts channels: the second, or the last of three; none of one or no axis.

    >>> [channel_axis(n) for n in (1, 2, 3, 4)]
    [None, 1, 2, 1]
    """
    return None if num_axes < 2 else 2 if num_axes == 3 else 1


def squares(x: Tensor, num_images: int) -> Tensor:
    """Sum of squares for each image, (N,) float64 on the CPU.

    Of an output whose first axis is not that of images each gets an equal share.
    """
    if x.ndim and len(x) == num_images:
        return x.detach().float().square().flatten(1).sum(1, dtype=torch.float64).cpu()
    whole = x.detach().float().square().sum(dtype=torch.float64).cpu()
    return (whole / num_images).expand(num_images)


@dataclass
class OutputTally:
    """Outputs against the original's, batch by batch, until they become an `OutputFidelity`."""

    scale: OutputSpread
    errors: list[Tensor] = field(default_factory=list)
    energies: list[Tensor] = field(default_factory=list)

    @property
    def total(self) -> int:
        """Images taken in."""
        return sum(map(len, self.errors))

    def add(
        self, found: Mapping[str, Tensor], expected: Mapping[str, Tensor], num_images: int
    ) -> None:
        """Take in a batch.

        Raises:
            InputError: an output is missing, or has another size.
        """
        check_alike(found, expected)
        errors, energies = [], []
        for name in self.scale.means:
            error = found[name].float() - expected[name].float()
            errors.append(squares(error, num_images))
            energies.append(self.scale.energy(name, expected[name], num_images))
        self.errors.append(torch.stack(errors, 1))
        self.energies.append(torch.stack(energies, 1))

    def score(self) -> OutputFidelity:
        """Of all that was taken in: one batch or more.

        Raises:
            InputError: a difference is not finite.
        """
        errors_NO, energies_NO = (torch.cat(x).numpy() for x in (self.errors, self.energies))
        if not np.isfinite(errors_NO).all():
            raise InputError(
                "a network whose outputs hold NaN or infinity given; expected finite ones; check "
                "the checkpoint, or retrain with a smaller `lr`"
            )
        return OutputFidelity(tuple(self.scale.means), errors_NO, energies_NO)


def check_alike(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Raises InputError where two networks do not give the same outputs in the same sizes."""
    for name, target in expected.items():
        if name not in found or found[name].shape != target.shape:
            other = tuple(found[name].shape) if name in found else "nothing"
            raise InputError(
                f"a network that gives {other} as its output {name}; expected "
                f"{tuple(target.shape)}, as the original gives for the same inputs; give inputs "
                "for which both run alike"
            )
