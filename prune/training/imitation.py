"""Learning another network's outputs, whatever they are: no label, and nothing known of them.

    loss = mean over outputs o of  mean((y_o - t_o)^2) / variance_o

t_o is what the teacher gives for the same inputs, and variance_o how it varies over the data
(`output_score.OutputSpread`): an output in pixels counts as much as one in metres, and a loss of 1
is that of a network that always gives the mean.

Shapes: N images.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..forward import batch_size_of, call, evaluating
from ..inputs.split import Inputs, Split
from ..output_score import (
    OutputFidelity,
    OutputSpread,
    OutputTally,
    check_alike,
    float_outputs,
)


@dataclass(frozen=True, eq=False)
class Imitation:
    """What is imitated.

    Attributes:
        teacher: in evaluation mode while it is asked; never changed.
        scale: of its outputs.
    """

    teacher: nn.Module
    scale: OutputSpread

    def targets(self, inputs: Inputs) -> dict[str, Tensor]:
        """What the teacher gives."""
        with evaluating(self.teacher):
            return float_outputs(call(self.teacher, inputs))

    def loss(self, found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> Tensor:
        """Mean over outputs of the squared error relative to the variance, float32."""
        check_alike(found, expected)
        parts = [
            (found[name].float() - expected[name].float()).square().mean() / max(variance, TINY)
            for name, variance in self.scale.variances.items()
        ]
        return torch.stack(parts).mean()

    def tally(self) -> OutputTally:
        """For the fidelity of what was seen."""
        return OutputTally(self.scale)

    def measure(self, model: nn.Module, split: Split, batch_size: int) -> OutputFidelity:
        """Fidelity on a split; modes are restored."""
        tally = self.tally()
        device = next(self.teacher.parameters()).device
        for inputs, _ in split.batches(batch_size, device=device):
            with evaluating(model):
                found = float_outputs(call(model, inputs))
            tally.add(found, self.targets(inputs), batch_size_of(inputs))
        return tally.score()


TINY = torch.finfo(torch.float32).tiny
"""In place of a variance of 0: an output that is 0 on all images, and adds nothing while it is."""
