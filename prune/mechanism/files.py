"""The spectrum on disk: spectrum.safetensors for programs, filters.csv for people.

spectrum.safetensors holds, for each measured group NAME (U units, K labels, Q features of a unit):

| tensor          | shape     | dtype   | meaning                                              |
|-----------------|-----------|---------|------------------------------------------------------|
| NAME/weights    | (U, K, Q) | float32 | probe weights; field[u] = means[u] @ weights[u].T    |
| NAME/means      | (U, K, Q) | float32 | mean features over held-out inputs of each label     |
| NAME/clusters   | (U, K)    | int64   | cluster of each label, -1 in none                    |
| NAME/ones       | (U,)      | int64   | field entries above the threshold                    |
| NAME/noise      | (U,)      | int64   | n, of these outside the clusters                     |
| NAME/noise_in   | (U,)      | int64   | n_in, of the noise in the clusters' columns          |
| NAME/sharpness, NAME/snr, NAME/signal | (U,) | float64 | see `snr`                         |

and, in its metadata, "head": one JSON document with the figures of every layer and the depth.
"""

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import InputError
from ..files import read_safetensors, tensor_in, whole_file, write_safetensors
from ..structure.units import FloatArray, Group, Structure
from ..typed import from_json
from .clusters import Clusters
from .spectrum import DepthPoint, GroupSpectrum, Spectrum

SPECTRUM_FORMAT = "prune-dl spectrum 1"
"""In the metadata of spectrum.safetensors."""
FILTER_COLUMNS = (
    *("layer", "filter", "clusters", "sharpness", "snr", "signal", "norm", "score", "kept"),
)
"""Of filters.csv."""


def save_spectrum(spectrum: Spectrum, path: Path) -> None:
    """Write spectrum.safetensors. Raises InputError where it cannot be written."""
    measured = [group for group in spectrum.groups if group is not None]
    tensors = {
        f"{group.name}/{key}": tensor.contiguous()
        for group in measured
        for key, tensor in _tensors(group).items()
    }
    head = {
        "num_labels": spectrum.num_labels,
        "labels_without_held_out": spectrum.labels_without_held_out,
        "groups": [
            g and {f.name: getattr(g, f.name) for f in fields(_Figures)} for g in spectrum.groups
        ],
        "probe": spectrum.probe,
        "depth": [[p.reader, p.writer, p.success_rate] for p in spectrum.depth],
    }
    write_safetensors(path, tensors, {"format": SPECTRUM_FORMAT, "head": json.dumps(head)})


def _tensors(group: GroupSpectrum) -> dict[str, Tensor]:
    arrays = {
        "clusters": group.labels.cluster_UK,
        "ones": group.labels.ones_U,
        "noise": group.labels.noise_U,
        "noise_in": group.labels.noise_in_U,
        "sharpness": group.sharpness_F,
        "snr": group.snr_F,
        "signal": group.signal_F,
    }
    factors = {"weights": group.weights_UKQ, "means": group.means_UKQ}
    return {key: torch.from_numpy(array) for key, array in arrays.items()} | factors


def load_spectrum(path: Path) -> Spectrum:
    """Read back a file of `save_spectrum`, bit for bit. Raises InputError for any other file."""
    tensors, metadata = read_safetensors(path)
    if metadata.get("format") != SPECTRUM_FORMAT:
        raise InputError(f"{path} holds no spectrum; give the spectrum.safetensors of a ranking")
    head = from_json(metadata.get("head", ""), _Head, str(path))
    labels = range(head.num_labels)
    if not labels or not all(label in labels for label in head.labels_without_held_out):
        raise InputError(f"{path} is of {head.num_labels} labels and lists others; rank again")
    groups = tuple(
        None if figures is None else _group(path, figures, head.num_labels, tensors)
        for figures in head.groups
    )
    depth = tuple(DepthPoint(*point) for point in head.depth)
    return Spectrum(groups, depth, head.num_labels, head.labels_without_held_out, head.probe)


@dataclass(frozen=True)
class _Figures:
    """The figures of one group, as they stand in the head."""

    name: str
    reader: str
    success_rate: float
    cluster_size: float
    clusters_per_filter: float
    labels_on_diagonal: float
    noise: float
    noise_in: float
    snr: float


