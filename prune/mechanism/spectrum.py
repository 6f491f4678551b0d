"""The mechanism of a network, measured: what each layer and each of its units does to labels.

Shapes: K labels, D pooled features, U units of a group, Q features of one unit.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..inputs.split import Batches
from ..progress import Progress, silent
from ..shown import html_table, short_repr
from ..structure.units import FloatArray, Group, Reader, Structure
from .clusters import Clusters
from .fields import output_fields
from .held_out import HeldOut, evaluate_probes
from .network import TracedNetwork
from .probe import Probe, solve
from .statistics import Statistics, collect
from .summary import UnitSummary, summarise_units

Means = Callable[[str], Tensor]
"""Module path of a reader -> (K, D) float32."""


@dataclass(frozen=True)
class GroupSpectrum:
    """What the units of one group do, seen by the group's last reader.

    | attribute            | shape     | meaning                                                 |
    |----------------------|-----------|---------------------------------------------------------|
    | success_rate         |           | SR: share of held-out images the layer's probe gets     |
    | cluster_size         |           | C_s: labels per cluster, over all clusters              |
    | clusters_per_filter  |           | N_c: clusters per unit                                  |
    | labels_on_diagonal   |           | d: labels in clusters, per unit                         |
    | noise, noise_in      |           | n, n_in: entries outside clusters, per unit             |
    | snr                  |           | of the layer, see `snr.layer_snr`                    |
    | sharpness_F, snr_F, signal_F | (U,) | of each unit, see `snr`                              |
    | labels               | Clusters  | clusters of each unit                                   |
    | weights_UKQ          | (U, K, Q) | float32: probe weights on the unit's features           |
    | means_UKQ            | (U, K, Q) | float32: mean features over held-out inputs of a label  |
    """

    name: str
    reader: str
    success_rate: float
    cluster_size: float
    clusters_per_filter: float
    labels_on_diagonal: float
    noise: float
    noise_in: float
    snr: float
    sharpness_F: FloatArray
    snr_F: FloatArray
    signal_F: FloatArray
    labels: Clusters
    weights_UKQ: Tensor
    means_UKQ: Tensor

    __repr__ = short_repr

    @property
    def fields_FKK(self) -> NDArray[np.float32]:
        """Averaged output fields of all units, (U, K, K) float32: 4 U K^2 bytes, made anew."""
        return output_fields(self.weights_UKQ, self.means_UKQ).numpy()

    def field(self, unit: int) -> NDArray[np.float32]:
        """Averaged output field of one unit, (K, K): [i, j] is mean output j for inputs of i."""
        one = slice(unit, unit + 1)
        return output_fields(self.weights_UKQ[one], self.means_UKQ[one])[0].numpy()

    @property
    def clusters(self) -> tuple[tuple[tuple[int, ...], ...], ...]:
        """Per unit, its clusters of labels."""
        return tuple(self.labels.of(unit) for unit in range(len(self.snr_F)))


@dataclass(frozen=True)
class DepthPoint:
    """Success rate at one place along the depth: the input of `reader`, written by `writer`.

    `writer` is None where no removable unit is read (it does not happen in traced structures).
    """

    reader: str
    writer: str | None
    success_rate: float


@dataclass(frozen=True)
class Spectrum:
    """The mechanism of a network.

    Attributes:
        groups: in the order of `Structure.groups`; None where no module reads the group's units.
        depth: the readers in execution order.
        num_labels: K.
        labels_without_held_out: labels no held-out image has; their field rows come from the
            training images, or are zero where there are none either.
        probe: which probes read the labels: "ridge", "softmax (epochs: 40)" or
            "sgd (epochs: 200)".
        raised: of every reader, how many times the ridge of its probe had to be raised, 1 for not
            at all; not kept in a file.
    """

    groups: tuple[GroupSpectrum | None, ...]
    depth: tuple[DepthPoint, ...]
    num_labels: int
    labels_without_held_out: tuple[int, ...] = ()
    probe: str = "ridge"
    raised: Mapping[str, float] = field(default_factory=dict)

    __repr__ = short_repr

    def _repr_html_(self) -> str:
        columns = ("layer", "filters", "success rate", "SNR", "labels in a cluster", "noise")
        rows = [
            (x.name, len(x.snr_F), x.success_rate, x.snr, x.cluster_size, x.noise)
            for x in self.groups
            if x is not None
        ]
        return html_table("What layers select", columns, rows)


def measure(
    network: TracedNetwork,
    train_batches: Batches,
    held_out_batches: Batches,
    *,
    progress: Progress = silent,
) -> tuple[Statistics, Spectrum]:
    """Measure every layer and unit in one pass over each part of the data.

    Probes are solved on the training batches; success rates and the label means of the fields
    come from the held-out batches. Raises InputError as `statistics.collect`.
    """
    statistics = collect(network, train_batches, progress=progress)
    probes = {name: solve(layer) for name, layer in statistics.layers.items()}
    held_out = evaluate_probes(network, probes, held_out_batches)

    def means(name: str) -> Tensor:
        return held_out[name].means_KD(statistics.layers[name].means_KD)

    return statistics, spectrum_of(network.structure, probes, held_out, means, title="ridge")


def spectrum_of(
    structure: Structure,
    probes: Mapping[str, Probe],
    held_out: Mapping[str, HeldOut],
    means: Means,
    *,
    title: str,
) -> Spectrum:
    """The spectrum, from the probes of all readers and the sums of the held-out pass.

    Args:
        means: gives the label means (K, D) float32 of a reader's features, which the output
            fields average over. They are asked for one by one and not kept.
        title: what to call the probes, `Spectrum.probe`.
    """
    groups = tuple(_group(group, structure, probes, held_out, means) for group in structure.groups)
    counts_K = next(iter(held_out.values())).counts_K
    depth = tuple(
        DepthPoint(name, _writer(structure, reader), held_out[name].success_rate)
        for name, reader in structure.readers.items()
        if name in held_out
    )
    empty = tuple(torch.nonzero(counts_K == 0)[:, 0].tolist())
    raised = {name: probe.raised for name, probe in probes.items()}
    return Spectrum(groups, depth, len(counts_K), empty, title, raised)


def _writer(structure: Structure, reader: Reader) -> str | None:
    """Name of the group that most of the reader's channels belong to."""
    read = {g.name: int(np.isin(reader.unit_C, g.units).sum()) for g in structure.groups}
    name = max(read, key=lambda key: read[key], default=None)
    return name if name is not None and read[name] else None


