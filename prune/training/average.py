"""A running average of a network's weights: less noisy than the weights of any one step."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

WARM_UP_STEPS = 10
"""At step s the decay is at most s / (s + 10), so that the first weights are soon forgotten.

TensorFlow's ExponentialMovingAverage grows in the same way, (1 + n) / (10 + n) at update n.
"""


def averaged_model(model: nn.Module, decay: float) -> AveragedModel:
    """A copy that follows `model`: its `update_parameters(model)` is to be called after every step.

    At step s = 1, 2, ... every floating parameter and buffer becomes

        average <- d average + (1 - d) weights,  d = min(decay, s / (s + 10));

    integer buffers stay as they are. The plain network is the attribute `module`.
    """

    def update(averages: Sequence[Tensor], weights: Sequence[Tensor], _: Tensor | int) -> None:
        if averages[0].is_floating_point():  # torch calls once for every data type
            step = int(average.n_averaged)  # on the CPU: what is given here is a copy on the device
            share = 1 - min(decay, step / (step + WARM_UP_STEPS))
            for running, weight in zip(averages, weights, strict=True):
                running.lerp_(weight, share)

    average = AveragedModel(model, multi_avg_fn=update, use_buffers=True)
    average.n_averaged.fill_(1)  # the initial weights count as one
    return average
