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
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import InputError
from ..files import read_safetensors, whole_file, write_safetensors
from ..structure.units import FloatArray, Group, Structure
from .clusters import Clusters
from .spectrum import DepthPoint, GroupSpectrum, Spectrum

SPECTRUM_FORMAT = "prune-dl spectrum 1"
"""In the metadata of spectrum.safetensors."""
FILTER_COLUMNS = (
    *("layer", "filter", "clusters", "sharpness", "snr", "signal", "norm", "score", "kept"),
)
"""Of filters.csv."""
_FIGURES = (
    *("name", "reader", "success_rate", "cluster_size", "clusters_per_filter"),
    *("labels_on_diagonal", "noise", "noise_in", "snr"),
)


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
        "groups": [g and {name: getattr(g, name) for name in _FIGURES} for g in spectrum.groups],
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
    head = json.loads(metadata["head"])
    groups = tuple(figures and _group(figures, tensors) for figures in head["groups"])
    depth = tuple(DepthPoint(*point) for point in head["depth"])
    missing = tuple(head["labels_without_held_out"])
    return Spectrum(groups, depth, head["num_labels"], missing, head["probe"])


def _group(figures: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> GroupSpectrum:
    def array(key: str) -> Any:
        return tensors[f"{figures['name']}/{key}"].numpy()

    return GroupSpectrum(
        **figures,
        sharpness_F=array("sharpness"),
        snr_F=array("snr"),
        signal_F=array("signal"),
        labels=Clusters(*(array(key) for key in ("clusters", "ones", "noise", "noise_in"))),
        weights_UKQ=tensors[f"{figures['name']}/weights"],
        means_UKQ=tensors[f"{figures['name']}/means"],
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
        module = model.get_submodule(name)
        axis = 1 if type(module).__name__.startswith("ConvTranspose") else 0
        unit_F = structure.axes.get((f"{name}.weight", axis))
        if unit_F is None:
            continue
        weight = model.get_parameter(f"{name}.weight").detach().double().cpu()
        square_F = weight.movedim(axis, 0).flatten(1).square().sum(1).numpy()
        own_F = np.isin(unit_F, group.units)
        np.add.at(squares, unit_F[own_F], square_F[own_F])
    return np.sqrt(squares[group.units])
