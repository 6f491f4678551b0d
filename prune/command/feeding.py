"""What a network is fed, as far as the options or its file say."""

from typing import Any

from torch import nn

from ..inputs.checkpoint import Checkpoint
from ..inputs.split import GIVEN, DataSet, Source
from ..options import DataOptions

MODEL_FILE = Source("the model file")


def feeding(images: DataOptions, checkpoint: Checkpoint) -> dict[str, Any]:
    """How the network is fed, as far as the options or else the model file say: arguments of
    `open_data`."""
    known = checkpoint.origin if checkpoint.knows_inputs else None
    return {
        "input_size": images.input_size or (known.input_size if known else None),
        "channels": num_channels(checkpoint.model),
        "mean": images.mean or (known.mean if known else None),
        "std": images.std or (known.std if known else None),
        "channel_order": images.channel_order or (known.channel_order if known else None),
    }


def sourced(data: DataSet, images: DataOptions, checkpoint: Checkpoint) -> DataSet:
    """The same data, saying what of their feeding the model file stated."""
    return data.sourced(**_of_model_file(images, data)) if checkpoint.knows_inputs else data


def _of_model_file(images: DataOptions, data: DataSet) -> dict[str, Source]:
    """Sources of what the model file said and the user did not."""
    found = {}
    if images.input_size is None and data.sources.size == GIVEN:
        found["size"] = MODEL_FILE
    if data.sources.scale == GIVEN and not (images.mean and images.std):
        both = images.mean is None and images.std is None
        given, other = ("mean", "std") if images.mean else ("std", "mean")
        partly = Source(f"{given}: given; {other}: {MODEL_FILE.words}")
        found["scale"] = MODEL_FILE if both else partly
    if images.channel_order is None:
        found["channel_order"] = MODEL_FILE
    return found


def num_channels(model: nn.Module) -> int | None:
    """Channels of an image, as the first convolution takes them; None where there is none."""
    first = next((layer for layer in model.modules() if isinstance(layer, nn.Conv2d)), None)
    return None if first is None else first.in_channels
