"""The published procedure, to the letter: a probe trained by SGD on every frozen layer.

It is the reference that measuring in one pass is tested against. Source: arXiv 2305.18078, phases 2
and 3. A fully connected layer without bias reads the whole flattened feature map; the network
stays frozen in eval mode; the field of a filter is the probe's output with all other filters
silenced, averaged over the inputs of each label. The silencing is done for all filters at once,
by `fields.output_fields`, which equals it exactly.

Shapes: N samples, K labels, D features of a whole map.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from ..errors import InputError, UsageError
from ..inputs.split import Batches
from ..machine import memory_bytes
from ..progress import Progress, silent
from .held_out import evaluate_probes
from .network import TracedNetwork
from .observe import observe
from .probe import Probe
from .spectrum import Spectrum, spectrum_of
from .taps import Grid, as_map, pool, repeat_labels

BYTES_PER_WEIGHT = 12
"""A float32 weight, its gradient and its momentum."""


@dataclass(frozen=True)
class Maps:
    """Inputs of every reader for some images: flattened maps (N, D) float32, labels (N,), grids."""

    features: Mapping[str, Tensor]
    labels: Mapping[str, Tensor]
    grids: Mapping[str, Grid]


Source = Callable[[int], Iterator[Maps]]
"""Epoch number -> its mini-batches."""


@dataclass(frozen=True)
class Sgd:
    """How a probe is trained. The defaults are the published ones (arXiv 2305.18078).

    With fewer epochs than published, `decay` should be raised to the power 200 / epochs so that
    the learning rate still ends where it should: `Sgd.of(epochs)` does that.

    Attributes:
        decay: factor on the learning rate after every epoch.
        batch_size: images in one step.
        seed: of the first weights; None starts from zero, the mean of all first weights.
    """

    epochs: int = 200
    lr: float = 0.01
    momentum: float = 0.975
    weight_decay: float = 1e-3
    decay: float = 0.975
    batch_size: int = 100
    seed: int | None = 0

    @staticmethod
    def of(epochs: int, seed: int | None = 0) -> "Sgd":
        """The published schedule compressed into fewer epochs. Raises UsageError below 1."""
        if epochs < 1:
            raise UsageError(
                f"`probe_epochs={epochs}` given; expected 1 or more, such as 200, as published"
            )
        published = Sgd()
        decay = published.decay ** (published.epochs / epochs)
        return Sgd(epochs=epochs, decay=decay, seed=seed)


def measure_by_sgd(
    network: TracedNetwork,
    source: Source,
    held_out_batches: Batches,
    *,
    sgd: Sgd | None = None,
    progress: Progress = silent,
) -> Spectrum:
    """The spectrum, with probes trained as published.

    Args:
        source: training maps, from `frozen` (the network runs in every epoch, so that images can
            be augmented anew, as published) or `cached` (it runs once).
        held_out_batches: what success rates and fields are measured on; a label that none of
            them has gets a field row of zeros.
        sgd: default `Sgd()`, the published 200 epochs.
        progress: called with (epochs done, epochs).

    Raises:
        InputError: as `statistics.collect`; for images of several sizes; and where the probes need
            more memory than there is, as they read whole maps, unlike those of the one-pass way.
    """
    sgd = sgd or Sgd()
    probes = train_probes(source, network.num_labels, sgd, progress=progress)
    held_out = evaluate_probes(network, probes, held_out_batches)

    def means(name: str) -> Tensor:
        return held_out[name].means_KD()

    title = f"sgd (epochs: {sgd.epochs})"
    return spectrum_of(network.structure, probes, held_out, means, title=title)


def frozen(network: TracedNetwork, batches: Callable[[int], Batches]) -> Source:
    """Maps of `batches(epoch)`, computed when they are asked for."""

    def source(epoch: int) -> Iterator[Maps]:
        for batch in batches(epoch):
            yield _maps_of(network, [batch])

    return source


def cached(
    network: TracedNetwork, batches: Batches, *, batch_size: int = 100, seed: int = 0
) -> Source:
    """Maps of fixed images, computed once and kept: 4 bytes times the features of all layers.

    Args:
        batch_size: of the mini-batches that they are dealt out in.
        seed: of their order, anew in every epoch.
    """
    maps = _maps_of(network, batches)

    def source(epoch: int) -> Iterator[Maps]:
        generator = torch.Generator().manual_seed(seed + epoch)
        count = min(len(labels) for labels in maps.labels.values())
        for index in torch.split(torch.randperm(count, generator=generator), batch_size):
            yield Maps(
                {name: x[index.to(x.device)] for name, x in maps.features.items()},
                {name: y[index.to(y.device)] for name, y in maps.labels.items()},
                maps.grids,
            )

    return source


def _maps_of(network: TracedNetwork, batches: Batches) -> Maps:
    features: dict[str, list[Tensor]] = {name: [] for name in network.readers}
    labels: dict[str, list[Tensor]] = {name: [] for name in network.readers}
    grids: dict[str, Grid] = {}

    def on_input(name: str, x: Tensor, labels_N: Tensor) -> None:
        map_NCHW = as_map(x, network.readers[name])
        grid = (map_NCHW.shape[2], map_NCHW.shape[3])
        _check_size({name: grid}, {name: grids.setdefault(name, grid)})
        features[name].append(pool(map_NCHW, grids[name]))
        labels[name].append(repeat_labels(labels_N, map_NCHW))

    observe(network, network.readers, batches, on_input)
    return Maps(
        {name: torch.cat(features.pop(name)) for name in grids},
        {name: torch.cat(labels[name]) for name in grids},
        grids,
    )


def train_probes(
    source: Source, num_labels: int, sgd: Sgd, *, progress: Progress = silent
) -> dict[str, Probe]:
    """Train a probe on every layer side by side: SGD with Nesterov momentum on cross-entropy.

    The layers do not touch one another; they share only the passes through the frozen network.
    """
    generator = None if sgd.seed is None else torch.Generator().manual_seed(sgd.seed)
    weights: dict[str, Tensor] = {}
    grids: dict[str, Grid] = {}
    optimizer: torch.optim.SGD | None = None
    for epoch in range(sgd.epochs):
        for maps in source(epoch):
            if optimizer is None:
                grids.update(maps.grids)
                _check_memory(maps, num_labels)
                weights = {k: _start(x, num_labels, generator) for k, x in maps.features.items()}
                optimizer = _optimizer(weights, sgd)
            _check_size(maps.grids, grids)
            _step(weights, maps, optimizer)
        assert optimizer is not None
        optimizer.param_groups[0]["lr"] *= sgd.decay
        progress(epoch + 1, sgd.epochs)
    no_bias = torch.zeros(num_labels)
    return {k: Probe(grids[k], w.detach().cpu(), no_bias) for k, w in weights.items()}


def _check_memory(maps: Maps, num_labels: int) -> None:
    """Weights, gradients and momentum must fit: else the process may be killed without a word."""
    features = list(maps.features.values())
    needed = BYTES_PER_WEIGHT * num_labels * sum(x.shape[1] for x in features)
    there = memory_bytes(features[0].device)
    if there is not None and needed > there:
        raise InputError(
            f"`probe=sgd` needs {needed / 1e9:.0f} GB for its probes, which read whole maps; this "
            f"machine has {there / 1e9:.0f} GB; use `probe=ridge`, or smaller images"
        )


def _check_size(here: Mapping[str, Grid], first: Mapping[str, Grid]) -> None:
    if here != first:
        raise InputError(
            "images of several sizes given; the published probes read whole maps, and expect one "
            "size; use `probe=ridge`, or bring the images to one size with `input_size`"
        )


def _start(features_ND: Tensor, num_labels: int, generator: torch.Generator | None) -> Tensor:
    """Uniform within 1 / sqrt(D), as a fully connected layer starts; zero without a generator."""
    size = features_ND.shape[1]
    weights_KD = torch.zeros(num_labels, size)
    if generator is not None:
        weights_KD.uniform_(-1, 1, generator=generator).div_(size**0.5)
    weights_KD = weights_KD.to(features_ND.device)
    weights_KD.requires_grad = True
    return weights_KD


def _optimizer(weights: Mapping[str, Tensor], sgd: Sgd) -> torch.optim.SGD:
    return torch.optim.SGD(
        list(weights.values()),
        lr=sgd.lr,
        momentum=sgd.momentum,
        weight_decay=sgd.weight_decay,
        nesterov=True,
    )


def _step(weights: Mapping[str, Tensor], maps: Maps, optimizer: torch.optim.SGD) -> None:
    losses = [
        functional.cross_entropy(x @ weights[name].T, maps.labels[name])
        for name, x in maps.features.items()
    ]
    optimizer.zero_grad()
    torch.autograd.backward(losses)
    optimizer.step()
