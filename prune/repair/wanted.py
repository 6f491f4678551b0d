"""What a layer should answer at rows, as far as it matters after its ReLU.

An answer z becomes max(0, k (z - mean) + beta + s): k = weight / sqrt(var + eps), mean and beta of
the batch norm, s the stream that is added (1, 0, 0 and 0 for what is not there). In the smaller
network the stream is another one already. With t the original's answer there and s_o its stream:

- the answer that makes up for the stream too is t' = t + (s_o - s) / k;
- ReLU gives nothing below the threshold mean - (beta + s) / k (above it where k is negative). Where
  the original gives nothing, any answer on that side is right, and the nearest one is wanted.

Least squares to the second kind of target are those of Zhang, Zou, He and Sun, arXiv 1505.06798,
section 3.1, without their relaxation: the targets follow the answers, pass by pass, and the error
after ReLU is bounded by what is minimised.

Shapes: R rows, O outputs.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from ..structure.units import AxisKey, IntArray
from .activations import Activation

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
        threshold_RO: where ReLU begins to give something; None for no ReLU.
        sign_O: 1 where it gives something above the threshold, -1 below, 0 for a plain target.
    """

    answer_RO: Tensor
    threshold_RO: Tensor | None = None
    sign_O: Tensor | None = None

    @property
    def plain(self) -> "Wanted":
        """The same without ReLU."""
        return replace(self, threshold_RO=None, sign_O=None)

    def missing(self, now_RO: Tensor) -> Tensor:
        """What has to be added to the answers as they are: zero where they are as good already.

        >>> wanted = Wanted(torch.tensor([[-3.0, 2.0]]), torch.zeros(1, 2), torch.ones(2))
        >>> wanted.missing(torch.tensor([[-1.0, 1.5]])), wanted.missing(torch.tensor([[1.0, -1.0]]))
        (tensor([[0.0000, 0.5000]]), tensor([[-1.,  3.]]))
        """
        rest_RO = self.answer_RO - now_RO
        if self.threshold_RO is None or self.sign_O is None:
            return rest_RO
        gives_nothing = self.sign_O * (self.answer_RO - self.threshold_RO) < 0
        down_RO = self.sign_O * torch.clamp(self.sign_O * (self.threshold_RO - now_RO), max=0.0)
        return torch.where(gives_nothing, down_RO, rest_RO)

    def error(self, now_RO: Tensor) -> Tensor:
        """What answers as they are lack after ReLU, in units of an answer; at most `missing`.

        >>> wanted = Wanted(torch.tensor([[-3.0, 2.0]]), torch.zeros(1, 2), torch.ones(2))
        >>> wanted.error(torch.tensor([[-1.0, -1.0]]))
        tensor([[0., 2.]])
        """
        if self.threshold_RO is None or self.sign_O is None:
            return self.answer_RO - now_RO
        over_RO, now_RO = (x - self.threshold_RO for x in (self.answer_RO, now_RO))
        through_RO = self.sign_O * ((self.sign_O * over_RO).relu() - (self.sign_O * now_RO).relu())
        return torch.where(self.sign_O == 0, over_RO - now_RO, through_RO)

    def part(self, start: int, stop: int) -> "Wanted":
        """Of some of the rows."""
        limit = None if self.threshold_RO is None else self.threshold_RO[start:stop]
        return Wanted(self.answer_RO[start:stop], limit, self.sign_O)


def wanted(
    scale: OutputScale | None, answer_RO: Tensor, streams: tuple[Tensor, Tensor] | None
) -> Wanted:
    """Targets of rows of a layer.

    Args:
        scale: None where nothing is known of what comes after the layer.
        answer_RO: the original's answers.
        streams: what is added in the original and in the smaller network, (R, O) each.
    """
    if scale is None:
        return Wanted(answer_RO)
    counts_O = scale.k_O.abs() >= LEAST_SCALE * scale.k_O.abs().mean()
    safe_O = torch.where(counts_O, scale.k_O, torch.ones_like(scale.k_O))
    threshold_RO = (scale.mean_O - scale.beta_O / safe_O).expand_as(answer_RO)
    if streams is not None:
        old_RO, new_RO = streams
        answer_RO = answer_RO + torch.where(counts_O, (old_RO - new_RO) / safe_O, 0.0)
        threshold_RO = threshold_RO - new_RO / safe_O
    sign_O = torch.where(counts_O, scale.k_O.sign(), 0.0)
    return Wanted(answer_RO, threshold_RO, sign_O)
