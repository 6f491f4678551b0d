"""Run a network and look at what its layers are given, leaving no trace on it."""

from collections.abc import Callable, Iterable
from operator import length_hint
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError
from ..forward import Arguments, batch_size_of, call, input_of, map_tensors, watching
from ..inputs.split import Batches, Inputs
from ..progress import Progress, silent
from .network import TracedNetwork
from .taps import as_map

OnInput = Callable[[str, Tensor, Tensor], None]
"""Called with a layer's path, its input, and the label of each image of the batch, (N,)."""


def observe(
    network: TracedNetwork,
    layers: Iterable[str],
    batches: Batches,
    on_input: OnInput,
    *,
    progress: Progress = silent,
) -> int:
    """Call `on_input` with every input of every named layer, in one pass; gives the image count.

    The network runs in evaluation mode without gradients; mode and hooks are as they were
    afterwards, also after an error.

    Args:
        layers: module paths.
        batches: pairs of inputs (N, ...) and labels (N,) int64, or (N, K) of 0 and 1.
        progress: called with (batches done, batches in all, as far as known).

    Raises:
        InputError: there are no images, or labels outside 0..K-1.
    """
    num_images = 0
    total = length_hint(batches, 0)
    current: list[Tensor] = []

    def note(layer: str, arguments: Arguments, named: dict[str, Any]) -> None:
        x = input_of(arguments, named)
        with torch.autocast(x.device.type, enabled=False):
            on_input(layer, x, current[0])

    with watching(network.model, layers, before=note):
        for done, (x, labels_N) in enumerate(batches, start=1):
            check_labels(labels_N, network.num_labels)
            current[:] = [labels_N.to(network.device)]
            x = map_tensors(lambda part: part.to(network.device), x)
            call(network.model, map_tensors(_laid_out, x))
            num_images += len(labels_N)
            progress(done, max(done, total))
    if num_images == 0:
        raise InputError(
            "no images to measure the network on; expected one batch or more; give more data"
        )
    return num_images


def _laid_out(x: Tensor) -> Tensor:
    """Images as fast convolutions read them; all else as it is."""
    return x.to(memory_format=torch.channels_last) if x.ndim == 4 else x


def map_sizes(network: TracedNetwork, x: Inputs) -> dict[str, tuple[int, int, int]]:
    """(channels, height, width) of the input of each reader, for network inputs x.

    Of its last run, where a reader runs several times; one that does not run is missing. Raises
    InputError as `observe`.
    """
    sizes: dict[str, tuple[int, int, int]] = {}

    def on_input(layer: str, seen: Tensor, labels_N: Tensor) -> None:
        _, channels, height, width = as_map(seen, network.readers[layer]).shape
        sizes[layer] = channels, height, width

    no_labels = torch.zeros(batch_size_of(x), dtype=torch.int64)
    observe(network, network.readers, [(x, no_labels)], on_input)
    return sizes


def check_labels(labels_N: Tensor, num_labels: int) -> None:
    """Raises InputError for labels outside 0..K-1."""
    if not len(labels_N):
        return
    if labels_N.ndim == 2:
        if labels_N.shape[1] != num_labels:
            raise InputError(
                f"labels of {labels_N.shape[1]} columns given, but the network has {num_labels} "
                "outputs; expected one column for each; give the data that it was trained on"
            )
        return
    low, high = torch.stack(torch.aminmax(labels_N)).tolist()  # one copy to the host
    if not 0 <= low <= high < num_labels:
        raise InputError(
            f"labels run from {low} to {high}, but the network has "
            f"{num_labels} outputs; expected labels 0 to {num_labels - 1}; "
            "give the data that it was trained on"
        )
