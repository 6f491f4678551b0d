"""What a command says on stderr, before any work, of the network and the data that it opened."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..inputs.callables import Name
from ..inputs.split import BUILT_IN, DataSet
from ..terminal import say
from .flags import in_flags


def tell(notes: Iterable[str]) -> None:
    """Say on stderr, before any work, what the report says at the end."""
    for note in notes:
        say(f"prune-dl: note: {in_flags(note)}")


def tell_folder(spec: Name, data: DataSet, *, is_given: bool) -> None:
    """Say on stderr that a folder was taken which only the model file names, or which is called as
    a data set without one."""
    if not is_given and Path(data.name).is_absolute():
        say(f"prune-dl: data: {data.name}, which the model file names")
    if str(spec) in BUILT_IN and Path(data.name).is_absolute():
        say(
            f"prune-dl: data: the folder {data.name} is used, not the built-in {spec}; for that "
            "one, rename the folder or work elsewhere"
        )


def tell_inputs(data: DataSet) -> None:
    """Say on stderr what the network is fed, and where that comes from."""
    say(f"prune-dl: input: {words_of_inputs(data)}")


def input_document(data: DataSet) -> dict[str, Any]:
    """What the network is fed, and where that comes from, as JSON documents hold it."""
    return {
        "size": list(data.input_size),
        "mean": list(data.mean),
        "std": list(data.std),
        "channel_order": data.channel_order,
        "sources": data.sources.words,
    }


def words_of_inputs(data: DataSet) -> str:
    """Size, scale and order of the channels of the inputs, each with its source."""
    sources = data.sources
    if not data.input_size:
        return "as your loaders give it"
    size = " x ".join(map(str, data.input_size))
    mean, std = (" ".join(f"{value:.4g}" for value in values) for values in (data.mean, data.std))
    words = [f"{size} ({sources.size.words})", f"mean {mean}, std {std} ({sources.scale.words})"]
    if data.input_size[0] == 3:
        words.append(f"channels {data.channel_order} ({sources.channel_order.words})")
    return "; ".join(words)
