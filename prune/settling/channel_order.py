"""A hint that a network was trained on blue, green, red, as OpenCV reads images."""

import torch

from ..inputs.datasets import READY
from ..inputs.origin import imagenet_mean_std
from ..options import DataOptions
from .opened import Opened
from .trials import (
    SCREENED_OUT,
    SCREENING_IMAGES,
    InputTrial,
    asking,
    paired_test,
    ranked,
    take_sample,
)

REVERSED_POINTS = 5.0
"""Percentage points that the other order must gain before it is spoken of: networks with the right
one lose more than that by it, or see next to no colour."""
OTHER = {"rgb": "bgr", "bgr": "rgb"}


def hint_channel_order(opened: Opened, asked: DataOptions) -> Opened:
    """The same, with a note where the other order of the channels is far better.

    Nothing is changed: an order is known, or it is not.
    """
    data, known = opened.data, opened.checkpoint.knows_inputs
    is_settled = known or asked.channel_order is not None or data.sources.scale == READY
    if is_settled or data.input_size[0] != 3 or not data.is_scalable:
        return opened
    sample = take_sample(data)
    ask = asking(opened.checkpoint.model, [sample], opened.device)
    now = InputTrial("now", data.mean, data.std)
    caffe = imagenet_mean_std(3)[0][::-1]
    scales = {(data.mean, data.std), (data.mean[::-1], data.std[::-1]), (caffe, (1 / 255,) * 3)}
    turned = [InputTrial("turned", *scale, is_reversed=True) for scale in sorted(scales)]
    some = torch.arange(len(sample))[:: max(1, len(sample) // SCREENING_IMAGES)]
    best, screened = ranked([(trial, ask(trial, some)) for trial in turned])[0]
    if screened.correct <= ask(now, some).correct:
        return opened
    everything = torch.arange(len(sample))
    as_fed, other = ask(now, everything), ask(best, everything)
    points = 100 * (other.correct - as_fed.correct) / len(sample)
    if points < REVERSED_POINTS or paired_test(other, as_fed) >= SCREENED_OUT:
        return opened
    order = OTHER[data.channel_order]
    return opened.noting(
        f"with its channels in the order {order} the network has {other.percent} of {len(sample)} "
        f"held-out images right, {as_fed.percent} in the order {data.channel_order} that it is fed "
        f"now; if it was trained on images as OpenCV reads them, give `channel_order={order}`"
    )