@dataclass(frozen=True)
class _Head:
    """The document in the metadata; a point of the depth is (reader, writer, success rate)."""

    num_labels: int
    labels_without_held_out: tuple[int, ...]
    groups: tuple[_Figures | None, ...]
    probe: str
    depth: tuple[tuple[str, str | None, float], ...]


def _group(
    path: Path, figures: _Figures, num_labels: int, tensors: Mapping[str, Tensor]
) -> GroupSpectrum:
    def read(key: str, dtype: torch.dtype, *shape: int | None) -> Tensor:
        return tensor_in(path, tensors, f"{figures.name}/{key}", dtype, shape)

    num_units = len(read("sharpness", torch.float64, None))
    sharpness, snr, signal = (
        read(key, torch.float64, num_units).numpy() for key in ("sharpness", "snr", "signal")
    )
    clusters = read("clusters", torch.int64, num_units, num_labels)
    if int(clusters.min()) < -1 or int(clusters.max()) >= num_labels:
        raise InputError(f"{path} holds clusters of labels that there are not; rank again")
    counts = (read(key, torch.int64, num_units).numpy() for key in ("ones", "noise", "noise_in"))
    weights = read("weights", torch.float32, num_units, num_labels, None)
    return GroupSpectrum(
        **vars(figures),
        sharpness_F=sharpness,
        snr_F=snr,
        signal_F=signal,
        labels=Clusters(clusters.numpy(), *counts),
        weights_UKQ=weights,
        means_UKQ=read("means", torch.float32, *weights.shape),
    )


def write_filters(
    path: Path,
    spectrum: Spectrum,
    norms: Sequence[FloatArray],
    *,
    scores: Sequence[FloatArray] | None = None,
    kept: Sequence[Sequence[int]] | None = None,
    labels: Sequence[str] = (),
) -> None:
    """Write filters.csv, one line for each unit of each measured group.

    Args:
        norms: per group, from `filter_norms`.
        scores: per group, of the ranking in use; the column is empty without.
        kept: per group, positions that stay in the plan; the column is empty without.
        labels: names; without, labels are numbers.

    In the column "clusters", labels of one cluster are joined by " + ", clusters by " | ". Raises
    InputError where the file cannot be written.
    """
    with whole_file(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(FILTER_COLUMNS)
        for position, group in enumerate(spectrum.groups):
            if group is not None:
                score_U = None if scores is None else scores[position]
                kept_U = None if kept is None else set(kept[position])
                writer.writerows(_rows(group, norms[position], score_U, kept_U, labels))


def _rows(
    group: GroupSpectrum,
    norm_U: FloatArray,
    score_U: FloatArray | None,
    kept: set[int] | None,
    labels: Sequence[str],
) -> Iterator[tuple[object, ...]]:
    for unit in range(len(group.snr_F)):
        yield (
            group.name,
            unit,
            " | ".join(_joined(cluster, labels) for cluster in group.labels.of(unit)),
            *(float(x[unit]) for x in (group.sharpness_F, group.snr_F, group.signal_F, norm_U)),
            "" if score_U is None else float(score_U[unit]),
            "" if kept is None else "yes" if unit in kept else "no",
        )


def _joined(cluster: Sequence[int], labels: Sequence[str]) -> str:
    return " + ".join(labels[label] if labels else str(label) for label in cluster)


def filter_norms(model: nn.Module, structure: Structure) -> tuple[FloatArray, ...]:
    """L2 norm of the weights of each unit's filters over all writers, (U,) per group."""
    return tuple(_norms(model, structure, group) for group in structure.groups)


def _norms(model: nn.Module, structure: Structure, group: Group) -> FloatArray:
    squares = np.zeros(int(group.units.max()) + 1)
    for name in group.writers:
        parameter, axis = structure.filter_axis(group, name)
        unit_F = structure.axes.get((parameter, axis))
        if unit_F is None:
            continue
        weight = model.get_parameter(parameter).detach().double().cpu()
        square_F = weight.movedim(axis, 0).flatten(1).square().sum(1).numpy()
        own_F = np.isin(unit_F, group.units)
        np.add.at(squares, unit_F[own_F], square_F[own_F])
    return np.sqrt(squares[group.units])
