"""What a layer should answer at rows, as far as it matters after its clamp (ReLU, ReLU6, hardtanh).

An answer z becomes y = k (z - mean) + beta + s, held between the clamp's bounds: k = weight /
sqrt(var + eps), mean and beta of the batch norm, s the stream that is added (1, 0, 0 and 0 for what
is not there). In the smaller network the stream is another one already. With t the original's
answer there and s_o its stream:

- the answer that makes up for the stream too is t' = t + (s_o - s) / k;
- y reaches a bound b at the answer mean + (b - beta - s) / k. Where the original is at a bound, any
  answer beyond it is right, and the nearest one is wanted.

Least squares to the second kind of target are those of Zhang, Zou, He and Sun, arXiv 1505.06798,
section 3.1, without their relaxation: the targets follow the answers, pass by pass, and the error
after the clamp is bounded by what is minimised.

Shapes: R rows, O outputs.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from ..structure.units import AxisKey, IntArray
from .activations import ANYTHING, Activation, Bounds

LEAST_SCALE = 0.01
"""Outputs whose k is below this share of the layer's mean are left to their plain targets: what is
wanted of them is divided by k, and they hardly count after it."""


@dataclass(frozen=True)
class OutputScale:
    """k, mean and beta of each output (O,)."""

    k_O: Tensor
    mean_O: Tensor
    beta_O: Tensor

    @staticmethod
    def of(
        model: nn.Module, activation: Activation, kept: Mapping[AxisKey, IntArray], like_O: Tensor
    ) -> "OutputScale":
        """Of the outputs that stay, as the original has them; on the device of `like_O`."""
        if activation.norm is None:
            none_O = torch.zeros_like(like_O)
            return OutputScale(none_O + 1, none_O, none_O)
        norm = model.get_submodule(activation.norm)
        var_O, mean_O = norm.get_buffer("running_var"), norm.get_buffer("running_mean")
        k_O = (var_O + float(norm.eps)).rsqrt()  # type: ignore[arg-type]
        beta_O = torch.zeros_like(k_O)
        if isinstance(norm.weight, Tensor):
            k_O, beta_O = k_O * norm.weight, norm.get_parameter("bias")
        positions = kept.get((f"{activation.norm}.running_mean", 0))
        parts = [k_O.detach(), mean_O, beta_O.detach()]
        if positions is not None:
            index = torch.from_numpy(positions).to(k_O.device)
            parts = [part[index] for part in parts]
        return OutputScale(*(part.float() for part in parts))


@dataclass(frozen=True)
class Wanted:
    """Targets of rows.

    Attributes:
        answer_RO: t', or t where nothing is known of what comes after the layer.
        low_RO, high_RO: answers between which the clamp gives what it is given, -inf and inf where
            it always does; None for no clamp.
    """

    answer_RO: Tensor
    low_RO: Tensor | None = None
    high_RO: Tensor | None = None

    @property
    def plain(self) -> "Wanted":
        """The same without a clamp."""
        return replace(self, low_RO=None, high_RO=None)

    def missing(self, now_RO: Tensor) -> Tensor:
        """What has to be added to the answers as they are: zero where they are as good already.

        >>> wanted = Wanted(torch.tensor([[-3.0, 2.0, 9.0]]), torch.zeros(3), torch.full((3,), 6.0))
        >>> wanted.missing(torch.tensor([[-1.0, 1.5, 7.0]]))
        tensor([[0.0000, 0.5000, 0.0000]])
        >>> wanted.missing(torch.tensor([[1.0, -1.0, 5.0]]))
        tensor([[-1.,  3.,  1.]])
        """
        rest_RO = self.answer_RO - now_RO
        if self.low_RO is None or self.high_RO is None:
            return rest_RO
        down_RO, up_RO = (self.low_RO - now_RO).clamp(max=0), (self.high_RO - now_RO).clamp(min=0)
        rest_RO = torch.where(self.answer_RO < self.low_RO, down_RO, rest_RO)
        return torch.where(self.answer_RO > self.high_RO, up_RO, rest_RO)

    def error(self, now_RO: Tensor) -> Tensor:
        """What answers as they are lack after the clamp, in units of an answer.

        At most `missing`.

        >>> wanted = Wanted(torch.tensor([[-3.0, 2.0]]), torch.zeros(2), torch.full((2,), 6.0))
        >>> wanted.error(torch.tensor([[-1.0, -1.0]]))
        tensor([[0., 2.]])
        """
        if self.low_RO is None or self.high_RO is None:
            return self.answer_RO - now_RO
        wanted_RO, given_RO = (
            torch.clamp(x_RO, self.low_RO, self.high_RO) for x_RO in (self.answer_RO, now_RO)
        )
        return wanted_RO - given_RO

    def part(self, start: int, stop: int) -> "Wanted":
        """Of some of the rows."""
        low_RO, high_RO = (
            None if x_RO is None else x_RO[start:stop] for x_RO in (self.low_RO, self.high_RO)
        )
        return Wanted(self.answer_RO[start:stop], low_RO, high_RO)


def wanted(
    scale: OutputScale | None,
    bounds: Bounds,
    answer_RO: Tensor,
    streams: tuple[Tensor, Tensor] | None,
) -> Wanted:
    """Targets of rows of a layer.

    Args:
        scale: None where nothing is known of what comes after the layer.
        bounds: of the clamp.
        answer_RO: the original's answers.
        streams: what is added in the original and in the smaller network, (R, O) each.
    """
    if scale is None:
        return Wanted(answer_RO)
    counts_O = scale.k_O.abs() >= LEAST_SCALE * scale.k_O.abs().mean()
    safe_O = torch.where(counts_O, scale.k_O, torch.ones_like(scale.k_O))
    zero_RO = (scale.mean_O - scale.beta_O / safe_O).expand_as(answer_RO)
    if streams is not None:
        old_RO, new_RO = streams
        answer_RO = answer_RO + torch.where(counts_O, (old_RO - new_RO) / safe_O, 0.0)
        zero_RO = zero_RO - new_RO / safe_O
    if bounds == ANYTHING:
        return Wanted(answer_RO)
    first_O, second_O = (torch.full_like(safe_O, bound) / safe_O for bound in bounds)
    never_O = torch.full_like(safe_O, math.inf)
    low_O = torch.where(counts_O, torch.minimum(first_O, second_O), -never_O)
    high_O = torch.where(counts_O, torch.maximum(first_O, second_O), never_O)
    return Wanted(answer_RO, zero_RO + low_O, zero_RO + high_O)
