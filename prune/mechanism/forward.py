"""Run a network and look at what its readers are given, leaving no trace on it."""

from collections.abc import Callable, Iterable, Mapping
from operator import length_hint
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import InputError
from ..forward import Arguments, input_of, watching
from ..progress import Progress, silent
from ..structure.units import Reader
from .taps import as_map

Batches = Iterable[tuple[Tensor, Tensor]]
OnInput = Callable[[str, Tensor, Tensor], None]


def observe(
    model: nn.Module,
    layers: Iterable[str],
    batches: Batches,
    num_labels: int,
    on_input: OnInput,
    *,
    device: torch.device,
    progress: Progress = silent,
) -> int:
    """Call `on_input(layer, x, labels_N)` with every input of every named module.

    The network, which must already be on `device`, runs in eval mode without gradients; its mode
    is restored and its hooks are gone afterwards, also after an error.

    Returns the number of images. Raises InputError when there are none, or for labels outside
    0..num_labels-1.
    """
    num_images = 0
    total = length_hint(batches, 0)
    current: list[Tensor] = []

    def note(layer: str, arguments: Arguments, named: dict[str, Any]) -> None:
        x = input_of(arguments, named)
        with torch.autocast(x.device.type, enabled=False):
            on_input(layer, x, current[0])

    with watching(model, layers, before=note):
        for done, (x, labels_N) in enumerate(batches, start=1):
            _check_labels(labels_N, num_labels)
            current[:] = [labels_N.to(device)]
            x = x.to(device)
            model(x.to(memory_format=torch.channels_last) if x.ndim == 4 else x)
            num_images += len(labels_N)
            progress(done, max(done, total))
    if num_images == 0:
        raise InputError("no images to measure the network on: expected at least one batch")
    return num_images


def map_sizes(
    model: nn.Module, readers: Mapping[str, Reader], x: Tensor, *, device: torch.device
) -> dict[str, tuple[int, int, int]]:
    """(channels, height, width) of what each reader sees of inputs x; of its last run, if several.

    Readers that do not run are missing. Errors as `observe`.
    """
    sizes: dict[str, tuple[int, int, int]] = {}

    def on_input(layer: str, seen: Tensor, labels_N: Tensor) -> None:
        _, channels, height, width = as_map(seen, readers[layer]).shape
        sizes[layer] = channels, height, width

    no_labels = torch.zeros(len(x), dtype=torch.int64)
    observe(model, readers, [(x, no_labels)], 1, on_input, device=device)
    return sizes


def _check_labels(labels_N: Tensor, num_labels: int) -> None:
    if len(labels_N) and not 0 <= int(labels_N.min()) <= int(labels_N.max()) < num_labels:
        raise InputError(
            f"labels run from {int(labels_N.min())} to {int(labels_N.max())}, but the network has "
            f"{num_labels} outputs: use data with labels 0 to {num_labels - 1}"
        )
