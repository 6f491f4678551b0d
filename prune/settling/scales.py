"""Means and deviations that networks are usually fed with: what is tried when nobody says."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from ..errors import PruneError
from ..inputs import zoo
from ..inputs.arrays import measure_mean_std
from ..inputs.checkpoint import Checkpoint
from ..inputs.known import KNOWN
from ..inputs.origin import imagenet_mean_std
from ..inputs.pretrained import pretrained_scale
from ..inputs.split import DataSet
from ..options import DataOptions

OWN_IMAGES = 500
"""Training images that a data set's own mean and std are measured on: their mean is then known to
a hundredth."""
TRIAL_BATCH = 100
OWN, MEASURED = "the data's own", "measured on"
"""A scale's name, and what the source of a measured one says."""
USUAL_GREY = {"MNIST's": ((0.1307,), (0.3081,))}
"""Of the examples that come with torch."""


@dataclass(frozen=True)
class Scale:
    """Mean and std per channel, of pixels scaled to 0..1, and whose they are."""

    name: str
    mean: tuple[float, ...]
    std: tuple[float, ...]


def usual_scales(checkpoint: Checkpoint, data: DataSet, asked: DataOptions) -> list[Scale]:
    """Every scale to try, each once; one of mean and std that was given is in all of them.

    First those that are the likeliest, as ties keep this order.
    """
    channels = data.input_size[0]
    found: dict[tuple[tuple[float, ...], ...], Scale] = {}
    for scale in _scales(checkpoint, data):
        if len(scale.mean) == channels:
            mean, std = asked.mean or scale.mean, asked.std or scale.std
            found.setdefault((mean, std), Scale(scale.name, mean, std))
    return list(found.values())


def _scales(checkpoint: Checkpoint, data: DataSet) -> Iterator[Scale]:
    channels = data.input_size[0]
    yield from _of_architecture(checkpoint.origin.arch)
    words = data.sources.scale.words
    if MEASURED in words or words.startswith("usual of"):
        yield Scale(OWN if MEASURED in words else words, data.mean, data.std)
    if channels in (1, 3):
        yield Scale("ImageNet's", *imagenet_mean_std(channels))
    if MEASURED not in words:
        yield Scale(OWN, *_own(data))
    yield Scale("0.5 and 0.5", (0.5,) * channels, (0.5,) * channels)
    for name, known in KNOWN.items():
        if known.mean and known.std:
            yield Scale(f"usual of {name}", known.mean, known.std)
    for name, (mean, std) in USUAL_GREY.items():
        yield Scale(name, mean, std)
    yield Scale("0 to 1", (0.0,) * channels, (1.0,) * channels)
    yield Scale("0 to 255", (0.0,) * channels, (1 / 255,) * channels)
    if channels == 3:
        yield Scale("Caffe's", imagenet_mean_std(3)[0], (1 / 255,) * 3)


def _of_architecture(arch: str | None) -> Iterator[Scale]:
    """Of the weights that a library offers for that architecture; nothing is downloaded."""
    if arch is None or zoo.parse_arch(arch).source not in ("torchvision", "timm"):
        return
    try:
        yield Scale(f"those of {arch.split(':')[1]}'s pretrained weights", *pretrained_scale(arch))
    except (PruneError, ValueError):  # a name without pretrained weights
        return


def _own(data: DataSet) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Measured on some training images."""
    zero, one = (0.0,) * len(data.mean), (1.0,) * len(data.std)
    part = data.scaled(zero, one).train
    batches = part.batches(TRIAL_BATCH, device="cpu", limit=OWN_IMAGES)
    return measure_mean_std(torch.cat([(x * 255).round().to(torch.uint8) for x, _ in batches]))