def _group(
    group: Group,
    structure: Structure,
    probes: Mapping[str, Probe],
    held_out: Mapping[str, HeldOut],
    means: Means,
) -> GroupSpectrum | None:
    ran = (name for name in group.readers if name in held_out)
    name = max(ran, key=list(structure.readers).index, default=None)
    if name is None:
        return None
    summary = summarise_units(group, structure.readers[name], probes[name], means(name))
    return _with_rate(group.name, name, held_out[name].success_rate, summary)


def _with_rate(name: str, reader: str, success_rate: float, summary: UnitSummary) -> GroupSpectrum:
    clusters = summary.clusters
    num_clusters = int(clusters.num_clusters_U.sum())
    return GroupSpectrum(
        name=name,
        reader=reader,
        success_rate=success_rate,
        cluster_size=float(clusters.num_labels_U.sum() / num_clusters) if num_clusters else 0.0,
        clusters_per_filter=float(clusters.num_clusters_U.mean()),
        labels_on_diagonal=float(clusters.num_labels_U.mean()),
        noise=float(clusters.noise_U.mean()),
        noise_in=float(clusters.noise_in_U.mean()),
        snr=summary.snr,
        sharpness_F=summary.sharpness_U,
        snr_F=summary.snr_U,
        signal_F=summary.signal_U,
        labels=clusters,
        weights_UKQ=summary.weights_UKQ,
        means_UKQ=summary.means_UKQ,
    )
