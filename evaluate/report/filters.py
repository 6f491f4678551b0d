"""The per-filter page of `prune-dl rank`: pick a layer and a filter, see its label matrix.

The page holds every filter's label matrix, rounded to 1/127 of its maximum; the exact fields are
in `spectrum.safetensors`. With many labels each matrix is cut down to its readable part.

Shapes: F filters of a layer, K labels of the data, S labels shown.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...prune.files import write_text
from ...prune.structure.units import FloatArray
from .charts import depth_figure, depth_places, rates_words
from .html import render
from .pictures import order_labels

if TYPE_CHECKING:
    from ...prune.mechanism.spectrum import GroupSpectrum, Spectrum


@dataclass(frozen=True, eq=False)
class FilterColumns:
    """What is shown of the filters besides their fields.

    Attributes:
        norms: per group, one figure for each unit (see `mechanism.files.filter_norms`).
        scores: the same, of the ranking in use; None for no such column.
        kept: per group, positions that stay in the plan; None without a plan.
    """

    norms: Sequence[FloatArray]
    scores: Sequence[FloatArray] | None = None
    kept: Sequence[Sequence[int]] | None = None

    def by_group(self) -> list[dict[str, FloatArray]]:
        """Columns by name, for every group of the spectrum."""
        columns: list[dict[str, FloatArray]] = [{"norm": norm_F} for norm_F in self.norms]
        if self.scores is None:
            return columns
        pairs = zip(columns, self.scores, strict=True)
        return [column | {"score": score_F} for column, score_F in pairs]


@dataclass(frozen=True)
class FilterLayer:
    """All filters of one layer, ready to be drawn.

    | attribute          | shape     | meaning                                                  |
    |--------------------|-----------|----------------------------------------------------------|
    | labels_FS          | (F, S)    | int16: labels shown, cluster by cluster, then the others |
    | field_FSS          | (F, S, S) | int8: 127 M / max(M), row = input label, column = unit   |
    | cluster_sizes      | F tuples  | sizes of the clusters shown, first block first           |
    | columns            | (F,) each | figures to show and to sort by                           |
    | kept_F             | (F,)      | whether the plan keeps it; None without a plan           |
    """

    name: str
    success_rate: float
    snr: float
    labels_FS: NDArray[np.int16]
    field_FSS: NDArray[np.int8]
    cluster_sizes: tuple[tuple[int, ...], ...]
    columns: Mapping[str, FloatArray]
    kept_F: NDArray[np.bool_] | None = None


def write_filters_page(
    path: Path,
    spectrum: "Spectrum",
    columns: FilterColumns,
    *,
    labels: Sequence[str] = (),
    title: str,
    command: str,
) -> Path:
    """Write the page.

    Args:
        labels: names; without, labels are numbers.
        title: what was measured, for example the model's name.
        command: what was typed.

    Raises:
        InputError: the place cannot be written to.
    """
    layers = filter_layers(spectrum, columns.by_group(), columns.kept)
    names = tuple(labels) or tuple(str(i) for i in range(spectrum.num_labels))
    places = depth_places((point.writer, point.reader) for point in spectrum.depth)
    rates = [point.success_rate for point in spectrum.depth]
    page = render_filters_page(
        layers, names, title=title, command=command, rates=dict(zip(places, rates, strict=True))
    )
    return write_text(path, page)


def filter_layers(
    spectrum: "Spectrum",
    columns: Sequence[Mapping[str, FloatArray]],
    kept: Sequence[Sequence[int]] | None = None,
) -> tuple[FilterLayer, ...]:
    """Every measured layer of a spectrum.

    Args:
        columns: for every group of the spectrum, further figures (F,) by name, for example its
            norms and scores; sharpness, SNR and signal come from the spectrum.
        kept: for every group, positions of the filters that a plan keeps; None without a plan.
    """
    return tuple(
        _layer(group, columns[i], None if kept is None else kept[i])
        for i, group in enumerate(spectrum.groups)
        if group is not None
    )


def _layer(
    group: "GroupSpectrum", more: Mapping[str, FloatArray], kept: Sequence[int] | None
) -> FilterLayer:
    drawn = [_draw(group, index) for index in range(len(group.snr_F))]
    labels, fields, sizes = zip(*drawn, strict=True)
    columns = {"SNR": group.snr_F, "sharpness": group.sharpness_F, "signal": group.signal_F}
    return FilterLayer(
        name=group.name,
        success_rate=group.success_rate,
        snr=group.snr,
        labels_FS=np.array(labels, dtype=np.int16),
        field_FSS=np.stack(fields),
        cluster_sizes=sizes,
        columns={**columns, **more},
        kept_F=None if kept is None else np.isin(np.arange(len(drawn)), np.asarray(kept)),
    )


def _draw(
    group: "GroupSpectrum", index: int
) -> tuple[list[int], NDArray[np.int8], tuple[int, ...]]:
    """Labels shown, the field between them in steps of 1/127, and the sizes of its clusters."""
    field_KK = group.field(index)
    shown, sizes = order_labels(field_KK, group.labels.of(index))
    top = float(field_KK.max())
    if top <= 0:
        return shown, np.zeros((len(shown),) * 2, dtype=np.int8), sizes
    scaled_SS = np.clip(field_KK[np.ix_(shown, shown)] / top, -1, 1)
    return shown, np.rint(127 * scaled_SS).astype(np.int8), sizes


def render_filters_page(
    layers: Sequence[FilterLayer],
    labels: Sequence[str],
    *,
    title: str,
    command: str,
    rates: Mapping[str, float] | None = None,
) -> str:
    """The page's HTML, self-contained.

    Args:
        labels: (K,) names; a label without a name is shown by its number.
        title: what was measured, for example the model's name.
        rates: success rate by layer along the whole depth; by default that of `layers`.
    """
    ratios = {layer.name: layer.snr for layer in layers}
    rates = rates or {layer.name: layer.success_rate for layer in layers}
    return render(
        "filters.html",
        title=title,
        command=command,
        num_filters=sum(len(layer.field_FSS) for layer in layers),
        num_layers=len(layers),
        depth=depth_figure(rates, ratios),
        depth_words=rates_words(rates, ratios),
        content={"labels": list(labels), "layers": [_plain(layer) for layer in layers]},
    )


def _plain(layer: FilterLayer) -> dict[str, Any]:
    """What the page's script reads: arrays as base64 of their little-endian bytes."""
    return {
        "name": layer.name,
        "shown": layer.labels_FS.shape[1],
        "labels": _base64(layer.labels_FS.astype("<i2")),
        "field": _base64(layer.field_FSS),
        "clusters": [list(sizes) for sizes in layer.cluster_sizes],
        "columns": {name: _rounded(values_F) for name, values_F in layer.columns.items()},
        "kept": None if layer.kept_F is None else layer.kept_F.tolist(),
    }


def _base64(array: NDArray[Any]) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode("ascii")


def _rounded(values_F: FloatArray) -> list[float]:
    """Five significant digits: what a table shows, at a third of the bytes."""
    return [float(f"{value:.5g}") for value in values_F]
