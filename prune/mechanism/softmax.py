"""The published probe from one pass: its own training, on a bounded sample of pooled maps.

The ridge probe minimises squared errors; its fields tell the labels apart but weigh correlated
filters differently from the published probe, a softmax classifier trained by SGD (`paper`). This
one has the published objective, schedule and mini-batches. Three things differ: the maps are kept
from one pass (a bounded number, not augmented, `sample`), pooled to a grid where the whole map
does not fit, and the weights start from zero, so that nothing is random.

Shapes: S samples, K labels, D pooled features.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from ..inputs.split import Batches
from ..progress import Progress, silent
from .held_out import evaluate_probes
from .network import TracedNetwork
from .paper import Maps, Sgd, train_probes
from .probe import Probe
from .sample import LayerSample
from .spectrum import Spectrum, spectrum_of
from .statistics import Statistics

SOFTMAX_EPOCHS = 40
"""Passes over the sample; the published schedule is compressed into them."""


def spectrum_by_softmax(
    network: TracedNetwork,
    statistics: Statistics,
    held_out_batches: Batches,
    *,
    sgd: Sgd,
    progress: Progress = silent,
) -> Spectrum:
    """The spectrum, from statistics that were collected with samples.

    Args:
        held_out_batches: what success rates and fields are measured on; a label that none of
            them has takes its row of the fields from the sample.
        sgd: how the probes are trained; their first weights are zero, whatever its seed.
        progress: called with (layers done, layers) while the probes are trained.
    """
    samples = {name: x.sample for name, x in statistics.layers.items() if x.sample is not None}
    labels = network.num_labels
    probes = fit_probes(samples, labels, sgd, device=network.device, progress=progress)
    held_out = evaluate_probes(network, probes, held_out_batches)

    def means(name: str) -> Tensor:
        return held_out[name].means_KD(samples[name].means_KD(labels))

    title = f"softmax (epochs: {sgd.epochs})"
    return spectrum_of(network.structure, probes, held_out, means, title=title)


def fit_probes(
    samples: Mapping[str, LayerSample],
    num_labels: int,
    sgd: Sgd,
    *,
    device: torch.device,
    progress: Progress = silent,
) -> dict[str, Probe]:
    """Train the probes layer after layer, so that the memory is that of one."""
    probes = {}
    for done, (name, sample) in enumerate(samples.items(), start=1):
        probes[name] = fit_probe(sample, num_labels, sgd, device=device)
        progress(done, len(samples))
    return probes


def fit_probe(sample: LayerSample, num_labels: int, sgd: Sgd, *, device: torch.device) -> Probe:
    """The published training on one layer's sample.

    With x the whole map of a sample, z its pooled map and a the positions of a cell, the published
    probe whose weights are equal within a cell, W_x = W / a, is trained in its own coordinates:

        min over W_u:  mean of cross-entropy(W_u u, label) + weight_decay / 2 |W_u|^2,
        u = sqrt(a) z,    W = sqrt(a) W_u,

    so that W z = W_u u = W_x x, |W_u| = |W_x|, and the steps are those of SGD on x projected on
    such weights. With a = 1 it is the published procedure.
    """
    scale = sample.cell_area**0.5

    def source(epoch: int) -> Iterator[Maps]:
        generator = torch.Generator().manual_seed(epoch)
        order = torch.randperm(len(sample.labels_S), generator=generator)
        for index_B in torch.split(order, sgd.batch_size):
            u_BD = (scale * sample.features(index_B)).to(device)
            yield Maps({"": u_BD}, {"": sample.labels_S[index_B].to(device)}, {"": sample.grid})

    probe = train_probes(source, num_labels, replace(sgd, seed=None))[""]
    return Probe(probe.grid, probe.weights_KD * scale, probe.bias_K)
